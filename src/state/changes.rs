//! PURE. What follows from a change that the kernel reported, and from what a directory holds.

use std::collections::BTreeSet;
use std::path::Path;

use super::limits::Limits;
use super::places::Purpose;
use super::tools::BlockTool;
use super::{Effect, RESCAN_SPACING, Root, SessionKey, State};
use crate::fetch::claude;
use crate::plan::Urgency;
use crate::store::schema::SessionId;
use crate::time::Now;
use crate::usage::ledger::{Ledger, REACH_MS};
use crate::watch::{Entry, EntryKind, Found, Listing};

impl State {
    pub(super) fn changed(&mut self, path: &Path, now: Now) {
        if self.places.contains(path) {
            // It was removed, renamed or made anew.
            let look = self.places.look(path);
            self.effects.push(look);
        }
        for (path, purpose) in self.places.concerns(path) {
            match purpose {
                Purpose::Await(missing) => {
                    if missing.starts_with(&path) {
                        self.awaited(&missing);
                    }
                }
                Purpose::Root => self.root_entry(&path),
                Purpose::Projects { root } => self.observe(&path, Purpose::Project { root }),
                Purpose::Project { root } => match claude::layout::classify(&root, &path) {
                    Some(place) => self.want_transcript(&path, &root, place, now),
                    None => self.session_folder(&root, &path),
                },
                Purpose::Agents { root, session } => match claude::layout::classify(&root, &path) {
                    Some(place) => self.want_transcript(&path, &root, place, now),
                    None => self.agents_folder(&root, &session, &path),
                },
                Purpose::Processes { root } => self.want_process(&root, &path, now),
                Purpose::Git { top } => {
                    if self.repos.get(&top).is_some_and(|it| it.tree.matters(&path)) {
                        self.want_repo(&top, Urgency::Settled, now);
                    }
                }
                Purpose::NoRepo { cwd } => self.init(&cwd, &path, now),
                Purpose::Cookies => self.cookie_changed(&path, now),
                Purpose::Config => {
                    if self.settings.config.contains(&path) {
                        self.configuration_changed(now);
                    }
                }
            }
        }
    }

    pub(super) fn lost(&mut self, now: Now) {
        let rested = self.last_rescan.map(|it| it + RESCAN_SPACING);
        self.next_rescan = Some(rested.map_or(now.mono, |it| it.max(now.mono)));
    }

    pub(super) fn rescan(&mut self, now: Now) {
        (self.next_rescan, self.last_rescan) = (None, Some(now.mono));
        if let Some(watcher) = &mut self.watcher {
            watcher.rescans += 1;
        }
        self.effects.push(Effect::Rebuild);
        let looks = self.places.look_at_all(|_| true);
        self.effects.extend(looks);
        self.is_dirty = true;
    }

    pub(super) fn listed(&mut self, listing: Listing, now: Now) {
        let (purposes, looks) = self.places.listed(&listing);
        self.effects.extend(looks);
        let dir = listing.dir;
        match listing.found {
            Found::Dir { entries, .. } => {
                for purpose in purposes {
                    self.listed_for(purpose, &dir, &entries, now);
                }
            }
            // It may have come back since, and then the next listing says so.
            Found::Missing { .. } if self.places.is_looked_at(&dir) => {}
            Found::Missing { nearest } => {
                for purpose in purposes {
                    self.missing(purpose, &dir, &nearest, now);
                }
            }
            Found::NotADirectory => {
                let leave = self.places.leave(|it, purpose| it == dir && *purpose != Purpose::Root);
                self.effects.extend(leave);
            }
            // Its reason is in the snapshot.
            Found::Unreadable(_) => self.is_dirty = true,
        }
        self.schedule_poll(now);
    }

    fn listed_for(&mut self, purpose: Purpose, dir: &Path, entries: &[Entry], now: Now) {
        match purpose {
            Purpose::Await(missing) => {
                if entries.iter().any(|it| missing.starts_with(&it.path)) {
                    self.awaited(&missing);
                }
            }
            Purpose::Root => {
                for entry in entries {
                    self.root_entry(&entry.path);
                }
            }
            Purpose::Projects { root } => {
                for entry in entries.iter().filter(|it| it.kind == EntryKind::Dir) {
                    self.observe(&entry.path, Purpose::Project { root: root.clone() });
                }
            }
            Purpose::Project { root } => {
                let folders = entries.iter().filter(|it| it.kind == EntryKind::Dir);
                for folder in folders.filter(|it| it.path.parent() == Some(dir)) {
                    self.seen_folder(&root, &folder.path);
                }
                self.seen(&root, entries, now);
                self.check_vanished(dir, entries, now);
            }
            Purpose::Agents { root, session } => {
                self.seen(&root, entries, now);
                for entry in entries.iter().filter(|it| it.kind == EntryKind::Dir) {
                    self.agents_folder(&root, &session, &entry.path);
                }
            }
            Purpose::Processes { root } => {
                let known = self.processes.keys().filter(|it| it.starts_with(dir)).cloned();
                let found = entries.iter().map(|it| it.path.clone());
                for path in known.chain(found).collect::<BTreeSet<_>>() {
                    self.want_process(&root, &path, now);
                }
            }
            Purpose::Git { top } => self.want_repo(&top, Urgency::Settled, now),
            Purpose::NoRepo { cwd } => {
                for entry in entries {
                    self.init(&cwd, &entry.path, now);
                }
            }
            Purpose::Cookies => {
                let there = entries.iter().filter(|it| it.kind == EntryKind::Other);
                self.cookies_listed(&there.map(|it| it.path.clone()).collect(), now);
            }
            Purpose::Config => self.configuration_changed(now),
        }
    }

    pub(super) fn missing(&mut self, purpose: Purpose, dir: &Path, nearest: &Path, now: Now) {
        match purpose {
            Purpose::Root => self.observe(nearest, Purpose::Await(dir.to_owned())),
            Purpose::Config => {
                self.observe(nearest, Purpose::Await(dir.to_owned()));
                self.configuration_changed(now);
            }
            Purpose::Await(target) => {
                let leave = self.places.leave(|it, why| {
                    it == dir && matches!(why, Purpose::Await(it) if *it == target)
                });
                self.effects.extend(leave);
                self.observe(nearest, Purpose::Await(target));
            }
            Purpose::Project { .. } | Purpose::Agents { .. } => {
                self.check_vanished(dir, &[], now);
                self.leave(dir);
            }
            Purpose::Processes { .. } => {
                self.listed_for(purpose, dir, &[], now);
                self.leave(dir);
            }
            Purpose::Git { top } => self.git_dir_missing(&top, dir, now),
            // They will be seen in what they are in.
            Purpose::Projects { .. } | Purpose::NoRepo { .. } => self.leave(dir),
            // Without its state directory the watcher ends when it publishes next.
            Purpose::Cookies => self.is_dirty = true,
        }
    }

    pub(super) fn observe(&mut self, dir: &Path, purpose: Purpose) {
        let effect = self.places.observe(dir, purpose);
        self.effects.extend(effect);
    }

    fn leave(&mut self, dir: &Path) {
        let leave = self.places.leave_dir(dir);
        self.effects.extend(leave);
    }

    fn awaited(&mut self, target: &Path) {
        let leave =
            self.places.leave(|_, purpose| matches!(purpose, Purpose::Await(it) if it == target));
        self.effects.extend(leave);
        let look = self.places.look(target);
        self.effects.push(look);
    }

    pub(super) fn add_root(&mut self, root: &Path, now: Now) {
        let mut ledger = Ledger::new(self.settings.prices.clone());
        ledger.forget_before(now.wall_ms - REACH_MS);
        let root_state = Root {
            ledger,
            limits: Limits::new(),
            as_of_ms: now.wall_ms,
            skipped_lines: 0,
            recalled: None,
            block_tool: self.settings.block_tool.as_ref().map(|_| BlockTool::default()),
        };
        self.roots.entry(root.to_owned()).or_insert(root_state);
        self.observe(root, Purpose::Root);
    }

    fn root_entry(&mut self, path: &Path) {
        let Some(root) = path.parent().map(Path::to_owned) else { return };
        match path.file_name().and_then(|it| it.to_str()) {
            Some(claude::layout::PROJECTS) => self.observe(path, Purpose::Projects { root }),
            Some(claude::layout::PROCESSES) => self.observe(path, Purpose::Processes { root }),
            _ => {}
        }
    }

    /// A folder beside the transcripts is that of a session. Only of one that lives it is watched.
    fn seen_folder(&mut self, root: &Path, path: &Path) {
        let name = path.file_name().and_then(|it| it.to_str());
        let Some(session) = name.and_then(SessionId::checked) else { return };
        self.session_folders.insert(path.to_owned());
        let key = SessionKey { id: session, root: root.to_owned() };
        if self.sessions.get(&key).is_some_and(|it| it.is_live) {
            let SessionKey { root, id: session } = key;
            self.observe(path, Purpose::Agents { root, session });
        }
    }

    /// A new folder beside the transcripts is that of a session which starts a subagent.
    fn session_folder(&mut self, root: &Path, path: &Path) {
        let name = path.file_name().and_then(|it| it.to_str());
        if let Some(session) = name.and_then(SessionId::checked) {
            self.session_folders.insert(path.to_owned());
            self.observe(path, Purpose::Agents { root: root.to_owned(), session });
        }
    }

    fn agents_folder(&mut self, root: &Path, session: &SessionId, path: &Path) {
        if claude::layout::holds_subagents(path) {
            let purpose = Purpose::Agents { root: root.to_owned(), session: session.clone() };
            self.observe(path, purpose);
        }
    }
}
