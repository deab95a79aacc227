//! Programs that refuse to end, many at once, and programs that are killed in the middle.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ccstatusd::fetch::exec::Runner;
use ccstatusd::fetch::git;
use ccstatusd::fetch::git::tree::WorkTree;
use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::pause;
use nix::sys::signal::Signal;

use super::{report, times};
use crate::sandbox::{Sandbox, env_path, fetch_lock, repo_of, zombies_of};
use crate::transcripts::Transcript;

/// What each repository's `git` does instead of its work.
const HOSTILE: [(&str, &str); 13] = [
    ("ignores-sigterm", "trap '' TERM; while :; do sleep 60; done"),
    ("forks-and-exits", "sleep 60 & exit 0"),
    ("leaves-and-holds-the-pipe", "setsid sh -c 'trap \"\" TERM; sleep 60' & sleep 60"),
    ("writes-for-ever", "trap '' TERM PIPE; while :; do echo yes; done 2>/dev/null"),
    ("says-nothing", "exec sleep 60"),
    ("closes-its-output", "exec >&- 2>&-; sleep 60"),
    ("complains-for-ever", "exec yes >&2"),
    ("stops-itself", "kill -STOP $$; sleep 60"),
    ("stops-itself-and-ignores", "trap '' TERM; kill -STOP $$; sleep 60"),
    ("says-half", "printf '1 .M N... 100644 100644'"),
    ("fifty-daemons", "i=0; while [ $i -lt 50 ]; do (setsid sleep 60 &); i=$((i+1)); done"),
    ("needs-a-terminal", "exec </dev/tty; sleep 60"),
    ("stops-its-guard", "kill -STOP $PPID; trap '' TERM; setsid sleep 60 & sleep 60"),
];

fn sandbox() -> (Sandbox, Transcript) {
    let sandbox = Sandbox::with_root();
    sandbox.configure("[git]\ntimeout_ms = 300\n");
    sandbox.patch_git("if [ -e .git/hostile ]; then exec sh .git/hostile; fi\n");
    for (name, script) in HOSTILE {
        let repo = sandbox.repo(name);
        fs_err::write(repo.join(".git/hostile"), script).unwrap();
        sandbox.session(name, &repo).reply("one");
    }
    let repo = sandbox.repo("good");
    let mut good = sandbox.session("good", &repo);
    good.reply("one");
    (sandbox, good)
}

#[cfg(target_os = "linux")]
#[test]
fn beside_hostile_programs_a_good_one_stays_fresh_and_no_process_survives() {
    let (sandbox, mut good) = sandbox();
    let n_failed = |snapshot: &Snapshot| {
        let is_said = |name: &str| {
            let source = format!("git:{}", sandbox.path(name).display());
            snapshot.degraded.iter().any(|it| it.source == source)
        };
        HOSTILE.iter().filter(|(name, _)| is_said(name)).count()
    };
    let mut watcher = sandbox.start_watcher();
    let cap = Duration::from_secs(60);
    sandbox.wait_longer_for(cap, "all of them fail", |it| n_failed(it) == HOSTILE.len());
    // Meanwhile the others are tried again and again.
    for n in 1..=5 {
        fs_err::write(sandbox.path(&format!("good/new{n}")), "").unwrap();
        good.reply("more");
        sandbox.wait_for("the good one's facts", |snapshot| {
            repo_of(snapshot, "good").is_some_and(|it| it.untracked == n)
        });
    }
    sandbox.wait_until("no zombie stays", || zombies_of(watcher.id()).is_empty());

    // Killed while several of them run, a few times.
    let n_kills = times(3, 30);
    for n in 0..n_kills {
        let began = sandbox.n_git_calls();
        sandbox.wait_until("another try", || sandbox.n_git_calls() > began);
        pause(Duration::from_millis((n * 37 % 300) as u64));
        watcher.signal(Signal::SIGKILL);
        watcher.wait(Duration::from_secs(5));
        sandbox.wait_until("nothing survives", || {
            let left = sandbox.processes();
            left.iter().all(|it| it.contains("defunct"))
        });
        watcher = sandbox.spawn_watcher(sandbox.ccstatusd());
    }
    drop(watcher);
    sandbox.wait_until("nothing is left", || sandbox.processes().is_empty());
    report("13 hostile sources at once, watcher killed in the middle", n_kills, 0, 0, 0);
}

/// Each of the others takes until its deadline, five seconds, and is tried again. One after the
/// other, or two at a time, they would keep the last one waiting for twenty.
#[test]
fn repositories_that_hang_do_not_keep_another_one_waiting() {
    let sandbox = Sandbox::with_root();
    sandbox.patch_git("case $PWD in */hangs*) exec sleep 60 ;; esac\n");
    for n in 0..8 {
        let repo = sandbox.repo(&format!("hangs{n}"));
        sandbox.session(&format!("h{n}"), &repo).reply("one");
    }
    let repo = sandbox.repo("good");
    sandbox.session("good", &repo).reply("one");
    let _watcher = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("the facts of the good one", |snapshot| {
        repo_of(snapshot, "good").is_some_and(|repo| repo.branch.is_some())
    });
    let n_failed = snapshot.repos.values().filter(|repo| repo.error.is_some()).count();
    assert_eq!(n_failed, 0, "it waited for a deadline of another one");
}

/// A killed git leaves no `index.lock`, and none is there when the user's own git wants one.
#[test]
#[expect(clippy::disallowed_methods, reason = "the user at work")]
fn a_git_that_is_killed_leaves_no_lock_and_disturbs_no_user() {
    let sandbox = Sandbox::with_root();
    let repo = sandbox.repo("p");
    sandbox.sh(&repo, "for i in $(seq 300); do echo $i > f$i; done; git add .; git commit -qm all");
    let stub = fs_err::read_to_string(sandbox.path("bin/git")).unwrap();
    let real = stub.split('\'').find(|it| it.ends_with("/git")).unwrap();
    // It kills itself, somewhere in its work.
    let stub = format!("#!/bin/sh\n(sleep 0.00$(($$ % 8)); kill -9 $$) &\nexec '{real}' \"$@\"\n");
    fs_err::write(sandbox.path("bin/git"), stub).unwrap();
    let mut path = sandbox.path("bin").into_os_string();
    path.push(":");
    path.push(env_path());
    let env = [("PATH".into(), path), ("HOME".into(), sandbox.home.clone().into())];
    let runner = Runner::new(env!("CARGO_BIN_EXE_ccstatusd").into(), env);
    let lock = fetch_lock(&sandbox.state);
    let tree = WorkTree::discover(&repo).unwrap().unwrap();
    let limits = git::status::GIT_LIMITS;
    let question = git::status::Question { tree, is_trusted: false, limits };

    let n_kills = times(150, 1000);
    let is_over = AtomicBool::new(false);
    let (n_adds, n_refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (mut n_stale, mut n_killed) = (0, 0);
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let n = n_adds.fetch_add(1, Ordering::Relaxed);
                fs_err::write(repo.join("user"), n.to_string()).unwrap();
                let add = Command::new(real).args(["add", "user"]).current_dir(&repo).output();
                let is_good = add.unwrap().status.success();
                n_refused.fetch_add(usize::from(!is_good), Ordering::Relaxed);
            }
        });
        while n_killed < n_kills {
            // The times of these files now differ from the index, so a refresh would write it.
            for n in 0..20 {
                fs_err::write(repo.join(format!("f{}", n * 15 + 1)), format!("{}\n", n * 15 + 1))
                    .unwrap();
            }
            let res = git::status::query(&runner, &lock, &question, 0);
            n_killed += usize::from(res.is_err_and(|it| it.to_string().contains("signal 9")));
        }
        is_over.store(true, Ordering::Relaxed);
        user.join().unwrap();
    });
    n_stale += usize::from(repo.join(".git/index.lock").exists());
    let (n_adds, n_refused) = (n_adds.into_inner(), n_refused.into_inner());
    assert!(n_adds > n_kills / 20, "the user hardly worked: {n_adds}");
    report("SIGKILL of git in the middle of a refresh: stale index.lock", n_kills, 0, n_stale, 0);
    report("the user's git add beside them: refused", n_adds, n_refused, 0, 0);
}
