//! What the client's documents say, take back and leave open: limits, context, pull request.

use proptest::prelude::*;

use super::*;
use crate::store::schema::PullRequest;

/// A document of the client after a reply.
fn document() -> ClientFacts {
    ClientFacts {
        cost_usd: Some(1.0),
        context_window: Some(200_000),
        client_version: Some("2.1.332".to_owned()),
        prompt_cache: Some(schema::PromptCache::default()),
        ..ClientFacts::default()
    }
}

/// One that states this share of the five-hour limit, whose window ends in so many hours.
fn five_hour(sim: &Sim, used_percentage: f64, hours: i64) -> ClientFacts {
    let resets_at_ms = sim.now.wall_ms / HOUR_MS * HOUR_MS + hours * HOUR_MS;
    let five_hour = Some(Limit { used_percentage, resets_at_ms, ..Limit::default() });
    ClientFacts { limits: Limits { five_hour, ..Limits::default() }, ..document() }
}

fn with(facts: &ClientFacts, name: &str, used_percentage: f64) -> ClientFacts {
    let mut facts = facts.clone();
    facts.limits.insert(name, Limit { used_percentage, ..Limit::default() });
    facts
}

/// A watcher with two sessions of one account, `s` and `t`, that have had a reply each.
fn two_sessions() -> Sim {
    let mut sim = settled();
    sim.changed("/r/projects/p/t.jsonl");
    sim.reply("/r/projects/p/t.jsonl", "/w", "claude-opus-4-8");
    sim.pass_ms(1000);
    sim
}

fn reply(sim: &mut Sim, id: &str) {
    let path = format!("/r/projects/p/{id}.jsonl");
    sim.changed(&path);
    sim.reply(&path, "/w", "claude-opus-4-8");
}

fn limits(sim: &Sim) -> Limits {
    sim.snapshot().roots[&RootKey("/r".into())].limits.clone()
}

fn used(sim: &Sim) -> Option<f64> {
    limits(sim).five_hour.map(|it| it.used_percentage)
}

fn restarted(sim: &Sim) -> Sim {
    let mut again = Sim::after(&["/r"], Some(&sim.snapshot()));
    again.now = sim.now;
    for id in ["s", "t"] {
        again.hint("/r", id, ClientFacts::default());
    }
    again
}

#[test]
fn the_newest_word_counts_though_it_is_lower_and_its_reply_is_not_read_yet() {
    let mut sim = two_sessions();
    let (old, new) = (five_hour(&sim, 90.0, 3), five_hour(&sim, 18.0, 3));
    sim.hint("/r", "s", old.clone());
    sim.hint("/r", "t", old.clone());
    sim.pass_ms(1000);
    sim.hint("/r", "s", new.clone());
    assert_eq!(used(&sim), Some(18.0));
    for _ in 0..2 {
        sim.pass_ms(1000);
        sim.hint("/r", "t", old.clone());
        sim.hint("/r", "s", new.clone());
        assert_eq!(used(&sim), Some(18.0), "t only repeats itself");
    }
    // The watcher ends, and t repeats itself again.
    let mut again = restarted(&sim);
    again.hint("/r", "t", old.clone());
    assert_eq!(used(&again), Some(18.0));
    assert_eq!(sim.session("t").limits.five_hour.unwrap().used_percentage, 90.0);
    reply(&mut sim, "t");
    sim.hint("/r", "t", five_hour(&sim, 19.0, 3));
    assert_eq!(used(&sim), Some(19.0));
}

#[test]
fn the_first_document_of_a_session_is_as_old_as_its_last_reply() {
    let mut sim = two_sessions();
    reply(&mut sim, "s");
    sim.hint("/r", "s", five_hour(&sim, 18.0, 3));
    sim.pass_ms(1000);
    sim.hint("/r", "t", five_hour(&sim, 90.0, 3));
    assert_eq!(used(&sim), Some(18.0), "t replied before s");
    // Another reply of t is read only now, which was before the document.
    let replied_ms = sim.now.wall_ms;
    sim.pass_ms(1000);
    sim.changed("/r/projects/p/t.jsonl");
    sim.reply_at("/r/projects/p/t.jsonl", "/w", "claude-opus-4-8", replied_ms);
    sim.hint("/r", "t", five_hour(&sim, 90.0, 3));
    assert_eq!(used(&sim), Some(90.0), "t replied after s");
}

#[test]
fn a_repetition_confirms_only_what_the_account_says_as_well() {
    let mut sim = two_sessions();
    let (old, new) = (five_hour(&sim, 20.0, 3), five_hour(&sim, 21.0, 3));
    sim.hint("/r", "s", old.clone());
    sim.pass_ms(MINUTE_MS);
    reply(&mut sim, "s");
    sim.hint("/r", "s", old.clone());
    let as_of_ms = |sim: &Sim| limits(sim).five_hour.unwrap().as_of_ms;
    assert_eq!(as_of_ms(&sim), sim.now.wall_ms);
    sim.pass_ms(MINUTE_MS);
    reply(&mut sim, "t");
    sim.hint("/r", "t", new);
    let before = as_of_ms(&sim);
    sim.pass_ms(MINUTE_MS);
    reply(&mut sim, "s");
    sim.hint("/r", "s", old);
    assert_eq!((used(&sim), as_of_ms(&sim)), (Some(21.0), before));
}

#[test]
fn a_session_without_a_reply_does_not_replace_what_others_said() {
    let mut sim = two_sessions();
    sim.hint("/r", "s", five_hour(&sim, 18.0, 3));
    let inherited = ClientFacts { cost_usd: Some(0.0), ..five_hour(&sim, 90.0, 3) };
    sim.hint("/r", "cleared", with(&inherited, "seven_day", 40.0));
    assert_eq!(used(&sim), Some(18.0));
    assert_eq!(limits(&sim).seven_day.unwrap().used_percentage, 40.0, "nothing else is known");
}

#[test]
fn a_session_takes_back_what_it_said_and_nothing_that_others_said() {
    let mut sim = two_sessions();
    let both = with(&with(&five_hour(&sim, 20.0, 3), "seven_day", 40.0), "seven_day_opus", 60.0);
    sim.hint("/r", "s", both.clone());
    sim.pass_ms(1000);
    sim.hint("/r", "t", with(&five_hour(&sim, 21.0, 3), "seven_day_opus", 61.0));
    sim.pass_ms(1000);
    sim.hint("/r", "s", five_hour(&sim, 22.0, 3));
    let found = limits(&sim);
    assert_eq!(found.seven_day, None);
    assert_eq!(found.other["seven_day_opus"].used_percentage, 61.0);
}

#[test]
fn limits_of_an_account_that_was_left_are_dropped() {
    let mut sim = two_sessions();
    sim.hint("/r", "t", with(&five_hour(&sim, 90.0, 3), "seven_day", 80.0));
    sim.pass_ms(1000);
    reply(&mut sim, "s");
    sim.hint("/r", "s", five_hour(&sim, 1.0, 5));
    assert_eq!((used(&sim), limits(&sim).seven_day), (Some(1.0), None));
    // The next window of the same account is no other account.
    let mut sim = two_sessions();
    sim.hint("/r", "t", with(&five_hour(&sim, 90.0, 1), "seven_day", 80.0));
    sim.pass_ms(HOUR_MS);
    reply(&mut sim, "s");
    sim.hint("/r", "s", five_hour(&sim, 1.0, 5));
    assert_eq!(used(&sim), Some(1.0));
    assert!(limits(&sim).seven_day.is_some());
}

#[test]
fn a_session_that_states_no_limits_has_none_and_is_in_good_health() {
    let mut sim = two_sessions();
    sim.hint("/r", "s", five_hour(&sim, 97.0, 3));
    sim.hint("/r", "t", document());
    for sim in [&sim, &restarted(&sim)] {
        assert_eq!(sim.session("s").subscription, Some(true));
        assert_eq!(sim.session("s").health.issues, ["five-hour limit 97 % used"]);
        assert_eq!(sim.session("t").subscription, Some(false));
        assert_eq!(sim.session("t").health, schema::Health::default());
        assert_eq!(used(sim), Some(97.0));
    }
    // It was logged out: what it said last counts no more.
    sim.hint("/r", "s", document());
    assert_eq!((sim.session("s").subscription, used(&sim)), (Some(false), None));
}

#[test]
fn a_resumed_process_denies_no_limits_before_its_first_reply() {
    let mut sim = two_sessions();
    let told = five_hour(&sim, 20.0, 3);
    sim.hint("/r", "s", told.clone());
    sim.hint("/r", "s", ClientFacts { prompt_cache: None, ..document() });
    assert_eq!((sim.session("s").subscription, used(&sim)), (Some(true), Some(20.0)));
    assert!(sim.session("s").limits.five_hour.is_some(), "it said so last");
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.session("s").subscription, Some(true), "a request says nothing");
}

#[test]
fn the_model_of_another_provider_has_no_limits_even_without_a_display() {
    let mut sim = two_sessions();
    let path = "/r/projects/p/t.jsonl";
    sim.changed(path);
    sim.reply(path, "/w", "us.anthropic.claude-opus-4-8-v1:0");
    assert_eq!(sim.session("t").subscription, Some(false));
    assert_eq!(sim.session("s").subscription, None);
}

#[test]
fn implausible_limits_are_neither_kept_nor_spread() {
    let mut sim = two_sessions();
    let limit =
        |used_percentage, resets_at_ms| Limit { used_percentage, resets_at_ms, ..Limit::default() };
    let now_ms = sim.now.wall_ms;
    for (limit, expected) in [
        (limit(1_795_000_000.0, now_ms + HOUR_MS), None),
        (limit(61.0, now_ms), None),
        (limit(61.0, 0), Some(61.0)),
        (limit(62.0, now_ms * 1000), Some(62.0)),
        (limit(f64::NAN, 0), Some(62.0)),
    ] {
        let limits = Limits { five_hour: Some(limit), ..Limits::default() };
        let facts = ClientFacts { limits, has_rate_limits: true, ..document() };
        sim.pass_ms(1000);
        sim.hint("/r", "s", facts.clipped());
        let other = restarted(&sim);
        let shown = expected.filter(|_| !limit.used_percentage.is_nan());
        assert_eq!((used(&sim), used(&other)), (shown, shown), "{limit:?}");
        assert_eq!(sim.session("t").health, schema::Health::default());
    }
}

#[test]
fn the_window_of_the_limit_is_counted_beside_the_block() {
    let mut sim = settled();
    let window = |sim: &Sim| sim.snapshot().roots[&RootKey("/r".into())].usage.clone()?.window;
    assert_eq!(window(&sim), None);
    sim.hint("/r", "s", five_hour(&sim, 20.0, 3));
    let found = window(&sim).unwrap();
    assert_eq!(found.end_ms - found.start_ms, 5 * HOUR_MS);
    assert_eq!(found.used.tokens.input, 1_000_000);
    // That of another account began after the reply.
    sim.pass_ms(HOUR_MS);
    sim.hint("/r", "s", five_hour(&sim, 1.0, 5));
    let found = window(&sim).unwrap();
    assert_eq!(found.used, schema::Totals::default());
    sim.pass_ms(5 * HOUR_MS);
    assert_eq!(window(&sim), None, "it has ended");
}

/// The context in the snapshot: tokens and share.
fn context(sim: &Sim) -> (Option<u64>, Option<f64>) {
    sim.session("s").context.map_or((None, None), |it| (it.tokens, it.used_percentage))
}

/// A read of the transcript of `s` found a compaction at `at_ms`, and `tokens` in a reply after it.
fn compact(sim: &mut Sim, at_ms: i64, tokens: Option<u64>) {
    let path = Path::new("/r/projects/p/s.jsonl");
    let (cursor, facts) = *sim.state.transcripts.resume_at(path).unwrap();
    let facts = TranscriptFacts {
        compactions: facts.compactions + 1,
        context_tokens: tokens,
        context_as_of_ms: Some(at_ms),
        last_reply_ms: tokens.map_or(facts.last_reply_ms, |_| Some(at_ms)),
        ..facts
    };
    let tail = Tail {
        began: cursor.offset,
        cursor: Cursor { offset: cursor.offset + 1, scanned: cursor.offset + 1, ..cursor },
        has_restarted: false,
        facts,
        entries: Vec::new(),
        has_more: false,
        is_unended: false,
        size: cursor.offset + 1,
        mtime_ms: sim.now.wall_ms,
        ctime_ms: sim.now.wall_ms,
    };
    sim.changed("/r/projects/p/s.jsonl");
    sim.fetched(Outcome::Transcript(path.into(), Ok(Box::new(tail))));
}

fn full() -> ClientFacts {
    ClientFacts { context_tokens: Some(182_000), context_used_percentage: Some(91.0), ..document() }
}

#[test]
fn a_compaction_takes_back_the_context_that_was_reported_before() {
    let mut sim = settled();
    sim.hint("/r", "s", full());
    assert_eq!(context(&sim), (Some(182_000), Some(91.0)));
    sim.pass_ms(1000);
    let now_ms = sim.now.wall_ms;
    compact(&mut sim, now_ms, None);
    assert_eq!(context(&sim), (None, None));
    sim.pass_ms(1000);
    reply(&mut sim, "s");
    assert_eq!(context(&sim), (Some(100_000), Some(50.0)), "by the transcript");

    // The compaction and the next reply are found by one read.
    let mut sim = settled();
    sim.hint("/r", "s", full());
    sim.pass_ms(1000);
    let now_ms = sim.now.wall_ms;
    compact(&mut sim, now_ms, Some(20_000));
    assert_eq!(context(&sim), (Some(20_000), Some(10.0)));

    // The client reports the new context before the transcript is read.
    let mut sim = settled();
    sim.hint("/r", "s", full());
    sim.pass_ms(1000);
    let compacted_ms = sim.now.wall_ms;
    sim.pass_ms(1000);
    sim.hint("/r", "s", ClientFacts { context_used_percentage: Some(8.0), ..document() });
    compact(&mut sim, compacted_ms, None);
    assert_eq!(context(&sim), (None, Some(8.0)));
}

#[test]
fn a_document_without_a_share_takes_back_the_context_until_the_next_reply() {
    let mut sim = settled();
    sim.hint("/r", "s", full());
    sim.pass_ms(1000);
    sim.hint("/r", "s", document());
    assert_eq!(context(&sim), (None, None), "the compaction is not read yet");
    assert_eq!(context(&restarted(&sim)), (None, None));
    sim.pass_ms(1000);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(context(&sim), (None, None), "a request says nothing");
    reply(&mut sim, "s");
    assert_eq!(context(&sim), (Some(100_000), Some(50.0)));
}

#[test]
fn a_document_without_a_pull_request_says_that_there_is_none() {
    let mut sim = settled();
    let pr = Some(PullRequest { number: 7, ..PullRequest::default() });
    let style = Some("terse".to_owned());
    sim.hint("/r", "s", ClientFacts { pr: pr.clone(), output_style: style, ..document() });
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.session("s").pr, pr);
    sim.hint("/r", "s", document());
    for sim in [&sim, &restarted(&sim)] {
        assert_eq!((sim.session("s").pr, sim.session("s").output_style), (None, None));
    }
}

proptest! {
    /// Three sessions of one account reply and repeat themselves in any order. Each document states
    /// what came with its session's last reply, and the account's share is any number.
    #[test]
    fn an_older_observation_never_replaces_a_newer_one(
        steps in prop::collection::vec((0_usize..3, any::<bool>(), 0_u8..101, any::<bool>()), 1..40),
    ) {
        let mut sim = two_sessions();
        let ids = ["s", "t", "u"];
        let mut last: [Option<f64>; 3] = [None; 3];
        let mut newest = None;
        for (n, (who, has_reply, share, is_read)) in steps.into_iter().enumerate() {
            sim.pass_ms(1000);
            if has_reply {
                if is_read || last[who].is_none() {
                    reply(&mut sim, ids[who]);
                }
                // No two replies state the same.
                last[who] = Some(f64::from(share) * 0.99 + n as f64 / 1000.0);
                newest = last[who];
            }
            if let Some(share) = last[who] {
                let facts = five_hour(&sim, share, 3);
                sim.hint("/r", ids[who], facts);
                prop_assert_eq!(used(&sim), newest);
            }
        }
    }
}
