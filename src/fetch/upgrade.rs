//! Finds out whether the file of this program was replaced, as an upgrade does.
//!
//! See docs/decisions/032-a-watcher-goes-on-as-its-successor.md.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exec::{self, Invocation, RunLimits, Runner};
use super::tool::ToolError;
use crate::store::lock::FetchLock;

/// The bounds of one call with `--version`, which takes a millisecond.
const LIMITS: RunLimits = RunLimits {
    deadline: Duration::from_secs(5),
    grace: Duration::from_millis(500),
    max_output: 4096,
};

/// What `--version` prints before the version.
const NAME: &str = concat!(env!("CARGO_PKG_NAME"), " ");

/// The first of these paths at which the running program lies.
pub fn own_path(paths: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    paths.into_iter().find(|path| is_running(path).unwrap_or(false))
}

/// The version of the program that has replaced this one at `path`; `None` if none has. An error
/// means that the file there is no version of this program, or is not complete yet.
pub fn version(
    runner: &Runner,
    lock: &FetchLock,
    path: &Path,
) -> Result<Option<String>, ToolError> {
    match is_running(path) {
        Ok(false) => {}
        Ok(true) => return Ok(None),
        // It may just be replaced.
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(ToolError::Failed(exec::RunError::Io(err))),
    }
    let what = Invocation {
        program: path.into(),
        args: vec!["--version".into()],
        dir: None,
        env: Vec::new(),
        input: Vec::new(),
    };
    let output = runner.run(lock, &what, LIMITS).map_err(ToolError::Failed)?;
    let version = str::from_utf8(&output).ok().and_then(stated_version);
    version.map(|it| Some(it.to_owned())).ok_or(ToolError::Unreadable)
}

/// The version in what `--version` printed; `None` if it is that of another program.
pub fn stated_version(printed: &str) -> Option<&str> {
    printed.trim_end().strip_prefix(NAME)
}

/// Whether the file at this path is that of the running program.
fn is_running(path: &Path) -> io::Result<bool> {
    let (found, own) = (fs_err::metadata(path)?, fs_err::metadata(exec::own_program()?)?);
    Ok((found.dev(), found.ino()) == (own.dev(), own.ino()))
}
