//! A line that arrives in pieces, kept short.

use memchr::{memchr, memchr2};

/// A line as it arrives, piece by piece, never longer than [`Limits::line`].
#[derive(Debug)]
pub(super) struct PartialLine {
    max_line: usize,
    max_string: usize,
    bytes: Vec<u8>,
    /// Set once the line has turned out to be long.
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
            // What is too long already is not collected any further.
            Some(_) if self.bytes.len() > self.max_line => {}
            Some(elision) => elision.push(piece, self.max_string, &mut self.bytes),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.elision.is_none()
    }

    /// None where the line is too long even without its long strings.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        (self.bytes.len() <= self.max_line).then_some(&self.bytes)
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.elision = None;
    }

    /// Gives memory back that a long line took.
    pub(super) fn shrink_to(&mut self, n_bytes: usize) {
        self.bytes.shrink_to(n_bytes);
    }
}

/// Copies JSON while it arrives, and leaves out the ends of long strings. What was a document stays
/// one: a string is never cut within a character, an escape or a surrogate pair.
#[derive(Debug, Default)]
struct Elision {
    state: State,
    /// Bytes of the current string that were copied.
    copied: usize,
    /// The last escape was the first half of a pair.
    in_pair: bool,
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
    /// In the part of a string that is left out.
    InCut,
    InCutAfterBackslash,
}

impl Elision {
    fn push(&mut self, mut piece: &[u8], string_limit: usize, out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = piece.split_first() {
            match self.state {
                State::Outside => {
                    let n = memchr(b'"', piece).map_or(piece.len(), |it| it + 1);
                    out.extend_from_slice(&piece[..n]);
                    if piece[n - 1] == b'"' {
                        *self = Elision { state: State::InString, copied: 0, in_pair: false };
                    }
                    piece = &piece[n..];
                    continue;
                }
                State::InCut => {
                    let Some(n) = memchr2(b'"', b'\\', piece) else { return };
                    if piece[n] == b'"' {
                        out.push(b'"');
                        self.state = State::Outside;
                    } else {
                        self.state = State::InCutAfterBackslash;
                    }
                    piece = &piece[n + 1..];
                    continue;
                }
                State::InCutAfterBackslash => self.state = State::InCut,
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
        let within_character = next & 0xc0 == 0x80 || self.in_pair;
        // What goes on being within one is not text, and may be cut anywhere.
        self.copied >= string_limit && !within_character || self.copied >= string_limit + 16
    }

    fn copy(&mut self, byte: u8, out: &mut Vec<u8>) {
        out.push(byte);
        self.copied += 1;
        self.state = match self.state {
            State::InString if byte == b'"' => State::Outside,
            State::InString if byte == b'\\' => State::AfterBackslash,
            State::AfterBackslash if byte == b'u' => State::InHex { n_left: 4, value: 0 },
            State::InHex { n_left, value } => {
                let digit = (byte as char).to_digit(16).unwrap_or(0) as u16;
                let value = value << 4 | digit;
                if n_left > 1 {
                    State::InHex { n_left: n_left - 1, value }
                } else {
                    self.in_pair = (0xd800..0xdc00).contains(&value);
                    State::InString
                }
            }
            _ => {
                self.in_pair = false;
                State::InString
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_elided_document_is_one(text in ".{0,300}", escape in any::<bool>(), piece in 1..50_usize) {
            let mut json = serde_json::to_string(&[&text, "end"]).expect("can be written");
            if escape {
                json = json.chars().map(escaped).collect();
            }
            let mut elided = Vec::new();
            let mut elision = Elision::default();
            json.as_bytes().chunks(piece).for_each(|it| elision.push(it, 20, &mut elided));
            let [cut, end]: [String; 2] = serde_json::from_slice(&elided).expect("is a document");
            prop_assert!(text.starts_with(&cut));
            prop_assert_eq!(end, "end");
        }
    }

    fn escaped(it: char) -> String {
        if it.is_ascii() {
            return it.to_string();
        }
        it.encode_utf16(&mut [0; 2]).iter().map(|it| format!("\\u{it:04x}")).collect()
    }
}
