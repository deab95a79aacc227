use super::*;
use crate::store::schema::{Context, Cost, CostSource, Session, Status};

fn snapshot() -> Snapshot {
    let session = |status, usd, share, dir: &str, last_activity_ms| Session {
        live: true,
        status: Some(status),
        cwd: Some(format!("/h/{dir}")),
        cost: Some(Cost { as_of_ms: 1, usd, source: CostSource::Client, unpriced: 0 }),
        context: Some(Context { used_percentage: Some(share), ..Context::default() }),
        last_activity_ms,
        ..Session::default()
    };
    let all = [
        ("idle", session(Status::Idle, 9.0, 10.0, "zoo", 5)),
        ("busy", session(Status::Busy, 1.0, 90.0, "bar", 7)),
        ("wait", session(Status::Waiting, 2.0, 50.0, "moo", 6)),
        ("gone", Session { live: false, ..session(Status::Idle, 8.0, 1.0, "gone", 9) }),
    ];
    let sessions = all.into_iter().map(|(id, it)| (SessionId(id.to_owned()), it)).collect();
    Snapshot { sessions, ..Snapshot::default() }
}

fn ids(state: &State, snapshot: &Snapshot) -> String {
    let ids: Vec<_> = state.rows(snapshot).iter().map(|row| row.id.0.clone()).collect();
    ids.join(" ")
}

fn press(state: &mut State, snapshot: &Snapshot, keys: &[Key]) -> Action {
    let mut last = Action::Nothing;
    for key in keys {
        let rows = state.rows(snapshot);
        last = state.press(*key, &rows, 2);
    }
    last
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

/// The id of the chosen session.
fn chosen(state: &mut State, snapshot: &Snapshot) -> String {
    let rows = state.rows(snapshot);
    state.find(&rows).map_or(String::new(), |place| rows[place].id.0.clone())
}

#[test]
fn s_sorts_and_a_adds_those_that_ended() {
    let (mut state, snapshot) = (State::default(), snapshot());
    let mut next = |expected: &str| {
        assert_eq!(ids(&state, &snapshot), expected);
        press(&mut state, &snapshot, &[Key::Char('s')]);
    };
    next("wait busy idle");
    next("idle wait busy");
    next("busy wait idle");
    next("busy wait idle");
    next("busy wait idle");
    next("wait busy idle");
    let mut state = State::default();
    press(&mut state, &snapshot, &[Key::Char('a')]);
    assert_eq!(ids(&state, &snapshot), "wait busy idle gone");
}

#[test]
fn the_filter_takes_words_in_any_case_until_it_is_dropped() {
    let (mut state, snapshot) = (State::default(), snapshot());
    press(&mut state, &snapshot, &typed("/OO wait"));
    assert_eq!(ids(&state, &snapshot), "wait");
    press(&mut state, &snapshot, &typed("q"));
    assert_eq!((ids(&state, &snapshot).as_str(), state.is_typing), ("", true));
    press(&mut state, &snapshot, &[vec![Key::Backspace; 6], vec![Key::Enter]].concat());
    assert_eq!((ids(&state, &snapshot).as_str(), state.is_typing), ("wait idle", false));
    press(&mut state, &snapshot, &[Key::Escape]);
    assert_eq!(ids(&state, &snapshot), "wait busy idle");
    press(&mut state, &snapshot, &[typed("/zoo"), vec![Key::Escape]].concat());
    assert_eq!(ids(&state, &snapshot), "wait busy idle");
    press(&mut state, &snapshot, &typed(&format!("/{}", "x".repeat(100))));
    assert_eq!(state.filter.len(), MAX_FILTER);
}

#[test]
fn whoever_is_first_is_chosen_until_the_user_chooses_and_then_the_choice_stays() {
    let (mut state, mut snapshot) = (State::default(), snapshot());
    assert_eq!(chosen(&mut state, &snapshot), "wait");
    snapshot.sessions.remove(&SessionId("wait".to_owned()));
    assert_eq!(chosen(&mut state, &snapshot), "busy");
    press(&mut state, &snapshot, &[Key::Down]);
    assert_eq!(chosen(&mut state, &snapshot), "idle");
    let idle = snapshot.sessions.get_mut(&SessionId("idle".to_owned())).unwrap();
    idle.status = Some(Status::Waiting);
    assert_eq!(
        (ids(&state, &snapshot).as_str(), chosen(&mut state, &snapshot).as_str()),
        ("idle busy", "idle")
    );
    press(&mut state, &snapshot, &[Key::Char('G')]);
    snapshot.sessions.remove(&SessionId("busy".to_owned()));
    assert_eq!(chosen(&mut state, &snapshot), "idle");
    snapshot.sessions.clear();
    assert_eq!(press(&mut state, &snapshot, &[Key::Char('j')]), Action::Nothing);
}

#[test]
fn keys_move_within_the_list_and_turn_to_other_pages() {
    let (mut state, snapshot) = (State::default(), snapshot());
    let mut check = |key, expected: &str| {
        press(&mut state, &snapshot, &[key]);
        assert_eq!(chosen(&mut state, &snapshot), expected, "{key:?}");
    };
    check(Key::Up, "wait");
    check(Key::Char('j'), "busy");
    check(Key::PageDown, "idle");
    check(Key::Char('k'), "busy");
    check(Key::Home, "wait");
    check(Key::Control('d'), "busy");
    check(Key::Char('g'), "wait");
    let mut page = |key| {
        press(&mut state, &snapshot, &[key]);
        state.page
    };
    assert_eq!(page(Key::Enter), Page::Detail);
    assert_eq!(page(Key::Char('s')), Page::Detail);
    assert_eq!(page(Key::Escape), Page::List);
    assert_eq!(page(Key::Char('?')), Page::Help);
    assert_eq!(page(Key::Char('?')), Page::List);
    press(&mut state, &snapshot, &[Key::Enter, Key::PageDown]);
    assert_eq!((chosen(&mut state, &snapshot).as_str(), state.first_of_page), ("wait", 2));
    press(&mut state, &snapshot, &[Key::Char('j')]);
    assert_eq!(chosen(&mut state, &snapshot), "busy");
    assert_eq!(press(&mut state, &snapshot, &[Key::Control('l')]), Action::DrawAll);
    assert_eq!(press(&mut state, &snapshot, &[Key::Char('q')]), Action::Quit);
}

#[test]
fn t_asks_for_the_pane_and_what_failed_is_shown_until_the_next_key() {
    let (mut state, snapshot) = (State::new(true), snapshot());
    assert_eq!(press(&mut state, &snapshot, &[Key::Char('t')]), Action::ShowPane);
    state.notice = Some("no".to_owned());
    assert_eq!(press(&mut state, &snapshot, &[Key::Char('x')]), Action::Draw);
    assert_eq!(state.notice, None);
    press(&mut state, &snapshot, &typed("/nothing"));
    press(&mut state, &snapshot, &[Key::Enter]);
    assert_eq!(press(&mut state, &snapshot, &[Key::Char('t')]), Action::Nothing, "none is listed");
}
