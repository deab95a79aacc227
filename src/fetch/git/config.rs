//! PURE. What git's configuration says of a repository, and which part of the repository's own
//! configuration names no program.
//!
//! Git starts programs that its configuration names: filters, file monitors, hooks, transports and
//! more with each version. Whoever can write into a working directory, such as an agent that is
//! confined to it, can write such a configuration. So git is given the repository's own settings
//! only as far as [`ALLOWED`] lists them.
//!
//! See docs/decisions/030-a-repository-names-no-program.md.

use std::collections::BTreeMap;

/// The arguments of the call whose output [`Config::parse`] reads.
pub(super) const LIST: [&str; 4] = ["config", "--list", "-z", "--show-scope"];

/// The settings of a repository that change what `git status`, `git describe` or the search for an
/// upstream report, and that name no program. A `*` stands for the part in the middle of a name,
/// such as that of a remote.
const ALLOWED: [&str; 36] = [
    "branch.*.merge",
    "branch.*.remote",
    "core.attributesfile",
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.checkroundtripencoding",
    "core.checkstat",
    "core.commitgraph",
    "core.eol",
    "core.excludesfile",
    "core.filemode",
    "core.ignorecase",
    "core.ignorestat",
    "core.multipackindex",
    "core.precomposeunicode",
    "core.preloadindex",
    "core.protecthfs",
    "core.protectntfs",
    "core.repositoryformatversion",
    "core.safecrlf",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
    "core.trustctime",
    "core.untrackedcache",
    "core.usereplacerefs",
    "core.warnambiguousrefs",
    "diff.renamelimit",
    "diff.renames",
    "index.sparse",
    "remote.*.fetch",
    // Conditions of the user's own configuration look at it.
    "remote.*.url",
    "status.aheadbehind",
    "status.renamelimit",
    "status.renames",
    "status.showuntrackedfiles",
];

/// Extensions of the repository format that git is not told of: the first fetches what is missing,
/// the second reads one more file of the repository's.
const IGNORED_EXTENSIONS: [&str; 2] = ["extensions.partialclone", "extensions.worktreeconfig"];

/// What git's configuration says, from all its files, in the order in which a later one wins.
#[derive(Debug, Default)]
pub(super) struct Config<'a> {
    settings: Vec<Setting<'a>>,
}

#[derive(Debug)]
struct Setting<'a> {
    scope: Scope,
    /// The section and the last part in lower case, the part in between as it was written.
    name: &'a [u8],
    /// `None` where the line is the name alone, which means "true".
    value: Option<&'a [u8]>,
}

/// The submodules of which no change is to be reported.
#[derive(Debug, Default)]
pub(super) struct IgnoredSubmodules {
    /// By the path of each submodule that has a setting of its own: whether it is ignored.
    by_path: BTreeMap<Vec<u8>, bool>,
    /// Whether all others are.
    others: bool,
}

impl IgnoredSubmodules {
    /// Whether the submodule at this path in the working tree is ignored.
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.by_path.get(path).copied().unwrap_or(self.others)
    }
}

/// Whose file a setting is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// The user's or the system's.
    User,
    /// The repository's, or one that it includes.
    Repository,
    /// The working tree's, or one that it includes.
    WorkTree,
}

impl Config<'_> {
    /// Reads the output of [`LIST`]. `None` where it ends within a setting.
    pub(super) fn parse(output: &[u8]) -> Option<Config<'_>> {
        if output.is_empty() {
            return Some(Config::default());
        }
        let mut fields = output.strip_suffix(b"\0")?.split(|it| *it == 0);
        let mut settings = Vec::new();
        while let Some(scope) = fields.next() {
            let setting = fields.next()?;
            let scope = match scope {
                b"local" => Scope::Repository,
                b"worktree" => Scope::WorkTree,
                // Those that we set on the command line among them.
                _ => Scope::User,
            };
            let (name, value) = match memchr::memchr(b'\n', setting) {
                Some(end) => (&setting[..end], Some(&setting[end + 1..])),
                None => (setting, None),
            };
            settings.push(Setting { scope, name, value });
        }
        Some(Config { settings })
    }

    /// Whether git read no setting from the repository. Mostly it refused to read it.
    pub(super) fn has_only_the_users(&self) -> bool {
        self.settings.iter().all(|it| it.scope == Scope::User)
    }

    /// Whether `status.aheadBehind` allows to count commits.
    pub(super) fn counts_distance(&self) -> bool {
        self.last("status.aheadbehind").is_none_or(Setting::is_true)
    }

    /// Whether the repository has no files of its own. `is_linked` says whether the working tree is
    /// a linked one, to which the setting of the repository does not apply.
    pub(super) fn is_bare(&self, is_linked: bool) -> bool {
        self.last_of_tree("core.bare", is_linked).is_some_and(Setting::is_true)
    }

    /// The top directory of the files, if the repository states it: absolute, or relative to the
    /// git directory. For `is_linked` see [`Config::is_bare`].
    pub(super) fn work_tree(&self, is_linked: bool) -> Option<&[u8]> {
        self.last_of_tree("core.worktree", is_linked)?.value
    }

    /// Whether the repository names a remote.
    pub(super) fn has_remote(&self) -> bool {
        let is_remote = |name| split(name).is_some_and(|parts| parts.0 == b"remote");
        self.settings.iter().any(|it| it.scope != Scope::User && is_remote(it.name))
    }

    /// The submodules of which no change is to be reported. `modules` is what `.gitmodules` says.
    /// The settings of a submodule elsewhere win over those there, and both over the setting for
    /// all submodules.
    pub(super) fn ignored_submodules(&self, modules: &Config<'_>) -> IgnoredSubmodules {
        let settings = modules.of_submodules(b"ignore").chain(self.of_submodules(b"ignore"));
        let by_name: BTreeMap<&[u8], bool> =
            settings.map(|(name, value)| (name, value == b"all")).collect();
        let paths = modules.of_submodules(b"path");
        let by_path = paths.filter_map(|(name, path)| Some((path.to_owned(), *by_name.get(name)?)));
        let for_all = self.last("diff.ignoresubmodules").and_then(|it| it.value);
        IgnoredSubmodules { by_path: by_path.collect(), others: for_all == Some(b"all") }
    }

    /// The names of submodules and the value of this setting of each, in order.
    fn of_submodules(&self, key: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.settings.iter().filter_map(move |setting| match split(setting.name)? {
            (b"submodule", name, last) if last == key => Some((name, setting.value?)),
            _ => None,
        })
    }

    /// A configuration file with those of the repository's own settings that name no program.
    pub(super) fn without_programs(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for setting in self.settings.iter().filter(|it| it.scope != Scope::User) {
            if is_allowed(setting.name) {
                setting.write(&mut file);
            }
        }
        file
    }

    fn last(&self, name: &str) -> Option<&Setting<'_>> {
        self.settings.iter().rfind(|it| it.name == name.as_bytes())
    }

    fn last_of_tree(&self, name: &str, is_linked: bool) -> Option<&Setting<'_>> {
        let concerns = |setting: &&Setting<'_>| match setting.scope {
            Scope::User => false,
            Scope::Repository => !is_linked,
            Scope::WorkTree => true,
        };
        self.settings.iter().filter(concerns).rfind(|it| it.name == name.as_bytes())
    }
}

impl Setting<'_> {
    fn is_true(&self) -> bool {
        let Some(value) = self.value else { return true };
        !matches!(value.to_ascii_lowercase().as_slice(), b"false" | b"no" | b"off" | b"0" | b"")
    }

    /// Appends the lines that git reads as this setting.
    fn write(&self, file: &mut Vec<u8>) {
        let quote = |file: &mut Vec<u8>, text: &[u8]| {
            file.push(b'"');
            for byte in text {
                match byte {
                    b'\n' => file.extend(b"\\n"),
                    b'"' | b'\\' => file.extend([b'\\', *byte]),
                    _ => file.push(*byte),
                }
            }
            file.push(b'"');
        };
        let (section, last) = match split(self.name) {
            Some((section, middle, last)) => {
                file.push(b'[');
                file.extend(section);
                file.push(b' ');
                quote(file, middle);
                (None, last)
            }
            None => {
                let dot = memchr::memchr(b'.', self.name).unwrap_or(0);
                (Some(&self.name[..dot]), self.name.get(dot + 1..).unwrap_or_default())
            }
        };
        if let Some(section) = section {
            file.push(b'[');
            file.extend(section);
        }
        file.extend(b"]\n\t");
        file.extend(last);
        if let Some(value) = self.value {
            file.extend(b" = ");
            quote(file, value);
        }
        file.push(b'\n');
    }
}

/// The section, the middle and the last part of a name; `None` where it has no middle.
fn split(name: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (first, last) = (memchr::memchr(b'.', name)?, memchr::memrchr(b'.', name)?);
    (first < last).then(|| (&name[..first], &name[first + 1..last], &name[last + 1..]))
}

fn is_allowed(name: &[u8]) -> bool {
    let is = |allowed: &str| match (allowed.split_once(".*."), split(name)) {
        (Some((section, last)), Some(parts)) => {
            (parts.0, parts.2) == (section.as_bytes(), last.as_bytes())
        }
        (None, None) => name == allowed.as_bytes(),
        _ => false,
    };
    let is_extension = name.starts_with(b"extensions.") && split(name).is_none();
    ALLOWED.into_iter().any(is)
        || is_extension && !IGNORED_EXTENSIONS.iter().any(|it| name == it.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_programs(output: &str) -> String {
        String::from_utf8(Config::parse(output.as_bytes()).unwrap().without_programs()).unwrap()
    }

    #[test]
    fn only_listed_settings_of_the_repository_are_written() {
        let output = "global\0status.renames\nfalse\0\
                      local\0core.filemode\nfalse\0\
                      local\0core.fsmonitor\n/p/x\0\
                      local\0filter.x.clean\ny\0\
                      local\0core.ignorecase\0\
                      local\0remote.a.b.url\nhttps://h/\0\
                      local\0remote.a.uploadpack\nz\0\
                      local\0extensions.objectformat\nsha256\0\
                      local\0extensions.partialclone\norigin\0\
                      worktree\0status.renames\ntrue\0\
                      command\0core.eol\nlf\0";
        assert_eq!(
            without_programs(output),
            "[core]\n\tfilemode = \"false\"\n[core]\n\tignorecase\n\
             [remote \"a.b\"]\n\turl = \"https://h/\"\n\
             [extensions]\n\tobjectformat = \"sha256\"\n[status]\n\trenames = \"true\"\n"
        );
    }

    #[test]
    fn a_value_cannot_end_its_setting() {
        let output = "local\0branch.a\"]\\.merge\na\"\n[filter \\x]\tclean=#;\0";
        assert_eq!(
            without_programs(output),
            "[branch \"a\\\"]\\\\\"]\n\tmerge = \"a\\\"\\n[filter \\\\x]\tclean=#;\"\n"
        );
    }

    #[test]
    fn names_that_only_resemble_listed_ones_are_left_out() {
        for name in [
            "core.x.filemode",
            "branch.merge",
            "remote.url",
            "remote.a.url2",
            "extensions.a.b",
            "xcore.filemode",
            "status.a.renames",
            "include.path",
            "includeif.gitdir:/.path",
        ] {
            assert_eq!(without_programs(&format!("local\0{name}\nv\0")), "", "{name}");
        }
    }

    #[test]
    fn half_an_output_is_none() {
        let output = b"local\0a.b\nc\0global\0d.e\0";
        assert!(Config::parse(output).is_some());
        for end in 1..output.len() {
            let has_settings = Config::parse(&output[..end]).map(|it| it.settings.len());
            assert!(has_settings.is_none_or(|n| n == 1), "{}", output[..end].escape_ascii());
        }
    }

    #[test]
    fn the_settings_of_the_repository_do_not_concern_a_linked_working_tree() {
        let output = b"global\0core.bare\ntrue\0local\0core.bare\ntrue\0local\0core.worktree\n/w\0";
        let config = Config::parse(output).unwrap();
        assert_eq!((config.is_bare(false), config.is_bare(true)), (true, false));
        assert_eq!((config.work_tree(false), config.work_tree(true)), (Some(&b"/w"[..]), None));
        let output = b"local\0core.bare\ntrue\0worktree\0core.bare\nOff\0";
        assert!(!Config::parse(output).unwrap().is_bare(false));
    }

    #[test]
    fn the_setting_of_a_submodule_wins_over_that_for_all() {
        let modules = b"command\0submodule.a.path\nx/a\0command\0submodule.a.ignore\nall\0\
                        command\0submodule.b.path\nb\0command\0submodule.b.ignore\nall\0";
        let modules = Config::parse(modules).unwrap();
        let config = b"local\0submodule.b.ignore\nnone\0";
        let ignored = Config::parse(config).unwrap().ignored_submodules(&modules);
        let found = ["x/a", "a", "b", "c"].map(|it| ignored.contains(it.as_bytes()));
        assert_eq!(found, [true, false, false, false]);
        let config = b"global\0diff.ignoresubmodules\nall\0local\0submodule.b.ignore\nnone\0";
        let ignored = Config::parse(config).unwrap().ignored_submodules(&modules);
        let found = ["x/a", "b", "c"].map(|it| ignored.contains(it.as_bytes()));
        assert_eq!(found, [true, false, true]);
    }
}
