//! Whether a watcher runs, hears of changes and publishes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Finding, Fix};
use crate::fetch::process;
use crate::ipc::Cookie;
use crate::pool::probe::Probe;
use crate::store::dir::{SNAPSHOT as FILE, StateDir};
use crate::store::lock::WatchLock;
use crate::store::schema::{Session, SessionKind, Snapshot};
use crate::store::snapshot::{self, Unusable};
use crate::time::{MINUTE_MS, Now, SECOND_MS};

const WATCHER: &str = "watcher";
const EVENTS: &str = "events";
const SNAPSHOT: &str = "snapshot";
const SOURCES: &str = "sources";
const SHOWN: &str = "shown";

/// A watcher that has nothing to fetch answers in milliseconds.
const SOON: Duration = Duration::from_secs(2);
/// How long to wait for its answer. It may have to wait for git, which may take 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// While a session lives, the watcher publishes at least once a minute.
const OLD_MS: i64 = 3 * MINUTE_MS;
/// How many sources and directories are named.
const MAX_NAMED: usize = 8;

/// The watcher that runs; `None` if none does, by the word of the kernel.
pub(super) fn running(dir: &StateDir) -> Option<u32> {
    WatchLock::running(dir)
}

/// The file of its program, also if an upgrade has replaced it. Only the kernel of Linux tells.
pub(super) fn program(pid: u32) -> Option<PathBuf> {
    let link = fs_err::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = link.to_str()?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path).into())
}

/// Whether the watcher could be started again.
pub(super) fn check_program(pid: u32, probe: &Probe) -> Option<Finding> {
    let path = program(pid).filter(|it| !probe.exists(it))?;
    let what = format!("the program of the watcher is gone: {}", path.display());
    Some(Finding::note(WATCHER, what, "install it again, or end the watcher: `ccstatusd stop`"))
}

/// Whether the watcher knows the config roots that this shell knows. One that a login service has
/// started does not see the variables of a shell.
pub(super) fn check_roots<'a>(
    dir: &StateDir,
    roots: impl Iterator<Item = &'a Path>,
) -> Vec<Finding> {
    let Some(snapshot) = dir.read_snapshot() else { return Vec::new() };
    let is_known = |it: &&Path| snapshot.roots.keys().any(|key| Path::new(&key.0) == *it);
    let unknown = roots.filter(|it| !is_known(it)).map(|root| {
        let what = format!("the watcher does not watch {}", root.display());
        let todo = "name it in `roots` in the configuration: the environment of the watcher has \
                    another CLAUDE_CONFIG_DIR than this shell";
        Finding::problem("roots", what, todo)
    });
    unknown.collect()
}

/// Whether Claude Code has run the line of each live session. Where it has not, something switches
/// the line off that no settings tell of: most often, that the user has not told it to trust the
/// directory. The file that tells may have secrets, too, so it is not read.
pub(super) fn check_shown(dir: &StateDir) -> Option<Finding> {
    shown(&dir.read_snapshot()?)
}

fn shown(snapshot: &Snapshot) -> Option<Finding> {
    let is_in_terminal =
        |it: &&Session| it.live && it.pid.is_some() && it.kind == Some(SessionKind::Interactive);
    let live: Vec<_> = snapshot.sessions.values().filter(is_in_terminal).collect();
    let unseen: Vec<_> = live.iter().filter(|it| it.client_version.is_none()).collect();
    if live.is_empty() {
        return None;
    }
    if unseen.is_empty() {
        let what = format!("Claude Code runs the line of its live sessions: {}", live.len());
        return Some(Finding::good(SHOWN, what));
    }
    let named =
        |it: &&&Session| it.cwd.clone().unwrap_or_else(|| "an unknown directory".to_owned());
    let dirs: Vec<_> = unseen.iter().take(MAX_NAMED).map(named).collect();
    let what = format!("Claude Code has not run the line of live sessions in: {}", dirs.join(", "));
    let todo = "it shows none in a directory that you have not told it to trust, with --bare or \
                --safe-mode, and for `claude -p`; and a session reads settings when it starts";
    Some(Finding::note(SHOWN, what, todo))
}

/// No watcher runs. `fix` starts one, by `command`.
pub(super) fn missing() -> Finding {
    let found = Finding::problem(WATCHER, "no watcher runs", "run `ccstatusd start`");
    found.fix(Fix::StartWatcher)
}

/// The watcher with this id, which runs. The caller has entered the state directory.
pub(super) fn check(dir: &StateDir, pid: u32) -> Vec<Finding> {
    if process::is_stopped(pid) {
        let what = format!("process {pid} is stopped, as by Ctrl-Z");
        return vec![Finding::problem(WATCHER, what, format!("continue it: `kill -CONT {pid}`"))];
    }
    let mut found = vec![Finding::good(WATCHER, format!("process {pid} runs"))];
    // As displays see it now: to answer, the watcher publishes again.
    let snapshot = snapshot::read(&dir.join(FILE));
    found.push(answer());
    let at = dir.path().display();
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(Unusable::Newer) => {
            let what = format!("the snapshot in {at} is of a newer ccstatusd than this one");
            found.push(Finding::problem(SNAPSHOT, what, "use the newer program everywhere"));
            return found;
        }
        Err(_) => {
            let what = format!("{at} has no snapshot that can be read");
            found.push(Finding::problem(SNAPSHOT, what, restart(pid)));
            return found;
        }
    };
    found.push(age(&snapshot, Now::read().wall_ms, pid));
    found.extend(polled(&snapshot));
    found.extend(sources(&snapshot));
    found
}

fn restart(pid: u32) -> String {
    format!("restart it: `ccstatusd stop`, and `ccstatusd start` (or `kill -9 {pid}` first)")
}

/// Leaves a cookie, which the kernel reports to the watcher.
fn answer() -> Finding {
    let began = Now::read().mono;
    let failed = |err: io::Error| {
        Finding::problem(EVENTS, format!("the watcher cannot be asked: {err}"), "see its log")
    };
    let cookie = match Cookie::leave() {
        Ok(cookie) => cookie,
        Err(err) => return failed(err),
    };
    match cookie.wait(ANSWER_TIMEOUT).map(|is_answered| (is_answered, Now::read().mono - began)) {
        Err(err) => failed(err),
        Ok((true, took)) if took <= SOON => {
            Finding::good(EVENTS, format!("the watcher noticed a new file within {took:.1?}"))
        }
        Ok((true, took)) => Finding::note(
            EVENTS,
            format!("the watcher noticed a new file, and published after {took:.1?}"),
            "it waits for a slow program or disk: the other findings may name it",
        ),
        Ok((false, took)) => Finding::problem(
            EVENTS,
            format!("the watcher did not answer within {took:.0?}"),
            "it hangs, or waits for a disk: restart it with `ccstatusd stop` and `ccstatusd start`",
        ),
    }
}

fn age(snapshot: &Snapshot, now_ms: i64, pid: u32) -> Finding {
    let age_ms = now_ms.saturating_sub(snapshot.published_at_ms).max(0);
    let age = match age_ms {
        ..MINUTE_MS => format!("{} s", age_ms / SECOND_MS),
        _ => format!("{} min", age_ms / MINUTE_MS),
    };
    let n_live = snapshot.sessions.values().filter(|it| it.live).count();
    let what = format!("it is {age} old; live sessions: {n_live}");
    match n_live > 0 && age_ms > OLD_MS {
        true => Finding::problem(SNAPSHOT, what, restart(pid)),
        false => Finding::good(SNAPSHOT, what),
    }
}

fn polled(snapshot: &Snapshot) -> Option<Finding> {
    let watcher = snapshot.watcher.as_ref().filter(|it| !it.polled.is_empty())?;
    let n = watcher.polled.len() as u64 + watcher.polled_more;
    let named: Vec<_> = watcher.polled.iter().take(MAX_NAMED).map(String::as_str).collect();
    let what = format!("the kernel reports no changes in {n} directories: {}", named.join(", "));
    let todo = "the watcher lists them every 2 s instead; on a local disk, see the check inotify";
    Some(Finding::note("polled", what, todo))
}

/// Sources that fail, as the watcher or the last `--oneshot` run published them.
pub(super) fn sources(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found: Vec<_> = snapshot
        .degraded
        .iter()
        .take(MAX_NAMED)
        .map(|degraded| {
            let what = format!("{}: {}", degraded.source, degraded.reason);
            let todo = match (&*degraded.source, degraded.next_try_ms) {
                ("export", _) => {
                    "the directory of `[export] textfile` must exist, you must be able to write in \
                     it, and its disk must not be full; the watcher tries again after a change"
                }
                (_, Some(_)) => {
                    "the watcher tries again by itself; docs/staleness.md explains the message"
                }
                (_, None) => "the watcher tries again after a change; docs/staleness.md has more",
            };
            Finding::problem(SOURCES, what, todo)
        })
        .collect();
    let n_more = snapshot.degraded.len().saturating_sub(MAX_NAMED);
    if n_more > 0 {
        let todo = "`degraded` in the snapshot has them all";
        found.push(Finding::problem(SOURCES, format!("{n_more} more sources fail"), todo));
    }
    let unpriced = snapshot.roots.values().filter_map(|it| it.usage.as_ref());
    let mut models: Vec<_> = unpriced.flat_map(|it| it.unpriced_models.clone()).collect();
    models.sort();
    models.dedup();
    if !models.is_empty() {
        let what = format!("these models have no price: {}", models.join(", "));
        let todo = "upgrade, or add prices: `ccstatusd prices` names similar models";
        found.push(Finding::note("prices", what, todo));
    }
    if found.is_empty() {
        found.push(Finding::good(SOURCES, "everything that is read can be read"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::store::schema::{Degraded, RootKey, SessionId, Usage, Watcher};

    #[test]
    fn an_old_snapshot_matters_only_while_a_session_lives() {
        let mut snapshot = Snapshot { published_at_ms: 1000, ..Snapshot::default() };
        assert_eq!(age(&snapshot, 1000 + 10 * OLD_MS, 7).level, Level::Good);
        let session = Session { live: true, ..Session::default() };
        snapshot.sessions.insert(SessionId("s".to_owned()), session);
        assert_eq!(age(&snapshot, 1000 + OLD_MS, 7).level, Level::Good);
        assert_eq!(age(&snapshot, 1001 + OLD_MS, 7).level, Level::Problem);
    }

    #[test]
    fn directories_without_events_and_failing_sources_are_named() {
        let mut snapshot = Snapshot::default();
        assert_eq!(polled(&snapshot), None);
        assert_eq!(sources(&snapshot)[0].level, Level::Good);
        let watcher =
            Watcher { polled: vec!["/nfs/x".to_owned()], polled_more: 2, ..Watcher::default() };
        snapshot.watcher = Some(watcher);
        let found = polled(&snapshot).unwrap();
        assert!(found.what.contains("3 directories: /nfs/x"), "{found:?}");
        let degraded = Degraded {
            source: "git:/p".to_owned(),
            reason: "slow".to_owned(),
            ..Degraded::default()
        };
        snapshot.degraded = vec![degraded; MAX_NAMED + 1];
        let usage = Usage { unpriced_models: vec!["new-model".to_owned()], ..Usage::default() };
        let root = crate::store::schema::Root { usage: Some(usage), ..Default::default() };
        snapshot.roots.insert(RootKey("/r".to_owned()), root);
        let found = sources(&snapshot);
        assert_eq!(found.len(), MAX_NAMED + 2);
        assert!(found[0].what.contains("git:/p: slow"), "{found:?}");
        assert!(found[MAX_NAMED].what.contains("1 more"), "{found:?}");
        assert!(found[MAX_NAMED + 1].what.contains("new-model"), "{found:?}");
    }
}
