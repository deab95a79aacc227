//! PURE. Everything that is known, and what follows from an event.
//!
//! [`State::on_event`] returns *what* to do; `daemon.rs` and `oneshot.rs` do it. Nothing here reads
//! a clock or a file, starts anything or waits.
//!
//! **Invariants:** a fact is kept under the key that scopes it (root, session, working tree), and
//! the snapshot is a function of what is kept. A source that fails keeps its last good fact.

mod barriers;
mod changes;
mod checkpoint;
mod configuration;
mod limits;
mod places;
mod report;
mod repos;
mod sessions;
#[cfg(test)]
mod tests;
mod tools;
mod transcripts;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barriers::Barrier;
use configuration::Configuration;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use limits::Limits;
use places::{Places, Purpose};
use report::is_shown;
use repos::Repo;
use sessions::Session;
use tools::{BlockTool, Command};
use transcripts::File;

use crate::fetch::claude::client::SessionFile;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::crew;
use crate::fetch::git;
use crate::fetch::git::tree::WorkTree;
use crate::fetch::tail::{Cursor, Tail};
use crate::fetch::tool::{self, Tool};
use crate::plan::{Plan, Policy, Urgency};
use crate::store::schema::{self, ClientFacts, SessionId, Snapshot};
use crate::time::Now;
use crate::usage::ledger::{Ledger, REACH_MS};
use crate::usage::prices::Prices;
use crate::watch::debounce::{Debounce, Window};
use crate::watch::{Listing, Look};

/// Transcripts: on the first change at once, then at most one pass every 50 ms. Reading a tail
/// takes microseconds.
const READS: Policy = Policy {
    debounce: Debounce { quiet: Duration::ZERO, max_hold: Duration::ZERO },
    spacing: Duration::from_millis(50),
    rest: 1,
    // Each reader finds the next file waiting when it is done with one.
    slots: 4 * READERS,
    hangs: Some(crew::PATIENCE),
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
    // Each is bounded, and has a thread of its own.
    hangs: None,
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Tools: as programs, but one that hangs must not take git's slots, nor those of all other tools.
const TOOLS: Policy = Policy { slots: 8, ..EXECS };

/// Threads that read files.
pub const READERS: usize = 2;
/// Threads that find working trees.
pub const FINDERS: usize = 1;
/// Threads that run git. One slow repository leaves the other to the rest.
pub const RUNNERS: usize = 2;

/// Least time between two snapshots.
const PUBLISH_SPACING: Duration = Duration::from_millis(50);
/// Publishing rests this many times as long as it took. With hundreds of live sessions, all of
/// whose lines change, it may take longer than the spacing, and events would wait for ever longer.
const PUBLISH_REST: u32 = 3;
/// When the two clocks differ by more than this, one was set or the machine slept.
const JUMP_MS: i64 = 5_000;
/// Reading a file or a directory takes microseconds. One that takes this long hangs.
const STUCK: Duration = Duration::from_secs(10);
/// Waiting for the fetch lock this often in a row takes two and a half seconds.
const PATIENT_TRIES: u32 = 7;
/// What a display says again, it shows already: only its age is news to the snapshot.
const CONFIRM: Duration = Duration::from_secs(1);
/// A storm of events overflows the queue again and again; once a second is enough to keep up.
const RESCAN_SPACING: Duration = Duration::from_secs(1);
/// A full disk is tried again this often.
const PUBLISH_RETRY: Duration = Duration::from_secs(5);
/// While a session lives: its line is redrawn, its process looked after, roots checked.
const TICK: Duration = Duration::from_secs(60);
/// Every this many ticks, every directory is listed again: what the kernel did not tell is found.
const RECONCILE_TICKS: u32 = 5;
/// Directories without events are listed this often while a session lives, and without one.
const POLL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// What a restart would have to read again is megabytes at most, and a checkpoint is as large.
const SAVES: Debounce =
    Debounce { quiet: Duration::from_secs(60), max_hold: Duration::from_secs(600) };
/// After this long something is published even if transcripts are still being read.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// A fetch could not start, for want of the fetch lock, which is for this reason.
    Busy(Source, String),
    /// A display shared what the client told it.
    Hint(Box<ClientFacts>),
    /// [`State::deadline`] has come.
    Deadline,
    /// The user asked to look at everything again, and at the configuration first of all.
    Reload,
    /// The configuration was read: what it says, or what is wrong with it.
    Configured(Result<Box<Settings>, String>),
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
    /// Read the configuration; an [`Event::Configured`] will follow.
    Configure,
    /// Keep [`State::checkpoint`].
    Save,
    /// Tell whoever left this cookie that everything before it is published.
    Acknowledge(PathBuf),
}

/// What can be fetched.
#[derive(Clone, Debug)]
pub enum Source {
    /// A transcript.
    Transcript(PathBuf),
    /// A process's `sessions/<pid>.json`.
    Process(PathBuf),
    /// Where the working tree around this directory is.
    Tree(PathBuf),
    /// The state of the working tree with this top.
    Repo(PathBuf),
    /// What another tool says of the active block of this root.
    Usage(PathBuf),
    /// What the user's command of this name prints.
    Command(String),
}

impl Source {
    /// Byte by byte: comparing paths name by name took a third of a scan.
    fn key(&self) -> (u8, &OsStr) {
        match self {
            Source::Transcript(path) => (0, path.as_os_str()),
            Source::Process(path) => (1, path.as_os_str()),
            Source::Tree(path) => (2, path.as_os_str()),
            Source::Repo(path) => (3, path.as_os_str()),
            Source::Usage(path) => (4, path.as_os_str()),
            Source::Command(name) => (5, OsStr::new(name)),
        }
    }

    /// Whether a program says it, which runs under the fetch lock.
    pub fn is_program(&self) -> bool {
        matches!(self, Source::Repo(_)) || self.is_tool()
    }

    fn is_tool(&self) -> bool {
        matches!(self, Source::Usage(_) | Source::Command(_))
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Source) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Source) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Source {}

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
    /// Ask for the active block of this root.
    Usage(Tool, PathBuf),
    /// Run the user's command.
    Command(Tool),
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
    Repo(Result<schema::Repo, git::status::GitError>, Vec<PathBuf>),
    /// The active block, where there is one.
    Usage(Result<Option<schema::Block>, tool::Failure>),
    /// What the command printed.
    Command(Result<schema::Command, tool::Failure>),
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
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The config roots.
    pub roots: Vec<PathBuf>,
    /// Where days begin.
    pub zone: TimeZone,
    /// Where weeks begin.
    pub week_starts: Weekday,
    /// What models cost.
    pub prices: Prices,
    /// Whether the beginnings of messages are kept.
    pub preview: bool,
    /// What displays show.
    pub display: schema::display::Display,
    /// Where the configuration is, and where links to it lead; empty where it is read once.
    pub config: Vec<PathBuf>,
    /// How long git may take.
    pub git_timeout: Duration,
    /// Where cookies appear; `None` where nobody waits for them.
    pub cookies: Option<PathBuf>,
    /// Who says what the active block is; `None` where we do.
    pub block_tool: Option<Tool>,
    /// The user's commands, by name.
    pub commands: BTreeMap<String, Tool>,
}

/// See the module.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    watcher: Option<schema::Watcher>,
    places: Places,
    roots: BTreeMap<PathBuf, Root>,
    /// By their paths, which compare faster as what they are made of.
    files: BTreeMap<OsString, File>,
    sessions: BTreeMap<SessionKey, Session>,
    /// The folders beside transcripts that were seen.
    session_folders: BTreeSet<PathBuf>,
    /// Those that are shown, and maybe some that no longer are: of years of sessions few.
    shown: BTreeSet<SessionKey>,
    /// Every process file, and the session that it names.
    processes: BTreeMap<PathBuf, (SessionKey, Process)>,
    repos: BTreeMap<PathBuf, Repo>,
    /// What an earlier process published of repositories that have not been seen yet.
    recalled_repos: BTreeMap<PathBuf, schema::Repo>,
    /// What the user's commands printed.
    commands: BTreeMap<String, Command>,
    reads: Plan<Source>,
    execs: Plan<Source>,
    tools: Plan<Source>,
    failing: BTreeMap<Source, Failing>,
    /// Reads that have not come back for so long that nobody waits for them any more.
    given_up: BTreeSet<Source>,
    /// Since when and why nothing can be published.
    store_error: Option<(i64, String)>,
    /// The first scan, and cookies: who waits for what was wanted before them.
    barriers: Vec<Barrier>,
    /// Cookies whose removal, which is a change too, has not been reported.
    answered: BTreeSet<PathBuf>,
    started: Now,
    /// Whether every transcript has been read once, so that sums are whole.
    is_scanned: bool,
    is_dirty: bool,
    /// When to publish though nothing but the age of some fact has changed.
    confirm_at: Option<Instant>,
    /// What was read since the last checkpoint.
    unsaved: Option<Window>,
    next_publish: Option<Instant>,
    /// When the directories began to be looked at whose listings have not all come back.
    looking_since: Option<Instant>,
    next_tick: Option<Instant>,
    next_poll: Option<Instant>,
    /// Events were lost, and when everything may be looked at again for that.
    next_rescan: Option<Instant>,
    last_rescan: Option<Instant>,
    ticks: u32,
    last_tick: Now,
    last_event: Now,
    configuration: Configuration,
    effects: Vec<Effect>,
}

/// A session belongs to a root: two accounts may hold copies of one transcript.
///
/// Compared by their ids first: paths compare slowly, and those of two roots begin alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SessionKey {
    id: SessionId,
    root: PathBuf,
}

#[derive(Debug)]
struct Root {
    ledger: Ledger,
    limits: Limits,
    as_of_ms: i64,
    /// Lines of its transcripts that could not be read.
    skipped_lines: u64,
    /// What was published before, by this process or an earlier one, until every transcript has
    /// been read.
    recalled: Option<schema::Usage>,
    /// Who says what the active block is, where we do not.
    block_tool: Option<BlockTool>,
}

#[derive(Debug)]
struct Failing {
    since_ms: i64,
    reason: String,
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
            session_folders: BTreeSet::new(),
            shown: BTreeSet::new(),
            processes: BTreeMap::new(),
            repos: BTreeMap::new(),
            recalled_repos: BTreeMap::new(),
            commands: BTreeMap::new(),
            reads: Plan::new(READS),
            execs: Plan::new(EXECS),
            tools: Plan::new(TOOLS),
            failing: BTreeMap::new(),
            given_up: BTreeSet::new(),
            store_error: None,
            barriers: vec![Barrier::first_scan()],
            answered: BTreeSet::new(),
            started: now,
            is_scanned: false,
            is_dirty: true,
            confirm_at: None,
            unsaved: None,
            next_publish: Some(now.mono + PATIENCE),
            looking_since: None,
            next_tick: None,
            next_poll: None,
            next_rescan: None,
            last_rescan: None,
            ticks: 0,
            last_tick: now,
            last_event: now,
            configuration: Configuration::default(),
            effects: Vec::new(),
        };
        for root in state.settings.roots.clone() {
            state.add_root(&root, now);
        }
        if let Some(previous) = previous {
            state.recall(previous);
            state.set_back(0, now);
        }
        if let Some(dir) = state.settings.cookies.clone() {
            state.observe(&dir, Purpose::Cookies);
        }
        state.observe_configuration();
        let effects = std::mem::take(&mut state.effects);
        (state, effects)
    }

    /// Takes in an event, and says what to do about it.
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let set_back_ms = -now.jumped_ms(self.last_event);
        if set_back_ms > JUMP_MS {
            self.set_back(set_back_ms, now);
        }
        self.last_event = now;
        match event {
            Event::Changed(path) => self.changed(&path, now),
            Event::Lost => self.lost(now),
            Event::Listed(listing) => self.listed(listing, now),
            Event::Fetched(source, fetched) => self.fetched(&source, fetched, now),
            Event::Busy(source, reason) => self.busy(&source, &reason, now),
            Event::Hint(facts) => self.hinted(*facts, now),
            Event::Deadline => {}
            Event::Reload => {
                self.configuration_changed(now);
                let looks = self.places.look_at_all(|_| true);
                self.effects.extend(looks);
            }
            Event::Configured(read) => self.configured(read, now),
        }
        self.looking_since =
            (self.places.outstanding > 0).then(|| self.looking_since.unwrap_or(now.mono));
        self.on_time(now);
        self.start_fetches(now);
        self.pass_barriers(now);
        self.publish(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Deadline`] is due; `None` while only an event can change anything. With no
    /// live session and working events that is always so.
    pub fn deadline(&self) -> Option<Instant> {
        let publish = if self.is_dirty { self.next_publish } else { None };
        let confirm = self.confirm_at.max(self.next_publish.filter(|_| self.confirm_at.is_some()));
        let save = self.unsaved.map(|it| it.deadline(SAVES));
        let fetches = [self.reads.deadline(), self.execs.deadline(), self.tools.deadline()];
        let times = [
            self.next_tick,
            self.next_poll,
            self.next_rescan,
            self.next_to_give_up(),
            self.configuration.deadline(),
        ];
        [publish, confirm, save].into_iter().chain(times).chain(fetches).flatten().min()
    }

    /// Whether everything has been looked at and fetched, save next tries of what fails, and what
    /// hangs.
    pub fn is_settled(&self) -> bool {
        self.is_scanned
            && self.places.outstanding == 0
            && self.reads.is_settled(&self.given_up)
            && self.execs.is_settled(&BTreeSet::new())
            && self.tools.is_settled(&BTreeSet::new())
    }

    /// How long git may take.
    pub fn git_timeout(&self) -> Duration {
        self.settings.git_timeout
    }

    /// Where days begin.
    pub fn zone(&self) -> &TimeZone {
        &self.settings.zone
    }

    /// From now on days begin there: whoever carries the machine travels.
    pub fn travel(&mut self, zone: TimeZone) {
        self.settings.zone = zone;
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

    /// Publishing, or trying to, began at `began` and is over now.
    pub fn publish_ended(&mut self, began: Now, now: Now) {
        let rested = now.mono + (now.mono - began.mono) * PUBLISH_REST;
        self.next_publish = self.next_publish.max(Some(rested));
    }

    /// It could be published, after all maybe.
    pub fn publish_worked(&mut self) {
        self.is_dirty |= self.store_error.take().is_some();
    }

    /// From now on snapshots say that nobody watches.
    pub fn retire(&mut self) {
        self.watcher = None;
    }

    // ---- Fetches

    /// The plan that a source is in.
    fn plan_of(&mut self, source: &Source) -> &mut Plan<Source> {
        match source {
            Source::Transcript(_) | Source::Process(_) | Source::Tree(_) => &mut self.reads,
            Source::Repo(_) => &mut self.execs,
            Source::Usage(_) | Source::Command(_) => &mut self.tools,
        }
    }

    fn start_fetches(&mut self, now: Now) {
        for source in self.reads.take_due(now.mono) {
            let job = match &source {
                Source::Transcript(path) => {
                    let file = self.files.get(path.as_os_str());
                    let from =
                        file.and_then(|it| Some(Box::new((it.cursor.clone()?, it.facts.clone()))));
                    Job::Transcript(path.clone(), from)
                }
                Source::Process(path) => Job::Process(path.clone()),
                Source::Tree(cwd) => Job::Tree(cwd.clone()),
                Source::Repo(_) | Source::Usage(_) | Source::Command(_) => {
                    unreachable!("programs are in other plans")
                }
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
                None => {
                    self.execs.done(&source, true, now.mono);
                    self.forget(&source);
                }
            }
        }
        self.start_tools(now);
    }

    /// Another process fetches, as a rule for a moment. Where it is for longer, it shows, and
    /// nobody waits for it.
    fn busy(&mut self, source: &Source, reason: &str, now: Now) {
        let n_tries = self.plan_of(source).postpone(source, now.mono);
        // It did not begin, so one fetch answers who came since, too.
        self.release(source, true);
        if n_tries >= PATIENT_TRIES {
            self.release(source, false);
            self.fails(source, reason, now);
        }
    }

    fn fails(&mut self, source: &Source, reason: &str, now: Now) {
        let failing = self
            .failing
            .entry(source.clone())
            .or_insert(Failing { since_ms: now.wall_ms, reason: String::new() });
        reason.clone_into(&mut failing.reason);
        self.is_dirty = true;
    }

    fn fetched(&mut self, source: &Source, fetched: Fetched, now: Now) {
        self.is_dirty |= self.given_up.remove(source);
        let failure = match &fetched {
            Fetched::Transcript(Err(it)) if !is_gone(it) => Some(it.to_string()),
            Fetched::Repo(Err(it), _) => Some(match it.hint() {
                Some(hint) => format!("{it}; {hint}"),
                None => it.to_string(),
            }),
            Fetched::Usage(Err(it)) => Some(it.reason_of_block()),
            Fetched::Command(Err(it)) => Some(it.to_string()),
            _ => None,
        };
        let is_wanted = match source {
            // Where no session lives any more, nobody wants a next try.
            Source::Repo(top) => self.is_used(top),
            Source::Usage(_) | Source::Command(_) => self.is_expected(source),
            // Its root may have been dropped while it was read.
            Source::Transcript(path) => self.files.contains_key(path.as_os_str()),
            Source::Process(_) | Source::Tree(_) => true,
        };
        let failure = failure.filter(|_| is_wanted);
        self.plan_of(source).done(source, failure.is_none(), now.mono);
        let has_more = matches!(&fetched, Fetched::Transcript(Ok(it)) if it.has_more);
        let has_failed = failure.is_some();
        match failure {
            None => {
                self.is_dirty |= self.failing.remove(source).is_some();
            }
            Some(reason) => self.fails(source, &reason, now),
        }
        match (source, fetched) {
            (Source::Transcript(path), Fetched::Transcript(Ok(tail))) => {
                self.read(path, *tail, now)
            }
            (Source::Transcript(path), Fetched::Transcript(Err(err))) => {
                if is_gone(&err) {
                    self.vanished(path, now);
                }
            }
            (Source::Process(path), Fetched::Process(Ok(found))) => {
                self.process(path, Some(found), now);
            }
            // Caught while it was being written: it will change once more. Without it a session
            // lives by its transcript.
            (Source::Process(path), Fetched::Process(Err(err))) => {
                if err.kind() == io::ErrorKind::NotFound {
                    self.forget(source);
                    self.process(path, None, now);
                }
            }
            (Source::Tree(cwd), Fetched::Tree(found)) => self.tree(cwd, found, now),
            (Source::Repo(top), Fetched::Repo(found, dirs)) => {
                self.asked_git(top, found, dirs, now);
            }
            (Source::Usage(root), Fetched::Usage(found)) => self.asked_block(root, found),
            (Source::Command(name), Fetched::Command(found)) => self.ran_command(name, found),
            (source, fetched) => unreachable!("{source:?} answered {fetched:?}"),
        }
        self.passed(source, has_more);
        if has_failed {
            // Who came while it ran would wait for its next try, which may be minutes away.
            self.release(source, false);
        }
    }

    // ---- Time

    fn publish(&mut self, now: Now) {
        let is_due = self.is_dirty || self.confirm_at.is_some_and(|it| it <= now.mono);
        if is_due && self.next_publish.is_none_or(|it| it <= now.mono) {
            self.publish_now(now);
        }
    }

    fn publish_now(&mut self, now: Now) {
        self.is_dirty = false;
        self.confirm_at = None;
        self.next_publish = Some(now.mono + PUBLISH_SPACING);
        self.effects.push(Effect::Publish);
    }

    /// When the next read has not come back for too long.
    fn next_to_give_up(&self) -> Option<Instant> {
        let hopeful = self.reads.running().filter(|(it, _)| !self.given_up.contains(it));
        hopeful.map(|(_, since)| since + STUCK).min()
    }

    /// Nobody waits for a read that hangs, and it shows.
    fn give_up(&mut self, now: Now) {
        if self.next_to_give_up().is_none_or(|it| it > now.mono) {
            return;
        }
        let hung = self.reads.running().filter(|(_, since)| *since + STUCK <= now.mono);
        for source in hung.map(|(it, _)| it.clone()).collect::<Vec<_>>() {
            self.release(&source, false);
            self.given_up.insert(source);
        }
        self.is_dirty = true;
    }

    fn on_time(&mut self, now: Now) {
        self.give_up(now);
        if self.next_poll.is_some_and(|it| it <= now.mono) {
            let looks = self.places.look_at_unwatched();
            self.effects.extend(looks);
            self.next_poll = None;
        }
        if self.next_tick.is_some_and(|it| it <= now.mono) {
            self.tick(now);
        }
        if self.next_rescan.is_some_and(|it| it <= now.mono) {
            self.rescan(now);
        }
        self.read_configuration(now);
        if self.unsaved.is_some_and(|it| it.deadline(SAVES) <= now.mono) {
            self.unsaved = None;
            self.effects.push(Effect::Save);
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
        let has_jumped = self.ticks > 0 && now.jumped_ms(self.last_tick).abs() > JUMP_MS;
        let is_thorough = has_jumped || self.ticks % RECONCILE_TICKS == RECONCILE_TICKS - 1;
        let looks = self.places.look_at_all(|purpose| match purpose {
            Purpose::Git { .. } | Purpose::NoRepo { .. } | Purpose::Await(_) => false,
            Purpose::Project { .. } | Purpose::Agents { .. } | Purpose::Config => is_thorough,
            Purpose::Root
            | Purpose::Projects { .. }
            | Purpose::Processes { .. }
            | Purpose::Cookies => true,
        });
        self.effects.extend(looks);
        self.leave_ended_blocks(now);
        self.confirm_usage(now);
        self.ticks += 1;
        self.last_tick = now;
        self.is_dirty = true;
        let lives = self.sessions.values().any(|it| it.is_live);
        self.next_tick = lives.then(|| now.mono + TICK);
        if !lives {
            self.ticks = 0;
        }
    }

    /// The wall clock was set back, so what is known seems to come from the future: it would never
    /// look old, and what is told from now on would look older. It is as old as it was; where nobody
    /// knows by how much, it is of now.
    fn set_back(&mut self, by_ms: i64, now: Now) {
        let redate = |at_ms: &mut i64| {
            if *at_ms > now.wall_ms {
                *at_ms = (*at_ms - by_ms).min(now.wall_ms);
            }
        };
        for root in self.roots.values_mut() {
            redate(&mut root.as_of_ms);
            root.recalled.iter_mut().for_each(|it| redate(&mut it.as_of_ms));
            root.limits.times().for_each(redate);
        }
        for session in self.sessions.values_mut() {
            let told = session.told.as_mut().map(|it| &mut it.at_ms);
            let signs = [&mut session.grew_ms, &mut session.asked_ms, &mut session.ended_ms];
            signs.into_iter().chain(told).for_each(redate);
        }
        self.files.values_mut().flat_map(|it| it.facts.times()).for_each(redate);
        self.repos.values_mut().for_each(|it| redate(&mut it.facts.as_of_ms));
        self.recalled_repos.values_mut().for_each(|it| redate(&mut it.as_of_ms));
        self.tool_times().for_each(redate);
        if self.roots.values().any(|it| it.ledger.is_ahead(now.wall_ms)) {
            self.count_anew(now);
        }
        for top in self.repos.keys().cloned().collect::<Vec<_>>() {
            self.want_repo(&top, Urgency::Now, now);
        }
        self.is_dirty = true;
    }

    /// What is known is what the transcripts say, since nothing that changed waits to be read. It is
    /// not where one of an account's cannot be read.
    fn confirm_usage(&mut self, now: Now) {
        if self.stuck(now).next().is_some() {
            return;
        }
        let root_of = |source: &Source| match source {
            Source::Transcript(path) => Some(&self.files.get(path.as_os_str())?.root),
            _ => None,
        };
        let unread: BTreeSet<_> = self.failing.keys().filter_map(root_of).collect();
        for (_, root) in self.roots.iter_mut().filter(|(path, _)| !unread.contains(path)) {
            root.as_of_ms = now.wall_ms;
            if let Some(it) = &mut root.block_tool {
                it.confirm(now);
            }
        }
    }

    /// What has not answered for so long: a network file system whose server is gone, as a rule.
    /// A look, where there is no source. And since when.
    fn stuck(&self, now: Now) -> impl Iterator<Item = (Option<&Source>, Instant)> {
        let is_late = move |since: &Instant| *since + STUCK <= now.mono;
        let reads = self.reads.running().filter(move |(_, since)| is_late(since));
        let look = self.looking_since.filter(is_late).map(|since| (None, since));
        reads.map(|(source, since)| (Some(source), since)).chain(look)
    }

    fn forget_old(&mut self, now: Now) {
        // Those that a client brought and that are gone.
        let is_gone = |it: &PathBuf| !self.settings.roots.contains(it) && !self.places.is_there(it);
        for root in self.roots.keys().filter(|it| is_gone(it)).cloned().collect::<Vec<_>>() {
            self.drop_root(&root);
        }
        for root in self.roots.values_mut() {
            root.ledger.forget_before(now.wall_ms - REACH_MS);
        }
        let is_recent =
            |it: &Session| it.is_live || now.wall_ms - it.grew_ms.max(it.asked_ms) < REACH_MS;
        self.sessions.retain(|_, it| is_recent(it));
        self.forget_old_files(now);
        self.shown.retain(|it| self.sessions.get(it).is_some_and(|it| is_shown(it, now)));
        let used: BTreeSet<_> = self.sessions.values().filter_map(|it| it.repo.clone()).collect();
        self.repos.retain(|top, _| used.contains(top));
        self.recalled_repos.retain(|top, _| used.contains(top));
    }

    /// Drops a root, and all that is known only by it.
    fn drop_root(&mut self, root: &Path) {
        self.forget(&Source::Usage(root.to_owned()));
        self.roots.remove(root);
        let files = self.files.iter().filter(|(_, it)| it.root == root);
        let files = files.map(|(path, _)| Source::Transcript(path.into()));
        let processes = self.processes.iter().filter(|(_, (it, _))| it.root == root);
        let processes = processes.map(|(path, _)| Source::Process(path.clone()));
        for source in files.chain(processes).collect::<Vec<_>>() {
            self.forget(&source);
        }
        self.files.retain(|_, it| it.root != root);
        self.processes.retain(|_, (it, _)| it.root != root);
        self.session_folders.retain(|it| !it.starts_with(root));
        self.sessions.retain(|it, _| it.root != root);
        let leave = self.places.leave(|dir, purpose| match purpose {
            Purpose::Root => dir == root,
            Purpose::Await(it) => it == root,
            Purpose::Projects { root: it }
            | Purpose::Project { root: it }
            | Purpose::Agents { root: it, .. }
            | Purpose::Processes { root: it } => it == root,
            // What others use may lie in it.
            Purpose::Git { .. } | Purpose::NoRepo { .. } | Purpose::Cookies | Purpose::Config => {
                false
            }
        });
        self.effects.extend(leave);
        self.leave_repos();
        self.leave_tools();
    }

    fn schedule_poll(&mut self, now: Now) {
        if self.next_poll.is_none() && self.places.has_unwatched() {
            let lives = self.sessions.values().any(|it| it.is_live);
            self.next_poll = Some(now.mono + if lives { POLL.0 } else { POLL.1 });
        }
    }

    fn reload(&mut self, settings: Settings, now: Now) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.observe_configuration();
        self.reload_tools(&before, now);
        self.forget_messages();
        if before.prices != self.settings.prices {
            self.count_anew(now);
        }
        for root in before.roots {
            // The next display of a session that lives there would bring it again.
            let has_display = |(key, it): (&SessionKey, &Session)| {
                key.root == root && it.is_live && it.asked_ms > 0
            };
            let is_wanted = self.settings.roots.contains(&root);
            if !is_wanted && !self.sessions.iter().any(has_display) {
                self.drop_root(&root);
            }
        }
        for root in self.settings.roots.clone() {
            if !self.roots.contains_key(&root) {
                self.add_root(&root, now);
            }
        }
        self.is_dirty = true;
    }
}

/// Whether nothing is there that could be read, now or later: no file, or something else by the
/// name of one.
fn is_gone(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}
