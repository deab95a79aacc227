//! When the configuration is read, and what an invalid one changes.

use super::*;
use crate::metrics::families::Detail;
use crate::state::settings::Export;
use crate::store::schema::Degraded;

/// How many reads of the configuration were requested since the last call.
fn n_configured(sim: &mut Sim) -> usize {
    let before = sim.effects.len();
    sim.effects.retain(|it| !matches!(it, Effect::Configure));
    before - sim.effects.len()
}

#[test]
fn a_cookie_does_not_wait_for_a_configuration_whose_read_hangs() {
    let mut usual = settings(&["/r"]);
    usual.config = vec!["/c/config.toml".into()];
    let mut sim = settle(Sim::configured(usual.clone(), None));
    sim.changed("/c/config.toml");
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1);
    sim.changed("/c/config.toml");
    sim.changed("/state/sync/77");
    sim.git_answers("/w", "main");
    let is_answered = |sim: &Sim| sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_)));
    assert!(!is_answered(&sim));
    for _ in 0..20 {
        let wakes_at = sim.state.deadline().unwrap();
        assert!(wakes_at > sim.now.mono, "the deadline lies in the future");
        let ms = (wakes_at - sim.now.mono).as_millis();
        sim.pass_ms(i64::try_from(ms).unwrap() + 1);
        if is_answered(&sim) {
            break;
        }
    }
    assert!(is_answered(&sim), "{:?}", sim.state.sources);
    let degraded = sim.snapshot().degraded;
    assert_eq!(degraded[0].source, "config:/c/config.toml");
    assert_eq!(degraded[0].reason, crate::watch::SILENT);
    sim.pass_ms(MINUTE_MS);
    assert_eq!(n_configured(&mut sim), 0, "a second thread would hang too");
    sim.event(Event::Configured(Ok(Box::new(usual))));
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1, "the file may have changed since");
}

#[test]
fn many_changes_cause_one_read_of_the_configuration_and_an_invalid_one_changes_no_settings() {
    let mut usual = settings(&["/r"]);
    usual.config = vec!["/c/config.toml".into(), "/dotfiles/c.toml".into()];
    let mut sim = Sim::configured(usual.clone(), None);
    assert!(["/c", "/dotfiles"].iter().all(|it| sim.looks().iter().any(|look| look == it)));
    sim.list_root("/r", &[]);
    sim.pass_ms(6000);
    n_configured(&mut sim);
    sim.event(Event::Configured(Ok(Box::new(usual.clone()))));

    // Changes of other files in that directory are ignored.
    sim.changed("/c/config.toml.swp");
    sim.pass_ms(1000);
    assert_eq!(n_configured(&mut sim), 0);
    for _ in 0..20 {
        sim.changed("/dotfiles/c.toml");
        sim.pass_ms(30);
    }
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1, "one read for twenty changes");
    // While a thread reads the file, no other read is requested. The next one follows after it.
    sim.changed("/c/config.toml");
    sim.pass_ms(1000);
    assert_eq!(n_configured(&mut sim), 0);
    sim.event(Event::Configured(Err(invalid("line 1"))));
    sim.pass_ms(1000);
    assert_eq!(n_configured(&mut sim), 1, "the file changed during the last read");
    let degraded = sim.snapshot().degraded;
    assert_eq!(degraded[0].source, "config:/c/config.toml");
    assert_eq!(degraded[0].reason, "line 1");

    // The file has its valid content again.
    sim.event(Event::Configured(Ok(Box::new(usual.clone()))));
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(1000);
    sim.n_published();
    sim.event(Event::Configured(Ok(Box::new(usual.clone()))));
    sim.pass_ms(1000);
    assert_eq!(sim.n_published(), 0, "nothing has changed");
    // The user can request a reload by a signal.
    sim.effects.clear();
    sim.event(Event::Reload);
    assert!(sim.state.is_configuring() && sim.looks().contains(&"/r".to_owned()));
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1);
    usual.display.format = Some("{git}".to_owned());
    usual.config.truncate(1);
    sim.event(Event::Configured(Ok(Box::new(usual))));
    assert_eq!(sim.snapshot().display.format.as_deref(), Some("{git}"));
    let left = |it: &Effect| matches!(it, Effect::Leave(dir) if dir.ends_with("dotfiles"));
    assert!(sim.effects.iter().any(left));
}

#[test]
fn an_export_that_fails_is_degraded_until_it_works_or_is_configured_no_more() {
    let with = |textfile: Option<&str>| {
        let export = textfile.map(|path| Export {
            textfile: path.into(),
            every: Duration::from_secs(15),
            detail: Detail::default(),
        });
        Settings { export, ..settings(&["/r"]) }
    };
    let told = |textfile: &str, result: Result<(), &str>| Event::Exported {
        textfile: textfile.into(),
        result: result.map_err(str::to_owned),
    };
    let mut sim = Sim::configured(with(Some("/a.prom")), None);
    sim.list_root("/r", &[]);
    sim.pass_ms(6000);
    let since_ms = sim.now.wall_ms;
    sim.event(told("/a.prom", Err("the disk is full")));
    sim.pass_ms(1000);
    sim.event(told("/a.prom", Err("the directory is missing")));
    sim.pass_ms(1000);
    let degraded = Degraded {
        source: "export".to_owned(),
        since_ms,
        reason: "the directory is missing".to_owned(),
        next_try_ms: None,
    };
    assert_eq!(sim.snapshot().degraded, [degraded]);
    sim.n_published();
    sim.event(told("/a.prom", Err("the directory is missing")));
    sim.pass_ms(1000);
    assert_eq!(sim.n_published(), 0, "nothing is new");
    sim.event(told("/a.prom", Ok(())));
    sim.pass_ms(1000);
    assert_eq!(sim.snapshot().degraded, []);
    for next in [Some("/b.prom"), None] {
        sim.event(Event::Configured(Ok(Box::new(with(Some("/a.prom"))))));
        sim.event(told("/a.prom", Err("the disk is full")));
        sim.event(Event::Configured(Ok(Box::new(with(next)))));
        // The thread of the export before is told to end.
        sim.event(told("/a.prom", Err("the disk is full")));
        sim.pass_ms(1000);
        assert_eq!(sim.snapshot().degraded, []);
    }
}
