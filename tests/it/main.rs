//! The integration tests: one binary, so that they link once.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod contrib;
mod display;
mod exec;
mod faults;
mod git;
mod life;
mod oneshot;
mod sandbox;
mod show;
mod store;
mod tidy;
mod tools;
mod usage;
mod watcher;
