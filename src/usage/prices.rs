//! PURE. What a reply costs.
//!
//! The built-in list is `prices.json`; the caller may replace or add models. A name matches an
//! entry of the list exactly, or after the additions of a provider or a date are removed from it,
//! and never by resemblance.
//!
//! **Invariant:** a model that is not on the list has no price. It is never taken for another
//! version of a model, and its cost is never silently zero.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::usage::entry::{Entry, EntryTokens};

/// An amount of money: 10⁻¹² US dollars. One dollar per million tokens is a million picodollars per
/// token, so every list price is a whole number and sums are exact.
///
/// See docs/decisions/016-money-in-picodollars.md.
pub type Picodollars = i64;

const PER_DOLLAR: f64 = 1e12;

/// What is charged: the tokens of one reply, or of many that are charged at the same rates.
#[derive(Clone, Debug)]
pub struct Charge<'a> {
    pub model: &'a str,
    pub at_ms: i64,
    pub is_fast: bool,
    pub is_us_only: bool,
    /// All input of one request. It decides the tier.
    pub request_input: u64,
    pub tokens: EntryTokens,
    pub n_web_searches: u64,
}

/// The sizes of a request's input that the record distinguishes, in tokens.
pub const INPUT_STEPS: [u64; 6] = [100_000, 128_000, 200_000, 256_000, 272_000, 512_000];

/// A price list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Prices {
    /// The day on which the built-in list was gathered.
    pub as_of: String,
    web_search_per_1000: f64,
    /// By the model's name.
    pub models: BTreeMap<String, Price>,
}

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Price {
    /// The rates of requests up to the threshold of `above`.
    #[serde(flatten)]
    pub rates: Rates,
    /// The rates of requests with more input than a threshold, where the model has such a tier.
    pub above: Option<Above>,
    /// The factor for tokens in the fast mode; 1 where it is absent.
    pub fast_multiplier: Option<f64>,
    /// The factor for tokens of requests that are confined to the United States; 1 where it is
    /// absent.
    pub us_multiplier: Option<f64>,
}

/// US dollars per million tokens, by what is charged.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Rates {
    /// Input that is neither written to the cache nor read from it.
    pub input: f64,
    pub output: f64,
    /// Input that is written to the cache for five minutes.
    pub cache_write_5m: f64,
    /// Input that is written to the cache for one hour.
    pub cache_write_1h: f64,
    /// Input that is read from the cache.
    pub cache_read: f64,
}

/// The tier of requests with much input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Above {
    /// A request belongs to the tier if its input, cached or not, exceeds this.
    pub threshold_tokens: u64,
    /// The rates of all tokens of such a request, not only of those above the threshold.
    #[serde(flatten)]
    pub rates: Rates,
}

impl Prices {
    /// The list in `prices.json`.
    pub fn builtin() -> Prices {
        serde_json::from_str(include_str!("prices.json"))
            .expect("the tests parse the built-in list")
    }

    /// The same list with `models` added; they replace models of the same name.
    #[must_use]
    pub fn with(mut self, models: impl IntoIterator<Item = (String, Price)>) -> Prices {
        self.models.extend(models);
        self
    }

    /// The price of `model`, and the name under which it is listed.
    pub fn find(&self, model: &str) -> Option<(&str, &Price)> {
        let bare = without_provider(model);
        let listed = |name: &str| self.models.get_key_value(name);
        let (name, price) = listed(model)
            .or_else(|| listed(bare))
            .or_else(|| listed(without_date(bare)))
            .or_else(|| self.dated(without_date(bare)))?;
        Some((name, price))
    }

    /// What an entry costs. `None` where the model has no price, unless nothing was used.
    pub fn cost(&self, entry: &Entry) -> Option<Picodollars> {
        if let Some(stated) = entry.cost_usd {
            return Some(picodollars(stated));
        }
        self.charge(&Charge {
            model: &entry.model,
            at_ms: entry.at_ms,
            is_fast: entry.is_fast,
            is_us_only: entry.is_us_only,
            request_input: entry.tokens.all_input(),
            tokens: entry.tokens,
            n_web_searches: entry.n_web_searches,
        })
    }

    /// What is charged. `None` where the model has no price, unless nothing was used.
    pub fn charge(&self, charge: &Charge<'_>) -> Option<Picodollars> {
        if charge.tokens == EntryTokens::default() && charge.n_web_searches == 0 {
            return Some(0);
        }
        let (_, price) = self.find(charge.model)?;
        let rates = match &price.above {
            Some(above) if charge.request_input > above.threshold_tokens => &above.rates,
            _ => &price.rates,
        };
        let fast = if charge.is_fast { price.fast_multiplier } else { None };
        let us_only = if charge.is_us_only { price.us_multiplier } else { None };
        let tokens =
            rates.apply(&charge.tokens).saturating_mul(thousandths(fast) * thousandths(us_only))
                / (THOUSAND * THOUSAND);
        let search = picodollars(self.web_search_per_1000 / 1000.0);
        let searches = i128::from(charge.n_web_searches) * i128::from(search);
        Some(Picodollars::try_from(tokens.saturating_add(searches)).unwrap_or(Picodollars::MAX))
    }

    /// Up to five listed names that share the longest beginning with `model`, last in the alphabet
    /// first. Empty where no name shares more than `claude-`.
    pub fn near(&self, model: &str) -> Vec<&str> {
        let bare = without_date(without_provider(model));
        let shared = |name: &str| {
            name.bytes().zip(bare.bytes()).take_while(|(ours, theirs)| ours == theirs).count()
        };
        let longest = self.models.keys().map(|it| shared(it)).max().unwrap_or(0);
        // Every name begins with this.
        let is_near = |it: &&str| shared(it) == longest && longest > "claude-".len();
        self.models.keys().rev().map(String::as_str).filter(is_near).take(5).collect()
    }

    /// The entry with the latest date for a `name` that is listed with dates only:
    /// `claude-opus-4` is listed as `claude-opus-4-20250514`.
    fn dated(&self, name: &str) -> Option<(&String, &Price)> {
        let dated = self.models.range(name.to_owned()..).take_while(|(it, _)| it.starts_with(name));
        dated.filter(|(it, _)| without_date(it) == name).last()
    }
}

const THOUSAND: i128 = 1000;

impl Rates {
    fn apply(&self, tokens: &EntryTokens) -> i128 {
        let part = |count: u64, rate: f64| i128::from(count) * i128::from(picodollars(rate / 1e6));
        part(tokens.input, self.input)
            .saturating_add(part(tokens.output, self.output))
            .saturating_add(part(tokens.cache_write_5m, self.cache_write_5m))
            .saturating_add(part(tokens.cache_write_1h, self.cache_write_1h))
            .saturating_add(part(tokens.cache_read, self.cache_read))
    }
}

/// The nearest whole number of picodollars; 0 for what is negative or not a number.
pub(super) fn picodollars(usd: f64) -> Picodollars {
    // The cast saturates, and turns NaN into 0.
    (usd.max(0.0) * PER_DOLLAR).round() as Picodollars
}

/// A factor in thousandths. Factors have at most three decimals, so this is exact.
fn thousandths(multiplier: Option<f64>) -> i128 {
    multiplier.map_or(THOUSAND, |it| (it.clamp(0.0, 1000.0) * 1000.0).round() as i128)
}

/// Anthropic's name of a model: `claude-x` for `us.anthropic.claude-x-v1:0`, `anthropic/claude-x`,
/// `claude-x@20250101` and `claude-x[1m]`.
fn without_provider(model: &str) -> &str {
    let model = model.rsplit_once('/').map_or(model, |(_, it)| it);
    let model = model.rsplit_once("anthropic.").map_or(model, |(_, it)| it);
    let model = model.strip_suffix("[1m]").unwrap_or(model);
    let model = model.split_once('@').map_or(model, |(it, _)| it);
    let is_version = |text: &str| text.bytes().all(|it| it.is_ascii_digit() || it == b':');
    match model.rsplit_once("-v") {
        Some((name, rest)) if !rest.is_empty() && is_version(rest) => name,
        _ => model,
    }
}

fn without_date(model: &str) -> &str {
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(model: &str, listed_as: Option<&str>) {
        assert_eq!(Prices::builtin().find(model).map(|(name, _)| name), listed_as, "{model}");
    }

    #[test]
    fn additions_of_providers_and_dates_are_not_part_of_a_name() {
        check_name("claude-opus-4-8", Some("claude-opus-4-8"));
        check_name("claude-opus-4-8[1m]", Some("claude-opus-4-8"));
        check_name("claude-opus-4-8-20991231", Some("claude-opus-4-8"));
        check_name("anthropic/claude-opus-4-8", Some("claude-opus-4-8"));
        check_name("us.anthropic.claude-opus-4-6-v1:0", Some("claude-opus-4-6"));
        check_name("eu.anthropic.claude-sonnet-4-20250514-v1:0", Some("claude-sonnet-4-20250514"));
        check_name("claude-haiku-4-5@20251001", Some("claude-haiku-4-5"));
        check_name("claude-opus-4@20250514", Some("claude-opus-4-20250514"));
        check_name("claude-opus-4", Some("claude-opus-4-20250514"));
    }

    #[test]
    fn a_name_never_matches_another_version() {
        check_name("claude-opus-4-9", None);
        check_name("claude-opus-4-9-20260101", None);
        check_name("claude-opus", None);
        check_name("claude-opus-4-8-turbo", None);
        check_name("claude-opus-4-8-v", None);
        check_name("gpt-5", None);
        check_name("", None);
    }

    #[track_caller]
    fn check_cost(entry: Entry, usd: f64) {
        let cost = Prices::builtin().cost(&entry).expect("the model has a price");
        assert_eq!(cost, (usd * PER_DOLLAR).round() as Picodollars);
    }

    fn entry(model: &str, tokens: [u64; 5]) -> Entry {
        let [input, output, cache_write_5m, cache_write_1h, cache_read] = tokens;
        let tokens = EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read };
        Entry { model: model.into(), tokens, ..Entry::default() }
    }

    #[test]
    fn a_cost_equals_the_clients_to_the_last_digit() {
        check_cost(entry("claude-opus-4-8", [12, 42, 1000, 500, 21000]), 0.02286);
    }

    #[test]
    fn factors_apply_to_tokens_and_searches_are_added() {
        let plain = entry("claude-opus-4-8", [1_000_000, 0, 0, 0, 0]);
        check_cost(Entry { is_fast: true, ..plain.clone() }, 10.0);
        check_cost(Entry { is_us_only: true, ..plain.clone() }, 5.5);
        check_cost(Entry { is_fast: true, is_us_only: true, ..plain.clone() }, 11.0);
        check_cost(Entry { n_web_searches: 3, ..plain.clone() }, 5.03);
        check_cost(Entry { cost_usd: Some(0.25), ..plain.clone() }, 0.25);
        check_cost(Entry { cost_usd: Some(-1.0), ..plain }, 0.0);
        let no_fast_mode = entry("claude-haiku-4-5", [1_000_000, 0, 0, 0, 0]);
        check_cost(Entry { is_fast: true, is_us_only: true, ..no_fast_mode }, 1.0);
    }

    #[test]
    fn every_token_of_a_large_request_costs_more() {
        check_cost(entry("claude-sonnet-4-20250514", [0, 1000, 0, 0, 200_000]), 0.075);
        check_cost(entry("claude-sonnet-4-20250514", [1, 1000, 0, 0, 200_000]), 0.142506);
    }

    #[test]
    fn an_unlisted_model_that_used_nothing_costs_nothing() {
        check_cost(entry("<synthetic>", [0; 5]), 0.0);
        assert_eq!(Prices::builtin().cost(&entry("<synthetic>", [1, 0, 0, 0, 0])), None);
    }

    #[test]
    fn absurd_counts_saturate() {
        let cost = Prices::builtin().cost(&entry("claude-opus-4-8", [u64::MAX; 5]));
        assert_eq!(cost, Some(Picodollars::MAX));
    }

    #[test]
    fn names_with_the_longest_common_beginning_are_near() {
        assert_eq!(Prices::builtin().near("claude-opus-4-8x"), ["claude-opus-4-8"]);
        assert!(Prices::builtin().near("claude-opus-4-9").contains(&"claude-opus-4-8"));
        assert_eq!(Prices::builtin().near("claude-x"), [""; 0]);
        assert_eq!(Prices::builtin().near("gpt-5"), [""; 0]);
    }

    #[test]
    fn the_user_may_replace_and_add_models() {
        let price = Prices::builtin().find("claude-opus-4-8").expect("is listed").1.clone();
        let prices = Prices::builtin().with([("house-model".to_owned(), price)]);
        assert!(prices.find("house-model").is_some());
    }
}
