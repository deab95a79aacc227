//! What is checked out, by git's own files and without running git.
//!
//! See docs/decisions/023-show-reads-head.md.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::operation::{branch_name, rebased_branch};
use super::tree::WorkTree;
use crate::store::file::read_bounded;
use crate::store::schema::Repo;

/// The most bytes of `HEAD` that are read: it names one reference, which is part of a path.
const MAX_HEAD: u64 = 8192;

/// The branch or the commit that is checked out, and what the working tree is. Everything else,
/// `as_of_ms` too, has its default. A rebase counts as in [`query`](super::status::query).
///
/// `None` where `HEAD` does not say it: in a repository of reftable format it names no branch.
pub fn read(tree: &WorkTree) -> Option<Repo> {
    let head = read_head(&tree.git_dir.join("HEAD"))?;
    let head = String::from_utf8_lossy(&head);
    let (branch, commit) = match head.trim_ascii_end().strip_prefix("ref:") {
        Some(reference) => (Some(branch_of(reference.trim_ascii_start())?), None),
        None => (rebased_branch(&tree.git_dir), Some(commit_id(head.trim_ascii_end())?)),
    };
    let (worktree, bare) = (tree.linked_name(), tree.is_bare);
    Some(Repo { branch, commit, worktree, bare, ..Repo::default() })
}

/// The text of `HEAD`. Old versions of git made it a symbolic link to the branch.
fn read_head(path: &Path) -> Option<Vec<u8>> {
    match std::fs::read_link(path) {
        Ok(branch) => Some([b"ref: ", branch.as_os_str().as_bytes()].concat()),
        Err(_) => read_bounded(path, MAX_HEAD).ok(),
    }
}

fn branch_of(reference: &str) -> Option<String> {
    // So does every repository of reftable format.
    branch_name(reference).filter(|it| OsStr::new(it) != ".invalid")
}

fn commit_id(text: &str) -> Option<String> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|it| it.is_ascii_hexdigit());
    is_id.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The branch and the commit where `HEAD` has this content.
    fn of(head: &[u8]) -> Option<(Option<String>, Option<String>)> {
        let tmp = tempfile::tempdir().unwrap();
        fs_err::write(tmp.path().join("HEAD"), head).unwrap();
        in_dir(tmp.path())
    }

    fn in_dir(dir: &Path) -> Option<(Option<String>, Option<String>)> {
        let dir = dir.to_owned();
        let (top, git_dir, common_dir) = (dir.clone(), dir.clone(), dir);
        read(&WorkTree { top, git_dir, common_dir, is_bare: true }).map(|it| (it.branch, it.commit))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn head_names_a_branch_or_a_commit() {
        let (sha1, sha256) = ("1".repeat(40), "a".repeat(64));
        assert_eq!(of(b"ref: refs/heads/feat/x\n"), Some((some("feat/x"), None)));
        assert_eq!(of(b"ref:refs/heads/x"), Some((some("x"), None)));
        assert_eq!(of(b"ref: \trefs/heads/x\r\n"), Some((some("x"), None)));
        assert_eq!(of(b"ref: refs/heads/caf\xe9"), Some((some("caf\u{fffd}"), None)));
        assert_eq!(of(format!("{sha1}\n").as_bytes()), Some((None, Some(sha1))));
        assert_eq!(of(sha256.as_bytes()), Some((None, Some(sha256))));
    }

    #[test]
    fn what_is_not_certain_is_not_said() {
        for head in [
            &b"ref: refs/heads/.invalid\n"[..],
            b"ref: refs/heads/a\x1b[31m",
            b"ref: refs/remotes/origin/main",
            b"ref: ",
            b"",
            b"main",
            b"1234567",
            &[b'1'; 9000],
            &b"ref: refs/heads/x\n".repeat(1000),
        ] {
            assert_eq!(of(head), None, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_head_that_is_a_link_is_not_followed() {
        let tmp = tempfile::tempdir().unwrap();
        let head = tmp.path().join("HEAD");
        let link = |to: &str| {
            fs_err::remove_file(&head).ok();
            fs_err::os::unix::fs::symlink(to, &head).unwrap();
            in_dir(tmp.path())
        };
        assert_eq!(link("refs/heads/old"), Some((some("old"), None)));
        assert_eq!(link("HEAD"), None);
        assert_eq!(link("/etc/passwd"), None);
        fs_err::remove_file(&head).unwrap();
        nix::unistd::mkfifo(&head, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(in_dir(tmp.path()), None);
    }
}
