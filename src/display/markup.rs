//! PURE. The line in one row, in the languages in which other programs take colours.
//!
//! Each of them has characters that mean something to it: with `#(…)` tmux starts a program. Text
//! from outside may have any of them. **Invariant:** whatever a text is, the program that reads the
//! line shows it, and does nothing else with it. Where that cannot be said with an escape, another
//! character takes the place of the one that would act.

use std::fmt::Write as _;

use super::ansi;
use super::colors::{NO_INK, components};
use crate::store::schema::display::{Color, Depth, Ink};

/// Who reads the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    /// Anybody: no colours.
    Plain,
    /// The status line of tmux.
    Tmux,
    /// A prompt of zsh.
    Zsh,
    /// A module of polybar.
    Polybar,
}

/// Writes a piece of text in a style.
pub(super) fn write(markup: Markup, piece: &str, ink: Ink, depth: Depth, out: &mut String) {
    let ink = if depth == Depth::None { NO_INK } else { ink };
    match markup {
        Markup::Plain => out.push_str(piece),
        Markup::Tmux => tmux(piece, ink, out),
        Markup::Zsh => zsh(piece, ink, depth, out),
        Markup::Polybar => polybar(piece, ink, out),
    }
}

fn tmux(piece: &str, ink: Ink, out: &mut String) {
    // `#(`, `#{` and `#S` stand for something; two of these characters stand for one.
    let text = piece.replace('#', "##");
    let colour = |name: &str, color: Color| match color {
        Color::Index(index) => format!("{name}=colour{index}"),
        Color::Rgb(..) => format!("{name}={}", hex(color)),
    };
    let colours = [("fg", ink.fg), ("bg", ink.bg)];
    let mut words: Vec<_> =
        colours.iter().filter_map(|(name, it)| Some(colour(name, (*it)?))).collect();
    let styles = [
        (ink.bold, "bold"),
        (ink.dim, "dim"),
        (ink.italic, "italics"),
        (ink.underline, "underscore"),
    ];
    words.extend(styles.iter().filter(|it| it.0).map(|it| it.1.to_owned()));
    match words.is_empty() {
        true => out.push_str(&text),
        false => out.extend(["#[", &words.join(","), "]", &text, "#[default]"]),
    }
}

fn zsh(piece: &str, ink: Ink, depth: Depth, out: &mut String) {
    // What stands between these two takes no columns, by zsh's reckoning.
    const START: &str = "%{";
    const END: &str = "%}";
    let mut text = String::new();
    for char in piece.chars() {
        match char {
            '%' => text.push_str("%%"),
            // A prompt that is assigned while PROMPT_SUBST is set is expanded like a word in double
            // quotes. A dollar sign that nothing follows but this is only a dollar sign.
            '$' => text.extend(["$", START, END]),
            // The same prompt would run what stands between two of these.
            '`' => text.push('\''),
            _ => text.push(char),
        }
    }
    let mut painted = String::new();
    ansi::write("\0", ink, None, depth, &mut painted);
    match painted.split_once('\0') {
        Some((start, end)) if !start.is_empty() => {
            out.extend([START, start, END, &text, START, end, END]);
        }
        _ => out.push_str(&text),
    }
}

fn polybar(piece: &str, ink: Ink, out: &mut String) {
    let tag = |letter: char, color: Option<Color>| match color {
        Some(color) => format!("%{{{letter}{}}}", hex(color)),
        None => format!("%{{{letter}-}}"),
    };
    // `%{A:…}` in a text would be a program to start by a click. A tag that changes nothing,
    // between the two characters, takes their meaning from them.
    let text = piece.replace("%{", &format!("%{}{{", tag('F', ink.fg)));
    // A piece may end with one of them, and the next begin with the other.
    let is_split = out.ends_with('%') && text.starts_with('{');
    if ink.fg.is_some() || is_split {
        out.push_str(&tag('F', ink.fg));
    }
    if ink.bg.is_some() {
        out.push_str(&tag('B', ink.bg));
    }
    out.push_str(&text);
    for (letter, _) in [('B', ink.bg), ('F', ink.fg)].iter().filter(|it| it.1.is_some()) {
        out.push_str(&tag(*letter, None));
    }
}

/// A colour as `#rrggbb`, as most terminals show it.
pub fn hex(color: Color) -> String {
    let mut out = "#".to_owned();
    for component in components(color) {
        write!(out, "{component:02x}").expect("writing to a string cannot fail");
    }
    out
}

/// Text for a program that reads Pango's markup.
pub fn pango(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Ink = Ink { fg: Some(Color::Index(1)), bold: true, ..NO_INK };

    #[track_caller]
    fn check(markup: Markup, piece: &str, [plain, red]: [&str; 2]) {
        for (ink, expected) in [(NO_INK, plain), (RED, red)] {
            let mut out = String::new();
            write(markup, piece, ink, Depth::True, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn tmux_shows_a_number_sign_and_starts_nothing() {
        let evil = "#(touch x) #[fg=red] #S %H #";
        let plain = "##(touch x) ##[fg=red] ##S %H ##";
        check(Markup::Tmux, evil, [plain, &format!("#[fg=colour1,bold]{plain}#[default]")]);
    }

    #[test]
    fn zsh_shows_what_would_be_expanded() {
        let evil = "$(touch x) `touch x` $HOME ${x} %n %";
        let plain = "$%{%}(touch x) 'touch x' $%{%}HOME $%{%}{x} %%n %%";
        let red = format!("%{{\x1b[1;31m%}}{plain}%{{\x1b[0m%}}");
        check(Markup::Zsh, evil, [plain, &red]);
    }

    #[test]
    fn polybar_shows_what_would_be_a_tag() {
        let evil = "%{A1:touch x:}a%{A} 5%";
        check(
            Markup::Polybar,
            evil,
            [
                "%%{F-}{A1:touch x:}a%%{F-}{A} 5%",
                "%{F#cd0000}%%{F#cd0000}{A1:touch x:}a%%{F#cd0000}{A} 5%%{F-}",
            ],
        );
        let mut split = String::new();
        for piece in ["5%", "{A1:touch x:}"] {
            write(Markup::Polybar, piece, NO_INK, Depth::True, &mut split);
        }
        assert_eq!(split, "5%%{F-}{A1:touch x:}");
    }

    #[test]
    fn colours_that_are_forbidden_are_in_no_language() {
        for markup in [Markup::Plain, Markup::Tmux, Markup::Zsh, Markup::Polybar] {
            let mut out = String::new();
            write(markup, "text", RED, Depth::None, &mut out);
            assert_eq!(out, "text", "{markup:?}");
        }
    }

    #[test]
    fn pango_shows_what_would_be_markup() {
        assert_eq!(pango("<b>a & 'b'\"</b>"), "&lt;b&gt;a &amp; &#39;b&#39;&quot;&lt;/b&gt;");
    }
}
