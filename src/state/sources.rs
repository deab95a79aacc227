//! PURE. Sources: when each is fetched, which fail, which hang, and which barriers wait for them.
//!
//! **Invariant:** reads of files, calls of git and configured programs have a plan each, so that a
//! slow program takes no slot from reads, and a configured program takes none from git.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::barriers::{Barriers, Passed};
use super::text;
use crate::fetch::READERS;
use crate::fetch::job::Source;
use crate::plan::{Plan, Policy, Urgency};
use crate::pool::HANG_AFTER;
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::SILENT;
use crate::watch::debounce::Debounce;

/// Reads of files: at once after a change, and then at most every 50 ms. A read of what was
/// appended takes microseconds.
const READS: Policy = Policy {
    debounce: Debounce { quiet: Duration::ZERO, max_hold: Duration::ZERO },
    spacing: Duration::from_millis(50),
    rest: 1,
    // More than there are readers, so that a reader finds its next file waiting.
    slots: 4 * READERS,
    slow_after: Some(HANG_AFTER),
    // The pool bounds its threads.
    most: usize::MAX,
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Calls of git: when a repository is unchanged for 150 ms, or a second after the first change, and
/// for at most a tenth of the time.
const GIT: Policy = Policy {
    debounce: Debounce { quiet: Duration::from_millis(150), max_hold: Duration::from_secs(1) },
    spacing: Duration::ZERO,
    rest: 10,
    slots: 4,
    // A call takes some milliseconds. Eight repositories whose calls all take until their deadline
    // delay the ninth by two of these.
    slow_after: Some(Duration::from_millis(150)),
    // Each is a guard and a git, which mostly wait.
    most: 32,
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Configured programs: as git, but with more slots, since one call may take long.
const TOOLS: Policy = Policy { slots: 8, slow_after: None, most: 8, ..GIT };

/// Programs of alerts: at once, since somebody wants to know. They wait for nothing else, and
/// nothing waits for them.
const ALERTS: Policy = Policy {
    debounce: Debounce { quiet: Duration::ZERO, max_hold: Duration::ZERO },
    rest: 1,
    ..TOOLS
};

/// Reads of old transcripts for the record: one after the other.
const IMPORTS: Policy = Policy { slots: 1, slow_after: None, most: 1, ..READS };

/// After this time nothing waits any longer for a read of a file or a listing of a directory.
/// Either takes microseconds where the file system works.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// After this many failures in a row to get the fetch lock, the source counts as degraded. The
/// tries take two and a half seconds.
const PATIENT_TRIES: u32 = 7;

/// The plans of all fetches, the failing sources, and the barriers that wait for fetches.
#[derive(Debug)]
pub(super) struct Sources {
    reads: Plan<Source>,
    git: Plan<Source>,
    tools: Plan<Source>,
    imports: Plan<Source>,
    alerts: Plan<Source>,
    failing: BTreeMap<Source, Failing>,
    /// Reads that have hung for [`GIVE_UP_AFTER`], so that nothing waits for them any more.
    given_up: BTreeSet<Source>,
    /// The searches for working trees that were planned since the last fetch ended.
    new_trees: BTreeSet<Source>,
    barriers: Barriers,
}

#[derive(Debug)]
struct Failing {
    /// When the first fetch failed since the last success, in Unix milliseconds.
    since_ms: i64,
    reason: String,
}

impl Sources {
    /// Nothing is planned, and the first scan waits.
    pub(super) fn new() -> Sources {
        Sources {
            reads: Plan::new(READS),
            git: Plan::new(GIT),
            tools: Plan::new(TOOLS),
            imports: Plan::new(IMPORTS),
            alerts: Plan::new(ALERTS),
            failing: BTreeMap::new(),
            given_up: BTreeSet::new(),
            new_trees: BTreeSet::new(),
            barriers: Barriers::new(),
        }
    }

    fn plan(&self, source: &Source) -> &Plan<Source> {
        match source {
            Source::Transcript(_) | Source::Process(_) | Source::Tree(_) => &self.reads,
            Source::Repo(_) => &self.git,
            Source::Block(_) | Source::Command(_) | Source::Program(_) => &self.tools,
            Source::Import(_) => &self.imports,
            Source::Alert(_) => &self.alerts,
        }
    }

    fn plan_mut(&mut self, source: &Source) -> &mut Plan<Source> {
        match source {
            Source::Transcript(_) | Source::Process(_) | Source::Tree(_) => &mut self.reads,
            Source::Repo(_) => &mut self.git,
            Source::Block(_) | Source::Command(_) | Source::Program(_) => &mut self.tools,
            Source::Import(_) => &mut self.imports,
            Source::Alert(_) => &mut self.alerts,
        }
    }

    fn plans(&self) -> [&Plan<Source>; 5] {
        [&self.reads, &self.git, &self.tools, &self.imports, &self.alerts]
    }

    // ---- Wanting and fetching

    /// Plans a fetch of a source that changed.
    pub(super) fn want(&mut self, source: &Source, urgency: Urgency, now: Now) {
        if let Source::Tree(_) = source {
            self.new_trees.insert(source.clone());
        }
        self.plan_mut(source).want(source, urgency, now.mono);
    }

    /// Plans the next fetch of a source whose changes are not reported: see [`Plan::repeat`].
    pub(super) fn repeat(&mut self, source: &Source, at: Instant) {
        self.plan_mut(source).repeat(source, at);
    }

    /// Whether no fetch of a source is running or planned.
    pub(super) fn is_idle(&self, source: &Source) -> bool {
        self.plan(source).is_idle(source)
    }

    /// The sources that are due and have a slot. The caller starts a fetch of each, or calls
    /// [`Sources::skip`].
    pub(super) fn take_due(&mut self, now: Now) -> Vec<Source> {
        let Sources { reads, git, tools, imports, alerts, .. } = self;
        let plans = [reads, git, tools, imports, alerts];
        plans.into_iter().flat_map(|plan| plan.take_due(now.mono)).collect()
    }

    /// A source that was due is not needed any more. Returns whether the snapshot changed.
    pub(super) fn skip(&mut self, source: &Source, now: Now) -> bool {
        self.plan_mut(source).done(source, true, now.mono);
        self.forget(source)
    }

    /// A fetch ended; `failure` is the reason if it failed. Returns whether the snapshot changed.
    pub(super) fn done(&mut self, source: &Source, failure: Option<String>, now: Now) -> bool {
        self.new_trees.clear();
        let was_given_up = self.given_up.remove(source);
        self.plan_mut(source).done(source, failure.is_none(), now.mono);
        let has_changed = match failure {
            None => self.failing.remove(source).is_some(),
            Some(reason) => self.note_failure(source, reason, now),
        };
        was_given_up || has_changed
    }

    /// A fetch could not start, because another process holds the fetch lock. It is tried again.
    /// After [`PATIENT_TRIES`] the source is degraded, and no barrier waits for it. Returns whether
    /// the snapshot changed.
    pub(super) fn postpone(&mut self, source: &Source, reason: String, now: Now) -> bool {
        let n_tries = self.plan_mut(source).postpone(source, now.mono);
        // The fetch did not begin, so it will see all changes so far, and barriers need only one.
        self.barriers.stop_waiting_for(source, true);
        if n_tries < PATIENT_TRIES {
            return false;
        }
        self.stop_waiting_for(source);
        self.note_failure(source, reason, now)
    }

    fn note_failure(&mut self, source: &Source, reason: String, now: Now) -> bool {
        let new = || Failing { since_ms: now.wall_ms, reason: String::new() };
        self.failing.entry(source.clone()).or_insert_with(new).reason = reason;
        true
    }

    /// A source is not needed any more. If a fetch of it is running, that goes on, and barriers
    /// still wait for it. Returns whether the snapshot changed.
    pub(super) fn forget(&mut self, source: &Source) -> bool {
        let is_running = self.plan_mut(source).forget(source);
        self.barriers.stop_waiting_for(source, is_running);
        self.failing.remove(source).is_some()
    }

    /// Cancels the retries of a failing source. It stays degraded.
    pub(super) fn stop_retrying(&mut self, source: &Source) {
        self.plan_mut(source).forget(source);
    }

    /// The sources whose last fetch failed.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Source> {
        self.failing.keys()
    }

    /// Whether a source is failing and no retry is planned.
    pub(super) fn has_stopped_retrying(&self, source: &Source) -> bool {
        self.failing.contains_key(source) && self.is_idle(source)
    }

    // ---- What hangs

    /// When the next running read will count as hung.
    pub(super) fn give_up_at(&self) -> Option<Instant> {
        let running = self.reads.running();
        let hopeful = running.filter(|(source, _)| !self.given_up.contains(source));
        hopeful.map(|(_, since)| since + GIVE_UP_AFTER).min()
    }

    /// Stops waiting for reads that hang. Returns whether there is a new one.
    pub(super) fn give_up(&mut self, now: Now) -> bool {
        if self.give_up_at().is_none_or(|at| at > now.mono) {
            return false;
        }
        for source in self.hung(now).map(|(source, _)| source.clone()).collect::<Vec<_>>() {
            self.stop_waiting_for(&source);
            self.given_up.insert(source);
        }
        true
    }

    /// The reads that have run for [`GIVE_UP_AFTER`], and since when. The usual cause is a network
    /// disk whose server does not answer.
    pub(super) fn hung(&self, now: Now) -> impl Iterator<Item = (&Source, Instant)> {
        self.reads.running().filter(move |(_, since)| *since + GIVE_UP_AFTER <= now.mono)
    }

    // ---- Barriers

    /// Whether every transcript has been read, so that sums are complete.
    pub(super) fn is_scanned(&self) -> bool {
        self.barriers.is_scanned()
    }

    /// See [`Barriers::cookie_changed`].
    pub(super) fn cookie_changed(&mut self, path: &Path) -> bool {
        self.barriers.cookie_changed(path)
    }

    /// See [`Barriers::cookies_listed`].
    pub(super) fn cookies_listed(&mut self, there: &BTreeSet<PathBuf>) -> (usize, Vec<PathBuf>) {
        self.barriers.cookies_listed(there)
    }

    /// No barrier waits for a source any more, because its next fetch ends late or never.
    pub(super) fn stop_waiting_for(&mut self, source: &Source) {
        self.barriers.stop_waiting_for(source, false);
    }

    /// A fetch ended. Barriers that waited for it now wait for the fetches that follow from it: the
    /// rest of a transcript that is read in parts (`has_more`), the search for the working tree of
    /// a session that the read found, the first answer of git for that tree (`new_repo`), and
    /// configured programs. They do not wait for other fetches, since a transcript may be appended
    /// to all the time.
    pub(super) fn wait_for_follow_ups(
        &mut self,
        source: &Source,
        has_more: bool,
        new_repo: Option<PathBuf>,
    ) {
        let waited = self.barriers.fetched(source);
        if waited.is_empty() {
            return;
        }
        let owned = |(source, n_fetches): (&Source, u8)| (source.clone(), n_fetches);
        let led_to: Vec<_> = match source {
            Source::Transcript(_) | Source::Process(_) => {
                let rest = has_more.then(|| self.reads.pending(source..=source));
                let trees = self.new_trees.iter().flat_map(|tree| self.reads.pending(tree..=tree));
                rest.into_iter()
                    .flatten()
                    .chain(trees)
                    .chain(self.tools.pending(..))
                    .map(owned)
                    .collect()
            }
            Source::Tree(_) => {
                let repo = new_repo.map(Source::Repo);
                let pending = repo.iter().flat_map(|repo| self.git.pending(repo..=repo));
                pending.map(owned).collect()
            }
            Source::Repo(_)
            | Source::Block(_)
            | Source::Command(_)
            | Source::Program(_)
            | Source::Import(_)
            | Source::Alert(_) => return,
        };
        self.barriers.add(&waited, &led_to);
    }

    /// The barriers that no longer wait for anything. `is_looking` says whether looks are
    /// outstanding, since listings may lead to more fetches, and `is_configured` whether the
    /// configuration has been read.
    pub(super) fn take_passed(&mut self, is_looking: bool, is_configured: bool) -> Passed {
        if !is_looking {
            let plans = [&self.reads, &self.git, &self.tools];
            let given_up = &self.given_up;
            self.barriers.listings_ended(|| {
                let pending = plans.into_iter().flat_map(|plan| plan.pending(..));
                pending.filter(|(source, _)| !given_up.contains(source)).collect()
            });
        }
        self.barriers.take_passed(is_configured)
    }

    /// If a cookie waits, configured programs run at once, without their debounce and rest.
    pub(super) fn hurry_for_cookies(&mut self, now: Now) {
        if self.barriers.has_cookie() {
            self.tools.hurry(now.mono);
        }
    }

    // ---- Time and snapshot

    /// When the next fetch is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.plans().into_iter().filter_map(Plan::deadline).min()
    }

    /// Whether everything has been fetched, except for retries of failing sources, and reads that
    /// hang.
    pub(super) fn is_settled(&self) -> bool {
        let none = BTreeSet::new();
        self.is_scanned()
            && self.reads.is_settled(&self.given_up)
            && self.git.is_settled(&none)
            && self.tools.is_settled(&none)
    }

    /// The entries for the snapshot's `degraded` list: one for each failing source.
    pub(super) fn degraded(&self, now: Now) -> impl Iterator<Item = Degraded> {
        self.failing.iter().map(move |(source, failing)| {
            let next_try = self.plan(source).next_try(source);
            Degraded {
                source: name(source),
                since_ms: failing.since_ms,
                reason: failing.reason.clone(),
                next_try_ms: next_try.map(|at| whole_seconds(now, at)),
            }
        })
    }

    /// The entries for the snapshot's `degraded` list: one for each read that hangs.
    pub(super) fn hung_degraded(&self, now: Now) -> impl Iterator<Item = Degraded> {
        self.hung(now).map(move |(source, since)| degraded_by_hang(name(source), since, now))
    }

    #[cfg(test)]
    pub(super) fn stop_git(&mut self, now: Now) {
        let wanted: Vec<_> = self.git.pending(..).map(|(source, _)| source.clone()).collect();
        self.git = Plan::new(Policy { slots: 0, ..GIT });
        for source in wanted {
            self.git.want(&source, Urgency::Now, now.mono);
        }
    }

    #[cfg(test)]
    pub(super) fn tools_deadline(&self) -> Option<Instant> {
        self.tools.deadline()
    }

    #[cfg(test)]
    pub(super) fn has_barrier(&self) -> bool {
        self.barriers.has_cookie()
    }
}

/// The entry for the snapshot's `degraded` list where a file system has not answered since `since`.
pub(super) fn degraded_by_hang(source: String, since: Instant, now: Now) -> Degraded {
    let for_ms = i64::try_from((now.mono - since).as_millis()).unwrap_or(0);
    Degraded {
        source,
        since_ms: (now.wall_ms - for_ms) / 1000 * 1000,
        reason: SILENT.to_owned(),
        next_try_ms: None,
    }
}

/// The name of a source in the snapshot.
fn name(source: &Source) -> String {
    let (kind, path) = match source {
        Source::Transcript(path) => ("transcript", path),
        Source::Process(path) => ("process", path),
        Source::Tree(path) => ("tree", path),
        Source::Repo(path) => ("git", path),
        Source::Block(path) => ("usage", path),
        Source::Program(path) => ("program", path),
        Source::Import(path) => ("import", path),
        Source::Command(name) => return format!("command:{name}"),
        Source::Alert(name) => return format!("alert:{name}"),
    };
    format!("{kind}:{}", text::of(path))
}

/// When a time on the monotonic clock comes, in Unix milliseconds. Rounded to seconds, so that
/// snapshots do not differ by milliseconds.
pub(super) fn whole_seconds(now: Now, at: Instant) -> i64 {
    let wait = at.saturating_duration_since(now.mono);
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    now.wall_ms.saturating_add(wait_ms) / 1000 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zero: Now, ms: i64) -> Now {
        Now { mono: zero.mono + crate::time::span(ms), wall_ms: zero.wall_ms + ms }
    }

    fn transcript(name: &str) -> Source {
        Source::Transcript(name.into())
    }

    #[test]
    fn a_slow_program_takes_no_slot_from_reads_and_a_tool_none_from_git() {
        let (mut sources, zero) = (Sources::new(), Now::read());
        for n in 0..20 {
            sources.want(&Source::Command(n.to_string()), Urgency::Now, zero);
            sources.want(&Source::Repo(n.to_string().into()), Urgency::Now, zero);
            sources.want(&transcript(&n.to_string()), Urgency::Now, zero);
        }
        let due = sources.take_due(zero);
        let n_of = |which: fn(&Source) -> bool| due.iter().filter(|it| which(it)).count();
        assert_eq!(n_of(|it| matches!(it, Source::Transcript(_))), 4 * READERS);
        assert_eq!(n_of(|it| matches!(it, Source::Repo(_))), 4);
        assert_eq!(n_of(|it| matches!(it, Source::Command(_))), 8);
        assert_eq!(sources.take_due(zero), []);
    }

    #[test]
    fn a_failing_source_is_named_until_it_works_again() {
        let (mut sources, zero) = (Sources::new(), Now::read());
        let repo = Source::Repo("/w".into());
        let fetch = |sources: &mut Sources, failure: Option<&str>, now| {
            sources.want(&repo, Urgency::Now, now);
            sources.take_due(now);
            sources.done(&repo, failure.map(str::to_owned), now)
        };
        assert!(fetch(&mut sources, Some("timed out"), zero));
        assert!(fetch(&mut sources, Some("not installed"), at(zero, 60_000)));
        let degraded: Vec<_> = sources.degraded(at(zero, 60_000)).collect();
        let names: Vec<_> = degraded.iter().map(|it| (&*it.source, &*it.reason)).collect();
        assert_eq!(names, [("git:/w", "not installed")]);
        assert_eq!(degraded[0].since_ms, zero.wall_ms, "since the first failure");
        assert!(!sources.has_stopped_retrying(&repo), "a retry is planned");
        sources.stop_retrying(&repo);
        assert!(sources.has_stopped_retrying(&repo));
        assert!(fetch(&mut sources, None, at(zero, 600_000)));
        assert_eq!(sources.degraded(zero).count(), 0);
    }

    #[test]
    fn a_read_that_hangs_is_given_up_once_and_then_delays_nothing() {
        let (mut sources, zero) = (Sources::new(), Now::read());
        let hung = transcript("/net/t");
        sources.want(&hung, Urgency::Now, zero);
        assert_eq!(sources.take_due(zero).len(), 1);
        assert_eq!(sources.take_passed(false, true), Passed::default(), "the scan waits for it");
        assert!(!sources.give_up(at(zero, 9_999)));
        assert_eq!(sources.give_up_at(), Some(zero.mono + GIVE_UP_AFTER));
        assert!(sources.give_up(at(zero, 10_000)));
        assert_eq!(sources.give_up_at(), None);
        assert!(sources.take_passed(false, true).is_scan_done);
        assert!(sources.is_settled());
        let degraded: Vec<_> = sources.hung_degraded(at(zero, 20_000)).collect();
        assert_eq!((&*degraded[0].source, &*degraded[0].reason), ("transcript:/net/t", SILENT));
        assert!(sources.done(&hung, None, at(zero, 30_000)), "the read returned after all");
        assert_eq!(sources.hung(at(zero, 30_000)).count(), 0);
    }

    #[test]
    fn without_the_fetch_lock_a_source_is_tried_again_and_then_degraded() {
        let (mut sources, zero) = (Sources::new(), Now::read());
        let repo = Source::Repo("/w".into());
        sources.want(&repo, Urgency::Now, zero);
        for n in 1..=PATIENT_TRIES {
            assert_eq!(sources.take_due(at(zero, i64::from(n) * 1000)).len(), 1);
            let has_changed =
                sources.postpone(&repo, "held".to_owned(), at(zero, i64::from(n) * 1000));
            assert_eq!(has_changed, n == PATIENT_TRIES, "try {n}");
        }
        assert_eq!(sources.degraded(zero).next().unwrap().reason, "held");
    }
}
