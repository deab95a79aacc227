//! PURE. One reply of a model, as the ledger takes it in.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip::SipHasher13;

/// One reply of a model, as one transcript line states it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(Default))]
pub struct Entry {
    pub at_ms: i64,
    pub id: ReplyId,
    /// The session that the line itself names.
    pub session: Option<Arc<str>>,
    /// Whether a subagent made the reply.
    pub is_sidechain: bool,
    /// Empty where the line names no model.
    pub model: Arc<str>,
    pub tokens: EntryTokens,
    /// Web searches that the API made for the reply. They are charged separately.
    pub n_web_searches: u64,
    /// Whether the reply was made in the fast mode, which costs more.
    pub is_fast: bool,
    /// Whether the request was confined to the United States, which costs more.
    pub is_us_only: bool,
    /// The cost that the line states. It takes precedence over the price list.
    pub cost_usd: Option<f64>,
    /// The working directory that the line names.
    pub cwd: Option<Arc<str>>,
    /// The git branch that the line names. It is empty outside of repositories, and `HEAD` where no
    /// branch is checked out.
    pub branch: Option<Arc<str>>,
    /// The type of the subagent that made the reply; `None` for the session's own replies, and
    /// where it is not known.
    pub agent: Option<Arc<str>>,
}

/// What identifies a reply in whichever transcript a copy of it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyId {
    /// The API's ids: of the message, and of the request where the line names it. `request` is
    /// `None` only where `message` is the API's (`msg_…`), which is unique everywhere.
    Api { message: Id, request: Option<Id> },
    /// The line has no such ids. These are hashes of the lines that state the reply so far, at
    /// least one, in their order. Two entries with a hash in common are the same reply.
    Lines(Vec<u64>),
}

/// Tests compare entries whose ids do not matter.
#[cfg(test)]
impl Default for ReplyId {
    fn default() -> ReplyId {
        ReplyId::Lines(Vec::new())
    }
}

impl ReplyId {
    /// The id of the `n`th part of what this id names.
    #[must_use]
    pub fn part(&self, n: usize) -> ReplyId {
        match self {
            ReplyId::Api { message, request } => {
                ReplyId::Api { message: message.part(n), request: *request }
            }
            ReplyId::Lines(lines) => {
                ReplyId::Lines(lines.iter().map(|line| part(*line, n)).collect())
            }
        }
    }
}

/// An id that is only compared with other ids. Only its hash is kept, since ids are long and many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    pub hash: u64,
    /// Whether the Anthropic API gave the id, so that it is unique across sessions. Ids of other
    /// providers may be unique within one session only.
    pub is_global: bool,
}

impl Id {
    pub fn of(name: &str) -> Id {
        Id { hash: hash(name), is_global: name.starts_with("msg_") }
    }

    /// The id of the `n`th part of what this id names.
    #[must_use]
    pub fn part(self, n: usize) -> Id {
        Id { hash: part(self.hash, n), ..self }
    }
}

/// The hash that ids are compared by.
///
/// The permanent record stores such hashes, so they must be the same in every version of this
/// program. Those of the standard library may change with the compiler.
pub fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn part(id: u64, n: usize) -> u64 {
    hash(&(id, n as u64))
}

/// Numbers of tokens, by what they are charged at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryTokens {
    /// Input that was neither written to the cache nor read from it.
    pub input: u64,
    pub output: u64,
    /// Input that was written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Input that was written to the cache for one hour.
    pub cache_write_1h: u64,
    /// Input that was read from the cache.
    pub cache_read: u64,
}

impl EntryTokens {
    /// All input, cached or not. It decides which price tier the request falls into.
    pub fn all_input(&self) -> u64 {
        self.cache_write_5m
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.cache_read)
            .saturating_add(self.input)
    }

    /// All input and output.
    pub fn all(&self) -> u64 {
        self.all_input().saturating_add(self.output)
    }

    /// Adds other numbers, each to that of its kind.
    pub fn add(&mut self, other: &EntryTokens) {
        for (mine, theirs) in self.counts().into_iter().zip(other.clone().counts()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Each count in four bytes. No reply has four billion tokens, so a larger count is not real.
    #[must_use]
    pub fn bounded(mut self) -> EntryTokens {
        for count in self.counts() {
            *count = (*count).min(u64::from(u32::MAX));
        }
        self
    }

    fn counts(&mut self) -> [&mut u64; 5] {
        let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = self;
        [input, output, cache_write_5m, cache_write_1h, cache_read]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this test fails, records that were written before no longer recognise replies.
    #[test]
    fn hashes_stay_what_they_are() {
        assert_eq!(hash(""), 0x3040_6ea5_23c5_3def);
        assert_eq!(hash("msg_1"), 0x711e_6ac3_a024_a384);
        assert_eq!(
            hash("a longer text, in more than one block of the hash: é"),
            0x045e_e3df_ec7b_bf86
        );
        assert_eq!(hash(&(1_u64, -2_i64, "a")), 0x8fd5_9acd_4e48_4e6e);
        assert_eq!(Id::of("msg_1").part(1).hash, 0xb198_e7e2_92f9_c309);
        let lines = ReplyId::Lines(vec![hash("a"), hash("b")]);
        assert_eq!(
            lines.part(2),
            ReplyId::Lines(vec![0x3f09_8816_dc69_fc6d, 0xcd01_d08a_573a_bc07])
        );
    }

    #[test]
    fn the_parts_of_a_reply_have_ids_of_their_own() {
        let api = ReplyId::Api { message: Id::of("msg_1"), request: Some(Id::of("req_1")) };
        for id in [api, ReplyId::Lines(vec![1, 2])] {
            assert_ne!(id.part(0), id);
            assert_ne!(id.part(0), id.part(1));
            assert_eq!(id.part(1), id.part(1));
        }
    }
}
