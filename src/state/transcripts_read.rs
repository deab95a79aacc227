//! PURE. Which transcripts are read, and what follows from a read for sessions and accounts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::State;
use super::event::Effect;
use super::limits::{Novelty, Statement};
use super::sessions::SessionKey;
use super::transcripts::{File, ReadSummary};
use crate::fetch::claude;
use crate::fetch::job::Source;
use crate::fetch::tail::Tail;
use crate::plan::Urgency;
use crate::store::schema::Limits;
use crate::time::Now;
use crate::watch::{Entry, EntryKind};

impl State {
    /// A listing showed these entries. Plans reads of transcripts that changed.
    pub(super) fn transcripts_listed(&mut self, root: &Path, entries: &[Entry], now: Now) {
        for entry in entries {
            let EntryKind::File(stamp) = entry.kind else { continue };
            if !self.transcripts.is_read_due(&entry.path, stamp, now) {
                continue;
            }
            if let Some(kind) = claude::layout::classify(root, &entry.path) {
                self.want_transcript(&entry.path, root, kind, now);
            }
        }
    }

    /// Plans reads of known transcripts that a listing of `dir` lacks. The read decides whether
    /// such a file is gone: it may have come back since.
    pub(super) fn want_unlisted(&mut self, dir: &Path, entries: &[Entry], now: Now) {
        let listed = entries.iter().map(|entry| entry.path.as_os_str()).collect();
        for path in self.transcripts.missing_from(dir, &listed) {
            self.sources.want(&Source::Transcript(path), Urgency::Settled, now);
        }
    }

    /// Plans a read of a transcript. Does nothing for a process file.
    pub(super) fn want_transcript(
        &mut self,
        path: &Path,
        root: &Path,
        kind: claude::layout::FileKind,
        now: Now,
    ) {
        if matches!(kind, claude::layout::FileKind::Process(_)) {
            return;
        }
        if self.transcripts.get(path).is_none() {
            let Some(id) = self.accounts.file_number(root, path) else { return };
            self.transcripts.insert(path, File::new(root, kind, id));
        }
        self.sources.want(&Source::Transcript(path.to_owned()), Urgency::Settled, now);
    }

    /// A transcript was read.
    pub(super) fn transcript_read(&mut self, path: &Path, mut tail: Tail, now: Now) {
        let skipped_lines = tail.facts.skipped_lines;
        let keep_message = self.settings.preview;
        let n_compactions = self.transcripts.facts(path).map_or(0, |it| it.compactions);
        let Some(read) = self.transcripts.take_in(path, &mut tail, keep_message, now) else {
            return;
        };
        let ReadSummary {
            root,
            id,
            session,
            fallback,
            left_session,
            skipped_before,
            appended_ms,
            used_up,
        } = read;
        if let Some(fallback) = fallback {
            let named: Arc<str> = fallback.0.into();
            for (_, entry) in &mut tail.entries {
                entry.session.get_or_insert_with(|| Arc::clone(&named));
            }
        }
        if let Some((limits, at_ms)) = used_up.as_deref() {
            let mut limits = limits.plausible(now.wall_ms);
            limits.times().for_each(|as_of_ms| *as_of_ms = (*at_ms).min(now.wall_ms));
            let (before, novelty) = (Limits::default(), Novelty::New);
            self.accounts.merge_limits(&root, &Statement { limits, before, novelty }, now);
        }
        if let Some(key) = left_session {
            self.sessions.agent_left(&key, path);
        }
        tail.facts.skipped_lines = skipped_lines;
        self.accounts.count_read(&root, id, session.as_ref(), &tail, skipped_before);
        self.publication.mark_changed();
        if tail.has_restarted || !tail.entries.is_empty() {
            self.want_block(&root, now);
        }
        self.confirm_usage(now);
        if tail.has_more {
            self.sources.want(&Source::Transcript(path.to_owned()), Urgency::Now, now);
        }
        if let Some(key) = self.join_session(path, appended_ms) {
            let facts = self.transcripts.get(path).filter(|file| file.is_main());
            let compacted = facts.filter(|file| file.facts.compactions > n_compactions);
            if let Some(at_ms) = compacted.and_then(|file| file.facts.context_as_of_ms) {
                self.sessions.compacted(&key, at_ms);
            }
            self.refresh_session(&key, now);
            self.want_repo_of(&key, now);
        }
    }

    /// Tells the session of a transcript that this was appended to at `appended_ms`. Returns the
    /// session; `None` if it is not known which one it is.
    pub(super) fn join_session(&mut self, path: &Path, appended_ms: i64) -> Option<SessionKey> {
        let file = self.transcripts.get(path)?;
        let key = file.key()?;
        let dated_ms = file.facts.last_line_ms;
        self.sessions.transcript_appended(&key, path, file.is_main(), appended_ms, dated_ms);
        Some(key)
    }

    /// A transcript was deleted, as Claude Code does with old ones. Its entries stay counted.
    pub(super) fn transcript_vanished(&mut self, path: &Path, now: Now) {
        let Some(file) = self.forget_transcript(path) else { return };
        self.want_block(&file.root, now);
        let Some(key) = file.key() else { return };
        self.sessions.transcript_vanished(&key, path);
        self.publication.mark_changed();
        self.refresh_session(&key, now);
    }

    /// Forgets transcripts that were last changed too long ago for any sum, unless their session is
    /// still known. If one is appended to later, it is read from its beginning.
    pub(super) fn forget_old_transcripts(&mut self, now: Now) {
        let is_known =
            |file: &File| file.key().is_some_and(|key| self.sessions.get(&key).is_some());
        let old = self.transcripts.old(now).filter(|(_, file)| !is_known(file));
        for path in old.map(|(path, _)| path).collect::<Vec<PathBuf>>() {
            if self.sources.is_idle(&Source::Transcript(path.clone())) {
                self.forget_transcript(&path);
            }
        }
    }

    fn forget_transcript(&mut self, path: &Path) -> Option<File> {
        self.forget_source(&Source::Transcript(path.to_owned()));
        let file = self.transcripts.remove(path)?;
        if file.cursor.is_some() {
            self.accounts.retire_file(&file.root, file.id, file.facts.skipped_lines);
        } else {
            self.accounts.discard_file(&file.root, file.id);
        }
        Some(file)
    }

    /// Counts all transcripts again from their beginning, after prices changed, or after a clock
    /// that was ahead made ledgers refuse entries. The ledgers cannot be corrected without reading:
    /// they do not store the model of each entry. The usage of deleted transcripts is lost.
    pub(super) fn recount(&mut self, now: Now) {
        self.accounts.recount(&self.settings, self.sources.is_scanned(), now);
        let accounts = &mut self.accounts;
        for path in self.transcripts.forget_reads(|root, path| accounts.file_number(root, path)) {
            self.sources.want(&Source::Transcript(path), Urgency::Now, now);
        }
        self.sources.scan_again();
    }

    /// Drops all texts of messages if the user disabled previews, also from the checkpoint file.
    pub(super) fn forget_messages(&mut self) {
        if !self.settings.preview && self.transcripts.forget_messages() {
            self.publication.mark_changed();
            self.effects.push(Effect::Save);
        }
    }

    /// Marks the usage of all accounts as complete as of now. Leaves out accounts with a transcript
    /// that cannot be read, and does nothing if a read or a listing hangs.
    pub(super) fn confirm_usage(&mut self, now: Now) {
        if self.directories.is_hung(now) || self.sources.hung(now).next().is_some() {
            return;
        }
        let root_of = |source: &Source| match source {
            Source::Transcript(path) => Some(&self.transcripts.get(path)?.root),
            _ => None,
        };
        let unread: BTreeSet<_> = self.sources.failing().filter_map(root_of).collect();
        self.accounts.confirm(&unread, now);
    }
}
