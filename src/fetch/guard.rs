//! A small process around every program we start, so that no program outlives its fetch.
//!
//! It is our own binary again, as `ccstatusd __guard …`, and it exists because a process that is
//! killed with SIGKILL cleans nothing up: the watcher may die, and its guards still do their work.
//! The guard's standard input is the *leash*, one end of a socket pair whose other end the watcher
//! alone holds. When that closes, the watcher is gone or wants an end. On the way back the leash
//! carries one line, the verdict. A signal to the guard means the same as a slack leash. The
//! program's output does not pass through here: it writes to the guard's own standard output and
//! error.
//!
//! The program runs in a process group of its own, in a session without a terminal, so nothing it
//! starts can ask anybody anything. The end is SIGTERM to the group, a grace, SIGKILL to the
//! group, and SIGKILL to whatever was left to the guard as its child.
//!
//! **Invariant:** when the guard exits, everything that it started is dead and reaped, or the
//! verdict is `Stuck`. Elsewhere than on Linux this covers the process group only:
//! there is no way to adopt what left it.

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
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[cfg(target_os = "linux")]
use super::process;
use super::process::Stat;
use crate::time::{Now, pause};

/// The hidden subcommand under which `main` comes here.
pub const SUBCOMMAND: &str = "__guard";

/// How long SIGKILL may take. Only a process that sleeps in the kernel, on a dead network disk
/// say, needs longer, and then nobody knows how much.
const KILL_TAKES: Duration = Duration::from_millis(200);

/// Runs the guard with the arguments after [`SUBCOMMAND`].
///
/// Nothing is printed, whatever happens: standard output and error belong to the program.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let started_at = Now::read().mono;
    close_inherited();
    let leash = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let (Some(order), Ok(mut leash)) = (Order::parse(args), leash) else {
        return ExitCode::FAILURE;
    };
    let verdict = match leash.try_clone() {
        Ok(it) => order.carry_out(it, started_at),
        Err(err) => Verdict::NotStarted(errno(&err)),
    };
    // Nobody reads it when the watcher is gone.
    leash.write_all(verdict.to_line().as_bytes()).ok();
    ExitCode::SUCCESS
}

/// What a guard is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) deadline: Duration,
    pub(super) grace: Duration,
    /// Where to run it. Entered here and not by the watcher, which must not hang on a dead disk.
    pub(super) dir: Option<PathBuf>,
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The program exited by itself, with this code.
    Exited(i32),
    /// A signal that is not ours ended it; 0 is one that has no name.
    Killed(i32),
    /// It was not started, because of this error number.
    NotStarted(i32),
    /// Its directory could not be entered, because of this error number.
    NoDirectory(i32),
    /// The deadline passed.
    TimedOut,
    /// The leash went slack, or somebody sent the guard a signal.
    Stopped,
    /// Something survived SIGKILL.
    Stuck,
}

#[derive(Debug)]
enum Event {
    Exited(Verdict),
    Unleashed,
}

impl Order {
    /// The arguments that [`Order::parse`] reads, [`SUBCOMMAND`] first.
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            SUBCOMMAND.into(),
            self.deadline.as_millis().to_string().into(),
            self.grace.as_millis().to_string().into(),
            // An empty path is no directory's.
            self.dir.clone().unwrap_or_default().into(),
            self.program.clone(),
        ];
        args.extend_from_slice(&self.args);
        args
    }

    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Order> {
        let millis = |it: OsString| it.to_str()?.parse().ok().map(Duration::from_millis);
        Some(Order {
            deadline: millis(args.next()?)?,
            grace: millis(args.next()?)?,
            dir: Some(PathBuf::from(args.next()?)).filter(|it| !it.as_os_str().is_empty()),
            program: args.next()?,
            args: args.collect(),
        })
    }

    fn carry_out(&self, leash: UnixStream, started_at: Instant) -> Verdict {
        isolate();
        // Room for all that is ever sent: the program's exit, the leash, one signal.
        let (tell, events) = crossbeam_channel::bounded(3);
        let watched = watch_signals(tell.clone()).and_then(|()| watch_leash(leash, tell.clone()));
        if let Err(err) = watched {
            return Verdict::NotStarted(errno(&err));
        }
        if let Some(dir) = &self.dir
            && let Err(err) = std::env::set_current_dir(dir)
        {
            return Verdict::NoDirectory(errno(&err));
        }
        let leader = match self.start() {
            Ok(it) => it,
            Err(err) => return Verdict::NotStarted(errno(&err)),
        };
        let give_up_at = started_at + self.deadline;
        let verdict = match watch_leader(leader, tell) {
            Ok(()) => self.wait(leader, &events, give_up_at),
            Err(err) => Verdict::NotStarted(errno(&err)),
        };
        if end_everything(leader, give_up_at) { verdict } else { Verdict::Stuck }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the guard, which bounds it")]
    fn start(&self) -> io::Result<Pid> {
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Waits for whichever comes first. If that is not the program's own exit, asks it to end.
    fn wait(&self, leader: Pid, events: &Receiver<Event>, give_up_at: Instant) -> Verdict {
        let verdict = match events.recv_deadline(give_up_at) {
            Ok(Event::Exited(it)) => return it,
            Ok(Event::Unleashed) => Verdict::Stopped,
            Err(_) => Verdict::TimedOut,
        };
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            // A stopped process sees SIGTERM only when it goes on.
            killpg(leader, signal).ok();
        }
        // A leash that goes slack now changes nothing: the end has begun.
        let grace_ends_at = Now::read().mono + self.grace;
        while let Ok(Event::Unleashed) = events.recv_deadline(grace_ends_at) {}
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
            Verdict::Stuck => "stuck 0\n".to_owned(),
        }
    }

    /// Reads what a guard said. `None`: it died before it had said all.
    pub(super) fn parse(line: &[u8]) -> Option<Verdict> {
        let (word, number) = str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "exited" => Some(Verdict::Exited(number)),
            "killed" => Some(Verdict::Killed(number)),
            "not-started" => Some(Verdict::NotStarted(number)),
            "no-directory" => Some(Verdict::NoDirectory(number)),
            "timed-out" => Some(Verdict::TimedOut),
            "stopped" => Some(Verdict::Stopped),
            "stuck" => Some(Verdict::Stuck),
            _ => None,
        }
    }
}

/// Closes what somebody far above us forgot to mark close-on-exec. Comes first: nothing of our
/// own is open yet.
fn close_inherited() {
    let Ok(entries) = fs_err::read_dir("/dev/fd") else { return };
    let open: Vec<i32> =
        entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|it| *it > 2) {
        // The listing's own descriptor is in the list, and closed by now.
        nix::unistd::close(fd).ok();
    }
}

/// Takes us out of the terminal's reach, and makes us the parent of every orphan below us.
fn isolate() {
    // Fails only for a group leader, which a guard is not unless a person started it.
    nix::unistd::setsid().ok();
    #[cfg(target_os = "linux")]
    {
        // Since Linux 3.4. Without it we end the group, and no more than that.
        nix::sys::prctl::set_child_subreaper(true).ok();
        // The program may have stopped us when the watcher is killed, and then nobody else would
        // make us go on, and see that the leash is slack.
        nix::sys::prctl::set_pdeathsig(Signal::SIGCONT).ok();
    }
}

fn watch_leash(mut leash: UnixStream, tell: Sender<Event>) -> io::Result<()> {
    let until_slack = move || {
        // The watcher never writes, so whatever this returns is the end.
        leash.read_exact(&mut [0]).ok();
        tell.send(Event::Unleashed).ok();
    };
    thread::Builder::new().spawn(until_slack).map(drop)
}

/// Whoever ends processes by name finds guards too, and must not leave their programs behind.
fn watch_signals(tell: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let until_signal = move || {
        signals.forever().next();
        // Later ones do nothing: the crate never gives a signal its default effect back.
        tell.send(Event::Unleashed).ok();
    };
    thread::Builder::new().spawn(until_signal).map(drop)
}

fn watch_leader(leader: Pid, tell: Sender<Event>) -> io::Result<()> {
    let until_exit = move || {
        let verdict = match wait_for_exit(leader) {
            Ok(WaitStatus::Exited(_, code)) => Verdict::Exited(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Verdict::Killed(signal as i32),
            // A real-time signal, which nix does not name.
            _ => Verdict::Killed(0),
        };
        tell.send(Event::Exited(verdict)).ok();
    };
    thread::Builder::new().spawn(until_exit).map(drop)
}

/// Leaves the leader unreaped, so that its group's id cannot become somebody else's before
/// [`end_everything`], which reaps them all, has signalled the group.
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

/// Reaps, for want of `waitid`. The group's id is free for a moment before its members, if any,
/// are signalled.
#[cfg(not(target_os = "linux"))]
fn wait_for_exit(leader: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(leader, None) {
            Err(Errno::EINTR) => {}
            res => return res,
        }
    }
}

/// Kills and reaps until nobody is left. `false`: somebody is. Who ended early leaves time to do so.
fn end_everything(leader: Pid, give_up_at: Instant) -> bool {
    let until = (Now::read().mono + KILL_TAKES).max(give_up_at);
    killpg(leader, Signal::SIGKILL).ok();
    while Now::read().mono < until {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(WaitStatus::StillAlive) => {
                // Only now, so that the usual end costs no look at every process. Each round may
                // find new ones: those whose parents the round before killed.
                for child in children() {
                    kill(child, Signal::SIGKILL).ok();
                }
                crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(1)).ok();
            }
            _ => {}
        }
    }
    false
}

/// Our children, the adopted ones too. Not their children: only of our own can we be sure that
/// their ids still mean them, because nobody else reaps them.
fn children() -> Vec<Pid> {
    let me = nix::unistd::getpid();
    processes(|it| it.parent == me.as_raw())
}

/// Ends what is left of a guard that somebody killed: who is in its session, which it had made for
/// its program. Who has left that is out of reach.
pub(super) fn end_session(guard: u32) {
    // Each round may find what the one before had started meanwhile.
    for _ in 0..50 {
        let left = processes(|it| it.session.cast_unsigned() == guard);
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, Signal::SIGKILL).ok();
        }
        pause(Duration::from_millis(1));
    }
}

/// The processes of which `which` says yes. The dead that nobody has reaped are not among them.
#[cfg(target_os = "linux")]
fn processes(which: impl Fn(&Stat) -> bool) -> Vec<Pid> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| process::stat(*pid).is_some_and(|it| which(&it)))
        .map(|pid| Pid::from_raw(pid.cast_signed()))
        .collect()
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
    fn half_an_order_is_none() {
        for args in [&[][..], &["1"], &["1", "2"], &["1", "2", ""], &["x", "2", "", "true"]] {
            assert_eq!(Order::parse(args.iter().map(OsString::from)), None, "{args:?}");
        }
    }

    #[test]
    fn a_verdict_survives_the_leash_whole_or_not_at_all() {
        for verdict in [
            Verdict::Exited(0),
            Verdict::Exited(127),
            Verdict::Killed(9),
            Verdict::NotStarted(2),
            Verdict::NoDirectory(20),
            Verdict::TimedOut,
            Verdict::Stopped,
            Verdict::Stuck,
        ] {
            let line = verdict.to_line();
            assert_eq!(Verdict::parse(line.as_bytes()), Some(verdict));
            for end in 0..line.len() {
                assert_eq!(Verdict::parse(&line.as_bytes()[..end]), None, "{:?}", &line[..end]);
            }
        }
    }
}
