//! That something changed: the kernel's events, and what is in the directories they are about.
//!
//! One thread owns notify. It arms a watch and *then* lists the directory, so that what appears in
//! between is in the listing, or in an event, or in both. Nothing is watched recursively: notify
//! adds its own watches for new subdirectories too late, and files created at once inside them
//! are never reported.
//!
//! An event only means "look". What it says of kinds is not used, save two: reads are dropped
//! (they include our own), and an overflow means that everything must be looked at again.
//!
//! **Invariants:** the callback never waits and never panics. A change that finds the queue full
//! raises [`Changes::take_lost`]. No file is opened here. A file system that does not answer keeps
//! us from none of the others, whatever links lead there.

pub mod debounce;
pub mod probe;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use serde::{Deserialize, Serialize};

use crate::time::unix_ms;
use probe::Probe;

/// Changes that may wait before events count as lost.
const QUEUE: usize = 4096;
/// Why a directory cannot be read whose file system hangs.
pub const SILENT: &str = "the file system does not answer";
/// Folders below a session are nested this deep at most; a link cannot make us walk for ever.
const MAX_DEPTH: usize = 6;

/// A directory to watch from now on, and to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which one.
    pub dir: PathBuf,
    /// Whether to list what is below its subdirectories too. They are not armed.
    pub deep: bool,
}

/// What was found in a directory.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Which one.
    pub dir: PathBuf,
    /// What is there.
    pub found: Found,
}

/// What is where a directory was looked for.
#[derive(Clone, Debug)]
pub enum Found {
    /// A directory.
    Dir {
        /// Device and inode.
        identity: (u64, u64),
        /// Why changes in it are not reported, though they should be.
        unarmed: Option<String>,
        /// What is in it.
        entries: Vec<Entry>,
    },
    /// Nothing.
    Missing {
        /// The nearest directory above that exists.
        nearest: PathBuf,
    },
    /// A file or the like.
    NotADirectory,
    /// A directory, as far as we can tell, that cannot be read.
    Unreadable(String),
}

/// Something in a directory. Regular files that are not JSON are left out: nobody asks for them.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub kind: EntryKind,
}

/// What an entry is, after following a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Stamp),
    /// A socket, a pipe, a device.
    Other,
}

/// What tells two states of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Device and inode.
    pub identity: (u64, u64),
    /// In bytes.
    pub size: u64,
    /// Unix milliseconds.
    pub modified_ms: i64,
}

impl Stamp {
    /// From a file's metadata.
    pub fn of(meta: &std::fs::Metadata) -> Stamp {
        Stamp {
            identity: (meta.dev(), meta.ino()),
            size: meta.len(),
            modified_ms: meta.modified().map_or(0, unix_ms),
        }
    }
}

/// A change reported by the kernel: look there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed(pub PathBuf);

/// The receiving end of the changes.
#[derive(Debug)]
pub struct Changes {
    /// In the order of the kernel's events.
    pub queue: Receiver<Changed>,
    lost: Arc<AtomicBool>,
}

impl Changes {
    /// Whether changes were lost since the last call, so that everything must be looked at again.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }
}

/// The thread that owns notify. It ends when this is dropped.
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
    /// Starts the thread. Listings go to `listed`, one for each look, in order. Without `events`
    /// it only lists, for who looks once.
    pub fn start(
        events: bool,
        listed: impl Fn(Listing) + Send + 'static,
    ) -> io::Result<(Watch, Changes)> {
        let (changed, queue) = bounded(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let (requests, inbox) = unbounded();
        let changes = Changes { queue, lost: Arc::clone(&lost) };
        let (wake, tell) = (changed.clone(), Arc::clone(&lost));
        // What could not be looked at then can be now.
        let probe = Probe::new(move || raise(&wake, &tell));
        let thread = Thread { events, changed, lost, notify: None, probe };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || thread.run(&inbox, &listed))?;
        Ok((Watch { requests }, changes))
    }

    /// Looks at a directory; a listing will follow.
    pub fn look(&self, look: Look) {
        self.send(Request::Look(look));
    }

    /// Stops watching a directory.
    pub fn leave(&self, dir: PathBuf) {
        self.send(Request::Leave(dir));
    }

    /// Forgets every watch: after an overflow, notify no longer knows what it watches.
    pub fn rebuild(&self) {
        self.send(Request::Rebuild);
    }

    fn send(&self, request: Request) {
        self.requests.send(request).expect("the thread ends only when this sender is dropped");
    }
}

struct Thread {
    events: bool,
    changed: Sender<Changed>,
    lost: Arc<AtomicBool>,
    notify: Option<RecommendedWatcher>,
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
                        // It may be gone already, and notify with it.
                        notify.unwatch(&dir).ok();
                    }
                }
                Request::Rebuild => self.notify = None,
            }
        }
    }

    fn look(&mut self, look: &Look) -> Found {
        if !self.probe.answers(&look.dir) {
            return Found::Unreadable(SILENT.to_owned());
        }
        let unarmed = if self.events { self.arm(&look.dir) } else { None };
        let identity = match fs_err::metadata(&look.dir) {
            Ok(meta) if meta.is_dir() => (meta.dev(), meta.ino()),
            Ok(_) => return Found::NotADirectory,
            Err(it) if is_missing(&it) => {
                return Found::Missing { nearest: nearest_existing(&look.dir) };
            }
            Err(it) => return Found::Unreadable(it.to_string()),
        };
        let mut entries = Vec::new();
        let depth = if look.deep { MAX_DEPTH } else { 0 };
        match list(&look.dir, depth, &mut self.probe, &mut entries) {
            Ok(()) => Found::Dir { identity, unarmed, entries },
            Err(it) if is_missing(&it) => Found::Missing { nearest: nearest_existing(&look.dir) },
            Err(it) => Found::Unreadable(it.to_string()),
        }
    }

    /// Watches `dir`, or says why that cannot be.
    fn arm(&mut self, dir: &Path) -> Option<String> {
        let notify = match &mut self.notify {
            Some(it) => it,
            None => match build(&self.changed, &self.lost) {
                Ok(it) => self.notify.insert(it),
                // The next look tries again.
                Err(it) => return Some(reason(&it)),
            },
        };
        // First away with an old watch: were the directory renamed and another put in its place,
        // the old one would go on reporting under this name.
        notify.unwatch(dir).ok();
        match notify.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => silent_kind(dir).map(|it| format!("{it} does not report every change")),
            Err(it) if matches!(it.kind, ErrorKind::PathNotFound) => None,
            Err(it) => Some(reason(&it)),
        }
    }
}

/// What kind of file system a directory is on, if on one where more may happen than the kernel
/// tells: by other machines, on the host of a virtual one, or inside the kernel.
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

fn build(changed: &Sender<Changed>, lost: &Arc<AtomicBool>) -> notify::Result<RecommendedWatcher> {
    let (changed, lost) = (changed.clone(), Arc::clone(lost));
    let callback = move |event: notify::Result<notify::Event>| forward(event, &changed, &lost);
    RecommendedWatcher::new(callback, notify::Config::default().with_follow_symlinks(false))
}

/// The callback, in notify's own thread.
fn forward(event: notify::Result<notify::Event>, changed: &Sender<Changed>, lost: &AtomicBool) {
    let event = match event {
        // First of all: it comes with no path and a kind that says nothing.
        Ok(event) if event.need_rescan() => return raise(changed, lost),
        // Our own reads are among these. Dropped before the queue, which they would fill.
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
        Ok(event) => event,
        Err(_) => return raise(changed, lost),
    };
    for path in event.paths {
        if let Err(TrySendError::Full(_)) = changed.try_send(Changed(path)) {
            return raise(changed, lost);
        }
    }
}

fn raise(changed: &Sender<Changed>, lost: &AtomicBool) {
    lost.store(true, Ordering::Release);
    // Only to wake the receiver. With a full queue it is awake.
    changed.try_send(Changed(PathBuf::new())).ok();
}

fn list(dir: &Path, depth: usize, probe: &mut Probe, entries: &mut Vec<Entry>) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let Ok(found) = entry.file_type() else { continue };
        // Only these are compared by size and time; the rest need no stat.
        let is_json = path.extension().is_some_and(|it| it == "jsonl" || it == "json");
        let kind = if found.is_dir() {
            if depth > 0 {
                // Gone or unreadable: as good as empty, and the next look may find more.
                list(&path, depth - 1, probe, entries).ok();
            }
            EntryKind::Dir
        } else if found.is_symlink() || (found.is_file() && is_json) {
            // A link is followed here, once: to a file, or to a directory that is not walked.
            let meta = match found.is_symlink() {
                true => probe.metadata(&path),
                false => Some(fs_err::metadata(&path)),
            };
            match meta {
                // Nobody knows. Whoever wants a directory there looks, and it is said.
                None => EntryKind::Dir,
                Some(Ok(meta)) if meta.is_dir() => EntryKind::Dir,
                Some(Ok(meta)) if meta.is_file() => EntryKind::File(Stamp::of(&meta)),
                Some(Ok(_) | Err(_)) => continue,
            }
        } else if found.is_file() {
            continue;
        } else {
            EntryKind::Other
        };
        entries.push(Entry { path, kind });
    }
    Ok(())
}

fn is_missing(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let exists = |it: &&Path| fs_err::metadata(it).is_ok_and(|meta| meta.is_dir());
    dir.ancestors().skip(1).find(exists).unwrap_or(Path::new("/")).to_owned()
}

fn reason(err: &notify::Error) -> String {
    match &err.kind {
        ErrorKind::MaxFilesWatch => "the kernel's limit of watches is reached \
            (sysctl fs.inotify.max_user_watches)"
            .to_owned(),
        ErrorKind::Io(it) if it.raw_os_error() == Some(nix::libc::EMFILE) => {
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

    /// Whether and why a directory is polled.
    fn unarmed(dir: &Path) -> Option<String> {
        let (tell, listed) = unbounded();
        let tell = move |it| tell.send(it).expect("it is waited for");
        let (watch, _changes) = Watch::start(true, tell).expect("threads can be started");
        watch.look(Look { dir: dir.to_owned(), deep: false });
        match listed.recv().expect("every look is answered").found {
            Found::Dir { unarmed, .. } => unarmed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn where_not_every_change_is_reported_it_is_polled() {
        let tmp = tempfile::tempdir().unwrap();
        assert_eq!(unarmed(tmp.path()), None);
        let reason = unarmed(Path::new("/proc/self/net"));
        assert_eq!(reason.as_deref(), Some("procfs does not report every change"));
    }
}
