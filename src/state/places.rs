//! PURE. Which directories are observed, and what for.
//!
//! **Invariant:** a directory is watched while it has a purpose, and one that was removed or
//! replaced, or lost one of its names, is looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Effect;
use crate::store::schema::SessionId;
use crate::watch::{Found, Listing, Look};

/// Why a directory is observed. Its scope is part of it, so what happens there can concern nobody
/// else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// This path is missing, and will have to appear here first.
    Await(PathBuf),
    /// A config root.
    Root,
    /// A root's `projects`.
    Projects { root: PathBuf },
    /// A folder of transcripts.
    Project { root: PathBuf },
    /// A live session's folder, or one below it.
    Agents { root: PathBuf, session: SessionId },
    /// A root's `sessions`: one file a process.
    Processes { root: PathBuf },
    /// A directory of git's, of this working tree.
    Git { top: PathBuf },
    /// Where a live session works, or its broken `.git`, while it has no repository.
    NoRepo { cwd: PathBuf },
    /// Where `--oneshot` leaves its cookies.
    Cookies,
    /// Where the configuration is, or where a link to it leads.
    Config,
}

/// The observed directories.
#[derive(Debug, Default)]
pub(super) struct Places {
    dirs: BTreeMap<PathBuf, Place>,
    /// The kernel reports one directory under one name, whichever was watched last, however many
    /// names lead there. When any of them is left or lost, it reports nothing any more.
    by_identity: BTreeMap<(u64, u64), BTreeSet<PathBuf>>,
    /// Looks whose listing has not come back.
    pub(super) outstanding: usize,
}

#[derive(Debug, Default)]
struct Place {
    purposes: BTreeSet<Purpose>,
    identity: Option<(u64, u64)>,
    /// Why the kernel does not report changes here.
    unarmed: Option<String>,
    /// Why it cannot be listed.
    unreadable: Option<String>,
    /// Looks whose listing has not come back.
    looks: usize,
}

impl Places {
    /// Observes `dir` for one purpose more. The look that follows lists it, unless it was
    /// observed for that already.
    pub(super) fn observe(&mut self, dir: &Path, purpose: Purpose) -> Option<Effect> {
        let place = self.dirs.entry(dir.to_owned()).or_default();
        place.purposes.insert(purpose).then(|| self.look(dir))
    }

    /// Looks at an observed directory again.
    pub(super) fn look(&mut self, dir: &Path) -> Effect {
        self.outstanding += 1;
        let mut deep = false;
        if let Some(place) = self.dirs.get_mut(dir) {
            place.looks += 1;
            deep = place.purposes.iter().any(|it| matches!(it, Purpose::Project { .. }));
        }
        Effect::Look(Look { dir: dir.to_owned(), deep })
    }

    /// Looks at every observed directory of which `which` says yes.
    pub(super) fn look_at_all(&mut self, which: impl Fn(&Purpose) -> bool) -> Vec<Effect> {
        let wanted = |place: &Place| place.purposes.iter().any(&which);
        let dirs: Vec<_> =
            self.dirs.iter().filter(|(_, it)| wanted(it)).map(|(dir, _)| dir.clone()).collect();
        dirs.iter().map(|it| self.look(it)).collect()
    }

    /// Looks at every observed directory below `dir`.
    fn look_below(&mut self, dir: &Path) -> Vec<Effect> {
        let below = self.dirs.range(dir.to_owned()..).map(|it| it.0);
        let below: Vec<_> =
            below.take_while(|it| it.starts_with(dir)).filter(|it| *it != dir).cloned().collect();
        below.iter().map(|it| self.look(it)).collect()
    }

    /// Looks at a directory under every name that it is observed by.
    fn look_at_names(&mut self, identity: (u64, u64)) -> Vec<Effect> {
        let names = self.by_identity.get(&identity).cloned().unwrap_or_default();
        names.iter().map(|it| self.look(it)).collect()
    }

    /// Whether a look at an observed directory has not come back, so that what is known is old.
    pub(super) fn is_looked_at(&self, dir: &Path) -> bool {
        self.dirs.get(dir).is_some_and(|it| it.looks > 0)
    }

    /// Looks at the directories without events, or which could not be read.
    pub(super) fn look_at_unwatched(&mut self) -> Vec<Effect> {
        let dirs: Vec<_> = self.unwatched().map(Path::to_owned).collect();
        dirs.iter().map(|it| self.look(it)).collect()
    }

    /// Whether there are any.
    pub(super) fn has_unwatched(&self) -> bool {
        self.unwatched().next().is_some()
    }

    fn unwatched(&self) -> impl Iterator<Item = &Path> {
        let dirs =
            self.dirs.iter().filter(|(_, it)| it.unarmed.is_some() || it.unreadable.is_some());
        dirs.map(|it| it.0.as_path())
    }

    /// Drops the purposes of which `which` says yes, and stops watching where none is left.
    pub(super) fn leave(&mut self, which: impl Fn(&Path, &Purpose) -> bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut identities = Vec::new();
        self.dirs.retain(|dir, place| {
            place.purposes.retain(|it| !which(dir, it));
            let keep = !place.purposes.is_empty();
            if !keep {
                effects.push(Effect::Leave(dir.clone()));
                identities.extend(place.identity.map(|it| (it, dir.clone())));
            }
            keep
        });
        for (identity, dir) in &identities {
            self.forget_identity(*identity, dir);
        }
        for identity in identities.into_iter().map(|it| it.0).collect::<BTreeSet<_>>() {
            effects.extend(self.look_at_names(identity));
        }
        effects
    }

    /// Stops watching one directory.
    pub(super) fn leave_dir(&mut self, dir: &Path) -> Vec<Effect> {
        let Some(place) = self.dirs.remove(dir) else { return Vec::new() };
        let mut effects = vec![Effect::Leave(dir.to_owned())];
        if let Some(it) = place.identity {
            self.forget_identity(it, dir);
            effects.extend(self.look_at_names(it));
        }
        effects
    }

    /// Takes in a listing. Returns what the directory is observed for, or nothing where it is not
    /// observed any more; and looks at what is not watched any more, for what it said.
    pub(super) fn listed(&mut self, listing: &Listing) -> (Vec<Purpose>, Vec<Effect>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let Some(place) = self.dirs.get_mut(&listing.dir) else {
            // It was left before it was known which one it is.
            let looks = match &listing.found {
                Found::Dir { identity, .. } => self.look_at_names(*identity),
                _ => Vec::new(),
            };
            return (Vec::new(), looks);
        };
        place.looks = place.looks.saturating_sub(1);
        let before = place.identity;
        (place.identity, place.unarmed, place.unreadable) = match &listing.found {
            Found::Dir { identity, unarmed, .. } => (Some(*identity), unarmed.clone(), None),
            Found::Unreadable(reason) => (None, None, Some(reason.clone())),
            Found::Missing { .. } | Found::NotADirectory => (None, None, None),
        };
        let (now, purposes) = (place.identity, place.purposes.iter().cloned().collect());
        let mut looks = Vec::new();
        if before != now {
            if let Some(it) = before {
                self.forget_identity(it, &listing.dir);
                looks = self.look_at_names(it);
                // What was below went with it, and its watches still tell of it by the old names.
                looks.extend(self.look_below(&listing.dir));
            }
            if let Some(it) = now {
                self.by_identity.entry(it).or_default().insert(listing.dir.clone());
            }
        }
        (purposes, looks)
    }

    fn forget_identity(&mut self, identity: (u64, u64), dir: &Path) {
        if let Some(names) = self.by_identity.get_mut(&identity) {
            names.remove(dir);
            if names.is_empty() {
                self.by_identity.remove(&identity);
            }
        }
    }

    /// Whether an observed directory is there, as far as the last look told.
    pub(super) fn is_there(&self, dir: &Path) -> bool {
        self.dirs.get(dir).is_some_and(|it| it.identity.is_some())
    }

    /// Whether a path is itself an observed directory.
    pub(super) fn contains(&self, dir: &Path) -> bool {
        self.dirs.contains_key(dir)
    }

    /// The names of what changed at `path`, under each name of its directory, with what that is
    /// observed for.
    pub(super) fn concerns(&self, path: &Path) -> Vec<(PathBuf, Purpose)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Vec::new();
        };
        let Some(place) = self.dirs.get(parent) else { return Vec::new() };
        let aliases = place.identity.and_then(|it| self.by_identity.get(&it));
        let mut concerns = Vec::new();
        let mut add = |dir: &Path, place: &Place| {
            let purposes = place.purposes.iter();
            concerns.extend(purposes.map(|it| (dir.join(name), it.clone())));
        };
        match aliases {
            None => add(parent, place),
            Some(aliases) => {
                for dir in aliases {
                    if let Some(place) = self.dirs.get(dir) {
                        add(dir, place);
                    }
                }
            }
        }
        concerns
    }

    /// Directories that cannot be read, with the reason.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.dirs.iter().filter_map(|(dir, it)| Some((dir.as_path(), it.unreadable.as_deref()?)))
    }

    /// Directories without events, with the reason.
    pub(super) fn unarmed(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.dirs.iter().filter_map(|(dir, it)| Some((dir.as_path(), it.unarmed.as_deref()?)))
    }
}
