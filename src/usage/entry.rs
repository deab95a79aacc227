//! PURE. One reply of a model, as the ledger takes it in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One reply of a model, as one transcript line states it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub at_ms: i64,
    /// The API's id of the reply.
    pub message: Option<Id>,
    /// The API's id of the request. Together with `message` it identifies a reply, in whichever
    /// transcript a copy of it stands.
    pub request: Option<Id>,
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
        Id { hash: hash(&(self.hash, n)), ..self }
    }
}

/// The hash that ids are compared by. It is written into checkpoints.
pub(super) fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
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
}
