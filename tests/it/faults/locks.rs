//! The two locks: many processes that want them, and files of other kinds in their place.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use ccstatusd::store::dir::StateDir;
use ccstatusd::store::lock::{FetchLock, WatchLock};
use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::Now;
use nix::sys::signal::Signal;

use super::{report, times};
use crate::sandbox::{Sandbox, repo_of, send_signal, skip, text};

const DIR: &str = "CCSTATUSD_TEST_LOCKS";
const N_CONTENDERS: usize = 8;

/// A process that tries to take both locks each time that it is asked to.
struct Contender {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Contender {
    #[expect(clippy::disallowed_methods, reason = "starts itself, as one of many")]
    fn start(dir: &std::path::Path) -> Contender {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "faults::locks::contend"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut from = BufReader::new(child.stdout.take().unwrap());
        // The test runner prints some lines first.
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert_ne!(from.read_line(&mut line).unwrap(), 0, "a contender ended");
        }
        Contender { child, to, from }
    }

    fn answer(&mut self) -> u8 {
        let mut answer = [0];
        self.from.read_exact(&mut answer).unwrap();
        answer[0]
    }
}

/// Whatever text is in the lock files.
#[test]
fn of_eight_processes_that_want_a_lock_at_once_one_gets_it() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&tmp.path().join("state")).unwrap();
    let mut contenders: Vec<_> = (0..N_CONTENDERS).map(|_| Contender::start(dir.path())).collect();
    let texts: [&[u8]; 6] =
        [b"", b"1\n", b"999999999\n", b"\0\xff garbage \x1b[31m", &[b'9'; 4096], b"-1\n"];
    let n_rounds = times(400, 10_000);
    let (mut wrong, mut lost) = (0, 0);
    for round in 0..n_rounds {
        let text = texts[round % texts.len()];
        for name in ["watch.lock", "fetch.lock"] {
            fs_err::write(dir.join(name), text).unwrap();
        }
        for contender in &mut contenders {
            contender.to.write_all(b"g").unwrap();
        }
        let answers: Vec<u8> = contenders.iter_mut().map(Contender::answer).collect();
        for lock in [1, 2] {
            match answers.iter().filter(|it| **it & lock != 0).count() {
                0 => lost += 1,
                1 => {}
                _ => wrong += 1,
            }
        }
        for contender in &mut contenders {
            contender.to.write_all(b"r").unwrap();
        }
        let released = contenders.iter_mut().map(Contender::answer);
        assert!(released.into_iter().all(|it| it == b'.'));
    }
    for mut contender in contenders {
        drop(contender.to);
        contender.child.wait().unwrap();
    }
    report("8 processes on a barrier, both locks, any text in them", n_rounds, lost, wrong, 0);
}

#[test]
#[ignore = "one of eight; of_eight_processes_that_want_a_lock_at_once_one_gets_it starts it"]
#[expect(clippy::print_stdout, reason = "the test that starts it waits for this")]
fn contend() {
    let path = std::env::vars_os().find(|(name, _)| name == DIR).expect("run by a test").1;
    let dir = StateDir::open(path.as_ref()).unwrap();
    println!("\nready");
    let (mut to, mut from) = (std::io::stdout(), std::io::stdin());
    let mut order = [0];
    while from.read_exact(&mut order).is_ok() {
        let watch = WatchLock::acquire(&dir);
        let fetch = FetchLock::try_acquire(&dir).unwrap();
        let held = u8::from(watch.is_ok()) | u8::from(fetch.is_some()) << 1;
        to.write_all(&[held]).unwrap();
        to.flush().unwrap();
        from.read_exact(&mut order).unwrap();
        drop((watch, fetch));
        to.write_all(b".").unwrap();
        to.flush().unwrap();
    }
}

/// The error names the file and what to do.
#[test]
fn a_lock_file_that_cannot_be_locked_is_named_and_left_alone() {
    let sandbox = Sandbox::with_root();
    let user = 65_534;
    if chown(&sandbox.home, Some(user), Some(user)).is_err() {
        return skip("not root: no file of another user's lies in a lock's place");
    }
    sandbox.session("s1", &sandbox.home).reply("one");
    let as_user = |args: &[&str]| {
        let id = user.to_string();
        let mut command = sandbox.command("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_ccstatusd")).args(args);
        command.output()
    };
    match as_user(&["--oneshot"]) {
        Ok(output) if output.status.success() => {}
        other => return skip(&format!("no program runs as another user here: {other:?}")),
    }
    for name in ["watch.lock", "fetch.lock"] {
        let path = sandbox.state.join(name);
        let args: &[&str] = if name == "watch.lock" { &[] } else { &["--oneshot"] };
        let lay: [(&str, &dyn Fn()); 5] = [
            ("another user's", &|| {
                fs_err::write(&path, "7\n").unwrap();
                fs_err::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            }),
            ("read-only", &|| {
                fs_err::write(&path, "7\n").unwrap();
                chown(&path, Some(user), Some(user)).unwrap();
                fs_err::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
            }),
            ("a directory", &|| fs_err::create_dir(&path).unwrap()),
            ("a link", &|| fs_err::os::unix::fs::symlink(sandbox.path("bin/git"), &path).unwrap()),
            ("a pipe", &|| {
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
                chown(&path, Some(user), Some(user)).unwrap();
            }),
        ];
        for (what, lay) in lay {
            fs_err::remove_file(&path).or_else(|_| fs_err::remove_dir(&path)).ok();
            lay();
            let before = fs_err::symlink_metadata(&path).unwrap();
            let output = as_user(args).unwrap();
            let said = text(&output);
            assert_eq!(output.status.code(), Some(2), "{what}: {said}");
            let path_said = path.to_str().unwrap();
            assert!(said.contains(path_said) && said.contains("hint:"), "{what}: {said}");
            let after = fs_err::symlink_metadata(&path).unwrap();
            assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "{what}: written");
        }
        fs_err::remove_file(&path).unwrap();
    }
}

#[test]
fn fifty_oneshots_at_once_share_a_few_runs_of_git() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let repo = sandbox.path("p");
    sandbox.slow_git("0.5");
    fs_err::write(repo.join("new"), "").unwrap();
    let began = Now::read();
    let children: Vec<_> = (0..50).map(|_| sandbox.start_oneshot()).collect();
    let all_began = Now::read();
    let (mut lost, mut wrong) = (0, 0);
    for child in children {
        let output = child.wait_with_output().unwrap();
        let snapshot = serde_json::from_slice::<Snapshot>(&output.stdout);
        match snapshot.ok().as_ref().and_then(|it| repo_of(it, "s1")) {
            Some(repo) if output.status.success() => {
                // Facts from before the first of them began are not fresh.
                wrong += usize::from(repo.untracked != 1 || repo.as_of_ms < began.wall_ms);
            }
            _ => lost += 1,
        }
    }
    let log = sandbox.git_log();
    let overlap = log.chunks(2).filter(|run| {
        let pid = |line: &str| line.split(' ').nth(1).map(str::to_owned);
        run.len() < 2 || !run[1].starts_with("end") || pid(&run[0]) != pid(&run[1])
    });
    wrong += overlap.count();
    // Each run of git answers all processes that began before it. Starting them took so many runs.
    let n_expected = (all_began.mono - began.mono).as_millis() / 500 + 3;
    let n_calls = sandbox.n_git_calls();
    assert!(n_calls as u128 <= n_expected, "{n_calls} runs for 50, at most {n_expected} expected");
    report("50 --oneshot at once, git takes 0.5 s", 50, lost, wrong, 0);
}

/// The guard is killed, too, so that its program survives.
#[cfg(target_os = "linux")]
#[test]
fn a_child_that_survives_a_killed_watcher_keeps_no_lock() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    sandbox.slow_git("60");
    let mut watcher = sandbox.start_watcher();
    let processes = |what: &str| {
        let all = sandbox.processes().into_iter().filter(|it| it.contains(what));
        let pid = |line: String| line.split(':').next().unwrap().parse().unwrap();
        all.map(pid).collect::<Vec<u32>>()
    };
    sandbox.wait_until("a slow git", || processes("sleep 60").len() == 1);
    // First the watcher, stopped so that it cannot end what its guard leaves.
    watcher.signal(Signal::SIGSTOP);
    let guards = processes("__guard");
    assert_eq!(guards.len(), 1);
    send_signal(guards[0], Signal::SIGKILL);
    watcher.signal(Signal::SIGKILL);
    watcher.wait(Duration::from_secs(5));
    assert_eq!(processes("sleep 60").len(), 1, "nothing survived, so nothing is tested");
    fs_err::remove_file(sandbox.path("slow")).unwrap();
    let next = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(next.id()));
    for pid in processes("sleep 60") {
        send_signal(pid, Signal::SIGKILL);
    }
}
