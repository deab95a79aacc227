//! PURE. What the user wants to be told, and by which program: the tables `[[alert]]` of the
//! configuration.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::fetch::tool::Tool;
use crate::store::schema::HealthStatus;
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// One alert: when to tell what, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub condition: Condition,
    /// Only sessions of projects with this name, in which `*` stands for any text; `None` for all.
    pub project: Option<String>,
    /// Only sessions, limits and costs of this config root; `None` for all.
    pub root: Option<PathBuf>,
    /// Whether it is told of a session also while the session's pane has the focus.
    pub is_told_in_focus: bool,
    /// The program that tells. Its arguments may have placeholders.
    pub tool: Tool,
}

/// What a rule waits for. Each condition has subjects (sessions, limits, …), each of which is told
/// of by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A session waits for the user.
    Waiting,
    /// A session has ended a turn that took so long, and nothing of it runs in the background.
    Finished { min_turn_ms: i64 },
    /// The context of a session is used to so many percent.
    Context { at: f64 },
    /// A limit of an account is used to so many percent; `limit` is the client's name of the only
    /// one that counts, or `None` for all.
    Limit { at: f64, limit: Option<String> },
    /// A limit will be used up before its window ends, if its use goes on as it did.
    Projected { limit: Option<String> },
    /// Something has cost so many US dollars.
    Cost { at: f64, per: Per },
    /// The health of a session is so bad or worse.
    Health { level: HealthStatus },
    /// A source of facts fails.
    Degraded,
    /// The watcher has died, and after this time none runs. See [`crate::sentinel`].
    NoWatcher { after_ms: i64 },
}

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each session by itself.
    Session,
    /// A local day: all accounts that the rule is for, together.
    Day,
    /// A local month, in the same way.
    Month,
}

impl Condition {
    /// Its word in the configuration, in the snapshot and in what programs are told.
    pub fn word(&self) -> &'static str {
        match self {
            Condition::Waiting => "waiting",
            Condition::Finished { .. } => "finished",
            Condition::Context { .. } => "context",
            Condition::Limit { .. } | Condition::Projected { .. } => "limit",
            Condition::Cost { .. } => "cost",
            Condition::Health { .. } => "health",
            Condition::Degraded => "degraded",
            Condition::NoWatcher { .. } => "no_watcher",
        }
    }
}

/// The quiet hours, in which nothing is told: from one minute of the day to another, counted from
/// midnight. They may include midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    pub from: u16,
    pub to: u16,
}

impl Quiet {
    /// Whether a time, in Unix milliseconds, is in the quiet hours by the clock of the zone.
    pub fn contain(self, at_ms: i64, zone: &TimeZone) -> bool {
        Timestamp::from_millisecond(at_ms).is_ok_and(|at| {
            let time = zone.to_datetime(at).time();
            let [hour, minute] =
                [time.hour(), time.minute()].map(|it| u16::from(it.unsigned_abs()));
            self.contain_minute(hour * 60 + minute)
        })
    }

    fn contain_minute(self, minute: u16) -> bool {
        match self.from <= self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        }
    }
}

/// A length of time for people: `40 s`, `12 min`, `2 h 10 min`, `3 d 4 h`.
pub fn span(ms: i64) -> String {
    let two = |large: i64, of: &str, small: i64, rest: &str| match small {
        0 => format!("{large} {of}"),
        _ => format!("{large} {of} {small} {rest}"),
    };
    match ms.max(0) {
        ms if ms < MINUTE_MS => format!("{} s", ms / SECOND_MS),
        ms if ms < HOUR_MS => format!("{} min", ms / MINUTE_MS),
        ms if ms < DAY_MS => two(ms / HOUR_MS, "h", ms % HOUR_MS / MINUTE_MS, "min"),
        ms => two(ms / DAY_MS, "d", ms % DAY_MS / HOUR_MS, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_may_include_midnight() {
        let night = Quiet { from: 22 * 60, to: 7 * 60 };
        let is_quiet = [0, 419, 420, 1319, 1320, 1439].map(|it| night.contain_minute(it));
        assert_eq!(is_quiet, [true, true, false, false, true, true]);
        let noon = Quiet { from: 720, to: 780 };
        assert_eq!(
            [719, 720, 779, 780].map(|it| noon.contain_minute(it)),
            [false, true, true, false]
        );
    }

    #[test]
    fn a_length_of_time_has_at_most_two_units() {
        let spans = [-5, 40_000, 12 * MINUTE_MS, 2 * HOUR_MS, 130 * MINUTE_MS, 76 * HOUR_MS];
        let expected = ["0 s", "40 s", "12 min", "2 h", "2 h 10 min", "3 d 4 h"];
        assert_eq!(spans.map(span), expected);
    }
}
