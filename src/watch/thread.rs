//! The thread that owns notify: adds watches, lists directories and reports changes.
//!
//! It watches a directory first and lists it *then*, so that what appears in between is in the
//! listing, in an event, or in both. No watch is recursive: notify adds its own watches for new
//! subdirectories too late, and files created in them at once are never reported.
//!
//! Kinds of events are ignored, except two: reads are dropped, since they include our own, and
//! after an overflow everything must be looked at again.
//!
//! **Invariants:** the callback never blocks and never panics. A change that finds the queue full
//! raises [`Changes::take_lost`]. This thread opens no file, and touches a directory or follows a
//! link only once its file system has answered a [`Probe`], so that one that hangs delays looks at
//! others by a few seconds at most.
//!
//! See docs/decisions/005-nothing-is-watched-recursively.md.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{Changed, Entry, EntryKind, Found, Listing, Look, MAX_PASSED_OVER, SILENT, Stamp};
use crate::pool::probe::Probe;

/// Changes that may wait before further ones count as lost.
const MAX_WAITING_CHANGES: usize = 4096;

/// The receiving end of the changes.
#[derive(Debug)]
pub struct Changes {
    /// In the order of the kernel's events.
    pub queue: Receiver<Changed>,
    is_lost: Arc<AtomicBool>,
}

impl Changes {
    /// Whether changes were lost since the last call, so that everything must be looked at again.
    pub fn take_lost(&self) -> bool {
        self.is_lost.swap(false, Ordering::AcqRel)
    }
}

/// A handle to the thread, which ends when the handle is dropped.
#[derive(Debug)]
pub struct Watch {
    requests: Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Look(Look),
    Leave(PathBuf),
    Rebuild,
}

impl Watch {
    /// Starts the thread. `listed` is called once for each look, in order. Without `with_events`
    /// the thread only lists, as a `--oneshot` run needs it.
    pub fn start(
        with_events: bool,
        listed: impl Fn(Listing) + Send + 'static,
    ) -> io::Result<(Watch, Changes)> {
        let (changed, queue) = bounded(MAX_WAITING_CHANGES);
        let reporter = Reporter { changed, is_lost: Arc::default() };
        let changes = Changes { queue, is_lost: Arc::clone(&reporter.is_lost) };
        // Once a file system answers late, directories on it can be looked at after all.
        let late = reporter.clone();
        let probe = Probe::start(move || late.report_lost())?;
        let (requests, inbox) = unbounded();
        let armed = BTreeSet::new();
        let thread = Thread { with_events, reporter, notify: None, armed, probe };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || thread.run(&inbox, &listed))?;
        Ok((Watch { requests }, changes))
    }

    /// Watches and lists a directory. One call of `listed` follows.
    pub fn look(&self, look: Look) {
        self.send(Request::Look(look));
    }

    /// Stops watching a directory.
    pub fn leave(&self, dir: PathBuf) {
        self.send(Request::Leave(dir));
    }

    /// Drops every watch: after an overflow, notify no longer knows what it watches.
    pub fn rebuild(&self) {
        self.send(Request::Rebuild);
    }

    fn send(&self, request: Request) {
        self.requests.send(request).expect("the thread ends only when this sender is dropped");
    }
}

struct Thread {
    with_events: bool,
    reporter: Reporter,
    notify: Option<RecommendedWatcher>,
    /// The directories that `notify` may watch.
    armed: BTreeSet<PathBuf>,
    probe: Probe,
}

impl Thread {
    fn run(mut self, inbox: &Receiver<Request>, listed: &dyn Fn(Listing)) {
        for request in inbox {
            match request {
                Request::Look(look) => {
                    let found = self.look(&look);
                    listed(Listing { dir: look.dir, found });
                }
                Request::Leave(dir) => {
                    if let Some(notify) = &mut self.notify {
                        // An error means that it was not watched any more, which is fine.
                        notify.unwatch(&dir).ok();
                    }
                    self.armed.remove(&dir);
                }
                Request::Rebuild => {
                    self.notify = None;
                    self.armed.clear();
                }
            }
        }
    }

    fn look(&mut self, look: &Look) -> Found {
        if !self.probe.answers(&look.dir) {
            return Found::Unreadable(SILENT.to_owned());
        }
        let is_elsewhere = || fs_err::canonicalize(&look.dir).is_ok_and(|real| real != look.dir);
        if !look.by_links && is_elsewhere() {
            return Found::NotADirectory;
        }
        let unarmed = if self.with_events { self.arm(&look.dir) } else { None };
        let identity = match fs_err::metadata(&look.dir) {
            Ok(meta) if meta.is_dir() => (meta.dev(), meta.ino()),
            Ok(_) => return Found::NotADirectory,
            Err(err) => return not_found(&look.dir, &err),
        };
        let mut lister = Lister { probe: &self.probe, found: Vec::new(), passed_over: Vec::new() };
        match lister.list(&look.dir, look.depth) {
            Ok(()) => Found::Dir {
                identity,
                unarmed,
                entries: lister.found,
                passed_over: lister.passed_over,
            },
            Err(err) => not_found(&look.dir, &err),
        }
    }

    /// Watches `dir`, or returns why its changes are not reported.
    fn arm(&mut self, dir: &Path) -> Option<String> {
        let notify = match &mut self.notify {
            Some(notify) => notify,
            None => match self.reporter.watcher() {
                Ok(notify) => self.notify.insert(notify),
                // The next look tries again.
                Err(err) => return Some(reason(&err)),
            },
        };
        // An old watch goes first: if the directory was renamed and another put in its place, the
        // old watch would go on reporting changes under this name. Each call of notify waits for
        // its thread, which at the start would be twice for each of thousands of directories.
        if !self.armed.insert(dir.to_owned()) {
            notify.unwatch(dir).ok();
        }
        match notify.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => silent_kind(dir).map(|it| format!("{it} does not report every change")),
            Err(err) if matches!(err.kind, ErrorKind::PathNotFound) => None,
            Err(err) => Some(reason(&err)),
        }
    }
}

/// The sending end of the changes.
#[derive(Clone)]
struct Reporter {
    changed: Sender<Changed>,
    is_lost: Arc<AtomicBool>,
}

impl Reporter {
    /// A new instance of notify, without watches, that reports here from a thread of its own.
    ///
    /// See docs/decisions/006-notify-is-pinned.md.
    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let reporter = self.clone();
        let callback = move |event| reporter.forward(event);
        RecommendedWatcher::new(callback, notify::Config::default().with_follow_symlinks(false))
    }

    fn forward(&self, event: notify::Result<notify::Event>) {
        let event = match event {
            // Tested first: an overflow comes without a path, and its kind may be anything.
            Ok(event) if event.need_rescan() => return self.report_lost(),
            // Our own reads are among these. They would fill the queue.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) => event,
            Err(_) => return self.report_lost(),
        };
        for path in event.paths {
            if let Err(TrySendError::Full(_)) = self.changed.try_send(Changed(path)) {
                return self.report_lost();
            }
        }
    }

    fn report_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
        // An empty path wakes the receiver. If the queue is full, the receiver is awake.
        self.changed.try_send(Changed(PathBuf::new())).ok();
    }
}

/// What kind of file system a directory is on, if it is one where things happen that the kernel
/// does not report: on other machines, on the host of a virtual machine, or inside the kernel.
///
/// See docs/decisions/008-polling-where-events-are-missing.md.
#[cfg(target_os = "linux")]
fn silent_kind(dir: &Path) -> Option<&'static str> {
    const KINDS: [(u32, &str); 14] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x0102_1997, "9P"),
        (0x6573_5546, "FUSE"),
        (0x5346_414f, "AFS"),
        (0x7375_7245, "Coda"),
        (0x00c3_6400, "Ceph"),
        (0x0bd0_0bd0, "Lustre"),
        (0x786f_4256, "a folder of the host"),
        (0x9fa0, "procfs"),
        (0x6265_6572, "sysfs"),
        (0x6367_7270, "cgroupfs"),
    ];
    // The kernel's numbers have 32 bits, whatever the type that holds them.
    let kind = nix::sys::statfs::statfs(dir).ok()?.filesystem_type().0 as u32;
    KINDS.iter().find(|(number, _)| *number == kind).map(|it| it.1)
}

#[cfg(not(target_os = "linux"))]
fn silent_kind(_: &Path) -> Option<&'static str> {
    None
}

/// Lists a directory, and those below it.
struct Lister<'a> {
    probe: &'a Probe,
    found: Vec<Entry>,
    /// See [`Found::Dir`].
    passed_over: Vec<(PathBuf, String)>,
}

impl Lister<'_> {
    /// Adds what is in `dir`, and what is up to `depth` directories below it, which is 0 for
    /// `dir` alone.
    fn list(&mut self, dir: &Path, depth: usize) -> io::Result<()> {
        for entry in fs_err::read_dir(dir)? {
            let Ok(entry) = entry else { continue };
            let path = entry.path();
            let Ok(file_type) = entry.file_type() else { continue };
            // Only JSON is compared by size and time; other files need no `stat`.
            let is_json = path.extension().is_some_and(|it| it == "jsonl" || it == "json");
            let kind = if file_type.is_dir() {
                match depth {
                    0 => {}
                    1 => self.pass_over(&path, "it is nested too deeply".to_owned()),
                    _ => {
                        if let Err(err) = self.list(&path, depth - 1)
                            && err.kind() != io::ErrorKind::NotFound
                        {
                            self.pass_over(&path, err.to_string());
                        }
                    }
                }
                EntryKind::Dir
            } else if file_type.is_symlink() || (file_type.is_file() && is_json) {
                // Listings do not go into directories that links lead to, so loops are no danger.
                let meta = match file_type.is_symlink() {
                    true => self.probe.metadata(&path),
                    false => Some(fs_err::metadata(&path)),
                };
                match meta {
                    // Unknown. If a directory is wanted there, a look at it reports that its file
                    // system does not answer.
                    None => EntryKind::Dir,
                    Some(Ok(meta)) if meta.is_dir() => EntryKind::Dir,
                    Some(Ok(meta)) if meta.is_file() => EntryKind::File(Stamp::of(&meta)),
                    Some(Ok(_) | Err(_)) => continue,
                }
            } else if file_type.is_file() {
                continue;
            } else {
                EntryKind::Other
            };
            self.found.push(Entry { path, kind });
        }
        Ok(())
    }

    fn pass_over(&mut self, dir: &Path, reason: String) {
        if self.passed_over.len() < MAX_PASSED_OVER {
            self.passed_over.push((dir.to_owned(), reason));
        }
    }
}

fn not_found(dir: &Path, err: &io::Error) -> Found {
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Found::Missing { nearest: nearest_existing(dir) }
        }
        _ => Found::Unreadable(err.to_string()),
    }
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let is_dir = |it: &&Path| fs_err::metadata(it).is_ok_and(|meta| meta.is_dir());
    dir.ancestors().skip(1).find(is_dir).unwrap_or(Path::new("/")).to_owned()
}

fn reason(err: &notify::Error) -> String {
    match &err.kind {
        ErrorKind::MaxFilesWatch => "the kernel's limit of watches is reached \
            (sysctl fs.inotify.max_user_watches)"
            .to_owned(),
        ErrorKind::Io(source) if source.raw_os_error() == Some(nix::libc::EMFILE) => {
            "the kernel's limit of inotify instances is reached \
             (sysctl fs.inotify.max_user_instances)"
                .to_owned()
        }
        _ => err.to_string(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Why changes in a directory are not reported.
    fn unarmed(dir: &Path) -> Option<String> {
        let (sender, listed) = unbounded();
        let send = move |listing| sender.send(listing).expect("the test waits for it");
        let (watch, _changes) = Watch::start(true, send).expect("threads can be started");
        watch.look(Look { dir: dir.to_owned(), depth: 0, by_links: true });
        match listed.recv().expect("every look is answered").found {
            Found::Dir { unarmed, .. } => unarmed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_system_that_does_not_report_every_change_is_known_by_its_kind() {
        let tmp = tempfile::tempdir().unwrap();
        assert_eq!(unarmed(tmp.path()), None);
        let reason = unarmed(Path::new("/proc/self/net"));
        assert_eq!(reason.as_deref(), Some("procfs does not report every change"));
    }

    #[test]
    fn a_link_to_a_silent_file_system_is_listed_and_not_followed() {
        let tmp = tempfile::tempdir().unwrap();
        let link = tmp.path().join("link");
        fs_err::os::unix::fs::symlink("/proc/version", &link).unwrap();
        let (release, hang) = bounded::<()>(0);
        let (late, is_late) = unbounded();
        let ask = move |path: &Path| {
            if path.ends_with("link") {
                hang.recv().ok();
            }
            fs_err::metadata(path)
        };
        let probe = Probe::start_with(ask, move || late.send(()).unwrap()).unwrap();
        let kind = || {
            let mut lister = Lister { probe: &probe, found: Vec::new(), passed_over: Vec::new() };
            lister.list(tmp.path(), 0).unwrap();
            lister.found[0].kind
        };
        assert!(!probe.answers(&link));
        assert!(probe.answers(tmp.path()), "the link's own file system does not hang");
        assert_eq!(kind(), EntryKind::Dir, "it is unknown what the link leads to");
        drop(release);
        is_late.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(kind(), EntryKind::File(_)));
    }
}
