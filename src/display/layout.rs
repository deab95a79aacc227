//! PURE. Makes a line fit: gives out columns by priority, and puts what has some together.
//!
//! A line's format is cells with spaces between them; a cell is a segment, or several with text
//! around them. **Invariant:** a line is never wider than it may be, and never ends in blanks.

use super::template::{Token, Tokens};
use super::text::Text;
use super::theme::{Look, Paint};
use crate::store::schema::display::Color;

/// One segment on its way into the line.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    /// Its place in the queue for columns: the highest is served first.
    pub(super) priority: u8,
    /// What it says.
    pub(super) full: Text,
    /// The same where there is no room for that.
    pub(super) short: Option<Text>,
}

/// A format's line, with what its segments say.
#[derive(Debug)]
pub(super) struct Line {
    items: Vec<Item>,
    cells: Vec<Cell>,
}

#[derive(Debug)]
enum Item {
    Text(Text),
    Segment(usize),
    Open,
    Close,
}

/// More than any screen has room for. What gives way is found by trying.
const MAX_CELLS: usize = 128;

/// From this priority on, what has been served makes room, and is shown in short.
const ESSENTIAL: u8 = 80;

/// Texts with what they stand on.
pub(super) type Pieces = Vec<(Text, Option<Color>)>;

/// In which form a segment is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Full,
    Short,
    Gone,
}

impl Line {
    /// Walks a format; `draw` says what a segment has to say, if anything.
    pub(super) fn of(format: &str, mut draw: impl FnMut(&str) -> Option<Cell>) -> Line {
        let (mut items, mut cells) = (vec![Item::Open], Vec::new());
        let mut depth = 0;
        for token in Tokens::of(format) {
            match token {
                Token::Name(_) if cells.len() == MAX_CELLS => {}
                Token::Name(name) => {
                    let cell = draw(name).unwrap_or_default();
                    items.push(Item::Segment(cells.len()));
                    cells.push(cell);
                }
                // Outside of groups, spaces end a cell.
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
        // Groups that were never closed.
        items.extend((0..=depth).map(|_| Item::Close));
        Line { items, cells }
    }

    /// Adds a segment at its end.
    pub(super) fn push(&mut self, cell: Cell) {
        self.items.extend([Item::Open, Item::Segment(self.cells.len()), Item::Close]);
        self.cells.push(cell);
    }

    /// The pieces of the line. Where not all of it fits, columns go to the highest priority first;
    /// what does not fit whole is there in short, or not at all. For what is essential, what was
    /// served before makes room. The first one served is always there, if need be cut.
    pub(super) fn fit(self, usable: Option<usize>, look: &Look<'_>) -> Pieces {
        let usable = usable.unwrap_or(usize::MAX);
        let best = |it: &Cell| match it {
            _ if it.full.is_blank() => Form::Gone,
            _ if look.preset.prefers_short && it.short.is_some() => Form::Short,
            _ => Form::Full,
        };
        let mut forms: Vec<_> = self.cells.iter().map(best).collect();
        if self.width(&forms, look) > usable {
            let says = |it: &usize| !self.cells[*it].full.is_blank();
            let mut by_priority: Vec<_> = (0..self.cells.len()).filter(says).collect();
            by_priority.sort_by_key(|&it| std::cmp::Reverse(self.cells[it].priority));
            forms.fill(Form::Gone);
            for (nth, &index) in by_priority.iter().enumerate() {
                forms[index] = best(&self.cells[index]);
                let has_short = self.cells[index].short.is_some();
                if has_short && self.width(&forms, look) > usable {
                    forms[index] = Form::Short;
                }
                if nth == 0 || self.width(&forms, look) <= usable {
                    continue;
                }
                let is_essential = self.cells[index].priority >= ESSENTIAL;
                if !is_essential || !self.squeeze(&mut forms, &by_priority[..nth], usable, look) {
                    forms[index] = Form::Gone;
                }
            }
        }
        self.assemble(&forms, usable, look)
    }

    /// Makes room by shortening what has been served, as little as need be. Says whether that was
    /// enough; nothing has changed where not.
    fn squeeze(
        &self,
        forms: &mut [Form],
        served: &[usize],
        usable: usize,
        look: &Look<'_>,
    ) -> bool {
        let full: Vec<_> = served
            .iter()
            .copied()
            .filter(|&it| forms[it] == Form::Full && self.cells[it].short.is_some())
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
        self.visit(forms, |it| {
            columns += match it {
                Visible::Break => look.between,
                Visible::Text(text) => text.width(),
                Visible::Cell(cell, Form::Short) => cell.short.as_ref().map_or(0, Text::width),
                Visible::Cell(cell, _) => cell.full.width(),
            }
        });
        if columns == 0 { 0 } else { columns + look.around }
    }

    fn assemble(&self, forms: &[Form], usable: usize, look: &Look<'_>) -> Pieces {
        let mut pieces: Vec<Text> = Vec::new();
        let mut nth_cell = 0;
        let mut grounds = Vec::new();
        self.visit(forms, |it| {
            let piece = match it {
                Visible::Break => {
                    nth_cell += 1;
                    look.between_cells(nth_cell)
                }
                Visible::Text(text) => text.clone(),
                Visible::Cell(cell, Form::Short) => cell.short.clone().unwrap_or_default(),
                Visible::Cell(cell, _) => cell.full.clone(),
            };
            grounds.push(nth_cell);
            pieces.push(piece);
        });
        cut(&mut pieces, usable.saturating_sub(look.around).max(1), look);
        look.frame(pieces, &grounds)
    }

    /// Goes through what is seen, from left to right. A group is seen where one of its segments
    /// is, or where it has none.
    fn visit<'s>(&'s self, forms: &[Form], mut see: impl FnMut(Visible<'s>)) {
        let mut has_seen = false;
        let mut is_new_cell = false;
        let mut depth = 0;
        let mut nth = 0;
        while nth < self.items.len() {
            match &self.items[nth] {
                Item::Open => {
                    let (end, is_seen) = self.group(nth, forms);
                    if !is_seen {
                        nth = end;
                    } else {
                        is_new_cell |= depth == 0;
                        depth += 1;
                    }
                }
                Item::Close => depth -= 1,
                Item::Text(text) => {
                    if std::mem::take(&mut is_new_cell) && has_seen {
                        see(Visible::Break);
                    }
                    has_seen = true;
                    see(Visible::Text(text));
                }
                Item::Segment(index) if forms[*index] != Form::Gone => {
                    if std::mem::take(&mut is_new_cell) && has_seen {
                        see(Visible::Break);
                    }
                    has_seen = true;
                    see(Visible::Cell(&self.cells[*index], forms[*index]));
                }
                Item::Segment(_) => {}
            }
            nth += 1;
        }
    }

    /// Where the group that begins at `start` ends, and whether it is seen.
    fn group(&self, start: usize, forms: &[Form]) -> (usize, bool) {
        let (mut depth, mut has_segments, mut has_text, mut is_seen) = (0, false, false, false);
        for (nth, item) in self.items.iter().enumerate().skip(start) {
            match item {
                Item::Open => depth += 1,
                Item::Close => depth -= 1,
                Item::Text(_) => has_text = true,
                Item::Segment(index) => {
                    has_segments = true;
                    is_seen |= forms[*index] != Form::Gone;
                }
            }
            if depth == 0 {
                return (nth, is_seen || (has_text && !has_segments));
            }
        }
        (self.items.len(), false)
    }
}

enum Visible<'a> {
    /// Between two cells.
    Break,
    Text(&'a Text),
    Cell(&'a Cell, Form),
}

/// Cuts a line to so many columns, and takes the blanks off its end.
pub(super) fn cut(pieces: &mut Vec<Text>, usable: usize, look: &Look<'_>) {
    let mut left = usable;
    for nth in 0..pieces.len() {
        let columns = pieces[nth].width();
        if columns > left {
            if left == 0 && nth > 0 {
                // The ellipsis stands in what was before.
                let before = pieces[nth - 1].width();
                pieces[nth - 1].cut(before.saturating_sub(1), look.preset.ellipsis);
                pieces.truncate(nth);
            } else {
                pieces[nth].cut(left, look.preset.ellipsis);
                pieces.truncate(nth + 1);
            }
            break;
        }
        left -= columns;
    }
    while let Some(last) = pieces.last_mut() {
        last.trim_end();
        if !last.is_blank() {
            break;
        }
        pieces.pop();
    }
}
