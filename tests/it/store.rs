//! The state directory while a watcher runs: which files it has, their permissions, and that
//! readers never see an incomplete one.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sandbox::{CAP, Sandbox, n_replies, repo_of, text};
use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::Now;
use nix::sys::signal::Signal;

#[test]
fn everything_in_the_state_directory_is_private() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    ask_for_a_fit(&sandbox, 80);
    sandbox.wait_until("a fitted line", || fitted(&sandbox).is_some());
    sandbox.oneshot();
    let mut seen = Vec::new();
    check_private(&sandbox.state, &mut seen);
    for name in [
        "snapshot.json",
        "watch.lock",
        "fetch.lock",
        "guard.lock",
        "notify.sock",
        "s1",
        "latest",
        "fitted",
    ] {
        assert!(seen.iter().any(|it| it == name), "no {name} among {seen:?}");
    }
}

/// Asks for a line of the session `s1` as our plugin does.
#[track_caller]
fn ask_for_a_fit(sandbox: &Sandbox, columns: u16) -> String {
    let document = format!(
        r#"{{"session_id":"s1","version":"2.1.332","effort":{{"level":"high"}},
        "model":{{"id":"claude-opus-4-8"}},"ccstatusd":{{"columns":{columns}}}}}"#
    );
    let file = sandbox.path("document");
    fs_err::write(&file, document).unwrap();
    let mut command = sandbox.ccstatusd();
    let input = fs_err::File::open(&file).unwrap().into_parts().0;
    let output = command.arg("show").env("TERM", "xterm-256color").stdin(input).output().unwrap();
    text(&output)
}

fn fitted(sandbox: &Sandbox) -> Option<serde_json::Value> {
    let bytes = fs_err::read(sandbox.state.join("fitted/s1")).ok()?;
    Some(serde_json::from_slice(&bytes).expect("it is written whole"))
}

#[test]
fn a_line_is_fitted_to_what_a_display_asks_for_until_the_watcher_or_the_session_ends() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let mut watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    assert_eq!(fitted(&sandbox), None, "nobody has asked");
    for columns in [100, 30] {
        let shown = ask_for_a_fit(&sandbox, columns);
        sandbox.wait_until("a line of that width", || {
            fitted(&sandbox).is_some_and(|it| it["columns"] == columns)
        });
        let file = fitted(&sandbox).unwrap();
        let line = file["line"].as_str().unwrap();
        assert!(line.contains("\x1b["), "in colour: {line}");
        let plain = ccstatusd::display::ansi::without_colour(line);
        assert!(plain.chars().count() <= columns.into(), "{plain}");
        assert!(!plain.contains("no watcher") && plain.contains("main"), "{plain}");
        assert_eq!(plain.contains("Opus 4.8 high"), columns == 100, "{plain}");
        let shown = ccstatusd::display::ansi::without_colour(&shown);
        assert!(shown.chars().count() <= columns.into(), "so is what show prints: {shown}");
    }
    sandbox.sh(&sandbox.path("p"), "git checkout -qb topic");
    sandbox.wait_until("the other branch", || {
        fitted(&sandbox).is_some_and(|it| it["line"].as_str().unwrap().contains("topic"))
    });
    watcher.signal(Signal::SIGTERM);
    watcher.wait(CAP);
    let file = fitted(&sandbox).unwrap();
    assert!(file["line"].as_str().unwrap().contains("no watcher"), "{file}");
    let _next = sandbox.start_watcher();
    sandbox.wait_until("a new watcher knows of no display", || fitted(&sandbox).is_none());
}

#[track_caller]
fn check_private(path: &Path, seen: &mut Vec<String>) {
    let meta = fs_err::symlink_metadata(path).unwrap();
    let expected = if meta.is_dir() { 0o700 } else { 0o600 };
    assert!(meta.is_dir() || meta.is_file() || meta.file_type().is_socket(), "{path:?}");
    assert_eq!(meta.mode() & 0o777, expected, "{} has mode {:o}", path.display(), meta.mode());
    seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    if meta.is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            check_private(&entry.unwrap().path(), seen);
        }
    }
}

#[test]
fn temporary_files_of_a_killed_watcher_are_removed() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    drop(sandbox.start_watcher());
    let left = [
        sandbox.state.join(".ccstatusd-snapshot.json.1.tmp"),
        sandbox.state.join("lines/.ccstatusd-s1.1.tmp"),
        sandbox.state.join("lines/of-a-session-that-is-gone"),
    ];
    let other = sandbox.state.join("somebody-else-s.tmp");
    for path in left.iter().chain([&other]) {
        fs_err::write(path, "{\"versi").unwrap();
    }
    let _watcher = sandbox.start_watcher();
    sandbox.wait_until("the leftovers are gone", || left.iter().all(|it| !it.exists()));
    assert!(other.exists(), "it removed what was not its own");
}

#[test]
fn an_unreadable_snapshot_is_replaced() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    drop(sandbox.start_watcher());
    for bytes in [&b""[..], b"{\"version\":1,\"sessions\":{\"s1\"", b"\0\0\0\0", b"[]"] {
        fs_err::write(sandbox.state.join("snapshot.json"), bytes).unwrap();
        let snapshot = sandbox.oneshot();
        assert_eq!(n_replies(&snapshot, &sandbox.root()), 1, "over {bytes:?}");
    }
}

#[test]
fn a_reader_never_sees_an_incomplete_or_an_older_snapshot() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    let first = sandbox.snapshot().unwrap().seq;
    let is_over = AtomicBool::new(false);
    let path = sandbox.state.join("snapshot.json");
    let (n_reads, last) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut n_reads, mut last) = (0, 0);
            while !is_over.load(Ordering::Relaxed) || n_reads < 2000 {
                let bytes = fs_err::read(&path).unwrap();
                let snapshot: Snapshot = serde_json::from_slice(&bytes).unwrap();
                assert!(snapshot.seq >= last, "{} after {last}", snapshot.seq);
                last = snapshot.seq;
                n_reads += 1;
            }
            (n_reads, last)
        });
        // The watcher publishes at most every 50 ms.
        let give_up_at = Now::read().mono + CAP;
        let mut n_replies = 1;
        while sandbox.snapshot().unwrap().seq < first + 15 && Now::read().mono < give_up_at {
            transcript.reply("more");
            n_replies += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(n_replies > 15);
        reader.join().unwrap()
    });
    assert!(n_reads >= 2000 && last >= first + 10, "{n_reads} reads up to {last} from {first}");
}

#[test]
fn sequence_numbers_continue_after_a_restart() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    drop(sandbox.start_watcher());
    let before = sandbox.snapshot().unwrap().seq;
    let _watcher = sandbox.start_watcher();
    assert!(sandbox.snapshot().unwrap().seq > before);
}

/// Every publication is a rename, so a line that was not published again keeps its inode.
#[test]
fn an_unchanged_line_is_not_written_again() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    sandbox.oneshot();
    let line = sandbox.state.join("lines/s1");
    let inode = || fs_err::metadata(&line).unwrap().ino();
    let before = (inode(), fs_err::read(&line).unwrap());
    for n in 0..5 {
        // The line does not show anything of this.
        transcript.append(&format!("{{\"type\":\"mode\",\"n\":{n}}}\n"));
        sandbox.oneshot();
    }
    if fs_err::read(&line).unwrap() == before.1 {
        assert_eq!(inode(), before.0);
    }
}

/// A limit on the size of files stands for a full disk, since it needs no file system of its own.
#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_old_one_and_is_reported() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    drop(sandbox.start_watcher());
    let path = sandbox.state.join("snapshot.json");
    let before = fs_err::read(&path).unwrap();
    let mut command = sandbox.command("sh");
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_ccstatusd")]);
    let watcher = sandbox.spawn_watcher(command);
    sandbox.wait_until("it listens", || sandbox.state.join("notify.sock").exists());
    transcript.reply("two");
    let output = sandbox.try_oneshot();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("cannot publish"), "{}", text(&output));
    assert_eq!(fs_err::read(&path).unwrap(), before);
    // While the watcher runs, it may be writing another temporary file.
    drop(watcher);
    let names = fs_err::read_dir(&sandbox.state).unwrap();
    let names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
    let is_left = |it: &std::ffi::OsString| it.to_str().unwrap().ends_with(".tmp");
    assert!(!names.iter().any(is_left), "{names:?}");
    assert_eq!(n_replies(&sandbox.oneshot(), &sandbox.root()), 2);
}

#[test]
fn a_watcher_whose_socket_was_removed_binds_a_new_one() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("the session", |it| it.sessions.len() == 1);
    fs_err::remove_file(sandbox.state.join("notify.sock")).unwrap();
    // Without a socket, `--oneshot` takes the watcher for dead, and publishes itself.
    let beside = sandbox.oneshot();
    transcript.reply("two");
    let after =
        sandbox.wait_for("the watcher's own", |it| it.watcher.is_some() && it.seq > beside.seq);
    assert!(after.published_at_ms >= beside.published_at_ms);
    assert!(sandbox.oneshot().watcher.is_some(), "it is reached again");
}

#[test]
fn a_watcher_whose_socket_was_replaced_by_a_file_binds_a_new_one() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let _watcher = sandbox.start_watcher();
    let socket = sandbox.state.join("notify.sock");
    let other = sandbox.state.join("other");
    fs_err::write(&other, "").unwrap();
    fs_err::rename(&other, &socket).unwrap();
    transcript.reply("one");
    sandbox.wait_until("a socket", || {
        fs_err::metadata(&socket).is_ok_and(|it| it.file_type().is_socket())
    });
    assert!(sandbox.oneshot().watcher.is_some());
}

/// Each listener has threads of its own, and each must end with its socket.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_is_removed_again_and_again_leaves_no_threads_and_no_descriptors() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let watcher = sandbox.start_watcher();
    let count =
        |what: &str| fs_err::read_dir(format!("/proc/{}/{what}", watcher.id())).unwrap().count();
    // With the first reply the journal of the record is opened.
    transcript.reply("first");
    sandbox
        .wait_for("a reply", |snapshot| snapshot.sessions.values().any(|it| it.tokens.output > 0));
    let before = (count("task"), count("fd"));
    for n in 0..20 {
        fs_err::remove_file(sandbox.state.join("notify.sock")).unwrap();
        transcript.reply(&format!("{n}"));
        sandbox.wait_until("a new socket", || sandbox.state.join("notify.sock").exists());
    }
    sandbox.wait_until("the threads and descriptors of before", || {
        let now = (count("task"), count("fd"));
        now.0 <= before.0 && now.1 <= before.1
    });
}

#[test]
fn a_watcher_that_lost_its_lock_does_not_remove_the_socket_of_the_next() {
    let sandbox = Sandbox::with_root();
    let mut first = sandbox.start_watcher();
    sandbox.wait_for("the first", |it| it.watcher.is_some());
    fs_err::remove_file(sandbox.state.join("watch.lock")).unwrap();
    let second = sandbox.start_watcher();
    sandbox.wait_for("the second", |snapshot| {
        snapshot.watcher.as_ref().is_some_and(|it| it.pid == second.id())
    });
    first.signal(nix::sys::signal::Signal::SIGTERM);
    first.wait(std::time::Duration::from_secs(10));
    assert_eq!(sandbox.oneshot().watcher.map(|it| it.pid), Some(second.id()));
}
