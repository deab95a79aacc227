//! PURE. Which transcripts are read, and what follows from a read for sessions and accounts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::State;
use super::event::Effect;
use super::limits::{Novelty, Statement};
use super::sessions::SessionKey;
use super::transcripts::{File, Listed, ReadSummary};
use crate::fetch::claude;
use crate::fetch::job::Source;
use crate::fetch::tail::Tail;
use crate::plan::Urgency;
use crate::store::schema::Limits;
use crate::time::{MINUTE_MS, Now};
use crate::usage::prices::picodollars;
use crate::usage::reply::{Batch, ClientCost, Origin, Reply};
use crate::watch::{Entry, EntryKind, Stamp};

/// At the first scan, transcripts that were changed since are read before all others, and so are
/// those of sessions of which a process is known: these may be live.
const RECENT_MS: i64 = MINUTE_MS;

impl State {
    /// A listing showed these entries. Plans reads of transcripts that changed.
    pub(super) fn transcripts_listed(&mut self, root: &Path, entries: &[Entry], now: Now) {
        for entry in entries {
            let EntryKind::File(stamp) = entry.kind else { continue };
            let listed = self.transcripts.listed(&entry.path, stamp, now);
            let is_old = listed == Listed::Old && self.imports.is_due(&entry.path, stamp);
            if listed != Listed::Changed && !is_old {
                continue;
            }
            let Some(kind) = claude::layout::classify(root, &entry.path) else { continue };
            if is_old {
                self.offer_import(&entry.path, File::new(root, kind), stamp, now);
            } else {
                let may_be_live = stamp.modified_ms > now.wall_ms - RECENT_MS
                    || File::new(root, kind.clone())
                        .key()
                        .is_some_and(|key| self.sessions.get(&key).is_some());
                let can_wait = !self.sources.is_scanned() && !may_be_live;
                let urgency = if can_wait { Urgency::Idle } else { Urgency::Settled };
                self.want_transcript(&entry.path, root, kind, urgency, now);
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
        urgency: Urgency,
        now: Now,
    ) {
        if matches!(kind, claude::layout::FileKind::Process(_)) {
            return;
        }
        if self.transcripts.get(path).is_none() {
            if !self.accounts.contains(root) {
                return;
            }
            self.transcripts.insert(path, File::new(root, kind));
        }
        self.sources.want(&Source::Transcript(path.to_owned()), urgency, now);
    }

    // ---- Old transcripts

    /// An old transcript is not in the record yet.
    fn offer_import(&mut self, path: &Path, file: File, stamp: Stamp, now: Now) {
        if !self.mode.does_import() || !self.accounts.is_recorded(&file.root) {
            return;
        }
        self.imports.insert(path, file, stamp);
        // What is of the windows comes first.
        if self.sources.is_scanned() {
            self.sources.want(&Source::Import(path.to_owned()), Urgency::Idle, now);
        }
    }

    /// Plans the reads of all old transcripts that are not in the record.
    pub(super) fn want_imports(&mut self, now: Now) {
        for path in self.imports.waiting().cloned().collect::<Vec<_>>() {
            self.sources.want(&Source::Import(path), Urgency::Idle, now);
        }
    }

    /// An old transcript was read.
    pub(super) fn import_read(&mut self, path: &Path, mut tail: Tail, now: Now) {
        let Some((root, origin)) = self.imports.read(path, &mut tail) else { return };
        let client_costs = client_costs(&origin, &tail, tail.mtime_ms);
        let news = self.accounts.count_old(&root, origin, &tail);
        self.record(&root, Batch { news, client_costs }, now);
        if tail.has_more {
            self.sources.want(&Source::Import(path.to_owned()), Urgency::Idle, now);
        }
        self.transcripts.mark_unsaved(now);
        self.publication.mark_changed();
    }

    // ---- Transcripts of the windows

    /// A transcript was read.
    pub(super) fn transcript_read(&mut self, path: &Path, mut tail: Tail, now: Now) {
        let skipped_lines = tail.facts.skipped_lines;
        let keep_message = self.settings.preview;
        let n_compactions = self.transcripts.facts(path).map_or(0, |it| it.compactions);
        let Some(read) = self.transcripts.take_in(path, &mut tail, keep_message, now) else {
            return;
        };
        let ReadSummary { root, origin, left_session, skipped_before, appended_ms, used_up } = read;
        let client_costs = client_costs(&origin, &tail, appended_ms);
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
        let news = self.accounts.count_read(&root, origin, &tail, skipped_before);
        self.record(&root, Batch { news, client_costs }, now);
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
                let stamp = self.forget_transcript(&path).and_then(|file| file.stamp);
                stamp.inspect(|stamp| self.imports.taken(&path, *stamp));
            }
        }
    }

    fn forget_transcript(&mut self, path: &Path) -> Option<File> {
        self.forget_source(&Source::Transcript(path.to_owned()));
        let file = self.transcripts.remove(path)?;
        self.accounts.forget_file(&file.root, file.facts.skipped_lines);
        Some(file)
    }

    /// Records replies of a root, before anything that counts them is published.
    fn record(&mut self, root: &Path, batch: Batch, now: Now) {
        if !batch.is_empty() && self.accounts.is_recorded(root) {
            self.recording.appended(batch.news.len(), now);
            self.effects.push(Effect::Record { root: root.to_owned(), batch });
        }
    }

    /// The usage of this root is recorded from now on, and what was recorded before counts.
    pub(super) fn record_root(&mut self, root: &Path, now: Now) {
        if let Some(news) = self.accounts.start_recording(root) {
            self.record(root, Batch { news, ..Batch::default() }, now);
            self.effects.push(Effect::Recall(root.to_owned()));
        }
    }

    /// Records everything that is known again, and reads all transcripts for what is not.
    pub(super) fn record_again(&mut self, now: Now) {
        for (root, news) in self.accounts.all_recorded() {
            self.record(&root, Batch { news, ..Batch::default() }, now);
        }
        self.imports.forget_taken();
        self.transcripts.read_again();
        self.transcripts.mark_unsaved(now);
        let looks = self.directories.look_at_all(|_| true);
        self.effects.extend(looks);
    }

    /// An earlier process left so many replies in the journal of the record.
    pub fn journal_found(&mut self, n_replies: usize, now: Now) {
        if n_replies > 0 {
            self.recording.appended(n_replies, now);
        }
    }

    /// The record has these replies of a root. Must follow an [`Effect::Recall`] at once.
    pub fn take_record(&mut self, root: &Path, replies: &[Reply]) {
        self.accounts.recorded(root, replies);
        self.publication.mark_changed();
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

/// What the client says in this read that the session has cost. The line has no time, but it is the
/// last one that the client appends.
fn client_costs(origin: &Origin, tail: &Tail, at_ms: i64) -> Vec<ClientCost> {
    let stated = origin.session.as_ref().zip(tail.facts.client_cost_usd);
    let stated = stated.map(|(session, usd)| ClientCost {
        session: Arc::clone(session),
        at_ms,
        cost: picodollars(usd),
    });
    stated.into_iter().collect()
}
