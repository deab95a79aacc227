//! What starts the watcher at login: which of them works here, its file, and the calls that switch
//! it on and off.
//!
//! The files are those in `contrib/`, with the path of the program, and the variables of the
//! environment that a login does not have.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use super::shell;
use crate::cli::{Environment, Login};
use crate::error::{Error, Result};
use crate::programs::{ASK_TIMEOUT, BUS, Programs};
use crate::systemd::SERVICE;

const UNIT: &str = include_str!("../../contrib/systemd/ccstatusd.service");
const AGENT: &str = include_str!("../../contrib/launchd/ccstatusd.plist");
const ENTRY: &str = include_str!("../../contrib/autostart/ccstatusd.desktop");

/// The variables that say where files are. What starts programs at login reads no start-up file of
/// a shell, where users set them.
const PLACES: [&str; 4] =
    ["CLAUDE_CONFIG_DIR", "CCSTATUSD_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"];

/// How long a call may take that starts the watcher, which waits for other processes for 4 s, or
/// ends it.
const ACT_TIMEOUT: Duration = Duration::from_secs(30);

/// The text at the end of a login entry by which the file is known as ours.
const MARK: &str = "Written by `ccstatusd init`; `ccstatusd uninstall` removes it.";

/// What works here.
pub(super) fn detect(env: &Environment) -> Login {
    if cfg!(target_os = "macos") {
        return Login::Launchd;
    }
    // It is empty, or fails, where no user manager answers.
    let version = systemctl(env, &["show", "--property=Version"], ASK_TIMEOUT);
    if version.is_ok_and(|it| it.trim_start_matches("Version=").trim() != "") {
        Login::Systemd
    } else if ["XDG_CURRENT_DESKTOP", "DESKTOP_SESSION"].iter().any(|it| env.get(it).is_some()) {
        Login::Autostart
    } else {
        Login::Hook
    }
}

/// Where the file of a login entry is; `None` for one without a file.
pub(super) fn path(env: &Environment, login: Login) -> Result<Option<PathBuf>> {
    let Some(home) = env.home() else {
        return Err(Error::new("cannot find the home directory").hint("set HOME"));
    };
    let config = env.config_home().unwrap_or_else(|| home.join(".config"));
    Ok(match login {
        Login::Systemd => Some(config.join("systemd/user").join(SERVICE)),
        Login::Launchd => Some(home.join("Library/LaunchAgents/ccstatusd.plist")),
        Login::Autostart => Some(config.join("autostart/ccstatusd.desktop")),
        Login::Hook | Login::None => None,
    })
}

/// Whether the text is that of a login entry of ours: of `init`, or copied by hand from `contrib/`.
pub(super) fn is_ours(text: &str) -> bool {
    text.contains(MARK) || (text.contains("ccstatusd") && text.contains("contrib/"))
}

/// The variables of [`PLACES`] that are set.
pub(super) fn places(env: &Environment) -> Vec<(&'static str, String)> {
    let set = PLACES.iter().filter_map(|name| Some((*name, env.text(name)?.to_owned())));
    set.collect()
}

/// The text of the file.
pub(super) fn text(env: &Environment, login: Login, program: &str) -> Result<String> {
    let places = places(env);
    Ok(match login {
        Login::Systemd => systemd_unit(program, &places),
        Login::Launchd => launchd_agent(program, &places),
        Login::Autostart => autostart_entry(program, &places, &env.state_dir()?),
        Login::Hook | Login::None => String::new(),
    })
}

fn systemd_unit(program: &str, places: &[(&str, String)]) -> String {
    let quoted = |text: &str| {
        let escaped = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
        if escaped.contains([' ', '\'', '"', ';', '\\']) || text != escaped {
            format!("\"{escaped}\"")
        } else {
            escaped
        }
    };
    let body = &UNIT[UNIT.find("[Unit]").unwrap_or(0)..];
    // systemd starts no program with quotes in its path, but passes on an argument that has them.
    let start = match program.contains(['"', '\'', '\\']) {
        true => format!("ExecStart=/usr/bin/env {} --wait", quoted(&program.replace('$', "$$"))),
        false => format!("ExecStart={} --wait", quoted(program)),
    };
    let variables = places
        .iter()
        .map(|(name, value)| format!("Environment={}\n", quoted(&format!("{name}={value}"))));
    let start = variables.collect::<String>() + &start;
    let body = body.replacen("ExecStart=%h/.cargo/bin/ccstatusd --wait", &start, 1);
    // Only packages bring the manual page.
    let page = concat!("Documentation=", env!("CARGO_PKG_REPOSITORY"), " ");
    let body = body.replacen("Documentation=", page, 1);
    format!("# {MARK}\n# `systemctl --user edit ccstatusd` adds to it.\n\n{body}")
}

fn launchd_agent(program: &str, places: &[(&str, String)]) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let program = escaped(&shell::quoted(program));
    let variables = places.iter().map(|(name, value)| {
        format!("\t\t<key>{name}</key>\n\t\t<string>{}</string>\n", escaped(value))
    });
    let first = "\t\t<key>PATH</key>\n";
    let variables = variables.collect::<String>() + first;
    let (head, rest) = AGENT.split_once("<!--").unwrap_or(("", AGENT));
    let (_, body) = rest.split_once("-->").unwrap_or(("", rest));
    let body = body.replacen("\"$HOME/.cargo/bin/ccstatusd\"", &program, 1);
    format!("{head}<!-- {MARK} -->{}", body.replacen(first, &variables, 1))
}

fn autostart_entry(program: &str, places: &[(&str, String)], state: &Path) -> String {
    let log = state.join("ccstatusd.log");
    let mut command = "exec".to_owned();
    if !places.is_empty() {
        command += " env";
    }
    for (name, value) in places {
        command += &format!(" {name}={}", shell::quoted(value));
    }
    let log = shell::quoted(&log.to_string_lossy());
    command += &format!(" {} --wait --log-file {log}", shell::quoted(program));
    // Exec has quotes of its own around what the shell gets, and is a string with escapes.
    let mut exec = String::new();
    for char in command.chars() {
        match char {
            '"' | '`' | '$' => exec.extend(['\\', '\\', char]),
            '\\' => exec += r"\\\\",
            '%' => exec += "%%",
            char => exec.push(char),
        }
    }
    let body = &ENTRY[ENTRY.find("[Desktop Entry]").unwrap_or(0)..];
    let lines = body.lines().map(|line| match line.starts_with("Exec=") {
        true => format!("Exec=sh -c \"{exec}\"\n"),
        false => format!("{line}\n"),
    });
    format!("# {MARK}\n{}", lines.collect::<String>())
}

/// What the user manager says of the unit.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// The file that it is loaded from, if one is.
    pub(super) file: Option<PathBuf>,
    pub(super) is_enabled: bool,
    pub(super) is_active: bool,
}

pub(super) fn service(env: &Environment) -> Result<Service> {
    let properties = "--property=FragmentPath,UnitFileState,ActiveState";
    let said = systemctl(env, &["show", SERVICE, properties], ASK_TIMEOUT);
    let said = said.map_err(|err| Error::new("cannot ask the user manager").because(err))?;
    let value = |name: &str| {
        let line = said.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        line.filter(|it| !it.is_empty())
    };
    Ok(Service {
        file: value("FragmentPath").map(PathBuf::from),
        is_enabled: value("UnitFileState") == Some("enabled"),
        is_active: matches!(value("ActiveState"), Some("active" | "activating" | "reloading")),
    })
}

/// Starts the watcher, and lets it start at each login. `is_new`: its file has changed.
pub(super) fn switch_on(env: &Environment, login: Login, is_new: bool) -> Result<()> {
    let failed = |err| Error::new("cannot start the watcher as a service").because(err);
    match login {
        Login::Systemd => {
            let act = |args: &[&str]| {
                systemctl(env, args, ACT_TIMEOUT)
                    .map_err(|err| failed(err).hint(format!("systemctl --user status {SERVICE}")))
            };
            if is_new {
                act(&["daemon-reload"])?;
            }
            act(&["enable", SERVICE])?;
            act(&[if is_new { "restart" } else { "start" }, SERVICE])?;
        }
        Login::Launchd => {
            let Some(path) = path(env, login)? else { return Ok(()) };
            // It fails where none is loaded.
            launchctl(env, &["bootout", &agent()]).ok();
            let path = path.to_string_lossy();
            launchctl(env, &["bootstrap", &domain(), &path]).map_err(failed)?;
        }
        Login::Autostart | Login::Hook | Login::None => {}
    }
    Ok(())
}

/// Ends the watcher as a service, and lets no login start it.
pub(super) fn switch_off(env: &Environment, login: Login) -> Result<()> {
    let failed = |err| Error::new("cannot stop the service").because(err);
    match login {
        // Not loaded is as good as disabled.
        Login::Systemd if service(env).is_ok_and(|it| it.file.is_some()) => {
            systemctl(env, &["disable", "--now", SERVICE], ACT_TIMEOUT).map_err(failed)?;
        }
        Login::Launchd => drop(launchctl(env, &["bootout", &agent()])),
        _ => {}
    }
    Ok(())
}

/// Lets the user manager forget a file that was removed.
pub(super) fn reload(env: &Environment, login: Login) {
    if login == Login::Systemd {
        systemctl(env, &["daemon-reload"], ACT_TIMEOUT).ok();
        // What it remembers of failures.
        systemctl(env, &["reset-failed", SERVICE], ASK_TIMEOUT).ok();
    }
}

/// Whether services of the user end with the last login; `None` where that is not known.
pub(super) fn ends_at_logout(env: &Environment) -> Option<bool> {
    let user = geteuid().to_string();
    let said =
        run(env, "loginctl", &["show-user", &user, "--property=Linger"], ASK_TIMEOUT).ok()?;
    Some(said.trim() == "Linger=no")
}

/// Lets services of the user outlive logins, or not.
pub(super) fn linger(env: &Environment, is_wanted: bool) -> Result<()> {
    let what = if is_wanted { "enable-linger" } else { "disable-linger" };
    let said = run(env, "loginctl", &[what], ACT_TIMEOUT);
    said.map(drop).map_err(|err| Error::new(format!("cannot run loginctl {what}")).because(err))
}

/// Whether the user is here by a login that ends before what runs in it.
pub(super) fn is_outlived(env: &Environment) -> bool {
    ["TMUX", "STY", "ZELLIJ", "SSH_CONNECTION"].iter().any(|it| env.get(it).is_some())
}

fn domain() -> String {
    format!("gui/{}", geteuid())
}

fn agent() -> String {
    format!("{}/ccstatusd", domain())
}

fn launchctl(env: &Environment, args: &[&str]) -> std::result::Result<String, String> {
    run(env, "launchctl", args, ACT_TIMEOUT)
}

fn systemctl(
    env: &Environment,
    args: &[&str],
    deadline: Duration,
) -> std::result::Result<String, String> {
    let always = ["--user", "--no-pager", "--no-ask-password", "--quiet"];
    run(env, "systemctl", &[&always[..], args].concat(), deadline)
}

fn run(
    env: &Environment,
    program: &str,
    args: &[&str],
    deadline: Duration,
) -> std::result::Result<String, String> {
    let programs = Programs::new(env).map_err(|err| err.to_string())?;
    programs.call(program, args, &BUS, deadline).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/opt/my tools/100%/it's/ccstatusd";

    fn places() -> Vec<(&'static str, String)> {
        vec![("CLAUDE_CONFIG_DIR", "~/.claude,/a b/\"c\"".to_owned())]
    }

    #[test]
    fn files_name_the_program_and_the_places() {
        let unit = systemd_unit(PROGRAM, &places());
        let start = "ExecStart=/usr/bin/env \"/opt/my tools/100%%/it's/ccstatusd\" --wait\n";
        assert!(unit.contains(start), "{unit}");
        let unit = systemd_unit("/opt/my tools/$x/ccstatusd", &places());
        assert!(unit.contains("ExecStart=\"/opt/my tools/$x/ccstatusd\" --wait\n"), "{unit}");
        let variable = r#"Environment="CLAUDE_CONFIG_DIR=~/.claude,/a b/\"c\"""#;
        assert!(unit.contains(variable), "{unit}");
        assert!(unit.contains("\nDocumentation=https://") && unit.contains(" man:ccstatusd(1)\n"));
        let agent = launchd_agent(PROGRAM, &places());
        assert!(agent.contains(r"exec '/opt/my tools/100%/it'\''s/ccstatusd' --wait"), "{agent}");
        assert!(agent.contains("<string>~/.claude,/a b/\"c\"</string>"), "{agent}");
        let entry = autostart_entry(PROGRAM, &places(), Path::new("/s"));
        let exec = entry.lines().find(|it| it.starts_with("Exec=")).unwrap();
        let expected = r#"Exec=sh -c "exec env CLAUDE_CONFIG_DIR='~/.claude,/a b/\\"c\\"' '/opt/my tools/100%%/it'\\\\''s/ccstatusd' --wait --log-file /s/ccstatusd.log""#;
        assert_eq!(exec, expected);
        for text in [unit, agent, entry] {
            assert!(is_ours(&text) && !text.contains(".cargo"), "{text}");
        }
    }

    #[test]
    fn files_that_were_copied_by_hand_are_ours_and_others_are_not() {
        assert!(is_ours(UNIT) && is_ours(AGENT) && is_ours(ENTRY));
        assert!(!is_ours("[Service]\nExecStart=/opt/ccstatusd/run\n"));
    }
}
