//! PURE. Repositories: git's last answer for each working tree, and when it must be asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fetch::git;
use crate::fetch::git::tree::WorkTree;
use crate::store::schema;
use crate::time::Now;

/// When a display requests a line, git facts older than this are fetched again. The time doubles
/// with each answer that is the same as the one before, up to [`MAX_REFRESH_AFTER`].
///
/// See docs/decisions/007-working-trees-are-not-watched.md.
const REFRESH_AFTER: Duration = Duration::from_secs(2);
/// See [`REFRESH_AFTER`].
const MAX_REFRESH_AFTER: Duration = Duration::from_secs(30);
/// Calls of git for such requests take at most one hundredth of the time.
const REFRESH_SHARE: u32 = 100;

/// All working trees that sessions work in, by their top directories.
#[derive(Debug, Default)]
pub(super) struct Repos {
    repos: BTreeMap<PathBuf, Repo>,
    /// Facts that an earlier process published, of working trees that have not been found yet.
    recalled: BTreeMap<PathBuf, schema::Repo>,
}

#[derive(Debug)]
struct Repo {
    tree: WorkTree,
    facts: schema::Repo,
    /// The directories inside `.git` that are observed.
    dirs: BTreeSet<PathBuf>,
    /// How old the facts may be before a requested line makes git be asked again.
    refresh_after: Duration,
    /// When the running call of git began; `None` while none runs.
    started: Option<Instant>,
    /// How long the last call of git took; zero before the first answer.
    took: Duration,
}

impl Repos {
    /// A working tree was found. Returns whether it was unknown, or its repository was another one.
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

    /// Sets the directories inside `.git` whose changes can change the facts. Returns them as a
    /// set; `None` if they are the same as before, or the working tree is unknown.
    pub(super) fn set_dirs(&mut self, top: &Path, dirs: Vec<PathBuf>) -> Option<BTreeSet<PathBuf>> {
        let repo = self.repos.get_mut(top)?;
        let dirs: BTreeSet<_> = dirs.into_iter().collect();
        if repo.dirs == dirs {
            return None;
        }
        repo.dirs.clone_from(&dirs);
        Some(dirs)
    }

    /// One of these directories does not exist any more. [`Repos::set_dirs`] will return it as new
    /// if it is created again. Returns whether the whole repository may be gone; `None` for an
    /// unknown working tree.
    pub(super) fn dir_missing(&mut self, top: &Path, dir: &Path) -> Option<bool> {
        let repo = self.repos.get_mut(top)?;
        repo.dirs.remove(dir);
        Some(repo.tree.git_dir == dir || repo.tree.common_dir == dir)
    }

    /// Whether a change of this file inside `.git` can change git's answer.
    pub(super) fn matters(&self, top: &Path, path: &Path) -> bool {
        self.repos.get(top).is_some_and(|repo| repo.tree.matters(path))
    }

    /// A call of git starts. Returns its working tree; `None` for an unknown one.
    pub(super) fn git_started(&mut self, top: &Path, now: Now) -> Option<WorkTree> {
        let repo = self.repos.get_mut(top)?;
        repo.started = Some(now.mono);
        Some(repo.tree.clone())
    }

    /// A call of git ended. If it failed, the facts stay, with the error. Returns whether the
    /// working tree is known.
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

    /// A display requested a line. Returns whether the facts are so old that git must be asked
    /// again; `None` for an unknown working tree.
    pub(super) fn is_refresh_due(&self, top: &Path, now: Now) -> Option<bool> {
        let repo = self.repos.get(top)?;
        let least = repo.refresh_after.max(repo.took * (REFRESH_SHARE - 1));
        let age_ms = now.wall_ms - repo.facts.as_of_ms;
        // Facts from the future are of unknown age: the clock was set back.
        Some(age_ms < 0 || age_ms >= i64::try_from(least.as_millis()).unwrap_or(i64::MAX))
    }

    /// Git's last answer, to this process or an earlier one.
    pub(super) fn facts(&self, top: &Path) -> Option<&schema::Repo> {
        let known = self.repos.get(top).map(|repo| &repo.facts);
        known.or_else(|| self.recalled.get(top))
    }

    /// The top directories of all known working trees.
    pub(super) fn tops(&self) -> impl Iterator<Item = &PathBuf> {
        self.repos.keys()
    }

    /// Restores the facts that an earlier process published.
    pub(super) fn recall(&mut self, repos: impl Iterator<Item = (PathBuf, schema::Repo)>) {
        self.recalled = repos.collect();
    }

    /// Drops all working trees but those in `used`.
    pub(super) fn retain(&mut self, used: &BTreeSet<PathBuf>) {
        self.repos.retain(|top, _| used.contains(top));
        self.recalled.retain(|top, _| used.contains(top));
    }

    /// When each answer of git was true, so that these times can be moved if the clock is set back.
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
    fn git_is_asked_less_often_while_its_answer_stays_the_same_and_when_it_is_slow() {
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
