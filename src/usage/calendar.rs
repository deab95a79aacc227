//! PURE. When today, this week and this month began in local time.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The bounds of the calendar's windows, each at local midnight.
pub(super) struct WindowStarts {
    pub(super) today_ms: i64,
    pub(super) week_ms: i64,
    pub(super) month_ms: i64,
    pub(super) tomorrow_ms: i64,
}

impl WindowStarts {
    /// `None` where `now_ms` or one of the bounds lies outside the calendar's range.
    pub(super) fn at(now_ms: i64, zone: &TimeZone, week_starts: Weekday) -> Option<WindowStarts> {
        let today = zone.to_datetime(Timestamp::from_millisecond(now_ms).ok()?).date();
        let midnight = |date: Date| midnight_ms(date, zone);
        Some(WindowStarts {
            today_ms: midnight(today)?,
            week_ms: midnight(week_start(today, week_starts)?)?,
            month_ms: midnight(today.first_of_month())?,
            tomorrow_ms: midnight(today.tomorrow().ok()?)?,
        })
    }
}

/// When a day begins, in Unix milliseconds. `None` outside the calendar's range.
pub fn midnight_ms(date: Date, zone: &TimeZone) -> Option<i64> {
    Some(zone.to_timestamp(date.to_datetime(Time::midnight())).ok()?.as_millisecond())
}

/// The first day of the week with this day in it. `None` outside the calendar's range.
pub fn week_start(day: Date, week_starts: Weekday) -> Option<Date> {
    let days_into_week = week_starts.until(day.weekday());
    day.checked_sub(i64::from(days_into_week).days()).ok()
}
