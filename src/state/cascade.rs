//! PURE. What follows when a session begins, moves or ends, and when git or a configured program
//! answers: which working trees git is asked about, which directories are observed, and which
//! programs run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::State;
use super::command_runs::{configured, differs};
use super::directories::Purpose;
use super::event::Effect;
use super::sessions::{SessionKey, Transition};
use super::settings::{Mode, Settings};
use crate::fetch::git;
use crate::fetch::git::tree::WorkTree;
use crate::fetch::job::Source;
use crate::fetch::process::Process;
use crate::fetch::tool::Scope;
use crate::fetch::{claude, tool};
use crate::plan::Urgency;
use crate::store::schema::{self, ClientFacts, SessionId, Status};
use crate::time::Now;

/// How many config roots hints may add to those that are configured. Some test suites run Claude
/// Code with a new root for every test.
const MAX_CLIENT_ROOTS: usize = 16;

impl State {
    // ---- Sessions

    /// A process file was read; `None` if it was deleted.
    pub(super) fn process_read(&mut self, path: &Path, process: Option<Process>, now: Now) {
        let root = path.parent().and_then(Path::parent).map(Path::to_owned);
        // The root may have been dropped during the read.
        let root = root.filter(|root| self.accounts.contains(root));
        let found = root.zip(process).and_then(|(root, process)| {
            let id = process.file.session_id.clone()?;
            Some((SessionKey { id, root }, process))
        });
        if let Some((key, process)) = &found
            && !self.sessions.is_trusted(&key.root)
            && self.sessions.proves_root(process)
        {
            self.root_proved(&key.root.clone(), now);
        }
        if let Some((_, process)) = &found
            && process.is_alive
            && !self.sessions.is_running(path, process)
        {
            let (path, file) = (path.to_owned(), Box::new(process.file.clone()));
            self.effects.push(Effect::AwaitExit(path, file));
        }
        self.observe_job(path, found.as_ref());
        let waits = |state: &State, key: &SessionKey| {
            let process = state.sessions.get(key).and_then(|it| it.process.as_deref());
            process.is_some_and(|it| it.file.status == Some(Status::Waiting))
        };
        let named = found.as_ref().map(|(key, _)| key.clone());
        let begins = named.filter(|key| !waits(self, key));
        let (changed, has_changed) = self.sessions.process_read(path, found, now);
        self.publication.mark_changed_if(has_changed);
        for key in changed {
            self.refresh_session(&key, now);
        }
        if let Some(key) = begins.filter(|key| waits(self, key)) {
            self.session_waits(&key, now);
        }
    }

    /// Observes the folder of the background job that a process works on, and no longer that of the
    /// one before.
    fn observe_job(&mut self, path: &Path, found: Option<&(SessionKey, Process)>) {
        let job = found.filter(|(_, process)| process.runs_session()).and_then(|(key, process)| {
            Some(claude::layout::job_folder(&key.root, process.file.job.as_ref()?))
        });
        let purpose = Purpose::BackgroundJob { process: path.to_owned() };
        let leave = self.directories.leave(&purpose, |dir| job.as_deref() == Some(dir));
        self.effects.extend(leave);
        if let Some(job) = job {
            self.observe(&job, purpose);
        }
    }

    /// A process ended. Its file may be left behind, and is read again.
    pub(super) fn process_exited(&mut self, path: &Path, now: Now) {
        if self.sessions.has_process_file(path) {
            self.sources.want(&Source::Process(path.to_owned()), Urgency::Now, now);
        }
    }

    /// A display requested a session's line, and sent what Claude Code had passed to it. Without a
    /// session id, the hint is from a `--oneshot` run that left a cookie.
    pub(super) fn hint_received(&mut self, mut facts: ClientFacts, now: Now) {
        let Some(id) = facts.session_id.as_deref().and_then(SessionId::checked) else {
            // The kernel may not report the cookie: its directory may be on a file system without
            // events, or may have been removed and created again.
            let looks = self.directories.look_at_unwatched();
            self.effects.extend(looks);
            let looks = self.directories.look_at_all(|purpose| *purpose == Purpose::Cookies);
            self.effects.extend(looks);
            return;
        };
        let transcript = facts.transcript_path.as_deref().map(PathBuf::from);
        let transcript = transcript.filter(|path| path.is_absolute());
        let root = match transcript.as_deref().and_then(claude::layout::root_of) {
            Some(root) => root.to_owned(),
            None => match self.sessions.of_id(&id) {
                Some(key) => key.root.clone(),
                None => return,
            },
        };
        if !self.accounts.contains(&root) {
            // A watcher that runs as a login service does not see the CLAUDE_CONFIG_DIR that the
            // client sees. The path of the client's transcript shows the root.
            if !self.make_room_for_root() {
                return;
            }
            self.directories.set_brought(&root, true);
            self.add_root(&root, now);
        }
        if let Some(path) = &transcript
            && let Some(kind @ claude::layout::FileKind::Transcript(_)) =
                claude::layout::classify(&root, path)
        {
            // Where the kernel reports no changes, the hint shows that the transcript may have one.
            self.want_transcript(path, &root, kind, Urgency::Settled, now);
        }
        let key = SessionKey { id, root };
        if self.sessions.is_spare(&key) {
            return;
        }
        let replied_ms = self.transcript_facts(&key).and_then(|facts| facts.last_reply_ms);
        facts.limits = facts.limits.plausible(now.wall_ms);
        let (has_news, statement) = self.sessions.hint_received(&key, facts, replied_ms, now);
        if let Some(statement) = statement {
            self.accounts.merge_limits(&key.root, &statement, now);
        }
        self.confirm_usage(now);
        if has_news {
            self.publication.mark_changed();
        } else {
            self.publication.confirm(now.mono);
        }
        self.refresh_session(&key, now);
        self.refresh_repo(&key, now);
    }

    /// Drops a root that a display brought, if there are too many: one that is gone, or else one
    /// that no process has proved. Returns whether there is room for one more.
    fn make_room_for_root(&mut self) -> bool {
        if self.accounts.len() < MAX_CLIENT_ROOTS + self.settings.roots.len() {
            return true;
        }
        let brought = || self.accounts.roots().filter(|root| !self.settings.roots.contains(root));
        let is_gone = |root: &&PathBuf| self.directories.is_gone(root);
        let last_activity_ms = |root: &&PathBuf| {
            self.sessions.of_root(root).map(|(_, session)| session.last_activity_ms()).max()
        };
        let unproved = || brought().filter(|root| !self.sessions.is_trusted(root));
        let dropped = brought().find(is_gone).or_else(|| unproved().min_by_key(last_activity_ms));
        let Some(dropped) = dropped.cloned() else { return false };
        self.drop_root(&dropped);
        true
    }

    /// A process of the user's showed that a root is the user's. Until now no program ran for its
    /// sessions.
    pub(super) fn root_proved(&mut self, root: &Path, now: Now) {
        self.sessions.trust(root);
        self.record_root(root, now);
        if self.directories.is_brought(root) {
            // Links in it may be the user's own.
            self.directories.set_brought(root, false);
            let look = self.directories.look(root);
            self.effects.push(look);
            let is_in =
                |purpose: &Purpose| matches!(purpose, Purpose::Projects { root: of } if of == root);
            let looks = self.directories.look_at_all(is_in);
            self.effects.extend(looks);
        }
        let sessions: Vec<_> = self.sessions.of_root(root).map(|(key, _)| key.clone()).collect();
        for key in sessions {
            self.refresh_session(&key, now);
        }
        self.want_block(root, now);
        if self.is_any_of_interest() {
            self.want_tools(now);
        }
    }

    /// Decides anew whether a session is live and where it works, and acts on a change.
    pub(super) fn refresh_session(&mut self, key: &SessionKey, now: Now) {
        let transcript = self.sessions.get(key).and_then(|session| session.transcript.as_ref());
        let transcript = transcript.and_then(|path| self.transcripts.facts(path));
        match self.sessions.refresh(key, transcript, now) {
            Transition::Began => self.session_began(key, now),
            Transition::Moved => self.want_tree(key, now),
            Transition::Ended => self.session_ended(key),
            Transition::Same => {}
        }
    }

    fn session_began(&mut self, key: &SessionKey, now: Now) {
        self.publication.mark_changed();
        self.clock.start_ticking(now);
        self.directories.hurry_poll(now.mono);
        let transcript = self.sessions.get(key).and_then(|session| session.transcript.as_deref());
        let folder = transcript.map(claude::layout::session_folder);
        self.hurry_project(key);
        // Most sessions have no such folder, and looking for one would cost a system call each.
        if let Some(folder) = folder.filter(|folder| self.transcripts.has_folder(folder)) {
            let SessionKey { root, id: session } = key.clone();
            self.observe(&folder, Purpose::Agents { root, session });
        }
        if self.sessions.is_trusted(&key.root) {
            self.want_tools(now);
            self.want_tree(key, now);
        }
        self.want_program(now);
    }

    /// A session began. What it writes is read before the thousands of transcripts that may be in
    /// other folders.
    fn hurry_project(&mut self, key: &SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let written = session.transcript.as_deref().and_then(Path::parent).map(Path::to_owned);
        let named = || {
            let name = claude::layout::project_name(session.cwd.as_deref()?.to_str()?);
            Some(key.root.join(claude::layout::PROJECTS).join(name))
        };
        if let Some(project) = written.or_else(named) {
            let look = self.directories.hurry(&project);
            self.effects.extend(look);
        }
    }

    fn session_ended(&mut self, key: &SessionKey) {
        self.publication.mark_changed();
        let SessionKey { root, id: session } = key.clone();
        self.leave(&Purpose::Agents { root, session });
        self.leave_unused_repos();
        self.stop_unused_tools();
    }

    /// A `--oneshot` run prints the line of the session that was active last, live or not. Fetches
    /// what that line shows.
    pub(super) fn print_latest(&mut self, now: Now) {
        let Some(key) = self.sessions.latest(now).cloned() else { return };
        if let Some(cwd) = self.sessions.mark_printed(&key) {
            self.sources.want(&Source::Tree(cwd), Urgency::Now, now);
        }
        if self.sessions.is_trusted(&key.root) {
            self.want_tools(now);
        }
    }

    // ---- Working trees

    fn want_tree(&mut self, key: &SessionKey, now: Now) {
        let dir = self.sessions.get(key).and_then(|session| session.search_dir.clone());
        if let Some(dir) = dir {
            self.sources.want(&Source::Tree(dir), Urgency::Now, now);
        }
    }

    /// The search for the working tree around `cwd` ended. `found` also has the directories inside
    /// `.git` to observe; `None` means that there is no working tree.
    pub(super) fn tree_found(
        &mut self,
        cwd: &Path,
        found: Option<(WorkTree, Vec<PathBuf>)>,
        now: Now,
    ) {
        let top = found.as_ref().map(|(tree, _)| tree.top.clone());
        let has_changed = self.sessions.tree_found(cwd, top.as_deref());
        self.publication.mark_changed_if(has_changed);
        if has_changed && self.settings.runs.values().any(|it| it.scope == Scope::Repository) {
            self.forget_unused_runs();
            self.want_tools(now);
        }
        self.leave_unused_repos();
        let Some((tree, dirs)) = found else {
            if self.sessions.is_cwd_used(cwd) {
                self.observe(cwd, Purpose::NoRepo { cwd: cwd.to_owned() });
            }
            return;
        };
        self.leave(&Purpose::NoRepo { cwd: cwd.to_owned() });
        let top = tree.top.clone();
        let is_new = self.repos.tree_found(tree);
        self.observe_git(&top, dirs);
        if is_new {
            let urgency = match self.mode {
                // The listings that `observe_git` just requested will want the same fetch, since
                // changes before them were not reported. A settled fetch waits for them.
                Mode::Watch { .. } => Urgency::Settled,
                Mode::Once { .. } => Urgency::Now,
            };
            self.want_repo(&top, urgency, now);
        }
    }

    /// Observes `dirs` inside the `.git` of a working tree, and no others. Observes none where no
    /// session uses the working tree.
    fn observe_git(&mut self, top: &Path, dirs: Vec<PathBuf>) {
        if let Mode::Once { .. } = self.mode {
            // Each listing would only cause a second call of git.
            return;
        }
        let dirs = if self.sessions.is_repo_used(top) { dirs } else { Vec::new() };
        let Some(dirs) = self.repos.set_dirs(top, dirs) else { return };
        let purpose = Purpose::Git { top: top.to_owned() };
        let leave = self.directories.leave(&purpose, |dir| dirs.contains(dir));
        self.effects.extend(leave);
        for dir in dirs {
            self.observe(&dir, purpose.clone());
        }
    }

    /// A directory inside `.git` does not exist any more. The whole repository may be gone.
    pub(super) fn git_dir_missing(&mut self, top: &Path, dir: &Path, now: Now) {
        self.leave_at(dir, &Purpose::Git { top: top.to_owned() });
        match self.repos.dir_missing(top, dir) {
            Some(true) => self.want_trees(top, now),
            Some(false) => self.want_repo(top, Urgency::Settled, now),
            None => {}
        }
    }

    /// Something changed in the working directory of a session without a repository, or in a `.git`
    /// there that is not a repository. Looks for a repository if `git init` may have run.
    pub(super) fn check_new_repo(&mut self, cwd: &Path, path: &Path, now: Now) {
        let is_dot_git = path == cwd.join(".git");
        if is_dot_git {
            // `git init` creates `.git` first, and then the files that make it a repository.
            self.observe(path, Purpose::NoRepo { cwd: cwd.to_owned() });
        }
        if is_dot_git || path.parent() != Some(cwd) {
            self.sources.want(&Source::Tree(cwd.to_owned()), Urgency::Settled, now);
        }
    }

    /// Looks again for the working tree of each session that works in this one.
    fn want_trees(&mut self, top: &Path, now: Now) {
        let inside = self.sessions.in_repo(top);
        for cwd in inside.filter_map(|session| session.search_dir.clone()).collect::<BTreeSet<_>>()
        {
            self.sources.want(&Source::Tree(cwd), Urgency::Settled, now);
        }
    }

    /// Stops observing working trees, and directories without one, whose sessions' lines are not
    /// shown.
    pub(super) fn leave_unused_repos(&mut self) {
        let left = self.sessions.take_left();
        for top in left.repos {
            if !self.sessions.is_repo_used(&top) {
                self.observe_git(&top, Vec::new());
                self.forget_source(&Source::Repo(top));
            }
        }
        for cwd in left.dirs {
            if !self.sessions.is_cwd_used(&cwd) {
                self.leave(&Purpose::NoRepo { cwd });
            }
        }
    }

    /// A live session did something that may have changed files. Asks git about its working tree.
    pub(super) fn want_repo_of(&mut self, key: &SessionKey, now: Now) {
        let Some(session) = self.sessions.get(key).filter(|session| session.is_live) else {
            return;
        };
        match (session.repo.clone(), session.search_dir.clone()) {
            (Some(top), _) => self.want_repo(&top, Urgency::Settled, now),
            // The session may have run `git init`.
            (None, Some(cwd)) => self.sources.want(&Source::Tree(cwd), Urgency::Settled, now),
            (None, None) => {}
        }
    }

    /// A display requested the session's line. Files of the working tree are not watched, so git is
    /// asked again if its answer is old.
    fn refresh_repo(&mut self, key: &SessionKey, now: Now) {
        let top = self.sessions.get(key).and_then(|session| session.repo.clone());
        match top.as_deref().and_then(|top| Some((top, self.repos.is_refresh_due(top, now)?))) {
            Some((top, true)) => self.want_repo(top, Urgency::Now, now),
            Some((_, false)) => {}
            None => self.want_repo_of(key, now),
        }
    }

    /// Asks git about a working tree, if the line of a session there is shown.
    pub(super) fn want_repo(&mut self, top: &Path, urgency: Urgency, now: Now) {
        if self.sessions.is_repo_used(top) {
            self.sources.want(&Source::Repo(top.to_owned()), urgency, now);
        }
    }

    /// A call of git ended. `dirs` are the directories inside `.git` to observe from now on.
    pub(super) fn git_answered(
        &mut self,
        top: &Path,
        found: Result<schema::Repo, git::status::GitError>,
        dirs: Vec<PathBuf>,
        now: Now,
    ) {
        self.publication.mark_changed();
        let has_failed = found.is_err();
        let before = self.repos.facts(top).cloned();
        if !self.repos.git_answered(top, found, now) {
            return;
        }
        if differs(before.as_ref(), self.repos.facts(top)) {
            self.repo_changed(top, now);
        }
        if has_failed {
            // The repository may have been removed or replaced.
            self.want_trees(top, now);
        } else {
            self.observe_git(top, dirs);
        }
    }

    // ---- Configured programs

    /// Entries of this account were counted, or taken back. Plans a call of the block tool, if one
    /// is configured.
    pub(super) fn want_block(&mut self, root: &Path, now: Now) {
        if !self.sessions.is_trusted(root) {
            return;
        }
        let Some(tool) = self.accounts.block_tool_mut(root) else { return };
        tool.mark_behind();
        // When the first scan ends, `want_blocks` plans a call for every root.
        if self.sources.is_scanned() {
            self.sources.want(&Source::Block(root.to_owned()), Urgency::Settled, now);
        }
    }

    /// Plans a call of the block tool for every root that has transcripts.
    pub(super) fn want_blocks(&mut self, now: Now) {
        for root in self.accounts.roots().cloned().collect::<Vec<_>>() {
            if self.transcripts.of_root(&root).next().is_some() {
                self.want_block(&root, now);
            }
        }
    }

    /// A session began. Plans the next run of each command, and calls block tools again that failed
    /// and were not retried while no session was live.
    fn want_tools(&mut self, now: Now) {
        for name in self.all_runs() {
            let Some(tool) = self.settings.commands.get(configured(&name)) else { continue };
            let source = Source::Command(name.clone());
            match self.commands.started_at(&name) {
                Some(_) if !self.is_timed(&name) => {}
                Some(_)
                    if matches!(self.mode, Mode::Once { .. }) || !self.sources.is_idle(&source) => {
                }
                Some(started) if now.mono < started + tool.every => {
                    self.sources.repeat(&source, started + tool.every);
                }
                // It was not started since it was configured. If a command of this name runs, it is
                // the one that was configured before.
                _ => self.sources.want(&source, Urgency::Now, now),
            }
        }
        for root in self.accounts.roots() {
            let source = Source::Block(root.clone());
            let is_behind = self.accounts.block_tool(root).is_some_and(|tool| tool.is_behind());
            if is_behind && self.sources.has_stopped_retrying(&source) {
                self.sources.want(&source, Urgency::Settled, now);
            }
        }
    }

    /// Stops commands, and retries of tools that failed, if no session's line is shown.
    pub(super) fn stop_unused_tools(&mut self) {
        self.forget_unused_runs();
        if self.is_any_of_interest() {
            return;
        }
        for name in self.settings.commands.keys().cloned().collect::<Vec<_>>() {
            self.forget_source(&Source::Command(name));
        }
        let failing = self.sources.failing().filter(|source| source.is_tool());
        for source in failing.cloned().collect::<Vec<_>>() {
            self.sources.stop_retrying(&source);
        }
    }

    pub(super) fn is_any_of_interest(&self) -> bool {
        self.sessions.of_interest().next().is_some()
    }

    /// Whether the answer of a running fetch counts. The answer of a program that was replaced in
    /// the configuration since it was started does not.
    pub(super) fn is_answer_wanted(&self, source: &Source) -> bool {
        match source {
            Source::Block(root) => self.accounts.block_tool(root).is_some_and(|it| it.is_running()),
            Source::Command(name) => self.commands.started_at(name).is_some(),
            Source::Transcript(_)
            | Source::Process(_)
            | Source::Tree(_)
            | Source::Repo(_)
            | Source::Program(_)
            | Source::Import(_)
            | Source::Alert(_) => true,
        }
    }

    /// A call of the block tool ended. `Ok(None)` means that no block is active.
    pub(super) fn block_answered(
        &mut self,
        root: &Path,
        found: Result<Option<schema::Block>, tool::ToolError>,
    ) {
        let source = Source::Block(root.to_owned());
        if !self.is_answer_wanted(&source) {
            return;
        }
        // Another call is planned if entries were counted since this one began.
        let is_behind = !self.sources.is_idle(&source);
        let has_failed = found.is_err();
        if let Some(tool) = self.accounts.block_tool_mut(root) {
            tool.answered(found.ok(), is_behind);
        }
        self.publication.mark_changed();
        if has_failed {
            self.tool_failed(&source);
        }
    }

    /// A configured command ended.
    pub(super) fn command_ended(
        &mut self,
        name: &str,
        found: Result<schema::CommandOutput, tool::ToolError>,
    ) {
        let source = Source::Command(name.to_owned());
        let Some(tool) = self.settings.commands.get(configured(name)) else { return };
        let Some(started) = self.commands.started_at(name) else { return };
        let again_at = started + tool.every;
        let has_failed = found.is_err();
        self.commands.ended(name, found);
        self.publication.mark_changed();
        if has_failed {
            self.tool_failed(&source);
        }
        let is_watching = matches!(self.mode, Mode::Watch { .. }) && self.is_any_of_interest();
        if is_watching && self.is_timed(name) {
            self.sources.repeat(&source, again_at);
        }
    }

    /// A configured program failed. No cookie waits for the next try, and without a session whose
    /// line is shown there is no next try.
    fn tool_failed(&mut self, source: &Source) {
        self.sources.stop_waiting_for(source);
        if !self.is_any_of_interest() {
            self.sources.stop_retrying(source);
        }
    }

    /// The settings changed from `before`. Forgets programs that are no longer configured, and
    /// starts new ones.
    pub(super) fn replace_tools(&mut self, before: &Settings, now: Now) {
        if before.block_tool != self.settings.block_tool {
            for root in self.accounts.roots().cloned().collect::<Vec<_>>() {
                self.forget_source(&Source::Block(root));
            }
            self.accounts.replace_block_tool(self.settings.block_tool.is_some());
            if self.sources.is_scanned() {
                self.want_blocks(now);
            }
        }
        for (name, tool) in &before.commands {
            let is_same = before.runs.get(name) == self.settings.runs.get(name);
            if self.settings.commands.get(name) == Some(tool) && is_same {
                continue;
            }
            let is_of = |run: &&String| configured(run) == name;
            for run in self.commands.names().filter(is_of).cloned().collect::<Vec<_>>() {
                self.commands.forget(&run);
                self.forget_source(&Source::Command(run));
            }
            self.forget_source(&Source::Command(name.clone()));
        }
        if self.is_any_of_interest() {
            self.want_tools(now);
        }
    }
}
