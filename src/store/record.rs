//! The record of what was used. It is not a cache of transcripts: it keeps what was used after
//! Claude Code has deleted them, which it does after a month.
//!
//! It lies in the user's data directory: `history/<account>/<year>-<month>.jsonl` has one month of
//! one config root, and `journal/<number>.jsonl` has replies that are not in their months yet. A
//! reply is appended to the journal before anything that counts it is published. From time to time
//! [`fold`] brings the journal into the months: it replaces each month whole, and deletes the
//! journal only when all of them are on the disk. To bring a reply in twice changes nothing, so
//! that whatever ends a process at whatever moment leaves a record that is whole.
//!
//! A file that cannot be read is set aside under another name, and never overwritten.
//!
//! See docs/decisions/035-usage-is-a-record.md.

pub mod format;
pub mod month;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::TryLockError;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::os::unix::fs::OpenOptionsExt;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::file::read_bounded;
use super::lock::{RecordLock, is_same_file};
use super::{atomic, dir};
use crate::error::{Error, Result, system_code};
use crate::time::{DAY_MS, HOUR_MS, Now};
use crate::usage::election::{Added, Election};
use crate::usage::entry::hash;
use crate::usage::history::{AccountHistory, ClientCosts, GroupSums, History};
use crate::usage::ledger::REACH_MS;
use crate::usage::prices::Picodollars;
use crate::usage::reply::{Batch, CopyId, Reply};
use format::{ClientLine, FORMAT, Header, Kind, RepliesLine, Stored, stored};
use month::{
    Month, Unreadable, add_client_costs, lines, write_client_costs, write_line, write_replies,
};

const LOCK: &str = "record.lock";
const HISTORY: &str = "history";
const JOURNAL: &str = "journal";
/// Where records of other machines lie until they are brought in.
const IMPORT: &str = "import";
/// So many files of the journal are brought in at once: each is open meanwhile.
const MAX_FOLDED_FILES: usize = 256;
/// The file with the number of the journal's first file that was not brought into the months.
const FOLDED: &str = ".folded";
/// The file that says since when the clock has gone on without a leap, and when it was looked at
/// last, in Unix milliseconds.
const CLOCK: &str = ".clock";
/// How far the clock may go on from one look to the next; further is a leap.
const MAX_LEAP_MS: i64 = 7 * DAY_MS;
/// How long after a leap the clock is believed.
const STEADY_MS: i64 = 3 * DAY_MS;
/// The file whose content no other data directory has.
const IDENTITY: &str = ".identity";
const SUFFIX: &str = ".jsonl";
/// What is added to the name of a file that cannot be read, followed by a number.
const ASIDE: &str = ".unreadable-";
/// No file is read that is larger. A month of heavy use has less than a hundredth of this.
const MAX_BYTES: u64 = 512 << 20;
/// A month is closed when it ended before the windows, and when nothing was added to it for as
/// long.
const CLOSE_AFTER_MS: i64 = REACH_MS;
/// Copies of one reply are looked for in another month if a reply is this close to its edge.
const EDGE_MS: i64 = 3 * DAY_MS;

/// The record, as a process holds it that writes to it.
#[derive(Debug)]
pub struct Record {
    dir: PathBuf,
    /// `None` while another process writes the months: this one only appends to the journal.
    lock: Option<RecordLock>,
    /// Which directory this is: another one may be made in its place.
    identity: u64,
    /// The number of the journal's file that is appended to next, and its length; the file does
    /// not exist while the length is 0.
    number: u64,
    n_bytes: u64,
    journal: Option<fs_err::File>,
    n_bytes_found: u64,
}

/// How much of the journal a process had written at some moment: a position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    identity: u64,
    number: u64,
    n_bytes: u64,
}

/// What was read for a ledger.
#[derive(Debug, Default)]
pub struct Loaded {
    pub replies: Vec<Reply>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

impl Record {
    /// Opens the record in the data directory, to write it. `None` where another process writes
    /// it. What is missing is created.
    pub fn open(data_dir: &Path) -> Result<Option<Record>> {
        let record = Record::open_shared(data_dir)?;
        Ok(Some(record).filter(|it| it.lock.is_some()))
    }

    /// As [`Record::open`], but where another process writes the months, this one may append to the
    /// journal beside it.
    pub fn open_shared(data_dir: &Path) -> Result<Record> {
        for dir in [
            data_dir.to_owned(),
            data_dir.join(HISTORY),
            data_dir.join(JOURNAL),
            data_dir.join(IMPORT),
        ] {
            dir::make_private(&dir)?;
        }
        let lock = RecordLock::try_acquire(&data_dir.join(LOCK))?;
        let opening = |err| Error::new("cannot open the record of usage").because(err);
        let identity = identity(data_dir).map_err(opening)?;
        let found = segments(data_dir).map_err(opening)?;
        let size = |dir: &Path, number| Some(fs_err::metadata(segment(dir, number)).ok()?.len());
        if lock.is_some() {
            accounts(data_dir).iter().for_each(|dir| sweep(dir));
        }
        Ok(Record {
            dir: data_dir.to_owned(),
            lock,
            identity,
            // Each process begins a file of its own: the last line of another may be torn. The
            // numbers of files that are in the months are not used again.
            number: found.last().map_or(1, |it| it + 1).max(folded_before(data_dir)),
            n_bytes: 0,
            journal: None,
            n_bytes_found: found.iter().filter_map(|it| size(data_dir, *it)).sum(),
        })
    }

    /// The process that writes the record in this data directory, for messages.
    pub fn writer(data_dir: &Path) -> Option<u32> {
        RecordLock::holder(&data_dir.join(LOCK))
    }

    /// Appends what a config root used to the journal. After an error a part of it may have been
    /// appended; the caller can append all of it again, since that changes nothing.
    pub fn append(&mut self, root: &Path, batch: &Batch) -> io::Result<()> {
        let mut rows = Vec::new();
        let root = root.to_string_lossy();
        let news = batch.news.iter();
        let replies = news.map(|(reply, instead_of_ms)| (reply, true, *instead_of_ms));
        write_replies(&mut rows, &root, replies);
        let stated = batch.client_costs.iter();
        let stated = stated.map(|it| (Arc::clone(&it.session), (it.at_ms, it.cost)));
        write_client_costs(&mut rows, &root, &stated.collect());
        let appended = self.append_bytes(&rows);
        if appended.is_err() {
            // The last line may be torn, and must not be continued.
            self.end_segment();
        }
        appended
    }

    fn append_bytes(&mut self, rows: &[u8]) -> io::Result<()> {
        if self.journal.is_none() {
            let mut file = self.create_segment()?;
            let mut header = Vec::new();
            let kind = Header { ccstatusd: Kind::Journal, format: FORMAT, ..Header::default() };
            write_line(&mut header, &kind);
            self.n_bytes = header.len() as u64;
            file.write_all(&header)?;
            self.journal = Some(file);
        }
        let file = self.journal.as_mut().expect("it was opened");
        file.write_all(rows)?;
        self.n_bytes += rows.len() as u64;
        Ok(())
    }

    /// Creates a file of the journal, and locks it: while it is locked, nobody brings it in.
    fn create_segment(&mut self) -> io::Result<fs_err::File> {
        loop {
            let path = segment(&self.dir, self.number);
            let mut options = fs_err::OpenOptions::new();
            let file = match options.append(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => file,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                    self.number += 1;
                    continue;
                }
                Err(err) => return Err(err),
            };
            file.lock()?;
            if is_there(&file) {
                return Ok(file);
            }
            // It was brought in, empty, before it was locked.
            self.number = self.number.max(folded_before(&self.dir)) + 1;
        }
    }

    /// What is appended from now on goes into another file.
    fn end_segment(&mut self) {
        // A child that another thread has just forked holds a copy of the descriptor, and with it
        // the lock.
        if let Some(journal) = self.journal.take() {
            journal.unlock().ok();
        }
        self.number += 1;
        self.n_bytes = 0;
    }

    /// Whether the record is no longer where it was: somebody removed it, or moved it away.
    pub fn is_gone(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| !is_there(lock.file()))
            || !self.dir.join(HISTORY).join(IDENTITY).exists()
            || self.journal.as_ref().is_some_and(|journal| !is_there(journal))
    }

    /// How long the journal was when it was opened, in bytes.
    pub fn n_bytes_found(&self) -> u64 {
        self.n_bytes_found
    }

    /// How much is written.
    pub fn mark(&self) -> Mark {
        Mark { identity: self.identity, number: self.number, n_bytes: self.n_bytes }
    }

    /// Whether all that was written up to a mark is still there. It is not where the record was
    /// removed since, or where the machine lost what it had not put on its disk.
    pub fn reaches(&self, mark: Mark) -> bool {
        if mark.identity != self.identity {
            return false;
        }
        let path = segment(&self.dir, mark.number);
        let is_there = match fs_err::metadata(&path) {
            Ok(meta) => meta.len() >= mark.n_bytes && ends_line(&path, mark.n_bytes),
            Err(_) => mark.n_bytes == 0 || mark.number < folded_before(&self.dir),
        };
        // A machine that lost its power leaves files without content, or zeros in them.
        is_there && {
            let numbers = segments(&self.dir).unwrap_or_default();
            let before: Vec<u64> = numbers.into_iter().filter(|it| *it <= mark.number).collect();
            let journal = read_segments(&self.dir, &before);
            journal.damaged.is_empty() && journal.empty.is_empty()
        }
    }

    /// Whether this process may write the months. Where another one did so far, this one takes over
    /// once that has ended.
    pub fn may_fold(&mut self) -> bool {
        if self.lock.is_none() {
            self.lock = RecordLock::try_acquire(&self.dir.join(LOCK)).ok().flatten();
        }
        self.lock.is_some()
    }

    /// What is to be brought into the months now, for [`fold`].
    pub fn fold_task(&mut self, now_ms: i64, keep_ms: Option<i64>) -> FoldTask {
        if self.n_bytes > 0 {
            self.end_segment();
        }
        // The files of others, too.
        let last = segments(&self.dir).unwrap_or_default().last().copied();
        self.number = self.number.max(last.map_or(0, |it| it + 1));
        FoldTask { dir: self.dir.clone(), before: self.number, now_ms, keep_ms }
    }
}

/// Whether an open file is still where it was opened, as far as the system tells.
fn is_there(file: &fs_err::File) -> bool {
    is_same_file(file).unwrap_or_else(|err| err.kind() != io::ErrorKind::NotFound)
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

/// What [`fold`] does.
#[derive(Clone, Debug)]
pub struct FoldTask {
    dir: PathBuf,
    /// The number of the journal's first file that stays.
    before: u64,
    now_ms: i64,
    /// For how long months are kept after their end, in milliseconds; `None` for ever.
    keep_ms: Option<i64>,
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
/// does not want to keep. Only the process that holds the [`Record`] may call it, one at a time.
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
fn bring_in(
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

// ---- Records of other machines

/// Appends all months of all accounts, one after the other, with what the journal has. Returns what
/// is not among them since it was set aside before, as sentences for the user.
///
/// An error means that something cannot be read: what was appended is no export then.
pub fn export(data_dir: &Path, out: &mut Vec<u8>) -> Result<Vec<String>> {
    let journal = read_journal(data_dir);
    let mut unread = unlistable(data_dir);
    unread.extend(journal.damaged.into_iter().map(|(nth, why)| (segment(data_dir, nth), why)));
    let mut by_root = journal.by_root;
    for (dir, root) in account_dirs(data_dir, by_root.keys()) {
        let news = by_root.remove(&root).unwrap_or_default();
        let (applied, damaged) = apply(&dir, &root, news, Now::read().wall_ms);
        let mut of_account: BTreeMap<MonthNumber, Unreadable> = damaged.into_iter().collect();
        let names: BTreeSet<MonthNumber> =
            months_of(&dir).into_iter().chain(applied.keys().copied()).collect();
        for name in names {
            match applied.get(&name) {
                Some(applied) => out.extend(applied.month.render()),
                None => match read_month(&name.path(&dir)) {
                    Ok(month) => out.extend(month.render()),
                    // It was deleted just now, or set aside, which is told below.
                    Err(Unreadable::Damaged(MISSING)) => {}
                    Err(why) => drop(of_account.insert(name, why)),
                },
            }
        }
        unread.extend(of_account.into_iter().map(|(name, why)| (name.path(&dir), why)));
    }
    if let Some((_, first)) = unread.first() {
        let hint = match first {
            Unreadable::Format(_) => "export with the newer version of ccstatusd",
            Unreadable::Damaged(_) => {
                "put a copy from a backup in its place, or move the file out of the directory of \
                 the record: the export then goes without what was in it"
            }
            Unreadable::Refused(_) => "let your user read it, and export again",
        };
        let unread: Vec<_> =
            unread.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
        return Err(Error::new("cannot read all of the record of usage")
            .because(unread.join("; "))
            .hint(hint));
    }
    Ok(set_aside_sentences(data_dir))
}

/// Puts an export of another machine where [`fold`] brings it in. `root` is the config root that it
/// belongs to here; `None` for the paths that it has there. Returns where it lies until then.
///
/// An error means that it is not an export, or is damaged, or cannot be written.
pub fn offer(data_dir: &Path, export: &[u8], root: Option<&Path>) -> io::Result<PathBuf> {
    let mut rest = export;
    let mut bytes = Vec::new();
    while !rest.is_empty() {
        let mut month = Month::take(&mut rest).map_err(|err| io::Error::other(err.to_string()))?;
        if let Some(root) = root {
            month.root = root.to_string_lossy().into_owned();
        }
        bytes.extend(month.render());
    }
    for dir in [data_dir.to_owned(), data_dir.join(IMPORT)] {
        dir::make_private(&dir).map_err(io::Error::other)?;
    }
    let name = format!("{:016x}{SUFFIX}", hash(&bytes));
    atomic::write_durably(&data_dir.join(IMPORT), &name, &bytes)?;
    Ok(data_dir.join(IMPORT).join(name))
}

/// The exports that are to be brought in.
fn exports(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(data_dir.join(IMPORT)).into_iter().flatten().flatten();
    let paths = entries.map(|it| it.path());
    let is_export = |path: &PathBuf| path.extension().is_some_and(|it| it == "jsonl");
    let mut paths: Vec<PathBuf> = paths.filter(is_export).collect();
    paths.sort();
    paths
}

/// Brings an export in. To bring it in twice changes nothing.
fn import(data_dir: &Path, path: &Path, now_ms: i64, problems: &mut Vec<String>) -> io::Result<()> {
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

/// The directories of all accounts, with their config roots; `roots` are further ones.
fn account_dirs<'a>(
    data_dir: &Path,
    roots: impl Iterator<Item = &'a String>,
) -> BTreeMap<PathBuf, String> {
    let mut dirs: BTreeMap<PathBuf, String> = BTreeMap::new();
    for dir in accounts(data_dir) {
        let first = months_of(&dir).into_iter().find_map(|it| read_header(&it.path(&dir)).ok());
        dirs.insert(dir, first.map_or_else(String::new, |it| it.root));
    }
    dirs.extend(roots.map(|root| (account_dir(data_dir, Path::new(root)), root.clone())));
    dirs
}

fn write_month(dir: &Path, name: MonthNumber, month: &Month) -> io::Result<()> {
    atomic::write_durably(dir, &name.file(), &month.render())
}

/// Closes the months of an account that are old, and deletes those that are not kept.
fn tidy(
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
fn is_clock_steady(data_dir: &Path, now_ms: i64) -> io::Result<bool> {
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

/// A month with replies of the journal in it.
struct Applied {
    month: Month,
    is_changed: bool,
}

/// The months in which a copy of one of these replies can be.
fn months_around(replies: &[Stored]) -> BTreeSet<MonthNumber> {
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
fn apply(
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
fn rescued(path: &Path, root: &str, now_ms: i64) -> Option<Month> {
    let (sums, client_costs) = read_sums(path).ok()?;
    Some(Month::of_sums(root, sums, client_costs, now_ms))
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
fn first_ms(
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

fn earliest_ms(sums: &GroupSums) -> Option<i64> {
    let firsts = sums.values().filter_map(|quarters| quarters.values().next());
    firsts.map(|quarter| quarter.first_ms).min()
}

/// The sums over replies of the journal alone, if no month has a reply that an election compares
/// with one of them: then they add to those of the months. `None` if that is not sure.
///
/// An election among all replies of a month takes several times as long as to read its sums, and
/// reports would take that long whenever something was just used.
fn sums_if_unrelated(dir: &Path, replies: &[Stored]) -> Option<GroupSums> {
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

fn add_sums(sums: &mut GroupSums, month: GroupSums, span: &std::ops::Range<i64>) {
    for (group, quarters) in month {
        let mut within =
            quarters.into_iter().filter(|(slot, _)| span.contains(&slot.quarter_ms())).peekable();
        if within.peek().is_some() {
            let known = sums.entry(group).or_default();
            within.for_each(|(slot, sum)| known.entry(slot).or_default().add(&sum));
        }
    }
}

// ---- Months

/// A month in UTC: how many months have passed since the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MonthNumber(i32);

impl MonthNumber {
    fn of(at_ms: i64) -> MonthNumber {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
        let date = TimeZone::UTC.to_datetime(at).date();
        MonthNumber(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    fn file(self) -> String {
        format!("{:04}-{:02}{SUFFIX}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    fn path(self, account: &Path) -> PathBuf {
        account.join(self.file())
    }

    fn parse(name: &OsStr) -> Option<MonthNumber> {
        let (year, month) = name.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        let found = MonthNumber(year * 12 + month - 1);
        (found.file().as_str() == name).then_some(found)
    }

    fn start_ms(self) -> i64 {
        let (year, month) = (self.0.div_euclid(12) as i16, self.0.rem_euclid(12) as i8 + 1);
        let first = Date::new(year, month, 1).map(|it| it.to_datetime(Time::midnight()));
        let first = first.and_then(|it| TimeZone::UTC.to_timestamp(it));
        first.map_or(i64::MAX, |it| it.as_millisecond())
    }

    fn end_ms(self) -> i64 {
        MonthNumber(self.0 + 1).start_ms()
    }

    fn overlaps(self, span: &std::ops::Range<i64>) -> bool {
        self.start_ms() < span.end && self.end_ms() > span.start
    }

    fn is_closable(self, changed_ms: i64, now_ms: i64) -> bool {
        self.end_ms() < now_ms - CLOSE_AFTER_MS && changed_ms < now_ms - CLOSE_AFTER_MS
    }
}

/// That a file is missing.
const MISSING: &str = "it is missing";

fn read_month(path: &Path) -> std::result::Result<Month, Unreadable> {
    Month::parse(&bytes_of(path)?)
}

fn read_sums(path: &Path) -> std::result::Result<(GroupSums, ClientCosts), Unreadable> {
    let (file, _) = super::file::open_bounded(path, MAX_BYTES).map_err(|err| unreadable(&err))?;
    Month::read_sums(io::BufReader::with_capacity(64 << 10, file))
}

fn unreadable(err: &io::Error) -> Unreadable {
    use io::ErrorKind::{InvalidData, NotFound, PermissionDenied};
    match err.kind() {
        NotFound => Unreadable::Damaged(MISSING),
        // It is no regular file, or too large, or the disk is damaged there.
        InvalidData => Unreadable::Damaged("the system cannot read it"),
        _ if system_code(err) == Some(nix::libc::EIO) => {
            Unreadable::Damaged("the system cannot read it")
        }
        PermissionDenied => Unreadable::Refused("this user may not read it"),
        _ => Unreadable::Refused("the system cannot read it at the moment"),
    }
}

fn bytes_of(path: &Path) -> std::result::Result<Vec<u8>, Unreadable> {
    read_bounded(path, MAX_BYTES).map_err(|err| unreadable(&err))
}

fn read_header(path: &Path) -> io::Result<Header> {
    use std::io::{BufRead, BufReader};
    let (file, _) = super::file::open_bounded(path, MAX_BYTES)?;
    let mut line = Vec::new();
    BufReader::new(io::Read::take(file, 64 << 10)).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

/// The directory of the months of a config root. Its name says which root it is to people, and
/// does not depend on how long the path is.
pub fn account_dir(data_dir: &Path, root: &Path) -> PathBuf {
    let root = root.to_string_lossy();
    let last = Path::new(&*root).file_name().unwrap_or(OsStr::new("root"));
    let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '-' };
    let last: String = last.to_string_lossy().chars().take(32).map(plain).collect();
    let last = last.trim_matches('-');
    data_dir.join(HISTORY).join(format!("{last}-{:016x}", hash(&*root)))
}

fn accounts(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(data_dir.join(HISTORY)).into_iter().flatten().flatten();
    let dirs = entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|it| it.path()).collect()
}

/// The months of an account, the earliest first.
fn months_of(account: &Path) -> Vec<MonthNumber> {
    let entries = fs_err::read_dir(account).into_iter().flatten().flatten();
    let names: BTreeSet<MonthNumber> =
        entries.filter_map(|it| MonthNumber::parse(&it.file_name())).collect();
    names.into_iter().collect()
}

/// Removes temporary files of a process that was killed while it wrote.
fn sweep(dir: &Path) {
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        if atomic::is_temporary(&entry.file_name()) {
            fs_err::remove_file(entry.path()).ok();
        }
    }
}

/// The directories of the record that cannot be listed, so that nobody knows what is in them.
fn unlistable(data_dir: &Path) -> Vec<(PathBuf, Unreadable)> {
    let dirs = [HISTORY, JOURNAL].map(|it| data_dir.join(it)).into_iter();
    let why = |dir: &Path| match fs_err::read_dir(dir) {
        // Nothing is recorded yet, or the account was removed just now.
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        listed => listed.err().map(|err| unreadable(&err)),
    };
    let dirs = dirs.chain(accounts(data_dir));
    dirs.filter_map(|dir| why(&dir).map(|why| (dir, why))).collect()
}

/// That files were set aside: a sentence for the user about each.
fn set_aside_sentences(data_dir: &Path) -> Vec<String> {
    let sentence = |path: PathBuf| {
        format!("{} could not be read to its end, and was set aside", path.display())
    };
    set_aside_files(data_dir).into_iter().map(sentence).collect()
}

/// What was set aside, in the order of the paths.
pub fn set_aside_files(data_dir: &Path) -> Vec<PathBuf> {
    let dirs = accounts(data_dir).into_iter();
    let dirs = dirs.chain([JOURNAL, IMPORT].map(|it| data_dir.join(it)));
    let entries = dirs.flat_map(fs_err::read_dir).flatten().flatten().map(|it| it.path());
    let is_aside = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(ASIDE))
    };
    let mut paths: Vec<PathBuf> = entries.filter(is_aside).collect();
    paths.sort();
    paths
}

/// Gives a file that cannot be read another name, under which nothing overwrites it. Returns a
/// sentence that says so.
///
/// It is also an error if the system refused to read the file: that may well be whole.
fn set_aside(path: &Path, why: &Unreadable) -> io::Result<String> {
    if let Unreadable::Refused(_) = why {
        return Err(io::Error::other(format!("{}: {why}", path.display())));
    }
    let mut numbers = (1..).map(|n| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{ASIDE}{n}"));
        PathBuf::from(name)
    });
    let aside = numbers.find(|it| fs_err::symlink_metadata(it).is_err());
    let aside = aside.expect("there are more numbers than files");
    fs_err::rename(path, &aside)?;
    Ok(format!("{}: {why}; it is now {}", path.display(), aside.display()))
}

// ---- The journal

/// What a journal has of one config root.
#[derive(Default)]
struct OfRoot {
    replies: Vec<Stored>,
    client_costs: Vec<(Arc<str>, i64, Picodollars)>,
}

impl OfRoot {
    fn by_month(self) -> BTreeMap<MonthNumber, OfRoot> {
        let mut months: BTreeMap<MonthNumber, OfRoot> = BTreeMap::new();
        for stored in self.replies {
            months.entry(MonthNumber::of(stored.reply.at_ms)).or_default().replies.push(stored);
        }
        for cost in self.client_costs {
            months.entry(MonthNumber::of(cost.1)).or_default().client_costs.push(cost);
        }
        months
    }
}

/// What a journal has.
#[derive(Default)]
struct Journal {
    by_root: BTreeMap<String, OfRoot>,
    problems: Vec<String>,
    /// The files of which something cannot be read, by their numbers.
    damaged: BTreeMap<u64, Unreadable>,
    /// The numbers of the files that have no line.
    empty: BTreeSet<u64>,
}

fn segment(data_dir: &Path, number: u64) -> PathBuf {
    data_dir.join(JOURNAL).join(format!("{number:08}{SUFFIX}"))
}

/// The numbers of the journal's files, in ascending order.
fn segments(data_dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(data_dir.join(JOURNAL))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|it| it.strip_suffix(SUFFIX));
        numbers.extend(number.and_then(|it| it.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether a line of a file ends at this offset.
fn ends_line(path: &Path, end: u64) -> bool {
    use fs_err::os::unix::fs::FileExt;
    let mut last = [0];
    let file = fs_err::File::open(path);
    end == 0 || file.is_ok_and(|it| it.read_at(&mut last, end - 1).is_ok()) && last == *b"\n"
}

/// Reads the whole journal.
fn read_journal(data_dir: &Path) -> Journal {
    read_segments(data_dir, &segments(data_dir).unwrap_or_default())
}

/// Reads the journal's files with these numbers.
fn read_segments(data_dir: &Path, numbers: &[u64]) -> Journal {
    let mut journal = Journal::default();
    for number in numbers.iter().copied() {
        let path = segment(data_dir, number);
        let mut damage = |why| {
            journal.problems.push(format!("{}: {why}", path.display()));
            journal.damaged.insert(number, why);
        };
        let bytes = match bytes_of(&path) {
            Ok(bytes) => bytes,
            // It was brought into the months just now.
            Err(Unreadable::Damaged(MISSING)) => continue,
            Err(why) => {
                damage(why);
                continue;
            }
        };
        let header = lines(&bytes).next().map(serde_json::from_slice::<Header>);
        match header {
            // A process was killed before it had written the first line.
            None => {
                journal.empty.insert(number);
                continue;
            }
            Some(Ok(header)) if header.format == FORMAT => {}
            Some(Ok(header)) => {
                damage(Unreadable::Format(header.format));
                continue;
            }
            Some(Err(_)) => {
                damage(Unreadable::Damaged("its first line is not one of ours"));
                continue;
            }
        }
        let after_header = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |it| it + 1);
        let mut is_damaged = false;
        // What follows the last newline was being written when the process was killed, and was
        // counted nowhere.
        for line in lines(&bytes[after_header..]) {
            is_damaged |= add_line(&mut journal.by_root, line).is_none();
        }
        if is_damaged {
            let why = Unreadable::Damaged("a line is not what it must be");
            journal.problems.push(format!("{}: {why}", path.display()));
            journal.damaged.insert(number, why);
        }
    }
    journal
}

/// Adds what a line of the journal has. `None` where it is not one of ours.
fn add_line(by_root: &mut BTreeMap<String, OfRoot>, line: &[u8]) -> Option<()> {
    let Ok(mut line) = serde_json::from_slice::<RepliesLine<'_>>(line) else {
        let ClientLine { root, client } = serde_json::from_slice(line).ok()?;
        by_root.entry(root).or_default().client_costs.extend(client);
        return Some(());
    };
    let of_root = by_root.entry(std::mem::take(&mut line.root)).or_default();
    for row in &line.replies {
        of_root.replies.push(stored(&line, row)?);
    }
    Some(())
}

/// A number that the data directory has as long as it exists.
fn identity(data_dir: &Path) -> io::Result<u64> {
    let dir = data_dir.join(HISTORY);
    let text = match fs_err::read(dir.join(IDENTITY)) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let text = format!("{} {}\n", Now::read().wall_ms, std::process::id());
            atomic::write_durably(&dir, IDENTITY, text.as_bytes())?;
            text.into_bytes()
        }
        Err(err) => return Err(err),
    };
    Ok(hash(&text))
}

/// The number of the journal's first file that was not brought into the months.
fn folded_before(data_dir: &Path) -> u64 {
    let text = fs_err::read_to_string(data_dir.join(HISTORY).join(FOLDED));
    text.ok().and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}
