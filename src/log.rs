//! The log, and the thread that writes it and the lines of `--print`.
//!
//! In the journal each line begins with its priority, as sd-daemon(3) has it, and has no time: the
//! journal adds its own.
//!
//! **Invariant:** the watcher never waits for a reader. A terminal may be stopped with Ctrl-S, and
//! nothing may read a pipe.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::Environment;
use crate::error::{Error, Result};

/// Bytes of a log file. Before it would exceed them, it is renamed.
const MAX_LOG_FILE: u64 = 1 << 20;
/// Writes that may wait for a slow reader; further ones are lost.
const QUEUE: usize = 1024;
/// How long a flush waits for a slow reader, when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Where the log goes.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    StandardError,
    /// Standard error, which systemd has connected with the journal.
    Journal,
    File(&'a Path),
}

/// Whether standard error is the journal, by what systemd says and by what is open: a shell that
/// the user started from a service has the variable too.
pub fn is_journal(env: &Environment) -> bool {
    let Ok(open) = nix::sys::stat::fstat(io::stderr()) else { return false };
    env.text("JOURNAL_STREAM") == Some(&format!("{}:{}", open.st_dev, open.st_ino))
}

/// The text of an error that ends the process, for the journal.
pub fn journal_error(text: &str) -> String {
    text.lines().map(|line| format!("{}{line}\n", priority(Level::ERROR))).collect()
}

/// Starts to log messages of this level and more severe ones.
pub fn start(to: To<'_>, level: &str) -> Result<BackgroundWriter> {
    let level: LevelFilter = level.parse().map_err(|_| {
        Error::new(format!("cannot log: CCSTATUSD_LOG is {level}, which is no log level"))
            .hint("set it to off, error, warn, info, debug or trace")
    })?;
    let started = match to {
        To::StandardError | To::Journal => BackgroundWriter::start(io::stderr()),
        To::File(path) => CappedFile::open(path).and_then(BackgroundWriter::start),
    };
    let log = started.map_err(|err| {
        let to = match to {
            To::StandardError | To::Journal => "standard error".to_owned(),
            To::File(path) => path.display().to_string(),
        };
        Error::new(format!("cannot log to {to}")).because(err)
    })?;
    let writer = log.clone();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // Otherwise it prints errors of the log to standard error, and panics if that fails.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    match to {
        To::Journal => {
            let plain = builder.without_time().with_level(false);
            plain.map_event_format(WithPriority).init();
        }
        To::StandardError | To::File(_) => builder.init(),
    }
    Ok(log)
}

/// The beginning of a line by which the journal knows its priority.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Puts the priority before each message.
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// Writes in a thread of its own, so that the caller never waits. What does not fit into the queue
/// is lost.
#[derive(Clone, Debug)]
pub struct BackgroundWriter {
    messages: Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Write(Vec<u8>),
    Flush(Sender<()>),
}

impl BackgroundWriter {
    pub fn start(mut to: impl Write + Send + 'static) -> io::Result<BackgroundWriter> {
        let (messages, inbox) = bounded(QUEUE);
        let run = move || {
            for message in inbox {
                match message {
                    // There is nowhere to report that the log cannot be written.
                    Message::Write(bytes) => to.write_all(&bytes).and_then(|()| to.flush()).ok(),
                    Message::Flush(done) => done.send(()).ok(),
                };
            }
        };
        std::thread::Builder::new().name("writer".to_owned()).spawn(run)?;
        Ok(BackgroundWriter { messages })
    }
}

impl Write for BackgroundWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.messages.try_send(Message::Write(bytes.to_owned())) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(bytes.len()),
            Err(TrySendError::Disconnected(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits until what was written so far has arrived, but at most twice [`FLUSH_TIMEOUT`].
    fn flush(&mut self) -> io::Result<()> {
        let (done, is_done) = bounded(1);
        self.messages.send_timeout(Message::Flush(done), FLUSH_TIMEOUT).ok();
        is_done.recv_timeout(FLUSH_TIMEOUT).ok();
        Ok(())
    }
}

/// A file of at most [`MAX_LOG_FILE`] bytes. A full file is renamed to the same name with `.1`, in
/// place of the one before.
#[derive(Debug)]
struct CappedFile {
    file: fs_err::File,
    size: u64,
}

impl CappedFile {
    fn open(path: &Path) -> io::Result<CappedFile> {
        // The path is relative to the directory in which the user started us, and the watcher
        // changes its working directory later.
        let path = &std::path::absolute(path)?;
        // The directory may be the state directory, which must be private.
        if let Some(dir) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        use fs_err::os::unix::fs::OpenOptionsExt;
        let mut options = fs_err::OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(CappedFile { file, size })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = self.file.path().to_owned();
        let mut predecessor = path.clone().into_os_string();
        predecessor.push(".1");
        match fs_err::rename(&path, PathBuf::from(predecessor)) {
            // The user removed the file.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        *self = CappedFile::open(&path)?;
        Ok(())
    }
}

impl Write for CappedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size + bytes.len() as u64 > MAX_LOG_FILE {
            self.rotate()?;
        }
        let n_bytes = self.file.write(bytes)?;
        self.size += n_bytes as u64;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destination that nothing reads.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            loop {
                std::thread::park();
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_does_not_wait_for_a_destination_that_nothing_reads() {
        let mut writer = BackgroundWriter::start(Stuck).unwrap();
        for _ in 0..2 * QUEUE {
            writer.write_all(b"line").unwrap();
        }
        writer.flush().unwrap();
    }

    #[test]
    fn a_flush_waits_until_everything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = BackgroundWriter::start(CappedFile::open(&path).unwrap()).unwrap();
        writer.write_all(b"one").unwrap();
        writer.flush().unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_log_file_keeps_its_limit_and_one_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = CappedFile::open(&path).unwrap();
        let line = [b'x'; 1000];
        for _ in 0..3500 {
            log.write_all(&line).unwrap();
        }
        let mut sizes: Vec<_> = fs_err::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
            })
            .collect();
        sizes.sort();
        assert_eq!(sizes.len(), 2, "{sizes:?}");
        assert!(sizes.iter().all(|(_, size)| *size <= MAX_LOG_FILE), "{sizes:?}");
        assert_eq!((sizes[0].0.as_str(), sizes[1].0.as_str()), ("log", "log.1"));
        let mut again = CappedFile::open(&path).unwrap();
        again.write_all(b"more").unwrap();
        assert_eq!(again.size, sizes[0].1 + 4, "a restart appends");
    }

    #[test]
    fn a_log_file_that_the_user_removed_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = CappedFile::open(&path).unwrap();
        log.write_all(&[b'x'; MAX_LOG_FILE as usize]).unwrap();
        fs_err::remove_file(&path).unwrap();
        log.write_all(b"more").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"more");
    }
}
