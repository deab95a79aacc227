//! PURE. `ccstatusd sessions --json`: the list for other programs, with what it takes to know a
//! session at a glance and nothing to look up elsewhere. docs/snapshot.md describes it.
//!
//! **Invariant:** fields are added, and never change their meaning. All are always written; one
//! without a value is `null`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::View;
use crate::display::model_name::readable;
use crate::display::view::Watcher;
use crate::overview::{self, Account, Activity, Row};
use crate::store::schema::{Context, HealthStatus};

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize)]
pub(crate) struct List<'a> {
    version: u32,
    /// When this was written, and when the snapshot was written that it is from.
    now_ms: i64,
    published_at_ms: i64,
    /// Whether a watcher runs; `null` if that is not known.
    watcher: Option<bool>,
    accounts: Vec<AccountFacts<'a>>,
    sessions: Vec<SessionFacts<'a>>,
}

#[derive(Debug, Serialize)]
struct AccountFacts<'a> {
    root: &'a str,
    /// How many sessions do what; those of unknown activity are `unknown`.
    sessions: BTreeMap<&'static str, usize>,
    five_hours: Option<FiveHours>,
    today: Option<Amount>,
    limits: Vec<LimitFacts<'a>>,
}

#[derive(Debug, Serialize)]
struct FiveHours {
    cost_usd: f64,
    unpriced: u64,
    ends_ms: i64,
    cost_per_hour: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Amount {
    cost_usd: f64,
    unpriced: u64,
}

#[derive(Debug, Serialize)]
struct LimitFacts<'a> {
    name: &'a str,
    used_percentage: f64,
    resets_at_ms: Option<i64>,
    full_at_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct SessionFacts<'a> {
    session: &'a str,
    root: &'a str,
    status: Option<&'static str>,
    since_ms: Option<i64>,
    waiting_for: Option<&'a str>,
    live: bool,
    pid: Option<u32>,
    name: Option<&'a str>,
    project: Option<&'a str>,
    cwd: Option<&'a str>,
    branch: Option<&'a str>,
    dirty: Option<bool>,
    ahead: Option<u64>,
    behind: Option<u64>,
    model: Option<String>,
    context: Option<&'a Context>,
    cost_usd: Option<f64>,
    unpriced: u64,
    cost_per_hour: Option<f64>,
    last_activity_ms: i64,
    health: HealthStatus,
    issues: &'a [String],
}

/// The sessions that `view` lists, in its order.
pub(crate) fn list<'a>(view: &View<'a>, watcher: Watcher) -> List<'a> {
    let rows = overview::rows(view.snapshot).into_iter().filter(|it| view.which.lists(it));
    let accounts = overview::accounts(view.snapshot, view.now_ms);
    List {
        version: VERSION,
        now_ms: view.now_ms,
        published_at_ms: view.snapshot.published_at_ms,
        watcher: watcher.is_known_to_run(),
        accounts: accounts.iter().map(|it| account(it, view)).collect(),
        sessions: rows.map(session).collect(),
    }
}

fn account<'a>(account: &Account<'a>, view: &View<'a>) -> AccountFacts<'a> {
    let used = account.five_hours(view.now_ms);
    let used = used.map(|used| FiveHours {
        cost_usd: used.usd,
        unpriced: used.unpriced,
        ends_ms: used.ends_ms,
        cost_per_hour: used.usd_per_hour,
    });
    let today = account.today(view.now_ms).map(|it| &it.today);
    let limits = account.root.limits.iter();
    let limits = limits.filter(|(name, _)| account.limits.get(name).is_some());
    let limits = limits.map(|(name, limit)| LimitFacts {
        name,
        used_percentage: limit.used_percentage,
        resets_at_ms: Some(limit.resets_at_ms).filter(|it| *it > 0),
        full_at_ms: account.full_at_ms(limit, view.now_ms),
    });
    AccountFacts {
        root: &account.key.0,
        sessions: account.counts().map(|(activity, count)| (activity.counted(), count)).collect(),
        five_hours: used,
        today: today.map(|it| Amount { cost_usd: it.cost_usd, unpriced: it.unpriced }),
        limits: limits.collect(),
    }
}

fn session(row: Row<'_>) -> SessionFacts<'_> {
    let session = row.session;
    let model = session.model.as_ref();
    SessionFacts {
        session: &row.id.0,
        root: &session.root,
        status: Some(row.activity).filter(|it| *it != Activity::Unknown).map(Activity::word),
        since_ms: row.since_ms(),
        waiting_for: session.waiting_for.as_deref(),
        live: session.live,
        pid: session.pid,
        name: row.name(),
        project: row.project(),
        cwd: session.cwd.as_deref(),
        branch: row.repo.and_then(|it| it.branch.as_deref()),
        dirty: row.repo.map(|_| row.is_dirty()),
        ahead: row.repo.map(|it| it.ahead),
        behind: row.repo.map(|it| it.behind),
        model: model.map(|it| readable(it.display_name.as_deref().unwrap_or(&it.id))),
        context: session.context.as_ref(),
        cost_usd: session.cost.as_ref().map(|it| it.usd),
        unpriced: session.cost.as_ref().map_or(0, |it| it.unpriced),
        cost_per_hour: row.burn(),
        last_activity_ms: session.last_activity_ms,
        health: session.health.status,
        issues: &session.health.issues,
    }
}
