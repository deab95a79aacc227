//! `--oneshot`: publishes one up-to-date snapshot, and ends.
//!
//! If a watcher runs, this process leaves a cookie (a socket) and waits until the watcher answers
//! it. The watcher first publishes everything that happened before the cookie. If none runs, this
//! process takes the fetch lock, so that only one such run works at a time. It drives the engine of
//! the watcher until nothing is left to fetch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use tracing::warn;

use crate::cli::Environment;
use crate::engine::{Engine, Role};
use crate::error::{Error, Result};
use crate::fetch::process;
use crate::ipc::{self, Cookie};
use crate::state::event::Event;
use crate::store::dir::StateDir;
use crate::store::lock::{FetchLock, WatchLock};
use crate::store::schema::{Import, Snapshot};
use crate::time::{Now, pause};

/// After this time a `--oneshot` run gives up, so that a script does not hang. On a machine that
/// works, fetches take at most two calls of a tool up to its deadline: one that began before the
/// run, and one after it.
const ONESHOT_TIMEOUT: Duration = Duration::from_secs(90);
/// A process that is stopped, by Ctrl-Z say, is waited for this long.
const STOPPED_TIMEOUT: Duration = Duration::from_secs(8);
/// How long this process waits for another one before it logs that it waits.
const NOTICE_AFTER: Duration = Duration::from_millis(1500);
/// How often, while waiting for the watcher, to check whether it still runs.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often to try the fetch lock.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Is told now and then how far this process is with bringing everything up to date by itself.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

/// How far this process is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How long it has worked.
    pub elapsed: Duration,
    /// How far old transcripts are read for the record; `None` if none waits.
    pub import: Option<Import>,
}

/// Makes sure that an up-to-date snapshot is published, by the watcher or by this process, and
/// returns it.
pub fn run(env: &Environment) -> Result<Snapshot> {
    match bring_up_to_date(env, false, &mut |_| {})? {
        UpToDate::ByWatcher(dir) => read(&dir),
        UpToDate::Here(snapshot) => Ok(*snapshot),
    }
}

/// Makes sure that the record of usage is up to date. Where no watcher runs, old transcripts are
/// taken in as well. Returns how far a watcher is with that, if it is not done.
pub fn refresh_record(env: &Environment, on_progress: OnProgress<'_>) -> Result<Option<Import>> {
    Ok(match bring_up_to_date(env, true, on_progress)? {
        UpToDate::ByWatcher(dir) => dir.read_snapshot().and_then(|it| it.import),
        UpToDate::Here(snapshot) => snapshot.import,
    })
}

/// Who has brought everything up to date.
enum UpToDate {
    /// A watcher. Its snapshot is in this directory.
    ByWatcher(StateDir),
    /// This process, or another one like it, which has published this snapshot.
    Here(Box<Snapshot>),
}

fn bring_up_to_date(
    env: &Environment,
    does_import: bool,
    on_progress: OnProgress<'_>,
) -> Result<UpToDate> {
    let began = Now::read();
    let give_up_at = began.mono + ONESHOT_TIMEOUT;
    let mut wait = Wait { began: began.mono, log_at: Some(began.mono + NOTICE_AFTER) };
    // The snapshot that was there when this process began to wait for other runs, and the time.
    let mut waiting_since: Option<(u64, Now)> = None;
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    ipc::enter(dir.path())
        .map_err(|it| Error::new("cannot work in the state directory").because(it))?;
    loop {
        if ipc::is_watched() {
            if ask_watcher(&dir, &mut wait)? {
                return Ok(UpToDate::ByWatcher(dir));
            }
            // The watcher ended without an answer. A snapshot that it published before may be older
            // than the question.
            waiting_since = None;
            continue;
        }
        let Some(lock) = FetchLock::try_acquire(&dir)? else {
            let number = || dir.read_snapshot().map_or(0, |snapshot| snapshot.seq);
            waiting_since.get_or_insert_with(|| (number(), Now::read()));
            wait.check("another process, which fetches right now", FetchLock::holder(&dir))?;
            pause(RETRY_EVERY);
            continue;
        };
        // A watcher that started in the meantime held the lock until it listened, so now it can be
        // found. Runs that this one waited for have published by now.
        if ipc::is_watched() {
            continue;
        }
        // Another run may have left old transcripts alone.
        let waited_since = waiting_since.filter(|_| !does_import);
        if let Some(snapshot) = waited_since.and_then(|since| shared(&dir, since)) {
            return Ok(UpToDate::Here(Box::new(snapshot)));
        }
        let role = Role::Once { lock: Arc::new(lock), does_import };
        let done = run_without_watcher(env, dir.clone(), role, give_up_at, on_progress)?;
        if let Some(snapshot) = done {
            return Ok(UpToDate::Here(Box::new(snapshot)));
        }
        // A watcher has started meanwhile, and answers from now on.
        waiting_since = None;
    }
}

/// The snapshot of another run, if that run began after this process started to wait. Runs follow
/// each other, so it did if it is not the first that has published since: the first may have read a
/// file before a change that this process was to include. `None` too if the clock was set back
/// since, which makes the times mean nothing.
fn shared(dir: &StateDir, (number, since): (u64, Now)) -> Option<Snapshot> {
    let times = since.wall_ms + 1..=Now::read().wall_ms;
    let is_fresh = |snapshot: &Snapshot| {
        snapshot.seq >= number + 2 && times.contains(&snapshot.published_at_ms)
    };
    dir.read_snapshot().filter(is_fresh)
}

/// How long this process has waited for another one.
struct Wait {
    began: Instant,
    /// When to log that it waits; `None` once it was logged.
    log_at: Option<Instant>,
}

impl Wait {
    /// Fails if this process has waited too long for another one, whose id is `holder` if that is
    /// known. It has too long sooner if that process is stopped. Logs once what it waits for, if
    /// that takes long.
    fn check(&mut self, what: &str, holder: Option<u32>) -> Result<()> {
        let now = Now::read().mono;
        if self.log_at.is_none_or(|at| now < at) && now < self.began + STOPPED_TIMEOUT {
            return Ok(());
        }
        let stopped = holder.filter(|pid| process::is_stopped(*pid));
        if self.log_at.take_if(|at| now >= *at).is_some() {
            match stopped {
                Some(pid) => warn!("waiting for {what}: process {pid} is stopped"),
                None => warn!("waiting for {what}, {ONESHOT_TIMEOUT:?} at most"),
            }
        }
        let waiting = || Error::new(format!("cannot wait any longer for {what}"));
        match stopped {
            Some(pid) if now >= self.began + STOPPED_TIMEOUT => Err(waiting()
                .because(format!("process {pid} is stopped"))
                .hint(format!("continue it with `kill -CONT {pid}`, or end it"))),
            _ if now >= self.began + ONESHOT_TIMEOUT => Err(waiting()
                .because(format!("it took {ONESHOT_TIMEOUT:?}"))
                .hint("restart it; watch.lock and fetch.lock in the state directory name it")),
            _ => Ok(()),
        }
    }
}

/// Leaves a cookie, and waits for the answer. Returns false if the watcher ended without one.
fn ask_watcher(dir: &StateDir, wait: &mut Wait) -> Result<bool> {
    let asking = || Error::new("cannot ask the watcher");
    let cookie = Cookie::leave().map_err(|it| asking().because(it))?;
    loop {
        if cookie.wait(CHECK_EVERY).map_err(|it| asking().because(it))? {
            return Ok(true);
        }
        if !ipc::is_watched() {
            return Ok(false);
        }
        wait.check("the watcher to answer", WatchLock::holder(dir))?;
    }
}

/// Drives the engine until it has published one snapshot, and returns that. `None` if a watcher has
/// started meanwhile, which publishes from now on.
fn run_without_watcher(
    env: &Environment,
    dir: StateDir,
    role: Role,
    give_up_at: Instant,
    on_progress: OnProgress<'_>,
) -> Result<Option<Snapshot>> {
    let began = Now::read().mono;
    dir.sweep();
    ipc::sweep();
    let mut engine = Engine::start(env, dir, role, Now::read())?;
    let mut event = Event::Deadline;
    loop {
        engine.handle(event)?;
        match engine.published {
            None => {}
            Some(Ok(())) => return read(engine.dir()).map(Some),
            Some(Err(_)) if ipc::is_watched() => return Ok(None),
            Some(Err(reason)) => {
                return Err(Error::new("cannot publish the snapshot")
                    .because(reason)
                    .hint("is the disk full?"));
            }
        }
        let now = Now::read().mono;
        on_progress(Progress { elapsed: now - began, import: engine.state().import() });
        if now >= give_up_at {
            return Err(Error::new(format!(
                "cannot bring everything up to date in {ONESHOT_TIMEOUT:?}"
            )));
        }
        let deadline = engine.state().deadline().map_or(give_up_at, |at| at.min(give_up_at));
        event = match engine.results.recv_deadline(deadline) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => Event::Deadline,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new("cannot go on without the threads that fetch"));
            }
        };
    }
}

fn read(dir: &StateDir) -> Result<Snapshot> {
    dir.read_snapshot().ok_or_else(|| {
        Error::new(format!("cannot read the snapshot in {}", dir.path().display()))
            .hint("it is gone, or from another version of ccstatusd")
    })
}
