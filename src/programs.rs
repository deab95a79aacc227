//! Runs programs for all that does not fetch, such as `doctor`, `init`, `start`, `alerts --test`
//! and the sentinel: bounded, each under a guard, as the watcher runs its own.
//!
//! The lock that allows to run programs is taken in a directory of this process's own. It exists so
//! that only one process *fetches*, and these do not. So they neither wait for a watcher at work
//! nor hold it up, and they work where the state directory does not.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::exec::{self, Invocation, RunError, RunLimits, Runner};
use crate::store::dir::StateDir;
use crate::store::lock::FetchLock;

/// How long a call that changes nothing may take.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than its deadline a program may live.
const GRACE: Duration = Duration::from_millis(500);
/// Bytes of the output of a program.
const MAX_OUTPUT: usize = 64 << 10;

/// What `systemctl --user` needs to reach the manager.
pub(crate) const BUS: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// Runs programs, one after another.
#[derive(Debug)]
pub(crate) struct Programs {
    runner: Runner,
    n_runs: AtomicU64,
    lock: FetchLock,
    env: Vec<(OsString, OsString)>,
    /// Dropped last: the lock is in it.
    dir: TempDir,
}

impl Programs {
    pub(crate) fn new(env: &Environment) -> Result<Programs> {
        let failed = |err| Error::new("cannot make a temporary directory").because(err);
        let dir = tempfile::tempdir().map_err(failed)?;
        let lock = FetchLock::try_acquire(&StateDir::open(&dir.path().join("run"))?)?;
        let lock = lock.ok_or_else(|| Error::new("cannot lock a directory of our own"))?;
        let own = exec::own_program().map_err(|err| Error::new("cannot find myself").because(err));
        let runner = Runner::new(own?, env.all.clone());
        Ok(Programs { runner, n_runs: AtomicU64::new(0), lock, env: env.all.clone(), dir })
    }

    /// What a program prints if it exits with 0 before the deadline. It sees few variables of the
    /// environment: those in [`exec::PASSED_ON`], and `more`.
    pub(crate) fn call(
        &self,
        program: impl AsRef<OsStr>,
        args: &[&str],
        more: &[&str],
        deadline: Duration,
    ) -> std::result::Result<String, RunError> {
        let is_wanted = |name: &OsString| more.iter().any(|it| name == it);
        let what = Invocation {
            program: program.as_ref().to_owned(),
            args: args.iter().map(OsString::from).collect(),
            dir: None,
            env: self.env.iter().filter(|(name, _)| is_wanted(name)).cloned().collect(),
            input: Vec::new(),
        };
        self.run(&what, deadline)
    }

    /// The same for a program that has a directory and an environment of its own.
    pub(crate) fn run(
        &self,
        what: &Invocation,
        deadline: Duration,
    ) -> std::result::Result<String, RunError> {
        // As a source of its own, so that one that does not end keeps no other from running.
        let source = self.n_runs.fetch_add(1, Ordering::Relaxed);
        let limits = RunLimits { deadline, grace: GRACE, max_output: MAX_OUTPUT };
        let output = self.runner.for_source(source).run(&self.lock, what, limits)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// All variables of this process.
    pub(crate) fn env(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// A directory for files that a program shall read, which is deleted in the end.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}
