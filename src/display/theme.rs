//! PURE. What each colour means, and how a terminal is told.
//!
//! Segments say what a piece of text means; a palette says how that looks, and a preset which
//! symbols and separators there are. The palette that is used unless another is chosen has only
//! the sixteen colours that a user's own terminal theme defines: a line then fits light and dark
//! backgrounds alike. **Invariant:** escape sequences come from here and from nowhere else.

use std::fmt::Write;

use super::text::Text;
use crate::store::schema::display::{Color, Depth, Ink, Theme};

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
    /// Staged, added, approved.
    Good,
    /// Changed, and not safe yet.
    Changed,
    /// Taken away.
    Removed,
    /// Wants a look.
    Warning,
    /// Wants a look now.
    Alarm,
    /// What the user chose for this very piece.
    Own(Ink),
}

/// What `[theme.colors]` may name, in the order of a palette's inks.
pub(crate) const MEANINGS: [(&str, &str); 9] = [
    ("plain", "values"),
    ("dim", "labels, separators, ages"),
    ("place", "where we are"),
    ("branch", "which line of work it is"),
    ("good", "staged, added, approved"),
    ("changed", "changed, and not safe yet"),
    ("removed", "taken away"),
    ("warning", "wants a look"),
    ("alarm", "wants a look now"),
];

/// Named colours, each with what it stands on.
#[derive(Debug)]
pub(crate) struct Palette {
    pub(crate) name: &'static str,
    pub(crate) inks: [Ink; MEANINGS.len()],
    /// The backgrounds of `powerline`, by turns.
    grounds: [Color; 2],
    /// The background of the terminal that it is made for.
    pub(crate) background: Option<Color>,
}

/// Symbols and forms that belong together.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) separator: &'static str,
    pub(super) ellipsis: &'static str,
    /// Only ASCII, but for what others wrote.
    pub(super) is_ascii: bool,
    /// Each segment in short, where it has such a form.
    pub(super) prefers_short: bool,
    has_colours: bool,
    /// Cells stand on backgrounds of their own.
    has_grounds: bool,
    pub(crate) palette: &'static str,
}

const DEFAULT: Preset = Preset {
    name: "default",
    about: "small symbols, and the terminal's own colours",
    separator: " · ",
    ellipsis: "…",
    is_ascii: false,
    prefers_short: false,
    has_colours: true,
    has_grounds: false,
    palette: "terminal",
};

pub(crate) const PRESETS: [Preset; 5] = [
    DEFAULT,
    Preset { name: "plain", about: "the same without any colour", has_colours: false, ..DEFAULT },
    Preset {
        name: "ascii",
        about: "nothing but ASCII, for terminals and fonts that have no more",
        separator: " | ",
        ellipsis: "~",
        is_ascii: true,
        ..DEFAULT
    },
    Preset {
        name: "powerline",
        about: "arrows between backgrounds; needs a font that has them, and 256 colours",
        separator: "\u{e0b0}",
        has_grounds: true,
        palette: "dark",
        ..DEFAULT
    },
    Preset {
        name: "compact",
        about: "every segment in short, close together",
        separator: "  ",
        prefers_short: true,
        ..DEFAULT
    },
];

pub(crate) const PALETTES: [Palette; 10] = [
    Palette {
        name: "terminal",
        inks: [
            NO_INK,
            Ink { dim: true, ..NO_INK },
            index(6),
            index(5),
            index(2),
            index(3),
            index(1),
            index(3),
            bold(index(1)),
        ],
        grounds: [Color::Index(0), Color::Index(8)],
        background: None,
    },
    palette(
        "dark",
        [0x14181f, 0x2a303b, 0x3a4250],
        [0xd6dae1, 0xa4adb9, 0x6fd3d8, 0xd5a6f5, 0x97d68a, 0xecca7c, 0xf59a94, 0xf8b36a, 0xff8a80],
    ),
    palette(
        "light",
        [0xffffff, 0xe9ecf0, 0xdadfe6],
        [0x24292f, 0x57606a, 0x005f6e, 0x7a1fa2, 0x116329, 0x744500, 0xa31621, 0x8f3b00, 0xb00020],
    ),
    palette(
        "gruvbox-dark",
        [0x282828, 0x32302f, 0x3c3836],
        [0xebdbb2, 0xbdae93, 0x8ec07c, 0xd3869b, 0xb8bb26, 0xfabd2f, 0xfb6d5b, 0xfe8f30, 0xff7a69],
    ),
    palette(
        "gruvbox-light",
        [0xfbf1c7, 0xf2e5bc, 0xebdbb2],
        [0x3c3836, 0x665c54, 0x27613f, 0x8f3f71, 0x5a5700, 0x7d4e00, 0x9d0006, 0x923600, 0x9d0006],
    ),
    palette(
        "nord",
        [0x2e3440, 0x343b49, 0x3b4252],
        [0xd8dee9, 0xa7b1c4, 0x88c0d0, 0xcaa9c5, 0xa3be8c, 0xebcb8b, 0xe8949b, 0xe3a187, 0xf0a0a6],
    ),
    palette(
        "dracula",
        [0x282a36, 0x343746, 0x3e4153],
        [0xf8f8f2, 0xa9b3d8, 0x8be9fd, 0xcaa6fb, 0x50fa7b, 0xf1fa8c, 0xff8c8c, 0xffb86c, 0xff8f8f],
    ),
    palette(
        "catppuccin-mocha",
        [0x1e1e2e, 0x2a2b3d, 0x363a4f],
        [0xcdd6f4, 0xa6adc8, 0x89dceb, 0xcba6f7, 0xa6e3a1, 0xf9e2af, 0xf38ba8, 0xfab387, 0xf38ba8],
    ),
    palette(
        "catppuccin-latte",
        [0xeff1f5, 0xe6e9ef, 0xdce0e8],
        [0x4c4f69, 0x5c5f77, 0x0b5f7a, 0x7a2fd6, 0x25691a, 0x7f5200, 0xb8002f, 0xa83f00, 0xb8002f],
    ),
    palette(
        "tokyo-night",
        [0x1a1b26, 0x24283b, 0x2f3549],
        [0xc0caf5, 0x9aa5ce, 0x7dcfff, 0xbb9af7, 0x9ece6a, 0xe0af68, 0xf7899d, 0xff9e64, 0xf98fa3],
    ),
];

const NO_INK: Ink =
    Ink { fg: None, bg: None, bold: false, dim: false, italic: false, underline: false };

const fn palette(
    name: &'static str,
    [background, first, second]: [u32; 3],
    inks: [u32; MEANINGS.len()],
) -> Palette {
    let [plain, dim, place, branch, good, changed, removed, warning, alarm] = inks;
    Palette {
        name,
        inks: [
            hex(plain),
            hex(dim),
            hex(place),
            hex(branch),
            hex(good),
            hex(changed),
            hex(removed),
            hex(warning),
            bold(hex(alarm)),
        ],
        grounds: [rgb(first), rgb(second)],
        background: Some(rgb(background)),
    }
}

const fn rgb(it: u32) -> Color {
    let [_, red, green, blue] = it.to_be_bytes();
    Color::Rgb(red, green, blue)
}

const fn hex(it: u32) -> Ink {
    Ink { fg: Some(rgb(it)), ..NO_INK }
}

const fn index(it: u8) -> Ink {
    Ink { fg: Some(Color::Index(it)), ..NO_INK }
}

const fn bold(it: Ink) -> Ink {
    Ink { bold: true, ..it }
}

/// How a line looks: what the user chose, on this terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) preset: &'static Preset,
    palette: &'static Palette,
    depth: Depth,
    theme: &'a Theme,
    /// Whether cells stand on backgrounds.
    is_framed: bool,
    separator: &'a str,
    /// Columns between two cells.
    pub(super) between: usize,
    /// Columns around all of them.
    pub(super) around: usize,
}

/// Where there is less room than this between the edges, cells stand on no backgrounds.
const LEAST_FRAMED: usize = 12;

impl<'a> Look<'a> {
    /// `depth` is what the terminal can show, `usable` how many columns there are.
    pub(super) fn of(theme: &'a Theme, depth: Depth, usable: Option<usize>) -> Look<'a> {
        let preset = theme.preset.as_deref().and_then(|name| find(&PRESETS, |it| it.name == name));
        let preset = preset.unwrap_or(&PRESETS[0]);
        let depth = match theme.depth {
            _ if depth == Depth::None || !preset.has_colours => Depth::None,
            Some(it) => it,
            None => depth,
        };
        // Colours made for a background would not survive sixteen that are made for another.
        let name = theme.palette.as_deref().unwrap_or(preset.palette);
        let palette = find(&PALETTES, |it| depth > Depth::Ansi && it.name == name);
        let palette = palette.unwrap_or(&PALETTES[0]);
        let arrow = theme.separator.as_deref().unwrap_or(preset.separator);
        let least = Text::of(Paint::Dim, arrow).width() + 2 + LEAST_FRAMED;
        // Nobody knows what the terminal's own colours look like on each other.
        let has_grounds = preset.has_grounds && palette.background.is_some();
        let is_framed = has_grounds && usable.is_none_or(|it| it >= least);
        let unframed = if preset.has_grounds { DEFAULT.separator } else { preset.separator };
        let separator = match &theme.separator {
            Some(own) => own,
            None if is_framed => preset.separator,
            None => unframed,
        };
        let columns = Text::of(Paint::Dim, separator).width();
        Look {
            preset,
            palette,
            depth,
            theme,
            is_framed,
            separator,
            between: columns + if is_framed { 2 } else { 0 },
            around: if is_framed { columns + 2 } else { 0 },
        }
    }

    fn ground(&self, nth: usize) -> Color {
        self.palette.grounds[nth % 2]
    }

    /// What stands before the `nth` cell.
    pub(super) fn between_cells(&self, nth: usize) -> Text {
        if !self.is_framed {
            return Text::of(Paint::Dim, self.separator);
        }
        let (before, after) = (self.ground(nth + 1), self.ground(nth));
        let mut text = Text::of(Paint::Own(Ink { bg: Some(before), ..NO_INK }), " ");
        let arrow = Ink { fg: Some(before), bg: Some(after), ..NO_INK };
        text.put(Paint::Own(arrow), self.separator);
        text.put(Paint::Own(Ink { bg: Some(after), ..NO_INK }), " ");
        text
    }

    /// Puts a line's pieces on their grounds; `cells` says which cell each belongs to.
    pub(super) fn frame(&self, pieces: Vec<Text>, cells: &[usize]) -> Vec<(Text, Option<Color>)> {
        if !self.is_framed || pieces.is_empty() {
            return pieces.into_iter().map(|it| (it, None)).collect();
        }
        let last = self.ground(cells[pieces.len() - 1]);
        let edge = |ground| Text::of(Paint::Own(Ink { bg: Some(ground), ..NO_INK }), " ");
        let mut end = edge(last);
        end.put(Paint::Own(Ink { fg: Some(last), ..NO_INK }), self.separator);
        let pieces = pieces.into_iter().zip(cells).map(|(it, nth)| (it, Some(self.ground(*nth))));
        let start = std::iter::once((edge(self.ground(0)), None));
        start.chain(pieces).chain([(end, None)]).collect()
    }

    fn ink(&self, paint: Paint) -> Ink {
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
            Paint::Own(it) => return it,
        };
        let own = self.theme.colors.get(MEANINGS[nth].0);
        own.copied().unwrap_or(self.palette.inks[nth])
    }

    /// One row of pieces that are not cells of a line, no wider than this.
    pub(super) fn draw_cut(&self, mut pieces: Vec<Text>, usable: usize) -> String {
        super::layout::cut(&mut pieces, usable, self);
        let pieces: Vec<_> = pieces.into_iter().map(|it| (it, None)).collect();
        let mut out = String::new();
        self.paint(&pieces, &mut out);
        out
    }

    /// The pieces as the terminal gets them.
    pub(super) fn paint(&self, pieces: &[(Text, Option<Color>)], out: &mut String) {
        let start = out.len();
        let has_colours = self.depth > Depth::None;
        for (text, ground) in pieces {
            for (paint, piece, link) in text.pieces() {
                if !has_colours {
                    out.push_str(piece);
                    continue;
                }
                let mut ink = self.ink(paint);
                ink.bg = ink.bg.or(*ground);
                if let Some(url) = link {
                    out.extend([LINK, url, LINK_END]);
                }
                let is_styled = start_style(ink, self.depth, out);
                out.push_str(piece);
                if is_styled {
                    out.push_str(RESET);
                }
                if link.is_some() {
                    out.extend([LINK, LINK_END]);
                }
            }
        }
        if has_colours && !out[start..].ends_with(RESET) {
            // What follows on the row is not ours to colour.
            out.push_str(RESET);
        }
    }
}

fn find<T>(all: &'static [T], is_it: impl Fn(&T) -> bool) -> Option<&'static T> {
    all.iter().find(|it| is_it(it))
}

const RESET: &str = "\x1b[0m";
/// Operating System Command 8, which terminals take for a link.
const LINK: &str = "\x1b]8;;";
const LINK_END: &str = "\x1b\\";

/// A line of ours as it is without colour.
pub(super) fn plain(line: &str) -> String {
    let mut pieces = line.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    // Every sequence is one of ours.
    pieces.fold(first, |text, it| {
        let rest = match it.as_bytes().first() {
            Some(b'[') => it.split_once('m').map_or("", |(_, rest)| rest),
            Some(b'\\') => &it[1..],
            _ => "",
        };
        text + rest
    })
}

/// Select Graphic Rendition: the sequence that starts a style. Says whether there was need of one.
fn start_style(ink: Ink, depth: Depth, out: &mut String) -> bool {
    if ink == NO_INK {
        return false;
    }
    out.push_str("\x1b[");
    let mut separator = "";
    let mut code = |it: std::fmt::Arguments<'_>| {
        write!(out, "{separator}{it}").expect("a string takes everything");
        separator = ";";
    };
    let styles = [(ink.bold, 1), (ink.dim, 2), (ink.italic, 3), (ink.underline, 4)];
    for (_, number) in styles.iter().filter(|(is_on, _)| *is_on) {
        code(format_args!("{number}"));
    }
    for (colour, base) in [(ink.fg, 30), (ink.bg, 40)] {
        match colour.map(|it| reduce(it, depth)) {
            None => {}
            Some(Color::Index(it @ 0..8)) => code(format_args!("{}", base + u32::from(it))),
            Some(Color::Index(it @ 8..16)) => code(format_args!("{}", base + 52 + u32::from(it))),
            Some(Color::Index(it)) => code(format_args!("{};5;{it}", base + 8)),
            Some(Color::Rgb(red, green, blue)) => {
                code(format_args!("{};2;{red};{green};{blue}", base + 8));
            }
        }
    }
    out.push('m');
    true
}

/// The nearest colour that the terminal has.
fn reduce(colour: Color, depth: Depth) -> Color {
    let nearest = |rgb: [u8; 3], of: std::ops::Range<u8>| {
        of.min_by_key(|it| distance(components(Color::Index(*it)), rgb)).unwrap_or(7)
    };
    match (colour, depth) {
        (Color::Index(it), Depth::Ansi) if it >= 16 => {
            Color::Index(nearest(components(colour), 0..16))
        }
        (Color::Rgb(..), Depth::Ansi) => Color::Index(nearest(components(colour), 0..16)),
        // The table's end is left out: a range cannot hold it, and 254 is as good.
        (Color::Rgb(..), Depth::Indexed) => Color::Index(nearest(components(colour), 16..255)),
        _ => colour,
    }
}

fn distance(one: [u8; 3], other: [u8; 3]) -> u32 {
    one.iter().zip(other).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// A colour as most terminals show it.
pub(crate) fn components(colour: Color) -> [u8; 3] {
    match colour {
        Color::Rgb(red, green, blue) => [red, green, blue],
        Color::Index(it @ 0..16) => {
            let bits = [it & 1, it >> 1 & 1, it >> 2 & 1];
            let level = |bit: u8| match (it, bit) {
                (8, _) => 127,
                (7, _) => 229,
                (_, 0) => 0,
                (0..8, _) => 205,
                _ => 255,
            };
            bits.map(level)
        }
        Color::Index(it @ 16..232) => {
            let level = |it: u8| if it == 0 { 0 } else { 55 + 40 * it };
            let it = it - 16;
            [level(it / 36), level(it / 6 % 6), level(it % 6)]
        }
        Color::Index(it) => [8 + 10 * (it - 232); 3],
    }
}

const COLOR_NAMES: [&str; 8] =
    ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/// Reads a style as people write it: `bold #ff8800`, `dim`, `bright-red`, `208`, `bg:#202020`.
pub(crate) fn parse_ink(text: &str) -> Result<Ink, String> {
    let mut ink = NO_INK;
    for word in text.split_whitespace() {
        match word {
            "bold" => ink.bold = true,
            "dim" => ink.dim = true,
            "italic" => ink.italic = true,
            "underline" => ink.underline = true,
            "none" => {}
            _ => match word.strip_prefix("bg:") {
                Some(it) => ink.bg = Some(parse_color(it)?),
                None => ink.fg = Some(parse_color(word)?),
            },
        }
    }
    Ok(ink)
}

fn parse_color(word: &str) -> Result<Color, String> {
    if let Some(hex) = word.strip_prefix('#') {
        let is_hex = hex.len() == 6 && hex.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u32::from_str_radix(hex, 16).ok().filter(|_| is_hex);
        return number.map(rgb).ok_or_else(|| format!("{word} is no #rrggbb"));
    }
    if let Ok(it) = word.parse() {
        return Ok(Color::Index(it));
    }
    let (name, offset) = word.strip_prefix("bright-").map_or((word, 0), |it| (it, 8));
    match (0..).zip(COLOR_NAMES).find(|(_, it)| *it == name) {
        Some((nth, _)) => Ok(Color::Index(nth + offset)),
        None => Err(format!(
            "{word} is no colour; there are {}, each also with bright- before it, numbers from \
             0 to 255 and #rrggbb, and bold, dim, italic, underline",
            COLOR_NAMES.join(", ")
        )),
    }
}

/// The same as [`parse_ink`] reads it.
pub(crate) fn describe_ink(ink: Ink) -> String {
    let color = |it: Color| match it {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        Color::Index(it @ 0..8) => COLOR_NAMES[usize::from(it)].to_owned(),
        Color::Index(it @ 8..16) => format!("bright-{}", COLOR_NAMES[usize::from(it) - 8]),
        Color::Index(it) => it.to_string(),
    };
    let styles = [
        (ink.bold, "bold"),
        (ink.dim, "dim"),
        (ink.italic, "italic"),
        (ink.underline, "underline"),
    ];
    let mut words: Vec<_> =
        styles.iter().filter(|(is_on, _)| *is_on).map(|(_, it)| (*it).to_owned()).collect();
    words.extend(ink.fg.map(color));
    words.extend(ink.bg.map(|it| format!("bg:{}", color(it))));
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Web Content Accessibility Guidelines compute it: from 1 to 21.
    fn contrast(one: Color, other: Color) -> f64 {
        let luminance = |it: Color| {
            let linear = components(it).map(|it| {
                let it = f64::from(it) / 255.0;
                if it <= 0.04045 { it / 12.92 } else { ((it + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn every_palette_can_be_read_on_what_it_is_made_for() {
        for palette in &PALETTES {
            let Some(background) = palette.background else { continue };
            for ((name, _), ink) in MEANINGS.iter().zip(palette.inks) {
                let Some(fg) = ink.fg else { panic!("{} {name} has no colour", palette.name) };
                // The guidelines want 4.5 of text.
                let contrast_on = |ground| contrast(fg, ground);
                assert!(contrast_on(background) >= 4.5, "{} {name}", palette.name);
                for ground in palette.grounds {
                    let contrast = contrast_on(ground);
                    assert!(contrast >= 4.0, "{} {name}: {contrast} as powerline", palette.name);
                }
            }
        }
    }

    #[test]
    fn a_style_is_read_as_it_is_described() {
        for text in ["none", "bold", "dim italic underline 208", "bright-red bg:black", "#0a0B0c"] {
            let ink = parse_ink(text).unwrap();
            assert_eq!(describe_ink(ink), text.to_lowercase());
            assert_eq!(parse_ink(&describe_ink(ink)).unwrap(), ink);
        }
        for text in ["256", "#12345", "#12345g", "#+12345", "blak", "bright-", "bg:", "-1"] {
            assert!(parse_ink(text).is_err(), "{text}");
        }
    }

    #[test]
    fn colours_are_reduced_to_the_nearest() {
        let orange = Color::Rgb(255, 135, 0);
        assert_eq!(reduce(orange, Depth::True), orange);
        assert_eq!(reduce(orange, Depth::Indexed), Color::Index(208));
        assert_eq!(reduce(Color::Rgb(250, 10, 10), Depth::Ansi), Color::Index(9));
        assert_eq!(reduce(Color::Index(208), Depth::Ansi), Color::Index(3));
        assert_eq!(reduce(Color::Index(13), Depth::Ansi), Color::Index(13));
    }

    #[test]
    fn a_line_without_colour_has_no_escape_sequence_at_all() {
        let painted = "\x1b]8;;https://x/\x1b\\a\x1b]8;;\x1b\\ \x1b[1;38;5;3mb\x1b[0m c\x1b[0m";
        assert_eq!(plain(painted), "a b c");
    }
}
