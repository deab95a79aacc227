//! PURE. Numbers as bars: how full something is, and how much was used when.

use crate::display::paint::Paint;
use crate::display::text::Text;

/// Heights of a bar within one row, from nothing to all of it.
const HEIGHTS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII_HEIGHTS: [&str; 9] = [" ", ".", ".", ":", ":", "+", "+", "#", "#"];

/// Stands in the place of what is not known. A bar of nothing would say that nothing was used.
pub(super) const UNKNOWN: &str = "-";

/// How a bar is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) is_ascii: bool,
}

impl Style {
    /// How full something is, in so many columns. `mark` is a position to compare it with. Both are
    /// in percent.
    pub(super) fn gauge(self, paint: Paint, share: f64, mark: Option<f64>, columns: usize) -> Text {
        let [full, empty, line] =
            if self.is_ascii { ["#", "-", "|"] } else { ["█", "░", "│"] };
        let place = |share: f64| (share / 100.0).clamp(0.0, 1.0) * columns as f64;
        // Whatever is more than nothing can be seen.
        let n_full = if share > 0.0 { (place(share).round() as usize).max(1) } else { 0 };
        let mark = mark.map(|it| (place(it) as usize).min(columns.saturating_sub(1)));
        let mut out = Text::default();
        for nth in 0..columns {
            match nth {
                _ if Some(nth) == mark => out.put(Paint::Plain, line),
                _ if nth < n_full => out.put(paint, full),
                _ => out.put(Paint::Dim, empty),
            }
        }
        out
    }

    /// Bars side by side, in so many rows from the top, each bar in `columns` columns of which the
    /// last is blank if there is more than one. `None` is what is not known.
    pub(super) fn chart(self, values: &[Option<f64>], columns: usize, n_rows: usize) -> Vec<Text> {
        let heights = if self.is_ascii { ASCII_HEIGHTS } else { HEIGHTS };
        let most = values.iter().flatten().copied().fold(0.0, f64::max);
        let eighths = |value: f64| match (value > 0.0 && most > 0.0, n_rows * 8) {
            (true, all) => ((value / most * all as f64).round() as usize).clamp(1, all),
            (false, _) => 0,
        };
        let row = |row: usize| {
            let below = (n_rows - 1 - row) * 8;
            let mut bars = Text::default();
            for value in values {
                let (paint, piece) = match value {
                    Some(value) => {
                        let height = eighths(*value).saturating_sub(below).min(8);
                        (Paint::Place, heights[height])
                    }
                    None if below == 0 => (Paint::Dim, UNKNOWN),
                    None => (Paint::Dim, " "),
                };
                bars.put(paint, &piece.repeat(columns.saturating_sub(1).max(1)));
                bars.put(Paint::Place, if columns > 1 { " " } else { "" });
            }
            bars
        };
        (0..n_rows).map(row).collect()
    }

    /// A bar from the left, in at most so many columns. `share` is from 0 to 1.
    pub(super) fn bar(self, share: f64, columns: usize) -> Text {
        let full = if self.is_ascii { "#" } else { "█" };
        let n_full = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
        let n_full = if share > 0.0 { n_full.max(1) } else { 0 };
        Text::of(Paint::Place, &full.repeat(n_full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { is_ascii: false };

    fn text(text: &Text) -> String {
        text.pieces().map(|(_, piece, _)| piece).collect()
    }

    #[test]
    fn a_gauge_shows_more_than_nothing_and_the_mark() {
        let gauge = |share, mark| text(&PLAIN.gauge(Paint::Plain, share, mark, 10));
        assert_eq!(gauge(0.0, None), "░░░░░░░░░░");
        assert_eq!(gauge(0.4, None), "█░░░░░░░░░");
        assert_eq!(gauge(52.0, Some(80.0)), "█████░░░│░");
        assert_eq!(gauge(250.0, Some(100.0)), "█████████│");
        let ascii = Style { is_ascii: true }.gauge(Paint::Plain, 50.0, Some(0.0), 4);
        assert_eq!(text(&ascii), "|#--");
    }

    #[test]
    fn the_highest_bar_takes_all_rows_and_the_lowest_can_be_seen() {
        let chart = |n_rows| -> Vec<String> {
            let values = [None, Some(0.0), Some(0.01), Some(4.0), Some(8.0)];
            PLAIN.chart(&values, 1, n_rows).iter().map(text).collect()
        };
        assert_eq!(chart(1), ["- ▁▄█"]);
        assert_eq!(chart(2), ["    █", "- ▁██"]);
        assert_eq!(text(&PLAIN.chart(&[Some(1.0), Some(0.0), None], 3, 1)[0]), "██    -- ");
        assert_eq!(text(&PLAIN.chart(&[Some(0.0), Some(0.0)], 1, 1)[0]), "  ");
    }
}
