//! PURE. A pull parser for JSON that another program wrote: callers read the fields they want and
//! skip the rest, and nothing is built of what is skipped.
//!
//! A value of another type than the caller asks for is read as missing; the fields after it are
//! still read. Skipped values are not validated: only their quotes and brackets are followed to
//! find where they end. Reading a history consists mostly of skipping, and a parser that validates
//! every value takes twice as long.
//!
//! The functions that read a value return `Option<Option<T>>`. The outer `None` means that the text
//! is not JSON, and the caller must stop. The inner `None` means that the value has another type.
//!
//! **Invariant:** no input causes a panic, or recursion deeper than the caller's own calls.
//!
//! See docs/decisions/014-transcripts-are-walked.md.

use std::borrow::Cow;

use jiff::Timestamp;
use memchr::{arch, memchr};

use super::preview::has_visible;

/// A string value. It borrows from the input, except where it contains escapes.
pub(super) type Text<'a> = Cow<'a, str>;

/// A position in a JSON text, directly before a value. Reading a value moves it behind the value.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub(super) fn new(json: &'a [u8]) -> Scan<'a> {
        Scan { rest: json }
    }

    /// The text from this position on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads an object. `field` gets each key without its quotes, escapes left as they are, and
    /// must read or skip the value. Returns whether the value is an object; any other value is
    /// skipped.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&mut Scan<'a>, &'a [u8]) -> Option<()>,
    ) -> Option<bool> {
        if self.peek()? != b'{' {
            self.skip()?;
            return Some(false);
        }
        self.bump();
        if self.peek()? == b'}' {
            self.bump();
            return Some(true);
        }
        loop {
            self.expect(b'"')?;
            let key = self.string_after_quote()?;
            self.expect(b':')?;
            field(self, key)?;
            if !self.has_next(b'}')? {
                return Some(true);
            }
        }
    }

    /// [`object`](Self::object) for callers that treat a value of another type as an empty object.
    pub(super) fn fields(
        &mut self,
        field: impl FnMut(&mut Scan<'a>, &'a [u8]) -> Option<()>,
    ) -> Option<()> {
        self.object(field).map(drop)
    }

    /// [`fields`](Self::fields) for callers that want one field only.
    pub(super) fn field(
        &mut self,
        wanted: &[u8],
        mut field: impl FnMut(&mut Scan<'a>) -> Option<()>,
    ) -> Option<()> {
        self.fields(|scan, key| if key == wanted { field(scan) } else { scan.skip() })
    }

    /// Reads a list. `item` must read or skip each item. A value that is not a list is skipped.
    pub(super) fn list(&mut self, mut item: impl FnMut(&mut Scan<'a>) -> Option<()>) -> Option<()> {
        if self.peek()? != b'[' {
            return self.skip();
        }
        self.bump();
        if self.peek()? == b']' {
            self.bump();
            return Some(());
        }
        loop {
            item(self)?;
            if !self.has_next(b']')? {
                return Some(());
            }
        }
    }

    /// Skips a value, and returns its JSON text.
    pub(super) fn raw(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let before = self.rest;
        self.skip()?;
        Some(&before[..before.len() - self.rest.len()])
    }

    /// Reads a string of any length. What is not text in it, such as half of a surrogate pair,
    /// becomes `\u{fffd}`: the client cuts texts without regard to characters.
    pub(super) fn string(&mut self) -> Option<Option<Text<'a>>> {
        if self.peek()? != b'"' {
            self.skip()?;
            return Some(None);
        }
        self.bump();
        let inner = self.string_after_quote()?;
        Some(Some(match find(b'\\', inner) {
            Some(_) => Text::Owned(unescaped(inner)),
            None => String::from_utf8_lossy(inner),
        }))
    }

    /// Reads a string of at most 4096 bytes, the system's limit on paths: a name, an id or a path.
    pub(super) fn text(&mut self) -> Option<Option<Text<'a>>> {
        Some(self.string()?.filter(|it| it.len() <= 4096))
    }

    /// [`text`](Self::text) as a `String`. A text in which nothing is visible is read as missing.
    pub(super) fn name(&mut self) -> Option<Option<String>> {
        Some(self.text()?.filter(|it| has_visible(it)).map(Text::into_owned))
    }

    /// Reads a [`name`](Self::name), or a whole number as its decimal digits.
    pub(super) fn word(&mut self) -> Option<Option<String>> {
        let mut number = self.clone();
        match self.name()? {
            Some(name) => Some(Some(name)),
            None => Some(number.count()?.map(|it| it.to_string())),
        }
    }

    /// Reads a time in RFC 3339 notation, as Unix milliseconds.
    pub(super) fn instant_ms(&mut self) -> Option<Option<i64>> {
        let instant = self.text()?.and_then(|it| it.parse::<Timestamp>().ok());
        Some(instant.map(|it| it.as_millisecond()))
    }

    /// Reads a time in RFC 3339 notation, or a number of seconds or milliseconds, as Unix
    /// milliseconds.
    pub(super) fn moment_ms(&mut self) -> Option<Option<i64>> {
        // In seconds this is the year 5138, in milliseconds the year 1973.
        const MILLISECONDS_FROM: f64 = 1e11;
        let instant = self.clone().instant_ms()?;
        let number = self.real()?.filter(|it| *it > 0.0);
        let factor = |it: f64| if it < MILLISECONDS_FROM { 1000.0 } else { 1.0 };
        Some(instant.or(number.map(|it| (it * factor(it)) as i64)))
    }

    /// Reads a whole number that is not negative.
    pub(super) fn count(&mut self) -> Option<Option<u64>> {
        let scalar = self.raw()?;
        if let Some(count) = str::from_utf8(scalar).ok().and_then(|it| it.parse().ok()) {
            return Some(Some(count));
        }
        // Some clients write `21000.0`.
        let real = real(scalar).filter(|it| *it >= 0.0 && it.fract() == 0.0);
        Some(real.map(|it| it as u64))
    }

    /// Reads a finite number.
    pub(super) fn real(&mut self) -> Option<Option<f64>> {
        self.raw().map(real)
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self) -> Option<Option<bool>> {
        Some(match self.raw()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        })
    }

    /// Skips a value. Does not recurse.
    pub(super) fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.bump();
                    self.string_after_quote()?;
                }
                b'{' | b'[' => {
                    self.bump();
                    depth += 1;
                    continue;
                }
                b'}' | b']' | b',' | b':' => {
                    if depth == 0 {
                        return None;
                    }
                    depth -= usize::from(matches!(self.rest[0], b'}' | b']'));
                    self.bump();
                }
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Skips a number, `true`, `false` or `null`, up to white space or punctuation.
    fn scalar(&mut self) -> Option<()> {
        let is_end = |byte: &u8| {
            matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[')
                || byte.is_ascii_whitespace()
        };
        let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let first_fits = matches!(self.rest[0], b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
        self.rest = &self.rest[end..];
        first_fits.then_some(())
    }

    /// Reads the rest of a string whose opening quote has been read, and returns it with its
    /// escapes, without the closing quote.
    fn string_after_quote(&mut self) -> Option<&'a [u8]> {
        let mut end = 0;
        loop {
            end += find(b'"', self.rest.get(end..)?)?;
            // An odd number of backslashes before the quote escapes it. The search stops at quotes
            // and not at backslashes, since texts contain many other escapes.
            let escapes = self.rest[..end].iter().rev().take_while(|it| **it == b'\\');
            if escapes.count() % 2 == 0 {
                let inner = &self.rest[..end];
                self.rest = &self.rest[end + 1..];
                return Some(inner);
            }
            end += 1;
        }
    }

    /// Reads a comma, after which another item follows, or `close`. Returns whether one follows.
    fn has_next(&mut self, close: u8) -> Option<bool> {
        let next = self.peek()?;
        self.bump();
        match next {
            b',' => {
                self.peek()?;
                Some(true)
            }
            byte => (byte == close).then_some(false),
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let next = self.peek()?;
        self.bump();
        (next == byte).then_some(())
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.rest.first()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.bump(),
                byte => return Some(byte),
            }
        }
    }

    fn bump(&mut self) {
        self.rest = &self.rest[1..];
    }
}

/// The index of the first `byte` in `bytes`.
///
/// In most cases the byte is near. There a portable search is used: to detect which vector
/// instructions this processor has would take a fifth of the time that a display runs.
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(256));
    let found = arch::all::memchr::One::new(byte).find(near);
    let search_on = || Some(near.len() + memchr(byte, far)?);
    if far.is_empty() { found } else { found.or_else(search_on) }
}

/// Reads the object with which `json` begins, and ignores what follows it. `None` where `json` does
/// not begin with an object.
pub(super) fn read_object<'a>(
    json: &'a [u8],
    field: impl FnMut(&mut Scan<'a>, &'a [u8]) -> Option<()>,
) -> Option<()> {
    Scan::new(trim(json)).object(field)?.then_some(())
}

/// JSON text without what stands around it: white space, byte order marks, and the zeros that a
/// crash leaves where a write did not reach the disk.
pub(super) fn trim(json: &[u8]) -> &[u8] {
    let is_filler =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | b'\xef' | b'\xbb' | b'\xbf');
    let start = json.iter().position(|it| !is_filler(it)).unwrap_or(json.len());
    let end = json.iter().rposition(|it| !is_filler(it)).map_or(start, |it| it + 1);
    &json[start..end]
}

/// The text of a string, which is given without its quotes.
fn unescaped(string: &[u8]) -> String {
    let mut text = Vec::with_capacity(string.len());
    let mut rest = string;
    while let Some(backslash) = find(b'\\', rest) {
        text.extend_from_slice(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let (char, n_bytes) = escaped_char(rest);
        text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[n_bytes..];
    }
    text.extend_from_slice(rest);
    String::from_utf8(text)
        .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
}

/// The character that an escape stands for, and how many bytes of `rest`, which begins behind the
/// backslash, belong to the escape.
fn escaped_char(rest: &[u8]) -> (char, usize) {
    let char = match rest.first() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(b'u') => {
            let Some(unit) = utf16_unit(&rest[1..]) else {
                return (char::REPLACEMENT_CHARACTER, 1);
            };
            let second = rest[5..].strip_prefix(b"\\u").and_then(utf16_unit);
            return match (char::decode_utf16([unit]).next(), second) {
                (Some(Ok(char)), _) => (char, 5),
                (_, Some(second)) => match char::decode_utf16([unit, second]).next() {
                    Some(Ok(char)) => (char, 11),
                    _ => (char::REPLACEMENT_CHARACTER, 5),
                },
                _ => (char::REPLACEMENT_CHARACTER, 5),
            };
        }
        // There is no such escape. The byte after the backslash stays.
        _ => return (char::REPLACEMENT_CHARACTER, 0),
    };
    (char, 1)
}

/// The number that the first four bytes are in hexadecimal digits.
fn utf16_unit(digits: &[u8]) -> Option<u16> {
    digits.get(..4)?.iter().try_fold(0, |unit, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

fn real(scalar: &[u8]) -> Option<f64> {
    // Rust also parses `inf` and `nan`, which are not JSON.
    let is_number = scalar.first().is_some_and(|it| matches!(it, b'-' | b'0'..=b'9'));
    let text = str::from_utf8(scalar).ok().filter(|_| is_number)?;
    text.parse().ok().filter(|it: &f64| it.is_finite())
}
