//! PURE. What ratatui needs to draw on a terminal, as text for the terminal.
//!
//! ratatui's own backends would write colours in a form that terminals with sixteen colours do not
//! know, and need a second version of `signal-hook`; so this one writes them as the line does. See
//! ARCHITECTURE.md, "Packages".

use std::convert::Infallible;

use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier, Style};

use crate::display::ansi;
use crate::display::text::width;
use crate::store::schema::display::{self, Depth, Ink};

/// Collects what the terminal is to be sent.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) size: Size,
    pub(super) depth: Depth,
    /// Changes of the screen that have not been sent.
    changes: String,
}

impl Output {
    pub(super) fn new(size: Size, depth: Depth) -> Output {
        Output { size, depth, changes: String::new() }
    }

    /// What to send to the terminal, which shows it at once. `None` if nothing has changed.
    pub(super) fn take(&mut self) -> Option<String> {
        let changes = std::mem::take(&mut self.changes);
        (!changes.is_empty()).then(|| ansi::at_once(&changes))
    }
}

impl Backend for Output {
    type Error = Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Infallible>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        // Neighbours in the same style are written together.
        let mut run = String::new();
        let mut run_ink = Ink::default();
        let mut next = None;
        for (column, row, cell) in content {
            let ink = ink(cell);
            if next != Some((column, row)) || ink != run_ink {
                ansi::write(&run, run_ink, None, self.depth, &mut self.changes);
                run.clear();
                run_ink = ink;
                if next != Some((column, row)) {
                    ansi::move_to(column, row, &mut self.changes);
                }
            }
            run.push_str(cell.symbol());
            // A terminal may stop at its right edge, or begin the next line.
            let after = column + u16::try_from(width(cell.symbol())).unwrap_or(1);
            next = (after < self.size.width).then_some((after, row));
        }
        if !run.is_empty() {
            ansi::write(&run, run_ink, None, self.depth, &mut self.changes);
        }
        Ok(())
    }

    /// It is hidden all the time.
    fn hide_cursor(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn show_cursor(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn get_cursor_position(&mut self) -> Result<Position, Infallible> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, _: P) -> Result<(), Infallible> {
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Infallible> {
        self.changes.push_str(ansi::CLEAR_SCREEN);
        Ok(())
    }

    /// Only all of it is ever cleared.
    fn clear_region(&mut self, _: ClearType) -> Result<(), Infallible> {
        self.clear()
    }

    fn size(&self) -> Result<Size, Infallible> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> Result<WindowSize, Infallible> {
        Ok(WindowSize { columns_rows: self.size, pixels: Size::default() })
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The largest screen that is drawn. ratatui keeps 80 bytes of each cell, and whatever opens a
/// terminal may say any size of it.
const MAX_SIZE: Size = Size::new(1000, 500);

/// The part of a screen that is drawn.
pub(super) fn bounded(columns: usize, rows: usize) -> Size {
    let cells = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    Size::new(cells(columns).min(MAX_SIZE.width), cells(rows).min(MAX_SIZE.height))
}

/// The style for a cell of ratatui.
pub(super) fn style(ink: Ink) -> Style {
    let color = |color: Option<display::Color>| match color {
        None => Color::Reset,
        Some(display::Color::Index(index)) => Color::Indexed(index),
        Some(display::Color::Rgb(red, green, blue)) => Color::Rgb(red, green, blue),
    };
    let mut modifier = Modifier::empty();
    modifier.set(Modifier::BOLD, ink.bold);
    modifier.set(Modifier::DIM, ink.dim);
    modifier.set(Modifier::ITALIC, ink.italic);
    modifier.set(Modifier::UNDERLINED, ink.underline);
    Style::new().fg(color(ink.fg)).bg(color(ink.bg)).add_modifier(modifier)
}

/// The ink that [`style`] was given.
fn ink(cell: &Cell) -> Ink {
    let color = |color| match color {
        Color::Indexed(index) => Some(display::Color::Index(index)),
        Color::Rgb(red, green, blue) => Some(display::Color::Rgb(red, green, blue)),
        _ => None,
    };
    let has = |modifier| cell.modifier.contains(modifier);
    Ink {
        fg: color(cell.fg),
        bg: color(cell.bg),
        bold: has(Modifier::BOLD),
        dim: has(Modifier::DIM),
        italic: has(Modifier::ITALIC),
        underline: has(Modifier::UNDERLINED),
    }
}

#[cfg(test)]
mod tests {
    use ratatui_core::terminal::Terminal;

    use super::*;

    /// What is sent for `text` in a colour, on a screen of six columns and two rows.
    fn sent(depth: Depth, text: &str) -> String {
        let mut terminal = Terminal::new(Output::new(Size::new(6, 2), depth)).unwrap();
        let ink = Ink { fg: Some(display::Color::Index(9)), bold: true, ..Ink::default() };
        let draw = |terminal: &mut Terminal<Output>, text: &str| {
            let draw = |frame: &mut ratatui_core::terminal::Frame<'_>| {
                frame.buffer_mut().set_string(1, 1, text, style(ink));
            };
            terminal.draw(draw).unwrap();
            terminal.backend_mut().take()
        };
        draw(&mut terminal, "abcd");
        assert_eq!(draw(&mut terminal, "abcd"), None, "nothing has changed");
        draw(&mut terminal, text).unwrap()
    }

    #[test]
    fn a_terminal_that_says_it_is_huge_takes_little_memory() {
        assert_eq!(bounded(80, 24), Size::new(80, 24));
        let Size { width, height } = bounded(1 << 20, 65_535);
        assert!((u32::from(width) * u32::from(height)) <= 500_000);
    }

    #[test]
    fn only_what_changed_is_sent_and_as_one_update() {
        let whole = sent(Depth::Ansi, "aXYd");
        assert_eq!(whole, "\x1b[?2026h\x1b[2;3H\x1b[1;91mXY\x1b[0m\x1b[?2026l");
        assert_eq!(sent(Depth::None, "aXYd"), "\x1b[?2026h\x1b[2;3HXY\x1b[?2026l");
        // A character of two columns is followed by what comes after both.
        assert_eq!(sent(Depth::None, "字cZ"), "\x1b[?2026h\x1b[2;2H字\x1b[2;5HZ\x1b[?2026l");
    }
}
