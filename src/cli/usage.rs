//! The command line of `ccstatusd usage`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `ccstatusd usage` is asked for.
#[derive(Clone, Debug, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct UsageOptions {
    #[command(subcommand)]
    pub transfer: Option<Transfer>,

    /// What the rows are. Without it: today, this week, this month, and the last 14 days.
    #[arg(value_enum)]
    pub report: Option<ReportKind>,

    /// The first day, inclusive: 2026-11-25, 20261125, today, yesterday, monday, 7d (seven days up
    /// to today), this-week, last-week, this-month, last-month.
    #[arg(
        long,
        short,
        value_name = "DAY",
        help_heading = "Which days",
        allow_hyphen_values = true
    )]
    pub since: Option<String>,
    /// The last day, inclusive, in the same words.
    #[arg(
        long,
        short,
        value_name = "DAY",
        help_heading = "Which days",
        allow_hyphen_values = true
    )]
    pub until: Option<String>,
    /// Only today.
    #[arg(long, help_heading = "Which days", conflicts_with_all = ["since", "until", "week", "last"])]
    pub today: bool,
    /// Only this week.
    #[arg(long, help_heading = "Which days", conflicts_with_all = ["since", "until", "last"])]
    pub week: bool,
    /// Months begin on this day, 1 to 31, as on your bill; in a shorter month on its last day.
    /// Without other days: only the month that began last.
    #[arg(long, value_name = "DAY", help_heading = "Which days",
          value_parser = clap::value_parser!(i8).range(1..=31))]
    pub month_from: Option<i8>,
    /// Only the last N days; of `weekly` and `monthly` the last N weeks or months.
    #[arg(long, value_name = "N", help_heading = "Which days", conflicts_with_all = ["since", "until"],
          value_parser = clap::value_parser!(u16).range(1..=36500))]
    pub last: Option<u16>,
    /// The time zone of days, such as Europe/Berlin [the system's]
    #[arg(long, short = 'z', value_name = "ZONE", help_heading = "Which days")]
    pub timezone: Option<String>,

    /// Only this one of Claude Code's directories.
    #[arg(long, value_name = "PATH", help_heading = "What is counted")]
    pub root: Option<PathBuf>,
    /// Only projects whose directory has this text in it, or matches it where it has * or ?.
    #[arg(
        long,
        short,
        value_name = "TEXT",
        help_heading = "What is counted",
        allow_hyphen_values = true
    )]
    pub project: Option<String>,
    /// Only models whose name has this text in it, or matches it where it has * or ?.
    #[arg(long, value_name = "TEXT", help_heading = "What is counted")]
    pub model: Option<String>,
    /// Only sessions whose id begins with this.
    #[arg(long, alias = "id", value_name = "ID", help_heading = "What is counted")]
    pub session: Option<String>,
    /// All of Claude Code's directories as one.
    #[arg(long, help_heading = "What is counted")]
    pub sum: bool,
    /// Of `blocks`: only the one that is open now.
    #[arg(long, short, help_heading = "What is counted")]
    pub active: bool,

    /// Below each row, what each model, project and so on has of it.
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Rows")]
    pub by: Option<Part>,
    /// What rows are sorted by [the time; cost where rows are no times]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Rows")]
    pub sort: Option<Sort>,
    /// Which rows come first [asc for times and names, else desc]
    #[arg(long, short, value_enum, value_name = "ORDER", help_heading = "Rows")]
    pub order: Option<Order>,
    /// Only the N rows with the greatest cost, or of what --sort names. Totals are of all rows.
    #[arg(long, value_name = "N", help_heading = "Rows")]
    pub top: Option<usize>,

    /// Print JSON. docs/usage.md describes it.
    #[arg(long, short, help_heading = "Output", conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values.
    #[arg(long, help_heading = "Output")]
    pub csv: bool,
    /// Print the JSON of `ccusage claude REPORT`, or with ccusage-unified of `ccusage REPORT`.
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = "Output",
          conflicts_with_all = ["csv", "by", "sort", "top", "sum", "month_from"])]
    pub format: Option<Dialect>,
    /// With --format ccusage and `daily`: a list for each project.
    #[arg(long, short, help_heading = "Output", requires = "format")]
    pub instances: bool,
    /// Accepted, as scripts give it to ccusage. Prices are never fetched.
    #[arg(long, short = 'O', hide = true)]
    pub offline: bool,
}

/// How the record goes from one machine to another.
#[derive(Clone, Debug, Subcommand)]
pub enum Transfer {
    /// Write the whole record, for `usage import` on another machine.
    Export {
        /// The file to write [the standard output]
        file: Option<PathBuf>,
    },
    /// Bring the record of another machine in. To bring it in again changes nothing.
    Import {
        /// What `usage export` wrote; - is the standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The directory of Claude Code here that it belongs to [the one of the same path]
        #[arg(long, value_name = "PATH")]
        root: Option<PathBuf>,
    },
}

/// What the rows of a report are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportKind {
    /// Days.
    Daily,
    /// Weeks. They begin as `[usage] week_starts` says.
    Weekly,
    /// Months.
    Monthly,
    /// Five-hour blocks.
    #[value(alias = "block")]
    Blocks,
    /// Sessions, with their subagents.
    #[value(alias = "session")]
    Sessions,
    /// Directories of projects.
    #[value(alias = "project")]
    Projects,
    /// Models.
    #[value(alias = "model")]
    Models,
    /// Git branches, by project.
    #[value(alias = "branch")]
    Branches,
    /// Types of subagents.
    #[value(alias = "agent")]
    Agents,
}

impl ReportKind {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ReportKind::Daily => "daily",
            ReportKind::Weekly => "weekly",
            ReportKind::Monthly => "monthly",
            ReportKind::Blocks => "blocks",
            ReportKind::Sessions => "sessions",
            ReportKind::Projects => "projects",
            ReportKind::Models => "models",
            ReportKind::Branches => "branches",
            ReportKind::Agents => "agents",
        }
    }

    /// Whether the rows are times.
    pub fn is_of_times(self) -> bool {
        use ReportKind::{Blocks, Daily, Monthly, Weekly};
        matches!(self, Daily | Weekly | Monthly | Blocks)
    }
}

/// What a row is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Model,
    Project,
    Session,
    Branch,
    Agent,
}

impl Part {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Part::Model => "model",
            Part::Project => "project",
            Part::Session => "session",
            Part::Branch => "branch",
            Part::Agent => "agent",
        }
    }
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    Cost,
    Tokens,
    /// When it was used last.
    Time,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The smallest, earliest first.
    Asc,
    /// The greatest, latest first.
    Desc,
}

/// Whose JSON is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// That of `ccusage claude …`, and of `ccusage blocks`.
    Ccusage,
    /// That of `ccusage …`.
    CcusageUnified,
}
