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
//!
//! [privacy]
//! preview = true  # false: no text of any message is kept or published
//!
//! # US dollars per million tokens; in place of the built-in row, if there is one.
//! [prices."house-model"]
//! input = 5.0
//! output = 25.0
//! cache_write_5m = 6.25  # else 1.25 × input
//! cache_write_1h = 10.0  # else 2 × input
//! cache_read = 0.5       # else a tenth of input
//! fast_multiplier = 2.0  # else 1
//! us_multiplier = 1.1    # else 1
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Weekday;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::store::read_bounded;
use crate::usage::prices::{Price, Prices, Rates};

const MAX_FILE: u64 = 1 << 20;

/// What the user chose.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Config roots beside those that the environment names. They may start with `~/`.
    pub roots: Vec<PathBuf>,
    /// How usage is counted.
    pub usage: UsageConfig,
    /// How git is asked.
    pub git: GitConfig,
    /// What is kept of what was said.
    pub privacy: PrivacyConfig,
    /// What models cost, in place of the built-in list or beside it.
    pub prices: BTreeMap<String, PriceConfig>,
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

/// What is kept of what was said.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// Whether the snapshot has the beginning of each session's last message. If not, no text of
    /// any message is in any file of ours. The names of sessions are.
    pub preview: bool,
}

impl Default for PrivacyConfig {
    fn default() -> PrivacyConfig {
        PrivacyConfig { preview: true }
    }
}

/// What a model costs, in US dollars per million tokens.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// Input that was neither written to nor read from the cache.
    pub input: f64,
    /// Output.
    pub output: f64,
    /// Input kept in the cache for five minutes; 1.25 × input where it is missing.
    pub cache_write_5m: Option<f64>,
    /// Input kept in the cache for an hour; 2 × input where it is missing.
    pub cache_write_1h: Option<f64>,
    /// Input read from the cache; a tenth of input where it is missing.
    pub cache_read: Option<f64>,
    /// What the fast mode multiplies it by; nothing where it is missing.
    pub fast_multiplier: Option<f64>,
    /// What confinement to the United States multiplies it by; nothing where it is missing.
    pub us_multiplier: Option<f64>,
}

impl PriceConfig {
    /// The row that it stands for, its gaps filled with the ratios that are usual.
    fn price(&self) -> Price {
        let rates = Rates {
            input: self.input,
            output: self.output,
            cache_write_5m: self.cache_write_5m.unwrap_or(self.input * 1.25),
            cache_write_1h: self.cache_write_1h.unwrap_or(self.input * 2.0),
            cache_read: self.cache_read.unwrap_or(self.input / 10.0),
        };
        let PriceConfig { fast_multiplier, us_multiplier, .. } = *self;
        Price { rates, above: None, fast_multiplier, us_multiplier }
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        let Rates { input, output, cache_write_5m, cache_write_1h, cache_read } =
            self.price().rates;
        let is_rate = |it: f64| (0.0..=1e6).contains(&it);
        if ![input, output, cache_write_5m, cache_write_1h, cache_read].into_iter().all(is_rate) {
            return Err("rates must be from 0 to 1000000");
        }
        let is_multiplier = |it: Option<f64>| it.is_none_or(|it| (0.0..=1000.0).contains(&it));
        if !is_multiplier(self.fast_multiplier) || !is_multiplier(self.us_multiplier) {
            return Err("multipliers must be from 0 to 1000");
        }
        Ok(())
    }
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
            Err(it) if it.kind() == io::ErrorKind::NotFound && !is_link(path) => {
                return Ok(Config::default());
            }
            Err(it) => return Err(Error::new(doing()).because(it)),
        };
        let config = Config::parse(&bytes).map_err(|it| {
            Error::new(doing()).because(it).hint("correct it, or move it away to use the defaults")
        })?;
        Ok(config)
    }

    /// The built-in list with the user's rows.
    pub fn prices(&self) -> Prices {
        Prices::builtin().with(self.prices.iter().map(|(model, it)| (model.clone(), it.price())))
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Config, String> {
        let text = str::from_utf8(bytes).map_err(|it| it.to_string())?;
        let config: Config = toml::from_str(text).map_err(|it| it.to_string())?;
        let is_whole = |it: &Path| it.is_absolute() || it.starts_with("~");
        if let Some(it) = config.roots.iter().find(|it| !is_whole(it)) {
            return Err(format!("roots: {} is not an absolute path", it.display()));
        }
        if !(10..=600_000).contains(&config.git.timeout_ms) {
            return Err("git.timeout_ms: it must be from 10 to 600000".to_owned());
        }
        for (model, price) in &config.prices {
            price.check().map_err(|it| format!("prices.\"{model}\": {it}"))?;
        }
        Ok(config)
    }
}

/// A link that leads nowhere is no absent file: its user thinks it is there.
fn is_link(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
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
    fn a_price_needs_two_rates_and_replaces_a_row() {
        let text = "[prices.'claude-opus-4-8']\ninput = 8\noutput = 1.5\ncache_read = 0\n";
        let prices = Config::parse(text.as_bytes()).unwrap().prices();
        let (_, price) = prices.find("claude-opus-4-8[1m]").unwrap();
        let rates = Rates {
            input: 8.0,
            output: 1.5,
            cache_write_5m: 10.0,
            cache_write_1h: 16.0,
            cache_read: 0.0,
        };
        let expected = Price { rates, above: None, fast_multiplier: None, us_multiplier: None };
        assert_eq!(*price, expected);
        check_refused("[prices.x]\ninput = 1", "missing field `output`");
        check_refused("[prices.x]\ninput = 1\noutput = 1\nread = 1", "line 4");
        check_refused("[prices.x]\ninput = -1\noutput = 1", "prices.\"x\": rates must be");
        check_refused("[prices.x]\ninput = nan\noutput = 1", "rates must be");
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
