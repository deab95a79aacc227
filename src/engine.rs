//! Owns the state and performs its effects, in order. The watcher and `--oneshot` both drive it.
//!
//! **Invariant:** once it runs, nothing here waits, except on the state directory: locks,
//! publishing, the checkpoint. Other files are read, directories listed and programs run in other
//! threads, whose answers are events.

mod once_log;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, unbounded};
use jiff::tz::TimeZone;
use tracing::{debug, info, warn};

use crate::cli::Environment;
use crate::config::{self, Config};
use crate::display;
use crate::display::view::Watcher;
use crate::error::{Error, Result};
use crate::fetch::Workers;
use crate::fetch::exec::{self, Runner};
use crate::fetch::job::Job;
use crate::home::Home;
use crate::ipc;
use crate::pool::probe::Probe;
use crate::state::State;
use crate::state::event::{Effect, Event};
use crate::state::settings::{Mode, Settings};
use crate::store::checkpoint;
use crate::store::dir::{SOCKET, SYNC, StateDir};
use crate::store::lock::{FetchLock, WatchLock};
use crate::store::publisher::Publisher;
use crate::store::schema::{self, ClientFacts, SessionId, Snapshot};
use crate::time::Now;
use crate::watch::thread::{Changes, Watch};
use crate::watch::{Found, Listing};
use once_log::OnceLog;

/// Who drives the engine, with the proof that nobody else does.
pub(crate) enum Role {
    /// The watcher.
    Watcher {
        lock: WatchLock,
        /// What displays send.
        hints: Receiver<ClientFacts>,
    },
    /// A `--oneshot` run without a watcher. All its fetches run under this one lock.
    Once { lock: Arc<FetchLock> },
}

/// The state, and everything that performs its effects.
///
/// See docs/decisions/001-one-thread-owns-the-state.md.
pub(crate) struct Engine {
    pub(crate) role: Role,
    /// Answers of other threads.
    pub(crate) results: Receiver<Event>,
    pub(crate) changes: Changes,
    /// Whether the snapshot on disk says what is known, or why not; `None` before the first.
    pub(crate) published: Option<std::result::Result<(), String>>,
    state: State,
    dir: StateDir,
    env: Environment,
    home: Home,
    zone: TimeZone,
    watch: Watch,
    workers: Workers,
    publisher: Publisher,
    /// Held by the programs that run. They share one lock, and the last one releases it.
    fetching: Weak<FetchLock>,
    /// The lines of live sessions, as they were drawn last.
    lines: BTreeMap<SessionId, String>,
    changed_lines: Vec<(SessionId, String)>,
    log: OnceLog,
    back: Sender<Event>,
}

impl Engine {
    /// Starts the threads and the first looks.
    pub(crate) fn start(env: &Environment, dir: StateDir, role: Role, now: Now) -> Result<Engine> {
        let settings = load_settings(env)?;
        let zone = settings.zone.clone();
        let starting = |err| Error::new("cannot start a thread").because(err);
        let (back, results) = unbounded();
        let mode = match &role {
            Role::Watcher { .. } => {
                Mode::Watch { identity: identity(now), cookies: dir.join(SYNC) }
            }
            Role::Once { .. } => Mode::Once,
        };
        let listed = back.clone();
        let (watch, changes) = Watch::start(matches!(mode, Mode::Watch { .. }), move |listing| {
            listed.send(Event::Listed(listing)).ok();
        })
        .map_err(starting)?;
        let own =
            exec::own_program().map_err(|err| Error::new("cannot find myself").because(err))?;
        let runner = Runner::new(own, env.all.iter().cloned());
        let fetched = back.clone();
        let workers = Workers::start(&runner, move |outcome| {
            fetched.send(Event::Fetched(outcome)).ok();
        })
        .map_err(starting)?;
        let previous = dir.read_snapshot();
        let publisher = Publisher::new(dir.clone(), previous.as_ref());
        let (state, effects) = State::new(mode, settings, previous.as_ref(), now);
        let mut engine = Engine {
            role,
            results,
            changes,
            published: None,
            state,
            dir,
            env: env.clone(),
            home: Home::find(env),
            zone,
            watch,
            workers,
            publisher,
            fetching: Weak::new(),
            lines: BTreeMap::new(),
            changed_lines: Vec::new(),
            log: OnceLog::default(),
            back,
        };
        engine.perform(effects, now)?;
        if let Some(kept) = checkpoint::load(&engine.dir) {
            let looks = engine.state.foresee(&kept);
            engine.perform(looks, now)?;
            let effects = engine.state.restore(kept, now);
            engine.perform(effects, now)?;
        }
        Ok(engine)
    }

    /// The state directory that everything is in.
    pub(crate) fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// What the state is in: its deadline, and whether it waits for the configuration.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The lines that changed since the last call.
    pub(crate) fn take_changed_lines(&mut self) -> Vec<(SessionId, String)> {
        std::mem::take(&mut self.changed_lines)
    }

    /// Takes in an event and performs what follows. Fails only where going on would be wrong.
    pub(crate) fn handle(&mut self, event: Event) -> Result<()> {
        let now = Now::read();
        if let Event::Listed(listing) = &event {
            self.log_root(listing);
        }
        // Looked up every five minutes at most.
        let zone = TimeZone::system();
        if zone != self.zone {
            self.zone = zone.clone();
            let effects = self.state.on_event(Event::ZoneChanged(zone), now);
            self.perform(effects, now)?;
        }
        let effects = self.state.on_event(event, now);
        self.perform(effects, now)
    }

    fn perform(&mut self, effects: Vec<Effect>, now: Now) -> Result<()> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Look(look) => {
                    debug!("looking at {:?}", look.dir);
                    self.watch.look(look);
                }
                Effect::Leave(dir) => {
                    debug!("leaving {dir:?}");
                    self.log.over(&root_subject(&dir));
                    self.watch.leave(dir);
                }
                Effect::Rebuild => self.watch.rebuild(),
                Effect::Fetch(job) => self.fetch(job),
                Effect::Publish(snapshot) => {
                    debug!("publishing");
                    let result = self.publish(*snapshot, now)?;
                    let published = Event::Published { began: now, result };
                    effects.extend(self.state.on_event(published, Now::read()));
                }
                Effect::Save => self.save(),
                Effect::Configure => self.configure(),
                Effect::Acknowledge(cookie) => {
                    ipc::acknowledge(&cookie, self.published == Some(Ok(())));
                }
            }
        }
        Ok(())
    }

    // ---- Fetching

    fn fetch(&mut self, job: Job) {
        debug!("fetching {:?}", job.source());
        match job {
            Job::Read(job) => self.workers.read(job),
            Job::Run(job) => match self.fetch_lock() {
                Ok(alone) => self.workers.run(job, alone),
                Err(reason) => {
                    self.back.send(Event::Busy(job.source(), reason)).ok();
                }
            },
        }
    }

    /// The lock that the running programs share, or a new one, or why there is none.
    fn fetch_lock(&mut self) -> std::result::Result<Arc<FetchLock>, String> {
        if let Role::Once { lock } = &self.role {
            return Ok(Arc::clone(lock));
        }
        if let Some(lock) = self.fetching.upgrade() {
            return Ok(lock);
        }
        match FetchLock::try_acquire(&self.dir) {
            Ok(Some(lock)) => {
                let lock = Arc::new(lock);
                self.fetching = Arc::downgrade(&lock);
                Ok(lock)
            }
            Ok(None) => Err("another process holds fetch.lock".to_owned()),
            Err(err) => Err(err.to_string()),
        }
    }

    // ---- Publishing

    /// Publishes a snapshot, and the lines that follow from it. The inner result says whether they
    /// are on disk; the outer one fails where another watcher may have taken this one's place.
    fn publish(&mut self, snapshot: Snapshot, now: Now) -> Result<std::result::Result<(), String>> {
        if let Role::Watcher { lock, .. } = &self.role
            && !lock.is_current()
        {
            return Err(Error::new("watch.lock is not the file that this watcher locked any more")
                .hint("the state directory was removed or replaced; start ccstatusd again"));
        }
        self.stay_reachable();
        self.draw(&snapshot, now);
        self.log.degraded(&snapshot.degraded);
        let latest = snapshot.latest.clone();
        let written = self.publisher.snapshot(snapshot, now.wall_ms);
        self.published = Some(written.as_ref().map(drop).map_err(ToString::to_string));
        let lines = self.lines.clone();
        match written.and_then(|_| self.publisher.lines(lines, latest.as_ref())) {
            Ok(changed) => {
                self.changed_lines.extend(changed);
                if self.log.over("store") {
                    info!("publishing again");
                }
                Ok(Ok(()))
            }
            Err(err) => {
                // The old snapshot stays, and its age shows.
                self.log.warn("store", &err.to_string());
                Ok(Err(err.to_string()))
            }
        }
    }

    /// Draws the line of every live session. Lines of sessions that ended stay as they are.
    fn draw(&mut self, snapshot: &Snapshot, now: Now) {
        let style = display::lines_style(&snapshot.display);
        // From the last publication on nobody draws them again.
        let watcher = match snapshot.watcher {
            Some(_) => Watcher::Alive,
            None => Watcher::Gone,
        };
        self.lines.retain(|id, _| snapshot.sessions.contains_key(id));
        for (id, session) in snapshot.sessions.iter().filter(|(_, session)| session.live) {
            let now_ms = now.wall_ms;
            let home = session.cwd.as_deref().and_then(|it| self.home.above(it));
            let line =
                display::session_line(snapshot, watcher, id, now_ms, &self.zone, home, &style);
            self.lines.insert(id.clone(), line);
        }
    }

    /// Listens on a new socket where ours was removed. Meanwhile a `--oneshot` run may have taken us
    /// for dead, and published.
    fn stay_reachable(&mut self) {
        let Role::Watcher { hints, .. } = &mut self.role else { return };
        if ipc::is_reachable() {
            return;
        }
        match ipc::listen() {
            Ok(listening) => {
                warn!("notify.sock was gone; listening on a new one");
                *hints = listening;
                self.log.over("notify.sock");
            }
            Err(err) => self.log.warn("notify.sock", &err.to_string()),
        }
        self.publisher.catch_up();
    }

    /// Publishes once more that nobody watches from now on, and keeps what was read.
    pub(crate) fn shut_down(&mut self) {
        if let Err(err) = self.handle(Event::Shutdown) {
            warn!("{err}");
        }
        // With another lock file there is another watcher, whose socket it is.
        if let Role::Watcher { lock, .. } = &self.role
            && lock.is_current()
        {
            fs_err::remove_file(SOCKET).ok();
        }
    }

    // ---- The checkpoint and the configuration

    fn save(&mut self) {
        match checkpoint::save(&self.dir, &self.state.checkpoint()) {
            Ok(()) => _ = self.log.over("checkpoint"),
            Err(err) => self.log.warn("checkpoint", &err.to_string()),
        }
    }

    /// Reads the configuration, in a thread: it may be on a disk that does not answer.
    fn configure(&mut self) {
        let (env, back) = (self.env.clone(), self.back.clone());
        let run = move || {
            let settings = load_settings(&env).map(Box::new).map_err(|err| match err.source {
                Some(source) => source.to_string(),
                None => err.doing,
            });
            back.send(Event::Configured(settings)).ok();
        };
        let thread = std::thread::Builder::new().name("configuration".to_owned()).spawn(run);
        if let Err(err) = thread {
            self.back.send(Event::Configured(Err(err.to_string()))).ok();
        }
    }

    /// Logs which config roots are watched, and which are waited for.
    fn log_root(&mut self, listing: &Listing) {
        if !self.state.is_root(&listing.dir) {
            return;
        }
        let (root, subject) = (listing.dir.display(), root_subject(&listing.dir));
        match &listing.found {
            Found::Dir { .. } => self.log.info(&subject, &format!("watching {root}")),
            Found::Missing { .. } => {
                let message = format!("{root} does not exist; waiting for it to appear");
                self.log.info(&subject, &message);
            }
            Found::NotADirectory => self.log.warn(&subject, "it is not a directory"),
            Found::Unreadable(reason) => self.log.warn(&subject, reason),
        }
    }
}

fn root_subject(root: &std::path::Path) -> String {
    format!("root:{}", root.display())
}

fn identity(now: Now) -> schema::Watcher {
    schema::Watcher {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms: now.wall_ms,
        ..schema::Watcher::default()
    }
}

/// What the user chose: reads the configuration, and finds the config roots.
fn load_settings(env: &Environment) -> Result<Settings> {
    let path = env.config_file();
    let config = Config::load(path.as_deref())?;
    Ok(Settings {
        roots: roots(env, &config)?,
        zone: TimeZone::system(),
        week_starts: config.usage.week_starts,
        prices: config.prices(),
        preview: config.privacy.preview,
        display: config.display.clone(),
        config: path.map_or(Vec::new(), |path| config::link_chain(&path)),
        git_timeout: config.git.timeout(),
        block_tool: config.block_tool(env),
        commands: config.commands(env),
    })
}

/// The config roots by their real paths, each once: two names of one directory are one account. A
/// missing one is taken by its name, and so is one whose file system hangs, which must not hang us.
fn roots(env: &Environment, config: &Config) -> Result<Vec<PathBuf>> {
    let mut roots = env.claude_roots()?;
    roots.extend(config.roots.iter().filter_map(|root| env.expand(root)));
    let probe =
        Probe::start(|| ()).map_err(|err| Error::new("cannot start a thread").because(err))?;
    let real = |root: PathBuf| match probe.answers(&root) {
        true => fs_err::canonicalize(&root).unwrap_or(root),
        false => root,
    };
    let mut seen = BTreeSet::new();
    Ok(roots.into_iter().map(real).filter(|root| seen.insert(root.clone())).collect())
}
