//! Reads what was appended to a transcript: whole lines, from an offset.
//!
//! Knows nothing of what a line says; that is [`claude`](crate::fetch::claude). Another file under the same name, a
//! shorter one, or one that was rewritten in place is read from its beginning, and the caller is
//! told so.
//!
//! **Invariant:** memory is bounded by [`ReadLimits`], whatever the file holds, and a byte is read at
//! most three times, however small the pieces are in which its line arrives.

mod partial_line;

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err::os::unix::fs::{FileExt, OpenOptionsExt};
use memchr::{memchr, memchr_iter};
use nix::fcntl::OFlag;
use partial_line::PartialLine;
use serde::{Deserialize, Serialize};

use crate::fetch::claude::transcript::{Fold, TranscriptFacts};
use crate::usage::entry::Entry;

/// How far a transcript has been read, and how to recognise it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The device of the file.
    pub dev: u64,
    /// The file on that device.
    pub ino: u64,
    /// Where the next line starts.
    pub offset: u64,
    /// Up to here that line is known to have no end yet, so that a long one is not looked
    /// through again for each of its pieces.
    pub scanned: u64,
    /// Hash of the up to 64 bytes before `offset`: tells an append from a file rewritten in place.
    pub check: u64,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// Where the next read goes on.
    pub cursor: Cursor,
    /// Where this read began.
    pub began: u64,
    /// The file is not the one that was read before: what it said must be dropped.
    pub restarted: bool,
    /// What the file says by now.
    pub facts: TranscriptFacts,
    /// What it newly says was used, each with the place it stands at.
    pub entries: Vec<(u64, Entry)>,
    /// The limits were reached: read again.
    pub more: bool,
    /// The file's size.
    pub size: u64,
    /// The file's modification time.
    pub mtime_ms: i64,
}

/// What one read may take.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Bytes, except that a line whose end is known is read to its end.
    pub bytes: u64,
    /// Entries; the last line may exceed them.
    pub entries: usize,
    /// Bytes of a line; long strings in longer ones are cut, and what is longer then is skipped.
    pub line: usize,
    /// Bytes that are left of a string in such a line.
    pub string: usize,
    /// Bytes that are read at a time; at most as many as a line may have.
    pub chunk: usize,
}

/// What the watcher allows.
pub const LIMITS: ReadLimits =
    ReadLimits { bytes: 32 << 20, entries: 4096, line: 1 << 20, string: 4096, chunk: 64 << 10 };

/// Reads tails, one after the other. What it needs room for it keeps for the next one.
#[derive(Debug)]
pub struct Reader {
    limits: ReadLimits,
    chunk: Vec<u8>,
    line: PartialLine,
}

impl Reader {
    /// One that takes no more than this for a read.
    pub fn new(limits: ReadLimits) -> Reader {
        Reader {
            limits,
            chunk: vec![0; limits.chunk],
            line: PartialLine::new(limits.line, limits.string),
        }
    }

    /// Reads on from `from`, or from the beginning.
    ///
    /// A line without its newline is not read yet: its writer may be in the middle of it.
    pub fn read_tail(
        &mut self,
        path: &Path,
        from: Option<(Cursor, TranscriptFacts)>,
    ) -> io::Result<Tail> {
        // Something else may lie under this name: a pipe must not make us wait for its writer.
        let flags = OFlag::O_NONBLOCK.bits();
        let file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            let reason = format!("{} is not a regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let is_known = from.is_some();
        let (dev, ino, size) = (meta.dev(), meta.ino(), meta.size());
        let same = from.filter(|(it, _)| (it.dev, it.ino) == (dev, ino) && it.scanned <= size);
        let same = match same {
            Some((it, facts)) if it.check == check_before(&file, it.offset)? => Some((it, facts)),
            _ => None,
        };
        let restarted = is_known && same.is_none();
        let (cursor, facts) = same.unwrap_or_default();

        let mut tail = Tail {
            began: cursor.offset,
            cursor: Cursor { dev, ino, ..cursor },
            restarted,
            facts,
            entries: Vec::new(),
            more: false,
            size,
            mtime_ms: meta.mtime().saturating_mul(1000) + meta.mtime_nsec() / 1_000_000,
        };
        if let Some(line_end) = self.find_line_end(&mut tail, &file)? {
            let mut fold = Fold::on(std::mem::take(&mut tail.facts));
            self.read_lines(&mut tail, &file, line_end, &mut fold)?;
            (tail.entries, tail.facts) = fold.finish();
            tail.cursor.check = check_before(&file, tail.cursor.offset)?;
        }
        Ok(tail)
    }

    /// Looks for the end of a line that had none at the last read. Returns a place up to which
    /// reading is worth it, if it is.
    fn find_line_end(&mut self, tail: &mut Tail, file: &fs_err::File) -> io::Result<Option<u64>> {
        let start = tail.cursor.scanned;
        if start == tail.cursor.offset {
            return Ok(Some(start));
        }
        while tail.cursor.scanned - start < self.limits.bytes {
            let n = file.read_at(&mut self.chunk, tail.cursor.scanned)?;
            if let Some(at) = memchr(b'\n', &self.chunk[..n]) {
                return Ok(Some(tail.cursor.scanned + at as u64 + 1));
            }
            if n == 0 {
                return Ok(None);
            }
            tail.cursor.scanned += n as u64;
        }
        tail.more = true;
        Ok(None)
    }

    fn read_lines(
        &mut self,
        tail: &mut Tail,
        file: &fs_err::File,
        line_end: u64,
        fold: &mut Fold,
    ) -> io::Result<()> {
        let Reader { limits, chunk, line } = self;
        let end = line_end.max(tail.cursor.offset.saturating_add(limits.bytes));
        let mut at = tail.cursor.offset;
        // What the read before left there was not a whole line. Long ones are rare, and the next
        // may come in an hour.
        line.clear();
        line.shrink_to(limits.chunk);
        loop {
            tail.cursor.scanned = at;
            if at >= end {
                tail.more = true;
                return Ok(());
            }
            let n = file.read_at(chunk, at)?;
            if n == 0 {
                return Ok(());
            }
            let mut rest = 0;
            for newline in memchr_iter(b'\n', &chunk[..n]) {
                // Most lines lie in one chunk, and need not be copied.
                if line.is_empty() {
                    fold.line(tail.cursor.offset, &chunk[rest..newline]);
                } else {
                    line.push(&chunk[rest..newline]);
                    match line.bytes() {
                        Some(line) => fold.line(tail.cursor.offset, line),
                        None => fold.skip_line(),
                    }
                    line.clear();
                }
                rest = newline + 1;
                tail.cursor.offset = at + rest as u64;
                if fold.n_entries() >= limits.entries {
                    tail.cursor.scanned = tail.cursor.offset;
                    tail.more = true;
                    return Ok(());
                }
            }
            line.push(&chunk[rest..n]);
            at += n as u64;
            if at >= tail.size && n < chunk.len() {
                // Its end. What was written since makes itself known.
                tail.cursor.scanned = at;
                return Ok(());
            }
        }
    }
}

/// Hash of what stands before `offset`. A shorter file has another one.
fn check_before(file: &fs_err::File, offset: u64) -> io::Result<u64> {
    let mut bytes = [0; 64];
    let n_before = offset.min(64);
    let n = file.read_at(&mut bytes[..n_before as usize], offset - n_before)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes[..n]);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::ledger::Ledger;
    use crate::usage::prices::Prices;
    use crate::usage::sums::Sums;
    use proptest::prelude::*;
    use std::io::Write;

    const SMALL: ReadLimits =
        ReadLimits { bytes: 700, entries: 2, line: 600, string: 64, chunk: 100 };

    fn reply(n: usize, text: &str) -> String {
        format!(
            r#"{{"type":"assistant","timestamp":"2026-11-23T11:15:04Z","message":{{"id":"msg_{n}","content":[{{"type":"text","text":"{text}"}}],"usage":{{"input_tokens":{n},"output_tokens":1}}}}}}"#
        )
    }

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("can write");
        append(&mut file, content);
        file
    }

    fn append(file: &mut tempfile::NamedTempFile, content: &[u8]) {
        file.write_all(content).expect("can write");
    }

    /// Reads until there is no more; what all reads found, in one.
    fn read(path: &Path, mut from: Option<(Cursor, TranscriptFacts)>, limits: ReadLimits) -> Tail {
        let mut entries = Vec::new();
        let mut restarted = false;
        let mut reader = Reader::new(limits);
        loop {
            let tail = reader.read_tail(path, from).expect("can read");
            entries.extend(tail.entries.iter().cloned());
            restarted |= tail.restarted;
            if !tail.more {
                return Tail { entries, restarted, ..tail };
            }
            from = Some((tail.cursor, tail.facts));
        }
    }

    fn inputs(tail: &Tail) -> Vec<u64> {
        tail.entries.iter().map(|(_, it)| it.tokens.input).collect()
    }

    /// Two reads may each hand on a copy of one reply, where one read hands on the better.
    fn count(entries: &[(u64, Entry)]) -> Sums {
        let mut ledger = Ledger::new(Prices::builtin());
        let file = ledger.file("a");
        ledger.add(file, (1, 1), None, entries);
        ledger.sum_up(0..i64::MAX)
    }

    #[test]
    fn a_line_waits_for_its_newline() {
        let mut file = file_with(reply(1, "x").as_bytes());
        let tail = read(file.path(), None, LIMITS);
        assert_eq!((inputs(&tail), tail.cursor.offset), (vec![], 0));
        append(&mut file, b"\n");
        let tail = read(file.path(), Some((tail.cursor, tail.facts)), LIMITS);
        assert_eq!((inputs(&tail), tail.cursor.offset), (vec![1], tail.size));
    }

    #[track_caller]
    fn check_restart(before: &str, after: &str, expected: (bool, &[u64])) {
        let file = file_with(before.as_bytes());
        let tail = read(file.path(), None, LIMITS);
        fs_err::write(file.path(), after).expect("can write");
        let tail = read(file.path(), Some((tail.cursor, tail.facts)), LIMITS);
        assert_eq!((tail.restarted, &*inputs(&tail)), expected);
    }

    #[test]
    fn another_file_is_read_from_its_beginning() {
        let [one, two, three] = [1, 2, 3].map(|it| reply(it, &"x".repeat(80)) + "\n");
        check_restart(&one, &format!("{one}{two}"), (false, &[2]));
        check_restart(&format!("{one}{two}"), &one, (true, &[1]));
        check_restart(&one, &format!("{two}{three}"), (true, &[2, 3]));
        check_restart(&one, "", (true, &[]));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("can write");
        let pipe = dir.path().join("s.jsonl");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("can make a pipe");
        for path in [pipe.as_path(), dir.path(), &dir.path().join("none")] {
            assert!(Reader::new(LIMITS).read_tail(path, None).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_long_line_gives_up_its_facts() {
        let long = reply(1, &"é\\n\\ud83d\\ude00".repeat(1000)) + "\n";
        let file = file_with(format!("{long}{}\n", reply(2, "x")).as_bytes());
        let tail = read(file.path(), None, SMALL);
        assert_eq!((inputs(&tail), tail.facts.skipped_lines), (vec![1, 2], 0));
    }

    #[test]
    fn a_line_that_is_long_without_its_strings_is_skipped() {
        let long = format!("{{\"a\":[{}0]}}\n", "0,".repeat(1000));
        let file = file_with(format!("{long}{}\n", reply(2, "x")).as_bytes());
        let tail = read(file.path(), None, SMALL);
        assert_eq!((inputs(&tail), tail.facts.skipped_lines), (vec![2], 1));
    }

    fn any_content() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            (1..9_usize, "[a-zé🚀]{0,300}").prop_map(|(n, text)| reply(n, &text).into_bytes()),
            prop::collection::vec(any::<u8>(), 0..40),
            Just(Vec::new()),
        ];
        prop::collection::vec(line, 0..12).prop_map(|it| it.join(&b'\n'))
    }

    proptest! {
        #[test]
        fn pieces_say_what_the_whole_says(
            content in any_content(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|it| it.index(content.len() + 1)).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let mut file = file_with(b"");
            let mut entries = Vec::new();
            let mut from = None;
            for piece in cuts.windows(2) {
                append(&mut file, &content[piece[0]..piece[1]]);
                let tail = read(file.path(), from, SMALL);
                prop_assert!(!tail.restarted);
                entries.extend(tail.entries);
                from = Some((tail.cursor, tail.facts));
            }
            let whole = read(file.path(), None, SMALL);
            prop_assert_eq!(count(&entries), count(&whole.entries));
            prop_assert_eq!(from, Some((whole.cursor, whole.facts)));
        }
    }
}
