//! PURE. What is kept over a restart: how far each transcript was read, and what was found in it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::places::Purpose;
use super::report::SHOWN_MS;
use super::transcripts::{File, session_of};
use super::{Effect, State};
use crate::fetch::claude;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::tail::Cursor;
use crate::time::Now;
use crate::usage::ledger::{Ledger, REACH_MS};
use crate::usage::prices::Prices;
use crate::watch::Stamp;

/// See the module. A file of which it does not know is read from its beginning, so it may be taken
/// at any moment.
///
/// `T` is [`Found`], or what is written in its place: references, since thousands of files have
/// megabytes of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint<'a, T> {
    /// The ledger keeps costs, which are those of these prices.
    prices: u64,
    roots: Vec<SavedRoot<'a, T>>,
}

/// How far a transcript was read, and what it says up to there.
pub(super) type Found = (Cursor, TranscriptFacts);

#[derive(Debug, Serialize, Deserialize)]
struct SavedRoot<'a, T> {
    path: Cow<'a, str>,
    ledger: Cow<'a, Ledger>,
    files: Vec<SavedFile<'a, T>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFile<'a, T> {
    path: Cow<'a, str>,
    stamp: Option<Stamp>,
    found: T,
}

impl State {
    /// What a later process can go on from. Nothing is due to be kept then.
    pub fn checkpoint(&mut self) -> Checkpoint<'_, (&Cursor, &TranscriptFacts)> {
        self.unsaved = None;
        let files = |root: &Path| {
            let files = self.files.iter().filter(|(_, it)| it.root == root);
            let saved = files.filter_map(|(path, it)| {
                Some(SavedFile {
                    path: path.to_str()?.into(),
                    stamp: it.stamp,
                    found: (it.cursor.as_ref()?, &it.facts),
                })
            });
            saved.collect()
        };
        let roots = self.roots.iter().filter_map(|(path, it)| {
            Some(SavedRoot {
                path: path.to_str()?.into(),
                ledger: Cow::Borrowed(&it.ledger),
                files: files(path),
            })
        });
        Checkpoint { prices: fingerprint(&self.settings.prices), roots: roots.collect() }
    }

    /// Whether a checkpoint would say something new.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    /// The first looks that follow from what an earlier process kept; they take about as long as
    /// taking over the rest.
    pub fn foresee(&mut self, checkpoint: &Checkpoint<'_, Found>) -> Vec<Effect> {
        for saved in &checkpoint.roots {
            let root = Path::new(&*saved.path);
            if !self.roots.contains_key(root) {
                continue;
            }
            let folders = saved.files.iter().filter_map(|it| {
                let mut folders = Path::new(&*it.path).ancestors();
                folders.find(|it| it.parent().and_then(Path::parent) == Some(root))
            });
            // One of them may be gone meanwhile, and no listing of another one says so.
            for folder in folders.map(Path::as_os_str).collect::<BTreeSet<_>>() {
                self.observe(Path::new(folder), Purpose::Project { root: root.to_owned() });
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// Goes on from what an earlier process kept. To be called before anything was read.
    pub fn restore(&mut self, checkpoint: Checkpoint<'_, Found>, now: Now) -> Vec<Effect> {
        if checkpoint.prices == fingerprint(&self.settings.prices) {
            for saved in checkpoint.roots {
                self.restore_root(saved, now);
            }
        }
        self.forget_messages();
        std::mem::take(&mut self.effects)
    }

    fn restore_root(&mut self, saved: SavedRoot<'_, Found>, now: Now) {
        let path = Path::new(&*saved.path);
        let Some(root) = self.roots.get_mut(path) else { return };
        if saved.ledger.is_ahead(now.wall_ms) {
            return;
        }
        root.ledger = saved.ledger.into_owned().restored(self.settings.prices.clone());
        root.ledger.forget_before(now.wall_ms - REACH_MS);
        for file in saved.files {
            self.restore_file(path, file, now);
        }
    }

    fn restore_file(&mut self, root_path: &Path, saved: SavedFile<'_, Found>, now: Now) {
        let path = Path::new(&*saved.path);
        let Some(place) = claude::layout::classify(root_path, path) else { return };
        let Some(root) = self.roots.get_mut(root_path) else { return };
        let (cursor, facts) = saved.found;
        let mut file = File::new(&mut root.ledger, root_path, path, place);
        file.session = file.session.or_else(|| session_of(&facts));
        file.stamp = saved.stamp;
        if file.is_old(now) && !file.key().is_some_and(|it| self.sessions.contains_key(&it)) {
            root.ledger.retire_file(file.id);
            return;
        }
        root.skipped_lines += facts.skipped_lines;
        file.cursor = Some(cursor);
        file.facts = facts.not_after(now.wall_ms);
        let grew_ms = file.stamp.map_or(0, |it| it.modified_ms);
        let grew_ms = grew_ms.min(file.facts.last_line_ms.unwrap_or(i64::MAX)).min(now.wall_ms);
        self.files.insert(path.into(), file);
        let key = self.join_session(path, grew_ms);
        // The others neither live nor show.
        if let Some(key) = key.filter(|_| now.wall_ms - grew_ms < SHOWN_MS) {
            self.refresh_session(&key, now);
        }
    }
}

fn fingerprint(prices: &Prices) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{prices:?}").hash(&mut hasher);
    hasher.finish()
}
