//! PURE. The only folder that knows Claude Code's field names, and where it keeps its files.
//!
//! Everything here is another program's, undocumented in part, and changes with every release. So
//! every field is optional and null is missing; a value of the wrong type is missing too, and takes
//! nothing with it; what is unknown is ignored.
//!
//! **Invariant:** no input panics, and what is kept of a line is bounded however long the line is.

pub mod client;
mod scan;
#[cfg(test)]
mod tests;
pub mod transcript;

use std::path::{Component, Path, PathBuf};

use crate::store::schema::SessionId;

/// What a file below a root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
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
    let is_ours = matches!(place(root, transcript), Some(Place::Transcript(_)));
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
pub fn place(root: &Path, path: &Path) -> Option<Place> {
    let mut names = Vec::new();
    for component in path.strip_prefix(root).ok()?.components() {
        let Component::Normal(name) = component else { return None };
        names.push(name.to_str()?);
    }
    let is_subagent = |name: &str| name.starts_with("agent-") && name.ends_with(".jsonl");
    match names[..] {
        [PROCESSES, name] => name.strip_suffix(".json")?.parse().ok().map(Place::Process),
        [PROJECTS, _, name] if is_subagent(name) => Some(Place::OldSubagent),
        [PROJECTS, _, name] => {
            SessionId::checked(name.strip_suffix(".jsonl")?).map(Place::Transcript)
        }
        [PROJECTS, _, session, SUBAGENTS, .., name] if is_subagent(name) => {
            SessionId::checked(session).map(Place::Subagent)
        }
        _ => None,
    }
}
