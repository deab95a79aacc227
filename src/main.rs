//! Parses, runs, and turns the result into an exit code. Nothing else prints.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use ccstatusd::cli::Environment;
use ccstatusd::show;
use ccstatusd::time::Now;

fn main() -> ExitCode {
    let line = show::run(io::stdin(), &Environment::read(), Now::read);
    let mut stdout = io::stdout();
    // The client would take the newline for one more row; a person's prompt needs it.
    let end = if stdout.is_terminal() { "\n" } else { "" };
    // Nobody is left to tell when the reader is gone.
    write!(stdout, "{line}{end}").and_then(|()| stdout.flush()).ok();
    ExitCode::SUCCESS
}
