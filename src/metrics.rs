//! The metrics for Prometheus: counters of what was used, and gauges of the present state.
//!
//! The watcher writes them to the file that `[export] textfile` names (see `engine/exporter.rs`),
//! and `ccstatusd metrics` prints them. Both bring the counters up to date first, and write them to
//! `counters.json` in the data directory before anybody sees them: see `metrics/counters.rs` for
//! why.

pub mod counters;
mod exposition;
pub mod families;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use crate::cli::Environment;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::placed_list;
use crate::store::dir::StateDir;
use crate::store::file::read_bounded;
use crate::store::lock::{CountersLock, WatchLock};
use crate::store::schema::Snapshot;
use crate::store::{atomic, record};
use crate::time::Now;
use crate::usage::prices::Prices;
use counters::{Counters, FORMAT};
use families::{About, exposition};

/// The file in the data directory with what was exported.
const COUNTERS: &str = "counters.json";
const LOCK: &str = "counters.lock";
/// Far above what twenty models in a hundred years need.
const MAX_BYTES: u64 = 64 << 20;
/// How long one process waits for another that brings the counters up to date.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// `ccstatusd metrics`: what a watcher has published last, and what the record has.
pub fn run(env: &Environment) -> Result<String> {
    let config = Config::load(env.config_file().as_deref())?;
    let prices = config.prices(placed_list::load(env)?.prices);
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    let snapshot = dir.read_snapshot().ok_or_else(|| {
        Error::new("cannot print metrics: no watcher has published anything yet")
            .hint("start one with `ccstatusd start`, or call `ccstatusd --oneshot` first")
    })?;
    let user = env.user_name();
    let about = About {
        user: &user,
        version: env!("CARGO_PKG_VERSION"),
        is_running: snapshot.watcher.is_some() && WatchLock::running(&dir).is_some(),
        detail: config.export.detail,
        now_ms: Now::read().wall_ms,
    };
    page(&snapshot, &env.data_dir()?, &prices, &about, i64::MIN..i64::MAX)
}

/// Brings the counters up to date with what the record has of a span of time, and returns the
/// content of the file. An error means that the counters cannot be kept: if they were exported all
/// the same, they could decrease later.
pub(crate) fn page(
    snapshot: &Snapshot,
    data_dir: &Path,
    prices: &Prices,
    about: &About<'_>,
    span: Range<i64>,
) -> Result<String> {
    let _lock = CountersLock::acquire(data_dir, LOCK, LOCK_TIMEOUT)?;
    let kept = load(data_dir)?;
    let mut counters = kept.clone().unwrap_or_default();
    let roots: Vec<String> = snapshot.roots.keys().map(|it| it.0.clone()).collect();
    counters.update(&roots, &record::read(data_dir, span), prices);
    if kept.as_ref() != Some(&counters) {
        save(data_dir, &counters).map_err(|err| {
            Error::new(format!("cannot keep {}", data_dir.join(COUNTERS).display())).because(err)
        })?;
    }
    Ok(exposition(snapshot, &counters, about))
}

/// The counters as they were kept last; `None` before the first time. A file that cannot be
/// understood is set aside, and the counters begin again from the record.
fn load(data_dir: &Path) -> Result<Option<Counters>> {
    let path = data_dir.join(COUNTERS);
    let doing = || format!("cannot read {}", path.display());
    let bytes = match read_bounded(&path, MAX_BYTES) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|err| Error::new(doing()).because(err))?,
    };
    let why = match serde_json::from_slice::<Counters>(&bytes) {
        Ok(counters) if counters.format == FORMAT => return Ok(Some(counters)),
        Ok(counters) => format!("its format is {}, and not {FORMAT}", counters.format),
        Err(err) => err.to_string(),
    };
    let aside = data_dir.join("counters.json.unreadable");
    fs_err::rename(&path, &aside).map_err(|err| Error::new(doing()).because(err))?;
    warn!("{}: {why}; it is now {}, and counters begin again", doing(), aside.display());
    Ok(None)
}

fn save(data_dir: &Path, counters: &Counters) -> io::Result<()> {
    let text = serde_json::to_string(counters)?;
    atomic::write_durably(data_dir, COUNTERS, text.as_bytes())
}
