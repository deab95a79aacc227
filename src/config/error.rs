//! PURE. Why a configuration file is refused, in words that help to correct it.

use std::fmt;

use crate::sanitize;

/// Messages that an error shows. It only counts the problems beyond these.
const MAX_MESSAGES: usize = 8;
/// Characters of a key or value that a message quotes.
const MAX_QUOTE: usize = 64;

/// Every problem in a configuration file, in the order of the file, each with its position.
///
/// `{}` writes them on one line, for a status line; `{:#}` writes each on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// `line 2, column 10: theme.preset: unknown preset asci; did you mean ascii?`
    messages: Vec<String>,
    n_more: usize,
}

/// One problem in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The byte of the file at which the wrong key or value begins.
    pub(super) at: usize,
    /// The keys that lead to the wrong value, joined by dots; empty for the file as a whole.
    pub(super) path: String,
    pub(super) what: String,
}

impl ConfigError {
    /// `text` is the file's content, in which the problems are located.
    pub(super) fn new(text: &str, mut problems: Vec<Problem>) -> ConfigError {
        problems.sort_by_key(|it| it.at);
        let messages = problems.iter().take(MAX_MESSAGES).map(|it| it.message(text)).collect();
        ConfigError { messages, n_more: problems.len().saturating_sub(MAX_MESSAGES) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_list = f.alternate() && self.messages.len() > 1;
        for (nth, message) in self.messages.iter().enumerate() {
            f.write_str(match (is_list, nth) {
                (true, _) => "\n  ",
                (false, 0) => "",
                (false, _) => "; ",
            })?;
            f.write_str(message)?;
        }
        match self.n_more {
            0 => Ok(()),
            n_more if is_list => write!(f, "\n  and {n_more} more"),
            n_more => write!(f, "; and {n_more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Problem {
    fn message(&self, text: &str) -> String {
        let path = if self.path.is_empty() { String::new() } else { self.path.clone() + ": " };
        let message = format!("{}: {path}{}", position(text, self.at), self.what);
        // The file may quote a name that somebody else chose. It must not steer the terminal.
        sanitize::marked(&message)
    }
}

/// Counts as editors do: lines and characters, both from 1.
fn position(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    format!("line {line}, column {column}")
}

/// The message for a name that is none of the known ones: `unknown key colour; did you mean color?`
pub(super) fn unknown<'a>(
    kind: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let known: Vec<_> = known.into_iter().filter(|it| !it.is_empty()).collect();
    if name.is_empty() {
        return format!("the name of a {kind} is missing here");
    }
    let similar = known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(name, it), *it))
        .filter(|(distance, it)| *distance <= 1 + it.chars().count() / 3)
        .min();
    let name = quote(name);
    match similar {
        Some((_, similar)) => format!("unknown {kind} {name}; did you mean {similar}?"),
        None if known.is_empty() => format!("unknown {kind} {name}; none is defined"),
        None => format!("unknown {kind} {name}; expected one of {}", known.join(", ")),
    }
}

/// The beginning of a key or value, without control characters.
pub(super) fn quote(text: &str) -> String {
    let mut chars = text.chars().filter(|it| !it.is_control());
    let mut quoted: String = chars.by_ref().take(MAX_QUOTE).collect();
    if chars.next().is_some() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(at: usize, path: &str, what: &str) -> Problem {
        Problem { at, path: path.to_owned(), what: what.to_owned() }
    }

    #[test]
    fn problems_are_listed_in_the_order_of_the_file() {
        let text = "a = 1\nü.b = 2\n";
        let err = ConfigError::new(text, vec![problem(9, "ü.b", "two"), problem(0, "", "one")]);
        assert_eq!(err.to_string(), "line 1, column 1: one; line 2, column 3: ü.b: two");
        assert_eq!(format!("{err:#}"), "\n  line 1, column 1: one\n  line 2, column 3: ü.b: two");
    }

    #[test]
    fn a_single_problem_needs_no_list() {
        let err = ConfigError::new("a", vec![problem(0, "a", "one")]);
        assert_eq!(format!("{err:#}"), "line 1, column 1: a: one");
        assert_eq!(format!("{err:#}"), err.to_string());
    }

    #[test]
    fn a_file_full_of_problems_makes_a_short_error() {
        let many = (0..1000).map(|_| problem(0, "a", "wrong")).collect();
        let err = ConfigError::new("a", many).to_string();
        assert_eq!(err.matches("wrong").count(), MAX_MESSAGES);
        assert!(err.ends_with("; and 992 more"), "{err}");
    }

    #[test]
    fn a_quoted_name_is_short_and_cannot_steer_a_terminal() {
        assert_eq!(quote("a\u{1b}[31m"), "a[31m");
        assert_eq!(quote(&"x".repeat(65)), "x".repeat(64) + "…");
        let err = ConfigError::new("a", vec![problem(0, "a\u{202e}", "b\u{1b}")]);
        assert_eq!(err.to_string(), "line 1, column 1: a\u{fffd}: b\u{fffd}");
    }
}
