//! PURE. Sessions: which live, where they work, and what the client said of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::places::Purpose;
use super::report::is_shown;
use super::{CONFIRM, POLL, Process, SessionKey, Source, State, TICK};
use crate::fetch::claude;
use crate::fetch::claude::client::SessionFile;
use crate::fetch::claude::transcript::TranscriptFacts;
use crate::plan::Urgency;
use crate::store::schema::{ClientFacts, SessionId};
use crate::time::{MINUTE_MS, Now};

/// Without a process to look at, a session lives this long after its last sign of life.
const LINGER_MS: i64 = 30 * MINUTE_MS;
/// What the client said counts for this long after, though the transcript has news since: the
/// display that will bring the client's own news is being drawn.
const CLIENT_LEAD_MS: i64 = 2 * MINUTE_MS;

/// Roots that clients may bring: some test suites make a new one for every test.
const MAX_ROOTS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) transcript: Option<PathBuf>,
    pub(super) agents: BTreeSet<PathBuf>,
    pub(super) process: Option<Box<SessionFile>>,
    /// Large, and of thousands of sessions a few have one.
    pub(super) told: Option<Box<Told>>,
    pub(super) grew_ms: i64,
    pub(super) asked_ms: i64,
    /// Its process ended: earlier signs of life count no more.
    pub(super) ended_ms: i64,
    pub(super) is_live: bool,
    /// Somebody waits for its line, so its repository counts even if it lives no more.
    pub(super) is_printed: bool,
    pub(super) cwd: Option<PathBuf>,
    pub(super) repo: Option<PathBuf>,
}

/// What the client said, and when.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) facts: ClientFacts,
    pub(super) at_ms: i64,
}

impl Session {
    /// Whether anybody looks at its line, so that its repository is worth a question.
    pub(super) fn is_of_interest(&self) -> bool {
        self.is_live || self.is_printed
    }
}

impl State {
    pub(super) fn want_process(&mut self, root: &Path, path: &Path, now: Now) {
        if let Some(claude::layout::FileKind::Process(_)) = claude::layout::classify(root, path) {
            self.reads.want(&Source::Process(path.to_owned()), Urgency::Now, now.mono);
        }
    }

    /// What a process's file says; `None` where it is gone.
    pub(super) fn process(&mut self, path: &Path, found: Option<Process>, now: Now) {
        let root = path.parent().and_then(Path::parent).map(Path::to_owned);
        // It may have been dropped while this was read.
        let root = root.filter(|it| self.roots.contains_key(it));
        let found = root.zip(found).and_then(|(root, it)| {
            let id = it.file.session_id.clone()?;
            Some((SessionKey { id, root }, it))
        });
        let before = match &found {
            Some(it) => self.processes.insert(path.to_owned(), it.clone()),
            None => self.processes.remove(path),
        };
        let goes_on = |key: &SessionKey| {
            found.as_ref().is_some_and(|(it, process)| it == key && process.lives)
        };
        if let Some((key, _)) = before.as_ref().filter(|(key, it)| it.lives && !goes_on(key)) {
            // It ended, or goes on with another session.
            self.end_session(key, now);
        }
        let Some((key, found)) = found else { return };
        if found.lives {
            let session = self.sessions.entry(key.clone()).or_default();
            if session.process.as_deref() != Some(&found.file) {
                session.process = Some(Box::new(found.file));
                self.is_dirty = true;
            }
            self.refresh_session(&key, now);
        } else if before.is_none() {
            // Left behind by a crash before we looked.
            self.sessions.entry(key.clone()).or_default();
            self.end_session(&key, now);
        }
    }

    /// One process of a session ended. It may be open in another.
    fn end_session(&mut self, key: &SessionKey, now: Now) {
        let other = self.processes.values().find(|(it, process)| it == key && process.lives);
        let other = other.map(|(_, it)| Box::new(it.file.clone()));
        if let Some(it) = self.sessions.get_mut(key) {
            it.process = other;
            it.ended_ms = now.wall_ms;
            self.is_dirty = true;
        }
        self.refresh_session(key, now);
    }

    pub(super) fn hinted(&mut self, facts: ClientFacts, now: Now) {
        let Some(id) = facts.session_id.as_deref().and_then(SessionId::checked) else {
            // Somebody who left a cookie, and does not know whether there are events. Its folder
            // may even have been removed, and made anew for it.
            let looks = self.places.look_at_unwatched();
            self.effects.extend(looks);
            let looks = self.places.look_at_all(|it| *it == Purpose::Cookies);
            self.effects.extend(looks);
            return;
        };
        let transcript = facts.transcript_path.as_deref().map(PathBuf::from);
        let transcript = transcript.filter(|it| it.is_absolute());
        let root = match transcript.as_deref().and_then(claude::layout::root_of) {
            Some(root) => root.to_owned(),
            None => match self.sessions.keys().find(|it| it.id == id) {
                Some(it) => it.root.clone(),
                None => return,
            },
        };
        if !self.roots.contains_key(&root) {
            // A login service does not see CLAUDE_CONFIG_DIR; the client, which does, says here
            // where it writes.
            if self.roots.len() >= MAX_ROOTS + self.settings.roots.len() {
                return;
            }
            self.add_root(&root, now);
        }
        if let Some(path) = &transcript
            && let Some(place @ claude::layout::FileKind::Transcript(_)) =
                claude::layout::classify(&root, path)
        {
            // Where events do not work, somebody who looks is as good as one.
            self.want_transcript(path, &root, place, now);
        }
        let key = SessionKey { id, root };
        let as_of_ms = self.last_reply_ms(&key).unwrap_or(now.wall_ms).min(now.wall_ms);
        if let Some(root) = self.roots.get_mut(&key.root) {
            root.limits.merge(&facts.limits, as_of_ms, now);
        }
        self.confirm_usage(now);
        let session = self.sessions.entry(key.clone()).or_default();
        // A display that was given no document asks, and says nothing.
        let is_told =
            facts.model.is_some() || facts.cost_usd.is_some() || facts.context_window.is_some();
        let is_news =
            is_told && session.told.as_ref().is_none_or(|it| !says_the_same(&it.facts, &facts));
        if is_told {
            session.told = Some(Box::new(Told { facts, at_ms: now.wall_ms }));
        }
        session.asked_ms = now.wall_ms;
        if is_news {
            self.is_dirty = true;
        } else {
            self.confirm_at.get_or_insert(now.mono + CONFIRM);
        }
        self.refresh_session(&key, now);
        self.glance(&key, now);
    }

    fn last_reply_ms(&self, key: &SessionKey) -> Option<i64> {
        let transcript = self.sessions.get(key)?.transcript.as_ref()?;
        self.files.get(transcript.as_os_str())?.facts.last_reply_ms
    }

    /// Decides whether a session lives and where it works, and what follows from a change of that.
    pub(super) fn refresh_session(&mut self, key: &SessionKey, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        let sign = session.grew_ms.max(session.asked_ms);
        let is_live = session.process.is_some()
            || (sign > session.ended_ms && now.wall_ms - sign < LINGER_MS);
        let cwd = self.cwd_of(session).map(PathBuf::from).filter(|it| it.is_absolute());
        let transcript = session.transcript.clone();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (was_live, old_cwd) = (session.is_live, session.cwd.clone());
        session.is_live = is_live;
        session.cwd.clone_from(&cwd);
        if is_shown(session, now) && !self.shown.contains(key) {
            self.shown.insert(key.clone());
        }
        if was_live != is_live {
            self.is_dirty = true;
        }
        if is_live && !was_live {
            self.next_tick.get_or_insert(now.mono + TICK);
            self.next_poll = self.next_poll.map(|it| it.min(now.mono + POLL.0));
            let folder = transcript.as_deref().map(claude::layout::session_folder);
            // Most have none, and each look would cost.
            if let Some(folder) = folder.filter(|it| self.session_folders.contains(it)) {
                let SessionKey { root, id: session } = key.clone();
                self.observe(&folder, Purpose::Agents { root, session });
            }
        } else if was_live && !is_live {
            let leave = self.places.leave(|_, purpose| {
                matches!(purpose, Purpose::Agents { root, session }
                    if (root, session) == (&key.root, &key.id))
            });
            self.effects.extend(leave);
            self.leave_repos();
            self.leave_tools();
        }
        if is_live && !was_live {
            self.want_tools(now);
        }
        if let Some(cwd) = cwd.filter(|it| is_live && (!was_live || Some(it) != old_cwd.as_ref())) {
            self.reads.want(&Source::Tree(cwd), Urgency::Now, now.mono);
        }
    }

    /// `--oneshot` prints the line of the session that was active last, alive or not.
    pub(super) fn print_latest(&mut self, now: Now) {
        let latest = self.latest(now).cloned();
        let Some(session) = latest.and_then(|it| self.sessions.get_mut(&it)) else { return };
        session.is_printed = true;
        if let Some(cwd) = session.cwd.clone().filter(|_| !session.is_live) {
            self.reads.want(&Source::Tree(cwd), Urgency::Now, now.mono);
        }
        self.want_tools(now);
    }

    /// Where a session works: what the client said, unless the transcript has gone on since.
    fn cwd_of<'a>(&'a self, session: &'a Session) -> Option<&'a str> {
        let facts = self.transcript_facts(session);
        let written = facts.and_then(|it| it.cwd.as_deref());
        let told = session.told.as_ref().and_then(|it| it.facts.cwd.as_deref());
        let started = session.process.as_ref().and_then(|it| it.cwd.as_deref());
        let told_first = self.is_current(session);
        let (first, second) = if told_first { (told, written) } else { (written, told) };
        first.or(second).or(started)
    }

    pub(super) fn transcript_facts(&self, session: &Session) -> Option<&TranscriptFacts> {
        Some(&self.files.get(session.transcript.as_ref()?.as_os_str())?.facts)
    }

    /// Whether what the client said is as new as the transcript.
    pub(super) fn is_current(&self, session: &Session) -> bool {
        let replied = self.transcript_facts(session).and_then(|it| it.last_reply_ms);
        let told = session.told.as_ref().map(|it| it.at_ms);
        told.is_some_and(|it| it.saturating_add(CLIENT_LEAD_MS) >= replied.unwrap_or(i64::MIN))
    }
}

/// Whether only time has passed between two statements of one client.
fn says_the_same(before: &ClientFacts, now: &ClientFacts) -> bool {
    let ClientFacts { duration_ms, api_duration_ms, .. } = *now;
    ClientFacts { duration_ms, api_duration_ms, ..before.clone() } == *now
}
