//! PURE. One line of a transcript, field by field.

use super::preview::has_visible;
use super::scan::{Scan, Text};
use crate::usage::entry::EntryTokens;

#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) kind: Text<'a>,
    pub(super) subtype: Text<'a>,
    pub(super) at_ms: Option<i64>,
    pub(super) session_id: Option<Text<'a>>,
    pub(super) cwd: Option<Text<'a>>,
    pub(super) git_branch: Option<Text<'a>>,
    /// The client's id of the line. Copies of the line have it too.
    pub(super) uuid: Option<Text<'a>>,
    pub(super) is_sidechain: Option<bool>,
    pub(super) is_meta: bool,
    pub(super) is_compact_summary: bool,
    pub(super) is_api_error_message: bool,
    pub(super) request_id: Option<Text<'a>>,
    pub(super) cost_usd: Option<f64>,
    /// What the client says that the session has cost so far.
    pub(super) total_cost_usd: Option<f64>,
    pub(super) custom_title: Option<Text<'a>>,
    pub(super) ai_title: Option<Text<'a>>,
    /// What an error of the API says of a limit that is used up.
    pub(super) quota: Quota<'a>,
    pub(super) message: LineMessage<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Quota<'a> {
    pub(super) status: Text<'a>,
    /// The name of the limit, as in the client's report: `five_hour`, `seven_day`, …
    pub(super) kind: Text<'a>,
    pub(super) resets_at_ms: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct LineMessage<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    /// Raw JSON: most of a reply's bytes, and parsed only where its text is needed.
    pub(super) content: Option<&'a [u8]>,
    pub(super) stop_reason: Text<'a>,
    pub(super) usage: Option<Usage<'a>>,
}

/// The tokens that a reply used, or one iteration within it.
#[derive(Debug, Default)]
pub(super) struct Usage<'a> {
    pub(super) kind: Text<'a>,
    pub(super) model: Text<'a>,
    /// `None` where there is no such key.
    pub(super) input_tokens: Option<u64>,
    /// `None` where there is no such key.
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_creation_input_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    /// The part of `cache_creation_input_tokens` that was written for five minutes.
    pub(super) cache_write_5m: u64,
    /// The part of `cache_creation_input_tokens` that was written for one hour.
    pub(super) cache_write_1h: u64,
    pub(super) web_searches: u64,
    pub(super) speed: Text<'a>,
    pub(super) inference_geo: Text<'a>,
    /// The iterations in which another model was asked for advice, each with its index.
    pub(super) advice: Vec<(usize, Usage<'a>)>,
    /// Whether a count was larger than [`MAX_TOKENS`], and was therefore read as 0.
    pub(super) is_impossible: bool,
}

/// The most tokens of one kind that a reply can have. No model has a context of this size, so a
/// larger count is an error of the program that wrote it.
const MAX_TOKENS: u64 = 100_000_000;

impl<'a> Line<'a> {
    /// `None` where `json` is not one JSON object.
    pub(super) fn read(json: &'a [u8]) -> Option<Line<'a>> {
        let mut line = Line::default();
        let mut scan = Scan::new(json);
        let is_object = scan.object(|scan, key| {
            match key {
                b"type" => line.kind = scan.text()?.unwrap_or_default(),
                b"subtype" => line.subtype = scan.text()?.unwrap_or_default(),
                b"timestamp" => line.at_ms = scan.instant_ms()?,
                b"sessionId" => line.session_id = scan.text()?,
                b"cwd" => line.cwd = scan.text()?,
                b"gitBranch" => line.git_branch = scan.text()?,
                b"uuid" => line.uuid = scan.text()?,
                b"isSidechain" => line.is_sidechain = scan.flag()?,
                b"isMeta" => line.is_meta = scan.flag()? == Some(true),
                b"isCompactSummary" => line.is_compact_summary = scan.flag()? == Some(true),
                b"isApiErrorMessage" => line.is_api_error_message = scan.flag()? == Some(true),
                b"requestId" => line.request_id = scan.text()?,
                b"costUSD" => line.cost_usd = scan.real()?,
                b"totalCostUSD" => line.total_cost_usd = scan.real()?,
                b"customTitle" => line.custom_title = scan.text()?,
                b"aiTitle" => line.ai_title = scan.text()?,
                b"quotaLimits" => line.quota = Quota::read(scan)?,
                b"message" => line.message = LineMessage::read(scan)?,
                _ => scan.skip()?,
            }
            Some(())
        })?;
        (is_object && scan.rest().is_empty()).then_some(line)
    }

    /// The length of the object with which `json` begins, `None` where it has no end, and how many
    /// bytes were read to find out.
    pub(super) fn extent(json: &[u8]) -> (Option<usize>, usize) {
        let mut scan = Scan::new(json);
        let is_whole = scan.object(|scan, _| scan.skip()) == Some(true);
        let n_read = json.len() - scan.rest().len();
        (is_whole.then_some(n_read), n_read)
    }

    /// Whether it is what a client writes as a line of its own, rather than a part of such a line.
    pub(super) fn is_record(&self) -> bool {
        self.at_ms.is_some() || self.session_id.is_some()
    }
}

impl<'a> Quota<'a> {
    fn read(scan: &mut Scan<'a>) -> Option<Quota<'a>> {
        let mut quota = Quota::default();
        scan.fields(|scan, key| {
            match key {
                b"status" => quota.status = scan.text()?.unwrap_or_default(),
                b"rateLimitType" => quota.kind = scan.text()?.unwrap_or_default(),
                b"resetsAt" => quota.resets_at_ms = scan.moment_ms()?,
                _ => scan.skip()?,
            }
            Some(())
        })?;
        Some(quota)
    }
}

impl<'a> LineMessage<'a> {
    fn read(scan: &mut Scan<'a>) -> Option<LineMessage<'a>> {
        let mut message = LineMessage::default();
        scan.fields(|scan, key| {
            match key {
                b"id" => message.id = scan.text()?,
                b"model" => message.model = scan.text()?,
                b"content" => message.content = Some(scan.raw()?),
                b"stop_reason" => message.stop_reason = scan.text()?.unwrap_or_default(),
                b"usage" => message.usage = Usage::read(scan)?,
                _ => scan.skip()?,
            }
            Some(())
        })?;
        Some(message)
    }
}

impl<'a> Usage<'a> {
    pub(super) fn read(scan: &mut Scan<'a>) -> Option<Option<Usage<'a>>> {
        let mut usage = Usage::default();
        let is_object = scan.object(|scan, key| {
            match key {
                b"iterations" => usage.advice = Usage::read_advice(scan)?,
                _ => usage.read_field(scan, key)?,
            }
            Some(())
        })?;
        Some(is_object.then_some(usage))
    }

    /// Reads the list of iterations. Iterations are not nested.
    fn read_advice(scan: &mut Scan<'a>) -> Option<Vec<(usize, Usage<'a>)>> {
        let mut advice = Vec::new();
        let mut n = 0;
        scan.list(|scan| {
            let mut usage = Usage::default();
            scan.fields(|scan, key| usage.read_field(scan, key))?;
            if usage.kind == "advisor_message" {
                advice.push((n, usage));
            }
            n += 1;
            Some(())
        })?;
        Some(advice)
    }

    fn read_field(&mut self, scan: &mut Scan<'a>, key: &[u8]) -> Option<()> {
        match key {
            b"type" => self.kind = scan.text()?.unwrap_or_default(),
            b"model" => self.model = scan.text()?.unwrap_or_default(),
            b"input_tokens" => self.input_tokens = Some(self.count(scan)?),
            b"output_tokens" => self.output_tokens = Some(self.count(scan)?),
            b"cache_creation_input_tokens" => {
                self.cache_creation_input_tokens = self.count(scan)?
            }
            b"cache_read_input_tokens" => self.cache_read_input_tokens = self.count(scan)?,
            b"cache_creation" => {
                scan.fields(|scan, key| {
                    match key {
                        b"ephemeral_5m_input_tokens" => self.cache_write_5m = self.count(scan)?,
                        b"ephemeral_1h_input_tokens" => self.cache_write_1h = self.count(scan)?,
                        _ => scan.skip()?,
                    }
                    Some(())
                })?;
            }
            b"server_tool_use" => {
                scan.fields(|scan, key| {
                    match key {
                        b"web_search_requests" => self.web_searches = self.count(scan)?,
                        _ => scan.skip()?,
                    }
                    Some(())
                })?;
            }
            b"speed" => self.speed = scan.text()?.unwrap_or_default(),
            b"inference_geo" => self.inference_geo = scan.text()?.unwrap_or_default(),
            _ => scan.skip()?,
        }
        Some(())
    }

    /// Reads a count. What is no count is read as 0: the other counts are still true.
    fn count(&mut self, scan: &mut Scan<'a>) -> Option<u64> {
        let count = scan.count()?.unwrap_or(0);
        self.is_impossible |= count > MAX_TOKENS;
        Some(if count > MAX_TOKENS { 0 } else { count })
    }
}

impl Usage<'_> {
    /// `None` where input or output is not stated at all: then it is no reply of the API.
    pub(super) fn tokens(&self) -> Option<EntryTokens> {
        // Gateways state no breakdown, or only a part of it. The client bills the rest as writes
        // for five minutes, which is what a request gets that does not say otherwise.
        let broken_down = self.cache_write_5m + self.cache_write_1h;
        let rest = self.cache_creation_input_tokens.saturating_sub(broken_down);
        Some(EntryTokens {
            input: self.input_tokens?,
            output: self.output_tokens?,
            cache_write_5m: self.cache_write_5m + rest,
            cache_write_1h: self.cache_write_1h,
            cache_read: self.cache_read_input_tokens,
        })
    }

    /// Tokens in the context, as the client counts them: all input, without the output. `None`
    /// where a count cannot be true.
    pub(super) fn context(&self) -> Option<u64> {
        let input = self.input_tokens.unwrap_or(0);
        let all = input + self.cache_creation_input_tokens + self.cache_read_input_tokens;
        (!self.is_impossible).then_some(all)
    }
}

/// The content of a message.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub(super) texts: Vec<Text<'a>>,
    pub(super) has_tool_result: bool,
}

impl<'a> Content<'a> {
    /// `None` where `json` is neither a string nor a list of blocks.
    pub(super) fn read(json: &'a [u8]) -> Option<Content<'a>> {
        let mut scan = Scan::new(json);
        let mut content = Content::default();
        match json.first()? {
            b'"' => content.texts.extend(scan.string()?.map(head)),
            b'[' => scan.list(|scan| content.read_block(scan))?,
            _ => return None,
        }
        Some(content)
    }

    fn read_block(&mut self, scan: &mut Scan<'a>) -> Option<()> {
        let mut kind = Text::default();
        let mut text = None;
        scan.fields(|scan, key| {
            match key {
                b"type" => kind = scan.text()?.unwrap_or_default(),
                b"text" => text = scan.string()?.map(head),
                _ => scan.skip()?,
            }
            Some(())
        })?;
        match &*kind {
            "text" => self.texts.extend(text),
            "tool_result" => self.has_tool_result = true,
            _ => {}
        }
        Some(())
    }

    /// The last text that has a visible character.
    pub(super) fn last_visible_text(&self) -> Option<&str> {
        self.texts.iter().map(|it| &**it).rfind(|it| has_visible(it))
    }
}

/// The first 512 bytes of a text, which suffice for a preview.
fn head(text: Text<'_>) -> Text<'_> {
    let mut end = text.len().min(512);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match text {
        Text::Borrowed(text) => Text::Borrowed(&text[..end]),
        Text::Owned(mut text) => {
            text.truncate(end);
            Text::Owned(text)
        }
    }
}
