//! Parses, runs, and turns the result into an exit code. Nothing else prints.

fn main() {}
