//! Records that one machine gives another: an export has all months of all accounts, and an offered
//! one waits until the next fold brings it in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::files::{
    IMPORT, MISSING, MonthNumber, SUFFIX, account_dirs, months_of, read_month, set_aside_sentences,
    unlistable,
};
use super::journal::{read_journal, segment};
use super::merge::apply;
use super::month::{Month, Unreadable};
use crate::error::{Error, Result};
use crate::store::{atomic, dir};
use crate::time::Now;
use crate::usage::entry::hash;

/// Appends all months of all accounts, one after the other, with what the journal has. Returns what
/// is not among them since it was set aside before, as sentences for the user.
///
/// An error means that something cannot be read: what was appended is no export then.
pub fn export(data_dir: &Path, out: &mut Vec<u8>) -> Result<Vec<String>> {
    let journal = read_journal(data_dir);
    let mut unread = unlistable(data_dir);
    unread.extend(journal.damaged.into_iter().map(|(nth, why)| (segment(data_dir, nth), why)));
    let mut by_root = journal.by_root;
    for (dir, root) in account_dirs(data_dir, by_root.keys()) {
        let news = by_root.remove(&root).unwrap_or_default();
        let (applied, damaged) = apply(&dir, &root, news, Now::read().wall_ms);
        let mut of_account: BTreeMap<MonthNumber, Unreadable> = damaged.into_iter().collect();
        let names: BTreeSet<MonthNumber> =
            months_of(&dir).into_iter().chain(applied.keys().copied()).collect();
        for name in names {
            match applied.get(&name) {
                Some(applied) => out.extend(applied.month.render()),
                None => match read_month(&name.path(&dir)) {
                    Ok(month) => out.extend(month.render()),
                    // It was deleted just now, or set aside, which is told below.
                    Err(Unreadable::Damaged(MISSING)) => {}
                    Err(why) => drop(of_account.insert(name, why)),
                },
            }
        }
        unread.extend(of_account.into_iter().map(|(name, why)| (name.path(&dir), why)));
    }
    if let Some((_, first)) = unread.first() {
        let hint = match first {
            Unreadable::Format(_) => "export with the newer version of ccstatusd",
            Unreadable::Damaged(_) => {
                "put a copy from a backup in its place, or move the file out of the directory of \
                 the record: the export then goes without what was in it"
            }
            Unreadable::Refused(_) => "let your user read it, and export again",
        };
        let unread: Vec<_> =
            unread.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
        return Err(Error::new("cannot read all of the record of usage")
            .because(unread.join("; "))
            .hint(hint));
    }
    Ok(set_aside_sentences(data_dir))
}

/// Puts an export of another machine where the next fold brings it in. `root` is the config root
/// that it belongs to here; `None` for the paths that it has there. Returns where it lies until
/// then.
///
/// An error means that it is not an export, or is damaged, or cannot be written.
pub fn offer(data_dir: &Path, export: &[u8], root: Option<&Path>) -> io::Result<PathBuf> {
    let mut rest = export;
    let mut bytes = Vec::new();
    while !rest.is_empty() {
        let mut month = Month::take(&mut rest).map_err(|err| io::Error::other(err.to_string()))?;
        if let Some(root) = root {
            month.root = root.to_string_lossy().into_owned();
        }
        bytes.extend(month.render());
    }
    for dir in [data_dir.to_owned(), data_dir.join(IMPORT)] {
        dir::make_private(&dir).map_err(io::Error::other)?;
    }
    let name = format!("{:016x}{SUFFIX}", hash(&bytes));
    atomic::write_durably(&data_dir.join(IMPORT), &name, &bytes)?;
    Ok(data_dir.join(IMPORT).join(name))
}
