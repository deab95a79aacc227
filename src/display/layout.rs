//! PURE. Fits a line into the terminal: decides which segments are shown in full, in short or not
//! at all, and assembles them.
//!
//! The format of a line consists of cells with spaces between them. A cell is a segment, or several
//! with text around them. **Invariant:** a line is never wider than it may be, and never ends in
//! blanks.

use super::look::{Look, Pieces};
use super::paint::Paint;
use super::template::{Token, Tokenizer};
use super::text::{self, Text};

/// What one segment says.
#[derive(Clone, Debug, Default)]
pub(super) struct DrawnSegment {
    /// Segments of higher priority get columns first.
    pub(super) priority: u8,
    pub(super) full: Text,
    /// Shown where there is no room for `full`.
    pub(super) short: Option<Text>,
}

/// One line of a format, with what its segments say.
#[derive(Debug)]
pub(super) struct Line {
    items: Vec<Item>,
    segments: Vec<DrawnSegment>,
}

#[derive(Debug)]
enum Item {
    Text(Text),
    /// An index into [`Line::segments`].
    Segment(usize),
    /// The start of a cell or of a group in one.
    Open,
    Close,
}

/// Further segments of a line are ignored. No screen has room for them, and the time for fitting
/// grows with the square of their number.
const MAX_SEGMENTS_OF_LAYOUT: usize = 128;

/// Segments of at least this priority make those of higher priority give way: they are shown in
/// short.
const ESSENTIAL: u8 = 80;

/// How a segment is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Full,
    Short,
    Gone,
}

impl Line {
    /// Reads a line of a format. `draw` returns what the segment of a name says, if anything.
    pub(super) fn of(format: &str, mut draw: impl FnMut(&str) -> Option<DrawnSegment>) -> Line {
        let (mut items, mut segments) = (vec![Item::Open], Vec::new());
        let mut depth = 0;
        for token in Tokenizer::of(format) {
            match token {
                Token::Name(_) if segments.len() == MAX_SEGMENTS_OF_LAYOUT => {}
                Token::Name(name) => {
                    let segment = draw(name).unwrap_or_default();
                    items.push(Item::Segment(segments.len()));
                    segments.push(segment);
                }
                // Outside of groups, a space separates cells.
                Token::Text(text) if depth == 0 => {
                    for (nth, word) in text.split(' ').enumerate() {
                        if nth > 0 {
                            items.extend([Item::Close, Item::Open]);
                        }
                        if !word.is_empty() {
                            items.push(Item::Text(Text::of(Paint::Dim, word)));
                        }
                    }
                }
                Token::Text(text) => items.push(Item::Text(Text::of(Paint::Dim, text))),
                Token::Open => {
                    depth += 1;
                    items.push(Item::Open);
                }
                Token::Close => {
                    depth -= 1;
                    items.push(Item::Close);
                }
            }
        }
        // The last cell, and groups that the format does not close.
        items.extend((0..=depth).map(|_| Item::Close));
        Line { items, segments }
    }

    /// Adds a segment at the end.
    pub(super) fn push(&mut self, segment: DrawnSegment) {
        self.items.extend([Item::Open, Item::Segment(self.segments.len()), Item::Close]);
        self.segments.push(segment);
    }

    /// The pieces of the line. If not all of it fits into `usable` columns, segments are added by
    /// descending priority: each in full, else in short, else not at all. For an essential one,
    /// those added before are shortened. The segment of the highest priority is always shown, cut
    /// if necessary.
    pub(super) fn fit(self, usable: Option<usize>, look: &Look<'_>) -> Pieces {
        let usable = usable.unwrap_or(usize::MAX);
        let best = |segment: &DrawnSegment| match segment {
            _ if segment.full.is_blank() => Form::Gone,
            _ if look.preset.prefers_short && segment.short.is_some() => Form::Short,
            _ => Form::Full,
        };
        let mut forms: Vec<_> = self.segments.iter().map(best).collect();
        if self.width(&forms, look) > usable {
            let has_text = |index: &usize| !self.segments[*index].full.is_blank();
            let mut by_priority: Vec<_> = (0..self.segments.len()).filter(has_text).collect();
            by_priority.sort_by_key(|&index| std::cmp::Reverse(self.segments[index].priority));
            forms.fill(Form::Gone);
            for (nth, &index) in by_priority.iter().enumerate() {
                forms[index] = best(&self.segments[index]);
                let has_short = self.segments[index].short.is_some();
                if has_short && self.width(&forms, look) > usable {
                    forms[index] = Form::Short;
                }
                if nth == 0 || self.width(&forms, look) <= usable {
                    continue;
                }
                let is_essential = self.segments[index].priority >= ESSENTIAL;
                if !is_essential || !self.squeeze(&mut forms, &by_priority[..nth], usable, look) {
                    forms[index] = Form::Gone;
                }
            }
        }
        self.assemble(&forms, usable, look)
    }

    /// Shortens segments that are shown in full, beginning with the lowest priority, until the line
    /// fits. Returns whether it does; if not, `forms` is as before.
    fn squeeze(&self, forms: &mut [Form], shown: &[usize], usable: usize, look: &Look<'_>) -> bool {
        let full: Vec<_> = shown
            .iter()
            .copied()
            .filter(|&index| forms[index] == Form::Full && self.segments[index].short.is_some())
            .collect();
        for &index in full.iter().rev() {
            forms[index] = Form::Short;
            if self.width(forms, look) <= usable {
                return true;
            }
        }
        for index in full {
            forms[index] = Form::Full;
        }
        false
    }

    fn width(&self, forms: &[Form], look: &Look<'_>) -> usize {
        let mut columns = 0;
        self.visit(forms, |visible| {
            columns += match visible {
                Visible::Break => look.between,
                Visible::Text(text) => text.width(),
                Visible::Segment(segment, Form::Short) => {
                    segment.short.as_ref().map_or(0, Text::width)
                }
                Visible::Segment(segment, _) => segment.full.width(),
            }
        });
        if columns == 0 { 0 } else { columns + look.around }
    }

    fn assemble(&self, forms: &[Form], usable: usize, look: &Look<'_>) -> Pieces {
        let mut pieces: Vec<Text> = Vec::new();
        let mut nth_cell = 0;
        let mut cells = Vec::new();
        self.visit(forms, |visible| {
            let piece = match visible {
                Visible::Break => {
                    nth_cell += 1;
                    look.between_cells(nth_cell)
                }
                Visible::Text(text) => text.clone(),
                Visible::Segment(segment, Form::Short) => segment.short.clone().unwrap_or_default(),
                Visible::Segment(segment, _) => segment.full.clone(),
            };
            cells.push(nth_cell);
            pieces.push(piece);
        });
        let usable = usable.saturating_sub(look.around).max(1);
        text::cut(&mut pieces, usable, look.preset.ellipsis);
        look.frame(pieces, &cells)
    }

    /// Calls `show` with everything that is shown, from left to right. A group is shown if one of
    /// its segments is, or if it has text and no segments.
    fn visit<'s>(&'s self, forms: &[Form], mut show: impl FnMut(Visible<'s>)) {
        let mut has_shown = false;
        let mut is_new_cell = false;
        let mut depth = 0;
        let mut nth = 0;
        while nth < self.items.len() {
            match &self.items[nth] {
                Item::Open => {
                    let (end, is_shown) = self.group(nth, forms);
                    if !is_shown {
                        nth = end;
                    } else {
                        is_new_cell |= depth == 0;
                        depth += 1;
                    }
                }
                Item::Close => depth -= 1,
                Item::Text(text) => {
                    if std::mem::take(&mut is_new_cell) && has_shown {
                        show(Visible::Break);
                    }
                    has_shown = true;
                    show(Visible::Text(text));
                }
                Item::Segment(index) if forms[*index] != Form::Gone => {
                    if std::mem::take(&mut is_new_cell) && has_shown {
                        show(Visible::Break);
                    }
                    has_shown = true;
                    show(Visible::Segment(&self.segments[*index], forms[*index]));
                }
                Item::Segment(_) => {}
            }
            nth += 1;
        }
    }

    /// The index of the last item of the group that begins at `start`, and whether the group is
    /// shown.
    fn group(&self, start: usize, forms: &[Form]) -> (usize, bool) {
        let (mut depth, mut has_segments, mut has_text, mut is_shown) = (0, false, false, false);
        for (nth, item) in self.items.iter().enumerate().skip(start) {
            match item {
                Item::Open => depth += 1,
                Item::Close => depth -= 1,
                Item::Text(_) => has_text = true,
                Item::Segment(index) => {
                    has_segments = true;
                    is_shown |= forms[*index] != Form::Gone;
                }
            }
            if depth == 0 {
                return (nth, is_shown || (has_text && !has_segments));
            }
        }
        (self.items.len(), false)
    }
}

enum Visible<'a> {
    /// The border between two cells.
    Break,
    Text(&'a Text),
    Segment(&'a DrawnSegment, Form),
}
