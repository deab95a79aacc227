//! PURE. What a transcript says: facts of its session, and what was used.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;

use super::line::{Content, Line, LineMessage};
use super::preview::{has_visible, preview};
use super::scan::Text;
use crate::store::schema::Message;
use crate::usage::entry::{Entry, Id};

/// What one transcript says, folded line by line.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TranscriptFacts {
    /// The session that its lines name; the first one, where they name several.
    pub session: Option<String>,
    /// Whether it is a subagent's. Lines of the other kind of chain add entries and nothing else.
    pub is_sidechain: Option<bool>,
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
        for it in self.times() {
            *it = (*it).min(now_ms);
        }
        self
    }

    /// Every time among them.
    pub fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        let times = [&mut self.context_as_of_ms, &mut self.last_reply_ms, &mut self.last_line_ms];
        let said = self.last_message.as_mut().map(|it| &mut it.at_ms);
        times.into_iter().flatten().chain(said)
    }

    /// Drops the text of the last message. Says whether there was any.
    pub fn forget_message(&mut self) -> bool {
        self.last_message.as_mut().is_some_and(|it| it.preview.take().is_some())
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
    said: Option<(i64, Said)>,
    /// What the last entry names. Most name the same.
    session: Arc<str>,
    model: Arc<str>,
}

#[derive(Debug)]
enum Said {
    Text(String),
    /// The content of a reply, which has a visible text, as it stands in the line.
    Reply(Vec<u8>),
}

impl Fold {
    /// Goes on from what the lines before said.
    pub fn on(facts: TranscriptFacts) -> Fold {
        let (session, model) = Default::default();
        Fold { facts, entries: Vec::new(), said: None, session, model }
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
        match Line::read(line) {
            Some(line) => self.fold(offset, line),
            None => self.facts.skipped_lines += 1,
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
        if let Some((at_ms, said)) = self.said {
            let preview = match &said {
                Said::Text(text) => Some(preview(text)),
                Said::Reply(content) => {
                    Content::read(content).and_then(|it| it.said().map(preview))
                }
            };
            self.facts.last_message = Some(Message { at_ms, preview });
        }
        (self.entries, self.facts)
    }
}

impl Fold {
    fn fold(&mut self, offset: u64, mut line: Line<'_>) {
        let message = std::mem::take(&mut line.message);
        self.count(offset, &line, &message);

        let facts = &mut self.facts;
        facts.last_line_ms = facts.last_line_ms.max(line.at_ms);
        if facts.session.is_none() {
            facts.session = line.session_id.take().map(Text::into_owned);
        }
        facts.is_sidechain = facts.is_sidechain.or(line.is_sidechain);
        if line.is_sidechain.unwrap_or(false) != facts.is_sidechain.unwrap_or(false) {
            return;
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
            "system" if line.subtype == "turn_duration" => facts.turn_open = false,
            "custom-title" => facts.custom_title = line.custom_title.map(Text::into_owned),
            "ai-title" => facts.ai_title = line.ai_title.map(Text::into_owned),
            _ => {}
        }
    }

    fn fold_prompt(&mut self, line: &Line<'_>, message: &LineMessage<'_>) {
        let Some(content) = message.content.and_then(Content::read) else { return };
        if content.texts.iter().any(|it| it.starts_with("[Request interrupted by user")) {
            self.facts.turn_open = false;
            return;
        }
        if line.is_meta || line.is_compact_summary || content.has_tool_result {
            return;
        }
        // Editors put what they know before what the person wrote.
        let Some(typed) = content.texts.iter().rev().find_map(|it| typed(it)) else { return };
        self.facts.turn_open = true;
        // A subagent's prompts are its session's, not a person's.
        self.facts.turns += u64::from(line.is_sidechain != Some(true));
        if let Some(at_ms) = line.at_ms.filter(|_| has_visible(&typed)) {
            self.said = Some((at_ms, Said::Text(typed.into_owned())));
        }
    }

    fn fold_reply(&mut self, line: &Line<'_>, message: LineMessage<'_>) {
        if let Some((at_ms, content)) = line.at_ms.zip(message.content) {
            self.say(at_ms, content);
        }
        let facts = &mut self.facts;
        facts.turn_open = !line.is_api_error_message
            && matches!(&*message.stop_reason, "" | "tool_use" | "pause_turn");
        if line.is_api_error_message || message.model.as_deref() == Some("<synthetic>") {
            return;
        }
        replace(&mut facts.model, message.model);
        facts.last_reply_ms = facts.last_reply_ms.max(line.at_ms);
        if let Some(usage) = &message.usage {
            facts.context_tokens = Some(usage.context());
            facts.context_as_of_ms = line.at_ms;
        }
    }

    /// Counts a reply, and what other models were asked while it was made.
    fn count(&mut self, offset: u64, line: &Line<'_>, message: &LineMessage<'_>) {
        let (Some(at_ms), Some(usage)) = (line.at_ms, &message.usage) else { return };
        let Some(tokens) = usage.tokens() else { return };
        // A reply's lines follow each other, and state more and more of what it used.
        let before = self.entries.last().map(|(_, it)| it);
        let before = before.filter(|it| is_told_again(it, line, message));
        if usage.advice.is_empty() && before.is_some_and(|it| tokens.all() <= it.tokens.all()) {
            return;
        }
        let is_better = before.is_some_and(|it| tokens.all() > it.tokens.all());
        let reply = Entry {
            at_ms,
            message: name(&message.id).map(Id::of),
            request: name(&line.request_id).map(Id::of),
            session: name(&line.session_id).map(|it| shared(&mut self.session, it)),
            is_sidechain: line.is_sidechain == Some(true),
            model: shared(&mut self.model, message.model.as_deref().unwrap_or_default()),
            tokens,
            n_web_searches: usage.web_searches,
            is_fast: usage.speed == "fast",
            is_us_only: usage.inference_geo.eq_ignore_ascii_case("us"),
            cost_usd: line.cost_usd.filter(|it| *it >= 0.0),
        };
        if is_better {
            self.entries.pop();
        }
        // A line is longer than it has entries, so that their places are never another line's.
        let mut places = offset..;
        for ((n, advice), place) in usage.advice.iter().zip(&mut places) {
            let Some(tokens) = advice.tokens() else { continue };
            let advice = Entry {
                // The reply's lines all repeat it, so it needs a name of its own.
                message: reply.message.map(|it| it.part(*n)),
                model: (*advice.model).into(),
                tokens,
                n_web_searches: advice.web_searches,
                is_fast: advice.speed == "fast",
                cost_usd: None,
                ..reply.clone()
            };
            self.entries.push((place, advice));
        }
        self.entries.push((places.next().unwrap_or(offset), reply));
    }

    /// Remembers what a reply says, if it says something.
    fn say(&mut self, at_ms: i64, content: &[u8]) {
        static TEXT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"text\""));
        // As a rule the line after has another text, and this one need not be taken apart.
        let rest = content.strip_prefix(br#"[{"type":"text","text":""#);
        let first = rest.and_then(<[u8]>::first);
        if first.is_some_and(|it| it.is_ascii_graphic() && !matches!(it, b'"' | b'\\')) {
            let mut reply = match self.said.take() {
                Some((_, Said::Reply(it))) => it,
                _ => Vec::new(),
            };
            reply.clear();
            reply.extend_from_slice(content);
            self.said = Some((at_ms, Said::Reply(reply)));
        } else if TEXT.find(content).is_some()
            && let Some(content) = Content::read(content)
            && let Some(text) = content.said()
        {
            self.said = Some((at_ms, Said::Text(text.to_owned())));
        }
    }
}

/// A name that says something.
fn name<'a>(it: &'a Option<Text<'_>>) -> Option<&'a str> {
    it.as_deref().filter(|it| !it.is_empty())
}

/// `name`, as `last` already has it.
fn shared(last: &mut Arc<str>, name: &str) -> Arc<str> {
    if **last != *name {
        *last = name.into();
    }
    Arc::clone(last)
}

/// Whether a line tells of the same reply to the same session.
fn is_told_again(entry: &Entry, line: &Line<'_>, message: &LineMessage<'_>) -> bool {
    entry.message.is_some()
        && entry.message == name(&message.id).map(Id::of)
        && entry.request == name(&line.request_id).map(Id::of)
        && entry.session.as_deref() == name(&line.session_id)
        && entry.is_sidechain == (line.is_sidechain == Some(true))
}

/// Takes over what a line says. Most lines say what the one before said.
fn replace(fact: &mut Option<String>, said: Option<Text<'_>>) {
    if let Some(it) = said
        && fact.as_deref() != Some(&*it)
    {
        *fact = Some(it.into_owned());
    }
}

/// Tool results are most of a transcript's bytes and say nothing that we want.
///
/// Within a JSON string a quote is escaped, so these bytes are a key or a whole string wherever they
/// are found. A reply may hold the one, but it holds the other too.
fn is_tool_result(line: &[u8]) -> bool {
    static TOOL_RESULT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"tool_result\""));
    static USAGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    USAGE.find(line).is_none() && TOOL_RESULT.find(line).is_some()
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
