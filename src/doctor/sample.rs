//! Runs the command of a status line as Claude Code does, with a sample document.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fetch::exec::{Invocation, RunError};
use crate::programs::{ASK_TIMEOUT, Programs};
use crate::time::Now;

/// Variables that no status line gets from us: secrets of the session that `doctor` runs in, and
/// what belongs to a service.
const KEPT_BACK: [&str; 3] =
    ["CLAUDE_CODE_MESSAGING_TOKEN", "CLAUDE_CODE_MESSAGING_SOCKET", "NOTIFY_SOCKET"];

/// What a status line is run for.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    /// The working directory.
    pub(super) cwd: &'a Path,
    /// The session that the environment names: one that the watcher knows, if there is one, since
    /// some commands read its line. The document names none of the user's, whose facts the sample
    /// would spoil.
    pub(super) session: Option<&'a str>,
}

/// What a status line printed.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) output: String,
    pub(super) took: Duration,
}

/// Runs the command of a status line as Claude Code does: through a shell, with a document on
/// its standard input, the environment of the user, and the variables that Claude Code adds.
pub(super) fn run(
    programs: &Programs,
    command: &str,
    sample: &Sample<'_>,
) -> Result<Printed, RunError> {
    let transcript = programs.dir().join("sample.jsonl");
    let document = programs.dir().join("sample.json");
    let cwd = sample.cwd;
    let text = document_for(cwd, &transcript).to_string();
    let written = fs_err::write(&transcript, "").and_then(|()| fs_err::write(&document, text));
    written.map_err(RunError::Io)?;
    let mut env = programs.env().to_vec();
    env.retain(|(name, _)| KEPT_BACK.iter().all(|it| name != it));
    let mut set = |name: &str, value: OsString| {
        env.retain(|(known, _)| known != name);
        env.push((name.into(), value));
    };
    set("CLAUDECODE", "1".into());
    set("CLAUDE_CODE_SESSION_ID", sample.session.unwrap_or(SESSION).into());
    set("CLAUDE_PROJECT_DIR", cwd.into());
    set("COLUMNS", "120".into());
    set("LINES", "40".into());
    let what = Invocation {
        program: "sh".into(),
        // The document may be longer than what a guard passes on, so another shell opens it.
        args: ["-c", "exec sh -c \"$1\" <\"$2\"", "sh", command]
            .map(OsString::from)
            .into_iter()
            .chain([document.into_os_string()])
            .collect(),
        dir: Some(PathBuf::from(cwd)),
        env,
        input: Vec::new(),
    };
    let began = Now::read().mono;
    let output = programs.run(&what, ASK_TIMEOUT)?;
    Ok(Printed { output, took: Now::read().mono - began })
}

/// The session in the sample document.
const SESSION: &str = "00000000-0000-4000-8000-000000000000";

/// A document as Claude Code 2.1.332 passes it to a status line after a reply. Its transcript is
/// in no config root, so a watcher that is told of this session takes no notice of it.
fn document_for(cwd: &Path, transcript: &Path) -> serde_json::Value {
    let cwd = cwd.to_string_lossy();
    serde_json::json!({
        "session_id": SESSION,
        "transcript_path": transcript.to_string_lossy(),
        "cwd": cwd,
        "effort": {"level": "medium"},
        "model": {"id": "claude-opus-5-5", "display_name": "Opus 5.5"},
        "workspace": {"current_dir": cwd, "project_dir": cwd, "added_dirs": []},
        "version": "2.1.332",
        "output_style": {"name": "default"},
        "cost": {
            "total_cost_usd": 0.12, "total_duration_ms": 50_030, "total_api_duration_ms": 661,
            "total_lines_added": 0, "total_lines_removed": 0
        },
        "context_window": {
            "total_input_tokens": 27_512, "total_output_tokens": 42,
            "context_window_size": 1_000_000,
            "current_usage": {
                "input_tokens": 12, "output_tokens": 42, "cache_creation_input_tokens": 1500,
                "cache_read_input_tokens": 26_000
            },
            "used_percentage": 3, "remaining_percentage": 97
        },
        "exceeds_200k_tokens": false,
        "fast_mode": false,
        "thinking": {"enabled": true}
    })
}
