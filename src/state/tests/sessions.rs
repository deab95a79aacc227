//! Which sessions are live, and what is known of them.

use super::*;

#[test]
fn a_session_lives_as_long_as_its_process() {
    let mut sim = settled();
    let path = "/r/sessions/42.json";
    let process = |id: &str, is_alive| {
        let file = SessionFile {
            pid: 42,
            session_id: SessionId::checked(id),
            name: Some("deploy".to_owned()),
            ..SessionFile::default()
        };
        Outcome::Process(path.into(), Ok(Process { file, is_alive }))
    };
    sim.fetched(process("s", true));
    assert_eq!(sim.session("s").name.as_deref(), Some("deploy"));
    sim.now.wall_ms += HOUR_MS;
    sim.pass_ms(MINUTE_MS);
    assert!(sim.session("s").live, "its process runs, though it was idle for an hour");
    sim.fetched(process("s", false));
    assert!(!sim.session("s").live, "its process crashed");
    sim.pass_ms(1);
    sim.hint("/r", "s", ClientFacts::default());
    assert!(sim.session("s").live, "a display requested its line again");
    sim.fetched(process("s", true));
    sim.fetched(process("other", true));
    assert!(!sim.session("s").live, "after /clear the process has another session");
    assert!(sim.session("other").live);
    sim.pass_ms(1);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(
        sim.snapshot().latest,
        SessionId::checked("other"),
        "a session with a process comes first"
    );
}

#[test]
fn a_session_without_a_process_is_live_for_half_an_hour_after_its_last_activity() {
    let mut sim = settled();
    sim.pass_ms(29 * MINUTE_MS);
    assert!(sim.session("s").live);
    sim.pass_ms(2 * MINUTE_MS);
    assert!(!sim.session("s").live);
}

#[test]
fn a_limit_does_not_outlive_its_reset() {
    let mut sim = settled();
    let resets_at_ms = sim.now.wall_ms + 5000;
    let five_hour = Some(Limit { used_percentage: 99.0, resets_at_ms, ..Limit::default() });
    let limits = Limits { five_hour, ..Limits::default() };
    sim.hint("/r", "s", ClientFacts { limits, ..ClientFacts::default() });
    let five_hour = |it: &Sim| it.snapshot().roots[&RootKey("/r".into())].limits.five_hour;
    assert_eq!(five_hour(&sim).unwrap().used_percentage, 99.0);
    assert_eq!(sim.session("s").health.issues, ["five-hour limit 99 % used"]);
    sim.pass_ms(5000);
    assert_eq!(five_hour(&sim), None);
    assert_eq!(sim.session("s").health, schema::Health::default());
}

#[test]
fn a_session_that_is_open_twice_lives_until_both_have_ended() {
    let mut sim = settled();
    let path = |pid: u32| PathBuf::from(format!("/r/sessions/{pid}.json"));
    for pid in [1, 2] {
        let session_id = SessionId::checked("s");
        let file = SessionFile { pid, session_id, ..SessionFile::default() };
        sim.fetched(Outcome::Process(path(pid), Ok(Process { file, is_alive: true })));
    }
    let gone = |pid| Outcome::Process(path(pid), Err(io::ErrorKind::NotFound.into()));
    sim.fetched(gone(2));
    assert!(sim.session("s").live);
    sim.fetched(gone(1));
    assert!(!sim.session("s").live);
}
