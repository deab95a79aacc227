//! What the watcher has published, and when that changes: for commands that go on showing it.
//!
//! They sleep until the kernel reports that another snapshot was put in place, that the watcher
//! ended, or that the state directory came or went. All files are found in the working directory,
//! which [`enter`] and [`Observer`] set.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, Sender, bounded};
use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};

use crate::cli::Environment;
use crate::display::view::Watcher;
use crate::error::{Error, Result};
use crate::fetch::exits;
use crate::ipc;
use crate::show;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::Snapshot;
use crate::store::snapshot::{self, Unusable};
use crate::time::pause;

/// How long a process may take to end after it was told to.
const END_WITHIN: Duration = Duration::from_secs(2);

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

/// What changed of what a watcher has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another snapshot may be there, or the watcher has ended.
    Snapshot,
    /// The state directory, or one above it, was made, removed or moved, or the kernel reports
    /// nothing of it any more.
    Place,
}

/// Reports changes of the snapshot, also while there is no state directory and where another one
/// is made in its place. All it knows is in the directory that is at the path now, which it makes
/// the working directory.
pub(crate) struct Observer {
    dir: PathBuf,
    changes: Sender<Change>,
    /// Whether the directory was there when it was looked for last.
    is_there: bool,
    /// The watcher whose end is waited for.
    watcher: Option<u32>,
    _watch: notify::RecommendedWatcher,
}

impl Observer {
    /// Reports to `changes` from now on.
    pub(crate) fn start(dir: &Path, changes: Sender<Change>) -> Result<Observer> {
        let (watch, is_there) = arm(dir, changes.clone())?;
        Ok(Observer { dir: dir.to_owned(), changes, is_there, watcher: None, _watch: watch })
    }

    /// Looks for the directory again if it came or went. `first` is what was received from
    /// `changes`; what came after it is taken as well, since the next snapshot has it.
    pub(crate) fn follow(
        &mut self,
        first: std::result::Result<Change, RecvError>,
        changes: &Receiver<Change>,
    ) -> Result<()> {
        let first = std::iter::once(first.unwrap_or(Change::Place));
        if first.chain(changes.try_iter()).any(|it| it == Change::Place) {
            let (watch, is_there) = arm(&self.dir, self.changes.clone())?;
            (self._watch, self.is_there) = (watch, is_there);
        }
        Ok(())
    }

    /// Reads the snapshot. The end of the watcher that it names is reported, too.
    pub(crate) fn read(&mut self) -> std::result::Result<Snapshot, Unusable> {
        // The working directory may be one that was moved away.
        let snapshot = if self.is_there { read()? } else { return Err(Unusable::Missing) };
        let watcher = snapshot.watcher.as_ref().map(|it| it.pid);
        if watcher != self.watcher {
            self.watcher = watcher;
            wait_for_end(watcher, self.changes.clone());
        }
        Ok(snapshot)
    }

    pub(crate) fn watcher(&self) -> Watcher {
        if self.is_there { show::watcher(ipc::connect().map(drop)) } else { Watcher::Gone }
    }

    /// What is shown in place of a snapshot that cannot be used.
    pub(crate) fn message(&self, why: Unusable) -> String {
        let message = unusable(why, &self.dir).to_string();
        match self.watcher() {
            Watcher::Gone => format!("no watcher runs\n{message}"),
            Watcher::Alive | Watcher::Unknown => message,
        }
    }
}

/// Watches the state directory, and the one above it, or the nearest that there is. Returns whether
/// the state directory is there.
///
/// The kernel reports the end of a directory in the one above it at once, but in itself only when
/// no process works in it any more. It does not report that a directory further up is moved away;
/// to watch all of these would wake this process whenever anything happens there.
fn arm(dir: &Path, changes: Sender<Change>) -> Result<(notify::RecommendedWatcher, bool)> {
    let failed =
        |err: notify::Error| Error::new(format!("cannot watch {}", dir.display())).because(err);
    let observed = dir.to_owned();
    let report = move |event: notify::Result<notify::Event>| {
        let change = match event {
            Err(_) => Change::Place,
            // Reads, our own among them, change nothing.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if event.need_rescan() => Change::Place,
            Ok(event) if is_of_place(&event, &observed) => Change::Place,
            Ok(event) if event.paths.iter().any(|it| is_snapshot(it, &observed)) => {
                Change::Snapshot
            }
            Ok(_) => return,
        };
        changes.send(change).ok();
    };
    let mut watch = notify::recommended_watcher(report).map_err(failed)?;
    let mut above: Option<&Path> = None;
    loop {
        let nearest = dir.ancestors().skip(1).find(|it| it.is_dir());
        // One below it may have been made before it was watched.
        if nearest == above {
            break;
        }
        above = nearest;
        if let Some(nearest) = nearest {
            // One that this user may not read stays as it is: another user made it.
            watch.watch(nearest, RecursiveMode::NonRecursive).ok();
        }
    }
    let is_there = ipc::enter(dir).is_ok();
    if is_there {
        match watch.watch(dir, RecursiveMode::NonRecursive) {
            // It was removed just now, which the directory above it reports.
            Err(err) if matches!(err.kind, notify::ErrorKind::PathNotFound) => {}
            watched => watched.map_err(failed)?,
        }
    }
    Ok((watch, is_there))
}

/// Whether a directory on the way to the state directory came or went.
fn is_of_place(event: &notify::Event, dir: &Path) -> bool {
    let is_move = matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)));
    (event.kind.is_create() || event.kind.is_remove() || is_move)
        && event.paths.iter().any(|it| dir.starts_with(it))
}

fn is_snapshot(path: &Path, dir: &Path) -> bool {
    path.parent() == Some(dir) && path.ends_with(SNAPSHOT)
}

/// Reports the end of the watcher, which cannot say so itself if it is killed. Where the system
/// cannot tell, the age of the numbers shows it.
fn wait_for_end(pid: Option<u32>, changes: Sender<Change>) {
    let Some(pid) = pid else { return };
    let wait = move || {
        if exits::wait_for_end(pid).is_ok() {
            changes.send(Change::Snapshot).ok();
        }
    };
    std::thread::Builder::new().name("watcher's end".to_owned()).spawn(wait).ok();
}

/// Stops this process, as the user asked by Ctrl-Z, until it is continued.
///
/// By SIGTTOU, since the kernel ignores it where no shell could continue this process: in a
/// terminal that was opened for this command alone, say. SIGSTOP would stop it there for ever.
/// SIGTSTP cannot be sent: we receive it.
pub(crate) fn stop() {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTTOU).ok();
}

/// Receives the signals that concern a program on a terminal, from a thread of its own.
///
/// Whoever writes to a terminal or a pipe that nobody reads waits, and sees no signal. So a process
/// that still runs [`END_WITHIN`] after a signal to end is ended all the same, after `at_last`.
pub(crate) fn signals(at_last: impl Fn() + Send + 'static) -> Result<Receiver<i32>> {
    let failed = |err: io::Error| Error::new("cannot receive signals").because(err);
    let all = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH];
    let mut signals = signal_hook::iterator::Signals::new(all).map_err(failed)?;
    let (sender, receiver) = bounded(all.len());
    let forward = move || {
        for signal in signals.forever() {
            // Nobody takes signals out of a full channel at the moment. What is lost then says the
            // same as what is in it, or else ends this process.
            sender.try_send(signal).ok();
            if !matches!(signal, SIGTSTP | SIGCONT | SIGWINCH) {
                pause(END_WITHIN);
                at_last();
                signal_hook::low_level::emulate_default_handler(signal).ok();
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(forward).map_err(failed)?;
    Ok(receiver)
}
