//! `--oneshot`: brings everything up to date once.
//!
//! Beside a living watcher it leaves a cookie and waits: the answer includes everything that
//! happened before, and nothing is scanned twice. Without one it runs the watcher's own core until
//! that has nothing left to do, alone among its kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use tracing::warn;

use crate::cli::Environment;
use crate::engine::{Engine, Role};
use crate::error::{Error, Result};
use crate::ipc::{self, Cookie};
use crate::state::event::Event;
use crate::store::dir::StateDir;
use crate::store::lock::FetchLock;
use crate::store::schema::Snapshot;
use crate::time::{Now, pause};

/// The whole call gives up after this long, so that a script does not hang. It is more than any
/// chain of bounded fetches takes on a machine that is not broken: two calls of a tool that takes
/// as long as it may, since the first may have begun too early.
pub(crate) const ONESHOT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long we wait for another process before we say so.
const NOTICE_AFTER: Duration = Duration::from_secs(2);
/// How often to see whether the watcher that we wait for still lives.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often to try the fetch lock.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Publishes what is true now, and returns it.
pub fn run(env: &Environment) -> Result<Snapshot> {
    let mut began = Now::read();
    let mut has_waited = false;
    let give_up_at = began.mono + ONESHOT_TIMEOUT;
    let mut wait = Wait { give_up_at, say_at: Some(began.mono + NOTICE_AFTER) };
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    ipc::enter(dir.path())
        .map_err(|it| Error::new("cannot work in the state directory").because(it))?;
    loop {
        if ipc::is_watched() {
            if ask_watcher(&mut wait)? {
                return read(&dir);
            }
            // It has published, perhaps, but not what we asked for.
            began = Now::read();
            continue;
        }
        if let Some(lock) = FetchLock::try_acquire(&dir)? {
            // With the lock in hand: a watcher that started since listens by now, and a run that
            // we waited for has published.
            if ipc::is_watched() {
                continue;
            }
            // Only of a run that we waited for is it known that it looked, and under this clock.
            let now_ms = Now::read().wall_ms;
            let since = began.wall_ms + 1..=now_ms;
            let published =
                dir.read_snapshot().filter(|it| has_waited && since.contains(&it.published_at_ms));
            return match published {
                Some(snapshot) => Ok(snapshot),
                None => run_without_watcher(env, dir, lock, give_up_at),
            };
        }
        if wait.is_over("another process, which fetches right now") {
            return Err(Error::new(format!(
                "another process has been fetching for {ONESHOT_TIMEOUT:?}"
            ))
            .hint("see who holds fetch.lock in the state directory"));
        }
        has_waited = true;
        pause(RETRY_EVERY);
    }
}

/// How long we wait for another process.
struct Wait {
    give_up_at: Instant,
    say_at: Option<Instant>,
}

impl Wait {
    /// Says once what for, where it takes long.
    fn is_over(&mut self, what: &str) -> bool {
        let now = Now::read().mono;
        if self.say_at.take_if(|it| now >= *it).is_some() {
            warn!("waiting for {what}, {ONESHOT_TIMEOUT:?} at most");
        }
        now >= self.give_up_at
    }
}

/// Whether the watcher answered; it may end while we wait.
fn ask_watcher(wait: &mut Wait) -> Result<bool> {
    let asking = || Error::new("cannot ask the watcher");
    let cookie = Cookie::leave().map_err(|it| asking().because(it))?;
    loop {
        if cookie.wait(CHECK_EVERY).map_err(|it| asking().because(it))? {
            return Ok(true);
        }
        if !ipc::is_watched() {
            return Ok(false);
        }
        if wait.is_over("the watcher to answer") {
            return Err(asking()
                .because(format!("it did not answer in {ONESHOT_TIMEOUT:?}"))
                .hint("restart ccstatusd"));
        }
    }
}

fn run_without_watcher(
    env: &Environment,
    dir: StateDir,
    lock: FetchLock,
    give_up_at: Instant,
) -> Result<Snapshot> {
    dir.sweep();
    ipc::sweep();
    let role = Role::Once { lock: Arc::new(lock) };
    let mut engine = Engine::start(env, dir, role, Now::read())?;
    let mut event = Event::Deadline;
    loop {
        engine.handle(event)?;
        match engine.published {
            None => {}
            Some(Ok(())) => return read(engine.dir()),
            Some(Err(reason)) => {
                return Err(Error::new("cannot publish the snapshot")
                    .because(reason)
                    .hint("is the disk full?"));
            }
        }
        if Now::read().mono >= give_up_at {
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
