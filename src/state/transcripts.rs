//! PURE. Transcripts: how far each has been read, and the facts found in it up to there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sessions::SessionKey;
use crate::fetch::claude;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::tail::{Cursor, QUIET, Tail};
use crate::store::schema::{Limits, SessionId};
use crate::time::Now;
use crate::usage::ledger::REACH_MS;
use crate::usage::reply::Origin;
use crate::watch::Stamp;
use crate::watch::debounce::{Debounce, Window};

/// When a checkpoint is written after reads. It is rare, since a checkpoint has megabytes, and
/// without the newest one a restart would only read about as much again.
const SAVES: Debounce =
    Debounce { quiet: Duration::from_secs(60), max_hold: Duration::from_secs(600) };

/// All known transcripts.
#[derive(Debug, Default)]
pub(super) struct Transcripts {
    /// By path. An `OsString` compares faster than a `PathBuf`, which compares component by
    /// component.
    files: BTreeMap<OsString, File>,
    /// The folders beside transcripts that exist. Each is named after a session and holds what its
    /// subagents write.
    session_folders: BTreeSet<PathBuf>,
    /// The transcripts to read again once they have been quiet, each with the time. Their last
    /// lines have no newline.
    unended: BTreeMap<PathBuf, Instant>,
    /// When transcripts were read since the last checkpoint; `None` if none were.
    unsaved: Option<Window>,
}

/// One transcript.
#[derive(Debug)]
pub(super) struct File {
    pub(super) root: PathBuf,
    kind: claude::layout::FileKind,
    /// The directory that the folder of its project stands for; `None` until a line names it.
    project: Option<Arc<str>>,
    /// Identity, size and time of the file at the last read; `None` before the first, and if the
    /// last one did not reach the end of the file.
    pub(super) stamp: Option<Stamp>,
    /// Where the next read goes on; `None` before the first.
    pub(super) cursor: Option<Cursor>,
    pub(super) facts: TranscriptFacts,
    session: Option<SessionId>,
}

/// What a listing of a transcript means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// It was read in this state already.
    Known,
    /// It must be read.
    Changed,
    /// It is not known, and too old for any sum.
    Old,
}

/// What a read of a transcript means for its session and account.
#[derive(Debug)]
pub(super) struct ReadSummary {
    pub(super) root: PathBuf,
    pub(super) origin: Origin,
    /// The session that it was thought to belong to until now, if that was another one.
    pub(super) left_session: Option<SessionKey>,
    /// How many of its lines could not be parsed, before this read.
    pub(super) skipped_before: u64,
    /// When the file was last appended to, in Unix milliseconds.
    pub(super) appended_ms: i64,
    /// A limit of the account that the lines of this read say to be used up, and when they say so.
    pub(super) used_up: Option<Box<(Limits, i64)>>,
}

impl File {
    /// A transcript that has not been read yet.
    pub(super) fn new(root: &Path, kind: claude::layout::FileKind) -> File {
        let session = match &kind {
            claude::layout::FileKind::Transcript(id) | claude::layout::FileKind::Subagent(id) => {
                Some(id.clone())
            }
            claude::layout::FileKind::OldSubagent
            | claude::layout::FileKind::Copy(_)
            | claude::layout::FileKind::Process(_) => None,
        };
        File {
            root: root.to_owned(),
            kind,
            project: None,
            stamp: None,
            cursor: None,
            facts: TranscriptFacts::default(),
            session,
        }
    }

    /// Restores what an earlier process knew of a transcript. Times in the future become `now`.
    pub(super) fn restored(
        mut self,
        stamp: Option<Stamp>,
        cursor: Cursor,
        facts: TranscriptFacts,
        now: Now,
    ) -> File {
        if self.kind == claude::layout::FileKind::OldSubagent {
            self.session = session_of(&facts);
        }
        self.stamp = stamp;
        self.cursor = Some(cursor);
        self.facts = facts.not_after(now.wall_ms);
        self
    }

    /// Whether it was last changed too long ago for any sum.
    pub(super) fn is_old(&self, now: Now) -> bool {
        self.stamp.is_some_and(|stamp| is_old(stamp, now))
    }

    /// The session that it belongs to; `None` if that is not known.
    pub(super) fn key(&self) -> Option<SessionKey> {
        Some(SessionKey { id: self.session.clone()?, root: self.root.clone() })
    }

    /// Whether it is a session's own transcript, not a subagent's.
    pub(super) fn is_main(&self) -> bool {
        matches!(self.kind, claude::layout::FileKind::Transcript(_))
    }

    /// The session that a copy's path names; `None` for other transcripts.
    fn fallback(&self) -> Option<&SessionId> {
        match &self.kind {
            claude::layout::FileKind::Copy(session) => session.as_ref(),
            _ => None,
        }
    }

    /// Notes what a read says of the transcript as a whole. Returns what its lines have in common.
    pub(super) fn origin(&mut self, path: &Path, tail: &Tail) -> Origin {
        if self.kind == claude::layout::FileKind::OldSubagent {
            self.session = session_of(&tail.facts);
        }
        let folder = claude::layout::project_folder(&self.root, path).unwrap_or_default();
        if self.project.is_none() {
            self.project = project_in(&folder, tail);
        }
        let text = |id: &SessionId| Arc::from(id.0.as_str());
        Origin {
            file: path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into(),
            session: self.session.as_ref().map(text),
            fallback: self.fallback().map(text),
            folder: folder.into(),
            project: self.project.clone().unwrap_or_default(),
        }
    }

    /// When it was last appended to, by what an earlier process knew, in Unix milliseconds.
    pub(super) fn appended_ms(&self, now: Now) -> i64 {
        let modified_ms = self.stamp.map_or(0, |stamp| stamp.modified_ms);
        modified_ms.min(self.facts.last_line_ms.unwrap_or(i64::MAX)).min(now.wall_ms)
    }
}

impl Transcripts {
    // ---- Files

    pub(super) fn get(&self, path: &Path) -> Option<&File> {
        self.files.get(path.as_os_str())
    }

    pub(super) fn insert(&mut self, path: &Path, file: File) {
        self.files.insert(path.into(), file);
    }

    /// From the next listing on, all are read from their beginnings, as if they had been rewritten.
    pub(super) fn read_again(&mut self) {
        for file in self.files.values_mut() {
            file.stamp = None;
            if let Some(cursor) = &mut file.cursor {
                cursor.check = !cursor.check;
            }
        }
    }

    /// Takes a transcript out. The caller retires it in its account.
    pub(super) fn remove(&mut self, path: &Path) -> Option<File> {
        self.unended.remove(path);
        self.files.remove(path.as_os_str())
    }

    /// When [`Transcripts::take_quiet`] is due; `None` while every line has its newline.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.unended.values().min().copied()
    }

    /// The transcripts whose last lines have no newline and have been quiet.
    pub(super) fn take_quiet(&mut self, now: Instant) -> Vec<PathBuf> {
        let is_quiet = |at: &Instant| *at <= now;
        let quiet = self.unended.iter().filter(|(_, at)| is_quiet(at));
        let quiet: Vec<PathBuf> = quiet.map(|(path, _)| path.clone()).collect();
        self.unended.retain(|_, at| !is_quiet(at));
        quiet
    }

    /// The facts found in a transcript.
    pub(super) fn facts(&self, path: &Path) -> Option<&TranscriptFacts> {
        Some(&self.get(path)?.facts)
    }

    /// Where the next read of a transcript goes on, with the facts up to there; `None` to read from
    /// the beginning.
    pub(super) fn resume_at(&self, path: &Path) -> Option<Box<(Cursor, TranscriptFacts)>> {
        let file = self.get(path)?;
        Some(Box::new((file.cursor.clone()?, file.facts.clone())))
    }

    /// The transcripts of a config root, with their paths.
    pub(super) fn of_root(&self, root: &Path) -> impl Iterator<Item = (&OsStr, &File)> {
        let files = self.files.iter().filter(move |(_, file)| file.root == root);
        files.map(|(path, file)| (path.as_os_str(), file))
    }

    /// What a listing means that showed a file with this stamp.
    pub(super) fn listed(&self, path: &Path, stamp: Stamp, now: Now) -> Listed {
        match self.get(path) {
            Some(file) if file.stamp == Some(stamp) => Listed::Known,
            Some(_) => Listed::Changed,
            None if is_old(stamp, now) => Listed::Old,
            None => Listed::Changed,
        }
    }

    /// Stores what a read found, and moves the facts out of `tail`. `None` if the read is useless:
    /// the transcript was dropped, or its reads were forgotten, while it was being read.
    pub(super) fn take_in(
        &mut self,
        path: &Path,
        tail: &mut Tail,
        keep_message: bool,
        now: Now,
    ) -> Option<ReadSummary> {
        let file = self.files.get_mut(path.as_os_str())?;
        if !tail.has_restarted && tail.began != file.cursor.as_ref().map_or(0, |it| it.offset) {
            return None;
        }
        let session_before = file.session.clone();
        let origin = file.origin(path, tail);
        let left = session_before.filter(|id| file.session.as_ref() != Some(id));
        let left_session = left.map(|id| SessionKey { id, root: file.root.clone() });
        let identity = (tail.cursor.dev, tail.cursor.ino);
        let Tail { size, mtime_ms: modified_ms, ctime_ms: changed_ms, .. } = *tail;
        let stamp = Stamp { identity, size, modified_ms, changed_ms };
        // If the file was read before, its modification time is when it was appended to. At the
        // first read this may be when it was copied, so an earlier time of its last line counts.
        let is_first = file.cursor.is_none();
        let last_line_ms = tail.facts.last_line_ms.filter(|_| is_first).unwrap_or(i64::MAX);
        let read = ReadSummary {
            root: file.root.clone(),
            origin,
            left_session,
            skipped_before: file.facts.skipped_lines,
            appended_ms: stamp.modified_ms.min(last_line_ms).min(now.wall_ms),
            used_up: tail.facts.used_up.take(),
        };
        // Listings compare the stamp of a file that was read to its end. Otherwise another read is
        // planned anyway.
        file.stamp = (!tail.has_more && !tail.is_unended).then_some(stamp);
        if tail.is_unended {
            self.unended.insert(path.to_owned(), now.mono + QUIET);
        } else {
            self.unended.remove(path);
        }
        file.cursor = Some(tail.cursor.clone());
        file.facts = std::mem::take(&mut tail.facts).not_after(now.wall_ms);
        if !keep_message {
            file.facts.forget_message();
        }
        self.mark_unsaved(now);
        Some(read)
    }

    /// Something was read that the checkpoint lacks.
    pub(super) fn mark_unsaved(&mut self, now: Now) {
        self.unsaved.get_or_insert(Window::open(now.mono)).add(now.mono);
    }

    /// Returns the known transcripts below `dir` that are not in `listed`. Forgets the folders of
    /// sessions that are not.
    pub(super) fn missing_from(&mut self, dir: &Path, listed: &BTreeSet<&OsStr>) -> Vec<PathBuf> {
        // Ends with a slash: in the order of bytes, `a-b` comes between `a` and `a/b`.
        let dir = dir.join("").into_os_string();
        let is_below = |path: &OsStr| path.as_encoded_bytes().starts_with(dir.as_encoded_bytes());
        let files = self.files.range(dir.clone()..).map(|(path, _)| path.as_os_str());
        let files = files.take_while(|path| is_below(path));
        let missing = files.filter(|path| !listed.contains(path)).map(PathBuf::from).collect();
        let folders = self.session_folders.range(PathBuf::from(&dir)..);
        let folders = folders.take_while(|folder| folder.starts_with(&dir));
        let gone = folders.filter(|folder| !listed.contains(folder.as_os_str()));
        for folder in gone.cloned().collect::<Vec<_>>() {
            self.session_folders.remove(&folder);
        }
        missing
    }

    /// The transcripts that were last changed too long ago for any sum.
    pub(super) fn old(&self, now: Now) -> impl Iterator<Item = (PathBuf, &File)> {
        let old = self.files.iter().filter(move |(_, file)| file.is_old(now));
        old.map(|(path, file)| (PathBuf::from(path), file))
    }

    /// Drops the texts of messages. Returns whether there were any.
    pub(super) fn forget_messages(&mut self) -> bool {
        let had_one = self.files.values_mut().map(|file| file.facts.forget_message());
        had_one.fold(false, |any, one| any | one)
    }

    /// Drops the transcripts and folders of a root.
    pub(super) fn drop_root(&mut self, root: &Path) {
        self.files.retain(|_, file| file.root != root);
        self.unended.retain(|path, _| self.files.contains_key(path.as_os_str()));
        self.session_folders.retain(|folder| !folder.starts_with(root));
    }

    /// Every time found in transcripts, so that it can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        self.files.values_mut().flat_map(|file| file.facts.times())
    }

    // ---- Folders of sessions

    /// A session's folder was seen beside the transcripts.
    pub(super) fn add_folder(&mut self, folder: &Path) {
        self.session_folders.insert(folder.to_owned());
    }

    /// Whether this folder was seen beside the transcripts.
    pub(super) fn has_folder(&self, folder: &Path) -> bool {
        self.session_folders.contains(folder)
    }

    // ---- The checkpoint

    /// When the next checkpoint is due; `None` if nothing was read since the last one.
    pub(super) fn save_at(&self) -> Option<Instant> {
        self.unsaved.map(|window| window.deadline(SAVES))
    }

    /// A checkpoint is about to be written. Returns whether anything was read since the last one.
    pub(super) fn take_unsaved(&mut self) -> bool {
        self.unsaved.take().is_some()
    }

    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<&OsStr> {
        self.files.keys().map(OsString::as_os_str).collect()
    }

    #[cfg(test)]
    pub(super) fn n_folders(&self) -> usize {
        self.session_folders.len()
    }

    #[cfg(test)]
    pub(super) fn first_facts_mut(&mut self) -> &mut TranscriptFacts {
        &mut self.files.values_mut().next().expect("there is a transcript").facts
    }
}

/// Whether nothing in the file can be of a window. Archives set the time of the modification to
/// whatever they say, so the change of the inode must be old as well.
fn is_old(stamp: Stamp, now: Now) -> bool {
    stamp.modified_ms.max(stamp.changed_ms) < now.wall_ms - REACH_MS
}

/// The directory that a project's folder stands for, as an entry names it: the client may work in
/// others meanwhile.
fn project_in(folder: &str, tail: &Tail) -> Option<Arc<str>> {
    let mut dirs = tail.entries.iter().filter_map(|(_, entry)| entry.cwd.as_ref());
    dirs.find(|dir| claude::layout::project_name(dir) == folder).cloned()
}

/// The session named by the lines of a transcript.
fn session_of(facts: &TranscriptFacts) -> Option<SessionId> {
    facts.session.as_deref().and_then(SessionId::checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(modified_ms: i64) -> Stamp {
        Stamp { identity: (1, 1), size: 1, modified_ms, changed_ms: modified_ms }
    }

    fn known(paths: &[&str]) -> Transcripts {
        let mut transcripts = Transcripts::default();
        for path in paths {
            let kind = claude::layout::classify(Path::new("/r"), Path::new(path)).unwrap();
            let file = File::new(Path::new("/r"), kind);
            transcripts.insert(Path::new(path), file);
        }
        transcripts
    }

    fn tail(began: u64, facts: TranscriptFacts) -> Tail {
        Tail {
            cursor: Cursor { offset: began + 10, ..Cursor::default() },
            began,
            has_restarted: false,
            facts,
            entries: Vec::new(),
            has_more: false,
            is_unended: false,
            size: began + 10,
            mtime_ms: i64::MAX,
            ctime_ms: i64::MAX,
        }
    }

    #[test]
    fn a_read_that_did_not_begin_where_the_last_one_ended_is_ignored() {
        let path = Path::new("/r/projects/p/s.jsonl");
        let (mut transcripts, now) = (known(&["/r/projects/p/s.jsonl"]), Now::read());
        let mut read = |began, is_restarted| {
            let mut tail = tail(began, TranscriptFacts::default());
            tail.has_restarted = is_restarted;
            transcripts.take_in(path, &mut tail, true, now).is_some()
        };
        assert!(read(0, false));
        assert!(!read(0, false), "it was read from the beginning already");
        assert!(read(10, false));
        assert!(read(0, true), "another file has this name now");
        assert!(transcripts.save_at().is_some() && transcripts.take_unsaved());
        assert_eq!(transcripts.save_at(), None);
    }

    #[test]
    fn a_subagent_of_the_old_layout_belongs_to_the_session_that_its_lines_name() {
        let path = Path::new("/r/projects/p/agent-1.jsonl");
        let (mut transcripts, now) = (known(&["/r/projects/p/agent-1.jsonl"]), Now::read());
        let mut read = |began, session: &str| {
            let facts = TranscriptFacts { session: Some(session.into()), ..Default::default() };
            let read = transcripts.take_in(path, &mut tail(began, facts), true, now).unwrap();
            let session = read.origin.session.map(|it| it.to_string());
            (session, read.left_session.map(|it| it.id.0))
        };
        assert_eq!(read(0, "a"), (Some("a".into()), None));
        assert_eq!(read(10, "a"), (Some("a".into()), None));
        assert_eq!(read(20, "b"), (Some("b".into()), Some("a".into())));
    }

    #[test]
    fn a_listed_file_is_read_once_per_state_and_not_at_all_if_it_is_too_old() {
        let (path, now) = (Path::new("/r/projects/p/s.jsonl"), Now::read());
        let mut transcripts = known(&[]);
        assert_eq!(transcripts.listed(path, stamp(now.wall_ms), now), Listed::Changed);
        let old = stamp(now.wall_ms - REACH_MS - 1);
        assert_eq!(transcripts.listed(path, old, now), Listed::Old);
        let unpacked = Stamp { changed_ms: now.wall_ms - REACH_MS, ..old };
        assert_eq!(transcripts.listed(path, unpacked, now), Listed::Changed);
        let unpacked = Stamp { modified_ms: 0, ..unpacked };
        assert_eq!(transcripts.listed(path, unpacked, now), Listed::Changed);
        transcripts = known(&["/r/projects/p/s.jsonl"]);
        let mut tail = tail(0, TranscriptFacts::default());
        (tail.size, tail.cursor.dev, tail.cursor.ino) = (1, 1, 1);
        (tail.mtime_ms, tail.ctime_ms) = (5, 5);
        transcripts.take_in(path, &mut tail, true, now).unwrap();
        assert_eq!(transcripts.listed(path, stamp(5), now), Listed::Known);
        assert_eq!(transcripts.listed(path, stamp(6), now), Listed::Changed);
    }

    #[test]
    fn only_transcripts_below_the_listed_folder_can_be_missing_from_it() {
        let paths = ["/r/projects/a/1.jsonl", "/r/projects/a-b/2.jsonl", "/r/projects/a/3.jsonl"];
        let mut transcripts = known(&paths);
        transcripts.add_folder(Path::new("/r/projects/a/1"));
        transcripts.add_folder(Path::new("/r/projects/a-b/2"));
        let listed = BTreeSet::from([OsStr::new("/r/projects/a/3.jsonl")]);
        let missing = transcripts.missing_from(Path::new("/r/projects/a"), &listed);
        assert_eq!(missing, [Path::new("/r/projects/a/1.jsonl")]);
        assert!(!transcripts.has_folder(Path::new("/r/projects/a/1")));
        assert!(transcripts.has_folder(Path::new("/r/projects/a-b/2")));
    }
}
