//! PURE. Parses what Claude Code itself reports: the documents that it writes to the standard input
//! of its status line commands, and the file that it keeps for each of its processes.

use super::line::Usage;
use super::scan::{Scan, read_object};
use crate::sanitize;
use crate::store::schema::display::Depth;
use crate::store::schema::{
    BackgroundJob, ClientFacts, Fit, Limit, Lines, Model, PromptCache, PullRequest, SessionId,
    SessionKind, Status, Task,
};

/// A process of Claude Code, as `sessions/<pid>.json` describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionFile {
    pub pid: u32,
    /// The session that the process runs.
    pub session_id: Option<SessionId>,
    pub cwd: Option<String>,
    /// The start time of the process in the notation of the platform. It distinguishes the process
    /// from a later one with the same id.
    pub proc_start: Option<String>,
    /// The system, the machine and the process namespace in which `pid` is the id of the process.
    pub pid_domain: Option<String>,
    pub started_at_ms: Option<i64>,
    /// The name of the session.
    pub name: Option<String>,
    /// `None` also for a status that this version does not know.
    pub status: Option<Status>,
    pub status_since_ms: Option<i64>,
    /// What the session waits for. `None` unless it waits.
    pub waiting_for: Option<String>,
    /// `None` also for a kind that this version does not know.
    pub kind: Option<SessionKind>,
    /// The name of the folder in `jobs` that describes the background job.
    pub job: Option<SessionId>,
    /// Whether the process is a worker that is kept ready for a background session to come. It runs
    /// the status line, but it runs no session.
    pub is_spare: bool,
}

/// Parses `sessions/<pid>.json`. `None` where it is not a JSON object with a process id.
pub fn parse_session_file(bytes: &[u8]) -> Option<SessionFile> {
    let mut file = SessionFile::default();
    let mut pid = None;
    read_object(bytes, |scan, key| {
        match key {
            b"pid" => pid = scan.count()?,
            b"sessionId" => file.session_id = scan.text()?.and_then(|it| SessionId::checked(&it)),
            b"cwd" => file.cwd = scan.name()?,
            b"procStart" => file.proc_start = scan.word()?,
            b"pidDomain" => file.pid_domain = scan.name()?,
            b"startedAt" => file.started_at_ms = milliseconds(scan)?,
            b"name" => file.name = scan.name()?,
            b"status" => {
                file.status = match scan.text()?.as_deref() {
                    Some("busy") => Some(Status::Busy),
                    Some("idle") => Some(Status::Idle),
                    Some("waiting") => Some(Status::Waiting),
                    Some("shell") => Some(Status::Shell),
                    _ => None,
                }
            }
            b"statusUpdatedAt" => file.status_since_ms = milliseconds(scan)?,
            b"waitingFor" => file.waiting_for = phrase(scan)?,
            b"kind" => {
                file.kind = match scan.text()?.as_deref() {
                    Some("interactive") => Some(SessionKind::Interactive),
                    Some("bg") => Some(SessionKind::Background),
                    _ => None,
                }
            }
            b"jobId" => file.job = scan.text()?.and_then(|it| SessionId::checked(&it)),
            b"spare" => file.is_spare = scan.flag()? == Some(true),
            _ => scan.skip()?,
        }
        Some(())
    })?;
    // A client that has what it waited for may leave the reason behind.
    file.waiting_for = file.waiting_for.filter(|_| file.status == Some(Status::Waiting));
    Some(SessionFile { pid: u32::try_from(pid?).ok()?, ..file })
}

/// Parses `jobs/<id>/state.json`, which describes a background job. `None` where it is not a JSON
/// object.
pub fn parse_job(id: &SessionId, bytes: &[u8]) -> Option<BackgroundJob> {
    let mut job = BackgroundJob { id: id.0.clone(), ..BackgroundJob::default() };
    read_object(bytes, |scan, key| {
        match key {
            b"name" => job.name = phrase(scan)?,
            b"state" => job.state = phrase(scan)?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    Some(job)
}

/// The most characters of a phrase that are kept; a status line has no room for more.
const MAX_PHRASE: usize = 64;

/// Reads a short text, and makes it one line that is safe to show.
fn phrase(scan: &mut Scan<'_>) -> Option<Option<String>> {
    let text = scan.text()?.unwrap_or_default();
    let phrase: String = sanitize::spaced(text.trim()).take(MAX_PHRASE).collect();
    Some(Some(phrase).filter(|it| !it.trim().is_empty()))
}

fn milliseconds(scan: &mut Scan<'_>) -> Option<Option<i64>> {
    Some(scan.count()?.and_then(|it| i64::try_from(it).ok()))
}

/// Parses the document that the client writes to the standard input of its status line command.
/// `None` where it is not a JSON object.
pub fn parse_stdin(bytes: &[u8]) -> Option<ClientFacts> {
    let mut facts = ClientFacts::default();
    let mut current_dir = None;
    read_object(bytes, |scan, key| {
        match key {
            b"session_id" => facts.session_id = scan.name()?,
            b"transcript_path" => facts.transcript_path = scan.name()?,
            b"cwd" => facts.cwd = scan.name()?,
            b"session_name" => facts.session_name = scan.name()?,
            b"model" => facts.model = model(scan)?,
            b"workspace" => scan.fields(|scan, key| {
                match key {
                    b"current_dir" => current_dir = scan.name()?,
                    _ => scan.skip()?,
                }
                Some(())
            })?,
            b"cost" => cost(scan, &mut facts)?,
            b"context_window" => context_window(scan, &mut facts)?,
            b"rate_limits" => rate_limits(scan, &mut facts)?,
            b"exceeds_200k_tokens" => facts.exceeds_200k = scan.flag()?,
            b"effort" => facts.effort = effort(scan)?,
            b"thinking" => scan.field(b"enabled", |scan| {
                facts.thinking = scan.flag()?;
                Some(())
            })?,
            b"fast_mode" => facts.fast = scan.flag()?,
            b"pr" => facts.pr = pull_request(scan)?,
            b"output_style" => facts.output_style = named(scan, b"name")?,
            b"vim" => facts.vim_mode = named(scan, b"mode")?,
            b"agent" => facts.agent = named(scan, b"name")?,
            b"version" => facts.client_version = scan.name()?,
            b"prompt_cache" => facts.prompt_cache = prompt_cache(scan)?,
            // Not of Claude Code: our plugin asks by this for a line that fits.
            b"ccstatusd" => scan.field(b"columns", |scan| {
                let columns = scan.count()?.and_then(|it| u16::try_from(it).ok());
                facts.fit =
                    columns.map(|columns| Fit { columns, depth: Depth::None, has_links: false });
                Some(())
            })?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    facts.cwd = facts.cwd.or(current_dir);
    Some(facts)
}

fn model(scan: &mut Scan<'_>) -> Option<Option<Model>> {
    let (mut id, mut display_name) = (None, None);
    scan.fields(|scan, key| {
        match key {
            b"id" => id = scan.name()?,
            b"display_name" => display_name = scan.name()?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    // Whoever names a model without an id calls it by that name.
    Some(id.or_else(|| display_name.clone()).map(|id| Model { id, display_name }))
}

fn cost(scan: &mut Scan<'_>, facts: &mut ClientFacts) -> Option<()> {
    let (mut added, mut removed) = (None, None);
    scan.fields(|scan, key| {
        match key {
            b"total_cost_usd" => facts.cost_usd = scan.real()?.filter(is_amount),
            b"total_duration_ms" => facts.duration_ms = scan.count()?,
            b"total_api_duration_ms" => facts.api_duration_ms = scan.count()?,
            b"total_lines_added" => added = scan.count()?,
            b"total_lines_removed" => removed = scan.count()?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    facts.lines = match (added, removed) {
        (None, None) => None,
        _ => Some(Lines { added: added.unwrap_or(0), removed: removed.unwrap_or(0) }),
    };
    Some(())
}

fn context_window(scan: &mut Scan<'_>, facts: &mut ClientFacts) -> Option<()> {
    scan.fields(|scan, key| {
        match key {
            b"context_window_size" => facts.context_window = scan.count()?,
            b"used_percentage" => facts.context_used_percentage = scan.real()?.filter(is_amount),
            b"current_usage" => {
                facts.context_tokens = Usage::read(scan)?.and_then(|it| it.context())
            }
            _ => scan.skip()?,
        }
        Some(())
    })
}

/// Reads all limits, also those of names that this version does not know.
fn rate_limits(scan: &mut Scan<'_>, facts: &mut ClientFacts) -> Option<()> {
    scan.fields(|scan, name| {
        let (mut used, mut limit) = (None, Limit::default());
        facts.has_rate_limits |= scan.object(|scan, key| {
            match key {
                b"used_percentage" => used = scan.real()?,
                b"resets_at" => limit.resets_at_ms = scan.moment_ms()?.unwrap_or(0),
                b"used_usd" => limit.used_usd = scan.real()?,
                b"limit_usd" => limit.limit_usd = scan.real()?,
                _ => scan.skip()?,
            }
            Some(())
        })?;
        let by_money = limit.used_usd.zip(limit.limit_usd).map(|(used, most)| used / most * 100.0);
        if let Some((name, used_percentage)) = str::from_utf8(name).ok().zip(used.or(by_money)) {
            facts.limits.insert(name, Limit { used_percentage, ..limit });
        }
        Some(())
    })
}

/// Reads a word, or an object with the word in `level`.
fn effort(scan: &mut Scan<'_>) -> Option<Option<String>> {
    let mut word = scan.clone().word()?;
    scan.field(b"level", |scan| {
        word = scan.word()?;
        Some(())
    })?;
    Some(word)
}

fn pull_request(scan: &mut Scan<'_>) -> Option<Option<PullRequest>> {
    let (mut number, mut pr) = (None, PullRequest::default());
    scan.fields(|scan, key| {
        match key {
            b"number" => number = scan.count()?,
            b"url" => pr.url = scan.name()?,
            b"review_state" => pr.review_state = scan.name()?,
            b"kind" => pr.kind = scan.name()?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    Some(number.map(|number| PullRequest { number, ..pr }))
}

/// Reads the field `wanted` of an object.
fn named(scan: &mut Scan<'_>, wanted: &[u8]) -> Option<Option<String>> {
    let mut name = None;
    scan.field(wanted, |scan| {
        name = scan.name()?;
        Some(())
    })?;
    Some(name)
}

fn prompt_cache(scan: &mut Scan<'_>) -> Option<Option<PromptCache>> {
    let mut cache = PromptCache::default();
    let mut causes = Vec::new();
    let is_object = scan.object(|scan, key| {
        match key {
            b"warm" => cache.warm = scan.flag()?,
            b"expires_at" => cache.expires_at_ms = scan.moment_ms()?,
            b"hit_ratio" => cache.hit_ratio = scan.real()?.filter(is_amount),
            b"misses" => cache.misses = scan.count()?,
            b"last_miss_at" => cache.last_miss_at_ms = scan.moment_ms()?,
            b"last_miss_cause" => scan.field(b"causes", |scan| {
                scan.list(|scan| {
                    causes.extend(scan.name()?.filter(|_| causes.len() < MAX_CAUSES));
                    Some(())
                })
            })?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    cache.last_miss_cause = Some(causes.join(", ")).filter(|it| !it.is_empty());
    Some(is_object.then_some(cache))
}

/// The most causes of a cache miss that are kept; a status line has no room for more.
const MAX_CAUSES: usize = 3;

/// The most subagents that are read; no screen has as many rows.
const MAX_TASKS: usize = 256;

/// Parses the document that the client writes to the standard input of its subagent status line
/// command: the number of columns that a row may take, and the subagents. Subagents without an id
/// are left out, since the client could not assign a row to them.
pub fn parse_subagents(bytes: &[u8]) -> (Option<usize>, Vec<Task>) {
    let (mut columns, mut tasks) = (None, Vec::new());
    let read = read_object(bytes, |scan, key| {
        match key {
            b"columns" => columns = scan.count()?,
            b"tasks" => scan.list(|scan| {
                tasks.extend(task(scan)?.filter(|_| tasks.len() < MAX_TASKS));
                Some(())
            })?,
            _ => scan.skip()?,
        }
        Some(())
    });
    if read.is_none() {
        return (None, Vec::new());
    }
    (columns.and_then(|it| usize::try_from(it).ok()), tasks)
}

fn task(scan: &mut Scan<'_>) -> Option<Option<Task>> {
    let (mut id, mut task) = (None, Task::default());
    scan.fields(|scan, key| {
        match key {
            b"id" => id = scan.name()?,
            b"name" => task.name = scan.name()?,
            b"agentType" => task.agent_type = scan.name()?,
            b"type" => task.kind = scan.name()?,
            b"status" => task.status = scan.name()?,
            b"description" => task.description = scan.name()?,
            b"label" => task.label = scan.name()?,
            b"startTime" => task.started_at_ms = scan.moment_ms()?,
            b"model" => task.model = scan.name()?,
            b"effort" => task.effort = effort(scan)?,
            b"contextWindowSize" => task.context_window = scan.count()?,
            b"tokenCount" => task.tokens = scan.count()?,
            b"tokenSamples" => scan.list(|scan| {
                task.samples.extend(scan.real()?.filter(is_amount));
                Some(())
            })?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    Some(id.map(|id| Task { id, ..task }))
}

fn is_amount(number: &f64) -> bool {
    *number >= 0.0
}

/// Finds the end of a JSON document that is still arriving. The end of the pipe does not tell,
/// since the client may never close it.
#[derive(Clone, Debug, Default)]
pub struct DocumentScan {
    /// In bytes.
    scanned: usize,
    /// How many objects and lists are open.
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl DocumentScan {
    /// Examines the bytes that are new since the last call. `bytes` is everything that has arrived
    /// so far. Returns the length of the document once it is complete.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for byte in bytes.get(self.scanned..)? {
            self.scanned += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.scanned);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
