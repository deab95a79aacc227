//! PURE. Finds the whole records in a line that is not one record.
//!
//! A client that is killed leaves the beginning of a record, and the next one goes on in the same
//! line. A crash of the system leaves zeros. Of such a line, what is whole still counts.
//!
//! Quotes within strings are escaped, so a record that is only quoted in another one is not found
//! here. One that is a value within a torn record is not found either: what follows it is a comma
//! or a bracket of that record.
//!
//! **Invariant:** the work is bounded by a constant for each byte of the line.

use memchr::memchr;

use super::line::Line;
use super::scan::trim;

/// How often each byte of a line may be read on average. Records nest less deeply, and only what
/// encloses the place at which a record was torn is read up to there again and again.
const MAX_PASSES: usize = 32;

/// What is in a damaged line.
#[derive(Debug, Default)]
pub(super) struct Salvage<'a> {
    /// The whole records, each with its offset in the line.
    pub(super) records: Vec<(usize, &'a [u8])>,
    /// Whether there is anything else but zeros, byte order marks and white space, or nothing else
    /// at all.
    pub(super) has_torn: bool,
    /// Whether the last record ends where the line ends.
    pub(super) ends_whole: bool,
}

/// Takes apart a line that [`Line::read`] refuses.
pub(super) fn salvage(line: &[u8]) -> Salvage<'_> {
    let mut found = Salvage::default();
    let mut budget = line.len().saturating_mul(MAX_PASSES);
    // Everything before `end` is in a record, or torn for certain. The search goes on at `at`.
    let (mut end, mut at) = (0, 0);
    while let Some(start) = next_object(line, at) {
        let before = &line[end..start];
        let (length, n_read) = Line::extent(&line[start..]);
        let Some(n_left) = budget.checked_sub(n_read) else { break };
        budget = n_left;
        let Some(length) = length else {
            at = start + 1;
            continue;
        };
        let (record, rest) = line[start..].split_at(length);
        at = start + length;
        // Nothing is torn that this could be a part of. A record has no zeros in it.
        let is_first = trim(before).is_empty() || before.ends_with(&[0]);
        let is_part = matches!(trim(rest).first(), Some(b',' | b']' | b'}' | b':'));
        let is_record = || Line::read(record).is_some_and(|it| it.is_record());
        if is_first || !is_part && is_record() {
            found.has_torn |= !trim(before).is_empty();
            found.records.push((start, record));
            end = at;
        }
    }
    found.has_torn |= end == 0 || !trim(&line[end..]).is_empty();
    found.ends_whole = end > 0 && trim(&line[end..]).is_empty();
    found
}

/// The offset of the next brace, from `at` on, after which a key begins.
fn next_object(line: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'{', line.get(at..)?)?;
        let rest = &line[at + 1..];
        let n_blank = rest.iter().take_while(|it| it.is_ascii_whitespace()).count();
        if rest.get(n_blank) == Some(&b'"') {
            return Some(at);
        }
        at += 1 + n_blank;
    }
}
