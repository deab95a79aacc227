//! The state directory.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::schema::Snapshot;
use super::{atomic, snapshot};
use crate::error::{Error, Result};

/// The snapshot's file name.
pub const SNAPSHOT: &str = "snapshot.json";
/// The datagram socket on which the watcher takes hints.
pub const SOCKET: &str = "notify.sock";
/// The folder of rendered lines.
pub const LINES: &str = "lines";
/// The folder of cookies, which `--oneshot` drops beside a living watcher.
pub const SYNC: &str = "sync";
/// The line in [`LINES`] of the session that was active last.
pub const LATEST: &str = "latest";

/// The state directory, checked.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it where it is missing, and checks that nobody else can write
    /// or read it.
    pub fn open(path: &Path) -> Result<StateDir> {
        make_private(path)?;
        for name in [LINES, SYNC] {
            make_private(&path.join(name))?;
        }
        Ok(StateDir { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes what a watcher that was killed in the middle of writing left behind.
    ///
    /// Only for the holder of the watch lock or the fetch lock: nobody else writes then.
    pub fn sweep(&self) {
        for dir in [self.path.clone(), self.join(LINES)] {
            let Ok(entries) = fs_err::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                if atomic::is_temporary(&entry.file_name()) {
                    fs_err::remove_file(entry.path()).ok();
                }
            }
        }
    }

    /// The snapshot on disk; `None` where there is none, or none that this version understands.
    pub fn read_snapshot(&self) -> Option<Snapshot> {
        snapshot::read(&self.join(SNAPSHOT)).ok()
    }
}

/// Sees to it that a directory is there and ours alone. Says whether it had to be made.
pub(super) fn make_private(path: &Path) -> Result<bool> {
    let doing = || format!("cannot use the state directory {}", path.display());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let hint = "set CCSTATUSD_DIR to a path that you can write";
    fs_err::create_dir_all(parent).map_err(|it| Error::new(doing()).because(it).hint(hint))?;
    let is_new = match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(it) if it.kind() == io::ErrorKind::AlreadyExists => false,
        Err(it) => return Err(Error::new(doing()).because(it).hint(hint)),
    };
    // Not followed: a link here could be somebody else's.
    let meta = fs_err::symlink_metadata(path).map_err(|it| Error::new(doing()).because(it))?;
    if !meta.is_dir() {
        return Err(Error::new(format!("{}: it is not a directory", doing()))
            .hint("move it away, or set CCSTATUSD_DIR to another path"));
    }
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != me {
        return Err(Error::new(format!("{}: it belongs to user {}", doing(), meta.uid()))
            .hint("set CCSTATUSD_DIR to a directory of your own"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(Error::new(format!(
            "{}: others may use it (mode {:03o})",
            doing(),
            meta.mode() & 0o777
        ))
        .hint(format!("chmod 700 '{}'", path.display())));
    }
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_may_use_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        fs_err::create_dir(&path).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let err = StateDir::open(&path).unwrap_err().to_string();
        assert!(err.contains("mode 755") && err.contains("chmod 700"), "{err}");
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        fs_err::os::unix::fs::symlink(tmp.path(), &path).unwrap();
        let err = StateDir::open(&path).unwrap_err().to_string();
        assert!(err.contains("not a directory"), "{err}");
    }
}
