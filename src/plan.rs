//! PURE. Schedules fetches: decides which source to fetch next, from what changed, how long ago,
//! and how often the last fetches failed.
//!
//! It never reads a clock or a file, never starts anything, and does not know what a source is: the
//! type of its key is a parameter.
//!
//! **Invariants:** at most one fetch of a source runs at a time, and at most one more is planned. A
//! source that keeps failing is fetched less and less often, but never dropped. The source that has
//! waited longest goes first, so a slow one delays only itself; those that nobody waits for go
//! last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeBounds;
use std::time::{Duration, Instant};

use crate::watch::debounce::{Debounce, Window};

/// How often sources of one kind may be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a change waits for more changes.
    pub debounce: Debounce,
    /// The shortest time from one start of a source's fetch to the next.
    pub spacing: Duration,
    /// Fetches of one source take at most 1/`rest` of the time. With 10, a source rests for nine
    /// times as long as its fetch took.
    pub rest: u32,
    /// How many fetches that are not slow run at the same time.
    pub slots: usize,
    /// A fetch that runs for longer than this no longer takes a slot, so that a slow source delays
    /// no other one. `None`: each takes a slot until it ends.
    pub slow_after: Option<Duration>,
    /// How many fetches run at once, slow ones included.
    pub most: usize,
    /// The wait after a fetch could not start. It doubles each time, up to a second.
    pub postpone: Duration,
    /// The wait after a first failure. It doubles with each further one, up to `last_retry`.
    pub first_retry: Duration,
    pub last_retry: Duration,
}

/// How soon a source should be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// After the debounce, and within the limits of the [`Policy`].
    Settled,
    /// At once, because a client waits for the result. A failing source is retried no earlier.
    Now,
    /// When no other source is due: nobody waits for this one alone.
    Idle,
}

/// Which sources are to be fetched, which are being fetched, and when each may be fetched again.
#[derive(Debug)]
pub struct Plan<K> {
    policy: Policy,
    tasks: BTreeMap<K, Task>,
    /// The tasks in [`Slot::Wanted`].
    queue: Queue<K>,
    /// The running tasks, and when each was started.
    running: BTreeMap<K, Instant>,
    /// Tasks that became idle, and when each may be fetched again and so can be forgotten.
    resting: VecDeque<(Instant, K)>,
}

/// Wanted tasks, each with when it is due, in this order.
#[derive(Debug)]
struct Queue<K> {
    /// They go before all others.
    first: BTreeSet<(Instant, K)>,
    /// Those that were wanted with [`Urgency::Idle`] alone.
    idle: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Queue<K> {
    fn insert(&mut self, entry: (Instant, K)) {
        self.first.insert(entry);
    }

    fn insert_idle(&mut self, entry: (Instant, K)) {
        self.idle.insert(entry);
    }

    fn remove(&mut self, entry: &(Instant, K)) {
        if !self.first.remove(entry) {
            self.idle.remove(entry);
        }
    }

    fn is_idle(&self, entry: &(Instant, K)) -> bool {
        self.idle.contains(entry)
    }

    /// Takes the task out that goes next; `None` if none is due.
    fn pop_due(&mut self, now: Instant) -> Option<K> {
        [&mut self.first, &mut self.idle].into_iter().find_map(|queue| {
            let is_due = queue.first().is_some_and(|(due, _)| *due <= now);
            is_due.then(|| queue.pop_first()).flatten().map(|(_, key)| key)
        })
    }

    /// When the first task is due.
    fn next_due(&self) -> Option<Instant> {
        let dues = [&self.first, &self.idle].into_iter().filter_map(BTreeSet::first);
        dues.map(|(due, _)| *due).min()
    }

    fn keys(&self) -> impl Iterator<Item = &K> {
        self.first.iter().chain(&self.idle).map(|(_, key)| key)
    }
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
        /// Whether this is a periodic fetch, without a known change. No client waits for those.
        repeats: bool,
    },
    Running {
        since: Instant,
    },
    /// The source changed during the fetch, so the result may already be out of date.
    RunningStale {
        since: Instant,
        window: Window,
        urgency: Urgency,
    },
}

impl<K: Ord + Clone> Plan<K> {
    pub fn new(policy: Policy) -> Plan<K> {
        Plan {
            policy,
            tasks: BTreeMap::new(),
            queue: Queue { first: BTreeSet::new(), idle: BTreeSet::new() },
            running: BTreeMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// Plans a fetch because `key` changed. Returns whether one that starts at `now` or later is to
    /// be expected soon; it is not if the source is failing and waits for its next try.
    pub fn want(&mut self, key: &K, urgency: Urgency, now: Instant) -> bool {
        let task = self.tasks.entry(key.clone()).or_insert(Task::NEW);
        let mut is_idle = urgency == Urgency::Idle;
        let window = match task.slot {
            Slot::Idle => Window::open(now),
            Slot::Wanted { mut window, due, .. } => {
                let entry = (due, key.clone());
                is_idle &= self.queue.is_idle(&entry);
                self.queue.remove(&entry);
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
            Urgency::Now | Urgency::Settled | Urgency::Idle => {
                task.due(window, self.policy.debounce)
            }
        };
        task.slot = Slot::Wanted { window, due, repeats: false };
        match is_idle {
            true => self.queue.insert_idle((due, key.clone())),
            false => self.queue.insert((due, key.clone())),
        }
        !failing || due <= now
    }

    /// Plans the next periodic fetch, for a source whose changes are not reported: at `at`, or
    /// later if the policy requires it. No client waits for it. Call this when the last fetch has
    /// ended.
    pub fn repeat(&mut self, key: &K, at: Instant) {
        let task = self.tasks.entry(key.clone()).or_insert(Task::NEW);
        match task.slot {
            Slot::Idle => {}
            Slot::Wanted { due, .. } => self.queue.remove(&(due, key.clone())),
            Slot::Running { .. } | Slot::RunningStale { .. } => return,
        }
        let due = task.not_before.map_or(at, |it| it.max(at));
        task.not_before = Some(due);
        task.slot = Slot::Wanted { window: Window::open(at), due, repeats: true };
        self.queue.insert((due, key.clone()));
    }

    /// Makes all changed sources due at once, because a client waits for all of them: they neither
    /// wait for quiet nor rest. Failing sources are retried no earlier.
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

    /// Returns the sources that are due, as far as slots are free. The caller starts their fetches.
    pub fn take_due(&mut self, now: Instant) -> Vec<K> {
        self.tidy(now);
        let mut taken = Vec::new();
        let n_slots = self.policy.slots.saturating_sub(self.n_busy(now));
        let mut n_free = n_slots.min(self.policy.most.saturating_sub(self.running.len()));
        while n_free > 0 {
            let Some(key) = self.queue.pop_due(now) else { break };
            if let Some(task) = self.tasks.get_mut(&key) {
                task.slot = Slot::Running { since: now };
                self.running.insert(key.clone(), now);
                taken.push(key);
                n_free -= 1;
            }
        }
        taken
    }

    /// Records that a fetch ended. If it failed, this plans the next try.
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
                Urgency::Now | Urgency::Settled | Urgency::Idle => {
                    task.due(window, self.policy.debounce)
                }
            };
            task.slot = Slot::Wanted { window, due, repeats: false };
            self.queue.insert((due, key.clone()));
        } else {
            self.resting.push_back((not_before, key.clone()));
        }
    }

    /// Removes tasks of idle sources that may be fetched again: they no longer differ from the task
    /// of a new source.
    fn tidy(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, key)) = self.resting.pop_front() else { return };
            let is_like_new = |task: &Task| {
                matches!(task.slot, Slot::Idle)
                    && task.failures == 0
                    && task.not_before <= Some(now)
            };
            if self.tasks.get(&key).is_some_and(is_like_new) {
                self.tasks.remove(&key);
            }
        }
    }

    /// Cancels what is planned for a source that is no longer needed. A running fetch goes on, and
    /// keeps its slot until [`Plan::done`]. Returns whether one is running.
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

    /// Records that a fetch could not start for a reason that has nothing to do with the source. It
    /// is tried again soon. Returns how many times in a row this happened.
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

    /// The sources among `keys` of which a fetch runs or is planned, each with the number of
    /// fetches that must end until its data is newer than this moment. Retries of failing sources
    /// and periodic fetches are left out.
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

    /// How many slots are taken: by fetches that run and are not slow.
    fn n_busy(&self, now: Instant) -> usize {
        let is_slow = |since: Instant| self.policy.slow_after.is_some_and(|it| since + it <= now);
        self.running.values().filter(|since| !is_slow(**since)).count()
    }

    /// When [`Plan::take_due`] may next return something. While all slots are taken, that is when a
    /// fetch will count as slow; `None` if only the end of a fetch can free a slot.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.queue.next_due()?;
        if self.running.len() >= self.policy.most {
            // The end of a fetch is an event, and no time is known for it.
            return None;
        }
        if self.running.len() < self.policy.slots {
            return Some(due);
        }
        let mut began: Vec<_> = self.running.values().copied().collect();
        began.sort_unstable_by_key(|it| std::cmp::Reverse(*it));
        // Once this one is slow, fewer fetches than slots are not, so a slot is free.
        let last = *began.get(self.policy.slots.checked_sub(1)?)?;
        Some(due.max(last + self.policy.slow_after?))
    }

    /// The running fetches, and when each was started.
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

    /// Whether no fetch is planned except those that [`Plan::pending`] leaves out, and none runs
    /// except those of `given_up`.
    pub fn is_settled(&self, given_up: &BTreeSet<K>) -> bool {
        let waits = |key: &K| {
            let task = self.tasks.get(key).filter(|it| it.failures == 0);
            matches!(task, Some(Task { slot: Slot::Wanted { repeats: false, .. }, .. }))
        };
        let mut running = self.running.keys();
        running.all(|it| given_up.contains(it)) && !self.queue.keys().any(waits)
    }

    /// Whether no fetch of the source is running or planned.
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
        slow_after: None,
        most: 16,
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
    fn a_slow_source_does_not_delay_others() {
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
    fn the_source_that_has_waited_longest_goes_first() {
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
    fn a_failing_source_is_fetched_less_and_less_often_but_never_dropped() {
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
        assert!(sim.is_settled(), "a planned retry does not count");
        sim.take(at);
        sim.done("a", true, at + 1);
        sim.want("a", at + 10);
        assert_eq!(sim.deadline_ms(), Some(u128::from(at) + 160), "a success resets the failures");
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
    fn an_urgent_fetch_does_not_wait_for_quiet() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert!(sim.plan.want(&"a", Urgency::Now, sim.at(10)));
        assert_eq!(sim.take(10), ["a"]);
    }

    #[test]
    fn an_urgent_fetch_wanted_during_another_does_not_wait_for_its_rest() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert_eq!(sim.take(150), ["a"]);
        assert!(sim.plan.want(&"a", Urgency::Now, sim.at(200)));
        sim.want("a", 210);
        sim.done("a", true, 1150);
        assert_eq!(sim.take(1150), ["a"]);
        assert!(sim.plan.want(&"a", Urgency::Now, sim.at(1200)));
        sim.done("a", false, 1250);
        assert_eq!(sim.take(1250), [""; 0], "a failing source is retried no earlier");
    }

    #[test]
    fn a_fetch_that_could_not_start_does_not_count_as_a_failure() {
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
    fn a_fetch_that_began_before_a_change_does_not_satisfy_it() {
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
    fn slow_fetches_are_at_most_so_many() {
        let mut sim = Sim::new();
        (sim.plan.policy.slow_after, sim.plan.policy.most) = (Some(ms(100)), 5);
        for key in ["a", "b", "c", "d", "e", "f"] {
            sim.want(key, 0);
        }
        let taken: Vec<_> = [150, 200, 250, 350, 450].map(|at_ms| sim.take(at_ms)).into();
        assert_eq!(taken, [vec!["a", "b"], vec![], vec!["c", "d"], vec!["e"], vec![]]);
        assert_eq!(sim.deadline_ms(), None, "one of the five has to end");
        sim.done("c", true, 500);
        assert_eq!(sim.take(500), ["f"]);
    }

    #[test]
    fn a_slow_fetch_loses_its_slot_after_a_while() {
        let mut sim = Sim::new();
        sim.plan.policy.slow_after = Some(ms(60_000));
        for key in ["a", "b", "c", "d", "e"] {
            sim.want(key, 0);
        }
        assert_eq!(sim.take(150), ["a", "b"]);
        sim.done("a", true, 1000);
        assert_eq!(sim.take(1000), ["c"]);
        assert_eq!(sim.deadline_ms(), Some(60_150), "b is slow then");
        assert_eq!(sim.take(60_149), [""; 0]);
        assert_eq!(sim.take(60_150), ["d"]);
        assert_eq!(sim.deadline_ms(), Some(61_000), "c is slow then");
        sim.done("b", true, 60_200);
        assert_eq!(sim.take(60_200), [""; 0], "a late result does not free a slot twice");
        assert_eq!(sim.take(61_000), ["e"]);
    }

    #[test]
    fn a_fetch_that_was_given_up_does_not_keep_the_plan_from_settling() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        sim.take(150);
        assert_eq!(sim.plan.running().collect::<Vec<_>>(), [(&"a", sim.at(150))]);
        assert!(!sim.is_settled());
        assert!(sim.plan.is_settled(&BTreeSet::from(["a"])));
        sim.want("a", 160);
        sim.done("a", true, 200);
        assert!(!sim.plan.is_settled(&BTreeSet::from(["a"])), "it ended, and is wanted again");
    }

    #[test]
    fn a_periodic_fetch_keeps_its_interval_and_does_not_keep_the_plan_from_settling() {
        let mut sim = Sim::new();
        sim.want("a", 0);
        assert!(!sim.is_settled(), "the first fetch is not periodic");
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
            assert_eq!(sim.take(20_149), [""; 0], "a retry keeps the interval, too");
            sim.take(1_000_000);
        }
        sim.done("a", false, 1_000_000);
        sim.plan.repeat(&"a", sim.at(1_005_000));
        assert_eq!(sim.deadline_ms(), Some(1_256_000));
    }

    #[test]
    fn hurry_makes_changed_sources_due_but_not_failing_ones() {
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
    fn an_idle_source_is_forgotten_after_its_rest() {
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
