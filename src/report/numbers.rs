//! PURE. How reports write amounts, in full and in short.

use crate::time::{HOUR_MS, MINUTE_MS};

const PER_CENT: i128 = 10_000_000_000;

/// US dollars and cents, with commas between thousands: `$1,234.56`.
pub(super) fn money(picodollars: i128) -> String {
    let cents = (picodollars + PER_CENT / 2).div_euclid(PER_CENT).max(0);
    let dollars = u64::try_from(cents / 100).unwrap_or(u64::MAX);
    format!("${}.{:02}", full(dollars), cents % 100)
}

/// A count with all its digits, with commas between thousands: `85,105,123`.
pub(super) fn full(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count in at most five characters: `999`, `12.3k`, `85.1M`, `1.2B`.
pub(super) fn short(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "B"), (1_000_000, "M"), (1000, "k")];
    match UNITS.into_iter().find(|(size, _)| count >= *size) {
        None => count.to_string(),
        // Cut and not rounded, so that 999,999 does not become 1000.0k.
        Some((size, unit)) if count / size >= 100 => format!("{}{unit}", count / size),
        Some((size, unit)) => format!("{}.{}{unit}", count / size, count % size * 10 / size),
    }
}

/// How long something took: `2h08m`, `45m`.
pub(super) fn length(ms: i64) -> String {
    let minutes = (ms / MINUTE_MS).max(0);
    match minutes {
        0 => "<1m".to_owned(),
        1..60 => format!("{minutes}m"),
        _ => format!("{}h{:02}m", ms / HOUR_MS, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_cents_and_counts_keep_their_digits() {
        let dollars = [0.0, 0.004_999, 0.005, 9.994, 1234.5, 1_234_567.891];
        let written = dollars.map(|it| money((it * 1e12) as i128));
        assert_eq!(written, ["$0.00", "$0.00", "$0.01", "$9.99", "$1,234.50", "$1,234,567.89"]);
        assert_eq!([0, 999, 1000, 85_105_123].map(full), ["0", "999", "1,000", "85,105,123"]);
    }

    #[test]
    fn short_counts_have_at_most_five_characters() {
        let counts = [0, 999, 1000, 12_345, 999_999, 85_105_123, 1_250_000_000];
        assert_eq!(counts.map(short), ["0", "999", "1.0k", "12.3k", "999k", "85.1M", "1.2B"]);
    }

    #[test]
    fn lengths_are_in_hours_and_minutes() {
        let lengths = [0, 59, 60, 45 * 60, 7680, 90_000].map(|it| length(it * 1000));
        assert_eq!(lengths, ["<1m", "<1m", "1m", "45m", "2h08m", "25h00m"]);
    }
}
