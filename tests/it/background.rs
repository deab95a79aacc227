//! `ccstatusd start` and `ccstatusd stop`.

use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::sandbox::{CAP, Sandbox, Watcher, is_met_within, text, write_script};

/// Ends the watcher of a sandbox, also if the test fails.
pub(crate) struct Stopped<'a>(pub(crate) &'a Sandbox);

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

/// The user manager starts it again should it die, and shows that it runs.
#[test]
fn an_enabled_unit_is_started_by_systemd() {
    let mut sandbox = Sandbox::with_root();
    let wants = sandbox.path(".config/systemd/user/default.target.wants");
    fs_err::create_dir_all(&wants).unwrap();
    fs_err::write(sandbox.path(".config/systemd/user/ccstatusd.service"), "").unwrap();
    let link = wants.join("ccstatusd.service");
    fs_err::os::unix::fs::symlink("../ccstatusd.service", link).unwrap();
    fs_err::create_dir_all(sandbox.path("run/systemd")).unwrap();
    sandbox.set_env("XDG_RUNTIME_DIR", sandbox.path("run"));
    let systemctl = "#!/bin/sh\necho \"$*\" >>~/systemctl.log\ntouch ~/wanted\n";
    write_script(&sandbox.path("bin/systemctl"), systemctl);
    // What the script starts would end with it.
    let manager = {
        let mut command = sandbox.command("sh");
        let program = env!("CARGO_BIN_EXE_ccstatusd");
        let script = format!("until [ -e ~/wanted ]; do sleep 0.05; done; exec '{program}' --wait");
        command.args(["-c", &script]);
        sandbox.spawn_watcher(command)
    };
    says(&sandbox, "start", &format!("systemd has started the watcher (process {})", manager.id()));
    let calls = fs_err::read_to_string(sandbox.path("systemctl.log")).unwrap();
    assert_eq!(calls, "--user --no-ask-password start ccstatusd.service\n");
    says(&sandbox, "start", &format!("runs already (process {})", manager.id()));
}

#[test]
fn an_error_at_the_start_is_told() {
    let sandbox = Sandbox::with_root();
    sandbox.configure("rots = []");
    let output = call(&sandbox, "start");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("roots"), "{}", text(&output));
}

/// Starts a watcher as login units do, while another one runs, and waits until it waits.
fn start_waiting(sandbox: &Sandbox) -> Watcher {
    let mut command = sandbox.ccstatusd();
    command.arg("--wait");
    let waiting = sandbox.spawn_watcher(command);
    sandbox.wait_until("it waits", || waiting.log().contains("waiting for its end"));
    waiting
}

#[test]
fn a_watcher_that_waits_takes_over_when_the_other_one_is_killed() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("x");
    let first = sandbox.start_watcher();
    let second = start_waiting(&sandbox);
    assert!(second.log().contains(&format!("process {}", first.id())), "{}", second.log());
    // "Reload", which means nothing to it yet.
    second.signal(Signal::SIGHUP);
    first.signal(Signal::SIGKILL);
    sandbox.wait_until("the second watches", || watcher(&sandbox) == Some(second.id()));
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    transcript.reply("y");
    sandbox.wait_for("it watches", |it| it.repos.values().any(|repo| repo.untracked == 1));
    let mut third = sandbox.spawn_watcher(sandbox.ccstatusd());
    assert_eq!(third.wait(CAP).code(), Some(3), "without --wait it gives up");
}

#[test]
fn a_watcher_that_waits_ends_on_sigterm() {
    let sandbox = Sandbox::with_root();
    let first = sandbox.start_watcher();
    let mut second = start_waiting(&sandbox);
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait(CAP).code(), Some(0), "{}", second.log());
    assert_eq!(watcher(&sandbox), Some(first.id()));
}

#[test]
fn stop_tells_of_a_watcher_that_takes_over() {
    let sandbox = Sandbox::with_root();
    let _first = sandbox.start_watcher();
    let second = start_waiting(&sandbox);
    says(&sandbox, "stop", &format!("process {} has waited for that", second.id()));
}

/// systemd sends SIGTERM after `TimeoutStartSec` to a service that does not become ready.
#[test]
#[cfg(target_os = "linux")]
fn a_watcher_that_waits_tells_systemd_that_it_is_ready_and_why() {
    let sandbox = Sandbox::with_root();
    let first = sandbox.start_watcher();
    let path = sandbox.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(CAP)).unwrap();
    let mut command = sandbox.ccstatusd();
    command.arg("--wait").env("NOTIFY_SOCKET", &path);
    let _second = sandbox.spawn_watcher(command);
    let mut said = [0; 512];
    let n_bytes = socket.recv(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..n_bytes]).into_owned();
    assert!(said.contains("READY=1\n"), "{said}");
    let why = format!("STATUS=another watcher runs (process {}); waiting for its end", first.id());
    assert!(said.contains(&why), "{said}");
}

/// The journal has times of its own, and takes a line for unimportant that does not say otherwise.
#[test]
fn lines_of_the_journal_have_a_priority_and_no_time() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::with_root();
    let journal = fs_err::File::create(sandbox.path("journal")).unwrap();
    let meta = journal.metadata().unwrap();
    let run = |stream: String| {
        journal.set_len(0).unwrap();
        let mut command = sandbox.ccstatusd();
        let to = journal.try_clone().unwrap().into_parts().0;
        command.env("JOURNAL_STREAM", stream).stderr(to);
        let mut child = command.spawn().unwrap();
        let log = || fs_err::read_to_string(sandbox.path("journal")).unwrap();
        sandbox.wait_until("it watches", || log().contains("watching"));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        child.wait().unwrap();
        log().trim_start_matches('\0').to_owned()
    };
    let log = run(format!("{}:{}", meta.dev(), meta.ino()));
    assert!(log.lines().all(|it| it.starts_with("<6>")), "{log}");
    assert!(log.starts_with("<6>watching pid="), "{log}");
    // As a shell has it that was started from a service.
    let log = run(format!("{}:1", meta.dev()));
    assert!(log.contains("INFO watching"), "{log}");
    sandbox.configure("rots = []");
    let mut command = sandbox.ccstatusd();
    command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
    journal.set_len(0).unwrap();
    command.stderr(journal.try_clone().unwrap().into_parts().0).status().unwrap();
    let log = fs_err::read_to_string(sandbox.path("journal")).unwrap();
    let log = log.trim_start_matches('\0');
    assert!(log.contains("<3>ccstatusd: ") && log.lines().all(|it| it.starts_with('<')), "{log}");
}
