//! PURE. Repositories: where sessions work, and when git is asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::places::Purpose;
use super::{SessionKey, Source, State};
use crate::fetch::git;
use crate::fetch::git::tree::WorkTree;
use crate::plan::Urgency;
use crate::store::schema;
use crate::time::Now;

/// Somebody looks: git facts older than this are fetched again, then twice this, up to the second.
const GLANCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

#[derive(Debug)]
pub(super) struct Repo {
    pub(super) tree: WorkTree,
    pub(super) facts: schema::Repo,
    pub(super) dirs: BTreeSet<PathBuf>,
    /// How old its facts may be when somebody looks.
    pub(super) glance: Duration,
    pub(super) started: Option<Instant>,
    pub(super) took: Duration,
}

impl State {
    pub(super) fn tree(&mut self, cwd: &Path, found: Option<(WorkTree, Vec<PathBuf>)>, now: Now) {
        let top = found.as_ref().map(|(tree, _)| tree.top.clone());
        for session in self.sessions.values_mut().filter(|it| it.is_of_interest()) {
            if session.cwd.as_deref() == Some(cwd) && session.repo != top {
                session.repo.clone_from(&top);
                self.is_dirty = true;
            }
        }
        self.leave_repos();
        let leave = self.places.leave(|_, purpose| {
            found.is_some() && matches!(purpose, Purpose::NoRepo { cwd: it } if it == cwd)
        });
        self.effects.extend(leave);
        let Some((tree, dirs)) = found else {
            if self.is_cwd(cwd) {
                self.observe(cwd, Purpose::NoRepo { cwd: cwd.to_owned() });
            }
            return;
        };
        let top = tree.top.clone();
        let is_new = self.repos.get(&top).is_none_or(|it| it.tree != tree);
        if is_new {
            let known = self.repos.remove(&top).map(|it| it.facts);
            let facts = known.or_else(|| self.recalled_repos.remove(&top)).unwrap_or_default();
            let repo = Repo {
                tree,
                facts,
                dirs: BTreeSet::new(),
                glance: GLANCE.0,
                started: None,
                took: Duration::ZERO,
            };
            self.repos.insert(top.clone(), repo);
        }
        self.observe_git(&top, dirs);
        if is_new {
            // The looks at its directories that were just asked for want the same, as what changed
            // before them was not reported: so it waits for them. Who looks once has none.
            let looks = self.watcher.is_some();
            self.want_repo(&top, if looks { Urgency::Settled } else { Urgency::Now }, now);
        }
    }

    fn observe_git(&mut self, top: &Path, dirs: Vec<PathBuf>) {
        if self.watcher.is_none() {
            // Who looks once would only ask git twice.
            return;
        }
        let is_used = self.is_used(top);
        let Some(repo) = self.repos.get_mut(top) else { return };
        let dirs: BTreeSet<_> = if is_used { dirs.into_iter().collect() } else { BTreeSet::new() };
        if repo.dirs == dirs {
            return;
        }
        let leave = self.places.leave(|dir, purpose| {
            matches!(purpose, Purpose::Git { top: it } if it == top) && !dirs.contains(dir)
        });
        self.effects.extend(leave);
        repo.dirs.clone_from(&dirs);
        for dir in dirs {
            self.observe(&dir, Purpose::Git { top: top.to_owned() });
        }
    }

    /// A directory of git's is gone, and perhaps the repository with it.
    pub(super) fn git_dir_missing(&mut self, top: &Path, dir: &Path, now: Now) {
        let leave = self.places.leave(|it, purpose| {
            it == dir && matches!(purpose, Purpose::Git { top: it } if it == top)
        });
        self.effects.extend(leave);
        let Some(repo) = self.repos.get_mut(top) else { return };
        // Observed anew when it is back.
        repo.dirs.remove(dir);
        if repo.tree.git_dir == dir || repo.tree.common_dir == dir {
            self.want_trees(top, now);
        } else {
            self.want_repo(top, Urgency::Settled, now);
        }
    }

    /// Something changed where a session works that has no repository, or in its `.git`.
    pub(super) fn init(&mut self, cwd: &Path, path: &Path, now: Now) {
        let is_dot_git = path == cwd.join(".git");
        if is_dot_git {
            // It is a repository when its files are there.
            self.observe(path, Purpose::NoRepo { cwd: cwd.to_owned() });
        }
        if is_dot_git || path.parent() != Some(cwd) {
            self.reads.want(&Source::Tree(cwd.to_owned()), Urgency::Settled, now.mono);
        }
    }

    /// Finds the repositories anew of the sessions that work in this one.
    fn want_trees(&mut self, top: &Path, now: Now) {
        let sessions = self.sessions.values();
        let cwds: BTreeSet<_> = sessions
            .filter(|it| it.is_of_interest() && it.repo.as_deref() == Some(top))
            .filter_map(|it| it.cwd.clone())
            .collect();
        for cwd in cwds {
            self.reads.want(&Source::Tree(cwd), Urgency::Settled, now.mono);
        }
    }

    fn is_cwd(&self, dir: &Path) -> bool {
        self.sessions.values().any(|it| it.is_of_interest() && it.cwd.as_deref() == Some(dir))
    }

    pub(super) fn is_used(&self, top: &Path) -> bool {
        self.sessions.values().any(|it| it.is_of_interest() && it.repo.as_deref() == Some(top))
    }

    /// Stops watching repositories in which no session lives.
    pub(super) fn leave_repos(&mut self) {
        let unused: Vec<_> = self.repos.keys().filter(|it| !self.is_used(it)).cloned().collect();
        for top in unused {
            self.observe_git(&top, Vec::new());
            self.forget(&Source::Repo(top));
        }
        let used: BTreeSet<_> = self
            .sessions
            .values()
            .filter(|it| it.is_of_interest())
            .filter_map(|it| it.cwd.clone())
            .collect();
        let leave = self
            .places
            .leave(|_, purpose| matches!(purpose, Purpose::NoRepo { cwd } if !used.contains(cwd)));
        self.effects.extend(leave);
    }

    /// The session did something, and what it does may have changed its files.
    pub(super) fn touch_repo(&mut self, key: &SessionKey, now: Now) {
        let Some(session) = self.sessions.get(key).filter(|it| it.is_live) else { return };
        match (&session.repo, &session.cwd) {
            (Some(top), _) => {
                let top = top.clone();
                self.want_repo(&top, Urgency::Settled, now);
            }
            // `git init` may have been what it did.
            (None, Some(cwd)) => {
                self.reads.want(&Source::Tree(cwd.clone()), Urgency::Settled, now.mono);
            }
            (None, None) => {}
        }
    }

    /// Somebody looks at the session. What changed in the working tree shows nowhere else, so git
    /// is asked again where its answer is old; less and less often while it stays the same.
    pub(super) fn glance(&mut self, key: &SessionKey, now: Now) {
        let top = self.sessions.get(key).and_then(|it| it.repo.clone());
        let Some((top, repo)) = top.and_then(|it| Some((it.clone(), self.repos.get(&it)?))) else {
            return self.touch_repo(key, now);
        };
        // At most one part in a hundred of the time.
        let least = repo.glance.max(repo.took * 99);
        let age = now.wall_ms - repo.facts.as_of_ms;
        // From the future, since the clock was set back: nobody knows how old that is.
        if age < 0 || age >= i64::try_from(least.as_millis()).unwrap_or(i64::MAX) {
            self.want_repo(&top, Urgency::Now, now);
        }
    }

    pub(super) fn want_repo(&mut self, top: &Path, urgency: Urgency, now: Now) {
        if self.is_used(top) {
            self.execs.want(&Source::Repo(top.to_owned()), urgency, now.mono);
        }
    }

    pub(super) fn asked_git(
        &mut self,
        top: &Path,
        found: Result<schema::Repo, git::status::GitError>,
        dirs: Vec<PathBuf>,
        now: Now,
    ) {
        self.is_dirty = true;
        let Some(repo) = self.repos.get_mut(top) else { return };
        if let Some(started) = repo.started.take() {
            repo.took = now.mono - started;
        }
        match found {
            Ok(facts) => {
                let before = schema::Repo { as_of_ms: facts.as_of_ms, ..repo.facts.clone() };
                repo.glance =
                    if before == facts { (repo.glance * 2).min(GLANCE.1) } else { GLANCE.0 };
                repo.facts = facts;
                self.observe_git(top, dirs);
            }
            Err(failure) => {
                repo.facts.error = Some(failure.to_string());
                // Perhaps it is no repository any more, or another one.
                self.want_trees(top, now);
            }
        }
    }
}
