//! PURE. What a line is drawn from, and what it is drawn for.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::store::schema::display::{Depth, Display, Theme};
use crate::store::schema::{ClientFacts, Fit, Repo, SessionId, Snapshot};

/// Everything that one line is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub source: Source<'a>,
    pub watcher: Watcher,
    /// What the client reported. It is newer than the snapshot, and takes precedence.
    pub client: &'a ClientFacts,
    /// The session that the line is for.
    pub session: Option<&'a SessionId>,
    /// The working tree around the client's directory. It is newer than the snapshot, too.
    pub around: &'a Around,
    /// The wall clock, from which every age is computed.
    pub now_ms: i64,
    /// The home directory, which is shown as `~`, by the path that the working directory begins
    /// with.
    pub home: Option<&'a str>,
    /// The local time as `HH:MM`, for a line that is read later than it is drawn.
    pub drawn_at: Option<&'a str>,
    /// The local hour, minute and second. Needed only if the format has a clock.
    pub clock: Option<(i8, i8, i8)>,
    /// The local time zone. Needed only if the format has a time other than the clock.
    pub zone: Option<&'a TimeZone>,
}

/// The result of reading the snapshot.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Snapshot(&'a Snapshot),
    /// There is no snapshot.
    Missing,
    /// There is a file, but it is not a snapshot.
    Unreadable,
    /// The snapshot is of a later version of the format, whose fields may mean something else.
    Newer,
}

/// What was found just now by looking for the working tree around a directory.
#[derive(Clone, Debug, PartialEq)]
pub enum Around {
    /// Nobody looked, or the file system did not answer.
    Unknown,
    /// The directory belongs to no working tree.
    NoTree,
    Tree(Box<Tree>),
}

/// A working tree that was found just now.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Its key in [`Snapshot::repos`].
    pub top: String,
    /// The branch, or the commit of a detached `HEAD`, and what does not change in a working tree.
    /// `None` if its files do not tell.
    pub head: Option<Repo>,
    /// Whether it belongs to the user. If not, git may refuse it, and only git's word counts.
    pub is_own: bool,
}

/// Whether a watcher keeps the snapshot up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    Alive,
    /// No watcher runs: what the snapshot says may have changed.
    Gone,
    Unknown,
}

impl Watcher {
    /// Whether it runs; `None` if that is not known.
    pub fn is_known_to_run(self) -> Option<bool> {
        match self {
            Watcher::Alive => Some(true),
            Watcher::Gone => Some(false),
            Watcher::Unknown => None,
        }
    }
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The width of the terminal. `None`: unlimited.
    pub columns: Option<usize>,
    pub depth: Depth,
    /// Whether it shows links.
    pub has_links: bool,
}

/// Columns of the terminal that the client uses itself: it cuts a line that takes more than the
/// rest.
const RESERVED_COLUMNS: usize = 4;

impl Style {
    /// The terminal that leaves to a line what the display states.
    pub fn fitted(fit: &Fit) -> Style {
        let columns = usize::from(fit.columns) + RESERVED_COLUMNS;
        Style { columns: Some(columns), depth: fit.depth, has_links: fit.has_links }
    }

    /// How many columns a line may take: at least one.
    pub(super) fn usable(&self, theme: &Theme) -> Option<usize> {
        let taken = RESERVED_COLUMNS + 2 * usize::from(theme.padding);
        self.columns.map(|it| it.saturating_sub(taken).max(1))
    }
}

/// The settings where there is no snapshot that has the user's.
static DEFAULT: Display = Display {
    format: None,
    theme: Theme {
        preset: None,
        palette: None,
        depth: None,
        separator: None,
        padding: 0,
        columns: None,
        colors: BTreeMap::new(),
    },
    segments: BTreeMap::new(),
};

impl<'a> View<'a> {
    /// The user's settings, which the watcher publishes in the snapshot.
    pub(super) fn display(&self) -> &'a Display {
        match self.source {
            Source::Snapshot(snapshot) => &snapshot.display,
            Source::Missing | Source::Unreadable | Source::Newer => &DEFAULT,
        }
    }
}
