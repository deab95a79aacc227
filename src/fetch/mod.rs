//! What is true now: the threads that find out, and how each source is asked.
//!
//! Readers read files. Finders find working trees, which may be on other file systems. Runners run
//! git; each of these threads lives as long as the process. A program that the user configured
//! runs rarely and may take long, so each call of one has a thread of its own, and takes none of
//! git's. Every program runs under the fetch lock. A fetch that panics is a failed fetch: its slot
//! is free again.

pub mod ccusage;
pub mod claude;
pub mod exec;
pub mod git;
pub mod guard;
pub mod job;
pub mod process;
pub mod tail;
pub mod tool;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, unbounded};

use crate::pool::Pool;
use crate::store::lock::FetchLock;
use crate::time::Now;

use exec::Runner;
use git::tree::WorkTree;
use job::{Outcome, ReadJob, RunJob};
use tail::Reader;

/// Threads that read files.
pub const READERS: usize = 2;
/// Threads that find working trees.
pub const FINDERS: usize = 1;
/// Threads that run git. A slow repository occupies one, and the other serves the rest.
pub const RUNNERS: usize = 2;

/// The threads. They end when this is dropped and their jobs are done.
pub struct Workers {
    readers: Pool<ReadJob>,
    finders: Pool<ReadJob>,
    runners: Sender<(RunJob, Arc<FetchLock>)>,
    /// Starts a thread for one call of a configured program.
    run_alone: Box<dyn Fn(RunJob, Arc<FetchLock>) + Send>,
}

impl Workers {
    /// Starts them. Every job is answered by one call of `fetched`.
    pub fn start(
        runner: &Runner,
        fetched: impl Fn(Outcome) + Clone + Send + Sync + 'static,
    ) -> io::Result<Workers> {
        let answer = fetched.clone();
        let worker = move || {
            let (answer, mut reader) = (answer.clone(), Reader::new(tail::READ_LIMITS));
            move |job: ReadJob| {
                let outcome = catch(|| read(&job, &mut reader));
                answer(outcome.unwrap_or_else(|err| job.failed(err)));
            }
        };
        let readers = Pool::start("read", READERS, worker.clone())?;
        let finders = Pool::start("find", FINDERS, worker)?;
        let (answer, runner) = (fetched.clone(), runner.clone());
        let run_one = move |job: RunJob, alone: Arc<FetchLock>| {
            let outcome = catch(|| run(&job, &runner, &alone));
            // Released before the answer: who waits for the answer may want the lock.
            drop(alone);
            fetched(outcome.unwrap_or_else(|err| job.failed(err)));
        };
        let (runners, jobs) = unbounded::<(RunJob, Arc<FetchLock>)>();
        for _ in 0..RUNNERS {
            let (jobs, run_one) = (jobs.clone(), run_one.clone());
            let work = move || jobs.iter().for_each(|(job, alone)| run_one(job, alone));
            spawn("run", work)?;
        }
        let run_alone = Box::new(move |job: RunJob, alone: Arc<FetchLock>| {
            let (run_one, kept) = (run_one.clone(), job.clone());
            if let Err(err) = spawn("tool", move || run_one(job, alone)) {
                answer(kept.failed(err));
            }
        });
        Ok(Workers { readers, finders, runners, run_alone })
    }

    /// Reads something. It will be answered.
    pub fn read(&self, job: ReadJob) {
        match &job {
            ReadJob::Transcript { path, .. } | ReadJob::Process { path } => {
                self.readers.submit(path.clone(), job);
            }
            ReadJob::Tree { cwd } => self.finders.submit(cwd.clone(), job),
        }
    }

    /// Runs a program. It will be answered. `alone` is the proof that no other process fetches.
    pub fn run(&self, job: RunJob, alone: Arc<FetchLock>) {
        match job {
            RunJob::Repo { .. } => {
                self.runners.send((job, alone)).expect("runners live as long as this sender");
            }
            RunJob::Block { .. } | RunJob::Command { .. } => (self.run_alone)(job, alone),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

fn read(job: &ReadJob, reader: &mut Reader) -> Outcome {
    match job {
        ReadJob::Transcript { path, from } => {
            let tail = reader.read_tail(path, from.as_deref().cloned());
            Outcome::Transcript(path.clone(), tail.map(Box::new))
        }
        ReadJob::Process { path } => Outcome::Process(path.clone(), process::look(path)),
        ReadJob::Tree { cwd } => {
            let tree = WorkTree::discover(cwd).ok().flatten().map(|tree| {
                let dirs = tree.watch_dirs();
                (tree, dirs)
            });
            Outcome::Tree(cwd.clone(), tree)
        }
    }
}

fn run(job: &RunJob, runner: &Runner, alone: &FetchLock) -> Outcome {
    let now_ms = Now::read().wall_ms;
    match job {
        RunJob::Repo { tree, limits } => {
            let status = git::status::query(runner, alone, tree, *limits, now_ms);
            // Where git did not answer, the disk may not either.
            let dirs = if status.is_ok() { tree.watch_dirs() } else { Vec::new() };
            Outcome::Repo(tree.top.clone(), status, dirs)
        }
        RunJob::Block { root, tool } => {
            Outcome::Block(root.clone(), tool::block(runner, alone, tool, root, now_ms))
        }
        RunJob::Command { name, tool } => {
            Outcome::Command(name.clone(), tool::command(runner, alone, tool, now_ms))
        }
    }
}

/// Turns a panic into an error, whose text is the panic's.
fn catch(fetch: impl FnOnce() -> Outcome) -> io::Result<Outcome> {
    catch_unwind(AssertUnwindSafe(fetch)).map_err(|panic| {
        let text = message(&*panic).unwrap_or("no message");
        io::Error::other(format!("bug in ccstatusd: {text}"))
    })
}

fn message(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}
