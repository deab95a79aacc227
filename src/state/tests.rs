mod alerts;
mod clock;
mod configuration;
mod cookies;
mod directories;
mod golden;
mod hanging;
mod publishing;
mod reports;
mod repos;
mod roots;
mod sessions;
mod tools;
mod transcripts;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::*;
use crate::fetch::claude::client::SessionFile;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::exec;
use crate::fetch::git::tree::WorkTree;
use crate::fetch::process::Process;
use crate::fetch::tail::{Cursor, Tail};
use crate::fetch::tool::{self, Tool};
use crate::price_list::Placed;
use crate::store::schema::{
    self, ClientFacts, CostSource, Limit, Limits, RepoKey, RootKey, SessionId, Snapshot, Status,
};
use crate::time::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::usage::entry::{Entry, EntryTokens, Id, ReplyId};
use crate::usage::ledger::REACH_MS;
use crate::usage::prices::Prices;
use crate::watch::{Entry as Listed, EntryKind, Found, Listing, Stamp};

/// A watcher's state, without threads, files or a real clock: a test moves `now`, and plays the
/// part of the engine. Effects are collected until a test takes or clears them.
struct Sim {
    state: State,
    now: Now,
    effects: Vec<Effect>,
}

/// An entry that is a directory, for [`Sim::list`].
const DIR: Option<EntryKind> = None;

/// An entry that is a file, for [`Sim::list`].
fn file(modified_ms: i64) -> Option<EntryKind> {
    Some(EntryKind::File(Stamp { identity: (1, 1), size: 1, modified_ms, changed_ms: modified_ms }))
}

fn settings(roots: &[&str]) -> Settings {
    Settings {
        roots: roots.iter().map(PathBuf::from).collect(),
        zone: TimeZone::UTC,
        week_starts: Weekday::Monday,
        prices: Prices::builtin(),
        keep_ms: None,
        price_file: Vec::new(),
        placed_prices: Placed::Nothing,
        preview: true,
        display: Default::default(),
        config: Vec::new(),
        trusted: Vec::new(),
        git_timeout: Duration::from_secs(5),
        block_tool: None,
        commands: BTreeMap::new(),
        runs: BTreeMap::new(),
        alerts: BTreeMap::new(),
        quiet: None,
        export: None,
    }
}

fn invalid(reason: &str) -> ReadFailure {
    ReadFailure { reason: reason.to_owned(), is_transient: false }
}

fn watch() -> Mode {
    Mode::Watch {
        identity: schema::Watcher::default(),
        cookies: "/state/sync".into(),
        program: None,
    }
}

impl Sim {
    /// A watcher with these config roots, which has not listed or read anything.
    fn new(roots: &[&str]) -> Sim {
        Sim::after(roots, None)
    }

    /// The same after a restart: `previous` is the snapshot of an earlier process.
    fn after(roots: &[&str], previous: Option<&Snapshot>) -> Sim {
        Sim::configured(settings(roots), previous)
    }

    fn configured(settings: Settings, previous: Option<&Snapshot>) -> Sim {
        let now = Now { wall_ms: 1_795_000_000_000, ..Now::read() };
        let (state, effects) = State::new(watch(), settings, previous, now);
        let mut sim = Sim { state, now, effects };
        sim.list("/state/sync", &[]);
        sim
    }

    /// A watcher with one config root, and one project `p` in it, whose transcripts were listed and
    /// not yet read.
    fn with_sessions(root: &str, ids: &[&str]) -> Sim {
        let mut sim = Sim::new(&[root]);
        sim.list_root(root, ids);
        sim
    }

    fn list_root(&mut self, root: &str, ids: &[&str]) {
        self.list(root, &[("projects", DIR)]);
        self.list(&format!("{root}/projects"), &[("p", DIR)]);
        let names: Vec<_> = ids.iter().map(|it| format!("{it}.jsonl")).collect();
        let at = self.now.wall_ms;
        let entries: Vec<_> = names.iter().map(|it| (it.as_str(), file(at))).collect();
        self.list(&format!("{root}/projects/p"), &entries);
    }

    fn event(&mut self, event: Event) {
        let effects = self.state.on_event(event, self.now);
        self.effects.extend(effects);
        self.state.sessions.check_indexes();
        self.state.directories.check_indexes();
    }

    /// A listing of `dir` came back with these entries. Each directory has its own inode.
    fn list(&mut self, dir: &str, entries: &[(&str, Option<EntryKind>)]) {
        let dir = PathBuf::from(dir);
        let identity = (
            7,
            dir.as_os_str().len() as u64 * 1000 + u64::from(dir.as_os_str().as_encoded_bytes()[1]),
        );
        let entries = entries
            .iter()
            .map(|(name, kind)| Listed {
                path: dir.join(name),
                kind: kind.unwrap_or(EntryKind::Dir),
            })
            .collect();
        let found = Found::Dir { identity, unarmed: None, entries, passed_over: Vec::new() };
        self.event(Event::Listed(Listing { dir, found }));
    }

    /// Lets time pass, and then fires the timers.
    fn pass_ms(&mut self, ms: i64) {
        self.now.mono += crate::time::span(ms);
        self.now.wall_ms += ms;
        self.event(Event::Deadline);
    }

    fn changed(&mut self, path: &str) {
        self.event(Event::Changed(path.into()));
    }

    /// The fetches started since the last call.
    fn fetches(&mut self) -> Vec<Source> {
        let (fetches, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.effects)
            .into_iter()
            .partition(|it| matches!(it, Effect::Fetch(_)));
        self.effects = rest;
        fetches
            .into_iter()
            .map(|effect| match effect {
                Effect::Fetch(job) => job.source(),
                other => unreachable!("{other:?}"),
            })
            .collect()
    }

    /// The directories that the collected effects look at.
    fn looks(&mut self) -> Vec<String> {
        let looks = self.effects.iter().filter_map(|effect| match effect {
            Effect::Look(look) => Some(look.dir.to_string_lossy().into_owned()),
            _ => None,
        });
        looks.collect()
    }

    /// How many snapshots were published since the last call.
    fn n_published(&mut self) -> usize {
        let before = self.effects.len();
        self.effects.retain(|it| !matches!(it, Effect::Publish(_)));
        before - self.effects.len()
    }

    /// A read of a transcript found one reply of now, for a session that works in `cwd`.
    fn reply(&mut self, path: &str, cwd: &str, model: &str) {
        self.reply_at(path, cwd, model, self.now.wall_ms);
    }

    fn reply_at(&mut self, path: &str, cwd: &str, model: &str, at_ms: i64) {
        self.read_reply(path, cwd, model, at_ms, false);
    }

    fn read_reply(&mut self, path: &str, cwd: &str, model: &str, at_ms: i64, is_turn_open: bool) {
        let offset = self.state.transcripts.resume_at(Path::new(path)).map_or(0, |it| it.0.offset);
        let id = Id::of(&format!("{path}:{offset}"));
        let entry = Entry {
            at_ms,
            id: ReplyId::Api { message: id, request: Some(id) },
            model: model.into(),
            tokens: EntryTokens { input: 1_000_000, ..EntryTokens::default() },
            ..Entry::default()
        };
        let facts = TranscriptFacts {
            cwd: Some(cwd.to_owned()),
            model: Some(model.to_owned()),
            context_tokens: Some(100_000),
            context_as_of_ms: Some(at_ms),
            last_reply_ms: Some(at_ms),
            last_line_ms: Some(at_ms),
            is_turn_open,
            ..TranscriptFacts::default()
        };
        let tail = Tail {
            began: offset,
            cursor: Cursor { dev: 1, ino: 1, offset: offset + 1, scanned: offset + 1, check: 0 },
            has_restarted: false,
            facts,
            entries: vec![(offset, entry)],
            has_more: false,
            is_unended: false,
            size: offset + 1,
            mtime_ms: self.now.wall_ms,
            ctime_ms: self.now.wall_ms,
        };
        self.fetched(Outcome::Transcript(path.into(), Ok(Box::new(tail))));
    }

    /// One more reply was appended to the transcript of session `s`, and read.
    fn append(&mut self) {
        self.changed("/r/projects/p/s.jsonl");
        self.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    }

    fn fetched(&mut self, outcome: Outcome) {
        self.event(Event::Fetched(outcome));
    }

    fn found_tree(&mut self, cwd: &str, top: &str) {
        let git_dir = Path::new(top).join(".git");
        let tree = WorkTree {
            top: top.into(),
            git_dir: git_dir.clone(),
            common_dir: git_dir.clone(),
            is_bare: false,
        };
        let found = Some((tree, vec![git_dir]));
        self.fetched(Outcome::Tree(cwd.into(), found));
    }

    fn git_answers(&mut self, top: &str, branch: &str) {
        let facts = schema::Repo {
            as_of_ms: self.now.wall_ms,
            branch: Some(branch.to_owned()),
            ..schema::Repo::default()
        };
        let dirs = vec![Path::new(top).join(".git")];
        self.fetched(Outcome::Repo(top.into(), Ok(facts), dirs));
    }

    fn git_failed(&mut self, top: &str) {
        let failure = git::status::GitError::Failed(exec::RunError::TimedOut {
            after: Duration::from_secs(5),
        });
        self.fetched(Outcome::Repo(top.into(), Err(failure), Vec::new()));
    }

    /// A display requested the line of session `id`, with the client's report `facts`.
    fn hint(&mut self, root: &str, id: &str, facts: ClientFacts) {
        let facts = ClientFacts {
            session_id: Some(id.to_owned()),
            transcript_path: Some(format!("{root}/projects/p/{id}.jsonl")),
            ..facts
        };
        self.event(Event::Hint(Box::new(facts)));
    }

    /// Whether nothing is left to fetch.
    fn is_settled(&self) -> bool {
        !self.state.directories.is_looking() && self.state.sources.is_settled()
    }

    fn snapshot(&self) -> Snapshot {
        self.state.snapshot(self.now)
    }

    fn session(&self, id: &str) -> schema::Session {
        self.snapshot().sessions[&SessionId(id.to_owned())].clone()
    }
}

fn transcript(path: &str) -> Source {
    Source::Transcript(path.into())
}

/// A watcher with a live session `s` in the repository `/w`. Everything is fetched.
fn settled() -> Sim {
    let sim = settle(Sim::new(&["/r"]));
    assert!(sim.is_settled());
    sim
}

/// Brings a new watcher with the config root `/r` to the same state. Configured programs have not
/// answered yet.
fn settle(mut sim: Sim) -> Sim {
    sim.list_root("/r", &["s"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.found_tree("/w", "/w");
    sim.list("/w/.git", &[]);
    sim.list("/r/projects/p/s", &[]);
    sim.pass_ms(1000);
    let fetches = sim.fetches();
    let last = fetches.iter().rfind(|it| !it.is_tool());
    assert_eq!(last, Some(&Source::Repo("/w".into())));
    sim.git_answers("/w", "main");
    sim.pass_ms(1000);
    sim.effects.clear();
    sim
}

/// A read found that the transcript does not exist.
fn gone(path: &str) -> Outcome {
    Outcome::Transcript(path.into(), Err(io::ErrorKind::NotFound.into()))
}

/// A process of this session was found to run, and then its file was deleted.
fn end(sim: &mut Sim, id: &str) {
    let file = SessionFile { pid: 1, session_id: SessionId::checked(id), ..SessionFile::default() };
    let path = PathBuf::from("/r/sessions/1.json");
    let process = Process { file, is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process(path.clone(), Ok(process)));
    sim.fetched(Outcome::Process(path, Err(io::ErrorKind::NotFound.into())));
    assert!(!sim.session(id).live);
}
