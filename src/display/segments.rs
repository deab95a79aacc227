//! PURE. What the line says: one table row a segment, one function a row.
//!
//! A segment has one source and one scope, and its doc is its manual. It says nothing when its
//! fact is unknown. **Invariant:** a fact from the snapshot that is older than its source lets
//! it become carries its age.

use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

use crate::store::schema::{BlockSource, CostSource, Limit, Limits, Repo, Usage};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

use super::layout::{Cell, Text};
use super::scope::Scope;
use super::theme::Paint::{self, Alarm, Branch, Dim, Place, Plain, Staged, Warning};
use super::{Source, View, Watcher};

/// How a segment is drawn.
type Draw = fn(&View<'_>, &Scope<'_>) -> Option<Text>;

/// The line from left to right. The number is the rank in which columns are given out: what
/// tells old from new comes before what is merely interesting.
const SEGMENTS: &[(u8, Draw)] = &[
    (5, directory),
    (3, git),
    (6, git_error),
    (8, model),
    (4, context),
    (9, session_cost),
    (11, block),
    (12, today),
    (10, five_hour_limit),
    (13, seven_day_limit),
    (14, spend_limit),
    (7, degraded),
    (0, snapshot),
    (1, drawn_at),
];

/// The rank of what wants a look now: behind where one is and on which branch.
const ALARM_RANK: u8 = 4;

/// How old git's answer may be: the watcher asks again after every change that it can see, and
/// every half a minute while somebody looks.
const GIT_FRESH_MS: i64 = MINUTE_MS;
/// The watcher confirms usage every minute while a session lives.
const USAGE_FRESH_MS: i64 = 150 * SECOND_MS;
/// Limits are told with each reply, and move slowly.
const LIMITS_FRESH_MS: i64 = 15 * MINUTE_MS;

/// Columns that names and reasons of others may take.
const NAME_COLUMNS: usize = 40;
const REASON_COLUMNS: usize = 56;

/// Draws every segment that has something to say; at least one always has.
pub(super) fn draw(view: &View<'_>, scope: &Scope<'_>) -> Vec<Cell> {
    let draw = |&(rank, draw): &(u8, Draw)| {
        let text = draw(view, scope)?;
        // What wants a look now is seen on narrow terminals, too.
        let rank = if text.has(Alarm) { rank.min(ALARM_RANK) } else { rank };
        Some(Cell { rank, text })
    };
    let mut cells: Vec<Cell> = SEGMENTS.iter().filter_map(draw).collect();
    if cells.is_empty() {
        let text = Text::of(Dim, "ccstatusd: nothing known about this session yet");
        cells.push(Cell { rank: 0, text });
    }
    cells
}

/// Where the session works: stdin, else the session. `~` is home, and every directory above the
/// last is shortened to its first letter, as fish does it.
fn directory(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let session = scope.session.and_then(|it| it.cwd.as_deref());
    let cwd = view.client.cwd.as_deref().or(session)?;
    Some(Text::of(Place, shorten(cwd, view.home)).cut(NAME_COLUMNS))
}

/// The working tree: branch, or the commit where detached (`@1a2b3c4`) · linked worktree · `⇡`
/// ahead `⇣` behind · `*` stashed · operation in progress · `=` conflicts `+` staged `!` changed
/// `?` untracked.
fn git(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let repo = scope.repo.filter(|it| it.as_of_ms > 0)?;
    let is_old = repo.error.is_some() || age(view, repo.as_of_ms) > GIT_FRESH_MS;
    let text = tree(repo);
    Some(if is_old { text.and(Dim, ago(view, repo.as_of_ms)) } else { text })
}

/// What git refuses to tell, in its own words, and never shown as clean.
fn git_error(_: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let error = scope.repo?.error.as_ref()?;
    Some(Text::of(Warning, format!("git: {error}")).cut(REASON_COLUMNS))
}

/// The model: stdin, else the session's newest reply. The size of its context, which some names
/// carry in parentheses, stands with the context.
fn model(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let session = scope.session.and_then(|it| it.model.as_ref());
    let model = view.client.model.as_ref().or(session)?;
    let name = model.display_name.as_deref().filter(|it| !it.is_empty()).unwrap_or(&model.id);
    let name = name.split_once(" (").map_or(name, |(name, _)| name);
    Some(Text::of(Plain, name).cut(NAME_COLUMNS))
}

/// How full the context is: stdin, else the session. Tokens where the share is not known.
fn context(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let session = scope.session.and_then(|it| it.context.as_ref());
    let stated = view.client.context_used_percentage;
    let label = Text::of(Dim, "ctx ");
    if let Some(used) = number(stated.or(session.and_then(|it| it.used_percentage))) {
        let window = view.client.context_window.or(session.and_then(|it| it.window));
        let of = window.filter(|&it| it > 200_000).map(|it| format!(" of {}", tokens(it)));
        return Some(label.join(percentage(used, 80.0, 95.0)).and(Dim, of.unwrap_or_default()));
    }
    let used = view.client.context_tokens.or(session.and_then(|it| it.tokens))?;
    Some(label.and(Plain, tokens(used)))
}

/// What the session cost: stdin, else the session.
fn session_cost(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    if let Some(usd) = number(view.client.cost_usd) {
        return Some(Text::of(Plain, money(usd)));
    }
    let cost = scope.session?.cost.as_ref()?;
    let usd = number(Some(cost.usd))?;
    let usage = scope.root.and_then(|it| it.usage.as_ref());
    // Our own accounting misses what has no price; the client's estimate is its own business.
    let ours = usage.filter(|_| cost.source == CostSource::Transcript);
    Some(Text::of(Plain, ours.map_or(money(usd), |it| money_of(it, usd))))
}

/// The account's active block, as the transcripts or another tool say: cost and time left. A block
/// that ended is not shown.
fn block(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let usage = scope.root?.usage.as_ref()?;
    let block = usage.block.as_ref().filter(|it| view.now_ms < it.end_ms)?;
    let usd = number(Some(block.cost_usd))?;
    let (cost, as_of_ms) = match block.source {
        BlockSource::Transcripts => (money_of(usage, usd), usage.as_of_ms),
        // It has prices of its own, and answers when it can.
        BlockSource::Ccusage => (money(usd), block.as_of_ms),
    };
    let left = format!(" {} left", countdown(block.end_ms.saturating_sub(view.now_ms)));
    let text = Text::of(Dim, "block ").and(Plain, cost).and(Dim, left);
    Some(marked(text, view, as_of_ms, USAGE_FRESH_MS))
}

/// The account's cost since midnight. Yesterday's is not shown.
fn today(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let usage = scope.root?.usage.as_ref().filter(|it| view.now_ms < it.day_ends_ms)?;
    let cost = money_of(usage, number(Some(usage.today.cost_usd))?);
    let text = Text::of(Dim, "today ").and(Plain, cost);
    Some(marked(text, view, usage.as_of_ms, USAGE_FRESH_MS))
}

/// The account's five-hour limit, and when it starts again.
fn five_hour_limit(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    limit(view, scope, "5h ", |it| it.five_hour)
}

/// The account's weekly limit, and when it starts again.
fn seven_day_limit(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    limit(view, scope, "7d ", |it| it.seven_day)
}

/// The account's spending limit, and when it starts again.
fn spend_limit(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    limit(view, scope, "spend ", |it| it.spend_limit)
}

/// The first failing source that has a part in this line, and why it fails. Git's failures stand
/// with git's facts where there are any.
fn degraded(_: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let said_by_git = scope.repo.is_some_and(|it| it.error.is_some());
    let mut left =
        scope.degraded.iter().filter(|it| !(said_by_git && it.source.starts_with("git:")));
    let first = left.next()?;
    let kind = first.source.split_once(':').map_or(first.source.as_str(), |(kind, _)| kind);
    let text = Text::of(Warning, format!("{kind}: {}", first.reason)).cut(REASON_COLUMNS);
    Some(text.join(more(1 + left.count())))
}

/// What the snapshot itself is good for, where that is not everything: whether anybody keeps the
/// rest true, and since when nobody did.
fn snapshot(view: &View<'_>, scope: &Scope<'_>) -> Option<Text> {
    let text = match view.source {
        Source::Missing if view.watcher == Watcher::Gone => {
            "no data yet: start ccstatusd".to_owned()
        }
        Source::Missing => "no data yet".to_owned(),
        Source::Unreadable => "snapshot is unreadable".to_owned(),
        Source::Newer => "snapshot is from a newer ccstatusd".to_owned(),
        Source::Snapshot(_) if view.watcher != Watcher::Gone => return None,
        Source::Snapshot(_) => {
            format!("data {} old, no watcher", units(age(view, scope.published_at_ms?)))
        }
    };
    Some(Text::of(Warning, text))
}

/// The local time, on a line that is read later than it is drawn.
fn drawn_at(view: &View<'_>, _: &Scope<'_>) -> Option<Text> {
    Some(Text::of(Dim, view.drawn_at?))
}

fn tree(repo: &Repo) -> Text {
    let mut text = match (&repo.branch, &repo.commit) {
        (Some(branch), _) => Text::of(Branch, branch).cut(NAME_COLUMNS),
        (None, Some(commit)) => {
            Text::of(Branch, format!("@{}", commit.chars().take(7).collect::<String>()))
        }
        (None, None) => Text::of(Branch, "no commit"),
    };
    if repo.bare {
        text = text.and(Dim, " bare");
    }
    if let Some(worktree) = &repo.worktree {
        text = text.join(Text::of(Dim, format!(" in {worktree}")).cut(NAME_COLUMNS));
    }
    if repo.ahead > 0 || repo.behind > 0 {
        text = text.and(Plain, " ");
        text = counted(text, Plain, "⇡", repo.ahead);
        text = counted(text, Plain, "⇣", repo.behind);
    }
    text = counted(text, Dim, " *", repo.stashes);
    if let Some(operation) = &repo.operation {
        text = text.join(Text::of(Alarm, format!(" {operation}")).cut(NAME_COLUMNS));
    }
    text = counted(text, Alarm, " =", repo.conflicts);
    text = counted(text, Staged, " +", repo.staged);
    text = counted(text, Warning, " !", repo.unstaged);
    counted(text, Warning, " ?", repo.untracked)
}

fn counted(text: Text, paint: Paint, symbol: &str, count: u64) -> Text {
    if count == 0 { text } else { text.and(paint, format!("{symbol}{count}")) }
}

fn limit(
    view: &View<'_>,
    scope: &Scope<'_>,
    label: &str,
    window: fn(&Limits) -> Option<Limit>,
) -> Option<Text> {
    let holds = |it: &Limit| view.now_ms < it.resets_at_ms;
    let stated = window(&view.client.limits).filter(holds);
    let kept = scope.root.and_then(|it| window(&it.limits)).filter(holds);
    let (limit, is_stated) = match (stated, kept) {
        (Some(stated), Some(kept)) if is_newer(&kept, &stated) => (kept, false),
        (Some(stated), _) => (stated, true),
        (None, kept) => (kept?, false),
    };
    let used = percentage(number(Some(limit.used_percentage))?, 80.0, 95.0);
    let left = format!(" ↻{}", countdown(limit.resets_at_ms.saturating_sub(view.now_ms)));
    let text = Text::of(Dim, label).join(used).and(Dim, left);
    let as_of_ms = if is_stated { view.now_ms } else { limit.as_of_ms };
    Some(marked(text, view, as_of_ms, LIMITS_FRESH_MS))
}

/// The client repeats what its session's last reply told it, however long ago that was, and does
/// not say when. But a window only fills up, until the next one begins: so the fuller one of two
/// observations, or the one of a later window, is the newer. What both agree on, the snapshot
/// can date.
fn is_newer(kept: &Limit, stated: &Limit) -> bool {
    let later = kept.resets_at_ms.saturating_sub(stated.resets_at_ms);
    if later.abs() < MINUTE_MS { kept.used_percentage >= stated.used_percentage } else { later > 0 }
}

/// Adds its age to a fact that is older than its source lets it become.
fn marked(text: Text, view: &View<'_>, as_of_ms: i64, fresh_ms: i64) -> Text {
    let old = age(view, as_of_ms) > fresh_ms;
    if old { text.and(Dim, ago(view, as_of_ms)) } else { text }
}

fn ago(view: &View<'_>, as_of_ms: i64) -> String {
    format!(" {} ago", units(age(view, as_of_ms)))
}

/// A fact from the future was written under another clock: it is as new as can be.
fn age(view: &View<'_>, as_of_ms: i64) -> i64 {
    view.now_ms.saturating_sub(as_of_ms).max(0)
}

/// An age, in one unit: it warns, it does not measure.
fn units(ms: i64) -> String {
    match ms {
        ..MINUTE_MS => format!("{}s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{}m", ms / MINUTE_MS),
        HOUR_MS..DAY_MS => format!("{}h", ms / HOUR_MS),
        _ => format!("{}d", ms / DAY_MS),
    }
}

/// Time left, in two units: people plan with it.
fn countdown(ms: i64) -> String {
    let minutes = ms / MINUTE_MS % 60;
    match ms {
        ..MINUTE_MS => "<1m".to_owned(),
        MINUTE_MS..HOUR_MS => format!("{minutes}m"),
        HOUR_MS..DAY_MS => format!("{}h{minutes:02}m", ms / HOUR_MS),
        _ => format!("{}d{:02}h", ms / DAY_MS, ms / HOUR_MS % 24),
    }
}

/// A share in whole percent, in the colour of its threshold.
fn percentage(used: f64, warning: f64, alarm: f64) -> Text {
    let paint = match used {
        it if it >= alarm => Alarm,
        it if it >= warning => Warning,
        _ => Plain,
    };
    Text::of(paint, format!("{used:.0}%"))
}

/// What is no number or below zero is not known.
fn number(value: Option<f64>) -> Option<f64> {
    value.filter(|it| it.is_finite() && *it >= 0.0)
}

fn money(usd: f64) -> String {
    if usd < 100.0 { format!("${usd:.2}") } else { format!("${usd:.0}") }
}

/// Money of an account in which something has no price is a lower bound.
fn money_of(usage: &Usage, usd: f64) -> String {
    let bound = if usage.unpriced_models.is_empty() { "" } else { "≥" };
    format!("{bound}{}", money(usd))
}

fn tokens(count: u64) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// How many of a list are not shown.
fn more(count: usize) -> Text {
    if count > 1 { Text::of(Dim, format!(" +{} more", count - 1)) } else { Text::default() }
}

fn shorten(path: &str, home: Option<&str>) -> String {
    let home = home.filter(|it| Path::new(it).parent().is_some());
    let (start, rest) = match home.and_then(|it| Path::new(path).strip_prefix(it).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => return "~".to_owned(),
        Some(rest) => ("~/", rest.to_str().unwrap_or_default()),
        None => path.strip_prefix('/').map_or(("", path), |rest| ("/", rest)),
    };
    let rest = rest.trim_end_matches('/');
    let (above, last) = rest.rsplit_once('/').unwrap_or(("", rest));
    let mut short = start.to_owned();
    for directory in above.split('/').filter(|it| !it.is_empty()) {
        // One letter says nothing of a hidden directory.
        let shown = if directory.starts_with('.') { 2 } else { 1 };
        short.extend(directory.graphemes(true).take(shown).chain(["/"]));
    }
    short + last
}
