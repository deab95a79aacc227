//! `ccstatusd usage`, as its users run it.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::{Sandbox, text};

#[track_caller]
fn usage(sandbox: &Sandbox, args: &[&str]) -> Output {
    let output = sandbox.ccstatusd().arg("usage").args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    output
}

#[track_caller]
fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    let output = usage(sandbox, args);
    assert!(output.stderr.is_empty(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The error that it prints.
#[track_caller]
fn refused(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.ccstatusd().arg("usage").args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
    assert!(output.stdout.is_empty());
    text(&output)
}

fn n_replies(document: &Value) -> u64 {
    document["accounts"][0]["totals"]["replies"].as_u64().unwrap()
}

#[test]
fn without_a_watcher_it_counts_what_was_appended_since() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    for n in 1..=3 {
        transcript.reply("more");
        assert_eq!(n_replies(&json(&sandbox, &["daily", "--json"])), n);
    }
    fs_err::remove_dir_all(sandbox.root().join("projects")).unwrap();
    assert_eq!(n_replies(&json(&sandbox, &["daily", "--json"])), 3, "the record is kept");
}

#[test]
fn beside_a_watcher_it_is_in_step_with_it() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let _watcher = sandbox.start_watcher();
    for n in 1..=20 {
        transcript.reply("more");
        assert_eq!(n_replies(&json(&sandbox, &["daily", "--json"])), n);
    }
}

#[test]
fn a_watcher_that_is_killed_meanwhile_is_no_hindrance() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let mut watcher = sandbox.start_watcher();
    transcript.reply("one");
    watcher.signal(Signal::SIGKILL);
    watcher.wait(crate::sandbox::CAP);
    assert_eq!(n_replies(&json(&sandbox, &["daily", "--json"])), 1);
}

#[test]
fn every_report_is_printed_in_every_form() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    transcript.agent("a").reply("two");
    let reports = [
        "daily", "weekly", "monthly", "blocks", "sessions", "projects", "models", "branches",
        "agents",
    ];
    for report in reports {
        let document = json(&sandbox, &[report, "--json"]);
        assert_eq!((&document["report"], n_replies(&document)), (&report.into(), 2), "{report}");
        let table = text(&usage(&sandbox, &[report]));
        assert!(table.contains("Total") && !table.contains('\u{1b}'), "{table}");
        let csv = text(&usage(&sandbox, &[report, "--csv", "--by", "model"]));
        assert!(csv.lines().count() >= 2 && csv.contains("claude-opus-4-8"), "{csv}");
    }
    let overview = json(&sandbox, &["--json"]);
    assert_eq!(overview["accounts"][0]["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(overview["accounts"][0]["windows"]["today"]["replies"], 2);
    let sessions = json(&sandbox, &["sessions", "--format", "ccusage"]);
    assert_eq!(sessions["sessions"][0]["sessionId"], "s1");
    let sessions = json(&sandbox, &["session", "--json", "-O", "--format", "ccusage-unified"]);
    assert_eq!(sessions["session"][0]["period"], "s1");
}

#[test]
fn accounts_are_apart_unless_they_are_to_be_summed() {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let work = sandbox.path("work");
    let mut other = crate::transcripts::Transcript::new(&work, "-w", "s2", &sandbox.path("p"));
    other.reply("two");
    let roots = format!("{},{}", sandbox.root().display(), work.display());
    sandbox.set_env("CLAUDE_CONFIG_DIR", roots);
    let apart = json(&sandbox, &["daily", "--json"]);
    assert_eq!(apart["accounts"].as_array().map(Vec::len), Some(2));
    let table = text(&usage(&sandbox, &["daily"]));
    assert!(table.contains("~/.claude\n") && table.contains("~/work\n"), "{table}");
    let sum = json(&sandbox, &["daily", "--json", "--sum"]);
    assert_eq!((sum["accounts"].as_array().map(Vec::len), n_replies(&sum)), (Some(1), 2));
    let one = json(&sandbox, &["daily", "--json", "--root", "~/work"]);
    assert_eq!((one["accounts"].as_array().map(Vec::len), n_replies(&one)), (Some(1), 1));
    let err = refused(&sandbox, &["daily", "--root", "~/other"]);
    assert!(err.contains("other: it has no record") && err.contains("/work"), "{err}");
}

#[test]
fn what_it_cannot_do_it_says_with_what_to_do() {
    let (sandbox, _) = Sandbox::with_session();
    for (args, why) in [
        (&["daily", "--since", "2026-13-01"][..], "cannot use --since 2026-13-01"),
        (&["--until", "soon"], "give a day as 2026-11-25"),
        (&["--since", "today", "--until", "yesterday"], "exchange --since and --until"),
        (&["--timezone", "Mars/Base"], "cannot use --timezone Mars/Base"),
        (&["projects", "--format", "ccusage"], "cannot print projects as ccusage does"),
        (&["--month-from", "32"], "1..=31"),
        (&["--csv", "--json"], "cannot be used with"),
    ] {
        let err = refused(&sandbox, args);
        assert!(err.contains(why), "{args:?}: {err}");
    }
}

#[test]
fn without_any_usage_it_says_so_and_succeeds() {
    let sandbox = Sandbox::with_root();
    let table = text(&usage(&sandbox, &["daily"]));
    assert!(table.starts_with("nothing was used from "), "{table}");
    assert_eq!(json(&sandbox, &["daily", "--json"])["version"], 1);
    let document = json(&sandbox, &["daily", "--format", "ccusage"]);
    assert_eq!(document["daily"], Value::Array(Vec::new()));
    assert_eq!(document["totals"]["totalCost"], 0.0);
}

#[test]
fn damage_of_the_record_is_a_warning_beside_the_report() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    usage(&sandbox, &["daily"]);
    let journal = sandbox.path(".local/share/ccstatusd/journal/00000099.jsonl");
    fs_err::write(&journal, "{\"ccstatusd\":\"journal\",\"format\":1}\nnonsense\n").unwrap();
    let output = usage(&sandbox, &["daily", "--json"]);
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        warnings.contains("ccstatusd: warning:") && warnings.contains("00000099"),
        "{warnings}"
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((n_replies(&document), document["problems"].as_array().map(Vec::len)), (1, Some(1)));
}

#[test]
fn replies_that_are_older_than_every_window_are_reported() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let line = r#"{"type":"assistant","timestamp":"2025-02-03T10:00:00Z","sessionId":"old","requestId":"r","message":{"id":"msg_old","model":"claude-opus-4-8","usage":{"input_tokens":1,"output_tokens":1}}}"#;
    let old = sandbox.session("old", &sandbox.path("p"));
    old.append(&format!("{line}\n"));
    let since_2025 = ["daily", "--since", "2025-01-01", "--json"];
    let document = json(&sandbox, &since_2025);
    assert_eq!(
        (n_replies(&document), document["accounts"][0]["rows"][0]["start"].as_str()),
        (2, Some("2025-02-03"))
    );
    assert_eq!(document["accounts"][0]["complete_since"], "2025-02-03");
    let _watcher = sandbox.start_watcher();
    assert_eq!(n_replies(&json(&sandbox, &since_2025)), 2);
}

/// The name of the file of the present month in the record.
fn this_month() -> String {
    let now = jiff::Timestamp::from_millisecond(ccstatusd::time::Now::read().wall_ms).unwrap();
    now.strftime("%Y-%m.jsonl").to_string()
}

#[test]
fn an_export_that_lacks_something_says_so_and_does_not_succeed() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let _watcher = sandbox.start_watcher();
    transcript.reply("one");
    assert_eq!(n_replies(&json(&sandbox, &["daily", "--json"])), 1);
    let data = sandbox.path(".local/share/ccstatusd");
    let month = this_month();
    let account = ccstatusd::store::record::account_dir(&data, &sandbox.root());
    fs_err::create_dir_all(&account).unwrap();
    let path = account.join(&month);
    fs_err::write(&path, "").unwrap();
    let file = sandbox.path("export.jsonl");

    let err = refused(&sandbox, &["export", file.to_str().unwrap()]);
    let parts =
        ["cannot read all of the record of usage", path.to_str().unwrap(), "hint: put a copy"];
    assert!(parts.iter().all(|it| err.contains(it)), "{err}");
    assert!(!file.exists(), "nothing is written");

    fs_err::rename(&path, account.join(format!("{month}.unreadable-1"))).unwrap();
    let args = ["usage", "export", file.to_str().unwrap()];
    let output = sandbox.ccstatusd().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("set aside: the export lacks"), "{}", text(&output));
    let written = fs_err::read_to_string(&file).unwrap();
    assert!(written.contains("claude-opus-4-8"), "{written}");

    fs_err::remove_file(account.join(format!("{month}.unreadable-1"))).unwrap();
    usage(&sandbox, &args[1..]);
}

#[test]
fn an_export_is_written_where_the_user_is() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let mut command = sandbox.ccstatusd();
    command.args(["usage", "export", "export.jsonl"]).current_dir(sandbox.path("p"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let written = fs_err::read_to_string(sandbox.path("p/export.jsonl")).unwrap();
    assert!(written.contains("claude-opus-4-8"), "{written}");
}

#[test]
fn an_import_names_what_it_had_to_set_aside() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("one");
    let file = sandbox.path("export.jsonl");
    usage(&sandbox, &["export", file.to_str().unwrap()]);
    let data = sandbox.path(".local/share/ccstatusd");
    let account = ccstatusd::store::record::account_dir(&data, &sandbox.root());
    fs_err::create_dir_all(&account).unwrap();
    fs_err::set_permissions(&account, PermissionsExt::from_mode(0o700)).unwrap();
    let month = account.join(this_month());
    for has_watcher in [false, true] {
        let _watcher = has_watcher.then(|| sandbox.start_watcher());
        fs_err::write(&month, "").unwrap();
        let err = refused(&sandbox, &["import", file.to_str().unwrap()]);
        let parts = ["the export was brought in, but", month.to_str().unwrap(), "hint: "];
        assert!(parts.iter().all(|it| err.contains(it)), "{err}");
    }
}
