//! Trees of transcripts on a disk, read while they grow, and compared with sums that the tests
//! compute themselves.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use ccstatusd::fetch::claude::layout::{self, FileKind};
use ccstatusd::fetch::claude::transcript::TranscriptFacts;
use ccstatusd::fetch::tail::{self, Cursor, ReadLimits};
use ccstatusd::store::schema::{SessionId, Usage};
use ccstatusd::usage::ledger::{Ledger, SessionTotals};
use ccstatusd::usage::prices::Prices;
use ccstatusd::usage::reply::{Origin, Replies};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::Index;

const NOW: i64 = 1_795_435_200_000;

/// So small that every case reaches every bound.
const SMALL: ReadLimits =
    ReadLimits { bytes: 900, entries: 3, line: 2000, string: 200, chunk: 128 };

const SESSIONS: [&str; 3] = ["s-a", "s-b", "s-c"];

const FILES: [&str; 5] = [
    "projects/p/s-a.jsonl",
    "projects/p/s-b.jsonl",
    "projects/q/s-c.jsonl",
    "projects/p/s-a/subagents/workflows/w/agent-1.jsonl",
    "projects/q/agent-2.jsonl",
];

/// A copy of a reply: one line in one of [`FILES`].
#[derive(Clone, Debug)]
struct ReplyLine {
    file: usize,
    reply: u32,
    output: u64,
    minutes_ago: i64,
}

fn any_line() -> impl Strategy<Value = ReplyLine> {
    (0..FILES.len(), 0..12_u32, 1..9_u64, 0..3000_i64).prop_map(
        |(file, reply, output, minutes_ago)| ReplyLine { file, reply, output, minutes_ago },
    )
}

impl ReplyLine {
    fn is_side(&self) -> bool {
        FILES[self.file].contains("agent-")
    }

    fn at_ms(&self) -> i64 {
        NOW - self.minutes_ago * 60_000
    }

    /// The session that the path names; in the old layout, the one that the line names.
    fn session(&self) -> &'static str {
        match self.file {
            3 => SESSIONS[0],
            4 => SESSIONS[1],
            file => SESSIONS[file],
        }
    }

    fn json(&self) -> String {
        self.json_at(self.at_ms())
    }

    fn json_at(&self, at_ms: i64) -> String {
        let at = jiff::Timestamp::from_millisecond(at_ms).expect("is a time");
        let ReplyLine { reply, output, .. } = self;
        let (side, session) = (self.is_side(), self.session());
        let long = "é🚀".repeat(if reply % 4 == 0 { 600 } else { 3 });
        format!(
            r#"{{"type":"assistant","isSidechain":{side},"sessionId":"{session}","timestamp":"{at}","requestId":"req_{reply}","message":{{"id":"msg_{reply}","model":"claude-opus-4-8","content":[{{"type":"text","text":"{long}"}}],"usage":{{"input_tokens":2,"output_tokens":{output},"cache_read_input_tokens":{reply}}}}}}}"#
        ) + "\n"
    }
}

/// The expected (entries, output tokens, cache reads) of each session.
fn truth(files: &[Vec<ReplyLine>]) -> BTreeMap<&'static str, (u64, u64, u64)> {
    let mut winners: BTreeMap<u32, &ReplyLine> = BTreeMap::new();
    let mut paths: Vec<usize> = (0..FILES.len()).collect();
    paths.sort_by_key(|it| FILES[*it]);
    for line in paths.iter().flat_map(|it| &files[*it]) {
        let best = winners.entry(line.reply).or_insert(line);
        if (!line.is_side(), line.output) > (!best.is_side(), best.output) {
            *best = line;
        }
    }
    let mut sessions = BTreeMap::<_, (u64, u64, u64)>::new();
    for line in winners.values() {
        let sums = sessions.entry(line.session()).or_default();
        *sums = (sums.0 + 1, sums.1 + line.output, sums.2 + u64::from(line.reply));
    }
    sessions
}

/// Reads files and counts their entries as the watcher does.
struct Reader {
    root: PathBuf,
    ledger: Ledger,
    known: BTreeMap<usize, (Cursor, TranscriptFacts)>,
}

impl Reader {
    fn new(root: &Path) -> Reader {
        let ledger = Ledger::new(Prices::builtin());
        Reader { root: root.to_owned(), ledger, known: BTreeMap::new() }
    }

    fn read(&mut self, file: usize) {
        let path = self.root.join(FILES[file]);
        let session = match layout::classify(&self.root, &path).expect("is a transcript") {
            FileKind::Transcript(session) | FileKind::Subagent(session) => Some(session),
            FileKind::OldSubagent | FileKind::Copy(_) | FileKind::Process(_) => None,
        };
        let session = session.map(|it| it.0.into());
        let origin = Origin { file: FILES[file].into(), session, ..Origin::default() };
        let mut replies = Replies::of(origin);
        let mut reader = tail::Reader::new(SMALL);
        loop {
            let tail = reader.read_tail(&path, self.known.remove(&file)).expect("can read");
            for (offset, entry) in &tail.entries {
                self.ledger.add(&replies.make(*offset, entry));
            }
            assert_eq!(tail.facts.skipped_lines, 0);
            self.known.insert(file, (tail.cursor, tail.facts));
            if !tail.has_more {
                return;
            }
        }
    }

    /// Reads all files from their beginnings.
    fn read_cold(&mut self) {
        self.known.clear();
        (0..FILES.len()).for_each(|it| self.read(it));
    }

    fn views(&self) -> (Usage, Vec<Option<SessionTotals>>) {
        let session =
            |it: &&str| self.ledger.session(&SessionId::checked(it).expect("is a session id"));
        let usage = self.ledger.usage(NOW, &TimeZone::UTC, Weekday::Monday);
        (usage, SESSIONS.iter().map(session).collect())
    }
}

struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Tree {
        let tree = Tree { dir: tempfile::tempdir().expect("can write") };
        for file in 0..FILES.len() {
            let path = tree.path(file);
            fs_err::create_dir_all(path.parent().expect("has one")).expect("can write");
            fs_err::write(path, "").expect("can write");
        }
        tree
    }

    fn path(&self, file: usize) -> PathBuf {
        self.dir.path().join(FILES[file])
    }

    fn append(&self, file: usize, bytes: &[u8]) {
        let file = fs_err::OpenOptions::new().append(true).open(self.path(file));
        file.and_then(|mut it| it.write_all(bytes)).expect("can write");
    }
}

fn bytes(lines: &[ReplyLine]) -> Vec<u8> {
    lines.iter().map(ReplyLine::json).collect::<String>().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Files grow piece by piece in any order, pieces end within lines and characters, one file is
    /// truncated and one replaced. A reader that followed all of it must have the sums over
    /// everything that was ever there, and so must one that read each state from its beginning.
    #[test]
    fn reading_a_tree_while_it_grows_finds_what_reading_it_at_the_end_finds(
        lines in prop::collection::vec(any_line(), 1..40),
        pieces in prop::collection::vec((0..FILES.len(), any::<Index>()), 0..30),
        truncated in (0..FILES.len(), any::<Index>()),
        replaced in (0..FILES.len(), any::<Index>()),
    ) {
        let tree = Tree::new();
        let mut reader = Reader::new(tree.dir.path());
        let mut files: Vec<Vec<ReplyLine>> = vec![Vec::new(); FILES.len()];
        for line in &lines {
            files[line.file].push(line.clone());
        }

        let mut written = [0; FILES.len()];
        for (file, end) in pieces {
            let all = bytes(&files[file]);
            let n = end.index(all.len() - written[file] + 1);
            tree.append(file, &all[written[file]..written[file] + n]);
            written[file] += n;
            reader.read(file);
        }
        for file in 0..FILES.len() {
            tree.append(file, &bytes(&files[file])[written[file]..]);
            reader.read(file);
        }

        let mut cold = Reader::new(tree.dir.path());
        cold.read_cold();
        prop_assert_eq!(reader.views(), cold.views());
        let all = files.clone();

        let (file, n) = (truncated.0, truncated.1.index(files[truncated.0].len() + 1));
        files[file].truncate(n);
        fs_err::write(tree.path(file), bytes(&files[file])).expect("can write");
        reader.read(file);
        cold.read_cold();

        let (file, n) = (replaced.0, replaced.1.index(files[replaced.0].len() + 1));
        files[file].rotate_left(n);
        let fresh = tree.dir.path().join("fresh");
        fs_err::write(&fresh, bytes(&files[file])).expect("can write");
        fs_err::rename(&fresh, tree.path(file)).expect("can rename");
        reader.read(file);
        cold.read_cold();
        prop_assert_eq!(reader.views(), cold.views());

        let truth = truth(&all);
        for (name, session) in SESSIONS.iter().zip(cold.views().1) {
            let found = session.map(|session| {
                let tokens = session.totals.tokens;
                (session.n_entries, tokens.output, tokens.cache_read)
            });
            prop_assert_eq!(found, truth.get(name).copied(), "{}", name);
        }
    }
}

/// The usage and the sessions that a run of the program publishes, without what depends on the time
/// of the run.
#[expect(clippy::disallowed_methods, reason = "the program itself, which ends by itself")]
fn published(root: &Path, state_dir: &Path) -> serde_json::Value {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_ccstatusd"))
        .args(["--oneshot", "--json"])
        .env_clear()
        .env("HOME", root)
        .env("CLAUDE_CONFIG_DIR", root)
        .env("CCSTATUSD_DIR", state_dir)
        .env("TZ", "UTC")
        .output()
        .expect("can run");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut snapshot: serde_json::Value = serde_json::from_slice(&done.stdout).expect("is JSON");
    let mut root = snapshot["roots"][root.to_str().expect("is text")]["usage"].take();
    root["as_of_ms"].take();
    for field in ["burn", "projection"] {
        root["block"].as_object_mut().and_then(|block| block.remove(field));
    }
    let mut sessions = snapshot["sessions"].take();
    for session in sessions.as_object_mut().into_iter().flat_map(|it| it.values_mut()) {
        // For a file that was read before, the time is its modification time; for a new one, the
        // time of its newest line.
        for field in ["/last_activity_ms", "/live", "/cost/as_of_ms"] {
            session.pointer_mut(field).map(serde_json::Value::take);
        }
    }
    serde_json::json!([root, sessions])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 40))]

    /// Files are appended to and truncated between runs. A run that starts from a checkpoint must
    /// publish the same as a run that reads everything.
    #[test]
    fn a_restart_finds_what_a_cold_scan_finds(
        steps in prop::collection::vec((any_line(), any::<Index>(), 0..4_u8), 1..8),
    ) {
        let tree = Tree::new();
        let root = fs_err::canonicalize(tree.dir.path()).expect("is there");
        let kept = root.join("kept");
        let now = ccstatusd::time::Now::read().wall_ms;
        for (n, (line, cut, what)) in steps.iter().enumerate() {
            // So long ago that no block is open, and none can end between two runs.
            let json = line.json_at(now - 6 * 3_600_000 - line.minutes_ago * 1000);
            match what {
                // The beginning of a line. The next step may complete it or make it invalid.
                0 => tree.append(line.file, &json.as_bytes()[..cut.index(json.len())]),
                1 => {
                    let bytes = fs_err::read(tree.path(line.file)).expect("can read");
                    let end = cut.index(bytes.len() + 1);
                    fs_err::write(tree.path(line.file), &bytes[..end]).expect("can write");
                }
                _ => tree.append(line.file, json.as_bytes()),
            }
            let cold = root.join(format!("cold-{n}"));
            prop_assert_eq!(published(&root, &kept), published(&root, &cold), "step {}", n);
        }
        prop_assert!(kept.join("checkpoint").exists());
    }
}
