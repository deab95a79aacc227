//! Reads the complete lines that were appended to a transcript since the last read.
//!
//! What a line means is known to `fetch/claude` only. If the path names another file than before, a
//! shorter one, or one that was rewritten in place, it is read from its beginning, and the result
//! says that it was.
//!
//! **Invariant:** memory is bounded by [`ReadLimits`], whatever the file contains, and each byte is
//! read at most three times, even if its line arrives in many small pieces.

mod partial_line;

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fs_err::os::unix::fs::{FileExt, OpenOptionsExt};
use memchr::{memchr, memchr_iter};
use nix::fcntl::OFlag;
use partial_line::PartialLine;
use serde::{Deserialize, Serialize};

use crate::fetch::claude::layout;
use crate::fetch::claude::transcript::{Fold, TranscriptFacts, agent_type};
use crate::store::file::read_bounded;
use crate::time::Now;
use crate::usage::entry::Entry;
use crate::watch::changed_ms;

/// How far a transcript has been read, and how to recognise the file. Part of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The device that the file is on.
    pub dev: u64,
    /// The file's inode.
    pub ino: u64,
    /// Where the next line begins, in bytes.
    pub offset: u64,
    /// Up to here, the next line is known to contain no newline. So a long line is not searched
    /// again for each of its pieces.
    pub scanned: u64,
    /// The hash of the up to 64 bytes before `offset`. It distinguishes a file that was appended to
    /// from one that was rewritten in place.
    pub check: u64,
}

/// The result of one read.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The cursor for the next read.
    pub cursor: Cursor,
    /// The offset at which this read began, in bytes.
    pub began: u64,
    /// Whether the file is not the one that was read before. The caller must drop its entries.
    pub has_restarted: bool,
    /// The facts in the whole file up to `cursor`.
    pub facts: TranscriptFacts,
    /// The entries in the lines that this read found, each with its offset in the file.
    pub entries: Vec<(u64, Entry)>,
    /// Whether a limit ended the read, so that the caller must read again.
    pub has_more: bool,
    /// Whether a last line without its newline may count once the file has been quiet for
    /// [`QUIET`], so that the caller must read again then.
    pub is_unended: bool,
    /// The file's size in bytes.
    pub size: u64,
    pub mtime_ms: i64,
    /// When the file's inode was last changed.
    pub ctime_ms: i64,
}

/// The bounds of one read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Bytes in total. A line whose end is known is read to its end even beyond them.
    pub bytes: u64,
    /// Entries in total. The last line may exceed them.
    pub entries: usize,
    /// Bytes of one line. In a longer line the long strings are cut short; if it is still longer
    /// then, it is skipped.
    pub line: usize,
    /// The bytes that are kept of each string in such a line.
    pub string: usize,
    /// Bytes of one system call, at most `line`.
    pub chunk: usize,
}

/// The bounds that the watcher and `--oneshot` use.
pub const READ_LIMITS: ReadLimits =
    ReadLimits { bytes: 32 << 20, entries: 4096, line: 1 << 20, string: 4096, chunk: 64 << 10 };

/// How long a file must not have changed before its last line counts without its newline. A client
/// writes a line and its newline at once; the newline is missing where it was killed, or where
/// another program wrote the file.
pub const QUIET: Duration = Duration::from_secs(5);

/// The bounds for old transcripts: whatever one read returns is handled at once, and must not delay
/// others.
pub const IMPORT_LIMITS: ReadLimits = ReadLimits { bytes: 8 << 20, entries: 512, ..READ_LIMITS };

/// Reads tails one after the other, and reuses its buffers.
#[derive(Debug)]
pub struct Reader {
    limits: ReadLimits,
    chunk: Vec<u8>,
    line: PartialLine,
}

impl Reader {
    pub fn new(limits: ReadLimits) -> Reader {
        Reader {
            limits,
            chunk: vec![0; limits.chunk],
            line: PartialLine::new(limits.line, limits.string),
        }
    }

    /// Reads `path` from the cursor in `from`, or from the beginning. The facts in `from` are those
    /// that the read before returned.
    ///
    /// A last line without its newline is left for a later read, since the client may still be
    /// writing it, unless it is a whole record and the file has been quiet for [`QUIET`].
    ///
    /// An error means that the file cannot be opened or read, or is not a regular file.
    pub fn read_tail(
        &mut self,
        path: &Path,
        from: Option<(Cursor, TranscriptFacts)>,
    ) -> io::Result<Tail> {
        // The path may name a pipe, and opening a pipe would wait for its writer.
        let flags = OFlag::O_NONBLOCK.bits();
        let file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            let reason = format!("{} is not a regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let is_known = from.is_some();
        let (dev, ino, size) = (meta.dev(), meta.ino(), meta.size());
        let same = from
            .filter(|(cursor, _)| (cursor.dev, cursor.ino) == (dev, ino) && cursor.scanned <= size);
        let same = match same {
            Some((cursor, facts)) if cursor.check == check_before(&file, cursor.offset)? => {
                Some((cursor, facts))
            }
            _ => None,
        };
        let has_restarted = is_known && same.is_none();
        let (cursor, facts) = same.unwrap_or_else(|| {
            let facts = TranscriptFacts { agent: agent_of(path), ..TranscriptFacts::default() };
            (Cursor::default(), facts)
        });

        let mut tail = Tail {
            began: cursor.offset,
            cursor: Cursor { dev, ino, ..cursor },
            has_restarted,
            facts,
            entries: Vec::new(),
            has_more: false,
            is_unended: false,
            size,
            mtime_ms: meta.mtime().saturating_mul(1000) + meta.mtime_nsec() / 1_000_000,
            ctime_ms: changed_ms(&meta),
        };
        // A time in the future says nothing.
        let age_ms = Now::read().wall_ms - tail.mtime_ms;
        let is_quiet = !(0..QUIET.as_millis() as i64).contains(&age_ms);
        if let Some(line_end) = self.find_line_end(&mut tail, &file, is_quiet)? {
            let mut fold = Fold::resume(std::mem::take(&mut tail.facts));
            self.read_lines(&mut tail, &file, line_end, is_quiet, &mut fold)?;
            (tail.entries, tail.facts) = fold.finish();
            tail.cursor.check = check_before(&file, tail.cursor.offset)?;
        }
        let n_left = tail.cursor.scanned - tail.cursor.offset;
        tail.is_unended = !is_quiet && !tail.has_more && self.may_count(n_left);
        Ok(tail)
    }

    /// Searches for the end of the line that was incomplete at the last read. Returns the offset up
    /// to which lines are to be read even beyond the limits, or `None` if no line is complete yet
    /// or the limits ended the search. In a quiet file the last line may be complete without its
    /// newline.
    fn find_line_end(
        &mut self,
        tail: &mut Tail,
        file: &fs_err::File,
        is_quiet: bool,
    ) -> io::Result<Option<u64>> {
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
                let end = tail.cursor.scanned;
                return Ok(
                    Some(end).filter(|_| is_quiet && self.may_count(end - tail.cursor.offset))
                );
            }
            tail.cursor.scanned += n as u64;
        }
        tail.has_more = true;
        Ok(None)
    }

    /// Whether so many bytes after the last newline may be a record. More are not read again only
    /// to find out.
    fn may_count(&self, n_bytes: u64) -> bool {
        (1..=self.limits.bytes).contains(&n_bytes)
    }

    fn read_lines(
        &mut self,
        tail: &mut Tail,
        file: &fs_err::File,
        line_end: u64,
        is_quiet: bool,
        fold: &mut Fold,
    ) -> io::Result<()> {
        let Reader { limits, chunk, line } = self;
        let end = line_end.max(tail.cursor.offset.saturating_add(limits.bytes));
        let mut at = tail.cursor.offset;
        // The buffer may hold an incomplete line of the read before. Long lines are rare, and the
        // next may come in an hour, so the memory is given back.
        line.clear();
        line.shrink_to(limits.chunk);
        loop {
            tail.cursor.scanned = at;
            if at >= end {
                tail.has_more = true;
                return Ok(());
            }
            let n = file.read_at(chunk, at)?;
            let mut rest = 0;
            for newline in memchr_iter(b'\n', &chunk[..n]) {
                // Most lines lie within one chunk and need not be copied.
                if line.is_empty() {
                    fold.add_line(tail.cursor.offset, &chunk[rest..newline]);
                } else {
                    line.push(&chunk[rest..newline]);
                    match line.bytes() {
                        Some(line) => fold.add_line(tail.cursor.offset, line),
                        None => fold.skip_line(),
                    }
                    line.clear();
                }
                rest = newline + 1;
                tail.cursor.offset = at + rest as u64;
                if fold.n_entries() >= limits.entries {
                    tail.cursor.scanned = tail.cursor.offset;
                    tail.has_more = true;
                    return Ok(());
                }
            }
            line.push(&chunk[rest..n]);
            at += n as u64;
            if n == 0 || at >= tail.size && n < chunk.len() {
                // The end of the file. A later write causes an event of its own.
                tail.cursor.scanned = at;
                let last = line.bytes().filter(|_| is_quiet);
                if last.is_some_and(|last| fold.add_last_line(tail.cursor.offset, last)) {
                    tail.cursor.offset = at;
                }
                return Ok(());
            }
        }
    }
}

/// The type of the subagent whose transcript this is, from the file beside it. `None` where there
/// is no such file; that is no error.
fn agent_of(transcript: &Path) -> Option<Arc<str>> {
    const MAX_BYTES: u64 = 64 << 10;
    agent_type(&read_bounded(&layout::description_of(transcript)?, MAX_BYTES).ok()?)
}

/// The hash of the up to 64 bytes before `offset`. If the file is shorter, the hash differs.
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
    use crate::usage::reply::{Origin, Replies};
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

    /// Reads until no limit ends a read, and joins the results.
    fn read(path: &Path, mut from: Option<(Cursor, TranscriptFacts)>, limits: ReadLimits) -> Tail {
        let mut entries = Vec::new();
        let mut has_restarted = false;
        let mut reader = Reader::new(limits);
        loop {
            let tail = reader.read_tail(path, from).expect("can read");
            entries.extend(tail.entries.iter().cloned());
            has_restarted |= tail.has_restarted;
            if !tail.has_more {
                return Tail { entries, has_restarted, ..tail };
            }
            from = Some((tail.cursor, tail.facts));
        }
    }

    fn inputs(tail: &Tail) -> Vec<u64> {
        tail.entries.iter().map(|(_, it)| it.tokens.input).collect()
    }

    /// The sums over entries. Two reads may each return a copy of one reply where a single read
    /// returns only the better one, so entries cannot be compared directly.
    fn count(entries: &[(u64, Entry)]) -> Sums {
        let mut ledger = Ledger::new(Prices::builtin());
        let mut replies = Replies::of(Origin::default());
        for (offset, entry) in entries {
            ledger.add(&replies.make(*offset, entry));
        }
        ledger.sum_up(0..i64::MAX)
    }

    #[test]
    fn a_line_waits_for_its_newline() {
        let mut file = file_with(reply(1, "x").as_bytes());
        let tail = read(file.path(), None, READ_LIMITS);
        assert_eq!((inputs(&tail), tail.cursor.offset), (vec![], 0));
        append(&mut file, b"\n");
        let tail = read(file.path(), Some((tail.cursor, tail.facts)), READ_LIMITS);
        assert_eq!((inputs(&tail), tail.cursor.offset), (vec![1], tail.size));
    }

    fn age(file: &tempfile::NamedTempFile, by: Duration) {
        let now = Duration::from_millis(Now::read().wall_ms.cast_unsigned());
        let at = std::time::UNIX_EPOCH + now - by;
        file.as_file().set_modified(at).expect("can be set");
    }

    #[test]
    fn a_whole_last_line_of_a_quiet_file_counts_once_with_or_without_its_newline() {
        let torn = &reply(9, "x")[..40];
        for before in ["".to_owned(), reply(1, "x") + "\n", torn.to_owned()] {
            for more in ["", "\n", "\0\0"].map(|it| it.to_owned() + &reply(3, "z")) {
                let mut file = file_with((before.clone() + &reply(2, "y")).as_bytes());
                let first = read(file.path(), None, SMALL);
                assert!(first.is_unended && !inputs(&first).contains(&2));
                age(&file, QUIET);
                let second = read(file.path(), Some((first.cursor, first.facts)), SMALL);
                assert_eq!((inputs(&second), second.is_unended), (vec![2], false), "{before}");
                assert_eq!(second.cursor.offset, second.size);
                let cold = read(file.path(), None, SMALL);
                assert_eq!((&cold.cursor, &cold.facts), (&second.cursor, &second.facts));
                append(&mut file, (more + "\n").as_bytes());
                let third = read(file.path(), Some((second.cursor, second.facts)), SMALL);
                assert_eq!((inputs(&third), third.is_unended), (vec![3], false));
            }
        }
    }

    #[test]
    fn a_torn_last_line_of_a_quiet_file_waits_for_its_end() {
        let line = reply(1, &"y".repeat(480));
        for at in [10, 100, 400, line.len() - 1] {
            let mut file = file_with(&line.as_bytes()[..at]);
            age(&file, QUIET);
            let tail = read(file.path(), None, SMALL);
            assert_eq!(
                (tail.cursor.offset, tail.is_unended, tail.facts.skipped_lines),
                (0, false, 0)
            );
            append(&mut file, &line.as_bytes()[at..]);
            age(&file, QUIET);
            let tail = read(file.path(), Some((tail.cursor, tail.facts)), SMALL);
            assert_eq!(inputs(&tail), [1], "{at}");
        }
    }

    #[track_caller]
    fn check_restart(before: &str, after: &str, expected: (bool, &[u64])) {
        let file = file_with(before.as_bytes());
        let tail = read(file.path(), None, READ_LIMITS);
        fs_err::write(file.path(), after).expect("can write");
        let tail = read(file.path(), Some((tail.cursor, tail.facts)), READ_LIMITS);
        assert_eq!((tail.has_restarted, &*inputs(&tail)), expected);
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
    fn a_subagents_entries_name_its_type() {
        let dir = tempfile::tempdir().expect("can write");
        let path = dir.path().join("agent-7.jsonl");
        let agents = |description: Option<&str>| {
            if let Some(description) = description {
                fs_err::write(dir.path().join("agent-7.meta.json"), description).unwrap();
            }
            fs_err::write(&path, reply(1, "x") + "\n").expect("can write");
            let first = read(&path, None, READ_LIMITS);
            fs_err::write(&path, format!("{0}\n{0}\n", reply(1, "x"))).expect("can write");
            let second = read(&path, Some((first.cursor, first.facts)), READ_LIMITS);
            [first.entries, second.entries].map(|it| it[0].1.agent.as_deref().map(str::to_owned))
        };
        assert_eq!(agents(None), [None, None]);
        let explore = Some("Explore".to_owned());
        assert_eq!(agents(Some(r#"{"agentType":"Explore"}"#)), [explore.clone(), explore]);
        let huge = format!(r#"{{"x":"{}","agentType":"Explore"}}"#, "x".repeat(70_000));
        assert_eq!(agents(Some(&huge)), [None, None]);
    }

    #[test]
    fn anything_but_a_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("can write");
        let pipe = dir.path().join("s.jsonl");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("can make a pipe");
        for path in [pipe.as_path(), dir.path(), &dir.path().join("none")] {
            assert!(Reader::new(READ_LIMITS).read_tail(path, None).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_line_with_long_strings_is_read() {
        let long = reply(1, &"é\\n\\ud83d\\ude00".repeat(1000)) + "\n";
        let file = file_with(format!("{long}{}\n", reply(2, "x")).as_bytes());
        let tail = read(file.path(), None, SMALL);
        assert_eq!((inputs(&tail), tail.facts.skipped_lines), (vec![1, 2], 0));
    }

    #[test]
    fn a_record_that_follows_the_torn_beginning_of_a_long_line_is_read() {
        let torn = reply(1, &"é\\n{\\ud83d\\ude00} [\\\"{".repeat(100));
        let end = torn.find("\"}],\"usage\"").expect("the text ends there");
        let torn = &torn.as_bytes()[..end];
        for at in (20..torn.len()).filter(|at| *at < 300 || torn.len() - at < 100) {
            let content = [&torn[..at], reply(2, "x").as_bytes(), b"\n"].concat();
            let tail = read(file_with(&content).path(), None, SMALL);
            assert_eq!((inputs(&tail), tail.facts.skipped_lines), (vec![2], 1), "torn at {at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_without_its_strings_is_skipped() {
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
            // A gateway's lines, and prompts between them.
            (1..3_usize).prop_map(|n| reply(n, "x").replace("msg_1", "g").into_bytes()),
            Just(br#"{"type":"user","message":{"content":"x"}}"#.to_vec()),
            // A record behind the torn beginning of another.
            (1..9_usize, 0..160_usize).prop_map(|(n, at)| {
                let torn = reply(n, "torn").into_bytes();
                [&torn[..at], reply(n + 9, "x").as_bytes()].concat()
            }),
        ];
        prop::collection::vec(line, 0..12).prop_map(|it| it.join(&b'\n'))
    }

    proptest! {
        #[test]
        fn reading_a_file_in_pieces_finds_what_reading_it_whole_finds(
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
                prop_assert!(!tail.has_restarted);
                entries.extend(tail.entries);
                from = Some((tail.cursor, tail.facts));
            }
            let whole = read(file.path(), None, SMALL);
            prop_assert_eq!(count(&entries), count(&whole.entries));
            prop_assert_eq!(from, Some((whole.cursor, whole.facts)));
        }
    }
}
