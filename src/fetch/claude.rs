//! The only file that knows Claude Code's field names and where it keeps its files.

use std::path::Path;

use crate::store::schema::{ClientFacts, Message, SessionId, Status};
use crate::usage::Entry;

/// What one transcript says, folded line by line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscriptFacts {
    /// The session that its lines name; the first one, where they name several.
    pub session: Option<String>,
    /// Whether it is a subagent's. Lines of the other kind of chain add entries and nothing else.
    pub sidechain: Option<bool>,
    /// Where the session works, as of the newest line.
    pub cwd: Option<String>,
    /// The model of the newest reply.
    pub model: Option<String>,
    /// Tokens in the context since the newest reply; none right after a compaction.
    pub context_tokens: Option<u64>,
    /// When `context_tokens` became what it is.
    pub context_as_of_ms: Option<i64>,
    /// Prompts that a person typed.
    pub turns: u64,
    /// How often the context was compacted.
    pub compactions: u64,
    /// The newest text, of either side.
    pub last_message: Option<Message>,
    /// When the model last replied.
    pub last_reply_ms: Option<i64>,
    /// The newest time that any line states (tool results are not looked at).
    pub last_line_ms: Option<i64>,
    /// Whether a prompt or a reply waits for what follows it.
    pub turn_open: bool,
    /// The title that a person gave.
    pub custom_title: Option<String>,
    /// The title that the client made up.
    pub ai_title: Option<String>,
    /// Lines that could not be read.
    pub skipped_lines: u64,
}

impl TranscriptFacts {
    /// The session's title; a person's beats the client's.
    pub fn title(&self) -> Option<&str> {
        self.custom_title.as_deref().or(self.ai_title.as_deref())
    }
}

/// Takes in one line, without its newline. What it says was used is appended to `entries`.
///
/// A line we cannot read is not an error: the writer is another program, and it may have died
/// half-way through this very line.
pub fn fold_line(facts: &mut TranscriptFacts, line: &[u8], entries: &mut Vec<Entry>) {
    _ = (facts, line, entries);
}

/// A running process, as `sessions/<pid>.json` describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionFile {
    /// Its process id.
    pub pid: u32,
    /// The session it runs.
    pub session_id: Option<SessionId>,
    /// Where it works.
    pub cwd: Option<String>,
    /// When the kernel started it, in the kernel's own words: tells a reused pid from the real one.
    pub proc_start: Option<String>,
    /// When it started.
    pub started_at_ms: Option<i64>,
    /// Its session's name.
    pub name: Option<String>,
    /// What it does.
    pub status: Option<Status>,
}

/// Reads `sessions/<pid>.json`; none without a pid.
pub fn parse_session_file(bytes: &[u8]) -> Option<SessionFile> {
    _ = bytes;
    None
}

/// Reads the document that the client hands to its status line; none where it is no JSON object.
pub fn parse_stdin(bytes: &[u8]) -> Option<ClientFacts> {
    _ = bytes;
    None
}

/// Finds where a JSON document ends while it is still arriving: the client may never close the
/// pipe.
#[derive(Clone, Debug, Default)]
pub struct DocumentScan {
    scanned: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl DocumentScan {
    /// Looks at what is new in `bytes`, which starts where it always did and only grows. Returns
    /// the length of the document once it is whole.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        _ = (bytes, self.scanned, self.depth, self.in_string, self.escaped);
        None
    }
}

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

/// What the file at `path` is, if it is one that we read.
pub fn place(root: &Path, path: &Path) -> Option<Place> {
    _ = (root, path);
    None
}
