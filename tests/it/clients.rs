//! Clients: which of their sessions live and which wait, with real processes.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ccstatusd::fetch::claude::client::SessionFile;
use ccstatusd::fetch::exits::Exits;
use ccstatusd::store::schema::{ClientFacts, SessionId, SessionKind, Snapshot, Status};
use ccstatusd::time::Now;
use crossbeam_channel::unbounded;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, repo_of, session, skip};
use crate::transcripts::Transcript;

/// A process that stands for a client, with its process file.
pub(crate) struct Client {
    process: Child,
    path: PathBuf,
    document: Value,
}

impl Client {
    pub(crate) fn start(sandbox: &Sandbox, session: &str) -> Client {
        Client::started_by(sandbox.command("sleep"), sandbox, session)
    }

    /// The same in this terminal.
    pub(crate) fn start_in(terminal: &str, sandbox: &Sandbox, session: &str) -> Client {
        let mut command = sandbox.command("sh");
        command.args(["-c", r#"exec sleep "$1" <"$0""#, terminal]);
        Client::started_by(command, sandbox, session)
    }

    fn started_by(command: Command, sandbox: &Sandbox, session: &str) -> Client {
        let mut client = Client::unwritten(command, &sandbox.root(), session);
        client.set("cwd", json!(sandbox.home));
        client
    }

    /// `command` is to sleep. The process file is to be in this root, and is not written yet.
    fn unwritten(mut command: Command, root: &Path, session: &str) -> Client {
        let process = command.arg("100").stdout(Stdio::null()).spawn().unwrap();
        let pid = process.id();
        let now_ms = Now::read().wall_ms;
        let document = json!({
            "pid": pid, "sessionId": session, "startedAt": now_ms,
            "procStart": start_ticks(&pid.to_string()), "version": "2.1.332",
            "kind": "interactive", "status": "idle", "updatedAt": now_ms,
            "statusUpdatedAt": now_ms,
        });
        let path = root.join(format!("sessions/{pid}.json"));
        Client { process, path, document }
    }

    /// Changes a field of the process file; takes it out for `null`.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.document[key] = value;
        self.write();
    }

    fn write(&self) {
        fs_err::create_dir_all(self.path.parent().unwrap()).unwrap();
        let new = self.path.with_extension("tmp");
        fs_err::write(&new, self.document.to_string()).unwrap();
        fs_err::rename(new, &self.path).unwrap();
    }

    /// Ends as a client does that is killed: its file stays.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// When a process started, as clients write it: in ticks since boot.
fn start_ticks(pid: &str) -> String {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap().to_owned()
}

/// A session that wrote nothing and has ended is not in the snapshot.
fn is_live(snapshot: &Snapshot, id: &str) -> bool {
    snapshot.sessions.get(&SessionId(id.to_owned())).is_some_and(|it| it.live)
}

/// What the client appends when a session has ended. It states no time.
const LAST_LINE: &str = "{\"type\":\"cost-state\",\"sessionId\":\"s1\",\"totalCostUSD\":0.01}\n";

/// Anyone who can make a root can write a file about any process into it.
#[test]
fn only_a_process_that_is_known_and_not_confined_proves_a_root() {
    if !fs_err::read_to_string("/proc/self/status").unwrap().contains("NoNewPrivs:\t0") {
        return skip("everything here is confined: no process proves a root");
    }
    let sandbox = Sandbox::with_root();
    let ran = sandbox.path("ran");
    sandbox.configure(&format!("[commands.x]\ncommand = ['touch', '{}']\n", ran.display()));
    let (repo, root) = (sandbox.repo("p"), sandbox.path("elsewhere"));
    let _watcher = sandbox.start_watcher();
    let mut transcript = Transcript::new(&root, "-p", "s1", &repo);
    transcript.reply("one");
    let mut confined = sandbox.command("setpriv");
    confined.args(["--no-new-privs", "sleep"]);
    let sleep = || sandbox.command("sleep");
    // In this order, since the last one proves the root.
    for (command, is_known, proves) in
        [(confined, true, false), (sleep(), false, false), (sleep(), true, true)]
    {
        let mut client = Client::unwritten(command, &root, "s1");
        if !is_known {
            // Whoever has process ids of their own does not know when another process has started.
            client.document["procStart"] = Value::Null;
        }
        client.write();
        sandbox.hint(&ClientFacts {
            session_id: Some("s1".into()),
            transcript_path: Some(transcript.path.to_str().unwrap().into()),
            ..ClientFacts::default()
        });
        let pid = Some(client.process.id());
        sandbox.wait_for("the process", |snapshot| {
            let found = snapshot.sessions.get(&SessionId("s1".into()));
            found.is_some_and(|it| it.pid == pid)
        });
        sandbox.oneshot();
        if proves {
            sandbox.wait_for("git facts", |it| repo_of(it, "s1").is_some());
            sandbox.wait_until("the command", || ran.exists());
        }
        assert_eq!(sandbox.n_git_calls() > 0 || ran.exists(), proves, "{}", client.document);
    }
}

/// Without being told of exits, the watcher would notice at its next check, after a minute.
#[test]
fn a_client_that_is_killed_is_noticed_at_once() {
    let sandbox = Sandbox::with_root();
    sandbox.session("killed", &sandbox.home).prompt("hello");
    let _watcher = sandbox.start_watcher();
    let (mut killed, _other) =
        (Client::start(&sandbox, "killed"), Client::start(&sandbox, "other"));
    sandbox.wait_for("both", |it| is_live(it, "other") && session(it, "killed").pid.is_some());
    killed.kill();
    let snapshot = sandbox.wait_for("the end", |it| !is_live(it, "killed"));
    assert!(is_live(&snapshot, "other"));
    assert!(session(&snapshot, "killed").ended_ms.is_some());
    assert_eq!(session(&snapshot, "killed").pid, None);
}

/// The wait that the test above relies on.
#[test]
fn the_exit_of_each_process_is_told_once_and_of_no_other() {
    let sandbox = Sandbox::new();
    let (sender, exited) = unbounded();
    let exits = Exits::start(move |path| sender.send(path).unwrap()).unwrap();
    let (mut killed, living) = (Client::start(&sandbox, "k"), Client::start(&sandbox, "l"));
    let wait_for = |name: &str, client: &Client, proc_start: Option<String>| {
        let pid = client.process.id();
        let file = SessionFile { pid, proc_start, ..SessionFile::default() };
        exits.wait_for(name.into(), file);
    };
    let next = || exited.recv_timeout(Duration::from_secs(10)).unwrap();
    wait_for("killed", &killed, Some(start_ticks(&killed.process.id().to_string())));
    wait_for("living", &living, Some(start_ticks(&living.process.id().to_string())));
    assert!(exited.recv_timeout(Duration::from_millis(100)).is_err(), "both live");
    killed.process.kill().unwrap();
    assert_eq!(next(), PathBuf::from("killed"), "it is not reaped yet, but it has ended");
    killed.process.wait().unwrap();
    wait_for("gone", &killed, None);
    assert_eq!(next(), PathBuf::from("gone"));
    wait_for("reused", &living, Some("1".to_owned()));
    assert_eq!(next(), PathBuf::from("reused"), "another process has its id");
    drop(exits);
    let end = exited.recv_timeout(Duration::from_secs(10)).unwrap_err();
    assert!(end.is_disconnected(), "the thread ended");
}

#[test]
fn what_is_appended_after_the_end_does_not_revive_a_session_and_neither_does_a_restart() {
    let sandbox = Sandbox::with_root();
    let mut transcript = sandbox.session("s1", &sandbox.home);
    transcript.reply("one");
    let mut watcher = sandbox.start_watcher();
    let client = Client::start(&sandbox, "s1");
    sandbox.wait_for("its process", |it| session(it, "s1").status.is_some());
    fs_err::remove_file(&client.path).unwrap();
    transcript.append(LAST_LINE);
    sandbox.wait_for("the end", |it| !is_live(it, "s1"));
    transcript.append(LAST_LINE);
    let facts = || ClientFacts {
        session_id: Some("s1".to_owned()),
        cost_usd: Some(0.01),
        ..ClientFacts::default()
    };
    sandbox.hint(&facts());
    assert!(!is_live(&sandbox.oneshot(), "s1"), "its last display");
    watcher.signal(nix::sys::signal::Signal::SIGTERM);
    watcher.wait(Duration::from_secs(10));
    transcript.append(LAST_LINE);
    assert!(!is_live(&sandbox.oneshot(), "s1"), "without a watcher");
    let _watcher = sandbox.start_watcher();
    transcript.append(LAST_LINE);
    assert!(!is_live(&sandbox.oneshot(), "s1"), "a new watcher");
    transcript.reply("two");
    sandbox.wait_for("its revival", |it| is_live(it, "s1"));
}

#[test]
fn a_session_that_ends_while_no_watcher_runs_has_ended() {
    for is_killed in [true, false] {
        let sandbox = Sandbox::with_root();
        let mut transcript = sandbox.session("s1", &sandbox.home);
        transcript.reply("one");
        let mut watcher = sandbox.start_watcher();
        let mut client = Client::start(&sandbox, "s1");
        sandbox.wait_for("its process", |it| session(it, "s1").pid.is_some());
        watcher.signal(nix::sys::signal::Signal::SIGKILL);
        watcher.wait(Duration::from_secs(10));
        if is_killed {
            client.kill();
        } else {
            fs_err::remove_dir_all(client.path.parent().unwrap()).unwrap();
        }
        transcript.append(LAST_LINE);
        let _watcher = sandbox.start_watcher();
        assert!(!is_live(&sandbox.oneshot(), "s1"), "{is_killed}");
    }
}

#[test]
fn a_process_of_another_namespace_is_no_process_here() {
    let sandbox = Sandbox::with_root();
    let script = "readlink /proc/self/ns/pid";
    let theirs = sandbox.command("unshare").args(["-Urpf", "sh", "-c", script]).output();
    let Ok(theirs) =
        theirs.map_err(|_| ()).and_then(|it| it.status.success().then_some(it).ok_or(()))
    else {
        skip("no process namespaces: a process of another one is not tested");
        return;
    };
    let theirs = String::from_utf8(theirs.stdout).unwrap().trim().to_owned();
    let ours = fs_err::read_link("/proc/self/ns/pid").unwrap();
    let _watcher = sandbox.start_watcher();
    let domain = |namespace: &str| json!(format!("linux:machine:{namespace}"));
    let mut client = Client::start(&sandbox, "s1");
    client.set("pidDomain", domain(ours.to_str().unwrap()));
    sandbox.wait_for("a process of ours", |it| is_live(it, "s1"));
    client.set("pidDomain", domain(&theirs));
    sandbox.wait_for("a process of theirs", |it| !is_live(it, "s1"));
}

/// Lines that are stored do not say how old facts are: nobody knows when they will be read.
#[test]
fn the_lines_for_cat_name_who_waits_and_no_age() {
    let sandbox = Sandbox::with_root();
    sandbox.configure("format = '{status}{waiting}{others_waiting}'");
    for id in ["s1", "s2"] {
        sandbox.session(id, &sandbox.home).prompt("hello");
    }
    let _watcher = sandbox.start_watcher();
    let mut busy = Client::start(&sandbox, "s1");
    busy.set("status", json!("busy"));
    let mut waiting = Client::start(&sandbox, "s2");
    waiting.set("status", json!("waiting"));
    let line = |id: &str| {
        let path = sandbox.state.join("plain").join(id);
        fs_err::read_to_string(path).unwrap_or_default()
    };
    sandbox.wait_until("both lines", || {
        line("s1").contains("waiting: ") && line("s2").contains("waits")
    });
    for id in ["s1", "s2"] {
        assert!(!line(id).contains("ago"), "{id}: {}", line(id));
    }
}

#[test]
fn what_a_client_does_and_waits_for_is_published() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).prompt("hello");
    let _watcher = sandbox.start_watcher();
    let mut client = Client::start(&sandbox, "s1");
    client.set("waitingFor", json!("permission prompt"));
    client.set("status", json!("waiting"));
    let snapshot =
        sandbox.wait_for("waiting", |it| session(it, "s1").status == Some(Status::Waiting));
    let s1 = session(&snapshot, "s1");
    assert_eq!(s1.waiting_for.as_deref(), Some("permission prompt"));
    assert_eq!(s1.status_since_ms, client.document["statusUpdatedAt"].as_i64());
    assert_eq!(s1.kind, Some(SessionKind::Interactive));
    assert_eq!(snapshot.waiting.len(), 1);
    client.set("status", json!("a status of the future"));
    sandbox.wait_for("an unknown status", |it| session(it, "s1").status.is_none());
    let path = sandbox.root().join("jobs/j1/state.json");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, r#"{"state":"working","name":"fix it"}"#).unwrap();
    client.set("jobId", json!("j1"));
    client.set("kind", json!("bg"));
    let snapshot = sandbox
        .wait_for("a background job", |it| session(it, "s1").kind == Some(SessionKind::Background));
    let job = session(&snapshot, "s1").job.as_ref().unwrap();
    assert_eq!((job.name.as_deref(), job.state.as_deref()), (Some("fix it"), Some("working")));
    let state = |it: &Snapshot| session(it, "s1").job.as_ref().and_then(|job| job.state.clone());
    for new in ["blocked", "stopped"] {
        fs_err::write(&path, format!(r#"{{"state":"{new}"}}"#)).unwrap();
        sandbox.wait_for("another state", |it| state(it).as_deref() == Some(new));
    }
}
