//! PURE. The only folder that knows Claude Code's field names, and where it keeps its files.
//!
//! Everything here is another program's, undocumented in part, and changes with every release. So
//! every field is optional and null is missing; a value of the wrong type is missing too, and takes
//! nothing with it; what is unknown is ignored.
//!
//! **Invariant:** no input panics, and what is kept of a line is bounded however long the line is.

pub mod client;
pub mod layout;
mod line;
mod preview;
mod scan;
#[cfg(test)]
mod tests;
pub mod transcript;
