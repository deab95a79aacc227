//! `ccstatusd alerts`: lists the alerts of the configuration with what each has told last, and runs
//! the program of one as a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use jiff::tz::TimeZone;

use crate::alert::{Condition, Per, Rule, span};
use crate::cli::Environment;
use crate::config::Config;
use crate::config::alerts::time_of_day;
use crate::error::{Error, Exit, Result};
use crate::fetch::alert;
use crate::fetch::exec::RunError;
use crate::overview::{self, Row};
use crate::programs::Programs;
use crate::sanitize;
use crate::sentinel;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::Snapshot;
use crate::store::schema::alerts::{Alert, AlertEvent, AlertNotice};
use crate::store::snapshot;
use crate::time::{HOUR_MS, MINUTE_MS, Now};

/// So many of the sessions, limits, … are named for which an alert is not armed.
const MAX_SHOWN: usize = 5;

/// One paragraph for each alert of the configuration.
pub fn list(env: &Environment) -> Result<String> {
    let config = Config::load(env.config_file().as_deref())?;
    let rules = config.rules(env);
    if rules.is_empty() {
        return Ok("no alert is configured; docs/alerts.md shows how\n".to_owned());
    }
    let snapshot = snapshot::read(&env.checked_state_dir()?.join(SNAPSHOT)).ok();
    let now_ms = Now::read().wall_ms;
    let mut text = String::new();
    if snapshot.as_ref().is_none_or(|it| it.watcher.is_none()) {
        text += "No watcher runs, so nothing is told: `ccstatusd start` starts one.\n\n";
    }
    if let Some(quiet) = config.quiet.filter(|it| it.contain(now_ms, &TimeZone::system())) {
        let end = time_of_day(quiet.to);
        text += &format!(
            "Nothing is told until {end}: these are the quiet hours. What still \
                          holds then is told then.\n\n"
        );
    }
    let names = snapshot.as_ref().map(session_names).unwrap_or_default();
    for (name, rule) in &rules {
        let known = snapshot.as_ref().and_then(|it| it.alerts.get(name));
        text += &paragraph(name, rule, known, &names, now_ms);
    }
    Ok(sanitize::message(&text))
}

/// What sessions are called, by their ids. Several may have one name.
fn session_names(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let named = |row: Row<'_>| {
        let name = row.name().or_else(|| row.project())?;
        Some((row.id.0.clone(), format!("{name} ({:.8})", row.id.0)))
    };
    overview::rows(snapshot).into_iter().filter_map(named).collect()
}

fn paragraph(
    name: &str,
    rule: &Rule,
    known: Option<&Alert>,
    names: &BTreeMap<String, String>,
    now_ms: i64,
) -> String {
    let mut text = format!("{name}: {}\n", condition(rule));
    let program = rule.tool.what.program.to_string_lossy();
    let args = rule.tool.what.args.iter().map(|it| it.to_string_lossy());
    let argv: Vec<_> = [program].into_iter().chain(args).collect();
    let mut line = |key: &str, value: &str| {
        writeln!(text, "  {key:<8} {value}").expect("a string takes everything");
    };
    line("program", &argv.join(" "));
    let Some(known) = known else {
        line("state", "the watcher has not looked at it yet");
        return text;
    };
    let told = known.subjects.iter().filter(|(_, it)| !it.armed).map(|it| it.0);
    let told: Vec<&str> = told.map(|it| names.get(it).unwrap_or(it).as_str()).collect();
    let state = match told.len() {
        0 => "armed".to_owned(),
        n_told => {
            let shown = told[..n_told.min(MAX_SHOWN)].join(", ");
            let more = match n_told.saturating_sub(MAX_SHOWN) {
                0 => String::new(),
                n_more => format!(" and {n_more} more"),
            };
            format!("armed, except for what holds already: {shown}{more}")
        }
    };
    line("state", &state);
    let last = match (known.last_fired_ms, &known.last_title) {
        (Some(at_ms), Some(title)) => format!("{} ago: {title}", span(now_ms - at_ms)),
        _ => "never".to_owned(),
    };
    line("told", &last);
    if let Some(error) = &known.error {
        line("error", error);
    }
    text
}

/// What a rule waits for, in words.
fn condition(rule: &Rule) -> String {
    let of = |limit: &Option<String>| limit.as_deref().unwrap_or("any limit").replace('_', " ");
    let mut words = match &rule.condition {
        Condition::Waiting => "a session waits".to_owned(),
        Condition::Finished { min_turn_ms } => {
            format!("a session has finished a turn of {} or more", span(*min_turn_ms))
        }
        Condition::Context { at } => format!("a context is used to {at} %"),
        Condition::Limit { at, limit } => format!("{} is used to {at} %", of(limit)),
        Condition::Projected { limit } => {
            format!("{} will be used up before its reset", of(limit))
        }
        Condition::Cost { at, per } => {
            let what = match per {
                Per::Session => "a session",
                Per::Day => "the day",
                Per::Month => "the month",
            };
            format!("{what} has cost ${at:.2}")
        }
        Condition::Health { level } => {
            format!("the health of a session is {level:?} or worse").to_lowercase()
        }
        Condition::Degraded => "a source fails".to_owned(),
        Condition::NoWatcher { after_ms } => {
            format!("the watcher has died, and none runs after {}", span(*after_ms))
        }
    };
    if let Some(project) = &rule.project {
        write!(words, ", in {project}").expect("a string takes everything");
    }
    if let Some(root) = &rule.root {
        write!(words, ", of {}", root.display()).expect("a string takes everything");
    }
    if rule.is_told_in_focus {
        words += ", also in the pane that has the focus";
    }
    words
}

/// Runs the program of an alert with sample facts, and returns what it printed, and the exit code.
pub fn test(env: &Environment, name: &str) -> Result<(String, Exit)> {
    let rules = Config::load(env.config_file().as_deref())?.rules(env);
    let Some(rule) = rules.get(name) else {
        let known: Vec<_> = rules.keys().map(String::as_str).collect();
        let hint = match &known[..] {
            [] => "the configuration has no [[alert]]; docs/alerts.md shows how".to_owned(),
            [only] => format!("the only one is {only}"),
            known => format!("there are {}", known.join(", ")),
        };
        return Err(Error::new(format!("there is no alert {name:?}")).hint(hint));
    };
    let now_ms = Now::read().wall_ms;
    let event = sample(&rule.condition, now_ms);
    let notice = AlertNotice::of(name, rule.condition.word(), vec![event], now_ms);
    let what = alert::invocation(&rule.tool.what, &notice);
    let words: Vec<_> = what.args.iter().map(|it| it.to_string_lossy()).collect();
    let program = what.program.to_string_lossy();
    let mut text = format!("ran {program} {}\n", words.join(" "));
    let began = Now::read().mono;
    let printed = Programs::new(env)?.run(&what, rule.tool.limits.deadline);
    let took_ms = (Now::read().mono - began).as_millis();
    let exit = match printed {
        Ok(printed) => {
            text += &format!("it ended successfully after {took_ms} ms");
            text += if printed.trim().is_empty() { ", and printed nothing\n" } else { ":\n" };
            text += &printed;
            Exit::Success
        }
        Err(err) => {
            text += &match err {
                RunError::NotFound { .. }
                | RunError::NotStarted { .. }
                | RunError::NoDirectory { .. } => format!("{err}\n"),
                err => format!("it {err}\n"),
            };
            Exit::Failure
        }
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok((sanitize::message(&text), exit))
}

/// A sample of what the program of such an alert is told. Its process is this one, so that the
/// program `bell` finds the user's terminal.
fn sample(condition: &Condition, now_ms: i64) -> AlertEvent {
    let cwd = Path::new("/home/you/demo").display().to_string();
    let session = AlertEvent {
        subject: "00000000-0000-4000-8000-000000000000".to_owned(),
        session: Some("00000000-0000-4000-8000-000000000000".to_owned()),
        session_name: Some("a test".to_owned()),
        project: Some("demo".to_owned()),
        cwd: Some(cwd),
        pid: Some(std::process::id()),
        body: "a test of this alert, in demo".to_owned(),
        ..AlertEvent::default()
    };
    let account = AlertEvent {
        body: "a test of this alert, resets in 2 h 10 min".to_owned(),
        limit: Some("five_hour".to_owned()),
        percent: Some(81.0),
        resets_at_ms: Some(now_ms + 2 * HOUR_MS + 10 * MINUTE_MS),
        ..AlertEvent::default()
    };
    let title = |title: &str, event: AlertEvent| AlertEvent { title: title.to_owned(), ..event };
    match condition {
        Condition::Waiting => {
            let waiting_for = Some("permission prompt".to_owned());
            title("a test waits", AlertEvent { waiting_for, ..session })
        }
        Condition::Finished { .. } => {
            title("a test has finished", AlertEvent { turn_ms: Some(12 * MINUTE_MS), ..session })
        }
        Condition::Context { at } => {
            let title = format!("a test: context {at:.0} % used");
            AlertEvent { title, percent: Some(*at), ..session }
        }
        Condition::Limit { .. } => title("five-hour limit 81 % used", account),
        Condition::Projected { .. } => {
            title("five-hour limit will be used up before its reset", account)
        }
        Condition::Cost { at, .. } => AlertEvent {
            title: format!("a test has cost ${at:.2}"),
            body: format!("of a budget of ${at:.2}"),
            cost_usd: Some(*at),
            budget_usd: Some(*at),
            percent: Some(100.0),
            ..AlertEvent::default()
        },
        Condition::Health { .. } => title("a test: context 81 % used", session),
        Condition::Degraded => title("git:/home/you/demo fails", AlertEvent::default()),
        Condition::NoWatcher { after_ms } => sentinel::event(*after_ms),
    }
}
