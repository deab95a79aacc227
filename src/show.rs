//! The commands `show` and `subagents`: read what is needed, then draw.
//!
//! They read standard input until the document in it is complete or a deadline has passed, and then
//! the snapshot. `show` also sends the client's facts to the watcher, and reads what is checked out
//! where the session works. Neither writes a file, takes a lock or starts a process. **Invariant:**
//! `show` returns a line, whatever its input is, and within a fraction of a second: the client
//! shows nothing for a status line that fails.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use jiff::tz::TimeZone;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::cli::Environment;
use crate::display;
use crate::display::view::{Around, Source, Style, Tree, View, Watcher};
use crate::fetch::claude;
use crate::fetch::git::head;
use crate::fetch::git::tree::WorkTree;
use crate::home::Home;
use crate::ipc;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::display::Display;
use crate::store::schema::{ClientFacts, Repo, RepoKey, SessionId, Snapshot, Task};
use crate::store::snapshot::{self, Unusable};
use crate::terminal;
use crate::time::{self, MINUTE_MS, Now};

/// The limit for reading all of standard input. The client writes at once, but may never close it.
const STDIN_MS: i64 = 50;
/// The limit for looking for the working tree, which takes a fraction of a millisecond.
const LOOK_MS: i64 = 50;
/// In bytes, of the thread that looks. The functions that resolve a path need two of its length.
const LOOK_STACK: usize = 128 << 10;
/// In bytes. The client's document has about 2 KiB.
const MAX_STDIN: usize = 1 << 20;
/// In bytes. Larger datagrams could find no room in the socket's buffer.
const MAX_HINT: usize = 8 << 10;

/// The columns of the terminal that the client takes from the rows of subagents. It states how many
/// are left.
const ROW_RESERVED_COLUMNS: usize = 6;

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
    let mut client = claude::client::parse_stdin(&document).unwrap_or_default().clipped();
    let mut style = terminal::style(env);
    if let Some(fit) = &mut client.fit {
        (fit.depth, fit.has_links) = (style.depth, style.has_links);
        style = Style::fitted(fit);
    }
    let reported = client.session_id.as_deref().and_then(SessionId::checked);
    let session =
        reported.or_else(|| env.text("CLAUDE_CODE_SESSION_ID").and_then(SessionId::checked));

    let read = |top: Option<&str>| {
        snapshot::read_part(Path::new(SNAPSHOT), session.as_ref(), top).map_err(source)
    };
    let entered = env.state_dir().map_err(io::Error::other).and_then(|dir| ipc::enter(&dir));
    let (mut snapshot, watcher) = match entered {
        Ok(()) => (read(None), send_facts(&client, session.as_ref())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => (Err(Source::Missing), Watcher::Gone),
        Err(_) => (Err(Source::Unreadable), Watcher::Unknown),
    };
    let now_ms = now().wall_ms;
    let around = client.cwd.as_deref().map_or(Around::Unknown, |cwd| {
        let known = snapshot.as_ref().ok().zip(session.as_ref());
        look_around(cwd, known.is_some_and(|(it, id)| has_answered(it, id, cwd, now_ms)))
    });
    if let (Around::Tree(tree), Ok(known)) = (&around, &snapshot)
        && !known.repos.contains_key(&RepoKey(tree.top.clone()))
    {
        snapshot = read(Some(&tree.top));
    }
    let kept = snapshot.as_ref().ok().zip(session.as_ref());
    let kept = kept.and_then(|(snapshot, session)| snapshot.sessions.get(session)?.cwd.as_deref());
    let cwd = client.cwd.as_deref().or(kept);
    let home = Home::find(env);
    let display = snapshot.as_ref().ok().map(|it| &it.display);
    let zone = display.and_then(zone);
    let view = View {
        source: snapshot.as_ref().map_or_else(|&source| source, Source::Snapshot),
        watcher,
        client: &client,
        session: session.as_ref(),
        around: &around,
        now_ms,
        home: cwd.and_then(|it| home.found_above(it)),
        drawn_at: None,
        clock: display.and_then(|it| clock(it, now())),
        zone: zone.as_ref(),
    };
    display::line(&view, &style)
}

/// What a line is drawn from where the snapshot cannot be used.
pub fn source(unusable: Unusable) -> Source<'static> {
    match unusable {
        Unusable::Missing => Source::Missing,
        Unusable::Newer => Source::Newer,
        Unusable::Unreadable => Source::Unreadable,
    }
}

/// The local hour, minute and second. `None` if the format does not show them, since loading
/// the time zone is slow.
pub fn clock(display: &Display, now: Now) -> Option<(i8, i8, i8)> {
    display::wants_clock(display).then(|| {
        let now = jiff::Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
        let local = now.to_zoned_datetime(TimeZone::system());
        (local.hour(), local.minute(), local.second())
    })
}

/// The local time zone. `None` if the format shows no times in it, since loading it is slow.
pub fn zone(display: &Display) -> Option<TimeZone> {
    display::wants_zone(display).then(TimeZone::system)
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
        let terminal = terminal::style(env);
        let columns =
            columns.or(terminal.columns.map(|it| it.saturating_sub(ROW_RESERVED_COLUMNS)));
        let rows =
            display::subagents::rows(&tasks, columns, now().wall_ms, &display, terminal.depth);
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

/// Looks for the working tree around a directory. A file system that may hang is asked in another
/// thread, for [`LOOK_MS`] at most. There is none for a relative path: nobody knows to what.
///
/// See docs/decisions/023-show-reads-head.md.
fn look_around(cwd: &str, has_answered: bool) -> Around {
    let cwd = PathBuf::from(cwd);
    if !cwd.is_absolute() {
        return Around::Unknown;
    }
    if has_answered {
        return around(&cwd);
    }
    let (sender, answer) = sync_channel(1);
    let look = move || drop(sender.send(around(&cwd)));
    let started = thread::Builder::new().stack_size(LOOK_STACK).spawn(look);
    let answer = started.ok().and_then(|_| answer.recv_timeout(time::span(LOOK_MS)).ok());
    answer.unwrap_or(Around::Unknown)
}

/// Whether git has answered the watcher in this directory a moment ago, so that its file system is
/// not one that hangs. To start a thread takes four times as long as all that is looked for.
fn has_answered(snapshot: &Snapshot, session: &SessionId, cwd: &str, now_ms: i64) -> bool {
    let session = snapshot.sessions.get(session).filter(|it| it.cwd.as_deref() == Some(cwd));
    let top = session.and_then(|it| it.repo.clone());
    let repo = top.and_then(|top| snapshot.repos.get(&RepoKey(top)));
    let is_fresh = |it: &Repo| (0..MINUTE_MS).contains(&now_ms.saturating_sub(it.as_of_ms));
    repo.is_some_and(|it| it.error.is_none() && is_fresh(it))
}

fn around(cwd: &Path) -> Around {
    match WorkTree::discover(cwd) {
        Ok(Some(tree)) => match tree.top.to_str() {
            Some(top) => Around::Tree(Box::new(Tree {
                top: top.to_owned(),
                head: head::read(&tree),
                is_own: tree.is_own(),
            })),
            None => Around::Unknown,
        },
        Ok(None) => Around::NoTree,
        Err(_) => Around::Unknown,
    }
}

/// Sends the client's facts about this session to the watcher, which learns from it that the
/// session is on display. It never blocks. If nothing listens on the socket, the watcher is gone.
fn send_facts(client: &ClientFacts, session: Option<&SessionId>) -> Watcher {
    let sent = ipc::connect().and_then(|socket| {
        let hint = session.and_then(|session| hint(client, session));
        hint.map_or(Ok(()), |bytes| socket.send(&bytes).map(drop))
    });
    watcher(sent)
}

/// Whether a watcher runs, by an attempt to reach it. If nothing listens on the socket, it is gone.
pub fn watcher(reached: io::Result<()>) -> Watcher {
    match reached.map_err(|err| err.kind()) {
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
