//! Alerts: their programs are run, once for each crossing, over restarts, and within bounds.

#![cfg(target_os = "linux")]

use ccstatusd::store::schema::Snapshot;
use ccstatusd::store::schema::alerts::AlertNotice;
use serde_json::json;

use crate::clients::Client;
use crate::sandbox::{Sandbox, session, text, write_script};
use crate::screen::Screen;

const WAITING: &str = "[[alert]]\nname = 'w'\non = 'waiting'\n\
                       command = ['teller', '{title} in {project}', '{unknown}']\n";

/// A sandbox with this configuration, the session `s1`, and the program `teller`, which logs what
/// it is told: its arguments, a part of its environment, and its input.
fn sandbox(config: &str) -> Sandbox {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.prompt("one");
    transcript.reply("two");
    let script = "#!/bin/sh\nread -r json\n\
                  echo \"$1|$2|$CCSTATUSD_ALERT $CCSTATUSD_SESSION $CCSTATUSD_BODY|$DISPLAY|$json\" \
                  >> ~/told.log\n";
    write_script(&sandbox.path("bin/teller"), script);
    sandbox.configure(config);
    sandbox
}

/// What the program was told: a row of columns for each run.
fn told(sandbox: &Sandbox) -> Vec<Vec<String>> {
    let log = fs_err::read_to_string(sandbox.path("told.log")).unwrap_or_default();
    log.lines().map(|it| it.splitn(5, '|').map(str::to_owned).collect()).collect()
}

fn is_armed(snapshot: &Snapshot, id: &str) -> bool {
    snapshot.alerts["w"].subjects.get(id).is_none_or(|it| it.armed)
}

fn is_status(snapshot: &Snapshot, id: &str, status: &str) -> bool {
    let known = snapshot.sessions.keys().any(|it| it.0 == id);
    known && json!(session(snapshot, id).status) == json!(status)
}

#[test]
fn an_alert_lives_through_crossings_and_restarts() {
    let mut sandbox = sandbox(WAITING);
    sandbox.set_env("DISPLAY", ":7");
    let mut before = Client::start(&sandbox, "before");
    before.set("status", json!("waiting"));
    let mut client = Client::start(&sandbox, "s1");
    client.set("status", json!("busy"));
    let watcher = sandbox.start_watcher();
    sandbox.wait_for("the session", |it| is_status(it, "s1", "busy") && !is_armed(it, "before"));
    assert_eq!(told(&sandbox).len(), 0, "what was so before is not told");

    client.set("waitingFor", json!("permission\u{1b} prompt"));
    client.set("status", json!("waiting"));
    let snapshot = sandbox.wait_for("the alert", |it| it.alerts["w"].last_fired_ms.is_some());
    let alert = &snapshot.alerts["w"];
    assert_eq!((&*alert.on, alert.last_title.as_deref()), ("waiting", Some("p waits")));
    assert!(!is_armed(&snapshot, "s1"));
    assert_eq!(told(&sandbox).len(), 1);
    let row = &told(&sandbox)[0];
    let expected = ["p waits in p", "{unknown}", "w s1 permission  prompt, in p", ":7"];
    assert_eq!(row[..4], expected);
    let notice: AlertNotice = serde_json::from_str(&row[4]).unwrap();
    assert_eq!((notice.title.as_str(), notice.count, notice.version), ("p waits", 1, 1));
    assert_eq!(notice.events[0].session.as_deref(), Some("s1"));

    drop(watcher);
    let _watcher = sandbox.start_watcher();
    let at_ms = alert.last_fired_ms;
    sandbox.wait_for("the next watcher", |snapshot| {
        let is_next = snapshot.watcher.as_ref().is_some_and(|it| Some(it.started_at_ms) > at_ms);
        is_next && is_status(snapshot, "s1", "waiting")
    });
    // Another session is told of, so the watcher has looked at both.
    let mut other = Client::start(&sandbox, "s2");
    other.set("status", json!("waiting"));
    let snapshot = sandbox.wait_for("the other one", |it| it.alerts["w"].last_fired_ms > at_ms);
    assert!(!is_armed(&snapshot, "s2"));
    assert_eq!(told(&sandbox).len(), 2);
    let of_other = told(&sandbox)[1][2].clone();
    assert!(of_other.starts_with("w s2 "), "{of_other}");
    assert!(!is_armed(&snapshot, "s1") && !is_armed(&snapshot, "before"));
    client.set("status", json!("busy"));
    sandbox.wait_for("it to be ready again", |it| is_armed(it, "s1"));

    let output = sandbox.ccstatusd().arg("alerts").output().unwrap();
    let list = text(&output);
    assert!(list.starts_with("w: a session waits\n  program  teller {title}"), "{list}");
    assert!(list.contains(" (before), ") && list.contains(" (s2)\n"), "{list}");
    assert!(list.contains(" ago: "), "{list}");
}

/// A terminal, in which a tmux has two panes. In the first runs another tmux, and the session in
/// that one's only pane.
#[test]
fn what_happens_in_the_pane_that_has_the_focus_is_not_told() {
    let sandbox =
        sandbox(&format!("{WAITING}{}in_focus = true\n", WAITING.replace("'w'", "'all'")));
    let Some(screen) = Screen::start(&sandbox, (100, 20), "set -g status off") else { return };
    // The watcher calls tmux with this as its first argument.
    let script = "#!/bin/sh\nPATH=${PATH#*:}\n[ \"$1\" = list-clients ] || exec tmux \"$@\"\n\
                  tmux \"$@\"\necho \"$@\" >> ~/asked.log\n";
    write_script(&sandbox.path("bin/tmux"), script);
    let config = sandbox.path("focus.conf");
    // They end with the terminal.
    let settings = "set -g focus-events on\nset -g destroy-unattached on\nset -g status off\n\
                    set -g default-shell /bin/sh\n";
    fs_err::write(&config, settings).unwrap();
    let start = |name: &str, program: &str| {
        let socket = sandbox.path(name);
        format!(
            "TMUX= tmux -u -S {} -f {} new-session {program}",
            socket.display(),
            config.display()
        )
    };
    let tmux = |name: &str, args: &[&str]| {
        let mut command = sandbox.command("tmux");
        text(&command.arg("-S").arg(sandbox.path(name)).args(args).output().unwrap())
    };
    screen.type_line(&start("outer", &format!("'{}'", start("inner", "sh"))));
    let clients = || tmux("inner", &["list-clients", "-F", "#{client_flags} #{pane_tty}"]);
    sandbox.wait_until("the focus", || clients().contains(",focused"));
    let terminal = clients().trim_end().rsplit_once(' ').unwrap().1.to_owned();

    let mut client = Client::start_in(&terminal, &sandbox, "s1");
    client.set("status", json!("busy"));
    let mut command = sandbox.ccstatusd();
    command.env("TMUX", format!("{},1,0", sandbox.path("inner").display()));
    let _watcher = sandbox.spawn_watcher(command);
    sandbox.wait_for("the session", |it| is_status(it, "s1", "busy"));
    client.set("status", json!("waiting"));
    sandbox.wait_for("what is told anyway", |it| it.alerts["all"].last_fired_ms.is_some());
    let asked = || fs_err::read_to_string(sandbox.path("asked.log")).unwrap_or_default();
    sandbox.wait_until("tmux to be asked", || asked().lines().count() == 1);
    assert!(asked().starts_with("list-clients -F "), "{}", asked());

    client.set("status", json!("busy"));
    let snapshot = sandbox.wait_for("it to be ready again", |it| is_armed(it, "s1"));
    let alert = &snapshot.alerts["w"];
    assert_eq!((alert.last_fired_ms, &alert.last_title), (None, &None));
    tmux("outer", &["split-window", "-h", "sh"]);
    sandbox.wait_until("the focus to go", || !clients().contains(",focused"));
    client.set("status", json!("waiting"));
    let snapshot = sandbox.wait_for("the alert", |it| it.alerts["w"].last_fired_ms.is_some());
    assert_eq!(snapshot.alerts["w"].last_title.as_deref(), Some("p waits"));
    let alerts = told(&sandbox).into_iter().map(|row| row[2].split(' ').next().unwrap().to_owned());
    assert_eq!(alerts.collect::<Vec<_>>(), ["all", "w"], "the first is not told twice in a minute");
}

/// Whoever tries an alert at night would take it for broken.
#[test]
fn the_list_says_that_these_are_the_quiet_hours() {
    let list_with = |quiet: &str| {
        let sandbox = sandbox(&(WAITING.to_owned() + quiet));
        text(&sandbox.ccstatusd().arg("alerts").output().unwrap())
    };
    // Two spans that cover the day: one of them is now.
    let spans = ["['00:00', '12:00']", "['12:00', '00:00']"];
    let lists = spans.map(|it| list_with(&format!("[alerts]\nquiet = {it}\n")));
    let n_quiet = lists.iter().filter(|it| it.contains("Nothing is told until ")).count();
    assert_eq!(n_quiet, 1, "{lists:#?}");
}

#[test]
fn a_program_that_hangs_or_fails_is_ended_and_named() {
    let config = WAITING.replace("'teller'", "'sh', '-c', 'sleep 60'") + "timeout_ms = 100\n";
    let sandbox = sandbox(&config);
    let mut client = Client::start(&sandbox, "s1");
    client.set("status", json!("busy"));
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("the session", |it| is_status(it, "s1", "busy"));
    client.set("status", json!("waiting"));
    let snapshot =
        sandbox.wait_for("the failure", |it| it.degraded.iter().any(|one| one.source == "alert:w"));
    let error = snapshot.alerts["w"].error.clone().unwrap();
    assert_eq!(error, "timed out after 0.1 s");
    let output = sandbox.ccstatusd().arg("alerts").output().unwrap();
    assert!(text(&output).contains("error    timed out"), "{}", text(&output));
}

#[test]
fn an_alert_is_tried_at_once_and_shows_what_its_program_prints() {
    let config = WAITING.to_owned()
        + "[[alert]]\nname = 'bad'\non = 'limit'\nat = 80\n\
           command = ['sh', '-c', 'echo {percent} {resets_in} >&2; exit 3']\n\
           [[alert]]\nname = 'good'\non = 'limit'\nat = 80\n\
           command = ['sh', '-c', 'echo \"$CCSTATUSD_TITLE\"; wc -l']\n";
    let sandbox = sandbox(&config);
    let test = |name: &str| {
        let output = sandbox.ccstatusd().args(["alerts", "--test", name]).output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, said) = test("good");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("ended successfully") && said.contains(":\nfive-hour limit 81 % used\n1\n")
    );
    let (code, said) = test("bad");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("it failed with exit code 3: 81 2 h 10 min"), "{said}");
    let (code, said) = test("w");
    assert_eq!((code, told(&sandbox).len()), (Some(0), 1), "{said}");
    let (code, said) = test("x");
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no alert \"x\"") && said.contains("bad, good, w"), "{said}");
}
