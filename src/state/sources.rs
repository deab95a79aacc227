//! PURE. Sources: when each is fetched, which fail, which hang, and who waits for them.
//!
//! **Invariant:** a source is in the plan of its kind, so that a slow program takes no slot from
//! reads, and a configured program none from git.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::barriers::{Barriers, Passed};
use super::text;
use crate::fetch::job::Source;
use crate::fetch::{READERS, RUNNERS};
use crate::plan::{Plan, Policy, Urgency};
use crate::pool::HANG_AFTER;
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::SILENT;
use crate::watch::debounce::Debounce;

/// Transcripts: on the first change at once, then at most one pass every 50 ms. Reading a tail
/// takes microseconds.
const READS: Policy = Policy {
    debounce: Debounce { quiet: Duration::ZERO, max_hold: Duration::ZERO },
    spacing: Duration::from_millis(50),
    rest: 1,
    // Each reader finds the next file waiting when it is done with one.
    slots: 4 * READERS,
    hangs: Some(HANG_AFTER),
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Git: once a repository is quiet, a second later at most, and never more than a tenth of the time.
const GIT: Policy = Policy {
    debounce: Debounce { quiet: Duration::from_millis(150), max_hold: Duration::from_secs(1) },
    spacing: Duration::ZERO,
    rest: 10,
    slots: RUNNERS,
    // Each call is bounded, and has a thread of its own.
    hangs: None,
    postpone: Duration::from_millis(50),
    first_retry: Duration::from_secs(1),
    last_retry: Duration::from_secs(300),
};

/// Configured programs: as git, but one that hangs must not take the slots of all the others.
const TOOLS: Policy = Policy { slots: 8, ..GIT };

/// Reading a file or listing a directory takes microseconds. One that takes this long hangs.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
/// When the fetch lock could not be had this often in a row, the source is degraded: these tries
/// take two and a half seconds.
const PATIENT_TRIES: u32 = 7;

/// What is to be fetched, what fails, and who waits.
#[derive(Debug)]
pub(super) struct Sources {
    reads: Plan<Source>,
    git: Plan<Source>,
    tools: Plan<Source>,
    failing: BTreeMap<Source, Failing>,
    /// Reads that have not come back for so long that nobody waits for them any more.
    given_up: BTreeSet<Source>,
    barriers: Barriers,
}

#[derive(Debug)]
struct Failing {
    since_ms: i64,
    reason: String,
}

impl Sources {
    /// Nothing is wanted yet, and the first scan waits.
    pub(super) fn new() -> Sources {
        Sources {
            reads: Plan::new(READS),
            git: Plan::new(GIT),
            tools: Plan::new(TOOLS),
            failing: BTreeMap::new(),
            given_up: BTreeSet::new(),
            barriers: Barriers::new(),
        }
    }

    fn plan(&self, source: &Source) -> &Plan<Source> {
        match source {
            Source::Transcript(_) | Source::Process(_) | Source::Tree(_) => &self.reads,
            Source::Repo(_) => &self.git,
            Source::Block(_) | Source::Command(_) => &self.tools,
        }
    }

    fn plan_mut(&mut self, source: &Source) -> &mut Plan<Source> {
        match source {
            Source::Transcript(_) | Source::Process(_) | Source::Tree(_) => &mut self.reads,
            Source::Repo(_) => &mut self.git,
            Source::Block(_) | Source::Command(_) => &mut self.tools,
        }
    }

    fn plans(&self) -> [&Plan<Source>; 3] {
        [&self.reads, &self.git, &self.tools]
    }

    // ---- Wanting and fetching

    /// Remembers that a source changed, and is to be fetched.
    pub(super) fn want(&mut self, source: &Source, urgency: Urgency, now: Now) {
        self.plan_mut(source).want(source, urgency, now.mono);
    }

    /// Plans the next fetch of a source that changes without telling: see [`Plan::repeat`].
    pub(super) fn repeat(&mut self, source: &Source, at: Instant) {
        self.plan_mut(source).repeat(source, at);
    }

    /// Whether a source neither is being fetched nor will be.
    pub(super) fn is_idle(&self, source: &Source) -> bool {
        self.plan(source).is_idle(source)
    }

    /// What is due and has a slot. The caller starts it, or calls [`Sources::skip`].
    pub(super) fn take_due(&mut self, now: Now) -> Vec<Source> {
        let plans = [&mut self.reads, &mut self.git, &mut self.tools];
        plans.into_iter().flat_map(|plan| plan.take_due(now.mono)).collect()
    }

    /// A source that was due is of no interest any more. Returns whether snapshots change by that.
    pub(super) fn skip(&mut self, source: &Source, now: Now) -> bool {
        self.plan_mut(source).done(source, true, now.mono);
        self.forget(source)
    }

    /// A fetch ended, and failed for this reason if any. Returns whether snapshots change by that.
    pub(super) fn done(&mut self, source: &Source, failure: Option<String>, now: Now) -> bool {
        let was_given_up = self.given_up.remove(source);
        self.plan_mut(source).done(source, failure.is_none(), now.mono);
        let has_changed = match failure {
            None => self.failing.remove(source).is_some(),
            Some(reason) => self.note_failure(source, reason, now),
        };
        was_given_up || has_changed
    }

    /// A fetch could not start, because another process holds the fetch lock. It is tried again;
    /// after [`PATIENT_TRIES`] the source is degraded, and nobody waits for it. Returns whether
    /// snapshots change by that.
    pub(super) fn postpone(&mut self, source: &Source, reason: String, now: Now) -> bool {
        let n_tries = self.plan_mut(source).postpone(source, now.mono);
        // The fetch did not begin, so one fetch is enough for those, too, who came since.
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

    /// A source is of no interest any more. A fetch of it that runs goes on and is waited for.
    /// Returns whether snapshots change by that.
    pub(super) fn forget(&mut self, source: &Source) -> bool {
        let is_running = self.plan_mut(source).forget(source);
        self.barriers.stop_waiting_for(source, is_running);
        self.failing.remove(source).is_some()
    }

    /// A failing source is not tried again by itself, and stays degraded.
    pub(super) fn stop_retrying(&mut self, source: &Source) {
        self.plan_mut(source).forget(source);
    }

    /// The sources that fail.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Source> {
        self.failing.keys()
    }

    /// Whether a source fails, and no next try is planned.
    pub(super) fn has_stopped_retrying(&self, source: &Source) -> bool {
        self.failing.contains_key(source) && self.is_idle(source)
    }

    // ---- What hangs

    /// When the next read turns out to hang.
    pub(super) fn give_up_at(&self) -> Option<Instant> {
        let running = self.reads.running();
        let hopeful = running.filter(|(source, _)| !self.given_up.contains(source));
        hopeful.map(|(_, since)| since + GIVE_UP_AFTER).min()
    }

    /// From now on nobody waits for reads that hang. Returns whether there is a new one.
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

    /// Reads that have not come back for so long, and since when they have run. Most often the
    /// server of a network disk is gone.
    pub(super) fn hung(&self, now: Now) -> impl Iterator<Item = (&Source, Instant)> {
        self.reads.running().filter(move |(_, since)| *since + GIVE_UP_AFTER <= now.mono)
    }

    // ---- Who waits

    /// Whether all transcripts have been read, so that sums are whole.
    pub(super) fn is_scanned(&self) -> bool {
        self.barriers.is_scanned()
    }

    /// All transcripts are read anew.
    pub(super) fn scan_again(&mut self) {
        self.barriers.scan_again();
    }

    /// See [`Barriers::cookie_changed`].
    pub(super) fn cookie_changed(&mut self, path: &Path) -> bool {
        self.barriers.cookie_changed(path)
    }

    /// See [`Barriers::cookies_listed`].
    pub(super) fn cookies_listed(&mut self, there: &BTreeSet<PathBuf>) -> (usize, Vec<PathBuf>) {
        self.barriers.cookies_listed(there)
    }

    /// Nobody waits for a source any more: it does not end soon, or not at all.
    pub(super) fn stop_waiting_for(&mut self, source: &Source) {
        self.barriers.stop_waiting_for(source, false);
    }

    /// A fetch ended. Who waited for it also waits for what it led to: the rest of a transcript that
    /// is read in parts (`has_more`), the working tree of a session that is new in it, and the first
    /// facts of that. Not more: a transcript that is written to all the time must hold nobody up.
    pub(super) fn wait_for_follow_ups(
        &mut self,
        source: &Source,
        has_more: bool,
        is_new_repo: impl Fn(&Path) -> bool,
    ) {
        let waited = self.barriers.fetched(source);
        if waited.is_empty() {
            return;
        }
        let (first_tree, first_repo) = (Source::Tree(PathBuf::new()), Source::Repo(PathBuf::new()));
        let led_to: Vec<(&Source, u8)> = match source {
            Source::Transcript(_) | Source::Process(_) => {
                let rest = has_more.then(|| self.reads.pending(source..=source));
                let trees = self.reads.pending(&first_tree..&first_repo);
                rest.into_iter().flatten().chain(trees).chain(self.tools.pending(..)).collect()
            }
            Source::Tree(_) => {
                let repos = self.git.pending(&first_repo..);
                let is_new =
                    |source: &Source| matches!(source, Source::Repo(top) if is_new_repo(top));
                repos.filter(|(source, _)| is_new(source)).collect()
            }
            Source::Repo(_) | Source::Block(_) | Source::Command(_) => return,
        };
        let led_to: Vec<_> = led_to.into_iter().map(|(source, n)| (source.clone(), n)).collect();
        self.barriers.add(&waited, &led_to);
    }

    /// Who waits no longer. `is_looking` says whether listings are awaited, which may bring more to
    /// fetch, and `is_configured` whether the configuration has been read.
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

    /// Where a cookie waits, configured programs neither settle nor rest first.
    pub(super) fn hurry_for_cookies(&mut self, now: Now) {
        if self.barriers.has_cookie() {
            self.tools.hurry(now.mono);
        }
    }

    // ---- What follows

    /// When the next fetch is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.plans().into_iter().filter_map(Plan::deadline).min()
    }

    /// Whether everything has been fetched, save next tries of what fails, and what hangs.
    pub(super) fn is_settled(&self) -> bool {
        let none = BTreeSet::new();
        self.is_scanned()
            && self.reads.is_settled(&self.given_up)
            && self.git.is_settled(&none)
            && self.tools.is_settled(&none)
    }

    /// The sources that fail, as snapshots name them.
    pub(super) fn degraded(&self, now: Now) -> impl Iterator<Item = Degraded> {
        self.failing.iter().map(move |(source, failing)| {
            let wait = self.plan(source).next_try(source);
            let wait = wait.map(|at| at.saturating_duration_since(now.mono));
            let wait_ms = wait.and_then(|wait| i64::try_from(wait.as_millis()).ok());
            Degraded {
                source: name(source),
                since_ms: failing.since_ms,
                reason: failing.reason.clone(),
                // To the second: a snapshot must not differ for less.
                next_try_ms: wait_ms.map(|wait_ms| (now.wall_ms + wait_ms) / 1000 * 1000),
            }
        })
    }

    /// The reads that hang, as snapshots name them.
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

/// A file system that does not answer, as snapshots name it.
pub(super) fn degraded_by_hang(source: String, since: Instant, now: Now) -> Degraded {
    let for_ms = i64::try_from((now.mono - since).as_millis()).unwrap_or(0);
    Degraded {
        source,
        since_ms: (now.wall_ms - for_ms) / 1000 * 1000,
        reason: SILENT.to_owned(),
        next_try_ms: None,
    }
}

/// What a source is called in the snapshot.
fn name(source: &Source) -> String {
    let (kind, path) = match source {
        Source::Transcript(path) => ("transcript", path),
        Source::Process(path) => ("process", path),
        Source::Tree(path) => ("tree", path),
        Source::Repo(path) => ("git", path),
        Source::Block(path) => ("usage", path),
        Source::Command(name) => return format!("command:{name}"),
    };
    format!("{kind}:{}", text::of(path))
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
        assert_eq!(n_of(|it| matches!(it, Source::Repo(_))), RUNNERS);
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
        assert_eq!(degraded[0].since_ms, zero.wall_ms, "it has not worked since");
        assert!(!sources.has_stopped_retrying(&repo), "a next try is planned");
        sources.stop_retrying(&repo);
        assert!(sources.has_stopped_retrying(&repo));
        assert!(fetch(&mut sources, None, at(zero, 600_000)));
        assert_eq!(sources.degraded(zero).count(), 0);
    }

    #[test]
    fn a_read_that_hangs_is_given_up_once_and_holds_nobody_up() {
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
        assert!(sources.done(&hung, None, at(zero, 30_000)), "it came back");
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
