//! PURE. Barriers: who waits until everything that was wanted before is fetched. The first scan
//! does, and every cookie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Effect, State};
use crate::fetch::job::Source;
use crate::plan::Urgency;
use crate::time::Now;

#[derive(Debug)]
pub(super) struct Barrier {
    /// Directories that may hold more to fetch are still being looked at.
    pub(super) looking: bool,
    /// Fetches to wait for, and how many of each: two where one runs that began too early.
    pub(super) waiting: BTreeMap<Source, u8>,
    /// The cookie; `None` for the first scan.
    pub(super) cookie: Option<PathBuf>,
}

impl State {
    /// A cookie appeared, or one that was answered is gone.
    pub(super) fn cookie_changed(&mut self, path: &Path, now: Now) {
        if !self.answered.remove(path) {
            self.cookie(path, now);
        }
    }

    /// These are there. Where events do not work, this is how they are found.
    pub(super) fn cookies_listed(&mut self, there: &BTreeSet<PathBuf>, now: Now) {
        self.answered.retain(|it| there.contains(it));
        for path in there {
            if self.answered.contains(path) {
                // Whoever had the answer and was killed did not remove it: so the next one does.
                self.effects.push(Effect::Acknowledge(path.clone()));
            } else {
                self.cookie(path, now);
            }
        }
    }

    fn cookie(&mut self, path: &Path, now: Now) {
        if self.barriers.iter().any(|it| it.cookie.as_deref() == Some(path)) {
            return;
        }
        // What changed in working trees shows nowhere, and the answer must include it.
        let tops: BTreeSet<_> = self
            .sessions
            .values()
            .filter(|it| it.is_live)
            .filter_map(|it| it.repo.clone())
            .collect();
        for top in tops {
            self.want_repo(&top, Urgency::Now, now);
        }
        let looks = self.places.look_at_unwatched();
        self.effects.extend(looks);
        self.confirm_usage(now);
        self.is_dirty = true;
        let cookie = Some(path.to_owned());
        self.barriers.push(Barrier { looking: true, waiting: BTreeMap::new(), cookie });
    }

    /// A fetch ended. What it led to is waited for as well: the rest of a transcript that is read
    /// in parts, the working tree of a session that is new in it, and the first facts of that. Not
    /// more: a transcript that is written to all the time must not hold anybody up.
    pub(super) fn passed(&mut self, source: &Source, has_more: bool) {
        let passed: Vec<_> = self.barriers.iter_mut().map(|it| it.passed(source)).collect();
        if !passed.contains(&true) {
            return;
        }
        let (first_tree, first_repo) = (Source::Tree(PathBuf::new()), Source::Repo(PathBuf::new()));
        let is_new = |top: &Path| self.repos.get(top).is_some_and(|it| it.took.is_zero());
        let rest = has_more.then(|| self.reads.pending(source..=source)).into_iter().flatten();
        let led_to: Vec<(Source, u8)> = match source {
            Source::Transcript(_) | Source::Process(_) => {
                let trees = self.reads.pending(&first_tree..&first_repo);
                let tools = self.tools.pending(..);
                rest.chain(trees).chain(tools).map(|(it, n)| (it.clone(), n)).collect()
            }
            Source::Tree(_) => {
                let repos = self.execs.pending(&first_repo..);
                let is_new = |it: &Source| matches!(it, Source::Repo(top) if is_new(top));
                repos.filter(|(it, _)| is_new(it)).map(|(it, n)| (it.clone(), n)).collect()
            }
            Source::Repo(_) | Source::Block(_) | Source::Command(_) => return,
        };
        for (barrier, _) in self.barriers.iter_mut().zip(passed).filter(|(_, passed)| *passed) {
            for (it, n_fetches) in &led_to {
                if barrier.awaits(it) {
                    barrier.waiting.entry(it.clone()).or_insert(*n_fetches);
                }
            }
        }
    }

    /// A source is of no interest any more, so nobody waits for it: but for the fetch that runs,
    /// where one does.
    pub(super) fn forget(&mut self, source: &Source) {
        let is_running = self.plan_of(source).forget(source);
        self.release(source, is_running);
        self.is_dirty |= self.failing.remove(source).is_some();
    }

    /// What does not end soon, or not at all, nobody waits for.
    pub(super) fn release(&mut self, source: &Source, is_running: bool) {
        for barrier in &mut self.barriers {
            match barrier.waiting.get_mut(source) {
                Some(left) if is_running => *left = 1,
                Some(_) => _ = barrier.waiting.remove(source),
                None => {}
            }
        }
    }

    pub(super) fn pass_barriers(&mut self, now: Now) {
        if self.places.outstanding == 0 {
            for barrier in self.barriers.iter_mut().filter(|it| it.looking) {
                barrier.looking = false;
                let pending = self.reads.pending(..).chain(self.execs.pending(..));
                let pending = pending.chain(self.tools.pending(..));
                let awaited =
                    pending.filter(|(it, _)| barrier.awaits(it) && !self.given_up.contains(it));
                barrier.waiting = awaited.map(|(it, n)| (it.clone(), n)).collect();
            }
        }
        let (passed, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.barriers).into_iter().partition(|it| {
                let is_configured = it.cookie.is_none() || !self.configuration.is_awaited();
                !it.looking && it.waiting.is_empty() && is_configured
            });
        self.barriers = rest;
        if passed.iter().any(|it| it.cookie.is_some()) {
            self.publish_now(now);
        }
        for barrier in passed {
            match barrier.cookie {
                None => {
                    self.is_scanned = true;
                    self.want_blocks(now);
                    if self.watcher.is_none() {
                        self.print_latest(now);
                    }
                    self.is_dirty = true;
                    self.next_publish = None;
                }
                Some(cookie) => {
                    self.answered.insert(cookie.clone());
                    self.effects.push(Effect::Acknowledge(cookie));
                }
            }
        }
        if self.barriers.iter().any(|it| it.cookie.is_some()) {
            self.tools.hurry(now.mono);
        }
    }
}

impl Barrier {
    pub(super) fn first_scan() -> Barrier {
        Barrier { looking: true, waiting: BTreeMap::new(), cookie: None }
    }

    /// The first scan is of transcripts; a slow repository or tool does not hold it up.
    fn awaits(&self, source: &Source) -> bool {
        self.cookie.is_some() || !source.is_program()
    }

    /// A fetch ended. Says whether this barrier waited for it, and does so no longer.
    fn passed(&mut self, source: &Source) -> bool {
        let Some(left) = self.waiting.get_mut(source) else { return false };
        *left -= 1;
        if *left > 0 {
            return false;
        }
        self.waiting.remove(source);
        true
    }
}
