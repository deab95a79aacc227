//! The loop: one select, one owner of the state, effects performed in order.
//!
//! **Invariant:** once it runs, nothing here waits but the select, and what is done in the state
//! directory: locks, publishing, the checkpoint. Other files are read, directories listed and
//! programs run in other threads, whose answers are events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select_biased, unbounded};
use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tracing::{debug, info, warn};

use crate::cli::Environment;
use crate::config::{self, Config};
use crate::display;
use crate::error::{Error, Exit, Result};
use crate::fetch::Workers;
use crate::fetch::exec::{self, Runner};
use crate::hints;
use crate::oneshot::PATIENCE;
use crate::state::{Effect, Event, Settings, State};
use crate::store::checkpoint;
use crate::store::dir::{SYNC, StateDir};
use crate::store::lock::{FetchLock, WatchLock};
use crate::store::publisher::Publisher;
use crate::store::schema::{self, ClientFacts, SessionId};
use crate::time::Now;
use crate::watch::probe::Probe;
use crate::watch::{Changes, Found, Watch};

/// Runs the watcher until a signal ends it. `print` gets each line that changed.
pub fn run(env: &Environment, mut print: impl FnMut(&SessionId, &str)) -> Result<()> {
    let dir = StateDir::open(&env.own_state_dir()?)?;
    let lock = WatchLock::acquire(&dir).inspect_err(|err| {
        if err.exit == Exit::AlreadyRunning {
            // To systemd a notifying service that ends before it is ready has failed, whatever
            // its exit code. Somebody watches, so this one is as ready as it will be.
            notify(&[NotifyState::Ready, NotifyState::Status("another ccstatusd is running")]);
        }
    })?;
    hints::enter(dir.path())
        .map_err(|it| Error::new("cannot work in the state directory").because(it))?;
    let signals = signals()?;
    let hints = {
        // A `--oneshot` that began without a watcher publishes, too. It holds the fetch lock, and
        // the next one finds our socket.
        let Some(_no_oneshot) = wait_for_oneshots(&dir, &signals) else { return Ok(()) };
        dir.sweep();
        hints::sweep();
        hints::listen().map_err(|it| Error::new("cannot listen on notify.sock").because(it))?
    };
    let now = Now::read();
    let watcher = schema::Watcher {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms: now.wall_ms,
        ..schema::Watcher::default()
    };
    let mut engine = Engine::start(env, dir, Some((watcher, lock)), now)?;
    engine.hints = hints;
    info!(pid = std::process::id(), dir = %engine.dir.path().display(), "watching");
    let (mut published, mut is_reloading) = (None, false);
    loop {
        let deadline = engine.state.deadline();
        match next(&engine, &signals, deadline) {
            Input::Event(event) => engine.handle(event)?,
            Input::Signal(SIGHUP) => {
                if let Ok(it) = NotifyState::monotonic_usec_now() {
                    notify(&[NotifyState::Reloading, it]);
                }
                is_reloading = true;
                engine.handle(Event::Reload)?;
            }
            Input::Signal(signal) => {
                info!(signal, "ending");
                notify(&[NotifyState::Stopping]);
                engine.retire();
                return Ok(());
            }
            Input::Ended(thread) => {
                engine.retire();
                return Err(Error::new(format!("cannot go on without the thread for {thread}"))
                    .hint("start ccstatusd again; the log says what ended it"));
            }
        }
        if engine.changes.take_lost() {
            warn!("events were lost; looking at everything again");
            engine.handle(Event::Lost)?;
        }
        for (id, line) in engine.changed_lines.drain(..) {
            print(&id, &line);
        }
        if engine.published != published {
            published.clone_from(&engine.published);
            // Also where that failed: it is tried again, and who starts anew gets no further.
            let status = match &published {
                Some(Err(reason)) => format!("cannot publish: {reason}"),
                _ => "watching".to_owned(),
            };
            notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        if is_reloading && !engine.state.is_configuring() {
            is_reloading = false;
            info!("reloaded");
            notify(&[NotifyState::Ready]);
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "made and taken apart at once")]
enum Input {
    Event(Event),
    Signal(i32),
    /// The thread for this ended, since nothing else does away with its channel. A watcher that is
    /// deaf looks alive, so the supervisor had better start it anew.
    Ended(&'static str),
}

fn next(engine: &Engine, signals: &Receiver<i32>, deadline: Option<Instant>) -> Input {
    let timer = deadline.map_or_else(never, at);
    let or_ended = |event: Option<Event>, thread| event.map_or(Input::Ended(thread), Input::Event);
    select_biased! {
        recv(signals) -> it => it.map_or(Input::Ended("signals"), Input::Signal),
        // Results before changes: finishing a fetch frees a slot that the change may need.
        recv(engine.results) -> it => or_ended(it.ok(), "results"),
        // Changes before hints: what a display shows next should include them.
        recv(engine.changes.queue) -> it => {
            or_ended(it.ok().map(|it| Event::Changed(it.0)), "changes")
        }
        recv(engine.hints) -> it => or_ended(it.ok().map(|it| Event::Hint(Box::new(it))), "hints"),
        recv(timer) -> _ => Input::Event(Event::Deadline),
    }
}

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

/// Returns with the fetch lock, or without it where that takes too long; `None` where a signal
/// says to end.
fn wait_for_oneshots(dir: &StateDir, signals: &Receiver<i32>) -> Option<Option<FetchLock>> {
    let give_up_at = Now::read().mono + PATIENCE;
    while Now::read().mono < give_up_at {
        match FetchLock::try_acquire(dir) {
            Ok(Some(it)) => return Some(Some(it)),
            Ok(None) => {}
            Err(it) => {
                warn!("{it}");
                return Some(None);
            }
        }
        if signals.recv_timeout(Duration::from_millis(20)).is_ok_and(|it| it != SIGHUP) {
            return None;
        }
    }
    warn!("another process has been fetching for {PATIENCE:?}; going on beside it");
    Some(None)
}

/// Without a supervisor that listens, this does nothing.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(it) = sd_notify::notify(states) {
        debug!("the supervisor did not take {states:?}: {it}");
    }
}

/// What the configuration says now, or where and why it makes no sense.
fn configuration(
    env: &Environment,
    cookies: Option<PathBuf>,
) -> std::result::Result<Box<Settings>, String> {
    let read = Config::load(env.config_file().as_deref());
    let settings = read.and_then(|it| settings(env, &it, cookies));
    settings.map(Box::new).map_err(|it| match it.source {
        Some(source) => source.to_string(),
        None => it.doing,
    })
}

fn settings(env: &Environment, config: &Config, cookies: Option<PathBuf>) -> Result<Settings> {
    let mut roots = env.claude_roots()?;
    roots.extend(config.roots.iter().filter_map(|it| env.expand(it)));
    // Two names of one directory are one account. A missing one is taken by its name.
    // As is one whose file system hangs, which must not hang us.
    let mut probe = Probe::new(|| ());
    let real = |it: PathBuf| match probe.answers(&it) {
        true => fs_err::canonicalize(&it).unwrap_or(it),
        false => it,
    };
    let mut seen = BTreeSet::new();
    let roots = roots.into_iter().map(real).filter(|it| seen.insert(it.clone())).collect();
    Ok(Settings {
        roots,
        zone: TimeZone::system(),
        week_starts: config.usage.week_starts.into(),
        prices: config.prices(),
        preview: config.privacy.preview,
        display: config.display(),
        // Who looks once reads it once.
        config: match &cookies {
            Some(_) => env.config_file().map_or(Vec::new(), |it| config::places(&it)),
            None => Vec::new(),
        },
        git_timeout: config.git.timeout(),
        cookies,
        block_tool: config.block_tool(env),
        commands: config.commands(env),
    })
}

/// The state, and everything that performs its effects. The watcher and `--oneshot` drive it.
pub(crate) struct Engine {
    pub(crate) state: State,
    pub(crate) results: Receiver<Event>,
    pub(crate) dir: StateDir,
    /// Whether the snapshot on disk says what is known, or else why not; `None` before the first.
    pub(crate) published: Option<std::result::Result<(), String>>,
    changes: Changes,
    changed_lines: Vec<(SessionId, String)>,
    env: Environment,
    home: Option<String>,
    watch: Watch,
    workers: Workers,
    publisher: Publisher,
    lock: Option<WatchLock>,
    /// What displays say; nothing to who looks once.
    hints: Receiver<ClientFacts>,
    /// Held by the jobs that run; they share one, and the last lets it go.
    fetching: Weak<FetchLock>,
    lines: BTreeMap<SessionId, String>,
    /// What was said of sources that fail, so that the log tells each once. Nothing else is
    /// decided by it.
    told: BTreeMap<String, String>,
    back: Sender<Event>,
}

impl Engine {
    /// Starts the threads and the first looks. `watcher` is who watches, with the proof that
    /// nobody else does; `None` for who looks once and holds the fetch lock.
    pub(crate) fn start(
        env: &Environment,
        dir: StateDir,
        watcher: Option<(schema::Watcher, WatchLock)>,
        now: Now,
    ) -> Result<Engine> {
        let config = Config::load(env.config_file().as_deref())?;
        let cookies = watcher.as_ref().map(|_| dir.join(SYNC));
        let settings = settings(env, &config, cookies)?;
        let starting = |it| Error::new("cannot start a thread").because(it);
        let (back, results) = unbounded();
        let listed = back.clone();
        let (watch, changes) = Watch::start(watcher.is_some(), move |it| {
            listed.send(Event::Listed(it)).ok();
        })
        .map_err(starting)?;
        let own = exec::own_program().map_err(|it| Error::new("cannot find myself").because(it))?;
        let runner = Runner::new(own, env.all.iter().cloned());
        let fetched = back.clone();
        let workers = Workers::start(&runner, move |source, it| {
            fetched.send(Event::Fetched(source, it)).ok();
        })
        .map_err(starting)?;
        let previous = dir.read_snapshot();
        let publisher = Publisher::new(dir.clone(), previous.as_ref());
        let (identity, lock) = watcher.unzip();
        let (state, effects) = State::new(settings, identity, previous.as_ref(), now);
        let mut engine = Engine {
            state,
            results,
            dir,
            published: None,
            changes,
            changed_lines: Vec::new(),
            env: env.clone(),
            home: env.home().and_then(|it| it.to_str()).map(str::to_owned),
            watch,
            workers,
            publisher,
            lock,
            hints: never(),
            fetching: Weak::new(),
            lines: BTreeMap::new(),
            told: BTreeMap::new(),
            back,
        };
        engine.perform(effects, now)?;
        if let Some(it) = checkpoint::load(&engine.dir) {
            let looks = engine.state.foresee(&it);
            engine.perform(looks, now)?;
            let effects = engine.state.restore(it, now);
            engine.perform(effects, now)?;
        }
        Ok(engine)
    }

    /// Uses `lock` for the programs that will run, instead of taking the lock for them.
    pub(crate) fn lend(&mut self, lock: &Arc<FetchLock>) {
        self.fetching = Arc::downgrade(lock);
    }

    /// Takes in an event and performs what follows. Fails only where going on would be wrong.
    pub(crate) fn handle(&mut self, event: Event) -> Result<()> {
        self.tell_roots(&event);
        let now = Now::read();
        let effects = self.state.on_event(event, now);
        self.perform(effects, now)
    }

    fn perform(&mut self, effects: Vec<Effect>, now: Now) -> Result<()> {
        for effect in effects {
            match &effect {
                Effect::Fetch(source, _) => debug!("fetching {source:?}"),
                it => debug!("{it:?}"),
            }
            match effect {
                Effect::Look(look) => self.watch.look(look),
                Effect::Leave(dir) => {
                    self.told.remove(&format!("root:{}", dir.display()));
                    self.watch.leave(dir);
                }
                Effect::Rebuild => self.watch.rebuild(),
                Effect::Fetch(source, job) if source.is_program() => match self.fetch_lock() {
                    Ok(alone) => {
                        self.workers.run(source, job, alone, self.state.git_timeout());
                    }
                    Err(reason) => {
                        self.back.send(Event::Busy(source, reason)).ok();
                    }
                },
                Effect::Fetch(source, job) => self.workers.read(source, job),
                // Who looks once publishes at the end: others, who wait for that, take what they
                // find for the whole.
                Effect::Publish if self.lock.is_none() => {}
                Effect::Publish => self.publish(now)?,
                Effect::Save => self.save(),
                Effect::Configure => self.configure(),
                Effect::Acknowledge(cookie) => {
                    hints::acknowledge(&cookie, self.published == Some(Ok(())));
                }
            }
        }
        Ok(())
    }

    /// The lock that running jobs share, or a new one, or why there is none.
    fn fetch_lock(&mut self) -> std::result::Result<Arc<FetchLock>, String> {
        if let Some(it) = self.fetching.upgrade() {
            return Ok(it);
        }
        match FetchLock::try_acquire(&self.dir) {
            Ok(Some(it)) => {
                let it = Arc::new(it);
                self.fetching = Arc::downgrade(&it);
                Ok(it)
            }
            Ok(None) => Err("another process holds fetch.lock".to_owned()),
            Err(it) => Err(it.to_string()),
        }
    }

    /// Publishes what is known now.
    pub(crate) fn publish(&mut self, now: Now) -> Result<()> {
        if self.lock.as_ref().is_some_and(|it| !it.is_current()) {
            // Somebody removed it, and the next watcher may run already.
            return Err(Error::new("watch.lock is not the file that this watcher locked any more")
                .hint("the state directory was removed or replaced; start ccstatusd again"));
        }
        self.stay_reachable();
        // Looked up every five minutes at most.
        self.state.travel(TimeZone::system());
        let snapshot = self.state.snapshot(now);
        let clock = jiff::Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
        let clock =
            clock.to_zoned_datetime(self.state.zone().clone()).strftime("%H:%M").to_string();
        let style = display::lines_style(&snapshot.display);
        let home = self.home.as_deref();
        self.lines.retain(|id, _| snapshot.sessions.contains_key(id));
        // From the last publication on nobody draws them anew.
        let watcher = match snapshot.watcher {
            Some(_) => display::Watcher::Alive,
            None => display::Watcher::Gone,
        };
        for id in snapshot.sessions.iter().filter(|(_, it)| it.live).map(|(id, _)| id) {
            let now_ms = now.wall_ms;
            let line = display::session_line(&snapshot, watcher, id, now_ms, &clock, home, &style);
            self.lines.insert(id.clone(), line);
        }
        self.tell_degraded(&snapshot.degraded);
        let latest = snapshot.latest.clone();
        let snapshot = self.publisher.snapshot(snapshot, now.wall_ms);
        self.published = Some(snapshot.as_ref().map(drop).map_err(ToString::to_string));
        let lines = self.lines.clone();
        match snapshot.and_then(|_| self.publisher.lines(lines, latest.as_ref())) {
            Ok(changed) => {
                self.changed_lines.extend(changed);
                self.state.publish_worked();
                if self.told.remove("store").is_some() {
                    info!("publishing again");
                }
            }
            Err(it) => {
                // The old snapshot stays, and its age shows.
                self.tell("store", &it.to_string());
                self.state.publish_failed(&it.to_string(), now);
            }
        }
        self.state.publish_ended(now, Now::read());
        Ok(())
    }

    /// Reads the configuration, in a thread: it may lie on a disk that does not answer.
    fn configure(&mut self) {
        let (env, cookies, back) = (self.env.clone(), self.cookies(), self.back.clone());
        let run = move || {
            back.send(Event::Configured(configuration(&env, cookies))).ok();
        };
        let thread = std::thread::Builder::new().name("configuration".to_owned()).spawn(run);
        if let Err(it) = thread {
            self.back.send(Event::Configured(Err(it.to_string()))).ok();
        }
    }

    /// Keeps what the next process need not read again.
    pub(crate) fn save(&mut self) {
        match checkpoint::save(&self.dir, &self.state.checkpoint()) {
            Ok(()) => {
                self.told.remove("checkpoint");
            }
            Err(it) => self.tell("checkpoint", &it.to_string()),
        }
    }

    /// Listens anew where the socket was removed. Meanwhile a `--oneshot` may have taken us for
    /// dead, and published.
    fn stay_reachable(&mut self) {
        if self.lock.is_none() || hints::is_reachable() {
            return;
        }
        match hints::listen() {
            Ok(it) => {
                warn!("notify.sock was gone; listening on a new one");
                self.hints = it;
                self.told.remove("notify.sock");
            }
            Err(it) => self.tell("notify.sock", &it.to_string()),
        }
        self.publisher.catch_up();
    }

    /// Publishes once more that nobody watches from now on.
    fn retire(&mut self) {
        self.state.retire();
        if self.state.is_unsaved() {
            self.save();
        }
        if let Err(it) = self.publish(Now::read()) {
            warn!("{it}");
        }
        // With another lock file there is another watcher, whose socket it is.
        if self.lock.as_ref().is_some_and(WatchLock::is_current) {
            fs_err::remove_file(crate::store::dir::SOCKET).ok();
        }
    }

    fn cookies(&self) -> Option<PathBuf> {
        self.lock.as_ref().map(|_| self.dir.join(SYNC))
    }

    /// The log says what is waited for, and when it came.
    fn tell_roots(&mut self, event: &Event) {
        let Event::Listed(listing) = event else { return };
        if !self.state.is_root(&listing.dir) {
            return;
        }
        let root = listing.dir.display();
        let key = format!("root:{root}");
        match &listing.found {
            Found::Dir { .. } => {
                if self.told.get(&key).is_none_or(|it| it != "watching") {
                    info!("watching {root}");
                    self.told.insert(key, "watching".to_owned());
                }
            }
            Found::Missing { .. } => {
                if self.told.get(&key).is_none_or(|it| it != "waiting") {
                    info!("{root} does not exist; waiting for it to appear");
                    self.told.insert(key, "waiting".to_owned());
                }
            }
            Found::NotADirectory => self.tell(&key, "it is not a directory"),
            Found::Unreadable(reason) => self.tell(&key, reason),
        }
    }

    fn tell_degraded(&mut self, degraded: &[schema::Degraded]) {
        for it in degraded {
            self.tell(&format!("degraded {}", it.source), &it.reason);
        }
        let still: BTreeSet<_> =
            degraded.iter().map(|it| format!("degraded {}", it.source)).collect();
        self.told.retain(|source, _| {
            let keep = !source.starts_with("degraded ") || still.contains(source);
            if !keep {
                info!("no longer {source}");
            }
            keep
        });
    }

    fn tell(&mut self, source: &str, reason: &str) {
        if self.told.get(source).is_none_or(|it| it != reason) {
            warn!("{source}: {reason}");
            self.told.insert(source.to_owned(), reason.to_owned());
        }
    }
}
