//! PURE. `ccstatusd show --preview`: sample sessions in every theme.

use std::fmt::Write as _;

use super::ansi;
use super::colors::{NO_INK, components};
use super::line;
use super::palettes::PALETTES;
use super::presets::PRESETS;
use super::samples::{Sample, samples};
use super::segments::segment::COMMAND;
use super::view::Style;
use crate::store::schema::display::{Display, Ink, Theme};

/// All samples in the user's theme, and the first ones in every preset and in every palette.
pub fn preview(display: &Display, now_ms: i64, style: &Style) -> String {
    let format = display.format.as_deref().unwrap_or_default();
    let names = format.split(['{', '}']).filter_map(|it| it.strip_prefix(COMMAND));
    let commands: Vec<_> = names.filter_map(|it| it.strip_prefix('.')).collect();
    let mut samples = samples(now_ms, &commands);
    let mut out = String::new();
    add(&mut out, "as you chose", display, &mut samples, style);
    for preset in &PRESETS {
        let theme = Theme { preset: Some(preset.name.to_owned()), ..Theme::default() };
        let title = format!("preset {}: {}", preset.name, preset.about);
        add(&mut out, &title, &with(display, theme), &mut samples[..3], style);
    }
    for palette in &PALETTES {
        let theme = Theme { palette: Some(palette.name.to_owned()), ..Theme::default() };
        let is_light = |background| components(background).iter().any(|it| *it > 128);
        let made_for = match palette.background.map(is_light) {
            None => "for any background",
            Some(true) => "for light backgrounds",
            Some(false) => "for dark backgrounds",
        };
        let title = format!("palette {}: {made_for}", palette.name);
        add(&mut out, &title, &with(display, theme), &mut samples[..2], style);
    }
    out
}

/// The user's formats and settings in another theme.
fn with(display: &Display, theme: Theme) -> Display {
    let theme = Theme { padding: display.theme.padding, ..theme };
    Display { theme, ..display.clone() }
}

fn add(out: &mut String, title: &str, display: &Display, samples: &mut [Sample], style: &Style) {
    ansi::write(title, Ink { bold: true, ..NO_INK }, None, style.depth, out);
    out.push('\n');
    for sample in samples {
        sample.snapshot.display.clone_from(display);
        let drawn = line(&sample.view(), style).replace('\n', "\n  ");
        writeln!(out, "  # {}\n  {drawn}", sample.about).expect("writing to a string cannot fail");
    }
    out.push('\n');
}
