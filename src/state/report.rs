//! PURE. Converts the state to a snapshot, and restores what only the snapshot of an earlier
//! process has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::command_runs::configured;
use super::sessions::{Reported, Session, SessionKey};
use super::settings::Mode;
use super::{State, text};
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::fetch::job::Source;
use crate::plan::Urgency;
use crate::price_list::Placed;
use crate::sanitize;
use crate::store::schema::{
    self, ClientFacts, Context, Cost, CostSource, Degraded, Fit, Health, HealthStatus, Model,
    RepoKey, RootKey, SessionId, Snapshot, Status, Subagents, Waiting,
};
use crate::time::{MINUTE_MS, Now};
use crate::usage::ledger::SessionTotals;

/// The most entries in the `degraded` list. A thousand unreadable transcripts have one cause, and
/// users read only a few entries.
const MAX_DEGRADED: usize = 64;
/// The most polled directories that a snapshot names. On a network disk there may be thousands.
const MAX_POLLED: usize = 64;
/// A subagent whose turn is open, but that wrote nothing for this long, does not count as running.
const AGENT_SILENCE_MS: i64 = 10 * MINUTE_MS;
/// The most characters of the name of a waiting session.
const MAX_WAITING_NAME: usize = 64;
/// The percentages of a context or a limit from which on a session's health is a warning, and from
/// which on it is critical.
const PERCENT: (f64, f64) = (80.0, 95.0);

impl State {
    /// The snapshot of the current state. The publisher sets its number and time.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let mut snapshot = Snapshot {
            version: schema::VERSION,
            watcher: self.report_watcher(),
            display: self.settings.display.clone(),
            roots: self.report_accounts(now),
            latest: self.sessions.latest(now).map(|key| key.id.clone()),
            commands: self.commands.report(),
            degraded: self.degraded(now),
            import: self.imports.progress(),
            alerts: self.alerts.report(&self.settings.alerts),
            ..Snapshot::default()
        };
        for (key, session) in self.sessions.shown(now) {
            let top = session.repo.as_ref();
            if let Some((top, facts)) = top.and_then(|top| Some((top, self.repos.facts(top)?))) {
                snapshot.repos.insert(RepoKey(text::of(top)), facts.clone());
            }
            let report = self.report_session(key, session, &snapshot, now);
            snapshot.sessions.insert(key.id.clone(), report);
        }
        (snapshot.waiting, snapshot.waiting_more) = waiting(&snapshot.sessions);
        snapshot
    }

    /// What displays asked the lines of live sessions to be fitted to, each with what Claude Code
    /// said of the session that no snapshot has.
    pub fn fits(&self, now: Now) -> impl Iterator<Item = (&SessionId, Fit, ClientFacts)> {
        let shown = self.sessions.shown(now).into_iter();
        shown.filter_map(|(key, session)| {
            let said = self.current_report(session).map(|it| &it.facts);
            let client = ClientFacts {
                effort: said.and_then(|it| it.effort.clone()),
                ..ClientFacts::default()
            };
            Some((&key.id, session.fit?, client))
        })
    }

    fn report_watcher(&self) -> Option<schema::Watcher> {
        let Mode::Watch { identity, .. } = &self.mode else { return None };
        let polled = self.directories.unarmed().take(MAX_POLLED);
        Some(schema::Watcher {
            polled: polled.map(|(dir, _)| text::of(dir)).collect(),
            polled_more: self.directories.unarmed().skip(MAX_POLLED).count() as u64,
            ..identity.clone()
        })
    }

    fn report_accounts(&self, now: Now) -> BTreeMap<RootKey, schema::Root> {
        let report = self.accounts.report(&self.settings, self.sources.is_scanned(), now);
        report.map(|(root, account)| (RootKey(text::of(root)), account)).collect()
    }

    /// The facts from the transcript of a session.
    pub(super) fn transcript_facts(&self, key: &SessionKey) -> Option<&TranscriptFacts> {
        self.facts_of(self.sessions.get(key)?)
    }

    fn facts_of(&self, session: &Session) -> Option<&TranscriptFacts> {
        self.transcripts.facts(session.transcript.as_deref()?)
    }

    /// What Claude Code reported of a session, unless its transcript has a newer reply.
    fn current_report<'a>(&self, session: &'a Session) -> Option<&'a Reported> {
        let reported = session.reported.as_deref()?;
        session.is_current(self.facts_of(session)).then_some(reported)
    }

    fn report_session(
        &self,
        key: &SessionKey,
        session: &Session,
        snapshot: &Snapshot,
        now: Now,
    ) -> schema::Session {
        let facts = self.facts_of(session);
        let process = session.process.as_deref().map(|it| &it.file);
        let current = self.current_report(session);
        // Facts that are in no transcript stay as they were reported last, however long ago.
        let last = session.reported.as_ref().map(|reported| &reported.facts);
        let totals = self.accounts.session(&key.root, &key.id);
        let name = last
            .and_then(|last| last.session_name.clone())
            .or_else(|| process?.name.clone())
            .or_else(|| Some(facts?.title()?.to_owned()));
        let written_model = || Some(Model { id: facts?.model.clone()?, display_name: None });
        let mut report = schema::Session {
            root: text::of(&key.root),
            cwd: session.cwd.as_deref().map(text::of),
            repo: session.repo.as_deref().map(text::of),
            transcript: session.transcript.as_deref().map(text::of),
            name,
            live: session.is_live,
            status: process.and_then(|it| it.status),
            last_activity_ms: session.last_activity_ms(),
            model: current.and_then(|it| it.facts.model.clone()).or_else(written_model),
            context: self.report_context(session),
            cost: cost(session, current, facts, totals.as_ref()),
            tokens: totals.as_ref().map(|it| it.totals.tokens).unwrap_or_default(),
            cache_hit_ratio: totals.and_then(|it| it.cache_hit_ratio),
            turns: facts.map_or(0, |facts| facts.turns),
            last_message: facts.and_then(|facts| facts.last_message.clone()),
            compactions: facts.map_or(0, |facts| facts.compactions),
            subagents: self.report_subagents(session, now),
            pr: last.and_then(|last| last.pr.clone()),
            lines: last.and_then(|last| last.lines),
            duration_ms: last.and_then(|last| last.duration_ms),
            output_style: last.and_then(|last| last.output_style.clone()),
            client_version: last.and_then(|last| last.client_version.clone()),
            health: Health::default(),
            waiting_for: process.and_then(|it| it.waiting_for.clone()),
            status_since_ms: process.and_then(|it| it.status_since_ms),
            kind: process.and_then(|it| it.kind),
            job: session.process.as_ref().and_then(|it| it.job.as_deref().cloned()),
            pid: process.map(|it| it.pid),
            ended_ms: session.ended_ms(),
            limits: last.map(|last| last.limits.clone()).unwrap_or_default(),
            subscription: self.report_subscription(session),
            last_reply_ms: facts.and_then(|facts| facts.last_reply_ms),
        };
        report.health = health(&report, snapshot);
        report
    }

    fn report_subscription(&self, session: &Session) -> Option<bool> {
        let reported = session.reported.as_ref().and_then(|it| it.subscription);
        let written = || self.facts_of(session)?.model.clone();
        let is_elsewhere =
            |id| Model { id, display_name: None }.is_of_another_provider().then_some(false);
        reported.or_else(|| written().and_then(is_elsewhere))
    }

    fn report_subagents(&self, session: &Session, now: Now) -> Subagents {
        let agents = session.agents.iter().filter_map(|path| self.transcripts.facts(path));
        let is_running = |facts: &TranscriptFacts| {
            let silence_ms = now.wall_ms - facts.last_line_ms.unwrap_or(0);
            session.is_live && facts.is_turn_open && silence_ms < AGENT_SILENCE_MS
        };
        agents.fold(Subagents::default(), |sum, facts| Subagents {
            running: sum.running + u64::from(is_running(facts)),
            total: sum.total + 1,
        })
    }

    fn report_context(&self, session: &Session) -> Option<Context> {
        let current = self.current_report(session);
        // No transcript states the size of the context window, so the one that was reported last
        // stays. The usual 200k would be wrong for sessions with a million.
        let window = session.reported.as_ref().and_then(|it| it.facts.context_window);
        if let Some(Reported { facts, at_ms, .. }) = current
            && (facts.context_tokens.is_some() || facts.context_used_percentage.is_some())
        {
            return Some(Context {
                as_of_ms: *at_ms,
                tokens: facts.context_tokens,
                window,
                used_percentage: facts.context_used_percentage,
            });
        }
        let facts = self.facts_of(session);
        let written_ms = facts.and_then(|facts| facts.context_as_of_ms);
        if let Some(Reported { at_ms, facts, .. }) = current
            && facts.context_window.is_some()
            && written_ms.is_none_or(|it| it <= *at_ms)
        {
            // The client says that it does not know how full the context is, as after a compaction.
            return Some(Context { as_of_ms: *at_ms, window, ..Context::default() });
        }
        let tokens = facts?.context_tokens;
        let used_percentage = tokens
            .zip(window.filter(|window| *window > 0))
            .map(|(tokens, window)| (tokens as f64 / window as f64 * 100.0).round());
        Some(Context { as_of_ms: written_ms?, tokens, window, used_percentage })
    }

    fn degraded(&self, now: Now) -> Vec<Degraded> {
        let store = self.publication.degraded();
        let path = self.settings.config.first();
        let all = store
            .into_iter()
            .chain(self.recording.degraded(now))
            .chain(self.configuration.degraded(path.map(PathBuf::as_path), now))
            .chain(self.price_file_degraded())
            .chain(self.export_degraded())
            .chain(self.sources.hung_degraded(now))
            .chain(self.directories.degraded(now))
            .chain(self.sources.degraded(now))
            .chain(self.alerts.degraded());
        // The clock may have been set back since a source failed.
        let all = all.map(|it| Degraded { since_ms: it.since_ms.min(now.wall_ms), ..it });
        all.take(MAX_DEGRADED).collect()
    }

    /// The entry while the user's price list cannot be used.
    fn price_file_degraded(&self) -> Option<Degraded> {
        let Placed::Damaged { reason, since_ms } = &self.settings.placed_prices else {
            return None;
        };
        let path = self.settings.price_file.first();
        let source = format!("prices:{}", path.map(|it| text::of(it)).unwrap_or_default());
        Some(Degraded { source, since_ms: *since_ms, reason: reason.clone(), next_try_ms: None })
    }

    /// The entry while the export for Prometheus fails. Only another snapshot causes another try.
    fn export_degraded(&self) -> Option<Degraded> {
        let (since_ms, reason) = self.export_failure.clone()?;
        Some(Degraded { source: "export".to_owned(), since_ms, reason, next_try_ms: None })
    }

    /// Restores what an earlier process published and cannot be found out again.
    pub(super) fn recall(&mut self, previous: &Snapshot, now: Now) {
        for (root, before) in &previous.roots {
            self.accounts.recall(Path::new(&root.0), before, now);
        }
        for (name, facts) in &previous.commands {
            if self.settings.commands.contains_key(configured(name)) {
                self.commands.recall(name, facts);
            }
        }
        self.alerts.recall(&self.settings.alerts, previous, &self.settings.zone, now);
        // Git facts from the future are of unknown age: the clock was set back.
        let repos = previous.repos.iter().filter(|(_, facts)| facts.as_of_ms <= now.wall_ms);
        self.repos.recall(repos.map(|(top, facts)| ((&top.0).into(), facts.clone())));
        for (id, before) in &previous.sessions {
            let root = PathBuf::from(&before.root);
            if self.accounts.contains(&root) && SessionId::checked(&id.0).is_some() {
                let key = SessionKey { id: id.clone(), root };
                if let Some(path) = self.sessions.recall(key, before, now) {
                    self.sources.want(&Source::Process(path), Urgency::Now, now);
                }
            }
        }
    }
}

/// The sessions that wait for the user, those that wait longest first, and how many more there are.
fn waiting(sessions: &BTreeMap<SessionId, schema::Session>) -> (Vec<Waiting>, u64) {
    let waits = |session: &schema::Session| session.status == Some(Status::Waiting);
    let summary = |(id, session): (&SessionId, &schema::Session)| {
        let cwd = session.cwd.as_deref().and_then(|it| Path::new(it).file_name()?.to_str());
        let short_id = id.0.get(..8).unwrap_or(&id.0);
        let name = session.name.as_deref().filter(|it| !it.trim().is_empty());
        let name = name.or(cwd).unwrap_or(short_id);
        Waiting {
            session: id.0.clone(),
            name: sanitize::spaced(name).take(MAX_WAITING_NAME).collect(),
            waiting_for: session.waiting_for.clone(),
            since_ms: session.status_since_ms,
        }
    };
    let mut waiting: Vec<_> = sessions.iter().filter(|it| waits(it.1)).map(summary).collect();
    waiting.sort_by_key(|it| it.since_ms.unwrap_or(i64::MAX));
    let n_more = waiting.len().saturating_sub(schema::MAX_WAITING);
    waiting.truncate(schema::MAX_WAITING);
    (waiting, n_more as u64)
}

/// What a session cost: as Claude Code reported, if the report is current, otherwise as computed
/// from its transcripts.
fn cost(
    session: &Session,
    current: Option<&Reported>,
    facts: Option<&TranscriptFacts>,
    totals: Option<&SessionTotals>,
) -> Option<Cost> {
    if let Some((as_of_ms, usd)) = current.and_then(|it| Some((it.at_ms, it.facts.cost_usd?))) {
        return Some(Cost { as_of_ms, usd, source: CostSource::Client, unpriced: 0 });
    }
    let replied_ms = facts.and_then(|facts| facts.last_reply_ms);
    totals.map(|used| Cost {
        as_of_ms: replied_ms.unwrap_or(session.appended_ms),
        usd: used.totals.cost_usd,
        source: CostSource::Transcript,
        unpriced: used.totals.unpriced,
    })
}

fn health(session: &schema::Session, snapshot: &Snapshot) -> Health {
    let mut issues = Vec::new();
    let mut percent = |name: &str, used: Option<f64>| {
        let Some(used) = used else { return };
        let status = if used >= PERCENT.1 {
            HealthStatus::Critical
        } else if used >= PERCENT.0 {
            HealthStatus::Warning
        } else {
            return;
        };
        issues.push((status, format!("{name} {used:.0} % used")));
    };
    percent("context", session.context.as_ref().and_then(|it| it.used_percentage));
    let root = snapshot.roots.get(&RootKey(session.root.clone()));
    if let Some(root) = root.filter(|_| session.subscription != Some(false)) {
        percent("five-hour limit", root.limits.five_hour.map(|it| it.used_percentage));
        percent("weekly limit", root.limits.seven_day.map(|it| it.used_percentage));
        percent("spending limit", root.limits.spend_limit.map(|it| it.used_percentage));
        for (name, limit) in &root.limits.other {
            percent(&format!("{} limit", name.replace('_', " ")), Some(limit.used_percentage));
        }
    }
    let repo = session.repo.as_ref().and_then(|it| snapshot.repos.get(&RepoKey(it.clone())));
    if let Some(error) = repo.and_then(|it| it.error.as_ref()) {
        issues.push((HealthStatus::Warning, format!("git: {error}")));
    }
    issues.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
    let status = issues.first().map_or(HealthStatus::Good, |(status, _)| *status);
    Health { status, issues: issues.into_iter().map(|(_, it)| it).collect() }
}
