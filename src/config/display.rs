//! PURE. `format`, `[theme]` and `[segments.NAME]`: what displays draw.
//!
//! **Invariant:** a [`Display`] that is read here can be drawn without a further check: each
//! segment, part, symbol and colour in it exists, and each format is well-formed.

use std::cell::Cell;
use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::error::unknown;
use super::reader::{Converted, Table, choose, integer, number, text, whole};
use crate::display::colors::parse_ink;
use crate::display::paint::MEANINGS;
use crate::display::palettes::PALETTES;
use crate::display::presets::PRESETS;
use crate::display::segments::segment::{COMMAND, Segment};
use crate::display::segments::{self, SEGMENTS};
use crate::display::template;
use crate::fetch::tool::is_field_name;
use crate::store::schema::display::{self as schema, Depth, Display, Theme};

const MAX_LINES: usize = 8;
const MAX_SEGMENTS_OF_FORMAT: usize = 64;
/// Characters of a format.
pub(super) const MAX_FORMAT: usize = 2000;
/// Characters of a symbol or separator.
pub(super) const MAX_SYMBOL: usize = 32;
pub(super) const PERCENT: RangeInclusive<f64> = 0.0..=100.0;
pub(super) const PRIORITIES: RangeInclusive<u8> = 0..=100;
/// Of a segment, and of a bar in one.
pub(super) const WIDTHS: RangeInclusive<u16> = 1..=500;
pub(super) const PADDINGS: RangeInclusive<u16> = 0..=100;
pub(super) const COLUMNS: RangeInclusive<u16> = 20..=1000;

/// The words for numbers of colours. `auto` means as many as the terminal has.
pub(super) const DEPTHS: [(&str, Option<Depth>); 5] = [
    ("auto", None),
    ("none", Some(Depth::None)),
    ("16", Some(Depth::Ansi)),
    ("256", Some(Depth::Indexed)),
    ("true", Some(Depth::True)),
];

/// Reads the keys of the outermost table that concern displays. `commands` are the names of the
/// user's commands, which segments can show.
pub(super) fn read(root: &mut Table<'_, '_>, commands: &[&str]) -> Display {
    Display {
        format: root.value("format", |it| checked_format(text(it)?, commands)),
        theme: root.table("theme", read_theme).unwrap_or_default(),
        segments: root.tables(
            "segments",
            |name| find(name, commands).map(|row| (name.to_owned(), row)),
            |(name, row), table| read_segment(&name, row, table),
        ),
    }
}

fn checked_format(format: &str, commands: &[&str]) -> Converted<String> {
    check_length(format, MAX_FORMAT)?;
    let n_segments = Cell::new(0);
    let check_name = |name: &str| {
        n_segments.set(n_segments.get() + 1);
        find(name, commands).map(drop)
    };
    for (nth, line) in format.lines().enumerate() {
        if nth == MAX_LINES {
            return Err(format!("it has more than {MAX_LINES} lines"));
        }
        template::check(line, check_name).map_err(|flaw| {
            let row = if nth > 0 { format!("in row {}, ", nth + 1) } else { String::new() };
            row + &located(line, &flaw)
        })?;
    }
    match n_segments.get() {
        0 => Err(r#"it names no segment, as in "{directory} {git}""#.to_owned()),
        1..=MAX_SEGMENTS_OF_FORMAT => Ok(format.to_owned()),
        n => Err(format!("it has {n} segments; at most {MAX_SEGMENTS_OF_FORMAT} are allowed")),
    }
}

/// The segment of this name, or what is wrong with the name.
fn find(name: &str, commands: &[&str]) -> Converted<&'static Segment> {
    match segments::find(name) {
        Some((row, "")) => return Ok(row),
        Some((row, command)) if commands.contains(&command) => return Ok(row),
        Some((_, command)) => return Err(unknown("command", command, commands.iter().copied())),
        None => {}
    }
    if name == COMMAND || name == format!("{COMMAND}.") {
        return Err(format!("{name} lacks the command's name, as in {{command.NAME}}"));
    }
    if let Some((segment, part)) = name.split_once('.')
        && let Some((row, _)) = segments::find(segment)
    {
        check_part(row, part)?;
        return Err(format!(
            "{part} is a part of {segment}: write {{{segment}}} here, and format = \"{{{part}}}\" \
             in [segments.{segment}]"
        ));
    }
    let names = SEGMENTS.iter().copied().flatten().map(|it| it.name);
    Err(unknown("segment", name, names.filter(|it| *it != COMMAND)))
}

fn read_theme(table: &mut Table<'_, '_>) -> Theme {
    let preset_names = PRESETS.each_ref().map(|it| (it.name, it.name));
    let palette_names = PALETTES.each_ref().map(|it| (it.name, it.name));
    let preset = table.value("preset", |it| choose("preset", text(it)?, &preset_names));
    let palette = table.value("palette", |it| choose("palette", text(it)?, &palette_names));
    let check_meaning = |name: &str| match MEANINGS.iter().any(|(it, _)| *it == name) {
        true => Ok(()),
        false => Err(unknown("colour", name, MEANINGS.iter().map(|it| it.0))),
    };
    Theme {
        preset: preset.map(str::to_owned),
        palette: palette.map(str::to_owned),
        depth: table.value("depth", depth).flatten(),
        separator: table.value("separator", symbol),
        padding: table.value("padding", whole(PADDINGS)).unwrap_or_default(),
        columns: table.value("columns", whole(COLUMNS)),
        colors: table.values("colors", check_meaning, |it| parse_ink(text(it)?)),
    }
}

/// A number of colours may be written with quotes or without.
fn depth(value: &DeValue<'_>) -> Converted<Option<Depth>> {
    let number = integer(value).map(|it| it.to_string());
    let flag = value.as_bool().map(|it| it.to_string());
    match value.as_str().map(str::to_owned).or(number).or(flag) {
        Some(word) => choose("depth", &word, &DEPTHS),
        None => Err("it must be auto, none, 16, 256 or true".to_owned()),
    }
}

fn read_segment(name: &str, row: &Segment, table: &mut Table<'_, '_>) -> schema::Segment {
    let format = |value: &DeValue<'_>| {
        let format = text(value)?;
        check_length(format, MAX_FORMAT)?;
        let is_field = |part: &str| row.name == COMMAND && is_field_name(part);
        let check = |part: &str| if is_field(part) { Ok(()) } else { check_part(row, part) };
        let checked = template::check(format, check);
        checked.map_err(|flaw| located(format, &flaw))?;
        Ok(format.to_owned())
    };
    let has = |has_it: bool, what: &str| match has_it {
        true => Ok(()),
        false => Err(format!("the segment {name} has no {what}")),
    };
    let threshold = |value: &DeValue<'_>| {
        has(row.thresholds.is_some(), "thresholds")?;
        number(thresholds(row))(value)
    };
    let bar_width = |value: &DeValue<'_>| {
        has(row.bar_width > 0, "bar")?;
        whole(WIDTHS)(value)
    };
    let mark = |value: &DeValue<'_>| {
        has(row.mark.is_some(), "mark")?;
        number(PERCENT)(value)
    };
    let check_symbol_name = |symbol: &str| match row.symbols.iter().any(|it| it.0 == symbol) {
        true => Ok(()),
        false => Err(unknown("symbol", symbol, row.symbols.iter().map(|it| it.0))),
    };
    let check_color_name =
        |part: &str| if part == "label" { Ok(()) } else { check_part(row, part) };
    schema::Segment {
        format: table.value("format", format),
        short: table.value("short", format),
        priority: table.value("priority", whole(PRIORITIES)),
        max_width: table.value("max_width", whole(WIDTHS)),
        warning: table.value("warning", threshold),
        alarm: table.value("alarm", threshold),
        bar_width: table.value("bar_width", bar_width),
        mark: table.value("mark", mark),
        symbols: table.values("symbols", check_symbol_name, symbol),
        colors: table.values("colors", check_color_name, |it| parse_ink(text(it)?)),
    }
}

/// The values that `warning` and `alarm` of a segment may have.
pub(super) fn thresholds(row: &Segment) -> RangeInclusive<f64> {
    // More than everything can be spent, but not used.
    let is_share = row.name != "spend_limit" && row.parts.iter().any(|it| it.0 == "percent");
    if is_share { PERCENT } else { 0.0..=1000.0 }
}

fn check_part(row: &Segment, part: &str) -> Converted<()> {
    match row.parts.iter().any(|(it, _)| *it == part) {
        true => Ok(()),
        false => Err(unknown("part", part, row.parts.iter().map(|it| it.0))),
    }
}

fn symbol(value: &DeValue<'_>) -> Converted<String> {
    let symbol = text(value)?;
    check_length(symbol, MAX_SYMBOL)?;
    match symbol.chars().any(char::is_control) {
        true => Err("it contains a control character".to_owned()),
        false => Ok(symbol.to_owned()),
    }
}

fn check_length(text: &str, most: usize) -> Converted<()> {
    match text.chars().count() {
        n if n > most => Err(format!("it has {n} characters; at most {most} are allowed")),
        _ => Ok(()),
    }
}

/// With the place in the format, in characters from 1.
fn located(format: &str, flaw: &template::FormatError) -> String {
    let nth = format.get(..flaw.at).map_or(0, |it| it.chars().count()) + 1;
    format!("at character {nth}: {}", flaw.what)
}
