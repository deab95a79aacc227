//! PURE. What a reply costs.
//!
//! The built-in list is `prices.json`; the caller may take another one, and replace or add models.
//! `model.rs` has the rules by which a name is that of a model on the list. It never is by
//! resemblance.
//!
//! **Invariant:** a model that is not on the list has no price. It is never taken for another
//! version of a model, and its cost is never silently zero.
//!
//! **Invariant:** what many replies cost that are charged at the same rates is what the sum of
//! their tokens costs, to the last picodollar.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::civil::Date;

use crate::time::DAY_MS;
use crate::usage::entry::EntryTokens;
use crate::usage::model::{Place, Release, Spelling};

/// An amount of money: 10⁻¹² US dollars. One dollar per million tokens is a million picodollars per
/// token, so every list price is a whole number and sums are exact.
///
/// See docs/decisions/016-money-in-picodollars.md.
pub type Picodollars = i64;

const PER_DOLLAR: f64 = 1e12;

/// The sizes of a request's input that prices may distinguish: a request is above a step or not.
/// The record of usage keeps of a request's input only which steps it is above.
pub const INPUT_STEPS: [u64; 6] = [100_000, 128_000, 200_000, 256_000, 272_000, 512_000];

/// What Bedrock's geographic profiles cost, in thousandths of the price of its global one.
const GEOGRAPHY: i128 = 1100;
/// What its regions for the government of the United States cost.
const GOV_CLOUD: i128 = 1200;

/// How many names of models are kept with what they were found to mean. A tree of transcripts has
/// few; a gateway that invents a name for every reply must not fill the memory.
const MAX_KNOWN: usize = 1000;
/// Bytes of a name that is kept so.
const MAX_KNOWN_NAME: usize = 256;

/// A price list.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// The day on which the list was gathered.
    pub as_of: Date,
    web_search: Picodollars,
    models: BTreeMap<String, Arc<Model>>,
    /// By the model and the release that the listed name says, for names that say nothing else.
    spelled: BTreeMap<(String, Release), Arc<Model>>,
    known: Known,
}

/// A model on the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name under which it is listed.
    pub name: String,
    /// At least one, the earliest first.
    rows: Vec<Price>,
}

/// What one model costs, from some time on.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// The day on which it begins to apply, at midnight in UTC. The earliest price of a model
    /// applies to all that is older as well, so it needs no date.
    pub since: Option<Date>,
    /// The rates of requests up to the threshold of `above`.
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
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct Above {
    /// A request belongs to the tier if its input, cached or not, exceeds this. One of
    /// [`INPUT_STEPS`].
    pub threshold_tokens: u64,
    /// The rates of all tokens of such a request, not only of those above the threshold.
    pub rates: Rates,
}

/// What is charged: the tokens of one reply, or of many that are charged at the same rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Charge<'a> {
    /// The name of the model, as transcripts have it.
    pub model: &'a str,
    /// When the reply came. It decides which of the prices applies that the model had.
    pub at_ms: i64,
    pub is_fast: bool,
    /// Whether the request was confined to the United States.
    pub is_us_only: bool,
    /// All input of one request. It decides the tier.
    pub request_input: u64,
    pub tokens: EntryTokens,
    pub n_web_searches: u64,
}

/// A listed model, and what the name by which it was found says beside that.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub model: Arc<Model>,
    /// Whether the name asks for the fast mode.
    pub is_fast: bool,
    /// The factor of the geography that the name says, in thousandths.
    geography: i128,
}

/// What names of models were found to mean. It follows from the list, and belongs to no value.
#[derive(Default)]
struct Known(RwLock<HashMap<Box<str>, Option<Found>>>);

impl Prices {
    /// A list without models. A web search costs this many US dollars per thousand.
    pub fn new(as_of: Date, web_search_per_1000: f64) -> Prices {
        Prices {
            as_of,
            web_search: picodollars(web_search_per_1000 / 1000.0),
            models: BTreeMap::new(),
            spelled: BTreeMap::new(),
            known: Known::default(),
        }
    }

    /// The same list with `models` added, each with its prices, at least one. They replace models
    /// of the same name, in all spellings of it that are not listed themselves.
    #[must_use]
    pub fn with(mut self, models: impl IntoIterator<Item = (String, Vec<Price>)>) -> Prices {
        for (name, mut rows) in models {
            rows.sort_by_key(|it| it.since);
            let spelling = Spelling::read(&name);
            let model = Arc::new(Model { name: name.clone(), rows });
            if spelling.is_plain {
                self.spelled.insert((spelling.model, spelling.release), Arc::clone(&model));
            }
            self.models.insert(name, model);
        }
        self.known = Known::default();
        self
    }

    /// All models, by name.
    pub fn models(&self) -> impl DoubleEndedIterator<Item = &Model> {
        self.models.values().map(|it| &**it)
    }

    /// The listed model that has this name, in some spelling.
    pub fn find(&self, name: &str) -> Option<Found> {
        self.known.get(name, || self.look_up(name))
    }

    fn look_up(&self, name: &str) -> Option<Found> {
        // The exact name has its own price, which nothing is added to.
        let bare = name.strip_suffix("[1m]").unwrap_or(name);
        if let Some(model) = self.models.get(name).or_else(|| self.models.get(bare)) {
            return Some(Found { model: Arc::clone(model), is_fast: false, geography: THOUSAND });
        }
        let spelling = Spelling::read(name);
        let key = |release| (spelling.model.clone(), release);
        let newest = || {
            let dated = self.spelled.range(key(Release::Unnamed)..=key(Release::Dated(u32::MAX)));
            dated.last().map(|(_, it)| it)
        };
        let listed = self.spelled.get(&key(spelling.release));
        let listed = listed.or_else(|| self.spelled.get(&key(Release::Unnamed))).or_else(newest)?;
        // What the fast mode costs is not known where the list does not say it.
        if spelling.is_fast && listed.rows.iter().all(|it| it.fast_multiplier.is_none()) {
            return None;
        }
        let geography = match spelling.place {
            Place::Geography if spelling.has_premium => GEOGRAPHY,
            Place::GovCloud if spelling.has_premium => GOV_CLOUD,
            _ => THOUSAND,
        };
        Some(Found { model: Arc::clone(listed), is_fast: spelling.is_fast, geography })
    }

    /// What tokens and searches cost. `None` where the model has no price, unless nothing was used.
    pub fn charge(&self, charge: &Charge<'_>) -> Option<Picodollars> {
        if charge.tokens == EntryTokens::default() && charge.n_web_searches == 0 {
            return Some(0);
        }
        let found = self.find(charge.model)?;
        let price = found.model.price_at(charge.at_ms);
        let rates = match &price.above {
            Some(above) if charge.request_input > above.threshold_tokens => &above.rates,
            _ => &price.rates,
        };
        let is_fast = charge.is_fast || found.is_fast;
        let fast = thousandths(price.fast_multiplier.filter(|_| is_fast));
        let us_only = thousandths(price.us_multiplier.filter(|_| charge.is_us_only));
        // Both are the premium for a place, and nobody takes it twice.
        let place = us_only.max(found.geography);
        let tokens = rates.apply(&charge.tokens, fast * place);
        let searches = i128::from(charge.n_web_searches) * i128::from(self.web_search);
        Some(Picodollars::try_from(tokens.saturating_add(searches)).unwrap_or(Picodollars::MAX))
    }

    /// Up to five listed names that share the longest beginning with `model`, last in the alphabet
    /// first. Empty where no name shares more than `claude-`.
    pub fn near(&self, model: &str) -> Vec<&str> {
        let bare = Spelling::read(model).model;
        let shared = |name: &str| {
            name.bytes().zip(bare.bytes()).take_while(|(ours, theirs)| ours == theirs).count()
        };
        let longest = self.models.keys().map(|it| shared(it)).max().unwrap_or(0);
        // Every name begins with this.
        let is_near = |it: &&str| shared(it) == longest && longest > "claude-".len();
        self.models.keys().rev().map(String::as_str).filter(is_near).take(5).collect()
    }
}

impl Model {
    /// The price of a reply at this time (Unix milliseconds).
    pub fn price_at(&self, at_ms: i64) -> &Price {
        let begun = |it: &&Price| it.since.is_some_and(|since| midnight_ms(since) <= at_ms);
        self.rows.iter().rev().find(begun).unwrap_or(&self.rows[0])
    }

    /// All prices that it has had and will have, the earliest first.
    pub fn prices(&self) -> &[Price] {
        &self.rows
    }
}

impl Found {
    /// The factor of the geography that the name says.
    pub fn geography(&self) -> Option<f64> {
        (self.geography != THOUSAND).then(|| self.geography as f64 / THOUSAND as f64)
    }
}

impl Known {
    fn get(&self, name: &str, look_up: impl FnOnce() -> Option<Found>) -> Option<Found> {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return found.clone();
        }
        let found = look_up();
        if name.len() <= MAX_KNOWN_NAME {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(name.into(), found.clone());
        }
        found
    }
}

impl Clone for Known {
    fn clone(&self) -> Known {
        Known::default()
    }
}

impl PartialEq for Known {
    fn eq(&self, _: &Known) -> bool {
        true
    }
}

impl fmt::Debug for Known {
    /// Checkpoints tell price lists apart by what `Debug` writes, so it says nothing of this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

const THOUSAND: i128 = 1000;

impl Rates {
    /// What these tokens cost. `factor` is in millionths.
    ///
    /// The rate of one token is rounded, and not the sum: so the result is linear in the tokens.
    fn apply(&self, tokens: &EntryTokens, factor: i128) -> i128 {
        let part = |count: u64, rate: f64| {
            let per_token = i128::from(picodollars(rate / 1e6)).saturating_mul(factor);
            let million = THOUSAND * THOUSAND;
            i128::from(count).saturating_mul((per_token + million / 2) / million)
        };
        part(tokens.input, self.input)
            .saturating_add(part(tokens.output, self.output))
            .saturating_add(part(tokens.cache_write_5m, self.cache_write_5m))
            .saturating_add(part(tokens.cache_write_1h, self.cache_write_1h))
            .saturating_add(part(tokens.cache_read, self.cache_read))
    }
}

/// The nearest whole number of picodollars; 0 for what is negative or not a number.
pub fn picodollars(usd: f64) -> Picodollars {
    // The cast saturates, and turns NaN into 0.
    (usd.max(0.0) * PER_DOLLAR).round() as Picodollars
}

/// A factor in thousandths.
fn thousandths(multiplier: Option<f64>) -> i128 {
    multiplier.map_or(THOUSAND, |it| (it.clamp(0.0, 1000.0) * 1000.0).round() as i128)
}

/// The beginning of a day in UTC, in Unix milliseconds.
fn midnight_ms(date: Date) -> i64 {
    i64::from((date - Date::constant(1970, 1, 1)).get_days()) * DAY_MS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usage::entry::Entry;
    use crate::usage::reply::{Origin, Replies};

    #[track_caller]
    fn check_name(model: &str, listed_as: Option<&str>) {
        let found = Prices::builtin().find(model);
        assert_eq!(found.as_ref().map(|it| &*it.model.name), listed_as, "{model}");
    }

    #[test]
    fn thresholds_are_steps_of_the_record() {
        let builtin = Prices::builtin();
        let rows = builtin.models().flat_map(Model::prices);
        let thresholds: Vec<_> =
            rows.filter_map(|it| it.above.as_ref()).map(|it| it.threshold_tokens).collect();
        assert!(!thresholds.is_empty() && thresholds.iter().all(|it| INPUT_STEPS.contains(it)));
    }

    #[test]
    fn additions_of_providers_and_dates_are_not_part_of_a_name() {
        check_name("claude-opus-4-8", Some("claude-opus-4-8"));
        check_name("claude-opus-4-8[1m]", Some("claude-opus-4-8"));
        check_name("claude-opus-4-8-20991231", Some("claude-opus-4-8"));
        check_name("anthropic/claude-opus-4-8", Some("claude-opus-4-8"));
        check_name("us.anthropic.claude-opus-4-6-v1:0", Some("claude-opus-4-6"));
        check_name("eu.anthropic.claude-sonnet-4-20250514-v1:0", Some("claude-sonnet-4-20250514"));
        check_name("claude-haiku-4-5@20251001", Some("claude-haiku-4-5-20251001"));
        check_name("claude-opus-4@20250514", Some("claude-opus-4-20250514"));
        check_name("claude-opus-4", Some("claude-opus-4-20250514"));
    }

    #[test]
    fn a_date_picks_its_release_and_a_name_without_one_the_newest() {
        check_name("claude-3.5-sonnet", Some("claude-3-5-sonnet-20241022"));
        check_name("claude-sonnet-3-5@20240620", Some("claude-3-5-sonnet-20240620"));
        check_name("anthropic/claude-3.5-sonnet-2024-06-20", Some("claude-3-5-sonnet-20240620"));
        check_name("claude-haiku-3.5:latest", Some("claude-3-5-haiku-latest"));
        check_name("claude-haiku-3.5", Some("claude-3-5-haiku-20241022"));
        check_name("claude-4-sonnet", Some("claude-sonnet-4-20250514"));
        check_name("claude-sonnet-4-0", Some("claude-sonnet-4-20250514"));
        check_name("claude-opus-4-8-latest", Some("claude-opus-4-8"));
        check_name("us.anthropic.claude-mythos-preview", Some("claude-mythos-preview"));
    }

    #[test]
    fn a_name_never_matches_another_version() {
        check_name("claude-opus-4-9", None);
        check_name("claude-opus-4-9-20260101", None);
        check_name("claude-opus", None);
        for name in ["claude-opus-4.9", "claude-9.9-opus", "claude-opus-4-80", "claude-4.80-opus"] {
            check_name(name, None);
        }
        check_name("claude-5-opus-20990101x", None);
        check_name("claude-opus-4.8.1", None);
        check_name("anthropic/claude-3.9-sonnet:thinking", None);
        check_name("claude-opus-4-8:free", None);
        check_name("claude-opus-4-8-turbo", None);
        check_name("claude-opus-4-8-v", None);
        check_name("gpt-5", None);
        check_name("", None);
    }

    /// What a reply costs, as the ledger and the record price it.
    fn cost(prices: &Prices, entry: &Entry) -> Option<Picodollars> {
        let reply = Replies::of(Origin::default()).make(0, entry);
        reply.quarter().cost(&reply.group, prices)
    }

    #[track_caller]
    fn check_cost(entry: Entry, usd: f64) {
        let cost = cost(&Prices::builtin(), &entry).expect("the model has a price");
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
    fn a_name_may_ask_for_the_fast_mode() {
        check_cost(entry("claude-opus-4-8-fast", [1_000_000, 0, 0, 0, 0]), 10.0);
        check_cost(entry("anthropic/claude-4.6-opus-fast", [1_000_000, 0, 0, 0, 0]), 30.0);
        let once = entry("claude-opus-4-8-fast[1m]", [1_000_000, 0, 0, 0, 0]);
        check_cost(Entry { is_fast: true, ..once }, 10.0);
        check_name("claude-haiku-4-5-fast", None);
    }

    #[test]
    fn geographic_profiles_cost_more_from_the_4_5_models_on() {
        let cost = |name: &str, usd| check_cost(entry(name, [1_000_000, 0, 0, 0, 0]), usd);
        cost("global.anthropic.claude-opus-4-6-v1", 5.0);
        cost("anthropic.claude-opus-4-6-v1", 5.0);
        for code in ["us", "eu", "au", "jp", "apac"] {
            cost(&format!("{code}.anthropic.claude-opus-4-6-v1"), 5.5);
            cost(&format!("bedrock/{code}.anthropic.claude-haiku-4-5-20251001-v1:0"), 1.1);
        }
        cost("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", 3.6);
        cost("bedrock/us-gov-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0", 3.6);
        cost("us.anthropic.claude-fable-5-2", 8.8);
        cost("eu.anthropic.claude-opus-4-1-20250805-v1:0", 15.0);
        cost("us-gov.anthropic.claude-3-7-sonnet-20250219-v1:0", 3.0);
        let us_only = entry("us.anthropic.claude-opus-4-6-v1", [1_000_000, 0, 0, 0, 0]);
        check_cost(Entry { is_us_only: true, ..us_only }, 5.5);
        let us_only = entry("us-gov.anthropic.claude-opus-4-6-v1", [1_000_000, 0, 0, 0, 0]);
        check_cost(Entry { is_us_only: true, is_fast: true, ..us_only }, 36.0);
    }

    fn flat(rate: f64, since: Option<&str>) -> Price {
        let rates = Rates {
            input: rate,
            output: rate,
            cache_write_5m: rate,
            cache_write_1h: rate,
            cache_read: rate,
        };
        let since = since.map(|it| it.parse().unwrap());
        Price { since, rates, above: None, fast_multiplier: None, us_multiplier: None }
    }

    #[test]
    fn a_price_applies_from_its_date_on_and_the_earliest_to_all_before() {
        let rows = vec![
            flat(1.0, Some("2026-12-01")),
            flat(3.0, Some("2026-11-01")),
            flat(2.0, Some("2026-11-15")),
        ];
        let prices = Prices::builtin().with([("house-model".to_owned(), rows)]);
        let check = |at: &str, usd: f64| {
            let at_ms = at.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            let entry = Entry { at_ms, ..entry("house-model", [1_000_000, 0, 0, 0, 0]) };
            assert_eq!(cost(&prices, &entry), Some(picodollars(usd)), "{at}");
        };
        check("2020-01-01T00:00:00Z", 3.0);
        check("2026-11-14T23:59:59.999Z", 3.0);
        check("2026-11-15T00:00:00Z", 2.0);
        check("2026-11-30T23:59:59.999Z", 2.0);
        check("2026-12-01T00:00:00Z", 1.0);
        check("2030-01-01T00:00:00Z", 1.0);
    }

    fn any_tokens() -> impl Strategy<Value = EntryTokens> {
        prop::array::uniform5(0..100_000_000_u64).prop_map(
            |[input, output, cache_write_5m, cache_write_1h, cache_read]| EntryTokens {
                input,
                output,
                cache_write_5m,
                cache_write_1h,
                cache_read,
            },
        )
    }

    proptest! {
        /// The record of usage keeps sums, and prices those.
        #[test]
        fn the_price_of_a_sum_is_the_sum_of_the_prices(
            parts in prop::collection::vec((any_tokens(), 0..5_u64), 1..20),
            model in prop::sample::select(vec![
                "claude-opus-4-8", "us.anthropic.claude-opus-4-6-v1", "claude-haiku-5-5",
                "us-gov.anthropic.claude-sonnet-4-5", "claude-opus-4-7-fast", "odd",
            ]),
            (is_fast, is_us_only, request_input) in (any::<bool>(), any::<bool>(), 0..600_000_u64),
        ) {
            let odd = Price {
                fast_multiplier: Some(1.2345),
                us_multiplier: Some(1.0 / 3.0),
                ..flat(0.123_456_789, None)
            };
            let prices = Prices::builtin().with([("odd".to_owned(), vec![odd])]);
            let charge = |tokens, n_web_searches| {
                let charge = Charge {
                    model, at_ms: 0, is_fast, is_us_only, request_input, tokens, n_web_searches
                };
                prices.charge(&charge).expect("is priced")
            };
            let mut sum = EntryTokens::default();
            for (part, _) in &parts {
                sum.input += part.input;
                sum.output += part.output;
                sum.cache_write_5m += part.cache_write_5m;
                sum.cache_write_1h += part.cache_write_1h;
                sum.cache_read += part.cache_read;
            }
            let searches = parts.iter().map(|it| it.1).sum();
            let apart: i64 = parts.iter().map(|(tokens, n)| charge(*tokens, *n)).sum();
            prop_assert_eq!(charge(sum, searches), apart);
        }
    }

    #[test]
    fn names_that_never_end_do_not_fill_the_memory() {
        let prices = Prices::builtin();
        for n in 0..3 * MAX_KNOWN {
            assert!(prices.find(&format!("claude-opus-4-8-{n}x")).is_none());
            assert!(prices.find("claude-opus-4.8").is_some());
        }
        assert!(prices.find(&"x".repeat(MAX_KNOWN_NAME + 1)).is_none());
        assert!(prices.known.0.read().unwrap().len() <= MAX_KNOWN);
        assert_eq!(prices, prices.clone());
        assert_eq!(format!("{prices:?}"), format!("{:?}", Prices::builtin()));
    }

    #[test]
    fn every_token_of_a_large_request_costs_more() {
        check_cost(entry("claude-sonnet-4-20250514", [0, 1000, 0, 0, 200_000]), 0.075);
        check_cost(entry("claude-sonnet-4-20250514", [1, 1000, 0, 0, 200_000]), 0.142506);
    }

    #[test]
    fn an_unlisted_model_that_used_nothing_costs_nothing() {
        check_cost(entry("<synthetic>", [0; 5]), 0.0);
        let used = entry("<synthetic>", [1, 0, 0, 0, 0]);
        assert_eq!(cost(&Prices::builtin(), &used), None);
    }

    #[test]
    fn absurd_counts_saturate() {
        let tokens = entry("", [u64::MAX; 5]).tokens;
        let cost = Prices::builtin().charge(&Charge {
            model: "claude-opus-4-8",
            at_ms: 0,
            is_fast: false,
            is_us_only: false,
            request_input: tokens.all_input(),
            tokens,
            n_web_searches: 0,
        });
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
        let own = ["house-model", "claude-opus-4-8", "us.anthropic.claude-opus-5-v1:0"];
        let own = own.map(|name| (name.to_owned(), vec![flat(7.0, None)]));
        let prices = Prices::builtin().with(own);
        let check = |name: &str, usd: f64| {
            let cost = cost(&prices, &entry(name, [1_000_000, 0, 0, 0, 0]));
            assert_eq!(cost, Some(picodollars(usd)), "{name}");
        };
        check("house-model", 7.0);
        check("gateway/House-Model[1m]", 7.0);
        check("anthropic/claude-4.8-opus", 7.0);
        check("eu.anthropic.claude-opus-4-8", 7.7);
        check("us.anthropic.claude-opus-5-v1:0", 7.0);
        check("us.anthropic.claude-opus-5-v1:0[1m]", 7.0);
        check("us.anthropic.claude-opus-5", 5.5);
    }
}
