//! What `show` says of git by itself: in a working tree that no watcher knows, and where the
//! watcher's word is older than the working tree's own files.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use ccstatusd::store::schema::{Repo, RepoKey, Snapshot};

use crate::sandbox::{Sandbox, skip, text};

/// What `show` prints between the directory and the end for a client in `cwd`, which may be odd.
#[track_caller]
fn shown(sandbox: &Sandbox, cwd: &Path) -> String {
    let document = serde_json::json!({"session_id": "s1", "cwd": cwd}).to_string();
    let mut command = sandbox.ccstatusd();
    command.arg("show").env("NO_COLOR", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let line = text(&child.wait_with_output().unwrap());
    let (_, rest) = line.split_once(" · ").unwrap_or_else(|| panic!("{line}"));
    let rest = rest.strip_suffix("no data yet: ccstatusd start").unwrap_or(rest);
    rest.trim_end_matches(" · ").to_owned()
}

#[test]
fn without_a_watcher_the_branch_is_that_of_the_tree_around_the_directory() {
    let sandbox = Sandbox::new();
    let outer = sandbox.repo("p");
    sandbox.repo("src");
    sandbox.sh(
        &outer,
        "mkdir -p d/e tmp && ln -s p/d ../link && ln -s ../p ../src/loop
         git worktree add -q -b side w && git worktree add -q -b odd ../w2 && mkdir w/d
         git worktree move w2 w2-renamed && git worktree add -q --detach det
         git -c protocol.file.allow=always submodule --quiet add ../src sub
         git -C sub checkout -qb in-sub
         git init -q -b nested nested && git init -q -b far --separate-git-dir ../far near
         git clone -q --bare . bare.git && git init -q -b feat/x/y deep && mkdir deep/.git/x
         mkdir box && git clone -q --bare . box/.bare && echo 'gitdir: ./.bare' > box/.git
         git -C box worktree add -q -b boxed main",
    );
    let detached = format!("@{:.7} in det", sandbox.sh(&outer, "git rev-parse HEAD"));
    for (cwd, expected) in [
        ("p", "main"),
        ("p/d/e", "main"),
        ("link/e", "main"),
        ("src/loop/d", "main"),
        ("p/.git/refs", "main"),
        ("p/w", "side in w"),
        ("p/w/d", "side in w"),
        ("p/w2-renamed", "odd in w2-renamed"),
        ("p/det", &detached),
        ("p/sub", "in-sub"),
        ("p/nested", "nested"),
        ("p/near", "far"),
        ("p/deep/.git/x", "feat/x/y"),
        ("p/bare.git/refs", "main bare"),
        ("p/box", "main"),
        ("p/box/main", "boxed in main"),
        ("src", "main"),
        ("bin", ""),
        ("p/gone", ""),
    ] {
        assert_eq!(shown(&sandbox, &sandbox.path(cwd)), expected, "{cwd}");
    }
    assert_eq!(shown(&sandbox, Path::new("p")), "", "nobody knows relative to what");
    assert_eq!(sandbox.n_git_calls(), 0);
}

#[test]
fn what_is_no_repository_shows_no_branch_and_does_not_hang() {
    let sandbox = Sandbox::new();
    let outer = sandbox.repo("p");
    for (make, expected) in [
        ("mkdir .git", "main"),
        ("mkfifo .git", "main"),
        ("ln -s .git .git", "main"),
        ("ln -s nowhere .git", "main"),
        ("echo 'gitdir: nowhere' > .git", ""),
        ("echo 'gitdir: .git' > .git", ""),
        ("mkfifo pipe && echo 'gitdir: pipe' > .git", ""),
        ("truncate -s 5G .git", ""),
        ("git init -q && rm .git/HEAD && mkfifo .git/HEAD", "main"),
        ("git init -q && rm .git/HEAD && mkdir .git/HEAD", "main"),
        ("git init -q && truncate -s 5G .git/HEAD", ""),
        ("git init -q && ln -sf /dev/zero .git/HEAD", ""),
        ("git init -q && ln -sf HEAD .git/HEAD", ""),
        ("git init -q && mkfifo .git/commondir", "main"),
        ("git init -q && echo /dev > .git/commondir", "main"),
        ("git init -q --ref-format=reftable", ""),
        ("git init -q && printf 'ref: refs/heads/a\\033[2Jb' > .git/HEAD", ""),
    ] {
        sandbox.sh(&outer, &format!("rm -rf q && mkdir q && cd q && {make}"));
        let branch = shown(&sandbox, &sandbox.path("p/q"));
        assert!(branch.is_empty() || branch == expected, "{make}: {branch}");
    }
}

#[test]
fn a_repository_of_another_user_shows_nothing_that_git_has_not_said() {
    if !nix::unistd::geteuid().is_root() {
        return skip("not root: no repository of another user can be made");
    }
    let sandbox = Sandbox::new();
    for (name, foreign) in [("a", "."), ("b", ".git"), ("c", "../far-c"), ("d", ".git")] {
        let top = sandbox.path(name);
        fs_err::create_dir(&top).unwrap();
        let format = if name == "c" || name == "d" {
            " --separate-git-dir ../far-$(basename $PWD)"
        } else {
            ""
        };
        sandbox.sh(&top, &format!("git init -q{format}"));
        assert_eq!(shown(&sandbox, &top), "main", "{name}");
        sandbox.sh(&top, &format!("chown -h 12345 {foreign} && ! git status 2> /dev/null"));
        assert_eq!(shown(&sandbox, &top), "", "{name}");
    }
}

#[test]
fn the_newer_word_wins_over_the_watchers() {
    let sandbox = Sandbox::new();
    let top = sandbox.repo("p");
    let told = Repo {
        as_of_ms: i64::MAX,
        branch: Some("main".to_owned()),
        commit: Some("1".repeat(40)),
        upstream: Some("origin/main".to_owned()),
        ahead: 3,
        staged: 2,
        ..Repo::default()
    };
    let key = RepoKey(top.to_str().unwrap().to_owned());
    let snapshot = Snapshot {
        version: 1,
        published_at_ms: i64::MAX,
        repos: [(key, told)].into(),
        ..Snapshot::default()
    };
    fs_err::create_dir_all(&sandbox.state).unwrap();
    fs_err::write(sandbox.state.join("snapshot.json"), serde_json::to_vec(&snapshot).unwrap())
        .unwrap();
    let gone = "data 0s old, no watcher: ccstatusd start";
    assert_eq!(shown(&sandbox, &top), format!("main ⇡3 +2 · {gone}"));
    sandbox.sh(&top, "git checkout -qb other");
    assert_eq!(shown(&sandbox, &top), format!("other +2 · {gone}"));
    sandbox.sh(&top, "git checkout -q --detach");
    let commit = sandbox.sh(&top, "git rev-parse HEAD");
    assert_eq!(shown(&sandbox, &top), format!("@{commit:.7} +2 · {gone}"));
    sandbox.sh(&top, "git worktree add -q -b side inner");
    assert_eq!(shown(&sandbox, &top.join("inner")), format!("side in inner · {gone}"));
    sandbox.sh(&top, "rm -rf .git");
    assert_eq!(shown(&sandbox, &top), gone);
}
