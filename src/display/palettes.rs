//! PURE. The palettes: which colour each meaning has.
//!
//! The default palette, `terminal`, uses only the sixteen colours that the user's own terminal
//! theme defines, so that a line is readable on light and on dark backgrounds. It leaves labels and
//! values without a colour: Claude Code draws them in a grey of its own, of which a dimmed half
//! would be too little.

use super::colors::{NO_INK, rgb};
use super::paint::MEANINGS;
use crate::store::schema::display::{Color, Ink};

#[derive(Debug)]
pub(crate) struct Palette {
    pub(crate) name: &'static str,
    /// In the order of [`MEANINGS`].
    pub(crate) inks: [Ink; MEANINGS.len()],
    /// The backgrounds of cells in the preset `powerline`, which alternate.
    pub(super) cell_backgrounds: [Color; 2],
    /// The background of the terminals that it is made for. `None`: any.
    pub(crate) background: Option<Color>,
}

pub(crate) const PALETTES: [Palette; 10] = [
    Palette {
        name: "terminal",
        inks: [
            NO_INK,
            NO_INK,
            index(6),
            index(5),
            index(2),
            index(3),
            index(1),
            index(3),
            bold(index(1)),
        ],
        cell_backgrounds: [Color::Index(0), Color::Index(8)],
        background: None,
    },
    palette(
        "dark",
        [0x14181f, 0x2a303b, 0x3a4250],
        [0xd6dae1, 0xa4adb9, 0x6fd3d8, 0xd5a6f5, 0x97d68a, 0xecca7c, 0xf59a94, 0xf8b36a, 0xff8a80],
    ),
    palette(
        "light",
        [0xffffff, 0xe9ecf0, 0xdadfe6],
        [0x24292f, 0x57606a, 0x005f6e, 0x7a1fa2, 0x116329, 0x744500, 0xa31621, 0x8f3b00, 0xb00020],
    ),
    palette(
        "gruvbox-dark",
        [0x282828, 0x32302f, 0x3c3836],
        [0xebdbb2, 0xbdae93, 0x8ec07c, 0xd3869b, 0xb8bb26, 0xfabd2f, 0xfb6d5b, 0xfe8f30, 0xff7a69],
    ),
    palette(
        "gruvbox-light",
        [0xfbf1c7, 0xf2e5bc, 0xebdbb2],
        [0x3c3836, 0x665c54, 0x27613f, 0x8f3f71, 0x5a5700, 0x7d4e00, 0x9d0006, 0x923600, 0x9d0006],
    ),
    palette(
        "nord",
        [0x2e3440, 0x343b49, 0x3b4252],
        [0xd8dee9, 0xa7b1c4, 0x88c0d0, 0xcaa9c5, 0xa3be8c, 0xebcb8b, 0xe8949b, 0xe3a187, 0xf0a0a6],
    ),
    palette(
        "dracula",
        [0x282a36, 0x343746, 0x3e4153],
        [0xf8f8f2, 0xa9b3d8, 0x8be9fd, 0xcaa6fb, 0x50fa7b, 0xf1fa8c, 0xff8c8c, 0xffb86c, 0xff8f8f],
    ),
    palette(
        "catppuccin-mocha",
        [0x1e1e2e, 0x2a2b3d, 0x363a4f],
        [0xcdd6f4, 0xa6adc8, 0x89dceb, 0xcba6f7, 0xa6e3a1, 0xf9e2af, 0xf38ba8, 0xfab387, 0xf38ba8],
    ),
    palette(
        "catppuccin-latte",
        [0xeff1f5, 0xe6e9ef, 0xdce0e8],
        [0x4c4f69, 0x5c5f77, 0x0b5f7a, 0x7a2fd6, 0x25691a, 0x7f5200, 0xb8002f, 0xa83f00, 0xb8002f],
    ),
    palette(
        "tokyo-night",
        [0x1a1b26, 0x24283b, 0x2f3549],
        [0xc0caf5, 0x9aa5ce, 0x7dcfff, 0xbb9af7, 0x9ece6a, 0xe0af68, 0xf7899d, 0xff9e64, 0xf98fa3],
    ),
];

const fn palette(
    name: &'static str,
    [background, first, second]: [u32; 3],
    inks: [u32; MEANINGS.len()],
) -> Palette {
    let [plain, dim, place, branch, good, changed, removed, warning, alarm] = inks;
    Palette {
        name,
        inks: [
            hex(plain),
            hex(dim),
            hex(place),
            hex(branch),
            hex(good),
            hex(changed),
            hex(removed),
            hex(warning),
            bold(hex(alarm)),
        ],
        cell_backgrounds: [rgb(first), rgb(second)],
        background: Some(rgb(background)),
    }
}

const fn hex(hex: u32) -> Ink {
    Ink { fg: Some(rgb(hex)), ..NO_INK }
}

const fn index(index: u8) -> Ink {
    Ink { fg: Some(Color::Index(index)), ..NO_INK }
}

const fn bold(ink: Ink) -> Ink {
    Ink { bold: true, ..ink }
}

#[cfg(test)]
mod tests {
    use super::super::colors::components;
    use super::*;

    /// The contrast ratio of the Web Content Accessibility Guidelines: from 1 to 21.
    fn contrast(one: Color, other: Color) -> f64 {
        let luminance = |color: Color| {
            let linear = components(color).map(|component| {
                let share = f64::from(component) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn every_palette_is_readable_on_the_background_that_it_is_made_for() {
        for palette in &PALETTES {
            let Some(background) = palette.background else { continue };
            for ((name, _), ink) in MEANINGS.iter().zip(palette.inks) {
                let Some(fg) = ink.fg else { panic!("{} {name} has no colour", palette.name) };
                // The guidelines require 4.5 for text.
                let contrast_on = |background| contrast(fg, background);
                assert!(contrast_on(background) >= 4.5, "{} {name}", palette.name);
                for cell in palette.cell_backgrounds {
                    let contrast = contrast_on(cell);
                    assert!(contrast >= 4.0, "{} {name}: {contrast} as powerline", palette.name);
                }
            }
        }
    }
}
