//! PURE. The description of a segment, and the pen that draws one by its format.

use std::fmt;

use crate::display::look::Look;
use crate::display::numbers::{age, percent};
use crate::display::paint::Paint::{self, Alarm, Dim, Plain, Warning};
use crate::display::scope::Scope;
use crate::display::template::{Token, Tokenizer};
use crate::display::text::Text;
use crate::display::view::View;
use crate::store::schema::{Session, display};
use crate::time::SECOND_MS;

/// Everything there is to know of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) name: &'static str,
    /// Its manual: what it says, from which source, and whose fact it is.
    pub(crate) about: &'static str,
    /// The names that its format may use, each with its manual.
    pub(crate) parts: &'static [(&'static str, &'static str)],
    pub(crate) format: &'static str,
    /// The format where there is no room for the full one. Empty: there is none.
    pub(crate) short: &'static str,
    pub(crate) priority: u8,
    /// In columns.
    pub(crate) max_width: u16,
    /// From which value on it is a warning, and from which an alarm.
    pub(crate) thresholds: Option<(f64, f64)>,
    /// The width of its bar in columns. 0: it has none.
    pub(crate) bar_width: u16,
    /// Where the bar has a mark that the user can set, in percent.
    pub(crate) mark: Option<f64>,
    pub(crate) symbols: &'static [Symbol],
    /// Writes the part of this name, or [`AGE`]. Returns `None` if there is nothing to say.
    pub(super) draw: fn(&Pen<'_>, &str, &mut Text) -> Option<()>,
}

/// A symbol: its name, its text, and its text in presets that use only ASCII.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// The symbols of bars.
pub(super) const BAR: [Symbol; 3] =
    [Symbol("full", "█", "#"), Symbol("empty", "░", "-"), Symbol("mark", "│", "|")];

/// Passed to [`Segment::draw`] in place of a part's name, after all parts: if the fact that the
/// segment shows may be out of date, it adds its age.
pub(super) const AGE: &str = "";

/// What a process file says is confirmed by each snapshot, and while a session lives, one is
/// published each minute.
pub(super) const SNAPSHOT_FRESH_MS: i64 = 150 * SECOND_MS;

/// The segment that shows the output of the user's command NAME is called `command.NAME`.
pub(crate) const COMMAND: &str = "command";

impl Segment {
    pub(super) const DEFAULT: Segment = Segment {
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
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What the parts of one segment are drawn with.
pub(super) struct Pen<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) scope: &'a Scope<'a>,
    pub(super) segment: &'static Segment,
    /// What follows the dot in the name: the name of the user's command.
    pub(super) argument: &'a str,
    /// The user's settings of this segment.
    pub(super) chosen: Option<&'a display::Segment>,
    pub(super) look: &'a Look<'a>,
}

impl<'a> Pen<'a> {
    /// The segment in this format. `None` if none of the parts in it has anything to say.
    pub(super) fn draw(&self, format: &str) -> Option<Text> {
        let mut text = Text::default();
        let mut tokens = Tokenizer::of(format);
        if !self.draw_group(&mut tokens, &mut text, false) || text.is_blank() {
            return None;
        }
        (self.segment.draw)(self, AGE, &mut text);
        let max_width = self.chosen.and_then(|it| it.max_width).unwrap_or(self.segment.max_width);
        text.cut(usize::from(max_width), self.look.preset.ellipsis);
        Some(text)
    }

    /// Draws to the end of a group. Returns whether one of its parts had something to say.
    fn draw_group(&self, tokens: &mut Tokenizer<'_>, out: &mut Text, is_inner: bool) -> bool {
        let mut has_said = false;
        while let Some(token) = tokens.next() {
            let mark = out.mark();
            match token {
                Token::Text(text) => {
                    // A group often begins with a space, which separates it from what precedes it.
                    // It has no use where nothing does.
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
                        Some(()) if out.says_more_than(mark) => has_said = true,
                        _ => out.rewind(mark),
                    }
                }
                Token::Open if self.draw_group(tokens, out, true) => has_said = true,
                Token::Open => out.rewind(mark),
                Token::Close => break,
            }
        }
        has_said
    }

    fn color(&self, part: &str) -> Option<display::Ink> {
        self.chosen.and_then(|it| it.colors.get(part).copied())
    }

    /// What the watcher knows of the session, for facts that only the client states: `None` if the
    /// client gave a document, since what that lacks is not so.
    ///
    /// See docs/decisions/029-a-document-denies-what-it-lacks.md.
    pub(super) fn kept(&self) -> Option<&'a Session> {
        self.scope.session.filter(|_| !self.view.client.is_document())
    }

    pub(super) fn symbol(&self, name: &str) -> &str {
        if let Some(own) = self.chosen.and_then(|it| it.symbols.get(name)) {
            return own;
        }
        let found = self.segment.symbols.iter().find(|it| it.0 == name);
        found.map_or("", |it| if self.look.preset.is_ascii { it.2 } else { it.1 })
    }

    /// Writes a value's text in the colour of the threshold that the value has reached.
    pub(super) fn put_graded(&self, out: &mut Text, value: f64, text: &str) {
        match self.grade(value) {
            Plain => out.put(Plain, text),
            paint => out.put_exactly(paint, text),
        }
    }

    pub(super) fn put_percent(&self, out: &mut Text, share: f64) {
        self.put_graded(out, share, &percent(share));
    }

    /// Writes a share as a bar. `share` and `mark` are in percent.
    pub(super) fn put_bar(&self, out: &mut Text, share: f64, mark: Option<f64>) {
        let columns = self.chosen.and_then(|it| it.bar_width).unwrap_or(self.segment.bar_width);
        let at = |share: f64| (share.clamp(0.0, 100.0) / 100.0 * f64::from(columns)).round() as u16;
        let n_full = at(share);
        let mark = mark.map(|share| at(share).min(columns.saturating_sub(1)));
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

    /// Whether a value is a warning or an alarm. An alarm needs no warning before it.
    fn grade(&self, value: f64) -> Paint {
        let (warning, alarm) = self.segment.thresholds.unwrap_or((f64::INFINITY, f64::INFINITY));
        let warning = self.chosen.and_then(|it| it.warning).unwrap_or(warning);
        let alarm = self.chosen.and_then(|it| it.alarm).unwrap_or(alarm);
        match value {
            _ if value >= alarm => Alarm,
            _ if value >= warning => Warning,
            _ => Plain,
        }
    }

    /// Writes the age of a fact if it is older than `fresh_ms`.
    pub(super) fn put_age_if_old(
        &self,
        out: &mut Text,
        as_of_ms: i64,
        fresh_ms: i64,
    ) -> Option<()> {
        (self.age_ms(as_of_ms) > fresh_ms).then(|| self.put_age(out, as_of_ms))
    }

    pub(super) fn put_age(&self, out: &mut Text, as_of_ms: i64) {
        out.put_exactly(Dim, &format!(" {} ago", age(self.age_ms(as_of_ms))));
    }

    /// Zero for a fact from the future: the clock was set back since.
    pub(super) fn age_ms(&self, as_of_ms: i64) -> i64 {
        self.view.now_ms.saturating_sub(as_of_ms).max(0)
    }

    /// Negative if `until_ms` is over.
    pub(super) fn left_ms(&self, until_ms: i64) -> i64 {
        until_ms.saturating_sub(self.view.now_ms)
    }
}

/// Writes a count after its symbol, unless it is zero.
pub(super) fn put_count(out: &mut Text, paint: Paint, symbol: &str, count: u64) -> Option<()> {
    (count > 0).then(|| out.write(paint, format_args!("{symbol}{count}")))
}

pub(super) fn put(out: &mut Text, paint: Paint, text: &str) -> Option<()> {
    out.put(paint, text);
    Some(())
}
