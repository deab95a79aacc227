//! `--oneshot`: without a watcher, with one, and many at the same time.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::Now;
use nix::sys::signal::Signal;

use crate::sandbox::{CAP, Sandbox, n_replies, repo_of, send_signal, session, text};

/// A sandbox with one session, one reply in it, and its repository `p`.
fn sandbox() -> Sandbox {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.prompt("one");
    transcript.reply("two");
    sandbox
}

fn start_many(sandbox: &Sandbox, n: usize) -> Vec<Child> {
    (0..n).map(|_| sandbox.start_oneshot()).collect()
}

/// Starts a `--oneshot` run and waits until git runs for it, which takes so many seconds.
fn start_beside_slow_git(sandbox: &Sandbox, seconds: &str) -> Child {
    sandbox.oneshot();
    sandbox.slow_git(seconds);
    let n_before = sandbox.n_git_calls();
    let child = sandbox.start_oneshot();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() > n_before);
    child
}

#[track_caller]
fn finish(children: Vec<Child>) -> Vec<Snapshot> {
    let finish = |child: Child| {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    children.into_iter().map(finish).collect()
}

#[test]
fn without_a_watcher_it_fetches_everything_and_publishes_it() {
    let sandbox = sandbox();
    let printed = sandbox.oneshot();
    assert_eq!(n_replies(&printed, &sandbox.root()), 1);
    assert_eq!(repo_of(&printed, "s1").unwrap().branch.as_deref(), Some("main"));
    assert_eq!(printed.watcher, None);
    assert_eq!(sandbox.snapshot().unwrap(), printed);
    assert_eq!(sandbox.n_git_calls(), 1);
    let line = fs_err::read_to_string(sandbox.state.join("lines/s1")).unwrap();
    assert!(line.contains("main"), "{line}");
}

#[test]
fn without_a_directory_of_claude_code_it_publishes_an_empty_snapshot() {
    let sandbox = Sandbox::new();
    let snapshot = sandbox.oneshot();
    assert!(snapshot.sessions.is_empty() && snapshot.degraded.is_empty(), "{snapshot:?}");
}

#[test]
fn a_failing_source_keeps_its_last_facts_and_the_exit_code_is_1() {
    let sandbox = sandbox();
    let before = sandbox.oneshot();
    sandbox.failing_git();
    let output = sandbox.try_oneshot();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    let (old, new) = (repo_of(&before, "s1").unwrap(), repo_of(&snapshot, "s1"));
    let new = new.expect("the last facts stay");
    assert_eq!((&new.branch, &new.commit, new.as_of_ms), (&old.branch, &old.commit, old.as_of_ms));
    assert!(new.error.as_ref().is_some_and(|it| it.contains("the stub fails")), "{new:?}");
    assert_eq!(snapshot.degraded.len(), 1);
    assert!(snapshot.degraded[0].source.starts_with("git:"), "{:?}", snapshot.degraded);
}

#[test]
fn a_relative_state_directory_is_refused_except_by_displays() {
    let sandbox = sandbox();
    let output = |args: &[&str]| {
        let mut command = sandbox.ccstatusd();
        command.env("CCSTATUSD_DIR", "state").current_dir(&sandbox.home).args(args);
        command.output().unwrap()
    };
    for args in [&[][..], &["--oneshot"]] {
        let refused = output(args);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused).contains("CCSTATUSD_DIR is state, which is not"), "{refused:?}");
    }
    let shown = output(&["show"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown).contains("no data yet"), "{shown:?}");
    assert!(!sandbox.state.exists());
}

#[test]
fn a_state_directory_that_is_not_private_is_refused() {
    let sandbox = sandbox();
    fs_err::create_dir(&sandbox.state).unwrap();
    fs_err::set_permissions(&sandbox.state, PermissionsExt::from_mode(0o755)).unwrap();
    let output = sandbox.ccstatusd().arg("--oneshot").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && text(&output).contains("hint: chmod 700"), "{output:?}");
}

#[test]
fn with_a_watcher_it_includes_changes_right_before_it() {
    let sandbox = sandbox();
    let mut transcript = sandbox.session("s2", &sandbox.path("p"));
    let watcher = sandbox.start_watcher();
    for n in 1..=10 {
        fs_err::write(sandbox.path(&format!("p/new{n}")), "").unwrap();
        transcript.reply("more");
        let snapshot = sandbox.oneshot();
        assert_eq!(repo_of(&snapshot, "s2").unwrap().untracked, n);
        assert_eq!(session(&snapshot, "s2").tokens.output, 42 * n);
        assert_eq!(
            snapshot.watcher.map(|it| it.pid),
            Some(watcher.id()),
            "it did not ask the watcher"
        );
    }
}

#[test]
fn with_a_stopped_watcher_it_logs_once_that_it_waits() {
    let sandbox = sandbox();
    let watcher = sandbox.start_watcher();
    watcher.signal(Signal::SIGSTOP);
    let log = sandbox.path("oneshot.log");
    let stderr = fs_err::File::create(&log).unwrap().into_parts().0;
    let mut command = sandbox.ccstatusd();
    let mut child = command.arg("--oneshot").stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let logged = || fs_err::read_to_string(&log).unwrap();
    sandbox.wait_until("a message", || logged().contains("waiting for the watcher to answer"));
    watcher.signal(Signal::SIGCONT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(logged().lines().count(), 1, "{}", logged());
}

#[cfg(target_os = "linux")]
#[test]
fn with_a_watcher_that_stays_stopped_it_fails_and_names_the_process() {
    let sandbox = sandbox();
    let watcher = sandbox.start_watcher();
    watcher.signal(Signal::SIGSTOP);
    let output = sandbox.try_oneshot_within(Duration::from_secs(20));
    watcher.signal(Signal::SIGCONT);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let what_to_do = format!("kill -CONT {}", watcher.id());
    assert!(text(&output).contains(&what_to_do), "{}", text(&output));
}

#[test]
fn a_watcher_that_starts_beside_a_stopped_one_does_not_wait_for_it() {
    let sandbox = sandbox();
    sandbox.slow_git("1");
    let stopped = sandbox.start_oneshot();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() == 1);
    send_signal(stopped.id(), Signal::SIGSTOP);
    let watcher = sandbox.start_watcher();
    assert!(watcher.log().contains(&format!("process {} fetches", stopped.id())));
    send_signal(stopped.id(), Signal::SIGCONT);
    // It finds the watcher, and leaves publishing to it.
    for snapshot in finish(vec![stopped]) {
        assert_eq!(snapshot.watcher.map(|it| it.pid), Some(watcher.id()));
    }
    let published = sandbox.snapshot().unwrap();
    assert_eq!(published.watcher.map(|it| it.pid), Some(watcher.id()));
}

/// The first run reads the transcript before the change, so its snapshot does not do for the
/// second.
#[test]
fn one_that_waits_for_another_includes_changes_right_before_it() {
    let sandbox = sandbox();
    let mut transcript = sandbox.session("s2", &sandbox.path("p"));
    transcript.reply("one");
    sandbox.slow_git("1");
    let first = sandbox.start_oneshot();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() == 1);
    transcript.reply("two");
    let snapshot = sandbox.oneshot();
    assert_eq!(session(&snapshot, "s2").tokens.output, 2 * 42);
    finish(vec![first]);
}

#[test]
fn with_a_watcher_each_one_runs_git_once() {
    let sandbox = sandbox();
    let _watcher = sandbox.start_watcher();
    // It returns when the watcher has done all work that its start caused.
    sandbox.oneshot();
    let n_before = sandbox.n_git_calls();
    for _ in 0..5 {
        sandbox.oneshot();
    }
    // The sixth waits for the work that the fifth may have left.
    sandbox.oneshot();
    assert_eq!(sandbox.n_git_calls() - n_before, 6, "{:#?}", sandbox.git_log());
}

#[test]
fn with_a_watcher_many_at_the_same_time_are_all_answered() {
    let sandbox = sandbox();
    let watcher = sandbox.start_watcher();
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    for snapshot in finish(start_many(&sandbox, 20)) {
        assert_eq!(repo_of(&snapshot, "s1").unwrap().untracked, 1);
        assert_eq!(snapshot.watcher.map(|it| it.pid), Some(watcher.id()));
    }
    let left: Vec<_> = fs_err::read_dir(sandbox.state.join("sync")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A caller must not wait until the repository has rested after its last fetch, which is nine times
/// as long as the fetch.
#[test]
fn one_that_starts_while_a_slow_git_runs_waits_for_only_one_more_run() {
    let sandbox = sandbox();
    let _watcher = sandbox.start_watcher();
    sandbox.oneshot();
    sandbox.slow_git("1.5");
    let first = sandbox.start_oneshot();
    let n_before = sandbox.n_git_calls();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() > n_before);
    fs_err::write(sandbox.path("p/new"), "").unwrap();
    let output = sandbox.try_oneshot_within(CAP);
    assert!(output.status.success(), "{}", text(&output));
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(repo_of(&snapshot, "s1").unwrap().untracked, 1);
    finish(vec![first]);
}

#[test]
fn many_without_a_watcher_run_git_one_at_a_time_and_share_its_result() {
    let sandbox = sandbox();
    sandbox.slow_git("0.3");
    let snapshots = finish(start_many(&sandbox, 20));
    assert!(snapshots.iter().all(|it| repo_of(it, "s1").is_some()));
    let log = sandbox.git_log();
    let n_calls = sandbox.n_git_calls();
    for pair in log.chunks(2) {
        let [start, end] = pair else { panic!("{log:#?}") };
        let pid = start.split(' ').nth(1).unwrap();
        assert_eq!(*end, format!("end {pid}"), "two ran at the same time: {log:#?}");
    }
    // Callers that began before the first run ended share a result; a few may begin later.
    assert!(n_calls <= 5, "{n_calls} runs for 20 callers");
}

#[test]
fn one_that_is_killed_while_it_waits_leaves_no_cookie() {
    let sandbox = sandbox();
    let _watcher = sandbox.start_watcher();
    let mut doomed = start_beside_slow_git(&sandbox, "0.5");
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    fs_err::remove_file(sandbox.path("slow")).unwrap();
    sandbox.oneshot();
    sandbox.wait_until("its cookie is gone", || {
        fs_err::read_dir(sandbox.state.join("sync")).unwrap().count() == 0
    });
}

/// As with Ctrl-Z and `fg`: the kernel then interrupts the system call that waits.
#[cfg(target_os = "linux")]
#[test]
fn one_that_is_stopped_while_it_waits_goes_on_waiting() {
    let sandbox = sandbox();
    let _watcher = sandbox.start_watcher();
    let waiting = start_beside_slow_git(&sandbox, "2");
    let status = format!("/proc/{}/status", waiting.id());
    for _ in 0..3 {
        for (signal, state) in [(Signal::SIGSTOP, "\tT ("), (Signal::SIGCONT, "\tS (")] {
            send_signal(waiting.id(), signal);
            sandbox.wait_until("it has the signal", || {
                let status = fs_err::read_to_string(&status).unwrap();
                status.contains(state) || status.contains("\tZ (")
            });
        }
    }
    finish(vec![waiting]);
}

/// Its git ends with it, and both release the lock.
#[test]
fn one_that_is_killed_while_it_fetches_does_not_block_the_next() {
    let sandbox = sandbox();
    sandbox.slow_git("30");
    let mut doomed = sandbox.start_oneshot();
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() == 1);
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    fs_err::remove_file(sandbox.path("slow")).unwrap();
    let snapshot = sandbox.oneshot();
    assert!(repo_of(&snapshot, "s1").is_some());
    sandbox.wait_until("nothing is left", || sandbox.processes().is_empty());
}

/// The snapshot that it published before it was killed was not complete.
#[test]
fn those_that_wait_for_one_that_is_killed_get_a_complete_snapshot() {
    let sandbox = sandbox();
    sandbox.slow_git("30");
    let mut children = start_many(&sandbox, 6);
    sandbox.wait_until("a slow git", || sandbox.n_git_calls() == 1);
    let holder = fs_err::read_to_string(sandbox.state.join("fetch.lock")).unwrap();
    let holder: u32 = holder.trim().parse().unwrap();
    let at = children.iter().position(|it| it.id() == holder).expect("one of the children fetches");
    fs_err::remove_file(sandbox.path("slow")).unwrap();
    let mut doomed = children.remove(at);
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    for snapshot in finish(children) {
        assert!(repo_of(&snapshot, "s1").is_some(), "{snapshot:#?}");
    }
}

#[test]
fn one_whose_watcher_ends_while_it_waits_fetches_by_itself() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let sandbox = sandbox();
        let mut watcher = sandbox.start_watcher();
        sandbox.oneshot();
        sandbox.slow_git("30");
        fs_err::write(sandbox.path("p/new"), "").unwrap();
        let n_before = sandbox.n_git_calls();
        let waiting = vec![sandbox.start_oneshot()];
        sandbox.wait_until("a slow git", || sandbox.n_git_calls() > n_before);
        fs_err::remove_file(sandbox.path("slow")).unwrap();
        watcher.signal(signal);
        watcher.wait(Duration::from_secs(2));
        for snapshot in finish(waiting) {
            assert_eq!(repo_of(&snapshot, "s1").unwrap().untracked, 1, "after {signal}");
        }
    }
}

#[test]
fn a_snapshot_from_the_future_is_not_taken_for_fresh() {
    let sandbox = sandbox();
    let mut snapshot = sandbox.oneshot();
    snapshot.published_at_ms += 3_600_000;
    let bytes = serde_json::to_vec(&snapshot).unwrap();
    fs_err::write(sandbox.state.join("snapshot.json"), bytes).unwrap();
    let repo = sandbox.path("p");
    sandbox.session("s2", &repo).reply("more");
    assert_eq!(n_replies(&sandbox.oneshot(), &sandbox.root()), 2);
}

#[test]
fn with_a_watcher_whose_cookie_folder_was_removed_it_is_answered() {
    let sandbox = sandbox();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("the session", |it| it.sessions.len() == 1);
    for _ in 0..2 {
        fs_err::remove_dir_all(sandbox.state.join("sync")).unwrap();
        let answered = sandbox.oneshot();
        assert!(answered.watcher.is_some());
    }
}

#[test]
fn the_repository_of_the_latest_session_is_fetched_even_if_it_has_ended() {
    let sandbox = sandbox();
    let mut transcript = sandbox.session("s1", &sandbox.path("p"));
    transcript.write_old(Now::read().wall_ms - 3 * 3_600_000);
    let first = sandbox.oneshot();
    assert!(!session(&first, "s1").live, "{first:?}");
    assert_eq!(repo_of(&first, "s1").unwrap().branch.as_deref(), Some("main"));
    sandbox.sh(&sandbox.path("p"), "git checkout -qb other");
    assert_eq!(repo_of(&sandbox.oneshot(), "s1").unwrap().branch.as_deref(), Some("other"));
}

#[test]
fn cookies_of_killed_ones_are_removed_by_the_next_start() {
    let sandbox = sandbox();
    drop(sandbox.start_watcher());
    let sync = sandbox.state.join("sync");
    let leave = |name: &str| {
        drop(std::os::unix::net::UnixDatagram::bind(sync.join(name)).unwrap());
    };
    let left = || fs_err::read_dir(&sync).unwrap().count();
    leave("1");
    leave("2");
    assert_eq!(left(), 2);
    sandbox.oneshot();
    assert_eq!(left(), 0, "by a --oneshot");
    leave("1");
    let _alive = std::os::unix::net::UnixDatagram::bind(sync.join("3")).unwrap();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_until("by a watcher", || left() == 1);
}

#[test]
fn a_watcher_that_starts_runs_git_once() {
    let sandbox = sandbox();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    // A second run would start within a second, for which changes are held at most.
    ccstatusd::time::pause(Duration::from_millis(1500));
    assert_eq!(sandbox.n_git_calls(), 1, "{:#?}", sandbox.git_log());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error_but_a_closed_pipe_is_not() {
    let sandbox = sandbox();
    let run = |stdout: Stdio| {
        let mut command = sandbox.ccstatusd();
        command.args(["--oneshot", "--json"]).stdout(stdout).output().unwrap()
    };
    let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = run(full.into_parts().0.into());
    let err = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(2) && err.contains("standard output"), "{full:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = run(writer.into());
    assert!(gone.status.success() && gone.stderr.is_empty(), "{gone:?}");
}
