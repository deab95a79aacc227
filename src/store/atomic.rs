//! Writes a file atomically: to a temporary file in the same directory, which is then renamed.
//!
//! There is no fsync, but for the record: all other files are derived data, which the next watcher
//! writes anew, and readers treat a file that they cannot parse as missing.
//!
//! See docs/decisions/010-publish-whole-without-fsync.md.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::OFlag;

const PREFIX: &str = ".ccstatusd-";
const SUFFIX: &str = ".tmp";

/// Writes `bytes` to `dir/name`. At any time a reader sees either the old file or the new one.
///
/// After an error the old file is unchanged and the temporary one is removed.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_with(dir, name, |file| file.write_all(bytes))
}

/// As [`write()`], for content that should not be in memory all at once: `content` writes it.
pub fn write_with(
    dir: &Path,
    name: &str,
    content: impl FnOnce(&mut fs_err::File) -> io::Result<()>,
) -> io::Result<()> {
    #[cfg(test)]
    faults::meet()?;
    let temporary = dir.join(format!("{PREFIX}{name}.{}{SUFFIX}", std::process::id()));
    let made = create(&temporary).map_err(|err| match err.kind() {
        // Otherwise the error would name a file that the caller knows nothing of.
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no directory {}", dir.display()),
        ),
        _ => err,
    });
    let res = made
        .and_then(|mut file| content(&mut file))
        .and_then(|()| fs_err::rename(&temporary, dir.join(name)));
    if res.is_err() {
        fs_err::remove_file(&temporary).ok();
    }
    res
}

/// As [`write()`], for data that cannot be made again: the file and its name are on the disk when
/// this returns.
pub fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_with(dir, name, |file| {
        file.write_all(bytes)?;
        file.sync_all()
    })?;
    sync_dir(dir)
}

/// Waits until the names in a directory are on the disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

fn create(path: &Path) -> io::Result<fs_err::File> {
    let open = || {
        fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
    };
    open().or_else(|err| {
        if err.kind() != io::ErrorKind::AlreadyExists {
            return Err(err);
        }
        // Left over from an earlier process with our id, which was killed while it wrote.
        fs_err::remove_file(path)?;
        open()
    })
}

/// Whether a file of this name is a temporary file of some `ccstatusd` process.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}

/// The temporary files in a directory. A process that lives may be writing them.
pub fn temporaries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs_err::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|it| is_temporary(&it.file_name())).map(|it| it.path())
}

/// Removes the temporary files that killed processes left of the file `dir/name`. No other process
/// may be writing it.
pub fn remove_temporaries_of(dir: &Path, name: &str) {
    let prefix = format!("{PREFIX}{name}.");
    let is_of = |path: &PathBuf| {
        path.file_name().is_some_and(|it| it.as_bytes().starts_with(prefix.as_bytes()))
    };
    for path in temporaries(dir).filter(is_of) {
        fs_err::remove_file(path).ok();
    }
}

/// Lets a test find out what is on the disk after each write of several.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// In this thread, so many writes succeed from now on, and each later one fails; `None` lets
    /// all succeed.
    pub(crate) fn after(n_writes: Option<usize>) {
        LEFT.set(n_writes);
    }

    pub(super) fn meet() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("a fault of the test")),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_written_file_is_private_and_leaves_no_temporary_behind() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", b"one").unwrap();
        write(dir.path(), "a", b"two").unwrap();
        let names: Vec<_> =
            fs_err::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(fs_err::read(dir.path().join("a")).unwrap(), b"two");
        let mode = fs_err::metadata(dir.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_failed_write_keeps_the_target_and_removes_the_temporary() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("a")).unwrap();
        fs_err::write(dir.path().join("a/kept"), "x").unwrap();
        assert!(write(dir.path(), "a", b"two").is_err(), "a file replaced a directory");
        let names: Vec<_> =
            fs_err::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
        assert!(dir.path().join("a/kept").exists());
    }

    #[test]
    fn a_leftover_of_a_killed_process_with_our_id_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let leftover = format!("{PREFIX}a.{}{SUFFIX}", std::process::id());
        fs_err::write(dir.path().join(&leftover), "torn").unwrap();
        assert!(is_temporary(OsStr::new(&leftover)));
        write(dir.path(), "a", b"whole").unwrap();
        assert_eq!(fs_err::read(dir.path().join("a")).unwrap(), b"whole");
    }
}
