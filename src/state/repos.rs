//! PURE. Repositories: what git last said of each working tree, and how old that may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fetch::git;
use crate::fetch::git::tree::WorkTree;
use crate::store::schema;
use crate::time::Now;

/// When a display requests a line, git facts older than this are fetched again …
const REFRESH_AFTER: Duration = Duration::from_secs(2);
/// … then after twice that, and so on up to this, while git says the same.
const MAX_REFRESH_AFTER: Duration = Duration::from_secs(30);
/// Such requests may use one part in this many of the time.
const REFRESH_SHARE: u32 = 100;

/// All working trees that sessions work in, by their top directories.
#[derive(Debug, Default)]
pub(super) struct Repos {
    repos: BTreeMap<PathBuf, Repo>,
    /// What an earlier process published of working trees that have not been found yet.
    recalled: BTreeMap<PathBuf, schema::Repo>,
}

#[derive(Debug)]
struct Repo {
    tree: WorkTree,
    facts: schema::Repo,
    /// The directories inside `.git` that are observed.
    dirs: BTreeSet<PathBuf>,
    /// How old its facts may be when a display requests a line.
    refresh_after: Duration,
    /// When the call of git began that runs.
    started: Option<Instant>,
    /// How long the last call took.
    took: Duration,
}

impl Repos {
    /// A working tree was found. Returns whether it is a new one, or another than before.
    pub(super) fn tree_found(&mut self, tree: WorkTree) -> bool {
        let top = tree.top.clone();
        if self.repos.get(&top).is_some_and(|repo| repo.tree == tree) {
            return false;
        }
        let known = self.repos.remove(&top).map(|repo| repo.facts);
        let facts = known.or_else(|| self.recalled.remove(&top)).unwrap_or_default();
        let repo = Repo {
            tree,
            facts,
            dirs: BTreeSet::new(),
            refresh_after: REFRESH_AFTER,
            started: None,
            took: Duration::ZERO,
        };
        self.repos.insert(top, repo);
        true
    }

    /// The directories in which its git facts change are these. Returns all of
    /// them where that is a change: they are observed from now on, and no others.
    pub(super) fn set_dirs(&mut self, top: &Path, dirs: Vec<PathBuf>) -> Option<BTreeSet<PathBuf>> {
        let repo = self.repos.get_mut(top)?;
        let dirs: BTreeSet<_> = dirs.into_iter().collect();
        if repo.dirs == dirs {
            return None;
        }
        repo.dirs.clone_from(&dirs);
        Some(dirs)
    }

    /// One of these directories is gone; it is observed anew when it is back. Returns whether the
    /// repository itself may be gone with it; `None` for an unknown working tree.
    pub(super) fn dir_missing(&mut self, top: &Path, dir: &Path) -> Option<bool> {
        let repo = self.repos.get_mut(top)?;
        repo.dirs.remove(dir);
        Some(repo.tree.git_dir == dir || repo.tree.common_dir == dir)
    }

    /// Whether a change of this file may change what git says.
    pub(super) fn matters(&self, top: &Path, path: &Path) -> bool {
        self.repos.get(top).is_some_and(|repo| repo.tree.matters(path))
    }

    /// A call of git starts. Returns the working tree to ask about; `None` for an unknown one.
    pub(super) fn git_started(&mut self, top: &Path, now: Now) -> Option<WorkTree> {
        let repo = self.repos.get_mut(top)?;
        repo.started = Some(now.mono);
        Some(repo.tree.clone())
    }

    /// A call of git ended. A failed one keeps what git said before. Returns whether the working
    /// tree is known.
    pub(super) fn git_answered(
        &mut self,
        top: &Path,
        found: Result<schema::Repo, git::status::GitError>,
        now: Now,
    ) -> bool {
        let Some(repo) = self.repos.get_mut(top) else { return false };
        if let Some(started) = repo.started.take() {
            repo.took = now.mono - started;
        }
        match found {
            Ok(facts) => {
                let before = schema::Repo { as_of_ms: facts.as_of_ms, ..repo.facts.clone() };
                repo.refresh_after = match before == facts {
                    true => (repo.refresh_after * 2).min(MAX_REFRESH_AFTER),
                    false => REFRESH_AFTER,
                };
                repo.facts = facts;
            }
            Err(failure) => repo.facts.error = Some(failure.to_string()),
        }
        true
    }

    /// Whether git has not answered yet for this working tree.
    pub(super) fn is_unanswered(&self, top: &Path) -> bool {
        self.repos.get(top).is_some_and(|repo| repo.took.is_zero())
    }

    /// A display requests a line: whether git is to be asked again. What changed in the working tree
    /// shows nowhere else. `None` for an unknown working tree.
    pub(super) fn is_refresh_due(&self, top: &Path, now: Now) -> Option<bool> {
        let repo = self.repos.get(top)?;
        let least = repo.refresh_after.max(repo.took * (REFRESH_SHARE - 1));
        let age_ms = now.wall_ms - repo.facts.as_of_ms;
        // From the future, since the clock was set back: nobody knows how old that is.
        Some(age_ms < 0 || age_ms >= i64::try_from(least.as_millis()).unwrap_or(i64::MAX))
    }

    /// What git last said, to this process or an earlier one.
    pub(super) fn facts(&self, top: &Path) -> Option<&schema::Repo> {
        let known = self.repos.get(top).map(|repo| &repo.facts);
        known.or_else(|| self.recalled.get(top))
    }

    pub(super) fn tops(&self) -> impl Iterator<Item = &PathBuf> {
        self.repos.keys()
    }

    /// Takes over what an earlier process published.
    pub(super) fn recall(&mut self, repos: impl Iterator<Item = (PathBuf, schema::Repo)>) {
        self.recalled = repos.collect();
    }

    /// Drops working trees that no session works in.
    pub(super) fn retain(&mut self, used: &BTreeSet<PathBuf>) {
        self.repos.retain(|top, _| used.contains(top));
        self.recalled.retain(|top, _| used.contains(top));
    }

    /// When git said what it said, for a clock that was set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        let known = self.repos.values_mut().map(|repo| &mut repo.facts.as_of_ms);
        known.chain(self.recalled.values_mut().map(|facts| &mut facts.as_of_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::span;

    const TOP: &str = "/w";

    fn tree(git_dir: &str) -> WorkTree {
        WorkTree {
            top: TOP.into(),
            git_dir: git_dir.into(),
            common_dir: git_dir.into(),
            is_bare: false,
        }
    }

    fn facts(branch: &str, now: Now) -> schema::Repo {
        let branch = Some(branch.to_owned());
        schema::Repo { as_of_ms: now.wall_ms, branch, ..schema::Repo::default() }
    }

    #[test]
    fn another_repository_in_the_same_place_keeps_facts_until_git_answers() {
        let (mut repos, now, top) = (Repos::default(), Now::read(), Path::new(TOP));
        repos.recall([(TOP.into(), facts("recalled", now))].into_iter());
        assert_eq!(repos.facts(top).unwrap().branch.as_deref(), Some("recalled"));
        assert!(repos.tree_found(tree("/w/.git")) && !repos.tree_found(tree("/w/.git")));
        repos.git_answered(top, Ok(facts("main", now)), now);
        assert!(repos.tree_found(tree("/elsewhere")));
        assert_eq!(repos.facts(top).unwrap().branch.as_deref(), Some("main"));
        repos.retain(&BTreeSet::new());
        assert_eq!(repos.facts(top), None);
    }

    #[test]
    fn facts_grow_old_less_fast_while_they_stay_the_same_and_a_call_is_slow() {
        let (mut repos, zero, top) = (Repos::default(), Now::read(), Path::new(TOP));
        repos.tree_found(tree("/w/.git"));
        let later = |ms| Now { mono: zero.mono + span(ms), wall_ms: zero.wall_ms + ms };
        let is_old = |repos: &Repos, after_ms| repos.is_refresh_due(top, later(after_ms)).unwrap();
        repos.git_answered(top, Ok(facts("main", zero)), zero);
        assert!(!is_old(&repos, 1_999) && is_old(&repos, 2_000));
        repos.git_answered(top, Ok(facts("main", zero)), zero);
        assert!(!is_old(&repos, 3_999) && is_old(&repos, 4_000));
        repos.git_started(top, zero);
        assert!(repos.is_unanswered(top));
        repos.git_answered(top, Ok(facts("other", zero)), later(1_000));
        assert!(!repos.is_unanswered(top));
        assert!(!is_old(&repos, 98_999) && is_old(&repos, 99_000), "a hundredth of the time");
        assert!(is_old(&repos, -1), "the clock was set back");
        assert_eq!(repos.is_refresh_due(Path::new("/unknown"), zero), None);
    }

    #[test]
    fn directories_are_observed_anew_when_they_change_or_were_missing() {
        let (mut repos, top) = (Repos::default(), Path::new(TOP));
        repos.tree_found(tree("/w/.git"));
        let dirs = || vec![PathBuf::from("/w/.git"), "/w/.git/refs".into()];
        assert_eq!(repos.set_dirs(top, dirs()).unwrap().len(), 2);
        assert_eq!(repos.set_dirs(top, dirs()), None);
        assert_eq!(repos.dir_missing(top, Path::new("/w/.git/refs")), Some(false));
        assert_eq!(repos.dir_missing(top, Path::new("/w/.git")), Some(true));
        assert!(repos.set_dirs(top, dirs()).is_some());
    }
}
