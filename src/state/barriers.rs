//! PURE. Barriers: each waits for the fetches that were planned when it began. The first scan waits
//! so that sums are complete, and each cookie waits so that its answer includes every earlier
//! change.
//!
//! See docs/decisions/013-barriers-wait-for-what-was-wanted.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::fetch::job::Source;

/// The barriers that still wait, and the cookies that were answered.
#[derive(Debug)]
pub(super) struct Barriers {
    waiting: Vec<Barrier>,
    /// Answered cookies that are still in their directory, as far as is known. Their removal is
    /// reported as a change, which must not count as a new cookie.
    answered: BTreeSet<PathBuf>,
    /// Whether every transcript has been read, so that sums are complete.
    is_scanned: bool,
}

#[derive(Debug)]
struct Barrier {
    /// Whether directories are still being listed. Until then the fetches to wait for are not
    /// known.
    awaits_listings: bool,
    /// Sources to wait for, and how many fetches of each must end: two if it changed during a
    /// running fetch, which may have missed the change.
    fetches: BTreeMap<Source, u8>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Waits until every transcript has been read.
    Scan,
    /// Waits until every source has been fetched. A `--oneshot` run left this cookie, a socket, and
    /// waits for the answer.
    Cookie(PathBuf),
}

/// What the barriers that have just ended were waiting for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Whether every transcript has been read, and was not before.
    pub(super) is_scan_done: bool,
    /// The cookies to answer.
    pub(super) cookies: Vec<PathBuf>,
}

impl Barriers {
    /// The barriers at the start of the process: only that of the first scan.
    pub(super) fn new() -> Barriers {
        Barriers {
            waiting: vec![Barrier::new(Kind::Scan)],
            answered: BTreeSet::new(),
            is_scanned: false,
        }
    }

    /// Whether every transcript has been read, so that sums are complete.
    pub(super) fn is_scanned(&self) -> bool {
        self.is_scanned
    }

    /// A path changed in the directory of cookies. If it is a new cookie, adds a barrier for it and
    /// returns true. If it is an answered cookie, the change was its removal.
    pub(super) fn cookie_changed(&mut self, path: &Path) -> bool {
        !self.answered.remove(path) && self.add_cookie(path)
    }

    /// A listing found the cookies `there`. Adds barriers for new ones and returns how many these
    /// are, with the cookies that were answered already. Such a cookie may be left by a process
    /// that was killed before it could remove it, or by a new one with the same process id.
    pub(super) fn cookies_listed(&mut self, there: &BTreeSet<PathBuf>) -> (usize, Vec<PathBuf>) {
        self.answered.retain(|path| there.contains(path));
        let new = there.difference(&self.answered).cloned().collect::<Vec<_>>();
        let n_new = new.iter().filter(|path| self.add_cookie(path)).count();
        (n_new, self.answered.iter().cloned().collect())
    }

    fn add_cookie(&mut self, path: &Path) -> bool {
        let kind = Kind::Cookie(path.to_owned());
        if self.waiting.iter().any(|barrier| barrier.kind == kind) {
            return false;
        }
        self.waiting.push(Barrier::new(kind));
        true
    }

    /// Whether any cookie waits.
    pub(super) fn has_cookie(&self) -> bool {
        self.waiting.iter().any(|barrier| barrier.kind != Kind::Scan)
    }

    /// A fetch ended. Returns the indices of the barriers that waited for it and no longer do, for
    /// [`Barriers::add`].
    pub(super) fn fetched(&mut self, source: &Source) -> Vec<usize> {
        let barriers = self.waiting.iter_mut().enumerate();
        barriers.filter_map(|(nth, barrier)| barrier.fetched(source).then_some(nth)).collect()
    }

    /// Makes these barriers wait for more fetches, which followed from the one that ended.
    pub(super) fn add(&mut self, barriers: &[usize], fetches: &[(Source, u8)]) {
        for nth in barriers {
            self.waiting[*nth].add(fetches);
        }
    }

    /// No barrier waits for this source any more. If a fetch of it is running, barriers still wait
    /// for that one fetch.
    pub(super) fn stop_waiting_for(&mut self, source: &Source, is_running: bool) {
        for barrier in &mut self.waiting {
            match barrier.fetches.get_mut(source) {
                Some(left) if is_running => *left = 1,
                Some(_) => _ = barrier.fetches.remove(source),
                None => {}
            }
        }
    }

    /// No listing is outstanding. Barriers that waited for listings now wait for the `pending`
    /// fetches.
    pub(super) fn listings_ended<'a>(&mut self, pending: impl Fn() -> Vec<(&'a Source, u8)>) {
        for barrier in self.waiting.iter_mut().filter(|barrier| barrier.awaits_listings) {
            barrier.awaits_listings = false;
            let awaited = pending().into_iter().filter(|(source, _)| barrier.awaits(source));
            barrier.fetches = awaited.map(|(source, n)| (source.clone(), n)).collect();
        }
    }

    /// Removes the barriers that wait for nothing any more. A cookie also waits until the
    /// configuration has been read.
    pub(super) fn take_passed(&mut self, is_configured: bool) -> Passed {
        let mut passed = Passed::default();
        self.waiting.retain(|barrier| {
            let is_done = !barrier.awaits_listings && barrier.fetches.is_empty();
            match &barrier.kind {
                Kind::Scan if is_done => passed.is_scan_done = true,
                Kind::Cookie(path) if is_done && is_configured => passed.cookies.push(path.clone()),
                Kind::Scan | Kind::Cookie(_) => return true,
            }
            false
        });
        self.is_scanned |= passed.is_scan_done;
        self.answered.extend(passed.cookies.iter().cloned());
        passed
    }
}

impl Barrier {
    fn new(kind: Kind) -> Barrier {
        Barrier { awaits_listings: true, fetches: BTreeMap::new(), kind }
    }

    /// Whether this barrier can wait for a source. The scan does not wait for programs, since a
    /// slow repository or tool must not delay the first snapshot.
    fn awaits(&self, source: &Source) -> bool {
        self.kind != Kind::Scan || !source.is_program()
    }

    fn add(&mut self, fetches: &[(Source, u8)]) {
        for (source, n_fetches) in fetches {
            if self.awaits(source) {
                self.fetches.entry(source.clone()).or_insert(*n_fetches);
            }
        }
    }

    /// A fetch ended. Returns whether this barrier waited for it and no longer does.
    fn fetched(&mut self, source: &Source) -> bool {
        let Some(left) = self.fetches.get_mut(source) else { return false };
        *left -= 1;
        if *left > 0 {
            return false;
        }
        self.fetches.remove(source);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/sync/a";

    fn transcript() -> Source {
        Source::Transcript("/t".into())
    }

    fn repo() -> Source {
        Source::Repo("/w".into())
    }

    /// Barriers after a first scan that found no transcripts.
    fn scanned() -> Barriers {
        let mut barriers = Barriers::new();
        assert_eq!(barriers.take_passed(true), Passed::default(), "directories are being listed");
        barriers.listings_ended(Vec::new);
        assert!(barriers.take_passed(true).is_scan_done && barriers.is_scanned());
        barriers
    }

    #[test]
    fn the_scan_waits_for_transcripts_and_a_cookie_for_everything() {
        let mut barriers = Barriers::new();
        assert!(barriers.cookie_changed(A.as_ref()));
        let (transcript, repo) = (transcript(), repo());
        barriers.listings_ended(|| vec![(&transcript, 1), (&repo, 2)]);
        assert_eq!(barriers.fetched(&transcript), [0, 1]);
        assert_eq!(barriers.take_passed(true), Passed { is_scan_done: true, cookies: Vec::new() });
        assert_eq!(barriers.fetched(&repo), [0; 0], "that call began before the cookie came");
        assert_eq!(barriers.fetched(&repo), [0]);
        assert_eq!(
            barriers.take_passed(false),
            Passed::default(),
            "the configuration is being read"
        );
        assert_eq!(barriers.take_passed(true).cookies, [Path::new(A)]);
    }

    #[test]
    fn a_barrier_also_waits_for_fetches_that_follow_from_one_that_it_waited_for() {
        let mut barriers = scanned();
        barriers.cookie_changed(A.as_ref());
        let transcript = transcript();
        barriers.listings_ended(|| vec![(&transcript, 1)]);
        let waited = barriers.fetched(&transcript);
        barriers.add(&waited, &[(repo(), 1)]);
        assert_eq!(barriers.take_passed(true), Passed::default());
        barriers.stop_waiting_for(&repo(), false);
        assert_eq!(barriers.take_passed(true).cookies, [Path::new(A)]);
    }

    #[test]
    fn the_removal_of_an_answered_cookie_is_not_a_cookie() {
        let mut barriers = scanned();
        assert!(barriers.cookie_changed(A.as_ref()));
        assert!(!barriers.cookie_changed(A.as_ref()), "it waits already");
        barriers.listings_ended(Vec::new);
        assert_eq!(barriers.take_passed(true).cookies, [Path::new(A)]);
        let there = BTreeSet::from([A.into()]);
        assert_eq!(barriers.cookies_listed(&there), (0, vec![A.into()]), "answered again");
        assert!(!barriers.cookie_changed(A.as_ref()));
        assert!(barriers.cookie_changed(A.as_ref()), "another process has the same id");
        assert!(barriers.has_cookie());
    }
}
