//! PURE. The account: what was used of it, and what is left.

use super::{BAR, Dim, Pen, SEGMENT, Segment, Symbol, Text, Warning, put};
use crate::display::numbers::{countdown, known, money, tokens};
use crate::display::theme::Paint::Plain;
use crate::store::schema::{Block, BlockSource, Limit, Limits, Tokens, Totals, Usage};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// The watcher confirms usage every minute while a session lives.
const USAGE_FRESH_MS: i64 = 150 * SECOND_MS;
/// Limits are told with each reply, and move slowly.
const LIMITS_FRESH_MS: i64 = 15 * MINUTE_MS;

const AT_LEAST: Symbol = Symbol("at_least", "≥", ">=");

const TOTALS: Segment = Segment {
    parts: &[("cost", "in dollars; `≥` where a model has no known price"), ("tokens", "in tokens")],
    symbols: &[AT_LEAST],
    ..SEGMENT
};

const LIMIT: Segment = Segment {
    parts: &[
        ("percent", "how much is used"),
        ("bar", "the same as a bar, with a mark where the clock is"),
        ("left", "when it starts again"),
        ("pace", "how far what is used is ahead of the clock, or behind it"),
        ("full", "when all of it will be used, where that is before it starts again"),
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
    ..SEGMENT
};

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "today",
        about: "What the account used since midnight, by its transcripts, at list prices.",
        format: "today {cost}",
        priority: 46,
        draw: |pen, part, out| {
            // Yesterday's is not shown.
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
            ("cost", "in dollars; `≥` where a model has no known price"),
            ("tokens", "in tokens"),
            ("bar", "how much of its time is over"),
            ("left", "how much time is left"),
        ],
        format: "block {cost}( {left} left)",
        short: "block {cost}",
        priority: 50,
        bar_width: 10,
        max_width: 60,
        symbols: &[AT_LEAST, BAR[0], BAR[1]],
        draw: block_part,
        ..SEGMENT
    },
    Segment {
        name: "burn",
        about: "How fast the account's active block is used.",
        parts: &[("cost", "dollars an hour"), ("tokens", "tokens a minute")],
        format: "{cost}/h",
        draw: burn,
        ..SEGMENT
    },
    Segment {
        name: "projection",
        about: "Where the account's active block ends at the rate it is used.",
        parts: &[("cost", "in dollars"), ("tokens", "in tokens")],
        format: "{cost} at the end",
        draw: projection,
        ..SEGMENT
    },
    Segment {
        name: "five_hour",
        about: "What is used of the account's five-hour limit: the newest that any of its sessions \
                was told.",
        format: "5h {percent}( {left})( {full})",
        short: "5h {percent}( {full})",
        priority: 62,
        draw: |pen, part, out| limit(pen, part, out, Some(5 * HOUR_MS), |it| it.five_hour),
        ..LIMIT
    },
    Segment {
        name: "seven_day",
        about: "The same of its weekly limit.",
        format: "7d {percent}( {left})( {full})",
        short: "7d {percent}( {full})",
        priority: 42,
        draw: |pen, part, out| limit(pen, part, out, Some(7 * DAY_MS), |it| it.seven_day),
        ..LIMIT
    },
    Segment {
        name: "spend_limit",
        about: "The same of its spending limit, which can exceed 100 %.",
        parts: &[
            ("percent", "how much is used"),
            ("bar", "the same as a bar"),
            ("left", "when it starts again"),
            ("full", "when all of it will be used, where that is before it starts again"),
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
        super::OLD => pen.old(out, usage.as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn sum(it: Tokens) -> u64 {
    [it.input, it.output, it.cache_write, it.cache_read].into_iter().fold(0, u64::saturating_add)
}

/// Money in which something is missing is a lower bound.
fn cost(pen: &Pen<'_>, out: &mut Text, unpriced: u64, usd: f64) -> Option<()> {
    let usd = known(Some(usd))?;
    if unpriced > 0 {
        out.put(Plain, pen.symbol("at_least"));
    }
    put(out, Plain, &money(usd))
}

/// A block that ended is not shown; and when it was so.
fn block<'a>(pen: &Pen<'a>) -> Option<(&'a Block, i64)> {
    let usage = usage(pen)?;
    let block = usage.block.as_ref().filter(|it| pen.view.now_ms < it.end_ms)?;
    let as_of_ms = match block.source {
        BlockSource::Transcripts => usage.as_of_ms,
        // It answers when it can.
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
            pen.bar(out, elapsed(pen, block.end_ms, 5 * HOUR_MS), None);
            Some(())
        }
        "left" => put(out, Dim, &countdown(pen.left(block.end_ms))),
        super::OLD => pen.old(out, as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn burn(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (block, as_of_ms) = block(pen)?;
    let burn = block.burn.as_ref()?;
    match part {
        "cost" => cost(pen, out, block.unpriced, burn.cost_per_hour),
        "tokens" => put(out, Plain, &tokens(known(Some(burn.tokens_per_minute))? as u64)),
        super::OLD => pen.old(out, as_of_ms, USAGE_FRESH_MS),
        _ => None,
    }
}

fn projection(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (block, as_of_ms) = block(pen)?;
    let projection = block.projection.as_ref()?;
    match part {
        "cost" => cost(pen, out, block.unpriced, projection.cost_usd),
        "tokens" => put(out, Plain, &tokens(projection.tokens)),
        super::OLD => pen.old(out, as_of_ms, USAGE_FRESH_MS),
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
    let holds = |it: &Limit| now_ms < it.resets_at_ms;
    let stated = window(&pen.view.client.limits).filter(holds);
    let kept = pen.scope.root.and_then(|it| window(&it.limits)).filter(holds);
    let (limit, is_stated) = match (stated, kept) {
        (Some(stated), Some(kept)) if is_newer(&kept, &stated) => (kept, false),
        (Some(stated), _) => (stated, true),
        (None, kept) => (kept?, false),
    };
    let used = known(Some(limit.used_percentage))?;
    let clock = span_ms.map(|it| elapsed(pen, limit.resets_at_ms, it));
    match part {
        "percent" => pen.percent(out, used),
        "bar" => pen.bar(out, used, clock),
        "left" => {
            let left = countdown(pen.left(limit.resets_at_ms));
            out.write(Dim, format_args!("{}{left}", pen.symbol("left")));
        }
        "pace" => {
            let ahead = used - clock?;
            let symbol = pen.symbol(if ahead >= 0.0 { "ahead" } else { "behind" });
            out.write(Dim, format_args!("{symbol}{:>2.0}%", ahead.abs()));
        }
        "full" => {
            let same = kept.filter(|it| (it.resets_at_ms - limit.resets_at_ms).abs() < MINUTE_MS);
            // A forecast whose time has come has proved false.
            let to_come = now_ms + 1..limit.resets_at_ms;
            let full_at_ms = same?.full_at_ms.filter(|it| to_come.contains(it))?;
            let left = countdown(pen.left(full_at_ms));
            out.write(Warning, format_args!("{}{left}", pen.symbol("full_in")));
        }
        super::OLD if !is_stated => return pen.old(out, limit.as_of_ms, LIMITS_FRESH_MS),
        _ => return None,
    }
    Some(())
}

/// How much of a window is over, in percent.
fn elapsed(pen: &Pen<'_>, end_ms: i64, span_ms: i64) -> f64 {
    100.0 - (pen.left(end_ms) as f64 / span_ms as f64 * 100.0).clamp(0.0, 100.0)
}

/// The client repeats what its session's last reply told it, however long ago that was, and does
/// not say when. But a window only fills up, until the next one begins: so the fuller one of two
/// observations, or the one of a later window, is the newer. What both agree on, the snapshot
/// can date.
fn is_newer(kept: &Limit, stated: &Limit) -> bool {
    let later = kept.resets_at_ms.saturating_sub(stated.resets_at_ms);
    if later.abs() < MINUTE_MS { kept.used_percentage >= stated.used_percentage } else { later > 0 }
}
