//! What is kept, and where: the state directory with its locks, the snapshot and the lines.
//!
//! **Invariant:** everything in it is 0600, and it is 0700 and ours, or we refuse to use it.

pub mod atomic;
pub mod checkpoint;
pub mod lock;
pub mod schema;
pub mod snapshot;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::OFlag;
use schema::{SessionId, Snapshot};

use crate::error::{Error, Result};

/// The snapshot's file name.
pub const SNAPSHOT: &str = "snapshot.json";
/// The datagram socket on which the watcher takes hints.
pub const SOCKET: &str = "notify.sock";
/// The folder of rendered lines.
pub const LINES: &str = "lines";
/// The folder of cookies, which `--oneshot` drops beside a living watcher.
pub const SYNC: &str = "sync";
/// The line in [`LINES`] of the session that was active last.
pub const LATEST: &str = "latest";

/// From here on not every whole number is one to those who read JSON's numbers as doubles.
const MAX_SEQ: u64 = 1 << 53;

/// The state directory, checked.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it where it is missing, and checks that nobody else can write
    /// or read it.
    pub fn open(path: &Path) -> Result<StateDir> {
        make_private(path)?;
        for name in [LINES, SYNC] {
            make_private(&path.join(name))?;
        }
        Ok(StateDir { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes what a watcher that was killed in the middle of writing left behind.
    ///
    /// Only for the holder of the watch lock or the fetch lock: nobody else writes then.
    pub fn sweep(&self) {
        for dir in [self.path.clone(), self.join(LINES)] {
            let Ok(entries) = fs_err::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                if atomic::is_temporary(&entry.file_name()) {
                    fs_err::remove_file(entry.path()).ok();
                }
            }
        }
    }

    /// The snapshot on disk; `None` where there is none, or none that this version understands.
    pub fn read_snapshot(&self) -> Option<Snapshot> {
        snapshot::read(&self.join(SNAPSHOT)).ok()
    }
}

/// Why there is no snapshot to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is no file.
    Missing,
    /// Its fields may mean something else than we know.
    Newer,
    /// It is no snapshot, or cannot be read.
    Unreadable,
}

/// Sees to it that a directory is there and ours alone. Says whether it had to be made.
fn make_private(path: &Path) -> Result<bool> {
    let doing = || format!("cannot use the state directory {}", path.display());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let hint = "set CCSTATUSD_DIR to a path that you can write";
    fs_err::create_dir_all(parent).map_err(|it| Error::new(doing()).because(it).hint(hint))?;
    let is_new = match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(it) if it.kind() == io::ErrorKind::AlreadyExists => false,
        Err(it) => return Err(Error::new(doing()).because(it).hint(hint)),
    };
    // Not followed: a link here could be somebody else's.
    let meta = fs_err::symlink_metadata(path).map_err(|it| Error::new(doing()).because(it))?;
    if !meta.is_dir() {
        return Err(Error::new(format!("{}: it is not a directory", doing()))
            .hint("move it away, or set CCSTATUSD_DIR to another path"));
    }
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != me {
        return Err(Error::new(format!("{}: it belongs to user {}", doing(), meta.uid()))
            .hint("set CCSTATUSD_DIR to a directory of your own"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(Error::new(format!(
            "{}: others may use it (mode {:03o})",
            doing(),
            meta.mode() & 0o777
        ))
        .hint(format!("chmod 700 '{}'", path.display())));
    }
    Ok(is_new)
}

/// Reads a regular file of at most `max` bytes. Never waits: not on a FIFO, not through a link.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (mut file, size) = open_bounded(path, max)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same for who does not want all of it in memory: the file, and how long it is now.
fn open_bounded(path: &Path, max: u64) -> io::Result<(io::Take<fs_err::File>, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > max {
        let what = format!("{}: not a regular file of at most {max} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok((file.take(max), meta.len()))
}

/// A snapshot's number. One that nobody could have counted to is none.
fn number(snapshot: &Snapshot) -> u64 {
    if snapshot.seq < MAX_SEQ { snapshot.seq } else { 0 }
}

/// Publishes snapshots and lines, and remembers what it wrote so that equal ones are not written
/// again.
#[derive(Debug)]
pub struct Publisher {
    dir: StateDir,
    seq: u64,
    last: Option<Snapshot>,
    /// By file name; `None` before the first publication, when only the folder itself says what
    /// an earlier process left there.
    lines: Option<BTreeMap<String, String>>,
}

impl Publisher {
    /// A publisher for `dir`, whose lock the caller holds: two publishers would disagree.
    ///
    /// Numbers go on after those of `before`, the snapshot that is there.
    pub fn new(dir: StateDir, before: Option<&Snapshot>) -> Publisher {
        Publisher { dir, seq: before.map_or(0, number), last: None, lines: None }
    }

    /// Publishes `snapshot`, numbered and dated, unless nothing in it changed. Says whether it
    /// wrote.
    pub fn snapshot(&mut self, mut snapshot: Snapshot, now_ms: i64) -> io::Result<bool> {
        // Neither has them yet, so what is compared is what they say.
        let is_there = fs_err::symlink_metadata(self.dir.join(SNAPSHOT)).is_ok();
        if is_there && self.last.as_ref() == Some(&snapshot) {
            return Ok(false);
        }
        (snapshot.seq, snapshot.published_at_ms) = (self.seq + 1, now_ms);
        atomic::write(self.dir.path(), SNAPSHOT, &snapshot::to_bytes(&snapshot)?)?;
        self.seq += 1;
        (snapshot.seq, snapshot.published_at_ms) = (0, 0);
        self.last = Some(snapshot);
        Ok(true)
    }

    /// Goes on counting after what somebody else published meanwhile.
    pub fn catch_up(&mut self) {
        let published = self.dir.read_snapshot().as_ref().map_or(0, number);
        self.seq = self.seq.max(published);
    }

    /// Publishes one line a session and the latest one's under [`LATEST`], and removes those of
    /// sessions that are gone. Returns the sessions whose line is another than before.
    pub fn lines(
        &mut self,
        lines: BTreeMap<SessionId, String>,
        latest: Option<&SessionId>,
    ) -> io::Result<Vec<(SessionId, String)>> {
        let folder = self.dir.join(LINES);
        // It may have been removed, or replaced by something that leads elsewhere.
        let is_new = make_private(&folder).map_err(io::Error::other)?;
        let before = self.lines.take().filter(|_| !is_new).unwrap_or_else(|| names_in(&folder));
        let mut changed = Vec::new();
        let mut wanted = BTreeMap::new();
        if let Some(text) = latest.and_then(|it| lines.get(it)) {
            wanted.insert(LATEST.to_owned(), text.clone());
        }
        for (id, text) in lines {
            if before.get(&id.0) != Some(&text) {
                changed.push((id.clone(), text.clone()));
            }
            wanted.insert(id.0, text);
        }
        // One that cannot be written is no reason to leave the others.
        let mut failure = None;
        wanted.retain(|name, text| {
            let is_there = before.get(name) == Some(text);
            let res = if is_there { Ok(()) } else { atomic::write(&folder, name, text.as_bytes()) };
            res.map_err(|it| failure = Some(it)).is_ok()
        });
        for name in before.keys().filter(|it| !wanted.contains_key(*it)) {
            fs_err::remove_file(folder.join(name)).ok();
        }
        self.lines = Some(wanted);
        failure.map_or(Ok(changed), Err)
    }
}

/// The lines that an earlier process left: their names, and no text that would equal one of ours.
/// What cannot be a line is not ours to remove.
fn names_in(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|it| it.file_name().into_string().ok());
    names.filter(|it| SessionId::checked(it).is_some()).map(|it| (it, String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
    fn a_new_publisher_goes_on_counting() {
        let (_tmp, mut first) = publisher();
        first.snapshot(empty(), 1).unwrap();
        let before = first.dir.read_snapshot();
        let mut second = Publisher::new(first.dir, before.as_ref());
        second.snapshot(empty(), 2).unwrap();
        assert_eq!(second.dir.read_snapshot().unwrap().seq, 2);
    }

    #[test]
    fn only_changed_lines_are_written_and_those_of_gone_sessions_removed() {
        let (_tmp, mut publisher) = publisher();
        let id = |it: &str| SessionId::checked(it).unwrap();
        let lines = |it: &[(&str, &str)]| {
            it.iter().map(|(name, text)| (id(name), (*text).to_owned())).collect::<BTreeMap<_, _>>()
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
    fn a_line_that_cannot_be_written_keeps_none_of_the_others() {
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
    fn a_folder_of_lines_that_was_removed_is_made_anew_and_one_that_leads_elsewhere_refused() {
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

    #[test]
    fn a_directory_that_others_may_use_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        fs_err::create_dir(&path).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let err = StateDir::open(&path).unwrap_err().to_string();
        assert!(err.contains("mode 755") && err.contains("chmod 700"), "{err}");
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        fs_err::os::unix::fs::symlink(tmp.path(), &path).unwrap();
        let err = StateDir::open(&path).unwrap_err().to_string();
        assert!(err.contains("not a directory"), "{err}");
    }

    #[test]
    fn an_id_that_could_leave_the_folder_is_no_id() {
        for id in ["", "..", "a/b", ".hidden", "a\0b", &"x".repeat(129)] {
            assert_eq!(SessionId::checked(id), None, "{id:?}");
        }
        assert!(SessionId::checked("2cf1aa4e-0d8e-4b62-9d1f-5b1f2f7f0c11").is_some());
    }
}
