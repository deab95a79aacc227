//! Parses, runs, and turns the result into an exit code. Nothing else prints.

use std::process::ExitCode;

use ccstatusd::fetch::guard;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(it) if it == guard::SUBCOMMAND => guard::main(args),
        _ => ExitCode::SUCCESS,
    }
}
