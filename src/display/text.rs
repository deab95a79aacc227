//! PURE. Text with widths: cleans it, measures it, cuts it.
//!
//! Does not know what the text says. **Invariant:** a [`Text`] holds no character that moves the
//! cursor, changes the direction of writing or hides: all that goes in is cleaned.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::theme::Paint;
use crate::sanitize;
use crate::store::schema::display::Ink;

/// Cleaned text in pieces of one paint each.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    text: String,
    spans: Vec<Span>,
    width: usize,
    /// Where its pieces lead that are linked.
    link: Option<String>,
    /// In place of what a piece would be painted with.
    ink: Option<Ink>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    end: usize,
    paint: Paint,
    is_linked: bool,
}

/// A place in a text that it can be cut back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(usize, usize, usize);

/// More than a terminal shows of one piece of text. What is longer is not worth its time.
const MAX_CHARS: usize = 1024;

impl Text {
    /// A text of one piece.
    pub(super) fn of(paint: Paint, piece: &str) -> Text {
        let mut text = Text::default();
        text.put(paint, piece);
        text
    }

    /// Adds a piece.
    pub(super) fn put(&mut self, paint: Paint, piece: &str) {
        self.put_exactly(self.ink.map_or(paint, Paint::Own), piece);
    }

    /// The same, in this paint whatever the user chose: what wants a look is to be seen.
    pub(super) fn put_exactly(&mut self, paint: Paint, piece: &str) {
        let before = self.text.len();
        clean(piece, &mut self.text);
        let added = &self.text[before..];
        if added.is_empty() {
            return;
        }
        self.width += width(added);
        let end = self.text.len();
        // A blank looks like what is before it, and needs no escape sequence of its own.
        let is_blank = paint == Paint::Dim && added.trim().is_empty();
        let goes_on = |it: &&mut Span| !it.is_linked && (it.paint == paint || is_blank);
        match self.spans.last_mut().filter(goes_on) {
            Some(it) => it.end = end,
            None => self.spans.push(Span { end, paint, is_linked: false }),
        }
    }

    /// Adds a piece, shortened to so many columns.
    pub(super) fn put_cut(&mut self, paint: Paint, piece: &str, columns: usize, ellipsis: &str) {
        let mut cut = Text::of(paint, piece);
        if cut.width > columns {
            cut.cut(columns, ellipsis);
        }
        self.put(paint, &cut.text);
    }

    /// Adds a number or the like.
    pub(super) fn write(&mut self, paint: Paint, piece: fmt::Arguments<'_>) {
        match piece.as_str() {
            Some(it) => self.put(paint, it),
            None => self.put(paint, &piece.to_string()),
        }
    }

    /// What the following pieces are painted with, whatever they would be.
    pub(super) fn paint_with(&mut self, ink: Option<Ink>) {
        self.ink = ink;
    }

    /// Makes what was added since `mark` lead somewhere.
    pub(super) fn link(&mut self, since: Mark, url: &str) {
        self.link = Some(url.to_owned());
        for span in self.spans.iter_mut().skip(since.1) {
            span.is_linked = true;
        }
    }

    /// Where it ends now. What follows is a piece of its own.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.text.len(), self.spans.len(), self.width)
    }

    /// Takes back what was added since.
    pub(super) fn rewind(&mut self, Mark(n_bytes, n_spans, width): Mark) {
        self.text.truncate(n_bytes);
        self.spans.truncate(n_spans);
        if let Some(it) = self.spans.last_mut() {
            it.end = it.end.min(n_bytes);
        }
        self.width = width;
    }

    /// Whether anything that is seen was added since.
    pub(super) fn says_more_than(&self, mark: Mark) -> bool {
        !self.text[mark.0..].trim().is_empty()
    }

    /// Its pieces, clean, and where they lead.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Paint, &str, Option<&str>)> {
        let mut start = 0;
        self.spans.iter().map(move |it| {
            let piece = &self.text[start..it.end];
            start = it.end;
            (it.paint, piece, self.link.as_deref().filter(|_| it.is_linked))
        })
    }

    /// Shortens it to so many columns, between graphemes.
    pub(super) fn cut(&mut self, columns: usize, ellipsis: &str) {
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
        if let Some(it) = self.spans.last_mut() {
            it.end = n_bytes;
        }
        if n_bytes == 0 {
            self.spans.clear();
        }
        self.width = width(&self.text);
    }

    /// Columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether some of it is painted like this.
    pub(super) fn has(&self, paint: Paint) -> bool {
        self.spans.iter().any(|it| it.paint == paint)
    }

    pub(super) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    pub(super) fn trim_end(&mut self) {
        let trimmed = self.text.trim_end().len();
        if trimmed < self.text.len() {
            self.truncate(trimmed);
        }
    }
}

/// Adds text from outside in the form that may be laid out in columns.
fn clean(text: &str, into: &mut String) {
    if text.len() <= MAX_CHARS && text.bytes().all(|it| matches!(it, b' '..=b'~')) {
        return into.push_str(text);
    }
    into.extend(sanitize::columns(text).take(MAX_CHARS));
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

/// Columns that a terminal gives a clean text: grapheme by grapheme, since terminals do not join
/// what shaping would.
pub(super) fn width(text: &str) -> usize {
    if text.chars().all(|it| it < NARROW) {
        text.chars().count()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    }
}

/// Below are Latin letters and their like: each, once cleaned, is a grapheme of one column. To
/// look that up takes as long as to draw a segment.
const NARROW: char = '\u{300}';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_is_as_wide_as_it_has_characters() {
        let mut latin = String::new();
        clean(&('\0'..NARROW).collect::<String>(), &mut latin);
        assert!(latin.contains('ÿ') && latin.chars().all(|it| it < NARROW || it == '\u{fffd}'));
        let pairs =
            latin.chars().flat_map(|a| latin.chars().map(move |b| String::from_iter([a, b])));
        for pair in pairs {
            let widths: Vec<_> = pair.graphemes(true).map(UnicodeWidthStr::width).collect();
            assert_eq!(widths, [1, 1], "{pair:?}");
        }
    }
}
