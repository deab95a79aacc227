//! What the watch thread is asked to look at, and what it reports.
//!
//! An event of the kernel only means "look there": what has changed follows from comparing the
//! listing of the directory with the one before.

pub mod debounce;
pub mod thread;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::time::unix_ms;

/// How many of the directories that one listing passes over are named.
pub const MAX_PASSED_OVER: usize = 8;

/// Why a directory on a hung file system cannot be read.
pub const SILENT: &str = "the file system does not answer";

/// A request to watch a directory from now on, and to list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub dir: PathBuf,
    /// How many directories deep to list what is below it, 0 for none. These are not watched. One
    /// of the last level is passed over, and said to be.
    pub depth: usize,
    /// Whether a directory counts to which only a link on its path leads.
    pub by_links: bool,
}

/// The answer to one [`Look`].
#[derive(Clone, Debug)]
pub struct Listing {
    pub dir: PathBuf,
    pub found: Found,
}

/// What is at the path of a directory that was to be listed.
#[derive(Clone, Debug)]
pub enum Found {
    Dir {
        /// Device and inode.
        identity: (u64, u64),
        /// Why the kernel does not report changes in it; `None` where it does, and where nobody
        /// asked for events.
        unarmed: Option<String>,
        entries: Vec<Entry>,
        /// Directories below it that could not be listed, each with the reason; at most
        /// [`MAX_PASSED_OVER`].
        passed_over: Vec<(PathBuf, String)>,
    },
    Missing {
        /// The nearest directory above that exists.
        nearest: PathBuf,
    },
    NotADirectory,
    /// It may exist, but could not be read, for this reason.
    Unreadable(String),
}

/// An entry of a directory. Regular files that are not JSON are left out: they are of no use here.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub kind: EntryKind,
}

/// What an entry is, after following a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Dir,
    /// A regular file.
    File(Stamp),
    /// A socket, a pipe or a device.
    Other,
}

/// What is compared to tell whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Device and inode.
    pub identity: (u64, u64),
    /// In bytes.
    pub size: u64,
    /// Unix milliseconds.
    pub modified_ms: i64,
    /// When its inode was last changed, in Unix milliseconds. Archives and copies set the time of
    /// the modification; nothing sets this one.
    pub changed_ms: i64,
}

impl Stamp {
    pub fn of(meta: &Metadata) -> Stamp {
        Stamp {
            identity: (meta.dev(), meta.ino()),
            size: meta.len(),
            modified_ms: meta.modified().map_or(0, unix_ms),
            changed_ms: changed_ms(meta),
        }
    }
}

/// When a file's inode was last changed, in Unix milliseconds.
pub fn changed_ms(meta: &Metadata) -> i64 {
    meta.ctime().saturating_mul(1000).saturating_add(meta.ctime_nsec() / 1_000_000)
}

/// A path at which the kernel has reported some change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed(pub PathBuf);
