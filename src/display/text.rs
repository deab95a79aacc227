//! PURE. Sanitized text with its width: measured and cut as a terminal shows it.
//!
//! **Invariant:** a [`Text`] holds no character that moves the cursor, changes the direction of
//! writing or hides: everything that is added is sanitized.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::paint::Paint;
use crate::sanitize;
use crate::store::schema::display::Ink;

/// Text in pieces, each with one paint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    text: String,
    spans: Vec<Span>,
    width: usize,
    /// The address that all linked spans lead to.
    link: Option<String>,
    /// Replaces the paint of pieces that are added.
    ink: Option<Ink>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    /// The byte at which it ends. It starts where the one before ends.
    end: usize,
    paint: Paint,
    is_linked: bool,
}

/// A state of a text that it can be restored to after more was added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    n_bytes: usize,
    n_spans: usize,
    width: usize,
}

/// The rest of a longer piece is dropped. A terminal would not show it, and measuring takes time.
const MAX_CHARS: usize = 1024;

impl Text {
    /// A text of one piece.
    pub(crate) fn of(paint: Paint, piece: &str) -> Text {
        let mut text = Text::default();
        text.put(paint, piece);
        text
    }

    /// Adds a piece.
    pub(crate) fn put(&mut self, paint: Paint, piece: &str) {
        self.put_exactly(self.ink.map_or(paint, Paint::Own), piece);
    }

    /// Adds a piece in this paint, even if [`Text::paint_with`] replaces paints: warnings stay
    /// visible whatever colours the user chose.
    pub(crate) fn put_exactly(&mut self, paint: Paint, piece: &str) {
        let before = self.text.len();
        add_sanitized(piece, &mut self.text);
        let added = &self.text[before..];
        if added.is_empty() {
            return;
        }
        self.width += width(added);
        let end = self.text.len();
        // Dim blanks look the same in any paint, so they need no escape sequence of their own.
        let is_blank = paint == Paint::Dim && added.trim().is_empty();
        let is_same = |span: &&mut Span| !span.is_linked && (span.paint == paint || is_blank);
        match self.spans.last_mut().filter(is_same) {
            Some(span) => span.end = end,
            None => self.spans.push(Span { end, paint, is_linked: false }),
        }
    }

    /// Adds a piece, cut to `columns`.
    pub(crate) fn put_cut(&mut self, paint: Paint, piece: &str, columns: usize, ellipsis: &str) {
        let mut cut = Text::of(paint, piece);
        if cut.width > columns {
            cut.cut(columns, ellipsis);
        }
        self.put(paint, &cut.text);
    }

    /// Adds a formatted piece.
    pub(crate) fn write(&mut self, paint: Paint, piece: fmt::Arguments<'_>) {
        match piece.as_str() {
            Some(piece) => self.put(paint, piece),
            None => self.put(paint, &piece.to_string()),
        }
    }

    /// Sets the style that replaces the paint of the following pieces. `None` ends that.
    pub(crate) fn paint_with(&mut self, ink: Option<Ink>) {
        self.ink = ink;
    }

    /// Turns what was added since `mark` into a link. Links added before lead there as well.
    pub(crate) fn link(&mut self, since: Mark, url: &str) {
        self.link = Some(url.to_owned());
        for span in self.spans.iter_mut().skip(since.n_spans) {
            span.is_linked = true;
        }
    }

    /// The state to return to with [`Text::rewind`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { n_bytes: self.text.len(), n_spans: self.spans.len(), width: self.width }
    }

    /// Removes what was added since.
    pub(crate) fn rewind(&mut self, Mark { n_bytes, n_spans, width }: Mark) {
        self.text.truncate(n_bytes);
        self.spans.truncate(n_spans);
        if let Some(span) = self.spans.last_mut() {
            span.end = span.end.min(n_bytes);
        }
        self.width = width;
    }

    /// Whether more than blanks was added since.
    pub(crate) fn says_more_than(&self, mark: Mark) -> bool {
        !self.text[mark.n_bytes..].trim().is_empty()
    }

    /// Its pieces from left to right, each with the address that it links to.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Paint, &str, Option<&str>)> {
        let mut start = 0;
        self.spans.iter().map(move |span| {
            let piece = &self.text[start..span.end];
            start = span.end;
            (span.paint, piece, self.link.as_deref().filter(|_| span.is_linked))
        })
    }

    /// Shortens it to `columns`, between graphemes. The ellipsis is left out where it is wider.
    pub(crate) fn cut(&mut self, columns: usize, ellipsis: &str) {
        if self.width <= columns {
            return;
        }
        let ellipsis = if width(ellipsis) <= columns { ellipsis } else { "" };
        let room = columns - width(ellipsis);
        let fits = prefix(&self.text, room).trim_end().len();
        let paint = self.spans.iter().find(|it| it.end >= fits).map_or(Paint::Plain, |it| it.paint);
        self.truncate(fits);
        self.put_exactly(paint, ellipsis);
    }

    fn truncate(&mut self, n_bytes: usize) {
        self.text.truncate(n_bytes);
        let n_spans = self.spans.iter().take_while(|it| it.end < n_bytes).count();
        self.spans.truncate(n_spans + 1);
        if let Some(span) = self.spans.last_mut() {
            span.end = n_bytes;
        }
        if n_bytes == 0 {
            self.spans.clear();
        }
        self.width = width(&self.text);
    }

    /// In columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Whether a piece of it has this paint.
    pub(crate) fn has(&self, paint: Paint) -> bool {
        self.spans.iter().any(|it| it.paint == paint)
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    pub(crate) fn trim_end(&mut self) {
        let trimmed = self.text.trim_end().len();
        if trimmed < self.text.len() {
            self.truncate(trimmed);
        }
    }
}

/// Cuts a line of several texts to `columns`, and removes the blanks at its end.
pub(crate) fn cut(pieces: &mut Vec<Text>, columns: usize, ellipsis: &str) {
    let mut left = columns;
    for nth in 0..pieces.len() {
        let width = pieces[nth].width();
        if width > left {
            if left == 0 && nth > 0 {
                // There is no room for the ellipsis, so the piece before makes some.
                let before = pieces[nth - 1].width();
                pieces[nth - 1].cut(before.saturating_sub(1), ellipsis);
                pieces.truncate(nth);
            } else {
                pieces[nth].cut(left, ellipsis);
                pieces.truncate(nth + 1);
            }
            break;
        }
        left -= width;
    }
    while let Some(last) = pieces.last_mut() {
        last.trim_end();
        if !last.is_blank() {
            break;
        }
        pieces.pop();
    }
}

/// Appends text from outside, sanitized. ASCII, the usual case, is copied as a whole.
fn add_sanitized(text: &str, into: &mut String) {
    if text.len() <= MAX_CHARS && text.bytes().all(|it| matches!(it, b' '..=b'~')) {
        return into.push_str(text);
    }
    into.extend(sanitize::columns(text).take(MAX_CHARS));
}

/// As much of the start of `text` as fits into `columns`.
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

/// How many columns a terminal gives to sanitized text. Graphemes are measured one by one:
/// terminals do not join them, as shaping would.
pub(crate) fn width(text: &str) -> usize {
    if text.chars().all(|it| it < NARROW) {
        text.chars().count()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    }
}

/// The first combining character. Each character below, once sanitized, is a grapheme of one
/// column. Looking that up in tables would take as long as drawing a segment.
const NARROW: char = '\u{300}';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_text_has_as_many_columns_as_characters() {
        let mut latin = String::new();
        add_sanitized(&('\0'..NARROW).collect::<String>(), &mut latin);
        assert!(latin.contains('ÿ') && latin.chars().all(|it| it < NARROW || it == '\u{fffd}'));
        let pairs =
            latin.chars().flat_map(|a| latin.chars().map(move |b| String::from_iter([a, b])));
        for pair in pairs {
            let widths: Vec<_> = pair.graphemes(true).map(UnicodeWidthStr::width).collect();
            assert_eq!(widths, [1, 1], "{pair:?}");
        }
    }
}
