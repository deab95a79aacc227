//! PURE. Folds the lines of a transcript into facts about its session and entries of what was used.

use std::sync::{Arc, LazyLock};

use memchr::memchr;
use memchr::memmem::Finder;

use super::damage::salvage;
use super::line::{Content, Line, LineMessage, Quota, Usage};
use super::preview::{has_visible, preview};
use super::replies::{Replies, Statement};
use super::scan::{Text, read_object, trim};
use crate::store::schema::{Limit, Limits, Message};
use crate::usage::entry::{Entry, EntryTokens, Id, ReplyId};

/// The facts in one transcript, as of its newest line.
///
/// They are part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TranscriptFacts {
    /// The first session id that a line names.
    pub session: Option<String>,
    /// Whether the transcript is a subagent's, by the first line that states it. Lines of the
    /// other kind of chain contribute entries and the time of the last line, but no other facts.
    pub is_sidechain: Option<bool>,
    /// The session's working directory.
    pub cwd: Option<String>,
    /// The model of the newest reply.
    pub model: Option<String>,
    /// Input tokens of the newest reply; `None` from a compaction until the next reply.
    pub context_tokens: Option<u64>,
    /// The time of the line that set or cleared `context_tokens`.
    pub context_as_of_ms: Option<i64>,
    /// Prompts that a person typed.
    pub turns: u64,
    pub compactions: u64,
    /// The newest text that a person or the model wrote.
    pub last_message: Option<Message>,
    /// The time of the newest reply, API errors excluded.
    pub last_reply_ms: Option<i64>,
    /// The newest time in any line that is parsed: tool results and the client's own bookkeeping
    /// are not.
    pub last_line_ms: Option<i64>,
    /// Whether the newest prompt has not been answered to the end yet.
    pub is_turn_open: bool,
    /// The title that the user gave the session.
    pub custom_title: Option<String>,
    /// The title that the client generated.
    pub ai_title: Option<String>,
    /// Lines that are not JSON objects, were too long to read, or state a count of tokens that no
    /// request can have.
    pub skipped_lines: u64,
    /// The type of the subagent whose transcript it is; `None` for a session's own.
    pub agent: Option<Arc<str>>,
    /// Replies that the API's ids do not identify; `None` where there was none.
    pub replies: Option<Box<Replies>>,
    /// A limit of the account that the newest error of the API says to be used up, and the time of
    /// that error. Not in the checkpoint: it is handed on to the account, whose limits are in the
    /// snapshot.
    #[serde(skip)]
    pub used_up: Option<Box<(Limits, i64)>>,
    /// What the client says that the session has cost, in US dollars, in the line that it appends
    /// when the session ends. Not in the checkpoint: it is handed on to the record.
    #[serde(skip)]
    pub client_cost_usd: Option<f64>,
}

impl TranscriptFacts {
    /// Replaces times later than `now_ms` by `now_ms`. A line that was written while the clock was
    /// ahead would otherwise stay the newest for a long time.
    #[must_use]
    pub fn not_after(mut self, now_ms: i64) -> TranscriptFacts {
        for at_ms in self.times() {
            *at_ms = (*at_ms).min(now_ms);
        }
        self
    }

    /// All times among the facts.
    pub fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        let times = [&mut self.context_as_of_ms, &mut self.last_reply_ms, &mut self.last_line_ms];
        let message_ms = self.last_message.as_mut().map(|it| &mut it.at_ms);
        times.into_iter().flatten().chain(message_ms)
    }

    /// Drops the text of the last message. Returns whether there was one.
    pub fn forget_message(&mut self) -> bool {
        self.last_message.as_mut().is_some_and(|it| it.preview.take().is_some())
    }

    /// The session's title: the user's, else the client's.
    pub fn title(&self) -> Option<&str> {
        self.custom_title.as_deref().or(self.ai_title.as_deref())
    }
}

/// The type of a subagent, from the file that describes it; `None` where that names none.
pub fn agent_type(description: &[u8]) -> Option<Arc<str>> {
    let mut name = None;
    read_object(description, |scan, key| {
        match key {
            b"agentType" => name = scan.name()?,
            _ => scan.skip()?,
        }
        Some(())
    })?;
    name.map(Arc::from)
}

/// Takes in the lines of a transcript one after the other.
#[derive(Debug)]
pub struct Fold {
    facts: TranscriptFacts,
    entries: Vec<(u64, Entry)>,
    /// The time of the newest text, and the text. Only the text of the last line gets a preview.
    newest_text: Option<(i64, NewestText)>,
    /// The names in the last entry: most entries share them.
    session: Arc<str>,
    model: Arc<str>,
    cwd: Arc<str>,
    branch: Arc<str>,
}

#[derive(Debug)]
enum NewestText {
    Plain(String),
    /// The JSON content of a reply that contains a visible text.
    Reply(Vec<u8>),
}

impl Fold {
    /// Starts from the facts in the lines before.
    pub fn resume(facts: TranscriptFacts) -> Fold {
        let (session, model, cwd, branch) = Default::default();
        Fold { facts, entries: Vec::new(), newest_text: None, session, model, cwd, branch }
    }

    /// Takes in `line`, which begins at `offset` in the file and comes without its newline.
    ///
    /// An unreadable line is counted and is no error: the client may have died while it wrote the
    /// line. What is whole in it is taken in.
    pub fn add_line(&mut self, offset: u64, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let is_sound = self.add_record(offset, trim(line)).unwrap_or_else(|| {
            let salvage = salvage(line);
            let sound = salvage
                .records
                .iter()
                .map(|(at, record)| self.add_record(offset + *at as u64, record).unwrap_or(false));
            sound.fold(!salvage.has_torn, |all, one| all & one)
        });
        self.facts.skipped_lines += u64::from(!is_sound);
    }

    /// Takes in one record. Returns whether everything in it can be true; `None` where it is not
    /// one whole record.
    fn add_record(&mut self, offset: u64, line: &[u8]) -> Option<bool> {
        let is_bookkeeping = is_bookkeeping(line);
        let is_result = !is_bookkeeping && is_tool_result(line);
        if is_bookkeeping || is_result && !self.is_any_reply_open() {
            return Some(line.starts_with(b"{") && line.ends_with(b"}"));
        }
        let read = Line::read(line)?;
        if read.kind.as_bytes().starts_with(REQUEST) {
            return Some(true);
        }
        if is_result {
            self.end_replies(&read);
            return Some(true);
        }
        Some(self.fold(offset, read))
    }

    /// Takes in a last line without its newline if it ends with a whole record. Returns whether it
    /// does.
    pub fn add_last_line(&mut self, offset: u64, line: &[u8]) -> bool {
        let is_whole = Line::read(trim(line)).is_some() || salvage(line).ends_whole;
        if is_whole {
            self.add_line(offset, line);
        }
        is_whole
    }

    /// Counts a line that was too long for the caller to pass on.
    pub fn skip_line(&mut self) {
        self.facts.skipped_lines += 1;
    }

    pub fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// The entries, each with an offset that no other entry of the file has, and the facts.
    pub fn finish(mut self) -> (Vec<(u64, Entry)>, TranscriptFacts) {
        if let Some((at_ms, text)) = self.newest_text {
            let preview = match &text {
                NewestText::Plain(text) => Some(preview(text)),
                NewestText::Reply(content) => {
                    Content::read(content).and_then(|it| it.last_visible_text().map(preview))
                }
            };
            self.facts.last_message = Some(Message { at_ms, preview });
        }
        (self.entries, self.facts)
    }
}

impl Fold {
    fn is_any_reply_open(&self) -> bool {
        self.facts.replies.as_ref().is_some_and(|it| it.is_any_open())
    }

    /// Takes in that a prompt, or the result of a tool, ends the replies before it.
    fn end_replies(&mut self, line: &Line<'_>) {
        if line.kind == "user"
            && let Some(replies) = &mut self.facts.replies
        {
            replies.prompted(line.is_sidechain == Some(true));
        }
    }

    /// Returns whether everything in the line can be true.
    fn fold(&mut self, offset: u64, mut line: Line<'_>) -> bool {
        self.end_replies(&line);
        let message = std::mem::take(&mut line.message);
        let is_sound = self.count(offset, &line, &message);

        let facts = &mut self.facts;
        facts.last_line_ms = facts.last_line_ms.max(line.at_ms);
        if facts.session.is_none() {
            facts.session = line.session_id.take().map(Text::into_owned);
        }
        facts.is_sidechain = facts.is_sidechain.or(line.is_sidechain);
        if let Some(used_up) = used_up(&line.quota).zip(line.at_ms) {
            facts.used_up = Some(Box::new(used_up));
        }
        if line.is_sidechain.unwrap_or(false) != facts.is_sidechain.unwrap_or(false) {
            return is_sound;
        }
        replace(&mut facts.cwd, line.cwd.take());
        match &*line.kind {
            "user" => self.fold_prompt(&line, &message),
            "assistant" => self.fold_reply(&line, message),
            "system" if line.subtype == "compact_boundary" => {
                facts.compactions += 1;
                facts.context_tokens = None;
                facts.context_as_of_ms = line.at_ms;
            }
            "system" if line.subtype == "turn_duration" => facts.is_turn_open = false,
            "custom-title" => facts.custom_title = title(line.custom_title),
            "ai-title" => facts.ai_title = title(line.ai_title),
            "cost-state" => facts.client_cost_usd = line.total_cost_usd.filter(|it| *it >= 0.0),
            _ => {}
        }
        is_sound
    }

    fn fold_prompt(&mut self, line: &Line<'_>, message: &LineMessage<'_>) {
        let Some(content) = message.content.and_then(Content::read) else { return };
        if content.texts.iter().any(|it| it.starts_with("[Request interrupted by user")) {
            self.facts.is_turn_open = false;
            return;
        }
        if line.is_meta || line.is_compact_summary || content.has_tool_result {
            return;
        }
        // Editors put texts of their own before the one that the person wrote.
        let Some(typed) = content.texts.iter().rev().find_map(|it| typed(it)) else { return };
        self.facts.is_turn_open = true;
        // A subagent is prompted by its session, not by a person.
        self.facts.turns += u64::from(line.is_sidechain != Some(true));
        if let Some(at_ms) = line.at_ms.filter(|_| has_visible(&typed)) {
            self.newest_text = Some((at_ms, NewestText::Plain(typed.into_owned())));
        }
    }

    fn fold_reply(&mut self, line: &Line<'_>, message: LineMessage<'_>) {
        if let Some((at_ms, content)) = line.at_ms.zip(message.content) {
            self.remember_text(at_ms, content);
        }
        let facts = &mut self.facts;
        facts.is_turn_open = !line.is_api_error_message
            && matches!(&*message.stop_reason, "" | "tool_use" | "pause_turn");
        if line.is_api_error_message || message.model.as_deref() == Some("<synthetic>") {
            return;
        }
        replace(&mut facts.model, message.model);
        facts.last_reply_ms = facts.last_reply_ms.max(line.at_ms);
        if let Some(context) = message.usage.as_ref().and_then(Usage::context) {
            facts.context_tokens = Some(context);
            facts.context_as_of_ms = line.at_ms;
        }
    }

    /// Adds an entry for a reply, and one for each other model that was asked while it was made.
    /// Returns whether the counts can be true.
    fn count(&mut self, offset: u64, line: &Line<'_>, message: &LineMessage<'_>) -> bool {
        let (Some(at_ms), Some(usage)) = (line.at_ms, &message.usage) else { return true };
        let Some(tokens) = usage.tokens() else { return true };
        let mut all = usage.advice.iter().map(|(_, it)| it).chain([usage]);
        let is_sound = !all.any(|it| it.is_impossible);
        let id = self.reply_id(line, message, at_ms, tokens);
        // The lines of one reply follow each other, and each states the tokens used so far.
        let before = self.entries.last_mut().map(|(_, entry)| entry);
        let before = before.filter(|entry| is_same_reply(entry, &id, line));
        let is_better = before.as_ref().is_some_and(|it| tokens.all() > it.tokens.all());
        if let Some(before) = before
            && usage.advice.is_empty()
            && !is_better
        {
            before.id = id;
            return is_sound;
        }
        let reply = Entry {
            at_ms,
            id,
            session: name(&line.session_id).map(|it| shared(&mut self.session, it)),
            is_sidechain: line.is_sidechain == Some(true),
            model: shared(&mut self.model, message.model.as_deref().unwrap_or_default()),
            tokens,
            n_web_searches: usage.web_searches,
            is_fast: usage.speed == "fast",
            is_us_only: usage.inference_geo.eq_ignore_ascii_case("us"),
            cost_usd: line.cost_usd.filter(|it| *it >= 0.0),
            cwd: name(&line.cwd).map(|it| shared(&mut self.cwd, it)),
            branch: line.git_branch.as_deref().map(|it| shared(&mut self.branch, it)),
            agent: self.facts.agent.clone(),
        };
        if is_better {
            self.entries.pop();
        }
        // A line has more bytes than entries, so these offsets are never those of another line.
        let mut offsets = offset..;
        for ((n, advice), offset) in usage.advice.iter().zip(&mut offsets) {
            let Some(tokens) = advice.tokens() else { continue };
            let advice = Entry {
                // All lines of the reply repeat the advice, so it needs an id of its own.
                id: reply.id.part(*n),
                model: (*advice.model).into(),
                tokens,
                n_web_searches: advice.web_searches,
                is_fast: advice.speed == "fast",
                cost_usd: None,
                ..reply.clone()
            };
            self.entries.push((offset, advice));
        }
        self.entries.push((offsets.next().unwrap_or(offset), reply));
        is_sound
    }

    /// What identifies the reply that a line states.
    fn reply_id(
        &mut self,
        line: &Line<'_>,
        message: &LineMessage<'_>,
        at_ms: i64,
        tokens: EntryTokens,
    ) -> ReplyId {
        let request = name(&line.request_id).map(Id::of);
        let message_id = name(&message.id).map(Id::of);
        if let Some(message) = message_id.filter(|it| it.is_global || request.is_some()) {
            return ReplyId::Api { message, request };
        }
        let statement = Statement {
            message: message_id,
            session: name(&line.session_id).unwrap_or_default(),
            uuid: name(&line.uuid),
            is_sidechain: line.is_sidechain == Some(true),
            at_ms,
            model: name(&message.model).unwrap_or_default(),
            tokens,
        };
        ReplyId::Lines(self.facts.replies.get_or_insert_default().add(&statement))
    }

    /// Remembers the text of a reply, if it has a visible one.
    fn remember_text(&mut self, at_ms: i64, content: &[u8]) {
        static TEXT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"text\""));
        // Most texts are soon replaced by the next line's. So where the text certainly begins with
        // a visible character, the content is only copied, and parsed by `finish` if it is the
        // last.
        let rest = content.strip_prefix(br#"[{"type":"text","text":""#);
        let first = rest.and_then(<[u8]>::first);
        if first.is_some_and(|it| it.is_ascii_graphic() && !matches!(it, b'"' | b'\\')) {
            let mut reply = match self.newest_text.take() {
                Some((_, NewestText::Reply(buffer))) => buffer,
                _ => Vec::new(),
            };
            reply.clear();
            reply.extend_from_slice(content);
            self.newest_text = Some((at_ms, NewestText::Reply(reply)));
        } else if TEXT.find(content).is_some()
            && let Some(content) = Content::read(content)
            && let Some(text) = content.last_visible_text()
        {
            self.newest_text = Some((at_ms, NewestText::Plain(text.to_owned())));
        }
    }
}

/// The limit that an error of the API says to be used up.
fn used_up(quota: &Quota<'_>) -> Option<Limits> {
    let resets_at_ms = quota.resets_at_ms.filter(|_| quota.status == "rejected")?;
    let limit = Some(Limit { used_percentage: 100.0, resets_at_ms, ..Limit::default() });
    match &*quota.kind {
        "five_hour" => Some(Limits { five_hour: limit, ..Limits::default() }),
        "seven_day" => Some(Limits { seven_day: limit, ..Limits::default() }),
        _ => None,
    }
}

/// The text of a field; `None` where it is empty or missing.
fn name<'a>(field: &'a Option<Text<'_>>) -> Option<&'a str> {
    field.as_deref().filter(|it| !it.is_empty())
}

/// A title; `None` where nothing in it is visible.
fn title(title: Option<Text<'_>>) -> Option<String> {
    title.filter(|it| has_visible(it)).map(Text::into_owned)
}

/// `name` as a shared string: `last` if it is equal, else a new one, which `last` becomes.
fn shared(last: &mut Arc<str>, name: &str) -> Arc<str> {
    if **last != *name {
        *last = name.into();
    }
    Arc::clone(last)
}

/// Whether a line of the reply `id` is of the same reply, in the same session, as `entry`.
fn is_same_reply(entry: &Entry, id: &ReplyId, line: &Line<'_>) -> bool {
    let is_same = match (&entry.id, id) {
        (ReplyId::Lines(before), ReplyId::Lines(now)) => now.starts_with(before),
        (before, now) => before == now,
    };
    is_same
        && entry.session.as_deref() == name(&line.session_id)
        && entry.is_sidechain == (line.is_sidechain == Some(true))
}

/// Sets a fact to the value in a line, if there is one in which something is visible. Allocates
/// only if it differs.
fn replace(fact: &mut Option<String>, value: Option<Text<'_>>) {
    if let Some(value) = value.filter(|it| has_visible(it))
        && fact.as_deref() != Some(&*value)
    {
        *fact = Some(value.into_owned());
    }
}

/// Whether a line is one of those in which the client keeps something for itself: requests as it
/// sent them, versions of files, its own counters. They are most of the bytes that 2.1.332 writes.
///
/// They begin with their kind, and conversations do not, so that a look at the first bytes
/// suffices. A line that states what was used is none: it may be a damaged one, in which a reply
/// follows the beginning of something else.
fn is_bookkeeping(line: &[u8]) -> bool {
    const READ: [&[u8]; 6] =
        [b"user", b"assistant", b"system", b"custom-title", b"ai-title", b"cost-state"];
    let Some(rest) = line.strip_prefix(br#"{"type":""#) else { return false };
    let Some(end) = memchr(b'"', &rest[..rest.len().min(64)]) else { return false };
    let kind = &rest[..end];
    !READ.contains(&kind) && USAGE.find(line).is_none()
}

/// How the kinds of lines begin that repeat what was sent to the model: `api-request-blob` has a
/// `message`, which is neither a prompt nor a reply.
const REQUEST: &[u8] = b"api-request";

static USAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Whether a line is the result of a tool. Such lines are most of a transcript's bytes and contain
/// nothing that we need, so they are not parsed.
///
/// Quotes within a JSON string are escaped. So wherever these bytes occur, they are a key or a
/// whole string. A reply may contain `"tool_result"`, but it also contains `"usage"`.
fn is_tool_result(line: &[u8]) -> bool {
    static TOOL_RESULT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"tool_result\""));
    USAGE.find(line).is_none() && TOOL_RESULT.find(line).is_some()
}

/// The part of a prompt that a person typed; `None` where the client wrote all of it.
///
/// The client encloses its own texts in tags. For a slash command that becomes a prompt,
/// `<command-message>` comes first; for one that the client carries out itself, like `/clear`,
/// `<command-name>` comes first.
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
    // Only the head of a long text is known, and the closing tag may be missing from it.
    Some(rest.split_once(close).map_or(rest, |(it, _)| it))
}
