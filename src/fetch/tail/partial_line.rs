//! Collects a line of JSON that arrives in pieces, in bounded memory.

use memchr::{memchr, memchr2};

/// The pieces of a line so far. Once the line exceeds `max_line` bytes, each of its strings is cut
/// to about `max_string` bytes.
#[derive(Debug)]
pub(super) struct PartialLine {
    max_line: usize,
    max_string: usize,
    bytes: Vec<u8>,
    /// Present once the line has exceeded `max_line`.
    elision: Option<Elision>,
}

impl PartialLine {
    pub(super) fn new(max_line: usize, max_string: usize) -> PartialLine {
        PartialLine { max_line, max_string, bytes: Vec::new(), elision: None }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        let fits = self.bytes.len() + piece.len() <= self.max_line;
        if self.elision.is_none() && !fits {
            let whole = std::mem::take(&mut self.bytes);
            let mut elision = Elision::default();
            self.bytes.reserve(piece.len());
            elision.push(&whole, self.max_string, &mut self.bytes);
            self.elision = Some(elision);
        }
        match &mut self.elision {
            None => self.bytes.extend_from_slice(piece),
            // Too long even without its long strings: the rest is dropped.
            Some(_) if self.bytes.len() > self.max_line => {}
            Some(elision) => elision.push(piece, self.max_string, &mut self.bytes),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.elision.is_none()
    }

    /// The line; `None` where it is too long even without its long strings.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        (self.bytes.len() <= self.max_line).then_some(&self.bytes)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.elision = None;
    }

    /// Frees memory that a long line took, except for `n_bytes`.
    pub(super) fn shrink_to(&mut self, n_bytes: usize) {
        self.bytes.shrink_to(n_bytes);
    }
}

/// Copies JSON while it arrives, without the ends of long strings. The copy of a valid document is
/// valid: no string is cut within a character, an escape or a surrogate pair.
///
/// A record may follow a string that is torn off. Its first brace and quote then look like the end
/// of that string. They are copied, and tell from what follows that a record begins there.
#[derive(Debug, Default)]
struct Elision {
    state: State,
    /// Bytes of the current string that were copied.
    n_copied: usize,
    /// Whether the last escape was the first half of a surrogate pair.
    is_in_pair: bool,
    /// The last byte of the current string, copied or not.
    last: u8,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Outside,
    InString,
    AfterBackslash,
    InHex {
        n_left: u8,
        value: u16,
    },
    /// Within the part of a string that is left out.
    InCut,
    InCutAfterBackslash,
    /// Behind a brace and a quote in a string. Either the string ends here, or it is torn off and
    /// a record begins.
    AfterBraceAndQuote,
}

impl Elision {
    fn push(&mut self, mut piece: &[u8], string_limit: usize, out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = piece.split_first() {
            match self.state {
                State::Outside => {
                    let n = memchr(b'"', piece).map_or(piece.len(), |it| it + 1);
                    out.extend_from_slice(&piece[..n]);
                    if piece[n - 1] == b'"' {
                        *self = Elision { state: State::InString, ..Elision::default() };
                    }
                    piece = &piece[n..];
                    continue;
                }
                State::InCut => {
                    let Some(n) = memchr2(b'"', b'\\', piece) else {
                        self.last = piece[piece.len() - 1];
                        return;
                    };
                    if n > 0 {
                        self.last = piece[n - 1];
                    }
                    if piece[n] == b'"' && self.last == b'{' {
                        out.extend_from_slice(b"{\"");
                        self.state = State::AfterBraceAndQuote;
                    } else if piece[n] == b'"' {
                        out.push(b'"');
                        self.state = State::Outside;
                    } else {
                        self.state = State::InCutAfterBackslash;
                    }
                    piece = &piece[n + 1..];
                    continue;
                }
                State::InCutAfterBackslash => {
                    self.last = byte;
                    self.state = State::InCut;
                }
                State::AfterBraceAndQuote => {
                    let begins_key = byte.is_ascii_alphabetic() || byte == b'_';
                    let state = if begins_key { State::InString } else { State::Outside };
                    *self = Elision { state, ..Elision::default() };
                    continue;
                }
                State::InString if byte != b'"' && self.may_cut(byte, string_limit) => {
                    self.state = State::InCut;
                    continue;
                }
                _ => self.copy(byte, out),
            }
            piece = rest;
        }
    }

    fn may_cut(&self, next: u8, string_limit: usize) -> bool {
        let is_within_character = next & 0xc0 == 0x80 || self.is_in_pair;
        // No character has 16 bytes, so a longer one is not valid text and may be cut anywhere.
        self.n_copied >= string_limit && !is_within_character || self.n_copied >= string_limit + 16
    }

    fn copy(&mut self, byte: u8, out: &mut Vec<u8>) {
        out.push(byte);
        self.n_copied += 1;
        self.state = match self.state {
            State::InString if byte == b'"' && self.last == b'{' => State::AfterBraceAndQuote,
            State::InString if byte == b'"' => State::Outside,
            State::InString if byte == b'\\' => State::AfterBackslash,
            State::AfterBackslash if byte == b'u' => State::InHex { n_left: 4, value: 0 },
            State::InHex { n_left, value } => {
                let digit = (byte as char).to_digit(16).unwrap_or(0) as u16;
                let value = value << 4 | digit;
                if n_left > 1 {
                    State::InHex { n_left: n_left - 1, value }
                } else {
                    self.is_in_pair = (0xd800..0xdc00).contains(&value);
                    State::InString
                }
            }
            _ => {
                self.is_in_pair = false;
                State::InString
            }
        };
        self.last = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_document_without_the_ends_of_its_strings_is_valid(text in "(.|[{a\"]){0,300}", escape in any::<bool>(), piece in 1..50_usize) {
            let mut json = serde_json::to_string(&[&text, "end"]).expect("can be written");
            if escape {
                json = json.chars().map(escaped).collect();
            }
            let mut elided = Vec::new();
            let mut elision = Elision::default();
            json.as_bytes().chunks(piece).for_each(|it| elision.push(it, 20, &mut elided));
            let [cut, end]: [String; 2] = serde_json::from_slice(&elided).expect("is a document");
            let cut = cut.strip_suffix('{').unwrap_or(&cut);
            prop_assert!(text.starts_with(cut));
            prop_assert_eq!(end, "end");
        }
    }

    fn escaped(c: char) -> String {
        if c.is_ascii() {
            return c.to_string();
        }
        c.encode_utf16(&mut [0; 2]).iter().map(|it| format!("\\u{it:04x}")).collect()
    }
}
