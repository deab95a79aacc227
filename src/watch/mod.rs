//! That something changed.

pub mod debounce;
