//! Programs that the user configured: when they run, and what becomes of their output.

use super::*;
use crate::fetch::exec::Invocation;
use crate::store::schema::{Block, BlockSource};

pub(super) fn tool(program: &str, every_s: u64) -> Tool {
    let what = Invocation {
        program: program.into(),
        args: Vec::new(),
        dir: None,
        env: Vec::new(),
        input: Vec::new(),
    };
    Tool { what, limits: tool::TOOL_LIMITS, every: Duration::from_secs(every_s) }
}

fn with_ccusage() -> Settings {
    Settings { block_tool: Some(tool("ccusage", 0)), ..settings(&["/r"]) }
}

fn with_command(every_s: u64) -> Settings {
    let commands = [("load".to_owned(), tool("uptime", every_s))].into();
    Settings { commands, ..settings(&["/r"]) }
}

fn usage() -> Source {
    Source::Block("/r".into())
}

fn command() -> Source {
    Source::Command("load".to_owned())
}

fn timed_out() -> tool::ToolError {
    tool::ToolError::Failed(exec::RunError::TimedOut { after: Duration::from_secs(35) })
}

impl Sim {
    /// The block tool answers. It was called `ago_ms` ago.
    fn block_answers(&mut self, cost_usd: f64, ago_ms: i64) {
        let as_of_ms = self.now.wall_ms - ago_ms;
        let end_ms = 1_795_000_000_000 + 2 * HOUR_MS;
        let source = BlockSource::Ccusage;
        let block = Block { cost_usd, as_of_ms, end_ms, source, ..Block::default() };
        self.fetched(Outcome::Block("/r".into(), Ok(Some(block))));
    }

    /// The command ends, and has printed `output`.
    fn command_prints(&mut self, output: &str) {
        let as_of_ms = self.now.wall_ms;
        let facts = schema::CommandOutput {
            as_of_ms,
            output: output.to_owned(),
            ..schema::CommandOutput::default()
        };
        self.fetched(Outcome::Command("load".to_owned(), Ok(facts)));
    }

    /// The usage in the snapshot.
    fn account_usage(&self) -> schema::Usage {
        self.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap()
    }

    /// Cost in dollars and age in milliseconds of the block tool's block; `None` without one.
    fn block(&self) -> Option<(f64, i64)> {
        let block = self.account_usage().block?;
        assert_eq!(block.source, BlockSource::Ccusage);
        Some((block.cost_usd, self.now.wall_ms - block.as_of_ms))
    }

    /// The command in the snapshot.
    fn load(&self) -> Option<schema::CommandOutput> {
        self.snapshot().commands.get("load").cloned()
    }
}

/// As [`settled`], with a block tool, which has answered a block of one dollar.
fn settled_with_ccusage() -> Sim {
    let mut sim = settle(Sim::configured(with_ccusage(), None));
    sim.block_answers(1.0, 0);
    // By now the tool may be called again.
    sim.pass_ms(30 * SECOND_MS);
    assert!(sim.is_settled());
    sim.effects.clear();
    sim
}

#[test]
fn outputs_keep_their_age_when_the_clock_is_set_back() {
    let mut sim = settled_with_ccusage();
    let (_, age_ms) = sim.block().unwrap();
    sim.now.wall_ms -= HOUR_MS;
    sim.pass_ms(1);
    assert_eq!(sim.block(), Some((1.0, age_ms + 1)));

    let mut sim = settle(Sim::configured(with_command(60), None));
    sim.command_prints("0.42");
    sim.now.wall_ms -= HOUR_MS;
    sim.pass_ms(1);
    assert_eq!(sim.load().unwrap().as_of_ms, sim.now.wall_ms - 1);
}

#[test]
fn the_block_from_transcripts_names_its_source_and_is_as_old_as_the_rest_of_usage() {
    let sim = settled();
    let account = sim.account_usage();
    let block = account.block.unwrap();
    assert_eq!((block.source, block.as_of_ms), (BlockSource::Transcripts, account.as_of_ms));
}

#[test]
fn the_block_from_transcripts_is_never_shown_where_a_tool_is_configured() {
    let mut sim = Sim::configured(with_ccusage(), None);
    sim.list_root("/r", &["s"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Outcome::Tree("/w".into(), None));
    assert_eq!(sim.n_published(), 1, "the first snapshot does not wait for the tool");
    assert_eq!(sim.account_usage().block, None);
    assert_eq!(
        sim.account_usage().today.cost_usd,
        5.0,
        "all other sums are computed from transcripts"
    );
    sim.pass_ms(150);
    assert!(sim.fetches().contains(&usage()));
    sim.now.wall_ms += 24_000;
    sim.block_answers(7.0, 24_000);
    assert_eq!(sim.block(), Some((7.0, 24_000)));
    sim.block_answers(9.0, 0);
    assert_eq!(sim.block(), Some((7.0, 24_000)), "an answer without a call is ignored");
}

#[test]
fn a_tool_that_takes_24_s_does_not_delay_anything_else() {
    let mut sim = settled_with_ccusage();
    sim.append();
    sim.pass_ms(200);
    assert!(sim.fetches().contains(&usage()));
    sim.git_answers("/w", "main");
    for second in 0..24 {
        sim.pass_ms(100);
        sim.pass_ms(100);
        sim.n_published();
        sim.append();
        assert_eq!(sim.n_published(), 1, "after {second} s");
        assert_eq!(sim.account_usage().today.cost_usd, 5.0 * f64::from(second + 3));
        sim.changed("/w/.git/HEAD");
        sim.pass_ms(150);
        sim.n_published();
        let fetches = sim.fetches();
        assert!(fetches.contains(&Source::Repo("/w".into())), "after {second} s: {fetches:?}");
        assert!(!fetches.contains(&usage()), "the tool runs already");
        sim.git_answers("/w", &format!("branch-{second}"));
        assert_eq!(sim.n_published(), 1, "after {second} s");
        assert_eq!(sim.block().unwrap().0, 1.0);
        sim.pass_ms(650);
    }
    assert!(sim.block().unwrap().1 >= 24_000, "{:?}", sim.block());
    sim.block_answers(2.0, 24_000);
    assert_eq!(sim.block(), Some((2.0, 24_000)));
    let mut waited_ms = 0;
    while !sim.fetches().contains(&usage()) {
        sim.pass_ms(1000);
        waited_ms += 1000;
    }
    assert!(
        (215_000..=217_000).contains(&waited_ms),
        "nine times as long as the call took: {waited_ms} ms"
    );
}

#[test]
fn many_appends_ask_the_tool_a_few_times() {
    let mut sim = settled_with_ccusage();
    let mut n_calls = 0;
    for _ in 0..200 {
        sim.append();
        sim.pass_ms(10);
        if sim.fetches().contains(&usage()) {
            n_calls += 1;
            sim.block_answers(2.0, 0);
        }
    }
    assert!((1..=2).contains(&n_calls), "{n_calls} calls in 2 s");
}

#[test]
fn lines_without_usage_do_not_run_the_tool() {
    let mut sim = settled_with_ccusage();
    sim.changed("/w/.git/HEAD");
    sim.hint("/r", "s", ClientFacts::default());
    for _ in 0..600 {
        sim.pass_ms(1000);
        assert!(!sim.fetches().contains(&usage()));
        sim.git_answers("/w", "main");
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        sim.effects.clear();
    }
}

/// The tool's answer stays true until entries are counted.
#[test]
fn the_block_of_the_tool_ages_only_while_it_has_not_counted_something() {
    let mut sim = settled_with_ccusage();
    sim.pass_ms(10 * MINUTE_MS);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.block(), Some((1.0, 0)));
    for dir in sim.looks() {
        sim.list(&dir, &[]);
    }
    sim.append();
    sim.now.wall_ms += 3 * MINUTE_MS;
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.block(), Some((1.0, 3 * MINUTE_MS)));
    sim.pass_ms(1000);
    sim.append();
    sim.block_answers(2.0, 500);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.block(), Some((2.0, 500)), "an entry was counted while the tool ran");
}

#[test]
fn a_tool_that_fails_is_one_degraded_entry_and_runs_less_and_less_often() {
    let mut sim = settle(Sim::configured(with_ccusage(), None));
    let missing = || {
        let program = "ccusage".to_owned();
        tool::ToolError::Failed(exec::RunError::NotFound { program })
    };
    let mut waits = Vec::new();
    for _ in 0..4 {
        sim.fetched(Outcome::Block("/r".into(), Err(missing())));
        let degraded = sim.snapshot().degraded;
        assert_eq!(degraded.len(), 1, "{degraded:?}");
        assert_eq!(degraded[0].source, "usage:/r");
        let reason = "there is no program ccusage; install it, put it in the watcher's PATH, or \
                      set source = \"transcripts\" in [usage]";
        assert_eq!(degraded[0].reason, reason);
        assert!(degraded[0].next_try_ms.is_some());
        assert_eq!(
            sim.account_usage().block,
            None,
            "the block from transcripts must not replace it"
        );
        let mut waited_s = 0;
        while !sim.fetches().contains(&usage()) {
            sim.append();
            sim.pass_ms(SECOND_MS);
            waited_s += 1;
        }
        waits.push(waited_s);
    }
    // The first call took a second of the test's clock, so a pause of nine seconds follows.
    assert_eq!(waits, [9, 2, 4, 8]);
    sim.block_answers(3.0, 0);
    assert_eq!(sim.block(), Some((3.0, 0)));
    assert_eq!(sim.snapshot().degraded, []);

    sim.append();
    sim.pass_ms(SECOND_MS);
    assert!(sim.fetches().contains(&usage()));
    sim.fetched(Outcome::Block("/r".into(), Err(timed_out())));
    assert_eq!(sim.block(), Some((3.0, SECOND_MS)), "the last answer stays, with its age");
    assert_eq!(sim.snapshot().degraded[0].reason, "timed out after 35 s");
}

#[test]
fn after_a_block_ended_the_tool_runs_once_and_the_block_is_not_shown() {
    let mut sim = settled_with_ccusage();
    let mut n_calls = 0;
    for _ in 0..180 {
        sim.hint("/r", "s", ClientFacts::default());
        sim.pass_ms(MINUTE_MS);
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        if sim.fetches().contains(&usage()) {
            n_calls += 1;
            assert_eq!(sim.block(), None);
            sim.fetched(Outcome::Block("/r".into(), Ok(None)));
        }
        sim.git_answers("/w", "main");
        sim.effects.clear();
    }
    assert_eq!(n_calls, 1);
}

#[test]
fn without_a_live_session_no_timer_of_a_tool_runs() {
    let mut sim = settle(Sim::configured(
        Settings { block_tool: Some(tool("ccusage", 0)), ..with_command(60) },
        None,
    ));
    sim.fetched(Outcome::Block("/r".into(), Err(timed_out())));
    sim.command_prints("1");
    assert!(sim.state.sources.tools_deadline().is_some());
    end(&mut sim, "s");
    assert_eq!(sim.state.sources.tools_deadline(), None);
    for _ in 0..3 {
        sim.pass_ms(10 * MINUTE_MS);
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        sim.effects.clear();
        sim.pass_ms(SECOND_MS);
    }
    assert_eq!(sim.state.deadline(), None);
    let degraded = sim.snapshot().degraded;
    assert_eq!((degraded.len(), degraded[0].next_try_ms), (1, None), "{degraded:?}");
    assert_eq!(sim.load().unwrap().output, "1");

    sim.hint("/r", "s", ClientFacts { cost_usd: Some(1.0), ..ClientFacts::default() });
    sim.pass_ms(200);
    let fetches = sim.fetches();
    assert!(fetches.contains(&usage()) && fetches.contains(&command()), "{fetches:?}");
}

#[test]
fn a_tool_that_failed_without_a_session_is_degraded_and_runs_again_with_the_next_session() {
    let mut sim = Sim::configured(with_ccusage(), None);
    sim.list_root("/r", &["s"]);
    let long_ago = sim.now.wall_ms - 3 * HOUR_MS;
    sim.reply_at("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8", long_ago);
    assert!(!sim.session("s").live);
    sim.pass_ms(200);
    assert!(sim.fetches().contains(&usage()));
    sim.fetched(Outcome::Block("/r".into(), Err(timed_out())));
    assert_eq!(sim.snapshot().degraded.len(), 1);
    assert_eq!(sim.state.sources.tools_deadline(), None);
    sim.pass_ms(HOUR_MS);
    sim.hint("/r", "s", ClientFacts::default());
    sim.pass_ms(200);
    assert!(sim.fetches().contains(&usage()));
}

#[test]
fn the_last_output_outlives_a_restart() {
    let sim = settled_with_ccusage();
    let mut before = sim.snapshot();
    before
        .commands
        .insert("load".to_owned(), schema::CommandOutput { as_of_ms: 5, ..Default::default() });
    before
        .commands
        .insert("gone".to_owned(), schema::CommandOutput { as_of_ms: 5, ..Default::default() });
    let settings = Settings { block_tool: Some(tool("ccusage", 0)), ..with_command(60) };
    let sim = Sim::configured(settings, Some(&before));
    assert_eq!(sim.block().map(|it| it.0), Some(1.0));
    assert_eq!(sim.snapshot().commands.keys().collect::<Vec<_>>(), ["load"]);

    let sim = Sim::after(&["/r"], Some(&before));
    assert_eq!(sim.account_usage().block, None, "the tool is no longer configured");
    let ours = settled().snapshot();
    let sim = Sim::configured(with_ccusage(), Some(&ours));
    assert_eq!(sim.account_usage().block, None, "the tool is configured and has not answered");
    assert_eq!(sim.account_usage().today.cost_usd, 5.0);
}

#[test]
fn a_command_runs_once_per_interval_while_a_session_is_live() {
    let mut sim = Sim::configured(with_command(60), None);
    sim.pass_ms(10 * MINUTE_MS);
    assert_eq!(sim.fetches(), [], "no session is live");
    let mut sim = settle(Sim::configured(with_command(60), None));
    assert_eq!(sim.load(), None);
    sim.command_prints("1");
    assert_eq!(sim.load().unwrap().output, "1");
    let mut started_at = Vec::new();
    for second in 0..240 {
        sim.append();
        sim.pass_ms(SECOND_MS);
        if sim.fetches().contains(&command()) {
            started_at.push(second);
            if started_at.len() == 2 {
                sim.fetched(Outcome::Command("load".to_owned(), Err(timed_out())));
                let load = sim.load().unwrap();
                assert_eq!(load.output, "1", "the last output stays");
                assert_eq!(load.error.as_deref(), Some("timed out after 35 s"));
                assert_eq!(sim.snapshot().degraded[0].source, "command:load");
            } else {
                sim.command_prints("1");
                assert_eq!(sim.load().unwrap().error, None);
            }
        }
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
    }
    let gaps: Vec<_> = started_at.windows(2).map(|it| it[1] - it[0]).collect();
    assert_eq!(gaps, [60, 60, 60], "{started_at:?}");
}

#[test]
fn a_command_that_is_stuck_is_named_and_tried_less_and_less_often_whatever_its_interval() {
    let mut sim = settle(Sim::configured(with_command(1), None));
    let mut waits = Vec::new();
    for _ in 0..5 {
        let stuck = exec::RunError::StillRunning { process: 7 };
        sim.fetched(Outcome::Command("load".to_owned(), Err(tool::ToolError::Failed(stuck))));
        let degraded = sim.snapshot().degraded;
        let reason = "cannot run again: process 7 of its last run has not ended";
        let named: Vec<_> = degraded.iter().map(|it| (&*it.source, &*it.reason)).collect();
        assert_eq!(named, [("command:load", reason)]);
        let mut waited_s = 0;
        while !sim.fetches().contains(&command()) {
            sim.append();
            sim.pass_ms(SECOND_MS);
            waited_s += 1;
        }
        waits.push(waited_s);
    }
    // The first call took two seconds of the test's clock, so a pause of 18 seconds follows.
    assert_eq!(waits, [18, 2, 4, 8, 16]);
    sim.command_prints("1");
    assert_eq!(sim.snapshot().degraded, []);
}

#[test]
fn a_session_that_begins_and_ends_does_not_run_a_command_early() {
    let mut sim = settle(Sim::configured(with_command(60), None));
    sim.command_prints("1");
    let mut n_runs = 0;
    for _ in 0..50 {
        end(&mut sim, "s");
        sim.pass_ms(500);
        sim.hint("/r", "s", ClientFacts::default());
        sim.pass_ms(500);
        n_runs += sim.fetches().iter().filter(|it| **it == command()).count();
    }
    assert_eq!(n_runs, 0);
}

#[test]
fn a_cookie_waits_for_uncounted_usage_and_not_for_the_next_run_of_a_command() {
    let settings = Settings { block_tool: Some(tool("ccusage", 0)), ..with_command(60) };
    let mut sim = settle(Sim::configured(settings, None));
    sim.block_answers(1.0, 0);
    sim.command_prints("1");
    sim.append();
    sim.pass_ms(30 * SECOND_MS);
    assert!(sim.fetches().contains(&usage()));
    sim.pass_ms(24_000);
    sim.block_answers(2.0, 24_000);
    sim.git_answers("/w", "main");
    sim.pass_ms(1000);
    sim.effects.clear();

    // The tool may not be called again yet, and a reply is about to be read.
    sim.changed("/r/projects/p/s.jsonl");
    sim.changed("/state/sync/77");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.pass_ms(1);
    let fetches = sim.fetches();
    assert!(fetches.contains(&usage()), "{fetches:?}");
    sim.git_answers("/w", "main");
    sim.git_answers("/w", "main");
    let is_acknowledged =
        |sim: &Sim| sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_)));
    assert!(!is_acknowledged(&sim));
    sim.block_answers(3.0, 1);
    assert!(is_acknowledged(&sim), "{:?}", sim.state.sources);

    sim.effects.clear();
    sim.pass_ms(100);
    sim.append();
    sim.pass_ms(200);
    assert!(sim.fetches().contains(&usage()));
    // The running call began before the cookie, so the cookie waits for one more.
    sim.append();
    sim.changed("/state/sync/78");
    sim.git_answers("/w", "main");
    sim.git_answers("/w", "main");
    assert!(!is_acknowledged(&sim));
    sim.fetched(Outcome::Block("/r".into(), Err(timed_out())));
    assert!(is_acknowledged(&sim), "the cookie does not wait for a retry: {:?}", sim.state.sources);
}

#[test]
fn after_a_reload_the_output_of_replaced_tools_is_ignored() {
    let mut sim = settled();
    sim.event(Event::Configured(Ok(Box::new(with_ccusage()))));
    assert_eq!(sim.account_usage().block, None);
    sim.pass_ms(150);
    assert!(sim.fetches().contains(&usage()));

    let both = Settings { block_tool: Some(tool("other", 0)), ..with_command(60) };
    sim.event(Event::Configured(Ok(Box::new(both.clone()))));
    assert!(sim.fetches().contains(&command()));
    sim.block_answers(1.0, 0);
    assert_eq!(sim.account_usage().block, None, "that was the answer of the replaced tool");
    sim.pass_ms(10 * SECOND_MS);
    assert!(sim.fetches().contains(&usage()));
    sim.block_answers(2.0, 0);
    assert_eq!(sim.block(), Some((2.0, 0)));
    sim.command_prints("1");

    let changed = Settings { commands: with_command(30).commands, ..both.clone() };
    sim.event(Event::Configured(Ok(Box::new(changed))));
    assert_eq!(sim.load(), None);
    sim.pass_ms(1);
    assert!(sim.fetches().contains(&command()), "{:?}", sim.effects);

    let again = Settings { commands: with_command(20).commands, ..both };
    sim.event(Event::Configured(Ok(Box::new(again))));
    sim.command_prints("of the command before");
    assert_eq!(sim.load(), None);
    sim.pass_ms(SECOND_MS);
    assert!(sim.fetches().contains(&command()), "{:?}", sim.effects);

    sim.event(Event::Configured(Ok(Box::new(settings(&["/r"])))));
    sim.command_prints("of a command that is gone");
    assert_eq!(sim.load(), None);
    assert_eq!(sim.account_usage().block.unwrap().source, BlockSource::Transcripts);
    assert_eq!(sim.state.sources.tools_deadline(), None);
}

#[test]
fn a_tool_waits_for_the_fetch_lock_as_git_does() {
    let mut sim = settled_with_ccusage();
    sim.append();
    sim.pass_ms(200);
    assert!(sim.fetches().contains(&usage()));
    sim.event(Event::Busy(usage(), "another process holds fetch.lock".to_owned()));
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(50);
    assert!(sim.fetches().contains(&usage()));
    sim.block_answers(2.0, 0);
    assert_eq!(sim.block(), Some((2.0, 0)));
}

#[test]
fn a_oneshot_run_runs_each_tool_once() {
    let now = Now { wall_ms: 1_795_000_000_000, ..Now::read() };
    let settings = Settings { block_tool: Some(tool("ccusage", 0)), ..with_command(1) };
    let (state, effects) = State::new(Mode::Once { does_import: false }, settings, None, now);
    let mut sim = Sim { state, now, effects };
    sim.list_root("/r", &["s", "t"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Outcome::Tree("/w".into(), None));
    sim.list("/w", &[]);
    sim.list("/r/projects/p/s", &[]);
    sim.pass_ms(SECOND_MS);
    assert!(sim.fetches().contains(&command()));
    sim.command_prints("1");
    sim.pass_ms(10 * SECOND_MS);
    sim.reply("/r/projects/p/t.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Outcome::Tree("/w".into(), None));
    sim.list("/r/projects/p/t", &[]);
    assert!(sim.state.sources.is_scanned());
    assert!(!sim.is_settled());
    for _ in 0..34 {
        sim.pass_ms(SECOND_MS);
    }
    let fetches: Vec<_> = sim.fetches().into_iter().filter(Source::is_tool).collect();
    assert_eq!(fetches, [usage()], "the command is not run again");
    assert!(!sim.is_settled());
    sim.fetched(Outcome::Block("/r".into(), Err(timed_out())));
    assert!(sim.is_settled(), "a failed call is not retried");
    assert_eq!(sim.snapshot().degraded.len(), 1);
}

#[test]
fn a_block_of_one_root_does_not_show_in_another() {
    let mut sim = Sim::configured(
        Settings { block_tool: Some(tool("ccusage", 0)), ..settings(&["/r", "/q"]) },
        None,
    );
    sim.list_root("/r", &["s"]);
    sim.list_root("/q", &["t"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.reply("/q/projects/p/t.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Outcome::Tree("/w".into(), None));
    sim.pass_ms(200);
    assert_eq!(sim.fetches().iter().filter(|it| it.is_tool()).count(), 2);
    sim.block_answers(4.0, 0);
    assert_eq!(sim.block(), Some((4.0, 0)));
    let other = sim.snapshot().roots[&RootKey("/q".into())].usage.clone().unwrap();
    assert_eq!(other.block, None);
}

// ---- What lets commands run, and for what

fn with_runs(runs: tool::Runs) -> Settings {
    Settings { runs: [("load".to_owned(), runs)].into(), ..with_command(60) }
}

/// The runs of commands that were started since the last call.
fn runs(sim: &mut Sim) -> Vec<String> {
    let fetches = sim.fetches().into_iter();
    let runs =
        fetches.filter_map(|it| if let Source::Command(run) = it { Some(run) } else { None });
    runs.collect()
}

/// A run of the command ends, and has printed this.
fn printed(sim: &mut Sim, run: &str, output: &str) {
    let output = output.to_owned();
    let facts = schema::CommandOutput { as_of_ms: sim.now.wall_ms, output, ..Default::default() };
    sim.fetched(Outcome::Command(run.to_owned(), Ok(facts)));
}

fn waits(sim: &mut Sim, status: Status) {
    let session_id = SessionId::checked("s");
    let file = SessionFile { pid: 9, session_id, status: Some(status), ..SessionFile::default() };
    let process = Process { file, is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process("/r/sessions/9.json".into(), Ok(process)));
    sim.pass_ms(2000);
}

#[test]
fn a_command_without_an_interval_runs_once_and_then_only_when_something_happens() {
    let settings = with_runs(tool::Runs {
        on_files: vec!["/f/todo".into()],
        on_repo: true,
        on_waiting: true,
        ..tool::Runs::default()
    });
    let mut sim = settle(Sim::configured(settings, None));
    sim.list("/f", &[("todo", file(0))]);
    printed(&mut sim, "load", "1");
    for _ in 0..20 {
        sim.pass_ms(60_000);
        sim.append();
    }
    assert_eq!(runs(&mut sim), [] as [&str; 0], "time alone starts nothing");
    let mut after = |act: fn(&mut Sim)| {
        act(&mut sim);
        sim.pass_ms(2000);
        let started = runs(&mut sim);
        printed(&mut sim, "load", "2");
        sim.pass_ms(60_000);
        started.len()
    };
    assert_eq!(after(|sim| sim.changed("/f/todo")), 1);
    assert_eq!(after(|sim| sim.changed("/f/other")), 0);
    assert_eq!(after(|sim| sim.git_answers("/w", "main")), 0, "git says the same");
    assert_eq!(after(|sim| sim.git_answers("/w", "topic")), 1);
    assert_eq!(after(|sim| waits(sim, Status::Busy)), 0);
    assert_eq!(after(|sim| waits(sim, Status::Waiting)), 1);
    assert_eq!(after(|sim| waits(sim, Status::Waiting)), 0, "it goes on to wait");
}

#[test]
fn a_command_runs_when_the_directory_of_its_file_appears_or_is_replaced() {
    let on_files = vec!["/f/todo".into()];
    let settings = with_runs(tool::Runs { on_files, ..tool::Runs::default() });
    let mut sim = settle(Sim::configured(settings, None));
    let is_missing = |sim: &mut Sim| {
        let found = Found::Missing { nearest: "/".into() };
        sim.event(Event::Listed(Listing { dir: "/f".into(), found }));
    };
    is_missing(&mut sim);
    printed(&mut sim, "load", "1");
    sim.pass_ms(60_000);
    assert_eq!(runs(&mut sim), [] as [&str; 0], "it runs only when something happens");
    // By the time that it is watched, the file has been written.
    for _ in 0..2 {
        sim.list("/f", &[]);
        sim.pass_ms(2000);
        assert_eq!(runs(&mut sim), ["load"]);
        printed(&mut sim, "load", "2");
        sim.pass_ms(60_000);
        is_missing(&mut sim);
        sim.pass_ms(60_000);
        assert_eq!(runs(&mut sim), [] as [&str; 0]);
    }
}

#[test]
fn a_command_runs_for_each_of_its_scope_in_its_directory_and_is_forgotten_with_it() {
    for (scope, expected, dir) in [
        (tool::Scope::Root, "load of /r", None),
        (tool::Scope::Repository, "load of /w", Some("/w")),
        (tool::Scope::Session, "load of s", Some("/w")),
    ] {
        let settings = with_runs(tool::Runs { scope, is_timed: true, ..tool::Runs::default() });
        let mut sim = Sim::configured(settings, None);
        sim.list_root("/r", &["s"]);
        sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        sim.found_tree("/w", "/w");
        sim.pass_ms(1000);
        let jobs = sim.effects.iter().filter_map(|effect| match effect {
            Effect::Fetch(Job::Run(RunJob::Command { name, tool })) => Some((name, tool)),
            _ => None,
        });
        let jobs: Vec<_> = jobs.collect();
        assert_eq!(jobs.len(), 1, "{scope:?}");
        assert_eq!(
            (jobs[0].0.as_str(), jobs[0].1.what.dir.as_deref()),
            (expected, dir.map(Path::new))
        );
        assert_eq!(jobs[0].1.what.env[0], ("CCSTATUSD_ROOT".into(), "/r".into()));
        sim.effects.clear();
        printed(&mut sim, expected, "1");
        assert_eq!(sim.snapshot().commands[expected].output, "1");
        sim.pass_ms(60_000);
        assert_eq!(runs(&mut sim), [expected], "after its interval");
        printed(&mut sim, expected, "2");
        end(&mut sim, "s");
        assert!(sim.snapshot().commands.is_empty(), "{scope:?}");
        sim.pass_ms(120_000);
        assert_eq!(runs(&mut sim), [] as [&str; 0]);
    }
}
