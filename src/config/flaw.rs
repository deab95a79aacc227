//! PURE. What is wrong with a configuration, said so that it can be found and mended: line, column
//! and what was probably meant.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::sanitize;

/// What is wrong with the value at a path of keys, or with the last key itself where there is no
/// such key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flaw {
    pub(super) path: Vec<String>,
    pub(super) what: String,
}

impl Flaw {
    pub(super) fn new(path: &[&str], what: impl Into<String>) -> Flaw {
        Flaw { path: path.iter().map(|it| (*it).to_owned()).collect(), what: what.into() }
    }

    /// With its place in the text.
    pub(super) fn describe(&self, text: &str) -> String {
        let at = DeTable::parse(text).ok().and_then(|it| locate(it.get_ref(), &self.path));
        match at {
            Some(at) => format!("{}: {}: {}", place(text, at), self.path.join("."), self.what),
            None => format!("{}: {}", self.path.join("."), self.what),
        }
    }
}

/// What the parser says, in words for people who know neither it nor Rust, with the table or key
/// that it is about, and a suggestion where a name is none.
pub(super) fn describe(err: &toml::de::Error, text: &str) -> String {
    let message = err.message().trim_end().replace('\n', ", ");
    let span = err.span().unwrap_or_default();
    let parsed = DeTable::parse(text).ok();
    let Some((mut path, value)) = parsed.as_ref().and_then(|it| owner(it.get_ref(), &span)) else {
        return format!("{}: {}", place(text, span.start), plainly(&message));
    };
    let what = match message.split('`').collect::<Vec<_>>()[..] {
        ["unknown field ", field, _, ref known @ ..] => {
            path.pop();
            unknown("key", field, known.iter().copied().step_by(2))
        }
        ["unknown variant ", name, _, ref known @ ..] => {
            unknown("value", name, known.iter().copied().step_by(2))
        }
        ["missing field ", field, _] => format!("it lacks the key {field}"),
        _ => match message.rsplit_once(", expected ") {
            Some((found, it)) if found.starts_with("invalid ") => {
                must_be(it, &path, value.get_ref(), value.span() != span)
            }
            _ => message.replace("wanted string or table", "it must be text in quotes"),
        },
    };
    let path = if path.is_empty() { String::new() } else { path.join(".") + ": " };
    format!("{}: {path}{what}", place(text, span.start))
}

/// What a value must be that is something else.
fn must_be(expected: &str, path: &[String], value: &DeValue<'_>, is_inside: bool) -> String {
    let is_text = matches!(expected, "a string" | "path string");
    let is_table = match value {
        // The parser takes a list for a table, and misses something in it. Ours hold texts alone.
        DeValue::Array(it) => {
            (is_inside && !is_text) || it.iter().any(|it| it.get_ref().is_table())
        }
        _ => expected == "a map" || expected.starts_with("struct "),
    };
    let it = match expected {
        _ if is_table => {
            let or = path.last().and_then(|it| place_of(it));
            let or = or.map_or(String::new(), |it| format!(", or {it}"));
            return format!("it must be a table, as in [{}]{or}", path.join("."));
        }
        _ if is_text => "text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list of texts, as in [\"one\", \"two\"]",
        "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u64" => "a whole number, 0 or more",
        it => it,
    };
    format!("it must be {it}")
}

/// What is wrong with a text that is not even TOML.
fn plainly(message: &str) -> String {
    let words = [
        ("string values must be quoted, expected literal string", "text must stand in quotes"),
        ("duplicate key", "this stands here for the second time"),
        ("basic string", "text"),
        ("literal string", "text"),
        ("array", "list"),
    ];
    words.iter().fold(message.to_owned(), |it, (from, to)| it.replace(from, to))
}

/// `there is no key colour; did you mean color?`
pub(super) fn unknown<'a>(
    kind: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let known: Vec<_> = known.into_iter().filter(|it| !it.is_empty()).collect();
    let near = known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(name, it), *it))
        .filter(|(distance, it)| *distance <= 1 + it.chars().count() / 3)
        .min();
    let name: String =
        name.chars().filter(|it| !sanitize::is_steering(*it)).take(MAX_NAME).collect();
    if let Some(it) = place_of(&name).filter(|_| ["key", "colour", "symbol"].contains(&kind)) {
        return format!("there is no {kind} {name}; it belongs {it}");
    }
    match near {
        _ if name.is_empty() => format!("a {kind}'s name is missing here"),
        Some((_, near)) => format!("there is no {kind} {name}; did you mean {near}?"),
        None if known.is_empty() => format!("there is no {kind} {name}, nor any other"),
        None => format!("there is no {kind} {name}; there are {}", known.join(", ")),
    }
}

/// Where the keys of the whole belong: below a table's header, everything is that table's.
fn place_of(key: &str) -> Option<&'static str> {
    match key {
        "format" => Some("above the first table, or in [segments.NAME]"),
        "roots" => Some("above the first table"),
        _ => None,
    }
}

/// More of a wrong name helps nobody.
const MAX_NAME: usize = 64;

/// As editors count: from one, in characters.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    format!("line {line}, column {column}")
}

/// Where a value begins, or the nearest key that leads there.
fn locate(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first.as_str())?;
    match value.get_ref() {
        _ if rest.is_empty() => Some(match value.get_ref() {
            DeValue::Table(_) => key.span().start,
            _ => value.span().start,
        }),
        DeValue::Table(it) => locate(it, rest).or(Some(key.span().start)),
        _ => Some(value.span().start),
    }
}

/// What the parser speaks of: the keys that lead to it, and its value.
fn owner<'t, 'a>(
    table: &'t DeTable<'a>,
    at: &Range<usize>,
) -> Option<(Vec<String>, &'t Spanned<DeValue<'a>>)> {
    table.iter().find_map(|(key, value)| {
        let is_it = match value.get_ref() {
            DeValue::Array(_) => value.span().contains(&at.start),
            _ => value.span() == *at,
        };
        // A table without a header of its own has the span of one below it: that first.
        let below = value.get_ref().as_table().and_then(|it| owner(it, at));
        let own = || (is_it || key.span() == *at).then(|| (Vec::new(), value));
        let (mut path, value) = below.or_else(own)?;
        path.insert(0, key.get_ref().to_string());
        Some((path, value))
    })
}
