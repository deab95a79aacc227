//! PURE. Which session, account and working tree a line is drawn for.
//!
//! **Invariant:** this is the only place that looks something up in a snapshot. Segments get what
//! was found here, so none can show a fact of somebody else.

use std::collections::BTreeMap;
use std::path::Path;

use crate::store::schema::{Command, Degraded, Repo, RepoKey, Root, RootKey, Session, Snapshot};

use super::view::{Source, View};

/// The part of the snapshot that concerns one line.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// When it was published; `None` where there is no snapshot that we may interpret.
    pub(super) published_at_ms: Option<i64>,
    /// The session itself.
    pub(super) session: Option<&'a Session>,
    /// Its account.
    pub(super) root: Option<&'a Root>,
    /// The working tree that it stands in.
    pub(super) repo: Option<&'a Repo>,
    /// Sources of the above that fail now.
    pub(super) degraded: Vec<&'a Degraded>,
    /// What the user's own commands printed: they are the user's, wherever the session works.
    pub(super) commands: Option<&'a BTreeMap<String, Command>>,
}

impl<'a> Scope<'a> {
    /// Looks up what the view's session may see.
    pub(super) fn of(view: &View<'a>) -> Scope<'a> {
        let Source::Snapshot(snapshot) = view.source else { return Scope::default() };
        let session = view.session.and_then(|it| snapshot.sessions.get(it));
        let root_key = root_key(snapshot, session, view);
        let repo_key = repo_key(snapshot, session, view);
        let transcript = view.client.transcript_path.as_deref();
        let transcript = transcript.or(session.and_then(|it| it.transcript.as_deref()));
        let concerns = |it: &&Degraded| concerns(&it.source, root_key, repo_key, transcript);
        Scope {
            published_at_ms: Some(snapshot.published_at_ms),
            session,
            root: root_key.and_then(|it| snapshot.roots.get(&RootKey(it.to_owned()))),
            repo: repo_key.and_then(|it| snapshot.repos.get(&RepoKey(it.to_owned()))),
            degraded: snapshot.degraded.iter().filter(concerns).collect(),
            commands: Some(&snapshot.commands),
        }
    }
}

/// A session that the watcher has not met yet still says where its transcript will be, and that
/// is inside its root.
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

/// The watcher resolved the repository of the directory that it knew the session in. If the
/// session is elsewhere by now, only what is known to contain that place can be meant.
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

/// Whether a failing source, named as in [`Degraded::source`], has a part in this line.
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
        // Its subagents write into a folder that is named like it.
        "transcript" => transcript.is_some_and(|it| {
            it == path || contains(it.strip_suffix(".jsonl").unwrap_or(it), path)
        }),
        _ => [root, repo].into_iter().flatten().any(|it| contains(it, path) || contains(path, it)),
    }
}

fn innermost<'a>(keys: impl Iterator<Item = &'a str>, path: &str) -> Option<&'a str> {
    keys.filter(|it| contains(it, path)).max_by_key(|it| it.len())
}

/// By whole components: `/w/p` does not contain `/w/pq`.
fn contains(dir: &str, path: &str) -> bool {
    !dir.is_empty() && Path::new(path).starts_with(dir)
}
