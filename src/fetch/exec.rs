//! Runs one program and returns what it printed, within bounds that hold whatever it does.
//!
//! The program runs under a [`guard`], which ends it and all its descendants at the
//! deadline, or as soon as this process is gone. This side reads: never more than the limit, and
//! never for longer than the guard lives. The program's standard input is empty, it has no
//! terminal, no descriptor but the three, and of the environment only what [`PASSED_ON`] names.
//!
//! Does not decide what to run, when, or how often to try again.
//!
//! **Invariant:** [`Runner::run`] returns within `deadline + grace` and a quarter of a second.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, PipeReader, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::guard::{self, Order, Verdict};
use crate::sanitize;
use crate::store::lock::FetchLock;
use crate::time::Now;

/// The variables that a program may see: who and where the user is, in which language, and where
/// configuration stands. No tokens, no agent's sockets, no `NOTIFY_SOCKET`; and no `GIT_*`, since
/// what points one shell at one repository must not point all our calls there.
pub const PASSED_ON: [&str; 16] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_TIME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
];

/// How much longer than `deadline + grace` we wait for a guard, which gives SIGKILL a little less.
const GUARD_TAKES: Duration = Duration::from_millis(250);

/// How much of the standard error is kept for the user to read.
const KEPT_STDERR: usize = 4096;

/// The bounds of one fetch. No `Default`: each source states its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// When it is asked to end.
    pub deadline: Duration,
    /// How long it may take to end before it is made to.
    pub grace: Duration,
    /// Most bytes that it may print, and most that it may complain. One more ends it at once.
    pub max_output: usize,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// A path, or a name to look up in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where to run it.
    pub dir: Option<PathBuf>,
    /// Variables beside those of [`PASSED_ON`], or in their place.
    pub env: Vec<(OsString, OsString)>,
}

/// Why there is no output.
#[derive(Debug)]
pub enum Failure {
    /// There is no such program.
    NotFound {
        /// Which.
        program: String,
    },
    /// It is there, or may be, and does not run.
    NotStarted {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot run where it should.
    NoDirectory {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not finish in time.
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// It printed more than the limit, on either stream.
    TooMuchOutput {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It exited with a code other than 0.
    Exited {
        /// The code.
        code: i32,
        /// How its complaint starts: a few lines at most, joined, no control characters.
        stderr: String,
    },
    /// A signal that was not ours ended it.
    Killed {
        /// Its number; 0 where it has no name.
        signal: i32,
    },
    /// It did not end even when killed. Its guard stays with it until it does.
    Stuck,
    /// Its guard died, so nobody knows.
    Lost,
    /// This process could not do its part.
    Io(io::Error),
}

/// Starts programs, each under a guard.
#[derive(Clone, Debug)]
pub struct Runner {
    guard: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Runner {
    /// A runner whose guards are started from `guard`, see [`own_program`], and whose programs see
    /// those of the `inherited` variables that [`PASSED_ON`] names.
    pub fn new(
        guard: PathBuf,
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Runner {
        let is_passed_on = |name: &OsString| PASSED_ON.iter().any(|it| name == it);
        let env = inherited.into_iter().filter(|(name, _)| is_passed_on(name)).collect();
        Runner { guard, env }
    }

    /// Runs `what` to its end, or to its limits, and returns its standard output if it exited
    /// with code 0.
    pub fn run(
        &self,
        _alone: &FetchLock,
        what: &Invocation,
        limits: Limits,
    ) -> Result<Vec<u8>, Failure> {
        let give_up_at = Now::read().mono + limits.deadline + limits.grace + GUARD_TAKES;
        let mut running = self.start(what, limits).map_err(Failure::Io)?;
        let hung_up = running.listen(limits.max_output, give_up_at);
        let Running { guard, leash, stdout, stderr } = running;
        let guard_id = guard.id();
        reap(guard, hung_up);
        if !hung_up {
            return Err(Failure::Stuck);
        }
        let verdict = Verdict::parse(&leash.kept);
        if verdict != Some(Verdict::Stuck) && (stdout.overflowed || stderr.overflowed) {
            return Err(Failure::TooMuchOutput { limit: limits.max_output });
        }
        let program = || what.program.to_string_lossy().into_owned();
        Err(match verdict {
            Some(Verdict::Exited(0)) => return Ok(stdout.kept),
            Some(Verdict::Exited(code)) => Failure::Exited { code, stderr: excerpt(&stderr.kept) },
            Some(Verdict::Killed(signal)) => Failure::Killed { signal },
            Some(Verdict::NotStarted(errno)) => match io::Error::from_raw_os_error(errno) {
                it if it.kind() == io::ErrorKind::NotFound => {
                    Failure::NotFound { program: program() }
                }
                source => Failure::NotStarted { program: program(), source },
            },
            Some(Verdict::NoDirectory(errno)) => Failure::NoDirectory {
                dir: what.dir.clone().unwrap_or_default(),
                source: io::Error::from_raw_os_error(errno),
            },
            Some(Verdict::TimedOut) => Failure::TimedOut { after: limits.deadline },
            Some(Verdict::Stuck) => Failure::Stuck,
            Some(Verdict::Stopped) => Failure::Lost,
            None => {
                // Somebody killed the guard, and its program goes on without one.
                guard::end_session(guard_id);
                Failure::Lost
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts guards")]
    fn start(&self, what: &Invocation, limits: Limits) -> io::Result<Running> {
        let order = Order {
            deadline: limits.deadline,
            grace: limits.grace,
            dir: what.dir.clone(),
            program: what.program.clone(),
            args: what.args.clone(),
        };
        let (leash, guards_end) = UnixStream::pair()?;
        let (stdout, to_stdout) = io::pipe()?;
        let (stderr, to_stderr) = io::pipe()?;
        leash.set_nonblocking(true)?;
        for pipe in [&stdout, &stderr] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let guard = Command::new(&self.guard)
            .args(order.to_args())
            .env_clear()
            .envs(self.env.iter().chain(&what.env).map(|(name, value)| (name, value)))
            .stdin(OwnedFd::from(guards_end))
            .stdout(to_stdout)
            .stderr(to_stderr)
            .spawn()?;
        Ok(Running {
            guard,
            leash: Stream::new(leash, 64),
            stdout: Stream::new(stdout, limits.max_output),
            stderr: Stream::new(stderr, KEPT_STDERR),
        })
    }
}

/// The path that starts this very program again, also after an upgrade has replaced its file.
pub fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// A guard, and what we hear from it.
#[derive(Debug)]
struct Running {
    guard: Child,
    leash: Stream<UnixStream>,
    stdout: Stream<PipeReader>,
    stderr: Stream<PipeReader>,
}

/// What came out of one descriptor.
#[derive(Debug)]
struct Stream<R> {
    /// `None` once it has ended, or has said too much.
    from: Option<R>,
    keep: usize,
    kept: Vec<u8>,
    n_read: usize,
    overflowed: bool,
}

impl Running {
    /// Reads until the guard has hung up. `false`: it did not in time.
    ///
    /// What ends this is never the end of the output: a survivor may hold a pipe open for ever.
    fn listen(&mut self, max_output: usize, give_up_at: Instant) -> bool {
        loop {
            // First, so that when the guard has hung up, all that there is to read is in the
            // pipes already.
            self.leash.take_in(64);
            self.stdout.take_in(max_output);
            self.stderr.take_in(max_output);
            let Some(leash) = &self.leash.from else { return true };
            if self.stdout.overflowed || self.stderr.overflowed {
                // The guard sees it and ends the program; its verdict still comes the other way.
                leash.shutdown(Shutdown::Write).ok();
            }
            let left = give_up_at.saturating_duration_since(Now::read().mono);
            if left.is_zero() {
                return false;
            }
            self.wait(left);
        }
    }

    fn wait(&self, at_most: Duration) {
        let open = [self.leash.fd(), self.stdout.fd(), self.stderr.fd()];
        let mut fds: Vec<PollFd> =
            open.into_iter().flatten().map(|it| PollFd::new(it, PollFlags::POLLIN)).collect();
        // Rounded up: the last millisecond is slept, not spun.
        let timeout = PollTimeout::try_from(at_most.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        // An interrupted wait is a short one; the caller looks at the clock.
        _ = poll(&mut fds, timeout);
    }
}

impl<R: Read + AsFd> Stream<R> {
    fn new(from: R, keep: usize) -> Stream<R> {
        Stream { from: Some(from), keep, kept: Vec::new(), n_read: 0, overflowed: false }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Takes in what is there now. Beyond `max` bytes in all, closes: who writes on gets SIGPIPE.
    fn take_in(&mut self, max: usize) {
        let mut buf = [0; 16 * 1024];
        while let Some(from) = &mut self.from {
            match from.read(&mut buf) {
                Ok(0) => self.from = None,
                Ok(n) => {
                    let room = self.keep.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buf[..n.min(room)]);
                    self.n_read += n;
                    if self.n_read > max {
                        self.overflowed = true;
                        self.from = None;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.from = None,
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotFound { program } => write!(f, "there is no program {program}"),
            Failure::NotStarted { program, source } => {
                write!(f, "cannot start {program}: {source}")
            }
            Failure::NoDirectory { dir, source } => {
                write!(f, "cannot enter {}: {source}", dir.display())
            }
            Failure::TimedOut { after } => {
                write!(f, "timed out after {} s", after.as_secs_f64())
            }
            Failure::TooMuchOutput { limit } => write!(f, "printed more than {limit} bytes"),
            Failure::Exited { code, stderr } if stderr.is_empty() => {
                write!(f, "failed with exit code {code}")
            }
            Failure::Exited { code, stderr } => {
                write!(f, "failed with exit code {code}: {stderr}")
            }
            Failure::Killed { signal: 0 } => write!(f, "was killed by a signal"),
            Failure::Killed { signal } => write!(f, "was killed by signal {signal}"),
            Failure::Stuck => write!(f, "is stuck: it does not end, not even killed"),
            Failure::Lost => write!(f, "was lost: its guard died"),
            Failure::Io(source) => write!(f, "cannot be run: {source}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::NotStarted { source, .. }
            | Failure::NoDirectory { source, .. }
            | Failure::Io(source) => Some(source),
            _ => None,
        }
    }
}

/// Reaps the guard, once.
fn reap(mut guard: Child, hung_up: bool) {
    if hung_up {
        // It hangs up by exiting, so this does not wait.
        guard.wait().ok();
        return;
    }
    // It sleeps in the kernel, or its program has stopped it. Not killed, because it still does
    // its work when it can go on, and nobody else would.
    kill(Pid::from_raw(guard.id().cast_signed()), Signal::SIGCONT).ok();
    thread::Builder::new().spawn(move || guard.wait()).ok();
}

/// The first three lines that say something, as one line that is safe to show.
fn excerpt(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|it| !it.is_empty()).take(3).collect();
    sanitize::spaced(&lines.join("; ")).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_safe_to_show() {
        assert_eq!(excerpt(b""), "");
        assert_eq!(
            excerpt(b"\n fatal: no\r\n\nhint: \x1b[31mred\xff\nc\nd\n"),
            "fatal: no; hint:  [31mred\u{fffd}; c"
        );
        assert_eq!(excerpt(&b"x".repeat(4096)).len(), 300);
    }

    #[test]
    fn failures_read_well() {
        let after = Duration::from_millis(2500);
        assert_eq!(Failure::TimedOut { after }.to_string(), "timed out after 2.5 s");
        let after = Duration::from_secs(5);
        assert_eq!(Failure::TimedOut { after }.to_string(), "timed out after 5 s");
        let stderr = "fatal: no".to_owned();
        let failure = Failure::Exited { code: 128, stderr };
        assert_eq!(failure.to_string(), "failed with exit code 128: fatal: no");
    }

    #[test]
    fn only_harmless_variables_are_passed_on() {
        let inherited =
            ["PATH", "NOTIFY_SOCKET", "GIT_DIR", "ANTHROPIC_API_KEY", "HOME", "PATHEXT"];
        let inherited = inherited.map(|it| (OsString::from(it), OsString::from("x")));
        let names: Vec<_> =
            Runner::new("/x".into(), inherited).env.into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["PATH", "HOME"]);
    }
}
