//! The sentinel: a small process that runs the alerts for a watcher that has died.
//!
//! It is our own binary again, as `ccstatusd __sentinel PID`. The watcher, which has this process
//! id, starts it while the configuration has an alert `on = "no_watcher"`. The sentinel's standard
//! input is a pipe, of which the watcher alone holds the other end: when that end closes, the
//! watcher is gone, whatever ended it. A watcher that was told to end writes a byte first; then the
//! sentinel tells nothing.
//!
//! A watcher that died may be started again by systemd, or may have become a newer version of
//! itself. So the sentinel waits for a while, and tells only if no watcher runs by then. One that
//! was started and has not published yet may die in turn, before it has a sentinel.
//!
//! **Invariant:** while the watcher lives, the sentinel sleeps in one read of the pipe.
//!
//! See docs/decisions/036-alerts-are-crossings.md.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::warn;

use crate::alert::{Condition, Quiet, Rule};
use crate::cli::Environment;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::fetch::alert::invocation;
use crate::fetch::{exec, guard};
use crate::home;
use crate::ipc;
use crate::programs::Programs;
use crate::store::dir::{SNAPSHOT, StateDir};
use crate::store::lock::{FetchLock, WatchLock};
use crate::store::publisher::Publisher;
use crate::store::schema::alerts::{Alert, AlertEvent, AlertNotice};
use crate::store::snapshot;
use crate::time::{Now, pause, span};

/// The hidden subcommand for which the program's `main` calls [`main`].
pub const SUBCOMMAND: &str = "__sentinel";

/// What a watcher writes into the pipe when it was told to end.
const FAREWELL: &[u8] = b"x";
/// How often the sentinel looks for another watcher, once its own is gone …
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// … and in the quiet hours, which may be long.
const LOOK_QUIETLY_EVERY: Duration = Duration::from_secs(10);
/// How long the sentinel waits for another process that fetches and may publish.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the watcher waits before it starts another sentinel, if one has ended by itself. Each
/// pause is twice as long as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

// ---- In the watcher

/// The rules on `no_watcher`, and the quiet hours.
type Orders = (BTreeMap<String, Rule>, Option<Quiet>);

/// The sentinel of this watcher, while the user wants one.
#[derive(Debug, Default)]
pub(crate) struct Sentinel {
    orders: Orders,
    keeper: Option<Arc<Mutex<Keeper>>>,
}

/// What the thread that waits for the sentinel's end shares with the watcher.
#[derive(Debug, Default)]
struct Keeper {
    /// The end of the pipe to the sentinel that runs.
    pipe: Option<PipeWriter>,
    /// Whether no further sentinel is to be started.
    is_dismissed: bool,
}

impl Sentinel {
    /// Starts a sentinel if there are alerts for it, and another one in its place if these changed.
    /// A sentinel reads the configuration when it starts, and not when the watcher has died: the
    /// file may be broken or gone by then.
    pub(crate) fn configure(&mut self, rules: &BTreeMap<String, Rule>, quiet: Option<Quiet>) {
        let orders = (on_no_watcher(rules.clone()), quiet);
        if orders == self.orders {
            return;
        }
        self.dismiss();
        if !orders.0.is_empty() {
            let keeper = Arc::new(Mutex::new(Keeper::default()));
            self.keeper = Some(Arc::clone(&keeper));
            let thread = thread::Builder::new().name("sentinel".to_owned());
            if let Err(err) = thread.spawn(move || keep(&keeper)) {
                warn!("cannot start the thread for the alerts on no_watcher: {err}");
            }
        }
        self.orders = orders;
    }

    /// Ends the sentinel: this watcher ends because it was told to, or wants no sentinel.
    pub(crate) fn dismiss(&mut self) {
        self.orders = Orders::default();
        let Some(keeper) = self.keeper.take() else { return };
        let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.is_dismissed = true;
        if let Some(mut pipe) = keeper.pipe.take() {
            // It fails if the sentinel has just ended.
            pipe.write_all(FAREWELL).ok();
        }
    }
}

/// Starts a sentinel, and another one whenever it ends, until it is dismissed.
fn keep(keeper: &Mutex<Keeper>) {
    let mut next_pause = FIRST_PAUSE;
    loop {
        let started_at = Now::read().mono;
        let started = {
            let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
            if keeper.is_dismissed {
                return;
            }
            start().map(|(child, pipe)| {
                keeper.pipe = Some(pipe);
                child
            })
        };
        let ended = started.and_then(|mut child| child.wait());
        if keeper.lock().unwrap_or_else(PoisonError::into_inner).is_dismissed {
            return;
        }
        match ended {
            Ok(status) => warn!("the sentinel for alerts on no_watcher ended ({status})"),
            Err(err) => warn!("cannot start the sentinel for alerts on no_watcher: {err}"),
        }
        if Now::read().mono - started_at > LONGEST_PAUSE {
            next_pause = FIRST_PAUSE;
        }
        pause(next_pause);
        next_pause = (next_pause * 2).min(LONGEST_PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "it is no fetch, and must outlive this process")]
fn start() -> io::Result<(Child, PipeWriter)> {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
    let child = Command::new(exec::own_program()?)
        // As people look for it in lists of processes.
        .arg0("ccstatusd")
        .arg(SUBCOMMAND)
        .arg(std::process::id().to_string())
        .stdin(reader)
        .stdout(Stdio::null())
        // Ctrl-C in a terminal ends all of its foreground group. The watcher dismisses this one.
        .process_group(0)
        .spawn()?;
    Ok((child, writer))
}

/// Those rules that are on `no_watcher`.
fn on_no_watcher(mut rules: BTreeMap<String, Rule>) -> BTreeMap<String, Rule> {
    rules.retain(|_, rule| matches!(rule.condition, Condition::NoWatcher { .. }));
    rules
}

// ---- In the sentinel

/// Runs the sentinel with the arguments after [`SUBCOMMAND`].
pub fn main(mut args: impl Iterator<Item = OsString>) -> Result<()> {
    // It was started as `/proc/self/exe`, and would be called `exe` in lists of processes. A name
    // has at most 15 bytes.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_name(c"ccstatusd-alert").ok();
    guard::close_inherited();
    let watcher = args.next().and_then(|it| it.to_str()?.parse().ok());
    let Some(watcher) = watcher else {
        return Err(Error::new(format!("{SUBCOMMAND} needs the process id of a watcher")));
    };
    let env = Environment::read();
    home::check(&env)?;
    let config = Config::load(env.config_file().as_deref())?;
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    let gone = GoneWatcher { predecessor: publisher_in(&dir), dir, watcher };
    let mut rules: Vec<_> = on_no_watcher(config.rules(&env)).into_iter().collect();
    rules.sort_by_key(|(_, rule)| patience(rule));
    match io::stdin().read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => return Ok(()),
        Err(err) => return Err(Error::new("cannot read from the watcher").because(err)),
    }
    let died_at = Now::read();
    let mut failed = None;
    for (name, rule) in &rules {
        let tell_at = died_at.mono + patience(rule);
        if !gone.stays_gone(|now| now.mono < tell_at, LOOK_EVERY)
            || !gone.stays_gone(|now| is_quiet(config.quiet, now), LOOK_QUIETLY_EVERY)
        {
            return Ok(());
        }
        if let Err(err) = gone.tell(name, rule, died_at, &env) {
            failed = Some(err);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// For how long no watcher must have run before the rule is told.
fn patience(rule: &Rule) -> Duration {
    match rule.condition {
        Condition::NoWatcher { after_ms } => span(after_ms),
        _ => Duration::ZERO,
    }
}

fn is_quiet(quiet: Option<Quiet>, now: Now) -> bool {
    quiet.is_some_and(|it| it.contain(now.wall_ms, &TimeZone::system()))
}

/// The process id of the watcher that has published the snapshot.
fn publisher_in(dir: &StateDir) -> Option<u32> {
    let snapshot = snapshot::read_part(&dir.join(SNAPSHOT), None, None).ok()?;
    Some(snapshot.watcher?.pid)
}

/// A watcher that is gone.
struct GoneWatcher {
    dir: StateDir,
    /// Its process id.
    watcher: u32,
    /// Who had published when the watcher began: it may have died before it published itself.
    predecessor: Option<u32>,
}

impl GoneWatcher {
    /// Waits for as long as `is_to_wait` says, and then until no watcher runs. Returns `false` as
    /// soon as another one has published, or this one has become another program: those have
    /// sentinels of their own.
    fn stays_gone(&self, is_to_wait: impl Fn(Now) -> bool, look_every: Duration) -> bool {
        loop {
            let running = WatchLock::running(&self.dir);
            let publisher = publisher_in(&self.dir);
            let has_other = publisher.is_some()
                && publisher != Some(self.watcher)
                && publisher != self.predecessor;
            if has_other || running == Some(self.watcher) {
                return false;
            }
            if running.is_none() && !is_to_wait(Now::read()) {
                return true;
            }
            pause(look_every);
        }
    }

    fn tell(&self, name: &str, rule: &Rule, died_at: Now, env: &Environment) -> Result<()> {
        let now = Now::read();
        let event = event(now.wall_ms - died_at.wall_ms);
        let title = event.title.clone();
        let notice = AlertNotice::of(name, rule.condition.word(), vec![event], now.wall_ms);
        let mut is_told = false;
        let noted = self.note(name, |alert| {
            // Of several watchers that died within this time, each has a sentinel.
            let since_then = died_at.wall_ms..=Now::read().wall_ms;
            is_told = alert.last_fired_ms.is_some_and(|it| since_then.contains(&it));
            if is_told {
                return;
            }
            alert.on = rule.condition.word().to_owned();
            (alert.last_fired_ms, alert.last_title) = (Some(now.wall_ms), Some(title));
            alert.error = None;
        });
        if is_told {
            return noted;
        }
        let what = invocation(&rule.tool.what, &notice);
        let told = Programs::new(env)?.run(&what, rule.tool.limits.deadline);
        told.map(drop).or_else(|err| {
            self.note(name, |alert| alert.error = Some(err.to_string()))?;
            Err(Error::new(format!("cannot tell {name}: {err}")))
        })?;
        noted
    }

    /// Changes what the snapshot says of an alert, for `ccstatusd alerts` and for the next watcher,
    /// which goes on from there. The rest stays as old as it is.
    fn note(&self, name: &str, change: impl FnOnce(&mut Alert)) -> Result<()> {
        let publishing = |err| Error::new("cannot note the alert in the snapshot").because(err);
        let give_up_at = Now::read().mono + LOCK_TIMEOUT;
        // While no watcher runs, only the process that holds this lock publishes.
        let _lock = loop {
            match FetchLock::try_acquire(&self.dir)? {
                Some(lock) => break lock,
                None if Now::read().mono >= give_up_at => return Ok(()),
                None => pause(LOOK_EVERY / 10),
            }
        };
        ipc::enter(self.dir.path()).map_err(publishing)?;
        let Some(mut snapshot) = self.dir.read_snapshot().filter(|_| !ipc::is_watched()) else {
            return Ok(());
        };
        change(snapshot.alerts.entry(name.to_owned()).or_default());
        let mut publisher = Publisher::new(self.dir.clone(), Some(&snapshot));
        let published_at_ms = snapshot.published_at_ms;
        publisher.snapshot(snapshot, published_at_ms).map(drop).map_err(publishing)
    }
}

/// What is told of a watcher that died `ago_ms` milliseconds ago.
pub(crate) fn event(ago_ms: i64) -> AlertEvent {
    let ago = crate::alert::span(ago_ms);
    AlertEvent {
        subject: "watcher".to_owned(),
        title: "ccstatusd has ended".to_owned(),
        body: format!("{ago} ago, without being told to; `ccstatusd start` starts it again"),
        reason: Some("it ended without being told to".to_owned()),
        ..AlertEvent::default()
    }
}
