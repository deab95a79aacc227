//! Starts a watcher that outlives the terminal, and ends the one that runs.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::Environment;
use crate::error::{Error, Exit, Result};
use crate::fetch::upgrade;
use crate::pool::probe::Probe;
use crate::sanitize;
use crate::store::dir::StateDir;
use crate::store::lock::WatchLock;
use crate::systemd::{self, START_TIMEOUT, Unit};
use crate::time::{Now, pause};

/// The log of a watcher in the background, in the state directory.
const LOG: &str = "watcher.log";

/// How long a watcher may take to end. It promises two seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a watcher that waited may take to be known after it got the lock.
const SUCCESSION: Duration = Duration::from_millis(100);
/// What to do about a watcher of another version.
pub const CATCHES_UP: &str = "it goes on as the program at its path within a minute; if it does \
                              not, `ccstatusd stop` and `ccstatusd start`";
/// How often to look whether it has started, or ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Starts a watcher that outlives the terminal, and waits until it watches. Does nothing if one
/// runs already. Returns what to tell the user.
///
/// If the systemd unit is enabled, systemd starts it, so that it starts the watcher again should
/// that die. Otherwise, and if systemd cannot, the watcher is a process in the background.
pub fn start(env: &Environment) -> Result<String> {
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    let already = |pid| {
        let skew = skew(&dir, pid).map(|it| format!("\n{it}: {CATCHES_UP}")).unwrap_or_default();
        Ok(format!("a watcher runs already (process {pid}){skew}"))
    };
    if let Some(pid) = WatchLock::running(&dir) {
        return already(pid);
    }
    let unit_failed = match start_unit(env, &dir) {
        Ok(Some(pid)) => return Ok(format!("systemd has started the watcher (process {pid})")),
        Ok(None) => String::new(),
        Err(err) => format!("\n{err}"),
    };
    let errors = tempfile::tempfile()
        .map_err(|err| Error::new("cannot make a temporary file").because(err))?;
    let launch = |errors: &File| {
        let started = errors.try_clone().and_then(|stderr| spawn(env, &dir, stderr.into()));
        started.map_err(|err| Error::new("cannot start the watcher").because(err))
    };
    let mut child = launch(&errors)?;
    let give_up_at = Now::read().mono + START_TIMEOUT;
    while Now::read().mono < give_up_at {
        let watcher = dir.read_snapshot().and_then(|snapshot| snapshot.watcher);
        if watcher.is_some_and(|it| it.pid == child.id()) {
            return Ok(format!("the watcher has started (process {}){unit_failed}", child.id()));
        }
        match child.try_wait() {
            Ok(Some(status)) => {
                if let Some(pid) = WatchLock::running(&dir) {
                    return already(pid);
                }
                if status.code() == Some(Exit::AlreadyRunning as i32) {
                    // A watcher that is just ending still holds the lock.
                    pause(LOOK_EVERY);
                    child = launch(&errors)?;
                    continue;
                }
                let mut said = String::new();
                let mut errors = &errors;
                errors.rewind().and_then(|()| errors.read_to_string(&mut said)).ok();
                let said = said.trim().trim_start_matches("ccstatusd: ");
                return Err(Error::new(format!("the watcher ended at once, with {status}"))
                    .because(if said.is_empty() { "it printed nothing" } else { said }));
            }
            _ => pause(LOOK_EVERY),
        }
    }
    let log = dir.join(LOG);
    Err(Error::new(format!("the watcher has published nothing for {START_TIMEOUT:?}"))
        .hint(format!("process {} goes on; its log is {}", child.id(), log.display())))
}

/// Lets systemd start the watcher if its unit is enabled, and returns the process.
fn start_unit(env: &Environment, dir: &StateDir) -> Result<Option<u32>> {
    let probe = Probe::start(|| ()).map_err(|err| Error::new("cannot start a thread").because(err));
    if !Unit::find(env, &probe?).is_enabled() {
        return Ok(None);
    }
    systemd::start(env)?;
    // A unit that does not wait for the watcher to be ready, say one of the user's own.
    let give_up_at = Now::read().mono + START_TIMEOUT;
    loop {
        let watcher = dir.read_snapshot().and_then(|snapshot| snapshot.watcher);
        let running = WatchLock::running(dir);
        if running.is_some() && watcher.map(|it| it.pid) == running {
            return Ok(running);
        }
        if Now::read().mono >= give_up_at {
            return Err(Error::new("systemd has started the unit, and no watcher runs"));
        }
        pause(LOOK_EVERY);
    }
}

/// What to tell of the watcher that runs, if it is another version than this program. It may be in
/// the minute after an upgrade, or run from another path.
pub fn skew(dir: &StateDir, pid: u32) -> Option<String> {
    let watcher = dir.read_snapshot()?.watcher.filter(|it| it.pid == pid)?;
    let (version, own) = (sanitize::message(&watcher.version), env!("CARGO_PKG_VERSION"));
    (version != own).then(|| format!("the watcher is version {version}, and this is {own}"))
}

/// Ends the watcher that runs, and waits for its end. Returns what to tell the user.
pub fn stop(env: &Environment) -> Result<String> {
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    let Some(pid) = WatchLock::running(&dir) else { return Ok("no watcher runs".to_owned()) };
    let doing = || Error::new(format!("cannot end the watcher (process {pid})"));
    match kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(err) => return Err(doing().because(err)),
    }
    let give_up_at = Now::read().mono + STOP_TIMEOUT;
    while Now::read().mono < give_up_at {
        if WatchLock::running(&dir) != Some(pid) {
            let next = match successor(&dir) {
                Some(next) => format!("; process {next} has waited for that and watches now"),
                None => String::new(),
            };
            return Ok(format!("the watcher has ended (process {pid}){next}"));
        }
        pause(LOOK_EVERY);
    }
    Err(doing()
        .because(format!("it still runs after {STOP_TIMEOUT:?}"))
        .hint(format!("it may be stopped, or wait for a disk: look at it, or `kill -9 {pid}`")))
}

/// The watcher that takes over from one that has ended, if one has waited: the kernel gives it the
/// lock at once, and it writes its id a moment later.
fn successor(dir: &StateDir) -> Option<u32> {
    let give_up_at = Now::read().mono + SUCCESSION;
    loop {
        let next = WatchLock::running(dir);
        if next.is_some() || Now::read().mono >= give_up_at {
            return next;
        }
        pause(LOOK_EVERY);
    }
}

#[expect(clippy::disallowed_methods, reason = "the watcher, which is to outlive this process")]
fn spawn(env: &Environment, dir: &StateDir, stderr: Stdio) -> io::Result<Child> {
    // By the path that an upgrade replaces, so that the watcher notices it.
    let program = upgrade::own_path(env.program_paths());
    Command::new(program.ok_or(io::ErrorKind::NotFound)?)
        .args(["--detach", "--log-file"])
        .arg(dir.join(LOG))
        // Otherwise it would keep the disk of this directory busy.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
}
