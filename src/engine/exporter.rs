//! Writes the metrics of a snapshot, for Prometheus, to the file that the user named.
//!
//! A thread of its own does it: the file may lie on a disk that hangs, and the counters need the
//! record. It holds only the newest snapshot, writes at most as often as the user said, and sleeps
//! while nothing is published, so that it never wakes an idle watcher.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::warn;

use crate::error::{Error, Result};
use crate::metrics;
use crate::metrics::counters::recent;
use crate::metrics::families::About;
use crate::sanitize;
use crate::state::event::Event;
use crate::state::settings::Export;
use crate::store::atomic;
use crate::store::schema::Snapshot;
use crate::time::Now;
use crate::usage::prices::Prices;

/// What is older than the windows changes only when old transcripts or records of other machines
/// are taken in. So all of the record is read this rarely.
const FULL_READ: Duration = Duration::from_secs(3600);
/// How long a watcher that ends waits for the last write.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// Others must be able to read it: node_exporter runs as another user.
const MODE: u32 = 0o644;

/// The thread that exports, while the user wants it.
#[derive(Debug)]
pub(super) struct Exporter {
    user: String,
    data_dir: Option<PathBuf>,
    running: Option<Running>,
    /// Where it is told whether the export works.
    events: Sender<Event>,
}

#[derive(Debug)]
struct Running {
    export: Export,
    prices: Prices,
    newest: Arc<Mutex<Option<Snapshot>>>,
    /// Whether the thread removes the file when it ends.
    is_dropped: Arc<AtomicBool>,
    /// Has room for one message. The thread ends when it is closed.
    wake: Sender<()>,
    /// Closed by the end of the thread.
    ended: Receiver<()>,
}

impl Exporter {
    pub(super) fn new(user: String, data_dir: Option<PathBuf>, events: Sender<Event>) -> Exporter {
        Exporter { user, data_dir, running: None, events }
    }

    /// Exports as these settings say from now on, or no more. A file that is written no more is
    /// removed: a collector would go on reading it.
    pub(super) fn configure(&mut self, export: Option<&Export>, prices: &Prices) {
        let running = self.running.as_ref().map(|it| (&it.export, &it.prices));
        if running == export.map(|it| (it, prices)) {
            return;
        }
        // The thread ends by itself: this one does not wait for it, nor touch the file, which may
        // be on a disk that hangs.
        if let Some(before) = self.running.take() {
            locked(&before.newest).take();
            let is_same = export.is_some_and(|it| it.textfile == before.export.textfile);
            before.is_dropped.store(!is_same, Ordering::Relaxed);
        }
        let Some(export) = export else { return };
        let textfile = export.textfile.clone();
        let failed = |reason: String| {
            self.events.send(Event::Exported { textfile, result: Err(reason) }).ok();
        };
        let Some(data_dir) = self.data_dir.clone() else {
            return failed("there is no data directory without HOME".to_owned());
        };
        let (wake, woken) = bounded(1);
        let (ending, ended) = bounded(0);
        let newest = Arc::new(Mutex::new(None));
        let mut writer = Writer {
            user: self.user.clone(),
            data_dir,
            export: export.clone(),
            prices: prices.clone(),
            newest: Arc::clone(&newest),
            read_all_at: None,
            written: None,
            told: None,
            events: self.events.clone(),
        };
        let is_dropped = Arc::new(AtomicBool::new(false));
        let removes = Arc::clone(&is_dropped);
        let run = move || {
            writer.run(&woken);
            if removes.load(Ordering::Relaxed) {
                fs_err::remove_file(&writer.export.textfile).ok();
            }
            drop(ending);
        };
        if let Err(err) = std::thread::Builder::new().name("export".to_owned()).spawn(run) {
            return failed(format!("cannot start a thread: {err}"));
        }
        let (export, prices) = (export.clone(), prices.clone());
        self.running = Some(Running { export, prices, newest, is_dropped, wake, ended });
    }

    /// A snapshot is published.
    pub(super) fn published(&self, snapshot: &Snapshot) {
        let Some(running) = &self.running else { return };
        *locked(&running.newest) = Some(snapshot.clone());
        // A full channel means that the thread is about to look.
        running.wake.try_send(()).ok();
    }

    /// Writes what is not written yet, and ends the thread. One that hangs is left behind.
    pub(super) fn finish(&mut self) {
        let Some(Running { wake, ended, .. }) = self.running.take() else { return };
        drop(wake);
        if ended.recv_timeout(LAST_WRITE) == Err(RecvTimeoutError::Timeout) {
            warn!("the metrics could not be written within {LAST_WRITE:?}");
        }
    }
}

fn locked(newest: &Mutex<Option<Snapshot>>) -> MutexGuard<'_, Option<Snapshot>> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread has.
#[derive(Debug)]
struct Writer {
    user: String,
    data_dir: PathBuf,
    export: Export,
    prices: Prices,
    newest: Arc<Mutex<Option<Snapshot>>>,
    /// When all of the record was read.
    read_all_at: Option<Instant>,
    /// The content of the file.
    written: Option<String>,
    /// How the last try ended, or why it failed: it is told once.
    told: Option<std::result::Result<(), String>>,
    events: Sender<Event>,
}

impl Writer {
    fn run(&mut self, woken: &Receiver<()>) {
        let mut next_at = Now::read().mono;
        let mut is_ending = false;
        loop {
            let is_early = Now::read().mono < next_at && !is_ending;
            let is_news = locked(&self.newest).is_some();
            match (is_news, is_early) {
                (true, true) => {
                    let woken = woken.recv_deadline(next_at);
                    is_ending = woken == Err(RecvTimeoutError::Disconnected);
                }
                (true, false) => {
                    next_at = Now::read().mono + self.export.every;
                    let newest = locked(&self.newest).take();
                    let result = newest.map_or(Ok(()), |snapshot| self.write(&snapshot));
                    self.tell(result, is_ending);
                }
                (false, _) if is_ending => return,
                (false, _) => is_ending = woken.recv().is_err(),
            }
        }
    }

    fn write(&mut self, snapshot: &Snapshot) -> Result<()> {
        let now = Now::read();
        let about = About {
            user: &self.user,
            version: env!("CARGO_PKG_VERSION"),
            is_running: snapshot.watcher.is_some(),
            detail: self.export.detail,
            now_ms: now.wall_ms,
        };
        let is_all = self.read_all_at.is_none_or(|at| now.mono - at >= FULL_READ);
        let span = if is_all { i64::MIN..i64::MAX } else { recent(now.wall_ms) };
        let text = metrics::page(snapshot, &self.data_dir, &self.prices, &about, span)?;
        if is_all {
            self.read_all_at = Some(now.mono);
        }
        let path = &self.export.textfile;
        if self.written.as_ref() == Some(&text) && path.exists() {
            return Ok(());
        }
        publish(path, &text, self.written.is_none())
            .map_err(|err| Error::new(format!("cannot write {}", path.display())).because(err))?;
        self.written = Some(text);
        Ok(())
    }

    fn tell(&mut self, result: Result<()>, is_ending: bool) {
        // `doctor` says what to do.
        let result = result.map_err(|err| Error { hint: None, ..err }.to_string());
        if is_ending && let Err(reason) = &result {
            // No snapshot follows that would say so.
            warn!("{}", sanitize::marked(&format!("metrics are not exported: {reason}")));
        }
        if self.told.as_ref() != Some(&result) {
            self.told = Some(result.clone());
            let textfile = self.export.textfile.clone();
            self.events.send(Event::Exported { textfile, result }).ok();
        }
    }
}

/// Replaces the file whole. The collector ignores the temporary one, whose name does not end in
/// `.prom`. The first time, removes those that a killed watcher left there.
fn publish(path: &Path, text: &str, is_first: bool) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().and_then(|it| it.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    if is_first {
        atomic::remove_temporaries_of(dir, name);
    }
    atomic::write_with(dir, name, |file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(MODE))
    })
}
