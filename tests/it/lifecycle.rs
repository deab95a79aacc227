//! The watcher as a process: how it starts and ends, and which limits and faults it survives.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use ccstatusd::store::schema::{ClientFacts, Snapshot};
use ccstatusd::time::{HOUR_MS, Now, pause};
use nix::sys::signal::Signal;

use crate::sandbox::{
    CAP, Sandbox, Watcher, is_met_within, n_replies, repo_of, session, skip, text,
};
use crate::transcripts::Transcript;

/// A sandbox with one session in one repository.
fn sandbox() -> Sandbox {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.prompt("one");
    sandbox
}

// ---- Locks

#[test]
fn a_second_watcher_names_the_process_of_the_first() {
    let sandbox = sandbox();
    let watcher = sandbox.start_watcher();
    let output = sandbox.ccstatusd().output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains(&format!("(process {})", watcher.id())), "{}", text(&output));
}

#[test]
fn only_one_of_many_watchers_that_start_at_once_runs() {
    let sandbox = sandbox();
    let mut watchers: Vec<_> = (0..8).map(|_| sandbox.spawn_watcher(sandbox.ccstatusd())).collect();
    let snapshot = sandbox.wait_for("a watcher", |it| it.watcher.is_some());
    let winner = snapshot.watcher.unwrap().pid;
    for loser in watchers.iter_mut().filter(|it| it.id() != winner) {
        assert_eq!(loser.wait(Duration::from_secs(10)).code(), Some(3), "{}", loser.log());
    }
    sandbox.session("s2", &sandbox.home).reply("two");
    let snapshot = sandbox.wait_for("the new session", |it| n_replies(it, &sandbox.root()) == 1);
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(winner));
}

#[test]
fn a_watcher_whose_lock_was_removed_ends_and_never_publishes_again() {
    let sandbox = sandbox();
    let mut first = sandbox.start_watcher();
    fs_err::remove_file(sandbox.state.join("watch.lock")).unwrap();
    let second = sandbox.start_watcher();
    sandbox.session("s2", &sandbox.home).reply("two");
    assert_eq!(first.wait(Duration::from_secs(10)).code(), Some(2));
    assert!(first.log().is_empty() || !first.log().contains("panic"), "{}", first.log());
    let snapshot = sandbox.wait_for("the new session", |it| n_replies(it, &sandbox.root()) == 1);
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(second.id()));
}

#[test]
fn a_watcher_whose_state_directory_was_removed_ends() {
    let sandbox = sandbox();
    let mut watcher = sandbox.start_watcher();
    // The removal fails if the watcher publishes at the same time.
    sandbox.wait_until("the removal", || fs_err::remove_dir_all(&sandbox.state).is_ok());
    assert_eq!(watcher.wait(Duration::from_secs(10)).code(), Some(2));
    assert!(!sandbox.state.exists(), "the watcher created the directory again");
    let _next_watcher = sandbox.start_watcher();
}

// ---- The end

#[test]
fn a_killed_watcher_leaves_no_process_and_the_next_one_starts_at_once() {
    let sandbox = sandbox();
    let script = fs_err::read_to_string(sandbox.path("bin/git")).unwrap();
    // This git starts processes of its own, one of which leaves its process group.
    let children = "sleep 100 & setsid sleep 100 & trap '' TERM; sleep 100 # ";
    let slow = script.replace("sleep \"$(cat", &format!("{children}\"$(cat"));
    assert_ne!(slow, script);
    let slow = slow.replace("\"; fi", "\n:; fi");
    fs_err::write(sandbox.path("bin/git"), slow).unwrap();
    sandbox.slow_git("100");
    let mut watcher = sandbox.start_watcher();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() == 1);
    sandbox.wait_until("its children", || {
        sandbox.processes().iter().filter(|it| it.contains("sleep 100")).count() == 3
    });
    watcher.signal(Signal::SIGKILL);
    watcher.wait(CAP);
    fs_err::remove_file(sandbox.path("slow")).unwrap();

    // It waits for none of the programs, which run for 100 s.
    let next = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(next.id()));
    drop(next);
    sandbox.wait_until("nothing is left", || sandbox.processes().is_empty());
}

#[track_caller]
fn check_ends(signal: Signal) {
    let sandbox = sandbox();
    sandbox.slow_git("100");
    let mut watcher = sandbox.start_watcher();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() == 1);
    watcher.signal(signal);
    assert_eq!(watcher.wait(Duration::from_secs(2)).code(), Some(0));
    let snapshot = sandbox.snapshot().unwrap();
    assert_eq!(snapshot.watcher, None);
    let line = fs_err::read_to_string(sandbox.state.join("lines/s1")).unwrap();
    assert!(line.contains("no watcher"), "`cat` would show an old line as a new one: {line}");
    assert_eq!(session(&snapshot, "s1").turns, 1, "the facts are still there");
    sandbox.wait_until("nothing is left", || sandbox.processes().is_empty());
}

#[test]
fn sigterm_ends_a_watcher_within_two_seconds() {
    check_ends(Signal::SIGTERM);
}

#[test]
fn sigint_ends_a_watcher_within_two_seconds() {
    check_ends(Signal::SIGINT);
}

#[test]
fn sighup_reloads_a_valid_configuration_and_an_invalid_one_changes_nothing() {
    let sandbox = sandbox();
    let other = sandbox.path("other");
    Transcript::new(&other, "-p", "s2", &sandbox.home).reply("one");
    let watcher = sandbox.start_watcher();
    sandbox.configure("roots = 7");
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_until("the error in the log", || {
        watcher.log().contains("config.toml: line 1, column 9: roots: it must be a list")
    });
    sandbox.session("s3", &sandbox.home).reply("it still works");
    sandbox.wait_for("s3", |it| n_replies(it, &sandbox.root()) == 1);
    sandbox.configure(&format!("roots = ['{}']", other.display()));
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_for("the new root", |it| n_replies(it, &other) == 1);
    sandbox.configure("");
    watcher.signal(Signal::SIGHUP);
    let is_gone =
        |snapshot: &Snapshot| snapshot.roots.keys().all(|it| other.as_os_str() != it.0.as_str());
    sandbox.wait_for("no such root", |it| is_gone(it) && it.sessions.len() == 2);
}

#[test]
fn a_watcher_that_cannot_publish_reports_to_its_supervisor_that_it_is_ready() {
    let mut sandbox = sandbox();
    let path = sandbox.path("supervisor");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    sandbox.set_env("NOTIFY_SOCKET", path);
    let snapshot = sandbox.state.join("snapshot.json");
    fs_err::create_dir_all(snapshot.join("in-the-way")).unwrap();
    let mode = PermissionsExt::from_mode(0o700);
    fs_err::set_permissions(&sandbox.state, mode).unwrap();
    let watcher = sandbox.spawn_watcher(sandbox.ccstatusd());
    let receive = || {
        let mut buffer = [0; 4096];
        let n_bytes = supervisor.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n_bytes]).into_owned()
    };
    let first = receive();
    assert!(first.contains("READY=1\n") && first.contains("STATUS=cannot publish: "), "{first}");
    assert!(first.contains("snapshot.json"), "{first}");
    fs_err::remove_dir_all(&snapshot).unwrap();
    assert!(receive().contains("STATUS=watching"));
    watcher.signal(Signal::SIGHUP);
    assert!(receive().contains("RELOADING=1"));
    assert!(receive().contains("READY=1"));
}

/// Without a live session, nothing may wake the watcher.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_watcher_does_not_wake() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.write_old(Now::read().wall_ms - 5 * HOUR_MS);
    let watcher = sandbox.start_watcher();
    // These return when the watcher has done all work that its start caused.
    sandbox.oneshot();
    sandbox.oneshot();
    let tasks = format!("/proc/{}/task", watcher.id());
    let n_wakes = || -> u64 {
        let entries = fs_err::read_dir(&tasks).unwrap().flatten();
        let status = entries.map(|it| fs_err::read_to_string(it.path().join("status")).unwrap());
        let count = |status: String| -> u64 {
            let line = status.lines().find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse().unwrap()
        };
        status.map(count).sum()
    };
    // The removal of the cookies wakes it a few more times.
    let mut before = n_wakes();
    sandbox.wait_until("quiet", || {
        pause(Duration::from_millis(300));
        std::mem::replace(&mut before, n_wakes()) == before
    });
    let before = n_wakes();
    pause(Duration::from_secs(3));
    assert_eq!(n_wakes() - before, 0, "the watcher woke though nothing changed");
    transcript.prompt("good morning");
    sandbox.wait_for("the new prompt", |it| session(it, "s1").turns == 2);
}

// ---- Limits of the kernel

/// While the watcher is stopped, more events happen than the kernel's queue holds.
#[cfg(target_os = "linux")]
#[test]
fn an_overflow_of_the_kernels_queue_loses_nothing() {
    let mut sandbox = Sandbox::with_root();
    let mut transcripts = [1, 2].map(|n| sandbox.session(&format!("s{n}"), &sandbox.home));
    for transcript in &mut transcripts {
        transcript.reply("one");
    }
    let watcher = sandbox.start_watcher();
    watcher.signal(Signal::SIGSTOP);
    let limit = fs_err::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let open = |it: &Transcript| fs_err::OpenOptions::new().append(true).open(&it.path).unwrap();
    let mut files = transcripts.each_ref().map(open);
    // The kernel merges an event with an equal one before it, so the two files take turns.
    for n in 0..=limit {
        files[n % 2].write_all(b"\n").unwrap();
    }
    transcripts[0].reply("after the overflow");
    for n in 3..23 {
        Transcript::new(&sandbox.root(), &format!("-p{n}"), &format!("s{n}"), &sandbox.home)
            .reply("in a new folder");
    }
    watcher.signal(Signal::SIGCONT);
    let warm = sandbox.wait_for("everything", |it| n_replies(it, &sandbox.root()) == 23);
    assert!(warm.watcher.as_ref().unwrap().rescans >= 1, "{:?}", warm.watcher);
    // Folders that were created during the overflow are watched, too.
    let mut late = Transcript::new(&sandbox.root(), "-p7", "s7", &sandbox.home);
    late.prompt("still there?");
    let warm = sandbox.wait_for("an append in a new folder", |it| session(it, "s7").turns == 1);
    sandbox.state = sandbox.path("cold");
    let cold = sandbox.oneshot();
    let facts = |snapshot: &Snapshot| {
        let facts = snapshot.sessions.iter().map(|(id, session)| {
            (id.clone(), session.tokens, session.turns, session.last_message.clone())
        });
        facts.collect::<Vec<_>>()
    };
    assert_eq!(facts(&warm), facts(&cold));
}

/// A watcher in a user namespace with this limit on inotify; `None` if the machine has no user
/// namespaces.
#[cfg(target_os = "linux")]
fn limited_watcher(sandbox: &Sandbox, limit: &str, value: u32) -> Option<Watcher> {
    let file = format!("/proc/sys/user/{limit}");
    let probe = format!("echo {value} > {file}");
    let can = sandbox.command("unshare").args(["-Ur", "sh", "-c", &probe]).output();
    if !can.is_ok_and(|it| it.status.success()) {
        skip(&format!("no user namespaces: polling at the limit of {limit} is not tested"));
        return None;
    }
    let mut command = sandbox.command("unshare");
    let script = format!("echo {value} > {file} && exec \"$0\"");
    command.args(["-Ur", "sh", "-c", &script, env!("CARGO_BIN_EXE_ccstatusd")]);
    Some(sandbox.spawn_watcher(command))
}

#[cfg(target_os = "linux")]
#[track_caller]
fn check_without_events(limit: &str, value: u32, polled: impl Fn(&Sandbox) -> Vec<String>) {
    let sandbox = sandbox();
    let Some(watcher) = limited_watcher(&sandbox, limit, value) else { return };
    let snapshot = sandbox.wait_for("git facts", |snapshot| {
        let pid = snapshot.watcher.as_ref().map(|it| it.pid);
        pid == Some(watcher.id()) && repo_of(snapshot, "s1").is_some()
    });
    let listed = snapshot.watcher.unwrap().polled;
    for dir in polled(&sandbox) {
        assert!(listed.contains(&dir), "{dir} is not among {listed:?}");
    }
    let mut transcript = sandbox.session("s2", &sandbox.home);
    transcript.reply("one");
    sandbox.wait_for("a new session", |it| n_replies(it, &sandbox.root()) == 1);
    transcript.reply("two");
    sandbox.wait_for("an append", |it| n_replies(it, &sandbox.root()) == 2);
    sandbox.sh(&sandbox.path("p"), "git checkout -q -b other");
    sandbox
        .wait_for("a branch", |it| repo_of(it, "s1").unwrap().branch.as_deref() == Some("other"));
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    let snapshot = sandbox.oneshot();
    assert_eq!(repo_of(&snapshot, "s1").unwrap().untracked, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn directories_beyond_the_limit_of_watches_are_polled() {
    check_without_events("max_inotify_watches", 3, |sandbox| {
        let dirs = [sandbox.root().join("projects/-project"), sandbox.path("p/.git")];
        dirs.iter().map(|it| it.to_str().unwrap().to_owned()).collect()
    });
}

#[cfg(target_os = "linux")]
#[test]
fn without_inotify_everything_is_polled() {
    check_without_events("max_inotify_instances", 0, |sandbox| {
        let root = sandbox.root();
        let dirs = [root.clone(), root.join("projects/-project"), sandbox.path("p/.git")];
        dirs.iter().map(|it| it.to_str().unwrap().to_owned()).collect()
    });
}

#[cfg(target_os = "linux")]
#[test]
fn without_inotify_a_oneshot_does_not_wait_for_the_next_poll() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.write_old(Now::read().wall_ms - 5 * HOUR_MS);
    let Some(watcher) = limited_watcher(&sandbox, "max_inotify_instances", 0) else { return };
    let snapshot = sandbox.wait_for("the first snapshot", |it| it.watcher.is_some());
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(watcher.id()));
    // While no session lives, polls are half a minute apart.
    for n in 1..4 {
        transcript.reply("more");
        let output = sandbox.try_oneshot_within(CAP);
        assert!(output.status.success(), "{}", text(&output));
        let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(n_replies(&snapshot, &sandbox.root()), n);
    }
}

// ---- Paths and the log

#[test]
fn a_state_directory_with_a_long_path_works() {
    let mut sandbox = sandbox();
    sandbox.state = sandbox.path(&format!("{}/state", "x".repeat(120)));
    let mut transcript = sandbox.session("s2", &sandbox.home);
    transcript.reply("one");
    let watcher = sandbox.start_watcher();
    sandbox.hint(&ClientFacts {
        session_id: Some("s2".into()),
        transcript_path: Some(transcript.path.to_str().unwrap().into()),
        cost_usd: Some(7.5),
        ..ClientFacts::default()
    });
    sandbox.wait_for("the hint", |snapshot| {
        session(snapshot, "s2").cost.as_ref().is_some_and(|it| it.usd == 7.5)
    });
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    let snapshot = sandbox.oneshot();
    assert_eq!(snapshot.watcher.as_ref().map(|it| it.pid), Some(watcher.id()));
    assert_eq!(repo_of(&snapshot, "s1").unwrap().untracked, 1);
}

#[test]
fn the_directory_of_the_log_file_is_created() {
    let sandbox = sandbox();
    let log = sandbox.path("a/b/ccstatusd.log");
    let mut command = sandbox.ccstatusd();
    command.arg("--log-file").arg(&log);
    let watcher = sandbox.spawn_watcher(command);
    let says = |what: &str| fs_err::read_to_string(&log).is_ok_and(|it| it.contains(what));
    assert!(is_met_within(Duration::from_secs(10), || says("watching")));
    assert_eq!(watcher.log(), "", "the log is also on standard error");
}

#[test]
fn a_relative_log_file_is_in_the_directory_of_the_start() {
    let sandbox = sandbox();
    let dir = sandbox.path("elsewhere");
    fs_err::create_dir(&dir).unwrap();
    fs_err::write(dir.join("log"), [b'x'; 1 << 20]).unwrap();
    let mut command = sandbox.ccstatusd();
    command.current_dir(&dir).args(["--log-file", "log"]);
    let _watcher = sandbox.spawn_watcher(command);
    let says =
        |what: &str| fs_err::read_to_string(dir.join("log")).is_ok_and(|it| it.contains(what));
    assert!(is_met_within(Duration::from_secs(10), || says("watching")));
    assert_eq!(fs_err::metadata(dir.join("log.1")).unwrap().len(), 1 << 20);
}

#[test]
fn an_invalid_log_level_is_refused() {
    let mut sandbox = sandbox();
    sandbox.set_env("CCSTATUSD_LOG", "loud");
    for args in [&[][..], &["--oneshot"]] {
        let out = sandbox.ccstatusd().args(args).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{err}");
        assert!(err.contains("CCSTATUSD_LOG is loud") && err.contains("debug"), "{err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_watcher_whose_log_cannot_be_written_goes_on() {
    let sandbox = sandbox();
    let mut command = sandbox.command("sh");
    command.args(["-c", "exec \"$0\" 2>/dev/full", env!("CARGO_BIN_EXE_ccstatusd")]);
    let watcher = sandbox.spawn_watcher(command);
    let snapshot = sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(watcher.id()));
}

#[test]
fn with_print_it_says_what_it_waits_for_and_then_prints_each_line() {
    let sandbox = Sandbox::with_root();
    let printed = sandbox.path("printed");
    let mut command = sandbox.ccstatusd();
    command.arg("--print").stdout(fs_err::File::create(&printed).unwrap().into_parts().0);
    let watcher = sandbox.spawn_watcher(command);
    sandbox.wait_until("it says what it waits for", || {
        watcher.log().contains("the first comes with a live session")
    });
    sandbox.session("s1", &sandbox.home).reply("one");
    sandbox.wait_until("a line", || fs_err::read_to_string(&printed).unwrap().starts_with("s1 "));
}
