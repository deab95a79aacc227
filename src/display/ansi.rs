//! PURE. Escape sequences: writes them for styles and links, and removes them again.
//!
//! **Invariant:** no other file of the display writes an escape sequence.

use std::fmt::{Arguments, Write};

use super::colors::{NO_INK, nearest};
use crate::store::schema::display::{Color, Depth, Ink};

const RESET: &str = "\x1b[0m";
/// Operating System Command 8, which starts a link on terminals that support it.
const LINK: &str = "\x1b]8;;";
/// String Terminator, which ends an Operating System Command.
const TERMINATOR: &str = "\x1b\\";

/// Shows the terminal's other screen, which is empty, without a cursor.
pub const ENTER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
/// Shows the terminal as it was before [`ENTER_SCREEN`].
pub const LEAVE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

/// Erases the whole screen.
pub const CLEAR_SCREEN: &str = "\x1b[2J";
/// Synchronized output: a terminal that knows it shows what comes between these at once.
const BEGIN_UPDATE: &str = "\x1b[?2026h";
const END_UPDATE: &str = "\x1b[?2026l";

/// Puts the cursor into this column and row, which count from zero.
pub fn move_to(column: u16, row: u16, out: &mut String) {
    write!(out, "\x1b[{};{}H", row + 1, column + 1).expect("writing to a string cannot fail");
}

/// What a terminal shall show at once.
pub fn at_once(changes: &str) -> String {
    format!("{BEGIN_UPDATE}{changes}{END_UPDATE}")
}

/// What draws these lines in place of everything on the screen. Terminals that can show all of it
/// at once do so.
pub fn frame<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut out = "\x1b[H".to_owned();
    for (nth, line) in lines.enumerate() {
        // The rest of a line is erased before it is written: at the right edge, erasing it
        // afterwards would take the last character.
        out.extend([if nth > 0 { "\r\n" } else { "" }, "\x1b[2K", line]);
    }
    at_once(&(out + "\x1b[J"))
}

/// Writes a piece of text in a style and as a link; without either where `depth` is
/// [`Depth::None`].
pub fn write(piece: &str, ink: Ink, link: Option<&str>, depth: Depth, out: &mut String) {
    if depth == Depth::None {
        return out.push_str(piece);
    }
    if let Some(url) = link {
        out.extend([LINK, url, TERMINATOR]);
    }
    if ink == NO_INK {
        out.push_str(piece);
    } else {
        start_style(ink, depth, out);
        out.push_str(piece);
        out.push_str(RESET);
    }
    if link.is_some() {
        out.extend([LINK, TERMINATOR]);
    }
}

/// Makes the line that starts at byte `start` of `out` end with a reset, so that it cannot colour
/// what follows it on the terminal.
pub(super) fn end_line(start: usize, depth: Depth, out: &mut String) {
    if depth > Depth::None && !out[start..].ends_with(RESET) {
        out.push_str(RESET);
    }
}

/// Select Graphic Rendition.
fn start_style(ink: Ink, depth: Depth, out: &mut String) {
    out.push_str("\x1b[");
    let mut separator = "";
    let mut code = |code: Arguments<'_>| {
        write!(out, "{separator}{code}").expect("writing to a string cannot fail");
        separator = ";";
    };
    let styles = [(ink.bold, 1), (ink.dim, 2), (ink.italic, 3), (ink.underline, 4)];
    for (_, number) in styles.iter().filter(|(is_on, _)| *is_on) {
        code(format_args!("{number}"));
    }
    for (color, base) in [(ink.fg, 30), (ink.bg, 40)] {
        match color.map(|it| nearest(it, depth)) {
            None => {}
            Some(Color::Index(index @ 0..8)) => code(format_args!("{}", base + u32::from(index))),
            Some(Color::Index(index @ 8..16)) => {
                code(format_args!("{}", base + 52 + u32::from(index)));
            }
            Some(Color::Index(index)) => code(format_args!("{};5;{index}", base + 8)),
            Some(Color::Rgb(red, green, blue)) => {
                code(format_args!("{};2;{red};{green};{blue}", base + 8));
            }
        }
    }
    out.push('m');
}

/// A line that this module wrote, without its escape sequences.
pub fn without_colour(line: &str) -> String {
    let mut pieces = line.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    // Sequences other than those written above do not occur: text is sanitized.
    pieces.fold(first, |text, piece| {
        let rest = match piece.as_bytes().first() {
            Some(b'[') => piece.split_once('m').map_or("", |(_, rest)| rest),
            Some(b'\\') => &piece[1..],
            _ => "",
        };
        text + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_colour_has_no_escape_sequence_at_all() {
        let painted = "\x1b]8;;https://x/\x1b\\a\x1b]8;;\x1b\\ \x1b[1;38;5;3mb\x1b[0m c\x1b[0m";
        assert_eq!(without_colour(painted), "a b c");
    }
}
