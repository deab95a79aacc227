//! Which merge, rebase or other operation is in progress, by the files that git keeps for it.

use std::path::Path;

use crate::store::file::read_bounded;

/// The operation that waits to be continued: `merge`, `rebase 2/5`, … A rebase is checked for
/// first, since its steps also leave the files of the other operations.
pub(super) fn operation(git_dir: &Path) -> Option<String> {
    let exists = |name: &str| fs_err::symlink_metadata(git_dir.join(name)).is_ok();
    let number = |name: &str| read_line(&git_dir.join(name))?.parse::<u32>().ok();
    let steps = |at: &str, of: &str| match (number(at), number(of)) {
        (Some(at), Some(of)) => format!(" {at}/{of}"),
        _ => String::new(),
    };
    if exists("rebase-merge") {
        return Some(format!("rebase{}", steps("rebase-merge/msgnum", "rebase-merge/end")));
    }
    if exists("rebase-apply") {
        let name = if exists("rebase-apply/applying") { "am" } else { "rebase" };
        return Some(format!("{name}{}", steps("rebase-apply/next", "rebase-apply/last")));
    }
    let markers =
        [("MERGE_HEAD", "merge"), ("CHERRY_PICK_HEAD", "cherry-pick"), ("REVERT_HEAD", "revert")];
    let marked = markers.into_iter().find(|(file, _)| exists(file)).map(|it| it.1);
    // Between two commits of one cherry-pick or revert, only the list of remaining commits exists.
    let listed = || match read_line(&git_dir.join("sequencer/todo"))?.split(' ').next()? {
        "pick" | "p" => Some("cherry-pick"),
        "revert" => Some("revert"),
        _ => None,
    };
    let bisecting = || exists("BISECT_LOG").then_some("bisect");
    marked.or_else(listed).or_else(bisecting).map(str::to_owned)
}

/// The branch that is being rebased.
pub(super) fn rebased_branch(git_dir: &Path) -> Option<String> {
    let files = ["rebase-merge/head-name", "rebase-apply/head-name"];
    branch_name(&files.into_iter().find_map(|it| read_line(&git_dir.join(it)))?)
}

/// The branch that a full reference name names. Git allows no control characters in reference
/// names, so a name with control characters, in a file that git did not write, is refused.
pub(super) fn branch_name(reference: &str) -> Option<String> {
    let name = reference.trim_end().strip_prefix("refs/heads/")?;
    (!name.chars().any(char::is_control)).then(|| name.to_owned())
}

fn read_line(path: &Path) -> Option<String> {
    let bytes = read_bounded(path, 1 << 20).ok()?;
    String::from_utf8_lossy(&bytes).lines().next().map(str::to_owned)
}
