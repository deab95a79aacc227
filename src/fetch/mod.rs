//! What is true now.

pub mod claude;
pub mod exec;
pub mod git;
pub mod guard;
pub mod tail;
