//! Whether a process of Claude Code's still runs.

use std::io;
use std::path::Path;

use super::claude::client::{self, SessionFile};
use crate::state::Process;
use crate::store::file::read_bounded;
use crate::time::SECOND_MS;

/// These files are a few hundred bytes.
const MAX_FILE: u64 = 64 << 10;
/// A process starts before it writes its file; the clocks of the two agree to about this.
const SLACK_MS: i64 = 10 * SECOND_MS;

/// Reads `sessions/<pid>.json`, and looks for the process.
pub fn look(path: &Path) -> io::Result<Process> {
    let bytes = read_bounded(path, MAX_FILE)?;
    let file = client::parse_session_file(&bytes).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: no process", path.display()))
    })?;
    let lives = lives(&file);
    Ok(Process { file, lives })
}

/// Process ids are reused. The start time tells: it is the one in the file, or at least it lies
/// before the file was written.
fn lives(file: &SessionFile) -> bool {
    let Some(started) = started(file.pid) else { return false };
    let is_same = file.proc_start.as_deref() == Some(started.raw.as_str());
    let is_older = match (started.at_ms, file.started_at_ms) {
        (Some(process), Some(written)) => process <= written.saturating_add(SLACK_MS),
        // Nothing to compare: the id is all there is.
        _ => true,
    };
    is_same || is_older
}

struct Started {
    /// In the kernel's own unit, as the client writes it.
    raw: String,
    at_ms: Option<i64>,
}

/// What the kernel says of a process.
pub(super) struct Stat {
    /// Its parent.
    pub(super) parent: i32,
    /// Its session.
    pub(super) session: i32,
    /// When it started, in the kernel's own unit.
    #[cfg(target_os = "linux")]
    started: Option<String>,
}

/// What the kernel says of a process that lives: one that is dead and not reaped does not.
#[cfg(target_os = "linux")]
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs_err::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields follow the name, which stands in parentheses and may itself hold any byte.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let after_name = stat.get(memchr::memrchr(b')', stat)? + 1..)?;
    let mut fields = str::from_utf8(after_name).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut skip = |n| fields.nth(n);
    let (parent, session) = (skip(0)?.parse().ok()?, skip(1)?.parse().ok()?);
    Some(Stat { parent, session, started: skip(15).map(str::to_owned) })
}

#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<Started> {
    let raw = stat(pid)?.started?;
    let at_ms = boot_ms().zip(raw.parse::<i64>().ok()).map(|(boot, ticks)| {
        // USER_HZ is 100 on every architecture that Claude Code runs on.
        boot + ticks * 10
    });
    Some(Started { raw, at_ms })
}

#[cfg(target_os = "linux")]
fn boot_ms() -> Option<i64> {
    let stat = fs_err::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|it| it.strip_prefix("btime "))?;
    Some(line.trim().parse::<i64>().ok()? * SECOND_MS)
}

/// Elsewhere only the id is looked at. That nothing may be sent to the process still means that it
/// is there.
#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<Started> {
    use nix::errno::Errno;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    match nix::sys::signal::kill(pid, None) {
        Ok(()) | Err(Errno::EPERM) => Some(Started { raw: String::new(), at_ms: None }),
        Err(_) => None,
    }
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
    fn this_process_lives_and_a_reused_id_does_not() {
        let me = std::process::id();
        let started = started(me).unwrap();
        let at_ms = started.at_ms.unwrap();
        assert!(lives(&file(me, Some(&started.raw), 0)), "the start time is the file's");
        assert!(lives(&file(me, Some("Mon Nov 23 12:00:00 2026"), at_ms)), "an unknown notation");
        assert!(!lives(&file(me, Some("1"), at_ms - 60_000)), "started after the file was written");
        assert!(!lives(&file(u32::MAX >> 1, None, at_ms)), "no such process");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_name_cannot_pretend_another_parent() {
        let parse = |stat: &[u8]| parse_stat(stat).map(|it| (it.parent, it.session));
        assert_eq!(parse(b"7 (sh) S 3 5 6 0"), Some((3, 6)));
        assert_eq!(parse(b"7 (x) R 1 \xff) S 3 5 6 0"), Some((3, 6)));
        assert_eq!(parse(b"7 (sh) Z 3 5 6 0"), None);
        assert_eq!(parse(b"7 (sh"), None);
    }

    #[test]
    fn the_start_time_is_near_the_clock() {
        let at_ms = started(std::process::id()).unwrap().at_ms.unwrap();
        let now_ms = crate::time::Now::read().wall_ms;
        assert!((now_ms - 600_000..now_ms + 2_000).contains(&at_ms), "{at_ms} at {now_ms}");
    }
}
