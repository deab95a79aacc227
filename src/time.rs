//! The only clock. Everything else takes the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks: the monotonic one for waiting, the wall clock for facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines. Stops while the machine is suspended.
    pub mono: Instant,
    /// For `as_of_ms` and everything else that leaves the process: Unix milliseconds.
    pub wall_ms: i64,
}

impl Now {
    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the only clock")]
    pub fn read() -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Instant::now(),
            wall_ms: i64::try_from(wall.as_millis()).expect("the year is below 292 million"),
        }
    }

    /// How much further the wall clock went since then than the other one: it was set, or the
    /// machine slept.
    pub fn jumped_ms(self, since: Now) -> i64 {
        let mono = i64::try_from((self.mono - since.mono).as_millis()).unwrap_or(i64::MAX);
        self.wall_ms - since.wall_ms - mono
    }
}

/// The file times we compare are in milliseconds too.
pub fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(it) => i64::try_from(it.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// One second, minute, hour and day in milliseconds.
pub const SECOND_MS: i64 = 1000;
/// See [`SECOND_MS`].
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// See [`SECOND_MS`].
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// See [`SECOND_MS`].
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A span of milliseconds on the monotonic clock; negative spans are zero.
pub fn span(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Waits, where there is nothing to wait on: between two tries of a lock.
#[expect(clippy::disallowed_methods, reason = "a lock held by another process sends no event")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
