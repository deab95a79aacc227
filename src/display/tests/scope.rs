//! A line shows the facts of its own session, account and repository, and no others.

use super::{NOW, PLAIN, REST, add_session, check, check_client, limit, session, show, snapshot};
use crate::display::view::{Source, Watcher};
use crate::display::{NOTHING, session_line};
use crate::store::schema::{
    ClientFacts, CommandOutput, CostSource, Degraded, Limits, Lines, Model, PromptCache,
    PullRequest, SessionId, Snapshot,
};
use crate::time::{DAY_MS, HOUR_MS};

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

/// The session has every fact that only the client states, from an earlier document.
fn reported() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.display.format =
        Some("{pr} {context} {cost} {lines} {duration} {output_style} {version}".to_owned());
    let session = session(&mut snapshot);
    session.pr = Some(PullRequest { number: 7, ..PullRequest::default() });
    session.context.as_mut().unwrap().window = Some(200_000);
    session.cost.as_mut().unwrap().source = CostSource::Client;
    session.lines = Some(Lines { added: 3, removed: 1 });
    session.duration_ms = Some(60_000);
    session.output_style = Some("terse".to_owned());
    session.client_version = Some("2.1.332".to_owned());
    snapshot
}

#[test]
fn a_document_denies_what_it_lacks_and_a_request_denies_nothing() {
    let snapshot = reported();
    let drawn =
        |client: &ClientFacts| show(Source::Snapshot(&snapshot), Watcher::Alive, client, &PLAIN);
    let all = "#7 · ctx 42% · $1.00 · +3 −1 · 01m · terse · v2.1.332";
    assert_eq!(drawn(&ClientFacts::default()), all);
    let id = Some("one".to_owned());
    assert_eq!(drawn(&ClientFacts { session_id: id, ..ClientFacts::default() }), all);
    let document = ClientFacts { context_window: Some(200_000), ..ClientFacts::default() };
    assert_eq!(drawn(&document), NOTHING);
    let with_cost = ClientFacts { cost_usd: Some(2.0), ..document };
    assert_eq!(drawn(&with_cost), "$2.00");
}

#[test]
fn without_a_statement_of_the_client_context_and_cost_are_those_of_the_transcript() {
    let mut snapshot = reported();
    session(&mut snapshot).context.as_mut().unwrap().window = None;
    session(&mut snapshot).cost.as_mut().unwrap().source = CostSource::Transcript;
    let client = ClientFacts { client_version: Some("1.0".to_owned()), ..ClientFacts::default() };
    let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
    assert_eq!(drawn, "ctx 42% · $1.00 · v1.0");
    let client = ClientFacts { context_window: Some(200_000), ..client };
    let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
    assert_eq!(drawn, "$1.00 · v1.0", "the client does not know the share");
}

#[test]
fn a_cache_that_would_be_warm_for_days_has_no_countdown() {
    let mut snapshot = snapshot();
    snapshot.display.format = Some("{cache}".to_owned());
    for (left_ms, expected) in [(HOUR_MS, "cache 50% warm 1h00m"), (DAY_MS, "cache 50%")] {
        let expires_at_ms = Some(NOW + left_ms);
        let hit_ratio = Some(0.5);
        let prompt_cache = Some(PromptCache { expires_at_ms, hit_ratio, ..Default::default() });
        let client = ClientFacts { prompt_cache, ..ClientFacts::default() };
        let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
        assert_eq!(drawn, expected);
    }
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
