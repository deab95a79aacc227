//! Programs that the user configured: their output is published, and nothing else waits for them.

use std::time::Duration;

use ccstatusd::store::schema::{Block, BlockSource, Degraded, RootKey, Snapshot, Usage};
use ccstatusd::time::{HOUR_MS, Now};
use nix::sys::signal::Signal;

use crate::sandbox::{Sandbox, processes_with, repo_of, session, text, write_script};
use crate::transcripts::{COST_USD, Transcript};

const CCUSAGE: &str = "[usage]\nsource = 'ccusage'\n";

/// A sandbox with this configuration and a session in a repository that has used tokens.
fn sandbox(config: &str) -> (Sandbox, Transcript) {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.prompt("one");
    transcript.reply("two");
    sandbox.configure(config);
    (sandbox, transcript)
}

/// Installs a program that logs its start and end, and runs this shell command in between.
fn install(sandbox: &Sandbox, name: &str, shell: &str) {
    let script = format!(
        "#!/bin/sh\necho \"start {name} $CLAUDE_CONFIG_DIR $*\" >> ~/tools.log\n\
         {shell}\ncode=$?\necho \"end {name}\" >> ~/tools.log\nexit $code\n"
    );
    // Replaced, not overwritten: a shell may still be reading the old script.
    let (path, new) = (sandbox.path(&format!("bin/{name}")), sandbox.path("bin/new"));
    write_script(&new, &script);
    fs_err::rename(new, path).unwrap();
}

/// Installs a `ccusage` that prints an active block of this cost, as the real one does.
fn install_ccusage(sandbox: &Sandbox, cost_usd: f64) {
    let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap();
    let start_ms = Now::read().wall_ms / HOUR_MS * HOUR_MS;
    let (start, end) = (at(start_ms), at(start_ms + 5 * HOUR_MS));
    let json = format!(
        r#"{{"blocks": [{{"isActive": true, "isGap": false, "id": "{start}", "startTime": "{start:.3}",
            "endTime": "{end:.3}", "actualEndTime": null, "entries": 9, "costUSD": {cost_usd},
            "models": [], "totalTokens": 10, "burnRate": null, "projection": null, "tokenCounts":
            {{"inputTokens": 1, "outputTokens": 2, "cacheCreationInputTokens": 3,
              "cacheReadInputTokens": 4}}}}]}}"#
    );
    install(sandbox, "ccusage", &format!("cat <<'END'\n{json}\nEND"));
}

fn log(sandbox: &Sandbox) -> Vec<String> {
    let log = fs_err::read_to_string(sandbox.path("tools.log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

fn n_started(sandbox: &Sandbox, name: &str) -> usize {
    log(sandbox).iter().filter(|it| it.starts_with(&format!("start {name} "))).count()
}

fn usage(snapshot: &Snapshot, sandbox: &Sandbox) -> Option<Usage> {
    let key = RootKey(sandbox.root().to_str().unwrap().to_owned());
    snapshot.roots.get(&key)?.usage.clone()
}

fn block(snapshot: &Snapshot, sandbox: &Sandbox) -> Option<Block> {
    usage(snapshot, sandbox)?.block
}

fn cost_usd(snapshot: &Snapshot, sandbox: &Sandbox) -> Option<f64> {
    block(snapshot, sandbox).map(|it| it.cost_usd)
}

fn reason<'a>(snapshot: &'a Snapshot, source: &str) -> Option<&'a str> {
    let is_source = |it: &&Degraded| it.source.starts_with(source);
    snapshot.degraded.iter().find(is_source).map(|it| it.reason.as_str())
}

// ---- Another tool's block

#[test]
fn the_block_of_ccusage_replaces_ours() {
    let (sandbox, mut transcript) = sandbox(CCUSAGE);
    install_ccusage(&sandbox, 61.5);
    let _watcher = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("its block", |it| cost_usd(it, &sandbox) == Some(61.5));
    let found = block(&snapshot, &sandbox).unwrap();
    assert_eq!((found.source, found.entries), (BlockSource::Ccusage, 9));
    let age_ms = Now::read().wall_ms - found.as_of_ms;
    assert!((0..10_000).contains(&age_ms), "{age_ms}");
    let ours = usage(&snapshot, &sandbox).unwrap().today.cost_usd;
    assert!((ours - COST_USD).abs() < 1e-9, "the other numbers are our own sums: {ours}");
    let root = sandbox.root();
    let call = format!("start ccusage {} blocks --json --active --offline", root.display());
    assert_eq!(log(&sandbox)[0], call);
    let line = || fs_err::read_to_string(sandbox.state.join("lines/s1")).unwrap_or_default();
    sandbox.wait_until("its line", || line().contains("$61.50"));

    install_ccusage(&sandbox, 70.0);
    transcript.reply("three");
    sandbox.wait_for("its next block", |it| cost_usd(it, &sandbox) == Some(70.0));
}

#[test]
fn many_appends_run_ccusage_only_a_few_times() {
    let (sandbox, mut transcript) = sandbox(CCUSAGE);
    install_ccusage(&sandbox, 1.0);
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("its block", |it| cost_usd(it, &sandbox) == Some(1.0));
    let n_before = n_started(&sandbox, "ccusage");
    install_ccusage(&sandbox, 2.0);
    for _ in 0..200 {
        transcript.reply("more");
    }
    sandbox.wait_for("its next block", |it| cost_usd(it, &sandbox) == Some(2.0));
    sandbox.oneshot();
    let n_calls = n_started(&sandbox, "ccusage") - n_before;
    assert!((1..=4).contains(&n_calls), "{n_calls} calls: {:#?}", log(&sandbox));
}

#[test]
fn a_missing_ccusage_is_one_degraded_source_until_it_is_installed() {
    let (sandbox, _) = sandbox(CCUSAGE);
    let _watcher = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("the reason", |it| !it.degraded.is_empty());
    assert_eq!(snapshot.degraded.len(), 1, "{snapshot:#?}");
    assert_eq!(snapshot.degraded[0].source, format!("usage:{}", sandbox.root().display()));
    let reason = &snapshot.degraded[0].reason;
    assert!(reason.starts_with("there is no program ccusage; install it"), "{reason}");
    assert_eq!(cost_usd(&snapshot, &sandbox), None, "our own block does not replace it");
    sandbox.wait_for("git's facts", |it| repo_of(it, "s1").is_some());
    install_ccusage(&sandbox, 3.0);
    let snapshot = sandbox.wait_for("its block", |it| cost_usd(it, &sandbox) == Some(3.0));
    assert_eq!(snapshot.degraded, []);
}

#[track_caller]
fn check_bad_output(shell: &str, expected: &str) {
    let (sandbox, mut transcript) = sandbox(CCUSAGE);
    install_ccusage(&sandbox, 4.0);
    let _watcher = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("its block", |it| cost_usd(it, &sandbox) == Some(4.0));
    let before = block(&snapshot, &sandbox).unwrap();
    install(&sandbox, "ccusage", shell);
    transcript.reply("three");
    let snapshot = sandbox.wait_for("the reason", |it| reason(it, "usage:").is_some());
    let reason = reason(&snapshot, "usage:").unwrap();
    assert!(reason.contains(expected), "{reason}");
    let after = block(&snapshot, &sandbox).expect("the last block stays");
    assert_eq!((after.cost_usd, after.entries), (before.cost_usd, before.entries));
    let used_ms = session(&snapshot, "s1").last_activity_ms;
    assert!(after.as_of_ms <= used_ms, "as of {}, used at {used_ms}", after.as_of_ms);
}

#[test]
fn output_that_is_no_block_changes_no_number() {
    check_bad_output("echo 'Fetching prices…'", "cannot be understood");
}

#[test]
fn endless_output_ends_the_program() {
    check_bad_output("yes '{\"blocks\": ['", "printed more than 1048576 bytes");
}

#[test]
fn output_of_a_program_that_fails_is_ignored() {
    check_bad_output(
        "echo '{\"blocks\": []}'; echo 'Error: broken' >&2; false",
        "failed with exit code 1: Error: broken",
    );
}

// ---- Nothing else waits for them

#[test]
fn programs_that_hang_delay_neither_costs_nor_git_nor_the_first_snapshot() {
    let hanging = |n: usize| format!("[commands.c{n}]\ncommand = ['hangs']\ntimeout_ms = 10000\n");
    let config = CCUSAGE.to_owned() + &(0..15).map(hanging).collect::<String>();
    let (sandbox, mut transcript) = sandbox(&config);
    install(&sandbox, "hangs", "sleep 24");
    install(&sandbox, "ccusage", "sleep 24");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_until("as many as may run at once hang", || log(&sandbox).len() == 8);
    for n in 2..=6 {
        transcript.reply("more");
        let branch = format!("b{n}");
        sandbox.sh(&transcript.cwd, &format!("git checkout -qb {branch}"));
        sandbox.wait_for("the cost", |it| session(it, "s1").tokens.output == 42 * n);
        sandbox.wait_for("the branch", |snapshot| {
            let repo = repo_of(snapshot, "s1");
            repo.is_some_and(|it| it.branch.as_deref() == Some(&branch))
        });
    }
    let calls = log(&sandbox);
    assert!(!calls.iter().any(|it| it.starts_with("end")), "one has ended: {calls:#?}");
    assert!(calls.iter().filter(|it| it.starts_with("start ccusage")).count() <= 1, "{calls:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_watcher_leaves_no_program_behind() {
    let (sandbox, _) = sandbox(&format!("{CCUSAGE}[commands.c]\ncommand = ['hangs']\n"));
    let hangs = "trap '' TERM; sleep 100 & setsid sleep 100 & sleep 100";
    install(&sandbox, "hangs", hangs);
    install(&sandbox, "ccusage", hangs);
    let mut watcher = sandbox.start_watcher();
    sandbox.wait_until("both run", || log(&sandbox).len() == 2);
    watcher.signal(Signal::SIGKILL);
    watcher.wait(Duration::from_secs(2));
    sandbox.wait_until("nothing is left", || sandbox.processes().is_empty());
    install_ccusage(&sandbox, 5.0);
    sandbox.configure(CCUSAGE);
    assert_eq!(cost_usd(&sandbox.oneshot(), &sandbox), Some(5.0));
}

// ---- Commands

const LOAD: &str = "[commands.load]\ncommand = ['load', 'a b', '$HOME']\nevery_s = 1\n";

#[test]
fn the_first_line_of_a_command_is_published_while_a_session_lives() {
    let sandbox = Sandbox::with_root();
    sandbox.configure(LOAD);
    install(&sandbox, "load", "pwd; printf '\\n\\033[31m  0.42 \\033[0m\\nmore\\n' >&1");
    let _watcher = sandbox.start_watcher();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    assert_eq!(log(&sandbox), [""; 0], "no session lives");
    transcript.prompt("one");
    let home = sandbox.home.to_str().unwrap().to_owned();
    sandbox.wait_for("its line", |snapshot| {
        snapshot.commands.get("load").is_some_and(|it| it.output == home)
    });
    assert_eq!(log(&sandbox)[0], "start load  a b $HOME", "no shell interpreted the arguments");

    install(&sandbox, "load", "printf '\\n\\033[31m  0.42 \\033[0m\\nmore\\n'");
    sandbox.wait_for("its next line", |it| it.commands["load"].output == "0.42");
    install(&sandbox, "load", "echo 0.50; echo 'no load' >&2; false");
    let snapshot = sandbox.wait_for("the error", |it| it.commands["load"].error.is_some());
    let load = &snapshot.commands["load"];
    assert_eq!(load.output, "0.42", "its last output stays");
    assert_eq!(load.error.as_deref(), Some("failed with exit code 1: no load"));
    assert!(Now::read().wall_ms > load.as_of_ms && load.as_of_ms > 0);
    assert_eq!(reason(&snapshot, "command:load"), load.error.as_deref());
    install(&sandbox, "load", "echo 0.60");
    let snapshot = sandbox.wait_for("its next line", |it| it.commands["load"].output == "0.60");
    assert_eq!((snapshot.commands["load"].error.as_deref(), snapshot.degraded), (None, vec![]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_times_out_is_ended_with_all_its_processes() {
    let config = "[commands.load]\ncommand = ['load']\ntimeout_ms = 300\n";
    let (sandbox, _) = sandbox(config);
    install(&sandbox, "load", "export MARK=$$-hangs; trap '' TERM; setsid sleep 100 & sleep 100");
    let _watcher = sandbox.start_watcher();
    let snapshot = sandbox.wait_for("the error", |it| it.commands.contains_key("load"));
    let load = &snapshot.commands["load"];
    assert_eq!(load.error.as_deref(), Some("timed out after 0.3 s"));
    assert_eq!((load.as_of_ms, load.output.as_str()), (0, ""), "there was never any output");
    sandbox.wait_until("nothing is left", || processes_with("-hangs").is_empty());
}

#[test]
fn a_reload_starts_new_commands_and_forgets_removed_ones() {
    let (sandbox, _) = sandbox("[commands.one]\ncommand = ['echo', '1']\n");
    let watcher = sandbox.start_watcher();
    sandbox.wait_for("the first", |it| it.commands.contains_key("one"));
    sandbox.configure(&format!("{CCUSAGE}[commands.two]\ncommand = ['echo', '2']\n"));
    install_ccusage(&sandbox, 6.0);
    watcher.signal(Signal::SIGHUP);
    let snapshot = sandbox.wait_for("the second", |snapshot| {
        snapshot.commands.contains_key("two") && cost_usd(snapshot, &sandbox) == Some(6.0)
    });
    assert_eq!(snapshot.commands.keys().collect::<Vec<_>>(), ["two"]);
    sandbox.configure("");
    watcher.signal(Signal::SIGHUP);
    sandbox.wait_for("our own block", |snapshot| {
        let source = block(snapshot, &sandbox).map(|it| it.source);
        snapshot.commands.is_empty() && source == Some(BlockSource::Transcripts)
    });
}

// ---- --oneshot

#[test]
fn a_oneshot_has_the_output_of_programs_that_it_ran() {
    let (sandbox, mut transcript) = sandbox(&format!("{CCUSAGE}{LOAD}"));
    install_ccusage(&sandbox, 7.0);
    install(&sandbox, "load", "sleep 0.5; echo 0.42");
    let snapshot = sandbox.oneshot();
    assert_eq!(cost_usd(&snapshot, &sandbox), Some(7.0));
    assert_eq!(snapshot.commands["load"].output, "0.42");
    assert_eq!(log(&sandbox).len(), 4, "each ran once: {:#?}", log(&sandbox));

    let _watcher = sandbox.start_watcher();
    sandbox.oneshot();
    for n in 1..=3 {
        let cost = 10.0 * f64::from(n);
        install_ccusage(&sandbox, cost);
        transcript.reply("more");
        let snapshot = sandbox.oneshot();
        assert!(snapshot.watcher.is_some());
        assert_eq!(
            cost_usd(&snapshot, &sandbox),
            Some(cost),
            "it includes the reply right before it"
        );
    }
}

#[test]
fn a_oneshot_exits_with_1_if_a_program_failed() {
    let (sandbox, _) = sandbox(CCUSAGE);
    let output = sandbox.try_oneshot();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    assert!(reason(&snapshot, "usage:").is_some(), "{snapshot:#?}");
    assert_eq!(session(&snapshot, "s1").tokens.output, 42);
    assert!(repo_of(&snapshot, "s1").is_some());
}

// ---- The examples of docs/configuration.md

#[test]
fn the_examples_of_commands_work() {
    let docs = include_str!("../../docs/configuration.md");
    let (_, examples) = docs.split_once("### Three examples").unwrap();
    let blocks = examples.split("```toml\n").skip(1).take(3);
    let config: Vec<_> = blocks.map(|it| it.split("```").next().unwrap()).collect();
    let format = "format = \"{command.pr} {command.tests} {command.weather}\"\n";
    let (sandbox, _transcript) = sandbox(&(format.to_owned() + &config.concat()));
    install(
        &sandbox,
        "gh",
        "pwd >> ~/tools.log\n\
         [ \"$PWD\" = \"$HOME/p\" ] || { echo no pull requests found >&2; exit 1; }\n\
         echo '{\"number\": 12, \"state\": \"OPEN\", \"reviewDecision\": \"APPROVED\"}'",
    );
    sandbox.session("s2", &sandbox.repo("q")).reply("in a repository without either");
    install(&sandbox, "curl", "echo '+12C Sunny'");
    write_script(&sandbox.path("p/test"), "#!/bin/sh\necho \"passed=7\"; echo \"failed=0\"\n");
    let _watcher = sandbox.start_watcher();
    let line = || fs_err::read_to_string(sandbox.state.join("lines/s1")).unwrap_or_default();
    sandbox.wait_until("all three", || {
        let line = line();
        line.contains("#12 APPROVED") && line.contains("7 passed") && line.contains("+12C Sunny")
    });
    let repo = sandbox.path("p").display().to_string();
    assert!(log(&sandbox).contains(&repo), "gh runs in the repository");
    let snapshot = sandbox.wait_for("the other repository", |snapshot| {
        let of_other = |it: &str| it.ends_with(" of /q") || it.ends_with("/q");
        snapshot.commands.keys().filter(|it| of_other(it)).count() == 2
    });
    assert!(snapshot.degraded.is_empty(), "{:?}", snapshot.degraded);
    sandbox.wait_for("the first answer of git", |it| repo_of(it, "s1").is_some());

    write_script(&sandbox.path("p/test"), "#!/bin/sh\necho \"passed=6\"; echo \"failed=1\"\n");
    sandbox.sh(&sandbox.path("p"), "git checkout -q -b topic");
    sandbox.wait_until("the tests of the new branch", || line().contains("6 passed, 1 failed"));
}
