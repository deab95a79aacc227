//! PURE. Takes from text what steers terminals: others named the files, branches and sessions that
//! we speak of.

/// The same with marks in the place of control characters, and of those that turn text around.
/// Lines stay lines.
pub fn text(text: &str) -> String {
    let shown =
        |it: char| if is_harmful(it) && it != '\n' { char::REPLACEMENT_CHARACTER } else { it };
    text.chars().map(shown).collect()
}

/// The same JSON with those characters escaped: they stand in strings only.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        if is_harmful(it) {
            escaped += &format!("\\u{:04x}", u32::from(it));
        } else {
            escaped.push(it);
        }
    }
    escaped
}

/// Whether a character steers a terminal, turns text around, breaks lines, or hides.
pub(crate) fn is_harmful(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(it, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "a\u{1b}[31m\u{9b}2J\u{202e}\u{2066}é\u{7f}";

    #[test]
    fn text_keeps_its_lines_and_loses_its_power() {
        assert_eq!(text(&format!("{EVIL}\nb")), "a�[31m�2J��é�\nb");
    }

    #[test]
    fn json_says_the_same() {
        let plain = serde_json::to_string(EVIL).expect("text is JSON");
        let escaped = json(&plain);
        assert!(!escaped.contains(is_harmful), "{escaped:?}");
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("it still is"), EVIL);
    }
}
