//! PURE. What each colour means, and how a terminal is told.
//!
//! Only the sixteen colours that a user's own terminal theme defines: a line then fits light and
//! dark backgrounds alike. **Invariant:** escape sequences come from here and from nowhere else.

use super::layout::Text;

/// What a piece of text means; colours follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// A value.
    Plain,
    /// Labels, separators and ages: there, but not in the way.
    Dim,
    /// Where we are.
    Place,
    /// Which line of work it is.
    Branch,
    /// Ready to be committed.
    Staged,
    /// Wants a look.
    Warning,
    /// Wants a look now.
    Alarm,
}

const RESET: &str = "\x1b[0m";

/// The text as the terminal gets it.
pub(super) fn paint(text: &Text, colour: bool) -> String {
    let mut out = String::new();
    for (paint, piece) in text.pieces() {
        match sgr(*paint).filter(|_| colour) {
            Some(sgr) => out.extend([sgr, piece, RESET]),
            None => out.push_str(piece),
        }
    }
    if colour && !out.ends_with(RESET) {
        // What follows on the row is not ours to colour.
        out.push_str(RESET);
    }
    out
}

/// A line of ours as [`paint`] makes it without colour.
pub(super) fn plain(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    // Every sequence is one of ours, and those end in `m`.
    pieces.fold(first, |text, it| text + it.split_once('m').map_or("", |(_, rest)| rest))
}

/// Select Graphic Rendition: the sequence that starts a colour.
fn sgr(paint: Paint) -> Option<&'static str> {
    match paint {
        Paint::Plain => None,
        Paint::Dim => Some("\x1b[2m"),
        Paint::Place => Some("\x1b[36m"),
        Paint::Branch => Some("\x1b[35m"),
        Paint::Staged => Some("\x1b[32m"),
        Paint::Warning => Some("\x1b[33m"),
        Paint::Alarm => Some("\x1b[1;31m"),
    }
}
