//! The only file that knows Claude Code's field names, and where it keeps its files. PURE.
//!
//! Everything here is another program's, undocumented in part, and changes with every release. So
//! every field is optional and null is missing; a value of the wrong type is missing too, and takes
//! nothing with it; what is unknown is ignored.
//!
//! **Invariant:** no input panics, and what is kept of a line is bounded however long the line is.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use jiff::Timestamp;
use memchr::memmem::Finder;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use unicode_segmentation::UnicodeSegmentation;

use crate::store::schema::{ClientFacts, Limit, Limits, Message, Model, SessionId, Status};
use crate::time::SECOND_MS;
use crate::usage::{Entry, EntryTokens};

/// What one transcript says, folded line by line.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
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
    /// The same, with no time later than now: a clock that was ahead would make what it wrote the
    /// newest for a long time.
    #[must_use]
    pub fn not_after(mut self, now_ms: i64) -> TranscriptFacts {
        for it in [&mut self.context_as_of_ms, &mut self.last_reply_ms, &mut self.last_line_ms] {
            *it = it.map(|it| it.min(now_ms));
        }
        if let Some(it) = &mut self.last_message {
            it.at_ms = it.at_ms.min(now_ms);
        }
        self
    }

    /// The session's title; a person's beats the client's.
    pub fn title(&self) -> Option<&str> {
        self.custom_title.as_deref().or(self.ai_title.as_deref())
    }
}

/// Folds a transcript's lines into what they say as a whole.
#[derive(Debug)]
pub struct Fold {
    facts: TranscriptFacts,
    entries: Vec<(u64, Entry)>,
    /// The newest text and when it was said. Only the last one is worth a preview.
    said: Option<(i64, String)>,
}

impl Fold {
    /// Goes on from what the lines before said.
    pub fn on(facts: TranscriptFacts) -> Fold {
        Fold { facts, entries: Vec::new(), said: None }
    }

    /// Takes in the line at `offset`, without its newline.
    ///
    /// A line we cannot read is not an error: the writer is another program, and it may have died
    /// half-way through this very line.
    pub fn line(&mut self, offset: u64, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        if is_tool_result(line) {
            let looks_whole = line.starts_with(b"{") && line.ends_with(b"}");
            self.facts.skipped_lines += u64::from(!looks_whole);
            return;
        }
        match serde_json::from_slice(line) {
            Ok(Field(Some(Object(line)))) => self.fold(offset, line),
            Ok(Field(None)) | Err(_) => self.facts.skipped_lines += 1,
        }
    }

    /// Counts a line that the caller could not hand over.
    pub fn skip_line(&mut self) {
        self.facts.skipped_lines += 1;
    }

    /// How many entries the lines have.
    pub fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// What the lines say was used, each entry with a place of its own, and what else they say.
    pub fn finish(mut self) -> (Vec<(u64, Entry)>, TranscriptFacts) {
        if let Some((at_ms, text)) = self.said {
            self.facts.last_message = Some(Message { at_ms, preview: Some(preview(&text)) });
        }
        (self.entries, self.facts)
    }
}

/// Tool results are most of a transcript's bytes and say nothing that we want.
///
/// Within a JSON string a quote is escaped, so these bytes are a key or a whole string wherever they
/// are found. A reply may hold the one, but it holds the other too.
fn is_tool_result(line: &[u8]) -> bool {
    static TOOL_RESULT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"tool_result\""));
    static USAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    TOOL_RESULT.find(line).is_some() && USAGE.find(line).is_none()
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Field<Text<'a>>,
    #[serde(borrow)]
    subtype: Field<Text<'a>>,
    timestamp: Field<Time>,
    #[serde(borrow)]
    session_id: Field<Text<'a>>,
    #[serde(borrow)]
    cwd: Field<Text<'a>>,
    is_sidechain: Field<bool>,
    is_meta: Field<bool>,
    is_compact_summary: Field<bool>,
    is_api_error_message: Field<bool>,
    #[serde(borrow)]
    request_id: Field<Text<'a>>,
    #[serde(rename = "costUSD")]
    cost_usd: Field<f64>,
    #[serde(borrow)]
    custom_title: Field<Text<'a>>,
    #[serde(borrow)]
    ai_title: Field<Text<'a>>,
    #[serde(borrow)]
    message: Field<Object<LineMessage<'a>>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct LineMessage<'a> {
    #[serde(borrow)]
    id: Field<Text<'a>>,
    #[serde(borrow)]
    model: Field<Text<'a>>,
    #[serde(borrow)]
    content: Field<Content<'a>>,
    #[serde(borrow)]
    stop_reason: Field<Text<'a>>,
    #[serde(borrow)]
    usage: Field<Object<Usage<'a>>>,
}

/// Of a reply, or of one iteration within it.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Usage<'a> {
    #[serde(rename = "type", borrow)]
    kind: Field<Text<'a>>,
    #[serde(borrow)]
    model: Field<Text<'a>>,
    input_tokens: Field<u64>,
    output_tokens: Field<u64>,
    cache_creation_input_tokens: Field<u64>,
    cache_read_input_tokens: Field<u64>,
    cache_creation: Field<Object<CacheCreation>>,
    server_tool_use: Field<Object<ServerToolUse>>,
    #[serde(borrow)]
    speed: Field<Text<'a>>,
    #[serde(borrow)]
    inference_geo: Field<Text<'a>>,
    #[serde(borrow)]
    iterations: Field<Vec<Object<Usage<'a>>>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Field<u64>,
    ephemeral_1h_input_tokens: Field<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: Field<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Field<Text<'a>>,
    #[serde(borrow)]
    text: Field<Head<'a>>,
}

/// What a message says, as far as we want to know.
#[derive(Default)]
struct Content<'a> {
    texts: Vec<Text<'a>>,
    has_tool_result: bool,
}

impl Fold {
    fn fold(&mut self, offset: u64, mut line: Line<'_>) {
        let at_ms = line.timestamp.0.as_ref().map(|it| it.0);
        let message = line.message.0.take().map(|it| it.0).unwrap_or_default();
        // A line is longer than it has entries, so that their places are never another line's.
        for (place, entry) in (offset..).zip(entries(&line, &message)) {
            self.push(place, entry);
        }

        let facts = &mut self.facts;
        facts.last_line_ms = facts.last_line_ms.max(at_ms);
        if facts.session.is_none() {
            facts.session = line.session_id.0.take().map(Text::into_owned);
        }
        facts.sidechain = facts.sidechain.or(line.is_sidechain.0);
        if line.is_sidechain.is_true() != facts.sidechain.unwrap_or(false) {
            return;
        }
        replace(&mut facts.cwd, line.cwd.0.take());
        match line.kind.as_str() {
            "user" => self.fold_prompt(&line, &message, at_ms),
            "assistant" => self.fold_reply(&line, message, at_ms),
            "system" if line.subtype.as_str() == "compact_boundary" => {
                facts.compactions += 1;
                facts.context_tokens = None;
                facts.context_as_of_ms = at_ms;
            }
            "system" if line.subtype.as_str() == "turn_duration" => facts.turn_open = false,
            "custom-title" => facts.custom_title = line.custom_title.0.map(Text::into_owned),
            "ai-title" => facts.ai_title = line.ai_title.0.map(Text::into_owned),
            _ => {}
        }
    }

    fn fold_prompt(&mut self, line: &Line<'_>, message: &LineMessage<'_>, at_ms: Option<i64>) {
        let Some(content) = &message.content.0 else { return };
        if content.texts.iter().any(|it| it.starts_with("[Request interrupted by user")) {
            self.facts.turn_open = false;
            return;
        }
        if line.is_meta.is_true() || line.is_compact_summary.is_true() || content.has_tool_result {
            return;
        }
        // Editors put what they know before what the person wrote.
        let Some(typed) = content.texts.iter().rev().find_map(|it| typed(it)) else { return };
        self.facts.turn_open = true;
        // A subagent's prompts are its session's, not a person's.
        self.facts.turns += u64::from(!line.is_sidechain.is_true());
        self.say(at_ms, &typed);
    }

    fn fold_reply(&mut self, line: &Line<'_>, message: LineMessage<'_>, at_ms: Option<i64>) {
        if let Some(text) = message.content.0.iter().flat_map(|it| &it.texts).next_back() {
            self.say(at_ms, text);
        }
        let facts = &mut self.facts;
        let is_error = line.is_api_error_message.is_true();
        facts.turn_open =
            !is_error && matches!(message.stop_reason.as_str(), "" | "tool_use" | "pause_turn");
        if is_error || message.model.as_str() == "<synthetic>" {
            return;
        }
        replace(&mut facts.model, message.model.0);
        facts.last_reply_ms = facts.last_reply_ms.max(at_ms);
        if let Some(Object(usage)) = &message.usage.0 {
            facts.context_tokens = Some(usage.context());
            facts.context_as_of_ms = at_ms;
        }
    }

    fn push(&mut self, place: u64, entry: Entry) {
        match self.entries.last_mut() {
            // A reply's lines follow each other, and state more and more of what it used.
            Some((_, last)) if last.is_copy_of(&entry) => {
                if entry.tokens.all() > last.tokens.all() {
                    self.entries.pop();
                    self.entries.push((place, entry));
                }
            }
            _ => self.entries.push((place, entry)),
        }
    }

    fn say(&mut self, at_ms: Option<i64>, text: &str) {
        let Some(at_ms) = at_ms.filter(|_| text.chars().any(is_visible)) else { return };
        let (said_ms, said) = self.said.get_or_insert_default();
        *said_ms = at_ms;
        said.clear();
        said.push_str(text);
    }
}

/// Takes over what a line says. Most lines say what the one before said.
fn replace(fact: &mut Option<String>, said: Option<Text<'_>>) {
    if let Some(it) = said
        && fact.as_deref() != Some(&*it)
    {
        *fact = Some(it.into_owned());
    }
}

/// A reply, and what other models were asked while it was made.
fn entries(line: &Line<'_>, message: &LineMessage<'_>) -> Vec<Entry> {
    let (Some(Time(at_ms)), Some(Object(usage))) = (&line.timestamp.0, &message.usage.0) else {
        return Vec::new();
    };
    let Some(tokens) = usage.tokens() else { return Vec::new() };
    let text = |it: &Field<Text<'_>>| it.0.as_deref().filter(|it| !it.is_empty()).map(Box::from);
    let reply = Entry {
        at_ms: *at_ms,
        message_id: text(&message.id),
        request_id: text(&line.request_id),
        session: text(&line.session_id),
        sidechain: line.is_sidechain.is_true(),
        model: message.model.as_str().into(),
        tokens,
        web_searches: usage.web_searches(),
        fast: usage.speed.as_str() == "fast",
        us_only: usage.inference_geo.as_str().eq_ignore_ascii_case("us"),
        cost_usd: line.cost_usd.0.filter(|it| it.is_finite() && *it >= 0.0),
    };
    let iterations = usage.iterations.0.iter().flatten().enumerate();
    let advice = iterations.filter(|(_, it)| it.0.kind.as_str() == "advisor_message");
    let advice = advice.filter_map(|(n, Object(advice))| {
        Some(Entry {
            // The reply's lines all repeat it, so it needs a name of its own.
            message_id: reply.message_id.as_ref().map(|it| format!("{it}/{n}").into()),
            model: advice.model.as_str().into(),
            tokens: advice.tokens()?,
            web_searches: advice.web_searches(),
            fast: advice.speed.as_str() == "fast",
            cost_usd: None,
            ..reply.clone()
        })
    });
    let mut entries: Vec<_> = advice.collect();
    entries.push(reply);
    entries
}

impl Usage<'_> {
    fn tokens(&self) -> Option<EntryTokens> {
        let (cache_write_5m, cache_write_1h) = match &self.cache_creation.0 {
            Some(Object(it)) => (
                it.ephemeral_5m_input_tokens.0.unwrap_or(0),
                it.ephemeral_1h_input_tokens.0.unwrap_or(0),
            ),
            None => (self.cache_creation_input_tokens.0.unwrap_or(0), 0),
        };
        Some(EntryTokens {
            input: self.input_tokens.0?,
            output: self.output_tokens.0?,
            cache_write_5m,
            cache_write_1h,
            cache_read: self.cache_read_input_tokens.0.unwrap_or(0),
        })
    }

    /// As the client counts it: all input, and no output.
    fn context(&self) -> u64 {
        [&self.input_tokens, &self.cache_creation_input_tokens, &self.cache_read_input_tokens]
            .iter()
            .fold(0, |sum, it| sum.saturating_add(it.0.unwrap_or(0)))
    }

    fn web_searches(&self) -> u64 {
        self.server_tool_use.0.as_ref().and_then(|it| it.0.web_search_requests.0).unwrap_or(0)
    }
}

/// What a person typed, if a person typed this text.
///
/// The client wraps what it adds of its own in tags. A command that is a prompt names its message
/// first; one that the client carries out itself, like `/clear`, names the command first.
fn typed(text: &str) -> Option<Text<'_>> {
    const NOT_TYPED: [&str; 10] = [
        "<command-name>",
        "<local-command-",
        "<bash-",
        "<ide_",
        "<system-reminder>",
        "<task-notification>",
        "<user-memory-input>",
        "<user-prompt-submit-hook>",
        "<session-start-hook>",
        "Caveat: The messages below were generated by the user while running local commands",
    ];
    let text = text.trim_start();
    if text.starts_with("<command-message>") {
        let command = between(text, "<command-name>", "</command-name>")?;
        let args = between(text, "<command-args>", "</command-args>").unwrap_or_default();
        return Some(format!("{command} {args}").into());
    }
    let is_typed = !text.is_empty() && !NOT_TYPED.iter().any(|it| text.starts_with(it));
    is_typed.then_some(Text::Borrowed(text))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    // The head of a long text may end before the tag does.
    Some(rest.split_once(close).map_or(rest, |(it, _)| it))
}

/// The beginning of a text on one line, without what would act on a terminal.
fn preview(text: &str) -> String {
    const LENGTH: usize = 120;
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut visible = word.chars().filter(|it| is_visible(*it)).peekable();
        if !line.is_empty() && visible.peek().is_some() {
            line.push(' ');
        }
        line.extend(visible);
    }
    let end = match line.is_ascii() {
        true => (line.len() > LENGTH).then_some(LENGTH),
        false => line.grapheme_indices(true).nth(LENGTH).map(|(it, _)| it),
    };
    match end {
        Some(end) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

fn is_visible(it: char) -> bool {
    !it.is_whitespace() && !it.is_control() && !turns_text_around(it)
}

/// Marks that reorder or hide what stands beside them.
fn turns_text_around(it: char) -> bool {
    matches!(it, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
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
struct StdinDocument<'a> {
    session_id: Field<String>,
    transcript_path: Field<String>,
    cwd: Field<String>,
    session_name: Field<String>,
    model: Field<Object<StdinModel>>,
    workspace: Field<Object<Workspace>>,
    cost: Field<Object<StdinCost>>,
    #[serde(borrow)]
    context_window: Field<Object<ContextWindow<'a>>>,
    rate_limits: Field<Object<RateLimits>>,
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
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct StdinCost {
    total_cost_usd: Field<f64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct ContextWindow<'a> {
    context_window_size: Field<u64>,
    used_percentage: Field<f64>,
    #[serde(borrow)]
    current_usage: Field<Object<Usage<'a>>>,
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
    let document: StdinDocument<'_> = parse(bytes)?;
    let window = document.context_window.0.map(|it| it.0).unwrap_or_default();
    let limits = document.rate_limits.0.map(|it| it.0).unwrap_or_default();
    let model = document.model.0.and_then(|Object(it)| {
        let display_name = it.display_name.0;
        it.id.0.map(|id| Model { id, display_name })
    });
    let current_dir = document.workspace.0.and_then(|it| it.0.current_dir.0);
    Some(ClientFacts {
        session_id: document.session_id.0,
        transcript_path: document.transcript_path.0,
        cwd: document.cwd.0.or(current_dir),
        session_name: document.session_name.0,
        model,
        context_tokens: window.current_usage.0.map(|it| it.0.context()),
        context_window: window.context_window_size.0,
        context_used_percentage: window.used_percentage.0.filter(is_amount),
        cost_usd: document.cost.0.and_then(|it| it.0.total_cost_usd.0).filter(is_amount),
        limits: Limits {
            five_hour: limits.five_hour.0.and_then(|it| it.0.limit()),
            seven_day: limits.seven_day.0.and_then(|it| it.0.limit()),
            spend_limit: limits.spend_limit.0.and_then(|it| it.0.limit()),
        },
    })
}

impl RateLimit {
    fn limit(&self) -> Option<Limit> {
        let used_percentage = self.used_percentage.0.filter(is_amount)?;
        let resets_at_ms = self.resets_at.0.filter(is_amount)? * SECOND_MS as f64;
        Some(Limit { used_percentage, resets_at_ms: resets_at_ms as i64, as_of_ms: 0 })
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

/// Text that mostly lies in the line itself, and is copied only where it has escapes.
type Text<'a> = Cow<'a, str>;

/// A field that may hold anything. What does not fit is none.
struct Field<T>(Option<T>);

/// Which JSON values a type can be read from. The default is none of them.
trait Fits<'de>: Sized {
    /// A string that stands in the line as it is.
    fn borrowed(text: &'de str) -> Option<Self> {
        Self::text(text)
    }

    fn text(_text: &str) -> Option<Self> {
        None
    }

    fn whole(_number: u64) -> Option<Self> {
        None
    }

    fn real(_number: f64) -> Option<Self> {
        None
    }

    fn flag(_flag: bool) -> Option<Self> {
        None
    }

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Self>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn object<A: MapAccess<'de>>(mut fields: A) -> Result<Option<Self>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<T> Default for Field<T> {
    fn default() -> Field<T> {
        Field(None)
    }
}

impl<T: std::ops::Deref<Target = str>> Field<T> {
    fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Field<bool> {
    fn is_true(&self) -> bool {
        self.0 == Some(true)
    }
}

impl<'de, T: Fits<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData)).map(Field)
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Fits<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Option<T>, E> {
        Ok(T::borrowed(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Option<T>, E> {
        Ok(T::text(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Option<T>, E> {
        Ok(T::whole(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Option<T>, E> {
        Ok(T::real(it as f64))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Option<T>, E> {
        Ok(T::real(it))
    }

    fn visit_bool<E>(self, it: bool) -> Result<Option<T>, E> {
        Ok(T::flag(it))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Option<T>, A::Error> {
        T::list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<T>, A::Error> {
        T::object(fields)
    }
}

impl Fits<'_> for bool {
    fn flag(flag: bool) -> Option<bool> {
        Some(flag)
    }
}

impl Fits<'_> for u64 {
    fn whole(number: u64) -> Option<u64> {
        Some(number)
    }

    fn real(number: f64) -> Option<u64> {
        (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
    }
}

impl Fits<'_> for f64 {
    fn whole(number: u64) -> Option<f64> {
        Some(number as f64)
    }

    fn real(number: f64) -> Option<f64> {
        Some(number)
    }
}

/// Names, ids and paths. What is longer than a path can be is none of these.
impl Fits<'_> for String {
    fn text(text: &str) -> Option<String> {
        is_name(text).then(|| text.to_owned())
    }
}

/// The same, for as long as the line is there.
impl<'de: 'a, 'a> Fits<'de> for Text<'a> {
    fn borrowed(text: &'de str) -> Option<Text<'a>> {
        is_name(text).then_some(Text::Borrowed(text))
    }

    fn text(text: &str) -> Option<Text<'a>> {
        String::text(text).map(Text::Owned)
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 4096
}

/// A name that some writers write as a number.
struct Word(String);

impl Fits<'_> for Word {
    fn text(text: &str) -> Option<Word> {
        String::text(text).map(Word)
    }

    fn whole(number: u64) -> Option<Word> {
        Some(Word(number.to_string()))
    }
}

/// An instant, in Unix milliseconds.
struct Time(i64);

impl Fits<'_> for Time {
    fn text(text: &str) -> Option<Time> {
        text.parse::<Timestamp>().ok().map(|it| Time(it.as_millisecond()))
    }
}

/// The beginning of a text, long enough for a preview.
struct Head<'a>(Text<'a>);

impl<'de: 'a, 'a> Fits<'de> for Head<'a> {
    fn borrowed(text: &'de str) -> Option<Head<'a>> {
        Some(Head(Text::Borrowed(head(text))))
    }

    fn text(text: &str) -> Option<Head<'a>> {
        Some(Head(Text::Owned(head(text).to_owned())))
    }
}

fn head(text: &str) -> &str {
    let mut end = text.len().min(512);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Fits<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(fields: A) -> Result<Option<Object<T>>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(|it| Some(Object(it)))
    }
}

impl<'de, T: Fits<'de>> Fits<'de> for Vec<T> {
    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Vec<T>>, A::Error> {
        let mut list = Vec::new();
        while let Some(Field(item)) = items.next_element()? {
            list.extend(item);
        }
        Ok(Some(list))
    }
}

impl<'de: 'a, 'a> Fits<'de> for Content<'a> {
    fn borrowed(text: &'de str) -> Option<Content<'a>> {
        Some(Content { texts: vec![head(text).into()], has_tool_result: false })
    }

    fn text(text: &str) -> Option<Content<'a>> {
        Some(Content { texts: vec![head(text).to_owned().into()], has_tool_result: false })
    }

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Option<Content<'a>>, A::Error> {
        let mut content = Content::default();
        while let Some(Field::<Object<Block<'a>>>(item)) = items.next_element()? {
            let Some(Object(block)) = item else { continue };
            match block.kind.as_str() {
                "text" => content.texts.extend(block.text.0.map(|it| it.0)),
                "tool_result" => content.has_tool_result = true,
                _ => {}
            }
        }
        Ok(Some(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPLY: &str = r#"{"isSidechain":false,"message":{"id":"msg_1","role":"assistant",
        "model":"claude-opus-4-8","content":[{"type":"text","text":"All  done.\n"}],
        "stop_reason":"end_turn","usage":{"input_tokens":12,"cache_creation_input_tokens":1500,
        "cache_read_input_tokens":21000,"output_tokens":42,"server_tool_use":{
        "web_search_requests":2},"cache_creation":{"ephemeral_1h_input_tokens":500,
        "ephemeral_5m_input_tokens":1000},"inference_geo":"us","speed":"fast"}},
        "requestId":"req_1","type":"assistant","timestamp":"2026-11-23T11:15:04.017Z",
        "cwd":"/w/p","sessionId":"s-1"}"#;
    const AT: i64 = 1_795_432_504_017;

    fn fold(lines: &[&str]) -> (TranscriptFacts, Vec<Entry>) {
        let mut fold = Fold::on(TranscriptFacts::default());
        for (n, line) in (0..).zip(lines) {
            fold.line(n * 1000, line.as_bytes());
        }
        let (entries, facts) = fold.finish();
        (facts, entries.into_iter().map(|(_, it)| it).collect())
    }

    fn prompt(content: &str) -> String {
        let at = "2026-11-23T11:15:00Z";
        format!(r#"{{"type":"user","timestamp":"{at}","message":{{"content":{content}}}}}"#)
    }

    #[test]
    fn a_reply_is_an_entry_and_the_newest_facts() {
        let (facts, entries) = fold(&[REPLY]);
        let tokens = EntryTokens {
            input: 12,
            output: 42,
            cache_write_5m: 1000,
            cache_write_1h: 500,
            cache_read: 21000,
        };
        let entry = Entry {
            at_ms: AT,
            message_id: Some("msg_1".into()),
            request_id: Some("req_1".into()),
            session: Some("s-1".into()),
            sidechain: false,
            model: "claude-opus-4-8".into(),
            tokens,
            web_searches: 2,
            fast: true,
            us_only: true,
            cost_usd: None,
        };
        assert_eq!(entries, [entry]);
        let expected = TranscriptFacts {
            session: Some("s-1".into()),
            sidechain: Some(false),
            cwd: Some("/w/p".into()),
            model: Some("claude-opus-4-8".into()),
            context_tokens: Some(22512),
            context_as_of_ms: Some(AT),
            last_message: Some(Message { at_ms: AT, preview: Some("All done.".into()) }),
            last_reply_ms: Some(AT),
            last_line_ms: Some(AT),
            ..TranscriptFacts::default()
        };
        assert_eq!(facts, expected);
    }

    /// `from` in [`REPLY`] is replaced by `to`.
    #[track_caller]
    fn check_entry(from: &str, to: &str, expected: Option<EntryTokens>) {
        assert!(REPLY.contains(from));
        let (facts, entries) = fold(&[&REPLY.replace(from, to)]);
        assert_eq!(entries.first().map(|it| it.tokens), expected, "{to}");
        assert_eq!(facts.skipped_lines, 0);
    }

    #[test]
    fn a_wrong_type_loses_its_field_and_not_the_line() {
        let all = fold(&[REPLY]).1[0].tokens;
        check_entry("\"s-1\"", "{\"a\":[null]}", Some(all));
        check_entry("\"msg_1\"", "7", Some(all));
        check_entry("[{\"type\":\"text\"", "[null,3,[{}],{\"type\":\"text\"", Some(all));
        check_entry("\"fast\"", "null", Some(all));
        check_entry("21000", "21000.0", Some(all));
        check_entry("21000", "-1", Some(EntryTokens { cache_read: 0, ..all }));
        check_entry("21000", "\"many\"", Some(EntryTokens { cache_read: 0, ..all }));
        check_entry(
            "\"cache_creation\":",
            "\"other\":",
            Some(EntryTokens { cache_write_5m: 1500, cache_write_1h: 0, ..all }),
        );
    }

    #[test]
    fn without_counts_or_a_time_there_is_no_entry() {
        check_entry("\"input_tokens\"", "\"other\"", None);
        check_entry("\"output_tokens\"", "\"other\"", None);
        check_entry("2026-11-23T11:15:04.017Z", "yesterday", None);
        check_entry("\"message\":", "\"toolUseResult\":", None);
    }

    #[test]
    fn an_advisors_reply_is_an_entry_of_its_own() {
        let iterations = r#""iterations":[{"type":"message","input_tokens":1,"output_tokens":1},
            {"type":"advisor_message","model":"claude-opus-5","input_tokens":7,"output_tokens":8}],
            "speed":"fast""#;
        let line = REPLY.replace("\"speed\":\"fast\"", iterations);
        let (_, entries) = fold(&[&line]);
        let found: Vec<_> =
            entries.iter().map(|it| (it.message_id.as_deref(), &*it.model, it.fast)).collect();
        assert_eq!(
            found,
            [(Some("msg_1/1"), "claude-opus-5", false), (Some("msg_1"), "claude-opus-4-8", true)]
        );
    }

    #[test]
    fn of_a_replys_lines_the_one_that_states_most_is_an_entry() {
        let [less, more] = [1, 99].map(|it| REPLY.replace("42", &it.to_string()));
        let (_, entries) = fold(&[&less, &more, REPLY]);
        assert_eq!(entries.iter().map(|it| it.tokens.output).collect::<Vec<_>>(), [99]);
        let other = REPLY.replace("req_1", "req_2");
        assert_eq!(fold(&[REPLY, &other]).1.len(), 2);
    }

    #[test]
    fn a_compaction_empties_the_context_until_the_next_reply() {
        let boundary = r#"{"type":"system","subtype":"compact_boundary"}"#;
        let (facts, _) = fold(&[REPLY, boundary]);
        assert_eq!((facts.context_tokens, facts.compactions), (None, 1));
        assert_eq!(fold(&[boundary, REPLY]).0.context_tokens, Some(22512));
    }

    #[test]
    fn a_subagents_reply_in_a_sessions_transcript_says_nothing_of_the_session() {
        let side = REPLY.replace("\"isSidechain\":false", "\"isSidechain\":true");
        let side = side.replace("21000", "5").replace("opus-4-8", "haiku-4-5");
        let (facts, entries) = fold(&[REPLY, &side]);
        assert_eq!(facts, fold(&[REPLY]).0);
        assert_eq!(entries.len(), 2);
        assert_eq!(fold(&[&side]).0.context_tokens, Some(1517));
    }

    #[test]
    fn an_error_is_not_a_reply_of_the_model() {
        let error = r#"{"type":"assistant","isApiErrorMessage":true,"isSidechain":false,
            "timestamp":"2026-11-23T11:15:05Z","message":{"model":"<synthetic>","content":[
            {"type":"text","text":"API Error: 529"}],"usage":{"input_tokens":0,"output_tokens":0}}}"#;
        let (facts, _) = fold(&[REPLY, error]);
        assert_eq!(facts.model.as_deref(), Some("claude-opus-4-8"));
        assert_eq!(facts.context_tokens, Some(22512));
        assert_eq!(facts.last_reply_ms, Some(AT));
        let preview = facts.last_message.and_then(|it| it.preview);
        assert_eq!(preview.as_deref(), Some("API Error: 529"));
    }

    #[track_caller]
    fn check_turn(content: &str, preview: Option<&str>) {
        let (facts, _) = fold(&[&prompt(content)]);
        assert_eq!(facts.turns, u64::from(preview.is_some()), "{content}");
        assert_eq!(facts.last_message.and_then(|it| it.preview).as_deref(), preview);
        assert_eq!(facts.skipped_lines, 0);
    }

    #[test]
    fn only_what_a_person_typed_is_a_turn() {
        check_turn(r#""Fix  it\nplease""#, Some("Fix it please"));
        check_turn(r#"[{"type":"image"},{"type":"text","text":"See this"}]"#, Some("See this"));
        let editor = "<ide_opened_file>a.rs</ide_opened_file>";
        let content =
            format!(r#"[{{"type":"text","text":"{editor}"}},{{"type":"text","text":"Fix it"}}]"#);
        check_turn(&content, Some("Fix it"));
        let command = "<command-message>review</command-message>\\n<command-name>/review\
            </command-name>\\n<command-args>src</command-args>";
        check_turn(&format!("\"{command}\""), Some("/review src"));
        check_turn(r#""<command-name>/clear</command-name>""#, None);
        check_turn(r#""<local-command-stdout></local-command-stdout>""#, None);
        check_turn(r#"[{"type":"text","text":"[Request interrupted by user]"}]"#, None);
        check_turn(r#"[{"type":"tool_result","content":"x"},{"type":"text","text":"y"}]"#, None);
        check_turn("\"\"", None);
        check_turn("null", None);
        let summary = prompt("\"x\"").replace("{\"type\"", "{\"isCompactSummary\":true,\"type\"");
        let meta = prompt("\"x\"").replace("{\"type\"", "{\"isMeta\":true,\"type\"");
        let subagent = prompt("\"x\"").replace("{\"type\"", "{\"isSidechain\":true,\"type\"");
        assert_eq!(fold(&[&summary, &meta]).0.turns, 0);
        assert_eq!(fold(&[&subagent]).0.turns, 0);
    }

    #[test]
    fn a_turn_is_open_until_its_reply_ends_it() {
        let open = |lines: &[&str]| fold(lines).0.turn_open;
        let asked = prompt("\"x\"");
        let calls_a_tool = REPLY.replace("end_turn", "tool_use");
        let interrupted = prompt(r#"[{"type":"text","text":"[Request interrupted by user]"}]"#);
        assert!(open(&[&asked]));
        assert!(open(&[&asked, &calls_a_tool]));
        assert!(!open(&[&asked, &calls_a_tool, REPLY]));
        assert!(!open(&[&asked, &calls_a_tool, &interrupted]));
        assert!(!open(&[&asked, r#"{"type":"system","subtype":"turn_duration"}"#]));
    }

    #[test]
    fn a_persons_title_beats_the_clients() {
        let ai = r#"{"type":"ai-title","aiTitle":"Fixes"}"#;
        let custom = r#"{"type":"custom-title","customTitle":"Mine"}"#;
        assert_eq!(fold(&[ai]).0.title(), Some("Fixes"));
        assert_eq!(fold(&[custom, ai]).0.title(), Some("Mine"));
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let lines = ["", " \r", "{\"par", "\0\0\0", "7", "[]", "{\"tool_result\":\"", "{}", "null"];
        assert_eq!(fold(&lines).0.skipped_lines, 6);
    }

    #[track_caller]
    fn check_preview(text: &str, expected: &str) {
        assert_eq!(preview(text), expected);
    }

    #[test]
    fn a_preview_is_one_plain_line() {
        check_preview(" a\tb\r\n\u{2028}c ", "a b c");
        check_preview("\u{1b}[31mred\u{7} \u{202e}dab\u{2066} \u{1b} x", "[31mred dab x");
        check_preview("👩\u{200d}🚀", "👩\u{200d}🚀");
        check_preview(&"é".repeat(120), &"é".repeat(120));
        check_preview(&"🇩🇪".repeat(121), &format!("{}…", "🇩🇪".repeat(120)));
    }

    #[test]
    fn a_session_file_needs_a_pid_and_nothing_else() {
        let file = parse_session_file(
            br#"{"pid":12,"sessionId":"s-1","cwd":"/w","procStart":345,"startedAt":9,
                "name":"n","status":"busy"}"#,
        );
        let expected = SessionFile {
            pid: 12,
            session_id: SessionId::checked("s-1"),
            cwd: Some("/w".into()),
            proc_start: Some("345".into()),
            started_at_ms: Some(9),
            name: Some("n".into()),
            status: Some(Status::Busy),
        };
        assert_eq!(file, Some(expected));
        let bare = parse_session_file(br#"{"pid":12,"sessionId":"../x","status":"waiting"}"#);
        assert_eq!(bare, Some(SessionFile { pid: 12, ..SessionFile::default() }));
        assert_eq!(parse_session_file(b"{}"), None);
        assert_eq!(parse_session_file(b"{\"pid\":12"), None);
    }

    #[test]
    fn the_clients_document_is_read_field_by_field() {
        let facts = parse_stdin(
            br#"{"session_id":"s","transcript_path":"/t","workspace":{"current_dir":"/w"},
            "model":{"id":"m[1m]","display_name":"M"},"cost":{"total_cost_usd":0.5},
            "context_window":{"context_window_size":1000000,"used_percentage":3,
              "current_usage":{"input_tokens":12,"cache_creation_input_tokens":1500,
              "cache_read_input_tokens":26000,"output_tokens":42}},
            "rate_limits":{"five_hour":{"used_percentage":12.5,"resets_at":1795440000},
              "seven_day":{"used_percentage":-1,"resets_at":1795440000},"spend_limit":"none"}}
            and what follows it"#,
        );
        let five_hour =
            Limit { used_percentage: 12.5, resets_at_ms: 1_795_440_000_000, as_of_ms: 0 };
        let expected = ClientFacts {
            session_id: Some("s".into()),
            transcript_path: Some("/t".into()),
            cwd: Some("/w".into()),
            session_name: None,
            model: Some(Model { id: "m[1m]".into(), display_name: Some("M".into()) }),
            context_tokens: Some(27512),
            context_window: Some(1_000_000),
            context_used_percentage: Some(3.0),
            cost_usd: Some(0.5),
            limits: Limits { five_hour: Some(five_hour), ..Limits::default() },
        };
        assert_eq!(facts, Some(expected));
        let nothing_fits = parse_stdin(
            br#"{"session_id":1,"model":[],"context_window":{"current_usage":null},"cost":""}"#,
        );
        assert_eq!(nothing_fits, Some(ClientFacts::default()));
        assert_eq!(parse_stdin(b"[]"), None);
        assert_eq!(parse_stdin(b""), None);
    }

    /// The document is what stands before `|`.
    #[track_caller]
    fn check_end(bytes: &str) {
        let end = bytes.find('|');
        let bytes = bytes.replacen('|', "", 1);
        for step in [1, 2, 1000] {
            let mut scan = DocumentScan::default();
            let mut arrived = (0..=bytes.len()).step_by(step).chain([bytes.len()]);
            assert_eq!(arrived.find_map(|it| scan.end(&bytes.as_bytes()[..it])), end, "{bytes}");
        }
    }

    #[test]
    fn a_document_ends_with_its_last_brace() {
        check_end(r#" {"a":{"b":[1,2]}}|{"c"#);
        check_end(r#"{"a":"}\"}\\"}|"#);
        check_end(r#"{"a":"}\\\"}"#);
        check_end(r#"{"a":{}"#);
        check_end("");
    }

    #[track_caller]
    fn check_place(path: &str, expected: Option<Place>) {
        assert_eq!(place(Path::new("/r"), Path::new(path)), expected, "{path}");
    }

    #[test]
    fn a_path_says_whose_file_it_is() {
        let session = || SessionId("s-1".into());
        check_place("/r/projects/p/s-1.jsonl", Some(Place::Transcript(session())));
        check_place("/r/projects/p/agent-7.jsonl", Some(Place::OldSubagent));
        let nested = "/r/projects/p/s-1/subagents/workflows/w/agent-7.jsonl";
        check_place(nested, Some(Place::Subagent(session())));
        check_place("/r/projects/p/s-1/subagents/agent-7.jsonl", Some(Place::Subagent(session())));
        check_place("/r/sessions/12.json", Some(Place::Process(12)));
        for path in [
            "/r/projects/p/s-1/subagents/agent-7.meta.json",
            "/r/projects/p/s-1/subagents/notes.jsonl",
            "/r/projects/p/s-1/tool-results/agent-7.jsonl",
            "/r/projects/p/s.1.jsonl",
            "/r/projects/p/.jsonl",
            "/r/projects/s-1.jsonl",
            "/r/projects/../p/s-1.jsonl",
            "/r/sessions/x.json",
            "/r/settings.json",
            "/r",
            "/elsewhere/projects/p/s-1.jsonl",
        ] {
            check_place(path, None);
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(
            cut in 0..REPLY.len(),
            at in 0..REPLY.len(),
            noise in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut line = REPLY.as_bytes().to_vec();
            line.splice(at..at, noise.iter().copied());
            line.truncate(cut);
            Fold::on(TranscriptFacts::default()).line(0, &line);
            parse_stdin(&line);
            parse_session_file(&noise);
        }

        #[test]
        fn no_value_loses_another_field(value in any_json()) {
            let line = REPLY.replace("\"req_1\"", &value);
            let line = line.replace("[{\"type\":\"text\"", &format!("[{value},{{\"type\":\"text\""));
            let (facts, entries) = fold(&[&line]);
            prop_assert_eq!(facts.skipped_lines, 0);
            prop_assert_eq!(entries.len(), 1);
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|it| it.to_string()),
            any::<i64>().prop_map(|it| it.to_string()),
            any::<u64>().prop_map(|it| it.to_string()),
            (-1e9..1e9).prop_map(|it: f64| it.to_string()),
            ".*".prop_map(|it| serde_json::to_string(&it).expect("strings can be written")),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|it| format!("[{}]", it.join(","))),
                inner.prop_map(|it| format!("{{\"type\":{it},\"text\":{it},\"x\":{it}}}")),
            ]
        })
    }
}
