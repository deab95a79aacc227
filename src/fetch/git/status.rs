//! Runs git in a working tree, and adds to its output what files in the git directory tell.
//!
//! See docs/decisions/004-git-is-a-program.md.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::common_dir::stand_in;
use super::config::{self, Config};
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

/// The bytes of memory that git may use. For a million files it needs a few hundred MiB, but a
/// repository can have it read an endless file, or unpack a small object to a huge one.
const MAX_MEMORY: u64 = 2 << 30;

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
    /// It does not tell which of its files a setting is from, as git before 2.26.
    TooOld,
    /// The output of git is not a complete status or configuration.
    Unreadable,
    /// The process could not be run, failed, or exceeded its bounds.
    Failed(exec::RunError),
}

/// How a repository is to be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub tree: WorkTree,
    /// Whether git may run what the repository's own configuration names.
    pub is_trusted: bool,
    /// The bounds of each call of git.
    pub limits: RunLimits,
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
    question: &Question,
    now_ms: i64,
) -> Result<Repo, GitError> {
    let tree = &question.tree;
    let ask = |args: &[&str]| run(runner, lock, question, args, Vec::new());
    let output = ask(&config::LIST).map_err(|failure| match failure {
        failure if failure.says("show-scope") => GitError::TooOld,
        failure => failure,
    })?;
    let config = Config::parse(&output).ok_or(GitError::Unreadable)?;
    if config.has_only_the_users()
        && let Err(failure) = ask(&["rev-parse", "--git-dir"])
    {
        return refused(tree, failure, now_ms);
    }
    let io_error = |err| GitError::Failed(exec::RunError::Io(err));
    let stand_in = match question.is_trusted {
        true => None,
        false => Some(stand_in(&tree.common_dir, &config, lock).map_err(io_error)?),
    };
    let top = config.work_tree(tree.is_linked()).map(|it| Path::new(OsStr::from_bytes(it)));
    let top = top.map_or_else(|| tree.top.clone(), |it| tree.git_dir.join(it));
    let mut env = vec![("GIT_DIR", tree.git_dir.as_path()), ("GIT_WORK_TREE", &top)];
    env.extend(stand_in.as_ref().map(|it| ("GIT_COMMON_DIR", it.path())));
    let call = |args: &[&str]| run(runner, lock, question, args, env.clone());
    let is_bare = tree.is_bare || config.is_bare(tree.is_linked());
    let found = match is_bare {
        true => bare_branch(&call).map(|it| Repo { branch: it, bare: true, ..Repo::default() }),
        false => status(&call, &config),
    };
    let mut repo = found.map_err(|failure| match &stand_in {
        Some(stand_in) => failure.naming(&tree.common_dir, stand_in.path()),
        None => failure,
    })?;
    repo.as_of_ms = now_ms;
    repo.worktree = tree.linked_name();
    repo.operation = operation(&tree.git_dir);
    repo.branch = repo.branch.or_else(|| rebased_branch(&tree.git_dir));
    repo.has_remote = !is_bare && config.has_remote();
    repo.tag = tag(&call, &repo);
    Ok(repo)
}

/// What is known of a repository that git does not read: nothing, but for one case.
fn refused(tree: &WorkTree, failure: GitError, now_ms: i64) -> Result<Repo, GitError> {
    // The user wants git to read no bare repository that lies around. Its HEAD is read
    // nevertheless, which runs nothing.
    if !failure.says("safe.bareRepository") || !tree.is_own() {
        return Err(failure);
    }
    Ok(Repo {
        as_of_ms: now_ms,
        branch: head::read(tree).and_then(|it| it.branch),
        bare: true,
        ..Repo::default()
    })
}

/// The output of `git status`, without what the user's configuration forbids to report. See
/// docs/decisions/024-git-as-it-is-configured.md.
fn status(
    call: &impl Fn(&[&str]) -> Result<Vec<u8>, GitError>,
    config: &Config<'_>,
) -> Result<Repo, GitError> {
    let output = match call(&STATUS) {
        // To detect renames git may need objects that a partial clone would have to fetch.
        Err(failure) if failure.says("unable to read") || failure.says("could not fetch") => {
            call(&[&STATUS[..], &["--no-renames"]].concat())?
        }
        other => other?,
    };
    let mut modules = Vec::new();
    if porcelain::has_submodule_changes(&output) {
        // It fails if there is no such file.
        modules = call(&[&config::LIST[..], &["-f", ".gitmodules"]].concat()).unwrap_or_default();
    }
    let modules = Config::parse(&modules).ok_or(GitError::Unreadable)?;
    let ignored = config.ignored_submodules(&modules);
    let repo = porcelain::parse(&output, |path| ignored.contains(path));
    let mut repo = repo.ok_or(GitError::Unreadable)?;
    if !config.counts_distance() {
        (repo.ahead, repo.behind) = (0, 0);
    }
    Ok(repo)
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
const STATUS: [&str; 6] = [
    "status",
    "--porcelain=v2",
    "-z",
    "--branch",
    "--show-stash",
    // Otherwise git starts a status in each submodule, which reads the submodule's configuration.
    "--ignore-submodules=dirty",
];

impl GitError {
    /// Whether git failed with this in its message.
    fn says(&self, text: &str) -> bool {
        matches!(self, GitError::Failed(exec::RunError::Exited { stderr, .. }) if stderr.contains(text))
    }

    /// The error with the path of the repository's own common directory instead of that of our
    /// stand-in, which is another at each call and unknown to the user. So are its lines.
    fn naming(self, common_dir: &Path, stand_in: &Path) -> GitError {
        match self {
            GitError::Failed(exec::RunError::Exited { code, stderr }) => {
                let ours = stand_in.to_string_lossy();
                let stderr = match stderr.split_once(&*ours) {
                    Some((before, after)) => {
                        let after = after.split(" at line ").next().unwrap_or_default();
                        format!("{before}{}{after}", common_dir.display())
                    }
                    None => stderr,
                };
                GitError::Failed(exec::RunError::Exited { code, stderr })
            }
            other => other,
        }
    }

    /// What the user can do about the error: a sentence, or a command to run.
    pub fn hint(&self) -> Option<String> {
        match self {
            GitError::NoGit => Some("install git, or put it in the watcher's PATH".to_owned()),
            GitError::NotTrusted { dir } => {
                let dir = dir.to_string_lossy().replace('\'', r"'\''");
                Some(format!("git config --global --add safe.directory '{dir}'"))
            }
            GitError::TooOld => Some("install git 2.26 or newer".to_owned()),
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
            GitError::TooOld => f.write_str("too old"),
            GitError::Unreadable => f.write_str("its status cannot be understood"),
            GitError::Failed(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for GitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GitError::Failed(source) => Some(source),
            GitError::NoGit
            | GitError::NotTrusted { .. }
            | GitError::TooOld
            | GitError::Unreadable => None,
        }
    }
}

fn run(
    runner: &Runner,
    lock: &FetchLock,
    question: &Question,
    args: &[&str],
    paths: Vec<(&str, &Path)>,
) -> Result<Vec<u8>, GitError> {
    let dir = &question.tree.top;
    // No value rather than `false`, which git before 2.36 takes for the name of a program.
    let no_side_effects = ["--no-optional-locks", "-c", "core.fsmonitor="];
    // To compare each of many new files with each of many deleted ones takes seconds.
    let no_long_search = ["-c", "status.renameLimit=200"];
    let env = [
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        // To find renames, git may fetch the objects that a partial clone lacks.
        ("GIT_NO_LAZY_FETCH", "1"),
        // The same for git before 2.45, which fetches over none of these protocols.
        ("GIT_ALLOW_PROTOCOL", "none"),
        // For `is_trust_error`, which compares messages.
        ("LC_ALL", "C"),
    ];
    let env = env.map(|(name, value)| (name, OsStr::new(value)));
    let paths = paths.into_iter().map(|(name, path)| (name, path.as_os_str()));
    let what = Invocation {
        program: "git".into(),
        args: no_side_effects.iter().chain(&no_long_search).chain(args).map(Into::into).collect(),
        dir: Some(dir.clone()),
        env: env.into_iter().chain(paths).map(|(name, it)| (name.into(), it.into())).collect(),
        input: Vec::new(),
    };
    let runner = runner.within_memory(MAX_MEMORY);
    runner.run(lock, &what, question.limits).map_err(|failure| match failure {
        exec::RunError::NotFound { .. } => GitError::NoGit,
        exec::RunError::Exited { stderr, .. } if is_trust_error(&stderr) => {
            GitError::NotTrusted { dir: dir.clone() }
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
) -> Result<Option<String>, GitError> {
    match call(&["symbolic-ref", "--quiet", "HEAD"]) {
        Ok(name) => Ok(branch_name(&String::from_utf8_lossy(&name))),
        // With `--quiet`, this is the exit code of a detached HEAD.
        Err(GitError::Failed(exec::RunError::Exited { code: 1, .. })) => Ok(None),
        Err(failure) => Err(failure),
    }
}
