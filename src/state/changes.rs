//! PURE. What follows when the kernel reports a change at a path, and when a directory was listed.
//! Both depend on the [`Purpose`]s for which the directory is observed.

use std::collections::BTreeSet;
use std::path::Path;

use super::State;
use super::directories::Purpose;
use super::event::Effect;
use super::sessions::SessionKey;
use super::text;
use crate::fetch::claude;
use crate::fetch::job::Source;
use crate::plan::Urgency;
use crate::store::schema::SessionId;
use crate::time::Now;
use crate::watch::{Entry, EntryKind, Found, Listing};

/// How many folders of one session are observed. Links in it could make up any number.
const MAX_FOLDERS: usize = 256;

impl State {
    /// The kernel reported a change at this path.
    pub(super) fn path_changed(&mut self, path: &Path, now: Now) {
        if self.directories.contains(path) {
            // The directory itself was removed, renamed or created again.
            let look = self.directories.look(path);
            self.effects.push(look);
        }
        for (path, purpose) in self.directories.concerns(path) {
            match purpose {
                Purpose::Await(missing) => {
                    if missing.starts_with(&path) {
                        self.awaited_path_appeared(&missing);
                    }
                }
                Purpose::Root => self.observe_in_root(&path),
                Purpose::Projects { root } => self.observe(&path, Purpose::Project { root }),
                Purpose::Project { root } => match claude::layout::classify(&root, &path) {
                    Some(kind) => self.want_transcript(&path, &root, kind, Urgency::Settled, now),
                    None => self.session_folder_appeared(&root, &path),
                },
                Purpose::Agents { root, session } => match claude::layout::classify(&root, &path) {
                    Some(kind) => self.want_transcript(&path, &root, kind, Urgency::Settled, now),
                    None if claude::layout::may_be_folder(&path) => {
                        self.observe_below(&root, &session, &path);
                    }
                    None => {}
                },
                Purpose::Processes { root } => self.want_process(&root, &path, now),
                Purpose::BackgroundJob { process } => {
                    if path.ends_with(claude::layout::JOB_FILE) {
                        self.sources.want(&Source::Process(process), Urgency::Settled, now);
                    }
                }
                Purpose::Git { top } => {
                    if self.repos.matters(&top, &path) {
                        self.want_repo(&top, Urgency::Settled, now);
                    }
                }
                Purpose::NoRepo { cwd } => self.check_new_repo(&cwd, &path, now),
                Purpose::Cookies => {
                    if self.sources.cookie_changed(&path) {
                        self.cookie_came(now);
                    }
                }
                Purpose::Trigger => self.awaited_file_changed(&path, now),
                Purpose::Config => {
                    if self.settings.files().any(|it| *it == path) {
                        self.configuration.changed(now);
                    }
                }
            }
        }
    }

    /// A directory was listed.
    pub(super) fn directory_listed(&mut self, listing: Listing, now: Now) {
        let (purposes, looks) = self.directories.listed(&listing);
        self.effects.extend(looks);
        let dir = listing.dir;
        match listing.found {
            Found::Dir { entries, .. } => {
                for purpose in purposes {
                    self.listed_for(purpose, &dir, &entries, now);
                }
            }
            // The directory may exist again. A listing that was requested later will show it.
            Found::Missing { .. } if self.directories.is_looked_at(&dir) => {}
            Found::Missing { nearest } => {
                for purpose in purposes {
                    self.directory_missing(purpose, &dir, &nearest, now);
                }
            }
            Found::NotADirectory => {
                for purpose in purposes.iter().filter(|it| **it != Purpose::Root) {
                    self.leave_at(&dir, purpose);
                }
            }
            // The snapshot lists the reason.
            Found::Unreadable(_) => self.publication.mark_changed(),
        }
        self.directories.schedule_poll(self.sessions.is_any_live(), now.mono);
    }

    /// Handles the entries of a directory for one of the purposes for which it is observed.
    fn listed_for(&mut self, purpose: Purpose, dir: &Path, entries: &[Entry], now: Now) {
        match purpose {
            Purpose::Await(missing) => {
                if entries.iter().any(|entry| missing.starts_with(&entry.path)) {
                    self.awaited_path_appeared(&missing);
                }
            }
            Purpose::Root => {
                // Process files first: they say where sessions live, whose folders then go first.
                let is_projects = |entry: &&Entry| entry.path.ends_with(claude::layout::PROJECTS);
                let (projects, others): (Vec<_>, Vec<_>) = entries.iter().partition(is_projects);
                if projects.is_empty() && self.directories.is_brought(dir) {
                    // Whatever it is, a client did not begin a session in it.
                    return self.drop_root(dir);
                }
                for entry in others.into_iter().chain(projects) {
                    self.observe_in_root(&entry.path);
                }
            }
            Purpose::Projects { root } => {
                let live = self.live_projects(&root);
                for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Dir) {
                    let purpose = Purpose::Project { root: root.clone() };
                    let name = entry.path.file_name().and_then(|name| name.to_str());
                    if name.is_some_and(|it| live.contains(&claude::layout::project_name(it))) {
                        self.observe(&entry.path, purpose);
                    } else {
                        self.directories.observe_in_turn(&entry.path, purpose);
                    }
                }
            }
            Purpose::Project { root } => {
                let folders = entries.iter().filter(|entry| entry.kind == EntryKind::Dir);
                for folder in folders.filter(|folder| folder.path.parent() == Some(dir)) {
                    self.session_folder_listed(&root, &folder.path);
                }
                self.transcripts_listed(&root, entries, now);
                self.want_unlisted(dir, entries, now);
            }
            // What is in it is found under the shorter path.
            Purpose::Agents { .. } if self.directories.leads_back(dir) => {}
            Purpose::Agents { root, session } => {
                self.transcripts_listed(&root, entries, now);
                for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Dir) {
                    self.observe_below(&root, &session, &entry.path);
                }
            }
            Purpose::Processes { root } => {
                let known = self.sessions.process_files(dir).cloned();
                let found = entries.iter().map(|entry| entry.path.clone());
                for path in known.chain(found).collect::<BTreeSet<_>>() {
                    self.want_process(&root, &path, now);
                }
            }
            Purpose::BackgroundJob { process } => {
                self.sources.want(&Source::Process(process), Urgency::Settled, now);
            }
            Purpose::Git { top } => self.want_repo(&top, Urgency::Settled, now),
            Purpose::NoRepo { cwd } => {
                for entry in entries {
                    self.check_new_repo(&cwd, &entry.path, now);
                }
            }
            Purpose::Cookies => {
                let sockets = entries.iter().filter(|entry| entry.kind == EntryKind::Other);
                let there = sockets.map(|entry| entry.path.clone()).collect();
                let (n_new, answered) = self.sources.cookies_listed(&there);
                self.effects.extend(answered.into_iter().map(Effect::Acknowledge));
                if n_new > 0 {
                    self.cookie_came(now);
                }
            }
            Purpose::Config => self.configuration.changed(now),
            // A listing does not show which files have changed since the one before.
            Purpose::Trigger => {
                if self.directories.may_have_missed_events(dir) {
                    self.awaited_files_may_have_changed(dir, now);
                }
            }
        }
    }

    /// An observed directory does not exist. `nearest` is the closest directory above that does.
    fn directory_missing(&mut self, purpose: Purpose, dir: &Path, nearest: &Path, now: Now) {
        match purpose {
            // The next hint of a display adds it again.
            Purpose::Root if self.directories.is_brought(dir) => self.drop_root(dir),
            Purpose::Root => self.observe(nearest, Purpose::Await(dir.to_owned())),
            Purpose::Config => {
                self.observe(nearest, Purpose::Await(dir.to_owned()));
                self.configuration.changed(now);
            }
            Purpose::Trigger => self.observe(nearest, Purpose::Await(dir.to_owned())),
            Purpose::Await(target) => {
                let purpose = Purpose::Await(target);
                self.leave_at(dir, &purpose);
                self.observe(nearest, purpose);
            }
            Purpose::Project { .. } | Purpose::Agents { .. } => {
                self.want_unlisted(dir, &[], now);
                self.leave_dir(dir);
            }
            Purpose::Processes { .. } => {
                self.listed_for(purpose, dir, &[], now);
                self.leave_dir(dir);
            }
            Purpose::Git { top } => self.git_dir_missing(&top, dir, now),
            // The directory above is observed too, and shows it when it is created again.
            Purpose::Projects { .. } | Purpose::NoRepo { .. } => self.leave_dir(dir),
            Purpose::BackgroundJob { .. } => self.leave_dir(dir),
            // If the whole state directory is gone, publishing fails, and the watcher ends.
            Purpose::Cookies => self.publication.mark_changed(),
        }
    }

    /// Observes a directory for one more purpose, and requests its listing.
    pub(super) fn observe(&mut self, dir: &Path, purpose: Purpose) {
        let effect = self.directories.observe(dir, purpose);
        self.effects.extend(effect);
    }

    /// The names of the folders in which the live sessions of a root probably have their
    /// transcripts, by the directories that they work in.
    fn live_projects(&self, root: &Path) -> BTreeSet<String> {
        let cwds = self.sessions.cwds_of_root(root);
        cwds.filter_map(|cwd| Some(claude::layout::project_name(cwd.to_str()?))).collect()
    }

    /// Stops observing all directories for this purpose.
    pub(super) fn leave(&mut self, purpose: &Purpose) {
        let leave = self.directories.leave(purpose, |_| false);
        self.effects.extend(leave);
    }

    /// Stops observing one directory for this purpose.
    pub(super) fn leave_at(&mut self, dir: &Path, purpose: &Purpose) {
        let leave = self.directories.leave(purpose, |it| it != dir);
        self.effects.extend(leave);
    }

    /// Stops observing a directory for any purpose.
    fn leave_dir(&mut self, dir: &Path) {
        let leave = self.directories.leave_dir(dir);
        self.effects.extend(leave);
    }

    /// A path that was missing may exist now. Lists it instead of the directory where it was
    /// awaited.
    fn awaited_path_appeared(&mut self, target: &Path) {
        self.leave(&Purpose::Await(target.to_owned()));
        let look = self.directories.look(target);
        self.effects.push(look);
    }

    /// A `--oneshot` run left a cookie. Plans the fetches that the answer must include.
    fn cookie_came(&mut self, now: Now) {
        // Files of working trees are not watched, and the answer must include their changes.
        let live = self.sessions.of_interest().filter(|session| session.is_live);
        for top in live.filter_map(|session| session.repo.clone()).collect::<BTreeSet<_>>() {
            self.want_repo(&top, Urgency::Now, now);
        }
        let looks = self.directories.look_at_unwatched();
        self.effects.extend(looks);
        self.confirm_usage(now);
        self.publication.mark_changed();
    }

    /// Observes an entry of a config root, if it is `projects` or `sessions`.
    fn observe_in_root(&mut self, path: &Path) {
        let Some(root) = path.parent().map(Path::to_owned) else { return };
        match path.file_name().and_then(|name| name.to_str()) {
            Some(claude::layout::PROJECTS) => self.observe(path, Purpose::Projects { root }),
            Some(claude::layout::PROCESSES) => self.observe(path, Purpose::Processes { root }),
            _ => {}
        }
    }

    /// Plans a read of a path in `sessions`, if it is a process file by its name.
    fn want_process(&mut self, root: &Path, path: &Path, now: Now) {
        if let Some(claude::layout::FileKind::Process(_)) = claude::layout::classify(root, path) {
            self.sources.want(&Source::Process(path.to_owned()), Urgency::Now, now);
        }
    }

    /// A listing showed a folder beside the transcripts. If its name is a session's, it holds what
    /// that session's subagents write. It is only observed while the session is live.
    fn session_folder_listed(&mut self, root: &Path, path: &Path) {
        let Some(id) = session_named_by(path) else { return };
        self.transcripts.add_folder(path);
        let key = SessionKey { id, root: root.to_owned() };
        if self.sessions.get(&key).is_some_and(|session| session.is_live) {
            let SessionKey { root, id: session } = key;
            self.observe(path, Purpose::Agents { root, session });
        }
    }

    /// A folder appeared beside the transcripts. Its session has just started a subagent, so it is
    /// observed at once. Another folder is as well: its name stands for the session.
    fn session_folder_appeared(&mut self, root: &Path, path: &Path) {
        if !claude::layout::may_be_folder(path) {
            return;
        }
        let session = session_named_by(path);
        if session.is_some() {
            self.transcripts.add_folder(path);
        }
        let session = session.unwrap_or_else(|| SessionId(text::of(path)));
        self.observe(path, Purpose::Agents { root: root.to_owned(), session });
    }

    /// Observes a folder inside a session's folder. The listing of the project finds what is in
    /// those that are too many or too deep to be observed.
    fn observe_below(&mut self, root: &Path, session: &SessionId, path: &Path) {
        let purpose = Purpose::Agents { root: root.to_owned(), session: session.clone() };
        let is_deep = claude::layout::depth(root, path) >= claude::layout::MAX_DEPTH;
        if !is_deep && self.directories.n_observed(&purpose) < MAX_FOLDERS {
            self.observe(path, purpose);
        }
    }
}

fn session_named_by(folder: &Path) -> Option<SessionId> {
    SessionId::checked(folder.file_name()?.to_str()?)
}
