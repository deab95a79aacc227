//! Whether a path's file system answers, asked by a thread that may hang in our place.
//!
//! Not only we would hang: notify adds a watch in the very thread that reports events. What hangs
//! is where the links on the way lead, and not where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::mounts::{Mounts, Trail};

/// A directory on a disk that lives answers in microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Threads that may hang; each on a file system of its own.
const MAX_HUNG: usize = 16;

/// See the module. One thread, as long as that does not hang.
pub struct Probe {
    questions: Option<Sender<Question>>,
    /// File systems that owe an answer.
    hung: BTreeMap<PathBuf, Receiver<Answer>>,
    /// Told when one comes that nobody waits for any more.
    late: Arc<dyn Fn() + Send + Sync>,
}

struct Question {
    path: PathBuf,
    /// File systems that are not to be touched.
    barred: BTreeSet<PathBuf>,
    trail: Trail,
    tell: Sender<Answer>,
}

/// Nothing where it would hang.
type Answer = Option<io::Result<Metadata>>;

impl Probe {
    /// Nothing is asked yet. `late` is called when a file system answers after all.
    pub fn new(late: impl Fn() + Send + Sync + 'static) -> Probe {
        Probe { questions: None, hung: BTreeMap::new(), late: Arc::new(late) }
    }

    /// Whether the file system answers now that `path` leads to.
    pub fn answers(&mut self, path: &Path) -> bool {
        self.metadata(path).is_some()
    }

    /// What is at `path`, after following links; nothing where the file system does not answer that
    /// they lead to. Waits two seconds at most, and not at all for one of which it waits for an
    /// answer already.
    pub fn metadata(&mut self, path: &Path) -> Option<io::Result<Metadata>> {
        self.hung.retain(|_, answer| !has_come(answer));
        if self.hung.len() >= MAX_HUNG {
            return None;
        }
        let barred = self.hung.keys().cloned().collect();
        let (trail, (tell, answer)) = (Trail::default(), bounded(1));
        let question = Question { path: path.to_owned(), barred, trail: trail.clone(), tell };
        self.questions().and_then(|it| it.send(question).ok());
        match answer.recv_timeout(PATIENCE) {
            Ok(it) => it,
            Err(RecvTimeoutError::Timeout) => {
                // That thread ends when it comes back.
                self.questions = None;
                self.hung.insert(Mounts::read().of(&trail.at()), answer);
                None
            }
            // There is no such thread, so we ask ourselves.
            Err(RecvTimeoutError::Disconnected) => {
                self.questions = None;
                Some(fs_err::metadata(path))
            }
        }
    }

    fn questions(&mut self) -> Option<&Sender<Question>> {
        if self.questions.is_none() {
            let (questions, asked) = unbounded::<Question>();
            let late = Arc::clone(&self.late);
            let run = move || {
                for Question { path, barred, trail, tell } in &asked {
                    let goes = trail.follow(&path, &barred);
                    tell.send(goes.is_ok().then(|| fs_err::metadata(&path))).ok();
                }
                late();
            };
            std::thread::Builder::new().name("probe".to_owned()).spawn(run).ok()?;
            self.questions = Some(questions);
        }
        self.questions.as_ref()
    }
}

fn has_come(answer: &Receiver<Answer>) -> bool {
    !matches!(answer.try_recv(), Err(crossbeam_channel::TryRecvError::Empty))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::{EntryKind, list};
    use super::*;

    #[test]
    fn a_link_to_what_hangs_is_listed_and_nobody_follows_it() {
        let tmp = tempfile::tempdir().unwrap();
        let link = tmp.path().join("link");
        fs_err::os::unix::fs::symlink("/proc/version", &link).unwrap();
        let mut probe = Probe::new(|| ());
        let (late, answer) = bounded(1);
        probe.hung.insert("/proc".into(), answer);
        assert!(probe.answers(tmp.path()), "it does not hang where the link is");
        let kind = |probe: &mut Probe| {
            let mut entries = Vec::new();
            list(tmp.path(), 0, probe, &mut entries).unwrap();
            entries[0].kind
        };
        assert!(!probe.answers(&link));
        assert_eq!(kind(&mut probe), EntryKind::Dir, "what it is, nobody knows");
        drop(late);
        assert!(matches!(kind(&mut probe), EntryKind::File(_)));
    }
}
