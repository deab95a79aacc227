//! PURE. `[usage]`: how usage is counted.

use std::ops::RangeInclusive;

use jiff::civil::Weekday;

use super::commands::read_argv;
use super::reader::{Table, choose, text, whole};

#[derive(Clone, Debug, PartialEq)]
pub struct UsageConfig {
    /// The first day of "this week".
    pub week_starts: Weekday,
    /// For how many days the record keeps a month after its end; `None` for ever.
    pub keep_days: Option<u32>,
    pub source: UsageSource,
    /// The program that prints the active block, and its arguments. It runs only with
    /// [`UsageSource::Ccusage`].
    pub command: Vec<String>,
}

/// What the numbers of the active five-hour block are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageSource {
    /// Our own sums over the transcripts.
    Transcripts,
    /// The output of `ccusage`, or of a program that prints the same JSON.
    Ccusage,
}

/// The word for a record that is kept for ever.
pub(super) const FOREVER: &str = "forever";

/// For how many days a month may be kept. Less than the windows reach back is not possible.
pub(super) const KEEP_DAYS: RangeInclusive<u32> = 35..=36_500;

/// The words for them in the file.
pub(super) const SOURCES: [(&str, UsageSource); 2] =
    [("transcripts", UsageSource::Transcripts), ("ccusage", UsageSource::Ccusage)];

/// The words for them in the file.
pub(super) const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

impl Default for UsageConfig {
    fn default() -> UsageConfig {
        let command = ["ccusage", "blocks", "--json", "--active", "--offline"];
        UsageConfig {
            week_starts: Weekday::Monday,
            keep_days: None,
            source: UsageSource::Transcripts,
            command: command.map(str::to_owned).into(),
        }
    }
}

impl UsageConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> UsageConfig {
        let default = UsageConfig::default();
        let week_starts = table.value("week_starts", |it| choose("value", text(it)?, &WEEKDAYS));
        let keep_days = table.value("keep", |value| match text(value) {
            Ok(FOREVER) => Ok(None),
            Ok(_) => Err(format!("must be \"{FOREVER}\" or a number of days")),
            Err(_) => whole(KEEP_DAYS)(value).map(Some),
        });
        let source = table.value("source", |it| choose("value", text(it)?, &SOURCES));
        UsageConfig {
            week_starts: week_starts.unwrap_or(default.week_starts),
            keep_days: keep_days.unwrap_or(default.keep_days),
            source: source.unwrap_or(default.source),
            command: read_argv(table).unwrap_or(default.command),
        }
    }
}
