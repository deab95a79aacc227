//! PURE. The only folder that knows Claude Code's field names and the layout of its files.
//!
//! The formats belong to another program, are documented only in part, and change with every
//! release. So every field is optional. A field that is null or has the wrong type is treated as
//! missing, and the other fields are still read. Unknown fields are ignored.
//!
//! **Invariant:** no input causes a panic, and what is kept of a line is bounded, however long the
//! line is.

pub mod client;
mod damage;
pub mod layout;
mod line;
mod preview;
mod replies;
mod scan;
#[cfg(test)]
mod tests;
pub mod transcript;
