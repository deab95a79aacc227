//! PURE. Transcripts: which are read, and where what they say goes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::barriers::Barrier;
use super::{Effect, SessionKey, Source, State};
use crate::fetch::claude;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::tail::{Cursor, Tail};
use crate::plan::Urgency;
use crate::store::schema::SessionId;
use crate::time::Now;
use crate::usage::ledger::{FileId, Ledger, REACH_MS};
use crate::watch::debounce::Window;
use crate::watch::{Entry, EntryKind, Stamp};

#[derive(Debug)]
pub(super) struct File {
    pub(super) root: PathBuf,
    pub(super) place: claude::layout::FileKind,
    pub(super) id: FileId,
    /// The state of the file that `facts` tell of.
    pub(super) stamp: Option<Stamp>,
    pub(super) cursor: Option<Cursor>,
    pub(super) facts: TranscriptFacts,
    pub(super) session: Option<SessionId>,
}

impl File {
    /// One that nothing is known of yet.
    pub(super) fn new(
        ledger: &mut Ledger,
        root: &Path,
        path: &Path,
        place: claude::layout::FileKind,
    ) -> File {
        let session = match &place {
            claude::layout::FileKind::Transcript(it) | claude::layout::FileKind::Subagent(it) => {
                Some(it.clone())
            }
            claude::layout::FileKind::OldSubagent | claude::layout::FileKind::Process(_) => None,
        };
        File {
            root: root.to_owned(),
            id: ledger.file(&name_in(root, path)),
            place,
            stamp: None,
            cursor: None,
            facts: TranscriptFacts::default(),
            session,
        }
    }

    /// Whether it was last written to before every window.
    pub(super) fn is_old(&self, now: Now) -> bool {
        self.stamp.is_some_and(|it| it.modified_ms < now.wall_ms - REACH_MS)
    }

    /// Whose it is, if it says so.
    pub(super) fn key(&self) -> Option<SessionKey> {
        Some(SessionKey { id: self.session.clone()?, root: self.root.clone() })
    }
}

impl State {
    pub(super) fn seen(&mut self, root: &Path, entries: &[Entry], now: Now) {
        for entry in entries {
            let EntryKind::File(stamp) = entry.kind else { continue };
            let is_known =
                self.files.get(entry.path.as_os_str()).is_some_and(|it| it.stamp == Some(stamp));
            let is_old = stamp.modified_ms < now.wall_ms - REACH_MS;
            if is_known || (is_old && !self.files.contains_key(entry.path.as_os_str())) {
                continue;
            }
            if let Some(place) = claude::layout::classify(root, &entry.path) {
                self.want_transcript(&entry.path, root, place, now);
            }
        }
    }

    /// Files that a listing lacks are read once more; that they are missing is found there.
    pub(super) fn check_vanished(&mut self, dir: &Path, entries: &[Entry], now: Now) {
        let listed: BTreeSet<_> = entries.iter().map(|it| it.path.as_os_str()).collect();
        // With the slash: `a-b` stands between `a` and `a/b`.
        let dir = dir.join("").into_os_string();
        let below = self.files.range(dir.clone()..).map(|(it, _)| it.as_os_str());
        let below =
            below.take_while(|it| it.as_encoded_bytes().starts_with(dir.as_encoded_bytes()));
        let gone: Vec<_> = below.filter(|it| !listed.contains(it)).map(PathBuf::from).collect();
        for path in gone {
            self.reads.want(&Source::Transcript(path), Urgency::Settled, now.mono);
        }
        let below = self.session_folders.range(PathBuf::from(&dir)..);
        let below = below.take_while(|it| it.starts_with(&dir));
        let gone: Vec<_> = below.filter(|it| !listed.contains(it.as_os_str())).cloned().collect();
        for path in gone {
            self.session_folders.remove(&path);
        }
    }

    pub(super) fn want_transcript(
        &mut self,
        path: &Path,
        root: &Path,
        place: claude::layout::FileKind,
        now: Now,
    ) {
        if matches!(place, claude::layout::FileKind::Process(_)) {
            return;
        }
        if !self.files.contains_key(path.as_os_str()) {
            let Some(it) = self.roots.get_mut(root) else { return };
            self.files.insert(path.into(), File::new(&mut it.ledger, root, path, place));
        }
        self.reads.want(&Source::Transcript(path.to_owned()), Urgency::Settled, now.mono);
    }

    pub(super) fn read(&mut self, path: &Path, tail: Tail, now: Now) {
        let Some(file) = self.files.get_mut(path.as_os_str()) else { return };
        let Some(root) = self.roots.get_mut(&file.root) else { return };
        if tail.has_restarted {
            root.ledger.remove_file(file.id);
        } else if tail.began != file.cursor.as_ref().map_or(0, |it| it.offset) {
            // It began before the file was to be counted anew, and another read is wanted already.
            return;
        }
        if file.place == claude::layout::FileKind::OldSubagent {
            let before = std::mem::replace(&mut file.session, session_of(&tail.facts));
            let gone = before.filter(|it| file.session.as_ref() != Some(it));
            let gone = gone.map(|id| SessionKey { id, root: file.root.clone() });
            if let Some(it) = gone.and_then(|it| self.sessions.get_mut(&it)) {
                it.agents.remove(path);
            }
        }
        let identity = (tail.cursor.dev, tail.cursor.ino);
        root.ledger.add(file.id, identity, file.session.as_ref(), &tail.entries);
        root.skipped_lines += tail.facts.skipped_lines;
        root.skipped_lines -= file.facts.skipped_lines;
        let stamp = Stamp { identity, size: tail.size, modified_ms: tail.mtime_ms };
        // What is seen growing grew just now. What is there at the first look grew when it says:
        // its file may have been copied since.
        let is_first = file.cursor.is_none();
        let said_ms = tail.facts.last_line_ms.filter(|_| is_first).unwrap_or(i64::MAX);
        let grew_ms = stamp.modified_ms.min(said_ms).min(now.wall_ms);
        // A file read whole is compared with listings; one read in part is wanted anyway.
        file.stamp = (!tail.has_more).then_some(stamp);
        file.cursor = Some(tail.cursor);
        file.facts = tail.facts.not_after(now.wall_ms);
        if !self.settings.preview {
            file.facts.forget_message();
        }
        self.is_dirty = true;
        if tail.has_restarted || !tail.entries.is_empty() {
            let root = file.root.clone();
            self.want_block(&root, now);
        }
        self.confirm_usage(now);
        self.unsaved.get_or_insert(Window::open(now.mono)).add(now.mono);
        if tail.has_more {
            self.reads.want(&Source::Transcript(path.to_owned()), Urgency::Now, now.mono);
        }
        if let Some(key) = self.join_session(path, grew_ms) {
            self.refresh_session(&key, now);
            self.touch_repo(&key, now);
        }
    }

    /// Whose transcript this is, if it says so; the session has a sign of life at `grew_ms`.
    pub(super) fn join_session(&mut self, path: &Path, grew_ms: i64) -> Option<SessionKey> {
        let file = self.files.get(path.as_os_str())?;
        let key = file.key()?;
        let it = self.sessions.entry(key.clone()).or_default();
        if matches!(file.place, claude::layout::FileKind::Transcript(_)) {
            it.transcript = Some(path.to_owned());
        } else {
            it.agents.insert(path.to_owned());
        }
        it.grew_ms = it.grew_ms.max(grew_ms);
        Some(key)
    }

    /// Prices are others now, or entries were taken for too old that are not. An entry's model is
    /// not kept, so all transcripts are read again; until then the sums before are shown, with their
    /// age. What deleted ones used is not known any more.
    pub(super) fn count_anew(&mut self, now: Now) {
        for path in self.roots.keys().cloned().collect::<Vec<_>>() {
            let recalled = self.usage(&self.roots[&path], now);
            let Some(root) = self.roots.get_mut(&path) else { continue };
            root.recalled = recalled;
            root.skipped_lines = 0;
            root.ledger = Ledger::new(self.settings.prices.clone());
            root.ledger.forget_before(now.wall_ms - REACH_MS);
        }
        for (path, file) in &mut self.files {
            let path = Path::new(path);
            let Some(root) = self.roots.get_mut(&file.root) else { continue };
            file.id = root.ledger.file(&name_in(&file.root, path));
            (file.stamp, file.cursor, file.facts) = Default::default();
            self.reads.want(&Source::Transcript(path.to_owned()), Urgency::Now, now.mono);
        }
        self.is_scanned = false;
        self.barriers.push(Barrier::first_scan());
    }

    /// Where the user does not want them, no text of messages is kept, and none in the checkpoint.
    pub(super) fn forget_messages(&mut self) {
        if self.settings.preview {
            return;
        }
        let had_one = self.files.values_mut().map(|it| it.facts.forget_message());
        if had_one.fold(false, |a, b| a | b) {
            self.is_dirty = true;
            self.effects.push(Effect::Save);
        }
    }

    /// A transcript was deleted. Claude Code prunes old ones, and what they used was used.
    pub(super) fn vanished(&mut self, path: &Path, now: Now) {
        let Some(file) = self.forget_file(path) else { return };
        self.want_block(&file.root, now);
        let Some(key) = file.key() else { return };
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

    /// Drops what was last written to before every window, but for sessions that are still known.
    /// Should one go on after all, it is read from its beginning, as one is that is older than we.
    pub(super) fn forget_old_files(&mut self, now: Now) {
        let is_known = |it: &File| it.key().is_some_and(|it| self.sessions.contains_key(&it));
        let old = self.files.iter().filter(|(_, it)| it.is_old(now) && !is_known(it));
        let old: Vec<_> = old.map(|(path, _)| PathBuf::from(path)).collect();
        for path in old {
            if self.reads.is_idle(&Source::Transcript(path.clone())) {
                self.forget_file(&path);
            }
        }
    }

    fn forget_file(&mut self, path: &Path) -> Option<File> {
        self.forget(&Source::Transcript(path.to_owned()));
        let file = self.files.remove(path.as_os_str())?;
        if let Some(root) = self.roots.get_mut(&file.root) {
            root.ledger.retire_file(file.id);
            root.skipped_lines -= file.facts.skipped_lines;
        }
        Some(file)
    }
}

/// The ledger's name of a transcript.
fn name_in<'a>(root: &Path, path: &'a Path) -> Cow<'a, str> {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy()
}

/// The session that a transcript's lines name.
pub(super) fn session_of(facts: &TranscriptFacts) -> Option<SessionId> {
    facts.session.as_deref().and_then(SessionId::checked)
}
