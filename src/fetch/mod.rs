//! What is true now: the threads that find out, and how each source is asked.
//!
//! Readers read files, finders find working trees, which may be on other file systems; runners run
//! git, each in its own long-lived thread. What the user configured runs rarely and may take long,
//! so each call has a thread of its own, and none of git's. Every program runs under the fetch
//! lock. A fetch that panics is a failed fetch: its slot is free again.

pub mod ccusage;
pub mod claude;
pub mod crew;
pub mod exec;
pub mod git;
pub mod guard;
pub mod process;
pub mod tail;
pub mod tool;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::state::{FINDERS, Fetched, Job, READERS, RUNNERS, Source};
use crate::store::lock::FetchLock;
use crate::time::Now;
use crew::Crew;
use exec::{Limits, Runner};
use git::tree::WorkTree;
use tail::Reader;

/// The threads. They end when this is dropped and their jobs are done.
pub struct Workers {
    reads: Crew<(Source, Job)>,
    finds: Crew<(Source, Job)>,
    runs: Sender<(Source, Job, Arc<FetchLock>, Limits)>,
    /// Starts a thread for one tool.
    run_tool: Box<dyn Fn(Source, Job, Arc<FetchLock>) + Send>,
}

impl Workers {
    /// Starts them. Every job is answered by one call of `fetched`.
    pub fn start(
        runner: &Runner,
        fetched: impl Fn(Source, Fetched) + Clone + Send + Sync + 'static,
    ) -> io::Result<Workers> {
        let answer = fetched.clone();
        let hand = move || {
            let (answer, mut reader) = (answer.clone(), Reader::new(tail::LIMITS));
            move |(source, job): (Source, Job)| {
                let res = guarded(|| read(&job, &mut reader));
                answer(source, res.unwrap_or_else(|it| failed(&job, it)));
            }
        };
        let reads = Crew::start("read", READERS, hand.clone())?;
        let finds = Crew::start("find", FINDERS, hand)?;
        let (runs, jobs) = unbounded::<(Source, Job, Arc<FetchLock>, Limits)>();
        for _ in 0..RUNNERS {
            let (jobs, fetched, runner) = (jobs.clone(), fetched.clone(), runner.clone());
            spawn("run", jobs, move |(source, job, alone, limits)| {
                let res = guarded(|| run(&job, &runner, &alone, limits));
                // Released before the answer: whoever waits for that may want the lock.
                drop(alone);
                fetched(source, res.unwrap_or_else(|it| failed(&job, it)));
            })?;
        }
        let runner = runner.clone();
        let run_tool = Box::new(move |source: Source, job: Job, alone: Arc<FetchLock>| {
            let (name, answer, runner) = (source.clone(), fetched.clone(), runner.clone());
            let run = {
                let job = job.clone();
                move || {
                    let res = guarded(|| ask_tool(&job, &runner, &alone));
                    drop(alone);
                    answer(source, res.unwrap_or_else(|it| failed(&job, it)));
                }
            };
            if let Err(err) = thread::Builder::new().name("tool".to_owned()).spawn(run) {
                fetched(name, cannot(&job, err));
            }
        });
        Ok(Workers { reads, finds, runs, run_tool })
    }

    /// Reads something. It will be answered.
    pub fn read(&self, source: Source, job: Job) {
        match &job {
            Job::Transcript(path, _) | Job::Process(path) => {
                self.reads.send(path.clone(), (source, job));
            }
            Job::Tree(cwd) => self.finds.send(cwd.clone(), (source, job)),
            it => unreachable!("programs are run: {it:?}"),
        }
    }

    /// Runs something, alone among all processes that fetch. It will be answered. Git may take
    /// `timeout`; a tool brings its own limits.
    pub fn run(&self, source: Source, job: Job, alone: Arc<FetchLock>, timeout: Duration) {
        if !matches!(job, Job::Repo(_)) {
            return (self.run_tool)(source, job, alone);
        }
        let limits = Limits { deadline: timeout, ..git::status::LIMITS };
        self.runs.send((source, job, alone, limits)).expect("runners live as long as this sender");
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    jobs: Receiver<T>,
    mut perform: impl FnMut(T) + Send + 'static,
) -> io::Result<()> {
    let run = move || jobs.iter().for_each(&mut perform);
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

fn guarded(fetch: impl FnOnce() -> Fetched) -> Result<Fetched, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(fetch))
}

fn read(job: &Job, reader: &mut Reader) -> Fetched {
    match job {
        Job::Transcript(path, from) => {
            let from = from.as_deref().cloned();
            Fetched::Transcript(reader.read_tail(path, from).map(Box::new))
        }
        Job::Process(path) => Fetched::Process(process::look(path)),
        Job::Tree(cwd) => {
            let tree = WorkTree::discover(cwd);
            Fetched::Tree(tree.map(|it| (it.clone(), it.watch_dirs())))
        }
        Job::Repo(_) | Job::Usage(..) | Job::Command(_) => unreachable!("programs run elsewhere"),
    }
}

fn run(job: &Job, runner: &Runner, alone: &FetchLock, limits: Limits) -> Fetched {
    let Job::Repo(tree) = job else { unreachable!("only git runs here: {job:?}") };
    let status = git::status::query(runner, alone, tree, limits, Now::read().wall_ms);
    // Where git did not answer, the disk may not either.
    let dirs = if status.is_ok() { tree.watch_dirs() } else { Vec::new() };
    Fetched::Repo(status, dirs)
}

fn ask_tool(job: &Job, runner: &Runner, alone: &FetchLock) -> Fetched {
    let now_ms = Now::read().wall_ms;
    match job {
        Job::Usage(tool, root) => Fetched::Usage(tool::block(runner, alone, tool, root, now_ms)),
        Job::Command(tool) => Fetched::Command(tool::command(runner, alone, tool, now_ms)),
        it => unreachable!("only tools run here: {it:?}"),
    }
}

/// What a fetch found that panicked.
fn failed(job: &Job, panic: Box<dyn Any + Send>) -> Fetched {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    cannot(job, io::Error::other(format!("bug in ccstatusd: {said}")))
}

/// What a fetch found that this process could not do: nothing, and the reason where there is room
/// for one.
fn cannot(job: &Job, err: io::Error) -> Fetched {
    match job {
        Job::Transcript(..) => Fetched::Transcript(Err(err)),
        Job::Process(_) => Fetched::Process(Err(err)),
        Job::Tree(_) => Fetched::Tree(None),
        Job::Repo(_) => {
            Fetched::Repo(Err(git::status::GitError::Failed(exec::Failure::Io(err))), Vec::new())
        }
        Job::Usage(..) => Fetched::Usage(Err(tool::Failure::Failed(exec::Failure::Io(err)))),
        Job::Command(_) => Fetched::Command(Err(tool::Failure::Failed(exec::Failure::Io(err)))),
    }
}
