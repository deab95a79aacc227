//! PURE. Segments about the state of the facts, and those that fit none of the other topics.

use super::segment::{AGE, COMMAND, Pen, SNAPSHOT_FRESH_MS, Segment, Symbol, put};
use crate::display::numbers::age;
use crate::display::paint::Paint::{Alarm, Dim, Plain, Warning};
use crate::display::text::Text;
use crate::display::view::{Source, Watcher};
use crate::store::schema::HealthStatus;
use crate::time::MINUTE_MS;

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "degraded",
        about: "The first failing source among those of this line, and why it fails. If the format \
                leaves it out, it is added to the end of the last line.",
        parts: &[("reason", "the source and the reason"), ("source", "the source alone")],
        format: "{reason}",
        short: "{source} fails",
        priority: 72,
        max_width: 88,
        draw: degraded,
        ..Segment::DEFAULT
    },
    Segment {
        name: "watcher",
        about: "A warning if no watcher runs or the snapshot cannot be read, with the age of the \
                data. If the format leaves it out, it is added to the end of the last line.",
        parts: &[("state", "what is wrong"), ("todo", "the command that helps")],
        format: "{state}(: {todo})",
        short: "{state}",
        priority: 100,
        max_width: 60,
        draw: watcher,
        ..Segment::DEFAULT
    },
    Segment {
        name: "drawn_at",
        about: "The local time at which the line was drawn, on the lines for `cat`, which are read \
                later. If the format has neither it nor {clock}, it is added to the end of the last \
                line.",
        parts: &[("time", "hours and minutes")],
        format: "{time}",
        priority: 98,
        draw: |pen, part, out| put(out, Dim, pen.view.drawn_at.filter(|_| part == "time")?),
        ..Segment::DEFAULT
    },
    Segment {
        name: "health",
        about: "What needs attention in the session, as the watcher finds: context and limits that \
                are nearly used up, and why git does not answer.",
        parts: &[("issue", "the worst issue"), ("more", "the number of others")],
        format: "{issue}( {more})",
        draw: health,
        ..Segment::DEFAULT
    },
    Segment {
        name: "others_waiting",
        about: "The other sessions of yours that wait for you, in any account: for a permission, for \
                an answer to a question, and the like. Their process files say so. Those that wait \
                longest come first.",
        parts: &[
            ("count", "how many"),
            ("names", "the names of the first three"),
            ("for", "what the first one waits for"),
            ("time", "how long the first one has waited"),
        ],
        format: "{count} waiting: {names}( {time})",
        short: "{count} waiting",
        priority: 70,
        max_width: 60,
        symbols: &[Symbol("waiting", "⏳", "!")],
        draw: others_waiting,
        ..Segment::DEFAULT
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
        ..Segment::DEFAULT
    },
    Segment {
        name: COMMAND,
        about: "The output of a command of yours: `{command.NAME}` is that of [commands.NAME]. In its \
                format, {1} to {9} are words of that line, and {NAME} is a field: the value of a \
                line NAME=value, or a member of the JSON object that it printed.",
        parts: &[
            ("output", "the first line that it printed"),
            ("error", "why it failed last, which {degraded} shows as well"),
        ],
        format: "{output}",
        draw: command,
        ..Segment::DEFAULT
    },
];

/// The output of a command that failed shows its age when it is older than this.
const COMMAND_FRESH_MS: i64 = MINUTE_MS;

fn degraded(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    // The segment `git_error` shows what git reports. It is not repeated.
    let is_shown = pen.scope.repo.as_ref().is_some_and(|it| it.error.is_some());
    let mut left =
        pen.scope.degraded.iter().filter(|it| !(is_shown && it.source.starts_with("git:")));
    let first = left.next()?;
    let source = match first.source.split_once(':') {
        // The name of its segment. What it ran for is what the line is about.
        Some(("command", run)) => {
            let name = run.split_once(" of ").map_or(run, |(name, _)| name);
            &format!("command.{name}")
        }
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

/// Adds how many others there are.
fn more(out: &mut Text, count: usize) {
    if count > 0 {
        out.write(Dim, format_args!(" +{count} more"));
    }
}

fn watcher(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    match part {
        "state" => watcher_state(pen, out),
        "todo" if pen.view.watcher == Watcher::Gone => match pen.view.source {
            Source::Missing | Source::Snapshot(_) => put(out, Warning, "ccstatusd start"),
            Source::Unreadable | Source::Newer => None,
        },
        _ => None,
    }
}

fn watcher_state(pen: &Pen<'_>, out: &mut Text) -> Option<()> {
    match pen.view.source {
        Source::Missing => put(out, Warning, "no data yet"),
        Source::Unreadable => put(out, Warning, "snapshot is unreadable"),
        Source::Newer => put(out, Warning, "snapshot is from a newer ccstatusd"),
        Source::Snapshot(_) if pen.view.watcher != Watcher::Gone => None,
        // An age would be wrong by the time that the line is read.
        Source::Snapshot(_) if pen.view.drawn_at.is_some() => put(out, Warning, "no watcher"),
        Source::Snapshot(_) => {
            let age = age(pen.age_ms(pen.scope.published_at_ms?));
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

/// How many of the other waiting sessions are named.
const MAX_NAMED: usize = 3;

fn others_waiting(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let waiting = &pen.scope.others_waiting;
    let first = waiting.first()?;
    match part {
        "count" => {
            let count = waiting.len() as u64 + pen.scope.others_waiting_more;
            out.write(Warning, format_args!("{}{count}", pen.symbol("waiting")));
        }
        "names" => {
            for (n, session) in waiting.iter().take(MAX_NAMED).enumerate() {
                out.put(Dim, if n > 0 { ", " } else { "" });
                out.put_cut(Warning, &session.name, 20, pen.look.preset.ellipsis);
            }
        }
        "for" => out.put(Warning, first.waiting_for.as_deref()?),
        "time" => out.write(Dim, format_args!("{}", age(pen.age_ms(first.since_ms?)))),
        AGE => pen.put_age_if_old(out, pen.scope.published_at_ms?, SNAPSHOT_FRESH_MS)?,
        _ => return None,
    }
    Some(())
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
    let command = pen.scope.command(pen.argument)?;
    match part {
        "output" => {
            let line = command.output.lines().map(str::trim).find(|it| !it.is_empty())?;
            put(out, Plain, line)
        }
        "error" => put(out, Warning, command.error.as_deref()?),
        // A command that did not fail is as new as the user configured.
        AGE if command.error.is_some() && command.as_of_ms > 0 => {
            pen.put_age_if_old(out, command.as_of_ms, COMMAND_FRESH_MS)
        }
        AGE => None,
        field => put(out, Plain, command.fields.get(field)?),
    }
}
