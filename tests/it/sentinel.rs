//! The sentinel: it tells of a watcher that has died, and of no other.

#![cfg(target_os = "linux")]

use std::process::Stdio;

use ccstatusd::store::dir::StateDir;
use ccstatusd::store::lock::WatchLock;
use nix::sys::signal::Signal;

use crate::sandbox::{CAP, Sandbox, send_signal, text, write_script};

const ENDED: &str = "[[alert]]\nname = 'e'\non = 'no_watcher'\nafter_s = 1\n\
                     command = ['teller', '{title}']\n";

/// A sandbox with this configuration, and the program `teller`, which logs what it is told.
fn sandbox(config: &str) -> Sandbox {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let script = "#!/bin/sh\necho \"$1|$CCSTATUSD_ON|$CCSTATUSD_BODY|$PWD\" \
                  >>~/told.log\n";
    write_script(&sandbox.path("bin/teller"), script);
    sandbox.configure(config);
    sandbox
}

fn told(sandbox: &Sandbox) -> String {
    fs_err::read_to_string(sandbox.path("told.log")).unwrap_or_default()
}

/// The sentinels of the watcher with this process id.
fn sentinels_of(sandbox: &Sandbox, watcher: u32) -> Vec<u32> {
    let command = format!("__sentinel {watcher} ");
    let rows = sandbox.processes().into_iter().filter(|it| it.ends_with(&command));
    rows.filter_map(|row| row.split(':').next()?.parse().ok()).collect()
}

/// Waits for the sentinel of this watcher, until it sleeps: then it has read its configuration.
fn wait_for_sentinel(sandbox: &Sandbox, watcher: u32) -> u32 {
    let sleeps = |pid: u32| {
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("\nState:\tS ")
    };
    sandbox.wait_until(
        "a sentinel",
        || matches!(sentinels_of(sandbox, watcher)[..], [pid] if sleeps(pid)),
    );
    sentinels_of(sandbox, watcher)[0]
}

#[test]
fn a_watcher_that_is_killed_is_told_of_once_also_if_its_configuration_is_broken_then() {
    let sandbox = sandbox(ENDED);
    let mut watcher = sandbox.start_watcher();
    wait_for_sentinel(&sandbox, watcher.id());
    sandbox.configure("this is no configuration");
    watcher.signal(Signal::SIGKILL);
    watcher.wait(CAP);
    let before = sandbox.snapshot().unwrap();
    sandbox.wait_until("what is told", || !told(&sandbox).is_empty());
    sandbox.wait_until("the sentinel's end", || sentinels_of(&sandbox, watcher.id()).is_empty());
    let row = told(&sandbox);
    let home = sandbox.path("").display().to_string();
    let expected = "ccstatusd has ended|no_watcher|1 s ago, without being told to; \
                    `ccstatusd start` starts it again|";
    assert_eq!(row.trim_end(), format!("{expected}{}", home.trim_end_matches('/')));

    let after = sandbox.snapshot().unwrap();
    let alert = &after.alerts["e"];
    assert!(alert.last_fired_ms.is_some() && alert.error.is_none(), "{alert:?}");
    assert_eq!(alert.last_title.as_deref(), Some("ccstatusd has ended"));
    assert_eq!(after.published_at_ms, before.published_at_ms, "the rest is as old as before");
    assert!(after.seq > before.seq);

    // The next watcher goes on from there.
    sandbox.configure(ENDED);
    let next = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("the next watcher", |snapshot| {
        snapshot.watcher.as_ref().is_some_and(|it| it.pid == next.id())
    });
    assert_eq!(snapshot.alerts["e"].last_fired_ms, alert.last_fired_ms);
    let list = text(&sandbox.ccstatusd().arg("alerts").output().unwrap());
    assert!(list.contains("e: the watcher has died, and none runs after 1 s\n"), "{list}");
    assert!(list.contains("ago: ccstatusd has ended\n"), "{list}");
}

#[test]
fn a_watcher_that_is_told_to_end_is_not_told_of() {
    let sandbox = sandbox(ENDED);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut watcher = sandbox.start_watcher();
        wait_for_sentinel(&sandbox, watcher.id());
        watcher.signal(signal);
        assert!(watcher.wait(CAP).success());
        sandbox
            .wait_until("the sentinel's end", || sentinels_of(&sandbox, watcher.id()).is_empty());
    }
    assert_eq!(told(&sandbox), "");
}

#[test]
fn a_watcher_after_which_another_runs_is_not_told_of() {
    let sandbox = sandbox(&ENDED.replace("after_s = 1", "after_s = 20"));
    let mut first = sandbox.start_watcher();
    wait_for_sentinel(&sandbox, first.id());
    first.signal(Signal::SIGKILL);
    first.wait(CAP);
    let second = sandbox.start_watcher();
    let own = wait_for_sentinel(&sandbox, second.id());
    sandbox
        .wait_until("the first sentinel's end", || sentinels_of(&sandbox, first.id()).is_empty());
    assert_eq!(told(&sandbox), "");

    // A sentinel that ends by itself is started again, until no alert wants one.
    send_signal(own, Signal::SIGKILL);
    sandbox.wait_until(
        "another sentinel",
        || matches!(sentinels_of(&sandbox, second.id())[..], [other] if other != own),
    );
    sandbox.configure("");
    sandbox.wait_until("its end", || sentinels_of(&sandbox, second.id()).is_empty());
    assert_eq!(told(&sandbox), "");
}

#[test]
fn a_watcher_that_dies_before_it_publishes_is_told_of_once() {
    let sandbox = sandbox(ENDED);
    let mut watcher = sandbox.start_watcher();
    wait_for_sentinel(&sandbox, watcher.id());
    watcher.signal(Signal::SIGKILL);
    watcher.wait(CAP);
    sandbox.wait_until("what is told", || told(&sandbox).lines().count() == 1);
    sandbox.wait_until("the sentinel's end", || sentinels_of(&sandbox, watcher.id()).is_empty());
    // Those of two more that die, one after the other. Processes with these ids have ended.
    let mut sentinels = [(); 2].map(|()| {
        let mut ended = sandbox.command("true").spawn().unwrap();
        ended.wait().unwrap();
        let mut sentinel = sandbox.ccstatusd();
        sentinel.arg("__sentinel").arg(ended.id().to_string()).stdin(Stdio::piped());
        let sentinel = sentinel.spawn().unwrap();
        wait_for_sentinel(&sandbox, ended.id());
        sentinel
    });
    for sentinel in &mut sentinels {
        drop(sentinel.stdin.take());
    }
    for mut sentinel in sentinels {
        assert!(sentinel.wait().unwrap().success());
    }
    assert_eq!(told(&sandbox).lines().count(), 2, "{}", told(&sandbox));
}

#[test]
fn another_watcher_that_cannot_start_keeps_nothing_from_being_told() {
    let sandbox = sandbox(ENDED);
    let mut watcher = sandbox.start_watcher();
    let sentinel = wait_for_sentinel(&sandbox, watcher.id());
    watcher.signal(Signal::SIGKILL);
    watcher.wait(CAP);
    // This test is the other one.
    let lock = WatchLock::acquire(&StateDir::open(&sandbox.state).unwrap()).unwrap();
    let n_looks = || {
        let status = fs_err::read_to_string(format!("/proc/{sentinel}/status")).ok()?;
        let row = status.lines().find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"))?;
        row.trim().parse::<u64>().ok()
    };
    let before = n_looks().unwrap();
    sandbox.wait_until("looks", || n_looks().is_some_and(|it| it >= before + 4));
    assert_eq!(told(&sandbox), "", "one runs");
    drop(lock);
    sandbox.wait_until("what is told", || told(&sandbox).lines().count() == 1);
}

#[test]
fn a_program_that_fails_is_named() {
    let config = ENDED.replace("'teller'", "'sh', '-c', 'echo no >&2; exit 3'");
    let sandbox = sandbox(&config);
    let mut watcher = sandbox.start_watcher();
    wait_for_sentinel(&sandbox, watcher.id());
    watcher.signal(Signal::SIGKILL);
    watcher.wait(CAP);
    let snapshot = sandbox.wait_for("the error", |it| it.alerts["e"].error.is_some());
    assert_eq!(snapshot.alerts["e"].error.as_deref(), Some("failed with exit code 3: no"));
}
