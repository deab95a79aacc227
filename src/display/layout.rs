//! PURE. Text with widths: cleans it, measures it, and makes a line fit.
//!
//! Does not know what the text says. **Invariant:** a [`Text`] holds no character that moves the
//! cursor, changes the direction of writing or hides: it cannot be made without [`clean`].

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::theme::Paint;

/// Cleaned text in pieces of one paint each.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(Vec<(Paint, String)>);

/// One segment's text on its way into the line.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Its place in the queue for columns: the lowest is served first.
    pub(super) rank: u8,
    /// What it says.
    pub(super) text: Text,
}

const SEPARATOR: &str = " · ";
const SEPARATOR_COLUMNS: usize = 3;
const ELLIPSIS: &str = "…";
const ELLIPSIS_COLUMNS: usize = 1;

/// More than a terminal shows of one piece of text. What is longer is not worth its time.
const MAX_CHARS: usize = 1024;

impl Text {
    /// A text of one piece.
    pub(super) fn of(paint: Paint, piece: impl AsRef<str>) -> Text {
        Text::default().and(paint, piece)
    }

    /// Adds a piece.
    #[must_use]
    pub(super) fn and(mut self, paint: Paint, piece: impl AsRef<str>) -> Text {
        let piece = clean(piece.as_ref());
        if !piece.is_empty() {
            self.0.push((paint, piece));
        }
        self
    }

    /// Adds all of another text.
    #[must_use]
    pub(super) fn join(mut self, other: Text) -> Text {
        self.0.extend(other.0);
        self
    }

    /// Its pieces, clean.
    pub(super) fn pieces(&self) -> &[(Paint, String)] {
        &self.0
    }

    /// Shortens it to so many columns, between graphemes and with an ellipsis.
    #[must_use]
    pub(super) fn cut(self, columns: usize) -> Text {
        if self.width() <= columns {
            return self;
        }
        let mut room = columns.saturating_sub(ELLIPSIS_COLUMNS);
        let mut kept = Text::default();
        for (paint, piece) in self.0 {
            let fits = prefix(&piece, room);
            room -= width(fits);
            if fits.len() < piece.len() {
                let fits = format!("{}{ELLIPSIS}", fits.trim_end());
                kept.0.push((paint, fits));
                break;
            }
            kept.0.push((paint, piece));
        }
        kept
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_, it)| width(it)).sum()
    }

    /// Whether some of it is painted like this.
    pub(super) fn has(&self, paint: Paint) -> bool {
        self.0.iter().any(|(it, _)| *it == paint)
    }

    fn is_blank(&self) -> bool {
        self.0.iter().all(|(_, it)| it.trim().is_empty())
    }

    fn trim_end(mut self) -> Text {
        while let Some((_, piece)) = self.0.last_mut() {
            piece.truncate(piece.trim_end().len());
            if !piece.is_empty() {
                break;
            }
            self.0.pop();
        }
        self
    }
}

/// Puts the cells on one line, in their order. Where they do not all fit, columns go to the
/// lowest rank first; the first one served is always there, if need be cut.
pub(super) fn fit(mut cells: Vec<Cell>, usable: Option<usize>) -> Text {
    cells.retain(|it| !it.text.is_blank());
    let usable = usable.unwrap_or(usize::MAX);
    let mut by_rank: Vec<usize> = (0..cells.len()).collect();
    by_rank.sort_by_key(|&it| cells[it].rank);

    let mut used = 0;
    let mut keep = vec![false; cells.len()];
    for index in by_rank {
        let separator = if used == 0 { 0 } else { SEPARATOR_COLUMNS };
        let wants = separator + cells[index].text.width();
        if used == 0 || used + wants <= usable {
            used += wants;
            keep[index] = true;
        }
    }

    let kept = cells.into_iter().zip(keep).filter_map(|(cell, keep)| keep.then_some(cell.text));
    let line = kept.reduce(|line, it| line.and(Paint::Dim, SEPARATOR).join(it));
    line.unwrap_or_default().trim_end().cut(usable)
}

/// Makes text from outside safe to show: branches, names, paths and reasons are written by others.
///
/// Control characters, escape among them, become `�`, so that something is seen to be wrong.
/// White space of any kind becomes a space. What has no width and no shape of its own is dropped:
/// direction overrides, joiners, variation selectors, tags. An emoji that was joined from several
/// shows as those, which every terminal measures alike.
fn clean(text: &str) -> String {
    let shown = text.chars().filter(|&it| !is_invisible(it)).map(|it| match it {
        it if it.is_whitespace() => ' ',
        it if it.is_control() => char::REPLACEMENT_CHARACTER,
        it => it,
    });
    shown.take(MAX_CHARS).collect()
}

fn is_invisible(it: char) -> bool {
    matches!(it,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// As much of the start of `text` as fits.
fn prefix(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (start, grapheme) in text.grapheme_indices(true) {
        used += grapheme.width();
        if used > columns {
            return &text[..start];
        }
    }
    text
}

/// Columns that a terminal gives a text: grapheme by grapheme, since terminals do not join what
/// shaping would.
fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    }
}
