//! PURE. What entries add up to.

use std::ops::{AddAssign, SubAssign};

use crate::store::schema::{Tokens, Totals};

/// Sums over a set of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub n_entries: u64,
    /// Entries whose model has no price. Their cost is missing from `picodollars`.
    pub n_unpriced: u64,
    /// Input tokens that were neither written to the cache nor read from it.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens that were written to the cache.
    pub cache_write: u64,
    /// Input tokens that were read from the cache.
    pub cache_read: u64,
    /// The cost of all entries that have a price.
    pub picodollars: i128,
}

impl Sums {
    /// Tokens of every kind.
    pub fn tokens(&self) -> u64 {
        self.input + self.output + self.cache_write + self.cache_read
    }

    /// The sums in the shape of the snapshot: the cost as a floating-point number of dollars.
    pub fn totals(&self) -> Totals {
        let Sums { input, output, cache_write, cache_read, .. } = *self;
        let tokens = Tokens { input, output, cache_write, cache_read };
        Totals { cost_usd: self.picodollars as f64 / 1e12, unpriced: self.n_unpriced, tokens }
    }
}

impl AddAssign<&Sums> for Sums {
    fn add_assign(&mut self, other: &Sums) {
        self.n_entries += other.n_entries;
        self.n_unpriced += other.n_unpriced;
        self.input += other.input;
        self.output += other.output;
        self.cache_write += other.cache_write;
        self.cache_read += other.cache_read;
        self.picodollars += other.picodollars;
    }
}

impl SubAssign<&Sums> for Sums {
    fn sub_assign(&mut self, other: &Sums) {
        self.n_entries -= other.n_entries;
        self.n_unpriced -= other.n_unpriced;
        self.input -= other.input;
        self.output -= other.output;
        self.cache_write -= other.cache_write;
        self.cache_read -= other.cache_read;
        self.picodollars -= other.picodollars;
    }
}
