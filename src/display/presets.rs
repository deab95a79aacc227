//! PURE. The presets: symbols, separators and forms that go together.

#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    /// Its entry in the manual.
    pub(crate) about: &'static str,
    pub(crate) separator: &'static str,
    /// Stands at the end of text that is cut.
    pub(crate) ellipsis: &'static str,
    /// Whether all that the program itself adds to text from outside is ASCII.
    pub(crate) is_ascii: bool,
    /// Whether every segment that has a short form is shown in it.
    pub(super) prefers_short: bool,
    pub(super) has_colours: bool,
    /// Whether cells have backgrounds of their own, with the separator as an arrow between them.
    pub(super) has_backgrounds: bool,
    /// The name of the palette that is used unless the user chooses one.
    pub(crate) palette: &'static str,
}

pub(super) const DEFAULT: Preset = Preset {
    name: "default",
    about: "small symbols, and the terminal's own colours",
    separator: " · ",
    ellipsis: "…",
    is_ascii: false,
    prefers_short: false,
    has_colours: true,
    has_backgrounds: false,
    palette: "terminal",
};

pub(crate) const PRESETS: [Preset; 5] = [
    DEFAULT,
    Preset { name: "plain", about: "the same without any colour", has_colours: false, ..DEFAULT },
    Preset {
        name: "ascii",
        about: "nothing but ASCII, for terminals and fonts that have no more",
        separator: " | ",
        ellipsis: "~",
        is_ascii: true,
        ..DEFAULT
    },
    Preset {
        name: "powerline",
        about: "arrows between backgrounds; needs a font that has them, and 256 colours",
        separator: "\u{e0b0}",
        has_backgrounds: true,
        palette: "dark",
        ..DEFAULT
    },
    Preset {
        name: "compact",
        about: "every segment in short, close together",
        separator: "  ",
        prefers_short: true,
        ..DEFAULT
    },
];
