//! PURE. Segments about the account: what was used, and what is left of its limits.

use super::segment::{AGE, BAR, Pen, Segment, Symbol, put};
use crate::display::numbers::{countdown, money, percent, time_of_day, tokens, valid};
use crate::display::paint::Paint::{Dim, Plain, Warning};
use crate::display::text::Text;
use crate::store::schema::{Block, BlockSource, Limit, Limits, Tokens, Totals, Usage};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// Usage shows its age when it is older than this. The watcher confirms it every minute while a
/// session is live.
const USAGE_FRESH_MS: i64 = 150 * SECOND_MS;
/// Limits show their age when they are older than this. They are reported with each reply, and
/// change slowly.
const LIMITS_FRESH_MS: i64 = 15 * MINUTE_MS;

const AT_LEAST: Symbol = Symbol("at_least", "≥", ">=");

/// What the segments of sums have in common.
const TOTALS: Segment = Segment {
    parts: &[("cost", "in dollars; `≥` if a model's price is not known"), ("tokens", "in tokens")],
    symbols: &[AT_LEAST],
    ..Segment::DEFAULT
};

/// What the segments of limits have in common.
const LIMIT: Segment = Segment {
    parts: &[
        ("percent", "how much is used"),
        ("remaining", "how much is left"),
        ("bar", "how much is used as a bar, with a mark at the share of the time that is over"),
        ("left", "the time until it resets"),
        ("at", "the local time at which it resets, with the day unless that is today"),
        ("pace", "the share that is used minus the share of the time that is over"),
        ("full", "the time until all of it is used, if that is before it resets"),
    ],
    thresholds: Some((80.0, 95.0)),
    bar_width: 10,
    max_width: 60,
    symbols: &[
        BAR[0],
        BAR[1],
        BAR[2],
        Symbol("left", "↻", "resets "),
        Symbol("ahead", "▲", "+"),
        Symbol("behind", "▼", "-"),
        Symbol("full_in", "full in ", "full in "),
    ],
    ..Segment::DEFAULT
};

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "today",
        about: "What the account used since midnight, by its transcripts and at list prices.",
        format: "today {cost}",
        priority: 46,
        draw: |pen, part, out| {
            // After midnight, the sums are those of yesterday.
            let usage = usage(pen).filter(|it| pen.view.now_ms < it.day_ends_ms)?;
            totals(pen, part, out, usage, &usage.today)
        },
        ..TOTALS
    },
    Segment {
        name: "week",
        about: "What the account used since the first day of the week, at list prices.",
        format: "week {cost}",
        draw: |pen, part, out| {
            let usage = usage(pen)?;
            totals(pen, part, out, usage, &usage.week)
        },
        ..TOTALS
    },
    Segment {
        name: "month",
        about: "What the account used since the first day of the month, at list prices.",
        format: "month {cost}",
        draw: |pen, part, out| {
            let usage = usage(pen)?;
            totals(pen, part, out, usage, &usage.month)
        },
        ..TOTALS
    },
    Segment {
        name: "block",
        about: "The account's active five-hour block, at list prices.",
        parts: &[
            ("cost", "in dollars; `≥` if a model's price is not known"),
            ("tokens", "in tokens"),
            ("bar", "how much of its time is over"),
            ("left", "the time until it ends"),
        ],
        format: "block {cost}( {left} left)",
        short: "block {cost}",
        priority: 50,
        bar_width: 10,
        max_width: 60,
        symbols: &[AT_LEAST, BAR[0], BAR[1]],
        draw: block_part,
        ..Segment::DEFAULT
    },
    Segment {
        name: "burn",
        about: "How fast the account uses its active block.",
        parts: &[("cost", "dollars per hour"), ("tokens", "tokens per minute")],
        format: "{cost}/h",
        draw: burn,
        ..Segment::DEFAULT
    },
    Segment {
        name: "projection",
        about: "What the account's active block will come to at the present rate.",
        parts: &[("cost", "in dollars"), ("tokens", "in tokens")],
        format: "{cost} at the end",
        draw: projection,
        ..Segment::DEFAULT
    },
    Segment {
        name: "five_hour",
        about: "How much of the account's five-hour limit is used, as reported last to any of its \
                sessions.",
        format: "5h {percent}( {left})( {full})",
        short: "5h {percent}( {full})",
        priority: 62,
        draw: |pen, part, out| limit(pen, part, out, Some(5 * HOUR_MS), |it| it.five_hour),
        ..LIMIT
    },
    Segment {
        name: "seven_day",
        about: "How much of the account's weekly limit is used.",
        format: "7d {percent}( {left})( {full})",
        short: "7d {percent}( {full})",
        priority: 42,
        draw: |pen, part, out| limit(pen, part, out, Some(7 * DAY_MS), |it| it.seven_day),
        ..LIMIT
    },
    Segment {
        name: "spend_limit",
        about: "How much of the account's spending limit is used, which can exceed 100 %.",
        parts: &[
            ("percent", "how much is used"),
            ("remaining", "how much is left"),
            ("bar", "how much is used as a bar"),
            ("left", "the time until it resets"),
            ("at", "the local time at which it resets, with the day unless that is today"),
            ("full", "the time until all of it is used, if that is before it resets"),
        ],
        symbols: &[
            BAR[0],
            BAR[1],
            Symbol("left", "↻", "resets "),
            Symbol("full_in", "full in ", "full in "),
        ],
        format: "spend {percent}( {left})( {full})",
        short: "spend {percent}( {full})",
        priority: 38,
        draw: |pen, part, out| limit(pen, part, out, None, |it| it.spend_limit),
        ..LIMIT
    },
];

fn usage<'a>(pen: &Pen<'a>) -> Option<&'a Usage> {
    pen.scope.root?.usage.as_ref()
}

fn totals(pen: &Pen<'_>, part: &str, out: &mut Text, usage: &Usage, totals: &Totals) -> Option<()> {
    match part {
        "cost" => cost(pen, out, totals.unpriced, totals.cost_usd),
        "tokens" => put(out, Plain, &tokens(sum(totals.tokens))),
        AGE => pen.put_age_if_old(out, usage.as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn sum(Tokens { input, output, cache_write, cache_read }: Tokens) -> u64 {
    [input, output, cache_write, cache_read].into_iter().fold(0, u64::saturating_add)
}

/// Writes a cost. If the cost of some entries is unknown, it is a lower bound.
fn cost(pen: &Pen<'_>, out: &mut Text, unpriced: u64, usd: f64) -> Option<()> {
    let usd = valid(Some(usd))?;
    if unpriced > 0 {
        out.put(Plain, pen.symbol("at_least"));
    }
    put(out, Plain, &money(usd))
}

/// The active block, and the time at which it was as it is shown.
fn block<'a>(pen: &Pen<'a>) -> Option<(&'a Block, i64)> {
    let usage = usage(pen)?;
    let block = usage.block.as_ref().filter(|it| pen.view.now_ms < it.end_ms)?;
    let as_of_ms = match block.source {
        BlockSource::Transcripts => usage.as_of_ms,
        // It has a time of its own: the tool may fail while our own usage is confirmed.
        BlockSource::Ccusage => block.as_of_ms,
    };
    Some((block, as_of_ms))
}

fn block_part(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (block, as_of_ms) = block(pen)?;
    match part {
        "cost" => cost(pen, out, block.unpriced, block.cost_usd),
        "tokens" => put(out, Plain, &tokens(sum(block.tokens))),
        "bar" => {
            pen.put_bar(out, elapsed(pen, block.end_ms, 5 * HOUR_MS), None);
            Some(())
        }
        "left" => put(out, Dim, &countdown(pen.left_ms(block.end_ms))),
        AGE => pen.put_age_if_old(out, as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn burn(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (block, as_of_ms) = block(pen)?;
    let burn = block.burn.as_ref()?;
    match part {
        "cost" => cost(pen, out, block.unpriced, burn.cost_per_hour),
        "tokens" => put(out, Plain, &tokens(valid(Some(burn.tokens_per_minute))? as u64)),
        AGE => pen.put_age_if_old(out, as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn projection(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (block, as_of_ms) = block(pen)?;
    let projection = block.projection.as_ref()?;
    match part {
        "cost" => cost(pen, out, block.unpriced, projection.cost_usd),
        "tokens" => put(out, Plain, &tokens(projection.tokens)),
        AGE => pen.put_age_if_old(out, as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn limit(
    pen: &Pen<'_>,
    part: &str,
    out: &mut Text,
    span_ms: Option<i64>,
    window: fn(&Limits) -> Option<Limit>,
) -> Option<()> {
    let now_ms = pen.view.now_ms;
    let is_current = |limit: &Limit| now_ms < limit.resets_at_ms;
    let reported = window(&pen.view.client.limits).filter(is_current);
    let kept = pen.scope.root.and_then(|it| window(&it.limits)).filter(is_current);
    let (limit, is_reported) = match (reported, kept) {
        (Some(reported), Some(kept)) if is_newer(&kept, &reported) => (kept, false),
        (Some(reported), _) => (reported, true),
        (None, kept) => (kept?, false),
    };
    let used = valid(Some(limit.used_percentage))?;
    let clock = span_ms.map(|it| elapsed(pen, limit.resets_at_ms, it));
    match part {
        "percent" => pen.put_percent(out, used),
        "remaining" => pen.put_graded(out, used, &percent((100.0 - used).max(0.0))),
        "bar" => pen.put_bar(out, used, clock),
        "left" => {
            let left = countdown(pen.left_ms(limit.resets_at_ms));
            out.write(Dim, format_args!("{}{left}", pen.symbol("left")));
        }
        "at" => put(out, Dim, &time_of_day(limit.resets_at_ms, now_ms, pen.view.zone?)?)?,
        "pace" => {
            let ahead = used - clock?;
            let symbol = pen.symbol(if ahead >= 0.0 { "ahead" } else { "behind" });
            out.write(Dim, format_args!("{symbol}{:.0}%", ahead.abs()));
        }
        "full" => {
            let same = kept.filter(|it| (it.resets_at_ms - limit.resets_at_ms).abs() < MINUTE_MS);
            // If the forecast time is over and the limit is not used up, the forecast was wrong.
            let to_come = now_ms + 1..limit.resets_at_ms;
            let full_at_ms = same?.full_at_ms.filter(|it| to_come.contains(it))?;
            let left = countdown(pen.left_ms(full_at_ms));
            out.write(Warning, format_args!("{}{left}", pen.symbol("full_in")));
        }
        AGE if !is_reported => return pen.put_age_if_old(out, limit.as_of_ms, LIMITS_FRESH_MS),
        _ => return None,
    }
    Some(())
}

/// How much of the time of a window is over, in percent.
fn elapsed(pen: &Pen<'_>, end_ms: i64, span_ms: i64) -> f64 {
    100.0 - (pen.left_ms(end_ms) as f64 / span_ms as f64 * 100.0).clamp(0.0, 100.0)
}

/// Whether the limit in the snapshot is newer than the one that the client reports.
///
/// The client repeats what came with its session's last reply, and does not say when that was. But
/// a window only fills up until the next one begins: of two reports, the newer is that of the later
/// window, or the fuller one of the same. If they are equal, the one in the snapshot is preferred,
/// because it has a time.
fn is_newer(kept: &Limit, reported: &Limit) -> bool {
    let later = kept.resets_at_ms.saturating_sub(reported.resets_at_ms);
    let is_same_window = later.abs() < MINUTE_MS;
    if is_same_window { kept.used_percentage >= reported.used_percentage } else { later > 0 }
}
