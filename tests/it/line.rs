//! `ccstatusd line`, and the programs that show it: each snippet in `contrib/line`, run by its real
//! program, with texts that would act if they were not escaped.
//!
//! Where a program is not installed, its test prints `SKIP: ` and why.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ccstatusd::store::dir::SOCKET;
use ccstatusd::store::schema::{RepoKey, Snapshot};
use serde_json::Value;

use crate::sandbox::{CAP, Sandbox, skip, text};
use crate::screen::Screen;
use crate::sessions::{publish, two_sessions};

/// A branch that would leave a file in the home directory where it is expanded by one of the
/// programs that show it. It is short, so that it is not cut.
const HOSTILE: &str = "#(>~/x)$(>~/x)`>~/x`%{A1:x:}<b>%n";

/// Two sessions; the one that was active last is on the branch [`HOSTILE`].
fn hostile() -> Snapshot {
    let mut snapshot = on_branch(HOSTILE);
    snapshot.waiting[0].name = "<b>\u{1b}[31m&\n$(>~/x)".to_owned();
    snapshot
}

/// Two sessions; the one that was active last is on this branch.
fn on_branch(branch: &str) -> Snapshot {
    let mut snapshot = two_sessions();
    let repo = snapshot.repos.get_mut(&RepoKey("/h/shop".to_owned())).unwrap();
    repo.branch = Some(branch.to_owned());
    snapshot.display.format = Some("{git} {cost}".to_owned());
    snapshot
}

/// A sandbox in which `ccstatusd` is found, with a snapshot of [`hostile`], and what looks like a
/// watcher while it is kept.
fn sandbox() -> (Sandbox, UnixDatagram) {
    let sandbox = Sandbox::new();
    publish(&sandbox, &hostile());
    let program = sandbox.path("bin/ccstatusd");
    fs_err::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ccstatusd"), program).unwrap();
    let watcher = UnixDatagram::bind(sandbox.state.join(SOCKET)).unwrap();
    (sandbox, watcher)
}

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/line").join(name)
}

#[track_caller]
fn line(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.ccstatusd().arg("line").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

/// Whether something has expanded the branch.
#[track_caller]
fn check_inert(sandbox: &Sandbox) {
    assert!(!sandbox.path("x").exists(), "the text was run");
}

fn is_installed(sandbox: &Sandbox, program: &str) -> bool {
    let is_found = sandbox.command(program).arg("--version").output().is_ok();
    if !is_found {
        skip(&format!("{program} is missing: its snippet in contrib/line is not tried"));
    }
    is_found
}

#[test]
fn the_line_is_that_of_the_last_active_session_or_of_the_one_that_is_named() {
    let sandbox = Sandbox::new();
    let mut snapshot = two_sessions();
    snapshot.display.format = Some("{status}".to_owned());
    publish(&sandbox, &snapshot);
    assert!(line(&sandbox, &[]).starts_with("busy"), "{}", line(&sandbox, &[]));
    let other = line(&sandbox, &["--session", "s2"]);
    assert!(other.starts_with("waiting"), "{other}");
    assert!(other.ends_with("no watcher: ccstatusd start\n"), "{other}");
}

#[test]
fn a_line_is_always_printed_and_a_wrong_option_is_an_error() {
    let sandbox = Sandbox::new();
    assert_eq!(line(&sandbox, &[]), "no data yet: ccstatusd start\n");
    publish(&sandbox, &two_sessions());
    assert!(!line(&sandbox, &["--session", "unknown"]).is_empty());
    for (args, expected) in [
        (["--session", "../x"], "../x is not the id of a session"),
        (["--format", "html"], "invalid value 'html'"),
        (["--columns", "0"], "invalid value '0'"),
    ] {
        let output = sandbox.ccstatusd().arg("line").args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn json_says_who_waits_and_has_markup_only_where_it_is_read() {
    let (sandbox, _watcher) = sandbox();
    let read = |format: &str| -> Value {
        serde_json::from_str(&line(&sandbox, &["--format", format])).unwrap()
    };
    let waybar = read("waybar");
    assert!(waybar["text"].as_str().unwrap().contains("&lt;b&gt;%n"), "{waybar}");
    assert_eq!(waybar["tooltip"], "&lt;b&gt;�[31m&amp; $(&gt;~/x) waits: permission prompt (5m)");
    assert_eq!(waybar["class"], serde_json::json!(["busy", "some-waiting"]));
    assert_eq!((&waybar["alt"], &waybar["percentage"]), (&"busy".into(), &42.into()));
    let i3blocks = read("i3blocks");
    assert!(i3blocks["full_text"].as_str().unwrap().contains("&lt;b&gt;%n"), "{i3blocks}");
    assert_eq!(i3blocks["short_text"], "1 waiting");
    assert!(i3blocks["color"].as_str().unwrap().starts_with('#'), "{i3blocks}");
    let json = read("json");
    assert!(json["text"].as_str().unwrap().contains(HOSTILE), "{json}");
    assert_eq!([&json["session"], &json["status"]], ["s1", "busy"]);
    assert_eq!(json["waiting"][0]["session"], "s2");
}

#[test]
fn no_format_has_a_control_character_of_others() {
    let sandbox = Sandbox::new();
    let snapshot = on_branch("a\u{1b}]0;t\u{7}\u{9b}2J\r\nb\u{202e}");
    publish(&sandbox, &snapshot);
    for format in ["ansi", "plain", "tmux", "zsh", "fish", "polybar", "waybar", "i3blocks", "json"]
    {
        let mut line = line(&sandbox, &["--format", format]);
        assert_eq!(line.pop(), Some('\n'));
        // Our own sequences are the only ones.
        for (own, none) in [("\u{1b}[0m", ""), ("\u{1b}[", "")] {
            line = line.replace(own, none);
        }
        let is_bad = |it: char| it.is_control() || it == '\u{202e}';
        assert!(!line.contains(is_bad) && line.contains("a�]0;t"), "{format}: {line:?}");
    }
}

/// What stands in the status line of a tmux that runs in another one.
#[test]
fn tmux_shows_the_line() {
    let (sandbox, _watcher) = sandbox();
    let config = sandbox.path("inner.conf");
    let source = format!(
        "source-file {}\nset -g status-left ''\nset -g status-interval 1\n",
        contrib("tmux.conf").display()
    );
    fs_err::write(&config, source).unwrap();
    let Some(screen) = Screen::start(&sandbox, (120, 10), "set -g status off") else { return };
    let inner = sandbox.path("inner.socket");
    screen.type_line(&format!(
        "TMUX= tmux -u -S {} -f {} new-session sh",
        inner.display(),
        config.display()
    ));
    screen.wait_for("the line", |it| it.contains(HOSTILE) && it.contains("$1.50"));
    let coloured = screen.tmux().args(["capture-pane", "-t", "t", "-p", "-e"]).output().unwrap();
    let coloured = text(&coloured);
    assert!(coloured.contains("\x1b[35m"), "the branch has its colour: {coloured:?}");
    // Before a style of ours, and as one.
    let styled = "#[fg=red]#S##[bold]#";
    publish(&sandbox, &on_branch(styled));
    screen.wait_for("styles as text", |it| it.contains(&format!("{styled} ⇡2 !1")));
    sandbox.command("tmux").arg("-S").arg(inner).arg("kill-server").output().unwrap();
    check_inert(&sandbox);
}

#[test]
fn zsh_shows_the_line_whether_prompts_are_expanded_or_not() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "zsh") {
        return;
    }
    let Some(screen) = Screen::start(&sandbox, (140, 10), "") else { return };
    for option in ["no_prompt_subst", "prompt_subst"] {
        let rc =
            format!("PS1='$ '\nsetopt {option}\nsource {}\n", contrib("ccstatusd.zsh").display());
        fs_err::write(sandbox.path(".zshrc"), rc).unwrap();
        screen.type_line("clear; zsh -d");
        // The backticks are replaced: no escape would be right with either option.
        let shown = HOSTILE.replace('`', "'");
        screen.wait_for(option, |it| it.contains(&shown) && it.contains("$1.50"));
        check_inert(&sandbox);
        // zsh knows how wide it is, so what is typed is where it should be.
        screen.type_line("echo typed");
        screen.wait_for("a command", |it| it.contains("\ntyped"));
        screen.type_line("exit");
    }
}

#[test]
fn fish_shows_the_line() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "fish") {
        return;
    }
    let Some(screen) = Screen::start(&sandbox, (140, 10), "") else { return };
    let conf = sandbox.path(".config/fish/conf.d");
    fs_err::create_dir_all(&conf).unwrap();
    fs_err::copy(contrib("ccstatusd.fish"), conf.join("ccstatusd.fish")).unwrap();
    screen.type_line("fish");
    screen.wait_for("the line", |it| it.contains(HOSTILE) && it.contains("$1.50"));
    check_inert(&sandbox);
}

#[test]
fn bash_shows_the_line_and_keeps_the_exit_code() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "bash") {
        return;
    }
    let Some(screen) = Screen::start(&sandbox, (120, 10), "") else { return };
    let rc = format!("PS1='$? > '\nsource {}\n", contrib("ccstatusd.bash").display());
    fs_err::write(sandbox.path("rc"), rc).unwrap();
    screen.type_line("bash --noprofile --rcfile rc");
    screen.wait_for("the line", |it| it.contains(HOSTILE) && it.contains("\n0 >"));
    screen.type_line("false");
    screen.wait_for("the exit code", |it| it.contains("\n1 >"));
    check_inert(&sandbox);
}

#[test]
fn starship_shows_the_line() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "starship") {
        return;
    }
    let prompt = sandbox
        .command("starship")
        .args(["module", "custom.ccstatusd"])
        .env("STARSHIP_CONFIG", contrib("starship.toml"))
        .env("STARSHIP_SHELL", "fish")
        .output()
        .unwrap();
    let prompt = text(&prompt);
    assert!(prompt.contains("#(>~/x)$(>~/x)") && prompt.contains("$1.50"), "{prompt:?}");
    check_inert(&sandbox);
}

#[test]
fn emacs_shows_the_line_and_the_next_one() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "emacs") {
        return;
    }
    let Some(screen) = Screen::start(&sandbox, (140, 12), "") else { return };
    write_plain_line(&sandbox, &format!("{HOSTILE} 5%"));
    screen.type_line(&format!("emacs -nw -Q -l {}", contrib("ccstatusd.el").display()));
    screen.wait_for("the line", |it| it.contains(&format!("{HOSTILE} 5%")));
    write_plain_line(&sandbox, "another %d line");
    screen.wait_for("another line", |it| it.contains("another %d line"));
    check_inert(&sandbox);
}

#[test]
fn neovim_shows_the_line_and_the_next_one() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "nvim") {
        return;
    }
    let Some(screen) = Screen::start(&sandbox, (140, 12), "") else { return };
    write_plain_line(&sandbox, &format!("{HOSTILE} 5%"));
    screen.type_line(&format!("nvim -u {}", contrib("ccstatusd.lua").display()));
    screen.wait_for("the line", |it| it.contains(&format!("{HOSTILE} 5%")));
    write_plain_line(&sandbox, "another %d line");
    screen.wait_for("another line", |it| it.contains("another %d line"));
    check_inert(&sandbox);
}

/// Puts a line in place as the watcher does.
fn write_plain_line(sandbox: &Sandbox, line: &str) {
    let new = sandbox.state.join("plain/.new");
    fs_err::write(&new, line).unwrap();
    fs_err::rename(new, sandbox.state.join("plain/latest")).unwrap();
}

/// Runs a program that prints the protocol of i3bar, and waits for a line of it that has all that
/// the line says. `shown` is the branch as it stands there.
#[track_caller]
fn check_i3bar(sandbox: &Sandbox, mut command: Command, shown: &str) {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let (sender, found) = std::sync::mpsc::channel();
    let shown = shown.to_owned();
    let thread = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let json = line.trim_start_matches(['[', ',']).trim_end_matches(',');
            let blocks: Value = serde_json::from_str(&format!("[{json}")).unwrap_or_default();
            let texts =
                blocks.as_array().into_iter().flatten().filter_map(|it| it["full_text"].as_str());
            if texts.clone().any(|it| it.contains(&shown) && it.contains("$1.50")) {
                sender.send(()).ok();
                return;
            }
        }
    });
    let found = found.recv_timeout(CAP);
    process.kill().unwrap();
    process.wait().unwrap();
    thread.join().unwrap();
    assert!(found.is_ok(), "no block with {HOSTILE}");
    check_inert(sandbox);
}

#[test]
fn i3blocks_shows_the_line() {
    let (sandbox, _watcher) = sandbox();
    // It knows no --version, and prints its help for -V.
    if sandbox.command("i3blocks").arg("-V").output().is_err() {
        return skip("i3blocks is missing: its snippet in contrib/line is not tried");
    }
    let mut command = sandbox.command("i3blocks");
    command.arg("-c").arg(contrib("i3blocks.conf"));
    check_i3bar(&sandbox, command, "&lt;b&gt;%n");
}

#[test]
fn i3status_rust_shows_the_line() {
    let (sandbox, _watcher) = sandbox();
    if !is_installed(&sandbox, "i3status-rs") {
        return;
    }
    let mut command = sandbox.command("i3status-rs");
    command.arg(contrib("i3status-rust.toml"));
    check_i3bar(&sandbox, command, "&lt;b&gt;%n");
}

#[test]
fn the_settings_of_bars_are_what_their_programs_read() {
    let read = |name: &str| fs_err::read_to_string(contrib(name)).unwrap();
    let waybar = read("waybar.jsonc");
    let json: String = waybar.lines().filter(|it| !it.starts_with("//")).collect();
    let module = &serde_json::from_str::<Value>(&json).unwrap()["custom/ccstatusd"];
    let (sandbox, _watcher) = sandbox();
    let exec = module["exec"].as_str().unwrap();
    let output = sandbox.command("sh").args(["-c", exec]).output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(shown["text"].as_str().unwrap().contains("$1.50"), "{shown}");
    let polybar = read("polybar.ini");
    let exec = polybar.lines().find_map(|it| it.strip_prefix("exec = ")).unwrap();
    let output = sandbox.command("sh").args(["-c", exec]).output().unwrap();
    assert!(text(&output).contains("$1.50"), "{}", text(&output));
}
