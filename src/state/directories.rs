//! PURE. Which directories are observed, for what, and when they are listed again.
//!
//! **Invariant:** a directory is watched while it has a purpose, and one that was removed or
//! replaced, or lost one of its names, is listed again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::event::Effect;
use super::sources::{GIVE_UP_AFTER, degraded_by_hang};
use super::text;
use crate::store::schema::{Degraded, SessionId};
use crate::time::Now;
use crate::watch::{Found, Listing, Look};

/// A storm of events overflows the queue again and again; once a second is enough to keep up.
const RESCAN_SPACING: Duration = Duration::from_secs(1);
/// Directories without events are listed this often while a session lives …
const POLL_LIVE: Duration = Duration::from_secs(2);
/// … and this often without one.
const POLL_IDLE: Duration = Duration::from_secs(30);

/// Why a directory is observed. Its scope is part of it, so a change there can only concern that
/// scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// This path is missing, and has to appear here first.
    Await(PathBuf),
    /// A config root.
    Root,
    /// A root's `projects`.
    Projects { root: PathBuf },
    /// A folder of transcripts.
    Project { root: PathBuf },
    /// A live session's folder, or one below it.
    Agents { root: PathBuf, session: SessionId },
    /// A root's `sessions`: one file for each process of the client.
    Processes { root: PathBuf },
    /// A directory inside `.git`, of this working tree.
    Git { top: PathBuf },
    /// The working directory of a live session that is in no repository, or its broken `.git`.
    NoRepo { cwd: PathBuf },
    /// The directory in which `--oneshot` runs leave their cookies.
    Cookies,
    /// The directory of the configuration, or one that a link to it leads through.
    Config,
}

/// The observed directories.
#[derive(Debug)]
pub(super) struct Directories {
    /// When this process started, in Unix milliseconds.
    started_ms: i64,
    dirs: BTreeMap<PathBuf, Directory>,
    /// The kernel reports a directory under one name, the one that was watched last, however many
    /// names lead to it. When any of them is left or lost, it reports nothing any more.
    by_identity: BTreeMap<(u64, u64), BTreeSet<PathBuf>>,
    /// Looks whose listing has not come back.
    outstanding: usize,
    /// When the oldest of them was asked for, as far as is known: since then there was always one.
    looking_since: Option<Instant>,
    /// When the directories without events are listed next.
    poll_at: Option<Instant>,
    /// Events were lost: when everything is listed again for that.
    rescan_at: Option<Instant>,
    last_rescan: Option<Instant>,
}

#[derive(Debug, Default)]
struct Directory {
    purposes: BTreeSet<Purpose>,
    identity: Option<(u64, u64)>,
    /// Why the kernel does not report changes here.
    unarmed: Option<String>,
    /// Why it cannot be listed.
    unreadable: Option<String>,
    /// Looks whose listing has not come back.
    looks: usize,
}

impl Directories {
    /// Nothing is observed yet.
    pub(super) fn new(now: Now) -> Directories {
        Directories {
            started_ms: now.wall_ms,
            dirs: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            outstanding: 0,
            looking_since: None,
            poll_at: None,
            rescan_at: None,
            last_rescan: None,
        }
    }

    /// Observes `dir` for one purpose more. The look that follows lists it, unless it was
    /// observed for that already.
    pub(super) fn observe(&mut self, dir: &Path, purpose: Purpose) -> Option<Effect> {
        let directory = self.dirs.entry(dir.to_owned()).or_default();
        directory.purposes.insert(purpose).then(|| self.look(dir))
    }

    /// Looks at an observed directory again.
    pub(super) fn look(&mut self, dir: &Path) -> Effect {
        self.outstanding += 1;
        let mut deep = false;
        if let Some(directory) = self.dirs.get_mut(dir) {
            directory.looks += 1;
            deep = directory.purposes.iter().any(|it| matches!(it, Purpose::Project { .. }));
        }
        Effect::Look(Look { dir: dir.to_owned(), deep })
    }

    /// Looks at every observed directory of which `which` says yes.
    pub(super) fn look_at_all(&mut self, which: impl Fn(&Purpose) -> bool) -> Vec<Effect> {
        let wanted = |directory: &Directory| directory.purposes.iter().any(&which);
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

    /// Whether any listing is still awaited.
    pub(super) fn is_looking(&self) -> bool {
        self.outstanding > 0
    }

    /// Notes the time of the event that was just taken in, for [`Directories::is_hung`].
    pub(super) fn note_time(&mut self, now: Instant) {
        let since = self.looking_since.unwrap_or(now);
        self.looking_since = self.is_looking().then_some(since);
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

    /// Plans the next poll, where a directory has to be polled. While a session lives it comes
    /// sooner.
    pub(super) fn schedule_poll(&mut self, is_live: bool, now: Instant) {
        if self.unwatched().next().is_none() {
            return;
        }
        let wait = if is_live { POLL_LIVE } else { POLL_IDLE };
        self.poll_at.get_or_insert(now + wait);
    }

    /// A session began: the next poll, if any, comes no later than it does while one lives.
    pub(super) fn hurry_poll(&mut self, now: Instant) {
        self.poll_at = self.poll_at.map(|at| at.min(now + POLL_LIVE));
    }

    /// When [`Directories::poll`] is due.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.poll_at
    }

    /// Looks at the directories without events. The next poll is planned when their listings come.
    pub(super) fn poll(&mut self) -> Vec<Effect> {
        self.poll_at = None;
        self.look_at_unwatched()
    }

    /// Events were lost: plans a rescan, at once or when the last one is long enough ago.
    pub(super) fn events_lost(&mut self, now: Instant) {
        let rested = self.last_rescan.map(|at| at + RESCAN_SPACING);
        self.rescan_at = Some(rested.map_or(now, |at| at.max(now)));
    }

    /// When [`Directories::rescan`] is due.
    pub(super) fn rescan_at(&self) -> Option<Instant> {
        self.rescan_at
    }

    /// Drops every watch and looks at everything: after an overflow notify no longer knows what it
    /// watches.
    pub(super) fn rescan(&mut self, now: Instant) -> Vec<Effect> {
        (self.rescan_at, self.last_rescan) = (None, Some(now));
        let mut effects = vec![Effect::Rebuild];
        effects.extend(self.look_at_all(|_| true));
        effects
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
        self.dirs.retain(|dir, directory| {
            directory.purposes.retain(|it| !which(dir, it));
            let keep = !directory.purposes.is_empty();
            if !keep {
                effects.push(Effect::Leave(dir.clone()));
                identities.extend(directory.identity.map(|it| (it, dir.clone())));
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
        let Some(directory) = self.dirs.remove(dir) else { return Vec::new() };
        let mut effects = vec![Effect::Leave(dir.to_owned())];
        if let Some(identity) = directory.identity {
            self.forget_identity(identity, dir);
            effects.extend(self.look_at_names(identity));
        }
        effects
    }

    /// Takes in a listing. Returns what the directory is observed for, or nothing where it is not
    /// observed any more; and looks at what is not watched any more, for what it said.
    pub(super) fn listed(&mut self, listing: &Listing) -> (Vec<Purpose>, Vec<Effect>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let Some(directory) = self.dirs.get_mut(&listing.dir) else {
            // It was left before it was known which one it is.
            let looks = match &listing.found {
                Found::Dir { identity, .. } => self.look_at_names(*identity),
                _ => Vec::new(),
            };
            return (Vec::new(), looks);
        };
        directory.looks = directory.looks.saturating_sub(1);
        let before = directory.identity;
        (directory.identity, directory.unarmed, directory.unreadable) = match &listing.found {
            Found::Dir { identity, unarmed, .. } => (Some(*identity), unarmed.clone(), None),
            Found::Unreadable(reason) => (None, None, Some(reason.clone())),
            Found::Missing { .. } | Found::NotADirectory => (None, None, None),
        };
        let (now, purposes) = (directory.identity, directory.purposes.iter().cloned().collect());
        let mut looks = Vec::new();
        if before != now {
            if let Some(identity) = before {
                self.forget_identity(identity, &listing.dir);
                looks = self.look_at_names(identity);
                // What was below went with it, and its watches still tell of it by the old names.
                looks.extend(self.look_below(&listing.dir));
            }
            if let Some(identity) = now {
                self.by_identity.entry(identity).or_default().insert(listing.dir.clone());
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
        let Some(directory) = self.dirs.get(parent) else { return Vec::new() };
        let aliases = directory.identity.and_then(|it| self.by_identity.get(&it));
        let mut concerns = Vec::new();
        let mut add = |dir: &Path, directory: &Directory| {
            let purposes = directory.purposes.iter();
            concerns.extend(purposes.map(|it| (dir.join(name), it.clone())));
        };
        match aliases {
            None => add(parent, directory),
            Some(aliases) => {
                for dir in aliases {
                    if let Some(directory) = self.dirs.get(dir) {
                        add(dir, directory);
                    }
                }
            }
        }
        concerns
    }

    /// What cannot be listed, as snapshots say it: file systems that do not answer, and directories
    /// that cannot be read.
    pub(super) fn degraded(&self, now: Now) -> impl Iterator<Item = Degraded> {
        let is_hung = |since: &Instant| *since + GIVE_UP_AFTER <= now.mono;
        let hung = self.looking_since.filter(is_hung);
        let unreadable =
            self.dirs.iter().filter_map(|(dir, it)| Some((dir, it.unreadable.as_ref()?)));
        let unreadable = unreadable.map(|(dir, reason)| Degraded {
            source: format!("watch:{}", text::of(dir)),
            since_ms: self.started_ms,
            reason: reason.clone(),
            next_try_ms: None,
        });
        hung.map(move |since| degraded_by_hang("watch".to_owned(), since, now))
            .into_iter()
            .chain(unreadable)
    }

    /// Whether a listing has not come back for so long that nothing can be said to be up to date.
    pub(super) fn is_hung(&self, now: Now) -> bool {
        self.looking_since.is_some_and(|since| since + GIVE_UP_AFTER <= now.mono)
    }

    /// Directories without events, with the reason.
    pub(super) fn unarmed(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.dirs.iter().filter_map(|(dir, it)| Some((dir.as_path(), it.unarmed.as_deref()?)))
    }
}
