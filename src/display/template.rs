//! PURE. The little language of formats: `{names}`, `(groups that vanish with their content)`,
//! and text around them, in which `\` makes the next character an ordinary one.
//!
//! A format is walked as it stands, each time: that costs less than to read it from anything that
//! it could be compiled to. **Invariant:** walking never fails. What [`check`] would refuse is
//! text.

/// Groups in groups: nobody needs more.
const MAX_DEPTH: usize = 8;

/// A piece of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// What stands between braces.
    Name(&'a str),
    /// A group begins.
    Open,
    /// It ends.
    Close,
}

/// What is wrong with a format, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// Walks a format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(format: &'a str) -> Tokens<'a> {
        Tokens { rest: format, depth: 0 }
    }

    fn take(&mut self, n_bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(n_bytes);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Tokens<'a> {
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
            '(' if self.depth < MAX_DEPTH => {
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

/// Says what is wrong with a format, if anything. `known` says why a name is none.
pub(crate) fn check(format: &str, known: impl Fn(&str) -> Result<(), String>) -> Result<(), Flaw> {
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(it) = format[at..].chars().next() {
        let flaw = |what: &str| Err(Flaw { at, what: what.to_owned() });
        let rest = &format[at + it.len_utf8()..];
        let mut taken = it.len_utf8();
        match it {
            '\\' => match rest.chars().next() {
                Some(it) => taken += it.len_utf8(),
                None => return flaw("nothing follows this \\"),
            },
            '{' => {
                let Some(end) = rest.find('}') else { return flaw("this { is never closed") };
                known(&rest[..end]).map_err(|what| Flaw { at, what })?;
                taken += end + 1;
            }
            '}' => return flaw("this } closes nothing (the character itself is \\})"),
            '(' if open.len() == MAX_DEPTH => return flaw("groups are too deep here"),
            '(' => open.push(at),
            ')' if open.pop().is_none() => {
                return flaw("this ) closes nothing (the character itself is \\))");
            }
            _ => {}
        }
        at += taken;
    }
    match open.pop() {
        Some(at) => {
            Err(Flaw { at, what: "this ( is never closed (the character itself is \\()".into() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_groups_and_text_are_told_apart() {
        let tokens: Vec<_> = Tokens::of(r"a {b}( · {c})\{d\(").collect();
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
    fn check_flaw(format: &str, at: usize, what: &str) {
        let flaw = check(format, |it| if it == "x" { Ok(()) } else { Err(format!("no {it}")) });
        let flaw = flaw.unwrap_err();
        assert!(flaw.at == at && flaw.what.contains(what), "{format:?}: {flaw:?}");
        // Drawing does not mind.
        assert!(Tokens::of(format).count() <= format.len());
    }

    #[test]
    fn a_flaw_is_named_with_its_place() {
        check_flaw("{x} {y}", 4, "no y");
        check_flaw("{x} {x", 4, "never closed");
        check_flaw("{x}}", 3, "closes nothing");
        check_flaw("a)", 1, "closes nothing");
        check_flaw("a ({x}", 2, "never closed");
        check_flaw("日 (", 4, "never closed");
        check_flaw("\\", 0, "nothing follows");
        check_flaw(&"(".repeat(9), 8, "too deep");
        check_flaw("{}", 0, "no ");
        assert_eq!(check(r"\{\)日 ({x})", |_| Ok(())), Ok(()));
    }
}
