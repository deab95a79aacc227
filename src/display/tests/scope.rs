//! A line shows the facts of its own session, account and repository, and no others.

use super::{
    NOW, PLAIN, REST, add_session, check, check_client, limit, repo, session, show, snapshot, zone,
};
use crate::display::view::{Around, Source, Tree, View, Watcher};
use crate::display::{NOTHING, SessionView, line, text};
use crate::store::schema::display::Depth;
use crate::store::schema::{
    BackgroundJob, ClientFacts, CommandOutput, CostSource, Degraded, Fit, Limits, Lines, Model,
    PromptCache, PullRequest, Repo, Session, SessionId, SessionKind, Snapshot, Status, Waiting,
};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS};

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
    let expected = "~/w/p/src · main · Opus 4.8 · ctx 3% of 1M · $0.12 · block $10.00 2h00m left · \
                    today $30.00 · 5h 34% ↻2h00m · 7d 7% ↻1d00h";
    check_client(&client, expected);
}

/// The line of a session whose client reports this directory, and around which this was found.
fn moved(snapshot: Option<&Snapshot>, cwd: &str, around: &Around) -> String {
    let client = ClientFacts { cwd: Some(cwd.to_owned()), ..ClientFacts::default() };
    let session = SessionId("one".to_owned());
    let view = View {
        source: snapshot.map_or(Source::Missing, Source::Snapshot),
        watcher: Watcher::Alive,
        client: &client,
        session: Some(&session),
        around,
        now_ms: NOW,
        home: Some("/h"),
        drawn_at: None,
        clock: None,
        zone: None,
    };
    let line = line(&view, &PLAIN);
    let rest = if snapshot.is_some() { &format!(" · model-one · {REST}") } else { NO_DATA };
    line.strip_suffix(rest).unwrap_or(&line).to_owned()
}

const NO_DATA: &str = " · no data yet";

fn tree(top: &str, branch: &str) -> Tree {
    let head = Repo { branch: Some(branch.to_owned()), ..Repo::default() };
    Tree { top: top.to_owned(), head: Some(head), is_own: true }
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
    for (left_ms, hit_ratio, expected) in [
        (HOUR_MS, Some(0.5), "cache 50% warm 1h00m"),
        (HOUR_MS, None, "cache warm 1h00m"),
        (DAY_MS, Some(0.5), "cache 50%"),
    ] {
        let expires_at_ms = Some(NOW + left_ms);
        let prompt_cache = Some(PromptCache { expires_at_ms, hit_ratio, ..Default::default() });
        let client = ClientFacts { prompt_cache, ..ClientFacts::default() };
        let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
        assert_eq!(drawn, expected);
    }
}

#[test]
fn a_session_that_moved_shows_the_working_tree_that_is_around_it() {
    let mut snapshot = snapshot();
    add_session(&mut snapshot, "two", "/h/.claude2", "/h/work/q", "topic", 2.0);
    let snapshot = Some(&snapshot);
    let around = |top: &str, branch: &str| Around::Tree(Box::new(tree(top, branch)));
    assert_eq!(moved(snapshot, "/h/work/q/x", &around("/h/work/q", "topic")), "~/w/q/x · topic");
    assert_eq!(moved(snapshot, "/h/work/p/w", &around("/h/work/p/w", "side")), "~/w/p/w · side");
    assert_eq!(moved(snapshot, "/h/work/p/tmp", &Around::NoTree), "~/w/p/tmp");
    assert_eq!(moved(snapshot, "/h/work/p/nfs", &Around::Unknown), "~/w/p/nfs");
    assert_eq!(moved(snapshot, "/h/work/p", &Around::Unknown), "~/w/p · main");
    assert_eq!(moved(snapshot, "/h/link", &around("/h/work/p", "main")), "~/link · main");
}

#[test]
fn without_data_the_branch_is_shown_nevertheless() {
    let mut found = tree("/h/work/p", "side");
    found.head.as_mut().unwrap().worktree = Some("p".to_owned());
    assert_eq!(
        moved(None, "/h/work/p", &Around::Tree(Box::new(found.clone()))),
        "~/w/p · side in p"
    );
    let detached = Repo { commit: Some("1".repeat(40)), ..Repo::default() };
    found.head = Some(detached);
    assert_eq!(
        moved(None, "/h/work/p", &Around::Tree(Box::new(found.clone()))),
        "~/w/p · @1111111"
    );
    found.head = None;
    assert_eq!(moved(None, "/h/work/p", &Around::Tree(Box::new(found))), "~/w/p");
}

#[test]
fn a_branch_that_was_changed_just_now_is_shown_without_the_counts_of_the_one_before() {
    let mut snapshot = snapshot();
    let repo = repo(&mut snapshot);
    (repo.ahead, repo.behind, repo.staged, repo.stashes) = (1, 2, 3, 4);
    repo.commit = Some("2".repeat(40));
    let shown = |snapshot: &Snapshot, found: &Tree| {
        moved(Some(snapshot), "/h/work/p", &Around::Tree(Box::new(found.clone())))
    };
    let mut found = tree("/h/work/p", "main");
    assert_eq!(shown(&snapshot, &found), "~/w/p · main ⇡1⇣2 *4 +3");
    found = tree("/h/work/p", "side");
    assert_eq!(shown(&snapshot, &found), "~/w/p · side *4 +3");
    found.head = Some(Repo { commit: Some("1".repeat(40)), ..Repo::default() });
    assert_eq!(shown(&snapshot, &found), "~/w/p · @1111111 *4 +3");
    found.head = None;
    assert_eq!(shown(&snapshot, &found), "~/w/p · main ⇡1⇣2 *4 +3");
}

#[test]
fn of_a_tree_of_another_user_only_what_git_says_is_shown() {
    let mut snapshot = snapshot();
    let found = Tree { is_own: false, ..tree("/h/work/p", "side") };
    let shown = |snapshot: Option<&Snapshot>, found: &Tree| {
        moved(snapshot, "/h/work/p", &Around::Tree(Box::new(found.clone())))
    };
    assert_eq!(shown(None, &found), "~/w/p");
    assert_eq!(shown(Some(&snapshot), &found), "~/w/p · side", "git has read it");
    repo(&mut snapshot).error = Some("dubious ownership".to_owned());
    assert_eq!(shown(Some(&snapshot), &found), "~/w/p · main · git: dubious ownership");
    repo(&mut snapshot).as_of_ms = 0;
    assert_eq!(shown(Some(&snapshot), &found), "~/w/p · git: dubious ownership");
    let own = tree("/h/work/p", "side");
    repo(&mut snapshot).error = Some("not installed".to_owned());
    assert_eq!(shown(Some(&snapshot), &own), "~/w/p · side · git: not installed");
}

#[test]
fn a_fitted_line_is_marked_by_what_the_display_sees_of_the_watcher() {
    let snapshot = snapshot();
    let id = SessionId("one".to_owned());
    let (zone, home) = (zone(), Some("/h"));
    let view = SessionView { snapshot: &snapshot, session: &id, now_ms: NOW, zone: &zone, home };
    let client = ClientFacts { effort: Some("high".to_owned()), ..ClientFacts::default() };
    let fit = |columns| Fit { columns, depth: Depth::None, has_links: false };

    let drawn = view.fitted(Watcher::Alive, &client, &fit(200));
    let line = format!("~/w/p · main · model-one high · {REST}");
    assert_eq!(drawn.line, line);
    assert_eq!(drawn.old, format!("{line} · 14:32"));
    assert!(drawn.gone.ends_with(" · no watcher: ccstatusd start · 14:32"), "{}", drawn.gone);
    let last = view.fitted(Watcher::Gone, &client, &fit(200));
    assert_eq!([&last.line, &last.old], [&drawn.gone; 2], "the watcher ends");

    for columns in 1..120 {
        let drawn = view.fitted(Watcher::Alive, &client, &fit(columns));
        assert_eq!(drawn.columns, columns);
        for text in [drawn.line, drawn.old, drawn.gone] {
            assert!(text::width(&text) <= columns.into(), "{columns}: {text}");
        }
    }
}

#[test]
fn facts_of_one_session_never_appear_in_the_line_of_another() {
    let mut snapshot = snapshot();
    add_session(&mut snapshot, "two", "/h/.claude2", "/h/work/q", "topic", 2.0);
    let drawn = |id: &str| {
        let id = SessionId(id.to_owned());
        let (zone, home) = (zone(), Some("/h"));
        let view =
            SessionView { snapshot: &snapshot, session: &id, now_ms: NOW, zone: &zone, home };
        view.line(Watcher::Alive, &PLAIN)
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
        ("command:pr of /h/work/p", "command.pr"),
    ] {
        let expected = format!("~/w/p · main · model-one · {REST} · {shown}: timed out after 5 s");
        check(|it| it.degraded.push(failing(source)), &expected);
    }
    for source in [
        "git:/h/work/pq",
        "transcript:/h/.claude/projects/p/two.jsonl",
        "watch:/h/.claude2",
        "command:pr of /h/work/pq",
        "command:pr of /h/.claude2",
        "command:pr of another",
    ] {
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
            let command = CommandOutput {
                as_of_ms: NOW,
                output: output.to_owned(),
                error,
                ..CommandOutput::default()
            };
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

#[test]
fn other_sessions_that_wait_are_named_and_the_own_one_is_not() {
    let waiting = |id: &str, minutes| Waiting {
        session: id.to_owned(),
        name: format!("the {id}"),
        waiting_for: Some("permission prompt".to_owned()),
        since_ms: Some(NOW - minutes * MINUTE_MS),
    };
    let mut snapshot = snapshot();
    snapshot.waiting = vec![waiting("api", 12), waiting("one", 9)];
    check(
        |it| *it = snapshot.clone(),
        &format!("~/w/p · main · model-one · {REST} · ⏳1 waiting: the api 12m"),
    );
    snapshot.waiting.extend([waiting("docs", 3), waiting("web", 2), waiting("ops", 1)]);
    let named = "waiting: the api, the docs, the web 12m";
    check(|it| *it = snapshot.clone(), &format!("~/w/p · main · model-one · {REST} · ⏳4 {named}"));
    snapshot.waiting_more = 2;
    check(|it| *it = snapshot.clone(), &format!("~/w/p · main · model-one · {REST} · ⏳6 {named}"));
    // Its own session waits as well, and is among those that are not listed.
    snapshot.waiting.remove(1);
    snapshot.sessions.values_mut().for_each(|session| session.status = Some(Status::Waiting));
    check(|it| *it = snapshot.clone(), &format!("~/w/p · main · model-one · {REST} · ⏳5 {named}"));
    snapshot.waiting.clear();
    snapshot.waiting_more = 0;
    check(|it| *it = snapshot.clone(), &format!("~/w/p · main · model-one · {REST}"));
}

#[test]
fn what_the_session_does_and_waits_for_is_a_segment() {
    let says = |format: &str, change: fn(&mut Session)| {
        let mut snapshot = snapshot();
        snapshot.display.format = Some(format.to_owned());
        let session = snapshot.sessions.values_mut().next().unwrap();
        session.status_since_ms = Some(NOW - 2 * MINUTE_MS);
        change(session);
        show(Source::Snapshot(&snapshot), Watcher::Alive, &ClientFacts::default(), &PLAIN)
    };
    let waits = |session: &mut Session| {
        session.status = Some(Status::Waiting);
        session.waiting_for = Some("permission prompt".to_owned());
    };
    assert_eq!(says("{waiting}", waits), "⏳ waits: permission prompt 2m");
    assert_eq!(says("{status}", waits), "waiting 2m");
    let shell = |session: &mut Session| session.status = Some(Status::Shell);
    assert_eq!(says("{status}", shell), "shell 2m");
    assert_eq!(says("{model} {waiting}", shell), "model-one");
    let job = |session: &mut Session| {
        session.status = Some(Status::Busy);
        session.kind = Some(SessionKind::Background);
        let (name, state) = (Some("fix it".to_owned()), Some("working".to_owned()));
        session.job = Some(BackgroundJob { id: "j".to_owned(), name, state });
    };
    assert_eq!(says("{status}", job), "busy 2m in the background fix it: working");
}
