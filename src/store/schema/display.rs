//! PURE. How the user configured the display. `config.rs` validates it, the watcher publishes it in
//! the snapshot, and `display/` draws by it, so that a display never reads the configuration.
//!
//! Unlike the rest of the snapshot, defaults are not written: every display reads this part at
//! every render.
//!
//! **Invariant:** no value here can make drawing fail. A display treats a name that it does not
//! know, such as a preset of another version, as absent.
//!
//! See docs/decisions/021-displays-read-no-configuration.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the user configured the display. What has its default is not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Display {
    /// The format of the lines: segments in braces, groups in parentheses, a newline between lines.
    /// `None`: the built-in format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub theme: Theme,
    /// Settings of single segments, by the segment's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub segments: BTreeMap<String, Segment>,
}

/// How lines are drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Theme {
    /// The name of a set of symbols, separators and forms. `None`: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The name of a set of colours. `None`: the palette of the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub palette: Option<String>,
    /// How many colours are used. `None`: as many as the terminal reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<Depth>,
    /// The text between two segments. `None`: the separator of the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The `padding` in the settings of Claude Code, in columns. The client adds it on both sides
    /// of a line.
    #[serde(skip_serializing_if = "is_default")]
    pub padding: u16,
    /// The width of the lines in the state directory, in columns. `None`: the built-in width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<u16>,
    /// Colours that replace those of the palette, by the name of their meaning.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub colors: BTreeMap<String, Ink>,
}

/// Settings of one segment. A field that is `None` has the segment's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// Parts in braces, groups in parentheses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The format for a line in which `format` does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
    /// If a line is too long, segments with the highest priority get their columns first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// In columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_width: Option<u16>,
    /// The value from which the segment is drawn as a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<f64>,
    /// The value from which the segment is drawn as an alarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<f64>,
    /// The width of the segment's bar, in columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar_width: Option<u16>,
    /// The position of a mark in the segment's bar, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<f64>,
    /// Symbols, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub symbols: BTreeMap<String, String>,
    /// Colours of the segment's parts, by name. `label` is the text around the parts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub colors: BTreeMap<String, Ink>,
}

/// How many colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Depth {
    /// No escape sequences at all.
    #[serde(rename = "none")]
    None,
    /// The 16 colours of the terminal.
    #[serde(rename = "16")]
    Ansi,
    /// The table of 256 colours.
    #[serde(rename = "256")]
    Indexed,
    /// Any colour, by its red, green and blue.
    #[serde(rename = "true")]
    True,
}

/// How a piece of text is drawn. What is absent is left to the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ink {
    /// The colour of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fg: Option<Color>,
    /// The colour behind the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bg: Option<Color>,
    #[serde(skip_serializing_if = "is_default")]
    pub bold: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub dim: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub italic: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub underline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// An index into the table of 256 colours. The first 16 are the terminal's own.
    Index(u8),
    /// Red, green and blue.
    Rgb(u8, u8, u8),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
