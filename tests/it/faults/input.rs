//! Input that others write: any bytes are read or refused, and none reach a terminal raw.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use ccstatusd::store::schema::{ClientFacts, Model};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::times;
use crate::sandbox::{Sandbox, repo_of, session, text};

#[path = "../../../fuzz/targets.rs"]
mod targets;

/// One change to a file of the corpus.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Words that break parsers, and words that control terminals.
    let words: Vec<Vec<u8>> = [
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\0",
        "\n",
        "null",
        "-1",
        "1e999",
        "18446744073709551616",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{9b}",
        "\u{feff}",
        "\"\"",
        " ",
        "é",
        "# branch.ab +",
        "'",
        "=",
        "#",
    ]
    .iter()
    .map(|it| it.as_bytes().to_vec())
    .collect();
    let word = prop_oneof![
        prop::sample::select(words),
        prop::collection::vec(any::<u8>(), 1..5),
        (any::<u8>(), 1..3000_usize).prop_map(|(byte, n)| vec![byte; n]),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, it)| Edit::Set(at, it)),
        (any::<Index>(), word).prop_map(|(at, it)| Edit::Insert(at, it)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, n)| Edit::Remove(at, n)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, n)| Edit::Repeat(at, n)),
        any::<Index>().prop_map(Edit::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: Edit) {
    let position = |at: Index| at.index(bytes.len() + 1);
    match edit {
        Edit::Set(at, new) => {
            let at = position(at).min(bytes.len().saturating_sub(1));
            bytes.get_mut(at).into_iter().for_each(|byte| *byte = new);
        }
        Edit::Insert(at, word) => {
            let at = position(at);
            bytes.splice(at..at, word);
        }
        Edit::Remove(at, n) => {
            let at = position(at);
            let end = (at + usize::from(n)).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Repeat(at, n) => {
            let at = position(at);
            let end = (at + usize::from(n)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        Edit::Cut(at) => bytes.truncate(position(at)),
    }
}

/// Runs the target on each file of the corpus, on random changes to them, and on random bytes.
#[track_caller]
fn check(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|it| fs_err::read(it).unwrap()).collect();
    assert!(!corpus.is_empty(), "no corpus in {}", dir.display());
    corpus.iter().for_each(|it| target(it));
    let cases = u32::try_from(times(300, 20_000)).unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mutated = (prop::sample::select(corpus), prop::collection::vec(edit(), 1..8));
    let bytes = prop_oneof![
        6 => mutated.prop_map(|(mut bytes, edits)| {
            edits.into_iter().for_each(|it| apply(&mut bytes, it));
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    let res = TestRunner::new(config).run(&bytes, |input| {
        target(&input);
        Ok::<_, TestCaseError>(())
    });
    if let Err(err) = res {
        panic!("{name}: {err}");
    }
}

#[test]
fn any_transcript_line_is_read() {
    check("transcript_line", targets::transcript_line);
}

#[test]
fn any_document_on_standard_input_is_read() {
    check("stdin_document", targets::stdin_document);
}

#[test]
fn any_output_of_git_is_read() {
    check("porcelain", targets::porcelain);
}

#[test]
fn any_configuration_is_read_or_refused() {
    check("configuration", targets::configuration);
}

#[test]
fn any_price_list_is_read_or_refused() {
    check("price_list", targets::price_list);
}

#[test]
fn any_snapshot_is_read_or_refused() {
    check("snapshot", targets::snapshot);
}

/// Controls a terminal, by each kind of sequence.
const EVIL: &str = "\u{1b}]0;evil\u{7}\u{1b}[31m\u{9b}2J\u{202e}\u{2066}x";

#[test]
fn nothing_that_others_wrote_reaches_a_terminal_raw() {
    let mut sandbox = Sandbox::with_root();
    sandbox.set_env("CCSTATUSD_LOG", "debug");
    let repo = sandbox.repo(&format!("p{EVIL}"));
    // Git forbids only ASCII's control characters in a branch's name.
    sandbox.sh(&repo, "git checkout -qb \"$(printf 'b\\302\\2332J\\342\\200\\256')\"");
    let mut transcript = sandbox.session("s1", &repo);
    transcript.prompt(EVIL);
    transcript.reply(EVIL);
    let title = serde_json::json!({"type": "custom-title", "customTitle": EVIL});
    transcript.append(&format!("{title}\n"));
    for id in ["..", "../../escaped", "a\u{1b}b", ".hidden"] {
        let line = transcript.reply_line("x").replace("\"s1\"", &serde_json::json!(id).to_string());
        transcript.append(&line);
    }
    let lines = fs_err::File::create(sandbox.path("printed")).unwrap();
    let mut command = sandbox.ccstatusd();
    command.arg("--print").stdout(lines.into_parts().0);
    let watcher = sandbox.spawn_watcher(command);
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    sandbox.hint(&ClientFacts {
        session_id: Some("s1".to_owned()),
        session_name: Some(EVIL.to_owned()),
        model: Some(Model { id: EVIL.to_owned(), display_name: Some(EVIL.to_owned()) }),
        transcript_path: Some(transcript.path.to_str().unwrap().to_owned()),
        cost_usd: Some(1.0),
        ..ClientFacts::default()
    });
    let snapshot = sandbox.wait_for("the hint", |it| session(it, "s1").model.is_some());
    assert!(repo_of(&snapshot, "s1").unwrap().branch.as_ref().unwrap().contains('\u{9b}'));

    let mut shown: Vec<(String, String)> = Vec::new();
    for args in [&["--oneshot"][..], &["--oneshot", "--json"], &["show"], &["prices", EVIL]] {
        let output = sandbox.ccstatusd().args(args).stdin(Stdio::null()).output().unwrap();
        shown.push((format!("{args:?}"), text(&output)));
    }
    let mut evil_dir = sandbox.ccstatusd();
    evil_dir.env("CCSTATUSD_DIR", format!("/proc/{EVIL}")).arg("--oneshot");
    shown.push(("an error".to_owned(), text(&evil_dir.output().unwrap())));
    for entry in fs_err::read_dir(sandbox.state.join("lines")).unwrap().flatten() {
        let line = fs_err::read_to_string(entry.path()).unwrap();
        shown.push((entry.path().display().to_string(), line));
    }
    let mut watcher = watcher;
    watcher.signal(nix::sys::signal::Signal::SIGTERM);
    watcher.wait(std::time::Duration::from_secs(5));
    shown.push(("the log".to_owned(), watcher.log()));
    let printed = fs_err::read_to_string(sandbox.path("printed")).unwrap();
    assert!(printed.contains("s1"), "{printed:?}");
    shown.push(("--print".to_owned(), printed));
    for (what, text) in shown {
        // Our own colours, and ends of lines.
        let text = ccstatusd::display::ansi::without_colour(&text).replace(['\n', '\t'], " ");
        let checked = std::panic::catch_unwind(|| targets::check_harmless(&text));
        assert!(checked.is_ok(), "{what}: {text:?}");
    }
    assert!(!sandbox.path("escaped").exists() && !sandbox.state.join("escaped").exists());
}
