use jiff::tz::TimeZone;
use ratatui_core::backend::TestBackend;
use ratatui_core::style::{Color as Shown, Modifier};
use ratatui_core::terminal::Terminal;

use super::*;
use crate::store::schema::display::Depth;
use crate::store::schema::{
    Context, Cost, CostSource, Health, HealthStatus, Limit, Message, Model, Repo, RepoKey, Root,
    RootKey, Session, SessionId, Snapshot, Status, Subagents, Tokens, Usage as AccountUsage,
    Window,
};
use crate::time::{HOUR_MS, SECOND_MS};
use crate::top::keys::Key;
use crate::top::state::Action;
use crate::top::usage::{Amount, N_DAYS, N_HOURS, N_QUARTERS, Usage};

/// Tuesday, 25 November 2025, 21:30 in UTC.
const NOW_MS: i64 = 1_764_106_200_000;
const ZONE: TimeZone = TimeZone::UTC;

fn session(nth: i64, status: Status, dir: &str) -> Session {
    let ago_ms = nth * 7 * MINUTE_MS;
    Session {
        root: "/h/.claude".to_owned(),
        cwd: Some(format!("/h/work/{dir}")),
        repo: Some(format!("/h/work/{dir}")),
        live: true,
        name: Some(format!("work on {dir}")),
        status: Some(status),
        status_since_ms: Some(NOW_MS - ago_ms),
        last_activity_ms: NOW_MS - ago_ms,
        model: Some(Model { id: "claude-opus-4-8".to_owned(), display_name: None }),
        context: Some(Context {
            used_percentage: Some(23.0),
            window: Some(200_000),
            ..Context::default()
        }),
        cost: Some(Cost { as_of_ms: NOW_MS, usd: 12.345, source: CostSource::Client, unpriced: 0 }),
        duration_ms: Some(2 * HOUR_MS as u64),
        turns: 9,
        cache_hit_ratio: Some(0.93),
        tokens: Tokens {
            input: 8_120,
            output: 41_377,
            cache_write: 310_000,
            cache_read: 9_400_000,
        },
        ..Session::default()
    }
}

/// Six sessions in four states, of two accounts.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { published_at_ms: NOW_MS - 4 * SECOND_MS, ..Snapshot::default() };
    let waiting = Session {
        waiting_for: Some("permission prompt".to_owned()),
        last_message: Some(Message {
            at_ms: NOW_MS - 2 * MINUTE_MS,
            preview: Some("May I run the migration on the staging database?".to_owned()),
        }),
        subagents: Subagents { running: 2, total: 5 },
        compactions: 1,
        ..session(2, Status::Waiting, "shop")
    };
    let full = Session {
        context: Some(Context { used_percentage: Some(83.0), ..Context::default() }),
        health: Health {
            status: HealthStatus::Warning,
            issues: vec!["context 83 % used".to_owned()],
        },
        ..session(1, Status::Busy, "engine")
    };
    let work = Session { root: "/h/.claude-work".to_owned(), ..session(6, Status::Idle, "api") };
    let all = [
        ("a", session(4, Status::Idle, "site")),
        ("b", waiting),
        ("c", full),
        ("d", session(3, Status::Busy, "notes")),
        ("e", session(5, Status::Shell, "infra")),
        ("f", work),
        ("g", Session { live: false, ..session(90, Status::Idle, "old") }),
    ];
    for (id, session) in all {
        snapshot.sessions.insert(SessionId(id.to_owned()), session);
    }
    let repo = Repo {
        branch: Some("feature/checkout-flow".to_owned()),
        unstaged: 2,
        staged: 1,
        ahead: 3,
        ..Repo::default()
    };
    snapshot.repos.insert(RepoKey("/h/work/shop".to_owned()), repo);
    let clean = Repo { branch: Some("main".to_owned()), ..Repo::default() };
    snapshot.repos.insert(RepoKey("/h/work/engine".to_owned()), clean);
    let limit = |used_percentage, hours, full_at_ms| {
        let resets_at_ms = NOW_MS + hours * HOUR_MS;
        Some(Limit {
            used_percentage,
            resets_at_ms,
            as_of_ms: NOW_MS,
            full_at_ms,
            ..Limit::default()
        })
    };
    let mut usage = AccountUsage { day_ends_ms: NOW_MS + HOUR_MS, ..AccountUsage::default() };
    usage.today.cost_usd = 31.2;
    let end_ms = NOW_MS + 2 * HOUR_MS;
    let mut window = Window { start_ms: end_ms - 5 * HOUR_MS, end_ms, ..Window::default() };
    window.used.cost_usd = 8.4;
    usage.window = Some(window);
    let mut root = Root { usage: Some(usage), ..Root::default() };
    root.limits.five_hour = limit(42.0, 2, None);
    root.limits.seven_day = limit(81.0, 50, Some(NOW_MS + 26 * HOUR_MS));
    snapshot.roots.insert(RootKey("/h/.claude".to_owned()), root);
    let mut work = Root::default();
    work.limits.five_hour = limit(12.0, 4, None);
    snapshot.roots.insert(RootKey("/h/.claude-work".to_owned()), work);
    snapshot
}

fn usage() -> Usage {
    let amount = |usd| Some(Amount { usd, unpriced: 0 });
    let first = jiff::civil::date(2025, 11, 12);
    let days = first.series(jiff::ToSpan::day(1)).take(N_DAYS).zip(0..);
    let hour = |nth: usize| amount(if nth < 8 { 0.0 } else { (nth * 7 % 11) as f64 / 3.0 });
    let costs = (0..N_QUARTERS).map(|it| if it < 30 { 0.0 } else { (it % 7) as f64 / 4.0 });
    Usage {
        hours: (0..N_HOURS).map(hour).collect(),
        hour: 21,
        days: days.map(|(day, nth)| (day, amount(f64::from(nth * 5 % 9) * 6.3))).collect(),
        sessions: [("b".to_owned(), costs.collect())].into(),
        until_ms: NOW_MS + HOUR_MS / 2,
        n_problems: 0,
    }
}

/// A screen, and what is shown on it.
struct Look {
    snapshot: Snapshot,
    usage: Option<Usage>,
    state: State,
    has_no_watcher: bool,
    depth: Depth,
}

impl Look {
    fn new() -> Look {
        let (snapshot, usage) = (snapshot(), Some(usage()));
        let (state, has_no_watcher, depth) = (State::default(), false, Depth::None);
        Look { snapshot, usage, state, has_no_watcher, depth }
    }

    fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            let rows = self.state.rows(&self.snapshot);
            let key = if key == '\n' { Key::Enter } else { Key::Char(key) };
            assert_ne!(self.state.press(key, &rows, 5), Action::Quit);
        }
    }

    fn terminal(&mut self, columns: u16, rows: u16) -> (Terminal<TestBackend>, Drawn) {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let facts = Facts {
            snapshot: &self.snapshot,
            has_no_watcher: self.has_no_watcher,
            now_ms: NOW_MS,
            home: Some("/h"),
            zone: &ZONE,
            usage: self.usage.as_ref(),
        };
        let style = Style { columns: None, depth: self.depth, has_links: false };
        let mut drawn = Drawn::default();
        terminal.draw(|frame| drawn = draw(frame, &mut self.state, facts, &style)).unwrap();
        (terminal, drawn)
    }

    /// What stands on the screen, without the blanks at the ends of lines.
    fn text(&mut self, columns: u16, rows: u16) -> String {
        let (terminal, _) = self.terminal(columns, rows);
        let buffer = terminal.backend().buffer();
        let line = |row: u16| {
            let cells = (0..columns).map(|column| buffer[(column, row)].symbol());
            cells.collect::<String>().trim_end().to_owned() + "\n"
        };
        (0..rows).map(line).collect()
    }
}

#[track_caller]
fn check(name: &str, drawn: &str) {
    insta::with_settings!({
        snapshot_path => "../../../tests/data/states",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, drawn);
    });
}

#[test]
fn the_screen_has_what_there_is_room_for() {
    let mut drawn = String::new();
    for (columns, rows) in [(40, 5), (60, 15), (80, 24), (120, 40), (200, 60)] {
        drawn += &format!("{columns} columns, {rows} rows:\n{}\n", Look::new().text(columns, rows));
    }
    check("top", &drawn);
}

#[test]
fn other_pages_and_states_of_the_screen() {
    let mut drawn = String::new();
    let mut add = |what: &str, look: &mut Look, size: (u16, u16)| {
        drawn += &format!("{what}:\n{}\n", look.text(size.0, size.1));
    };
    let mut look = Look::new();
    look.press("\n");
    add("one session", &mut look, (70, 22));
    look.press("j");
    add("the next one", &mut look, (70, 8));
    look.press("?");
    add("the help", &mut look, (70, 24));
    look.press("?/shop");
    add("while a filter is typed", &mut look, (70, 12));
    look.press(" x\n");
    add("a filter that nothing has", &mut look, (70, 8));
    let mut look = Look::new();
    look.has_no_watcher = true;
    look.snapshot.published_at_ms = NOW_MS - 3 * HOUR_MS;
    look.usage = None;
    add("without a watcher", &mut look, (70, 12));
    add("without a watcher, in 40 columns", &mut look, (40, 6));
    look.snapshot = Snapshot { published_at_ms: NOW_MS, ..Snapshot::default() };
    look.has_no_watcher = false;
    add("nothing at all", &mut look, (60, 8));
    let mut look = Look::new();
    let usage = look.usage.as_mut().unwrap();
    usage.hours[..10].fill(None);
    usage.days[..11].iter_mut().for_each(|it| it.1 = None);
    add("while the record of usage is young", &mut look, (100, 30));
    add("while it is young, on a small screen", &mut look, (80, 24));
    let mut look = Look::new();
    look.snapshot.display.theme.preset = Some("ascii".to_owned());
    add("in ASCII", &mut look, (100, 30));
    check("top-pages", &drawn);
}

#[test]
fn every_size_can_be_drawn_with_the_waiting_session_on_it() {
    let mut look = Look::new();
    for columns in (1..=130).step_by(3) {
        for rows in 1..=50 {
            let text = look.text(columns, rows);
            if columns >= 40 && rows >= 5 {
                assert!(text.contains("▲ waiting"), "{columns}x{rows}:\n{text}");
                assert!(text.contains("81%"), "{columns}x{rows}:\n{text}");
            }
        }
    }
}

#[test]
fn the_chosen_session_stays_on_the_screen_as_the_list_scrolls() {
    let mut look = Look::new();
    for nth in 0..100 {
        let id = SessionId(format!("more-{nth}"));
        look.snapshot.sessions.insert(id, session(10 + nth, Status::Idle, "more"));
    }
    for keys in ["", "j", "G", "k", "kkkkkkkkkkkkkkk", "g", " ", "  "] {
        look.press(keys);
        for rows in [5, 9, 24] {
            let text = look.text(60, rows);
            assert_eq!(text.matches('▶').count(), 1, "{keys} at {rows} rows:\n{text}");
        }
    }
}

#[test]
fn text_from_outside_cannot_steer_the_terminal() {
    let mut look = Look::new();
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}b\nc\u{7}";
    for session in look.snapshot.sessions.values_mut() {
        session.name = Some(evil.to_owned());
        session.waiting_for = Some(evil.to_owned());
        session.cwd = Some(format!("/h/{evil}"));
        session.repo = None;
        session.output_style = Some(evil.to_owned());
        session.last_message = Some(Message { at_ms: NOW_MS, preview: Some(evil.to_owned()) });
    }
    for page in ["", "\n"] {
        look.press(page);
        let (terminal, _) = look.terminal(120, 40);
        for cell in terminal.backend().buffer().content() {
            assert!(!cell.symbol().contains(crate::sanitize::is_steering), "{cell:?}");
        }
    }
}

#[test]
fn without_colours_there_are_none_and_the_theme_decides_which_there_are() {
    let colours = |depth, palette: Option<&str>| {
        let mut look = Look::new();
        look.depth = depth;
        look.snapshot.display.theme.palette = palette.map(str::to_owned);
        let (terminal, _) = look.terminal(120, 40);
        let cells = terminal.backend().buffer().content().to_vec();
        let mut used: Vec<_> = cells.iter().flat_map(|it| [it.fg, it.bg]).collect();
        used.sort_by_key(|it| format!("{it:?}"));
        used.dedup();
        (used, cells.iter().any(|it| it.modifier.contains(Modifier::BOLD)))
    };
    let is_named = |it: &Shown| matches!(it, Shown::Reset | Shown::Indexed(0..=15));
    let (used, has_bold) = colours(Depth::Ansi, Some("light"));
    assert!(used.iter().all(is_named) && used.len() > 3 && has_bold, "{used:?}");
    let (light, _) = colours(Depth::True, Some("light"));
    let (dark, _) = colours(Depth::True, Some("dark"));
    assert!(light != dark && light.contains(&Shown::Rgb(0xda, 0xdf, 0xe6)), "{light:?}");
}

#[test]
fn seconds_pass_on_the_screen_only_while_an_age_is_in_seconds() {
    let mut look = Look::new();
    assert!(!look.terminal(80, 24).1.has_seconds);
    let first = look.snapshot.sessions.values_mut().next().unwrap();
    first.status_since_ms = Some(NOW_MS - 5 * SECOND_MS);
    assert!(look.terminal(80, 24).1.has_seconds);
    // It is below the end of the list.
    assert!(!look.terminal(80, 5).1.has_seconds);
}

/// As the forecast beside it, which would else contradict it more and more.
#[test]
fn the_pace_of_a_limit_is_as_old_as_what_is_known_of_its_use() {
    let mut look = Look::new();
    let root = look.snapshot.roots.get_mut(&RootKey("/h/.claude".to_owned())).unwrap();
    root.limits.five_hour = Some(Limit {
        used_percentage: 50.0,
        resets_at_ms: NOW_MS + 3 * HOUR_MS / 2,
        as_of_ms: NOW_MS - HOUR_MS,
        ..Limit::default()
    });
    let text = look.text(120, 40);
    assert!(text.contains("50%  resets in 1h30m  pace 1.0x"), "{text}");
}
