//! A line shows the facts of its own session, account and repository, and no others.

use super::{NOW, PLAIN, REST, add_session, check, check_client, limit, show, snapshot};
use crate::display::session_line;
use crate::display::view::{Source, Watcher};
use crate::store::schema::{
    ClientFacts, CommandOutput, Degraded, Limits, Model, SessionId, Snapshot,
};
use crate::time::DAY_MS;

#[test]
fn facts_from_the_client_take_precedence() {
    let client = ClientFacts {
        cwd: Some("/h/work/p/src".to_owned()),
        model: Some(Model {
            id: "m[1m]".to_owned(),
            display_name: Some("Opus 4.8 (1M context)".to_owned()),
        }),
        context_window: Some(1_000_000),
        context_used_percentage: Some(3.0),
        cost_usd: Some(0.1218),
        limits: Limits { seven_day: Some(limit(7.0, DAY_MS)), ..Limits::default() },
        ..ClientFacts::default()
    };
    let expected = "~/w/p/src · main · Opus 4.8 · ctx  3% of 1M · $0.12 · block $10.00 2h00m left · \
                    today $30.00 · 5h 34% ↻2h00m · 7d  7% ↻1d00h";
    check_client(&client, expected);
}

#[test]
fn a_session_that_moved_shows_the_innermost_repository_around_it() {
    let moved = |to: &str| ClientFacts { cwd: Some(to.to_owned()), ..ClientFacts::default() };
    check_client(&moved("/h/work/pq"), &format!("~/w/pq · model-one · {REST}"));
    check_client(&moved("/"), &format!("/ · model-one · {REST}"));
    check_client(&moved("/h"), &format!("~ · model-one · {REST}"));
    check_client(&moved("/h/work/p/.x/y"), &format!("~/w/p/.x/y · main · model-one · {REST}"));
}

#[test]
fn facts_of_one_session_never_appear_in_the_line_of_another() {
    let mut snapshot = snapshot();
    add_session(&mut snapshot, "two", "/h/.claude2", "/h/work/q", "topic", 2.0);
    let drawn = |id: &str| {
        let id = SessionId(id.to_owned());
        session_line(&snapshot, Watcher::Alive, &id, NOW, "14:32", Some("/h"), &PLAIN)
    };
    assert_eq!(drawn("one"), format!("~/w/p · main · model-one · {REST} · 14:32"));
    assert_eq!(
        drawn("two"),
        "~/w/q · topic · model-two · ctx 84% · $2.00 · block $20.00 2h00m left · \
         today $60.00 · 5h 68% ↻2h00m · 14:32"
    );
    assert_eq!(drawn("three"), "14:32");
}

#[test]
fn a_new_session_finds_its_account_by_its_transcript() {
    let mut snapshot = snapshot();
    snapshot.sessions.clear();
    let client = ClientFacts {
        transcript_path: Some("/h/.claude/projects/p/new.jsonl".to_owned()),
        cwd: Some("/h/work/p".to_owned()),
        ..ClientFacts::default()
    };
    let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
    let rest = "block $10.00 2h00m left · today $30.00 · 5h 34% ↻2h00m";
    assert_eq!(drawn, format!("~/w/p · main · {rest}"));
}

#[test]
fn failing_sources_are_named_in_the_lines_that_they_concern() {
    let failing = |source: &str| Degraded {
        source: source.to_owned(),
        reason: "timed out after 5 s".to_owned(),
        ..Degraded::default()
    };
    for (source, shown) in [
        ("git:/h/work/p", "git"),
        ("transcript:/h/.claude/projects/p/one.jsonl", "transcript"),
        ("transcript:/h/.claude/projects/p/one/subagents/agent-1.jsonl", "transcript"),
        ("watch:/h/.claude", "watch"),
        ("watch:/h", "watch"),
        ("store", "store"),
        ("command:load", "command.load"),
    ] {
        let expected = format!("~/w/p · main · model-one · {REST} · {shown}: timed out after 5 s");
        check(|it| it.degraded.push(failing(source)), &expected);
    }
    for source in
        ["git:/h/work/pq", "transcript:/h/.claude/projects/p/two.jsonl", "watch:/h/.claude2"]
    {
        let expected = format!("~/w/p · main · model-one · {REST}");
        check(|it| it.degraded.push(failing(source)), &expected);
    }
}

#[test]
fn a_command_that_fails_is_named_once_with_the_reason() {
    let check = |output: &str, expected: &str| {
        let change = |snapshot: &mut Snapshot| {
            snapshot.display.format = Some("{directory} {command.load} {cost}".to_owned());
            let error = Some("exit code 1".to_owned());
            let command = CommandOutput { as_of_ms: NOW, output: output.to_owned(), error };
            snapshot.commands.insert("load".to_owned(), command);
            snapshot.degraded.push(Degraded {
                source: "command:load".to_owned(),
                reason: "exit code 1".to_owned(),
                ..Degraded::default()
            });
        };
        check(change, expected);
    };
    check("0.42", "~/w/p · 0.42 · $1.00 · command.load: exit code 1");
    check("", "~/w/p · $1.00 · command.load: exit code 1");
}
