//! The integration tests: one binary, so that they link once.
//!
//! Each file is named for the part or the property that it tests, and its first line says what of
//! it. `sandbox.rs` and `transcripts.rs` are the fixtures that they share.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod alerts;
mod background;
mod clients;
mod contrib;
mod display;
mod doctor;
mod exec;
mod export;
mod faults;
mod first_render;
mod foreign;
mod git;
mod git_programs;
mod layouts;
mod lifecycle;
mod line;
mod oneshot;
mod packages;
mod prices;
mod reports;
mod sandbox;
mod screen;
mod sentinel;
mod sessions;
mod setup;
mod show;
mod store;
mod tidy;
mod tools;
mod top;
mod transcripts;
mod upgrade;
mod usage;
mod watcher;
