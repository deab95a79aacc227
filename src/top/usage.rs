//! PURE. What was used in the last hours and days, from the record.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::time::{HOUR_MS, MINUTE_MS};
use crate::usage::calendar::midnight_ms;
use crate::usage::history::History;
use crate::usage::prices::Prices;

/// Hours and days that have a bar.
pub(super) const N_HOURS: usize = 24;
pub(super) const N_DAYS: usize = 14;
/// Quarters of an hour for which the cost of each session is kept: twelve hours.
pub(super) const N_QUARTERS: usize = 48;
const QUARTER_MS: i64 = 15 * MINUTE_MS;

/// What was used in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Amount {
    /// In US dollars. A lower bound if `unpriced` is not 0.
    pub(super) usd: f64,
    /// Replies whose model has no price.
    pub(super) unpriced: u64,
}

/// What all accounts used. An amount is `None` where nothing is known, since the record of usage
/// begins later.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// By local hour, the earliest first, up to the present one.
    pub(super) hours: Vec<Option<Amount>>,
    /// The local hour of the day of the present one.
    pub(super) hour: i8,
    /// By local day, the earliest first, up to today.
    pub(super) days: Vec<(Date, Option<Amount>)>,
    /// By session: US dollars by quarter of an hour, the earliest first, up to the present one.
    /// Sessions that used nothing in this time are not there.
    pub(super) sessions: BTreeMap<String, Vec<f64>>,
    /// When the present hour ends, in Unix milliseconds: then the bars are about other hours.
    pub(super) until_ms: i64,
    /// How much of the record could not be read.
    pub(super) n_problems: usize,
}

/// Where the bars begin.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// In Unix milliseconds, one more than there are days: the last one ends today.
    midnights: Vec<i64>,
    first_day: Date,
    hours_ms: i64,
    quarters_ms: i64,
    hour: i8,
}

impl Bounds {
    /// `None` where no calendar reaches that far.
    pub(super) fn at(now_ms: i64, zone: &TimeZone) -> Option<Bounds> {
        let now = zone.to_datetime(Timestamp::from_millisecond(now_ms).ok()?);
        let first_day = now.date().checked_sub((N_DAYS as i64 - 1).days()).ok()?;
        let mut midnights = Vec::new();
        for nth in 0..=N_DAYS as i64 {
            midnights.push(midnight_ms(first_day.checked_add(nth.days()).ok()?, zone)?);
        }
        // Zones differ from UTC by quarters of an hour.
        let quarter_ms = now_ms.div_euclid(QUARTER_MS) * QUARTER_MS;
        let into_hour_ms = i64::from(now.minute()) / 15 * QUARTER_MS;
        Some(Bounds {
            midnights,
            first_day,
            hours_ms: quarter_ms - into_hour_ms - (N_HOURS as i64 - 1) * HOUR_MS,
            quarters_ms: quarter_ms - (N_QUARTERS as i64 - 1) * QUARTER_MS,
            hour: now.hour(),
        })
    }

    /// What of the record is needed, in Unix milliseconds.
    pub(super) fn span(&self) -> Range<i64> {
        self.midnights[0]..self.midnights[N_DAYS]
    }
}

impl Usage {
    pub(super) fn of(history: &History, prices: &Prices, bounds: &Bounds) -> Usage {
        let until_ms = bounds.hours_ms + N_HOURS as i64 * HOUR_MS;
        // Of the present hour and day all is known, also if nothing was ever used.
        let firsts = history.accounts.iter().filter_map(|it| it.first_ms);
        let begins_ms = firsts.chain([until_ms - 1]).min().expect("there is at least one");
        let amount = |end_ms: i64| (begins_ms < end_ms).then(Amount::default);
        let hour_ends = (1..=N_HOURS as i64).map(|nth| bounds.hours_ms + nth * HOUR_MS);
        let mut usage = Usage {
            hours: hour_ends.map(amount).collect(),
            hour: bounds.hour,
            days: Vec::new(),
            sessions: BTreeMap::new(),
            until_ms,
            n_problems: history.problems.len(),
        };
        let days = bounds.first_day.series(1.day()).take(N_DAYS);
        usage.days =
            days.zip(&bounds.midnights[1..]).map(|(day, end_ms)| (day, amount(*end_ms))).collect();
        for (group, quarters) in history.accounts.iter().flat_map(|it| &it.sums) {
            for (slot, quarter) in quarters {
                let at_ms = slot.quarter_ms();
                let amount = match quarter.cost(group, prices) {
                    Some(cost) => Amount { usd: cost as f64 / 1e12, unpriced: 0 },
                    None => Amount { usd: 0.0, unpriced: quarter.n_replies },
                };
                let day = bounds.midnights.partition_point(|start| *start <= at_ms);
                if let Some((_, sum)) = day.checked_sub(1).and_then(|it| usage.days.get_mut(it)) {
                    sum.get_or_insert_default().add(amount);
                }
                let nth = |start_ms, length_ms| usize::try_from((at_ms - start_ms) / length_ms);
                let hour = nth(bounds.hours_ms, HOUR_MS).ok().filter(|_| at_ms >= bounds.hours_ms);
                if let Some(sum) = hour.and_then(|it| usage.hours.get_mut(it)) {
                    sum.get_or_insert_default().add(amount);
                }
                let quarter = nth(bounds.quarters_ms, QUARTER_MS).ok();
                let quarter =
                    quarter.filter(|nth| at_ms >= bounds.quarters_ms && *nth < N_QUARTERS);
                if let Some(nth) = quarter.filter(|_| !group.session.is_empty()) {
                    let costs = usage.sessions.entry(group.session.to_string());
                    costs.or_insert_with(|| vec![0.0; N_QUARTERS])[nth] += amount.usd;
                }
            }
        }
        usage
    }
}

impl Amount {
    pub(super) fn add(&mut self, other: Amount) {
        self.usd += other.usd;
        self.unpriced += other.unpriced;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::time::DAY_MS;
    use crate::usage::blocks::SlotKey;
    use crate::usage::entry::EntryTokens;
    use crate::usage::history::{AccountHistory, Class, Group, Quarter};

    /// Tuesday, 25 November 2025, 21:30 in UTC.
    const NOW_MS: i64 = 1_764_106_200_000;

    /// Replies that cost a dollar each, but for those of the session `unpriced`.
    fn history(replies: &[(&str, i64)]) -> History {
        let mut account = AccountHistory::default();
        for (session, ago_ms) in replies {
            let class = Class { is_stated: *session != "unpriced", ..Class::default() };
            let group = Group { session: (*session).into(), class, ..Group::default() };
            let at_ms = NOW_MS - ago_ms;
            let quarter = Quarter {
                n_replies: 1,
                first_ms: at_ms,
                last_ms: at_ms,
                stated: 1_000_000_000_000,
                tokens: EntryTokens { output: 7, ..EntryTokens::default() },
                ..Quarter::default()
            };
            let sums = account.sums.entry(Arc::new(group)).or_default();
            sums.entry(SlotKey::of(at_ms)).or_default().add(&quarter);
            account.first_ms = account.first_ms.min(Some(at_ms)).or(Some(at_ms));
        }
        History { accounts: vec![account], problems: Vec::new() }
    }

    fn usage(zone: &TimeZone, replies: &[(&str, i64)]) -> Usage {
        let bounds = Bounds::at(NOW_MS, zone).unwrap();
        Usage::of(&history(replies), &Prices::builtin(), &bounds)
    }

    #[test]
    fn replies_count_in_their_local_hour_day_and_session() {
        let half_an_hour = 30 * MINUTE_MS;
        let usage = usage(
            &TimeZone::UTC,
            &[
                ("a", 0),
                ("a", half_an_hour),
                ("a", half_an_hour + 1),
                ("b", 22 * HOUR_MS),
                ("b", 13 * DAY_MS),
                ("b", 20 * DAY_MS),
                ("unpriced", 0),
            ],
        );
        let hours: Vec<Amount> = usage.hours.iter().map(|it| it.unwrap()).collect();
        assert_eq!(hours[N_HOURS - 1], Amount { usd: 2.0, unpriced: 1 });
        assert_eq!(hours[N_HOURS - 2].usd, 1.0);
        assert_eq!(hours.iter().map(|it| it.usd).sum::<f64>(), 4.0);
        let day = |nth: usize| (usage.days[nth].0.day(), usage.days[nth].1.unwrap().usd);
        assert_eq!([day(0), day(12), day(13)], [(12, 1.0), (24, 1.0), (25, 3.0)]);
        assert_eq!((usage.hour, usage.until_ms - NOW_MS), (21, half_an_hour));
        let quarters = &usage.sessions["a"];
        let used: Vec<_> = (0..N_QUARTERS).filter(|it| quarters[*it] > 0.0).collect();
        assert_eq!(used, [N_QUARTERS - 4, N_QUARTERS - 3, N_QUARTERS - 1]);
        assert!(!usage.sessions.contains_key("b"));
    }

    #[test]
    fn nothing_is_known_of_hours_and_days_that_end_before_the_record_begins() {
        let known = |replies: &[(&str, i64)]| {
            let usage = usage(&TimeZone::UTC, replies);
            let n_hours = usage.hours.iter().rev().take_while(|it| it.is_some()).count();
            let n_days = usage.days.iter().rev().take_while(|it| it.1.is_some()).count();
            assert!(usage.hours[..N_HOURS - n_hours].iter().all(Option::is_none));
            assert!(usage.days[..N_DAYS - n_days].iter().all(|it| it.1.is_none()));
            (n_hours, n_days)
        };
        // The reply was made in the hour before the present one.
        assert_eq!(known(&[("a", 31 * MINUTE_MS)]), (2, 1));
        assert_eq!(known(&[("a", 0), ("b", 3 * DAY_MS)]), (N_HOURS, 4));
        assert_eq!(known(&[("a", 20 * DAY_MS)]), (N_HOURS, N_DAYS));
        assert_eq!(known(&[]), (1, 1));
    }

    #[test]
    fn hours_and_days_begin_as_they_do_where_the_user_is() {
        // 03:15 on the next day.
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(5 * 3600 + 45 * 60).unwrap());
        let usage = usage(&zone, &[("a", 0), ("a", 15 * MINUTE_MS + 1), ("a", 4 * HOUR_MS)]);
        assert_eq!((usage.hour, usage.until_ms - NOW_MS), (3, 45 * MINUTE_MS));
        assert_eq!([22, 23].map(|nth: usize| usage.hours[nth].unwrap().usd), [1.0, 1.0]);
        let last = usage.days.iter().rev().map(|it| (it.0.day(), it.1.unwrap().usd)).take(2);
        assert_eq!(last.collect::<Vec<_>>(), [(26, 2.0), (25, 1.0)]);
    }
}
