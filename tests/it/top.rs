//! `ccstatusd top`: its screen on a real terminal, and how it leaves that.

use ccstatusd::store::schema::{Root, RootKey, Session, SessionId, Snapshot, Status};
use ccstatusd::time::{MINUTE_MS, Now};
use nix::sys::signal::Signal;

use crate::sandbox::{Sandbox, send_signal, text};
use crate::screen::{Screen, without_shell};
use crate::sessions::{publish, two_sessions};

/// Six sessions in four states, of an account with limits.
fn six_sessions() -> Snapshot {
    let mut snapshot = two_sessions();
    let now_ms = Now::read().wall_ms;
    let busy = snapshot.sessions.values().next().unwrap().clone();
    let statuses = [Status::Busy, Status::Shell, Status::Idle, Status::Idle];
    for (nth, status) in (3..).zip(statuses) {
        let session = Session {
            status: Some(status),
            status_since_ms: Some(now_ms - nth * 10 * MINUTE_MS),
            last_activity_ms: now_ms - nth * 10 * MINUTE_MS,
            ..busy.clone()
        };
        snapshot.sessions.insert(SessionId::checked(&format!("s{nth}")).unwrap(), session);
    }
    let mut root = Root::default();
    let limit = ccstatusd::store::schema::Limit {
        used_percentage: 42.0,
        resets_at_ms: now_ms + 90 * MINUTE_MS,
        as_of_ms: now_ms,
        ..Default::default()
    };
    root.limits.five_hour = Some(limit);
    snapshot.roots.insert(RootKey("/h/.claude".to_owned()), root);
    snapshot
}

/// Runs `top` in the shell of the screen, and returns the process id. What stood on the screen
/// before is `before`, and the settings of the terminal are in the file `before`.
fn start(screen: &Screen<'_>, sandbox: &Sandbox) -> u32 {
    let [before, ready, pid] = ["before", "ready", "pid"].map(|name| sandbox.path(name));
    for stale in [&ready, &pid] {
        fs_err::remove_file(stale).ok();
    }
    let [shown, done] = [&before, &ready].map(|it| it.display());
    screen.type_line(&format!("clear; stty -g > '{shown}'; echo before; : > '{done}'"));
    // What is typed earlier is echoed before that, and an earlier `before` may still be there.
    screen.wait_for("the shell", |it| ready.exists() && it.starts_with("before"));
    let program = env!("CARGO_BIN_EXE_ccstatusd");
    let pid_path = pid.display();
    screen.type_line(&format!("sh -c 'echo $$ > \"{pid_path}\"; exec \"{program}\" top'"));
    screen.wait_for("the screen", |it| it.contains("▲ waiting") && !it.contains("before"));
    assert_eq!(screen.format("#{alternate_on} #{cursor_flag} #{mouse_any_flag}"), "1 0 0");
    fs_err::read_to_string(&pid).unwrap().trim().parse().unwrap()
}

/// Waits until the terminal is as it was before.
fn expect_left(screen: &Screen<'_>, sandbox: &Sandbox, how: &str) {
    let left = screen.wait_for(how, |it| it.starts_with("before") && !it.contains("▲ waiting"));
    screen.wait_for(how, |_| screen.format("#{alternate_on} #{cursor_flag}") == "0 1");
    let after = sandbox.path("after");
    fs_err::remove_file(&after).ok();
    screen.type_line(&format!("stty -g > '{}'", after.display()));
    let settings = |name: &str| fs_err::read_to_string(sandbox.path(name)).unwrap_or_default();
    screen.wait_for("the settings of the terminal", |_| settings("after").ends_with('\n'));
    assert_eq!(settings("after"), settings("before"), "{how}\n{left}");
}

#[test]
fn the_screen_is_fitted_to_the_terminal_and_follows_its_size() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &six_sessions());
    let Some(screen) = Screen::start(&sandbox, (120, 40), "") else { return };
    start(&screen, &sandbox);
    let sizes = [(40, 5), (60, 15), (80, 24), (120, 40), (200, 60)];
    for (columns, rows) in sizes.into_iter().chain([(40, 5), (200, 60), (60, 15)]) {
        screen.resize(columns, rows);
        let drawn = screen.wait_for("the new size", |text| {
            // What has room from which size on.
            let parts = [
                ("▲ 1 waiting", true),
                ("\n▶ ▲ waiting 5m", true),
                ("5h ", true),
                ("q quit", rows >= 8),
                ("usage of all accounts", rows >= 24),
                ("last 24 hours", rows >= 40),
            ];
            let is_whole = text.lines().count() == usize::from(rows) || rows > 40;
            is_whole && parts.iter().all(|(part, is_there)| text.contains(part) == *is_there)
        });
        assert!(drawn.lines().all(|it| it.chars().count() <= columns.into()), "{drawn}");
    }
}

#[test]
fn keys_work_and_a_change_shows() {
    let sandbox = Sandbox::new();
    let mut snapshot = six_sessions();
    publish(&sandbox, &snapshot);
    let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
    start(&screen, &sandbox);
    screen.wait_for("the first one", |it| it.contains("\n▶ ▲ waiting"));
    screen.press("Down");
    screen.wait_for("the second one", |it| it.contains("\n▶ ● busy"));
    screen.press("G");
    screen.wait_for("the last one", |it| it.contains("\n▶ ○ idle"));
    screen.press("?");
    screen.wait_for("the help", |it| it.contains("quit (Ctrl-C too)"));
    screen.press("Escape");
    screen.wait_for("the list", |it| it.contains("\n▶ "));
    screen.press("/");
    screen.press("shell");
    screen.wait_for("the filter", |it| it.contains("filter shell_") && !it.contains("▲ waiting"));
    screen.press("Escape");
    screen.wait_for("all of them", |it| it.contains("▲ waiting") && !it.contains("filter shell"));
    let waiting = SessionId::checked("s2").unwrap();
    snapshot.sessions.get_mut(&waiting).unwrap().status = Some(Status::Busy);
    publish(&sandbox, &snapshot);
    screen.wait_for("the change", |it| it.contains("● 3 busy") && !it.contains("▲"));
    fs_err::remove_file(sandbox.state.join("snapshot.json")).unwrap();
    screen.wait_for("why there is nothing", |it| it.contains("nothing is known of any session"));
    publish(&sandbox, &snapshot);
    screen.wait_for("the list again", |it| it.contains("● 3 busy"));
    screen.press("q");
    screen.wait_for("the shell", |it| it.starts_with("before") && !it.contains("busy"));
}

#[test]
fn the_theme_and_the_environment_decide_on_colours() {
    let mut sandbox = Sandbox::new();
    let mut snapshot = six_sessions();
    publish(&sandbox, &snapshot);
    for has_no_color in [false, true] {
        if has_no_color {
            sandbox.set_env("NO_COLOR", "1");
        }
        let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
        start(&screen, &sandbox);
        let is_coloured = || {
            let output = screen.tmux().args(["capture-pane", "-t", "t", "-p", "-e"]).output();
            text(&output.unwrap()).contains('\x1b')
        };
        assert_eq!(is_coloured(), !has_no_color);
        snapshot.display.theme.preset = Some("plain".to_owned());
        publish(&sandbox, &snapshot);
        screen.wait_for("the other theme", |_| !is_coloured());
        snapshot.display.theme.preset = None;
        publish(&sandbox, &snapshot);
        screen.wait_for("the theme from before", |_| is_coloured() != has_no_color);
    }
}

#[test]
fn the_terminal_is_as_before_however_it_ends() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &six_sessions());
    let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
    for key in ["q", "C-c", "C-\\"] {
        start(&screen, &sandbox);
        screen.press(key);
        expect_left(&screen, &sandbox, key);
    }
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let pid = start(&screen, &sandbox);
        send_signal(pid, signal);
        expect_left(&screen, &sandbox, signal.as_str());
    }
}

#[test]
fn it_can_be_stopped_and_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &six_sessions());
    let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
    let pid = start(&screen, &sandbox);
    screen.press("G");
    screen.wait_for("the last one", |it| it.contains("\n▶ ○ idle"));
    let go_on = |how: &str| {
        expect_left(&screen, &sandbox, how);
        screen.type_line("fg");
        screen.wait_for("the screen again", |it| it.contains("\n▶ ○ idle"));
        assert_eq!(screen.format("#{alternate_on} #{cursor_flag}"), "1 0");
        screen.press("k");
        screen.wait_for("keys", |it| it.matches("○ idle").count() >= 2);
        screen.press("G");
        screen.wait_for("the last one", |it| it.contains("\n▶ ○ idle"));
    };
    screen.press("C-z");
    go_on("Ctrl-Z");
    send_signal(pid, Signal::SIGTSTP);
    go_on("SIGTSTP");
    screen.press("q");
    screen.wait_for("the shell", |it| !it.contains("idle"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_no_shell_could_continue_is_not_stopped() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &six_sessions());
    for args in [&["top"][..], &["sessions", "--watch"]] {
        assert_eq!(without_shell(&sandbox, "stop", args), "ended as before\n", "{args:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_takes_nothing_more_holds_up_no_end() {
    let sandbox = Sandbox::new();
    publish(&sandbox, &six_sessions());
    for args in [&["top"][..], &["sessions", "--watch"]] {
        assert_eq!(without_shell(&sandbox, "block", args), "ended as before\n", "{args:?}");
    }
}

#[test]
fn without_a_terminal_or_a_snapshot_it_says_what_to_do() {
    let sandbox = Sandbox::new();
    let output = sandbox.ccstatusd().arg("top").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("ccstatusd sessions"), "{}", text(&output));
    let Some(screen) = Screen::start(&sandbox, (100, 10), "") else { return };
    screen.type_line(&format!("'{}' top", env!("CARGO_BIN_EXE_ccstatusd")));
    screen.wait_for("the error", |it| it.contains("`ccstatusd start` starts the watcher"));
    assert_eq!(screen.format("#{alternate_on}"), "0");
}

#[test]
#[cfg(target_os = "linux")]
fn it_says_so_when_the_watcher_is_killed() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let watcher = sandbox.start_watcher();
    let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
    screen.type_line(&format!("'{}' top", env!("CARGO_BIN_EXE_ccstatusd")));
    let drawn =
        screen.wait_for("the screen", |it| it.contains("as of ") && it.contains("last 24 hours"));
    assert!(!drawn.contains("no watcher"), "{drawn}");
    watcher.signal(Signal::SIGKILL);
    screen.wait_for("what is wrong", |it| it.contains("no watcher runs, <1m old"));
}

#[test]
fn it_goes_on_with_a_state_directory_that_was_removed_and_made_again() {
    let sandbox = Sandbox::new();
    let mut snapshot = six_sessions();
    publish(&sandbox, &snapshot);
    let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
    start(&screen, &sandbox);
    let waiting = SessionId::checked("s2").unwrap();
    for name in ["second", "third"] {
        fs_err::remove_dir_all(&sandbox.state).unwrap();
        screen.wait_for("that no watcher runs", |it| it.starts_with("no watcher runs\n"));
        snapshot.sessions.get_mut(&waiting).unwrap().name = Some(name.to_owned());
        publish(&sandbox, &snapshot);
        screen.wait_for("the list again", |it| it.contains("▲ waiting") && it.contains(name));
    }
    screen.press("q");
    screen.wait_for("the shell", |it| it.starts_with("before") && !it.contains("busy"));
}

#[test]
fn t_shows_the_pane_in_which_the_chosen_session_runs() {
    let sandbox = Sandbox::new();
    let Some(screen) = Screen::start(&sandbox, (100, 30), "") else { return };
    let socket = sandbox.path("inner");
    let tmux = |args: &[&str]| {
        let mut command = sandbox.command("tmux");
        text(&command.args(["-u", "-S"]).arg(&socket).args(args).output().unwrap())
    };
    let _inner = KillServer(&tmux);
    tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "work", "echo at work; exec cat"]);
    let pid = tmux(&["list-panes", "-t", "work", "-F", "#{pane_pid}"]).trim().parse().unwrap();
    tmux(&["new-window", "-t", "work", "sh"]);
    let mut snapshot = six_sessions();
    snapshot.sessions.get_mut(&SessionId::checked("s2").unwrap()).unwrap().pid = Some(pid);
    publish(&sandbox, &snapshot);
    let program = env!("CARGO_BIN_EXE_ccstatusd");
    let socket = socket.display();
    screen.type_line(&format!("TMUX= tmux -u -S '{socket}' new-session -s top '{program} top'"));
    screen.wait_for("the screen", |it| it.contains("▶ ▲ waiting") && it.contains("t its pane"));
    screen.press("j");
    screen.press("t");
    screen.wait_for("why not", |it| it.contains("no process of this session is known"));
    screen.press("k");
    screen.wait_for("the keys again", |it| it.contains("▶ ▲ waiting") && it.contains("t its pane"));
    screen.press("t");
    screen.wait_for("its pane", |it| it.starts_with("at work"));
}

/// Ends a server of tmux when it is dropped.
struct KillServer<'a>(&'a dyn Fn(&[&str]) -> String);

impl Drop for KillServer<'_> {
    fn drop(&mut self) {
        (self.0)(&["kill-server"]);
    }
}
