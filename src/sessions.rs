//! `ccstatusd sessions`: reads the snapshot, and lists all sessions in it; once, or again whenever
//! it changes.
//!
//! `--watch` sleeps until the kernel reports that another snapshot was put in place, that the
//! watcher ended, or that the terminal has another size. No timer wakes it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use jiff::tz::TimeZone;
use notify::{EventKind, RecursiveMode, Watcher as _};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};

use crate::cli::{Environment, SessionsOptions};
use crate::display::ansi;
use crate::display::view::{Style, Watcher};
use crate::error::{Error, Result};
use crate::fetch::exits;
use crate::home::Home;
use crate::ipc;
use crate::sanitize;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::Snapshot;
use crate::store::schema::display::Depth;
use crate::store::snapshot::{self, Unusable};
use crate::terminal;
use crate::time::Now;

mod json;
mod table;

use table::{View, Which};

/// The list as text, ready to be printed.
///
/// Changes the working directory to the state directory.
pub fn list(env: &Environment, options: &SessionsOptions, out: impl AsFd) -> Result<String> {
    let dir = enter(env)?;
    let snapshot = read().map_err(|it| unusable(it, &dir))?;
    let list = List { env, options, home: Home::find(env), zone: None };
    list.text(&snapshot, &list.style(out), usize::MAX)
}

/// Writes the list to `out` whenever it changes, until a signal ends it or nobody reads any more.
/// On a terminal it takes the whole screen, and leaves the terminal as it was.
///
/// Changes the working directory to the state directory.
pub fn watch(
    env: &Environment,
    options: &SessionsOptions,
    out: &mut (impl AsFd + Write),
) -> Result<()> {
    let dir = enter(env)?;
    let list = List { env, options, home: Home::find(env), zone: Some(TimeZone::system()) };
    let signals = signals()?;
    let (sender, changes) = unbounded();
    let _watch = observe(&dir, sender.clone())?;
    let mut watched_pid = None;
    let mut screen = Screen { out, is_entered: false };
    loop {
        let size = terminal::size(&*screen.out).filter(|_| !options.json);
        let text = match read() {
            Ok(snapshot) => {
                let pid = snapshot.watcher.as_ref().map(|it| it.pid);
                if pid != watched_pid {
                    watched_pid = pid;
                    wait_for_end(pid, sender.clone());
                }
                let n_rows = size.map_or(usize::MAX, |(_, rows)| rows);
                list.text(&snapshot, &list.style(&*screen.out), n_rows)
            }
            // A reader of JSON gets no other text.
            Err(_) if options.json => Ok(String::new()),
            Err(why) => Ok(format!("{}\n", unusable(why, &dir))),
        }?;
        let written = match size {
            Some(_) => screen.draw(&text),
            None => screen.out.write_all(text.as_bytes()).and_then(|()| screen.out.flush()),
        };
        match written {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|it| Error::new("cannot write the list").because(it))?,
        }
        crossbeam_channel::select! {
            recv(changes) -> change => {
                // Those that came meanwhile are in the snapshot that is read next.
                let mut all = std::iter::once(change.unwrap_or(Change::Gone)).chain(changes.try_iter());
                if all.any(|it| it == Change::Gone) {
                    let what = format!("{} is gone, or cannot be watched any more", dir.display());
                    return Err(Error::new(what).hint("start this again once a watcher runs"));
                }
            }
            recv(signals) -> signal => match signal {
                // Another process may have written to the terminal while this one was stopped.
                Ok(SIGWINCH | SIGCONT) => {}
                Ok(SIGTSTP) => screen.stop(),
                _ => return Ok(()),
            }
        }
    }
}

/// What is listed, and for whom.
struct List<'a> {
    env: &'a Environment,
    options: &'a SessionsOptions,
    home: Home,
    /// The time zone, for a list that is read later than it is drawn.
    zone: Option<TimeZone>,
}

impl List<'_> {
    /// What the terminal can show. Anything else gets text without colours, in as many columns as
    /// it needs, unless `COLUMNS` says how many.
    fn style(&self, out: impl AsFd) -> Style {
        let style = terminal::style(self.env);
        match terminal::size(out) {
            Some((columns, _)) => Style { columns: Some(columns), has_links: false, ..style },
            None => Style { depth: Depth::None, has_links: false, ..style },
        }
    }

    fn text(&self, snapshot: &Snapshot, style: &Style, n_rows: usize) -> Result<String> {
        let watcher = match ipc::connect().map_err(|err| err.kind()) {
            Ok(_) => Watcher::Alive,
            Err(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Watcher::Gone,
            Err(_) => Watcher::Unknown,
        };
        let published_at = self.zone.as_ref().map(|zone| {
            let at = jiff::Timestamp::from_millisecond(snapshot.published_at_ms);
            let at = at.unwrap_or_default().to_zoned_datetime(zone.clone());
            format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
        });
        let view = View {
            snapshot,
            has_no_watcher: watcher == Watcher::Gone,
            now_ms: Now::read().wall_ms,
            home: snapshot.roots.keys().find_map(|it| self.home.above(&it.0)),
            published_at: published_at.as_deref(),
            which: match self.options {
                SessionsOptions { waiting: true, .. } => Which::Waiting,
                SessionsOptions { all: true, .. } => Which::All,
                _ => Which::Live,
            },
            n_rows,
        };
        if self.options.json {
            let text = serde_json::to_string(&json::list(&view, watcher));
            let text =
                text.map_err(|it| Error::new("cannot write the list as JSON").because(it))?;
            return Ok(sanitize::json(&text) + "\n");
        }
        Ok(table::lines(&view, style).join("\n") + "\n")
    }
}

fn enter(env: &Environment) -> Result<std::path::PathBuf> {
    let dir = env.checked_state_dir()?;
    match ipc::enter(&dir) {
        Ok(()) => Ok(dir),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Err(unusable(Unusable::Missing, &dir)),
        Err(err) => Err(Error::new("cannot read the state directory").because(err)),
    }
}

fn read() -> std::result::Result<Snapshot, Unusable> {
    snapshot::read(Path::new(SNAPSHOT))
}

fn unusable(why: Unusable, dir: &Path) -> Error {
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
#[derive(PartialEq)]
enum Change {
    /// Another snapshot may be there, or the watcher has ended.
    Snapshot,
    /// The directory is not there any more, or the kernel reports nothing of it.
    Gone,
}

/// Reports changes of the snapshot until the result is dropped.
fn observe(dir: &Path, changes: Sender<Change>) -> Result<notify::RecommendedWatcher> {
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
fn wait_for_end(pid: Option<u32>, changes: Sender<Change>) {
    let Some(pid) = pid else { return };
    let wait = move || {
        if exits::wait_for_end(pid).is_ok() {
            changes.send(Change::Snapshot).ok();
        }
    };
    std::thread::Builder::new().name("watcher's end".to_owned()).spawn(wait).ok();
}

fn signals() -> Result<Receiver<i32>> {
    let failed = |err: io::Error| Error::new("cannot receive signals").because(err);
    let all = [SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH];
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

/// The screen of a terminal, which is given back as it was however the list ends.
struct Screen<'a, W: Write + AsFd> {
    out: &'a mut W,
    is_entered: bool,
}

impl<W: Write + AsFd> Screen<'_, W> {
    /// Shows this in place of what is there.
    fn draw(&mut self, text: &str) -> io::Result<()> {
        let frame = ansi::frame(text.lines());
        let enter = if self.is_entered { "" } else { ansi::ENTER_SCREEN };
        self.is_entered = true;
        self.out.write_all(format!("{enter}{frame}").as_bytes())?;
        self.out.flush()
    }

    /// Stops this process, as the user asked, until it is continued.
    fn stop(&mut self) {
        self.leave();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).ok();
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.is_entered) {
            self.out.write_all(ansi::LEAVE_SCREEN.as_bytes()).and_then(|()| self.out.flush()).ok();
        }
    }
}

impl<W: Write + AsFd> Drop for Screen<'_, W> {
    fn drop(&mut self) {
        self.leave();
    }
}
