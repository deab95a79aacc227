//! PURE. The data that other programs and other versions read: the snapshot, and the hint that
//! `show` sends to the watcher.
//!
//! Fields that end in `_ms` are times in Unix milliseconds, except for durations, which say so.
//! Costs are US dollars. An absent value is `null`; its key is written nevertheless, except in
//! [`display`]. A reader must ignore unknown fields, and take the default (`null`, 0, `false` or
//! empty) for missing ones.
//!
//! **Invariant:** fields are added, and never change their meaning.

pub mod alerts;
pub mod display;
pub mod limits;

use std::collections::BTreeMap;
use std::path::Path;

use alerts::Alert;
use display::{Depth, Display};
use serde::{Deserialize, Serialize};

/// The version that this program writes, and the latest that it reads.
pub const VERSION: u32 = 1;

/// The most sessions in a snapshot.
pub const MAX_SESSIONS: usize = 256;

/// The most sessions in [`Snapshot::waiting`].
pub const MAX_WAITING: usize = 16;

/// The path of a config root of Claude Code. A config root stands for one account: usage and limits
/// are keyed by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootKey(pub String);

/// The path of the top directory of a working tree, or of a bare repository. Git facts are keyed by
/// it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepoKey(pub String);

/// The id of a Claude Code session. Context, cost and messages are keyed by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

/// The file in `lines` with the line of the session that was active last.
pub const LATEST: &str = "latest";

impl SessionId {
    /// Accepts ids that are safe as file names: 1 to 128 ASCII letters, digits, `-` and `_`, but
    /// not `latest`, which is a file of ours beside those of sessions. Code that makes a path of an
    /// id must take a `SessionId` that was made here.
    pub fn checked(id: &str) -> Option<SessionId> {
        let is_in_range = (1..=128).contains(&id.len());
        let is_plain = id.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
        (is_in_range && is_plain && id != LATEST).then(|| SessionId(id.to_owned()))
    }
}

/// The file that displays read.
///
/// The sessions and then the working trees are the last fields: a display searches for its own at
/// the end of the file (see `snapshot.rs`). New fields must be added before them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// [`VERSION`] of the program that wrote it. A reader must not interpret a later version.
    pub version: u32,
    /// The sequence number: one more than that of the snapshot before. It may start again from 1 if
    /// the file was removed or unreadable.
    pub seq: u64,
    /// When the file was written.
    pub published_at_ms: i64,
    /// The process that wrote it; `null` if `--oneshot` did.
    pub watcher: Option<Watcher>,
    /// How the user configured the display.
    pub display: Display,
    /// All config roots.
    pub roots: BTreeMap<RootKey, Root>,
    /// The session whose line is in `lines/latest`. Live sessions are preferred, then those whose
    /// process is known, then the last active one. `null` without any session to show.
    pub latest: Option<SessionId>,
    /// The sessions that wait for the user, of all accounts: those that wait longest, at most
    /// [`MAX_WAITING`]. It repeats what is in `sessions`, so that a display, which reads only its
    /// own session there, can show which others wait.
    pub waiting: Vec<Waiting>,
    /// The number of sessions that wait and are not in `waiting`.
    pub waiting_more: u64,
    /// The output of the commands that the user configured, by their names in the configuration;
    /// of those with a scope by `NAME of KEY`, with the key of a root, a working tree or a session.
    pub commands: BTreeMap<String, CommandOutput>,
    /// The sources that fail at present, at most 64. The last good facts of a failing source stay
    /// in the snapshot, with their age.
    pub degraded: Vec<Degraded>,
    /// How far old transcripts are read for the record of usage; `null` when all are.
    pub import: Option<Import>,
    /// The alerts that the user configured, by their names in the configuration.
    pub alerts: BTreeMap<String, Alert>,
    /// All live sessions, and of those that ended the 32 that were active last, if within the last
    /// day; at most [`MAX_SESSIONS`].
    pub sessions: BTreeMap<SessionId, Session>,
    /// The working trees of these sessions.
    pub repos: BTreeMap<RepoKey, Repo>,
}

/// A session that waits for the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// The key of the session in [`Snapshot::sessions`].
    pub session: String,
    /// The name of the session, else that of its working directory, else the beginning of its id.
    pub name: String,
    /// [`Session::waiting_for`].
    pub waiting_for: Option<String>,
    /// [`Session::status_since_ms`].
    pub since_ms: Option<i64>,
}

/// The part of a [`Snapshot`] that can be read whatever its version.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
}

/// The process that published a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watcher {
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    pub started_at_ms: i64,
    /// How many times events were lost, so that the watcher looked at everything again.
    pub rescans: u64,
    /// Directories that the kernel reports no events for, so that the watcher polls them; at most
    /// 64.
    pub polled: Vec<String>,
    /// The number of polled directories that are not in `polled`.
    pub polled_more: u64,
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// What the account used, by its transcripts; `null` until they have been read once.
    pub usage: Option<Usage>,
    /// The rate limits of the account, as the client reports them.
    pub limits: Limits,
}

/// What one account used. Everything is counted from the transcripts in its config root, except a
/// block of [`BlockSource::Ccusage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The last time at which the transcripts were known to say this.
    pub as_of_ms: i64,
    /// The five-hour block that is open now; `null` if there is none. Its age is `as_of_ms` of the
    /// block.
    pub block: Option<Block>,
    /// Since local midnight.
    pub today: Totals,
    /// The local midnight that ends `today`. A reader must not show `today` after it.
    pub day_ends_ms: i64,
    /// Since local midnight on the first day of the week, which is configurable.
    pub week: Totals,
    /// Since local midnight on the first day of the month.
    pub month: Totals,
    /// The models without a price that were used in the week, the month or the block, sorted. Their
    /// tokens are counted, but their cost is missing from the amounts.
    pub unpriced_models: Vec<String>,
    /// Transcript lines that could not be read, or only in part.
    pub skipped_lines: u64,
    /// What was used in the five-hour window of the limit; `null` while no client has stated when
    /// that window ends. `block` is an estimate of the same, and may begin and end at other times.
    pub window: Option<Window>,
}

/// What was used in the five-hour window that the limit of the account is for, by the transcripts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Five hours before `end_ms`. What is counted begins with the quarter of an hour that this is
    /// in.
    pub start_ms: i64,
    /// When the window ends, as the client states it.
    pub end_ms: i64,
    pub used: Totals,
}

/// Cost and tokens of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// A lower bound if `unpriced` is not 0.
    pub cost_usd: f64,
    /// Replies whose model has no price, so that their cost is missing.
    pub unpriced: u64,
    pub tokens: Tokens,
}

/// Numbers of tokens by kind. The kinds do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Input that was neither written to the cache nor read from it.
    pub input: u64,
    pub output: u64,
    /// Input that was written to the cache.
    pub cache_write: u64,
    /// Input that was read from the cache.
    pub cache_read: u64,
}

/// The five-hour block that is open now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Block {
    /// The time of the first reply, rounded down to the UTC hour.
    pub start_ms: i64,
    /// Five hours after `start_ms`; with [`BlockSource::Ccusage`], as that program states it.
    pub end_ms: i64,
    /// The time of the newest reply; with [`BlockSource::Ccusage`], `start_ms` if the program does
    /// not state it.
    pub last_entry_ms: i64,
    /// The number of replies.
    pub entries: u64,
    pub tokens: Tokens,
    /// A lower bound if `unpriced` is not 0.
    pub cost_usd: f64,
    /// Replies whose model has no price; always 0 with [`BlockSource::Ccusage`].
    pub unpriced: u64,
    /// `null` while the replies span less than a minute.
    pub burn: Option<Burn>,
    /// `null` where `burn` is.
    pub projection: Option<Projection>,
    pub source: BlockSource,
    /// The last time at which nothing more was known to have been used than the block includes.
    pub as_of_ms: i64,
}

/// Which program computed the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockSource {
    /// This program, from the transcripts.
    #[default]
    Transcripts,
    /// `ccusage`, or the program that the user configured in its place. It uses its own price list.
    Ccusage,
}

/// The rate of use between the first and the last reply of a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Burn {
    /// US dollars per hour.
    pub cost_per_hour: f64,
    /// Tokens of every kind per minute.
    pub tokens_per_minute: f64,
}

/// The totals of a block at its end if the rate stays the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Projection {
    pub cost_usd: f64,
    /// Tokens of every kind.
    pub tokens: u64,
}

/// The rate limits of an account. Each is `null` until a client reports it, and again when its
/// window has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub five_hour: Option<Limit>,
    pub seven_day: Option<Limit>,
    pub spend_limit: Option<Limit>,
    /// Further limits by the client's names for them, such as `seven_day_opus` for the weekly limit
    /// of one model; at most eight.
    pub other: BTreeMap<String, Limit>,
}

/// One rate limit, by the newest report of any client of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// 0 to 100, with fractions. The spending limit can exceed 100.
    pub used_percentage: f64,
    /// When the window ends. The observation is void after that. 0 if the client does not state it:
    /// then the observation is void once a whole window has passed since `as_of_ms`.
    pub resets_at_ms: i64,
    /// When the client learned it: the time of the last reply in its session.
    pub as_of_ms: i64,
    /// When the limit will be used up at the average rate since its window began, or, for the
    /// spending limit, since it was first observed. `null` where the rate is unknown or the limit
    /// is used up already.
    pub full_at_ms: Option<i64>,
    /// What was spent in the period, in US dollars; `null` unless the client states it, as it may
    /// for the spending limit.
    pub used_usd: Option<f64>,
    /// What may be spent in the period, in US dollars; `null` where `used_usd` may be.
    pub limit_usd: Option<f64>,
}

/// The state of a working tree, by `git status` and files in the git directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repo {
    /// The time before git was called; 0 if git has never succeeded.
    pub as_of_ms: i64,
    /// `null` with a detached `HEAD`. During a rebase, the branch that is being rebased.
    pub branch: Option<String>,
    /// The commit that is checked out, in hexadecimal; `null` before the first one.
    pub commit: Option<String>,
    /// The branch's upstream, `origin/main` for example; `null` if it has none.
    pub upstream: Option<String>,
    /// Commits of the branch that the upstream lacks; 0 where `status.aheadBehind` forbids to
    /// count.
    pub ahead: u64,
    /// Commits of the upstream that the branch lacks.
    pub behind: u64,
    /// Paths whose index entry differs from the commit.
    pub staged: u64,
    /// Paths whose file differs from the index.
    pub unstaged: u64,
    /// Paths that git does not track and does not ignore, as far as `status.showUntrackedFiles` has
    /// them reported. A directory counts as one, unless that is `all`.
    pub untracked: u64,
    /// Unmerged paths.
    pub conflicts: u64,
    /// Entries in the stash.
    pub stashes: u64,
    /// An operation that waits to be continued: `merge`, `rebase 2/5`, `cherry-pick`, …; `null` if
    /// there is none.
    pub operation: Option<String>,
    /// The name of a linked working tree, which is that of its folder; `null` for the main one.
    pub worktree: Option<String>,
    /// Whether the repository is bare, also where it is the `.git` of a folder that has its working
    /// trees. Then only `branch` is known.
    pub bare: bool,
    /// Why the last call of git failed; `null` if it succeeded. The other fields are as of
    /// `as_of_ms`.
    pub error: Option<String>,
    /// Whether `upstream` is configured and there is no such branch any more: it was merged and
    /// deleted, for example. Then `ahead` and `behind` are 0 and mean nothing.
    pub upstream_gone: bool,
    /// Whether the repository's configuration names a remote, so that a branch without an upstream
    /// is one that has not been published. `false` for a bare repository.
    pub has_remote: bool,
    /// With a detached `HEAD`, the tag of its commit, as `git describe` chooses it among several;
    /// `null` without one, and during an operation.
    pub tag: Option<String>,
}

/// The output of a command that the user configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandOutput {
    /// When the command was started that printed `output`; 0 if it has never succeeded.
    pub as_of_ms: i64,
    /// The first line that is not empty, without control characters, cut to 256 characters.
    pub output: String,
    /// Why the last run failed; `null` if it succeeded. `output` is as of `as_of_ms`.
    pub error: Option<String>,
    /// What else it printed: the members of a JSON object that are text, numbers or flags; else
    /// those of lines `name=value`, and, as `1` to `9`, the words of the first line. At most 16,
    /// each as `output` is.
    pub fields: BTreeMap<String, String>,
}

/// The state of a session.
///
/// Values that are said to come from the client are in the document that Claude Code passes to its
/// status line. They are `null` until a display has passed that on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// The key of its account in [`Snapshot::roots`].
    pub root: String,
    /// Its working directory; `null` until a transcript, a process or the client names it.
    pub cwd: Option<String>,
    /// The key of its working tree in [`Snapshot::repos`]; `null` outside of repositories, and
    /// until the repository has been found.
    pub repo: Option<String>,
    /// The path of its transcript; `null` until it is known.
    pub transcript: Option<String>,
    /// From the client, else from the file of its process, else the title in the transcript; `null`
    /// if none of them has one.
    pub name: Option<String>,
    /// Whether its process runs. If the process is unknown: whether the session was active in the
    /// last half hour.
    pub live: bool,
    /// From the file of its process; `null` without one, and for a status that is unknown to this
    /// version.
    pub status: Option<Status>,
    /// The later of two times: when its transcript was last appended to, and when a display last
    /// asked for the session.
    pub last_activity_ms: i64,
    /// From the client, else the model of the newest reply in the transcript; `null` before the
    /// first reply.
    pub model: Option<Model>,
    /// `null` before the first reply.
    pub context: Option<Context>,
    /// From the client, else computed from the transcripts; `null` before the first reply.
    pub cost: Option<Cost>,
    /// What its replies used, including those of its subagents, within the last 35 days.
    pub tokens: Tokens,
    /// Tokens read from the cache ÷ all input tokens, 0 to 1; `null` without input.
    pub cache_hit_ratio: Option<f64>,
    /// Prompts that a person typed.
    pub turns: u64,
    /// The newest text that a person or the model wrote; `null` before the first one.
    pub last_message: Option<Message>,
    /// How many times its context was compacted.
    pub compactions: u64,
    pub subagents: Subagents,
    /// The pull request of its branch, from the client.
    pub pr: Option<PullRequest>,
    /// From the client.
    pub lines: Option<Lines>,
    /// How long its process has run, from the client, in milliseconds.
    pub duration_ms: Option<u64>,
    /// From the client.
    pub output_style: Option<String>,
    /// The version of Claude Code, from the client.
    pub client_version: Option<String>,
    pub health: Health,
    /// What the session waits for, by the file of its process: `permission prompt`, `dialog open`,
    /// …; `null` unless `status` is [`Status::Waiting`] and the file says what for.
    pub waiting_for: Option<String>,
    /// Since when `status` has been what it is, by the file of its process; `null` where the file
    /// does not say.
    pub status_since_ms: Option<i64>,
    /// By the file of its process; `null` without one, and for a kind that is unknown to this
    /// version.
    pub kind: Option<SessionKind>,
    /// The background job that its process works on; `null` for other sessions.
    pub job: Option<BackgroundJob>,
    /// The process that runs it; `null` where none is known to run.
    pub pid: Option<u32>,
    /// When the watcher noticed that the session had ended; `null` while it lives, and if nothing
    /// but silence showed its end.
    pub ended_ms: Option<i64>,
    /// The limits in the newest report of this session. `as_of_ms` in them is the time of the reply
    /// with which they came. They may be older than those of its account, and their windows may
    /// have ended.
    pub limits: Limits,
    /// Whether the limits of its account apply to it: `true` if the client states limits, `false`
    /// if it states none after the first reply, or the model is another provider's. `null` while
    /// that is not known.
    pub subscription: Option<bool>,
    /// The time of the newest reply in its transcript; `null` before the first one.
    pub last_reply_ms: Option<i64>,
}

/// What the process of a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works on a prompt.
    Busy,
    /// It waits for a prompt.
    Idle,
    /// It cannot go on until its user answers: see [`Session::waiting_for`].
    Waiting,
    /// It waits for a prompt, and a shell that it started runs in the background.
    Shell,
}

/// How a session is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// In a terminal, or as one call of `claude -p`.
    Interactive,
    /// In the background, without a terminal.
    Background,
}

/// A background job of Claude Code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackgroundJob {
    pub id: String,
    /// `null` until it has one.
    pub name: Option<String>,
    /// `working`, `stopped`, …, as Claude Code calls it; `null` if it does not say.
    pub state: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// The name in the API; the client may add `[1m]`.
    pub id: String,
    /// The name that the client shows; `null` if only the transcript names the model.
    pub display_name: Option<String>,
}

/// How full the context of a session is: from the client, else computed from the transcript.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    pub as_of_ms: i64,
    /// Input tokens of the newest reply; `null` from a compaction until the next reply.
    pub tokens: Option<u64>,
    /// Its size in tokens. Only the client knows it: `null` until the client has reported it.
    pub window: Option<u64>,
    /// 0 to 100, as the client computes it, else `tokens` ÷ `window`; `null` if either is.
    pub used_percentage: Option<f64>,
}

/// What a session cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub as_of_ms: i64,
    /// US dollars. Which replies it includes depends on `source`.
    pub usd: f64,
    pub source: CostSource,
    /// Replies whose model has no price, so that `usd` is a lower bound. Always 0 from the client.
    #[serde(default)]
    pub unpriced: u64,
}

/// Which program computed the cost of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// Claude Code: the cost since its process started.
    Client,
    /// This program, from the transcripts of the session and its subagents.
    Transcript,
}

/// A text that a person or the model wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    pub at_ms: i64,
    /// The beginning of the text, on one line, without control characters. `null` if the
    /// configuration forbids previews.
    pub preview: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subagents {
    /// Subagents that have not ended their turn and wrote within the last ten minutes; 0 in a
    /// session that does not live.
    pub running: u64,
    /// Subagents with a transcript, whether they run or not.
    pub total: u64,
}

/// A pull request or merge request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullRequest {
    pub number: u64,
    /// As the client states it. A program that makes a link of it must check that it is a web
    /// address.
    pub url: Option<String>,
    /// `approved`, `changes_requested`, `pending`, `draft`, …
    pub review_state: Option<String>,
    /// `pr`, `mr`, …
    pub kind: Option<String>,
}

/// Lines of code that a session changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lines {
    pub added: u64,
    pub removed: u64,
}

/// The state of the prompt cache of a session. Each field is `null` if the client does not state
/// it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptCache {
    /// Whether the next request will find the prompt in the cache.
    pub warm: Option<bool>,
    /// When the prompt leaves the cache if there is no further request.
    pub expires_at_ms: Option<i64>,
    /// The share of the input that was read from the cache, 0 to 1.
    pub hit_ratio: Option<f64>,
    /// How many times the prompt was not in the cache though it should have been.
    pub misses: Option<u64>,
    pub last_miss_at_ms: Option<i64>,
    /// At most three causes, separated by commas.
    pub last_miss_cause: Option<String>,
}

/// Whether a session needs attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The most severe status among `issues`; [`HealthStatus::Good`] without issues.
    pub status: HealthStatus,
    /// One phrase per issue, the most severe first: a context or a limit that is used to 80 % or
    /// more, or a failure of git.
    pub issues: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    #[default]
    Good,
    /// Attention soon: a context or limit is used to 80 %, or git fails.
    Warning,
    /// Attention now: a context or limit is used to 95 %.
    Critical,
}

/// How far old transcripts are read for the record of usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// Transcripts that were read since the import began, and all that belong to it.
    pub files_done: u64,
    pub files: u64,
    /// The same in bytes.
    pub bytes_done: u64,
    pub bytes: u64,
}

/// A source that fails at present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Degraded {
    /// A kind and a name. With a path: `git:`, `tree:` (finding the working tree of a directory),
    /// `transcript:`, `process:` (the file of a session's process), `usage:`, `watch:` and
    /// `config:`. With the name of a command or an alert, whose program
    /// fails: `command:` and `alert:`. Without a name: `store` (the state
    /// directory), `record` (that of usage), `export` (the file for Prometheus) and `watch` (all
    /// events).
    pub source: String,
    pub since_ms: i64,
    pub reason: String,
    /// When the next try is due; `null` if only a change causes one.
    pub next_try_ms: Option<i64>,
}

/// What the client passes to a display about its session: facts that are in no file.
///
/// `show` parses them from its standard input, draws from them, and sends them to the watcher as
/// one datagram of JSON. Each field is `null` if the client does not state it, or states it in a
/// form that this version does not understand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientFacts {
    pub session_id: Option<String>,
    pub transcript_path: Option<String>,
    /// The working directory.
    pub cwd: Option<String>,
    pub session_name: Option<String>,
    /// The model of the next request.
    pub model: Option<Model>,
    /// Tokens in the context, without output.
    pub context_tokens: Option<u64>,
    /// The size of the context in tokens.
    pub context_window: Option<u64>,
    /// 0 to 100.
    pub context_used_percentage: Option<f64>,
    /// The cost since the process started.
    pub cost_usd: Option<f64>,
    /// `as_of_ms` in them is 0: the client does not state when it learned them.
    pub limits: Limits,
    /// Whether the context exceeds 200,000 tokens, above which some models cost more.
    pub exceeds_200k: Option<bool>,
    /// The reasoning effort: `low`, `high`, …
    pub effort: Option<String>,
    /// Whether extended thinking is on.
    pub thinking: Option<bool>,
    /// Whether the fast mode is on.
    pub fast: Option<bool>,
    /// The pull request of the session's branch.
    pub pr: Option<PullRequest>,
    pub lines: Option<Lines>,
    /// How long the process has run, in milliseconds.
    pub duration_ms: Option<u64>,
    /// How much of `duration_ms` the process waited for the API, in milliseconds.
    pub api_duration_ms: Option<u64>,
    pub output_style: Option<String>,
    /// The mode of the client's editor: `INSERT`, `NORMAL`, …
    pub vim_mode: Option<String>,
    /// The name of the agent that the session runs as.
    pub agent: Option<String>,
    /// The version of Claude Code.
    pub client_version: Option<String>,
    pub prompt_cache: Option<PromptCache>,
    /// Whether the document has `rate_limits`, even if none in them is plausible.
    pub has_rate_limits: bool,
    /// From a display that cannot draw by itself: what the watcher shall fit a line to.
    pub fit: Option<Fit>,
}

/// What a line is fitted to for a display that runs inside of the client.
///
/// See docs/decisions/034-lines-are-fitted-on-request.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// How many columns the line may take.
    pub columns: u16,
    pub depth: Depth,
    /// Whether the terminal shows links.
    pub has_links: bool,
}

/// A file of a [`Fit`]. The display chooses among the texts by what it sees of the watcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FittedLine {
    /// [`Fit::columns`].
    pub columns: u16,
    /// The line while the watcher runs.
    pub line: String,
    /// The line where the watcher runs and has not drawn for a while: with the time at which it
    /// was drawn.
    pub old: String,
    /// The line where the watcher runs no more: the same, and it says so.
    pub gone: String,
}

/// A subagent, as the client describes it to the command that draws its row. Each field but `id` is
/// absent if the client does not state it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// The id by which the client assigns the row.
    pub id: String,
    pub name: Option<String>,
    /// The type of agent, which the user or the client named: `general-purpose`, …
    pub agent_type: Option<String>,
    /// How the client runs it: `local_agent`, …; the type of agent where `agent_type` is absent.
    pub kind: Option<String>,
    /// `running`, `completed`, …
    pub status: Option<String>,
    /// The task that the subagent was given.
    pub description: Option<String>,
    /// A short form of `description`.
    pub label: Option<String>,
    pub started_at_ms: Option<i64>,
    pub model: Option<String>,
    /// The reasoning effort: `low`, `high`, …
    pub effort: Option<String>,
    /// The size of its context in tokens.
    pub context_window: Option<u64>,
    /// Tokens that it has used so far.
    pub tokens: Option<u64>,
    /// `tokens` at earlier times, the oldest first.
    pub samples: Vec<f64>,
}

impl Session {
    /// The name of the folder that it works in: that of the working tree, else the working
    /// directory. `None` if neither is known.
    pub fn project(&self) -> Option<&str> {
        let dir = self.repo.as_deref().or(self.cwd.as_deref())?;
        // A bare repository is the `.git` of the folder that has its working trees.
        let dir = dir.strip_suffix("/.git").unwrap_or(dir);
        Path::new(dir).file_name().and_then(|it| it.to_str()).or(Some(dir))
    }
}

impl Task {
    /// How full its context is, 0 to 100. `None` where that is unknown. If the client reports more
    /// tokens than the context can hold, they are a sum over several requests, and the share is
    /// unknown.
    pub fn context_share(&self) -> Option<f64> {
        let window = self.context_window.filter(|it| *it > 0)?;
        let share = self.tokens? as f64 / window as f64 * 100.0;
        (share <= 100.0).then_some(share)
    }
}

/// The system's limit on the length of a path, in bytes.
const MAX_PATH: usize = 4096;
/// The longest name that is kept, in characters; no line shows more.
const MAX_NAME: usize = 256;
/// The longest word that is kept, in characters: a mode, a style, a version.
const MAX_WORD: usize = 64;

/// No context has more tokens than this.
const MAX_TOKENS: u64 = 1_000_000_000;
/// A context can be fuller than the client wants it to be, but not several times over.
const MAX_CONTEXT_PERCENT: f64 = 200.0;
/// No session costs more than this, in US dollars.
const MAX_COST: f64 = 999_999.0;
/// No session changes more lines than this.
const MAX_LINES: u64 = 1_000_000_000;
/// No process runs for longer than this: ten years.
const MAX_DURATION_MS: u64 = 3650 * 24 * 3600 * 1000;

impl ClientFacts {
    /// Enforces bounds on what a client sent: impossible values and overlong paths are removed, and
    /// overlong names and words are cut.
    #[must_use]
    pub fn clipped(self) -> ClientFacts {
        let path = |path: Option<String>| path.filter(|it| it.len() <= MAX_PATH);
        let name = |name: String| cut(name, MAX_NAME);
        let word = |word: Option<String>| word.map(|it| cut(it, MAX_WORD));
        let within = |number: Option<f64>, most| number.filter(|it| (0.0..=most).contains(it));
        let count = |number: Option<u64>, most| number.filter(|it| *it <= most);
        ClientFacts {
            session_id: self.session_id.filter(|it| SessionId::checked(it).is_some()),
            transcript_path: path(self.transcript_path),
            cwd: path(self.cwd),
            session_name: self.session_name.map(name),
            model: self.model.map(|model| Model {
                id: name(model.id),
                display_name: model.display_name.map(name),
            }),
            context_tokens: count(self.context_tokens, MAX_TOKENS),
            context_window: count(self.context_window, MAX_TOKENS).filter(|it| *it > 0),
            context_used_percentage: within(self.context_used_percentage, MAX_CONTEXT_PERCENT),
            cost_usd: within(self.cost_usd, MAX_COST),
            limits: self.limits.clipped(),
            exceeds_200k: self.exceeds_200k,
            effort: word(self.effort),
            thinking: self.thinking,
            fast: self.fast,
            pr: self.pr.map(|pr| PullRequest {
                number: pr.number,
                // A URL is not cut: the beginning of a URL leads to another page.
                url: pr.url.filter(|it| it.len() <= MAX_NAME),
                review_state: word(pr.review_state),
                kind: word(pr.kind),
            }),
            lines: self.lines.filter(|it| it.added.max(it.removed) <= MAX_LINES),
            duration_ms: count(self.duration_ms, MAX_DURATION_MS),
            api_duration_ms: count(self.api_duration_ms, MAX_DURATION_MS),
            output_style: word(self.output_style),
            vim_mode: word(self.vim_mode),
            agent: word(self.agent),
            client_version: word(self.client_version),
            prompt_cache: self.prompt_cache.map(|cache| PromptCache {
                hit_ratio: within(cache.hit_ratio, 1.0),
                last_miss_cause: word(cache.last_miss_cause),
                ..cache
            }),
            has_rate_limits: self.has_rate_limits,
            fit: self.fit.filter(|it| it.columns > 0),
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
    fn an_id_that_could_name_a_file_elsewhere_or_of_ours_is_refused() {
        for id in ["", "..", "latest", "a/b", ".hidden", "a\0b", &"x".repeat(129)] {
            assert_eq!(SessionId::checked(id), None, "{id:?}");
        }
        assert!(SessionId::checked("2cf1aa4e-0d8e-4b62-9d1f-5b1f2f7f0c11").is_some());
    }

    #[test]
    fn a_project_is_called_as_the_folder_of_its_repository() {
        let project = |repo: Option<&str>, cwd: Option<&str>| {
            let [repo, cwd] = [repo, cwd].map(|it| it.map(str::to_owned));
            Session { repo, cwd, ..Session::default() }.project().map(str::to_owned)
        };
        assert_eq!(project(Some("/h/shop"), Some("/h/shop/src")).as_deref(), Some("shop"));
        assert_eq!(project(Some("/h/shop/.git"), None).as_deref(), Some("shop"), "it is bare");
        assert_eq!(project(None, Some("/h/notes")).as_deref(), Some("notes"));
        assert_eq!(project(None, Some("/")).as_deref(), Some("/"));
        assert_eq!(project(None, None), None);
    }
}
