//! What starts the watcher at login: a systemd unit, an agent of launchd, an autostart entry, or a
//! hook of Claude Code.
//!
//! What lies in files is read from the files, so that it is told also where no service manager
//! answers. Only what the managers alone know is asked of them.

use std::path::{Path, PathBuf};

use super::finding::{Finding, Fix};
use super::line::Root;
use super::others;
use crate::cli::Environment;
use crate::pool::probe::Probe;
use crate::programs::{ASK_TIMEOUT, BUS, Programs};
use crate::systemd::{SERVICE, Unit};

const LOGIN: &str = "login";
const UNIT: &str = "unit";
const LINGERING: &str = "lingering";

/// Whether and how the watcher starts at login.
pub(super) fn check(
    env: &Environment,
    unit: &Unit,
    ways: &[Way],
    programs: &Programs,
    probe: &Probe,
) -> Vec<Finding> {
    let exists = |path: &Path| probe.exists(path);
    let mut found = Vec::new();
    if unit.files.is_empty() {
        // In a folder that is not the user's, a package made it.
        let config = env.config_home();
        let is_own = |link: &&PathBuf| config.as_ref().is_some_and(|it| link.starts_with(it));
        for link in unit.links.iter().filter(is_own) {
            let what = format!("{} starts a unit that is gone", link.display());
            let todo = format!("remove it: rm '{}'", link.display());
            found.push(Finding::note(UNIT, what, todo).fix(Fix::RemoveLink(link.clone())));
        }
    } else {
        found.extend(check_unit(env, unit, programs, &exists));
    }
    for way in ways {
        let name = &way.name;
        found.push(match way.program.as_deref().filter(|it| !exists(it)) {
            None => Finding::good(LOGIN, format!("{name} starts the watcher")),
            Some(program) => Finding::problem(
                LOGIN,
                format!("{name} starts {}, which is not there", program.display()),
                "run `ccstatusd init`, or remove it",
            ),
        });
    }
    if ways.is_empty() && unit.files.is_empty() {
        let what = "nothing starts the watcher at login";
        found.push(Finding::note(LOGIN, what, "`ccstatusd init` installs what works here"));
    }
    found
}

/// A way by which the watcher is started, beside the systemd unit.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: String,
    /// What it starts; `None` if it does not tell.
    pub(super) program: Option<PathBuf>,
}

/// All ways that there are.
pub(super) fn ways(env: &Environment, roots: &[Root], probe: &Probe) -> Vec<Way> {
    let agent = env.home().map(|it| it.join("Library/LaunchAgents/ccstatusd.plist"));
    let entry = env.config_home().map(|it| it.join("autostart/ccstatusd.desktop"));
    let mut ways = Vec::new();
    for path in [agent, entry].into_iter().flatten().filter(|it| probe.exists(it)) {
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        let program = named_program(&text).and_then(|it| others::expanded(it, env, probe));
        ways.push(Way { name: path.display().to_string(), program });
    }
    for root in roots {
        let Some(settings) = root.known() else { continue };
        if let Some(program) = &settings.hook {
            let name = format!("the hook in {}", root.path.join("settings.json").display());
            ways.push(Way { name, program: others::expanded(program, env, probe) });
        }
        if settings.has_plugin {
            ways.push(Way { name: "the plugin".to_owned(), program: None });
        }
    }
    ways
}

/// The path of our program in a file that starts it by a shell.
fn named_program(text: &str) -> Option<&Path> {
    let code = text.lines().filter(|it| !it.trim_start().starts_with('#'));
    let mut words = code.flat_map(|it| it.split([' ', '\t', '"', '\'', '<', '>', ';', '=']));
    words.find_map(|word| {
        let is_path = ["/", "~/", "$HOME/"].iter().any(|it| word.starts_with(it));
        let path = Path::new(word);
        (is_path && path.file_name().is_some_and(|it| it == "ccstatusd")).then_some(path)
    })
}

fn check_unit(
    env: &Environment,
    unit: &Unit,
    programs: &Programs,
    exists: &impl Fn(&Path) -> bool,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let (file, hidden) = unit.files.split_first().expect("the caller looked");
    let shown = file.display();
    for hidden in hidden {
        let what = format!("{shown} hides {}", hidden.display());
        let todo = "remove the first if the other, of a package perhaps, is to be used";
        found.push(Finding::note(UNIT, what, todo));
    }
    if fs_err::canonicalize(file).is_ok_and(|it| it == Path::new("/dev/null")) {
        let todo = "`systemctl --user unmask ccstatusd`, unless you want that";
        found.push(Finding::problem(LOGIN, format!("{shown} masks the unit"), todo));
        return found;
    }
    match unit.program(env) {
        Some(program) if !exists(&program) => found.push(Finding::problem(
            UNIT,
            format!("{shown} starts {}, which is not there", program.display()),
            "run `ccstatusd init`, or correct ExecStart",
        )),
        Some(program) => {
            found.push(Finding::good(UNIT, format!("{shown} starts {}", program.display())));
        }
        None => {
            let what = format!("{shown} has no ExecStart that can be read");
            found.push(Finding::problem(UNIT, what, "run `ccstatusd init`"));
        }
    }
    found.push(match unit.links.is_empty() {
        true => Finding::problem(
            LOGIN,
            format!("{shown} is not enabled: no login starts the watcher"),
            "`systemctl --user enable --now ccstatusd`",
        ),
        false => Finding::good(LOGIN, "the systemd unit is enabled"),
    });
    if !unit.has_manager {
        let what = "no systemd user manager runs here, so the unit starts nothing";
        found.push(Finding::note(UNIT, what, "`ccstatusd start` starts the watcher"));
        return found;
    }
    found.extend(check_state(programs));
    found.extend(check_lingering(programs));
    found
}

/// What the manager knows of the unit.
fn check_state(programs: &Programs) -> Option<Finding> {
    let args = ["--user", "show", "--property=ActiveState,NeedDaemonReload", SERVICE];
    let state = programs.call("systemctl", &args, &BUS, ASK_TIMEOUT).ok()?;
    if state.contains("ActiveState=failed") {
        let todo = "`journalctl --user -u ccstatusd` says why; then `systemctl --user reset-failed \
                    ccstatusd` and `systemctl --user start ccstatusd`";
        return Some(Finding::problem(UNIT, "the unit has failed, and systemd gave it up", todo));
    }
    let is_old = state.contains("NeedDaemonReload=yes");
    is_old.then(|| {
        let what = "the file of the unit has changed, and systemd still uses the old one";
        Finding::note(UNIT, what, "`systemctl --user daemon-reload`")
    })
}

/// Whether the manager, and the watcher with it, outlives the login.
fn check_lingering(programs: &Programs) -> Option<Finding> {
    let uid = nix::unistd::geteuid().to_string();
    let args = ["show-user", "--property=Linger", &uid];
    let linger = programs.call("loginctl", &args, &[], ASK_TIMEOUT).ok()?;
    Some(match linger.trim() {
        "Linger=yes" => Finding::good(LINGERING, "your services outlive your logins"),
        _ => Finding::note(
            LINGERING,
            "the watcher ends when you log out, also if sessions in tmux go on",
            "`loginctl enable-linger`, if yours do",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_our_own_files_start_is_found_in_them() {
        let entry = include_str!("../../contrib/autostart/ccstatusd.desktop");
        assert_eq!(named_program(entry), Some(Path::new("~/.cargo/bin/ccstatusd")));
        let agent = include_str!("../../contrib/launchd/ccstatusd.plist");
        assert_eq!(named_program(agent), Some(Path::new("$HOME/.cargo/bin/ccstatusd")));
        assert_eq!(named_program("Exec=sh -c 'x/ccstatusd'\n"), None);
    }
}
