//! Which file system a path is on, and how far the way there goes: one that hangs hangs whoever
//! touches it, and by its name alone nobody knows where a link leads.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::file::read_bounded;

/// A line has a few hundred bytes.
const MAX_TABLE: u64 = 4 << 20;
/// As the kernel.
const MAX_LINKS: usize = 40;

/// The kernel's table of mounts. Where there is none, all paths are on one file system.
#[derive(Debug)]
pub struct Mounts(String);

impl Mounts {
    /// As it is now. No file system is touched for it.
    pub fn read() -> Mounts {
        // The kernel says that this file is empty, so it is not read by its length.
        let table = read_bounded(Path::new("/proc/self/mountinfo"), MAX_TABLE).unwrap_or_default();
        Mounts(String::from_utf8_lossy(&table).into_owned())
    }

    /// The mount point that `path` lies below, by its name alone: there is to be no link in it.
    pub fn of(&self, path: &Path) -> PathBuf {
        let points = self.0.lines().filter_map(|it| it.split(' ').nth(4)).map(unescaped);
        let around = points.filter(|it| path.starts_with(it));
        around.max_by_key(|it| it.as_os_str().len()).unwrap_or_else(|| "/".into())
    }
}

/// How far a thread has come on its way to a path, for whoever finds that it hangs.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<PathBuf>>);

impl Trail {
    /// Follows every link on the way to `path`. Where that leads to a file system that is not to
    /// be touched, it stops before, and says which.
    pub fn follow(&self, path: &Path, barred: &BTreeSet<PathBuf>) -> Result<(), PathBuf> {
        let mounts = (!barred.is_empty()).then(Mounts::read);
        let names = |it: &Path| -> Vec<OsString> {
            it.components().rev().map(|it| it.as_os_str().to_owned()).collect()
        };
        let mut ahead = names(path);
        let mut at = PathBuf::new();
        let mut n_links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            self.lock().clone_from(&at);
            let mount = mounts.as_ref().map(|it| it.of(&at));
            if let Some(it) = mount.filter(|it| barred.contains(it)) {
                return Err(it);
            }
            // No link, or none that can be read: then that is the end, which the caller will find.
            // With fs_err each of the many that are no link would cost an error with a path.
            if n_links < MAX_LINKS
                && let Ok(target) = std::fs::read_link(&at)
            {
                n_links += 1;
                at.pop();
                ahead.extend(names(&target));
            }
        }
        Ok(())
    }

    /// Where it is, without links.
    pub fn at(&self) -> PathBuf {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blanks and the like stand there as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut name = String::new();
    let mut parts = text.split('\\');
    name.extend(parts.next());
    for part in parts {
        let code = part.get(..3).and_then(|it| u8::from_str_radix(it, 8).ok());
        match code {
            Some(it) => name.extend([char::from(it).to_string().as_str(), &part[3..]]),
            None => name.extend(["\\", part]),
        }
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:9 / /home/u/net\\040disk rw,nosuid - nfs4 server:/x rw\n\
                     3 1 0:8 / /home rw - ext4 /dev/b rw\n";
        let check = |table: &str, path: &str, point: &str| {
            assert_eq!(Mounts(table.to_owned()).of(Path::new(path)), Path::new(point), "{path}");
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
    fn the_kernels_own_table_is_understood() {
        assert_eq!(Mounts::read().of(Path::new("/proc/self")), Path::new("/proc"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_way_leads_where_its_links_lead_and_stops_before_what_is_barred() {
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
            let trail = Trail::default();
            assert_eq!(trail.follow(&tmp.join(path), &BTreeSet::new()), Ok(()), "{path}");
            assert_eq!(trail.at(), end, "{path}");
        };
        check("b", &tmp.join("a/b"));
        check("a2/b/nothing/there", &tmp.join("a/b/nothing/there"));
        check("a2/b/proc/sys", Path::new("/proc/sys"));
        check("loop", &tmp.join("loop"));
        let barred = BTreeSet::from(["/proc".into()]);
        let follow = |path: &str| Trail::default().follow(&tmp.join(path), &barred);
        assert_eq!(follow("b"), Ok(()));
        assert_eq!(follow("a2/b/proc/sys"), Err("/proc".into()));
    }
}
