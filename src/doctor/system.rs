//! Whether the system gives the watcher what it needs: git, the kernel's events, and room on the
//! disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Finding, Fix};
use crate::fetch::exec::RunError;
use crate::programs::{ASK_TIMEOUT, Programs};
use crate::store::dir::StateDir;

const GIT: &str = "git";
const DISK: &str = "disk";
#[cfg(target_os = "linux")]
const INOTIFY: &str = "inotify";
const LEFTOVERS: &str = "leftovers";

/// Before it, git does not tell which of its files a setting is from, so it cannot be kept from
/// running what a repository names.
const OLDEST_GIT: (u32, u32) = (2, 26);

/// The checkpoint and the snapshot of a busy year take a few MiB, each twice for a moment.
const LEAST_FREE: u64 = 32 << 20;

/// The program that git facts come from.
pub(super) fn git(programs: &Programs) -> Finding {
    let install = "install git 2.26 or newer, in a directory of the watcher's PATH";
    let output = match programs.call("git", &["--version"], &[], ASK_TIMEOUT) {
        Ok(output) => output,
        Err(RunError::NotFound { .. }) => {
            return Finding::problem(GIT, "there is no git in PATH: no git state", install);
        }
        Err(err) => return Finding::problem(GIT, format!("`git --version` {err}"), install),
    };
    let said = output.lines().next().unwrap_or_default();
    match git_version(said) {
        Some(version) if version >= OLDEST_GIT => Finding::good(GIT, said),
        Some(_) => Finding::problem(GIT, format!("{said} is too old: no git state"), install),
        None => Finding::problem(GIT, format!("`git --version` says {said:?}"), install),
    }
}

/// The version in `git version 2.39.5 (Apple Git-154)`.
fn git_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The room on the disk of the state directory, and whom the directory belongs to.
#[cfg_attr(
    target_os = "linux",
    expect(clippy::useless_conversion, reason = "the numbers are narrower on a Mac")
)]
pub(super) fn disk(path: &Path) -> Finding {
    match fs_err::symlink_metadata(path) {
        Err(err) => return Finding::problem(DISK, err.to_string(), "make it readable"),
        Ok(meta) if meta.mode() & 0o700 != 0o700 => {
            let what =
                format!("you may not use {} (mode {:03o})", path.display(), meta.mode() & 0o777);
            return Finding::problem(DISK, what, format!("chmod 700 '{}'", path.display()));
        }
        Ok(_) => {}
    }
    match nix::sys::statvfs::statvfs(path) {
        Err(err) => {
            let what = format!("the disk of {} cannot be asked: {err}", path.display());
            Finding::note(DISK, what, "look whether it works")
        }
        Ok(disk) => {
            let blocks = u64::from(disk.blocks_available());
            let free = blocks.saturating_mul(u64::from(disk.fragment_size()));
            // File systems that make inodes as they need them have none in advance.
            let n_files = (disk.files() > 0).then(|| u64::from(disk.files_available()));
            room(path, free, n_files)
        }
    }
}

fn room(path: &Path, free: u64, n_files: Option<u64>) -> Finding {
    let at = path.display();
    let todo = "make room: the watcher cannot publish on a full disk";
    match n_files {
        Some(0..16) => Finding::problem(DISK, format!("no more files fit at {at}"), todo),
        _ if free < LEAST_FREE => {
            Finding::problem(DISK, format!("{} MiB are free at {at}", free >> 20), todo)
        }
        _ => Finding::good(DISK, format!("{at} is yours alone; {} MiB are free", free >> 20)),
    }
}

/// Temporary files of processes that were killed. While a watcher runs they may be in use.
pub(super) fn leftovers(dir: &StateDir) -> Finding {
    match dir.temporaries().len() {
        0 => Finding::good(LEFTOVERS, "no process has left a temporary file behind"),
        n => {
            let at = dir.path().display();
            let what = format!("temporary files that killed processes left in {at}: {n}");
            let todo = "the next watcher removes them when it starts";
            Finding::note(LEFTOVERS, what, todo).fix(Fix::RemoveTemporaries)
        }
    }
}

/// What the user's processes use of the kernel's events, and how much they may.
#[cfg(target_os = "linux")]
pub(super) fn inotify() -> Vec<Finding> {
    let limit = |name: &str| {
        let text = fs_err::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let used = used_inotify();
    let watches = limit("max_user_watches").map(|max| share("watches", used.n_watches, max));
    let instances =
        limit("max_user_instances").map(|max| share("instances", used.n_instances, max));
    [watches, instances].into_iter().flatten().collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn inotify() -> Vec<Finding> {
    Vec::new()
}

/// One of the two limits of inotify.
#[cfg(target_os = "linux")]
fn share(name: &str, used: usize, max: usize) -> Finding {
    let what = format!("your processes use {used} of {max} {name}");
    // Nearly all: the next directory, or the next program, may be refused.
    match used.saturating_mul(20) >= max.saturating_mul(19) {
        true => Finding::problem(
            INOTIFY,
            format!("{what}: the watcher lists directories in turn instead"),
            format!("as root: `sysctl fs.inotify.max_user_{name}={}`", (max * 4).max(1024)),
        ),
        false => Finding::good(INOTIFY, what),
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
struct UsedInotify {
    n_instances: usize,
    n_watches: usize,
}

/// Counts over all processes of this user. A descriptor that several share counts several times,
/// which is rare.
#[cfg(target_os = "linux")]
fn used_inotify() -> UsedInotify {
    let mut used = UsedInotify::default();
    for process in super::others::own_processes() {
        for entry in fs_err::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let target = fs_err::read_link(entry.path()).unwrap_or_default();
            if target != Path::new("anon_inode:inotify") {
                continue;
            }
            used.n_instances += 1;
            let info = process.join("fdinfo").join(entry.file_name());
            let info = fs_err::read(info).unwrap_or_default();
            used.n_watches += memchr::memmem::find_iter(&info, b"inotify wd:").count();
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn the_version_of_git_is_compared_by_its_numbers() {
        assert_eq!(git_version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(git_version("git version 2.9.1"), Some((2, 9)));
        assert!(git_version("git version 2.9.1") < Some(OLDEST_GIT));
        assert_eq!(git_version("gitoxide 1"), None);
    }

    #[test]
    fn a_disk_without_room_or_files_is_a_problem() {
        let level = |free, n_files| room(Path::new("/s"), free, n_files).level;
        assert_eq!(level(LEAST_FREE, None), Level::Good);
        assert_eq!(level(LEAST_FREE, Some(1000)), Level::Good);
        assert_eq!(level(LEAST_FREE - 1, Some(1000)), Level::Problem);
        assert_eq!(level(LEAST_FREE, Some(0)), Level::Problem);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_limit_that_is_nearly_reached_is_a_problem() {
        assert_eq!(share("watches", 94, 100).level, Level::Good);
        let found = share("watches", 95, 100);
        assert_eq!(found.level, Level::Problem);
        assert!(found.todo.unwrap().contains("fs.inotify.max_user_watches=1024"));
    }
}
