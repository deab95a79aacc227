//! Threads that do jobs on files, and replacements for threads that hang.
//!
//! A read from a network disk whose server is gone does not return, and nothing can cancel it.
//! Where a job takes longer than [`HANG_AFTER`] and others wait, the pool starts another thread in
//! the place of the one that hangs. When the job returns after all, its result still counts, and
//! its thread ends.
//!
//! Each hung job is blamed on the file system that its thread has reached. This need not be the
//! one that the job's path names: links on the way may lead elsewhere, and only a thread that
//! follows them, and may hang over it, finds out where.
//!
//! **Invariants:** the pool does each job at most once. A hung job delays only jobs on its own file
//! system. Once `MAX_HUNG_ON_MOUNT` jobs hang on one file system, its other jobs wait. The pool
//! replaces at most `MAX_HUNG` hung threads, so the number of threads is bounded.
//!
//! See docs/decisions/009-threads-that-hang-are-replaced.md.

mod mounts;
pub mod probe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::time::Now;
use mounts::{Mounts, PathProgress};

/// How long a job may take before it counts as hung. On a disk that works it takes microseconds.
pub const HANG_AFTER: Duration = Duration::from_secs(2);
/// Hung threads of one pool on one file system, from which on no other thread touches it. It is
/// more than one, since a single slow file does not mean that the file system is gone.
const MAX_HUNG_ON_MOUNT: usize = 4;
/// Hung threads of one pool that are replaced.
const MAX_HUNG: usize = 16;

/// Threads that take jobs from one queue. They end once the pool is dropped and the queue is
/// empty.
#[derive(Debug)]
pub struct Pool<J>(Arc<Shared<J>>);

#[derive(Debug)]
struct Shared<J> {
    queue: Mutex<Queue<J>>,
    /// Wakes idle threads: there is a job to do.
    work: Condvar,
    /// Wakes the supervisor: a job waits, and no thread is idle.
    stalled: Condvar,
}

/// The jobs that wait and those that run. No thread holds its lock while it does a job.
#[derive(Debug)]
struct Queue<J> {
    waiting: VecDeque<Waiting<J>>,
    /// By the number under which each was started.
    running: BTreeMap<u64, RunningJob>,
    n_started: u64,
    n_idle: usize,
    is_supervisor_idle: bool,
    is_closed: bool,
    when_barred: WhenBarred,
}

#[derive(Debug)]
struct Waiting<J> {
    path: PathBuf,
    /// The file system because of which a thread has put the job back.
    barred_by: Option<PathBuf>,
    job: J,
}

#[derive(Debug)]
struct RunningJob {
    progress: PathProgress,
    since: Instant,
    /// The file system on which the job hangs, once another thread has taken this one's place.
    hung_on: Option<PathBuf>,
}

/// What becomes of a job on a file system where others hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenBarred {
    /// Once [`MAX_HUNG_ON_MOUNT`] jobs hang there, it waits until one of them returns.
    Wait,
    /// As soon as one job hangs there, it is dropped.
    Drop,
}

impl WhenBarred {
    fn max_hung_on_mount(self) -> usize {
        match self {
            WhenBarred::Wait => MAX_HUNG_ON_MOUNT,
            WhenBarred::Drop => 1,
        }
    }
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `n_threads` threads of this name, and one that supervises them. `new_worker` is
    /// called in each thread and returns what does the jobs there.
    pub fn start<W: FnMut(J)>(
        name: &'static str,
        n_threads: usize,
        new_worker: impl Fn() -> W + Send + Sync + 'static,
    ) -> io::Result<Pool<J>> {
        Pool::start_with(name, n_threads, WhenBarred::Wait, new_worker, |()| ())
    }

    /// As [`start`](Pool::start). Each job's result is passed to `deliver` once the pool no longer
    /// counts the job: a job that `deliver` causes is not held up by the one that has returned.
    fn start_with<W: FnMut(J) -> R, R>(
        name: &'static str,
        n_threads: usize,
        when_barred: WhenBarred,
        new_worker: impl Fn() -> W + Send + Sync + 'static,
        deliver: impl Fn(R) + Send + Sync + 'static,
    ) -> io::Result<Pool<J>> {
        let queue = Mutex::new(Queue {
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            n_started: 0,
            n_idle: 0,
            is_supervisor_idle: false,
            is_closed: false,
            when_barred,
        });
        let shared = Arc::new(Shared { queue, work: Condvar::new(), stalled: Condvar::new() });
        // Dropped on an early return, it ends the threads that were started before.
        let pool = Pool(Arc::clone(&shared));
        let worker = Arc::new((new_worker, deliver));
        let spawn = move || {
            let (shared, worker) = (Arc::clone(&shared), Arc::clone(&worker));
            let run = move || shared.work(worker.0(), &worker.1);
            std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
        };
        for _ in 0..n_threads {
            spawn()?;
        }
        let shared = Arc::clone(&pool.0);
        let run = move || shared.supervise(&spawn);
        std::thread::Builder::new().name(format!("{name}-pool")).spawn(run)?;
        Ok(pool)
    }

    /// Queues a job on the file at `path`.
    pub fn submit(&self, path: PathBuf, job: J) {
        let mut queue = self.0.lock();
        queue.waiting.push_back(Waiting { path, barred_by: None, job });
        let has_idle = queue.n_idle > 0;
        let is_unsupervised = queue.is_unsupervised();
        drop(queue);
        if has_idle {
            self.0.work.notify_one();
        } else if is_unsupervised {
            self.0.stalled.notify_one();
        }
    }
}

impl<J> Drop for Pool<J> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.work.notify_all();
        self.0.stalled.notify_all();
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        // The queue is consistent between any two statements, so a panic leaves nothing half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread: does jobs until the pool is closed, or until it has hung and another
    /// thread has taken its place.
    fn work<R>(&self, mut perform: impl FnMut(J) -> R, deliver: &impl Fn(R)) {
        let mut queue = self.lock();
        loop {
            let Some((Waiting { path, job, .. }, barred)) = queue.take_next() else {
                if queue.is_closed {
                    return;
                }
                queue.n_idle += 1;
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.n_idle -= 1;
                continue;
            };
            let progress = PathProgress::default();
            let number = queue.begin(progress.clone());
            let is_unsupervised = queue.is_unsupervised();
            drop(queue);
            if is_unsupervised {
                self.stalled.notify_one();
            }
            let done = match progress.follow(&path, &barred) {
                Ok(()) => Ok(perform(job)),
                Err(mount) => Err(Waiting { path, barred_by: Some(mount), job }),
            };
            queue = self.lock();
            let ended = queue.running.remove(&number);
            match done {
                Ok(result) => {
                    drop(queue);
                    deliver(result);
                    queue = self.lock();
                }
                Err(barred) if queue.when_barred == WhenBarred::Wait => {
                    queue.waiting.push_back(barred);
                }
                Err(barred) => drop(barred),
            }
            if ended.is_some_and(|it| it.hung_on.is_some()) {
                // Jobs that waited for this one's file system may go on, and …
                self.work.notify_all();
                // … one thread more may hang now.
                self.stalled.notify_one();
                return;
            }
        }
    }

    /// The supervisor's life: while jobs wait, starts a thread in the place of each that hangs.
    fn supervise(&self, spawn: &impl Fn() -> io::Result<()>) {
        let mut queue = self.lock();
        while !queue.is_closed {
            let now = Now::read().mono;
            let Some(hangs_at) = queue.next_to_hang() else {
                queue.is_supervisor_idle = true;
                queue = self.stalled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.is_supervisor_idle = false;
                continue;
            };
            if hangs_at <= now {
                queue.replace_hung(now, spawn);
                continue;
            }
            let waited = self.stalled.wait_timeout(queue, hangs_at - now);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<J> Queue<J> {
    /// The first waiting job that is not known to be for a barred file system, and all barred file
    /// systems.
    fn take_next(&mut self) -> Option<(Waiting<J>, BTreeSet<PathBuf>)> {
        let mut n_hung: BTreeMap<&PathBuf, usize> = BTreeMap::new();
        for mount in self.running.values().filter_map(|it| it.hung_on.as_ref()) {
            *n_hung.entry(mount).or_default() += 1;
        }
        n_hung.retain(|_, n| *n >= self.when_barred.max_hung_on_mount());
        let is_barred = |mount: &PathBuf| n_hung.contains_key(mount);
        let mut waiting = self.waiting.iter();
        let at = waiting.position(|it| !it.barred_by.as_ref().is_some_and(is_barred))?;
        let barred = n_hung.into_keys().cloned().collect();
        Some((self.waiting.remove(at)?, barred))
    }

    /// Counts a job as running, and returns the number under which.
    fn begin(&mut self, progress: PathProgress) -> u64 {
        self.n_started += 1;
        let running = RunningJob { progress, since: Now::read().mono, hung_on: None };
        self.running.insert(self.n_started, running);
        self.n_started
    }

    /// Whether a job waits while the supervisor sleeps.
    fn is_unsupervised(&self) -> bool {
        self.is_supervisor_idle && !self.waiting.is_empty()
    }

    /// When the next running job counts as hung. `None` where no other thread is needed, or none
    /// allowed.
    fn next_to_hang(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.n_idle > 0 || self.n_hung() >= MAX_HUNG {
            return None;
        }
        let running = self.running.values().filter(|it| it.hung_on.is_none());
        running.map(|it| it.since + HANG_AFTER).min()
    }

    fn n_hung(&self) -> usize {
        self.running.values().filter(|it| it.hung_on.is_some()).count()
    }

    fn replace_hung(&mut self, now: Instant, spawn: &impl Fn() -> io::Result<()>) {
        let n_more = MAX_HUNG - self.n_hung();
        let running = self.running.values_mut();
        let hung = running.filter(|it| it.hung_on.is_none() && it.since + HANG_AFTER <= now);
        let mounts = Mounts::read();
        for job in hung.take(n_more) {
            match spawn() {
                Ok(()) => job.hung_on = Some(mounts.mount_point(&job.progress.reached())),
                // Tried again after another [`HANG_AFTER`].
                Err(_) => job.since = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, RecvTimeoutError, never, unbounded};

    /// Hangs until its channel is closed, and then answers with its number.
    struct Job(u32, Receiver<()>);

    fn pool() -> (Pool<Job>, Receiver<u32>) {
        let (answer, answers) = unbounded();
        let new_worker = move || {
            let answer = answer.clone();
            move |Job(number, hang): Job| {
                hang.recv().ok();
                answer.send(number).ok();
            }
        };
        (Pool::start("test", 2, new_worker).unwrap(), answers)
    }

    const CAP: Duration = Duration::from_secs(10);

    #[test]
    fn hung_jobs_do_not_hold_up_the_others() {
        let (pool, answers) = pool();
        let (release, hung) = unbounded();
        for n in 0..2 {
            pool.submit("/a".into(), Job(n, hung.clone()));
        }
        pool.submit("/a".into(), Job(2, never()));
        for n in 3..6 {
            pool.submit("/a".into(), Job(n, closed()));
        }
        let quick: Vec<_> = (0..3).map(|_| answers.recv_timeout(CAP)).collect();
        assert_eq!(quick, [Ok(3), Ok(4), Ok(5)]);
        drop(release);
        let mut late: Vec<_> = (0..2).map(|_| answers.recv_timeout(CAP).unwrap()).collect();
        late.sort_unstable();
        assert_eq!(late, [0, 1], "a result that comes late counts");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn at_most_four_threads_hang_on_one_file_system() {
        let tmp = tempfile::tempdir().unwrap();
        let link = tmp.path().join("link");
        fs_err::os::unix::fs::symlink("/proc", &link).unwrap();
        let (pool, answers) = pool();
        for n in 0..20 {
            pool.submit(link.join("a"), Job(n, never()));
        }
        // The first two are replaced after two seconds, the second two after two more.
        pool.submit(tmp.path().join("b"), Job(99, closed()));
        assert_eq!(answers.recv_timeout(CAP), Ok(99), "another file system is not held up");
        pool.submit("/proc/c".into(), Job(100, closed()));
        let held = answers.recv_timeout(HANG_AFTER * 2);
        assert_eq!(held, Err(RecvTimeoutError::Timeout), "its thread would be the fifth to hang");
    }

    fn closed() -> Receiver<()> {
        unbounded().1
    }
}
