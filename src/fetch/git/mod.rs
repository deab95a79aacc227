//! What is true of a repository: one bounded call of `git`, and a few small files beside it.
//!
//! The call writes nothing, ever: `--no-optional-locks` keeps `git status` from refreshing the
//! index, which would take `index.lock` from under the user's own `git add`, and wake us again.
//! The price is that files whose times the index does not know are hashed each time, until the
//! user's own git refreshes it. It starts no helper that the repository names for monitoring
//! files (`core.fsmonitor`), asks nothing, and fetches nothing; a `filter.*.clean` from
//! `.git/config` does run, as it does for every `git status`, in repositories that git trusts.
//!
//! **Invariant:** a repository that git refuses, or cannot read, is a failure and never "clean".

pub mod porcelain;
pub mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exec::{self, Invocation, Limits, Runner};
use crate::store::file::read_bounded;
use crate::store::lock::FetchLock;
use crate::store::schema::Repo;
use tree::WorkTree;

/// The bounds of one call. Sixteen megabytes are a hundred thousand changed paths.
pub const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(5),
    grace: Duration::from_millis(500),
    max_output: 16 << 20,
};

/// Why a repository's facts are not known.
#[derive(Debug)]
pub enum Failure {
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
pub fn status(
    runner: &Runner,
    alone: &FetchLock,
    tree: &WorkTree,
    limits: Limits,
    now_ms: i64,
) -> Result<Repo, Failure> {
    let mut repo = if tree.bare {
        let branch = bare_branch(runner, alone, tree, limits)?;
        Repo { branch, bare: true, ..Repo::default() }
    } else {
        let output = run(runner, alone, &tree.top, &STATUS, limits)?;
        porcelain::parse(&output).ok_or(Failure::Unreadable)?
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

impl Failure {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Failure::NoGit => Some("install git, or put it in the watcher's PATH".to_owned()),
            Failure::NotTrusted { dir } => {
                let dir = dir.to_string_lossy().replace('\'', r"'\''");
                Some(format!("git config --global --add safe.directory '{dir}'"))
            }
            Failure::Unreadable | Failure::Failed(_) => None,
        }
    }
}

/// Shown behind `git:`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoGit => f.write_str("not installed"),
            Failure::NotTrusted { .. } => f.write_str("dubious ownership (see safe.directory)"),
            Failure::Unreadable => f.write_str("its status cannot be understood"),
            Failure::Failed(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Failed(source) => Some(source),
            Failure::NoGit | Failure::NotTrusted { .. } | Failure::Unreadable => None,
        }
    }
}

fn run(
    runner: &Runner,
    alone: &FetchLock,
    dir: &Path,
    args: &[&str],
    limits: Limits,
) -> Result<Vec<u8>, Failure> {
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
        exec::Failure::NotFound { .. } => Failure::NoGit,
        exec::Failure::Exited { stderr, .. } if says_not_trusted(&stderr) => {
            Failure::NotTrusted { dir: dir.to_owned() }
        }
        other => Failure::Failed(other),
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
) -> Result<Option<String>, Failure> {
    match run(runner, alone, &tree.git_dir, &["symbolic-ref", "--quiet", "HEAD"], limits) {
        Ok(name) => Ok(branch_name(&String::from_utf8_lossy(&name))),
        // Detached: a quiet no.
        Err(Failure::Failed(exec::Failure::Exited { code: 1, .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What waits to be continued. A rebase first: its steps leave the files of the others.
fn operation(git_dir: &Path) -> Option<String> {
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
    let marks =
        [("MERGE_HEAD", "merge"), ("CHERRY_PICK_HEAD", "cherry-pick"), ("REVERT_HEAD", "revert")];
    let marked = marks.into_iter().find(|(file, _)| exists(file)).map(|it| it.1);
    // Between two commits of one cherry-pick, only the list of what is left to do is there.
    let listed = || match read_line(&git_dir.join("sequencer/todo"))?.split(' ').next()? {
        "pick" | "p" => Some("cherry-pick"),
        "revert" => Some("revert"),
        _ => None,
    };
    let bisecting = || exists("BISECT_LOG").then_some("bisect");
    marked.or_else(listed).or_else(bisecting).map(str::to_owned)
}

fn rebased_branch(git_dir: &Path) -> Option<String> {
    let files = ["rebase-merge/head-name", "rebase-apply/head-name"];
    branch_name(&files.into_iter().find_map(|it| read_line(&git_dir.join(it)))?)
}

/// The branch of a full reference name. Git allows no control characters in one, and a file that
/// only looks as if it were git's must not bring them in.
fn branch_name(reference: &str) -> Option<String> {
    let name = reference.trim_end().strip_prefix("refs/heads/")?;
    (!name.chars().any(char::is_control)).then(|| name.to_owned())
}

fn read_line(path: &Path) -> Option<String> {
    let bytes = read_bounded(path, 1 << 20).ok()?;
    String::from_utf8_lossy(&bytes).lines().next().map(str::to_owned)
}
