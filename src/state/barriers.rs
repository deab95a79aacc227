//! PURE. Barriers: who waits until everything that was wanted before is fetched. The first scan
//! does, and every cookie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::fetch::job::Source;

/// Those that wait, and the cookies that were answered.
#[derive(Debug)]
pub(super) struct Barriers {
    waiting: Vec<Barrier>,
    /// Cookies whose removal, which is a change too, has not been reported.
    answered: BTreeSet<PathBuf>,
    /// Whether every transcript has been read once, so that sums are whole.
    is_scanned: bool,
}

#[derive(Debug)]
struct Barrier {
    /// Directories that may hold more to fetch are still being listed.
    awaits_listings: bool,
    /// Fetches to wait for, and how many of each: two where one runs that began too early.
    fetches: BTreeMap<Source, u8>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Waits until all transcripts are read.
    Scan,
    /// Waits until everything is fetched, for the process that left this cookie.
    Cookie(PathBuf),
}

/// What no longer waits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Every transcript has been read.
    pub(super) is_scan_done: bool,
    /// Cookies to answer.
    pub(super) cookies: Vec<PathBuf>,
}

impl Barriers {
    /// Those of a process that starts: the first scan waits.
    pub(super) fn new() -> Barriers {
        Barriers {
            waiting: vec![Barrier::new(Kind::Scan)],
            answered: BTreeSet::new(),
            is_scanned: false,
        }
    }

    /// Everything is read anew: sums are not whole until that is done.
    pub(super) fn scan_again(&mut self) {
        self.is_scanned = false;
        self.waiting.push(Barrier::new(Kind::Scan));
    }

    /// Whether every transcript has been read, so that sums are whole.
    pub(super) fn is_scanned(&self) -> bool {
        self.is_scanned
    }

    /// Something changed where cookies are left. Returns whether that is a new cookie, which waits
    /// from now on, and not the removal of one that was answered.
    pub(super) fn cookie_changed(&mut self, path: &Path) -> bool {
        !self.answered.remove(path) && self.add_cookie(path)
    }

    /// Cookies are there. Returns the new ones, which wait from now on, and those that were answered
    /// already: the process that left one may have been killed before it could remove it.
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

    /// A fetch ended. Returns which barriers waited for it and do so no longer, for
    /// [`Barriers::add`].
    pub(super) fn fetched(&mut self, source: &Source) -> Vec<usize> {
        let barriers = self.waiting.iter_mut().enumerate();
        barriers.filter_map(|(nth, barrier)| barrier.fetched(source).then_some(nth)).collect()
    }

    /// Lets these barriers wait for more fetches: what the one that ended led to.
    pub(super) fn add(&mut self, barriers: &[usize], fetches: &[(Source, u8)]) {
        for nth in barriers {
            self.waiting[*nth].add(fetches);
        }
    }

    /// Nobody waits for this source any more; but for the fetch that runs, where one does.
    pub(super) fn stop_waiting_for(&mut self, source: &Source, is_running: bool) {
        for barrier in &mut self.waiting {
            match barrier.fetches.get_mut(source) {
                Some(left) if is_running => *left = 1,
                Some(_) => _ = barrier.fetches.remove(source),
                None => {}
            }
        }
    }

    /// No listing is awaited: from now on barriers wait for these fetches, if they have been waiting
    /// for listings until now.
    pub(super) fn listings_ended<'a>(&mut self, pending: impl Fn() -> Vec<(&'a Source, u8)>) {
        for barrier in self.waiting.iter_mut().filter(|barrier| barrier.awaits_listings) {
            barrier.awaits_listings = false;
            let awaited = pending().into_iter().filter(|(source, _)| barrier.awaits(source));
            barrier.fetches = awaited.map(|(source, n)| (source.clone(), n)).collect();
        }
    }

    /// Takes out those that wait for nothing. Cookies also wait for the configuration to be read.
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

    /// The scan is of transcripts: a slow repository or tool does not hold it up.
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

    /// A fetch ended. Returns whether this barrier waited for it, and does so no longer.
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

    /// After a first scan of nothing.
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
        assert_eq!(barriers.fetched(&repo), [0; 0], "that call began too early");
        assert_eq!(barriers.fetched(&repo), [0]);
        assert_eq!(barriers.take_passed(false), Passed::default(), "the configuration is read");
        assert_eq!(barriers.take_passed(true).cookies, [Path::new(A)]);
    }

    #[test]
    fn what_a_fetch_leads_to_is_waited_for_as_well() {
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
        assert!(barriers.cookie_changed(A.as_ref()), "another process has the same number");
        assert!(barriers.has_cookie());
    }
}
