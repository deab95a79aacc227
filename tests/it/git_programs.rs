//! No program that a repository names runs because we ask git about it.
//!
//! [`WAYS`] is the list of all ways that are known. Add to it what you find: a setting or an
//! attribute by which a repository makes any command of git start a program.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ccstatusd::fetch::exec::Runner;
use ccstatusd::fetch::git::status::{GIT_LIMITS, Question, query};
use ccstatusd::fetch::git::tree::WorkTree;
use ccstatusd::store::lock::FetchLock;
use ccstatusd::store::schema::Repo;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::sandbox::{CAP, env_path, fetch_lock, is_met_within, write_script};

/// A way to make git start a program.
struct Way {
    what: &'static str,
    /// Prepares the repository, in its top directory. `$evil` is a program that leaves a mark, and
    /// hands on the beginning of its standard input.
    prepare: &'static str,
    /// The command of git that starts the program. It shows that the way leads there at all.
    starts: &'static str,
}

const fn way(what: &'static str, prepare: &'static str, starts: &'static str) -> Way {
    Way { what, prepare, starts }
}

/// `f` is committed, and differs from the index in its times alone. `sub` is a submodule with a
/// commit that is not recorded, and in which `f` is in the same state.
const WAYS: [Way; 44] = [
    way("a clean filter", "git config filter.x.clean $evil; echo '* filter=x' > .gitattributes", "git status"),
    way(
        "a filter with a protocol",
        "git config filter.x.process $evil; echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "a filter that must not fail",
        "git config filter.x.clean $evil; git config filter.x.required true
         echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "attributes in .git/info",
        "git config filter.x.clean $evil; mkdir -p .git/info; echo '* filter=x' > .git/info/attributes",
        "git status",
    ),
    way(
        "attributes of a configured file",
        "git config filter.x.clean $evil; echo '* filter=x' > a; git config core.attributesFile $PWD/a",
        "git status",
    ),
    way(
        "a filter by the name of one of the user's",
        "git config --global filter.lfs.clean cat; git config filter.lfs.clean $evil
         echo '* filter=lfs' > .gitattributes",
        "git status",
    ),
    way(
        "a filter whose name has dots and quotes",
        "git config 'filter.a.\"b\\.clean' $evil; printf '* \"filter=a.\\\\\"b\\\\\\\\\"\\n* filter=a.\"b\\\\\\n' > .gitattributes",
        "git status",
    ),
    way(
        "a filter in an included file",
        "git config -f ../inc filter.x.clean $evil; git config include.path $PWD/../inc
         echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "a filter in a file that is included on a condition",
        "git config -f inc filter.x.clean $evil; git config 'includeIf.onbranch:**.path' $PWD/inc
         echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "a filter in the configuration of the working tree",
        "git config extensions.worktreeConfig true; git config --worktree filter.x.clean $evil
         echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "a filter of a submodule, by the repository's setting for all submodules",
        "git -C sub config filter.x.clean $evil; echo '* filter=x' > sub/.gitattributes
         git config diff.ignoreSubmodules none",
        "git status",
    ),
    way(
        "a filter of a submodule, by its own setting in .gitmodules",
        "git -C sub config filter.x.clean $evil; echo '* filter=x' > sub/.gitattributes
         git config -f .gitmodules submodule.sub.ignore none",
        "git status",
    ),
    way(
        "a file monitor of a submodule",
        "git -C sub config core.fsmonitor $evil; git config submodule.sub.ignore none",
        "git status",
    ),
    way("a file monitor", "git config core.fsmonitor $evil", "git status"),
    way("a hook", "cp $evil .git/hooks/post-index-change", "git status"),
    way(
        "a hook in a configured directory",
        "mkdir h; cp $evil h/post-index-change; git config core.hooksPath $PWD/h",
        "git status",
    ),
    way("a summary of submodules", "git config status.submoduleSummary true; git -C sub config core.fsmonitor $evil; git config diff.ignoreSubmodules none", "git status"),
    way(
        "a fetch of missing objects",
        "git mv f g; echo x >> g; git add g; echo x >> f2; git commit -qam g; git mv g h; echo y >> h; git add h
         git config core.repositoryFormatVersion 1; git config extensions.partialClone origin
         git config remote.origin.promisor true; git config remote.origin.url \"ext::$evil\"
         git config protocol.ext.allow always
         rm -f .git/objects/$(git rev-parse HEAD:g | sed 's,^..,&/,')",
        "git diff HEAD",
    ),
    way("an external diff", "git config diff.external $evil; echo x >> f", "git diff"),
    way(
        "a text of what is no text",
        "git config diff.x.textconv $evil; echo '* diff=x' > .gitattributes; echo x >> f",
        "git diff",
    ),
    way(
        "a driver of differences",
        "git config diff.x.command $evil; echo '* diff=x' > .gitattributes; echo x >> f",
        "git diff",
    ),
    way(
        "a smudge filter",
        "git config filter.x.smudge $evil; echo '* filter=x' > .gitattributes; rm f",
        "git checkout f",
    ),
    way(
        "a merge driver",
        "git config merge.x.driver $evil; echo '* merge=x' > .gitattributes
         git checkout -qb other; echo o > f; git commit -qam o; git checkout -q main; echo m > f; git commit -qam m",
        "git merge other",
    ),
    way("a helper for passwords", "git config credential.helper $evil", "echo url=https://h | git credential fill"),
    way("a program for connections", "git config core.sshCommand $evil; git remote set-url origin ssh://h/p", "git fetch"),
    way("a program for signatures", "git config gpg.program $evil", "git commit -q --allow-empty -S -m x"),
    way(
        "a filter in a file that is included for the path of the repository",
        "git config -f inc filter.x.clean $evil; git config \"includeIf.gitdir:$PWD/.path\" $PWD/inc
         echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "a filter in another common directory",
        "mkdir ../c; cp -R .git/. ../c; git config -f ../c/config filter.x.clean $evil
         echo \"$PWD/../c\" > .git/commondir; echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "a filter for files elsewhere",
        "mkdir ../w; cp f ../w; git config core.worktree $PWD/../w; git config filter.x.clean $evil
         echo '* filter=x' > ../w/.gitattributes; touch -d 2001-01-01 ../w/f",
        "git status",
    ),
    way(
        "a filter in a repository that a file leads to",
        "mv .git ../g; echo 'gitdir: ../g' > .git; git config filter.x.clean $evil
         echo '* filter=x' > .gitattributes",
        "git status",
    ),
    way(
        "an alias",
        "git config alias.x \"!$evil\"; git config alias.status \"!$evil\"
         git config alias.config \"!$evil\"; git config alias.describe \"!$evil\"",
        "git x",
    ),
    way("a program that asks for passwords", "git config core.askPass $evil", "echo url=https://h | git credential fill"),
    way("a program on the other side", "git config remote.origin.uploadpack $evil", "git fetch"),
    way("a proxy", "git config core.gitProxy $evil; git remote set-url origin git://h/p", "git fetch"),
    way(
        "a program for the references of borrowed objects",
        "echo $PWD/../origin.git/objects > .git/objects/info/alternates
         git config core.alternateRefsCommand $evil; git -C ../origin.git branch more main
         git clone -q ../origin.git ../more; git -C ../more commit -q --allow-empty -m more
         git -C ../more push -q origin main",
        "git fetch",
    ),
    way("a program for trailers", "git config trailer.x.command $evil", "echo x | git interpret-trailers --trailer x=1"),
    way("a program for archives", "git config tar.x.command $evil", "git archive --format=x HEAD"),
    way("an editor of a rebase", "git config sequence.editor $evil", "git rebase -i HEAD~1"),
    way(
        "a step of a rebase that waits",
        "GIT_SEQUENCE_EDITOR=\"sed -i.bak '1i\\
         break'\" git rebase -qi HEAD~1; echo \"exec $evil\" > .git/rebase-merge/git-rebase-todo",
        "git rebase --continue",
    ),
    way(
        "a program that shows differences",
        "git config difftool.x.cmd $evil; git config diff.tool x; echo x >> f",
        "git difftool -y",
    ),
    way(
        "a program for signatures that are shown",
        "git config gpg.program $evil; git config log.showSignature true
         commit=$(git cat-file commit HEAD | sed '/^committer/a\\
gpgsig -----BEGIN PGP SIGNATURE-----' | git hash-object -wt commit --stdin); git update-ref HEAD $commit",
        "git log -1",
    ),
    way("a command to update a submodule", "git config submodule.sub.update \"!$evil\"", "git submodule update"),
    way("a hook of references", "cp $evil .git/hooks/reference-transaction", "git update-ref refs/heads/x HEAD"),
    way("an editor", "git config core.editor $evil", "git commit --allow-empty"),
];

/// A private HOME with the repository `p`.
struct Home {
    home: TempDir,
    lock: FetchLock,
    /// The directory of the git to test.
    git_dir: PathBuf,
}

impl Home {
    fn new(git_dir: &Path) -> Home {
        let home = tempfile::tempdir().unwrap();
        let lock = fetch_lock(&home.path().join("state"));
        let home = Home { home, lock, git_dir: git_dir.to_owned() };
        let config = "[user]\nname = n\nemail = n@example.org\n[init]\ndefaultBranch = main\n\
                      [protocol \"file\"]\nallow = always\n[gc]\nauto = 0\n[maintenance]\nauto = false\n";
        fs_err::write(home.path(".gitconfig"), config).unwrap();
        write_script(
            &home.path("evil"),
            &format!(
                "#!/bin/sh\ntouch '{}'\nexec dd bs=64 count=1 2>/dev/null\n",
                home.path("ran").display()
            ),
        );
        fs_err::create_dir(home.path("p")).unwrap();
        home.sh("git init -q --bare ../origin.git; git init -q; echo 1 > f; git add f
             git commit -qm one; git remote add origin ../origin.git; git push -qu origin main
             git submodule --quiet add ../origin.git sub; git commit -qm sub
             git -C sub commit -q --allow-empty -m new");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        fs_err::canonicalize(self.home.path()).unwrap().join(name)
    }

    fn git_path(&self) -> OsString {
        let mut path = self.git_dir.clone().into_os_string();
        path.push(":");
        path.push(env_path());
        path
    }

    #[expect(clippy::disallowed_methods, reason = "the user at work")]
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(self.path("p"))
            .env_clear()
            .env("PATH", self.git_path())
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("evil", self.path("evil"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a script in `p`, as the user.
    #[track_caller]
    fn sh(&self, script: &str) {
        let output = self.command(&format!("set -e; {script}")).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// Prepares a way, so that git must look into the files.
    #[track_caller]
    fn prepare(&self, way: &Way) {
        self.sh(way.prepare);
        self.sh("touch -d 2001-01-01 f sub/f 2>/dev/null || true");
        fs_err::remove_file(self.path("ran")).ok();
    }

    fn status(&self, is_trusted: bool) -> Repo {
        self.status_with_path(&self.git_path(), is_trusted)
    }

    fn status_with_path(&self, path: &OsStr, is_trusted: bool) -> Repo {
        let env = [("PATH", path), ("HOME", self.home.path().as_os_str())];
        let env = env.map(|(name, value)| (name.into(), value.into()));
        let runner = Runner::new(env!("CARGO_BIN_EXE_ccstatusd").into(), env);
        let tree = WorkTree::discover(&self.path("p")).unwrap().expect("there is a repository");
        let question = Question { tree, is_trusted, limits: GIT_LIMITS };
        query(&runner, &self.lock, &question, 0).unwrap()
    }

    /// Whether this command of the user's runs the program of the repository. It may well fail or
    /// hang after it has started the program.
    fn runs_it(&self, script: &str) -> bool {
        let mut command = self.command(script);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        is_met_within(CAP, || self.has_run() || child.try_wait().unwrap().is_some());
        killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).ok();
        child.wait().unwrap();
        self.has_run()
    }

    /// Whether the program of the repository has run.
    fn has_run(&self) -> bool {
        self.path("ran").exists()
    }
}

/// The directories of all gits in the `PATH`, which may be of several versions.
fn git_dirs() -> Vec<PathBuf> {
    let path = env_path();
    let dirs = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    let mut programs = BTreeSet::new();
    let mut is_another = |dir: &PathBuf| {
        let Ok(program) = fs_err::canonicalize(dir.join("git")) else { return false };
        fs_err::metadata(&program).is_ok_and(|it| it.is_file()) && programs.insert(program)
    };
    let dirs: Vec<_> = dirs.filter(|it| is_another(it)).collect();
    assert!(!dirs.is_empty(), "git is installed");
    dirs
}

#[test]
fn nothing_runs_that_a_repository_names() {
    for git_dir in git_dirs() {
        for way in &WAYS {
            let home = Home::new(&git_dir);
            home.prepare(way);
            home.status(false);
            assert!(!home.has_run(), "{} ran with {}", way.what, git_dir.display());
            let git = git_dir.display();
            assert!(home.runs_it(way.starts), "{}: `{}` of {git} does not", way.what, way.starts);
        }
    }
}

/// Whoever changes the repository between two calls of git gains nothing.
#[test]
fn nothing_runs_that_is_named_after_the_configuration_was_read() {
    let home = Home::new(&git_dirs()[0]);
    fs_err::create_dir(home.path("bin")).unwrap();
    let script = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\ncd '{p}'\ngit \"$@\"\ncode=$?\n\
         git config -f .git/config filter.x.clean '{evil}'\n\
         git config -f .git/config core.fsmonitor '{evil}'\n\
         git config -f .git/config extensions.worktreeConfig true\n\
         git config -f .git/config.worktree filter.x.clean '{evil}'\n\
         echo '* filter=x' > .gitattributes\ntouch -d 2001-01-01 f\nexit $code\n",
        p = home.path("p").display(),
        evil = home.path("evil").display(),
    );
    write_script(&home.path("bin/git"), &script);
    let mut path = home.path("bin").into_os_string();
    path.push(":");
    path.push(home.git_path());
    let repo = home.status_with_path(&path, false);
    assert_eq!(repo.untracked, 1, "the change came in time");
    assert!(!home.has_run());
    assert!(home.runs_it("git status"), "it would have run");
}

#[test]
fn filters_of_the_users_configuration_run() {
    for git_dir in git_dirs() {
        let home = Home::new(&git_dir);
        home.sh("echo 'f filter=up' > .gitattributes; git add .gitattributes; git commit -qm a");
        home.sh("git config --global filter.up.clean \"$evil | tr a-z A-Z\"");
        home.sh("echo abc > f; git add f; git commit -qm f; touch -d 2001-01-01 f; rm -f ../ran");
        let repo = home.status(false);
        assert!(home.has_run());
        assert_eq!((repo.unstaged, repo.staged), (1, 0), "the submodule alone differs");
    }
}

/// The user's configuration may apply to some repositories only.
#[test]
fn filters_that_the_user_configures_for_some_repositories_run_there() {
    let home = Home::new(&git_dirs()[0]);
    home.sh("git config -f ../inc filter.up.clean $evil");
    home.sh("git config --global includeIf.gitdir:$PWD/.path $PWD/../inc");
    home.sh("echo '* filter=up' > .gitattributes; touch -d 2001-01-01 f");
    home.status(false);
    assert!(home.has_run());
}

#[test]
fn filters_of_a_trusted_repository_run() {
    let home = Home::new(&git_dirs()[0]);
    home.prepare(&WAYS[0]);
    home.status(true);
    assert!(home.has_run());
}

#[test]
fn a_repository_is_trusted_if_all_its_configuration_lies_in_a_trusted_directory() {
    let home = Home::new(&git_dirs()[0]);
    home.sh("git worktree add -q ../linked; mkdir ../other; git init -q ../other/q");
    let lies_in = |tree: &str, dirs: &[&str]| {
        let dirs: Vec<_> = dirs.iter().map(|it| home.path(it)).collect();
        WorkTree::discover(&home.path(tree)).unwrap().unwrap().lies_in(&dirs)
    };
    assert!(lies_in("p", &["p"]) && lies_in("p", &["x", ""]) && lies_in("p", &["p/.git"]));
    assert!(lies_in("p/sub", &["p"]), "the repository of a submodule lies in that around it");
    assert!(lies_in("linked", &["p"]) && !lies_in("linked", &["linked"]));
    assert!(!lies_in("p", &[]) && !lies_in("p", &["other", "p/sub", "p2"]));
    // A working tree whose pointer somebody turned to a repository of their own.
    fs_err::write(
        home.path("linked/.git"),
        format!("gitdir: {}\n", home.path("other/q/.git").display()),
    )
    .unwrap();
    assert!(!lies_in("linked", &["p", "linked"]));
}
