//! PURE. The language of formats: `{names}`, `(groups)` that are left out if none of their names
//! has anything to say, and text. In text, `\` makes the next character an ordinary one.
//!
//! A format is tokenized each time that it is drawn. A display is a new process each time, so a
//! compiled form would have to be read from a file, which takes longer. **Invariant:** tokenizing
//! never fails. What [`check`] refuses is taken for text.
//!
//! See docs/decisions/021-displays-read-no-configuration.md.

/// How deep groups may be nested.
const MAX_NESTING: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Text(&'a str),
    /// The text between braces.
    Name(&'a str),
    /// The start of a group.
    Open,
    /// The end of a group.
    Close,
}

/// Why a format is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FormatError {
    /// The byte of the format that is wrong.
    pub(crate) at: usize,
    /// A message for the user.
    pub(crate) what: String,
}

/// Splits a format into tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokenizer<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Tokenizer<'a> {
    pub(super) fn of(format: &'a str) -> Tokenizer<'a> {
        Tokenizer { rest: format, depth: 0 }
    }

    fn take(&mut self, n_bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(n_bytes);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Tokenizer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.rest.chars().next()?;
        match first {
            '\\' => {
                self.take(1);
                let n_bytes = self.rest.chars().next().map_or(0, char::len_utf8);
                Some(Token::Text(self.take(n_bytes)))
            }
            '{' => match self.rest.bytes().position(|it| it == b'}') {
                Some(end) => Some(Token::Name(&self.take(end + 1)[1..end])),
                None => Some(Token::Text(self.take(1))),
            },
            '(' if self.depth < MAX_NESTING => {
                self.depth += 1;
                self.take(1);
                Some(Token::Open)
            }
            ')' if self.depth > 0 => {
                self.depth -= 1;
                self.take(1);
                Some(Token::Close)
            }
            _ => {
                let special = |it| matches!(it, b'\\' | b'{' | b'(' | b')');
                let end = self.rest.bytes().skip(1).position(special);
                let n_bytes = end.map_or(self.rest.len(), |it| it + 1);
                Some(Token::Text(self.take(n_bytes)))
            }
        }
    }
}

/// Checks a format strictly. `check_name` returns a message for the user if there is no such name.
pub(crate) fn check(
    format: &str,
    check_name: impl Fn(&str) -> Result<(), String>,
) -> Result<(), FormatError> {
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(char) = format[at..].chars().next() {
        let error = |what: &str| Err(FormatError { at, what: what.to_owned() });
        let rest = &format[at + char.len_utf8()..];
        let mut taken = char.len_utf8();
        match char {
            '\\' => match rest.chars().next() {
                Some(escaped) => taken += escaped.len_utf8(),
                None => return error("nothing follows this \\"),
            },
            '{' => {
                let Some(end) = rest.find('}') else { return error("this { is never closed") };
                check_name(&rest[..end]).map_err(|what| FormatError { at, what })?;
                taken += end + 1;
            }
            '}' => return error("this } closes nothing (the character itself is \\})"),
            '(' if open.len() == MAX_NESTING => return error("groups are too deep here"),
            '(' => open.push(at),
            ')' if open.pop().is_none() => {
                return error("this ) closes nothing (the character itself is \\))");
            }
            _ => {}
        }
        at += taken;
    }
    match open.pop() {
        Some(at) => Err(FormatError {
            at,
            what: "this ( is never closed (the character itself is \\()".into(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_groups_and_text_are_told_apart() {
        let tokens: Vec<_> = Tokenizer::of(r"a {b}( · {c})\{d\(").collect();
        use Token::{Close, Name, Open, Text};
        assert_eq!(
            tokens,
            [
                Text("a "),
                Name("b"),
                Open,
                Text(" · "),
                Name("c"),
                Close,
                Text("{"),
                Text("d"),
                Text("(")
            ]
        );
    }

    #[track_caller]
    fn check_refused(format: &str, at: usize, what: &str) {
        let error =
            check(format, |name| if name == "x" { Ok(()) } else { Err(format!("no {name}")) });
        let error = error.unwrap_err();
        assert!(error.at == at && error.what.contains(what), "{format:?}: {error:?}");
        // It can be drawn nevertheless.
        assert!(Tokenizer::of(format).count() <= format.len());
    }

    #[test]
    fn an_invalid_format_is_refused_with_the_position_of_the_error() {
        check_refused("{x} {y}", 4, "no y");
        check_refused("{x} {x", 4, "never closed");
        check_refused("{x}}", 3, "closes nothing");
        check_refused("a)", 1, "closes nothing");
        check_refused("a ({x}", 2, "never closed");
        check_refused("日 (", 4, "never closed");
        check_refused("\\", 0, "nothing follows");
        check_refused(&"(".repeat(9), 8, "too deep");
        check_refused("{}", 0, "no ");
        assert_eq!(check(r"\{\)日 ({x})", |_| Ok(())), Ok(()));
    }
}
