//! The configuration file, `~/.config/ccstatusd/config.toml`. Every key in it is optional.
//!
//! ```toml
//! # Claude Code's directories, besides those that the environment names.
//! roots = ["/home/u/.claude-work"]
//! # What lines show, how they look, and settings of single segments. `ccstatusd config` prints
//! # all of these settings.
//! format = "{directory} {git} {context} ({burn} of {block})"
//!
//! [theme]
//! preset = "compact"
//!
//! [segments.git]
//! symbols.ahead = "up "
//! colors.branch = "bold blue"
//!
//! [usage]
//! week_starts = "monday"
//! # What the active block is taken from: "transcripts", or "ccusage", which runs this command
//! # with CLAUDE_CONFIG_DIR set to one of Claude Code's directories.
//! source = "transcripts"
//! command = ["ccusage", "blocks", "--json", "--active", "--offline"]
//!
//! [git]
//! timeout_ms = 5000
//! # Repositories whose own configuration may name programs, such as filters: those whose `.git`
//! # lies in one of these directories.
//! trust = ["~/work"]
//!
//! [privacy]
//! preview = true  # false: no text of any message is kept or published
//!
//! # What is written for the textfile collector of Prometheus' node_exporter; off unless set.
//! [export]
//! textfile = "/var/lib/prometheus/node-exporter/ccstatusd-{user}.prom"
//! every_s = 15      # at most this often; from 1 to 3600
//! sessions = false  # true: numbers of each live session, by its id
//! paths = false     # true: paths of accounts and sessions
//!
//! # A command of the user's. The snapshot has the first line of its output under this name.
//! [commands.load]
//! command = ["cut", "-d ", "-f1-3", "/proc/loadavg"]
//! every_s = 60       # while a session lives; from 1 to 86400
//! timeout_ms = 2000  # from 10 to 10000
//!
//! # What to tell, once whenever it begins to be so, and by which program. docs/alerts.md has all
//! # conditions.
//! [[alert]]
//! name = "waiting"
//! on = "waiting"
//! command = ["notify-send", "{title}", "{body}"]  # or "desktop", "bell", "tmux"
//! timeout_ms = 5000
//!
//! [alerts]
//! quiet = ["22:00", "07:00"]  # nothing is told
//!
//! # US dollars per million tokens. It replaces the price of that model in the price list, if that
//! # has one.
//! [prices."house-model"]
//! input = 5.0
//! output = 25.0
//! cache_write_5m = 6.25  # 1.25 × input unless set
//! cache_write_1h = 10.0  # 2 × input unless set
//! cache_read = 0.5       # input / 10 unless set
//! fast_multiplier = 2.0  # 1 unless set
//! us_multiplier = 1.1    # 1 unless set
//!
//! # A price that changes: each of these applies from its day on (UTC), the first also before.
//! [[prices."other-model"]]
//! input = 5.0
//! output = 25.0
//! [[prices."other-model"]]
//! since = "2026-12-01"
//! input = 4.0
//! output = 20.0
//! ```

pub(crate) mod alerts;
mod commands;
pub mod describe;
mod display;
mod error;
mod export;
mod prices;
mod reader;
pub mod schema;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alerts::AlertConfig;
use commands::CommandConfig;
use error::ConfigError;
use export::ExportConfig;
use prices::PriceConfig;
use reader::{Table, flag, text, whole, whole_path};
use usage::{UsageConfig, UsageSource};

use crate::alert::{Quiet, Rule};
use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::tool::{self, Runs, Tool};
use crate::store::file::read_bounded;
use crate::store::schema::display::Display;
use crate::usage::prices::Prices;

/// Bytes of the file.
const MAX_CONFIG_FILE: u64 = 1 << 20;
/// Milliseconds.
const GIT_TIMEOUTS: RangeInclusive<u64> = 10..=600_000;
/// The kernel follows at most so many links in one path.
const MAX_LINKS: usize = 40;

/// What the file says, with the default for each key that it does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Claude Code's directories, besides those that the environment names. Each is absolute or
    /// begins with `~/`.
    pub roots: Vec<PathBuf>,
    /// The keys `format`, `theme` and `segments`.
    pub display: Display,
    pub usage: UsageConfig,
    pub git: GitConfig,
    pub privacy: PrivacyConfig,
    pub export: ExportConfig,
    /// Prices by the model's name, in place of the price list or beside it. Each model has one, or
    /// several with dates.
    pub prices: BTreeMap<String, Vec<PriceConfig>>,
    /// The user's commands by name.
    pub commands: BTreeMap<String, CommandConfig>,
    pub alerts: Vec<AlertConfig>,
    /// When nothing is told.
    pub quiet: Option<Quiet>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GitConfig {
    /// Each call of git is ended after so many milliseconds.
    pub timeout_ms: u64,
    /// Git may run what the configuration of a repository names if the repository lies in one of
    /// these directories. Each is absolute or begins with `~/`.
    pub trust: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PrivacyConfig {
    /// Whether the snapshot has the beginning of each session's last message. If not, no file that
    /// we write has text of any message; names of sessions are published in either case.
    pub preview: bool,
}

impl Config {
    /// Reads and checks the file. Without a file, or without a path, everything has its default.
    pub fn load(path: Option<&Path>) -> Result<Config> {
        let Some(path) = path else { return Ok(Config::default()) };
        let doing = || format!("cannot read the configuration {}", path.display());
        // Dotfile managers put a link there, which `read_bounded` does not follow.
        let real = fs_err::canonicalize(path);
        let bytes = match real.and_then(|real| read_bounded(&real, MAX_CONFIG_FILE)) {
            Ok(bytes) => bytes,
            // A link to a missing file is an error: the user means to have a configuration.
            Err(err) if err.kind() == io::ErrorKind::NotFound && !is_link(path) => {
                return Ok(Config::default());
            }
            Err(err) => return Err(Error::new(doing()).because(err)),
        };
        Config::parse(&bytes).map_err(|err| {
            let hint = "correct the file, or move it away to use the defaults";
            Error::new(doing()).because(err).hint(hint)
        })
    }

    /// Reads and checks the file's content.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Config, ConfigError> {
        reader::read_file(bytes, Config::read)
    }

    fn read(root: &mut Table<'_, '_>) -> Config {
        let commands = commands::read(root);
        let command_names: Vec<_> = commands.keys().map(String::as_str).collect();
        Config {
            roots: root.list("roots", |it| whole_path(text(it)?)).unwrap_or_default(),
            display: display::read(root, &command_names),
            usage: root.table("usage", UsageConfig::read).unwrap_or_default(),
            git: root.table("git", GitConfig::read).unwrap_or_default(),
            privacy: root.table("privacy", PrivacyConfig::read).unwrap_or_default(),
            export: root.table("export", ExportConfig::read).unwrap_or_default(),
            prices: root.table_lists("prices", PriceConfig::read, PriceConfig::check),
            commands,
            alerts: alerts::read(root),
            quiet: root.table("alerts", alerts::read_quiet).flatten(),
        }
    }

    /// The prices in `list`, with those of the configuration, which come first.
    pub fn prices(&self, list: Prices) -> Prices {
        let prices = |rows: &Vec<PriceConfig>| rows.iter().map(PriceConfig::price).collect();
        list.with(self.prices.iter().map(|(model, rows)| (model.clone(), prices(rows))))
    }

    /// The program that prints the active block; `None` if our own sums are used.
    pub fn block_tool(&self, env: &Environment) -> Option<Tool> {
        match self.usage.source {
            UsageSource::Transcripts => None,
            UsageSource::Ccusage => Some(Tool {
                what: commands::invocation(&self.usage.command, env)?,
                limits: tool::TOOL_LIMITS,
                every: Duration::ZERO,
            }),
        }
    }

    /// What lets the user's commands run, and for what, by name.
    pub fn runs(&self, env: &Environment) -> BTreeMap<String, Runs> {
        self.commands.iter().map(|(name, it)| (name.clone(), it.runs(env))).collect()
    }

    /// What the user wants to be told, by name.
    pub fn rules(&self, env: &Environment) -> BTreeMap<String, Rule> {
        let alerts = self.alerts.iter();
        alerts.filter_map(|it| Some((it.name.clone(), it.rule(env)?))).collect()
    }

    /// The user's commands, ready to run, by name.
    pub fn commands(&self, env: &Environment) -> BTreeMap<String, Tool> {
        let commands = self.commands.iter();
        commands.filter_map(|(name, it)| Some((name.clone(), it.tool(env)?))).collect()
    }
}

impl Default for GitConfig {
    fn default() -> GitConfig {
        GitConfig { timeout_ms: 5000, trust: Vec::new() }
    }
}

impl GitConfig {
    fn read(table: &mut Table<'_, '_>) -> GitConfig {
        let default = GitConfig::default();
        let timeout_ms = table.value("timeout_ms", whole(GIT_TIMEOUTS));
        let trust = table.list("trust", |it| whole_path(text(it)?));
        GitConfig {
            timeout_ms: timeout_ms.unwrap_or(default.timeout_ms),
            trust: trust.unwrap_or(default.trust),
        }
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl Default for PrivacyConfig {
    fn default() -> PrivacyConfig {
        PrivacyConfig { preview: true }
    }
}

impl PrivacyConfig {
    fn read(table: &mut Table<'_, '_>) -> PrivacyConfig {
        let preview = table.value("preview", flag);
        preview.map_or_else(PrivacyConfig::default, |preview| PrivacyConfig { preview })
    }
}

/// The file's path, and where links in it lead, link by link. The file's content changes only if
/// something at one of these paths does.
pub fn link_chain(path: &Path) -> Vec<PathBuf> {
    let mut chain = vec![path.to_owned()];
    while let Some(last) = chain.last()
        && chain.len() < MAX_LINKS
        && let Ok(target) = fs_err::read_link(last)
    {
        let next = last.parent().map_or_else(|| target.clone(), |dir| dir.join(&target));
        chain.push(next);
    }
    // A directory above the file may be a link too, and the kernel reports a directory by only one
    // of its names.
    chain.extend(fs_err::canonicalize(path));
    chain
}

fn is_link(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}
