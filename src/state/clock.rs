//! PURE. What happens at a time of its own, and what two clocks that disagree mean.

use std::time::{Duration, Instant};

use crate::time::Now;

/// While a session lives: its line is redrawn, its process looked after, roots checked.
const TICK: Duration = Duration::from_secs(60);
/// Every this many ticks all directories are listed: this finds what the kernel did not report.
const RECONCILE_TICKS: u32 = 5;
/// When the wall clock and the monotonic one differ by more than this, the wall clock was set, or
/// the machine slept.
const JUMP_MS: i64 = 5_000;

/// Everything that [`State`](super::State) does at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Reads that hang are given up.
    GiveUp,
    /// Directories without events are listed.
    Poll,
    /// What a minute brings while a session lives.
    Tick,
    /// Everything is listed again, since events were lost.
    Rescan,
    /// The configuration is read, or not waited for any longer.
    Configuration,
    /// The checkpoint is written.
    Save,
    /// Sources are fetched.
    Fetch,
    /// The snapshot is published.
    Publish,
}

impl Timer {
    /// All of them, in the order in which they fire where several are due.
    pub(super) const ALL: [Timer; Timer::Publish as usize + 1] = [
        Timer::GiveUp,
        Timer::Poll,
        Timer::Tick,
        Timer::Rescan,
        Timer::Configuration,
        Timer::Save,
        Timer::Fetch,
        Timer::Publish,
    ];
}

/// The ticks, and the times by which jumps of the wall clock are noticed.
#[derive(Debug)]
pub(super) struct Clock {
    next_tick: Option<Instant>,
    n_ticks: u32,
    last_tick: Now,
    last_event: Now,
}

impl Clock {
    /// The clock of a process that starts now, and does not tick yet.
    pub(super) fn new(now: Now) -> Clock {
        Clock { next_tick: None, n_ticks: 0, last_tick: now, last_event: now }
    }

    /// An event came. Returns by how much the wall clock was set back since the one before, in
    /// milliseconds, if it was.
    pub(super) fn event_came(&mut self, now: Now) -> Option<i64> {
        let before = std::mem::replace(&mut self.last_event, now);
        let set_back_ms = -now.jumped_ms(before);
        (set_back_ms > JUMP_MS).then_some(set_back_ms)
    }

    /// A session lives: from now on the clock ticks.
    pub(super) fn start_ticking(&mut self, now: Now) {
        self.next_tick.get_or_insert(now.mono + TICK);
    }

    /// When the next tick is due.
    pub(super) fn tick_at(&self) -> Option<Instant> {
        self.next_tick
    }

    /// A tick is due. Returns whether all directories are to be listed: every so often, and where
    /// the clock jumped. While a machine sleeps, changes on a network file system, say, are not
    /// reported.
    pub(super) fn is_full_listing_due(&self, now: Now) -> bool {
        let has_jumped = self.n_ticks > 0 && now.jumped_ms(self.last_tick).abs() > JUMP_MS;
        has_jumped || self.n_ticks % RECONCILE_TICKS == RECONCILE_TICKS - 1
    }

    /// The tick is over. Without a live session there will be no other one.
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
        assert_eq!(clock.event_came(at(zero, 4000, 60_000)), None, "forward is nothing to mend");
    }

    #[test]
    fn it_ticks_while_a_session_lives_and_is_thorough_every_fifth_time_and_after_a_jump() {
        let zero = Now::read();
        let mut clock = Clock::new(zero);
        assert_eq!(clock.tick_at(), None);
        clock.start_ticking(zero);
        let mut thorough = Vec::new();
        for n in 1..=10 {
            let now = at(zero, n * 60_000, n * 60_000);
            assert_eq!(clock.tick_at(), Some(now.mono));
            thorough.extend(clock.is_full_listing_due(now).then_some(n));
            clock.tick_ended(true, now);
        }
        assert_eq!(thorough, [5, 10]);
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
