//! PURE. Usage accounting.
