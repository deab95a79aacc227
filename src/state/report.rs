//! PURE. The snapshot: what is kept, in the shape that leaves the process.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::sessions::{Session, Told};
use super::{Root, SessionKey, Source, State};
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::store::schema::{
    self, BlockSource, ClientFacts, Context, Cost, CostSource, Degraded, Health, HealthStatus,
    MAX_SESSIONS, Model, RepoKey, RootKey, SessionId, Snapshot, Subagents,
};
use crate::time::{DAY_MS, MINUTE_MS, Now};
use crate::watch::SILENT;

/// Nobody reads more than a few; a thousand unreadable transcripts are one trouble.
const MAX_DEGRADED: usize = 64;
/// On a network disk thousands of directories are polled, and each snapshot would name them.
const MAX_POLLED: usize = 64;
/// Sessions are shown this long after their last sign of life.
pub(super) const SHOWN_MS: i64 = DAY_MS;
/// Sessions that live no more and are shown: some of those that somebody may resume.
const MAX_RECENT: usize = 32;
/// A subagent that neither ended its turn nor wrote for this long is taken for dead.
const AGENT_SILENCE_MS: i64 = 10 * MINUTE_MS;
/// From here on a context or a limit deserves a look, and from here on now.
const PERCENT: (f64, f64) = (80.0, 95.0);

impl State {
    /// What is known, in the shape that leaves the process. Its number and its time are the
    /// publisher's.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let mut snapshot = Snapshot {
            version: schema::VERSION,
            watcher: self.watcher.clone().map(|it| schema::Watcher {
                polled: self.places.unarmed().take(MAX_POLLED).map(|(dir, _)| text(dir)).collect(),
                polled_more: self.places.unarmed().skip(MAX_POLLED).count() as u64,
                ..it
            }),
            display: self.settings.display.clone(),
            roots: self.report_roots(now),
            latest: self.latest(now).map(|it| it.id.clone()),
            commands: self.report_commands(),
            degraded: self.degraded(now),
            ..Snapshot::default()
        };
        for (key, session) in self.shown_sessions(now) {
            let facts = session.repo.as_ref().and_then(|top| {
                let recalled = || self.recalled_repos.get(top);
                Some((top, self.repos.get(top).map(|it| &it.facts).or_else(recalled)?))
            });
            if let Some((top, facts)) = facts {
                snapshot.repos.insert(RepoKey(text(top)), facts.clone());
            }
            snapshot.sessions.insert(key.id.clone(), self.report(key, session, &snapshot, now));
        }
        snapshot
    }

    /// The session whose line stands for all.
    pub(super) fn latest(&self, now: Now) -> Option<&SessionKey> {
        self.worth_showing(now).min_by_key(|(_, it)| rank(it)).map(|(key, _)| key)
    }

    fn worth_showing(&self, now: Now) -> impl Iterator<Item = (&SessionKey, &Session)> {
        let known = self.shown.iter().filter_map(|it| self.sessions.get_key_value(it));
        known.filter(move |(_, it)| is_shown(it, now))
    }

    /// Live ones first, then by their last sign of life. Where two roots hold the same session
    /// (their `projects` may be one directory), the first of those shows.
    fn shown_sessions(&self, now: Now) -> Vec<(&SessionKey, &Session)> {
        let mut shown: Vec<_> = self.worth_showing(now).collect();
        shown.sort_by_key(|(_, it)| rank(it));
        let mut ids = std::collections::BTreeSet::new();
        shown.retain(|(key, _)| ids.insert(&key.id));
        let n_live = shown.iter().take_while(|(_, it)| it.is_live).count();
        shown.truncate(MAX_SESSIONS.min(n_live + MAX_RECENT));
        shown
    }

    fn report_roots(&self, now: Now) -> BTreeMap<RootKey, schema::Root> {
        let report = |path: &std::path::PathBuf| {
            let root = &self.roots[path];
            let usage = self.usage(root, now);
            let limits = root.limits.report(now);
            schema::Root { usage, limits }
        };
        self.roots.keys().map(|it| (RootKey(text(it)), report(it))).collect()
    }

    /// What was used of an account; before every transcript has been read, what was known before.
    pub(super) fn usage(&self, root: &Root, now: Now) -> Option<schema::Usage> {
        let mut usage = self.own_usage(root, now)?;
        if let Some(it) = &root.block_tool {
            usage.block = it.block(now);
        }
        Some(usage)
    }

    fn own_usage(&self, root: &Root, now: Now) -> Option<schema::Usage> {
        if !self.is_scanned {
            return root.recalled.clone();
        }
        let (zone, week_starts) = (&self.settings.zone, self.settings.week_starts);
        let mut usage = schema::Usage {
            as_of_ms: root.as_of_ms,
            day_ends_ms: day_end_ms(now, zone),
            skipped_lines: root.skipped_lines,
            ..root.ledger.usage(now.wall_ms, zone, week_starts)
        };
        if let Some(it) = &mut usage.block {
            it.as_of_ms = usage.as_of_ms;
        }
        Some(usage)
    }

    fn report(
        &self,
        key: &SessionKey,
        session: &Session,
        snapshot: &Snapshot,
        now: Now,
    ) -> schema::Session {
        let facts = self.transcript_facts(session);
        let told = session.told.as_deref().filter(|_| self.is_current(session));
        let totals = self.roots.get(&key.root).and_then(|it| it.ledger.session(&key.id));
        let replied_ms = facts.and_then(|it| it.last_reply_ms);
        let cost = match told.and_then(|it| Some((it.at_ms, it.facts.cost_usd?))) {
            Some((as_of_ms, usd)) => {
                Some(Cost { as_of_ms, usd, source: CostSource::Client, unpriced: 0 })
            }
            None => totals.as_ref().map(|it| Cost {
                as_of_ms: replied_ms.unwrap_or(session.grew_ms),
                usd: it.totals.cost_usd,
                source: CostSource::Transcript,
                unpriced: it.totals.unpriced,
            }),
        };
        let said = session.told.as_ref().map(|it| &it.facts);
        let name = said.and_then(|it| it.session_name.clone());
        let name = name
            .or_else(|| session.process.as_ref()?.name.clone())
            .or_else(|| Some(facts?.title()?.to_owned()));
        let agents = session.agents.iter().filter_map(|it| self.files.get(it.as_os_str()));
        let is_running = |it: &TranscriptFacts| {
            let silence_ms = now.wall_ms - it.last_line_ms.unwrap_or(0);
            session.is_live && it.is_turn_open && silence_ms < AGENT_SILENCE_MS
        };
        let subagents = agents.fold(Subagents::default(), |sum, it| Subagents {
            running: sum.running + u64::from(is_running(&it.facts)),
            total: sum.total + 1,
        });
        let mut report = schema::Session {
            root: text(&key.root),
            cwd: session.cwd.as_deref().map(text),
            repo: session.repo.as_deref().map(text),
            transcript: session.transcript.as_deref().map(text),
            name,
            live: session.is_live,
            status: session.process.as_ref().and_then(|it| it.status),
            last_activity_ms: last_activity_ms(session),
            model: told
                .and_then(|it| it.facts.model.clone())
                .or_else(|| Some(Model { id: facts?.model.clone()?, display_name: None })),
            context: self.context(session, told),
            cost,
            tokens: totals.as_ref().map(|it| it.totals.tokens).unwrap_or_default(),
            cache_hit_ratio: totals.and_then(|it| it.cache_hit_ratio),
            turns: facts.map_or(0, |it| it.turns),
            last_message: facts.and_then(|it| it.last_message.clone()),
            compactions: facts.map_or(0, |it| it.compactions),
            subagents,
            pr: said.and_then(|it| it.pr.clone()),
            lines: said.and_then(|it| it.lines),
            duration_ms: said.and_then(|it| it.duration_ms),
            output_style: said.and_then(|it| it.output_style.clone()),
            client_version: said.and_then(|it| it.client_version.clone()),
            health: Health::default(),
        };
        report.health = health(&report, snapshot);
        report
    }

    fn context(&self, session: &Session, told: Option<&Told>) -> Option<Context> {
        if let Some(Told { facts, at_ms }) = told
            && (facts.context_tokens.is_some() || facts.context_used_percentage.is_some())
        {
            return Some(Context {
                as_of_ms: *at_ms,
                tokens: facts.context_tokens,
                window: facts.context_window,
                used_percentage: facts.context_used_percentage,
            });
        }
        let facts = self.transcript_facts(session)?;
        // Only the client knows the window, and it stays what it said last. Guessing one would
        // show 200k on a session of a million.
        let window = session.told.as_ref().and_then(|it| it.facts.context_window);
        let tokens = facts.context_tokens;
        let used_percentage = tokens
            .zip(window.filter(|it| *it > 0))
            .map(|(tokens, window)| (tokens as f64 / window as f64 * 100.0).round());
        let as_of_ms = facts.context_as_of_ms?;
        Some(Context { as_of_ms, tokens, window, used_percentage })
    }

    fn degraded(&self, now: Now) -> Vec<Degraded> {
        let failing = self.failing.iter().map(|(source, it)| {
            let plans = [&self.reads, &self.execs, &self.tools];
            let wait = plans
                .iter()
                .find_map(|it| it.next_try(source))
                .map(|it| it.saturating_duration_since(now.mono));
            let wait_ms = wait.and_then(|it| i64::try_from(it.as_millis()).ok());
            Degraded {
                source: name(source),
                since_ms: it.since_ms,
                reason: it.reason.clone(),
                // To the second: a snapshot must not differ for less.
                next_try_ms: wait_ms.map(|it| (now.wall_ms + it) / 1000 * 1000),
            }
        });
        let unreadable = self.places.unreadable().map(|(dir, reason)| Degraded {
            source: format!("watch:{}", text(dir)),
            since_ms: self.started.wall_ms,
            reason: reason.to_owned(),
            next_try_ms: None,
        });
        let store = self.store_error.iter().map(|(since_ms, reason)| Degraded {
            source: "store".to_owned(),
            since_ms: *since_ms,
            reason: reason.clone(),
            next_try_ms: None,
        });
        let stuck = self.stuck(now).map(|(source, since)| {
            let for_ms = i64::try_from((now.mono - since).as_millis()).unwrap_or(0);
            Degraded {
                source: source.map_or_else(|| "watch".to_owned(), name),
                since_ms: (now.wall_ms - for_ms) / 1000 * 1000,
                reason: SILENT.to_owned(),
                next_try_ms: None,
            }
        });
        let all =
            store.chain(self.broken_configuration()).chain(stuck).chain(unreadable).chain(failing);
        // The clock may have been set back since.
        let all = all.map(|it| Degraded { since_ms: it.since_ms.min(now.wall_ms), ..it });
        all.take(MAX_DEGRADED).collect()
    }

    /// Takes over what the client said to an earlier watcher: it stands nowhere else.
    pub(super) fn recall(&mut self, previous: &Snapshot) {
        for (root, before) in &previous.roots {
            if let Some(root) = self.roots.get_mut(Path::new(&root.0)) {
                root.limits.recall(&before.limits, self.started);
                root.recalled = before.usage.clone();
                let block = root
                    .recalled
                    .as_mut()
                    .and_then(|it| it.block.take_if(|it| it.source != BlockSource::Transcripts));
                if let Some(it) = &mut root.block_tool {
                    it.recall(block);
                }
            }
        }
        self.recall_commands(&previous.commands);
        // What comes from the future, since the clock was set back, has no age that could be shown.
        let repos = previous.repos.iter().filter(|(_, it)| it.as_of_ms <= self.started.wall_ms);
        self.recalled_repos = repos.map(|(top, it)| ((&top.0).into(), it.clone())).collect();
        for (id, before) in &previous.sessions {
            let root = Path::new(&before.root).to_owned();
            if !self.roots.contains_key(&root) || SessionId::checked(&id.0).is_none() {
                continue;
            }
            let session = self.sessions.entry(SessionKey { id: id.clone(), root }).or_default();
            session.repo = before.repo.as_ref().map(Into::into);
            let client_cost = before.cost.as_ref().filter(|it| it.source == CostSource::Client);
            let told = client_cost.map(|it| it.as_of_ms);
            let context = before.context.as_ref().filter(|it| it.window.is_some());
            let Some(at_ms) = told.or(context.map(|it| it.as_of_ms)) else { continue };
            let facts = ClientFacts {
                session_id: Some(id.0.clone()),
                session_name: before.name.clone(),
                cwd: before.cwd.clone(),
                model: before.model.clone(),
                context_tokens: context.and_then(|it| it.tokens),
                context_window: context.and_then(|it| it.window),
                context_used_percentage: context.and_then(|it| it.used_percentage),
                cost_usd: client_cost.map(|it| it.usd),
                pr: before.pr.clone(),
                lines: before.lines,
                duration_ms: before.duration_ms,
                output_style: before.output_style.clone(),
                client_version: before.client_version.clone(),
                ..ClientFacts::default()
            };
            session.told = Some(Box::new(Told { facts, at_ms }));
        }
    }
}

pub(super) fn is_shown(session: &Session, now: Now) -> bool {
    session.is_live || now.wall_ms - last_activity_ms(session) < SHOWN_MS
}

/// The lowest is shown first.
fn rank(session: &Session) -> impl Ord + use<> {
    let has_process = session.process.is_some();
    std::cmp::Reverse((session.is_live, has_process, last_activity_ms(session)))
}

fn last_activity_ms(session: &Session) -> i64 {
    session.grew_ms.max(session.asked_ms)
}

/// The next local midnight; where a clock change skips that, the first moment of the next day.
fn day_end_ms(now: Now, zone: &TimeZone) -> i64 {
    let now = Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
    let tomorrow = now.to_zoned_datetime(zone.clone()).tomorrow();
    let start = tomorrow.and_then(|it| it.start_of_day());
    start.map_or(0, |it| it.timestamp().as_millisecond())
}

/// What a source is called in the snapshot.
fn name(source: &Source) -> String {
    let (kind, path) = match source {
        Source::Transcript(path) => ("transcript", path),
        Source::Process(path) => ("process", path),
        Source::Tree(path) => ("tree", path),
        Source::Repo(path) => ("git", path),
        Source::Usage(path) => ("usage", path),
        Source::Command(name) => return format!("command:{name}"),
    };
    format!("{kind}:{}", text(path))
}

/// A path as text. One that is none has its other bytes escaped, as in a URL: two paths must not
/// become one key.
pub(super) fn text(path: &Path) -> String {
    if let Some(it) = path.to_str() {
        return it.to_owned();
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text += &chunk.valid().replace('%', "%25");
        for byte in chunk.invalid() {
            text += &format!("%{byte:02X}");
        }
    }
    text
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
    if let Some(root) = snapshot.roots.get(&RootKey(session.root.clone())) {
        percent("five-hour limit", root.limits.five_hour.map(|it| it.used_percentage));
        percent("weekly limit", root.limits.seven_day.map(|it| it.used_percentage));
        percent("spending limit", root.limits.spend_limit.map(|it| it.used_percentage));
    }
    let repo = session.repo.as_ref().and_then(|it| snapshot.repos.get(&RepoKey(it.clone())));
    if let Some(error) = repo.and_then(|it| it.error.as_ref()) {
        issues.push((HealthStatus::Warning, format!("git: {error}")));
    }
    issues.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
    let status = issues.first().map_or(HealthStatus::Good, |(status, _)| *status);
    Health { status, issues: issues.into_iter().map(|(_, it)| it).collect() }
}
