//! PURE. Decides what to fetch next from what changed, how long ago, and how it last failed.
//!
//! Never reads a clock or a file, never starts anything, and does not know what a source is: its
//! key is a type parameter.
//!
//! **Invariants:** of one source at most one fetch runs and at most one more is remembered. A
//! source that keeps failing is asked less and less often, but is never given up. A source that
//! waits longer goes first, so a slow one delays nobody but itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeBounds;
use std::time::{Duration, Instant};

use crate::watch::debounce::{Debounce, Window};

/// How often sources of one kind may be fetched. Each kind states its own.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a change waits for more changes.
    pub debounce: Debounce,
    /// Least time between two starts of one source.
    pub spacing: Duration,
    /// One source spends at most one part in `rest` of the time in fetches.
    pub rest: u32,
    /// Fetches that run at once.
    pub slots: usize,
    /// One that runs for longer hangs, and has no slot any more: others must not wait for it.
    pub hangs: Option<Duration>,
    /// Wait when a fetch could not start; it doubles, up to a second.
    pub postpone: Duration,
    /// Wait after the first failure; it doubles with each further one …
    pub first_retry: Duration,
    /// … up to this.
    pub last_retry: Duration,
}

/// How soon a wish is to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// After the debounce, and not more often than the policy allows.
    Settled,
    /// Now, because somebody waits for the answer. A failing source keeps its own pace.
    Now,
}

/// What is wanted of each source, what runs, and when each may run again.
#[derive(Debug)]
pub struct Plan<K> {
    policy: Policy,
    tasks: BTreeMap<K, Task>,
    /// The wanted tasks by their time, which [`Task::due`] repeats.
    queue: BTreeSet<(Instant, K)>,
    /// The running tasks, and since when.
    running: BTreeMap<K, Instant>,
    /// Tasks that came to rest, and when nothing is left to know of each.
    resting: VecDeque<(Instant, K)>,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    slot: Slot,
    not_before: Option<Instant>,
    failures: u32,
    postponed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Idle,
    Wanted {
        window: Window,
        due: Instant,
        /// Its time comes round again, and nothing is known to have changed.
        repeats: bool,
    },
    Running {
        since: Instant,
    },
    /// It changed while it was being fetched, so what comes back may be old already.
    RunningStale {
        since: Instant,
        window: Window,
        urgency: Urgency,
    },
}

impl<K: Ord + Clone> Plan<K> {
    /// An empty plan.
    pub fn new(policy: Policy) -> Plan<K> {
        Plan {
            policy,
            tasks: BTreeMap::new(),
            queue: BTreeSet::new(),
            running: BTreeMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// Remembers that `key` changed. Returns whether a fetch that starts after `now` will come of
    /// it soon; `false` for a source that fails and waits for its next try.
    pub fn want(&mut self, key: &K, urgency: Urgency, now: Instant) -> bool {
        let task = self.tasks.entry(key.clone()).or_insert(Task::NEW);
        let window = match task.slot {
            Slot::Idle => Window::open(now),
            Slot::Wanted { mut window, due, .. } => {
                self.queue.remove(&(due, key.clone()));
                window.add(now);
                window
            }
            Slot::Running { since } => {
                task.slot = Slot::RunningStale { since, window: Window::open(now), urgency };
                return true;
            }
            Slot::RunningStale { ref mut window, urgency: ref mut before, .. } => {
                window.add(now);
                if urgency == Urgency::Now {
                    *before = urgency;
                }
                return true;
            }
        };
        let failing = task.failures > 0;
        let due = match urgency {
            Urgency::Now if !failing => now,
            Urgency::Now | Urgency::Settled => task.due(window, self.policy.debounce),
        };
        task.slot = Slot::Wanted { window, due, repeats: false };
        self.queue.insert((due, key.clone()));
        !failing || due <= now
    }

    /// Plans the next fetch of a source that changes without telling: at `at`, and later where the
    /// policy says so. Nobody waits for it. To be called when the fetch before has ended.
    pub fn repeat(&mut self, key: &K, at: Instant) {
        let task = self.tasks.entry(key.clone()).or_insert(Task::NEW);
        match task.slot {
            Slot::Idle => {}
            Slot::Wanted { due, .. } => _ = self.queue.remove(&(due, key.clone())),
            Slot::Running { .. } | Slot::RunningStale { .. } => return,
        }
        let due = task.not_before.map_or(at, |it| it.max(at));
        task.not_before = Some(due);
        task.slot = Slot::Wanted { window: Window::open(at), due, repeats: true };
        self.queue.insert((due, key.clone()));
    }

    /// Somebody waits for everything that changed: it neither settles nor rests first. What failed
    /// keeps its own pace.
    pub fn hurry(&mut self, now: Instant) {
        for (key, task) in &mut self.tasks {
            match &mut task.slot {
                Slot::Wanted { due, repeats: false, .. } if task.failures == 0 => {
                    self.queue.remove(&(*due, key.clone()));
                    *due = now.min(*due);
                    self.queue.insert((*due, key.clone()));
                }
                Slot::RunningStale { urgency, .. } => *urgency = Urgency::Now,
                Slot::Idle | Slot::Wanted { .. } | Slot::Running { .. } => {}
            }
        }
    }

    /// Takes what is due and has a slot; the caller starts it.
    pub fn take_due(&mut self, now: Instant) -> Vec<K> {
        self.tidy(now);
        let mut taken = Vec::new();
        let mut n_free = self.policy.slots.saturating_sub(self.n_busy(now));
        while n_free > 0 {
            let Some((due, _)) = self.queue.first() else { break };
            if *due > now {
                break;
            }
            let Some((_, key)) = self.queue.pop_first() else { break };
            if let Some(task) = self.tasks.get_mut(&key) {
                task.slot = Slot::Running { since: now };
                self.running.insert(key.clone(), now);
                taken.push(key);
                n_free -= 1;
            }
        }
        taken
    }

    /// A fetch ended. Where it failed, the next try is planned here and nowhere else.
    pub fn done(&mut self, key: &K, good: bool, now: Instant) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let (since, stale) = match task.slot {
            Slot::Running { since } => (since, None),
            Slot::RunningStale { since, window, urgency } => (since, Some((window, urgency))),
            Slot::Idle | Slot::Wanted { .. } => return,
        };
        self.running.remove(key);
        let rest = (now - since) * (self.policy.rest - 1);
        let mut not_before = (since + self.policy.spacing).max(now + rest);
        if good {
            task.failures = 0;
        } else {
            let doubled = self.policy.first_retry * 2_u32.saturating_pow(task.failures.min(16));
            not_before = not_before.max(now + doubled.min(self.policy.last_retry));
            task.failures = task.failures.saturating_add(1);
        }
        task.not_before = Some(not_before);
        task.postponed = 0;
        task.slot = Slot::Idle;
        let failed = || (!good).then(|| (Window::open(now), Urgency::Settled));
        if let Some((window, urgency)) = stale.or_else(failed) {
            let due = match urgency {
                Urgency::Now if good => now,
                Urgency::Now | Urgency::Settled => task.due(window, self.policy.debounce),
            };
            task.slot = Slot::Wanted { window, due, repeats: false };
            self.queue.insert((due, key.clone()));
        } else {
            self.resting.push_back((not_before, key.clone()));
        }
    }

    /// Of a source that rested long enough there is nothing to know that is not so of any.
    fn tidy(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, key)) = self.resting.pop_front() else { return };
            let is_any = |it: &Task| {
                matches!(it.slot, Slot::Idle) && it.failures == 0 && it.not_before <= Some(now)
            };
            if self.tasks.get(&key).is_some_and(is_any) {
                self.tasks.remove(&key);
            }
        }
    }

    /// Forgets a source that is of no interest any more. A fetch of it that runs goes on, and
    /// keeps its slot until [`Plan::done`]; this says whether one does.
    pub fn forget(&mut self, key: &K) -> bool {
        let Some(task) = self.tasks.get_mut(key) else { return false };
        match task.slot {
            Slot::Running { .. } => {}
            Slot::RunningStale { since, .. } => task.slot = Slot::Running { since },
            Slot::Idle | Slot::Wanted { .. } => {
                self.remove(key);
                return false;
            }
        }
        true
    }

    fn remove(&mut self, key: &K) {
        if let Some(Task { slot: Slot::Wanted { due, .. }, .. }) = self.tasks.remove(key) {
            self.queue.remove(&(due, key.clone()));
        }
    }

    /// A fetch could not start for reasons that are not the source's: it is tried again soon.
    /// Returns how often in a row that was.
    pub fn postpone(&mut self, key: &K, now: Instant) -> u32 {
        let Some(task) = self.tasks.get_mut(key) else { return 0 };
        let window = match task.slot {
            Slot::Running { since } => Window::open(since),
            Slot::RunningStale { window, .. } => window,
            Slot::Idle | Slot::Wanted { .. } => return 0,
        };
        self.running.remove(key);
        let wait = self.policy.postpone * 2_u32.saturating_pow(task.postponed.min(16));
        let due = now + wait.min(Duration::from_secs(1));
        task.postponed = task.postponed.saturating_add(1);
        task.slot = Slot::Wanted { window, due, repeats: false };
        self.queue.insert((due, key.clone()));
        task.postponed
    }

    /// What will be fetched without a further change, of these keys, and how many fetches have to
    /// end until what is known is newer than this moment. Next tries of failing sources do not
    /// count, nor do those whose time comes round again.
    pub fn pending(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = (&K, u8)> {
        self.tasks.range(keys).filter_map(|(key, task)| {
            let fetches = match task.slot {
                Slot::Idle => return None,
                Slot::Wanted { repeats, .. } if repeats || task.failures > 0 => return None,
                Slot::Wanted { .. } | Slot::Running { .. } => 1,
                Slot::RunningStale { .. } => 2,
            };
            Some((key, fetches))
        })
    }

    /// Fetches that run and do not hang.
    fn n_busy(&self, now: Instant) -> usize {
        let hangs = |since: Instant| self.policy.hangs.is_some_and(|it| since + it <= now);
        self.running.values().filter(|since| !hangs(**since)).count()
    }

    /// When the next fetch is due and has a slot. With all slots taken, the end of a fetch is what
    /// to wait for, or that one turns out to hang.
    pub fn deadline(&self) -> Option<Instant> {
        let (due, _) = self.queue.first()?;
        if self.running.len() < self.policy.slots {
            return Some(*due);
        }
        let mut began: Vec<_> = self.running.values().copied().collect();
        began.sort_unstable_by_key(|it| std::cmp::Reverse(*it));
        // When this one hangs, fewer than there are slots do not.
        let last = *began.get(self.policy.slots.checked_sub(1)?)?;
        Some((*due).max(last + self.policy.hangs?))
    }

    /// The fetches that run, and since when.
    pub fn running(&self) -> impl Iterator<Item = (&K, Instant)> {
        self.running.iter().map(|(key, since)| (key, *since))
    }

    /// When a failing source is tried again.
    pub fn next_try(&self, key: &K) -> Option<Instant> {
        match self.tasks.get(key)?.slot {
            Slot::Wanted { due, .. } => Some(due),
            Slot::Idle | Slot::Running { .. } | Slot::RunningStale { .. } => None,
        }
    }

    /// Whether nothing waits but what [`Plan::pending`] does not count, and nothing runs but what
    /// was given up.
    pub fn is_settled(&self, given_up: &BTreeSet<K>) -> bool {
        let waits = |key: &K| {
            let task = self.tasks.get(key).filter(|it| it.failures == 0);
            matches!(task, Some(Task { slot: Slot::Wanted { repeats: false, .. }, .. }))
        };
        let mut running = self.running.keys();
        running.all(|it| given_up.contains(it)) && !self.queue.iter().any(|(_, key)| waits(key))
    }

    /// Whether a source neither runs nor waits for anything.
    pub fn is_idle(&self, key: &K) -> bool {
        self.tasks.get(key).is_none_or(|it| matches!(it.slot, Slot::Idle))
    }
}

impl Task {
    const NEW: Task = Task { slot: Slot::Idle, not_before: None, failures: 0, postponed: 0 };

    fn due(&self, window: Window, debounce: Debounce) -> Instant {
        let settled = window.deadline(debounce);
        self.not_before.map_or(settled, |it| it.max(settled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        debounce: Debounce { quiet: ms(150), max_hold: ms(1000) },
        spacing: ms(0),
        rest: 10,
        slots: 2,
        hangs: None,
        postpone: ms(50),
        first_retry: ms(1000),
        last_retry: ms(300_000),
    };

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    struct Sim {
        zero: Instant,
        plan: Plan<&'static str>,
    }

    impl Sim {
        fn new() -> Sim {
            Sim { zero: crate::time::Now::read().mono, plan: Plan::new(POLICY) }
        }

        fn at(&self, at_ms: u64) -> Instant {
            self.zero + ms(at_ms)
        }

        fn want(&mut self, key: &'static str, at_ms: u64) {
            self.plan.want(&key, Urgency::Settled, self.at(at_ms));
        }

        fn take(&mut self, at_ms: u64) -> Vec<&'static str> {
            self.plan.take_due(self.at(at_ms))
        }

        fn done(&mut self, key: &'static str, good: bool, at_ms: u64) {
            self.plan.done(&key, good, self.at(at_ms));
        }

        fn is_settled(&self) -> bool {
            self.plan.is_settled(&BTreeSet::new())
        }

        fn deadline_ms(&self) -> Option<u128> {
            self.plan.deadline().map(|it| (it - self.zero).as_millis())
        }
    }

    #[test]
    fn a_change_during_a_fetch_is_remembered_once() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert_eq!(sim.take(149), [""; 0]);
        assert_eq!(sim.take(150), ["a"]);
        sim.want("a", 160);
        sim.want("a", 170);
        assert_eq!(sim.take(2000), [""; 0], "started twice at once");
        sim.done("a", true, 170);
        assert_eq!(sim.deadline_ms(), Some(170 + 9 * 20));
        assert_eq!(sim.take(350), ["a"]);
        sim.done("a", true, 351);
        assert_eq!(sim.deadline_ms(), None);
        assert!(sim.is_settled());
    }

    #[test]
    fn a_slow_source_rests_nine_times_as_long_as_it_took() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert_eq!(sim.take(150), ["a"]);
        sim.done("a", true, 1150);
        sim.want("a", 1200);
        assert_eq!(sim.deadline_ms(), Some(1150 + 9000));
    }

    #[test]
    fn a_slow_source_delays_nobody_else() {
        let mut sim = Sim::new();
        sim.want("slow", 0);
        assert_eq!(sim.take(150), ["slow"]);
        for round in 0..40 {
            let at = 200 + round * 200;
            sim.want("quick", at);
            assert_eq!(sim.take(at + 150), ["quick"]);
            sim.done("quick", true, at + 151);
        }
    }

    #[test]
    fn who_waits_longest_goes_first() {
        let mut sim = Sim::new();
        for (at, key) in ["d", "c", "b", "a"].into_iter().enumerate() {
            sim.want(key, u64::try_from(at).unwrap());
        }
        assert_eq!(sim.take(1000), ["d", "c"]);
        assert_eq!(sim.deadline_ms(), None, "no slot is free, so there is nothing to wake for");
        sim.done("c", true, 1001);
        assert_eq!(sim.take(1001), ["b"]);
    }

    #[test]
    fn a_failing_source_is_asked_less_and_less_but_never_given_up() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        let mut at = 150;
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(sim.take(at), ["a"]);
            sim.done("a", false, at);
            let next = u64::try_from(sim.deadline_ms().unwrap()).unwrap();
            waits.push((next - at) / 1000);
            at = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert!(sim.is_settled(), "a next try is nothing to wait for");
        sim.take(at);
        sim.done("a", true, at + 1);
        sim.want("a", at + 10);
        assert_eq!(sim.deadline_ms(), Some(u128::from(at) + 160), "a success forgives");
    }

    #[test]
    fn changes_do_not_hurry_a_failing_source() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        sim.take(150);
        sim.done("a", false, 150);
        sim.want("a", 200);
        assert!(!sim.plan.want(&"a", Urgency::Now, sim.at(300)));
        assert_eq!(sim.deadline_ms(), Some(1150));
    }

    #[test]
    fn somebody_who_waits_does_not_wait_for_quiet() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert!(sim.plan.want(&"a", Urgency::Now, sim.at(10)));
        assert_eq!(sim.take(10), ["a"]);
    }

    #[test]
    fn somebody_who_waits_while_it_runs_does_not_wait_for_its_rest() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert_eq!(sim.take(150), ["a"]);
        assert!(sim.plan.want(&"a", Urgency::Now, sim.at(200)));
        sim.want("a", 210);
        sim.done("a", true, 1150);
        assert_eq!(sim.take(1150), ["a"]);
        assert!(sim.plan.want(&"a", Urgency::Now, sim.at(1200)));
        sim.done("a", false, 1250);
        assert_eq!(sim.take(1250), [""; 0], "a failing source keeps its own pace");
    }

    #[test]
    fn a_fetch_that_could_not_start_is_no_failure() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        sim.take(150);
        let mut at = 150;
        let mut waits = Vec::new();
        for n_tries in 1..=8 {
            assert_eq!(sim.plan.postpone(&"a", sim.at(at)), n_tries);
            let next = u64::try_from(sim.deadline_ms().unwrap()).unwrap();
            waits.push(next - at);
            at = next;
            assert_eq!(sim.take(at), ["a"]);
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        sim.done("a", true, at);
        assert!(sim.is_settled());
    }

    #[test]
    fn a_fetch_that_began_before_a_change_does_not_answer_it() {
        let mut sim = Sim::new();
        sim.want("waits", 0);
        sim.want("runs", 0);
        sim.want("stale", 0);
        sim.plan.policy.slots = 3;
        sim.take(150);
        sim.done("waits", true, 150);
        sim.want("waits", 151);
        sim.want("stale", 151);
        let pending: Vec<_> = sim.plan.pending(..).collect();
        assert_eq!(pending, [(&"runs", 1), (&"stale", 2), (&"waits", 1)]);
    }

    #[test]
    fn a_fetch_that_hangs_keeps_its_slot_for_a_while_only() {
        let mut sim = Sim::new();
        sim.plan.policy.hangs = Some(ms(60_000));
        for key in ["a", "b", "c", "d", "e"] {
            sim.want(key, 0);
        }
        assert_eq!(sim.take(150), ["a", "b"]);
        sim.done("a", true, 1000);
        assert_eq!(sim.take(1000), ["c"]);
        assert_eq!(sim.deadline_ms(), Some(60_150), "b hangs then");
        assert_eq!(sim.take(60_149), [""; 0]);
        assert_eq!(sim.take(60_150), ["d"]);
        assert_eq!(sim.deadline_ms(), Some(61_000), "c hangs then");
        sim.done("b", true, 60_200);
        assert_eq!(sim.take(60_200), [""; 0], "what comes back late gives nobody a slot twice");
        assert_eq!(sim.take(61_000), ["e"]);
    }

    #[test]
    fn what_was_given_up_is_nothing_to_wait_for() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        sim.take(150);
        assert_eq!(sim.plan.running().collect::<Vec<_>>(), [(&"a", sim.at(150))]);
        assert!(!sim.is_settled());
        assert!(sim.plan.is_settled(&BTreeSet::from(["a"])));
        sim.want("a", 160);
        sim.done("a", true, 200);
        assert!(!sim.plan.is_settled(&BTreeSet::from(["a"])), "it came back, and is wanted again");
    }

    #[test]
    fn a_source_whose_time_comes_round_keeps_its_distance_and_nobody_waits_for_it() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert!(!sim.is_settled(), "the first time somebody does");
        assert_eq!(sim.take(150), ["a"]);
        sim.done("a", true, 160);
        sim.plan.repeat(&"a", sim.at(5150));
        assert_eq!(sim.deadline_ms(), Some(5150));
        assert!(sim.is_settled() && !sim.plan.is_idle(&"a"));
        sim.plan.hurry(sim.at(200));
        assert_eq!(sim.deadline_ms(), Some(5150));
        assert_eq!(sim.take(5150), ["a"]);
        assert!(!sim.is_settled(), "it runs");
        sim.done("a", true, 6150);
        sim.plan.repeat(&"a", sim.at(10_150));
        assert_eq!(sim.deadline_ms(), Some(6150 + 9000), "it rests");
        assert_eq!(sim.take(15_150), ["a"]);
        for _ in 0..8 {
            sim.done("a", false, 15_151);
            sim.plan.repeat(&"a", sim.at(20_150));
            assert_eq!(sim.take(20_149), [""; 0], "a next try keeps the distance, too");
            sim.take(1_000_000);
        }
        sim.done("a", false, 1_000_000);
        sim.plan.repeat(&"a", sim.at(1_005_000));
        assert_eq!(sim.deadline_ms(), Some(1_256_000));
    }

    #[test]
    fn somebody_who_waits_for_everything_hurries_what_changed() {
        let mut sim = Sim::new();
        for key in ["rests", "runs", "fails", "changed"] {
            sim.plan.policy.slots = 4;
            sim.want(key, 0);
        }
        sim.take(150);
        sim.done("rests", true, 1150);
        sim.done("fails", false, 1150);
        sim.want("rests", 1160);
        sim.want("changed", 1160);
        sim.plan.hurry(sim.at(1170));
        assert_eq!(sim.take(1170), ["rests"]);
        sim.done("runs", true, 1170);
        sim.done("changed", true, 1170);
        assert_eq!(sim.take(1170), ["changed"]);
        assert!(sim.plan.is_idle(&"runs"), "nothing changed since it began");
    }

    #[test]
    fn of_a_source_that_rested_nothing_is_kept() {
        let mut sim = Sim::new();
        for key in ["good", "fails"] {
            sim.want(key, 0);
        }
        sim.take(150);
        sim.done("good", true, 160);
        sim.done("fails", false, 160);
        let known = |it: &Sim| it.plan.tasks.keys().copied().collect::<Vec<_>>();
        sim.take(249);
        assert_eq!(known(&sim), ["fails", "good"], "it rests nine times as long as it took");
        sim.take(250);
        assert_eq!(known(&sim), ["fails"]);
    }

    #[test]
    fn a_forgotten_source_is_not_fetched_and_frees_its_slot() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert!(!sim.plan.forget(&"a"));
        assert_eq!(sim.deadline_ms(), None);
        sim.want("b", 0);
        sim.take(150);
        sim.want("b", 160);
        assert!(sim.plan.forget(&"b"), "it runs");
        sim.done("b", true, 170);
        assert_eq!(sim.deadline_ms(), None);
        assert!(sim.is_settled());
    }
}
