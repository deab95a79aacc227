//! The engine: hands events to the state, and performs the effects that it returns, in order. The
//! watcher and a `--oneshot` run both drive it.
//!
//! **Invariant:** after the start, the engine itself only reads and writes files of the state
//! directory and of the record. Other threads read all other files, list directories and run
//! programs, since these may hang or take long. Their results come back as events.

mod exporter;
mod once_log;
mod recorder;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use jiff::tz::TimeZone;
use tracing::{debug, info, warn};

use crate::cli::Environment;
use crate::config::{self, Config};
use crate::display;
use crate::display::SessionView;
use crate::display::view::Watcher;
use crate::error::{Error, Result};
use crate::fetch::Workers;
use crate::fetch::claude::layout;
use crate::fetch::exec::{self, Runner};
use crate::fetch::exits::Exits;
use crate::fetch::job::Job;
use crate::fetch::upgrade;
use crate::home::Home;
use crate::ipc::{self, Listener};
use crate::placed_list;
use crate::pool::probe::Probe;
use crate::sentinel::Sentinel;
use crate::state::State;
use crate::state::checkpoint::{Checkpoint, ReadSoFar};
use crate::state::event::{Effect, Event, ReadFailure};
use crate::state::settings::{Export, Mode, Settings};
use crate::store::checkpoint;
use crate::store::dir::{SOCKET, SYNC, StateDir};
use crate::store::lock::{FetchLock, WatchLock};
use crate::store::publisher::Publisher;
use crate::store::schema::{self, ClientFacts, Fit, FittedLine, Session, SessionId, Snapshot};
use crate::time::{DAY_MS, Now};
use crate::usage::reply::Batch;
use crate::watch::thread::{Changes, Watch};
use crate::watch::{Found, Listing};
use exporter::Exporter;
use once_log::OnceLog;
use recorder::Recorder;

/// Which process drives the engine, with the lock that proves that no other process of this kind
/// does.
pub(crate) enum Role {
    /// The watcher.
    Watcher {
        lock: WatchLock,
        /// Receives the hints that displays send.
        listener: Listener,
    },
    /// A `--oneshot` run while no watcher runs. It holds the fetch lock all the time.
    Once {
        lock: Arc<FetchLock>,
        /// Whether old transcripts are read for the record, too.
        does_import: bool,
    },
}

/// The state, and the threads and files with which its effects are performed.
///
/// See docs/decisions/001-one-thread-owns-the-state.md.
pub(crate) struct Engine {
    pub(crate) role: Role,
    /// Events from other threads: listings, fetches and the configuration.
    pub(crate) results: Receiver<Event>,
    /// Changes that the kernel reported.
    pub(crate) changes: Changes,
    /// Whether the last snapshot was written to disk, or why not; `None` before the first.
    pub(crate) published: Option<std::result::Result<(), String>>,
    /// The path of the program as which to go on, after an upgrade.
    pub(crate) successor: Option<PathBuf>,
    state: State,
    dir: StateDir,
    env: Environment,
    home: Home,
    zone: TimeZone,
    watch: Watch,
    workers: Workers,
    publisher: Publisher,
    recorder: Recorder,
    exporter: Exporter,
    sentinel: Sentinel,
    /// `None` in a `--oneshot` run, which ends before it could be told of any exit.
    exits: Option<Exits>,
    /// The fetch lock, while programs run. They share it, and the last one to end releases it.
    fetch_lock: Weak<FetchLock>,
    /// The lines of the sessions in the last snapshot, as they were last drawn.
    lines: BTreeMap<SessionId, String>,
    /// The lines that changed since [`Engine::take_changed_lines`].
    changed_lines: Vec<(SessionId, String)>,
    log: OnceLog,
    /// Where events of other threads are sent, for `results`.
    events: Sender<Event>,
}

impl Engine {
    /// Starts the threads, restores what an earlier process knew, and requests the first listings.
    pub(crate) fn start(env: &Environment, dir: StateDir, role: Role, now: Now) -> Result<Engine> {
        let settings = load_settings(env)?;
        let zone = settings.zone.clone();
        let starting = |err| Error::new("cannot start a thread").because(err);
        let (events, results) = unbounded();
        let mode = match &role {
            Role::Watcher { .. } => {
                let program = upgrade::own_path(env.program_paths());
                Mode::Watch { identity: identity(now), cookies: dir.join(SYNC), program }
            }
            Role::Once { does_import, .. } => Mode::Once { does_import: *does_import },
        };
        let listed = events.clone();
        let (watch, changes) = Watch::start(matches!(mode, Mode::Watch { .. }), move |listing| {
            listed.send(Event::Listed(listing)).ok();
        })
        .map_err(starting)?;
        let own_path = exec::own_program()
            .map_err(|err| Error::new("cannot find the program file of ccstatusd").because(err))?;
        let runner = Runner::new(own_path, env.all.iter().cloned());
        let fetched = events.clone();
        let workers = Workers::start(&runner, move |outcome| {
            fetched.send(Event::Fetched(outcome)).ok();
        })
        .map_err(starting)?;
        let exited = events.clone();
        let told = move |path| {
            exited.send(Event::Exited(path)).ok();
        };
        let exits = matches!(mode, Mode::Watch { .. }).then(|| Exits::start(told));
        let exits = exits.transpose().map_err(starting)?;
        let recorder = Recorder::open(env.data_dir(), events.clone());
        let mut exporter = Exporter::new(env.user_name(), env.data_dir().ok(), events.clone());
        let mut sentinel = Sentinel::default();
        if let Role::Watcher { .. } = &role {
            exporter.configure(settings.export.as_ref(), &settings.prices);
            sentinel.configure(&settings.alerts, settings.quiet);
        }
        let previous = dir.read_snapshot();
        let publisher = Publisher::new(dir.clone(), previous.as_ref());
        let (state, effects) = State::new(mode, settings, previous.as_ref(), now);
        let mut engine = Engine {
            role,
            results,
            changes,
            published: None,
            successor: None,
            state,
            dir,
            env: env.clone(),
            home: Home::find(env),
            zone,
            watch,
            workers,
            publisher,
            recorder,
            exporter,
            sentinel,
            exits,
            fetch_lock: Weak::new(),
            lines: BTreeMap::new(),
            changed_lines: Vec::new(),
            log: OnceLog::default(),
            events,
        };
        for (root, replies) in checkpoint::lost_replies(&engine.dir) {
            let news = replies.into_iter().map(|it| (it, None)).collect();
            let told = engine.recorder.append(root, Batch { news, ..Batch::default() });
            let effects = engine.tell(told);
            engine.perform(effects, now)?;
        }
        engine.perform(effects, now)?;
        if let Some(kept) = checkpoint::load::<Checkpoint<'_, ReadSoFar>>(&engine.dir)
            && engine.recorder.reaches(kept.mark)
        {
            let looks = engine.state.looks_before_restore(&kept);
            engine.perform(looks, now)?;
            let effects = engine.state.restore(kept, now);
            engine.perform(effects, now)?;
        }
        engine.state.journal_found(engine.recorder.n_unfolded(), now);
        Ok(engine)
    }

    /// The state directory, in which the snapshot, the checkpoint and the locks are.
    pub(crate) fn dir(&self) -> &StateDir {
        &self.dir
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The lines that changed since the last call.
    pub(crate) fn take_changed_lines(&mut self) -> Vec<(SessionId, String)> {
        std::mem::take(&mut self.changed_lines)
    }

    /// Handles one event, and performs the effects. Fails only if another watcher may have taken
    /// the place of this one.
    pub(crate) fn handle(&mut self, event: Event) -> Result<()> {
        let now = Now::read();
        if let Event::Listed(listing) = &event {
            self.log_root(listing);
        }
        if let (Event::Configured(Ok(settings)), Role::Watcher { .. }) = (&event, &self.role) {
            self.exporter.configure(settings.export.as_ref(), &settings.prices);
            self.sentinel.configure(&settings.alerts, settings.quiet);
        }
        // Jiff caches this, and reads the system's files at most every five minutes.
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
                    self.log.resolved(&root_subject(&dir));
                    self.watch.leave(dir);
                }
                Effect::Rebuild => self.watch.rebuild(),
                Effect::Fetch(job) => self.fetch(job),
                Effect::AwaitExit(path, file) => {
                    if let Some(exits) = &self.exits {
                        exits.wait_for(path, *file);
                    }
                }
                Effect::Publish(snapshot) => {
                    debug!("publishing");
                    let result = self.publish(*snapshot, now)?;
                    let published = Event::Published { began: now, result };
                    effects.extend(self.state.on_event(published, Now::read()));
                }
                Effect::Record { root, batch } => {
                    let told = self.recorder.append(root, batch);
                    effects.extend(self.tell(told));
                }
                Effect::Recall(root) => {
                    let replies = self.recorder.load(&root, now);
                    self.state.take_record(&root, &replies);
                }
                Effect::Fold { keep_ms, is_last } => {
                    let told = self.recorder.fold(keep_ms, is_last, now);
                    effects.extend(self.tell(told));
                }
                Effect::Save => self.save(),
                Effect::Upgrade { program, version } => {
                    info!("{} was replaced by version {version}", program.display());
                    self.successor = Some(program);
                }
                Effect::Configure => self.configure(),
                Effect::Acknowledge(cookie) => {
                    ipc::acknowledge(&cookie, self.published == Some(Ok(())));
                }
            }
        }
        Ok(())
    }

    /// Tells the state what happened while an effect was performed.
    fn tell(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let now = Now::read();
        events.into_iter().flat_map(|event| self.state.on_event(event, now)).collect()
    }

    // ---- Fetching

    fn fetch(&mut self, job: Job) {
        debug!("fetching {:?}", job.source());
        match job {
            Job::Read(job) => self.workers.read(job),
            Job::Run(job) => match self.acquire_fetch_lock() {
                Ok(lock) => self.workers.run(job, lock),
                Err(reason) => {
                    self.events.send(Event::Busy(job.source(), reason)).ok();
                }
            },
        }
    }

    /// The fetch lock that running programs share, or a newly acquired one. The error says why it
    /// cannot be acquired.
    fn acquire_fetch_lock(&mut self) -> std::result::Result<Arc<FetchLock>, String> {
        if let Role::Once { lock, .. } = &self.role {
            return Ok(Arc::clone(lock));
        }
        if let Some(lock) = self.fetch_lock.upgrade() {
            return Ok(lock);
        }
        match FetchLock::try_acquire(&self.dir) {
            Ok(Some(lock)) => {
                let lock = Arc::new(lock);
                self.fetch_lock = Arc::downgrade(&lock);
                Ok(lock)
            }
            Ok(None) => Err("another process holds fetch.lock".to_owned()),
            Err(err) => Err(err.to_string()),
        }
    }

    // ---- Publishing

    /// Writes a snapshot to disk, and the lines that are drawn from it. The inner result says
    /// whether both were written. The outer one fails if another watcher may have taken the place
    /// of this one.
    fn publish(
        &mut self,
        mut snapshot: Snapshot,
        now: Now,
    ) -> Result<std::result::Result<(), String>> {
        if let Role::Watcher { lock, .. } = &self.role
            && !lock.is_current()
        {
            return Err(Error::new("watch.lock is not the file that this watcher locked any more")
                .hint("the state directory was removed or replaced; start ccstatusd again"));
        }
        if let Role::Once { .. } = &self.role
            && ipc::is_watched()
        {
            let reason = "a watcher has started, which publishes from now on".to_owned();
            self.published = Some(Err(reason.clone()));
            return Ok(Err(reason));
        }
        self.stay_reachable();
        // Lines say how old a snapshot is that is not published now.
        snapshot.published_at_ms = now.wall_ms;
        self.draw(&snapshot, now);
        let fitted = self.draw_fitted(&snapshot, now);
        self.log.degraded(&snapshot.degraded);
        self.exporter.published(&snapshot);
        let latest = snapshot.latest.clone();
        let written = self.publisher.snapshot(snapshot, now.wall_ms);
        self.published = Some(written.as_ref().map(drop).map_err(ToString::to_string));
        let lines = self.lines.clone();
        let plain = lines.iter().map(|(id, it)| (id.clone(), display::ansi::without_colour(it)));
        let plain = plain.collect();
        let lines = written
            .and_then(|_| self.publisher.lines(lines, latest.as_ref()))
            .and_then(|changed| self.publisher.plain(plain, latest.as_ref()).map(|()| changed));
        match lines.and_then(|changed| self.publisher.fitted(&fitted).map(|()| changed)) {
            Ok(changed) => {
                self.changed_lines.extend(changed);
                if self.log.resolved("store") {
                    info!("publishing again");
                }
                Ok(Ok(()))
            }
            Err(err) => {
                // The old snapshot stays on disk, and displays show its age.
                self.log.warn("store", &err.to_string());
                Ok(Err(err.to_string()))
            }
        }
    }

    /// Draws the line of every live session. The lines of ended sessions stay as they were drawn
    /// last.
    fn draw(&mut self, snapshot: &Snapshot, now: Now) {
        let style = display::lines_style(&snapshot.display);
        let watcher = watcher_of(snapshot);
        self.lines.retain(|id, _| snapshot.sessions.contains_key(id));
        for (id, session) in snapshot.sessions.iter().filter(|(_, session)| session.live) {
            let line = self.view(snapshot, id, session, now).line(watcher, &style);
            self.lines.insert(id.clone(), line);
        }
    }

    /// Draws the lines that displays asked to be fitted.
    fn draw_fitted(&self, snapshot: &Snapshot, now: Now) -> BTreeMap<SessionId, FittedLine> {
        let draw = |(id, fit, client): (&SessionId, Fit, ClientFacts)| {
            let session = snapshot.sessions.get(id)?;
            let view = self.view(snapshot, id, session, now);
            Some((id.clone(), view.fitted(watcher_of(snapshot), &client, &fit)))
        };
        self.state.fits(now).filter_map(draw).collect()
    }

    fn view<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        id: &'a SessionId,
        session: &Session,
        now: Now,
    ) -> SessionView<'a> {
        let home = session.cwd.as_deref().and_then(|it| self.home.above(it));
        SessionView { snapshot, session: id, now_ms: now.wall_ms, zone: &self.zone, home }
    }

    /// Listens on a new socket if the one for hints was removed. Without it, a `--oneshot` run
    /// takes the watcher for dead and publishes itself. The next snapshot of this watcher must have
    /// a higher number than that one.
    fn stay_reachable(&mut self) {
        let Role::Watcher { listener, .. } = &mut self.role else { return };
        if ipc::is_reachable() {
            return;
        }
        match ipc::listen() {
            Ok(listening) => {
                warn!("notify.sock was removed; listening on a new one");
                *listener = listening;
                self.log.resolved("notify.sock");
            }
            Err(err) => self.log.warn("notify.sock", &err.to_string()),
        }
        self.publisher.catch_up();
    }

    /// This process was told to end, so nobody is to be told that it has.
    pub(crate) fn dismiss_sentinel(&mut self) {
        self.sentinel.dismiss();
    }

    /// Saves the checkpoint, and publishes a last snapshot, which tells displays that no watcher
    /// runs.
    pub(crate) fn shut_down(&mut self) {
        if let Err(err) = self.handle(Event::Shutdown) {
            warn!("{err}");
        }
        self.exporter.finish();
        // If the lock file was replaced, the socket may belong to another watcher.
        if let Role::Watcher { lock, .. } = &self.role
            && lock.is_current()
        {
            fs_err::remove_file(SOCKET).ok();
        }
    }

    // ---- The checkpoint and the configuration

    fn save(&mut self) {
        match checkpoint::save(&self.dir, &self.state.checkpoint(self.recorder.mark())) {
            Ok(()) => _ = self.log.resolved("checkpoint"),
            Err(err) => self.log.warn("checkpoint", &err.to_string()),
        }
    }

    /// Reads the configuration in a thread of its own, since it may be on a disk that does not
    /// answer.
    fn configure(&mut self) {
        let (env, events) = (self.env.clone(), self.events.clone());
        let run = move || {
            let settings = load_settings(&env).map(Box::new).map_err(|err| read_failure(&err));
            events.send(Event::Configured(settings)).ok();
        };
        let thread = std::thread::Builder::new().name("configuration".to_owned()).spawn(run);
        if let Err(err) = thread {
            let failure = ReadFailure { reason: err.to_string(), is_transient: true };
            self.events.send(Event::Configured(Err(failure))).ok();
        }
    }

    /// Logs whether a config root is watched, missing or unreadable.
    fn log_root(&mut self, listing: &Listing) {
        if !self.state.is_own_root(&listing.dir) {
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

/// The last snapshot of a watcher that ends names no watcher.
fn watcher_of(snapshot: &Snapshot) -> Watcher {
    match snapshot.watcher {
        Some(_) => Watcher::Alive,
        None => Watcher::Gone,
    }
}

/// What the state is told of a configuration that could not be read. An error of the system is
/// taken for a passing one, unless its kind says that it stays until somebody changes something.
fn read_failure(err: &Error) -> ReadFailure {
    use std::io::ErrorKind::{
        InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied,
    };
    let lasting =
        [InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied];
    let source = err.source.as_ref();
    let io_error = source.and_then(|it| it.downcast_ref::<std::io::Error>());
    ReadFailure {
        reason: source.map_or_else(|| err.doing.clone(), ToString::to_string),
        is_transient: io_error.is_some_and(|it| !lasting.contains(&it.kind())),
    }
}

/// The subject of log messages about a config root.
fn root_subject(root: &std::path::Path) -> String {
    format!("root:{}", root.display())
}

/// How snapshots describe this watcher.
fn identity(now: Now) -> schema::Watcher {
    schema::Watcher {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms: now.wall_ms,
        ..schema::Watcher::default()
    }
}

/// Reads the configuration, and finds the config roots.
fn load_settings(env: &Environment) -> Result<Settings> {
    let path = env.config_file();
    let config = Config::load(path.as_deref())?;
    let list = placed_list::load(env)?;
    let probe = probe()?;
    let mut rules = config.rules(env);
    for root in rules.values_mut().filter_map(|it| it.root.as_mut()) {
        // As the roots themselves, so that it equals one of them.
        *root = resolved(vec![root_named_by(root.clone(), &probe)], &probe).remove(0);
    }
    let trusted = config.git.trust.iter().filter_map(|dir| env.expand(dir));
    Ok(Settings {
        roots: roots(env, &config)?,
        zone: TimeZone::system(),
        week_starts: config.usage.week_starts,
        keep_ms: config.usage.keep_days.map(|days| i64::from(days) * DAY_MS),
        prices: config.prices(list.prices),
        price_file: list.path.map_or(Vec::new(), |path| config::link_chain(&path)),
        placed_prices: list.placed,
        preview: config.privacy.preview,
        display: config.display.clone(),
        config: path.map_or(Vec::new(), |path| config::link_chain(&path)),
        trusted: resolved(trusted.collect(), &probe),
        git_timeout: config.git.timeout(),
        block_tool: config.block_tool(env),
        commands: config.commands(env),
        runs: config.runs(env),
        alerts: rules,
        quiet: config.quiet,
        export: export(env, &config),
    })
}

/// What the user wants to be exported.
fn export(env: &Environment, config: &Config) -> Option<Export> {
    Some(Export {
        textfile: env.expand(&config.export.textfile_of(&env.user_name())?)?,
        every: Duration::from_secs(config.export.every_s.into()),
        detail: config.export.detail,
    })
}

/// The config roots. Two paths to one directory are one account.
pub(crate) fn roots(env: &Environment, config: &Config) -> Result<Vec<PathBuf>> {
    let mut roots = env.claude_roots()?;
    roots.extend(config.roots.iter().filter_map(|root| env.expand(root)));
    let probe = probe()?;
    let named = |dirs: Vec<PathBuf>| {
        dirs.into_iter().map(|dir| root_named_by(dir, &probe)).collect::<Vec<_>>()
    };
    // A link to a folder of transcripts names its root as well.
    let roots = named(resolved(named(roots), &probe));
    let mut seen = BTreeSet::new();
    Ok(roots.into_iter().filter(|dir| seen.insert(dir.clone())).collect())
}

/// The config root that a directory names: its parent if it is the folder of transcripts in a root.
/// People take that folder for the root, and `ccusage` accepts it.
fn root_named_by(dir: PathBuf, probe: &Probe) -> PathBuf {
    let is_folder = dir.ends_with(layout::PROJECTS);
    let has_folder = |dir: &Path| probe.answers(dir) && dir.join(layout::PROJECTS).is_dir();
    match dir.parent().filter(|_| is_folder && !has_folder(&dir)) {
        Some(root) => root.to_owned(),
        None => dir,
    }
}

fn probe() -> Result<Probe> {
    Probe::start(|| ()).map_err(|err| Error::new("cannot start a thread").because(err))
}

/// These directories with symbolic links resolved, each once. A path stays as it is if the
/// directory is missing, or if its file system does not answer, since resolving it would then hang
/// this thread.
fn resolved(dirs: Vec<PathBuf>, probe: &Probe) -> Vec<PathBuf> {
    let resolved = |dir: PathBuf| match probe.answers(&dir) {
        true => fs_err::canonicalize(&dir).unwrap_or(dir),
        false => dir,
    };
    let mut seen = BTreeSet::new();
    dirs.into_iter().map(resolved).filter(|dir| seen.insert(dir.clone())).collect()
}
