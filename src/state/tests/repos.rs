//! When git is asked, and what follows from its answer.

use super::*;

#[test]
fn many_appends_ask_git_a_few_times() {
    let mut sim = settled();
    let mut n_calls = 0;
    for _ in 0..200 {
        sim.changed("/r/projects/p/s.jsonl");
        sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        sim.pass_ms(10);
        n_calls += sim.fetches().iter().filter(|it| matches!(it, Source::Repo(_))).count();
        sim.git_answers("/w", "main");
    }
    assert!((1..=2).contains(&n_calls), "{n_calls} calls in 2 s");
}

#[test]
fn only_changes_that_matter_to_git_ask_it() {
    let mut sim = settled();
    sim.changed("/w/.git/index.lock");
    sim.pass_ms(2000);
    assert_eq!(sim.fetches(), []);
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(149);
    assert_eq!(sim.fetches(), []);
    sim.pass_ms(1);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
}

#[test]
fn a_requested_line_refreshes_old_git_facts_less_often_while_they_stay_the_same() {
    let mut sim = settled();
    let mut asked_at = Vec::new();
    for second in 0..120 {
        sim.hint("/r", "s", ClientFacts::default());
        if sim.fetches().contains(&Source::Repo("/w".into())) {
            asked_at.push(second);
            sim.git_answers("/w", "main");
        }
        sim.pass_ms(SECOND_MS);
    }
    let gaps: Vec<_> = asked_at.windows(2).map(|it| it[1] - it[0]).collect();
    assert_eq!(gaps, [4, 8, 16, 30, 30, 30], "asked at {asked_at:?}");
}

#[test]
fn a_failing_repository_keeps_its_facts_and_says_why_they_are_old() {
    let mut sim = settled();
    let before = sim.snapshot().repos[&RepoKey("/w".into())].clone();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    sim.git_failed("/w");
    let snapshot = sim.snapshot();
    let repo = &snapshot.repos[&RepoKey("/w".into())];
    assert_eq!((&repo.branch, repo.as_of_ms), (&before.branch, before.as_of_ms));
    assert_eq!(repo.error.as_deref(), Some("timed out after 5 s"));
    assert_eq!(snapshot.degraded.len(), 1, "{:?}", snapshot.degraded);
    assert_eq!(snapshot.degraded[0].source, "git:/w");
    assert!(snapshot.degraded[0].next_try_ms.is_some());
    let health = sim.session("s").health;
    assert_eq!(health.issues, ["git: timed out after 5 s"]);
    sim.pass_ms(1000);
    sim.git_answers("/w", "other");
    assert_eq!(sim.snapshot().degraded, []);
    assert_eq!(sim.snapshot().repos[&RepoKey("/w".into())].branch.as_deref(), Some("other"));
}

#[test]
fn a_fetch_waits_for_another_process_and_is_degraded_only_after_a_while() {
    let mut sim = settled();
    let repo = || Source::Repo("/w".into());
    let busy = || Event::Busy(repo(), "another process holds fetch.lock".to_owned());
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [repo()]);
    sim.event(busy());
    assert_eq!(sim.fetches(), []);
    sim.pass_ms(50);
    assert_eq!(sim.fetches(), [repo()]);
    assert_eq!(sim.snapshot().degraded, []);

    sim.changed("/state/sync/77");
    for _ in 0..6 {
        sim.event(busy());
        sim.pass_ms(1000);
    }
    let is_acknowledged =
        |sim: &Sim| sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_)));
    assert!(is_acknowledged(&sim), "the cookie does not wait for the lock forever");
    assert_eq!(sim.snapshot().degraded[0].reason, "another process holds fetch.lock");
    sim.git_answers("/w", "main");
    assert_eq!(sim.snapshot().degraded, []);
}

#[test]
fn a_repository_that_fails_after_its_last_session_ended_is_not_tried_again() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    end(&mut sim, "s");
    sim.git_failed("/w");
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(HOUR_MS);
    assert_eq!(sim.fetches(), []);
}
