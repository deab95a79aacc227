//! The two kernel locks, as values.
//!
//! `flock` on files that are never deleted: the kernel frees a lock when its holder dies, so there
//! is no stale lock, and nothing here ever judges whether some other process is dead. The process
//! id inside is for people.
//!
//! **Invariant:** a lock is held on the file that its path names. Somebody may remove the file
//! (`rm -rf` on the state directory): then [`WatchLock::is_current`] says so, and the holder goes.

use std::fs::TryLockError;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::OFlag;

use super::dir::StateDir;
use super::file::read_bounded;
use crate::error::{Error, Exit, Result};

/// Proof that this process is the only watcher.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct WatchLock {
    file: fs_err::File,
}

/// Proof that this process alone may run external fetches and, without a watcher, publish.
/// Dropping it lets the next one in.
///
/// The file is never deleted: unlinking would let two holders lock two different inodes.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct FetchLock {
    file: fs_err::File,
}

/// Between fork and exec a child of another thread holds our descriptors, too, and with them the
/// lock. Unlocking frees it for all of them at once.
impl Drop for FetchLock {
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

impl WatchLock {
    /// Takes the lock, or says who holds it.
    pub fn acquire(dir: &StateDir) -> Result<WatchLock> {
        let path = dir.join("watch.lock");
        match acquire(&path)? {
            Some(file) => Ok(WatchLock { file }),
            None => Err(Error::new(format!("another ccstatusd is running{}", holder(&path)))
                .hint("`ccstatusd show` and `ccstatusd --oneshot` work beside it; do not start a second one")
                .exit(Exit::AlreadyRunning)),
        }
    }

    /// Whether the path still names the file that we hold. If not, another watcher may hold the
    /// lock of the same name, and we must not publish any more.
    pub fn is_current(&self) -> bool {
        is_same_file(&self.file).unwrap_or(false)
    }
}

impl FetchLock {
    /// Takes the lock if nobody holds it. `None`: somebody else fetches now.
    pub fn try_acquire(dir: &StateDir) -> Result<Option<FetchLock>> {
        Ok(acquire(&dir.join("fetch.lock"))?.map(|file| FetchLock { file }))
    }
}

/// The locked file, with our process id in it; `None` where somebody else holds it.
fn acquire(path: &Path) -> Result<Option<fs_err::File>> {
    let doing = || Error::new(format!("cannot take the lock {}", path.display()));
    let hint = "it must be a regular file of yours that you can write; move it away";
    // Between our open and our lock somebody may put another file in its place. Each round
    // means that it happened once more.
    for _ in 0..16 {
        let mut file = open(path).map_err(|it| doing().because(it).hint(hint))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(it)) => return Err(doing().because(it)),
        }
        if is_same_file(&file).unwrap_or(false) {
            // For people only, so a full disk is no reason to fail.
            write_holder(&mut file).ok();
            return Ok(Some(file));
        }
    }
    Err(doing().because("it is replaced again and again"))
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    // No O_TRUNC: a loser would wipe the holder's process id.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn is_same_file(file: &fs_err::File) -> io::Result<bool> {
    let held = file.metadata()?;
    let named = fs_err::symlink_metadata(file.path())?;
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

fn write_holder(file: &mut fs_err::File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(path: &Path) -> String {
    let text = read_bounded(path, 64).unwrap_or_default();
    let pid = str::from_utf8(&text).ok().and_then(|it| it.trim().parse::<u32>().ok());
    pid.map_or_else(String::new, |it| format!(" (process {it})"))
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
    fn what_the_file_says_decides_nothing() {
        let (_tmp, dir) = state_dir();
        for text in ["", "1\n", "999999999\n", "garbage \0 \x1b[31m"] {
            fs_err::write(dir.join("watch.lock"), text).unwrap();
            let lock = WatchLock::acquire(&dir).unwrap();
            assert!(WatchLock::acquire(&dir).is_err(), "held twice over {text:?}");
            drop(lock);
        }
    }

    #[test]
    fn a_holder_notices_that_its_file_was_removed_or_replaced() {
        let (_tmp, dir) = state_dir();
        let lock = WatchLock::acquire(&dir).unwrap();
        assert!(lock.is_current());
        fs_err::remove_file(dir.join("watch.lock")).unwrap();
        assert!(!lock.is_current());
        let other = WatchLock::acquire(&dir).unwrap();
        assert!(other.is_current() && !lock.is_current());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_kept() {
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
