//! PURE. One reply of a model, as the ledger takes it in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// One reply of a model, as one transcript line states it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// When it was written.
    pub at_ms: i64,
    /// The API's name for the reply.
    pub message: Option<Id>,
    /// The API's name for the request. With `message` it names one reply wherever it is copied.
    pub request: Option<Id>,
    /// The session that the line itself names.
    pub session: Option<Arc<str>>,
    /// Whether a subagent's chain holds it.
    pub sidechain: bool,
    /// Who replied; empty where the line does not say.
    pub model: Arc<str>,
    /// What it used.
    pub tokens: EntryTokens,
    /// Searches that the API made for it; they cost extra.
    pub web_searches: u64,
    /// Whether it ran in the dearer fast mode.
    pub fast: bool,
    /// Whether it was confined to the United States, which costs extra.
    pub us_only: bool,
    /// The cost, where the line states one.
    pub cost_usd: Option<f64>,
}

/// A name that is only compared with others: its hash, since names are long and many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// 64 bits of it.
    pub hash: u64,
    /// Whether it is one of the API's own, which name the same wherever they stand. Those of other
    /// providers need not be unique beyond a session.
    pub is_global: bool,
}

impl Id {
    /// The id that goes by this name.
    pub fn of(name: &str) -> Id {
        Id { hash: hash(name), is_global: name.starts_with("msg_") }
    }

    /// The id of its `n`th part.
    #[must_use]
    pub fn part(self, n: usize) -> Id {
        Id { hash: hash(&(self.hash, n)), ..self }
    }
}

pub(super) fn hash(it: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    it.hash(&mut hasher);
    hasher.finish()
}

/// Token counts by price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryTokens {
    /// Input that was neither written to nor read from the cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input kept in the cache for five minutes.
    pub cache_write_5m: u64,
    /// Input kept in the cache for an hour.
    pub cache_write_1h: u64,
    /// Input read from the cache.
    pub cache_read: u64,
}

impl EntryTokens {
    /// Everything the model read, which decides the price tier.
    pub fn all_input(&self) -> u64 {
        self.cache_write_5m
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.cache_read)
            .saturating_add(self.input)
    }

    /// Tokens of every kind.
    pub fn all(&self) -> u64 {
        self.all_input().saturating_add(self.output)
    }
}
