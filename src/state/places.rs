//! PURE. Where sessions work whose line is shown, and the reverse: who works in a directory or in a
//! working tree. It does not know what a session is: the type of its key is a parameter.
//!
//! Thousands of sessions may be known, and hundreds may be live. Most events concern one directory,
//! and must not cost a look at every session.
//!
//! **Invariant:** a directory or working tree is in the indexes as long as a session works there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The sessions whose line is shown, by where they work.
#[derive(Debug)]
pub(super) struct Places<K> {
    places: BTreeMap<K, Place>,
    by_dir: BTreeMap<PathBuf, BTreeSet<K>>,
    by_repo: BTreeMap<PathBuf, BTreeSet<K>>,
    left: Left,
}

/// Where one session works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: Option<PathBuf>,
    /// The top directory of the working tree around `dir`.
    pub(super) repo: Option<PathBuf>,
}

/// Directories and top directories of working trees that the last session left. Others may have
/// come since.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) repos: BTreeSet<PathBuf>,
}

// Not derived: that would require a default of `K`.
impl<K> Default for Places<K> {
    fn default() -> Places<K> {
        Places {
            places: BTreeMap::new(),
            by_dir: BTreeMap::new(),
            by_repo: BTreeMap::new(),
            left: Left::default(),
        }
    }
}

impl<K: Ord + Clone> Places<K> {
    /// Notes where a session works; `None` if its line is not shown.
    pub(super) fn set(&mut self, key: &K, place: Option<Place>) {
        if self.places.get(key) == place.as_ref() {
            return;
        }
        if let Some(Place { dir, repo }) = self.places.remove(key) {
            remove(&mut self.by_dir, dir, key, &mut self.left.dirs);
            remove(&mut self.by_repo, repo, key, &mut self.left.repos);
        }
        if let Some(place) = place {
            add(&mut self.by_dir, place.dir.as_ref(), key);
            add(&mut self.by_repo, place.repo.as_ref(), key);
            self.places.insert(key.clone(), place);
        }
    }

    /// All sessions whose line is shown.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.keys()
    }

    /// Those that work in this directory.
    pub(super) fn in_dir(&self, dir: &Path) -> impl Iterator<Item = &K> {
        self.by_dir.get(dir).into_iter().flatten()
    }

    /// Those that work in this working tree.
    pub(super) fn in_repo(&self, top: &Path) -> impl Iterator<Item = &K> {
        self.by_repo.get(top).into_iter().flatten()
    }

    /// What was left since the last call.
    pub(super) fn take_left(&mut self) -> Left {
        std::mem::take(&mut self.left)
    }
}

fn add<K: Ord + Clone>(index: &mut BTreeMap<PathBuf, BTreeSet<K>>, at: Option<&PathBuf>, key: &K) {
    if let Some(at) = at {
        index.entry(at.clone()).or_default().insert(key.clone());
    }
}

fn remove<K: Ord>(
    index: &mut BTreeMap<PathBuf, BTreeSet<K>>,
    at: Option<PathBuf>,
    key: &K,
    left: &mut BTreeSet<PathBuf>,
) {
    let Some(at) = at else { return };
    let Some(keys) = index.get_mut(&at) else { return };
    keys.remove(key);
    if keys.is_empty() {
        index.remove(&at);
        left.insert(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_dir() -> impl Strategy<Value = Option<PathBuf>> {
        proptest::option::of((0..3_u8).prop_map(|n| PathBuf::from(format!("/w/{n}"))))
    }

    fn any_place() -> impl Strategy<Value = Option<Place>> {
        proptest::option::of((any_dir(), any_dir()).prop_map(|(dir, repo)| Place { dir, repo }))
    }

    fn dirs(places: &BTreeMap<u8, Place>, of: fn(&Place) -> &Option<PathBuf>) -> BTreeSet<PathBuf> {
        places.values().filter_map(|it| of(it).clone()).collect()
    }

    proptest! {
        #[test]
        fn the_indexes_say_what_a_look_at_every_session_says(
            changes in proptest::collection::vec((0..5_u8, any_place()), 0..40),
        ) {
            let (mut places, mut known) = (Places::default(), BTreeMap::new());
            let (mut met_dirs, mut met_repos) = (BTreeSet::new(), BTreeSet::new());
            for (key, place) in changes {
                places.set(&key, place.clone());
                known.remove(&key);
                known.extend(place.map(|place| (key, place)));
                met_dirs.extend(dirs(&known, |it| &it.dir));
                met_repos.extend(dirs(&known, |it| &it.repo));
            }
            prop_assert!(places.keys().eq(known.keys()));
            for dir in (0..3).map(|n| PathBuf::from(format!("/w/{n}"))) {
                let at = Some(dir.clone());
                let here = known.iter().filter(|(_, it)| it.dir == at).map(|(key, _)| key);
                prop_assert!(places.in_dir(&dir).eq(here));
                let here = known.iter().filter(|(_, it)| it.repo == at).map(|(key, _)| key);
                prop_assert!(places.in_repo(&dir).eq(here));
            }
            let (dirs_now, repos_now) = (dirs(&known, |it| &it.dir), dirs(&known, |it| &it.repo));
            prop_assert_eq!(places.by_dir.len(), dirs_now.len());
            prop_assert_eq!(places.by_repo.len(), repos_now.len());
            // What sessions once worked in and no longer do was left. More may have been.
            let left = places.take_left();
            prop_assert!(met_dirs.difference(&dirs_now).all(|it| left.dirs.contains(it)));
            prop_assert!(met_repos.difference(&repos_now).all(|it| left.repos.contains(it)));
            prop_assert_eq!(places.take_left(), Left::default());
        }
    }
}
