//! PURE. Alerts: their state in the snapshot, and what their programs are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of one alert of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// What it waits for: `waiting`, `finished`, `context`, `limit`, `cost`, `health`,
    /// `degraded` or `no_watcher`.
    pub on: String,
    /// When it was last told, by a program that may have failed; `null` if it never was.
    pub last_fired_ms: Option<i64>,
    /// What was told then.
    pub last_title: Option<String>,
    /// Why its program failed the last time; `null` if it did not.
    pub error: Option<String>,
    /// The subjects of which there is something to know. Of all others, which are not listed, the
    /// condition does not hold, and they are told of once it does. The keys are ids of sessions,
    /// for limits `NAME of ROOT`, for costs also `day` and `month`, and names of failing sources.
    pub subjects: BTreeMap<String, AlertSubject>,
}

/// What an alert knows of one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertSubject {
    /// Whether it is told once the condition holds. `false` from when it was told, or was not since
    /// its pane had the focus, or from when the condition was first seen to hold, until it clearly
    /// no longer does.
    pub armed: bool,
    /// When it was last told; `null` if it never was.
    pub fired_ms: Option<i64>,
    /// When the day, the month or the window of the limit ends that `armed` is about; `null` for
    /// conditions that have none.
    pub period_ends_ms: Option<i64>,
    /// When the turn began that is going on; `null` for other conditions than `finished`.
    pub turn_began_ms: Option<i64>,
}

/// What the program of an alert reads from its standard input, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertNotice {
    /// 1. Fields are added, and never change their meaning.
    pub version: u32,
    /// The name of the alert in the configuration.
    pub alert: String,
    /// As [`Alert::on`].
    pub on: String,
    /// When it was told.
    pub at_ms: i64,
    /// What is so, in one line.
    pub title: String,
    /// What else there is to know, in one line.
    pub body: String,
    /// How many events it tells of: several that came at once are told as one.
    pub count: usize,
    /// The first of these events.
    pub events: Vec<AlertEvent>,
}

/// What happened to one subject. What does not belong to its condition is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertEvent {
    /// As the keys of [`Alert::subjects`].
    pub subject: String,
    pub title: String,
    pub body: String,
    /// The id of the session.
    pub session: Option<String>,
    /// Its name, else that of its project, else the beginning of its id.
    pub session_name: Option<String>,
    /// The name of the top directory of its working tree, else of its working directory.
    pub project: Option<String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// The config root, which stands for an account.
    pub root: Option<String>,
    /// How much is used, 0 to 100; of a budget, it may be more.
    pub percent: Option<f64>,
    /// The client's name for the limit.
    pub limit: Option<String>,
    /// When the window of the limit ends.
    pub resets_at_ms: Option<i64>,
    /// When the limit will be used up.
    pub full_at_ms: Option<i64>,
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// US dollars.
    pub budget_usd: Option<f64>,
    /// What the session waits for.
    pub waiting_for: Option<String>,
    /// How long the turn took, in milliseconds.
    pub turn_ms: Option<i64>,
    /// Why the source fails, or the health is bad.
    pub reason: Option<String>,
}

/// The version of [`AlertNotice`].
const VERSION: u32 = 1;
/// The most events in a notice. Paths in each may be long, and a program's input has a bound.
const MAX_EVENTS: usize = 5;
/// The most characters of a title or a body.
const MAX_TEXT: usize = 240;

impl AlertNotice {
    /// One notice of these events. There is at least one.
    pub fn of(alert: &str, on: &str, mut events: Vec<AlertEvent>, at_ms: i64) -> AlertNotice {
        let count = events.len();
        events.truncate(MAX_EVENTS);
        let (title, body) = match &events[..] {
            [only] => (only.title.clone(), only.body.clone()),
            several => {
                let titles: Vec<_> = several.iter().map(|it| it.title.as_str()).collect();
                let more = if count > several.len() { "; …" } else { "" };
                (format!("{count} × {alert}"), titles.join("; ") + more)
            }
        };
        AlertNotice {
            version: VERSION,
            alert: alert.to_owned(),
            on: on.to_owned(),
            at_ms,
            title: title.chars().take(MAX_TEXT).collect(),
            body: body.chars().take(MAX_TEXT).collect(),
            count,
            events,
        }
    }
}
