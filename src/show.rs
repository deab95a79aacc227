//! The `show` command: what a display needs to read before it can draw.
//!
//! Reads standard input until the document in it is complete or a deadline has passed, reads the
//! snapshot, and hands what the client said to the watcher. Writes no file, takes no lock, starts
//! no process. **Invariant:** it returns a line, whatever it is given, and soon: the client blanks
//! the row of a status line that fails.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::cli::Environment;
use crate::display::{self, Source, Style, View, Watcher};
use crate::fetch::claude;
use crate::hints;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::display::{Depth, Display};
use crate::store::schema::{ClientFacts, SessionId, Task};
use crate::store::snapshot::{self, Unusable};
use crate::time::{self, Now};

/// How long all of standard input may take. The client writes at once, but may never close.
const STDIN_MS: i64 = 50;
/// The client's document has some 2 KiB.
const MAX_STDIN: usize = 1 << 20;
/// What a datagram may weigh, so that it never waits for room.
const MAX_HINT: usize = 8 << 10;

/// Draws the line, without a newline: to the client one more line is one more row.
///
/// Changes the working directory to the state directory.
pub fn run(stdin: impl AsFd + IsTerminal, env: &Environment, now: impl Fn() -> Now) -> String {
    // A panic must not reach the terminal, which shows the line, or the exit code.
    panic::set_hook(Box::new(|_| ()));
    panic::catch_unwind(AssertUnwindSafe(|| draw(stdin, env, now)))
        .unwrap_or_else(|_| "ccstatusd: show failed, please report it".to_owned())
}

fn draw(stdin: impl AsFd + IsTerminal, env: &Environment, now: impl Fn() -> Now) -> String {
    let document = if stdin.is_terminal() { Vec::new() } else { read_document(stdin, &now) };
    let client = claude::client::parse_stdin(&document).unwrap_or_default();
    let stated = client.session_id.as_deref().and_then(SessionId::checked);
    let session =
        stated.or_else(|| env.text("CLAUDE_CODE_SESSION_ID").and_then(SessionId::checked));

    let entered = env.state_dir().map_err(io::Error::other).and_then(|it| hints::enter(&it));
    let (snapshot, watcher) = match entered {
        Ok(()) => {
            let cwd = client.cwd.as_deref();
            let snapshot = snapshot::read_part(Path::new(SNAPSHOT), session.as_ref(), cwd);
            let snapshot = snapshot.map_err(|it| match it {
                Unusable::Missing => Source::Missing,
                Unusable::Newer => Source::Newer,
                Unusable::Unreadable => Source::Unreadable,
            });
            (snapshot, hand_over(&client, session.as_ref()))
        }
        Err(it) if it.kind() == io::ErrorKind::NotFound => (Err(Source::Missing), Watcher::Gone),
        Err(_) => (Err(Source::Unreadable), Watcher::Unknown),
    };
    let view = View {
        source: snapshot.as_ref().map_or_else(|&it| it, Source::Snapshot),
        watcher,
        client: &client,
        session: session.as_ref(),
        now_ms: now().wall_ms,
        home: env.home().and_then(Path::to_str),
        drawn_at: None,
        clock: snapshot.as_ref().ok().and_then(|it| clock(&it.display, now())),
    };
    display::line(&view, &style(env))
}

/// The local time in hours, minutes and seconds, where it is shown.
pub fn clock(display: &Display, now: Now) -> Option<(i8, i8, i8)> {
    display::wants_clock(display).then(|| {
        let now = jiff::Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
        let it = now.to_zoned_datetime(jiff::tz::TimeZone::system());
        (it.hour(), it.minute(), it.second())
    })
}

/// The rows of subagents, each as a line of JSON. A subagent that is not among them keeps the row
/// that the client draws; that is what happens to all where something goes wrong.
///
/// Changes the working directory to the state directory.
pub fn subagents(
    stdin: impl AsFd + IsTerminal,
    env: &Environment,
    now: impl Fn() -> Now,
) -> String {
    panic::set_hook(Box::new(|_| ()));
    let draw = AssertUnwindSafe(|| {
        let document = if stdin.is_terminal() { Vec::new() } else { read_document(stdin, &now) };
        let (columns, tasks) = claude::client::parse_subagents(&document);
        let dir = env.state_dir().ok().filter(|it| hints::enter(it).is_ok());
        let snapshot = dir.and_then(|_| snapshot::read_part(Path::new(SNAPSHOT), None, None).ok());
        let display = snapshot.map(|it| it.display).unwrap_or_default();
        let Style { columns: terminal, depth } = style(env);
        let columns = columns.or(terminal);
        let rows = display::subagents::rows(&tasks, columns, now().wall_ms, &display, depth);
        let line = |(task, content): (&Task, String)| {
            serde_json::json!({"id": task.id, "content": content}).to_string() + "\n"
        };
        tasks.iter().zip(rows).map(line).collect()
    });
    panic::catch_unwind(draw).unwrap_or_default()
}

/// Reads until a document is complete, the writer closes, or time or room is up.
///
/// Waits before each read instead of making the descriptor non-blocking: others share it, and
/// would find it changed.
fn read_document(stdin: impl AsFd, now: impl Fn() -> Now) -> Vec<u8> {
    let give_up_at = now().mono + time::span(STDIN_MS);
    let mut scan = claude::client::DocumentScan::default();
    let mut document = Vec::new();
    let mut piece = [0; 4 << 10];
    while document.len() < MAX_STDIN {
        let left = give_up_at.saturating_duration_since(now().mono);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match nix::poll::poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match nix::unistd::read(&stdin, &mut piece) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(0) | Err(_) => break,
            Ok(n_bytes) => document.extend_from_slice(&piece[..n_bytes]),
        }
        // Whoever writes for ever is heard for no longer than whoever writes nothing.
        if scan.end(&document).is_some() || left.is_zero() {
            break;
        }
    }
    document
}

/// Tells the watcher that somebody looks at this session, and what the client said of it. Never
/// waits; that nobody listens is how a display learns that the watcher is gone.
fn hand_over(client: &ClientFacts, session: Option<&SessionId>) -> Watcher {
    let sent = hints::connect().and_then(|socket| {
        session.and_then(|it| hint(client, it)).map_or(Ok(()), |it| socket.send(&it).map(drop))
    });
    match sent.map_err(|it| it.kind()) {
        Ok(()) => Watcher::Alive,
        Err(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Watcher::Gone,
        Err(_) => Watcher::Unknown,
    }
}

/// The client's facts as a message; one that is still too large says just which session it is
/// about.
fn hint(client: &ClientFacts, session: &SessionId) -> Option<Vec<u8>> {
    let only_session =
        ClientFacts { session_id: Some(session.0.clone()), ..ClientFacts::default() };
    let facts = ClientFacts { session_id: only_session.session_id.clone(), ..client.clone() };
    let hint = serde_json::to_vec(&facts.clipped()).ok().filter(|it| it.len() <= MAX_HINT);
    hint.or_else(|| serde_json::to_vec(&only_session).ok())
}

/// The client runs us on a pipe, so only the environment knows the terminal.
pub fn style(env: &Environment) -> Style {
    let columns = env.text("COLUMNS").and_then(|it| it.parse().ok()).filter(|&it| it > 0);
    Style { columns, depth: depth(env) }
}

/// How many colours there are: what the user forbids or forces, else what the terminal says.
fn depth(env: &Environment) -> Depth {
    let term = env.text("TERM").unwrap_or_default();
    let stated = match env.text("COLORTERM") {
        Some("truecolor" | "24bit") => Depth::True,
        _ if term.contains("256color") => Depth::Indexed,
        _ if term == "dumb" => Depth::None,
        _ => Depth::Ansi,
    };
    match env.text("FORCE_COLOR") {
        _ if env.get("NO_COLOR").is_some() => Depth::None,
        Some("0" | "false") => Depth::None,
        Some("2") => Depth::Indexed,
        Some("3") => Depth::True,
        Some(_) => stated.max(Depth::Ansi),
        None if term == "dumb" => Depth::None,
        None => stated,
    }
}
