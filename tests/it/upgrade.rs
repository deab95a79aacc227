//! A watcher whose program is replaced.
#![cfg(target_os = "linux")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ccstatusd::store::schema::{Degraded, Snapshot};
use nix::sys::signal::Signal;

use crate::sandbox::{CAP, Sandbox, Watcher, is_met_within, write_script};
use crate::transcripts::Transcript;

/// A sandbox with the session `s1`, and a watcher whose program is `app/ccstatusd`.
fn installed() -> (Sandbox, Transcript, Watcher) {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    fs_err::create_dir(sandbox.path("app")).unwrap();
    install(&sandbox, "app/ccstatusd");
    let watcher = start(&sandbox, "app/ccstatusd");
    (sandbox, transcript, watcher)
}

/// Puts a program of a file of its own at this path, as package managers do: beside it, then in its
/// place.
fn install(sandbox: &Sandbox, name: &str) {
    let new = sandbox.path(&format!("{name}.new"));
    fs_err::copy(env!("CARGO_BIN_EXE_ccstatusd"), &new).unwrap();
    fs_err::rename(new, sandbox.path(name)).unwrap();
}

fn start(sandbox: &Sandbox, program: &str) -> Watcher {
    let watcher = sandbox.spawn_watcher(sandbox.command(sandbox.path(program)));
    sandbox.wait_for("git facts", |snapshot| {
        is_by(snapshot, &watcher) && snapshot.repos.values().any(|repo| repo.as_of_ms > 0)
    });
    watcher
}

fn is_by(snapshot: &Snapshot, watcher: &Watcher) -> bool {
    snapshot.watcher.as_ref().is_some_and(|it| it.pid == watcher.id())
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs_err::metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

fn runs(watcher: &Watcher, sandbox: &Sandbox, program: &str) -> bool {
    let exe = format!("/proc/{}/exe", watcher.id());
    inode(Path::new(&exe)) == inode(&sandbox.path(program))
}

/// Waits for the successor. Without the signal the watcher would look within a minute.
#[track_caller]
fn wait_until_runs(watcher: &Watcher, sandbox: &Sandbox, program: &str) {
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_until("the new program", || runs(watcher, sandbox, program));
}

#[test]
fn it_goes_on_as_the_new_program_and_loses_nothing() {
    let (sandbox, mut transcript, watcher) = installed();
    let before = sandbox.snapshot().unwrap();
    transcript.reply("two");
    install(&sandbox, "app/ccstatusd");
    transcript.reply("three");
    wait_until_runs(&watcher, &sandbox, "app/ccstatusd");
    transcript.reply("four");
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    let after = sandbox.wait_for("everything of before and after", |snapshot| {
        is_by(snapshot, &watcher)
            && snapshot.sessions.values().any(|session| session.tokens.output == 4 * 42)
            && snapshot.repos.values().any(|repo| repo.untracked == 1)
    });
    assert!(after.seq > before.seq && after.degraded.is_empty(), "{after:#?}");
    let [before, after] = [before, after].map(|it| it.watcher.unwrap().started_at_ms);
    assert!(after > before, "it is another run of the program");
    // And once more, to see that the successor notices its own, without a signal.
    install(&sandbox, "app/ccstatusd");
    sandbox.session("s2", &sandbox.path("p")).reply("a session begins");
    sandbox.wait_until("its successor", || runs(&watcher, &sandbox, "app/ccstatusd"));
}

#[test]
fn a_link_that_leads_to_another_version_is_followed() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    for name in ["v1", "v2", "bin2"] {
        fs_err::create_dir(sandbox.path(name)).unwrap();
    }
    install(&sandbox, "v1/ccstatusd");
    install(&sandbox, "v2/ccstatusd");
    let link = |to: &str| {
        let (new, link) = (sandbox.path("bin2/new"), sandbox.path("bin2/ccstatusd"));
        fs_err::os::unix::fs::symlink(sandbox.path(to), &new).unwrap();
        fs_err::rename(new, link).unwrap();
    };
    link("v1/ccstatusd");
    let watcher = start(&sandbox, "bin2/ccstatusd");
    assert!(runs(&watcher, &sandbox, "v1/ccstatusd"));
    link("v2/ccstatusd");
    wait_until_runs(&watcher, &sandbox, "v2/ccstatusd");
}

#[test]
fn what_is_no_version_of_it_is_named_and_not_run() {
    let (sandbox, mut transcript, watcher) = installed();
    let old = inode(Path::new(&format!("/proc/{}/exe", watcher.id())));
    let whole = fs_err::read(env!("CARGO_BIN_EXE_ccstatusd")).unwrap();
    for (what, content) in [
        ("another program", b"#!/bin/sh\necho another 1.0\n".to_vec()),
        ("half a program", whole[..whole.len() / 3].to_vec()),
        ("an empty file", Vec::new()),
    ] {
        let new = sandbox.path("app/new");
        write_script(&new, "");
        fs_err::write(&new, content).unwrap();
        fs_err::rename(&new, sandbox.path("app/ccstatusd")).unwrap();
        watcher.signal(Signal::SIGHUP);
        let is_named = |degraded: &Degraded| degraded.source.starts_with("program:");
        sandbox.wait_for(what, |snapshot| snapshot.degraded.iter().any(is_named));
        assert_eq!(inode(Path::new(&format!("/proc/{}/exe", watcher.id()))), old, "{what}");
        transcript.reply(what);
    }
    fs_err::remove_file(sandbox.path("app/ccstatusd")).unwrap();
    install(&sandbox, "app/ccstatusd");
    wait_until_runs(&watcher, &sandbox, "app/ccstatusd");
    sandbox.wait_for("nothing degraded", |it| it.degraded.is_empty());
}

#[test]
fn programs_that_run_meanwhile_are_ended_and_reaped() {
    let (sandbox, mut transcript, watcher) = installed();
    sandbox.slow_git("3");
    let n_before = sandbox.n_git_calls();
    transcript.reply("two");
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() > n_before);
    install(&sandbox, "app/ccstatusd");
    wait_until_runs(&watcher, &sandbox, "app/ccstatusd");
    fs_err::remove_file(sandbox.path("slow")).unwrap();
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    transcript.reply("three");
    sandbox.wait_for("git facts", |it| it.repos.values().any(|repo| repo.untracked == 1));
    let zombies = || {
        let stat = |entry: fs_err::DirEntry| fs_err::read_to_string(entry.path().join("stat")).ok();
        let all = fs_err::read_dir("/proc").unwrap().flatten().filter_map(stat);
        let of_watcher = format!(" Z {} ", watcher.id());
        all.filter(|it| it.contains(&of_watcher)).collect::<Vec<_>>()
    };
    assert!(is_met_within(CAP, || zombies().is_empty()), "{:#?}", zombies());
}
