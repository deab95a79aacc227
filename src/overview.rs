//! PURE. All sessions at a glance: what each of them does, the order in which they are listed, and
//! what the columns of a list say.
//!
//! `ccstatusd sessions`, `ccstatusd top` and the tooltips of `ccstatusd line` show the same facts
//! in the same words, because they have them from here. Each of them has a layout of its own.

use std::cmp::Reverse;

use crate::display::model_name::readable;
use crate::display::numbers::{age, countdown, money, percent, tokens, valid};
use crate::display::paint::Paint;
use crate::display::text::Text;
use crate::store::schema::{
    CostSource, HealthStatus, Limit, Limits, Repo, RepoKey, Root, RootKey, Session, SessionId,
    Snapshot, Status, Usage,
};
use crate::time::HOUR_MS;

/// What a session does, in the order in which sessions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// It cannot go on until its user answers.
    Waiting,
    Busy,
    /// It waits for a prompt, and a shell that it started runs in the background.
    Shell,
    Idle,
    /// It lives, but what it does is not known.
    Unknown,
    Ended,
}

impl Activity {
    pub(crate) const ALL: [Activity; 6] = [
        Activity::Waiting,
        Activity::Busy,
        Activity::Shell,
        Activity::Idle,
        Activity::Unknown,
        Activity::Ended,
    ];

    pub(crate) fn of(session: &Session) -> Activity {
        match session.status {
            _ if !session.live => Activity::Ended,
            Some(Status::Waiting) => Activity::Waiting,
            Some(Status::Busy) => Activity::Busy,
            Some(Status::Shell) => Activity::Shell,
            Some(Status::Idle) => Activity::Idle,
            None => Activity::Unknown,
        }
    }

    /// The word for it. All but `?` are also values in JSON, where an unknown activity is `null`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Activity::Waiting => "waiting",
            Activity::Busy => "busy",
            Activity::Shell => "shell",
            Activity::Idle => "idle",
            Activity::Unknown => "?",
            Activity::Ended => "ended",
        }
    }

    /// The word for it where sessions are counted: a count of `?` would say nothing.
    pub(crate) fn counted(self) -> &'static str {
        if self == Activity::Unknown { "unknown" } else { self.word() }
    }

    /// The symbol that stands before the word, never in place of it.
    pub(crate) fn symbol(self, is_ascii: bool) -> &'static str {
        let (symbol, ascii) = match self {
            Activity::Waiting => ("▲", "!"),
            Activity::Busy => ("●", "*"),
            Activity::Shell => ("◐", "&"),
            Activity::Idle => ("○", "-"),
            Activity::Unknown => (" ", " "),
            Activity::Ended => ("·", "."),
        };
        if is_ascii { ascii } else { symbol }
    }

    pub(crate) fn paint(self) -> Paint {
        match self {
            Activity::Waiting => Paint::Warning,
            Activity::Busy => Paint::Good,
            Activity::Shell | Activity::Idle => Paint::Plain,
            Activity::Unknown | Activity::Ended => Paint::Dim,
        }
    }
}

/// A session of the list, with its working tree if that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) id: &'a SessionId,
    pub(crate) session: &'a Session,
    pub(crate) repo: Option<&'a Repo>,
    pub(crate) activity: Activity,
}

/// All sessions of a snapshot, in the order in which they are listed: those that wait first, the
/// longest wait before all others; then by [`Activity`], with the last active one first.
pub(crate) fn rows(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let mut rows: Vec<_> = snapshot.sessions.iter().map(|it| Row::of(it, snapshot)).collect();
    rows.sort_by_key(|row| {
        let waits_since_ms = match row.activity {
            Activity::Waiting => row.session.status_since_ms.unwrap_or(i64::MAX),
            _ => 0,
        };
        (row.activity, waits_since_ms, Reverse(row.session.last_activity_ms), row.id)
    });
    rows
}

impl<'a> Row<'a> {
    fn of((id, session): (&'a SessionId, &'a Session), snapshot: &'a Snapshot) -> Row<'a> {
        let repo = session.repo.clone().and_then(|it| snapshot.repos.get(&RepoKey(it)));
        Row { id, session, repo, activity: Activity::of(session) }
    }

    /// As [`Session::project`].
    pub(crate) fn project(&self) -> Option<&'a str> {
        self.session.project()
    }

    /// What the user or Claude Code calls the session; `None` if it has no name.
    pub(crate) fn name(&self) -> Option<&'a str> {
        self.session.name.as_deref().map(str::trim).filter(|it| !it.is_empty())
    }

    /// Whether files of its working tree differ from the commit that is checked out.
    pub(crate) fn is_dirty(&self) -> bool {
        self.repo.is_some_and(|it| it.staged + it.unstaged + it.untracked + it.conflicts > 0)
    }

    /// Since when it does what it does; for a session that ended, when it ended. In Unix
    /// milliseconds. `None` where that is not known.
    pub(crate) fn since_ms(&self) -> Option<i64> {
        match self.activity {
            Activity::Ended => self.session.ended_ms,
            Activity::Unknown => None,
            _ => self.session.status_since_ms,
        }
    }

    /// Its cost divided by the hours since its process started, in US dollars. `None` unless the
    /// client states both the cost and the time.
    pub(crate) fn burn(&self) -> Option<f64> {
        let cost = self.session.cost.as_ref().filter(|it| it.source == CostSource::Client)?;
        let span_ms = self.session.duration_ms.filter(|it| *it > 0)?;
        valid(Some(cost.usd / (span_ms as f64 / HOUR_MS as f64)))
    }
}

/// A column of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// What the session does, and since when.
    Status,
    /// What it waits for.
    WaitsFor,
    Project,
    /// The branch, `*` if the working tree is dirty, and how far it is ahead and behind.
    Branch,
    /// The session's name.
    Name,
    Model,
    Context,
    Cost,
    /// See [`Row::burn`].
    Burn,
    /// How long ago it was active.
    Active,
    Health,
}

impl Column {
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Column::Status => "status",
            Column::WaitsFor => "waits for",
            Column::Project => "project",
            Column::Branch => "branch",
            Column::Name => "session",
            Column::Model => "model",
            Column::Context => "ctx",
            Column::Cost => "cost",
            Column::Burn => "burn",
            Column::Active => "active",
            Column::Health => "health",
        }
    }

    /// Whether its cells are aligned at the right.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Column::Context | Column::Cost | Column::Burn | Column::Active)
    }

    /// The fewest columns to which a cell of this kind may be cut. `None` if it must not be cut,
    /// for there are numbers in it: it is shown whole or not at all.
    pub(crate) fn least_width(self) -> Option<usize> {
        match self {
            Column::WaitsFor | Column::Name => Some(10),
            Column::Project | Column::Branch => Some(8),
            Column::Health => Some(8),
            _ => None,
        }
    }
}

/// How the cells of a list are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pen {
    pub(crate) now_ms: i64,
    pub(crate) is_ascii: bool,
    /// Stands at the end of a name that is cut.
    pub(crate) ellipsis: &'static str,
}

impl Pen {
    /// What a column says of a session, in at most `room` columns if [`Column::least_width`] allows
    /// to cut it. Numbers in it are never cut. Blank where there is nothing to say.
    pub(crate) fn cell(&self, column: Column, row: &Row<'_>, room: usize) -> Text {
        let mut out = Text::default();
        let session = row.session;
        match column {
            Column::Status => self.status(row, &mut out),
            Column::WaitsFor => {
                let is_waiting = row.activity == Activity::Waiting;
                let what = session.waiting_for.as_deref().filter(|_| is_waiting);
                out.put_cut(Paint::Warning, what.unwrap_or_default(), room, self.ellipsis);
            }
            Column::Project => {
                out.put_cut(Paint::Place, row.project().unwrap_or("?"), room, self.ellipsis);
            }
            Column::Branch => self.branch(row, room, &mut out),
            Column::Name => {
                out.put_cut(Paint::Plain, row.name().unwrap_or_default(), room, self.ellipsis);
            }
            Column::Model => {
                let model = session.model.as_ref();
                let model = model.map(|it| readable(it.display_name.as_deref().unwrap_or(&it.id)));
                out.put_cut(Paint::Plain, &model.unwrap_or_default(), 20, self.ellipsis);
            }
            Column::Context => self.context(session, &mut out),
            Column::Cost => {
                if let Some(cost) = session.cost.as_ref().filter(|it| valid(Some(it.usd)).is_some())
                {
                    out.put(Paint::Plain, &self.cost(cost.unpriced, cost.usd));
                }
            }
            Column::Burn => {
                if let Some(usd) = row.burn() {
                    out.put(Paint::Plain, &format!("{}/h", money(usd)));
                }
            }
            Column::Active => {
                if session.last_activity_ms > 0 {
                    out.put(Paint::Dim, &self.age(session.last_activity_ms));
                }
            }
            Column::Health => self.health(session, room, &mut out),
        }
        out
    }

    fn status(&self, row: &Row<'_>, out: &mut Text) {
        let (activity, paint) = (row.activity, row.activity.paint());
        out.put(paint, activity.symbol(self.is_ascii));
        out.put(paint, " ");
        out.put(paint, activity.word());
        if let Some(since_ms) = row.since_ms() {
            out.put(Paint::Dim, " ");
            out.put(Paint::Dim, &self.age(since_ms));
        }
    }

    fn branch(&self, row: &Row<'_>, room: usize, out: &mut Text) {
        let Some(repo) = row.repo else { return };
        let mut marks = Text::default();
        if row.is_dirty() {
            marks.put(Paint::Changed, "*");
        }
        let mut distance = String::new();
        for (count, symbol, ascii) in [(repo.ahead, "⇡", "^"), (repo.behind, "⇣", "v")] {
            if count > 0 && !repo.upstream_gone {
                distance += &format!("{}{count}", if self.is_ascii { ascii } else { symbol });
            }
        }
        if !distance.is_empty() {
            marks.put(Paint::Plain, &format!(" {distance}"));
        }
        let commit = || repo.commit.as_deref().map(|it| format!("@{:.7}", it));
        let name = repo.branch.clone().or_else(|| repo.tag.clone()).or_else(commit);
        let name_room = room.saturating_sub(marks.width());
        out.put_cut(Paint::Branch, name.as_deref().unwrap_or("?"), name_room, self.ellipsis);
        for (paint, piece, _) in marks.pieces() {
            out.put(paint, piece);
        }
    }

    fn context(&self, session: &Session, out: &mut Text) {
        let Some(context) = &session.context else { return };
        match (valid(context.used_percentage), context.tokens) {
            (Some(share), _) => out.put(grade(share), &percent(share)),
            (None, Some(count)) => out.put(Paint::Plain, &tokens(count)),
            (None, None) => {}
        }
    }

    /// The first issue if there is room for all of its text, else the word for its severity.
    fn health(&self, session: &Session, room: usize, out: &mut Text) {
        let (paint, word) = match session.health.status {
            HealthStatus::Good => (Paint::Dim, "ok"),
            HealthStatus::Warning => (Paint::Warning, "warning"),
            HealthStatus::Critical => (Paint::Alarm, "critical"),
        };
        let mut whole = Text::of(paint, word);
        if let Some((first, others)) = session.health.issues.split_first() {
            whole.put(paint, ": ");
            whole.put(paint, first);
            if !others.is_empty() {
                whole.put(Paint::Dim, &format!(" +{} more", others.len()));
            }
        }
        *out = if whole.width() <= room { whole } else { Text::of(paint, word) };
    }

    /// An amount. A sign before it says that it is a lower bound, if some price is not known.
    pub(crate) fn cost(&self, unpriced: u64, usd: f64) -> String {
        let at_least = match (unpriced, self.is_ascii) {
            (0, _) => "",
            (_, true) => ">=",
            (_, false) => "≥",
        };
        format!("{at_least}{}", money(usd))
    }

    /// How long ago something was. Zero if its time is in the future: the clock was set back since.
    pub(crate) fn age(&self, at_ms: i64) -> String {
        age(self.now_ms.saturating_sub(at_ms).max(0))
    }

    /// What is said of an account, the most important first: what it is, what its sessions do, what
    /// was used in the five hours that its limit is for, each of its limits, and what was used
    /// today. A list leaves out whole parts, or puts them in another line.
    pub(crate) fn account(&self, account: &Account<'_>, home: Option<&str>) -> Vec<Text> {
        let mut parts = vec![Text::of(Paint::Place, &account.name(home))];
        let mut part = |pieces: &[(Paint, &str)]| {
            let mut text = Text::default();
            for (paint, piece) in pieces {
                text.put(*paint, piece);
            }
            parts.push(text);
        };
        for (activity, count) in account.counts() {
            part(&[(activity.paint(), &format!("{count} {}", activity.counted()))]);
        }
        if let Some(used) = account.five_hours(self.now_ms) {
            let mut said = self.cost(used.unpriced, used.usd);
            if let Some(usd) = used.usd_per_hour {
                said += &format!(" at {}/h", money(usd));
            }
            let left = countdown(used.ends_ms.saturating_sub(self.now_ms));
            part(&[
                (Paint::Dim, "block "),
                (Paint::Plain, &said),
                (Paint::Dim, &format!(" {left} left")),
            ]);
        }
        for (name, limit) in account.limits.iter() {
            let share = limit.used_percentage;
            let mut rest = String::new();
            if limit.resets_at_ms > 0 {
                let left = countdown(limit.resets_at_ms.saturating_sub(self.now_ms));
                rest += &format!(" resets in {left}");
            }
            if let Some(full_ms) = account.full_at_ms(limit, self.now_ms) {
                rest += &format!(", full in {}", countdown(full_ms - self.now_ms));
            }
            let name = limit_name(name);
            part(&[
                (Paint::Dim, &format!("{name} ")),
                (grade(share), &percent(share)),
                (Paint::Dim, &rest),
            ]);
        }
        if let Some(usage) = account.today(self.now_ms) {
            let said = self.cost(usage.today.unpriced, usage.today.cost_usd);
            part(&[(Paint::Dim, "today "), (Paint::Plain, &said)]);
        }
        parts
    }
}

/// The name of a limit in a list: short for those that every subscription has.
pub(crate) fn limit_name(name: &str) -> String {
    match name {
        "five_hour" => "5h".to_owned(),
        "seven_day" => "7d".to_owned(),
        "spend_limit" => "spend".to_owned(),
        _ => name.replace("seven_day", "7d").replace("five_hour", "5h").replace('_', " "),
    }
}

/// How much a share needs attention, by the bounds that [`crate::store::schema::Health`] has.
pub(crate) fn grade(share: f64) -> Paint {
    match share {
        95.0.. => Paint::Alarm,
        80.0.. => Paint::Warning,
        _ => Paint::Plain,
    }
}

/// An account, with its sessions.
#[derive(Clone, Debug)]
pub(crate) struct Account<'a> {
    pub(crate) key: &'a RootKey,
    pub(crate) root: &'a Root,
    /// The limits whose windows have not ended.
    pub(crate) limits: Limits,
    /// How many sessions do what, in the order of [`Activity::ALL`].
    counts: [usize; Activity::ALL.len()],
}

/// What was used in the five hours that a limit is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FiveHours {
    pub(crate) usd: f64,
    /// Replies whose cost is missing from `usd`.
    pub(crate) unpriced: u64,
    pub(crate) ends_ms: i64,
    pub(crate) usd_per_hour: Option<f64>,
}

/// The accounts of a snapshot that have sessions in it, used anything this month, or state limits.
pub(crate) fn accounts(snapshot: &Snapshot, now_ms: i64) -> Vec<Account<'_>> {
    let all = snapshot.roots.iter().map(|(key, root)| Account::of(key, root, snapshot, now_ms));
    all.filter(Account::is_used).collect()
}

impl<'a> Account<'a> {
    fn of(key: &'a RootKey, root: &'a Root, snapshot: &Snapshot, now_ms: i64) -> Account<'a> {
        let mut counts = [0; Activity::ALL.len()];
        for session in snapshot.sessions.values().filter(|it| it.root == key.0) {
            counts[Activity::of(session) as usize] += 1;
        }
        let plausible = root.limits.plausible(now_ms);
        let limits = plausible.filter_map(|name, it| it.is_current(name, now_ms).then_some(it));
        Account { key, root, limits, counts }
    }

    fn is_used(&self) -> bool {
        let has_cost = |it: &Usage| it.month.cost_usd > 0.0 || it.month.unpriced > 0;
        self.counts.iter().any(|it| *it > 0)
            || self.limits.iter().next().is_some()
            || self.root.usage.as_ref().is_some_and(has_cost)
    }

    /// The path of its directory, with the home directory as `~`.
    pub(crate) fn name(&self, home: Option<&str>) -> String {
        let path = &self.key.0;
        match home.and_then(|it| path.strip_prefix(it)).filter(|it| it.starts_with('/')) {
            Some(rest) => format!("~{rest}"),
            None => path.clone(),
        }
    }

    /// How many of its sessions do what: each activity that some of them have, but not `Ended`.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Activity, usize)> {
        let all = Activity::ALL.into_iter().zip(self.counts);
        all.filter(|(activity, count)| *count > 0 && *activity != Activity::Ended)
    }

    pub(crate) fn five_hours(&self, now_ms: i64) -> Option<FiveHours> {
        let usage = self.root.usage.as_ref()?;
        let (used, ends_ms, _) = usage.five_hours(self.limits.five_hour.as_ref(), now_ms)?;
        let burn = usage.open_block(now_ms).and_then(|(block, _)| block.burn.as_ref());
        Some(FiveHours {
            usd: valid(Some(used.cost_usd))?,
            unpriced: used.unpriced,
            ends_ms,
            usd_per_hour: burn.and_then(|it| valid(Some(it.cost_per_hour))),
        })
    }

    /// Its usage, unless the day that `today` is about is over.
    pub(crate) fn today(&self, now_ms: i64) -> Option<&'a Usage> {
        let usage = self.root.usage.as_ref()?;
        let is_valid = now_ms < usage.day_ends_ms && valid(Some(usage.today.cost_usd)).is_some();
        is_valid.then_some(usage)
    }

    /// When the limit will be used up, if that is before it resets. A forecast whose time is over
    /// was wrong.
    pub(crate) fn full_at_ms(&self, limit: &Limit, now_ms: i64) -> Option<i64> {
        let resets_at_ms = Some(limit.resets_at_ms).filter(|it| *it > 0)?;
        limit.full_at_ms.filter(|at_ms| (now_ms + 1..resets_at_ms).contains(at_ms))
    }
}

#[cfg(test)]
mod tests;
