//! The only place that reads the clocks or sleeps. All other code takes the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, for deadlines. It stops while the machine is suspended.
    pub mono: Instant,
    /// The wall clock in Unix milliseconds, for `as_of_ms` and all other times that leave the
    /// process.
    pub wall_ms: i64,
}

impl Now {
    #[expect(clippy::disallowed_methods, reason = "this is the only clock")]
    pub fn read() -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Instant::now(),
            wall_ms: i64::try_from(wall.as_millis()).expect("the year is below 292 million"),
        }
    }

    /// The day of the wall clock in UTC.
    pub fn day_in_utc(self) -> Date {
        let at = Timestamp::from_millisecond(self.wall_ms).unwrap_or_default();
        at.to_zoned_datetime(TimeZone::UTC).date()
    }

    /// By how many milliseconds the wall clock advanced more than the monotonic clock since then.
    /// It is not 0 if the wall clock was set, or if the machine was suspended.
    pub fn jumped_ms(self, since: Now) -> i64 {
        let mono = i64::try_from((self.mono - since.mono).as_millis()).unwrap_or(i64::MAX);
        self.wall_ms - since.wall_ms - mono
    }
}

/// A file's time in Unix milliseconds, negative before 1970.
pub fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

pub const SECOND_MS: i64 = 1000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A number of milliseconds as a duration; zero if it is negative.
pub fn span(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Sleeps. Only for what no event announces, such as the release of a lock.
#[expect(clippy::disallowed_methods, reason = "a lock held by another process sends no event")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
