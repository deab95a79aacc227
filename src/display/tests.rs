//! Lines as users see them, by topic. This file has what the tests of all topics share.

use std::path::Path;

use jiff::tz::{Offset, TimeZone};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::line;
use super::view::{Around, Source, Style, Tree, View, Watcher};
use crate::store::schema::display::Depth;
use crate::store::schema::{
    Block, ClientFacts, Context, Cost, CostSource, Limit, Limits, Model, Repo, RepoKey, Root,
    RootKey, Session, SessionId, Snapshot, Totals, Usage, Window,
};
use crate::time::{HOUR_MS, MINUTE_MS};

mod account;
mod git;
mod hostile;
mod layout;
mod scope;
mod states;

const NOW: i64 = 1_795_440_000_000;
/// A time zone in which it is 14:32 at [`NOW`].
fn zone() -> TimeZone {
    TimeZone::fixed(Offset::from_seconds(72 * 60).unwrap())
}

const PLAIN: Style = Style { columns: None, depth: Depth::None, has_links: false };

/// What a healthy session shows after directory, branch and model.
const REST: &str = "ctx 42% · $1.00 · block $10.00 2h00m left · today $30.00 · 5h 34% ↻2h00m";
/// What it shows before the usage of the account.
const BEFORE_USAGE: &str = "~/w/p · main · model-one · ctx 42% · $1.00";

/// One healthy session in one repository of one account.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { version: 1, published_at_ms: NOW, ..Snapshot::default() };
    add_session(&mut snapshot, "one", "/h/.claude", "/h/work/p", "main", 1.0);
    snapshot
}

/// Adds a session with its own account and repository. `usd` is the base of all its numbers.
fn add_session(snapshot: &mut Snapshot, id: &str, root: &str, repo: &str, branch: &str, usd: f64) {
    let block = Block { end_ms: NOW + 133 * MINUTE_MS, cost_usd: usd * 10.0, ..Block::default() };
    let usage = Usage {
        as_of_ms: NOW,
        block: Some(block),
        window: Some(Window {
            end_ms: NOW + 2 * HOUR_MS,
            used: Totals { cost_usd: usd * 10.0, ..Totals::default() },
            ..Window::default()
        }),
        today: Totals { cost_usd: usd * 30.0, ..Totals::default() },
        day_ends_ms: NOW + HOUR_MS,
        ..Usage::default()
    };
    let five_hour = Some(limit(usd * 34.0, 2 * HOUR_MS));
    let limits = Limits { five_hour, ..Limits::default() };
    snapshot.roots.insert(RootKey(root.to_owned()), Root { usage: Some(usage), limits });

    let branch = Some(branch.to_owned());
    let facts = Repo { as_of_ms: NOW, branch, ..Repo::default() };
    snapshot.repos.insert(RepoKey(repo.to_owned()), facts);

    let used = Context { as_of_ms: NOW, used_percentage: Some(usd * 42.0), ..Context::default() };
    let session = Session {
        root: root.to_owned(),
        cwd: Some(repo.to_owned()),
        repo: Some(repo.to_owned()),
        transcript: Some(format!("{root}/projects/p/{id}.jsonl")),
        model: Some(Model { id: format!("model-{id}"), display_name: None }),
        context: Some(used),
        cost: Some(Cost { as_of_ms: NOW, usd, source: CostSource::Transcript, unpriced: 0 }),
        ..Session::default()
    };
    snapshot.sessions.insert(SessionId(id.to_owned()), session);
}

fn limit(used_percentage: f64, left_ms: i64) -> Limit {
    Limit { used_percentage, resets_at_ms: NOW + left_ms, as_of_ms: NOW, ..Limit::default() }
}

fn repo(snapshot: &mut Snapshot) -> &mut Repo {
    snapshot.repos.values_mut().next().unwrap()
}

fn root(snapshot: &mut Snapshot) -> &mut Root {
    snapshot.roots.values_mut().next().unwrap()
}

fn usage(snapshot: &mut Snapshot) -> &mut Usage {
    root(snapshot).usage.as_mut().unwrap()
}

fn session(snapshot: &mut Snapshot) -> &mut Session {
    snapshot.sessions.values_mut().next().unwrap()
}

/// What `show` finds around the client's directory, if there are the working trees of the snapshot
/// and no others. The files of none tell what is checked out.
fn around(source: Source<'_>, client: &ClientFacts) -> Around {
    let (Source::Snapshot(snapshot), Some(cwd)) = (source, &client.cwd) else {
        return Around::Unknown;
    };
    if snapshot.sessions.values().any(|it| it.cwd.as_ref() == Some(cwd)) {
        return Around::Unknown;
    }
    let tops = snapshot.repos.keys().map(|it| &it.0).filter(|it| Path::new(cwd).starts_with(it));
    let tree = |top: &String| Tree { top: top.clone(), head: None, is_own: true };
    tops.max_by_key(|it| it.len()).map_or(Around::NoTree, |top| Around::Tree(Box::new(tree(top))))
}

/// The line of the session `one`.
fn show(source: Source<'_>, watcher: Watcher, client: &ClientFacts, style: &Style) -> String {
    let session = SessionId("one".to_owned());
    let zone = zone();
    let view = View {
        source,
        watcher,
        client,
        session: Some(&session),
        around: &around(source, client),
        now_ms: NOW,
        home: Some("/h"),
        drawn_at: None,
        clock: None,
        zone: Some(&zone),
    };
    line(&view, style)
}

/// Compares the whole line after a change to the snapshot.
#[track_caller]
fn check(change: impl FnOnce(&mut Snapshot), expected: &str) {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    let source = Source::Snapshot(&snapshot);
    assert_eq!(show(source, Watcher::Alive, &ClientFacts::default(), &PLAIN), expected);
}

/// Compares what stands between directory and model.
#[track_caller]
fn check_git(change: impl FnOnce(&mut Repo), expected: &str) {
    let expected = format!("~/w/p · {expected} · model-one · {REST}");
    check(|it| change(repo(it)), &expected);
}

/// Compares the whole line with facts from the client.
#[track_caller]
fn check_client(client: &ClientFacts, expected: &str) {
    let snapshot = snapshot();
    assert_eq!(show(Source::Snapshot(&snapshot), Watcher::Alive, client, &PLAIN), expected);
}

/// Checks what must hold for every line without colours.
#[track_caller]
fn check_shape(line: &str, usable: usize) {
    let width: usize = line.graphemes(true).map(UnicodeWidthStr::width).sum();
    assert!(width <= usable, "{width} > {usable}: {line}");
    assert!(!line.is_empty());
    assert_eq!(line.trim_end(), line, "blanks at the end");
    let is_unsafe = |char: char| {
        char.is_control() || matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
    };
    assert!(!line.contains(is_unsafe), "{line:?}");
}
