//! Finds the repository that a directory belongs to, and the directories in it that are to be
//! watched. Reads a few small files, and runs no program.
//!
//! The search follows git's rules, so that both find the same repository. Whether to trust the
//! repository of another user is decided by git alone.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::file::read_bounded;

/// The most directories that are watched for one working tree. In a repository with more, a change
/// of some references is noticed only together with another change.
const MAX_WATCHED: usize = 512;

/// The most entries that are read of one directory of references.
const MAX_ENTRIES: usize = 10_000;

/// The most bytes of a file that contains a path. The system's limit on paths is 4096.
const MAX_POINTER: u64 = 8192;

/// A working tree, or a bare repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkTree {
    /// The top directory of the files; for a bare repository, the repository itself.
    pub top: PathBuf,
    /// The directory with `HEAD`, the index and an operation in progress of this working tree.
    pub git_dir: PathBuf,
    /// The directory with the references and the configuration, which all working trees of a
    /// repository share. Equal to `git_dir`, except for a linked working tree.
    pub common_dir: PathBuf,
    /// Whether there are no files, so that only the branch is known.
    pub is_bare: bool,
}

impl WorkTree {
    /// The nearest working tree at or above `cwd`, on the same file system. Submodules and linked
    /// working trees are working trees of their own.
    ///
    /// Within a `.git` directory it is the working tree around it. Within the repository of a
    /// submodule, below `.git`, it is that repository as if it were bare.
    ///
    /// `None` where there is no repository, and where the nearest `.git` is a file that does not
    /// lead to a repository: git does not search further up either. An error means that `cwd` does
    /// not exist or cannot be reached.
    pub fn discover(cwd: &Path) -> io::Result<Option<WorkTree>> {
        let cwd = fs_err::canonicalize(cwd)?;
        let device = fs_err::metadata(&cwd)?.dev();
        Ok(WorkTree::around(&cwd, device))
    }

    fn around(cwd: &Path, device: u64) -> Option<WorkTree> {
        for dir in cwd.ancestors() {
            if fs_err::metadata(dir).ok()?.dev() != device {
                return None;
            }
            let dot_git = dir.join(".git");
            let kind = fs_err::metadata(&dot_git).ok();
            let git_dir = if kind.as_ref().is_some_and(|it| it.is_file()) {
                // If the file leads nowhere, the search ends, as it does in git.
                Some(pointed_to(&dot_git, b"gitdir: ").filter(|it| is_git_dir(it))?)
            } else {
                Some(dot_git).filter(|it| is_git_dir(it))
            };
            if let Some(git_dir) = git_dir {
                return WorkTree::new(dir, &git_dir, false);
            }
            if is_git_dir(dir) {
                return match dir.parent() {
                    Some(top) if dir.file_name() == Some(OsStr::new(".git")) => {
                        WorkTree::new(top, dir, false)
                    }
                    _ => WorkTree::new(dir, dir, true),
                };
            }
        }
        None
    }

    fn new(top: &Path, git_dir: &Path, is_bare: bool) -> Option<WorkTree> {
        Some(WorkTree {
            top: top.to_owned(),
            git_dir: fs_err::canonicalize(git_dir).ok()?,
            common_dir: fs_err::canonicalize(common_dir(git_dir)).ok()?,
            is_bare,
        })
    }

    /// The folder of a linked working tree; `None` for other working trees. Git's own name for it,
    /// below `worktrees`, is the one that it was made under, with a number if that was taken.
    pub fn linked_name(&self) -> Option<String> {
        let name = self.top.file_name().filter(|_| self.is_linked())?;
        Some(name.to_string_lossy().into_owned())
    }

    /// Whether the repository lies in one of these directories. Its working tree may lie elsewhere,
    /// since what git runs is named in the repository.
    pub fn lies_in(&self, dirs: &[PathBuf]) -> bool {
        let is_in = |path: &Path| dirs.iter().any(|dir| path.starts_with(dir));
        is_in(&self.git_dir) && is_in(&self.common_dir)
    }

    /// Whether all that git compares for its check of who owns a repository belongs to this user.
    /// Otherwise git reads it only where the user's configuration says so.
    pub fn is_own(&self) -> bool {
        let user = nix::unistd::geteuid().as_raw();
        let owns = |path: &Path| fs_err::symlink_metadata(path).is_ok_and(|it| it.uid() == user);
        owns(&self.git_dir) && (self.is_bare || owns(&self.top) && owns(&self.top.join(".git")))
    }

    /// The directories to watch, each without its subdirectories. Every change in git's own files
    /// that can alter the state of the repository occurs in one of them, and
    /// [`matters`](Self::matters) recognises it.
    ///
    /// After a change that matters the caller must ask again, since directories appear and
    /// disappear. The files of the working tree itself are not watched.
    pub fn watch_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.git_dir.clone()];
        if self.is_linked() {
            dirs.push(self.common_dir.clone());
        }
        let mut references: VecDeque<PathBuf> = dirs.iter().map(|it| it.join("refs")).collect();
        let tables: Vec<PathBuf> = dirs.iter().map(|it| it.join("reftable")).collect();
        let own = ["rebase-merge", "rebase-apply", "sequencer", "info"];
        let own = own.iter().map(|it| self.git_dir.join(it));
        // The entries of the stash are lines of `logs/refs/stash`.
        let shared = ["info", "logs/refs"].iter().map(|it| self.common_dir.join(it));
        dirs.extend(tables.into_iter().chain(own).chain(shared).filter(|it| is_dir(it)));
        dirs.sort();
        dirs.dedup();
        // Breadth first, so that the directories beyond the limit are the deepest ones.
        while let Some(dir) = references.pop_front().filter(|_| dirs.len() < MAX_WATCHED) {
            let Ok(entries) = fs_err::read_dir(&dir) else { continue };
            let mut below: Vec<PathBuf> = entries
                .take(MAX_ENTRIES)
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()))
                .map(|entry| entry.path())
                .collect();
            below.sort();
            enqueue(&mut references, below);
            dirs.push(dir);
        }
        self.add_submodules(&mut dirs);
        dirs
    }

    /// Adds the directories in which it shows that another commit is checked out in a submodule:
    /// that of its `HEAD`, and that of the log of its `HEAD` or of its tables of references. The
    /// repositories of submodules lie in `modules`, by their names, which may be paths.
    fn add_submodules(&self, dirs: &mut Vec<PathBuf>) {
        let mut todo = VecDeque::from([self.git_dir.join("modules")]);
        while let Some(dir) = todo.pop_front().filter(|_| dirs.len() < MAX_WATCHED) {
            if is_git_dir(&dir) {
                let inner = ["logs", "reftable"].iter().map(|it| dir.join(it));
                dirs.extend(inner.filter(|it| is_dir(it)));
            } else {
                let Ok(entries) = fs_err::read_dir(&dir) else { continue };
                let entries = entries.take(MAX_ENTRIES).flatten();
                let below = entries
                    .filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()))
                    .map(|entry| entry.path());
                enqueue(&mut todo, below);
            }
            dirs.push(dir);
        }
        dirs.truncate(MAX_WATCHED);
    }

    /// Whether a change of `path`, which lies directly in one of [`watch_dirs`](Self::watch_dirs),
    /// can alter the state of the repository. Reads nothing.
    pub fn matters(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().map(OsStr::as_bytes) else { return false };
        if name.ends_with(b".lock") || NOISE.iter().any(|it| name.starts_with(it)) {
            return false;
        }
        match path.parent() {
            Some(dir) if dir == self.git_dir => !UNRELATED.iter().any(|it| name == it.as_bytes()),
            // In the common directory, `HEAD` and the index belong to the main working tree.
            Some(dir) if dir == self.common_dir => SHARED.iter().any(|it| name == it.as_bytes()),
            Some(dir) if dir == self.common_dir.join("logs/refs") => name == b"stash",
            // Of a submodule only the commit counts that is checked out.
            Some(dir) if dir.starts_with(self.git_dir.join("modules")) => {
                let is_own = name == b"index" || name == b"config" || name == b"refs";
                name == b"logs" || !is_own && !UNRELATED.iter().any(|it| name == it.as_bytes())
            }
            // Directories of references: a branch may have any name.
            _ => true,
        }
    }

    /// Whether this is not the main working tree of its repository.
    pub fn is_linked(&self) -> bool {
        self.git_dir != self.common_dir
    }
}

/// Beginnings of the names of temporary files that other tools create.
const NOISE: [&[u8]; 3] = [b".watchman-cookie-", b".gitstatus.", b"fsmonitor--daemon"];

/// Names beside `HEAD` that do not affect the state. Every fetch writes `FETCH_HEAD`, but the
/// commits that it brought are referenced in `refs`.
const UNRELATED: [&str; 15] = [
    "COMMIT_EDITMSG",
    "FETCH_HEAD",
    "MERGE_MSG",
    "ORIG_HEAD",
    "SQUASH_MSG",
    "TAG_EDITMSG",
    "branches",
    "description",
    "gc.log",
    "gc.pid",
    "hooks",
    "lfs",
    "logs",
    "objects",
    "worktrees",
];

/// Names in the common directory that affect every working tree.
const SHARED: [&str; 6] = ["config", "info", "packed-refs", "refs", "reftable", "shallow"];

fn is_git_dir(dir: &Path) -> bool {
    // `HEAD` may be a symbolic link to a branch that does not exist yet. Most directories have
    // none, so it is looked for first.
    let head = fs_err::symlink_metadata(dir.join("HEAD"));
    head.is_ok_and(|it| it.is_file() || it.is_symlink()) && {
        let common = common_dir(dir);
        is_dir(&common.join("objects")) && is_dir(&common.join("refs"))
    }
}

/// The common directory of a git directory, which is the same one unless `commondir` names another.
fn common_dir(git_dir: &Path) -> PathBuf {
    pointed_to(&git_dir.join("commondir"), b"").unwrap_or_else(|| git_dir.to_owned())
}

/// The path that a file contains after `prefix`. A relative path is relative to the file's
/// directory.
fn pointed_to(file: &Path, prefix: &[u8]) -> Option<PathBuf> {
    let text = read_bounded(file, MAX_POINTER).ok()?;
    let path = text.strip_prefix(prefix)?.trim_ascii_end();
    (!path.is_empty()).then(|| file.parent().map(|it| it.join(OsStr::from_bytes(path))))?
}

/// Appends directories to those that wait for their turn, as far as it can come: each takes one of
/// the [`MAX_WATCHED`] places. Without this, millions could wait.
fn enqueue(waiting: &mut VecDeque<PathBuf>, more: impl IntoIterator<Item = PathBuf>) {
    let room = MAX_WATCHED.saturating_sub(waiting.len());
    waiting.extend(more.into_iter().take(room));
}

fn is_dir(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|it| it.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tree: &WorkTree, matters: &[&str], does_not: &[&str]) {
        for path in matters {
            assert!(tree.matters(Path::new(path)), "{path} matters");
        }
        for path in does_not {
            assert!(!tree.matters(Path::new(path)), "{path} does not matter");
        }
    }

    #[test]
    fn no_more_directories_wait_than_can_be_watched() {
        let mut waiting = VecDeque::new();
        for n in 0..3 {
            enqueue(&mut waiting, (0..400).map(|it| format!("{n}/{it}").into()));
        }
        assert_eq!(waiting.len(), MAX_WATCHED);
        assert_eq!(waiting.back().unwrap(), Path::new("1/111"));
    }

    #[test]
    fn locks_and_temporary_files_do_not_matter() {
        let tree = WorkTree {
            top: "/p".into(),
            git_dir: "/p/.git".into(),
            common_dir: "/p/.git".into(),
            is_bare: false,
        };
        check(
            &tree,
            &[
                "/p/.git/HEAD",
                "/p/.git/index",
                "/p/.git/packed-refs",
                "/p/.git/rebase-merge",
                "/p/.git/refs/heads/logs",
                "/p/.git/reftable/tables.list",
            ],
            &[
                "/",
                "/p/.git/index.lock",
                "/p/.git/refs/heads/main.lock",
                "/p/.git/reftable/tables.list.lock",
                "/p/.git/.watchman-cookie-host-1",
                "/p/.git/.gitstatus.x7",
                "/p/.git/fsmonitor--daemon.ipc",
                "/p/.git/logs",
                "/p/.git/COMMIT_EDITMSG",
            ],
        );
    }

    #[test]
    fn the_index_of_the_main_working_tree_does_not_matter_to_a_linked_one() {
        let tree = WorkTree {
            top: "/w".into(),
            git_dir: "/p/.git/worktrees/w".into(),
            common_dir: "/p/.git".into(),
            is_bare: false,
        };
        check(
            &tree,
            &["/p/.git/worktrees/w/index", "/p/.git/refs/heads/main", "/p/.git/packed-refs"],
            &["/p/.git/index", "/p/.git/HEAD", "/p/.git/MERGE_HEAD"],
        );
    }
}
