//! PURE. The preview of a message: its beginning, on one line.

use unicode_segmentation::UnicodeSegmentation;

use crate::sanitize::is_steering;

/// The first 120 graphemes of a text on one line, without characters that control a terminal.
pub(super) fn preview(text: &str) -> String {
    const LENGTH: usize = 120;
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut visible = word.chars().filter(|it| is_visible(*it)).peekable();
        if !line.is_empty() && visible.peek().is_some() {
            line.push(' ');
        }
        line.extend(visible);
    }
    let end = match line.is_ascii() {
        true => (line.len() > LENGTH).then_some(LENGTH),
        false => line.grapheme_indices(true).nth(LENGTH).map(|(index, _)| index),
    };
    match end {
        Some(end) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

pub(super) fn has_visible(text: &str) -> bool {
    text.chars().any(is_visible)
}

fn is_visible(c: char) -> bool {
    !c.is_whitespace() && !is_steering(c)
}
