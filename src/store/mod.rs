//! The state directory and the files in it: locks, snapshot, lines and checkpoint.
//!
//! **Invariant:** the directory has mode 0700 and belongs to the user, or it is refused. Every file
//! in it has mode 0600.

pub mod atomic;
pub mod checkpoint;
pub mod dir;
pub mod file;
pub mod lock;
pub mod publisher;
pub mod record;
pub mod schema;
pub mod snapshot;
