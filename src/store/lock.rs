//! The two kernel locks.

/// Proof that this process alone may fetch. Dropping it lets the next one in.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct FetchLock(());
