//! Runs programs for the checks: bounded, each under a guard, as the watcher runs its own.
//!
//! The lock that allows to run programs is taken in a directory of this process's own. It exists so
//! that only one process *fetches*, and `doctor` publishes nothing. So it neither waits for a
//! watcher at work nor holds it up, and it works where the state directory does not.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::exec::{self, Invocation, RunError, RunLimits, Runner};
use crate::fetch::upgrade;
use crate::store::dir::StateDir;
use crate::store::lock::FetchLock;
use crate::time::Now;

/// The bounds of one run.
const LIMITS: RunLimits = RunLimits {
    deadline: Duration::from_secs(5),
    grace: Duration::from_millis(500),
    max_output: 64 << 10,
};

/// Variables that no status line gets from us: secrets of the session that `doctor` runs in, and
/// what belongs to a service.
const KEPT_BACK: [&str; 3] =
    ["CLAUDE_CODE_MESSAGING_TOKEN", "CLAUDE_CODE_MESSAGING_SOCKET", "NOTIFY_SOCKET"];

/// Runs programs, one after another.
#[derive(Debug)]
pub(super) struct Programs {
    runner: Runner,
    n_runs: AtomicU64,
    lock: FetchLock,
    /// All variables of this process.
    env: Vec<(OsString, OsString)>,
    /// Dropped last: the lock is in it.
    dir: TempDir,
}

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
    pub(super) output: Vec<u8>,
    pub(super) took: Duration,
}

impl Programs {
    pub(super) fn new(env: &Environment) -> Result<Programs> {
        let failed = |err| Error::new("cannot make a temporary directory").because(err);
        let dir = tempfile::tempdir().map_err(failed)?;
        let lock = FetchLock::try_acquire(&StateDir::open(&dir.path().join("run"))?)?;
        let lock = lock.ok_or_else(|| Error::new("cannot lock a directory of our own"))?;
        let own = exec::own_program().map_err(|err| Error::new("cannot find myself").because(err));
        let runner = Runner::new(own?, env.all.clone());
        Ok(Programs { runner, n_runs: AtomicU64::new(0), lock, env: env.all.clone(), dir })
    }

    /// What a program prints if it exits with 0. It sees few variables of the environment: those in
    /// [`exec::PASSED_ON`], and `more`.
    pub(super) fn run(
        &self,
        program: impl AsRef<OsStr>,
        args: &[&str],
        more: &[&str],
    ) -> std::result::Result<String, RunError> {
        let is_wanted = |name: &OsString| more.iter().any(|it| name == it);
        let what = Invocation {
            program: program.as_ref().to_owned(),
            args: args.iter().map(OsString::from).collect(),
            dir: None,
            env: self.env.iter().filter(|(name, _)| is_wanted(name)).cloned().collect(),
        };
        let output = self.run_bounded(&what)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Runs it as a source of its own, so that one that does not end keeps no other from running.
    fn run_bounded(&self, what: &Invocation) -> std::result::Result<Vec<u8>, RunError> {
        let source = self.n_runs.fetch_add(1, Ordering::Relaxed);
        self.runner.for_source(source).run(&self.lock, what, LIMITS)
    }

    /// The version of a `ccstatusd`. An error says why it does not tell.
    pub(super) fn version(&self, path: &Path) -> std::result::Result<String, String> {
        let output = self.run(path, &["--version"], &[]).map_err(|err| err.to_string())?;
        let version = upgrade::stated_version(&output).map(str::to_owned);
        version.ok_or_else(|| "it is not ccstatusd".to_owned())
    }

    /// Runs the command of a status line as Claude Code does: through a shell, with a document on
    /// its standard input, the environment of the user, and the variables that Claude Code adds.
    pub(super) fn run_status_line(
        &self,
        command: &str,
        sample: &Sample<'_>,
    ) -> std::result::Result<Printed, RunError> {
        let transcript = self.dir.path().join("sample.jsonl");
        let document = self.dir.path().join("sample.json");
        let cwd = sample.cwd;
        let text = document_for(cwd, &transcript).to_string();
        let written = fs_err::write(&transcript, "").and_then(|()| fs_err::write(&document, text));
        written.map_err(RunError::Io)?;
        let mut env: Vec<_> = self.env.clone();
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
            // A guard's program has an empty standard input, so another shell opens the document.
            args: ["-c", "exec sh -c \"$1\" <\"$2\"", "sh", command]
                .map(OsString::from)
                .into_iter()
                .chain([document.into_os_string()])
                .collect(),
            dir: Some(PathBuf::from(cwd)),
            env,
        };
        let began = Now::read().mono;
        let output = self.run_bounded(&what)?;
        Ok(Printed { output, took: Now::read().mono - began })
    }
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
