//! PURE. What one config root used in one month, as it lies in its file.
//!
//! A month is open at first: its file has every reply with all that is known of it, so that a
//! better copy can take the place of one, and the sums of these. Once it is old and nothing was
//! added to it for long, it is closed: the sums stay, and of each reply an id, by which a copy that
//! turns up later is recognised. A closed month can get open replies again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hasher;
use std::io::Write;
use std::sync::Arc;

use memchr::memchr;
use serde::Deserialize;
use siphasher::sip::SipHasher13;

use super::format::{
    ClientLine, EndLine, FORMAT, Header, IdsLine, Kind, RepliesLine, SHORT_DIGITS, Stored,
    SumsLine, quarter, quarter_row, reply_row, short_ids, stored,
};
use crate::usage::blocks::SlotKey;
use crate::usage::history::{ClientCosts, Group, GroupSums};
use crate::usage::prices::Picodollars;
use crate::usage::reply::Reply;

/// What one config root used in one month.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Month {
    /// The config root, as text.
    pub root: String,
    /// When a reply was last added, in Unix milliseconds.
    pub changed_ms: i64,
    /// Sums over replies of which only ids are kept.
    closed: GroupSums,
    /// Their ids, see [`short_ids`].
    ids: BTreeSet<u64>,
    /// The other replies, each with whether it counts.
    pub open: Vec<(Reply, bool)>,
    /// What the client said in this month that sessions had cost.
    pub client_costs: ClientCosts,
}

/// Why a file cannot be read as a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It was written in a format that this version does not know.
    Format(u32),
    Damaged(&'static str),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Format(format) => {
                write!(f, "it has format {format}, which a newer version of ccstatusd wrote")
            }
            Unreadable::Damaged(what) => write!(f, "it is damaged: {what}"),
        }
    }
}

/// Whether the file of a month may have a reply with one of these hashes of the API's ids of
/// messages. It does not parse the lines.
pub fn may_have(bytes: &[u8], messages: &HashSet<u64>) -> bool {
    // Of replies whose ids alone are kept, the ids are too short to tell.
    if memchr::memmem::find(bytes, br#"{"ids""#).is_some() {
        return true;
    }
    // Each row of a reply begins with its id.
    memchr::memmem::find_iter(bytes, br#"[""#).any(|start| {
        let id = bytes.get(start + 2..start + 18).and_then(|it| std::str::from_utf8(it).ok());
        let id = id.and_then(|it| u64::from_str_radix(it, 16).ok());
        id.is_some_and(|it| messages.contains(&it))
    })
}

impl Month {
    /// Whether the month has this reply, and only its id is kept.
    pub fn is_closed_reply(&self, reply: &Reply) -> bool {
        !self.ids.is_empty() && short_ids(&reply.id).iter().any(|id| self.ids.contains(id))
    }

    /// All sums.
    pub fn sums(&self) -> GroupSums {
        let mut sums = self.closed.clone();
        add_replies(&mut sums, &self.open);
        sums
    }

    /// Keeps of each reply only its part of the sums and its id.
    pub fn close(&mut self) {
        add_replies(&mut self.closed, &self.open);
        for (reply, _) in self.open.drain(..) {
            self.ids.extend(short_ids(&reply.id));
        }
    }

    /// Reads a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Month, Unreadable> {
        let (header, mut lines) = checked(bytes)?;
        let mut month =
            Month { root: header.root, changed_ms: header.changed_ms, ..Month::default() };
        for line in lines.by_ref().take(header.groups) {
            let line: SumsLine = parse(line)?;
            if !line.open {
                add_line(&mut month.closed, &line)?;
            }
        }
        for line in lines {
            if line.starts_with(br#"{"ids""#) {
                let IdsLine { ids } = parse(line)?;
                month.ids = short_list(&ids).ok_or(Unreadable::Damaged("an id is not one"))?;
                continue;
            }
            if line.starts_with(br#"{"client""#) {
                add_client_costs(&mut month.client_costs, parse::<ClientLine>(line)?.client);
                continue;
            }
            let line: RepliesLine<'_> = parse(line)?;
            for row in &line.replies {
                let Stored { reply, is_elected, .. } =
                    stored(&line, row).ok_or(Unreadable::Damaged("an id is not one"))?;
                month.open.push((reply, is_elected));
            }
        }
        Ok(month)
    }

    /// Reads what comes first in a file: the sums, and what the client said.
    pub fn parse_sums(bytes: &[u8]) -> Result<(GroupSums, ClientCosts), Unreadable> {
        let (header, mut lines) = checked(bytes)?;
        let mut sums = GroupSums::new();
        for line in lines.by_ref().take(header.groups) {
            add_line(&mut sums, &parse(line)?)?;
        }
        let mut client_costs = ClientCosts::new();
        if let Some(line) = lines.next().filter(|line| line.starts_with(br#"{"client""#)) {
            add_client_costs(&mut client_costs, parse::<ClientLine>(line)?.client);
        }
        Ok((sums, client_costs))
    }

    /// The file.
    pub fn render(&self) -> Vec<u8> {
        let mut open = GroupSums::new();
        add_replies(&mut open, &self.open);
        let header = Header {
            ccstatusd: Kind::History,
            format: FORMAT,
            root: self.root.clone(),
            changed_ms: self.changed_ms,
            groups: self.closed.len() + open.len(),
            open: self.open.len(),
        };
        let mut out = Vec::new();
        write_line(&mut out, &header);
        for (is_open, sums) in [(false, &self.closed), (true, &open)] {
            for (group, quarters) in sums {
                let quarters = quarters.iter().map(|(slot, it)| quarter_row(*slot, it)).collect();
                write_line(
                    &mut out,
                    &SumsLine { open: is_open, group: Arc::clone(group), quarters },
                );
            }
        }
        write_client_costs(&mut out, "", &self.client_costs);
        if !self.ids.is_empty() {
            let ids = self.ids.iter().map(|id| format!("{id:0SHORT_DIGITS$x}")).collect();
            write_line(&mut out, &IdsLine { ids });
        }
        write_replies(
            &mut out,
            "",
            self.open.iter().map(|(reply, is_elected)| (reply, *is_elected, None)),
        );
        let end = EndLine { checksum: checksum(&out) };
        write_line(&mut out, &end);
        out
    }
}

/// Appends lines with these replies, each with whether it counts and the time of the copy whose
/// place it took. Replies of one group in one transcript share a line if they follow each other.
pub fn write_replies<'a>(
    out: &mut Vec<u8>,
    root: &str,
    replies: impl Iterator<Item = (&'a Reply, bool, Option<i64>)>,
) {
    let mut line: Option<RepliesLine<'_>> = None;
    for (reply, is_elected, instead_of_ms) in replies {
        let is_same =
            line.as_ref().is_some_and(|line| line.file == reply.file && line.group == reply.group);
        if !is_same && let Some(full) = line.take() {
            write_line(out, &full);
        }
        let line = line.get_or_insert_with(|| RepliesLine {
            root: root.to_owned(),
            file: Arc::clone(&reply.file),
            group: Arc::clone(&reply.group),
            replies: Vec::new(),
        });
        line.replies.push(reply_row(reply, is_elected, instead_of_ms));
    }
    if let Some(line) = line {
        write_line(out, &line);
    }
}

/// Appends a line with what the client said that sessions had cost, if it said anything.
pub fn write_client_costs(out: &mut Vec<u8>, root: &str, costs: &ClientCosts) {
    if !costs.is_empty() {
        let client = costs.iter().map(|(id, (at_ms, cost))| (Arc::clone(id), *at_ms, *cost));
        write_line(out, &ClientLine { root: root.to_owned(), client: client.collect() });
    }
}

/// Adds what the client said that sessions had cost. What it said last applies.
pub fn add_client_costs(
    costs: &mut ClientCosts,
    stated: impl IntoIterator<Item = (Arc<str>, i64, Picodollars)>,
) {
    for (session, at_ms, cost) in stated {
        let known = costs.entry(session).or_insert((at_ms, cost));
        *known = (*known).max((at_ms, cost));
    }
}

/// Appends a value as a line of JSON.
pub fn write_line(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(&mut *out, value).expect("the lines have no maps and no floats");
    out.write_all(b"\n").expect("a vector grows");
}

/// Adds those replies that count to the sums.
fn add_replies(sums: &mut GroupSums, replies: &[(Reply, bool)]) {
    for (reply, _) in replies.iter().filter(|(_, is_elected)| *is_elected) {
        // A lookup of a group that is there allocates nothing.
        if !sums.contains_key(&reply.group) {
            sums.insert(Arc::clone(&reply.group), BTreeMap::new());
        }
        let quarters = sums.get_mut(&reply.group).expect("it was inserted");
        quarters.entry(SlotKey::of(reply.at_ms)).or_default().add(&reply.quarter());
    }
}

fn add_line(sums: &mut GroupSums, line: &SumsLine) -> Result<(), Unreadable> {
    let group: &Arc<Group> = &line.group;
    let quarters = sums.entry(Arc::clone(group)).or_default();
    for row in &line.quarters {
        let (slot, sum) = quarter(row).ok_or(Unreadable::Damaged("a time is not one"))?;
        quarters.entry(slot).or_default().add(&sum);
    }
    Ok(())
}

/// The header, and the lines between it and the last one, whose checksum was compared.
fn checked(bytes: &[u8]) -> Result<(Header, impl Iterator<Item = &[u8]>), Unreadable> {
    let first = lines(bytes).next().ok_or(Unreadable::Damaged("it is empty"))?;
    let header: Header = parse(first)?;
    if header.format != FORMAT {
        return Err(Unreadable::Format(header.format));
    }
    let body = bytes.strip_suffix(b"\n").ok_or(Unreadable::Damaged("its end is missing"))?;
    let end = memchr::memrchr(b'\n', body).map_or(0, |it| it + 1);
    let EndLine { checksum: stated } =
        parse(&body[end..]).map_err(|_| Unreadable::Damaged("its end is missing"))?;
    if stated != checksum(&bytes[..end]) {
        return Err(Unreadable::Damaged("its checksum does not fit"));
    }
    Ok((header, lines(&bytes[..end]).skip(1)))
}

fn checksum(bytes: &[u8]) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    format!("{:016x}", hasher.finish())
}

/// The lines of a file, without their ends. What follows the last newline is no line.
pub fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line)
    })
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(line).map_err(|_| Unreadable::Damaged("a line is not what it must be"))
}

fn short_list(ids: &str) -> Option<BTreeSet<u64>> {
    let digits = ids.as_bytes().chunks(SHORT_DIGITS);
    digits.map(|it| u64::from_str_radix(str::from_utf8(it).ok()?, 16).ok()).collect()
}
