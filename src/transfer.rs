//! `ccstatusd usage export` and `usage import`: the record of one machine, brought to another.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::oneshot;
use crate::store::atomic;
use crate::store::dir::StateDir;
use crate::store::lock::WatchLock;
use crate::store::record::{self, Record};
use crate::store::schema::Import;
use crate::time::{Now, pause};

/// How long the watcher may take to bring an export in.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How often to look whether it has.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// What `usage export` has done.
#[derive(Debug)]
pub struct Exported {
    /// The export; empty where it was written to a file.
    pub bytes: Vec<u8>,
    /// What is not in it, as sentences for the user.
    pub lacking: Vec<String>,
}

/// Brings the record up to date, and writes it to `file`; returns it where there is none. Nothing
/// is written if a part of the record cannot be read.
pub fn export(
    file: Option<&Path>,
    env: &Environment,
    progress: oneshot::OnProgress<'_>,
) -> Result<Exported> {
    let exporting = |err| Error::new("cannot export the record of usage").because(err);
    // To bring the record up to date changes the working directory.
    let file = file.map(std::path::absolute).transpose().map_err(exporting)?;
    let import = oneshot::refresh_record(env, progress)?;
    let mut bytes = Vec::new();
    let aside = record::export(&env.data_dir()?, &mut bytes)?;
    let what = "the export lacks what is only in it; remove it once you need it no more";
    let mut lacking: Vec<String> = aside.iter().map(|it| format!("{it}: {what}")).collect();
    lacking.extend(import.map(|Import { files_done, files, .. }| {
        format!(
            "the watcher still reads old transcripts, {files_done} of {files} so far; the others \
             are not in this export"
        )
    }));
    let Some(file) = file else { return Ok(Exported { bytes, lacking }) };
    let parent = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().and_then(|it| it.to_str());
    let name = name.ok_or_else(|| {
        Error::new(format!("cannot export to {}", file.display())).hint("name a file")
    })?;
    atomic::write_durably(parent, name, &bytes).map_err(exporting)?;
    Ok(Exported { bytes: Vec::new(), lacking })
}

/// Brings exports of other machines in; `-` is the standard input. `root` is the config root that
/// they belong to here, `None` for that of the same path. Returns how many were brought in.
pub fn import(files: &[PathBuf], root: Option<&Path>, env: &Environment) -> Result<usize> {
    let data_dir = env.data_dir()?;
    let root = root.map(|root| {
        let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        fs_err::canonicalize(&absolute).unwrap_or(absolute)
    });
    let mut offered = Vec::new();
    for file in files {
        let importing = |err| Error::new(format!("cannot import {}", file.display())).because(err);
        let bytes = read(file).map_err(importing)?;
        let path = record::offer(&data_dir, &bytes, root.as_deref()).map_err(|err| {
            importing(err).hint("give it a file that `ccstatusd usage export` wrote")
        })?;
        offered.push(path);
    }
    let dir = StateDir::open(&env.checked_state_dir()?)?;
    let aside_before = record::set_aside_files(&data_dir);
    match WatchLock::running(&dir) {
        Some(pid) => ask_watcher(pid, &offered)?,
        None => fold(&data_dir)?,
    }
    let mut aside = record::set_aside_files(&data_dir);
    aside.retain(|path| !aside_before.contains(path));
    match aside.as_slice() {
        [] => Ok(offered.len()),
        // The watcher tells its log alone.
        aside => {
            let aside: Vec<_> = aside.iter().map(|it| it.display().to_string()).collect();
            let why = format!("it could not be read, and was set aside: {}", aside.join(", "));
            Err(incomplete().because(why))
        }
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs_err::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Lets the watcher bring the files in, which alone may write the record while it runs.
fn ask_watcher(pid: u32, offered: &[PathBuf]) -> Result<()> {
    let waiting = || Error::new(format!("cannot hand the export to the watcher (process {pid})"));
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGHUP).map_err(|err| waiting().because(err))?;
    let give_up_at = Now::read().mono + TIMEOUT;
    while offered.iter().any(|path| path.exists()) {
        if Now::read().mono > give_up_at {
            let hint = "it brings them in later; `ccstatusd doctor` says what keeps it from that";
            return Err(waiting().because(format!("it took {TIMEOUT:?}")).hint(hint));
        }
        pause(CHECK_EVERY);
    }
    Ok(())
}

/// Brings the files in without a watcher.
fn fold(data_dir: &Path) -> Result<()> {
    let Some(mut record) = Record::open(data_dir)? else {
        let holder = Record::writer(data_dir).map_or(String::new(), |pid| format!(" {pid}"));
        return Err(Error::new(format!("process{holder} writes the record of usage"))
            .hint("run the command again; the files are brought in then"));
    };
    let task = record.fold_task(Now::read().wall_ms, None);
    let folded = record::fold(&task).map_err(|err| {
        Error::new("cannot bring the export into the record of usage")
            .because(err)
            .hint("it is kept, and brought in by the next import or by the watcher")
    })?;
    match folded.problems.as_slice() {
        [] => Ok(()),
        problems => Err(incomplete().because(problems.join("; "))),
    }
}

/// The error for a part of the record that was set aside while exports were brought in.
fn incomplete() -> Error {
    Error::new("the export was brought in, but the record of usage now lacks something")
        .hint("`ccstatusd usage` names it until you remove what was set aside")
}
