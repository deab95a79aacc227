//! PURE. Alerts: of which subjects each has told, what waits to be told, and what its program is
//! given.
//!
//! A rule tells once when its condition begins to hold for a subject, and again only after the
//! condition has clearly ceased to hold. What held when the rule was first looked at is not told.
//! The snapshots that are published anyway are looked at, so nothing is polled.
//!
//! See docs/decisions/036-alerts-are-crossings.md.
//!
//! **Invariant:** no timer runs but for what is about to be told.

mod readings;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use self::readings::{Found, Pace, Reading, by_subject, is_about_sessions, pace, readings};
use crate::alert::{self, Condition, Quiet, Rule};
use crate::fetch::job::Told;
use crate::store::schema::alerts::{Alert, AlertEvent, AlertSubject};
use crate::store::schema::{Degraded, Snapshot};
use crate::time::{MINUTE_MS, Now, SECOND_MS, span};

/// After one event of a rule, further ones within this time are told as one.
const BURST: Duration = Duration::from_secs(5);
/// From this many events on that are found at once, they are told as one.
const MANY: usize = 3;
/// A rule tells of one subject at most once in this time. What still holds afterwards is told then.
const SPACING: Duration = Duration::from_secs(60);
/// If the ends of two periods differ by less than this, it is the same period: clients round them.
const SAME_PERIOD_MS: u64 = 5 * MINUTE_MS as u64;
/// A snapshot of the watcher before is compared with the first one of this watcher if it is no
/// older than this: what has begun to hold since then is told.
const RECENT_MS: i64 = 10 * MINUTE_MS;
/// A turn that begins this soon after the end of another belongs to it.
const AT_ONCE_MS: i64 = 2 * SECOND_MS;
/// The most notices that wait for the program of a rule. Further events are added to the last one.
const MAX_QUEUE: usize = 4;

/// The state of all alerts, by the names of their rules.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    rules: BTreeMap<String, RuleState>,
    /// Whether the last look at a snapshot was in the quiet hours.
    is_quiet: bool,
}

/// The state of one alert.
#[derive(Debug, Default)]
struct RuleState {
    on: &'static str,
    /// Whether anything was seen that later snapshots can be compared with.
    has_baseline: bool,
    subjects: BTreeMap<String, Subject>,
    last_fired_ms: Option<i64>,
    last_title: Option<String>,
    error: Option<String>,
    /// Since when (Unix milliseconds) its program fails, as seen by this process.
    failing_since_ms: Option<i64>,
    /// When the last event was told, while further ones may belong to the same burst.
    burst: Option<Instant>,
    /// The events that came since, and are told when the burst ends.
    held: Vec<AlertEvent>,
    /// What the program has not been told yet: the events of each notice.
    queue: VecDeque<Vec<AlertEvent>>,
}

/// What a rule knows of one subject.
#[derive(Debug)]
struct Subject {
    is_armed: bool,
    period_ends_ms: Option<i64>,
    /// When it was last told.
    fired_ms: Option<i64>,
    /// When it may be told again at the earliest.
    not_before: Option<Instant>,
    /// Since when the condition holds, while it is armed.
    holds_since: Option<Instant>,
    /// Since when the condition does not hold, while it is not armed.
    clear_since: Option<Instant>,
    turn: Turn,
}

/// The turn of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// No turn was seen, or the last one is over and done with.
    #[default]
    None,
    /// It began at `began_ms`, in Unix milliseconds. `is_paused` says whether, when the session was
    /// last looked at, it waited, or only subagents or a background shell of it worked.
    Open { began_ms: i64, is_paused: bool },
    /// It is over, and took `took_ms`. A prompt that was typed before may continue it at once.
    Over { began_ms: i64, took_ms: i64 },
}

impl Alerts {
    // ---- Before and after

    /// Restores what an earlier process published.
    pub(super) fn recall(
        &mut self,
        rules: &BTreeMap<String, Rule>,
        previous: &Snapshot,
        zone: &TimeZone,
        now: Now,
    ) {
        let is_recent =
            (0..RECENT_MS).contains(&now.wall_ms.saturating_sub(previous.published_at_ms));
        for (name, rule) in rules {
            let on = rule.condition.word();
            let Some(before) = previous.alerts.get(name).filter(|it| it.on == on) else { continue };
            let mut state = RuleState {
                on,
                has_baseline: is_recent,
                last_fired_ms: before.last_fired_ms,
                last_title: before.last_title.clone(),
                error: before.error.clone(),
                ..RuleState::default()
            };
            if is_recent {
                for reading in readings(rule, previous, zone, previous.published_at_ms) {
                    let is_armed = reading.found != Found::Holds;
                    let subject = Subject {
                        is_armed,
                        period_ends_ms: reading.period_ends_ms,
                        ..Subject::default()
                    };
                    state.subjects.insert(reading.subject, subject);
                }
            }
            let known = before.subjects.iter().filter(|(_, it)| is_recent || !it.armed);
            let known = known.map(|(name, it)| (name.clone(), Subject::recalled(it, now)));
            state.subjects.extend(known);
            self.rules.insert(name.clone(), state);
        }
    }

    /// The rules changed. Forgets those that are gone or have another condition, and returns the
    /// names of those that are gone.
    pub(super) fn replace(
        &mut self,
        before: &BTreeMap<String, Rule>,
        rules: &BTreeMap<String, Rule>,
    ) -> Vec<String> {
        for (name, rule) in before {
            // Another way of telling does not change what the rule has seen.
            let is_same = |new: &Rule| {
                let (tool, is_told_in_focus) = (rule.tool.clone(), rule.is_told_in_focus);
                Rule { tool, is_told_in_focus, ..new.clone() } == *rule
            };
            if !rules.get(name).is_some_and(is_same) {
                self.rules.remove(name);
            }
        }
        before.keys().filter(|name| !rules.contains_key(*name)).cloned().collect()
    }

    /// The alerts for the snapshot.
    pub(super) fn report(&self, rules: &BTreeMap<String, Rule>) -> BTreeMap<String, Alert> {
        let report = |(name, rule): (&String, &Rule)| {
            let alert = self.rules.get(name).map(RuleState::report).unwrap_or_default();
            (name.clone(), Alert { on: rule.condition.word().to_owned(), ..alert })
        };
        rules.iter().map(report).collect()
    }

    /// The entries for the snapshot's `degraded` list: rules whose program failed the last time.
    pub(super) fn degraded(&self) -> impl Iterator<Item = Degraded> {
        self.rules.iter().filter_map(|(name, state)| {
            Some(Degraded {
                source: format!("alert:{name}"),
                since_ms: state.failing_since_ms?,
                reason: state.error.clone()?,
                next_try_ms: None,
            })
        })
    }

    /// The times at which alerts were told, so that they can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        self.rules.values_mut().flat_map(|state| {
            let subjects = state.subjects.values_mut().filter_map(|it| it.fired_ms.as_mut());
            state.last_fired_ms.iter_mut().chain(subjects)
        })
    }

    // ---- Looking at a snapshot

    /// Compares a snapshot with what is known. Returns the names of the rules whose programs have
    /// something to tell, and whether anything changed.
    pub(super) fn look_at(
        &mut self,
        rules: &BTreeMap<String, Rule>,
        quiet: Option<Quiet>,
        snapshot: &Snapshot,
        zone: &TimeZone,
        now: Now,
    ) -> (Vec<String>, bool) {
        self.is_quiet = quiet.is_some_and(|it| it.contain(now.wall_ms, zone));
        let (mut to_tell, mut has_changed) = (Vec::new(), false);
        for (name, rule) in rules {
            let state = self.rules.entry(name.clone()).or_default();
            state.on = rule.condition.word();
            let before = (state.queue.len(), state.report());
            let found = by_subject(readings(rule, snapshot, zone, now.wall_ms));
            let fired = state.compare(&rule.condition, found, snapshot, self.is_quiet, now);
            state.tell(fired, now);
            let (n_before, report) = before;
            if state.queue.len() > n_before {
                to_tell.push(name.clone());
            }
            has_changed |= state.report() != report;
        }
        (to_tell, has_changed)
    }

    /// When the snapshot is to be looked at next, for what may have to be told then.
    pub(super) fn due_at(&self, rules: &BTreeMap<String, Rule>) -> Option<Instant> {
        let due = self.rules.iter().filter_map(|(name, state)| {
            let pace = pace(&rules.get(name)?.condition);
            let pending = state.due_at(pace).filter(|_| !self.is_quiet);
            let burst = state.burst.filter(|_| !state.held.is_empty()).map(|it| it + BURST);
            pending.into_iter().chain(burst).min()
        });
        due.min()
    }

    // ---- Programs

    /// The events that the program of a rule is told of next, as one.
    pub(super) fn next_to_tell(&self, name: &str) -> Option<Vec<AlertEvent>> {
        self.rules.get(name)?.queue.front().cloned()
    }

    /// The first notice in the queue of a rule is done with: its program has run, or was not
    /// needed. Returns whether there are more.
    pub(super) fn told(&mut self, name: &str, told: Told, now: Now) -> bool {
        let Some(state) = self.rules.get_mut(name) else { return false };
        let events = state.queue.pop_front().unwrap_or_default();
        let (seen, told_of): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|it| told.in_focus.contains(&it.subject));
        for event in &seen {
            // Nothing was told, so the next event need not wait for `SPACING`.
            if let Some(subject) = state.subjects.get_mut(&event.subject) {
                subject.not_before = None;
            }
        }
        for event in &told_of {
            if let Some(subject) = state.subjects.get_mut(&event.subject) {
                subject.fired_ms = Some(told.at_ms);
            }
        }
        if let Some(last) = told_of.last() {
            state.last_fired_ms = Some(told.at_ms);
            state.last_title = Some(last.title.clone());
        }
        if !told_of.is_empty() || told.result.is_err() {
            state.error = told.result.err().map(|it| it.to_string());
            let since_ms = state.failing_since_ms.unwrap_or(now.wall_ms);
            state.failing_since_ms = state.error.is_some().then_some(since_ms);
        }
        !state.queue.is_empty()
    }
}

impl RuleState {
    fn report(&self) -> Alert {
        let subjects = self.subjects.iter().filter(|(_, it)| !it.is_plain());
        Alert {
            on: self.on.to_owned(),
            last_fired_ms: self.last_fired_ms,
            last_title: self.last_title.clone(),
            error: self.error.clone(),
            subjects: subjects.map(|(name, it)| (name.clone(), it.report())).collect(),
        }
    }

    /// Takes in what a snapshot says, and returns what is to be told.
    fn compare(
        &mut self,
        condition: &Condition,
        mut found: BTreeMap<String, Reading>,
        snapshot: &Snapshot,
        is_quiet: bool,
        now: Now,
    ) -> Vec<AlertEvent> {
        let pace = pace(condition);
        let is_first = !std::mem::replace(&mut self.has_baseline, true);
        for (name, reading) in &mut found {
            let is_new = !self.subjects.contains_key(name);
            let subject = self.subjects.entry(name.clone()).or_default();
            subject.note_period(reading.period_ends_ms);
            subject.note_turn(condition, reading, now);
            if is_new && reading.found == Found::Holds && (is_first || reading.is_old_at_first) {
                subject.is_armed = false;
            }
            subject.take_in(reading.found, pace, now);
        }
        self.subjects.retain(|name, subject| {
            if found.contains_key(name) {
                return true;
            }
            subject.holds_since = None;
            if pace.is_clear_when_absent {
                subject.take_in(Found::Clear, pace, now);
                return !subject.is_armed;
            }
            !is_about_sessions(condition) || snapshot.sessions.keys().any(|id| id.0 == *name)
        });
        let mut fired = Vec::new();
        if is_quiet || self.due_at(pace).is_none_or(|at| at > now.mono) {
            return fired;
        }
        for (name, subject) in &mut self.subjects {
            if subject.due_at(pace).is_some_and(|at| at <= now.mono) {
                subject.fire(now);
                fired.extend(found.remove(name).map(|it| it.event));
            }
        }
        fired
    }

    /// When the rule has something to tell, if the conditions still hold then. Where many subjects
    /// are about to be told, the first waits a moment for the last, so that they are told as one.
    fn due_at(&self, pace: Pace) -> Option<Instant> {
        let due: Vec<_> = self.subjects.values().filter_map(|it| it.due_at(pace)).collect();
        let (first, last) = (due.iter().min()?, due.iter().max()?);
        Some(if due.len() >= MANY { *last.min(&(*first + BURST)) } else { *first })
    }

    /// Puts events into the queue of the program: the first at once, and those that follow within a
    /// burst as one, when the burst ends.
    fn tell(&mut self, fired: Vec<AlertEvent>, now: Now) {
        let is_burst = self.burst.is_some_and(|since| now.mono < since + BURST);
        if !is_burst && self.held.is_empty() {
            self.burst = None;
        }
        self.held.extend(fired);
        if self.held.is_empty() || is_burst {
            return;
        }
        let had_burst = self.burst.replace(now.mono).is_some();
        let events = std::mem::take(&mut self.held);
        if events.len() >= MANY || had_burst {
            self.queue(events);
        } else {
            events.into_iter().for_each(|it| self.queue(vec![it]));
        }
    }

    fn queue(&mut self, events: Vec<AlertEvent>) {
        let is_full = self.queue.len() >= MAX_QUEUE;
        match self.queue.back_mut().filter(|_| is_full) {
            Some(last) => last.extend(events),
            None => self.queue.push_back(events),
        }
    }
}

impl Default for Subject {
    fn default() -> Subject {
        Subject {
            is_armed: true,
            period_ends_ms: None,
            fired_ms: None,
            not_before: None,
            holds_since: None,
            clear_since: None,
            turn: Turn::None,
        }
    }
}

impl Turn {
    /// When the turn began, if work that begins at `at_ms` belongs to it. A prompt that the user
    /// typed during the turn is worked on at once; for the user, that is the same work.
    fn goes_on_at(self, at_ms: i64) -> Option<i64> {
        match self {
            Turn::Open { began_ms, .. } => Some(began_ms),
            Turn::Over { began_ms, took_ms } if at_ms - began_ms - took_ms <= AT_ONCE_MS => {
                Some(began_ms)
            }
            Turn::Over { .. } | Turn::None => None,
        }
    }
}

impl Subject {
    fn recalled(before: &AlertSubject, now: Now) -> Subject {
        let wait_ms = |fired_ms: i64| fired_ms - now.wall_ms + SPACING.as_millis() as i64;
        let wait_ms = before.fired_ms.map(wait_ms).filter(|it| *it > 0);
        let turn = before.turn_began_ms.map(|it| Turn::Open { began_ms: it, is_paused: false });
        Subject {
            is_armed: before.armed,
            period_ends_ms: before.period_ends_ms,
            fired_ms: before.fired_ms,
            not_before: wait_ms.map(|it| now.mono + span(it).min(SPACING)),
            turn: turn.unwrap_or_default(),
            ..Subject::default()
        }
    }

    fn report(&self) -> AlertSubject {
        AlertSubject {
            armed: self.is_armed,
            fired_ms: self.fired_ms,
            period_ends_ms: self.period_ends_ms,
            turn_began_ms: match self.turn {
                Turn::None => None,
                Turn::Open { began_ms, .. } | Turn::Over { began_ms, .. } => Some(began_ms),
            },
        }
    }

    /// Whether it is as any subject that nothing is known of: the snapshot leaves it out.
    fn is_plain(&self) -> bool {
        let is_idle = self.holds_since.is_none() && self.turn == Turn::None;
        self.is_armed && self.fired_ms.is_none() && is_idle
    }

    /// When it is to be told, if the condition still holds then.
    fn due_at(&self, pace: Pace) -> Option<Instant> {
        let settled = self.holds_since? + pace.settle;
        Some(self.not_before.map_or(settled, |it| it.max(settled)))
    }

    fn fire(&mut self, now: Now) {
        (self.is_armed, self.holds_since) = (false, None);
        self.not_before = Some(now.mono + SPACING);
        self.turn = Turn::None;
    }

    /// Another day, month or window has begun: what was told of the one before says nothing of it.
    fn note_period(&mut self, ends_ms: Option<i64>) {
        let Some(ends_ms) = ends_ms else { return };
        let is_other = |it: i64| it.abs_diff(ends_ms) >= SAME_PERIOD_MS;
        if self.period_ends_ms.is_some_and(is_other) {
            (self.is_armed, self.holds_since, self.clear_since) = (true, None, None);
        }
        self.period_ends_ms = Some(ends_ms);
    }

    /// Follows the turns of a session, and replaces what was found of one by whether it has
    /// finished.
    fn note_turn(&mut self, condition: &Condition, reading: &mut Reading, now: Now) {
        let Condition::Finished { min_turn_ms } = condition else { return };
        let (turn, found) = match (reading.found, self.turn) {
            (Found::TurnRuns(since_ms), turn) => {
                let since_ms = since_ms.unwrap_or(now.wall_ms);
                let began_ms = turn.goes_on_at(since_ms).unwrap_or(since_ms);
                (Turn::Open { began_ms, is_paused: false }, Found::Clear)
            }
            (Found::TurnPauses, Turn::Over { began_ms, .. } | Turn::Open { began_ms, .. }) => {
                (Turn::Open { began_ms, is_paused: true }, Found::Clear)
            }
            (Found::TurnOver(since_ms), Turn::Open { began_ms, is_paused }) => {
                let since_ms = since_ms.filter(|_| !is_paused).unwrap_or(now.wall_ms);
                let took_ms = since_ms - began_ms;
                match took_ms >= *min_turn_ms {
                    true => (Turn::Over { began_ms, took_ms }, Found::Holds),
                    false => (Turn::None, Found::Clear),
                }
            }
            (Found::TurnOver(_), turn @ Turn::Over { .. }) => (turn, Found::Holds),
            // The turn was told, or was too short. Nothing is told until the next one.
            (_, turn) => (turn, Found::Near),
        };
        (self.turn, reading.found) = (turn, found);
        if let Turn::Over { took_ms, .. } = turn {
            let place = std::mem::take(&mut reading.event.body);
            let parts = [format!("after {}", alert::span(took_ms)), place];
            let parts: Vec<_> = parts.into_iter().filter(|it| !it.is_empty()).collect();
            reading.event.body = parts.join(", ");
            reading.event.turn_ms = Some(took_ms);
        }
    }

    fn take_in(&mut self, found: Found, pace: Pace, now: Now) {
        match found {
            Found::Holds => {
                self.clear_since = None;
                if self.is_armed {
                    self.holds_since.get_or_insert(now.mono);
                }
            }
            Found::Clear => {
                self.holds_since = None;
                let since = *self.clear_since.get_or_insert(now.mono);
                self.is_armed |= pace.rearm.is_some_and(|rearm| now.mono >= since + rearm);
            }
            Found::Near | Found::TurnRuns(_) | Found::TurnPauses | Found::TurnOver(_) => {
                (self.holds_since, self.clear_since) = (None, None);
            }
        }
    }
}
