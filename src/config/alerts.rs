//! PURE. `[[alert]]` and `[alerts]`: what the user wants to be told, by which program, and when
//! not.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::commands::{TIMEOUTS, check_name, invocation};
use super::reader::{Converted, Table, choose, flag, number, text, whole, whole_path};
use crate::alert::{Condition, Per, Quiet, Rule};
use crate::cli::Environment;
use crate::fetch::alert::DESK;
use crate::fetch::exec::RunLimits;
use crate::fetch::tool::{self, Tool};
use crate::store::schema::HealthStatus;
use crate::time::SECOND_MS;

/// So many alerts, for hundreds of sessions, are looked through at each change.
pub(super) const MAX_ALERTS: usize = 32;
/// Percent.
pub(super) const PERCENT: RangeInclusive<f64> = 1.0..=1000.0;
/// US dollars.
pub(super) const BUDGETS: RangeInclusive<f64> = 0.01..=1_000_000.0;
/// Seconds.
pub(super) const TURNS: RangeInclusive<i64> = 0..=86_400;
const DEFAULT_TURN_S: i64 = 30;
/// Seconds. Supervisors start what has died again within some.
pub(super) const PATIENCE: RangeInclusive<i64> = 1..=86_400;
const DEFAULT_PATIENCE_S: i64 = 60;
pub(super) const DEFAULT_TIMEOUT_MS: u64 = 5000;

/// The conditions in the file.
pub(super) const CONDITIONS: [(&str, On); 8] = [
    ("waiting", On::Waiting),
    ("finished", On::Finished),
    ("context", On::Context),
    ("limit", On::Limit),
    ("cost", On::Cost),
    ("health", On::Health),
    ("degraded", On::Degraded),
    ("no_watcher", On::NoWatcher),
];
pub(super) const BUDGET_SPANS: [(&str, Per); 3] =
    [("session", Per::Session), ("day", Per::Day), ("month", Per::Month)];
pub(super) const LEVELS: [(&str, HealthStatus); 2] =
    [("warning", HealthStatus::Warning), ("critical", HealthStatus::Critical)];

/// Programs that tell, by name: what the name stands for.
pub(super) const PRESETS: [(&str, &[&str]); 3] = [
    ("desktop", &["notify-send", "--app-name=ccstatusd", "--", "{title}", "{body}"]),
    ("bell", &["sh", "-c", r#"printf '\a' >"${CCSTATUSD_TTY:?the terminal is not known}""#]),
    (
        "tmux",
        // tmux would run what stands in #(…), and replace what follows %.
        &[
            "sh",
            "-c",
            r#"tmux display-message -- "$(printf '%s (%s)' "$CCSTATUSD_TITLE" "$CCSTATUSD_BODY" | sed 's/[#%]/&&/g')""#,
        ],
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Waiting,
    Finished,
    Context,
    Limit,
    Cost,
    Health,
    Degraded,
    NoWatcher,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AlertConfig {
    pub name: String,
    pub condition: Condition,
    pub project: Option<String>,
    /// Absolute, or begins with `~/`.
    pub root: Option<PathBuf>,
    pub is_told_in_focus: bool,
    pub command: Command,
    /// The program is ended after so many milliseconds.
    pub timeout_ms: u64,
}

/// The program that tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// One of [`PRESETS`].
    Preset(&'static str),
    /// A program and its arguments. No shell interprets them.
    Own(Vec<String>),
}

/// Reads the tables `alert` of the outermost table.
pub(super) fn read(root: &mut Table<'_, '_>) -> Vec<AlertConfig> {
    let alerts: Vec<_> =
        root.list_of_tables("alert", AlertConfig::read).into_iter().flatten().collect();
    if alerts.len() > MAX_ALERTS {
        root.refuse("alert", format!("there may be at most {MAX_ALERTS} alerts"));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = alerts.iter().find(|it| !names.insert(&it.name)) {
        root.refuse("alert", format!("there are two alerts with the name {}", twice.name));
    }
    alerts
}

/// Reads the table `alerts` of the outermost table.
pub(super) fn read_quiet(table: &mut Table<'_, '_>) -> Option<Quiet> {
    let times = table.list("quiet", |it| minute(text(it)?))?;
    match times[..] {
        [] => None,
        [from, to] if from != to => Some(Quiet { from, to }),
        _ => {
            let what =
                r#"it must be empty, or have two times that differ, as in ["22:00", "07:00"]"#;
            table.refuse("quiet", what);
            None
        }
    }
}

fn minute(time: &str) -> Converted<u16> {
    let digits = |text: &str, end: u16| {
        let is_plain = text.len() == 2 && text.bytes().all(|it| it.is_ascii_digit());
        text.parse::<u16>().ok().filter(|it| is_plain && *it < end)
    };
    let parts = time.split_once(':');
    let found = parts.and_then(|(hour, minute)| Some((digits(hour, 24)?, digits(minute, 60)?)));
    found
        .map(|(hour, minute)| hour * 60 + minute)
        .ok_or_else(|| r#"it must be a time of day, as in "22:00""#.to_owned())
}

/// A time of day as the file has it.
pub(crate) fn time_of_day(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl AlertConfig {
    /// `None` where a problem was recorded that leaves nothing to go on with.
    fn read(table: &mut Table<'_, '_>) -> Option<AlertConfig> {
        for key in ["name", "on", "command"] {
            table.require(key);
        }
        let name = table.value("name", |value| {
            let name = text(value)?;
            check_name(name).map(|()| name.to_owned())
        });
        let on = table.value("on", |it| choose("value", text(it)?, &CONDITIONS));
        let per = table.value("per", |it| choose("value", text(it)?, &BUDGET_SPANS));
        let bounds = if on == Some(On::Cost) { BUDGETS } else { PERCENT };
        let at = table.value("at", number(bounds));
        let min_turn_s = table.value("min_turn_s", whole(TURNS));
        let after_s = table.value("after_s", whole(PATIENCE));
        let limit = table.value("limit", |it| text(it).map(str::to_owned));
        let projected = table.value("projected", flag);
        let level = table.value("level", |it| choose("value", text(it)?, &LEVELS));
        let project = table.value("project", |it| text(it).map(str::to_owned));
        let root = table.value("root", |it| whole_path(text(it)?));
        let is_told_in_focus = table.value("in_focus", flag).unwrap_or(false);
        let command = read_command(table);
        let timeout_ms = table.value("timeout_ms", whole(TIMEOUTS));
        let on = on?;
        check_keys(table, on, projected == Some(true), per);
        let condition = match on {
            On::Waiting => Condition::Waiting,
            On::Finished => {
                let min_turn_ms = min_turn_s.unwrap_or(DEFAULT_TURN_S) * SECOND_MS;
                Condition::Finished { min_turn_ms }
            }
            On::Context => Condition::Context { at: at? },
            On::Limit if projected == Some(true) => Condition::Projected { limit },
            On::Limit => Condition::Limit { at: at?, limit },
            On::Cost => Condition::Cost { at: at?, per: per.unwrap_or(Per::Day) },
            On::Health => Condition::Health { level: level.unwrap_or(HealthStatus::Warning) },
            On::Degraded => Condition::Degraded,
            On::NoWatcher => {
                let after_ms = after_s.unwrap_or(DEFAULT_PATIENCE_S) * SECOND_MS;
                Condition::NoWatcher { after_ms }
            }
        };
        let timeout_ms = timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        Some(AlertConfig {
            name: name?,
            condition,
            project,
            root,
            is_told_in_focus,
            command: command?,
            timeout_ms,
        })
    }

    pub(super) fn rule(&self, env: &Environment) -> Option<Rule> {
        let mut what = invocation(&self.command.argv(), env)?;
        let desk = DESK.iter().filter_map(|name| Some(((*name).into(), env.get(name)?.clone())));
        what.env.extend(desk);
        let deadline = Duration::from_millis(self.timeout_ms);
        let limits = RunLimits { deadline, ..tool::TOOL_LIMITS };
        Some(Rule {
            condition: self.condition.clone(),
            project: self.project.clone(),
            root: self.root.as_deref().and_then(|it| env.expand(it)),
            is_told_in_focus: self.is_told_in_focus,
            tool: Tool { what, limits, every: Duration::ZERO },
        })
    }
}

impl Command {
    pub(super) fn argv(&self) -> Vec<String> {
        match self {
            Command::Preset(name) => {
                let preset = PRESETS.iter().find(|(it, _)| it == name);
                preset.map_or(&[] as &[&str], |(_, it)| it).iter().map(|it| (*it).into()).collect()
            }
            Command::Own(argv) => argv.clone(),
        }
    }
}

/// Reads the key `command`: the name of a preset, or a program and its arguments.
fn read_command(table: &mut Table<'_, '_>) -> Option<Command> {
    let presets = PRESETS.map(|(name, _)| (name, name));
    let command = table.value("command", |value| match value {
        DeValue::Array(items) => {
            let argv = items.iter().map(|it| text(it.get_ref()).map(str::to_owned));
            argv.collect::<Converted<Vec<_>>>().map(Command::Own)
        }
        _ => choose("program", text(value)?, &presets).map(Command::Preset).map_err(|err| {
            let or = if err.ends_with('?') { " Or give" } else { "; or give" };
            format!("{err}{or} a list such as [\"notify-send\", \"{{title}}\", \"{{body}}\"]")
        }),
    })?;
    if command.argv().first().is_none_or(String::is_empty) {
        table.refuse("command", r#"it must name a program, as in ["notify-send", "{title}"]"#);
        return None;
    }
    Some(command)
}

/// Reports keys that do not belong to the condition, and the threshold that is missing.
fn check_keys(table: &mut Table<'_, '_>, on: On, is_projected: bool, per: Option<Per>) {
    let needs_at = match on {
        On::Context | On::Cost => true,
        On::Limit => !is_projected,
        On::Waiting | On::Finished | On::Health | On::Degraded | On::NoWatcher => false,
    };
    if needs_at {
        table.require("at");
    }
    let is_of_session = match on {
        On::Waiting | On::Finished | On::Context | On::Health => true,
        On::Cost => per == Some(Per::Session),
        On::Limit | On::Degraded | On::NoWatcher => false,
    };
    let belongs = [
        ("at", needs_at, "a context, a limit that is not projected, or a cost"),
        ("per", on == On::Cost, "a cost"),
        ("limit", on == On::Limit, "a limit"),
        ("projected", on == On::Limit, "a limit"),
        ("min_turn_s", on == On::Finished, "a turn that has finished"),
        ("level", on == On::Health, "health"),
        ("after_s", on == On::NoWatcher, "a watcher that has ended"),
        ("project", is_of_session, "what concerns single sessions"),
        ("in_focus", is_of_session, "what concerns single sessions"),
        ("root", !matches!(on, On::Degraded | On::NoWatcher), "sessions and accounts"),
    ];
    for (key, is_right, of) in belongs {
        if !is_right {
            table.refuse(key, format!("this key is for alerts on {of}"));
        }
    }
}
