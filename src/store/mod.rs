//! What is kept, and where: the state directory with its locks, the snapshot and the lines.
//!
//! **Invariant:** everything in it is 0600, and it is 0700 and ours, or we refuse to use it.

pub mod atomic;
pub mod checkpoint;
pub mod dir;
pub mod file;
pub mod lock;
pub mod publisher;
pub mod schema;
pub mod snapshot;
