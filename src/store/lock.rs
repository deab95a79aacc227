//! The kernel locks, as values.
//!
//! They are on files that this program never deletes: `flock`s on two whole files, and a record
//! lock on one byte of a third for each source of which a program runs. The kernel releases a lock
//! when its holder dies, so no lock is stale, and nothing here has to judge whether a process is
//! dead. The process id in two of the files is for people.
//!
//! **Invariant:** a lock is taken on the file that its path names. If the user removes that file
//! (`rm -rf` on the state directory), [`WatchLock::is_current`] returns `false`, and the holder
//! ends.
//!
//! See docs/decisions/002-locks-of-the-kernel.md.

use std::fs::TryLockError;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::dir::{self, SCRATCH, StateDir};
use super::file::read_bounded;
use crate::error::{Error, Exit, Result};
use crate::time::{Now, pause};

/// The file that a watcher locks.
pub const WATCH: &str = "watch.lock";
const FETCH: &str = "fetch.lock";
const GUARD: &str = "guard.lock";

/// Proof that this process is the only watcher.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct WatchLock {
    file: fs_err::File,
}

/// Proof that this process alone may run programs and, where there is no watcher, publish.
///
/// Its file is never deleted: otherwise two processes could each lock a file of that name.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct FetchLock {
    file: fs_err::File,
    /// The folder of the directories that programs read while they run.
    scratch: PathBuf,
}

/// Proof that this process alone writes the record of usage.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct RecordLock {
    file: fs_err::File,
}

impl RecordLock {
    /// Takes the lock on this file; `None` where another process holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<RecordLock>> {
        Ok(acquire(path)?.map(|file| RecordLock { file }))
    }

    /// The file that is locked.
    pub fn file(&self) -> &fs_err::File {
        &self.file
    }

    /// The id of the process that holds the lock, for messages.
    pub fn holder(path: &Path) -> Option<u32> {
        holder(path)
    }
}

/// Proof that this process alone brings the exported counters up to date.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct CountersLock {
    _file: fs_err::File,
}

impl CountersLock {
    /// Takes the lock on this file in the data directory, which is created if it is missing. Waits
    /// for another process that holds it, which takes moments.
    pub fn acquire(data_dir: &Path, name: &str, timeout: Duration) -> Result<CountersLock> {
        dir::make_private(data_dir)?;
        let path = data_dir.join(name);
        let give_up_at = Now::read().mono + timeout;
        loop {
            if let Some(file) = acquire(&path)? {
                return Ok(CountersLock { _file: file });
            }
            if Now::read().mono >= give_up_at {
                let what = format!("another ccstatusd counts{}", named(&path));
                return Err(Error::new(what).hint("try again once it is done"));
            }
            pause(Duration::from_millis(10));
        }
    }
}

/// Proof that this guard alone runs a program of a source.
///
/// It is a record lock on one byte of a file that all sources share: of one byte, so that a run
/// creates no file, which a full disk would prevent, and leaves none behind; and a record lock,
/// since children do not inherit it. Such a lock is lost when its process closes any descriptor of
/// the file, so a guard opens the file for this alone.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct SourceLock {
    _file: fs_err::File,
}

/// Closing the file would not be enough: a child that another thread has just forked holds a copy
/// of the descriptor until it calls exec, and with it the lock. Unlocking releases it for all
/// copies.
impl Drop for FetchLock {
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

impl WatchLock {
    /// Takes the lock. The error names the process that holds it.
    pub fn acquire(dir: &StateDir) -> Result<WatchLock> {
        let path = dir.join(WATCH);
        match acquire(&path)? {
            Some(file) => Ok(WatchLock { file }),
            None => Err(Error::new(format!("another ccstatusd is running{}", named(&path)))
                .hint("`ccstatusd stop` ends it; `ccstatusd show` and `ccstatusd --oneshot` work beside it")
                .exit(Exit::AlreadyRunning)),
        }
    }

    /// Waits until no other process holds the lock, and takes it. Nothing ends this wait but the
    /// end of the holder, so it needs a thread of its own.
    pub fn wait(dir: &StateDir) -> Result<WatchLock> {
        let path = dir.join(WATCH);
        let waiting = |file: &fs_err::File| file.lock().map(|()| true);
        let file = lock_file(&path, waiting).map_err(|err| not_taken(&path, err))?;
        let mut file = file.expect("the wait ends only with the lock");
        write_holder(&mut file).ok();
        Ok(WatchLock { file })
    }

    /// The id of the process that holds the lock, for messages.
    pub fn holder(dir: &StateDir) -> Option<u32> {
        holder(&dir.join(WATCH))
    }

    /// The id of the watcher that runs; `None` if none does. It takes no lock: a watcher that
    /// starts at this moment would take this process for another watcher, and end.
    #[cfg(target_os = "linux")]
    pub fn running(dir: &StateDir) -> Option<u32> {
        let path = dir.join(WATCH);
        let lock = fs_err::metadata(&path).ok()?;
        let is_lock =
            |file: std::fs::Metadata| (file.dev(), file.ino()) == (lock.dev(), lock.ino());
        let pid = holder(&path)?;
        // The id may be that of a watcher which has ended, and another process may have it now.
        let mut open = fs_err::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        open.any(|it| fs_err::metadata(it.path()).is_ok_and(is_lock)).then_some(pid)
    }

    /// The id of the watcher that runs; `None` if none does. Only its socket tells, so it is not
    /// known for a moment while it starts.
    #[cfg(not(target_os = "linux"))]
    pub fn running(dir: &StateDir) -> Option<u32> {
        let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
        socket.connect(dir.join(super::dir::SOCKET)).ok()?;
        holder(&dir.join(WATCH))
    }

    /// Whether the path still names the locked file. If not, another watcher may hold the lock on a
    /// new file, and this process must not publish any more.
    pub fn is_current(&self) -> bool {
        is_same_file(&self.file).unwrap_or(false)
    }
}

impl FetchLock {
    /// Takes the lock; `None` where another process holds it.
    pub fn try_acquire(dir: &StateDir) -> Result<Option<FetchLock>> {
        let Some(file) = acquire(&dir.join(FETCH))? else { return Ok(None) };
        let scratch = dir.join(SCRATCH);
        // What a holder left behind that was killed. Mostly there is nothing.
        fs_err::remove_dir_all(&scratch).ok();
        Ok(Some(FetchLock { file, scratch }))
    }

    /// A new directory for files that a program is to read. It is removed when the value is
    /// dropped, or by the next holder of the lock.
    pub fn scratch_dir(&self) -> io::Result<TempDir> {
        dir::make_private(&self.scratch).map_err(io::Error::other)?;
        tempfile::tempdir_in(&self.scratch)
    }

    /// The id of the process that holds the lock, for messages.
    pub fn holder(dir: &StateDir) -> Option<u32> {
        holder(&dir.join(FETCH))
    }

    /// The file in the same directory whose bytes are locked by guards, see [`SourceLock`].
    pub fn guards_file(&self) -> PathBuf {
        self.file.path().with_file_name(GUARD)
    }
}

impl SourceLock {
    /// Locks the byte that the number of a source selects; `None` where another guard holds it.
    pub fn try_acquire(path: &Path, source: u64) -> io::Result<Option<SourceLock>> {
        let lock = |file: &fs_err::File| match fcntl(file, FcntlArg::F_SETLK(&byte(source))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(err) => Err(err.into()),
        };
        Ok(lock_file(path, lock)?.map(|file| SourceLock { _file: file }))
    }

    /// The id of the guard that holds the lock, for messages. `None` where none does, or where the
    /// kernel does not tell, as of a guard in another container.
    pub fn holder(path: &Path, source: u64) -> Option<u32> {
        let (file, mut found) = (open(path).ok()?, byte(source));
        fcntl(&file, FcntlArg::F_GETLK(&mut found)).ok()?;
        let is_held = found.l_type != libc::F_UNLCK as libc::c_short;
        u32::try_from(found.l_pid).ok().filter(|pid| is_held && *pid != 0)
    }
}

/// The byte of the guards' file that the number of a source selects. It need not exist.
fn byte(source: u64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // As many bits of the number as an offset has here, and never its sign.
        l_start: source as libc::off_t & libc::off_t::MAX,
        l_len: 1,
        l_pid: 0,
    }
}

/// Locks the file and writes our process id into it; `None` where another process holds the lock.
fn acquire(path: &Path) -> Result<Option<fs_err::File>> {
    let lock = |file: &fs_err::File| match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(err)) => Err(err),
    };
    let mut file = lock_file(path, lock).map_err(|err| not_taken(path, err))?;
    // The id is for people only, so a full disk is no reason to fail.
    if let Some(file) = &mut file {
        write_holder(file).ok();
    }
    Ok(file)
}

fn not_taken(path: &Path, err: io::Error) -> Error {
    Error::new(format!("cannot take the lock {}", path.display()))
        .because(err)
        .hint("it must be a regular file of yours that you can write; move it away")
}

/// Opens the file and locks it by `try_lock`, which returns whether it could; `None` where another
/// process holds the lock.
fn lock_file(
    path: &Path,
    try_lock: impl Fn(&fs_err::File) -> io::Result<bool>,
) -> io::Result<Option<fs_err::File>> {
    // Between open and lock another file may be put in this one's place. Each further round means
    // that this has happened once more.
    for _ in 0..16 {
        let file = open(path)?;
        if !try_lock(&file)? {
            return Ok(None);
        }
        if is_same_file(&file).unwrap_or(false) {
            return Ok(Some(file));
        }
    }
    Err(io::Error::other("it is replaced again and again"))
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    // No O_TRUNC: a process that does not get the lock must not erase the holder's id.
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    // Not by `fs_err`, whose errors have no number, and a guard can report no more than that.
    let file = nix::fcntl::open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let file = fs_err::File::from_parts(file.into(), path);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Whether the path by which a file was opened still names it.
pub(super) fn is_same_file(file: &fs_err::File) -> io::Result<bool> {
    let held = file.metadata()?;
    let named = fs_err::symlink_metadata(file.path())?;
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

fn write_holder(file: &mut fs_err::File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The id of the process that holds the lock, as far as its file tells.
fn holder(path: &Path) -> Option<u32> {
    let text = read_bounded(path, 64).ok()?;
    str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// The end of a message, which names the process that holds the lock; empty where it is unknown.
fn named(path: &Path) -> String {
    holder(path).map_or_else(String::new, |pid| format!(" (process {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_dir() -> (tempfile::TempDir, StateDir) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&tmp.path().join("state")).unwrap();
        (tmp, dir)
    }

    #[test]
    fn a_second_watcher_learns_who_holds_the_lock() {
        let (_tmp, dir) = state_dir();
        let held = WatchLock::acquire(&dir).unwrap();
        let err = WatchLock::acquire(&dir).unwrap_err();
        assert_eq!(err.exit, Exit::AlreadyRunning);
        let me = std::process::id().to_string();
        assert!(err.to_string().contains(&me), "{err}");
        drop(held);
        let _again = WatchLock::acquire(&dir).unwrap();
    }

    #[test]
    fn one_that_waits_gets_the_lock_when_its_holder_ends() {
        let (_tmp, dir) = state_dir();
        let held = WatchLock::acquire(&dir).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let dir = dir.clone();
            move || sender.send(WatchLock::wait(&dir).unwrap())
        });
        assert!(receiver.recv_timeout(std::time::Duration::from_millis(50)).is_err());
        drop(held);
        let lock = receiver.recv().unwrap();
        assert!(lock.is_current() && WatchLock::acquire(&dir).is_err());
        waiting.join().unwrap().unwrap();
    }

    /// `rm -rf` of the state directory leaves the holder with a lock on a file that is gone.
    #[test]
    fn one_that_waited_for_a_removed_file_takes_the_new_one() {
        let (_tmp, dir) = state_dir();
        let held = WatchLock::acquire(&dir).unwrap();
        let waiting = std::thread::spawn({
            let dir = dir.clone();
            move || WatchLock::wait(&dir).unwrap()
        });
        fs_err::remove_file(dir.join("watch.lock")).unwrap();
        drop(held);
        assert!(waiting.join().unwrap().is_current());
    }

    #[test]
    fn the_content_of_the_file_decides_nothing() {
        let (_tmp, dir) = state_dir();
        for text in ["", "1\n", "999999999\n", "garbage \0 \x1b[31m"] {
            fs_err::write(dir.join("watch.lock"), text).unwrap();
            let lock = WatchLock::acquire(&dir).unwrap();
            assert!(WatchLock::acquire(&dir).is_err(), "held twice over {text:?}");
            drop(lock);
        }
    }

    #[test]
    fn a_holder_notices_when_its_file_is_removed_or_replaced() {
        let (_tmp, dir) = state_dir();
        let lock = WatchLock::acquire(&dir).unwrap();
        assert!(lock.is_current());
        fs_err::remove_file(dir.join("watch.lock")).unwrap();
        assert!(!lock.is_current());
        let other = WatchLock::acquire(&dir).unwrap();
        assert!(other.is_current() && !lock.is_current());
    }

    #[test]
    fn anything_but_a_regular_file_is_refused_and_kept() {
        let (_tmp, dir) = state_dir();
        let path = dir.join("fetch.lock");
        fs_err::create_dir(&path).unwrap();
        let err = FetchLock::try_acquire(&dir).unwrap_err();
        assert!(err.to_string().contains("fetch.lock"), "{err}");
        fs_err::remove_dir(&path).unwrap();
        fs_err::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(FetchLock::try_acquire(&dir).is_err(), "followed a link");
    }
}
