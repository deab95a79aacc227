//! How a snapshot lies in its file: each entry of its maps is a line.
//!
//! To whoever wants all of it, it is JSON like any other. A display wants one session's part, of
//! up to [`MAX_SESSIONS`](super::schema::MAX_SESSIONS), at every render: it leaves out the lines of
//! the others before it parses.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::ser::{Formatter, Serializer};

use super::schema::{self, Header, SessionId, Snapshot};
use super::{Unusable, open_bounded, read_bounded};

/// Largest snapshot that is read; ours have a few hundred KiB.
const MAX_SNAPSHOT: u64 = 16 << 20;

/// Reads a snapshot of our version.
pub fn read(path: &Path) -> Result<Snapshot, Unusable> {
    parse(&read_bounded(path, MAX_SNAPSHOT).map_err(|it| unusable(&it))?)
}

/// Reads what concerns one session: all but the other sessions, and the working trees that neither
/// it is in nor `cwd`.
pub fn read_part(
    path: &Path,
    session: Option<&SessionId>,
    cwd: Option<&str>,
) -> Result<Snapshot, Unusable> {
    let bytes = open_bounded(path, MAX_SNAPSHOT)
        .and_then(|(file, _)| part(BufReader::with_capacity(32 << 10, file), session, cwd));
    parse(&bytes.map_err(|it| unusable(&it))?)
}

fn unusable(err: &io::Error) -> Unusable {
    match err.kind() {
        io::ErrorKind::NotFound => Unusable::Missing,
        _ => Unusable::Unreadable,
    }
}

/// What stands in a snapshot of our version.
pub fn parse(bytes: &[u8]) -> Result<Snapshot, Unusable> {
    // Nothing but its version may be known of it before that is.
    let Header { version } = serde_json::from_slice(bytes).map_err(|_| Unusable::Unreadable)?;
    match version.cmp(&schema::VERSION) {
        Ordering::Equal => serde_json::from_slice(bytes).map_err(|_| Unusable::Unreadable),
        Ordering::Greater => Err(Unusable::Newer),
        Ordering::Less => Err(Unusable::Unreadable),
    }
}

/// The file's content.
pub fn to_bytes(snapshot: &Snapshot) -> serde_json::Result<Vec<u8>> {
    use serde::Serialize;
    let mut bytes = Vec::new();
    snapshot.serialize(&mut Serializer::with_formatter(&mut bytes, Lines { depth: 0 }))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Puts the keys of the snapshot, and of the maps in it, on lines of their own.
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

/// A snapshot without the lines that do not concern one session. What does not lie in lines stays
/// as it is.
pub fn part(
    mut file: impl BufRead,
    session: Option<&SessionId>,
    cwd: Option<&str>,
) -> io::Result<Vec<u8>> {
    // An id has nothing that would be escaped.
    let session = session.map(|it| format!("\"{}\":", it.0));
    let mut part = Part { session, cwd, repo: None, section: None, bytes: Vec::new() };
    // The beginning of a line that goes on in the next piece.
    let mut line = Vec::new();
    let newline = newline();
    loop {
        let mut piece = file.fill_buf()?;
        let n_bytes = piece.len();
        if n_bytes == 0 {
            part.add(&line);
            return Ok(part.bytes);
        }
        while let Some(end) = newline.find(piece) {
            if line.is_empty() {
                part.add(&piece[..end]);
            } else {
                line.extend_from_slice(&piece[..end]);
                part.add(&line);
                line.clear();
            }
            piece = &piece[end + 1..];
        }
        line.extend_from_slice(piece);
        file.consume(n_bytes);
    }
}

/// Searches for a newline as every processor of this kind can: to find out whether this one can do
/// better takes longer than the search.
#[cfg(target_arch = "x86_64")]
fn newline() -> memchr::arch::x86_64::sse2::memchr::One {
    memchr::arch::x86_64::sse2::memchr::One::new(b'\n').expect("every x86-64 has SSE2")
}

#[cfg(not(target_arch = "x86_64"))]
fn newline() -> memchr::arch::all::memchr::One {
    memchr::arch::all::memchr::One::new(b'\n')
}

struct Part<'a> {
    /// The wanted session as it stands at the beginning of its line.
    session: Option<String>,
    cwd: Option<&'a str>,
    /// The working tree that it names.
    repo: Option<String>,
    section: Option<Section>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Section {
    Sessions,
    /// They come after the sessions, one of which names one of them.
    Repos,
}

impl Part<'_> {
    fn add(&mut self, line: &[u8]) {
        let entry = line.strip_suffix(b",").unwrap_or(line);
        let is_wanted = match self.section {
            None => {
                self.section = match line {
                    br#""sessions":{"# => Some(Section::Sessions),
                    br#""repos":{"# => Some(Section::Repos),
                    _ => None,
                };
                self.bytes.extend_from_slice(line);
                return;
            }
            Some(_) if line.starts_with(b"}") => {
                self.section = None;
                if self.bytes.ends_with(b",") {
                    self.bytes.pop();
                }
                self.bytes.extend_from_slice(line);
                return;
            }
            Some(Section::Sessions) => self.is_session(entry),
            Some(Section::Repos) => self.is_repo(entry),
        };
        if is_wanted {
            self.bytes.extend_from_slice(entry);
            self.bytes.push(b',');
        }
    }

    fn is_session(&mut self, entry: &[u8]) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Place {
            repo: Option<String>,
        }
        let session = self.session.as_ref().and_then(|it| entry.strip_prefix(it.as_bytes()));
        let Some(session) = session else { return false };
        self.repo = serde_json::from_slice::<Place>(session).unwrap_or_default().repo;
        true
    }

    fn is_repo(&self, entry: &[u8]) -> bool {
        let top = key(entry).unwrap_or_default();
        // Comparing by components is dear, and seldom of use.
        let is_around = |it: &str| it.starts_with(&*top) && Path::new(it).starts_with(&*top);
        self.repo.as_deref() == Some(&*top) || !top.is_empty() && self.cwd.is_some_and(is_around)
    }
}

/// The key of a map's entry.
fn key(entry: &[u8]) -> Option<Cow<'_, str>> {
    let inner = entry.strip_prefix(b"\"")?;
    let plain = &inner[..inner.iter().position(|it| matches!(it, b'"' | b'\\'))?];
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

    /// Each session works in the tree of this number; every name has what JSON escapes.
    fn snapshot(trees: &[usize]) -> Snapshot {
        let top = |n: usize| format!("/w\"\n/{}", "é/".repeat(n));
        let sessions = trees.iter().enumerate().map(|(n, tree)| {
            let name = Some("}\n\"sessions\":{".to_owned());
            (id(n), Session { repo: Some(top(*tree)), name, ..Session::default() })
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

    proptest! {
        #[test]
        fn a_part_is_all_that_concerns_a_session(
            trees in prop::collection::vec(0..5_usize, 0..8),
            session in prop::option::of(0..9_usize),
            cwd in prop::option::of(0..5_usize),
        ) {
            let whole = snapshot(&trees);
            let bytes = to_bytes(&whole).unwrap();
            prop_assert_eq!(parse(&bytes), Ok(whole.clone()));
            let session = session.map(id);
            let cwd = cwd.map(|it| format!("/w\"\n/{}x", "é/".repeat(it)));
            let part = part(&*bytes, session.as_ref(), cwd.as_deref()).unwrap();
            let found = parse(&part).unwrap();

            let mut expected = whole;
            expected.sessions.retain(|it, _| Some(it) == session.as_ref());
            let own: Vec<_> = expected.sessions.values().filter_map(|it| it.repo.clone()).collect();
            let is_around = |it: &str| cwd.as_ref().is_some_and(|cwd| cwd.starts_with(it));
            expected.repos.retain(|it, _| own.contains(&it.0) || is_around(&it.0));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_file_panics(bytes in "(\"(sessions|repos)\":\\{|\"s-1\":|[{}\",:\n]){0,40}") {
            part(bytes.as_bytes(), Some(&id(1)), Some("/")).unwrap();
        }
    }

    #[test]
    fn what_does_not_lie_in_lines_is_read_whole() {
        let whole = snapshot(&[1, 2]);
        let bytes = serde_json::to_vec(&whole).unwrap();
        assert_eq!(parse(&part(&*bytes, Some(&id(0)), None).unwrap()), Ok(whole));
    }

    #[test]
    fn each_entry_is_a_line() {
        let bytes = to_bytes(&snapshot(&[1, 2])).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let starts = |it: &str| text.lines().filter(|line| line.starts_with(it)).count();
        assert_eq!(starts("\"s-"), 2, "{text}");
        assert_eq!(starts("\"/w"), 2, "{text}");
    }
}
