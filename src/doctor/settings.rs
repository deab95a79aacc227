//! Reads Claude Code's settings, as far as they decide about the status line. Nothing is written.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::pool::probe::Probe;
use crate::setup::shell;
use crate::store::file::read_bounded;

/// In bytes. A settings file has a few thousand.
const MAX_FILE: u64 = 4 << 20;

/// What a settings file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) line: Option<StatusLine>,
    /// `disableAllHooks`, which switches status lines off as well.
    pub(super) is_disabled: bool,
    /// `allowManagedHooksOnly`: only the administrator's status line runs.
    pub(super) is_managed_only: bool,
    /// Whether our plugin is enabled, which draws the line without a command.
    pub(super) has_plugin: bool,
    /// The program of the hook that starts the watcher when a session begins, if there is one.
    pub(super) hook: Option<PathBuf>,
}

/// The value of `statusLine`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StatusLine {
    /// `None` if it is not what Claude Code expects.
    pub(super) command: Option<String>,
    /// Seconds between two runs while nothing happens; `None` if there are none.
    pub(super) refresh_s: Option<f64>,
}

/// Reads a settings file; `None` if there is none. An error says why it cannot be read.
pub(super) fn read(path: &Path, probe: &Probe) -> Result<Option<Settings>, String> {
    match probe.metadata(path) {
        None => return Err("its file system does not answer".to_owned()),
        Some(Err(err)) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Some(_) => {}
    }
    // It may be a link, as dotfile managers make them.
    let bytes = fs_err::canonicalize(path).and_then(|it| read_bounded(&it, MAX_FILE));
    parse(&bytes.map_err(|err| err.to_string())?).map(Some)
}

/// Is as strict as Claude Code 2.1.332: it skips a file with a comment or a comma too many, with
/// all that is in it, and accepts a byte order mark, and an empty file.
fn parse(bytes: &[u8]) -> Result<Settings, String> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Ok(Settings::default());
    }
    let whole: Value = serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
    let is_set = |key: &str| whole.get(key).and_then(Value::as_bool) == Some(true);
    let line = whole.get("statusLine").filter(|it| !it.is_null()).map(|value| StatusLine {
        command: command(value).map(str::to_owned),
        refresh_s: value.get("refreshInterval").and_then(Value::as_f64),
    });
    let plugins = whole.get("enabledPlugins").and_then(Value::as_object);
    let is_our_plugin = |(name, is_on): (&String, &Value)| {
        name.starts_with("ccstatusd@") && is_on.as_bool() == Some(true)
    };
    let starts = whole.pointer("/hooks/SessionStart").and_then(Value::as_array);
    let hooks = starts.into_iter().flatten().filter_map(|it| it.get("hooks")?.as_array()).flatten();
    // What `init` writes ends with a redirection.
    let is_start =
        |it: &str| it.split('>').next().unwrap_or_default().trim_end().ends_with(" start");
    let mut starts = hooks.filter_map(command).filter(|it| is_start(it));
    Ok(Settings {
        line,
        is_disabled: is_set("disableAllHooks"),
        is_managed_only: is_set("allowManagedHooksOnly"),
        has_plugin: plugins.is_some_and(|it| it.iter().any(is_our_plugin)),
        hook: starts.find_map(shell::program),
    })
}

/// The command in an object of the type `command`.
fn command(value: &Value) -> Option<&str> {
    let is_command = value.get("type").and_then(Value::as_str) == Some("command");
    value.get("command").and_then(Value::as_str).filter(|it| is_command && !it.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_about_the_line_is_read_and_the_rest_ignored() {
        let text = r#"{"model": 1, "disableAllHooks": true, "allowManagedHooksOnly": "yes",
            "statusLine": {"type": "command", "command": "x show", "refreshInterval": 5},
            "enabledPlugins": {"ccstatusd@ccstatusd": true},
            "hooks": {"SessionStart": [{"hooks": [
                {"type": "command", "command": "/b/ccstatusd start >/dev/null"}]}]}}"#;
        let line = StatusLine { command: Some("x show".to_owned()), refresh_s: Some(5.0) };
        let expected = Settings {
            line: Some(line),
            is_disabled: true,
            is_managed_only: false,
            has_plugin: true,
            hook: Some("/b/ccstatusd".into()),
        };
        assert_eq!(parse(text.as_bytes()), Ok(expected));
        assert_eq!(parse(b"{}"), Ok(Settings::default()));
        let odd = parse(br#"{"statusLine": "ccstatusd show", "hooks": []}"#).unwrap();
        assert_eq!(odd.line, Some(StatusLine::default()));
        for empty in ["", " \n", "\u{feff}{}"] {
            assert_eq!(parse(empty.as_bytes()), Ok(Settings::default()), "{empty:?}");
        }
        for skipped in ["{", "{} // why", r#"{"a": 1,}"#] {
            assert!(parse(skipped.as_bytes()).is_err(), "{skipped}");
        }
    }
}
