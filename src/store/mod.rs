//! What is kept, and where.

pub mod atomic;
pub mod lock;
pub mod schema;
