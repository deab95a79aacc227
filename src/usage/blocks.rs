//! PURE. Five-hour blocks.
