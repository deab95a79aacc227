//! The local socket: what `show` tells the watcher, and what the watcher answers `--oneshot`.
//!
//! Both sides work in the state directory and use names relative to it: a socket address holds
//! about 100 bytes, and the directory's path may be longer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use tracing::error;

use crate::store::dir::{SOCKET, SYNC};
use crate::store::schema::ClientFacts;
use crate::watch::probe::Probe;

/// The answers to a cookie.
const DONE: &[u8] = b"done";
const FAILED: &[u8] = b"failed";

/// Hints that may wait. A display whose hint finds no room comes again.
const HINTS: usize = 64;

/// A hint has a handful of short fields.
const MAX_HINT: usize = 64 << 10;

/// Makes the state directory the working directory, as everything below needs.
pub fn enter(dir: &Path) -> io::Result<()> {
    std::env::set_current_dir(dir)
}

/// Takes hints, in a thread. That it ended, and nobody reaches us any more, disconnects the channel.
/// Call [`enter`] first.
///
/// Only the holder of the watch lock may: the socket that is there is then nobody's.
pub fn listen() -> io::Result<Receiver<ClientFacts>> {
    match fs_err::remove_file(SOCKET) {
        Err(it) if it.kind() != io::ErrorKind::NotFound => return Err(it),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixDatagram::bind(SOCKET)?;
    // Whatever the umask is: everything in the state directory is for its owner alone.
    fs_err::set_permissions(SOCKET, PermissionsExt::from_mode(0o600))?;
    let (sender, hints) = bounded(HINTS);
    let run = move || {
        let mut buffer = vec![0; MAX_HINT];
        let mut probe = Probe::new(|| ());
        loop {
            let n_bytes = match socket.recv(&mut buffer) {
                Ok(it) => it,
                Err(it) => return error!("cannot listen on notify.sock any more: {it}"),
            };
            // Displays come and go by themselves: what one says wrongly, or while the queue is
            // full, the next says again.
            let Ok(hint) = serde_json::from_slice::<ClientFacts>(&buffer[..n_bytes]) else {
                continue;
            };
            let mut hint = hint.clipped();
            hint.transcript_path = match hint.transcript_path {
                // Where a file system hangs, displays elsewhere are heard all the same.
                Some(it) if !probe.answers(Path::new(&it)) => continue,
                it => it.map(|it| real_path(it.into())),
            };
            if sender.try_send(hint).is_err_and(|it| it.is_disconnected()) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("hints".to_owned()).spawn(run)?;
    Ok(hints)
}

/// The path without links, as far as it exists: the client may know a root by another name.
fn real_path(path: PathBuf) -> String {
    let real = path.ancestors().find_map(|it| {
        let rest = path.strip_prefix(it).ok()?;
        let real = fs_err::canonicalize(it).ok()?;
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    });
    real.unwrap_or(path).to_string_lossy().into_owned()
}

/// Whether displays can still reach us: somebody may have removed the socket.
pub fn is_reachable() -> bool {
    fs_err::symlink_metadata(SOCKET).is_ok()
}

/// The way to the watcher, on which nothing waits. That there is none is how everybody learns that
/// no watcher lives. Call [`enter`] first.
pub fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// Whether a watcher listens. Call [`enter`] first.
pub fn is_watched() -> bool {
    connect().is_ok()
}

/// A request to a living watcher: publish what includes everything that happened before this.
///
/// It is a socket in a folder that the watcher watches. The kernel reports its appearance after
/// all earlier changes, so the watcher need not scan anything to know that it has seen them.
#[derive(Debug)]
pub struct Cookie {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Cookie {
    /// Leaves it. Call [`enter`] first.
    pub fn leave() -> io::Result<Cookie> {
        let path = Path::new(SYNC).join(std::process::id().to_string());
        // A process that had our id, and was killed while it waited.
        fs_err::remove_file(&path).ok();
        let cookie = Cookie { socket: UnixDatagram::bind(&path)?, path };
        // Where the watcher gets no events, it sees the cookie when it looks: let that be now.
        connect().and_then(|it| it.send(b"{}")).ok();
        Ok(cookie)
    }

    /// Waits for the answer, up to `timeout`, or less where we were stopped meanwhile. Says whether
    /// it came.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        self.socket.set_read_timeout(Some(timeout))?;
        let mut answer = [0; 16];
        match self.socket.recv(&mut answer) {
            Ok(n_bytes) if answer[..n_bytes] == *DONE => Ok(true),
            Ok(_) => Err(io::Error::other("it cannot publish; its log says why")),
            Err(it) => match it.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(false),
                _ => Err(it),
            },
        }
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        fs_err::remove_file(&self.path).ok();
    }
}

/// Removes the cookies of those who were killed while they waited: nobody listens on them. Call
/// [`enter`] first.
pub fn sweep() {
    for entry in fs_err::read_dir(SYNC).into_iter().flatten().flatten() {
        let listens = UnixDatagram::unbound().and_then(|it| it.connect(entry.path()));
        if listens.is_err_and(|it| it.kind() == io::ErrorKind::ConnectionRefused) {
            fs_err::remove_file(entry.path()).ok();
        }
    }
}

/// Answers the cookie at `path`, and removes it where nobody waits any more. `is_published` says
/// whether what the cookie asked for is in the snapshot on disk.
pub fn acknowledge(path: &Path, is_published: bool) {
    let Some(name) = path.file_name() else { return };
    let path = Path::new(SYNC).join(name);
    let answer = || {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(if is_published { DONE } else { FAILED }, &path)
    };
    if answer().is_err() {
        fs_err::remove_file(&path).ok();
    }
}
