//! Fetching: the threads that read files and run programs, and how each source is read.
//!
//! Reader threads read files, and a thread of its own those for which nobody waits. A finder thread
//! finds working trees, which may be on other file systems. All live as long as the process. Each
//! call of a program, git or one that the user configured, has a thread of its own, so that a slow
//! one delays no other; the plans bound how many run. Every program runs under the fetch lock, so
//! that only one process runs programs at a time. A fetch that panics counts as failed.

pub mod alert;
pub mod ccusage;
pub mod claude;
pub mod exec;
pub mod exits;
pub mod focus;
pub mod git;
pub mod guard;
pub mod job;
pub mod process;
pub mod tail;
pub mod tool;
pub mod upgrade;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crate::pool::Pool;
use crate::store::lock::FetchLock;
use crate::time::Now;

use exec::Runner;
use git::tree::WorkTree;
use job::{Outcome, ReadJob, RunJob};
use tail::Reader;

/// How many threads read files.
pub const READERS: usize = 2;
/// How many threads find working trees.
pub const FINDERS: usize = 1;
/// How many threads read old transcripts for the record. One, so that it takes at most one
/// processor.
pub const IMPORTERS: usize = 1;

/// The threads that fetch. They end when this is dropped and their jobs are done.
pub struct Workers {
    readers: Pool<ReadJob>,
    finders: Pool<ReadJob>,
    importers: Pool<ReadJob>,
    /// Starts a thread for one call of a program.
    run_in_own_thread: Box<dyn Fn(RunJob, Arc<FetchLock>) + Send>,
}

impl Workers {
    /// Starts the threads. They answer every job with one call of `fetched`.
    pub fn start(
        runner: &Runner,
        fetched: impl Fn(Outcome) + Clone + Send + Sync + 'static,
    ) -> io::Result<Workers> {
        let answer = fetched.clone();
        let worker = move |limits| {
            let answer = answer.clone();
            move || {
                let (answer, mut reader) = (answer.clone(), Reader::new(limits));
                move |job: ReadJob| {
                    let outcome = catch(|| read(&job, &mut reader));
                    answer(outcome.unwrap_or_else(|err| job.failed(err)));
                }
            }
        };
        let readers = Pool::start("read", READERS, worker(tail::READ_LIMITS))?;
        let finders = Pool::start("find", FINDERS, worker(tail::READ_LIMITS))?;
        let importers = Pool::start("import", IMPORTERS, worker(tail::IMPORT_LIMITS))?;
        let (answer, runner) = (fetched.clone(), runner.clone());
        let run_one = move |job: RunJob, lock: Arc<FetchLock>| {
            let outcome = catch(|| run(&job, &runner, &lock));
            // Released before the answer: a `--oneshot` run or a watcher may wait for the lock.
            drop(lock);
            fetched(outcome.unwrap_or_else(|err| job.failed(err)));
        };
        let run_in_own_thread = Box::new(move |job: RunJob, lock: Arc<FetchLock>| {
            let (run_one, kept) = (run_one.clone(), job.clone());
            let thread = thread::Builder::new().name("run".to_owned());
            if let Err(err) = thread.spawn(move || run_one(job, lock)) {
                answer(kept.failed(err));
            }
        });
        Ok(Workers { readers, finders, importers, run_in_own_thread })
    }

    /// Queues a read. A call of `fetched` will answer it.
    pub fn read(&self, job: ReadJob) {
        match &job {
            ReadJob::Transcript { path, .. } | ReadJob::Process { path, .. } => {
                self.readers.submit(path.clone(), job);
            }
            ReadJob::Import { path, .. } => self.importers.submit(path.clone(), job),
            ReadJob::Tree { cwd } => self.finders.submit(cwd.clone(), job),
        }
    }

    /// Starts a program. A call of `fetched` will answer it. `lock` proves that no other process
    /// runs programs.
    pub fn run(&self, job: RunJob, lock: Arc<FetchLock>) {
        (self.run_in_own_thread)(job, lock);
    }
}

fn read(job: &ReadJob, reader: &mut Reader) -> Outcome {
    match job {
        ReadJob::Transcript { path, from } => {
            let tail = reader.read_tail(path, from.as_deref().cloned());
            Outcome::Transcript(path.clone(), tail.map(Box::new))
        }
        ReadJob::Import { path, from } => {
            let tail = reader.read_tail(path, from.as_deref().cloned());
            Outcome::Import(path.clone(), tail.map(Box::new))
        }
        ReadJob::Process { path, known, with_lineage } => {
            let process = process::read_again(path, known.as_deref(), *with_lineage);
            Outcome::Process(path.clone(), process)
        }
        ReadJob::Tree { cwd } => {
            let tree = WorkTree::discover(cwd).ok().flatten().map(|tree| {
                let dirs = tree.watch_dirs();
                (tree, dirs)
            });
            Outcome::Tree(cwd.clone(), tree)
        }
    }
}

fn run(job: &RunJob, runner: &Runner, lock: &FetchLock) -> Outcome {
    let now_ms = Now::read().wall_ms;
    let runner = &runner.for_source(job.source().number());
    match job {
        RunJob::Repo(question) => {
            let status = git::status::query(runner, lock, question, now_ms);
            let tree = &question.tree;
            // If git failed, the file system may hang, and listing directories would hang too.
            let dirs = if status.is_ok() { tree.watch_dirs() } else { Vec::new() };
            Outcome::Repo(tree.top.clone(), status, dirs)
        }
        RunJob::Block { root, tool } => {
            Outcome::Block(root.clone(), tool::block(runner, lock, tool, root, now_ms))
        }
        RunJob::Program { path } => {
            Outcome::Program(path.clone(), upgrade::version(runner, lock, path))
        }
        RunJob::Command { name, tool } => {
            Outcome::Command(name.clone(), tool::command(runner, lock, tool, now_ms))
        }
        RunJob::Alert { name, rule, events, at_ms } => {
            Outcome::Alert(name.clone(), alert::tell(runner, lock, name, rule, events, *at_ms))
        }
    }
}

/// Turns a panic into an error with the panic's message.
fn catch(fetch: impl FnOnce() -> Outcome) -> io::Result<Outcome> {
    catch_unwind(AssertUnwindSafe(fetch)).map_err(|panic| {
        let text = message(&*panic).unwrap_or("no message");
        io::Error::other(format!("bug in ccstatusd: {text}"))
    })
}

/// The message of a panic; `None` if it is not a string.
fn message(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}
