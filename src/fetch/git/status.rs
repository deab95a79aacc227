//! Runs git in a working tree, and adds to its output what files in the git directory tell.
//!
//! See docs/decisions/004-git-is-a-program.md.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::operation::{branch_name, operation, rebased_branch};
use super::porcelain;
use super::tree::WorkTree;
use crate::fetch::exec::{self, Invocation, RunLimits, Runner};
use crate::store::lock::FetchLock;
use crate::store::schema::Repo;

/// The bounds of one call of git. The output of a hundred thousand changed paths takes 16 MiB.
pub const GIT_LIMITS: RunLimits = RunLimits {
    deadline: Duration::from_secs(5),
    grace: Duration::from_millis(500),
    max_output: 16 << 20,
};

/// Why the state of a repository could not be determined.
#[derive(Debug)]
pub enum GitError {
    /// There is no `git` in the `PATH`.
    NoGit,
    /// The repository belongs to another user, and git refuses to read it.
    NotTrusted {
        /// The working tree, or the git directory of a bare repository.
        dir: PathBuf,
    },
    /// The output of git is not a complete status.
    Unreadable,
    /// The process could not be run, failed, or exceeded its bounds.
    Failed(exec::RunError),
}

/// The state of a working tree or bare repository.
///
/// `now_ms` is the time before the call, and becomes `as_of_ms`: a change during the call may be
/// missing from the result. The [`FetchLock`] proves that no other process fetches.
///
/// Of a bare repository only the branch is determined. During a rebase git has no branch checked
/// out; `branch` is then the branch that is being rebased, since that is what the user works on.
///
/// Known limitation: in a repository of reftable format, no file tells of a cherry-pick or revert
/// of a single commit that waits to be continued, so `operation` is `None`. Of several commits it
/// is found.
pub fn query(
    runner: &Runner,
    lock: &FetchLock,
    tree: &WorkTree,
    limits: RunLimits,
    now_ms: i64,
) -> Result<Repo, GitError> {
    let mut repo = if tree.is_bare {
        let branch = bare_branch(runner, lock, tree, limits)?;
        Repo { branch, bare: true, ..Repo::default() }
    } else {
        let output = run(runner, lock, &tree.top, &STATUS, limits)?;
        porcelain::parse(&output).ok_or(GitError::Unreadable)?
    };
    repo.as_of_ms = now_ms;
    repo.worktree = tree.linked_name();
    repo.operation = operation(&tree.git_dir);
    repo.branch = repo.branch.or_else(|| rebased_branch(&tree.git_dir));
    Ok(repo)
}

/// The arguments of `git status`. Settings that the user's configuration could change are given
/// explicitly.
const STATUS: [&str; 8] = [
    "status",
    "--porcelain=v2",
    "-z",
    "--branch",
    "--show-stash",
    // Without it, git runs a status in each submodule.
    "--ignore-submodules=dirty",
    // The counts do not need renames, and to detect renames git may need objects that a partial
    // clone would have to fetch.
    "--no-renames",
    "--untracked-files=normal",
];

impl GitError {
    /// What the user can do about the error: a sentence, or a command to run.
    pub fn hint(&self) -> Option<String> {
        match self {
            GitError::NoGit => Some("install git, or put it in the watcher's PATH".to_owned()),
            GitError::NotTrusted { dir } => {
                let dir = dir.to_string_lossy().replace('\'', r"'\''");
                Some(format!("git config --global --add safe.directory '{dir}'"))
            }
            GitError::Unreadable | GitError::Failed(_) => None,
        }
    }
}

/// The text is shown after `git:`.
impl fmt::Display for GitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GitError::NoGit => f.write_str("not installed"),
            GitError::NotTrusted { .. } => f.write_str("dubious ownership (see safe.directory)"),
            GitError::Unreadable => f.write_str("its status cannot be understood"),
            GitError::Failed(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for GitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GitError::Failed(source) => Some(source),
            GitError::NoGit | GitError::NotTrusted { .. } | GitError::Unreadable => None,
        }
    }
}

fn run(
    runner: &Runner,
    lock: &FetchLock,
    dir: &Path,
    args: &[&str],
    limits: RunLimits,
) -> Result<Vec<u8>, GitError> {
    let no_side_effects = ["--no-optional-locks", "-c", "core.fsmonitor=false"];
    let env = [
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        // Git before 2.45 ignores it. There, `--no-renames` avoids the most common reason to fetch.
        ("GIT_NO_LAZY_FETCH", "1"),
        // For `is_trust_error`, which compares messages.
        ("LC_ALL", "C"),
    ];
    let what = Invocation {
        program: "git".into(),
        args: no_side_effects.iter().chain(args).map(Into::into).collect(),
        // Not set with `GIT_DIR`: then git would skip its check of who owns the repository.
        dir: Some(dir.to_owned()),
        env: env.map(|(name, value)| (name.into(), value.into())).into(),
    };
    runner.run(lock, &what, limits).map_err(|failure| match failure {
        exec::RunError::NotFound { .. } => GitError::NoGit,
        exec::RunError::Exited { stderr, .. } if is_trust_error(&stderr) => {
            GitError::NotTrusted { dir: dir.to_owned() }
        }
        other => GitError::Failed(other),
    })
}

/// Whether git refused a repository because of its owner. The second wording is that of git 2.35.
fn is_trust_error(stderr: &str) -> bool {
    stderr.contains("dubious ownership") || stderr.contains("unsafe repository")
}

fn bare_branch(
    runner: &Runner,
    lock: &FetchLock,
    tree: &WorkTree,
    limits: RunLimits,
) -> Result<Option<String>, GitError> {
    match run(runner, lock, &tree.git_dir, &["symbolic-ref", "--quiet", "HEAD"], limits) {
        Ok(name) => Ok(branch_name(&String::from_utf8_lossy(&name))),
        // With `--quiet`, this is the exit code of a detached HEAD.
        Err(GitError::Failed(exec::RunError::Exited { code: 1, .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}
