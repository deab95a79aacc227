//! PURE. Which days a report is about, and into which weeks and months they fall.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::error::{Error, Result};
use crate::usage::calendar::{midnight_ms, week_start};

/// How days form weeks and months.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    pub(super) zone: TimeZone,
    pub(super) today: Date,
    pub(super) week_starts: Weekday,
    /// The day on which months begin, 1 to 31. A shorter month begins on its last day.
    pub(super) month_starts: i8,
}

/// Days from the first to the last, both inclusive. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) since: Option<Date>,
    pub(super) until: Option<Date>,
}

/// A stretch of days that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Period {
    Day,
    Week,
    Month,
}

/// The forms that [`Calendar::parse`] understands, for messages.
const FORMS: &str = "give a day as 2026-11-25 or 20261125, or one of today, yesterday, monday to \
                     sunday, 7d, this-week, last-week, this-month, last-month";

impl Calendar {
    /// The calendar at a time. `None` where no calendar reaches that far.
    pub(super) fn at(
        now_ms: i64,
        zone: TimeZone,
        week_starts: Weekday,
        month_starts: i8,
    ) -> Option<Calendar> {
        let today = zone.to_datetime(Timestamp::from_millisecond(now_ms).ok()?).date();
        Some(Calendar { zone, today, week_starts, month_starts })
    }

    /// The days that a text means; `what` is the option that has it, for messages.
    pub(super) fn parse(&self, text: &str, what: &str) -> Result<Days> {
        let lower = text.trim().to_lowercase();
        self.named(&lower).ok_or_else(|| {
            Error::new(format!("cannot use {what} {text}: it is not a day")).hint(FORMS)
        })
    }

    fn named(&self, text: &str) -> Option<Days> {
        let today = self.today;
        let day = |date: Date| Some(Days { since: Some(date), until: Some(date) });
        match text {
            "today" => return day(today),
            "yesterday" => return day(today.yesterday().ok()?),
            "this-week" => return Some(self.period(Period::Week, today)),
            "this-month" => return Some(self.period(Period::Month, today)),
            "last-week" => return Some(self.before(Period::Week, today)),
            "last-month" => return Some(self.before(Period::Month, today)),
            _ => {}
        }
        if let Some(weekday) = weekday(text) {
            // The latest day of this name, which may be today.
            return day(week_start(today, weekday)?);
        }
        if let Some(n_days) = text.strip_suffix('d').and_then(|it| it.parse::<u16>().ok()) {
            return (n_days > 0).then(|| self.last(Period::Day, n_days));
        }
        day(date(text)?)
    }

    /// The whole period with this day in it.
    pub(super) fn period(&self, period: Period, day: Date) -> Days {
        let start = self.start(period, day);
        Days { since: Some(start), until: self.next(period, start).yesterday().ok() }
    }

    fn before(&self, period: Period, day: Date) -> Days {
        let start = self.start(period, day);
        start.yesterday().map_or_else(|_| Days::default(), |it| self.period(period, it))
    }

    /// The last `n` periods, up to the present one.
    pub(super) fn last(&self, period: Period, n: u16) -> Days {
        let mut start = self.start(period, self.today);
        for _ in 1..n {
            let Ok(before) = start.yesterday() else { break };
            start = self.start(period, before);
        }
        Days { since: Some(start), until: Some(self.today) }
    }

    /// When the period with this day in it begins. Where that lies before the first day of the
    /// calendar, the day itself is returned.
    pub(super) fn start(&self, period: Period, day: Date) -> Date {
        match period {
            Period::Day => day,
            Period::Week => week_start(day, self.week_starts).unwrap_or(day),
            Period::Month => {
                let first = self.month_start(day);
                if first <= day {
                    return first;
                }
                day.first_of_month().yesterday().map_or(day, |it| self.month_start(it))
            }
        }
    }

    /// When the period after the one that begins on this day begins.
    fn next(&self, period: Period, start: Date) -> Date {
        let next = match period {
            Period::Day => start.tomorrow(),
            Period::Week => start.checked_add(7.days()),
            Period::Month => start.last_of_month().tomorrow(),
        };
        match (period, next) {
            (Period::Month, Ok(next)) => self.month_start(next),
            (_, next) => next.unwrap_or(start),
        }
    }

    /// The day on which a month begins in this calendar month.
    fn month_start(&self, day: Date) -> Date {
        let start = self.month_starts.min(day.days_in_month());
        Date::new(day.year(), day.month(), start).unwrap_or(day)
    }

    /// From the first midnight to the one after the last day, in Unix milliseconds.
    pub(super) fn span_ms(&self, days: Days) -> std::ops::Range<i64> {
        let at = |date: Option<Date>| midnight_ms(date?, &self.zone);
        let after = days.until.and_then(|it| it.tomorrow().ok());
        at(days.since).unwrap_or(i64::MIN)..at(after).unwrap_or(i64::MAX)
    }

    /// The local day at a time.
    pub(super) fn day_of(&self, at_ms: i64) -> Option<Date> {
        Some(self.zone.to_datetime(Timestamp::from_millisecond(at_ms).ok()?).date())
    }
}

impl Days {
    /// Whether some of these days are not in `range`. Days after today do not matter: nothing was
    /// used in them.
    pub(super) fn is_cut_by(&self, range: Days, today: Date) -> bool {
        let before = range.since.is_some_and(|since| self.since.is_some_and(|it| it < since));
        let end = self.until.map(|it| it.min(today));
        let after = range.until.is_some_and(|until| end.is_some_and(|it| it > until));
        before || after
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// `2026-11-25` or `20261125`.
fn date(text: &str) -> Option<Date> {
    let digits: String = match text.len() {
        10 if text.is_char_boundary(4) => {
            let mut parts = text.split('-');
            let [year, month, day] = [parts.next()?, parts.next()?, parts.next()?];
            (parts.next().is_none() && (year.len(), month.len(), day.len()) == (4, 2, 2))
                .then(|| [year, month, day].concat())?
        }
        8 => text.to_owned(),
        _ => return None,
    };
    if !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let number = |range| digits.get::<std::ops::Range<usize>>(range)?.parse::<i16>().ok();
    Date::new(number(0..4)?, number(4..6)? as i8, number(6..8)? as i8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        date(text).expect("is a day")
    }

    /// Thursday, 26 November 2026, at noon in UTC.
    fn calendar(week_starts: Weekday, month_starts: i8) -> Calendar {
        Calendar::at(1_795_694_400_000, TimeZone::UTC, week_starts, month_starts)
            .expect("is a time")
    }

    #[track_caller]
    fn check(text: &str, since: &str, until: &str) {
        let found = calendar(Weekday::Monday, 1).parse(text, "--since").expect(text);
        assert_eq!((found.since, found.until), (Some(day(since)), Some(day(until))), "{text}");
    }

    #[test]
    fn words_mean_days_up_to_today() {
        check("2026-02-28", "2026-02-28", "2026-02-28");
        check("20260228", "2026-02-28", "2026-02-28");
        check("today", "2026-11-26", "2026-11-26");
        check("Yesterday", "2026-11-25", "2026-11-25");
        check("thursday", "2026-11-26", "2026-11-26");
        check("fri", "2026-11-20", "2026-11-20");
        check("7d", "2026-11-20", "2026-11-26");
        check("this-week", "2026-11-23", "2026-11-29");
        check("last-week", "2026-11-16", "2026-11-22");
        check("this-month", "2026-11-01", "2026-11-30");
        check("last-month", "2026-10-01", "2026-10-31");
    }

    #[test]
    fn what_is_no_day_is_refused_with_the_forms() {
        for text in ["2026-02-30", "2026-2-3", "0d", "", "d", "11/25", "2026-11-255", "tomorrow"] {
            let err = calendar(Weekday::Monday, 1).parse(text, "--until").unwrap_err().to_string();
            assert!(err.contains("--until") && err.contains("20261125"), "{text}: {err}");
        }
    }

    #[test]
    fn a_month_that_is_too_short_begins_on_its_last_day() {
        let from_31 = calendar(Weekday::Monday, 31);
        let month = |text| from_31.period(Period::Month, day(text));
        let days = |since, until| Days { since: Some(day(since)), until: Some(day(until)) };
        assert_eq!(month("2026-02-27"), days("2026-01-31", "2026-02-27"));
        assert_eq!(month("2026-02-28"), days("2026-02-28", "2026-03-30"));
        assert_eq!(month("2026-04-29"), days("2026-03-31", "2026-04-29"));
        assert_eq!(month("2028-02-29"), days("2028-02-29", "2028-03-30"));
        let from_15 = calendar(Weekday::Monday, 15);
        assert_eq!(from_15.last(Period::Month, 2), days("2026-10-15", "2026-11-26"));
        assert_eq!(
            from_15.parse("last-month", "").expect("is one"),
            days("2026-10-15", "2026-11-14")
        );
    }

    #[test]
    fn weeks_begin_as_the_user_says() {
        let from_sunday = calendar(Weekday::Sunday, 1);
        let week = from_sunday.period(Period::Week, day("2026-11-26"));
        assert_eq!(week, Days { since: Some(day("2026-11-22")), until: Some(day("2026-11-28")) });
    }

    #[test]
    fn a_day_lasts_from_midnight_to_midnight_however_long_it_is() {
        let berlin = TimeZone::get("Europe/Berlin").expect("is a zone");
        let calendar = Calendar { zone: berlin, ..calendar(Weekday::Monday, 1) };
        let n_hours = |text| {
            let days = Days { since: Some(day(text)), until: Some(day(text)) };
            let span = calendar.span_ms(days);
            assert_eq!(calendar.day_of(span.start), days.since);
            assert_eq!(calendar.day_of(span.end - 1), days.since);
            (span.end - span.start) / 3_600_000
        };
        assert_eq!(["2026-03-29", "2026-03-30", "2026-10-25"].map(n_hours), [23, 24, 25]);
    }

    #[test]
    fn a_period_is_cut_only_by_days_that_have_come() {
        let calendar = calendar(Weekday::Monday, 1);
        let week = calendar.period(Period::Week, calendar.today);
        let until = |text| Days { since: None, until: Some(day(text)) };
        assert!(!week.is_cut_by(until("2026-11-26"), calendar.today));
        assert!(week.is_cut_by(until("2026-11-25"), calendar.today));
        let since = |text| Days { since: Some(day(text)), until: None };
        assert!(week.is_cut_by(since("2026-11-24"), calendar.today));
        assert!(!week.is_cut_by(since("2026-11-23"), calendar.today));
    }
}
