//! Messages between processes of `ccstatusd`, over Unix datagram sockets in the state directory.
//!
//! A display sends the watcher *hints*: facts that its client gave it. A `--oneshot` run leaves a
//! *cookie*, a socket on which the watcher answers once it has published everything that happened
//! before.
//!
//! Socket names are relative to the state directory, which each side makes its working directory
//! with [`enter`]: a socket address holds about 100 bytes, and the directory's path may be longer.
//!
//! See docs/decisions/011-hints-are-datagrams.md.

use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use tracing::error;

use crate::pool::probe::Probe;
use crate::store::dir::{SOCKET, SYNC};
use crate::store::schema::ClientFacts;

/// The watcher's answer to a cookie: the snapshot on disk has what was asked for.
const DONE: &[u8] = b"done";
/// The watcher's answer to a cookie: the snapshot could not be published.
const FAILED: &[u8] = b"failed";

/// Hints that may wait for the watcher. Further ones are dropped, since displays repeat theirs.
const MAX_WAITING_HINTS: usize = 64;

/// Longer hints are cut off, and then invalid. A hint has a few short fields.
const MAX_HINT_BYTES: usize = 64 << 10;

/// Makes the state directory the working directory. All functions below need this. Fails if another
/// user owns the directory or may write to it: a display must neither draw what that user wrote nor
/// send it anything.
pub fn enter(dir: &Path) -> io::Result<()> {
    std::env::set_current_dir(dir)?;
    // What was entered is looked at, so nobody can put another directory in its place in between.
    let meta = fs_err::metadata(".")?;
    if meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    let message = format!("{} belongs to another user, or others may write to it", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// The watcher's end of the socket: a thread receives hints until this is dropped.
#[derive(Debug)]
pub struct Listener {
    /// The hints. It is disconnected once the thread cannot receive any more.
    pub hints: Receiver<ClientFacts>,
    socket: UnixDatagram,
    is_closed: Arc<AtomicBool>,
}

/// Ends the thread, which would otherwise wait for ever on a socket that nobody can reach: each
/// removal of the socket's file would leave a thread and two descriptors.
impl Drop for Listener {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Release);
        self.socket.shutdown(Shutdown::Both).ok();
    }
}

/// Binds the watcher's socket, and starts a thread that receives hints on it.
///
/// Only the holder of the watch lock may call this: no other process uses the existing socket then.
pub fn listen() -> io::Result<Listener> {
    match fs_err::remove_file(SOCKET) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixDatagram::bind(SOCKET)?;
    // The umask may allow more, and everything in the state directory is for its owner alone.
    fs_err::set_permissions(SOCKET, PermissionsExt::from_mode(0o600))?;
    let (sender, hints) = bounded(MAX_WAITING_HINTS);
    let is_closed = Arc::new(AtomicBool::new(false));
    let listener =
        Listener { hints, socket: socket.try_clone()?, is_closed: Arc::clone(&is_closed) };
    let probe = Probe::start(|| ())?;
    let run = move || {
        let mut buffer = vec![0; MAX_HINT_BYTES];
        loop {
            let n_bytes = match socket.recv(&mut buffer) {
                // A socket that was shut down receives nothing; so does any that is sent nothing.
                Ok(0) if is_closed.load(Ordering::Acquire) => return,
                Ok(n_bytes) => n_bytes,
                Err(err) => return error!("cannot listen on notify.sock any more: {err}"),
            };
            // An invalid hint is dropped: the next render of a display sends another.
            let Ok(hint) = serde_json::from_slice::<ClientFacts>(&buffer[..n_bytes]) else {
                continue;
            };
            let mut hint = hint.clipped();
            hint.transcript_path = match hint.transcript_path {
                // This thread must not hang with a file system: hints from elsewhere still count.
                Some(path) if !probe.answers(Path::new(&path)) => continue,
                path => path.map(|it| real_path(it.into())),
            };
            if sender.try_send(hint).is_err_and(|err| err.is_disconnected()) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("hints".to_owned()).spawn(run)?;
    Ok(listener)
}

/// Resolves the links in the part of the path that exists, since the client may reach a config root
/// by way of a link.
fn real_path(path: PathBuf) -> String {
    let real = path.ancestors().find_map(|existing| {
        let rest = path.strip_prefix(existing).ok()?;
        let real = fs_err::canonicalize(existing).ok()?;
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    });
    real.unwrap_or(path).to_string_lossy().into_owned()
}

/// Whether the watcher's socket is still there. If it was removed, or something else was put in its
/// place, displays cannot reach the watcher.
pub fn is_reachable() -> bool {
    fs_err::symlink_metadata(SOCKET).is_ok_and(|it| it.file_type().is_socket())
}

/// Connects to the watcher, with a socket that never blocks. An error means that no watcher is
/// running.
pub fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// Whether a watcher is running and listens.
pub fn is_watched() -> bool {
    connect().is_ok()
}

/// A request to the watcher to publish a snapshot of everything that happened before the request.
///
/// A cookie is a socket in a folder that the watcher watches. The kernel reports its appearance
/// after all earlier changes, so the watcher knows without a scan that it has seen them.
///
/// See docs/decisions/012-cookies-are-sockets.md.
#[derive(Debug)]
pub struct Cookie {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Cookie {
    /// Puts the socket in its place, under this process's id.
    pub fn leave() -> io::Result<Cookie> {
        let path = Path::new(SYNC).join(std::process::id().to_string());
        // There may be one of an earlier process with our id, which was killed while it waited.
        fs_err::remove_file(&path).ok();
        let cookie = Cookie { socket: UnixDatagram::bind(&path)?, path };
        // A watcher that gets no events finds the cookie by listing the folder. A hint without a
        // session makes it do so at once.
        connect().and_then(|it| it.send(b"{}")).ok();
        Ok(cookie)
    }

    /// Waits for the answer for at most `timeout`, or until a signal interrupts the wait. Returns
    /// whether it came. An error means that there will be none, or that the watcher could not
    /// publish.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        self.socket.set_read_timeout(Some(timeout))?;
        let mut answer = [0; 16];
        match self.socket.recv(&mut answer) {
            Ok(n_bytes) if answer[..n_bytes] == *DONE => Ok(true),
            Ok(_) => Err(io::Error::other("it cannot publish; its log says why")),
            Err(err) => match err.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(false),
                _ => Err(err),
            },
        }
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        fs_err::remove_file(&self.path).ok();
    }
}

/// Removes the cookies of processes that were killed while they waited: no process listens on them.
pub fn sweep() {
    for entry in fs_err::read_dir(SYNC).into_iter().flatten().flatten() {
        let connected = UnixDatagram::unbound().and_then(|it| it.connect(entry.path()));
        if connected.is_err_and(|err| err.kind() == io::ErrorKind::ConnectionRefused) {
            fs_err::remove_file(entry.path()).ok();
        }
    }
}

/// Answers the cookie at `path`, or removes it if its process no longer waits. `is_published` is
/// whether the snapshot on disk has what the cookie asked for.
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
