//! PURE. When the configuration is read again. An invalid one changes nothing, except that
//! snapshots say so.

use std::path::Path;
use std::time::{Duration, Instant};

use super::sources::GIVE_UP_AFTER;
use super::text;
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::SILENT;
use crate::watch::debounce::{Debounce, Window};

/// Some editors empty a file before they write it, and some write another and rename it.
const SETTLE: Debounce =
    Debounce { quiet: Duration::from_millis(100), max_hold: Duration::from_secs(1) };

/// What is known of the configuration file.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// It changed, and is not being read yet.
    changed: Option<Window>,
    /// A thread reads it. While that thread hangs no other is started.
    is_reading: bool,
    /// When that thread counts as hung.
    give_up_at: Option<Instant>,
    /// Since when (Unix milliseconds) and why it cannot be used.
    invalid: Option<(i64, String)>,
}

impl Configuration {
    /// It may have changed.
    pub(super) fn changed(&mut self, now: Now) {
        self.changed.get_or_insert(Window::open(now.mono)).add(now.mono);
    }

    /// Whether what it says now will be known soon.
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

    /// Its time has come: it is to be read, or the thread that reads it hangs.
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

    /// It was read, and is valid. Returns whether it was not before.
    pub(super) fn read_valid(&mut self) -> bool {
        (self.is_reading, self.give_up_at) = (false, None);
        self.invalid.take().is_some()
    }

    /// It was read, and is invalid for this reason. Returns whether that is news.
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

    /// Why it cannot be used, as snapshots say it. `path` is where it is.
    pub(super) fn degraded(&self, path: Option<&Path>) -> Option<Degraded> {
        let (since_ms, reason) = self.invalid.clone()?;
        let source = format!("config:{}", path.map(text::of).unwrap_or_default());
        Some(Degraded { source, since_ms, reason, next_try_ms: None })
    }
}

/// What to do now that its time has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Read it.
    Read,
    /// Nothing: the thread that reads it hangs. `has_changed` says whether that is news.
    Hangs { has_changed: bool },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::span;

    #[test]
    fn it_is_read_once_it_is_quiet_and_not_while_it_is_being_read() {
        let (mut configuration, zero) = (Configuration::default(), Now::read());
        let at = |ms| Now { mono: zero.mono + span(ms), wall_ms: zero.wall_ms + ms };
        assert!(!configuration.is_awaited());
        configuration.changed(at(0));
        configuration.changed(at(50));
        assert_eq!(configuration.due_at(), Some(at(150).mono));
        assert_eq!(configuration.timer_fired(at(150)), Due::Read);
        configuration.changed(at(200));
        assert_eq!(configuration.due_at(), Some(at(10_150).mono), "it waits for the thread");
        assert_eq!(configuration.timer_fired(at(10_150)), Due::Hangs { has_changed: true });
        assert!(!configuration.is_awaited(), "no other thread is to hang");
        assert_eq!(configuration.degraded(None).unwrap().reason, SILENT);
        assert!(configuration.read_invalid("line 1".to_owned(), at(20_000)));
        assert!(!configuration.read_invalid("line 1".to_owned(), at(20_001)));
        assert_eq!(configuration.degraded(None).unwrap().since_ms, at(10_150).wall_ms);
        assert!(configuration.is_awaited(), "it changed since");
        assert!(configuration.read_valid() && !configuration.read_valid());
    }
}
