//! PURE. Which facts are exported, under which names.
//!
//! Names, units and labels are a contract with dashboards and rules, as the snapshot is with
//! displays: docs/fleet.md lists them. Families and labels are added, and none changes its meaning.

use super::counters::Counters;
use super::exposition::{Family, Kind, Labels, write};
use crate::overview::Activity;
use crate::store::schema::limits::window_ms;
use crate::store::schema::{Limit, Session, SessionId, Snapshot};
use crate::usage::prices::Picodollars;

/// What is exported beyond numbers about the user and each account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Each live session, by its id.
    pub sessions: bool,
    /// The paths of config roots in place of words for them, and those of sessions.
    pub paths: bool,
}

/// Whose numbers these are, and whether they still hold.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The name of the user.
    pub user: &'a str,
    /// The version of the program that exports.
    pub version: &'a str,
    /// Whether a watcher runs. Without one nothing is said of sessions.
    pub is_running: bool,
    pub detail: Detail,
    /// In Unix milliseconds. What has ended by then is left out.
    pub now_ms: i64,
}

/// The content of the file: what the snapshot and the counters say, in the format of Prometheus.
pub fn exposition(snapshot: &Snapshot, counters: &Counters, about: &About<'_>) -> String {
    let page = Page { snapshot, counters, about };
    let mut families = page.watcher();
    if about.is_running {
        families.extend(page.sessions());
    }
    families.extend(page.limits());
    families.extend(page.blocks());
    families.extend(page.counters());
    write(&families)
}

#[derive(Clone, Copy)]
struct Page<'a> {
    snapshot: &'a Snapshot,
    counters: &'a Counters,
    about: &'a About<'a>,
}

fn gauge(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Kind::Gauge, help)
}

fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Kind::Counter, help)
}

/// Prometheus counts time in seconds.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn dollars(cost: Picodollars) -> f64 {
    cost as f64 / 1e12
}

impl Page<'_> {
    /// The labels that every sample has.
    fn user(&self) -> Labels {
        vec![("user", self.about.user.to_owned())]
    }

    /// `None` for an account that is not exported.
    fn account(&self, root: &str) -> Option<Labels> {
        let label = self.counters.label(root)?;
        let account = if self.about.detail.paths { root } else { label };
        Some(with(self.user(), &[("account", account)]))
    }

    fn watcher(&self) -> Vec<Family> {
        let About { version, is_running, .. } = *self.about;
        let mut up = gauge(
            "ccstatusd_up",
            "Whether the watcher runs: it writes 0 when it ends. One that was killed leaves 1.",
        );
        up.add(self.user(), if is_running { 1.0 } else { 0.0 });
        let mut info = gauge("ccstatusd_build_info", "1, with the version of ccstatusd as label.");
        info.add(with(self.user(), &[("version", version)]), 1.0);
        let mut heartbeat = gauge(
            "ccstatusd_heartbeat_timestamp_seconds",
            "When the watcher last confirmed its facts: each minute while a session lives, and not \
             at all while none does.",
        );
        if self.snapshot.published_at_ms > 0 {
            heartbeat.add(self.user(), seconds(self.snapshot.published_at_ms));
        }
        let mut families = vec![up, info, heartbeat];
        if let Some(watcher) = self.snapshot.watcher.as_ref().filter(|_| is_running) {
            let mut started = gauge("ccstatusd_start_time_seconds", "When the watcher started.");
            started.add(self.user(), seconds(watcher.started_at_ms));
            let mut degraded =
                gauge("ccstatusd_degraded_sources", "How many sources of facts fail at present.");
            degraded.add(self.user(), self.snapshot.degraded.len() as f64);
            families.extend([started, degraded]);
        }
        families
    }

    /// The live sessions.
    fn live(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.snapshot.sessions.iter().filter(|(_, session)| session.live)
    }

    fn sessions(&self) -> Vec<Family> {
        let mut sessions = gauge("ccstatusd_sessions", "Live sessions by what they do.");
        for activity in Activity::ALL.into_iter().filter(|it| *it != Activity::Ended) {
            let n = self.live().filter(|(_, it)| Activity::of(it) == activity).count();
            sessions.add(with(self.user(), &[("status", activity.counted())]), n as f64);
        }
        let mut waiting = gauge(
            "ccstatusd_waiting_since_timestamp_seconds",
            "When the session that waits longest for its user began to wait.",
        );
        if let Some(since_ms) = self.snapshot.waiting.iter().filter_map(|it| it.since_ms).min() {
            waiting.add(self.user(), seconds(since_ms));
        }
        let mut fullest = gauge(
            "ccstatusd_fullest_context_ratio",
            "How full the fullest context of all live sessions is.",
        );
        if let Some(ratio) =
            self.live().filter_map(|(_, it)| context_ratio(it)).max_by(f64::total_cmp)
        {
            fullest.add(self.user(), ratio);
        }
        let mut families = vec![sessions, waiting, fullest];
        if self.about.detail.sessions {
            families.extend(self.each_session());
        }
        families
    }

    fn each_session(&self) -> [Family; 4] {
        let mut context = gauge("ccstatusd_session_context_ratio", "How full the context is.");
        let mut cost = gauge(
            "ccstatusd_session_cost_usd",
            "What the session cost, by the client or by its transcript.",
        );
        let mut waiting =
            gauge("ccstatusd_session_waiting", "Whether the session waits for its user.");
        let mut active = gauge(
            "ccstatusd_session_last_activity_timestamp_seconds",
            "When the session was last active.",
        );
        for (id, session) in self.live() {
            let Some(account) = self.account(&session.root) else { continue };
            let mut labels = with(account, &[("session", &id.0)]);
            if self.about.detail.paths {
                labels = with(labels, &[("directory", session.cwd.as_deref().unwrap_or_default())]);
            }
            if let Some(ratio) = context_ratio(session) {
                context.add(labels.clone(), ratio);
            }
            if let Some(usd) = session.cost.as_ref().map(|it| it.usd) {
                cost.add(labels.clone(), usd);
            }
            let waits = Activity::of(session) == Activity::Waiting;
            waiting.add(labels.clone(), if waits { 1.0 } else { 0.0 });
            active.add(labels, seconds(session.last_activity_ms));
        }
        [context, cost, waiting, active]
    }

    fn limits(&self) -> [Family; 4] {
        let mut used = gauge(
            "ccstatusd_limit_used_ratio",
            "How much of a limit is used, 0 to 1. It is void from \
             ccstatusd_limit_resets_timestamp_seconds on.",
        );
        let mut resets = gauge(
            "ccstatusd_limit_resets_timestamp_seconds",
            "When the window of a limit ends, at the latest.",
        );
        let mut full = gauge(
            "ccstatusd_limit_full_timestamp_seconds",
            "When a limit will be used up at the rate so far.",
        );
        let mut as_of = gauge(
            "ccstatusd_limit_timestamp_seconds",
            "When Claude Code learned how much of a limit is used.",
        );
        for (root, account) in &self.snapshot.roots {
            let Some(labels) = self.account(&root.0) else { continue };
            let now_ms = self.about.now_ms;
            for (name, limit) in
                account.limits.iter().filter(|(name, it)| it.is_current(name, now_ms))
            {
                let labels = with(labels.clone(), &[("limit", name)]);
                used.add(labels.clone(), limit.used_percentage / 100.0);
                if let Some(resets_ms) = void_from_ms(name, limit) {
                    resets.add(labels.clone(), seconds(resets_ms));
                }
                if let Some(full_at_ms) = limit.full_at_ms {
                    full.add(labels.clone(), seconds(full_at_ms));
                }
                if limit.as_of_ms > 0 {
                    as_of.add(labels, seconds(limit.as_of_ms));
                }
            }
        }
        [used, resets, full, as_of]
    }

    fn blocks(&self) -> [Family; 4] {
        let mut cost = gauge(
            "ccstatusd_block_cost_usd",
            "What the five-hour block has cost. It is void from \
             ccstatusd_block_end_timestamp_seconds on.",
        );
        let mut end = gauge("ccstatusd_block_end_timestamp_seconds", "When the block ends.");
        let mut burn = gauge(
            "ccstatusd_block_burn_usd_per_hour",
            "What the block costs per hour, at the average rate since its first reply.",
        );
        let mut unpriced = gauge(
            "ccstatusd_unpriced_models",
            "How many models without a price were used this month: costs lack what they cost.",
        );
        for (root, account) in &self.snapshot.roots {
            let Some(labels) = self.account(&root.0) else { continue };
            let Some(usage) = &account.usage else { continue };
            unpriced.add(labels.clone(), usage.unpriced_models.len() as f64);
            let Some((block, _)) = usage.open_block(self.about.now_ms) else { continue };
            cost.add(labels.clone(), block.cost_usd);
            end.add(labels.clone(), seconds(block.end_ms));
            if let Some(rate) = &block.burn {
                burn.add(labels, rate.cost_per_hour);
            }
        }
        [cost, end, burn, unpriced]
    }

    fn counters(&self) -> [Family; 3] {
        let mut tokens = counter(
            "ccstatusd_tokens_total",
            "Tokens by model and kind. The kinds do not overlap.",
        );
        let mut replies = counter("ccstatusd_replies_total", "Replies by model.");
        let mut cost = counter(
            "ccstatusd_cost_usd_total",
            "US dollars by model, at list prices: what is paid may differ.",
        );
        for root in self.snapshot.roots.keys() {
            let Some(labels) = self.account(&root.0) else { continue };
            for (model, sum) in self.counters.totals(&root.0) {
                let labels = with(labels.clone(), &[("model", model)]);
                let kinds = [
                    ("input", sum.input),
                    ("output", sum.output),
                    ("cache_write", sum.cache_write),
                    ("cache_read", sum.cache_read),
                ];
                for (kind, n) in kinds {
                    tokens.add(with(labels.clone(), &[("kind", kind)]), n as f64);
                }
                replies.add(labels.clone(), sum.n_replies as f64);
                cost.add(labels, dollars(sum.cost));
            }
        }
        [tokens, replies, cost]
    }
}

fn with(mut labels: Labels, more: &[(&'static str, &str)]) -> Labels {
    labels.extend(more.iter().map(|(name, text)| (*name, (*text).to_owned())));
    labels
}

fn context_ratio(session: &Session) -> Option<f64> {
    Some(session.context.as_ref()?.used_percentage? / 100.0)
}

/// The time from which on an observation of a limit is void; `None` where that is not known.
fn void_from_ms(name: &str, limit: &Limit) -> Option<i64> {
    match limit.resets_at_ms {
        0 if limit.as_of_ms > 0 => Some(limit.as_of_ms.saturating_add(window_ms(name)?)),
        0 => None,
        resets_at_ms => Some(resets_at_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::{Context, Limits, Root, RootKey, Status, Usage, Watcher};
    use crate::usage::history::History;
    use crate::usage::prices::Prices;
    use std::collections::BTreeSet;

    const ROOT: &str = "/home/secret/.claude";
    const NOW_MS: i64 = 1_795_435_200_000;

    fn snapshot() -> Snapshot {
        let limit =
            |resets_at_ms| Limit { used_percentage: 50.0, resets_at_ms, ..Limit::default() };
        let limits = Limits {
            five_hour: Some(limit(NOW_MS + 1000)),
            seven_day: Some(limit(NOW_MS - 1)),
            ..Limits::default()
        };
        let session = |status, used| Session {
            root: ROOT.to_owned(),
            cwd: Some("/home/secret/project".to_owned()),
            name: Some("secret name".to_owned()),
            live: true,
            status: Some(status),
            context: Some(Context { used_percentage: Some(used), ..Context::default() }),
            ..Session::default()
        };
        let root = Root { usage: Some(Usage::default()), limits };
        Snapshot {
            published_at_ms: NOW_MS,
            watcher: Some(Watcher { started_at_ms: NOW_MS - 500, ..Watcher::default() }),
            roots: [(RootKey(ROOT.to_owned()), root)].into(),
            sessions: [
                (SessionId("s1".to_owned()), session(Status::Waiting, 20.0)),
                (SessionId("s2".to_owned()), session(Status::Busy, 75.0)),
            ]
            .into(),
            ..Snapshot::default()
        }
    }

    fn text(detail: Detail, is_running: bool) -> String {
        let mut counters = Counters::default();
        counters.update(&[ROOT.to_owned()], &History::default(), &Prices::builtin());
        let about = About { user: "u", version: "1", is_running, detail, now_ms: NOW_MS };
        exposition(&snapshot(), &counters, &about)
    }

    fn names(text: &str) -> BTreeSet<&str> {
        let heads = text.lines().filter_map(|it| it.strip_prefix("# TYPE "));
        heads.map(|it| it.split(' ').next().unwrap()).collect()
    }

    #[test]
    fn facts_have_their_names_units_and_labels() {
        let text = text(Detail::default(), true);
        for line in [
            r#"ccstatusd_up{user="u"} 1"#,
            r#"ccstatusd_build_info{user="u",version="1"} 1"#,
            r#"ccstatusd_heartbeat_timestamp_seconds{user="u"} 1795435200"#,
            r#"ccstatusd_start_time_seconds{user="u"} 1795435199.5"#,
            r#"ccstatusd_sessions{user="u",status="waiting"} 1"#,
            r#"ccstatusd_sessions{user="u",status="idle"} 0"#,
            r#"ccstatusd_fullest_context_ratio{user="u"} 0.75"#,
            r#"ccstatusd_limit_used_ratio{user="u",account="claude",limit="five_hour"} 0.5"#,
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("seven_day"), "its window has ended:\n{text}");
    }

    #[test]
    fn neither_paths_nor_names_nor_sessions_are_exported_unless_asked_for() {
        let plain = text(Detail::default(), true);
        assert!(!plain.contains("secret") && !plain.contains("s1"), "{plain}");
        let sessions = text(Detail { sessions: true, paths: false }, true);
        assert!(!sessions.contains("secret"), "{sessions}");
        assert!(sessions.contains(r#"account="claude",session="s1"} 0.2"#), "{sessions}");
        let all = text(Detail { sessions: true, paths: true }, true);
        assert!(all.contains(r#"session="s1",directory="/home/secret/project"}"#), "{all}");
        assert!(!all.contains("secret name"), "{all}");
    }

    #[test]
    fn without_a_watcher_nothing_is_said_of_sessions() {
        let text = text(Detail { sessions: true, paths: true }, false);
        assert!(text.contains(r#"ccstatusd_up{user="u"} 0"#), "{text}");
        assert!(!names(&text).iter().any(|it| it.contains("session") || it.contains("context")));
        assert!(text.contains("ccstatusd_limit_used_ratio"), "{text}");
    }
}
