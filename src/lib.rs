//! `ccstatusd`: a status daemon for Claude Code.
//!
//! [`watch`] reports *that* something changed, [`fetch`] finds out *what* is true now, [`usage`]
//! counts tokens and costs, [`state`] decides what to do next, [`store`] writes files that other
//! processes read, and [`display`] draws the status line from them.
//!
//! **Invariants:** no two modules import each other, directly or through others. Modules whose
//! docs begin with PURE never read a clock or a file and never start a thread.

pub mod alert;
pub mod alert_list;
pub mod background;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod display;
pub mod doctor;
mod engine;
pub mod error;
pub mod fetch;
pub mod home;
pub mod ipc;
pub mod line;
pub mod log;
pub mod metrics;
pub mod oneshot;
pub mod overview;
pub mod placed_list;
pub mod plan;
pub mod pool;
pub mod price_list;
mod programs;
mod published;
pub mod report;
pub mod sanitize;
pub mod sentinel;
pub mod sessions;
pub mod setup;
pub mod show;
pub mod state;
pub mod store;
mod systemd;
pub mod terminal;
pub mod time;
mod tmux;
pub mod top;
pub mod transfer;
pub mod usage;
pub mod watch;
