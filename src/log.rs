//! Where the log goes: standard error, or a file that stays small.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::filter::EnvFilter;

use crate::error::{Error, Result};

/// A log file is moved aside before it would exceed this.
const MAX_FILE: u64 = 1 << 20;

/// Starts logging, to standard error or to `file`. `filter` is in the syntax of `RUST_LOG`.
pub fn start(file: Option<&Path>, filter: Option<&str>) -> Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or("info")).map_err(|it| {
        Error::new("cannot understand CCSTATUSD_LOG").because(it).hint("for instance: debug")
    })?;
    // It would tell of a log that cannot be written on standard error, and panic where that is it.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .log_internal_errors(false);
    match file {
        None => builder.with_ansi(false).with_writer(io::stderr).init(),
        Some(path) => {
            let file = CappedFile::open(path).map_err(|it| {
                Error::new(format!("cannot log to {}", path.display())).because(it)
            })?;
            builder.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}

/// A file of at most [`MAX_FILE`] bytes, and its predecessor under the same name with `.1`.
#[derive(Debug)]
struct CappedFile {
    file: fs_err::File,
    size: u64,
}

impl CappedFile {
    fn open(path: &Path) -> io::Result<CappedFile> {
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
        fs_err::rename(&path, PathBuf::from(predecessor))?;
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
}
