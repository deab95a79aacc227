//! PURE. The types of fetching: a [`Source`] is what can be fetched, a [`Job`] is the order to
//! fetch it once, and an [`Outcome`] is what that found.
//!
//! A job and its outcome each contain the path or name of their source, so an outcome cannot be
//! taken for that of another source.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use super::claude::client::SessionFile;
use super::claude::transcript::TranscriptFacts;
use super::exec;
use super::git;
use super::git::tree::WorkTree;
use super::process::Process;
use super::tail::{Cursor, Tail};
use super::tool::{self, Tool};
use crate::alert::Rule;
use crate::store::schema;
use crate::store::schema::alerts::AlertEvent;

/// What can be fetched. Fetches are planned, and failures listed, by this key.
#[derive(Clone, Debug)]
pub enum Source {
    /// The transcript at this path.
    Transcript(PathBuf),
    /// The file `sessions/<pid>.json` that a process of Claude Code wrote.
    Process(PathBuf),
    /// The search for the working tree around this directory.
    Tree(PathBuf),
    /// The git state of the working tree with this top directory.
    Repo(PathBuf),
    /// The active five-hour block of this config root, as a configured program computes it.
    Block(PathBuf),
    /// The output of the configured command of this name.
    Command(String),
    /// The version of this very program, in its file at this path, after the file was replaced.
    Program(PathBuf),
    /// The transcript at this path, which is too old for any window: for the record alone.
    Import(PathBuf),
    /// What is told: the program of the configured alert of this name. It fetches nothing, and is
    /// planned, bounded and run as what does.
    Alert(String),
}

impl Source {
    /// Sorts by kind, then by path or name. The numbers of kinds are also part of
    /// [`Source::number`], so they stay. Compares paths as bytes, since comparing them component
    /// by component took a third of the time of a scan.
    fn key(&self) -> (u8, &OsStr) {
        match self {
            Source::Transcript(path) => (0, path.as_os_str()),
            Source::Process(path) => (1, path.as_os_str()),
            Source::Tree(path) => (2, path.as_os_str()),
            Source::Repo(path) => (3, path.as_os_str()),
            Source::Block(path) => (4, path.as_os_str()),
            Source::Command(name) => (5, OsStr::new(name)),
            Source::Program(path) => (6, path.as_os_str()),
            Source::Import(path) => (7, path.as_os_str()),
            Source::Alert(name) => (8, OsStr::new(name)),
        }
    }

    /// A number that is the same for this source in every process and every version, since a
    /// program may outlive the version that started it. It is the FNV-1a hash of kind and path or
    /// name.
    pub fn number(&self) -> u64 {
        let (kind, name) = self.key();
        let bytes = [kind].into_iter().chain(name.as_encoded_bytes().iter().copied());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Whether fetching it runs a program, which needs the fetch lock.
    pub fn is_program(&self) -> bool {
        matches!(self, Source::Repo(_) | Source::Program(_) | Source::Alert(_)) || self.is_tool()
    }

    /// Whether fetching it runs a program that the user configured to learn something.
    pub fn is_tool(&self) -> bool {
        matches!(self, Source::Block(_) | Source::Command(_))
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Source) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Source) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Source {}

/// The order to fetch a source once, with everything that is needed for it.
#[derive(Clone, Debug)]
pub enum Job {
    Read(ReadJob),
    Run(RunJob),
}

/// A fetch that only reads files.
#[derive(Clone, Debug)]
pub enum ReadJob {
    /// Read the transcript from where the last read ended, with the facts up to there; from its
    /// beginning where `from` is `None`.
    Transcript { path: PathBuf, from: Option<Box<(Cursor, TranscriptFacts)>> },
    /// As `Transcript`, for the record alone: nobody waits for it.
    Import { path: PathBuf, from: Option<Box<(Cursor, TranscriptFacts)>> },
    /// Read the process file, and check whether the process runs. `known` is what the file said of
    /// the process that runs as far as is known. `with_lineage` says whether to find out which
    /// processes it descends from.
    Process { path: PathBuf, known: Option<Box<SessionFile>>, with_lineage: bool },
    /// Find the working tree around `cwd`.
    Tree { cwd: PathBuf },
}

/// A fetch that runs a program, under the fetch lock.
#[derive(Clone, Debug)]
pub enum RunJob {
    /// Run `git status`.
    Repo(git::status::Question),
    /// Run the tool that computes the active block of `root`.
    Block { root: PathBuf, tool: Tool },
    /// Run the configured command of this name.
    Command { name: String, tool: Tool },
    /// Run this program, which may have replaced this very one, with `--version`.
    Program { path: PathBuf },
    /// Run the program of the alert of this name, to tell of these events at once.
    Alert { name: String, rule: Box<Rule>, events: Vec<AlertEvent>, at_ms: i64 },
}

/// What a fetch found, with the path or name of its [`Source`].
#[derive(Debug)]
pub enum Outcome {
    /// What was appended to the transcript.
    Transcript(PathBuf, io::Result<Box<Tail>>),
    /// What is in a transcript for the record.
    Import(PathBuf, io::Result<Box<Tail>>),
    /// What the process file says, and whether the process runs. The file may be unreadable for a
    /// moment while the client rewrites it.
    Process(PathBuf, io::Result<Process>),
    /// The working tree around a directory, and the directories inside `.git` whose changes can
    /// change git's answer; `None` where there is no working tree.
    Tree(PathBuf, Option<(WorkTree, Vec<PathBuf>)>),
    /// The state of the working tree, and the same directories again, since git may create new
    /// ones.
    Repo(PathBuf, Result<schema::Repo, git::status::GitError>, Vec<PathBuf>),
    /// The active block; `None` where the account has none.
    Block(PathBuf, Result<Option<schema::Block>, tool::ToolError>),
    /// What the command printed.
    Command(String, Result<schema::CommandOutput, tool::ToolError>),
    /// The version of the program that replaced this one; `None` if it is still this one.
    Program(PathBuf, Result<Option<String>, tool::ToolError>),
    /// What came of telling.
    Alert(String, Told),
}

/// What came of telling.
#[derive(Debug)]
pub struct Told {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// The subjects that were not told of, since their panes have the focus. If those are all, the
    /// program was not run.
    pub in_focus: Vec<String>,
    /// Whether the program ended successfully.
    pub result: Result<(), tool::ToolError>,
}

impl Job {
    /// The source that this job fetches.
    pub fn source(&self) -> Source {
        match self {
            Job::Read(ReadJob::Transcript { path, .. }) => Source::Transcript(path.clone()),
            Job::Read(ReadJob::Import { path, .. }) => Source::Import(path.clone()),
            Job::Read(ReadJob::Process { path, .. }) => Source::Process(path.clone()),
            Job::Read(ReadJob::Tree { cwd }) => Source::Tree(cwd.clone()),
            Job::Run(job) => job.source(),
        }
    }
}

impl ReadJob {
    /// The outcome if the job panicked. If the search for a working tree did, there is none.
    pub fn failed(&self, err: io::Error) -> Outcome {
        match self {
            ReadJob::Transcript { path, .. } => Outcome::Transcript(path.clone(), Err(err)),
            ReadJob::Import { path, .. } => Outcome::Import(path.clone(), Err(err)),
            ReadJob::Process { path, .. } => Outcome::Process(path.clone(), Err(err)),
            ReadJob::Tree { cwd } => Outcome::Tree(cwd.clone(), None),
        }
    }
}

impl RunJob {
    /// The source that this job fetches.
    pub fn source(&self) -> Source {
        match self {
            RunJob::Repo(question) => Source::Repo(question.tree.top.clone()),
            RunJob::Block { root, .. } => Source::Block(root.clone()),
            RunJob::Command { name, .. } => Source::Command(name.clone()),
            RunJob::Program { path } => Source::Program(path.clone()),
            RunJob::Alert { name, .. } => Source::Alert(name.clone()),
        }
    }

    /// The outcome if the job panicked, or its thread could not be started.
    pub fn failed(&self, err: io::Error) -> Outcome {
        let failure = exec::RunError::Io(err);
        match self {
            RunJob::Repo(question) => {
                let failure = git::status::GitError::Failed(failure);
                Outcome::Repo(question.tree.top.clone(), Err(failure), Vec::new())
            }
            RunJob::Block { root, .. } => {
                Outcome::Block(root.clone(), Err(tool::ToolError::Failed(failure)))
            }
            RunJob::Command { name, .. } => {
                Outcome::Command(name.clone(), Err(tool::ToolError::Failed(failure)))
            }
            RunJob::Program { path } => {
                Outcome::Program(path.clone(), Err(tool::ToolError::Failed(failure)))
            }
            RunJob::Alert { name, at_ms, .. } => {
                let result = Err(tool::ToolError::Failed(failure));
                let told = Told { at_ms: *at_ms, in_focus: Vec::new(), result };
                Outcome::Alert(name.clone(), told)
            }
        }
    }
}

impl Outcome {
    /// The source that was fetched.
    pub fn source(&self) -> Source {
        match self {
            Outcome::Transcript(path, _) => Source::Transcript(path.clone()),
            Outcome::Import(path, _) => Source::Import(path.clone()),
            Outcome::Process(path, _) => Source::Process(path.clone()),
            Outcome::Tree(cwd, _) => Source::Tree(cwd.clone()),
            Outcome::Repo(top, ..) => Source::Repo(top.clone()),
            Outcome::Block(root, _) => Source::Block(root.clone()),
            Outcome::Command(name, _) => Source::Command(name.clone()),
            Outcome::Program(path, _) => Source::Program(path.clone()),
            Outcome::Alert(name, _) => Source::Alert(name.clone()),
        }
    }

    /// Why the fetch failed, if it did. A missing file is not a failure, nor is a process file that
    /// cannot be read.
    pub fn failure(&self) -> Option<String> {
        match self {
            Outcome::Transcript(_, Err(err)) | Outcome::Import(_, Err(err)) if !is_gone(err) => {
                Some(err.to_string())
            }
            Outcome::Repo(_, Err(err), _) => Some(match err.hint() {
                Some(hint) => format!("{err}; {hint}"),
                None => err.to_string(),
            }),
            Outcome::Block(_, Err(err)) => Some(err.reason_of_block()),
            Outcome::Command(_, Err(err))
            | Outcome::Program(_, Err(err))
            | Outcome::Alert(_, Told { result: Err(err), .. }) => Some(err.to_string()),
            Outcome::Transcript(..)
            | Outcome::Import(..)
            | Outcome::Process(..)
            | Outcome::Tree(..)
            | Outcome::Repo(..)
            | Outcome::Block(..)
            | Outcome::Command(..)
            | Outcome::Program(..)
            | Outcome::Alert(..) => None,
        }
    }
}

/// Whether the error means that there is no file to read: the path does not exist, or is not a
/// regular file.
pub fn is_gone(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_source_stays_in_every_version() {
        assert_eq!(Source::Repo("/w".into()).number(), 0xe288_d818_7173_9bf0);
        assert_eq!(Source::Block("/w".into()).number(), 0xb732_0b18_58e4_d699);
        assert_eq!(Source::Command("load".to_owned()).number(), 0x248e_a846_b4ae_51fc);
    }
}
