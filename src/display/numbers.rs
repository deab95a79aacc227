//! PURE. How numbers, times and amounts are written.
//!
//! **Invariant:** numbers that change while they are displayed keep their width as far as
//! possible: minutes and hours after a larger unit have two digits, and money has cents. They are
//! not filled up with blanks, which would look like a gap.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// How long ago something was, in one unit: readers need only the order of magnitude.
pub(crate) fn age(ms: i64) -> String {
    match ms {
        ..MINUTE_MS => format!("{}s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{}m", ms / MINUTE_MS),
        HOUR_MS..DAY_MS => format!("{}h", ms / HOUR_MS),
        _ => format!("{}d", ms / DAY_MS),
    }
}

/// The time until something, in two units: readers plan with it.
pub(crate) fn countdown(ms: i64) -> String {
    let minutes = ms / MINUTE_MS % 60;
    match ms {
        ..MINUTE_MS => "<1m".to_owned(),
        MINUTE_MS..HOUR_MS => format!("{minutes:02}m"),
        HOUR_MS..DAY_MS => format!("{}h{minutes:02}m", ms / HOUR_MS),
        _ => format!("{}d{:02}h", ms / DAY_MS, ms / HOUR_MS % 24),
    }
}

/// A time of day in `zone`, with the day of the week unless it is today.
pub(crate) fn time_of_day(at_ms: i64, now_ms: i64, zone: &TimeZone) -> Option<String> {
    let local = |ms| Some(Timestamp::from_millisecond(ms).ok()?.to_zoned_datetime(zone.clone()));
    let (at, now) = (local(at_ms)?, local(now_ms)?);
    let day = match at.weekday() {
        _ if at.date() == now.date() => "",
        Weekday::Monday => "Mon ",
        Weekday::Tuesday => "Tue ",
        Weekday::Wednesday => "Wed ",
        Weekday::Thursday => "Thu ",
        Weekday::Friday => "Fri ",
        Weekday::Saturday => "Sat ",
        Weekday::Sunday => "Sun ",
    };
    Some(format!("{day}{:02}:{:02}", at.hour(), at.minute()))
}

/// How long something has been running, to the second.
pub(crate) fn elapsed(ms: i64) -> String {
    match ms {
        ..MINUTE_MS => format!("{}s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{}m{:02}s", ms / MINUTE_MS, ms / SECOND_MS % 60),
        _ => countdown(ms),
    }
}

/// Filters out values that cannot be a share or an amount: negative, infinite or not a number.
pub(crate) fn valid(value: Option<f64>) -> Option<f64> {
    value.filter(|it| it.is_finite() && *it >= 0.0)
}

pub(crate) fn money(usd: f64) -> String {
    match usd {
        ..99.995 => format!("${usd:.2}"),
        ..1e7 => format!("${usd:.0}"),
        _ => format!("${usd:.1e}"),
    }
}

/// A share in whole percent. More than 999 % is not shown in full.
pub(crate) fn percent(share: f64) -> String {
    if share < 999.5 { format!("{share:.0}%") } else { ">999%".to_owned() }
}

pub(crate) fn tokens(count: u64) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{}k", count / 1000),
        _ if count % 1_000_000 < 100_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_keeps_its_width_for_hours() {
        let spans = [30 * SECOND_MS, 9 * MINUTE_MS, 59 * MINUTE_MS, HOUR_MS, 9 * HOUR_MS];
        assert_eq!(spans.map(countdown), ["<1m", "09m", "59m", "1h00m", "9h00m"]);
        assert_eq!([25 * HOUR_MS, 9 * DAY_MS].map(countdown), ["1d01h", "9d00h"]);
    }

    #[test]
    fn a_time_of_another_day_has_the_day_of_the_week() {
        // It is Wednesday, 23:30 in this zone and 21:30 in UTC.
        let now_ms = 1_764_106_200_000;
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |later_ms| time_of_day(now_ms + later_ms, now_ms, &zone).unwrap();
        assert_eq!([0, 29 * MINUTE_MS].map(at), ["Tue 23:30", "Tue 23:59"].map(|it| &it[4..]));
        assert_eq!(at(31 * MINUTE_MS), "Wed 00:01");
        assert_eq!(at(3 * DAY_MS), "Fri 23:30");
        assert_eq!(time_of_day(i64::MAX, now_ms, &zone), None);
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            [0.0, 9.994, 99.994, 99.996, 1234.5].map(money),
            ["$0.00", "$9.99", "$99.99", "$100", "$1234"]
        );
        assert_eq!([0.0, 9.4, 99.6, 1e300].map(percent), ["0%", "9%", "100%", ">999%"]);
        assert_eq!(money(1e300), "$1.0e300");
        let counts = [999, 1000, 212_345, 1_000_000, 1_099_999, 1_250_000, 20_000_000];
        assert_eq!(counts.map(tokens), ["999", "1k", "212k", "1M", "1M", "1.2M", "20M"]);
        assert_eq!([59 * SECOND_MS, HOUR_MS, 3 * DAY_MS].map(age), ["59s", "1h", "3d"]);
    }
}
