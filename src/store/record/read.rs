//! What reports, `top` and the watcher read of the record.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::files::{
    MISSING, MonthNumber, account_dir, account_dirs, bytes_of, months_of, read_month, read_sums,
    set_aside_sentences, unlistable,
};
use super::format::Stored;
use super::journal::{OfRoot, read_journal};
use super::merge::{Applied, apply, months_around};
use super::month::{self, Month, Unreadable, add_client_costs};
use crate::usage::election::Election;
use crate::usage::history::{AccountHistory, ClientCosts, GroupSums, History};
use crate::usage::reply::{CopyId, Reply};

/// What was read for a ledger.
#[derive(Debug, Default)]
pub struct Loaded {
    pub replies: Vec<Reply>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

/// The replies of a config root that were made since `since_ms`, as a ledger needs them.
pub fn load(data_dir: &Path, root: &Path, since_ms: i64) -> Loaded {
    let mut loaded = Loaded::default();
    let dir = account_dir(data_dir, root);
    // Read before the months, as in `read`.
    let journal = read_journal(data_dir);
    for month in months_of(&dir).into_iter().filter(|it| it.end_ms() > since_ms) {
        let path = month.path(&dir);
        match read_month(&path) {
            Ok(month) => loaded.replies.extend(month.open.into_iter().map(|it| it.0)),
            Err(problem) => loaded.problems.push(format!("{}: {problem}", path.display())),
        }
    }
    loaded.problems.extend(journal.problems);
    let mut by_root = journal.by_root;
    let stored = by_root.remove(&*root.to_string_lossy()).unwrap_or_default().replies;
    loaded.replies.extend(stored.into_iter().map(|it| it.reply));
    loaded.replies.retain(|reply| reply.at_ms >= since_ms);
    loaded
}

/// What the record in this data directory has of a span of time, in Unix milliseconds: all quarters
/// of an hour that begin in it. Any process may call it at any time.
pub fn read(data_dir: &Path, span: std::ops::Range<i64>) -> History {
    // A journal that is brought into its months meanwhile is read before these, and so is not
    // missed.
    let journal = read_journal(data_dir);
    let unlistable = unlistable(data_dir).into_iter();
    let mut history = History {
        problems: unlistable.map(|(path, why)| format!("{}: {why}", path.display())).collect(),
        ..History::default()
    };
    history.problems.extend(journal.problems);
    let mut by_root = journal.by_root;
    let dirs = account_dirs(data_dir, by_root.keys());
    for (dir, root) in dirs {
        let mut news = by_root.remove(&root).unwrap_or_default();
        let (mut sums, mut client_costs) = (GroupSums::new(), ClientCosts::new());
        let unrelated = sums_if_unrelated(&dir, &news.replies);
        if unrelated.is_some() {
            let OfRoot { client_costs: stated, .. } = std::mem::take(&mut news);
            let stated = stated.into_iter().filter(|it| MonthNumber::of(it.1).overlaps(&span));
            add_client_costs(&mut client_costs, stated);
        }
        let (applied, damaged) = apply(&dir, &root, news, 0);
        let mut unread: BTreeMap<MonthNumber, Unreadable> = damaged.into_iter().collect();
        let names: BTreeSet<MonthNumber> =
            months_of(&dir).into_iter().chain(applied.keys().copied()).collect();
        for name in names.iter().copied().filter(|it| it.overlaps(&span)) {
            let month = match applied.get(&name) {
                Some(applied) => Ok((applied.month.sums(), applied.month.client_costs.clone())),
                None => read_sums(&name.path(&dir)),
            };
            match month {
                Ok((month, stated)) => {
                    add_sums(&mut sums, month, &span);
                    let stated = stated.into_iter().map(|(id, (at_ms, cost))| (id, at_ms, cost));
                    add_client_costs(&mut client_costs, stated);
                }
                Err(Unreadable::Damaged(MISSING)) => {}
                Err(why) => drop(unread.insert(name, why)),
            }
        }
        let unread = unread.into_iter();
        history
            .problems
            .extend(unread.map(|(name, why)| format!("{}: {why}", name.path(&dir).display())));
        if root.is_empty() {
            // No month of this directory can be read, so nobody knows whose they are.
            continue;
        }
        let in_months = first_ms(&sums, &names, &span, &applied, &dir);
        let in_journal = unrelated.as_ref().and_then(earliest_ms);
        let first_ms = in_months.into_iter().chain(in_journal).min();
        if let Some(unrelated) = unrelated {
            add_sums(&mut sums, unrelated, &span);
        }
        history.accounts.push(AccountHistory { root: root.into(), first_ms, sums, client_costs });
    }
    history.accounts.sort_by(|a, b| a.root.cmp(&b.root));
    history.problems.extend(set_aside_sentences(data_dir));
    history
}

/// When the first reply of an account was made, in Unix milliseconds: that of the first month that
/// can be read and has one, which need not be among the sums of the span.
pub(super) fn first_ms(
    sums: &GroupSums,
    names: &BTreeSet<MonthNumber>,
    span: &std::ops::Range<i64>,
    applied: &BTreeMap<MonthNumber, Applied>,
    dir: &Path,
) -> Option<i64> {
    let first_of = |name: &MonthNumber| match applied.get(name) {
        Some(applied) => earliest_ms(&applied.month.sums()),
        None => earliest_ms(&read_sums(&name.path(dir)).ok()?.0),
    };
    let before = names.iter().take_while(|it| it.start_ms() < span.start);
    before.filter_map(first_of).next().or_else(|| earliest_ms(sums))
}

pub(super) fn earliest_ms(sums: &GroupSums) -> Option<i64> {
    let firsts = sums.values().filter_map(|quarters| quarters.values().next());
    firsts.map(|quarter| quarter.first_ms).min()
}

/// The sums over replies of the journal alone, if no month has a reply that an election compares
/// with one of them: then they add to those of the months. `None` if that is not sure.
///
/// An election among all replies of a month takes several times as long as to read its sums, and
/// reports would take that long whenever something was just used.
pub(super) fn sums_if_unrelated(dir: &Path, replies: &[Stored]) -> Option<GroupSums> {
    let mut messages = HashSet::new();
    for Stored { reply, instead_of_ms, .. } in replies {
        match reply.id {
            CopyId::Api { message, .. } if instead_of_ms.is_none() => messages.insert(message),
            _ => return None,
        };
    }
    for name in months_around(replies) {
        match bytes_of(&name.path(dir)) {
            Ok(bytes) if !month::may_have(&bytes, &messages) => {}
            Err(Unreadable::Damaged(MISSING)) => {}
            _ => return None,
        }
    }
    let mut election = Election::default();
    for Stored { reply, .. } in replies {
        election.add(reply);
    }
    let mut month = Month::default();
    month.open = election.replies().collect();
    Some(month.sums())
}

pub(super) fn add_sums(sums: &mut GroupSums, month: GroupSums, span: &std::ops::Range<i64>) {
    for (group, quarters) in month {
        let mut within =
            quarters.into_iter().filter(|(slot, _)| span.contains(&slot.quarter_ms())).peekable();
        if within.peek().is_some() {
            let known = sums.entry(group).or_default();
            within.for_each(|(slot, sum)| known.entry(slot).or_default().add(&sum));
        }
    }
}
