//! PURE. The checkpoint, from which a restarted process goes on: how far each transcript was read,
//! and what was found in it up to there. What was used up to there is in the record.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::State;
use super::directories::Purpose;
use super::event::Effect;
use super::sessions::is_shown_since;
use super::transcripts::File;
use crate::fetch::claude;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::tail::Cursor;
use crate::store::record::Mark;
use crate::time::Now;
use crate::watch::Stamp;

/// The content of the checkpoint file. It may be taken at any moment, even before every transcript
/// was read: a transcript that it lacks is read from its beginning after the restart.
///
/// `T` is [`ReadSoFar`] when it is read. When it is written, `T` is a pair of references, since
/// copies for thousands of files would take megabytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint<'a, T> {
    /// How much of the record's journal had been written. Without that part, all transcripts must
    /// be read again. `None` where something could not be written.
    pub mark: Option<Mark>,
    /// The old transcripts that are in the record, see [`Imports::saved`](super::imports::Imports).
    imported: Vec<(u64, u64)>,
    roots: Vec<SavedRoot<'a, T>>,
}

/// How far a transcript was read, and what was found up to there.
pub type ReadSoFar = (Cursor, TranscriptFacts);

#[derive(Debug, Serialize, Deserialize)]
struct SavedRoot<'a, T> {
    path: Cow<'a, str>,
    files: Vec<SavedFile<'a, T>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFile<'a, T> {
    path: Cow<'a, str>,
    stamp: Option<Stamp>,
    found: T,
}

impl State {
    /// The checkpoint of all that was read so far. `mark` is how much of the record was written.
    pub fn checkpoint(&self, mark: Option<Mark>) -> Checkpoint<'_, (&Cursor, &TranscriptFacts)> {
        let files = |root: &Path| {
            let saved = self.transcripts.of_root(root).filter_map(|(path, file)| {
                Some(SavedFile {
                    path: path.to_str()?.into(),
                    stamp: file.stamp,
                    found: (file.cursor.as_ref()?, &file.facts),
                })
            });
            saved.collect()
        };
        let roots = self
            .accounts
            .roots()
            .filter_map(|path| Some(SavedRoot { path: path.to_str()?.into(), files: files(path) }));
        Checkpoint { mark, imported: self.imports.saved(), roots: roots.collect() }
    }

    /// The first directories to list, by the checkpoint of an earlier process: the folders of the
    /// transcripts that it read. The watch thread lists them while [`State::restore`] runs, which
    /// takes about as long.
    pub fn looks_before_restore(&mut self, checkpoint: &Checkpoint<'_, ReadSoFar>) -> Vec<Effect> {
        for saved in &checkpoint.roots {
            let root = Path::new(&*saved.path);
            if !self.accounts.contains(root) {
                continue;
            }
            let folders = saved.files.iter().filter_map(|file| {
                let mut folders = Path::new(&*file.path).ancestors();
                folders.find(|folder| folder.parent().and_then(Path::parent) == Some(root))
            });
            // A folder that is gone must be listed too: the listing of `projects` does not show
            // that it existed.
            for folder in folders.map(Path::as_os_str).collect::<BTreeSet<_>>() {
                let purpose = Purpose::Project { root: root.to_owned() };
                self.directories.observe_in_turn(Path::new(folder), purpose);
            }
        }
        let looks = self.directories.take_looks();
        self.effects.extend(looks);
        std::mem::take(&mut self.effects)
    }

    /// Restores what an earlier process had read. Must be called before the first event.
    pub fn restore(&mut self, checkpoint: Checkpoint<'_, ReadSoFar>, now: Now) -> Vec<Effect> {
        self.imports.restore(checkpoint.imported);
        for saved in checkpoint.roots {
            let root = Path::new(&*saved.path);
            for file in saved.files {
                self.restore_file(root, file, now);
            }
        }
        self.forget_messages();
        std::mem::take(&mut self.effects)
    }

    fn restore_file(&mut self, root: &Path, saved: SavedFile<'_, ReadSoFar>, now: Now) {
        let path = Path::new(&*saved.path);
        let Some(kind) = claude::layout::classify(root, path) else { return };
        if !self.accounts.contains(root) {
            return;
        }
        let (cursor, facts) = saved.found;
        let file = File::new(root, kind).restored(saved.stamp, cursor, facts, now);
        let is_known = || file.key().is_some_and(|key| self.sessions.get(&key).is_some());
        if file.is_old(now) && !is_known() {
            file.stamp.inspect(|stamp| self.imports.taken(path, *stamp));
            return;
        }
        self.accounts.add_skipped_lines(root, file.facts.skipped_lines);
        let appended_ms = file.appended_ms(now);
        self.transcripts.insert(path, file);
        let key = self.join_session(path, appended_ms);
        // Older sessions are neither live nor in snapshots.
        if let Some(key) = key.filter(|_| is_shown_since(appended_ms, now)) {
            self.refresh_session(&key, now);
        }
    }
}
