//! PURE. Old transcripts, whose replies are of no window any more: each is read once, for the
//! record, while nothing else is to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::transcripts::File;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::tail::{Cursor, Tail};
use crate::store::schema;
use crate::usage::entry::hash;
use crate::usage::reply::Origin;
use crate::watch::Stamp;

/// Which old transcripts are to be read for the record, and which were.
#[derive(Debug, Default)]
pub(super) struct Imports {
    waiting: BTreeMap<PathBuf, File>,
    /// How many bytes of them are to be read.
    n_bytes_left: u64,
    /// The files that are in the record already, by the hash of their path: a hash of their stamp.
    /// Paths of ten thousand files would take megabytes.
    taken: BTreeMap<u64, u64>,
    /// Those of `taken` that were seen since this process started. The others are gone, and not
    /// saved.
    seen: BTreeSet<u64>,
    /// What was read since the last time that nothing waited.
    n_files_done: u64,
    n_bytes_done: u64,
}

impl Imports {
    /// Whether an old transcript has to be read, which a listing showed.
    pub(super) fn is_due(&mut self, path: &Path, stamp: Stamp) -> bool {
        let file = hash(path.as_os_str());
        self.seen.insert(file);
        self.taken.get(&file) != Some(&hash_of(stamp))
    }

    /// This transcript waits for its read. It was in the state `stamp`.
    pub(super) fn insert(&mut self, path: &Path, mut file: File, stamp: Stamp) {
        if !self.waiting.contains_key(path) {
            file.stamp = Some(stamp);
            self.n_bytes_left += stamp.size;
            self.waiting.insert(path.to_owned(), file);
        }
    }

    /// The record has everything of this transcript in this state.
    pub(super) fn taken(&mut self, path: &Path, stamp: Stamp) {
        let file = hash(path.as_os_str());
        self.seen.insert(file);
        self.taken.insert(file, hash_of(stamp));
    }

    /// The record lacks something: all old transcripts are to be read again.
    pub(super) fn forget_taken(&mut self) {
        self.taken.clear();
    }

    /// The transcripts that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &PathBuf> {
        self.waiting.keys()
    }

    /// Where the next read of a transcript that waits begins: inner `None` for its beginning.
    #[expect(clippy::option_option, reason = "whether it waits, and where it was read to")]
    pub(super) fn resume_at(&self, path: &Path) -> Option<Option<Box<(Cursor, TranscriptFacts)>>> {
        let file = self.waiting.get(path)?;
        Some(file.cursor.clone().map(|cursor| Box::new((cursor, file.facts.clone()))))
    }

    /// A read ended. Returns the root, and what the lines have in common; `None` if the file does
    /// not wait any more.
    pub(super) fn read(&mut self, path: &Path, tail: &mut Tail) -> Option<(PathBuf, Origin)> {
        let file = self.waiting.get_mut(path)?;
        let n_bytes = tail.cursor.offset.saturating_sub(tail.began);
        self.n_bytes_done += n_bytes;
        self.n_bytes_left = self.n_bytes_left.saturating_sub(n_bytes);
        let (root, origin) = (file.root.clone(), file.origin(path, tail));
        file.cursor = Some(tail.cursor.clone());
        if tail.has_more {
            file.facts = std::mem::take(&mut tail.facts);
        } else {
            let stamp = file.stamp;
            self.forget(path);
            self.n_files_done += 1;
            stamp.inspect(|stamp| self.taken(path, *stamp));
        }
        self.reset_if_done();
        Some((root, origin))
    }

    /// A transcript is gone, or cannot be read.
    pub(super) fn forget(&mut self, path: &Path) {
        let Some(file) = self.waiting.remove(path) else { return };
        let offset = file.cursor.map_or(0, |cursor| cursor.offset);
        let size = file.stamp.map_or(0, |stamp| stamp.size);
        self.n_bytes_left = self.n_bytes_left.saturating_sub(size.saturating_sub(offset));
    }

    /// Forgets the transcripts of a root. Returns their paths.
    pub(super) fn drop_root(&mut self, root: &Path) -> Vec<PathBuf> {
        let of_root = self.waiting.iter().filter(|(_, file)| file.root == root);
        let paths: Vec<PathBuf> = of_root.map(|(path, _)| path.clone()).collect();
        paths.iter().for_each(|path| self.forget(path));
        self.reset_if_done();
        paths
    }

    fn reset_if_done(&mut self) {
        if self.waiting.is_empty() {
            (self.n_files_done, self.n_bytes_done, self.n_bytes_left) = (0, 0, 0);
        }
    }

    /// How far the import is; `None` if nothing waits.
    pub(super) fn progress(&self) -> Option<schema::Import> {
        (!self.waiting.is_empty()).then(|| schema::Import {
            files_done: self.n_files_done,
            files: self.n_files_done + self.waiting.len() as u64,
            bytes_done: self.n_bytes_done,
            bytes: self.n_bytes_done + self.n_bytes_left,
        })
    }

    // ---- The checkpoint

    /// The files that are in the record and still there, for the checkpoint.
    pub(super) fn saved(&self) -> Vec<(u64, u64)> {
        let there = self.taken.iter().filter(|(file, _)| self.seen.contains(file));
        there.map(|(file, state)| (*file, *state)).collect()
    }

    /// Restores what an earlier process had read.
    pub(super) fn restore(&mut self, saved: Vec<(u64, u64)>) {
        self.taken.extend(saved);
    }
}

/// The change time of the inode is left out: a backup that is restored changes it, and not what is
/// in the file.
fn hash_of(stamp: Stamp) -> u64 {
    hash(&(stamp.identity, stamp.size, stamp.modified_ms))
}
