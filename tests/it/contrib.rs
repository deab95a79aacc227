//! The files in `contrib/`, checked by the programs that will run them. Where one of these is not
//! installed, the test prints `SKIP: ` and why.
#![expect(clippy::disallowed_methods, reason = "these tests are about starting programs")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::sandbox::{skip, text, write_script};

#[test]
fn the_systemd_unit_is_valid() {
    check_systemd_unit(&[]);
}

#[test]
fn the_systemd_unit_is_valid_with_its_hardening() {
    check_systemd_unit(&["hardening.conf"]);
}

#[track_caller]
fn check_systemd_unit(drop_ins: &[&str]) {
    let home = home_with_watcher("exit 0");
    let units = home.path().join("units");
    fs_err::create_dir_all(units.join("ccstatusd.service.d")).unwrap();
    fs_err::create_dir_all(home.path().join(".local/state/ccstatusd")).unwrap();
    fs_err::copy(contrib("systemd/ccstatusd.service"), units.join("ccstatusd.service")).unwrap();
    for name in drop_ins {
        let to = units.join("ccstatusd.service.d").join(name);
        fs_err::copy(contrib("systemd").join(name), to).unwrap();
    }
    verify_systemd_unit(home.path(), &units);
}

/// Lets systemd read `ccstatusd.service` in this directory.
#[track_caller]
pub(crate) fn verify_systemd_unit(home: &Path, units: &Path) {
    let verify = |unit: &Path| {
        // Without man: the manual page is not installed in this home.
        let mut command = Command::new("systemd-analyze");
        command.args(["--user", "--man=no", "verify"]).arg(unit);
        command.env("HOME", home).env("XDG_RUNTIME_DIR", home);
        run(&mut command)
    };
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.service");
    fs_err::write(&plain, "[Service]\nExecStart=/bin/sh -c true\n").unwrap();
    let Some(plain) = verify(&plain) else {
        return skip("systemd-analyze is missing: the systemd unit is not verified");
    };
    if !plain.status.success() {
        return skip(&format!("systemd-analyze does not work here: {}", text(&plain)));
    }
    let output = verify(&units.join("ccstatusd.service")).unwrap();
    // An unknown key is reported, but does not fail. Other units' troubles are not ours.
    let complaints = text(&output).lines().filter(|it| it.contains("ccstatusd")).count();
    assert!(output.status.success() && complaints == 0, "{}", text(&output));
}

#[test]
fn the_launchd_agent_is_valid() {
    let agent = contrib("launchd/ccstatusd.plist");
    let lints: [&[&str]; 2] = [&["plutil", "-lint"], &["plistutil", "-o", "/dev/null", "-i"]];
    let checked = lints.iter().any(|lint| {
        let Some(output) = run(Command::new(lint[0]).args(&lint[1..]).arg(&agent)) else {
            return false;
        };
        assert!(output.status.success(), "{lint:?}: {}", text(&output));
        true
    });
    if !checked {
        skip("neither plutil nor plistutil: the launchd agent is read by python3 alone");
    }

    let agent = launchd_agent();
    assert_eq!(agent["Label"], "ccstatusd");
    assert_eq!(agent["RunAtLoad"], true);
    assert_eq!(agent["KeepAlive"]["SuccessfulExit"], false);
}

/// launchd signals the process that it started, and judges that one's exit code.
#[test]
fn launchd_starts_the_watcher_itself() {
    let home = home_with_watcher("echo \"$$ $*\"; exit 7");
    let shell = launchd_command(home.path()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = shell.id();
    let output = shell.wait_with_output().unwrap();
    let log = home.path().join("Library/Logs/ccstatusd.log");
    let expected = format!("{pid} --wait --log-file {}\n", log.display());
    assert_eq!((text(&output), output.status.code()), (expected, Some(7)));
}

#[test]
fn the_autostart_entry_is_valid() {
    let entry = contrib("autostart/ccstatusd.desktop");
    match run(Command::new("desktop-file-validate").arg(entry)) {
        None => skip("desktop-file-validate is missing: the autostart entry is not validated"),
        Some(output) => {
            assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output));
        }
    }
}

#[test]
fn the_autostart_entry_finds_the_watcher() {
    let home = home_with_watcher("echo \"starts $*\"");
    let entry = fs_err::read_to_string(contrib("autostart/ccstatusd.desktop")).unwrap();
    let exec = entry.lines().find_map(|it| it.strip_prefix("Exec=")).unwrap();
    // Exec has quoting rules of its own; these two characters are where they leave the shell's.
    assert!(!exec.contains(['\\', '%']), "{exec}");
    let output = run(Command::new("sh").arg("-c").arg(exec).env("HOME", home.path())).unwrap();
    let log = home.path().join(".local/state/ccstatusd/ccstatusd.log");
    assert_eq!(text(&output), format!("starts --wait --log-file {}\n", log.display()));
}

/// Runs what the plugin runs when a session starts, with a watcher's program of this script.
fn start_hook(script: &str, binary: Option<&str>) -> (Option<i32>, String, String) {
    let home = home_with_watcher(script);
    let bin = home.path().join(".cargo/bin");
    let mut hook = Command::new("sh");
    hook.arg(contrib("claude-code/ccstatusd/hooks/start.sh"));
    hook.env_clear().env("HOME", home.path()).env("LOG", home.path().join("log"));
    match binary {
        Some(binary) => hook.env("PATH", "/bin:/usr/bin").env(OPTION_BINARY, binary),
        None => hook.env("PATH", format!("{}:/bin:/usr/bin", bin.display())),
    };
    let output = run(&mut hook).unwrap();
    let log = fs_err::read_to_string(home.path().join("log")).unwrap_or_default();
    (output.status.code(), text(&output).to_owned(), log)
}

/// How Claude Code passes on the plugin's option `binary`.
const OPTION_BINARY: &str = "CLAUDE_PLUGIN_OPTION_BINARY";

#[test]
fn the_plugin_starts_the_watcher_and_a_session_never_fails_for_it() {
    let started = |log: &str| (Some(0), String::new(), log.to_owned());
    let writes = "echo \"$*\" >> \"$LOG\"; echo said; echo complained >&2";
    assert_eq!(start_hook(writes, None), started("start\n"));
    assert_eq!(start_hook(writes, Some("~/.cargo/bin/ccstatusd")), started("start\n"));
    assert_eq!(start_hook(&format!("{writes}; exit 2"), None), started("start\n"), "it fails");
    for missing in ["no-such-program", "/no/such/program", "~/no-such-program"] {
        assert_eq!(start_hook(writes, Some(missing)), started(""), "{missing}");
    }
}

#[test]
fn the_plugin_has_the_version_of_the_program() {
    let manifest = contrib("claude-code/ccstatusd/.claude-plugin/plugin.json");
    let manifest = fs_err::read_to_string(manifest).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["license"], env!("CARGO_PKG_LICENSE"));
}

#[test]
fn the_picture_keeps_its_columns() {
    let screen = "日本 x\n\u{1b}[1mabcd\u{1b}[0m x\n";
    let mut converter = Command::new("python3");
    converter.arg(contrib("picture/screen_to_svg.py"));
    let mut converter =
        converter.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
    converter.stdin.take().unwrap().write_all(screen.as_bytes()).unwrap();
    let svg = text(&converter.wait_with_output().unwrap());
    let columns: Vec<_> = svg
        .lines()
        .filter(|it| it.ends_with(">x</text>"))
        .filter_map(|it| it.split('"').nth(1))
        .collect();
    // Five cells of 8.4 after a padding of 16: wide characters take two.
    assert_eq!(columns, ["58", "58"], "{svg}");
}

#[test]
fn the_demonstration_shows_true_lines_and_leaves_nothing_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let mut demo = Command::new(contrib("demo.sh"));
    demo.args(["--check", "--seconds", "6"]);
    demo.env("CCSTATUSD", env!("CARGO_BIN_EXE_ccstatusd")).env("TMPDIR", tmp.path());
    let output = run(&mut demo).unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let left: Vec<_> = fs_err::read_dir(tmp.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

/// A home directory where `cargo install` has put a watcher that does just this.
fn home_with_watcher(script: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join(".cargo/bin");
    fs_err::create_dir_all(&bin).unwrap();
    let watcher = bin.join("ccstatusd");
    write_script(&watcher, &format!("#!/bin/sh\n{script}\n"));
    home
}

/// The agent, read by a parser that is not ours.
fn launchd_agent() -> serde_json::Value {
    let to_json = "import json, plistlib, sys
json.dump(plistlib.load(open(sys.argv[1], 'rb')), sys.stdout)";
    let agent = contrib("launchd/ccstatusd.plist");
    let output = run(Command::new("python3").arg("-c").arg(to_json).arg(agent)).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|it| panic!("{it}: {}", text(&output)))
}

/// What launchd would start, in this home.
fn launchd_command(home: &Path) -> Command {
    let agent = launchd_agent();
    let arguments: Vec<String> = serde_json::from_value(agent["ProgramArguments"].clone()).unwrap();
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]).env("HOME", home).stdin(Stdio::null());
    command
}

/// `None` when there is no such program.
fn run(command: &mut Command) -> Option<Output> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => None,
        Err(err) => panic!("{command:?}: {err}"),
    }
}
