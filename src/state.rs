//! PURE. Everything that is known, and what follows from an event.
//!
//! [`State::on_event`] returns *what* to do; `daemon.rs` and `oneshot.rs` do it. Nothing here reads
//! a clock or a file, starts anything or waits.
//!
//! **Invariants:** a fact is kept under the key that scopes it (root, session, working tree), and
//! the snapshot is a function of what is kept. A source that fails keeps its last good fact.

mod places;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use places::{Places, Purpose};

use crate::fetch::claude::{self, SessionFile, TranscriptFacts};
use crate::fetch::git;
use crate::fetch::git::tree::WorkTree;
use crate::fetch::tail::{Cursor, Tail};
use crate::plan::{Plan, Policy, Urgency};
use crate::store::schema::{self, ClientFacts, SessionId, Snapshot};
use crate::time::{DAY_MS, MINUTE_MS, Now};
use crate::usage::ledger::{FileId, Ledger};
use crate::usage::prices::Prices;
use crate::watch::debounce::Debounce;
use crate::watch::{EntryKind, Found, Listing, Look, Stamp};

/// Transcripts: on the first change at once, then at most one pass every 50 ms. Reading a tail
/// takes microseconds.
const READS: Policy = Policy {
    debounce: Debounce { quiet: Duration::ZERO, max_hold: Duration::ZERO },
    spacing: Duration::from_millis(50),
    rest: 1,
    slots: READERS,
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Programs: once it is quiet, a second later at most, and never more than a tenth of the time.
const EXECS: Policy = Policy {
    debounce: Debounce { quiet: Duration::from_millis(150), max_hold: Duration::from_secs(1) },
    spacing: Duration::ZERO,
    rest: 10,
    slots: RUNNERS,
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Threads that read files.
pub const READERS: usize = 2;
/// Threads that run programs. One slow repository leaves the other to the rest.
pub const RUNNERS: usize = 2;

/// Least time between two snapshots.
const PUBLISH_SPACING: Duration = Duration::from_millis(50);
/// A full disk is tried again this often.
const PUBLISH_RETRY: Duration = Duration::from_secs(5);
/// While a session lives: its line is redrawn, its process looked after, roots checked.
const TICK: Duration = Duration::from_secs(60);
/// Every this many ticks, every directory is listed again: what the kernel did not tell is found.
const RECONCILE_TICKS: u32 = 5;
/// Directories without events are listed this often while a session lives, and without one.
const POLL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// After this long something is published even if transcripts are still being read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Without a process to look at, a session lives this long after its last sign of life.
const LINGER_MS: i64 = 30 * MINUTE_MS;
/// What the client said counts for this long after, though the transcript has news since: the
/// display that will bring the client's own news is being drawn.
const CLIENT_LEAD_MS: i64 = 2 * MINUTE_MS;
/// No window reaches back farther, so older transcripts are not opened.
const HORIZON_MS: i64 = 35 * DAY_MS;
/// Somebody looks: git facts older than this are fetched again, then twice this, up to the second.
const GLANCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Something changed at this path.
    Changed(PathBuf),
    /// Changes were lost: everything must be looked at again.
    Lost,
    /// A directory was looked at.
    Listed(Listing),
    /// A fetch ended.
    Fetched(Source, Fetched),
    /// A fetch could not start, since another process fetches.
    Busy(Source),
    /// A display shared what the client told it.
    Hint(Box<ClientFacts>),
    /// [`State::deadline`] has come.
    Deadline,
    /// The configuration was read again.
    Reload(Settings),
}

/// What to do about it.
#[derive(Debug)]
pub enum Effect {
    /// Watch and list a directory; an [`Event::Listed`] will follow.
    Look(Look),
    /// Stop watching it.
    Leave(PathBuf),
    /// Drop every watch. Looks at all directories follow.
    Rebuild,
    /// Fetch; an [`Event::Fetched`] will follow.
    Fetch(Source, Job),
    /// Publish [`State::snapshot`].
    Publish,
    /// Tell whoever left this cookie that everything before it is published.
    Acknowledge(PathBuf),
}

/// What can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A transcript.
    Transcript(PathBuf),
    /// A process's `sessions/<pid>.json`.
    Process(PathBuf),
    /// Where the working tree around this directory is.
    Tree(PathBuf),
    /// The state of the working tree with this top.
    Repo(PathBuf),
}

/// What a fetch needs to know.
#[derive(Clone, Debug)]
pub enum Job {
    /// Read on from here.
    Transcript(PathBuf, Option<Box<(Cursor, TranscriptFacts)>>),
    /// Read it, and see whether the process lives.
    Process(PathBuf),
    /// Find the working tree.
    Tree(PathBuf),
    /// Ask git.
    Repo(WorkTree),
}

/// What a fetch found.
#[derive(Debug)]
pub enum Fetched {
    /// What was appended.
    Transcript(io::Result<Box<Tail>>),
    /// What the file says. One that is being rewritten may be unreadable for a moment.
    Process(io::Result<Process>),
    /// The working tree, and the directories in which its git facts change.
    Tree(Option<(WorkTree, Vec<PathBuf>)>),
    /// Its state, and the directories again: new ones appear.
    Repo(Result<schema::Repo, git::Failure>, Vec<PathBuf>),
}

/// A process of Claude Code's, as its file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// What the file says.
    pub file: SessionFile,
    /// Whether the process still runs: a crash leaves the file behind, and process ids are reused.
    pub lives: bool,
}

/// What the user chose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The config roots.
    pub roots: Vec<PathBuf>,
    /// Where days begin.
    pub zone: TimeZone,
    /// Where weeks begin.
    pub week_starts: Weekday,
    /// Where cookies appear; `None` where nobody waits for them.
    pub cookies: Option<PathBuf>,
}

/// See the module.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    watcher: Option<schema::Watcher>,
    places: Places,
    roots: BTreeMap<PathBuf, Root>,
    files: BTreeMap<PathBuf, File>,
    sessions: BTreeMap<SessionKey, Session>,
    /// Every process file, with its session and whether the process lives.
    processes: BTreeMap<PathBuf, (SessionKey, bool)>,
    repos: BTreeMap<PathBuf, Repo>,
    reads: Plan<Source>,
    execs: Plan<Source>,
    failing: BTreeMap<Source, Failing>,
    /// Since when and why nothing can be published.
    store_error: Option<(i64, String)>,
    /// The first scan, and cookies: who waits for what was wanted before them.
    barriers: Vec<Barrier>,
    started: Now,
    /// Whether every transcript has been read once, so that sums are whole.
    is_scanned: bool,
    is_dirty: bool,
    next_publish: Option<Instant>,
    next_tick: Option<Instant>,
    next_poll: Option<Instant>,
    ticks: u32,
    last_tick: Now,
    effects: Vec<Effect>,
}

/// A session belongs to a root: two accounts may hold copies of one transcript.
type SessionKey = (PathBuf, SessionId);

#[derive(Debug)]
struct Root {
    ledger: Ledger,
    limits: schema::Limits,
    as_of_ms: i64,
    /// What an earlier process published, until every transcript has been read.
    recalled: Option<schema::Usage>,
}

#[derive(Debug)]
struct File {
    root: PathBuf,
    place: claude::Place,
    id: FileId,
    /// The state of the file that `facts` tell of.
    stamp: Option<Stamp>,
    cursor: Option<Cursor>,
    facts: TranscriptFacts,
    session: Option<SessionId>,
}

#[derive(Debug, Default)]
struct Session {
    transcript: Option<PathBuf>,
    agents: BTreeSet<PathBuf>,
    process: Option<SessionFile>,
    told: Option<Told>,
    grew_ms: i64,
    asked_ms: i64,
    /// Its process ended: earlier signs of life count no more.
    ended_ms: i64,
    is_live: bool,
    cwd: Option<PathBuf>,
    repo: Option<PathBuf>,
}

/// What the client said, and when.
#[derive(Debug)]
struct Told {
    facts: ClientFacts,
    at_ms: i64,
}

#[derive(Debug)]
struct Repo {
    tree: WorkTree,
    facts: schema::Repo,
    dirs: BTreeSet<PathBuf>,
    /// How old its facts may be when somebody looks.
    glance: Duration,
    started: Option<Instant>,
    took: Duration,
}

#[derive(Debug)]
struct Failing {
    since_ms: i64,
    reason: String,
}

#[derive(Debug)]
struct Barrier {
    /// Directories that may hold more to fetch are still being looked at.
    looking: bool,
    /// Fetches to wait for, and how many of each: two where one runs that began too early.
    waiting: BTreeMap<Source, u8>,
    /// The cookie; `None` for the first scan.
    cookie: Option<PathBuf>,
}

impl State {
    /// The state before anything was looked at; `previous` is the snapshot on disk, whose client
    /// facts stand nowhere else. The effects are the first looks.
    ///
    /// `watcher` names this process in snapshots; `None` for `--oneshot`.
    pub fn new(
        settings: Settings,
        watcher: Option<schema::Watcher>,
        previous: Option<&Snapshot>,
        now: Now,
    ) -> (State, Vec<Effect>) {
        let mut state = State {
            settings,
            watcher,
            places: Places::default(),
            roots: BTreeMap::new(),
            files: BTreeMap::new(),
            sessions: BTreeMap::new(),
            processes: BTreeMap::new(),
            repos: BTreeMap::new(),
            reads: Plan::new(READS),
            execs: Plan::new(EXECS),
            failing: BTreeMap::new(),
            store_error: None,
            barriers: vec![Barrier { looking: true, waiting: BTreeMap::new(), cookie: None }],
            started: now,
            is_scanned: false,
            is_dirty: true,
            next_publish: Some(now.mono + PATIENCE),
            next_tick: None,
            next_poll: None,
            ticks: 0,
            last_tick: now,
            effects: Vec::new(),
        };
        for root in state.settings.roots.clone() {
            state.add_root(&root, now);
        }
        if let Some(previous) = previous {
            state.recall(previous);
        }
        if let Some(dir) = state.settings.cookies.clone() {
            state.observe(&dir, Purpose::Cookies);
        }
        let effects = std::mem::take(&mut state.effects);
        (state, effects)
    }

    /// Takes in an event, and says what to do about it.
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Changed(path) => self.changed(&path, now),
            Event::Lost => self.lost(),
            Event::Listed(listing) => self.listed(listing, now),
            Event::Fetched(source, fetched) => self.fetched(&source, fetched, now),
            Event::Busy(source) => self.execs.postpone(&source, now.mono),
            Event::Hint(facts) => self.hinted(*facts, now),
            Event::Deadline => {}
            Event::Reload(settings) => self.reload(settings, now),
        }
        self.on_time(now);
        self.start_fetches(now);
        self.pass_barriers();
        self.publish(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Deadline`] is due; `None` while only an event can change anything. With no
    /// live session and working events that is always so.
    pub fn deadline(&self) -> Option<Instant> {
        let publish = if self.is_dirty { self.next_publish } else { None };
        [self.reads.deadline(), self.execs.deadline(), publish, self.next_tick, self.next_poll]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether everything has been looked at and fetched, save next tries of what fails.
    pub fn is_settled(&self) -> bool {
        self.is_scanned
            && self.places.outstanding == 0
            && self.reads.is_settled()
            && self.execs.is_settled()
    }

    /// Where days begin.
    pub fn zone(&self) -> &TimeZone {
        &self.settings.zone
    }

    /// Whether a directory is a config root.
    pub fn is_root(&self, dir: &Path) -> bool {
        self.roots.contains_key(dir)
    }

    /// The snapshot could not be published. What it said is still to be said.
    pub fn publish_failed(&mut self, reason: &str, now: Now) {
        self.store_error.get_or_insert_with(|| (now.wall_ms, String::new())).1 = reason.to_owned();
        self.is_dirty = true;
        self.next_publish = Some(now.mono + PUBLISH_RETRY);
    }

    /// It could be published after all.
    pub fn publish_worked(&mut self) {
        self.store_error = None;
        self.is_dirty = true;
    }

    /// From now on snapshots say that nobody watches.
    pub fn retire(&mut self) {
        self.watcher = None;
    }

    // ---- Changes

    fn changed(&mut self, path: &Path, now: Now) {
        if self.places.contains(path) {
            // It was removed, renamed or made anew.
            let look = self.places.look(path);
            self.effects.push(look);
        }
        for (path, purpose) in self.places.concerns(path) {
            match purpose {
                Purpose::Await(missing) => {
                    if missing.starts_with(&path) {
                        self.awaited(&missing);
                    }
                }
                Purpose::Root => self.root_entry(&path),
                Purpose::Projects { root } => self.observe(&path, Purpose::Project { root }),
                Purpose::Project { root } => match claude::place(&root, &path) {
                    Some(place) => self.want_transcript(&path, &root, place, now),
                    None => self.session_folder(&root, &path),
                },
                Purpose::Agents { root, session } => match claude::place(&root, &path) {
                    Some(place) => self.want_transcript(&path, &root, place, now),
                    None => self.agents_folder(&root, &session, &path),
                },
                Purpose::Processes { root } => self.want_process(&root, &path, now),
                Purpose::Git { top } => {
                    if self.repos.get(&top).is_some_and(|it| it.tree.matters(&path)) {
                        self.want_repo(&top, Urgency::Settled, now);
                    }
                }
                Purpose::Cookies => self.cookie(&path, now),
            }
        }
    }

    fn lost(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher.rescans += 1;
        }
        self.effects.push(Effect::Rebuild);
        let looks = self.places.look_at_all(|_| true);
        self.effects.extend(looks);
        self.is_dirty = true;
    }

    fn listed(&mut self, listing: Listing, now: Now) {
        let purposes = self.places.listed(&listing);
        let dir = listing.dir;
        match listing.found {
            Found::Dir { entries, .. } => {
                for purpose in purposes {
                    self.listed_for(purpose, &dir, &entries, now);
                }
            }
            Found::Missing { nearest } => {
                for purpose in purposes {
                    self.missing(purpose, &dir, &nearest, now);
                }
            }
            Found::NotADirectory => {
                let leave = self.places.leave(|it, purpose| it == dir && *purpose != Purpose::Root);
                self.effects.extend(leave);
            }
            // Its reason is in the snapshot.
            Found::Unreadable(_) => self.is_dirty = true,
        }
        self.schedule_poll(now);
    }

    fn listed_for(
        &mut self,
        purpose: Purpose,
        dir: &Path,
        entries: &[crate::watch::Entry],
        now: Now,
    ) {
        match purpose {
            Purpose::Await(missing) => {
                if entries.iter().any(|it| missing.starts_with(&it.path)) {
                    self.awaited(&missing);
                }
            }
            Purpose::Root => {
                for entry in entries {
                    self.root_entry(&entry.path);
                }
            }
            Purpose::Projects { root } => {
                for entry in entries.iter().filter(|it| it.kind == EntryKind::Dir) {
                    self.observe(&entry.path, Purpose::Project { root: root.clone() });
                }
            }
            Purpose::Project { root } => {
                self.seen(&root, entries, now);
                self.check_vanished(dir, entries, now);
            }
            Purpose::Agents { root, session } => {
                self.seen(&root, entries, now);
                for entry in entries.iter().filter(|it| it.kind == EntryKind::Dir) {
                    self.agents_folder(&root, &session, &entry.path);
                }
            }
            Purpose::Processes { root } => {
                let known = self.processes.keys().filter(|it| it.starts_with(dir)).cloned();
                let found = entries.iter().map(|it| it.path.clone());
                for path in known.chain(found).collect::<BTreeSet<_>>() {
                    self.want_process(&root, &path, now);
                }
            }
            Purpose::Git { top } => self.want_repo(&top, Urgency::Settled, now),
            Purpose::Cookies => {
                for entry in entries.iter().filter(|it| it.kind == EntryKind::Other) {
                    self.cookie(&entry.path, now);
                }
            }
        }
    }

    fn missing(&mut self, purpose: Purpose, dir: &Path, nearest: &Path, now: Now) {
        match purpose {
            Purpose::Root => self.observe(nearest, Purpose::Await(dir.to_owned())),
            Purpose::Await(target) => {
                let leave = self.places.leave(|it, why| {
                    it == dir && matches!(why, Purpose::Await(it) if *it == target)
                });
                self.effects.extend(leave);
                self.observe(nearest, Purpose::Await(target));
            }
            Purpose::Project { .. } | Purpose::Agents { .. } => {
                self.check_vanished(dir, &[], now);
                let leave = self.places.leave(|it, _| it == dir);
                self.effects.extend(leave);
            }
            Purpose::Processes { root } => {
                let known: Vec<_> =
                    self.processes.keys().filter(|it| it.starts_with(dir)).cloned().collect();
                for path in known {
                    self.want_process(&root, &path, now);
                }
            }
            Purpose::Git { top } => self.want_repo(&top, Urgency::Settled, now),
            // `projects` will be seen in its root. Without its state directory the watcher ends
            // when it publishes next.
            Purpose::Projects { .. } => {}
            Purpose::Cookies => self.is_dirty = true,
        }
    }

    // ---- Places

    fn observe(&mut self, dir: &Path, purpose: Purpose) {
        let effect = self.places.observe(dir, purpose);
        self.effects.extend(effect);
    }

    fn awaited(&mut self, target: &Path) {
        let leave =
            self.places.leave(|_, purpose| matches!(purpose, Purpose::Await(it) if it == target));
        self.effects.extend(leave);
        let look = self.places.look(target);
        self.effects.push(look);
    }

    fn add_root(&mut self, root: &Path, now: Now) {
        let mut ledger = Ledger::new(Prices::builtin());
        ledger.forget_before(now.wall_ms - HORIZON_MS);
        let limits = schema::Limits::default();
        let root_state = Root { ledger, limits, as_of_ms: now.wall_ms, recalled: None };
        self.roots.entry(root.to_owned()).or_insert(root_state);
        self.observe(root, Purpose::Root);
    }

    fn root_entry(&mut self, path: &Path) {
        let Some(root) = path.parent().map(Path::to_owned) else { return };
        match path.file_name().and_then(|it| it.to_str()) {
            Some(claude::PROJECTS) => self.observe(path, Purpose::Projects { root }),
            Some(claude::PROCESSES) => self.observe(path, Purpose::Processes { root }),
            _ => {}
        }
    }

    /// A new folder beside the transcripts is that of a session which starts a subagent.
    fn session_folder(&mut self, root: &Path, path: &Path) {
        let name = path.file_name().and_then(|it| it.to_str());
        if let Some(session) = name.and_then(SessionId::checked) {
            self.observe(path, Purpose::Agents { root: root.to_owned(), session });
        }
    }

    fn agents_folder(&mut self, root: &Path, session: &SessionId, path: &Path) {
        if claude::holds_subagents(path) {
            let purpose = Purpose::Agents { root: root.to_owned(), session: session.clone() };
            self.observe(path, purpose);
        }
    }

    // ---- Transcripts

    fn seen(&mut self, root: &Path, entries: &[crate::watch::Entry], now: Now) {
        for entry in entries {
            let EntryKind::File(stamp) = entry.kind else { continue };
            let is_known = self.files.get(&entry.path).is_some_and(|it| it.stamp == Some(stamp));
            let is_old = stamp.modified_ms < now.wall_ms - HORIZON_MS;
            if is_known || (is_old && !self.files.contains_key(&entry.path)) {
                continue;
            }
            if let Some(place) = claude::place(root, &entry.path) {
                self.want_transcript(&entry.path, root, place, now);
            }
        }
    }

    /// Files that a listing lacks are read once more; that they are missing is found there.
    fn check_vanished(&mut self, dir: &Path, entries: &[crate::watch::Entry], now: Now) {
        let listed: BTreeSet<_> = entries.iter().map(|it| it.path.as_path()).collect();
        let below = self.files.range(dir.to_owned()..).take_while(|(it, _)| it.starts_with(dir));
        let gone: Vec<_> =
            below.map(|(it, _)| it).filter(|it| !listed.contains(it.as_path())).cloned().collect();
        for path in gone {
            self.reads.want(&Source::Transcript(path), Urgency::Settled, now.mono);
        }
    }

    fn want_transcript(&mut self, path: &Path, root: &Path, place: claude::Place, now: Now) {
        if matches!(place, claude::Place::Process(_)) {
            return;
        }
        if !self.files.contains_key(path) {
            let Some(it) = self.roots.get_mut(root) else { return };
            let session = match &place {
                claude::Place::Transcript(it) | claude::Place::Subagent(it) => Some(it.clone()),
                claude::Place::OldSubagent | claude::Place::Process(_) => None,
            };
            let file = File {
                root: root.to_owned(),
                id: it.ledger.file(&path.strip_prefix(root).unwrap_or(path).to_string_lossy()),
                place,
                stamp: None,
                cursor: None,
                facts: TranscriptFacts::default(),
                session,
            };
            self.files.insert(path.to_owned(), file);
        }
        self.reads.want(&Source::Transcript(path.to_owned()), Urgency::Settled, now.mono);
    }

    fn read(&mut self, path: &Path, tail: Tail, now: Now) {
        let Some(file) = self.files.get_mut(path) else { return };
        let Some(root) = self.roots.get_mut(&file.root) else { return };
        if tail.restarted {
            root.ledger.remove_file(file.id);
        }
        if let (None, Some(id)) = (&file.session, &tail.facts.session) {
            file.session = SessionId::checked(id);
        }
        for (offset, entry) in &tail.entries {
            root.ledger.add(file.id, *offset, file.session.as_ref(), entry);
        }
        root.as_of_ms = now.wall_ms;
        let stamp = Stamp {
            identity: (tail.cursor.dev, tail.cursor.ino),
            size: tail.size,
            modified_ms: tail.mtime_ms,
        };
        // What is seen growing grew just now. What is there at the first look grew when it says:
        // its file may have been copied since.
        let is_first = file.cursor.is_none();
        let said_ms = tail.facts.last_line_ms.filter(|_| is_first).unwrap_or(i64::MAX);
        let grew_ms = stamp.modified_ms.min(said_ms).min(now.wall_ms);
        // A file read whole is compared with listings; one read in part is wanted anyway.
        file.stamp = (!tail.more).then_some(stamp);
        file.cursor = Some(tail.cursor);
        file.facts = tail.facts;
        self.is_dirty = true;
        if tail.more {
            self.reads.want(&Source::Transcript(path.to_owned()), Urgency::Now, now.mono);
        }
        let Some(session) = file.session.clone() else { return };
        let key = (file.root.clone(), session);
        let is_agent = !matches!(file.place, claude::Place::Transcript(_));
        let it = self.sessions.entry(key.clone()).or_default();
        if is_agent {
            it.agents.insert(path.to_owned());
        } else {
            it.transcript = Some(path.to_owned());
        }
        it.grew_ms = it.grew_ms.max(grew_ms);
        self.refresh_session(&key, now);
        self.touch_repo(&key, now);
    }

    /// A transcript was deleted. Claude Code prunes old ones, and what they used was used.
    fn vanished(&mut self, path: &Path, now: Now) {
        self.reads.forget(&Source::Transcript(path.to_owned()));
        let Some(file) = self.files.remove(path) else { return };
        if let Some(root) = self.roots.get_mut(&file.root) {
            root.ledger.retire_file(file.id);
        }
        let Some(session) = file.session else { return };
        let key = (file.root, session);
        if let Some(it) = self.sessions.get_mut(&key) {
            it.agents.remove(path);
            it.transcript.take_if(|it| it == path);
            if it.transcript.is_none() && it.agents.is_empty() && it.process.is_none() {
                it.ended_ms = now.wall_ms;
            }
        }
        self.is_dirty = true;
        self.refresh_session(&key, now);
    }

    // ---- Sessions

    fn want_process(&mut self, root: &Path, path: &Path, now: Now) {
        if let Some(claude::Place::Process(_)) = claude::place(root, path) {
            self.reads.want(&Source::Process(path.to_owned()), Urgency::Now, now.mono);
        }
    }

    /// What a process's file says; `None` where it is gone.
    fn process(&mut self, path: &Path, found: Option<Process>, now: Now) {
        let root = path.parent().and_then(Path::parent).map(Path::to_owned);
        let found = root.zip(found).and_then(|(root, it)| {
            let id = it.file.session_id.clone()?;
            Some(((root, id), it))
        });
        let seat = found.as_ref().map(|(key, it)| (key.clone(), it.lives));
        let before = match &seat {
            Some(it) => self.processes.insert(path.to_owned(), it.clone()),
            None => self.processes.remove(path),
        };
        if let Some((key, true)) = before.as_ref().filter(|it| Some(*it) != seat.as_ref()) {
            // It ended, or goes on with another session.
            self.end_session(key, now);
        }
        let Some((key, found)) = found else { return };
        if found.lives {
            let session = self.sessions.entry(key.clone()).or_default();
            if session.process.as_ref() != Some(&found.file) {
                session.process = Some(found.file);
                self.is_dirty = true;
            }
            self.refresh_session(&key, now);
        } else if before.is_none() {
            // Left behind by a crash before we looked.
            self.sessions.entry(key.clone()).or_default();
            self.end_session(&key, now);
        }
    }

    fn end_session(&mut self, key: &SessionKey, now: Now) {
        if let Some(it) = self.sessions.get_mut(key) {
            it.process = None;
            it.ended_ms = now.wall_ms;
            self.is_dirty = true;
        }
        self.refresh_session(key, now);
    }

    fn hinted(&mut self, facts: ClientFacts, now: Now) {
        let Some(id) = facts.session_id.as_deref().and_then(SessionId::checked) else { return };
        let transcript = facts.transcript_path.as_deref().map(PathBuf::from);
        let root = match transcript.as_deref().and_then(claude::root_of) {
            Some(root) => root.to_owned(),
            None => match self.sessions.keys().find(|(_, it)| *it == id) {
                Some((root, _)) => root.clone(),
                None => return,
            },
        };
        if !self.roots.contains_key(&root) {
            // A login service does not see CLAUDE_CONFIG_DIR; the client, which does, says here
            // where it writes.
            self.add_root(&root, now);
        }
        if let Some(path) = &transcript
            && let Some(place @ claude::Place::Transcript(_)) = claude::place(&root, path)
        {
            // Where events do not work, somebody who looks is as good as one.
            self.want_transcript(path, &root, place, now);
        }
        let key = (root, id);
        let as_of_ms = self.last_reply_ms(&key).unwrap_or(now.wall_ms).min(now.wall_ms);
        if let Some(root) = self.roots.get_mut(&key.0) {
            merge_limits(&mut root.limits, &facts.limits, as_of_ms);
            root.as_of_ms = now.wall_ms;
        }
        let session = self.sessions.entry(key.clone()).or_default();
        session.told = Some(Told { facts, at_ms: now.wall_ms });
        session.asked_ms = now.wall_ms;
        self.is_dirty = true;
        self.refresh_session(&key, now);
        self.glance(&key, now);
    }

    fn last_reply_ms(&self, key: &SessionKey) -> Option<i64> {
        let transcript = self.sessions.get(key)?.transcript.as_ref()?;
        self.files.get(transcript)?.facts.last_reply_ms
    }

    /// Decides whether a session lives and where it works, and what follows from a change of that.
    fn refresh_session(&mut self, key: &SessionKey, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        let sign = session.grew_ms.max(session.asked_ms);
        let is_live = session.process.is_some()
            || (sign > session.ended_ms && now.wall_ms - sign < LINGER_MS);
        let cwd = self.cwd_of(session).map(PathBuf::from).filter(|it| it.is_absolute());
        let transcript = session.transcript.clone();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (was_live, old_cwd) = (session.is_live, session.cwd.clone());
        session.is_live = is_live;
        session.cwd.clone_from(&cwd);
        if was_live != is_live {
            self.is_dirty = true;
        }
        if is_live && !was_live {
            self.next_tick.get_or_insert(now.mono + TICK);
            if let Some(folder) = transcript.as_deref().map(claude::session_folder) {
                let (root, session) = key.clone();
                self.observe(&folder, Purpose::Agents { root, session });
            }
        } else if was_live && !is_live {
            let leave = self.places.leave(|_, purpose| {
                matches!(purpose, Purpose::Agents { root, session }
                    if (root, session) == (&key.0, &key.1))
            });
            self.effects.extend(leave);
            self.leave_repos();
        }
        if let Some(cwd) = cwd.filter(|it| is_live && (!was_live || Some(it) != old_cwd.as_ref())) {
            self.reads.want(&Source::Tree(cwd), Urgency::Now, now.mono);
        }
    }

    /// Where a session works: what the client said, unless the transcript has gone on since.
    fn cwd_of<'a>(&'a self, session: &'a Session) -> Option<&'a str> {
        let facts = self.transcript_facts(session);
        let written = facts.and_then(|it| it.cwd.as_deref());
        let told = session.told.as_ref().and_then(|it| it.facts.cwd.as_deref());
        let started = session.process.as_ref().and_then(|it| it.cwd.as_deref());
        let told_first = self.is_current(session);
        let (first, second) = if told_first { (told, written) } else { (written, told) };
        first.or(second).or(started)
    }

    fn transcript_facts(&self, session: &Session) -> Option<&TranscriptFacts> {
        Some(&self.files.get(session.transcript.as_ref()?)?.facts)
    }

    /// Whether what the client said is as new as the transcript.
    fn is_current(&self, session: &Session) -> bool {
        let replied = self.transcript_facts(session).and_then(|it| it.last_reply_ms);
        let told = session.told.as_ref().map(|it| it.at_ms);
        told.is_some_and(|it| it + CLIENT_LEAD_MS >= replied.unwrap_or(i64::MIN))
    }

    // ---- Repositories

    fn tree(&mut self, cwd: &Path, found: Option<(WorkTree, Vec<PathBuf>)>, now: Now) {
        let top = found.as_ref().map(|(tree, _)| tree.top.clone());
        for session in self.sessions.values_mut().filter(|it| it.is_live) {
            if session.cwd.as_deref() == Some(cwd) && session.repo != top {
                session.repo.clone_from(&top);
                self.is_dirty = true;
            }
        }
        self.leave_repos();
        let Some((tree, dirs)) = found else { return };
        let top = tree.top.clone();
        let is_new = self.repos.get(&top).is_none_or(|it| it.tree != tree);
        if is_new {
            let repo = Repo {
                tree,
                facts: self.repos.remove(&top).map(|it| it.facts).unwrap_or_default(),
                dirs: BTreeSet::new(),
                glance: GLANCE.0,
                started: None,
                took: Duration::ZERO,
            };
            self.repos.insert(top.clone(), repo);
        }
        self.observe_git(&top, dirs);
        if is_new {
            self.want_repo(&top, Urgency::Now, now);
        }
    }

    fn observe_git(&mut self, top: &Path, dirs: Vec<PathBuf>) {
        let is_used = self.is_used(top);
        let Some(repo) = self.repos.get_mut(top) else { return };
        let dirs: BTreeSet<_> = if is_used { dirs.into_iter().collect() } else { BTreeSet::new() };
        if repo.dirs == dirs {
            return;
        }
        let leave = self.places.leave(|dir, purpose| {
            matches!(purpose, Purpose::Git { top: it } if it == top) && !dirs.contains(dir)
        });
        self.effects.extend(leave);
        repo.dirs.clone_from(&dirs);
        for dir in dirs {
            self.observe(&dir, Purpose::Git { top: top.to_owned() });
        }
    }

    fn is_used(&self, top: &Path) -> bool {
        self.sessions.values().any(|it| it.is_live && it.repo.as_deref() == Some(top))
    }

    /// Stops watching repositories in which no session lives.
    fn leave_repos(&mut self) {
        let unused: Vec<_> = self.repos.keys().filter(|it| !self.is_used(it)).cloned().collect();
        for top in unused {
            self.observe_git(&top, Vec::new());
            let source = Source::Repo(top);
            self.execs.forget(&source);
            self.is_dirty |= self.failing.remove(&source).is_some();
        }
    }

    /// The session did something, and what it does may have changed its files.
    fn touch_repo(&mut self, key: &SessionKey, now: Now) {
        let Some(session) = self.sessions.get(key).filter(|it| it.is_live) else { return };
        match (&session.repo, &session.cwd) {
            (Some(top), _) => {
                let top = top.clone();
                self.want_repo(&top, Urgency::Settled, now);
            }
            // `git init` may have been what it did.
            (None, Some(cwd)) => {
                self.reads.want(&Source::Tree(cwd.clone()), Urgency::Settled, now.mono);
            }
            (None, None) => {}
        }
    }

    /// Somebody looks at the session. What changed in the working tree shows nowhere else, so git
    /// is asked again where its answer is old; less and less often while it stays the same.
    fn glance(&mut self, key: &SessionKey, now: Now) {
        let top = self.sessions.get(key).and_then(|it| it.repo.clone());
        let Some((top, repo)) = top.and_then(|it| Some((it.clone(), self.repos.get(&it)?))) else {
            return self.touch_repo(key, now);
        };
        // At most one part in a hundred of the time.
        let least = repo.glance.max(repo.took * 99);
        if now.wall_ms - repo.facts.as_of_ms >= i64::try_from(least.as_millis()).unwrap_or(i64::MAX)
        {
            self.want_repo(&top, Urgency::Now, now);
        }
    }

    fn want_repo(&mut self, top: &Path, urgency: Urgency, now: Now) {
        if self.is_used(top) {
            self.execs.want(&Source::Repo(top.to_owned()), urgency, now.mono);
        }
    }

    fn asked_git(
        &mut self,
        top: &Path,
        found: Result<schema::Repo, git::Failure>,
        dirs: Vec<PathBuf>,
        now: Now,
    ) {
        self.is_dirty = true;
        let Some(repo) = self.repos.get_mut(top) else { return };
        if let Some(started) = repo.started.take() {
            repo.took = now.mono - started;
        }
        match found {
            Ok(facts) => {
                let before = schema::Repo { as_of_ms: facts.as_of_ms, ..repo.facts.clone() };
                repo.glance =
                    if before == facts { (repo.glance * 2).min(GLANCE.1) } else { GLANCE.0 };
                repo.facts = facts;
                self.observe_git(top, dirs);
            }
            Err(failure) => {
                repo.facts.error = Some(failure.to_string());
                // Perhaps it is no repository any more, or another one.
                let cwds: BTreeSet<_> = self
                    .sessions
                    .values()
                    .filter(|it| it.is_live && it.repo.as_deref() == Some(top))
                    .filter_map(|it| it.cwd.clone())
                    .collect();
                for cwd in cwds {
                    self.reads.want(&Source::Tree(cwd), Urgency::Settled, now.mono);
                }
            }
        }
    }

    // ---- Fetches

    fn start_fetches(&mut self, now: Now) {
        for source in self.reads.take_due(now.mono) {
            let job = match &source {
                Source::Transcript(path) => {
                    let file = self.files.get(path);
                    let from =
                        file.and_then(|it| Some(Box::new((it.cursor.clone()?, it.facts.clone()))));
                    Job::Transcript(path.clone(), from)
                }
                Source::Process(path) => Job::Process(path.clone()),
                Source::Tree(cwd) | Source::Repo(cwd) => Job::Tree(cwd.clone()),
            };
            self.effects.push(Effect::Fetch(source, job));
        }
        for source in self.execs.take_due(now.mono) {
            let Source::Repo(top) = &source else { continue };
            match self.repos.get_mut(top) {
                Some(repo) => {
                    repo.started = Some(now.mono);
                    let job = Job::Repo(repo.tree.clone());
                    self.effects.push(Effect::Fetch(source, job));
                }
                None => self.execs.done(&source, true, now.mono),
            }
        }
    }

    fn fetched(&mut self, source: &Source, fetched: Fetched, now: Now) {
        let is_exec = matches!(source, Source::Repo(_));
        let plan = if is_exec { &mut self.execs } else { &mut self.reads };
        let failure = match &fetched {
            Fetched::Transcript(Err(it)) | Fetched::Process(Err(it))
                if it.kind() != io::ErrorKind::NotFound =>
            {
                Some(it.to_string())
            }
            Fetched::Repo(Err(it), _) => Some(match it.hint() {
                Some(hint) => format!("{it}; {hint}"),
                None => it.to_string(),
            }),
            _ => None,
        };
        plan.done(source, failure.is_none(), now.mono);
        for barrier in &mut self.barriers {
            barrier.passed(source);
        }
        match failure {
            None => {
                self.is_dirty |= self.failing.remove(source).is_some();
            }
            // Caught while it was being written, and tried again. Without it a session lives by
            // its transcript.
            Some(_) if matches!(source, Source::Process(_)) => {}
            Some(reason) => {
                let failing = self
                    .failing
                    .entry(source.clone())
                    .or_insert(Failing { since_ms: now.wall_ms, reason: String::new() });
                failing.reason = reason;
                self.is_dirty = true;
            }
        }
        match (source, fetched) {
            (Source::Transcript(path), Fetched::Transcript(Ok(tail))) => {
                self.read(path, *tail, now)
            }
            (Source::Transcript(path), Fetched::Transcript(Err(err))) => {
                if err.kind() == io::ErrorKind::NotFound {
                    self.vanished(path, now);
                }
            }
            (Source::Process(path), Fetched::Process(Ok(found))) => {
                self.process(path, Some(found), now);
            }
            (Source::Process(path), Fetched::Process(Err(err))) => {
                if err.kind() == io::ErrorKind::NotFound {
                    self.reads.forget(source);
                    self.process(path, None, now);
                }
            }
            (Source::Tree(cwd), Fetched::Tree(found)) => self.tree(cwd, found, now),
            (Source::Repo(top), Fetched::Repo(found, dirs)) => {
                self.asked_git(top, found, dirs, now);
            }
            (source, fetched) => unreachable!("{source:?} answered {fetched:?}"),
        }
    }

    // ---- Barriers

    fn cookie(&mut self, path: &Path, now: Now) {
        if self.barriers.iter().any(|it| it.cookie.as_deref() == Some(path)) {
            return;
        }
        // What changed in working trees shows nowhere, and the answer must include it.
        let tops: BTreeSet<_> = self
            .sessions
            .values()
            .filter(|it| it.is_live)
            .filter_map(|it| it.repo.clone())
            .collect();
        for top in tops {
            self.want_repo(&top, Urgency::Now, now);
        }
        let looks = self.places.look_at_unarmed();
        self.effects.extend(looks);
        for root in self.roots.values_mut() {
            root.as_of_ms = now.wall_ms;
        }
        self.is_dirty = true;
        let cookie = Some(path.to_owned());
        self.barriers.push(Barrier { looking: true, waiting: BTreeMap::new(), cookie });
    }

    fn pass_barriers(&mut self) {
        if self.places.outstanding == 0 {
            for barrier in self.barriers.iter_mut().filter(|it| it.looking) {
                barrier.looking = false;
                let pending = self.reads.pending().chain(self.execs.pending());
                // The first scan is of transcripts; a slow repository does not hold it up.
                let is_first = barrier.cookie.is_none();
                barrier.waiting =
                    pending.filter(|(it, _)| !is_first || !matches!(it, Source::Repo(_))).collect();
            }
        }
        let (passed, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.barriers)
            .into_iter()
            .partition(|it| !it.looking && it.waiting.is_empty());
        self.barriers = rest;
        for barrier in passed {
            match barrier.cookie {
                None => {
                    self.is_scanned = true;
                    self.is_dirty = true;
                    self.next_publish = None;
                }
                Some(cookie) => {
                    self.effects.extend([Effect::Publish, Effect::Acknowledge(cookie)]);
                }
            }
        }
    }

    // ---- Time

    fn publish(&mut self, now: Now) {
        if self.is_dirty && self.next_publish.is_none_or(|it| it <= now.mono) {
            self.is_dirty = false;
            self.next_publish = Some(now.mono + PUBLISH_SPACING);
            self.effects.push(Effect::Publish);
        }
    }

    fn on_time(&mut self, now: Now) {
        if self.next_poll.is_some_and(|it| it <= now.mono) {
            let looks = self.places.look_at_unarmed();
            self.effects.extend(looks);
            self.next_poll = None;
        }
        if self.next_tick.is_some_and(|it| it <= now.mono) {
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Now) {
        let keys: Vec<_> = self.sessions.keys().cloned().collect();
        for key in keys {
            self.refresh_session(&key, now);
        }
        for path in self.processes.keys() {
            self.reads.want(&Source::Process(path.clone()), Urgency::Now, now.mono);
        }
        self.forget_old(now);
        // A suspended machine stops one clock and not the other; what happened meanwhile, on a
        // network file system say, was not reported.
        let wall = now.wall_ms - self.last_tick.wall_ms;
        let mono = i64::try_from((now.mono - self.last_tick.mono).as_millis()).unwrap_or(i64::MAX);
        let has_jumped = self.ticks > 0 && wall.abs_diff(mono) > 5_000;
        let is_thorough = has_jumped || self.ticks % RECONCILE_TICKS == RECONCILE_TICKS - 1;
        let looks = self.places.look_at_all(|purpose| match purpose {
            Purpose::Git { .. } | Purpose::Await(_) => false,
            Purpose::Project { .. } | Purpose::Agents { .. } => is_thorough,
            Purpose::Root
            | Purpose::Projects { .. }
            | Purpose::Processes { .. }
            | Purpose::Cookies => true,
        });
        self.effects.extend(looks);
        for root in self.roots.values_mut() {
            root.as_of_ms = now.wall_ms;
        }
        self.ticks += 1;
        self.last_tick = now;
        self.is_dirty = true;
        let lives = self.sessions.values().any(|it| it.is_live);
        self.next_tick = lives.then(|| now.mono + TICK);
        if !lives {
            self.ticks = 0;
        }
    }

    fn forget_old(&mut self, now: Now) {
        for root in self.roots.values_mut() {
            root.ledger.forget_before(now.wall_ms - HORIZON_MS);
        }
        let is_recent =
            |it: &Session| it.is_live || now.wall_ms - it.grew_ms.max(it.asked_ms) < HORIZON_MS;
        self.sessions.retain(|_, it| is_recent(it));
        let used: BTreeSet<_> = self.sessions.values().filter_map(|it| it.repo.clone()).collect();
        self.repos.retain(|top, _| used.contains(top));
    }

    fn schedule_poll(&mut self, now: Now) {
        if self.next_poll.is_none() && self.places.unarmed().next().is_some() {
            let lives = self.sessions.values().any(|it| it.is_live);
            self.next_poll = Some(now.mono + if lives { POLL.0 } else { POLL.1 });
        }
    }

    fn reload(&mut self, settings: Settings, now: Now) {
        self.settings = settings;
        for root in self.settings.roots.clone() {
            if !self.roots.contains_key(&root) {
                self.add_root(&root, now);
            }
        }
        let looks = self.places.look_at_all(|_| true);
        self.effects.extend(looks);
        self.is_dirty = true;
    }
}

impl Barrier {
    fn passed(&mut self, source: &Source) {
        if let Some(left) = self.waiting.get_mut(source) {
            *left -= 1;
            if *left == 0 {
                self.waiting.remove(source);
            }
        }
    }
}

/// The newest observation of each window wins.
fn merge_limits(known: &mut schema::Limits, told: &schema::Limits, as_of_ms: i64) {
    let merge = |known: &mut Option<schema::Limit>, told: Option<schema::Limit>| {
        if let Some(told) = told
            && known.is_none_or(|it| it.as_of_ms <= as_of_ms)
        {
            *known = Some(schema::Limit { as_of_ms, ..told });
        }
    };
    merge(&mut known.five_hour, told.five_hour);
    merge(&mut known.seven_day, told.seven_day);
    merge(&mut known.spend_limit, told.spend_limit);
}
