//! PURE. What a piece of text means. Segments say the meaning; a palette gives it a colour.

use crate::store::schema::display::Ink;

/// The meaning of a piece of text, or a style that the user chose for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// An ordinary value.
    Plain,
    /// A label, a separator or an age: less prominent than values.
    Dim,
    /// The working directory.
    Place,
    Branch,
    /// Staged, added, approved.
    Good,
    /// Changed and not staged.
    Changed,
    Removed,
    /// Needs attention soon.
    Warning,
    /// Needs attention now.
    Alarm,
    /// This style, whatever the palette says.
    Own(Ink),
}

/// The keys of `[theme.colors]` and what they stand for, in the order of a palette's inks.
pub(crate) const MEANINGS: [(&str, &str); 9] = [
    ("plain", "values"),
    ("dim", "labels, separators, ages"),
    ("place", "the working directory"),
    ("branch", "the branch"),
    ("good", "staged, added, approved"),
    ("changed", "changed and not staged"),
    ("removed", "removed, or rejected by a reviewer"),
    ("warning", "needs attention soon"),
    ("alarm", "needs attention now"),
];
