//! PURE. Finds the session, account and working tree that a line is drawn for.
//!
//! **Invariant:** no other code of the display looks anything up in a snapshot. Segments get only
//! what was found here, so they cannot take facts of another session for those of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use crate::store::schema::{
    CommandOutput, Degraded, Limit, Limits, Repo, RepoKey, Root, RootKey, Session, SessionId,
    Snapshot, Status, Waiting,
};

use super::view::{Around, Source, Tree, View};

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
    pub(super) repo: Option<Cow<'a, Repo>>,
    /// Failing sources that this line depends on.
    pub(super) degraded: Vec<&'a Degraded>,
    /// The output of the user's commands, of all sessions.
    commands: Option<&'a BTreeMap<String, CommandOutput>>,
    /// The session, its working tree and its account, as the names of commands' runs have them.
    own_keys: Vec<&'a str>,
    /// The other sessions that wait for the user, as far as the snapshot lists them.
    pub(super) others_waiting: Vec<&'a Waiting>,
    /// The number of those that it does not list.
    pub(super) others_waiting_more: u64,
}

impl<'a> Scope<'a> {
    /// Looks up the facts that a line for this view may show.
    pub(super) fn of(view: &View<'a>) -> Scope<'a> {
        let Source::Snapshot(snapshot) = view.source else {
            let (repo, limits) = (repo(None, None, view), limits(view, None, None));
            return Scope { repo, limits, ..Scope::default() };
        };
        let session = view.session.and_then(|id| snapshot.sessions.get(id));
        let root_key = root_key(snapshot, session, view);
        let repo_key = repo_key(session, view);
        let transcript = view.client.transcript_path.as_deref();
        let transcript = transcript.or(session.and_then(|it| it.transcript.as_deref()));
        let (own, others): (Vec<_>, Vec<_>) = snapshot
            .waiting
            .iter()
            .partition(|it| view.session.is_some_and(|id| id.0 == it.session));
        let is_unlisted =
            own.is_empty() && session.is_some_and(|it| it.status == Some(Status::Waiting));
        let concerns_line =
            |it: &&Degraded| concerns(&it.source, root_key, repo_key, transcript, view.session);
        let root = root_key.and_then(|key| snapshot.roots.get(&RootKey(key.to_owned())));
        Scope {
            published_at_ms: Some(snapshot.published_at_ms),
            session,
            root,
            limits: limits(view, session, root),
            repo: repo(Some(snapshot), repo_key, view),
            degraded: snapshot.degraded.iter().filter(concerns_line).collect(),
            commands: Some(&snapshot.commands),
            own_keys: view
                .session
                .map(|it| it.0.as_str())
                .into_iter()
                .chain(session.and_then(|it| it.repo.as_deref()))
                .chain(session.map(|it| it.root.as_str()))
                .collect(),
            others_waiting: others,
            others_waiting_more: snapshot.waiting_more.saturating_sub(u64::from(is_unlisted)),
        }
    }
}

impl<'a> Scope<'a> {
    /// What the command of this name printed for all, or for what this line is about.
    pub(super) fn command(&self, name: &str) -> Option<&'a CommandOutput> {
        let commands = self.commands?;
        let own = || self.own_keys.iter().find_map(|key| commands.get(&format!("{name} of {key}")));
        commands.get(name).or_else(own)
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

/// The key of the session's working tree. The watcher found it for the directory that the session
/// was in then. The client may report another one now, and what is around that is known only to who
/// looks: a working tree may lie within another.
fn repo_key<'a>(session: Option<&'a Session>, view: &View<'a>) -> Option<&'a str> {
    match view.around {
        Around::Tree(tree) => Some(&tree.top),
        Around::NoTree => None,
        Around::Unknown => {
            let session = session?;
            let has_moved = view.client.cwd.is_some() && view.client.cwd != session.cwd;
            session.repo.as_deref().filter(|_| !has_moved)
        }
    }
}

/// What is known of the working tree of this key: git's word, where it is still about what is
/// checked out now, or else what is checked out.
fn repo<'a>(
    snapshot: Option<&'a Snapshot>,
    key: Option<&str>,
    view: &View<'a>,
) -> Option<Cow<'a, Repo>> {
    let told = key.and_then(|key| snapshot?.repos.get(&RepoKey(key.to_owned())));
    let Around::Tree(tree) = view.around else { return told.map(Cow::Borrowed) };
    let Tree { head: Some(head), is_own, .. } = &**tree else {
        return told.map(Cow::Borrowed);
    };
    let error = told.and_then(|it| it.error.clone());
    let has_answered = told.is_some_and(|it| it.as_of_ms > 0);
    if !is_own && (error.is_some() || !has_answered) {
        // Whether git reads what belongs to another user is for git to say.
        return told.map(Cow::Borrowed);
    }
    let Some(told) = told.filter(|_| has_answered) else {
        return Some(Cow::Owned(Repo { as_of_ms: view.now_ms, error, ..head.clone() }));
    };
    if is_same_head(told, head) {
        return Some(Cow::Borrowed(told));
    }
    let mut repo = told.clone();
    (repo.branch, repo.commit) = (head.branch.clone(), head.commit.clone());
    (repo.upstream, repo.ahead, repo.behind, repo.tag) = (None, 0, 0, None);
    // Not even whether it has an upstream is known.
    (repo.upstream_gone, repo.has_remote) = (false, false);
    Some(Cow::Owned(repo))
}

/// Whether two descriptions of a working tree are of the same branch, or of the same commit if
/// there is none. A branch that moved is the same: what git counted shows its own age.
fn is_same_head(told: &Repo, head: &Repo) -> bool {
    told.branch == head.branch && (head.branch.is_some() || told.commit == head.commit)
}

/// Whether a line depends on a failing source, which is named as in [`Degraded::source`].
fn concerns(
    source: &str,
    root: Option<&str>,
    repo: Option<&str>,
    transcript: Option<&str>,
    session: Option<&SessionId>,
) -> bool {
    // What a line says does not depend on the export.
    let Some((kind, path)) = source.split_once(':') else { return source != "export" };
    match kind {
        "git" => repo == Some(path),
        "config" => true,
        // One that runs for each root, repository or session is named `NAME of KEY`.
        "command" => path.split_once(" of ").is_none_or(|(_, key)| {
            [root, repo, session.map(|it| it.0.as_str())].contains(&Some(key))
        }),
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
