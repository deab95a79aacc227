//! The commands `show` and `subagents`: read what is needed, then draw.
//!
//! They read standard input until the document in it is complete or a deadline has passed, and then
//! the snapshot. `show` also sends the client's facts to the watcher. Neither writes a file, takes a
//! lock or starts a process. **Invariant:** `show` returns a line, whatever its input is, and within
//! a fraction of a second: the client shows nothing for a status line that fails.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::cli::Environment;
use crate::display;
use crate::display::view::{Source, Style, View, Watcher};
use crate::fetch::claude;
use crate::ipc;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::display::{Depth, Display};
use crate::store::schema::{ClientFacts, SessionId, Task};
use crate::store::snapshot::{self, Unusable};
use crate::time::{self, Now};

/// The limit for reading all of standard input. The client writes at once, but may never close it.
const STDIN_MS: i64 = 50;
/// In bytes. The client's document has about 2 KiB.
const MAX_STDIN: usize = 1 << 20;
/// In bytes. Larger datagrams could find no room in the socket's buffer.
const MAX_HINT: usize = 8 << 10;

/// Draws the line for the client's document on standard input. It does not end with a newline,
/// which the client would show as one more row.
///
/// Changes the working directory to the state directory.
pub fn run(stdin: impl AsFd + IsTerminal, env: &Environment, now: impl Fn() -> Now) -> String {
    // A panic must change neither what the terminal shows nor the exit code.
    panic::set_hook(Box::new(|_| ()));
    panic::catch_unwind(AssertUnwindSafe(|| draw(stdin, env, now)))
        .unwrap_or_else(|_| "ccstatusd: show failed, please report it".to_owned())
}

fn draw(stdin: impl AsFd + IsTerminal, env: &Environment, now: impl Fn() -> Now) -> String {
    let document = if stdin.is_terminal() { Vec::new() } else { read_document(stdin, &now) };
    let client = claude::client::parse_stdin(&document).unwrap_or_default().clipped();
    let reported = client.session_id.as_deref().and_then(SessionId::checked);
    let session =
        reported.or_else(|| env.text("CLAUDE_CODE_SESSION_ID").and_then(SessionId::checked));

    let entered = env.state_dir().map_err(io::Error::other).and_then(|dir| ipc::enter(&dir));
    let (snapshot, watcher) = match entered {
        Ok(()) => {
            let cwd = client.cwd.as_deref();
            let snapshot = snapshot::read_part(Path::new(SNAPSHOT), session.as_ref(), cwd);
            let snapshot = snapshot.map_err(|unusable| match unusable {
                Unusable::Missing => Source::Missing,
                Unusable::Newer => Source::Newer,
                Unusable::Unreadable => Source::Unreadable,
            });
            (snapshot, send_facts(&client, session.as_ref()))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => (Err(Source::Missing), Watcher::Gone),
        Err(_) => (Err(Source::Unreadable), Watcher::Unknown),
    };
    let view = View {
        source: snapshot.as_ref().map_or_else(|&source| source, Source::Snapshot),
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

/// The local hour, minute and second. `None` if the format does not show them, since loading
/// the time zone is slow.
pub fn clock(display: &Display, now: Now) -> Option<(i8, i8, i8)> {
    display::wants_clock(display).then(|| {
        let now = jiff::Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
        let local = now.to_zoned_datetime(jiff::tz::TimeZone::system());
        (local.hour(), local.minute(), local.second())
    })
}

/// Draws the rows of subagents, each as a line of JSON. For a subagent without a line, the client
/// draws its own row. If anything fails, no line is returned.
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
        let dir = env.state_dir().ok().filter(|it| ipc::enter(it).is_ok());
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

/// Reads until the document is complete, the writer closes its end, or a limit is reached.
///
/// It polls before each read. Making the descriptor non-blocking would affect the other processes
/// that share it.
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
        // The deadline also ends the reading from a client that never stops writing.
        if scan.end(&document).is_some() || left.is_zero() {
            break;
        }
    }
    document
}

/// Sends the client's facts about this session to the watcher, which learns from it that the
/// session is on display. It never blocks. If nothing listens on the socket, the watcher is gone.
fn send_facts(client: &ClientFacts, session: Option<&SessionId>) -> Watcher {
    let sent = ipc::connect().and_then(|socket| {
        let hint = session.and_then(|session| hint(client, session));
        hint.map_or(Ok(()), |bytes| socket.send(&bytes).map(drop))
    });
    match sent.map_err(|err| err.kind()) {
        Ok(()) => Watcher::Alive,
        Err(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Watcher::Gone,
        Err(_) => Watcher::Unknown,
    }
}

/// The client's facts as a datagram. If they are too large, it contains only the session's id.
fn hint(client: &ClientFacts, session: &SessionId) -> Option<Vec<u8>> {
    let only_session =
        ClientFacts { session_id: Some(session.0.clone()), ..ClientFacts::default() };
    let facts = ClientFacts { session_id: only_session.session_id.clone(), ..client.clone() };
    let hint = serde_json::to_vec(&facts.clipped()).ok().filter(|it| it.len() <= MAX_HINT);
    hint.or_else(|| serde_json::to_vec(&only_session).ok())
}

/// What the terminal can show, by the environment: standard output is a pipe to the client.
pub fn style(env: &Environment) -> Style {
    let columns = env.text("COLUMNS").and_then(|it| it.parse().ok()).filter(|&it| it > 0);
    Style { columns, depth: depth(env) }
}

/// How many colours the line may use: as the user forbids or forces, else as the terminal supports.
fn depth(env: &Environment) -> Depth {
    let term = env.text("TERM").unwrap_or_default();
    let supported = match env.text("COLORTERM") {
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
        Some(_) => supported.max(Depth::Ansi),
        None if term == "dumb" => Depth::None,
        None => supported,
    }
}
