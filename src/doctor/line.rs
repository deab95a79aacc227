//! Whether Claude Code shows our line: its settings, what overrides them, and the configured
//! command itself, which is run as Claude Code does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::Finding;
use super::sample::{self, Sample};
use super::settings::{self, Settings};
use crate::config::Config;
use crate::fetch::exec::RunError;
use crate::fetch::tool;
use crate::pool::probe::Probe;
use crate::programs::Programs;
use crate::setup::shell;

const SETTINGS: &str = "settings";
const STATUS_LINE: &str = "status-line";
const PROJECT: &str = "project-settings";
const MANAGED: &str = "managed-settings";

/// A run that takes longer is told. Claude Code cancels it when the next one is due.
const SLOW: Duration = Duration::from_secs(2);

const INIT: &str = "`ccstatusd init` sets it";

/// A config root, with what its settings say.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) settings: Result<Option<Settings>, String>,
}

impl Root {
    pub(super) fn read(path: PathBuf, probe: &Probe) -> Root {
        let settings = settings::read(&path.join("settings.json"), probe);
        Root { path, settings }
    }

    /// The settings, if there are any that can be read.
    pub(super) fn known(&self) -> Option<&Settings> {
        self.settings.as_ref().ok()?.as_ref()
    }

    /// The command of the status line.
    pub(super) fn command(&self) -> Option<&str> {
        self.known()?.line.as_ref()?.command.as_deref()
    }
}

/// The settings of a root, and the command in them.
pub(super) fn check_root(
    root: &Root,
    config: &Config,
    sample: &Sample<'_>,
    programs: &Programs,
) -> Vec<Finding> {
    let path = root.path.join("settings.json");
    let path = path.display();
    let settings = match &root.settings {
        Err(err) => {
            let what = format!("{path} cannot be read: {err}");
            let todo = "correct it: Claude Code skips the whole file, also for a comment in it";
            return vec![Finding::problem(SETTINGS, what, todo)];
        }
        Ok(settings) => settings.clone().unwrap_or_default(),
    };
    let switched = match settings.is_disabled {
        true => Finding::problem(
            SETTINGS,
            format!("disableAllHooks in {path} switches the status line off, too"),
            "remove it there; single hooks can be removed instead",
        ),
        false => Finding::good(SETTINGS, format!("{path} allows a status line")),
    };
    let mut found = vec![switched];
    let Some(line) = &settings.line else {
        found.push(match settings.has_plugin {
            true => {
                Finding::good(STATUS_LINE, format!("{path} enables the plugin, which draws it"))
            }
            false => Finding::problem(STATUS_LINE, format!("{path} has no statusLine"), INIT),
        });
        return found;
    };
    let Some(command) = &line.command else {
        let what = format!("statusLine in {path} is not of the type command, or has no command");
        found.push(Finding::problem(STATUS_LINE, what, INIT));
        return found;
    };
    let calls_ours = shell::is_ours(command);
    // It may read our files, or call our program from a script.
    let is_ours = calls_ours || command.contains("ccstatusd");
    if !is_ours {
        let what = format!("{path} shows another line: `{command}`");
        let todo = "to show that of ccstatusd, run `ccstatusd init --replace`";
        found.push(Finding::note(STATUS_LINE, what, todo));
    }
    let ours = calls_ours.then_some(config);
    found.push(check_command(command, &path.to_string(), ours, sample, programs));
    if is_ours && line.refresh_s.is_none() {
        let what = format!(
            "statusLine in {path} has no refreshInterval: while a session is idle, \
            its line goes stale, and a watcher that ended does not show"
        );
        let todo = "`ccstatusd init` sets it, or add \"refreshInterval\": 5 there";
        found.push(Finding::problem("refresh", what, todo));
    } else if is_ours {
        found.push(Finding::good("refresh", format!("{path} refreshes the line of idle sessions")));
    }
    found
}

/// Runs the command of a status line. `ours` is our configuration if the command calls our program.
fn check_command(
    command: &str,
    path: &str,
    ours: Option<&Config>,
    sample: &Sample<'_>,
    programs: &Programs,
) -> Finding {
    let problem = |what: String, todo: &str| {
        Finding::problem(STATUS_LINE, format!("`{command}` in {path} {what}"), todo)
    };
    let printed = match sample::run(programs, command, sample) {
        Ok(printed) => printed,
        Err(RunError::Exited { code: 126 | 127, stderr }) => {
            return problem(
                format!("cannot be started: {stderr}"),
                "if the program has moved, run `ccstatusd init`; else correct the path",
            );
        }
        Err(err) => {
            let todo = "Claude Code shows no line then: run it in a shell to see why";
            return problem(err.to_string(), todo);
        }
    };
    let line = tool::first_line(printed.output.as_bytes());
    if line.is_empty() {
        return problem("prints nothing".to_owned(), "run it in a shell to see why");
    }
    let n_rows = printed.output.trim_end().lines().count();
    if let Some(config) = ours {
        let format = config.display.format.as_deref().unwrap_or_default();
        let n_expected = format.trim().lines().count().max(1);
        if n_rows > n_expected {
            let what = format!("prints {n_rows} rows, and the format has {n_expected}: {line}");
            return problem(what, "take out what else prints there");
        }
    }
    if printed.took > SLOW {
        let what = format!("`{command}` in {path} took {:?}", printed.took);
        let todo = "Claude Code ends a run when the next is due: a slow line may never show";
        return Finding::note(STATUS_LINE, what, todo);
    }
    Finding::good(STATUS_LINE, format!("`{command}` prints: {line}"))
}

/// Settings of the directory that `doctor` is called in, which come before the user's.
pub(super) fn check_project(cwd: &Path, roots: &[Root], probe: &Probe) -> Vec<Finding> {
    let folder = cwd.join(".claude");
    // In the home directory, the folder is a root.
    if roots.iter().any(|root| root.path == folder) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for path in ["settings.local.json", "settings.json"].map(|it| folder.join(it)) {
        let shown = path.display();
        match settings::read(&path, probe) {
            Err(err) => found.push(Finding::problem(
                PROJECT,
                format!("{shown} cannot be read: {err}"),
                "correct it: Claude Code skips the whole file",
            )),
            Ok(Some(settings)) if settings.is_disabled => found.push(Finding::problem(
                PROJECT,
                format!("disableAllHooks in {shown} switches the status line off in this project"),
                "remove it there",
            )),
            Ok(Some(Settings { line: Some(line), .. })) => {
                let command = line.command.unwrap_or_default();
                let is_ours = shell::is_ours(&command);
                let what = format!("in this project {shown} decides about the line: `{command}`");
                let todo = "remove statusLine there if the one of your own settings is to show";
                found.extend((!is_ours).then(|| Finding::note(PROJECT, what, todo)));
            }
            Ok(_) => {}
        }
    }
    if found.is_empty() {
        let what = format!("nothing in {} overrides your settings", folder.display());
        found.push(Finding::good(PROJECT, what));
    }
    found
}

/// Where an administrator's settings are on this system.
pub(super) fn managed_folder() -> &'static Path {
    Path::new(match cfg!(target_os = "macos") {
        true => "/Library/Application Support/ClaudeCode",
        false => "/etc/claude-code",
    })
}

/// An administrator's settings, which come before all others.
pub(super) fn check_managed(folder: &Path, probe: &Probe) -> Vec<Finding> {
    let mut paths = vec![folder.join("managed-settings.json")];
    let more = folder.join("managed-settings.d");
    if probe.answers(&more) {
        let entries = fs_err::read_dir(more).into_iter().flatten().flatten();
        let mut more: Vec<_> = entries.map(|it| it.path()).collect();
        more.sort();
        paths.extend(more.into_iter().filter(|it| it.extension() == Some("json".as_ref())));
    }
    let mut found = Vec::new();
    for path in paths {
        let shown = path.display();
        let Ok(Some(settings)) = settings::read(&path, probe) else { continue };
        let line = settings.line.as_ref().map(|it| it.command.clone().unwrap_or_default());
        let is_ours = line.as_deref().is_some_and(shell::is_ours);
        let gate = match settings {
            Settings { is_disabled: true, .. } => "disableAllHooks switches every status line off",
            Settings { is_managed_only: true, line: None, .. } => {
                "allowManagedHooksOnly forbids status lines of users"
            }
            Settings { line: Some(_), .. } if !is_ours => "its statusLine comes before yours",
            _ => continue,
        };
        found.push(Finding::problem(MANAGED, format!("{shown}: {gate}"), "ask your administrator"));
    }
    if found.is_empty() {
        found.push(Finding::good(MANAGED, "no administrator's settings forbid the line"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[track_caller]
    fn check_gate(text: &str, expected: Option<&str>) {
        let probe = Probe::start(|| ()).unwrap();
        for name in ["managed-settings.json", "managed-settings.d/10-x.json"] {
            let dir = tempfile::tempdir().unwrap();
            fs_err::create_dir(dir.path().join("managed-settings.d")).unwrap();
            fs_err::write(dir.path().join(name), text).unwrap();
            let found = check_managed(dir.path(), &probe);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].level == Level::Problem, expected.is_some(), "{found:?}");
            let what = &found[0].what;
            assert!(expected.is_none_or(|it| what.contains(name) && what.contains(it)), "{what}");
        }
    }

    #[test]
    fn gates_of_an_administrator_are_told() {
        check_gate(r#"{"disableAllHooks": true}"#, Some("disableAllHooks"));
        check_gate(r#"{"allowManagedHooksOnly": true}"#, Some("allowManagedHooksOnly"));
        let line =
            |command| format!(r#"{{"statusLine":{{"type":"command","command":"{command}"}}}}"#);
        check_gate(&line("theirs"), Some("comes before yours"));
        check_gate(&line("/usr/bin/ccstatusd show"), None);
        check_gate(r#"{"model": "opus"}"#, None);
    }

    #[test]
    fn without_an_administrator_there_is_no_gate() {
        let probe = Probe::start(|| ()).unwrap();
        let found = check_managed(Path::new("/no/such/folder"), &probe);
        assert_eq!(found[0].level, Level::Good);
    }
}
