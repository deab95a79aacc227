//! PURE. What can happen to [`State`](super::State), and what it can ask its caller to do.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::settings::Settings;
use crate::fetch::job::{Job, Outcome, Source};
use crate::store::schema::{ClientFacts, Snapshot};
use crate::time::Now;
use crate::watch::{Listing, Look};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Something changed at this path.
    Changed(PathBuf),
    /// The kernel dropped events: everything must be listed again.
    Lost,
    /// A directory was listed.
    Listed(Listing),
    /// A fetch ended.
    Fetched(Outcome),
    /// A fetch could not start, because the fetch lock could not be had, for this reason.
    Busy(Source, String),
    /// A display sent what the client had told it.
    Hint(Box<ClientFacts>),
    /// [`State::deadline`](super::State::deadline) has come.
    Deadline,
    /// The user asked for a reload (SIGHUP): read the configuration and list every directory.
    Reload,
    /// The configuration was read: what it says, or why it is invalid.
    Configured(Result<Box<Settings>, String>),
    /// Publishing ended. `began` is when it began; the error says why the snapshot on disk is
    /// still the one before.
    Published { began: Now, result: Result<(), String> },
    /// The machine's time zone is another one now.
    ZoneChanged(TimeZone),
    /// The process is about to end.
    Shutdown,
}

/// What to do about it, in order.
#[derive(Debug)]
pub enum Effect {
    /// Watch and list a directory; an [`Event::Listed`] will follow.
    Look(Look),
    /// Stop watching a directory.
    Leave(PathBuf),
    /// Drop every watch. Looks at all directories follow.
    Rebuild,
    /// Fetch; an [`Event::Fetched`] or an [`Event::Busy`] will follow.
    Fetch(Job),
    /// Publish this snapshot, which is not numbered and dated yet; an [`Event::Published`] will
    /// follow.
    Publish(Box<Snapshot>),
    /// Read the configuration; an [`Event::Configured`] will follow.
    Configure,
    /// Write [`State::checkpoint`](super::State::checkpoint) to disk.
    Save,
    /// Tell the process that left this cookie that everything before it is published.
    Acknowledge(PathBuf),
}
