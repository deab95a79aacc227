//! Hostile children, and what is left of them: nothing. Looks into `/proc`, so it is for Linux.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use ccstatusd::fetch::exec::{Failure, Invocation, Limits, Runner};
use ccstatusd::store::dir::StateDir;
use ccstatusd::store::lock::FetchLock;
use ccstatusd::time::Now;

const GUARD: &str = env!("CARGO_BIN_EXE_ccstatusd");
const MARKER: &str = "CCSTATUSD_TEST_MARKER";

/// What is promised beyond deadline and grace.
const MARGIN: Duration = Duration::from_millis(300);

/// For children that should be made to end.
const SHORT: Limits = limits(300, 100);
/// For children that should end by themselves: that they come near the deadline is a failure.
const LONG: Limits = limits(10_000, 100);

const fn limits(deadline_ms: u64, grace_ms: u64) -> Limits {
    Limits {
        deadline: Duration::from_millis(deadline_ms),
        grace: Duration::from_millis(grace_ms),
        max_output: 100_000,
    }
}

/// Runs the script and checks the outcome, the wall time, and that nothing is left.
#[track_caller]
fn check(script: &str, limits: Limits, expected: Result<&str, &str>) {
    check_program("sh", &["-c", script], limits, expected);
}

#[track_caller]
fn check_program(program: &str, args: &[&str], limits: Limits, expected: Result<&str, &str>) {
    let marker = new_marker();
    let what = Invocation {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        dir: None,
        env: vec![(MARKER.into(), marker.clone().into())],
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
    // Other tests of this process have zombies and descriptors too, but not for long.
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
fn half_an_output_is_the_callers_to_judge() {
    check(r#"printf '{"half":'"#, LONG, Ok(r#"{"half":"#));
}

#[test]
fn who_says_nothing_is_timed_out() {
    check("exec sleep 60", SHORT, Err("timed out after 0.3 s"));
}

#[test]
fn who_ends_when_asked_to_is_still_timed_out() {
    check("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done", SHORT, TIMED_OUT);
}

#[test]
fn who_ignores_sigterm_is_killed() {
    check("trap '' TERM; while :; do sleep 60; done", SHORT, TIMED_OUT);
}

#[test]
fn who_closes_its_outputs_and_stays_is_timed_out() {
    check("exec >&- 2>&-; sleep 60", SHORT, TIMED_OUT);
}

#[test]
fn who_stops_itself_is_ended() {
    check("kill -STOP $$; sleep 60", SHORT, TIMED_OUT);
    check("trap '' TERM; kill -STOP $$; sleep 60", SHORT, TIMED_OUT);
}

#[test]
fn who_is_stopped_still_gets_its_grace() {
    let tmp = tempfile::tempdir().unwrap();
    let script = "trap 'echo bye > said; exit' TERM; kill -STOP $$; sleep 60";
    let what = Invocation { dir: Some(tmp.path().to_owned()), ..sh(script) };
    let res = runner().run(&lock(tmp.path()), &what, limits(300, 10_000));
    assert!(matches!(res, Err(Failure::TimedOut { .. })), "{res:?}");
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
fn who_writes_for_ever_is_ended_at_once() {
    let started_at = Now::read().mono;
    check("yes", LONG, TOO_MUCH);
    // It does not even notice that nobody reads.
    check("trap '' TERM PIPE; while :; do echo yes; done 2>/dev/null", LONG, TOO_MUCH);
    assert!(Now::read().mono - started_at < LONG.deadline, "not before the deadline");
}

#[test]
fn who_complains_for_ever_is_ended_at_once() {
    check("yes >&2", LONG, TOO_MUCH);
}

#[test]
fn one_byte_too_many_is_too_much() {
    check("head -c 100001 /dev/zero", LONG, TOO_MUCH);
}

#[test]
fn a_signal_is_told_from_an_exit_code() {
    check("kill -KILL 0", LONG, Err("was killed by signal 9"));
    check("exit 137", LONG, Err("failed with exit code 137"));
    check("kill -40 $$", LONG, Err("was killed by a signal"));
}

#[test]
fn an_exit_code_comes_with_the_complaint() {
    check(
        "echo out; echo 'fatal: no' >&2; exit 124",
        LONG,
        Err("failed with exit code 124: fatal: no"),
    );
}

#[test]
fn what_cannot_be_started_says_why() {
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
        Err(Failure::NoDirectory { dir: it, .. }) => assert_eq!(it, dir),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_runs_where_it_should() {
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
    };
    let output = runner.run(&lock(tmp.path()), &what, LONG).unwrap();
    let output = String::from_utf8(output).unwrap();
    let seen: BTreeSet<&str> = output.lines().collect();
    let path = format!("PATH={}", path.1.to_str().unwrap());
    assert_eq!(seen, BTreeSet::from(["HOME=/h", "LC_ALL=C", &path]));
}

#[test]
fn a_program_has_no_input_no_terminal_and_no_descriptor_of_ours() {
    check("cat", LONG, Ok(""));
    check("readlink /proc/self/fd/0", LONG, Ok("/dev/null\n"));
    // The fourth is the listing's own.
    check("ls /proc/self/fd", LONG, Ok("0\n1\n2\n3\n"));
    // A session of its own has no terminal until it opens one, and only its leader's counts.
    let ours = nix::unistd::getsid(None).unwrap();
    check(
        &format!("[ $(cut -d' ' -f6 /proc/self/stat) != {ours} ] && echo other"),
        LONG,
        Ok("other\n"),
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "starts a guard as a careless parent would")]
fn what_our_own_parent_left_open_is_closed() {
    let (leash, guards_end) = UnixStream::pair().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"exec 7</dev/null; exec "$0" "$@""#, GUARD])
        .args(["__guard", "10000", "100", "", "ls", "/proc/self/fd"])
        .stdin(OwnedFd::from(guards_end))
        .output()
        .unwrap();
    drop(leash);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n1\n2\n3\n");
}

#[test]
fn who_stops_its_guard_gains_nothing() {
    let marker = new_marker();
    let tmp = tempfile::tempdir().unwrap();
    let env = vec![(MARKER.into(), marker.clone().into())];
    let what =
        Invocation { env, ..sh("trap '' TERM; kill -STOP $PPID; setsid sleep 60 & sleep 60") };
    let started_at = Now::read().mono;
    let res = runner().run(&lock(tmp.path()), &what, SHORT);
    let wall = Now::read().mono - started_at;
    assert!(matches!(res, Err(Failure::Stuck)), "{res:?}");
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
fn ending_a_guard_by_name_ends_its_program() {
    for signal in ["TERM", "INT", "HUP"] {
        let marker = new_marker();
        let (leash, guards_end) = UnixStream::pair().unwrap();
        let mut guard = Command::new(GUARD)
            .args(["__guard", "60000", "100", "", "sh", "-c"])
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
        drop(leash);
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

const TIMED_OUT: Result<&str, &str> = Err("timed out after 0.3 s");
const TOO_MUCH: Result<&str, &str> = Err("printed more than 100000 bytes");

fn sh(script: &str) -> Invocation {
    Invocation {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        dir: None,
        env: vec![],
    }
}

fn runner() -> Runner {
    Runner::new(GUARD.into(), std::env::vars_os())
}

fn lock(dir: &Path) -> FetchLock {
    let dir = StateDir::open(&dir.join("state")).unwrap();
    FetchLock::try_acquire(&dir).unwrap().expect("nobody else uses this directory")
}

fn new_marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The command lines of the processes that have the marker in their environment.
fn marked(marker: &str) -> Vec<String> {
    let wanted = format!("{MARKER}={marker}");
    processes()
        .filter(|pid| {
            let environ = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|it| *it == 0).any(|it| it == wanted.as_bytes())
        })
        .map(|pid| {
            let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        })
        .collect()
}

fn n_sleeping(command_lines: &[String]) -> usize {
    command_lines.iter().filter(|it| it.starts_with("sleep ")).count()
}

/// The children of this process that nobody has reaped yet.
fn zombies() -> BTreeSet<u32> {
    let me = std::process::id().to_string();
    processes()
        .filter(|pid| {
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            let mut fields = after_name.split_ascii_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&me)
        })
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs_err::read_dir("/proc").unwrap();
    entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok())
}

/// The pipes and sockets of this process, by their number in the kernel, which is not used again.
fn open_descriptors() -> BTreeSet<String> {
    let entries = fs_err::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|it| fs_err::read_link(it.ok()?.path()).ok());
    targets
        .map(|it| it.to_string_lossy().into_owned())
        .filter(|it| it.starts_with("pipe:") || it.starts_with("socket:"))
        .collect()
}

/// Waits until `look` sees what it should, for at most ten seconds.
#[track_caller]
fn eventually<T: std::fmt::Debug>(look: impl Fn() -> T, is_right: impl Fn(&T) -> bool) {
    let give_up_at = Now::read().mono + Duration::from_secs(10);
    loop {
        let seen = look();
        if is_right(&seen) {
            return;
        }
        assert!(Now::read().mono < give_up_at, "after 10 s there is still {seen:?}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The kernel may kill the guard for its memory, and people kill what they do not know.
#[test]
fn who_kills_its_own_guard_does_not_survive_it() {
    check("kill -9 $PPID; exec sleep 60", LONG, Err("was lost: its guard died"));
}
