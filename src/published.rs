//! What the watcher has published, and when that changes: for commands that go on showing it.
//!
//! They sleep until the kernel reports that another snapshot was put in place, or that the watcher
//! ended. All files are found in the working directory, which [`enter`] sets.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{EventKind, RecursiveMode, Watcher as _};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::exits;
use crate::ipc;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::Snapshot;
use crate::store::snapshot::{self, Unusable};

/// Makes the state directory, which it returns, the working directory.
pub(crate) fn enter(env: &Environment) -> Result<PathBuf> {
    let dir = env.checked_state_dir()?;
    match ipc::enter(&dir) {
        Ok(()) => Ok(dir),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Err(unusable(Unusable::Missing, &dir)),
        Err(err) => Err(Error::new("cannot read the state directory").because(err)),
    }
}

pub(crate) fn read() -> std::result::Result<Snapshot, Unusable> {
    snapshot::read(Path::new(SNAPSHOT))
}

/// The error for a snapshot that cannot be used.
pub(crate) fn unusable(why: Unusable, dir: &Path) -> Error {
    let path = dir.join(SNAPSHOT);
    match why {
        Unusable::Missing => {
            Error::new(format!("nothing is known of any session: there is no {}", path.display()))
                .hint("`ccstatusd start` starts the watcher, and `ccstatusd --oneshot` looks once")
        }
        Unusable::Newer => {
            Error::new(format!("{} is from a newer version of ccstatusd", path.display()))
                .hint("run that version: `ccstatusd doctor` finds copies of the program")
        }
        Unusable::Unreadable => Error::new(format!("{} cannot be read", path.display()))
            .hint("`ccstatusd doctor` says more"),
    }
}

/// What happened in the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another snapshot may be there, or the watcher has ended.
    Snapshot,
    /// The directory is not there any more, or the kernel reports nothing of it.
    Gone,
}

/// Reports changes of the snapshot until the result is dropped.
pub(crate) fn observe(dir: &Path, changes: Sender<Change>) -> Result<notify::RecommendedWatcher> {
    let failed =
        |err: notify::Error| Error::new(format!("cannot watch {}", dir.display())).because(err);
    let place = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let observed = place.clone();
    let report = move |event: notify::Result<notify::Event>| {
        let change = match event {
            Err(_) => Change::Gone,
            // Reads, our own among them, change nothing.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if event.need_rescan() => Change::Snapshot,
            Ok(event) if event.kind.is_remove() && event.paths.contains(&observed) => Change::Gone,
            Ok(event) if event.paths.iter().any(|it| it.ends_with(SNAPSHOT)) => Change::Snapshot,
            Ok(_) => return,
        };
        changes.send(change).ok();
    };
    let mut watch = notify::recommended_watcher(report).map_err(failed)?;
    watch
        .watch(&dir.canonicalize().unwrap_or_else(|_| dir.to_owned()), RecursiveMode::NonRecursive)
        .map_err(failed)?;
    Ok(watch)
}

/// Reports the end of the watcher, which cannot say so itself if it is killed. Where the system
/// cannot tell, the age of the numbers shows it.
pub(crate) fn wait_for_end(pid: Option<u32>, changes: Sender<Change>) {
    let Some(pid) = pid else { return };
    let wait = move || {
        if exits::wait_for_end(pid).is_ok() {
            changes.send(Change::Snapshot).ok();
        }
    };
    std::thread::Builder::new().name("watcher's end".to_owned()).spawn(wait).ok();
}

/// Whether there is no state directory at its path any more, or another one than the one in which
/// this process is. The kernel does not tell: it reports the end of a directory once no process is
/// in it.
pub(crate) fn is_gone(dir: &Path) -> bool {
    let number = |path: &Path| fs_err::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    number(dir).is_none_or(|it| Some(it) != number(Path::new(".")))
}

/// The error for a state directory of which nothing is reported any more.
pub(crate) fn gone(dir: &Path) -> Error {
    Error::new(format!("{} is gone, or cannot be watched any more", dir.display()))
        .hint("start this again once a watcher runs")
}

/// Receives the signals that concern a program on a terminal, from a thread of its own.
pub(crate) fn signals() -> Result<Receiver<i32>> {
    let failed = |err: io::Error| Error::new("cannot receive signals").because(err);
    let all = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH];
    let mut signals = signal_hook::iterator::Signals::new(all).map_err(failed)?;
    let (sender, receiver) = bounded(all.len());
    let forward = move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(forward).map_err(failed)?;
    Ok(receiver)
}
