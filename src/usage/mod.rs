//! PURE. Counts what was used: entries in, totals, blocks and costs out.
//!
//! Knows no file format, clock or configuration: entries come from [`crate::fetch::claude`], the
//! time and the zone are arguments.
//!
//! **Invariant:** what is counted is a function of the set of entries, never of the order in which
//! they came. Money is summed as whole picodollars, so that this holds to the last digit.

use std::ops::{AddAssign, SubAssign};

use crate::store::schema::{Tokens, Totals};

pub mod blocks;
pub mod ledger;
pub mod prices;

/// One reply of a model, as one transcript line states it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// When it was written.
    pub at_ms: i64,
    /// The API's name for the reply.
    pub message_id: Option<Box<str>>,
    /// The API's name for the request. With `message_id` it names one reply wherever it is copied.
    pub request_id: Option<Box<str>>,
    /// The session that the line itself names.
    pub session: Option<Box<str>>,
    /// Whether a subagent's chain holds it.
    pub sidechain: bool,
    /// Who replied; empty where the line does not say.
    pub model: Box<str>,
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

/// What entries add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many there are.
    pub entries: u64,
    /// Their input that was neither written to nor read from the cache.
    pub input: u64,
    /// Their output.
    pub output: u64,
    /// Their input written to the cache.
    pub cache_write: u64,
    /// Their input read from the cache.
    pub cache_read: u64,
    /// Their cost, as far as it is known.
    pub picodollars: i128,
}

impl Sums {
    /// Tokens of every kind.
    pub fn tokens(&self) -> u64 {
        self.input + self.output + self.cache_write + self.cache_read
    }

    /// As they leave the process.
    pub fn totals(&self) -> Totals {
        let Sums { input, output, cache_write, cache_read, .. } = *self;
        let tokens = Tokens { input, output, cache_write, cache_read };
        Totals { cost_usd: self.picodollars as f64 / 1e12, tokens }
    }
}

impl AddAssign<&Sums> for Sums {
    fn add_assign(&mut self, other: &Sums) {
        self.entries += other.entries;
        self.input += other.input;
        self.output += other.output;
        self.cache_write += other.cache_write;
        self.cache_read += other.cache_read;
        self.picodollars += other.picodollars;
    }
}

impl SubAssign<&Sums> for Sums {
    fn sub_assign(&mut self, other: &Sums) {
        self.entries -= other.entries;
        self.input -= other.input;
        self.output -= other.output;
        self.cache_write -= other.cache_write;
        self.cache_read -= other.cache_read;
        self.picodollars -= other.picodollars;
    }
}
