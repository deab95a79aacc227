//! Shows the pane of tmux in which a session runs, to the user who asks for it in another pane.
//!
//! The pane is found by its terminal, which is that of the session's process. Only the tmux in
//! which this process runs is asked: only there is a client that can show the pane.

use std::path::Path;
use std::time::Duration;

use crate::cli::Environment;
use crate::error::{Error, Result};
use crate::fetch::process;
use crate::programs::Programs;

/// What tells tmux which server and which client are meant.
const PASSED_ON: [&str; 3] = ["TMUX", "TMUX_PANE", "TMUX_TMPDIR"];
/// tmux answers in milliseconds, and the user waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether this process runs in tmux.
pub(crate) fn is_here(env: &Environment) -> bool {
    env.get("TMUX").is_some()
}

/// Switches the user's client to the pane of the process. Errors are texts for the user.
pub(crate) fn go_to(process: u32, env: &Environment) -> Result<()> {
    if !is_here(env) {
        return Err(Error::new("this is not tmux, which alone can show the session's pane"));
    }
    let Some(terminal) = process::terminal(process) else {
        return Err(Error::new("the session has no terminal here"));
    };
    let programs = Programs::new(env)?;
    let ask = |args: &[&str]| {
        let said = programs.call("tmux", args, &PASSED_ON, TIMEOUT);
        said.map_err(|err| Error::new(format!("tmux {err}")))
    };
    let panes = ask(&["list-panes", "-a", "-F", "#{pane_id} #{pane_tty}"])?;
    let Some(pane) = pane_of(&terminal, &panes) else {
        let what =
            format!("no pane of this tmux has the session's terminal {}", terminal.display());
        return Err(Error::new(what));
    };
    ask(&["switch-client", "-t", pane]).map(drop)
}

/// The pane with this terminal, in what `list-panes` printed.
fn pane_of<'a>(terminal: &Path, panes: &'a str) -> Option<&'a str> {
    let mut panes = panes.lines().filter_map(|it| it.split_once(' '));
    panes.find(|(id, tty)| id.starts_with('%') && Path::new(tty) == terminal).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pane_is_found_by_its_terminal() {
        let panes = "%0 /dev/pts/1\n%12 /dev/pts/11\n%3 \nno server running\n";
        let find = |terminal: &str| pane_of(Path::new(terminal), panes);
        assert_eq!(find("/dev/pts/11"), Some("%12"));
        assert_eq!(
            (find("/dev/pts/2"), find(""), find("server running")),
            (None, Some("%3"), None)
        );
    }
}
