//! Fuzz targets: one function for each kind of input that other programs or people write.
//!
//! Each takes any bytes. It must not panic, what is kept of the bytes must be bounded, and what is
//! shown of them must not steer a terminal. `cargo fuzz` runs these functions, and so does
//! `tests/it/faults/input.rs` in every test run.

use std::collections::BTreeMap;
use std::io;

use ccstatusd::config::{self, Config};
use ccstatusd::display;
use ccstatusd::display::ansi::without_colour;
use ccstatusd::display::view::{Around, Source, Style, View, Watcher};
use ccstatusd::fetch::claude::client;
use ccstatusd::fetch::claude::transcript::{Fold, TranscriptFacts};
use ccstatusd::fetch::git::porcelain;
use ccstatusd::price_list::Placed;
use ccstatusd::state::State;
use ccstatusd::state::settings::{Mode, Settings};
use ccstatusd::store::schema::display::Depth;
use ccstatusd::store::schema::{self, ClientFacts, RepoKey, Session, SessionId, Snapshot};
use ccstatusd::store::snapshot;
use ccstatusd::time::Now;
use ccstatusd::usage::prices::Prices;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// Bytes that may be kept of one line or document: a few paths, names and a preview.
const MAX_KEPT: usize = 64 << 10;

/// Lines of a transcript.
pub(crate) fn transcript_line(bytes: &[u8]) {
    let mut fold = Fold::resume(TranscriptFacts::default());
    let mut n_lines = 0;
    for (n, line) in bytes.split(|it| *it == b'\n').enumerate() {
        fold.add_line(n as u64, line);
        n_lines += 1;
    }
    let (entries, facts) = fold.finish();
    let kept = serde_json::to_vec(&facts).expect("facts are text").len();
    assert!(kept < MAX_KEPT, "{kept} bytes are kept");
    // A reply may report usage of several models, each in at least one byte of its line.
    assert!(entries.len() <= bytes.len() && facts.skipped_lines as usize <= n_lines);
    let preview = facts.last_message.clone().and_then(|it| it.preview).unwrap_or_default();
    check_harmless(&preview);
    let shown = Session {
        root: "/r".to_owned(),
        cwd: facts.cwd.clone(),
        name: facts.title().map(str::to_owned),
        live: true,
        last_message: facts.last_message,
        ..Session::default()
    };
    let sessions = [(SessionId("s".to_owned()), shown)];
    draw(&Snapshot { sessions: sessions.into(), ..empty() }, &ClientFacts::default());
}

/// The JSON that Claude Code writes to a display's standard input.
pub(crate) fn stdin_document(bytes: &[u8]) {
    let end = client::DocumentScan::default().end(bytes);
    assert!(end.is_none_or(|it| it <= bytes.len()));
    // Its end does not depend on the pieces in which it arrives.
    let mut scan = client::DocumentScan::default();
    let mut pieces = (1..=bytes.len()).map(|n| scan.end(&bytes[..n]));
    if bytes.len() < 4096 {
        assert_eq!(pieces.find_map(|it| it), end);
    }
    let Some(facts) = client::parse_stdin(bytes) else { return };
    draw(&empty(), &facts);
    let clipped = facts.clipped();
    let kept = serde_json::to_vec(&clipped).expect("facts are text").len();
    assert!(kept < MAX_KEPT, "{kept} bytes are kept");
    draw(&empty(), &clipped);
    client::parse_session_file(bytes);
    let (columns, tasks) = client::parse_subagents(bytes);
    let display = empty().display;
    let columns = columns.map(|it| it.clamp(1, 300));
    for row in display::subagents::rows(&tasks, columns, 0, &display, Depth::None) {
        check_harmless(&row);
    }
}

/// The output of `git status`.
pub(crate) fn porcelain(bytes: &[u8]) {
    let Some(repo) = porcelain::parse(bytes, |_| true) else { return };
    let n_entries = repo.staged + repo.unstaged + repo.untracked + repo.conflicts;
    assert!(n_entries as usize <= 2 * bytes.len());
    let shown = Session { live: true, repo: Some("/p".to_owned()), ..Session::default() };
    let snapshot = Snapshot {
        sessions: [(SessionId("s".to_owned()), shown)].into(),
        repos: [(RepoKey("/p".to_owned()), schema::Repo { as_of_ms: 1, ..repo })].into(),
        ..empty()
    };
    draw(&snapshot, &ClientFacts::default());
}

/// The configuration file.
pub(crate) fn configuration(bytes: &[u8]) {
    match Config::parse(bytes) {
        Ok(config) => {
            config.prices(Prices::builtin());
            assert!(config.git.timeout().as_millis() >= 10);
            let described = config::describe::describe(&config, None);
            assert_eq!(Config::parse(described.as_bytes()).as_ref(), Ok(&config), "{described}");
            let snapshot = Snapshot { display: config.display.clone(), ..empty() };
            draw(&snapshot, &ClientFacts::default());
        }
        Err(err) => {
            let err = err.to_string();
            assert!(!err.is_empty() && err.len() < MAX_KEPT, "{} bytes", err.len());
            check_harmless(&err);
        }
    }
}

/// A price list that a user puts in place, and names of models that transcripts have.
pub(crate) fn price_list(bytes: &[u8]) {
    match Prices::parse(bytes) {
        Ok(prices) => {
            for model in prices.models() {
                let found = prices.find(&model.name).expect("a listed name is found");
                assert_eq!(*found.model, *model);
                prices.near(&model.name);
            }
        }
        Err(err) => {
            let err = err.to_string();
            assert!(!err.is_empty() && err.len() < MAX_KEPT, "{} bytes", err.len());
            check_harmless(&err);
        }
    }
    if let Ok(name) = str::from_utf8(bytes) {
        let prices = Prices::builtin();
        prices.find(name);
        prices.near(name);
    }
}

/// The snapshot, which displays read, and from which a watcher starts.
pub(crate) fn snapshot(bytes: &[u8]) {
    let (file, size) = (io::Cursor::new(bytes), bytes.len() as u64);
    let part = snapshot::part(file, size, Some(&SessionId("s".to_owned())), Some("/w/p"));
    let part = part.expect("bytes in memory can be read");
    if let Ok(snapshot) = snapshot::parse(&part) {
        draw(&snapshot, &ClientFacts::default());
    }
    let Ok(snapshot) = snapshot::parse(bytes) else { return };
    draw(&snapshot, &ClientFacts::default());
    let settings = Settings {
        roots: snapshot.roots.keys().map(|it| (&it.0).into()).collect(),
        zone: TimeZone::UTC,
        week_starts: Weekday::Monday,
        keep_ms: None,
        prices: Prices::builtin(),
        price_file: Vec::new(),
        placed_prices: Placed::Nothing,
        preview: true,
        block_tool: None,
        display: snapshot.display.clone(),
        config: Vec::new(),
        trusted: Vec::new(),
        git_timeout: Config::default().git.timeout(),
        commands: BTreeMap::new(),
        runs: Default::default(),
        alerts: Default::default(),
        quiet: None,
        export: None,
    };
    let now = Now::read();
    let (state, _) = State::new(Mode::Once { does_import: false }, settings, Some(&snapshot), now);
    let again = state.snapshot(now);
    assert!(again.sessions.len() <= schema::MAX_SESSIONS);
    draw(&again, &ClientFacts::default());
}

fn empty() -> Snapshot {
    Snapshot { version: schema::VERSION, ..Snapshot::default() }
}

/// Draws lines for several sessions and widths, and checks each.
fn draw(snapshot: &Snapshot, client: &ClientFacts) {
    let none = SessionId("none".to_owned());
    for session in snapshot.sessions.keys().take(8).chain([&none]) {
        for columns in [None, Some(1), Some(40), Some(200)] {
            let view = View {
                source: Source::Snapshot(snapshot),
                watcher: Watcher::Alive,
                client,
                session: Some(session),
                around: &Around::Unknown,
                now_ms: 1_795_000_000_000,
                home: Some("/home/u"),
                drawn_at: None,
                clock: Some((12, 34, 56)),
                zone: None,
            };
            let drawn =
                display::line(&view, &Style { columns, depth: Depth::None, has_links: false });
            assert!(!drawn.is_empty());
            for line in without_colour(&drawn).lines() {
                check_harmless(line);
            }
        }
    }
}

/// Checks that no character steers a terminal, or changes the direction of text beside it.
pub(crate) fn check_harmless(text: &str) {
    let harmful = |char: char| {
        char.is_control()
            || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(char, '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    assert!(!text.contains(harmful), "{text:?}");
}
