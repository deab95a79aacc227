//! PURE. Which copies of replies count.
//!
//! Transcripts hold many copies of one reply: one per content block, and more in every session that
//! is forked from the reply's. One copy represents the reply: one from a main chain before one from
//! a subagent's, then the copy that states the most tokens, then the first one. The reply counts
//! with that copy's time, session and cost, so a copy that is read late can move a reply to another
//! day.
//!
//! What was counted once stays counted, whatever becomes of the transcript: copies are only ever
//! added, and only a better copy of the same reply takes the place of another.
//!
//! **Invariant:** the set of all copies that were ever added alone determines which are elected, in
//! whichever order they came.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::usage::entry::EntryTokens;
use crate::usage::history::{Group, Quarter};
use crate::usage::prices::Picodollars;
use crate::usage::reply::{CopyId, Reply};

/// Replies, and which of them are elected.
#[derive(Clone, Debug, Default)]
pub struct Election {
    /// The best known copy of each reply.
    copies: BTreeMap<Key, Copy>,
    /// By group and session, and only for groups with more than one reply. Such groups are rare:
    /// some gateways give every reply the same message id.
    rivals: BTreeMap<(u64, u32), Rivals>,
    /// The replies that are known by their lines, by the hash of each line.
    lines: BTreeMap<u64, Key>,
    /// The hashes of the lines of such a reply.
    lines_of: BTreeMap<Key, BTreeSet<u64>>,
    files: Names<Arc<str>>,
    groups: Names<Arc<Group>>,
    sessions: Names<Arc<str>>,
    /// The session of each group, by the numbers of both.
    session_of_group: Vec<u32>,
    /// The group and the file of the copy that was added last, and their numbers: most copies share
    /// them with the one before.
    last: Option<(Arc<Group>, u32, Arc<str>, u32)>,
    /// What changed since [`Election::take_changes`].
    changes: Vec<Change>,
}

/// A copy was elected, or is elected no longer.
#[derive(Clone, Debug)]
pub struct Change {
    pub is_elected: bool,
    /// Numbers that stand for the session and the group, until [`Election::free`] frees those of
    /// which no reply is left.
    pub session: u32,
    pub group: u32,
    /// What the copy adds to the sums.
    pub quarter: Quarter,
}

/// What became of a copy that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It now represents its reply. Where it took the place of another copy, this is the time of
    /// that one, in Unix milliseconds.
    New { instead_of_ms: Option<i64> },
    /// A copy at least as good was known.
    Known,
}

/// Copies with the same `group` and `reply` are of one reply. Replies with the same `group` alone
/// have the same message id, and may be replays of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    group: u64,
    reply: u32,
}

/// The [`Key::reply`] of replies that are known by their lines.
const BY_LINES: u32 = u32::MAX;

/// The replies of one session in one group, the highest rank last.
type Rivals = BTreeSet<(Rank, Key)>;

/// Whether the copy is from a main chain, its tokens, and its file and offset; the copy of the
/// higher rank represents its reply.
type Rank = (bool, u64, Reverse<(Arc<str>, u64)>);

/// A copy of a reply. A ledger has hundreds of thousands, so that what several share has a number.
#[derive(Clone, Debug)]
struct Copy {
    at_ms: i64,
    offset: u64,
    stated: Picodollars,
    file: u32,
    group: u32,
    input: u32,
    output: u32,
    cache_write_5m: u32,
    cache_write_1h: u32,
    cache_read: u32,
    n_web_searches: u32,
    is_sidechain: bool,
    is_counted: bool,
}

impl Election {
    /// Takes in a copy of a reply.
    pub fn add(&mut self, reply: &Reply) -> Added {
        let key = self.key_of(&reply.id);
        let copy = self.numbered(reply);
        let known = self.copies.get(&key);
        if known.is_some_and(|known| self.rank(known) >= self.rank(&copy)) {
            return Added::Known;
        }
        let instead_of_ms = known.map(|it| it.at_ms);
        self.remove(&key);
        self.insert(key, copy);
        Added::New { instead_of_ms }
    }

    /// Drops replies older than `horizon_ms`. [`Election::free`] then frees what belonged to them.
    pub fn forget_before(&mut self, horizon_ms: i64) {
        let is_old = |(_, copy): &(&Key, &Copy)| copy.at_ms < horizon_ms;
        let old: Vec<Key> = self.copies.iter().filter(is_old).map(|(key, _)| *key).collect();
        for key in &old {
            self.remove(key);
            for line in self.lines_of.remove(key).into_iter().flatten() {
                self.lines.remove(&line);
            }
        }
    }

    /// What was elected and what no longer is since the last call, in the order in which it
    /// happened.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Reports all elected replies as new changes.
    pub fn report_all(&mut self) {
        let elected = self.copies.values().filter(|it| it.is_counted);
        self.changes = elected.map(|copy| self.change(copy)).collect();
    }

    /// The copies that represent the replies, each with whether it is elected.
    pub fn replies(&self) -> impl Iterator<Item = (Reply, bool)> {
        self.copies.iter().map(|(key, copy)| (self.reply(key, copy), copy.is_counted))
    }

    /// The number of a session, as in [`Change::session`]; `None` where it has no reply.
    pub fn session(&self, id: &str) -> Option<u32> {
        self.sessions.find(id)
    }

    /// The group of this number, as in [`Change::group`].
    pub fn group(&self, number: u32) -> &Arc<Group> {
        self.groups.get(number)
    }

    // ---- Identity

    /// The key of a reply. A copy may have lines in common with several replies that were taken for
    /// different ones so far; these become one.
    fn key_of(&mut self, id: &CopyId) -> Key {
        let lines = match id {
            CopyId::Api { message, request } => return Key { group: *message, reply: *request },
            CopyId::Lines(lines) => lines,
        };
        let known: BTreeSet<Key> =
            lines.iter().filter_map(|it| self.lines.get(it)).copied().collect();
        let new = || Key { group: lines.first().copied().unwrap_or(0), reply: BY_LINES };
        let key = known.first().copied().unwrap_or_else(new);
        for other in known.into_iter().skip(1) {
            self.merge(&other, key);
        }
        for line in lines {
            self.lines.insert(*line, key);
        }
        self.lines_of.entry(key).or_default().extend(lines);
        key
    }

    /// The copy of `other` becomes one of the reply `key`.
    fn merge(&mut self, other: &Key, key: Key) {
        let lines = self.lines_of.remove(other).unwrap_or_default();
        self.lines.extend(lines.iter().map(|line| (*line, key)));
        self.lines_of.entry(key).or_default().extend(lines);
        let Some(copy) = self.copies.get(other).cloned() else { return };
        self.remove(other);
        if let Some(known) = self.copies.get(&key) {
            if self.rank(known) >= self.rank(&copy) {
                return;
            }
            self.remove(&key);
        }
        self.insert(key, copy);
    }

    fn reply(&self, key: &Key, copy: &Copy) -> Reply {
        let id = match self.lines_of.get(key) {
            Some(lines) => CopyId::Lines(lines.iter().copied().collect()),
            None => CopyId::Api { message: key.group, request: key.reply },
        };
        Reply {
            id,
            group: Arc::clone(self.groups.get(copy.group)),
            file: Arc::clone(self.files.get(copy.file)),
            offset: copy.offset,
            at_ms: copy.at_ms,
            is_sidechain: copy.is_sidechain,
            tokens: copy.tokens(),
            n_web_searches: copy.n_web_searches.into(),
            stated: copy.stated,
        }
    }

    // ---- Election

    /// Adds the copy of a reply that is not known.
    fn insert(&mut self, key: Key, mut copy: Copy) {
        copy.is_counted = false;
        let Some((first, _)) = self.copies.range(keys_of(key.group)).next() else {
            // The common case: the first reply of its group.
            copy.is_counted = true;
            self.count(&copy);
            self.copies.insert(key, copy);
            return;
        };
        let first = *first;
        if first.reply != key.reply && !self.has_rivals(key.group) {
            self.add_to_rivals(&first);
        }
        self.copies.insert(key, copy);
        self.stand(&key, true);
    }

    fn remove(&mut self, key: &Key) {
        if self.copies.contains_key(key) {
            self.stand(key, false);
            self.copies.remove(key);
        }
    }

    fn has_rivals(&self, group: u64) -> bool {
        self.rivals.range((group, 0)..=(group, u32::MAX)).next().is_some()
    }

    fn rival(&self, key: &Key) -> Option<((u64, u32), (Rank, Key))> {
        let copy = self.copies.get(key)?;
        let session = self.session_of_group[copy.group as usize];
        Some(((key.group, session), (self.rank(copy), *key)))
    }

    /// Adds a reply to the rivals of its group, which now has a second reply.
    fn add_to_rivals(&mut self, key: &Key) {
        if let Some((scope, rival)) = self.rival(key) {
            self.rivals.entry(scope).or_default().insert(rival);
        }
    }

    /// A reply begins to stand for election, or no longer does. Updates which reply of its session
    /// and group is elected.
    fn stand(&mut self, key: &Key, does_stand: bool) {
        let Some((scope, rival)) = self.rival(key) else { return };
        let has_rivals = self.has_rivals(key.group);
        let is_main_chain = rival.0.0;
        if !has_rivals || is_main_chain {
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
        _ = if does_stand { rivals.insert(rival) } else { rivals.remove(&rival) };
        let after = elected_subagent(rivals);
        if rivals.is_empty() {
            self.rivals.remove(&scope);
        }
        if after != before {
            before.inspect(|it| self.flip(it));
            after.inspect(|it| self.flip(it));
        }
    }

    /// Elects a reply that was not elected, or the reverse.
    fn flip(&mut self, key: &Key) {
        let Some(copy) = self.copies.get_mut(key) else { return };
        copy.is_counted = !copy.is_counted;
        let copy = copy.clone();
        self.count(&copy);
    }

    /// Of the copies of one reply, the one of the highest rank represents it.
    fn rank(&self, copy: &Copy) -> Rank {
        let file = Arc::clone(self.files.get(copy.file));
        (!copy.is_sidechain, copy.tokens().all(), Reverse((file, copy.offset)))
    }

    fn change(&self, copy: &Copy) -> Change {
        Change {
            is_elected: copy.is_counted,
            session: self.session_of_group[copy.group as usize],
            group: copy.group,
            quarter: copy.quarter(),
        }
    }

    /// Notes that a copy was elected, or is elected no longer.
    fn count(&mut self, copy: &Copy) {
        let change = self.change(copy);
        self.changes.push(change);
    }

    // ---- Numbers

    /// The copy, with numbers for what it shares with others.
    fn numbered(&mut self, reply: &Reply) -> Copy {
        let (group, file) = self.numbers(&reply.group, &reply.file);
        let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } =
            reply.tokens;
        Copy {
            at_ms: reply.at_ms,
            offset: reply.offset,
            stated: reply.stated,
            file,
            group,
            input: input as u32,
            output: output as u32,
            cache_write_5m: cache_write_5m as u32,
            cache_write_1h: cache_write_1h as u32,
            cache_read: cache_read as u32,
            n_web_searches: reply.n_web_searches as u32,
            is_sidechain: reply.is_sidechain,
            is_counted: false,
        }
    }

    fn numbers(&mut self, group: &Arc<Group>, file: &Arc<str>) -> (u32, u32) {
        if let Some((last_group, group_number, last_file, file_number)) = &self.last
            && Arc::ptr_eq(last_group, group)
            && Arc::ptr_eq(last_file, file)
        {
            return (*group_number, *file_number);
        }
        let numbers = (self.groups.number(group), self.files.number(file));
        let session = self.sessions.number(&group.session);
        let index = numbers.0 as usize;
        let n_groups = self.session_of_group.len().max(index + 1);
        self.session_of_group.resize(n_groups, 0);
        self.session_of_group[index] = session;
        self.last = Some((Arc::clone(group), numbers.0, Arc::clone(file), numbers.1));
        numbers
    }

    /// Frees the numbers of files, groups and sessions of which no reply is left. Changes must have
    /// been taken before: they hold such numbers.
    pub fn free(&mut self) {
        self.last = None;
        let copies = || self.copies.values();
        self.files.retain(copies().map(|it| it.file).collect());
        let groups: BTreeSet<u32> = copies().map(|it| it.group).collect();
        let session_of = |group: &u32| self.session_of_group[*group as usize];
        self.sessions.retain(groups.iter().map(session_of).collect());
        self.groups.retain(groups);
    }
}

impl Copy {
    fn quarter(&self) -> Quarter {
        Quarter {
            n_replies: 1,
            first_ms: self.at_ms,
            last_ms: self.at_ms,
            tokens: self.tokens(),
            n_web_searches: self.n_web_searches.into(),
            stated: self.stated,
        }
    }

    fn tokens(&self) -> EntryTokens {
        EntryTokens {
            input: self.input.into(),
            output: self.output.into(),
            cache_write_5m: self.cache_write_5m.into(),
            cache_write_1h: self.cache_write_1h.into(),
            cache_read: self.cache_read.into(),
        }
    }
}

/// The keys of all replies of a group.
fn keys_of(group: u64) -> RangeInclusive<Key> {
    Key { group, reply: 0 }..=Key { group, reply: u32::MAX }
}

/// Values that have a number each. The number of a value that is not needed any more is used again.
#[derive(Clone, Debug)]
struct Names<T> {
    numbers: BTreeMap<T, u32>,
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Names<T> {
    fn default() -> Names<T> {
        Names { numbers: BTreeMap::new(), values: Vec::new(), free: Vec::new() }
    }
}

impl<T: Ord + Clone + Default> Names<T> {
    /// The number of a value, which is new if the value is.
    fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(T::default());
            u32::try_from(self.values.len() - 1).expect("fewer than 4 billion values")
        });
        self.values[number as usize] = value.clone();
        self.numbers.insert(value.clone(), number);
        number
    }

    fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    fn find<Q: Ord + ?Sized>(&self, value: &Q) -> Option<u32>
    where
        T: Borrow<Q>,
    {
        self.numbers.get(value).copied()
    }

    /// Frees all other numbers.
    fn retain(&mut self, used: BTreeSet<u32>) {
        let unused: Vec<u32> =
            self.numbers.values().filter(|it| !used.contains(it)).copied().collect();
        for number in &unused {
            let value = std::mem::take(&mut self.values[*number as usize]);
            self.numbers.remove(&value);
        }
        self.free.extend(unused);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::{DAY_MS, Now};
    use crate::usage::reply::testing::{NOON, by_lines, in_session, reply};
    use proptest::prelude::*;

    fn at(file: &str, offset: u64, reply: Reply) -> Reply {
        Reply { file: file.into(), offset, ..reply }
    }

    fn side(reply: Reply) -> Reply {
        Reply { is_sidechain: true, ..reply }
    }

    fn election(replies: &[Reply]) -> Election {
        let mut election = Election::default();
        for reply in replies {
            election.add(reply);
        }
        election
    }

    fn elected(election: &Election) -> Vec<Reply> {
        election.replies().filter(|it| it.1).map(|it| it.0).collect()
    }

    /// `expected` is the number of elected replies and of their output tokens. The result must be
    /// the same when the copies are added in reverse, and the changes must add up to it.
    #[track_caller]
    fn check_count(replies: &[Reply], expected: (usize, u64)) {
        let reversed: Vec<Reply> = replies.iter().rev().cloned().collect();
        for replies in [replies, &reversed] {
            let mut election = election(replies);
            let elected = elected(&election);
            let output = elected.iter().map(|it| it.tokens.output).sum();
            assert_eq!((elected.len(), output), expected);
            let sum = election.take_changes().iter().fold((0, 0), |(n, output), change| {
                let sign = if change.is_elected { 1 } else { -1 };
                (n + sign, output + sign * change.quarter.tokens.output as i64)
            });
            assert_eq!(sum, (expected.0 as i64, expected.1 as i64));
        }
    }

    #[test]
    fn the_largest_copy_of_a_reply_counts() {
        check_count(&[5, 9, 7].map(|it| reply("msg_1", "r", it)), (1, 9));
    }

    #[test]
    fn a_copy_in_a_forked_session_is_not_counted_again() {
        let copies = ["s", "t"].map(|it| in_session(it, reply("msg_1", "r", 9)));
        check_count(&copies, (1, 9));
    }

    #[test]
    fn a_main_chains_copy_beats_a_larger_one_of_a_subagent() {
        check_count(&[reply("msg_1", "r", 5), side(reply("msg_1", "r", 9))], (1, 5));
    }

    #[test]
    fn a_replay_in_a_subagents_chain_is_not_counted_under_any_request_id() {
        let main = reply("msg_1", "r", 5);
        check_count(&[main.clone(), side(reply("msg_1", "q", 9))], (1, 5));
        check_count(&[main.clone(), in_session("t", side(reply("msg_1", "q", 9)))], (2, 14));
        check_count(&[main, reply("msg_1", "q", 9)], (2, 14));
        check_count(&["q", "r"].map(|it| side(reply("msg_1", it, 9))), (1, 9));
    }

    #[test]
    fn of_equal_copies_the_first_one_counts() {
        let first = at("a", 5, reply("msg_1", "r", 9));
        let others = [at("a", 10, first.clone()), at("b", 0, first.clone())];
        for other in others {
            for copies in [[&first, &other], [&other, &first]] {
                let election = election(&copies.map(Reply::clone));
                assert_eq!(elected(&election), std::slice::from_ref(&first));
            }
        }
    }

    #[test]
    fn copies_with_a_line_in_common_are_of_one_reply() {
        check_count(&[by_lines(&[1], 5), by_lines(&[2], 9)], (2, 14));
        check_count(&[by_lines(&[1], 5), by_lines(&[1, 2], 9)], (1, 9));
        check_count(&[by_lines(&[1], 5), by_lines(&[2], 7), by_lines(&[1, 2], 6)], (1, 7));
        let mut election = election(&[by_lines(&[1], 5), by_lines(&[2], 7), by_lines(&[1, 2], 6)]);
        assert_eq!(election.add(&by_lines(&[2], 6)), Added::Known);
        assert_eq!(elected(&election)[0].id, CopyId::Lines(vec![1, 2]));
        election.forget_before(NOON + 1);
        assert!(election.lines.is_empty() && election.lines_of.is_empty());
    }

    #[test]
    fn what_is_not_needed_any_more_takes_no_room() {
        let mut election = Election::default();
        for day in 0..100 {
            let at_ms = NOON + day * DAY_MS;
            let reply = Reply { at_ms, ..reply(&format!("msg_{day}"), "r", 5) };
            election.add(&at(&format!("{day}"), 0, in_session(&day.to_string(), reply)));
            election.forget_before(at_ms - 2 * DAY_MS);
            election.take_changes();
            election.free();
        }
        let n_names = |values: usize, numbers: usize| (values, numbers);
        assert_eq!(n_names(election.files.values.len(), election.files.numbers.len()), (4, 3));
        assert_eq!(n_names(election.groups.values.len(), election.groups.numbers.len()), (4, 3));
        assert_eq!(election.sessions.numbers.len(), 3);
    }

    /// Some gateways give every reply the same id. The time to add one reply must not grow with the
    /// number of replies.
    #[test]
    fn replies_that_share_a_message_id_are_each_counted_in_little_time() {
        const N: u64 = 20_000;
        let give_up_at = Now::read().mono + Duration::from_secs(10);
        let mut election = Election::default();
        // The second session is a fork of the first, and its copies are elected.
        for (path, name) in [("b", "s"), ("a", "t")] {
            for offset in 0..N {
                let reply = reply("msg_1", &format!("r{offset}"), offset);
                let reply = if offset % 2 == 0 { side(reply) } else { reply };
                election.add(&at(path, offset, in_session(name, reply)));
                assert!(Now::read().mono < give_up_at, "at {path}:{offset}");
            }
        }
        let of = |name| elected(&election).iter().filter(|it| &*it.group.session == name).count();
        assert_eq!((of("s"), of("t")), (0, N as usize / 2));
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        let ids = (0..5_usize, 0..3_usize, prop::collection::vec(1..6_u64, 1..3));
        let place = (0..3_usize, 0..9_u64, 0..2_usize);
        (place, ids, any::<bool>(), 1..5_u64, 0..40_i64).prop_map(
            |((file, offset, session), (message, request, lines), is_sidechain, output, hours)| {
                let request = ["", "r", "q"][request];
                let copy = match message {
                    0 | 1 => by_lines(&lines, output),
                    _ => reply(["msg_1", "msg_2", "resp_3"][message - 2], request, output),
                };
                let copy = in_session(["s", "t"][session], copy);
                let at_ms = NOON - hours * 3_600_000;
                at(["a", "b", "c"][file], offset, Reply { at_ms, is_sidechain, ..copy })
            },
        )
    }

    /// The replies that the rules elect: the best copy of each reply, except a subagent's that a
    /// reply of its session with the same message id outranks.
    fn by_the_rules(election: &Election) -> Vec<Key> {
        let all: Vec<(&Key, &Copy)> = election.copies.iter().collect();
        let session = |copy: &Copy| election.session_of_group[copy.group as usize];
        let is_replay = |(key, copy): &(&Key, &Copy)| {
            let is_beaten_by = |(other_key, other): &(&Key, &Copy)| {
                other_key.group == key.group
                    && session(other) == session(copy)
                    && (election.rank(other), other_key) > (election.rank(copy), key)
            };
            copy.is_sidechain && all.iter().any(is_beaten_by)
        };
        all.iter().filter(|it| !is_replay(it)).map(|it| *it.0).collect()
    }

    fn counted(election: &Election) -> Vec<Key> {
        election.copies.iter().filter(|it| it.1.is_counted).map(|it| *it.0).collect()
    }

    /// What does not depend on the key under which a reply is kept.
    fn views(election: &Election) -> Vec<String> {
        let view = |reply: &Reply| {
            format!("{:?}", (&reply.group, &reply.file, reply.offset, reply.at_ms, reply.tokens))
        };
        let mut views: Vec<String> = elected(election).iter().map(view).collect();
        views.sort_unstable();
        views
    }

    proptest! {
        /// Copies that came in any order, some of them twice, lead to the same result as those that
        /// came once.
        #[test]
        fn only_the_set_of_copies_matters(
            replies in prop::collection::vec(any_reply(), 1..40),
            order in Just((0..40).collect::<Vec<usize>>()).prop_shuffle(),
            again in prop::collection::vec(0..40_usize, 0..10),
        ) {
            // Two lines of one file do not begin at the same place.
            let replies: Vec<Reply> = (0..).zip(replies)
                .map(|(n, it)| Reply { offset: it.offset * 100 + n, ..it })
                .collect();
            let cold = election(&replies);
            let mut warm = Election::default();
            for n in order.into_iter().chain(again) {
                if let Some(reply) = replies.get(n) {
                    warm.add(reply);
                }
            }
            prop_assert_eq!(counted(&warm), by_the_rules(&warm));
            prop_assert_eq!(views(&warm), views(&cold));
            // What was stored and read again is the same.
            let stored: Vec<Reply> = warm.replies().map(|it| it.0).collect();
            prop_assert_eq!(views(&election(&stored)), views(&cold));
            warm.forget_before(NOON - 20 * 3_600_000);
            prop_assert_eq!(counted(&warm), by_the_rules(&warm));
        }
    }
}
