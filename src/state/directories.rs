//! PURE. Which directories are observed, for which purposes, and when they are listed again.
//!
//! To observe a directory means to watch it (with inotify or the system's like) and to list it:
//! once at first, and again whenever events may have been missed. A look is the request for both.
//!
//! **Invariant:** a directory is observed as long as it has a purpose. It is looked at again after
//! it was removed or replaced, and after one of several paths to it is no longer observed.
//!
//! There may be tens of thousands of directories, and a listing of each. What one listing, or the
//! end of one session, concerns is therefore found in indexes, not by a look at all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::event::Effect;
use super::sources::{GIVE_UP_AFTER, degraded_by_hang};
use super::text;
use crate::fetch::claude::layout::MAX_DEPTH;
use crate::store::schema::{Degraded, SessionId};
use crate::time::Now;
use crate::watch::{Found, Listing, Look};

/// The shortest time between two rescans. When very many files change, the queue of events may
/// overflow again and again.
const RESCAN_SPACING: Duration = Duration::from_secs(1);
/// How often directories in which the kernel reports no changes are listed while a session is live.
const POLL_LIVE: Duration = Duration::from_secs(2);
/// The same while no session is live.
const POLL_IDLE: Duration = Duration::from_secs(30);

/// How many looks may be outstanding when one more at a folder of transcripts is requested. A look
/// takes a tenth of a millisecond, so one that cannot wait comes after 50 ms, and not after looks
/// at all of 50,000 folders.
const MAX_LOOKS: usize = 512;

/// Why a directory is observed. It names the config root, session or working tree to which a change
/// in the directory belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// This path does not exist. It, or the next directory on the way to it, will be created here.
    Await(PathBuf),
    /// A config root.
    Root,
    /// A config root's `projects`: one folder of transcripts for each project.
    Projects { root: PathBuf },
    /// A folder of transcripts, in `projects`.
    Project { root: PathBuf },
    /// The folder of a live session, or one below it, where transcripts of its subagents may be.
    Agents { root: PathBuf, session: SessionId },
    /// A config root's `sessions`: one file for each process of Claude Code.
    Processes { root: PathBuf },
    /// The folder of the background job that the process with this file works on.
    BackgroundJob { process: PathBuf },
    /// A directory inside the `.git` of the working tree with this top directory.
    Git { top: PathBuf },
    /// The working directory of a live session that is in no repository, or a `.git` there that is
    /// no repository (yet).
    NoRepo { cwd: PathBuf },
    /// The directory in which `--oneshot` runs leave their cookies.
    Cookies,
    /// The directory of the configuration file, or of a file that a symbolic link to it leads
    /// through.
    Config,
    /// The directory of a file that a command waits for.
    Trigger,
}

impl Purpose {
    /// Whether `dir`, which is observed for this purpose, belongs to one of these config roots.
    fn is_in(&self, roots: &BTreeSet<PathBuf>, dir: &Path) -> bool {
        match self {
            Purpose::Root => roots.contains(dir),
            Purpose::Projects { root }
            | Purpose::Project { root }
            | Purpose::Agents { root, .. }
            | Purpose::Processes { root } => roots.contains(root),
            Purpose::BackgroundJob { process } => {
                process.ancestors().nth(2).is_some_and(|root| roots.contains(root))
            }
            Purpose::Await(_)
            | Purpose::Git { .. }
            | Purpose::NoRepo { .. }
            | Purpose::Cookies
            | Purpose::Config
            | Purpose::Trigger => false,
        }
    }
}

/// The observed directories.
#[derive(Debug)]
pub(super) struct Directories {
    /// When this process started, in Unix milliseconds.
    started_ms: i64,
    dirs: BTreeMap<PathBuf, Directory>,
    /// Config roots that only hints named. No link leads out of them, since whoever sent the hint
    /// may have made it.
    brought: BTreeSet<PathBuf>,
    /// The reverse of `dirs`: the directories that are observed for each purpose.
    by_purpose: BTreeMap<Purpose, BTreeSet<PathBuf>>,
    /// The directories in which the kernel reports no changes, and those that cannot be read.
    unwatched: BTreeSet<PathBuf>,
    /// By directory: what its last listing passed over below it, with the reasons. Hardly any
    /// directory has such.
    incomplete: BTreeMap<PathBuf, Vec<(PathBuf, String)>>,
    /// The observed paths of each directory, by device and inode. Links can give one directory
    /// several paths, but the kernel has only one watch for it and reports changes under the path
    /// that was watched last. When any of the paths is no longer watched, the watch is gone for all
    /// of them.
    by_identity: BTreeMap<(u64, u64), BTreeSet<PathBuf>>,
    /// Folders of transcripts to look at once fewer than [`MAX_LOOKS`] are outstanding, in this
    /// order. Only those count that are still [`Directory::is_waiting`].
    waiting: VecDeque<PathBuf>,
    /// How many looks have not been answered by a listing yet.
    outstanding: usize,
    /// Since when at least one look has been outstanding; `None` while none is.
    looking_since: Option<Instant>,
    /// When the directories in which the kernel reports no changes are listed next.
    poll_at: Option<Instant>,
    /// When everything is listed again after events were lost.
    rescan_at: Option<Instant>,
    last_rescan: Option<Instant>,
}

#[derive(Debug, Default)]
struct Directory {
    /// In order, each once. Nearly every directory has one, for which a `Vec` takes least memory.
    purposes: Vec<Purpose>,
    /// Device and inode, by the last listing; `None` before the first, and where it does not exist
    /// or cannot be read.
    identity: Option<(u64, u64)>,
    /// Why the kernel does not report changes here; `None` where it does.
    unarmed: Option<String>,
    /// Why it cannot be listed; `None` where it can.
    unreadable: Option<String>,
    /// How many looks at it have not been answered by a listing yet.
    looks: usize,
    /// Whether it waits for its turn to be looked at.
    is_waiting: bool,
    /// Whether it was listed, or found missing.
    is_listed: bool,
    /// Whether that has happened more than once.
    is_listed_again: bool,
}

impl Directories {
    /// No directories.
    pub(super) fn new(now: Now) -> Directories {
        Directories {
            started_ms: now.wall_ms,
            dirs: BTreeMap::new(),
            brought: BTreeSet::new(),
            by_purpose: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            incomplete: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            waiting: VecDeque::new(),
            outstanding: 0,
            looking_since: None,
            poll_at: None,
            rescan_at: None,
            last_rescan: None,
        }
    }

    /// Observes `dir` for one more purpose. Returns the look at it; `None` if it was observed for
    /// this purpose already.
    pub(super) fn observe(&mut self, dir: &Path, purpose: Purpose) -> Option<Effect> {
        self.add_purpose(dir, purpose).then(|| self.look(dir))
    }

    /// As [`Directories::observe`], for a directory that can wait for its turn: the look comes from
    /// [`Directories::take_looks`].
    pub(super) fn observe_in_turn(&mut self, dir: &Path, purpose: Purpose) {
        if self.add_purpose(dir, purpose) {
            self.look_in_turn(dir);
        }
    }

    /// Returns whether the directory was not observed for this purpose before.
    fn add_purpose(&mut self, dir: &Path, purpose: Purpose) -> bool {
        let purposes = &mut self.dirs.entry(dir.to_owned()).or_default().purposes;
        let Err(at) = purposes.binary_search(&purpose) else { return false };
        purposes.insert(at, purpose.clone());
        self.by_purpose.entry(purpose).or_default().insert(dir.to_owned());
        true
    }

    fn look_in_turn(&mut self, dir: &Path) {
        if let Some(directory) = self.dirs.get_mut(dir)
            && !std::mem::replace(&mut directory.is_waiting, true)
        {
            self.waiting.push_back(dir.to_owned());
        }
    }

    /// The looks whose turn it is.
    pub(super) fn take_looks(&mut self) -> Vec<Effect> {
        let mut looks = Vec::new();
        while self.outstanding < MAX_LOOKS {
            let Some(dir) = self.waiting.pop_front() else { break };
            looks.extend(self.hurry(&dir));
        }
        looks
    }

    /// Returns a look at a directory that waits for its turn; `None` if it does not.
    pub(super) fn hurry(&mut self, dir: &Path) -> Option<Effect> {
        self.dirs.get(dir).is_some_and(|it| it.is_waiting).then(|| self.look(dir))
    }

    /// Returns a look at a directory.
    pub(super) fn look(&mut self, dir: &Path) -> Effect {
        self.outstanding += 1;
        let (mut depth, mut by_links) = (0, true);
        if let Some(directory) = self.dirs.get_mut(dir) {
            directory.looks += 1;
            directory.is_waiting = false;
            let is_project = |it: &Purpose| matches!(it, Purpose::Project { .. });
            depth = if directory.purposes.iter().any(is_project) { MAX_DEPTH } else { 0 };
            by_links = !directory.purposes.iter().all(|it| it.is_in(&self.brought, dir));
        }
        Effect::Look(Look { dir: dir.to_owned(), depth, by_links })
    }

    /// Sets whether only hints named this config root.
    pub(super) fn set_brought(&mut self, root: &Path, is_brought: bool) {
        if is_brought {
            self.brought.insert(root.to_owned());
        } else {
            self.brought.remove(root);
        }
    }

    /// Whether only hints named this config root.
    pub(super) fn is_brought(&self, root: &Path) -> bool {
        self.brought.contains(root)
    }

    /// Looks at every observed directory that has a purpose for which `which` returns true: at
    /// folders of transcripts in turn, since there may be tens of thousands, and at the others now.
    pub(super) fn look_at_all(&mut self, which: impl Fn(&Purpose) -> bool) -> Vec<Effect> {
        let wanted = self.by_purpose.iter().filter(|(purpose, _)| which(purpose));
        let is_project = |it: &Purpose| matches!(it, Purpose::Project { .. });
        let (in_turn, now): (Vec<_>, Vec<_>) = wanted.partition(|(it, _)| is_project(it));
        let dirs = |of: Vec<(_, &BTreeSet<PathBuf>)>| -> BTreeSet<PathBuf> {
            of.into_iter().flat_map(|(_, dirs)| dirs).cloned().collect()
        };
        let (in_turn, now) = (dirs(in_turn), dirs(now));
        in_turn.difference(&now).for_each(|it| self.look_in_turn(it));
        now.iter().map(|it| self.look(it)).collect()
    }

    /// Looks at every observed directory below `dir`.
    fn look_below(&mut self, dir: &Path) -> Vec<Effect> {
        let below = self.dirs.range(dir.to_owned()..).map(|it| it.0);
        let below: Vec<_> =
            below.take_while(|it| it.starts_with(dir)).filter(|it| *it != dir).cloned().collect();
        below.iter().map(|it| self.look(it)).collect()
    }

    /// Looks at a directory under each of its observed paths.
    fn look_at_names(&mut self, identity: (u64, u64)) -> Vec<Effect> {
        let names = self.by_identity.get(&identity).cloned().unwrap_or_default();
        names.iter().map(|it| self.look(it)).collect()
    }

    /// Whether any look is outstanding. While some wait for their turn, others are.
    pub(super) fn is_looking(&self) -> bool {
        self.outstanding > 0
    }

    /// Notes the time of an event, after it was handled, for [`Directories::is_hung`].
    pub(super) fn note_time(&mut self, now: Instant) {
        let since = self.looking_since.unwrap_or(now);
        self.looking_since = self.is_looking().then_some(since);
    }

    /// Whether a look at a directory is outstanding or waits, so that a newer listing of it will
    /// come.
    pub(super) fn is_looked_at(&self, dir: &Path) -> bool {
        self.dirs.get(dir).is_some_and(|it| it.looks > 0 || it.is_waiting)
    }

    /// Looks at the directories in which the kernel reports no changes, and at unreadable ones.
    pub(super) fn look_at_unwatched(&mut self) -> Vec<Effect> {
        let dirs = self.unwatched.clone();
        dirs.iter().map(|it| self.look(it)).collect()
    }

    /// Plans the next poll, unless one is planned or no directory needs it.
    pub(super) fn schedule_poll(&mut self, is_live: bool, now: Instant) {
        if self.unwatched.is_empty() {
            return;
        }
        let wait = if is_live { POLL_LIVE } else { POLL_IDLE };
        self.poll_at.get_or_insert(now + wait);
    }

    /// A session began. Moves a planned poll forward, to at most [`POLL_LIVE`] from now.
    pub(super) fn hurry_poll(&mut self, now: Instant) {
        self.poll_at = self.poll_at.map(|at| at.min(now + POLL_LIVE));
    }

    /// When [`Directories::poll`] is due.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.poll_at
    }

    /// Looks at the directories that must be polled. The next poll is planned when listings come.
    pub(super) fn poll(&mut self) -> Vec<Effect> {
        self.poll_at = None;
        self.look_at_unwatched()
    }

    /// Events were lost. Plans a rescan: at once, or [`RESCAN_SPACING`] after the last one.
    pub(super) fn events_lost(&mut self, now: Instant) {
        let rested = self.last_rescan.map(|at| at + RESCAN_SPACING);
        self.rescan_at = Some(rested.map_or(now, |at| at.max(now)));
    }

    /// When [`Directories::rescan`] is due.
    pub(super) fn rescan_at(&self) -> Option<Instant> {
        self.rescan_at
    }

    /// Drops every watch and looks at all directories. After an overflow the `notify` crate may
    /// have missed the creation or removal of a watched directory.
    pub(super) fn rescan(&mut self, now: Instant) -> Vec<Effect> {
        (self.rescan_at, self.last_rescan) = (None, Some(now));
        let mut effects = vec![Effect::Rebuild];
        effects.extend(self.look_at_all(|_| true));
        effects
    }

    /// Drops this purpose of all directories but those for which `is_kept` returns true, and stops
    /// observing directories that have none left.
    pub(super) fn leave(
        &mut self,
        purpose: &Purpose,
        is_kept: impl Fn(&Path) -> bool,
    ) -> Vec<Effect> {
        let dirs = self.by_purpose.get(purpose).into_iter().flatten();
        let left: Vec<_> = dirs.filter(|dir| !is_kept(dir)).cloned().collect();
        let (mut effects, mut identities) = (Vec::new(), BTreeSet::new());
        for dir in left {
            self.forget_purpose(purpose, &dir);
            let Some(directory) = self.dirs.get_mut(&dir) else { continue };
            directory.purposes.retain(|it| it != purpose);
            if directory.purposes.is_empty() {
                identities.extend(self.remove(&dir));
                effects.push(Effect::Leave(dir));
            }
        }
        for identity in identities {
            effects.extend(self.look_at_names(identity));
        }
        effects
    }

    /// Drops every purpose for which `which` returns true, as [`Directories::leave`] does.
    pub(super) fn leave_all(&mut self, which: impl Fn(&Purpose) -> bool) -> Vec<Effect> {
        let purposes: Vec<_> = self.by_purpose.keys().filter(|it| which(it)).cloned().collect();
        purposes.iter().flat_map(|it| self.leave(it, |_| false)).collect()
    }

    /// Stops observing one directory, whatever its purposes.
    pub(super) fn leave_dir(&mut self, dir: &Path) -> Vec<Effect> {
        if !self.contains(dir) {
            return Vec::new();
        }
        let mut effects = vec![Effect::Leave(dir.to_owned())];
        if let Some(identity) = self.remove(dir) {
            effects.extend(self.look_at_names(identity));
        }
        effects
    }

    /// Takes a directory out. Returns its identity.
    fn remove(&mut self, dir: &Path) -> Option<(u64, u64)> {
        let directory = self.dirs.remove(dir)?;
        self.unwatched.remove(dir);
        self.incomplete.remove(dir);
        for purpose in &directory.purposes {
            self.forget_purpose(purpose, dir);
        }
        if let Some(identity) = directory.identity {
            self.forget_identity(identity, dir);
        }
        directory.identity
    }

    fn forget_purpose(&mut self, purpose: &Purpose, dir: &Path) {
        if let Some(dirs) = self.by_purpose.get_mut(purpose) {
            dirs.remove(dir);
            if dirs.is_empty() {
                self.by_purpose.remove(purpose);
            }
        }
    }

    /// A look was answered. Returns the purposes of the directory, none if it is no longer
    /// observed. Also returns looks at directories that lost their watch because this one changed
    /// its identity.
    pub(super) fn listed(&mut self, listing: &Listing) -> (Vec<Purpose>, Vec<Effect>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let Some(directory) = self.dirs.get_mut(&listing.dir) else {
            // It was left before this listing told its identity. If it has another observed path,
            // that one may have lost its watch.
            let looks = match &listing.found {
                Found::Dir { identity, .. } => self.look_at_names(*identity),
                _ => Vec::new(),
            };
            return (Vec::new(), looks);
        };
        directory.looks = directory.looks.saturating_sub(1);
        directory.is_listed_again = std::mem::replace(&mut directory.is_listed, true);
        let before = directory.identity;
        (directory.identity, directory.unarmed, directory.unreadable) = match &listing.found {
            Found::Dir { identity, unarmed, .. } => (Some(*identity), unarmed.clone(), None),
            Found::Unreadable(reason) => (None, None, Some(reason.clone())),
            Found::Missing { .. } | Found::NotADirectory => (None, None, None),
        };
        match &listing.found {
            Found::Dir { passed_over, .. } if !passed_over.is_empty() => {
                self.incomplete.insert(listing.dir.clone(), passed_over.clone());
            }
            _ => {
                self.incomplete.remove(&listing.dir);
            }
        }
        let (now, purposes) = (directory.identity, directory.purposes.clone());
        if directory.is_unwatched() {
            self.unwatched.insert(listing.dir.clone());
        } else {
            self.unwatched.remove(&listing.dir);
        }
        let mut looks = Vec::new();
        if before != now {
            if let Some(identity) = before {
                self.forget_identity(identity, &listing.dir);
                looks = self.look_at_names(identity);
                // Directories below moved with it, and their watches still report the old paths.
                looks.extend(self.look_below(&listing.dir));
            }
            if let Some(identity) = now {
                self.by_identity.entry(identity).or_default().insert(listing.dir.clone());
            }
        }
        (purposes, looks)
    }

    /// Whether events in a directory may have been missed before its last listing, though the
    /// kernel reports them: it has appeared or was replaced, or events were lost.
    pub(super) fn may_have_missed_events(&self, dir: &Path) -> bool {
        self.dirs.get(dir).is_some_and(|it| it.is_listed_again && !it.is_unwatched())
    }

    fn forget_identity(&mut self, identity: (u64, u64), dir: &Path) {
        if let Some(names) = self.by_identity.get_mut(&identity) {
            names.remove(dir);
            if names.is_empty() {
                self.by_identity.remove(&identity);
            }
        }
    }

    /// Whether a directory is not observed, or did not exist at its last listing.
    pub(super) fn is_gone(&self, dir: &Path) -> bool {
        self.dirs.get(dir).is_none_or(|it| it.identity.is_none() && it.looks == 0)
    }

    /// Whether a directory is, by its last listing, also one of those above it: a link led back.
    pub(super) fn leads_back(&self, dir: &Path) -> bool {
        let identity = self.dirs.get(dir).and_then(|it| it.identity);
        let names = identity.and_then(|it| self.by_identity.get(&it));
        names.is_some_and(|names| names.iter().any(|it| it != dir && dir.starts_with(it)))
    }

    /// How many directories are observed for this purpose.
    pub(super) fn n_observed(&self, purpose: &Purpose) -> usize {
        self.by_purpose.get(purpose).map_or(0, BTreeSet::len)
    }

    /// Whether a path is itself an observed directory.
    pub(super) fn contains(&self, dir: &Path) -> bool {
        self.dirs.contains_key(dir)
    }

    /// Something changed at `path`. Returns this path, with each purpose of its directory. If the
    /// directory has several observed paths, does so for each of them.
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

    /// The entries for the snapshot's `degraded` list: one if a look hangs, and one for each
    /// directory that cannot be read, or is nested too deeply to be.
    pub(super) fn degraded(&self, now: Now) -> impl Iterator<Item = Degraded> {
        let is_hung = |since: &Instant| *since + GIVE_UP_AFTER <= now.mono;
        let hung = self.looking_since.filter(is_hung);
        let unreadable = self
            .unwatched
            .iter()
            .filter_map(|dir| Some((dir, self.dirs.get(dir)?.unreadable.as_ref()?)));
        let passed_over = self.incomplete.values().flatten().map(|(dir, reason)| (dir, reason));
        let unreadable = unreadable.chain(passed_over).map(|(dir, reason)| Degraded {
            source: format!("watch:{}", text::of(dir)),
            since_ms: self.started_ms,
            reason: reason.clone(),
            next_try_ms: None,
        });
        hung.map(move |since| degraded_by_hang("watch".to_owned(), since, now))
            .into_iter()
            .chain(unreadable)
    }

    /// Whether looks have been outstanding for so long that changes may have been missed.
    pub(super) fn is_hung(&self, now: Now) -> bool {
        self.looking_since.is_some_and(|since| since + GIVE_UP_AFTER <= now.mono)
    }

    /// The directories in which the kernel reports no changes, each with the reason.
    pub(super) fn unarmed(&self) -> impl Iterator<Item = (&Path, &str)> {
        let unwatched = self.unwatched.iter();
        unwatched.filter_map(|dir| Some((dir.as_path(), self.dirs.get(dir)?.unarmed.as_deref()?)))
    }
}

impl Directory {
    /// Whether the kernel reports no changes in it, or it cannot be read.
    fn is_unwatched(&self) -> bool {
        self.unarmed.is_some() || self.unreadable.is_some()
    }
}

#[cfg(test)]
impl Directories {
    /// Checks that the indexes say what a look at every directory says, and that each directory
    /// that waits for its turn will get it.
    pub(super) fn check_indexes(&self) {
        let waiting: BTreeSet<_> = self.waiting.iter().collect();
        let mut by_purpose: BTreeMap<Purpose, BTreeSet<PathBuf>> = BTreeMap::new();
        let mut by_identity: BTreeMap<(u64, u64), BTreeSet<PathBuf>> = BTreeMap::new();
        let mut unwatched = BTreeSet::new();
        for (dir, directory) in &self.dirs {
            assert!(directory.purposes.is_sorted_by(|a, b| a < b), "{:?}", directory.purposes);
            assert!(!directory.purposes.is_empty(), "{dir:?} is observed for no purpose");
            for purpose in &directory.purposes {
                by_purpose.entry(purpose.clone()).or_default().insert(dir.clone());
            }
            if let Some(identity) = directory.identity {
                by_identity.entry(identity).or_default().insert(dir.clone());
            }
            assert!(!directory.is_waiting || waiting.contains(dir), "{dir:?} is forgotten");
            unwatched.extend(directory.is_unwatched().then(|| dir.clone()));
        }
        assert_eq!(self.by_purpose, by_purpose);
        assert_eq!(self.by_identity, by_identity);
        assert_eq!(self.unwatched, unwatched);
        assert!(self.incomplete.keys().all(|it| self.dirs.contains_key(it)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_purpose() -> impl Strategy<Value = Purpose> {
        let root = || PathBuf::from("/r");
        prop_oneof![
            Just(Purpose::Root),
            Just(Purpose::Project { root: root() }),
            (0..2_u8).prop_map(move |n| Purpose::Agents {
                root: root(),
                session: SessionId(n.to_string()),
            }),
            (0..2_u8).prop_map(|n| Purpose::NoRepo { cwd: format!("/w/{n}").into() }),
        ]
    }

    fn any_found() -> impl Strategy<Value = Found> {
        prop_oneof![
            ((0..3_u64), any::<bool>()).prop_map(|(inode, is_armed)| Found::Dir {
                identity: (1, inode),
                unarmed: (!is_armed).then(|| "no watches left".to_owned()),
                entries: Vec::new(),
                passed_over: (inode == 2)
                    .then(|| ("/r/x".into(), "denied".to_owned()))
                    .into_iter()
                    .collect(),
            }),
            Just(Found::Unreadable("denied".to_owned())),
            Just(Found::NotADirectory),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Observe(Purpose),
        ObserveInTurn(Purpose),
        TakeLooks,
        Listed(Found),
        LeaveAt(Purpose),
        LeaveElsewhere(Purpose),
        LeaveAll(Purpose),
        LeaveDir,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any_purpose().prop_map(Step::Observe),
            3 => any_purpose().prop_map(Step::ObserveInTurn),
            1 => Just(Step::TakeLooks),
            3 => any_found().prop_map(Step::Listed),
            1 => any_purpose().prop_map(Step::LeaveAt),
            1 => any_purpose().prop_map(Step::LeaveElsewhere),
            1 => any_purpose().prop_map(Step::LeaveAll),
            1 => Just(Step::LeaveDir),
        ]
    }

    proptest! {
        #[test]
        fn the_indexes_say_what_a_look_at_every_directory_says(
            steps in proptest::collection::vec((0..4_u8, any_step()), 0..40),
        ) {
            let mut directories = Directories::new(Now::read());
            for (n, step) in steps {
                let dir = PathBuf::from(format!("/r/{n}"));
                match step {
                    Step::Observe(purpose) => drop(directories.observe(&dir, purpose)),
                    Step::ObserveInTurn(purpose) => directories.observe_in_turn(&dir, purpose),
                    Step::TakeLooks => drop(directories.take_looks()),
                    Step::Listed(found) => drop(directories.listed(&Listing { dir, found })),
                    Step::LeaveAt(purpose) => drop(directories.leave(&purpose, |it| it != dir)),
                    Step::LeaveElsewhere(purpose) => {
                        drop(directories.leave(&purpose, |it| it == dir));
                    }
                    Step::LeaveAll(purpose) => drop(directories.leave_all(|it| *it == purpose)),
                    Step::LeaveDir => drop(directories.leave_dir(&dir)),
                }
                directories.check_indexes();
            }
        }
    }
}
