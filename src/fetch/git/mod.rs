//! What is true of a repository: one bounded call of `git`, and a few small files beside it.
//!
//! The call writes nothing, ever: `--no-optional-locks` keeps `git status` from refreshing the
//! index, which would take `index.lock` from under the user's own `git add`, and wake us again.
//! The price is that files whose times the index does not know are hashed each time, until the
//! user's own git refreshes it. It starts no helper that the repository names for monitoring
//! files (`core.fsmonitor`), asks nothing, and fetches nothing; a `filter.*.clean` from
//! `.git/config` does run, as it does for every `git status`, in repositories that git trusts.
//!
//! **Invariant:** a repository that git refuses, or cannot read, is a failure and never "clean".

pub mod operation;
pub mod porcelain;
pub mod status;
pub mod tree;
