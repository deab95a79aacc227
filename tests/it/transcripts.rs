//! Transcripts as the client writes them, for the other tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ccstatusd::store::schema::{SessionId, Tokens};
use ccstatusd::time::Now;
use serde_json::{Value, json};

/// What one reply of a [`Transcript`] used: some tokens of every kind.
pub(crate) const TOKENS: Tokens =
    Tokens { input: 12, output: 42, cache_write: 1500, cache_read: 21_000 };
/// The client's own price of one reply.
pub(crate) const COST_USD: f64 = 0.02286;

/// Writes a transcript as the client does.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    pub(crate) cwd: PathBuf,
    /// The subagent's name, if this is a subagent's transcript.
    agent: Option<String>,
    n_lines: u32,
}

impl Transcript {
    pub(crate) fn new(root: &Path, project: &str, id: &str, cwd: &Path) -> Transcript {
        let path = root.join("projects").join(project).join(format!("{id}.jsonl"));
        let (id, cwd) = (id.to_owned(), cwd.to_owned());
        Transcript { path, id, cwd, agent: None, n_lines: 0 }
    }

    /// The transcript of a subagent of this session.
    pub(crate) fn agent(&self, name: &str) -> Transcript {
        let folder = self.path.with_extension("").join("subagents");
        Transcript {
            path: folder.join(format!("agent-{name}.jsonl")),
            id: self.id.clone(),
            cwd: self.cwd.clone(),
            agent: Some(name.to_owned()),
            n_lines: 0,
        }
    }

    pub(crate) fn session_id(&self) -> SessionId {
        SessionId(self.id.clone())
    }

    /// Appends to the file. Where its folders are missing, it makes them right before.
    #[track_caller]
    pub(crate) fn append(&self, text: &str) {
        fs_err::create_dir_all(self.path.parent().unwrap()).unwrap();
        let mut file =
            fs_err::OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[track_caller]
    pub(crate) fn prompt(&mut self, text: &str) {
        let line = self.prompt_line(text);
        self.append(&line);
    }

    #[track_caller]
    pub(crate) fn reply(&mut self, text: &str) {
        let line = self.reply_line(text);
        self.append(&line);
    }

    pub(crate) fn prompt_line(&mut self, text: &str) -> String {
        let message = json!({"role": "user", "content": text});
        self.line("user", &message)
    }

    /// A reply that used [`TOKENS`] and cost [`COST_USD`].
    pub(crate) fn reply_line(&mut self, text: &str) -> String {
        let name = self.agent.as_deref().unwrap_or("main");
        let message = json!({
            "id": format!("msg_{}_{name}_{}", self.id, self.n_lines),
            "type": "message", "role": "assistant", "model": "claude-opus-4-8",
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
            "usage": {
                "input_tokens": 12, "cache_creation_input_tokens": 1500,
                "cache_read_input_tokens": 21000, "output_tokens": 42,
                "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
                "service_tier": "standard",
                "cache_creation":
                    {"ephemeral_1h_input_tokens": 500, "ephemeral_5m_input_tokens": 1000},
                "inference_geo": "", "iterations": [], "speed": "standard"
            }
        });
        self.line("assistant", &message)
    }

    fn line(&mut self, kind: &str, message: &Value) -> String {
        self.line_at(kind, message, Now::read().wall_ms)
    }

    /// A prompt of that time. The file's own time is set to it, too.
    #[track_caller]
    pub(crate) fn write_old(&mut self, at_ms: i64) {
        let message = json!({"role": "user", "content": "old"});
        let line = self.line_at("user", &message, at_ms);
        self.append(&line);
        let file = fs_err::OpenOptions::new().write(true).open(&self.path).unwrap();
        let age = Duration::from_millis(u64::try_from(at_ms).unwrap());
        file.file().set_modified(std::time::UNIX_EPOCH + age).unwrap();
    }

    fn line_at(&mut self, kind: &str, message: &Value, at_ms: i64) -> String {
        self.n_lines += 1;
        let n = self.n_lines;
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
        let line = json!({
            "parentUuid": null, "isSidechain": self.agent.is_some(), "agentId": self.agent,
            "message": message, "requestId": format!("req_{}_{n}", self.id), "type": kind,
            "uuid": format!("{}-{n}", self.id), "timestamp": format!("{at:.3}"), "cwd": self.cwd,
            "sessionId": self.id, "version": "2.1.197", "gitBranch": "main",
        });
        format!("{line}\n")
    }
}
