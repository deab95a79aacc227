//! Opens the state directory, and names what lies in it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::schema::Snapshot;
use super::{atomic, snapshot};
use crate::error::{Error, Result};

/// The file name of the snapshot.
pub const SNAPSHOT: &str = "snapshot.json";
/// The datagram socket on which the watcher receives hints.
pub const SOCKET: &str = "notify.sock";
/// The folder of rendered lines: one file per session, named by its id.
pub const LINES: &str = "lines";
/// The folder of the same lines without colours.
pub const PLAIN: &str = "plain";
/// The folder of lines that displays asked to be fitted: one file per session, named by its id.
pub const FITTED: &str = "fitted";
/// The folder in which `--oneshot` creates a cookie, to learn when the watcher has seen all
/// changes.
pub const SYNC: &str = "sync";
/// The folder of files that programs read while they run.
pub(super) const SCRATCH: &str = "scratch";

/// A state directory that belongs to the user and that no other user can access.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Creates the directory and its folders where they are missing.
    ///
    /// An error means that it cannot be created, is not a directory, belongs to another user, or is
    /// accessible to other users.
    pub fn open(path: &Path) -> Result<StateDir> {
        make_private(path)?;
        for name in [LINES, PLAIN, FITTED, SYNC] {
            make_private(&path.join(name))?;
        }
        Ok(StateDir { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file or folder `name` in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes temporary files of a process that was killed while it wrote.
    ///
    /// The caller must hold the watch lock or the fetch lock: then no other process writes.
    pub fn sweep(&self) {
        for path in self.temporaries() {
            fs_err::remove_file(path).ok();
        }
    }

    /// The temporary files. A process that lives may be writing them.
    pub fn temporaries(&self) -> Vec<PathBuf> {
        let folders = [LINES, PLAIN, FITTED].map(|it| self.join(it));
        let dirs = folders.iter().chain([&self.path]);
        dirs.flat_map(|dir| atomic::temporaries(dir)).collect()
    }

    /// The snapshot on disk. `None` where it is missing or unreadable, or of another version.
    pub fn read_snapshot(&self) -> Option<Snapshot> {
        snapshot::read(&self.join(SNAPSHOT)).ok()
    }
}

/// Creates the directory if it is missing, and checks that it is a directory of the user's that no
/// other user can access. Returns whether it was created.
pub(super) fn make_private(path: &Path) -> Result<bool> {
    let doing = || format!("cannot use the state directory {}", path.display());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let hint = "set CCSTATUSD_DIR to a path that you can write";
    make_parents(parent, doing)?;
    let is_new = match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => false,
        Err(err) => return Err(Error::new(doing()).because(err).hint(hint)),
    };
    // Links are not followed: a link could lead to another user's directory.
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

/// Creates the directories that are missing, for the user alone. Fails below a directory of another
/// user's, who could put something else in their place: so does a program that root started with
/// the `HOME` of a user.
fn make_parents(path: &Path, doing: impl Fn() -> String) -> Result<()> {
    let existing = path.ancestors().find_map(|dir| Some((dir, fs_err::metadata(dir).ok()?)));
    let Some((existing, meta)) = existing.filter(|(existing, _)| *existing != path) else {
        return Ok(());
    };
    let is_trusted = [0, nix::unistd::geteuid().as_raw()].contains(&meta.uid());
    if !is_trusted {
        let owner = format!("{} belongs to user {}", existing.display(), meta.uid());
        return Err(Error::new(format!("{}: {owner}", doing()))
            .hint("run it as that user, or set HOME or CCSTATUSD_DIR (`sudo -H` sets HOME)"));
    }
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(|err| {
        let hint = "set CCSTATUSD_DIR to a path that you can write";
        Error::new(doing()).because(err).hint(hint)
    })
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
    fn parents_that_are_made_are_private() {
        let tmp = tempfile::tempdir().unwrap();
        StateDir::open(&tmp.path().join("a/b/state")).unwrap();
        for name in ["a", "a/b", "a/b/state"] {
            let mode = fs_err::metadata(tmp.path().join(name)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o700, "{name}");
        }
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
