//! PURE. When the next snapshot is published, after a change, a success or a failure.
//!
//! See docs/decisions/010-publish-whole-without-fsync.md.

use std::time::{Duration, Instant};

use crate::store::schema::Degraded;
use crate::time::Now;

/// Least time between two snapshots.
const SPACING: Duration = Duration::from_millis(50);
/// After publishing, the next snapshot waits at least this many times as long as publishing took.
/// With hundreds of live sessions whose lines all change, publishing may take longer than
/// [`SPACING`], and without a pause events would queue up.
const REST: u32 = 3;
/// A repeated hint only refreshes timestamps, so it is published at most once a second.
const CONFIRM: Duration = Duration::from_secs(1);
/// How long after a failure, such as a full disk, publishing is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long the first snapshot waits for all transcripts to be read. Most users have a month of
/// transcripts that are read in less. With more, the line of a session that goes on during the
/// start should not stand still.
const FIRST_SCAN: Duration = Duration::from_secs(1);

/// Whether the snapshot on disk is out of date, and when the next one may be published.
#[derive(Debug)]
pub(super) struct Publication {
    /// Whether something in the snapshot changed since the last one.
    is_dirty: bool,
    /// When to publish facts that were confirmed, so that only their times changed.
    confirm_at: Option<Instant>,
    /// The earliest time of the next snapshot; `None` where it may be published at once.
    not_before: Option<Instant>,
    /// Since when (Unix milliseconds) and why publishing fails.
    error: Option<(i64, String)>,
}

impl Publication {
    /// At the start of the process: the first snapshot waits for the first scan.
    pub(super) fn new(now: Instant) -> Publication {
        Publication {
            is_dirty: true,
            confirm_at: None,
            not_before: Some(now + FIRST_SCAN),
            error: None,
        }
    }

    /// Something in the snapshot changed.
    pub(super) fn mark_changed(&mut self) {
        self.is_dirty = true;
    }

    /// Something in the snapshot changed if `has_changed`.
    pub(super) fn mark_changed_if(&mut self, has_changed: bool) {
        self.is_dirty |= has_changed;
    }

    /// A fact was confirmed: only its time in the snapshot changed.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.confirm_at.get_or_insert(now + CONFIRM);
    }

    /// All transcripts have been read. The first snapshot waits no longer.
    pub(super) fn first_scan_ended(&mut self) {
        self.is_dirty = true;
        self.not_before = None;
    }

    /// When a timer must publish; `None` while nothing has changed, and where a change may be
    /// published at once, see [`Publication::is_due`].
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

    /// A snapshot is about to be published.
    pub(super) fn begin(&mut self, now: Instant) {
        self.is_dirty = false;
        self.confirm_at = None;
        self.not_before = Some(now + SPACING);
    }

    /// Publishing ended. If it failed, the snapshot on disk is still out of date.
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

    /// The entry for the snapshot's `degraded` list after publishing failed. The next snapshot that
    /// is published shows it.
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

    /// A publication whose first snapshot was published at `zero`, in no time.
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
    fn a_change_waits_for_the_spacing_and_a_confirmation_for_a_second() {
        let (mut publication, zero) = published();
        publication.confirm(zero.mono);
        publication.confirm(zero.mono + ms(500));
        assert_eq!(publication.due_at(), Some(zero.mono + ms(1000)));
        publication.mark_changed();
        assert_eq!(publication.due_at(), Some(zero.mono + ms(50)));
        assert!(!publication.is_due(zero.mono + ms(49)));
        assert!(publication.is_due(zero.mono + ms(50)));
        publication.begin(zero.mono + ms(50));
        assert_eq!(publication.due_at(), None, "that snapshot included the confirmation");
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
    fn after_a_failure_publishing_is_tried_again_and_listed_as_degraded() {
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
        assert!(publication.due_at().is_some(), "the next snapshot no longer lists the error");
    }
}
