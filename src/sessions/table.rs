//! PURE. `ccstatusd sessions` as a table: what is known of each session, in the columns that fit.
//!
//! **Invariant:** a line is no wider than the terminal, and no number in it is cut: a column of
//! numbers is shown whole or left out. (Below 40 columns, even the first column may be cut.)
//!
//! Where there is no room for all lines, accounts are left out first, and then the last sessions.

use crate::display::look::Look;
use crate::display::paint::Paint;
use crate::display::text::Text;
use crate::display::view::Style;
use crate::overview::{self, Activity, Column, Pen, Row};
use crate::store::schema::Snapshot;

/// What a table is drawn from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Whether it is known that no watcher runs.
    pub(crate) has_no_watcher: bool,
    pub(crate) now_ms: i64,
    /// The home directory, which is shown as `~`.
    pub(crate) home: Option<&'a str>,
    /// The local time of the snapshot, for a table that is read later than it is drawn. Without it,
    /// the table says how old the snapshot is.
    pub(crate) published_at: Option<&'a str>,
    pub(crate) which: Which,
    /// The most lines that there is room for.
    pub(crate) n_rows: usize,
}

/// Which sessions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Live,
    /// Those that wait for the user.
    Waiting,
    /// Also those that ended, as far as the snapshot has them.
    All,
}

impl Which {
    pub(crate) fn lists(self, row: &Row<'_>) -> bool {
        match self {
            Which::Live => row.activity != Activity::Ended,
            Which::Waiting => row.activity == Activity::Waiting,
            Which::All => true,
        }
    }
}

const FROM_LEFT: [Column; 11] = [
    Column::Status,
    Column::WaitsFor,
    Column::Project,
    Column::Branch,
    Column::Name,
    Column::Model,
    Column::Context,
    Column::Cost,
    Column::Burn,
    Column::Active,
    Column::Health,
];
/// The order in which columns are added while there is room.
const BY_PRIORITY: [Column; 11] = [
    Column::Status,
    Column::Project,
    Column::Context,
    Column::Cost,
    Column::WaitsFor,
    Column::Branch,
    Column::Active,
    Column::Health,
    Column::Model,
    Column::Burn,
    Column::Name,
];

/// The space between two columns, and between two parts of a line about an account.
const GAP: usize = 2;
/// The most that a column of texts takes.
const MAX_TEXT: usize = 40;
/// How far the lines that continue one are indented.
const INDENT: usize = 2;

/// Draws the table, as lines without newlines.
pub(crate) fn lines(view: &View<'_>, style: &Style) -> Vec<String> {
    let look = Look::of(&view.snapshot.display.theme, style, None);
    let usable = style.columns.unwrap_or(usize::MAX).max(1);
    let preset = look.preset;
    let pen = Pen { now_ms: view.now_ms, is_ascii: preset.is_ascii, ellipsis: preset.ellipsis };
    let all = overview::rows(view.snapshot);
    let rows: Vec<_> = all.iter().filter(|it| view.which.lists(it)).copied().collect();
    let mut lines = wrapped(head(view, &pen, rows.len(), all.len()), usable);
    let accounts: Vec<_> = overview::accounts(view.snapshot, view.now_ms)
        .iter()
        .flat_map(|it| wrapped(pen.account(it, view.home), usable))
        .collect();
    let mut table = if rows.is_empty() { Vec::new() } else { table(&rows, &pen, usable) };
    if lines.len() + accounts.len() + 1 + table.len() <= view.n_rows {
        lines.extend(accounts);
        if !table.is_empty() {
            lines.push(Vec::new());
        }
    }
    let n_cut = (lines.len() + table.len()).saturating_sub(view.n_rows);
    if n_cut > 0 {
        // The line `+N more` takes the place of one more session.
        table.truncate(table.len().saturating_sub(n_cut + 1));
        let n_listed = table.len().saturating_sub(1);
        let more = format!("+{} more", rows.len() - n_listed);
        table.push(vec![Text::of(Paint::Dim, &more)]);
    }
    lines.extend(table);
    lines.into_iter().map(|it| look.paint_cut(it, usable)).collect()
}

/// How many sessions are listed, how old the snapshot is, and what is wrong with it.
fn head(view: &View<'_>, pen: &Pen, n_listed: usize, n_all: usize) -> Vec<Text> {
    let what = match (view.which, n_listed) {
        (Which::Waiting, 0) => "no session waits for you".to_owned(),
        (_, 0) => "no session of Claude Code runs".to_owned(),
        (_, 1) => "1 session".to_owned(),
        _ => format!("{n_listed} sessions"),
    };
    let mut parts = vec![Text::of(Paint::Plain, &what)];
    let n_more = n_all - n_listed;
    if view.which == Which::Live && n_listed == 0 && n_more > 0 {
        parts.push(Text::of(Paint::Dim, &format!("{n_more} ended (--all)")));
    }
    let age = match view.published_at {
        Some(time) => format!("as of {time}"),
        None => format!("as of {} ago", pen.age(view.snapshot.published_at_ms)),
    };
    parts.push(Text::of(Paint::Dim, &age));
    if view.has_no_watcher {
        parts.push(Text::of(Paint::Warning, "no watcher runs: ccstatusd start"));
    }
    let n_degraded = view.snapshot.degraded.len();
    if n_degraded > 0 {
        let (noun, verb) = if n_degraded == 1 { ("source", "fails") } else { ("sources", "fail") };
        let what = format!("{n_degraded} {noun} {verb}: ccstatusd doctor");
        parts.push(Text::of(Paint::Warning, &what));
    }
    parts
}

/// Puts parts side by side, and those that do not fit into further lines.
fn wrapped(parts: Vec<Text>, usable: usize) -> Vec<Vec<Text>> {
    let mut lines: Vec<Vec<Text>> = Vec::new();
    let mut taken = 0;
    for part in parts {
        let width = part.width();
        match lines.last_mut().filter(|_| taken + GAP + width <= usable) {
            Some(line) => {
                line.extend([blanks(GAP), part]);
                taken += GAP + width;
            }
            None => {
                let indent = if lines.is_empty() { 0 } else { INDENT };
                taken = indent + width;
                lines.push(vec![blanks(indent), part]);
            }
        }
    }
    lines
}

/// The headings and a line for each session, in at most `usable` columns.
pub(crate) fn table(rows: &[Row<'_>], pen: &Pen, usable: usize) -> Vec<Vec<Text>> {
    let columns = fit(rows, pen, usable);
    let line = |cell: &dyn Fn(Column, usize) -> Text| {
        let mut pieces = Vec::new();
        let mut gap = 0;
        for (column, width) in &columns {
            let cell = cell(*column, *width);
            let blank = width.saturating_sub(cell.width());
            let (before, after) = if column.is_number() { (blank, 0) } else { (0, blank) };
            pieces.extend([blanks(gap + before), cell]);
            gap = after + GAP;
        }
        pieces
    };
    let headings = line(&|column, _| Text::of(Paint::Dim, column.heading()));
    let rows = rows.iter().map(|row| line(&|column, width| pen.cell(column, row, width)));
    std::iter::once(headings).chain(rows).collect()
}

/// The columns that fit, from left to right, each with its width. One that has nothing to say of
/// any session is left out.
fn fit(rows: &[Row<'_>], pen: &Pen, usable: usize) -> Vec<(Column, usize)> {
    let wanted = |column: Column| {
        let width = |row| pen.cell(column, row, MAX_TEXT).width();
        let widest = rows.iter().map(width).max().unwrap_or(0);
        if widest == 0 { 0 } else { widest.max(column.heading().len()) }
    };
    let mut fitted: Vec<(Column, usize, usize)> = Vec::new();
    let mut left = usable;
    for column in BY_PRIORITY {
        let wanted = wanted(column);
        let least = column.least_width().unwrap_or(wanted).max(column.heading().len()).min(wanted);
        let takes = least + if fitted.is_empty() { 0 } else { GAP };
        if fitted.is_empty() || (wanted > 0 && takes <= left) {
            left = left.saturating_sub(takes);
            fitted.push((column, least, wanted));
        }
    }
    for (_, width, wanted) in &mut fitted {
        let more = left.min(*wanted - *width);
        *width += more;
        left -= more;
    }
    let found = |column| fitted.iter().find(|it| it.0 == column).map(|it| (column, it.1));
    FROM_LEFT.into_iter().filter_map(found).collect()
}

fn blanks(count: usize) -> Text {
    Text::of(Paint::Dim, &" ".repeat(count))
}

#[cfg(test)]
mod tests;
