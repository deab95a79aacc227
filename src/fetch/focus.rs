//! Which terminals have the focus, as tmux tells.
//!
//! A terminal tells the program in it, and nobody else, when it gets and loses the focus. Where the
//! user works in tmux, that program is tmux, which knows what pane the terminal shows. tmux asks
//! terminals for their focus only if its option `focus-events` is on; without it, tmux takes all of
//! them to have the focus.
//!
//! Only the server that the watcher finds is asked: the one that `TMUX` or `TMUX_TMPDIR` names,
//! else the default one. The names of other servers can be read only from the environments of
//! sessions, which also have secrets.
//!
//! See docs/decisions/036-alerts-are-crossings.md.

use std::path::PathBuf;
use std::time::Duration;

use super::exec::{Invocation, RunLimits, Runner};
use super::tool::Tool;
use crate::store::lock::FetchLock;
use crate::time::{MINUTE_MS, Now, SECOND_MS};

/// tmux answers in milliseconds. Where it does not, the alert must not wait for it for long.
const LIMITS: RunLimits = RunLimits {
    deadline: Duration::from_secs(1),
    grace: Duration::from_millis(100),
    max_output: 16 << 10,
};

/// What is asked of each client of tmux. No tabs: tmux would replace them.
const FORMAT: &str = "#{focus-events} #{client_activity} #{client_flags} #{pane_tty}";

/// A user who has pressed no key in a terminal for this long may have left the desk. A terminal
/// that never reports its focus counts as having it for this long after each key.
const IN_USE_MS: i64 = 5 * MINUTE_MS;

/// The flags of clients of which tmux does not know whether they have the focus, or which pane has
/// it: programs that control tmux in place of a terminal, terminals that show something else now,
/// and those whose active pane is not that of their window.
const FLAGS_WITHOUT_FOCUS: [&str; 3] = ["control-mode", "suspended", "active-pane"];

/// The terminals that have the focus. None is returned where that cannot be known: without tmux, if
/// tmux is older than 3.2, or if it does not answer. tmux sees the same environment as the program
/// `tool` of the alert.
pub fn focused(runner: &Runner, lock: &FetchLock, tool: &Tool) -> Vec<PathBuf> {
    let what = Invocation {
        program: "tmux".into(),
        args: ["list-clients", "-F", FORMAT].map(Into::into).into(),
        input: Vec::new(),
        ..tool.what.clone()
    };
    let answer = runner.run(lock, &what, LIMITS).unwrap_or_default();
    // Read afterwards: no key was pressed later than that, unless the clock was set back.
    let now_ms = Now::read().wall_ms;
    let answer = String::from_utf8_lossy(&answer);
    answer.lines().filter_map(|line| focused_terminal(line, now_ms)).collect()
}

/// The terminal of the pane that a client shows, if it has the focus and is in use. The line is in
/// [`FORMAT`].
fn focused_terminal(line: &str, now_ms: i64) -> Option<PathBuf> {
    let mut parts = line.splitn(4, ' ');
    let focus_events = parts.next()?;
    let used_ms = parts.next()?.parse::<i64>().ok()?.checked_mul(SECOND_MS)?;
    let (flags, terminal) = (parts.next()?, parts.next()?);
    let has = |flag: &str| flags.split(',').any(|it| it == flag);
    let is_known =
        matches!(focus_events, "1" | "on") && !FLAGS_WITHOUT_FOCUS.iter().any(|it| has(it));
    let is_in_use = (0..IN_USE_MS).contains(&now_ms.saturating_sub(used_ms));
    (is_known && is_in_use && has("focused") && !terminal.is_empty()).then(|| terminal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let line = line.replacen(' ', " 1000 ", 1);
        assert_eq!(focused_terminal(&line, 1_299_999), expected.map(PathBuf::from), "{line}");
        assert_eq!(focused_terminal(&line, 1_300_000), None, "nobody has used it for long");
        assert_eq!(focused_terminal(&line, 999_999), None, "the clock was set back");
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
            assert_eq!(focused_terminal(line, 0), None);
        }
    }
}
