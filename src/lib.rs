//! `ccstatusd`: a status daemon for Claude Code.
//!
//! The map of the crate. Imports point down only.
//!
//! - [`watch`] says *that* something changed; [`fetch`] finds out *what* is true now;
//!   [`usage`] counts it; [`store`] keeps and publishes it; [`display`] draws it.
//!
//! **Invariant:** the modules marked PURE never read a clock or a file and never start a thread.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod display;
mod engine;
pub mod error;
pub mod fetch;
pub mod home;
pub mod ipc;
pub mod log;
pub mod oneshot;
pub mod plan;
pub mod pool;
pub mod price_list;
pub mod sanitize;
pub mod show;
pub mod state;
pub mod store;
pub mod terminal;
pub mod time;
pub mod usage;
pub mod watch;
