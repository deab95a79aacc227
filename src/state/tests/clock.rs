//! Time zones, and a wall clock that was ahead or jumped.

use super::*;
use crate::state::sessions::SessionKey;
use crate::usage::reply::Reply;

#[test]
fn days_begin_in_the_time_zone_that_the_machine_is_in_now() {
    let mut sim = settled();
    let ends_ms = |sim: &Sim| {
        let usage = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
        (usage.day_ends_ms, usage.today.cost_usd)
    };
    let there = TimeZone::fixed(jiff::tz::offset(-11));
    // In UTC a new day has begun. In the zone `there` it begins eleven hours later.
    let midnight_ms = ends_ms(&sim).0;
    let ms = midnight_ms - sim.now.wall_ms + MINUTE_MS;
    sim.now.wall_ms += ms;
    assert_eq!(ends_ms(&sim), (midnight_ms + 24 * HOUR_MS, 0.0));
    sim.event(Event::ZoneChanged(there));
    assert_eq!(ends_ms(&sim), (midnight_ms + 11 * HOUR_MS, 5.0));
}

#[test]
fn git_facts_keep_their_age_when_the_clock_is_set_back() {
    let mut sim = settled();
    let as_of_ms = |it: &Sim| it.snapshot().repos[&RepoKey("/w".into())].as_of_ms;
    sim.pass_ms(2 * MINUTE_MS);
    sim.fetches();
    let age_ms = sim.now.wall_ms - as_of_ms(&sim);
    sim.now.wall_ms -= HOUR_MS;
    sim.pass_ms(61 * SECOND_MS);
    assert_eq!(sim.now.wall_ms - as_of_ms(&sim), age_ms + 61 * SECOND_MS);
    assert!(sim.fetches().contains(&Source::Repo("/w".into())), "git is asked again");
    let from_the_future = sim.snapshot();
    sim.now.wall_ms -= HOUR_MS;
    let now = sim.now;
    let (state, _) = State::new(
        Mode::Once { does_import: false },
        settings(&["/r"]),
        Some(&from_the_future),
        now,
    );
    assert!(state.snapshot(now).repos.is_empty(), "facts from the future are of unknown age");
}

/// The clock was two hours ahead until now, and is corrected.
fn set_right(sim: &mut Sim) {
    sim.now.wall_ms -= 2 * HOUR_MS;
    sim.pass_ms(1);
}

fn reported_limit(used_percentage: f64) -> ClientFacts {
    let resets_at_ms = 1_795_000_000_000 + 4 * HOUR_MS;
    let limit = Some(Limit { used_percentage, resets_at_ms, ..Limit::default() });
    let limits = Limits { five_hour: limit, ..Limits::default() };
    ClientFacts { limits, cost_usd: Some(42.0), ..ClientFacts::default() }
}

fn limit(sim: &Sim) -> Limit {
    sim.snapshot().roots[&RootKey("/r".into())].limits.five_hour.unwrap()
}

#[test]
fn limits_that_a_clock_ahead_dated_give_way_to_newer_ones() {
    let mut sim = settled();
    sim.hint("/r", "s", reported_limit(80.0));
    set_right(&mut sim);
    assert_eq!(limit(&sim).as_of_ms, sim.now.wall_ms - 2001);
    sim.append();
    sim.hint("/r", "s", reported_limit(90.0));
    assert_eq!(limit(&sim).used_percentage, 90.0);
}

#[test]
fn after_a_restart_times_from_a_clock_ahead_become_the_time_of_the_restart() {
    let mut sim = settled();
    sim.hint("/r", "s", reported_limit(80.0));
    let before = sim.snapshot();
    let mut now = sim.now;
    now.wall_ms -= 2 * HOUR_MS;
    let (state, _) =
        State::new(Mode::Once { does_import: false }, settings(&["/r"]), Some(&before), now);
    let root = state.snapshot(now).roots[&RootKey("/r".into())].clone();
    assert_eq!(root.limits.five_hour.unwrap().as_of_ms, now.wall_ms);
    assert_eq!(root.usage.unwrap().as_of_ms, now.wall_ms);
    let key = SessionKey { id: SessionId("s".to_owned()), root: "/r".into() };
    let reported = state.sessions.get(&key).unwrap().reported.as_ref();
    assert_eq!(reported.unwrap().at_ms, now.wall_ms);
}

#[test]
fn a_report_from_a_clock_ahead_gives_way_to_the_transcript() {
    let mut sim = settled();
    sim.hint("/r", "s", reported_limit(80.0));
    set_right(&mut sim);
    assert_eq!(
        sim.session("s").cost.unwrap().source,
        CostSource::Client,
        "the report is as new as before"
    );
    sim.pass_ms(10 * MINUTE_MS);
    sim.append();
    assert_eq!(sim.session("s").cost.unwrap().source, CostSource::Transcript);
}

#[test]
fn a_clock_that_was_ahead_does_not_keep_a_session_live_for_longer() {
    let mut sim = settled();
    sim.hint("/r", "s", ClientFacts::default());
    set_right(&mut sim);
    sim.pass_ms(31 * MINUTE_MS);
    assert!(!sim.session("s").live);
}

#[test]
fn a_session_whose_process_ended_while_the_clock_was_ahead_may_live_again() {
    let mut sim = settled();
    let path = "/r/sessions/1.json";
    let file = SessionFile { session_id: Some(SessionId("s".into())), ..SessionFile::default() };
    sim.changed(path);
    let ran = Process { file: file.clone(), is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process(path.into(), Ok(ran)));
    sim.fetched(Outcome::Process(
        path.into(),
        Ok(Process { file, is_alive: false, ..Process::default() }),
    ));
    assert!(!sim.session("s").live);
    set_right(&mut sim);
    sim.pass_ms(1000);
    sim.append();
    assert!(sim.session("s").live);
}

#[test]
fn usage_counted_by_a_clock_ahead_keeps_its_age() {
    let mut sim = settled();
    let as_of_ms =
        |it: &Sim| it.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap().as_of_ms;
    let age_ms = sim.now.wall_ms - as_of_ms(&sim);
    set_right(&mut sim);
    assert_eq!(sim.now.wall_ms - as_of_ms(&sim), age_ms + 1);
}

#[test]
fn what_a_clock_ahead_refused_as_too_old_is_taken_from_the_record() {
    let mut sim = settled();
    let (path, before) = ("/r/projects/p/s.jsonl", sim.now);
    sim.now.wall_ms += 40 * 24 * HOUR_MS;
    sim.hint("/r", "s", ClientFacts::default());
    sim.effects.clear();
    sim.reply_at(path, "/w", "claude-opus-4-8", before.wall_ms);
    let news = sim.effects.iter().find_map(|effect| match effect {
        Effect::Record { batch, .. } => Some(batch.news.clone()),
        _ => None,
    });
    let replies: Vec<Reply> = news.expect("it is recorded").into_iter().map(|it| it.0).collect();
    sim.pass_ms(61 * SECOND_MS);
    assert_eq!(sim.session("s").tokens.input, 0);
    sim.now.wall_ms = before.wall_ms;
    sim.effects.clear();
    sim.pass_ms(61 * SECOND_MS);
    let is_recalled = |it: &Effect| matches!(it, Effect::Recall(root) if root == Path::new("/r"));
    assert!(sim.effects.iter().any(is_recalled), "{:?}", sim.effects);
    sim.state.take_record(Path::new("/r"), &replies);
    sim.pass_ms(1000);
    assert_eq!(sim.session("s").tokens.input, 1_000_000);
}

#[test]
fn times_in_a_transcript_from_a_clock_ahead_keep_their_age() {
    let mut sim = settled();
    let said = |it: &Sim| it.now.wall_ms - it.session("s").context.unwrap().as_of_ms;
    let age_ms = said(&sim);
    set_right(&mut sim);
    assert_eq!(said(&sim), age_ms + 1);
    let kept = postcard::to_stdvec(&sim.state.checkpoint(None)).unwrap();
    let mut now = sim.now;
    now.wall_ms -= HOUR_MS;
    let (mut state, _) =
        State::new(Mode::Once { does_import: false }, settings(&["/r"]), None, now);
    state.restore(postcard::from_bytes(&kept).unwrap(), now);
    let facts = state.transcripts.first_facts_mut();
    assert_eq!(facts.last_reply_ms, Some(now.wall_ms));
}

#[test]
fn a_requested_line_refreshes_git_facts_that_seem_to_come_from_the_future() {
    let mut sim = settled();
    // Less than the jump from which on the state moves known times back.
    sim.now.wall_ms -= 4 * SECOND_MS;
    sim.hint("/r", "s", ClientFacts::default());
    sim.pass_ms(1000);
    assert!(sim.fetches().contains(&Source::Repo("/w".into())));
}

#[test]
fn after_a_clock_jump_every_directory_is_listed() {
    for jump_ms in [0, HOUR_MS, -HOUR_MS] {
        let mut sim = settled();
        sim.pass_ms(61 * SECOND_MS);
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        sim.effects.clear();
        sim.now.wall_ms += jump_ms;
        sim.pass_ms(61 * SECOND_MS);
        let is_full = sim.looks().iter().any(|it| it == "/r/projects/p");
        assert_eq!(is_full, jump_ms != 0, "after {jump_ms} ms: {:?}", sim.looks());
    }
}
