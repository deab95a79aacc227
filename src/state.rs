//! PURE. The state of the daemon, and how it reacts to events.
//!
//! [`State::on_event`] takes an event and returns effects: descriptions of what to do. `engine.rs`
//! performs them. Nothing here reads a clock or a file, starts a thread or a program, or waits.
//!
//! `State` consists of parts that each own their data and do not know each other: [`Sessions`] does
//! not know of repositories, and [`Repos`] does not know of directories. `State` decides what a
//! change in one part means for the others, here and in these files:
//!
//! - `changes.rs`: a path changed, or a directory was listed.
//! - `transcripts_read.rs`: a transcript was read, or deleted.
//! - `cascade.rs`: a session began, moved or ended; git or a configured program answered.
//! - `report.rs`: the snapshot is made, or read back after a restart.
//! - `checkpoint.rs`: what a restarted process needs in order not to read all transcripts again.
//!
//! **Invariants:** each fact is kept under the key that it belongs to (config root, session or
//! working tree), and the snapshot is computed from these facts alone. When a source fails, its
//! last good fact stays.
//!
//! See docs/decisions/001-one-thread-owns-the-state.md.

mod accounts;
mod alerts;
mod barriers;
mod block_tool;
mod cascade;
mod changes;
pub mod checkpoint;
mod clock;
mod command_runs;
mod commands;
mod configuration;
mod directories;
pub mod event;
mod imports;
mod limits;
mod places;
mod publication;
mod recording;
mod report;
mod repos;
mod sessions;
pub mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod text;
mod transcripts;
mod transcripts_read;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use accounts::Accounts;
use alerts::Alerts;
use clock::{Clock, Timer};
use commands::Commands;
use configuration::{Configuration, Due};
use directories::{Directories, Purpose};
use event::{Effect, Event, ReadFailure};
use imports::Imports;
use publication::Publication;
use recording::Recording;
use repos::Repos;
use sessions::Sessions;
use settings::{Mode, Settings};
use sources::Sources;
use transcripts::Transcripts;

use crate::fetch::exec;
use crate::fetch::git;
use crate::fetch::job::{Job, Outcome, ReadJob, RunJob, Source, Told, is_gone};
use crate::plan::Urgency;
use crate::store::schema::{Import, Snapshot};
use crate::time::Now;

/// Everything that the daemon knows.
#[derive(Debug)]
pub struct State {
    mode: Mode,
    settings: Settings,
    clock: Clock,
    directories: Directories,
    sources: Sources,
    accounts: Accounts,
    transcripts: Transcripts,
    imports: Imports,
    sessions: Sessions,
    repos: Repos,
    commands: Commands,
    alerts: Alerts,
    configuration: Configuration,
    publication: Publication,
    recording: Recording,
    /// Since when (Unix milliseconds) and why the export for Prometheus fails.
    export_failure: Option<(i64, String)>,
    /// What to do about the event that is being handled. Empty between events.
    effects: Vec<Effect>,
}

impl State {
    /// The state of a process that starts, and its first effects. `previous` is the snapshot that
    /// an earlier process published: what Claude Code reported to that process is stored nowhere
    /// else.
    pub fn new(
        mode: Mode,
        settings: Settings,
        previous: Option<&Snapshot>,
        now: Now,
    ) -> (State, Vec<Effect>) {
        let mut state = State {
            mode,
            settings,
            clock: Clock::new(now),
            directories: Directories::new(now),
            sources: Sources::new(),
            accounts: Accounts::default(),
            transcripts: Transcripts::default(),
            imports: Imports::default(),
            sessions: Sessions::default(),
            repos: Repos::default(),
            commands: Commands::default(),
            alerts: Alerts::default(),
            configuration: Configuration::default(),
            publication: Publication::new(now.mono),
            recording: Recording::default(),
            export_failure: None,
            effects: Vec::new(),
        };
        for root in state.settings.roots.clone() {
            state.add_root(&root, now);
            state.sessions.trust(&root);
            state.record_root(&root, now);
        }
        if let Some(previous) = previous {
            state.recall(previous, now);
            state.clock_set_back(0, now);
        }
        if let Mode::Watch { cookies, .. } = &state.mode {
            let cookies = cookies.clone();
            state.observe(&cookies, Purpose::Cookies);
        }
        state.observe_configuration();
        state.observe_triggers();
        let effects = std::mem::take(&mut state.effects);
        (state, effects)
    }

    /// Handles one event, and returns what to do about it.
    pub fn on_event(&mut self, event: Event, now: Now) -> Vec<Effect> {
        if let Some(set_back_ms) = self.clock.event_came(now) {
            self.clock_set_back(set_back_ms, now);
        }
        match event {
            Event::Changed(path) => self.path_changed(&path, now),
            Event::Lost => self.directories.events_lost(now.mono),
            Event::Listed(listing) => self.directory_listed(listing, now),
            Event::Fetched(outcome) => self.fetch_ended(outcome, now),
            Event::Exited(path) => self.process_exited(&path, now),
            Event::Busy(source, reason) => self.fetch_refused(&source, reason, now),
            Event::Hint(facts) => self.hint_received(*facts, now),
            Event::Deadline => {}
            Event::Reload => self.reload_requested(now),
            Event::Configured(read) => self.configuration_read(read, now),
            Event::Folded { has_imported } => {
                self.recording.ended();
                if has_imported {
                    let roots = self.accounts.recorded_roots().cloned();
                    self.effects.extend(roots.map(Effect::Recall));
                }
            }
            Event::RecordFailed(reason) => {
                let is_news = self.recording.failed(reason, now);
                self.publication.mark_changed_if(is_news);
            }
            Event::RecordLacks => self.record_again(now),
            Event::Exported { textfile, result } => self.exported(&textfile, result, now),
            Event::Published { began, result } => self.publication.ended(began, result, now),
            Event::ZoneChanged(zone) => self.zone_changed(zone),
            Event::Shutdown => return self.shut_down(now),
        }
        self.directories.note_time(now.mono);
        self.fire_timers(now);
        let looks = self.directories.take_looks();
        self.effects.extend(looks);
        self.start_fetches(now);
        self.end_waits(now);
        self.publish_if_due(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Deadline`] is due; `None` while no timer runs. Without a live session, and
    /// where the kernel reports all changes, no timer runs once everything is fetched and saved.
    pub fn deadline(&self) -> Option<Instant> {
        Timer::ALL.into_iter().filter_map(|timer| self.time_of(timer)).min()
    }

    /// How far old transcripts are read for the record; `None` if none waits.
    pub fn import(&self) -> Option<Import> {
        self.imports.progress()
    }

    /// Whether the configuration changed or is being read, so that new settings may follow soon.
    pub fn is_configuring(&self) -> bool {
        self.configuration.is_awaited()
    }

    /// Whether a directory is a config root that is worth a line in the log: one that only a hint
    /// names is not, since hints can name a new one each time.
    pub fn is_own_root(&self, dir: &Path) -> bool {
        self.accounts.contains(dir) && !self.directories.is_brought(dir)
    }

    // ---- Time

    /// When a timer is due; `None` while it does not run.
    fn time_of(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::GiveUp => self.sources.give_up_at(),
            Timer::Poll => self.directories.poll_at(),
            Timer::Tick => self.clock.tick_at(),
            Timer::Rescan => self.directories.rescan_at(),
            Timer::Quiet => self.transcripts.quiet_at(),
            Timer::Configuration => self.configuration.due_at(),
            Timer::Save => self.transcripts.save_at(),
            Timer::Fold => self.recording.due_at(),
            Timer::Alerts => self.alerts.due_at(&self.settings.alerts),
            Timer::Fetch => self.sources.deadline(),
            Timer::Publish => match self.mode {
                Mode::Watch { .. } => self.publication.due_at(),
                // A `--oneshot` run publishes when nothing is left to fetch, at whatever time.
                Mode::Once { .. } => None,
            },
        }
    }

    fn fire_timers(&mut self, now: Now) {
        for timer in Timer::ALL {
            if self.time_of(timer).is_none_or(|at| at > now.mono) {
                continue;
            }
            match timer {
                Timer::GiveUp => {
                    let has_changed = self.sources.give_up(now);
                    self.publication.mark_changed_if(has_changed);
                }
                Timer::Poll => {
                    let looks = self.directories.poll();
                    self.effects.extend(looks);
                }
                Timer::Tick => self.tick(now),
                Timer::Rescan => self.rescan(now),
                Timer::Quiet => {
                    for path in self.transcripts.take_quiet(now.mono) {
                        self.sources.want(&Source::Transcript(path), Urgency::Settled, now);
                    }
                }
                Timer::Configuration => self.read_configuration(now),
                Timer::Save => self.save(),
                Timer::Fold => self.fold(false),
                Timer::Alerts => {
                    let snapshot = self.snapshot(now);
                    let has_changed = self.look_for_alerts(&snapshot, now);
                    self.publication.mark_changed_if(has_changed);
                }
                // `on_event` does both after every event: a fetch that ended may have freed a
                // slot, and a change may be published at once.
                Timer::Fetch | Timer::Publish => {}
            }
        }
    }

    /// Does the work of each minute in which a session is live: checks sessions and processes,
    /// forgets what is old, and lists directories in case that the kernel did not report a change.
    fn tick(&mut self, now: Now) {
        for key in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.refresh_session(&key, now);
        }
        for path in self.sessions.all_process_files().cloned().collect::<Vec<_>>() {
            self.sources.want(&Source::Process(path), Urgency::Now, now);
        }
        self.forget_old(now);
        let is_full = self.clock.is_full_listing_due(now);
        let looks = self.directories.look_at_all(|purpose| match purpose {
            Purpose::Git { .. }
            | Purpose::NoRepo { .. }
            | Purpose::Await(_)
            // Each tick reads the process file, and with it what describes the job.
            | Purpose::BackgroundJob { .. }
            | Purpose::Trigger => false,
            Purpose::Project { .. } | Purpose::Agents { .. } | Purpose::Config => is_full,
            Purpose::Root
            | Purpose::Projects { .. }
            | Purpose::Processes { .. }
            | Purpose::Cookies => true,
        });
        self.effects.extend(looks);
        for root in self.accounts.drop_ended_blocks(now) {
            self.want_block(&root, now);
        }
        self.confirm_usage(now);
        self.want_program(now);
        self.publication.mark_changed();
        self.clock.tick_ended(self.sessions.is_any_live(), now);
    }

    /// Drops every watch and looks at every directory again, after events were lost.
    fn rescan(&mut self, now: Now) {
        if let Mode::Watch { identity, .. } = &mut self.mode {
            identity.rescans += 1;
        }
        let effects = self.directories.rescan(now.mono);
        self.effects.extend(effects);
        self.publication.mark_changed();
    }

    /// The wall clock was set back by `by_ms`, so known times may lie in the future: such facts
    /// would never look old, and would seem newer than those reported from now on. Moves these
    /// times back by as much, so that each fact keeps its age, or to now where they would still lie
    /// in the future. After a restart nobody knows by how much the clock was set back, and `by_ms`
    /// is 0.
    fn clock_set_back(&mut self, by_ms: i64, now: Now) {
        let times = self
            .accounts
            .times()
            .chain(self.sessions.times())
            .chain(self.transcripts.times())
            .chain(self.repos.times())
            .chain(self.commands.times())
            .chain(self.alerts.times());
        for at_ms in times.filter(|at_ms| **at_ms > now.wall_ms) {
            *at_ms = (*at_ms - by_ms).min(now.wall_ms);
        }
        let emptied = self.accounts.empty_ahead(&self.settings, now);
        self.effects.extend(emptied.into_iter().map(Effect::Recall));
        self.want_repos(now);
        self.publication.mark_changed();
    }

    /// Asks git about each working tree, if the line of a session there is shown.
    fn want_repos(&mut self, now: Now) {
        for top in self.repos.tops().cloned().collect::<Vec<_>>() {
            self.want_repo(&top, Urgency::Now, now);
        }
    }

    fn zone_changed(&mut self, zone: jiff::tz::TimeZone) {
        self.settings.zone = zone;
        self.publication.mark_changed();
    }

    // ---- Fetches

    fn start_fetches(&mut self, now: Now) {
        for source in self.sources.take_due(now) {
            match self.job_for(&source, now) {
                Some(job) => self.effects.push(Effect::Fetch(job)),
                None => {
                    let has_changed = self.sources.skip(&source, now);
                    self.publication.mark_changed_if(has_changed);
                }
            }
        }
    }

    /// The job that fetches a source; `None` where the source was dropped in the meantime.
    fn job_for(&mut self, source: &Source, now: Now) -> Option<Job> {
        let job = match source {
            Source::Transcript(path) => {
                let from = self.transcripts.resume_at(path);
                Job::Read(ReadJob::Transcript { path: path.clone(), from })
            }
            Source::Process(path) => {
                let known = self.sessions.running(path).map(|it| Box::new(it.clone()));
                let root = path.parent().and_then(Path::parent);
                let with_lineage = root.is_some_and(|root| !self.sessions.is_trusted(root));
                Job::Read(ReadJob::Process { path: path.clone(), known, with_lineage })
            }
            Source::Tree(cwd) => Job::Read(ReadJob::Tree { cwd: cwd.clone() }),
            Source::Repo(top) => {
                let limits = exec::RunLimits {
                    deadline: self.settings.git_timeout,
                    ..git::status::GIT_LIMITS
                };
                let tree = self.repos.git_started(top, now)?;
                let is_trusted = tree.lies_in(&self.settings.trusted);
                Job::Run(RunJob::Repo(git::status::Question { tree, is_trusted, limits }))
            }
            Source::Block(root) => {
                let tool = self.settings.block_tool.clone()?;
                self.accounts.block_tool_mut(root)?.started();
                Job::Run(RunJob::Block { root: root.clone(), tool })
            }
            Source::Command(name) => {
                let tool = self.tool_of_run(name)?;
                self.commands.started(name, now);
                Job::Run(RunJob::Command { name: name.clone(), tool })
            }
            Source::Program(path) => Job::Run(RunJob::Program { path: path.clone() }),
            Source::Alert(name) => {
                let rule = Box::new(self.settings.alerts.get(name)?.clone());
                let events = self.alerts.next_to_tell(name)?;
                let at_ms = now.wall_ms;
                Job::Run(RunJob::Alert { name: name.clone(), rule, events, at_ms })
            }
            Source::Import(path) => {
                let from = self.imports.resume_at(path)?;
                Job::Read(ReadJob::Import { path: path.clone(), from })
            }
        };
        Some(job)
    }

    fn fetch_ended(&mut self, outcome: Outcome, now: Now) {
        let source = outcome.source();
        let failure = outcome.failure().filter(|_| self.is_retry_wanted(&source));
        let has_failed = failure.is_some();
        let has_more = matches!(&outcome, Outcome::Transcript(_, Ok(tail)) if tail.has_more);
        let top = match &outcome {
            Outcome::Tree(_, found) => found.as_ref().map(|(tree, _)| tree.top.clone()),
            _ => None,
        };
        let has_changed = self.sources.done(&source, failure, now);
        self.publication.mark_changed_if(has_changed);
        match outcome {
            Outcome::Transcript(path, Ok(tail)) => self.transcript_read(&path, *tail, now),
            Outcome::Transcript(path, Err(err)) => {
                if is_gone(&err) {
                    self.transcript_vanished(&path, now);
                }
            }
            Outcome::Import(path, Ok(tail)) => self.import_read(&path, *tail, now),
            Outcome::Import(path, Err(err)) => {
                if is_gone(&err) {
                    self.imports.forget(&path);
                }
            }
            Outcome::Process(path, Ok(process)) => self.process_read(&path, Some(process), now),
            // Any other error means that the client was writing the file while it was read. An
            // event or a listing follows. Until then the process runs as far as is known.
            Outcome::Process(path, Err(err)) => {
                if err.kind() == io::ErrorKind::NotFound {
                    self.forget_source(&source);
                    self.process_read(&path, None, now);
                }
            }
            Outcome::Tree(cwd, found) => self.tree_found(&cwd, found, now),
            Outcome::Repo(top, found, dirs) => self.git_answered(&top, found, dirs, now),
            Outcome::Block(root, found) => self.block_answered(&root, found),
            Outcome::Command(name, found) => self.command_ended(&name, found),
            Outcome::Program(program, Ok(Some(version))) => {
                self.save();
                self.effects.push(Effect::Upgrade { program, version });
            }
            Outcome::Program(..) => {}
            Outcome::Alert(name, told) => self.alert_told(&name, told, now),
        }
        let new_repo = top.filter(|top| self.repos.is_unanswered(top));
        self.sources.wait_for_follow_ups(&source, has_more, new_repo);
        if has_failed {
            // A cookie that came during this fetch would wait for the next try, which may be
            // minutes away.
            self.sources.stop_waiting_for(&source);
        }
    }

    /// Whether a failed fetch of this source is to be retried, and listed as degraded.
    fn is_retry_wanted(&self, source: &Source) -> bool {
        match source {
            // Git is only asked for sessions whose line is shown.
            Source::Repo(top) => self.sessions.is_repo_used(top),
            Source::Block(_) | Source::Command(_) => self.is_answer_wanted(source),
            // Its root may have been dropped during the read.
            Source::Transcript(path) => self.transcripts.get(path).is_some(),
            Source::Import(path) => self.imports.resume_at(path).is_some(),
            // What could not be told is soon no news any more.
            Source::Alert(_) => false,
            Source::Process(_) | Source::Tree(_) | Source::Program(_) => true,
        }
    }

    /// A program could not be started without the fetch lock.
    fn fetch_refused(&mut self, source: &Source, reason: String, now: Now) {
        let has_changed = self.sources.postpone(source, reason, now);
        self.publication.mark_changed_if(has_changed);
    }

    fn forget_source(&mut self, source: &Source) {
        let has_changed = self.sources.forget(source);
        self.publication.mark_changed_if(has_changed);
    }

    // ---- The program itself

    /// Finds out whether the file of this program was replaced. Its directory is not observed: the
    /// kernel would report each start of each program in it.
    fn want_program(&mut self, now: Now) {
        if let Mode::Watch { program: Some(path), .. } = &self.mode {
            self.sources.want(&Source::Program(path.clone()), Urgency::Now, now);
        }
    }

    // ---- Publishing

    /// Ends the first scan when every transcript has been read. Answers the cookies whose fetches
    /// have all ended, after a snapshot that includes what these found.
    fn end_waits(&mut self, now: Now) {
        let is_looking = self.directories.is_looking();
        let passed = self.sources.take_passed(is_looking, !self.configuration.is_awaited());
        if passed.is_scan_done {
            self.want_imports(now);
            self.want_blocks(now);
            if let Mode::Once { .. } = self.mode {
                self.print_latest(now);
            }
            self.publication.first_scan_ended();
        }
        if !passed.cookies.is_empty() {
            self.publish_now(now);
            self.effects.extend(passed.cookies.into_iter().map(Effect::Acknowledge));
        }
        self.sources.hurry_for_cookies(now);
    }

    fn publish_if_due(&mut self, now: Now) {
        match self.mode {
            Mode::Watch { .. } => {
                if self.publication.is_due(now.mono) {
                    self.publish_now(now);
                }
            }
            Mode::Once { .. } => {
                let is_settled = !self.directories.is_looking() && self.sources.is_settled();
                if is_settled && self.publication.is_due(now.mono) {
                    self.publish_now(now);
                    self.save();
                    if self.recording.is_long() {
                        self.fold(true);
                    }
                }
            }
        }
    }

    fn publish_now(&mut self, now: Now) {
        self.publication.begin(now.mono);
        let mut snapshot = Box::new(self.snapshot(now));
        if self.look_for_alerts(&snapshot, now) {
            snapshot.alerts = self.alerts.report(&self.settings.alerts);
        }
        self.effects.push(Effect::Publish(snapshot));
    }

    // ---- Alerts

    /// Finds out what is to be told, by this snapshot. Until every transcript has been read, what
    /// it says is not compared with anything. Returns whether the state of any alert changed.
    fn look_for_alerts(&mut self, snapshot: &Snapshot, now: Now) -> bool {
        let Settings { alerts: rules, quiet, zone, .. } = &self.settings;
        let is_watcher = matches!(self.mode, Mode::Watch { .. });
        if rules.is_empty() || !is_watcher || !self.sources.is_scanned() {
            return false;
        }
        let (to_tell, has_changed) = self.alerts.look_at(rules, *quiet, snapshot, zone, now);
        for name in to_tell {
            self.sources.want(&Source::Alert(name), Urgency::Now, now);
        }
        has_changed
    }

    /// An alert was told, or was not since it is seen anyway.
    fn alert_told(&mut self, name: &str, told: Told, now: Now) {
        if self.alerts.told(name, told, now) {
            self.sources.want(&Source::Alert(name.to_owned()), Urgency::Now, now);
        }
        self.publication.mark_changed();
    }

    fn save(&mut self) {
        if self.transcripts.take_unsaved() {
            self.effects.push(Effect::Save);
        }
    }

    /// Brings the journal of the record into its months.
    fn fold(&mut self, is_last: bool) {
        self.recording.begin();
        self.effects.push(Effect::Fold { keep_ms: self.settings.keep_ms, is_last });
    }

    /// Saves the checkpoint, and publishes a snapshot that tells displays that no watcher runs.
    fn shut_down(&mut self, now: Now) -> Vec<Effect> {
        self.save();
        let snapshot = Snapshot { watcher: None, ..self.snapshot(now) };
        self.effects.push(Effect::Publish(Box::new(snapshot)));
        std::mem::take(&mut self.effects)
    }

    // ---- Roots

    fn add_root(&mut self, root: &Path, now: Now) {
        self.accounts.add(root, &self.settings, now);
        self.observe(root, Purpose::Root);
    }

    /// Drops a root with its account, transcripts and sessions.
    fn drop_root(&mut self, root: &Path) {
        self.forget_source(&Source::Block(root.to_owned()));
        self.accounts.remove(root);
        self.directories.set_brought(root, false);
        let files = self.transcripts.of_root(root).map(|(path, _)| Source::Transcript(path.into()));
        let processes = self.sessions.process_files(root).cloned().map(Source::Process);
        for source in files.chain(processes).collect::<Vec<_>>() {
            self.forget_source(&source);
        }
        for path in self.imports.drop_root(root) {
            self.forget_source(&Source::Import(path));
        }
        self.transcripts.drop_root(root);
        self.sessions.drop_root(root);
        self.leave_at(root, &Purpose::Root);
        let leave = self.directories.leave_all(|purpose| match purpose {
            Purpose::Await(missing) => missing == root,
            Purpose::Projects { root: of }
            | Purpose::Project { root: of }
            | Purpose::Agents { root: of, .. }
            | Purpose::Processes { root: of } => of == root,
            Purpose::BackgroundJob { process } => process.starts_with(root),
            // Those of other roots.
            Purpose::Root
            // Directories for these may lie inside the root, but do not belong to it.
            | Purpose::Git { .. }
            | Purpose::NoRepo { .. }
            | Purpose::Cookies
            | Purpose::Config
            | Purpose::Trigger => false,
        });
        self.effects.extend(leave);
        self.leave_unused_repos();
        self.stop_unused_tools();
    }

    fn forget_old(&mut self, now: Now) {
        // Roots that came from a client, not from the configuration, and were deleted.
        let is_gone = |root: &&PathBuf| {
            !self.settings.roots.contains(*root) && self.directories.is_gone(root)
        };
        for root in self.accounts.roots().filter(is_gone).cloned().collect::<Vec<_>>() {
            self.drop_root(&root);
        }
        self.accounts.forget_old(now);
        self.sessions.forget_old(now);
        self.forget_old_transcripts(now);
        self.sessions.forget_hidden(now);
        self.repos.retain(&self.sessions.repos());
    }

    // ---- The configuration

    /// Observes the directories of the configuration file and of the user's price list, and of each
    /// file that a symbolic link to them leads through.
    fn observe_configuration(&mut self) {
        if let Mode::Once { .. } = self.mode {
            return;
        }
        let dirs = self.settings.files().filter_map(|path| path.parent());
        let dirs: BTreeSet<PathBuf> = dirs.map(PathBuf::from).collect();
        let leave = self.directories.leave(&Purpose::Config, |dir| dirs.contains(dir));
        self.effects.extend(leave);
        for dir in dirs {
            self.observe(&dir, Purpose::Config);
        }
    }

    fn reload_requested(&mut self, now: Now) {
        self.configuration.changed(now);
        // Somebody may have put the record of another machine beside ours.
        self.recording.wanted(now);
        self.want_program(now);
        let looks = self.directories.look_at_all(|_| true);
        self.effects.extend(looks);
    }

    fn read_configuration(&mut self, now: Now) {
        match self.configuration.timer_fired(now) {
            Due::Read => self.effects.push(Effect::Configure),
            Due::Hangs { has_changed } => self.publication.mark_changed_if(has_changed),
        }
    }

    fn configuration_read(&mut self, read: Result<Box<Settings>, ReadFailure>, now: Now) {
        match read {
            Ok(settings) => {
                let was_invalid = self.configuration.read_valid();
                // A reload or a listing reads the file even where it has not changed.
                if was_invalid || *settings != self.settings {
                    self.settings_changed(*settings, now);
                }
            }
            Err(failure) => {
                let is_news = self.configuration.read_failed(failure, now);
                self.publication.mark_changed_if(is_news);
            }
        }
    }

    fn exported(&mut self, textfile: &Path, result: Result<(), String>, now: Now) {
        // The thread of an export that is configured no more may still end a write.
        if self.settings.export.as_ref().is_none_or(|it| it.textfile != textfile) {
            return;
        }
        let since_ms = self.export_failure.as_ref().map_or(now.wall_ms, |it| it.0);
        let failure = result.err().map(|reason| (since_ms, reason));
        self.publication.mark_changed_if(failure != self.export_failure);
        self.export_failure = failure;
    }

    fn settings_changed(&mut self, settings: Settings, now: Now) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.observe_configuration();
        self.observe_triggers();
        self.replace_tools(&before, now);
        for name in self.alerts.replace(&before.alerts, &self.settings.alerts) {
            self.forget_source(&Source::Alert(name));
        }
        self.forget_messages();
        let textfile = |of: &Settings| of.export.as_ref().map(|it| it.textfile.clone());
        if textfile(&before) != textfile(&self.settings) {
            self.export_failure = None;
        }
        if before.trusted != self.settings.trusted {
            self.want_repos(now);
        }
        if before.prices != self.settings.prices {
            self.accounts.reprice(&self.settings.prices);
        }
        for root in before.roots {
            // The next hint of that display would add the root again.
            if !self.settings.roots.contains(&root) && !self.sessions.has_display(&root) {
                self.drop_root(&root);
            }
        }
        for root in self.settings.roots.clone() {
            if !self.accounts.contains(&root) {
                self.add_root(&root, now);
            }
            if !self.sessions.is_trusted(&root) {
                self.root_proved(&root, now);
            }
        }
        self.publication.mark_changed();
    }
}
