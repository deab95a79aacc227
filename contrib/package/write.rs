//! Writes what packages contain beside the program, as far as it follows from the source.
//!
//!     cargo run --example package -- files DIR DATE   man pages and completions, into DIR
//!     cargo run --example package -- schema           the JSON schema of the configuration, printed

#![expect(clippy::print_stdout, reason = "a program for the scripts beside it")]

mod written;

use std::path::Path;
use std::process::ExitCode;

use ccstatusd::config::schema::schema;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["files", dir, date] => written::write(Path::new(dir), date),
        ["schema"] => {
            println!("{:#}", schema());
            Ok(())
        }
        _ => Err(std::io::Error::other("usage: package files DIR DATE | package schema")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            println!("package: {err}");
            ExitCode::FAILURE
        }
    }
}
