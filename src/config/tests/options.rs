//! Every option changes what is drawn, and every part of every segment draws something.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::display;
use crate::display::ansi::without_colour;
use crate::display::paint::MEANINGS;
use crate::display::palettes::PALETTES;
use crate::display::presets::PRESETS;
use crate::display::samples::{Sample, samples};
use crate::display::segments::SEGMENTS;
use crate::display::segments::segment::{COMMAND, Segment};
use crate::display::view::Style;
use crate::store::schema::display::Depth;

const NOW: i64 = 1_795_440_000_000;
/// Text that no sample draws by itself.
const MARK: &str = "§";

/// The samples drawn in colour with this configuration, to which two commands are added.
#[track_caller]
fn draw_at(text: &str, columns: Option<usize>) -> Vec<String> {
    let text =
        format!("{text}\n[commands.load]\ncommand = ['x']\n[commands.other]\ncommand = ['x']\n");
    let config = Config::parse(text.as_bytes()).unwrap_or_else(|it| panic!("{it}\n{text}"));
    let draw = |mut sample: Sample| {
        sample.snapshot.display = config.display.clone();
        let lines = |sample: &Sample| {
            let mut view = sample.view();
            view.drawn_at = Some("14:32");
            let style = Style { columns, depth: Depth::Indexed, has_links: false };
            display::line(&view, &style)
        };
        // Drawing from the published settings gives the same lines.
        let json = serde_json::to_vec(&sample.snapshot.display).unwrap();
        let drawn = lines(&sample);
        sample.snapshot.display = serde_json::from_slice(&json).unwrap();
        assert_eq!(lines(&sample), drawn);
        drawn
    };
    samples(NOW, &["load"]).into_iter().map(draw).collect()
}

#[track_caller]
fn draw(text: &str) -> Vec<String> {
    draw_at(text, None)
}

#[track_caller]
fn check_changes(before: &str, after: &str, columns: Option<usize>) {
    let (drawn, other) = (draw_at(before, columns), draw_at(after, columns));
    assert_ne!(drawn, other, "{after}");
}

fn rows() -> impl Iterator<Item = (&'static Segment, String)> {
    let name = |row: &'static Segment| match row.name {
        COMMAND => (row, "command.load".to_owned()),
        name => (row, name.to_owned()),
    };
    SEGMENTS.iter().copied().flatten().map(name)
}

/// A format with all parts, each in a group of its own.
fn every_part(row: &Segment) -> String {
    row.parts.iter().map(|(part, _)| format!("({{{part}}})")).collect()
}

fn only(name: &str, rest: &str) -> String {
    format!("format = '{{{name}}}'\n[segments.'{name}']\n{rest}\n")
}

#[test]
fn every_part_of_every_segment_draws_something() {
    for (row, name) in rows() {
        for (part, _) in row.parts {
            let without = draw(&only(&name, &format!("format = '{MARK}'")));
            let with = draw(&only(&name, &format!("format = '{MARK}{{{part}}}'")));
            assert_ne!(with, without, "{name} {{{part}}}");
        }
        assert!(!row.about.is_empty() && row.about.ends_with('.'), "{name} is not explained");
    }
}

#[test]
fn every_symbol_and_every_colour_is_drawn() {
    for (row, name) in rows() {
        let parts = format!("format = '{}'", every_part(row));
        for symbol in row.symbols {
            // The symbols for a pull request and for a merge request each have a sample.
            let text = format!("{parts}\nsymbols.{} = '{MARK}'", symbol.0);
            let drawn = draw(&only(&name, &text));
            assert!(drawn.iter().any(|it| it.contains(MARK)), "{name} {}: {drawn:?}", symbol.0);
        }
        for (part, _) in row.parts {
            let text = format!("format = '{{{part}}}'");
            let own = format!("{text}\ncolors.{part} = 'bold 201'");
            let drawn = draw(&only(&name, &own));
            let is_used = drawn.iter().any(|it| it.contains("\x1b[1;38;5;201m"));
            assert!(is_used, "{name} {part}: {drawn:?}");
        }
        let text = format!("format = '{MARK}{{{}}}'", row.parts[0].0);
        let own = format!("{text}\ncolors.label = '201'");
        check_changes(&only(&name, &text), &only(&name, &own), None);
    }
}

#[test]
fn every_setting_of_a_segment_changes_what_is_drawn() {
    let mut tested = BTreeSet::from(["symbols", "colors"]);
    for (row, name) in rows() {
        let default = only(&name, "");
        let part = row.parts[0].0;
        check_changes(&default, &only(&name, &format!("format = '{MARK}{{{part}}}'")), None);
        check_changes(&default, &only(&name, "max_width = 1"), None);
        let wide = format!("max_width = 500\nformat = '{{{part}}}{}'\n", MARK.repeat(200));
        let at = |text: &str| only(&name, &format!("{wide}{text}"));
        check_changes(&at(""), &at(&format!("short = '{{{part}}}{MARK}'")), Some(150));
        tested.extend(["format", "max_width", "short"]);
        if row.name != "model" {
            // There is room for only one of the two segments.
            let pair = |priority| {
                format!(
                    "format = '{{model}} {{{name}}}'\n\
                     [segments.model]\nformat = '{{id}}'\nshort = ''\npriority = 90\n\
                     [segments.'{name}']\nformat = '{}{{{part}}}'\nshort = ''\nmax_width = 12\n\
                     priority = {priority}\n",
                    MARK.repeat(12)
                )
            };
            check_changes(&pair(0), &pair(100), Some(40));
            tested.insert("priority");
        }
        let parts = format!("format = '{}'\n", every_part(row));
        let all = only(&name, &parts);
        if row.thresholds.is_some() {
            for key in ["warning = 1", "alarm = 1"] {
                check_changes(&all, &only(&name, &format!("{parts}{key}")), None);
            }
            tested.extend(["warning", "alarm"]);
        }
        if row.bar_width > 0 {
            check_changes(&all, &only(&name, &format!("{parts}bar_width = 3")), None);
            tested.insert("bar_width");
        }
        if row.mark.is_some() {
            check_changes(&all, &only(&name, &format!("{parts}mark = 30")), None);
            tested.insert("mark");
        }
    }
    check_complete("[segments.git]", &tested);
}

/// So a user who wants no warning need not set both.
#[test]
fn an_alarm_below_the_warning_leaves_no_warning() {
    let at = |thresholds: &str| draw(&only("context", thresholds));
    assert_eq!(at("alarm = 1"), at("warning = 1\nalarm = 1"));
    assert_ne!(at("alarm = 1"), at("warning = 1"));
}

#[test]
fn every_setting_of_the_theme_changes_what_is_drawn() {
    let default = "";
    let format = "format = '{directory} {git} {pr} {model} {context} {lines}'\n";
    for preset in PRESETS.iter().skip(1) {
        check_changes(default, &format!("[theme]\npreset = '{}'", preset.name), None);
    }
    for palette in PALETTES.iter().skip(1) {
        check_changes(default, &format!("[theme]\npalette = '{}'", palette.name), None);
    }
    let dark = "[theme]\npalette = 'dark'\n";
    for depth in ["none", "16", "true"] {
        check_changes(dark, &format!("{dark}depth = '{depth}'"), None);
    }
    check_changes(default, "[theme]\nseparator = ' / '", None);
    check_changes(default, "[theme]\npadding = 3", Some(80));
    let columns = |text: &str| display::lines_style(&config(text).display).columns;
    assert_eq!([columns(""), columns("[theme]\ncolumns = 90")], [Some(120), Some(90)]);
    for (name, _) in MEANINGS {
        let own = format!("{format}[theme.colors]\n{name} = 'underline 201'");
        let drawn = draw(&own).concat();
        assert!(drawn.contains("\x1b[4;38;5;201m"), "{name}: {drawn:?}");
    }
    let tested = ["preset", "palette", "depth", "separator", "padding", "columns", "colors"];
    check_complete("[theme]", &BTreeSet::from(tested));
}

#[test]
fn a_format_decides_what_is_shown_and_where() {
    let plain = |text: &str| without_colour(&draw(text)[0]);
    let model = "Opus 4.8 high";
    assert_eq!(plain("format = '{model} {directory}'"), format!("{model} · ~/w/shop · 14:32"));
    assert_eq!(plain("format = '{model}, {directory}'"), format!("{model}, · ~/w/shop · 14:32"));
    assert_eq!(plain("format = '{model}:{cost}!'"), format!("{model}:$4.34! · 14:32"));
    assert_eq!(plain("format = '( in {git_error} )x {model}'"), format!("{model} · 14:32"));
    assert_eq!(
        plain("format = '{model}( of {cost})( or {git_error})'"),
        format!("{model} of $4.34 · 14:32")
    );
    assert_eq!(plain("format = '({cost}({git_error} at) x)'"), "$4.34 x · 14:32");
    assert_eq!(plain(r"format = '\{{cost}\} \(a\)'"), "{$4.34} · (a) · 14:32");
    assert_eq!(
        plain("format = \"{model}\\n{git_error}\\n{cost}\""),
        format!("{model}\n$4.34 · 14:32")
    );
    assert_eq!(plain("format = '{drawn_at} {clock}'"), "14:32 · 14:32");
    assert_eq!(plain("format = '{command.load} {command.other}'"), "load's output · 14:32");
    assert_eq!(plain("format = '{git_error}'"), "14:32");
}

#[test]
fn no_format_hides_that_data_is_old() {
    let drawn: Vec<_> = draw("format = '{cost}'").iter().map(|it| without_colour(it)).collect();
    let expected = "≥$4.34 · git: timed out after 5 s · store: no space left on device · 14:32";
    assert_eq!(drawn[1], expected);
    assert_eq!(drawn[2], "$0.00 · no watcher: ccstatusd start · 14:32");
    let old = draw("format = '{git}'\n[segments.git]\nformat = '{branch}'").remove(1);
    assert!(without_colour(&old).starts_with("checkout-flow 4m ago"), "{old}");
}

#[test]
fn the_ascii_theme_draws_only_ascii() {
    let all: String = rows().map(|(_, name)| format!("{{{name}}} ")).collect();
    let mut text = format!("format = '{all}'\n[theme]\npreset = 'ascii'\n");
    for (row, name) in rows() {
        text += &format!("[segments.'{name}']\nformat = '{}'\n", every_part(row));
    }
    for columns in [None, Some(60), Some(20)] {
        for drawn in draw_at(&text, columns) {
            assert!(drawn.is_ascii(), "{drawn}");
        }
    }
}

#[test]
fn a_published_display_is_small() {
    let json = |text: &str| serde_json::to_string(&config(text).display).unwrap();
    assert_eq!(json(""), "{}");
    assert_eq!(
        json("[theme]\npreset = 'ascii'\n[segments.git]\ncolors.branch = 'bold #0102ff'"),
        r##"{"theme":{"preset":"ascii"},"segments":{"git":{"colors":{"branch":{"fg":{"rgb":[1,2,255]},"bold":true}}}}}"##
    );
}

#[track_caller]
fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

/// Checks that these are all keys of a table.
#[track_caller]
fn check_complete(table: &str, tested: &BTreeSet<&str>) {
    let text = format!("{table}\nqqqqqqqqqqqqqqqqqqqqqqqq = 1");
    let refused = Config::parse(text.as_bytes()).unwrap_err().to_string();
    let (_, keys) = refused.split_once("expected one of ").unwrap();
    assert_eq!(keys.split(", ").collect::<BTreeSet<_>>(), *tested);
}
