//! PURE. What one config root used in one month, as it lies in its file.
//!
//! The file has two parts, each of which ends with its checksum: the sums, which reports read, and
//! what is known of single replies.
//!
//! A month is open at first: its file has every reply with all that is known of it, so that a
//! better copy can take the place of one, and the sums of these. Once it is old and nothing was
//! added to it for long, it is closed: the sums stay, and of each reply an id, by which a copy that
//! turns up later is recognised. A closed month can get open replies again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hasher;
use std::io::{BufRead, Write};
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
    /// Their ids, see [`short_ids`]. A sum has none where they could not be read.
    closed_ids: BTreeMap<Arc<Group>, BTreeMap<SlotKey, BTreeSet<u64>>>,
    /// The ids of replies that do not count.
    other_ids: BTreeSet<u64>,
    /// All these ids.
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
    /// The system did not let it be read, which says nothing about what is in it.
    Refused(&'static str),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Format(format) => {
                write!(f, "it has format {format}, which a newer version of ccstatusd wrote")
            }
            Unreadable::Damaged(what) => write!(f, "it is damaged: {what}"),
            Unreadable::Refused(what) => f.write_str(what),
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
    /// A month without replies.
    pub fn new(root: &str, changed_ms: i64) -> Month {
        Month { root: root.to_owned(), changed_ms, ..Month::default() }
    }

    /// A month of which nothing but the sums is known.
    pub fn of_sums(
        root: &str,
        closed: GroupSums,
        client_costs: ClientCosts,
        changed_ms: i64,
    ) -> Month {
        Month { root: root.to_owned(), changed_ms, closed, client_costs, ..Month::default() }
    }

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
        for (reply, is_elected) in self.open.drain(..) {
            let ids = short_ids(&reply.id);
            self.ids.extend(&ids);
            if is_elected {
                let of_group = self.closed_ids.entry(Arc::clone(&reply.group)).or_default();
                of_group.entry(SlotKey::of(reply.at_ms)).or_default().extend(ids);
            } else {
                self.other_ids.extend(ids);
            }
        }
    }

    /// Adds the closed sums of the same month in the record of another machine, without the replies
    /// that this one knows. Returns whether anything is new.
    ///
    /// Where some replies of a sum are known and others are not, nobody knows what each of them
    /// used; as much is added as if all of them had used the same.
    pub fn merge_closed(&mut self, other: &Month) -> bool {
        let mut known = self.ids.clone();
        known.extend(self.open.iter().flat_map(|(reply, _)| short_ids(&reply.id)));
        let before = (known.len(), self.closed.len());
        let sums = other.closed.iter();
        for (group, slot, sum) in sums.flat_map(|(group, quarters)| {
            quarters.iter().map(move |(slot, sum)| (group, *slot, sum))
        }) {
            let of_slot = |ids: &BTreeMap<Arc<Group>, BTreeMap<SlotKey, BTreeSet<u64>>>| {
                ids.get(group).and_then(|it| it.get(&slot)).cloned()
            };
            let theirs = of_slot(&other.closed_ids).unwrap_or_default();
            let mine = of_slot(&self.closed_ids).unwrap_or_default();
            let n_new = theirs.difference(&known).count();
            let quarters = self.closed.entry(Arc::clone(group)).or_default();
            if theirs.is_empty() {
                // Nothing tells whether these are the same replies.
                quarters.entry(slot).or_insert(*sum);
                continue;
            }
            if n_new == 0 {
                continue;
            }
            if !mine.is_empty() && mine.is_subset(&theirs) && n_new + mine.len() == theirs.len() {
                quarters.insert(slot, *sum);
            } else {
                quarters.entry(slot).or_default().add(&sum.part(n_new, theirs.len()));
            }
            known.extend(&theirs);
            let ids = self.closed_ids.entry(Arc::clone(group)).or_default();
            ids.entry(slot).or_default().extend(theirs);
        }
        self.closed.retain(|_, quarters| !quarters.is_empty());
        self.other_ids.extend(other.other_ids.difference(&known).copied().collect::<Vec<_>>());
        self.ids.extend(&self.other_ids);
        self.ids.extend(known);
        (self.ids.len(), self.closed.len()) != before
    }

    /// Whether it has sums over replies of which only ids are kept.
    pub fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// A time in the month, in Unix milliseconds; `None` where it has nothing.
    pub fn some_ms(&self) -> Option<i64> {
        let closed = self.closed.values().find_map(|it| it.keys().next());
        closed.map(|it| it.quarter_ms()).or_else(|| Some(self.open.first()?.0.at_ms))
    }

    /// Reads a whole file.
    pub fn parse(mut bytes: &[u8]) -> Result<Month, Unreadable> {
        let month = Month::take(&mut bytes)?;
        match bytes {
            [] => Ok(month),
            _ => Err(Unreadable::Damaged("something follows its end")),
        }
    }

    /// Takes a month from the front: exports have several, one after the other.
    pub fn take(bytes: &mut &[u8]) -> Result<Month, Unreadable> {
        let first = part(bytes)?;
        let (header, sums, client_costs) = first_part(&first)?;
        let second = part(bytes)?;
        let mut month = Month {
            root: header.root,
            changed_ms: header.changed_ms,
            client_costs,
            ..Month::default()
        };
        for line in sums.iter().filter(|line| !line.open) {
            add_line(&mut month.closed, line)?;
        }
        for line in second {
            if line.starts_with(br#"{"ids""#) {
                let ids: IdsLine = parse(line)?;
                let sums = ids.of.and_then(|nth| sums.iter().filter(|it| !it.open).nth(nth));
                month.add_ids(&ids, sums).ok_or(Unreadable::Damaged("an id is not one"))?;
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

    /// Adds the ids of a line; `sums` are those that they belong to, if to any.
    fn add_ids(&mut self, line: &IdsLine, sums: Option<&SumsLine>) -> Option<()> {
        for (nth, text) in line.ids.iter().enumerate() {
            let ids = short_list(text)?;
            self.ids.extend(&ids);
            match sums {
                None => self.other_ids.extend(ids),
                Some(sums) => {
                    let (slot, _) = quarter(sums.quarters.get(nth)?)?;
                    let of_group = self.closed_ids.entry(Arc::clone(&sums.group)).or_default();
                    of_group.entry(slot).or_default().extend(ids);
                }
            }
        }
        Some(())
    }

    /// Reads the first part of a file: the sums, and what the client said. The second part may be
    /// many times as long.
    pub fn read_sums(file: impl BufRead) -> Result<(GroupSums, ClientCosts), Unreadable> {
        let mut bytes = Vec::new();
        for line in file.split(b'\n') {
            let line = line.map_err(|_| Unreadable::Damaged("the system cannot read it"))?;
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
            if line.starts_with(END) {
                break;
            }
        }
        let lines = part(&mut bytes.as_slice())?;
        let (_, lines, client_costs) = first_part(&lines)?;
        let mut sums = GroupSums::new();
        for line in &lines {
            add_line(&mut sums, line)?;
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
        write_end(&mut out, 0);
        let second = out.len();
        for (nth, (group, quarters)) in self.closed.iter().enumerate() {
            if let Some(ids) = self.closed_ids.get(group) {
                let of_slot = |slot: &SlotKey| ids.get(slot).map_or_else(String::new, short_text);
                let ids = quarters.keys().map(of_slot).collect();
                write_line(&mut out, &IdsLine { ids, of: Some(nth) });
            }
        }
        if !self.other_ids.is_empty() {
            let ids = vec![short_text(&self.other_ids)];
            write_line(&mut out, &IdsLine { ids, of: None });
        }
        write_replies(
            &mut out,
            "",
            self.open.iter().map(|(reply, is_elected)| (reply, *is_elected, None)),
        );
        write_end(&mut out, second);
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

/// How the last line of a part begins.
const END: &[u8] = br#"{"checksum""#;

/// Appends the end of a part that begins at this index.
fn write_end(out: &mut Vec<u8>, begin: usize) {
    let end = EndLine { checksum: checksum(&out[begin..]) };
    write_line(out, &end);
}

/// Takes a part from the front: the lines before its last one, whose checksum was compared.
fn part<'a>(bytes: &mut &'a [u8]) -> Result<Vec<&'a [u8]>, Unreadable> {
    let all: &'a [u8] = bytes;
    let mut found: Vec<&'a [u8]> = Vec::new();
    let mut n_bytes = 0;
    for line in lines(all) {
        if line.starts_with(END) {
            let EndLine { checksum: stated } = parse(line)?;
            if stated != checksum(&all[..n_bytes]) {
                // A newer format may have another checksum.
                return Err(
                    newer(&found).unwrap_or(Unreadable::Damaged("its checksum does not fit"))
                );
            }
            *bytes = &all[n_bytes + line.len() + 1..];
            return Ok(found);
        }
        found.push(line);
        n_bytes += line.len() + 1;
    }
    Err(newer(&found).unwrap_or(Unreadable::Damaged("its end is missing")))
}

/// That a newer version of this program wrote these lines, if the first one says so.
fn newer(lines: &[&[u8]]) -> Option<Unreadable> {
    let err = check_format(lines.first()?).err();
    err.filter(|it| matches!(it, Unreadable::Format(_)))
}

fn check_format(header: &[u8]) -> Result<Header, Unreadable> {
    let header: Header = parse(header)?;
    match header.format {
        FORMAT => Ok(header),
        newer if newer > FORMAT => Err(Unreadable::Format(newer)),
        _ => Err(Unreadable::Damaged("its first line is not one of ours")),
    }
}

/// What the lines of the first part say.
fn first_part(lines: &[&[u8]]) -> Result<(Header, Vec<SumsLine>, ClientCosts), Unreadable> {
    let [header, lines @ ..] = lines else { return Err(Unreadable::Damaged("it is empty")) };
    let header = check_format(header)?;
    let mut client_costs = ClientCosts::new();
    let mut sums = Vec::new();
    for line in lines {
        if line.starts_with(br#"{"client""#) {
            add_client_costs(&mut client_costs, parse::<ClientLine>(line)?.client);
        } else {
            sums.push(parse(line)?);
        }
    }
    Ok((header, sums, client_costs))
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

fn short_text(ids: &BTreeSet<u64>) -> String {
    ids.iter().map(|id| format!("{id:0SHORT_DIGITS$x}")).collect()
}

fn short_list(ids: &str) -> Option<BTreeSet<u64>> {
    let digits = ids.as_bytes().chunks(SHORT_DIGITS);
    digits.map(|it| u64::from_str_radix(str::from_utf8(it).ok()?, 16).ok()).collect()
}
