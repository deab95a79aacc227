//! File systems that do not answer.

use super::*;

#[test]
fn a_read_that_hangs_is_degraded_and_usage_is_not_confirmed_meanwhile() {
    let mut sim = settled();
    let as_of_ms =
        |it: &Sim| it.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap().as_of_ms;
    sim.changed("/r/projects/p/s.jsonl");
    let before_ms = as_of_ms(&sim);
    sim.pass_ms(2 * MINUTE_MS);
    assert_eq!(as_of_ms(&sim), before_ms);
    let degraded = sim.snapshot().degraded;
    assert_eq!(degraded[0].source, "transcript:/r/projects/p/s.jsonl", "{degraded:?}");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    for dir in sim.looks() {
        sim.list(&dir, &[]);
    }
    sim.pass_ms(1);
    assert_eq!(sim.snapshot().degraded, []);
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(as_of_ms(&sim), sim.now.wall_ms);
}

#[test]
fn reads_that_hang_delay_neither_other_reads_nor_a_cookie() {
    let mut sim = settled();
    for n in 0..40 {
        sim.changed(&format!("/r/projects/p/hangs{n}.jsonl"));
        sim.pass_ms(1);
    }
    sim.changed("/r/projects/p/s.jsonl");
    sim.changed("/state/sync/1");
    let mut n_started = 0;
    for _ in 0..20 {
        sim.pass_ms(1000);
        for source in sim.fetches() {
            match source {
                Source::Repo(_) => sim.git_answers("/w", "main"),
                source if source == transcript("/r/projects/p/s.jsonl") => {
                    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
                }
                _ => n_started += 1,
            }
        }
        // A read that hangs frees its slot after a while, and a timer starts the next read.
        assert!(sim.state.deadline().is_some());
    }
    sim.pass_ms(11_000);
    assert_eq!(n_started, 40);
    let is_answer = |it: &Effect| matches!(it, Effect::Acknowledge(_));
    assert!(sim.effects.iter().any(is_answer), "the cookie does not wait for reads that hang");
    assert!(sim.is_settled(), "{:?}", sim.state.sources);
    assert_eq!(sim.snapshot().degraded.len(), 40);
}
