//! Which file system a path is on, and how far a thread has come along a path.
//!
//! A thread that touches a hung file system hangs itself. A path's name does not say where its
//! links lead, so another thread sees what hangs only from how far the first has come.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::file::read_bounded;

/// Bytes of the kernel's table that are read. A line has a few hundred.
const MAX_TABLE: u64 = 4 << 20;
/// Links that are followed in one path. The kernel has the same limit.
const MAX_LINKS: usize = 40;

/// The kernel's table of mounts. Where the kernel offers none, all paths are on one file system.
#[derive(Debug)]
pub(super) struct Mounts(String);

impl Mounts {
    /// Reads the table. This touches no file system but `/proc`, so it does not hang.
    pub(super) fn read() -> Mounts {
        // Its length as a file is 0, so it is not read by length.
        let table = read_bounded(Path::new("/proc/self/mountinfo"), MAX_TABLE).unwrap_or_default();
        Mounts(String::from_utf8_lossy(&table).into_owned())
    }

    /// The mount point that `path` lies below. The path must not contain links: only its name is
    /// compared.
    pub(super) fn mount_point(&self, path: &Path) -> PathBuf {
        let points = self.0.lines().filter_map(|it| it.split(' ').nth(4)).map(unescaped);
        let around = points.filter(|it| path.starts_with(it));
        around.max_by_key(|it| it.as_os_str().len()).unwrap_or_else(|| "/".into())
    }
}

/// How far a thread has come along a path. Other threads read it from a clone, to find out where
/// the thread hangs.
#[derive(Clone, Debug, Default)]
pub(super) struct PathProgress(Arc<Mutex<PathBuf>>);

impl PathProgress {
    /// Follows every link in `path`. Stops before the first component on one of the `barred` file
    /// systems, and returns that file system's mount point as the error.
    pub(super) fn follow(&self, path: &Path, barred: &BTreeSet<PathBuf>) -> Result<(), PathBuf> {
        let mounts = (!barred.is_empty()).then(Mounts::read);
        let mut ahead = reversed_components(path);
        let mut at = PathBuf::new();
        let mut n_links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            self.lock().clone_from(&at);
            let mount = mounts.as_ref().map(|it| it.mount_point(&at));
            if let Some(mount) = mount.filter(|it| barred.contains(it)) {
                return Err(mount);
            }
            // An error means that this is no link, or an unreadable one; the caller finds out.
            // Most components are no links, and fs_err would allocate an error for each.
            if n_links < MAX_LINKS
                && let Ok(target) = std::fs::read_link(&at)
            {
                n_links += 1;
                at.pop();
                ahead.extend(reversed_components(&target));
            }
        }
        Ok(())
    }

    /// The component that the thread has reached, as a path without links.
    pub(super) fn reached(&self) -> PathBuf {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reversed_components(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|it| it.as_os_str().to_owned()).collect()
}

/// The table writes blanks and the like as octal escapes, `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut name = String::new();
    let mut parts = text.split('\\');
    name.extend(parts.next());
    for part in parts {
        let code = part.get(..3).and_then(|it| u8::from_str_radix(it, 8).ok());
        match code {
            Some(code) => name.extend([char::from(code).to_string().as_str(), &part[3..]]),
            None => name.extend(["\\", part]),
        }
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_the_nearest_above() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:9 / /home/u/net\\040disk rw,nosuid - nfs4 server:/x rw\n\
                     3 1 0:8 / /home rw - ext4 /dev/b rw\n";
        let check = |table: &str, path: &str, point: &str| {
            assert_eq!(
                Mounts(table.to_owned()).mount_point(Path::new(path)),
                Path::new(point),
                "{path}"
            );
        };
        check(table, "/home/u/net disk/p/.git", "/home/u/net disk");
        check(table, "/home/u/net", "/home");
        check(table, "/homes", "/");
        check(table, "relative", "/");
        check("", "/x", "/");
        check("nonsense\n1 2 3 4 /x\\9 6\n", "/x\\9/y", "/x\\9");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernels_own_table_can_be_read() {
        assert_eq!(Mounts::read().mount_point(Path::new("/proc/self")), Path::new("/proc"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn links_are_followed_and_a_barred_file_system_is_not_entered() {
        let tmp = tempfile::tempdir().unwrap();
        let tmp = fs_err::canonicalize(tmp.path()).unwrap();
        let link = |to: &str, name: &str| {
            fs_err::os::unix::fs::symlink(to, tmp.join(name)).unwrap();
        };
        fs_err::create_dir_all(tmp.join("a/b")).unwrap();
        link("a/b", "b");
        link("b/../../b/..", "a2");
        link("/proc", "a/b/proc");
        link("loop", "loop");
        let check = |path: &str, end: &Path| {
            let progress = PathProgress::default();
            assert_eq!(progress.follow(&tmp.join(path), &BTreeSet::new()), Ok(()), "{path}");
            assert_eq!(progress.reached(), end, "{path}");
        };
        check("b", &tmp.join("a/b"));
        check("a2/b/nothing/there", &tmp.join("a/b/nothing/there"));
        check("a2/b/proc/sys", Path::new("/proc/sys"));
        check("loop", &tmp.join("loop"));
        let barred = BTreeSet::from(["/proc".into()]);
        let follow = |path: &str| PathProgress::default().follow(&tmp.join(path), &barred);
        assert_eq!(follow("b"), Ok(()));
        assert_eq!(follow("a2/b/proc/sys"), Err("/proc".into()));
    }
}
