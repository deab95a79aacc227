//! Files of the user's: read with what is needed to write them back, and replaced whole.
//!
//! A file is written beside the one that it replaces, with its mode and its group, is on the disk
//! before it takes the name, and takes it only if the bytes there are still those that the new text
//! was made from. Links stay: what they lead to is replaced.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Gid, access, fchown, geteuid};
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::error::{Error, Result};
use crate::store::file::read_bounded;

/// Bytes of a file that we edit. Real ones have a few thousand.
const MAX_BYTES: u64 = 16 << 20;
/// Characters of a line that is shown.
const MAX_SHOWN: usize = 160;

/// A file that may be there.
#[derive(Debug)]
pub(super) struct File {
    /// Where it is, after all links.
    pub(super) path: PathBuf,
    /// `None`: there is no such file.
    pub(super) text: Option<String>,
}

impl File {
    /// Reads the file that the path leads to.
    pub(super) fn read(named: &Path) -> Result<File> {
        let doing = || Error::new(format!("cannot read {}", named.display()));
        let path = match fs_err::canonicalize(named) {
            Ok(path) => path,
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(doing().because(err)),
            Err(_) if fs_err::symlink_metadata(named).is_ok() => {
                let hint = "make the file that it leads to, or remove the link";
                return Err(doing().because("it is a link that leads to nothing").hint(hint));
            }
            Err(_) => return Ok(File { path: named.to_owned(), text: None }),
        };
        let bytes = read_bounded(&path, MAX_BYTES).map_err(|err| doing().because(err))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            doing().because("it is not UTF-8").hint("save it as UTF-8, and try again")
        })?;
        Ok(File { path, text: Some(text) })
    }

    /// Why the file cannot be replaced, if it cannot.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.text.is_none() {
            let existing = self.path.ancestors().skip(1).find(|it| it.exists())?;
            let is_refused = access(existing, AccessFlags::W_OK).is_err();
            return is_refused.then(|| format!("{} cannot be written", existing.display()));
        }
        let meta = fs_err::metadata(&self.path).ok()?;
        let dir = self.path.parent()?;
        if meta.uid() != geteuid().as_raw() {
            Some(format!("it belongs to user {}", meta.uid()))
        } else if meta.mode() & 0o200 == 0 {
            Some(format!("it is read-only (mode {:04o})", meta.mode() & 0o7777))
        } else if meta.nlink() > 1 {
            Some(format!("it has {} names, which a new file would part", meta.nlink()))
        } else if access(dir, AccessFlags::W_OK).is_err() {
            Some(format!("{} cannot be written", dir.display()))
        } else {
            None
        }
    }

    /// Puts `text` in place of what was read. Returns false, and does nothing, if somebody else has
    /// written since.
    pub(super) fn replace(&self, text: &str) -> Result<bool> {
        let replaced = self.try_replace(text);
        replaced
            .map_err(|err| Error::new(format!("cannot write {}", self.path.display())).because(err))
    }

    fn try_replace(&self, text: &str) -> io::Result<bool> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let mut new =
            tempfile::Builder::new().prefix(".ccstatusd-").suffix(".tmp").tempfile_in(dir)?;
        new.write_all(text.as_bytes())?;
        let Some(old) = &self.text else {
            new.as_file().sync_all()?;
            return match new.persist_noclobber(&self.path) {
                Ok(_) => sync(dir).map(|()| true),
                Err(err) if err.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(err) => Err(err.error),
            };
        };
        let meta = fs_err::metadata(&self.path)?;
        // A group that the user is not in cannot be given.
        fchown(new.as_file(), None, Some(Gid::from_raw(meta.gid()))).ok();
        new.as_file().set_permissions(PermissionsExt::from_mode(meta.mode() & 0o7777))?;
        new.as_file().sync_all()?;
        if read_bounded(&self.path, MAX_BYTES)? != old.as_bytes() {
            return Ok(false);
        }
        new.persist(&self.path).map_err(|err| err.error)?;
        sync(dir).map(|()| true)
    }

    /// Removes the file, if it is still what was read. Returns whether it is gone.
    pub(super) fn remove(&self) -> Result<bool> {
        let Some(text) = &self.text else { return Ok(true) };
        let is_same = |bytes: Vec<u8>| bytes == text.as_bytes();
        if !read_bounded(&self.path, MAX_BYTES).is_ok_and(is_same) {
            return Ok(false);
        }
        let removed = fs_err::remove_file(&self.path);
        removed.map_err(|err| Error::new("cannot remove a file").because(err))?;
        Ok(true)
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

/// Creates the directory and those above it that are missing, for the user alone. Returns those
/// that it has created, the outermost first.
pub(super) fn make_dirs(dir: &Path) -> Result<Vec<PathBuf>> {
    let missing: Vec<_> = dir.ancestors().take_while(|it| !it.exists()).collect();
    let mut made = Vec::new();
    for dir in missing.into_iter().rev() {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(|err| Error::new(format!("cannot create {}", dir.display())).because(err))?;
        made.push(dir.to_owned());
    }
    Ok(made)
}

/// The lines that differ, those before with `-` and those after with `+`. A comma at the end of a
/// line is no difference: it tells of the line that follows.
pub(super) fn changes(before: &str, after: &str) -> String {
    let [before, after] = [before, after].map(|it| it.lines().collect::<Vec<_>>());
    let bare = |lines: &[&str]| -> Vec<String> {
        lines.iter().map(|it| it.trim_end_matches(',').to_owned()).collect()
    };
    let mut shown = String::new();
    let mut show = |sign, lines: &[&str]| {
        for line in lines {
            let more = if line.chars().count() > MAX_SHOWN { "…" } else { "" };
            let line: String = line.chars().take(MAX_SHOWN).collect();
            shown += &format!("    {sign} {line}{more}\n");
        }
    };
    for part in capture_diff_slices(Algorithm::Myers, &bare(&before), &bare(&after)) {
        if part.tag() != DiffTag::Equal {
            show('-', &before[part.old_range()]);
            show('+', &after[part.new_range()]);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_shown() {
        assert_eq!(changes("a\nb\nc\n", "a\nx\ny\nc\n"), "    - b\n    + x\n    + y\n");
        assert_eq!(changes("", "a\n"), "    + a\n");
        assert_eq!(changes("a\na\n", "a\na\na\n"), "    + a\n");
        assert_eq!(changes("a\n", "a\n"), "");
        let (one, two) = ("{\n  a {\n  }\n}\n", "{\n  a {\n  },\n  b {\n  }\n}\n");
        assert_eq!(changes(one, two), "    +   b {\n    +   }\n");
        assert_eq!(changes(two, one), "    -   b {\n    -   }\n");
        let (one, two) = ("a\nb\nc\nd\n", "x\na\nb\nc\ny\n");
        assert_eq!(changes(one, two), "    + x\n    - d\n    + y\n", "two places");
        let long = changes("", &"x".repeat(1000));
        assert!(long.chars().count() < 200 && long.ends_with("…\n"), "{long}");
    }

    #[test]
    fn what_was_written_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        let missing = File::read(&path).unwrap();
        fs_err::write(&path, "theirs").unwrap();
        assert!(!missing.replace("ours").unwrap());
        let read = File::read(&path).unwrap();
        fs_err::write(&path, "theirs again").unwrap();
        assert!(!read.replace("ours").unwrap() && !read.remove().unwrap());
        assert_eq!(fs_err::read(&path).unwrap(), b"theirs again");
        assert!(File::read(&path).unwrap().replace("ours").unwrap());
        let names = fs_err::read_dir(dir.path()).unwrap().count();
        assert_eq!((fs_err::read(&path).unwrap(), names), (b"ours".to_vec(), 1));
    }

    #[test]
    fn a_file_keeps_its_mode_and_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs_err::create_dir(path("dotfiles")).unwrap();
        fs_err::write(path("dotfiles/real"), "a").unwrap();
        fs_err::set_permissions(path("dotfiles/real"), PermissionsExt::from_mode(0o640)).unwrap();
        fs_err::os::unix::fs::symlink("dotfiles/real", path("one")).unwrap();
        fs_err::os::unix::fs::symlink("one", path("two")).unwrap();
        assert!(File::read(&path("two")).unwrap().replace("b").unwrap());
        assert_eq!(fs_err::read(path("dotfiles/real")).unwrap(), b"b");
        assert_eq!(fs_err::metadata(path("dotfiles/real")).unwrap().mode() & 0o7777, 0o640);
        assert!(fs_err::symlink_metadata(path("one")).unwrap().is_symlink());
        fs_err::os::unix::fs::symlink("nothing", path("three")).unwrap();
        let err = File::read(&path("three")).unwrap_err().to_string();
        assert!(err.contains("leads to nothing"), "{err}");
    }

    #[test]
    fn what_the_user_may_not_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs_err::write(&path, "a").unwrap();
        let refusal = || File::read(&path).unwrap().refusal();
        assert_eq!(refusal(), None);
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        assert!(refusal().unwrap().contains("read-only (mode 0444)"));
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        fs_err::hard_link(&path, dir.path().join("g")).unwrap();
        assert!(refusal().unwrap().contains("2 names"));
    }
}
