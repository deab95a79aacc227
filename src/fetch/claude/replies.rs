//! PURE. Which lines of a transcript state the same reply where the API's ids do not say it.
//!
//! Gateways to other providers send no request ids, and ids of messages that are unique within a
//! session at best; some give every reply the same. The lines of one reply have equal input,
//! growing output and no prompt between them. Each line has an id of its own (`uuid`), which its
//! copies in forks and moved projects have as well, so the lines identify their reply.

use serde::{Deserialize, Serialize};

use crate::usage::entry::{EntryTokens, Id, hash};

/// How many replies may be open at once. Clients send few requests in parallel.
const MAX_OPEN: usize = 16;
/// How many lines of a reply identify it. A reply has one line for each block of its content.
const MAX_LINES: usize = 64;
/// Among how many of the latest lines without a `uuid` equal ones are recognised.
const MAX_ANONYMOUS: usize = 128;

/// What is known of the replies without usable ids up to some line of a transcript. It is part of
/// the checkpoint, so that it does not matter in how many pieces a file is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replies {
    /// The replies that the next line may belong to, in the order of their first lines.
    open: Vec<OpenReply>,
    /// The hashes of the latest lines without a `uuid`, and how many lines had each.
    anonymous: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OpenReply {
    /// The hash of what all its lines have in common.
    common: u64,
    is_sidechain: bool,
    /// The output tokens in its last line.
    output: u64,
    /// The hashes of its lines.
    lines: Vec<u64>,
}

/// What one line says of a reply.
pub(super) struct Statement<'a> {
    pub(super) message: Option<Id>,
    /// Empty where the line names none.
    pub(super) session: &'a str,
    pub(super) uuid: Option<&'a str>,
    pub(super) is_sidechain: bool,
    pub(super) at_ms: i64,
    pub(super) model: &'a str,
    pub(super) tokens: EntryTokens,
}

impl Replies {
    /// Takes in a line. Returns the hashes of the lines that state its reply so far.
    pub(super) fn add(&mut self, line: &Statement<'_>) -> Vec<u64> {
        let line_hash = self.hash_of(line);
        // Without an id of the message nothing says that two lines belong together.
        let Some(message) = line.message else { return vec![line_hash] };
        let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = line.tokens;
        let all_input = (input, cache_write_5m, cache_write_1h, cache_read);
        let common = hash(&(message.hash, line.session, all_input));
        let chain = self.open.iter_mut().filter(|it| it.is_sidechain == line.is_sidechain);
        if let Some(reply) = chain.rev().find(|it| it.common == common && it.output <= output) {
            reply.output = output;
            if reply.lines.len() < MAX_LINES && !reply.lines.contains(&line_hash) {
                reply.lines.push(line_hash);
            }
            return reply.lines.clone();
        }
        if self.open.len() == MAX_OPEN {
            self.open.remove(0);
        }
        let lines = vec![line_hash];
        let is_sidechain = line.is_sidechain;
        self.open.push(OpenReply { common, is_sidechain, output, lines: lines.clone() });
        lines
    }

    /// A prompt or the result of a tool came: what follows in this chain is another reply.
    pub(super) fn prompted(&mut self, is_sidechain: bool) {
        self.open.retain(|it| it.is_sidechain != is_sidechain);
    }

    /// Whether a prompt would end any reply.
    pub(super) fn is_any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The hash of a line. It must stay the same when the file is read again, also after it was
    /// moved or written anew.
    fn hash_of(&mut self, line: &Statement<'_>) -> u64 {
        if let Some(uuid) = line.uuid {
            return hash(uuid);
        }
        let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = line.tokens;
        let tokens = (input, output, cache_write_5m, cache_write_1h, cache_read);
        let content = hash(&(line.session, line.at_ms, line.model, tokens));
        let known = self.anonymous.iter().rposition(|(it, _)| *it == content);
        let n_before = known.map_or(0, |at| self.anonymous.remove(at).1);
        if self.anonymous.len() == MAX_ANONYMOUS {
            self.anonymous.remove(0);
        }
        self.anonymous.push((content, n_before + 1));
        hash(&(content, n_before))
    }
}
