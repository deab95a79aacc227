//! Lines as people see them: one expected text a state, and what must hold in every state.

use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::store::schema::display::{self, Depth, Display};
use crate::store::schema::{
    Block, BlockSource, ClientFacts, Command, Context, Cost, CostSource, Degraded, Limit, Limits,
    Lines, Model, Repo, RepoKey, Root, RootKey, Session, SessionId, Snapshot, Totals, Usage,
};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

use super::ansi::without_colour;
use super::view::{Source, Style, View, Watcher};
use super::{line, session_line};

const NOW: i64 = 1_795_440_000_000;
const PLAIN: Style = Style { columns: None, depth: Depth::None };
const COLOURED: Style = Style { columns: None, depth: Depth::Ansi };

/// One session that is well, in one repository of one account.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { version: 1, published_at_ms: NOW, ..Snapshot::default() };
    add_session(&mut snapshot, "one", "/h/.claude", "/h/work/p", "main", 1.0);
    snapshot
}

/// Adds a session with an account and a repository of its own, all of it recognizable.
fn add_session(it: &mut Snapshot, id: &str, root: &str, repo: &str, branch: &str, usd: f64) {
    let block = Block { end_ms: NOW + 133 * MINUTE_MS, cost_usd: usd * 10.0, ..Block::default() };
    let usage = Usage {
        as_of_ms: NOW,
        block: Some(block),
        today: Totals { cost_usd: usd * 30.0, ..Totals::default() },
        day_ends_ms: NOW + HOUR_MS,
        ..Usage::default()
    };
    let five_hour = Some(limit(usd * 34.0, 2 * HOUR_MS));
    let limits = Limits { five_hour, ..Limits::default() };
    it.roots.insert(RootKey(root.to_owned()), Root { usage: Some(usage), limits });

    let branch = Some(branch.to_owned());
    let facts = Repo { as_of_ms: NOW, branch, ..Repo::default() };
    it.repos.insert(RepoKey(repo.to_owned()), facts);

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
    it.sessions.insert(SessionId(id.to_owned()), session);
}

fn limit(used_percentage: f64, left_ms: i64) -> Limit {
    Limit { used_percentage, resets_at_ms: NOW + left_ms, as_of_ms: NOW, full_at_ms: None }
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

fn show(source: Source<'_>, watcher: Watcher, client: &ClientFacts, style: &Style) -> String {
    let session = SessionId("one".to_owned());
    let view = View {
        source,
        watcher,
        client,
        session: Some(&session),
        now_ms: NOW,
        home: Some("/h"),
        drawn_at: None,
        clock: None,
    };
    line(&view, style)
}

/// The whole line, after a change to the snapshot of [`snapshot`].
#[track_caller]
fn check(change: impl FnOnce(&mut Snapshot), expected: &str) {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    let source = Source::Snapshot(&snapshot);
    assert_eq!(show(source, Watcher::Alive, &ClientFacts::default(), &PLAIN), expected);
}

/// What stands between directory and model.
#[track_caller]
fn check_git(change: impl FnOnce(&mut Repo), expected: &str) {
    let expected = format!("~/w/p · {expected} · model-one · {REST}");
    check(|it| change(repo(it)), &expected);
}

/// The whole line, with facts from the client.
#[track_caller]
fn check_client(client: &ClientFacts, expected: &str) {
    let snapshot = snapshot();
    assert_eq!(show(Source::Snapshot(&snapshot), Watcher::Alive, client, &PLAIN), expected);
}

const REST: &str = "ctx 42% · $1.00 · block $10.00 2h13m left · today $30.00 · 5h 34% ↻2h00m";

#[test]
fn a_session_that_is_well() {
    check(|_| (), &format!("~/w/p · main · model-one · {REST}"));
}

#[test]
fn git_facts_read_from_left_to_right() {
    check_git(
        |it| {
            (it.ahead, it.behind, it.stashes) = (1, 2, 3);
            (it.conflicts, it.staged, it.unstaged, it.untracked) = (4, 5, 6, 7);
            it.operation = Some("rebase 2/5".to_owned());
            it.worktree = Some("spare".to_owned());
        },
        "main in spare ⇡1⇣2 *3 rebase 2/5 =4 +5 !6 ?7",
    );
}

#[test]
fn a_detached_head_shows_its_commit() {
    let commit = Some("1a2b3c4d5e6f".to_owned());
    check_git(|it| (it.branch, it.commit) = (None, commit), "@1a2b3c4");
    check_git(|it| it.branch = None, "no commit");
}

#[test]
fn a_bare_repository_says_so() {
    check_git(|it| it.bare = true, "main bare");
}

#[test]
fn what_git_refuses_is_never_shown_as_clean() {
    let error = Some("dubious ownership".to_owned());
    check_git(|it| *it = Repo { error, ..Repo::default() }, "git: dubious ownership");
}

#[test]
fn the_last_good_git_facts_stay_with_their_age_and_the_reason() {
    check_git(
        |it| (it.as_of_ms, it.error) = (NOW - 9 * SECOND_MS, Some("timed out".to_owned())),
        "main 9s ago · git: timed out",
    );
}

#[test]
fn git_facts_age() {
    check_git(|it| it.as_of_ms = NOW - 60 * SECOND_MS, "main");
    check_git(|it| it.as_of_ms = NOW - 61 * SECOND_MS, "main 1m ago");
    check_git(|it| it.as_of_ms = NOW - 3 * HOUR_MS, "main 3h ago");
    check_git(|it| it.as_of_ms = NOW - 9 * DAY_MS, "main 9d ago");
}

#[test]
fn a_fact_from_the_future_has_no_age() {
    check_git(|it| it.as_of_ms = NOW + DAY_MS, "main");
    check_git(|it| it.as_of_ms = i64::MAX, "main");
}

#[test]
fn without_a_repository_nothing_is_said_of_git() {
    check(|it| session(it).repo = None, &format!("~/w/p · model-one · {REST}"));
}

const BEFORE_USAGE: &str = "~/w/p · main · model-one · ctx 42% · $1.00";

#[test]
fn usage_ages_and_yesterday_s_is_gone() {
    let old = "block $10.00 2h13m left 4m ago · today $30.00 4m ago · 5h 34% ↻2h00m";
    let minutes = 4 * MINUTE_MS;
    check(|it| usage(it).as_of_ms = NOW - minutes, &format!("{BEFORE_USAGE} · {old}"));
    let yesterday = "block $10.00 2h13m left 4m ago · 5h 34% ↻2h00m";
    check(
        |it| {
            usage(it).as_of_ms = NOW - minutes;
            usage(it).day_ends_ms = NOW;
        },
        &format!("{BEFORE_USAGE} · {yesterday}"),
    );
}

#[test]
fn another_tool_s_block_has_an_age_and_prices_of_its_own() {
    check(
        |it| {
            usage(it).today.unpriced = 1;
            let block = usage(it).block.as_mut().unwrap();
            (block.source, block.as_of_ms) = (BlockSource::Ccusage, NOW - 7 * MINUTE_MS);
        },
        "~/w/p · main · model-one · ctx 42% · $1.00 · block $10.00 2h13m left 7m ago · \
         today ≥$30.00 · 5h 34% ↻2h00m",
    );
}

#[test]
fn a_block_that_ended_is_not_shown() {
    check(
        |it| usage(it).block.as_mut().unwrap().end_ms = NOW,
        &format!("{BEFORE_USAGE} · today $30.00 · 5h 34% ↻2h00m"),
    );
}

#[test]
fn a_limit_past_its_reset_is_not_shown() {
    check(
        |it| root(it).limits.five_hour = Some(limit(99.0, 0)),
        &format!("{BEFORE_USAGE} · block $10.00 2h13m left · today $30.00"),
    );
}

#[test]
fn limits_have_a_countdown_and_an_age() {
    let old = Limit { as_of_ms: NOW - 16 * MINUTE_MS, ..limit(12.4, 59 * SECOND_MS) };
    let limits = Limits {
        five_hour: Some(old),
        seven_day: Some(limit(96.0, 3 * DAY_MS + 4 * HOUR_MS)),
        spend_limit: Some(limit(130.0, 20 * MINUTE_MS)),
    };
    let expected = "block $10.00 2h13m left · today $30.00 · 5h 12% ↻<1m 16m ago · \
                    7d 96% ↻3d04h · spend 130% ↻20m";
    check(|it| root(it).limits = limits, &format!("{BEFORE_USAGE} · {expected}"));
}

#[test]
fn what_has_no_price_makes_costs_lower_bounds() {
    check(
        |it| {
            session(it).cost.as_mut().unwrap().unpriced = 1;
            usage(it).block.as_mut().unwrap().unpriced = 1;
            usage(it).today.unpriced = 1;
        },
        "~/w/p · main · model-one · ctx 42% · ≥$1.00 · block ≥$10.00 2h13m left · \
         today ≥$30.00 · 5h 34% ↻2h00m",
    );
}

#[test]
fn what_wants_a_look_now_is_seen_on_a_narrow_terminal() {
    let mut snapshot = snapshot();
    let seven_day = Some(limit(96.0, 3 * DAY_MS));
    root(&mut snapshot).limits.seven_day = seven_day;
    let style = Style { columns: Some(52), ..PLAIN };
    let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &ClientFacts::default(), &style);
    assert_eq!(drawn, "~/w/p · main · ctx 42% · 5h 34% · 7d 96% ↻3d00h");
}

#[test]
fn failing_sources_are_named_where_they_have_a_part() {
    let failing = |source: &str| Degraded {
        source: source.to_owned(),
        reason: "timed out after 5 s".to_owned(),
        ..Degraded::default()
    };
    for (source, shown) in [
        ("git:/h/work/p", "git"),
        ("transcript:/h/.claude/projects/p/one.jsonl", "transcript"),
        ("transcript:/h/.claude/projects/p/one/subagents/agent-1.jsonl", "transcript"),
        ("watch:/h/.claude", "watch"),
        ("watch:/h", "watch"),
        ("store", "store"),
        ("command:load", "command.load"),
    ] {
        let expected = format!("~/w/p · main · model-one · {REST} · {shown}: timed out after 5 s");
        check(|it| it.degraded.push(failing(source)), &expected);
    }
    for source in
        ["git:/h/work/pq", "transcript:/h/.claude/projects/p/two.jsonl", "watch:/h/.claude2"]
    {
        let expected = format!("~/w/p · main · model-one · {REST}");
        check(|it| it.degraded.push(failing(source)), &expected);
    }
}

#[test]
fn a_command_that_fails_is_named_once_with_the_reason() {
    let check = |output: &str, expected: &str| {
        let change = |it: &mut Snapshot| {
            it.display.format = Some("{directory} {command.load} {cost}".to_owned());
            let error = Some("exit code 1".to_owned());
            let command = Command { as_of_ms: NOW, output: output.to_owned(), error };
            it.commands.insert("load".to_owned(), command);
            it.degraded.push(Degraded {
                source: "command:load".to_owned(),
                reason: "exit code 1".to_owned(),
                ..Degraded::default()
            });
        };
        check(change, expected);
    };
    check("0.42", "~/w/p · 0.42 · $1.00 · command.load: exit code 1");
    check("", "~/w/p · $1.00 · command.load: exit code 1");
}

#[test]
fn a_group_that_comes_first_begins_without_a_blank() {
    let change = |it: &mut Snapshot| {
        it.display.format = Some("{model} {lines}".to_owned());
        session(it).lines = Some(Lines { added: 0, removed: 3 });
    };
    check(change, "model-one · −3");
}

#[test]
fn what_the_client_states_is_shown_as_it_states_it() {
    let client = ClientFacts {
        cwd: Some("/h/work/p/src".to_owned()),
        model: Some(Model {
            id: "m[1m]".to_owned(),
            display_name: Some("Opus 4.8 (1M context)".to_owned()),
        }),
        context_window: Some(1_000_000),
        context_used_percentage: Some(3.0),
        cost_usd: Some(0.1218),
        limits: Limits { seven_day: Some(limit(7.0, DAY_MS)), ..Limits::default() },
        ..ClientFacts::default()
    };
    let expected = "~/w/p/src · main · Opus 4.8 · ctx  3% of 1M · $0.12 · block $10.00 2h13m left · \
                    today $30.00 · 5h 34% ↻2h00m · 7d  7% ↻1d00h";
    check_client(&client, expected);
}

#[test]
fn of_two_observations_of_a_limit_the_newer_is_shown() {
    let stated = |used, left_ms| ClientFacts {
        limits: Limits { five_hour: Some(limit(used, left_ms)), ..Limits::default() },
        ..ClientFacts::default()
    };
    let rest = "block $10.00 2h13m left · today $30.00";
    for (used, left_ms, expected) in [
        (35.0, 2 * HOUR_MS, "35% ↻2h00m"),
        (33.0, 2 * HOUR_MS, "34% ↻2h00m"),
        (1.0, 5 * HOUR_MS, " 1% ↻5h00m"),
        (99.0, HOUR_MS, "34% ↻2h00m"),
    ] {
        let expected = format!("{BEFORE_USAGE} · {rest} · 5h {expected}");
        check_client(&stated(used, left_ms), &expected);
    }
}

#[test]
fn a_session_that_moved_takes_the_innermost_tree_around_it() {
    let moved = |to: &str| ClientFacts { cwd: Some(to.to_owned()), ..ClientFacts::default() };
    check_client(&moved("/h/work/pq"), &format!("~/w/pq · model-one · {REST}"));
    check_client(&moved("/"), &format!("/ · model-one · {REST}"));
    check_client(&moved("/h"), &format!("~ · model-one · {REST}"));
    check_client(&moved("/h/work/p/.x/y"), &format!("~/w/p/.x/y · main · model-one · {REST}"));
}

#[test]
fn facts_of_one_session_never_appear_in_another_s() {
    let mut snapshot = snapshot();
    add_session(&mut snapshot, "two", "/h/.claude2", "/h/work/q", "topic", 2.0);
    let drawn = |id: &str| {
        let id = SessionId(id.to_owned());
        session_line(&snapshot, Watcher::Alive, &id, NOW, "14:32", Some("/h"), &PLAIN)
    };
    assert_eq!(drawn("one"), format!("~/w/p · main · model-one · {REST} · 14:32"));
    assert_eq!(
        drawn("two"),
        "~/w/q · topic · model-two · ctx 84% · $2.00 · block $20.00 2h13m left · \
         today $60.00 · 5h 68% ↻2h00m · 14:32"
    );
    assert_eq!(drawn("three"), "14:32");
}

#[test]
fn a_new_session_finds_its_account_by_its_transcript() {
    let mut snapshot = snapshot();
    snapshot.sessions.clear();
    let client = ClientFacts {
        transcript_path: Some("/h/.claude/projects/p/new.jsonl".to_owned()),
        cwd: Some("/h/work/p".to_owned()),
        ..ClientFacts::default()
    };
    let drawn = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
    let rest = "block $10.00 2h13m left · today $30.00 · 5h 34% ↻2h00m";
    assert_eq!(drawn, format!("~/w/p · main · {rest}"));
}

#[test]
fn a_line_is_never_empty() {
    let empty = Snapshot { version: 1, ..Snapshot::default() };
    let cwd = Some("/h/work/p".to_owned());
    let client = ClientFacts { cwd, ..ClientFacts::default() };
    for (source, watcher, expected) in [
        (Source::Missing, Watcher::Gone, "no data yet: start ccstatusd"),
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
fn a_dead_watcher_shows() {
    let mut snapshot = snapshot();
    snapshot.published_at_ms = NOW - 3 * HOUR_MS;
    let source = Source::Snapshot(&snapshot);
    let drawn =
        |columns| show(source, Watcher::Gone, &ClientFacts::default(), &Style { columns, ..PLAIN });
    let line = format!("~/w/p · main · model-one · {REST} · data 3h old, no watcher");
    assert_eq!(drawn(None), line);
    assert_eq!(drawn(Some(40)), "p · main · data 3h old, no watcher");
    assert_eq!(drawn(Some(21)), "data 3h old, no w…");
    assert_eq!(drawn(Some(20)), "data 3h old, no…");
    assert_eq!(drawn(Some(10)), "data 3…");
}

#[test]
fn segments_give_way_by_rank() {
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
    assert_eq!(drawn(61), "~/w/p · main · model-one · ctx 42% · $1.00 · 5h 34% ↻2h00m");
    assert_eq!(drawn(40), "~/w/p · main · model-one · ctx 42%");
    assert_eq!(drawn(20), "main · ctx 42%");
    assert_eq!(drawn(5), "m…");
    assert_eq!(drawn(0), "…");
}

#[test]
fn colours_are_few_and_end() {
    let drawn = |style| {
        let mut snapshot = snapshot();
        repo(&mut snapshot).unstaged = 1;
        session(&mut snapshot).context.as_mut().unwrap().used_percentage = Some(95.0);
        root(&mut snapshot).usage = None;
        show(Source::Snapshot(&snapshot), Watcher::Alive, &ClientFacts::default(), &style)
    };
    insta::assert_snapshot!(drawn(COLOURED).replace('\x1b', "␛"), @"␛[36m~/w/p␛[0m␛[2m · ␛[0m␛[35mmain ␛[0m␛[33m!1␛[0m␛[2m · ␛[0mmodel-one␛[2m · ␛[0m␛[2mctx ␛[0m␛[1;31m95%␛[0m␛[2m · ␛[0m$1.00␛[2m · ␛[0m␛[2m5h ␛[0m34% ␛[2m↻2h00m␛[0m");
    assert!(!drawn(PLAIN).contains('\x1b'));
}

#[test]
fn every_width_is_kept_whatever_the_script() {
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
            let style = Style { columns: Some(columns), depth: Depth::None };
            let source = Source::Snapshot(&snapshot);
            let drawn = show(source, Watcher::Alive, &ClientFacts::default(), &style);
            check_shape(&drawn, columns - 5);
        }
    }
}

/// What holds for every line that is drawn without colours.
#[track_caller]
fn check_shape(line: &str, usable: usize) {
    let width: usize = line.graphemes(true).map(UnicodeWidthStr::width).sum();
    assert!(width <= usable, "{width} > {usable}: {line}");
    assert!(!line.is_empty());
    assert_eq!(line.trim_end(), line, "blanks at the end");
    let unsafe_char = |it: char| {
        it.is_control() || matches!(it, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
    };
    assert!(!line.contains(unsafe_char), "{line:?}");
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    check_git(|it| it.branch = Some("a\x1b[31mb\u{202e}c\r\nd\u{9b}".to_owned()), "a�[31mbc  d�");
    check_git(|it| it.branch = Some("zero\u{200b}width\u{feff}".to_owned()), "zerowidth");
    check_git(|it| it.error = Some("\x07".to_owned()), "main 0s ago · git: �");
}

/// Formats, broken ones among them.
fn format() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{git}",
        "{model}",
        "{context}",
        "{pr}",
        "{x}",
        "{}",
        "{",
        "}",
        "(",
        ")",
        " ",
        "  ",
        "\\",
        "\n",
        "日",
        "text",
        "\u{200d}",
        "\x1b[2J",
    ]);
    prop::collection::vec(piece, 0..20).prop_map(|it| it.concat())
}

/// What a snapshot could say of it, whoever wrote that.
fn displays() -> impl Strategy<Value = Display> {
    let preset = prop::sample::select(vec!["default", "ascii", "powerline", "compact", "?"]);
    let segment = (format(), format(), any::<[u16; 2]>(), any::<[f64; 3]>(), any::<String>());
    (format(), format(), preset, any::<String>(), 0..9_u16, segment).prop_map(
        |(format, part, preset, separator, padding, (full, short, widths, shares, symbol))| {
            let segment = display::Segment {
                format: Some(full.replace("{git}", "{branch}").replace("{model}", "{percent}")),
                short: Some(short.replace("{git}", "{name}").replace("{model}", "{bar}")),
                max_width: Some(widths[0] % 99),
                bar_width: Some(widths[1] % 99),
                warning: Some(shares[0]),
                alarm: Some(shares[1]),
                mark: Some(shares[2]),
                symbols: ["full", "ahead"].map(|it| (it.to_owned(), symbol.clone())).into(),
                ..display::Segment::default()
            };
            let theme = display::Theme {
                preset: Some(preset.to_owned()),
                palette: Some(part),
                separator: Some(separator),
                padding,
                ..display::Theme::default()
            };
            let segments = ["git", "context", "model", "five_hour"];
            let segments = segments.map(|it| (it.to_owned(), segment.clone())).into();
            Display { format: Some(format), theme, segments }
        },
    )
}

proptest! {
    #[test]
    fn no_display_breaks_a_line(display in displays(), columns in 0_usize..80) {
        let mut snapshot = snapshot();
        let padding = usize::from(display.theme.padding);
        snapshot.display = display;
        let source = Source::Snapshot(&snapshot);
        let style = Style { columns: Some(columns), depth: Depth::None };
        let drawn = show(source, Watcher::Gone, &ClientFacts::default(), &style);
        let coloured = Style { depth: Depth::True, ..style };
        let coloured = show(source, Watcher::Gone, &ClientFacts::default(), &coloured);
        let usable = columns.saturating_sub(3 + 2 * padding).max(1);
        for line in drawn.split('\n') {
            check_shape(line, usable);
        }
        // Powerline's edges are blanks on a background.
        for line in without_colour(&coloured).split('\n') {
            prop_assert!(super::text::width(line) <= usable, "{line:?} in {usable}");
        }
    }

    #[test]
    fn nothing_breaks_the_line(
        text in any::<String>(),
        path in any::<Option<String>>(),
        share in any::<Option<f64>>(),
        usd in any::<Option<f64>>(),
        times in any::<[i64; 4]>(),
        columns in 0_usize..300,
        gone in any::<bool>(),
    ) {
        let mut snapshot = snapshot();
        snapshot.published_at_ms = times[0];
        *repo(&mut snapshot) = Repo {
            as_of_ms: times[1],
            branch: Some(text.clone()),
            operation: path.clone(),
            error: path.clone(),
            ..Repo::default()
        };
        usage(&mut snapshot).as_of_ms = times[2];
        let used = Limit {
            used_percentage: share.unwrap_or(1.0),
            resets_at_ms: times[3],
            as_of_ms: times[2],
            full_at_ms: Some(times[0]),
        };
        root(&mut snapshot).limits.five_hour = Some(used);
        let client = ClientFacts {
            cwd: path,
            model: Some(Model { id: text.clone(), display_name: Some(text) }),
            context_used_percentage: share,
            cost_usd: usd,
            limits: Limits { seven_day: Some(used), five_hour: Some(used), spend_limit: None },
            ..ClientFacts::default()
        };
        let style = Style { columns: Some(columns), depth: Depth::None };
        let watcher = if gone { Watcher::Gone } else { Watcher::Alive };
        let drawn = show(Source::Snapshot(&snapshot), watcher, &client, &style);
        let coloured = Style { depth: Depth::True, ..style };
        let coloured = show(Source::Snapshot(&snapshot), watcher, &client, &coloured);
        prop_assert_eq!(&without_colour(&coloured), &drawn);
        check_shape(&drawn, columns.saturating_sub(3).max(1));
    }
}
