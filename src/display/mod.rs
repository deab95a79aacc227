//! PURE. Draws the line: snapshot, client facts, time and width in, text out.
