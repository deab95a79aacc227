//! `--oneshot`: publishes one up-to-date snapshot, and ends.
//!
//! If a watcher runs, this process leaves a cookie (a socket) and waits until the watcher answers it.
//! The watcher first publishes everything that happened before the cookie. If none runs, this process
//! takes the fetch lock, so that only one such run works at a time. It drives the engine of the watcher
//! until nothing is left to fetch.

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

/// After this time a `--oneshot` run gives up, so that a script does not hang. On a machine that works,
/// fetches take at most two calls of a tool up to its deadline: one that began before the run, and one
/// after it.
pub(crate) const ONESHOT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long this process waits for another one before it logs that it waits.
const NOTICE_AFTER: Duration = Duration::from_secs(2);
/// How often, while waiting for the watcher, to check whether it still runs.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often to try the fetch lock.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Makes sure that an up-to-date snapshot is published, by the watcher or by this process, and returns
/// it.
pub fn run(env: &Environment) -> Result<Snapshot> {
    let mut began = Now::read();
    let mut has_waited = false;
    let give_up_at = began.mono + ONESHOT_TIMEOUT;
    let mut wait = Wait { give_up_at, log_at: Some(began.mono + NOTICE_AFTER) };
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    ipc::enter(dir.path())
        .map_err(|it| Error::new("cannot work in the state directory").because(it))?;
    loop {
        if ipc::is_watched() {
            if ask_watcher(&mut wait)? {
                return read(&dir);
            }
            // The watcher ended without an answer. A snapshot that it published before may be older
            // than the question.
            began = Now::read();
            continue;
        }
        if let Some(lock) = FetchLock::try_acquire(&dir)? {
            // A watcher that started in the meantime held the lock until it listened, so now it can be
            // found. A run that this one waited for has published by now.
            if ipc::is_watched() {
                continue;
            }
            // Another run's snapshot is only good enough if this process waited for that run, and if
            // it was published between `began` and now.
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

/// When to stop waiting for another process, and when to log that this process waits.
struct Wait {
    give_up_at: Instant,
    /// `None` once it was logged.
    log_at: Option<Instant>,
}

impl Wait {
    /// Whether this process has waited too long. Logs once what it waits for, if that takes long.
    fn is_over(&mut self, what: &str) -> bool {
        let now = Now::read().mono;
        if self.log_at.take_if(|it| now >= *it).is_some() {
            warn!("waiting for {what}, {ONESHOT_TIMEOUT:?} at most");
        }
        now >= self.give_up_at
    }
}

/// Leaves a cookie, and waits for the answer. Returns false if the watcher ended without one.
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

/// Drives the engine until it has published one snapshot, and returns that.
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
