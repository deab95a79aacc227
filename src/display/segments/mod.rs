//! PURE. The segments: everything that a line can say.
//!
//! A segment has one source and one scope. Its text consists of parts, which its format names; a
//! segment none of whose parts has anything to say is left out. `ccstatusd config` prints the
//! descriptions as the manual.
//!
//! To add a segment, add an entry to the table of the file for its topic.
//!
//! **Invariant:** whatever the format is, a fact from the snapshot shows its age if it is older
//! than its source allows.

use segment::{COMMAND, Pen, Segment};

use super::layout::DrawnSegment;
use super::look::Look;
use super::paint::Paint::{Alarm, Warning};
use super::scope::Scope;
use super::template::{Token, Tokenizer};
use super::view::View;

mod account;
mod location;
pub(crate) mod segment;
mod session;
mod state;

/// All segments in the order of the manual, by topic.
pub(crate) const SEGMENTS: &[&[Segment]] =
    &[location::SEGMENTS, session::SEGMENTS, account::SEGMENTS, state::SEGMENTS];

/// The format of the line unless the user sets one.
pub(crate) const FORMAT: &str = "{directory} {git} {git_error} {pr} {model} {agent} {context} \
     {cost} {block} {today} {five_hour} {seven_day} {spend_limit} {other_limits} {subagents} \
     {others_waiting} \
     {degraded} {watcher}";

/// Segments that tell what may be out of date. Those that the format leaves out are added to the
/// end of the last line.
const ALWAYS_SHOWN: [&str; 4] = ["git_error", "degraded", "watcher", "drawn_at"];

/// The least priority of a segment with an alarm in it, so that alarms are visible on narrow
/// terminals as well. Among others only the branch and the state of the facts precede them.
const ALARM_PRIORITY: u8 = 86;
/// The least priority of a segment with a warning in it: just above that of the model.
const WARNING_PRIORITY: u8 = 68;

/// The segment of this name, and what follows the dot in it.
pub(crate) fn find(name: &str) -> Option<(&'static Segment, &str)> {
    let (name, argument) = match name.split_once('.') {
        Some((COMMAND, argument)) => (COMMAND, argument),
        _ => (name, ""),
    };
    let segment = SEGMENTS.iter().copied().flatten().find(|it| it.name == name)?;
    ((segment.name == COMMAND) != argument.is_empty()).then_some((segment, argument))
}

/// What the segment of this name says. `None` if it says nothing or there is no such segment.
pub(super) fn draw(
    name: &str,
    view: &View<'_>,
    scope: &Scope<'_>,
    look: &Look<'_>,
) -> Option<DrawnSegment> {
    let (segment, argument) = find(name)?;
    let chosen = view.display().segments.get(name);
    let pen = Pen { view, scope, segment, argument, chosen, look };
    let own_format = chosen.and_then(|it| it.format.as_deref());
    // The predefined short form belongs to the predefined format only.
    let short = if own_format.is_none() { segment.short } else { "" };
    let short = chosen.and_then(|it| it.short.as_deref()).unwrap_or(short);
    let full = pen.draw(own_format.unwrap_or(segment.format))?;
    let least = match &full {
        text if text.has(Alarm) => ALARM_PRIORITY,
        text if text.has(Warning) => WARNING_PRIORITY,
        _ => 0,
    };
    let priority = chosen.and_then(|it| it.priority).unwrap_or(segment.priority);
    let short = if short.is_empty() { None } else { pen.draw(short) };
    Some(DrawnSegment { priority: priority.max(least), full, short })
}

/// The segments that must be shown although this format leaves them out.
pub(super) fn missing(format: &str) -> impl Iterator<Item = &'static str> {
    let name = |token| if let Token::Name(name) = token { Some(name) } else { None };
    let names: Vec<_> = Tokenizer::of(format).filter_map(name).collect();
    let has = move |name: &str| names.contains(&name);
    // A clock tells as well when the line was drawn.
    ALWAYS_SHOWN
        .into_iter()
        .filter(move |&name| !has(name) && (name != "drawn_at" || !has("clock")))
}
