//! Publishes the snapshot and the lines, whole and only when they differ from what is published.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::dir::{FITTED, LINES, PLAIN, SNAPSHOT, StateDir, make_private};
use super::schema::{FittedLine, LATEST, SessionId, Snapshot};
use super::{atomic, snapshot};

/// The first sequence number that is not used. Readers that parse numbers as doubles cannot
/// represent every whole number above it.
const MAX_SEQ: u64 = 1 << 53;

/// Writes the snapshot and the lines into a state directory, and remembers what it wrote.
#[derive(Debug)]
pub struct Publisher {
    dir: StateDir,
    /// The sequence number of the newest snapshot.
    seq: u64,
    /// The snapshot that was published last, with `seq` and `published_at_ms` set to 0.
    last: Option<Snapshot>,
    lines: Texts,
    plain: Texts,
    fitted: Texts,
}

/// What is published in one folder, by file name. `None` before the first publication: then the
/// folder has to be listed to learn what an earlier process left there.
type Texts = Option<BTreeMap<String, String>>;

impl Publisher {
    /// A publisher for `dir`. Two publishers would overwrite each other's files, so the caller must
    /// hold the watch lock, or the fetch lock while there is no watcher.
    ///
    /// Sequence numbers continue after the one of `previous`, the snapshot on disk.
    pub fn new(dir: StateDir, previous: Option<&Snapshot>) -> Publisher {
        let seq = previous.map_or(0, seq_of);
        Publisher { dir, seq, last: None, lines: None, plain: None, fitted: None }
    }

    /// Publishes `snapshot` unless an equal one is published already. Returns whether it was
    /// written.
    ///
    /// `seq` and `published_at_ms` are set here, and say nothing of whether snapshots are equal.
    pub fn snapshot(&mut self, mut snapshot: Snapshot, now_ms: i64) -> io::Result<bool> {
        (snapshot.seq, snapshot.published_at_ms) = (0, 0);
        let exists = fs_err::symlink_metadata(self.dir.join(SNAPSHOT)).is_ok();
        if exists && self.last.as_ref() == Some(&snapshot) {
            return Ok(false);
        }
        (snapshot.seq, snapshot.published_at_ms) = (self.seq + 1, now_ms);
        atomic::write(self.dir.path(), SNAPSHOT, &snapshot::to_bytes(&snapshot)?)?;
        self.seq += 1;
        (snapshot.seq, snapshot.published_at_ms) = (0, 0);
        self.last = Some(snapshot);
        Ok(true)
    }

    /// Continues the sequence numbers after a snapshot that another process published in the
    /// meantime.
    pub fn catch_up(&mut self) {
        let published = self.dir.read_snapshot().as_ref().map_or(0, seq_of);
        self.seq = self.seq.max(published);
    }

    /// Publishes the line of each session, and the line of `latest` under [`LATEST`]. Removes the
    /// lines of sessions that are not in `lines`. Returns the sessions whose line has changed, with
    /// the new line.
    ///
    /// On an error, the lines that can be written are written nevertheless.
    pub fn lines(
        &mut self,
        lines: BTreeMap<SessionId, String>,
        latest: Option<&SessionId>,
    ) -> io::Result<Vec<(SessionId, String)>> {
        let folder = self.dir.join(LINES);
        let before = published(&folder, &mut self.lines)?;
        let is_changed = |(id, text): &(&SessionId, &String)| before.get(&id.0) != Some(*text);
        let changed = lines.iter().filter(is_changed);
        let changed = changed.map(|(id, text)| (id.clone(), text.clone())).collect();
        let wanted = with_latest(lines, latest);
        publish(&folder, before, wanted, &mut self.lines).map(|()| changed)
    }

    /// Publishes the same lines without colours, under the same names in a folder of their own.
    ///
    /// On an error, those that can be written are written nevertheless.
    pub fn plain(
        &mut self,
        lines: BTreeMap<SessionId, String>,
        latest: Option<&SessionId>,
    ) -> io::Result<()> {
        let folder = self.dir.join(PLAIN);
        let before = published(&folder, &mut self.plain)?;
        publish(&folder, before, with_latest(lines, latest), &mut self.plain)
    }

    /// Publishes the lines that displays asked for, and removes all others of this kind.
    ///
    /// On an error, those that can be written are written nevertheless.
    pub fn fitted(&mut self, lines: &BTreeMap<SessionId, FittedLine>) -> io::Result<()> {
        let folder = self.dir.join(FITTED);
        let before = published(&folder, &mut self.fitted)?;
        let text = |(id, line): (&SessionId, _)| Ok((id.0.clone(), serde_json::to_string(line)?));
        let wanted = lines.iter().map(text).collect::<io::Result<_>>()?;
        publish(&folder, before, wanted, &mut self.fitted)
    }
}

/// Lines by file name, with that of `latest` under [`LATEST`] as well.
fn with_latest(
    lines: BTreeMap<SessionId, String>,
    latest: Option<&SessionId>,
) -> BTreeMap<String, String> {
    let text = latest.and_then(|it| lines.get(it)).cloned();
    let text = text.map(|text| (LATEST.to_owned(), text));
    lines.into_iter().map(|(id, text)| (id.0, text)).chain(text).collect()
}

/// What is in the folder, as far as `known` tells. The folder may have been removed, or replaced by
/// a link to another directory.
fn published(folder: &Path, known: &mut Texts) -> io::Result<BTreeMap<String, String>> {
    let is_new = make_private(folder).map_err(io::Error::other)?;
    Ok(known.take().filter(|_| !is_new).unwrap_or_else(|| names_in(folder)))
}

/// Makes `wanted` of what was published `before`: writes what differs, and removes the rest.
fn publish(
    folder: &Path,
    before: BTreeMap<String, String>,
    mut wanted: BTreeMap<String, String>,
    known: &mut Texts,
) -> io::Result<()> {
    let mut error = None;
    wanted.retain(|name, text| {
        let is_published = before.get(name) == Some(text);
        let written = match is_published {
            true => Ok(()),
            false => atomic::write(folder, name, text.as_bytes()),
        };
        written.map_err(|err| error = Some(err)).is_ok()
    });
    for name in before.keys().filter(|it| !wanted.contains_key(*it)) {
        fs_err::remove_file(folder.join(name)).ok();
    }
    *known = Some(wanted);
    error.map_or(Ok(()), Err)
}

/// The names of the lines that an earlier process left, each with an empty text, which differs from
/// every line. Files whose names cannot be session ids are not included, and so never removed.
fn names_in(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|it| it.file_name().into_string().ok());
    names.filter(|it| SessionId::checked(it).is_some()).map(|it| (it, String::new())).collect()
}

/// The sequence number of a snapshot; 0 where it is too large to have been assigned by a publisher.
fn seq_of(snapshot: &Snapshot) -> u64 {
    if snapshot.seq < MAX_SEQ { snapshot.seq } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    fn publisher() -> (tempfile::TempDir, Publisher) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&tmp.path().join("a/state")).unwrap();
        (tmp, Publisher::new(dir, None))
    }

    fn empty() -> Snapshot {
        Snapshot { version: schema::VERSION, ..Snapshot::default() }
    }

    #[test]
    fn an_equal_snapshot_is_not_written_again() {
        let (_tmp, mut publisher) = publisher();
        let snapshot = empty();
        assert!(publisher.snapshot(snapshot.clone(), 1).unwrap());
        assert!(!publisher.snapshot(snapshot.clone(), 2).unwrap());
        fs_err::remove_file(publisher.dir.join(SNAPSHOT)).unwrap();
        publisher.seq = 0;
        assert!(publisher.snapshot(snapshot.clone(), 1).unwrap(), "it was removed");
        let read = publisher.dir.read_snapshot().unwrap();
        assert_eq!((read.seq, read.published_at_ms), (1, 1));
        let other = Snapshot { degraded: vec![schema::Degraded::default()], ..snapshot };
        assert!(publisher.snapshot(other, 3).unwrap());
        assert_eq!(publisher.dir.read_snapshot().unwrap().seq, 2);
    }

    #[test]
    fn a_new_publisher_continues_the_sequence_numbers() {
        let (_tmp, mut first) = publisher();
        first.snapshot(empty(), 1).unwrap();
        let before = first.dir.read_snapshot();
        let mut second = Publisher::new(first.dir, before.as_ref());
        second.snapshot(empty(), 2).unwrap();
        assert_eq!(second.dir.read_snapshot().unwrap().seq, 2);
    }

    #[test]
    fn only_changed_lines_are_written_and_lines_of_removed_sessions_are_removed() {
        let (_tmp, mut publisher) = publisher();
        let id = |it: &str| SessionId::checked(it).unwrap();
        let lines = |list: &[(&str, &str)]| {
            list.iter()
                .map(|(name, text)| (id(name), (*text).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let names = |publisher: &Publisher| {
            let mut names: Vec<_> = fs_err::read_dir(publisher.dir.join(LINES))
                .unwrap()
                .map(|it| it.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        fs_err::write(publisher.dir.join(LINES).join("left-by-another"), "old").unwrap();
        publisher.snapshot(empty(), 1).unwrap();
        let res = publisher.lines(lines(&[("a", "1"), ("b", "1")]), Some(&id("b"))).unwrap();
        assert_eq!(res.len(), 2);
        assert_eq!(names(&publisher), ["a", "b", "latest"]);
        let res = publisher.lines(lines(&[("a", "2"), ("b", "1")]), Some(&id("a"))).unwrap();
        assert_eq!(res, [(id("a"), "2".to_owned())]);
        let latest = fs_err::read(publisher.dir.join(LINES).join(LATEST)).unwrap();
        assert_eq!(latest, b"2");
        publisher.lines(BTreeMap::new(), None).unwrap();
        assert_eq!(names(&publisher), [""; 0]);
    }

    #[test]
    fn plain_lines_have_the_names_of_the_coloured_ones() {
        let (_tmp, mut publisher) = publisher();
        let folder = publisher.dir.join(PLAIN);
        fs_err::write(folder.join("left-by-another"), "old").unwrap();
        let id = SessionId::checked("a").unwrap();
        let lines = BTreeMap::from([(id.clone(), "text".to_owned())]);
        publisher.plain(lines, Some(&id)).unwrap();
        let read = |name: &str| fs_err::read_to_string(folder.join(name)).unwrap();
        assert_eq!(["a", LATEST].map(read), ["text", "text"]);
        assert!(!folder.join("left-by-another").exists());
        publisher.plain(BTreeMap::new(), None).unwrap();
        assert_eq!(fs_err::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn fitted_lines_are_those_that_are_asked_for_and_no_others() {
        let (_tmp, mut publisher) = publisher();
        let folder = publisher.dir.join(FITTED);
        fs_err::write(folder.join("left-by-another"), "old").unwrap();
        let line = |columns| FittedLine {
            columns,
            line: "\x1b[36ma \"b\"\x1b[0m".to_owned(),
            old: "a · 14:32".to_owned(),
            gone: "no watcher".to_owned(),
        };
        let id = SessionId::checked("a").unwrap();
        publisher.fitted(&BTreeMap::from([(id.clone(), line(80))])).unwrap();
        let names = || {
            let found = fs_err::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name());
            found.collect::<Vec<_>>()
        };
        assert_eq!(names(), ["a"]);
        let text = fs_err::read_to_string(folder.join("a")).unwrap();
        let expected = "{\"columns\":80,\"line\":\"\\u001b[36ma \\\"b\\\"\\u001b[0m\",\
                        \"old\":\"a · 14:32\",\"gone\":\"no watcher\"}";
        assert_eq!(text, expected);
        publisher.fitted(&BTreeMap::from([(id, line(40))])).unwrap();
        assert!(fs_err::read_to_string(folder.join("a")).unwrap().contains("\"columns\":40"));
        publisher.fitted(&BTreeMap::new()).unwrap();
        assert_eq!(names(), [""; 0]);
    }

    #[test]
    fn a_line_that_cannot_be_written_does_not_prevent_the_others() {
        let (_tmp, mut publisher) = publisher();
        let folder = publisher.dir.join(LINES);
        fs_err::create_dir_all(folder.join("b/in-the-way")).unwrap();
        let ids = ["a", "b", "c"].map(|it| SessionId::checked(it).unwrap());
        let lines = ids.map(|it| (it, "text".to_owned())).into();
        assert!(publisher.lines(lines, None).is_err());
        assert_eq!(fs_err::read(folder.join("a")).unwrap(), b"text");
        assert_eq!(fs_err::read(folder.join("c")).unwrap(), b"text");
    }

    #[test]
    fn a_missing_folder_of_lines_is_created_and_a_link_in_its_place_refused() {
        let (tmp, mut publisher) = publisher();
        let folder = publisher.dir.join(LINES);
        let id = SessionId::checked("a").unwrap();
        let lines = |text: &str| BTreeMap::from([(id.clone(), text.to_owned())]);
        publisher.lines(lines("1"), None).unwrap();
        fs_err::remove_dir_all(&folder).unwrap();
        publisher.lines(lines("2"), None).unwrap();
        assert_eq!(fs_err::read(folder.join("a")).unwrap(), b"2");

        let precious = tmp.path().join("precious");
        fs_err::create_dir(&precious).unwrap();
        fs_err::write(precious.join("file"), "x").unwrap();
        fs_err::remove_dir_all(&folder).unwrap();
        fs_err::os::unix::fs::symlink(&precious, &folder).unwrap();
        let err = publisher.lines(lines("3"), None).unwrap_err().to_string();
        assert!(err.contains("not a directory"), "{err}");
        let names: Vec<_> =
            fs_err::read_dir(&precious).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
    }
}
