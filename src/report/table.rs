//! PURE. Tables fitted to a terminal.
//!
//! **Invariant:** a number is never cut. If a table is too wide, columns are left out one after the
//! other, then counts are written in short, then names are shortened. A table that is still too
//! wide is printed as it is.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::numbers::{full, short};
use crate::display::ansi;
use crate::sanitize;
use crate::store::schema::display::{Color, Depth, Ink};

/// Where a table is printed.
#[derive(Clone, Copy, Debug)]
pub struct Paper {
    /// Columns of the terminal; `None` for a file or a pipe. There a table has all its columns but
    /// for the bar, as wide as they are.
    pub width: Option<usize>,
    pub depth: Depth,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<Column>,
    lines: Vec<Line>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Row,
    /// A part of the row above.
    Part,
    Total,
}

#[derive(Debug)]
pub(super) struct Column {
    title: &'static str,
    cells: Cells,
    /// When the column is left out if there is no room: columns with the highest number first,
    /// those with the same number together, those with 0 never.
    leaves: u8,
}

/// The cells of a column, one for each line.
#[derive(Debug)]
pub(super) enum Cells {
    /// Names, which may be shortened at their end.
    Names(Vec<String>),
    /// Paths, which may be shortened at their beginning.
    Paths(Vec<String>),
    /// Dates and the like, which stand to the left.
    Fixed(Vec<String>),
    /// Amounts, which stand to the right.
    Amounts(Vec<String>),
    Counts(Vec<u64>),
    /// Bars, each with its share of the longest, from 0 to 1.
    Bars(Vec<f64>),
}

const GAP: usize = 2;
const MIN_BAR: usize = 6;
const MAX_BAR: usize = 24;
/// Names are shortened for columns of numbers only down to this width.
const MIN_NAME: usize = 18;
/// The least that is left of a name.
const SHORTEST_NAME: usize = 8;
/// The bar of blocks, in eighths of a column.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

impl Table {
    /// A table without columns.
    pub(super) fn of(lines: Vec<Line>) -> Table {
        Table { columns: Vec::new(), lines }
    }

    /// Adds a column on the right; `leaves` says when it is left out, see [`Column`].
    pub(super) fn push(&mut self, title: &'static str, leaves: u8, cells: Cells) {
        self.columns.push(Column { title, cells: cells.sanitized(), leaves });
    }

    /// The table as text. Each line ends with a newline.
    pub(super) fn render(&self, paper: Paper) -> String {
        let (columns, is_short, widths) = self.fit(paper.width);
        let mut out = String::new();
        let titles = columns.iter().map(|it| it.title.to_owned()).collect();
        write_line(titles, &columns, &widths, BOLD, paper.depth, &mut out);
        for (nth, line) in self.lines.iter().enumerate() {
            if *line == Line::Total {
                let width = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
                ansi::write(&"─".repeat(width), DIM, None, paper.depth, &mut out);
                out.push('\n');
            }
            let cells = columns.iter().zip(&widths);
            let cells = cells.map(|(it, width)| it.cells.text(nth, is_short, *width)).collect();
            let ink = match line {
                Line::Row => PLAIN,
                Line::Part => DIM,
                Line::Total => BOLD,
            };
            write_line(cells, &columns, &widths, ink, paper.depth, &mut out);
        }
        out
    }

    /// The columns that are shown, whether counts are short, and the width of each column.
    fn fit(&self, width: Option<usize>) -> (Vec<&Column>, bool, Vec<usize>) {
        let mut columns: Vec<&Column> = self.columns.iter().collect();
        let widths = |columns: &[&Column], is_short, least| -> Vec<usize> {
            columns.iter().map(|it| it.width(is_short).min(it.at_most(least))).collect()
        };
        let sum =
            |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(width) = width else {
            columns.retain(|it| !matches!(it.cells, Cells::Bars(_)));
            let widths = widths(&columns, false, usize::MAX);
            return (columns, false, widths);
        };
        while sum(&widths(&columns, false, MIN_NAME)) > width {
            let Some(first) = columns.iter().map(|it| it.leaves).max().filter(|it| *it > 0) else {
                break;
            };
            columns.retain(|it| it.leaves != first);
        }
        let is_short = sum(&widths(&columns, false, MIN_NAME)) > width;
        let mut fitted = widths(&columns, is_short, MIN_NAME);
        if sum(&fitted) > width {
            fitted = widths(&columns, is_short, SHORTEST_NAME);
        }
        let mut left = width.saturating_sub(sum(&fitted));
        // Names get the width that is left first, and the bar the rest.
        for is_bar in [false, true] {
            for (column, fitted) in columns.iter().zip(&mut fitted) {
                if matches!(column.cells, Cells::Bars(_)) == is_bar {
                    let wanted = if is_bar { MAX_BAR } else { column.width(is_short) };
                    let more = wanted.saturating_sub(*fitted).min(left);
                    *fitted += more;
                    left -= more;
                }
            }
        }
        (columns, is_short, fitted)
    }
}

impl Column {
    fn width(&self, is_short: bool) -> usize {
        self.cells.width(is_short).max(columns_of(self.title))
    }

    /// The most that the column takes if names are shortened to `least`.
    fn at_most(&self, least: usize) -> usize {
        match self.cells {
            Cells::Names(_) | Cells::Paths(_) => least.max(columns_of(self.title)),
            _ => usize::MAX,
        }
    }

    fn is_right(&self) -> bool {
        matches!(self.cells, Cells::Amounts(_) | Cells::Counts(_))
    }
}

impl Cells {
    fn sanitized(self) -> Cells {
        let clean = |cells: Vec<String>| {
            cells.into_iter().map(|it| sanitize::columns(&it).collect()).collect()
        };
        match self {
            Cells::Names(cells) => Cells::Names(clean(cells)),
            Cells::Paths(cells) => Cells::Paths(clean(cells)),
            cells => cells,
        }
    }

    fn width(&self, is_short: bool) -> usize {
        match self {
            Cells::Names(cells)
            | Cells::Paths(cells)
            | Cells::Fixed(cells)
            | Cells::Amounts(cells) => cells.iter().map(|it| columns_of(it)).max().unwrap_or(0),
            Cells::Counts(counts) => {
                let count = if is_short { short } else { full };
                counts.iter().map(|it| count(*it).len()).max().unwrap_or(0)
            }
            Cells::Bars(_) => MIN_BAR,
        }
    }

    fn text(&self, nth: usize, is_short: bool, width: usize) -> String {
        match self {
            Cells::Names(cells) => cut_end(&cells[nth], width),
            Cells::Paths(cells) => cut_start(&cells[nth], width),
            Cells::Fixed(cells) | Cells::Amounts(cells) => cells[nth].clone(),
            Cells::Counts(counts) if is_short => short(counts[nth]),
            Cells::Counts(counts) => full(counts[nth]),
            Cells::Bars(shares) => bar(shares[nth], width),
        }
    }
}

const PLAIN: Ink =
    Ink { fg: None, bg: None, bold: false, dim: false, italic: false, underline: false };
const BOLD: Ink = Ink { bold: true, ..PLAIN };
const DIM: Ink = Ink { dim: true, ..PLAIN };
const BAR: Ink = Ink { fg: Some(Color::Index(6)), ..PLAIN };

fn write_line(
    cells: Vec<String>,
    columns: &[&Column],
    widths: &[usize],
    ink: Ink,
    depth: Depth,
    out: &mut String,
) {
    let mut blanks = 0;
    for ((cell, column), width) in cells.into_iter().zip(columns).zip(widths) {
        let pad = width.saturating_sub(columns_of(&cell));
        if column.is_right() {
            blanks += pad;
        }
        if !cell.is_empty() {
            out.push_str(&" ".repeat(blanks));
            let ink = if matches!(column.cells, Cells::Bars(_)) { BAR } else { ink };
            ansi::write(&cell, ink, None, depth, out);
            blanks = 0;
        }
        // Blanks at the end of a line are left out.
        blanks += if column.is_right() { GAP } else { pad + GAP };
    }
    out.push('\n');
}

/// How many columns a terminal gives to sanitized text.
fn columns_of(text: &str) -> usize {
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

fn cut_end(text: &str, width: usize) -> String {
    cut(text.graphemes(true), width, |kept| kept.concat() + "…", text)
}

fn cut_start(text: &str, width: usize) -> String {
    let turned = |mut kept: Vec<&str>| {
        kept.reverse();
        format!("…{}", kept.concat())
    };
    cut(text.graphemes(true).rev(), width, turned, text)
}

fn cut<'a>(
    graphemes: impl Iterator<Item = &'a str>,
    width: usize,
    join: impl FnOnce(Vec<&'a str>) -> String,
    text: &str,
) -> String {
    if columns_of(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut kept = Vec::new();
    for grapheme in graphemes {
        let Some(rest) = left.checked_sub(grapheme.width()) else { break };
        left = rest;
        kept.push(grapheme);
    }
    join(kept)
}

/// A bar of so many columns at most. Whatever is more than nothing can be seen.
fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((!eighths.is_multiple_of(8)).then(|| EIGHTHS[eighths % 8 - 1]));
    bar
}

/// A line of prose beside tables.
pub(super) fn heading(text: &str, depth: Depth) -> String {
    let mut out = String::new();
    ansi::write(&sanitize::message(text), BOLD, None, depth, &mut out);
    out + "\n"
}

/// A line of prose below a table.
pub(super) fn note(text: &str, depth: Depth) -> String {
    let mut out = String::new();
    ansi::write(&sanitize::message(text), DIM, None, depth, &mut out);
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let texts = |it: [&str; 3]| it.map(str::to_owned).to_vec();
        let mut table = Table::of(vec![Line::Row, Line::Row, Line::Total]);
        table.push("Project", 0, Cells::Paths(texts(["~/work/a-project/src", "~/b", "Total"])));
        table.push("Cost", 0, Cells::Amounts(texts(["$1,234.56", "≥$2.50", "≥$1,237.06"])));
        table.push("", 1, Cells::Bars(vec![1.0, 0.002, 0.0]));
        table.push("Tokens", 0, Cells::Counts(vec![1_234_567_890, 12_345, 1_234_580_235]));
        table.push("In", 3, Cells::Counts(vec![1_000_000, 1, 1_000_001]));
        table.push("Models", 2, Cells::Names(texts(["Opus 4.8 +2", "Haiku 4.5", ""])));
        table
    }

    #[track_caller]
    fn check(width: Option<usize>, expected: &[&str]) {
        let text = table().render(Paper { width, depth: Depth::None });
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        let widest = text.lines().map(columns_of).max().expect("has lines");
        assert!(width.is_none_or(|it| widest <= it), "{widest}");
    }

    #[test]
    fn a_pipe_gets_every_column_but_the_bar() {
        check(
            None,
            &[
                "Project                     Cost         Tokens         In  Models",
                "~/work/a-project/src   $1,234.56  1,234,567,890  1,000,000  Opus 4.8 +2",
                "~/b                       ≥$2.50         12,345          1  Haiku 4.5",
                "───────────────────────────────────────────────────────────────────────",
                "Total                 ≥$1,237.06  1,234,580,235  1,000,001",
            ],
        );
    }

    #[test]
    fn what_is_left_belongs_to_the_bar() {
        check(
            Some(90),
            &[
                "Project                     Cost                            Tokens         In  Models",
                "~/work/a-project/src   $1,234.56  █████████████████  1,234,567,890  1,000,000  Opus 4.8 +2",
                "~/b                       ≥$2.50  ▏                         12,345          1  Haiku 4.5",
                "──────────────────────────────────────────────────────────────────────────────────────────",
                "Total                 ≥$1,237.06                     1,234,580,235  1,000,001",
            ],
        );
    }

    #[test]
    fn columns_leave_where_there_is_no_room() {
        check(
            Some(76),
            &[
                "Project                     Cost                         Tokens  Models",
                "~/work/a-project/src   $1,234.56  ██████████████  1,234,567,890  Opus 4.8 +2",
                "~/b                       ≥$2.50  ▏                      12,345  Haiku 4.5",
                "────────────────────────────────────────────────────────────────────────────",
                "Total                 ≥$1,237.06                  1,234,580,235",
            ],
        );
        check(
            Some(60),
            &[
                "Project                     Cost                      Tokens",
                "~/work/a-project/src   $1,234.56  ███████████  1,234,567,890",
                "~/b                       ≥$2.50  ▏                   12,345",
                "────────────────────────────────────────────────────────────",
                "Total                 ≥$1,237.06               1,234,580,235",
            ],
        );
    }

    #[test]
    fn at_forty_columns_no_digit_is_missing() {
        check(
            Some(40),
            &[
                "Project                     Cost  Tokens",
                "~/work/a-project/src   $1,234.56    1.2B",
                "~/b                       ≥$2.50   12.3k",
                "────────────────────────────────────────",
                "Total                 ≥$1,237.06    1.2B",
            ],
        );
        check(
            Some(30),
            &[
                "Project           Cost  Tokens",
                "…oject/src   $1,234.56    1.2B",
                "~/b             ≥$2.50   12.3k",
                "──────────────────────────────",
                "Total       ≥$1,237.06    1.2B",
            ],
        );
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(cut_end("abcdef", 4), "abc…");
        assert_eq!(cut_start("abcdef", 4), "…def");
        assert_eq!(cut_end("日本語", 4), "日…");
        assert_eq!(cut_end("abcd", 4), "abcd");
    }

    #[test]
    fn colours_are_only_where_the_paper_has_them() {
        let coloured = table().render(Paper { width: Some(90), depth: Depth::Ansi });
        assert!(coloured.contains('\u{1b}'));
        let plain = table().render(Paper { width: Some(90), depth: Depth::None });
        assert!(!plain.contains('\u{1b}'));
    }
}
