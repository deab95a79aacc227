//! The one integration binary: one link, one start.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod contrib;
