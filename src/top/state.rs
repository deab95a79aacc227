//! PURE. What the user chose to see on the screen, and how keys change that.

use std::cmp::Reverse;

use super::keys::Key;
use crate::overview::{self, Activity, Row};
use crate::store::schema::{SessionId, Snapshot};

/// What the user chose to see.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) page: Page,
    pub(super) sort: Sort,
    /// Whether sessions that have ended are listed.
    pub(super) is_listing_ended: bool,
    /// Only sessions that have all of these words are listed.
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// The session that the user chose. `None`: whichever is first.
    chosen: Option<SessionId>,
    /// Where the chosen session was in the list. When it is gone, the one at this place is chosen.
    place: usize,
    /// The first line of the list that is on the screen.
    pub(super) first: usize,
    /// The first line of a page of text that is on the screen.
    pub(super) first_of_page: usize,
    /// Whether the pane of a session can be shown.
    pub(super) is_in_tmux: bool,
    /// What could not be done, until the next key.
    pub(super) notice: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    List,
    /// One session alone.
    Detail,
    Help,
}

/// The order in which sessions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// That of [`overview::rows`].
    #[default]
    WaitingFirst,
    Cost,
    Context,
    Activity,
    Project,
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::WaitingFirst => Sort::Cost,
            Sort::Cost => Sort::Context,
            Sort::Context => Sort::Activity,
            Sort::Activity => Sort::Project,
            Sort::Project => Sort::WaitingFirst,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Sort::WaitingFirst => "waiting first",
            Sort::Cost => "by cost",
            Sort::Context => "by context",
            Sort::Activity => "last active first",
            Sort::Project => "by project",
        }
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Draw what is different now.
    Draw,
    /// Draw everything: another program may have written to the screen.
    DrawAll,
    Quit,
    /// The pane in which the chosen session runs is to be shown.
    ShowPane,
}

impl State {
    pub(super) fn new(is_in_tmux: bool) -> State {
        State { is_in_tmux, ..State::default() }
    }

    /// The sessions that are listed, in their order.
    pub(super) fn rows<'a>(&self, snapshot: &'a Snapshot) -> Vec<Row<'a>> {
        let filter = self.filter.to_lowercase();
        let words: Vec<&str> = filter.split_whitespace().collect();
        let is_listed = |row: &Row<'_>| {
            (self.is_listing_ended || row.activity != Activity::Ended) && has_words(row, &words)
        };
        let mut rows = overview::rows(snapshot);
        rows.retain(is_listed);
        let most_first = |number: Option<f64>| Reverse((number.unwrap_or(-1.0) * 1e6) as i64);
        match self.sort {
            Sort::WaitingFirst => {}
            Sort::Cost => {
                rows.sort_by_key(|row| most_first(row.session.cost.as_ref().map(|it| it.usd)));
            }
            Sort::Context => rows.sort_by_key(|row| {
                let context = row.session.context.as_ref();
                let share = most_first(context.and_then(|it| it.used_percentage));
                (share, Reverse(context.and_then(|it| it.tokens)))
            }),
            Sort::Activity => rows.sort_by_key(|row| Reverse(row.session.last_activity_ms)),
            Sort::Project => rows.sort_by_key(|row| (row.project().is_none(), row.project())),
        }
        rows
    }

    /// The place of the chosen session among the listed ones. `None` if none is listed.
    pub(super) fn find(&mut self, rows: &[Row<'_>]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let found = self.chosen.as_ref().map(|id| rows.iter().position(|row| row.id == id));
        self.place = match found {
            None => 0,
            Some(Some(place)) => place,
            Some(None) => self.place.min(last),
        };
        Some(self.place)
    }

    /// Does what a key asks for. `rows` are the listed sessions, and `n_visible` is how many of
    /// them the screen has room for.
    pub(super) fn press(&mut self, key: Key, rows: &[Row<'_>], n_visible: usize) -> Action {
        let had_notice = self.notice.take().is_some();
        let action = match self.is_typing {
            true => self.edit_filter(key),
            false => self.press_command(key, rows, n_visible),
        };
        if had_notice && action == Action::Nothing { Action::Draw } else { action }
    }

    fn press_command(&mut self, key: Key, rows: &[Row<'_>], n_visible: usize) -> Action {
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Control('l') => return Action::DrawAll,
            Key::Char('?') => {
                let page = if self.page == Page::Help { Page::List } else { Page::Help };
                self.turn_to(page);
                return Action::Draw;
            }
            _ => {}
        }
        let page_size = n_visible.max(1);
        let half = (page_size / 2).max(1);
        let step = match key {
            Key::Char('j') | Key::Down => Step::By(1),
            Key::Char('k') | Key::Up => Step::By(-1),
            Key::PageDown | Key::Control('f') | Key::Char(' ') => Step::By(page_size as isize),
            Key::PageUp | Key::Control('b') => Step::By(-(page_size as isize)),
            Key::Control('d') => Step::By(half as isize),
            Key::Control('u') => Step::By(-(half as isize)),
            Key::Char('g') | Key::Home => Step::First,
            Key::Char('G') | Key::End => Step::Last,
            _ => return self.press_other(key, rows),
        };
        let is_scroll = match (self.page, key) {
            (Page::Help, _) => true,
            (Page::Detail, Key::Char('j' | 'k' | 'g' | 'G') | Key::Down | Key::Up) => false,
            (page, _) => page == Page::Detail,
        };
        match is_scroll {
            true => self.first_of_page = step.from(self.first_of_page, MAX_TEXT_LINES),
            false => {
                let Some(place) = self.find(rows) else { return Action::Nothing };
                let place = step.from(place, rows.len() - 1);
                self.chosen = Some(rows[place].id.clone());
            }
        }
        Action::Draw
    }

    fn press_other(&mut self, key: Key, rows: &[Row<'_>]) -> Action {
        match (self.page, key) {
            (Page::List, Key::Enter) if !rows.is_empty() => self.turn_to(Page::Detail),
            (Page::Help | Page::Detail, Key::Escape | Key::Enter) => self.turn_to(Page::List),
            (Page::List | Page::Detail, Key::Char('t')) if !rows.is_empty() => {
                return Action::ShowPane;
            }
            (Page::List, Key::Escape) if !self.filter.is_empty() => self.filter.clear(),
            (Page::List, Key::Char('/')) => self.is_typing = true,
            (Page::List, Key::Char('s')) => self.sort = self.sort.next(),
            (Page::List, Key::Char('a')) => self.is_listing_ended = !self.is_listing_ended,
            _ => return Action::Nothing,
        }
        Action::Draw
    }

    fn turn_to(&mut self, page: Page) {
        self.page = page;
        self.first_of_page = 0;
    }

    fn edit_filter(&mut self, key: Key) -> Action {
        match key {
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Backspace => drop(self.filter.pop()),
            Key::Control('u') => self.filter.clear(),
            Key::Char(char) if self.filter.chars().count() < MAX_FILTER => self.filter.push(char),
            _ => return Action::Nothing,
        }
        Action::Draw
    }
}

/// The longest filter, in characters.
const MAX_FILTER: usize = 60;
/// No page of text has more lines. The screen scrolls no further than there are any.
const MAX_TEXT_LINES: usize = 100;

enum Step {
    By(isize),
    First,
    Last,
}

impl Step {
    fn from(self, place: usize, last: usize) -> usize {
        match self {
            Step::By(count) => place.saturating_add_signed(count).min(last),
            Step::First => 0,
            Step::Last => last,
        }
    }
}

/// Whether each of the words, in lower case, is in something that says what the session is.
fn has_words(row: &Row<'_>, words: &[&str]) -> bool {
    if words.is_empty() {
        return true;
    }
    let session = row.session;
    let model = session.model.as_ref();
    let texts = [
        Some(row.activity.counted()),
        row.project(),
        row.name(),
        row.repo.and_then(|it| it.branch.as_deref()),
        model.map(|it| it.display_name.as_deref().unwrap_or(&it.id)),
        session.waiting_for.as_deref(),
        session.cwd.as_deref(),
        Some(row.id.0.as_str()),
    ];
    let texts: Vec<String> = texts.into_iter().flatten().map(str::to_lowercase).collect();
    words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

#[cfg(test)]
mod tests;
