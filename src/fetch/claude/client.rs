//! PURE. What the client says of itself: the document it hands to its status line, and the file of
//! each process.

use serde::de::{Deserialize, MapAccess};

use super::lenient::{Field, Fits, Moment, Object, Word};
use crate::store::schema::{
    ClientFacts, Limit, Limits, Lines, Model, PromptCache, PullRequest, SessionId, Status, Task,
};
use crate::time::SECOND_MS;

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

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionDocument {
    pid: Field<u64>,
    session_id: Field<String>,
    cwd: Field<String>,
    proc_start: Field<Word>,
    started_at: Field<u64>,
    name: Field<String>,
    status: Field<String>,
}

/// Reads `sessions/<pid>.json`; none without a pid.
pub fn parse_session_file(bytes: &[u8]) -> Option<SessionFile> {
    let document: SessionDocument = parse(bytes)?;
    Some(SessionFile {
        pid: u32::try_from(document.pid.0?).ok()?,
        session_id: SessionId::checked(document.session_id.as_str()),
        cwd: document.cwd.0,
        proc_start: document.proc_start.0.map(|it| it.0),
        started_at_ms: document.started_at.0.and_then(|it| i64::try_from(it).ok()),
        name: document.name.0,
        status: match document.status.as_str() {
            "busy" => Some(Status::Busy),
            "idle" => Some(Status::Idle),
            _ => None,
        },
    })
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StdinDocument {
    session_id: Field<String>,
    transcript_path: Field<String>,
    cwd: Field<String>,
    session_name: Field<String>,
    model: Field<Object<StdinModel>>,
    workspace: Field<Object<Workspace>>,
    cost: Field<Object<StdinCost>>,
    context_window: Field<Object<ContextWindow>>,
    rate_limits: Field<Object<RateLimits>>,
    exceeds_200k_tokens: Field<bool>,
    effort: Field<Effort>,
    thinking: Field<Object<Thinking>>,
    fast_mode: Field<bool>,
    pr: Field<Object<Pr>>,
    output_style: Field<Object<Named>>,
    vim: Field<Object<Vim>>,
    agent: Field<Object<Named>>,
    worktree: Field<Object<Named>>,
    version: Field<String>,
    prompt_cache: Field<Object<StdinCache>>,
}

/// A word, or an object with one.
struct Effort(String);

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct EffortObject {
    level: Field<Word>,
}

impl<'de> Fits<'de> for Effort {
    fn text(text: &str) -> Option<Effort> {
        Word::text(text).map(|it| Effort(it.0))
    }

    fn object<A: MapAccess<'de>>(fields: A) -> Result<Option<Effort>, A::Error> {
        let object = Object::<EffortObject>::object(fields)?;
        Ok(object.and_then(|it| it.0.level.0).map(|it| Effort(it.0)))
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Thinking {
    enabled: Field<bool>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Named {
    name: Field<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Vim {
    mode: Field<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Pr {
    number: Field<u64>,
    url: Field<String>,
    review_state: Field<String>,
    kind: Field<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StdinCache {
    warm: Field<bool>,
    expires_at: Field<Moment>,
    hit_ratio: Field<f64>,
    misses: Field<u64>,
    last_miss_at: Field<Moment>,
    last_miss_cause: Field<Object<MissCause>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct MissCause {
    causes: Field<Vec<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StdinModel {
    id: Field<String>,
    display_name: Field<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Workspace {
    current_dir: Field<String>,
    git_worktree: Field<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StdinCost {
    total_cost_usd: Field<f64>,
    total_duration_ms: Field<u64>,
    total_api_duration_ms: Field<u64>,
    total_lines_added: Field<u64>,
    total_lines_removed: Field<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ContextWindow {
    context_window_size: Field<u64>,
    used_percentage: Field<f64>,
    current_usage: Field<Object<CurrentUsage>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct CurrentUsage {
    input_tokens: Field<u64>,
    cache_creation_input_tokens: Field<u64>,
    cache_read_input_tokens: Field<u64>,
}

impl CurrentUsage {
    fn context(&self) -> u64 {
        [&self.input_tokens, &self.cache_creation_input_tokens, &self.cache_read_input_tokens]
            .iter()
            .fold(0, |sum, it| sum.saturating_add(it.0.unwrap_or(0)))
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RateLimits {
    five_hour: Field<Object<RateLimit>>,
    seven_day: Field<Object<RateLimit>>,
    spend_limit: Field<Object<RateLimit>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RateLimit {
    used_percentage: Field<f64>,
    resets_at: Field<f64>,
}

/// Reads the document that the client hands to its status line; none where it is no JSON object.
pub fn parse_stdin(bytes: &[u8]) -> Option<ClientFacts> {
    let document: StdinDocument = parse(bytes)?;
    let window = document.context_window.0.map(|it| it.0).unwrap_or_default();
    let limits = document.rate_limits.0.map(|it| it.0).unwrap_or_default();
    let model = document.model.0.and_then(|Object(it)| {
        let display_name = it.display_name.0;
        it.id.0.map(|id| Model { id, display_name })
    });
    let workspace = document.workspace.0.map(|it| it.0).unwrap_or_default();
    let cost = document.cost.0.map(|it| it.0).unwrap_or_default();
    let worktree = document.worktree.0.and_then(|it| it.0.name.0);
    Some(ClientFacts {
        session_id: document.session_id.0,
        transcript_path: document.transcript_path.0,
        cwd: document.cwd.0.or(workspace.current_dir.0),
        session_name: document.session_name.0,
        model,
        context_tokens: window.current_usage.0.map(|it| it.0.context()),
        context_window: window.context_window_size.0,
        context_used_percentage: window.used_percentage.0.filter(is_amount),
        cost_usd: cost.total_cost_usd.0.filter(is_amount),
        limits: Limits {
            five_hour: limits.five_hour.0.and_then(|it| it.0.limit()),
            seven_day: limits.seven_day.0.and_then(|it| it.0.limit()),
            spend_limit: limits.spend_limit.0.and_then(|it| it.0.limit()),
        },
        exceeds_200k: document.exceeds_200k_tokens.0,
        effort: document.effort.0.map(|it| it.0),
        thinking: document.thinking.0.and_then(|it| it.0.enabled.0),
        fast: document.fast_mode.0,
        pr: document.pr.0.and_then(|Object(it)| {
            Some(PullRequest {
                number: it.number.0?,
                url: it.url.0,
                review_state: it.review_state.0,
                kind: it.kind.0,
            })
        }),
        lines: match (cost.total_lines_added.0, cost.total_lines_removed.0) {
            (None, None) => None,
            (added, removed) => {
                Some(Lines { added: added.unwrap_or(0), removed: removed.unwrap_or(0) })
            }
        },
        duration_ms: cost.total_duration_ms.0,
        api_duration_ms: cost.total_api_duration_ms.0,
        output_style: document.output_style.0.and_then(|it| it.0.name.0),
        vim_mode: document.vim.0.and_then(|it| it.0.mode.0),
        agent: document.agent.0.and_then(|it| it.0.name.0),
        client_version: document.version.0,
        worktree: worktree.or(workspace.git_worktree.0),
        prompt_cache: document.prompt_cache.0.map(|Object(it)| PromptCache {
            warm: it.warm.0,
            expires_at_ms: it.expires_at.0.map(|it| it.0),
            hit_ratio: it.hit_ratio.0.filter(is_amount),
            misses: it.misses.0,
            last_miss_at_ms: it.last_miss_at.0.map(|it| it.0),
            last_miss_cause: it.last_miss_cause.0.and_then(|it| it.0.causes.0).and_then(|it| {
                let causes = it.into_iter().take(MAX_CAUSES).collect::<Vec<_>>().join(", ");
                Some(causes).filter(|it| !it.is_empty())
            }),
        }),
    })
}

/// A line has room for no more.
const MAX_CAUSES: usize = 3;

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct SubagentsDocument {
    columns: Field<u64>,
    tasks: Field<Vec<Object<StdinTask>>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StdinTask {
    id: Field<String>,
    name: Field<String>,
    #[serde(rename = "type")]
    kind: Field<String>,
    status: Field<String>,
    description: Field<String>,
    label: Field<String>,
    start_time: Field<Moment>,
    model: Field<String>,
    effort: Field<Effort>,
    context_window_size: Field<u64>,
    token_count: Field<u64>,
    token_samples: Field<Vec<f64>>,
}

/// More subagents than a screen has rows for.
const MAX_TASKS: usize = 256;

/// Reads the document that the client hands to whoever draws the rows of its subagents: how wide
/// they may be, and which there are. Those without an id have no row.
pub fn parse_subagents(bytes: &[u8]) -> (Option<usize>, Vec<Task>) {
    let document: SubagentsDocument = parse(bytes).unwrap_or_default();
    let task = |Object(it): Object<StdinTask>| {
        Some(Task {
            id: it.id.0?,
            name: it.name.0,
            kind: it.kind.0,
            status: it.status.0,
            description: it.description.0,
            label: it.label.0,
            started_at_ms: it.start_time.0.map(|it| it.0),
            model: it.model.0,
            effort: it.effort.0.map(|it| it.0),
            context_window: it.context_window_size.0,
            tokens: it.token_count.0,
            samples: it.token_samples.0.unwrap_or_default().into_iter().filter(is_amount).collect(),
        })
    };
    let tasks = document.tasks.0.unwrap_or_default().into_iter().filter_map(task);
    let columns = document.columns.0.and_then(|it| usize::try_from(it).ok());
    (columns, tasks.take(MAX_TASKS).collect())
}

impl RateLimit {
    fn limit(&self) -> Option<Limit> {
        let used_percentage = self.used_percentage.0.filter(is_amount)?;
        let resets_at_ms = self.resets_at.0.filter(is_amount)? * SECOND_MS as f64;
        let resets_at_ms = resets_at_ms as i64;
        Some(Limit { used_percentage, resets_at_ms, ..Limit::default() })
    }
}

fn is_amount(it: &f64) -> bool {
    it.is_finite() && *it >= 0.0
}

/// The first document in `bytes`; what follows it is not ours to judge.
fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Option<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Field::<Object<T>>::deserialize(&mut deserializer).ok()?.0.map(|it| it.0)
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
