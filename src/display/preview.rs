//! PURE. Sample sessions in every theme.

use std::fmt::Write as _;

use super::samples::{Sample, samples};
use super::segments::COMMAND;
use super::theme::{PALETTES, PRESETS, components};
use super::{Style, line};
use crate::store::schema::display::{Depth, Display, Theme};

/// What the samples look like as the user chose, in every preset, and in every palette.
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
        add(&mut out, &title, &with(display, theme), &mut samples, style);
    }
    for palette in &PALETTES {
        let theme = Theme { palette: Some(palette.name.to_owned()), ..Theme::default() };
        let made_for = match palette.background.map(|it| components(it).iter().any(|it| *it > 128))
        {
            None => "for any background",
            Some(true) => "for light backgrounds",
            Some(false) => "for dark backgrounds",
        };
        let title = format!("palette {}: {made_for}", palette.name);
        add(&mut out, &title, &with(display, theme), &mut samples[..2], style);
    }
    out
}

/// The user's own formats and settings, in another theme.
fn with(display: &Display, theme: Theme) -> Display {
    let theme = Theme { padding: display.theme.padding, ..theme };
    Display { theme, ..display.clone() }
}

fn add(out: &mut String, title: &str, display: &Display, samples: &mut [Sample], style: &Style) {
    let (bold, plain) = if style.depth > Depth::None { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut written = writeln!(out, "{bold}{title}{plain}");
    for sample in samples {
        sample.snapshot.display.clone_from(display);
        let drawn = line(&sample.view(), style).replace('\n', "\n  ");
        written = written.and(writeln!(out, "  # {}\n  {drawn}", sample.about));
    }
    written.and(writeln!(out)).expect("a string takes everything");
}
