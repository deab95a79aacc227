//! The snapshot and the checkpoint, compared byte by byte with those that were written before after
//! the same events. Other versions read both files.

use super::*;
use crate::store::schema::{BlockSource, PullRequest};
use crate::store::snapshot;

/// A watcher with two accounts, three sessions and a subagent, in which every kind of fact is known
/// and every kind of source has failed.
fn story() -> Sim {
    let command = |program: &str| Tool {
        what: exec::Invocation {
            program: program.into(),
            args: Vec::new(),
            dir: None,
            env: Vec::new(),
            input: Vec::new(),
        },
        limits: tool::TOOL_LIMITS,
        every: Duration::from_secs(60),
    };
    let mut sim = Sim::configured(
        Settings {
            block_tool: Some(command("ccusage")),
            commands: [("load".to_owned(), command("uptime")), ("bad".to_owned(), command("bad"))]
                .into(),
            config: vec!["/c/config.toml".into()],
            ..settings(&["/q", "/r"])
        },
        None,
    );
    sim.list_root("/r", &["a", "b"]);
    sim.list_root("/q", &["c"]);
    sim.reply("/r/projects/p/a.jsonl", "/w/a", "claude-opus-4-8");
    sim.reply("/r/projects/p/b.jsonl", "/w/b", "claude-sonnet-4-5");
    sim.reply("/q/projects/p/c.jsonl", "/none", "model-of-nobody");
    sim.found_tree("/w/a", "/w/a");
    sim.found_tree("/w/b", "/w/b");
    sim.fetched(Outcome::Tree("/none".into(), None));
    sim.changed("/r/projects/p/a");
    sim.changed("/r/projects/p/a/subagents");
    sim.changed("/r/projects/p/a/subagents/agent-1.jsonl");
    sim.reply("/r/projects/p/a/subagents/agent-1.jsonl", "/w/a", "claude-haiku-4-5");
    let agents = ["/r/projects/p/a", "/r/projects/p/a/subagents"];
    for dir in ["/w/a/.git", "/w/b/.git", "/none", "/c"].into_iter().chain(agents) {
        sim.list(dir, &[]);
    }
    sim.pass_ms(1000);
    sim.git_answers("/w/a", "main");
    sim.git_failed("/w/b");
    let file = SessionFile {
        pid: 42,
        session_id: SessionId::checked("a"),
        name: Some("deploy".to_owned()),
        ..SessionFile::default()
    };
    let process = Process { file, is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process("/r/sessions/42.json".into(), Ok(process)));
    let limit = |used_percentage, after_ms| {
        let resets_at_ms = sim.now.wall_ms + after_ms;
        Some(Limit { used_percentage, resets_at_ms, ..Limit::default() })
    };
    let limits = Limits {
        five_hour: limit(61.5, HOUR_MS),
        seven_day: limit(96.0, 48 * HOUR_MS),
        ..Limits::default()
    };
    let told = ClientFacts {
        session_name: Some("the name".to_owned()),
        cwd: Some("/w/a".to_owned()),
        model: Some(schema::Model {
            id: "claude-opus-4-8".to_owned(),
            display_name: Some("Opus 4.8".to_owned()),
        }),
        cost_usd: Some(1.25),
        context_tokens: Some(120_000),
        context_window: Some(1_000_000),
        context_used_percentage: Some(12.0),
        limits,
        duration_ms: Some(61_000),
        lines: Some(schema::Lines { added: 3, removed: 1 }),
        pr: Some(PullRequest {
            number: 12,
            url: Some("https://example.org/12".to_owned()),
            review_state: Some("approved".to_owned()),
            kind: Some("pr".to_owned()),
        }),
        output_style: Some("default".to_owned()),
        client_version: Some("2.1.332".to_owned()),
        ..ClientFacts::default()
    };
    sim.hint("/r", "a", told);
    let block = schema::Block {
        cost_usd: 3.5,
        as_of_ms: sim.now.wall_ms,
        end_ms: sim.now.wall_ms + HOUR_MS,
        source: BlockSource::Ccusage,
        ..schema::Block::default()
    };
    sim.fetched(Outcome::Block("/r".into(), Ok(Some(block))));
    let failed =
        || tool::ToolError::Failed(exec::RunError::TimedOut { after: Duration::from_secs(35) });
    sim.fetched(Outcome::Block("/q".into(), Err(failed())));
    let facts = schema::CommandOutput {
        as_of_ms: sim.now.wall_ms,
        output: "0.42".to_owned(),
        ..schema::CommandOutput::default()
    };
    sim.fetched(Outcome::Command("load".to_owned(), Ok(facts)));
    sim.fetched(Outcome::Command("bad".to_owned(), Err(failed())));
    sim.changed("/r/projects/p/b.jsonl");
    let denied = io::Error::new(io::ErrorKind::PermissionDenied, "permission denied");
    sim.fetched(Outcome::Transcript("/r/projects/p/b.jsonl".into(), Err(denied)));
    sim.event(Event::Configured(Err(invalid("line 3, column 1: unknown key"))));
    sim.pass_ms(1000);
    sim.event(Event::Lost);
    sim.pass_ms(1000);
    assert!(sim.state.sources.is_scanned(), "the snapshot has sums");
    sim
}

/// Compares with a file of `tests/data/golden`. If it differs, writes what was found to the
/// directory for temporary files. If the difference is intended, copy it from there.
#[track_caller]
fn check(name: &str, found: &[u8]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/data/golden").join(name);
    let before = fs_err::read(&path).unwrap_or_default();
    if before != found {
        let left = std::env::temp_dir().join(format!("ccstatusd-golden-{name}"));
        fs_err::write(&left, found).unwrap();
        panic!("{} differs from what was found, which is in {}", path.display(), left.display());
    }
}

#[test]
fn the_snapshot_is_byte_for_byte_as_before() {
    let snapshot = story().snapshot();
    check("snapshot.json", &snapshot::to_bytes(&snapshot).unwrap());
}

/// Fields were added since, and none was removed or got another meaning.
#[test]
fn the_first_versions_snapshot_is_read_and_says_the_same_today() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/snapshot-1.json");
    let before = fs_err::read(path).unwrap();
    snapshot::parse(&before).unwrap();
    let before: serde_json::Value = serde_json::from_slice(&before).unwrap();
    let now = serde_json::to_value(story().snapshot()).unwrap();
    check_contains(&now, &before, "");
}

/// Checks that every value of `before` is in `now`, at the same place.
#[track_caller]
fn check_contains(now: &serde_json::Value, before: &serde_json::Value, at: &str) {
    use serde_json::Value::{Array, Object};
    match (now, before) {
        (Object(now), Object(before)) => {
            for (key, before) in before {
                let Some(now) = now.get(key) else { panic!("{at}/{key} is missing") };
                check_contains(now, before, &format!("{at}/{key}"));
            }
        }
        (Array(now), Array(before)) => {
            assert_eq!(now.len(), before.len(), "{at}");
            for (nth, (now, before)) in now.iter().zip(before).enumerate() {
                check_contains(now, before, &format!("{at}/{nth}"));
            }
        }
        (now, before) => assert_eq!(now, before, "{at}"),
    }
}

#[test]
fn the_checkpoint_is_byte_for_byte_that_of_the_second_format() {
    let sim = story();
    check("checkpoint-2", &postcard::to_stdvec(&sim.state.checkpoint(None)).unwrap());
}

/// A process that restores the golden checkpoint would write the same one.
#[test]
fn the_second_formats_checkpoint_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/checkpoint-2");
    let before = fs_err::read(path).unwrap();
    let mut sim = Sim::new(&["/q", "/r"]);
    let effects = sim.state.restore(postcard::from_bytes(&before).unwrap(), sim.now);
    sim.effects.extend(effects);
    assert_eq!(sim.state.transcripts.paths().len(), 4);
    check("checkpoint-2", &postcard::to_stdvec(&sim.state.checkpoint(None)).unwrap());
}
