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
    let process = Process { file, is_alive: true, ..Process::default() };
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

    let model = Prices::builtin().find("claude-opus-4-8").unwrap().model;
    let own = [("house-model".to_owned(), model.prices().to_vec())];
    let prices = Prices::builtin().with(own);
    sim.event(Event::Configured(Ok(Box::new(Settings { prices, ..settings(&["/r"]) }))));
    assert_eq!(sim.fetches(), [], "nothing is read again");
    assert_eq!(usage(&sim), (5.0, 0));
}

/// The process with this id was found to run a session of this root. `lineage` are the processes
/// that it descends from, as [`Process::lineage`] has them.
fn process_runs(sim: &mut Sim, root: &str, pid: u32, id: &str, lineage: &[u32]) {
    let file = SessionFile { pid, session_id: SessionId::checked(id), ..SessionFile::default() };
    let process = Process { file, is_alive: true, lineage: lineage.to_vec(), ..Process::default() };
    let path = format!("{root}/sessions/{pid}.json").into();
    sim.fetched(Outcome::Process(path, Ok(process)));
}

fn is_program_or_search(source: &Source) -> bool {
    matches!(source, Source::Tree(_)) || source.is_program()
}

/// A watcher that a display told of the session `t` in the root `/q`, which is not configured. The
/// session works in `/v`.
fn with_brought_root() -> Sim {
    let tool = super::tools::tool("x", 1);
    let commands = BTreeMap::from([("x".to_owned(), tool.clone())]);
    let settings = Settings { block_tool: Some(tool), commands, ..settings(&["/r"]) };
    let mut sim = Sim::configured(settings, None);
    sim.list("/r", &[]);
    sim.hint("/q", "t", ClientFacts { cwd: Some("/v".into()), ..ClientFacts::default() });
    sim.list_root("/q", &["t"]);
    sim.reply("/q/projects/p/t.jsonl", "/v", "claude-opus-4-8");
    sim.pass_ms(10_000);
    assert!(sim.session("t").live);
    sim
}

#[test]
fn for_a_root_that_a_display_brought_no_program_runs_until_a_process_proves_it() {
    let mut sim = with_brought_root();
    assert_eq!(sim.fetches().into_iter().find(is_program_or_search), None);
    process_runs(&mut sim, "/q", 7, "t", &[]);
    sim.pass_ms(10_000);
    assert_eq!(sim.fetches().into_iter().find(is_program_or_search), None, "not the user's");

    process_runs(&mut sim, "/q", 7, "t", &[7, 6, 1]);
    sim.pass_ms(10_000);
    let mut started = sim.fetches();
    started.retain(is_program_or_search);
    let tree = Source::Tree("/v".into());
    assert_eq!(started, [tree, Source::Command("x".to_owned()), Source::Block("/q".into())]);
}

#[test]
fn programs_of_a_session_prove_no_root() {
    let mut sim = with_brought_root();
    process_runs(&mut sim, "/r", 6, "s", &[]);
    sim.pass_ms(10_000);
    sim.fetches();
    for lineage in [&[6, 1][..], &[7, 6, 1], &[8, 7, 6, 1]] {
        process_runs(&mut sim, "/q", lineage[0], "t", lineage);
        sim.pass_ms(10_000);
        let started: Vec<_> = sim.fetches();
        assert!(!started.contains(&Source::Tree("/v".into())), "{lineage:?}: {started:?}");
    }
}

#[test]
fn a_configured_root_needs_no_proof() {
    let mut sim = with_brought_root();
    sim.fetches();
    let configured = Settings { roots: vec!["/r".into(), "/q".into()], ..settings(&[]) };
    sim.event(Event::Configured(Ok(Box::new(configured))));
    assert!(sim.fetches().contains(&Source::Tree("/v".into())));
}

#[test]
fn the_directory_that_a_display_names_is_looked_into_only_if_claude_code_works_there() {
    let mut sim = settled();
    let facts =
        || ClientFacts { cwd: Some("/evil".into()), cost_usd: Some(1.0), ..ClientFacts::default() };
    for id in ["s", "unknown"] {
        sim.hint("/r", id, facts());
        sim.pass_ms(10_000);
        let searches =
            |source: &Source| matches!(source, Source::Tree(dir) if dir == Path::new("/evil"));
        assert!(!sim.fetches().iter().any(searches), "{id}");
        assert_eq!(sim.session(id).cwd.as_deref(), Some("/evil"), "it is shown all the same");
    }
    assert_eq!(sim.session("s").repo, Some("/w".to_owned()));
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/evil", "claude-opus-4-8");
    assert!(sim.fetches().contains(&Source::Tree("/evil".into())), "its transcript says so");
}

#[test]
fn a_root_that_is_gone_or_unproved_makes_room_for_another() {
    let mut sim = settled();
    for n in 0..16 {
        let root = format!("/tmp/{n}");
        sim.hint(&root, &format!("s{n}"), ClientFacts::default());
        sim.list_root(&root, &[]);
        process_runs(&mut sim, &root, 100 + n, &format!("s{n}"), &[100 + n]);
        sim.pass_ms(1);
    }
    let roots = |sim: &Sim| sim.snapshot().roots.keys().map(|it| it.0.clone()).collect::<Vec<_>>();
    let before = roots(&sim);
    assert_eq!(before.len(), 17);
    sim.hint("/more", "x", ClientFacts::default());
    assert_eq!(roots(&sim), before, "all are proved, and there");

    let found = Found::Missing { nearest: "/tmp".into() };
    sim.event(Event::Listed(Listing { dir: "/tmp/3".into(), found }));
    sim.hint("/more", "x", ClientFacts::default());
    assert!(
        roots(&sim).contains(&"/more".to_owned()) && !roots(&sim).contains(&"/tmp/3".to_owned())
    );

    sim.list_root("/more", &[]);
    sim.hint("/another", "y", ClientFacts::default());
    assert!(
        roots(&sim).contains(&"/another".to_owned()) && !roots(&sim).contains(&"/more".to_owned())
    );
    assert_eq!(roots(&sim).len(), 17);
}

#[test]
fn hints_of_unknown_sessions_are_kept_for_a_few_only() {
    let mut sim = settled();
    for n in 0..5000 {
        sim.hint("/r", &format!("h{n}"), ClientFacts::default());
        sim.fetched(gone(&format!("/r/projects/p/h{n}.jsonl")));
        sim.pass_ms(1);
        sim.effects.clear();
    }
    assert_eq!(sim.state.sessions.keys().count(), 1 + 64);
    let ids: Vec<_> = sim.snapshot().sessions.into_keys().map(|id| id.0).collect();
    assert!(ids.contains(&"h4999".to_owned()) && !ids.contains(&"h0".to_owned()));
    assert!(ids.contains(&"s".to_owned()), "the one that is known otherwise stays");
    // One that Claude Code begins to write becomes a session like any other.
    sim.changed("/r/projects/p/h4999.jsonl");
    sim.reply("/r/projects/p/h4999.jsonl", "/w", "claude-opus-4-8");
    for n in 5000..6000 {
        sim.hint("/r", &format!("h{n}"), ClientFacts::default());
    }
    assert_eq!(sim.state.sessions.keys().count(), 2 + 64);
    assert!(sim.snapshot().sessions.contains_key(&SessionId("h4999".into())));
}
