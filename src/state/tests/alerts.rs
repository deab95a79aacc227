//! Alerts: what is told, how often, and what is not.

use proptest::prelude::*;

use super::tools::tool;
use super::*;
use crate::alert::{Condition, Per, Quiet, Rule};
use crate::fetch::job::Told;
use crate::store::schema::HealthStatus;
use crate::store::schema::alerts::{AlertEvent, AlertNotice};

fn rule(condition: Condition) -> Rule {
    let tool = tool("teller", 0);
    Rule { condition, project: None, root: None, is_told_in_focus: false, tool }
}

fn with(condition: Condition) -> Settings {
    Settings { alerts: [("a".to_owned(), rule(condition))].into(), ..settings(&["/r"]) }
}

/// A watcher with a live session `s` in `/w`, and this alert, which has looked at it.
fn watching(condition: Condition) -> Sim {
    watching_with(with(condition))
}

fn watching_with(settings: Settings) -> Sim {
    let mut sim = settle(Sim::configured(settings, None));
    assert_eq!(sim.told(), [] as [&str; 0]);
    sim
}

impl Sim {
    /// Lets time pass in steps, as timers would wake a watcher.
    fn run_ms(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.pass_ms(100);
        }
    }

    /// The notices that the alerts' programs were given since the last call. Each program ends
    /// successfully. The panes of these subjects have the focus.
    fn notices_but_of(&mut self, in_focus: &[&str]) -> Vec<AlertNotice> {
        let mut notices = Vec::new();
        // What was wanted while a snapshot was published is started by the next event.
        self.pass_ms(100);
        loop {
            let jobs: Vec<_> = self.effects.extract_if(.., |it| is_alert(it)).collect();
            if jobs.is_empty() {
                return notices;
            }
            for job in jobs {
                if let Effect::Fetch(Job::Run(RunJob::Alert { name, rule, events, at_ms })) = job {
                    let is_seen = |it: &AlertEvent| in_focus.contains(&it.subject.as_str());
                    let (seen, unseen): (Vec<_>, Vec<_>) = events.into_iter().partition(is_seen);
                    let in_focus = seen.into_iter().map(|it| it.subject).collect();
                    let told = Told { at_ms, in_focus, result: Ok(()) };
                    self.fetched(Outcome::Alert(name.clone(), told));
                    if !unseen.is_empty() {
                        let on = rule.condition.word();
                        notices.push(AlertNotice::of(&name, on, unseen, at_ms));
                    }
                }
            }
            self.event(Event::Deadline);
        }
    }

    fn notices(&mut self) -> Vec<AlertNotice> {
        self.notices_but_of(&[])
    }

    /// Their titles.
    fn told(&mut self) -> Vec<String> {
        self.told_but_of(&[])
    }

    fn told_but_of(&mut self, in_focus: &[&str]) -> Vec<String> {
        self.notices_but_of(in_focus).into_iter().map(|it| it.title).collect()
    }

    /// The session `s` waits, and the program of the alert that is run fails.
    fn fail_to_tell(&mut self) {
        self.status("s", Status::Waiting);
        self.pass_ms(2100);
        self.pass_ms(100);
        assert_eq!(self.effects.extract_if(.., |it| is_alert(it)).count(), 1);
        let failure = tool::ToolError::Failed(exec::RunError::Killed { signal: 9 });
        let (at_ms, in_focus) = (self.now.wall_ms, Vec::new());
        let told = Told { at_ms, in_focus, result: Err(failure) };
        self.fetched(Outcome::Alert("a".to_owned(), told));
    }

    /// The file of a session's process says this from now on.
    fn status(&mut self, id: &str, status: Status) {
        let pid = id.bytes().map(u32::from).sum();
        let file = SessionFile {
            pid,
            session_id: SessionId::checked(id),
            status: Some(status),
            status_since_ms: Some(self.now.wall_ms),
            waiting_for: (status == Status::Waiting).then(|| "permission prompt".to_owned()),
            ..SessionFile::default()
        };
        let process = Process { file, is_alive: true, ..Process::default() };
        let path = format!("/r/sessions/{pid}.json");
        self.fetched(Outcome::Process(path.into(), Ok(process)));
    }

    fn context(&mut self, percent: Option<f64>) {
        let facts = ClientFacts {
            context_window: Some(200_000),
            context_tokens: percent.map(|it| (it * 2000.0) as u64),
            context_used_percentage: percent,
            ..ClientFacts::default()
        };
        self.hint("/r", "s", facts);
        self.pass_ms(2000);
    }

    /// The client says that the five-hour limit is used to so many percent, and resets then.
    fn limit(&mut self, used_percentage: f64, resets_at_ms: i64) {
        self.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        let limit = Limit { used_percentage, resets_at_ms, ..Limit::default() };
        let limits = Limits { five_hour: Some(limit), ..Limits::default() };
        let facts = ClientFacts { limits, has_rate_limits: true, ..ClientFacts::default() };
        self.hint("/r", "s", facts);
        self.pass_ms(2000);
    }

    fn alert(&self) -> schema::alerts::Alert {
        self.snapshot().alerts["a"].clone()
    }

    /// Whether the alert would tell of this subject.
    fn is_armed(&self, subject: &str) -> bool {
        self.alert().subjects.get(subject).is_none_or(|it| it.armed)
    }

    /// The same settings in a new process, which finds the last snapshot of this one, and the
    /// transcripts as they were.
    fn restarted_after(&mut self, ms: i64) -> Sim {
        let previous = Snapshot { published_at_ms: self.now.wall_ms, ..self.snapshot() };
        let now = Now { wall_ms: self.now.wall_ms + ms, mono: self.now.mono };
        let settings = self.state.settings.clone();
        let (state, effects) = State::new(watch(), settings, Some(&previous), now);
        let mut sim = Sim { state, now, effects };
        sim.list("/state/sync", &[]);
        sim.list_root("/r", &["s"]);
        sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        sim.found_tree("/w", "/w");
        sim.list("/w/.git", &[]);
        sim.list("/r/projects/p/s", &[]);
        sim.run_ms(200);
        sim
    }
}

fn is_alert(effect: &Effect) -> bool {
    matches!(effect, Effect::Fetch(Job::Run(RunJob::Alert { .. })))
}

const NONE: [&str; 0] = [];

#[test]
fn a_session_that_waits_is_told_of_once_after_two_seconds() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Busy);
    assert_eq!(sim.told(), NONE);
    sim.status("s", Status::Waiting);
    sim.pass_ms(1500);
    assert_eq!(sim.told(), NONE, "it may have been answered already");
    sim.pass_ms(600);
    let [notice] = &sim.notices()[..] else { panic!("one is told") };
    let event = &notice.events[0];
    assert_eq!((&*notice.title, &*notice.body), ("w waits", "permission prompt, in w"));
    assert_eq!((notice.alert.as_str(), notice.on.as_str(), notice.count), ("a", "waiting", 1));
    assert_eq!((event.session.as_deref(), event.project.as_deref()), (Some("s"), Some("w")));
    assert_eq!(event.waiting_for.as_deref(), Some("permission prompt"));
    for _ in 0..5 {
        sim.pass_ms(60_000);
        assert_eq!(sim.told(), NONE, "it goes on to wait");
    }
    assert_eq!(sim.alert().last_title.as_deref(), Some("w waits"));
    assert!(!sim.is_armed("s"));
    sim.status("s", Status::Busy);
    sim.pass_ms(1000);
    assert!(sim.is_armed("s"));
    sim.status("s", Status::Waiting);
    sim.pass_ms(2100);
    assert_eq!(sim.told(), ["w waits"]);
}

#[test]
fn what_is_answered_within_two_seconds_is_not_told() {
    let mut sim = watching(Condition::Waiting);
    for _ in 0..5 {
        sim.status("s", Status::Waiting);
        sim.pass_ms(1900);
        sim.status("s", Status::Busy);
        sim.pass_ms(500);
    }
    assert_eq!(sim.told(), NONE);
}

#[test]
fn one_session_is_told_of_once_a_minute_at_most_and_then_if_it_still_waits() {
    let mut sim = watching(Condition::Waiting);
    let mut n_told = 0;
    for _ in 0..12 {
        sim.status("s", Status::Waiting);
        sim.pass_ms(3000);
        n_told += sim.told().len();
        sim.status("s", Status::Busy);
        sim.pass_ms(2000);
    }
    assert_eq!(n_told, 1, "in the first minute");
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told(), ["w waits"], "the next minute has begun");
    sim.status("s", Status::Busy);
    sim.pass_ms(100);
    sim.status("s", Status::Waiting);
    sim.pass_ms(30_000);
    assert_eq!(sim.told(), NONE);
    sim.pass_ms(30_000);
    assert_eq!(sim.told(), ["w waits"], "it has waited since");
}

#[test]
fn what_was_so_before_the_watcher_started_is_not_told() {
    let mut sim = Sim::configured(with(Condition::Waiting), None);
    sim.list_root("/r", &["s"]);
    sim.status("s", Status::Waiting);
    let mut sim = settle(sim);
    sim.pass_ms(60_000);
    assert_eq!(sim.told(), NONE);
    assert!(!sim.is_armed("s"));
    sim.status("s", Status::Busy);
    sim.pass_ms(5000);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told(), ["w waits"]);
}

#[test]
fn a_restart_forgets_nothing_and_tells_nothing_twice() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told().len(), 1);
    let fired_ms = sim.alert().last_fired_ms;
    let mut sim = sim.restarted_after(1000);
    sim.status("s", Status::Waiting);
    sim.pass_ms(120_000);
    assert_eq!(sim.told(), NONE);
    assert_eq!((sim.alert().last_fired_ms, sim.is_armed("s")), (fired_ms, false));
    // It is answered, and a second restart comes before the next prompt.
    sim.status("s", Status::Busy);
    sim.pass_ms(1000);
    let mut sim = sim.restarted_after(1000);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told(), ["w waits"], "it did not wait when the one before ended");
}

#[test]
fn what_is_about_to_be_told_at_a_restart_is_told_after_it() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Waiting);
    sim.pass_ms(1000);
    let mut sim = sim.restarted_after(500);
    sim.status("s", Status::Waiting);
    sim.run_ms(3000);
    assert_eq!(sim.told(), ["w waits"]);
}

#[test]
fn what_began_while_no_watcher_ran_for_long_is_not_told() {
    for (ms, n_told) in [(HOUR_MS, 0), (MINUTE_MS, 1)] {
        let mut sim = watching(Condition::Waiting);
        sim.status("s", Status::Busy);
        sim.run_ms(1000);
        let mut sim = sim.restarted_after(ms);
        sim.status("s", Status::Waiting);
        sim.run_ms(3000);
        assert_eq!(sim.told().len(), n_told, "after {ms} ms");
        assert!(!sim.is_armed("s"));
    }
}

#[test]
fn a_turn_is_told_of_if_it_was_long_and_nothing_runs_in_the_background() {
    let mut sim = watching(Condition::Finished { min_turn_ms: 30_000 });
    let mut turn = |busy_ms, statuses: &[(Status, i64)]| {
        sim.status("s", Status::Busy);
        sim.run_ms(busy_ms);
        for (status, ms) in statuses {
            sim.status("s", *status);
            sim.run_ms(*ms);
        }
        let told = sim.told();
        sim.run_ms(60_000);
        assert_eq!(sim.told(), NONE, "it is told at once or never");
        told
    };
    assert_eq!(turn(29_000, &[(Status::Idle, 3000)]), NONE, "short");
    assert_eq!(turn(31_000, &[(Status::Idle, 3000)]), ["w has finished"]);
    assert_eq!(turn(31_000, &[(Status::Idle, 1000), (Status::Busy, 1000)]), NONE, "it goes on");
    assert_eq!(turn(5000, &[(Status::Idle, 3000)]), ["w has finished"], "as one");
    assert_eq!(turn(31_000, &[(Status::Shell, 90_000)]), NONE, "a shell runs");
    assert_eq!(turn(1000, &[(Status::Idle, 3000)]), ["w has finished"], "the shell has ended");
    let answered = [(Status::Waiting, 90_000), (Status::Busy, 5000), (Status::Idle, 3000)];
    assert_eq!(turn(1000, &answered), ["w has finished"], "waiting is part of a turn");
}

#[test]
fn a_turn_is_not_over_while_a_subagent_works() {
    let mut sim = watching(Condition::Finished { min_turn_ms: 30_000 });
    for path in ["", "/subagents", "/subagents/agent-1.jsonl"] {
        sim.changed(&format!("/r/projects/p/s{path}"));
    }
    let agent = "/r/projects/p/s/subagents/agent-1.jsonl";
    sim.status("s", Status::Busy);
    sim.read_reply(agent, "/w", "claude-haiku-4-5", sim.now.wall_ms, true);
    assert_eq!(sim.session("s").subagents.running, 1);
    sim.pass_ms(60_000);
    sim.status("s", Status::Idle);
    sim.pass_ms(5000);
    assert_eq!(sim.told(), NONE);
    sim.reply(agent, "/w", "claude-haiku-4-5");
    assert_eq!(sim.session("s").subagents.running, 0);
    sim.pass_ms(3000);
    assert_eq!(sim.told(), ["w has finished"]);
}

#[test]
fn a_context_is_told_of_again_when_it_was_much_emptier_or_compacted() {
    let mut sim = watching(Condition::Context { at: 80.0 });
    let mut told = |percent| {
        sim.context(percent);
        sim.pass_ms(60_000);
        sim.told().len()
    };
    let percents = [50.0, 79.9, 80.0, 95.0, 61.0, 80.0, 60.0, 81.0];
    assert_eq!(percents.map(|it| told(Some(it))), [0, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!([None, Some(85.0)].map(told), [0, 1], "a compaction");
}

#[test]
fn the_first_value_of_a_session_is_no_crossing() {
    let mut sim = watching(Condition::Context { at: 80.0 });
    sim.context(Some(90.0));
    assert_eq!(sim.told(), NONE);
    assert!(!sim.is_armed("s"));
}

#[test]
fn a_limit_is_told_of_once_in_a_window_or_after_it_fell_by_five() {
    let condition = Condition::Limit { at: 80.0, limit: Some("five_hour".to_owned()) };
    let mut sim = watching(condition);
    let end_ms = sim.now.wall_ms + 2 * HOUR_MS;
    let mut told = |used, resets_at_ms| {
        sim.limit(used, resets_at_ms);
        sim.pass_ms(60_000);
        sim.told().len()
    };
    let used = [70.0, 80.0, 90.0, 76.0, 85.0, 75.0, 80.0];
    assert_eq!(used.map(|it| told(it, end_ms)), [0, 1, 0, 0, 0, 0, 1]);
    sim.pass_ms(2 * HOUR_MS);
    sim.limit(85.0, end_ms + 4 * HOUR_MS);
    let notices = sim.notices();
    assert_eq!(notices[0].title, "five-hour limit 85 % used", "another window");
    assert!(notices[0].body.starts_with("resets in 3 h"), "{}", notices[0].body);
}

#[test]
fn a_limit_that_will_be_used_up_before_its_reset_is_told_of() {
    let mut sim = watching(Condition::Projected { limit: None });
    let end_ms = sim.now.wall_ms + 3 * HOUR_MS;
    sim.limit(10.0, end_ms);
    assert_eq!(sim.told(), NONE, "two of five hours are over");
    sim.limit(60.0, end_ms);
    assert_eq!(sim.told(), ["five-hour limit will be used up before its reset"]);
    sim.pass_ms(60_000);
    sim.limit(61.0, end_ms);
    assert_eq!(sim.told(), NONE);
}

#[test]
fn a_budget_is_told_of_once_a_day() {
    let mut sim = watching(Condition::Cost { at: 12.0, per: Per::Day });
    let mut told = Vec::new();
    for _ in 0..4 {
        sim.append();
        sim.pass_ms(60_000);
        told.extend(sim.told());
    }
    assert_eq!(told, ["today has cost $15.00"], "each reply costs five dollars");
    sim.pass_ms(24 * HOUR_MS);
    for _ in 0..3 {
        sim.append();
        sim.pass_ms(60_000);
        told.extend(sim.told());
    }
    assert_eq!(told[1..], ["today has cost $15.00"]);
}

#[test]
fn a_session_has_one_budget_for_all_its_life() {
    let mut sim = watching(Condition::Cost { at: 12.0, per: Per::Session });
    let mut told = Vec::new();
    for _ in 0..6 {
        sim.append();
        sim.pass_ms(60_000);
        told.extend(sim.told());
    }
    assert_eq!(told, ["w has cost $15.00"]);
}

#[test]
fn a_source_that_fails_for_a_while_is_told_of() {
    // The search for the working tree, which follows, finds it.
    let fail = |sim: &mut Sim| {
        sim.git_failed("/w");
        sim.pass_ms(200);
        sim.found_tree("/w", "/w");
    };
    let mut sim = watching(Condition::Degraded);
    fail(&mut sim);
    sim.pass_ms(5000);
    sim.git_answers("/w", "main");
    sim.pass_ms(20_000);
    assert_eq!(sim.told(), NONE, "it was mended at once");
    fail(&mut sim);
    sim.run_ms(11_000);
    assert_eq!(sim.told(), ["git:/w fails"]);
    sim.git_answers("/w", "main");
    sim.pass_ms(100);
    fail(&mut sim);
    sim.pass_ms(100_000);
    assert_eq!(sim.told(), NONE, "it was not well for a minute");
}

#[test]
fn health_is_told_of_when_it_gets_worse() {
    let mut sim = watching(Condition::Health { level: HealthStatus::Critical });
    for (percent, n_told) in [(85.0, 0), (96.0, 1), (97.0, 0)] {
        sim.context(Some(percent));
        sim.pass_ms(3000);
        assert_eq!(sim.told().len(), n_told, "{percent}");
    }
    assert_eq!(sim.alert().last_title.as_deref(), Some("w: context 96 % used"));
}

#[test]
fn what_begins_in_quiet_hours_is_told_at_their_end_if_it_still_holds() {
    // The clock of the tests begins at 11:06 UTC.
    let quiet = Some(Quiet { from: 11 * 60, to: 12 * 60 });
    let mut sim = watching_with(Settings { quiet, ..with(Condition::Waiting) });
    sim.status("s", Status::Waiting);
    sim.pass_ms(60_000);
    assert_eq!(sim.told(), NONE);
    sim.status("s", Status::Busy);
    sim.pass_ms(60_000);
    sim.status("s", Status::Waiting);
    for _ in 0..60 {
        assert_eq!(sim.told(), NONE);
        if (sim.now.wall_ms / MINUTE_MS) % 60 == 59 {
            break;
        }
        sim.pass_ms(59_900);
    }
    sim.pass_ms(60_000);
    assert_eq!(sim.told(), ["w waits"]);
}

#[test]
fn many_at_once_are_told_as_one() {
    let mut sim = watching(Condition::Waiting);
    let ids = ["s1", "s2", "s3", "s4", "s5"];
    for id in ids {
        sim.status(id, Status::Busy);
    }
    sim.run_ms(1000);
    for id in ids {
        sim.status(id, Status::Waiting);
    }
    sim.run_ms(2300);
    let notices = sim.notices();
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].title.as_str(), notices[0].count), ("5 × a", 5));
    assert_eq!(notices[0].body, "s1 waits; s2 waits; s3 waits; s4 waits; s5 waits");
}

#[test]
fn after_one_those_of_the_next_five_seconds_are_told_as_one() {
    let mut sim = watching(Condition::Waiting);
    let ids = ["s1", "s2", "s3", "s4"];
    for id in ids {
        sim.status(id, Status::Busy);
    }
    sim.run_ms(1000);
    let mut told = Vec::new();
    for id in ids {
        sim.status(id, Status::Waiting);
        sim.run_ms(1000);
        told.extend(sim.told());
    }
    assert_eq!(told, ["s1 waits"]);
    sim.run_ms(6000);
    assert_eq!(sim.told(), ["3 × a"]);
    sim.pass_ms(60_000);
    assert_eq!(sim.told(), NONE);
}

#[test]
fn only_the_projects_and_accounts_that_a_rule_names_are_told_of() {
    let told = |change: fn(&mut Rule)| {
        let mut settings = with(Condition::Waiting);
        change(settings.alerts.get_mut("a").unwrap());
        let mut sim = watching_with(settings);
        sim.status("s", Status::Waiting);
        sim.pass_ms(3000);
        sim.told().len()
    };
    assert_eq!(told(|it| it.project = Some("w".to_owned())), 1);
    assert_eq!(told(|it| it.project = Some("v*".to_owned())), 0);
    assert_eq!(told(|it| it.root = Some("/r".into())), 1);
    assert_eq!(told(|it| it.root = Some("/q".into())), 0);
}

#[test]
fn without_a_live_session_no_timer_runs_but_for_what_is_about_to_be_told() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told(), ["w waits"]);
    let pid: u32 = "s".bytes().map(u32::from).sum();
    let path = PathBuf::from(format!("/r/sessions/{pid}.json"));
    sim.fetched(Outcome::Process(path, Err(io::ErrorKind::NotFound.into())));
    for _ in 0..20 {
        sim.pass_ms(60_000);
    }
    assert!(!sim.session("s").live);
    sim.state.transcripts.take_unsaved();
    assert_eq!(sim.state.alerts.due_at(&sim.state.settings.alerts), None);
}

#[test]
fn a_program_that_fails_is_degraded_and_not_tried_again() {
    let mut sim = watching(Condition::Waiting);
    sim.fail_to_tell();
    assert_eq!(sim.snapshot().degraded[0].source, "alert:a");
    assert_eq!(sim.alert().error.as_deref(), Some("was killed by signal 9"));
    sim.pass_ms(60_000);
    assert_eq!(sim.told(), NONE);
}

#[test]
fn what_is_seen_anyway_is_not_told_and_not_told_later() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told_but_of(&["s"]), NONE);
    sim.pass_ms(120_000);
    assert_eq!(sim.told(), NONE);
    for mut sim in [sim.restarted_after(1000), sim] {
        sim.status("s", Status::Waiting);
        sim.pass_ms(120_000);
        assert_eq!(sim.told(), NONE);
        let alert = sim.alert();
        assert_eq!((alert.last_fired_ms, alert.last_title), (None, None), "it was never told");
        assert_eq!((sim.is_armed("s"), alert.subjects["s"].fired_ms), (false, None));
        sim.status("s", Status::Busy);
        sim.pass_ms(1000);
        sim.status("s", Status::Waiting);
        sim.pass_ms(3000);
        assert_eq!(sim.told(), ["w waits"]);
        let alert = sim.alert();
        assert!(alert.last_fired_ms.is_some());
        assert_eq!(alert.subjects["s"].fired_ms, alert.last_fired_ms);
    }
}

#[test]
fn of_many_at_once_those_that_are_not_seen_are_told() {
    let mut sim = watching(Condition::Waiting);
    let ids = ["s1", "s2", "s3", "s4", "s5", "s6", "s7"];
    for id in ids {
        sim.status(id, Status::Busy);
    }
    sim.run_ms(1000);
    for id in ids {
        sim.status(id, Status::Waiting);
    }
    sim.run_ms(2300);
    let notices = sim.notices_but_of(&ids[..5]);
    let told: Vec<_> = notices.iter().map(|it| (it.title.as_str(), it.body.as_str())).collect();
    assert_eq!(told, [("2 × a", "s6 waits; s7 waits")]);
    let alert = sim.alert();
    assert_eq!(alert.last_title.as_deref(), Some("s7 waits"));
    let fired = ids.map(|it| alert.subjects[it].fired_ms.is_some());
    assert_eq!(fired, [false, false, false, false, false, true, true]);
}

#[test]
fn what_was_not_told_does_not_delay_what_is() {
    let mut sim = watching(Condition::Waiting);
    for (in_focus, expected) in [(&["s"][..], &NONE[..]), (&[], &["w waits"]), (&[], &[])] {
        sim.status("s", Status::Waiting);
        sim.run_ms(4000);
        assert_eq!(sim.told_but_of(in_focus), expected);
        sim.status("s", Status::Busy);
        sim.run_ms(4000);
    }
}

#[test]
fn what_is_not_told_says_nothing_of_the_program() {
    let mut sim = watching(Condition::Waiting);
    sim.fail_to_tell();
    let before = sim.alert();
    sim.status("s", Status::Busy);
    sim.pass_ms(60_000);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told_but_of(&["s"]), NONE);
    let alert = sim.alert();
    assert_eq!(alert.error.as_deref(), Some("was killed by signal 9"));
    assert_eq!((alert.last_fired_ms, alert.last_title), (before.last_fired_ms, before.last_title));
}

#[test]
fn what_is_told_waits_for_the_fetch_lock_and_is_not_lost() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Waiting);
    sim.pass_ms(2100);
    sim.pass_ms(100);
    assert_eq!(sim.effects.extract_if(.., |it| is_alert(it)).count(), 1);
    sim.event(Event::Busy(Source::Alert("a".to_owned()), "another process".to_owned()));
    sim.pass_ms(1000);
    assert_eq!(sim.told(), ["w waits"]);
}

#[test]
fn another_condition_begins_anew_and_another_program_does_not() {
    let mut sim = watching(Condition::Waiting);
    sim.status("s", Status::Waiting);
    sim.pass_ms(3000);
    assert_eq!(sim.told().len(), 1);
    let mut settings = with(Condition::Waiting);
    let rule = settings.alerts.get_mut("a").unwrap();
    (rule.tool, rule.is_told_in_focus) = (tool("other", 0), true);
    sim.event(Event::Configured(Ok(Box::new(settings))));
    sim.pass_ms(120_000);
    assert_eq!(sim.told(), NONE);
    assert!(sim.alert().last_fired_ms.is_some());
    sim.event(Event::Configured(Ok(Box::new(with(Condition::Context { at: 5.0 })))));
    sim.pass_ms(1000);
    assert_eq!(sim.told(), NONE, "what holds already is not told");
    assert_eq!(sim.alert().last_fired_ms, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the values and the restarts, each crossing is told once.
    #[test]
    fn an_alert_is_told_exactly_once_for_each_crossing(
        steps in prop::collection::vec((0_u8..=100, prop::bool::weighted(0.1)), 1..60)
    ) {
        let mut sim = watching(Condition::Context { at: 80.0 });
        let (mut is_armed, mut is_first) = (true, true);
        for (percent, does_restart) in steps {
            if does_restart {
                sim = sim.restarted_after(1000);
                sim.pass_ms(1000);
            }
            let percent = f64::from(percent);
            let is_crossing = is_armed && percent >= 80.0 && !is_first;
            is_armed = percent <= 60.0 || (is_armed && percent < 80.0);
            is_first = false;
            sim.context(Some(percent));
            sim.pass_ms(60_000);
            prop_assert_eq!(sim.told().len(), usize::from(is_crossing), "{}", percent);
            prop_assert_eq!(sim.is_armed("s"), is_armed);
        }
    }
}
