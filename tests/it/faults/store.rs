//! The state directory: on disks that are full, read-only or broken, when watchers are killed, and
//! with anything in the place of its files.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::pause;
use nix::sys::signal::Signal;

use super::{inject, report, times, unshared};
use crate::sandbox::{Sandbox, n_replies, skip, text};

/// Two readers read it all the time. Each snapshot is whole, and none is older than the last.
#[test]
fn a_watcher_that_is_killed_anywhere_leaves_a_whole_snapshot() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    drop(sandbox.start_watcher());
    let path = sandbox.state.join("snapshot.json");
    let n_kills = times(60, 1000);
    let is_over = AtomicBool::new(false);
    let (n_reads, lost, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    let bytes = fs_err::read(&path).unwrap_or_default();
                    match serde_json::from_slice::<Snapshot>(&bytes) {
                        Ok(snapshot) => {
                            let seen = (snapshot.seq, snapshot.published_at_ms);
                            wrong.fetch_add(usize::from(seen < last), Ordering::Relaxed);
                            last = seen;
                        }
                        Err(_) => _ = lost.fetch_add(1, Ordering::Relaxed),
                    }
                    n_reads.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_micros(200));
                }
            });
        }
        for n in 0..n_kills {
            let mut watcher = sandbox.spawn_watcher(sandbox.ccstatusd());
            transcript.reply("more");
            // From before it has its lock until long after it has published.
            pause(Duration::from_micros((n * 7919 % 60_000) as u64));
            transcript.reply("and more");
            watcher.signal(Signal::SIGKILL);
            watcher.wait(Duration::from_secs(10));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let snapshot = sandbox.oneshot();
    let expected = 1 + 2 * n_kills as u64;
    assert_eq!(n_replies(&snapshot, &sandbox.root()), expected);
    let left = temporaries(&sandbox.state);
    assert!(left.is_empty(), "{left:?}");
    assert!(n_reads.into_inner() > n_kills, "the readers hardly read");
    let fault = "SIGKILL of the watcher at random points, readers validate";
    report(fault, n_kills, lost.into_inner(), wrong.into_inner(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_size_of_files_fails_writes_and_ends_nothing() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let watcher = sandbox.start_watcher();
    let limit = |bytes: &str| {
        let mut prlimit = sandbox.command("prlimit");
        let pid = watcher.id().to_string();
        prlimit.args(["--pid", &pid, &format!("--fsize={bytes}:")]).status()
    };
    if !limit("0").is_ok_and(|status| status.success()) {
        return skip("prlimit is missing: no limit on the size of files is tried");
    }
    transcript.reply("two");
    // The snapshot on disk stays the one before, so a cookie is answered with the failure.
    let output = sandbox.ccstatusd().arg("--oneshot").output().unwrap();
    assert!(text(&output).contains("cannot publish"), "{output:?}");
    assert!(limit("unlimited").unwrap().success());
    transcript.reply("three");
    let snapshot = sandbox
        .wait_for("what the limit held back", |snapshot| n_replies(snapshot, &sandbox.root()) == 3);
    assert_eq!(snapshot.watcher.map(|it| it.pid), Some(watcher.id()), "it went on");
}

fn temporaries(dir: &Path) -> Vec<PathBuf> {
    let folders = [dir.to_owned(), dir.join("lines")];
    let entries = folders.iter().flat_map(|it| fs_err::read_dir(it).unwrap().flatten());
    entries.map(|it| it.path()).filter(|it| it.to_string_lossy().ends_with(".tmp")).collect()
}

/// Errors of the kernel, each with the message that the log must contain.
const ERRORS: [(&str, &str); 5] = [
    ("ENOSPC", "No space left on device"),
    ("EDQUOT", "Disk quota exceeded"),
    ("EROFS", "Read-only file system"),
    ("EACCES", "Permission denied"),
    ("EIO", "Input/output error"),
];

/// System calls of the publisher. The last concerns the lines only.
const STEPS: [(&str, &str); 4] = [
    ("open", "inject=open,openat"),
    ("write", "inject=write"),
    ("rename", "inject=rename,renameat,renameat2"),
    ("mkdir", "inject=mkdir,mkdirat"),
];

#[cfg(target_os = "linux")]
#[test]
fn after_any_error_of_the_disk_the_old_snapshot_stays_and_publishing_resumes() {
    let n_skipped = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for error in ERRORS {
            let n_skipped = &n_skipped;
            scope.spawn(move || {
                for step in STEPS {
                    // Every error and every step is among the half that is always tried.
                    let is_odd = (error.0.len() + step.0.len()) % 2 == 1;
                    if is_odd && times(0, 1) == 0 {
                        n_skipped.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    n_skipped
                        .fetch_add(usize::from(!check_refused(error, step)), Ordering::Relaxed);
                }
            });
        }
    });
    let n_tried = ERRORS.len() * STEPS.len() - n_skipped.into_inner();
    report("ENOSPC, EDQUOT, EROFS, EACCES, EIO at open, write, rename, mkdir", n_tried, 0, 0, 0);
}

/// Returns whether this could be tried.
#[cfg(target_os = "linux")]
#[track_caller]
fn check_refused((errno, message): (&str, &str), (step, fault): (&str, &str)) -> bool {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let watcher = sandbox.start_watcher();
    sandbox.oneshot();
    let path = sandbox.state.join("snapshot.json");
    let before = fs_err::read(&path).unwrap();
    let temporary = format!(".ccstatusd-snapshot.json.{}.tmp", watcher.id());
    let (temporary, lines) = (sandbox.state.join(temporary), sandbox.state.join("lines"));
    let target = if step == "mkdir" { &lines } else { &temporary };
    let fault = format!("{fault}:error={errno}");
    let Some(tracer) = inject(&sandbox, watcher.id(), &[target], &[&fault]) else { return false };
    transcript.reply("two");
    sandbox.wait_until(&format!("{errno} at {step} is said"), || watcher.log().contains(message));
    if step == "mkdir" {
        let is_said =
            |snapshot: &Snapshot| snapshot.degraded.iter().any(|it| it.reason.contains(message));
        sandbox.wait_for("lines are not published, and it is said", is_said);
        // The snapshot is, and says the same.
        let output = sandbox.ccstatusd().args(["--oneshot"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    } else {
        assert_eq!(fs_err::read(&path).unwrap(), before, "{errno} at {step}");
        let left = temporaries(&sandbox.state);
        assert!(
            left.is_empty() || step == "rename" && left.len() == 1,
            "{errno}, {step}: {left:?}"
        );
        let output = sandbox.ccstatusd().args(["--oneshot"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    }
    drop(tracer);
    let is_well = |it: &Snapshot| n_replies(it, &sandbox.root()) == 2 && it.degraded.is_empty();
    sandbox.wait_for(&format!("after {errno} at {step} it publishes again"), is_well);
    assert!(watcher.log().contains("publishing again"), "{}", watcher.log());
    true
}

/// The disk is a tmpfs that only the watcher sees.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_survived() {
    let mut sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let state = sandbox.state.clone();
    fs_err::create_dir(&state).unwrap();
    let mount = format!("mount -t tmpfs -o size=512k,mode=700 none '{}'", state.display());
    let script = format!("{mount}; exec \"$0\"");
    let Some(command) = unshared(&sandbox, "-Urm", &script) else { return };
    let watcher = sandbox.spawn_watcher(command);
    sandbox.state = PathBuf::from(format!("/proc/{}/root{}", watcher.id(), state.display()));
    sandbox.wait_for("the first snapshot", |it| n_replies(it, &sandbox.root()) == 1);
    let path = sandbox.state.join("snapshot.json");
    let filler = sandbox.state.join("filler");
    let before = fs_err::read(&path).unwrap();
    fs_err::write(&filler, vec![0; 1 << 20]).unwrap_err();
    transcript.reply("two");
    sandbox.wait_until("it says so", || watcher.log().contains("No space left"));
    assert_eq!(fs_err::read(&path).unwrap(), before);
    fs_err::remove_file(&filler).unwrap();
    sandbox.wait_for("it publishes again", |it| n_replies(it, &sandbox.root()) == 2);

    // A file system cannot become read-only while a lock file is open, so this one starts so.
    sandbox.state = state;
    let script = script.replace("size=512k", "ro");
    let output = unshared(&sandbox, "-Urm", &script).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("Read-only file system"), "{}", text(&output));
    assert!(text(&output).contains("hint: set CCSTATUSD_DIR"), "{}", text(&output));
}

/// A description, and what puts the thing there.
type Obstacle<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// What may be at the path of one of our files.
fn hostile<'a>(path: &'a Path, precious: &'a Path) -> Vec<Obstacle<'a>> {
    let write = |bytes: Vec<u8>| move || fs_err::write(path, &bytes).unwrap();
    let link = |to: PathBuf| move || fs_err::os::unix::fs::symlink(&to, path).unwrap();
    let future =
        br#"{"version":99,"seq":18446744073709551615,"published_at_ms":9223372036854775807}"#;
    let absurd = br#"{"version":1,"seq":18446744073709551615,"published_at_ms":9223372036854775807,
        "watcher":null,"roots":{},"repos":{},"sessions":{},"degraded":[]}"#;
    vec![
        ("empty", Box::new(write(Vec::new()))),
        ("garbage", Box::new(write(b"\0\xff\x1b[2J{{{{".to_vec()))),
        ("deep", Box::new(write(b"[".repeat(100_000)))),
        ("from the future", Box::new(write(future.to_vec()))),
        ("absurd", Box::new(write(absurd.to_vec()))),
        ("huge", Box::new(move || fs_err::File::create(path).unwrap().set_len(1 << 40).unwrap())),
        ("a link to nothing", Box::new(link("/nowhere/at/all".into()))),
        ("a link elsewhere", Box::new(link(precious.to_owned()))),
        ("a link to a device", Box::new(link("/dev/zero".into()))),
        ("a link to itself", Box::new(link(path.to_owned()))),
        (
            "a pipe",
            Box::new(move || nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ),
        ("a directory", Box::new(move || fs_err::create_dir(path).unwrap())),
    ]
}

fn clear(path: &Path) {
    fs_err::remove_file(path).or_else(|_| fs_err::remove_dir(path)).ok();
}

#[test]
fn anything_in_the_place_of_one_of_our_files_is_replaced_or_refused() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    drop(sandbox.start_watcher());
    let precious = sandbox.path("precious");
    // If this was read, its sequence number would show.
    let mut valuable = sandbox.snapshot().unwrap();
    valuable.seq = 5000;
    let valuable = serde_json::to_vec(&valuable).unwrap();
    let mut n_tried = 0;
    for name in ["snapshot.json", "checkpoint", "lines/s1", "lines/latest"] {
        let path = sandbox.state.join(name);
        for (what, lay) in hostile(&path, &precious) {
            fs_err::write(&precious, &valuable).unwrap();
            clear(&path);
            lay();
            let shown = sandbox.ccstatusd().arg("show").stdin(Stdio::null()).output().unwrap();
            assert!(shown.status.success() && !shown.stdout.is_empty(), "{name} is {what}");
            let output = sandbox.try_oneshot();
            let said = text(&output);
            if what == "a directory" && name != "checkpoint" {
                let expected = if name == "snapshot.json" { 2 } else { 0 };
                assert_eq!(output.status.code(), Some(expected), "{name} is {what}: {said}");
                assert!(said.contains(name), "{name} is {what}: {said}");
            } else {
                assert_eq!(output.status.code(), Some(0), "{name} is {what}: {said}");
                let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(n_replies(&snapshot, &sandbox.root()), 1, "{name} is {what}");
                assert!(snapshot.seq < 1000, "{name} is {what}: {}", snapshot.seq);
            }
            assert_eq!(fs_err::read(&precious).unwrap(), valuable, "{name} is {what}");
            n_tried += 1;
        }
        clear(&path);
    }
    report("hostile snapshot, checkpoint and lines", n_tried, 0, 0, 0);
}

#[test]
fn anything_but_a_configuration_in_its_place_is_refused_and_named() {
    let sandbox = Sandbox::with_root();
    sandbox.configure("");
    let path = sandbox.config_file();
    let precious = sandbox.path("precious");
    fs_err::write(&precious, "precious").unwrap();
    let mut n_tried = 0;
    for (what, lay) in hostile(&path, &precious) {
        clear(&path);
        lay();
        for args in [&["--oneshot"][..], &[]] {
            let mut command = sandbox.ccstatusd();
            command.args(args).stdout(Stdio::null());
            if what == "empty" && args.is_empty() {
                continue;
            }
            let mut watcher = sandbox.spawn_watcher(command);
            let code = watcher.wait(Duration::from_secs(10)).code();
            if what == "empty" {
                assert_eq!(code, Some(0), "{}", watcher.log());
                continue;
            }
            assert_eq!(code, Some(2), "{what}: {}", watcher.log());
            assert!(watcher.log().contains("config.toml"), "{what}: {}", watcher.log());
            assert!(!watcher.log().contains('\x1b'), "{what}: {:?}", watcher.log());
        }
        n_tried += 1;
    }
    report("hostile configuration", n_tried, 0, 0, 0);
}
