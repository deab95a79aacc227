//! PURE. `[prices.MODEL]`: what a model costs, in place of the price list or beside it.
//!
//! `[[prices.MODEL]]`, as often as the price changed, has a price with the day from which on it
//! applies.

use jiff::civil::Date;

use super::reader::{Converted, Table, number, text};
use crate::usage::price_file::{MULTIPLIERS, NOT_A_DATE, RATES, check_dates, read_date};
use crate::usage::prices::{Price, Rates};

/// What a model costs. Rates are in US dollars per million tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceConfig {
    /// The day on which it begins to apply, at midnight in UTC.
    pub since: Option<Date>,
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
            since: table.value("since", |it| read_date(text(it)?).ok_or(NOT_A_DATE.to_owned())),
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

    /// Whether it is clear which of these prices of one model applies at any time.
    pub(super) fn check(rows: &[PriceConfig]) -> Converted<()> {
        check_dates(&rows.iter().map(PriceConfig::price).collect::<Vec<_>>())
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
        let PriceConfig { since, fast_multiplier, us_multiplier, .. } = *self;
        Price { since, rates, above: None, fast_multiplier, us_multiplier }
    }
}
