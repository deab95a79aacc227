//! PURE. Where Claude Code keeps its files below a config root.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::store::schema::SessionId;

/// The kinds of files that we read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `projects/<project>/<session>.jsonl`
    Transcript(SessionId),
    /// `projects/<project>/<session>/subagents/**/*.jsonl`, or an `agent-*.jsonl` anywhere in the
    /// session's folder.
    Subagent(SessionId),
    /// `projects/<project>/agent-*.jsonl`: the old layout, in which only the lines name the
    /// session.
    OldSubagent,
    /// Any other `*.jsonl` in or below a project's folder: a copy that a file syncer or a person
    /// made, say. What was used in it counts, and belongs to the session that its lines name. It
    /// says nothing of what a session does now. The id is of the session that the path names, for
    /// lines that name none.
    Copy(Option<SessionId>),
    /// `sessions/<pid>.json`: a running process of Claude Code.
    Process(u32),
}

/// The folder of a root with one folder of transcripts per project.
pub const PROJECTS: &str = "projects";
/// The folder of a root with one file per running process.
pub const PROCESSES: &str = "sessions";
const SUBAGENTS: &str = "subagents";
/// How the names of subagents' transcripts begin.
const AGENT: &str = "agent-";
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

/// How many folders deep transcripts are looked for below a project's folder. The client nests
/// them four deep.
pub const MAX_DEPTH: usize = 16;

/// Whether what was created at this path, in or below a project's folder, may be a folder with
/// transcripts. Only its name is known. The client gives its files extensions, and its folders
/// none.
pub fn may_be_folder(path: &Path) -> bool {
    path.extension().is_none() || path.components().any(|it| it.as_os_str() == SUBAGENTS)
}

/// How deep a folder lies below the folder of its project.
pub fn depth(root: &Path, folder: &Path) -> usize {
    let below = folder.strip_prefix(root).map_or(0, |it| it.components().count());
    // `projects/<project>` comes first.
    below.saturating_sub(2)
}

/// The file beside a subagent's transcript that describes the subagent; `None` where the transcript
/// is not a subagent's by its name.
pub fn description_of(transcript: &Path) -> Option<PathBuf> {
    let name = transcript.file_name()?.as_encoded_bytes();
    name.starts_with(AGENT.as_bytes()).then(|| transcript.with_extension("meta.json"))
}

/// The kind of the file at `path`, by its path below `root`. `None` where we do not read such
/// files.
pub fn classify(root: &Path, path: &Path) -> Option<FileKind> {
    let mut names = Vec::new();
    for component in path.strip_prefix(root).ok()?.components() {
        let Component::Normal(name) = component else { return None };
        names.push(name);
    }
    match names[..] {
        [dir, name] if dir == PROCESSES => {
            name.to_str()?.strip_suffix(".json")?.parse().ok().map(FileKind::Process)
        }
        [dir, _, ref between @ .., name] if dir == PROJECTS => {
            let stem = name.as_encoded_bytes().strip_suffix(b".jsonl")?;
            Some(kind_of(between, str::from_utf8(stem).unwrap_or_default()))
        }
        _ => None,
    }
}

/// The kind of a transcript, by the folders between its project's folder and itself, and its name
/// without `.jsonl`.
fn kind_of(folders: &[&OsStr], stem: &str) -> FileKind {
    let own_id = SessionId::checked(stem);
    let is_agent = stem.starts_with(AGENT);
    let folder_id = folders.first().and_then(|it| it.to_str()).and_then(SessionId::checked);
    match (folders, own_id, folder_id) {
        ([], Some(_), _) if is_agent => FileKind::OldSubagent,
        ([], Some(id), _) => FileKind::Transcript(id),
        ([], None, _) => {
            // Syncers append to the name: `<session>.sync-conflict-…`, `<session> (copy)`.
            let end = stem.find(['.', ' ', '(', '~']).unwrap_or(stem.len());
            FileKind::Copy(SessionId::checked(&stem[..end]).filter(|_| !is_agent))
        }
        ([_, second, ..], Some(_), Some(session)) if *second == SUBAGENTS => {
            FileKind::Subagent(session)
        }
        (_, Some(_), Some(session)) if is_agent => FileKind::Subagent(session),
        (_, _, session) => FileKind::Copy(session),
    }
}
