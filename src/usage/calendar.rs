//! PURE. When the calendar's windows begin.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// When the calendar's windows began, in local time.
pub(super) struct WindowStarts {
    pub(super) today_ms: i64,
    pub(super) week_ms: i64,
    pub(super) month_ms: i64,
    pub(super) tomorrow_ms: i64,
}

impl WindowStarts {
    /// None where the time is beyond the calendar.
    pub(super) fn at(now_ms: i64, zone: &TimeZone, week_starts: Weekday) -> Option<WindowStarts> {
        let today = zone.to_datetime(Timestamp::from_millisecond(now_ms).ok()?).date();
        let midnight = |it: Date| {
            Some(zone.to_timestamp(it.to_datetime(Time::midnight())).ok()?.as_millisecond())
        };
        let days_into_week = week_starts.until(today.weekday());
        Some(WindowStarts {
            today_ms: midnight(today)?,
            week_ms: midnight(today.checked_sub(i64::from(days_into_week).days()).ok()?)?,
            month_ms: midnight(today.first_of_month())?,
            tomorrow_ms: midnight(today.tomorrow().ok()?)?,
        })
    }
}
