//! PURE. `[usage]`: how usage is counted.

use jiff::civil::Weekday;

use super::commands::read_argv;
use super::reader::{Table, choose, text};

#[derive(Clone, Debug, PartialEq)]
pub struct UsageConfig {
    /// The first day of "this week".
    pub week_starts: Weekday,
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
            source: UsageSource::Transcripts,
            command: command.map(str::to_owned).into(),
        }
    }
}

impl UsageConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> UsageConfig {
        let default = UsageConfig::default();
        let week_starts = table.value("week_starts", |it| choose("value", text(it)?, &WEEKDAYS));
        let source = table.value("source", |it| choose("value", text(it)?, &SOURCES));
        UsageConfig {
            week_starts: week_starts.unwrap_or(default.week_starts),
            source: source.unwrap_or(default.source),
            command: read_argv(table).unwrap_or(default.command),
        }
    }
}
