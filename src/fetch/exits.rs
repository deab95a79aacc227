//! The thread that notices at once when a process of Claude Code ends.
//!
//! The kernel tells it, by a descriptor for each process. The thread sleeps until one of them ends,
//! or another is to be waited for. Where the system has no such descriptors, it tells nothing, and
//! the checks of each minute find out.
//!
//! See docs/decisions/027-the-kernel-tells-of-exits.md.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::claude::client::SessionFile;
use super::process::is_alive;

/// The most processes whose exits are waited for at a time. Each takes a descriptor.
const MAX_PROCESSES: usize = 256;

/// Starts the wait for exits. The thread ends when this is dropped.
pub struct Exits {
    awaited: Sender<(PathBuf, SessionFile)>,
    /// A byte written here wakes the thread.
    wake: UnixStream,
}

impl Exits {
    /// Starts the thread. It calls `ended` with the path of its file once for each process that
    /// ended.
    pub fn start(ended: impl Fn(PathBuf) + Send + 'static) -> io::Result<Exits> {
        let (awaited, queue) = unbounded();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (processes, most) = (BTreeMap::new(), most(descriptor_limit()));
        let run = move || Thread { woken, queue, processes, ended, most }.run();
        std::thread::Builder::new().name("exits".to_owned()).spawn(run)?;
        Ok(Exits { awaited, wake })
    }

    /// Waits for the exit of the process that wrote this file to `path`.
    pub fn wait_for(&self, path: PathBuf, file: SessionFile) {
        self.awaited.send((path, file)).ok();
        // If the socket is full, the thread has bytes enough to wake it.
        (&self.wake).write_all(&[0]).ok();
    }
}

/// Sleeps until the process of this id ends. Fails at once where the system cannot tell.
pub fn wait_for_end(pid: u32) -> io::Result<()> {
    let fd = match open(pid) {
        Err(Errno::ESRCH) => return Ok(()),
        opened => opened?,
    };
    loop {
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            ended => return Ok(ended.map(drop)?),
        }
    }
}

struct Thread<F> {
    woken: UnixStream,
    queue: Receiver<(PathBuf, SessionFile)>,
    /// By the path of its file: a descriptor that becomes readable when the process ends.
    processes: BTreeMap<PathBuf, OwnedFd>,
    ended: F,
    /// The most processes to wait for.
    most: usize,
}

impl<F: Fn(PathBuf)> Thread<F> {
    fn run(mut self) {
        while let Some(exited) = self.next() {
            for path in exited {
                self.processes.remove(&path);
                (self.ended)(path);
            }
            while let Ok((path, file)) = self.queue.try_recv() {
                self.add(path, &file);
            }
        }
    }

    /// Sleeps until processes end, whose files it returns, or others are queued. `None` when nobody
    /// waits for any.
    fn next(&mut self) -> Option<Vec<PathBuf>> {
        let fds =
            std::iter::once(self.woken.as_fd()).chain(self.processes.values().map(AsFd::as_fd));
        let mut fds: Vec<_> = fds.map(|it| PollFd::new(it, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Some(Vec::new()),
            Err(_) => return None,
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let exited = fds[1..].iter().zip(self.processes.keys());
        let exited = exited.filter(|(fd, _)| is_ready(fd)).map(|(_, path)| path.clone()).collect();
        match (&self.woken).read(&mut [0; 64]) {
            Ok(0) => None,
            _ => Some(exited),
        }
    }

    fn add(&mut self, path: PathBuf, file: &SessionFile) {
        if self.processes.len() >= self.most && !self.processes.contains_key(&path) {
            return;
        }
        match open(file.pid) {
            // The descriptor keeps naming this process, whose id may be used again. So if it is the
            // right one now, it stays the right one.
            Ok(fd) if is_alive(file) => drop(self.processes.insert(path, fd)),
            Ok(_) | Err(Errno::ESRCH) => (self.ended)(path),
            // The system has no such descriptors, or no more of them.
            Err(_) => {}
        }
    }
}

/// The most processes to wait for where this process may have `limit` descriptors. The larger part
/// of them is left for files and programs, without which there is nothing to show.
fn most(limit: Option<u64>) -> usize {
    let share = limit.and_then(|it| usize::try_from(it / 4).ok());
    share.map_or(MAX_PROCESSES, |it| it.min(MAX_PROCESSES))
}

/// How many descriptors this process may have; `None` for any number.
#[cfg(target_os = "linux")]
fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(target_os = "linux"))]
fn descriptor_limit() -> Option<u64> {
    None
}

/// Opens a descriptor that becomes readable when the process ends.
#[cfg(target_os = "linux")]
fn open(pid: u32) -> Result<OwnedFd, Errno> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::ESRCH)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|err| Errno::from_raw(err.raw_os_error()))
}

#[cfg(not(target_os = "linux"))]
fn open(_pid: u32) -> Result<OwnedFd, Errno> {
    Err(Errno::ENOSYS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn most_descriptors_are_left_for_files_and_programs() {
        assert_eq!(most(None), MAX_PROCESSES);
        assert_eq!(most(Some(1 << 20)), MAX_PROCESSES);
        assert_eq!(most(Some(256)), 64);
    }

    #[test]
    fn the_limit_on_descriptors_is_that_of_this_process() {
        let before = getrlimit(Resource::Nofile);
        let lower = before.current.map_or(4096, |it| it - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), ..before }).unwrap();
        assert_eq!(descriptor_limit(), Some(lower));
    }
}
