//! PURE. Counts what was used: entries in, totals, blocks and costs out.
//!
//! Knows no file format, clock or configuration: entries come from `fetch/claude`, the time and the
//! zone are arguments.
//!
//! **Invariant:** what is counted is a function of the set of entries, never of the order in which
//! they came. Money is summed as whole picodollars, so that this holds to the last digit.

pub mod blocks;
pub mod calendar;
pub mod entry;
pub mod ledger;
pub mod prices;
pub mod sums;
