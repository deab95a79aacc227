//! Running programs: hostile ones too end within their bounds, and no process of theirs survives.
//! This looks into `/proc`, so it runs only on Linux.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ccstatusd::fetch::exec::{Invocation, RunError, RunLimits, Runner};
use ccstatusd::store::lock::FetchLock;
use ccstatusd::time::Now;
use nix::sys::signal::Signal;

use crate::sandbox::{
    CAP, EndAtLast, OTHER_USER, fetch_lock, install_become_root, is_met_within, processes_with,
    send_signal, write_script, zombies_of,
};

const GUARD: &str = env!("CARGO_BIN_EXE_ccstatusd");
const MARKER: &str = "CCSTATUSD_TEST_MARKER";

/// How long a run may take beyond deadline and grace.
const MARGIN: Duration = Duration::from_secs(3);

/// For programs that must be ended.
const SHORT: RunLimits = limits(300, 100);
/// For programs that end by themselves, long before this deadline.
const LONG: RunLimits = limits(10_000, 100);

const fn limits(deadline_ms: u64, grace_ms: u64) -> RunLimits {
    RunLimits {
        deadline: Duration::from_millis(deadline_ms),
        grace: Duration::from_millis(grace_ms),
        max_output: 100_000,
    }
}

/// Runs the script, and checks the result, the time it took, and that no process and no descriptor
/// is left.
#[track_caller]
fn check(script: &str, limits: RunLimits, expected: Result<&str, &str>) {
    check_program("sh", &["-c", script], limits, expected);
}

#[track_caller]
fn check_program(program: &str, args: &[&str], limits: RunLimits, expected: Result<&str, &str>) {
    let marker = new_marker();
    let what = Invocation {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        dir: None,
        env: vec![(MARKER.into(), marker.clone().into())],
        input: Vec::new(),
    };
    let before = open_descriptors();

    let tmp = tempfile::tempdir().unwrap();
    let lock = lock(tmp.path());
    let started_at = Now::read().mono;
    let res = runner().run(&lock, &what, limits);
    let wall = Now::read().mono - started_at;
    drop(lock);
    let survivors = marked(&marker);
    let zombies = zombies();
    let opened: BTreeSet<String> = &open_descriptors() - &before;

    let res = res.map(|it| String::from_utf8(it).unwrap()).map_err(|it| it.to_string());
    assert_eq!(res.as_deref().map_err(String::as_str), expected);
    let promised = limits.deadline + limits.grace + MARGIN;
    assert!(wall <= promised, "took {wall:?}, promised {promised:?}");
    assert_eq!(survivors, [] as [String; 0], "survivors");
    // Other tests in this process may have zombies and descriptors too, but only for a moment.
    eventually(
        || zombies.intersection(&self::zombies()).copied().collect::<Vec<_>>(),
        |it| it.is_empty(),
    );
    eventually(
        || opened.intersection(&open_descriptors()).cloned().collect::<Vec<_>>(),
        |it| it.is_empty(),
    );
}

#[test]
fn output_comes_back_whole() {
    check("echo one; echo two >&2; echo three", LONG, Ok("one\nthree\n"));
    let all = "x".repeat(100_000);
    check("head -c 100000 /dev/zero | tr '\\0' x", LONG, Ok(&all));
}

#[test]
fn an_incomplete_output_is_returned_as_it_is() {
    check(r#"printf '{"half":'"#, LONG, Ok(r#"{"half":"#));
}

#[test]
fn a_program_without_output_times_out() {
    check("exec sleep 60", SHORT, Err("timed out after 0.3 s"));
}

#[test]
fn a_program_that_ends_on_sigterm_has_timed_out_all_the_same() {
    check("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done", SHORT, TIMED_OUT);
}

#[test]
fn a_program_that_ignores_sigterm_is_killed() {
    check("trap '' TERM; while :; do sleep 60; done", SHORT, TIMED_OUT);
}

#[test]
fn a_program_that_closes_its_outputs_and_stays_times_out() {
    check("exec >&- 2>&-; sleep 60", SHORT, TIMED_OUT);
}

#[test]
fn a_program_that_stops_itself_is_ended() {
    check("kill -STOP $$; sleep 60", SHORT, TIMED_OUT);
    check("trap '' TERM; kill -STOP $$; sleep 60", SHORT, TIMED_OUT);
}

#[test]
fn a_stopped_program_still_gets_its_grace() {
    let tmp = tempfile::tempdir().unwrap();
    let script = "trap 'echo bye > said; exit' TERM; kill -STOP $$; sleep 60";
    let what = Invocation { dir: Some(tmp.path().to_owned()), ..sh(script) };
    let res = runner().run(&lock(tmp.path()), &what, limits(300, 10_000));
    assert!(matches!(res, Err(RunError::TimedOut { .. })), "{res:?}");
    assert_eq!(fs_err::read_to_string(tmp.path().join("said")).unwrap(), "bye\n");
}

#[test]
fn a_child_left_behind_neither_delays_nor_survives() {
    check("sleep 60 & echo done", LONG, Ok("done\n"));
}

#[test]
fn a_child_that_left_the_session_neither_delays_nor_survives() {
    check("setsid sleep 60 & echo done", LONG, Ok("done\n"));
    check("setsid sh -c 'trap \"\" TERM; sleep 60' & sleep 60", SHORT, TIMED_OUT);
}

#[test]
fn fifty_daemons_do_not_survive() {
    let fork =
        "i=0; while [ $i -lt 50 ]; do (setsid sh -c 'sleep 60 & sleep 60' &); i=$((i+1)); done";
    check(&format!("{fork}; echo done"), LONG, Ok("done\n"));
    check(&format!("{fork}; sleep 60"), limits(1500, 100), Err("timed out after 1.5 s"));
}

#[test]
fn a_program_that_writes_for_ever_is_ended_at_once() {
    let started_at = Now::read().mono;
    check("yes", LONG, TOO_MUCH);
    // This one does not notice that its pipe is closed.
    check("trap '' TERM PIPE; while :; do echo yes; done 2>/dev/null", LONG, TOO_MUCH);
    assert!(Now::read().mono - started_at < LONG.deadline, "not before the deadline");
}

#[test]
fn a_program_that_writes_errors_for_ever_is_ended_at_once() {
    check("yes >&2", LONG, TOO_MUCH);
}

#[test]
fn one_byte_too_many_is_too_much() {
    check("head -c 100001 /dev/zero", LONG, TOO_MUCH);
}

#[test]
fn a_signal_is_distinguished_from_an_exit_code() {
    check("kill -KILL 0", LONG, Err("was killed by signal 9"));
    check("exit 137", LONG, Err("failed with exit code 137"));
    check("kill -40 $$", LONG, Err("was killed by a signal"));
}

#[test]
fn an_exit_code_comes_with_the_standard_error() {
    check(
        "echo out; echo 'fatal: no' >&2; exit 124",
        LONG,
        Err("failed with exit code 124: fatal: no"),
    );
}

#[test]
fn a_program_that_cannot_be_started_is_named_with_the_reason() {
    check_program("no-such-program", &[], LONG, Err("there is no program no-such-program"));
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("file");
    fs_err::write(&file, "#!/bin/sh\n").unwrap();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    let why = format!("cannot start {file}: Permission denied (os error 13)");
    check_program(file, &[], LONG, Err(&why));
}

#[test]
fn a_missing_directory_is_not_a_missing_program() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("gone");
    let what = Invocation { dir: Some(dir.clone()), ..sh("true") };
    match runner().run(&lock(tmp.path()), &what, LONG) {
        Err(RunError::NoDirectory { dir: named, .. }) => assert_eq!(named, dir),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_finds_its_input_and_its_end_and_may_leave_it_unread() {
    let tmp = tempfile::tempdir().unwrap();
    let run = |script: &str, input: Vec<u8>| {
        let what = Invocation { input, ..sh(script) };
        runner().run(&lock(tmp.path()), &what, LONG)
    };
    let most = 64 << 10;
    for n_input in [1, 4096, most] {
        let output = run("wc -c", b"x".repeat(n_input)).unwrap();
        assert_eq!(String::from_utf8(output).unwrap().trim(), n_input.to_string());
    }
    let output = run("wc -c", b"x".repeat(most + 1)).unwrap();
    assert_eq!(String::from_utf8(output).unwrap().trim(), most.to_string(), "more is cut");
    assert!(run("exec <&-; echo done", b"x".repeat(most)).is_ok());
    assert!(run("true", b"x".repeat(most)).is_ok());
    assert!(run("sleep 60 & exit 0", b"x".repeat(most)).is_ok());
}

#[test]
fn a_program_runs_in_its_directory() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = fs_err::canonicalize(tmp.path()).unwrap();
    let what = Invocation { dir: Some(dir.clone()), ..sh("pwd -P") };
    let output = runner().run(&lock(tmp.path()), &what, LONG).unwrap();
    assert_eq!(String::from_utf8(output).unwrap().trim_end(), dir.to_str().unwrap());
}

#[test]
fn a_program_sees_only_the_environment_it_needs() {
    let tmp = tempfile::tempdir().unwrap();
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap();
    let inherited = [("NOTIFY_SOCKET", "/x"), ("GIT_DIR", "/x"), ("HOME", "/h"), ("LC_ALL", "de")];
    let inherited = inherited.map(|(name, value)| (name.into(), value.into()));
    let runner = Runner::new(GUARD.into(), inherited.into_iter().chain([path.clone()]));
    let what = Invocation {
        program: "env".into(),
        args: vec![],
        dir: None,
        env: vec![("LC_ALL".into(), "C".into())],
        input: Vec::new(),
    };
    let output = runner.run(&lock(tmp.path()), &what, LONG).unwrap();
    let output = String::from_utf8(output).unwrap();
    let seen: BTreeSet<&str> = output.lines().collect();
    let path = format!("PATH={}", path.1.to_str().unwrap());
    assert_eq!(seen, BTreeSet::from(["HOME=/h", "LC_ALL=C", &path]));
}

#[test]
fn a_program_in_the_directory_it_runs_in_is_not_found() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("tree");
    fs_err::create_dir_all(dir.join("bin")).unwrap();
    for name in ["id", "bin/id"] {
        crate::sandbox::write_script(&dir.join(name), "echo the tree's own");
    }
    let what = |program: &str| Invocation {
        program: program.into(),
        args: vec!["-u".into()],
        dir: Some(dir.clone()),
        env: Vec::new(),
        input: Vec::new(),
    };
    let uid = format!("{}\n", nix::unistd::getuid());
    for path in [".:/usr/bin:/bin", ":/usr/bin:/bin", "bin:/usr/bin:/bin", "/usr/bin:/bin:", ""] {
        let runner = Runner::new(GUARD.into(), [("PATH".into(), path.into())]);
        let output = runner.run(&lock(tmp.path()), &what("id"), LONG).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), uid, "PATH={path}");
        // Nor by what the program starts itself.
        let mut nested = what("sh");
        nested.args = vec!["-c".into(), "id -u".into()];
        let output = runner.run(&lock(tmp.path()), &nested, LONG).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), uid, "nested, PATH={path}");
    }
}

#[test]
fn a_program_has_no_input_no_terminal_and_no_descriptor_of_ours() {
    check("cat", LONG, Ok(""));
    check("readlink /proc/self/fd/0", LONG, Ok("/dev/null\n"));
    // The fourth is that of the listing itself.
    check("ls /proc/self/fd", LONG, Ok("0\n1\n2\n3\n"));
    // A new session has no terminal until its leader opens one.
    let ours = nix::unistd::getsid(None).unwrap();
    check(
        &format!("[ $(cut -d' ' -f6 /proc/self/stat) != {ours} ] && echo other"),
        LONG,
        Ok("other\n"),
    );
}

/// Lists of processes show this name, and `pkill` takes it.
#[cfg(target_os = "linux")]
#[test]
fn a_guard_is_called_by_its_name() {
    check("cat /proc/$PPID/comm", LONG, Ok("ccstatusd-guard\n"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "starts a guard as a careless parent would")]
fn descriptors_that_a_parent_left_open_are_closed() {
    let tmp = tempfile::tempdir().unwrap();
    let (lifeline, guards_end) = UnixStream::pair().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"exec 7</dev/null; exec "$0" "$@""#, GUARD])
        .args(["__guard", "10000", "100"])
        .arg(tmp.path().join("guard.lock"))
        .args(["0", "4000000000", "0", "", "ls", "/proc/self/fd"])
        .stdin(OwnedFd::from(guards_end))
        .output()
        .unwrap();
    drop(lifeline);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n1\n2\n3\n");
}

#[test]
fn a_program_that_stops_its_guard_is_ended_all_the_same() {
    let marker = new_marker();
    let tmp = tempfile::tempdir().unwrap();
    let env = vec![(MARKER.into(), marker.clone().into())];
    let what =
        Invocation { env, ..sh("trap '' TERM; kill -STOP $PPID; setsid sleep 60 & sleep 60") };
    let started_at = Now::read().mono;
    let res = runner().run(&lock(tmp.path()), &what, SHORT);
    let wall = Now::read().mono - started_at;
    assert!(matches!(res, Err(RunError::Stuck { .. })), "{res:?}");
    assert!(wall <= SHORT.deadline + SHORT.grace + MARGIN, "took {wall:?}");
    eventually(|| marked(&marker), |it| it.is_empty());
    let zombies = zombies();
    eventually(
        || zombies.intersection(&self::zombies()).copied().collect::<Vec<_>>(),
        |it| it.is_empty(),
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "starts a guard to send it a signal")]
fn a_signal_to_a_guard_ends_its_program() {
    let tmp = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT", "HUP"] {
        let marker = new_marker();
        let (lifeline, guards_end) = UnixStream::pair().unwrap();
        let mut guard = Command::new(GUARD)
            .args(["__guard", "60000", "100"])
            .arg(tmp.path().join("guard.lock"))
            .args(["0", "4000000000", "0", "", "sh", "-c"])
            .arg("trap '' TERM; setsid sleep 60 & sleep 60")
            .env(MARKER, &marker)
            .stdin(OwnedFd::from(guards_end))
            .spawn()
            .unwrap();
        eventually(|| marked(&marker), |it| n_sleeping(it) == 2);
        for _ in 0..2 {
            Command::new("kill").args(["-s", signal, &guard.id().to_string()]).status().unwrap();
        }
        guard.wait().unwrap();
        assert_eq!(marked(&marker), [] as [String; 0], "{signal}");
        drop(lifeline);
    }
}

#[test]
fn killing_the_watcher_ends_its_fetch() {
    check_killed("exec::a_fetch_without_end");
}

#[test]
fn killing_the_watcher_ends_its_fetch_even_if_that_has_stopped_its_guard() {
    check_killed("exec::a_fetch_that_stops_its_guard");
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "starts itself, as a watcher to be killed")]
fn check_killed(fetch: &str) {
    let marker = new_marker();
    let mut watcher = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", fetch])
        .env(MARKER, &marker)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| marked(&marker), |it| n_sleeping(it) == 3);
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    eventually(|| marked(&marker), |it| it.is_empty());
}

#[test]
#[ignore = "never ends; killing_the_watcher_ends_its_fetch runs it in a process of its own"]
fn a_fetch_without_end() {
    fetch_for_ever("trap '' TERM; setsid sleep 60 & sleep 60 & sleep 60");
}

#[test]
#[ignore = "never ends; killing_the_watcher_ends_its_fetch runs it in a process of its own"]
fn a_fetch_that_stops_its_guard() {
    fetch_for_ever("kill -STOP $PPID; trap '' TERM; setsid sleep 60 & sleep 60 & sleep 60");
}

fn fetch_for_ever(script: &str) {
    let tmp = tempfile::tempdir().unwrap();
    let marker = std::env::vars_os().find(|(name, _)| name == MARKER).expect("run by a test");
    let what = Invocation { env: vec![marker], ..sh(script) };
    runner().run(&lock(tmp.path()), &what, limits(60_000, 100)).unwrap();
}

// ---- What cannot be killed

/// Runs programs under guards of another user, who cannot kill what becomes root.
struct Unkillable {
    tmp: tempfile::TempDir,
    lock: FetchLock,
    runner: Runner,
    /// The command line of `become-root`.
    become_root: String,
    marker: String,
    _end: EndAtLast,
}

impl Unkillable {
    fn new() -> Option<Unkillable> {
        let tmp = tempfile::tempdir().unwrap();
        let lock = lock(tmp.path());
        for dir in [tmp.path(), &tmp.path().join("state")] {
            std::os::unix::fs::chown(dir, Some(OTHER_USER), Some(OTHER_USER)).ok();
        }
        let become_root = install_become_root(tmp.path())?.join(" ");
        let guard = tmp.path().join("guard");
        let user = format!("--reuid {OTHER_USER} --regid {OTHER_USER} --clear-groups");
        write_script(&guard, &format!("#!/bin/sh\nexec setpriv {user} '{GUARD}' \"$@\"\n"));
        let marker = new_marker();
        Some(Unkillable {
            tmp,
            lock,
            runner: Runner::new(guard, std::env::vars_os()).for_source(1),
            become_root,
            _end: EndAtLast(format!("{MARKER}={marker}")),
            marker,
        })
    }

    fn invocation(&self, script: &str) -> Invocation {
        let env = vec![(MARKER.into(), self.marker.clone().into())];
        let dir = Some(self.tmp.path().to_owned());
        Invocation { env, dir, ..sh(&script.replace("become-root", &self.become_root)) }
    }

    /// Runs the script. Checks that this takes no longer than promised.
    #[track_caller]
    fn run(&self, runner: &Runner, script: &str, limits: RunLimits) -> Result<Vec<u8>, RunError> {
        let started_at = Now::read().mono;
        let res = runner.run(&self.lock, &self.invocation(script), limits);
        let wall = Now::read().mono - started_at;
        assert!(wall <= limits.deadline + limits.grace + MARGIN, "took {wall:?}");
        res
    }

    /// Runs the script, which must leave a process that cannot be killed. Returns the ids of that
    /// process and of its guard.
    #[track_caller]
    fn run_stuck(&self, script: &str) -> (u32, u32) {
        // Time enough to become root.
        let (process, guard) = match self.run(&self.runner, script, limits(1000, 100)) {
            Err(RunError::Stuck { process }) => (process, parent(process)),
            other => panic!("{other:?}"),
        };
        let left = marked(&self.marker);
        assert!(
            left.iter().any(|it| it.starts_with(&format!("{guard}: ")) && is_guard(it)),
            "{left:?}"
        );
        (process, guard)
    }

    /// The ids of the sleeping programs.
    fn sleeping(&self) -> Vec<u32> {
        let all = marked(&self.marker);
        all.iter().filter(|it| it.contains(": sleep ")).map(|it| id(it)).collect()
    }

    /// Checks that the source is not started while its last run is stuck with `process`.
    #[track_caller]
    fn check_locked(&self, process: u32) {
        let before = marked(&self.marker);
        match self.run(&self.runner, "become-root sleep 60", SHORT) {
            Err(RunError::StillRunning { process: named }) => assert_eq!(named, process),
            other => panic!("{other:?}"),
        }
        assert_eq!(marked(&self.marker), before, "the guard that found the lock held has ended");
    }

    /// Checks that nothing is left, and the source runs again.
    #[track_caller]
    fn check_free(&self) {
        eventually(|| marked(&self.marker), |it| it.is_empty());
        eventually(zombies, |it| it.is_empty());
        assert_eq!(self.run(&self.runner, "echo again", LONG).unwrap(), b"again\n");
    }
}

fn is_guard(process: &str) -> bool {
    process.contains("__guard")
}

fn id(process: &str) -> u32 {
    process.split(':').next().unwrap().parse().unwrap()
}

fn parent(pid: u32) -> u32 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|it| it.strip_prefix("PPid:")).unwrap();
    parent.trim().parse().unwrap()
}

#[test]
fn what_cannot_be_killed_keeps_its_guard_and_is_not_started_again() {
    let Some(test) = Unkillable::new() else { return };
    let (process, guard) = test.run_stuck("exec become-root sleep 60");
    assert_eq!(test.sleeping(), [process]);
    for _ in 0..3 {
        test.check_locked(process);
    }
    let other = test.runner.for_source(2);
    assert_eq!(test.run(&other, "echo other", LONG).unwrap(), b"other\n", "other sources are free");
    assert_eq!(parent(process), guard);
    for output in ["1", "2"] {
        let target = fs_err::read_link(format!("/proc/{guard}/fd/{output}"));
        assert!(target.is_err(), "the guard keeps a pipe open: {target:?}");
    }
    send_signal(process, Signal::SIGKILL);
    test.check_free();
    let files = fs_err::read_dir(test.tmp.path().join("state")).unwrap();
    let mut files: Vec<_> = files.map(|it| it.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(
        files,
        ["fetch.lock", "fitted", "guard.lock", "lines", "plain", "sync"],
        "no run leaves a file"
    );
    assert_eq!(fs_err::metadata(test.tmp.path().join("state/guard.lock")).unwrap().len(), 0);
}

#[test]
fn a_grandchild_that_left_and_cannot_be_killed_is_guarded_too() {
    let Some(test) = Unkillable::new() else { return };
    let script = "setsid become-root sh -c 'touch root; exec sleep 60' &
                  until [ -e root ]; do sleep 0.01; done; echo done";
    let started_at = Now::read().mono;
    let process = match test.runner.run(&test.lock, &test.invocation(script), limits(500, 60_000)) {
        Err(RunError::Stuck { process }) => process,
        other => panic!("{other:?}"),
    };
    let wall = Now::read().mono - started_at;
    assert!(wall < CAP, "the verdict comes at the deadline, and not after {wall:?}");
    test.check_locked(process);
    send_signal(process, Signal::SIGKILL);
    test.check_free();
}

#[test]
fn a_guard_stays_until_the_last_of_many_that_cannot_be_killed() {
    let Some(test) = Unkillable::new() else { return };
    let nested = "sleep 60 & setsid sleep 60 & (sleep 60 &) ; sleep 60";
    let (_, guard) = test.run_stuck(&format!("become-root sh -c '{nested}'"));
    for n_left in (0..4).rev() {
        // The shell is the guard's child or grandchild; its children become the guard's own.
        let process = test.sleeping()[0];
        send_signal(process, Signal::SIGKILL);
        eventually(|| test.sleeping(), |it| it.len() <= n_left);
        if n_left > 0 {
            let left = marked(&test.marker);
            assert!(left.iter().any(|it| is_guard(it) && id(it) == guard), "{left:?}");
        }
    }
    test.check_free();
}

#[test]
fn what_a_stuck_program_leaves_is_killed_as_soon_as_the_guard_adopts_it() {
    let Some(test) = Unkillable::new() else { return };
    // The child is the user's own, in a session of its own, and only its parent is root.
    let user = format!("--reuid={OTHER_USER} --regid={OTHER_USER} --clear-groups");
    let script = format!("become-root sh -c 'setsid setpriv {user} sleep 60 & sleep 61; :'");
    test.run_stuck(&script);
    let shells = || {
        let all = marked(&test.marker);
        all.iter().filter(|it| it.contains(": sh -c setsid")).map(|it| id(it)).collect::<Vec<_>>()
    };
    assert_eq!((shells().len(), test.sleeping().len()), (1, 2), "{:?}", marked(&test.marker));
    send_signal(shells()[0], Signal::SIGKILL);
    eventually(|| test.sleeping(), |it| it.len() == 1);
    let last = test.sleeping()[0];
    send_signal(last, Signal::SIGKILL);
    test.check_free();
}

#[test]
fn signals_do_not_end_a_guard_that_waits() {
    let Some(test) = Unkillable::new() else { return };
    let (process, guard) = test.run_stuck("exec become-root sleep 60");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        for _ in 0..2 {
            send_signal(guard, signal);
            test.check_locked(process);
        }
    }
    assert_eq!(parent(process), guard);
    send_signal(process, Signal::SIGKILL);
    test.check_free();
}

#[test]
fn a_run_waits_for_the_guard_of_a_killed_watcher() {
    let tmp = tempfile::tempdir().unwrap();
    let lock = lock(tmp.path());
    let marker = new_marker();
    let env = vec![(MARKER.into(), marker.clone().into())];
    let ends_slowly = "trap 'sleep 0.3; exit' TERM; sleep 60 & wait";
    let slow = Invocation { env, ..sh(ends_slowly) };
    let limits = limits(10_000, 5_000);
    std::thread::scope(|scope| {
        scope.spawn(|| runner().run(&lock, &slow, limits));
        eventually(|| marked(&marker), |it| n_sleeping(it) == 1);
        // The guard ends its program as if its watcher was killed.
        let all = marked(&marker);
        let guard = all.iter().find(|it| is_guard(it)).unwrap();
        send_signal(id(guard), Signal::SIGTERM);
        let output = runner().run(&lock, &sh("echo again"), limits).unwrap();
        assert_eq!(output, b"again\n");
    });
}

#[test]
fn without_the_lock_of_its_source_nothing_runs() {
    let tmp = tempfile::tempdir().unwrap();
    let lock = lock(tmp.path());
    let file = tmp.path().join("state/guard.lock");
    fs_err::create_dir(&file).unwrap();
    let what = Invocation { dir: Some(tmp.path().to_owned()), ..sh("touch ran") };
    let error = runner().run(&lock, &what, LONG).unwrap_err().to_string();
    let expected = format!("cannot be run: cannot lock {}: Is a directory", file.display());
    assert!(error.starts_with(&expected), "{error}");
    assert!(!tmp.path().join("ran").exists());
    // A file that was left behind, with whatever in it, is no lock.
    fs_err::remove_dir(&file).unwrap();
    fs_err::write(&file, "1\n").unwrap();
    runner().run(&lock, &what, LONG).unwrap();
}

const TIMED_OUT: Result<&str, &str> = Err("timed out after 0.3 s");
const TOO_MUCH: Result<&str, &str> = Err("printed more than 100000 bytes");

fn sh(script: &str) -> Invocation {
    Invocation {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        dir: None,
        env: vec![],
        input: Vec::new(),
    }
}

fn runner() -> Runner {
    Runner::new(GUARD.into(), std::env::vars_os())
}

fn lock(dir: &Path) -> FetchLock {
    fetch_lock(&dir.join("state"))
}

fn new_marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The processes that have the marker in their environment, as `PID: COMMAND LINE`.
fn marked(marker: &str) -> Vec<String> {
    processes_with(&format!("{MARKER}={marker}"))
}

fn n_sleeping(processes: &[String]) -> usize {
    processes.iter().filter(|it| it.contains(": sleep ")).count()
}

/// The children of this process that have exited and are not reaped yet.
fn zombies() -> BTreeSet<u32> {
    zombies_of(std::process::id())
}

/// The pipes and sockets of this process, by inode number, which the kernel does not use again.
fn open_descriptors() -> BTreeSet<String> {
    let entries = fs_err::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|it| fs_err::read_link(it.ok()?.path()).ok());
    targets
        .map(|it| it.to_string_lossy().into_owned())
        .filter(|it| it.starts_with("pipe:") || it.starts_with("socket:"))
        .collect()
}

/// Waits until `is_right` holds for what `look` returns.
#[track_caller]
fn eventually<T: std::fmt::Debug>(look: impl Fn() -> T, is_right: impl Fn(&T) -> bool) {
    let mut seen = look();
    let is_met = is_met_within(CAP, || {
        seen = look();
        is_right(&seen)
    });
    assert!(is_met, "after {CAP:?} there is still {seen:?}");
}

/// The kernel may also kill the guard for want of memory, and users may kill it.
#[test]
fn a_program_that_kills_its_guard_is_ended() {
    check("kill -9 $PPID; exec sleep 60", LONG, Err("was lost: its guard died"));
}
