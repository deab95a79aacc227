//! PURE. When the configuration file is read again. While it is invalid, the settings stay as they
//! were, and snapshots list the error.

use std::path::Path;
use std::time::{Duration, Instant};

use super::sources::GIVE_UP_AFTER;
use super::text;
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::SILENT;
use crate::watch::debounce::{Debounce, Window};

/// How long the file must stay unchanged before it is read. Some editors empty a file and then write
/// it, others write a new file and rename it.
const SETTLE: Debounce =
    Debounce { quiet: Duration::from_millis(100), max_hold: Duration::from_secs(1) };

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
}

impl Configuration {
    /// The file may have changed.
    pub(super) fn changed(&mut self, now: Now) {
        self.changed.get_or_insert(Window::open(now.mono)).add(now.mono);
    }

    /// Whether the file changed or is being read, by a thread that does not hang.
    pub(super) fn is_awaited(&self) -> bool {
        self.due_at().is_some()
    }

    /// When [`Configuration::timer_fired`] is to be called.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.is_reading {
            return self.give_up_at;
        }
        self.changed.map(|window| window.deadline(SETTLE))
    }

    /// [`Configuration::due_at`] has come. Returns what to do.
    pub(super) fn timer_fired(&mut self, now: Now) -> Due {
        if self.is_reading {
            self.give_up_at = None;
            return Due::Hangs { has_changed: self.note_failure(SILENT.to_owned(), now) };
        }
        self.changed = None;
        self.is_reading = true;
        self.give_up_at = Some(now.mono + GIVE_UP_AFTER);
        Due::Read
    }

    /// The file was read and is valid. Returns whether it was invalid before.
    pub(super) fn read_valid(&mut self) -> bool {
        (self.is_reading, self.give_up_at) = (false, None);
        self.invalid.take().is_some()
    }

    /// The file was read and is invalid, for this reason. Returns whether the reason is new.
    pub(super) fn read_invalid(&mut self, reason: String, now: Now) -> bool {
        (self.is_reading, self.give_up_at) = (false, None);
        self.note_failure(reason, now)
    }

    fn note_failure(&mut self, reason: String, now: Now) -> bool {
        let invalid = self.invalid.get_or_insert((now.wall_ms, String::new()));
        let is_news = invalid.1 != reason;
        invalid.1 = reason;
        is_news
    }

    /// The entry for the snapshot's `degraded` list while the file cannot be used. `path` is where the
    /// file is.
    pub(super) fn degraded(&self, path: Option<&Path>) -> Option<Degraded> {
        let (since_ms, reason) = self.invalid.clone()?;
        let source = format!("config:{}", path.map(text::of).unwrap_or_default());
        Some(Degraded { source, since_ms, reason, next_try_ms: None })
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
        assert_eq!(configuration.degraded(None).unwrap().reason, SILENT);
        assert!(configuration.read_invalid("line 1".to_owned(), at(20_000)));
        assert!(!configuration.read_invalid("line 1".to_owned(), at(20_001)));
        assert_eq!(configuration.degraded(None).unwrap().since_ms, at(10_150).wall_ms);
        assert!(configuration.is_awaited(), "the file changed since");
        assert!(configuration.read_valid() && !configuration.read_valid());
    }
}
