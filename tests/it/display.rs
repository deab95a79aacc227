//! The configuration of the display, from the file to the line, and the commands that show it. A
//! change takes effect at once; an invalid one changes nothing.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use ccstatusd::store::schema::Snapshot;
use nix::sys::signal::Signal;

use crate::sandbox::{Sandbox, text};

fn write(path: &Path, text: &str) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

fn format_of(snapshot: &Snapshot) -> Option<&str> {
    snapshot.display.format.as_deref()
}

fn reason(snapshot: &Snapshot) -> Option<&str> {
    let found = snapshot.degraded.iter().find(|it| it.source.starts_with("config:"));
    found.map(|it| it.reason.as_str())
}

/// What `show` prints for a session, independent of the test's own environment.
#[track_caller]
fn show(sandbox: &Sandbox, session: &str) -> String {
    let mut command = sandbox.ccstatusd();
    command.arg("show").env("NO_COLOR", "1").env("CLAUDE_CODE_SESSION_ID", session);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_changed_configuration_takes_effect_and_an_invalid_one_is_reported() {
    let sandbox = Sandbox::with_root();
    let config = sandbox.config_file();
    let mut session = sandbox.session("one", &sandbox.home);
    session.reply("done");
    let _watcher = sandbox.start_watcher();
    sandbox
        .wait_for("the session", |it| it.sessions.values().any(|session| session.model.is_some()));

    // Its directory is created at the same time.
    write(&config, "format = '{model} by {name}'");
    sandbox.wait_for("the format", |it| format_of(it) == Some("{model} by {name}"));
    write(&config, "format = '<{model}>'\n[theme]\npreset = 'plain'");
    sandbox.wait_for("the next format", |it| format_of(it) == Some("<{model}>"));
    assert_eq!(show(&sandbox, "one"), "<Opus 4.8>");
    sandbox.wait_until("the line for cat", || {
        let line = fs_err::read_to_string(sandbox.state.join("lines/one")).unwrap_or_default();
        line.starts_with("<Opus 4.8> · ")
    });

    let invalid = "format = '{model}'\n[segments.modle]\n";
    write(&config, invalid);
    let why = "line 2, column 11: segments.modle: unknown segment modle; did you mean model?";
    let snapshot = sandbox.wait_for("the reason", |it| reason(it) == Some(why));
    assert_eq!(format_of(&snapshot), Some("<{model}>"));
    let shown = show(&sandbox, "one");
    assert!(shown.starts_with("<Opus 4.8> · config: line 2, column 11: "), "{shown}");

    // Editors write a new file and rename it.
    let next = config.with_file_name("config.toml.swp");
    write(&next, "format = '{model}!'");
    fs_err::rename(&next, &config).unwrap();
    let snapshot = sandbox.wait_for("the corrected format", |it| format_of(it) == Some("{model}!"));
    assert_eq!(reason(&snapshot), None);

    fs_err::remove_dir_all(config.parent().unwrap()).unwrap();
    sandbox.wait_for("the default format", |it| format_of(it).is_none());
}

#[test]
fn a_change_behind_symbolic_links_takes_effect() {
    let sandbox = Sandbox::with_root();
    let config = sandbox.config_file();
    let dotfiles = sandbox.path("dotfiles/ccstatusd.toml");
    let other = sandbox.path("elsewhere/other.toml");
    write(&dotfiles, "format = '{model} 1'");
    write(&other, "format = '{model} 3'");
    fs_err::create_dir_all(config.parent().unwrap()).unwrap();
    fs_err::os::unix::fs::symlink("../../dotfiles/ccstatusd.toml", &config).unwrap();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("the format", |it| format_of(it) == Some("{model} 1"));

    write(&dotfiles, "format = '{model} 2'");
    sandbox.wait_for("the file behind the link", |it| format_of(it) == Some("{model} 2"));

    let next = config.with_file_name("next");
    fs_err::os::unix::fs::symlink(&other, &next).unwrap();
    fs_err::rename(&next, &config).unwrap();
    sandbox.wait_for("another link", |it| format_of(it) == Some("{model} 3"));
    write(&other, "format = '{model} 4'");
    sandbox.wait_for("the file behind that", |it| format_of(it) == Some("{model} 4"));
}

#[test]
fn a_signal_reads_the_configuration_again_and_an_invalid_one_changes_nothing() {
    let sandbox = Sandbox::with_root();
    let config = sandbox.config_file();
    write(&config, "format = '{model}'");
    let watcher = sandbox.start_watcher();
    sandbox.wait_for("the format", |it| format_of(it) == Some("{model}"));
    write(&config, "format = 7");
    watcher.signal(Signal::SIGHUP);
    let snapshot = sandbox.wait_for("the reason", |it| reason(it).is_some());
    assert_eq!(format_of(&snapshot), Some("{model}"));
    write(&config, "format = '{cost}'");
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_for("the corrected format", |snapshot| {
        format_of(snapshot) == Some("{cost}") && reason(snapshot).is_none()
    });
}

#[test]
fn the_effective_configuration_is_printed_and_checked() {
    let sandbox = Sandbox::with_root();
    let run = |args: &[&str]| sandbox.ccstatusd().args(args).output().unwrap();
    let printed = run(&["config"]);
    assert!(printed.status.success(), "{}", text(&printed));
    let config = sandbox.config_file();
    assert_eq!(run(&["config", "--check"]).status.code(), Some(0));
    // What is printed is a valid file.
    write(&config, str::from_utf8(&printed.stdout).unwrap());
    let checked = run(&["config", "--check"]);
    assert!(
        checked.status.success() && text(&checked).contains("config.toml is valid"),
        "{checked:?}"
    );
    // A character that turns text around is printed as an escape with the same meaning.
    write(&config, "[theme]\nseparator = '\u{202e}'\n");
    let printed = run(&["config"]);
    let printed = str::from_utf8(&printed.stdout).unwrap();
    assert!(printed.contains("\nseparator = \"\\u202E\"\n"), "{printed}");
    write(&config, printed);
    assert_eq!(run(&["config"]).stdout, printed.as_bytes());
    write(&config, "[theme]\npreset = 'asci'\n");
    for args in [&["config"][..], &["config", "--check"], &["show", "--preview"]] {
        let refused = run(args);
        assert_eq!(refused.status.code(), Some(2));
        let why = "line 2, column 10: theme.preset: unknown preset asci; did you mean ascii?";
        assert!(text(&refused).contains(why), "{}", text(&refused));
    }
}

#[test]
fn a_preview_has_every_theme() {
    let sandbox = Sandbox::with_root();
    let mut child = sandbox.ccstatusd();
    child.args(["show", "--preview"]).env("COLUMNS", "100").env("COLORTERM", "truecolor");
    let output = text(&child.output().unwrap());
    for name in ["default", "plain", "ascii", "powerline", "compact", "terminal", "nord", "light"] {
        assert!(output.contains(&format!(" {name}: ")), "{name}");
    }
    assert!(output.contains("checkout-flow"));
}

/// What `subagents` prints for a client that writes this document and never closes the pipe.
#[track_caller]
fn subagents(sandbox: &Sandbox, document: &str) -> String {
    let mut command = sandbox.ccstatusd();
    command.arg("subagents").env("NO_COLOR", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(document.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_subagent_has_a_row_and_no_input_fails() {
    let sandbox = Sandbox::with_root();
    let document = r#"{"columns":40,"tasks":[{"id":"a\"b","name":"n","status":"running",
        "description":"\u001b[2J"},{"id":"c"},{"name":"no id"}]}"#;
    let rows: Vec<serde_json::Value> =
        subagents(&sandbox, document).lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(rows[0], serde_json::json!({"id": "a\"b", "content": "n      \u{fffd}[2J"}));
    assert_eq!(rows[1], serde_json::json!({"id": "c", "content": "agent"}));
    assert_eq!(rows.len(), 2);
    for nothing in ["", "{", "null", "{}", r#"{"tasks":[null,{}]}"#, r#"{"tasks":7}"#] {
        assert_eq!(subagents(&sandbox, nothing), "", "{nothing}");
    }
    let many = format!(r#"{{"tasks":[{}{{"id":"x"}}]}}"#, r#"{"id":"x"},"#.repeat(5000));
    assert_eq!(subagents(&sandbox, &many).lines().count(), 256);
}

/// The client kills a run when it starts a newer one.
#[test]
fn a_killed_run_leaves_nothing_behind() {
    let sandbox = Sandbox::with_root();
    let mut command = sandbox.ccstatusd();
    command.arg("show").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"{\"cwd\":").unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(!sandbox.state.exists(), "show wrote something");
}
