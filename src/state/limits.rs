//! PURE. The limits of an account: the newest observation of each, and when it will be used up.
//!
//! Claude Code learns the limits with each reply of the API. Each session reports those of its own
//! last reply, so the sessions of one account disagree. An observation is as old as the reply that it
//! came with.
//!
//! **Invariant:** an older observation never replaces a newer one, and an observation is not reported
//! after its window has ended.

use crate::store::schema::{self, Limit};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, Now};

/// An observation whose window ends later than this is wrong: the longest window takes a month.
const LONGEST_MS: i64 = 400 * DAY_MS;
/// Two observations are of the same window if their ends differ by less than this.
const SAME_END_MS: i64 = MINUTE_MS;
/// No pace is computed from a shorter time than this.
const LEAST_SPAN_MS: i64 = 5 * MINUTE_MS;
/// No pace is computed from less use than this, in percent of the limit.
const LEAST_PERCENT: f64 = 1.0;

/// The limits of one account.
#[derive(Clone, Debug)]
pub(super) struct ObservedLimits {
    five_hour: Window,
    seven_day: Window,
    spend_limit: Window,
}

#[derive(Clone, Debug)]
struct Window {
    /// `None` where it is not known: spending limits have different ones.
    length_ms: Option<i64>,
    /// The first and the newest observation of the current window.
    seen: Option<(Limit, Limit)>,
}

impl ObservedLimits {
    /// No observations.
    pub(super) fn new() -> ObservedLimits {
        let window = |length_ms| Window { length_ms, seen: None };
        ObservedLimits {
            five_hour: window(Some(5 * HOUR_MS)),
            seven_day: window(Some(7 * DAY_MS)),
            spend_limit: window(None),
        }
    }

    /// Merges the limits that Claude Code reported. They came with a reply at `as_of_ms`.
    pub(super) fn merge(&mut self, reported: &schema::Limits, as_of_ms: i64, now: Now) {
        let dated = |limit: Option<Limit>| limit.map(|it| Limit { as_of_ms, ..it });
        let reported = schema::Limits {
            five_hour: dated(reported.five_hour),
            seven_day: dated(reported.seven_day),
            spend_limit: dated(reported.spend_limit),
        };
        self.recall(&reported, now);
    }

    /// When each observation was made, so that these times can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        let windows = [&mut self.five_hour, &mut self.seven_day, &mut self.spend_limit];
        let seen = windows.into_iter().filter_map(|it| it.seen.as_mut());
        seen.flat_map(|(first, newest)| [&mut first.as_of_ms, &mut newest.as_of_ms])
    }

    /// Merges limits that state the times of their observation, such as those that an earlier process
    /// published.
    pub(super) fn recall(&mut self, before: &schema::Limits, now: Now) {
        for (window, limit) in [
            (&mut self.five_hour, before.five_hour),
            (&mut self.seven_day, before.seven_day),
            (&mut self.spend_limit, before.spend_limit),
        ] {
            if let Some(limit) = limit {
                window.merge(limit, now);
            }
        }
    }

    /// The limits for the snapshot: those whose window has not ended.
    pub(super) fn report(&self, now: Now) -> schema::Limits {
        schema::Limits {
            five_hour: self.five_hour.report(now),
            seven_day: self.seven_day.report(now),
            spend_limit: self.spend_limit.report(now),
        }
    }
}

impl Window {
    fn merge(&mut self, reported: Limit, now: Now) {
        // See [`LONGEST_MS`].
        if reported.resets_at_ms - now.wall_ms >= LONGEST_MS {
            return;
        }
        self.seen = match self.seen {
            Some((_, known)) if known.as_of_ms > reported.as_of_ms => return,
            Some((first, known))
                if known.resets_at_ms.abs_diff(reported.resets_at_ms) < SAME_END_MS as u64 =>
            {
                Some((first, reported))
            }
            _ => Some((reported, reported)),
        };
    }

    fn report(&self, now: Now) -> Option<Limit> {
        let (first, newest) = self.seen.filter(|(_, it)| it.resets_at_ms > now.wall_ms)?;
        Some(Limit { full_at_ms: self.full_at_ms(&first, &newest), ..newest })
    }

    /// When the limit will be used up at the average pace since its window began, or, where the length
    /// of the window is not known, since it was first observed.
    fn full_at_ms(&self, first: &Limit, newest: &Limit) -> Option<i64> {
        let (since_ms, from) = match self.length_ms {
            Some(length_ms) => (newest.resets_at_ms - length_ms, 0.0),
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

    const NOW: i64 = 1_795_432_500_000;

    fn now(after_ms: i64) -> Now {
        Now { wall_ms: NOW + after_ms, ..Now::read() }
    }

    fn limits(observations: &[(i64, f64, i64)]) -> ObservedLimits {
        let mut limits = ObservedLimits::new();
        for &(at_ms, used_percentage, resets_in_ms) in observations {
            let limit =
                Limit { used_percentage, resets_at_ms: NOW + resets_in_ms, ..Limit::default() };
            let reported = schema::Limits {
                five_hour: Some(limit),
                seven_day: None,
                spend_limit: Some(limit),
            };
            limits.merge(&reported, NOW + at_ms, now(at_ms));
        }
        limits
    }

    /// Each observation is (when, percent used, when it resets), in hours from now. `full` is when the
    /// five-hour limit and the spending limit will be used up, in hours from now.
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
    fn a_limit_that_resets_in_years_is_ignored() {
        assert!(limits(&[(0, 50.0, 500 * DAY_MS)]).report(now(0)).five_hour.is_none());
    }
}
