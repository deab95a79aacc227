//! The journal: replies that are not in their months yet, in numbered files. Each process that
//! writes has a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{HISTORY, JOURNAL, MISSING, MonthNumber, SUFFIX, bytes_of};
use super::format::{ClientLine, FORMAT, Header, RepliesLine, Stored, stored};
use super::month::{Unreadable, lines};
use crate::usage::prices::Picodollars;

/// The file with the number of the journal's first file that was not brought into the months.
pub(super) const FOLDED: &str = ".folded";

/// What a journal has of one config root.
#[derive(Default)]
pub(super) struct OfRoot {
    pub(super) replies: Vec<Stored>,
    pub(super) client_costs: Vec<(Arc<str>, i64, Picodollars)>,
}

impl OfRoot {
    pub(super) fn by_month(self) -> BTreeMap<MonthNumber, OfRoot> {
        let mut months: BTreeMap<MonthNumber, OfRoot> = BTreeMap::new();
        for stored in self.replies {
            months.entry(MonthNumber::of(stored.reply.at_ms)).or_default().replies.push(stored);
        }
        for cost in self.client_costs {
            months.entry(MonthNumber::of(cost.1)).or_default().client_costs.push(cost);
        }
        months
    }
}

/// What a journal has.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) by_root: BTreeMap<String, OfRoot>,
    pub(super) problems: Vec<String>,
    /// The files of which something cannot be read, by their numbers.
    pub(super) damaged: BTreeMap<u64, Unreadable>,
    /// The numbers of the files that have no line.
    pub(super) empty: BTreeSet<u64>,
}

pub(super) fn segment(data_dir: &Path, number: u64) -> PathBuf {
    data_dir.join(JOURNAL).join(format!("{number:08}{SUFFIX}"))
}

/// The numbers of the journal's files, in ascending order.
pub(super) fn segments(data_dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(data_dir.join(JOURNAL))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|it| it.strip_suffix(SUFFIX));
        numbers.extend(number.and_then(|it| it.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether a line of a file ends at this offset.
pub(super) fn ends_line(path: &Path, end: u64) -> bool {
    use fs_err::os::unix::fs::FileExt;
    let mut last = [0];
    let file = fs_err::File::open(path);
    end == 0 || file.is_ok_and(|it| it.read_at(&mut last, end - 1).is_ok()) && last == *b"\n"
}

/// The number of the journal's first file that was not brought into the months.
pub(super) fn folded_before(data_dir: &Path) -> u64 {
    let text = fs_err::read_to_string(data_dir.join(HISTORY).join(FOLDED));
    text.ok().and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}

/// Reads the whole journal.
pub(super) fn read_journal(data_dir: &Path) -> Journal {
    read_segments(data_dir, &segments(data_dir).unwrap_or_default())
}

/// Reads the journal's files with these numbers.
pub(super) fn read_segments(data_dir: &Path, numbers: &[u64]) -> Journal {
    let mut journal = Journal::default();
    for number in numbers.iter().copied() {
        let path = segment(data_dir, number);
        let mut damage = |why| {
            journal.problems.push(format!("{}: {why}", path.display()));
            journal.damaged.insert(number, why);
        };
        let bytes = match bytes_of(&path) {
            Ok(bytes) => bytes,
            // It was brought into the months just now.
            Err(Unreadable::Damaged(MISSING)) => continue,
            Err(why) => {
                damage(why);
                continue;
            }
        };
        let header = lines(&bytes).next().map(serde_json::from_slice::<Header>);
        match header {
            // A process was killed before it had written the first line.
            None => {
                journal.empty.insert(number);
                continue;
            }
            Some(Ok(header)) if header.format == FORMAT => {}
            Some(Ok(header)) => {
                damage(Unreadable::Format(header.format));
                continue;
            }
            Some(Err(_)) => {
                damage(Unreadable::Damaged("its first line is not one of ours"));
                continue;
            }
        }
        let after_header = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |it| it + 1);
        let mut is_damaged = false;
        // What follows the last newline was being written when the process was killed, and was
        // counted nowhere.
        for line in lines(&bytes[after_header..]) {
            is_damaged |= add_line(&mut journal.by_root, line).is_none();
        }
        if is_damaged {
            let why = Unreadable::Damaged("a line is not what it must be");
            journal.problems.push(format!("{}: {why}", path.display()));
            journal.damaged.insert(number, why);
        }
    }
    journal
}

/// Adds what a line of the journal has. `None` where it is not one of ours.
pub(super) fn add_line(by_root: &mut BTreeMap<String, OfRoot>, line: &[u8]) -> Option<()> {
    let Ok(mut line) = serde_json::from_slice::<RepliesLine<'_>>(line) else {
        let ClientLine { root, client } = serde_json::from_slice(line).ok()?;
        by_root.entry(root).or_default().client_costs.extend(client);
        return Some(());
    };
    let of_root = by_root.entry(std::mem::take(&mut line.root)).or_default();
    for row in &line.replies {
        of_root.replies.push(stored(&line, row)?);
    }
    Some(())
}
