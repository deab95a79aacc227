//! PURE. Finds the session, account and working tree that a line is drawn for.
//!
//! **Invariant:** no other code of the display looks anything up in a snapshot. Segments get only
//! what was found here, so they cannot show facts of another session.

use std::collections::BTreeMap;
use std::path::Path;

use crate::store::schema::{
    CommandOutput, Degraded, Limit, Limits, Repo, RepoKey, Root, RootKey, Session, Snapshot,
};

use super::view::{Source, View};

/// The part of the snapshot that concerns one line.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// `None` without a snapshot that this version can interpret.
    pub(super) published_at_ms: Option<i64>,
    pub(super) session: Option<&'a Session>,
    /// The session's account.
    pub(super) root: Option<&'a Root>,
    /// The limits that apply to the session. Those that its own document states have no time.
    pub(super) limits: Limits,
    /// The working tree that the session is in.
    pub(super) repo: Option<&'a Repo>,
    /// Failing sources that this line depends on.
    pub(super) degraded: Vec<&'a Degraded>,
    /// The output of the user's commands, which is the same for all sessions.
    pub(super) commands: Option<&'a BTreeMap<String, CommandOutput>>,
}

impl<'a> Scope<'a> {
    /// Looks up the facts that a line for this view may show.
    pub(super) fn of(view: &View<'a>) -> Scope<'a> {
        let Source::Snapshot(snapshot) = view.source else {
            return Scope { limits: limits(view, None, None), ..Scope::default() };
        };
        let session = view.session.and_then(|id| snapshot.sessions.get(id));
        let root_key = root_key(snapshot, session, view);
        let repo_key = repo_key(snapshot, session, view);
        let transcript = view.client.transcript_path.as_deref();
        let transcript = transcript.or(session.and_then(|it| it.transcript.as_deref()));
        let concerns_line = |it: &&Degraded| concerns(&it.source, root_key, repo_key, transcript);
        let root = root_key.and_then(|key| snapshot.roots.get(&RootKey(key.to_owned())));
        Scope {
            published_at_ms: Some(snapshot.published_at_ms),
            session,
            root,
            limits: limits(view, session, root),
            repo: repo_key.and_then(|key| snapshot.repos.get(&RepoKey(key.to_owned()))),
            degraded: snapshot.degraded.iter().filter(concerns_line).collect(),
            commands: Some(&snapshot.commands),
        }
    }
}

/// The limits that apply to the session: by its own document where that brings news, otherwise the
/// newest that the watcher knows of any session of the account.
///
/// See docs/decisions/028-the-newest-word-wins.md.
fn limits(view: &View<'_>, session: Option<&Session>, root: Option<&Root>) -> Limits {
    let (client, now_ms) = (view.client, view.now_ms);
    let last_reply_ms = session.and_then(|it| it.last_reply_ms);
    let known = session.and_then(|it| it.subscription);
    if client.is_subscribed(known, last_reply_ms.is_some()) == Some(false) {
        return Limits::default();
    }
    let kept = root.map(|it| it.limits.plausible(now_ms)).unwrap_or_default();
    let kept = kept.filter_map(|name, limit| limit.is_current(name, now_ms).then_some(limit));
    let told = client.limits.plausible(now_ms);
    // Only a client states its version, so the watcher has a report of this session.
    let reported = session.filter(|it| it.client_version.is_some());
    let said = reported.map(|it| &it.limits);
    if !client.has_limits() || said.is_some_and(|it| told.is_repetition_of(it, now_ms)) {
        return kept;
    }
    let is_older = |kept: &Limit| match said {
        Some(_) => false,
        None if !client.has_replies() && last_reply_ms.is_none() => true,
        None => last_reply_ms.is_some_and(|it| it < kept.as_of_ms),
    };
    let mut limits = kept.filter_map(|name, kept| {
        let said = said.and_then(|it| it.get(name));
        let is_worse = match told.get(name) {
            Some(_) => !is_older(&kept),
            // The session takes back what it said itself, and nothing that others said.
            None => said.is_some_and(|it| it.is_same_statement(&kept)),
        };
        (!is_worse).then_some(kept)
    });
    for (name, limit) in told.iter() {
        if limits.get(name).is_some() {
            continue;
        }
        // At the same pace, it will not be used up earlier than was forecast from an older share.
        let forecast = kept
            .get(name)
            .filter(|it| it.is_same_window(limit) && it.used_percentage <= limit.used_percentage);
        let full_at_ms = forecast.and_then(|it| it.full_at_ms);
        limits.insert(name, Limit { as_of_ms: 0, full_at_ms, ..*limit });
    }
    limits
}

/// The key of the session's account. The client reports the path of the transcript even before the
/// watcher knows the session, and that path is inside the account's root.
fn root_key<'a>(
    snapshot: &'a Snapshot,
    session: Option<&'a Session>,
    view: &View<'a>,
) -> Option<&'a str> {
    if let Some(session) = session {
        return Some(&session.root);
    }
    let transcript = view.client.transcript_path.as_deref()?;
    innermost(snapshot.roots.keys().map(|it| it.0.as_str()), transcript)
}

/// The key of the session's repository. The watcher found it for the directory that the session
/// was in then. If the client reports another directory now, the innermost known repository around
/// that directory is the best answer.
fn repo_key<'a>(
    snapshot: &'a Snapshot,
    session: Option<&'a Session>,
    view: &View<'a>,
) -> Option<&'a str> {
    let resolved_for = session.and_then(|it| it.cwd.as_deref());
    match view.client.cwd.as_deref() {
        Some(cwd) if resolved_for != Some(cwd) => {
            innermost(snapshot.repos.keys().map(|it| it.0.as_str()), cwd)
        }
        _ => session.and_then(|it| it.repo.as_deref()),
    }
}

/// Whether a line depends on a failing source, which is named as in [`Degraded::source`].
fn concerns(
    source: &str,
    root: Option<&str>,
    repo: Option<&str>,
    transcript: Option<&str>,
) -> bool {
    let Some((kind, path)) = source.split_once(':') else { return true };
    match kind {
        "git" => repo == Some(path),
        "command" | "config" => true,
        // The transcripts of subagents are in a directory named after the session's.
        "transcript" => transcript.is_some_and(|own| {
            own == path || contains(own.strip_suffix(".jsonl").unwrap_or(own), path)
        }),
        _ => {
            [root, repo].into_iter().flatten().any(|key| contains(key, path) || contains(path, key))
        }
    }
}

/// The longest of the directories that contain a path.
fn innermost<'a>(keys: impl Iterator<Item = &'a str>, path: &str) -> Option<&'a str> {
    keys.filter(|key| contains(key, path)).max_by_key(|key| key.len())
}

/// Compares whole components: `/w/p` does not contain `/w/pq`.
fn contains(dir: &str, path: &str) -> bool {
    !dir.is_empty() && Path::new(path).starts_with(dir)
}
