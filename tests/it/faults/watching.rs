//! Watching: lost events, and files that hang or cannot be read. At the end of most tests the
//! watcher must know the same as a cold scan.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::{Now, pause};
use nix::sys::signal::Signal;

use super::{inject, report, times, unshared};
use crate::sandbox::{
    Sandbox, Watcher, is_met_within, n_replies, repo_of, send_signal, session, skip,
};
use crate::transcripts::Transcript;

/// A snapshot without the times at which its facts were found, and without the process that found
/// them.
fn essence(snapshot: &Snapshot) -> String {
    let mut snapshot = snapshot.clone();
    (snapshot.seq, snapshot.published_at_ms, snapshot.watcher) = (0, 0, None);
    for root in snapshot.roots.values_mut() {
        if let Some(usage) = &mut root.usage {
            usage.as_of_ms = 0;
            // Rates depend on the time at which they are computed.
            if let Some(block) = &mut usage.block {
                (block.burn, block.projection, block.as_of_ms) = (None, None, 0);
            }
        }
    }
    for repo in snapshot.repos.values_mut() {
        repo.as_of_ms = 0;
    }
    for session in snapshot.sessions.values_mut() {
        // A watcher knows when a file has grown; a cold scan takes the time in the file.
        session.last_activity_ms = 0;
    }
    serde_json::to_string_pretty(&snapshot).unwrap()
}

/// Waits until the watcher's snapshot is the same as that of a cold scan.
#[track_caller]
fn check_like_cold(sandbox: &Sandbox, cap: Duration) {
    let cold = |n: u32| {
        let state = sandbox.path(&format!("cold-{n}"));
        let output = sandbox
            .ccstatusd()
            .env("CCSTATUSD_DIR", state)
            .args(["--oneshot", "--json"])
            .output()
            .unwrap();
        serde_json::from_slice::<Snapshot>(&output.stdout).unwrap()
    };
    let (mut warm, mut expected) = (String::new(), String::new());
    let mut n = 0;
    let is_met = is_met_within(cap, || {
        n += 1;
        warm = sandbox.snapshot().map(|it| essence(&it)).unwrap_or_default();
        expected = essence(&cold(n));
        warm == expected || {
            pause(Duration::from_millis(200));
            false
        }
    });
    assert!(is_met, "the watcher says\n{warm}\na cold scan\n{expected}");
}

const LIKE_COLD_CAP: Duration = Duration::from_secs(15);

/// Shorter than the 30 s for which the tests make a file hang.
#[cfg(target_os = "linux")]
const BEFORE_IT_ANSWERS: Duration = Duration::from_secs(25);

fn sandbox() -> Sandbox {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    sandbox
}

/// As on a network disk whose server is gone: opening one of these files does not return.
#[cfg(target_os = "linux")]
#[test]
fn files_that_hang_hold_up_nothing_else() {
    let sandbox = sandbox();
    // With a fourth hung file, the whole file system would count as hung.
    let mut hung: Vec<_> =
        (0..3).map(|n| sandbox.session(&format!("hung{n}"), &sandbox.home)).collect();
    hung.iter_mut().for_each(|it| it.reply("one"));
    let lost = sandbox.repo("lost");
    let watcher = sandbox.start_watcher();
    sandbox.oneshot();
    let mut paths: Vec<_> = hung.iter().map(|it| it.path.as_path()).collect();
    let head = lost.join(".git/HEAD");
    paths.push(&head);
    let faults = [
        "trace=openat,open,statx,newfstatat,lstat",
        "inject=openat,open,statx,newfstatat,lstat:delay_enter=30000000",
    ];
    let Some(tracer) = inject(&sandbox, watcher.id(), &paths, &faults) else { return };
    hung.iter_mut().for_each(|it| it.reply("two"));
    // The search for its working tree hangs.
    sandbox.session("lost", &lost).reply("one");
    let mut good = sandbox.session("good", &sandbox.path("p"));
    for n in 1..=3 {
        good.reply("more");
        sandbox.wait_for("an append elsewhere", |snapshot| {
            snapshot.sessions.get(&good.session_id()).is_some_and(|it| it.tokens.output == 42 * n)
        });
    }
    let fresh = sandbox.repo("fresh");
    sandbox.session("fresh", &fresh).reply("one");
    sandbox.wait_for("a new repository", |it| repo_of(it, "fresh").is_some());
    // A `--oneshot` does not wait for the hung files.
    let output = sandbox.try_oneshot_within(BEFORE_IT_ANSWERS);
    assert_eq!(output.status.code(), Some(1), "some source is degraded");
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    let is_said = |path: &std::path::Path| {
        let source = format!("transcript:{}", path.display());
        let mut degraded = snapshot.degraded.iter();
        degraded.any(|it| it.source == source && it.reason.contains("does not answer"))
    };
    for transcript in &hung {
        assert!(is_said(&transcript.path), "{:#?}", snapshot.degraded);
    }
    drop(tracer);
    sandbox.wait_longer_for(Duration::from_secs(40), "they come back", |it| it.degraded.is_empty());
    check_like_cold(&sandbox, LIKE_COLD_CAP);
    report("3 transcripts and a working tree that hang for 30 s", 4, 0, 0, 0);
}

/// A directory on another file system than the sandbox. Where there is none, returns `None` and
/// prints why.
#[cfg(target_os = "linux")]
fn elsewhere(sandbox: &Sandbox) -> Option<tempfile::TempDir> {
    let device = |path: &Path| fs_err::metadata(path).ok().map(|it| it.dev());
    let dir = tempfile::tempdir_in("/dev/shm").ok();
    let dir = dir.filter(|it| device(it.path()) != device(&sandbox.home));
    if dir.is_none() {
        skip("/dev/shm is no file system of its own: none hangs alone");
    }
    dir
}

/// Makes a project's folder hang, and checks that everything else goes on.
#[cfg(target_os = "linux")]
#[track_caller]
fn check_hangs_alone(sandbox: &Sandbox, root: &Path, project: &str) {
    Transcript::new(root, project, "one", &sandbox.home).reply("one");
    let watcher = sandbox.start_watcher();
    sandbox.oneshot();
    let dir = root.join("projects").join(project);
    let faults =
        ["trace=statx,newfstatat,stat", "inject=statx,newfstatat,stat:delay_enter=30000000"];
    let Some(tracer) = inject(sandbox, watcher.id(), &[&dir], &faults) else { return };
    // Looks at everything anew.
    watcher.signal(Signal::SIGHUP);
    let source = format!("watch:{}", dir.display());
    let is_said = |snapshot: &Snapshot| snapshot.degraded.iter().map(|it| &it.source).eq([&source]);
    sandbox.wait_for("it is said", is_said);
    let mut good = Transcript::new(&sandbox.root(), "-good", "good", &sandbox.home);
    for n in 1..=3 {
        good.reply("more");
        sandbox.wait_for("a new folder elsewhere, while it hangs", |snapshot| {
            let good = snapshot.sessions.get(&good.session_id());
            is_said(snapshot) && good.is_some_and(|it| it.tokens.output == 42 * n)
        });
    }
    // A `--oneshot` does not wait for it.
    let output = sandbox.try_oneshot_within(BEFORE_IT_ANSWERS);
    assert!(is_said(&serde_json::from_slice(&output.stdout).unwrap()), "{output:?}");
    drop(tracer);
    sandbox.wait_longer_for(Duration::from_secs(40), "it comes back", |it| it.degraded.is_empty());
    let mut late = Transcript::new(root, project, "late", &sandbox.home);
    for n in 1..=2 {
        late.reply("more");
        sandbox.wait_for("its events come again", |snapshot| {
            let late = snapshot.sessions.get(&late.session_id());
            late.is_some_and(|it| it.tokens.output == 42 * n)
        });
    }
    check_like_cold(sandbox, LIKE_COLD_CAP);
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_hangs_stops_no_events_from_elsewhere() {
    let sandbox = sandbox();
    let Some(other) = elsewhere(&sandbox) else { return };
    sandbox.configure(&format!("roots = ['{}']\n", other.path().display()));
    check_hangs_alone(&sandbox, other.path(), "-p");
}

/// The link itself is on the file system of everything else.
#[cfg(target_os = "linux")]
#[test]
fn a_link_to_a_hung_directory_stops_no_events_from_beside_the_link() {
    let sandbox = sandbox();
    let Some(other) = elsewhere(&sandbox) else { return };
    let link = sandbox.root().join("projects/-link");
    fs_err::os::unix::fs::symlink(other.path(), link).unwrap();
    check_hangs_alone(&sandbox, &sandbox.root(), "-link");
}

/// For example on a network disk with the user's dotfiles.
#[cfg(target_os = "linux")]
#[test]
fn a_configuration_that_hangs_holds_up_nothing_else() {
    let sandbox = sandbox();
    sandbox.configure("");
    let config = sandbox.config_file();
    let watcher = sandbox.start_watcher();
    sandbox.oneshot();
    let faults = ["trace=openat,open", "inject=openat,open:delay_enter=60000000"];
    let Some(_tracer) = inject(&sandbox, watcher.id(), &[&config], &faults) else { return };
    watcher.signal(Signal::SIGHUP);
    sandbox.session("s2", &sandbox.home).reply("one");
    sandbox.wait_for("an append", |it| n_replies(it, &sandbox.root()) == 2);
    let output = sandbox.try_oneshot();
    assert_eq!(output.status.code(), Some(1), "some source is degraded");
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    let said = &snapshot.degraded[0];
    assert_eq!(said.source, format!("config:{}", config.display()));
    assert!(said.reason.contains("does not answer"), "{said:?}");
}

/// If it went on, displays would see no watcher, and a `--oneshot` would publish beside it.
#[cfg(target_os = "linux")]
#[test]
fn a_watcher_that_cannot_be_reached_any_more_ends() {
    let sandbox = sandbox();
    let mut watcher = sandbox.start_watcher();
    // Only this socket: the thread for signals receives on another one, and must go on.
    let bound = fs_err::read_to_string("/proc/net/unix").unwrap();
    let bound = bound.lines().filter(|it| it.ends_with(" notify.sock"));
    let bound: Vec<_> = bound
        .map(|it| format!("socket:[{}]", it.split_whitespace().nth(6).unwrap()))
        .map(PathBuf::from)
        .collect();
    let fds = fs_err::read_dir(format!("/proc/{}/fd", watcher.id())).unwrap().flatten();
    let mut fds = fds.filter_map(|it| fs_err::read_link(it.path()).ok());
    let socket = fds.find(|it| bound.contains(it)).expect("its socket");
    let fault = ["inject=recvfrom:error=ENOMEM"];
    let Some(_tracer) = inject(&sandbox, watcher.id(), &[&socket], &fault) else { return };
    assert_eq!(watcher.wait(Duration::from_secs(10)).code(), Some(2));
    assert!(watcher.log().contains("Cannot allocate memory"), "{}", watcher.log());
    assert_eq!(sandbox.snapshot().unwrap().watcher, None);
}

#[cfg(target_os = "linux")]
#[test]
fn each_failure_to_make_a_socket_is_logged() {
    let sandbox = sandbox();
    let mut transcript = sandbox.session("s1", &sandbox.path("p"));
    let watcher = sandbox.start_watcher();
    for n in 1..=2 {
        let fault = ["inject=bind:error=ENOSPC"];
        let Some(tracer) = inject(&sandbox, watcher.id(), &[], &fault) else { return };
        fs_err::remove_file(sandbox.state.join("notify.sock")).unwrap();
        transcript.reply("more");
        let n_said = || watcher.log().matches("notify.sock: No space left").count();
        sandbox.wait_until("it is said", || n_said() == n);
        drop(tracer);
        transcript.reply("more");
        sandbox.wait_until("a new one", || sandbox.state.join("notify.sock").exists());
    }
}

#[test]
fn changes_while_the_watcher_is_stopped_are_found() {
    let sandbox = sandbox();
    let mut doomed = sandbox.session("doomed", &sandbox.home);
    doomed.reply("one");
    let watcher = sandbox.start_watcher();
    sandbox.oneshot();
    watcher.signal(Signal::SIGSTOP);
    sandbox.session("s2", &sandbox.path("p")).reply("two");
    sandbox.sh(&sandbox.path("p"), "git checkout -qb other; echo 2 > f; git commit -qam two");
    fs_err::remove_file(&doomed.path).unwrap();
    for n in 0..20 {
        Transcript::new(&sandbox.root(), &format!("-new{n}"), &format!("new{n}"), &sandbox.home)
            .reply("one");
    }
    let renamed = sandbox.root().join("projects/-new7");
    fs_err::rename(&renamed, sandbox.root().join("projects/-renamed")).unwrap();
    pause(Duration::from_secs(1));
    watcher.signal(Signal::SIGCONT);
    sandbox.wait_for("the branch", |snapshot| {
        repo_of(snapshot, "s1").is_some_and(|it| it.branch.as_deref() == Some("other"))
    });
    // The deleted session counts here. A cold scan could not know what it used.
    let snapshot = sandbox.wait_for("all replies", |it| n_replies(it, &sandbox.root()) == 23);
    assert_eq!(snapshot.sessions.len(), 23, "the deleted one was there, too");
}

#[test]
fn a_folder_of_ten_thousand_and_a_thousand_folders_are_read() {
    let sandbox = sandbox();
    let old_ms = Now::read().wall_ms - 20 * ccstatusd::time::DAY_MS;
    let projects = sandbox.root().join("projects");
    fs_err::create_dir_all(projects.join("-many")).unwrap();
    let mut one = Transcript::new(&sandbox.root(), "-many", "one", &sandbox.home);
    one.write_old(old_ms);
    for n in 0..10_000 {
        if n % 10 == 0 {
            fs_err::create_dir(projects.join(format!("-folder{n}"))).unwrap();
            fs_err::hard_link(&one.path, projects.join(format!("-folder{n}/s{n}.jsonl"))).unwrap();
        }
        fs_err::write(projects.join(format!("-many/{n}.txt")), "").unwrap();
    }
    let watcher = sandbox.spawn_watcher(sandbox.ccstatusd());
    let is_ours =
        |snapshot: &Snapshot| snapshot.watcher.as_ref().is_some_and(|it| it.pid == watcher.id());
    sandbox.wait_longer_for(Duration::from_secs(60), "the first snapshot", is_ours);
    // One after the other. Of two in the same few milliseconds, the watcher and a cold scan may
    // disagree which is the latest, since the watcher may have read one of them half written.
    for (n, folder, name) in [(2, "-folder9990", "late"), (3, "-many", "later")] {
        Transcript::new(&sandbox.root(), folder, name, &sandbox.home).reply("one");
        sandbox.wait_for("an event from it", |it| n_replies(it, &sandbox.root()) == n);
    }
    check_like_cold(&sandbox, Duration::from_secs(60));
}

/// They have the names of transcripts and folders.
#[test]
fn loops_pipes_devices_and_unreadable_files_hold_up_nothing_else() {
    let sandbox = sandbox();
    let projects = sandbox.root().join("projects");
    let link = |to: &str, name: &str| {
        fs_err::os::unix::fs::symlink(to, projects.join(name)).unwrap();
    };
    let mut unreadable = sandbox.session("unreadable", &sandbox.home);
    unreadable.reply("one");
    link(".", "-loop");
    link("..", "-project/up");
    link("loop2", "-project/loop1");
    link("loop1", "-project/loop2");
    link("itself.jsonl", "-project/itself.jsonl");
    link("/dev/zero", "-project/zero.jsonl");
    link("/dev/tty", "-project/tty.jsonl");
    link("/nowhere", "-project/nowhere.jsonl");
    let pipe = projects.join("-project/pipe.jsonl");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket =
        std::os::unix::net::UnixDatagram::bind(projects.join("-project/socket.jsonl")).unwrap();
    fs_err::create_dir(projects.join("-project/folder.jsonl")).unwrap();
    // Root can read every file, so the watcher runs as another user.
    let user = 65_534;
    let chowned = sandbox.command("chown").args(["-hR", "65534:65534"]).arg(&sandbox.home).status();
    fs_err::set_permissions(&unreadable.path, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = sandbox.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_ccstatusd"));
    if !chowned.is_ok_and(|it| it.success()) || chown(&sandbox.home, Some(user), None).is_err() {
        skip("not root: unreadable files are read by their owner");
        command = sandbox.ccstatusd();
    }
    let _watcher = sandbox.spawn_watcher(command);
    let source = format!("transcript:{}", unreadable.path.display());
    let is_said = |snapshot: &Snapshot| {
        let mut degraded = snapshot.degraded.iter();
        degraded.any(|it| it.source == source && it.reason.contains("Permission denied"))
    };
    let snapshot = sandbox.wait_for("the unreadable one is named", is_said);
    assert_eq!(n_replies(&snapshot, &sandbox.root()), 1);
    assert_eq!(session(&snapshot, "s1").tokens.output, 42);
    fs_err::set_permissions(&unreadable.path, PermissionsExt::from_mode(0o644)).unwrap();
    let cap = Duration::from_secs(20);
    let snapshot =
        sandbox.wait_longer_for(cap, "it is read when it can be", |it| it.degraded.is_empty());
    assert_eq!(n_replies(&snapshot, &sandbox.root()), 2);
}

/// The kernel reports no event when a file system is mounted over a directory.
#[cfg(target_os = "linux")]
#[test]
fn a_root_that_is_mounted_over_is_looked_at_within_a_minute() {
    if times(0, 1) == 0 {
        return skip(
            "takes more than a minute: a root that is mounted over (CCSTATUSD_FAULTS=full)",
        );
    }
    let sandbox = sandbox();
    let other = sandbox.path("other");
    let mut transcript = Transcript::new(&other, "-p", "other", &sandbox.home);
    transcript.reply("one");
    transcript.reply("two");
    let script = format!(
        "\"$0\" & while [ ! -e '{home}/now' ]; do sleep 0.05; done; \
         mount --bind '{home}/other' '{home}/.claude'; wait",
        home = sandbox.home.display(),
    );
    let Some(command) = unshared(&sandbox, "-Urm", &script) else { return };
    let mut watcher: Watcher = sandbox.spawn_watcher(command);
    let snapshot = sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    fs_err::write(sandbox.path("now"), "").unwrap();
    let cap = Duration::from_secs(75);
    sandbox.wait_longer_for(cap, "what is there now", |it| n_replies(it, &sandbox.root()) == 3);
    transcript.reply("three");
    sandbox.wait_for("events from there", |it| n_replies(it, &sandbox.root()) == 4);
    send_signal(snapshot.watcher.unwrap().pid, Signal::SIGTERM);
    watcher.wait(Duration::from_secs(10));
}
