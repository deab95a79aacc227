//! PURE. Our own JSON, and comma-separated values.
//!
//! The JSON is a contract with scripts, which docs/usage.md describes: fields are added and never
//! given another meaning.

use serde::Serialize;

use super::days::{Calendar, Days};
use super::rows::{Account, BlockBounds, Row, SessionNames, Share, Subject, Total, Windows};
use crate::cli::usage::Part;
use crate::store::schema::{Burn, Projection};

/// The version of the documents. It changes only if a field is removed or means something else.
const VERSION: u32 = 1;

/// A report as a document.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    version: u32,
    report: &'static str,
    zone: String,
    since: Option<String>,
    until: String,
    prices_as_of: String,
    accounts: Vec<AccountDocument>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct AccountDocument {
    roots: Vec<String>,
    complete_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<WindowDocuments>,
    rows: Vec<RowDocument>,
    n_left_out: usize,
    totals: TotalDocument,
    unpriced_models: Vec<UnpricedDocument>,
}

#[derive(Debug, Serialize)]
struct WindowDocuments {
    today: TotalDocument,
    week: TotalDocument,
    month: TotalDocument,
}

#[derive(Debug, Serialize)]
struct UnpricedDocument {
    model: String,
    replies: u64,
}

#[derive(Debug, Serialize)]
struct RowDocument {
    #[serde(flatten)]
    subject: SubjectDocument,
    #[serde(flatten)]
    total: TotalDocument,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    models: Vec<ShareDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<PartsDocument>,
}

#[derive(Debug, Serialize)]
struct PartsDocument {
    what: &'static str,
    parts: Vec<ShareDocument>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SubjectDocument {
    Days {
        start: Option<String>,
        end: Option<String>,
        is_partial: bool,
    },
    Block {
        start_ms: i64,
        end_ms: i64,
        is_active: bool,
        burn: Option<Burn>,
        projection: Option<Projection>,
    },
    Session {
        session: String,
        project: String,
        branch: String,
        client_cost_usd: Option<f64>,
        client_cost_differs: Option<bool>,
    },
    Branch {
        branch: String,
        project: String,
    },
    Project {
        project: String,
    },
    Model {
        model: String,
    },
    Agent {
        agent: String,
    },
    Gap {},
}

#[derive(Debug, Serialize)]
struct TotalDocument {
    cost_usd: f64,
    replies: u64,
    unpriced_replies: u64,
    tokens: TokensDocument,
    web_searches: u64,
}

#[derive(Debug, Serialize)]
struct TokensDocument {
    input: u64,
    output: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_read: u64,
    total: u64,
}

#[derive(Debug, Serialize)]
struct ShareDocument {
    name: String,
    #[serde(flatten)]
    total: TotalDocument,
}

/// What a document says of the report as a whole.
#[derive(Debug)]
pub(super) struct Heading<'a> {
    pub(super) report: &'static str,
    pub(super) calendar: &'a Calendar,
    pub(super) days: Days,
    pub(super) prices_as_of: String,
    pub(super) problems: &'a [String],
    pub(super) by: Option<Part>,
}

/// The report as a document.
pub(super) fn document(heading: &Heading<'_>, accounts: &[(Account, Option<Windows>)]) -> Document {
    let zone = &heading.calendar.zone;
    let zone = zone.iana_name().map_or_else(|| format!("{zone:?}"), str::to_owned);
    let accounts = accounts.iter().map(|(account, windows)| AccountDocument {
        roots: account.roots.iter().map(|it| it.display().to_string()).collect(),
        complete_since: account.complete_since.map(|it| it.to_string()),
        windows: windows.as_ref().map(|[today, week, month]| WindowDocuments {
            today: total(today),
            week: total(week),
            month: total(month),
        }),
        rows: account.rows.iter().map(|it| row(it, heading.by)).collect(),
        n_left_out: account.n_left_out,
        totals: total(&account.totals),
        unpriced_models: unpriced(account),
    });
    Document {
        version: VERSION,
        report: heading.report,
        zone,
        since: heading.days.since.map(|it| it.to_string()),
        until: heading.days.until.unwrap_or(heading.calendar.today).to_string(),
        prices_as_of: heading.prices_as_of.clone(),
        accounts: accounts.collect(),
        problems: heading.problems.to_vec(),
    }
}

fn unpriced(account: &Account) -> Vec<UnpricedDocument> {
    let models = account.unpriced.iter();
    models.map(|(model, n)| UnpricedDocument { model: model.clone(), replies: *n }).collect()
}

fn row(row: &Row, by: Option<Part>) -> RowDocument {
    let has_time = row.total.n_replies > 0;
    RowDocument {
        subject: subject(row),
        total: total(&row.total),
        first_ms: has_time.then_some(row.total.first_ms),
        last_ms: has_time.then_some(row.total.last_ms),
        models: row.models.iter().map(share).collect(),
        by: by.map(|by| PartsDocument {
            what: by.name(),
            parts: row.parts.iter().map(share).collect(),
        }),
    }
}

fn subject(row: &Row) -> SubjectDocument {
    match &row.subject {
        Subject::Days(_, days) => SubjectDocument::Days {
            start: days.since.map(|it| it.to_string()),
            end: days.until.map(|it| it.to_string()),
            is_partial: row.is_partial,
        },
        Subject::Block(block) => {
            let BlockBounds { start_ms, end_ms, is_active, burn, projection } = block.clone();
            SubjectDocument::Block { start_ms, end_ms, is_active, burn, projection }
        }
        Subject::Session(SessionNames { id, directory, branch, .. }) => SubjectDocument::Session {
            session: id.clone(),
            project: directory.clone(),
            branch: branch.clone(),
            client_cost_usd: row.client_cost.map(|it| it.cost as f64 / 1e12),
            client_cost_differs: row.client_cost.map(|it| it.is_different),
        },
        Subject::Branch { branch, directory } => {
            SubjectDocument::Branch { branch: branch.clone(), project: directory.clone() }
        }
        Subject::Project { directory } => SubjectDocument::Project { project: directory.clone() },
        Subject::Model(model) => SubjectDocument::Model { model: model.clone() },
        Subject::Agent(agent) => SubjectDocument::Agent { agent: agent.clone() },
        Subject::Gap(_) => SubjectDocument::Gap {},
    }
}

fn total(total: &Total) -> TotalDocument {
    let tokens = &total.tokens;
    TotalDocument {
        cost_usd: total.cost_usd(),
        replies: total.n_replies,
        unpriced_replies: total.n_unpriced,
        tokens: TokensDocument {
            input: tokens.input,
            output: tokens.output,
            cache_write_5m: tokens.cache_write_5m,
            cache_write_1h: tokens.cache_write_1h,
            cache_read: tokens.cache_read,
            total: total.n_tokens(),
        },
        web_searches: total.n_web_searches,
    }
}

fn share(share: &Share) -> ShareDocument {
    ShareDocument { name: share.name.clone(), total: total(&share.total) }
}

/// A report as comma-separated values: a line with the names of the columns, and a line for each
/// row; with `--by`, for each part of each row.
pub(super) fn csv(
    heading: &Heading<'_>,
    accounts: &[&Account],
    names: &[&str],
) -> csv::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut head = vec!["account"];
    head.extend(names);
    head.extend(heading.by.map(Part::name));
    head.extend(NUMBERS);
    writer.write_record(&head)?;
    for account in accounts {
        let roots: Vec<_> = account.roots.iter().map(|it| it.display().to_string()).collect();
        for row in &account.rows {
            let mut cells = vec![roots.join(",")];
            cells.extend(subject_cells(&row.subject, heading.calendar));
            let parts: Vec<(Option<&str>, &Total)> = match heading.by {
                None => vec![(None, &row.total)],
                Some(_) => row.parts.iter().map(|it| (Some(&*it.name), &it.total)).collect(),
            };
            for (name, total) in parts {
                let name = name.map(str::to_owned);
                let line = cells.iter().cloned().chain(name).chain(number_cells(total));
                writer.write_record(line)?;
            }
        }
    }
    let bytes = writer.into_inner().map_err(|it| it.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const NUMBERS: [&str; 10] = [
    "cost_usd",
    "replies",
    "unpriced_replies",
    "input",
    "output",
    "cache_write_5m",
    "cache_write_1h",
    "cache_read",
    "total_tokens",
    "web_searches",
];

/// One cell for each of the columns that [`csv()`] is told the names of.
fn subject_cells(subject: &Subject, calendar: &Calendar) -> Vec<String> {
    let time = |at_ms: i64| {
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
        at.to_zoned_datetime(calendar.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    };
    match subject {
        Subject::Days(_, Days { since, until }) => {
            [since, until].map(|day| day.map_or_else(String::new, |it| it.to_string())).to_vec()
        }
        Subject::Block(block) => vec![time(block.start_ms), time(block.end_ms)],
        Subject::Gap(gap) => vec![time(gap.start), time(gap.end)],
        Subject::Session(SessionNames { id, directory, branch, .. }) => {
            vec![id.clone(), directory.clone(), branch.clone()]
        }
        Subject::Branch { branch, directory } => vec![branch.clone(), directory.clone()],
        Subject::Project { directory: name } | Subject::Model(name) | Subject::Agent(name) => {
            vec![name.clone()]
        }
    }
}

/// Each in the form that a program reads: money with all its digits.
fn number_cells(total: &Total) -> [String; 10] {
    let tokens = &total.tokens;
    let counts = [
        total.n_replies,
        total.n_unpriced,
        tokens.input,
        tokens.output,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        tokens.cache_read,
        total.n_tokens(),
        total.n_web_searches,
    ];
    let mut cells = [const { String::new() }; 10];
    cells[0] = total.cost_usd().to_string();
    for (cell, count) in cells[1..].iter_mut().zip(counts) {
        *cell = count.to_string();
    }
    cells
}
