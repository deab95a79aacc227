//! PURE. Debouncing: when to act on a change that further changes may follow.

use std::time::{Duration, Instant};

/// How long to wait for further changes.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    /// How long after the newest change to act.
    pub quiet: Duration,
    /// How long after the first change to act at the latest, so that a transcript to which
    /// something is appended all day still reaches the screen.
    pub max_hold: Duration,
}

/// A series of changes on which nothing acted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    first: Instant,
    last: Instant,
}

impl Window {
    /// Starts a series with its first change.
    pub fn open(now: Instant) -> Window {
        Window { first: now, last: now }
    }

    /// Adds a further change.
    pub fn add(&mut self, now: Instant) {
        self.last = now;
    }

    /// When to act on the series.
    pub fn deadline(&self, debounce: Debounce) -> Instant {
        (self.last + debounce.quiet).min(self.first + debounce.max_hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds changes at these milliseconds, and checks at which it acts. Acting takes no time.
    #[track_caller]
    fn check(changes_ms: impl IntoIterator<Item = u64>, acted_ms: &[u64]) {
        let debounce =
            Debounce { quiet: Duration::from_millis(150), max_hold: Duration::from_secs(1) };
        let zero = crate::time::Now::read().mono;
        let mut window: Option<Window> = None;
        let mut acted = Vec::new();
        for ms in changes_ms.into_iter().chain([u64::MAX >> 32]) {
            let now = zero + Duration::from_millis(ms);
            if let Some(deadline) = window.map(|it| it.deadline(debounce)).filter(|it| *it <= now) {
                acted.push(u64::try_from((deadline - zero).as_millis()).unwrap());
                window = None;
            }
            match &mut window {
                Some(window) => window.add(now),
                None => window = Some(Window::open(now)),
            }
        }
        assert_eq!(acted, acted_ms);
    }

    #[test]
    fn a_lone_change_waits_for_quiet() {
        check([0], &[150]);
    }

    #[test]
    fn changes_close_together_are_acted_on_once() {
        check([0, 100, 200, 300], &[450]);
    }

    #[test]
    fn changes_without_end_are_still_acted_on() {
        check((0..60).map(|it| it * 50), &[1000, 2000, 3000]);
    }
}
