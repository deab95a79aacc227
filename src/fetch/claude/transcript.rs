//! PURE. What a transcript says: facts of its session, and what was used.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::SeqAccess;
use unicode_segmentation::UnicodeSegmentation;

use super::lenient::{Field, Fits, Head, Object, Text, Time, head};
use crate::store::schema::Message;
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
pub(super) struct Usage<'a> {
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
    pub(super) fn context(&self) -> u64 {
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
pub(super) fn preview(text: &str) -> String {
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
