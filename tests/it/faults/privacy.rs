//! Privacy: no text of messages in files, no network, no credentials.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ccstatusd::store::schema::Snapshot;
use nix::sys::signal::Signal;

use super::unshared;
use crate::sandbox::{Sandbox, n_replies, repo_of, send_signal, session, skip, text};

const SECRET: &str = "the-secret-of-this-session";

/// The files below `dir` that hold the text.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, text));
        } else if entry.file_type().unwrap().is_file() {
            let bytes = fs_err::read(&path).unwrap_or_default();
            if memchr::memmem::find(&bytes, text.as_bytes()).is_some() {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn without_previews_no_text_of_any_message_is_in_any_file() {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    sandbox.set_env("CCSTATUSD_LOG", "trace");
    transcript.prompt(SECRET);
    transcript.reply(SECRET);
    let mut watcher = sandbox.start_watcher();
    sandbox.oneshot();
    watcher.signal(Signal::SIGTERM);
    watcher.wait(Duration::from_secs(5));
    let with = files_with(&sandbox.state, SECRET);
    assert_eq!(with.len(), 2, "with previews the snapshot and the checkpoint have it: {with:?}");

    // Turned off while no watcher ran, and then while one runs.
    sandbox.configure("[privacy]\npreview = false\n");
    let watcher = sandbox.start_watcher();
    transcript.reply(SECRET);
    let snapshot = sandbox.oneshot();
    assert_eq!(session(&snapshot, "s1").last_message.as_ref().unwrap().preview, None);
    assert_eq!(files_with(&sandbox.state, SECRET), [""; 0]);
    sandbox.configure("");
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_until("the configuration", || watcher.log().contains("reloaded"));
    transcript.prompt(SECRET);
    sandbox.oneshot();
    assert_ne!(files_with(&sandbox.state, SECRET), [""; 0]);
    sandbox.configure("[privacy]\npreview = false\n");
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_until("nothing has it", || files_with(&sandbox.state, SECRET).is_empty());
    let mut watcher = watcher;
    watcher.signal(Signal::SIGTERM);
    watcher.wait(Duration::from_secs(5));
    transcript.reply(SECRET);
    sandbox.oneshot();
    assert_eq!(files_with(&sandbox.state, SECRET), [""; 0]);
    assert!(!watcher.log().contains(SECRET), "{}", watcher.log());
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_network_nothing_is_missing() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let repo = sandbox.path("p");
    let Some(command) = unshared(&sandbox, "-Urn", "exec \"$0\"") else { return };
    let _watcher = sandbox.spawn_watcher(command);
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    sandbox.session("s2", &repo).reply("two");
    sandbox.wait_for("an append", |it| n_replies(it, &sandbox.root()) == 2);
    let script = "printf '{\"session_id\":\"s1\"}' | \"$0\" show";
    let output = unshared(&sandbox, "-Urn", script).unwrap().output().unwrap();
    assert!(text(&output).contains("main"), "{}", text(&output));
    let output = unshared(&sandbox, "-Urn", "exec \"$0\" --oneshot --json").unwrap().output();
    let snapshot: Snapshot = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(n_replies(&snapshot, &sandbox.root()), 2);
}

/// Looks at the system calls of the watcher, of `--oneshot`, of `show`, and of what they start.
#[cfg(target_os = "linux")]
#[test]
fn no_socket_but_the_local_one_and_no_credentials() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let credentials = [".claude/.credentials.json", ".claude.json", ".git-credentials", ".netrc"];
    for name in credentials {
        fs_err::write(sandbox.path(name), "{}").unwrap();
    }
    let log = sandbox.path("calls");
    let traced = |args: &str| {
        let mut command = sandbox.command("sh");
        let script = format!(
            "exec strace -f -qq -A -o {} -e trace=socket,socketpair,connect,open,openat,execve \
             \"$0\" {args}",
            log.display()
        );
        command.args(["-c", &script, env!("CARGO_BIN_EXE_ccstatusd")]);
        command
    };
    let probe = sandbox.command("strace").args(["-o", "/dev/null", "true"]).output();
    if !probe.is_ok_and(|it| it.status.success()) {
        return skip("no strace: which sockets and files are opened is not looked at");
    }
    let oneshot = traced("--oneshot --json").output().unwrap();
    assert!(oneshot.status.success(), "{}", text(&oneshot));
    let mut watcher = sandbox.spawn_watcher(traced(""));
    let ready = |it: &Snapshot| it.watcher.is_some() && repo_of(it, "s1").is_some();
    let snapshot = sandbox.wait_for("git facts", ready);
    sandbox.oneshot();
    let show = traced("show").stdin(Stdio::null()).output().unwrap();
    assert!(show.status.success());
    // The tracer ends with what it traces.
    send_signal(snapshot.watcher.unwrap().pid, Signal::SIGTERM);
    watcher.wait(Duration::from_secs(10));
    let calls = fs_err::read_to_string(&log).unwrap();
    let sockets: Vec<_> =
        calls.lines().filter(|it| it.contains("socket(") || it.contains("connect(")).collect();
    assert!(sockets.iter().any(|it| it.contains("AF_UNIX")), "nothing was seen");
    let foreign: Vec<_> = sockets.iter().filter(|it| !it.contains("AF_UNIX")).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    assert!(calls.contains("snapshot.json") && calls.contains("s1.jsonl"), "nothing was seen");
    let opened: Vec<_> =
        calls.lines().filter(|it| credentials.iter().any(|name| it.contains(name))).collect();
    assert!(opened.is_empty(), "{opened:#?}");
}
