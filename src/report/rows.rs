//! PURE. From the record to the rows of a report.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;
use wildmatch::WildMatch;

use super::days::{Calendar, Days, Period};
use crate::cli::usage::{Order, Part, ReportKind, Sort};
use crate::store::schema::{Burn, Projection};
use crate::time::MINUTE_MS;
use crate::usage::blocks::{self, SlotKey, Stretch};
use crate::usage::entry::EntryTokens;
use crate::usage::history::{AccountHistory, Group, Quarter};
use crate::usage::prices::{Picodollars, Prices};

/// What is asked of the record.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) kind: ReportKind,
    pub(super) calendar: &'a Calendar,
    pub(super) days: Days,
    pub(super) filter: &'a Filter,
    pub(super) by: Option<Part>,
    pub(super) sorting: Sorting,
    /// Of blocks, only the one that is open.
    pub(super) is_active_only: bool,
    /// Whether there is a row for each gap between blocks.
    pub(super) has_gaps: bool,
    pub(super) prices: &'a Prices,
    pub(super) now_ms: i64,
}

/// Which rows there are, and in which order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sorting {
    pub(super) by: Option<Sort>,
    pub(super) order: Option<Order>,
    pub(super) top: Option<usize>,
}

/// What of the record is counted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) project: Option<Pattern>,
    pub(super) model: Option<Pattern>,
    /// The beginning of the session's id.
    pub(super) session: Option<String>,
}

/// Which texts are meant.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Those with this in it.
    Part(String),
    /// Those that are equal.
    Whole(String),
    /// Those that match as file names do.
    Glob(WildMatch),
}

impl Pattern {
    /// What a user means by this text.
    pub(super) fn of(text: &str) -> Pattern {
        match text.contains(['*', '?']) {
            true => Pattern::Glob(WildMatch::new(text)),
            false => Pattern::Part(text.to_owned()),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Part(part) => text.contains(part.as_str()),
            Pattern::Whole(whole) => text == whole,
            Pattern::Glob(glob) => glob.matches(text),
        }
    }
}

impl Filter {
    /// Whether anything may not be counted.
    pub(super) fn is_narrow(&self) -> bool {
        self.project.is_some() || self.model.is_some() || self.session.is_some()
    }

    fn has(&self, group: &Group) -> bool {
        let is_project = |it: &Pattern| it.matches(&group.folder) || it.matches(project(group));
        self.project.as_ref().is_none_or(is_project)
            && self.model.as_ref().is_none_or(|it| it.matches(&model(group)))
            && self.session.as_ref().is_none_or(|it| group.session.starts_with(it.as_str()))
    }
}

/// The directory of a project, or the name of its folder where the directory is not known.
fn project(group: &Group) -> &str {
    if group.project.is_empty() { &group.folder } else { &group.project }
}

/// The name of a model as transcripts spell it; `-fast` is added for the fast mode.
fn model(group: &Group) -> Cow<'_, str> {
    match (&*group.model, group.class.is_fast) {
        ("", _) => Cow::Borrowed(UNKNOWN),
        (model, false) => Cow::Borrowed(model),
        (model, true) => Cow::Owned(format!("{model}-fast")),
    }
}

/// The name of what a transcript does not name.
pub(super) const UNKNOWN: &str = "unknown";
/// The name of the part that no subagent used, or of which it is not known.
pub(super) const NO_AGENT: &str = "(the session itself)";
/// The name of the part outside of repositories.
pub(super) const NO_BRANCH: &str = "(no branch)";

fn part(group: &Group, part: Part) -> Cow<'_, str> {
    let named = |name, other| Cow::Borrowed(if str::is_empty(name) { other } else { name });
    match part {
        Part::Model => model(group),
        Part::Project => named(project(group), UNKNOWN),
        Part::Session => named(&group.session, UNKNOWN),
        Part::Branch => named(&group.branch, NO_BRANCH),
        Part::Agent => named(&group.agent, NO_AGENT),
    }
}

/// What replies add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Total {
    pub(super) n_replies: u64,
    /// Replies whose model has no price. Their cost is missing.
    pub(super) n_unpriced: u64,
    pub(super) tokens: EntryTokens,
    pub(super) n_web_searches: u64,
    pub(super) picodollars: i128,
    /// When the first reply and the last one were made, in Unix milliseconds.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

impl Total {
    fn of(quarter: &Quarter, cost: Option<Picodollars>) -> Total {
        Total {
            n_replies: quarter.n_replies,
            n_unpriced: if cost.is_none() { quarter.n_replies } else { 0 },
            tokens: quarter.tokens,
            n_web_searches: quarter.n_web_searches,
            picodollars: cost.unwrap_or(0).into(),
            first_ms: quarter.first_ms,
            last_ms: quarter.last_ms,
        }
    }

    pub(super) fn add(&mut self, other: &Total) {
        if other.n_replies == 0 {
            return;
        }
        if self.n_replies == 0 {
            *self = *other;
            return;
        }
        self.n_replies += other.n_replies;
        self.n_unpriced += other.n_unpriced;
        self.tokens.add(&other.tokens);
        self.n_web_searches += other.n_web_searches;
        self.picodollars += other.picodollars;
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
    }

    pub(super) fn cost_usd(&self) -> f64 {
        self.picodollars as f64 / 1e12
    }

    /// Tokens of every kind.
    pub(super) fn n_tokens(&self) -> u64 {
        self.tokens.all_input() + self.tokens.output
    }

    pub(super) fn cache_write(&self) -> u64 {
        self.tokens.cache_write_5m + self.tokens.cache_write_1h
    }
}

/// What one model, project and so on has of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) name: String,
    pub(super) total: Total,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) subject: Subject,
    pub(super) total: Total,
    /// By model, the greatest cost first.
    pub(super) models: Vec<Share>,
    /// By what `--by` names, the greatest cost first.
    pub(super) parts: Vec<Share>,
    /// Whether the row lacks a part of its week or month, since that lies outside of the report's
    /// days.
    pub(super) is_partial: bool,
    /// The cost of the session that the client itself stated last, if it did.
    pub(super) client_cost: Option<ClientCost>,
}

/// The cost of a session that the client stated last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ClientCost {
    pub(super) cost: Picodollars,
    /// Whether our sum differs from it by more than can be explained by calls that no transcript
    /// has: the client asks a small model for titles, for example, so its sum is a little higher.
    pub(super) is_different: bool,
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Subject {
    Days(Period, Days),
    Block(BlockBounds),
    /// The time without a reply between two blocks.
    Gap(Range<i64>),
    Session(SessionNames),
    Project {
        directory: String,
    },
    Model(String),
    Branch {
        branch: String,
        directory: String,
    },
    Agent(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct BlockBounds {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) is_active: bool,
    /// Only of the block that is open.
    pub(super) burn: Option<Burn>,
    pub(super) projection: Option<Projection>,
}

/// A session, with the names at its last reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SessionNames {
    pub(super) id: String,
    pub(super) directory: String,
    pub(super) folder: String,
    pub(super) branch: String,
}

/// The report of one account, or of all together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    pub(super) roots: Vec<PathBuf>,
    /// The first day of which the record has something, of the root where it is latest.
    pub(super) complete_since: Option<Date>,
    pub(super) rows: Vec<Row>,
    /// Rows that `--top` leaves out.
    pub(super) n_left_out: usize,
    /// Of all rows, also of those that are left out.
    pub(super) totals: Total,
    /// How many replies each model without a price made.
    pub(super) unpriced: BTreeMap<String, u64>,
}

/// The sums of one row while it is added up.
#[derive(Default)]
struct Sums<'a> {
    total: Total,
    models: BTreeMap<Cow<'a, str>, Total>,
    parts: BTreeMap<Cow<'a, str>, Total>,
    /// The group of the last reply.
    last: Option<&'a Group>,
}

/// The report of these roots as one.
pub(super) fn account(query: &Query<'_>, roots: &[&AccountHistory]) -> Account {
    let mut account = Account {
        roots: roots.iter().map(|it| it.root.clone()).collect(),
        complete_since: complete_since(query.calendar, roots),
        ..Account::default()
    };
    let mut rows = match query.kind {
        ReportKind::Daily => by_period(query, roots, Period::Day),
        ReportKind::Weekly => by_period(query, roots, Period::Week),
        ReportKind::Monthly => by_period(query, roots, Period::Month),
        ReportKind::Blocks => by_block(query, roots),
        ReportKind::Sessions => by_session(query, roots),
        kind => by_name(query, roots, kind),
    };
    for row in &rows {
        account.totals.add(&row.total);
        for Share { name, total } in row.models.iter().filter(|it| it.total.n_unpriced > 0) {
            *account.unpriced.entry(name.clone()).or_default() += total.n_unpriced;
        }
    }
    account.n_left_out = sort(&mut rows, query.kind, query.sorting);
    account.rows = rows;
    account
}

/// Today, this week and this month.
pub(super) type Windows = [Total; 3];

/// A row for each of the days, also for those on which nothing was used, and the windows around
/// today.
pub(super) fn overview(query: &Query<'_>, roots: &[&AccountHistory]) -> (Account, Windows) {
    let calendar = query.calendar;
    let periods = [Period::Day, Period::Week, Period::Month];
    let windows = periods.map(|it| calendar.period(it, calendar.today));
    let since = windows.iter().filter_map(|it| it.since).chain(query.days.since).min();
    let until = query.days.until;
    let all_days = Query { days: Days { since, until }, ..*query };
    let mut account = account(&all_days, roots);
    let mut days: BTreeMap<Option<Date>, Row> = BTreeMap::new();
    for row in std::mem::take(&mut account.rows) {
        if let Subject::Days(_, days_of_row) = row.subject {
            days.insert(days_of_row.since, row);
        }
    }
    // Of days before the record begins nothing is known, so they have no row.
    let begins = roots.iter().filter_map(|it| it.first_ms).min();
    let begins = begins.and_then(|it| calendar.day_of(it)).unwrap_or(calendar.today);
    let first = query.days.since.max(Some(begins));
    let last = query.days.until.unwrap_or(calendar.today);
    let mut next = first;
    account.totals = Total::default();
    while let Some(day) = next.filter(|it| *it <= last) {
        let subject = Subject::Days(Period::Day, calendar.period(Period::Day, day));
        let row = days.remove(&next).unwrap_or_else(|| Sums::default().row(subject));
        account.totals.add(&row.total);
        account.rows.push(row);
        next = day.tomorrow().ok();
    }
    let totals = windows.map(|window| {
        let mut total = Total::default();
        each(query, roots, &calendar.span_ms(window), |_, _, it| total.add(&it));
        total
    });
    (account, totals)
}

fn complete_since(calendar: &Calendar, roots: &[&AccountHistory]) -> Option<Date> {
    let first_ms = roots.iter().filter_map(|it| it.first_ms).max()?;
    calendar.day_of(first_ms)
}

/// Calls `add` with all sums in a span of time that the query asks for.
fn each<'a>(
    query: &Query<'_>,
    roots: &[&'a AccountHistory],
    span: &Range<i64>,
    mut add: impl FnMut(&'a Group, SlotKey, Total),
) {
    for (group, quarters) in roots.iter().flat_map(|it| &it.sums) {
        if !query.filter.has(group) {
            continue;
        }
        for (slot, quarter) in quarters {
            if span.contains(&slot.quarter_ms()) {
                let cost = quarter.cost(group, query.prices);
                add(group, *slot, Total::of(quarter, cost));
            }
        }
    }
}

impl<'a> Sums<'a> {
    fn add(&mut self, group: &'a Group, by: Option<Part>, total: &Total) {
        if self.last.is_none() || total.last_ms >= self.total.last_ms {
            self.last = Some(group);
        }
        self.total.add(total);
        self.models.entry(model(group)).or_default().add(total);
        if let Some(by) = by {
            self.parts.entry(part(group, by)).or_default().add(total);
        }
    }

    fn row(self, subject: Subject) -> Row {
        Row {
            subject,
            total: self.total,
            models: shares(self.models),
            parts: shares(self.parts),
            is_partial: false,
            client_cost: None,
        }
    }
}

fn shares(parts: BTreeMap<Cow<'_, str>, Total>) -> Vec<Share> {
    let shares = parts.into_iter().map(|(name, total)| Share { name: name.into_owned(), total });
    let mut shares: Vec<_> = shares.collect();
    // It is stable, so equal costs stay in the order of the alphabet.
    shares.sort_by_key(|it| std::cmp::Reverse((it.total.picodollars, it.total.n_tokens())));
    shares
}

fn by_period(query: &Query<'_>, roots: &[&AccountHistory], period: Period) -> Vec<Row> {
    let calendar = query.calendar;
    // Many groups have sums on the same day, and each lookup of a day in the time zone takes long.
    let mut days: BTreeMap<i64, (i64, Date)> = BTreeMap::new();
    let mut start_of = |at_ms: i64| {
        if let Some((_, (end_ms, start))) = days.range(..=at_ms).next_back()
            && at_ms < *end_ms
        {
            return Some(*start);
        }
        let day = calendar.day_of(at_ms)?;
        let span = calendar.span_ms(Days { since: Some(day), until: Some(day) });
        let start = calendar.start(period, day);
        days.insert(span.start, (span.end, start));
        Some(start)
    };
    let mut sums: BTreeMap<Date, Sums<'_>> = BTreeMap::new();
    each(query, roots, &calendar.span_ms(query.days), |group, slot, total| {
        if let Some(start) = start_of(slot.quarter_ms()) {
            sums.entry(start).or_default().add(group, query.by, &total);
        }
    });
    let rows = sums.into_iter().map(|(start, sums)| {
        let days = calendar.period(period, start);
        let is_partial = days.is_cut_by(query.days, calendar.today);
        Row { is_partial, ..sums.row(Subject::Days(period, days)) }
    });
    rows.collect()
}

fn by_block(query: &Query<'_>, roots: &[&AccountHistory]) -> Vec<Row> {
    // Where a block begins depends on all that the account used, whatever the filter is.
    let mut times: BTreeMap<SlotKey, (i64, i64)> = BTreeMap::new();
    for (slot, quarter) in roots.iter().flat_map(|it| &it.sums).flat_map(|it| it.1) {
        let (first_ms, last_ms) = times.entry(*slot).or_insert((quarter.first_ms, quarter.last_ms));
        *first_ms = quarter.first_ms.min(*first_ms);
        *last_ms = quarter.last_ms.max(*last_ms);
    }
    let blocks = blocks::split(times.into_iter().map(|(slot, (first, last))| (slot, first, last)));
    let mut sums: Vec<Sums<'_>> = blocks.iter().map(|_| Sums::default()).collect();
    each(query, roots, &(i64::MIN..i64::MAX), |group, _, total| {
        let n_begun = blocks.partition_point(|it| it.first_ms <= total.first_ms);
        sums[n_begun - 1].add(group, query.by, &total);
    });
    let is_wanted = |start_ms: i64| query.calendar.span_ms(query.days).contains(&start_ms);
    let mut rows = Vec::new();
    let mut before: Option<&Stretch> = None;
    for (block, sums) in blocks.iter().zip(sums) {
        let gap = before.and_then(|it| it.gap_before(block));
        if let Some(gap) = gap.filter(|it| query.has_gaps && is_wanted(it.start)) {
            rows.push(Sums::default().row(Subject::Gap(gap)));
        }
        before = Some(block);
        let is_active = block.is_active(query.now_ms) && block.start_ms <= query.now_ms;
        let is_asked_for = is_active || !query.is_active_only;
        if sums.total.n_replies > 0 && is_asked_for && is_wanted(block.start_ms) {
            let total = &sums.total;
            let rates = block.rates(total.cost_usd(), total.n_tokens(), query.now_ms);
            let bounds = BlockBounds {
                start_ms: block.start_ms,
                end_ms: block.end_ms(),
                is_active,
                burn: rates.burn.filter(|_| is_active),
                projection: rates.projection.filter(|_| is_active),
            };
            rows.push(sums.row(Subject::Block(bounds)));
        }
    }
    if query.is_active_only {
        rows.retain(|it| matches!(it.subject, Subject::Block(_)));
    }
    // The hour in which a block begins may begin before the gap ends.
    rows.sort_by_key(|row| match &row.subject {
        Subject::Gap(gap) => (gap.start, true),
        Subject::Block(block) => (block.start_ms, false),
        _ => (0, false),
    });
    rows
}

fn by_session(query: &Query<'_>, roots: &[&AccountHistory]) -> Vec<Row> {
    let mut sums: BTreeMap<&str, Sums<'_>> = BTreeMap::new();
    each(query, roots, &query.calendar.span_ms(query.days), |group, _, total| {
        sums.entry(&group.session).or_default().add(group, query.by, &total);
    });
    let rows = sums.into_iter().map(|(id, sums)| {
        let last = sums.last.cloned().unwrap_or_default();
        let text = |it: &Arc<str>| it.to_string();
        let names = SessionNames {
            id: if id.is_empty() { UNKNOWN.to_owned() } else { id.to_owned() },
            directory: project(&last).to_owned(),
            folder: text(&last.folder),
            branch: text(&last.branch),
        };
        let client_cost = client_cost(query, roots, id, &sums.total);
        Row { client_cost, ..sums.row(Subject::Session(names)) }
    });
    rows.collect()
}

/// The cost that the client stated of a session, of which the report counts `total`.
fn client_cost(
    query: &Query<'_>,
    roots: &[&AccountHistory],
    session: &str,
    total: &Total,
) -> Option<ClientCost> {
    let said = roots.iter().filter_map(|it| it.client_costs.get(session)).max();
    let (at_ms, cost) = *said?;
    // The two cannot be compared if days before the report belong to the session, if it used a
    // model without a price, or if it went on after the client's statement.
    let first_day = query.calendar.day_of(total.first_ms);
    let is_whole = query.days.since.is_none_or(|since| first_day > Some(since));
    let is_comparable = is_whole && total.n_unpriced == 0 && total.last_ms <= at_ms + MINUTE_MS;
    let (ours, theirs) = (total.picodollars, i128::from(cost));
    let is_more = ours > theirs + CENT + theirs / 100;
    let is_less = theirs > ours + 5 * CENT + ours / 4;
    Some(ClientCost { cost, is_different: is_comparable && (is_more || is_less) })
}

/// In picodollars.
const CENT: i128 = 10_000_000_000;

fn by_name(query: &Query<'_>, roots: &[&AccountHistory], kind: ReportKind) -> Vec<Row> {
    let mut sums: BTreeMap<(Cow<'_, str>, &str), Sums<'_>> = BTreeMap::new();
    each(query, roots, &query.calendar.span_ms(query.days), |group, _, total| {
        let key = match kind {
            ReportKind::Projects => (part(group, Part::Project), ""),
            // A branch of the same name in another project is another branch.
            ReportKind::Branches => (part(group, Part::Branch), project(group)),
            ReportKind::Agents => (part(group, Part::Agent), ""),
            _ => (model(group), ""),
        };
        sums.entry(key).or_default().add(group, query.by, &total);
    });
    let rows = sums.into_iter().map(|((name, directory), sums)| {
        let name = name.into_owned();
        sums.row(match kind {
            ReportKind::Projects => Subject::Project { directory: name },
            ReportKind::Branches => {
                Subject::Branch { branch: name, directory: directory.to_owned() }
            }
            ReportKind::Agents => Subject::Agent(name),
            _ => Subject::Model(name),
        })
    });
    rows.collect()
}

/// The rows of each day, by the name of the project's folder.
pub(super) fn daily_by_folder(
    query: &Query<'_>,
    roots: &[&AccountHistory],
) -> BTreeMap<String, Vec<Row>> {
    let folders = roots.iter().flat_map(|it| it.sums.keys()).map(|it| it.folder.to_string());
    let folders: std::collections::BTreeSet<String> = folders.collect();
    let rows = folders.into_iter().map(|folder| {
        let project = Some(Pattern::Whole(folder.clone()));
        let filter = Filter { project, ..Filter::default() };
        let mut rows = by_period(&Query { filter: &filter, ..*query }, roots, Period::Day);
        sort(&mut rows, query.kind, query.sorting);
        (folder, rows)
    });
    rows.filter(|(_, rows)| !rows.is_empty()).collect()
}

/// Sorts the rows, which are in the order of their times or names, and removes those that are not
/// among the top. Returns how many these were.
fn sort(rows: &mut Vec<Row>, kind: ReportKind, Sorting { by, order, top }: Sorting) -> usize {
    let measure = |row: &Row, by: Sort| match by {
        Sort::Cost => row.total.picodollars,
        Sort::Tokens => row.total.n_tokens().into(),
        Sort::Time => row.total.last_ms.into(),
        Sort::Name => 0,
    };
    let mut n_left_out = 0;
    if let Some(top) = top.filter(|it| *it < rows.len()) {
        let mut ranks: Vec<usize> = (0..rows.len()).collect();
        ranks.sort_by_key(|nth| std::cmp::Reverse(measure(&rows[*nth], by.unwrap_or(Sort::Cost))));
        ranks.truncate(top);
        n_left_out = rows.len() - top;
        let mut nth = 0;
        rows.retain(|_| {
            nth += 1;
            ranks.contains(&(nth - 1))
        });
    }
    let by = by.or((!kind.is_of_times()).then_some(Sort::Cost));
    match by {
        None | Some(Sort::Name) => {
            if order == Some(Order::Desc) {
                rows.reverse();
            }
        }
        Some(by) => {
            let default = if by == Sort::Time { Order::Asc } else { Order::Desc };
            match order.unwrap_or(default) {
                Order::Asc => rows.sort_by_key(|it| measure(it, by)),
                Order::Desc => rows.sort_by_key(|it| std::cmp::Reverse(measure(it, by))),
            }
        }
    }
    n_left_out
}
