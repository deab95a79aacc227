//! PURE. `[prices.MODEL]`: what a model costs, in place of the built-in list or beside it.

use std::ops::RangeInclusive;

use super::reader::{Table, number};
use crate::usage::prices::{Price, Rates};

pub(super) const RATES: RangeInclusive<f64> = 0.0..=1e6;
pub(super) const MULTIPLIERS: RangeInclusive<f64> = 0.0..=1000.0;

/// What a model costs. Rates are in US dollars per million tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceConfig {
    /// Input that was neither written to the cache nor read from it.
    pub input: f64,
    pub output: f64,
    /// Input that the cache keeps for five minutes; 1.25 × `input` if absent.
    pub cache_write_5m: Option<f64>,
    /// Input that the cache keeps for an hour; 2 × `input` if absent.
    pub cache_write_1h: Option<f64>,
    /// Input that was read from the cache; a tenth of `input` if absent.
    pub cache_read: Option<f64>,
    /// Multiplies the cost of requests in fast mode.
    pub fast_multiplier: Option<f64>,
    /// Multiplies the cost of requests that must be served in the United States.
    pub us_multiplier: Option<f64>,
}

impl PriceConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> PriceConfig {
        table.require("input");
        table.require("output");
        let config = PriceConfig {
            input: table.value("input", number(RATES)).unwrap_or_default(),
            output: table.value("output", number(RATES)).unwrap_or_default(),
            cache_write_5m: table.value("cache_write_5m", number(RATES)),
            cache_write_1h: table.value("cache_write_1h", number(RATES)),
            cache_read: table.value("cache_read", number(RATES)),
            fast_multiplier: table.value("fast_multiplier", number(MULTIPLIERS)),
            us_multiplier: table.value("us_multiplier", number(MULTIPLIERS)),
        };
        let Rates { cache_write_5m, cache_write_1h, .. } = config.price().rates;
        for (key, rate) in [("cache_write_5m", cache_write_5m), ("cache_write_1h", cache_write_1h)]
        {
            if !RATES.contains(&rate) {
                let most = RATES.end();
                table.refuse("input", format!("with it, {key} is {rate}, which is above {most}"));
            }
        }
        config
    }

    /// Fills the rates that are absent.
    pub(super) fn price(&self) -> Price {
        let rates = Rates {
            input: self.input,
            output: self.output,
            cache_write_5m: self.cache_write_5m.unwrap_or(self.input * 1.25),
            cache_write_1h: self.cache_write_1h.unwrap_or(self.input * 2.0),
            cache_read: self.cache_read.unwrap_or(self.input / 10.0),
        };
        let PriceConfig { fast_multiplier, us_multiplier, .. } = *self;
        Price { rates, above: None, fast_multiplier, us_multiplier }
    }
}
