//! PURE. Reports as tables for people.

use jiff::Timestamp;
use jiff::civil::Weekday;

use super::days::{Calendar, Days, Period};
use super::json::Heading;
use super::numbers::{full, length, money};
use super::rows::{
    Account, BlockBounds, ClientCost, Row, SessionNames, Share, Subject, Total, Windows,
};
use super::table::{Cells, Line, Paper, Table, heading, note};
use crate::cli::usage::Part;
use crate::display::model_name::readable;
use crate::sanitize;

/// What a text is made for.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) paper: Paper,
    pub(super) calendar: &'a Calendar,
    /// The home directory, which is written as `~`.
    pub(super) home: Option<&'a str>,
    pub(super) now_ms: i64,
    /// Whether the user asked for some projects, models or sessions alone.
    pub(super) is_filtered: bool,
}

/// The report, each account under a heading of its own.
pub(super) fn text(
    reader: &Reader<'_>,
    about: &Heading<'_>,
    accounts: &[(Account, Option<Windows>)],
) -> String {
    let depth = reader.paper.depth;
    let is_used = |(account, windows): &&(Account, Option<Windows>)| match windows {
        Some(windows) => windows.iter().any(|total| total.n_replies > 0),
        None => !account.rows.is_empty(),
    };
    let used: Vec<_> = accounts.iter().filter(is_used).collect();
    if used.is_empty() {
        return nothing(reader, about, accounts);
    }
    let mut out = String::new();
    for (account, windows) in &used {
        if !out.is_empty() {
            out.push('\n');
        }
        if accounts.len() > 1 || account.roots.len() > 1 {
            let roots: Vec<_> = account.roots.iter().map(|it| it.to_string_lossy()).collect();
            let roots: Vec<_> = roots.iter().map(|it| short_path(it, reader.home)).collect();
            out += &heading(&roots.join(", "), depth);
        }
        out += &match windows {
            Some(windows) => overview(reader, account, windows),
            None => table(reader, about.by, account).render(reader.paper),
        };
        for line in notes(about, account, reader) {
            out += &note(&line, depth);
        }
    }
    out
}

/// Says that nothing was used, where was looked, and since when something is known.
fn nothing(
    reader: &Reader<'_>,
    about: &Heading<'_>,
    accounts: &[(Account, Option<Windows>)],
) -> String {
    let until = about.days.until.unwrap_or(reader.calendar.today);
    let days = match about.days.since {
        Some(since) => format!("from {since} to {until}"),
        None => format!("up to {until}"),
    };
    let matching = if reader.is_filtered { " that matches" } else { "" };
    let mut out = format!("nothing{matching} was used {days}\n");
    for (account, _) in accounts {
        for root in &account.roots {
            let root = sanitize::message(&short_path(&root.to_string_lossy(), reader.home));
            out += &match account.complete_since {
                Some(first) => format!("  {root}: the record begins on {first}\n"),
                None => format!("  {root}: nothing is recorded\n"),
            };
        }
    }
    if accounts.is_empty() {
        out += "  the record is empty\n";
    }
    out
}

fn notes(about: &Heading<'_>, account: &Account, reader: &Reader<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if account.n_left_out > 0 {
        notes.push(format!("{} more; the total is of all", rows(account.n_left_out)));
    }
    if account.rows.iter().any(|it| it.is_partial) {
        notes.push("* in part: the days of this report end within it".to_owned());
    }
    let since = about.days.since;
    if let Some(first) = account.complete_since.filter(|it| since.is_some_and(|since| since < *it))
    {
        notes.push(format!("The record begins on {first}."));
    }
    for row in &account.rows {
        let Subject::Block(BlockBounds { is_active: true, end_ms, burn, projection, .. }) =
            &row.subject
        else {
            continue;
        };
        if let (Some(burn), Some(projection)) = (burn, projection) {
            notes.push(format!(
                "The open block: {}/h; {} by {} at this rate.",
                usd(burn.cost_per_hour),
                usd(projection.cost_usd),
                time(*end_ms, reader.calendar, "%H:%M"),
            ));
        }
    }
    if !account.unpriced.is_empty() {
        let models = account.unpriced.iter();
        let models: Vec<_> = models
            .map(|(model, n)| format!("{} ({})", sanitize::message(model), replies(*n)))
            .collect();
        notes.push(format!("≥ lacks what these cost: {}.", models.join(", ")));
        notes.push("No price is known for them; `[prices.\"model\"]` sets one.".to_owned());
    }
    notes
}

fn rows(n: usize) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

fn replies(n: u64) -> String {
    if n == 1 { "1 reply".to_owned() } else { format!("{} replies", full(n)) }
}

fn usd(usd: f64) -> String {
    money((usd * 1e12) as i128)
}

/// Today, this week and this month, and a bar for each of the last days.
fn overview(reader: &Reader<'_>, account: &Account, windows: &Windows) -> String {
    let names = ["Today", "This week", "This month"].map(str::to_owned).to_vec();
    let mut table = Table::of(vec![Line::Row; names.len()]);
    table.push("", 0, Cells::Fixed(names));
    push_amounts(&mut table, windows.iter().collect(), &[]);
    let days: Vec<(&Days, &Total)> = account
        .rows
        .iter()
        .filter_map(|row| match &row.subject {
            Subject::Days(Period::Day, days) => Some((days, &row.total)),
            _ => None,
        })
        .collect();
    let mut bars = Table::of(vec![Line::Row; days.len()]);
    let day = |days: &Days| days.since.map_or_else(String::new, |it| day_name(it.weekday(), it));
    bars.push("Day", 0, Cells::Fixed(days.iter().map(|it| day(it.0)).collect()));
    let totals: Vec<&Total> = days.iter().map(|it| it.1).collect();
    bars.push("Cost", 0, Cells::Amounts(totals.iter().map(|it| cost(it)).collect()));
    bars.push("", 1, Cells::Bars(shares(&totals)));
    bars.push("Tokens", 2, Cells::Counts(totals.iter().map(|it| it.n_tokens()).collect()));
    table.render(reader.paper) + "\n" + &bars.render(reader.paper)
}

fn day_name(weekday: Weekday, day: jiff::civil::Date) -> String {
    let name = match weekday {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    };
    format!("{name} {day}")
}

/// Each total's share of the greatest cost.
fn shares(totals: &[&Total]) -> Vec<f64> {
    let greatest = totals.iter().map(|it| it.picodollars).max().unwrap_or(0).max(1);
    totals.iter().map(|it| it.picodollars as f64 / greatest as f64).collect()
}

/// A line of the table: a row, a part of one, or the totals.
struct Entry<'a> {
    line: Line,
    row: Option<&'a Row>,
    /// The name of a part.
    part: &'a str,
    total: &'a Total,
}

fn table(reader: &Reader<'_>, by: Option<Part>, account: &Account) -> Table {
    let mut entries = Vec::new();
    for row in &account.rows {
        entries.push(Entry { line: Line::Row, row: Some(row), part: "", total: &row.total });
        entries.extend(row.parts.iter().map(|Share { name, total }| Entry {
            line: Line::Part,
            row: None,
            part: name,
            total,
        }));
    }
    entries.push(Entry { line: Line::Total, row: None, part: "", total: &account.totals });

    let mut table = Table::of(entries.iter().map(|it| it.line).collect());
    push_subjects(&mut table, reader, account, &entries);
    if let Some(by) = by {
        let name = |name: &str| match by {
            Part::Model => readable(name),
            Part::Project => short_path(name, reader.home),
            Part::Session => short_id(name),
            _ => name.to_owned(),
        };
        let names = entries.iter().map(|it| name(it.part)).collect();
        table.push(title(by), 0, Cells::Names(names));
    }
    let bars: Vec<&Total> =
        entries.iter().filter(|it| it.line != Line::Total).map(|it| it.total).collect();
    let mut bars = shares(&bars);
    bars.push(0.0);
    push_client_costs(&mut table, &entries);
    push_amounts(&mut table, entries.iter().map(|it| it.total).collect(), &bars);
    if !account.rows.iter().all(|it| matches!(it.subject, Subject::Model(_))) {
        let models = entries.iter().map(|it| it.row.map_or_else(String::new, models));
        table.push("Models", 2, Cells::Names(models.collect()));
    }
    table
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Model => "Model",
        Part::Project => "Project",
        Part::Session => "Session",
        Part::Branch => "Branch",
        Part::Agent => "Agent",
    }
}

/// The column with what the client itself said, where it said so of some session.
fn push_client_costs(table: &mut Table, entries: &[Entry<'_>]) {
    let said = |it: &Entry<'_>| it.row.and_then(|row| row.client_cost);
    if entries.iter().any(|it| said(it).is_some()) {
        let cell = |said: ClientCost| {
            let mark = if said.is_different { "≠" } else { "" };
            format!("{mark}{}", money(said.cost.into()))
        };
        let cells = entries.iter().map(|entry| said(entry).map_or_else(String::new, cell));
        table.push("Client", 2, Cells::Amounts(cells.collect()));
    }
}

/// The columns with cost and counts; bars only where there are shares.
fn push_amounts(table: &mut Table, totals: Vec<&Total>, bars: &[f64]) {
    let counts =
        |count: fn(&Total) -> u64| Cells::Counts(totals.iter().map(|it| count(it)).collect());
    table.push("Cost", 0, Cells::Amounts(totals.iter().map(|it| cost(it)).collect()));
    if !bars.is_empty() {
        table.push("", 1, Cells::Bars(bars.to_vec()));
    }
    table.push("Tokens", 0, counts(Total::n_tokens));
    table.push("In", 4, counts(|it| it.tokens.input));
    table.push("Out", 4, counts(|it| it.tokens.output));
    table.push("Cache W", 5, counts(Total::cache_write));
    table.push("Cache R", 5, counts(|it| it.tokens.cache_read));
}

fn cost(total: &Total) -> String {
    let bound = if total.n_unpriced > 0 { "≥" } else { "" };
    format!("{bound}{}", money(total.picodollars))
}

/// The model that cost most, and how many others there are.
fn models(row: &Row) -> String {
    match row.models.as_slice() {
        [] => String::new(),
        [only] => readable(&only.name),
        [first, others @ ..] => format!("{} +{}", readable(&first.name), others.len()),
    }
}

/// The columns that say what a row is about.
fn push_subjects(table: &mut Table, reader: &Reader<'_>, account: &Account, entries: &[Entry<'_>]) {
    let cells = |of: &dyn Fn(&Row) -> String| -> Vec<String> {
        let cell = |entry: &Entry<'_>| match (entry.line, entry.row) {
            (Line::Total, _) => "Total".to_owned(),
            (_, Some(row)) => of(row),
            (_, None) => String::new(),
        };
        entries.iter().map(cell).collect()
    };
    // The same for columns that are not the first.
    let more = |of: &dyn Fn(&Row) -> String| -> Vec<String> {
        entries.iter().map(|it| it.row.map_or_else(String::new, of)).collect()
    };
    let path = |it: &str| short_path(it, reader.home);
    let last_used = |row: &Row| time(row.total.last_ms, reader.calendar, "%Y-%m-%d %H:%M");
    let Some(first) = account.rows.first() else {
        return table.push("", 0, Cells::Fixed(cells(&|_| String::new())));
    };
    match &first.subject {
        Subject::Days(period, _) => {
            let title = match period {
                Period::Day => "Date",
                Period::Week => "Week of",
                Period::Month => "Month",
            };
            table.push(title, 0, Cells::Fixed(cells(&|row| days_name(row, reader.calendar))));
        }
        Subject::Block(_) | Subject::Gap(_) => {
            let start = |row: &Row| match &row.subject {
                Subject::Block(block) => time(block.start_ms, reader.calendar, "%Y-%m-%d %H:%M"),
                _ => String::new(),
            };
            table.push("Start", 0, Cells::Fixed(cells(&start)));
            table.push("Used for", 3, Cells::Fixed(more(&|row| used_for(row, reader.now_ms))));
        }
        Subject::Session(_) => {
            let names = |row: &Row| match &row.subject {
                Subject::Session(names) => names.clone(),
                _ => SessionNames::default(),
            };
            let is_cut = reader.paper.width.is_some();
            let id = |row: &Row| match is_cut {
                true => short_id(&names(row).id),
                false => names(row).id,
            };
            table.push("Session", 0, Cells::Fixed(cells(&id)));
            table.push("Project", 0, Cells::Paths(more(&|row| path(&names(row).directory))));
            table.push("Branch", 3, Cells::Names(more(&|row| names(row).branch)));
            table.push("Last used", 3, Cells::Fixed(more(&last_used)));
            let lasted = |row: &Row| length(row.total.last_ms - row.total.first_ms);
            table.push("Lasted", 4, Cells::Amounts(more(&lasted)));
        }
        Subject::Branch { .. } => {
            let names = |row: &Row| match &row.subject {
                Subject::Branch { branch, directory } => [branch.clone(), path(directory)],
                _ => Default::default(),
            };
            let [branch, directory]: [&dyn Fn(&Row) -> String; 2] =
                [&|row| names(row)[0].clone(), &|row| names(row)[1].clone()];
            table.push("Branch", 0, Cells::Names(cells(branch)));
            table.push("Project", 3, Cells::Paths(more(directory)));
            table.push("Last used", 4, Cells::Fixed(more(&last_used)));
        }
        Subject::Project { .. } | Subject::Model(_) | Subject::Agent(_) => {
            let name = |row: &Row| match &row.subject {
                Subject::Project { directory } => path(directory),
                Subject::Model(name) | Subject::Agent(name) => name.clone(),
                _ => String::new(),
            };
            let is_path = matches!(first.subject, Subject::Project { .. });
            let title = match first.subject {
                Subject::Project { .. } => "Project",
                Subject::Model(_) => "Model",
                _ => "Agent",
            };
            let names = cells(&name);
            table.push(title, 0, if is_path { Cells::Paths(names) } else { Cells::Names(names) });
            table.push("Last used", 3, Cells::Fixed(more(&last_used)));
        }
    }
}

/// `2026-11-25`; of a month that begins on the first, `2026-11`. A star marks one that the days of
/// the report cut.
fn days_name(row: &Row, calendar: &Calendar) -> String {
    let Subject::Days(period, days) = &row.subject else { return String::new() };
    let start = days.since.map_or_else(String::new, |it| it.to_string());
    let is_calendar_month = *period == Period::Month && calendar.month_starts == 1;
    let name = if is_calendar_month { start.get(..7).unwrap_or_default() } else { &start };
    let star = if row.is_partial { "*" } else { "" };
    format!("{name}{star}")
}

fn used_for(row: &Row, now_ms: i64) -> String {
    match &row.subject {
        Subject::Block(block) if block.is_active => {
            format!("open, {} left", length(block.end_ms - now_ms))
        }
        _ => length(row.total.last_ms - row.total.first_ms),
    }
}

fn time(at_ms: i64, calendar: &Calendar, format: &str) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.to_zoned_datetime(calendar.zone.clone()).strftime(format).to_string()
}

/// The beginning of a session's id, by which people tell sessions apart.
fn short_id(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A path with `~` for the home directory.
fn short_path(path: &str, home: Option<&str>) -> String {
    match home.and_then(|home| path.strip_prefix(home)) {
        Some("") => "~".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}
