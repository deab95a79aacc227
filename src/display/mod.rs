//! PURE. Draws the line: snapshot, client facts, time and width in, text out.
//!
//! It reads no clock, no file and no environment, and of the watcher it knows only the snapshot.
//! So the same code draws the line of `show`, the files for `cat`, and the line of `--oneshot`.
//!
//! **Invariant:** a line is never empty. Nothing in it comes from another session, account or
//! working tree than the one that it is drawn for, but for the list of other sessions that wait. A
//! fact that may be out of date shows its age.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use layout::Line;
use look::{Look, Pieces};
use markup::Markup;
use paint::Paint;
use scope::Scope;
use text::Text;
use view::{Around, Source, Style, View, Watcher};

use crate::store::schema::display::{Depth, Display};
use crate::store::schema::{ClientFacts, Fit, FittedLine, SessionId, Snapshot};

pub mod ansi;
pub(crate) mod colors;
mod layout;
pub(crate) mod look;
pub mod markup;
pub(crate) mod model_name;
pub(crate) mod numbers;
pub(crate) mod paint;
pub(crate) mod palettes;
pub(crate) mod presets;
pub mod preview;
pub(crate) mod samples;
mod scope;
pub(crate) mod segments;
pub mod subagents;
pub(crate) mod template;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub mod view;

/// Draws the line, or several with newlines between them. It does not end with a newline; each
/// line in colour ends with a reset.
pub fn line(view: &View<'_>, style: &Style) -> String {
    let (look, lines) = draw(view, style);
    let mut out = String::new();
    for (nth, pieces) in lines.iter().enumerate() {
        out.push_str(if nth > 0 { "\n" } else { "" });
        look.paint(pieces, &mut out);
    }
    out
}

/// Draws the line in the language of another program. Those have one row for it, so several lines
/// become one.
pub fn marked_up(view: &View<'_>, style: &Style, markup: Markup) -> String {
    let (look, lines) = draw(view, style);
    let between = if look.preset.is_ascii { " | " } else { " · " };
    let mut out = String::new();
    for (nth, pieces) in lines.iter().enumerate() {
        if nth > 0 {
            markup::write(markup, between, look.ink(Paint::Dim), look.depth, &mut out);
        }
        for (piece, ink, _) in look.inked(pieces) {
            markup::write(markup, piece, ink, look.depth, &mut out);
        }
    }
    out
}

/// The lines, at least one, and how they look.
fn draw<'a>(view: &View<'a>, style: &Style) -> (Look<'a>, Vec<Pieces>) {
    let scope = Scope::of(view);
    let display = view.display();
    let usable = style.usable(&display.theme);
    let look = Look::of(&display.theme, style, usable);
    let format = display.format.as_deref().unwrap_or(segments::FORMAT);
    let mut lines: Vec<_> = format
        .lines()
        .map(|it| Line::of(it, |name| segments::draw(name, view, &scope, &look)))
        .collect();
    if lines.is_empty() {
        lines.push(Line::of("", |_| None));
    }
    let last = lines.last_mut().expect("one was added");
    for name in segments::missing(format) {
        if let Some(segment) = segments::draw(name, view, &scope, &look) {
            last.push(segment);
        }
    }
    let lines = lines.into_iter().map(|line| line.fit(usable, &look));
    let mut lines: Vec<_> = lines.filter(|pieces| !pieces.is_empty()).collect();
    if lines.is_empty() {
        let mut text = Text::of(Paint::Dim, NOTHING);
        text.cut(usable.unwrap_or(usize::MAX), "…");
        lines.push(vec![(text, None)]);
    }
    (look, lines)
}

/// The line where no segment has anything to say.
const NOTHING: &str = "ccstatusd: nothing known about this session yet";

/// A session as the watcher knows it, whose line is read later than it is drawn.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    pub snapshot: &'a Snapshot,
    pub session: &'a SessionId,
    pub now_ms: i64,
    pub zone: &'a TimeZone,
    pub home: Option<&'a str>,
}

impl SessionView<'_> {
    /// Draws the line that a plain `cat` prints. Its ages do not change until it is drawn again, so
    /// it ends with the local time at which it was drawn.
    pub fn line(&self, watcher: Watcher, style: &Style) -> String {
        self.draw(watcher, &ClientFacts::default(), true, style)
    }

    /// Draws the lines for a display that stated how wide they may be, and that sees by itself
    /// whether the watcher runs. `client` has what no snapshot has.
    pub fn fitted(&self, watcher: Watcher, client: &ClientFacts, fit: &Fit) -> FittedLine {
        let style = Style::fitted(fit);
        let draw = |watcher, is_dated| self.draw(watcher, client, is_dated, &style);
        FittedLine {
            columns: fit.columns,
            line: draw(watcher, watcher == Watcher::Gone),
            old: draw(watcher, true),
            gone: draw(Watcher::Gone, true),
        }
    }

    fn draw(
        &self,
        watcher: Watcher,
        client: &ClientFacts,
        is_dated: bool,
        style: &Style,
    ) -> String {
        let now = Timestamp::from_millisecond(self.now_ms).unwrap_or_default();
        let now = now.to_zoned_datetime(self.zone.clone());
        let drawn_at = format!("{:02}:{:02}", now.hour(), now.minute());
        let view = View {
            source: Source::Snapshot(self.snapshot),
            watcher,
            client,
            session: Some(self.session),
            around: &Around::Unknown,
            now_ms: self.now_ms,
            home: self.home,
            drawn_at: is_dated.then_some(&*drawn_at),
            clock: Some((now.hour(), now.minute(), 0)),
            zone: Some(self.zone),
        };
        line(&view, style)
    }
}

/// The width of the lines for `cat` unless the user sets it: the watcher does not know how wide
/// the terminal is.
const LINE_COLUMNS: u16 = 120;

/// The terminal that lines for `cat` are drawn for.
pub fn lines_style(display: &Display) -> Style {
    let columns = Some(display.theme.columns.unwrap_or(LINE_COLUMNS).into());
    Style { columns, depth: Depth::Ansi, has_links: false }
}

/// Whether the line shows the local time. Only then, or if it [`wants_zone`], the time zone must be
/// loaded.
pub fn wants_clock(display: &Display) -> bool {
    display.format.as_deref().is_some_and(|it| it.contains("{clock}"))
}

/// Whether a segment shows the local time of something.
pub fn wants_zone(display: &Display) -> bool {
    let formats = display.segments.values().flat_map(|it| [&it.format, &it.short]);
    formats.flatten().any(|it| it.contains("{at}"))
}
