//! The one error type: what we were doing, to what, and what the user can do about it.

use std::fmt;

/// An error that ends the command. Sources that merely degrade a fact are [`crate::store::schema::Degraded`].
#[derive(Debug)]
pub struct Error {
    /// What we were doing, to what: "cannot take /x/watch.lock".
    pub doing: String,
    /// Why it did not work, where something below us said so.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the process ends because of it.
    pub exit: Exit,
}

/// The exit codes. They are part of the interface; the README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; with `--oneshot`, everything is fresh.
    Success = 0,
    /// `--oneshot`: published, but some source is degraded.
    Degraded = 1,
    /// It could not be done, or the command line makes no sense.
    Failure = 2,
    /// Another watcher holds the lock. The login units count this as success.
    AlreadyRunning = 3,
}

/// What fallible operations of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that ends the process with [`Exit::Failure`].
    pub fn new(doing: impl Into<String>) -> Error {
        Error { doing: doing.into(), source: None, hint: None, exit: Exit::Failure }
    }

    /// Adds what went wrong below us.
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

    /// Ends the process with another code than [`Exit::Failure`].
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
        self.source.as_ref().map(|it| it.as_ref() as _)
    }
}
