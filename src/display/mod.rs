//! PURE. Draws the line: snapshot, client facts, time and width in, text out.
//!
//! Reads no clock, no file and no environment, and knows nothing of the watcher but the snapshot
//! it left: so the same code draws `show`, the files that `cat` prints, and `--oneshot`.
//!
//! **Invariant:** a line is never empty, holds no newline, and nothing in it comes from another
//! session, account or working tree than the one it is drawn for. What is old says so.

use crate::store::schema::{ClientFacts, SessionId, Snapshot};

mod layout;
mod scope;
mod segments;
mod theme;

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
    /// The local time, for a line that will be read later than it is drawn.
    pub drawn_at: Option<&'a str>,
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
    /// The `padding` of the client's settings, which it puts on both sides.
    pub padding: usize,
    /// Whether it understands colours.
    pub colour: bool,
}

/// Columns that the client keeps for itself.
const RESERVED_COLUMNS: usize = 3;

impl Style {
    /// How many columns a line may take.
    fn usable(&self) -> Option<usize> {
        let taken = RESERVED_COLUMNS + 2 * self.padding;
        self.columns.map(|it| it.saturating_sub(taken).max(1))
    }
}

/// Draws the line: no newline, and a reset at its end where it is coloured.
pub fn line(view: &View<'_>, style: &Style) -> String {
    let scope = scope::Scope::of(view);
    let cells = segments::draw(view, &scope);
    let text = layout::fit(cells, style.usable());
    theme::paint(&text, style.colour)
}

/// A line that was drawn in colour, for where colours are not wanted.
pub fn without_colour(line: &str) -> String {
    theme::plain(line)
}

/// Draws the line that a plain `cat` prints. It cannot compute ages when it is read, so it ends
/// with the local time at which it was drawn, which the caller gives as `HH:MM`.
pub fn session_line(
    snapshot: &Snapshot,
    session: &SessionId,
    now_ms: i64,
    drawn_at: &str,
    home: Option<&str>,
    style: &Style,
) -> String {
    let view = View {
        source: Source::Snapshot(snapshot),
        // Whoever draws this keeps the snapshot true at this moment.
        watcher: Watcher::Alive,
        client: &ClientFacts::default(),
        session: Some(session),
        now_ms,
        home,
        drawn_at: Some(drawn_at),
    };
    line(&view, style)
}

#[cfg(test)]
mod tests;
