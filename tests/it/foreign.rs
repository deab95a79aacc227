//! What belongs to another user is neither read nor written, nor sent anything, by any command. All
//! tests need root, which alone can give files away.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::unistd::geteuid;

use crate::sandbox::{Sandbox, skip, text};

/// The user who owns what is not ours.
const OTHER: u32 = 64_002;

/// The commands, each with whether it is a display, which always prints a line and exits with 0.
const COMMANDS: [(&str, bool); 9] = [
    ("", false),
    ("--oneshot", false),
    ("--oneshot --json", false),
    ("show", true),
    ("subagents", true),
    ("config", false),
    ("doctor", false),
    ("doctor --fix", false),
    ("prices", false),
];

fn run(mut command: Command, stdin: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// What Claude Code passes to a status line, with words that no other user may learn.
fn document(sandbox: &Sandbox) -> String {
    let transcript = sandbox.root().join("projects/-secret/s1.jsonl");
    format!(
        r#"{{"session_id":"s1","transcript_path":"{}","cwd":"/secret","session_name":"secret","tasks":[]}}"#,
        transcript.display()
    )
}

/// Every file below `dir`, with its owner and times.
fn files(dir: &Path) -> Vec<(String, u32, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap().map(|it| it.unwrap()) {
        let meta = entry.metadata().unwrap();
        let name = entry.path().display().to_string();
        found.push((name, meta.uid(), meta.mtime_nsec(), meta.ctime_nsec()));
        if meta.is_dir() {
            found.extend(files(&entry.path()));
        }
    }
    found.sort();
    found
}

/// A sandbox whose state directory another user has prepared: with a snapshot, lines, a socket on
/// which they listen, and open to everybody.
fn prepared_state(mode: u32, owner: u32) -> (Sandbox, UnixDatagram) {
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("secret");
    sandbox.oneshot();
    let snapshot = fs_err::read_to_string(sandbox.state.join("snapshot.json")).unwrap();
    let spoofed = snapshot.replace(r#""live":true"#, r#""live":true,"name":"SPOOFED""#);
    fs_err::write(sandbox.state.join("snapshot.json"), spoofed).unwrap();
    fs_err::write(sandbox.state.join("lines/s1"), "SPOOFED").unwrap();
    let socket = UnixDatagram::bind(sandbox.state.join("notify.sock")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let open = |path: &Path| {
        fs_err::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        chown(path, Some(owner), None).unwrap();
    };
    for (name, ..) in files(&sandbox.state) {
        open(Path::new(&name));
    }
    open(&sandbox.state);
    (sandbox, socket)
}

#[track_caller]
fn check_state_is_not_used(mode: u32, owner: u32) {
    let (sandbox, socket) = prepared_state(mode, owner);
    let before = files(&sandbox.state);
    for (args, is_display) in COMMANDS {
        let mut command = sandbox.ccstatusd();
        command.args(args.split_whitespace());
        let output = run(command, &document(&sandbox));
        let said = format!("`{args}` with mode {mode:o} of user {owner}: {}", text(&output));
        assert!(!text(&output).contains("SPOOFED"), "{said}");
        if matches!(args, "" | "--oneshot" | "--oneshot --json") {
            assert!(
                !output.status.success() && text(&output).contains("state directory"),
                "{said}"
            );
        }
        assert!(!is_display || output.status.success(), "{said}");
        assert_eq!(files(&sandbox.state), before, "{said}");
        let got = socket.recv(&mut [0; 4096]);
        assert!(got.is_err(), "{said}: {got:?} bytes were sent");
    }
    if owner == 0 {
        return; // The script only asks who owns the directory.
    }
    let mut command = sandbox.command("sh");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/statusline.sh");
    command.arg(script).env("CLAUDE_CODE_SESSION_ID", "s1");
    let output = run(command, "");
    assert!(!text(&output).contains("SPOOFED"), "statusline.sh: {}", text(&output));
}

#[test]
fn a_state_directory_of_another_user_is_not_used() {
    if !geteuid().is_root() {
        return skip("not root: nothing can be given to another user");
    }
    for mode in [0o777, 0o700] {
        check_state_is_not_used(mode, OTHER);
    }
}

#[test]
fn a_state_directory_that_others_may_write_to_is_not_used() {
    if !geteuid().is_root() {
        return skip("not root: nothing can be given to another user");
    }
    for mode in [0o777, 0o770] {
        check_state_is_not_used(mode, 0);
    }
}

/// As `sudo ccstatusd` where `sudo` leaves `HOME` as it was.
#[test]
fn the_home_of_another_user_is_refused_with_a_hint() {
    if !geteuid().is_root() {
        return skip("not root: nothing can be given to another user");
    }
    let (sandbox, mut transcript) = Sandbox::with_session();
    transcript.reply("x");
    sandbox.configure("[commands.x]\ncommand = ['touch', '/tmp/never']\n");
    fs_err::remove_dir_all(&sandbox.state).ok();
    chown(&sandbox.home, Some(OTHER), None).unwrap();
    for (args, is_display) in COMMANDS {
        let mut command = sandbox.ccstatusd();
        command.args(args.split_whitespace());
        let output = run(command, &document(&sandbox));
        if is_display {
            assert!(output.status.success(), "{args}: {}", text(&output));
            continue;
        }
        assert!(!output.status.success(), "{args}");
        let (said, whose) = (text(&output), format!("belongs to user {OTHER}"));
        assert!(said.contains(&whose) && said.contains("sudo -H"), "{args}: {said}");
    }
    assert!(!sandbox.state.exists(), "something was made for another user");
    assert!(sandbox.n_git_calls() == 0);
}
