//! The file format of the snapshot: JSON in which each entry of a map has a line of its own.
//!
//! Any JSON parser can read the whole file. A display needs, at every render, one session of up to
//! [`MAX_SESSIONS`](super::schema::MAX_SESSIONS) and its working tree. The lines of the sessions,
//! and then of the working trees, are the last in the file and are sorted by key. So a display
//! finds its own by binary search in the file, and parses no others.
//!
//! See docs/decisions/015-a-line-per-session.md.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use serde::Deserialize;
use serde_json::ser::{Formatter, Serializer};

use super::file::{open_bounded, read_bounded};
use super::schema::{self, Header, SessionId, Snapshot};

/// The largest snapshot that is read. The watcher's have a few hundred KiB.
const MAX_SNAPSHOT: u64 = 16 << 20;

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is no file.
    Missing,
    /// It is of a later version, in which fields may have another meaning.
    Newer,
    /// It is not a complete snapshot, is too large, or cannot be read.
    Unreadable,
}

/// Reads the whole snapshot.
pub fn read(path: &Path) -> Result<Snapshot, Unusable> {
    parse(&read_bounded(path, MAX_SNAPSHOT).map_err(|it| unusable(&it))?)
}

/// Reads the part of the snapshot that concerns one session: everything but the other sessions and
/// the working trees of others. See [`part`].
pub fn read_part(
    path: &Path,
    session: Option<&SessionId>,
    top: Option<&str>,
) -> Result<Snapshot, Unusable> {
    let bytes = open_bounded(path, MAX_SNAPSHOT)
        .and_then(|(file, size)| part(file.into_inner(), size, session, top));
    parse(&bytes.map_err(|it| unusable(&it))?)
}

fn unusable(err: &io::Error) -> Unusable {
    match err.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        _ => Unusable::Unreadable,
    }
}

/// Parses a snapshot.
pub fn parse(bytes: &[u8]) -> Result<Snapshot, Unusable> {
    let snapshot = serde_json::from_slice::<Snapshot>(bytes);
    if let Ok(parsed) = snapshot.as_ref()
        && parsed.version == schema::VERSION
    {
        return snapshot.map_err(|_| Unusable::Unreadable);
    }
    // Of a later version, only the version itself may be readable.
    match serde_json::from_slice(bytes) {
        Ok(Header { version }) if version > schema::VERSION => Err(Unusable::Newer),
        _ => Err(Unusable::Unreadable),
    }
}

/// Serialises a snapshot for its file.
pub fn to_bytes(snapshot: &Snapshot) -> serde_json::Result<Vec<u8>> {
    use serde::Serialize;
    let mut bytes = Vec::new();
    snapshot.serialize(&mut Serializer::with_formatter(&mut bytes, Lines { depth: 0 }))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A JSON formatter that begins a line for each key of the snapshot and of the maps in it.
struct Lines {
    depth: usize,
}

impl Lines {
    fn break_line(&self, out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        if self.depth <= 2 { out.write_all(b"\n") } else { Ok(()) }
    }
}

impl Formatter for Lines {
    fn begin_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        out.write_all(b"{")
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.break_line(out)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.break_line(out)?;
        self.depth -= 1;
        out.write_all(b"}")
    }
}

/// The snapshot in `file` without the sessions and working trees that do not concern `session`.
///
/// Of the sessions, `session` is kept. Of the working trees, `top` is kept, or without one that of
/// the session. The result is JSON, except where the file is incomplete: then the result is
/// incomplete too.
///
/// Of a file of `size` bytes it reads a dozen blocks or two. A file that is not laid out in lines
/// is returned whole.
pub fn part(
    file: impl Read + Seek,
    size: u64,
    session: Option<&SessionId>,
    top: Option<&str>,
) -> io::Result<Vec<u8>> {
    let mut file = BufReader::with_capacity(BLOCK, file);
    let mut bytes = Vec::with_capacity(BLOCK);
    // Everything before the sessions is kept.
    let mut start = 0;
    while bytes[start..] != *SESSIONS {
        start = bytes.len();
        if file.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(bytes);
        }
    }
    let at = bytes.len() as u64;
    let mut entries = Entries { file, at, start: at, end: size };

    let mut location = Location::default();
    if let Some(id) = session
        && let Some(entry) = entries.find(Section::Sessions, &id.0)?
    {
        // The value follows the key, two quotes and a colon. An id contains nothing to escape.
        let value = entry.get(id.0.len() + 3..).unwrap_or_default();
        location = serde_json::from_slice(value).unwrap_or_default();
        bytes.extend(entry);
    }
    bytes.extend(b"},\"repos\":{");
    if let Some(top) = top.or(location.repo.as_deref())
        && let Some(entry) = entries.find(Section::Repos, top)?
    {
        bytes.extend(entry);
    }
    // If the file is incomplete, the result must not be valid JSON.
    if entries.is_whole()? {
        bytes.extend(b"}}");
    }
    Ok(bytes)
}

/// The bytes of one read.
const BLOCK: usize = 8 << 10;
/// The line after which only the sessions and the working trees follow.
const SESSIONS: &[u8] = b"\"sessions\":{\n";
/// The lines that close the working trees and the snapshot. The newline before them belongs to the
/// mark: the last entry ends with a brace too, so without it a file that lacks its last two bytes
/// would look whole.
const END: &[u8] = b"\n}\n}\n";

/// Where a session works: a field of `schema::Session`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Location {
    repo: Option<String>,
}

/// The kinds of lines after [`SESSIONS`], in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Sessions,
    Between,
    Repos,
    End,
}

/// The lines after [`SESSIONS`].
struct Entries<F> {
    file: BufReader<F>,
    /// The position in the file.
    at: u64,
    /// Where the first line begins.
    start: u64,
    /// Where the last line ends.
    end: u64,
}

impl<F: Read + Seek> Entries<F> {
    /// The line with the entry of `key`, without its comma and newline.
    fn find(&mut self, section: Section, key: &str) -> io::Result<Option<Vec<u8>>> {
        // Invariant of the search: a line begins at `start`, and the wanted line, if there is one,
        // begins in `start..end`.
        let (mut start, mut end) = (self.start, self.end);
        while start < end {
            let middle = start + (end - start) / 2;
            // The byte before the middle tells whether a line begins at the middle.
            self.seek(middle.saturating_sub(1).max(start))?;
            if middle > start {
                self.at += self.file.by_ref().take(end - self.at).skip_until(b'\n')? as u64;
            }
            let line_start = self.at;
            let mut line = Vec::new();
            self.at +=
                self.file.by_ref().take(self.end - self.at).read_until(b'\n', &mut line)? as u64;
            let line = line.trim_ascii_end();
            match order_of(line).cmp(&(section, key.into())) {
                Ordering::Equal => {
                    return Ok(Some(line.strip_suffix(b",").unwrap_or(line).to_owned()));
                }
                // Otherwise no line begins in `middle..end`, or the file has become shorter.
                Ordering::Less if line_start < end.min(self.at) => start = self.at,
                Ordering::Less | Ordering::Greater => end = middle,
            }
        }
        Ok(None)
    }

    /// Whether the file ends with [`END`].
    fn is_whole(&mut self) -> io::Result<bool> {
        let mut end = Vec::new();
        self.seek(self.end.saturating_sub(END.len() as u64).max(self.start))?;
        self.at += self.file.by_ref().take(END.len() as u64).read_to_end(&mut end)? as u64;
        Ok(end == END)
    }

    fn seek(&mut self, to: u64) -> io::Result<()> {
        // The distance is at most MAX_SNAPSHOT, so the casts are exact.
        self.file.seek_relative(to as i64 - self.at as i64)?;
        self.at = to;
        Ok(())
    }
}

/// The key by which the lines are sorted.
fn order_of(line: &[u8]) -> (Section, Cow<'_, str>) {
    let section = match line {
        // The keys of working trees are absolute paths, and no session id contains a slash.
        [b'"', b'/', ..] => Section::Repos,
        b"}," | b"\"repos\":{" => Section::Between,
        [b'}', ..] => Section::End,
        _ => Section::Sessions,
    };
    match section {
        Section::Sessions | Section::Repos => (section, key(line).unwrap_or_default()),
        Section::Between | Section::End => (section, Cow::default()),
    }
}

/// The key in a line with an entry of a map; `None` where the line is not one.
fn key(entry: &[u8]) -> Option<Cow<'_, str>> {
    let inner = entry.strip_prefix(b"\"")?;
    let plain = &inner[..inner.iter().position(|byte| matches!(byte, b'"' | b'\\'))?];
    if inner[plain.len()] == b'"' {
        return str::from_utf8(plain).ok().map(Cow::Borrowed);
    }
    let mut parser = serde_json::Deserializer::from_slice(entry);
    String::deserialize(&mut parser).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::{Degraded, Repo, RepoKey, Root, RootKey, Session};
    use proptest::prelude::*;

    fn id(n: usize) -> SessionId {
        SessionId::checked(&format!("s-{n}")).unwrap()
    }

    /// A snapshot with one session for each number in `trees`, which is the number of its working
    /// tree. The names contain characters that JSON escapes.
    fn snapshot(trees: &[usize]) -> Snapshot {
        let top = |n: usize| "/w\"\n".to_owned() + &"/é".repeat(n);
        let sessions = trees.iter().enumerate().map(|(n, tree)| {
            let name = Some("}\n\"sessions\":{".to_owned());
            let cwd = Some(top(*tree) + "/x");
            (id(n), Session { repo: Some(top(*tree)), cwd, name, ..Session::default() })
        });
        let branch = Some("\"s-1\":{".to_owned());
        let repo = Repo { branch, ..Repo::default() };
        Snapshot {
            version: schema::VERSION,
            seq: 7,
            roots: [(RootKey("/r".to_owned()), Root::default())].into(),
            sessions: sessions.collect(),
            repos: trees.iter().map(|it| (RepoKey(top(*it)), repo.clone())).collect(),
            degraded: vec![Degraded { source: "git:/w".to_owned(), ..Degraded::default() }],
            ..Snapshot::default()
        }
    }

    fn part_of(bytes: &[u8], session: Option<&SessionId>, top: Option<&str>) -> Vec<u8> {
        part(io::Cursor::new(bytes), bytes.len() as u64, session, top).unwrap()
    }

    proptest! {
        #[test]
        fn a_part_is_everything_that_concerns_a_session(
            trees in prop::collection::vec(0..9_usize, 0..80),
            session in prop::option::of(0..90_usize),
            top in prop::option::of(0..9_usize),
        ) {
            let whole = snapshot(&trees);
            let bytes = to_bytes(&whole).unwrap();
            prop_assert_eq!(parse(&bytes), Ok(whole.clone()));
            let session = session.map(id);
            let top = top.map(|it| "/w\"\n".to_owned() + &"/é".repeat(it));
            let part = part_of(&bytes, session.as_ref(), top.as_deref());
            let found = parse(&part).unwrap();

            let mut expected = whole;
            expected.sessions.retain(|it, _| Some(it) == session.as_ref());
            let session = expected.sessions.values().next();
            let repo = top.or(session.and_then(|it| it.repo.clone()));
            expected.repos.retain(|it, _| Some(&it.0) == repo.as_ref());
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_file_panics(bytes in "(\"(sessions|repos)\":\\{|\"s-1\":|\"/w|[{}\",:\n]){0,40}") {
            part_of(bytes.as_bytes(), Some(&id(1)), Some("/w"));
        }

        #[test]
        fn a_file_that_is_cut_short_is_unreadable(
            trees in prop::collection::vec(0..9_usize, 1..80),
            left in any::<prop::sample::Index>(),
        ) {
            let bytes = to_bytes(&snapshot(&trees)).unwrap();
            let left = &bytes[..left.index(bytes.len())];
            // The file may also become shorter after its size was determined.
            for size in [left.len(), bytes.len(), 2 * bytes.len()] {
                let file = io::Cursor::new(left);
                let part = part(file, size as u64, Some(&id(0)), Some("/w/x")).unwrap();
                prop_assert_eq!(parse(&part), Err(Unusable::Unreadable));
            }
        }
    }

    #[test]
    fn a_file_without_its_last_bytes_is_unreadable() {
        let bytes = to_bytes(&snapshot(&[1, 2])).unwrap();
        for n_missing in 1..16 {
            let part = part_of(&bytes[..bytes.len() - n_missing], Some(&id(0)), None);
            assert_eq!(parse(&part), Err(Unusable::Unreadable), "{n_missing} bytes are missing");
        }
    }

    #[test]
    fn a_file_that_is_not_laid_out_in_lines_is_returned_whole() {
        let whole = snapshot(&[1, 2]);
        let bytes = serde_json::to_vec(&whole).unwrap();
        assert_eq!(parse(&part_of(&bytes, Some(&id(0)), None)), Ok(whole));
    }

    #[test]
    fn the_number_of_reads_grows_only_with_the_logarithm_of_the_size() {
        struct Counted<'a>(io::Cursor<&'a [u8]>, usize);
        impl Read for Counted<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                self.1 += 1;
                self.0.read(to)
            }
        }
        impl Seek for Counted<'_> {
            fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        let n_reads = |n_sessions: usize| {
            let trees: Vec<_> = (0..n_sessions).collect();
            let bytes = to_bytes(&snapshot(&trees)).unwrap();
            let mut file = Counted(io::Cursor::new(&bytes), 0);
            let part = part(&mut file, bytes.len() as u64, Some(&id(1)), None).unwrap();
            assert_eq!(parse(&part).unwrap().sessions.len(), 1);
            (file.1, bytes.len() / BLOCK)
        };
        let (few, many) = (n_reads(2), n_reads(256));
        assert!(few.0 <= 2 && many.0 <= 24 && many.1 > 48, "{few:?} {many:?}");
    }

    #[test]
    fn after_the_sessions_line_there_are_only_sorted_entries() {
        let bytes = to_bytes(&snapshot(&[2, 1, 3])).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (_, entries) = text.split_once(str::from_utf8(SESSIONS).unwrap()).unwrap();
        let orders: Vec<_> = entries.lines().map(|it| order_of(it.as_bytes())).collect();
        assert!(orders.is_sorted(), "{text}");
        let count = |section| orders.iter().filter(|it| it.0 == section).count();
        use Section::{Between, End, Repos, Sessions};
        assert_eq!([Sessions, Between, Repos, End].map(count), [3, 2, 3, 2], "{text}");
    }
}
