//! PURE. The settings from the configuration, and the mode in which the process runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::alert::{Quiet, Rule};
use crate::fetch::tool::{Runs, Tool};
use crate::metrics::families::Detail;
use crate::price_list::Placed;
use crate::store::schema::{self, display::Display};
use crate::usage::prices::Prices;

/// How long the process runs.
#[derive(Debug)]
pub enum Mode {
    /// The watcher: publishes after every change, until a signal ends it.
    Watch {
        /// What snapshots say of this process: its id, version and start.
        identity: schema::Watcher,
        /// The directory in which `--oneshot` runs leave their cookies.
        cookies: PathBuf,
        /// The path of this program; `None` where that is unknown.
        program: Option<PathBuf>,
    },
    /// A run without a watcher: publishes once, when nothing is left to fetch.
    Once {
        /// Whether old transcripts are read for the record, too.
        does_import: bool,
    },
}

impl Mode {
    /// Whether old transcripts are read for the record.
    pub(super) fn does_import(&self) -> bool {
        !matches!(self, Mode::Once { does_import: false })
    }
}

/// The configuration in the form that the state uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The config roots: directories of Claude Code, such as `~/.claude`, each with its own
    /// account.
    pub roots: Vec<PathBuf>,
    /// Usage is summed per day of this zone.
    pub zone: TimeZone,
    /// The first day of a week.
    pub week_starts: Weekday,
    pub prices: Prices,
    /// For how long the record keeps a month after its end, in milliseconds; `None` for ever.
    pub keep_ms: Option<i64>,
    /// The path of the user's price list, and each path that symbolic links lead to from there.
    pub price_file: Vec<PathBuf>,
    /// What is there.
    pub placed_prices: Placed,
    /// Whether the first characters of each session's last message are kept, and published.
    pub preview: bool,
    pub display: Display,
    /// The path of the configuration file, and each path that symbolic links lead to from there.
    /// Empty without a configuration directory.
    pub config: Vec<PathBuf>,
    /// Git may run what the configuration of a repository names if the repository lies in one of
    /// these directories.
    pub trusted: Vec<PathBuf>,
    /// How long one call of git may take before it is killed.
    pub git_timeout: Duration,
    /// The program that computes the active five-hour block; `None` where this process does.
    pub block_tool: Option<Tool>,
    /// Commands whose output the line shows, by name.
    pub commands: BTreeMap<String, Tool>,
    /// What lets them run, and for what, by name; each that is missing runs at its interval, once
    /// for all.
    pub runs: BTreeMap<String, Runs>,
    /// What the user wants to be told, by name.
    pub alerts: BTreeMap<String, Rule>,
    /// When not.
    pub quiet: Option<Quiet>,
    /// What the engine writes for Prometheus; `None` for nothing. The state has no use for it.
    pub export: Option<Export>,
}

/// What is written for Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The file for the textfile collector.
    pub textfile: PathBuf,
    /// The least time between two writes.
    pub every: Duration,
    pub detail: Detail,
}

impl Settings {
    /// The files that the settings are from, and the links that lead to them.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.config.iter().chain(&self.price_file)
    }
}
