//! PURE. What the configuration says of the display, checked, and in the shape that displays get.
//!
//! **Invariant:** what comes out of here can be drawn as it stands: every segment, part, symbol and
//! colour in it is one, and no format is broken.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::flaw::{Flaw, unknown};
use crate::display::colors::parse_ink;
use crate::display::paint::MEANINGS;
use crate::display::palettes::PALETTES;
use crate::display::presets::PRESETS;
use crate::display::segments::segment::{COMMAND, Segment};
use crate::display::segments::{self, SEGMENTS};
use crate::display::template;
use crate::store::schema::display::{self as schema, Depth, Ink};

/// `[theme]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct ThemeConfig {
    /// Symbols, separators and forms that belong together.
    pub preset: Option<String>,
    /// Colours that belong together.
    pub palette: Option<String>,
    /// How many colours are used.
    pub depth: DepthConfig,
    /// What stands between two segments.
    pub separator: Option<String>,
    /// The `padding` of the client's settings.
    pub padding: u16,
    /// How wide the lines for `cat` are.
    pub columns: Option<u16>,
    /// Colours in place of the palette's, by what they mean.
    pub colors: BTreeMap<String, String>,
}

/// How many colours are used.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(try_from = "DepthValue")]
#[expect(missing_docs, reason = "the names say it")]
pub enum DepthConfig {
    /// As many as the terminal says it has.
    #[default]
    Auto,
    None,
    Ansi,
    Indexed,
    True,
}

/// A number of colours may be written as one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it must be auto, none, 16, 256 or true")]
enum DepthValue {
    Word(String),
    Number(i64),
    Flag(bool),
}

impl TryFrom<DepthValue> for DepthConfig {
    type Error = String;

    fn try_from(value: DepthValue) -> Result<DepthConfig, String> {
        let word = match value {
            DepthValue::Word(it) => it,
            DepthValue::Number(it) => it.to_string(),
            DepthValue::Flag(it) => it.to_string(),
        };
        match word.as_str() {
            "auto" => Ok(DepthConfig::Auto),
            "none" => Ok(DepthConfig::None),
            "16" => Ok(DepthConfig::Ansi),
            "256" => Ok(DepthConfig::Indexed),
            "true" => Ok(DepthConfig::True),
            it => Err(unknown("depth", it, ["auto", "none", "16", "256", "true"])),
        }
    }
}

/// `[segments.NAME]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentConfig {
    /// What it says.
    pub format: Option<String>,
    /// The same where there is no room for that.
    pub short: Option<String>,
    /// Its place in the queue for columns: the highest is served first.
    pub priority: Option<u8>,
    /// The most columns that it takes.
    pub max_width: Option<u16>,
    /// From here on it wants a look.
    pub warning: Option<f64>,
    /// From here on it wants a look now.
    pub alarm: Option<f64>,
    /// Columns of its bar.
    pub bar_width: Option<u16>,
    /// Where its bar has a mark, in percent.
    pub mark: Option<f64>,
    /// Symbols, by name.
    pub symbols: BTreeMap<String, String>,
    /// Colours of parts, by name.
    pub colors: BTreeMap<String, String>,
}

/// A screen has no more rows to give away.
const MAX_LINES: usize = 8;
/// More segments than any screen has room for.
const MAX_SEGMENTS: usize = 64;
/// What a format, and what a symbol or a separator may have, in characters.
const MAX_FORMAT: usize = 2000;
const MAX_SYMBOL: usize = 32;

type Checked<T> = Result<T, Flaw>;

/// What displays get; `commands` are the user's own.
pub(super) fn checked(
    format: Option<&str>,
    theme: &ThemeConfig,
    segments: &BTreeMap<String, SegmentConfig>,
    commands: &[&str],
) -> Checked<schema::Display> {
    format.map_or(Ok(()), |it| check_format(it, commands))?;
    let check = |(name, it): (&String, &SegmentConfig)| {
        let row = find(name, commands).map_err(|it| Flaw::new(&["segments", name], it))?;
        Ok((name.clone(), segment(name, row, it)?))
    };
    Ok(schema::Display {
        format: format.map(str::to_owned),
        theme: checked_theme(theme)?,
        segments: segments.iter().map(check).collect::<Checked<_>>()?,
    })
}

fn check_format(format: &str, commands: &[&str]) -> Checked<()> {
    let flaw = |it: String| Flaw::new(&["format"], it);
    check_size(format).map_err(flaw)?;
    let count = std::cell::Cell::new(0);
    let known = |name: &str| {
        count.set(count.get() + 1);
        find(name, commands).map(drop)
    };
    for (nth, line) in format.lines().enumerate() {
        if nth == MAX_LINES {
            return Err(flaw(format!("it may have {MAX_LINES} lines at most")));
        }
        template::check(line, known).map_err(|it| {
            let row = if nth > 0 { format!("in row {}, ", nth + 1) } else { String::new() };
            flaw(row + &at(line, &it))
        })?;
    }
    match count.get() {
        0 => Err(flaw("it names no segment, as in \"{directory} {git}\"".to_owned())),
        1..=MAX_SEGMENTS => Ok(()),
        it => Err(flaw(format!("it has {it} segments; there may be {MAX_SEGMENTS} at most"))),
    }
}

fn check_size(format: &str) -> Result<(), String> {
    match format.chars().count() {
        0..=MAX_FORMAT => Ok(()),
        it => Err(format!("it has {it} characters; there may be {MAX_FORMAT} at most")),
    }
}

/// Where in a format, and what.
fn at(format: &str, flaw: &template::FormatError) -> String {
    let nth = format.get(..flaw.at).map_or(0, |it| it.chars().count()) + 1;
    format!("at character {nth}: {}", flaw.what)
}

/// The segment of this name, or why there is none.
fn find(name: &str, commands: &[&str]) -> Result<&'static Segment, String> {
    match segments::find(name) {
        Some((row, "")) => Ok(row),
        Some((row, command)) if commands.contains(&command) => Ok(row),
        Some((_, command)) => Err(unknown("command", command, commands.iter().copied())),
        None if name == COMMAND || name == format!("{COMMAND}.") => {
            Err(format!("{name} lacks the command's name, as in {{command.NAME}}"))
        }
        None => {
            if let Some((segment, part)) = name.split_once('.')
                && let Some((row, _)) = segments::find(segment)
            {
                check_part(row, part)?;
                return Err(format!(
                    "{part} is a part of {segment}: write {{{segment}}} here, and \
                     format = \"{{{part}}}\" in [segments.{segment}]"
                ));
            }
            let names = SEGMENTS.iter().copied().flatten().map(|it| it.name);
            Err(unknown("segment", name, names.filter(|it| *it != COMMAND)))
        }
    }
}

fn checked_theme(theme: &ThemeConfig) -> Checked<schema::Theme> {
    let preset = theme.preset.as_deref();
    if let Some(name) = preset.filter(|name| PRESETS.iter().all(|it| it.name != *name)) {
        let names = PRESETS.iter().map(|it| it.name);
        return Err(Flaw::new(&["theme", "preset"], unknown("preset", name, names)));
    }
    let palette = theme.palette.as_deref();
    if let Some(name) = palette.filter(|name| PALETTES.iter().all(|it| it.name != *name)) {
        let names = PALETTES.iter().map(|it| it.name);
        return Err(Flaw::new(&["theme", "palette"], unknown("palette", name, names)));
    }
    if let Some(it) = &theme.separator {
        check_symbol(it).map_err(|it| Flaw::new(&["theme", "separator"], it))?;
    }
    if theme.padding > 100 {
        return Err(Flaw::new(&["theme", "padding"], "it must be from 0 to 100"));
    }
    if theme.columns.is_some_and(|it| !(20..=1000).contains(&it)) {
        return Err(Flaw::new(&["theme", "columns"], "it must be from 20 to 1000"));
    }
    let mut colors = BTreeMap::new();
    for (name, style) in &theme.colors {
        let path = ["theme", "colors", name];
        if MEANINGS.iter().all(|(it, _)| it != name) {
            let names = MEANINGS.iter().map(|it| it.0);
            return Err(Flaw::new(&path, unknown("colour", name, names)));
        }
        colors.insert(name.clone(), ink(style, &path)?);
    }
    Ok(schema::Theme {
        preset: theme.preset.clone(),
        palette: theme.palette.clone(),
        depth: theme.depth.depth(),
        separator: theme.separator.clone(),
        padding: theme.padding,
        columns: theme.columns,
        colors,
    })
}

impl DepthConfig {
    fn depth(self) -> Option<Depth> {
        match self {
            DepthConfig::Auto => None,
            DepthConfig::None => Some(Depth::None),
            DepthConfig::Ansi => Some(Depth::Ansi),
            DepthConfig::Indexed => Some(Depth::Indexed),
            DepthConfig::True => Some(Depth::True),
        }
    }
}

fn ink(style: &str, path: &[&str]) -> Checked<Ink> {
    parse_ink(style).map_err(|it| Flaw::new(path, it))
}

fn check_symbol(symbol: &str) -> Result<(), String> {
    if symbol.chars().count() > MAX_SYMBOL {
        return Err(format!("it may have {MAX_SYMBOL} characters at most"));
    }
    if symbol.chars().any(char::is_control) {
        return Err("it holds a control character".to_owned());
    }
    Ok(())
}

fn segment(name: &str, row: &Segment, segment: &SegmentConfig) -> Checked<schema::Segment> {
    let flaw = |key: &str, what: String| Flaw::new(&["segments", name, key], what);
    for (key, format) in [("format", &segment.format), ("short", &segment.short)] {
        if let Some(format) = format {
            check_size(format).map_err(|it| flaw(key, it))?;
            let known = |part: &str| check_part(row, part);
            template::check(format, known).map_err(|it| flaw(key, at(format, &it)))?;
        }
    }
    let needs = |key: &str, is_set: bool, is_had: bool, what: &str| match is_set && !is_had {
        true => Err(flaw(key, format!("the segment {name} has no {what}"))),
        false => Ok(()),
    };
    needs("warning", segment.warning.is_some(), row.thresholds.is_some(), "thresholds")?;
    needs("alarm", segment.alarm.is_some(), row.thresholds.is_some(), "thresholds")?;
    needs("bar_width", segment.bar_width.is_some(), row.bar_width > 0, "bar")?;
    needs("mark", segment.mark.is_some(), row.mark.is_some(), "mark of its own")?;
    // Only of what may be spent, more than everything can be used.
    let is_share = name != "spend_limit" && row.parts.iter().any(|it| it.0 == "percent");
    let most = if is_share { 100.0 } else { 1000.0 };
    for (key, it, most) in [
        ("warning", segment.warning, most),
        ("alarm", segment.alarm, most),
        ("mark", segment.mark, 100.0),
    ] {
        if it.is_some_and(|it| !(0.0..=most).contains(&it)) {
            return Err(flaw(key, format!("it must be from 0 to {most}")));
        }
    }
    if segment.priority.is_some_and(|it| it > 100) {
        return Err(flaw("priority", "it must be from 0 to 100".to_owned()));
    }
    for (key, it) in [("max_width", segment.max_width), ("bar_width", segment.bar_width)] {
        if it.is_some_and(|it| !(1..=500).contains(&it)) {
            return Err(flaw(key, "it must be from 1 to 500".to_owned()));
        }
    }
    for (symbol, text) in &segment.symbols {
        let path = ["segments", name, "symbols", symbol];
        if row.symbols.iter().all(|it| it.0 != symbol) {
            let names = row.symbols.iter().map(|it| it.0);
            return Err(Flaw::new(&path, unknown("symbol", symbol, names)));
        }
        check_symbol(text).map_err(|it| Flaw::new(&path, it))?;
    }
    let mut colors = BTreeMap::new();
    for (part, style) in &segment.colors {
        let path = ["segments", name, "colors", part];
        if part != "label" {
            check_part(row, part).map_err(|it| Flaw::new(&path, it))?;
        }
        colors.insert(part.clone(), ink(style, &path)?);
    }
    let SegmentConfig { format, short, symbols, .. } = segment.clone();
    Ok(schema::Segment {
        format,
        short,
        priority: segment.priority,
        max_width: segment.max_width,
        warning: segment.warning,
        alarm: segment.alarm,
        bar_width: segment.bar_width,
        mark: segment.mark,
        symbols,
        colors,
    })
}

fn check_part(row: &Segment, part: &str) -> Result<(), String> {
    if row.parts.iter().any(|(it, _)| *it == part) {
        return Ok(());
    }
    Err(unknown("part", part, row.parts.iter().map(|it| it.0)))
}
