//! Replies of the journal, put into their months in memory. Folding writes the result to the disk;
//! reports and exports only read it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::files::{MISSING, MonthNumber, read_month, read_sums};
use super::format::Stored;
use super::journal::OfRoot;
use super::month::{Month, Unreadable, add_client_costs};
use crate::time::DAY_MS;
use crate::usage::election::{Added, Election};
use crate::usage::reply::Reply;

/// Copies of one reply are looked for in another month if a reply is this close to its edge.
pub(super) const EDGE_MS: i64 = 3 * DAY_MS;

/// A month with replies of the journal in it.
pub(super) struct Applied {
    pub(super) month: Month,
    pub(super) is_changed: bool,
}

/// The months in which a copy of one of these replies can be.
pub(super) fn months_around(replies: &[Stored]) -> BTreeSet<MonthNumber> {
    let mut wanted = BTreeSet::new();
    for Stored { reply, instead_of_ms, .. } in replies {
        wanted.extend(
            [-EDGE_MS, 0, EDGE_MS].map(|it| MonthNumber::of(reply.at_ms.saturating_add(it))),
        );
        wanted.extend(instead_of_ms.map(MonthNumber::of));
    }
    wanted
}

/// The months of an account that these replies concern, with the replies in them, and the months
/// that cannot be read.
pub(super) fn apply(
    dir: &Path,
    root: &str,
    news: OfRoot,
    now_ms: i64,
) -> (BTreeMap<MonthNumber, Applied>, Vec<(MonthNumber, Unreadable)>) {
    let OfRoot { replies, client_costs } = news;
    let mut wanted = months_around(&replies);
    wanted.extend(client_costs.iter().map(|it| MonthNumber::of(it.1)));
    let mut months: BTreeMap<MonthNumber, Month> = BTreeMap::new();
    let mut damaged = Vec::new();
    let mut has_rescued = BTreeSet::new();
    for name in wanted {
        match read_month(&name.path(dir)) {
            Ok(month) => {
                months.insert(name, month);
            }
            Err(Unreadable::Damaged(MISSING)) => {}
            Err(problem) => {
                damaged.push((name, problem));
                if let Some(month) = rescued(&name.path(dir), root, now_ms) {
                    months.insert(name, month);
                    has_rescued.insert(name);
                }
            }
        }
    }
    let mut election = Election::default();
    for month in months.values_mut() {
        for (reply, _) in &month.open {
            election.add(reply);
        }
    }
    for Stored { reply, .. } in &replies {
        if !months.values().any(|month| month.is_closed_reply(reply))
            && let Added::New { .. } = election.add(reply)
        {
            let month = months.entry(MonthNumber::of(reply.at_ms)).or_default();
            month.root = root.to_owned();
            month.changed_ms = now_ms;
        }
    }
    let mut changed = BTreeSet::new();
    for (session, at_ms, cost) in client_costs {
        let name = MonthNumber::of(at_ms);
        let month = months.entry(name).or_default();
        month.root = root.to_owned();
        let before = month.client_costs.get(&session).copied();
        add_client_costs(&mut month.client_costs, [(Arc::clone(&session), at_ms, cost)]);
        if before != month.client_costs.get(&session).copied() {
            changed.insert(name);
        }
    }
    let mut open: BTreeMap<MonthNumber, Vec<(Reply, bool)>> = BTreeMap::new();
    for (reply, is_elected) in election.replies() {
        open.entry(MonthNumber::of(reply.at_ms)).or_default().push((reply, is_elected));
    }
    let applied = months.into_iter().map(|(name, mut month)| {
        let mut open = open.remove(&name).unwrap_or_default();
        open.sort_by(|(a, _), (b, _)| {
            (&a.group, &a.file, a.offset, a.at_ms).cmp(&(&b.group, &b.file, b.offset, b.at_ms))
        });
        let is_changed =
            open != month.open || changed.contains(&name) || has_rescued.contains(&name);
        month.open = open;
        (name, Applied { month, is_changed })
    });
    (applied.collect(), damaged)
}

/// What can be kept of a month that cannot be read to its end: its sums, if these can be read. What
/// was used stays used, even if copies of it can no longer be recognised.
pub(super) fn rescued(path: &Path, root: &str, now_ms: i64) -> Option<Month> {
    let (sums, client_costs) = read_sums(path).ok()?;
    Some(Month::of_sums(root, sums, client_costs, now_ms))
}
