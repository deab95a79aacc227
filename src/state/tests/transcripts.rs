//! Which transcripts are read, and what follows from a read.

use super::*;

#[test]
fn a_new_transcript_is_read_at_once_and_a_busy_one_at_most_every_50_ms() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    assert_eq!(sim.fetches(), [transcript("/r/projects/p/s.jsonl")]);
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(sim.fetches(), []);
    sim.pass_ms(50);
    assert_eq!(sim.fetches(), [transcript("/r/projects/p/s.jsonl")]);
}

#[test]
fn usage_of_a_deleted_transcript_stays_counted() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    sim.fetched(gone("/r/projects/p/s.jsonl"));
    let usage = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
    assert_eq!(usage.today.cost_usd, 5.0);
}

/// Somebody removed it, or it could not keep everything while it could not be written.
#[test]
fn a_record_that_lacks_something_gets_all_that_is_known_and_all_transcripts_are_read_again() {
    let mut sim = settled();
    let known = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
    sim.effects.clear();
    sim.event(Event::RecordLacks);
    let is_recorded = |it: &Effect| matches!(it, Effect::Record { batch, .. } if !batch.is_empty());
    assert!(sim.effects.iter().any(is_recorded), "{:?}", sim.effects);
    let is_look = |it: &Effect| matches!(it, Effect::Look(_));
    assert!(sim.effects.iter().any(is_look), "{:?}", sim.effects);
    sim.pass_ms(1000);
    let usage = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
    assert_eq!(usage.today, known.today);
}

#[test]
fn the_clients_context_and_cost_are_shown_until_the_transcript_is_newer() {
    let mut sim = settled();
    assert_eq!(
        sim.session("s").context.unwrap().used_percentage,
        None,
        "no report has told the size of the window"
    );
    let facts = ClientFacts {
        cost_usd: Some(1.5),
        context_tokens: Some(27_000),
        context_window: Some(1_000_000),
        context_used_percentage: Some(3.0),
        ..ClientFacts::default()
    };
    sim.hint("/r", "s", facts);
    let session = sim.session("s");
    assert_eq!(session.context.unwrap().used_percentage, Some(3.0));
    let cost = session.cost.unwrap();
    assert_eq!((cost.usd, cost.source), (1.5, CostSource::Client));
    sim.pass_ms(10 * MINUTE_MS);
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    let session = sim.session("s");
    let context = session.context.unwrap();
    assert_eq!((context.tokens, context.used_percentage), (Some(100_000), Some(10.0)));
    let cost = session.cost.unwrap();
    assert_eq!((cost.usd, cost.source), (10.0, CostSource::Transcript));
}

#[test]
fn a_hint_without_a_report_keeps_the_last_report() {
    let mut sim = settled();
    sim.hint("/r", "s", ClientFacts { cost_usd: Some(1.5), ..ClientFacts::default() });
    sim.pass_ms(1000);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.session("s").cost.unwrap().usd, 1.5);
    assert_eq!(sim.session("s").last_activity_ms, sim.now.wall_ms, "a hint is activity");
}

#[test]
fn usage_is_not_confirmed_while_a_transcript_of_the_account_cannot_be_read() {
    let mut sim = settle(Sim::new(&["/q", "/r"]));
    let as_of_ms = |sim: &Sim| {
        let roots = sim.snapshot().roots;
        ["/q", "/r"].map(|root| roots[&RootKey(root.into())].usage.clone().unwrap().as_of_ms)
    };
    let t = "/r/projects/p/t.jsonl";
    sim.changed(t);
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    sim.fetched(Outcome::Transcript(t.into(), Err(denied)));
    let [_, before_ms] = as_of_ms(&sim);
    sim.pass_ms(10);
    sim.hint("/r", "s", ClientFacts::default());
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(as_of_ms(&sim), [sim.now.wall_ms, before_ms]);
    sim.pass_ms(1000);
    sim.reply(t, "/w", "claude-opus-4-8");
    assert_eq!(as_of_ms(&sim), [sim.now.wall_ms; 2]);
}

#[test]
fn a_reply_dated_in_the_future_is_not_newer_than_the_clients_report() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    let in_a_year = sim.now.wall_ms + 365 * 24 * HOUR_MS;
    sim.reply_at("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8", in_a_year);
    sim.hint("/r", "s", ClientFacts { cost_usd: Some(42.0), ..ClientFacts::default() });
    assert_eq!(sim.session("s").cost.unwrap().usd, 42.0);
}

#[test]
fn a_transcript_too_old_for_any_sum_is_forgotten_and_read_again_if_it_is_resumed() {
    let mut sim = Sim::with_sessions("/r", &["s", "idle"]);
    let [s, idle] = ["s", "idle"].map(|it| format!("/r/projects/p/{it}.jsonl"));
    for path in [&s, &idle] {
        sim.reply(path, "nowhere", "claude-opus-4-8");
    }
    let file = SessionFile { session_id: SessionId::checked("idle"), ..SessionFile::default() };
    let process = Process { file, is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process("/r/sessions/1.json".into(), Ok(process)));
    let known =
        |it: &State| it.transcripts.paths().into_iter().map(OsString::from).collect::<Vec<_>>();
    assert_eq!(known(&sim.state).len(), 2);
    let before = postcard::to_stdvec(&sim.state.checkpoint(None)).unwrap();

    sim.pass_ms(REACH_MS + MINUTE_MS);
    assert_eq!(known(&sim.state), [&*idle], "the session of the other one has a process");
    let (mut later, _) = State::new(
        Mode::Once { does_import: false },
        settings(&["/r"]),
        Some(&sim.snapshot()),
        sim.now,
    );
    later.restore(postcard::from_bytes(&before).unwrap(), sim.now);
    assert_eq!(known(&later), [&*idle], "a restart does not restore it either");

    sim.effects.clear();
    sim.changed(&s);
    let job = sim.effects.iter().find_map(|effect| match effect {
        Effect::Fetch(Job::Read(ReadJob::Transcript { from, .. })) => Some(from.is_none()),
        _ => None,
    });
    assert_eq!(job, Some(true), "it is read from its beginning");
    sim.reply(&s, "nowhere", "claude-opus-4-8");
    assert_eq!(sim.session("s").tokens.input, 1_000_000);
}
