//! PURE. `[commands.NAME]`: programs whose first line of output lines can show.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Converted, Table, choose, text, whole, whole_path};
use crate::cli::Environment;
use crate::fetch::exec::{Invocation, RunLimits};
use crate::fetch::tool::{self, Runs, Scope, Tool};

/// With so many, each at its longest timeout, `--oneshot` still answers.
pub(super) const MAX_COMMANDS: usize = 16;
/// Characters of a command's name, which lines show.
pub(super) const MAX_COMMAND_NAME: usize = 32;
/// Milliseconds.
pub(super) const TIMEOUTS: RangeInclusive<u64> = 10..=10_000;
/// Seconds.
pub(super) const PERIODS: RangeInclusive<u64> = 1..=86_400;

#[derive(Clone, Debug, PartialEq)]
pub struct CommandConfig {
    /// A program and its arguments. No shell interprets them.
    pub command: Vec<String>,
    /// The program is ended after so many milliseconds.
    pub timeout_ms: u64,
    /// Seconds from one start to the next; `None` where only what it waits for starts it.
    pub every_s: Option<u64>,
    pub on: Vec<Trigger>,
    pub scope: Scope,
}

/// What starts a command besides its interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// This file changed. Absolute, or begins with `~/`.
    File(PathBuf),
    Repo,
    Waiting,
}

/// Seconds from one start of a command to the next, unless it is configured.
const DEFAULT_EVERY_S: u64 = 60;

/// The words for the scopes in the file.
pub(super) const SCOPES: [(&str, Scope); 4] = [
    ("global", Scope::Global),
    ("root", Scope::Root),
    ("repository", Scope::Repository),
    ("session", Scope::Session),
];

impl Default for CommandConfig {
    fn default() -> CommandConfig {
        CommandConfig {
            command: Vec::new(),
            timeout_ms: 2000,
            every_s: None,
            on: Vec::new(),
            scope: Scope::Global,
        }
    }
}

/// Reads the table `commands` of the outermost table.
pub(super) fn read(root: &mut Table<'_, '_>) -> BTreeMap<String, CommandConfig> {
    let commands = root.tables("commands", check_name, |(), table| CommandConfig::read(table));
    if commands.len() > MAX_COMMANDS {
        root.refuse("commands", format!("there may be at most {MAX_COMMANDS} commands"));
    }
    commands
}

pub(super) fn check_name(name: &str) -> Converted<()> {
    let is_allowed = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    match (1..=MAX_COMMAND_NAME).contains(&name.len()) && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => {
            Err(format!("a name has 1 to {MAX_COMMAND_NAME} letters a to z, digits, `-` and `_`"))
        }
    }
}

impl CommandConfig {
    fn read(table: &mut Table<'_, '_>) -> CommandConfig {
        let default = CommandConfig::default();
        table.require("command");
        CommandConfig {
            command: read_argv(table).unwrap_or(default.command),
            timeout_ms: table.value("timeout_ms", whole(TIMEOUTS)).unwrap_or(default.timeout_ms),
            every_s: table.value("every_s", whole(PERIODS)),
            on: table.list("on", |it| Trigger::read(text(it)?)).unwrap_or(default.on),
            scope: table.value("scope", scope).unwrap_or(default.scope),
        }
    }

    pub(super) fn tool(&self, env: &Environment) -> Option<Tool> {
        Some(Tool {
            what: invocation(&self.command, env)?,
            limits: RunLimits {
                deadline: Duration::from_millis(self.timeout_ms),
                ..tool::TOOL_LIMITS
            },
            every: Duration::from_secs(self.every_s.unwrap_or(DEFAULT_EVERY_S)),
        })
    }

    pub(super) fn runs(&self, env: &Environment) -> Runs {
        let files = self.on.iter().filter_map(|trigger| match trigger {
            Trigger::File(path) => env.expand(path),
            Trigger::Repo | Trigger::Waiting => None,
        });
        Runs {
            scope: self.scope,
            is_timed: self.on.is_empty() || self.every_s.is_some(),
            on_files: files.collect(),
            on_repo: self.on.contains(&Trigger::Repo),
            on_waiting: self.on.contains(&Trigger::Waiting),
        }
    }
}

fn scope(value: &DeValue<'_>) -> Converted<Scope> {
    choose("value", text(value)?, &SCOPES)
}

impl Trigger {
    fn read(word: &str) -> Converted<Trigger> {
        match (word, word.strip_prefix("file:")) {
            (_, Some(path)) => whole_path(path).map(Trigger::File),
            ("repo", _) => Ok(Trigger::Repo),
            ("waiting", _) => Ok(Trigger::Waiting),
            _ => Err("it must be repo, waiting, or file: and a path".to_owned()),
        }
    }

    /// As the file has it.
    pub(super) fn word(&self) -> String {
        match self {
            Trigger::File(path) => format!("file:{}", path.display()),
            Trigger::Repo => "repo".to_owned(),
            Trigger::Waiting => "waiting".to_owned(),
        }
    }
}

/// Reads the key `command`, a program and its arguments.
pub(super) fn read_argv(table: &mut Table<'_, '_>) -> Option<Vec<String>> {
    let argv = table.list("command", |it| text(it).map(str::to_owned))?;
    if argv.first().is_none_or(String::is_empty) {
        table.refuse("command", r#"it must name a program, as in command = ["date", "+%H:%M"]"#);
        return None;
    }
    Some(argv)
}

/// The call of a program with its arguments, or `None` without a program. It runs in the home
/// directory, so that the watcher's working directory has no influence on it.
pub(super) fn invocation(argv: &[String], env: &Environment) -> Option<Invocation> {
    let (program, args) = argv.split_first()?;
    let at_home = program.starts_with("~/").then(|| env.expand(Path::new(program))).flatten();
    Some(Invocation {
        program: at_home.map_or_else(|| program.into(), Into::into),
        args: args.iter().map(Into::into).collect(),
        dir: env.home().map(Path::to_owned),
        env: Vec::new(),
        input: Vec::new(),
    })
}
