//! PURE. From the bytes that a terminal sends to the keys that were pressed.
//!
//! It knows the sequences for special keys that xterm sends, and terminals that are compatible with
//! it, with and without the application mode. It skips any other sequence as a whole, so that no
//! part of one is taken for a letter.

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// A letter with Ctrl.
    Control(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// The bytes of a sequence that has not ended yet.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
}

const ESCAPE: u8 = 0x1b;
/// No sequence for a key is longer, in bytes.
const MAX_PENDING: usize = 32;

/// What the first bytes of an input are.
enum Token {
    /// So many bytes, and the key that they stand for.
    Whole(usize, Option<Key>),
    /// The beginning of something.
    Part,
}

impl Decoder {
    /// The keys that end with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend(bytes);
        let mut keys = Vec::new();
        while !self.pending.is_empty() {
            match token(&self.pending) {
                Token::Whole(n_bytes, key) => {
                    keys.extend(key);
                    self.pending.drain(..n_bytes);
                }
                Token::Part if self.pending.len() > MAX_PENDING => self.pending.clear(),
                Token::Part => break,
            }
        }
        keys
    }

    /// Whether it waits for the rest of a sequence. An escape that nothing follows within a moment
    /// is the key of that name.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Gives up waiting, and returns the key that the bytes so far stand for by themselves.
    pub(super) fn give_up(&mut self) -> Option<Key> {
        let is_escape = self.pending == [ESCAPE];
        self.pending.clear();
        is_escape.then_some(Key::Escape)
    }
}

fn token(bytes: &[u8]) -> Token {
    match bytes[0] {
        ESCAPE => sequence(bytes),
        b'\r' | b'\n' => Token::Whole(1, Some(Key::Enter)),
        0x7f | 0x08 => Token::Whole(1, Some(Key::Backspace)),
        control @ 1..=26 => Token::Whole(1, Some(Key::Control((control + b'a' - 1).into()))),
        0..=0x1f => Token::Whole(1, None),
        first => char_of(first, bytes),
    }
}

fn char_of(first: u8, bytes: &[u8]) -> Token {
    let n_bytes = match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    match bytes.get(..n_bytes).map(std::str::from_utf8) {
        None => Token::Part,
        Some(Ok(text)) => Token::Whole(n_bytes, text.chars().next().map(Key::Char)),
        Some(Err(_)) => Token::Whole(1, None),
    }
}

/// A sequence that begins with an escape.
fn sequence(bytes: &[u8]) -> Token {
    match bytes.get(1) {
        None => Token::Part,
        // Control Sequence Introducer: parameters, and a letter or `~` at the end.
        Some(b'[') => {
            let end = bytes.iter().skip(2).position(|it| (0x40..=0x7e).contains(it));
            match end {
                None => Token::Part,
                Some(end) => Token::Whole(end + 3, special(&bytes[2..end + 2], bytes[end + 2])),
            }
        }
        // Single Shift Three: one letter, in the application mode.
        Some(b'O') => match bytes.get(2) {
            None => Token::Part,
            Some(last) => Token::Whole(3, special(&[], *last)),
        },
        Some(&ESCAPE) => Token::Whole(1, Some(Key::Escape)),
        // A key with Alt, which means nothing here.
        Some(_) => Token::Whole(2, None),
    }
}

fn special(parameters: &[u8], last: u8) -> Option<Key> {
    Some(match (parameters, last) {
        (_, b'A') => Key::Up,
        (_, b'B') => Key::Down,
        (_, b'H') | (b"1" | b"7", b'~') => Key::Home,
        (_, b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"5", b'~') => Key::PageUp,
        (b"6", b'~') => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &[Key]) {
        let mut whole = Decoder::default();
        assert_eq!(whole.feed(bytes), expected, "{bytes:?}");
        // A slow line delivers them one by one.
        let mut slow = Decoder::default();
        let keys: Vec<Key> = bytes.iter().flat_map(|it| slow.feed(&[*it])).collect();
        assert_eq!(keys, expected, "{bytes:?} one by one");
    }

    #[test]
    fn letters_and_special_keys_are_known() {
        check(b"jG/", &[Key::Char('j'), Key::Char('G'), Key::Char('/')]);
        check("é€😀".as_bytes(), &['é', '€', '😀'].map(Key::Char));
        check(b"\x1b[A\x1bOB\x1b[5~\x1b[6~", &[Key::Up, Key::Down, Key::PageUp, Key::PageDown]);
        check(b"\x1b[H\x1b[4~\x1b[1;5B", &[Key::Home, Key::End, Key::Down]);
        check(b"\r\x7f\x04", &[Key::Enter, Key::Backspace, Key::Control('d')]);
    }

    #[test]
    fn what_is_not_known_is_skipped_as_a_whole() {
        check(b"\x1b[200~\x1b[<0;10;10Mq", &[Key::Char('q')]);
        check(b"\x1b[1;3Px\xffy\x1bz\0", &[Key::Char('x'), Key::Char('y')]);
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&[b"\x1b[".to_vec(), vec![b'1'; 100]].concat()), []);
        assert!(!decoder.is_waiting());
    }

    #[test]
    fn an_escape_that_nothing_follows_is_a_key() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"\x1b"), []);
        assert!(decoder.is_waiting());
        assert_eq!(decoder.give_up(), Some(Key::Escape));
        assert_eq!(decoder.feed(b"\x1b["), []);
        assert_eq!(decoder.give_up(), None);
        assert_eq!(decoder.feed(b"q"), [Key::Char('q')]);
        assert_eq!(decoder.feed(b"\x1b\x1b[A"), [Key::Escape, Key::Up]);
    }
}
