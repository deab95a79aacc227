//! PURE. One copy of a reply, with all that the record keeps of it.

use std::sync::Arc;

use super::entry::{Entry, EntryTokens, ReplyId};
use super::history::{Class, Group, Quarter};
use super::prices::Picodollars;

/// What identifies a reply in the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyId {
    /// Hashes of the ids that the API gave the message and the request; the latter is 0 where the
    /// line names no request.
    Api { message: u64, request: u32 },
    /// Hashes of the lines that state the reply. Copies with a hash in common are of one reply.
    Lines(Vec<u64>),
}

impl From<&ReplyId> for CopyId {
    fn from(id: &ReplyId) -> CopyId {
        match id {
            ReplyId::Api { message, request } => CopyId::Api {
                message: message.hash,
                request: request.map_or(0, |it| it.hash as u32),
            },
            ReplyId::Lines(lines) => CopyId::Lines(lines.clone()),
        }
    }
}

/// A copy of a reply, as a line of a transcript states it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub id: CopyId,
    pub group: Arc<Group>,
    /// The path of the transcript below the config root, and where the line begins there, in bytes.
    /// Of equal copies the one that is first in this order counts.
    pub file: Arc<str>,
    pub offset: u64,
    pub at_ms: i64,
    /// Whether a subagent made the reply.
    pub is_sidechain: bool,
    /// No count exceeds 32 bits.
    pub tokens: EntryTokens,
    pub n_web_searches: u64,
    /// The cost that the transcript states; 0 unless [`Class::is_stated`].
    pub stated: Picodollars,
}

/// A reply that is to be recorded, and the time of the copy whose place it took, in Unix
/// milliseconds.
pub type News = (Reply, Option<i64>);

/// What the client said that a session had cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCost {
    /// The session's id.
    pub session: Arc<str>,
    /// When it said so, in Unix milliseconds.
    pub at_ms: i64,
    pub cost: Picodollars,
}

/// What is to be recorded of a config root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub news: Vec<News>,
    pub client_costs: Vec<ClientCost>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.news.is_empty() && self.client_costs.is_empty()
    }
}

/// What all lines of a transcript have in common.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The path below the config root.
    pub file: Arc<str>,
    /// The session that the path names. Where it names none, the line does.
    pub session: Option<Arc<str>>,
    /// The session of lines that name none, in a transcript whose path does not decide.
    pub fallback: Option<Arc<str>>,
    /// See [`Group::folder`].
    pub folder: Arc<str>,
    /// See [`Group::project`].
    pub project: Arc<str>,
}

/// Makes replies of the entries of one transcript. Most have the same group as the one before.
#[derive(Debug)]
pub struct Replies {
    origin: Origin,
    group: Arc<Group>,
}

impl Replies {
    pub fn of(origin: Origin) -> Replies {
        Replies { origin, group: Arc::default() }
    }

    /// The reply in a line that begins at `offset`.
    pub fn make(&mut self, offset: u64, entry: &Entry) -> Reply {
        let tokens = entry.tokens.bounded();
        let text = |it: &Option<Arc<str>>| it.clone().unwrap_or_default();
        let Origin { file, session, fallback, folder, project } = &self.origin;
        let group = Group {
            session: session
                .as_ref()
                .or(entry.session.as_ref())
                .or(fallback.as_ref())
                .cloned()
                .unwrap_or_default(),
            folder: Arc::clone(folder),
            project: Arc::clone(project),
            branch: text(&entry.branch),
            agent: text(&entry.agent),
            model: Arc::clone(&entry.model),
            class: Class {
                is_fast: entry.is_fast,
                is_us_only: entry.is_us_only,
                input_above: Class::input_step(tokens.all_input()),
                is_stated: entry.cost_usd.is_some(),
            },
        };
        if *self.group != group {
            self.group = Arc::new(group);
        }
        Reply {
            id: CopyId::from(&entry.id),
            group: Arc::clone(&self.group),
            file: Arc::clone(file),
            offset,
            at_ms: entry.at_ms,
            is_sidechain: entry.is_sidechain,
            tokens,
            n_web_searches: entry.n_web_searches.min(u64::from(u32::MAX)),
            stated: entry.cost_usd.map_or(0, super::prices::picodollars),
        }
    }
}

impl Reply {
    /// The reply as the only one of its quarter of an hour.
    pub fn quarter(&self) -> Quarter {
        Quarter {
            n_replies: 1,
            first_ms: self.at_ms,
            last_ms: self.at_ms,
            tokens: self.tokens,
            n_web_searches: self.n_web_searches,
            stated: self.stated,
        }
    }
}

/// Replies for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::usage::entry::hash;

    /// 2026-11-23, a Monday, at 12:00.
    pub(crate) const NOON: i64 = 1_795_435_200_000;

    /// A reply of a known model in the session `s`.
    pub(crate) fn reply(message: &str, request: &str, output: u64) -> Reply {
        let request = if request.is_empty() { 0 } else { hash(request) as u32 };
        let group =
            Group { session: "s".into(), model: "claude-opus-4-8".into(), ..Group::default() };
        Reply {
            id: CopyId::Api { message: hash(message), request },
            group: Arc::new(group),
            file: "projects/p/s.jsonl".into(),
            offset: 0,
            at_ms: NOON,
            is_sidechain: false,
            tokens: EntryTokens { output, ..EntryTokens::default() },
            n_web_searches: 0,
            stated: 0,
        }
    }

    /// A reply that is known by these lines.
    pub(crate) fn by_lines(lines: &[u64], output: u64) -> Reply {
        Reply { id: CopyId::Lines(lines.to_vec()), ..reply("", "", output) }
    }

    /// The same reply in another session.
    pub(crate) fn in_session(session: &str, mut reply: Reply) -> Reply {
        Arc::make_mut(&mut reply.group).session = session.into();
        reply
    }
}
