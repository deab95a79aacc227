use super::*;
use crate::store::schema::{Context, Cost, Model};
use crate::time::MINUTE_MS;

const NOW_MS: i64 = 1_764_106_200_000;
const PEN: Pen = Pen { now_ms: NOW_MS, is_ascii: false, ellipsis: "…" };

fn session(status: Option<Status>, minutes: i64) -> Session {
    Session {
        root: "/h/.claude".to_owned(),
        live: true,
        status,
        status_since_ms: Some(NOW_MS - minutes * MINUTE_MS),
        last_activity_ms: NOW_MS - minutes * MINUTE_MS,
        ..Session::default()
    }
}

fn snapshot(sessions: &[(&str, Session)]) -> Snapshot {
    let entry = |(id, it): &(&str, Session)| (SessionId((*id).to_owned()), it.clone());
    Snapshot { sessions: sessions.iter().map(entry).collect(), ..Snapshot::default() }
}

fn text(cell: &Text) -> String {
    cell.pieces().map(|(_, piece, _)| piece).collect()
}

#[track_caller]
fn check(
    column: Column,
    room: usize,
    change: impl FnOnce(&mut Session, &mut Repo),
    expected: &str,
) {
    let (mut one, mut repo) = (session(Some(Status::Busy), 3), Repo::default());
    one.repo = Some("/h/work/shop".to_owned());
    change(&mut one, &mut repo);
    let mut all = snapshot(&[("a", one)]);
    all.repos.insert(RepoKey("/h/work/shop".to_owned()), repo);
    assert_eq!(text(&PEN.cell(column, &rows(&all)[0], room)), expected);
}

#[test]
fn those_that_wait_come_first_and_the_longest_wait_before_all() {
    let ended = Session { live: false, ..session(Some(Status::Waiting), 1) };
    let undated = Session { status_since_ms: None, ..session(Some(Status::Waiting), 1) };
    let all = snapshot(&[
        ("ended", ended),
        ("idle", session(Some(Status::Idle), 1)),
        ("unknown", session(None, 1)),
        ("busy-old", session(Some(Status::Busy), 9)),
        ("busy-new", session(Some(Status::Busy), 2)),
        ("shell", session(Some(Status::Shell), 1)),
        ("waits-short", session(Some(Status::Waiting), 1)),
        ("waits-long", session(Some(Status::Waiting), 5)),
        ("waits-undated", undated),
    ]);
    let order: Vec<_> = rows(&all).iter().map(|it| it.id.0.as_str()).collect();
    let expected = [
        "waits-long",
        "waits-short",
        "waits-undated",
        "busy-new",
        "busy-old",
        "shell",
        "idle",
        "unknown",
        "ended",
    ];
    assert_eq!(order, expected);
}

#[test]
fn a_status_has_a_word_beside_its_symbol_and_an_unknown_one_is_a_question_mark() {
    check(Column::Status, 0, |_, _| (), "● busy 3m");
    check(Column::Status, 0, |it, _| it.status = Some(Status::Waiting), "▲ waiting 3m");
    check(Column::Status, 0, |it, _| it.status = None, "  ?");
    check(Column::Status, 0, |it, _| it.status_since_ms = None, "● busy");
}

#[test]
fn only_names_are_cut_and_never_numbers() {
    let marked = |_: &mut Session, repo: &mut Repo| {
        repo.branch = Some("feature/checkout".to_owned());
        (repo.ahead, repo.behind, repo.untracked) = (12, 3, 1);
    };
    check(Column::Branch, 40, marked, "feature/checkout* ⇡12⇣3");
    check(Column::Branch, 12, marked, "feat…* ⇡12⇣3");
    let issue = |session: &mut Session, _: &mut Repo| {
        session.health.status = HealthStatus::Warning;
        session.health.issues = vec!["context 83 % used".to_owned(), "git: slow".to_owned()];
    };
    check(Column::Health, 40, issue, "warning: context 83 % used +1 more");
    check(Column::Health, 20, issue, "warning");
    check(Column::Project, 3, |_, _| (), "sh…");
}

#[test]
fn what_is_not_known_is_not_made_up() {
    check(Column::Context, 0, |_, _| (), "");
    let tokens = Some(Context { tokens: Some(84_321), ..Context::default() });
    check(Column::Context, 0, |it, _| it.context = tokens.clone(), "84k");
    check(Column::Burn, 0, |it, _| it.duration_ms = Some(60_000), "");
    let cost = |source| Some(Cost { as_of_ms: NOW_MS, usd: 2.0, source, unpriced: 0 });
    let half_hour = Some(30 * 60_000);
    let by_client = |session: &mut Session, _: &mut Repo| {
        (session.cost, session.duration_ms) = (cost(CostSource::Client), half_hour);
    };
    check(Column::Burn, 0, by_client, "$4.00/h");
    let by_transcript = |session: &mut Session, _: &mut Repo| {
        (session.cost, session.duration_ms) = (cost(CostSource::Transcript), half_hour);
    };
    check(Column::Burn, 0, by_transcript, "");
    let model = Model { id: "claude-opus-4-8[1m]".to_owned(), display_name: None };
    check(Column::Model, 0, |it, _| it.model = Some(model), "Opus 4.8");
}

#[test]
fn an_account_says_what_its_sessions_do_and_what_is_left() {
    let mut all = snapshot(&[
        ("a", session(Some(Status::Waiting), 1)),
        ("b", session(Some(Status::Busy), 1)),
        ("c", session(None, 1)),
    ]);
    let limit = |used_percentage, hours: i64| {
        let resets_at_ms = NOW_MS + hours * HOUR_MS;
        Some(Limit { used_percentage, resets_at_ms, as_of_ms: NOW_MS, ..Limit::default() })
    };
    let mut root = Root::default();
    root.limits.five_hour = limit(84.0, 2);
    root.limits.seven_day = limit(20.0, 50);
    root.limits.five_hour.as_mut().unwrap().full_at_ms = Some(NOW_MS + HOUR_MS);
    all.roots.insert(RootKey("/h/.claude".to_owned()), root);
    all.roots.insert(RootKey("/h/.config/claude".to_owned()), Root::default());
    let accounts = accounts(&all, NOW_MS);
    assert_eq!(accounts.len(), 1, "an account that nobody uses is not listed");
    let parts: Vec<_> = PEN.account(&accounts[0], Some("/h")).iter().map(text).collect();
    let expected = [
        "~/.claude",
        "1 waiting",
        "1 busy",
        "1 unknown",
        "5h 84% resets in 2h00m, full in 1h00m",
        "7d 20% resets in 2d02h",
    ];
    assert_eq!(parts, expected);
}
