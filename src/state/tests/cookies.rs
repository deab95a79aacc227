//! When cookies are answered.

use super::*;

fn is_answered(effect: &Effect) -> bool {
    matches!(effect, Effect::Acknowledge(_))
}

/// A cookie that came while git runs.
fn with_a_cookie_during_a_fetch() -> Sim {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    sim.changed("/state/sync/77");
    sim
}

#[test]
fn a_cookie_is_answered_when_everything_before_it_is_published() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    // This call of git began before the cookie, so it may miss changes in the working tree.
    sim.changed("/r/projects/p/s.jsonl");
    sim.changed("/state/sync/77");
    let acknowledged = |sim: &Sim| {
        let at = sim.effects.iter().position(|it| matches!(it, Effect::Acknowledge(_)));
        at.map(|at| matches!(sim.effects[at - 1], Effect::Publish(_)))
    };
    assert_eq!(sim.fetches(), [transcript("/r/projects/p/s.jsonl")]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.git_answers("/w", "old");
    assert_eq!(acknowledged(&sim), None);
    sim.pass_ms(3000);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    sim.git_answers("/w", "new");
    assert_eq!(acknowledged(&sim), Some(true), "{:?}", sim.effects);
    sim.effects.clear();
    sim.pass_ms(100);
    assert!(sim.effects.is_empty(), "nothing has changed since: {:?}", sim.effects);
}

#[test]
fn a_cookie_does_not_wait_for_the_next_try_of_a_failing_source() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    sim.git_failed("/w");
    sim.fetched(Outcome::Tree("/w".into(), None));
    sim.list("/w", &[]);
    sim.effects.clear();
    sim.changed("/state/sync/77");
    assert!(sim.effects.iter().any(is_answered));
}

#[test]
fn a_cookie_does_not_wait_for_a_working_tree_that_only_a_later_process_led_to() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    sim.changed("/state/sync/77");
    let (session_id, cwd) = (SessionId::checked("t"), Some("/v".to_owned()));
    let file = SessionFile { pid: 7, session_id, cwd, ..SessionFile::default() };
    let process = Process { file, is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process("/r/sessions/7.json".into(), Ok(process)));
    assert!(sim.fetches().contains(&Source::Tree("/v".into())));
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.git_answers("/w", "main");
    assert!(sim.effects.iter().any(is_answered), "{:?}", sim.effects);
}

#[test]
fn the_removal_of_a_cookie_is_not_a_cookie() {
    let mut sim = settled();
    let is_acknowledged = |sim: &mut Sim| {
        let n_before = sim.effects.len();
        sim.effects.retain(|it| !matches!(it, Effect::Acknowledge(_)));
        sim.effects.len() < n_before
    };
    // Two cookies of one process, so they have the same name.
    for text in ["one", "two"] {
        sim.changed("/state/sync/77");
        assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
        sim.git_answers("/w", text);
        assert!(is_acknowledged(&mut sim));
        sim.changed("/state/sync/77");
        sim.pass_ms(1000);
        assert_eq!(sim.fetches(), []);
        assert!(!is_acknowledged(&mut sim));
    }
}

#[test]
fn a_cookie_does_not_wait_for_a_source_that_was_forgotten() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.changed("/state/sync/77");
    sim.state.sources.stop_git(sim.now);
    end(&mut sim, "s");
    assert!(sim.effects.iter().any(is_answered), "{:?}", sim.state.sources);
}

/// The cookie came while a fetch ran, so it waits for the next one. Since the first one fails, the
/// next one may be minutes away.
#[test]
fn a_cookie_that_came_during_a_fetch_does_not_wait_for_a_retry_if_the_fetch_fails() {
    let mut sim = with_a_cookie_during_a_fetch();
    assert!(!sim.effects.iter().any(is_answered));
    sim.git_failed("/w");
    sim.pass_ms(200);
    sim.found_tree("/w", "/w");
    assert!(sim.effects.iter().any(is_answered), "{:?}", sim.state.sources);
}

#[test]
fn a_cookie_that_came_while_a_fetch_was_refused_waits_for_one_fetch_only() {
    let mut sim = with_a_cookie_during_a_fetch();
    sim.event(Event::Busy(Source::Repo("/w".into()), "busy".to_owned()));
    sim.pass_ms(50);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    assert!(!sim.effects.iter().any(is_answered));
    sim.git_answers("/w", "main");
    assert!(sim.effects.iter().any(is_answered), "{:?}", sim.state.sources);
}

#[test]
fn a_cookie_that_is_still_listed_after_its_answer_is_answered_again() {
    let n_answers =
        |sim: &Sim| sim.effects.iter().filter(|it| matches!(it, Effect::Acknowledge(_))).count();
    let mut sim = settled();
    sim.changed("/state/sync/77");
    sim.pass_ms(200);
    sim.git_answers("/w", "main");
    assert_eq!(n_answers(&sim), 1);
    sim.list("/state/sync", &[("77", Some(EntryKind::Other))]);
    assert_eq!(n_answers(&sim), 2);
    assert!(!sim.state.sources.has_barrier(), "git is not asked again for this cookie");
}
