//! The configuration file, `~/.config/ccstatusd/config.toml`. Everything in it is optional.
//!
//! ```toml
//! # More config roots than the environment names.
//! roots = ["/home/u/.claude-work"]
//!
//! [usage]
//! week_starts = "monday"
//!
//! [git]
//! timeout_ms = 5000
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Weekday;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::store::read_bounded;

const MAX_FILE: u64 = 1 << 20;

/// What the user chose.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Config roots beside those that the environment names.
    pub roots: Vec<PathBuf>,
    /// How usage is counted.
    pub usage: UsageConfig,
    /// How git is asked.
    pub git: GitConfig,
}

/// How usage is counted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// The first day of "this week".
    pub week_starts: WeekStart,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum WeekStart {
    #[default]
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// How git is asked.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct GitConfig {
    /// How long `git status` may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for GitConfig {
    fn default() -> GitConfig {
        GitConfig { timeout_ms: 5000 }
    }
}

impl GitConfig {
    /// How long `git status` may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl From<WeekStart> for Weekday {
    fn from(day: WeekStart) -> Weekday {
        match day {
            WeekStart::Monday => Weekday::Monday,
            WeekStart::Tuesday => Weekday::Tuesday,
            WeekStart::Wednesday => Weekday::Wednesday,
            WeekStart::Thursday => Weekday::Thursday,
            WeekStart::Friday => Weekday::Friday,
            WeekStart::Saturday => Weekday::Saturday,
            WeekStart::Sunday => Weekday::Sunday,
        }
    }
}

impl Config {
    /// Reads the file; where there is none, everything is as usual.
    pub fn load(path: Option<&Path>) -> Result<Config> {
        let Some(path) = path else { return Ok(Config::default()) };
        let doing = || format!("cannot read the configuration {}", path.display());
        // Read through a link, which dotfile managers use.
        let real = fs_err::canonicalize(path);
        let bytes = match real.and_then(|it| read_bounded(&it, MAX_FILE)) {
            Ok(it) => it,
            Err(it) if it.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(it) => return Err(Error::new(doing()).because(it)),
        };
        let config = Config::parse(&bytes).map_err(|it| {
            Error::new(doing()).because(it).hint("correct it, or move it away to use the defaults")
        })?;
        Ok(config)
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Config, String> {
        let text = str::from_utf8(bytes).map_err(|it| it.to_string())?;
        let config: Config = toml::from_str(text).map_err(|it| it.to_string())?;
        if let Some(it) = config.roots.iter().find(|it| !it.is_absolute()) {
            return Err(format!("roots: {} is not an absolute path", it.display()));
        }
        if !(10..=600_000).contains(&config.git.timeout_ms) {
            return Err("git.timeout_ms: it must be from 10 to 600000".to_owned());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let err = Config::parse(text.as_bytes()).unwrap_err();
        assert!(err.contains(reason), "{text:?}: {err}");
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert_eq!(Config::parse(b"").unwrap(), Config::default());
    }

    #[test]
    fn every_option_is_read() {
        let text = "roots = ['/r']\n[usage]\nweek_starts = 'sunday'\n[git]\ntimeout_ms = 100\n";
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(config.roots, [Path::new("/r")]);
        assert_eq!(Weekday::from(config.usage.week_starts), Weekday::Sunday);
        assert_eq!(config.git.timeout(), Duration::from_millis(100));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check_refused("roots = ['r']", "r is not an absolute path");
        check_refused("\n[usage]\nweek = 'sunday'", "line 3");
        check_refused("[usage]\nweek_starts = 'Caturday'", "expected one of");
        check_refused("[git]\ntimeout_ms = 0", "from 10 to 600000");
        check_refused("[git", "line 1");
    }
}
