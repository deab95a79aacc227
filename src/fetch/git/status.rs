//! Runs git in a working tree, and adds to its output what files in the git directory tell.
//!
//! See docs/decisions/004-git-is-a-program.md.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::head;
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
/// Of a bare repository only the branch is determined, also where it is the `.git` of a directory.
/// During a rebase git has no branch checked out; `branch` is then the branch that is being
/// rebased, since that is what the user works on.
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
    let call = |args: &[&str]| run(runner, lock, &tree.top, args, limits);
    let status = if tree.is_bare { None } else { status(&call)? };
    let has_files = status.is_some();
    let mut repo = match status {
        Some(repo) => repo,
        None => Repo { branch: bare_branch(&call, tree)?, bare: true, ..Repo::default() },
    };
    repo.as_of_ms = now_ms;
    repo.worktree = tree.linked_name();
    repo.operation = operation(&tree.git_dir);
    repo.branch = repo.branch.or_else(|| rebased_branch(&tree.git_dir));
    repo.has_remote = has_files && tree.has_remote();
    repo.tag = tag(&call, &repo);
    Ok(repo)
}

/// The output of `git status`; `None` where the repository is bare.
///
/// Git runs a second and a third time only where the user's configuration may forbid to report what
/// it reported. See docs/decisions/024-git-as-it-is-configured.md.
fn status(call: &impl Fn(&[&str]) -> Result<Vec<u8>, GitError>) -> Result<Option<Repo>, GitError> {
    let parse = |output: Vec<u8>| porcelain::parse(&output).ok_or(GitError::Unreadable);
    let plain = |more: &[&str]| call(&[&STATUS, more].concat());
    let output = match plain(&["--ignore-submodules=dirty"]) {
        Ok(output) => output,
        Err(failure) if failure.says("must be run in a work tree") => return Ok(None),
        // To detect renames git may need objects that a partial clone would have to fetch.
        Err(failure) if failure.says("unable to read") || failure.says("could not fetch") => {
            plain(&["--ignore-submodules=dirty", "--no-renames"])?
        }
        Err(failure) => return Err(failure),
    };
    let has_submodule_changes = porcelain::has_submodule_changes(&output);
    let mut repo = parse(output)?;
    if repo.ahead + repo.behind > 0 || has_submodule_changes {
        let set = Settings::read(call);
        if has_submodule_changes {
            // Without the flag, the settings of single submodules count.
            let output = match set.ignores_submodules {
                true => plain(&[])?,
                false => call(&[&["-c", "diff.ignoreSubmodules=dirty"], &STATUS[..]].concat())?,
            };
            repo = parse(output)?;
        }
        if !set.counts_distance {
            (repo.ahead, repo.behind) = (0, 0);
        }
    }
    Ok(Some(repo))
}

/// What the user's configuration says that the output for programs does not heed, or that a flag
/// overrides.
struct Settings {
    /// `status.aheadBehind`.
    counts_distance: bool,
    /// Whether `diff.ignoreSubmodules` is set, to whatever.
    ignores_submodules: bool,
}

impl Settings {
    fn read(call: &impl Fn(&[&str]) -> Result<Vec<u8>, GitError>) -> Settings {
        let names = r"^(status\.aheadbehind|diff\.ignoresubmodules)$";
        // It fails if none of them is set.
        let output = call(&["config", "-z", "--get-regexp", names]).unwrap_or_default();
        let output = String::from_utf8_lossy(&output).to_ascii_lowercase();
        // The last one counts. A newline precedes the value; without one, the setting is true.
        let value = |name| output.split('\0').filter_map(|it| it.strip_prefix(name)).next_back();
        let is_false = |it: &str| matches!(it, "\nfalse" | "\nno" | "\noff" | "\n0" | "\n");
        Settings {
            counts_distance: !value("status.aheadbehind").is_some_and(is_false),
            ignores_submodules: value("diff.ignoresubmodules").is_some(),
        }
    }
}

/// The tag of a commit that is checked out without a branch. During an operation it is of no
/// interest, and any failure means that there is none.
fn tag(call: &impl Fn(&[&str]) -> Result<Vec<u8>, GitError>, repo: &Repo) -> Option<String> {
    let commit = repo.commit.as_deref().filter(|_| repo.branch.is_none())?;
    if repo.operation.is_some() {
        return None;
    }
    let name = call(&["describe", "--tags", "--exact-match", commit]).ok()?;
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    (!name.is_empty()).then_some(name)
}

/// The arguments of `git status`. What they do not say, such as which untracked files to report,
/// the user's configuration says.
const STATUS: [&str; 5] = ["status", "--porcelain=v2", "-z", "--branch", "--show-stash"];

impl GitError {
    /// Whether git failed with this in its message.
    fn says(&self, text: &str) -> bool {
        matches!(self, GitError::Failed(exec::RunError::Exited { stderr, .. }) if stderr.contains(text))
    }

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
    // To compare each of many new files with each of many deleted ones takes seconds.
    let no_long_search = ["-c", "status.renameLimit=200"];
    let env = [
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        // Git before 2.45 ignores it, and may fetch what it needs to find renames.
        ("GIT_NO_LAZY_FETCH", "1"),
        // For `is_trust_error`, which compares messages.
        ("LC_ALL", "C"),
    ];
    let what = Invocation {
        program: "git".into(),
        args: no_side_effects.iter().chain(&no_long_search).chain(args).map(Into::into).collect(),
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
    call: &impl Fn(&[&str]) -> Result<Vec<u8>, GitError>,
    tree: &WorkTree,
) -> Result<Option<String>, GitError> {
    match call(&["symbolic-ref", "--quiet", "HEAD"]) {
        Ok(name) => Ok(branch_name(&String::from_utf8_lossy(&name))),
        // With `--quiet`, this is the exit code of a detached HEAD.
        Err(GitError::Failed(exec::RunError::Exited { code: 1, .. })) => Ok(None),
        // The user wants git to read no repository that lies around. Its HEAD is read nevertheless,
        // which runs nothing.
        Err(failure) if failure.says("safe.bareRepository") && tree.is_own() => {
            Ok(head::read(tree).and_then(|it| it.branch))
        }
        Err(failure) => Err(failure),
    }
}
