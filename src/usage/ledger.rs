//! PURE. Which entries count, and what they add up to.
//!
//! Transcripts hold many copies of one reply: one per content block, and more in every session that
//! is forked from the reply's. All copies are candidates, and one is elected: a copy from a main
//! chain before one from a subagent's, then the copy that states the most tokens, then the first
//! one. The reply counts with the elected copy's time, session and cost, so a copy that is read
//! late can move a reply to another day.
//!
//! Of the copies in one file only the best is kept: that suffices to elect again when another file
//! is removed. Ids are kept as hashes: 64 bits of the message id, and 32 bits of the request id.
//!
//! **Invariant:** the sums are those of the elected candidates, and the set of candidates alone
//! determines which are elected.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::store::schema::{SessionId, Totals, Usage};
use crate::time::DAY_MS;
use crate::usage::blocks::{self, SlotKey, Slots};
use crate::usage::calendar::WindowStarts;
use crate::usage::entry::{Entry, ReplyId};
use crate::usage::prices::{Picodollars, Prices};
use crate::usage::sums::Sums;

/// How far back the windows reach at most: one month, and the week in which it began.
pub const REACH_MS: i64 = 35 * DAY_MS;

/// The most unpriced models whose names are kept. Further ones count under the last name.
const MAX_UNPRICED: usize = 64;

/// Device and inode of a file.
pub type Identity = (u64, u64);

/// The number that [`Ledger::file`] gives a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(u32);

/// The entries of one config root that can still be in a window, and the sums over the elected
/// ones.
///
/// It is part of the checkpoint. What follows from the candidates is not written there;
/// [`Ledger::restored`] computes it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(skip, default = "Prices::builtin")]
    prices: Prices,
    horizon_ms: i64,
    files: Vec<File>,
    /// Numbers that were unused when [`Ledger::forget_before`] last ran.
    #[serde(skip)]
    free_files: Vec<FileId>,
    #[serde(skip)]
    file_ids: BTreeMap<Arc<str>, FileId>,
    candidates: BTreeMap<Key, Candidate>,
    /// By group and session, and only for groups with more than one reply. Such groups are rare:
    /// some gateways give every reply the same message id.
    #[serde(skip)]
    rivals: BTreeMap<(u64, u32), Rivals>,
    #[serde(skip)]
    slots: Slots,
    /// Indexed by [`Candidate::session`].
    #[serde(skip)]
    sessions: Vec<Sums>,
    session_ids: BTreeMap<SessionId, u32>,
    /// Numbers that were unused when [`Ledger::forget_before`] last ran.
    #[serde(skip)]
    free_sessions: Vec<u32>,
    /// Indexed by [`Candidate::unpriced`] minus one.
    unpriced_models: Vec<Box<str>>,
    /// Numbers of elected candidates, by slot and [`Candidate::unpriced`].
    #[serde(skip)]
    unpriced: BTreeMap<(SlotKey, u16), u32>,
}

/// What one session used, including its subagents.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTotals {
    pub totals: Totals,
    /// Tokens read from the cache ÷ all input tokens, 0 to 1; `None` without input.
    pub cache_hit_ratio: Option<f64>,
    pub n_entries: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct File {
    path: Arc<str>,
    is_retired: bool,
}

/// Candidates with the same `group` and `reply` are copies of one reply. Candidates with the same
/// `group` alone have the same message id, and may be replays of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    group: u64,
    reply: u32,
    file: FileId,
}

/// The best copy of each reply of one session in one group, the highest rank last.
type Rivals = BTreeSet<(Rank, Key)>;

/// Whether the copy is from a main chain, its tokens, and its file and offset; a higher rank is
/// elected.
type Rank = (bool, u64, Reverse<(Arc<str>, u64)>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Candidate {
    at_ms: i64,
    offset: u64,
    cost: Picodollars,
    input: u32,
    output: u32,
    cache_write: u32,
    cache_read: u32,
    session: u32,
    /// 0 where the model has a price, else one more than the index in [`Ledger::unpriced_models`].
    unpriced: u16,
    is_sidechain: bool,
    is_counted: bool,
}

impl Ledger {
    /// An empty ledger that prices entries with `prices`.
    pub fn new(prices: Prices) -> Ledger {
        Ledger {
            prices,
            horizon_ms: i64::MIN,
            files: Vec::new(),
            free_files: Vec::new(),
            file_ids: BTreeMap::new(),
            candidates: BTreeMap::new(),
            rivals: BTreeMap::new(),
            slots: Slots::new(),
            // Number 0 is for entries without a session.
            sessions: vec![Sums::default()],
            session_ids: BTreeMap::new(),
            free_sessions: Vec::new(),
            unpriced_models: Vec::new(),
            unpriced: BTreeMap::new(),
        }
    }

    /// Completes a ledger that was read from a checkpoint. `prices` must be those with which it was
    /// made.
    #[must_use]
    pub fn restored(mut self, prices: Prices) -> Ledger {
        self.prices = prices;
        let ids = (0..).map(FileId).zip(&self.files);
        self.file_ids = ids.map(|(id, file)| (Arc::clone(&file.path), id)).collect();
        let last = self.session_ids.values().max().map_or(0, |it| *it as usize);
        self.sessions = vec![Sums::default(); last + 1];
        let candidates = std::mem::take(&mut self.candidates);
        for candidate in candidates.values().filter(|it| it.is_counted) {
            self.count(candidate);
        }
        self.candidates = candidates;
        let keys = || self.candidates.keys();
        let neighbours = keys().zip(keys().skip(1));
        let rivals = neighbours.filter(|(a, b)| a.group == b.group && a.reply != b.reply);
        for key in rivals.flat_map(|(a, b)| [*a, *b]).collect::<Vec<_>>() {
            self.add_to_rivals(&key);
        }
        self
    }

    /// The number of the transcript at `path`. Of equal copies, the one in the file whose path
    /// sorts first is elected.
    ///
    /// If the file was retired, its entries are dropped here: the caller reads a file that has come
    /// back from its beginning.
    pub fn file(&mut self, path: &str) -> FileId {
        if let Some(&file) = self.file_ids.get(path) {
            if std::mem::take(&mut self.files[file.0 as usize].is_retired) {
                self.remove_file(file);
            }
            return file;
        }
        let file = self.free_files.pop().unwrap_or_else(|| {
            self.files.push(File::default());
            FileId(u32::try_from(self.files.len() - 1).expect("fewer than 4 billion files"))
        });
        let path = Arc::<str>::from(path);
        self.files[file.0 as usize] = File { path: Arc::clone(&path), is_retired: false };
        self.file_ids.insert(path, file);
        file
    }

    /// Takes in entries of `file`, each with its offset there.
    ///
    /// `session` is the session that the path of the file names. Where the path names none (a
    /// subagent in the old layout), the session in the entry applies.
    pub fn add(
        &mut self,
        file: FileId,
        _identity: Identity,
        session: Option<&SessionId>,
        entries: &[(u64, Entry)],
    ) {
        let named = session.map(|it| self.session_no(it));
        let horizon_ms = self.horizon_ms;
        for (offset, entry) in entries.iter().filter(|(_, it)| it.at_ms >= horizon_ms) {
            let own = || entry.session.as_deref().and_then(SessionId::checked);
            let session = named.unwrap_or_else(|| own().map_or(0, |it| self.session_no(&it)));
            let key = key_of(file, entry);
            self.add_one(key, *offset, session, entry);
        }
    }

    fn add_one(&mut self, key: Key, offset: u64, session: u32, entry: &Entry) {
        let cost = self.prices.cost(entry);
        let candidate = Candidate {
            at_ms: entry.at_ms,
            offset,
            cost: cost.unwrap_or(0),
            input: bounded(entry.tokens.input),
            output: bounded(entry.tokens.output),
            cache_write: bounded(
                entry.tokens.cache_write_5m.saturating_add(entry.tokens.cache_write_1h),
            ),
            cache_read: bounded(entry.tokens.cache_read),
            session,
            unpriced: if cost.is_some() { 0 } else { self.unpriced_no(&entry.model) },
            is_sidechain: entry.is_sidechain,
            is_counted: false,
        };
        match self.candidates.get(&key) {
            Some(known) if self.rank(&key, known) >= self.rank(&key, &candidate) => return,
            Some(_) => self.drop_candidate(&key),
            None => {}
        }
        self.insert(key, candidate);
    }

    /// Drops the entries of `file`, which was truncated or replaced and will be read again.
    pub fn remove_file(&mut self, file: FileId) {
        self.drop_where(|key, _| key.file == file);
    }

    /// Notes that `file` was deleted. Its entries count until they leave the windows: the client
    /// deletes old transcripts, and that does not change what was used.
    pub fn retire_file(&mut self, file: FileId) {
        self.files[file.0 as usize].is_retired = true;
    }

    /// Frees the number of `file`, which was never read, so that nothing of it is counted.
    pub fn discard_file(&mut self, file: FileId) {
        let discarded = &mut self.files[file.0 as usize];
        discarded.is_retired = true;
        self.file_ids.remove(&std::mem::take(&mut discarded.path));
        self.free_files.push(file);
    }

    /// Drops entries older than `horizon_ms`, and refuses such entries from now on. A horizon
    /// earlier than the last one changes nothing.
    ///
    /// Where copies of a reply lie on both sides of the horizon, those before it can no longer be
    /// elected. So the horizon must be some days before the first window; now − [`REACH_MS`] is.
    pub fn forget_before(&mut self, horizon_ms: i64) {
        self.horizon_ms = self.horizon_ms.max(horizon_ms);
        let horizon_ms = self.horizon_ms;
        self.drop_where(|_, it| it.at_ms < horizon_ms);
        self.free();
    }

    /// Whether the horizon is so late that entries in a window are refused: the clock was days
    /// ahead when the horizon was set.
    pub fn is_ahead(&self, now_ms: i64) -> bool {
        self.horizon_ms > now_ms - REACH_MS + DAY_MS
    }

    /// Frees the numbers of retired files and of sessions that have no candidates left.
    fn free(&mut self) {
        let mut has_file = vec![false; self.files.len()];
        let mut has_session = vec![false; self.sessions.len()];
        for (key, candidate) in &self.candidates {
            has_file[key.file.0 as usize] = true;
            has_session[candidate.session as usize] = true;
        }
        self.free_files.clear();
        for ((no, file), is_used) in (0..).zip(&mut self.files).zip(has_file) {
            if file.is_retired && !is_used {
                self.file_ids.remove(&std::mem::take(&mut file.path));
                self.free_files.push(FileId(no));
            }
        }
        self.session_ids.retain(|_, it| has_session[*it as usize]);
        let unused = (0..).zip(has_session).skip(1).filter(|(_, is_used)| !is_used);
        self.free_sessions = unused.map(|(no, _)| no).collect();
    }

    /// What a session used; `None` where it has no elected entry.
    pub fn session(&self, session: &SessionId) -> Option<SessionTotals> {
        let sums = &self.sessions[*self.session_ids.get(session)? as usize];
        let all_input = sums.input + sums.cache_write + sums.cache_read;
        (sums.n_entries > 0).then(|| SessionTotals {
            totals: sums.totals(),
            cache_hit_ratio: (all_input > 0).then(|| sums.cache_read as f64 / all_input as f64),
            n_entries: sums.n_entries,
        })
    }

    /// What the config root used. The caller fills in `as_of_ms`, `day_ends_ms` and
    /// `skipped_lines`.
    pub fn usage(&self, now_ms: i64, zone: &TimeZone, week_starts: Weekday) -> Usage {
        let block = blocks::active(&self.slots, now_ms);
        let Some(starts) = WindowStarts::at(now_ms, zone, week_starts) else {
            return Usage { block, ..Usage::default() };
        };
        // Each window is part of the next larger one, so each slot is visited once.
        let (inner_ms, widest_ms) = match starts.week_ms < starts.month_ms {
            true => (starts.month_ms, starts.week_ms),
            false => (starts.week_ms, starts.month_ms),
        };
        let today = self.sum_up(starts.today_ms..starts.tomorrow_ms);
        let mut inner = self.sum_up(inner_ms..starts.today_ms);
        inner += &today;
        let mut widest = self.sum_up(widest_ms..inner_ms);
        widest += &inner;
        let (week, month) = match widest_ms == starts.week_ms {
            true => (&widest, &inner),
            false => (&inner, &widest),
        };
        let widest_ms = block.as_ref().map_or(widest_ms, |it| it.start_ms.min(widest_ms));
        let mut unpriced: Vec<u16> =
            self.unpriced.range((SlotKey::of(widest_ms), 0)..).map(|((_, it), _)| *it).collect();
        unpriced.sort_unstable();
        unpriced.dedup();
        let mut unpriced_models: Vec<String> =
            unpriced.iter().map(|it| self.unpriced_models[*it as usize - 1].to_string()).collect();
        unpriced_models.sort_unstable();
        Usage {
            today: today.totals(),
            week: week.totals(),
            month: month.totals(),
            block,
            unpriced_models,
            ..Usage::default()
        }
    }

    /// The sums over `span`, whose bounds must lie on quarter-hours.
    pub fn sum_up(&self, span: Range<i64>) -> Sums {
        let mut sums = Sums::default();
        for (_, slot) in self.slots.range(SlotKey::range(span)) {
            sums += &slot.sums;
        }
        sums
    }

    /// Adds a candidate whose key is not in use.
    fn insert(&mut self, key: Key, mut candidate: Candidate) {
        let Some((first, _)) = self.candidates.range(keys_of(key.group)).next() else {
            // The common case: the first candidate of its group.
            candidate.is_counted = true;
            self.count(&candidate);
            self.candidates.insert(key, candidate);
            return;
        };
        let first = *first;
        if first.reply != key.reply && !self.has_rivals(key.group) {
            self.add_to_rivals(&first);
        }
        let before = self.best_copy(&key);
        self.candidates.insert(key, candidate);
        let best = self.best_copy(&key);
        if best != before {
            before.inspect(|it| self.set_representative(it, false));
            best.inspect(|it| self.set_representative(it, true));
        }
    }

    fn drop_candidate(&mut self, key: &Key) {
        let is_best = self.best_copy(key).as_ref() == Some(key);
        if is_best {
            self.set_representative(key, false);
        }
        self.candidates.remove(key);
        if is_best {
            self.best_copy(key).inspect(|it| self.set_representative(it, true));
        }
    }

    /// The copy that represents the reply of `key`: the one of the highest rank.
    fn best_copy(&self, key: &Key) -> Option<Key> {
        let bound = |file| Key { file: FileId(file), ..*key };
        let copies = self.candidates.range(bound(0)..=bound(u32::MAX));
        let best = copies.max_by(|a, b| self.rank(a.0, a.1).cmp(&self.rank(b.0, b.1)))?;
        Some(*best.0)
    }

    fn has_rivals(&self, group: u64) -> bool {
        self.rivals.range((group, 0)..=(group, u32::MAX)).next().is_some()
    }

    /// Adds the best copy of this reply to the rivals of its group, which now has a second reply.
    fn add_to_rivals(&mut self, key: &Key) {
        let Some(best) = self.best_copy(key) else { return };
        let candidate = &self.candidates[&best];
        let rival = (self.rank(&best, candidate), best);
        self.rivals.entry((key.group, candidate.session)).or_default().insert(rival);
    }

    /// Adds or removes this copy as the representative of its reply, then updates which candidate
    /// of its session is elected.
    fn set_representative(&mut self, key: &Key, is_representative: bool) {
        let Some(candidate) = self.candidates.get(key) else { return };
        let scope = (key.group, candidate.session);
        let rival = (self.rank(key, candidate), *key);
        let has_rivals = self.has_rivals(key.group);
        if !has_rivals || !candidate.is_sidechain {
            self.flip(key);
        }
        if !has_rivals {
            return;
        }
        // A subagent's chain may repeat a reply of its session under another request id. So of the
        // subagents' replies in a group at most one is elected, and none beside a main chain's.
        let elected_subagent = |rivals: &Rivals| {
            let ((is_main_chain, ..), key) = rivals.last()?;
            (!is_main_chain).then_some(*key)
        };
        let rivals = self.rivals.entry(scope).or_default();
        let before = elected_subagent(rivals);
        _ = if is_representative { rivals.insert(rival) } else { rivals.remove(&rival) };
        let after = elected_subagent(rivals);
        if rivals.is_empty() {
            self.rivals.remove(&scope);
        }
        if after != before {
            before.inspect(|it| self.flip(it));
            after.inspect(|it| self.flip(it));
        }
    }

    /// Elects a candidate that was not elected, or the reverse.
    fn flip(&mut self, key: &Key) {
        let Some(candidate) = self.candidates.get_mut(key) else { return };
        candidate.is_counted = !candidate.is_counted;
        let candidate = candidate.clone();
        self.count(&candidate);
    }

    /// Adds a candidate to all sums if `is_counted`, else takes it away from them.
    fn count(&mut self, candidate: &Candidate) {
        let Candidate { at_ms, session, unpriced, is_counted, .. } = *candidate;
        let sums = candidate.sums();
        let session = &mut self.sessions[session as usize];
        if is_counted {
            blocks::insert(&mut self.slots, at_ms, &sums);
            *session += &sums;
        } else {
            blocks::remove(&mut self.slots, at_ms, &sums);
            *session -= &sums;
        }
        if unpriced > 0 {
            let slot = (SlotKey::of(at_ms), unpriced);
            let n = self.unpriced.entry(slot).or_default();
            *n = if is_counted { *n + 1 } else { *n - 1 };
            if *n == 0 {
                self.unpriced.remove(&slot);
            }
        }
    }

    fn drop_where(&mut self, is_unwanted: impl Fn(&Key, &Candidate) -> bool) {
        let unwanted = self.candidates.iter().filter(|(key, it)| is_unwanted(key, it));
        let keys: Vec<Key> = unwanted.map(|(key, _)| *key).collect();
        for key in &keys {
            self.drop_candidate(key);
        }
    }

    /// Of the candidates of one reply, the one of the highest rank is elected.
    fn rank(&self, key: &Key, candidate: &Candidate) -> Rank {
        let path = Arc::clone(&self.files[key.file.0 as usize].path);
        (!candidate.is_sidechain, candidate.sums().tokens(), Reverse((path, candidate.offset)))
    }

    fn session_no(&mut self, session: &SessionId) -> u32 {
        if let Some(no) = self.session_ids.get(session) {
            return *no;
        }
        let no = self.free_sessions.pop().unwrap_or_else(|| {
            self.sessions.push(Sums::default());
            u32::try_from(self.sessions.len() - 1).expect("fewer than 4 billion sessions")
        });
        self.session_ids.insert(session.clone(), no);
        no
    }

    fn unpriced_no(&mut self, model: &str) -> u16 {
        let model = if model.is_empty() { "unknown" } else { model };
        let index = match self.unpriced_models.iter().position(|it| **it == *model) {
            Some(index) => index,
            None if self.unpriced_models.len() == MAX_UNPRICED => MAX_UNPRICED - 1,
            None => {
                self.unpriced_models.push(model.into());
                self.unpriced_models.len() - 1
            }
        };
        u16::try_from(index + 1).expect("it is at most MAX_UNPRICED")
    }
}

impl Candidate {
    fn sums(&self) -> Sums {
        Sums {
            n_entries: 1,
            n_unpriced: (self.unpriced > 0).into(),
            input: self.input.into(),
            output: self.output.into(),
            cache_write: self.cache_write.into(),
            cache_read: self.cache_read.into(),
            picodollars: self.cost.into(),
        }
    }
}

fn key_of(file: FileId, entry: &Entry) -> Key {
    let (group, reply) = match &entry.id {
        ReplyId::Api { message, request } => (message.hash, request.map_or(0, |it| it.hash as u32)),
        ReplyId::Lines(lines) => (lines.first().copied().unwrap_or(0), 0),
    };
    Key { group, reply, file }
}

/// The keys of all candidates of a group.
fn keys_of(group: u64) -> std::ops::RangeInclusive<Key> {
    Key { group, reply: 0, file: FileId(0) }..=Key {
        group,
        reply: u32::MAX,
        file: FileId(u32::MAX),
    }
}

/// The count in four bytes. No reply has four billion tokens, so a larger count is not real.
fn bounded(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::Now;
    use crate::usage::entry::{EntryTokens, Id, hash};
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// 2026-11-23 is a Monday.
    const NOON: i64 = 1_795_435_200_000;

    fn entry(message: &str, request: &str, output: u64) -> Entry {
        Entry {
            at_ms: NOON,
            id: if message.is_empty() {
                ReplyId::Lines(vec![hash(request)])
            } else {
                let request = (!request.is_empty()).then(|| Id::of(request));
                ReplyId::Api { message: Id::of(message), request }
            },
            model: "claude-opus-4-8".into(),
            tokens: EntryTokens { output, ..EntryTokens::default() },
            ..Entry::default()
        }
    }

    fn side(entry: Entry) -> Entry {
        Entry { is_sidechain: true, ..entry }
    }

    fn session(name: &str) -> SessionId {
        SessionId::checked(name).expect("is a session id")
    }

    /// Each path has an identity of its own, except that `a'` is another name of the file `a`.
    fn disk(path: &str) -> Identity {
        (1, path.trim_end_matches('\'').bytes().map(u64::from).sum())
    }

    fn ledger(entries: &[(&str, &str, Entry)]) -> Ledger {
        let mut ledger = Ledger::new(Prices::builtin());
        for (offset, (path, name, entry)) in (0..).zip(entries) {
            let file = ledger.file(path);
            ledger.add(file, disk(path), Some(&session(name)), &[(offset, entry.clone())]);
        }
        ledger
    }

    /// `entries` are (file, session, entry); `expected` is (entries, output tokens). The result
    /// must be the same when the entries are added in reverse.
    #[track_caller]
    fn check_count(entries: &[(&str, &str, Entry)], expected: (u64, u64)) {
        let reversed: Vec<_> = entries.iter().rev().cloned().collect();
        for entries in [entries, &reversed] {
            let sums = ledger(entries).sum_up(0..i64::MAX);
            assert_eq!((sums.n_entries, sums.output), expected);
        }
    }

    #[test]
    fn the_largest_copy_of_a_reply_counts() {
        let copies = [5, 9, 7].map(|it| ("a", "s", entry("msg_1", "r", it)));
        check_count(&copies, (1, 9));
    }

    #[test]
    fn a_copy_in_a_forked_session_is_not_counted_again() {
        check_count(
            &[("a", "s", entry("msg_1", "r", 9)), ("b", "t", entry("msg_1", "r", 9))],
            (1, 9),
        );
    }

    #[test]
    fn a_main_chains_copy_beats_a_larger_one_of_a_subagent() {
        check_count(
            &[("a", "s", entry("msg_1", "r", 5)), ("b", "s", side(entry("msg_1", "r", 9)))],
            (1, 5),
        );
    }

    #[test]
    fn a_replay_in_a_subagents_chain_is_not_counted_under_any_request_id() {
        let main = ("a", "s", entry("msg_1", "r", 5));
        check_count(&[main.clone(), ("b", "s", side(entry("msg_1", "q", 9)))], (1, 5));
        check_count(&[main.clone(), ("b", "t", side(entry("msg_1", "q", 9)))], (2, 14));
        check_count(&[main, ("b", "s", entry("msg_1", "q", 9))], (2, 14));
        let subagents = ["q", "r"].map(|it| (it, "s", side(entry("msg_1", it, 9))));
        check_count(&subagents, (1, 9));
    }

    #[test]
    fn without_a_request_the_message_id_decides() {
        let copies = |id| [("a", "s", entry(id, "", 9)), ("b", "t", entry(id, "", 9))];
        check_count(&copies("msg_1"), (1, 9));
    }

    #[test]
    fn a_copy_of_a_line_is_not_counted_again() {
        let copies = |a, b| [("a", "s", entry("", a, 9)), ("b", "t", entry("", b, 9))];
        check_count(&copies("line 1", "line 1"), (1, 9));
        check_count(&copies("line 1", "line 2"), (2, 18));
    }

    #[test]
    fn of_equal_copies_the_one_in_the_file_that_sorts_first_counts() {
        let earlier = Entry { at_ms: NOON - DAY_MS, ..entry("msg_1", "r", 9) };
        let copies = [("a", "s", entry("msg_1", "r", 9)), ("b", "t", earlier)];
        for copies in [copies.clone(), [copies[1].clone(), copies[0].clone()]] {
            let usage = ledger(&copies).usage(NOON, &TimeZone::UTC, Weekday::Monday);
            assert_eq!(usage.today.tokens.output, 9);
        }
    }

    #[test]
    fn a_late_winner_moves_its_reply_to_its_own_session_and_day() {
        let mut ledger = ledger(&[("a", "s", entry("msg_1", "r", 5))]);
        let file = ledger.file("b");
        let yesterday = Entry { at_ms: NOON - DAY_MS, ..entry("msg_1", "r", 9) };
        ledger.add(file, disk("b"), Some(&session("t")), &[(0, yesterday)]);
        assert_eq!(ledger.session(&session("s")), None);
        assert_eq!(ledger.session(&session("t")).map(|it| it.totals.tokens.output), Some(9));
        let usage = ledger.usage(NOON, &TimeZone::UTC, Weekday::Monday);
        assert_eq!((usage.today.tokens.output, usage.month.tokens.output), (0, 9));
        ledger.remove_file(file);
        assert_eq!(ledger.session(&session("s")).map(|it| it.totals.tokens.output), Some(5));
    }

    #[test]
    fn a_deleted_transcript_stays_counted_until_it_comes_back() {
        let mut ledger = ledger(&[("a", "s", entry("", "", 5))]);
        let file = ledger.file("a");
        ledger.retire_file(file);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 5);
        assert_eq!(ledger.file("a"), file);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 0);
    }

    #[test]
    fn the_number_of_a_file_that_was_never_read_is_used_again() {
        let mut ledger = ledger(&[("a", "s", entry("", "", 5))]);
        let unread = ledger.file("b");
        for path in ["b", "c", "d"] {
            assert_eq!(ledger.file(path), unread, "{path}");
            ledger.discard_file(unread);
            ledger.forget_before(0);
        }
        assert_ne!(ledger.file("a"), unread);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 5);
    }

    #[test]
    fn entries_before_the_horizon_are_dropped_and_refused() {
        let mut ledger = ledger(&[("a", "s", entry("msg_1", "r", 5))]);
        ledger.forget_before(NOON);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 5);
        ledger.forget_before(NOON + 1);
        assert!(ledger.candidates.is_empty());
        let file = ledger.file("a");
        ledger.add(file, disk("a"), None, &[(9, entry("msg_2", "r", 5))]);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 0);
    }

    #[test]
    fn files_and_sessions_without_entries_take_no_room() {
        let mut ledger = Ledger::new(Prices::builtin());
        for day in 0..100 {
            let path = format!("{day}");
            let file = ledger.file(&path);
            let at_ms = NOON + day * DAY_MS;
            let reply = Entry { at_ms, ..entry(&format!("msg_{day}"), "r", 5) };
            ledger.add(file, disk(&path), Some(&session(&path)), &[(0, reply)]);
            ledger.retire_file(file);
            if day % 10 == 0 {
                let kept = postcard::to_stdvec(&ledger).unwrap();
                let kept: Ledger = postcard::from_bytes(&kept).unwrap();
                ledger = kept.restored(Prices::builtin());
            }
            ledger.forget_before(at_ms - 2 * DAY_MS);
        }
        assert_eq!((ledger.files.len(), ledger.file_ids.len()), (4, 3));
        assert_eq!((ledger.sessions.len(), ledger.session_ids.len()), (5, 3));
        let output = |id: &str| ledger.session(&session(id)).map(|it| it.totals.tokens.output);
        assert_eq!(["96", "97", "99"].map(output), [None, Some(5), Some(5)]);
        let file = ledger.file("99");
        ledger.add(file, disk("99"), Some(&session("99")), &[]);
        assert_eq!(ledger.sum_up(0..i64::MAX).output, 10, "one that comes back is read again");
    }

    #[test]
    fn a_model_without_a_price_is_named() {
        let unknown = |it: &str| Entry { model: it.into(), ..entry(it, "r", 5) };
        let mut ledger = ledger(&[
            ("a", "s", unknown("house-model")),
            ("a", "s", unknown("")),
            ("a", "s", entry("msg_1", "r", 4)),
            ("b", "s", Entry { tokens: EntryTokens::default(), ..unknown("<synthetic>") }),
        ]);
        let usage = |it: &Ledger| it.usage(NOON, &TimeZone::UTC, Weekday::Monday);
        assert_eq!(usage(&ledger).unpriced_models, ["house-model", "unknown"]);
        assert_eq!(usage(&ledger).today.unpriced, 2);
        let session = |ledger: &Ledger| ledger.session(&session("s")).map(|it| it.totals.unpriced);
        assert_eq!(session(&ledger), Some(2));
        assert_eq!(usage(&ledger).today.cost_usd, 0.0001);
        let file = ledger.file("a");
        ledger.remove_file(file);
        assert_eq!(usage(&ledger).unpriced_models, [""; 0]);
    }

    #[track_caller]
    fn check_windows(zone: &str, now: &str, at: &str, expected: [bool; 3]) {
        let ms = |it: &str| it.parse::<Timestamp>().expect("is a time").as_millisecond();
        let entry = Entry { at_ms: ms(at), ..entry("msg_1", "r", 1) };
        let zone = TimeZone::get(zone).expect("is a zone");
        let usage = ledger(&[("a", "s", entry)]).usage(ms(now), &zone, Weekday::Monday);
        let counted = [usage.today, usage.week, usage.month].map(|it| it.tokens.output == 1);
        assert_eq!(counted, expected, "{at} at {now}");
    }

    #[test]
    fn days_weeks_and_months_begin_at_local_midnight() {
        // Wednesday the second of December, shortly after midnight in Kathmandu (+05:45).
        let check = |at, expected| {
            check_windows("Asia/Kathmandu", "2026-12-01T18:20:00Z", at, expected);
        };
        check("2026-12-01T18:15:00Z", [true, true, true]);
        check("2026-12-01T18:14:59.999Z", [false, true, true]);
        check("2026-11-30T18:14:59.999Z", [false, true, false]);
        check("2026-11-29T18:15:00Z", [false, true, false]);
        check("2026-11-29T18:14:59.999Z", [false, false, false]);
        check("2026-12-02T18:15:00Z", [false, false, false]);
    }

    #[test]
    fn a_day_of_23_hours_is_a_day() {
        let check = |at, expected| {
            check_windows("Europe/Berlin", "2026-03-29T12:00:00Z", at, expected);
        };
        check("2026-03-28T23:00:00Z", [true, true, true]);
        check("2026-03-28T22:59:59Z", [false, true, true]);
        check("2026-03-29T22:00:00Z", [false, false, false]);
    }

    /// Some gateways give every reply the same id. The time to add one reply must not grow with the
    /// number of replies.
    #[test]
    fn replies_that_share_a_message_id_are_each_counted_in_little_time() {
        const N: u64 = 20_000;
        let give_up_at = Now::read().mono + Duration::from_secs(10);
        let mut ledger = Ledger::new(Prices::builtin());
        // The second session is a fork of the first, and its copies are elected.
        for (path, name) in [("b", "s"), ("a", "t")] {
            let file = ledger.file(path);
            for offset in 0..N {
                let reply = entry("msg_1", &format!("r{offset}"), offset);
                let reply = if offset % 2 == 0 { side(reply) } else { reply };
                ledger.add(file, disk(path), Some(&session(name)), &[(offset, reply)]);
                assert!(Now::read().mono < give_up_at, "at {path}:{offset}");
            }
        }
        assert_eq!(ledger.session(&session("s")), None);
        let file = ledger.file("a");
        ledger.remove_file(file);
        assert!(Now::read().mono < give_up_at);
        assert_eq!(ledger.session(&session("s")).map(|it| it.n_entries), Some(N / 2));
    }

    fn any_entry() -> impl Strategy<Value = (usize, usize, Entry)> {
        let ids = (0..4_usize, 0..3_usize, any::<bool>());
        let model = prop_oneof!["claude-opus-4-8", "house-model"];
        (0..3_usize, 0..2_usize, ids, 1..5_u64, 0..40_i64, model).prop_map(
            |(file, session, (message, request, is_sidechain), output, hours, model)| {
                let message = ["", "msg_1", "msg_2", "resp_3"][message];
                let entry = Entry {
                    at_ms: NOON - hours * 3_600_000,
                    is_sidechain,
                    model: model.into(),
                    ..entry(message, ["", "r", "q"][request], output)
                };
                (file, session, entry)
            },
        )
    }

    fn views(ledger: &Ledger) -> (Usage, Vec<Option<SessionTotals>>) {
        let sessions = ["s", "t"].map(|it| ledger.session(&session(it))).to_vec();
        (ledger.usage(NOON, &TimeZone::UTC, Weekday::Monday), sessions)
    }

    /// The candidates that the rules elect: the best copy of each reply, except a subagent's that a
    /// reply of its session with the same message id outranks.
    fn by_the_rules(ledger: &Ledger) -> Vec<Key> {
        type Known<'a> = (&'a Key, &'a Candidate);
        let outranks = |a: Known, b: Known| {
            a.0.group == b.0.group && ledger.rank(a.0, a.1) > ledger.rank(b.0, b.1)
        };
        let all: Vec<Known> = ledger.candidates.iter().collect();
        let is_best = |copy: &Known| {
            !all.iter().any(|other| other.0.reply == copy.0.reply && outranks(*other, *copy))
        };
        let best: Vec<Known> = all.iter().copied().filter(is_best).collect();
        let is_replay = |copy: &Known| {
            let is_beaten_by =
                |other: &Known| other.1.session == copy.1.session && outranks(*other, *copy);
            copy.1.is_sidechain && best.iter().any(is_beaten_by)
        };
        best.iter().filter(|it| !is_replay(it)).map(|it| *it.0).collect()
    }

    fn counted(ledger: &Ledger) -> Vec<Key> {
        ledger.candidates.iter().filter(|it| it.1.is_counted).map(|it| *it.0).collect()
    }

    proptest! {
        /// A ledger that took entries in any order, was stored and restored, and had a file
        /// replaced says the same as a new ledger that takes the same entries once.
        #[test]
        fn only_the_set_of_entries_matters(
            entries in prop::collection::vec(any_entry(), 1..40),
            order in Just((0..40).collect::<Vec<usize>>()).prop_shuffle(),
            replaced in 0..3_usize,
        ) {
            let add = |ledger: &mut Ledger, n: usize| {
                if let Some((file, name, entry)) = entries.get(n) {
                    let path = ["a", "b", "c"][*file];
                    let (file, disk) = (ledger.file(path), disk(path));
                    let entries = [(n as u64, entry.clone())];
                    ledger.add(file, disk, Some(&session(["s", "t"][*name])), &entries);
                }
            };
            let mut cold = Ledger::new(Prices::builtin());
            (0..40).for_each(|it| add(&mut cold, it));

            let mut warm = Ledger::new(Prices::builtin());
            order[..20].iter().for_each(|it| add(&mut warm, *it));
            let kept = postcard::to_stdvec(&warm).unwrap();
            let kept: Ledger = postcard::from_bytes(&kept).unwrap();
            let mut warm = kept.restored(Prices::builtin());
            order[20..].iter().for_each(|it| add(&mut warm, *it));
            prop_assert_eq!(counted(&warm), by_the_rules(&warm));
            let file = warm.file(["a", "b", "c"][replaced]);
            warm.remove_file(file);
            prop_assert_eq!(counted(&warm), by_the_rules(&warm));
            let is_replaced = |n: &usize| entries.get(*n).is_some_and(|it| it.0 == replaced);
            order.iter().filter(|n| is_replaced(n)).for_each(|n| add(&mut warm, *n));
            prop_assert_eq!(views(&warm), views(&cold));
            warm.forget_before(NOON - 20 * 3_600_000);
            prop_assert_eq!(counted(&warm), by_the_rules(&warm));
        }
    }
}
