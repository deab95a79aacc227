//! PURE. Which entries count, and what they add up to.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::store::schema::{SessionId, Tokens, Totals, Usage};
use crate::usage::Entry;
use crate::usage::prices::Prices;

/// A transcript, as [`Ledger::file`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// Every entry of one root that can still be in a window, and the sums over those that count.
#[derive(Debug)]
pub struct Ledger {
    prices: Prices,
}

/// What one session used, its subagents included.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTotals {
    /// Cost and tokens.
    pub totals: Totals,
    /// Cache reads ÷ all input; none without input.
    pub cache_hit_ratio: Option<f64>,
    /// When it last got a reply.
    pub entries: u64,
}

impl Ledger {
    /// An empty ledger that prices entries like this.
    pub fn new(prices: Prices) -> Ledger {
        Ledger { prices }
    }

    /// The name of the transcript at `path`. Of equal copies the one in the smaller path counts.
    ///
    /// A retired file that comes back is read from its beginning, so what was known of it is
    /// dropped here.
    pub fn file(&mut self, path: &str) -> FileId {
        _ = path;
        FileId(0)
    }

    /// Takes in the entry at `offset` of `file`. `session` is the one that the path names; where
    /// it names none (an agent in the old layout) the entry's own counts.
    pub fn add(&mut self, file: FileId, offset: u64, session: Option<&SessionId>, entry: &Entry) {
        _ = (file, offset, session, entry, &self.prices);
    }

    /// Forgets what `file` said: it was truncated or replaced, and will be read again.
    pub fn remove_file(&mut self, file: FileId) {
        _ = file;
    }

    /// The file was deleted. Its entries stay counted until they leave the windows.
    pub fn retire_file(&mut self, file: FileId) {
        _ = file;
    }

    /// Drops entries older than `horizon_ms`, and refuses them from now on. Never goes back.
    pub fn forget_before(&mut self, horizon_ms: i64) {
        _ = horizon_ms;
    }

    /// What a session used; none where it has no entry.
    pub fn session(&self, session: &SessionId) -> Option<SessionTotals> {
        _ = session;
        None
    }

    /// What the root used by now. `as_of_ms` and `skipped_lines` are the caller's to fill in.
    pub fn usage(&self, now_ms: i64, zone: &TimeZone, week_starts: Weekday) -> Usage {
        _ = (now_ms, zone, week_starts, Tokens::default());
        Usage::default()
    }
}
