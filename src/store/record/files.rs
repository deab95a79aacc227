//! The files of the record: where they lie, how they are read, and what is done about one that
//! cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::format::Header;
use super::month::{Month, Unreadable};
use crate::error::system_code;
use crate::store::atomic;
use crate::store::file::{open_bounded, read_bounded};
use crate::usage::entry::hash;
use crate::usage::history::{ClientCosts, GroupSums};
use crate::usage::ledger::REACH_MS;

pub(super) const HISTORY: &str = "history";
pub(super) const JOURNAL: &str = "journal";
/// Where records of other machines lie until they are brought in.
pub(super) const IMPORT: &str = "import";
pub(super) const SUFFIX: &str = ".jsonl";
/// What is added to the name of a file that cannot be read, followed by a number.
pub(super) const ASIDE: &str = ".unreadable-";
/// No file is read that is larger. A month of heavy use has less than a hundredth of this.
pub(super) const MAX_BYTES: u64 = 512 << 20;
/// A month is closed when it ended before the windows, and when nothing was added to it for as
/// long.
pub(super) const CLOSE_AFTER_MS: i64 = REACH_MS;
/// That a file is missing.
pub(super) const MISSING: &str = "it is missing";

/// A month in UTC: how many months have passed since the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MonthNumber(i32);

impl MonthNumber {
    pub(super) fn of(at_ms: i64) -> MonthNumber {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
        let date = TimeZone::UTC.to_datetime(at).date();
        MonthNumber(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    pub(super) fn file(self) -> String {
        format!("{:04}-{:02}{SUFFIX}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    pub(super) fn path(self, account: &Path) -> PathBuf {
        account.join(self.file())
    }

    pub(super) fn parse(name: &OsStr) -> Option<MonthNumber> {
        let (year, month) = name.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        let found = MonthNumber(year * 12 + month - 1);
        (found.file().as_str() == name).then_some(found)
    }

    pub(super) fn start_ms(self) -> i64 {
        let (year, month) = (self.0.div_euclid(12) as i16, self.0.rem_euclid(12) as i8 + 1);
        let first = Date::new(year, month, 1).map(|it| it.to_datetime(Time::midnight()));
        let first = first.and_then(|it| TimeZone::UTC.to_timestamp(it));
        first.map_or(i64::MAX, |it| it.as_millisecond())
    }

    pub(super) fn end_ms(self) -> i64 {
        MonthNumber(self.0 + 1).start_ms()
    }

    pub(super) fn overlaps(self, span: &std::ops::Range<i64>) -> bool {
        self.start_ms() < span.end && self.end_ms() > span.start
    }

    pub(super) fn is_closable(self, changed_ms: i64, now_ms: i64) -> bool {
        self.end_ms() < now_ms - CLOSE_AFTER_MS && changed_ms < now_ms - CLOSE_AFTER_MS
    }
}

/// The directory of the months of a config root. Its name says which root it is to people, and
/// does not depend on how long the path is.
pub fn account_dir(data_dir: &Path, root: &Path) -> PathBuf {
    let root = root.to_string_lossy();
    let last = Path::new(&*root).file_name().unwrap_or(OsStr::new("root"));
    let plain = |it: char| if it.is_ascii_alphanumeric() { it } else { '-' };
    let last: String = last.to_string_lossy().chars().take(32).map(plain).collect();
    let last = last.trim_matches('-');
    data_dir.join(HISTORY).join(format!("{last}-{:016x}", hash(&*root)))
}

pub(super) fn accounts(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(data_dir.join(HISTORY)).into_iter().flatten().flatten();
    let dirs = entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|it| it.path()).collect()
}

/// The directories of all accounts, with their config roots; `roots` are further ones.
pub(super) fn account_dirs<'a>(
    data_dir: &Path,
    roots: impl Iterator<Item = &'a String>,
) -> BTreeMap<PathBuf, String> {
    let mut dirs: BTreeMap<PathBuf, String> = BTreeMap::new();
    for dir in accounts(data_dir) {
        let first = months_of(&dir).into_iter().find_map(|it| read_header(&it.path(&dir)).ok());
        dirs.insert(dir, first.map_or_else(String::new, |it| it.root));
    }
    dirs.extend(roots.map(|root| (account_dir(data_dir, Path::new(root)), root.clone())));
    dirs
}

/// The months of an account, the earliest first.
pub(super) fn months_of(account: &Path) -> Vec<MonthNumber> {
    let entries = fs_err::read_dir(account).into_iter().flatten().flatten();
    let names: BTreeSet<MonthNumber> =
        entries.filter_map(|it| MonthNumber::parse(&it.file_name())).collect();
    names.into_iter().collect()
}

pub(super) fn read_month(path: &Path) -> std::result::Result<Month, Unreadable> {
    Month::parse(&bytes_of(path)?)
}

pub(super) fn read_sums(path: &Path) -> std::result::Result<(GroupSums, ClientCosts), Unreadable> {
    let (file, _) = open_bounded(path, MAX_BYTES).map_err(|err| unreadable(&err))?;
    Month::read_sums(io::BufReader::with_capacity(64 << 10, file))
}

pub(super) fn read_header(path: &Path) -> io::Result<Header> {
    use std::io::{BufRead, BufReader};
    let (file, _) = open_bounded(path, MAX_BYTES)?;
    let mut line = Vec::new();
    BufReader::new(io::Read::take(file, 64 << 10)).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

pub(super) fn bytes_of(path: &Path) -> std::result::Result<Vec<u8>, Unreadable> {
    read_bounded(path, MAX_BYTES).map_err(|err| unreadable(&err))
}

pub(super) fn unreadable(err: &io::Error) -> Unreadable {
    use io::ErrorKind::{InvalidData, NotFound, PermissionDenied};
    match err.kind() {
        NotFound => Unreadable::Damaged(MISSING),
        // It is no regular file, or too large, or the disk is damaged there.
        InvalidData => Unreadable::Damaged("the system cannot read it"),
        _ if system_code(err) == Some(nix::libc::EIO) => {
            Unreadable::Damaged("the system cannot read it")
        }
        PermissionDenied => Unreadable::Refused("this user may not read it"),
        _ => Unreadable::Refused("the system cannot read it at the moment"),
    }
}

pub(super) fn write_month(dir: &Path, name: MonthNumber, month: &Month) -> io::Result<()> {
    atomic::write_durably(dir, &name.file(), &month.render())
}

/// Removes temporary files of a process that was killed while it wrote.
pub(super) fn sweep(dir: &Path) {
    for path in atomic::temporaries(dir) {
        fs_err::remove_file(path).ok();
    }
}

/// The directories of the record that cannot be listed, so that nobody knows what is in them.
pub(super) fn unlistable(data_dir: &Path) -> Vec<(PathBuf, Unreadable)> {
    let dirs = [HISTORY, JOURNAL].map(|it| data_dir.join(it)).into_iter();
    let why = |dir: &Path| match fs_err::read_dir(dir) {
        // Nothing is recorded yet, or the account was removed just now.
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        listed => listed.err().map(|err| unreadable(&err)),
    };
    let dirs = dirs.chain(accounts(data_dir));
    dirs.filter_map(|dir| why(&dir).map(|why| (dir, why))).collect()
}

/// What was set aside, in the order of the paths.
pub fn set_aside_files(data_dir: &Path) -> Vec<PathBuf> {
    let dirs = accounts(data_dir).into_iter();
    let dirs = dirs.chain([JOURNAL, IMPORT].map(|it| data_dir.join(it)));
    let entries = dirs.flat_map(fs_err::read_dir).flatten().flatten().map(|it| it.path());
    let is_aside = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(ASIDE))
    };
    let mut paths: Vec<PathBuf> = entries.filter(is_aside).collect();
    paths.sort();
    paths
}

/// That files were set aside: a sentence for the user about each.
pub(super) fn set_aside_sentences(data_dir: &Path) -> Vec<String> {
    let sentence = |path: PathBuf| {
        format!("{} could not be read to its end, and was set aside", path.display())
    };
    set_aside_files(data_dir).into_iter().map(sentence).collect()
}

/// Gives a file that cannot be read another name, under which nothing overwrites it. Returns a
/// sentence that says so.
///
/// It is also an error if the system refused to read the file: that may well be whole.
pub(super) fn set_aside(path: &Path, why: &Unreadable) -> io::Result<String> {
    if let Unreadable::Refused(_) = why {
        return Err(io::Error::other(format!("{}: {why}", path.display())));
    }
    let mut numbers = (1..).map(|n| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{ASIDE}{n}"));
        PathBuf::from(name)
    });
    let aside = numbers.find(|it| fs_err::symlink_metadata(it).is_err());
    let aside = aside.expect("there are more numbers than files");
    fs_err::rename(path, &aside)?;
    Ok(format!("{}: {why}; it is now {}", path.display(), aside.display()))
}
