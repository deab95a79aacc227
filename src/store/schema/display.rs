//! PURE. What the user chose to see. `config.rs` checks it, the watcher publishes it, `display/`
//! draws by it, so that no display reads a configuration.
//!
//! Unlike in the rest of the snapshot, what is as usual is not written: every display reads this
//! every time. **Invariant:** nothing here can make drawing fail: what a display does not know, a
//! preset of another version say, is as usual to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Formats, themes and settings, as far as they are not as usual.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Display {
    /// The lines: segments in braces, groups in parentheses, a row for each line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// How it looks.
    #[serde(skip_serializing_if = "is_usual")]
    pub theme: Theme,
    /// Settings of single segments, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub segments: BTreeMap<String, Segment>,
}

/// How lines look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Theme {
    /// The name of a set of symbols, separators and forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The name of a set of colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub palette: Option<String>,
    /// How many colours are used; `None` is as many as the terminal says it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<Depth>,
    /// What stands between two segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The `padding` of the client's settings, which it puts on both sides.
    #[serde(skip_serializing_if = "is_usual")]
    pub padding: u16,
    /// How wide the lines for `cat` are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<u16>,
    /// Colours in place of the palette's, by what they mean.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub colors: BTreeMap<String, Ink>,
}

/// Settings of one segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// What it says: parts in braces, groups in parentheses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The same where there is no room for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
    /// Its place in the queue for columns: the highest is served first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The most columns that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_width: Option<u16>,
    /// From here on it wants a look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<f64>,
    /// From here on it wants a look now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<f64>,
    /// Columns of its bar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar_width: Option<u16>,
    /// Where its bar has a mark, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<f64>,
    /// Symbols, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub symbols: BTreeMap<String, String>,
    /// Colours of parts, by name; `label` is the text around them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub colors: BTreeMap<String, Ink>,
}

/// How many colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Depth {
    /// No escape sequence of any kind.
    #[serde(rename = "none")]
    None,
    /// The terminal's own.
    #[serde(rename = "16")]
    Ansi,
    /// The usual table.
    #[serde(rename = "256")]
    Indexed,
    /// Red, green and blue.
    #[serde(rename = "true")]
    True,
}

/// How a piece of text is drawn. What is not said is the terminal's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ink {
    /// Its colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fg: Option<Color>,
    /// What it stands on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bg: Option<Color>,
    /// Heavier.
    #[serde(skip_serializing_if = "is_usual")]
    pub bold: bool,
    /// Fainter.
    #[serde(skip_serializing_if = "is_usual")]
    pub dim: bool,
    /// Slanted.
    #[serde(skip_serializing_if = "is_usual")]
    pub italic: bool,
    /// With a line below.
    #[serde(skip_serializing_if = "is_usual")]
    pub underline: bool,
}

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// One of the table; the first sixteen are the terminal's own.
    Index(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

fn is_usual<T: Default + PartialEq>(it: &T) -> bool {
    *it == T::default()
}
