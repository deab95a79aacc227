//! The price list that a user has put in place: `prices.json` in the data directory.
//!
//! Of it and the built-in list, the one with the later day is in use; the user's where the days are
//! equal. So a list that was put in place years ago does not hide what a new version knows.
//!
//! **Invariant:** whatever is there, there are prices. A file that cannot be used is said, and the
//! built-in list is in use.

use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;

use crate::cli::Environment;
use crate::error::{Error, Result, system_code};
use crate::price_list::{Placed, PriceList};
use crate::store::atomic;
use crate::store::file::read_bounded;
use crate::time::unix_ms;
use crate::usage::prices::Prices;

const NAME: &str = "prices.json";
/// Bytes of a list.
const MAX_BYTES: u64 = 1 << 20;

/// The price list in use. Fails only where the process cannot open any file at present, so that the
/// caller keeps the list that it has, and tries again.
pub fn load(env: &Environment) -> Result<PriceList> {
    let Ok(path) = env.data_dir().map(|it| it.join(NAME)) else {
        return Ok(PriceList { prices: Prices::builtin(), path: None, placed: Placed::Nothing });
    };
    let builtin = Prices::builtin();
    let damaged = |reason: String| {
        let changed = fs_err::symlink_metadata(&path).and_then(|it| it.modified());
        Placed::Damaged { reason, since_ms: changed.map_or(0, unix_ms) }
    };
    // Dotfile managers put a link there, which `read_bounded` does not follow.
    let real = fs_err::canonicalize(&path);
    let (prices, placed) = match real.and_then(|real| read_bounded(&real, MAX_BYTES)) {
        Ok(bytes) => match Prices::parse(&bytes) {
            Ok(prices) if prices.as_of >= builtin.as_of => (prices, Placed::Used),
            Ok(prices) => (builtin, Placed::Older(prices.as_of)),
            Err(err) => (builtin, damaged(err.to_string())),
        },
        Err(err) if err.kind() == io::ErrorKind::NotFound && !is_link(&path) => {
            (builtin, Placed::Nothing)
        }
        Err(err) if is_shortage(&err) => {
            return Err(Error::new(format!("cannot read {}", path.display())).because(err));
        }
        Err(err) => (builtin, damaged(err.to_string())),
    };
    Ok(PriceList { prices, path: Some(path), placed })
}

/// Whether the system had nothing left to open a file with, which says nothing of the file.
fn is_shortage(err: &io::Error) -> bool {
    let shortages = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
    shortages.iter().any(|it| system_code(err) == Some(*it as i32))
}

fn is_link(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}

/// Puts a list in place. Returns what to tell the user. A watcher that runs notices the file.
pub fn update(env: &Environment, file: &Path) -> Result<String> {
    let doing = || Error::new(format!("cannot take the price list {}", file.display()));
    let bytes = read(file).map_err(|err| doing().because(err))?;
    let prices = Prices::parse(&bytes).map_err(|err| {
        let hint = "docs/prices.md describes the format; nothing was changed";
        doing().because(err).hint(hint)
    })?;
    let builtin = Prices::builtin().as_of;
    if prices.as_of < builtin {
        let what = format!("it is of {}, and the built-in list is of {builtin}", prices.as_of);
        let hint = "the later one is always in use; for a price of your own, set \
                    [prices.\"MODEL\"] in the configuration";
        return Err(doing().because(what).hint(hint));
    }
    let dir = env.data_dir()?;
    let place = || Error::new(format!("cannot put the price list into {}", dir.display()));
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&dir).map_err(|err| place().because(err))?;
    fs_err::set_permissions(&dir, PermissionsExt::from_mode(0o700))
        .and_then(|()| atomic::write(&dir, NAME, &bytes))
        .map_err(|err| place().because(err))?;
    let n_models = prices.models().count();
    Ok(format!(
        "the price list of {} with {n_models} models is in use: {}",
        prices.as_of,
        dir.join(NAME).display()
    ))
}

/// Reads the file that the user names. It may be a pipe, as in `--update <(curl …)`.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(file)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Home {
            Home(tempfile::tempdir().unwrap())
        }

        fn env(&self) -> Environment {
            let all = vec![("HOME".into(), self.0.path().into())];
            Environment { all, args: Vec::new() }
        }

        fn placed(&self) -> std::path::PathBuf {
            self.0.path().join(".local/share/ccstatusd/prices.json")
        }

        fn update(&self, text: &str) -> Result<String> {
            let file = self.0.path().join("new.json");
            fs_err::write(&file, text).unwrap();
            update(&self.env(), &file)
        }

        fn load(&self) -> PriceList {
            load(&self.env()).unwrap()
        }
    }

    fn list(as_of: &str) -> String {
        let text = include_str!("usage/prices.json");
        let builtin = Prices::builtin().as_of;
        text.replace(&format!("\"as_of\": \"{builtin}\""), &format!("\"as_of\": \"{as_of}\""))
    }

    #[test]
    fn a_newer_list_is_taken_and_put_in_place_for_the_user_alone() {
        let home = Home::new();
        assert_eq!(home.load().placed, Placed::Nothing);
        let said = home.update(&list("2999-01-01")).unwrap();
        assert!(said.contains("of 2999-01-01 with"), "{said}");
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.placed()), 0o600);
        assert_eq!(mode(home.placed().parent().unwrap()), 0o700);
        let loaded = home.load();
        assert_eq!((loaded.placed, loaded.prices.as_of.year()), (Placed::Used, 2999));
    }

    #[test]
    fn a_list_that_is_refused_changes_nothing() {
        let home = Home::new();
        home.update(&list("2999-01-01")).unwrap();
        let refused = |text: &str| home.update(text).unwrap_err().to_string();
        let err = refused(&list("2999-01-02").replace("\"input\": 5.0", "\"input\": \"5\""));
        assert!(err.contains(".input: it must be a number"), "{err}");
        assert!(err.contains("nothing was changed"), "{err}");
        let err = refused(&list("2020-01-01"));
        assert!(err.contains("it is of 2020-01-01, and the built-in list is of"), "{err}");
        let err = refused(&" ".repeat(1 << 21));
        assert!(err.contains("more than 1048576 bytes"), "{err}");
        let err = update(&home.env(), &home.0.path().join("gone")).unwrap_err().to_string();
        assert!(err.contains("gone"), "{err}");
        assert_eq!(home.load().prices.as_of.to_string(), "2999-01-01");
    }

    #[test]
    fn of_two_lists_the_one_with_the_later_day_is_in_use() {
        let home = Home::new();
        let today = Prices::builtin().as_of;
        home.update(&list(&today.to_string())).unwrap();
        assert_eq!(home.load().placed, Placed::Used);
        fs_err::write(home.placed(), list("2020-01-01")).unwrap();
        let loaded = home.load();
        assert_eq!(loaded.placed, Placed::Older(jiff::civil::Date::constant(2020, 1, 1)));
        assert_eq!(loaded.prices, Prices::builtin());
    }

    #[test]
    fn a_damaged_list_is_said_and_the_built_in_one_is_in_use() {
        let home = Home::new();
        home.update(&list("2999-01-01")).unwrap();
        let place = home.placed();
        for text in ["", "{", "[]", "\0\0\0", &" ".repeat(1 << 21)] {
            fs_err::write(&place, text).unwrap();
            let loaded = home.load();
            assert!(matches!(loaded.placed, Placed::Damaged { since_ms: 1.., .. }), "{loaded:?}");
            assert_eq!(loaded.prices, Prices::builtin());
        }
        fs_err::remove_file(&place).unwrap();
        fs_err::os::unix::fs::symlink("gone", &place).unwrap();
        assert!(matches!(home.load().placed, Placed::Damaged { .. }));
        fs_err::remove_file(&place).unwrap();
        fs_err::create_dir(&place).unwrap();
        assert!(matches!(home.load().placed, Placed::Damaged { .. }));
        fs_err::remove_dir(&place).unwrap();
        // Dotfile managers put links there.
        fs_err::write(home.0.path().join("real.json"), list("2999-01-01")).unwrap();
        fs_err::os::unix::fs::symlink(home.0.path().join("real.json"), &place).unwrap();
        assert_eq!(home.load().placed, Placed::Used);
    }
}
