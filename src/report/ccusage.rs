//! PURE. The JSON that ccusage 20 prints, so that scripts made for ccusage work with our numbers.
//!
//! `ccusage claude daily` and `ccusage daily` print two dialects with other key names; `ccusage
//! blocks` has one. Keys are in the order of the alphabet, as ccusage prints them.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::days::{Days, Period};
use super::rows::{Account, BlockBounds, Row, SessionNames, Share, Subject, Total, UNKNOWN};
use crate::cli::usage::{Dialect, ReportKind};
use crate::time::{HOUR_MS, MINUTE_MS};

/// The model of messages that the client writes itself. ccusage never lists it.
const SYNTHETIC: &str = "<synthetic>";

/// The document for a report. `None` where ccusage has no such report.
pub(super) fn document(
    kind: ReportKind,
    dialect: Dialect,
    account: &Account,
    now_ms: i64,
) -> Option<Value> {
    let list = match (kind, dialect) {
        (ReportKind::Daily, _) => "daily",
        (ReportKind::Weekly, _) => "weekly",
        (ReportKind::Monthly, _) => "monthly",
        (ReportKind::Sessions, Dialect::Ccusage) => "sessions",
        (ReportKind::Sessions, Dialect::CcusageUnified) => "session",
        (ReportKind::Blocks, _) => {
            let blocks = account.rows.iter().filter_map(|it| block(it, now_ms));
            return Some(json!({ "blocks": blocks.collect::<Vec<_>>() }));
        }
        _ => return None,
    };
    let rows = account.rows.iter().map(|it| Value::Object(row(it, dialect)));
    let mut document = Map::new();
    document.insert(list.to_owned(), rows.collect());
    document.insert("totals".to_owned(), Value::Object(counts(&account.totals)));
    Some(Value::Object(document))
}

/// The document for `ccusage claude daily --instances`: the days of each project's folder.
pub(super) fn instances(projects: &BTreeMap<String, Vec<Row>>) -> Value {
    let mut totals = Total::default();
    let mut lists = Map::new();
    for (folder, rows) in projects {
        let mut list = Vec::new();
        for day in rows {
            totals.add(&day.total);
            let mut fields = row(day, Dialect::Ccusage);
            fields.insert("project".to_owned(), json!(folder));
            list.push(Value::Object(fields));
        }
        lists.insert(folder.clone(), Value::Array(list));
    }
    json!({ "projects": lists, "totals": counts(&totals) })
}

fn counts(total: &Total) -> Map<String, Value> {
    let counts = json!({
        "inputTokens": total.tokens.input,
        "outputTokens": total.tokens.output,
        "cacheCreationTokens": total.cache_write(),
        "cacheReadTokens": total.tokens.cache_read,
        "totalTokens": total.n_tokens(),
        "totalCost": total.cost_usd(),
    });
    match counts {
        Value::Object(counts) => counts,
        _ => Map::new(),
    }
}

fn row(row: &Row, dialect: Dialect) -> Map<String, Value> {
    let mut fields = counts(&row.total);
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let mut models = named(row);
    put("modelBreakdowns", models.iter().map(|it| breakdown(it)).collect());
    match dialect {
        // In the order in which they were used.
        Dialect::Ccusage => models.sort_by_key(|it| (it.total.first_ms, it.name.clone())),
        Dialect::CcusageUnified => models.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    put("modelsUsed", models.iter().map(|it| json!(it.name)).collect());
    let is_unified = dialect == Dialect::CcusageUnified;
    match &row.subject {
        Subject::Days(period, days) => {
            let name = match period {
                _ if is_unified => "period",
                Period::Day => "date",
                Period::Week => "week",
                Period::Month => "month",
            };
            put(name, json!(period_name(*period, *days)));
            if is_unified {
                put("agent", json!("all"));
                put("metadata", json!({ "agents": ["claude"] }));
            }
        }
        Subject::Session(SessionNames { id, .. }) if is_unified => {
            put("period", json!(id));
            put("agent", json!("claude"));
            put("metadata", json!({ "lastActivity": time(row.total.last_ms) }));
        }
        Subject::Session(SessionNames { id, folder, .. }) => {
            put("sessionId", json!(id));
            put("projectPath", json!(folder));
            put("firstActivity", json!(time(row.total.first_ms)));
            put("lastActivity", json!(time(row.total.last_ms)));
        }
        _ => {}
    }
    fields
}

/// The first day of a day or week; of a month, year and month.
fn period_name(period: Period, days: Days) -> String {
    let start = days.since.map_or_else(String::new, |it| it.to_string());
    match period {
        Period::Day | Period::Week => start,
        Period::Month => start.get(..7).unwrap_or_default().to_owned(),
    }
}

fn named(row: &Row) -> Vec<&Share> {
    row.models.iter().filter(|it| it.name != SYNTHETIC && it.name != UNKNOWN).collect()
}

fn breakdown(share: &Share) -> Value {
    let mut fields = counts(&share.total);
    fields.remove("totalTokens");
    let cost = fields.remove("totalCost").unwrap_or_default();
    fields.insert("cost".to_owned(), cost);
    fields.insert("modelName".to_owned(), json!(share.name));
    Value::Object(fields)
}

fn block(row: &Row, now_ms: i64) -> Option<Value> {
    Some(match &row.subject {
        Subject::Block(bounds) => used_block(row, bounds, now_ms),
        Subject::Gap(gap) => gap_block(gap),
        _ => return None,
    })
}

fn used_block(row: &Row, bounds: &BlockBounds, now_ms: i64) -> Value {
    let total = &row.total;
    let mut models = named(row);
    models.sort_by_key(|it| (it.total.first_ms, it.name.clone()));
    // ccusage also states the rates of blocks that are younger than a minute, unlike our reports.
    // So they are computed here from the times.
    let span_ms = total.last_ms - total.first_ms;
    let burn = (bounds.is_active && span_ms > 0).then(|| {
        let minutes = span_ms as f64 / MINUTE_MS as f64;
        let indicator = total.tokens.input + total.tokens.output;
        let per_minute = total.n_tokens() as f64 / minutes;
        let per_hour = total.cost_usd() / (span_ms as f64 / HOUR_MS as f64);
        (per_minute, indicator as f64 / minutes, per_hour)
    });
    let projection = burn.map(|(per_minute, _, per_hour)| {
        let left = ((bounds.end_ms - now_ms).max(0) as f64 / MINUTE_MS as f64).round();
        let cost = total.cost_usd() + per_hour / 60.0 * left;
        json!({
            "remainingMinutes": left as u64,
            "totalCost": (cost * 100.0).round() / 100.0,
            "totalTokens": (total.n_tokens() as f64 + per_minute * left).round() as u64,
        })
    });
    json!({
        "id": time(bounds.start_ms),
        "startTime": time(bounds.start_ms),
        "endTime": time(bounds.end_ms),
        "actualEndTime": time(total.last_ms),
        "isActive": bounds.is_active,
        "isGap": false,
        "entries": total.n_replies,
        "tokenCounts": token_counts(total),
        "totalTokens": total.n_tokens(),
        "costUSD": total.cost_usd(),
        "models": models.iter().map(|it| json!(it.name)).collect::<Vec<_>>(),
        "burnRate": burn.map(|(per_minute, indicator, per_hour)| json!({
            "tokensPerMinute": per_minute,
            "tokensPerMinuteForIndicator": indicator,
            "costPerHour": per_hour,
        })),
        "projection": projection,
    })
}

fn gap_block(gap: &Range<i64>) -> Value {
    json!({
        "id": format!("gap-{}", time(gap.start)),
        "startTime": time(gap.start),
        "endTime": time(gap.end),
        "actualEndTime": null,
        "isActive": false,
        "isGap": true,
        "entries": 0,
        "tokenCounts": token_counts(&Total::default()),
        "totalTokens": 0,
        "costUSD": 0,
        "models": [],
        "burnRate": null,
        "projection": null,
    })
}

fn token_counts(total: &Total) -> Value {
    json!({
        "inputTokens": total.tokens.input,
        "outputTokens": total.tokens.output,
        "cacheCreationInputTokens": total.cache_write(),
        "cacheReadInputTokens": total.tokens.cache_read,
    })
}

/// A time in UTC with milliseconds.
fn time(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
