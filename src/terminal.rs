//! What the terminal can show, by the environment: standard output of `show` is a pipe to the
//! client, and nobody answers a question. Commands that print to a terminal itself ask it for its
//! size.
//!
//! See docs/decisions/025-terminals-are-known-by-name.md.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use crate::cli::Environment;
use crate::display::view::Style;
use crate::report::Paper;
use crate::store::schema::display::Depth;

/// What the user forbids or forces, else what the terminal can show.
pub fn style(env: &Environment) -> Style {
    let columns = env.text("COLUMNS").and_then(|it| it.parse().ok()).filter(|&it| it > 0);
    let (supported, shows_links) = abilities(env);
    let depth = match env.text("FORCE_COLOR") {
        _ if env.get("NO_COLOR").is_some() => Depth::None,
        Some("0" | "false") => Depth::None,
        Some("2") => Depth::Indexed,
        Some("3") => Depth::True,
        Some(_) => supported.max(Depth::Ansi),
        None if env.text("TERM") == Some("dumb") => Depth::None,
        None => supported,
    };
    let has_links = match env.text("FORCE_HYPERLINK") {
        Some(forced) => !matches!(forced, "0" | "false"),
        None => shows_links,
    };
    Style { columns, depth, has_links }
}

/// The columns and rows of a terminal; `None` for anything else.
pub fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    let is_known = size.ws_col > 0 && size.ws_row > 0;
    is_known.then_some((size.ws_col.into(), size.ws_row.into()))
}

/// What tables are printed on: a terminal with its width and its colours, or a file, where they
/// have neither bounds nor colours unless the user forces these.
pub fn paper(env: &Environment, out: &(impl AsFd + IsTerminal)) -> Paper {
    let Style { columns, depth, .. } = style(env);
    let is_forced = env.text("FORCE_COLOR").is_some();
    if !out.is_terminal() {
        return Paper { width: None, depth: if is_forced { depth } else { Depth::None } };
    }
    // `COLUMNS` may be of another terminal, and a program that sets it means it.
    let width = columns.or(size(out).map(|it| it.0)).unwrap_or(USUAL_WIDTH);
    Paper { width: Some(width), depth }
}

/// The width of a terminal that does not say how wide it is.
const USUAL_WIDTH: usize = 80;

/// How many colours the terminal shows, and whether it shows links.
fn abilities(env: &Environment) -> (Depth, bool) {
    let (depth, has_links) = named(env);
    let is_stated = matches!(env.text("COLORTERM"), Some("truecolor" | "24bit"));
    (if is_stated { Depth::True } else { depth }, has_links)
}

/// What the terminal shows by its name. Names in `TERM` come first: they travel over ssh, and a
/// variable of another terminal may have been inherited from it.
fn named(env: &Environment) -> (Depth, bool) {
    let term = env.text("TERM").unwrap_or_default();
    let version = |name: &str| env.text(name).map_or(0, digits);
    let program_version = env.text("TERM_PROGRAM_VERSION").map_or((0, 0), major_and_minor);
    match term_name(term) {
        "dumb" => return (Depth::None, false),
        "kitty" | "ghostty" | "alacritty" | "wezterm" | "foot" | "contour" | "rio" | "konsole"
        | "iterm2" | "mintty" => return (Depth::True, true),
        "st" | "vte" | "gnome" | "direct" => return (Depth::True, false),
        "nsterm" => return (Depth::Indexed, false),
        _ => {}
    }
    // Within a multiplexer, the variables of the terminal around it say nothing: it may be
    // attached to another one by now.
    let is_tmux = term.starts_with("tmux") || env.get("TMUX").is_some();
    if is_tmux || term.starts_with("screen") || env.get("STY").is_some() {
        // From 3.4 on, tmux passes links on to terminals that have them.
        let has_links = env.text("TERM_PROGRAM") == Some("tmux") && program_version >= (3, 4);
        return (Depth::Indexed, has_links);
    }
    let by_term = if term.contains("256") { Depth::Indexed } else { Depth::Ansi };
    match env.text("TERM_PROGRAM") {
        Some("iTerm.app") if program_version >= (3, 1) => return (Depth::True, true),
        Some("iTerm.app" | "Apple_Terminal") => return (Depth::Indexed, false),
        Some(
            "WezTerm" | "ghostty" | "kitty" | "vscode" | "Hyper" | "WarpTerminal" | "rio"
            | "mintty" | "Tabby" | "zed",
        ) => return (Depth::True, true),
        _ => {}
    }
    if env.get("WT_SESSION").is_some() || env.get("KITTY_WINDOW_ID").is_some() {
        return (Depth::True, true);
    }
    if env.text("TERMINAL_EMULATOR") == Some("JetBrains-JediTerm") {
        return (Depth::True, false);
    }
    // These count as in 5202 for 0.52.2, and as in 230401 for 23.04.1.
    if env.get("VTE_VERSION").is_some() || env.get("KONSOLE_VERSION").is_some() {
        // 0.50.0 of VTE crashes on a link.
        let has_links = version("VTE_VERSION") > 5000 || version("KONSOLE_VERSION") >= 201_200;
        return (Depth::True, has_links);
    }
    (by_term, false)
}

/// The name of the terminal in a value of `TERM`: `kitty` in `xterm-kitty`, `foot` in
/// `foot-extra`.
fn term_name(term: &str) -> &str {
    let name = term.strip_prefix("xterm-").unwrap_or(term);
    name.split('-').next().unwrap_or_default()
}

fn major_and_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(digits);
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The number with which a text begins, 0 without one: `4` in `4a`.
fn digits(text: &str) -> u32 {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(vars: &[(&str, &str)], depth: Depth, has_links: bool) {
        let all = vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let style = style(&Environment { all, args: Vec::new() });
        assert_eq!((style.depth, style.has_links), (depth, has_links), "{vars:?}");
    }

    #[test]
    fn a_terminal_is_known_by_its_name_without_colorterm() {
        for term in [
            "xterm-kitty",
            "xterm-ghostty",
            "ghostty",
            "alacritty",
            "alacritty-direct",
            "wezterm",
            "foot",
            "foot-extra",
            "contour",
            "rio",
            "xterm-rio",
            "konsole",
            "konsole-256color",
            "iterm2",
            "mintty",
        ] {
            check(&[("TERM", term)], Depth::True, true);
            check(
                &[("TERM", term), ("TMUX", "inherited"), ("VTE_VERSION", "1")],
                Depth::True,
                true,
            );
        }
        for term in ["st-256color", "vte-256color", "gnome", "xterm-direct"] {
            check(&[("TERM", term)], Depth::True, false);
        }
        for term in ["xterm-256color", "rxvt-unicode-256color", "putty-256color", "nsterm"] {
            check(&[("TERM", term)], Depth::Indexed, false);
        }
        for term in ["xterm", "linux", "vt100", "rxvt", "cygwin", ""] {
            check(&[("TERM", term)], Depth::Ansi, false);
        }
        check(&[], Depth::Ansi, false);
    }

    #[test]
    fn a_terminal_is_known_by_the_variables_that_it_sets() {
        let xterm = ("TERM", "xterm-256color");
        let program =
            |name, version| [xterm, ("TERM_PROGRAM", name), ("TERM_PROGRAM_VERSION", version)];
        check(&program("iTerm.app", "3.5.4"), Depth::True, true);
        check(&program("iTerm.app", "3.0.15"), Depth::Indexed, false);
        check(&program("Apple_Terminal", "455"), Depth::Indexed, false);
        for name in ["vscode", "WezTerm", "ghostty", "Hyper", "WarpTerminal", "rio", "zed"] {
            check(&program(name, "1.0"), Depth::True, true);
        }
        check(&program("unknown", "9"), Depth::Indexed, false);
        check(&[xterm, ("WT_SESSION", "x")], Depth::True, true);
        check(&[("TERM", "xterm"), ("KITTY_WINDOW_ID", "1")], Depth::True, true);
        check(&[xterm, ("VTE_VERSION", "7600")], Depth::True, true);
        check(&[xterm, ("VTE_VERSION", "5000")], Depth::True, false);
        check(&[xterm, ("KONSOLE_VERSION", "230401")], Depth::True, true);
        check(&[xterm, ("KONSOLE_VERSION", "180401")], Depth::True, false);
        check(&[xterm, ("TERMINAL_EMULATOR", "JetBrains-JediTerm")], Depth::True, false);
    }

    #[test]
    fn a_multiplexer_has_256_colours_unless_it_says_more() {
        let outer = [("TERM_PROGRAM", "iTerm.app"), ("TERM_PROGRAM_VERSION", "3.5")];
        for term in ["tmux", "tmux-256color", "screen", "screen-256color", "screen.xterm-256color"]
        {
            check(&[("TERM", term)], Depth::Indexed, false);
            check(
                &[("TERM", term), outer[0], outer[1], ("VTE_VERSION", "7600")],
                Depth::Indexed,
                false,
            );
            check(&[("TERM", term), ("COLORTERM", "truecolor")], Depth::True, false);
        }
        check(&[("TERM", "xterm"), ("TMUX", "/tmp/tmux,1,0")], Depth::Indexed, false);
        check(&[("TERM", "xterm"), ("STY", "1.pts")], Depth::Indexed, false);
        let tmux = |version| {
            [("TERM", "tmux-256color"), ("TERM_PROGRAM", "tmux"), ("TERM_PROGRAM_VERSION", version)]
        };
        check(&tmux("3.4"), Depth::Indexed, true);
        check(&tmux("3.5a"), Depth::Indexed, true);
        check(&tmux("3.3a"), Depth::Indexed, false);
    }

    #[test]
    fn the_user_has_the_last_word() {
        let kitty = ("TERM", "xterm-kitty");
        check(&[kitty, ("FORCE_HYPERLINK", "0")], Depth::True, false);
        check(&[kitty, ("FORCE_HYPERLINK", "")], Depth::True, true);
        check(&[("FORCE_HYPERLINK", "1")], Depth::Ansi, true);
        check(&[("TERM", "dumb")], Depth::None, false);
        check(&[("TERM", "dumb"), ("COLORTERM", "truecolor")], Depth::None, false);
        check(&[("TERM", "dumb"), ("FORCE_COLOR", "1")], Depth::Ansi, false);
        check(&[kitty, ("FORCE_COLOR", "2")], Depth::Indexed, true);
        check(&[kitty, ("FORCE_COLOR", "1")], Depth::True, true);
        check(&[kitty, ("FORCE_COLOR", "0")], Depth::None, true);
        check(&[kitty, ("NO_COLOR", "1"), ("FORCE_COLOR", "3")], Depth::None, true);
    }
}
