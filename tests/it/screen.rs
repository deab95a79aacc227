//! A real terminal for tests: a pane of tmux, whose screen can be read and typed at.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use crate::sandbox::{CAP, Sandbox, is_met_within, skip, text};

/// Runs the program with these arguments in a terminal that no shell controls, and returns what
/// came of `what`. See `bare_terminal.py`.
#[track_caller]
pub(crate) fn without_shell(sandbox: &Sandbox, what: &str, args: &[&str]) -> String {
    let mut script = sandbox.command("python3");
    script.args(["-c", include_str!("bare_terminal.py"), what, "▲ waiting"]);
    let output = script.arg(env!("CARGO_BIN_EXE_ccstatusd")).args(args).output().unwrap();
    text(&output) + &String::from_utf8_lossy(&output.stderr)
}

/// A tmux server with one pane, which runs `sh`. It ends when this is dropped.
pub(crate) struct Screen<'a> {
    sandbox: &'a Sandbox,
    socket: PathBuf,
}

impl<'a> Screen<'a> {
    /// `None` without tmux. `config` are commands of tmux, one a line.
    #[track_caller]
    pub(crate) fn start(
        sandbox: &'a Sandbox,
        (columns, rows): (u16, u16),
        config: &str,
    ) -> Option<Screen<'a>> {
        if sandbox.command("tmux").arg("-V").output().is_err() {
            skip("tmux is missing: nothing is looked at on a real screen");
            return None;
        }
        let screen = Screen { sandbox, socket: sandbox.path("tmux.socket") };
        let path = sandbox.path("tmux.conf");
        let base = "set -g default-shell /bin/sh\nset -g default-terminal tmux-256color\n";
        fs_err::write(&path, format!("{base}{config}\n")).unwrap();
        let mut start = screen.tmux();
        start.arg("-f").arg(path).args(["new-session", "-d", "-s", "t"]);
        start.args(["-x", &columns.to_string(), "-y", &rows.to_string(), "-c"]);
        start.arg(&sandbox.home).arg("sh");
        start.env("PS1", "$ ").env("ENV", "").env("LC_ALL", "C.UTF-8");
        let output = start.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        Some(screen)
    }

    /// A command of tmux, without its arguments.
    pub(crate) fn tmux(&self) -> Command {
        let mut command = self.sandbox.command("tmux");
        command.arg("-u").arg("-S").arg(&self.socket).env("LC_ALL", "C.UTF-8");
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.tmux().args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    }

    /// Types this text, or presses the key of this name.
    pub(crate) fn press(&self, keys: &str) {
        self.run(&["send-keys", "-t", "t", keys]);
    }

    pub(crate) fn type_line(&self, line: &str) {
        self.run(&["send-keys", "-t", "t", "-l", line]);
        self.press("Enter");
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let [columns, rows] = [columns, rows].map(|it| it.to_string());
        self.run(&["resize-window", "-t", "t", "-x", &columns, "-y", &rows]);
    }

    /// What stands on the screen.
    pub(crate) fn text(&self) -> String {
        self.run(&["capture-pane", "-t", "t", "-p"])
    }

    /// What a format of tmux expands to in the pane.
    pub(crate) fn format(&self, format: &str) -> String {
        self.run(&["display-message", "-t", "t", "-p", format]).trim_end().to_owned()
    }

    /// Waits for a screen for which `is_met` holds, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, mut is_met: impl FnMut(&str) -> bool) -> String {
        let mut seen = String::new();
        let is_met = is_met_within(CAP, || {
            seen = self.text();
            is_met(&seen)
        });
        assert!(is_met, "{what}: not within {CAP:?}; the screen is\n{seen}");
        seen
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.tmux().arg("kill-server").output().ok();
        // A server that is ending would refuse the next screen on its socket.
        is_met_within(CAP, || UnixStream::connect(&self.socket).is_err());
    }
}
