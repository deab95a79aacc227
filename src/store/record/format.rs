//! PURE. The lines of the record's files: JSON, one object per line.
//!
//! The first line of each file is its [`Header`]. Fields that a reader does not know are skipped,
//! and those that a file lacks have their default, so that a later version may add some. Whatever
//! changes what a known field means needs another [`FORMAT`].

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::usage::blocks::SlotKey;
use crate::usage::entry::EntryTokens;
use crate::usage::history::{Group, Quarter, is_default};
use crate::usage::prices::Picodollars;
use crate::usage::reply::{CopyId, Reply};

/// The number of this format.
pub const FORMAT: u32 = 1;

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What one config root used in one month.
    #[default]
    History,
    /// Replies that are not in the files of their months yet.
    Journal,
}

/// The first line of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    pub ccstatusd: Kind,
    pub format: u32,
    /// The config root whose usage a month has; empty in a journal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// When a reply was last added to the month, in Unix milliseconds; 0 in a journal.
    #[serde(skip_serializing_if = "is_default")]
    pub changed_ms: i64,
    /// How many replies the second part has, each with all that is known of it.
    #[serde(skip_serializing_if = "is_default")]
    pub open: usize,
}

/// A line with the sums of one group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SumsLine {
    /// Whether these are the sums of the replies that follow in the same file; the others are of
    /// replies of which only the ids are kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: bool,
    pub group: Arc<Group>,
    pub quarters: Vec<QuarterRow>,
}

/// The start of the quarter of an hour in Unix seconds; when the first reply and the last one were
/// made, in milliseconds after that; replies; input, output, 5-minute writes, 1-hour writes and
/// reads of the cache in tokens; web searches; stated costs in picodollars.
pub type QuarterRow = (i64, i64, i64, u64, u64, u64, u64, u64, u64, u64, i64);

/// The row of the sums in one slot.
pub fn quarter_row(slot: SlotKey, sum: &Quarter) -> QuarterRow {
    let start_ms = slot.quarter_ms();
    let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = sum.tokens;
    (
        start_ms / 1000,
        sum.first_ms - start_ms,
        sum.last_ms - start_ms,
        sum.n_replies,
        input,
        output,
        cache_write_5m,
        cache_write_1h,
        cache_read,
        sum.n_web_searches,
        sum.stated,
    )
}

/// The sums in a row. `None` where its times cannot be.
pub fn quarter(row: &QuarterRow) -> Option<(SlotKey, Quarter)> {
    let &(
        start_s,
        first,
        last,
        n_replies,
        input,
        output,
        write_5m,
        write_1h,
        read,
        searches,
        stated,
    ) = row;
    let start_ms = start_s.checked_mul(1000)?;
    let tokens = EntryTokens {
        input,
        output,
        cache_write_5m: write_5m,
        cache_write_1h: write_1h,
        cache_read: read,
    };
    let first_ms = start_ms.checked_add(first)?;
    let last_ms = start_ms.checked_add(last)?;
    let n_web_searches = searches;
    let quarter = Quarter { n_replies, first_ms, last_ms, tokens, n_web_searches, stated };
    Some((SlotKey::of(first_ms), quarter))
}

/// The text of an id. It borrows from the line that it was read from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

/// A line with replies of one group in one transcript.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RepliesLine<'a> {
    /// The config root; absent in the file of a month, which is of one root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root: String,
    pub file: Arc<str>,
    pub group: Arc<Group>,
    #[serde(borrow)]
    pub replies: Vec<ReplyRow<'a>>,
}

/// The id; the time in Unix milliseconds; the offset in the transcript; 1 for a subagent's reply,
/// else 0, and 2 more if it does not count; input, output, 5-minute writes, 1-hour writes and reads
/// of the cache in tokens; web searches; the stated cost in picodollars; the time of the copy whose
/// place this one took, or 0.
pub type ReplyRow<'a> = (Id<'a>, i64, u64, u8, u64, u64, u64, u64, u64, u64, Picodollars, i64);

/// The row of a reply.
pub fn reply_row(reply: &Reply, is_elected: bool, instead_of_ms: Option<i64>) -> ReplyRow<'static> {
    let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = reply.tokens;
    (
        Id(id_text(&reply.id).into()),
        reply.at_ms,
        reply.offset,
        u8::from(reply.is_sidechain) + 2 * u8::from(!is_elected),
        input,
        output,
        cache_write_5m,
        cache_write_1h,
        cache_read,
        reply.n_web_searches,
        reply.stated,
        instead_of_ms.unwrap_or(0),
    )
}

/// A reply that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub reply: Reply,
    pub is_elected: bool,
    /// The time of the copy whose place it took, in Unix milliseconds.
    pub instead_of_ms: Option<i64>,
}

/// The reply in a row of a line. `None` where its id is none.
pub fn stored(line: &RepliesLine<'_>, row: &ReplyRow<'_>) -> Option<Stored> {
    let (id, at_ms, offset, flags, input, output, write_5m, write_1h, read, searches, stated, was) =
        row;
    let tokens = EntryTokens {
        input: *input,
        output: *output,
        cache_write_5m: *write_5m,
        cache_write_1h: *write_1h,
        cache_read: *read,
    };
    let reply = Reply {
        id: id_of(&id.0)?,
        group: Arc::clone(&line.group),
        file: Arc::clone(&line.file),
        offset: *offset,
        at_ms: *at_ms,
        is_sidechain: flags & 1 != 0,
        tokens: tokens.bounded(),
        n_web_searches: *searches,
        stated: *stated,
    };
    Some(Stored { reply, is_elected: flags & 2 == 0, instead_of_ms: (*was != 0).then_some(*was) })
}

/// `<message>.<request>`, or the hashes of the lines with commas between them; all in hexadecimal
/// digits.
fn id_text(id: &CopyId) -> String {
    match id {
        CopyId::Api { message, request } => format!("{message:016x}.{request:08x}"),
        CopyId::Lines(lines) => {
            let lines: Vec<String> = lines.iter().map(|it| format!("{it:016x}")).collect();
            lines.join(",")
        }
    }
}

fn id_of(text: &str) -> Option<CopyId> {
    if let Some((message, request)) = text.split_once('.') {
        let message = u64::from_str_radix(message, 16).ok()?;
        return Some(CopyId::Api { message, request: u32::from_str_radix(request, 16).ok()? });
    }
    let lines = text.split(',').map(|it| u64::from_str_radix(it, 16).ok());
    lines.collect::<Option<_>>().map(CopyId::Lines)
}

/// A line with what the client said that sessions had cost: the session's id, when it said so in
/// Unix milliseconds, and the cost in picodollars.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientLine {
    /// The config root; absent in the file of a month.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root: String,
    pub client: Vec<(Arc<str>, i64, Picodollars)>,
}

/// A line with the ids of replies of which nothing else is known any more: [`SHORT_DIGITS`]
/// hexadecimal digits each, one after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IdsLine {
    /// One text for each quarter of an hour in the sums that these are the ids of.
    pub ids: Vec<String>,
    /// Which of the lines with sums that is, those of open replies left out; absent for replies
    /// that do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
}

/// How many digits of an id are kept. A month of heavy use has some 20,000 replies, so that one in
/// 50 million new ones is taken for one of them.
pub const SHORT_DIGITS: usize = 10;

/// The short forms of an id: one for the API's ids, one for each line else.
pub fn short_ids(id: &CopyId) -> Vec<u64> {
    let short = |it: u64| it >> (64 - 4 * SHORT_DIGITS);
    match id {
        // Spreads the bits of the request over those that are kept.
        CopyId::Api { message, request } => {
            vec![short(message ^ u64::from(*request).wrapping_mul(0x9e37_79b9_7f4a_7c15))]
        }
        CopyId::Lines(lines) => lines.iter().map(|it| short(*it)).collect(),
    }
}

/// The last line of each of the two parts of a month: a hash of the bytes of that part before it,
/// in hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndLine {
    pub checksum: String,
}
