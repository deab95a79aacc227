//! PURE. What stands on the screen, as lines of text: the head, the accounts, one session, what was
//! used, and the help. `draw.rs` decides which of them there is room for.

use jiff::tz::TimeZone;

use super::bars::{self, UNKNOWN};
use super::state::State;
use super::usage::{Amount, N_DAYS, N_HOURS, N_QUARTERS, Usage};
use crate::display::numbers::{countdown, elapsed, money, percent, tokens, valid};
use crate::display::paint::Paint;
use crate::display::text::{Text, width};
use crate::overview::{self, Account, Activity, Column, Pen, Row};
use crate::store::schema::limits::window_ms;
use crate::store::schema::{CostSource, HealthStatus, Limit, Snapshot};
use crate::time::MINUTE_MS;

/// Pieces of a line, from left to right.
pub(super) type Line = Vec<Text>;

/// All that is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Whether it is known that no watcher runs.
    pub(super) has_no_watcher: bool,
    pub(super) now_ms: i64,
    /// The home directory, which is shown as `~`.
    pub(super) home: Option<&'a str>,
    pub(super) zone: &'a TimeZone,
    /// `None` until the record has been read.
    pub(super) usage: Option<&'a Usage>,
}

/// Between two parts of a line.
pub(super) const GAP: usize = 2;
/// The width of the names before values.
const LABEL: usize = 10;
/// The width of the keys in the help.
const KEY: usize = 12;
/// If a snapshot is older than this, the watcher failed to confirm it, or no session lives.
const OLD_MS: i64 = 2 * MINUTE_MS;
/// Where Claude Code is expected to compact a context, in percent, unless the user configured
/// `mark` of the segment `context`: Claude Code itself does not say.
const COMPACTED_AT: f64 = 80.0;

/// Writes lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels<'a> {
    pub(super) facts: Facts<'a>,
    pub(super) pen: Pen,
}

impl<'a> Panels<'a> {
    fn bars(&self) -> bars::Style {
        bars::Style { is_ascii: self.pen.is_ascii }
    }

    /// `─` or `-`, with a word in it.
    pub(super) fn rule(&self, word: &str, columns: usize) -> Line {
        let line = if self.pen.is_ascii { "-" } else { "─" };
        let mut text = Text::of(Paint::Dim, &format!("{line} "));
        text.put_cut(Paint::Plain, word, columns.saturating_sub(4), self.pen.ellipsis);
        text.put(Paint::Dim, " ");
        let rest = columns.saturating_sub(text.width());
        text.put(Paint::Dim, &line.repeat(rest));
        vec![text]
    }

    // ---- The first and the last line

    pub(super) fn head(&self, state: &State, n_listed: usize, columns: usize) -> Line {
        let snapshot = self.facts.snapshot;
        let age_ms = self.facts.now_ms.saturating_sub(snapshot.published_at_ms);
        // Minutes, so that the screen need not be drawn each second.
        let old = match age_ms {
            ..MINUTE_MS => "<1m old".to_owned(),
            _ => format!("{} old", self.pen.age(snapshot.published_at_ms)),
        };
        let mut parts = Vec::new();
        if self.facts.has_no_watcher {
            let long = format!("no watcher runs, {old}: ccstatusd start");
            let short = format!("no watcher, {old}");
            let said = if width(&long) + 24 <= columns { long } else { short };
            parts.push(Text::of(Paint::Warning, &said));
        }
        if state.is_typing || !state.filter.is_empty() {
            let cursor = if state.is_typing { "_" } else { "" };
            let mut text = Text::of(Paint::Dim, "filter ");
            text.put_cut(Paint::Changed, &state.filter, columns / 3, self.pen.ellipsis);
            text.put(Paint::Plain, cursor);
            let all = snapshot.sessions.len();
            text.put(Paint::Dim, &format!(" {n_listed} of {all}"));
            parts.push(text);
        }
        let rows = overview::rows(snapshot);
        let live = Activity::ALL.into_iter().filter(|it| *it != Activity::Ended);
        let n_before = parts.len();
        for activity in live {
            let count = rows.iter().filter(|row| row.activity == activity).count();
            if count > 0 {
                let symbol = activity.symbol(self.pen.is_ascii);
                let word = activity.counted();
                let said = format!("{symbol} {count} {word}");
                parts.push(Text::of(activity.paint(), said.trim_start()));
            }
        }
        if parts.len() == n_before {
            parts.push(Text::of(Paint::Plain, "no session of Claude Code runs"));
        }
        if !self.facts.has_no_watcher {
            let mut text = Text::default();
            if age_ms >= OLD_MS {
                text.put(Paint::Warning, &old);
            } else {
                let at = jiff::Timestamp::from_millisecond(snapshot.published_at_ms);
                let at = at.unwrap_or_default().to_zoned_datetime(self.facts.zone.clone());
                let (hour, minute, second) = (at.hour(), at.minute(), at.second());
                text.put(Paint::Dim, &format!("as of {hour:02}:{minute:02}:{second:02}"));
            }
            parts.push(text);
        }
        let n_failing = snapshot.degraded.len();
        if n_failing > 0 {
            let what = match n_failing {
                1 => "1 source fails: ccstatusd doctor".to_owned(),
                _ => format!("{n_failing} sources fail: ccstatusd doctor"),
            };
            parts.push(Text::of(Paint::Warning, &what));
        }
        fitting(parts, columns)
    }

    pub(super) fn foot(&self, state: &State, columns: usize) -> Line {
        if let Some(notice) = &state.notice {
            return vec![Text::of(Paint::Warning, notice)];
        }
        let mut keys = match state.is_typing {
            true => vec![("Enter", "keep the filter"), ("Esc", "drop it")],
            false => vec![
                ("q", "quit"),
                ("?", "help"),
                ("Enter", "detail"),
                ("t", "its pane"),
                ("/", "filter"),
                ("s", state.sort.words()),
                ("j k g G", "move"),
                ("a", if state.is_listing_ended { "without ended" } else { "also ended" }),
            ],
        };
        keys.retain(|(key, _)| state.is_in_tmux || *key != "t");
        let part = |(key, what): &(&str, &str)| {
            let mut text = Text::of(Paint::Place, key);
            text.put(Paint::Dim, &format!(" {what}"));
            text
        };
        fitting(keys.iter().map(part).collect(), columns)
    }

    // ---- Accounts

    /// The accounts, the one with the fullest limit first, with everything about their limits.
    pub(super) fn accounts(&self, columns: usize) -> Vec<Line> {
        let accounts = self.sorted_accounts();
        let is_single = accounts.len() == 1;
        let mut lines = Vec::new();
        for account in &accounts {
            lines.push(fitting(self.account_without_limits(account, is_single), columns));
            let limits: Vec<_> = account.limits.iter().collect();
            let names: Vec<_> = limits.iter().map(|it| overview::limit_name(it.0)).collect();
            let name_width = names.iter().map(|it| width(it)).max().unwrap_or(0);
            for ((key, limit), name) in limits.iter().zip(&names) {
                let mut text = Text::of(Paint::Dim, &format!("  {name:name_width$} "));
                let gauge = columns.saturating_sub(name_width + 52).clamp(8, 40);
                self.put_gauge(&mut text, key, limit, gauge);
                let mut parts = vec![text];
                parts.extend(self.limit_parts(account, key, limit));
                lines.push(fitting(parts, columns));
            }
        }
        lines
    }

    /// The accounts in one line each, at most so many.
    pub(super) fn accounts_in_short(&self, columns: usize, n_lines: usize) -> Vec<Line> {
        let accounts = self.sorted_accounts();
        let is_single = accounts.len() == 1;
        let n_more = accounts.len().saturating_sub(n_lines);
        let line = |(nth, account): (usize, &Account<'_>)| {
            let mut parts = Vec::new();
            if !is_single {
                let mut name = Text::default();
                name.put_cut(Paint::Place, &account.name(self.facts.home), 16, self.pen.ellipsis);
                parts.push(name);
            }
            let mut limits: Vec<_> = account.limits.iter().collect();
            limits.sort_by(|one, other| other.1.used_percentage.total_cmp(&one.1.used_percentage));
            for (key, limit) in limits {
                let mut text = Text::of(Paint::Dim, &format!("{} ", overview::limit_name(key)));
                self.put_gauge(&mut text, key, limit, if columns < 60 { 5 } else { 10 });
                if limit.resets_at_ms > 0 {
                    let left = limit.resets_at_ms.saturating_sub(self.facts.now_ms);
                    text.put(Paint::Dim, &format!(" {}", countdown(left)));
                }
                parts.push(text);
            }
            if nth + 1 == n_lines && n_more > 0 {
                let more = Text::of(Paint::Dim, &format!("+{n_more} more"));
                parts.insert(parts.len().min(2), more);
            }
            // The first line of the screen says what sessions do.
            parts.extend(self.account_without_limits(account, true).into_iter().skip(1));
            fitting(parts, columns)
        };
        accounts.iter().take(n_lines).enumerate().map(line).collect()
    }

    fn sorted_accounts(&self) -> Vec<Account<'a>> {
        let mut accounts = overview::accounts(self.facts.snapshot, self.facts.now_ms);
        let fullest = |account: &Account<'_>| {
            let shares = account.limits.iter().map(|it| it.1.used_percentage);
            shares.fold(-1.0, f64::max)
        };
        accounts.sort_by(|one, other| fullest(other).total_cmp(&fullest(one)));
        accounts
    }

    /// What [`Pen::account`] says, without the parts about limits, which have lines of their own
    /// here. If there is a single account, the first line of the screen says what its sessions do.
    fn account_without_limits(&self, account: &Account<'_>, is_single: bool) -> Vec<Text> {
        let mut parts = self.pen.account(account, self.facts.home);
        let n_after = usize::from(account.today(self.facts.now_ms).is_some());
        let end = parts.len() - n_after;
        parts.drain(end - account.limits.iter().count()..end);
        if is_single {
            parts.drain(1..1 + account.counts().count());
        }
        parts
    }

    /// The gauge of a limit, with a mark for how much of its window has passed, and the number.
    fn put_gauge(&self, text: &mut Text, key: &str, limit: &Limit, columns: usize) {
        let share = limit.used_percentage;
        let paint = match overview::grade(share) {
            Paint::Plain => Paint::Good,
            paint => paint,
        };
        let passed = passed(key, limit, self.facts.now_ms).map(|it| it * 100.0);
        append(text, &self.bars().gauge(paint, share, passed, columns));
        text.put(overview::grade(share), &format!(" {:>4}", percent(share)));
    }

    fn limit_parts(&self, account: &Account<'_>, key: &str, limit: &Limit) -> Vec<Text> {
        let mut parts = Vec::new();
        let now_ms = self.facts.now_ms;
        if limit.resets_at_ms > 0 {
            let left = countdown(limit.resets_at_ms.saturating_sub(now_ms));
            parts.push(Text::of(Paint::Dim, &format!("resets in {left}")));
        }
        let full_ms = account.full_at_ms(limit, now_ms);
        // As of when the use was learned, as the forecast is. At the very beginning of a window,
        // any use at all is many times too much.
        let as_of_ms = if limit.as_of_ms > 0 { limit.as_of_ms } else { now_ms };
        if let Some(passed) = passed(key, limit, as_of_ms).filter(|it| *it >= 0.02) {
            let pace = limit.used_percentage / 100.0 / passed;
            let paint = if full_ms.is_some() { Paint::Warning } else { Paint::Dim };
            parts.push(Text::of(paint, &format!("pace {pace:.1}x")));
        }
        if let Some(full_ms) = full_ms {
            let left = countdown(full_ms - now_ms);
            parts.push(Text::of(Paint::Warning, &format!("full in {left}")));
        }
        if let (Some(used), Some(limit)) = (valid(limit.used_usd), valid(limit.limit_usd)) {
            let amounts = format!("{} of {}", money(used), money(limit));
            parts.push(Text::of(Paint::Dim, &amounts));
        }
        parts
    }

    // ---- One session

    /// What a session is called.
    pub(super) fn title(&self, row: &Row<'_>) -> String {
        let project = row.project().unwrap_or("?");
        row.name().map_or_else(|| project.to_owned(), |name| format!("{project}: {name}"))
    }

    /// Everything about a session, the most important first.
    pub(super) fn detail(&self, row: &Row<'_>, columns: usize, is_whole: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        let room = columns.saturating_sub(LABEL);
        let session = row.session;
        let cell = |column| self.pen.cell(column, row, room);
        let dim = |text: String| Text::of(Paint::Dim, &text);
        let status = cell(Column::Status);
        let waits_for =
            self.pen.cell(Column::WaitsFor, row, room.saturating_sub(status.width() + GAP));
        lines.extend(labelled("status", room, vec![status, waits_for]));
        lines.extend(labelled("context", room, self.context(row, room)));
        lines.extend(labelled("cost", room, self.cost(row)));
        if let Some(last) = &session.last_message {
            let mut text = dim(format!("{} ago: ", self.pen.age(last.at_ms)));
            let preview = last.preview.as_deref().unwrap_or("(previews are off)");
            let left = room.saturating_sub(text.width());
            text.put_cut(Paint::Plain, preview, left, self.pen.ellipsis);
            lines.extend(labelled("message", room, vec![text]));
        }
        lines.extend(labelled("git", room, self.git(row, room)));
        let agents = session.subagents;
        if agents.total > 0 {
            let paint = if agents.running > 0 { Paint::Good } else { Paint::Dim };
            let running = Text::of(paint, &format!("{} at work", agents.running));
            lines.extend(labelled(
                "subagents",
                room,
                vec![running, dim(format!("{} in all", agents.total))],
            ));
        }
        lines.extend(labelled("cache", room, self.cache(row)));
        if let Some(issue) = session.health.issues.first() {
            let paint = match session.health.status {
                HealthStatus::Critical => Paint::Alarm,
                _ => Paint::Warning,
            };
            let n_more = session.health.issues.len() - 1;
            let more = if n_more > 0 { format!("+{n_more} more") } else { String::new() };
            let mut text = Text::default();
            text.put_cut(paint, issue, room, self.pen.ellipsis);
            lines.extend(labelled("health", room, vec![text, dim(more)]));
        }
        if let Some(costs) = self.facts.usage.and_then(|it| it.sessions.get(&row.id.0)) {
            let shown = &costs[N_QUARTERS - room.min(N_QUARTERS)..];
            let sum = money(shown.iter().sum());
            let hours = shown.len() / 4;
            let values: Vec<_> = shown.iter().copied().map(Some).collect();
            let chart = self.bars().chart(&values, 1, if is_whole { 4 } else { 1 });
            let n_rows = chart.len();
            for (nth, bars) in chart.into_iter().enumerate() {
                let label = if nth + 1 == n_rows { "over time" } else { "" };
                let said = dim(format!("{sum} in {hours}h"));
                let mut text = Text::of(Paint::Dim, &format!("{label:<LABEL$}"));
                append(&mut text, &bars);
                lines.push(match nth + 1 == n_rows && room >= shown.len() + GAP + said.width() {
                    true => vec![text, blanks(GAP), said],
                    false => vec![text],
                });
            }
        }
        let style = session.output_style.as_deref().map(|it| format!("style {it}"));
        let version = session.client_version.as_deref().map(|it| format!("version {it}"));
        lines.extend(labelled(
            "model",
            room,
            vec![
                cell(Column::Model),
                dim(style.unwrap_or_default()),
                dim(version.unwrap_or_default()),
            ],
        ));
        if let Some(pr) = &session.pr {
            let kind = if pr.kind.as_deref() == Some("mr") { "!" } else { "#" };
            let state = pr.review_state.as_deref().unwrap_or_default().replace('_', " ");
            lines.extend(labelled(
                "pull req.",
                room,
                vec![
                    Text::of(Paint::Plain, &format!("{kind}{}", pr.number)),
                    dim(state),
                    dim(pr.url.clone().unwrap_or_default()),
                ],
            ));
        }
        let job = session.job.as_ref();
        let job = job.map(|it| it.name.as_deref().unwrap_or(&it.id).to_owned());
        lines.extend(labelled("job", room, vec![Text::of(Paint::Plain, &job.unwrap_or_default())]));
        if let Some(cwd) = &session.cwd {
            let home = self.facts.home;
            let rest = home.and_then(|it| cwd.strip_prefix(it)).filter(|it| it.starts_with('/'));
            let shown = rest.map_or_else(|| cwd.clone(), |rest| format!("~{rest}"));
            let mut text = Text::default();
            text.put_cut(Paint::Place, &shown, room, self.pen.ellipsis);
            lines.extend(labelled("directory", room, vec![text]));
        }
        let pid = session.pid.map(|it| format!("process {it}")).unwrap_or_default();
        lines.extend(labelled("id", room, vec![Text::of(Paint::Plain, &row.id.0), dim(pid)]));
        lines
    }

    fn context(&self, row: &Row<'_>, room: usize) -> Vec<Text> {
        let session = row.session;
        let Some(context) = &session.context else { return Vec::new() };
        let mut parts = Vec::new();
        if let Some(share) = valid(context.used_percentage) {
            let own = self.facts.snapshot.display.segments.get("context").and_then(|it| it.mark);
            let mark = own.unwrap_or(COMPACTED_AT);
            let paint = match overview::grade(share) {
                Paint::Plain => Paint::Good,
                paint => paint,
            };
            let mut text = self.bars().gauge(paint, share, Some(mark), (room / 3).clamp(8, 30));
            text.put(overview::grade(share), &format!(" {}", percent(share)));
            if let Some(window) = context.window {
                text.put(Paint::Dim, &format!(" of {}", tokens(window)));
            }
            parts.push(text);
            let said = match mark - share {
                left if left > 0.0 => {
                    format!("{} to compaction at {}", percent(left), percent(mark))
                }
                _ => format!("compaction is due from {} on", percent(mark)),
            };
            parts.push(Text::of(Paint::Dim, &said));
        } else if let Some(count) = context.tokens {
            parts.push(Text::of(Paint::Plain, &format!("{} tokens", tokens(count))));
        }
        if session.compactions > 0 {
            let said = format!("compacted {}x", session.compactions);
            parts.push(Text::of(Paint::Dim, &said));
        }
        parts
    }

    fn cost(&self, row: &Row<'_>) -> Vec<Text> {
        let session = row.session;
        let mut parts =
            vec![self.pen.cell(Column::Cost, row, 0), self.pen.cell(Column::Burn, row, 0)];
        let by_client = session.cost.as_ref().is_some_and(|it| it.source == CostSource::Client);
        if let Some(ms) = session.duration_ms.filter(|_| by_client) {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            // Whole minutes: the watcher learns the time only at each reply.
            parts.push(Text::of(Paint::Dim, &format!("in {}", elapsed(ms.max(MINUTE_MS)))));
        }
        if session.turns > 0 {
            parts.push(Text::of(Paint::Dim, &format!("{} prompts", session.turns)));
        }
        if let Some(lines) = session.lines {
            let mut text = Text::of(Paint::Good, &format!("+{}", lines.added));
            text.put(Paint::Dim, " ");
            text.put(Paint::Removed, &format!("-{}", lines.removed));
            text.put(Paint::Dim, " lines");
            parts.push(text);
        }
        parts
    }

    fn git(&self, row: &Row<'_>, room: usize) -> Vec<Text> {
        let Some(repo) = row.repo else { return Vec::new() };
        let mut parts = vec![self.pen.cell(Column::Branch, row, room.min(40))];
        for (count, paint, word) in [
            (repo.conflicts, Paint::Alarm, "in conflict"),
            (repo.staged, Paint::Good, "staged"),
            (repo.unstaged, Paint::Changed, "changed"),
            (repo.untracked, Paint::Dim, "untracked"),
            (repo.stashes, Paint::Dim, "stashed"),
        ] {
            if count > 0 {
                parts.push(Text::of(paint, &format!("{count} {word}")));
            }
        }
        if let Some(operation) = &repo.operation {
            parts.insert(1, Text::of(Paint::Warning, operation));
        }
        if repo.upstream_gone {
            parts.push(Text::of(Paint::Warning, "upstream is gone"));
        }
        if let Some(worktree) = &repo.worktree {
            parts.push(Text::of(Paint::Dim, &format!("working tree {worktree}")));
        }
        if let Some(error) = &repo.error {
            parts.push(Text::of(Paint::Warning, error));
        }
        parts
    }

    fn cache(&self, row: &Row<'_>) -> Vec<Text> {
        let session = row.session;
        let Some(ratio) = valid(session.cache_hit_ratio) else { return Vec::new() };
        let used = session.tokens;
        vec![
            Text::of(Paint::Plain, &format!("{} hits", percent(ratio * 100.0))),
            Text::of(Paint::Dim, &format!("{} read", tokens(used.cache_read))),
            Text::of(Paint::Dim, &format!("{} written", tokens(used.cache_write))),
            Text::of(Paint::Dim, &format!("{} input", tokens(used.input))),
            Text::of(Paint::Dim, &format!("{} output", tokens(used.output))),
        ]
    }

    // ---- Usage

    /// What was used in the last hours and days, in at most so many lines.
    pub(super) fn usage(&self, columns: usize, n_lines: usize) -> Vec<Line> {
        let Some(usage) = self.facts.usage else {
            return vec![vec![Text::of(Paint::Dim, "the record of usage is being read")]];
        };
        let mut lines = if n_lines < 8 {
            self.usage_in_short(usage, columns)
        } else {
            self.charts(usage, columns, n_lines)
        };
        if usage.n_problems > 0 {
            let what = "part of the record cannot be read: ccstatusd usage says which";
            lines.insert(0, vec![Text::of(Paint::Warning, what)]);
        }
        lines.truncate(n_lines);
        lines
    }

    fn usage_in_short(&self, usage: &Usage, columns: usize) -> Vec<Line> {
        let days: Vec<Option<Amount>> = usage.days.iter().map(|it| it.1).collect();
        let line = |label: &str, amounts: &[Option<Amount>]| {
            let sum = self.sum(amounts);
            let head = Text::of(Paint::Dim, &format!("{label:<LABEL$}"));
            let room = columns.saturating_sub(LABEL + GAP + width(&sum)).min(amounts.len());
            let values = dollars(&amounts[amounts.len() - room..]);
            let bars = self.bars().chart(&values, 1, 1).remove(0);
            vec![head, bars, blanks(GAP), Text::of(Paint::Plain, &sum)]
        };
        vec![line("24 hours", &usage.hours), line("14 days", &days)]
    }

    fn charts(&self, usage: &Usage, columns: usize, n_lines: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        let titled = |what: &str, amounts: &[Option<Amount>]| {
            let sum = Text::of(Paint::Plain, &self.sum(amounts));
            fitting(vec![Text::of(Paint::Dim, what), sum], columns)
        };
        // Its title, the hours below it, and the title of the days.
        let n_days = n_lines.saturating_sub(6).clamp(2, N_DAYS);
        let n_rows = n_lines.saturating_sub(n_days + 3).clamp(2, 6);
        let n_days = n_lines.saturating_sub(n_rows + 3).min(N_DAYS);
        lines.push(titled("last 24 hours", &usage.hours));
        let each = (columns / N_HOURS).clamp(1, 3);
        let values = dollars(&usage.hours);
        let n_shown = values.len().min(columns);
        let first = values.len() - n_shown;
        lines.extend(
            self.bars().chart(&values[first..], each, n_rows).into_iter().map(|it| vec![it]),
        );
        lines.push(vec![Text::of(Paint::Dim, &hour_marks(usage.hour, n_shown, each))]);
        let days = &usage.days[usage.days.len() - n_days..];
        let amounts: Vec<Option<Amount>> = days.iter().map(|it| it.1).collect();
        lines.push(titled(&format!("last {n_days} days"), &amounts));
        let most = amounts.iter().flatten().map(|it| it.usd).fold(0.0, f64::max);
        let sums: Vec<String> = amounts.iter().map(|it| self.sum(&[*it])).collect();
        let sum_width = sums.iter().map(|it| width(it)).max().unwrap_or(0);
        for ((day, amount), sum) in days.iter().zip(&sums).rev() {
            let date = format!("{} {:>2} ", weekday(day.weekday()), day.day());
            let mut text = Text::of(Paint::Dim, &date);
            let blank = sum_width - width(sum);
            let paint = if amount.is_some() { Paint::Plain } else { Paint::Dim };
            text.put(paint, &format!("{}{sum} ", " ".repeat(blank)));
            let room = columns.saturating_sub(text.width());
            let share = amount.filter(|_| most > 0.0).map_or(0.0, |it| it.usd / most);
            append(&mut text, &self.bars().bar(share, room));
            lines.push(vec![text]);
        }
        lines
    }

    /// The sum of what is known.
    fn sum(&self, amounts: &[Option<Amount>]) -> String {
        let mut sum = None;
        for amount in amounts.iter().flatten() {
            sum.get_or_insert_with(Amount::default).add(*amount);
        }
        sum.map_or_else(|| UNKNOWN.to_owned(), |it| self.pen.cost(it.unpriced, it.usd))
    }

    // ---- Help

    pub(super) fn help(&self) -> Vec<Line> {
        let line = |(key, what): &(&str, &str)| {
            let mut text = Text::of(Paint::Place, &format!("{key:<KEY$}"));
            text.put(Paint::Plain, what);
            vec![text]
        };
        let keys = [
            ("q", "quit (Ctrl-C too); Ctrl-Z stops it, and fg goes on"),
            ("j k, arrows", "choose the next or the previous session"),
            ("g G", "choose the first or the last one"),
            ("Ctrl-D -U", "half a screen down or up"),
            ("Enter", "the chosen session alone; Space scrolls it; Esc goes back"),
            ("t", "show the pane of tmux in which the chosen session runs"),
            ("/", "list only sessions with these words; Esc lists all again"),
            ("s", "another order: waiting, cost, context, activity, project"),
            ("a", "list those that have ended, too"),
            ("Ctrl-L", "draw everything again"),
            ("", ""),
            ("pace", "1.0x uses a limit up just when it resets; the line in"),
            ("", "its gauge is how much of the time has passed"),
            ("context", "the line is where it is expected to be compacted"),
            ("cost", "what stands behind a ≥ lacks models without a price"),
            (UNKNOWN, "the record of usage begins later: nothing is known"),
        ];
        let mut lines: Vec<Line> = keys.iter().map(line).collect();
        for activity in Activity::ALL {
            let about = match activity {
                Activity::Waiting => "it waits for you",
                Activity::Busy => "it works on a prompt",
                Activity::Shell => "a shell that it started runs in the background",
                Activity::Idle => "it waits for a prompt",
                Activity::Unknown => "nothing says what it does",
                Activity::Ended => "it has ended",
            };
            let symbol = activity.symbol(self.pen.is_ascii);
            let key = format!("{symbol} {:<1$}", activity.word(), KEY - 2);
            let mut text = Text::of(activity.paint(), &key);
            text.put(Paint::Plain, about);
            lines.push(vec![text]);
        }
        lines
    }
}

/// The share of a limit's window that has passed at this time, from 0 to 1. `None` where that is
/// not known.
fn passed(key: &str, limit: &Limit, at_ms: i64) -> Option<f64> {
    let length_ms = window_ms(key).filter(|_| limit.resets_at_ms > 0)?;
    let left_ms = limit.resets_at_ms.saturating_sub(at_ms);
    Some((1.0 - left_ms as f64 / length_ms as f64).clamp(0.0, 1.0))
}

/// A name, and the parts that fit beside it. `None` where there is nothing to say.
fn labelled(label: &str, room: usize, parts: Vec<Text>) -> Option<Line> {
    let parts = fitting(parts, room);
    let mut line = vec![Text::of(Paint::Dim, &format!("{label:<LABEL$}"))];
    line.extend(parts);
    (line.len() > 1).then_some(line)
}

/// The parts that fit side by side, each before those behind it.
fn fitting(parts: Vec<Text>, columns: usize) -> Line {
    let mut line = Vec::new();
    let mut taken = 0;
    for part in parts.into_iter().filter(|it| !it.is_blank()) {
        let gap = if line.is_empty() { 0 } else { GAP };
        if line.is_empty() || taken + gap + part.width() <= columns {
            taken += gap + part.width();
            line.extend((gap > 0).then(|| blanks(gap)));
            line.push(part);
        }
    }
    line
}

fn append(text: &mut Text, more: &Text) {
    for (paint, piece, _) in more.pieces() {
        text.put(paint, piece);
    }
}

pub(super) fn blanks(count: usize) -> Text {
    Text::of(Paint::Dim, &" ".repeat(count))
}

/// As values of bars.
fn dollars(amounts: &[Option<Amount>]) -> Vec<Option<f64>> {
    amounts.iter().map(|amount| amount.map(|it| it.usd)).collect()
}

/// The hours of the day below their bars, where there is room for one.
fn hour_marks(last: i8, n_hours: usize, columns: usize) -> String {
    let mut marks = String::new();
    for nth in 0..n_hours {
        let hour = (i64::from(last) + 1 - (n_hours - nth) as i64).rem_euclid(24);
        let mark = if hour % 6 == 0 { format!("{hour:02}") } else { String::new() };
        let start = nth * columns;
        if !mark.is_empty() && start >= marks.len() && start + 2 <= n_hours * columns {
            marks += &" ".repeat(start - marks.len());
            marks += &mark;
        }
    }
    marks
}

fn weekday(day: jiff::civil::Weekday) -> &'static str {
    use jiff::civil::Weekday::*;
    match day {
        Monday => "Mon",
        Tuesday => "Tue",
        Wednesday => "Wed",
        Thursday => "Thu",
        Friday => "Fri",
        Saturday => "Sat",
        Sunday => "Sun",
    }
}
