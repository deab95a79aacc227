//! PURE. Makes text from outside safe to show on a terminal. Other people and programs name the
//! files, branches and sessions that end up in our output.
//!
//! There are two policies:
//!
//! - **Prose** (`is_steering`): for messages, JSON, configuration files and the output of
//!   programs. Only characters that control a terminal, reorder or break text, or hide are
//!   replaced, escaped or left out. Joiners and variation selectors stay: scripts and emoji need
//!   them, and nothing is aligned.
//! - **Columns** (`columns`): for text that is laid out in columns. Characters without a width
//!   or a shape of their own are left out as well, so that every terminal measures the result
//!   alike.
//!
//! **Invariant:** what the first policy removes, the second removes too.

const MARK: char = char::REPLACEMENT_CHARACTER;

/// A message of one or more lines: steering characters other than the newline become `�`.
pub fn message(text: &str) -> String {
    let shown = |char: char| if is_steering(char) && char != '\n' { MARK } else { char };
    text.chars().map(shown).collect()
}

/// Serialized JSON with steering characters as `\u` escapes: they can only be inside of strings.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if is_steering(char) {
            escaped += &format!("\\u{:04x}", u32::from(char));
        } else {
            escaped.push(char);
        }
    }
    escaped
}

/// Text for a single line: steering characters, newlines among them, become `�`.
pub(crate) fn marked(text: &str) -> String {
    replaced(text, MARK).collect()
}

/// Text for a single line: steering characters, newlines among them, become spaces.
pub(crate) fn spaced(text: &str) -> impl Iterator<Item = char> {
    replaced(text, ' ')
}

fn replaced(text: &str, by: char) -> impl Iterator<Item = char> {
    text.chars().map(move |char| if is_steering(char) { by } else { char })
}

/// The policy for prose: whether a character controls a terminal, reorders text, breaks a line,
/// or is invisible without need.
pub(crate) fn is_steering(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// The policy for columns. Control characters, escape among them, become `�`, so that the reader
/// sees that something is wrong. White space of any kind becomes a space. Invisible characters are
/// left out: direction overrides, joiners, variation selectors, tags. An emoji that was joined
/// from several shows as those.
pub(crate) fn columns(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|&char| !is_invisible(char)).map(|char| match char {
        _ if char.is_whitespace() => ' ',
        _ if char.is_control() => MARK,
        _ => char,
    })
}

fn is_invisible(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "a\u{1b}[31m\u{9b}2J\u{202e}\u{2066}é\u{7f}";

    #[test]
    fn a_message_keeps_its_lines_and_cannot_steer() {
        assert_eq!(message(&format!("{EVIL}\nb")), "a�[31m�2J��é�\nb");
    }

    #[test]
    fn text_for_a_single_line_has_no_newline() {
        assert_eq!(marked("a\nb\u{202e}"), "a�b�");
        assert_eq!(spaced("a\nb\u{202e}").collect::<String>(), "a b ");
    }

    #[test]
    fn escaped_json_has_the_same_content() {
        let plain = serde_json::to_string(EVIL).expect("text is JSON");
        let escaped = json(&plain);
        assert!(!escaped.contains(is_steering), "{escaped:?}");
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("it is still JSON"), EVIL);
    }

    #[test]
    fn what_may_not_stand_in_prose_may_not_stand_in_columns() {
        let steering: String = ('\0'..=char::MAX).filter(|char| is_steering(*char)).collect();
        assert!(!steering.is_empty());
        assert_eq!(columns(&steering).find(|char| is_steering(*char)), None);
    }
}
