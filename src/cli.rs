//! The command line and the environment. No other module reads either.

pub mod usage;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::error::{Error, Result};

/// Keeps a true status line for every Claude Code session.
///
/// Without a subcommand it runs as the watcher, in the foreground: it observes Claude Code's
/// transcripts and the git directories that its sessions work in, and publishes one snapshot file,
/// which displays read.
#[derive(Debug, Default, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    /// Bring all data up to date once, publish it, print one line and exit.
    ///
    /// The line is that of the session in which the program is called, or of the session that was
    /// active last. The exit code is 0 if all data is fresh, 1 if some source is degraded, and 2 if
    /// it failed.
    #[arg(long)]
    pub oneshot: bool,

    /// With --oneshot: print the snapshot as JSON instead of the line.
    #[arg(long, requires = "oneshot", conflicts_with_all = ["print", "log_file"])]
    pub json: bool,

    /// Also print the line of each live session whenever it changes.
    #[arg(long, conflicts_with = "oneshot")]
    pub print: bool,

    /// If another watcher runs, wait for its end and take over, as login units want it.
    #[arg(long, conflicts_with = "oneshot")]
    pub wait: bool,

    /// Log to this file instead of standard error. At 1 MiB it is renamed to PATH.1, in place of
    /// the one before.
    #[arg(long, value_name = "PATH", conflicts_with = "oneshot")]
    pub log_file: Option<PathBuf>,

    /// Leave the session of the terminal, as `ccstatusd start` wants it.
    #[arg(long, hide = true, conflicts_with_all = ["oneshot", "print"])]
    pub detach: bool,
}

impl Cli {
    /// Parses the command line. On --help and --version, and if the command line is invalid, it
    /// prints a message and ends the process.
    ///
    /// See docs/decisions/022-the-packaged-binary-is-static.md.
    pub fn read() -> Cli {
        let mut args = std::env::args_os().skip(1);
        if args.next().is_some_and(|it| it == "show") && args.next().is_none() {
            // Claude Code runs this for every render, and building clap's parser takes longer than
            // the rest of it.
            let subcommand = Some(Subcommand::Show { preview: false });
            return Cli { subcommand, ..Cli::default() };
        }
        // Prompts and bars run this one all the time.
        let mut args = std::env::args_os().skip(1);
        if args.next().is_some_and(|it| it == "line")
            && let Some(options) = LineOptions::plainly_stated(args)
        {
            return Cli { subcommand: Some(Subcommand::Line(options)), ..Cli::default() };
        }
        Cli::parse()
    }
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done; with --oneshot, everything is fresh
  1  --oneshot: published, but some source is degraded; doctor: it found a problem;
     usage export: written, but it lacks a part of the record
  2  it failed, or the command line is invalid
  3  another watcher runs, without --wait

Environment:
  CLAUDE_CONFIG_DIR  Claude Code's directories, separated by commas [~/.claude, ~/.config/claude]
  CCSTATUSD_DIR      the state directory [$XDG_STATE_HOME/ccstatusd, ~/.local/state/ccstatusd]
  CCSTATUSD_LOG      the log level: off, error, warn, info, debug or trace [info; warn for --oneshot]
  CLAUDE_CODE_SESSION_ID  the session to print, unless standard input names one; Claude Code sets it
  NO_COLOR, FORCE_COLOR, FORCE_HYPERLINK, COLUMNS  colours, links and width of the printed line

Files:
  ~/.config/ccstatusd/config.toml   the configuration; every setting is optional
  snapshot.json, lines/<session-id> in the state directory: what displays read";

/// What the program does instead of watching.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Print the status line: the command for `statusLine` in Claude Code's settings.
    ///
    /// It reads Claude Code's JSON from standard input, and the snapshot. It always exits with 0,
    /// and waits at most 50 ms for its input.
    Show {
        /// Print sample sessions instead, as you configured the line, and in every theme.
        #[arg(long)]
        preview: bool,
    },
    /// Print a row for each subagent: the command for `subagentStatusLine` in Claude Code's
    /// settings.
    ///
    /// It reads Claude Code's JSON from standard input. It always exits with 0.
    Subagents,
    /// List all sessions: those that wait for you first, then busy and idle ones.
    ///
    /// It reads only what a watcher has published, and says how old that is. `?` is a status that
    /// is not known. `--all` may list sessions that ended up to a day ago.
    Sessions(SessionsOptions),
    /// Show all sessions and accounts on the whole screen, until you press q.
    ///
    /// It draws again when a watcher has published something new. `?` lists the keys. docs/top.md
    /// says what is shown.
    Top,
    /// Print the line of a session for a prompt, a bar or an editor.
    ///
    /// It reads only what a watcher has published. docs/integrations.md shows how to use it with
    /// each program.
    Line(LineOptions),
    /// Start the watcher in the background, unless one runs.
    ///
    /// It outlives the terminal. If its systemd unit is enabled, systemd starts it and keeps its
    /// log; else the log is watcher.log in the state directory.
    Start,
    /// End the watcher that runs.
    Stop,
    /// Find out what keeps the line from being shown, or from being true, and say what to do.
    ///
    /// It runs the status line that is configured, as Claude Code does. The exit code is 0 if there
    /// is no problem, 1 if there is one, and 2 if it failed.
    Doctor {
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
        /// Also do what is safe: start the watcher, and remove leftovers of ours.
        #[arg(long)]
        fix: bool,
    },
    /// Set everything up: the status line in Claude Code's settings, and a watcher that starts at
    /// login.
    ///
    /// It shows what it will change, and asks. What was there before is kept, and `uninstall` gives
    /// it back. It may be repeated, after an upgrade for example.
    Init(InitOptions),
    /// Undo what `init` has done, and end the watcher.
    ///
    /// It shows what it will change, and asks. A file that nobody has edited since gets its earlier
    /// bytes; of any other, only what is ours is taken out.
    Uninstall(UninstallOptions),
    /// Print the configuration in effect, with an explanation of every setting.
    ///
    /// The output is a configuration file, from which you can start your own.
    Config {
        /// Only check the configuration file, and print every problem in it.
        #[arg(long)]
        check: bool,
    },
    /// Print what was used: by day, week, month, five-hour block, session, project, model, branch
    /// or type of subagent.
    ///
    /// It reads the record, which goes back further than Claude Code's transcripts. With a watcher
    /// it answers at once; without one it first brings the record up to date. A cost with ≥ before
    /// it lacks what models without a price cost. docs/usage.md describes the reports and the JSON.
    Usage(Box<usage::UsageOptions>),
    /// List the alerts that you configured: what each waits for, and what it has told last.
    Alerts {
        /// Run the program of this alert at once, with sample facts, and show what it prints.
        #[arg(long, value_name = "NAME")]
        test: Option<String>,
    },
    /// Print the metrics for Prometheus: the content of the file that `[export] textfile` names.
    ///
    /// It reads what a watcher has published last, and the record of usage. docs/fleet.md describes
    /// what it prints.
    Metrics,
    /// Print what the tokens of each model cost, and which list the prices are from.
    Prices {
        /// Only this model, by its name in transcripts.
        model: Option<String>,
        /// Put another price list in place of the built-in one.
        ///
        /// It is checked first. A watcher that runs takes it at once. docs/prices.md describes the
        /// format.
        #[arg(long, value_name = "FILE", conflicts_with = "model")]
        update: Option<PathBuf>,
    },
}

#[derive(Debug, Default, clap::Args)]
pub struct SessionsOptions {
    /// Print the list as JSON. docs/snapshot.md describes it.
    #[arg(long)]
    pub json: bool,
    /// Only those that wait for you.
    #[arg(long, conflicts_with = "all")]
    pub waiting: bool,
    /// Also those that have ended.
    #[arg(long)]
    pub all: bool,
    /// Show the list again whenever it changes, until you press Ctrl-C. With --json, or where the
    /// output is no terminal, print it again.
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Default, PartialEq, clap::Args)]
pub struct LineOptions {
    /// The session with this id, in place of the one that was active last.
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Who reads the line [ansi on a terminal, else plain].
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<LineFormat>,
    /// How many columns it may take [those of the terminal, else 116].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub columns: Option<u16>,
}

impl LineOptions {
    /// The options, if there is nothing in them that clap would have to explain.
    fn plainly_stated(mut args: impl Iterator<Item = OsString>) -> Option<LineOptions> {
        use clap::ValueEnum as _;
        let mut options = LineOptions::default();
        while let Some(name) = args.next() {
            let value = args.next()?.into_string().ok().filter(|it| !it.starts_with('-'))?;
            match name.to_str()? {
                "--session" if options.session.is_none() => options.session = Some(value),
                "--format" if options.format.is_none() => {
                    options.format = Some(LineFormat::from_str(&value, false).ok()?);
                }
                "--columns" if options.columns.is_none() => {
                    options.columns = Some(value.parse().ok().filter(|it| *it > 0)?);
                }
                _ => return None,
            }
        }
        Some(options)
    }
}

/// Who reads a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LineFormat {
    /// A terminal.
    Ansi,
    /// Anybody: one row without colours.
    Plain,
    /// tmux: `#(ccstatusd line --format tmux)` in its status line.
    Tmux,
    /// A prompt of zsh.
    Zsh,
    /// A prompt of fish.
    Fish,
    /// A module of polybar.
    Polybar,
    /// A custom module of waybar, with a tooltip and classes.
    Waybar,
    /// A block of i3blocks, with a colour.
    I3blocks,
    /// A program of yours.
    Json,
}

#[derive(Debug, Default, clap::Args)]
pub struct InitOptions {
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Only show what would be changed.
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a status line of another program. Without this it stays, and ours is not shown.
    #[arg(long)]
    pub replace: bool,
    /// With --replace: let the status line that is replaced go on as a command of ours, by this
    /// name, in a row of its own. It works only for one that needs no input from Claude Code.
    #[arg(long, value_name = "NAME", requires = "replace")]
    pub keep_as: Option<String>,
    /// How the watcher starts at login, in place of what is found to work here.
    #[arg(long, value_name = "HOW")]
    pub login: Option<Login>,
    /// With systemd: also let your services outlive your logins, as sessions in tmux do.
    #[arg(long)]
    pub linger: bool,
}

#[derive(Debug, Default, clap::Args)]
pub struct UninstallOptions {
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Only show what would be changed.
    #[arg(long)]
    pub dry_run: bool,
    /// Also delete the state directory, and the record of what was used.
    #[arg(long)]
    pub purge: bool,
}

/// What starts the watcher at login.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// A unit of the systemd user manager.
    Systemd,
    /// An agent of launchd, on macOS.
    Launchd,
    /// An entry that the desktop starts.
    Autostart,
    /// A hook by which Claude Code starts it with each session.
    Hook,
    /// Nothing: you start it yourself.
    None,
}

/// The environment at the start of the process.
#[derive(Clone, Debug)]
pub struct Environment {
    /// All variables. Programs that we start get a few of them.
    pub all: Vec<(OsString, OsString)>,
    /// The command line, the name of the program first.
    pub args: Vec<OsString>,
}

impl Environment {
    pub fn read() -> Environment {
        Environment { all: std::env::vars_os().collect(), args: std::env::args_os().collect() }
    }

    /// Where the program may lie by the name that it was called by, with the likeliest path first.
    /// An upgrade may leave its file alone, and change a link that leads to it.
    pub fn program_paths(&self) -> Vec<PathBuf> {
        let name = self.args.first().map(Path::new).unwrap_or(Path::new(""));
        let mut paths = Vec::new();
        if name.components().count() > 1 {
            paths.extend(std::path::absolute(name).ok());
        } else if let Some(path) = self.get("PATH") {
            let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
            paths.extend(dirs.map(|dir| dir.join(name)));
        }
        paths.extend(std::env::current_exe().ok());
        paths
    }

    /// The value of a variable; `None` if it is not set or empty.
    pub fn get(&self, name: &str) -> Option<&OsString> {
        let found = self.all.iter().find(|(it, _)| it == name);
        found.map(|(_, it)| it).filter(|it| !it.is_empty())
    }

    /// Like [`Environment::get`], and `None` also if the value is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// The value of a variable if it is an absolute path. The XDG specification ignores relative
    /// paths: a login service and a shell would resolve them differently.
    fn dir(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new).filter(|it| it.is_absolute())
    }

    /// `None` unless `HOME` is an absolute path.
    pub fn home(&self) -> Option<&Path> {
        self.dir("HOME")
    }

    /// Replaces a leading `~` by the home directory. `None` if the path is relative, or if there is
    /// no home directory to put in.
    pub fn expand(&self, path: &Path) -> Option<PathBuf> {
        match path.strip_prefix("~") {
            Ok(rest) => Some(self.home()?.join(rest)),
            Err(_) => path.is_absolute().then(|| path.to_owned()),
        }
    }

    /// The name of the user, as the login set it; without one, their number.
    pub fn user_name(&self) -> String {
        let name = self.text("USER").or_else(|| self.text("LOGNAME"));
        let name = name.filter(|it| !it.contains('/'));
        name.map_or_else(|| format!("uid-{}", nix::unistd::getuid()), str::to_owned)
    }

    fn need_home(&self) -> Result<&Path> {
        self.home().ok_or_else(|| {
            Error::new("cannot find the home directory: HOME is not set to an absolute path")
                .hint("set HOME, or CCSTATUSD_DIR and CLAUDE_CONFIG_DIR")
        })
    }

    /// The state directory: `$CCSTATUSD_DIR`, else `${XDG_STATE_HOME:-~/.local/state}/ccstatusd`.
    ///
    /// Displays and the watcher both call this, so that they agree. It does not depend on
    /// `XDG_RUNTIME_DIR`, which may differ between a login service and a shell in tmux or ssh.
    pub fn state_dir(&self) -> Result<PathBuf> {
        if let Some(dir) = self.dir("CCSTATUSD_DIR") {
            return Ok(dir.to_owned());
        }
        let base = match self.dir("XDG_STATE_HOME") {
            Some(dir) => dir.to_owned(),
            None => self.need_home()?.join(".local/state"),
        };
        Ok(base.join("ccstatusd"))
    }

    /// Like [`Environment::state_dir`], but fails if `CCSTATUSD_DIR` is relative instead of
    /// ignoring it. The watcher and `--oneshot` use it; a display has nowhere to print such an
    /// error.
    pub fn checked_state_dir(&self) -> Result<PathBuf> {
        match self.get("CCSTATUSD_DIR").map(Path::new).filter(|it| it.is_relative()) {
            Some(dir) => {
                let what = format!("CCSTATUSD_DIR is {}, which is not absolute", dir.display());
                let hint =
                    "set it to an absolute path, also in the environment of `ccstatusd show`";
                Err(Error::new(what).hint(hint))
            }
            None => self.state_dir(),
        }
    }

    /// The configuration file: `${XDG_CONFIG_HOME:-~/.config}/ccstatusd/config.toml`.
    pub fn config_file(&self) -> Option<PathBuf> {
        Some(self.config_home()?.join("ccstatusd/config.toml"))
    }

    /// Where `init` keeps what was there before, and where the user's price list is:
    /// `${XDG_DATA_HOME:-~/.local/share}/ccstatusd`.
    pub fn data_dir(&self) -> Result<PathBuf> {
        let base = match self.dir("XDG_DATA_HOME") {
            Some(dir) => dir.to_owned(),
            None => self.need_home()?.join(".local/share"),
        };
        Ok(base.join("ccstatusd"))
    }

    /// `${XDG_CONFIG_HOME:-~/.config}`; `None` without a home directory.
    pub fn config_home(&self) -> Option<PathBuf> {
        let base = self.dir("XDG_CONFIG_HOME").map(Path::to_owned);
        base.or_else(|| Some(self.home()?.join(".config")))
    }

    /// The directories in which Claude Code keeps its files: those in `CLAUDE_CONFIG_DIR`,
    /// separated by commas, or else `~/.claude` and `~/.config/claude`. They need not exist.
    pub fn claude_roots(&self) -> Result<Vec<PathBuf>> {
        let listed = self.get("CLAUDE_CONFIG_DIR").map_or(&b""[..], |it| it.as_bytes());
        let paths = listed.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let listed: Vec<&OsStr> =
            paths.filter(|it| !it.is_empty()).map(OsStr::from_bytes).collect();
        if listed.is_empty() {
            let home = self.need_home()?;
            let config = self.config_home().unwrap_or_else(|| home.join(".config"));
            return Ok(vec![home.join(".claude"), config.join("claude")]);
        }
        listed
            .into_iter()
            .map(|path| {
                self.expand(Path::new(path)).ok_or_else(|| {
                    let path = path.display();
                    Error::new(format!("CLAUDE_CONFIG_DIR names {path}, which is not absolute"))
                        .hint("set it to absolute paths, separated by commas")
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        let args = Vec::new();
        Environment {
            args,
            all: vars.iter().map(|(name, it)| ((*name).into(), (*it).into())).collect(),
        }
    }

    #[test]
    fn options_that_are_plainly_stated_are_those_that_clap_finds() {
        for line in [
            "",
            "--format tmux",
            "--session s1 --format json --columns 80",
            "--columns 7 --session latest",
        ] {
            let args = || line.split_whitespace().map(OsString::from);
            let all = ["ccstatusd", "line"].map(OsString::from).into_iter().chain(args());
            let Some(Subcommand::Line(parsed)) = Cli::parse_from(all).subcommand else { panic!() };
            assert_eq!(LineOptions::plainly_stated(args()), Some(parsed), "{line}");
        }
        for line in ["--format", "--format x", "--format=tmux", "--columns 0", "--help", "x y"] {
            let args = line.split_whitespace().map(OsString::from);
            assert_eq!(LineOptions::plainly_stated(args), None, "{line}");
        }
    }

    #[track_caller]
    fn check_state_dir(vars: &[(&str, &str)], expected: &str) {
        assert_eq!(environment(vars).state_dir().unwrap(), Path::new(expected), "{vars:?}");
    }

    #[test]
    fn unset_empty_and_relative_directories_are_ignored() {
        let home = ("HOME", "/h");
        check_state_dir(&[home], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("XDG_STATE_HOME", "/x")], "/x/ccstatusd");
        check_state_dir(&[home, ("XDG_STATE_HOME", "x")], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("XDG_STATE_HOME", "")], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("CCSTATUSD_DIR", "/c"), ("XDG_STATE_HOME", "/x")], "/c");
        check_state_dir(&[home, ("CCSTATUSD_DIR", "c")], "/h/.local/state/ccstatusd");
        check_state_dir(&[home, ("CCSTATUSD_DIR", "")], "/h/.local/state/ccstatusd");
        let relative = environment(&[home, ("CCSTATUSD_DIR", "~/c")]).checked_state_dir();
        let err = relative.unwrap_err().to_string();
        assert!(err.contains("CCSTATUSD_DIR is ~/c, which is not absolute"), "{err}");
        let err = environment(&[]).checked_state_dir().unwrap_err().to_string();
        assert!(err.contains("HOME"), "{err}");
    }

    #[test]
    fn roots_are_those_listed_or_the_two_defaults() {
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
        let odd = OsStr::from_bytes(b"/\xff").to_owned();
        let not_text =
            Environment { args: Vec::new(), all: vec![("CLAUDE_CONFIG_DIR".into(), odd.clone())] };
        assert_eq!(not_text.claude_roots().unwrap(), [PathBuf::from(odd)]);
        let err = roots(&[home, ("CLAUDE_CONFIG_DIR", "a")]).unwrap_err().to_string();
        assert!(err.contains("not absolute"), "{err}");
    }
}
