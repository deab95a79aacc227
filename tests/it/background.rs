//! `ccstatusd start` and `ccstatusd stop`.

use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::sandbox::{CAP, Sandbox, is_met_within, text};

/// Ends the watcher of a sandbox, also if the test fails.
struct Stopped<'a>(&'a Sandbox);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        call(self.0, "stop");
    }
}

fn call(sandbox: &Sandbox, subcommand: &str) -> Output {
    sandbox.ccstatusd().arg(subcommand).output().unwrap()
}

#[track_caller]
fn says(sandbox: &Sandbox, subcommand: &str, expected: &str) {
    let output = call(sandbox, subcommand);
    assert!(output.status.success() && text(&output).contains(expected), "{}", text(&output));
}

/// The id of the watcher, by the snapshot.
fn watcher(sandbox: &Sandbox) -> Option<u32> {
    Some(sandbox.snapshot()?.watcher?.pid)
}

#[test]
fn a_watcher_that_is_started_twice_is_one_and_is_stopped() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("x");
    says(&sandbox, "stop", "no watcher runs");
    let _stopped = Stopped(&sandbox);
    says(&sandbox, "start", "has started");
    let pid = watcher(&sandbox).expect("it has published");
    says(&sandbox, "start", &format!("runs already (process {pid})"));
    assert_eq!(watcher(&sandbox), Some(pid));
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    transcript.reply("y");
    sandbox.wait_for("it watches", |it| it.repos.values().any(|repo| repo.untracked == 1));
    says(&sandbox, "stop", &format!("has ended (process {pid})"));
    assert_eq!(watcher(&sandbox), None);
    says(&sandbox, "stop", "no watcher runs");
    says(&sandbox, "start", "has started");
}

#[test]
fn of_many_that_start_at_once_one_watches() {
    let sandbox = Sandbox::with_root();
    let _stopped = Stopped(&sandbox);
    let starting: Vec<_> = (0..8)
        .map(|_| {
            let mut command = sandbox.ccstatusd();
            command.arg("start").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = starting.into_iter().map(|it| it.wait_with_output().unwrap()).collect();
    let said: Vec<_> = outputs.iter().map(text).collect();
    assert!(outputs.iter().all(|it| it.status.success()), "{said:#?}");
    assert_eq!(said.iter().filter(|it| it.contains("has started")).count(), 1, "{said:#?}");
}

/// The terminal that it was started in may be closed.
#[test]
fn it_has_a_session_of_its_own() {
    let sandbox = Sandbox::with_root();
    let _stopped = Stopped(&sandbox);
    says(&sandbox, "start", "has started");
    let pid = Pid::from_raw(watcher(&sandbox).unwrap().cast_signed());
    assert_eq!(getsid(Some(pid)).unwrap(), pid);
    // A shell may take the signal from its terminal, and pass it on. It means "reload".
    kill(pid, Signal::SIGHUP).unwrap();
    says(&sandbox, "start", "runs already");
}

/// Only its files tell of a watcher that was killed, and another process may have its id.
#[test]
fn what_a_killed_watcher_leaves_is_not_taken_for_a_watcher() {
    let sandbox = Sandbox::with_root();
    let _stopped = Stopped(&sandbox);
    says(&sandbox, "start", "has started");
    let pid = watcher(&sandbox).unwrap();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let is_gone = || !call(&sandbox, "stop").stdout.starts_with(b"the watcher");
    assert!(is_met_within(CAP, is_gone), "{}", text(&call(&sandbox, "stop")));
    let me = std::process::id();
    fs_err::write(sandbox.state.join("watch.lock"), format!("{me}\n")).unwrap();
    says(&sandbox, "stop", "no watcher runs");
    says(&sandbox, "start", "has started");
}

#[test]
fn an_error_at_the_start_is_told() {
    let sandbox = Sandbox::with_root();
    sandbox.configure("rots = []");
    let output = call(&sandbox, "start");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("roots"), "{}", text(&output));
}
