//! PURE. Counters of what was used, which never go back.
//!
//! They are derived from the record of usage. What the record says of a month can decrease: another
//! copy of a reply is elected, a price is cut, or `[usage] keep` deletes the month. Prometheus
//! takes a counter that decreases for one that has begun again from 0, and would count everything
//! twice. So what was exported of each month is kept, in a file of its own, and no less is exported
//! later.
//!
//! **Invariant:** no counter decreases as long as that file is kept, whatever the record says.
//!
//! See docs/decisions/037-exported-counters-have-a-floor.md.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::sanitize;
use crate::usage::entry::EntryTokens;
use crate::usage::history::{AccountHistory, History};
use crate::usage::ledger::REACH_MS;
use crate::usage::prices::{Picodollars, Prices};

/// The version of the file's format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// So many models have a label of their own.
const MAX_MODELS: usize = 20;
/// So many accounts are exported.
const MAX_ACCOUNTS: usize = 32;
/// The longest name of a model in a label, in characters.
const MAX_MODEL_NAME: usize = 64;
/// The longest label of an account, in characters, without a number at its end.
const MAX_LABEL: usize = 32;
/// The label of all models that have none of their own.
const OTHER: &str = "other";
/// The label of replies that name no model.
const UNKNOWN: &str = "unknown";

/// What was exported, and under which labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub format: u32,
    /// The models with a label of their own, in the order in which they got it. A model keeps its
    /// label: if another one took it, the sum of all others would decrease.
    models: Vec<String>,
    /// By config root.
    accounts: BTreeMap<String, Account>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// A word for the account that is no path.
    label: String,
    /// By month, as in `2026-11` (UTC), and by the label of the model.
    months: BTreeMap<String, BTreeMap<String, Sum>>,
}

/// What was exported of one account, month and model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_write: u64,
    pub(super) cache_read: u64,
    pub(super) n_replies: u64,
    /// In picodollars.
    pub(super) cost: Picodollars,
    /// The cost by the record when it was last read, at the prices of that time. What the record
    /// says more than this is added to `cost`, so that `cost` also rises after a cut of prices.
    cost_seen: Picodollars,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { format: FORMAT, models: Vec::new(), accounts: BTreeMap::new() }
    }
}

impl Counters {
    /// Takes in what the record says of these config roots. A month that it does not have stays as
    /// it was.
    pub fn update(&mut self, roots: &[String], history: &History, prices: &Prices) {
        for root in roots {
            self.add_account(root);
        }
        let accounts: Vec<(&String, &AccountHistory)> = roots
            .iter()
            .filter_map(|root| {
                let mut accounts = history.accounts.iter();
                Some((root, accounts.find(|it| it.root == Path::new(root))?))
            })
            .collect();
        self.label_models(&accounts);
        for (root, history) in accounts {
            let now = self.sums(history, prices);
            let Some(account) = self.accounts.get_mut(root) else { continue };
            for ((month, model), sum) in now {
                let models = account.months.entry(month).or_default();
                models.entry(model).or_default().rise_to(&sum);
            }
        }
    }

    /// The label of an account; `None` for one that is not exported.
    pub(super) fn label(&self, root: &str) -> Option<&str> {
        self.accounts.get(root).map(|it| it.label.as_str())
    }

    /// What an account used in all months, by the label of the model.
    pub(super) fn totals(&self, root: &str) -> BTreeMap<&str, Sum> {
        let mut totals: BTreeMap<&str, Sum> = BTreeMap::new();
        let months = self.accounts.get(root).into_iter().flat_map(|it| it.months.values());
        for (model, sum) in months.flatten() {
            totals.entry(model).or_default().add(sum);
        }
        totals
    }

    fn add_account(&mut self, root: &str) {
        if self.accounts.contains_key(root) || self.accounts.len() >= MAX_ACCOUNTS {
            return;
        }
        let taken: BTreeSet<&str> = self.accounts.values().map(|it| it.label.as_str()).collect();
        let word = label_of(root);
        let numbered = (2..).map(|n| format!("{word}-{n}"));
        let free = std::iter::once(word.clone()).chain(numbered);
        let label = free.into_iter().find(|it| !taken.contains(it.as_str()));
        let label = label.expect("there are more numbers than accounts");
        self.accounts.insert(root.to_owned(), Account { label, ..Account::default() });
    }

    /// Gives labels to models that have none, as long as there are any left: first to those that
    /// were used most.
    fn label_models(&mut self, accounts: &[(&String, &AccountHistory)]) {
        let mut used: BTreeMap<String, u64> = BTreeMap::new();
        for (group, quarters) in accounts.iter().flat_map(|(_, history)| &history.sums) {
            let tokens = quarters.values().map(|it| n_tokens(&it.tokens));
            let n = tokens.fold(0, u64::saturating_add);
            let sum = used.entry(name_of(&group.model)).or_default();
            *sum = sum.saturating_add(n);
        }
        // Claude Code itself writes replies, under a name that is no model; they use nothing.
        used.retain(|model, n| *n > 0 && model != OTHER && !self.models.contains(model));
        let mut new: Vec<(String, u64)> = used.into_iter().collect();
        new.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let n_left = MAX_MODELS.saturating_sub(self.models.len());
        self.models.extend(new.into_iter().take(n_left).map(|(model, _)| model));
    }

    /// What the record says of an account, by month and by the label of the model.
    fn sums(&self, history: &AccountHistory, prices: &Prices) -> BTreeMap<(String, String), Sum> {
        let mut sums: BTreeMap<(Date, &str), Sum> = BTreeMap::new();
        for (group, quarters) in &history.sums {
            let name = name_of(&group.model);
            let own = self.models.iter().find(|it| **it == name);
            let label = own.map_or(OTHER, String::as_str);
            for (slot, quarter) in quarters {
                let cost = quarter.cost(group, prices).unwrap_or(0);
                if n_tokens(&quarter.tokens) == 0 && cost == 0 {
                    continue;
                }
                let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } =
                    quarter.tokens;
                let sum = sums.entry((month_of(slot.quarter_ms()), label)).or_default();
                sum.add(&Sum {
                    input,
                    output,
                    cache_write: cache_write_5m.saturating_add(cache_write_1h),
                    cache_read,
                    n_replies: quarter.n_replies,
                    cost,
                    cost_seen: cost,
                });
            }
        }
        let month = |date: Date| format!("{:04}-{:02}", date.year(), date.month());
        sums.into_iter().map(|((at, label), sum)| ((month(at), label.to_owned()), sum)).collect()
    }
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        let Sum { input, output, cache_write, cache_read, n_replies, cost, cost_seen } = *other;
        self.input = self.input.saturating_add(input);
        self.output = self.output.saturating_add(output);
        self.cache_write = self.cache_write.saturating_add(cache_write);
        self.cache_read = self.cache_read.saturating_add(cache_read);
        self.n_replies = self.n_replies.saturating_add(n_replies);
        self.cost = self.cost.saturating_add(cost);
        self.cost_seen = self.cost_seen.saturating_add(cost_seen);
    }

    /// Rises to what the record says of the same month and model now, where that is more.
    fn rise_to(&mut self, now: &Sum) {
        // With fewer replies than before, something of the record is missing, perhaps for a
        // moment: what it says then must not count as a cut of prices, since all of it would be
        // added again when the rest is back.
        if now.n_replies >= self.n_replies {
            let more = now.cost.saturating_sub(self.cost_seen).max(0);
            self.cost = self.cost.saturating_add(more);
            self.cost_seen = now.cost;
        }
        self.input = self.input.max(now.input);
        self.output = self.output.max(now.output);
        self.cache_write = self.cache_write.max(now.cache_write);
        self.cache_read = self.cache_read.max(now.cache_read);
        self.n_replies = self.n_replies.max(now.n_replies);
    }
}

/// The span of the months that can still change, in Unix milliseconds: from the first day of the
/// month to which the windows reach back.
pub fn recent(now_ms: i64) -> Range<i64> {
    let first = month_of(now_ms - REACH_MS).to_datetime(Time::midnight());
    let first = TimeZone::UTC.to_timestamp(first);
    first.map_or(i64::MIN, |it| it.as_millisecond())..i64::MAX
}

/// The first day of the month that this time is in, in UTC.
fn month_of(at_ms: i64) -> Date {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    TimeZone::UTC.to_datetime(at).date().first_of_month()
}

fn n_tokens(tokens: &EntryTokens) -> u64 {
    let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = *tokens;
    [input, output, cache_write_5m, cache_write_1h, cache_read]
        .into_iter()
        .fold(0, u64::saturating_add)
}

/// The name of a model as it stands in a label.
fn name_of(model: &str) -> String {
    let name: String = sanitize::marked(model).chars().take(MAX_MODEL_NAME).collect();
    if name.trim().is_empty() { UNKNOWN.to_owned() } else { name }
}

/// A word for a config root: the name of its directory, without the dot before it.
fn label_of(root: &str) -> String {
    let name = Path::new(root).file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let plain = |it: char| if it.is_alphanumeric() || "-_.".contains(it) { it } else { '-' };
    let word: String = name.trim_start_matches('.').chars().take(MAX_LABEL).map(plain).collect();
    if word.is_empty() { "root".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::blocks::SlotKey;
    use crate::usage::history::{Group, Quarter};
    use crate::usage::prices::picodollars;
    use proptest::prelude::*;
    use std::sync::Arc;

    const ROOT: &str = "/home/u/.claude";
    /// In November 2026.
    const NOW_MS: i64 = 1_795_435_200_000;
    const DAY_MS: i64 = 86_400_000;

    /// A price list in which a thousand output tokens of `opus` cost this, in dollars.
    fn prices(usd: f64) -> Prices {
        let text = format!("[prices.opus]\ninput = 0\noutput = {}\n", usd * 1000.0);
        let config = crate::config::Config::parse(text.as_bytes()).unwrap();
        config.prices(Prices::new(Date::constant(2026, 1, 1), 0.0))
    }

    /// So many replies with a thousand output tokens each: model, days ago, number.
    fn history(used: &[(&str, i64, u64)]) -> History {
        let mut account = AccountHistory { root: ROOT.into(), ..AccountHistory::default() };
        for (model, days_ago, n) in used {
            let at_ms = NOW_MS - days_ago * DAY_MS;
            let tokens = EntryTokens { output: n * 1000, ..EntryTokens::default() };
            let quarter = Quarter {
                n_replies: *n,
                first_ms: at_ms,
                last_ms: at_ms,
                tokens,
                ..Quarter::default()
            };
            let group = Arc::new(Group { model: (*model).into(), ..Group::default() });
            let quarters = account.sums.entry(group).or_default();
            quarters.entry(SlotKey::of(at_ms)).or_default().add(&quarter);
        }
        History { accounts: vec![account], problems: Vec::new() }
    }

    fn update(counters: &mut Counters, used: &[(&str, i64, u64)], usd: f64) {
        counters.update(&[ROOT.to_owned()], &history(used), &prices(usd));
    }

    /// Output tokens in thousands, replies, and cost in dollars.
    #[track_caller]
    fn check(counters: &Counters, model: &str, tokens: u64, n_replies: u64, usd: f64) {
        let sum = counters.totals(ROOT).get(model).copied().unwrap_or_default();
        let found = (sum.output, sum.n_replies, sum.cost);
        assert_eq!(found, (tokens * 1000, n_replies, picodollars(usd)), "{model}");
    }

    #[test]
    fn a_deleted_month_stays_counted_and_the_next_reply_is_added() {
        let mut counters = Counters::default();
        update(&mut counters, &[("opus", 70, 5), ("opus", 0, 1)], 1.0);
        check(&counters, "opus", 6, 6, 6.0);
        update(&mut counters, &[("opus", 0, 1)], 1.0);
        check(&counters, "opus", 6, 6, 6.0);
        update(&mut counters, &[("opus", 0, 3)], 1.0);
        check(&counters, "opus", 8, 8, 8.0);
    }

    #[test]
    fn a_cost_stays_at_a_cut_of_prices_and_goes_on_from_there() {
        let mut counters = Counters::default();
        update(&mut counters, &[("opus", 0, 10)], 1.0);
        update(&mut counters, &[("opus", 0, 10)], 0.5);
        check(&counters, "opus", 10, 10, 10.0);
        update(&mut counters, &[("opus", 0, 12)], 0.5);
        check(&counters, "opus", 12, 12, 11.0);
    }

    #[test]
    fn a_record_that_is_gone_for_a_moment_is_not_counted_twice() {
        let mut counters = Counters::default();
        let used = [("opus", 0, 10)];
        update(&mut counters, &used, 1.0);
        counters.update(&[ROOT.to_owned()], &History::default(), &prices(1.0));
        update(&mut counters, &[("opus", 0, 2)], 1.0);
        update(&mut counters, &used, 1.0);
        check(&counters, "opus", 10, 10, 10.0);
    }

    #[test]
    fn further_models_share_a_label_and_none_loses_its_own() {
        let names: Vec<String> = (0..30).map(|n| format!("m{n:02}")).collect();
        let used: Vec<_> = names.iter().map(|it| (it.as_str(), 0, 1)).collect();
        let mut counters = Counters::default();
        update(&mut counters, &used, 1.0);
        assert_eq!(counters.totals(ROOT).len(), MAX_MODELS + 1);
        check(&counters, OTHER, 10, 10, 0.0);
        check(&counters, "m00", 1, 1, 0.0);
        let used: Vec<_> = names.iter().rev().map(|it| (it.as_str(), 0, 7)).collect();
        update(&mut counters, &used, 1.0);
        check(&counters, OTHER, 70, 70, 0.0);
    }

    #[test]
    fn accounts_have_words_that_are_no_paths_and_keep_them() {
        let roots = ["/h/.claude", "/h/.config/claude", "/", "/h/a b/"].map(str::to_owned);
        let mut counters = Counters::default();
        counters.update(&roots[1..], &History::default(), &prices(1.0));
        counters.update(&roots, &History::default(), &prices(1.0));
        let labels = roots.each_ref().map(|it| counters.label(it).unwrap().to_owned());
        assert_eq!(labels, ["claude-2", "claude", "root", "a-b"]);
    }

    #[test]
    fn months_that_can_change_begin_at_the_first_of_a_month() {
        let start = Timestamp::from_millisecond(recent(NOW_MS).start).unwrap();
        assert_eq!(start.to_string(), "2026-10-01T00:00:00Z");
    }

    proptest! {
        /// Whatever becomes of the record, of prices and of the process, no counter decreases, and
        /// none is less than the record says of what can still be counted.
        #[test]
        fn counters_never_decrease(
            steps in prop::collection::vec(
                (prop::collection::vec((0..25_usize, 0..80_i64, 1..5_u64), 0..12), 0..4_u32),
                1..8,
            ),
        ) {
            let mut counters = Counters::default();
            let mut before: BTreeMap<String, Sum> = BTreeMap::new();
            for (used, price) in steps {
                let names: Vec<_> = (0..25).map(|n| format!("m{n}")).chain(["opus".to_owned()]).collect();
                let used: Vec<_> = used
                    .iter()
                    .map(|(model, days, n)| {
                        (if *model == 0 { "opus" } else { names[*model].as_str() }, *days, *n)
                    })
                    .collect();
                update(&mut counters, &used, f64::from(price));
                // A restart.
                let text = serde_json::to_string(&counters).unwrap();
                counters = serde_json::from_str(&text).unwrap();
                let now: BTreeMap<String, Sum> =
                    counters.totals(ROOT).into_iter().map(|(it, sum)| (it.to_owned(), sum)).collect();
                for (model, was) in &before {
                    let is = now[model];
                    prop_assert!(
                        is.output >= was.output && is.n_replies >= was.n_replies && is.cost >= was.cost,
                        "{model}: {was:?} became {is:?}"
                    );
                }
                let n_used: u64 = used.iter().map(|it| it.2).sum();
                prop_assert!(now.values().map(|it| it.n_replies).sum::<u64>() >= n_used);
                before = now;
            }
        }
    }
}
