//! Golden lines: the states that a session can be in, each drawn at three widths and for `cat`.
//! Each state has a file in `tests/data/states`.

use super::{NOW, repo, root, session, show, zone};
use crate::display::view::{Source, Style, Watcher};
use crate::display::{SessionView, subagents, text};
use crate::fetch::claude::client::{parse_stdin, parse_subagents};
use crate::store::schema::display::{Depth, Display};
use crate::store::schema::{
    Block, ClientFacts, Context, Cost, CostSource, Degraded, Limit, Limits, Lines, Message, Model,
    Repo, RepoKey, Root, RootKey, Session, SessionId, Snapshot, Subagents, Totals, Usage, Window,
};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// The client's document in the middle of a session of a subscriber.
const DOCUMENT: &str = r#"{"session_id":"one","transcript_path":"/h/.claude/projects/p/one.jsonl",
    "cwd":"/h/work/shop","effort":{"level":"high"},
    "model":{"id":"claude-opus-4-8[1m]","display_name":"Opus 4.8 (1M context)"},
    "workspace":{"current_dir":"/h/work/shop","project_dir":"/h/work/shop","added_dirs":[]},
    "version":"2.1.330","output_style":{"name":"default"},
    "cost":{"total_cost_usd":4.3421,"total_duration_ms":5003000,"total_api_duration_ms":66100,
      "total_lines_added":156,"total_lines_removed":23},
    "context_window":{"context_window_size":1000000,"used_percentage":23,"remaining_percentage":77,
      "current_usage":{"input_tokens":12,"output_tokens":42,"cache_creation_input_tokens":1500,
      "cache_read_input_tokens":228488}},
    "exceeds_200k_tokens":true,"fast_mode":false,"thinking":{"enabled":true},
    "rate_limits":{"five_hour":{"used_percentage":61.3,"resets_at":1795447740},
      "seven_day":{"used_percentage":38,"resets_at":1795699200}}}"#;

/// The client's document before the first reply: the context is unknown, and nothing is spent.
const AT_START: &str = r#"{"session_id":"one","transcript_path":"/h/.claude/projects/p/one.jsonl",
    "cwd":"/h/work/shop","effort":{"level":"high"},
    "model":{"id":"claude-opus-4-8[1m]","display_name":"Opus 4.8 (1M context)"},
    "workspace":{"current_dir":"/h/work/shop"},"version":"2.1.330",
    "cost":{"total_cost_usd":0,"total_duration_ms":900,"total_api_duration_ms":0,
      "total_lines_added":0,"total_lines_removed":0},
    "context_window":{"context_window_size":1000000,"used_percentage":null,
      "remaining_percentage":null,"current_usage":null},"exceeds_200k_tokens":false}"#;

/// A healthy session of a subscriber.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { version: 1, published_at_ms: NOW, ..Snapshot::default() };
    let limit = |used_percentage, left_ms| {
        let resets_at_ms = NOW + left_ms;
        Some(Limit { used_percentage, resets_at_ms, as_of_ms: NOW, ..Limit::default() })
    };
    let limits = Limits {
        five_hour: limit(61.3, 129 * MINUTE_MS),
        seven_day: limit(38.0, 3 * DAY_MS),
        ..Limits::default()
    };
    let usage = Usage {
        as_of_ms: NOW,
        block: Some(Block {
            start_ms: NOW - 26 * MINUTE_MS,
            end_ms: NOW + 274 * MINUTE_MS,
            cost_usd: 61.48,
            ..Block::default()
        }),
        window: Some(Window {
            start_ms: NOW - 171 * MINUTE_MS,
            end_ms: NOW + 129 * MINUTE_MS,
            used: Totals { cost_usd: 68.15, ..Totals::default() },
        }),
        today: Totals { cost_usd: 74.2, ..Totals::default() },
        day_ends_ms: NOW + 8 * HOUR_MS,
        ..Usage::default()
    };
    let key = || RootKey("/h/.claude".to_owned());
    snapshot.roots.insert(key(), Root { usage: Some(usage), limits });
    let repo = Repo {
        as_of_ms: NOW,
        branch: Some("checkout-flow".to_owned()),
        commit: Some("1a2b3c4d5e6f".to_owned()),
        ahead: 1,
        unstaged: 3,
        staged: 1,
        ..Repo::default()
    };
    snapshot.repos.insert(RepoKey("/h/work/shop".to_owned()), repo);
    let session = Session {
        root: key().0,
        cwd: Some("/h/work/shop".to_owned()),
        repo: Some("/h/work/shop".to_owned()),
        transcript: Some("/h/.claude/projects/p/one.jsonl".to_owned()),
        live: true,
        model: Some(Model {
            id: "claude-opus-4-8[1m]".to_owned(),
            display_name: Some("Opus 4.8 (1M context)".to_owned()),
        }),
        context: Some(Context {
            as_of_ms: NOW,
            tokens: Some(230_000),
            window: Some(1_000_000),
            used_percentage: Some(23.0),
        }),
        cost: Some(Cost { as_of_ms: NOW, usd: 4.3421, source: CostSource::Client, unpriced: 0 }),
        turns: 7,
        last_message: Some(Message { at_ms: NOW - 20 * SECOND_MS, preview: None }),
        lines: Some(Lines { added: 156, removed: 23 }),
        ..Session::default()
    };
    snapshot.sessions.insert(SessionId("one".to_owned()), session);
    snapshot
}

/// Compares the lines for this document of the client with the golden file of this name, which
/// begins with `about`.
#[track_caller]
fn check(name: &str, about: &str, document: &str, source: Source<'_>, watcher: Watcher) {
    let client = if document.is_empty() {
        ClientFacts::default()
    } else {
        parse_stdin(document.as_bytes()).expect("the document is valid").clipped()
    };
    let mut text = format!("{about}\n\n");
    for columns in [80, 120, 200] {
        let style = Style { columns: Some(columns), depth: Depth::None, has_links: false };
        text += &format!("{columns:>4} | {}\n", show(source, watcher, &client, &style));
    }
    if let Source::Snapshot(snapshot) = source {
        let session = SessionId("one".to_owned());
        let style = Style { columns: Some(120), depth: Depth::None, has_links: false };
        let zone = zone();
        let home = Some("/h");
        let view = SessionView { snapshot, session: &session, now_ms: NOW, zone: &zone, home };
        let drawn = view.line(watcher, &style);
        text += &format!(" cat | {drawn}\n");
    }
    insta::with_settings!({
        snapshot_path => "../../../tests/data/states",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[track_caller]
fn check_snapshot(name: &str, about: &str, document: &str, change: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    check(name, about, document, Source::Snapshot(&snapshot), Watcher::Alive);
}

#[test]
fn a_subscriber() {
    check_snapshot("subscriber", "A subscriber in the middle of a session.", DOCUMENT, |_| ());
}

#[test]
fn an_api_key_user() {
    let document = DOCUMENT.replace("rate_limits", "no_limits");
    check_snapshot(
        "api-key",
        "A user who pays for what is used: there are no limits.",
        &document,
        |snapshot| {
            root(snapshot).limits = Limits::default();
        },
    );
}

#[test]
fn session_start_before_the_first_reply() {
    let about =
        "A session that has just started. The watcher knows neither it nor its transcript yet.";
    check_snapshot("start", about, AT_START, |it| it.sessions.clear());
}

#[test]
fn right_after_compact() {
    let document = DOCUMENT
        .replace(r#""used_percentage":23,"remaining_percentage":77"#, r#""used_percentage":null"#)
        .replace(r#""current_usage":{"#, r#""nothing":{"#);
    let about = "Right after /compact: the client does not know how full the context is, and the \
                 transcript has nothing about it before the next reply.";
    check_snapshot("compact", about, &document, |snapshot| {
        session(snapshot).compactions = 1;
        session(snapshot).context = None;
    });
}

#[test]
fn after_resume() {
    let about = "After --resume: the client's cost starts again at zero, the context is as before.";
    let document = DOCUMENT.replace("4.3421", "0");
    check_snapshot("resume", about, &document, |_| ());
}

#[test]
fn after_clear() {
    let about = "After /clear: a new session in the same directory, with an empty context.";
    check_snapshot("clear", about, AT_START, |snapshot| {
        session(snapshot).context = None;
        session(snapshot).cost = None;
    });
}

#[test]
fn no_git() {
    check_snapshot("no-git", "In a directory that is in no repository.", DOCUMENT, |snapshot| {
        session(snapshot).repo = None;
        snapshot.repos.clear();
    });
}

#[test]
fn a_bare_repository() {
    check_snapshot("bare", "In a bare repository.", DOCUMENT, |snapshot| {
        let branch = Some("main".to_owned());
        *repo(snapshot) = Repo { as_of_ms: NOW, branch, bare: true, ..Repo::default() };
    });
}

#[test]
fn a_detached_head() {
    check_snapshot("detached", "On a commit without a branch.", DOCUMENT, |snapshot| {
        repo(snapshot).branch = None;
        repo(snapshot).ahead = 0;
    });
}

#[test]
fn a_conflict() {
    check_snapshot("conflict", "In the middle of a rebase that conflicts.", DOCUMENT, |snapshot| {
        repo(snapshot).branch = None;
        repo(snapshot).operation = Some("rebase 2/5".to_owned());
        repo(snapshot).conflicts = 2;
    });
}

#[test]
fn a_repository_in_which_git_times_out() {
    let about = "Git takes too long: the last facts stay, with their age and the reason.";
    check_snapshot("git-timeout", about, DOCUMENT, |snapshot| {
        repo(snapshot).as_of_ms = NOW - 4 * MINUTE_MS;
        repo(snapshot).error = Some("timed out after 5 s".to_owned());
        snapshot.degraded.push(Degraded {
            source: "git:/h/work/shop".to_owned(),
            reason: "timed out after 5 s".to_owned(),
            ..Degraded::default()
        });
    });
}

#[test]
fn two_accounts() {
    let about = "Two accounts: the line has the usage and the limits of its own.";
    check_snapshot("two-accounts", about, DOCUMENT, |snapshot| {
        let mut other = root(snapshot).clone();
        let usage = other.usage.as_mut().unwrap();
        usage.today.cost_usd = 999.0;
        usage.block.as_mut().unwrap().cost_usd = 888.0;
        other.limits.five_hour.as_mut().unwrap().used_percentage = 99.0;
        snapshot.roots.insert(RootKey("/h/.claude-work".to_owned()), other);
    });
}

#[test]
fn a_limit_that_will_be_used_up_early() {
    let about = "At this pace the five-hour limit will be used up before it resets.";
    let document = DOCUMENT.replace("61.3", "83.3");
    check_snapshot("limit-runs-out", about, &document, |snapshot| {
        let limit = root(snapshot).limits.five_hour.as_mut().unwrap();
        limit.used_percentage = 83.3;
        limit.full_at_ms = Some(NOW + 34 * MINUTE_MS);
    });
}

#[test]
fn a_pull_request_and_subagents() {
    let document = DOCUMENT.replacen(
        '{',
        r#"{"pr":{"number":1234,"url":"https://forge/1234","review_state":"changes_requested"},"#,
        1,
    );
    let about = "On the branch of a pull request, with subagents at work.";
    check_snapshot("pull-request", about, &document, |snapshot| {
        session(snapshot).subagents = Subagents { running: 3, total: 8 };
        session(snapshot).pr = parse_stdin(document.as_bytes()).unwrap().pr;
    });
}

#[test]
fn a_dead_watcher() {
    let mut snapshot = snapshot();
    snapshot.published_at_ms = NOW - 3 * HOUR_MS;
    repo(&mut snapshot).as_of_ms = NOW - 3 * HOUR_MS;
    root(&mut snapshot).usage.as_mut().unwrap().as_of_ms = NOW - 3 * HOUR_MS;
    let about = "The watcher has ended. What the client reports is current, the rest is old.";
    check("watcher-dead", about, DOCUMENT, Source::Snapshot(&snapshot), Watcher::Gone);
}

#[test]
fn a_snapshot_from_a_newer_version() {
    let about = "The watcher is newer than this display, which cannot interpret its snapshot.";
    check("newer-snapshot", about, DOCUMENT, Source::Newer, Watcher::Alive);
}

#[test]
fn the_first_second_after_install() {
    let about = "The display is installed, and no watcher has ever run.";
    check("first-second", about, AT_START, Source::Missing, Watcher::Gone);
    let empty = Snapshot { version: 1, published_at_ms: NOW, ..Snapshot::default() };
    let about = "The watcher has just started and has read nothing yet.";
    check("first-snapshot", about, AT_START, Source::Snapshot(&empty), Watcher::Alive);
}

#[test]
fn a_broken_configuration() {
    let about = "The configuration was changed and is now invalid.";
    check_snapshot("broken-config", about, DOCUMENT, |snapshot| {
        snapshot.degraded.push(Degraded {
            source: "config".to_owned(),
            reason: "line 3, column 1: no segment gti; did you mean git?".to_owned(),
            ..Degraded::default()
        });
    });
}

const SUBAGENTS: &str = r#"{"tasks":[
    {"id":"1","name":"reviewer","status":"running","model":"claude-opus-4-8[1m]","effort":"high",
     "description":"Check that the retry waits longer each time, and that no test sleeps",
     "startTime":1795439877000,"contextWindowSize":1000000,"tokenCount":212345,
     "tokenSamples":[1000,20000,60000,61000,120000,180000,212345]},
    {"id":"2","name":"explorer","status":"completed","model":"claude-haiku-4-5",
     "description":"探す: parse","startTime":1795434877000,"contextWindowSize":200000,
     "tokenCount":191000,"tokenSamples":[5,9,2,3]},
    {"id":"3","label":"tests","status":"failed","startTime":1795439998000,"tokenCount":12},
    {"id":"5","type":"local_agent","agentType":"general-purpose","status":"running",
     "label":"find the flaky test","description":"find the flaky test","tokenCount":0},
    {"id":"4","name":"\u001b[31mevil\u202e","status":"new","description":"\u0007\n"}]}"#;

#[test]
fn subagents_rows() {
    let (_, tasks) = parse_subagents(SUBAGENTS.as_bytes());
    let mut text = String::from("The rows of five subagents, at six widths.\n");
    for columns in [140, 100, 72, 48, 24, 8] {
        let display = Display::default();
        let rows = subagents::rows(&tasks, Some(columns), NOW, &display, Depth::None);
        text += "\n";
        for row in rows {
            assert!(text::width(&row) <= columns, "{row}");
            text += &format!("{columns:>4} | {row}\n");
        }
    }
    insta::with_settings!({
        snapshot_path => "../../../tests/data/states",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("subagents", text);
    });
    let mut ascii = Display::default();
    ascii.theme.preset = Some("ascii".to_owned());
    let rows = subagents::rows(&tasks[..1], Some(100), NOW, &ascii, Depth::None);
    assert!(rows[0].is_ascii(), "{rows:?}");
    let rows = subagents::rows(&tasks, None, NOW, &ascii, Depth::True);
    assert!(rows.iter().all(|it| it.ends_with("\x1b[0m")), "{rows:?}");
}

/// One line from very narrow to very wide, with text in several scripts.
#[test]
fn every_width() {
    let mut text = String::from("Text of many scripts, from 20 to 240 columns.\n\n");
    let mut snapshot = snapshot();
    let directory = "/h/仕事/店舗-システム/フロントエンド";
    session(&mut snapshot).cwd = Some(directory.to_owned());
    repo(&mut snapshot).branch = Some("機能/🎉-ירושלים-支払い".to_owned());
    repo(&mut snapshot).worktree = Some("فرع".to_owned());
    let document = DOCUMENT.replace("/h/work/shop", directory).replace("Opus 4.8", "模型 4.8");
    let client = parse_stdin(document.as_bytes()).unwrap();
    for columns in (20..=240).step_by(10) {
        let style = Style { columns: Some(columns), depth: Depth::None, has_links: false };
        text += &format!(
            "{columns:>4} | {}\n",
            show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &style)
        );
    }
    insta::with_settings!({
        snapshot_path => "../../../tests/data/states",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("widths", text);
    });
}
