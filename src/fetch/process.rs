//! Reads the file that a process of Claude Code writes about itself, and finds out whether the
//! process still runs.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::claude::client::{self, SessionFile};
use super::claude::layout;
use crate::store::file::read_bounded;
use crate::store::schema::BackgroundJob;
use crate::time::SECOND_MS;

/// The most bytes that are read of a process file, and of the description of a background job. They
/// have a few hundred, and a few thousand.
const MAX_FILE: u64 = 64 << 10;
/// How much later than the time in its file a process may seem to have started. In truth it starts
/// before it writes the file, but the two times come from clocks that may differ by this much.
const SLACK_MS: i64 = 10 * SECOND_MS;
/// The most generations of processes that are looked at. Processes may change while they are.
const MAX_LINEAGE: usize = 64;

/// A process of Claude Code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    pub file: SessionFile,
    /// Whether the process still runs. A crash leaves the file behind, and process ids are reused.
    pub is_alive: bool,
    /// The background job that it works on; `None` for other processes, and while the job is not
    /// described.
    pub job: Option<Box<BackgroundJob>>,
    /// If the process is a client of the user's that is not confined: its id, and those of the
    /// processes that it descends from. Empty for others, and where it was not asked for.
    pub lineage: Vec<u32>,
}

impl Process {
    /// Whether it runs the session that its file names.
    pub fn runs_session(&self) -> bool {
        self.is_alive && !self.file.is_spare
    }
}

/// The same as [`read`], for a file that has been read before: it said `known` then. A client that
/// is killed, or finds the disk full, may leave a file behind that says nothing. So where there is
/// a file that cannot be read, and the process ended, the file still counts as that of this
/// process.
pub fn read_again(
    path: &Path,
    known: Option<&SessionFile>,
    with_lineage: bool,
) -> io::Result<Process> {
    let left_behind = |err: io::Error| match known {
        Some(file) if err.kind() != io::ErrorKind::NotFound && !is_alive(file) => {
            Ok(Process { file: file.clone(), ..Process::default() })
        }
        _ => Err(err),
    };
    read(path, with_lineage).or_else(left_behind)
}

/// Reads `sessions/<pid>.json`, and checks whether the process runs.
fn read(path: &Path, with_lineage: bool) -> io::Result<Process> {
    let bytes = read_bounded(path, MAX_FILE)?;
    let file = client::parse_session_file(&bytes).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: no process", path.display()))
    })?;
    let is_alive = is_alive(&file);
    let root = path.parent().and_then(Path::parent);
    let job = root.zip(file.job.as_ref()).and_then(|(root, id)| {
        let bytes = read_bounded(&layout::job_folder(root, id).join(layout::JOB_FILE), MAX_FILE)
            .unwrap_or_default();
        client::parse_job(id, &bytes).map(Box::new)
    });
    let lineage = if is_alive && with_lineage { lineage(&file) } else { Vec::new() };
    Ok(Process { file, is_alive, job, lineage })
}

/// Whether the process that the file names still runs on this machine. Since process ids are
/// reused, its start time must be the one in the file. A file may state it in a notation of its
/// own; then it must at least lie before the file was written.
///
/// See docs/decisions/018-a-process-file-decides-liveness.md.
pub(super) fn is_alive(file: &SessionFile) -> bool {
    if file.pid_domain.as_deref().is_some_and(is_elsewhere) {
        return false;
    }
    let Some(started) = start_time(file.pid) else { return false };
    let noted = file.proc_start.as_deref().filter(|it| is_in_ticks(it));
    if let (Some(noted), Some(process)) = (noted, &started.ticks) {
        return noted == process;
    }
    match (started.at_ms, file.started_at_ms) {
        (Some(process), Some(written)) => process <= written.saturating_add(SLACK_MS),
        // One of the times is unknown, so the id alone decides.
        _ => true,
    }
}

/// Whether a start time is in the notation of Linux: the ticks since boot.
fn is_in_ticks(start: &str) -> bool {
    !start.is_empty() && start.bytes().all(|it| it.is_ascii_digit())
}

/// Whether process ids of this domain name other processes than here, as those of a container do:
/// `linux:<machine>:pid:[<inode>]` names another process namespace than ours.
fn is_elsewhere(domain: &str) -> bool {
    let namespace = domain.strip_prefix("linux:").and_then(|it| it.rsplit_once(":pid:"));
    let ours = fs_err::read_link("/proc/self/ns/pid").ok();
    let ours = ours.as_deref().and_then(Path::to_str).and_then(|it| it.strip_prefix("pid:"));
    matches!((namespace, ours), (Some((_, theirs)), Some(ours)) if theirs != ours)
}

/// When a process started.
struct StartTime {
    /// In clock ticks since boot, as the client writes it on Linux; `None` where it is not known.
    ticks: Option<String>,
    /// In Unix milliseconds; `None` where it is not known.
    at_ms: Option<i64>,
}

/// What the kernel tells of a process.
pub(super) struct Stat {
    /// Process id of the parent.
    pub(super) parent: i32,
    /// Process id of the session's leader.
    pub(super) session: i32,
    /// In clock ticks since boot.
    #[cfg(target_os = "linux")]
    started: Option<String>,
    /// Whether it has ended and is not reaped yet. Threads of it may still be ending.
    #[cfg(target_os = "linux")]
    is_zombie: bool,
}

/// Reads `/proc/<pid>/stat`. `None` for a zombie, and if there is no such process.
#[cfg(target_os = "linux")]
pub(super) fn stat(pid: u32) -> Option<Stat> {
    stat_or_zombie(pid).filter(|it| !it.is_zombie)
}

/// The same, for a zombie as well.
#[cfg(target_os = "linux")]
pub(super) fn stat_or_zombie(pid: u32) -> Option<Stat> {
    parse_stat(&fs_err::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `/proc/<pid>/stat`. The name of the process stands in parentheses and may contain any
/// byte, parentheses too. So the other fields are those after the last closing parenthesis.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let after_name = stat.get(memchr::memrchr(b')', stat)? + 1..)?;
    let mut fields = str::from_utf8(after_name).ok()?.split_ascii_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let mut skip = |n| fields.nth(n);
    let (parent, session) = (skip(0)?.parse().ok()?, skip(1)?.parse().ok()?);
    Some(Stat { parent, session, started: skip(15).map(str::to_owned), is_zombie })
}

#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<StartTime> {
    let ticks = stat(pid)?.started?;
    let at_ms = boot_ms().zip(ticks.parse::<i64>().ok()).map(|(boot, ticks)| {
        // USER_HZ is 100 on every architecture that Claude Code runs on.
        boot + ticks * 10
    });
    Some(StartTime { ticks: Some(ticks), at_ms })
}

/// See [`Process::lineage`]. Whoever can write a file can write the id of any process into it, so
/// what the file says is compared with what the kernel says of the process.
#[cfg(target_os = "linux")]
fn lineage(file: &SessionFile) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let pid = file.pid;
    let owner = fs_err::metadata(format!("/proc/{pid}")).map(|it| it.uid());
    let is_own = owner.is_ok_and(|it| it == nix::unistd::geteuid().as_raw());
    // An agent with process ids of its own cannot know when a process outside has started.
    let started = stat(pid).and_then(|it| it.started);
    let is_known = started.is_some() && started == file.proc_start;
    if is_own && is_known && !is_confined(pid) { ancestors(pid) } else { Vec::new() }
}

/// Whether the process can gain no privileges by starting a program, as everything in a sandbox
/// that needs no root. A program of an agent may leave its lineage, but never this.
#[cfg(target_os = "linux")]
fn is_confined(pid: u32) -> bool {
    let status = fs_err::read(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.split(|it| *it == b'\n').any(|line| line == b"NoNewPrivs:\t0")
}

/// The process, and those that it descends from.
#[cfg(target_os = "linux")]
fn ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| stat(*pid)?.parent.try_into().ok().filter(|it| *it > 0);
    std::iter::successors(Some(pid), parent).take(MAX_LINEAGE).collect()
}

/// Without `/proc` no parents are known. A signal can be sent to processes of the user's only.
#[cfg(not(target_os = "linux"))]
fn lineage(file: &SessionFile) -> Vec<u32> {
    let id = i32::try_from(file.pid).map(nix::unistd::Pid::from_raw);
    let is_own = id.is_ok_and(|it| nix::sys::signal::kill(it, None).is_ok());
    if is_own { vec![file.pid] } else { Vec::new() }
}

/// When the machine was booted, in Unix milliseconds.
#[cfg(target_os = "linux")]
fn boot_ms() -> Option<i64> {
    let stat = fs_err::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|it| it.strip_prefix("btime "))?;
    Some(line.trim().parse::<i64>().ok()? * SECOND_MS)
}

/// Checks only whether the process id is in use, since without `/proc` the start time is unknown.
/// EPERM means that a process of another user has the id.
#[cfg(not(target_os = "linux"))]
fn start_time(pid: u32) -> Option<StartTime> {
    use nix::errno::Errno;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    match nix::sys::signal::kill(pid, None) {
        Ok(()) | Err(Errno::EPERM) => Some(StartTime { ticks: None, at_ms: None }),
        Err(_) => None,
    }
}

/// Whether a process is stopped, by Ctrl-Z or SIGSTOP. False where there is no `/proc`, and while a
/// debugger holds it, as `strace` does for a moment at each system call.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs_err::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = memchr::memrchr(b')', &stat).and_then(|end| stat.get(end + 2));
    after_name == Some(&b'T')
}

/// The terminal of a process, if it belongs to this user. Only Linux tells.
pub(crate) fn terminal(pid: u32) -> Option<PathBuf> {
    let descriptors = (0..3).map(|it| PathBuf::from(format!("/proc/{pid}/fd/{it}")));
    descriptors.filter_map(|it| fs_err::read_link(it).ok()).find(|it| is_own_terminal(it))
}

fn is_own_terminal(path: &Path) -> bool {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::{Mode, fstat};
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    if !path.starts_with("/dev") {
        return false;
    }
    open(path, flags, Mode::empty()).is_ok_and(|file| {
        let is_own = fstat(&file).is_ok_and(|it| it.st_uid == nix::unistd::geteuid().as_raw());
        is_own && nix::unistd::isatty(file.as_fd()).unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pid: u32, proc_start: Option<&str>, started_at_ms: i64) -> SessionFile {
        SessionFile {
            pid,
            proc_start: proc_start.map(str::to_owned),
            started_at_ms: Some(started_at_ms),
            ..SessionFile::default()
        }
    }

    #[test]
    fn this_process_lives_and_one_with_a_reused_id_does_not() {
        let me = std::process::id();
        let started = start_time(me).unwrap();
        let at_ms = started.at_ms.unwrap();
        assert!(
            is_alive(&file(me, started.ticks.as_deref(), 0)),
            "the start time is the one in the file"
        );
        assert!(
            !is_alive(&file(me, Some("1"), at_ms)),
            "another start time, by the kernel's count"
        );
        assert!(is_alive(&file(me, Some(""), at_ms)), "no start time");
        assert!(
            is_alive(&file(me, Some("Mon Nov 23 12:00:00 2026"), at_ms)),
            "an unknown notation"
        );
        assert!(
            !is_alive(&file(me, Some("Mon Nov 23 12:00:00 2026"), at_ms - 60_000)),
            "started after the file was written"
        );
        assert!(!is_alive(&file(u32::MAX >> 1, None, at_ms)), "no such process");
    }

    #[test]
    fn a_process_that_ended_has_ended_though_its_file_says_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("7.json");
        let (running, ended) =
            (file(std::process::id(), None, i64::MAX), file(u32::MAX >> 1, None, 0));
        let again = |known| read_again(&path, known, false).map(|it| (it.file.pid, it.is_alive));
        assert_eq!(again(Some(&ended)).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs_err::write(&path, "").unwrap();
        assert_eq!(again(Some(&ended)).unwrap(), (ended.pid, false));
        assert!(again(Some(&running)).is_err(), "it may be writing the file");
        assert!(again(None).is_err());
        fs_err::write(&path, format!(r#"{{"pid":{}}}"#, running.pid)).unwrap();
        assert_eq!(again(Some(&ended)).unwrap(), (running.pid, true), "another one wrote it");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_descends_from_its_parent() {
        let me = std::process::id();
        assert_eq!(ancestors(me)[..2], [me, std::os::unix::process::parent_id()]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_a_process_of_the_users_whose_start_is_known_has_a_lineage() {
        let me = std::process::id();
        let started = start_time(me).unwrap().ticks;
        let found = lineage(&file(me, started.as_deref(), 0));
        if is_confined(me) {
            assert!(found.is_empty());
        } else {
            assert_eq!(found[..2], [me, std::os::unix::process::parent_id()]);
        }
        for unknown in [None, Some(""), Some("1")] {
            assert!(lineage(&file(me, unknown, 0)).is_empty(), "{unknown:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_id_of_another_namespace_names_no_process_here() {
        let me = std::process::id();
        let started = start_time(me).unwrap();
        let is_alive_in = |domain: &str| {
            let pid_domain = Some(domain.to_owned());
            is_alive(&SessionFile { pid_domain, ..file(me, started.ticks.as_deref(), 0) })
        };
        let ours = fs_err::read_link("/proc/self/ns/pid").unwrap();
        assert!(is_alive_in(&format!("linux:m:{}", ours.display())));
        assert!(is_alive_in(&format!("linux:a:b:{}", ours.display())), "a machine with a colon");
        assert!(!is_alive_in("linux:m:pid:[1]"));
        assert!(is_alive_in("linux:m:2"), "an unknown notation tells nothing");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn parentheses_in_a_process_name_do_not_shift_the_fields_of_stat() {
        let parse = |stat: &[u8]| parse_stat(stat).map(|it| (it.parent, it.session));
        assert_eq!(parse(b"7 (sh) S 3 5 6 0"), Some((3, 6)));
        assert_eq!(parse(b"7 (x) R 1 \xff) S 3 5 6 0"), Some((3, 6)));
        assert!(parse_stat(b"7 (sh) Z 3 5 6 0").unwrap().is_zombie);
        assert_eq!(parse(b"7 (sh"), None);
    }

    #[test]
    fn the_start_time_is_close_to_the_clock() {
        let at_ms = start_time(std::process::id()).unwrap().at_ms.unwrap();
        let now_ms = crate::time::Now::read().wall_ms;
        assert!((now_ms - 600_000..now_ms + 2_000).contains(&at_ms), "{at_ms} at {now_ms}");
    }
}
