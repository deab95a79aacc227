//! The fixture of integration tests: a private HOME with watchers, clients and repositories.
//! Nothing outside of it is touched.
#![expect(clippy::disallowed_methods, reason = "the user of the sandbox at work")]

use std::cell::Cell;
#[cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use ccstatusd::store::dir::{SOCKET, StateDir};
use ccstatusd::store::lock::FetchLock;
use ccstatusd::store::schema::{self, ClientFacts, Repo, Session, SessionId, Snapshot};
use ccstatusd::time::{Now, pause};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::transcripts::Transcript;

/// How long anything may take that takes moments, on a busy machine.
pub(crate) const CAP: Duration = Duration::from_secs(10);

/// A private HOME. Watchers in it find a stub of `git`, which logs every call and then runs the
/// real one.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The home directory. Its path contains no links.
    pub(crate) home: PathBuf,
    /// The state directory.
    pub(crate) state: PathBuf,
    /// Environment variables of the watchers, beside those of all sandboxes.
    env: Vec<(OsString, OsString)>,
    n_watchers: Cell<u32>,
    _tmp: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let tmp = tempfile::tempdir().unwrap();
        let home = fs_err::canonicalize(tmp.path()).unwrap();
        let sandbox = Sandbox {
            state: home.join("state"),
            home,
            env: Vec::new(),
            n_watchers: Cell::new(0),
            _tmp: tmp,
        };
        fs_err::create_dir(sandbox.path("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\nhome='{}'\necho \"start $$ $PPID $*\" >> \"$home/git.log\"\n\
             case \"$*\" in *' status '*)\n\
             if [ -e \"$home/slow\" ]; then sleep \"$(cat \"$home/slow\")\"; fi;; esac\n\
             if [ -e \"$home/fail\" ]; then echo 'the stub fails' >&2; code=128\n\
             else '{}' \"$@\"; code=$?; fi\n\
             echo \"end $$\" >> \"$home/git.log\"\nexit $code\n",
            sandbox.home.display(),
            real_git().display(),
        );
        write_script(&sandbox.path("bin/git"), &script);
        fs_err::write(sandbox.path("git.log"), "").unwrap();
        sandbox
    }

    /// With the default config root, and `projects` in it.
    pub(crate) fn with_root() -> Sandbox {
        let sandbox = Sandbox::new();
        fs_err::create_dir_all(sandbox.root().join("projects")).unwrap();
        sandbox
    }

    /// With the default config root, the repository `p`, and the session `s1` in it. Nothing is
    /// written to the session's transcript yet.
    #[track_caller]
    pub(crate) fn with_session() -> (Sandbox, Transcript) {
        let sandbox = Sandbox::with_root();
        let repo = sandbox.repo("p");
        let transcript = sandbox.session("s1", &repo);
        (sandbox, transcript)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The config root that needs no configuration.
    pub(crate) fn root(&self) -> PathBuf {
        self.path(".claude")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path(".config/ccstatusd/config.toml")
    }

    #[track_caller]
    pub(crate) fn configure(&self, config: &str) {
        fs_err::create_dir_all(self.path(".config/ccstatusd")).unwrap();
        fs_err::write(self.config_file(), config).unwrap();
    }

    pub(crate) fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.env.push((name.into(), value.into()));
    }

    /// A program whose environment is that of the sandbox alone.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut path = self.path("bin").into_os_string();
        path.push(":");
        path.push(env_path());
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", &self.home)
            .env("TZ", "UTC")
            .env("CCSTATUSD_DIR", &self.state)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn ccstatusd(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_ccstatusd"))
    }

    // ---- Watchers

    /// Starts a watcher, and waits for its first snapshot.
    #[track_caller]
    pub(crate) fn start_watcher(&self) -> Watcher {
        let watcher = self.spawn_watcher(self.ccstatusd());
        self.wait_for("the watcher's first snapshot", |snapshot| {
            snapshot.watcher.as_ref().is_some_and(|it| it.pid == watcher.id())
        });
        watcher
    }

    /// Starts a watcher by this command, and does not wait for it.
    pub(crate) fn spawn_watcher(&self, mut command: Command) -> Watcher {
        let n = self.n_watchers.get();
        self.n_watchers.set(n + 1);
        let log = self.path(&format!("watcher-{n}.log"));
        let stderr = fs_err::File::create(&log).unwrap();
        let child = command.stderr(stderr.into_parts().0).spawn().unwrap();
        Watcher { child, log, has_ended: false }
    }

    /// The snapshot on disk; `None` where there is none. Panics if it cannot be parsed.
    #[track_caller]
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let bytes = fs_err::read(self.state.join("snapshot.json")).ok()?;
        let parsed = serde_json::from_slice(&bytes);
        Some(parsed.unwrap_or_else(|it| panic!("{it}: {}", String::from_utf8_lossy(&bytes))))
    }

    /// Waits for a snapshot for which `is_met` holds, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is_met: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        self.wait_longer_for(CAP, what, is_met)
    }

    /// As [`wait_for`](Sandbox::wait_for), for what takes long by design.
    #[track_caller]
    pub(crate) fn wait_longer_for(
        &self,
        cap: Duration,
        what: &str,
        mut is_met: impl FnMut(&Snapshot) -> bool,
    ) -> Snapshot {
        let mut seen = None;
        if !is_met_within(cap, || {
            seen = self.snapshot();
            seen.as_ref().is_some_and(&mut is_met)
        }) {
            panic!("{what}: not within {cap:?}; the snapshot is {seen:#?}");
        }
        seen.unwrap()
    }

    /// Waits for a condition that is not one of the snapshot.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_met: impl FnMut() -> bool) {
        if !is_met_within(CAP, is_met) {
            panic!("{what}: not within {CAP:?}; the snapshot is {:#?}", self.snapshot());
        }
    }

    /// Runs `--oneshot`, which must succeed, and returns the snapshot that it prints.
    #[track_caller]
    pub(crate) fn oneshot(&self) -> Snapshot {
        let output = self.try_oneshot();
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|it| panic!("{it}: {output:?}"))
    }

    /// Runs `--oneshot`, which may fail.
    #[track_caller]
    pub(crate) fn try_oneshot(&self) -> Output {
        self.start_oneshot().wait_with_output().unwrap()
    }

    /// Runs `--oneshot`, which may fail, where something could hold it up for longer than `cap`.
    #[track_caller]
    pub(crate) fn try_oneshot_within(&self, cap: Duration) -> Output {
        let child = self.start_oneshot();
        let pid = Pid::from_raw(child.id().cast_signed());
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let output = ended.recv_timeout(cap).unwrap_or_else(|_| {
            kill(pid, Signal::SIGKILL).ok();
            panic!("--oneshot: not within {cap:?}; the snapshot is {:#?}", self.snapshot());
        });
        output.unwrap()
    }

    /// Starts a `--oneshot` run, and does not wait for it.
    #[track_caller]
    pub(crate) fn start_oneshot(&self) -> Child {
        let mut command = self.ccstatusd();
        command.args(["--oneshot", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The processes of this sandbox, as `PID: COMMAND LINE`.
    #[cfg(target_os = "linux")]
    pub(crate) fn processes(&self) -> Vec<String> {
        processes_with(&format!("HOME={}", self.home.display()))
    }

    /// Sends the watcher a hint, as a display does.
    #[track_caller]
    pub(crate) fn hint(&self, facts: &ClientFacts) {
        let dir = fs_err::File::open(&self.state).unwrap();
        // The path of the state directory may be too long for a socket address.
        let fd = std::os::fd::AsRawFd::as_raw_fd(&dir);
        let socket = UnixDatagram::unbound().unwrap();
        let bytes = serde_json::to_vec(facts).unwrap();
        socket.send_to(&bytes, format!("/proc/self/fd/{fd}/{SOCKET}")).unwrap();
    }

    // ---- Claude Code

    /// A session in the default root that works in `cwd`. Nothing is written yet.
    pub(crate) fn session(&self, id: &str, cwd: &Path) -> Transcript {
        Transcript::new(&self.root(), "-project", id, cwd)
    }

    // ---- Git

    /// A repository with one commit of one file `f`, on the branch `main`.
    #[track_caller]
    pub(crate) fn repo(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs_err::create_dir_all(&dir).unwrap();
        self.sh(&dir, "git init -q && echo 1 > f && git add f && git commit -qm one");
        dir
    }

    /// Runs a script with the real git, as the user would, and returns what it prints.
    #[track_caller]
    pub(crate) fn sh(&self, dir: &Path, script: &str) -> String {
        let output = self
            .command("sh")
            .args(["-ec", script])
            .current_dir(dir)
            .env("PATH", env_path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_COUNT", "2")
            .env("GIT_CONFIG_KEY_0", "init.defaultBranch")
            .env("GIT_CONFIG_VALUE_0", "main")
            .env("GIT_CONFIG_KEY_1", "maintenance.auto")
            .env("GIT_CONFIG_VALUE_1", "false")
            .env("GIT_AUTHOR_NAME", "n")
            .env("GIT_AUTHOR_EMAIL", "n@example.org")
            .env("GIT_COMMITTER_NAME", "n")
            .env("GIT_COMMITTER_EMAIL", "n@example.org")
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Makes the stub of `git` run these lines of shell first.
    #[track_caller]
    pub(crate) fn patch_git(&self, lines: &str) {
        let stub = fs_err::read_to_string(self.path("bin/git")).unwrap();
        let patched = stub.replacen("\ncase ", &format!("\n{lines}case "), 1);
        assert_ne!(patched, stub);
        fs_err::write(self.path("bin/git"), patched).unwrap();
    }

    /// Makes every further `git status` of a watcher take this long.
    pub(crate) fn slow_git(&self, seconds: &str) {
        fs_err::write(self.path("slow"), seconds).unwrap();
    }

    /// Makes every further `git` call of a watcher fail.
    pub(crate) fn failing_git(&self) {
        fs_err::write(self.path("fail"), "").unwrap();
    }

    /// The calls of `git` so far: lines `start PID PARENT ARGS…` and `end PID`.
    pub(crate) fn git_log(&self) -> Vec<String> {
        let log = fs_err::read_to_string(self.path("git.log")).unwrap();
        log.lines().map(str::to_owned).collect()
    }

    /// How many calls of `git status` were started so far. Other calls go with each of them.
    pub(crate) fn n_git_calls(&self) -> usize {
        self.git_log()
            .iter()
            .filter(|it| it.starts_with("start") && it.contains(" status "))
            .count()
    }
}

/// A running watcher. Dropping this ends it, and prints its log if the test has failed.
#[derive(Debug)]
pub(crate) struct Watcher {
    child: Child,
    log: PathBuf,
    has_ended: bool,
}

impl Watcher {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(!self.has_ended);
        send_signal(self.id(), signal);
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self, cap: Duration) -> ExitStatus {
        let mut status = None;
        let has_ended = is_met_within(cap, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(has_ended, "the watcher still runs after {cap:?}");
        self.has_ended = true;
        status.unwrap()
    }
}

impl Drop for Watcher {
    #[expect(clippy::print_stderr, reason = "the log of a failed test")]
    fn drop(&mut self) {
        if !self.has_ended {
            let id = Pid::from_raw(self.id().cast_signed());
            kill(id, Signal::SIGCONT).ok();
            kill(id, Signal::SIGTERM).ok();
            let is_over = || !matches!(self.child.try_wait(), Ok(None));
            if !is_met_within(Duration::from_secs(5), is_over) {
                self.child.kill().ok();
                self.child.wait().ok();
            }
        }
        if std::thread::panicking() {
            let log = fs_err::read_to_string(&self.log).unwrap_or_default();
            eprintln!("---- {}\n{log}", self.log.display());
        }
    }
}

/// The session with this id in a snapshot.
#[track_caller]
pub(crate) fn session<'a>(snapshot: &'a Snapshot, id: &str) -> &'a Session {
    let found = snapshot.sessions.get(&SessionId(id.to_owned()));
    found.unwrap_or_else(|| panic!("no session {id} in {snapshot:#?}"))
}

/// The facts of the working tree of a session, as far as they are known.
pub(crate) fn repo_of<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a Repo> {
    let session = snapshot.sessions.get(&SessionId(id.to_owned()))?;
    snapshot.repos.get(&schema::RepoKey(session.repo.clone()?)).filter(|it| it.as_of_ms > 0)
}

/// The replies that are counted in a root's active block.
pub(crate) fn n_replies(snapshot: &Snapshot, root: &Path) -> u64 {
    let key = schema::RootKey(root.to_str().unwrap().to_owned());
    let usage = snapshot.roots.get(&key).and_then(|it| it.usage.as_ref());
    usage.and_then(|it| it.block.as_ref()).map_or(0, |it| it.entries)
}

/// The processes that have this text in their environment, as `PID: COMMAND LINE`. Zombies have no
/// environment.
#[cfg(target_os = "linux")]
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let finder = memchr::memmem::Finder::new(text.as_bytes());
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        let environment = fs_err::read(entry.path().join("environ")).unwrap_or_default();
        if finder.find(&environment).is_some() {
            let command = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let mut line = entry.file_name().to_string_lossy().into_owned();
            write!(line, ": {command}").unwrap();
            found.push(line);
        }
    }
    found
}

/// The children of a process that it has not reaped.
#[cfg(target_os = "linux")]
pub(crate) fn zombies_of(parent: u32) -> BTreeSet<u32> {
    let entries = fs_err::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let is_zombie = |pid: &u32| {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.trim_start().starts_with(&format!("Z {parent} "))
    };
    pids.filter(is_zombie).collect()
}

#[track_caller]
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// A user who is not the one that runs the tests.
#[cfg(target_os = "linux")]
pub(crate) const OTHER_USER: u32 = 64_001;

/// Installs a program in `dir` that runs its arguments as root, whoever starts it, so that others
/// cannot end it; as `sudo` does. Returns its command line. Where that is impossible, returns
/// `None` and prints why.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn install_become_root(dir: &Path) -> Option<Vec<String>> {
    let path = dir.join("become-root");
    let Some(setpriv) = installed("setpriv") else {
        skip("setpriv is missing: no program becomes root");
        return None;
    };
    fs_err::copy(setpriv, &path).unwrap();
    fs_err::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
    let options = ["--reuid=0", "--regid=0", "--clear-groups"].map(str::to_owned);
    let program: Vec<_> = [path.to_str().unwrap().to_owned()].into_iter().chain(options).collect();
    let output = as_other_user(Command::new("setpriv")).args(&program).args(["id", "-ru"]).output();
    match output {
        Ok(output) if output.stdout == b"0\n" => Some(program),
        other => {
            skip(&format!("not root, or a disk without setuid: nothing becomes root: {other:?}"));
            None
        }
    }
}

/// `command` is that of `setpriv`. The program and its arguments are to be added.
#[cfg(target_os = "linux")]
pub(crate) fn as_other_user(mut command: Command) -> Command {
    let id = OTHER_USER.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    command
}

/// Ends the processes that have this text in their environment as soon as this is dropped.
#[cfg(target_os = "linux")]
pub(crate) struct EndAtLast(pub(crate) String);

#[cfg(target_os = "linux")]
impl Drop for EndAtLast {
    fn drop(&mut self) {
        for line in processes_with(&self.0) {
            let pid = line.split(':').next().and_then(|it| it.parse().ok());
            pid.map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
        }
    }
}

/// Writes an executable file.
#[track_caller]
pub(crate) fn write_script(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
}

/// The fetch lock of a state directory that no other process uses.
#[track_caller]
pub(crate) fn fetch_lock(state: &Path) -> FetchLock {
    let dir = StateDir::open(state).unwrap();
    FetchLock::try_acquire(&dir).unwrap().expect("no other process uses the directory")
}

pub(crate) fn is_met_within(cap: Duration, mut is_met: impl FnMut() -> bool) -> bool {
    let give_up_at = Now::read().mono + cap;
    loop {
        if is_met() {
            return true;
        }
        if Now::read().mono >= give_up_at {
            return false;
        }
        pause(Duration::from_millis(5));
    }
}

/// Standard output and standard error.
pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).concat()
}

/// Prints that something is not tested on this machine. Since the test runner hides what passing
/// tests print, the line is also written to the file that `.ci/run` names.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP: {reason}");
    if let Some(path) = std::env::var_os("CCSTATUSD_SKIPS") {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "SKIP: {reason}").unwrap();
    }
}

pub(crate) fn env_path() -> OsString {
    std::env::var_os("PATH").unwrap()
}

fn real_git() -> PathBuf {
    installed("git").expect("git is installed")
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = env_path();
    std::env::split_paths(&path).map(|it| it.join(program)).find(|it| it.is_file())
}
