//! PURE. What is wrong with a configuration, said so that it can be found and mended: line, column
//! and what was probably meant.

use toml::de::{DeTable, DeValue};

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

/// What the parser says, with a suggestion where it does not know a name.
pub(super) fn describe(err: &toml::de::Error, text: &str) -> String {
    let message = err.message().trim_end().replace('\n', ", ");
    let what = match message.split('`').collect::<Vec<_>>()[..] {
        ["unknown field ", field, _, ref known @ ..] => {
            unknown("key", field, known.iter().copied().step_by(2))
        }
        _ => plainly(&message),
    };
    match err.span() {
        Some(it) => format!("{}: {what}", place(text, it.start)),
        None => what,
    }
}

/// The same in words for people who know no Rust.
fn plainly(message: &str) -> String {
    let words = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u64", "expected a whole number"),
        ("expected a map", "expected a table"),
        ("a sequence", "a list"),
        ("type: sequence", "type: list"),
    ];
    let message = words.iter().fold(message.to_owned(), |it, (from, to)| it.replace(from, to));
    match message.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected a table"),
        None => message,
    }
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
    let name: String = name.chars().filter(|it| !it.is_control()).take(MAX_NAME).collect();
    match near {
        _ if name.is_empty() => format!("a {kind}'s name is missing here"),
        Some((_, near)) => format!("there is no {kind} {name}; did you mean {near}?"),
        None if known.is_empty() => format!("there is no {kind} {name}, nor any other"),
        None => format!("there is no {kind} {name}; there are {}", known.join(", ")),
    }
}

/// What is quoted of a file must not steer the terminal that it is shown on.
pub(super) fn harmless(text: &str) -> String {
    let is_harmful = |it: char| {
        it.is_control()
            || matches!(it, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(it, '\u{2060}'..='\u{206f}')
    };
    text.chars().map(|it| if is_harmful(it) { char::REPLACEMENT_CHARACTER } else { it }).collect()
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
