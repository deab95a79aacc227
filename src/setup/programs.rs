//! Runs a program of the system's, such as `systemctl`, and waits for it for so long and no longer.
//!
//! Not under a guard: a guard's lock is for sources, and only who holds the fetch lock may start
//! one, which a watcher may hold at this moment.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::sanitize;
use crate::time::{Now, pause};

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes of the output that are read.
const MAX_OUTPUT: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    stderr: String,
}

impl Output {
    /// The output of a program that succeeded; otherwise what it says is wrong.
    pub(super) fn checked(self) -> Result<String, String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let said: Vec<_> = self.stderr.lines().chain(self.stdout.lines()).take(3).collect();
        let said = sanitize::message(&said.join(" / "));
        Err(if said.is_empty() { self.status.to_string() } else { said })
    }
}

/// Runs a program with exactly this environment and no input, in `dir`. At the deadline it is
/// killed, with all processes of its group.
#[expect(clippy::disallowed_methods, reason = "bounded here: see the module")]
pub(super) fn run<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
    env: &[(OsString, OsString)],
    dir: &Path,
    deadline: Duration,
) -> Result<Output, String> {
    let failed = |err: io::Error| match err.kind() {
        io::ErrorKind::NotFound => format!("there is no program {program}"),
        _ => format!("cannot run {program}: {err}"),
    };
    // Files, and no pipes: a process that outlives the program may hold a pipe open for ever.
    let (mut stdout, mut stderr) = (tempfile::tempfile(), tempfile::tempfile());
    let (Ok(stdout), Ok(stderr)) = (&mut stdout, &mut stderr) else {
        return Err("cannot make a temporary file".to_owned());
    };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().map_err(failed)?)
        .stderr(stderr.try_clone().map_err(failed)?)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let give_up_at = Now::read().mono + deadline;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Now::read().mono < give_up_at => pause(LOOK_EVERY),
            None => {
                killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).ok();
                child.wait().map_err(failed)?;
                return Err(format!("{program} did not end within {deadline:?}"));
            }
        }
    };
    let text = |file: &mut std::fs::File| -> io::Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Output {
        status,
        stdout: text(stdout).map_err(failed)?,
        stderr: text(stderr).map_err(failed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, deadline_ms: u64) -> Result<Output, String> {
        let env = [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())];
        run("sh", ["-c", script], &env, Path::new("/"), Duration::from_millis(deadline_ms))
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let began = Now::read().mono;
        let err = sh("sleep 60 & sleep 60", 100).unwrap_err();
        assert!(err.contains("did not end within 100ms"), "{err}");
        assert!(Now::read().mono - began < Duration::from_secs(5));
    }

    #[test]
    fn what_a_program_prints_and_says_is_wrong_is_told() {
        let output = sh("read x; echo out \"$x\"; echo err >&2", 5000).unwrap();
        assert_eq!(output.checked(), Ok("out \n".to_owned()));
        assert_eq!(sh("echo no >&2; exit 3", 5000).unwrap().checked(), Err("no".to_owned()));
        let silent = sh("exit 3", 5000).unwrap().checked();
        assert_eq!(silent, Err("exit status: 3".to_owned()));
        let missing = run("no-such-program", [""], &[], Path::new("/"), Duration::from_secs(5));
        assert_eq!(missing.unwrap_err(), "there is no program no-such-program");
    }
}
