//! What a checkpoint of the first format had counted. There was no record of usage then, so that
//! the replies of transcripts that are gone are in such a checkpoint alone.
//!
//! These shapes are those of that format, and never change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::usage::entry::EntryTokens;
use crate::usage::history::{Class, Group};
use crate::usage::reply::{CopyId, Reply};

/// The first bytes of the file.
pub(super) const HEADER: &str = "ccstatusd 0.1.0 checkpoint 1\n";

#[derive(Debug, Deserialize)]
struct Checkpoint {
    _prices: u64,
    roots: Vec<Root>,
}

#[derive(Debug, Deserialize)]
struct Root {
    path: String,
    ledger: Ledger,
    _files: Vec<SavedFile>,
}

#[derive(Debug, Deserialize)]
struct Ledger {
    _horizon_ms: i64,
    files: Vec<File>,
    candidates: BTreeMap<Key, Candidate>,
    session_ids: BTreeMap<String, u32>,
    unpriced_models: Vec<Box<str>>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: Arc<str>,
    _is_retired: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Key {
    group: u64,
    reply: u32,
    file: u32,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    at_ms: i64,
    _offset: u64,
    cost: i64,
    input: u32,
    output: u32,
    cache_write: u32,
    cache_read: u32,
    session: u32,
    unpriced: u16,
    is_sidechain: bool,
    _is_counted: bool,
}

#[derive(Debug, Deserialize)]
struct SavedFile {
    _path: String,
    _stamp: Option<((u64, u64), u64, i64)>,
    _cursor: (u64, u64, u64, u64, u64),
    _facts: Facts,
}

#[derive(Debug, Deserialize)]
struct Facts {
    _session: Option<String>,
    _is_sidechain: Option<bool>,
    _cwd: Option<String>,
    _model: Option<String>,
    _context_tokens: Option<u64>,
    _context_as_of_ms: Option<i64>,
    _turns: u64,
    _compactions: u64,
    _last_message: Option<(i64, Option<String>)>,
    _last_reply_ms: Option<i64>,
    _last_line_ms: Option<i64>,
    _is_turn_open: bool,
    _custom_title: Option<String>,
    _ai_title: Option<String>,
    _skipped_lines: u64,
}

/// The replies of each config root whose transcript does not exist any more. All others are read
/// again, and then more is known of them. `None` where the bytes are no such checkpoint.
pub(super) fn lost_replies(
    facts: &[u8],
    exists: impl Fn(&Path) -> bool,
) -> Option<Vec<(PathBuf, Vec<Reply>)>> {
    let checkpoint: Checkpoint = postcard::from_bytes(facts).ok()?;
    let roots = checkpoint.roots.into_iter().map(|root| {
        let path = PathBuf::from(root.path);
        let replies = root.ledger.lost(|file| exists(&path.join(file)));
        (path, replies)
    });
    Some(roots.filter(|(_, replies)| !replies.is_empty()).collect())
}

impl Ledger {
    fn lost(&self, exists: impl Fn(&str) -> bool) -> Vec<Reply> {
        let sessions: BTreeMap<u32, Arc<str>> =
            self.session_ids.iter().map(|(id, no)| (*no, id.as_str().into())).collect();
        let is_lost: Vec<bool> = self.files.iter().map(|file| !exists(&file.path)).collect();
        let lost = self
            .candidates
            .iter()
            .filter(|(key, _)| is_lost.get(key.file as usize).copied().unwrap_or(false));
        lost.map(|(key, it)| self.reply(key, it, &sessions)).collect()
    }

    fn reply(&self, key: &Key, candidate: &Candidate, sessions: &BTreeMap<u32, Arc<str>>) -> Reply {
        let file = &self.files[key.file as usize].path;
        // Of a model that had a price only the cost was kept.
        let unpriced = usize::from(candidate.unpriced).checked_sub(1);
        let model = unpriced.and_then(|it| self.unpriced_models.get(it));
        let group = Group {
            session: sessions.get(&candidate.session).cloned().unwrap_or_default(),
            folder: Path::new(&**file).iter().nth(1).unwrap_or_default().to_string_lossy().into(),
            model: model.map_or_else(Arc::default, |it| (**it).into()),
            class: Class { is_stated: model.is_none(), ..Class::default() },
            ..Group::default()
        };
        Reply {
            id: CopyId::Api { message: key.group, request: key.reply },
            group: Arc::new(group),
            file: Arc::clone(file),
            // After every other copy, of which more is known.
            offset: u64::MAX,
            at_ms: candidate.at_ms,
            is_sidechain: candidate.is_sidechain,
            tokens: EntryTokens {
                input: candidate.input.into(),
                output: candidate.output.into(),
                cache_write_5m: candidate.cache_write.into(),
                cache_write_1h: 0,
                cache_read: candidate.cache_read.into(),
            },
            n_web_searches: 0,
            stated: if model.is_none() { candidate.cost } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_format_counted_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/checkpoint-1");
        let golden = fs_err::read(path).unwrap();
        assert_eq!(lost_replies(&golden, |_| true), Some(Vec::new()));
        let lost = lost_replies(&golden, |_| false).unwrap();
        let summary: Vec<String> = lost
            .iter()
            .flat_map(|(root, replies)| replies.iter().map(move |it| (root, it)))
            .map(|(root, reply)| {
                let Group { session, model, folder, .. } = &*reply.group;
                let (root, input) = (root.display(), reply.tokens.input);
                format!("{root} {folder} {session} {model:?} {input} {}", reply.stated)
            })
            .collect();
        let expected = [
            "/q p c \"model-of-nobody\" 1000000 0",
            "/r p b \"\" 1000000 3000000000000",
            "/r p a \"\" 1000000 5000000000000",
            "/r p a \"\" 1000000 1000000000000",
        ];
        assert_eq!(summary, expected);
        assert_eq!(lost_replies(&golden[..golden.len() - 1], |_| false), None);
        assert_eq!(lost_replies(b"", |_| false), None);
    }
}
