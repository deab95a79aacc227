//! PURE. Draws the screen: which of the panels there is room for, and where they stand.
//!
//! The list of sessions stands below the head and the accounts, and has at least three lines. On a
//! higher screen come, in this order: the keys, the headings of the list, more of its lines, all
//! about the limits, the chosen session, what was used.

use ratatui_core::layout::Rect;
use ratatui_core::terminal::Frame;

use super::backend::style;
use super::panels::{Facts, GAP, Line, Panels, blanks};
use super::state::{Page, State};
use crate::display::look::Look;
use crate::display::paint::Paint;
use crate::display::text::{self, Text};
use crate::display::view::Style;
use crate::overview::{Pen, Row};
use crate::sessions::table;
use crate::store::schema::display::Color;
use crate::time::MINUTE_MS;

/// What was drawn, as far as it matters afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    /// How many sessions the list has room for.
    pub(super) n_visible: usize,
    /// Whether an age in seconds may be on the screen.
    pub(super) has_seconds: bool,
}

/// The fewest rows of a screen with the keys at its bottom, and with headings above the list.
const FOOT_FROM: usize = 8;
const HEADINGS_FROM: usize = 7;
/// The fewest rows of a screen with a line about the accounts.
const ACCOUNTS_FROM: usize = 5;
/// The least of the list that stays when there is something else to show.
const LEAST_LISTED: usize = 3;
/// The least of a session, and of the usage, that is worth showing: a title and two lines.
const LEAST_PANEL: usize = 3;
/// The fewest columns in which the session and the usage stand side by side.
const TWO_COLUMNS_FROM: usize = 100;

/// Draws everything that is known.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    state: &mut State,
    facts: Facts<'_>,
    terminal: &Style,
) -> Drawn {
    let look = Look::of(&facts.snapshot.display.theme, terminal, None);
    let preset = look.preset;
    let pen = Pen { now_ms: facts.now_ms, is_ascii: preset.is_ascii, ellipsis: preset.ellipsis };
    let panels = Panels { facts, pen };
    let mut sheet = Sheet { frame, look };
    let rows = state.rows(facts.snapshot);
    let area = sheet.frame.area();
    let (columns, height) = (usize::from(area.width), usize::from(area.height));
    sheet.put(area, 0, panels.head(state, rows.len(), columns), None);
    let n_foot = usize::from(height >= FOOT_FROM);
    let body = below(area, 1, n_foot);
    if n_foot > 0 {
        sheet.put(area, height - 1, panels.foot(state, columns), None);
    }
    let chosen = state.find(&rows);
    match (state.page, chosen) {
        (Page::Help, _) => {
            sheet.scrolled(body, panels.help(), state);
            Drawn { n_visible: usize::from(body.height), has_seconds: false }
        }
        (Page::Detail, Some(place)) => {
            let row = &rows[place];
            let mut lines = vec![panels.rule(&panels.title(row), columns)];
            lines.extend(panels.detail(row, columns, true));
            sheet.scrolled(body, lines, state);
            Drawn { n_visible: usize::from(body.height), has_seconds: is_recent(row, &facts) }
        }
        _ => list(&mut sheet, body, state, &panels, &rows),
    }
}

/// Says why there is nothing to draw.
pub(super) fn draw_message(frame: &mut Frame<'_>, message: &str) {
    let area = frame.area();
    for (row, line) in (0..area.height).zip(message.lines()) {
        let text = Text::of(Paint::Plain, line);
        for (_, piece, _) in text.pieces() {
            frame.buffer_mut().set_string(0, row, piece, ratatui_core::style::Style::new());
        }
    }
}

/// The accounts, the list, and what else there is room for.
fn list(
    sheet: &mut Sheet<'_, '_, '_>,
    body: Rect,
    state: &mut State,
    panels: &Panels<'_>,
    rows: &[Row<'_>],
) -> Drawn {
    let (columns, height) = (usize::from(body.width), usize::from(body.height));
    let screen = height + 1;
    let n_headings = usize::from(screen >= HEADINGS_FROM);
    let least = n_headings + rows.len().clamp(1, LEAST_LISTED);
    let mut accounts = panels.accounts(columns);
    let wanted = n_headings + rows.len().max(1);
    // The accounts in full, unless the list would get less than half of the screen for that.
    if accounts.len() + wanted.min(height / 2).max(least) > height {
        let n_lines = if screen < ACCOUNTS_FROM { 0 } else { (screen / 8).max(1) };
        accounts = panels.accounts_in_short(columns, n_lines);
    }
    let n_accounts = accounts.len();
    for (nth, line) in accounts.into_iter().enumerate() {
        sheet.put(body, nth, line, None);
    }
    let left = height - n_accounts.min(height);
    // A long list leaves half of its room to the chosen session.
    let n_list = if wanted + LEAST_PANEL <= left {
        wanted
    } else if left >= 2 * (least + LEAST_PANEL) {
        wanted.min(left / 2)
    } else {
        left
    };
    let n_visible = n_list.saturating_sub(n_headings);
    let place = state.find(rows);
    state.first = scrolled_to(state.first, place.unwrap_or(0), n_visible, rows.len());
    let lines = if rows.is_empty() {
        Vec::new()
    } else {
        table::table(rows, &panels.pen, columns.saturating_sub(2))
    };
    let mut y = n_accounts;
    if n_headings > 0 && !lines.is_empty() {
        let mut heading = vec![blanks(2)];
        heading.extend(lines[0].clone());
        sheet.put(body, y, heading, None);
    }
    y += n_headings;
    if rows.is_empty() && n_visible > 0 {
        let why = match (state.filter.is_empty(), state.is_listing_ended) {
            (false, _) => "no session has these words: Esc lists all",
            (true, true) => "no session is known",
            (true, false) => "nothing to list: a lists sessions that have ended",
        };
        sheet.put(body, y, vec![Text::of(Paint::Dim, why)], None);
    }
    let marker = if panels.pen.is_ascii { "> " } else { "▶ " };
    let visible = state.first..rows.len().min(state.first + n_visible);
    for nth in visible.clone() {
        let is_chosen = Some(nth) == place;
        let mut line = vec![match is_chosen {
            true => Text::of(Paint::Place, marker),
            false => blanks(2),
        }];
        line.extend(lines[nth + 1].clone());
        sheet.put(body, y + nth - state.first, line, is_chosen.then_some(Chosen));
    }
    let mut has_seconds = rows[visible].iter().any(|row| is_recent(row, &panels.facts));
    if let Some(row) = place.map(|it| &rows[it]) {
        let rest = below(body, n_accounts + n_list, 0);
        has_seconds |= details(sheet, rest, panels, row) && is_recent(row, &panels.facts);
    }
    Drawn { n_visible, has_seconds }
}

/// The chosen session, and what was used, where there is room. Returns whether the session is
/// shown.
fn details(sheet: &mut Sheet<'_, '_, '_>, rest: Rect, panels: &Panels<'_>, row: &Row<'_>) -> bool {
    let (columns, height) = (usize::from(rest.width), usize::from(rest.height));
    if height < LEAST_PANEL {
        return false;
    }
    let title = panels.title(row);
    let is_wide = columns >= TWO_COLUMNS_FROM;
    let left = if is_wide { columns * 11 / 20 } else { columns };
    let mut lines = vec![panels.rule(&title, left)];
    lines.extend(panels.detail(row, left, false));
    if is_wide {
        sheet.put_all(Rect { width: left as u16, ..rest }, lines);
        let indent = (left + GAP) as u16;
        let right = Rect { x: rest.x + indent, width: rest.width - indent, ..rest };
        usage(sheet, right, panels);
        return true;
    }
    // The usage stands below the session, at least in short.
    let n_detail = match height - lines.len().min(height) {
        LEAST_PANEL.. => lines.len(),
        _ if height >= 3 * LEAST_PANEL => height - LEAST_PANEL,
        _ => height,
    };
    lines.truncate(n_detail);
    sheet.put_all(rest, lines);
    usage(sheet, below(rest, n_detail, 0), panels);
    true
}

fn usage(sheet: &mut Sheet<'_, '_, '_>, area: Rect, panels: &Panels<'_>) {
    let height = usize::from(area.height);
    if height < LEAST_PANEL {
        return;
    }
    let columns = usize::from(area.width);
    let mut lines = vec![panels.rule("usage of all accounts", columns)];
    lines.extend(panels.usage(columns, height - 1));
    sheet.put_all(area, lines);
}

/// Whether an age of this session is a number of seconds.
fn is_recent(row: &Row<'_>, facts: &Facts<'_>) -> bool {
    let message = row.session.last_message.as_ref().map(|it| it.at_ms);
    let times = [row.since_ms(), Some(row.session.last_activity_ms), message];
    times.into_iter().flatten().any(|at_ms| facts.now_ms.saturating_sub(at_ms) < MINUTE_MS)
}

/// The first line that is shown, so that the chosen one is among those that are.
fn scrolled_to(first: usize, place: usize, n_visible: usize, n_lines: usize) -> usize {
    let least = (place + 1).saturating_sub(n_visible);
    first.clamp(least, place.max(least)).min(n_lines.saturating_sub(n_visible))
}

/// An area without so many rows at its top and at its bottom.
fn below(area: Rect, n_above: usize, n_below: usize) -> Rect {
    let above = u16::try_from(n_above).unwrap_or(u16::MAX).min(area.height);
    let height = (area.height - above).saturating_sub(n_below as u16);
    Rect { y: area.y + above, height, ..area }
}

/// That a line is the chosen one.
#[derive(Clone, Copy)]
struct Chosen;

/// What is drawn on.
struct Sheet<'a, 'b, 'c> {
    frame: &'a mut Frame<'b>,
    look: Look<'c>,
}

impl Sheet<'_, '_, '_> {
    /// Draws a line, cut to the width of the area.
    fn put(&mut self, area: Rect, row: usize, mut line: Line, chosen: Option<Chosen>) {
        if row >= usize::from(area.height) {
            return;
        }
        let y = area.y + row as u16;
        text::cut(&mut line, area.width.into(), self.look.preset.ellipsis);
        let background: Option<Color> = chosen.and_then(|_| self.look.chosen());
        let buffer = self.frame.buffer_mut();
        let mut x = area.x;
        for (paint, piece, _) in line.iter().flat_map(Text::pieces) {
            let mut ink = self.look.ink(paint);
            ink.bg = ink.bg.or(background);
            ink.bold |= chosen.is_some();
            let room = usize::from(area.right().saturating_sub(x));
            (x, _) = buffer.set_stringn(x, y, piece, room, style(ink));
        }
        if background.is_some() {
            let rest = Rect { x, y, width: area.right().saturating_sub(x), height: 1 };
            let ink = crate::store::schema::display::Ink {
                bg: background,
                ..self.look.ink(Paint::Plain)
            };
            buffer.set_style(rest, style(ink));
        }
    }

    fn put_all(&mut self, area: Rect, lines: Vec<Line>) {
        for (row, line) in lines.into_iter().enumerate() {
            self.put(area, row, line, None);
        }
    }

    /// Draws a page of text from the line on that the user has scrolled to.
    fn scrolled(&mut self, area: Rect, mut lines: Vec<Line>, state: &mut State) {
        let most = lines.len().saturating_sub(area.height.into());
        state.first_of_page = state.first_of_page.min(most);
        lines.drain(..state.first_of_page);
        self.put_all(area, lines);
    }
}

#[cfg(test)]
mod tests;
