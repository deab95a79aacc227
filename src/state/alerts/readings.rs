//! PURE. What a snapshot says of the condition of an alert: a reading for each of its subjects.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::super::text;
use crate::alert::{Condition, Per, Rule, span};
use crate::sanitize;
use crate::store::schema::alerts::AlertEvent;
use crate::store::schema::{
    Degraded, Limit, Root, RootKey, Session, SessionId, Snapshot, Status, Usage,
};
use crate::time::SECOND_MS;

/// A context is told of again once it was this many percentage points below the threshold …
const CONTEXT_BAND: f64 = 20.0;
/// … and a limit once it was this many below.
const LIMIT_BAND: f64 = 5.0;
/// A limit will be used up if its use at the end of its window, at the present pace, is above this.
const FULL: f64 = 100.0;
/// That a session waits, or has finished, is told once it lasted this long: some prompts are
/// answered by themselves, and one turn may follow another at once.
const SETTLE: Duration = Duration::from_secs(2);
/// That a source fails is told once it lasted this long: the first retry repairs most failures.
const DEGRADED_SETTLE: Duration = Duration::from_secs(10);
/// A condition without a threshold must not have held for this long before it is told again.
const REARM: Duration = Duration::from_secs(60);
/// The most characters of a name, of a reason and of a subject.
const MAX_NAME: usize = 64;
const MAX_REASON: usize = 200;

/// What a snapshot says of one subject.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) subject: String,
    pub(super) found: Found,
    /// When the day, the month or the window ends that this is about. In another one, the subject
    /// can be told of again.
    pub(super) period_ends_ms: Option<i64>,
    /// Whether a condition that holds when the subject is first seen is no news.
    pub(super) is_old_at_first: bool,
    /// What to tell; made only where the condition holds.
    pub(super) event: AlertEvent,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    Holds,
    /// It does not hold, but may hold again at any moment, so it does not count as ceased.
    Near,
    /// It clearly does not hold.
    Clear,
    /// A turn is going on, since this time if that is known (Unix milliseconds).
    TurnRuns(Option<i64>),
    /// A turn is not over, but the model does not work on it: the session waits for the user, or
    /// subagents or a shell work in the background.
    TurnPauses,
    /// No turn is going on, since this time if that is known.
    TurnOver(Option<i64>),
}

/// How a condition behaves in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// For how long it must hold before it is told.
    pub(super) settle: Duration,
    /// For how long it must not hold before it is told again; `None` for never in the same period.
    pub(super) rearm: Option<Duration>,
    /// Whether the condition has ceased for a subject that the snapshot lacks. Otherwise that is
    /// not known.
    pub(super) is_clear_when_absent: bool,
}

pub(super) fn pace(condition: &Condition) -> Pace {
    let (settle, rearm) = match condition {
        Condition::Waiting | Condition::Finished { .. } => (SETTLE, Some(Duration::ZERO)),
        Condition::Context { .. } | Condition::Limit { .. } | Condition::Projected { .. } => {
            (Duration::ZERO, Some(Duration::ZERO))
        }
        Condition::Cost { .. } | Condition::NoWatcher { .. } => (Duration::ZERO, None),
        Condition::Health { .. } => (SETTLE, Some(REARM)),
        Condition::Degraded => (DEGRADED_SETTLE, Some(REARM)),
    };
    let is_clear_when_absent = matches!(condition, Condition::Degraded);
    Pace { settle, rearm, is_clear_when_absent }
}

/// Whether the subjects of a condition are sessions, so that they are forgotten with these.
pub(super) fn is_about_sessions(condition: &Condition) -> bool {
    match condition {
        Condition::Waiting
        | Condition::Finished { .. }
        | Condition::Context { .. }
        | Condition::Cost { per: Per::Session, .. }
        | Condition::Health { .. } => true,
        Condition::Limit { .. }
        | Condition::Projected { .. }
        | Condition::Cost { .. }
        | Condition::Degraded
        | Condition::NoWatcher { .. } => false,
    }
}

/// What the snapshot says of each subject of the rule.
pub(super) fn readings(
    rule: &Rule,
    snapshot: &Snapshot,
    zone: &TimeZone,
    now_ms: i64,
) -> Vec<Reading> {
    let root = rule.root.as_deref().map(text::of);
    let is_root = |it: &str| root.as_deref().is_none_or(|root| root == it);
    match &rule.condition {
        Condition::Limit { limit: only, .. } | Condition::Projected { limit: only } => {
            let roots = snapshot.roots.iter().filter(|(root, _)| is_root(&root.0));
            let is_limit = |name: &str| only.as_deref().is_none_or(|only| only == name);
            let of_root = |(root, facts): (_, &Root)| {
                let wanted = facts.limits.iter().filter(|(name, _)| is_limit(name));
                let wanted = wanted.map(|(name, it)| limit(rule, root, name, it, snapshot, now_ms));
                wanted.collect::<Vec<_>>()
            };
            roots.flat_map(of_root).collect()
        }
        Condition::Cost { at, per: per @ (Per::Day | Per::Month) } => {
            let roots = snapshot.roots.iter().filter(|(root, _)| is_root(&root.0));
            let usages: Vec<_> = roots.filter_map(|(_, it)| it.usage.as_ref()).collect();
            let cost = |usage: &&Usage| match per {
                Per::Month => usage.month.cost_usd,
                Per::Day | Per::Session => usage.today.cost_usd,
            };
            let usd = usages.iter().map(cost).sum();
            let known = usages.first().map(|_| budget(*at, *per, usd, zone, now_ms));
            known.into_iter().collect()
        }
        Condition::Degraded => {
            // An alert whose program fails cannot tell that it fails.
            let others = snapshot.degraded.iter().filter(|it| !it.source.starts_with("alert:"));
            others.map(degraded).collect()
        }
        // The watcher that looks at this runs; the sentinel tells.
        Condition::NoWatcher { .. } => Vec::new(),
        _ => {
            let is_project = |session: &Session| match (&rule.project, project(session)) {
                (None, _) => true,
                (Some(pattern), name) => name.is_some_and(|it| matches(pattern, &it)),
            };
            let sessions = snapshot.sessions.iter();
            let sessions = sessions.filter(|(_, it)| is_root(&it.root) && is_project(it));
            sessions.filter_map(|(id, it)| of_session(&rule.condition, id, it, snapshot)).collect()
        }
    }
}

fn of_session(
    condition: &Condition,
    id: &SessionId,
    session: &Session,
    snapshot: &Snapshot,
) -> Option<Reading> {
    let name = name(id, session);
    let project = project(session);
    let place = project.as_deref().map(|it| format!("in {it}")).unwrap_or_default();
    let mut event = AlertEvent {
        subject: id.0.clone(),
        session: Some(id.0.clone()),
        cwd: session.cwd.clone(),
        pid: session.pid,
        root: Some(session.root.clone()),
        body: place.clone(),
        ..AlertEvent::default()
    };
    let mut is_old_at_first = true;
    let found = match condition {
        Condition::Waiting => {
            let started_ms = snapshot.watcher.as_ref().map_or(i64::MAX, |it| it.started_at_ms);
            is_old_at_first = session.status_since_ms.is_some_and(|it| it < started_ms);
            event.title = format!("{name} waits");
            event.waiting_for = session.waiting_for.clone();
            let parts = [session.waiting_for.clone(), Some(place)].into_iter().flatten();
            let parts: Vec<_> = parts.filter(|it| !it.is_empty()).collect();
            event.body = parts.join(", ");
            let waits = session.live && session.status == Some(Status::Waiting);
            if waits { Found::Holds } else { Found::Clear }
        }
        Condition::Finished { .. } => {
            event.title = format!("{name} has finished");
            match session.status.filter(|_| session.live)? {
                Status::Busy => Found::TurnRuns(session.status_since_ms),
                Status::Idle if session.subagents.running == 0 => {
                    Found::TurnOver(session.status_since_ms)
                }
                Status::Idle | Status::Shell | Status::Waiting => Found::TurnPauses,
            }
        }
        Condition::Context { at } => {
            let context = session.context.as_ref()?;
            context.window?;
            // After a compaction it is emptier, but until the next reply nobody knows how full.
            let percent = context.used_percentage.unwrap_or(0.0);
            event.title = format!("{name}: context {percent:.0} % used");
            event.percent = Some(percent);
            if session.live { compare(percent, *at, CONTEXT_BAND) } else { Found::Near }
        }
        Condition::Cost { at, .. } => {
            let cost = session.cost.as_ref()?;
            event.title = format!("{name} has cost ${:.2}", cost.usd);
            event.body = format!("of a budget of ${at:.2}{}", comma(&place));
            (event.cost_usd, event.budget_usd) = (Some(cost.usd), Some(*at));
            event.percent = Some(cost.usd / at * 100.0);
            if cost.usd >= *at { Found::Holds } else { Found::Clear }
        }
        Condition::Health { level } => {
            let reason = session.health.issues.join("; ");
            event.title = format!("{name}: {}", shown(&reason, MAX_REASON));
            event.reason = Some(shown(&reason, MAX_REASON));
            let is_bad = session.live && session.health.status >= *level;
            if is_bad { Found::Holds } else { Found::Clear }
        }
        Condition::Limit { .. }
        | Condition::Projected { .. }
        | Condition::Degraded
        | Condition::NoWatcher { .. } => return None,
    };
    (event.session_name, event.project) = (Some(name), project);
    Some(Reading { subject: id.0.clone(), found, period_ends_ms: None, is_old_at_first, event })
}

/// Whether a value has reached a threshold. It must fall by `band` below it to be told of again.
fn compare(value: f64, at: f64, band: f64) -> Found {
    if value >= at {
        Found::Holds
    } else if value > at - band {
        Found::Near
    } else {
        Found::Clear
    }
}

fn comma(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(", {place}") }
}

/// The name of a session for people.
fn name(id: &SessionId, session: &Session) -> String {
    let own = session.name.as_deref().filter(|it| !it.trim().is_empty());
    let own = own.map(|it| shown(it, MAX_NAME)).or_else(|| project(session));
    own.unwrap_or_else(|| id.0.chars().take(8).collect())
}

/// The name of the project that a session works in.
fn project(session: &Session) -> Option<String> {
    session.project().map(|it| shown(it, MAX_NAME))
}

/// Text of others on one line, without what could steer a terminal.
fn shown(text: &str, max_chars: usize) -> String {
    sanitize::spaced(text.trim()).take(max_chars).collect()
}

fn limit(
    rule: &Rule,
    root: &RootKey,
    name: &str,
    limit: &Limit,
    snapshot: &Snapshot,
    now_ms: i64,
) -> Reading {
    let words = match name {
        "five_hour" => "five-hour limit".to_owned(),
        "seven_day" => "weekly limit".to_owned(),
        "spend_limit" => "spending limit".to_owned(),
        other => format!("{} limit", other.replace('_', " ")),
    };
    let account = match snapshot.roots.len() {
        0 | 1 => String::new(),
        _ => format!(" of {}", shown(&root.0, MAX_NAME)),
    };
    let used = limit.used_percentage;
    let resets_at_ms = (limit.resets_at_ms > 0).then_some(limit.resets_at_ms);
    let resets = resets_at_ms.map(|it| format!("resets in {}", span(it - now_ms)));
    let (title, body, percent, at) = match &rule.condition {
        Condition::Projected { .. } => {
            let full = limit.full_at_ms.map(|it| format!("full in {}", span(it - now_ms)));
            let parts: Vec<_> = full.into_iter().chain(resets).collect();
            let title = format!("{words}{account} will be used up before its reset");
            (title, parts.join(", "), projected(limit), FULL)
        }
        condition => {
            let at = if let Condition::Limit { at, .. } = condition { *at } else { FULL };
            let title = format!("{words}{account} {used:.0} % used");
            (title, resets.unwrap_or_default(), used, at)
        }
    };
    let found = compare(percent, at, LIMIT_BAND);
    let subject = format!("{name} of {}", root.0);
    let event = AlertEvent {
        subject: subject.clone(),
        title,
        body,
        root: Some(root.0.clone()),
        percent: Some(used),
        limit: Some(name.to_owned()),
        resets_at_ms,
        full_at_ms: limit.full_at_ms,
        ..AlertEvent::default()
    };
    Reading { subject, found, period_ends_ms: resets_at_ms, is_old_at_first: true, event }
}

/// How much of a limit will be used when its window ends, in percent, at the pace by which
/// `full_at_ms` was computed; what is used now, where that is not known.
fn projected(limit: &Limit) -> f64 {
    let used = limit.used_percentage;
    let (Some(full_at_ms), true) = (limit.full_at_ms, limit.resets_at_ms > 0) else { return used };
    let to_full_ms = (full_at_ms - limit.as_of_ms).max(SECOND_MS) as f64;
    let to_reset_ms = (limit.resets_at_ms - limit.as_of_ms).max(0) as f64;
    used + (100.0 - used) / to_full_ms * to_reset_ms
}

/// The cost of the day or of the month.
fn budget(at: f64, per: Per, usd: f64, zone: &TimeZone, now_ms: i64) -> Reading {
    let (subject, title) = match per {
        Per::Month => ("month", "this month"),
        Per::Day | Per::Session => ("day", "today"),
    };
    let event = AlertEvent {
        subject: subject.to_owned(),
        title: format!("{title} has cost ${usd:.2}"),
        body: format!("of a budget of ${at:.2}"),
        cost_usd: Some(usd),
        budget_usd: Some(at),
        percent: Some(usd / at * 100.0),
        ..AlertEvent::default()
    };
    Reading {
        subject: subject.to_owned(),
        found: if usd >= at { Found::Holds } else { Found::Clear },
        period_ends_ms: end_of(per, zone, now_ms),
        is_old_at_first: true,
        event,
    }
}

/// When the local day or month ends.
fn end_of(per: Per, zone: &TimeZone, now_ms: i64) -> Option<i64> {
    let today = zone.to_datetime(Timestamp::from_millisecond(now_ms).ok()?).date();
    let last = if per == Per::Month { today.last_of_month() } else { today };
    let next = last.tomorrow().ok()?.to_datetime(Time::midnight());
    Some(zone.to_timestamp(next).ok()?.as_millisecond())
}

fn degraded(source: &Degraded) -> Reading {
    let subject = shown(&source.source, MAX_REASON);
    let event = AlertEvent {
        subject: subject.clone(),
        title: format!("{subject} fails"),
        body: shown(&source.reason, MAX_REASON),
        reason: Some(shown(&source.reason, MAX_REASON)),
        ..AlertEvent::default()
    };
    let found = Found::Holds;
    Reading { subject, found, period_ends_ms: None, is_old_at_first: false, event }
}

/// Whether a name is what a pattern says, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// The readings by their subjects.
pub(super) fn by_subject(readings: Vec<Reading>) -> BTreeMap<String, Reading> {
    readings.into_iter().map(|it| (it.subject.clone(), it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_pattern_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("api", "api", true),
            ("api", "api2", false),
            ("*", "", true),
            ("api*", "api2", true),
            ("*-api", "my-api", true),
            ("*-api", "my-api2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("aa*a", "aa", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_day_and_a_month_end_at_local_midnight() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let now = at("2026-11-30T23:30:00Z");
        assert_eq!(end_of(Per::Day, &zone, now), Some(at("2026-12-01T23:00:00Z")));
        assert_eq!(end_of(Per::Month, &zone, now), Some(at("2026-12-31T23:00:00Z")));
    }
}
