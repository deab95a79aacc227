//! PURE. When the snapshot is published: the pace, the next try after a failure, and what waits for
//! it.

use std::time::{Duration, Instant};

use crate::store::schema::Degraded;
use crate::time::Now;

/// Least time between two snapshots.
const SPACING: Duration = Duration::from_millis(50);
/// Publishing rests this many times as long as it took. With hundreds of live sessions, all of
/// whose lines change, it may take longer than the spacing, and events would wait longer and longer.
const REST: u32 = 3;
/// A repeated hint only refreshes timestamps, so it is published at most once a second.
const CONFIRM: Duration = Duration::from_secs(1);
/// A full disk is tried again this often.
const RETRY: Duration = Duration::from_secs(5);
/// The first snapshot waits this long for all transcripts to be read.
const FIRST_SCAN: Duration = Duration::from_secs(5);

/// Whether there is news to publish, and when it may be.
#[derive(Debug)]
pub(super) struct Publication {
    /// Something changed that snapshots say.
    is_dirty: bool,
    /// When to publish though only the age of some fact has changed.
    confirm_at: Option<Instant>,
    /// Nothing is published before.
    not_before: Option<Instant>,
    /// Since when (Unix milliseconds) and why nothing can be published.
    error: Option<(i64, String)>,
}

impl Publication {
    /// The publication of a process that starts now.
    pub(super) fn new(now: Instant) -> Publication {
        Publication {
            is_dirty: true,
            confirm_at: None,
            not_before: Some(now + FIRST_SCAN),
            error: None,
        }
    }

    /// Something changed that snapshots say.
    pub(super) fn mark_changed(&mut self) {
        self.is_dirty = true;
    }

    /// Does the same where `has_changed`.
    pub(super) fn mark_changed_if(&mut self, has_changed: bool) {
        self.is_dirty |= has_changed;
    }

    /// Something is known to be true still: only its age has changed.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.confirm_at.get_or_insert(now + CONFIRM);
    }

    /// All transcripts have been read: the first snapshot waits no longer.
    pub(super) fn first_scan_ended(&mut self) {
        self.is_dirty = true;
        self.not_before = None;
    }

    /// When to publish; `None` while nothing has changed.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let news = if self.is_dirty { self.not_before } else { None };
        let confirm = self.confirm_at.max(self.not_before.filter(|_| self.confirm_at.is_some()));
        [news, confirm].into_iter().flatten().min()
    }

    /// Whether to publish now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let has_news = self.is_dirty || self.confirm_at.is_some_and(|at| at <= now);
        has_news && self.not_before.is_none_or(|at| at <= now)
    }

    /// A snapshot of everything that is known now is about to be published.
    pub(super) fn begin(&mut self, now: Instant) {
        self.is_dirty = false;
        self.confirm_at = None;
        self.not_before = Some(now + SPACING);
    }

    /// Publishing ended. Where it failed, what the snapshot said is still to be said.
    pub(super) fn ended(&mut self, began: Now, result: Result<(), String>, now: Now) {
        match result {
            Ok(()) => self.is_dirty |= self.error.take().is_some(),
            Err(reason) => {
                self.error.get_or_insert_with(|| (began.wall_ms, String::new())).1 = reason;
                self.is_dirty = true;
                self.not_before = Some(began.mono + RETRY);
            }
        }
        let rested = now.mono + now.mono.saturating_duration_since(began.mono) * REST;
        self.not_before = self.not_before.max(Some(rested));
    }

    /// Why nothing can be published, as snapshots say it.
    pub(super) fn degraded(&self) -> Option<Degraded> {
        let (since_ms, reason) = self.error.clone()?;
        Some(Degraded { source: "store".to_owned(), since_ms, reason, next_try_ms: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One that published at `zero`, in no time.
    fn published() -> (Publication, Now) {
        let zero = Now::read();
        let mut publication = Publication::new(zero.mono);
        publication.first_scan_ended();
        publication.begin(zero.mono);
        publication.ended(zero, Ok(()), zero);
        (publication, zero)
    }

    #[test]
    fn nothing_is_due_while_nothing_has_changed() {
        let (publication, zero) = published();
        assert_eq!(publication.due_at(), None);
        assert!(!publication.is_due(zero.mono + ms(60_000)));
    }

    #[test]
    fn news_waits_for_the_spacing_and_a_confirmation_for_a_second() {
        let (mut publication, zero) = published();
        publication.confirm(zero.mono);
        publication.confirm(zero.mono + ms(500));
        assert_eq!(publication.due_at(), Some(zero.mono + ms(1000)));
        publication.mark_changed();
        assert_eq!(publication.due_at(), Some(zero.mono + ms(50)));
        assert!(!publication.is_due(zero.mono + ms(49)));
        assert!(publication.is_due(zero.mono + ms(50)));
        publication.begin(zero.mono + ms(50));
        assert_eq!(publication.due_at(), None, "the news brought the confirmation along");
    }

    #[test]
    fn publishing_rests_three_times_as_long_as_it_took() {
        let (mut publication, zero) = published();
        publication.begin(zero.mono);
        let ended = Now { mono: zero.mono + ms(100), ..zero };
        publication.ended(zero, Ok(()), ended);
        publication.mark_changed();
        assert_eq!(publication.due_at(), Some(zero.mono + ms(400)));
    }

    #[test]
    fn a_failure_shows_and_is_tried_again() {
        let (mut publication, zero) = published();
        let full = || Err("no space left on device".to_owned());
        publication.ended(zero, full(), zero);
        let later = Now { mono: zero.mono + RETRY, wall_ms: zero.wall_ms + 5000 };
        assert_eq!(publication.due_at(), Some(later.mono));
        publication.begin(later.mono);
        publication.ended(later, full(), later);
        assert_eq!(publication.degraded().unwrap().since_ms, zero.wall_ms, "since the first try");
        publication.ended(later, Ok(()), later);
        assert_eq!(publication.degraded(), None);
        assert!(publication.due_at().is_some(), "that it works again is news");
    }
}
