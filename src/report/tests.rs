//! Whole reports, from a history to what is printed.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::days::{Calendar, Days};
use super::json::{self, Heading};
use super::rows::{
    Account, ClientCost, Filter, Pattern, Query, Sorting, Subject, account, overview,
};
use super::table::Paper;
use super::text::{Reader, text};
use super::{ccusage, subject_columns};
use crate::cli::usage::{Dialect, Order, Part, ReportKind, Sort};
use crate::store::schema::display::Depth;
use crate::usage::blocks::SlotKey;
use crate::usage::entry::EntryTokens;
use crate::usage::history::{AccountHistory, Group, Quarter};
use crate::usage::prices::Prices;

/// Thursday.
const NOW: &str = "2026-11-26T12:00:00Z";
const OPUS: &str = "claude-opus-4-8";
const UNPRICED: &str = "house-model";

fn ms(at: &str) -> i64 {
    at.parse::<Timestamp>().expect("is a time").as_millisecond()
}

/// A reply of a million output tokens, which is 25 dollars of Opus.
fn reply(history: &mut AccountHistory, at: &str, group: &Group) {
    let at_ms = ms(at);
    let quarter = Quarter {
        n_replies: 1,
        first_ms: at_ms,
        last_ms: at_ms,
        tokens: EntryTokens { output: 1_000_000, ..EntryTokens::default() },
        ..Quarter::default()
    };
    let slots = history.sums.entry(Arc::new(group.clone())).or_default();
    slots.entry(SlotKey::of(at_ms)).or_default().add(&quarter);
    history.first_ms = Some(history.first_ms.map_or(at_ms, |it| it.min(at_ms)));
}

fn group(session: &str, project: &str, branch: &str, model: &str) -> Group {
    Group {
        session: session.into(),
        folder: project.replace('/', "-").into(),
        project: project.into(),
        branch: branch.into(),
        model: model.into(),
        ..Group::default()
    }
}

/// Two sessions in two projects on three days.
fn history() -> AccountHistory {
    let mut history =
        AccountHistory { root: "/home/u/.claude".into(), ..AccountHistory::default() };
    let api = group("aaaaaaaa-1", "/home/u/api", "main", OPUS);
    let docs = group("bbbbbbbb-2", "/home/u/docs", "main", OPUS);
    let house = group("bbbbbbbb-2", "/home/u/docs", "main", UNPRICED);
    reply(&mut history, "2026-11-02T10:00:00Z", &api);
    reply(&mut history, "2026-11-22T23:30:00Z", &api);
    reply(&mut history, "2026-11-26T11:00:00Z", &docs);
    reply(&mut history, "2026-11-26T11:30:00Z", &docs);
    reply(&mut history, "2026-11-26T11:30:00Z", &house);
    history
}

struct Asked {
    calendar: Calendar,
    filter: Filter,
    prices: Prices,
}

fn asked(zone: &str) -> Asked {
    let zone = TimeZone::get(zone).expect("is a zone");
    let calendar = Calendar::at(ms(NOW), zone, Weekday::Monday, 1).expect("is a time");
    Asked { calendar, filter: Filter::default(), prices: Prices::builtin() }
}

impl Asked {
    fn query(&self, kind: ReportKind, since: &str, until: &str) -> Query<'_> {
        let day = |text: &str| match text {
            "" => Days::default(),
            text => self.calendar.parse(text, "").expect(text),
        };
        Query {
            kind,
            calendar: &self.calendar,
            days: Days { since: day(since).since, until: day(until).until },
            filter: &self.filter,
            by: None,
            sorting: Sorting::default(),
            is_active_only: false,
            has_gaps: false,
            prices: &self.prices,
            now_ms: ms(NOW),
        }
    }

    fn heading<'a>(&'a self, query: &Query<'a>) -> Heading<'a> {
        Heading {
            report: query.kind.name(),
            calendar: &self.calendar,
            days: query.days,
            prices_as_of: "2026-11-25".to_owned(),
            problems: &[],
            by: query.by,
        }
    }

    fn text(&self, query: &Query<'_>, account: Account, width: usize) -> Vec<String> {
        let reader = Reader {
            paper: Paper { width: Some(width), depth: Depth::None },
            calendar: &self.calendar,
            home: Some("/home/u"),
            now_ms: query.now_ms,
            is_filtered: query.filter.is_narrow(),
        };
        let text = text(&reader, &self.heading(query), &[(account, None)]);
        text.lines().map(str::to_owned).collect()
    }
}

/// What each row is about, how many replies it has, and whether it is a part.
fn rows(query: &Query<'_>) -> Vec<(String, u64, bool)> {
    let history = history();
    let name = |subject: &Subject| match subject {
        Subject::Days(_, days) => days.since.expect("has a start").to_string(),
        Subject::Block(block) => {
            Timestamp::from_millisecond(block.start_ms).expect("is a time").to_string()
        }
        Subject::Gap(gap) => format!("gap of {} h", (gap.end - gap.start) / 3_600_000),
        Subject::Session(names) => format!("{} in {}", names.id, names.directory),
        Subject::Branch { branch, directory } => format!("{branch} in {directory}"),
        Subject::Project { directory: name } | Subject::Model(name) | Subject::Agent(name) => {
            name.clone()
        }
    };
    let rows = account(query, &[&history]).rows.into_iter();
    rows.map(|it| (name(&it.subject), it.total.n_replies, it.is_partial)).collect()
}

#[track_caller]
fn check(query: &Query<'_>, expected: &[(&str, u64, bool)]) {
    let found = rows(query);
    let found: Vec<_> = found.iter().map(|(name, n, part)| (name.as_str(), *n, *part)).collect();
    assert_eq!(found, expected);
}

#[test]
fn days_and_weeks_are_those_of_the_zone() {
    let utc = asked("UTC");
    check(
        &utc.query(ReportKind::Daily, "", ""),
        &[("2026-11-02", 1, false), ("2026-11-22", 1, false), ("2026-11-26", 3, false)],
    );
    // In Berlin it was Monday already.
    let berlin = asked("Europe/Berlin");
    check(
        &berlin.query(ReportKind::Weekly, "", ""),
        &[("2026-11-02", 1, false), ("2026-11-23", 4, false)],
    );
    check(
        &utc.query(ReportKind::Weekly, "", ""),
        &[("2026-11-02", 1, false), ("2026-11-16", 1, false), ("2026-11-23", 3, false)],
    );
}

#[test]
fn what_the_days_of_the_report_cut_is_marked() {
    let utc = asked("UTC");
    check(&utc.query(ReportKind::Monthly, "2026-11-03", ""), &[("2026-11-01", 4, true)]);
    check(&utc.query(ReportKind::Monthly, "2026-11-01", ""), &[("2026-11-01", 5, false)]);
    check(&utc.query(ReportKind::Monthly, "", "2026-11-22"), &[("2026-11-01", 2, true)]);
    check(&utc.query(ReportKind::Weekly, "2026-11-20", "2026-11-22"), &[("2026-11-16", 1, true)]);
}

#[test]
fn a_billing_month_begins_on_its_day() {
    let mut asked = asked("UTC");
    asked.calendar.month_starts = 23;
    check(
        &asked.query(ReportKind::Monthly, "", ""),
        &[("2026-10-23", 2, false), ("2026-11-23", 3, false)],
    );
}

#[test]
fn rows_that_are_no_times_come_by_cost() {
    let utc = asked("UTC");
    check(
        &utc.query(ReportKind::Sessions, "", ""),
        &[("aaaaaaaa-1 in /home/u/api", 2, false), ("bbbbbbbb-2 in /home/u/docs", 3, false)],
    );
    check(
        &utc.query(ReportKind::Branches, "", ""),
        &[("main in /home/u/api", 2, false), ("main in /home/u/docs", 3, false)],
    );
    check(&utc.query(ReportKind::Models, "", ""), &[(OPUS, 4, false), (UNPRICED, 1, false)]);
    let sorting = Sorting { by: Some(Sort::Tokens), order: Some(Order::Desc), top: Some(1) };
    let by_tokens = Query { sorting, ..utc.query(ReportKind::Sessions, "", "") };
    check(&by_tokens, &[("bbbbbbbb-2 in /home/u/docs", 3, false)]);
}

#[test]
fn the_top_days_stay_in_their_order_and_the_total_is_of_all() {
    let utc = asked("UTC");
    let sorting = Sorting { top: Some(2), ..Sorting::default() };
    let query = Query { sorting, ..utc.query(ReportKind::Daily, "", "") };
    check(&query, &[("2026-11-02", 1, false), ("2026-11-26", 3, false)]);
    let account = account(&query, &[&history()]);
    assert_eq!((account.n_left_out, account.totals.n_replies), (1, 5));
}

#[test]
fn a_filter_leaves_blocks_where_they_are() {
    let mut asked = asked("UTC");
    let all = [
        ("2026-11-02T10:00:00Z", 1, false),
        ("2026-11-22T23:00:00Z", 1, false),
        ("2026-11-26T11:00:00Z", 3, false),
    ];
    check(&asked.query(ReportKind::Blocks, "", ""), &all);
    asked.filter.model = Some(Pattern::of("house*"));
    check(&asked.query(ReportKind::Blocks, "", ""), &[("2026-11-26T11:00:00Z", 1, false)]);
    asked.filter.model = None;
    asked.filter.project = Some(Pattern::of("/docs"));
    check(&asked.query(ReportKind::Daily, "", ""), &[("2026-11-26", 3, false)]);
    asked.filter.project = Some(Pattern::of("/docs*"));
    check(&asked.query(ReportKind::Daily, "", ""), &[]);
    asked.filter = Filter { session: Some("aaaa".to_owned()), ..Filter::default() };
    check(&asked.query(ReportKind::Models, "", ""), &[(OPUS, 2, false)]);
}

#[test]
fn gaps_are_where_ccusage_lists_them() {
    let utc = asked("UTC");
    let query = Query { has_gaps: true, ..utc.query(ReportKind::Blocks, "2026-11-03", "") };
    check(
        &query,
        &[
            ("2026-11-22T23:00:00Z", 1, false),
            ("gap of 78 h", 0, false),
            ("2026-11-26T11:00:00Z", 3, false),
        ],
    );
    let account = account(&query, &[&history()]);
    let document = ccusage::document(query.kind, Dialect::Ccusage, &account, query.now_ms);
    let blocks = document.expect("there are blocks")["blocks"].clone();
    assert_eq!(blocks[1]["id"], "gap-2026-11-23T04:30:00.000Z");
    assert_eq!(blocks[2]["projection"]["remainingMinutes"], 240);
    assert_eq!(blocks[2]["burnRate"]["costPerHour"], 100.0);
}

#[test]
fn two_roots_add_up_only_on_request() {
    let utc = asked("UTC");
    let query = utc.query(ReportKind::Daily, "", "");
    let other = AccountHistory { root: "/home/u/work".into(), ..history() };
    let sum = account(&query, &[&history(), &other]);
    assert_eq!(sum.roots, [PathBuf::from("/home/u/.claude"), PathBuf::from("/home/u/work")]);
    assert_eq!((sum.totals.n_replies, sum.rows[0].total.cost_usd()), (10, 50.0));
}

#[test]
fn the_overview_has_each_day_and_windows_that_may_begin_before_them() {
    let utc = asked("UTC");
    let query = utc.query(ReportKind::Daily, "2026-11-13", "2026-11-26");
    let (account, [today, week, month]) = overview(&query, &[&history()]);
    assert_eq!(account.rows.len(), 14);
    let counts = [today, week, month].map(|it| it.n_replies);
    assert_eq!((counts, account.totals.n_replies), ([3, 3, 5], 4));
    // Before the record begins, nothing is known.
    let query = utc.query(ReportKind::Daily, "2026-10-01", "");
    assert_eq!(overview(&query, &[&history()]).0.rows.len(), 25);
    let mut other = AccountHistory::default();
    reply(&mut other, "2026-11-26T10:00:00Z", &Group::default());
    assert_eq!(overview(&query, &[&history(), &other]).0.rows.len(), 25);
    assert_eq!(overview(&query, &[&AccountHistory::default()]).0.rows.len(), 1, "today");
}

#[test]
fn a_table_fits_and_says_what_is_missing_from_it() {
    let utc = asked("UTC");
    let query =
        Query { by: Some(Part::Project), ..utc.query(ReportKind::Weekly, "2026-11-01", "") };
    let table = |width| utc.text(&query, account(&query, &[&history()]), width);
    assert_eq!(
        table(80),
        [
            "Week of     Project      Cost                 Tokens  In        Out  Models",
            "2026-11-02             $25.00  █████       1,000,000   0  1,000,000  Opus 4.8",
            "            ~/api      $25.00  █████       1,000,000   0  1,000,000",
            "2026-11-16             $25.00  █████       1,000,000   0  1,000,000  Opus 4.8",
            "            ~/api      $25.00  █████       1,000,000   0  1,000,000",
            "2026-11-23            ≥$50.00  ██████████  3,000,000   0  3,000,000  Opus 4.8 +1",
            "            ~/docs    ≥$50.00  ██████████  3,000,000   0  3,000,000",
            "────────────────────────────────────────────────────────────────────────────────",
            "Total                ≥$100.00              5,000,000   0  5,000,000",
            "The record begins on 2026-11-02.",
            "≥ lacks what these cost: house-model (1 reply).",
            "No price is known for them; `[prices.\"model\"]` sets one.",
        ]
    );
    assert_eq!(
        table(40)[..4],
        [
            "Week of     Project      Cost     Tokens",
            "2026-11-02             $25.00  1,000,000",
            "            ~/api      $25.00  1,000,000",
            "2026-11-16             $25.00  1,000,000",
        ]
    );
}

#[test]
fn without_usage_it_says_where_it_looked() {
    let utc = asked("UTC");
    let query = utc.query(ReportKind::Daily, "2026-11-03", "2026-11-04");
    assert_eq!(
        utc.text(&query, account(&query, &[&history()]), 80),
        [
            "nothing was used from 2026-11-03 to 2026-11-04",
            "  ~/.claude: the record begins on 2026-11-02",
        ]
    );
    let mut utc = asked("UTC");
    utc.filter.session = Some("zzz".to_owned());
    let query = utc.query(ReportKind::Daily, "", "");
    let said = utc.text(&query, account(&query, &[&history()]), 80);
    assert!(said[0].starts_with("nothing that matches was used "), "{said:?}");
}

#[test]
fn what_the_client_said_has_a_column_where_it_said_so() {
    let utc = asked("UTC");
    let query = utc.query(ReportKind::Sessions, "", "");
    let mut account = account(&query, &[&history()]);
    let (cost, is_different) = (75_120_000_000_000, true);
    account.rows[1].client_cost = Some(ClientCost { cost, is_different });
    let table = utc.text(&query, account, 120);
    assert!(table[0].contains("Client") && table[2].contains("≠$75.12"), "{table:#?}");
}

#[test]
fn what_the_client_said_is_compared_where_it_can_be() {
    let utc = asked("UTC");
    let query = utc.query(ReportKind::Sessions, "", "");
    let all = account(&query, &[&history()]);
    let Subject::Session(names) = &all.rows[0].subject else { panic!("{:?}", all.rows[0]) };
    let total = &all.rows[0].total;
    let ours = i64::try_from(total.picodollars).expect("is small");
    let differs = |cost, at_ms| {
        let mut history = history();
        history.client_costs.insert(names.id.as_str().into(), (at_ms, cost));
        account(&query, &[&history]).rows[0].client_cost.map(|it| it.is_different)
    };
    let after_ms = total.last_ms + 1000;
    assert_eq!(differs(ours, after_ms), Some(false));
    assert_eq!(differs(ours + ours / 10, after_ms), Some(false), "titles");
    assert_eq!(differs(ours / 2, after_ms), Some(true), "we count more than there was");
    assert_eq!(differs(ours * 2, after_ms), Some(true), "we miss half");
    assert_eq!(differs(ours / 2, total.first_ms - 3_600_000), Some(false), "it went on since");
}

#[test]
fn our_json_is_the_one_that_the_docs_describe() {
    let utc = asked("UTC");
    let query = Query { by: Some(Part::Model), ..utc.query(ReportKind::Daily, "today", "") };
    let account = account(&query, &[&history()]);
    let document = json::document(&utc.heading(&query), &[(account, None)]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).expect("is JSON"));
}

#[test]
fn comma_separated_values_are_quoted_where_they_must_be() {
    let utc = asked("UTC");
    let mut history = AccountHistory { root: "/a".into(), ..AccountHistory::default() };
    reply(&mut history, NOW, &group("s", "/home/u/a, \"b\"", "", OPUS));
    let query = Query { by: Some(Part::Agent), ..utc.query(ReportKind::Sessions, "", "") };
    let account = account(&query, &[&history]);
    let csv =
        json::csv(&utc.heading(&query), &[&account], subject_columns(query.kind)).expect("is text");
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(
        lines[1],
        "/a,s,\"/home/u/a, \"\"b\"\"\",,(the session itself),25,1,0,0,1000000,0,0,0,1000000,0"
    );
    assert_eq!(lines[0].split(',').count(), 15);
}
