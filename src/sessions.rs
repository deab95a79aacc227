//! `ccstatusd sessions`: reads the snapshot, and lists all sessions in it; once, or again whenever
//! it changes.
//!
//! `--watch` sleeps until the kernel reports that another snapshot was put in place, that the
//! watcher ended, that the state directory came or went, or that the terminal has another size
//! (`published.rs`). No timer wakes it.

use std::io::{self, Write};
use std::os::fd::AsFd;

use crossbeam_channel::unbounded;
use jiff::tz::TimeZone;
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};

use crate::cli::{Environment, SessionsOptions};
use crate::display::ansi;
use crate::display::view::{Style, Watcher};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::ipc;
use crate::published::{self, Observer};
use crate::sanitize;
use crate::show;
use crate::store::schema::Snapshot;
use crate::store::schema::display::Depth;
use crate::store::snapshot::Unusable;
use crate::terminal;
use crate::time::Now;

mod json;
pub(crate) mod table;

use table::{View, Which};

/// The list as text, ready to be printed.
///
/// Changes the working directory to the state directory.
pub fn list(env: &Environment, options: &SessionsOptions, out: impl AsFd) -> Result<String> {
    let dir = published::enter(env)?;
    let snapshot = published::read().map_err(|it| published::unusable(it, &dir))?;
    let list = List { env, options, home: Home::find(env), zone: None };
    let watcher = show::watcher(ipc::connect().map(drop));
    list.text(&snapshot, watcher, &list.style(out), usize::MAX)
}

/// Writes the list to `out` whenever it changes, until a signal ends it or nobody reads any more.
/// On a terminal it takes the whole screen, and leaves the terminal as it was.
///
/// Changes the working directory to the state directory.
pub fn watch(
    env: &Environment,
    options: &SessionsOptions,
    out: &mut (impl AsFd + Write),
) -> Result<()> {
    let dir = published::enter(env)?;
    let list = List { env, options, home: Home::find(env), zone: Some(TimeZone::system()) };
    let signals = published::signals(|| ())?;
    let (sender, changes) = unbounded();
    let mut observer = Observer::start(&dir, sender)?;
    let mut screen = Screen { out, is_entered: false };
    loop {
        let size = terminal::size(&*screen.out).filter(|_| !options.json);
        let text = match observer.read() {
            Ok(snapshot) => {
                let n_rows = size.map_or(usize::MAX, |(_, rows)| rows);
                let style = list.style(&*screen.out);
                list.text(&snapshot, observer.watcher(), &style, n_rows)
            }
            // A reader of JSON gets no other text.
            Err(Unusable::Missing) if options.json => {
                let style = list.style(&*screen.out);
                list.text(&Snapshot::default(), observer.watcher(), &style, usize::MAX)
            }
            Err(_) if options.json => Ok(String::new()),
            Err(why) => Ok(observer.message(why) + "\n"),
        }?;
        let written = match size {
            Some(_) => screen.draw(&text),
            None => screen.out.write_all(text.as_bytes()).and_then(|()| screen.out.flush()),
        };
        match written {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|it| Error::new("cannot write the list").because(it))?,
        }
        crossbeam_channel::select! {
            recv(changes) -> change => observer.follow(change, &changes)?,
            recv(signals) -> signal => match signal {
                // Another process may have written to the terminal while this one was stopped.
                Ok(SIGWINCH | SIGCONT) => {}
                Ok(SIGTSTP) => screen.stop(),
                _ => return Ok(()),
            }
        }
    }
}

/// What is listed, and for whom.
struct List<'a> {
    env: &'a Environment,
    options: &'a SessionsOptions,
    home: Home,
    /// The time zone, for a list that is read later than it is drawn.
    zone: Option<TimeZone>,
}

impl List<'_> {
    /// What the terminal can show. Anything else gets text without colours, in as many columns as
    /// it needs, unless `COLUMNS` says how many.
    fn style(&self, out: impl AsFd) -> Style {
        let style = terminal::style(self.env);
        match terminal::size(out) {
            // Other tables also take `COLUMNS` before the terminal's own width.
            Some((columns, _)) => {
                let columns = style.columns.or(Some(columns));
                Style { columns, has_links: false, ..style }
            }
            None => Style { depth: Depth::None, has_links: false, ..style },
        }
    }

    fn text(
        &self,
        snapshot: &Snapshot,
        watcher: Watcher,
        style: &Style,
        n_rows: usize,
    ) -> Result<String> {
        let published_at = self.zone.as_ref().map(|zone| {
            let at = jiff::Timestamp::from_millisecond(snapshot.published_at_ms);
            let at = at.unwrap_or_default().to_zoned_datetime(zone.clone());
            format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
        });
        let view = View {
            snapshot,
            has_no_watcher: watcher == Watcher::Gone,
            now_ms: Now::read().wall_ms,
            home: snapshot.roots.keys().find_map(|it| self.home.above(&it.0)),
            published_at: published_at.as_deref(),
            which: match self.options {
                SessionsOptions { waiting: true, .. } => Which::Waiting,
                SessionsOptions { all: true, .. } => Which::All,
                _ => Which::Live,
            },
            n_rows,
        };
        if self.options.json {
            let text = serde_json::to_string(&json::list(&view, watcher));
            let text =
                text.map_err(|it| Error::new("cannot write the list as JSON").because(it))?;
            return Ok(sanitize::json(&text) + "\n");
        }
        Ok(table::lines(&view, style).join("\n") + "\n")
    }
}

/// The screen of a terminal, which is given back as it was however the list ends.
struct Screen<'a, W: Write + AsFd> {
    out: &'a mut W,
    is_entered: bool,
}

impl<W: Write + AsFd> Screen<'_, W> {
    /// Shows this in place of what is there.
    fn draw(&mut self, text: &str) -> io::Result<()> {
        let frame = ansi::frame(text.lines());
        let enter = if self.is_entered { "" } else { ansi::ENTER_SCREEN };
        self.is_entered = true;
        self.out.write_all(format!("{enter}{frame}").as_bytes())?;
        self.out.flush()
    }

    /// Stops this process, as the user asked, until it is continued.
    fn stop(&mut self) {
        self.leave();
        published::stop();
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.is_entered) {
            self.out.write_all(ansi::LEAVE_SCREEN.as_bytes()).and_then(|()| self.out.flush()).ok();
        }
    }
}

impl<W: Write + AsFd> Drop for Screen<'_, W> {
    fn drop(&mut self) {
        self.leave();
    }
}
