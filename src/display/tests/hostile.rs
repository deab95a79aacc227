//! No text, number or configuration breaks a line, whatever it is.

use proptest::prelude::*;

use super::{check_git, check_shape, repo, root, show, snapshot, usage};
use crate::display::ansi::without_colour;
use crate::display::text;
use crate::display::view::{Source, Style, Watcher};
use crate::store::schema::display::{self, Depth, Display};
use crate::store::schema::{ClientFacts, Limit, Limits, Model, Repo};

#[test]
fn text_from_outside_cannot_control_the_terminal() {
    check_git(|it| it.branch = Some("a\x1b[31mb\u{202e}c\r\nd\u{9b}".to_owned()), "a�[31mbc  d�");
    check_git(|it| it.branch = Some("zero\u{200b}width\u{feff}".to_owned()), "zerowidth");
    check_git(|it| it.error = Some("\x07".to_owned()), "main · git: �");
}

/// Formats, valid and invalid ones.
fn format() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{git}",
        "{model}",
        "{context}",
        "{pr}",
        "{x}",
        "{}",
        "{",
        "}",
        "(",
        ")",
        " ",
        "  ",
        "\\",
        "\n",
        "日",
        "text",
        "\u{200d}",
        "\x1b[2J",
    ]);
    prop::collection::vec(piece, 0..20).prop_map(|it| it.concat())
}

/// Settings as they could stand in a snapshot that is not from our watcher.
fn displays() -> impl Strategy<Value = Display> {
    let preset = prop::sample::select(vec!["default", "ascii", "powerline", "compact", "?"]);
    let segment = (format(), format(), any::<[u16; 2]>(), any::<[f64; 3]>(), any::<String>());
    (format(), format(), preset, any::<String>(), 0..9_u16, segment).prop_map(
        |(format, part, preset, separator, padding, (full, short, widths, shares, symbol))| {
            let segment = display::Segment {
                format: Some(full.replace("{git}", "{branch}").replace("{model}", "{percent}")),
                short: Some(short.replace("{git}", "{name}").replace("{model}", "{bar}")),
                max_width: Some(widths[0] % 99),
                bar_width: Some(widths[1] % 99),
                warning: Some(shares[0]),
                alarm: Some(shares[1]),
                mark: Some(shares[2]),
                symbols: ["full", "ahead"].map(|it| (it.to_owned(), symbol.clone())).into(),
                ..display::Segment::default()
            };
            let theme = display::Theme {
                preset: Some(preset.to_owned()),
                palette: Some(part),
                separator: Some(separator),
                padding,
                ..display::Theme::default()
            };
            let segments = ["git", "context", "model", "five_hour"];
            let segments = segments.map(|it| (it.to_owned(), segment.clone())).into();
            Display { format: Some(format), theme, segments }
        },
    )
}

proptest! {
    #[test]
    fn no_configuration_breaks_a_line(display in displays(), columns in 0_usize..80) {
        let mut snapshot = snapshot();
        let padding = usize::from(display.theme.padding);
        snapshot.display = display;
        let source = Source::Snapshot(&snapshot);
        let style = Style { columns: Some(columns), depth: Depth::None, has_links: false };
        let drawn = show(source, Watcher::Gone, &ClientFacts::default(), &style);
        let coloured = Style { depth: Depth::True, ..style };
        let coloured = show(source, Watcher::Gone, &ClientFacts::default(), &coloured);
        let usable = columns.saturating_sub(4 + 2 * padding).max(1);
        for line in drawn.split('\n') {
            check_shape(line, usable);
        }
        // Not `check_shape`: the edges of powerline are blanks.
        for line in without_colour(&coloured).split('\n') {
            prop_assert!(text::width(line) <= usable, "{line:?} in {usable}");
        }
    }

    #[test]
    fn no_fact_breaks_a_line(
        text in any::<String>(),
        path in any::<Option<String>>(),
        share in any::<Option<f64>>(),
        usd in any::<Option<f64>>(),
        times in any::<[i64; 4]>(),
        columns in 0_usize..300,
        gone in any::<bool>(),
    ) {
        let mut snapshot = snapshot();
        snapshot.published_at_ms = times[0];
        *repo(&mut snapshot) = Repo {
            as_of_ms: times[1],
            branch: Some(text.clone()),
            operation: path.clone(),
            error: path.clone(),
            ..Repo::default()
        };
        usage(&mut snapshot).as_of_ms = times[2];
        let used = Limit {
            used_percentage: share.unwrap_or(1.0),
            resets_at_ms: times[3],
            as_of_ms: times[2],
            full_at_ms: Some(times[0]),
            ..Limit::default()
        };
        root(&mut snapshot).limits.five_hour = Some(used);
        let client = ClientFacts {
            cwd: path,
            model: Some(Model { id: text.clone(), display_name: Some(text) }),
            context_used_percentage: share,
            cost_usd: usd,
            limits: Limits {
                seven_day: Some(used),
                five_hour: Some(used),
                ..Limits::default()
            },
            ..ClientFacts::default()
        };
        let style = Style { columns: Some(columns), depth: Depth::None, has_links: false };
        let watcher = if gone { Watcher::Gone } else { Watcher::Alive };
        let drawn = show(Source::Snapshot(&snapshot), watcher, &client, &style);
        let coloured = Style { depth: Depth::True, ..style };
        let coloured = show(Source::Snapshot(&snapshot), watcher, &client, &coloured);
        prop_assert_eq!(&without_colour(&coloured), &drawn);
        check_shape(&drawn, columns.saturating_sub(4).max(1));
    }
}
