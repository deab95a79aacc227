//! A stand-in for the directory that git takes a repository's configuration from.
//!
//! Git takes the references and objects of a repository, and its configuration, from its *common
//! directory*, which is mostly `.git` itself. `GIT_COMMON_DIR` names another one. Ours leads to
//! everything in the repository's own but the configuration, of which it has a copy that names no
//! program. The copy is made once for all calls of one query, so whoever changes the repository in
//! between changes nothing that git runs.
//!
//! See docs/decisions/030-a-repository-names-no-program.md.

use std::io;
use std::path::Path;

use tempfile::TempDir;

use super::config::Config;
use crate::store::lock::FetchLock;

/// What git looks for in a common directory, as far as it concerns the state of a working tree.
const SHARED: [&str; 9] = [
    // Remotes as the first versions of git kept them: a file with the name of each. They matter to
    // the upstream of a branch, and name no program.
    "branches",
    "remotes",
    "info",
    "logs",
    "objects",
    "packed-refs",
    "refs",
    "reftable",
    "shallow",
];

/// Makes the stand-in for the common directory `of`. It is removed when the result is dropped. An
/// error does not say which file it is about, since the path is another one at each try.
pub(super) fn stand_in(of: &Path, config: &Config<'_>, lock: &FetchLock) -> io::Result<TempDir> {
    let nameless = |err: io::Error| {
        let why = format!("cannot write to the state directory: {}", err.kind());
        io::Error::new(err.kind(), why)
    };
    make(of, config, lock).map_err(nameless)
}

fn make(of: &Path, config: &Config<'_>, lock: &FetchLock) -> io::Result<TempDir> {
    let dir = lock.scratch_dir()?;
    for name in SHARED {
        // A link that leads nowhere is to git as if nothing were there.
        fs_err::os::unix::fs::symlink(of.join(name), dir.path().join(name))?;
    }
    fs_err::write(dir.path().join("config"), config.without_programs())?;
    Ok(dir)
}
