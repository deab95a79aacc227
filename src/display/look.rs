//! PURE. A theme applied to a terminal: the separators between cells, the backgrounds behind them,
//! and the colour of each piece of text.

use super::ansi;
use super::colors::NO_INK;
use super::paint::{MEANINGS, Paint};
use super::palettes::{PALETTES, Palette};
use super::presets::{DEFAULT, PRESETS, Preset};
use super::text::{self, Text};
use super::view::Style;
use crate::store::schema::display::{Color, Depth, Ink, Theme};

/// The user's theme on this terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) preset: &'static Preset,
    palette: &'static Palette,
    /// What the terminal and the user allow.
    pub(crate) depth: Depth,
    has_links: bool,
    theme: &'a Theme,
    /// Whether cells have backgrounds.
    has_backgrounds: bool,
    separator: &'a str,
    /// The width of what stands between two cells.
    pub(crate) between: usize,
    /// The width of what stands before the first cell and after the last one, together.
    pub(crate) around: usize,
}

/// Pieces of a line from left to right, each with the background of its cell.
pub(crate) type Pieces = Vec<(Text, Option<Color>)>;

/// Cells have no backgrounds where these would leave less than this many columns for text.
const LEAST_BETWEEN_EDGES: usize = 12;

impl<'a> Look<'a> {
    /// `style` is what the terminal can show, `usable` the number of columns that a line may take.
    pub(crate) fn of(theme: &'a Theme, style: &Style, usable: Option<usize>) -> Look<'a> {
        let preset = theme.preset.as_deref().and_then(|name| find(&PRESETS, |it| it.name == name));
        let preset = preset.unwrap_or(&PRESETS[0]);
        let depth = match theme.depth {
            _ if style.depth == Depth::None || !preset.has_colours => Depth::None,
            Some(chosen) => chosen,
            None => style.depth,
        };
        // Reduced to sixteen colours, a palette could become unreadable on its own background.
        let name = theme.palette.as_deref().unwrap_or(preset.palette);
        let palette = find(&PALETTES, |it| depth > Depth::Ansi && it.name == name);
        let palette = palette.unwrap_or(&PALETTES[0]);
        let arrow = theme.separator.as_deref().unwrap_or(preset.separator);
        let least = Text::of(Paint::Dim, arrow).width() + 2 + LEAST_BETWEEN_EDGES;
        // Whether the terminal's own colours are readable on each other is unknown.
        let is_possible = preset.has_backgrounds && palette.background.is_some();
        let has_backgrounds = is_possible && usable.is_none_or(|it| it >= least);
        let separator = match &theme.separator {
            Some(own) => own,
            // An arrow separates backgrounds; without them it is misleading.
            None if preset.has_backgrounds && !has_backgrounds => DEFAULT.separator,
            None => preset.separator,
        };
        let columns = Text::of(Paint::Dim, separator).width();
        Look {
            preset,
            palette,
            depth,
            has_links: style.has_links,
            theme,
            has_backgrounds,
            separator,
            between: columns + if has_backgrounds { 2 } else { 0 },
            around: if has_backgrounds { columns + 2 } else { 0 },
        }
    }

    /// What stands between the cell before the `nth` and the `nth`, which count from zero.
    pub(crate) fn between_cells(&self, nth: usize) -> Text {
        if !self.has_backgrounds {
            return Text::of(Paint::Dim, self.separator);
        }
        let (before, after) = (self.background(nth + 1), self.background(nth));
        let mut text = Text::of(Paint::Own(Ink { bg: Some(before), ..NO_INK }), " ");
        let arrow = Ink { fg: Some(before), bg: Some(after), ..NO_INK };
        text.put(Paint::Own(arrow), self.separator);
        text.put(Paint::Own(Ink { bg: Some(after), ..NO_INK }), " ");
        text
    }

    /// Adds the edges of a line, and the background of each piece. `cells` has the index of the
    /// cell that each piece belongs to.
    pub(crate) fn frame(&self, pieces: Vec<Text>, cells: &[usize]) -> Pieces {
        if !self.has_backgrounds || pieces.is_empty() {
            return pieces.into_iter().map(|it| (it, None)).collect();
        }
        let last = self.background(cells[pieces.len() - 1]);
        let edge = |background| Text::of(Paint::Own(Ink { bg: Some(background), ..NO_INK }), " ");
        let mut end = edge(last);
        end.put(Paint::Own(Ink { fg: Some(last), ..NO_INK }), self.separator);
        let with_background = |(piece, nth): (Text, &usize)| (piece, Some(self.background(*nth)));
        let start = std::iter::once((edge(self.background(0)), None));
        start
            .chain(pieces.into_iter().zip(cells).map(with_background))
            .chain([(end, None)])
            .collect()
    }

    /// The background of the `nth` cell. Neighbours differ.
    fn background(&self, nth: usize) -> Color {
        self.palette.cell_backgrounds[nth % 2]
    }

    /// What is behind the line of a list that is chosen. `None` where it is not known whether the
    /// text would be readable on it.
    pub(crate) fn chosen(&self) -> Option<Color> {
        let is_known = self.depth > Depth::Ansi && self.palette.background.is_some();
        is_known.then(|| self.background(1))
    }

    /// The pieces of a line, each with its style, and where it leads if the terminal shows links.
    pub(crate) fn inked<'p>(
        &self,
        pieces: &'p [(Text, Option<Color>)],
    ) -> impl Iterator<Item = (&'p str, Ink, Option<&'p str>)> {
        pieces.iter().flat_map(move |(text, background)| {
            text.pieces().map(move |(paint, piece, link)| {
                let mut ink = self.ink(paint);
                ink.bg = ink.bg.or(*background);
                (piece, ink, link.filter(|_| self.has_links))
            })
        })
    }

    /// Writes a line as the terminal gets it.
    pub(crate) fn paint(&self, pieces: &[(Text, Option<Color>)], out: &mut String) {
        let start = out.len();
        for (piece, ink, link) in self.inked(pieces) {
            ansi::write(piece, ink, link, self.depth, out);
        }
        ansi::end_line(start, self.depth, out);
    }

    /// A line of pieces that are not cells, cut to `usable` columns.
    pub(crate) fn paint_cut(&self, mut pieces: Vec<Text>, usable: usize) -> String {
        text::cut(&mut pieces, usable, self.preset.ellipsis);
        let pieces: Pieces = pieces.into_iter().map(|it| (it, None)).collect();
        let mut out = String::new();
        self.paint(&pieces, &mut out);
        out
    }

    /// The style of a meaning, by the theme and the palette.
    pub(crate) fn ink(&self, paint: Paint) -> Ink {
        let nth = match paint {
            Paint::Plain => 0,
            Paint::Dim => 1,
            Paint::Place => 2,
            Paint::Branch => 3,
            Paint::Good => 4,
            Paint::Changed => 5,
            Paint::Removed => 6,
            Paint::Warning => 7,
            Paint::Alarm => 8,
            Paint::Own(ink) => return ink,
        };
        let own = self.theme.colors.get(MEANINGS[nth].0);
        own.copied().unwrap_or(self.palette.inks[nth])
    }
}

fn find<T>(all: &'static [T], is_it: impl Fn(&T) -> bool) -> Option<&'static T> {
    all.iter().find(|it| is_it(it))
}
