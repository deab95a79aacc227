//! Which terminals have the focus, as tmux tells.
//!
//! A terminal tells the program in it, and nobody else, when it gets and loses the focus. In a pane
//! of tmux, that program is tmux, and it knows which pane the user looks at, if its option
//! `focus-events` is on. Without that, tmux asks no terminal, and takes all of them to have the
//! focus.
//!
//! Only the server that the watcher finds is asked: the one that `TMUX` or `TMUX_TMPDIR` names,
//! else the default one. What others are called stands in the environments of sessions, beside
//! secrets.
//!
//! See docs/decisions/036-alerts-are-crossings.md.

use std::path::PathBuf;
use std::time::Duration;

use super::exec::{Invocation, RunLimits, Runner};
use super::tool::Tool;
use crate::store::lock::FetchLock;

/// tmux answers in milliseconds. The user is waiting to be told.
const LIMITS: RunLimits = RunLimits {
    deadline: Duration::from_secs(1),
    grace: Duration::from_millis(100),
    max_output: 16 << 10,
};

/// What is asked of each client of tmux. No tabs: tmux would replace them.
const FORMAT: &str = "#{focus-events} #{client_flags} #{pane_tty}";

/// Clients of which tmux does not know whether they have the focus, or which pane has it: programs
/// that speak for a terminal, terminals that show something else now, and those whose active pane
/// is not that of their window.
const UNKNOWN: [&str; 3] = ["control-mode", "suspended", "active-pane"];

/// The terminals that have the focus. There are none where that cannot be known: without tmux, with
/// one that is older than 3.2, or with one that does not answer. tmux sees the environment of this
/// alert's program.
pub fn focused(runner: &Runner, lock: &FetchLock, tool: &Tool) -> Vec<PathBuf> {
    let what = Invocation {
        program: "tmux".into(),
        args: ["list-clients", "-F", FORMAT].map(Into::into).into(),
        input: Vec::new(),
        ..tool.what.clone()
    };
    let answer = runner.run(lock, &what, LIMITS).unwrap_or_default();
    String::from_utf8_lossy(&answer).lines().filter_map(focused_terminal).collect()
}

/// The terminal of the pane that a client shows, if it has the focus. The line is in [`FORMAT`].
fn focused_terminal(line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ' ');
    let (focus_events, flags, terminal) = (parts.next()?, parts.next()?, parts.next()?);
    let has = |flag: &str| flags.split(',').any(|it| it == flag);
    let is_known = matches!(focus_events, "1" | "on") && !UNKNOWN.iter().any(|it| has(it));
    (is_known && has("focused") && !terminal.is_empty()).then(|| terminal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        assert_eq!(focused_terminal(line), expected.map(PathBuf::from), "{line}");
    }

    #[test]
    fn a_pane_has_the_focus_if_its_client_says_so_and_was_asked() {
        check("1 attached,focused,UTF-8 /dev/pts/3", Some("/dev/pts/3"));
        check("on attached,focused /dev/pts/3", Some("/dev/pts/3"));
        check("1 attached,UTF-8 /dev/pts/3", None);
        check("0 attached,focused,UTF-8 /dev/pts/3", None);
        check("1 attached,unfocused,UTF-8 /dev/pts/3", None);
    }

    #[test]
    fn what_tmux_does_not_know_is_not_taken_from_it() {
        check("1 attached,focused,control-mode,UTF-8 /dev/pts/3", None);
        check("1 attached,focused,suspended,UTF-8 /dev/pts/3", None);
        check("1 attached,focused,active-pane,UTF-8 /dev/pts/3", None);
    }

    #[test]
    fn an_answer_of_an_old_tmux_or_of_no_tmux_says_nothing() {
        for line in ["", " ", "  ", "1", "1 focused", "1 focused ", "  /dev/pts/3", "no server"] {
            check(line, None);
        }
    }
}
