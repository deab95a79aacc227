//! Folding: brings the journal, and records of other machines, into the months on the disk.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{
    HISTORY, IMPORT, JOURNAL, MISSING, MonthNumber, account_dir, accounts, months_of, read_header,
    read_month, set_aside, write_month,
};
use super::format::Stored;
use super::journal::{FOLDED, OfRoot, read_segments, segment, segments};
use super::merge::{apply, rescued};
use super::month::{Month, Unreadable};
use crate::store::{atomic, dir};
use crate::time::{DAY_MS, HOUR_MS};
use crate::usage::ledger::REACH_MS;

/// So many files of the journal are brought in at once: each is open meanwhile.
pub(super) const MAX_FOLDED_FILES: usize = 256;
/// The file that says since when the clock has gone on without a leap, and when it was looked at
/// last, in Unix milliseconds.
pub(super) const CLOCK: &str = ".clock";
/// How far the clock may go on from one look to the next; further is a leap.
pub(super) const MAX_LEAP_MS: i64 = 7 * DAY_MS;
/// How long after a leap the clock is believed.
pub(super) const STEADY_MS: i64 = 3 * DAY_MS;

/// What [`fold`] does.
#[derive(Clone, Debug)]
pub struct FoldTask {
    pub(super) dir: PathBuf,
    /// The number of the journal's first file that stays.
    pub(super) before: u64,
    pub(super) now_ms: i64,
    /// For how long months are kept after their end, in milliseconds; `None` for ever.
    pub(super) keep_ms: Option<i64>,
}

/// What [`fold`] did.
#[derive(Debug, Default)]
pub struct Folded {
    /// What could not be read, and why.
    pub problems: Vec<String>,
    /// Whether records of other machines were brought in.
    pub has_imported: bool,
}

/// Brings the journal into the months, closes months that are old, and deletes those that the user
/// does not want to keep. Only the process that holds the [`Record`](super::Record) may
/// call it, one at a time.
pub fn fold(task: &FoldTask) -> io::Result<Folded> {
    let FoldTask { dir, before, now_ms, keep_ms } = task;
    // Only these are deleted: whatever could not be listed was not read.
    let (mut numbers, mut locks, mut first_left) = (Vec::new(), Vec::new(), *before);
    for number in segments(dir)?.into_iter().filter(|number| number < before) {
        if locks.len() >= MAX_FOLDED_FILES {
            first_left = first_left.min(number);
            break;
        }
        match fs_err::File::open(segment(dir, number)).map(|file| (file.try_lock(), file)) {
            // Another process appends to it.
            Ok((Err(TryLockError::WouldBlock), _)) => first_left = first_left.min(number),
            Ok((_, file)) => {
                locks.push(file);
                numbers.push(number);
            }
            Err(_) => numbers.push(number),
        }
    }
    let journal = read_segments(dir, &numbers);
    let mut problems = journal.problems;
    for (root, news) in journal.by_root {
        let dir = account_dir(dir, Path::new(&root));
        dir::make_private(&dir).map_err(io::Error::other)?;
        bring_in(&dir, &root, news, *now_ms, &mut problems)?;
    }
    let mut has_imported = false;
    for path in exports(dir) {
        has_imported = true;
        import(dir, &path, *now_ms, &mut problems)?;
    }
    if is_clock_steady(dir, *now_ms)? {
        for dir in accounts(dir) {
            tidy(&dir, *now_ms, *keep_ms, &mut problems)?;
        }
    }
    let folded = first_left.to_string();
    atomic::write_durably(&dir.join(HISTORY), FOLDED, folded.as_bytes())?;
    for number in numbers {
        let path = segment(dir, number);
        match journal.damaged.get(&number) {
            Some(problem) => problems.push(set_aside(&path, problem)?),
            None => fs_err::remove_file(path)?,
        }
    }
    atomic::sync_dir(&dir.join(JOURNAL))?;
    Ok(Folded { problems, has_imported })
}

/// Brings replies of a config root into its months, one month after the other: all of them at once
/// would take much memory after an import.
pub(super) fn bring_in(
    dir: &Path,
    root: &str,
    news: OfRoot,
    now_ms: i64,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    for news in news.by_month().into_values() {
        let (applied, damaged) = apply(dir, root, news, now_ms);
        for (name, problem) in damaged {
            problems.push(set_aside(&name.path(dir), &problem)?);
        }
        for (name, month) in applied.into_iter().filter(|(_, month)| month.is_changed) {
            write_month(dir, name, &month.month)?;
        }
    }
    Ok(())
}

/// The exports that are to be brought in.
pub(super) fn exports(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(data_dir.join(IMPORT)).into_iter().flatten().flatten();
    let paths = entries.map(|it| it.path());
    let is_export = |path: &PathBuf| path.extension().is_some_and(|it| it == "jsonl");
    let mut paths: Vec<PathBuf> = paths.filter(is_export).collect();
    paths.sort();
    paths
}

/// Brings an export in. To bring it in twice changes nothing.
pub(super) fn import(
    data_dir: &Path,
    path: &Path,
    now_ms: i64,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let bytes = fs_err::read(path)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let month = match Month::take(&mut rest) {
            Ok(month) => month,
            Err(problem) => {
                problems.push(set_aside(path, &problem)?);
                return Ok(());
            }
        };
        let dir = account_dir(data_dir, Path::new(&month.root));
        dir::make_private(&dir).map_err(io::Error::other)?;
        let replies = month.open.iter().map(|(reply, is_elected)| Stored {
            reply: reply.clone(),
            is_elected: *is_elected,
            instead_of_ms: None,
        });
        let costs = month.client_costs.iter();
        let news = OfRoot {
            replies: replies.collect(),
            client_costs: costs
                .map(|(id, (at_ms, cost))| (Arc::clone(id), *at_ms, *cost))
                .collect(),
        };
        bring_in(&dir, &month.root, news, now_ms, problems)?;
        let Some(name) = month.some_ms().filter(|_| month.has_closed()).map(MonthNumber::of) else {
            continue;
        };
        let mut mine = match read_month(&name.path(&dir)) {
            Ok(mine) => mine,
            Err(Unreadable::Damaged(MISSING)) => Month::new(&month.root, month.changed_ms),
            Err(problem) => {
                problems.push(set_aside(&name.path(&dir), &problem)?);
                Month::new(&month.root, month.changed_ms)
            }
        };
        if mine.merge_closed(&month) {
            write_month(&dir, name, &mine)?;
        }
    }
    fs_err::remove_file(path)
}

/// Closes the months of an account that are old, and deletes those that are not kept.
pub(super) fn tidy(
    dir: &Path,
    now_ms: i64,
    keep_ms: Option<i64>,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    for name in months_of(dir) {
        let path = name.path(dir);
        if keep_ms.is_some_and(|keep_ms| name.end_ms() < now_ms - keep_ms.max(REACH_MS)) {
            fs_err::remove_file(path)?;
            continue;
        }
        let Ok(header) = read_header(&path) else { continue };
        if header.open > 0 && name.is_closable(header.changed_ms, now_ms) {
            match read_month(&path) {
                Ok(mut month) => {
                    month.close();
                    write_month(dir, name, &month)?;
                }
                Err(problem) => {
                    let rescued = rescued(&path, &header.root, now_ms);
                    problems.push(set_aside(&path, &problem)?);
                    if let Some(month) = rescued {
                        write_month(dir, name, &month)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether the clock has been right for some days, as far as anyone can tell: what is closed or
/// deleted because it is old does not come back when a clock that was years ahead is set right.
pub(super) fn is_clock_steady(data_dir: &Path, now_ms: i64) -> io::Result<bool> {
    let dir = data_dir.join(HISTORY);
    let text = fs_err::read_to_string(dir.join(CLOCK)).unwrap_or_default();
    let known = text.trim().split_once(' ');
    let known = known.and_then(|(since, last)| Some((since.parse().ok()?, last.parse().ok()?)));
    let (since_ms, last_ms): (i64, i64) = known.unwrap_or((0, now_ms));
    let is_leap = !(last_ms - HOUR_MS..last_ms + MAX_LEAP_MS).contains(&now_ms);
    let since_ms = if is_leap { now_ms } else { since_ms };
    if known.is_none() || is_leap || now_ms > last_ms + HOUR_MS {
        atomic::write_durably(&dir, CLOCK, format!("{since_ms} {now_ms}\n").as_bytes())?;
    }
    Ok(since_ms == 0 || now_ms - since_ms >= STEADY_MS)
}
