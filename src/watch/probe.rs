//! Whether a directory's file system answers, asked by a thread that may hang in our place.
//!
//! Not only we would hang: notify adds a watch in the very thread that reports events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::mounts::mount_of;

/// A directory on a disk that lives answers in microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Threads that may hang; each on a file system of its own.
const MAX_HUNG: usize = 16;

/// See the module. One thread, as long as that does not hang.
pub struct Probe {
    questions: Option<Sender<(PathBuf, Sender<()>)>>,
    /// File systems that owe an answer.
    hung: BTreeMap<PathBuf, Receiver<()>>,
    /// Told when one comes that nobody waits for any more.
    late: Arc<dyn Fn() + Send + Sync>,
}

impl Probe {
    /// Nothing is asked yet. `late` is called when a file system answers after all.
    pub fn new(late: impl Fn() + Send + Sync + 'static) -> Probe {
        Probe { questions: None, hung: BTreeMap::new(), late: Arc::new(late) }
    }

    /// Whether the file system below `path` answers now. Waits two seconds at most, and not at all
    /// for one of which it waits for an answer already.
    pub fn answers(&mut self, path: &Path) -> bool {
        if !self.hung.is_empty() {
            self.hung.retain(|_, answer| !has_come(answer));
            if self.hung.contains_key(&mount_of(path)) || self.hung.len() >= MAX_HUNG {
                return false;
            }
        }
        let (tell, answer) = bounded(1);
        let Some(questions) = self.questions() else { return true };
        if questions.send((path.to_owned(), tell)).is_err() {
            self.questions = None;
            return true;
        }
        if answer.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
            return true;
        }
        // That thread ends when it comes back.
        self.questions = None;
        self.hung.insert(mount_of(path), answer);
        false
    }

    fn questions(&mut self) -> Option<&Sender<(PathBuf, Sender<()>)>> {
        if self.questions.is_none() {
            let (questions, asked) = unbounded::<(PathBuf, Sender<()>)>();
            let late = Arc::clone(&self.late);
            let run = move || {
                for (path, tell) in &asked {
                    // What it says does not matter, only that it says something.
                    fs_err::metadata(&path).ok();
                    tell.send(()).ok();
                    drop(tell);
                }
                late();
            };
            std::thread::Builder::new().name("probe".to_owned()).spawn(run).ok()?;
            self.questions = Some(questions);
        }
        self.questions.as_ref()
    }
}

fn has_come(answer: &Receiver<()>) -> bool {
    answer.try_recv() != Err(crossbeam_channel::TryRecvError::Empty)
}
