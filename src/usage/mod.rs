//! PURE. Counts what was used: entries in; totals, blocks and costs out.
//!
//! These files know no file format, no clock and no configuration: `fetch/claude` makes the
//! entries, and the caller passes the time and the time zone.
//!
//! **Invariant:** what is counted is a function of the set of entries, never of the order in which
//! they arrived. Money is summed in whole picodollars, so this holds to the last digit.

pub mod blocks;
pub mod calendar;
pub mod election;
pub mod entry;
pub mod history;
pub mod ledger;
mod model;
pub mod price_file;
pub mod prices;
pub mod reply;
pub mod sums;
