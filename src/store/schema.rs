//! PURE. The contract: the shapes that leave this process. The snapshot, and the hint that `show`
//! sends.
//!
//! Times are Unix milliseconds, money US dollars, tokens counts. Absent is `null`, and keys are
//! always there. **Invariant:** fields are added, never repurposed. Reading is tolerant: a missing
//! field takes its default, an unknown one is ignored.

pub mod display;

use std::collections::BTreeMap;

use display::Display;
use serde::{Deserialize, Serialize};

/// The version this program writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// Most sessions a snapshot holds.
pub const MAX_SESSIONS: usize = 256;

/// A config root, which is one account. Usage and limits are keyed by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootKey(pub String);

/// The top of a working tree. Git facts are keyed by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepoKey(pub String);

/// A Claude Code session. Context, cost and messages are keyed by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

impl SessionId {
    /// Accepts what can be a file name of its own: ASCII letters, digits, `-` and `_`, at most 128.
    /// Everything that turns an id into a path takes a `SessionId` that came from here.
    pub fn checked(id: &str) -> Option<SessionId> {
        let fits = !id.is_empty() && id.len() <= 128;
        let plain = id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
        (fits && plain).then(|| SessionId(id.to_owned()))
    }
}

/// The one file that displays read.
///
/// The sessions come last, and then the working trees: a display searches for its own there (see
/// `snapshot.rs`). What concerns everybody goes before them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Always [`VERSION`] in what we write. A reader must not interpret a newer one.
    pub version: u32,
    /// Grows by one with every publication.
    pub seq: u64,
    /// When this was written.
    pub published_at_ms: i64,
    /// Who wrote it; `null` from `--oneshot`.
    pub watcher: Option<Watcher>,
    /// What the user chose to see.
    pub display: Display,
    /// Usage and limits, by account.
    pub roots: BTreeMap<RootKey, Root>,
    /// The session whose line stands for all, as in `lines/latest`: one that lives, if any does,
    /// with a process that is known, and active last.
    pub latest: Option<SessionId>,
    /// Output of the user's own commands, by name.
    pub commands: BTreeMap<String, Command>,
    /// Sources that fail now. Their last good facts stay, with their age.
    pub degraded: Vec<Degraded>,
    /// Sessions that live, and the latest of those that were active in the last day; at most
    /// [`MAX_SESSIONS`].
    pub sessions: BTreeMap<SessionId, Session>,
    /// Git facts, by working tree.
    pub repos: BTreeMap<RepoKey, Repo>,
}

/// All of a [`Snapshot`] that every version can read.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Header {
    /// As in [`Snapshot::version`].
    pub(super) version: u32,
}

/// The process behind a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watcher {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at_ms: i64,
    /// How often events were lost and everything was looked at again.
    pub rescans: u64,
    /// Directories without kernel events, which are polled instead: the first of them.
    pub polled: Vec<String>,
    /// How many more there are.
    pub polled_more: u64,
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// What was used, from the transcripts; `null` until they have been read once.
    pub usage: Option<Usage>,
    /// What is left, as the client was told.
    pub limits: Limits,
}

/// What an account used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// When the transcripts were last known to say this.
    pub as_of_ms: i64,
    /// The active five-hour block. Another tool's has its own age.
    pub block: Option<Block>,
    /// Since local midnight.
    pub today: Totals,
    /// The next local midnight: from then on `today` is yesterday.
    pub day_ends_ms: i64,
    /// Since the first day of the local week.
    pub week: Totals,
    /// Since the first day of the local month.
    pub month: Totals,
    /// Models without a price that were used this month or week: their tokens count, and their cost
    /// is missing above.
    pub unpriced_models: Vec<String>,
    /// Transcript lines that could not be read.
    pub skipped_lines: u64,
}

/// Cost and tokens of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// US dollars; a lower bound where some replies are unpriced.
    pub cost_usd: f64,
    /// Replies whose model has no price.
    pub unpriced: u64,
    /// By kind.
    pub tokens: Tokens,
}

/// Token counts by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Input that was neither written to nor read from the cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input written to the cache.
    pub cache_write: u64,
    /// Input read from the cache.
    pub cache_read: u64,
}

/// The active five-hour block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Block {
    /// First entry's time, floored to the UTC hour.
    pub start_ms: i64,
    /// Five hours later.
    pub end_ms: i64,
    /// The newest entry in it.
    pub last_entry_ms: i64,
    /// Replies in it.
    pub entries: u64,
    /// What they used.
    pub tokens: Tokens,
    /// What they cost, in US dollars; a lower bound where some are unpriced.
    pub cost_usd: f64,
    /// Those whose model has no price.
    pub unpriced: u64,
    /// How fast it is used; `null` while it is too young to tell.
    pub burn: Option<Burn>,
    /// Where it ends at this rate.
    pub projection: Option<Projection>,
    /// Who says so.
    pub source: BlockSource,
    /// When it was so: nothing more had been used then.
    pub as_of_ms: i64,
}

/// Who says what the active block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockSource {
    /// Our accounting of the transcripts.
    #[default]
    Transcripts,
    /// `ccusage`, or the command that stands for it. Prices are its own.
    Ccusage,
}

/// A rate over the span of a block's entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Burn {
    /// US dollars per hour.
    pub cost_per_hour: f64,
    /// Tokens of every kind per minute.
    pub tokens_per_minute: f64,
}

/// A block's totals at its end, if the rate holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Projection {
    /// US dollars.
    pub cost_usd: f64,
    /// Tokens of every kind.
    pub tokens: u64,
}

/// An account's limits, each window on its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The five-hour limit.
    pub five_hour: Option<Limit>,
    /// The weekly limit.
    pub seven_day: Option<Limit>,
    /// The spending limit, which can exceed 100 %.
    pub spend_limit: Option<Limit>,
}

/// One limit as the client was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// 0 to 100, with fractions; the spending limit can exceed it.
    pub used_percentage: f64,
    /// When it starts again. Past that, this observation says nothing.
    pub resets_at_ms: i64,
    /// When the client learned it, which is its session's last reply.
    pub as_of_ms: i64,
    /// When all of it will be used, if it goes on as it went since the window began; `null` where
    /// that cannot be told.
    pub full_at_ms: Option<i64>,
}

/// A working tree's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repo {
    /// When git said so.
    pub as_of_ms: i64,
    /// `null` when detached.
    pub branch: Option<String>,
    /// The commit checked out; `null` before the first.
    pub commit: Option<String>,
    /// The branch's upstream.
    pub upstream: Option<String>,
    /// Commits that the upstream lacks.
    pub ahead: u64,
    /// Commits that the upstream has and we lack.
    pub behind: u64,
    /// Paths whose index entry differs from the commit.
    pub staged: u64,
    /// Paths whose file differs from the index.
    pub unstaged: u64,
    /// Paths that git does not know (a directory counts once).
    pub untracked: u64,
    /// Unmerged paths.
    pub conflicts: u64,
    /// Entries in the stash.
    pub stashes: u64,
    /// An operation that waits to be continued: "merge", "rebase 2/5", …
    pub operation: Option<String>,
    /// The name of a linked worktree.
    pub worktree: Option<String>,
    /// Whether the repository is bare, so that only its branch is known.
    pub bare: bool,
    /// Why the rest is as old as `as_of_ms` says, or was never known (`as_of_ms` is 0 then).
    pub error: Option<String>,
}

/// What a command of the user's own printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// When it was run to print it.
    pub as_of_ms: i64,
    /// The first line that is not empty, without control characters, of at most 256 characters.
    pub output: String,
    /// Why it is as old as `as_of_ms` says, or was never known (`as_of_ms` is 0 then).
    pub error: Option<String>,
}

/// A session's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// The account it belongs to.
    pub root: String,
    /// Where it works.
    pub cwd: Option<String>,
    /// The key of its working tree in [`Snapshot::repos`].
    pub repo: Option<String>,
    /// Its transcript.
    pub transcript: Option<String>,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Whether its process runs, or, where that cannot be known, whether it was active in the
    /// last half hour.
    pub live: bool,
    /// What its process says it does.
    pub status: Option<Status>,
    /// When its transcript last grew or a display last asked.
    pub last_activity_ms: i64,
    /// The model of its newest reply, or what the client says it will use next.
    pub model: Option<Model>,
    /// How full its context is.
    pub context: Option<Context>,
    /// What it cost.
    pub cost: Option<Cost>,
    /// What it used, subagents included.
    pub tokens: Tokens,
    /// Cache reads ÷ all input.
    pub cache_hit_ratio: Option<f64>,
    /// Prompts that a person typed.
    pub turns: u64,
    /// The newest text, of either side.
    pub last_message: Option<Message>,
    /// How often its context was compacted.
    pub compactions: u64,
    /// Its subagents.
    pub subagents: Subagents,
    /// The pull request of its branch, as the client said last.
    pub pr: Option<PullRequest>,
    /// Lines it added and removed, as the client said last.
    pub lines: Option<Lines>,
    /// How long its process has run, as the client said last, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Its output style, as the client said last.
    pub output_style: Option<String>,
    /// The version of its client, as that said last.
    pub client_version: Option<String>,
    /// Whether it needs a look.
    pub health: Health,
}

/// What a session's process says it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Busy,
    /// It waits for a prompt.
    Idle,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// As in the API.
    pub id: String,
    /// As the client calls it.
    pub display_name: Option<String>,
}

/// How full a context is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// When it was so.
    pub as_of_ms: i64,
    /// Tokens in it, output not counted.
    pub tokens: Option<u64>,
    /// Its size, which only the client knows.
    pub window: Option<u64>,
    /// As the client computes it.
    pub used_percentage: Option<f64>,
}

/// What a session cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// When it was so.
    pub as_of_ms: i64,
    /// US dollars.
    pub usd: f64,
    /// Who says so.
    pub source: CostSource,
    /// Replies whose model has no price: where there are any, it is a lower bound.
    #[serde(default)]
    pub unpriced: u64,
}

/// Who says what a session cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// Claude Code itself, for its running process.
    Client,
    /// Our accounting of its transcripts.
    Transcript,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// When it was written.
    pub at_ms: i64,
    /// Its beginning, on one line, without control characters.
    pub preview: Option<String>,
}

/// A session's subagents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subagents {
    /// At work now.
    pub running: u64,
    /// Ever started.
    pub total: u64,
}

/// A pull request, or what the forge calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Where it is. Whoever links to it sees to it that it leads to the web.
    pub url: Option<String>,
    /// What reviewers say: `approved`, `changes_requested`, `pending`, `draft`, …
    pub review_state: Option<String>,
    /// What it is called: `pr`, `mr`, …
    pub kind: Option<String>,
}

/// Lines that a session changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lines {
    /// Added.
    pub added: u64,
    /// Removed.
    pub removed: u64,
}

/// What the client knows of the cache of its prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptCache {
    /// Whether the next request finds it.
    pub warm: Option<bool>,
    /// When it will not be found any more.
    pub expires_at_ms: Option<i64>,
    /// How much of the input came from it, 0 to 1.
    pub hit_ratio: Option<f64>,
    /// How often something that should have been in it was not.
    pub misses: Option<u64>,
    /// When that last was so.
    pub last_miss_at_ms: Option<i64>,
    /// And why.
    pub last_miss_cause: Option<String>,
}

/// Whether a session needs a look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The worst of `issues`.
    pub status: HealthStatus,
    /// Sentences, worst first.
    pub issues: Vec<String>,
}

/// How urgently a session needs a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not at all.
    #[default]
    Good,
    /// Soon.
    Warning,
    /// Now.
    Critical,
}

/// A source that fails now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Degraded {
    /// What kind, and what: `git:`, `tree:` (which working tree a directory is in), `transcript:`,
    /// `process:` (a session's process), `usage:`, `watch:` and `config:` with a path, `command:`
    /// with a name, and by themselves `store` (the state directory) and `watch` (all events).
    pub source: String,
    /// Since when.
    pub since_ms: i64,
    /// Why.
    pub reason: String,
    /// When it is tried again; `null` where only a change makes us look.
    pub next_try_ms: Option<i64>,
}

/// What the client told a display about its session: the facts that stand in no file.
///
/// `show` parses it from its standard input, draws from it, and hands it to the watcher as one
/// datagram of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientFacts {
    /// Which session asks.
    pub session_id: Option<String>,
    /// Its transcript.
    pub transcript_path: Option<String>,
    /// Where it works.
    pub cwd: Option<String>,
    /// Its name.
    pub session_name: Option<String>,
    /// The model it uses.
    pub model: Option<Model>,
    /// Tokens in the context.
    pub context_tokens: Option<u64>,
    /// Size of the context.
    pub context_window: Option<u64>,
    /// 0 to 100.
    pub context_used_percentage: Option<f64>,
    /// US dollars, since its process started.
    pub cost_usd: Option<f64>,
    /// Limits; `as_of_ms` is not known here and 0.
    pub limits: Limits,
    /// Whether the context is larger than what the price list's base rates are for.
    pub exceeds_200k: Option<bool>,
    /// How hard the model tries.
    pub effort: Option<String>,
    /// Whether it thinks first.
    pub thinking: Option<bool>,
    /// Whether the fast mode is on.
    pub fast: Option<bool>,
    /// The pull request of its branch.
    pub pr: Option<PullRequest>,
    /// Lines it added and removed.
    pub lines: Option<Lines>,
    /// How long its process has run, in milliseconds.
    pub duration_ms: Option<u64>,
    /// How much of that it waited for the API, in milliseconds.
    pub api_duration_ms: Option<u64>,
    /// Its output style.
    pub output_style: Option<String>,
    /// The mode of its editor.
    pub vim_mode: Option<String>,
    /// The agent that it runs as.
    pub agent: Option<String>,
    /// The version of the client.
    pub client_version: Option<String>,
    /// The linked worktree that it works in.
    pub worktree: Option<String>,
    /// The cache of its prompts.
    pub prompt_cache: Option<PromptCache>,
}

/// A subagent, as the client describes it to whoever draws its row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// What names its row.
    pub id: String,
    /// What it is called.
    pub name: Option<String>,
    /// The kind of agent.
    pub kind: Option<String>,
    /// What it is at.
    pub status: Option<String>,
    /// What it was asked for.
    pub description: Option<String>,
    /// The same in short.
    pub label: Option<String>,
    /// When it started.
    pub started_at_ms: Option<i64>,
    /// Its model.
    pub model: Option<String>,
    /// How hard that tries.
    pub effort: Option<String>,
    /// Size of its context.
    pub context_window: Option<u64>,
    /// Tokens it has used.
    pub tokens: Option<u64>,
    /// How many those were at earlier times, oldest first.
    pub samples: Vec<f64>,
}

impl Task {
    /// How full its context is, in percent. More than all of it is a sum of something else.
    pub fn context_share(&self) -> Option<f64> {
        let window = self.context_window.filter(|it| *it > 0)?;
        let share = self.tokens? as f64 / window as f64 * 100.0;
        (share <= 100.0).then_some(share)
    }
}

/// The system's own limit on paths: what is longer names no file.
const MAX_PATH: usize = 4096;
/// Longer than any line shows, in characters.
const MAX_NAME: usize = 256;
/// Longer than any of these words is, in characters.
const MAX_WORD: usize = 64;

impl ClientFacts {
    /// The same, within bounds: what cannot be true is left out, and what is only shown is cut.
    #[must_use]
    pub fn clipped(self) -> ClientFacts {
        let path = |it: Option<String>| it.filter(|it| it.len() <= MAX_PATH);
        let name = |it: String| cut(it, MAX_NAME);
        let word = |it: Option<String>| it.map(|it| cut(it, MAX_WORD));
        let amount = |it: Option<f64>| it.filter(|it| it.is_finite() && *it >= 0.0);
        let limit = |it: Option<Limit>| it.filter(|it| amount(Some(it.used_percentage)).is_some());
        ClientFacts {
            session_id: self.session_id.filter(|it| SessionId::checked(it).is_some()),
            transcript_path: path(self.transcript_path),
            cwd: path(self.cwd),
            session_name: self.session_name.map(name),
            model: self
                .model
                .map(|it| Model { id: name(it.id), display_name: it.display_name.map(name) }),
            context_tokens: self.context_tokens,
            context_window: self.context_window,
            context_used_percentage: amount(self.context_used_percentage),
            cost_usd: amount(self.cost_usd),
            limits: Limits {
                five_hour: limit(self.limits.five_hour),
                seven_day: limit(self.limits.seven_day),
                spend_limit: limit(self.limits.spend_limit),
            },
            exceeds_200k: self.exceeds_200k,
            effort: word(self.effort),
            thinking: self.thinking,
            fast: self.fast,
            pr: self.pr.map(|it| PullRequest {
                number: it.number,
                // Half of an address leads elsewhere.
                url: it.url.filter(|it| it.len() <= MAX_NAME),
                review_state: word(it.review_state),
                kind: word(it.kind),
            }),
            lines: self.lines,
            duration_ms: self.duration_ms,
            api_duration_ms: self.api_duration_ms,
            output_style: word(self.output_style),
            vim_mode: word(self.vim_mode),
            agent: word(self.agent),
            client_version: word(self.client_version),
            worktree: word(self.worktree),
            prompt_cache: self.prompt_cache.map(|it| PromptCache {
                hit_ratio: amount(it.hit_ratio),
                last_miss_cause: word(it.last_miss_cause),
                ..it
            }),
        }
    }
}

fn cut(mut text: String, max_chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_leave_the_folder_is_no_id() {
        for id in ["", "..", "a/b", ".hidden", "a\0b", &"x".repeat(129)] {
            assert_eq!(SessionId::checked(id), None, "{id:?}");
        }
        assert!(SessionId::checked("2cf1aa4e-0d8e-4b62-9d1f-5b1f2f7f0c11").is_some());
    }
}
