//! PURE. Where Claude Code keeps its files.

use std::path::{Component, Path, PathBuf};

use crate::store::schema::SessionId;

/// What a file below a root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `projects/<project>/<session>.jsonl`
    Transcript(SessionId),
    /// `projects/<project>/<session>/subagents/**/agent-*.jsonl`
    Subagent(SessionId),
    /// `projects/<project>/agent-*.jsonl`, the old layout: its lines name the session.
    OldSubagent,
    /// `sessions/<pid>.json`
    Process(u32),
}

/// The folder of a root that holds a folder of transcripts for each project.
pub const PROJECTS: &str = "projects";
/// The folder of a root that holds a file for each running process.
pub const PROCESSES: &str = "sessions";
const SUBAGENTS: &str = "subagents";

/// The root that holds this transcript, by its path alone.
pub fn root_of(transcript: &Path) -> Option<&Path> {
    let projects = transcript.parent()?.parent()?;
    let root = projects.parent()?;
    let is_ours = matches!(classify(root, transcript), Some(FileKind::Transcript(_)));
    is_ours.then_some(root)
}

/// The folder beside a transcript with everything else of its session.
pub fn session_folder(transcript: &Path) -> PathBuf {
    transcript.with_extension("")
}

/// Whether a folder below a session's can hold subagents' transcripts.
pub fn holds_subagents(folder: &Path) -> bool {
    folder.components().any(|it| it.as_os_str() == SUBAGENTS)
}

/// What the file at `path` is, if it is one that we read.
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
