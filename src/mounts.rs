//! Which file system a path is on, asked without touching it: one that hangs would hang us.

use std::path::{Path, PathBuf};

use crate::store::read_bounded;

/// A line has a few hundred bytes.
const MAX_TABLE: u64 = 4 << 20;

/// The mount point that `path` lies below, by its name alone: a link that leads to another file
/// system is not seen. Where there is no such table, all paths are on one.
pub fn mount_of(path: &Path) -> PathBuf {
    // The kernel says that this file is empty, so it is not read by its length.
    let table = read_bounded(Path::new("/proc/self/mountinfo"), MAX_TABLE).unwrap_or_default();
    longest(&String::from_utf8_lossy(&table), path)
}

fn longest(table: &str, path: &Path) -> PathBuf {
    let points = table.lines().filter_map(|it| it.split(' ').nth(4)).map(unescaped);
    let around = points.filter(|it| path.starts_with(it));
    around.max_by_key(|it| it.as_os_str().len()).unwrap_or_else(|| "/".into())
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
        let check = |path: &str, point: &str| {
            assert_eq!(longest(table, Path::new(path)), Path::new(point), "{path}");
        };
        check("/home/u/net disk/p/.git", "/home/u/net disk");
        check("/home/u/net", "/home");
        check("/homes", "/");
        check("relative", "/");
        assert_eq!(longest("", Path::new("/x")), Path::new("/"));
        assert_eq!(
            longest("nonsense\n1 2 3 4 /x\\9 6\n", Path::new("/x\\9/y")),
            Path::new("/x\\9")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernels_own_table_is_understood() {
        assert_eq!(mount_of(Path::new("/proc/self")), Path::new("/proc"));
    }
}
