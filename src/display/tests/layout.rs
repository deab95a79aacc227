//! How a line is laid out: order, width, colour, and what gives way.

use super::{NOW, PLAIN, REST, check, check_shape, limit, repo, root, session, show, snapshot};
use crate::display::view::{Source, Style, Watcher};
use crate::store::schema::display::Depth;
use crate::store::schema::{ClientFacts, Lines, Snapshot};
use crate::time::{DAY_MS, HOUR_MS};

const COLOURED: Style = Style { columns: None, depth: Depth::Ansi, has_links: false };

#[test]
fn a_healthy_session_shows_everything_in_one_line() {
    check(|_| (), &format!("~/w/p · main · model-one · {REST}"));
}

#[test]
fn a_line_is_never_empty() {
    let empty = Snapshot { version: 1, ..Snapshot::default() };
    let cwd = Some("/h/work/p".to_owned());
    let client = ClientFacts { cwd, ..ClientFacts::default() };
    for (source, watcher, expected) in [
        (Source::Missing, Watcher::Gone, "no data yet: ccstatusd start"),
        (Source::Missing, Watcher::Alive, "no data yet"),
        (Source::Unreadable, Watcher::Alive, "snapshot is unreadable"),
        (Source::Newer, Watcher::Alive, "snapshot is from a newer ccstatusd"),
    ] {
        assert_eq!(show(source, watcher, &ClientFacts::default(), &PLAIN), expected);
        assert_eq!(show(source, watcher, &client, &PLAIN), format!("~/w/p · {expected}"));
    }
    let drawn = show(Source::Snapshot(&empty), Watcher::Alive, &ClientFacts::default(), &PLAIN);
    assert_eq!(drawn, "ccstatusd: nothing known about this session yet");
}

#[test]
fn a_dead_watcher_is_mentioned_at_every_width() {
    let mut snapshot = snapshot();
    snapshot.published_at_ms = NOW - 3 * HOUR_MS;
    let source = Source::Snapshot(&snapshot);
    let drawn =
        |columns| show(source, Watcher::Gone, &ClientFacts::default(), &Style { columns, ..PLAIN });
    let line =
        format!("~/w/p · main · model-one · {REST} · data 3h old, no watcher: ccstatusd start");
    assert_eq!(drawn(None), line);
    assert_eq!(drawn(Some(40)), "p · main · data 3h old, no watcher");
    assert_eq!(drawn(Some(22)), "data 3h old, no w…");
    assert_eq!(drawn(Some(21)), "data 3h old, no…");
    assert_eq!(drawn(Some(11)), "data 3…");
}

#[test]
fn a_group_that_comes_first_begins_without_a_blank() {
    let change = |snapshot: &mut Snapshot| {
        snapshot.display.format = Some("{model} {lines}".to_owned());
        session(snapshot).lines = Some(Lines { added: 0, removed: 3 });
    };
    check(change, "model-one · −3");
}

#[test]
fn alarms_are_shown_on_a_narrow_terminal() {
    let mut snapshot = snapshot();
    let seven_day = Some(limit(96.0, 3 * DAY_MS));
    root(&mut snapshot).limits.seven_day = seven_day;
    let style = Style { columns: Some(52), ..PLAIN };
    let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &ClientFacts::default(), &style);
    assert_eq!(drawn, "~/w/p · main · ctx 42% · 5h 34% · 7d 96% ↻3d00h");
}

#[test]
fn segments_of_lower_priority_give_way_first() {
    let snapshot = snapshot();
    let drawn = |columns| {
        let style = Style { columns: Some(columns), ..PLAIN };
        show(Source::Snapshot(&snapshot), Watcher::Alive, &ClientFacts::default(), &style)
    };
    assert_eq!(drawn(103), format!("~/w/p · main · model-one · {REST}"));
    assert_eq!(
        drawn(80),
        "~/w/p · main · model-one · ctx 42% · $1.00 · block $10.00 · 5h 34% ↻2h00m"
    );
    assert_eq!(drawn(62), "~/w/p · main · model-one · ctx 42% · $1.00 · 5h 34% ↻2h00m");
    assert_eq!(drawn(40), "~/w/p · main · model-one · ctx 42%");
    assert_eq!(drawn(20), "main · ctx 42%");
    assert_eq!(drawn(6), "m…");
    assert_eq!(drawn(0), "…");
}

#[test]
fn a_coloured_line_has_few_sequences_and_ends_with_a_reset() {
    let drawn = |style| {
        let mut snapshot = snapshot();
        repo(&mut snapshot).unstaged = 1;
        session(&mut snapshot).context.as_mut().unwrap().used_percentage = Some(95.0);
        root(&mut snapshot).usage = None;
        show(Source::Snapshot(&snapshot), Watcher::Alive, &ClientFacts::default(), &style)
    };
    insta::assert_snapshot!(drawn(COLOURED).replace('\x1b', "␛"), @"␛[36m~/w/p␛[0m · ␛[35mmain ␛[0m␛[33m!1␛[0m · model-one · ctx ␛[1;31m95%␛[0m · $1.00 · 5h 34% ↻2h00m␛[0m");
    assert!(!drawn(PLAIN).contains('\x1b'));
}

#[test]
fn no_line_is_wider_than_the_terminal_in_any_script() {
    let names = [
        "機能/日本語のとても長いブランチ名前前前前前前前前前前前前前前前前",
        "👩‍👩‍👧‍👦🎉🇯🇵 party ☁️",
        "فرع-العمل ירושלים",
        "e\u{301}e\u{301} नमस्ते",
        "\u{3000}",
    ];
    for name in names {
        let mut snapshot = snapshot();
        repo(&mut snapshot).branch = Some(name.to_owned());
        session(&mut snapshot).cwd = Some(format!("/h/{name}/{name}"));
        snapshot.display.theme.padding = 1;
        for columns in 20..=240 {
            let style = Style { columns: Some(columns), depth: Depth::None, has_links: false };
            let source = Source::Snapshot(&snapshot);
            let drawn = show(source, Watcher::Alive, &ClientFacts::default(), &style);
            check_shape(&drawn, columns - 6);
        }
    }
}
