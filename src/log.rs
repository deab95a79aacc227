//! What leaves the watcher for people: the log, and the lines of `--print`.
//!
//! **Invariant:** the watcher waits for neither. A terminal may be stopped with Ctrl-S, and a pipe
//! may have no reader.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use tracing::level_filters::LevelFilter;

use crate::error::{Error, Result};

/// A log file is moved aside before it would exceed this.
const MAX_FILE: u64 = 1 << 20;
/// Lines that may wait for a slow reader; what comes then is lost.
const QUEUE: usize = 1024;
/// How long the end of the program waits for one.
const PATIENCE: Duration = Duration::from_millis(200);

/// Starts logging what is of this level or graver, to standard error or to `file`.
pub fn start(file: Option<&Path>, level: &str) -> Result<Outlet> {
    let level: LevelFilter = level.parse().map_err(|_| {
        Error::new(format!("CCSTATUSD_LOG is {level}, which is no level"))
            .hint("set it to off, error, warn, info, debug or trace")
    })?;
    let outlet = match file {
        None => Outlet::start(io::stderr()),
        Some(path) => CappedFile::open(path).and_then(Outlet::start),
    };
    let to = file.map_or_else(|| "standard error".to_owned(), |it| it.display().to_string());
    let outlet = outlet.map_err(|it| Error::new(format!("cannot log to {to}")).because(it))?;
    let writer = outlet.clone();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // It would tell of a log that cannot be written on standard error, and panic where that
        // is it.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    Ok(outlet)
}

/// Writes in a thread of its own. What finds no room is lost.
#[derive(Clone, Debug)]
pub struct Outlet {
    messages: Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Write(Vec<u8>),
    Flush(Sender<()>),
}

impl Outlet {
    /// Starts the thread.
    pub fn start(mut to: impl Write + Send + 'static) -> io::Result<Outlet> {
        let (messages, inbox) = bounded(QUEUE);
        let run = move || {
            for message in inbox {
                match message {
                    // Where nobody reads, there is nobody to tell.
                    Message::Write(bytes) => to.write_all(&bytes).and_then(|()| to.flush()).ok(),
                    Message::Flush(done) => done.send(()).ok(),
                };
            }
        };
        std::thread::Builder::new().name("outlet".to_owned()).spawn(run)?;
        Ok(Outlet { messages })
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.messages.try_send(Message::Write(bytes.to_owned())) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(bytes.len()),
            Err(TrySendError::Disconnected(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits a moment for what was written so far.
    fn flush(&mut self) -> io::Result<()> {
        let (done, is_done) = bounded(1);
        self.messages.send_timeout(Message::Flush(done), PATIENCE).ok();
        is_done.recv_timeout(PATIENCE).ok();
        Ok(())
    }
}

/// A file of at most [`MAX_FILE`] bytes, and its predecessor under the same name with `.1`.
#[derive(Debug)]
struct CappedFile {
    file: fs_err::File,
    size: u64,
}

impl CappedFile {
    fn open(path: &Path) -> io::Result<CappedFile> {
        // The watcher works in another directory than it was started in.
        let path = &std::path::absolute(path)?;
        // Private, like everything in the state directory, which it may be the first to make.
        if let Some(dir) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        use fs_err::os::unix::fs::OpenOptionsExt;
        let mut options = fs_err::OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(CappedFile { file, size })
    }

    fn start_anew(&mut self) -> io::Result<()> {
        let path = self.file.path().to_owned();
        let mut predecessor = path.clone().into_os_string();
        predecessor.push(".1");
        match fs_err::rename(&path, PathBuf::from(predecessor)) {
            // Somebody cleaned up.
            Err(it) if it.kind() == io::ErrorKind::NotFound => {}
            moved => moved?,
        }
        *self = CappedFile::open(&path)?;
        Ok(())
    }
}

impl Write for CappedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size + bytes.len() as u64 > MAX_FILE {
            self.start_anew()?;
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

    /// A reader who never comes.
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
    fn nobody_waits_for_a_reader_who_never_comes() {
        let mut outlet = Outlet::start(Stuck).unwrap();
        for _ in 0..2 * QUEUE {
            outlet.write_all(b"line").unwrap();
        }
        outlet.flush().unwrap();
    }

    #[test]
    fn what_was_written_is_there_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut outlet = Outlet::start(CappedFile::open(&path).unwrap()).unwrap();
        outlet.write_all(b"one").unwrap();
        outlet.flush().unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_log_keeps_its_cap_and_one_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = CappedFile::open(&path).unwrap();
        let line = [b'x'; 1000];
        for _ in 0..3500 {
            log.write_all(&line).unwrap();
        }
        let mut sizes: Vec<_> = fs_err::read_dir(dir.path())
            .unwrap()
            .map(|it| it.unwrap())
            .map(|it| (it.file_name().into_string().unwrap(), it.metadata().unwrap().len()))
            .collect();
        sizes.sort();
        assert_eq!(sizes.len(), 2, "{sizes:?}");
        assert!(sizes.iter().all(|(_, size)| *size <= MAX_FILE), "{sizes:?}");
        assert_eq!((sizes[0].0.as_str(), sizes[1].0.as_str()), ("log", "log.1"));
        let mut again = CappedFile::open(&path).unwrap();
        again.write_all(b"more").unwrap();
        assert_eq!(again.size, sizes[0].1 + 4, "a restart appends");
    }

    #[test]
    fn a_log_that_somebody_removed_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = CappedFile::open(&path).unwrap();
        log.write_all(&[b'x'; MAX_FILE as usize]).unwrap();
        fs_err::remove_file(&path).unwrap();
        log.write_all(b"more").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"more");
    }
}
