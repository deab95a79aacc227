//! PURE. What the user chose, and whether we watch or look once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::fetch::tool::Tool;
use crate::store::schema::{self, display::Display};
use crate::usage::prices::Prices;

/// Whether the process watches, or brings everything up to date once.
#[derive(Debug)]
pub enum Mode {
    /// The watcher: publishes at every change, until it is told to end.
    Watch {
        /// How snapshots name this process.
        identity: schema::Watcher,
        /// The directory in which `--oneshot` runs leave their cookies.
        cookies: PathBuf,
    },
    /// A `--oneshot` run without a watcher: publishes once, when nothing is left to fetch.
    Once,
}

/// What the user chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The config roots.
    pub roots: Vec<PathBuf>,
    /// Decides when days begin.
    pub zone: TimeZone,
    /// The first day of a week.
    pub week_starts: Weekday,
    pub prices: Prices,
    /// Whether the beginnings of messages are kept.
    pub preview: bool,
    pub display: Display,
    /// The configuration file, and each file that a link to it leads through.
    pub config: Vec<PathBuf>,
    /// How long one call of git may take.
    pub git_timeout: Duration,
    /// The tool that computes the active block; `None` where we compute it.
    pub block_tool: Option<Tool>,
    /// The user's commands, by name.
    pub commands: BTreeMap<String, Tool>,
}
