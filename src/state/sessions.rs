//! PURE. Sessions: which are live, where they work, and what Claude Code reported of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::limits::{Novelty, Statement};
use super::places::{Left, Place, Places};
use crate::fetch::claude;
use crate::fetch::claude::client::SessionFile;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::process::Process;
use crate::store::schema::{self, ClientFacts, CostSource, Fit, MAX_SESSIONS, SessionId};
use crate::time::{DAY_MS, MINUTE_MS, Now, SECOND_MS};
use crate::usage::ledger::REACH_MS;

/// A session whose process is not known is live for this long after its last activity.
const LINGER_MS: i64 = 30 * MINUTE_MS;
/// A report of the client counts as current until the transcript has a reply that is this much
/// newer: the next report usually follows such a reply within moments.
///
/// See docs/decisions/017-the-clients-word-for-two-minutes.md.
const CLIENT_LEAD_MS: i64 = 2 * MINUTE_MS;
/// A display's report on a session that has ended is a sign of life only if it comes later than
/// this after the end: the last one may have been on its way.
const LAST_REPORT_MS: i64 = 30 * SECOND_MS;
/// The same for a line in one of its transcripts: the client may have been writing when it ended.
const LAST_LINE_MS: i64 = 100;
/// Sessions are in snapshots for this long after their last activity.
const SHOWN_MS: i64 = DAY_MS;
/// How many sessions that are not live a snapshot has. The user may resume one of them.
const MAX_ENDED: usize = 32;
/// How many sessions are kept that only displays named. A session has a transcript after its first
/// prompt, and a process file before. All of them count as live, so they must leave room for others
/// in snapshots.
const MAX_HINTED: usize = MAX_SESSIONS / 4;

/// Identifies a session. The id alone does not: two config roots may hold copies of one transcript.
///
/// The id comes first, so that most comparisons need not compare paths, which is slow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionKey {
    pub(super) id: SessionId,
    pub(super) root: PathBuf,
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<SessionKey, Session>,
    /// The sessions to consider for snapshots: all that belong in one, and maybe some that no
    /// longer do. These are few, while `sessions` has those of a month and more.
    shown: BTreeSet<SessionKey>,
    /// Where the sessions work that are of interest, see [`Session::is_of_interest`].
    places: Places<SessionKey>,
    /// By the path of each process file: the session that it names, and its process.
    processes: BTreeMap<PathBuf, (SessionKey, Process)>,
    /// The sessions that only displays named: neither a transcript nor a process is known.
    hinted: BTreeSet<SessionKey>,
    /// The roots that the user configured, and those that a process of the user's proved to be the
    /// user's. For sessions in others no program runs.
    trusted_roots: BTreeSet<PathBuf>,
    /// The reverse of `processes`: the process files that name a session.
    process_files: BTreeMap<SessionKey, BTreeSet<PathBuf>>,
}

/// One session.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) transcript: Option<PathBuf>,
    /// The transcripts of its subagents.
    pub(super) agents: BTreeSet<PathBuf>,
    /// The process that runs it; `None` while none is known to run.
    pub(super) process: Option<Box<Process>>,
    /// The last report of Claude Code. Boxed, since only a few of thousands of sessions have one.
    pub(super) reported: Option<Box<Reported>>,
    /// When one of its transcripts was last appended to, in Unix milliseconds.
    pub(super) appended_ms: i64,
    /// The newest time that a line in one of its transcripts states, in Unix milliseconds; 0 if
    /// none does. Unlike `appended_ms`, it does not change when something is appended to the
    /// transcript of a session that has ended: Claude Code appends a last line after the end, and
    /// other programs may append more.
    dated_ms: i64,
    /// When a display last requested its line, in Unix milliseconds; 0 if none did.
    pub(super) requested_ms: i64,
    /// When its process ended, in Unix milliseconds; 0 if no end is known. Only a process, or what
    /// is dated later, makes it live again.
    ended_ms: i64,
    /// Whether its last transcript was deleted, and neither another nor a display came since. Such
    /// a session is not live, but nobody knows that it has ended: its transcript may have been
    /// moved.
    is_deleted: bool,
    pub(super) is_live: bool,
    /// Whether a `--oneshot` run prints its line, so that git is asked even if it is not live.
    is_printed: bool,
    /// Whether its root is one of [`Sessions::trusted_roots`].
    is_trusted: bool,
    pub(super) cwd: Option<PathBuf>,
    /// Where the search for its working tree begins: `cwd` if its transcript or its process names
    /// that directory, otherwise the one that they name. Nobody but Claude Code can write there,
    /// while many can send a hint.
    ///
    /// See docs/decisions/031-hints-are-shown-and-not-acted-on.md.
    pub(super) search_dir: Option<PathBuf>,
    /// The top directory of the working tree around `search_dir`.
    pub(super) repo: Option<PathBuf>,
    /// What a display asked its line to be fitted to, while it is live.
    pub(super) fit: Option<Fit>,
}

/// What Claude Code reported of a session, and when (Unix milliseconds).
#[derive(Debug)]
pub(super) struct Reported {
    /// The limits in them are dated with the reply that they came with.
    pub(super) facts: ClientFacts,
    pub(super) at_ms: i64,
    /// When it first stated the limits that it states, in Unix milliseconds; 0 if that is not
    /// known.
    limits_at_ms: i64,
    /// See [`schema::Session::subscription`].
    pub(super) subscription: Option<bool>,
}

/// How a session changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// It was not live, and is now.
    Began,
    /// It was live, and is not any more.
    Ended,
    /// It is still live, and works in another directory than before.
    Moved,
    /// None of these.
    Same,
}

impl Session {
    /// Whether its line is shown, so that its repository is worth calls of git: it is live, or a
    /// `--oneshot` run prints it. Only sessions of trusted roots are worth any.
    pub(super) fn is_of_interest(&self) -> bool {
        self.is_trusted && (self.is_live || self.is_printed)
    }

    /// When its transcript was last appended to, or its line requested, in Unix milliseconds.
    pub(super) fn last_activity_ms(&self) -> i64 {
        self.appended_ms.max(self.requested_ms)
    }

    /// Whether the client's report is as new as the transcript, whose facts are given.
    pub(super) fn is_current(&self, transcript: Option<&TranscriptFacts>) -> bool {
        let replied_ms = transcript.and_then(|facts| facts.last_reply_ms).unwrap_or(i64::MIN);
        let reported = self.reported.as_ref();
        reported.is_some_and(|it| it.at_ms.saturating_add(CLIENT_LEAD_MS) >= replied_ms)
    }

    /// Its working directory: as the client reported, unless the transcript is newer.
    fn cwd<'a>(&'a self, transcript: Option<&'a TranscriptFacts>) -> Option<&'a str> {
        let written = transcript.and_then(|facts| facts.cwd.as_deref());
        let reported = self.reported.as_ref().and_then(|it| it.facts.cwd.as_deref());
        let started = self.process.as_ref().and_then(|it| it.file.cwd.as_deref());
        let (first, second) = match self.is_current(transcript) {
            true => (reported, written),
            false => (written, reported),
        };
        first.or(second).or(started)
    }

    /// See [`Session::search_dir`].
    fn stated_dir<'a>(&'a self, transcript: Option<&'a TranscriptFacts>) -> Option<&'a str> {
        let written = transcript.and_then(|facts| facts.cwd.as_deref());
        let started = self.process.as_ref().and_then(|it| it.file.cwd.as_deref());
        let cwd = self.cwd(transcript);
        cwd.filter(|_| cwd == written || cwd == started).or(written).or(started)
    }

    /// When the watcher noticed its end, in Unix milliseconds; `None` while it lives, and if no end
    /// is known.
    pub(super) fn ended_ms(&self) -> Option<i64> {
        (!self.is_live && self.ended_ms > 0).then_some(self.ended_ms)
    }

    /// Whether it lives as far as its transcripts and displays show, which decide where no process
    /// is known.
    ///
    /// See docs/decisions/026-an-end-is-an-end.md.
    fn is_active(&self, now: Now) -> bool {
        let reported_ms = self.reported.as_ref().map_or(0, |it| it.at_ms - LAST_REPORT_MS);
        let is_revived = reported_ms.max(self.dated_ms - LAST_LINE_MS) > self.ended_ms;
        let activity_ms = self.last_activity_ms();
        (self.ended_ms == 0 || is_revived)
            && !self.is_deleted
            && now.wall_ms - activity_ms < LINGER_MS
    }

    fn is_shown(&self, now: Now) -> bool {
        self.is_live || now.wall_ms - self.last_activity_ms() < SHOWN_MS
    }

    /// The order of sessions in snapshots: the lowest rank comes first.
    fn rank(&self) -> impl Ord + use<> {
        let has_process = self.process.is_some();
        std::cmp::Reverse((self.is_live, has_process, self.last_activity_ms()))
    }

    /// Whether it is live, or its last activity may still be in a sum.
    fn is_recent(&self, now: Now) -> bool {
        self.is_live || now.wall_ms - self.last_activity_ms() < REACH_MS
    }
}

impl Sessions {
    // ---- Queries

    pub(super) fn get(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &SessionKey> {
        self.sessions.keys()
    }

    /// The session of this id. If several roots have one, the first of these.
    pub(super) fn of_id(&self, id: &SessionId) -> Option<&SessionKey> {
        let first = SessionKey { id: id.clone(), root: PathBuf::new() };
        let (key, _) = self.sessions.range(first..).next()?;
        (key.id == *id).then_some(key)
    }

    pub(super) fn is_any_live(&self) -> bool {
        self.of_interest().any(|session| session.is_live)
    }

    /// The sessions whose line is shown, see [`Session::is_of_interest`].
    pub(super) fn of_interest(&self) -> impl Iterator<Item = &Session> {
        self.places.keys().filter_map(|key| self.get(key))
    }

    /// The same, with their keys.
    pub(super) fn with_interest(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.places.keys().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// The sessions in this working tree whose line is shown.
    pub(super) fn in_repo(&self, top: &Path) -> impl Iterator<Item = &Session> {
        self.places.in_repo(top).filter_map(|key| self.get(key))
    }

    /// Whether the line of any session in this working tree is shown.
    pub(super) fn is_repo_used(&self, top: &Path) -> bool {
        self.places.in_repo(top).next().is_some()
    }

    /// Whether the line of any session that works in this directory is shown.
    pub(super) fn is_cwd_used(&self, dir: &Path) -> bool {
        self.places.in_dir(dir).next().is_some()
    }

    /// The directories and working trees that have become unused since the last call. Some may be
    /// used again.
    pub(super) fn take_left(&mut self) -> Left {
        self.places.take_left()
    }

    /// Whether a display requested the line of a live session of this root. Its next hint would add
    /// the root again.
    pub(super) fn has_display(&self, root: &Path) -> bool {
        let mut of_root = self.places.keys().filter(|key| key.root == root);
        of_root.any(|key| self.get(key).is_some_and(|it| it.is_live && it.requested_ms > 0))
    }

    /// The directories that the sessions of this root work in whose line is shown.
    pub(super) fn cwds_of_root(&self, root: &Path) -> impl Iterator<Item = &Path> {
        let of_root = self.places.keys().filter(move |key| key.root == root);
        of_root.filter_map(|key| self.get(key)?.cwd.as_deref())
    }

    /// The top directories of the working trees of all sessions, live or not.
    pub(super) fn repos(&self) -> BTreeSet<PathBuf> {
        self.sessions.values().filter_map(|session| session.repo.clone()).collect()
    }

    // ---- Trust

    /// Programs may run for sessions of this root.
    pub(super) fn trust(&mut self, root: &Path) {
        self.trusted_roots.insert(root.to_owned());
    }

    /// Whether programs may run for sessions of this root.
    pub(super) fn is_trusted(&self, root: &Path) -> bool {
        self.trusted_roots.contains(root)
    }

    /// Whether this process of a root proves that the root is the user's: it is a process of the
    /// user's, and neither it nor a process that it descends from runs a session of a trusted root.
    /// Those could be programs of that session, which may be confined where we are not.
    ///
    /// See docs/decisions/031-hints-are-shown-and-not-acted-on.md.
    pub(super) fn proves_root(&self, process: &Process) -> bool {
        let mut known = self.processes.values().filter(|(key, _)| self.is_trusted(&key.root));
        process.runs_session()
            && !process.lineage.is_empty()
            && !known.any(|(_, it)| it.is_alive && process.lineage.contains(&it.file.pid))
    }

    /// The sessions of this root.
    pub(super) fn of_root(&self, root: &Path) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.sessions.iter().filter(move |(key, _)| key.root == root)
    }

    /// Makes room for a session that only a display names. Forgets the one of this kind that no
    /// display has requested for the longest time if there are too many.
    fn make_room(&mut self, key: &SessionKey) {
        if self.sessions.contains_key(key) {
            return;
        }
        if self.hinted.len() >= MAX_HINTED {
            let requested_ms = |key: &&SessionKey| self.get(key).map(|it| it.requested_ms);
            if let Some(oldest) = self.hinted.iter().min_by_key(requested_ms).cloned() {
                self.hinted.remove(&oldest);
                self.shown.remove(&oldest);
                self.sessions.remove(&oldest);
                self.note_place(&oldest);
            }
        }
        self.hinted.insert(key.clone());
    }

    /// A session has begun, moved or ended, or the working tree around its directory was found.
    fn note_place(&mut self, key: &SessionKey) {
        let session = self.sessions.get(key).filter(|session| session.is_of_interest());
        let place = session.map(|it| Place { dir: it.search_dir.clone(), repo: it.repo.clone() });
        self.places.set(key, place);
    }

    // ---- Transcripts

    /// A transcript of this session was appended to at `at_ms`. `dated_ms` is the newest time that
    /// a line in it states. `is_main` is false for the transcript of a subagent.
    pub(super) fn transcript_appended(
        &mut self,
        key: &SessionKey,
        path: &Path,
        is_main: bool,
        at_ms: i64,
        dated_ms: Option<i64>,
    ) {
        self.hinted.remove(key);
        let session = self.sessions.entry(key.clone()).or_default();
        if is_main {
            session.transcript = Some(path.to_owned());
        } else {
            session.agents.insert(path.to_owned());
        }
        session.is_deleted = false;
        session.appended_ms = session.appended_ms.max(at_ms);
        session.dated_ms = session.dated_ms.max(dated_ms.unwrap_or(0));
    }

    /// A transcript of a subagent turned out to belong to another session.
    pub(super) fn agent_left(&mut self, key: &SessionKey, path: &Path) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.agents.remove(path);
        }
    }

    /// A transcript was deleted. If it was the last one, a session without a process ends.
    pub(super) fn transcript_vanished(&mut self, key: &SessionKey, path: &Path) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let was_own = session.transcript.take_if(|transcript| transcript == path).is_some();
        if !session.agents.remove(path) && !was_own {
            // Only a display named it: the client had not begun to write it.
            return;
        }
        session.is_deleted = session.transcript.is_none() && session.agents.is_empty();
    }

    // ---- Processes

    /// The known process files in this directory.
    pub(super) fn process_files(&self, dir: &Path) -> impl Iterator<Item = &PathBuf> {
        let from = self.processes.range(dir.to_owned()..).map(|(path, _)| path);
        from.take_while(move |path| path.starts_with(dir))
    }

    /// All known process files.
    pub(super) fn all_process_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.processes.keys()
    }

    pub(super) fn has_process_file(&self, path: &Path) -> bool {
        self.processes.contains_key(path)
    }

    /// What this file said of the process that runs as far as is known; `None` if none does.
    pub(super) fn running(&self, path: &Path) -> Option<&SessionFile> {
        self.processes.get(path).filter(|(_, it)| it.is_alive).map(|(_, it)| &it.file)
    }

    /// Whether the end of this process is waited for already, since its file was read before.
    pub(super) fn is_running(&self, path: &Path, process: &Process) -> bool {
        let id = |it: &Process| (it.file.pid, it.file.proc_start.clone(), it.file.started_at_ms);
        let known = self.processes.get(path).map(|(_, it)| it);
        known.is_some_and(|it| it.is_alive && id(it) == id(process))
    }

    /// Whether the only process with this session is a spare worker, which runs no session.
    pub(super) fn is_spare(&self, key: &SessionKey) -> bool {
        let mut named = self.processes_of(key).peekable();
        named.peek().is_some() && named.all(|process| process.file.is_spare)
    }

    /// The processes whose files name this session, in the order of these files.
    fn processes_of(&self, key: &SessionKey) -> impl Iterator<Item = &Process> {
        let files = self.process_files.get(key).into_iter().flatten();
        files.filter_map(|path| Some(&self.processes.get(path)?.1))
    }

    /// Replaces what is known of a process file; `None` if it is gone. Returns what was known.
    fn set_process(
        &mut self,
        path: &Path,
        found: Option<(SessionKey, Process)>,
    ) -> Option<(SessionKey, Process)> {
        let before = self.processes.remove(path);
        if let Some((key, _)) = &before
            && let Some(files) = self.process_files.get_mut(key)
        {
            files.remove(path);
            if files.is_empty() {
                self.process_files.remove(key);
            }
        }
        if let Some((key, process)) = found {
            self.process_files.entry(key.clone()).or_default().insert(path.to_owned());
            self.processes.insert(path.to_owned(), (key, process));
        }
        before
    }

    /// A process file was read. `found` is `None` if it was deleted, or belongs to no session.
    /// Returns the sessions to refresh, and whether the snapshot changed.
    pub(super) fn process_read(
        &mut self,
        path: &Path,
        found: Option<(SessionKey, Process)>,
        now: Now,
    ) -> (Vec<SessionKey>, bool) {
        let (mut changed, mut has_changed) = (Vec::new(), false);
        let before = self.set_process(path, found.clone());
        let goes_on = |key: &SessionKey, before: &Process| {
            let now = found.as_ref().filter(|(it, now)| it == key && now.is_alive);
            now.is_some_and(|(_, now)| !now.file.is_spare || before.file.is_spare)
        };
        let ended = before.as_ref().filter(|(key, it)| it.is_alive && !goes_on(key, it));
        if let Some((key, _)) = ended {
            // The process ended, or switched to another session.
            self.process_ended(key, now);
            changed.push(key.clone());
            has_changed = true;
        }
        let Some((key, process)) = found else { return (changed, has_changed) };
        self.hinted.remove(&key);
        if process.runs_session() {
            let session = self.sessions.entry(key.clone()).or_default();
            if session.process.as_deref() != Some(&process) {
                session.process = Some(Box::new(process));
                has_changed = true;
            }
            changed.push(key);
        } else if process.file.is_spare {
            if self.is_spare(&key)
                && let Some(session) = self.sessions.get_mut(&key)
            {
                // A display may have requested its line before its file was read.
                (session.requested_ms, session.reported) = (0, None);
                changed.push(key);
                has_changed = true;
            }
        } else if before.is_none_or(|(before, _)| before != key) {
            // A process that crashed before this one started left its file behind.
            // An earlier watcher may have noticed that.
            let ended_ms = self.sessions.get(&key).map_or(0, |session| session.ended_ms);
            let is_known = process.file.started_at_ms.is_some_and(|it| it <= ended_ms);
            if !is_known {
                self.process_ended(&key, now);
            }
            changed.push(key);
            has_changed = true;
        }
        (changed, has_changed)
    }

    /// One process of a session ended. The session may be open in another process.
    fn process_ended(&mut self, key: &SessionKey, now: Now) {
        let other = self.processes_of(key).find(|process| process.runs_session());
        let other = other.map(|process| Box::new(process.clone()));
        let session = self.sessions.entry(key.clone()).or_default();
        (session.process, session.ended_ms) = (other, now.wall_ms);
    }

    // ---- Displays

    /// A display requested this session's line, and sent what Claude Code had passed to it.
    /// `replied_ms` is the time of the newest reply in the transcript. Returns whether this differs
    /// from the last report, and what it says of the limits.
    pub(super) fn hint_received(
        &mut self,
        key: &SessionKey,
        mut facts: ClientFacts,
        replied_ms: Option<i64>,
        now: Now,
    ) -> (bool, Option<Statement>) {
        self.make_room(key);
        let session = self.sessions.entry(key.clone()).or_default();
        (session.requested_ms, session.is_deleted) = (now.wall_ms, false);
        if !facts.is_document() {
            return (false, None);
        }
        session.fit = facts.fit.or(session.fit);
        let before = session.reported.as_deref();
        let subscription =
            facts.is_subscribed(before.and_then(|it| it.subscription), replied_ms.is_some());
        let statement = date_limits(&mut facts, before, subscription, replied_ms, now);
        let is_news = before.is_none_or(|before| !is_repetition(&before.facts, &facts));
        let stated =
            before.filter(|it| facts.limits.is_repetition_of(&it.facts.limits, now.wall_ms));
        let limits_at_ms = stated.map_or(now.wall_ms, |it| it.limits_at_ms);
        let at_ms = now.wall_ms;
        session.reported = Some(Box::new(Reported { facts, at_ms, limits_at_ms, subscription }));
        (is_news, statement)
    }

    /// The context of a session was compacted: what the client reported of it before `at_ms` is
    /// void.
    pub(super) fn compacted(&mut self, key: &SessionKey, at_ms: i64) {
        let reported = self.sessions.get_mut(key).and_then(|session| session.reported.as_mut());
        if let Some(reported) = reported.filter(|it| it.at_ms < at_ms) {
            reported.facts.context_tokens = None;
            reported.facts.context_used_percentage = None;
        }
    }

    /// A `--oneshot` run will print this session's line. Returns its working directory if the
    /// working tree must be looked for; for a live session that has been requested already.
    pub(super) fn mark_printed(&mut self, key: &SessionKey) -> Option<PathBuf> {
        let session = self.sessions.get_mut(key)?;
        session.is_printed = true;
        let dir = session.search_dir.clone().filter(|_| !session.is_live);
        self.note_place(key);
        dir
    }

    // ---- Changes

    /// Decides anew whether a session is live and where it works. `transcript` has the facts of its
    /// own transcript.
    pub(super) fn refresh(
        &mut self,
        key: &SessionKey,
        transcript: Option<&TranscriptFacts>,
        now: Now,
    ) -> Transition {
        let is_spare = self.is_spare(key);
        let Some(session) = self.sessions.get_mut(key) else { return Transition::Same };
        let is_live = session.process.is_some() || (!is_spare && session.is_active(now));
        let absolute = |dir: Option<&str>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
        let (cwd, dir) = (absolute(session.cwd(transcript)), session.stated_dir(transcript));
        let search_dir = absolute(dir).filter(|_| self.trusted_roots.contains(&key.root));
        session.is_trusted = self.trusted_roots.contains(&key.root);
        let was_live = std::mem::replace(&mut session.is_live, is_live);
        let has_moved = search_dir.is_some() && search_dir != session.search_dir;
        (session.cwd, session.search_dir) = (cwd, search_dir);
        session.fit = session.fit.filter(|_| is_live);
        if session.is_shown(now) && !is_spare && !self.shown.contains(key) {
            self.shown.insert(key.clone());
        }
        self.note_place(key);
        match (was_live, is_live) {
            (false, true) => Transition::Began,
            (true, false) => Transition::Ended,
            (true, true) if has_moved => Transition::Moved,
            (true, true) | (false, false) => Transition::Same,
        }
    }

    /// The search for the working tree around `cwd` ended; `top` is `None` where there is none.
    /// Returns whether this changed any session.
    pub(super) fn tree_found(&mut self, cwd: &Path, top: Option<&Path>) -> bool {
        let mut has_changed = false;
        for key in self.places.in_dir(cwd).cloned().collect::<Vec<_>>() {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            if session.repo.as_deref() != top {
                session.repo = top.map(Path::to_owned);
                self.note_place(&key);
                has_changed = true;
            }
        }
        has_changed
    }

    // ---- Snapshots

    /// The session whose line is shown where no session is named.
    pub(super) fn latest(&self, now: Now) -> Option<&SessionKey> {
        let shown = self.worth_showing(now);
        shown.min_by_key(|(_, session)| session.rank()).map(|(key, _)| key)
    }

    /// The sessions of a snapshot: live ones first, then by their last activity. If two roots hold
    /// the same session (their `projects` may be one directory), only the first of these.
    pub(super) fn shown(&self, now: Now) -> Vec<(&SessionKey, &Session)> {
        let mut shown: Vec<_> = self.worth_showing(now).collect();
        shown.sort_by_key(|(_, session)| session.rank());
        let mut ids = BTreeSet::new();
        shown.retain(|(key, _)| ids.insert(&key.id));
        let n_live = shown.iter().take_while(|(_, session)| session.is_live).count();
        shown.truncate(MAX_SESSIONS.min(n_live + MAX_ENDED));
        shown
    }

    fn worth_showing(&self, now: Now) -> impl Iterator<Item = (&SessionKey, &Session)> {
        let known = self.shown.iter().filter_map(|key| self.sessions.get_key_value(key));
        known.filter(move |(_, session)| session.is_shown(now))
    }

    /// Restores a session from the snapshot of an earlier process. What Claude Code reported is
    /// stored nowhere else, and neither is when the session ended. Returns the process file to
    /// read, to find out whether the process that ran the session still does.
    pub(super) fn recall(
        &mut self,
        key: SessionKey,
        before: &schema::Session,
        now: Now,
    ) -> Option<PathBuf> {
        let process_file = before.pid.map(|pid| claude::layout::process_file(&key.root, pid));
        if let Some((path, pid)) = process_file.clone().zip(before.pid) {
            let file = SessionFile { pid, ..SessionFile::default() };
            let process = Process { file, is_alive: true, ..Process::default() };
            self.set_process(&path, Some((key.clone(), process)));
        }
        let session = self.sessions.entry(key.clone()).or_default();
        session.repo = before.repo.as_ref().map(Into::into);
        session.ended_ms = before.ended_ms.unwrap_or(0).min(now.wall_ms);
        session.reported = recalled_report(&key.id, before);
        process_file
    }

    // ---- Forgetting

    /// Forgets sessions whose last activity is too old for any sum. No live one is.
    pub(super) fn forget_old(&mut self, now: Now) {
        self.sessions.retain(|_, session| session.is_recent(now));
        self.hinted.retain(|key| self.sessions.contains_key(key));
    }

    /// Removes sessions from `shown` that no longer belong in snapshots.
    pub(super) fn forget_hidden(&mut self, now: Now) {
        let is_shown = |key: &SessionKey| self.sessions.get(key).is_some_and(|it| it.is_shown(now));
        self.shown.retain(|key| is_shown(key));
    }

    /// Drops the sessions and process files of a root.
    pub(super) fn drop_root(&mut self, root: &Path) {
        self.processes.retain(|_, (key, _)| key.root != root);
        self.process_files.retain(|key, _| key.root != root);
        self.sessions.retain(|key, _| key.root != root);
        self.hinted.retain(|key| key.root != root);
        self.trusted_roots.remove(root);
        for key in self.places.keys().filter(|key| key.root == root).cloned().collect::<Vec<_>>() {
            self.note_place(&key);
        }
    }

    /// Every time that is known of a session, so that it can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        self.sessions.values_mut().flat_map(|session| {
            let signs = [
                &mut session.appended_ms,
                &mut session.dated_ms,
                &mut session.requested_ms,
                &mut session.ended_ms,
            ];
            let reported = session.reported.as_deref_mut();
            let reported =
                reported.into_iter().flat_map(|Reported { facts, at_ms, limits_at_ms, .. }| {
                    facts.limits.times().chain([at_ms, limits_at_ms])
                });
            signs.into_iter().chain(reported)
        })
    }
}

#[cfg(test)]
impl Sessions {
    /// Checks that the indexes say what a look at every session and process file says.
    pub(super) fn check_indexes(&self) {
        let of_interest = self.sessions.iter().filter(|(_, session)| session.is_of_interest());
        assert!(self.places.keys().eq(of_interest.map(|(key, _)| key)));
        for (key, session) in &self.sessions {
            let (dir, repo) = (session.search_dir.as_deref(), session.repo.as_deref());
            let in_dir = dir.is_some_and(|dir| self.places.in_dir(dir).any(|at| at == key));
            let in_repo = repo.is_some_and(|top| self.places.in_repo(top).any(|at| at == key));
            assert_eq!(in_dir, session.is_of_interest() && dir.is_some(), "{key:?}");
            assert_eq!(in_repo, session.is_of_interest() && repo.is_some(), "{key:?}");
        }
        let mut files: BTreeMap<SessionKey, BTreeSet<PathBuf>> = BTreeMap::new();
        for (path, (key, _)) in &self.processes {
            files.entry(key.clone()).or_default().insert(path.clone());
        }
        assert_eq!(self.process_files, files);
    }
}

/// What Claude Code reported of a session, by the snapshot of an earlier process.
fn recalled_report(id: &SessionId, before: &schema::Session) -> Option<Box<Reported>> {
    let client_cost = before.cost.as_ref().filter(|cost| cost.source == CostSource::Client);
    let context = before.context.as_ref().filter(|context| context.window.is_some());
    let cost_ms = client_cost.map(|cost| cost.as_of_ms);
    let limits_ms = before.limits.iter().map(|(_, it)| it.as_of_ms).max();
    let at_ms = cost_ms.or(context.map(|context| context.as_of_ms)).or(limits_ms)?;
    let facts = ClientFacts {
        session_id: Some(id.0.clone()),
        session_name: before.name.clone(),
        cwd: before.cwd.clone(),
        model: before.model.clone(),
        context_tokens: context.and_then(|context| context.tokens),
        context_window: context.and_then(|context| context.window),
        context_used_percentage: context.and_then(|context| context.used_percentage),
        cost_usd: client_cost.map(|cost| cost.usd),
        pr: before.pr.clone(),
        lines: before.lines,
        duration_ms: before.duration_ms,
        output_style: before.output_style.clone(),
        client_version: before.client_version.clone(),
        limits: before.limits.clone(),
        ..ClientFacts::default()
    };
    let subscription = before.subscription;
    Some(Box::new(Reported { facts, at_ms, limits_at_ms: 0, subscription }))
}

/// Whether a session whose last activity was at `at_ms` belongs in snapshots.
pub(super) fn is_shown_since(at_ms: i64, now: Now) -> bool {
    now.wall_ms - at_ms < SHOWN_MS
}

/// Dates the limits in a document of a session, of which `before` is the report before. Returns
/// what they say.
///
/// A client repeats what came with the session's last reply, and does not say when that was. It
/// draws its line after each reply. So what differs from the report before came with a reply since.
///
/// See docs/decisions/028-the-newest-word-wins.md.
fn date_limits(
    facts: &mut ClientFacts,
    before: Option<&Reported>,
    subscription: Option<bool>,
    replied_ms: Option<i64>,
    now: Now,
) -> Option<Statement> {
    let said = before.map(|it| it.facts.limits.clone()).unwrap_or_default();
    if !facts.has_limits() && subscription != Some(false) {
        // Before the first reply of its process, a session states nothing.
        facts.limits = said;
        return None;
    }
    if before.is_some() && facts.limits.is_repetition_of(&said, now.wall_ms) {
        facts.limits = said.clone();
        let replied_ms = replied_ms?.min(now.wall_ms);
        let dated_ms = said.iter().map(|(_, it)| it.as_of_ms).min()?;
        if (dated_ms + 1..=before.map_or(0, |it| it.limits_at_ms)).contains(&replied_ms) {
            // This reply was read only after the document came that it had brought.
            facts.limits = said.dated(replied_ms);
            let limits = facts.limits.clone();
            return Some(Statement { limits, before: said, novelty: Novelty::New });
        }
        let limits = said.dated(replied_ms);
        return Some(Statement { limits, before: said, novelty: Novelty::Repeated });
    }
    let has_replies = facts.has_replies() || replied_ms.is_some();
    let since_ms = before.map_or(i64::MIN, |it| it.at_ms);
    let as_of_ms = replied_ms.filter(|it| *it > since_ms).unwrap_or(now.wall_ms).min(now.wall_ms);
    facts.limits = facts.limits.dated(as_of_ms);
    let novelty = if has_replies { Novelty::New } else { Novelty::Inherited };
    Some(Statement { limits: facts.limits.clone(), before: said, novelty })
}

/// Whether two reports of one session differ only in their durations.
fn is_repetition(before: &ClientFacts, now: &ClientFacts) -> bool {
    let ClientFacts { duration_ms, api_duration_ms, .. } = *now;
    ClientFacts { duration_ms, api_duration_ms, ..before.clone() } == *now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> SessionKey {
        SessionKey { id: SessionId(id.to_owned()), root: "/r".into() }
    }

    fn at(zero: Now, ms: i64) -> Now {
        Now { mono: zero.mono + crate::time::span(ms), wall_ms: zero.wall_ms + ms }
    }

    fn process(id: &str, is_alive: bool) -> Option<(SessionKey, Process)> {
        Some((key(id), Process { is_alive, ..Process::default() }))
    }

    #[test]
    fn a_session_begins_moves_and_ends_once() {
        let (mut sessions, zero) = (Sessions::default(), Now::read());
        sessions.trust(Path::new("/r"));
        let facts = |cwd: &str| TranscriptFacts { cwd: Some(cwd.into()), ..Default::default() };
        sessions.transcript_appended(
            &key("a"),
            Path::new("/r/projects/p/a.jsonl"),
            true,
            zero.wall_ms,
            None,
        );
        let mut refresh = |cwd, ms| sessions.refresh(&key("a"), Some(&facts(cwd)), at(zero, ms));
        assert_eq!(refresh("/w", 0), Transition::Began);
        assert_eq!(refresh("/w", 1), Transition::Same);
        assert_eq!(refresh("/v", 2), Transition::Moved);
        assert_eq!(refresh("/v", LINGER_MS), Transition::Ended);
        assert_eq!(refresh("/w", LINGER_MS + 1), Transition::Same, "it is not live any more");
        assert_eq!(sessions.refresh(&key("b"), None, zero), Transition::Same, "unknown");
    }

    #[test]
    fn a_session_is_live_while_any_of_its_processes_runs() {
        let (mut sessions, zero) = (Sessions::default(), Now::read());
        let paths = ["/r/sessions/1.json", "/r/sessions/2.json"].map(Path::new);
        for path in paths {
            sessions.process_read(path, process("a", true), zero);
        }
        let mut end = |path, found| {
            let (changed, _) = sessions.process_read(path, found, at(zero, 1));
            sessions.refresh(&key("a"), None, at(zero, 2));
            (changed, sessions.get(&key("a")).unwrap().is_live)
        };
        assert_eq!(end(paths[0], process("b", true)), (vec![key("a"), key("b")], true));
        assert_eq!(end(paths[1], None), (vec![key("a")], false));
    }

    #[test]
    fn a_repeated_report_is_not_news() {
        let (mut sessions, zero) = (Sessions::default(), Now::read());
        let report = |cost, ms| ClientFacts {
            cost_usd: Some(cost),
            duration_ms: Some(ms),
            ..ClientFacts::default()
        };
        let mut is_news =
            |report, ms| sessions.hint_received(&key("a"), report, None, at(zero, ms)).0;
        assert!(is_news(report(1.0, 1), 0));
        assert!(!is_news(report(1.0, 2), 1), "only time passed");
        assert!(!is_news(ClientFacts::default(), 2), "a request");
        assert!(is_news(report(2.0, 3), 3));
        let session = sessions.get(&key("a")).unwrap();
        assert_eq!(session.requested_ms, zero.wall_ms + 3);
    }

    #[test]
    fn a_fit_holds_until_another_one_or_the_end_of_the_session() {
        let (mut sessions, zero) = (Sessions::default(), Now::read());
        let fit = |columns| Fit { columns, depth: schema::display::Depth::Ansi, has_links: false };
        let mut after = |fit, cost, ms| {
            let report = ClientFacts { fit, cost_usd: Some(cost), ..ClientFacts::default() };
            let (is_news, _) = sessions.hint_received(&key("a"), report, None, at(zero, ms));
            sessions.refresh(&key("a"), None, at(zero, ms));
            (is_news, sessions.get(&key("a")).unwrap().fit.map(|it| it.columns))
        };
        assert_eq!(after(Some(fit(80)), 1.0, 0), (true, Some(80)));
        assert_eq!(after(Some(fit(80)), 1.0, 1), (false, Some(80)));
        assert_eq!(after(Some(fit(40)), 1.0, 2), (true, Some(40)), "another width is news");
        assert_eq!(after(None, 2.0, 3), (true, Some(40)), "another display's report");
        sessions.refresh(&key("a"), None, at(zero, 3 + LINGER_MS));
        assert_eq!(sessions.get(&key("a")).unwrap().fit, None);
    }

    #[test]
    fn live_sessions_come_first_and_at_most_32_ended_ones_follow() {
        let (mut sessions, now) = (Sessions::default(), Now::read());
        for n in 0..40 {
            let key = key(&format!("{n:02}"));
            sessions.transcript_appended(&key, Path::new("/t"), true, now.wall_ms - HOUR - n, None);
            sessions.refresh(&key, None, now);
        }
        sessions.transcript_appended(&key("live"), Path::new("/t"), true, now.wall_ms, None);
        sessions.refresh(&key("live"), None, now);
        let ids: Vec<_> = sessions.shown(now).iter().map(|(key, _)| &*key.id.0).collect();
        assert_eq!(ids.len(), 1 + MAX_ENDED);
        assert_eq!(ids[..3], ["live", "00", "01"]);
        assert_eq!(sessions.latest(now), Some(&key("live")));
    }

    const HOUR: i64 = 60 * MINUTE_MS;
}
