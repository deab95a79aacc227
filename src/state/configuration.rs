//! PURE. The configuration while we run: it is read again when it changes, and one that is broken
//! changes nothing but that it is said to be.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::places::Purpose;
use super::{Effect, STUCK, Settings, State};
use crate::store::schema::Degraded;
use crate::time::Now;
use crate::watch::SILENT;
use crate::watch::debounce::{Debounce, Window};

/// Some editors empty a file before they write it, and some write another and rename it.
const SETTLES: Debounce =
    Debounce { quiet: Duration::from_millis(100), max_hold: Duration::from_secs(1) };

/// What is known of the configuration file.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// It changed, and is not read yet.
    changed: Option<Window>,
    /// It is being read. Whoever hangs on it is not asked again.
    is_read: bool,
    /// Until then that is waited for.
    give_up_at: Option<Instant>,
    /// Since when and why it makes no sense.
    broken: Option<(i64, String)>,
}

impl Configuration {
    /// Whether what it says now will be known soon.
    pub(super) fn is_awaited(&self) -> bool {
        self.deadline().is_some()
    }

    /// When it is to be read, or else is not waited for any more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.is_read { self.give_up_at } else { self.changed.map(|it| it.deadline(SETTLES)) }
    }
}

impl State {
    /// Observes where the configuration is, and where links to it lead.
    pub(super) fn observe_configuration(&mut self) {
        let dirs = self.settings.config.iter().filter_map(|it| it.parent());
        let dirs: BTreeSet<PathBuf> = dirs.map(PathBuf::from).collect();
        let leave =
            self.places.leave(|dir, purpose| *purpose == Purpose::Config && !dirs.contains(dir));
        self.effects.extend(leave);
        for dir in dirs {
            self.observe(&dir, Purpose::Config);
        }
    }

    /// Whether what the configuration says now will be known soon.
    pub fn is_configuring(&self) -> bool {
        self.configuration.is_awaited()
    }

    pub(super) fn configuration_changed(&mut self, now: Now) {
        match &mut self.configuration.changed {
            Some(it) => it.add(now.mono),
            None => self.configuration.changed = Some(Window::open(now.mono)),
        }
    }

    pub(super) fn read_configuration(&mut self, now: Now) {
        if self.configuration.deadline().is_none_or(|it| it > now.mono) {
            return;
        }
        if self.configuration.is_read {
            self.configuration.give_up_at = None;
            self.configuration_fails(SILENT.to_owned(), now);
        } else {
            self.configuration.changed = None;
            self.configuration.is_read = true;
            self.configuration.give_up_at = Some(now.mono + STUCK);
            self.effects.push(Effect::Configure);
        }
    }

    /// It was read: what it says, or what is wrong with it.
    pub(super) fn configured(&mut self, read: Result<Box<Settings>, String>, now: Now) {
        (self.configuration.is_read, self.configuration.give_up_at) = (false, None);
        match read {
            // It is looked at now and then, and says what it said.
            Ok(settings) if self.configuration.broken.is_none() && *settings == self.settings => {}
            Ok(settings) => {
                self.configuration.broken = None;
                self.reload(*settings, now);
            }
            Err(reason) => self.configuration_fails(reason, now),
        }
    }

    fn configuration_fails(&mut self, reason: String, now: Now) {
        let broken = self.configuration.broken.get_or_insert((now.wall_ms, String::new()));
        if broken.1 != reason {
            broken.1 = reason;
            self.is_dirty = true;
        }
    }

    pub(super) fn broken_configuration(&self) -> Option<Degraded> {
        let (since_ms, reason) = self.configuration.broken.clone()?;
        let path = self.settings.config.first().map(|it| super::report::text(it));
        let source = format!("config:{}", path.unwrap_or_default());
        Some(Degraded { source, since_ms, reason, next_try_ms: None })
    }
}
