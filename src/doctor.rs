//! `ccstatusd doctor`: looks for what keeps the line from being true, and says what to do.
//!
//! Every check returns findings, and prints nothing. Checks come in groups, and each group has a
//! thread: a disk that does not answer holds up its group, which is then told, and no other. A
//! check changes nothing. Only `--fix` does, after all checks: what is safe, and never Claude
//! Code's settings, which are the business of `ccstatusd init`.
//!
//! No check reads credentials, or the environment of another process.

mod finding;
mod line;
mod login;
mod others;
mod sample;
mod settings;
mod system;
mod watcher;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::cli::Environment;
use crate::config::Config;
use crate::display::ansi;
use crate::engine;
use crate::error::{Error, Result};
use crate::pool::probe::Probe;
use crate::programs::Programs;
use crate::sanitize;
use crate::setup::shell;
use crate::store::dir::StateDir;
use crate::store::lock::FetchLock;
use crate::store::schema::display::{Color, Depth, Ink};
use crate::systemd::Unit;
use crate::time::Now;
use crate::{background, ipc, placed_list};
use finding::{Fix, Level};
use line::Root;
use others::Copy;
use sample::Sample;

pub use finding::Finding;

/// How long a group of checks may take. Each program that one runs may take five seconds.
const GROUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Some checks, which run one after another.
type Group = fn(&Context) -> Vec<Finding>;

/// What the checks share.
struct Context {
    env: Environment,
    config: Config,
    roots: Vec<Root>,
    /// The directory that the command was called in; `/` if it is gone.
    cwd: PathBuf,
    unit: Unit,
    programs: Programs,
    probe: Probe,
}

/// Runs all checks and, with `fix`, does what is safe about what they found.
pub fn run(env: &Environment, fix: bool) -> Result<Vec<Finding>> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let probe =
        Probe::start(|| ()).map_err(|err| Error::new("cannot start a thread").because(err))?;
    let (config, configuration) = configuration(env);
    let roots = engine::roots(env, &config)?;
    let roots =
        roots.into_iter().filter(|it| probe.exists(it)).map(|it| Root::read(it, &probe)).collect();
    let context = Arc::new(Context {
        unit: Unit::find(env, &probe),
        programs: Programs::new(env)?,
        env: env.clone(),
        config,
        roots,
        cwd,
        probe,
    });
    let mut found = vec![configuration];
    let groups: [(&'static str, Group); 6] = [
        ("status-line", check_line),
        ("watcher", check_watcher),
        ("version", check_copies),
        ("login", check_login),
        ("git", check_system),
        ("other-tools", check_others),
    ];
    for (name, group) in groups {
        found.extend(within(GROUP_TIMEOUT, name, &context, group));
    }
    if fix {
        for finding in &mut found {
            match finding.fix.as_ref().map(|fix| put_right(fix, &context)) {
                None => {}
                Some(Ok(done)) => finding.fixed = Some(done),
                Some(Err(why)) => finding.what += &format!(" (--fix has failed: {why})"),
            }
        }
    }
    Ok(found)
}

/// Runs a group of checks in a thread, and waits for it for as long as `timeout`.
fn within(
    timeout: Duration,
    name: &'static str,
    context: &Arc<Context>,
    group: Group,
) -> Vec<Finding> {
    let (sender, found) = bounded(1);
    let context = Arc::clone(context);
    let run = move || sender.send(group(&context)).ok();
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    let found = started.ok().and_then(|_| found.recv_timeout(timeout).ok());
    found.unwrap_or_else(|| {
        let what = format!("a check did not end within {timeout:?}");
        let todo = "a disk may not answer: look at `mount`, and `ps` for processes in state D";
        vec![Finding::problem(name, what, todo)]
    })
}

/// The configuration of `ccstatusd`, with defaults if it is invalid.
fn configuration(env: &Environment) -> (Config, Finding) {
    const NAME: &str = "configuration";
    let path = env.config_file();
    let shown = path.as_deref().unwrap_or(Path::new("the configuration")).display().to_string();
    match Config::load(path.as_deref()) {
        Ok(config) if path.is_some_and(|it| it.exists()) => {
            (config, Finding::good(NAME, format!("{shown} is valid")))
        }
        Ok(config) => (config, Finding::good(NAME, format!("there is no {shown}: all defaults"))),
        Err(err) => {
            let what = format!("{}: settings from before, or defaults, are in effect", err.doing);
            let todo = "`ccstatusd config --check` lists what is wrong";
            (Config::default(), Finding::problem(NAME, what, todo))
        }
    }
}

fn check_line(context: &Context) -> Vec<Finding> {
    let Context { env, config, roots, cwd, programs, probe, .. } = context;
    let mut found = Vec::new();
    if roots.is_empty() {
        let what = "there is no config directory of Claude Code";
        let todo = "start `claude` once; if CLAUDE_CONFIG_DIR is set for it, set it here, too";
        found.push(Finding::problem("roots", what, todo));
    }
    let shown = roots.iter().map(|it| it.path.display().to_string()).collect::<Vec<_>>();
    found.extend((!roots.is_empty()).then(|| Finding::good("roots", shown.join(", "))));
    let snapshot = state_dir(env, probe).ok().flatten().and_then(|it| it.read_snapshot());
    let latest = snapshot.and_then(|it| it.latest);
    let sample = Sample { cwd, session: latest.as_ref().map(|it| it.0.as_str()) };
    found.extend(roots.iter().flat_map(|root| line::check_root(root, config, &sample, programs)));
    found.extend(line::check_project(cwd, roots, probe));
    found.extend(line::check_managed(line::managed_folder(), probe));
    found
}

/// The state directory if it exists and may be used. A check does not create it.
fn state_dir(env: &Environment, probe: &Probe) -> Result<Option<StateDir>> {
    let path = env.checked_state_dir()?;
    if !probe.answers(&path) {
        let what = format!("the disk of {} does not answer", path.display());
        return Err(Error::new(what).hint("repair it, or set CCSTATUSD_DIR to a local directory"));
    }
    if fs_err::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    StateDir::open(&path).map(Some)
}

fn check_watcher(context: &Context) -> Vec<Finding> {
    const NAME: &str = "state-directory";
    let dir = match state_dir(&context.env, &context.probe) {
        Ok(Some(dir)) => dir,
        Ok(None) => return vec![watcher::missing()],
        Err(err) => {
            let todo = err.hint.clone().unwrap_or_else(|| "set CCSTATUSD_DIR".to_owned());
            let what = Error { hint: None, ..err }.to_string();
            return vec![Finding::problem(NAME, what, todo)];
        }
    };
    let mut found = vec![system::disk(dir.path())];
    if let Err(err) = ipc::enter(dir.path()) {
        let what = format!("{} cannot be entered: {err}", dir.path().display());
        found.push(Finding::problem(NAME, what, "make it yours alone, or set CCSTATUSD_DIR"));
        return found;
    }
    match watcher::running(&dir) {
        Some(pid) => {
            found.extend(watcher::check(&dir, pid));
            found.extend(watcher::check_program(pid, &context.probe));
            let roots = context.roots.iter().map(|it| it.path.as_path());
            found.extend(watcher::check_roots(&dir, roots));
            let calls_ours = |root: &Root| root.command().is_some_and(shell::is_ours);
            if context.roots.iter().any(calls_ours) {
                found.extend(watcher::check_shown(&dir));
            }
        }
        None => {
            // First, since a watcher that starts removes them, and --fix keeps this order.
            found.push(system::leftovers(&dir));
            found.push(watcher::missing());
            found.extend(dir.read_snapshot().map(|it| watcher::sources(&it)).unwrap_or_default());
        }
    }
    found
}

fn check_copies(context: &Context) -> Vec<Finding> {
    let Context { env, roots, unit, programs, probe, .. } = context;
    let mut copies = Vec::new();
    let mut add = |used_by: String, path: Option<PathBuf>| {
        copies.extend(path.map(|path| Copy { used_by, path }));
    };
    for root in roots {
        let program = root.command().and_then(shell::program);
        let program = program.and_then(|it| others::expanded(&it, env, probe));
        add(format!("the status line of {}", root.path.display()), program);
    }
    add("the systemd unit".to_owned(), unit.program(env));
    for way in login::ways(env, roots, probe) {
        add(way.name, way.program);
    }
    let dir = state_dir(env, probe).ok().flatten();
    let pid = dir.as_ref().and_then(watcher::running);
    add("the watcher".to_owned(), pid.and_then(watcher::program));
    let skew = dir.zip(pid).and_then(|(dir, pid)| background::skew(&dir, pid));
    let mut found = others::versions(&copies, skew, programs, probe);
    found.extend(others::path(env, programs, probe));
    found
}

fn check_login(context: &Context) -> Vec<Finding> {
    let Context { env, unit, roots, programs, probe, .. } = context;
    login::check(env, unit, &login::ways(env, roots, probe), programs, probe)
}

fn check_system(context: &Context) -> Vec<Finding> {
    let mut found = vec![system::git(&context.programs)];
    found.extend(system::inotify());
    found
}

fn check_others(context: &Context) -> Vec<Finding> {
    let today = Now::read().day_in_utc();
    let mut found = vec![others::other_tools()];
    let own = context.env.state_dir().ok();
    found.extend(own.and_then(|it| others::other_watchers(&it)));
    found.extend(placed_list::load(&context.env).ok().map(|it| others::prices(&it, today)));
    found
}

/// Does what is safe about a finding. Returns what was done; an error says why it could not be.
fn put_right(fix: &Fix, context: &Context) -> std::result::Result<String, String> {
    match fix {
        Fix::StartWatcher => background::start(&context.env).map_err(|err| err.to_string()),
        Fix::RemoveTemporaries => sweep(context).map_err(|err| err.to_string()),
        Fix::RemoveLink(path) => {
            let removed = fs_err::remove_file(path).map_err(|err| err.to_string());
            removed.map(|()| "it was removed".to_owned())
        }
    }
}

/// Removes temporary files, while no other process can be writing them.
fn sweep(context: &Context) -> Result<String> {
    let busy = || Error::new("another process works there, and will remove them");
    let dir = state_dir(&context.env, &context.probe)?.ok_or_else(busy)?;
    let _lock = FetchLock::try_acquire(&dir)?.ok_or_else(busy)?;
    if watcher::running(&dir).is_some() {
        return Err(busy());
    }
    dir.sweep();
    Ok("they were removed".to_owned())
}

/// The findings for people: a line for each, what to do about it, and the counts.
pub fn text(found: &[Finding], depth: Depth) -> String {
    let mut text = String::new();
    for finding in found {
        let (word, color) = match finding.level {
            Level::Good => ("ok", 2),
            Level::Note => ("note", 3),
            Level::Problem => ("problem", 1),
        };
        let ink = Ink { fg: Some(Color::Index(color)), ..Ink::default() };
        ansi::write(&format!("{word:7}"), ink, None, depth, &mut text);
        text += &format!(" {}: {}\n", finding.check, sanitize::marked(&finding.what));
        let mut below = |line: String| text += &format!("        {}\n", sanitize::marked(&line));
        match (&finding.fixed, &finding.todo) {
            (Some(fixed), _) => below(format!("fixed: {fixed}")),
            (None, Some(todo)) if finding.fix.is_some() => below(format!("{todo} (or --fix)")),
            (None, todo) => todo.iter().cloned().for_each(below),
        }
    }
    let count = |level| found.iter().filter(|it| it.level == level && it.fixed.is_none()).count();
    let n_fixed = found.iter().filter(|it| it.fixed.is_some()).count();
    let fixed = if n_fixed > 0 { format!(", {n_fixed} fixed") } else { String::new() };
    let [problems, notes, good] = [Level::Problem, Level::Note, Level::Good].map(count);
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    text + &format!(
        "{}, {}, {good} ok{fixed}\n",
        counted(problems, "problem"),
        counted(notes, "note")
    )
}

/// The findings for programs: an array of objects. `docs/doctor.md` says what their fields are.
pub fn json(found: &[Finding]) -> Result<String> {
    let text = serde_json::to_string(found);
    let text = text.map_err(|err| Error::new("cannot write the findings as JSON").because(err))?;
    Ok(sanitize::json(&text) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> [Finding; 3] {
        [
            Finding::good("git", "git version 2"),
            Finding::note("leftovers", "2 files", "rm").fix(Fix::RemoveTemporaries),
            Finding::problem("watcher", "no \u{1b}[31mwatcher", "start it"),
        ]
    }

    #[test]
    fn people_see_what_to_do_and_nothing_that_steers_their_terminal() {
        let expected = "ok      git: git version 2\n\
                        note    leftovers: 2 files\n        rm (or --fix)\n\
                        problem watcher: no \u{fffd}[31mwatcher\n        start it\n\
                        1 problem, 1 note, 1 ok\n";
        assert_eq!(text(&three(), Depth::None), expected);
        assert!(text(&three(), Depth::Ansi).starts_with("\u{1b}[32mok     \u{1b}[0m git"));
    }

    #[test]
    fn what_was_fixed_counts_as_fixed() {
        let mut found = three();
        found[2].fixed = Some("it has started".to_owned());
        assert!(!found.iter().any(Finding::is_open_problem));
        let text = text(&found, Depth::None);
        assert!(
            text.contains("fixed: it has started\n0 problems, 1 note, 1 ok, 1 fixed"),
            "{text}"
        );
    }

    /// Other programs read it.
    #[test]
    fn json_has_all_of_a_finding() {
        let text = json(&three()[1..2]).unwrap();
        let expected = r#"[{"check":"leftovers","level":"note","what":"2 files","todo":"rm","fix":"remove the temporary files","fixed":null}]"#;
        let parse = |it: &str| serde_json::from_str::<serde_json::Value>(it).unwrap();
        assert_eq!(parse(&text), parse(expected));
    }

    #[track_caller]
    fn check_group(group: Group) {
        let env = Environment { all: Vec::new(), args: Vec::new() };
        let probe = Probe::start(|| ()).unwrap();
        let context = Arc::new(Context {
            unit: Unit::find(&env, &probe),
            programs: Programs::new(&env).unwrap(),
            config: Config::default(),
            roots: Vec::new(),
            cwd: "/".into(),
            env,
            probe,
        });
        let found = within(Duration::from_millis(100), "git", &context, group);
        assert!(found[0].is_open_problem() && found[0].check == "git", "{found:?}");
    }

    #[test]
    fn a_group_that_hangs_or_panics_is_told() {
        check_group(|_| {
            crate::time::pause(Duration::from_secs(1));
            Vec::new()
        });
        check_group(|_| panic!("as tested"));
    }
}
