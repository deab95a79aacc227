//! One bounded call of `git status`, and what git's own files add to its answer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::operation::{branch_name, operation, rebased_branch};
use super::porcelain;
use super::tree::WorkTree;
use crate::fetch::exec::{self, Invocation, Limits, Runner};
use crate::store::lock::FetchLock;
use crate::store::schema::Repo;

/// The bounds of one call. Sixteen megabytes are a hundred thousand changed paths.
pub const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(5),
    grace: Duration::from_millis(500),
    max_output: 16 << 20,
};

/// Why a repository's facts are not known.
#[derive(Debug)]
pub enum GitError {
    /// There is no `git`.
    NoGit,
    /// The repository belongs to somebody else, and git will not look into it.
    NotTrusted {
        /// Where git found it.
        dir: PathBuf,
    },
    /// Git said something that is no status, or half of one.
    Unreadable,
    /// The call did not work.
    Failed(exec::Failure),
}

/// Asks git. `now_ms` is the time before the call: what changes during it may not be in the answer.
///
/// A bare repository has a branch and nothing else. During a rebase, where git has no branch
/// checked out, the branch is the one that is rebased: this is what the user is working on.
///
/// A single cherry-pick or revert that waits in a repository of reftable format is not seen,
/// since no file tells of it; of several commits, it is.
pub fn query(
    runner: &Runner,
    alone: &FetchLock,
    tree: &WorkTree,
    limits: Limits,
    now_ms: i64,
) -> Result<Repo, GitError> {
    let mut repo = if tree.bare {
        let branch = bare_branch(runner, alone, tree, limits)?;
        Repo { branch, bare: true, ..Repo::default() }
    } else {
        let output = run(runner, alone, &tree.top, &STATUS, limits)?;
        porcelain::parse(&output).ok_or(GitError::Unreadable)?
    };
    repo.as_of_ms = now_ms;
    repo.worktree = tree.linked_name();
    repo.operation = operation(&tree.git_dir);
    repo.branch = repo.branch.or_else(|| rebased_branch(&tree.git_dir));
    Ok(repo)
}

/// The user's configuration must not change what we read, hence the flags for what has a default.
const STATUS: [&str; 8] = [
    "status",
    "--porcelain=v2",
    "-z",
    "--branch",
    "--show-stash",
    // Otherwise git runs a status in each submodule.
    "--ignore-submodules=dirty",
    // Counting needs no renames, and finding them may need objects that a partial clone lacks.
    "--no-renames",
    "--untracked-files=normal",
];

impl GitError {
    /// What the user can do about it.
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

/// Shown behind `git:`.
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
    alone: &FetchLock,
    dir: &Path,
    args: &[&str],
    limits: Limits,
) -> Result<Vec<u8>, GitError> {
    let never = ["--no-optional-locks", "-c", "core.fsmonitor=false"];
    let env = [
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        // Git before 2.45 does not know it; `--no-renames` avoids the usual reason to fetch.
        ("GIT_NO_LAZY_FETCH", "1"),
        // We recognise one message.
        ("LC_ALL", "C"),
    ];
    let what = Invocation {
        program: "git".into(),
        args: never.iter().chain(args).map(Into::into).collect(),
        // And not by GIT_DIR, with which git would ask nobody whether to trust the place.
        dir: Some(dir.to_owned()),
        env: env.map(|(name, value)| (name.into(), value.into())).into(),
    };
    runner.run(alone, &what, limits).map_err(|failure| match failure {
        exec::Failure::NotFound { .. } => GitError::NoGit,
        exec::Failure::Exited { stderr, .. } if says_not_trusted(&stderr) => {
            GitError::NotTrusted { dir: dir.to_owned() }
        }
        other => GitError::Failed(other),
    })
}

/// The second wording is that of git 2.35.
fn says_not_trusted(stderr: &str) -> bool {
    stderr.contains("dubious ownership") || stderr.contains("unsafe repository")
}

fn bare_branch(
    runner: &Runner,
    alone: &FetchLock,
    tree: &WorkTree,
    limits: Limits,
) -> Result<Option<String>, GitError> {
    match run(runner, alone, &tree.git_dir, &["symbolic-ref", "--quiet", "HEAD"], limits) {
        Ok(name) => Ok(branch_name(&String::from_utf8_lossy(&name))),
        // Detached: a quiet no.
        Err(GitError::Failed(exec::Failure::Exited { code: 1, .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}
