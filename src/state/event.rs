//! PURE. The input and the output of [`State`](super::State): events, and the effects that it asks
//! its caller for.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::settings::Settings;
use crate::fetch::claude::client::SessionFile;
use crate::fetch::job::{Job, Outcome, Source};
use crate::store::schema::{ClientFacts, Snapshot};
use crate::time::Now;
use crate::usage::reply::Batch;
use crate::watch::{Listing, Look};

/// Why the configuration could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFailure {
    pub reason: String,
    /// Whether the reason may pass by itself: the process lacked descriptors, threads or memory,
    /// say.
    pub is_transient: bool,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The kernel reported a change at this path: a file, or an entry of a watched directory.
    Changed(PathBuf),
    /// Events were dropped, since a queue was full. Every directory must be listed again.
    Lost,
    /// A directory was listed.
    Listed(Listing),
    /// A fetch ended.
    Fetched(Outcome),
    /// The process with this file ended.
    Exited(PathBuf),
    /// A program could not be started, for this reason: most often another process holds the fetch
    /// lock.
    Busy(Source, String),
    /// A display sent what Claude Code had passed to it; or, without a session id, a `--oneshot`
    /// run sent a hint that it left a cookie.
    Hint(Box<ClientFacts>),
    /// [`State::deadline`](super::State::deadline) has come.
    Deadline,
    /// The user asked for a reload (SIGHUP): read the configuration and list every directory.
    Reload,
    /// The configuration was read; the error says why it is invalid.
    Configured(Result<Box<Settings>, ReadFailure>),
    /// The journal of the record was brought into its months, or was not for a reason that an
    /// [`Event::RecordFailed`] says. `has_imported` is whether records of other machines were, too.
    Folded { has_imported: bool },
    /// The record could not be written, opened or read to its end, for this reason; `None` if it
    /// works again.
    RecordFailed(Option<String>),
    /// The record lacks some of what was counted: somebody removed it, or it could not be written
    /// for so long that not everything could be kept. Another one is written now.
    RecordLacks,
    /// The export for Prometheus was written to this file, or could not be, for this reason.
    Exported { textfile: PathBuf, result: Result<(), String> },
    /// Publishing ended. `began` is when it began; the error says why the snapshot on disk is
    /// still the one before.
    Published { began: Now, result: Result<(), String> },
    /// The machine's time zone changed to this one.
    ZoneChanged(TimeZone),
    /// The process is about to end.
    Shutdown,
}

/// What to do about it, in order.
#[derive(Debug)]
pub enum Effect {
    /// Watch and list a directory. An [`Event::Listed`] follows.
    Look(Look),
    /// Stop watching a directory.
    Leave(PathBuf),
    /// Drop every watch. Effects that watch and list all directories again follow.
    Rebuild,
    /// Start this fetch. An [`Event::Fetched`] or an [`Event::Busy`] follows.
    Fetch(Job),
    /// Notice when the process that wrote this file ends. An [`Event::Exited`] follows then, where
    /// the system can tell.
    AwaitExit(PathBuf, Box<SessionFile>),
    /// Write this snapshot to disk. The publisher sets its number and time. An [`Event::Published`]
    /// follows.
    Publish(Box<Snapshot>),
    /// Read the configuration. An [`Event::Configured`] follows.
    Configure,
    /// Append this to the record of a config root.
    Record { root: PathBuf, batch: Batch },
    /// Read what the record has of this config root, and pass it to
    /// [`State::take_record`](super::State::take_record).
    Recall(PathBuf),
    /// Bring the journal of the record into its months, and write what could not be written before.
    /// An [`Event::Folded`] follows. `keep_ms` is for how long months are kept after their end, in
    /// milliseconds; `None` for ever. `is_last` is whether the process ends then, so that it has to
    /// wait for it: otherwise reads, which go on meanwhile, would seem to hang.
    Fold { keep_ms: Option<i64>, is_last: bool },
    /// Write [`State::checkpoint`](super::State::checkpoint) to disk.
    Save,
    /// Go on as the program at this path, which has replaced this one and is of this version.
    Upgrade { program: PathBuf, version: String },
    /// Tell the process that left this cookie that a snapshot with all earlier changes is
    /// published.
    Acknowledge(PathBuf),
}
