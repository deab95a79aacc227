//! PURE. Which entries count, and what they add up to.
//!
//! One reply is written down many times: once per content block, and again by every session that is
//! forked from the one it belongs to. All its copies are candidates, and one is elected: a main
//! chain's before a subagent's, then the one that states the most tokens, then the first one. It
//! brings its own time, session and cost; so a late copy can move a reply to another day.
//!
//! Of the copies in one file only the best is kept: enough to elect again when another file goes.
//! Ids are kept as hashes: 64 bits of the message's, and 32 of the request's beside it.
//!
//! **Invariant:** the sums are those of the elected candidates, and who is elected depends on the
//! candidates alone.

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
use crate::usage::entry::{Entry, hash};
use crate::usage::prices::{Picodollars, Prices};
use crate::usage::sums::Sums;

/// The windows reach back this far at most: a month, and the week it began in.
pub const REACH_MS: i64 = 35 * DAY_MS;

/// Names of unpriced models that are told apart; the rest goes by the last one.
const MAX_UNPRICED: usize = 64;

/// Device and inode.
pub type Identity = (u64, u64);

/// A transcript, as [`Ledger::file`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(u32);

/// Every entry of one root that can still be in a window, and the sums over those that count.
///
/// It can be kept: what follows from the candidates is left out, and [`Ledger::restored`] makes it
/// again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(skip, default = "Prices::builtin")]
    prices: Prices,
    horizon_ms: i64,
    files: Vec<File>,
    /// Numbers that nobody had when something was forgotten last.
    #[serde(skip)]
    free_files: Vec<FileId>,
    #[serde(skip)]
    file_ids: BTreeMap<Arc<str>, FileId>,
    candidates: BTreeMap<Key, Candidate>,
    /// By group and session. Only where a message id names more than one reply, as few do: some
    /// gateways give all the same.
    #[serde(skip)]
    rivals: BTreeMap<(u64, u32), Rivals>,
    #[serde(skip)]
    slots: Slots,
    /// Indexed by [`Candidate::session`].
    #[serde(skip)]
    sessions: Vec<Sums>,
    session_ids: BTreeMap<SessionId, u32>,
    /// As [`Ledger::free_files`].
    #[serde(skip)]
    free_sessions: Vec<u32>,
    /// Indexed by [`Candidate::unpriced`], less one.
    unpriced_models: Vec<Box<str>>,
    /// How many entries of which of them count in which slot.
    #[serde(skip)]
    unpriced: BTreeMap<(SlotKey, u16), u32>,
}

/// What one session used, its subagents included.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionTotals {
    /// Cost and tokens.
    pub totals: Totals,
    /// Cache reads ÷ all input; none without input.
    pub cache_hit_ratio: Option<f64>,
    /// Replies.
    pub entries: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct File {
    path: Arc<str>,
    is_retired: bool,
}

/// Candidates of one reply share `group` and `reply`. Candidates that share `group` alone have the
/// same message id, and may be replays of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    group: u64,
    reply: u32,
    file: FileId,
}

/// The best copy of each reply, the highest last.
type Rivals = BTreeSet<(Rank, Key)>;

/// Whether a main chain holds it, its tokens, and where it stands.
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
    /// Which of [`Ledger::unpriced_models`] it is; 0 where it has a price.
    unpriced: u16,
    sidechain: bool,
    is_counted: bool,
}

impl Ledger {
    /// An empty ledger that prices entries like this.
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
            // Number 0 is for entries of no session.
            sessions: vec![Sums::default()],
            session_ids: BTreeMap::new(),
            free_sessions: Vec::new(),
            unpriced_models: Vec::new(),
            unpriced: BTreeMap::new(),
        }
    }

    /// One that was kept, with the prices that it was made with.
    #[must_use]
    pub fn restored(mut self, prices: Prices) -> Ledger {
        self.prices = prices;
        let ids = (0..).map(FileId).zip(&self.files);
        self.file_ids = ids.map(|(id, it)| (Arc::clone(&it.path), id)).collect();
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
            self.enter(&key);
        }
        self
    }

    /// The name of the transcript at `path`. Of equal copies the one in the smaller path counts.
    ///
    /// A retired file that comes back is read from its beginning, so what was known of it is
    /// dropped here.
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

    /// Takes in what `file` says, each entry with its place there. `session` is the one that the
    /// path names; where it names none (a subagent in the old layout) the entry's own counts.
    /// `identity` is the file's on its disk: it may have two names.
    pub fn add(
        &mut self,
        file: FileId,
        identity: Identity,
        session: Option<&SessionId>,
        entries: &[(u64, Entry)],
    ) {
        let named = session.map(|it| self.session_no(it));
        let horizon_ms = self.horizon_ms;
        for (offset, entry) in entries.iter().filter(|(_, it)| it.at_ms >= horizon_ms) {
            let own = || entry.session.as_deref().and_then(SessionId::checked);
            let session = named.unwrap_or_else(|| own().map_or(0, |it| self.session_no(&it)));
            let key = key_of(file, identity, *offset, session, entry);
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
            sidechain: entry.sidechain,
            is_counted: false,
        };
        match self.candidates.get(&key) {
            Some(known) if self.rank(&key, known) >= self.rank(&key, &candidate) => return,
            Some(_) => self.drop_candidate(&key),
            None => {}
        }
        self.insert(key, candidate);
    }

    /// Forgets what `file` said: it was truncated or replaced, and will be read again.
    pub fn remove_file(&mut self, file: FileId) {
        self.drop_where(|key, _| key.file == file);
    }

    /// The file was deleted. Its entries stay counted until they leave the windows: the client
    /// prunes old transcripts, and what was used does not shrink by that.
    pub fn retire_file(&mut self, file: FileId) {
        self.files[file.0 as usize].is_retired = true;
    }

    /// Drops entries older than `horizon_ms`, and refuses them from now on. Never goes back.
    ///
    /// Copies of a reply that lie on both sides are told apart from then on; so the horizon stays
    /// some days before the first window. [`REACH_MS`] does.
    pub fn forget_before(&mut self, horizon_ms: i64) {
        self.horizon_ms = self.horizon_ms.max(horizon_ms);
        let horizon_ms = self.horizon_ms;
        self.drop_where(|_, it| it.at_ms < horizon_ms);
        self.free();
    }

    /// Whether it refuses what may be in a window, since a clock was days ahead.
    pub fn is_ahead(&self, now_ms: i64) -> bool {
        self.horizon_ms > now_ms - REACH_MS + DAY_MS
    }

    /// Retired files and sessions of which nothing is left leave their numbers to others.
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

    /// What a session used; none where it has no entry.
    pub fn session(&self, session: &SessionId) -> Option<SessionTotals> {
        let sums = &self.sessions[*self.session_ids.get(session)? as usize];
        let all_input = sums.input + sums.cache_write + sums.cache_read;
        (sums.entries > 0).then(|| SessionTotals {
            totals: sums.totals(),
            cache_hit_ratio: (all_input > 0).then(|| sums.cache_read as f64 / all_input as f64),
            entries: sums.entries,
        })
    }

    /// What the root used by now. `as_of_ms` and `skipped_lines` are the caller's to fill in.
    pub fn usage(&self, now_ms: i64, zone: &TimeZone, week_starts: Weekday) -> Usage {
        let block = blocks::active(&self.slots, now_ms);
        let Some(starts) = WindowStarts::at(now_ms, zone, week_starts) else {
            return Usage { block, ..Usage::default() };
        };
        // Each window is part of the next, so each slot is looked at once.
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

    /// What was used in a span that begins and ends on a quarter-hour.
    pub fn sum_up(&self, span: Range<i64>) -> Sums {
        let mut sums = Sums::default();
        for (_, slot) in self.slots.range(SlotKey::range(span)) {
            sums += &slot.sums;
        }
        sums
    }

    /// Takes in a candidate whose place is free.
    fn insert(&mut self, key: Key, mut candidate: Candidate) {
        let Some((first, _)) = self.candidates.range(whole(key.group)).next() else {
            // Most replies are told by one file.
            candidate.is_counted = true;
            self.count(&candidate);
            self.candidates.insert(key, candidate);
            return;
        };
        let first = *first;
        if first.reply != key.reply && !self.has_rivals(key.group) {
            self.enter(&first);
        }
        let before = self.best_copy(&key);
        self.candidates.insert(key, candidate);
        let best = self.best_copy(&key);
        if best != before {
            before.inspect(|it| self.stand(it, false));
            best.inspect(|it| self.stand(it, true));
        }
    }

    fn drop_candidate(&mut self, key: &Key) {
        let is_best = self.best_copy(key).as_ref() == Some(key);
        if is_best {
            self.stand(key, false);
        }
        self.candidates.remove(key);
        if is_best {
            self.best_copy(key).inspect(|it| self.stand(it, true));
        }
    }

    /// Who stands for the reply that this is a copy of.
    fn best_copy(&self, key: &Key) -> Option<Key> {
        let bound = |file| Key { file: FileId(file), ..*key };
        let copies = self.candidates.range(bound(0)..=bound(u32::MAX));
        let best = copies.max_by(|a, b| self.rank(a.0, a.1).cmp(&self.rank(b.0, b.1)))?;
        Some(*best.0)
    }

    fn has_rivals(&self, group: u64) -> bool {
        self.rivals.range((group, 0)..=(group, u32::MAX)).next().is_some()
    }

    /// There is another reply by this one's message id. As long as there was none, it counted.
    fn enter(&mut self, key: &Key) {
        let Some(best) = self.best_copy(key) else { return };
        let candidate = &self.candidates[&best];
        let rival = (self.rank(&best, candidate), best);
        self.rivals.entry((key.group, candidate.session)).or_default().insert(rival);
    }

    /// From now on this stands for its reply, or does so no longer; and whoever has to counts.
    fn stand(&mut self, key: &Key, stands: bool) {
        let Some(candidate) = self.candidates.get(key) else { return };
        let scope = (key.group, candidate.session);
        let rival = (self.rank(key, candidate), *key);
        let has_rivals = self.has_rivals(key.group);
        if !has_rivals || !candidate.sidechain {
            self.flip(key);
        }
        if !has_rivals {
            return;
        }
        // A subagent's chain may repeat its session's reply under another request id. So of those
        // one counts, and none beside a main chain's.
        let of_subagents = |it: &Rivals| it.last().filter(|it| !it.0.0).map(|it| it.1);
        let rivals = self.rivals.entry(scope).or_default();
        let before = of_subagents(rivals);
        _ = if stands { rivals.insert(rival) } else { rivals.remove(&rival) };
        let counts = of_subagents(rivals);
        if rivals.is_empty() {
            self.rivals.remove(&scope);
        }
        if counts != before {
            before.inspect(|it| self.flip(it));
            counts.inspect(|it| self.flip(it));
        }
    }

    /// Counts a candidate that did not count, or the reverse.
    fn flip(&mut self, key: &Key) {
        let Some(candidate) = self.candidates.get_mut(key) else { return };
        candidate.is_counted = !candidate.is_counted;
        let candidate = candidate.clone();
        self.count(&candidate);
    }

    /// Adds a candidate that counts to all sums, or takes away one that does not any more.
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

    fn drop_where(&mut self, unwanted: impl Fn(&Key, &Candidate) -> bool) {
        let keys: Vec<Key> =
            self.candidates.iter().filter(|(key, it)| unwanted(key, it)).map(|(k, _)| *k).collect();
        for key in &keys {
            self.drop_candidate(key);
        }
    }

    /// The higher of two candidates of one reply counts.
    fn rank(&self, key: &Key, it: &Candidate) -> Rank {
        let path = Arc::clone(&self.files[key.file.0 as usize].path);
        (!it.sidechain, it.sums().tokens(), Reverse((path, it.offset)))
    }

    fn session_no(&mut self, session: &SessionId) -> u32 {
        if let Some(it) = self.session_ids.get(session) {
            return *it;
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
            Some(it) => it,
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
            entries: 1,
            unpriced: (self.unpriced > 0).into(),
            input: self.input.into(),
            output: self.output.into(),
            cache_write: self.cache_write.into(),
            cache_read: self.cache_read.into(),
            picodollars: self.cost.into(),
        }
    }
}

fn key_of(file: FileId, identity: Identity, offset: u64, session: u32, entry: &Entry) -> Key {
    let (group, reply) = match (entry.message, entry.request) {
        (Some(message), Some(request)) => (message.hash, request.hash as u32),
        (Some(message), None) if message.is_global => (message.hash, 0),
        (Some(message), None) => (message.hash, session),
        // What has no name is never a copy, unless it is the same line of the same file. Numbers of
        // files are used again, so that the time counts, too.
        (None, _) => (hash(&(identity, offset, entry.at_ms)), 0),
    };
    Key { group, reply, file }
}

fn whole(group: u64) -> std::ops::RangeInclusive<Key> {
    Key { group, reply: 0, file: FileId(0) }..=Key {
        group,
        reply: u32::MAX,
        file: FileId(u32::MAX),
    }
}

/// No reply has more than four billion tokens; a line that says so is not worth eight bytes.
fn bounded(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::Now;
    use crate::usage::entry::{EntryTokens, Id};
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// 2026-11-23 is a Monday.
    const NOON: i64 = 1_795_435_200_000;

    fn entry(message: &str, request: &str, output: u64) -> Entry {
        Entry {
            at_ms: NOON,
            message: (!message.is_empty()).then(|| Id::of(message)),
            request: (!request.is_empty()).then(|| Id::of(request)),
            model: "claude-opus-4-8".into(),
            tokens: EntryTokens { output, ..EntryTokens::default() },
            ..Entry::default()
        }
    }

    fn side(entry: Entry) -> Entry {
        Entry { sidechain: true, ..entry }
    }

    fn session(name: &str) -> SessionId {
        SessionId::checked(name).expect("is a session id")
    }

    /// Each path is a file of its own, but that `a'` is another name of `a`.
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

    /// Each as (file, session, entry); `expected` is (entries, output tokens), in either order.
    #[track_caller]
    fn check_count(entries: &[(&str, &str, Entry)], expected: (u64, u64)) {
        let reversed: Vec<_> = entries.iter().rev().cloned().collect();
        for entries in [entries, &reversed] {
            let sums = ledger(entries).sum_up(0..i64::MAX);
            assert_eq!((sums.entries, sums.output), expected);
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
    fn a_replay_in_a_subagents_chain_is_not_counted_whatever_its_request() {
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
        check_count(&copies("resp_1"), (2, 18));
        check_count(&copies(""), (2, 18));
    }

    #[test]
    fn a_file_under_two_names_is_one_file() {
        let nameless = || entry("", "", 9);
        let mut ledger = ledger(&[("a", "s", nameless())]);
        let file = ledger.file("a'");
        ledger.add(file, disk("a'"), Some(&session("t")), &[(0, nameless())]);
        assert_eq!(ledger.sum_up(0..i64::MAX).entries, 1);
        ledger.add(file, disk("a'"), Some(&session("t")), &[(9, nameless())]);
        assert_eq!(ledger.sum_up(0..i64::MAX).entries, 2, "another line of it");
    }

    #[test]
    fn of_equal_copies_the_one_in_the_first_file_counts() {
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
    fn what_leaves_the_windows_is_forgotten() {
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
    fn what_nothing_is_left_of_takes_no_room() {
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
        let output = |it: &str| ledger.session(&session(it)).map(|it| it.totals.tokens.output);
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
        let session = |it: &Ledger| it.session(&session("s")).map(|it| it.totals.unpriced);
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

    /// Some gateways give every reply the same id. What one costs must not grow with all there are.
    #[test]
    fn replies_that_share_a_message_id_are_each_counted_in_no_time() {
        const N: u64 = 20_000;
        let give_up_at = Now::read().mono + Duration::from_secs(10);
        let mut ledger = Ledger::new(Prices::builtin());
        // The second is a fork of the first, and takes its replies over.
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
        assert_eq!(ledger.session(&session("s")).map(|it| it.entries), Some(N / 2));
    }

    fn any_entry() -> impl Strategy<Value = (usize, usize, Entry)> {
        let ids = (0..4_usize, 0..3_usize, any::<bool>());
        let model = prop_oneof!["claude-opus-4-8", "house-model"];
        (0..3_usize, 0..2_usize, ids, 1..5_u64, 0..40_i64, model).prop_map(
            |(file, session, (message, request, sidechain), output, hours, model)| {
                let message = ["", "msg_1", "msg_2", "resp_3"][message];
                let entry = Entry {
                    at_ms: NOON - hours * 3_600_000,
                    sidechain,
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

    /// Those that count, as the rules say it: the best copy of each reply, but none of a subagent's
    /// that another one of its session's by the same message id beats.
    fn by_the_rules(ledger: &Ledger) -> Vec<Key> {
        type Known<'a> = (&'a Key, &'a Candidate);
        let beats = |a: Known, b: Known| {
            a.0.group == b.0.group && ledger.rank(a.0, a.1) > ledger.rank(b.0, b.1)
        };
        let all: Vec<Known> = ledger.candidates.iter().collect();
        let is_best = |it: &Known| !all.iter().any(|a| a.0.reply == it.0.reply && beats(*a, *it));
        let best: Vec<Known> = all.iter().copied().filter(is_best).collect();
        let is_replay = |it: &Known| {
            it.1.sidechain && best.iter().any(|a| a.1.session == it.1.session && beats(*a, *it))
        };
        best.iter().filter(|it| !is_replay(it)).map(|it| *it.0).collect()
    }

    fn counted(ledger: &Ledger) -> Vec<Key> {
        ledger.candidates.iter().filter(|it| it.1.is_counted).map(|it| *it.0).collect()
    }

    proptest! {
        /// Whatever came before, in whatever order: the ledger says what a fresh one says that is
        /// told the same entries once.
        #[test]
        fn only_the_set_of_entries_matters(
            entries in prop::collection::vec(any_entry(), 1..40),
            order in Just((0..40).collect::<Vec<usize>>()).prop_shuffle(),
            replaced in 0..3_usize,
        ) {
            let add = |ledger: &mut Ledger, it: usize| {
                if let Some((file, name, entry)) = entries.get(it) {
                    let path = ["a", "b", "c"][*file];
                    let (file, disk) = (ledger.file(path), disk(path));
                    let entries = [(it as u64, entry.clone())];
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
            order.iter().filter(|it| entries.get(**it).is_some_and(|it| it.0 == replaced))
                .for_each(|it| add(&mut warm, *it));
            prop_assert_eq!(views(&warm), views(&cold));
            warm.forget_before(NOON - 20 * 3_600_000);
            prop_assert_eq!(counted(&warm), by_the_rules(&warm));
        }
    }
}
