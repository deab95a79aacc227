//! PURE. When the journal of the record is brought into its months, and whether the record can be
//! written.

use std::time::{Duration, Instant};

use super::sources::whole_seconds;
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::debounce::{Debounce, Window};

/// The journal is brought in when nothing was recorded for a minute, and at least every ten: this
/// writes whole months, which may have megabytes, and a reader has little to do for a short
/// journal.
const FOLDS: Debounce =
    Debounce { quiet: Duration::from_secs(60), max_hold: Duration::from_secs(600) };
/// With so many replies in the journal it is brought in at once.
const MANY: usize = 20_000;
/// With so many it is brought in before a process ends that will not do so later.
const MANY_AT_END: usize = 1_000;
/// How long after a failure, such as a full disk, the record is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The state of the record.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// When replies were appended to the journal; `None` if none were since it was brought in.
    unfolded: Option<Window>,
    n_unfolded: usize,
    is_folding: bool,
    /// Since when (Unix milliseconds) and why the record fails, and when it is tried again.
    failure: Option<(i64, String, Instant)>,
}

impl Recording {
    /// So many replies are appended to the journal.
    pub(super) fn appended(&mut self, n_replies: usize, now: Now) {
        self.unfolded.get_or_insert(Window::open(now.mono)).add(now.mono);
        self.n_unfolded += n_replies;
    }

    /// Somebody asks that the journal is brought in at once.
    pub(super) fn wanted(&mut self, now: Now) {
        self.appended(MANY, now);
    }

    /// Whether the journal is so long that it should be brought in before the process ends, or is
    /// being brought in, which the end of the process would cut short.
    pub(super) fn is_long(&self) -> bool {
        self.n_unfolded >= MANY_AT_END || self.is_folding
    }

    /// When to bring the journal in, or to try the record again; `None` while neither is needed.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.is_folding {
            return None;
        }
        if let Some((_, _, retry_at)) = self.failure {
            return Some(retry_at);
        }
        let unfolded = self.unfolded?;
        let many = Debounce { quiet: Duration::ZERO, ..FOLDS };
        Some(unfolded.deadline(if self.n_unfolded >= MANY { many } else { FOLDS }))
    }

    /// The journal is about to be brought in.
    pub(super) fn begin(&mut self) {
        (self.unfolded, self.n_unfolded, self.is_folding) = (None, 0, true);
    }

    /// The journal was brought in, or not.
    pub(super) fn ended(&mut self) {
        self.is_folding = false;
    }

    /// The record fails for this reason; `None` if it works. Returns whether that is news.
    pub(super) fn failed(&mut self, reason: Option<String>, now: Now) -> bool {
        let Some(reason) = reason else { return self.failure.take().is_some() };
        let retry_at = now.mono + RETRY;
        let before = self.failure.take();
        let is_news = before.as_ref().is_none_or(|(_, before, _)| *before != reason);
        let since_ms = before.map_or(now.wall_ms, |(since_ms, ..)| since_ms);
        self.failure = Some((since_ms, reason, retry_at));
        is_news
    }

    /// The entry for the snapshot's `degraded` list if the record fails.
    pub(super) fn degraded(&self, now: Now) -> Option<Degraded> {
        let (since_ms, reason, retry_at) = self.failure.clone()?;
        Some(Degraded {
            source: "record".to_owned(),
            since_ms,
            reason,
            next_try_ms: Some(whole_seconds(now, retry_at)),
        })
    }
}
