//! What a line shows of git.

use super::{NOW, REST, check, check_git, session};
use crate::store::schema::Repo;
use crate::time::{DAY_MS, HOUR_MS, SECOND_MS};

#[test]
fn git_facts_read_from_left_to_right() {
    check_git(
        |repo| {
            (repo.ahead, repo.behind, repo.stashes) = (1, 2, 3);
            (repo.conflicts, repo.staged, repo.unstaged, repo.untracked) = (4, 5, 6, 7);
            repo.operation = Some("rebase 2/5".to_owned());
            repo.worktree = Some("spare".to_owned());
        },
        "main in spare ⇡1⇣2 *3 rebase 2/5 =4 +5 !6 ?7",
    );
}

#[test]
fn a_detached_head_shows_its_commit() {
    let commit = Some("1a2b3c4d5e6f".to_owned());
    check_git(|it| (it.branch, it.commit) = (None, commit), "@1a2b3c4");
    check_git(|it| it.branch = None, "no commit");
}

#[test]
fn a_tag_stands_in_for_its_commit() {
    let (commit, tag) = (Some("1a2b3c4d5e6f".to_owned()), Some("v1.2.3".to_owned()));
    check_git(|it| (it.branch, it.commit, it.tag) = (None, commit, tag), "@v1.2.3");
}

#[test]
fn in_sync_gone_and_not_published_look_different() {
    let (upstream, commit) = (|| Some("origin/main".to_owned()), || Some("1a2b3c4".to_owned()));
    check_git(|it| (it.upstream, it.has_remote) = (upstream(), true), "main");
    check_git(
        |repo| {
            (repo.upstream, repo.has_remote) = (upstream(), true);
            (repo.upstream_gone, repo.untracked) = (true, 2);
        },
        "main × ?2",
    );
    check_git(|it| (it.commit, it.has_remote) = (commit(), true), "main ⌂");
    check_git(|it| it.commit = commit(), "main");
    check_git(|it| it.has_remote = true, "main");
    check_git(|it| (it.branch, it.commit, it.has_remote) = (None, commit(), true), "@1a2b3c4");
}

#[test]
fn a_bare_repository_is_marked() {
    check_git(|it| it.bare = true, "main bare");
}

#[test]
fn a_git_error_is_never_shown_as_a_clean_tree() {
    let error = Some("dubious ownership".to_owned());
    check_git(|it| *it = Repo { error, ..Repo::default() }, "git: dubious ownership");
}

#[test]
fn the_last_good_git_facts_stay_with_their_age_and_the_reason() {
    check_git(
        |it| (it.as_of_ms, it.error) = (NOW - 9 * SECOND_MS, Some("timed out".to_owned())),
        "main 9s ago · git: timed out",
    );
}

#[test]
fn old_git_facts_show_their_age() {
    check_git(|it| it.as_of_ms = NOW - 60 * SECOND_MS, "main");
    check_git(|it| it.as_of_ms = NOW - 61 * SECOND_MS, "main 1m ago");
    check_git(|it| it.as_of_ms = NOW - 3 * HOUR_MS, "main 3h ago");
    check_git(|it| it.as_of_ms = NOW - 9 * DAY_MS, "main 9d ago");
}

#[test]
fn a_fact_from_the_future_has_no_age() {
    check_git(|it| it.as_of_ms = NOW + DAY_MS, "main");
    check_git(|it| it.as_of_ms = i64::MAX, "main");
}

#[test]
fn without_a_repository_git_is_not_mentioned() {
    check(|it| session(it).repo = None, &format!("~/w/p · model-one · {REST}"));
}
