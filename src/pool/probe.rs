//! Whether the file system of a path answers: a thread asks that may hang in the caller's place.
//!
//! The watch thread asks before it touches a directory. If it hung, so would all events, since
//! notify adds watches in the thread that reports them.
//!
//! See docs/decisions/009-threads-that-hang-are-replaced.md.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::{HANG_AFTER, Pool, WhenBarred};

/// One thread that asks, and a replacement for it each time that it hangs.
#[derive(Debug)]
pub struct Probe {
    pool: Pool<Question>,
}

#[derive(Debug)]
struct Question {
    path: PathBuf,
    reply: Sender<io::Result<Metadata>>,
    /// Set by the first to come: the answer, or the caller who gives up.
    is_settled: Arc<AtomicBool>,
}

impl Probe {
    /// `late` is called in another thread when a file system answers after the caller has given
    /// up. From then on [`metadata`](Probe::metadata) asks that file system again.
    pub fn start(late: impl Fn() + Send + Sync + 'static) -> io::Result<Probe> {
        Probe::start_with(|path| fs_err::metadata(path), late)
    }

    /// As [`start`](Probe::start), with another way to ask.
    pub(crate) fn start_with(
        ask: impl Fn(&Path) -> io::Result<Metadata> + Clone + Send + Sync + 'static,
        late: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Probe> {
        let new_worker = move || {
            let ask = ask.clone();
            move |question: Question| (ask(&question.path), question)
        };
        let deliver = move |(answer, question): (_, Question)| {
            if question.is_settled.swap(true, Ordering::AcqRel) {
                late();
            } else {
                question.reply.send(answer).ok();
            }
        };
        let pool = Pool::start_with("probe", 1, WhenBarred::Drop, new_worker, deliver)?;
        Ok(Probe { pool })
    }

    /// Whether the file system that `path` leads to answers; see [`metadata`](Probe::metadata).
    pub fn answers(&self, path: &Path) -> bool {
        self.metadata(path).is_some()
    }

    /// Whether `path` leads to anything, and its file system answers.
    pub fn exists(&self, path: &Path) -> bool {
        matches!(self.metadata(path), Some(Ok(_)))
    }

    /// The metadata of what `path` leads to, links followed. `None` where the file system at the
    /// end of the links does not answer. Waits [`HANG_AFTER`] at most, and does not wait for a file
    /// system that still owes an earlier answer.
    pub fn metadata(&self, path: &Path) -> Option<io::Result<Metadata>> {
        let (reply, answer) = bounded(1);
        let is_settled = Arc::new(AtomicBool::new(false));
        let question =
            Question { path: path.to_owned(), reply, is_settled: Arc::clone(&is_settled) };
        self.pool.submit(path.to_owned(), question);
        match answer.recv_timeout(HANG_AFTER) {
            Ok(metadata) => Some(metadata),
            // The answer has come just now: without this it would count neither here nor as late.
            Err(RecvTimeoutError::Timeout) if is_settled.swap(true, Ordering::AcqRel) => {
                answer.recv().ok()
            }
            Err(RecvTimeoutError::Timeout) => None,
            // The pool drops questions about file systems that owe an answer.
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::time::Now;
    use crossbeam_channel::unbounded;
    use std::time::Duration;

    #[test]
    fn a_silent_file_system_is_asked_once_and_named_when_it_answers_late() {
        let tmp = tempfile::tempdir().unwrap();
        let link = tmp.path().join("link");
        fs_err::os::unix::fs::symlink("/proc/version", &link).unwrap();
        let (release, hang) = bounded::<()>(0);
        let (told, is_told) = unbounded();
        let ask = move |path: &Path| {
            if path.ends_with("link") {
                hang.recv().ok();
            }
            fs_err::metadata(path)
        };
        let probe = Probe::start_with(ask, move || told.send(()).unwrap()).unwrap();
        assert!(probe.answers(tmp.path()));
        let began = Now::read().mono;
        assert!(!probe.answers(&link));
        let waited = Now::read().mono - began;
        assert!((HANG_AFTER..2 * HANG_AFTER).contains(&waited), "{waited:?}");
        let began = Now::read().mono;
        assert!(!probe.answers(&link));
        assert!(!probe.answers(Path::new("/proc/uptime")), "the link leads there");
        assert!(probe.answers(tmp.path()), "the link is here");
        let waited = Now::read().mono - began;
        assert!(waited < HANG_AFTER, "{waited:?}");
        assert!(is_told.is_empty());
        drop(release);
        is_told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(probe.answers(&link));
        assert!(is_told.is_empty(), "only one answer was late");
    }

    #[test]
    fn an_error_is_an_answer() {
        let probe = Probe::start(|| ()).unwrap();
        let answer = probe.metadata(Path::new("/no/such/file"));
        assert_eq!(answer.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
