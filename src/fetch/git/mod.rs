//! The state of a git repository: one bounded call of `git status`, and a few small files in the
//! git directory.
//!
//! The call never writes: `--no-optional-locks` keeps `git status` from refreshing the index. A
//! refresh would hold `index.lock`, on which the user's own `git add` could fail, and would cause
//! an event that wakes the watcher again. The price: files whose times are not in the index are
//! hashed on every call, until the user's own git refreshes the index.
//!
//! The call never prompts and never fetches objects. It starts no program that the repository names
//! in its configuration or attributes, unless the user trusts the repository.
//!
//! **Invariant:** a repository that git refuses or cannot read is an error, and is never reported
//! as clean.

mod common_dir;
mod config;
pub mod head;
pub mod operation;
pub mod porcelain;
pub mod status;
pub mod tree;
