//! PURE. What a line can say: a table of segments.
//!
//! A segment has one source and one scope, and its `about` is its manual: `ccstatusd config`
//! prints it. What it says is made of parts, which its format names, and it says nothing where no
//! part has anything to say. **Invariant:** a fact from the snapshot that is older than its source
//! lets it become carries its age, whatever the format is.

use std::fmt;

use crate::store::schema::display;
use crate::time::MINUTE_MS;

use super::View;
use super::layout::Cell;
use super::numbers::{percent, units};
use super::scope::Scope;
use super::template::{Token, Tokens};
use super::text::Text;
use super::theme::Look;
use super::theme::Paint::{self, Alarm, Dim, Plain, Warning};

mod account;
mod place;
mod session;
mod state;

/// Everything there is to know of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) name: &'static str,
    /// Its manual: what it says, from where, for what scope.
    pub(crate) about: &'static str,
    /// What its format can name, and what that is.
    pub(crate) parts: &'static [(&'static str, &'static str)],
    pub(crate) format: &'static str,
    /// Empty where it has no shorter form.
    pub(crate) short: &'static str,
    pub(crate) priority: u8,
    pub(crate) max_width: u16,
    /// Where it wants a look, and where now.
    pub(crate) thresholds: Option<(f64, f64)>,
    /// Columns of its bar; 0 where it has none.
    pub(crate) bar_width: u16,
    pub(crate) mark: Option<f64>,
    pub(crate) symbols: &'static [Symbol],
    /// Writes a part, if it has something to say.
    draw: fn(&Pen<'_>, &str, &mut Text) -> Option<()>,
}

/// A symbol's name, what it is, and what stands for it where there is only ASCII.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

const SEGMENT: Segment = Segment {
    name: "",
    about: "",
    parts: &[],
    format: "",
    short: "",
    priority: 30,
    max_width: 40,
    thresholds: None,
    bar_width: 0,
    mark: None,
    symbols: &[],
    draw: |_, _, _| None,
};

const BAR: [Symbol; 3] =
    [Symbol("full", "█", "#"), Symbol("empty", "░", "-"), Symbol("mark", "│", "|")];

/// Every segment. Those about one thing stand together.
pub(crate) const SEGMENTS: &[&[Segment]] =
    &[place::SEGMENTS, session::SEGMENTS, account::SEGMENTS, state::SEGMENTS];

/// What a line says where the user chose nothing.
pub(crate) const FORMAT: &str = "{directory} {git} {git_error} {pr} {model} {agent} {context} \
     {cost} {block} {today} {five_hour} {seven_day} {spend_limit} {subagents} {degraded} {watcher}";

/// What stands at the end of the last line where the format does not say where: no format can
/// make old look fresh.
const HONEST: [&str; 4] = ["git_error", "degraded", "watcher", "drawn_at"];

/// In a format, custom commands' output: `command.` and the command's name.
pub(crate) const COMMAND: &str = "command";

/// What wants a look now is seen on narrow terminals, too: behind where one is and on which
/// branch.
const ALARM_PRIORITY: u8 = 86;
/// What wants a look goes before the model, and before what is merely interesting.
const WARNING_PRIORITY: u8 = 68;

/// In place of a part: how old what the segment says is, where that is older than it may be.
const OLD: &str = "";

/// The segment of this name, and what stands behind the dot in it.
pub(crate) fn find(name: &str) -> Option<(&'static Segment, &str)> {
    let (name, argument) = match name.split_once('.') {
        Some((COMMAND, argument)) => (COMMAND, argument),
        _ => (name, ""),
    };
    let segment = SEGMENTS.iter().copied().flatten().find(|it| it.name == name)?;
    ((segment.name == COMMAND) != argument.is_empty()).then_some((segment, argument))
}

/// What a segment of this name says.
pub(super) fn draw(
    name: &str,
    view: &View<'_>,
    scope: &Scope<'_>,
    look: &Look<'_>,
) -> Option<Cell> {
    let (segment, argument) = find(name)?;
    let chosen = view.display().segments.get(name);
    let pen = Pen { view, scope, segment, argument, chosen, look };
    let format = chosen.and_then(|it| it.format.as_deref()).unwrap_or(segment.format);
    // The usual short form is one of the usual format.
    let is_usual = chosen.is_none_or(|it| it.format.is_none());
    let usual = if is_usual { segment.short } else { "" };
    let short = chosen.and_then(|it| it.short.as_deref()).unwrap_or(usual);
    let full = pen.draw(format)?;
    let least = match &full {
        it if it.has(Alarm) => ALARM_PRIORITY,
        it if it.has(Warning) => WARNING_PRIORITY,
        _ => 0,
    };
    let priority = chosen.and_then(|it| it.priority).unwrap_or(segment.priority);
    let short = if short.is_empty() { None } else { pen.draw(short) };
    Some(Cell { priority: priority.max(least), full, short })
}

/// The segments that a format leaves out, and may not.
pub(super) fn missing(format: &str) -> impl Iterator<Item = &'static str> {
    let name = |it| if let Token::Name(it) = it { Some(it) } else { None };
    let names: Vec<_> = Tokens::of(format).filter_map(name).collect();
    let has = move |name: &str| names.contains(&name);
    HONEST.into_iter().filter(move |&it| !has(it) && (it != "drawn_at" || !has("clock")))
}

/// What a segment is drawn with.
pub(super) struct Pen<'a> {
    view: &'a View<'a>,
    scope: &'a Scope<'a>,
    segment: &'static Segment,
    /// What stands behind the dot in its name.
    argument: &'a str,
    chosen: Option<&'a display::Segment>,
    look: &'a Look<'a>,
}

impl Pen<'_> {
    fn draw(&self, format: &str) -> Option<Text> {
        let mut text = Text::default();
        let mut tokens = Tokens::of(format);
        if !self.group(&mut tokens, &mut text, false) || text.is_blank() {
            return None;
        }
        (self.segment.draw)(self, OLD, &mut text);
        let max_width = self.chosen.and_then(|it| it.max_width).unwrap_or(self.segment.max_width);
        text.cut(usize::from(max_width), self.look.preset.ellipsis);
        Some(text)
    }

    /// Draws to the end of a group. Says whether one of its parts said something.
    fn group(&self, tokens: &mut Tokens<'_>, out: &mut Text, is_inner: bool) -> bool {
        let mut says = false;
        while let Some(token) = tokens.next() {
            let mark = out.mark();
            match token {
                Token::Text(text) => {
                    // A group's space parts it from what is before it, which may say nothing.
                    let text = if is_inner && out.is_blank() { text.trim_start() } else { text };
                    out.paint_with(self.color("label"));
                    out.put(Dim, text);
                    out.paint_with(None);
                }
                Token::Name(part) => {
                    out.paint_with(self.color(part));
                    let drawn = (self.segment.draw)(self, part, out);
                    out.paint_with(None);
                    match drawn {
                        Some(()) if out.says_more_than(mark) => says = true,
                        _ => out.rewind(mark),
                    }
                }
                Token::Open if self.group(tokens, out, true) => says = true,
                Token::Open => out.rewind(mark),
                Token::Close => break,
            }
        }
        says
    }

    fn color(&self, part: &str) -> Option<display::Ink> {
        self.chosen.and_then(|it| it.colors.get(part).copied())
    }

    fn symbol(&self, name: &str) -> &str {
        if let Some(own) = self.chosen.and_then(|it| it.symbols.get(name)) {
            return own;
        }
        let found = self.segment.symbols.iter().find(|it| it.0 == name);
        found.map_or("", |it| if self.look.preset.is_ascii { it.2 } else { it.1 })
    }

    /// How much of a look a value wants.
    fn grade(&self, value: f64) -> Paint {
        let (warning, alarm) = self.segment.thresholds.unwrap_or((f64::INFINITY, f64::INFINITY));
        let warning = self.chosen.and_then(|it| it.warning).unwrap_or(warning);
        let alarm = self.chosen.and_then(|it| it.alarm).unwrap_or(alarm);
        match value {
            it if it >= alarm => Alarm,
            it if it >= warning => Warning,
            _ => Plain,
        }
    }

    /// Writes what a value says, in the colour of its threshold.
    fn graded(&self, out: &mut Text, value: f64, piece: &str) {
        match self.grade(value) {
            Plain => out.put(Plain, piece),
            paint => out.put_exactly(paint, piece),
        }
    }

    fn percent(&self, out: &mut Text, share: f64) {
        self.graded(out, share, &percent(share));
    }

    /// A share as a bar, with a mark on it.
    fn bar(&self, out: &mut Text, share: f64, mark: Option<f64>) {
        let columns = self.chosen.and_then(|it| it.bar_width).unwrap_or(self.segment.bar_width);
        let at = |share: f64| (share.clamp(0.0, 100.0) / 100.0 * f64::from(columns)).round() as u16;
        let n_full = at(share);
        let mark = mark.map(|it| at(it).min(columns.saturating_sub(1)));
        let paint = self.grade(share);
        for (from, to, symbol, paint) in
            [(0, n_full, "full", paint), (n_full, columns, "empty", Dim)]
        {
            let split = mark.filter(|it| (from..to).contains(it));
            let before = self.symbol(symbol).repeat(usize::from(split.unwrap_or(to) - from));
            let after = split.map_or(0, |it| to - it - 1);
            let put = if matches!(paint, Warning | Alarm) { Text::put_exactly } else { Text::put };
            put(out, paint, &before);
            if split.is_some() {
                out.put(Plain, self.symbol("mark"));
            }
            put(out, paint, &self.symbol(symbol).repeat(usize::from(after)));
        }
    }

    /// Adds the age of a fact that is older than its source lets it become.
    fn old(&self, out: &mut Text, as_of_ms: i64, fresh_ms: i64) -> Option<()> {
        (self.age(as_of_ms) > fresh_ms).then(|| self.ago(out, as_of_ms))
    }

    fn ago(&self, out: &mut Text, as_of_ms: i64) {
        out.put_exactly(Dim, &format!(" {} ago", units(self.age(as_of_ms))));
    }

    /// A fact from the future was written under another clock: it is as new as can be.
    fn age(&self, as_of_ms: i64) -> i64 {
        self.view.now_ms.saturating_sub(as_of_ms).max(0)
    }

    fn left(&self, until_ms: i64) -> i64 {
        until_ms.saturating_sub(self.view.now_ms)
    }
}

/// Writes a count with its symbol, where it is not zero.
fn counted(out: &mut Text, paint: Paint, symbol: &str, count: u64) -> Option<()> {
    (count > 0).then(|| out.write(paint, format_args!("{symbol}{count}")))
}

fn put(out: &mut Text, paint: Paint, text: &str) -> Option<()> {
    out.put(paint, text);
    Some(())
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How old git's answer may be: the watcher asks again after every change that it can see, and
/// every half a minute while somebody looks.
const GIT_FRESH_MS: i64 = MINUTE_MS;
