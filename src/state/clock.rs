//! PURE. The timers of the state, and jumps of the wall clock.

use std::time::{Duration, Instant};

use crate::time::Now;

/// How often, while a session is live, its line is redrawn, its process is checked and config roots
/// are listed.
const TICK: Duration = Duration::from_secs(60);
/// Every fifth tick also lists the folders of transcripts and the configuration's. This finds
/// changes that the kernel did not report.
const RECONCILE_TICKS: u32 = 5;
/// If the wall clock and the monotonic clock advance by amounts that differ by more than this, in
/// milliseconds, then the wall clock was set, or the machine slept.
const JUMP_MS: i64 = 5_000;

/// What [`State`](super::State) does at a certain time rather than after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Stop waiting for reads that hang.
    GiveUp,
    /// List directories in which the kernel reports no changes.
    Poll,
    /// The work of each minute in which a session is live.
    Tick,
    /// List every directory again, because events were lost.
    Rescan,
    /// Read transcripts whose last lines have no newline and have been quiet.
    Quiet,
    /// Read the configuration, or stop waiting for the thread that reads it.
    Configuration,
    /// Write the checkpoint.
    Save,
    /// Bring the journal of the record into its months, or try the record again.
    Fold,
    /// Tell what has held for long enough.
    Alerts,
    /// Start fetches.
    Fetch,
    /// Publish the snapshot.
    Publish,
}

impl Timer {
    /// All timers. Where several are due, they fire in this order.
    pub(super) const ALL: [Timer; Timer::Publish as usize + 1] = [
        Timer::GiveUp,
        Timer::Poll,
        Timer::Tick,
        Timer::Rescan,
        Timer::Quiet,
        Timer::Configuration,
        Timer::Save,
        Timer::Fold,
        Timer::Alerts,
        Timer::Fetch,
        Timer::Publish,
    ];
}

/// When the next tick is due, and the times from which jumps of the wall clock are computed.
#[derive(Debug)]
pub(super) struct Clock {
    /// `None` while no session is live.
    next_tick: Option<Instant>,
    /// Ticks since the first live session.
    n_ticks: u32,
    last_tick: Now,
    last_event: Now,
}

impl Clock {
    /// The clock of a process that starts now. It ticks once a session is live.
    pub(super) fn new(now: Now) -> Clock {
        Clock { next_tick: None, n_ticks: 0, last_tick: now, last_event: now }
    }

    /// An event came. Returns by how many milliseconds the wall clock was set back since the last
    /// event, if it was.
    pub(super) fn event_came(&mut self, now: Now) -> Option<i64> {
        let before = std::mem::replace(&mut self.last_event, now);
        let set_back_ms = -now.jumped_ms(before);
        (set_back_ms > JUMP_MS).then_some(set_back_ms)
    }

    /// Ticks from now on, since a session is live.
    pub(super) fn start_ticking(&mut self, now: Now) {
        self.next_tick.get_or_insert(now.mono + TICK);
    }

    /// When the next tick is due.
    pub(super) fn tick_at(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Whether this tick also lists the folders of transcripts and the configuration's: every fifth
    /// tick does, and each one after a jump of the clock. A jump can mean that the machine slept.
    /// The kernel then reported no changes that other machines made on a network file system.
    pub(super) fn is_full_listing_due(&self, now: Now) -> bool {
        let has_jumped = self.n_ticks > 0 && now.jumped_ms(self.last_tick).abs() > JUMP_MS;
        has_jumped || self.n_ticks % RECONCILE_TICKS == RECONCILE_TICKS - 1
    }

    /// A tick ended. Plans the next one if any session is live.
    pub(super) fn tick_ended(&mut self, is_any_live: bool, now: Now) {
        self.last_tick = now;
        self.next_tick = is_any_live.then(|| now.mono + TICK);
        self.n_ticks = if is_any_live { self.n_ticks + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::span;

    fn at(zero: Now, mono_ms: i64, wall_ms: i64) -> Now {
        Now { mono: zero.mono + span(mono_ms), wall_ms: zero.wall_ms + wall_ms }
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed_once() {
        let zero = Now::read();
        let mut clock = Clock::new(zero);
        assert_eq!(clock.event_came(at(zero, 1000, 1000)), None);
        assert_eq!(clock.event_came(at(zero, 2000, -8000)), Some(10_000));
        assert_eq!(clock.event_came(at(zero, 3000, -7000)), None);
        assert_eq!(
            clock.event_came(at(zero, 4000, 60_000)),
            None,
            "a clock set forward makes no time lie in the future"
        );
    }

    #[test]
    fn the_clock_ticks_while_a_session_is_live_and_lists_all_on_each_fifth_tick_and_after_a_jump() {
        let zero = Now::read();
        let mut clock = Clock::new(zero);
        assert_eq!(clock.tick_at(), None);
        clock.start_ticking(zero);
        let mut full = Vec::new();
        for n in 1..=10 {
            let now = at(zero, n * 60_000, n * 60_000);
            assert_eq!(clock.tick_at(), Some(now.mono));
            full.extend(clock.is_full_listing_due(now).then_some(n));
            clock.tick_ended(true, now);
        }
        assert_eq!(full, [5, 10]);
        assert!(clock.is_full_listing_due(at(zero, 660_000, 7_000_000)), "the machine slept");
        clock.tick_ended(false, at(zero, 660_000, 660_000));
        assert_eq!(clock.tick_at(), None);
    }

    #[test]
    fn every_timer_is_in_the_table_once() {
        for (nth, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, nth);
        }
    }
}
