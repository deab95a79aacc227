//! Calls of configured programs: the tool that computes the active block, and commands whose output
//! the line shows.
//!
//! Each call runs an argument vector without a shell, with a deadline and a limit on its output. It
//! gets only the environment variables in [`exec::PASSED_ON`].
//!
//! See docs/decisions/019-configured-programs.md.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::ccusage;
use super::exec::{self, Invocation, RunLimits, Runner};
use crate::sanitize;
use crate::store::lock::FetchLock;
use crate::store::schema::{Block, CommandOutput};

/// The bounds of one call. On a gigabyte of transcripts, `ccusage` takes a second or two, and was
/// seen to take 24 seconds. Each command has its own deadline.
pub const TOOL_LIMITS: RunLimits = RunLimits {
    deadline: Duration::from_secs(35),
    grace: Duration::from_millis(500),
    max_output: 1 << 20,
};

/// How many characters of a command's line are kept. Terminals are hardly ever wider.
const MAX_LINE: usize = 256;

/// How many fields of a command's output are kept.
const MAX_FIELDS: usize = 16;
/// How many words of its first line are.
const MAX_WORDS: usize = 9;
/// Characters of the name of a field.
pub const MAX_FIELD_NAME: usize = 32;

/// A program that the user configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    pub what: Invocation,
    pub limits: RunLimits,
    /// The shortest time between two starts.
    pub every: Duration,
}

/// What lets a command run, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    pub scope: Scope,
    /// Whether it runs again at an interval.
    pub is_timed: bool,
    /// It runs when one of these files changes …
    pub on_files: Vec<PathBuf>,
    /// … when what git says of a working tree changes …
    pub on_repo: bool,
    /// … or when a session begins to wait for the user.
    pub on_waiting: bool,
}

/// For what a command runs by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Once for all.
    #[default]
    Global,
    /// For each config root with a live session.
    Root,
    /// For each working tree that a live session works in, in its top directory.
    Repository,
    /// For each live session, in its directory.
    Session,
}

/// Why a call of a configured program failed.
#[derive(Debug)]
pub enum ToolError {
    /// Its output is not in the expected format.
    Unreadable,
    /// It could not be run, or did not end successfully.
    Failed(exec::RunError),
}

impl ToolError {
    /// The message for a failed call of the block tool, with what the user can do about it.
    pub fn reason_of_block(&self) -> String {
        let hint = match self {
            ToolError::Failed(exec::RunError::NotFound { .. }) => {
                "; install it, put it in the watcher's PATH, or set source = \"transcripts\" \
                 in [usage]"
            }
            ToolError::Unreadable => "; it should be that of `ccusage blocks --json --active`",
            ToolError::Failed(_) => "",
        };
        format!("{self}{hint}")
    }
}

/// Calls the block tool for the account of a config root. `Ok(None)` means that no block is active.
/// `now_ms` is the time before the call, and becomes the time of the answer, since that may lack
/// what changes during the call.
pub fn block(
    runner: &Runner,
    lock: &FetchLock,
    tool: &Tool,
    root: &Path,
    now_ms: i64,
) -> Result<Option<Block>, ToolError> {
    let mut what = tool.what.clone();
    what.env.push((ccusage::ROOT_VAR.into(), root.into()));
    let output = runner.run(lock, &what, tool.limits).map_err(ToolError::Failed)?;
    let block = ccusage::active_block(&output).ok_or(ToolError::Unreadable)?;
    Ok(block.map(|it| Block { as_of_ms: now_ms, ..it }))
}

/// Runs a command, and keeps the first line that it prints, and its fields.
pub fn command(
    runner: &Runner,
    lock: &FetchLock,
    tool: &Tool,
    now_ms: i64,
) -> Result<CommandOutput, ToolError> {
    let output = runner.run(lock, &tool.what, tool.limits).map_err(ToolError::Failed)?;
    let line = first_line(&output);
    let fields = fields(&output, &line);
    Ok(CommandOutput { as_of_ms: now_ms, output: line, error: None, fields })
}

/// The first line that is not empty after escape sequences and control characters were removed.
pub fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().map(clean).find(|it| !it.is_empty()).unwrap_or_default()
}

/// Text on one line, without escape sequences and control characters, cut to [`MAX_LINE`].
fn clean(text: &str) -> String {
    let plain = without_escapes(text);
    let shown: String = sanitize::spaced(&plain).collect();
    shown.trim().chars().take(MAX_LINE).collect()
}

/// What a command printed, by name. See [`CommandOutput::fields`].
fn fields(output: &[u8], line: &str) -> BTreeMap<String, String> {
    let object = serde_json::from_slice::<serde_json::Map<String, Value>>(output).ok();
    let mut fields = BTreeMap::new();
    let mut add = |name: &str, value: String| {
        if is_field_name(name) && fields.len() < MAX_FIELDS && !value.is_empty() {
            fields.entry(name.to_owned()).or_insert(value);
        }
    };
    if let Some(object) = object {
        for (name, value) in &object {
            match value {
                Value::String(text) => add(name, clean(text)),
                Value::Number(_) | Value::Bool(_) => add(name, value.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        return fields;
    }
    let text = String::from_utf8_lossy(output);
    for (name, value) in text.lines().filter_map(|it| it.split_once('=')) {
        add(name.trim(), clean(value));
    }
    for (nth, word) in line.split_whitespace().take(MAX_WORDS).enumerate() {
        add(&(nth + 1).to_string(), word.to_owned());
    }
    fields
}

/// Whether a field may have this name: 1 to 32 letters, digits, `-` and `_`.
pub fn is_field_name(name: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
    (1..=MAX_FIELD_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Removes escape sequences.
fn without_escapes(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line.chars();
    while let Some(char) = rest.next() {
        match char {
            '\u{1b}' => match rest.next() {
                // A control sequence, up to the letter that ends it.
                Some('[') => _ = rest.find(|it| ('@'..='~').contains(it)),
                // A title or a link, up to the bell or `ESC \` that ends it.
                Some(']') => {
                    let end = rest.find(|it| matches!(it, '\u{7}' | '\u{1b}'));
                    end.filter(|it| *it == '\u{1b}').and_then(|_| rest.next());
                }
                _ => {}
            },
            char => plain.push(char),
        }
    }
    plain
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToolError::Unreadable => f.write_str("its output cannot be understood"),
            ToolError::Failed(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ToolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ToolError::Failed(source) => Some(source),
            ToolError::Unreadable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(output: &str, expected: &str) {
        assert_eq!(first_line(output.as_bytes()), expected, "{output:?}");
    }

    #[test]
    fn the_first_line_with_visible_text_is_taken() {
        check_line("", "");
        check_line("\n \r\n\x1b[0m\n  0.42 \nmore\n", "0.42");
        check_line("no newline", "no newline");
    }

    #[test]
    fn escape_sequences_and_control_characters_are_left_out() {
        check_line("\x1b[1;32mup\x1b[0m 3\td\x07", "up 3 d");
        check_line("\x1b]8;;http://x/\x1b\\link\x1b]8;;\x07 \x1b(Bx\x1b[", "link Bx");
        check_line("a\u{9b}31mb", "a 31mb");
        check_line("\x1b]never ends", "");
    }

    #[track_caller]
    fn check_fields(output: &str, expected: &[(&str, &str)]) {
        let fields = fields(output.as_bytes(), &first_line(output.as_bytes()));
        let found: Vec<_> = fields.iter().map(|(name, it)| (name.as_str(), it.as_str())).collect();
        assert_eq!(found, expected, "{output:?}");
    }

    #[test]
    fn fields_are_members_of_an_object_or_lines_with_a_name_or_words() {
        check_fields("", &[]);
        check_fields("12 C\tsunny\nmore", &[("1", "12"), ("2", "C"), ("3", "sunny")]);
        check_fields("a=1\nb c=2\n d = x=y \n", &[("1", "a=1"), ("a", "1"), ("d", "x=y")]);
        let json = "{\"n\": 3, \"ok\": true, \"t\": \"a\\u001b[1mb\", \"no\": null, \"l\": [1], \"a b\": 1}\n";
        check_fields(json, &[("n", "3"), ("ok", "true"), ("t", "ab")]);
        check_fields("{broken", &[("1", "{broken")]);
        let many: String = (0..99).map(|it| format!("f{it}=1\n")).collect();
        assert_eq!(fields(many.as_bytes(), "").len(), MAX_FIELDS);
    }

    #[test]
    fn a_line_is_short_whatever_was_printed() {
        assert_eq!(first_line("é".repeat(100_000).as_bytes()).chars().count(), MAX_LINE);
        assert_eq!(first_line(b"\xff\xfe x"), "\u{fffd}\u{fffd} x");
    }
}
