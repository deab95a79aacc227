//! Runs the program of an alert: what it is told, in its arguments, in its environment and on its
//! standard input.
//!
//! It runs as every configured program does, see [`super::tool`]. Desktop notifications go over the
//! user's session bus, and messages of tmux over its socket, so it also sees the variables in
//! [`DESK`], and finds the terminal of the session that it is told of. An event of a session whose
//! pane has the focus is not told, since the user sees it: see [`super::focus`].

use std::ffi::OsString;

use super::exec::{Invocation, Runner};
use super::focus;
use super::guard::MAX_INPUT;
use super::job::Told;
use super::process::terminal;
use super::tool::ToolError;
use crate::alert::{Rule, span};
use crate::sanitize;
use crate::store::lock::FetchLock;
use crate::store::schema::alerts::{AlertEvent, AlertNotice};

/// The environment variables that reach the user's desktop, passed on beside those of
/// [`super::exec::PASSED_ON`].
pub const DESK: [&str; 7] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "TMUX",
    "TMUX_TMPDIR",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
];

/// The placeholders in arguments.
pub const PLACEHOLDERS: [&str; 6] =
    ["{title}", "{body}", "{session}", "{project}", "{percent}", "{resets_in}"];

/// Bytes of an argument after its placeholders were replaced: the system refuses longer ones.
const MAX_ARGUMENT: usize = 64 << 10;

/// Tells of these events as one, by the program of the alert of this name.
pub fn tell(
    runner: &Runner,
    lock: &FetchLock,
    name: &str,
    rule: &Rule,
    events: &[AlertEvent],
    at_ms: i64,
) -> Told {
    let in_focus = match rule.is_told_in_focus {
        true => Vec::new(),
        false => in_focus(runner, lock, rule, events),
    };
    let unseen: Vec<_> =
        events.iter().filter(|it| !in_focus.contains(&it.subject)).cloned().collect();
    let result = match unseen.is_empty() {
        true => Ok(()),
        false => {
            let notice = AlertNotice::of(name, rule.condition.word(), unseen, at_ms);
            let what = invocation(&rule.tool.what, &notice);
            runner.run(lock, &what, rule.tool.limits).map(drop).map_err(ToolError::Failed)
        }
    };
    Told { at_ms, in_focus, result }
}

/// The subjects of those events whose sessions run in a terminal that has the focus. If none of
/// them runs in a terminal of the user's, tmux is not asked.
fn in_focus(runner: &Runner, lock: &FetchLock, rule: &Rule, events: &[AlertEvent]) -> Vec<String> {
    let terminals = events.iter().filter_map(|it| Some((&it.subject, terminal(it.pid?)?)));
    let terminals: Vec<_> = terminals.collect();
    if terminals.is_empty() {
        return Vec::new();
    }
    let focused = focus::focused(runner, lock, &rule.tool);
    let seen = terminals.into_iter().filter(|(_, it)| focused.contains(it));
    seen.map(|(subject, _)| subject.clone()).collect()
}

/// The call of an alert's program for this notice.
pub fn invocation(program: &Invocation, notice: &AlertNotice) -> Invocation {
    let event = notice.events.first().cloned().unwrap_or_default();
    let facts = facts(notice, &event);
    let args = program.args.iter().map(|it| filled(it, &facts)).collect();
    let mut env = program.env.clone();
    let names = facts.into_iter().map(|(name, value)| {
        (format!("CCSTATUSD_{}", name.to_ascii_uppercase()).into(), value.into())
    });
    env.extend(names);
    if let Some(pid) = event.pid {
        env.extend(terminal(pid).map(|path| ("CCSTATUSD_TTY".into(), path.into())));
    }
    Invocation { args, env, input: input(notice), ..program.clone() }
}

/// What is told, by name. Nothing in it can steer a terminal.
fn facts(notice: &AlertNotice, event: &AlertEvent) -> Vec<(&'static str, String)> {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let dollars = |usd: Option<f64>| usd.map(|it| format!("{it:.2}")).unwrap_or_default();
    let resets_in = event.resets_at_ms.map(|it| span(it - notice.at_ms)).unwrap_or_default();
    let facts = [
        ("alert", notice.alert.clone()),
        ("on", notice.on.clone()),
        ("title", notice.title.clone()),
        ("body", notice.body.clone()),
        ("count", notice.count.to_string()),
        ("session", text(&event.session)),
        ("session_name", text(&event.session_name)),
        ("project", text(&event.project)),
        ("cwd", text(&event.cwd)),
        ("root", text(&event.root)),
        ("percent", event.percent.map(|it| format!("{it:.0}")).unwrap_or_default()),
        ("limit", text(&event.limit)),
        ("resets_in", resets_in),
        ("cost_usd", dollars(event.cost_usd)),
        ("budget_usd", dollars(event.budget_usd)),
        ("waiting_for", text(&event.waiting_for)),
        ("reason", text(&event.reason)),
    ];
    facts.map(|(name, value)| (name, sanitize::spaced(&value).collect())).into()
}

/// An argument with its placeholders replaced. Placeholders in what replaces one stay.
fn filled(argument: &OsString, facts: &[(&'static str, String)]) -> OsString {
    let Some(mut rest) = argument.to_str() else { return argument.clone() };
    let mut filled = String::new();
    while let Some(at) = rest.find('{') {
        filled += &rest[..at];
        rest = &rest[at..];
        match PLACEHOLDERS.iter().find(|it| rest.starts_with(**it)) {
            Some(placeholder) => {
                let name = placeholder.trim_matches(['{', '}']);
                let value = facts.iter().find(|(it, _)| *it == name);
                filled += value.map_or("", |(_, it)| it.as_str());
                rest = &rest[placeholder.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled += rest;
    let end = (0..=MAX_ARGUMENT.min(filled.len())).rev().find(|it| filled.is_char_boundary(*it));
    filled.truncate(end.unwrap_or(0));
    filled.into()
}

/// The notice as JSON on one line, with as many of its events as a program's input has room for.
fn input(notice: &AlertNotice) -> Vec<u8> {
    let mut notice = notice.clone();
    loop {
        let json = serde_json::to_string(&notice).unwrap_or_default();
        let line = sanitize::json(&json) + "\n";
        if line.len() <= MAX_INPUT || notice.events.pop().is_none() {
            return line.into_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> AlertNotice {
        let event = AlertEvent {
            title: "a\u{1b}[31m {body} waits".to_owned(),
            body: "permission prompt".to_owned(),
            session: Some("s1".to_owned()),
            percent: Some(81.6),
            resets_at_ms: Some(7_200_000),
            ..AlertEvent::default()
        };
        AlertNotice::of("w", "waiting", vec![event], 0)
    }

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_stay() {
        let facts = facts(&notice(), &notice().events[0]);
        let check = |argument: &str, expected: &str| {
            assert_eq!(filled(&argument.into(), &facts), OsString::from(expected), "{argument}");
        };
        check("{title}", "a [31m {body} waits");
        check("{percent} % of {session}, {resets_in}", "82 % of s1, 2 h");
        check("awk '{print}' {unknown} {project}.", "awk '{print}' {unknown} .");
        check("{", "{");
    }

    #[test]
    fn a_program_reads_valid_json_that_is_not_too_long() {
        let mut notice = notice();
        let long = AlertEvent { cwd: Some("\u{1}".repeat(4000)), ..AlertEvent::default() };
        notice.events = vec![long; 5];
        let input = input(&notice);
        assert!(input.len() <= MAX_INPUT, "{}", input.len());
        let read: AlertNotice = serde_json::from_slice(&input).expect("it is JSON");
        assert_eq!((read.alert.as_str(), read.count, read.version), ("w", 1, 1));
        assert!((1..5).contains(&read.events.len()));
    }
}
