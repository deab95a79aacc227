//! PURE. What entries add up to.

use std::ops::{AddAssign, SubAssign};

use crate::store::schema::{Tokens, Totals};

/// What entries add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many there are.
    pub entries: u64,
    /// How many of them have no price, so that their cost is missing.
    pub unpriced: u64,
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
        Totals { cost_usd: self.picodollars as f64 / 1e12, unpriced: self.unpriced, tokens }
    }
}

impl AddAssign<&Sums> for Sums {
    fn add_assign(&mut self, other: &Sums) {
        self.entries += other.entries;
        self.unpriced += other.unpriced;
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
        self.unpriced -= other.unpriced;
        self.input -= other.input;
        self.output -= other.output;
        self.cache_write -= other.cache_write;
        self.cache_read -= other.cache_read;
        self.picodollars -= other.picodollars;
    }
}
