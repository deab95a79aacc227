//! PURE. When the configuration file is read again. While it is invalid, the settings stay as they
//! were, and snapshots list the error.

use std::path::Path;
use std::time::{Duration, Instant};

use super::event::ReadFailure;
use super::sources::{GIVE_UP_AFTER, whole_seconds};
use super::text;
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::SILENT;
use crate::watch::debounce::{Debounce, Window};

/// How long the file must stay unchanged before it is read. Some editors empty a file and then
/// write it, others write a new file and rename it.
const SETTLE: Debounce =
    Debounce { quiet: Duration::from_millis(100), max_hold: Duration::from_secs(1) };

/// A read that failed for want of descriptors, threads or memory is tried again after this time …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … which doubles up to this with each further one.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// Whether the configuration file changed, is being read, or is invalid.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// When the file changed, if it has since the last read began.
    changed: Option<Window>,
    /// Whether a thread reads the file. No second one is started, even if this one hangs.
    is_reading: bool,
    /// When that thread will count as hung; `None` once it does.
    give_up_at: Option<Instant>,
    /// Since when (Unix milliseconds) and why the file cannot be used.
    invalid: Option<(i64, String)>,
    /// When a read that failed for want of something is tried again.
    retry_at: Option<Instant>,
    /// How many reads in a row have failed so.
    n_retries: u32,
}

impl Configuration {
    /// The file may have changed.
    pub(super) fn changed(&mut self, now: Now) {
        self.changed.get_or_insert(Window::open(now.mono)).add(now.mono);
    }

    /// Whether the file changed or is being read, by a thread that does not hang.
    pub(super) fn is_awaited(&self) -> bool {
        if self.is_reading { self.give_up_at.is_some() } else { self.changed.is_some() }
    }

    /// When [`Configuration::timer_fired`] is to be called.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.is_reading {
            return self.give_up_at;
        }
        let settled_at = self.changed.map(|window| window.deadline(SETTLE));
        settled_at.into_iter().chain(self.retry_at).min()
    }

    /// [`Configuration::due_at`] has come. Returns what to do.
    pub(super) fn timer_fired(&mut self, now: Now) -> Due {
        if self.is_reading {
            self.give_up_at = None;
            return Due::Hangs { has_changed: self.note_failure(SILENT.to_owned(), now) };
        }
        (self.changed, self.retry_at) = (None, None);
        self.is_reading = true;
        self.give_up_at = Some(now.mono + GIVE_UP_AFTER);
        Due::Read
    }

    /// The file was read and is valid. Returns whether it was invalid before.
    pub(super) fn read_valid(&mut self) -> bool {
        (self.is_reading, self.give_up_at, self.n_retries) = (false, None, 0);
        self.invalid.take().is_some()
    }

    /// The file could not be read, or is invalid. Returns whether the reason is new.
    pub(super) fn read_failed(&mut self, failure: ReadFailure, now: Now) -> bool {
        (self.is_reading, self.give_up_at) = (false, None);
        if failure.is_transient {
            let wait = FIRST_RETRY * 2_u32.saturating_pow(self.n_retries.min(16));
            self.n_retries = self.n_retries.saturating_add(1);
            self.retry_at = Some(now.mono + wait.min(LAST_RETRY));
        } else {
            self.n_retries = 0;
        }
        self.note_failure(failure.reason, now)
    }

    fn note_failure(&mut self, reason: String, now: Now) -> bool {
        let invalid = self.invalid.get_or_insert((now.wall_ms, String::new()));
        let is_news = invalid.1 != reason;
        invalid.1 = reason;
        is_news
    }

    /// The entry for the snapshot's `degraded` list while the file cannot be used. `path` is where
    /// the file is.
    pub(super) fn degraded(&self, path: Option<&Path>, now: Now) -> Option<Degraded> {
        let (since_ms, reason) = self.invalid.clone()?;
        let source = format!("config:{}", path.map(text::of).unwrap_or_default());
        let next_try_ms = self.retry_at.map(|at| whole_seconds(now, at));
        Some(Degraded { source, since_ms, reason, next_try_ms })
    }
}

/// What to do when the timer of the configuration fires.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Read the file.
    Read,
    /// Nothing: the thread that reads the file hangs. `has_changed` says whether snapshots did not
    /// list this yet.
    Hangs { has_changed: bool },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::span;

    #[test]
    fn the_file_is_read_when_it_stays_unchanged_and_not_while_it_is_being_read() {
        let (mut configuration, zero) = (Configuration::default(), Now::read());
        let at = |ms| Now { mono: zero.mono + span(ms), wall_ms: zero.wall_ms + ms };
        assert!(!configuration.is_awaited());
        configuration.changed(at(0));
        configuration.changed(at(50));
        assert_eq!(configuration.due_at(), Some(at(150).mono));
        assert_eq!(configuration.timer_fired(at(150)), Due::Read);
        configuration.changed(at(200));
        assert_eq!(configuration.due_at(), Some(at(10_150).mono), "the timer is the thread's");
        assert_eq!(configuration.timer_fired(at(10_150)), Due::Hangs { has_changed: true });
        assert!(!configuration.is_awaited(), "no second thread is started");
        assert_eq!(configuration.degraded(None, zero).unwrap().reason, SILENT);
        assert!(configuration.read_failed(invalid("line 1"), at(20_000)));
        assert!(!configuration.read_failed(invalid("line 1"), at(20_001)));
        assert_eq!(configuration.degraded(None, zero).unwrap().since_ms, at(10_150).wall_ms);
        assert!(configuration.is_awaited(), "the file changed since");
        assert!(configuration.read_valid() && !configuration.read_valid());
    }

    fn invalid(reason: &str) -> ReadFailure {
        ReadFailure { reason: reason.to_owned(), is_transient: false }
    }

    #[test]
    fn a_read_that_failed_for_want_of_something_is_tried_again_less_and_less_often() {
        let (mut configuration, zero) = (Configuration::default(), Now::read());
        let mut now = zero;
        let mut waits = Vec::new();
        configuration.changed(now);
        now.mono += Duration::from_millis(100);
        for _ in 0..10 {
            assert_eq!(configuration.timer_fired(now), Due::Read);
            let failure = ReadFailure { is_transient: true, ..invalid("too many open files") };
            configuration.read_failed(failure, now);
            assert!(!configuration.is_awaited(), "no cookie waits for the next try");
            assert!(configuration.degraded(None, now).unwrap().next_try_ms.is_some());
            let due_at = configuration.due_at().unwrap();
            waits.push((due_at - now.mono).as_secs());
            now.mono = due_at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(configuration.timer_fired(now), Due::Read);
        assert!(configuration.read_valid());
        assert_eq!(configuration.due_at(), None);
    }
}
