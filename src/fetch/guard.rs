//! The guard: a small process around every program we start, so that no program outlives its run.
//!
//! It is our own binary again, as `ccstatusd __guard …`. The watcher cannot do a guard's work
//! itself: it may be killed with SIGKILL, and would then clean nothing up.
//!
//! The guard's standard input is the *lifeline*, one end of a socket pair. The watcher alone holds
//! the other end, and when that closes, the watcher is gone or wants the program to end. A SIGHUP,
//! SIGINT or SIGTERM to the guard means the same. Before the program starts, the lifeline carries
//! what the program shall find on its standard input. In the other direction it carries one line,
//! the verdict. The program's output does not pass through here: it writes to the guard's
//! own standard output and error.
//!
//! The program runs in a process group of its own, in a session without a terminal, so it cannot
//! ask the user anything. To end it, the guard sends SIGTERM to the group, waits for a grace
//! period, and sends SIGKILL to the group and to each descendant that has become its own child.
//!
//! SIGKILL does not end a process that became root, and one that sleeps in the kernel only once it
//! wakes. If one is left, the guard says so, and stays until it has ended. Meanwhile it holds the
//! lock of its source, so that the program is not started a second time by any process.
//!
//! **Invariant:** when the guard exits, everything that it started is dead and reaped, however long
//! that takes. Only Linux lets the guard adopt processes that left the group; elsewhere this covers
//! the group alone. Nobody keeps this for a guard that is itself killed with SIGKILL: see
//! [`end_session`].
//!
//! See docs/decisions/003-a-guard-around-every-program.md.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[cfg(target_os = "linux")]
use super::process;
use super::process::Stat;
use crate::store::lock::SourceLock;
use crate::time::{Now, pause};

/// The hidden subcommand for which the program's `main` calls [`main`].
pub const SUBCOMMAND: &str = "__guard";

/// Bytes of a program's standard input. A pipe on Linux takes so many at once, so that the thread
/// that writes them does not wait for a program that reads nothing.
pub const MAX_INPUT: usize = 64 << 10;

/// How long SIGKILL may take. Only a process that sleeps in the kernel needs longer, for example on
/// a dead network disk, or one that became root, and then there is no limit.
const KILL_TAKES: Duration = Duration::from_millis(200);
/// How long to wait before looking again whether what was killed has ended. Most ends at once; what
/// does not is waited for until the deadline, which may be far.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
/// How often to try the lock of the source while another guard holds it.
const TRY_LOCK_EVERY: Duration = Duration::from_millis(10);

/// Runs the guard with the arguments after [`SUBCOMMAND`].
///
/// It never prints anything: standard output and error belong to the program.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let started_at = Now::read().mono;
    // It was started as `/proc/self/exe`, and would be called `exe` in lists of processes. A name
    // has at most 15 bytes.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_name(c"ccstatusd-guard").ok();
    close_inherited();
    let lifeline = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let (Some(order), Ok(lifeline)) = (Order::parse(args), lifeline) else {
        return ExitCode::FAILURE;
    };
    let report = |verdict: Verdict| {
        // This fails where the watcher is gone.
        (&lifeline).write_all(verdict.to_line().as_bytes()).ok();
    };
    match lifeline.try_clone() {
        Ok(clone) => order.carry_out(clone, started_at, report),
        Err(err) => report(Verdict::NotStarted(errno(&err))),
    }
    ExitCode::SUCCESS
}

/// What a guard is to run, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) deadline: Duration,
    pub(super) grace: Duration,
    /// The file of which one byte is locked while the program runs, see [`SourceLock`].
    pub(super) lock_file: PathBuf,
    /// The number of the source, which selects the byte.
    pub(super) source: u64,
    /// The bytes of memory that each process may use.
    pub(super) max_memory: u64,
    /// How many bytes of the lifeline are the program's standard input.
    pub(super) n_input: usize,
    /// The working directory. The guard enters it, since the watcher must not hang on a dead disk.
    pub(super) dir: Option<PathBuf>,
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The program exited by itself, with this code.
    Exited(i32),
    /// A signal that the guard did not send ended it; 0 is a signal without a name.
    Killed(i32),
    /// It was not started, because of this error number.
    NotStarted(i32),
    /// Its directory could not be entered, because of this error number.
    NoDirectory(i32),
    /// The deadline passed.
    TimedOut,
    /// The lifeline was closed, or the guard got a signal.
    Stopped,
    /// The process with this id, among others perhaps, survived SIGKILL.
    Stuck(u32),
    /// It was not started: a process of the source's last run lives. This is its id, or 0.
    StillRunning(u32),
    /// It was not started: the source could not be locked, because of this error number.
    NotLocked(i32),
}

/// What the guard waits for.
#[derive(Debug)]
enum GuardEvent {
    Exited(Verdict),
    /// The lifeline was closed, or a signal came.
    StopRequested,
}

impl Order {
    /// The arguments that [`Order::parse`] reads, [`SUBCOMMAND`] first.
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            SUBCOMMAND.into(),
            self.deadline.as_millis().to_string().into(),
            self.grace.as_millis().to_string().into(),
            self.lock_file.clone().into(),
            self.source.to_string().into(),
            self.max_memory.to_string().into(),
            self.n_input.to_string().into(),
            // An empty path stands for no directory.
            self.dir.clone().unwrap_or_default().into(),
            self.program.clone(),
        ];
        args.extend_from_slice(&self.args);
        args
    }

    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Order> {
        let millis = |arg: OsString| arg.to_str()?.parse().ok().map(Duration::from_millis);
        Some(Order {
            deadline: millis(args.next()?)?,
            grace: millis(args.next()?)?,
            lock_file: args.next()?.into(),
            source: args.next()?.to_str()?.parse().ok()?,
            max_memory: args.next()?.to_str()?.parse().ok()?,
            n_input: args.next()?.to_str()?.parse().ok().filter(|it| *it <= MAX_INPUT)?,
            dir: Some(PathBuf::from(args.next()?)).filter(|it| !it.as_os_str().is_empty()),
            program: args.next()?,
            args: args.collect(),
        })
    }

    /// Runs the program, and calls `report` with the verdict. Returns once everything that was
    /// started has ended, which is later if that is stuck.
    fn carry_out(&self, mut lifeline: UnixStream, started_at: Instant, report: impl Fn(Verdict)) {
        isolate();
        let mut input = vec![0; self.n_input];
        if lifeline.read_exact(&mut input).is_err() {
            // The watcher ended before it had written all.
            return;
        }
        // Room for all events there can be: the program's exit, the lifeline's end, one signal.
        let (sender, events) = crossbeam_channel::bounded(3);
        let watched =
            watch_signals(sender.clone()).and_then(|()| watch_lifeline(lifeline, sender.clone()));
        if let Err(err) = watched {
            return report(Verdict::NotStarted(errno(&err)));
        }
        let _lock = match self.lock_source(&events, started_at) {
            Ok(lock) => lock,
            Err(verdict) => return report(verdict),
        };
        if let Some(dir) = &self.dir
            && let Err(err) = std::env::set_current_dir(dir)
        {
            return report(Verdict::NoDirectory(errno(&err)));
        }
        let leader = match self.start(input) {
            Ok(leader) => leader,
            Err(err) => return report(Verdict::NotStarted(errno(&err))),
        };
        let give_up_at = started_at + self.deadline;
        let verdict = match watch_leader(leader, sender) {
            Ok(()) => self.wait(leader, &events, give_up_at),
            Err(err) => Verdict::NotStarted(errno(&err)),
        };
        if end_everything(leader, give_up_at) {
            return report(verdict);
        }
        let left = one_child_of(std::process::id());
        report(Verdict::Stuck(left.unwrap_or(leader.as_raw().cast_unsigned())));
        wait_for_children();
    }

    /// Locks the source. If another guard holds the lock, its watcher was probably killed just now,
    /// and it ends its program. So this waits for as long as that takes.
    fn lock_source(
        &self,
        events: &Receiver<GuardEvent>,
        started_at: Instant,
    ) -> Result<SourceLock, Verdict> {
        let give_up_at = started_at + self.deadline.min(self.grace + KILL_TAKES);
        loop {
            match SourceLock::try_acquire(&self.lock_file, self.source) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => {}
                Err(err) => return Err(Verdict::NotLocked(errno(&err))),
            }
            if Now::read().mono >= give_up_at {
                let holder = SourceLock::holder(&self.lock_file, self.source);
                let left = holder.map(|guard| one_child_of(guard).unwrap_or(guard));
                return Err(Verdict::StillRunning(left.unwrap_or(0)));
            }
            if events.recv_timeout(TRY_LOCK_EVERY).is_ok() {
                return Err(Verdict::Stopped);
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the guard, which bounds it")]
    fn start(&self, input: Vec<u8>) -> io::Result<Pid> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
        if self.max_memory < soft {
            // The program inherits it. The guard itself needs little.
            setrlimit(Resource::RLIMIT_DATA, self.max_memory, hard)?;
        }
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child =
            Command::new(&self.program).args(&self.args).stdin(stdin).process_group(0).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // It fails where the program closes its input, which is the program's affair.
            thread::Builder::new().spawn(move || stdin.write_all(&input))?;
        }
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Waits for the program's exit, a request to stop, or the deadline. Unless it is the exit,
    /// asks the program to end, and gives it the grace period.
    fn wait(&self, leader: Pid, events: &Receiver<GuardEvent>, give_up_at: Instant) -> Verdict {
        let verdict = match events.recv_deadline(give_up_at) {
            Ok(GuardEvent::Exited(verdict)) => return verdict,
            Ok(GuardEvent::StopRequested) => Verdict::Stopped,
            Err(_) => Verdict::TimedOut,
        };
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            // A stopped process gets SIGTERM only when it is continued.
            killpg(leader, signal).ok();
        }
        // A request to stop changes nothing now. Any other event means that the program has exited.
        let grace_ends_at = Now::read().mono + self.grace;
        while let Ok(GuardEvent::StopRequested) = events.recv_deadline(grace_ends_at) {}
        verdict
    }
}

impl Verdict {
    fn to_line(self) -> String {
        match self {
            Verdict::Exited(code) => format!("exited {code}\n"),
            Verdict::Killed(signal) => format!("killed {signal}\n"),
            Verdict::NotStarted(errno) => format!("not-started {errno}\n"),
            Verdict::NoDirectory(errno) => format!("no-directory {errno}\n"),
            Verdict::TimedOut => "timed-out 0\n".to_owned(),
            Verdict::Stopped => "stopped 0\n".to_owned(),
            Verdict::Stuck(process) => format!("stuck {process}\n"),
            Verdict::StillRunning(process) => format!("still-running {process}\n"),
            Verdict::NotLocked(errno) => format!("not-locked {errno}\n"),
        }
    }

    /// Reads a guard's line. `None` where the guard died before it had written all of it.
    pub(super) fn parse(line: &[u8]) -> Option<Verdict> {
        let (word, number) = str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
        let number: i32 = number.parse().ok()?;
        match word {
            "exited" => Some(Verdict::Exited(number)),
            "killed" => Some(Verdict::Killed(number)),
            "not-started" => Some(Verdict::NotStarted(number)),
            "no-directory" => Some(Verdict::NoDirectory(number)),
            "timed-out" => Some(Verdict::TimedOut),
            "stopped" => Some(Verdict::Stopped),
            "stuck" => Some(Verdict::Stuck(number.cast_unsigned())),
            "still-running" => Some(Verdict::StillRunning(number.cast_unsigned())),
            "not-locked" => Some(Verdict::NotLocked(number)),
            _ => None,
        }
    }
}

/// Closes every descriptor but the standard three: those that an ancestor forgot to mark
/// close-on-exec. Call this before the process opens anything.
pub(crate) fn close_inherited() {
    let Ok(entries) = fs_err::read_dir("/dev/fd") else { return };
    let open: Vec<i32> =
        entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|it| *it > 2) {
        // For the descriptor of the listing itself this fails: it is closed already.
        nix::unistd::close(fd).ok();
    }
}

/// Starts a session without a terminal, and makes the guard adopt every orphan below it.
fn isolate() {
    // Fails only for a group leader, which a guard is only when a user starts it in a shell.
    nix::unistd::setsid().ok();
    #[cfg(target_os = "linux")]
    {
        // Since Linux 3.4. Without it only the process group is ended.
        nix::sys::prctl::set_child_subreaper(true).ok();
        // The program may stop its guard. If the watcher is then killed, this signal continues the
        // guard, which finds the lifeline closed.
        nix::sys::prctl::set_pdeathsig(Signal::SIGCONT).ok();
    }
}

fn watch_lifeline(mut lifeline: UnixStream, sender: Sender<GuardEvent>) -> io::Result<()> {
    let until_closed = move || {
        // The watcher writes no more, so this returns only once the lifeline is closed.
        lifeline.read_exact(&mut [0]).ok();
        sender.send(GuardEvent::StopRequested).ok();
    };
    thread::Builder::new().spawn(until_closed).map(drop)
}

/// Takes signals as requests to stop: `pkill ccstatusd` finds guards too, and must not leave their
/// programs behind.
fn watch_signals(sender: Sender<GuardEvent>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let until_signal = move || {
        signals.forever().next();
        // Later signals do nothing: signal-hook never restores a signal's default effect.
        sender.send(GuardEvent::StopRequested).ok();
    };
    thread::Builder::new().spawn(until_signal).map(drop)
}

fn watch_leader(leader: Pid, sender: Sender<GuardEvent>) -> io::Result<()> {
    let until_exit = move || {
        let verdict = match wait_for_exit(leader) {
            Ok(WaitStatus::Exited(_, code)) => Verdict::Exited(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Verdict::Killed(signal as i32),
            // A real-time signal, which nix does not name.
            _ => Verdict::Killed(0),
        };
        sender.send(GuardEvent::Exited(verdict)).ok();
    };
    thread::Builder::new().spawn(until_exit).map(drop)
}

/// Waits for the leader's exit and does not reap it: the kernel cannot give its id to another
/// group before [`end_everything`] has signalled this one and reaped everything.
#[cfg(target_os = "linux")]
fn wait_for_exit(leader: Pid) -> nix::Result<WaitStatus> {
    use nix::sys::wait::{Id, waitid};
    loop {
        match waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            res => return res,
        }
    }
}

/// Waits for the leader's exit and reaps it, since there is no `waitid`. For a moment, until the
/// group is signalled, the kernel may give its id to another.
#[cfg(not(target_os = "linux"))]
fn wait_for_exit(leader: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(leader, None) {
            Err(Errno::EINTR) => {}
            res => return res,
        }
    }
}

/// Kills and reaps until no child is left. Returns `false` if one still is when the time is up:
/// at `give_up_at`, or after [`KILL_TAKES`] if that is later.
fn end_everything(leader: Pid, give_up_at: Instant) -> bool {
    let until = (Now::read().mono + KILL_TAKES).max(give_up_at);
    let mut patience = SHORTEST_PAUSE;
    killpg(leader, Signal::SIGKILL).ok();
    while Now::read().mono < until {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(WaitStatus::StillAlive) => {
                // Only now, since finding children takes a look at every process, which is rarely
                // needed. Each round may find more: orphans of those that the last round killed.
                kill_children();
                let look_at = (Now::read().mono + patience).min(until);
                crossbeam_channel::never::<()>().recv_deadline(look_at).ok();
                patience = (patience * 2).min(LONGEST_PAUSE);
            }
            _ => patience = SHORTEST_PAUSE,
        }
    }
    false
}

/// Reaps until no child is left, however long that takes. After each, kills those that were adopted
/// meanwhile. SIGHUP, SIGINT and SIGTERM do not end this wait: they ask for what was done already.
fn wait_for_children() {
    // Nobody waits for output any more, so nobody should wait for its end.
    for output in [1, 2] {
        nix::unistd::close(output).ok();
    }
    loop {
        match waitpid(None, None) {
            Err(Errno::ECHILD) => return,
            Err(_) => {}
            Ok(_) => kill_children(),
        }
    }
}

/// Kills the guard's children, adopted ones included. Not their children in turn: only an id of our
/// own child is sure to stay that child's, since no other process can reap it.
fn kill_children() {
    for child in children() {
        kill(child, Signal::SIGKILL).ok();
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let me = nix::unistd::getpid();
    processes(|stat| stat.parent == me.as_raw())
}

/// Reaps the guards that this process had started before an upgrade, when it was another program.
/// They end, since the lifelines were closed. Call this before anything is started.
///
/// Each has a thread, since a guard may have to stay. See [`Verdict::Stuck`].
#[cfg(target_os = "linux")]
pub fn reap_inherited() {
    let me = nix::unistd::getpid().as_raw();
    let is_child = |pid: &u32| process::stat_or_zombie(*pid).is_some_and(|it| it.parent == me);
    for child in process_ids().filter(is_child) {
        let child = Pid::from_raw(child.cast_signed());
        thread::Builder::new().name("reap".to_owned()).spawn(move || waitpid(child, None)).ok();
    }
}

/// Without `/proc` they are not found, and stay zombies until this process ends.
#[cfg(not(target_os = "linux"))]
pub fn reap_inherited() {}

/// The id of some child of a guard, for messages.
pub(super) fn one_child_of(guard: u32) -> Option<u32> {
    let children = processes(|stat| stat.parent.cast_unsigned() == guard);
    children.first().map(|it| it.as_raw().cast_unsigned())
}

/// Kills what a killed guard leaves behind: the processes in the session that it had made for its
/// program. A process that has left the session is out of reach.
pub(super) fn end_session(guard: u32) {
    // Each round may find processes that were started during the last one.
    for _ in 0..50 {
        let left = processes(|stat| stat.session.cast_unsigned() == guard);
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, Signal::SIGKILL).ok();
        }
        pause(Duration::from_millis(1));
    }
}

/// The living processes that `is_wanted` selects. Zombies are not among them.
#[cfg(target_os = "linux")]
fn processes(is_wanted: impl Fn(&Stat) -> bool) -> Vec<Pid> {
    let is_wanted = |pid: &u32| process::stat(*pid).is_some_and(|stat| is_wanted(&stat));
    process_ids().filter(is_wanted).map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

/// The ids of all processes.
#[cfg(target_os = "linux")]
fn process_ids() -> impl Iterator<Item = u32> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|it| it.file_name().to_str()?.parse().ok())
}

#[cfg(not(target_os = "linux"))]
fn processes(_: impl Fn(&Stat) -> bool) -> Vec<Pid> {
    Vec::new()
}

fn errno(err: &io::Error) -> i32 {
    err.raw_os_error().unwrap_or(Errno::EINVAL as i32)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[track_caller]
    fn check_order(order: &Order) {
        let args = order.to_args();
        assert_eq!(args[0], SUBCOMMAND);
        assert_eq!(Order::parse(args.into_iter().skip(1)).as_ref(), Some(order));
    }

    #[test]
    fn an_order_survives_the_command_line() {
        let mut order = Order {
            deadline: Duration::from_millis(5000),
            grace: Duration::ZERO,
            lock_file: "/s/guard.lock".into(),
            source: u64::MAX,
            max_memory: 1 << 31,
            n_input: 7,
            dir: None,
            program: OsString::from_vec(b"a \xff\n".to_vec()),
            args: vec![],
        };
        check_order(&order);
        order.dir = Some("/a b".into());
        order.args = vec!["--".into(), "".into(), "__guard".into()];
        check_order(&order);
    }

    #[test]
    fn an_incomplete_order_is_refused() {
        let whole = ["1", "2", "/s/guard.lock", "3", "4", "5", "", "true"];
        let parse = |args: &[&str]| Order::parse(args.iter().map(OsString::from));
        assert!(parse(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{:?}", &whole[..end]);
        }
        for number in [0, 1, 3, 4, 5] {
            let mut wrong = whole;
            wrong[number] = "x";
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_verdict_is_read_whole_or_not_at_all() {
        for verdict in [
            Verdict::Exited(0),
            Verdict::Exited(127),
            Verdict::Killed(9),
            Verdict::NotStarted(2),
            Verdict::NoDirectory(20),
            Verdict::TimedOut,
            Verdict::Stopped,
            Verdict::Stuck(7),
            Verdict::StillRunning(0),
            Verdict::NotLocked(28),
        ] {
            let line = verdict.to_line();
            assert_eq!(Verdict::parse(line.as_bytes()), Some(verdict));
            for end in 0..line.len() {
                assert_eq!(Verdict::parse(&line.as_bytes()[..end]), None, "{:?}", &line[..end]);
            }
        }
    }
}
