//! Runs one program and returns its output, within bounds of time and size that the program cannot
//! break.
//!
//! The program runs under a [`guard`], which ends it and all its descendants at the deadline, or
//! as soon as this process is gone. This process reads the output: no more than the limit, and
//! only while the guard lives. The program has no terminal and no open descriptors but the standard
//! three. Its standard input is empty or has what the caller gives it, and it sees only the
//! environment variables in [`PASSED_ON`] and those that the caller adds.
//!
//! While the guard lives, no other guard runs a program of the same source: see
//! [`SourceLock`](crate::store::lock::SourceLock). So a program that cannot be killed is there once
//! at most, however often its source is tried again.
//!
//! What to run, when, and whether to try again is decided elsewhere.
//!
//! **Invariant:** [`Runner::run`] returns within `deadline + grace` and a quarter of a second.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, PipeReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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

/// The environment variables that a program may see: who and where the user is, in which language,
/// and where configuration files are. No tokens, no sockets of agents, no `NOTIFY_SOCKET`; and no
/// `GIT_*`: a variable that points one shell at one repository must not point all our calls there.
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

/// The `PATH` of programs if the watcher's own has no absolute part.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How much longer than `deadline + grace` the caller waits for the guard. The guard itself gives
/// SIGKILL a little less time than this.
const GUARD_TAKES: Duration = Duration::from_millis(250);

/// Bytes of the guard's verdict. It is one short line.
const MAX_VERDICT: usize = 64;

/// Bytes of the standard error that are kept for the error message.
const KEPT_STDERR: usize = 4096;

/// The bounds of one run. No `Default`: each source states its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// After this time the program gets SIGTERM.
    pub deadline: Duration,
    /// After this time more it gets SIGKILL.
    pub grace: Duration,
    /// Most bytes that it may write to its standard output, and most to its standard error. One
    /// more ends it at once.
    pub max_output: usize,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// A path, or a name to look up in `PATH`.
    pub program: OsString,
    pub args: Vec<OsString>,
    /// The working directory; `None` for the caller's own.
    pub dir: Option<PathBuf>,
    /// Environment variables beside those of [`PASSED_ON`]. They win over variables of the same
    /// name.
    pub env: Vec<(OsString, OsString)>,
    /// What the program finds on its standard input, at most [`guard::MAX_INPUT`] bytes; more is
    /// cut.
    pub input: Vec<u8>,
}

/// Why there is no output.
#[derive(Debug)]
pub enum RunError {
    /// There is no program of this name.
    NotFound { program: String },
    /// The program may exist, but could not be started.
    NotStarted { program: String, source: io::Error },
    /// The working directory could not be entered.
    NoDirectory { dir: PathBuf, source: io::Error },
    /// The program did not exit before its deadline.
    TimedOut { after: Duration },
    /// The program wrote more than the limit, in bytes, on either stream.
    TooMuchOutput { limit: usize },
    /// The program exited with a code other than 0.
    Exited {
        code: i32,
        /// The first three lines of its standard error, joined, without control characters.
        stderr: String,
    },
    /// A signal that the guard did not send ended the program.
    Killed {
        /// 0 for a signal without a name.
        signal: i32,
    },
    /// A process of this id did not end even when killed. Its guard waits until it does.
    Stuck { process: u32 },
    /// The program was not started, because a process of this source's last run still lives; 0
    /// where its id is unknown.
    StillRunning { process: u32 },
    /// The guard died, so it is unknown how the program ended.
    Lost,
    /// This process could not do its part.
    Io(io::Error),
}

/// Starts programs of one source, each under a guard.
#[derive(Clone, Debug)]
pub struct Runner {
    guard: PathBuf,
    env: Vec<(OsString, OsString)>,
    /// The number of the source.
    source: u64,
    /// The bytes of memory that a process may use; `u64::MAX` where there is no limit of ours.
    max_memory: u64,
}

impl Runner {
    /// `guard` is the path that guards are started from, see [`own_program`]. Programs see those of
    /// the `inherited` variables that [`PASSED_ON`] names. The source has the number 0 until
    /// [`Runner::for_source`] is called.
    pub fn new(
        guard: PathBuf,
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Runner {
        let is_passed_on = |name: &OsString| PASSED_ON.iter().any(|passed_on| name == passed_on);
        let mut env: Vec<_> =
            inherited.into_iter().filter(|(name, _)| is_passed_on(name)).collect();
        let position = env.iter().position(|(name, _)| name == "PATH");
        let path = position.map(|nth| env.remove(nth).1).unwrap_or_default();
        env.push(("PATH".into(), absolute_parts(&path)));
        Runner { guard, env, source: 0, max_memory: u64::MAX }
    }

    /// The same for the programs of the source with this number.
    pub fn for_source(&self, source: u64) -> Runner {
        Runner { source, ..self.clone() }
    }

    /// The same for programs of which each process may use this many bytes of memory. Files that it
    /// maps to read them do not count. Only Linux enforces it.
    pub fn within_memory(&self, max_memory: u64) -> Runner {
        Runner { max_memory, ..self.clone() }
    }

    /// Runs `what` until it ends or breaks its limits. Returns its standard output if it exited
    /// with code 0.
    pub fn run(
        &self,
        alone: &FetchLock,
        what: &Invocation,
        limits: RunLimits,
    ) -> Result<Vec<u8>, RunError> {
        let give_up_at = Now::read().mono + limits.deadline + limits.grace + GUARD_TAKES;
        let lock_file = alone.guards_file();
        let mut running = self.start(&lock_file, what, limits).map_err(RunError::Io)?;
        let has_exited = running.listen(limits.max_output, give_up_at);
        let RunningGuard { guard, lifeline, stdout, stderr } = running;
        let guard_id = guard.id();
        reap(guard, has_exited);
        let verdict = match Verdict::parse(&lifeline.kept) {
            // On a busy machine its word comes late.
            None if !has_exited => {
                Some(Verdict::Stuck(guard::one_child_of(guard_id).unwrap_or(guard_id)))
            }
            verdict => verdict,
        };
        let is_stuck = matches!(verdict, Some(Verdict::Stuck(_)));
        if !is_stuck && (stdout.has_overflowed || stderr.has_overflowed) {
            return Err(RunError::TooMuchOutput { limit: limits.max_output });
        }
        let program = || what.program.to_string_lossy().into_owned();
        Err(match verdict {
            Some(Verdict::Exited(0)) => return Ok(stdout.kept),
            Some(Verdict::Exited(code)) => RunError::Exited { code, stderr: excerpt(&stderr.kept) },
            Some(Verdict::Killed(signal)) => RunError::Killed { signal },
            Some(Verdict::NotStarted(errno)) => match io::Error::from_raw_os_error(errno) {
                source if source.kind() == io::ErrorKind::NotFound => {
                    RunError::NotFound { program: program() }
                }
                source => RunError::NotStarted { program: program(), source },
            },
            Some(Verdict::NoDirectory(errno)) => RunError::NoDirectory {
                dir: what.dir.clone().unwrap_or_default(),
                source: io::Error::from_raw_os_error(errno),
            },
            Some(Verdict::TimedOut) => RunError::TimedOut { after: limits.deadline },
            Some(Verdict::Stuck(process)) => RunError::Stuck { process },
            Some(Verdict::StillRunning(process)) => RunError::StillRunning { process },
            Some(Verdict::NotLocked(errno)) => {
                let why = io::Error::from_raw_os_error(errno);
                let error = format!("cannot lock {}: {why}", lock_file.display());
                RunError::Io(io::Error::new(why.kind(), error))
            }
            Some(Verdict::Stopped) => RunError::Lost,
            None => {
                // The guard was killed, and the program goes on without one.
                guard::end_session(guard_id);
                RunError::Lost
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts guards")]
    fn start(
        &self,
        lock_file: &Path,
        what: &Invocation,
        limits: RunLimits,
    ) -> io::Result<RunningGuard> {
        let input = &what.input[..what.input.len().min(guard::MAX_INPUT)];
        let order = Order {
            deadline: limits.deadline,
            grace: limits.grace,
            n_input: input.len(),
            lock_file: lock_file.to_owned(),
            source: self.source,
            max_memory: self.max_memory,
            dir: what.dir.clone(),
            program: what.program.clone(),
            args: what.args.clone(),
        };
        let (lifeline, guards_end) = UnixStream::pair()?;
        let (stdout, to_stdout) = io::pipe()?;
        let (stderr, to_stderr) = io::pipe()?;
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
        // The guard reads this first. One that was stopped does not, and must not hold this thread.
        lifeline.set_write_timeout(Some(limits.deadline))?;
        (&lifeline).write_all(input).ok();
        lifeline.set_nonblocking(true)?;
        Ok(RunningGuard {
            guard,
            lifeline: Stream::new(lifeline, MAX_VERDICT),
            stdout: Stream::new(stdout, limits.max_output),
            stderr: Stream::new(stderr, KEPT_STDERR),
        })
    }
}

/// The absolute directories of a `PATH`, or the usual ones if it has none. A relative or empty part
/// would mean the directory that a program runs in: in a working tree, `git` would then be whatever
/// the repository calls so.
fn absolute_parts(path: &OsStr) -> OsString {
    let parts: Vec<_> = std::env::split_paths(path).filter(|it| it.is_absolute()).collect();
    match std::env::join_paths(&parts) {
        Ok(path) if !parts.is_empty() => path,
        _ => USUAL_PATH.into(),
    }
}

/// The path that starts this program again, in this very version even after an upgrade has
/// replaced its file.
pub fn own_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// A running guard, and the streams that come from it.
#[derive(Debug)]
struct RunningGuard {
    guard: Child,
    lifeline: Stream<UnixStream>,
    stdout: Stream<PipeReader>,
    stderr: Stream<PipeReader>,
}

/// What was read from one descriptor.
#[derive(Debug)]
struct Stream<R> {
    /// `None` once it has ended, or more than allowed was read.
    from: Option<R>,
    kept: Vec<u8>,
    /// Most bytes that are kept. The rest is counted.
    max_kept: usize,
    n_read: usize,
    has_overflowed: bool,
}

impl RunningGuard {
    /// Reads until the guard closes the lifeline, which it does by exiting. Returns `false` if it
    /// has not by `give_up_at`, or says that it will not soon.
    ///
    /// The end of the output is not waited for: a surviving process may hold a pipe open for ever.
    fn listen(&mut self, max_output: usize, give_up_at: Instant) -> bool {
        loop {
            // Comes first: once the guard has hung up, the pipes hold all that there is to read.
            self.lifeline.take_in(MAX_VERDICT);
            self.stdout.take_in(max_output);
            self.stderr.take_in(max_output);
            let Some(lifeline) = &self.lifeline.from else { return true };
            if let Some(Verdict::Stuck(_)) = Verdict::parse(&self.lifeline.kept) {
                return false;
            }
            if self.stdout.has_overflowed || self.stderr.has_overflowed {
                // The guard notices and ends the program. Its verdict still comes the other way.
                lifeline.shutdown(Shutdown::Write).ok();
            }
            let left = give_up_at.saturating_duration_since(Now::read().mono);
            if left.is_zero() {
                return false;
            }
            self.wait(left);
        }
    }

    fn wait(&self, at_most: Duration) {
        let open = [self.lifeline.fd(), self.stdout.fd(), self.stderr.fd()];
        let mut fds: Vec<PollFd> =
            open.into_iter().flatten().map(|it| PollFd::new(it, PollFlags::POLLIN)).collect();
        // Rounded up, so that less than a millisecond is slept through and not polled in a loop.
        let timeout = PollTimeout::try_from(at_most.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        // An interrupted wait ends early, which the caller sees from the clock.
        _ = poll(&mut fds, timeout);
    }
}

impl<R: Read + AsFd> Stream<R> {
    fn new(from: R, max_kept: usize) -> Stream<R> {
        Stream { from: Some(from), kept: Vec::new(), max_kept, n_read: 0, has_overflowed: false }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there now. Closes the descriptor beyond `max` bytes in all: a program that
    /// writes on gets SIGPIPE.
    fn take_in(&mut self, max: usize) {
        let mut buf = [0; 16 * 1024];
        while let Some(from) = &mut self.from {
            match from.read(&mut buf) {
                Ok(0) => self.from = None,
                Ok(n) => {
                    let room = self.max_kept.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buf[..n.min(room)]);
                    self.n_read += n;
                    if self.n_read > max {
                        self.has_overflowed = true;
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

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::NotFound { program } => write!(f, "there is no program {program}"),
            RunError::NotStarted { program, source } => {
                write!(f, "cannot start {program}: {source}")
            }
            RunError::NoDirectory { dir, source } => {
                write!(f, "cannot enter {}: {source}", dir.display())
            }
            RunError::TimedOut { after } => {
                write!(f, "timed out after {} s", after.as_secs_f64())
            }
            RunError::TooMuchOutput { limit } => write!(f, "printed more than {limit} bytes"),
            RunError::Exited { code, stderr } if stderr.is_empty() => {
                write!(f, "failed with exit code {code}")
            }
            RunError::Exited { code, stderr } => {
                write!(f, "failed with exit code {code}: {stderr}")
            }
            RunError::Killed { signal: 0 } => write!(f, "was killed by a signal"),
            RunError::Killed { signal } => write!(f, "was killed by signal {signal}"),
            RunError::Stuck { process } => {
                write!(f, "is stuck: process {process} does not end, not even killed")
            }
            RunError::StillRunning { process: 0 } => {
                write!(f, "cannot run again: its last run has not ended")
            }
            RunError::StillRunning { process } => {
                write!(f, "cannot run again: process {process} of its last run has not ended")
            }
            RunError::Lost => write!(f, "was lost: its guard died"),
            RunError::Io(source) => write!(f, "cannot be run: {source}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RunError::NotStarted { source, .. }
            | RunError::NoDirectory { source, .. }
            | RunError::Io(source) => Some(source),
            _ => None,
        }
    }
}

/// Reaps the guard, at once or in a thread.
fn reap(mut guard: Child, has_exited: bool) {
    if has_exited {
        // This does not wait, and afterwards its lock is free.
        guard.wait().ok();
        return;
    }
    // It waits for a program that is stuck, sleeps in the kernel, or was stopped by its program. It
    // is not killed: it still ends its program, and no other process would. There is one such
    // thread for a source at most, since guards that find its lock held exit.
    kill(Pid::from_raw(guard.id().cast_signed()), Signal::SIGCONT).ok();
    thread::Builder::new().spawn(move || guard.wait()).ok();
}

/// The first three lines that are not blank, joined into one that is safe to show.
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
    fn errors_are_worded_for_people() {
        let after = Duration::from_millis(2500);
        assert_eq!(RunError::TimedOut { after }.to_string(), "timed out after 2.5 s");
        let after = Duration::from_secs(5);
        assert_eq!(RunError::TimedOut { after }.to_string(), "timed out after 5 s");
        let stderr = "fatal: no".to_owned();
        let error = RunError::Exited { code: 128, stderr };
        assert_eq!(error.to_string(), "failed with exit code 128: fatal: no");
        let error = RunError::StillRunning { process: 7 }.to_string();
        assert_eq!(error, "cannot run again: process 7 of its last run has not ended");
        let error = RunError::StillRunning { process: 0 }.to_string();
        assert_eq!(error, "cannot run again: its last run has not ended");
    }

    #[test]
    fn only_the_listed_variables_are_passed_on() {
        let inherited =
            ["PATH", "NOTIFY_SOCKET", "GIT_DIR", "ANTHROPIC_API_KEY", "HOME", "PATHEXT"];
        let inherited = inherited.map(|it| (OsString::from(it), OsString::from("x")));
        let names: Vec<_> =
            Runner::new("/x".into(), inherited).env.into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["HOME", "PATH"]);
    }

    #[test]
    fn only_absolute_parts_of_the_path_are_searched() {
        #[track_caller]
        fn check(path: &str, expected: &str) {
            assert_eq!(absolute_parts(OsStr::new(path)), expected, "{path:?}");
        }
        check("/usr/bin:/bin", "/usr/bin:/bin");
        for relative in
            [":/usr/bin", ".:/usr/bin", "bin:/usr/bin", "/usr/bin:", "../x:/usr/bin:~/y"]
        {
            check(relative, "/usr/bin");
        }
        for none in ["", ".", "bin:", "::"] {
            check(none, USUAL_PATH);
        }
        let runner = Runner::new("/x".into(), [("HOME".into(), "/h".into())]);
        assert!(runner.env.contains(&("PATH".into(), USUAL_PATH.into())), "without a PATH");
    }
}
