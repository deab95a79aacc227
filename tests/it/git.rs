//! The state of real repositories, which of their directories are watched, and that nothing is
//! written into them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ccstatusd::fetch::exec::{RunLimits, Runner};
use ccstatusd::fetch::git;
use ccstatusd::fetch::git::status::{GitError, Question};
use ccstatusd::fetch::git::tree::WorkTree;
use ccstatusd::store::lock::FetchLock;
use ccstatusd::store::schema::Repo;
use tempfile::TempDir;

use crate::sandbox::{Sandbox, env_path, fetch_lock, repo_of, write_script};

/// A private HOME with the repository `p`: one commit of one file `f`, pushed to `origin.git`.
struct GitSandbox {
    home: TempDir,
    lock: FetchLock,
}

const FORMATS: [&str; 2] = ["files", "reftable"];

/// Makes the branch `topic`, whose only commit conflicts with the newest one of `main`.
const DIVERGE: &str = "git checkout -qb topic && echo t > f && git commit -qam t && \
                       git checkout -q main && echo m > f && git commit -qam m";

impl GitSandbox {
    fn new(ref_format: &str) -> GitSandbox {
        let home = tempfile::tempdir().unwrap();
        let lock = fetch_lock(&home.path().join("state"));
        let sandbox = GitSandbox { home, lock };
        let config = "[user]\nname = n\nemail = n@example.org\n\
                      [init]\ndefaultBranch = main\n\
                      [protocol \"file\"]\nallow = always\n\
                      [gc]\nauto = 0\n[maintenance]\nauto = false\n";
        fs_err::write(sandbox.path(".gitconfig"), config).unwrap();
        fs_err::create_dir(sandbox.path("p")).unwrap();
        sandbox.sh(&format!(
            "git init -q --bare --ref-format={ref_format} ../origin.git && \
             git init -q --ref-format={ref_format} && echo 1 > f && git add f && \
             git commit -qm one && git remote add origin ../origin.git && git push -qu origin main"
        ));
        sandbox
    }

    /// The path without symbolic links, as the search for working trees returns it.
    fn path(&self, name: &str) -> PathBuf {
        fs_err::canonicalize(self.home.path()).unwrap().join(name)
    }

    /// Runs a script in `p`.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "the user of the sandbox at work")]
    fn sh(&self, script: &str) {
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(self.path("p"))
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    #[track_caller]
    fn tree(&self, name: &str) -> WorkTree {
        WorkTree::discover(&self.path(name)).unwrap().expect("there is a repository")
    }

    #[track_caller]
    fn status(&self, name: &str) -> Repo {
        self.try_status(name, git::status::GIT_LIMITS).unwrap()
    }

    fn try_status(&self, name: &str, limits: RunLimits) -> Result<Repo, GitError> {
        // `wrap_git` puts its script there.
        let mut bin_and_path = self.path("bin").into_os_string();
        bin_and_path.push(":");
        bin_and_path.push(env_path());
        self.status_with_path(name, &bin_and_path, limits)
    }

    fn status_with_path(
        &self,
        name: &str,
        path: &OsStr,
        limits: RunLimits,
    ) -> Result<Repo, GitError> {
        let env = [("PATH", path), ("HOME", self.home.path().as_os_str())];
        let env = env.map(|(name, value)| (name.into(), value.into()));
        let runner = Runner::new(env!("CARGO_BIN_EXE_ccstatusd").into(), env);
        let tree = self.tree(name);
        git::status::query(&runner, &self.lock, &Question { tree, is_trusted: false, limits }, 7)
    }

    /// Puts a `git` before the real one in the `PATH`. In the script, `$git` is the real one.
    fn wrap_git(&self, script: &str) {
        fs_err::create_dir(self.path("bin")).unwrap();
        let file = self.path("bin/git");
        let head = "#!/bin/sh\nPATH=${PATH#*:}\ngit=$(command -v git)\n";
        write_script(&file, &format!("{head}{script}\n"));
    }
}

#[test]
fn every_count_is_right() {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        let clean = sandbox.status("p");
        let commit = clean.commit.clone();
        assert_eq!(commit.as_ref().map(String::len), Some(40));
        let expected = Repo {
            as_of_ms: 7,
            branch: Some("main".to_owned()),
            upstream: Some("origin/main".to_owned()),
            commit,
            has_remote: true,
            ..Repo::default()
        };
        assert_eq!(clean, expected, "{format}");

        sandbox.sh("echo s > f && git stash -q && echo s >> f && git stash -q");
        sandbox.sh("git commit -q --allow-empty -m two");
        sandbox.sh("echo a > a && echo b > b && echo c > c && git add a b c && echo a2 > a");
        sandbox.sh("echo u > 'new\nline' && mkdir d && echo 1 > d/1 && echo 2 > d/2");
        let busy = sandbox.status("p");
        let counts = (busy.ahead, busy.staged, busy.unstaged, busy.untracked, busy.stashes);
        assert_eq!(counts, (1, 3, 1, 2, 2), "{format}");
    }
}

#[test]
fn what_concerns_only_the_looks_of_a_status_changes_nothing() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("git commit -q --allow-empty -m two && echo u > u");
    let before = sandbox.status("p");
    for setting in [
        "status.aheadBehind true",
        "status.branch false",
        "status.relativePaths false",
        "color.ui always",
        "core.quotePath true",
        "core.pager false",
        "diff.noprefix true",
    ] {
        sandbox.sh(&format!("git config --global {setting}"));
        assert_eq!(sandbox.status("p"), before, "{setting}");
    }
}

/// Checks that we count the paths that the user's own `git status` reports, after this script.
#[track_caller]
fn check_counted_as_reported(script: &str) {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("seq 100 > long && git add long && git commit -qm long");
    sandbox.sh(&format!("{script}\ngit status --porcelain > ../said"));
    let said = fs_err::read_to_string(sandbox.path("said")).unwrap();
    let count = |is_counted: fn(&[u8]) -> bool| {
        said.lines().filter(|line| is_counted(line.as_bytes())).count() as u64
    };
    let repo = sandbox.status("p");
    let seen = (repo.staged, repo.unstaged, repo.untracked);
    let expected = (
        count(|line| !matches!(line[0], b' ' | b'?')),
        count(|line| !matches!(line[1], b' ' | b'?')),
        count(|line| line[0] == b'?'),
    );
    assert_eq!(seen, expected, "{script}\n{said}");
}

#[test]
fn what_the_users_own_status_does_not_report_is_not_counted() {
    let untracked = "mkdir d && touch a d/b d/c && echo x > f";
    for setting in ["no", "normal", "all", "false", "true"] {
        for place in ["", "--global"] {
            check_counted_as_reported(&format!(
                "git config {place} status.showUntrackedFiles {setting} || true; {untracked}"
            ));
        }
    }
    let move_both = "echo x >> long && git mv f g && git mv long longer && git add -A";
    for setting in ["status.renames false", "diff.renames false", "status.renames true", "a.b c"] {
        check_counted_as_reported(&format!("git config {setting}; {move_both}"));
    }
    let submodule = "git submodule --quiet add ../origin.git sub && git commit -qm sub && \
                     git -C sub commit -q --allow-empty -m new";
    for setting in [
        "a.b c",
        "diff.ignoreSubmodules all",
        "diff.ignoreSubmodules dirty",
        "submodule.sub.ignore all",
        "submodule.sub.ignore dirty",
        "-f .gitmodules submodule.sub.ignore all",
    ] {
        for staged in [":", "git add sub"] {
            check_counted_as_reported(&format!("{submodule}; git config {setting}; {staged}"));
        }
    }
    for more in [
        "git config core.fileMode false; chmod +x f",
        "chmod +x f",
        "git config core.excludesFile ../ignored; echo a > ../ignored; touch a b",
        "echo a > .git/info/exclude; touch a b",
        "git update-index --assume-unchanged f; echo x > f",
        "git update-index --skip-worktree f; echo x > f",
        "git config core.ignoreCase true; git config core.untrackedCache true; touch a",
    ] {
        check_counted_as_reported(more);
    }
}

#[test]
fn commits_ahead_and_behind_are_not_counted_where_the_user_forbids_it() {
    for (value, expected) in [("false", 0), ("off", 0), ("true", 1), ("", 0)] {
        let sandbox = GitSandbox::new("files");
        sandbox.sh(&format!(
            "git commit -q --allow-empty -m x; git config status.aheadBehind '{value}'"
        ));
        let repo = sandbox.status("p");
        assert_eq!((repo.ahead, repo.upstream_gone), (expected, false), "{value}");
    }
}

#[test]
fn an_upstream_that_is_gone_or_missing_is_not_in_sync() {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        let told = |sandbox: &GitSandbox| {
            let repo = sandbox.status("p");
            (repo.upstream.is_some(), repo.upstream_gone, repo.has_remote)
        };
        assert_eq!(told(&sandbox), (true, false, true));
        sandbox.sh("git checkout -qb feat && git push -qu origin feat");
        assert_eq!(told(&sandbox), (true, false, true));
        sandbox.sh("git -C ../origin.git branch -qD feat && git fetch -q --prune");
        assert_eq!(told(&sandbox), (true, true, true));
        sandbox.sh("git checkout -qb local");
        assert_eq!(told(&sandbox), (false, false, true));
        sandbox.sh("git remote remove origin");
        assert_eq!(told(&sandbox), (false, false, false));
    }
}

#[test]
fn remotes_may_be_files_in_the_repository() {
    let sandbox = GitSandbox::new("files");
    let track = "git update-ref refs/remotes/old/main HEAD && git commit -q --allow-empty -m x && \
                 git config branch.main.remote old";
    sandbox.sh(&format!("mkdir .git/remotes && {track}"));
    sandbox
        .sh("printf 'URL: ../x\\nPull: refs/heads/main:refs/remotes/old/main' > .git/remotes/old");
    let repo = sandbox.status("p");
    assert_eq!((repo.upstream.as_deref(), repo.ahead), (Some("old/main"), 1));
    sandbox.sh("rm .git/remotes/old; mkdir .git/branches; echo '../x#main' > .git/branches/old");
    sandbox.sh("git update-ref refs/heads/old HEAD~1");
    let repo = sandbox.status("p");
    assert_eq!((repo.upstream.as_deref(), repo.ahead), (Some("old"), 1));
}

/// Git before 2.36 knows no file monitor of its own, and takes every value for a program to run.
#[test]
fn the_file_monitor_is_switched_off_for_every_version_of_git() {
    let sandbox = GitSandbox::new("files");
    sandbox.wrap_git("case \" $* \" in *' core.fsmonitor= '*) exec $git \"$@\";; esac; exit 1");
    sandbox.sh("git config core.fsmonitor $PWD/../ran");
    write_script(&sandbox.path("ran"), "#!/bin/sh\ntouch \"$0.it\"\n");
    assert_eq!(sandbox.status("p").branch.as_deref(), Some("main"));
    assert!(!sandbox.path("ran.it").exists());
}

/// Without a limit, git reads zeros until its deadline, and they fill the memory of the machine.
#[cfg(target_os = "linux")]
#[test]
fn a_repository_cannot_make_git_use_all_memory() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("git config core.attributesFile /dev/zero && touch -d 2001-01-01 f");
    let limits = RunLimits { deadline: Duration::from_secs(60), ..git::status::GIT_LIMITS };
    let error = sandbox.try_status("p", limits).unwrap_err().to_string();
    assert!(error.contains("ut of memory"), "{error}");
}

#[test]
fn an_error_names_the_files_of_the_repository() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("printf '[branch \"main\"]\\nmerge\\n' >> .git/config");
    let limits = git::status::GIT_LIMITS;
    let error = |name: &str| sandbox.try_status(name, limits).unwrap_err().to_string();
    let config = sandbox.path("p/.git/config").display().to_string();
    let first = error("p");
    assert!(first.contains(&config) && !first.contains("scratch"), "{first}");
    assert_eq!(error("p"), first);
    fs_err::remove_dir(sandbox.path("state/scratch")).unwrap();
    fs_err::write(sandbox.path("state/scratch"), "no directory").unwrap();
    let error = error("p");
    assert!(error.contains("state directory") && !error.contains("scratch"), "{error}");
}

#[test]
fn a_tag_is_named_where_no_branch_is_checked_out() {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        let tag = |sandbox: &GitSandbox| sandbox.status("p").tag;
        let some = |name: &str| Some(name.to_owned());
        sandbox.sh("git tag v1 && git commit -q --allow-empty -m two && git tag -am x v2");
        assert_eq!(tag(&sandbox), None, "on a branch");
        sandbox.sh("git checkout -q v1");
        assert_eq!(tag(&sandbox), some("v1"), "{format}");
        sandbox.sh("git checkout -q v2 && git tag a-light-one && git pack-refs --all");
        assert_eq!(tag(&sandbox), some("v2"), "{format}");
        sandbox.sh("git commit -q --allow-empty -m three");
        assert_eq!(tag(&sandbox), None);
        sandbox.sh("git tag on/this");
        assert_eq!(tag(&sandbox), some("on/this"));
        sandbox.sh("git checkout -q v1 && git bisect start");
        assert_eq!(tag(&sandbox), None, "during an operation");
    }
}

#[test]
fn a_container_of_working_trees_is_a_bare_repository() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh(
        "mkdir ../box && git clone -q --bare ../origin.git ../box/.bare && \
         echo 'gitdir: ./.bare' > ../box/.git && git -C ../box worktree add -q -b side side
         git clone -q --bare ../origin.git ../dot/.git && git -C ../dot worktree add -q -b other o",
    );
    let branch = Some("main".to_owned());
    let bare = Repo { as_of_ms: 7, branch, bare: true, ..Repo::default() };
    for setting in ["a.b c", "safe.bareRepository explicit"] {
        sandbox.sh(&format!("git config --global {setting}"));
        for container in ["box", "dot", "origin.git", "box/.bare", "dot/.git"] {
            assert_eq!(sandbox.status(container), bare, "{container}, {setting}");
        }
        let side = sandbox.status("box/side");
        assert_eq!((side.branch.as_deref(), side.bare), (Some("side"), false));
        assert_eq!(side.worktree.as_deref(), Some("side"));
        assert_eq!(sandbox.status("dot/o").branch.as_deref(), Some("other"));
    }
}

#[test]
fn a_repository_without_a_commit_has_a_branch() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("git init -q ../new");
    let repo = sandbox.status("new");
    assert_eq!((repo.branch.as_deref(), repo.commit), (Some("main"), None));
}

#[test]
fn a_bare_repository_has_only_a_branch() {
    let sandbox = GitSandbox::new("reftable");
    let branch = Some("main".to_owned());
    assert_eq!(
        sandbox.status("origin.git"),
        Repo { as_of_ms: 7, branch, bare: true, ..Repo::default() }
    );
    sandbox.sh("git clone -q --mirror ../origin.git ../m.git && git -C ../m.git checkout -q --detach 2>&1 || \
                git -C ../m.git update-ref --no-deref HEAD $(git rev-parse HEAD)");
    assert_eq!(sandbox.status("m.git").branch, None);
}

/// Runs a script that leaves an operation in progress, and checks the operation and the branch.
#[track_caller]
fn check_operation(script: &str, operation: &str, branch: Option<&str>, formats: &[&str]) {
    for format in formats {
        let sandbox = GitSandbox::new(format);
        sandbox.sh(&format!("{DIVERGE} && {{ {script}; }}"));
        let repo = sandbox.status("p");
        let seen = (repo.operation.as_deref(), repo.branch.as_deref());
        assert_eq!(seen, (Some(operation), branch), "{format}: {script}");
    }
}

#[test]
fn an_operation_in_progress_is_named_with_its_steps() {
    let main = Some("main");
    check_operation("! git merge topic", "merge", main, &FORMATS);
    check_operation("! git rebase topic", "rebase 1/1", main, &FORMATS);
    check_operation("! git rebase --apply topic", "rebase 1/1", main, &FORMATS);
    check_operation(
        "git commit -q --allow-empty -m e && git checkout -q --detach && ! git rebase topic",
        "rebase 1/2",
        None,
        &FORMATS,
    );
    check_operation(
        "git format-patch -1 topic --stdout > x && ! git am x",
        "am 1/1",
        main,
        &FORMATS,
    );
    check_operation("git bisect start && git bisect good", "bisect", main, &FORMATS);
    check_operation("! git cherry-pick topic", "cherry-pick", main, &["files"]);
    check_operation("! git cherry-pick main~1..topic main~1", "cherry-pick", main, &FORMATS);
    check_operation("! git revert --no-edit main~1", "revert", main, &["files"]);
    check_operation("! git revert --no-edit main~1 main", "revert", main, &FORMATS);
}

#[test]
fn conflicts_are_counted() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh(&format!("{DIVERGE} && ! git merge topic"));
    let repo = sandbox.status("p");
    assert_eq!((repo.conflicts, repo.staged, repo.unstaged), (1, 0, 0));
}

#[test]
fn a_linked_working_tree_has_a_name_and_its_own_branch() {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        sandbox.sh("git worktree add -q ../w -b side && git worktree add -q ../x/w -b other");
        sandbox.sh("git worktree add -q ../y -b third && git worktree move ../y ../z");
        for (dir, folder, branch) in
            [("w", "w", "side"), ("x/w", "w", "other"), ("z", "z", "third")]
        {
            let repo = sandbox.status(dir);
            let seen = (repo.worktree.as_deref(), repo.branch.as_deref());
            assert_eq!(seen, (Some(folder), Some(branch)), "{format}");
        }
        assert_eq!(sandbox.status("p").worktree, None);
    }
}

#[test]
fn a_repository_of_another_user_is_not_trusted() {
    let sandbox = GitSandbox::new("files");
    sandbox.wrap_git("GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec $git \"$@\"");
    for name in ["p", "origin.git"] {
        let err = sandbox.try_status(name, git::status::GIT_LIMITS).unwrap_err();
        assert!(matches!(err, GitError::NotTrusted { .. }), "{err:?}");
        let hint = err.hint().unwrap();
        let dir = sandbox.path(name);
        assert_eq!(hint, format!("git config --global --add safe.directory '{}'", dir.display()));
        sandbox.sh(&hint);
        sandbox.try_status(name, git::status::GIT_LIMITS).unwrap();
    }
}

#[test]
fn a_missing_git_is_reported() {
    let sandbox = GitSandbox::new("files");
    let res = sandbox.status_with_path("p", "/nowhere".as_ref(), git::status::GIT_LIMITS);
    assert_eq!(res.unwrap_err().to_string(), "not installed");
}

#[test]
fn a_git_that_fails_hangs_or_prints_half_a_status_is_an_error() {
    for (script, expected) in [
        ("echo 'fatal: bad index' >&2; exit 128", "failed with exit code 128: fatal: bad index"),
        ("sleep 60", "timed out after 0.3 s"),
        ("printf '# branch.oid 12'", "its status cannot be understood"),
        (":", "its status cannot be understood"),
    ] {
        let sandbox = GitSandbox::new("files");
        sandbox.wrap_git(script);
        let limits = RunLimits {
            deadline: std::time::Duration::from_millis(300),
            ..git::status::GIT_LIMITS
        };
        let res = sandbox.try_status("p", limits);
        assert_eq!(res.unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_file_monitor_that_a_repository_configures_is_not_started() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("git config core.fsmonitor 'touch ../ran; false'");
    sandbox.status("p");
    assert!(!sandbox.path("ran").exists());
    sandbox.sh("git status");
    assert!(sandbox.path("ran").exists(), "a plain status runs it");
}

/// Every file below `dir`, with its inode, size and modification time.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs_err::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            todo.extend(fs_err::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
        seen.insert(path, (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
    }
    seen
}

#[test]
fn a_status_writes_nothing_into_the_repository() {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        // Three reasons for git to write the index: it is as old as the first file, it has the
        // wrong times of the second, and a cache is configured that it does not contain yet.
        sandbox.sh("git config core.untrackedCache true && git config index.threads 2");
        sandbox.sh("echo 2 > g && git add g && touch -d '2001-01-01' g && echo 3 > u");
        let before = snapshot(&sandbox.path("p"));
        for _ in 0..50 {
            sandbox.status("p");
        }
        assert_eq!(snapshot(&sandbox.path("p")), before, "{format}");
        sandbox.sh("git status");
        assert_ne!(snapshot(&sandbox.path("p")), before, "a plain status writes the index");
    }
}

/// What watches on the directories, each without its subdirectories, can notice: the files in them,
/// and which subdirectories exist.
fn watched(tree: &WorkTree) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut seen = BTreeMap::new();
    for dir in tree.watch_dirs() {
        // A watched directory may have been removed.
        let Ok(entries) = fs_err::read_dir(&dir) else { continue };
        for path in entries.map(|it| it.unwrap().path()) {
            let meta = fs_err::symlink_metadata(&path).unwrap();
            let times = if meta.is_dir() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
            let size = if meta.is_dir() { 0 } else { meta.len() };
            seen.insert(path, (meta.ino(), size, times.0, times.1));
        }
    }
    seen
}

/// Runs `operation` after `before`, and checks whether the watches on the working tree `name`
/// notice it.
#[track_caller]
fn check_noticed(name: &str, before: &str, operation: &str, is_noticed: bool) {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        sandbox.sh(before);
        let tree = sandbox.tree(name);
        let old = watched(&tree);
        sandbox.sh(operation);
        let new = watched(&tree);
        let changed: Vec<&PathBuf> = old
            .keys()
            .chain(new.keys().filter(|it| !old.contains_key(*it)))
            .filter(|it| old.get(*it) != new.get(*it))
            .collect();
        let matters = changed.iter().any(|it| tree.matters(it));
        assert_eq!(matters, is_noticed, "{format}: {operation}: changed {changed:?}");
    }
}

#[test]
fn operations_of_git_are_noticed() {
    let edit = "echo x > f";
    let stash = "echo x > f && git stash -q";
    let news = "git clone -q ../origin.git ../other && cd ../other && \
                git commit -q --allow-empty -m news && git push -q";
    let side = "git worktree add -q ../w -b side && echo x > ../w/f";
    let stopped = &format!("{DIVERGE} && ! git rebase topic");
    let two_stashes = "for n in 1 2; do echo $n$n > f && git stash -q; done";
    let two_in_w = &format!("git worktree add -q ../w -b side && {two_stashes}");
    let config = "git -C ../w config --worktree status.showUntrackedFiles no";
    let gone = "git checkout -qb feat && git push -qu origin feat && \
                git -C ../origin.git branch -qD feat";
    let sub = "git submodule --quiet add ../origin.git sub && git commit -qm sub";
    let nested = "git submodule --quiet add ../origin.git a/b && git commit -qm sub";
    for (name, before, operation) in [
        ("p", edit, "git add f"),
        ("p", "echo x > f && git add f", "git commit -qm x"),
        ("p", ":", "git commit -q --amend -m y"),
        ("p", ":", "git checkout -qb topic"),
        ("p", "git branch topic", "git checkout -q topic"),
        ("p", ":", "git checkout -q --detach"),
        ("p", ":", "git branch -m renamed"),
        ("p", edit, "git stash -q"),
        ("p", stash, "git stash drop -q"),
        ("p", stash, "git stash pop -q"),
        ("p", two_stashes, "git stash drop -q stash@{1}"),
        ("w", two_in_w, "git stash drop -q stash@{1}"),
        ("p", ":", "git tag v1"),
        ("p", ":", "git tag -am x v1"),
        ("p", "git tag v1", "git tag -d v1"),
        ("p", ":", "git remote add other ../origin.git"),
        ("p", ":", "git config status.showUntrackedFiles no"),
        ("w", &format!("{side} && git config extensions.worktreeConfig true"), config),
        ("p", ":", "mkdir -p .git/info; echo x > .git/info/exclude"),
        ("w", side, "mkdir -p .git/info; echo x > .git/info/exclude"),
        ("w", side, "git -C ../w sparse-checkout set d"),
        ("p", gone, "git fetch -q --prune"),
        ("w", side, "git rev-parse HEAD > .git/shallow"),
        ("w", side, "git worktree move ../w ../v"),
        ("p", sub, "git -C sub commit -q --allow-empty -m x"),
        ("p", sub, "git -C sub checkout -q --detach HEAD~0 && git -C sub commit -q --amend -m y"),
        ("p", ":", "git submodule --quiet add ../origin.git sub"),
        ("p", nested, "git -C a/b commit -q --allow-empty -m x"),
        ("p", news, "git fetch -q"),
        ("p", "git commit -q --allow-empty -m x", "git push -q"),
        ("p", "GIT_TEST_REFTABLE_AUTOCOMPACTION=false git branch b", "git pack-refs --all"),
        ("p", "git branch --unset-upstream", "git branch -q --set-upstream-to=origin/main"),
        ("p", DIVERGE, "! git merge topic"),
        ("p", DIVERGE, "! git rebase topic"),
        ("p", stopped, "git rebase --abort"),
        ("p", stopped, "git rebase --skip"),
        ("p", DIVERGE, "! git cherry-pick topic"),
        ("p", ":", "git bisect start"),
        ("w", side, "git -C ../w commit -qam x"),
        ("w", side, "git -C ../w checkout -qb more"),
        ("w", side, "git -C ../w add f"),
        ("w", side, "git -C ../w branch -q --set-upstream-to=origin/main"),
        ("p", side, "git -C ../w commit -qam x"),
    ] {
        check_noticed(name, before, operation, true);
    }
}

#[test]
fn changes_that_do_not_alter_the_state_are_ignored() {
    check_noticed("p", ":", "echo x > f", false);
    check_noticed("p", ":", "git fetch -q", false);
    check_noticed("p", ":", "git config --global x.y z && git log && git diff", false);
    check_noticed("w", "git worktree add -q ../w -b side && echo x > f", "git add f", false);
    let sub = "git submodule --quiet add ../origin.git sub && git commit -qm sub";
    check_noticed("p", sub, "echo x > sub/f && git -C sub add f", false);
    check_noticed("p", sub, "git -C sub branch more && git -C sub fetch -q", false);
}

#[track_caller]
fn check_found(sandbox: &GitSandbox, cwd: &str, top: &str, git_dir: &str, common_dir: &str) {
    let tree = WorkTree {
        top: sandbox.path(top),
        git_dir: sandbox.path(git_dir),
        common_dir: sandbox.path(common_dir),
        is_bare: top == git_dir,
    };
    assert_eq!(WorkTree::discover(&sandbox.path(cwd)).unwrap(), Some(tree), "{cwd}");
}

#[test]
fn the_nearest_repository_is_found() {
    for format in FORMATS {
        let sandbox = GitSandbox::new(format);
        sandbox.sh("mkdir -p d/e && git worktree add -q ../w -b side && mkdir ../w/d");
        sandbox.sh("git submodule --quiet add ../origin.git sub && git init -q --separate-git-dir ../far ../near");
        sandbox.sh("ln -s p/d ../link");
        check_found(&sandbox, "p", "p", "p/.git", "p/.git");
        check_found(&sandbox, "p/d/e", "p", "p/.git", "p/.git");
        check_found(&sandbox, "link", "p", "p/.git", "p/.git");
        check_found(&sandbox, "w/d", "w", "p/.git/worktrees/w", "p/.git");
        check_found(&sandbox, "p/sub", "p/sub", "p/.git/modules/sub", "p/.git/modules/sub");
        check_found(&sandbox, "near", "near", "far", "far");
        check_found(&sandbox, "origin.git/refs", "origin.git", "origin.git", "origin.git");
        check_found(&sandbox, "p/.git", "p", "p/.git", "p/.git");
        check_found(&sandbox, "p/.git/refs", "p", "p/.git", "p/.git");
        let sub = "p/.git/modules/sub";
        check_found(&sandbox, sub, sub, sub, sub);
        assert_eq!(WorkTree::discover(&sandbox.path(".")).unwrap(), None);
        assert!(WorkTree::discover(&sandbox.path("gone")).is_err());
    }
}

#[test]
fn a_dot_git_that_is_no_repository_is_skipped_and_a_broken_pointer_ends_the_search() {
    for (make, is_skipped) in [
        ("mkdir d/.git", true),
        ("mkfifo d/.git", true),
        ("ln -s nowhere d/.git", true),
        ("echo 'gitdir: nowhere' > d/.git", false),
        ("echo nonsense > d/.git", false),
        (": > d/.git", false),
        ("truncate -s 1G d/.git", false),
        ("echo 'gitdir: .' > d/.git", false),
        ("git init -q d && mkfifo d/.git/x && rm d/.git/HEAD && mkfifo d/.git/HEAD", true),
    ] {
        let sandbox = GitSandbox::new("files");
        sandbox.sh(&format!("mkdir d && {make}"));
        let found = WorkTree::discover(&sandbox.path("p/d")).unwrap().map(|it| it.top);
        assert_eq!(found, is_skipped.then(|| sandbox.path("p")), "{make}");
    }
}

#[test]
fn two_thousand_folders_of_branches_take_at_most_512_watches() {
    let sandbox = GitSandbox::new("files");
    sandbox.sh("cd .git/refs/heads && seq 2000 | xargs mkdir && mkdir -p 1/deep");
    let dirs = sandbox.tree("p").watch_dirs();
    assert_eq!(dirs.len(), 512);
    for near in ["p/.git", "p/.git/refs", "p/.git/refs/heads", "p/.git/refs/remotes"] {
        assert!(dirs.contains(&sandbox.path(near)), "{near}");
    }
}

/// What a change in another terminal does to the facts, without any display.
#[test]
fn what_changes_in_another_terminal_shows_without_a_display() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let p = sandbox.path("p");
    sandbox.sh(
        &p,
        "git init -q --bare ../o.git && git remote add origin ../o.git && git push -qu origin main
         git -c protocol.file.allow=always submodule --quiet add ../o.git sub
         git commit -qm sub && git push -q
         for n in 1 2 3; do echo $n$n > f && git stash -q; done; touch a b",
    );
    transcript.reply("x");
    let _watcher = sandbox.start_watcher();
    let wait = |what: &str, is_met: &dyn Fn(&Repo) -> bool| {
        sandbox.wait_for(what, |snapshot| repo_of(snapshot, "s1").is_some_and(is_met));
    };
    let is_branch = |repo: &Repo, name: &str| repo.branch.as_deref() == Some(name);
    wait("the first facts", &|repo| repo.stashes == 3 && repo.untracked == 2);
    let change = |script: &str, is_met: &dyn Fn(&Repo) -> bool| {
        sandbox.sh(&p, script);
        wait(script, is_met);
    };
    change("git stash drop -q stash@{1}", &|repo| repo.stashes == 2);
    change("echo a > .git/info/exclude", &|repo| repo.untracked == 1);
    change("git config status.showUntrackedFiles no", &|repo| repo.untracked == 0);
    change("git -C sub commit -q --allow-empty -m x", &|repo| repo.unstaged == 1);
    change("git config submodule.sub.ignore all", &|repo| repo.unstaged == 0);
    change("git checkout -qb feat", &|repo| is_branch(repo, "feat") && repo.upstream.is_none());
    change("git push -qu origin feat", &|repo| repo.upstream.is_some() && !repo.upstream_gone);
    change("git -C ../o.git branch -qD feat; git fetch -qp", &|repo| repo.upstream_gone);
    change("git branch -m moved", &|repo| is_branch(repo, "moved"));
    change("git checkout -q --detach", &|repo| repo.branch.is_none() && repo.tag.is_none());
    change("git tag v1", &|repo| repo.tag.as_deref() == Some("v1"));
    change("git pack-refs --all && git tag -d v1", &|repo| repo.tag.is_none());
    change("git checkout -q main", &|repo| is_branch(repo, "main"));
    change("git commit -q --allow-empty -m x", &|repo| repo.ahead == 1);
    change("git push -q", &|repo| repo.ahead == 0);
    change("git remote remove origin", &|repo| repo.upstream.is_none() && !repo.has_remote);
    change("git bisect start", &|repo| repo.operation.as_deref() == Some("bisect"));
    change("git bisect reset", &|repo| repo.operation.is_none());
    change("echo x > f && git add f", &|repo| repo.staged == 1);
    change("git stash clear", &|repo| repo.stashes == 0);
}
