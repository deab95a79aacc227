//! What `init` has changed, so that `uninstall` can give it back: a file that only the user can
//! read, since settings may hold tokens.
//!
//! **Invariant:** a change is in the record before it is made. So a record may tell of a change
//! that was not made, and never misses one that was.
//!
//! See docs/decisions/033-settings-are-edited-as-text.md.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files;
use crate::cli::{Environment, Login};
use crate::error::{Error, Result};
use crate::store::atomic;
use crate::store::file::read_bounded;

const NAME: &str = "installed.json";
/// What a copy for people begins with. No program reads it.
const BACKUP: &str = "before-";
/// Bytes of the record: some files, each twice.
const MAX_BYTES: u64 = 128 << 20;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// The files that were changed.
    pub(super) files: Vec<Changed>,
    /// The directories that were created, each after the one that it is in.
    pub(super) dirs: Vec<PathBuf>,
    /// What was told to start the watcher at login.
    pub(super) logins: Vec<Login>,
    /// Whether services of the user outlive logins because of us.
    pub(super) lingers: bool,
}

/// What a file is, which decides what can be taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Claude Code's settings.
    Settings,
    /// Our configuration.
    Config,
    /// Something that starts the watcher at login.
    Login,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// The text that is given back; `None`: there was no such file.
    pub(super) before: Option<String>,
    /// The text that `init` has written.
    pub(super) after: String,
    /// The status line in place of which ours stands, as JSON.
    pub(super) replaced: Option<String>,
}

impl Record {
    /// Reads the record; an empty one where there is none.
    pub(super) fn read(env: &Environment) -> Result<Record> {
        let path = env.data_dir()?.join(NAME);
        if !path.exists() {
            return Ok(Record::default());
        }
        let bytes = read_bounded(&path, MAX_BYTES)
            .map_err(|err| Error::new("cannot read what was there before").because(err))?;
        serde_json::from_slice(&bytes).map_err(|err| {
            Error::new(format!("cannot understand {}", path.display())).because(err).hint(
                "it is from another version of ccstatusd, or damaged: move it away, and only what \
                 is recognisably ours will be taken out",
            )
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Record::default()
    }

    pub(super) fn find(&self, path: &Path) -> Option<&Changed> {
        self.files.iter().find(|it| it.path == path)
    }

    /// Notes that the text `now` of a file will be replaced by `new`. `given_back` is the text
    /// without anything of ours, in case that `now` is not what we wrote ourselves.
    pub(super) fn note(
        &mut self,
        now: &files::File,
        new: &str,
        kind: Kind,
        replaced: Option<String>,
        given_back: Option<String>,
    ) {
        let (path, after) = (now.path.clone(), new.to_owned());
        match self.files.iter_mut().find(|it| it.path == path) {
            Some(file) => {
                if now.text.as_ref() != Some(&file.after) {
                    file.before = given_back;
                }
                file.after = after;
                file.replaced = replaced.or(file.replaced.take());
            }
            None => {
                self.files.push(Changed { path, kind, before: given_back, after, replaced });
            }
        }
    }

    /// Creates a directory, and notes what of it is new.
    pub(super) fn make_dirs(&mut self, dir: &Path) -> Result<()> {
        self.dirs.extend(files::make_dirs(dir)?);
        Ok(())
    }

    /// Writes the record, and beside it a copy of what it gives back, for people.
    pub(super) fn save(&mut self, env: &Environment) -> Result<()> {
        let dir = env.data_dir()?;
        self.make_dirs(&dir)?;
        let doing =
            || Error::new(format!("cannot keep what was there before in {}", dir.display()));
        let text = serde_json::to_vec_pretty(self).map_err(|err| doing().because(err))?;
        let private = fs_err::set_permissions(&dir, PermissionsExt::from_mode(0o700));
        private
            .and_then(|()| {
                for (nth, file) in self.files.iter().enumerate() {
                    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
                    if let Some(before) = &file.before {
                        let name = format!("{BACKUP}{nth}-{name}");
                        atomic::write(&dir, &name, before.as_bytes())?;
                    }
                }
                atomic::write(&dir, NAME, &text)
            })
            .map_err(|err| doing().because(err))
    }

    /// Removes the record, the copies beside it, and the directories that were created and have
    /// nothing in them now.
    pub(super) fn remove(&self, env: &Environment) -> Result<()> {
        let dir = env.data_dir()?;
        for entry in fs_err::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == NAME || name.starts_with(BACKUP) {
                fs_err::remove_file(entry.path())
                    .map_err(|err| Error::new("cannot remove the record").because(err))?;
            }
        }
        for dir in [&dir].into_iter().chain(self.dirs.iter().rev()) {
            // It stays if there is something else in it.
            fs_err::remove_dir(dir).ok();
        }
        Ok(())
    }
}
