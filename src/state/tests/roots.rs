//! Config roots: those that are configured, those that clients bring, and what they cost.

use super::*;

#[test]
fn a_missing_root_is_awaited_where_it_will_appear() {
    let mut sim = Sim::new(&["/h/.config/claude"]);
    let missing = |nearest: &str| Found::Missing { nearest: nearest.into() };
    let root = PathBuf::from("/h/.config/claude");
    sim.event(Event::Listed(Listing { dir: root.clone(), found: missing("/h") }));
    assert_eq!(sim.looks().last().unwrap(), "/h");
    sim.list("/h", &[]);
    sim.effects.clear();
    sim.changed("/h/.bashrc");
    assert_eq!(sim.looks(), [""; 0]);
    sim.changed("/h/.config");
    assert_eq!(sim.looks(), ["/h/.config/claude"]);
    sim.event(Event::Listed(Listing { dir: root, found: missing("/h/.config") }));
    sim.list("/h/.config", &[("claude", DIR)]);
    assert_eq!(
        sim.looks().last().unwrap(),
        "/h/.config/claude",
        "the directory appeared before its parent was watched"
    );
}

#[test]
fn roots_that_clients_bring_are_few_and_forgotten_when_they_are_gone() {
    let mut sim = settled();
    for n in 0..40 {
        sim.hint(&format!("/tmp/{n}"), "x", ClientFacts::default());
    }
    assert_eq!(sim.snapshot().roots.len(), 17);
    for n in 0..40 {
        let found = Found::Missing { nearest: "/tmp".into() };
        let dir = format!("/tmp/{n}").into();
        sim.event(Event::Listed(Listing { dir, found }));
    }
    sim.pass_ms(MINUTE_MS);
    let snapshot = sim.snapshot();
    assert_eq!(snapshot.roots.keys().collect::<Vec<_>>(), [&RootKey("/r".into())]);
    assert_eq!(snapshot.sessions.len(), 1);
}

#[test]
fn a_root_that_is_removed_from_the_configuration_is_dropped_unless_a_display_shows_it() {
    let mut sim = settle(Sim::new(&["/r", "/q"]));
    sim.list_root("/q", &["t", "u"]);
    sim.reply("/q/projects/p/t.jsonl", "/v", "claude-opus-4-8");
    sim.found_tree("/v", "/v");
    sim.git_answers("/v", "main");
    let denied = || Err(io::ErrorKind::PermissionDenied.into());
    sim.fetched(Outcome::Transcript("/q/projects/p/u.jsonl".into(), denied()));
    let roots = |sim: &Sim| sim.snapshot().roots.keys().map(|it| it.0.clone()).collect::<Vec<_>>();
    assert_eq!((roots(&sim).len(), sim.snapshot().degraded.len()), (2, 1));
    sim.changed("/q/projects/p/t.jsonl");
    sim.changed("/q/projects/p/u.jsonl");
    sim.effects.clear();

    let alone = || Event::Configured(Ok(Box::new(settings(&["/r"]))));
    let both = || Event::Configured(Ok(Box::new(settings(&["/r", "/q"]))));
    sim.event(alone());
    assert_eq!(roots(&sim), ["/r"]);
    let snapshot = sim.snapshot();
    assert_eq!((snapshot.sessions.len(), snapshot.repos.len()), (1, 1));
    assert_eq!(snapshot.degraded, []);
    for dir in ["/q", "/q/projects", "/q/projects/p", "/v/.git"] {
        let is_left = |it: &Effect| matches!(it, Effect::Leave(left) if left == Path::new(dir));
        assert!(sim.effects.iter().any(is_left), "{dir}: {:?}", sim.effects);
    }
    sim.fetches();
    // Reads that were running, and later changes, have no effect.
    let file = SessionFile { session_id: SessionId::checked("t"), ..SessionFile::default() };
    let process = Process { file, is_alive: true, job: None };
    sim.fetched(Outcome::Process("/q/sessions/1.json".into(), Ok(process)));
    sim.fetched(Outcome::Transcript("/q/projects/p/t.jsonl".into(), denied()));
    assert_eq!((sim.snapshot().sessions.len(), sim.snapshot().degraded.len()), (1, 0));
    sim.changed("/q/projects/p/t.jsonl");
    sim.pass_ms(10_000);
    let left = sim.fetches().into_iter().filter(|it| matches!(it, Source::Transcript(_)));
    assert_eq!(left.collect::<Vec<_>>(), []);

    sim.event(both());
    sim.hint("/q", "t", ClientFacts::default());
    sim.event(alone());
    assert_eq!(roots(&sim), ["/q", "/r"]);
}

#[test]
fn an_unknown_root_is_added_when_a_hint_names_it() {
    let mut sim = settled();
    sim.hint("/elsewhere", "x", ClientFacts::default());
    assert!(sim.looks().contains(&"/elsewhere".to_owned()));
    assert!(sim.session("x").live);
    sim.event(Event::Hint(Box::new(ClientFacts {
        session_id: Some("y".to_owned()),
        transcript_path: Some("/etc/passwd".to_owned()),
        ..ClientFacts::default()
    })));
    assert!(!sim.snapshot().sessions.contains_key(&SessionId("y".into())));
}

#[test]
fn new_prices_apply_to_everything_that_was_used() {
    let mut sim = Sim::with_sessions("/r", &["s"]);
    let path = "/r/projects/p/s.jsonl";
    sim.reply(path, "nowhere", "house-model");
    let usage = |sim: &Sim| {
        let roots = sim.state.snapshot(sim.now).roots;
        let usage = roots[&RootKey("/r".into())].usage.clone().unwrap();
        (usage.today.cost_usd, usage.unpriced_models.len())
    };
    assert_eq!(usage(&sim), (0.0, 1));
    sim.pass_ms(1000);
    sim.fetches();

    let price = Prices::builtin().find("claude-opus-4-8").unwrap().1.clone();
    let prices = Prices::builtin().with([("house-model".to_owned(), price)]);
    sim.event(Event::Configured(Ok(Box::new(Settings { prices, ..settings(&["/r"]) }))));
    assert_eq!(sim.fetches(), [Source::Transcript(path.into())]);
    assert_eq!(usage(&sim), (0.0, 1), "the old sums show until everything is read");
    while sim.state.directories.is_looking() {
        sim.list("/state/sync", &[]);
    }
    sim.reply(path, "nowhere", "house-model");
    assert_eq!(usage(&sim), (5.0, 0));
}
