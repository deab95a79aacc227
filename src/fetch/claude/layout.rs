//! PURE. Where Claude Code keeps its files below a config root.

use std::path::{Component, Path, PathBuf};

use crate::store::schema::SessionId;

/// The kinds of files that we read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `projects/<project>/<session>.jsonl`
    Transcript(SessionId),
    /// `projects/<project>/<session>/subagents/**/agent-*.jsonl`
    Subagent(SessionId),
    /// `projects/<project>/agent-*.jsonl`: the old layout, in which only the lines name the
    /// session.
    OldSubagent,
    /// `sessions/<pid>.json`: a running process of Claude Code.
    Process(u32),
}

/// The folder of a root with one folder of transcripts per project.
pub const PROJECTS: &str = "projects";
/// The folder of a root with one file per running process.
pub const PROCESSES: &str = "sessions";
const SUBAGENTS: &str = "subagents";
const JOBS: &str = "jobs";

/// The config root that a session's transcript belongs to, by its path. `None` where the path does
/// not fit the layout. Nothing is read.
pub fn root_of(transcript: &Path) -> Option<&Path> {
    let projects = transcript.parent()?.parent()?;
    let root = projects.parent()?;
    let is_transcript = matches!(classify(root, transcript), Some(FileKind::Transcript(_)));
    is_transcript.then_some(root)
}

/// The folder beside a transcript, in which the client keeps the session's other files.
pub fn session_folder(transcript: &Path) -> PathBuf {
    transcript.with_extension("")
}

/// The name of the folder with the transcripts of sessions that began in this directory. The client
/// appends a hash to the name of a long path, which is not known here.
pub fn project_name(cwd: &str) -> String {
    let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '-' };
    cwd.chars().map(plain).collect()
}

/// The name of the project's folder that a transcript lies in. What is not text in it is replaced.
pub fn project_folder(root: &Path, transcript: &Path) -> Option<String> {
    let below = transcript.strip_prefix(root.join(PROJECTS)).ok()?;
    Some(below.iter().next()?.to_string_lossy().into_owned())
}

/// The file that a process writes about itself.
pub fn process_file(root: &Path, pid: u32) -> PathBuf {
    root.join(PROCESSES).join(format!("{pid}.json"))
}

/// The folder of a background job.
pub fn job_folder(root: &Path, job: &SessionId) -> PathBuf {
    root.join(JOBS).join(&job.0)
}

/// The file in the folder of a background job that describes it.
pub const JOB_FILE: &str = "state.json";

/// Whether a folder below a session's folder can contain subagents' transcripts.
pub fn holds_subagents(folder: &Path) -> bool {
    folder.components().any(|it| it.as_os_str() == SUBAGENTS)
}

/// The kind of the file at `path`, by its path below `root`. `None` where we do not read such
/// files.
pub fn classify(root: &Path, path: &Path) -> Option<FileKind> {
    let mut names = Vec::new();
    for component in path.strip_prefix(root).ok()?.components() {
        let Component::Normal(name) = component else { return None };
        names.push(name.to_str()?);
    }
    let is_subagent = |name: &str| name.starts_with("agent-") && name.ends_with(".jsonl");
    match names[..] {
        [PROCESSES, name] => name.strip_suffix(".json")?.parse().ok().map(FileKind::Process),
        [PROJECTS, _, name] if is_subagent(name) => Some(FileKind::OldSubagent),
        [PROJECTS, _, name] => {
            SessionId::checked(name.strip_suffix(".jsonl")?).map(FileKind::Transcript)
        }
        [PROJECTS, _, session, SUBAGENTS, .., name] if is_subagent(name) => {
            SessionId::checked(session).map(FileKind::Subagent)
        }
        _ => None,
    }
}
