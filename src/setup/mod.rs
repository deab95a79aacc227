//! `ccstatusd init` and `ccstatusd uninstall`: what is set up on a machine, and how it goes again.
//!
//! Both first make a plan, which only reads, and which `main` shows; then they carry it out. What
//! each step changes is in the [`record`] before it is changed.

mod files;
pub mod init;
mod record;
mod settings;
pub(crate) mod shell;
pub mod uninstall;
mod unit;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::store::dir::StateDir;
use crate::store::lock::WatchLock;

/// How often an edit is started over because another program has written the file meanwhile.
const TRIES: usize = 8;

/// What was done.
#[derive(Debug)]
pub struct Done {
    /// What to tell the user.
    pub text: String,
    /// Whether something could not be done, which the text says.
    pub has_failed: bool,
}

/// The id of the watcher that runs; `None` if none does. Creates nothing.
fn watcher(env: &Environment) -> Result<Option<u32>> {
    let path = env.checked_state_dir()?;
    match path.exists() {
        true => Ok(WatchLock::running(&StateDir::open(&path)?)),
        false => Ok(None),
    }
}

/// Another program writes the file all the time.
fn restless(path: &std::path::Path) -> Error {
    Error::new(format!("cannot write {}", path.display()))
        .because("another program writes it again and again")
        .hint("end Claude Code, and try again")
}

/// A path as users write it.
fn short(env: &Environment, path: &std::path::Path) -> String {
    let in_home = env.home().and_then(|home| path.strip_prefix(home).ok());
    in_home.map_or_else(|| path.display().to_string(), |it| format!("~/{}", it.display()))
}
