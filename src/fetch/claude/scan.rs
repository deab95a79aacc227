//! PURE. Walks through JSON that another program wrote, and takes out the fields that are asked
//! for, without building anything of the rest.
//!
//! A value that does not fit what is asked of it is none, and takes nothing else with it. What is
//! only walked past is not checked beyond where it ends: strings are, by their quotes, and objects
//! and lists by their brackets. Most of a history's cost is this walk, and with a parser that
//! checks every value it takes twice as long.
//!
//! **Invariant:** no input panics, or makes it recurse deeper than its caller asks. `None` from
//! any function means that the text is not JSON, and that walking on is of no use.

use std::borrow::Cow;

use jiff::Timestamp;
use memchr::{arch, memchr};

/// Text that mostly lies in the input itself, and is copied only where it has escapes.
pub(super) type Text<'a> = Cow<'a, str>;

/// A place in a JSON text, before a value.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub(super) fn new(json: &'a [u8]) -> Scan<'a> {
        Scan { rest: json }
    }

    /// What has not been walked through yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Walks through an object. `field` gets each key, as it stands between its quotes, and has to
    /// walk past the value. What is no object has no fields; whether it was one is returned.
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
            if !self.goes_on(b'}')? {
                return Some(true);
            }
        }
    }

    /// The same, where it does not matter whether it was one.
    pub(super) fn fields(
        &mut self,
        field: impl FnMut(&mut Scan<'a>, &'a [u8]) -> Option<()>,
    ) -> Option<()> {
        self.object(field).map(drop)
    }

    /// The same for the one field that is wanted.
    pub(super) fn field(
        &mut self,
        wanted: &[u8],
        mut field: impl FnMut(&mut Scan<'a>) -> Option<()>,
    ) -> Option<()> {
        self.fields(|scan, key| if key == wanted { field(scan) } else { scan.skip() })
    }

    /// Walks through a list. `item` has to walk past each. What is no list has no items.
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
            if !self.goes_on(b']')? {
                return Some(());
            }
        }
    }

    /// Walks past a value, and returns it as it stands there.
    pub(super) fn raw(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let before = self.rest;
        self.skip()?;
        Some(&before[..before.len() - self.rest.len()])
    }

    /// A string of any length.
    pub(super) fn string(&mut self) -> Option<Option<Text<'a>>> {
        if self.peek()? != b'"' {
            self.skip()?;
            return Some(None);
        }
        let before = self.rest;
        self.bump();
        let inner = self.string_after_quote()?;
        Some(if find(b'\\', inner).is_some() {
            let quoted = &before[..inner.len() + 2];
            serde_json::from_slice(quoted).ok().map(Text::Owned)
        } else {
            str::from_utf8(inner).ok().map(Text::Borrowed)
        })
    }

    /// A name, an id or a path. What is longer than a path can be is none of these.
    pub(super) fn text(&mut self) -> Option<Option<Text<'a>>> {
        Some(self.string()?.filter(|it| it.len() <= 4096))
    }

    /// The same, to be kept.
    pub(super) fn name(&mut self) -> Option<Option<String>> {
        Some(self.text()?.map(Text::into_owned))
    }

    /// A name that some writers write as a number.
    pub(super) fn word(&mut self) -> Option<Option<String>> {
        let mut number = self.clone();
        match self.name()? {
            Some(it) => Some(Some(it)),
            None => Some(number.count()?.map(|it| it.to_string())),
        }
    }

    /// An instant, in Unix milliseconds.
    pub(super) fn instant_ms(&mut self) -> Option<Option<i64>> {
        let instant = self.text()?.and_then(|it| it.parse::<Timestamp>().ok());
        Some(instant.map(|it| it.as_millisecond()))
    }

    /// The same of writers that write seconds, milliseconds or text.
    pub(super) fn moment_ms(&mut self) -> Option<Option<i64>> {
        // As seconds this is the year 5138; as milliseconds, 1973.
        const MILLISECONDS_FROM: f64 = 1e11;
        let instant = self.clone().instant_ms()?;
        let number = self.real()?.filter(|it| *it > 0.0);
        let factor = |it: f64| if it < MILLISECONDS_FROM { 1000.0 } else { 1.0 };
        Some(instant.or(number.map(|it| (it * factor(it)) as i64)))
    }

    /// A number of things.
    pub(super) fn count(&mut self) -> Option<Option<u64>> {
        let scalar = self.raw()?;
        if let Some(it) = str::from_utf8(scalar).ok().and_then(|it| it.parse().ok()) {
            return Some(Some(it));
        }
        // Some writers have it as `21000.0`.
        let real = real(scalar).filter(|it| *it >= 0.0 && it.fract() == 0.0);
        Some(real.map(|it| it as u64))
    }

    /// A number.
    pub(super) fn real(&mut self) -> Option<Option<f64>> {
        self.raw().map(real)
    }

    /// Whether it is `true`.
    pub(super) fn flag(&mut self) -> Option<Option<bool>> {
        Some(match self.raw()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        })
    }

    /// Walks past a value.
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

    /// Number, `true`, `false` or `null`: whatever ends where nothing else can stand.
    fn scalar(&mut self) -> Option<()> {
        let is_end = |it: &u8| {
            matches!(it, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[') || it.is_ascii_whitespace()
        };
        let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let first_fits = matches!(self.rest[0], b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
        self.rest = &self.rest[end..];
        first_fits.then_some(())
    }

    /// The rest of a string, as it stands before its closing quote.
    fn string_after_quote(&mut self) -> Option<&'a [u8]> {
        let mut end = 0;
        loop {
            end += find(b'"', self.rest.get(end..)?)?;
            // Only escaped quotes are stopped at: text is full of other escapes.
            let escapes = self.rest[..end].iter().rev().take_while(|it| **it == b'\\');
            if escapes.count() % 2 == 0 {
                let inner = &self.rest[..end];
                self.rest = &self.rest[end + 1..];
                return Some(inner);
            }
            end += 1;
        }
    }

    /// Whether another item follows, or else `close`.
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        let next = self.peek()?;
        self.bump();
        match next {
            b',' => {
                self.peek()?;
                Some(true)
            }
            it => (it == close).then_some(false),
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let next = self.peek()?;
        self.bump();
        (next == byte).then_some(())
    }

    /// What stands next, after white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.rest.first()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.bump(),
                it => return Some(it),
            }
        }
    }

    fn bump(&mut self) {
        self.rest = &self.rest[1..];
    }
}

/// Where a byte is found first. As a rule it is near, and then the fastest way to search is not worth
/// finding out which that is on this processor: a display would spend a fifth of its time on it.
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(256));
    let found = arch::all::memchr::One::new(byte).find(near);
    let search_on = || Some(near.len() + memchr(byte, far)?);
    if far.is_empty() { found } else { found.or_else(search_on) }
}

/// Walks through the object that `json` begins with; what follows it is not ours to judge. None
/// where there is none.
pub(super) fn read_object<'a>(
    json: &'a [u8],
    field: impl FnMut(&mut Scan<'a>, &'a [u8]) -> Option<()>,
) -> Option<()> {
    Scan::new(json).object(field)?.then_some(())
}

fn real(scalar: &[u8]) -> Option<f64> {
    // Rust reads `inf` and `nan`, too, which JSON has not.
    let is_number = scalar.first().is_some_and(|it| matches!(it, b'-' | b'0'..=b'9'));
    let text = str::from_utf8(scalar).ok().filter(|_| is_number)?;
    text.parse().ok().filter(|it: &f64| it.is_finite())
}
