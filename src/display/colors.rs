//! PURE. Colours and styles: how the configuration writes them, how they look, and which colour of
//! a terminal comes nearest.

use crate::store::schema::display::{Color, Depth, Ink};

/// The terminal's own colours and no style.
pub(crate) const NO_INK: Ink =
    Ink { fg: None, bg: None, bold: false, dim: false, italic: false, underline: false };

/// The names of the first eight colours of every terminal. `bright-` before one names one of the
/// next eight.
pub(crate) const COLOR_NAMES: [&str; 8] =
    ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/// Reads a style as the configuration writes it: `bold #ff8800`, `dim`, `bright-red`, `208`,
/// `bg:#202020`. The error is a message for the user.
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
                Some(background) => ink.bg = Some(parse_color(background)?),
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
        return number.map(rgb).ok_or_else(|| format!("{word} is not of the form #rrggbb"));
    }
    if let Ok(index) = word.parse() {
        return Ok(Color::Index(index));
    }
    let (name, offset) = word.strip_prefix("bright-").map_or((word, 0), |name| (name, 8));
    match (0..).zip(COLOR_NAMES).find(|(_, known)| *known == name) {
        Some((nth, _)) => Ok(Color::Index(nth + offset)),
        None => Err(format!(
            "{word} is not a colour; there are {}, each also with bright- before it, numbers from \
             0 to 255 and #rrggbb, and bold, dim, italic, underline",
            COLOR_NAMES.join(", ")
        )),
    }
}

/// Writes a style in the form that [`parse_ink`] reads.
pub(crate) fn describe_ink(ink: Ink) -> String {
    let color = |color: Color| match color {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        Color::Index(index @ 0..8) => COLOR_NAMES[usize::from(index)].to_owned(),
        Color::Index(index @ 8..16) => format!("bright-{}", COLOR_NAMES[usize::from(index) - 8]),
        Color::Index(index) => index.to_string(),
    };
    let styles = [
        (ink.bold, "bold"),
        (ink.dim, "dim"),
        (ink.italic, "italic"),
        (ink.underline, "underline"),
    ];
    let mut words: Vec<_> =
        styles.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| (*name).to_owned()).collect();
    words.extend(ink.fg.map(color));
    words.extend(ink.bg.map(|it| format!("bg:{}", color(it))));
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

/// A colour from `0xrrggbb`.
pub(super) const fn rgb(hex: u32) -> Color {
    let [_, red, green, blue] = hex.to_be_bytes();
    Color::Rgb(red, green, blue)
}

/// The nearest colour that a terminal of this depth has.
pub(super) fn nearest(color: Color, depth: Depth) -> Color {
    let among = |indices: std::ops::Range<u8>| {
        let rgb = components(color);
        let difference = |index: &u8| distance(components(Color::Index(*index)), rgb);
        Color::Index(indices.min_by_key(difference).unwrap_or(7))
    };
    match (color, depth) {
        (Color::Index(16..), Depth::Ansi) | (Color::Rgb(..), Depth::Ansi) => among(0..16),
        // A range of u8 cannot hold the last index. The one before is a grey that differs little.
        (Color::Rgb(..), Depth::Indexed) => among(16..255),
        _ => color,
    }
}

/// The square of the distance in the space of red, green and blue.
fn distance(one: [u8; 3], other: [u8; 3]) -> u32 {
    one.iter().zip(other).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

/// Red, green and blue of a colour as most terminals show it.
pub(crate) fn components(color: Color) -> [u8; 3] {
    match color {
        Color::Rgb(red, green, blue) => [red, green, blue],
        Color::Index(index @ 0..16) => {
            let bits = [index & 1, index >> 1 & 1, index >> 2 & 1];
            let level = |bit: u8| match (index, bit) {
                (8, _) => 127,
                (7, _) => 229,
                (_, 0) => 0,
                (0..8, _) => 205,
                _ => 255,
            };
            bits.map(level)
        }
        Color::Index(index @ 16..232) => {
            let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
            let index = index - 16;
            [level(index / 36), level(index / 6 % 6), level(index % 6)]
        }
        Color::Index(index) => [8 + 10 * (index - 232); 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_described_style_reads_as_the_same_style() {
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
    fn a_colour_that_the_terminal_lacks_becomes_the_nearest_one() {
        let orange = Color::Rgb(255, 135, 0);
        assert_eq!(nearest(orange, Depth::True), orange);
        assert_eq!(nearest(orange, Depth::Indexed), Color::Index(208));
        assert_eq!(nearest(Color::Rgb(250, 10, 10), Depth::Ansi), Color::Index(9));
        assert_eq!(nearest(Color::Index(208), Depth::Ansi), Color::Index(3));
        assert_eq!(nearest(Color::Index(13), Depth::Ansi), Color::Index(13));
    }
}
