//! Other files and processes: further copies of this program, status lines of others, and how old
//! the price list is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::finding::Finding;
use crate::background;
use crate::cli::Environment;
use crate::fetch::upgrade;
use crate::pool::probe::Probe;
use crate::price_list::{Placed, PriceList};
use crate::programs::{ASK_TIMEOUT, Programs};
#[cfg(target_os = "linux")]
use crate::store::file::read_bounded;
#[cfg(target_os = "linux")]
use crate::store::lock::WATCH;

const VERSION: &str = "version";
const PATH: &str = "path";
const OTHER_TOOLS: &str = "other-tools";
const PRICES: &str = "prices";

/// Claude models come every two to three months, and a new one has no price.
const OLD_PRICES_DAYS: i64 = 90;

/// A copy of this program, by whom it is used.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) used_by: String,
    pub(super) path: PathBuf,
}

/// Whether all that runs `ccstatusd` runs the same version. `skew` is what there is to tell of the
/// watcher.
pub(super) fn versions(
    copies: &[Copy],
    skew: Option<String>,
    programs: &Programs,
    probe: &Probe,
) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let skew = skew.map(|what| Finding::problem(VERSION, what, background::CATCHES_UP));
    let mut found = Vec::from_iter(skew);
    for copy in copies {
        let (used_by, path) = (&copy.used_by, copy.path.display());
        match probe.metadata(&copy.path) {
            Some(Ok(meta)) if is_own(&meta) => continue,
            // Other checks name a program that is not there.
            Some(Err(_)) | None => continue,
            Some(Ok(_)) => {}
        }
        let todo = "install one of them in both places, or run `ccstatusd init`";
        found.extend(match version(programs, &copy.path) {
            Ok(version) if version == own => None,
            Ok(version) => {
                let what = format!("{used_by} uses {path}, version {version}, and this is {own}");
                Some(Finding::problem(VERSION, what, todo))
            }
            Err(err) => {
                let what = format!("{used_by} uses {path}, which does not tell its version: {err}");
                Some(Finding::problem(VERSION, what, todo))
            }
        });
    }
    if found.is_empty() {
        found.push(Finding::good(VERSION, format!("{own} everywhere")));
    }
    found
}

/// The version of a `ccstatusd`. An error says why it does not tell.
fn version(programs: &Programs, path: &Path) -> Result<String, String> {
    let output = programs.call(path, &["--version"], &[], ASK_TIMEOUT);
    let output = output.map_err(|err| err.to_string())?;
    let version = upgrade::stated_version(&output).map(str::to_owned);
    version.ok_or_else(|| "it is not ccstatusd".to_owned())
}

fn is_own(meta: &std::fs::Metadata) -> bool {
    let own = crate::fetch::exec::own_program().and_then(fs_err::metadata);
    own.is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()))
}

/// Where a command that begins with this path finds the program. A name alone is looked for in
/// `PATH`.
pub(super) fn expanded(path: &Path, env: &Environment, probe: &Probe) -> Option<PathBuf> {
    if let Ok(rest) = path.strip_prefix("$HOME") {
        return Some(env.home()?.join(rest));
    }
    if path.components().count() > 1 {
        return env.expand(path);
    }
    on_path(env, probe).into_iter().next()
}

/// All files in `PATH` by our name, each once, in the order of `PATH`.
fn on_path(env: &Environment, probe: &Probe) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut found = Vec::new();
    let dirs = env.get("PATH").into_iter().flat_map(std::env::split_paths);
    for path in dirs.filter(|it| it.is_absolute()).map(|it| it.join("ccstatusd")) {
        let Some(Ok(meta)) = probe.metadata(&path) else { continue };
        let place = (meta.dev(), meta.ino());
        if meta.is_file() && meta.mode() & 0o111 != 0 && !places.contains(&place) {
            places.push(place);
            found.push(path);
        }
    }
    found
}

/// The files that a shell, or another user of the same `PATH`, may start in place of this one.
pub(super) fn path(env: &Environment, programs: &Programs, probe: &Probe) -> Vec<Finding> {
    let files = on_path(env, probe);
    let is_other = |it: &&PathBuf| !matches!(probe.metadata(it), Some(Ok(meta)) if is_own(&meta));
    let others: Vec<_> = files.iter().filter(is_other).collect();
    if files.is_empty() {
        let todo = "type its whole path, or put a link to it into a directory of PATH";
        return vec![Finding::note(PATH, "there is no ccstatusd in PATH", todo)];
    }
    if others.is_empty() {
        return vec![Finding::good(PATH, "the ccstatusd in PATH is this one, and the only one")];
    }
    let other = |path: &&PathBuf| {
        let version = version(programs, path);
        let version = version.unwrap_or_else(|err| format!("unknown: {err}"));
        let what = format!("another ccstatusd is in PATH: {} (version {version})", path.display());
        Finding::note(PATH, what, format!("remove what you do not use: `{}`", path.display()))
    };
    others.iter().map(other).collect()
}

/// The folders in `/proc` of the processes of this user.
#[cfg(target_os = "linux")]
pub(super) fn own_processes() -> Vec<PathBuf> {
    let me = nix::unistd::geteuid().as_raw();
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    let is_own = |entry: &fs_err::DirEntry| {
        let name = entry.file_name();
        let is_process =
            name.to_str().is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        is_process && entry.metadata().is_ok_and(|it| it.uid() == me)
    };
    entries.filter(is_own).map(|it| it.path()).collect()
}

/// Status lines of others that are at work, by the files that their processes run. Nothing else of
/// the processes is read.
#[cfg(target_os = "linux")]
pub(super) fn other_tools() -> Finding {
    let mut found: std::collections::BTreeMap<&str, Vec<String>> =
        std::collections::BTreeMap::new();
    for process in own_processes() {
        let Ok(line) = read_bounded(&process.join("cmdline"), 4 << 10) else { continue };
        let id = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(name) = other_tool(&line) {
            found.entry(name).or_default().push(id);
        }
    }
    let list: Vec<_> =
        found.iter().map(|(name, ids)| format!("{name} ({})", ids.join(", "))).collect();
    match list.is_empty() {
        true => Finding::good(OTHER_TOOLS, "no other status line is at work"),
        false => Finding::note(
            OTHER_TOOLS,
            format!("processes of other status lines are at work: {}", list.join("; ")),
            "remove the programs that you do not use: they may cost much more than ours",
        ),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn other_tools() -> Finding {
    Finding::note(OTHER_TOOLS, "processes cannot be listed on this system", "use `ps`")
}

/// Watchers of this user with other state directories than `own`, by the locks that they hold.
#[cfg(target_os = "linux")]
pub(super) fn other_watchers(own: &Path) -> Option<Finding> {
    let own = fs_err::canonicalize(own).unwrap_or_else(|_| own.to_owned());
    let watched = |process: &PathBuf| {
        let program = fs_err::read_link(process.join("exe")).ok()?;
        let name = program.file_name()?.to_str()?;
        if name.trim_end_matches(" (deleted)") != "ccstatusd" {
            return None;
        }
        let mut open = fs_err::read_dir(process.join("fd")).ok()?.flatten();
        let lock = open.find_map(|entry| {
            let path = fs_err::read_link(entry.path()).ok()?;
            path.file_name().is_some_and(|it| it == WATCH).then_some(path)
        });
        let dir = lock?.parent().filter(|it| *it != own)?.display().to_string();
        Some(format!("process {} in {dir}", process.file_name()?.display()))
    };
    let others: Vec<_> = own_processes().iter().filter_map(watched).collect();
    let what = format!("watchers with other state directories run: {}", others.join(", "));
    let todo = "if that is not meant, CCSTATUSD_DIR or XDG_STATE_HOME differs between this shell \
                and what started them";
    (!others.is_empty()).then(|| Finding::note("watchers", what, todo))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn other_watchers(_: &Path) -> Option<Finding> {
    None
}

/// The name of another status line, if this command line starts one.
#[cfg(target_os = "linux")]
fn other_tool(line: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 9] = [
        "ccline",
        "ccstatus",
        "ccstatusline",
        "claude-hud",
        "claude-powerline",
        "claude-statusbar",
        "claude_statusbar",
        "cstat",
        "rust-statusline",
    ];
    let line = String::from_utf8_lossy(line);
    let args: Vec<_> = line.split('\0').collect();
    // The program, its interpreter and an option of that: `node --x /lib/ccstatusline/index.js`.
    let mut parts = args.iter().take(3).flat_map(|it| it.split('/'));
    let named = parts.find_map(|part| {
        let name = part.trim_end_matches(".js");
        NAMES.into_iter().find(|it| *it == name)
    });
    let is_ccusage = args.iter().take(3).any(|it| it.split('/').any(|part| part == "ccusage"));
    named.or_else(|| (is_ccusage && args.contains(&"statusline")).then_some("ccusage statusline"))
}

/// Which price list is in use, and how old it is.
pub(super) fn prices(list: &PriceList, today: Date) -> Finding {
    let what = list.summary(today);
    let days = i64::from((today - list.prices.as_of).get_days());
    match list.placed {
        Placed::Damaged { .. } => {
            let todo = "`ccstatusd prices --update FILE` with a valid list, or delete the file";
            Finding::problem(PRICES, what, todo)
        }
        _ if days > OLD_PRICES_DAYS => {
            let todo = "upgrade ccstatusd, or `ccstatusd prices --update FILE` with a newer list";
            Finding::note(PRICES, what, todo)
        }
        // No newer version of the program can tell that its list is the newer one.
        Placed::Used if days < -1 => {
            let todo = "if the day is wrong, correct `as_of` in the file";
            Finding::note(PRICES, what, todo)
        }
        _ => Finding::good(PRICES, what),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn status_lines_of_others_are_known_by_the_file_that_they_run() {
        let tool = |line: &str| other_tool(line.replace(' ', "\0").as_bytes());
        assert_eq!(tool("node /lib/node_modules/ccstatusline/dist/x.js"), Some("ccstatusline"));
        assert_eq!(tool("/home/u/.claude/ccline/ccline"), Some("ccline"));
        assert_eq!(tool("node /usr/bin/ccusage statusline"), Some("ccusage statusline"));
        assert_eq!(tool("/usr/bin/ccusage blocks"), None);
        assert_eq!(tool("vi a b ccstatusline"), None);
        assert_eq!(tool("/usr/bin/ccstatusd"), None);
        assert_eq!(tool(""), None);
    }

    #[test]
    fn a_price_list_of_last_season_is_told() {
        let prices = crate::usage::prices::Prices::builtin();
        let days = |days: i64| prices.as_of + jiff::Span::new().days(days);
        let check = |placed: Placed, n_days, expected: Level| {
            let list = PriceList { prices: prices.clone(), path: None, placed };
            let found = super::prices(&list, days(n_days));
            assert_eq!(found.level, expected, "{found:?}");
            assert_eq!(found.todo.is_none(), expected == Level::Good, "{found:?}");
        };
        check(Placed::Nothing, 1, Level::Good);
        check(Placed::Used, 90, Level::Good);
        check(Placed::Used, 91, Level::Note);
        check(Placed::Older(days(-1)), 91, Level::Note);
        check(Placed::Nothing, -1000, Level::Good);
        check(Placed::Used, -1000, Level::Note);
        let damaged = Placed::Damaged { reason: "torn".to_owned(), since_ms: 0 };
        check(damaged, 0, Level::Problem);
    }
}
