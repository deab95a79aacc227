//! The error type of the program: what we were doing, to what, and what the user can do about it.

use std::fmt;
use std::io;

/// An error that ends the process. A source that fails while the watcher goes on is published in
/// the snapshot as `Degraded` instead.
#[derive(Debug)]
pub struct Error {
    /// What failed, and on what: "cannot take /x/watch.lock".
    pub doing: String,
    /// The underlying error, if there is one.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// What the user can do about it.
    pub hint: Option<String>,
    pub exit: Exit,
}

/// The exit codes of the process. They are part of the interface; the README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; with `--oneshot`, all data is fresh.
    Success = 0,
    /// `--oneshot` has published a snapshot, but some source is degraded; `doctor` has found a
    /// problem; `usage export` lacks a part of the record.
    Degraded = 1,
    /// It failed, or the command line is invalid. clap uses the same code.
    Failure = 2,
    /// Another watcher holds the lock, and this one was not told to wait for its end.
    AlreadyRunning = 3,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that ends the process with [`Exit::Failure`].
    pub fn new(doing: impl Into<String>) -> Error {
        Error { doing: doing.into(), source: None, hint: None, exit: Exit::Failure }
    }

    /// Adds the underlying error.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Sets an exit code other than [`Exit::Failure`].
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Error {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        if let Some(source) = &self.source {
            // With `#`, the error of a configuration file is a list with a line for each problem.
            let source = format!("{source:#}");
            let gap = if source.starts_with('\n') { "" } else { " " };
            write!(f, ":{gap}{source}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// The number by which the system names an error. `fs_err` puts the path around what the system
/// says, so that [`io::Error::raw_os_error`] finds nothing, and only the text has the number.
pub(crate) fn system_code(err: &io::Error) -> Option<i32> {
    let in_text = || err.to_string().strip_suffix(')')?.rsplit_once("(os error ")?.1.parse().ok();
    err.raw_os_error().or_else(in_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_the_system_is_found_behind_the_path() {
        let plain = io::Error::from_raw_os_error(nix::libc::EIO);
        assert_eq!(system_code(&plain), Some(nix::libc::EIO));
        let named = fs_err::File::create("/").expect_err("it is a directory");
        assert_eq!((named.raw_os_error(), system_code(&named)), (None, Some(nix::libc::EISDIR)));
        assert_eq!(system_code(&io::Error::other("x")), None);
    }
}
