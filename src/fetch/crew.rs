//! Threads that do jobs which may hang, and what becomes of a thread that does.
//!
//! A read from a network disk whose server is gone does not come back, and cannot be called off.
//! The thread that does it is given up for as long as it hangs: another takes its place, and it
//! ends when it comes back. What it found then still counts.
//!
//! Which file system a job is on is known once a thread has followed the links on its way, and not
//! before: that may hang, too.
//!
//! **Invariants:** every job is answered at most once, and one that hangs delays only those on its
//! own file system. The threads are bounded: once [`MAX_HUNG_ON_MOUNT`] jobs hang on one file system,
//! the rest of its jobs wait, and at most [`MAX_HUNG`] hang in all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mounts::{Mounts, Trail};
use crate::time::Now;

/// What takes longer than this hangs, as far as others are concerned.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Threads that may hang on one file system.
pub const MAX_HUNG_ON_MOUNT: usize = 4;
/// Threads that may hang.
pub const MAX_HUNG: usize = 16;

/// The way to the threads. They end when this is dropped and their jobs are done.
#[derive(Debug)]
pub struct Crew<J>(Arc<Shared<J>>);

#[derive(Debug)]
struct Shared<J> {
    board: Mutex<Board<J>>,
    /// There is something to do.
    work: Condvar,
    /// A job waits, and there is nobody to do it.
    crowded: Condvar,
}

/// What is to be done, and who does it. Nobody holds it while doing a job.
#[derive(Debug)]
struct Board<J> {
    waiting: VecDeque<Waiting<J>>,
    running: BTreeMap<u64, Running>,
    n_jobs: u64,
    /// Threads that have nothing to do.
    n_free: usize,
    /// Nobody looks out for hung jobs, since no job waits.
    is_calm: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Waiting<J> {
    path: PathBuf,
    /// The file system before which a thread turned back.
    barred_by: Option<PathBuf>,
    job: J,
}

#[derive(Debug)]
struct Running {
    trail: Trail,
    since: Instant,
    /// Another thread has taken the place of the one that does it: on this file system.
    hangs_on: Option<PathBuf>,
}

impl<J: Send + 'static> Crew<J> {
    /// Starts `n_threads` threads of this name. `hand` makes what does the jobs, for each of them.
    pub fn start<H: FnMut(J)>(
        name: &'static str,
        n_threads: usize,
        hand: impl Fn() -> H + Send + Sync + 'static,
    ) -> io::Result<Crew<J>> {
        let board = Board {
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            n_jobs: 0,
            n_free: 0,
            is_calm: false,
            is_closed: false,
        };
        let (work, crowded) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { board: Mutex::new(board), work, crowded });
        let crew = Crew(Arc::clone(&shared));
        let hand = Arc::new(hand);
        let hire = move || {
            let (shared, hand) = (Arc::clone(&shared), Arc::clone(&hand));
            let run = move || shared.work(hand());
            std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
        };
        for _ in 0..n_threads {
            hire()?;
        }
        let shared = Arc::clone(&crew.0);
        let run = move || shared.look_out(&hire);
        std::thread::Builder::new().name(format!("{name}s")).spawn(run)?;
        Ok(crew)
    }

    /// Hands over a job on a file at `path`.
    pub fn send(&self, path: PathBuf, job: J) {
        let mut board = self.0.board();
        board.waiting.push_back(Waiting { path, barred_by: None, job });
        let is_free = board.n_free > 0;
        let is_unseen = board.is_unseen();
        drop(board);
        if is_free {
            self.0.work.notify_one();
        } else if is_unseen {
            self.0.crowded.notify_one();
        }
    }
}

impl<J> Drop for Crew<J> {
    fn drop(&mut self) {
        self.0.board().is_closed = true;
        self.0.work.notify_all();
        self.0.crowded.notify_all();
    }
}

impl<J> Shared<J> {
    fn board(&self) -> MutexGuard<'_, Board<J>> {
        // What is on it is whole between any two statements.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does jobs until there will be none.
    fn work(&self, mut perform: impl FnMut(J)) {
        let mut board = self.board();
        loop {
            let Some((Waiting { path, job, .. }, barred)) = board.next() else {
                if board.is_closed {
                    return;
                }
                board.n_free += 1;
                board = self.work.wait(board).unwrap_or_else(PoisonError::into_inner);
                board.n_free -= 1;
                continue;
            };
            board.n_jobs += 1;
            let number = board.n_jobs;
            let trail = Trail::default();
            let running = Running { trail: trail.clone(), since: Now::read().mono, hangs_on: None };
            board.running.insert(number, running);
            let is_unseen = board.is_unseen();
            drop(board);
            if is_unseen {
                self.crowded.notify_one();
            }
            match trail.follow(&path, &barred) {
                Ok(()) => {
                    perform(job);
                    board = self.board();
                }
                Err(mount) => {
                    board = self.board();
                    board.waiting.push_back(Waiting { path, barred_by: Some(mount), job });
                }
            }
            if board.running.remove(&number).is_some_and(|it| it.hangs_on.is_some()) {
                // Our place is taken, and the others on our file system need wait no longer.
                self.work.notify_all();
                // And another thread may hang in our place.
                self.crowded.notify_one();
                return;
            }
        }
    }

    /// Puts another in the place of who hangs, while somebody waits for it.
    fn look_out(&self, hire: &impl Fn() -> io::Result<()>) {
        let mut board = self.board();
        while !board.is_closed {
            let now = Now::read().mono;
            let Some(hangs_at) = board.next_to_hang() else {
                board.is_calm = true;
                board = self.crowded.wait(board).unwrap_or_else(PoisonError::into_inner);
                board.is_calm = false;
                continue;
            };
            if hangs_at <= now {
                board.replace(now, hire);
                continue;
            }
            let waited = self.crowded.wait_timeout(board, hangs_at - now);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<J> Board<J> {
    /// Whether a job waits, and nobody looks out for one that keeps it waiting.
    fn is_unseen(&self) -> bool {
        self.is_calm && !self.waiting.is_empty()
    }

    /// When the next job hangs; of no interest while none waits that could be done instead.
    fn next_to_hang(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.n_free > 0 || self.n_hung() >= MAX_HUNG {
            return None;
        }
        let running = self.running.values().filter(|it| it.hangs_on.is_none());
        running.map(|it| it.since + PATIENCE).min()
    }

    fn n_hung(&self) -> usize {
        self.running.values().filter(|it| it.hangs_on.is_some()).count()
    }

    fn replace(&mut self, now: Instant, hire: &impl Fn() -> io::Result<()>) {
        let n_more = MAX_HUNG - self.n_hung();
        let running = self.running.values_mut();
        let hung = running.filter(|it| it.hangs_on.is_none() && it.since + PATIENCE <= now);
        let mounts = Mounts::read();
        for it in hung.take(n_more) {
            // Without another thread the job keeps its own, and is tried again later.
            match hire() {
                Ok(()) => it.hangs_on = Some(mounts.of(&it.trail.at())),
                Err(_) => it.since = now,
            }
        }
    }

    /// The first that is not known to be on a file system which hangs, and those which do.
    fn next(&mut self) -> Option<(Waiting<J>, BTreeSet<PathBuf>)> {
        let mut hung: BTreeMap<&PathBuf, usize> = BTreeMap::new();
        for it in self.running.values().filter_map(|it| it.hangs_on.as_ref()) {
            *hung.entry(it).or_default() += 1;
        }
        hung.retain(|_, it| *it >= MAX_HUNG_ON_MOUNT);
        let is_free =
            |it: &Waiting<J>| it.barred_by.as_ref().is_none_or(|it| !hung.contains_key(it));
        let at = self.waiting.iter().position(is_free)?;
        let barred = hung.into_keys().cloned().collect();
        Some((self.waiting.remove(at)?, barred))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, RecvTimeoutError, never, unbounded};

    /// A job that hangs until its channel closes, and then answers.
    struct Job(u32, Receiver<()>);

    fn crew() -> (Crew<Job>, Receiver<u32>) {
        let (answer, answers) = unbounded();
        let hand = move || {
            let answer = answer.clone();
            move |it: Job| {
                it.1.recv().ok();
                answer.send(it.0).ok();
            }
        };
        (Crew::start("test", 2, hand).unwrap(), answers)
    }

    const CAP: Duration = Duration::from_secs(10);

    #[test]
    fn jobs_that_hang_do_not_hold_up_the_others() {
        let (crew, answers) = crew();
        let (release, hung) = unbounded();
        for n in 0..2 {
            crew.send("/a".into(), Job(n, hung.clone()));
        }
        crew.send("/a".into(), Job(2, never()));
        for n in 3..6 {
            crew.send("/a".into(), Job(n, closed()));
        }
        let quick: Vec<_> = (0..3).map(|_| answers.recv_timeout(CAP)).collect();
        assert_eq!(quick, [Ok(3), Ok(4), Ok(5)]);
        drop(release);
        let mut late: Vec<_> = (0..2).map(|_| answers.recv_timeout(CAP).unwrap()).collect();
        late.sort_unstable();
        assert_eq!(late, [0, 1], "what came back late counts");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_one_file_system_only_a_few_hang() {
        let tmp = tempfile::tempdir().unwrap();
        let link = tmp.path().join("link");
        fs_err::os::unix::fs::symlink("/proc", &link).unwrap();
        let (crew, answers) = crew();
        for n in 0..20 {
            crew.send(link.join("a"), Job(n, never()));
        }
        // The first two make room after two seconds, the second two after four more.
        crew.send(tmp.path().join("b"), Job(99, closed()));
        assert_eq!(answers.recv_timeout(CAP), Ok(99), "another file system is not held up");
        crew.send("/proc/c".into(), Job(100, closed()));
        let held = answers.recv_timeout(PATIENCE * 2);
        assert_eq!(held, Err(RecvTimeoutError::Timeout), "it would be the fifth to hang");
    }

    fn closed() -> Receiver<()> {
        unbounded().1
    }
}
