//! What must hold whatever happens: faults, load and hostile input.
//!
//! Where a number of rounds matters, `CCSTATUSD_FAULTS=full` takes the large one; each such test
//! then prints what it counted, for the table in the notes of a release.

mod children;
mod input;
mod load;
mod locks;
mod privacy;
mod store;
mod stuck;
mod watching;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox::{Sandbox, is_met_within, skip};

/// How often to try something: usually, or with `CCSTATUSD_FAULTS=full`.
fn times(usual: usize, full: usize) -> usize {
    let is_full = std::env::vars_os().any(|(name, it)| name == "CCSTATUSD_FAULTS" && it == "full");
    if is_full { full } else { usual }
}

/// Prints one row of the table of faults.
#[expect(clippy::print_stderr, reason = "the figures are what these tests are for")]
fn report(fault: &str, tried: usize, lost: usize, wrong: usize, hung: usize) {
    eprintln!("FAULT | {fault} | {tried} | {lost} | {wrong} | {hung}");
    assert_eq!((lost, wrong, hung), (0, 0, 0), "{fault}: lost, wrong, hung");
}

/// A tracer beside a running process. The faults that it injects end with it.
struct Tracer(Child);

/// Injects faults into system calls of a running process, those for the files at `paths`. Where
/// that is impossible, returns `None` and prints why.
fn inject(sandbox: &Sandbox, pid: u32, paths: &[&Path], faults: &[&str]) -> Option<Tracer> {
    let log = sandbox.path(&format!("strace-{pid}.log"));
    let mut command = sandbox.command("strace");
    command.args(["-f", "-o", "/dev/null", "-p", &pid.to_string()]);
    for path in paths {
        command.arg("-P").arg(path);
    }
    for fault in faults {
        command.arg("-e").arg(fault);
    }
    command.stdout(Stdio::null()).stderr(fs_err::File::create(&log).unwrap().into_parts().0);
    let Ok(mut child) = command.spawn() else {
        skip("no strace: faults of the file system are not injected");
        return None;
    };
    let said = || fs_err::read_to_string(&log).unwrap_or_default();
    let mut ended = false;
    assert!(
        is_met_within(Duration::from_secs(10), || {
            ended = child.try_wait().unwrap().is_some();
            ended || said().contains("attached")
        }),
        "strace: {}",
        said()
    );
    if ended {
        skip(&format!("strace cannot trace here: no faults are injected ({})", said().trim()));
        return None;
    }
    Some(Tracer(child))
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // On this signal strace detaches before it ends.
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT).ok();
        self.0.wait().ok();
    }
}

/// A command in a user namespace of its own, where it may mount file systems and set limits. Where
/// that is impossible, returns `None` and prints why.
fn unshared(sandbox: &Sandbox, flags: &str, script: &str) -> Option<Command> {
    let can = sandbox.command("unshare").args([flags, "true"]).output();
    if !can.is_ok_and(|it| it.status.success()) {
        skip(&format!("no user namespaces: not tested under unshare {flags}"));
        return None;
    }
    let mut command = sandbox.command("unshare");
    command.args([flags, "sh", "-ec", script, env!("CARGO_BIN_EXE_ccstatusd")]);
    Some(command)
}
