//! The `show` command: what a display needs to read before it can draw.
//!
//! Reads standard input until the document in it is complete or a deadline has passed, reads the
//! snapshot, and hands what the client said to the watcher. Writes no file, takes no lock, starts
//! no process. **Invariant:** it returns text, whatever it is given, and soon.

use std::os::fd::AsFd;
use std::path::Path;

use crate::time::Now;

/// What `show` heeds in its environment, unparsed.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// `COLUMNS`: the client runs us on a pipe, which has no width of its own.
    pub columns: Option<String>,
    /// `NO_COLOR`
    pub no_color: Option<String>,
    /// `FORCE_COLOR`
    pub force_color: Option<String>,
    /// `TERM`
    pub term: Option<String>,
    /// `HOME`
    pub home: Option<String>,
    /// `CLAUDE_CODE_SESSION_ID`
    pub session_id: Option<String>,
}

/// Draws the line, without a newline at its end.
///
/// Changes the working directory, for which see [`hand_over`].
pub fn run(stdin: impl AsFd, env: &Env, state_dir: &Path, now: impl Fn() -> Now) -> String {
    String::new()
}
