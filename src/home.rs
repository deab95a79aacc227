//! The home directory, by every path that leads to it: where `/home` is a link, the client names
//! the directories in it by their real paths.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cli::Environment;
use crate::error::{Error, Result};

/// Fails if `HOME` is the home directory of another user, as after `sudo`, which may leave it as it
/// was. The configuration there names programs that the caller would run in its own name.
pub fn check(env: &Environment) -> Result<()> {
    let Some(home) = env.home() else { return Ok(()) };
    let owner = fs_err::metadata(home).ok().map(|it| it.uid());
    match owner.filter(|it| *it != nix::unistd::geteuid().as_raw()) {
        None => Ok(()),
        Some(owner) => {
            let what = format!("HOME is {}, which belongs to user {owner}", home.display());
            let hint = "run it as that user, or set HOME to your own directory (`sudo -H` does)";
            Err(Error::new(what).hint(hint))
        }
    }
}

/// Where the home directory is.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// `HOME`, and its real path where that is another one.
    paths: Vec<String>,
    /// The device and the inode.
    place: Option<(u64, u64)>,
}

impl Home {
    pub fn find(env: &Environment) -> Home {
        let Some(home) = env.home() else { return Home::default() };
        let real = fs_err::canonicalize(home).ok().filter(|it| it != home);
        let paths = [Some(home), real.as_deref()].into_iter().flatten();
        Home {
            paths: paths.filter_map(Path::to_str).map(str::to_owned).collect(),
            place: place(home),
        }
    }

    /// The path by which `dir` leads through the home directory; `None` where it does not. This
    /// compares paths only, so it never hangs.
    pub fn above<'a>(&'a self, dir: &str) -> Option<&'a str> {
        self.paths.iter().map(String::as_str).find(|it| Path::new(dir).starts_with(it))
    }

    /// Like [`Home::above`], and recognises the home directory under another path as well, such as
    /// a second link to the directory that it is in.
    ///
    /// It looks only at directories that are called like the home directory: any other could be on
    /// a file system that hangs.
    pub fn found_above<'a>(&'a self, dir: &'a str) -> Option<&'a str> {
        self.above(dir).or_else(|| {
            let own_place = self.place?;
            let names: Vec<_> = self.paths.iter().map(|it| Path::new(it).file_name()).collect();
            let mut above = Path::new(dir).ancestors().filter(|it| names.contains(&it.file_name()));
            above.find(|it| place(it) == Some(own_place))?.to_str()
        })
    }
}

fn place(dir: &Path) -> Option<(u64, u64)> {
    fs_err::metadata(dir).ok().map(|it| (it.dev(), it.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_directory_is_told_by_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        fs_err::create_dir_all(path("var/home/u/proj")).unwrap();
        fs_err::create_dir_all(path("other/u/proj")).unwrap();
        for link in ["home", "homes"] {
            fs_err::os::unix::fs::symlink(path("var/home"), path(link)).unwrap();
        }
        for home in ["var/home/u", "home/u", "home/u/", "var/../home/u"] {
            let all = vec![("HOME".into(), path(home).into())];
            let home = Home::find(&Environment { all, args: Vec::new() });
            let check = |dir: &str, expected: Option<&str>| {
                let (dir, expected) = (path(dir), expected.map(path));
                let found = home.found_above(&dir).map(|it| it.trim_end_matches('/'));
                assert_eq!(found, expected.as_deref(), "{dir}");
            };
            for same in ["var/home/u", "homes/u"] {
                check(same, Some(same));
                check(&format!("{same}/proj"), Some(same));
                check(&format!("{same}/gone/since"), Some(same));
            }
            check("other/u/proj", None);
            check("var/home/u2", None);
            check("var/home", None);
            assert_eq!(home.above(&path("homes/u")), None);
            assert!(home.above(&path("var/home/u/proj")).is_some());
        }
    }

    #[test]
    fn without_a_home_directory_nothing_is_in_it() {
        assert_eq!(Home::default().found_above("/h/w"), None);
        let gone = Home::find(&Environment {
            all: vec![("HOME".into(), "/gone/u".into())],
            args: Vec::new(),
        });
        assert_eq!(gone.found_above("/gone/u/w"), Some("/gone/u"));
        assert_eq!(gone.found_above("/other/u/w"), None);
    }
}
