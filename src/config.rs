//! The configuration file, `~/.config/ccstatusd/config.toml`. Everything in it is optional.
//!
//! ```toml
//! # More config roots than the environment names.
//! roots = ["/home/u/.claude-work"]
//!
//! [usage]
//! week_starts = "monday"
//! # Who says what the active block is: "transcripts", which is us, or "ccusage", which is asked
//! # by this command, with CLAUDE_CONFIG_DIR set to the config root.
//! source = "transcripts"
//! command = ["ccusage", "blocks", "--json", "--active", "--offline"]
//!
//! [git]
//! timeout_ms = 5000
//!
//! [privacy]
//! preview = true  # false: no text of any message is kept or published
//!
//! # A command of your own, whose first line the snapshot holds by this name.
//! [commands.load]
//! command = ["cut", "-d ", "-f1-3", "/proc/loadavg"]
//! every_s = 60       # while a session lives; from 1 to 86400
//! timeout_ms = 2000  # from 10 to 10000
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

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::exec::{Invocation, Limits};
use crate::fetch::tool::{self, Tool};
use crate::store::read_bounded;
use crate::usage::prices::{Price, Prices, Rates};

const MAX_FILE: u64 = 1 << 20;
/// With each at its longest, `--oneshot` still answers.
const MAX_COMMANDS: usize = 16;
/// Of a command's name, which displays show.
const MAX_NAME: usize = 32;

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
    /// The user's own commands, by the names that their output is shown under.
    pub commands: BTreeMap<String, CommandConfig>,
}

/// How usage is counted.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// The first day of "this week".
    pub week_starts: WeekStart,
    /// Who says what the active block is.
    pub source: UsageSource,
    /// How `ccusage` is asked: a program and its arguments.
    pub command: Vec<String>,
}

/// Who says what the active block is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum UsageSource {
    /// We do, from the transcripts.
    #[default]
    Transcripts,
    /// `ccusage`, or what prints the same.
    Ccusage,
}

/// A command of the user's own.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// A program and its arguments. No shell reads them, unless it is that program.
    pub command: Vec<String>,
    /// How long it may take, in milliseconds.
    #[serde(default = "CommandConfig::usual_timeout_ms")]
    pub timeout_ms: u64,
    /// Least time between two starts, in seconds.
    #[serde(default = "CommandConfig::usual_every_s")]
    pub every_s: u64,
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

impl Default for UsageConfig {
    fn default() -> UsageConfig {
        UsageConfig {
            week_starts: WeekStart::default(),
            source: UsageSource::default(),
            command: ["ccusage", "blocks", "--json", "--active", "--offline"]
                .map(Into::into)
                .into(),
        }
    }
}

impl CommandConfig {
    fn usual_timeout_ms() -> u64 {
        2000
    }

    fn usual_every_s() -> u64 {
        60
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        check_command(&self.command)?;
        if !(10..=10_000).contains(&self.timeout_ms) {
            return Err("timeout_ms: it must be from 10 to 10000");
        }
        if !(1..=86_400).contains(&self.every_s) {
            return Err("every_s: it must be from 1 to 86400");
        }
        Ok(())
    }
}

fn check_command(command: &[String]) -> std::result::Result<(), &'static str> {
    match command.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err("command: it must name a program, as in command = [\"date\", \"+%H:%M\"]"),
    }
}

/// Runs at home: the watcher's own directory is nobody's business.
fn tool(env: &Environment, command: &[String], limits: Limits, every: Duration) -> Option<Tool> {
    let (program, args) = command.split_first()?;
    let at_home = program.starts_with("~/").then(|| env.expand(Path::new(program))).flatten();
    let what = Invocation {
        program: at_home.map_or_else(|| program.into(), Into::into),
        args: args.iter().map(Into::into).collect(),
        dir: env.home().map(Path::to_owned),
        env: Vec::new(),
    };
    Some(Tool { what, limits, every })
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

    /// Who is asked for the active block, where that is not us.
    pub fn block_tool(&self, env: &Environment) -> Option<Tool> {
        match self.usage.source {
            UsageSource::Transcripts => None,
            UsageSource::Ccusage => tool(env, &self.usage.command, tool::LIMITS, Duration::ZERO),
        }
    }

    /// The user's commands.
    pub fn commands(&self, env: &Environment) -> BTreeMap<String, Tool> {
        let tool = |it: &CommandConfig| {
            let deadline = Duration::from_millis(it.timeout_ms);
            let limits = Limits { deadline, ..tool::LIMITS };
            tool(env, &it.command, limits, Duration::from_secs(it.every_s))
        };
        self.commands.iter().filter_map(|(name, it)| Some((name.clone(), tool(it)?))).collect()
    }

    /// Reads what stands in the file, or says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Config, String> {
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
        check_command(&config.usage.command).map_err(|it| format!("usage.{it}"))?;
        if config.commands.len() > MAX_COMMANDS {
            return Err(format!("commands: there may be {MAX_COMMANDS} at most"));
        }
        for (name, command) in &config.commands {
            let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
            if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_plain) {
                return Err(format!(
                    "commands.\"{name}\": a name has at most {MAX_NAME} letters, digits, `-`, `_`"
                ));
            }
            command.check().map_err(|it| format!("commands.{name}.{it}"))?;
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

    fn environment() -> Environment {
        Environment { all: [("HOME".into(), "/h".into())].into() }
    }

    #[test]
    fn another_tool_is_asked_only_where_the_user_says_so() {
        let parse = |text: &str| Config::parse(text.as_bytes()).unwrap();
        let tool = |text: &str| parse(text).block_tool(&environment());
        assert_eq!(tool("[usage]\ncommand = ['x']"), None);
        let ccusage = tool("[usage]\nsource = 'ccusage'").unwrap();
        assert_eq!(ccusage.what.program, "ccusage");
        assert_eq!(ccusage.what.args, ["blocks", "--json", "--active", "--offline"]);
        assert_eq!(ccusage.limits.deadline, Duration::from_secs(35));
        assert_eq!(ccusage.limits.max_output, 1 << 20);
        let own = tool("[usage]\nsource = 'ccusage'\ncommand = ['~/bin/cc', '~/x']").unwrap();
        assert_eq!((own.what.program, own.what.args), ("/h/bin/cc".into(), vec!["~/x".into()]));
        check_refused("[usage]\nsource = 'guess'", "expected `transcripts` or `ccusage`");
        check_refused("[usage]\ncommand = []", "usage.command: it must name a program");
        check_refused("[usage]\ncommand = 'ccusage'", "line 2");
    }

    #[test]
    fn a_command_is_run_at_home_and_within_bounds() {
        let text = "[commands.load]\ncommand = ['uptime']\n\
                    [commands.b-2]\ncommand = ['sh', '-c', 'x']\ntimeout_ms = 500\nevery_s = 1\n";
        let commands = Config::parse(text.as_bytes()).unwrap().commands(&environment());
        let [(_, second), (_, load)] = [0, 1].map(|it| commands.iter().nth(it).unwrap());
        let expected = Limits { deadline: Duration::from_secs(2), ..tool::LIMITS };
        assert_eq!((load.limits, load.every), (expected, Duration::from_secs(60)));
        assert_eq!(load.what.dir.as_deref(), Some(Path::new("/h")));
        assert_eq!(second.what.args, ["-c", "x"]);
        assert_eq!(second.limits.deadline, Duration::from_millis(500));
        assert_eq!(second.every, Duration::from_secs(1));
    }

    #[test]
    fn a_command_that_makes_no_sense_is_refused() {
        check_refused("[commands.x]\nevery_s = 1", "missing field `command`");
        check_refused("[commands.x]\ncommand = []", "commands.x.command: it must name a program");
        check_refused("[commands.x]\ncommand = ['']", "commands.x.command: it must name");
        check_refused("[commands.x]\ncommand = ['a']\nevery_s = 0", "commands.x.every_s: it must");
        check_refused("[commands.x]\ncommand = ['a']\nevery = 1", "line 3");
        let long = "[commands.x]\ncommand = ['a']\ntimeout_ms = 10001";
        check_refused(long, "commands.x.timeout_ms: it must be from 10 to 10000");
        check_refused("[commands.'a b']\ncommand = ['a']", "commands.\"a b\": a name has");
        let many = |n: usize| {
            let one = |it| format!("[commands.c{it}]\ncommand = ['a']\n");
            (0..n).map(one).collect::<String>()
        };
        assert!(Config::parse(many(16).as_bytes()).is_ok());
        check_refused(&many(17), "there may be 16 at most");
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
