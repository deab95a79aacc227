//! When snapshots are published, and what they show.

use super::*;

#[test]
fn nothing_is_published_before_every_transcript_was_read_once() {
    let mut sim = Sim::with_sessions("/r", &["a", "b"]);
    assert_eq!(sim.fetches().len(), 2);
    sim.reply("/r/projects/p/a.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(sim.n_published(), 0);
    sim.reply("/r/projects/p/b.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Outcome::Tree("/w".into(), None));
    assert_eq!(sim.n_published(), 1);
    let usage = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
    assert_eq!((usage.today.cost_usd, usage.today.tokens.input), (10.0, 2_000_000));
    assert_eq!(usage.block.unwrap().entries, 2);
    let left_ms = usage.day_ends_ms - sim.now.wall_ms;
    assert!((1..=24 * HOUR_MS).contains(&left_ms) && usage.day_ends_ms % (24 * HOUR_MS) == 0);
}

#[test]
fn a_slow_start_is_published_without_usage_or_with_the_old_one() {
    let mut sim = Sim::with_sessions("/r", &["a"]);
    sim.pass_ms(900);
    assert_eq!(sim.n_published(), 0);
    sim.pass_ms(200);
    assert_eq!(sim.n_published(), 1);
    assert_eq!(
        sim.snapshot().roots[&RootKey("/r".into())].usage,
        None,
        "incomplete sums are not published"
    );

    let old = schema::Usage { as_of_ms: 5, ..schema::Usage::default() };
    let root = schema::Root { usage: Some(old.clone()), limits: Limits::default() };
    let previous = Snapshot { roots: [(RootKey("/r".into()), root)].into(), ..Snapshot::default() };
    let sim = Sim::after(&["/r"], Some(&previous));
    assert_eq!(sim.snapshot().roots[&RootKey("/r".into())].usage, Some(old));
}

#[test]
fn a_slow_repository_does_not_delay_the_first_snapshot() {
    let mut sim = Sim::with_sessions("/r", &["a"]);
    sim.reply("/r/projects/p/a.jsonl", "/w", "claude-opus-4-8");
    sim.found_tree("/w", "/w");
    sim.list("/w/.git", &[]);
    sim.list("/r/projects/p/a", &[]);
    assert_eq!(sim.n_published(), 1);
    sim.pass_ms(1000);
    assert!(sim.fetches().contains(&Source::Repo("/w".into())));
    assert_eq!(sim.session("a").repo.as_deref(), Some("/w"));
    let repo = &sim.snapshot().repos[&RepoKey("/w".into())];
    assert_eq!((repo.as_of_ms, &repo.branch), (0, &None), "git has not answered yet");
}

#[test]
fn without_a_live_session_no_timer_runs() {
    let mut sim = settled();
    assert!(sim.state.deadline().is_some(), "a live session's line is redrawn");
    for _ in 0..31 {
        sim.pass_ms(MINUTE_MS);
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        sim.effects.clear();
    }
    sim.fetched(gone("/r/projects/p/s.jsonl"));
    sim.pass_ms(1000);
    assert!(!sim.session("s").live);
    assert_eq!(sim.state.deadline(), None);
}

#[test]
fn facts_of_one_root_or_session_do_not_show_in_another() {
    let mut sim = Sim::new(&["/r", "/q"]);
    sim.list_root("/r", &["a", "b"]);
    sim.list_root("/q", &["c"]);
    let limit = |used_percentage| {
        let five_hour =
            Limit { used_percentage, resets_at_ms: 1_795_100_000_000, ..Limit::default() };
        Limits { five_hour: Some(five_hour), ..Limits::default() }
    };
    for (root, id, used) in [("/r", "a", 10.0), ("/r", "b", 20.0), ("/q", "c", 90.0)] {
        let path = format!("{root}/projects/p/{id}.jsonl");
        sim.reply(&path, &format!("/w/{id}"), &format!("model-{id}"));
        sim.found_tree(&format!("/w/{id}"), &format!("/w/{id}"));
        sim.git_answers(&format!("/w/{id}"), &format!("branch-{id}"));
        sim.hint(root, id, ClientFacts { limits: limit(used), ..ClientFacts::default() });
        sim.now.wall_ms += 1;
    }
    let snapshot = sim.snapshot();
    for (root, id) in [("/r", "a"), ("/r", "b"), ("/q", "c")] {
        let session = sim.session(id);
        assert_eq!(session.root, root);
        assert_eq!(session.model.unwrap().id, format!("model-{id}"));
        let repo = &snapshot.repos[&RepoKey(session.repo.unwrap())];
        assert_eq!(repo.branch, Some(format!("branch-{id}")));
    }
    let used = |root: &str| snapshot.roots[&RootKey(root.into())].limits.five_hour.unwrap();
    assert_eq!((used("/r").used_percentage, used("/q").used_percentage), (20.0, 90.0));
    let unpriced = |root: &str| {
        snapshot.roots[&RootKey(root.into())].usage.clone().map(|it| it.unpriced_models)
    };
    assert_eq!(unpriced("/q"), sim.state.sources.is_scanned().then(|| vec!["model-c".to_owned()]));
}

#[test]
fn a_repeated_report_is_published_at_most_once_a_second() {
    let mut sim = settled();
    sim.pass_ms(100);
    let told = || ClientFacts { cost_usd: Some(1.0), ..ClientFacts::default() };
    sim.hint("/r", "s", told());
    assert_eq!(sim.n_published(), 1);
    let mut n_published = 0;
    for _ in 0..30 {
        sim.pass_ms(100);
        sim.hint("/r", "s", told());
        n_published += sim.n_published();
    }
    assert!((2..=4).contains(&n_published), "{n_published} in 3 s");
    sim.pass_ms(100);
    sim.hint("/r", "s", ClientFacts { cost_usd: Some(2.0), ..ClientFacts::default() });
    assert_eq!(sim.n_published(), 1, "a different report is published at once");
}

#[test]
fn two_paths_that_are_not_utf8_are_two_keys() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut sim = Sim::with_sessions("/r", &["a", "b"]);
    for (id, byte) in [("a", 0xfe), ("b", 0xff)] {
        let path = format!("/r/projects/p/{id}.jsonl");
        sim.reply(&path, &format!("/w/{id}"), "claude-opus-4-8");
        let mut top = b"/w%/".to_vec();
        top.push(byte);
        let top = PathBuf::from(OsStr::from_bytes(&top));
        let git_dir = top.join(".git");
        let common_dir = git_dir.clone();
        let tree = WorkTree { top, git_dir, common_dir, is_bare: false };
        sim.fetched(Outcome::Tree(format!("/w/{id}").into(), Some((tree, vec![]))));
    }
    assert_eq!(sim.session("a").repo.as_deref(), Some("/w%25/%FE"));
    assert_eq!(sim.session("b").repo.as_deref(), Some("/w%25/%FF"));
}

#[test]
fn a_snapshot_that_could_not_be_published_is_tried_again() {
    let mut sim = settled();
    let began = sim.now;
    let full = Err("no space left on device".to_owned());
    sim.event(Event::Published { began, result: full });
    sim.pass_ms(4_999);
    assert_eq!(sim.n_published(), 0);
    sim.pass_ms(1);
    assert_eq!(sim.n_published(), 1);
    assert_eq!(sim.snapshot().degraded[0].reason, "no space left on device");
    let began = sim.now;
    sim.event(Event::Published { began, result: Ok(()) });
    assert_eq!(sim.snapshot().degraded, []);
}

#[test]
fn message_texts_are_dropped_where_the_user_does_not_want_them() {
    let said = |sim: &Sim| sim.session("s").last_message.and_then(|it| it.preview);
    let say = |sim: &mut Sim| {
        sim.changed("/r/projects/p/s.jsonl");
        sim.pass_ms(100);
        sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        let preview = Some("secret".to_owned());
        let facts = sim.state.transcripts.first_facts_mut();
        facts.last_message = Some(schema::Message { at_ms: 1, preview });
    };
    let mut sim = settled();
    say(&mut sim);
    assert_eq!(said(&sim).as_deref(), Some("secret"));
    let private = Settings { preview: false, ..settings(&["/r"]) };
    sim.effects.clear();
    sim.event(Event::Configured(Ok(Box::new(private))));
    assert_eq!(said(&sim), None);
    let saves = |it: &Effect| matches!(it, Effect::Save);
    assert!(sim.effects.iter().any(saves), "the checkpoint on disk still has the text");
}

#[test]
fn the_latest_ended_sessions_are_shown() {
    let mut sim = settled();
    for n in 0..40 {
        let path = format!("/r/projects/p/old-{n:02}.jsonl");
        sim.changed(&path);
        sim.pass_ms(100);
        sim.reply_at(&path, "/w", "claude-opus-4-8", sim.now.wall_ms - HOUR_MS - n * MINUTE_MS);
    }
    let sessions = sim.snapshot().sessions;
    let ended: Vec<_> = sessions.iter().filter(|(_, it)| !it.live).map(|(id, _)| &*id.0).collect();
    let expected: Vec<_> = (0..32).map(|n| format!("old-{n:02}")).collect();
    assert_eq!(ended, expected);
    assert!(sessions.contains_key(&SessionId("s".into())), "the live session is shown too");
}
