//! The record on a disk, with faults at every write, and compared with an election of everything
//! that was ever added.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::files::{MonthNumber, months_of};
use super::fold::{CLOCK, MAX_FOLDED_FILES, exports};
use super::format::Stored;
use super::read::sums_if_unrelated;
use super::*;
use crate::store::atomic::faults;
use crate::time::{DAY_MS, HOUR_MS};
use crate::usage::blocks::SlotKey;
use crate::usage::election::Election;
use crate::usage::history::{GroupSums, History, Quarter};
use crate::usage::reply::ClientCost;
use crate::usage::reply::Reply;
use crate::usage::reply::testing::{NOON, by_lines, in_session, reply};

const ROOT: &str = "/home/x/.claude";

fn at(at_ms: i64, reply: Reply) -> Reply {
    Reply { at_ms, ..reply }
}

fn batch(replies: &[Reply]) -> Batch {
    let news = replies.iter().map(|it| (it.clone(), None)).collect();
    Batch { news, ..Batch::default() }
}

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Disk {
        Disk(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn open(&self) -> Record {
        Record::open(&self.path()).unwrap().expect("nobody else writes it")
    }

    /// A process appends these replies and ends.
    fn append(&self, replies: &[Reply]) {
        self.open().append(Path::new(ROOT), &batch(replies)).unwrap();
    }

    /// Brings the journal in at this time, which is right.
    fn fold(&self, now_ms: i64) -> io::Result<Vec<String>> {
        fs_err::remove_file(self.path().join(HISTORY).join(CLOCK)).ok();
        self.fold_by_clock(now_ms, None)
    }

    /// Brings the journal in at this time by the clock, which may be wrong.
    fn fold_by_clock(&self, now_ms: i64, keep_ms: Option<i64>) -> io::Result<Vec<String>> {
        let mut record = self.open();
        Ok(fold(&record.fold_task(now_ms, keep_ms))?.problems)
    }

    fn read(&self) -> History {
        read(&self.path(), i64::MIN..i64::MAX)
    }

    /// All sums, and that nothing was unreadable.
    fn sums(&self) -> GroupSums {
        let history = self.read();
        assert_eq!(history.problems, [""; 0]);
        history.accounts.into_iter().next().map_or_else(GroupSums::new, |it| it.sums)
    }

    fn months(&self) -> Vec<PathBuf> {
        let dir = account_dir(&self.path(), Path::new(ROOT));
        months_of(&dir).into_iter().map(|it| it.path(&dir)).collect()
    }
}

/// The sums that an election of all these replies gives.
fn by_election(replies: &[Reply]) -> GroupSums {
    let mut election = Election::default();
    for reply in replies {
        election.add(reply);
    }
    let mut sums = GroupSums::new();
    for (reply, _) in election.replies().filter(|it| it.1) {
        let quarters = sums.entry(Arc::clone(&reply.group)).or_default();
        quarters.entry(SlotKey::of(reply.at_ms)).or_default().add(&reply.quarter());
    }
    sums
}

/// Replies in three months, with copies, replays and replies without ids among them.
fn replies() -> Vec<Reply> {
    let side = |reply| Reply { is_sidechain: true, ..reply };
    let stated = |mut reply: Reply| {
        Arc::make_mut(&mut reply.group).class.is_stated = true;
        Reply { stated: 5_000, ..reply }
    };
    vec![
        reply("msg_1", "r", 5),
        reply("msg_1", "r", 9),
        in_session("t", reply("msg_1", "r", 9)),
        side(reply("msg_1", "q", 11)),
        at(NOON - 40 * DAY_MS, reply("msg_2", "r", 7)),
        at(NOON - 80 * DAY_MS, stated(reply("msg_3", "r", 8))),
        by_lines(&[1, 2], 3),
        by_lines(&[2, 3], 4),
    ]
}

#[test]
fn what_is_read_is_what_an_election_of_everything_gives() {
    let disk = Disk::new();
    assert_eq!(disk.sums(), GroupSums::new());
    disk.append(&replies()[..4]);
    assert_eq!(disk.sums(), by_election(&replies()[..4]), "in the journal");
    disk.append(&replies()[4..]);
    assert_eq!(disk.sums(), by_election(&replies()), "in two journals");
    disk.fold(NOON).unwrap();
    assert_eq!(disk.months().len(), 3);
    assert_eq!(disk.sums(), by_election(&replies()), "in months");
    disk.append(&replies());
    assert_eq!(disk.sums(), by_election(&replies()), "in both");
    disk.fold(NOON).unwrap();
    assert_eq!(disk.sums(), by_election(&replies()), "again");
    assert_eq!(segments(&disk.path()).unwrap(), [0; 0]);
}

#[test]
fn a_journal_is_added_to_the_months_whether_they_know_its_replies_or_not() {
    let known = [reply("msg_1", "r", 5), at(NOON - 40 * DAY_MS, reply("msg_2", "r", 7))];
    let is_apart = |journal: &[Reply]| {
        let disk = Disk::new();
        disk.append(&known);
        disk.fold(NOON).unwrap();
        disk.append(journal);
        let all: Vec<Reply> = known.iter().chain(journal).cloned().collect();
        assert_eq!(disk.sums(), by_election(&all));
        let dir = account_dir(&disk.path(), Path::new(ROOT));
        let stored = journal.iter().map(|reply| Stored {
            reply: reply.clone(),
            is_elected: true,
            instead_of_ms: None,
        });
        sums_if_unrelated(&dir, &stored.collect::<Vec<_>>()).is_some()
    };
    assert!(is_apart(&[reply("msg_3", "r", 5), reply("msg_3", "r", 9)]));
    assert!(!is_apart(&[reply("msg_3", "r", 5), reply("msg_1", "r", 9)]));
    assert!(!is_apart(&[reply("msg_1", "q", 9)]));
}

#[test]
fn a_span_has_the_quarters_that_begin_in_it() {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    let count = |span| {
        let history = read(&disk.path(), span);
        let groups = history.accounts.into_iter().flat_map(|it| it.sums.into_values());
        groups.flat_map(BTreeMap::into_values).map(|it: Quarter| it.n_replies).sum::<u64>()
    };
    assert_eq!(count(NOON - 41 * DAY_MS..NOON), 1);
    assert_eq!(count(NOON..NOON + 1), 2);
    assert_eq!(count(NOON + 1..i64::MAX), 0);
}

#[test]
fn a_ledger_gets_the_replies_since_a_time() {
    let disk = Disk::new();
    disk.append(&replies()[..4]);
    disk.fold(NOON).unwrap();
    disk.append(&replies()[4..]);
    let loaded = load(&disk.path(), Path::new(ROOT), NOON - 50 * DAY_MS);
    assert_eq!(loaded.problems, [""; 0]);
    let late: Vec<Reply> =
        replies().into_iter().filter(|it| it.at_ms >= NOON - 50 * DAY_MS).collect();
    assert_eq!(by_election(&loaded.replies), by_election(&late));
    assert_eq!(load(&disk.path(), Path::new("/other"), 0).replies, []);
}

#[test]
fn one_process_writes_at_a_time() {
    let disk = Disk::new();
    let first = disk.open();
    assert!(Record::open(&disk.path()).unwrap().is_none());
    assert_eq!(Record::writer(&disk.path()), Some(std::process::id()));
    drop(first);
    assert!(Record::open(&disk.path()).unwrap().is_some());
}

/// However many of the writes of a fold took place, nothing is lost and nothing counts twice.
#[test]
fn a_fold_that_ends_after_any_write_loses_nothing() {
    for n_writes in 0.. {
        let disk = Disk::new();
        disk.append(&replies()[..3]);
        disk.fold(NOON - DAY_MS).unwrap();
        disk.append(&replies()[3..]);
        let expected = by_election(&replies());
        // Late enough that a month is closed by it.
        let later_ms = NOON + 100 * DAY_MS;
        faults::after(Some(n_writes));
        let folded = disk.fold(later_ms);
        faults::after(None);
        assert_eq!(disk.sums(), expected, "after {n_writes} writes");
        disk.fold(later_ms).unwrap();
        assert_eq!(disk.sums(), expected, "after {n_writes} writes, and brought in again");
        disk.append(&replies());
        disk.fold(later_ms).unwrap();
        assert_eq!(disk.sums(), expected, "after {n_writes} writes, with copies");
        if folded.is_ok() {
            assert!(n_writes > 3, "there were {n_writes} writes");
            break;
        }
    }
}

#[test]
fn an_append_that_was_cut_short_spoils_nothing_else() {
    let disk = Disk::new();
    disk.append(&replies()[..2]);
    let path = segment(&disk.path(), 1);
    let whole = fs_err::read(&path).unwrap();
    for end in 0..whole.len() {
        fs_err::write(&path, &whole[..end]).unwrap();
        let sums = disk.sums();
        assert!(sums.is_empty() || sums == by_election(&replies()[..2]), "cut at {end}");
    }
    disk.append(&replies()[2..4]);
    assert_eq!(disk.sums(), by_election(&replies()[2..4]));
    disk.fold(NOON).unwrap();
    assert_eq!(disk.sums(), by_election(&replies()[2..4]));
}

/// Spoils the last month by `spoil`, and brings a further reply in. Checks that the file is set
/// aside as it is. `n_groups` is how many groups can be read then.
#[track_caller]
fn check_set_aside(spoil: impl Fn(&[u8]) -> Vec<u8>, n_groups: usize) {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    let n_sums = || disk.read().accounts[0].sums.values().flatten().count();
    let path = disk.months().pop().unwrap();
    let spoilt = spoil(&fs_err::read(&path).unwrap());
    fs_err::write(&path, &spoilt).unwrap();
    assert_eq!(n_sums(), n_groups);

    disk.append(&[in_session("z", reply("msg_9", "r", 1))]);
    let problems = disk.fold(NOON).unwrap();
    assert!(problems.len() == 1 && problems[0].contains("is now"), "{problems:?}");
    let aside = PathBuf::from(format!("{}.unreadable-1", path.display()));
    assert_eq!(fs_err::read(aside).unwrap(), spoilt);
    assert_eq!(n_sums(), n_groups + 1);
    let problems = disk.read().problems;
    assert!(problems.len() == 1 && problems[0].contains(".unreadable-1"), "{problems:?}");
}

#[test]
fn a_month_that_cannot_be_read_is_set_aside_and_never_overwritten() {
    let replaced = |before: &'static str, after: &'static str| {
        move |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(text.contains(before), "{text}");
            text.replacen(before, after, 1).into_bytes()
        }
    };
    // Two other months have a group each.
    check_set_aside(|_| Vec::new(), 2);
    check_set_aside(|bytes| bytes[..10].to_vec(), 2);
    check_set_aside(replaced("\"format\":1", "\"format\":2"), 2);
    check_set_aside(replaced("\"quarters\":[[17", "\"quarters\":[[16"), 2);
    // The sums come first, and can be read without the rest.
    check_set_aside(|bytes| bytes[..bytes.len() - 1].to_vec(), 3);
    check_set_aside(replaced("projects/p/s.jsonl", "projects/p/t.jsonl"), 3);
}

#[test]
fn a_month_that_cannot_be_read_is_a_problem_of_the_report() {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    fs_err::write(disk.months().pop().unwrap(), "").unwrap();
    let history = disk.read();
    assert_eq!(history.problems.len(), 1, "{:?}", history.problems);
    assert_eq!(history.accounts[0].sums.values().flatten().count(), 2);
}

/// A record whose last month cannot be read, with something in the journal for that month.
fn with_unread_month(spoil: impl Fn(&Path)) -> (Disk, PathBuf) {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    let path = disk.months().pop().unwrap();
    spoil(&path);
    disk.append(&[in_session("z", reply("msg_9", "r", 1))]);
    (disk, path)
}

fn empty(path: &Path) {
    fs_err::write(path, "").unwrap();
}

/// The superuser can read every file, but nobody can open a socket.
fn make_socket(path: &Path) {
    fs_err::remove_file(path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}

fn end_early(path: &Path) {
    let bytes = fs_err::read(path).unwrap();
    fs_err::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

#[test]
fn a_month_that_cannot_be_read_is_a_problem_although_the_journal_has_something_for_it() {
    for spoil in [empty, make_socket] {
        let (disk, path) = with_unread_month(spoil);
        let named = |span| {
            let problems = read(&disk.path(), span).problems;
            problems.len() == 1 && problems[0].starts_with(path.to_str().unwrap())
        };
        assert!(named(i64::MIN..i64::MAX) && named(NOON - HOUR_MS..NOON));
    }
}

#[test]
fn an_export_of_a_record_that_cannot_be_read_is_an_error_that_names_the_file() {
    let check = |disk: &Disk, path: &Path, hint: &str| {
        let err = export(&disk.path(), &mut Vec::new()).unwrap_err().to_string();
        assert!(err.contains(path.to_str().unwrap()) && err.contains(hint), "{err}");
    };
    let cases =
        [(empty as fn(&Path), "backup"), (make_socket, "let your user"), (end_early, "backup")];
    for (spoil, hint) in cases {
        let (disk, path) = with_unread_month(spoil);
        check(&disk, &path, hint);
        fs_err::remove_file(segment(&disk.path(), 2)).unwrap();
        check(&disk, &path, hint);
        fs_err::remove_file(&path).unwrap();
        assert_eq!(export(&disk.path(), &mut Vec::new()).unwrap(), [""; 0]);
    }
    let (disk, _) = with_unread_month(|_| {});
    let journal = segment(&disk.path(), 2);
    make_socket(&journal);
    check(&disk, &journal, "let your user read it");
    for name in [JOURNAL, HISTORY] {
        let dir = disk.path().join(name);
        fs_err::remove_dir_all(&dir).unwrap();
        fs_err::write(&dir, "").unwrap();
        check(&disk, &dir, "let your user read it");
        let problems = disk.read().problems;
        assert!(problems.len() == 1 && problems[0].contains(name), "{problems:?}");
        fs_err::remove_file(&dir).unwrap();
    }
}

#[test]
fn an_export_names_what_was_set_aside_before() {
    let (disk, path) = with_unread_month(empty);
    disk.fold(NOON).unwrap();
    let mut bytes = Vec::new();
    let lacking = export(&disk.path(), &mut bytes).unwrap();
    assert!(lacking.len() == 1 && lacking[0].starts_with(path.to_str().unwrap()), "{lacking:?}");
    let other = Disk::new();
    import_into(&other, &bytes);
    assert_eq!(other.sums(), disk.read().accounts[0].sums, "it has everything else");
}

#[test]
fn an_account_of_which_nothing_can_be_read_is_a_problem_and_no_account() {
    let disk = Disk::new();
    disk.append(&replies()[..1]);
    disk.fold(NOON).unwrap();
    empty(&disk.months()[0]);
    let history = disk.read();
    assert_eq!((history.accounts.len(), history.problems.len()), (0, 1), "{history:?}");
}

#[test]
fn a_record_begins_with_the_first_reply_that_can_be_read() {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    let mut times: Vec<i64> = replies().iter().map(|it| it.at_ms).collect();
    times.sort_unstable();
    let begins = || read(&disk.path(), NOON..NOON + 1).accounts[0].first_ms;
    assert_eq!(begins(), Some(times[0]));
    empty(&disk.months()[0]);
    let later = times.iter().copied().find(|it| MonthNumber::of(*it) > MonthNumber::of(times[0]));
    assert_eq!(begins(), later);
}

#[test]
fn a_month_that_cannot_be_read_when_it_is_closed_keeps_its_sums() {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    end_early(&disk.months()[0]);
    assert_eq!(disk.fold(NOON + 100 * DAY_MS).unwrap().len(), 1);
    let history = disk.read();
    assert_eq!(history.accounts[0].sums, by_election(&replies()));
    assert_eq!(history.problems.len(), 1, "what was set aside: {:?}", history.problems);
}

#[test]
fn a_journal_with_a_damaged_line_is_set_aside_and_its_other_lines_count() {
    let disk = Disk::new();
    disk.append(&replies()[..2]);
    let path = segment(&disk.path(), 1);
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, format!("{text}{{]\n")).unwrap();
    assert_eq!(disk.read().problems.len(), 1);
    assert_eq!(disk.fold(NOON).unwrap().len(), 2, "what is wrong, and where the file is now");
    let history = disk.read();
    assert_eq!(history.accounts[0].sums, by_election(&replies()[..2]));
    assert_eq!(history.problems.len(), 1, "{:?}", history.problems);
    assert_eq!(disk.fold(NOON).unwrap(), [""; 0]);
}

#[test]
fn a_closed_month_keeps_its_sums_and_knows_its_replies() {
    let disk = Disk::new();
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    let size = |disk: &Disk| {
        disk.months().iter().map(|it| fs_err::metadata(it).unwrap().len()).sum::<u64>()
    };
    let open = size(&disk);
    disk.fold(NOON + 30 * DAY_MS).unwrap();
    assert_eq!(size(&disk), open, "a reply was added not long ago");
    let later_ms = NOON + 100 * DAY_MS;
    disk.fold(later_ms).unwrap();
    assert!(size(&disk) < open);
    assert_eq!(disk.sums(), by_election(&replies()));
    disk.append(&replies());
    disk.fold(later_ms).unwrap();
    assert_eq!(disk.sums(), by_election(&replies()), "copies of what is closed");
    let mut all = replies();
    all.push(at(NOON - 80 * DAY_MS, reply("msg_9", "r", 100)));
    disk.append(&all[all.len() - 1..]);
    assert_eq!(disk.sums(), by_election(&all), "a closed month can get further replies");
    disk.fold(later_ms).unwrap();
    assert_eq!(disk.sums(), by_election(&all));
}

#[test]
fn what_the_client_said_last_of_a_sessions_cost_is_kept() {
    let disk = Disk::new();
    let say = |at_ms, cost| {
        let stated = ClientCost { session: "s".into(), at_ms, cost };
        let batch = Batch { client_costs: vec![stated], ..Batch::default() };
        disk.open().append(Path::new(ROOT), &batch).unwrap();
    };
    let said = || disk.read().accounts[0].client_costs["s"];
    say(NOON, 5);
    say(NOON - DAY_MS, 7);
    assert_eq!(said(), (NOON, 5), "in the journal");
    disk.fold(NOON).unwrap();
    assert_eq!(said(), (NOON, 5), "in the month");
    say(NOON + 20 * DAY_MS, 9);
    disk.append(&replies());
    disk.fold(NOON).unwrap();
    assert_eq!(said(), (NOON + 20 * DAY_MS, 9), "in another month");
    disk.fold(NOON + 100 * DAY_MS).unwrap();
    assert_eq!(said(), (NOON + 20 * DAY_MS, 9), "closed");
    assert_eq!(disk.sums(), by_election(&replies()));
}

#[test]
fn months_are_kept_for_as_long_as_the_user_wants() {
    let disk = Disk::new();
    disk.append(&replies());
    let mut record = disk.open();
    fold(&record.fold_task(NOON, Some(50 * DAY_MS))).unwrap();
    assert_eq!(disk.months().len(), 2);
}

#[test]
fn a_mark_is_reached_as_long_as_everything_before_it_is_there() {
    let disk = Disk::new();
    let mut record = disk.open();
    let empty = record.mark();
    record.append(Path::new(ROOT), &batch(&replies())).unwrap();
    let written = record.mark();
    assert!(record.reaches(empty) && record.reaches(written));
    drop(record);
    let mut record = disk.open();
    assert!(record.reaches(written));
    let journal = segment(&disk.path(), 1);
    let bytes = fs_err::read(&journal).unwrap();
    fs_err::write(&journal, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!record.reaches(written), "the machine lost its end");
    fs_err::remove_file(&journal).unwrap();
    assert!(!record.reaches(written), "the machine lost all of it");
    fs_err::write(&journal, &bytes).unwrap();
    fold(&record.fold_task(NOON, None)).unwrap();
    assert!(record.reaches(written), "it is in the months");
    drop(record);
    fs_err::remove_dir_all(disk.path()).unwrap();
    assert!(!disk.open().reaches(written), "the record was removed");
}

/// Until a clock that is years ahead is set right, nothing is closed or deleted.
#[test]
fn a_leap_of_the_clock_closes_and_deletes_nothing() {
    let disk = Disk::new();
    disk.append(&replies());
    let keep_ms = Some(60 * DAY_MS);
    disk.fold_by_clock(NOON, keep_ms).unwrap();
    let n_loaded = || load(&disk.path(), Path::new(ROOT), i64::MIN).replies.len();
    let before = n_loaded();
    assert!(before > 0);
    let ahead_ms = NOON + 1000 * DAY_MS;
    for now_ms in [ahead_ms, ahead_ms + DAY_MS, NOON, NOON + DAY_MS] {
        disk.fold_by_clock(now_ms, keep_ms).unwrap();
        assert_eq!(n_loaded(), before, "at {now_ms}");
    }
    for days in (0..100).step_by(5) {
        disk.fold_by_clock(NOON + days * DAY_MS, None).unwrap();
    }
    assert_eq!(n_loaded(), 0, "they are closed");
    assert_eq!(disk.sums(), by_election(&replies()));
}

/// A machine that loses its power leaves files of their full length, but with zeros.
#[test]
fn a_mark_is_not_reached_where_the_journal_is_damaged() {
    let disk = Disk::new();
    disk.append(&replies()[..2]);
    let mut record = disk.open();
    record.append(Path::new(ROOT), &batch(&replies()[2..])).unwrap();
    let written = record.mark();
    drop(record);
    let check = |number, spoil: &dyn Fn(&mut Vec<u8>)| {
        let journal = segment(&disk.path(), number);
        let whole = fs_err::read(&journal).unwrap();
        let mut spoilt = whole.clone();
        spoil(&mut spoilt);
        fs_err::write(&journal, spoilt).unwrap();
        assert!(!disk.open().reaches(written), "file {number}");
        fs_err::write(&journal, whole).unwrap();
        assert!(disk.open().reaches(written));
    };
    for number in [1, 2] {
        check(number, &|bytes| bytes.fill(0));
        check(number, &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] = 0;
        });
    }
    check(1, &Vec::clear);
    check(2, &|bytes| *bytes.last_mut().unwrap() = 0);
}

#[test]
fn a_mark_is_not_reached_where_the_journal_was_lost_after_a_fold() {
    let disk = Disk::new();
    for _ in 0..3 {
        disk.append(&replies()[..3]);
    }
    disk.fold(NOON).unwrap();
    let mut record = disk.open();
    record.append(Path::new(ROOT), &batch(&replies()[3..])).unwrap();
    let written = record.mark();
    drop(record);
    fs_err::remove_file(segment(&disk.path(), written.number)).unwrap();
    assert!(!disk.open().reaches(written));
}

/// As runs without a watcher do, each of which begins a file of its own.
#[test]
fn a_journal_of_many_files_is_brought_in_by_and_by() {
    let disk = Disk::new();
    let n_files = MAX_FOLDED_FILES + 10;
    (0..n_files).for_each(|_| disk.append(&replies()[..1]));
    disk.fold(NOON).unwrap();
    assert_eq!(segments(&disk.path()).unwrap().len(), 10);
    assert_eq!(folded_before(&disk.path()), MAX_FOLDED_FILES as u64 + 1);
    disk.fold(NOON).unwrap();
    assert_eq!(segments(&disk.path()).unwrap().len(), 0);
    assert_eq!(disk.sums(), by_election(&replies()[..1]));
}

#[test]
fn a_record_that_was_removed_is_gone() {
    let remove_all = |path: &Path| fs_err::remove_dir_all(path).unwrap();
    let remove_journal = |path: &Path| fs_err::remove_dir_all(path.join(JOURNAL)).unwrap();
    let removals: [&dyn Fn(&Path); 2] = [&remove_all, &remove_journal];
    for remove in removals {
        let disk = Disk::new();
        let mut record = disk.open();
        assert!(!record.is_gone());
        record.append(Path::new(ROOT), &batch(&replies())).unwrap();
        assert!(!record.is_gone());
        fold(&record.fold_task(NOON, None)).unwrap();
        record.append(Path::new(ROOT), &batch(&replies())).unwrap();
        assert!(!record.is_gone());
        remove(&disk.path());
        assert!(record.is_gone());
    }
}

/// Such as a file of another user, or any file while too many are open: it may be whole.
#[test]
fn what_the_system_refuses_to_read_is_not_set_aside() {
    for is_month in [true, false] {
        let disk = Disk::new();
        disk.append(&replies()[..3]);
        disk.fold(NOON).unwrap();
        disk.append(&replies()[3..]);
        let path = match is_month {
            true => disk.months().pop().unwrap(),
            false => segment(&disk.path(), 2),
        };
        assert!(path.exists(), "{path:?}");
        let elsewhere = disk.0.path().join("elsewhere");
        fs_err::rename(&path, &elsewhere).unwrap();
        // The superuser can read every file, but nobody can open a socket.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(disk.fold(NOON).is_err());
        fs_err::rename(&elsewhere, &path).unwrap();
        assert_eq!(disk.sums(), by_election(&replies()));
        disk.fold(NOON).unwrap();
        assert_eq!(disk.sums(), by_election(&replies()));
    }
}

/// Every format that was ever released stays readable. Never change these files; add others.
#[test]
fn the_first_format_is_read_and_is_the_one_that_is_written() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let disk = Disk::new();
    disk.append(&replies());
    let journal = fs_err::read(segment(&disk.path(), 1)).unwrap();
    disk.fold(NOON).unwrap();
    let open = fs_err::read(&disk.months()[2]).unwrap();
    disk.fold(NOON + 60 * DAY_MS).unwrap();
    let closed = fs_err::read(&disk.months()[0]).unwrap();
    for (name, found) in
        [("journal-1.jsonl", journal), ("closed-1.jsonl", closed), ("open-1.jsonl", open)]
    {
        let path = golden.join(name);
        let before = fs_err::read(&path).unwrap_or_default();
        if before != found {
            let left = std::env::temp_dir().join(format!("ccstatusd-golden-{name}"));
            fs_err::write(&left, found).unwrap();
            panic!("{} differs from what is written now: {}", path.display(), left.display());
        }
    }
}

fn exported(disk: &Disk) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(&disk.path(), &mut bytes).unwrap();
    bytes
}

fn import_into(disk: &Disk, bytes: &[u8]) {
    offer(&disk.path(), bytes, None).unwrap();
    assert_eq!(disk.fold(NOON).unwrap(), [""; 0]);
}

/// `mine` and `theirs` are replies on two machines, which may be the same. The months may be closed
/// before, on either one. Both must have the union in the end, however often it is exchanged.
#[track_caller]
fn check_exchange(mine: &[Reply], theirs: &[Reply]) {
    let union = [mine, theirs].concat();
    for (mine_closed, theirs_closed) in [(false, false), (true, false), (false, true), (true, true)]
    {
        let disks = [Disk::new(), Disk::new()];
        disks[0].append(mine);
        disks[1].append(theirs);
        for (disk, is_closed) in disks.iter().zip([mine_closed, theirs_closed]) {
            if is_closed {
                disk.fold(NOON).unwrap();
                disk.fold(NOON + 100 * DAY_MS).unwrap();
            }
        }
        for _ in 0..2 {
            import_into(&disks[0], &exported(&disks[1]));
            import_into(&disks[1], &exported(&disks[0]));
            for disk in &disks {
                let closed = (mine_closed, theirs_closed);
                assert_eq!(disk.sums(), by_election(&union), "closed: {closed:?}");
            }
        }
    }
}

#[test]
fn two_machines_exchange_their_records() {
    let mine = replies();
    let theirs: Vec<Reply> =
        (0..5).map(|n| at(NOON - n * 30 * DAY_MS, reply(&format!("msg_t{n}"), "r", 7))).collect();
    check_exchange(&mine, &[]);
    check_exchange(&mine, &mine);
    check_exchange(&mine, &theirs);
    // One knows some of the other's, in the same quarter of an hour and in others.
    check_exchange(&mine[4..], &[&mine[4..6], &theirs].concat());
    let more = reply("msg_9", "r", 4);
    check_exchange(std::slice::from_ref(&more), &[more.clone(), reply("msg_8", "r", 3)]);
}

#[test]
fn an_export_belongs_to_the_root_that_the_user_names() {
    let [mine, theirs] = [Disk::new(), Disk::new()];
    theirs.append(&replies());
    offer(&mine.path(), &exported(&theirs), Some(Path::new("/elsewhere"))).unwrap();
    mine.fold(NOON).unwrap();
    let accounts = mine.read().accounts;
    let roots: Vec<_> = accounts.iter().map(|it| it.root.clone()).collect();
    assert_eq!(roots, [Path::new("/elsewhere")]);
    assert_eq!(accounts[0].sums, by_election(&replies()));
}

#[test]
fn what_is_no_export_is_refused() {
    let disk = Disk::new();
    disk.append(&replies());
    let export = exported(&disk);
    for bytes in [&b"{}"[..], b"x\n", &export[..export.len() - 2]] {
        assert!(offer(&disk.path(), bytes, None).is_err());
    }
    assert!(exports(&disk.path()).is_empty());
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let ids = (0..6_usize, 0..3_usize, prop::collection::vec(1..6_u64, 1..3));
    (ids, any::<bool>(), 1..5_u64, -48..48_i64, 0..3_usize).prop_map(
        |((message, request, lines), is_sidechain, output, hours, session)| {
            let copy = match message {
                0 | 1 => by_lines(&lines, output),
                _ => reply(&format!("msg_{message}"), ["", "r", "q"][request], output),
            };
            // Midnight in UTC between October and November.
            let midnight_ms = NOON - 22 * DAY_MS - 12 * 3_600_000;
            let at_ms = midnight_ms + hours * 1_800_000;
            in_session(["s", "t", "u"][session], Reply { at_ms, is_sidechain, ..copy })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]

    /// Replies around the end of a month come in any portions, and are brought in at any times:
    /// the record has what an election of all of them gives.
    #[test]
    fn portions_and_folds_change_nothing(
        replies in prop::collection::vec(any_reply(), 1..25),
        portions in prop::collection::vec((1..6_usize, any::<bool>()), 1..12),
        again in any::<bool>(),
    ) {
        let replies: Vec<Reply> =
            (0..).zip(replies).map(|(offset, it)| Reply { offset, ..it }).collect();
        let disk = Disk::new();
        let mut rest = &replies[..];
        for (n, is_folded) in portions {
            let (portion, later) = rest.split_at(n.min(rest.len()));
            rest = later;
            disk.append(portion);
            if is_folded {
                disk.fold(NOON).unwrap();
            }
        }
        disk.append(rest);
        prop_assert_eq!(disk.sums(), by_election(&replies));
        if again {
            disk.append(&replies);
        }
        disk.fold(NOON).unwrap();
        prop_assert_eq!(disk.sums(), by_election(&replies));
        // Closed, and copies turn up.
        disk.fold(NOON + 100 * DAY_MS).unwrap();
        prop_assert_eq!(disk.sums(), by_election(&replies));
    }
}
