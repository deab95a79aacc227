//! PURE. Segments about the account: what was used, and what is left of its limits.

use std::borrow::Cow;

use super::segment::{AGE, BAR, Pen, Segment, Symbol, put};
use crate::display::numbers::{countdown, money, percent, time_of_day, tokens, valid};
use crate::display::paint::Paint::{Dim, Plain, Warning};
use crate::display::text::Text;
use crate::store::schema::limits::window_ms;
use crate::store::schema::{Block, Tokens, Totals, Usage};
use crate::time::{HOUR_MS, MINUTE_MS, SECOND_MS};

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
        about: "What the account used in its five-hour window, at list prices. Where Claude Code \
                does not report when that ends, or `[usage] source` names another program, in the \
                active five-hour block.",
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
        draw: |pen, part, out| limit(pen, part, out, "five_hour"),
        ..LIMIT
    },
    Segment {
        name: "seven_day",
        about: "How much of the account's weekly limit is used.",
        format: "7d {percent}( {left})( {full})",
        short: "7d {percent}( {full})",
        priority: 42,
        draw: |pen, part, out| limit(pen, part, out, "seven_day"),
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
        draw: |pen, part, out| limit(pen, part, out, "spend_limit"),
        ..LIMIT
    },
    Segment {
        name: "other_limits",
        about: "How much is used of every other limit that Claude Code reports, such as the weekly \
                limit of one model.",
        parts: &[("limits", "each with its name, as in 7d opus 12%")],
        format: "{limits}",
        priority: 37,
        thresholds: Some((80.0, 95.0)),
        max_width: 60,
        draw: other_limits,
        ..Segment::DEFAULT
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

fn block<'a>(pen: &Pen<'a>) -> Option<(&'a Block, i64)> {
    usage(pen)?.open_block(pen.view.now_ms)
}

fn five_hours<'a>(pen: &Pen<'a>) -> Option<(Cow<'a, Totals>, i64, i64)> {
    usage(pen)?.five_hours(pen.scope.limits.five_hour.as_ref(), pen.view.now_ms)
}

fn block_part(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (used, end_ms, as_of_ms) = five_hours(pen)?;
    match part {
        "cost" => cost(pen, out, used.unpriced, used.cost_usd),
        "tokens" => put(out, Plain, &tokens(sum(used.tokens))),
        "bar" => {
            pen.put_bar(out, elapsed(pen, end_ms, 5 * HOUR_MS), None);
            Some(())
        }
        "left" => put(out, Dim, &countdown(pen.left_ms(end_ms))),
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

fn limit(pen: &Pen<'_>, part: &str, out: &mut Text, name: &str) -> Option<()> {
    let limit = pen.scope.limits.get(name)?;
    let ends_ms = Some(limit.resets_at_ms).filter(|it| *it > 0);
    let clock = ends_ms.zip(window_ms(name)).map(|(end, span)| elapsed(pen, end, span));
    match part {
        "percent" => pen.put_percent(out, limit.used_percentage),
        "remaining" => {
            let remaining = percent((100.0 - limit.used_percentage).max(0.0));
            pen.put_graded(out, limit.used_percentage, &remaining);
        }
        "bar" => pen.put_bar(out, limit.used_percentage, clock),
        "left" => {
            let left = countdown(pen.left_ms(ends_ms?));
            out.write(Dim, format_args!("{}{left}", pen.symbol("left")));
        }
        "at" => put(out, Dim, &time_of_day(ends_ms?, pen.view.now_ms, pen.view.zone?)?)?,
        "pace" => {
            let ahead = limit.used_percentage - clock?;
            let symbol = pen.symbol(if ahead >= 0.0 { "ahead" } else { "behind" });
            out.write(Dim, format_args!("{symbol}{:.0}%", ahead.abs()));
        }
        "full" => {
            // If the forecast time is over and the limit is not used up, the forecast was wrong.
            let to_come = pen.view.now_ms + 1..ends_ms?;
            let full_at_ms = limit.full_at_ms.filter(|it| to_come.contains(it))?;
            let left = countdown(pen.left_ms(full_at_ms));
            out.write(Warning, format_args!("{}{left}", pen.symbol("full_in")));
        }
        // One that the session's own document states has no time, and is current.
        AGE if limit.as_of_ms > 0 => {
            return pen.put_age_if_old(out, limit.as_of_ms, LIMITS_FRESH_MS);
        }
        _ => return None,
    }
    Some(())
}

/// The limits whose names this version does not know, such as `7d opus 12%`.
fn other_limits(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let others = &pen.scope.limits.other;
    if part == AGE {
        let times = others.values().map(|it| it.as_of_ms).filter(|it| *it > 0);
        return pen.put_age_if_old(out, times.min()?, LIMITS_FRESH_MS);
    }
    if part != "limits" {
        return None;
    }
    for (n, (name, limit)) in others.iter().enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        let name = name.replacen("five_hour", "5h", 1).replacen("seven_day", "7d", 1);
        out.write(Dim, format_args!("{comma}{} ", name.replace('_', " ")));
        pen.put_percent(out, limit.used_percentage);
    }
    (!others.is_empty()).then_some(())
}

/// How much of the time of a window is over, in percent.
fn elapsed(pen: &Pen<'_>, end_ms: i64, span_ms: i64) -> f64 {
    100.0 - (pen.left_ms(end_ms) as f64 / span_ms as f64 * 100.0).clamp(0.0, 100.0)
}
