//! PURE. Draws the line: snapshot, client facts, time and width in, text out.
//!
//! Reads no clock, no file and no environment, and knows nothing of the watcher but the snapshot
//! it left: so the same code draws `show`, the files that `cat` prints, and `--oneshot`.
//!
//! **Invariant:** what is drawn is never empty, and nothing in it comes from another session,
//! account or working tree than the one it is drawn for. What is old says so.

use std::collections::BTreeMap;

use layout::Line;
use text::Text;
use theme::{Look, Paint};

use crate::store::schema::display::{Depth, Display, Theme};
use crate::store::schema::{ClientFacts, SessionId, Snapshot};

mod layout;
mod numbers;
pub mod preview;
pub(crate) mod samples;
mod scope;
pub(crate) mod segments;
pub mod subagents;
pub(crate) mod template;
mod text;
pub(crate) mod theme;

/// Everything that one line is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the watcher published.
    pub source: Source<'a>,
    /// Whether it still runs.
    pub watcher: Watcher,
    /// What the client said. It wins over the snapshot: it is newer.
    pub client: &'a ClientFacts,
    /// The session that the line is for.
    pub session: Option<&'a SessionId>,
    /// The wall clock, from which every age is computed.
    pub now_ms: i64,
    /// What `~` stands for.
    pub home: Option<&'a str>,
    /// The local time as `HH:MM`, for a line that will be read later than it is drawn.
    pub drawn_at: Option<&'a str>,
    /// The local time in hours, minutes and seconds, where [`wants_clock`].
    pub clock: Option<(i8, i8, i8)>,
}

/// What was found where the snapshot should be.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A snapshot that we understand.
    Snapshot(&'a Snapshot),
    /// Nothing.
    Missing,
    /// Something, but no snapshot.
    Unreadable,
    /// A snapshot whose fields may mean something else than we know.
    Newer,
}

/// Whether a watcher keeps the snapshot true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// It does.
    Alive,
    /// It does not: whatever the snapshot says may have changed since.
    Gone,
    /// It could not be told.
    Unknown,
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Its width; `None` is unlimited.
    pub columns: Option<usize>,
    /// How many colours it has.
    pub depth: Depth,
}

/// Columns that the client keeps for itself.
const RESERVED_COLUMNS: usize = 3;

impl Style {
    /// How many columns a line may take.
    fn usable(&self, theme: &Theme) -> Option<usize> {
        let taken = RESERVED_COLUMNS + 2 * usize::from(theme.padding);
        self.columns.map(|it| it.saturating_sub(taken).max(1))
    }
}

/// What is drawn by where nobody chose anything.
static USUAL: Display = Display {
    format: None,
    theme: Theme {
        preset: None,
        palette: None,
        depth: None,
        separator: None,
        padding: 0,
        columns: None,
        colors: BTreeMap::new(),
    },
    segments: BTreeMap::new(),
};

impl<'a> View<'a> {
    /// What the user chose to see.
    fn display(&self) -> &'a Display {
        match self.source {
            Source::Snapshot(it) => &it.display,
            Source::Missing | Source::Unreadable | Source::Newer => &USUAL,
        }
    }
}

/// Whether the local time is shown, which costs to be found out.
pub fn wants_clock(display: &Display) -> bool {
    display.format.as_deref().is_some_and(|it| it.contains("{clock}"))
}

/// Draws the line, or lines with newlines between them: no newline at the end, and a reset at the
/// end of each that is coloured.
pub fn line(view: &View<'_>, style: &Style) -> String {
    let scope = scope::Scope::of(view);
    let display = view.display();
    let usable = style.usable(&display.theme);
    let look = Look::of(&display.theme, style.depth, usable);
    let format = display.format.as_deref().unwrap_or(segments::FORMAT);
    let mut lines: Vec<_> = format
        .lines()
        .map(|it| Line::of(it, |name| segments::draw(name, view, &scope, &look)))
        .collect();
    if lines.is_empty() {
        lines.push(Line::of("", |_| None));
    }
    let last = lines.last_mut().expect("there is one");
    for name in segments::missing(format) {
        if let Some(cell) = segments::draw(name, view, &scope, &look) {
            last.push(cell);
        }
    }
    let mut out = String::new();
    for line in lines {
        let pieces = line.fit(usable, &look);
        if !pieces.is_empty() {
            if !out.is_empty() {
                out.push('\n');
            }
            look.paint(&pieces, &mut out);
        }
    }
    if out.is_empty() {
        let mut text = Text::of(Paint::Dim, NOTHING);
        text.cut(usable.unwrap_or(usize::MAX), "…");
        look.paint(&[(text, None)], &mut out);
    }
    out
}

/// What is said where nothing else is.
const NOTHING: &str = "ccstatusd: nothing known about this session yet";

/// A line that was drawn in colour, for where colours are not wanted.
pub fn without_colour(line: &str) -> String {
    theme::plain(line)
}

/// The width of the lines that `cat` prints: nobody tells us that of the terminal.
const LINE_COLUMNS: u16 = 120;

/// What is supposed of the terminal that a plain `cat` runs in.
pub fn lines_style(display: &Display) -> Style {
    let columns = Some(display.theme.columns.unwrap_or(LINE_COLUMNS).into());
    Style { columns, depth: Depth::Ansi }
}

/// Draws the line that a plain `cat` prints. It cannot compute ages when it is read, so it ends
/// with the local time at which it was drawn, which the caller gives as `HH:MM`.
pub fn session_line(
    snapshot: &Snapshot,
    watcher: Watcher,
    session: &SessionId,
    now_ms: i64,
    drawn_at: &str,
    home: Option<&str>,
    style: &Style,
) -> String {
    let view = View {
        source: Source::Snapshot(snapshot),
        watcher,
        client: &ClientFacts::default(),
        session: Some(session),
        now_ms,
        home,
        drawn_at: Some(drawn_at),
        clock: drawn_at
            .split_once(':')
            .and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?, 0))),
    };
    line(&view, style)
}

#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;
