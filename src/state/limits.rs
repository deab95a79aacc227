//! PURE. The limits of an account: the newest observation of each, and when it will be used up.
//!
//! Claude Code learns the limits with each reply of the API. Each session reports those of its own
//! last reply, so the sessions of one account disagree. An observation is as old as the reply that
//! it came with.
//!
//! See docs/decisions/028-the-newest-word-wins.md.
//!
//! **Invariant:** an older observation never replaces a newer one, and an observation is not
//! reported after its window has ended.

use std::collections::BTreeMap;

use crate::store::schema::limits::window_ms;
use crate::store::schema::{Limit, Limits};
use crate::time::{MINUTE_MS, Now};

/// The most limits that are kept. A snapshot has three, and at most eight others.
const MAX_LIMITS: usize = 11;
/// No pace is computed from a shorter time than this.
const LEAST_SPAN_MS: i64 = 5 * MINUTE_MS;
/// No pace is computed from less use than this, in percent of the limit.
const LEAST_PERCENT: f64 = 1.0;

/// The limits of one account, by the client's names for them.
#[derive(Clone, Debug, Default)]
pub(super) struct ObservedLimits(BTreeMap<String, Window>);

/// The first and the newest observation of the current window of a limit.
#[derive(Clone, Debug)]
struct Window {
    first: Limit,
    newest: Limit,
}

/// What a document of the client says of the limits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    /// They are plausible, and `as_of_ms` in them is the time of the reply that they came with.
    pub(super) limits: Limits,
    /// What the session said before.
    pub(super) before: Limits,
    pub(super) novelty: Novelty,
}

/// How new a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// A reply since the statement before brought it.
    New,
    /// The session says what it said before. Its limits are dated with its last reply.
    Repeated,
    /// The session has had no reply. A reply to another session brought it, which may be older than
    /// anything else that is known.
    Inherited,
}

impl ObservedLimits {
    /// Takes in what the client says.
    pub(super) fn merge(&mut self, statement: &Statement, now: Now) {
        let Statement { limits, before, novelty } = statement;
        if *novelty == Novelty::New {
            self.deny(limits, before, now);
        }
        for (name, limit) in limits.iter() {
            let known = self.0.get_mut(name).map(|it| &mut it.newest);
            match (novelty, known) {
                (Novelty::Repeated, Some(known)) if known.is_same_statement(limit) => {
                    known.as_of_ms = known.as_of_ms.max(limit.as_of_ms);
                }
                (Novelty::Repeated, _) => {}
                (Novelty::Inherited, Some(known)) if known.is_current(name, now.wall_ms) => {}
                (Novelty::Inherited | Novelty::New, _) => self.observe(name, *limit, now),
            }
        }
    }

    /// Drops older observations that a session took back, or that are of another account.
    fn deny(&mut self, limits: &Limits, before: &Limits, now: Now) {
        // The window of another account, or one that the provider closed early: it is open, and the
        // client states another end.
        let is_other_account = limits.iter().any(|(name, limit)| {
            self.0.get(name).is_some_and(|Window { newest, .. }| {
                newest.as_of_ms < limit.as_of_ms
                    && newest.resets_at_ms - MINUTE_MS > limit.as_of_ms
                    && !newest.is_same_window(limit)
            })
        });
        let as_of_ms = limits.iter().map(|(_, it)| it.as_of_ms).max().unwrap_or(now.wall_ms);
        self.0.retain(|name, Window { newest, .. }| {
            let was_its_own = before.get(name).is_some_and(|it| it.is_same_statement(newest));
            let is_denied = limits.get(name).is_none() && (was_its_own || is_other_account);
            newest.as_of_ms > as_of_ms || !is_denied
        });
    }

    /// When each observation was made, so that these times can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        self.0.values_mut().flat_map(|it| [&mut it.first.as_of_ms, &mut it.newest.as_of_ms])
    }

    /// Takes in the limits that an earlier process published.
    pub(super) fn recall(&mut self, before: &Limits, now: Now) {
        for (name, limit) in before.plausible(now.wall_ms).iter() {
            self.observe(name, *limit, now);
        }
    }

    /// The limits for the snapshot: those whose window has not ended.
    pub(super) fn report(&self, now: Now) -> Limits {
        let mut limits = Limits::default();
        for (name, window) in &self.0 {
            if window.newest.is_current(name, now.wall_ms) {
                limits.insert(name, window.report(name));
            }
        }
        limits
    }

    /// When the open five-hour window ends, if the client states that.
    pub(super) fn five_hour_end_ms(&self, now: Now) -> Option<i64> {
        let end_ms = self.0.get("five_hour")?.newest.resets_at_ms;
        (end_ms > now.wall_ms).then_some(end_ms)
    }

    /// Takes in one observation, unless a newer one is known.
    fn observe(&mut self, name: &str, limit: Limit, now: Now) {
        if self.0.len() >= MAX_LIMITS && !self.0.contains_key(name) {
            self.0.retain(|name, window| window.newest.is_current(name, now.wall_ms));
            if self.0.len() >= MAX_LIMITS {
                return;
            }
        }
        let window = match self.0.get(name) {
            Some(known) if known.newest.as_of_ms > limit.as_of_ms => return,
            Some(known) if known.newest.is_same_window(&limit) => {
                Window { first: known.first, newest: limit }
            }
            _ => Window { first: limit, newest: limit },
        };
        self.0.insert(name.to_owned(), window);
    }
}

impl Window {
    fn report(&self, name: &str) -> Limit {
        let full_at_ms = match self.newest.resets_at_ms {
            0 => None,
            resets_at_ms => self.full_at_ms(window_ms(name).map(|it| resets_at_ms - it)),
        };
        Limit { full_at_ms, ..self.newest }
    }

    /// When the limit will be used up at the average pace since its window began, or, where that is
    /// not known, since it was first observed.
    fn full_at_ms(&self, began_ms: Option<i64>) -> Option<i64> {
        let Window { first, newest } = self;
        let (since_ms, from) = match began_ms {
            Some(began_ms) => (began_ms, 0.0),
            None => (first.as_of_ms, first.used_percentage),
        };
        let span_ms = newest.as_of_ms - since_ms;
        let used = newest.used_percentage - from;
        let left = 100.0 - newest.used_percentage;
        let is_pace = span_ms >= LEAST_SPAN_MS && used >= LEAST_PERCENT && left > 0.0;
        is_pace.then(|| newest.as_of_ms + (left * span_ms as f64 / used) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DAY_MS, HOUR_MS};

    const NOW: i64 = 1_795_432_500_000;

    fn now(after_ms: i64) -> Now {
        Now { wall_ms: NOW + after_ms, ..Now::read() }
    }

    fn limits(observations: &[(i64, f64, i64)]) -> ObservedLimits {
        let mut limits = ObservedLimits::default();
        for &(at_ms, used_percentage, resets_in_ms) in observations {
            let limit =
                Limit { used_percentage, resets_at_ms: NOW + resets_in_ms, ..Limit::default() };
            let reported =
                Limits { five_hour: Some(limit), spend_limit: Some(limit), ..Limits::default() };
            let limits_then = reported.plausible(NOW + at_ms).dated(NOW + at_ms);
            let before = Limits::default();
            let statement = Statement { limits: limits_then, before, novelty: Novelty::New };
            limits.merge(&statement, now(at_ms));
        }
        limits
    }

    /// Each observation is (when, percent used, when it resets), in hours from now. `full` is when
    /// the five-hour limit and the spending limit will be used up, in hours from now.
    #[track_caller]
    fn check_full(observations: &[(f64, f64, f64)], full: [Option<f64>; 2]) {
        let ms = |it: f64| (it * HOUR_MS as f64) as i64;
        let seen: Vec<_> = observations.iter().map(|it| (ms(it.0), it.1, ms(it.2))).collect();
        let found = limits(&seen).report(now(0));
        let found = [found.five_hour, found.spend_limit].map(|it| it.unwrap().full_at_ms);
        assert_eq!(found, full.map(|it| it.map(|it| NOW + ms(it))));
    }

    #[test]
    fn a_limit_is_used_up_at_the_pace_since_its_window_began() {
        // The five-hour window began three hours ago. The spending limit has only one observation.
        check_full(&[(0.0, 60.0, 2.0)], [Some(2.0), None]);
        check_full(&[(0.0, 90.0, 2.0)], [Some(1.0 / 3.0), None]);
        check_full(&[(0.0, 10.0, 2.0)], [Some(27.0), None]);
    }

    #[test]
    fn without_a_known_beginning_of_the_window_the_pace_is_that_since_the_first_observation() {
        check_full(&[(-2.0, 40.0, 2.0), (0.0, 60.0, 2.0)], [Some(2.0), Some(4.0)]);
        check_full(&[(-2.0, 60.0, 2.0), (0.0, 60.0, 2.0)], [Some(2.0), None]);
        check_full(&[(-0.01, 50.0, 2.0), (0.0, 60.0, 2.0)], [Some(2.0), None]);
    }

    #[test]
    fn a_limit_that_is_full_or_new_or_hardly_used_has_no_pace() {
        check_full(&[(0.0, 100.0, 2.0)], [None, None]);
        check_full(&[(0.0, 50.0, 4.99)], [None, None]);
        check_full(&[(0.0, 0.5, 2.0)], [None, None]);
    }

    #[test]
    fn the_newest_observation_of_a_window_counts_until_it_ends() {
        let used = |limits: &ObservedLimits, at: i64| {
            limits.report(now(at)).five_hour.map(|it| it.used_percentage)
        };
        let reported_late = limits(&[(-MINUTE_MS, 50.0, HOUR_MS), (-HOUR_MS, 20.0, HOUR_MS)]);
        assert_eq!(used(&reported_late, 0), Some(50.0));
        let corrected = limits(&[(0, 30.0, HOUR_MS), (0, 40.0, HOUR_MS)]);
        assert_eq!(used(&corrected, 0), Some(40.0));
        assert_eq!(used(&reported_late, HOUR_MS), None);
        let next = limits(&[(-HOUR_MS, 90.0, MINUTE_MS), (0, 1.0, 5 * HOUR_MS)]);
        assert_eq!(used(&next, 0), Some(1.0));
        assert_eq!(next.report(now(0)).spend_limit.unwrap().full_at_ms, None, "another window");
    }

    #[test]
    fn a_share_whose_reset_is_not_known_holds_for_the_length_of_its_window() {
        let limits = limits(&[(0, 50.0, 500 * DAY_MS)]);
        let reported = |at_ms| limits.report(now(at_ms)).five_hour;
        let expected = Limit { used_percentage: 50.0, as_of_ms: NOW, ..Limit::default() };
        assert_eq!(reported(5 * HOUR_MS - 1), Some(expected));
        assert_eq!(reported(5 * HOUR_MS), None);
    }
}
