use super::*;
use crate::display::text::width;
use crate::store::schema::display::Depth;
use crate::store::schema::{
    Context, Cost, CostSource, Health, HealthStatus, Limit, Model, Repo, RepoKey, Root, RootKey,
    Session, SessionId, Status, Usage,
};
use crate::time::{HOUR_MS, MINUTE_MS, SECOND_MS};

const NOW_MS: i64 = 1_764_106_200_000;

fn session(nth: i64, status: Option<Status>, dir: &str) -> Session {
    let ago_ms = nth * 7 * MINUTE_MS;
    Session {
        root: "/h/.claude".to_owned(),
        cwd: Some(format!("/h/work/{dir}")),
        repo: Some(format!("/h/work/{dir}")),
        live: true,
        name: Some(format!("work on {dir}")),
        status,
        status_since_ms: Some(NOW_MS - ago_ms),
        last_activity_ms: NOW_MS - ago_ms,
        model: Some(Model { id: "claude-opus-4-8".to_owned(), display_name: None }),
        context: Some(Context { used_percentage: Some(23.0), ..Context::default() }),
        cost: Some(Cost { as_of_ms: NOW_MS, usd: 12.345, source: CostSource::Client, unpriced: 0 }),
        duration_ms: Some(2 * HOUR_MS as u64),
        ..Session::default()
    }
}

/// Six sessions in five states.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { published_at_ms: NOW_MS - 4 * SECOND_MS, ..Snapshot::default() };
    let waiting = Session {
        waiting_for: Some("permission prompt".to_owned()),
        ..session(2, Some(Status::Waiting), "shop")
    };
    let full = Session {
        context: Some(Context { used_percentage: Some(83.0), ..Context::default() }),
        health: Health {
            status: HealthStatus::Warning,
            issues: vec!["context 83 % used".to_owned()],
        },
        ..session(1, Some(Status::Busy), "engine")
    };
    let all = [
        ("a", session(4, Some(Status::Idle), "site")),
        ("b", waiting),
        ("c", full),
        ("d", session(3, None, "notes")),
        ("e", session(5, Some(Status::Shell), "infra")),
        ("f", Session { live: false, ..session(9, None, "old") }),
    ];
    for (id, session) in all {
        snapshot.sessions.insert(SessionId(id.to_owned()), session);
    }
    let repo = Repo {
        branch: Some("feature/checkout-flow".to_owned()),
        unstaged: 2,
        ahead: 3,
        ..Repo::default()
    };
    snapshot.repos.insert(RepoKey("/h/work/shop".to_owned()), repo);
    let clean = Repo { branch: Some("main".to_owned()), ..Repo::default() };
    snapshot.repos.insert(RepoKey("/h/work/engine".to_owned()), clean);
    let limit = |used_percentage, hours| {
        let resets_at_ms = NOW_MS + hours * HOUR_MS;
        Some(Limit { used_percentage, resets_at_ms, as_of_ms: NOW_MS, ..Limit::default() })
    };
    let mut usage = Usage { day_ends_ms: NOW_MS + HOUR_MS, ..Usage::default() };
    usage.today.cost_usd = 31.2;
    let mut root = Root { usage: Some(usage), ..Root::default() };
    root.limits.five_hour = limit(42.0, 2);
    root.limits.seven_day = limit(81.0, 50);
    snapshot.roots.insert(RootKey("/h/.claude".to_owned()), root);
    snapshot
}

fn view(snapshot: &Snapshot, which: Which) -> View<'_> {
    View {
        snapshot,
        has_no_watcher: false,
        now_ms: NOW_MS,
        home: Some("/h"),
        published_at: None,
        which,
        n_rows: usize::MAX,
    }
}

fn plain(columns: Option<usize>) -> Style {
    Style { columns, depth: Depth::None, has_links: false }
}

fn draw(columns: usize) -> String {
    lines(&view(&snapshot(), Which::Live), &plain(Some(columns))).join("\n") + "\n"
}

#[test]
fn columns_are_left_out_as_the_terminal_gets_narrow() {
    let mut drawn = String::new();
    for columns in [40, 60, 80, 120, 200] {
        drawn += &format!("{columns} columns:\n{}\n", draw(columns));
    }
    insta::with_settings!({
        snapshot_path => "../../../tests/data/states",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("sessions", drawn);
    });
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_number_is_cut() {
    for columns in 40..200 {
        let drawn = draw(columns);
        for line in drawn.lines() {
            assert!(width(line) <= columns, "{columns}: {line}");
            // All sessions cost the same, so the column is whole or not there at all.
            assert_eq!(
                line.matches('$').count(),
                line.matches("$12.35").count()
                    + line.matches("$6.17/h").count()
                    + line.matches("$31.20").count(),
                "{line}"
            );
        }
        assert!(drawn.contains("▲ waiting 14m"), "{drawn}");
    }
}

#[test]
fn which_sessions_are_listed_can_be_chosen() {
    let snapshot = snapshot();
    let n_lines = |which| lines(&view(&snapshot, which), &plain(None)).len();
    let [waiting, live, all] = [Which::Waiting, Which::Live, Which::All].map(n_lines);
    assert_eq!((live - waiting, all - live), (4, 1));
}

#[test]
fn on_a_small_screen_accounts_give_way_and_then_the_last_sessions() {
    let snapshot = snapshot();
    for n_rows in 5..12 {
        let view = View { n_rows, ..view(&snapshot, Which::Live) };
        let lines = lines(&view, &plain(Some(100)));
        assert!(lines.len() <= n_rows, "{lines:#?}");
        assert!(lines.iter().any(|it| it.starts_with("▲ waiting")), "{lines:#?}");
        let n_listed = lines.iter().filter(|it| it.contains("$12.35")).count();
        let has_more = lines.contains(&format!("+{} more", 5 - n_listed));
        assert_eq!(has_more, n_listed < 5, "{lines:#?}");
    }
}

#[test]
fn without_sessions_and_without_a_watcher_it_says_so() {
    let empty = Snapshot { published_at_ms: NOW_MS - HOUR_MS, ..Snapshot::default() };
    let view = View { has_no_watcher: true, ..view(&empty, Which::Live) };
    let expected =
        ["no session of Claude Code runs  as of 1h ago  no watcher runs: ccstatusd start"];
    assert_eq!(lines(&view, &plain(None)), expected);
    let waiting = View { which: Which::Waiting, ..view };
    assert!(lines(&waiting, &plain(None))[0].starts_with("no session waits for you  as of"));
    let dated = View { published_at: Some("14:32:07"), ..view };
    assert!(lines(&dated, &plain(None))[0].contains("as of 14:32:07"));
}

#[test]
fn texts_of_others_control_no_terminal() {
    let mut snapshot = snapshot();
    for session in snapshot.sessions.values_mut() {
        session.name = Some("a\x1b[31mb\nc\u{202e}d".to_owned());
        session.waiting_for = Some("\x1b]0;title\x07".to_owned());
        session.cwd = Some("/h/\u{9b}2J\r".to_owned());
        session.repo = None;
    }
    for line in lines(&view(&snapshot, Which::All), &plain(Some(300))) {
        assert!(!line.contains(crate::sanitize::is_steering), "{line:?}");
    }
}
