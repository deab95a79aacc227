//! The command line and the environment. Nobody else reads either.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

/// Keeps a true status line for every Claude Code session.
///
/// Without a command it runs as the watcher, in the foreground: it observes Claude Code's
/// transcripts and the git directories its sessions work in, and publishes one snapshot that
/// displays read.
#[derive(Debug, Default, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// What to do instead of watching.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Bring everything up to date once, publish, print the line of the session it is
    /// called from, or else of the latest, and exit:
    /// 0 all fresh, 1 some source is degraded, 2 it could not be done.
    #[arg(long)]
    pub oneshot: bool,

    /// With --oneshot: print the snapshot instead of the line.
    #[arg(long, requires = "oneshot", conflicts_with_all = ["print", "log_file"])]
    pub json: bool,

    /// Also print each live session's line whenever it changes.
    #[arg(long, conflicts_with = "oneshot")]
    pub print: bool,

    /// Log to this file instead of standard error. It keeps at most 1 MiB, and one predecessor.
    #[arg(long, value_name = "PATH", conflicts_with = "oneshot")]
    pub log_file: Option<PathBuf>,
}

impl Cli {
    /// Reads the command line, and ends the process where that makes no sense.
    pub fn read() -> Cli {
        let mut args = std::env::args_os().skip(1);
        if args.next().is_some_and(|it| it == "show") && args.next().is_none() {
            // What the client runs at every render: building the parser takes longer than showing.
            let command = Some(Command::Show { preview: false });
            return Cli { command, ..Cli::default() };
        }
        Cli::parse()
    }
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done; with --oneshot, everything is fresh
  1  --oneshot: published, but some source is degraded
  2  it could not be done, or the command line makes no sense
  3  another watcher runs

Environment:
  CLAUDE_CONFIG_DIR  config roots, separated by commas [~/.claude, ~/.config/claude]
  CCSTATUSD_DIR      the state directory [$XDG_STATE_HOME/ccstatusd, ~/.local/state/ccstatusd]
  CCSTATUSD_LOG      what to log: off, error, warn, info, debug or trace [info]
  CLAUDE_CODE_SESSION_ID  whose line it is, where nothing else says so: Claude Code sets it
  NO_COLOR, FORCE_COLOR, COLUMNS  heeded by show

Files:
  ~/.config/ccstatusd/config.toml   the configuration; all of it is optional
  snapshot.json, lines/<session-id> in the state directory: what displays read";

/// What to do instead of watching.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The `statusLine` command: reads the client's document from standard input and the snapshot,
    /// and prints the line. It always exits 0, and never waits longer than 50 ms.
    Show {
        /// Instead, show made-up sessions as you configured it, and in every theme.
        #[arg(long)]
        preview: bool,
    },
    /// The `subagentStatusLine` command: reads the client's document from standard input, and
    /// prints a row for each subagent. It always exits 0.
    Subagents,
    /// The configuration as it is in effect, with its manual: save it to start from it.
    Config {
        /// Only say whether it makes sense.
        #[arg(long)]
        check: bool,
    },
    /// What a token of each model costs here, or of this model, and who says so.
    Prices {
        /// A model's name, as transcripts have it.
        model: Option<String>,
    },
}

/// The environment, read once.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Every variable, for the programs we start; they get a few of them.
    pub all: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Reads it.
    pub fn read() -> Environment {
        Environment { all: std::env::vars_os().collect() }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&OsString> {
        let found = self.all.iter().find(|(it, _)| it == name);
        found.map(|(_, it)| it).filter(|it| !it.is_empty())
    }

    /// The same as text, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// A variable that holds an absolute path. Others do not count, as the XDG specification says:
    /// the login service and the shell would resolve them differently.
    fn dir(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new).filter(|it| it.is_absolute())
    }

    /// The home directory.
    pub fn home(&self) -> Option<&Path> {
        self.dir("HOME")
    }

    /// A path that may start with `~/`, as people write it in files; `None` where it is relative.
    pub fn expand(&self, path: &Path) -> Option<PathBuf> {
        match path.strip_prefix("~") {
            Ok(rest) => Some(self.home()?.join(rest)),
            Err(_) => path.is_absolute().then(|| path.to_owned()),
        }
    }

    fn need_home(&self) -> Result<&Path> {
        self.home().ok_or_else(|| {
            Error::new("HOME is not set to an absolute path")
                .hint("set HOME, or CCSTATUSD_DIR and CLAUDE_CONFIG_DIR")
        })
    }

    /// The state directory: `$CCSTATUSD_DIR`, else `${XDG_STATE_HOME:-~/.local/state}/ccstatusd`.
    ///
    /// The display and the watcher both resolve it here. It does not depend on XDG_RUNTIME_DIR,
    /// on which a login unit and a shell inside tmux or ssh may disagree.
    pub fn state_dir(&self) -> Result<PathBuf> {
        if let Some(it) = self.dir("CCSTATUSD_DIR") {
            return Ok(it.to_owned());
        }
        let base = match self.dir("XDG_STATE_HOME") {
            Some(it) => it.to_owned(),
            None => self.need_home()?.join(".local/state"),
        };
        Ok(base.join("ccstatusd"))
    }

    /// The same for who publishes there: where the user's choice does not count, it says so. A
    /// display has no place for that.
    pub fn own_state_dir(&self) -> Result<PathBuf> {
        match self.get("CCSTATUSD_DIR").map(Path::new).filter(|it| it.is_relative()) {
            Some(it) => {
                let what = format!("CCSTATUSD_DIR is {}, which is not absolute", it.display());
                Err(Error::new(what).hint("give the whole path, to displays as well"))
            }
            None => self.state_dir(),
        }
    }

    /// The configuration file: `${XDG_CONFIG_HOME:-~/.config}/ccstatusd/config.toml`.
    pub fn config_file(&self) -> Option<PathBuf> {
        Some(self.config_home()?.join("ccstatusd/config.toml"))
    }

    fn config_home(&self) -> Option<PathBuf> {
        let base = self.dir("XDG_CONFIG_HOME").map(Path::to_owned);
        base.or_else(|| Some(self.home()?.join(".config")))
    }

    /// Where Claude Code keeps its files: `CLAUDE_CONFIG_DIR` (it may list several), else
    /// `~/.claude` and `~/.config/claude`.
    pub fn claude_roots(&self) -> Result<Vec<PathBuf>> {
        let listed = self.text("CLAUDE_CONFIG_DIR").unwrap_or_default();
        let listed: Vec<_> = listed.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        if listed.is_empty() {
            let home = self.need_home()?;
            let config = self.config_home().unwrap_or_else(|| home.join(".config"));
            return Ok(vec![home.join(".claude"), config.join("claude")]);
        }
        listed
            .into_iter()
            .map(|it| {
                self.expand(Path::new(it)).ok_or_else(|| {
                    Error::new(format!("CLAUDE_CONFIG_DIR names {it}, which is not absolute"))
                        .hint("give the whole path")
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        Environment { all: vars.iter().map(|(name, it)| ((*name).into(), (*it).into())).collect() }
    }

    #[track_caller]
    fn check_state_dir(vars: &[(&str, &str)], expected: &str) {
        assert_eq!(environment(vars).state_dir().unwrap(), Path::new(expected), "{vars:?}");
    }

    #[test]
    fn unset_empty_and_relative_directories_do_not_count() {
        let home = ("HOME", "/h");
        check_state_dir(&[home], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("XDG_STATE_HOME", "/x")], "/x/ccstatusd");
        check_state_dir(&[home, ("XDG_STATE_HOME", "x")], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("XDG_STATE_HOME", "")], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("CCSTATUSD_DIR", "/c"), ("XDG_STATE_HOME", "/x")], "/c");
        check_state_dir(&[home, ("CCSTATUSD_DIR", "c")], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("CCSTATUSD_DIR", "")], "/h/.local/state/ccstatusd");
        let relative = environment(&[home, ("CCSTATUSD_DIR", "~/c")]).own_state_dir();
        let err = relative.unwrap_err().to_string();
        assert!(err.contains("CCSTATUSD_DIR is ~/c, which is not absolute"), "{err}");
        let err = environment(&[]).own_state_dir().unwrap_err().to_string();
        assert!(err.contains("HOME"), "{err}");
    }

    #[test]
    fn roots_are_a_list_or_the_two_usual_places() {
        let roots = |vars: &[(&str, &str)]| environment(vars).claude_roots();
        let home = ("HOME", "/h");
        assert_eq!(
            roots(&[home]).unwrap(),
            [Path::new("/h/.claude"), Path::new("/h/.config/claude")]
        );
        assert_eq!(
            roots(&[home, ("CLAUDE_CONFIG_DIR", "/a, ~/b,")]).unwrap(),
            [Path::new("/a"), Path::new("/h/b")]
        );
        let err = roots(&[home, ("CLAUDE_CONFIG_DIR", "a")]).unwrap_err().to_string();
        assert!(err.contains("not absolute"), "{err}");
    }
}
