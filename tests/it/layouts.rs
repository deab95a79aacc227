//! Transcripts in other places, and under other names, than those that the client gives them.

use ccstatusd::store::schema::SessionId;
use ccstatusd::time::Now;

use crate::sandbox::{CAP, Sandbox, n_replies, session};
use crate::transcripts::Transcript;

/// A transcript of `session` at this path below the project folder of `beside`.
fn at(beside: &Transcript, path: &str, session: &str) -> Transcript {
    let folder = beside.path.parent().unwrap();
    let name = path.replace(['/', '.', ' '], "_");
    let mut transcript = Transcript::new(&beside.cwd, "unused", session, &beside.cwd).agent(&name);
    transcript.path = folder.join(path);
    transcript
}

#[test]
fn every_transcript_below_a_project_folder_counts_whatever_its_name_and_place() {
    let (sandbox, mut own) = Sandbox::with_session();
    own.reply("Done.");
    let paths = [
        "s1/agent-t1.jsonl",
        "s1/subagents/worker.jsonl",
        "s1/subagents/workflows/w/agent-2.jsonl",
        "s1/tool-results/x/y.jsonl",
        "s1.sync-conflict-20261125-101010-ABCDEFG.jsonl",
        "s1 (copy).jsonl",
        "märz im jahr/ä.jsonl",
        "a.b/c d.jsonl",
        "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/deep.jsonl",
    ];
    for path in paths {
        at(&own, path, "s1").reply("Done.");
    }
    let n_expected = 1 + paths.len() as u64;
    let snapshot = sandbox.oneshot();
    assert_eq!(n_replies(&snapshot, &sandbox.root()), n_expected);
    assert_eq!(session(&snapshot, "s1").tokens.output, 42 * n_expected);
    assert_eq!(snapshot.sessions.keys().collect::<Vec<_>>(), [&SessionId("s1".to_owned())]);
    at(&own, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/deeper.jsonl", "s1").reply("Done.");
    assert_eq!(sandbox.try_oneshot().status.code(), Some(1), "something is passed over");
    let snapshot = sandbox.snapshot().unwrap();
    assert_eq!(n_replies(&snapshot, &sandbox.root()), n_expected);
    let sources: Vec<_> = snapshot.degraded.iter().map(|it| &*it.source).collect();
    assert_eq!(sources.len(), 1, "{:?}", snapshot.degraded);
    assert!(sources[0].starts_with("watch:") && sources[0].ends_with("/15/16"), "{sources:?}");
}

#[test]
fn a_watcher_follows_folders_in_a_session_and_copies_change_no_live_session() {
    let (sandbox, mut own) = Sandbox::with_session();
    own.prompt("Go");
    own.reply("Done.");
    let _watcher = sandbox.start_watcher();
    let root = sandbox.root();
    let before = sandbox.wait_for("the session", |it| n_replies(it, &root) == 1);
    let mut copy = at(&own, "s1.sync-conflict-20261125-101010-ABCDEFG.jsonl", "s1");
    copy.prompt("Something else");
    copy.reply("Of another machine.");
    for (n, path) in ["s1/agent-t1.jsonl", "s1/notes/more/x.jsonl"].into_iter().enumerate() {
        let mut other = at(&own, path, "s1");
        for more in 0..2 {
            other.reply("Done.");
            let expected = 3 + 2 * n as u64 + more;
            sandbox.wait_for(path, |it| n_replies(it, &root) == expected);
        }
    }
    copy.reply("Again.");
    let after = sandbox.wait_for("the copy", |it| n_replies(it, &root) == 7);
    let [before, after] = [before, after].map(|snapshot| {
        assert_eq!(snapshot.sessions.len(), 1);
        let own = session(&snapshot, "s1");
        (own.last_message.clone(), own.context.clone(), own.turns, own.transcript.clone())
    });
    assert_eq!(after, before);
}

#[test]
fn links_are_followed_once_and_never_in_a_loop() {
    let (sandbox, mut own) = Sandbox::with_session();
    own.reply("Done.");
    let mut agent = own.agent("1");
    agent.reply("Done.");
    let folder = agent.path.parent().unwrap();
    let elsewhere = sandbox.path("elsewhere.jsonl");
    fs_err::rename(&agent.path, &elsewhere).unwrap();
    for name in ["agent-1.jsonl", "agent-2.jsonl"] {
        fs_err::os::unix::fs::symlink(&elsewhere, folder.join(name)).unwrap();
    }
    for name in ["loop", "ring"] {
        fs_err::os::unix::fs::symlink(folder, folder.join(name)).unwrap();
    }
    let root = sandbox.root();
    assert_eq!(n_replies(&sandbox.oneshot(), &root), 2);
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("both", |it| n_replies(it, &root) == 2);
    agent.path = folder.join("agent-3.jsonl");
    agent.reply("Done.");
    sandbox.wait_for("a third", |it| n_replies(it, &root) == 3);
}

#[test]
fn a_transcript_with_an_old_modification_time_is_read_if_its_inode_changed_lately() {
    let (sandbox, mut own) = Sandbox::with_session();
    own.reply("Done.");
    own.reply("Done.");
    for days in [40, 10_000] {
        let file = fs_err::OpenOptions::new().write(true).open(&own.path).unwrap();
        let at_ms = u64::try_from(Now::read().wall_ms - days * 86_400_000).unwrap();
        let age = std::time::Duration::from_millis(at_ms);
        file.file().set_modified(std::time::UNIX_EPOCH + age).unwrap();
        assert_eq!(n_replies(&sandbox.oneshot(), &sandbox.root()), 2);
    }
}

#[test]
fn a_last_line_without_a_newline_counts_once_when_its_file_has_been_quiet() {
    let (sandbox, mut own) = Sandbox::with_session();
    own.reply("Done.");
    let root = sandbox.root();
    let _watcher = sandbox.start_watcher();
    let unended = own.reply_line("Unended.");
    own.append(unended.trim_end());
    sandbox.wait_longer_for(CAP * 2, "the last line", |it| n_replies(it, &root) == 2);
    own.append("\n");
    own.reply("Done.");
    sandbox.wait_for("the next line", |it| n_replies(it, &root) == 3);
}

#[test]
fn a_folder_of_transcripts_names_its_config_root() {
    let (mut sandbox, mut own) = Sandbox::with_session();
    own.reply("Done.");
    let root = sandbox.root();
    let link = sandbox.path("link");
    fs_err::os::unix::fs::symlink(root.join("projects"), &link).unwrap();
    let named = format!("{0}/projects,{0},{1},{0}/projects/", root.display(), link.display());
    sandbox.set_env("CLAUDE_CONFIG_DIR", named);
    let snapshot = sandbox.oneshot();
    assert_eq!(snapshot.roots.len(), 1, "{:?}", snapshot.roots.keys());
    assert_eq!(n_replies(&snapshot, &root), 1);
    // A root may have this name.
    let other = sandbox.path("projects");
    Transcript::new(&other, "p", "s2", &own.cwd).reply("Done.");
    sandbox.set_env("CLAUDE_CONFIG_DIR", &other);
    assert_eq!(n_replies(&sandbox.oneshot(), &other), 1);
}
