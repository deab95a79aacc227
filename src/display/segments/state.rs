//! PURE. What the facts are good for, and what stands in none of the other files.

use super::{Alarm, Dim, GIT_FRESH_MS, Pen, SEGMENT, Segment, Text, Warning, put};
use crate::display::numbers::units;
use crate::display::theme::Paint::Plain;
use crate::display::{Source, Watcher};
use crate::store::schema::HealthStatus;

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "degraded",
        about: "The first failing source that has a part in this line, and why it fails. It stands \
                at the end of the last line where the format does not say where.",
        parts: &[("reason", "which source, and why"), ("source", "which source")],
        format: "{reason}",
        short: "{source} fails",
        priority: 72,
        max_width: 88,
        draw: degraded,
        ..SEGMENT
    },
    Segment {
        name: "watcher",
        about: "What the snapshot is good for, where that is not everything: whether anybody keeps \
                the rest true, and since when nobody did. It stands at the end of the last line \
                where the format does not say where.",
        parts: &[("state", "what is wrong")],
        format: "{state}",
        priority: 100,
        draw: watcher,
        ..SEGMENT
    },
    Segment {
        name: "drawn_at",
        about: "The local time at which the line was drawn, on lines that are read later: those \
                for `cat`. It stands at the end of the last line where the format does not say \
                where.",
        parts: &[("time", "hours and minutes")],
        format: "{time}",
        priority: 98,
        draw: |pen, part, out| put(out, Dim, pen.view.drawn_at.filter(|_| part == "time")?),
        ..SEGMENT
    },
    Segment {
        name: "health",
        about: "Whether the session needs a look, by the watcher: context and limits that are \
                nearly used up, and what git refuses.",
        parts: &[("issue", "the worst"), ("more", "how many others there are")],
        format: "{issue}( {more})",
        draw: health,
        ..SEGMENT
    },
    Segment {
        name: "clock",
        about: "The local time.",
        parts: &[
            ("hour", "0 to 23"),
            ("hour12", "1 to 12"),
            ("half", "am or pm"),
            ("minute", "00 to 59"),
            ("second", "00 to 59"),
        ],
        format: "{hour}:{minute}",
        priority: 28,
        draw: clock,
        ..SEGMENT
    },
    Segment {
        name: super::COMMAND,
        about: "The output of a command of your own: `{command.NAME}` is that of [commands.NAME].",
        parts: &[
            ("output", "the first line that it printed"),
            ("error", "why it is old, which {degraded} says, too"),
        ],
        format: "{output}",
        draw: command,
        ..SEGMENT
    },
];

fn degraded(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    // Git's failures stand with git's facts where there are any.
    let said_by_git = pen.scope.repo.is_some_and(|it| it.error.is_some());
    let mut left =
        pen.scope.degraded.iter().filter(|it| !(said_by_git && it.source.starts_with("git:")));
    let first = left.next()?;
    let source = match first.source.split_once(':') {
        // As formats call it.
        Some(("command", name)) => &format!("command.{name}"),
        Some((kind, _)) => kind,
        None => &first.source,
    };
    match part {
        "reason" => {}
        "source" => return put(out, Warning, source),
        _ => return None,
    }
    let reason = format!("{source}: {}", first.reason);
    out.put_cut(Warning, &reason, 72, pen.look.preset.ellipsis);
    more(out, left.count());
    Some(())
}

/// How many others are not shown.
fn more(out: &mut Text, count: usize) {
    if count > 0 {
        out.write(Dim, format_args!(" +{count} more"));
    }
}

fn watcher(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    if part != "state" {
        return None;
    }
    match pen.view.source {
        Source::Missing if pen.view.watcher == Watcher::Gone => {
            put(out, Warning, "no data yet: start ccstatusd")
        }
        Source::Missing => put(out, Warning, "no data yet"),
        Source::Unreadable => put(out, Warning, "snapshot is unreadable"),
        Source::Newer => put(out, Warning, "snapshot is from a newer ccstatusd"),
        Source::Snapshot(_) if pen.view.watcher != Watcher::Gone => None,
        // Whoever reads it later cannot be told how old it is by then.
        Source::Snapshot(_) if pen.view.drawn_at.is_some() => put(out, Warning, "no watcher"),
        Source::Snapshot(_) => {
            let age = units(pen.age(pen.scope.published_at_ms?));
            put(out, Warning, &format!("data {age} old, no watcher"))
        }
    }
}

fn health(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let health = &pen.scope.session?.health;
    let paint = match health.status {
        HealthStatus::Good => return None,
        HealthStatus::Warning => Warning,
        HealthStatus::Critical => Alarm,
    };
    let (worst, others) = health.issues.split_first()?;
    match part {
        "issue" => put(out, paint, worst),
        "more" if !others.is_empty() => {
            out.write(Dim, format_args!("+{} more", others.len()));
            Some(())
        }
        _ => None,
    }
}

fn clock(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let (hour, minute, second) = pen.view.clock?;
    match part {
        "hour" => out.write(Plain, format_args!("{hour:02}")),
        "hour12" => out.write(Plain, format_args!("{}", (hour + 11) % 12 + 1)),
        "half" => out.put(Plain, if hour < 12 { "am" } else { "pm" }),
        "minute" => out.write(Plain, format_args!("{minute:02}")),
        "second" => out.write(Plain, format_args!("{second:02}")),
        _ => return None,
    }
    Some(())
}

fn command(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let command = pen.scope.commands?.get(pen.argument)?;
    match part {
        "output" => {
            let line = command.output.lines().map(str::trim).find(|it| !it.is_empty())?;
            put(out, Plain, line)
        }
        "error" => put(out, Warning, command.error.as_deref()?),
        // Only one that failed is older than it should be: how often it runs is its own business.
        super::OLD if command.error.is_some() && command.as_of_ms > 0 => {
            pen.old(out, command.as_of_ms, GIT_FRESH_MS)
        }
        _ => None,
    }
}
