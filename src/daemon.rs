//! The watcher: a loop that waits for events in one `select!`, and hands each to the engine. Also
//! its start, its signals and its messages to systemd.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, bounded, never, select_biased, unbounded};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tracing::{debug, info, warn};

use crate::cli::Environment;
use crate::engine::{Engine, Role};
use crate::error::{Error, Exit, Result};
use crate::fetch::guard;
use crate::ipc;
use crate::state::event::Event;
use crate::store::dir::StateDir;
use crate::store::lock::{FetchLock, WatchLock};
use crate::store::schema::SessionId;
use crate::time::Now;

/// How long a watcher that starts waits for a `--oneshot` run, which may hang or be stopped.
const ONESHOTS_TIMEOUT: Duration = Duration::from_secs(4);

/// What a watcher does that finds another one at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// It ends, with [`Exit::AlreadyRunning`].
    Refuse,
    /// It waits for the end of the other one, and takes over.
    Await,
}

/// Runs the watcher until a signal ends it. Calls `print` with each status line that changed.
pub fn run(env: &Environment, rival: Rival, mut print: impl FnMut(&SessionId, &str)) -> Result<()> {
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    let signals = signals()?;
    let lock = match WatchLock::acquire(&dir) {
        Err(err) if err.exit == Exit::AlreadyRunning && rival == Rival::Await => {
            let Some(lock) = outwait(&dir, &signals)? else { return Ok(()) };
            lock
        }
        acquired => acquired?,
    };
    ipc::enter(dir.path())
        .map_err(|it| Error::new("cannot work in the state directory").because(it))?;
    guard::reap_inherited();
    let listener = {
        // A `--oneshot` run that began without a watcher publishes too. It holds the fetch lock
        // until it has. Later runs find the socket that `ipc::listen` creates, and leave a cookie.
        let Some(_no_oneshot) = wait_for_oneshots(&dir, &signals) else { return Ok(()) };
        dir.sweep();
        ipc::sweep();
        ipc::listen().map_err(|it| Error::new("cannot listen on notify.sock").because(it))?
    };
    let mut engine = Engine::start(env, dir, Role::Watcher { lock, listener }, Now::read())?;
    info!(pid = std::process::id(), dir = %engine.dir().path().display(), "watching");
    let (mut published, mut is_reloading) = (None, false);
    let mut turn = 0_u64;
    loop {
        let deadline = engine.state().deadline();
        turn += 1;
        match wait_for_input(&engine, &signals, deadline, turn) {
            Input::Event(event) => engine.handle(event)?,
            Input::Signal(SIGHUP) => {
                if let Ok(started_at) = NotifyState::monotonic_usec_now() {
                    notify(&[NotifyState::Reloading, started_at]);
                }
                is_reloading = true;
                engine.handle(Event::Reload)?;
            }
            Input::Signal(signal) => {
                info!(signal, "ending");
                engine.dismiss_sentinel();
                notify(&[NotifyState::Stopping]);
                engine.shut_down();
                return Ok(());
            }
            Input::Ended(thread) => {
                engine.shut_down();
                return Err(Error::new(format!("cannot go on without the thread for {thread}"))
                    .hint("start ccstatusd again; the log says what ended it"));
            }
        }
        if let Some(program) = engine.successor.take() {
            let err = go_on_as(&program, env);
            warn!("cannot go on as {}, so this version goes on: {err}", program.display());
        }
        if engine.changes.take_lost() {
            warn!("events were lost; looking at everything again");
            engine.handle(Event::Lost)?;
        }
        for (id, line) in engine.take_changed_lines() {
            print(&id, &line);
        }
        if engine.published != published {
            published.clone_from(&engine.published);
            // The watcher is ready even if publishing failed: it tries again, and systemd could not
            // do better by restarting it.
            let status = match &published {
                Some(Err(reason)) => format!("cannot publish: {reason}"),
                _ => "watching".to_owned(),
            };
            notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        if is_reloading && !engine.state().is_configuring() {
            is_reloading = false;
            info!("reloaded");
            notify(&[NotifyState::Ready]);
        }
    }
}

/// Replaces this process by the program, with the same arguments. Returns only if that fails. The
/// kernel closes what is open, and releases the locks.
///
/// See docs/decisions/032-a-watcher-goes-on-as-its-successor.md.
#[expect(clippy::disallowed_methods, reason = "it starts no process, but becomes another program")]
fn go_on_as(program: &Path, env: &Environment) -> std::io::Error {
    std::process::Command::new(program).args(env.args.iter().skip(1)).exec()
}

/// What [`run`] waits for.
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once")]
enum Input {
    Event(Event),
    Signal(i32),
    /// The channel of this name was closed, so the thread that sends to it has ended. The watcher
    /// must end too: it would look alive but miss events. Its supervisor restarts it.
    Ended(&'static str),
}

/// Waits for the next event, signal or deadline. `turn` counts the calls: in every other one,
/// changes and hints come first. At the first scan results come without end, and a live session
/// must not wait for the last of them.
fn wait_for_input(
    engine: &Engine,
    signals: &Receiver<i32>,
    deadline: Option<Instant>,
    turn: u64,
) -> Input {
    let timer = deadline.map_or_else(never, at);
    let no_hints = never();
    let hints = match &engine.role {
        Role::Watcher { listener, .. } => &listener.hints,
        Role::Once { .. } => &no_hints,
    };
    if turn.is_multiple_of(2) {
        if let Ok(change) = engine.changes.queue.try_recv() {
            return Input::Event(Event::Changed(change.0));
        }
        if let Ok(facts) = hints.try_recv() {
            return Input::Event(Event::Hint(Box::new(facts)));
        }
    }
    let or_ended = |event: Option<Event>, thread| event.map_or(Input::Ended(thread), Input::Event);
    select_biased! {
        recv(signals) -> signal => signal.map_or(Input::Ended("signals"), Input::Signal),
        // Results before changes: the end of a fetch frees a slot that the change may need.
        recv(engine.results) -> event => or_ended(event.ok(), "results"),
        // Changes before hints: the line that a display gets for its hint should include them.
        recv(engine.changes.queue) -> change => {
            or_ended(change.ok().map(|it| Event::Changed(it.0)), "changes")
        }
        recv(hints) -> facts => or_ended(facts.ok().map(|it| Event::Hint(Box::new(it))), "hints"),
        recv(timer) -> _ => Input::Event(Event::Deadline),
    }
}

/// Receives the signals that end or reload the watcher, from a thread of its own.
fn signals() -> Result<Receiver<i32>> {
    let doing = || Error::new("cannot listen for signals");
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|it| doing().because(it))?;
    let (sender, receiver) = unbounded();
    let run = move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                break;
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(run);
    thread.map_err(|it| doing().because(it))?;
    Ok(receiver)
}

/// Waits for the end of the watcher that runs, and takes its lock. Returns `None` if a signal to
/// end came first.
///
/// It is ready meanwhile: there is a watcher, and systemd would end a service that is not ready in
/// time.
fn outwait(dir: &StateDir, signals: &Receiver<i32>) -> Result<Option<WatchLock>> {
    let other = WatchLock::holder(dir).map_or(String::new(), |pid| format!(" (process {pid})"));
    let status = format!("another watcher runs{other}; waiting for its end");
    info!("{status}");
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let (sender, acquired) = bounded(1);
    let run = {
        let dir = dir.clone();
        // The receiver is gone if a signal ends this process first.
        move || drop(sender.send(WatchLock::wait(&dir)))
    };
    let thread = std::thread::Builder::new().name("lock".to_owned()).spawn(run);
    thread.map_err(|err| Error::new("cannot start a thread").because(err))?;
    loop {
        select_biased! {
            recv(signals) -> signal => if signal != Ok(SIGHUP) {
                notify(&[NotifyState::Stopping]);
                return Ok(None);
            },
            recv(acquired) -> lock => {
                info!("the other watcher{other} has ended; taking over");
                let ended = |_| Error::new("cannot go on without the thread for the lock");
                return lock.map_err(ended)?.map(Some);
            }
        }
    }
}

/// Waits until no `--oneshot` run holds the fetch lock. Returns `Some` with the lock, or with
/// `None` if that takes too long or fails: a run that finds a watcher when it is done does not
/// publish. Returns `None` if a signal to end came first.
fn wait_for_oneshots(dir: &StateDir, signals: &Receiver<i32>) -> Option<Option<FetchLock>> {
    let give_up_at = Now::read().mono + ONESHOTS_TIMEOUT;
    let mut is_logged = false;
    while Now::read().mono < give_up_at {
        match FetchLock::try_acquire(dir) {
            Ok(Some(lock)) => return Some(Some(lock)),
            Ok(None) => {}
            Err(err) => {
                warn!("{err}");
                return Some(None);
            }
        }
        if !std::mem::replace(&mut is_logged, true) {
            let holder = FetchLock::holder(dir).map_or(String::new(), |pid| format!(" {pid}"));
            info!(
                "process{holder} fetches right now; waiting for it, {ONESHOTS_TIMEOUT:?} at most"
            );
            notify(&[NotifyState::Status("waiting for another process, which fetches")]);
        }
        if signals.recv_timeout(Duration::from_millis(20)).is_ok_and(|it| it != SIGHUP) {
            return None;
        }
    }
    warn!("another process has been fetching for {ONESHOTS_TIMEOUT:?}; going on beside it");
    Some(None)
}

/// Notifies systemd, or any supervisor that set `NOTIFY_SOCKET`. Does nothing without one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(states) {
        debug!("cannot notify the supervisor of {states:?}: {err}");
    }
}
