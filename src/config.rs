//! The configuration file, `~/.config/ccstatusd/config.toml`. Everything in it is optional.
//!
//! ```toml
//! # More config roots than the environment names.
//! roots = ["/home/u/.claude-work"]
//! # What the lines show, how they look, and settings of single segments: `ccstatusd config`
//! # prints all that there is.
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

pub mod describe;
pub mod display;
mod flaw;
#[cfg(test)]
mod options;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use display::{SegmentConfig, ThemeConfig};
use flaw::Flaw;
use jiff::civil::Weekday;
use serde::Deserialize;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::exec::{Invocation, Limits};
use crate::fetch::tool::{self, Tool};
use crate::store::file::read_bounded;
use crate::store::schema::display::Display;
use crate::usage::prices::{Price, Prices, Rates};

const MAX_FILE: u64 = 1 << 20;
/// The kernel follows no more.
const MAX_LINKS: usize = 40;
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
    /// What the lines show: segments in braces, a row for each line.
    pub format: Option<String>,
    /// How they look.
    pub theme: ThemeConfig,
    /// Settings of single segments, by name.
    pub segments: BTreeMap<String, SegmentConfig>,
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

    fn check(&self) -> std::result::Result<(), (&'static str, &'static str)> {
        check_command(&self.command)?;
        if !(10..=10_000).contains(&self.timeout_ms) {
            return Err(("timeout_ms", "it must be from 10 to 10000"));
        }
        if !(1..=86_400).contains(&self.every_s) {
            return Err(("every_s", "it must be from 1 to 86400"));
        }
        Ok(())
    }
}

/// Says which key is wrong, and how.
fn check_command(command: &[String]) -> std::result::Result<(), (&'static str, &'static str)> {
    match command.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err(("command", "it must name a program, as in command = [\"date\", \"+%H:%M\"]")),
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

    /// What displays get.
    pub fn display(&self) -> Display {
        self.checked_display().expect("it was checked when it was read")
    }

    fn checked_display(&self) -> std::result::Result<Display, Flaw> {
        let commands: Vec<_> = self.commands.keys().map(String::as_str).collect();
        display::checked(self.format.as_deref(), &self.theme, &self.segments, &commands)
    }

    /// Reads what stands in the file, or says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Config, String> {
        let text = str::from_utf8(bytes).map_err(|it| it.to_string())?;
        let config: Config =
            toml::from_str(text).map_err(|it| flaw::harmless(&flaw::describe(&it, text)))?;
        config.check().map_err(|it| flaw::harmless(&it.describe(text)))?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), Flaw> {
        let is_whole = |it: &Path| it.is_absolute() || it.starts_with("~");
        if let Some(it) = self.roots.iter().find(|it| !is_whole(it)) {
            return Err(Flaw::new(&["roots"], format!("{} is not an absolute path", it.display())));
        }
        if !(10..=600_000).contains(&self.git.timeout_ms) {
            return Err(Flaw::new(&["git", "timeout_ms"], "it must be from 10 to 600000"));
        }
        for (model, price) in &self.prices {
            price.check().map_err(|it| Flaw::new(&["prices", model], it))?;
        }
        check_command(&self.usage.command).map_err(|(key, it)| Flaw::new(&["usage", key], it))?;
        if self.commands.len() > MAX_COMMANDS {
            let what = format!("there may be {MAX_COMMANDS} at most");
            return Err(Flaw::new(&["commands"], what));
        }
        for (name, command) in &self.commands {
            let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
            if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_plain) {
                let what = format!("a name has at most {MAX_NAME} letters, digits, `-`, `_`");
                return Err(Flaw::new(&["commands", name], what));
            }
            command.check().map_err(|(key, it)| Flaw::new(&["commands", name, key], it))?;
        }
        self.checked_display().map(drop)
    }
}

/// The configuration's path, and where it leads, link by link: its content changes when any of
/// these does.
pub fn places(path: &Path) -> Vec<PathBuf> {
    let mut places = vec![path.to_owned()];
    while let Some(last) = places.last()
        && places.len() < MAX_LINKS
        && let Ok(target) = fs_err::read_link(last)
    {
        let next = last.parent().map_or_else(|| target.clone(), |it| it.join(&target));
        places.push(next);
    }
    // What links above it lead to: the kernel reports a directory by one of its names.
    places.extend(fs_err::canonicalize(path));
    places
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
        check_refused(
            "[prices.x]\ninput = 1",
            "line 1, column 1: prices.x: it lacks the key output",
        );
        check_refused("[prices.x]\ninput = 1\noutput = 1\nread = 1", "line 4");
        check_refused(
            "[prices.x]\ninput = -1\noutput = 1",
            "line 1, column 9: prices.x: rates must be",
        );
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
        check_refused(
            "[usage]\nsource = 'ccusag'",
            "there is no value ccusag; did you mean ccusage?",
        );
        let names = "usage.source: there is no value guess; there are transcripts, ccusage";
        check_refused("[usage]\nsource = 'guess'", names);
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
        check_refused("[commands.x]\nevery_s = 1", "commands.x: it lacks the key command");
        check_refused("[commands.x]\ncommand = []", "commands.x.command: it must name a program");
        check_refused("[commands.x]\ncommand = ['']", "commands.x.command: it must name");
        check_refused("[commands.x]\ncommand = ['a']\nevery_s = 0", "commands.x.every_s: it must");
        check_refused("[commands.x]\ncommand = ['a']\nevery = 1", "line 3");
        let long = "[commands.x]\ncommand = ['a']\ntimeout_ms = 10001";
        check_refused(long, "commands.x.timeout_ms: it must be from 10 to 10000");
        check_refused(
            "[commands.'a b']\ncommand = ['a']",
            "line 1, column 11: commands.a b: a name has",
        );
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
        check_refused(
            "\n[usage]\nweek_start = 'sunday'",
            "line 3, column 1: usage: there is no key week_start; did you mean week_starts?",
        );
        check_refused(
            "[usage]\nweek_starts = 'Caturday'",
            "usage.week_starts: there is no value Caturday; did you mean saturday?",
        );
        check_refused("[git]\ntimeout_ms = 0", "from 10 to 600000");
        check_refused("[git", "line 1");
        check_refused("rots = 1", "line 1, column 1: there is no key rots; did you mean roots?");
        check_refused("\n [thme]", "line 2, column 3: there is no key thme; did you mean theme?");
    }

    #[test]
    fn what_belongs_above_the_first_table_is_told_so() {
        check_refused(
            "[theme]\npreset = 'ascii'\nformat = '{git}'",
            "line 3, column 1: theme: there is no key format; it belongs above the first table, or",
        );
        check_refused("[commands.x]\ncommand = ['a']\nroots = []", "it belongs above the first");
        check_refused("[segments.git]\nroots = []", "there is no key roots; it belongs above");
        check_refused("[theme.colors]\nformat = '{git}'", "no colour format; it belongs above");
        check_refused("[segments.git.symbols]\nroots = '/'", "no symbol roots; it belongs above");
        check_refused(
            "[commands]\nformat = '{git}'",
            "[commands.format], or above the first table",
        );
        check_refused("[commands]\nroots = ['/r']", "[commands.roots], or above the first table");
    }

    #[test]
    fn a_value_of_another_kind_is_refused_in_plain_words() {
        check_refused("roots = '~/x'", "line 1, column 9: roots: it must be a list of texts, as");
        check_refused("roots = [3]", "line 1, column 10: roots: it must be text in quotes");
        check_refused("format = 3", "format: it must be text in quotes");
        check_refused("[usage]\nsource = 3", "usage.source: it must be text in quotes");
        check_refused("[privacy]\npreview = 'no'", "privacy.preview: it must be true or false");
        check_refused("git = { timeout_ms = 1.5 }", "git.timeout_ms: it must be a whole number");
        check_refused("[theme]\npadding = -1", "a whole number from 0 to 65535");
        check_refused("segments.git.priority = 'x'", "a whole number from 0 to 255");
        check_refused("[theme]\ndepth = []", "theme.depth: it must be auto, none, 16, 256 or true");
        check_refused(
            "[segments.context]\nalarm = 3\nwarning = 'x'",
            "line 3, column 11: segments.context.warning: it must be a number",
        );
        check_refused(
            "[segments]\ngit = 3",
            "segments.git: it must be a table, as in [segments.git]",
        );
        check_refused("theme = 'x'", "theme: it must be a table, as in [theme]");
        check_refused("git = ['x']", "git: it must be a table");
        for key in ["[[segments]]", "[[theme]]\npreset = 'x'", "[[commands.x]]\ncommand = ['x']"] {
            check_refused(key, "it must be a table, as in [");
        }
        let commands = "[commands]\ncommand = ['x']";
        check_refused(commands, "commands.command: it must be a table, as in [commands.command]");
        check_refused("[theme]\npreset = ascii", "line 2, column 10: text must stand in quotes");
    }

    #[test]
    fn what_the_display_does_not_know_is_refused_with_a_suggestion() {
        check_refused(
            "\n\n[segments.gti]\npriority = 3",
            "line 3, column 11: segments.gti: there is no segment gti; did you mean git?",
        );
        check_refused(
            "roots = []\nformat = '{directory} {modle}'",
            "line 2, column 10: format: at character 13: there is no segment modle; did you mean model?",
        );
        check_refused("format = '{git'", "at character 1: this { is never closed");
        check_refused("format = 'git}'", "at character 4: this } closes nothing");
        check_refused("format = '({git}'", "at character 1: this ( is never closed");
        check_refused("format = '{git})'", "at character 6: this ) closes nothing");
        check_refused("format = '{command}'", "lacks the command's name");
        check_refused("format = '{command.}'", "lacks the command's name");
        let command = "\n[commands.load]\ncommand = ['uptime']";
        check_refused(
            &format!("format = '{{command.laod}}'{command}"),
            "there is no command laod; did you mean load?",
        );
        check_refused("[segments.'command.x']", "there is no command x, nor any other");
        check_refused(
            "format = '{git.branch}'",
            "branch is a part of git: write {git} here, and format = \"{branch}\" in [segments.git]",
        );
        check_refused("format = '{git.brnch}'", "no part brnch; did you mean branch?");
        check_refused("format = '{x.branch}'", "there is no segment x.branch");
        check_refused("format = 'hello'", "it names no segment");
        check_refused(&format!("format = '{}'", "{git} ".repeat(65)), "65 segments");
        check_refused(&format!("format = '{}'", "{git} ".repeat(1000)), "6000 characters");
        check_refused(&format!("format = \"{}{{git}}\"", "x\\n".repeat(9)), "8 lines");
        let segment = |it: &str| format!("[segments.git]\n{it}");
        check_refused(
            &segment("format = '{brnch}'"),
            "there is no part brnch; did you mean branch?",
        );
        check_refused(&segment("format = '{}'"), "a part's name is missing here");
        check_refused(
            &segment("short = '('"),
            "line 2, column 9: segments.git.short: at character 1",
        );
        check_refused(
            &segment("priorty = 1"),
            "line 2, column 1: segments.git: there is no key priorty; did you mean",
        );
        check_refused(&segment("priority = 101"), "from 0 to 100");
        check_refused(&segment("priority = 300"), "line 2");
        check_refused(&segment("max_width = 0"), "from 1 to 500");
        check_refused(&segment("warning = 1"), "the segment git has no thresholds");
        check_refused(&segment("bar_width = 1"), "the segment git has no bar");
        check_refused(&segment("mark = 1"), "the segment git has no mark");
        check_refused(&segment("symbols.aheda = 'x'"), "no symbol aheda; did you mean ahead?");
        check_refused(&segment("symbols.ahead = \"\\u001b\""), "a control character");
        check_refused(&segment("colors.stagd = 'red'"), "no part stagd; did you mean staged?");
        check_refused(
            &segment("colors.staged = 'rde'"),
            "line 2, column 17: segments.git.colors.staged: rde is",
        );
        check_refused("[segments.context]\nwarning = nan", "from 0 to 100");
        check_refused(
            "[segments.context]\nwarning = 160",
            "line 2, column 11: segments.context.warning: it must be from 0 to 100",
        );
        check_refused("[segments.seven_day]\nalarm = 100.5", "from 0 to 100");
        check_refused("[segments.context]\nmark = -1", "from 0 to 100");
        assert!(Config::parse(b"[segments.spend_limit]\nalarm = 160").is_ok());
        check_refused("[segments.spend_limit]\nalarm = 1001", "from 0 to 1000");
        check_refused("[theme]\npreset = 'asci'", "no preset asci; did you mean ascii?");
        check_refused("[theme]\npalette = 'drak'", "no palette drak; did you mean dark?");
        check_refused("[theme]\ndepth = '8'", "theme.depth: there is no depth 8; there are");
        check_refused("[theme]\ndepth = 25", "there is no depth 25; did you mean 256?");
        let depth = |it| Config::parse(format!("[theme]\ndepth = {it}").as_bytes()).unwrap();
        assert_eq!(depth("256"), depth("'256'"));
        assert_eq!(depth("true"), depth("'true'"));
        check_refused("format = \"\"\"\n{git}\n{model\"\"\"", "in row 2, at character 1");
        check_refused("[theme]\npadding = 101", "from 0 to 100");
        check_refused("[theme]\ncolumns = 19", "from 20 to 1000");
        check_refused(&format!("[theme]\nseparator = '{}'", "x".repeat(33)), "32 characters");
        check_refused("[theme.colors]\nalrm = 'red'", "no colour alrm; did you mean alarm?");
        check_refused("[theme.colors]\nalarm = '#ff'", "#ff is no #rrggbb");
    }

    /// What is usual may be written down, and nothing else comes of it.
    #[test]
    fn the_description_is_a_configuration_that_says_the_same() {
        let usual = Config::default();
        let text = describe::describe(&usual, None);
        assert_eq!(Config::parse(text.as_bytes()).unwrap(), usual, "{text}");
        let is_value = |it: &&str| it.starts_with('#') && !it.starts_with("# ");
        assert!(text.lines().filter(is_value).count() > 200);
        let live: Vec<_> = text
            .lines()
            .map(|it| it.strip_prefix('#').filter(|it| !it.starts_with(' ')).unwrap_or(it))
            .collect();
        let live = live.join("\n");
        Config::parse(live.as_bytes()).unwrap();

        let text = "format = \"{git}\\n{model}'\"\nroots = ['/r']\n[git]\ntimeout_ms = 100\n\
            [theme]\npreset = 'ascii'\npalette = 'nord'\ndepth = '256'\nseparator = ' \"\\ '\n\
            padding = 2\ncolumns = 90\ncolors.dim = '#010203'\n\
            [segments.git]\nformat = '{branch}'\nshort = ''\npriority = 3\nmax_width = 9\n\
            symbols.ahead = '^'\ncolors.branch = 'bold blue'\n\
            [segments.context]\nwarning = 1\nalarm = 2.5\nbar_width = 3\nmark = 4\n\
            [segments.'command.load']\npriority = 7\n\
            [commands.load]\ncommand = ['a', 'b c']\nevery_s = 7\ntimeout_ms = 70\n\
            [privacy]\npreview = false\n\
            [usage]\nweek_starts = 'sunday'\nsource = 'ccusage'\ncommand = ['x']\n\
            [prices.'a b']\ninput = 1\noutput = 2.5\n";
        let own = Config::parse(text.as_bytes()).unwrap();
        let text = describe::describe(&own, None);
        assert_eq!(Config::parse(text.as_bytes()).unwrap(), own, "{text}");
    }
}
