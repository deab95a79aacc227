//! The record of what was used. It is not a cache of transcripts: it keeps what was used after
//! Claude Code has deleted them, which it does after a month.
//!
//! It lies in the user's data directory: `history/<account>/<year>-<month>.jsonl` has one month of
//! one config root, and `journal/<number>.jsonl` has replies that are not in their months yet. A
//! reply is appended to the journal before anything that counts it is published. From time to time
//! [`fold()`] brings the journal into the months: it replaces each month whole, and deletes the
//! journal only when all of them are on the disk. To bring a reply in twice changes nothing, so
//! that whatever ends a process at whatever moment leaves a record that is whole.
//!
//! A file that cannot be read is set aside under another name, and never overwritten.
//!
//! See docs/decisions/035-usage-is-a-record.md.

mod exchange;
mod files;
mod fold;
pub mod format;
mod journal;
mod merge;
pub mod month;
mod read;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::os::unix::fs::OpenOptionsExt;
use serde::{Deserialize, Serialize};

use super::lock::{RecordLock, is_same_file};
use super::{atomic, dir};
use crate::error::{Error, Result};
use crate::time::Now;
use crate::usage::entry::hash;
use crate::usage::reply::Batch;
use files::{HISTORY, IMPORT, JOURNAL, accounts, sweep};
use format::{FORMAT, Header, Kind};
use journal::{ends_line, folded_before, read_segments, segment, segments};
use month::{write_client_costs, write_line, write_replies};

pub use exchange::{export, offer};
pub use files::{account_dir, set_aside_files};
pub use fold::{FoldTask, Folded, fold};
pub use read::{Loaded, load, read};

const LOCK: &str = "record.lock";
/// The file whose content no other data directory has.
const IDENTITY: &str = ".identity";

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

    /// What is to be brought into the months now, for [`fold()`].
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
