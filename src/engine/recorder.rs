//! Writes the record of usage. What cannot be written is kept for the next try.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tracing::warn;

use crate::error::Result;
use crate::sanitize;
use crate::state::event::Event;
use crate::store::record::{self, Mark, Record};
use crate::time::Now;
use crate::usage::ledger::REACH_MS;
use crate::usage::reply::{Batch, Reply};

/// The most replies that are kept while the record cannot be written. Others are dropped; once it
/// can be written, the transcripts, which still have them, are read again.
const MAX_PENDING: usize = 100_000;

/// The record, which may not be writable at the moment.
#[derive(Debug)]
pub(super) struct Recorder {
    data_dir: Result<PathBuf>,
    /// `None` while it cannot be opened.
    record: Option<Record>,
    /// What was not written yet, by config root.
    pending: Vec<(PathBuf, Batch)>,
    is_failing: bool,
    /// Whether the last fold failed.
    has_fold_failed: Arc<AtomicBool>,
    /// Whether all that was counted has to be written again: some of it was dropped, or somebody
    /// removed the record.
    is_lacking: bool,
    /// Where the end of a fold is told.
    events: Sender<Event>,
    /// The thread of the last fold that ran in one.
    folding: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens the record in this data directory. An error in its place says why there is none.
    pub(super) fn open(data_dir: Result<PathBuf>, events: Sender<Event>) -> Recorder {
        Recorder {
            data_dir,
            record: None,
            pending: Vec::new(),
            is_failing: false,
            has_fold_failed: Arc::default(),
            is_lacking: false,
            events,
            folding: None,
        }
    }

    /// Appends what one config root used. Returns what the state is to be told of the record.
    pub(super) fn append(&mut self, root: PathBuf, batch: Batch) -> Vec<Event> {
        let n_pending: usize = self.pending.iter().map(|(_, batch)| batch.news.len()).sum();
        if n_pending < MAX_PENDING {
            self.pending.push((root, batch));
        } else {
            self.is_lacking = true;
        }
        let written = self.write();
        self.tell(written)
    }

    /// The replies of a config root that can still be in a window: today, a block, a month, …
    pub(super) fn load(&self, root: &Path, now: Now) -> Vec<Reply> {
        let Ok(data_dir) = &self.data_dir else { return Vec::new() };
        let loaded = record::load(data_dir, root, now.wall_ms - REACH_MS);
        for problem in &loaded.problems {
            warn!("{}", sanitize::marked(&format!("the record of usage: {problem}")));
        }
        let pending = self.pending.iter().filter(|(of, _)| of == root);
        let pending = pending.flat_map(|(_, batch)| &batch.news).map(|(reply, _)| reply.clone());
        loaded.replies.into_iter().chain(pending).collect()
    }

    /// Writes what could not be written before, and brings the journal into the months: in a thread
    /// of its own, unless the process ends then. Returns what the state is to be told.
    pub(super) fn fold(&mut self, keep_ms: Option<i64>, is_last: bool, now: Now) -> Vec<Event> {
        if is_last && let Some(folding) = self.folding.take() {
            folding.join().ok();
        }
        let written = self.write();
        let is_written = written.is_ok();
        let mut told: Vec<Event> = self.tell(written);
        let Some(record) = self.record.as_mut().filter(|_| is_written) else {
            told.push(Event::Folded { has_imported: false });
            return told;
        };
        if !record.may_fold() {
            // The process that writes the months brings in what this one appended.
            told.push(Event::Folded { has_imported: false });
            return told;
        }
        let task = record.fold_task(now.wall_ms, keep_ms);
        let has_failed = Arc::clone(&self.has_fold_failed);
        let run = move || {
            let folded = record::fold(&task);
            let had_failed = has_failed.swap(folded.is_err(), Relaxed);
            let (news, has_imported) = match folded {
                Ok(folded) => {
                    for problem in folded.problems {
                        warn!("{}", sanitize::marked(&format!("the record of usage: {problem}")));
                    }
                    (had_failed.then_some(Event::RecordFailed(None)), folded.has_imported)
                }
                Err(err) => (Some(Event::RecordFailed(Some(err.to_string()))), false),
            };
            news.into_iter().chain([Event::Folded { has_imported }])
        };
        if is_last {
            told.extend(run());
            return told;
        }
        let answer = self.events.clone();
        let run = move || run().for_each(|event| drop(answer.send(event)));
        match std::thread::Builder::new().name("record".to_owned()).spawn(run) {
            Ok(folding) => self.folding = Some(folding),
            Err(err) => told.extend([
                Event::RecordFailed(Some(err.to_string())),
                Event::Folded { has_imported: false },
            ]),
        }
        told
    }

    /// How much is written; `None` if something is not.
    pub(super) fn mark(&self) -> Option<Mark> {
        let is_whole = self.pending.is_empty() && !self.is_lacking;
        self.record.as_ref().filter(|_| is_whole).map(Record::mark)
    }

    /// About how many replies the journal had when it was opened.
    pub(super) fn n_unfolded(&self) -> usize {
        // A line has some 300 bytes for what its replies share, and each reply about 90.
        let n_bytes = self.record.as_ref().map_or(0, Record::n_bytes_found);
        usize::try_from(n_bytes / 130).unwrap_or(usize::MAX)
    }

    /// Whether all that was written up to a mark is still there.
    pub(super) fn reaches(&mut self, mark: Option<Mark>) -> bool {
        self.write().is_ok()
            && mark.is_some_and(|mark| self.record.as_ref().is_some_and(|it| it.reaches(mark)))
    }

    /// Opens the record if that was not possible so far, and appends what is pending.
    fn write(&mut self) -> std::result::Result<(), String> {
        if self.record.take_if(|it| it.is_gone()).is_some() {
            warn!("the record of usage was removed; it is written again");
            self.is_lacking = true;
        }
        if self.record.is_none() {
            let data_dir = self.data_dir.as_ref().map_err(ToString::to_string)?;
            self.record = Some(Record::open_shared(data_dir).map_err(|err| err.to_string())?);
        }
        let record = self.record.as_mut().expect("it was opened");
        for (root, batch) in &self.pending {
            record.append(root, batch).map_err(|err| err.to_string())?;
        }
        self.pending.clear();
        Ok(())
    }

    /// What the state is to be told of this result, if that is news.
    fn tell(&mut self, written: std::result::Result<(), String>) -> Vec<Event> {
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        match written {
            Ok(()) => {
                let is_lacking = std::mem::take(&mut self.is_lacking);
                let works = was_failing.then_some(Event::RecordFailed(None));
                works.into_iter().chain(is_lacking.then_some(Event::RecordLacks)).collect()
            }
            Err(reason) => vec![Event::RecordFailed(Some(reason))],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::usage::reply::testing::{NOON, reply};

    fn batch(n: usize) -> Batch {
        let news = (0..n).map(|it| (reply(&format!("msg_{it}"), "r", 1), None));
        Batch { news: news.collect(), ..Batch::default() }
    }

    fn recorder(data_dir: &Path) -> Recorder {
        Recorder::open(Ok(data_dir.to_owned()), crossbeam_channel::unbounded().0)
    }

    fn now() -> Now {
        Now { wall_ms: NOON, ..Now::read() }
    }

    fn root() -> PathBuf {
        "/home/x/.claude".into()
    }

    #[test]
    fn a_fold_that_works_again_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let mut recorder = recorder(&data_dir);
        assert!(recorder.append(root(), batch(1)).is_empty());
        let failed = |told: &[Event]| match told.first() {
            Some(Event::RecordFailed(reason)) => Some(reason.is_some()),
            _ => None,
        };
        // No account has a directory where this is.
        let root_dir = crate::store::record::account_dir(&data_dir, &root());
        fs_err::write(&root_dir, "").unwrap();
        assert_eq!(failed(&recorder.fold(None, true, now())), Some(true));
        fs_err::remove_file(&root_dir).unwrap();
        assert_eq!(failed(&recorder.fold(None, true, now())), Some(false));
        assert_eq!(failed(&recorder.fold(None, true, now())), None);
        assert!(root_dir.is_dir());
    }

    #[test]
    fn what_could_not_be_kept_is_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        fs_err::write(&data_dir, "in the way").unwrap();
        let mut recorder = recorder(&data_dir);
        for n in [MAX_PENDING, 1] {
            let told = recorder.append(root(), batch(n));
            assert!(matches!(told[..], [Event::RecordFailed(Some(_))]), "{told:?}");
        }
        fs_err::remove_file(&data_dir).unwrap();
        assert_eq!(recorder.mark(), None);
        let told = recorder.fold(None, true, now());
        assert!(matches!(told[..2], [Event::RecordFailed(None), Event::RecordLacks]), "{told:?}");
        assert!(recorder.mark().is_some());
    }

    /// As watchers with other state directories do.
    #[test]
    fn two_processes_append_and_one_of_them_folds() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let (mut first, mut second) = (recorder(&data_dir), recorder(&data_dir));
        for round in 0..3 {
            for (recorder, from) in [(&mut first, 0), (&mut second, 100)] {
                let from = from + 10 * round;
                let news = (from..from + 10).map(|it| (reply(&format!("msg_{it}"), "r", 1), None));
                let batch = Batch { news: news.collect(), ..Batch::default() };
                assert!(recorder.append(root(), batch).is_empty());
            }
            assert_eq!(first.load(&root(), now()).len(), 20 * (round + 1));
            second.fold(None, true, now());
            first.fold(None, true, now());
            assert_eq!(first.load(&root(), now()).len(), 20 * (round + 1));
            for recorder in [&mut first, &mut second] {
                let mark = recorder.mark();
                assert!(recorder.reaches(mark));
            }
        }
        drop(first);
        second.fold(None, true, now());
        assert_eq!(second.load(&root(), now()).len(), 60);
        let journal = fs_err::read_dir(data_dir.join("journal")).unwrap();
        assert_eq!(journal.count(), 0, "all is in the months");
    }

    #[test]
    fn a_record_that_was_removed_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let mut recorder = recorder(&data_dir);
        assert!(recorder.append(root(), batch(1)).is_empty());
        fs_err::remove_dir_all(&data_dir).unwrap();
        let told: Vec<_> =
            iter::repeat_with(|| recorder.append(root(), batch(2))).take(2).collect();
        assert!(matches!(told[0][..], [Event::RecordLacks]), "{told:?}");
        assert!(told[1].is_empty(), "{told:?}");
        assert_eq!(recorder.load(&root(), now()).len(), 4);
    }
}
