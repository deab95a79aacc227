//! `ccstatusd sessions`: the list, and the list that is drawn again.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use ccstatusd::store::schema::{
    self, Context, Cost, CostSource, Repo, RepoKey, Root, RootKey, Session, SessionId, Snapshot,
    Status,
};
use ccstatusd::store::snapshot;
use ccstatusd::time::{MINUTE_MS, Now};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::{CAP, Sandbox, send_signal, text};
use crate::screen::Screen;

/// A snapshot of two sessions: `s1` is busy in the repository `shop`, and `s2` waits.
pub(crate) fn two_sessions() -> Snapshot {
    let now_ms = Now::read().wall_ms;
    let session = |status, since_ms| Session {
        root: "/h/.claude".to_owned(),
        cwd: Some("/h/shop".to_owned()),
        repo: Some("/h/shop".to_owned()),
        name: Some("checkout".to_owned()),
        live: true,
        status: Some(status),
        status_since_ms: Some(since_ms),
        last_activity_ms: now_ms,
        context: Some(Context {
            as_of_ms: now_ms,
            used_percentage: Some(42.0),
            ..Context::default()
        }),
        cost: Some(Cost { as_of_ms: now_ms, usd: 1.5, source: CostSource::Client, unpriced: 0 }),
        ..Session::default()
    };
    let waiting = Session {
        waiting_for: Some("permission prompt".to_owned()),
        ..session(Status::Waiting, now_ms - 5 * MINUTE_MS)
    };
    let id = |id: &str| SessionId::checked(id).unwrap();
    let repo = Repo {
        as_of_ms: now_ms,
        branch: Some("main".to_owned()),
        unstaged: 1,
        ahead: 2,
        ..Repo::default()
    };
    Snapshot {
        version: schema::VERSION,
        published_at_ms: now_ms,
        latest: Some(id("s1")),
        waiting: vec![schema::Waiting {
            session: "s2".to_owned(),
            name: "checkout".to_owned(),
            waiting_for: waiting.waiting_for.clone(),
            since_ms: waiting.status_since_ms,
        }],
        roots: [(RootKey("/h/.claude".to_owned()), Root::default())].into(),
        sessions: [(id("s1"), session(Status::Busy, now_ms)), (id("s2"), waiting)].into(),
        repos: [(RepoKey("/h/shop".to_owned()), repo)].into(),
        ..Snapshot::default()
    }
}

/// Puts a snapshot in place as a watcher does.
pub(crate) fn publish(sandbox: &Sandbox, snapshot: &Snapshot) {
    ccstatusd::store::dir::StateDir::open(&sandbox.state).unwrap();
    let new = sandbox.state.join("new");
    fs_err::write(&new, snapshot::to_bytes(snapshot).unwrap()).unwrap();
    fs_err::rename(new, sandbox.state.join("snapshot.json")).unwrap();
}

fn list(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.ccstatusd().arg("sessions").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output),
        String::from_utf8_lossy(&output.stderr)
    );
    text(&output)
}

#[test]
fn the_list_goes_to_a_pipe_whole_and_without_colours() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &two_sessions());
    let all = list(&sandbox, &[]);
    assert!(
        all.starts_with("2 sessions  as of 0s ago  no watcher runs: ccstatusd start\n"),
        "{all}"
    );
    assert!(all.contains("▲ waiting 5m  permission prompt  shop     main* ⇡2"), "{all}");
    assert!(all.find("waiting 5m") < all.find("● busy"), "{all}");
    assert!(!all.contains('\x1b'), "{all}");
    let waiting = list(&sandbox, &["--waiting"]);
    assert!(waiting.contains("▲ waiting") && !waiting.contains("● busy"), "{waiting}");
}

#[test]
fn the_list_is_fitted_to_the_columns_that_are_there() {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("COLUMNS", "40");
    publish(&sandbox, &two_sessions());
    let all = list(&sandbox, &[]);
    assert!(all.lines().all(|it| it.chars().count() <= 40), "{all}");
    assert!(all.contains("42%  $1.50"), "{all}");
}

/// Other programs read these fields: more may be added, and none is ever taken away.
#[test]
fn the_list_as_json_has_what_it_takes_to_know_a_session_at_a_glance() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &two_sessions());
    let all: Value = serde_json::from_str(&list(&sandbox, &["--json"])).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&all),
        ["accounts", "now_ms", "published_at_ms", "sessions", "version", "watcher"]
    );
    assert_eq!((&all["version"], &all["watcher"]), (&1.into(), &false.into()));
    let expected = ["five_hours", "limits", "root", "sessions", "today"];
    assert_eq!(keys(&all["accounts"][0]), expected);
    let expected = [
        "ahead",
        "behind",
        "branch",
        "context",
        "cost_per_hour",
        "cost_usd",
        "cwd",
        "dirty",
        "health",
        "issues",
        "last_activity_ms",
        "live",
        "model",
        "name",
        "pid",
        "project",
        "root",
        "session",
        "since_ms",
        "status",
        "unpriced",
        "waiting_for",
    ];
    let first = &all["sessions"][0];
    assert_eq!(keys(first), expected);
    assert_eq!(
        [&first["session"], &first["status"], &first["waiting_for"], &first["branch"]],
        ["s2", "waiting", "permission prompt", "main"]
    );
    assert_eq!([&first["dirty"], &first["ahead"]], [&Value::from(true), &Value::from(2)]);
}

#[test]
fn without_a_snapshot_the_error_says_what_to_do() {
    let sandbox = Sandbox::new();
    for args in [&["sessions"][..], &["sessions", "--watch"]] {
        let output = sandbox.ccstatusd().args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(error.contains("nothing is known of any session"), "{error}");
        assert!(error.contains("ccstatusd start"), "{error}");
    }
}

/// `sessions --watch` with a pipe, and what it prints. The lines end where none comes for long.
fn watch(sandbox: &Sandbox, args: &[&str]) -> (Child, impl Iterator<Item = String>) {
    let mut command = sandbox.ccstatusd();
    command.args(["sessions", "--watch"]).args(args).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|it| sender.send(it))
    });
    (process, std::iter::from_fn(move || lines.recv_timeout(CAP).ok()))
}

#[test]
fn a_list_that_is_watched_is_printed_again_when_the_snapshot_changes_and_ends_with_a_signal() {
    let sandbox = Sandbox::new();
    let mut snapshot = two_sessions();
    publish(&sandbox, &snapshot);
    let (mut process, mut lines) = watch(&sandbox, &["--json"]);
    let mut count = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        line["sessions"].as_array().unwrap().len()
    };
    assert_eq!(count(), 2);
    snapshot.sessions.pop_last();
    publish(&sandbox, &snapshot);
    while count() != 1 {}
    send_signal(process.id(), Signal::SIGTERM);
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_list_that_nobody_reads_holds_up_no_end() {
    let sandbox = Sandbox::new();
    let mut snapshot = two_sessions();
    let session = snapshot.sessions.values().next().unwrap().clone();
    // More than a pipe holds.
    for nth in 0..256 {
        let id = SessionId::checked(&format!("more-{nth}")).unwrap();
        snapshot.sessions.insert(id, session.clone());
    }
    publish(&sandbox, &snapshot);
    let mut command = sandbox.ccstatusd();
    command.args(["sessions", "--watch", "--json"]).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut first = [0];
    process.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    send_signal(process.id(), Signal::SIGTERM);
    sandbox.wait_until("its end", || process.try_wait().unwrap().is_some());
}

#[test]
#[cfg(target_os = "linux")]
fn a_list_that_is_watched_says_so_when_the_watcher_is_killed() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let watcher = sandbox.start_watcher();
    let (mut process, mut lines) = watch(&sandbox, &[]);
    let first = lines.next().unwrap();
    assert!(first.contains("1 session  as of ") && !first.contains("no watcher"), "{first}");
    watcher.signal(Signal::SIGKILL);
    lines.find(|it| it.contains("no watcher runs: ccstatusd start")).unwrap();
    send_signal(process.id(), Signal::SIGINT);
    assert!(process.wait().unwrap().success());
}

/// Removed with and without what is above it, moved away, and made again at once or later.
#[test]
fn a_list_that_is_watched_goes_on_with_a_state_directory_that_is_made_again() {
    let mut sandbox = Sandbox::new();
    let above = sandbox.path("above");
    sandbox.state = above.join("between/state");
    let mut snapshot = two_sessions();
    publish(&sandbox, &snapshot);
    let (mut process, lines) = watch(&sandbox, &["--json"]);
    let mut lines = lines.map(|it| serde_json::from_str::<Value>(&it).unwrap());
    let mut wait_for = |n_sessions: usize| {
        let count = |it: &Value| it["sessions"].as_array().unwrap().len();
        lines.find(|it| count(it) == n_sessions).unwrap()
    };
    wait_for(2);
    let removals: [&dyn Fn(); 3] = [
        &|| fs_err::remove_dir_all(&sandbox.state).unwrap(),
        &|| fs_err::remove_dir_all(&above).unwrap(),
        &|| fs_err::rename(&sandbox.state, sandbox.path("elsewhere")).unwrap(),
    ];
    for (nth, remove) in removals.iter().enumerate() {
        for is_seen in [true, false] {
            remove();
            if is_seen {
                assert_eq!(wait_for(0)["watcher"], false, "removal {nth}");
            }
            let id = SessionId::checked(&format!("more-{nth}-{is_seen}")).unwrap();
            let more = snapshot.sessions.values().next().unwrap().clone();
            snapshot.sessions.insert(id, more);
            publish(&sandbox, &snapshot);
            wait_for(snapshot.sessions.len());
            fs_err::remove_dir_all(sandbox.path("elsewhere")).ok();
        }
    }
    send_signal(process.id(), Signal::SIGTERM);
    assert!(process.wait().unwrap().success());
}

#[test]
#[cfg(target_os = "linux")]
fn a_list_that_is_watched_goes_on_with_the_next_watcher_in_a_new_state_directory() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let first = sandbox.start_watcher();
    let (mut process, mut lines) = watch(&sandbox, &[]);
    let mut wait_for = |what: &str| lines.find(|it| it.contains(what)).unwrap();
    wait_for("1 session  as of ");
    fs_err::remove_dir_all(&sandbox.state).unwrap();
    wait_for("no watcher runs");
    let _second = sandbox.start_watcher();
    wait_for("1 session  as of ");
    drop(first);
    transcript.reply("two");
    wait_for("1 session  as of ");
    send_signal(process.id(), Signal::SIGINT);
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_list_on_a_terminal_is_redrawn_fitted_and_leaves_the_screen_as_it_was() {
    let sandbox = Sandbox::new();
    let mut snapshot = two_sessions();
    publish(&sandbox, &snapshot);
    let Some(screen) = Screen::start(&sandbox, (100, 12), "") else { return };
    screen.type_line("echo before");
    screen.wait_for("the shell", |it| it.contains("\nbefore"));
    screen.type_line(&format!("'{}' sessions --watch", env!("CARGO_BIN_EXE_ccstatusd")));
    let drawn = screen.wait_for("the list", |it| it.contains("● busy"));
    assert!(drawn.starts_with("2 sessions  as of ") && !drawn.contains("before"), "{drawn}");
    assert_eq!(screen.format("#{alternate_on} #{cursor_flag}"), "1 0");

    snapshot.sessions.pop_last();
    publish(&sandbox, &snapshot);
    screen.wait_for("a change", |it| it.starts_with("1 session ") && !it.contains("waiting"));
    let mut three = two_sessions();
    let third = three.sessions.values().next().unwrap().clone();
    three.sessions.insert(SessionId::checked("s3").unwrap(), third);
    publish(&sandbox, &three);
    screen.wait_for("three sessions", |it| it.starts_with("3 sessions"));
    screen.resize(40, 5);
    let small = screen.wait_for("the small screen", |it| it.contains("more"));
    assert!(small.trim_end().ends_with("+2 more") && small.contains("▲ waiting 5m"), "{small}");
    screen.resize(100, 12);
    screen.wait_for("the large screen", |it| it.contains("● busy"));

    screen.press("C-z");
    screen.wait_for("the shell while it is stopped", |it| it.contains("\nbefore"));
    assert_eq!(screen.format("#{alternate_on} #{cursor_flag}"), "0 1");
    screen.type_line("fg");
    screen.wait_for("the list again", |it| it.starts_with("3 sessions"));
    screen.press("C-c");
    let left = screen.wait_for("the shell at the end", |it| it.contains("\nbefore"));
    assert!(!left.contains("● busy"), "{left}");
    assert_eq!(screen.format("#{alternate_on} #{cursor_flag}"), "0 1");
}
