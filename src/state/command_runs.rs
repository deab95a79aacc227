//! PURE. For what each of the user's commands runs, and what lets it run besides its interval.
//!
//! A command with a scope runs once for each of the config roots, working trees or sessions whose
//! line is shown. Each of these runs has a name of its own, `NAME of KEY`, by which it is planned
//! and reported; a name in the configuration has no blank.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::directories::Purpose;
use super::settings::Mode;
use super::{State, text};
use crate::fetch::job::Source;
use crate::fetch::tool::{Runs, Scope, Tool};
use crate::plan::Urgency;
use crate::store::schema;
use crate::time::Now;

/// The most runs of one command. Beyond it, sessions that no longer fit have none.
const MAX_RUNS: usize = 32;

/// Where a command runs, and what it is told of that.
type Place = (Option<PathBuf>, Vec<(OsString, OsString)>);

/// The name in the configuration of what runs by this name.
pub(super) fn configured(run: &str) -> &str {
    run.split_once(' ').map_or(run, |(name, _)| name)
}

impl State {
    /// The runs of a command, by their names.
    fn runs_of(&self, name: &str) -> BTreeMap<String, Place> {
        let scope = self.settings.runs.get(name).map_or(Scope::Global, |it| it.scope);
        let mut runs = BTreeMap::new();
        if scope == Scope::Global {
            runs.insert(name.to_owned(), (None, Vec::new()));
            return runs;
        }
        for (key, session) in self.sessions.with_interest() {
            let of: Option<(String, Option<&PathBuf>)> = match scope {
                Scope::Global => None,
                Scope::Root => Some((text::of(&key.root), None)),
                Scope::Repository => session.repo.as_ref().map(|top| (text::of(top), Some(top))),
                Scope::Session => Some((key.id.0.clone(), session.search_dir.as_ref())),
            };
            let Some((of, dir)) = of else { continue };
            let mut env = vec![("CCSTATUSD_ROOT".into(), key.root.clone().into())];
            if scope != Scope::Root {
                let top = session.repo.clone().map(OsString::from);
                env.extend(top.map(|it| ("CCSTATUSD_REPOSITORY".into(), it)));
            }
            if scope == Scope::Session {
                env.push(("CCSTATUSD_SESSION".into(), key.id.0.clone().into()));
            }
            if runs.len() < MAX_RUNS {
                runs.entry(format!("{name} of {of}")).or_insert((dir.cloned(), env));
            }
        }
        runs
    }

    /// The names of all runs.
    pub(super) fn all_runs(&self) -> Vec<String> {
        self.settings.commands.keys().flat_map(|name| self.runs_of(name).into_keys()).collect()
    }

    /// The program of a run; `None` if it is not wanted any more.
    pub(super) fn tool_of_run(&self, run: &str) -> Option<Tool> {
        let name = configured(run);
        let mut tool = self.settings.commands.get(name)?.clone();
        let (dir, env) = self.runs_of(name).remove(run)?;
        tool.what.dir = dir.or(tool.what.dir);
        tool.what.env.extend(env);
        Some(tool)
    }

    /// Whether a command runs again after its interval.
    pub(super) fn is_timed(&self, run: &str) -> bool {
        self.settings.runs.get(configured(run)).is_none_or(|it| it.is_timed)
    }

    /// Something happened. Runs the commands that wait for it, for what it concerns, if a session
    /// lives.
    fn trigger(
        &mut self,
        waits: impl Fn(&Runs) -> bool,
        concerns: impl Fn(&str) -> bool,
        now: Now,
    ) {
        let waiting = self.settings.runs.iter().filter(|(_, it)| waits(it));
        for name in waiting.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let is_scoped = self.settings.runs[&name].scope != Scope::Global;
            for run in self.runs_of(&name).into_keys().filter(|it| !is_scoped || concerns(it)) {
                if self.is_any_of_interest() {
                    self.sources.want(&Source::Command(run), Urgency::Settled, now);
                }
            }
        }
    }

    /// A session began to wait for the user.
    pub(super) fn session_waits(&mut self, key: &super::sessions::SessionKey, now: Now) {
        let top = self.sessions.get(key).and_then(|it| it.repo.as_deref()).map(text::of);
        let own = [Some(key.id.0.clone()), Some(text::of(&key.root)), top];
        let own: Vec<_> = own.into_iter().flatten().collect();
        let is_own = |run: &str| own.iter().any(|it| run.ends_with(&format!(" of {it}")));
        self.trigger(|it| it.on_waiting, is_own, now);
    }

    /// What git says of a working tree changed.
    pub(super) fn repo_changed(&mut self, top: &Path, now: Now) {
        let in_repo: Vec<_> = self
            .sessions
            .with_interest()
            .filter(|(_, session)| session.repo.as_deref() == Some(top))
            .flat_map(|(key, _)| [key.id.0.clone(), text::of(&key.root)])
            .chain([text::of(top)])
            .collect();
        let is_in = |run: &str| in_repo.iter().any(|it| run.ends_with(&format!(" of {it}")));
        self.trigger(|it| it.on_repo, is_in, now);
    }

    /// A file that commands wait for may have changed.
    pub(super) fn awaited_file_changed(&mut self, path: &Path, now: Now) {
        self.trigger(|it| it.on_files.iter().any(|file| file == path), |_| true, now);
    }

    /// Files in a directory that commands wait for may have changed.
    pub(super) fn awaited_files_may_have_changed(&mut self, dir: &Path, now: Now) {
        let is_in = |file: &PathBuf| file.parent() == Some(dir);
        self.trigger(|it| it.on_files.iter().any(is_in), |_| true, now);
    }

    /// Observes the directories of the files that commands wait for, and no longer those of others.
    pub(super) fn observe_triggers(&mut self) {
        if let Mode::Once { .. } = self.mode {
            return;
        }
        let files = self.settings.runs.values().flat_map(|it| &it.on_files);
        let dirs: Vec<_> = files.filter_map(|it| it.parent()).map(Path::to_owned).collect();
        let leave =
            self.directories.leave(&Purpose::Trigger, |dir| dirs.iter().any(|it| it == dir));
        self.effects.extend(leave);
        for dir in dirs {
            self.observe(&dir, Purpose::Trigger);
        }
    }

    /// Forgets what commands printed for sessions and working trees whose line is no longer shown.
    pub(super) fn forget_unused_runs(&mut self) {
        let wanted = self.all_runs();
        let is_unused = |it: &&String| it.contains(' ') && !wanted.contains(it);
        let unused: Vec<_> = self.commands.names().filter(is_unused).cloned().collect();
        for run in unused {
            self.commands.forget(&run);
            self.forget_source(&Source::Command(run));
            self.publication.mark_changed();
        }
    }
}

/// Whether what git says differs, whenever it was asked.
pub(super) fn differs(before: Option<&schema::Repo>, now: Option<&schema::Repo>) -> bool {
    let dateless = |it: &schema::Repo| schema::Repo { as_of_ms: 0, ..it.clone() };
    before.filter(|it| it.as_of_ms > 0).is_some_and(|it| Some(dateless(it)) != now.map(dateless))
}
