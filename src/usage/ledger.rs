//! PURE. What the replies of one config root add up to.
//!
//! **Invariant:** the sums are those of the elected replies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::store::schema::{SessionId, Totals, Usage};
use crate::time::DAY_MS;
use crate::usage::blocks::{self, SlotKey, Slots};
use crate::usage::calendar::WindowStarts;
use crate::usage::election::{Added, Change, Election};
use crate::usage::prices::Prices;
use crate::usage::reply::Reply;
use crate::usage::sums::Sums;

/// How far back the windows reach at most: one month, and the week in which it began.
pub const REACH_MS: i64 = 35 * DAY_MS;

/// The most models without a price that are named.
const MAX_UNPRICED: usize = 64;

/// The replies of one config root that can still be in a window, and the sums over the elected
/// ones.
#[derive(Clone, Debug)]
pub struct Ledger {
    prices: Prices,
    horizon_ms: i64,
    election: Election,
    slots: Slots,
    /// What each session used, by its number in the election.
    sessions: Vec<Sums>,
    /// Numbers of elected replies whose model has no price, by slot and group.
    unpriced: BTreeMap<(SlotKey, u32), u32>,
}

/// What one session used, including its subagents.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTotals {
    pub totals: Totals,
    /// Tokens read from the cache ÷ all input tokens, 0 to 1; `None` without input.
    pub cache_hit_ratio: Option<f64>,
    pub n_entries: u64,
}

impl Ledger {
    /// An empty ledger that prices replies with `prices`.
    pub fn new(prices: Prices) -> Ledger {
        Ledger {
            prices,
            horizon_ms: i64::MIN,
            election: Election::default(),
            slots: Slots::new(),
            sessions: Vec::new(),
            unpriced: BTreeMap::new(),
        }
    }

    /// Applies other prices to all replies, also to those of the past.
    pub fn reprice(&mut self, prices: Prices) {
        self.prices = prices;
        self.slots.clear();
        self.unpriced.clear();
        self.sessions.clear();
        self.election.report_all();
        self.count_changes();
    }

    /// Takes in a copy of a reply. `None` where it is older than the horizon.
    pub fn add(&mut self, reply: &Reply) -> Option<Added> {
        if reply.at_ms < self.horizon_ms {
            return None;
        }
        let added = self.election.add(reply);
        self.count_changes();
        Some(added)
    }

    /// Drops replies older than `horizon_ms`, and refuses such replies from now on. A horizon
    /// earlier than the last one changes nothing.
    ///
    /// Where copies of a reply lie on both sides of the horizon, those before it can no longer be
    /// elected. So the horizon must be some days before the first window; now − [`REACH_MS`] is.
    pub fn forget_before(&mut self, horizon_ms: i64) {
        self.horizon_ms = self.horizon_ms.max(horizon_ms);
        self.election.forget_before(self.horizon_ms);
        let changes = self.election.take_changes();
        if !changes.is_empty() {
            changes.iter().for_each(|it| self.count(it));
            self.election.free();
        }
    }

    /// Whether the horizon is so late that replies in a window are refused: the clock was days
    /// ahead when the horizon was set.
    pub fn is_ahead(&self, now_ms: i64) -> bool {
        self.horizon_ms > now_ms - REACH_MS + DAY_MS
    }

    /// The copies that represent the replies.
    pub fn replies(&self) -> impl Iterator<Item = Reply> {
        self.election.replies().map(|(reply, _)| reply)
    }

    /// What a session used; `None` where it has no elected reply.
    pub fn session(&self, session: &SessionId) -> Option<SessionTotals> {
        let sums = self.sessions.get(self.election.session(&session.0)? as usize)?;
        let all_input = sums.input + sums.cache_write + sums.cache_read;
        (sums.n_entries > 0).then(|| SessionTotals {
            totals: sums.totals(),
            cache_hit_ratio: (all_input > 0).then(|| sums.cache_read as f64 / all_input as f64),
            n_entries: sums.n_entries,
        })
    }

    /// What the config root used. The caller fills in `as_of_ms`, `day_ends_ms` and
    /// `skipped_lines`.
    pub fn usage(&self, now_ms: i64, zone: &TimeZone, week_starts: Weekday) -> Usage {
        let block = blocks::active(&self.slots, now_ms);
        let Some(starts) = WindowStarts::at(now_ms, zone, week_starts) else {
            return Usage { block, ..Usage::default() };
        };
        // Each window is part of the next larger one, so each slot is visited once.
        let (inner_ms, widest_ms) = match starts.week_ms < starts.month_ms {
            true => (starts.month_ms, starts.week_ms),
            false => (starts.week_ms, starts.month_ms),
        };
        let today = self.sum_up(starts.today_ms..starts.tomorrow_ms);
        let mut inner = self.sum_up(inner_ms..starts.today_ms);
        inner += &today;
        let mut widest = self.sum_up(widest_ms..inner_ms);
        widest += &inner;
        let (week, month) = match widest_ms == starts.week_ms {
            true => (&widest, &inner),
            false => (&inner, &widest),
        };
        let widest_ms = block.as_ref().map_or(widest_ms, |it| it.start_ms.min(widest_ms));
        Usage {
            today: today.totals(),
            week: week.totals(),
            month: month.totals(),
            block,
            unpriced_models: self.unpriced_since(widest_ms),
            ..Usage::default()
        }
    }

    /// The models without a price that were used since `from_ms`, each once, in the order of the
    /// alphabet.
    fn unpriced_since(&self, from_ms: i64) -> Vec<String> {
        let groups = self.unpriced.range((SlotKey::of(from_ms), 0)..).map(|((_, group), _)| group);
        let models = groups.map(|group| match &*self.election.group(*group).model {
            "" => "unknown",
            model => model,
        });
        let models: BTreeSet<&str> = models.collect();
        models.into_iter().take(MAX_UNPRICED).map(str::to_owned).collect()
    }

    /// The sums over `span`, whose bounds must lie on quarter-hours.
    pub fn sum_up(&self, span: Range<i64>) -> Sums {
        let mut sums = Sums::default();
        for (_, slot) in self.slots.range(SlotKey::range(span)) {
            sums += &slot.sums;
        }
        sums
    }

    fn count_changes(&mut self) {
        for change in self.election.take_changes() {
            self.count(&change);
        }
    }

    fn count(&mut self, change: &Change) {
        let Change { is_elected, session, group, quarter } = change;
        let cost = quarter.cost(self.election.group(*group), &self.prices);
        let sums = Sums {
            n_entries: 1,
            n_unpriced: cost.is_none().into(),
            input: quarter.tokens.input,
            output: quarter.tokens.output,
            cache_write: quarter.tokens.cache_write_5m + quarter.tokens.cache_write_1h,
            cache_read: quarter.tokens.cache_read,
            picodollars: cost.unwrap_or(0).into(),
        };
        let n_sessions = self.sessions.len().max(*session as usize + 1);
        self.sessions.resize(n_sessions, Sums::default());
        let session = &mut self.sessions[*session as usize];
        if *is_elected {
            blocks::insert(&mut self.slots, quarter.first_ms, &sums);
            *session += &sums;
        } else {
            blocks::remove(&mut self.slots, quarter.first_ms, &sums);
            *session -= &sums;
        }
        if cost.is_none() {
            let slot = (SlotKey::of(quarter.first_ms), *group);
            let n = self.unpriced.entry(slot).or_default();
            *n = if *is_elected { *n + 1 } else { *n - 1 };
            if *n == 0 {
                self.unpriced.remove(&slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::entry::EntryTokens;
    use crate::usage::reply::testing::{NOON, in_session, reply};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn session(name: &str) -> SessionId {
        SessionId::checked(name).expect("is a session id")
    }

    fn ledger(replies: &[Reply]) -> Ledger {
        let mut ledger = Ledger::new(Prices::builtin());
        for reply in replies {
            ledger.add(reply);
        }
        ledger
    }

    fn usage(ledger: &Ledger) -> Usage {
        ledger.usage(NOON, &TimeZone::UTC, Weekday::Monday)
    }

    #[test]
    fn a_late_winner_moves_its_reply_to_its_own_session_and_day() {
        let mut ledger = ledger(&[in_session("s", reply("msg_1", "r", 5))]);
        let yesterday = Reply { at_ms: NOON - DAY_MS, ..reply("msg_1", "r", 9) };
        let added = ledger.add(&in_session("t", yesterday));
        assert_eq!(added, Some(Added::New { instead_of_ms: Some(NOON) }));
        assert_eq!(ledger.session(&session("s")), None);
        assert_eq!(ledger.session(&session("t")).map(|it| it.totals.tokens.output), Some(9));
        let usage = usage(&ledger);
        assert_eq!((usage.today.tokens.output, usage.month.tokens.output), (0, 9));
    }

    #[test]
    fn replies_before_the_horizon_are_dropped_and_refused() {
        let mut ledger = ledger(&[reply("msg_1", "r", 5)]);
        ledger.forget_before(NOON);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 5);
        ledger.forget_before(NOON + 1);
        assert_eq!(ledger.replies().count(), 0);
        assert_eq!(ledger.add(&reply("msg_2", "r", 5)), None);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 0);
    }

    #[test]
    fn sessions_without_replies_take_no_room() {
        let mut ledger = Ledger::new(Prices::builtin());
        for day in 0..100 {
            let at_ms = NOON + day * DAY_MS;
            let reply = Reply { at_ms, ..reply(&format!("msg_{day}"), "r", 5) };
            ledger.add(&in_session(&day.to_string(), reply));
            ledger.forget_before(at_ms - 2 * DAY_MS);
        }
        assert_eq!(ledger.sessions.len(), 4);
        let output = |id: &str| ledger.session(&session(id)).map(|it| it.totals.tokens.output);
        assert_eq!(["96", "97", "99"].map(output), [None, Some(5), Some(5)]);
    }

    #[test]
    fn a_model_without_a_price_is_named() {
        let unknown = |name: &str| {
            let mut reply = reply(name, "r", 5);
            std::sync::Arc::make_mut(&mut reply.group).model = name.into();
            reply
        };
        let nothing = Reply { tokens: EntryTokens::default(), ..unknown("<synthetic>") };
        let mut ledger =
            ledger(&[unknown("house-model"), unknown(""), reply("msg_1", "r", 4), nothing]);
        assert_eq!(usage(&ledger).unpriced_models, ["house-model", "unknown"]);
        assert_eq!(usage(&ledger).today.unpriced, 2);
        let of_session = ledger.session(&session("s")).map(|it| it.totals.unpriced);
        assert_eq!(of_session, Some(2));
        assert_eq!(usage(&ledger).today.cost_usd, 0.0001);
        let model = Prices::builtin().find("claude-opus-4-8").expect("is listed").model;
        let own = [("house-model".to_owned(), model.prices().to_vec())];
        ledger.reprice(Prices::builtin().with(own));
        assert_eq!(usage(&ledger).unpriced_models, ["unknown"]);
        assert_eq!(usage(&ledger).today.cost_usd, 0.000_225, "what is past has its price now");
    }

    #[track_caller]
    fn check_windows(zone: &str, now: &str, at: &str, expected: [bool; 3]) {
        let ms = |it: &str| it.parse::<Timestamp>().expect("is a time").as_millisecond();
        let reply = Reply { at_ms: ms(at), ..reply("msg_1", "r", 1) };
        let zone = TimeZone::get(zone).expect("is a zone");
        let usage = ledger(&[reply]).usage(ms(now), &zone, Weekday::Monday);
        let counted = [usage.today, usage.week, usage.month].map(|it| it.tokens.output == 1);
        assert_eq!(counted, expected, "{at} at {now}");
    }

    #[test]
    fn days_weeks_and_months_begin_at_local_midnight() {
        // Wednesday the second of December, shortly after midnight in Kathmandu (+05:45).
        let check = |at, expected| {
            check_windows("Asia/Kathmandu", "2026-12-01T18:20:00Z", at, expected);
        };
        check("2026-12-01T18:15:00Z", [true, true, true]);
        check("2026-12-01T18:14:59.999Z", [false, true, true]);
        check("2026-11-30T18:14:59.999Z", [false, true, false]);
        check("2026-11-29T18:15:00Z", [false, true, false]);
        check("2026-11-29T18:14:59.999Z", [false, false, false]);
        check("2026-12-02T18:15:00Z", [false, false, false]);
    }

    #[test]
    fn a_day_of_23_hours_is_a_day() {
        let check = |at, expected| {
            check_windows("Europe/Berlin", "2026-03-29T12:00:00Z", at, expected);
        };
        check("2026-03-28T23:00:00Z", [true, true, true]);
        check("2026-03-28T22:59:59Z", [false, true, true]);
        check("2026-03-29T22:00:00Z", [false, false, false]);
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        let model = prop_oneof!["claude-opus-4-8", "house-model"];
        (0..4_usize, 0..3_usize, any::<bool>(), 1..5_u64, 0..40_i64, model).prop_map(
            |(message, session, is_sidechain, output, hours, model)| {
                let id = ["msg_1", "msg_2", "msg_3", "resp_3"][message];
                let mut reply = Reply {
                    at_ms: NOON - hours * 3_600_000,
                    is_sidechain,
                    ..in_session(["s", "t", "u"][session], reply(id, "r", output))
                };
                std::sync::Arc::make_mut(&mut reply.group).model = model.into();
                reply
            },
        )
    }

    proptest! {
        /// The sums are those of a new ledger with the replies that are elected, whatever was added
        /// and dropped before, and with other prices too.
        #[test]
        fn the_sums_are_those_of_the_elected_replies(
            replies in prop::collection::vec(any_reply(), 1..40),
            hours in 0..40_i64,
            is_repriced in any::<bool>(),
        ) {
            let mut warm = ledger(&replies);
            if is_repriced {
                warm.reprice(Prices::builtin());
            }
            warm.forget_before(NOON - hours * 3_600_000);
            let cold = ledger(&warm.replies().collect::<Vec<_>>());
            prop_assert_eq!(usage(&warm), usage(&cold));
            for id in ["s", "t", "u"] {
                prop_assert_eq!(warm.session(&session(id)), cold.session(&session(id)));
            }
        }
    }
}
