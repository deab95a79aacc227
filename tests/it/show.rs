//! `show` and the script for `cat`, run as the client runs them: whatever their input is, they
//! print one line, exit with 0 and leave nothing behind.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ccstatusd::store::schema::{ClientFacts, Context, Repo, RepoKey, Session, SessionId, Snapshot};
use nix::sys::stat::Mode;

/// A run takes a few milliseconds, and waits at most 50 ms for its input. What takes longer than
/// this hangs.
const HANGS_AFTER: Duration = Duration::from_secs(2);

const DOCUMENT: &str = r#"{"session_id":"one","cwd":"/w/p","model":{"id":"m","display_name":"M"},
    "context_window":{"used_percentage":3},"cost":{"total_cost_usd":0.5},"rate_limits":null}"#;
const FROM_DOCUMENT: &str = "/w/p · M · ctx 3% · $0.50";

/// A state directory and the environment of a client that uses it.
struct ClientSandbox {
    home: tempfile::TempDir,
    dir: PathBuf,
    env: BTreeMap<&'static str, String>,
}

impl ClientSandbox {
    fn new() -> ClientSandbox {
        ClientSandbox::at("state")
    }

    fn at(dir: &str) -> ClientSandbox {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(dir);
        fs_err::create_dir_all(dir.join("lines")).unwrap();
        // Whatever the umask is.
        fs_err::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        let vars = [
            ("HOME", home.path().display().to_string()),
            ("CCSTATUSD_DIR", dir.display().to_string()),
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        ClientSandbox { home, dir, env: vars.into() }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.env.insert(name, value.to_owned());
    }

    fn publish(&self, bytes: &[u8]) {
        fs_err::write(self.dir.join("snapshot.json"), bytes).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the test is the client here")]
        let mut command = Command::new(program);
        command.env_clear().envs(&self.env).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Child {
        self.command(env!("CARGO_BIN_EXE_ccstatusd")).arg("show").spawn().unwrap()
    }

    /// What `show` prints for a client that writes `input` and then closes.
    #[track_caller]
    fn show(&self, input: &[u8]) -> String {
        let mut child = self.start();
        // It may stop reading before it has read everything.
        child.stdin.take().unwrap().write_all(input).ok();
        text(finish(child))
    }

    #[track_caller]
    fn check(&self, input: &str, expected: &str) {
        assert_eq!(self.show(input.as_bytes()), expected, "{input}");
    }

    /// Checks what contrib/statusline.sh prints in every shell that is installed.
    #[track_caller]
    fn check_script(&self, expected: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/statusline.sh");
        for shell in ["sh", "dash", "bash"] {
            match self.command(shell).arg(script).spawn() {
                Ok(child) => assert_eq!(text(finish(child)), expected, "{shell}"),
                Err(err) => assert_eq!(err.kind(), std::io::ErrorKind::NotFound, "{shell}"),
            }
        }
    }
}

/// Waits until a process ends, but no longer than [`HANGS_AFTER`]. Its standard input stays open
/// meanwhile.
#[track_caller]
fn finish(mut child: Child) -> Output {
    let stdin = child.stdin.take();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = ended.recv_timeout(HANGS_AFTER);
    drop(stdin);
    if output.is_err() {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
    }
    output.expect("it ends in time").unwrap()
}

#[track_caller]
fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
    text
}

fn snapshot() -> Snapshot {
    let session = Session {
        cwd: Some("/w/p".to_owned()),
        repo: Some("/w/p".to_owned()),
        context: Some(Context { used_percentage: Some(42.0), ..Context::default() }),
        ..Session::default()
    };
    // A fact from the future has no age, whenever the test runs.
    let repo = Repo { as_of_ms: i64::MAX, branch: Some("main".to_owned()), ..Repo::default() };
    Snapshot {
        version: 1,
        published_at_ms: i64::MAX,
        sessions: [(SessionId("one".to_owned()), session)].into(),
        repos: [(RepoKey("/w/p".to_owned()), repo)].into(),
        ..Snapshot::default()
    }
}

fn listing(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let entries = fs_err::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let mut found: Vec<_> = entries
        .map(|it| (it.clone(), fs_err::symlink_metadata(it).unwrap().modified().unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn any_input_gives_a_line() {
    let sandbox = ClientSandbox::new();
    let no_data = "no data yet: ccstatusd start";
    let nulls = r#"{"session_id":null,"cwd":null,"model":null,"context_window":null,"cost":null}"#;
    for input in ["", " ", "null", "[]", "garbage", "{", nulls, "\0\0\0", r#"{"cwd":7}"#] {
        sandbox.check(input, no_data);
    }
    sandbox.check(DOCUMENT, &format!("{FROM_DOCUMENT} · {no_data}"));
    sandbox.check(&format!("{DOCUMENT}{DOCUMENT}"), &format!("{FROM_DOCUMENT} · {no_data}"));
    sandbox.check(&"x".repeat(10 << 20), no_data);
    sandbox.check(&"{\"a\":".repeat(2 << 20), no_data);
}

#[test]
fn show_does_not_wait_for_the_end_of_an_open_input() {
    let sandbox = ClientSandbox::new();
    let mut child = sandbox.start();
    let stdin = child.stdin.as_mut().unwrap();
    for piece in DOCUMENT.as_bytes().chunks(50) {
        stdin.write_all(piece).unwrap();
    }
    assert_eq!(text(finish(child)), format!("{FROM_DOCUMENT} · no data yet: ccstatusd start"));
    assert_eq!(text(finish(sandbox.start())), "no data yet: ccstatusd start");
}

#[test]
fn a_closed_input_and_a_closed_output_are_not_errors() {
    let sandbox = ClientSandbox::new();
    let show = format!("exec {} show", env!("CARGO_BIN_EXE_ccstatusd"));
    let closed = sandbox.command("sh").args(["-c", &format!("{show} <&-")]).spawn().unwrap();
    assert_eq!(text(finish(closed)), "no data yet: ccstatusd start");

    let mut child = sandbox.start();
    drop(child.stdout.take());
    let output = finish(child);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_environment_names_the_session_where_the_input_does_not() {
    let mut sandbox = ClientSandbox::new();
    sandbox.publish(&serde_json::to_vec(&snapshot()).unwrap());
    sandbox.check("", "data 0s old, no watcher: ccstatusd start");
    sandbox.set("CLAUDE_CODE_SESSION_ID", "one");
    let line = "/w/p · main · ctx 42% · data 0s old, no watcher: ccstatusd start";
    sandbox.check("", line);
    sandbox.check(r#"{"session_id":"../one"}"#, line);
    sandbox.check(r#"{"session_id":"two"}"#, "data 0s old, no watcher: ccstatusd start");
    sandbox.set("COLUMNS", "40");
    sandbox.check("", "p · main · data 0s old, no watcher");
}

#[test]
fn colours_are_limited_by_the_terminal_and_by_the_user() {
    let mut snapshot = snapshot();
    snapshot.display.theme.palette = Some("dark".to_owned());
    let json = serde_json::to_vec(&snapshot).unwrap();
    let check = |vars: &[(&'static str, &str)], expected: &str| {
        let mut sandbox = ClientSandbox::new();
        sandbox.publish(&json);
        sandbox.env.remove("NO_COLOR");
        for (name, value) in vars {
            sandbox.set(name, value);
        }
        let shown = sandbox.show(br#"{"session_id":"one"}"#);
        let start = shown.split("/w/p").next().unwrap();
        assert_eq!(start, expected, "{vars:?}");
        assert_eq!(shown.contains('\x1b'), !expected.is_empty(), "{shown}");
    };
    let (ansi, indexed, rgb) = ("\x1b[36m", "\x1b[38;5;80m", "\x1b[38;2;111;211;216m");
    check(&[], ansi);
    check(&[("TERM", "xterm")], ansi);
    check(&[("TERM", "xterm-256color")], indexed);
    check(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")], rgb);
    check(&[("TERM", "xterm-kitty")], rgb);
    check(&[("TERM", "tmux-256color"), ("TERM_PROGRAM", "ghostty")], indexed);
    check(&[("TERM", "dumb")], "");
    check(&[("TERM", "dumb"), ("FORCE_COLOR", "1")], ansi);
    check(&[("FORCE_COLOR", "true")], ansi);
    check(&[("FORCE_COLOR", "2")], indexed);
    check(&[("FORCE_COLOR", "3"), ("TERM", "dumb")], rgb);
    check(&[("FORCE_COLOR", "0"), ("COLORTERM", "truecolor")], "");
    check(&[("NO_COLOR", "1"), ("FORCE_COLOR", "3"), ("COLORTERM", "truecolor")], "");
    check(&[("NO_COLOR", "")], ansi);
}

#[test]
fn the_home_directory_is_recognised_by_every_path_that_leads_to_it() {
    let mut sandbox = ClientSandbox::new();
    let path = |name: &str| sandbox.home.path().join(name).display().to_string();
    let (real, link, other) = (path("var/u"), path("home/u"), path("homes/u"));
    fs_err::create_dir_all(format!("{real}/proj")).unwrap();
    for name in ["home", "homes"] {
        fs_err::os::unix::fs::symlink(path("var"), path(name)).unwrap();
    }
    for home in [&real, &link, &format!("{link}/")] {
        sandbox.set("HOME", home);
        for below in [&real, &link, &other] {
            sandbox.check(
                &format!(r#"{{"cwd":"{below}/proj"}}"#),
                "~/proj · no data yet: ccstatusd start",
            );
        }
    }
    sandbox.set("HOME", "/");
    sandbox.check(r#"{"cwd":"/w/p"}"#, "/w/p · no data yet: ccstatusd start");
}

#[test]
fn only_web_addresses_become_links() {
    let mut sandbox = ClientSandbox::new();
    sandbox.env.remove("NO_COLOR");
    sandbox.set("TERM", "xterm-kitty");
    let shown = |sandbox: &ClientSandbox, url: &str| {
        let document = serde_json::json!({"pr": {"number": 7, "url": url}});
        sandbox.show(document.to_string().as_bytes())
    };
    let linked = shown(&sandbox, "https://forge.example/p/7");
    assert!(linked.starts_with("\x1b]8;;https://forge.example/p/7\x1b\\#7"), "{linked:?}");
    for url in [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://x/\x1b]0;owned\x07",
        "https://x/ y",
        "https://x/\u{202e}",
        &format!("https://x/{}", "y".repeat(2000)),
        "",
    ] {
        let shown = shown(&sandbox, url);
        assert!(shown.starts_with("#7") && !shown.contains("]8;"), "{url:?}: {shown:?}");
    }
    // A terminal that shows no links may show what stands between the sequences.
    sandbox.set("TERM", "xterm-256color");
    assert!(shown(&sandbox, "https://forge.example/p/7").starts_with("#7"));
    sandbox.set("FORCE_HYPERLINK", "1");
    assert_eq!(shown(&sandbox, "https://forge.example/p/7"), linked);
}

#[test]
fn a_file_that_is_not_a_snapshot_is_reported() {
    let sandbox = ClientSandbox::new();
    let path = sandbox.dir.join("snapshot.json");
    let check = |expected: &str| sandbox.check(DOCUMENT, &format!("{FROM_DOCUMENT} · {expected}"));
    for bytes in ["", "{", "[]", r#"{"version":"1"}"#, r#"{"version":0}"#, r#"{"version":1,"#] {
        sandbox.publish(bytes.as_bytes());
        check("snapshot is unreadable");
    }
    sandbox.publish(br#"{"version":2,"sessions":{"one":7}}"#);
    check("snapshot is from a newer ccstatusd");

    fs_err::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    check("snapshot is unreadable");

    fs_err::remove_file(&path).unwrap();
    fs_err::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    check("snapshot is unreadable");

    fs_err::remove_dir_all(&sandbox.dir).unwrap();
    check("no data yet: ccstatusd start");
}

#[test]
fn the_watcher_receives_the_facts_also_under_a_long_path() {
    let sandbox = ClientSandbox::at(&"long/".repeat(40));
    sandbox.publish(&serde_json::to_vec(&snapshot()).unwrap());
    // Such a path is too long for a socket address, so the socket is bound elsewhere and moved.
    let short = sandbox.home.path().join("s");
    let socket = UnixDatagram::bind(&short).unwrap();
    fs_err::rename(&short, sandbox.dir.join("notify.sock")).unwrap();
    socket.set_read_timeout(Some(HANGS_AFTER)).unwrap();

    sandbox.check(DOCUMENT, "/w/p · main · M · ctx 3% · $0.50");
    let mut bytes = vec![0; 64 << 10];
    let n_bytes = socket.recv(&mut bytes).unwrap();
    let facts: ClientFacts = serde_json::from_slice(&bytes[..n_bytes]).unwrap();
    assert_eq!(facts.session_id.as_deref(), Some("one"));
    assert_eq!(facts.cwd.as_deref(), Some("/w/p"));
    assert_eq!(facts.cost_usd, Some(0.5));

    // Facts that are too large are left out, but the session is still named.
    let huge = DOCUMENT.replace("/w/p", &format!("/{}", "x".repeat(9000)));
    sandbox.show(huge.as_bytes());
    let n_bytes = socket.recv(&mut bytes).unwrap();
    let facts: ClientFacts = serde_json::from_slice(&bytes[..n_bytes]).unwrap();
    assert_eq!((facts.session_id.as_deref(), facts.cwd), (Some("one"), None));
}

#[test]
fn show_does_not_wait_for_a_watcher_that_does_not_read() {
    let sandbox = ClientSandbox::new();
    let _socket = UnixDatagram::bind(sandbox.dir.join("notify.sock")).unwrap();
    // More datagrams than the socket's queue in the kernel holds.
    for _ in 0..40 {
        sandbox.check(DOCUMENT, &format!("{FROM_DOCUMENT} · no data yet"));
    }
}

/// Anybody could have written what is in it, and could receive what is sent there.
#[test]
fn a_state_directory_that_others_may_write_to_is_neither_drawn_nor_sent_anything() {
    let sandbox = ClientSandbox::new();
    sandbox.publish(br#"{"version":1,"display":{"format":"SPOOFED {model}"}}"#);
    let socket = UnixDatagram::bind(sandbox.dir.join("notify.sock")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let allow = |mode| fs_err::set_permissions(&sandbox.dir, PermissionsExt::from_mode(mode));
    for (mode, is_used) in [(0o722, false), (0o770, false), (0o700, true)] {
        allow(mode).unwrap();
        let line = sandbox.show(DOCUMENT.as_bytes());
        assert_eq!(line.contains("SPOOFED"), is_used, "mode {mode:o}: {line}");
        let received = socket.recv(&mut [0; 64]).is_ok();
        assert_eq!(received, is_used, "mode {mode:o}: a hint was sent");
    }
}

#[test]
fn show_writes_nothing() {
    let sandbox = ClientSandbox::new();
    sandbox.publish(&serde_json::to_vec(&snapshot()).unwrap());
    let before = (listing(&sandbox.dir), listing(sandbox.home.path()));
    sandbox.show(DOCUMENT.as_bytes());
    assert_eq!((listing(&sandbox.dir), listing(sandbox.home.path())), before);
}

#[test]
fn the_script_prints_the_line_of_its_session() {
    let mut sandbox = ClientSandbox::new();
    sandbox.check_script("ccstatusd: CLAUDE_CODE_SESSION_ID names no session");
    sandbox.set("CLAUDE_CODE_SESSION_ID", "../lines/one");
    sandbox.check_script("ccstatusd: CLAUDE_CODE_SESSION_ID names no session");
    sandbox.set("CLAUDE_CODE_SESSION_ID", "one");
    sandbox.check_script("no data yet: ccstatusd start");
    fs_err::write(sandbox.dir.join("lines/one"), "the line · 14:32").unwrap();
    sandbox.check_script("the line · 14:32");

    // A relative path is ignored: its meaning would depend on the working directory.
    sandbox.set("CCSTATUSD_DIR", "state");
    sandbox.check_script("no data yet: ccstatusd start");
    let lines = sandbox.home.path().join(".local/state/ccstatusd/lines");
    fs_err::create_dir_all(&lines).unwrap();
    fs_err::write(lines.join("one"), "the usual place").unwrap();
    sandbox.check_script("the usual place");
    sandbox.set("XDG_STATE_HOME", "relative");
    sandbox.check_script("the usual place");
    sandbox.set("XDG_STATE_HOME", "/nowhere");
    sandbox.check_script("no data yet: ccstatusd start");
}
