//! The systemd unit that starts the watcher at login: where its files are, whether it is enabled,
//! and how it is started.
//!
//! What lies in files is read from the files, so that it is known also where no user manager
//! answers.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::pool::probe::Probe;
use crate::programs::{BUS, Programs};

pub(crate) const SERVICE: &str = "ccstatusd.service";

/// How long a watcher that is started may take to be ready. It waits up to 4 s for another process
/// that fetches.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The files of the systemd unit.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The files by its name. The first hides the others.
    pub(crate) files: Vec<PathBuf>,
    /// The links that start it at login.
    pub(crate) links: Vec<PathBuf>,
    /// Whether a user manager runs.
    pub(crate) has_manager: bool,
}

impl Unit {
    pub(crate) fn find(env: &Environment, probe: &Probe) -> Unit {
        let runtime = env.text("XDG_RUNTIME_DIR").map(PathBuf::from);
        let own = env.config_home().map(|it| it.join("systemd/user"));
        let data = env.text("XDG_DATA_HOME").map(PathBuf::from);
        let data = data.or_else(|| Some(env.home()?.join(".local/share")));
        // In the order in which systemd looks.
        let dirs = [
            own.clone(),
            Some("/etc/systemd/user".into()),
            runtime.as_ref().map(|it| it.join("systemd/user")),
            data.map(|it| it.join("systemd/user")),
            Some("/usr/local/lib/systemd/user".into()),
            Some("/usr/lib/systemd/user".into()),
            Some("/lib/systemd/user".into()),
        ];
        let mut files: Vec<(PathBuf, PathBuf)> = Vec::new();
        for path in dirs.into_iter().flatten().map(|it| it.join(SERVICE)) {
            // A link to /dev/null counts: it masks the unit.
            if !probe.exists(&path) {
                continue;
            }
            let real = fs_err::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if files.iter().all(|(_, known)| *known != real) {
                files.push((path, real));
            }
        }
        let wants = [own, Some("/etc/systemd/user".into())].into_iter().flatten();
        let links = wants.map(|it| it.join("default.target.wants").join(SERVICE));
        let links: Vec<_> = links.filter(|it| fs_err::symlink_metadata(it).is_ok()).collect();
        // A unit that is enabled may lie in a folder of which only systemd knows.
        if files.is_empty() {
            let mut reached = links.iter().filter(|it| probe.exists(it));
            let real = reached.find_map(|it| fs_err::canonicalize(it).ok());
            files.extend(real.map(|it| (it.clone(), it)));
        }
        Unit {
            files: files.into_iter().map(|(path, _)| path).collect(),
            links,
            has_manager: runtime.is_some_and(|it| probe.exists(&it.join("systemd"))),
        }
    }

    /// Whether systemd can start it, and is to.
    pub(crate) fn is_enabled(&self) -> bool {
        self.has_manager && !self.files.is_empty() && !self.links.is_empty()
    }

    /// The program that it starts.
    pub(crate) fn program(&self, env: &Environment) -> Option<PathBuf> {
        let text = fs_err::read_to_string(self.files.first()?).ok()?;
        let line = text.lines().find_map(|it| it.trim().strip_prefix("ExecStart="))?;
        let word = line.trim_start_matches(['-', '@', ':', '+', '!']).trim_start();
        let word = match word.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => word.split_whitespace().next()?,
        };
        Some(word.replace("%h", env.home()?.to_str()?).into())
    }
}

/// Lets the user manager start the unit, and waits until the watcher is ready.
pub(crate) fn start(env: &Environment) -> Result<()> {
    let args = ["--user", "--no-ask-password", "start", SERVICE];
    let started = Programs::new(env)?.call("systemctl", &args, &BUS, START_TIMEOUT);
    started.map(drop).map_err(|err| Error::new("cannot start the systemd unit").because(err))
}
