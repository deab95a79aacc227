//! `ccstatusd usage`: what was used, from the record.
//!
//! The record is read once it is up to date: a watcher brings it up to date before it answers a
//! cookie; without a watcher, this process does so, as `--oneshot` does. Everything else is in
//! `report/`, which is PURE: days (`days.rs`), rows (`rows.rs`), and what is printed of them.

mod ccusage;
mod days;
mod json;
mod numbers;
mod rows;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::cli::Environment;
use crate::cli::usage::{Dialect, ReportKind, UsageOptions};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::sanitize;
use crate::store::record;
use crate::store::schema::Import;
use crate::time::Now;
use crate::usage::history::AccountHistory;
use crate::usage::ledger::REACH_MS;
use crate::{oneshot, placed_list};
use days::{Calendar, Days, Period};
use json::Heading;
use rows::{Account, Filter, Pattern, Query, Sorting, Windows};
pub use table::Paper;

/// What `usage` prints.
#[derive(Debug)]
pub struct Output {
    pub text: String,
    /// What could not be read, for standard error.
    pub warnings: Vec<String>,
}

/// So many days have a bar in the report without a name.
const N_BARS: u16 = 14;
/// The days, weeks or months of a report for which no days are given.
const DEFAULT_DAYS: u16 = 30;
const DEFAULT_WEEKS: u16 = 12;
const DEFAULT_MONTHS: u16 = 12;

/// Brings the record up to date, and makes the report. `progress` is told how long it takes.
pub fn run(
    options: &UsageOptions,
    env: &Environment,
    paper: Paper,
    progress: oneshot::OnProgress<'_>,
) -> Result<Output> {
    let config = Config::load(env.config_file().as_deref())?;
    let now_ms = Now::read().wall_ms;
    let week_starts = match options.format {
        // Each dialect has its own first day.
        Some(Dialect::Ccusage) => Weekday::Sunday,
        Some(Dialect::CcusageUnified) => Weekday::Monday,
        None => config.usage.week_starts,
    };
    let month_starts = options.month_from.unwrap_or(1);
    let zone = zone(options.timezone.as_deref())?;
    let calendar = Calendar::at(now_ms, zone, week_starts, month_starts)
        .ok_or_else(|| Error::new("cannot tell the day: the clock of this machine is wrong"))?;
    let kind = match (options.report, options.format) {
        (None, Some(_)) => Some(ReportKind::Daily),
        (kind, _) => kind,
    };
    let days = days_of(options, kind, &calendar)?;
    let dialect = options.format.map(|dialect| dialect_of(dialect, kind)).transpose()?;

    let import = oneshot::refresh_record(env, progress)?;

    let prices = config.prices(placed_list::load(env)?.prices);
    let history = record::read(&env.data_dir()?, span(kind, days, &calendar));
    let histories = match dialect {
        // What ccusage would read, which knows only the environment.
        Some(_) if options.root.is_none() => named(&history.accounts, &env.claude_roots()?),
        _ => histories_of(&history.accounts, options.root.as_deref(), env)?,
    };
    let filter = filter(options);
    let query = Query {
        kind: kind.unwrap_or(ReportKind::Daily),
        calendar: &calendar,
        days,
        filter: &filter,
        by: options.by,
        sorting: Sorting { by: options.sort, order: options.order, top: options.top },
        is_active_only: options.active,
        has_gaps: dialect.is_some(),
        prices: &prices,
        now_ms,
    };
    let text = match dialect {
        Some(dialect) => ccusage_text(&query, dialect, options, &histories)?,
        None => own_text(&query, kind, options, &histories, &history.problems, env, paper)?,
    };
    let mut warnings = history.problems;
    warnings.extend(import.map(|Import { files_done, files, .. }| {
        format!(
            "the watcher still reads old transcripts, {files_done} of {files} so far; the others \
             are not in this report"
        )
    }));
    Ok(Output { text, warnings })
}

fn zone(name: Option<&str>) -> Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(name).map_err(|err| {
        Error::new(format!("cannot use --timezone {name}"))
            .because(err)
            .hint("give a name such as UTC or Europe/Berlin")
    })
}

/// The days that the options mean.
fn days_of(options: &UsageOptions, kind: Option<ReportKind>, calendar: &Calendar) -> Result<Days> {
    let period = match kind {
        Some(ReportKind::Weekly) => Period::Week,
        Some(ReportKind::Monthly) => Period::Month,
        _ => Period::Day,
    };
    let today = calendar.today;
    if options.today {
        return Ok(calendar.period(Period::Day, today));
    }
    if options.week {
        return Ok(calendar.period(Period::Week, today));
    }
    if let Some(n) = options.last {
        return Ok(calendar.last(period, n));
    }
    if options.since.is_some() || options.until.is_some() {
        let bound = |text: &Option<String>, what| -> Result<Days> {
            text.as_deref().map_or_else(|| Ok(Days::default()), |it| calendar.parse(it, what))
        };
        let since = bound(&options.since, "--since")?.since;
        let until = bound(&options.until, "--until")?.until;
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            let what = format!(
                "cannot report from {since} to {until}: the last day comes before the first"
            );
            return Err(Error::new(what).hint("exchange --since and --until"));
        }
        return Ok(Days { since, until });
    }
    Ok(match kind {
        // ccusage reports on everything.
        _ if options.format.is_some() => Days::default(),
        None => calendar.last(Period::Day, N_BARS),
        Some(ReportKind::Monthly) => calendar.last(Period::Month, DEFAULT_MONTHS),
        _ if options.month_from.is_some() => calendar.period(Period::Month, today),
        Some(ReportKind::Weekly) => calendar.last(Period::Week, DEFAULT_WEEKS),
        Some(_) => calendar.last(Period::Day, DEFAULT_DAYS),
    })
}

/// The dialect for a report that ccusage has.
fn dialect_of(dialect: Dialect, kind: Option<ReportKind>) -> Result<Dialect> {
    use ReportKind::{Agents, Branches, Models, Projects};
    match kind {
        Some(kind @ (Agents | Branches | Models | Projects)) => {
            let what = format!("cannot print {} as ccusage does: it has no such", kind.name());
            Err(Error::new(what + " report").hint("leave out --format; --json prints our own JSON"))
        }
        _ => Ok(dialect),
    }
}

/// The span of time to read, in Unix milliseconds.
fn span(kind: Option<ReportKind>, days: Days, calendar: &Calendar) -> std::ops::Range<i64> {
    let days = match kind {
        None => {
            let starts = [Period::Week, Period::Month].map(|it| calendar.start(it, calendar.today));
            Days { since: days.since.into_iter().chain(starts).min(), ..days }
        }
        Some(_) => days,
    };
    let span = calendar.span_ms(days);
    match kind {
        // Where a block begins depends on those before it, and the watcher looks back as far. Where
        // a gap ends depends on the next one.
        Some(ReportKind::Blocks) => span.start.saturating_sub(REACH_MS)..i64::MAX,
        _ => span,
    }
}

fn filter(options: &UsageOptions) -> Filter {
    let project = options.project.as_deref().map(|text| match options.format {
        // ccusage takes the name of a folder, all of it.
        Some(_) => Pattern::Whole(text.to_owned()),
        None => Pattern::of(text),
    });
    Filter {
        project,
        model: options.model.as_deref().map(Pattern::of),
        session: options.session.clone(),
    }
}

/// Whether two paths lead to the same directory.
fn is_same(a: &Path, b: &Path) -> bool {
    let real = |it: &Path| fs_err::canonicalize(it).unwrap_or_else(|_| it.to_owned());
    a == b || real(a) == real(b)
}

/// The histories of these roots. A root that is named by its folder `projects` is meant as well.
fn named<'a>(histories: &'a [AccountHistory], roots: &[PathBuf]) -> Vec<&'a AccountHistory> {
    let is_named = |history: &&AccountHistory| {
        let projects = history.root.join("projects");
        roots.iter().any(|root| is_same(root, &history.root) || is_same(root, &projects))
    };
    histories.iter().filter(is_named).collect()
}

/// The histories that `--root` asks for; all without it.
fn histories_of<'a>(
    histories: &'a [AccountHistory],
    root: Option<&Path>,
    env: &Environment,
) -> Result<Vec<&'a AccountHistory>> {
    let Some(root) = root else { return Ok(histories.iter().collect()) };
    let root = env.expand(root).or_else(|| std::path::absolute(root).ok());
    let root = root.unwrap_or_default();
    let found = named(histories, std::slice::from_ref(&root));
    if found.is_empty() {
        let known: Vec<_> = histories.iter().map(|it| it.root.display().to_string()).collect();
        let hint = match known.is_empty() {
            true => "nothing is recorded yet".to_owned(),
            false => format!("these have one: {}", known.join(", ")),
        };
        let what = format!("cannot report on {}: it has no record", root.display());
        return Err(Error::new(what).hint(hint));
    }
    Ok(found)
}

fn ccusage_text(
    query: &Query<'_>,
    dialect: Dialect,
    options: &UsageOptions,
    histories: &[&AccountHistory],
) -> Result<String> {
    let projects = match options.instances && query.kind == ReportKind::Daily {
        true => rows::daily_by_folder(query, histories),
        false => BTreeMap::new(),
    };
    if !projects.is_empty() {
        return json_text(&ccusage::instances(&projects));
    }
    let account = rows::account(query, histories);
    json_text(&ccusage::document(query.kind, dialect, &account, query.now_ms))
}

fn json_text(document: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|err| Error::new("cannot write the report as JSON").because(err))?;
    // The newlines are between values, so they stay.
    let lines: Vec<_> = text.lines().map(sanitize::json).collect();
    Ok(lines.join("\n") + "\n")
}

fn own_text(
    query: &Query<'_>,
    kind: Option<ReportKind>,
    options: &UsageOptions,
    histories: &[&AccountHistory],
    problems: &[String],
    env: &Environment,
    paper: Paper,
) -> Result<String> {
    let groups: Vec<Vec<&AccountHistory>> = match options.sum {
        true if histories.is_empty() => Vec::new(),
        true => vec![histories.to_vec()],
        false => histories.iter().map(|it| vec![*it]).collect(),
    };
    let accounts: Vec<(Account, Option<Windows>)> = groups
        .iter()
        .map(|roots| match kind {
            Some(_) => (rows::account(query, roots), None),
            None => {
                let (account, windows) = rows::overview(query, roots);
                (account, Some(windows))
            }
        })
        .collect();
    let heading = Heading {
        report: kind.map_or("overview", ReportKind::name),
        calendar: query.calendar,
        days: query.days,
        prices_as_of: query.prices.as_of.to_string(),
        problems,
        by: options.by,
    };
    if options.json {
        return json_text(&json::document(&heading, &accounts));
    }
    if options.csv {
        let accounts: Vec<_> = accounts.iter().map(|it| &it.0).collect();
        return json::csv(&heading, &accounts, subject_columns(query.kind))
            .map_err(|err| Error::new("cannot write comma-separated values").because(err));
    }
    let reader = text::Reader {
        paper,
        calendar: query.calendar,
        home: env.home().and_then(Path::to_str),
        now_ms: query.now_ms,
        is_filtered: query.filter.is_narrow(),
    };
    Ok(text::text(&reader, &heading, &accounts))
}

/// The names of the columns that say what a row is about, in comma-separated values.
fn subject_columns(kind: ReportKind) -> &'static [&'static str] {
    match kind {
        ReportKind::Daily | ReportKind::Weekly | ReportKind::Monthly | ReportKind::Blocks => {
            &["start", "end"]
        }
        ReportKind::Sessions => &["session", "project", "branch"],
        ReportKind::Projects => &["project"],
        ReportKind::Models => &["model"],
        ReportKind::Branches => &["branch", "project"],
        ReportKind::Agents => &["agent"],
    }
}
