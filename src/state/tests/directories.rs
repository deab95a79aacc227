//! Which directories are observed, and when they are listed again.

use super::*;

#[test]
fn directories_below_one_that_was_replaced_are_looked_at_again() {
    let mut sim = Sim::with_sessions("/r", &["s"]);
    sim.changed("/r");
    sim.effects.clear();
    let entries = vec![Listed { path: "/r/projects".into(), kind: EntryKind::Dir }];
    let found = Found::Dir { identity: (9, 9), unarmed: None, entries, passed_over: Vec::new() };
    sim.event(Event::Listed(Listing { dir: "/r".into(), found }));
    assert_eq!(sim.looks(), ["/r/projects", "/r/projects/p"]);
}

#[test]
fn a_directory_that_came_back_while_its_loss_was_reported_stays_observed() {
    let mut sim = Sim::with_sessions("/r", &["s"]);
    sim.changed("/r/projects/p");
    // The directory exists again before the first look reported that it did not.
    sim.changed("/r/projects/p");
    let gone = || {
        let found = Found::Missing { nearest: "/r/projects".into() };
        Event::Listed(Listing { dir: "/r/projects/p".into(), found })
    };
    sim.event(gone());
    let at = sim.now.wall_ms;
    sim.list("/r/projects/p", &[("s.jsonl", file(at)), ("t.jsonl", file(at))]);
    assert!(sim.fetches().contains(&transcript("/r/projects/p/t.jsonl")));
}

#[test]
fn lost_events_look_at_everything_again() {
    let mut sim = settled();
    sim.event(Event::Lost);
    assert!(matches!(sim.effects[0], Effect::Rebuild));
    let looks = sim.looks();
    for dir in ["/r", "/r/projects", "/r/projects/p", "/w/.git", "/state/sync"] {
        assert!(looks.contains(&dir.to_owned()), "{dir} is not in {looks:?}");
    }
    assert_eq!(sim.snapshot().watcher.unwrap().rescans, 1);
    for _ in 0..99 {
        sim.event(Event::Lost);
        sim.pass_ms(10);
    }
    assert_eq!(sim.snapshot().watcher.unwrap().rescans, 1, "a storm");
    sim.pass_ms(10);
    assert_eq!(sim.snapshot().watcher.unwrap().rescans, 2);
}

#[test]
fn a_change_in_a_directory_with_two_paths_counts_under_both() {
    let mut sim = Sim::new(&["/r", "/q"]);
    sim.list_root("/r", &["s"]);
    sim.list_root("/q", &["s"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.reply("/q/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Outcome::Tree("/w".into(), None));
    sim.pass_ms(100);
    for dir in ["/r/projects/p", "/q/projects/p"] {
        let found = Found::Dir {
            identity: (9, 9),
            unarmed: None,
            entries: Vec::new(),
            passed_over: Vec::new(),
        };
        sim.event(Event::Listed(Listing { dir: dir.into(), found }));
    }
    sim.pass_ms(100);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.reply("/q/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.pass_ms(100);
    // Both replies make the state look for a working tree.
    for _ in 0..2 {
        sim.fetched(Outcome::Tree("/w".into(), None));
        sim.pass_ms(100);
    }
    sim.effects.clear();
    sim.changed("/q/projects/p/s.jsonl");
    let mut fetches = sim.fetches();
    fetches.sort();
    let expected = ["/q/projects/p/s.jsonl", "/r/projects/p/s.jsonl"].map(transcript);
    assert_eq!(fetches, expected);
}

#[test]
fn a_directory_with_two_paths_is_looked_at_under_the_second_after_the_first_was_left() {
    let mut sim = settled();
    let found = || Found::Dir {
        identity: (9, 9),
        unarmed: None,
        entries: Vec::new(),
        passed_over: Vec::new(),
    };
    let folder = "/r/projects/p/s";
    let listed = |dir: &str| Event::Listed(Listing { dir: dir.into(), found: found() });
    sim.event(listed("/r/projects/p"));
    sim.changed(folder);
    sim.event(listed(folder));
    sim.effects.clear();
    end(&mut sim, "s");
    let is_left = |it: &Effect| matches!(it, Effect::Leave(dir) if dir == Path::new(folder));
    let left = sim.effects.iter().position(is_left).unwrap();
    let after = sim.effects.split_off(left);
    sim.effects = after;
    assert_eq!(sim.looks(), ["/r/projects/p"]);
    // A look that was outstanding when the path was left may have moved the watch to that path.
    sim.effects.clear();
    sim.event(listed(folder));
    assert_eq!(sim.looks(), ["/r/projects/p"]);
}

#[test]
fn a_polled_directory_is_named_and_listed_again() {
    let mut sim = settled();
    let found = Found::Dir {
        identity: (5, 5),
        unarmed: Some("the kernel's limit of watches is reached".to_owned()),
        entries: Vec::new(),
        passed_over: Vec::new(),
    };
    sim.event(Event::Listed(Listing { dir: "/r/projects/p".into(), found }));
    assert_eq!(sim.snapshot().watcher.unwrap().polled, ["/r/projects/p"]);
    sim.effects.clear();
    sim.pass_ms(2000);
    assert_eq!(sim.looks(), ["/r/projects/p"]);

    for n in 0..100 {
        let dir = PathBuf::from(format!("/r/projects/{n:02}"));
        sim.state.observe(&dir, Purpose::Project { root: "/r".into() });
        let unarmed = Some("a network disk".to_owned());
        let found =
            Found::Dir { identity: (5, n), unarmed, entries: Vec::new(), passed_over: Vec::new() };
        sim.event(Event::Listed(Listing { dir, found }));
    }
    let watcher = sim.snapshot().watcher.unwrap();
    assert_eq!((watcher.polled.len(), watcher.polled_more), (64, 101 - 64));
    assert_eq!(
        sim.state.directories.look_at_unwatched().len(),
        101,
        "directories that the snapshot does not name are polled too"
    );
}

#[test]
fn an_unreadable_directory_is_looked_at_again_without_an_event() {
    let mut sim = settled();
    let listed = |found| Event::Listed(Listing { dir: "/r/projects/p".into(), found });
    sim.event(listed(Found::Unreadable("permission denied".to_owned())));
    sim.effects.clear();
    sim.pass_ms(2000);
    assert_eq!(sim.looks(), ["/r/projects/p"], "no events come without a watch");
    sim.changed("/state/sync/77");
    assert!(sim.looks().contains(&"/r/projects/p".to_owned()), "a cookie causes a look too");
    sim.event(listed(Found::Dir {
        identity: (5, 5),
        unarmed: None,
        entries: Vec::new(),
        passed_over: Vec::new(),
    }));
    assert!(!sim.snapshot().degraded.iter().any(|it| it.source.starts_with("watch:")));
}

#[test]
fn only_existing_folders_of_live_sessions_are_looked_at() {
    let mut sim = Sim::new(&["/r"]);
    sim.list("/r", &[("projects", DIR)]);
    sim.list("/r/projects", &[("p", DIR)]);
    let at = file(sim.now.wall_ms);
    sim.list("/r/projects/p", &[("a.jsonl", at), ("b.jsonl", at), ("c.jsonl", at), ("b", DIR)]);
    sim.effects.clear();
    for id in ["a", "b", "c"] {
        let path = format!("/r/projects/p/{id}.jsonl");
        sim.reply(&path, "/w", "claude-opus-4-8");
    }
    assert_eq!(sim.looks(), ["/r/projects/p/b"]);
    // `a` is reported by an event, `c` by a listing. There is no session `d`.
    sim.changed("/r/projects/p/a");
    sim.list("/r/projects/p", &[("c", DIR), ("d", DIR)]);
    let looks = ["/r/projects/p/b", "/r/projects/p/a", "/r/projects/p/c"];
    assert_eq!(sim.looks(), looks, "no session is named d");
}

#[test]
fn folders_of_sessions_that_are_gone_are_forgotten() {
    let mut sim = settled();
    let n_folders = |it: &Sim| it.state.transcripts.n_folders();
    sim.list("/r/projects/p", &[("s.jsonl", file(0)), ("a", DIR), ("b", DIR)]);
    assert_eq!(n_folders(&sim), 2);
    sim.list("/r/projects/p", &[("s.jsonl", file(0)), ("b", DIR)]);
    assert_eq!(n_folders(&sim), 1);
    sim.list("/r/projects/p", &[]);
    assert_eq!(n_folders(&sim), 0);
}

/// A root with hundreds of projects, before any of their folders was listed. A process works in
/// the directory of one of them, if `is_live`.
fn with_many_projects(is_live: bool) -> Sim {
    let mut sim = Sim::new(&["/r"]);
    sim.list("/r", &[("projects", DIR), ("sessions", DIR)]);
    assert_eq!(sim.looks()[1..], ["/state/sync", "/r/sessions", "/r/projects"]);
    if is_live {
        begin(&mut sim);
    }
    let names: Vec<_> = (0..700).map(|n| format!("-w-{n:04}")).collect();
    sim.effects.clear();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), DIR)).collect();
    sim.list("/r/projects", &entries);
    sim
}

/// A process of a session runs in `/w/0699`.
fn begin(sim: &mut Sim) {
    let file = SessionFile {
        pid: 1,
        session_id: SessionId::checked("s"),
        cwd: Some("/w/0699".to_owned()),
        ..SessionFile::default()
    };
    let process = Process { file, is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process("/r/sessions/1.json".into(), Ok(process)));
}

const LIVE: &str = "/r/projects/-w-0699";

#[test]
fn the_folder_of_a_live_session_is_looked_at_before_hundreds_of_others() {
    let mut sim = with_many_projects(true);
    let looks = sim.looks();
    assert_eq!(looks[0], LIVE);
    assert!(looks.len() < 600, "a look that cannot wait is delayed by {} looks", looks.len());
}

#[test]
fn a_session_that_begins_while_hundreds_of_folders_wait_goes_first() {
    let mut sim = with_many_projects(false);
    assert!(!sim.looks().contains(&LIVE.to_owned()));
    sim.effects.clear();
    begin(&mut sim);
    assert_eq!(sim.looks(), [LIVE]);
}

#[test]
fn a_folder_that_waited_for_its_turn_is_looked_at_once() {
    let mut sim = with_many_projects(false);
    begin(&mut sim);
    let mut looks = sim.looks();
    let mut n_listed = 0;
    while let Some(dir) = looks.get(n_listed).cloned() {
        assert!(!sim.is_settled(), "{} folders wait", 700 - looks.len());
        sim.effects.clear();
        sim.list(&dir, &[]);
        looks.extend(sim.looks());
        n_listed += 1;
    }
    looks.sort();
    let all: Vec<_> = (0..700).map(|n| format!("/r/projects/-w-{n:04}")).collect();
    assert_eq!(looks, all);
}
