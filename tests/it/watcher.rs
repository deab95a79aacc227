//! The watcher: each change on disk and each hint shows in its snapshot.

use std::path::Path;
use std::process::Stdio;

use ccstatusd::store::schema::{ClientFacts, CostSource, Limit, Limits, RootKey, Snapshot, Status};
use ccstatusd::time::{HOUR_MS, Now};
use serde_json::json;

use crate::sandbox::{Sandbox, n_replies, repo_of, session, text};
use crate::transcripts::{COST_USD, TOKENS, Transcript};

// ---- Roots

#[test]
fn a_directory_that_does_not_exist_yet_is_picked_up_when_it_appears() {
    let sandbox = Sandbox::new();
    let watcher = sandbox.start_watcher();
    let root = sandbox.root();
    sandbox.wait_until("it says what it waits for", || {
        watcher.log().contains(&format!("{} does not exist; waiting", root.display()))
    });
    sandbox.session("s1", &sandbox.home).reply("here I am");
    sandbox.wait_for("the first session", |it| n_replies(it, &root) == 1);
    sandbox.wait_until("it says what it watches", || {
        watcher.log().contains(&format!("watching {}", root.display()))
    });
}

#[test]
fn a_root_that_is_removed_and_made_again_is_picked_up() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    let _watcher = sandbox.start_watcher();
    fs_err::remove_dir_all(sandbox.root()).unwrap();
    sandbox.wait_for("the loss of s1", |it| session(it, "s1").transcript.is_none());
    let mut second = sandbox.session("s2", &sandbox.home);
    second.reply("two");
    sandbox.wait_for("a new session", |it| it.sessions.contains_key(&second.session_id()));
    second.reply("three");
    sandbox.wait_for("an append", |it| session(it, "s2").tokens.output == 84);
}

#[test]
fn a_root_that_is_replaced_by_another_is_picked_up() {
    let sandbox = Sandbox::with_root();
    let mut first = sandbox.session("s1", &sandbox.home);
    first.reply("one");
    let mut second = Transcript::new(&sandbox.path("other"), "-p", "s2", &sandbox.home);
    second.reply("two");
    let _watcher = sandbox.start_watcher();
    fs_err::rename(sandbox.root(), sandbox.path("gone")).unwrap();
    fs_err::rename(sandbox.path("other"), sandbox.root()).unwrap();
    let old = first.path.strip_prefix(sandbox.root()).unwrap().to_owned();
    first.path = sandbox.path("gone").join(old);
    first.reply("this must not be seen");
    second = sandbox.session("s2", &sandbox.home);
    second.path = sandbox.root().join("projects/-p/s2.jsonl");
    second.prompt("but this must");
    let snapshot = sandbox.wait_for("the other root's session", |snapshot| {
        snapshot.sessions.get(&second.session_id()).is_some_and(|it| it.turns == 1)
            && session(snapshot, "s1").transcript.is_none()
    });
    assert_eq!(session(&snapshot, "s1").tokens.output, 42, "the old root is still read");
}

#[test]
fn a_root_given_by_a_link_is_one_root() {
    let mut sandbox = Sandbox::new();
    let real = sandbox.path("real");
    let link = sandbox.path("link");
    fs_err::create_dir_all(real.join("projects")).unwrap();
    fs_err::os::unix::fs::symlink(&real, &link).unwrap();
    sandbox.set_env("CLAUDE_CONFIG_DIR", format!("{},{}", link.display(), real.display()));
    let _watcher = sandbox.start_watcher();
    let mut transcript = Transcript::new(&link, "-p", "s1", &sandbox.home);
    transcript.reply("one");
    sandbox.hint(&ClientFacts {
        session_id: Some("s1".into()),
        transcript_path: Some(transcript.path.to_str().unwrap().into()),
        cost_usd: Some(7.0),
        ..ClientFacts::default()
    });
    let snapshot = sandbox.wait_for("both facts", |snapshot| {
        n_replies(snapshot, &real) == 1
            && session(snapshot, "s1").cost.as_ref().is_some_and(|it| it.usd == 7.0)
    });
    assert_eq!(snapshot.roots.len(), 1, "{:?}", snapshot.roots.keys());
}

#[test]
fn two_roots_and_a_linked_worktree_keep_their_facts_apart() {
    let mut sandbox = Sandbox::new();
    let (work, home) = (sandbox.path("work"), sandbox.path("private"));
    sandbox.set_env("CLAUDE_CONFIG_DIR", format!("{},{}", work.display(), home.display()));
    let one = sandbox.repo("one");
    let two = sandbox.repo("two");
    sandbox.sh(&one, "git worktree add -q -b linked ../tree");
    sandbox.sh(&two, "git checkout -q -b second");
    let mut first = Transcript::new(&work, "-one", "s1", &one);
    let mut second = Transcript::new(&home, "-two", "s2", &two);
    let mut third = Transcript::new(&home, "-tree", "s3", &sandbox.path("tree"));
    for transcript in [&mut first, &mut second, &mut third] {
        transcript.prompt("hello");
        transcript.reply("hello");
    }
    let _watcher = sandbox.start_watcher();
    let branch_is = |snapshot: &_, id, branch: &str| {
        repo_of(snapshot, id).is_some_and(|it| it.branch.as_deref() == Some(branch))
    };
    let snapshot = sandbox.wait_for("three branches", |snapshot| {
        branch_is(snapshot, "s1", "main")
            && branch_is(snapshot, "s2", "second")
            && branch_is(snapshot, "s3", "linked")
    });
    assert_eq!(repo_of(&snapshot, "s3").unwrap().worktree.as_deref(), Some("tree"));
    assert_eq!(repo_of(&snapshot, "s1").unwrap().worktree, None);
    assert_eq!((n_replies(&snapshot, &work), n_replies(&snapshot, &home)), (1, 2));

    sandbox.sh(&sandbox.path("tree"), "echo 2 > f && git commit -qam two");
    let commit = sandbox.sh(&sandbox.path("tree"), "git rev-parse HEAD");
    let snapshot = sandbox.wait_for("a commit in the linked worktree", |snapshot| {
        repo_of(snapshot, "s3").unwrap().commit.as_deref() == Some(&commit)
    });
    assert_ne!(repo_of(&snapshot, "s1").unwrap().commit.as_deref(), Some(commit.as_str()));
    first.reply("again");
    let snapshot = sandbox.wait_for("one more reply", |it| n_replies(it, &work) == 2);
    assert_eq!(n_replies(&snapshot, &home), 2);
}

// ---- Transcripts

#[test]
fn an_append_shows_in_every_fact() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    let _watcher = sandbox.start_watcher();
    transcript.prompt("do it");
    transcript.reply("it is done");
    let snapshot = sandbox.wait_for("the first reply", |it| n_replies(it, &sandbox.root()) == 1);
    let found = session(&snapshot, "s1");
    assert_eq!((found.tokens, found.turns, found.live), (TOKENS, 1, true));
    let cost = found.cost.as_ref().unwrap();
    assert!(
        (cost.usd - COST_USD).abs() < 1e-9 && cost.source == CostSource::Transcript,
        "{cost:?}"
    );
    assert_eq!(found.context.as_ref().unwrap().tokens, Some(12 + 1500 + 21_000));
    assert_eq!(found.last_message.as_ref().unwrap().preview.as_deref(), Some("it is done"));
    assert_eq!(found.model.as_ref().unwrap().id, "claude-opus-4-8");
    assert_eq!(found.cwd.as_deref(), sandbox.home.to_str());

    transcript.prompt("and again");
    let snapshot = sandbox.wait_for("a second prompt", |it| session(it, "s1").turns == 2);
    let message = session(&snapshot, "s1").last_message.clone().unwrap();
    assert_eq!(message.preview.as_deref(), Some("and again"));
}

#[test]
fn an_unfinished_line_shows_when_its_newline_comes() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.prompt("one");
    let _watcher = sandbox.start_watcher();
    let line = transcript.reply_line("two");
    let (start, end) = line.split_at(line.len() / 2);
    for (part, n_expected) in [(start, 0), (end.trim_end(), 0), ("\n", 1)] {
        transcript.append(part);
        let snapshot = sandbox.oneshot();
        assert_eq!(n_replies(&snapshot, &sandbox.root()), n_expected, "after {part:?}");
    }
}

#[test]
fn a_transcript_that_is_truncated_is_read_anew() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    for n in 0..3 {
        transcript.prompt(&format!("{n}"));
        transcript.reply("reply");
    }
    let _watcher = sandbox.start_watcher();
    let line = transcript.prompt_line("all over");
    fs_err::write(&transcript.path, line).unwrap();
    check_is_read_anew(&sandbox, &mut transcript, 1, 3);
}

/// Checks that the facts are those of the new transcript, that the replies which it had before stay
/// counted, and that appends count too.
#[track_caller]
fn check_is_read_anew(
    sandbox: &Sandbox,
    transcript: &mut Transcript,
    n_turns: u64,
    n_replies_before: u64,
) {
    let n_replies = |snapshot: &Snapshot| session(snapshot, "s1").tokens.output / TOKENS.output;
    let snapshot = sandbox.wait_for("the new turns", |it| session(it, "s1").turns == n_turns);
    assert_eq!(n_replies(&snapshot), n_replies_before);
    transcript.reply("after that");
    sandbox.wait_for("a reply", |it| n_replies(it) == n_replies_before + 1);
}

#[test]
fn a_transcript_that_is_replaced_is_read_anew() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.prompt("one");
    transcript.reply("two");
    let _watcher = sandbox.start_watcher();
    let mut new = String::new();
    for n in 0..20 {
        new += &transcript.prompt_line(&format!("{n}"));
    }
    fs_err::write(sandbox.path("new"), new).unwrap();
    fs_err::rename(sandbox.path("new"), &transcript.path).unwrap();
    check_is_read_anew(&sandbox, &mut transcript, 20, 1);
}

#[test]
fn a_deleted_transcript_still_counts_as_used() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    fs_err::remove_file(&transcript.path).unwrap();
    let snapshot = sandbox.wait_for("its loss", |it| session(it, "s1").transcript.is_none());
    assert_eq!(n_replies(&snapshot, &sandbox.root()), 1);
    assert!(!session(&snapshot, "s1").live);
}

#[test]
fn a_project_folder_that_is_renamed_is_counted_once() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    let (old, new) = (transcript.path.parent().unwrap(), sandbox.root().join("projects/-new"));
    fs_err::rename(old, &new).unwrap();
    transcript.path = new.join("s1.jsonl");
    let is_found = |snapshot: &Snapshot| {
        session(snapshot, "s1").transcript.as_deref() == transcript.path.to_str()
    };
    sandbox.wait_for("its new place", is_found);
    transcript.reply("two");
    let snapshot = sandbox.wait_for("an append", |it| n_replies(it, &sandbox.root()) == 2);
    assert_eq!(session(&snapshot, "s1").tokens.output, 84);
    assert!(session(&snapshot, "s1").live);
}

#[test]
fn folders_that_are_made_and_written_to_at_once_are_not_missed() {
    let sandbox = Sandbox::with_root();
    let _watcher = sandbox.start_watcher();
    for n in 0..300 {
        let project = format!("-p{n}");
        let id = format!("s{n}");
        Transcript::new(&sandbox.root(), &project, &id, &sandbox.home).reply("one");
    }
    let snapshot = sandbox.wait_for("300 replies", |it| n_replies(it, &sandbox.root()) == 300);
    let block = snapshot.roots.values().find_map(|it| it.usage.as_ref()?.block.clone()).unwrap();
    assert_eq!(block.tokens.cache_read, 300 * TOKENS.cache_read);
    assert_eq!(snapshot.watcher.unwrap().rescans, 0);
}

#[test]
fn a_cookie_waits_for_folders_that_are_made_and_written_to_at_once() {
    let sandbox = Sandbox::with_root();
    let _watcher = sandbox.start_watcher();
    for n in 0..300 {
        let project = format!("-p{n}");
        let id = format!("s{n}");
        Transcript::new(&sandbox.root(), &project, &id, &sandbox.home).reply("one");
    }
    assert_eq!(n_replies(&sandbox.oneshot(), &sandbox.root()), 300);
}

#[test]
fn a_live_sessions_first_subagents_are_seen() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.prompt("start two agents");
    let _watcher = sandbox.start_watcher();
    transcript.agent("a").reply("done");
    let mut deep = transcript.agent("b");
    let folder = deep.path.parent().unwrap().join("workflows/w");
    deep.path = folder.join("agent-b.jsonl");
    deep.reply("done");
    let snapshot = sandbox.wait_for("two subagents", |it| session(it, "s1").tokens.output == 84);
    assert_eq!(session(&snapshot, "s1").subagents.total, 2);
    deep.reply("and more");
    sandbox.wait_for("an append", |it| session(it, "s1").tokens.output == 126);
}

// ---- Git

#[test]
fn a_burst_of_appends_asks_git_a_few_times() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let repo = sandbox.path("p");
    transcript.prompt("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    let n_before = sandbox.n_git_calls();
    let began = Now::read().mono;
    fs_err::write(repo.join("new"), "").unwrap();
    for n in 0..200 {
        transcript.reply(&format!("{n}"));
    }
    sandbox.wait_for("all replies and the new file", |snapshot| {
        n_replies(snapshot, &sandbox.root()) == 200
            && repo_of(snapshot, "s1").unwrap().untracked == 1
    });
    // When the cookie is answered, everything that the burst made due has been fetched.
    sandbox.oneshot();
    let n_calls = sandbox.n_git_calls() - n_before;
    let seconds = usize::try_from((Now::read().mono - began).as_secs()).unwrap();
    assert!((1..=seconds + 3).contains(&n_calls), "{n_calls} calls in {seconds} s");
}

#[test]
fn changes_by_git_show_when_nothing_else_changes() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let dir = sandbox.path("p");
    transcript.prompt("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());

    sandbox.sh(&dir, "echo 2 > f && git commit -qam two");
    let commit = sandbox.sh(&dir, "git rev-parse HEAD");
    sandbox.wait_for("a commit", |it| repo_of(it, "s1").unwrap().commit.as_ref() == Some(&commit));
    sandbox.sh(&dir, "git checkout -q -b topic/one");
    sandbox.wait_for("another branch", |snapshot| {
        repo_of(snapshot, "s1").unwrap().branch.as_deref() == Some("topic/one")
    });
    sandbox.sh(&dir, "git commit -q --amend -m amended");
    let commit = sandbox.sh(&dir, "git rev-parse HEAD");
    sandbox.wait_for("an amended commit in a folder of references that is new", |snapshot| {
        repo_of(snapshot, "s1").unwrap().commit.as_ref() == Some(&commit)
    });
    sandbox.sh(&dir, "echo 3 > f && git stash -q");
    sandbox.wait_for("a stash", |it| repo_of(it, "s1").unwrap().stashes == 1);
    sandbox.sh(&dir, "git stash drop -q");
    sandbox.wait_for("no stash", |it| repo_of(it, "s1").unwrap().stashes == 0);
}

#[test]
fn a_new_repository_around_a_session_is_seen() {
    let sandbox = Sandbox::with_root();
    let dir = sandbox.path("p");
    fs_err::create_dir(&dir).unwrap();
    sandbox.session("s1", &dir).prompt("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("the session", |it| session(it, "s1").live);
    // After this, everything that the session's start made due is done.
    assert_eq!(session(&sandbox.oneshot(), "s1").repo, None);
    sandbox.repo("p");
    let commit = sandbox.sh(&dir, "git rev-parse HEAD");
    sandbox.wait_for("its commit", |snapshot| {
        repo_of(snapshot, "s1").is_some_and(|it| it.commit.as_ref() == Some(&commit))
    });
}

#[test]
fn a_repository_that_is_removed_and_cloned_again_is_seen() {
    let sandbox = Sandbox::with_root();
    let dir = sandbox.repo("p");
    sandbox.sh(&dir, "git clone -q --bare . ../origin.git");
    sandbox.session("s1", &dir).prompt("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());

    fs_err::remove_dir_all(dir.join(".git")).unwrap();
    sandbox.wait_for("no repository", |it| session(it, "s1").repo.is_none());
    sandbox.sh(&sandbox.home, "git clone -q origin.git q && mv q/.git p/.git");
    sandbox.wait_for("the repository again", |it| repo_of(it, "s1").is_some());
    sandbox.sh(&dir, "git checkout -q -b again");
    sandbox.wait_for("a branch of the new one", |snapshot| {
        repo_of(snapshot, "s1").is_some_and(|it| it.branch.as_deref() == Some("again"))
    });
}

#[test]
fn a_repository_that_is_replaced_at_once_is_seen() {
    let sandbox = Sandbox::with_root();
    let dir = sandbox.repo("p");
    let other = sandbox.repo("other");
    sandbox.sh(&other, "git checkout -q -b other");
    sandbox.session("s1", &dir).prompt("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    sandbox.sh(&sandbox.home, "mv p/.git gone && mv other/.git p/.git");
    let branch_is = |snapshot: &_, branch: &str| {
        repo_of(snapshot, "s1").is_some_and(|it| it.branch.as_deref() == Some(branch))
    };
    sandbox.wait_for("the other's branch", |it| branch_is(it, "other"));
    sandbox.sh(&dir, "git checkout -q -b more");
    sandbox.wait_for("a change in it", |it| branch_is(it, "more"));
}

// ---- Hints

#[test]
fn facts_in_a_hint_show_in_the_snapshot() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    let now_ms = Now::read().wall_ms;
    let limit = Limit { used_percentage: 81.5, resets_at_ms: now_ms + HOUR_MS, ..Limit::default() };
    sandbox.hint(&ClientFacts {
        session_id: Some("s1".into()),
        transcript_path: Some(transcript.path.to_str().unwrap().into()),
        session_name: Some("a name".into()),
        context_tokens: Some(1000),
        context_window: Some(200_000),
        context_used_percentage: Some(1.0),
        cost_usd: Some(7.5),
        limits: Limits { five_hour: Some(limit), ..Limits::default() },
        ..ClientFacts::default()
    });
    let snapshot = sandbox.wait_for("the client's cost", |snapshot| {
        session(snapshot, "s1").cost.as_ref().is_some_and(|it| it.source == CostSource::Client)
    });
    let found = session(&snapshot, "s1");
    assert_eq!((found.cost.as_ref().unwrap().usd, found.name.as_deref()), (7.5, Some("a name")));
    let context = found.context.as_ref().unwrap();
    assert_eq!((context.tokens, context.window), (Some(1000), Some(200_000)));
    let limits = &snapshot.roots.values().find(|it| it.limits.five_hour.is_some()).unwrap().limits;
    let five_hour = limits.five_hour.unwrap();
    assert_eq!(five_hour.used_percentage, 81.5);
    assert!(five_hour.as_of_ms > 0, "{five_hour:?}");
}

/// From the client's document through `show` and the socket to the snapshot.
#[test]
fn facts_on_the_standard_input_of_show_reach_the_watcher() {
    let (sandbox, mut transcript) = Sandbox::with_session();
    let repo = sandbox.path("p");
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
    let resets_at = (Now::read().wall_ms + HOUR_MS) / 1000;
    let document = json!({
        "session_id": "s1", "transcript_path": transcript.path, "cwd": repo,
        "model": {"id": "claude-opus-4-8[1m]", "display_name": "Opus 4.8 (1M context)"},
        "cost": {"total_cost_usd": 7.5},
        "context_window": {"context_window_size": 1_000_000, "used_percentage": 3},
        "rate_limits": {"five_hour": {"used_percentage": 23.5, "resets_at": resets_at}},
    });
    fs_err::write(sandbox.path("document"), document.to_string()).unwrap();
    let stdin = fs_err::File::open(sandbox.path("document")).unwrap();
    let mut show = sandbox.ccstatusd();
    let output = show.arg("show").stdin(stdin.into_parts().0).output().unwrap();
    assert!(output.status.success() && text(&output).contains("main"), "{}", text(&output));
    let snapshot = sandbox.wait_for("the client's cost", |snapshot| {
        session(snapshot, "s1").cost.as_ref().is_some_and(|it| it.usd == 7.5)
    });
    let found = session(&snapshot, "s1");
    assert_eq!(found.context.as_ref().unwrap().window, Some(1_000_000));
    assert_eq!(found.model.as_ref().unwrap().id, "claude-opus-4-8[1m]");
    let limit = snapshot.roots.values().find_map(|it| it.limits.five_hour).unwrap();
    assert_eq!((limit.used_percentage, limit.resets_at_ms), (23.5, resets_at * 1000));
}

#[test]
fn a_root_that_only_a_hint_names_is_watched_from_then_on() {
    let sandbox = Sandbox::new();
    let _watcher = sandbox.start_watcher();
    let root = sandbox.path("elsewhere");
    let mut transcript = Transcript::new(&root, "-p", "s1", &sandbox.home);
    transcript.reply("one");
    sandbox.hint(&ClientFacts {
        session_id: Some("s1".into()),
        transcript_path: Some(transcript.path.to_str().unwrap().into()),
        ..ClientFacts::default()
    });
    sandbox.wait_for("the root", |it| n_replies(it, &root) == 1);
    transcript.reply("two");
    Transcript::new(&root, "-q", "s2", &sandbox.home).reply("one");
    sandbox.wait_for("more in it", |it| n_replies(it, &root) == 3);
}

/// Whoever made the root may have put a link into it that leads where they cannot look themselves.
#[test]
fn no_link_leads_out_of_a_root_that_only_a_hint_names() {
    let sandbox = Sandbox::new();
    let _watcher = sandbox.start_watcher();
    let (root, private) = (sandbox.path("elsewhere"), sandbox.path("private"));
    Transcript::new(&private, "-p", "private", &sandbox.home).reply("secret");
    let mut transcript = Transcript::new(&root, "-p", "s1", &sandbox.home);
    transcript.reply("one");
    let link = |name: &str| {
        let link = root.join("projects").join(name);
        fs_err::os::unix::fs::symlink(private.join("projects/-p"), link).unwrap();
    };
    link("-before");
    sandbox.hint(&ClientFacts {
        session_id: Some("s1".into()),
        transcript_path: Some(transcript.path.to_str().unwrap().into()),
        ..ClientFacts::default()
    });
    sandbox.wait_for("the root", |it| n_replies(it, &root) == 1);
    link("-after");
    sandbox.oneshot();
    transcript.reply("two");
    let snapshot = sandbox.wait_for("its own file", |it| n_replies(it, &root) >= 2);
    assert_eq!((n_replies(&snapshot, &root), snapshot.sessions.len()), (2, 1));
}

#[test]
fn a_directory_that_is_no_root_is_not_kept_as_one() {
    let sandbox = Sandbox::with_root();
    fs_err::create_dir(sandbox.path("private")).unwrap();
    let watcher = sandbox.start_watcher();
    for name in ["private", "private/missing"] {
        let transcript = sandbox.path(name).join("projects/-p/s1.jsonl");
        sandbox.hint(&ClientFacts {
            session_id: Some("s1".into()),
            transcript_path: Some(transcript.to_str().unwrap().into()),
            ..ClientFacts::default()
        });
        sandbox.oneshot();
        let key = RootKey(sandbox.path(name).to_str().unwrap().to_owned());
        sandbox.wait_for("the end of the root", |it| !it.roots.contains_key(&key));
    }
    fs_err::create_dir_all(sandbox.path("private/projects/-p")).unwrap();
    sandbox.oneshot();
    assert!(sandbox.snapshot().unwrap().sessions.is_empty(), "it is not watched");
    assert!(!watcher.log().contains("private"), "hints fill no log: {}", watcher.log());
}

#[test]
fn nonsense_on_the_socket_changes_nothing() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    let before = sandbox.snapshot().unwrap();
    for id in [None, Some("../../x"), Some("unknown"), Some("")] {
        for path in [None, Some("relative/projects/p/s.jsonl"), Some("/"), Some("")] {
            sandbox.hint(&ClientFacts {
                session_id: id.map(str::to_owned),
                transcript_path: path.map(str::to_owned),
                cost_usd: Some(f64::MAX),
                ..ClientFacts::default()
            });
        }
    }
    let after = sandbox.oneshot();
    assert_eq!(after.sessions, before.sessions);
    assert_eq!(after.roots.keys().collect::<Vec<_>>(), before.roots.keys().collect::<Vec<_>>());
}

// ---- Processes

#[test]
fn a_session_lives_with_its_process() {
    let sandbox = Sandbox::with_root();
    let old_ms = Now::read().wall_ms - 5 * HOUR_MS;
    for id in ["ends", "crashes"] {
        sandbox.session(id, &sandbox.home).write_old(old_ms);
    }
    let _watcher = sandbox.start_watcher();
    let is_live = |it: &_, id: &str| session(it, id).live;
    assert!(!is_live(&sandbox.snapshot().unwrap(), "ends"), "it was quiet for hours");

    let mut process = sandbox.command("sleep").arg("100").stdout(Stdio::null()).spawn().unwrap();
    let pid = process.id();
    let file = |id: &str, status: &str| {
        let now_ms = Now::read().wall_ms;
        let document = json!({
            "pid": pid, "sessionId": id, "cwd": sandbox.home, "startedAt": now_ms,
            "version": "2.1.197", "kind": "interactive", "name": id, "status": status,
            "updatedAt": now_ms,
        });
        let path = sandbox.root().join(format!("sessions/{pid}.json"));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, document.to_string()).unwrap();
        path
    };
    let path = file("ends", "busy");
    let snapshot = sandbox.wait_for("a live session", |it| is_live(it, "ends"));
    assert_eq!(session(&snapshot, "ends").status, Some(Status::Busy));
    file("ends", "idle");
    sandbox.wait_for("idle", |it| session(it, "ends").status == Some(Status::Idle));
    fs_err::remove_file(&path).unwrap();
    sandbox.wait_for("its end", |it| !is_live(it, "ends"));

    // The same process, now in another session. It will leave its file behind.
    file("crashes", "busy");
    sandbox.wait_for("a live session", |it| is_live(it, "crashes"));
    process.kill().unwrap();
    process.wait().unwrap();
    file("crashes", "busy");
    sandbox.wait_for("its end", |it| !is_live(it, "crashes"));
}

#[test]
fn a_process_that_changes_to_another_session_ends_the_first() {
    let sandbox = Sandbox::with_root();
    let old_ms = Now::read().wall_ms - 5 * HOUR_MS;
    for id in ["s1", "s2"] {
        sandbox.session(id, &sandbox.home).write_old(old_ms);
    }
    let sessions = sandbox.root().join("sessions");
    fs_err::create_dir(&sessions).unwrap();
    let pid = std::process::id();
    let write = |id: &str| {
        let now_ms = Now::read().wall_ms;
        let document = json!({"pid": pid, "sessionId": id, "startedAt": now_ms});
        fs_err::write(sessions.join(format!("{pid}.json")), document.to_string()).unwrap();
    };
    write("s1");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("s1", |it| session(it, "s1").live && !session(it, "s2").live);
    write("s2");
    sandbox.wait_for("s2", |it| !session(it, "s1").live && session(it, "s2").live);
}

/// The kernel watches a directory itself, whatever its names are.
#[test]
fn a_directory_that_loses_one_of_two_names_is_watched_by_the_other() {
    let sandbox = Sandbox::with_root();
    let mut session = sandbox.session("s1", &sandbox.home);
    session.reply("one");
    let link = sandbox.root().join("projects/-link");
    fs_err::os::unix::fs::symlink("-project", &link).unwrap();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("one reply", |it| n_replies(it, &sandbox.root()) == 1);
    fs_err::remove_file(&link).unwrap();
    // When this returns, the watcher has seen the removal.
    sandbox.oneshot();
    session.reply("two");
    sandbox.wait_for("an append", |it| n_replies(it, &sandbox.root()) == 2);
}

/// Nothing that the watcher cannot understand may stop it.
#[test]
fn unusual_files_in_a_root_do_no_harm() {
    let sandbox = Sandbox::with_root();
    let _watcher = sandbox.start_watcher();
    let projects = sandbox.root().join("projects");
    fs_err::create_dir_all(projects.join("-p/dir.jsonl/x")).unwrap();
    fs_err::write(projects.join("file"), "not a folder").unwrap();
    fs_err::write(projects.join("-p/torn.jsonl"), b"\0\0\0\n{\"type\":\n[]\nnull\n\xff\n").unwrap();
    fs_err::os::unix::fs::symlink(&projects, projects.join("-p/loop")).unwrap();
    fs_err::os::unix::fs::symlink("/dev/zero", projects.join("-p/zero.jsonl")).unwrap();
    nix::unistd::mkfifo(&projects.join("-p/fifo.jsonl"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs_err::create_dir(sandbox.root().join("sessions")).unwrap();
    fs_err::write(sandbox.root().join("sessions/1.json"), "{").unwrap();
    Transcript::new(&sandbox.root(), "-p", "s1", Path::new("relative")).reply("one");
    let snapshot = sandbox.wait_for("a good session", |it| n_replies(it, &sandbox.root()) == 1);
    assert!(session(&snapshot, "s1").repo.is_none());
    let has_torn = |snapshot: &Snapshot| {
        let mut usage = snapshot.roots.values().filter_map(|it| it.usage.as_ref());
        usage.any(|it| it.skipped_lines > 0)
    };
    sandbox.wait_for("lines that were skipped", has_torn);
}
