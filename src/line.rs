//! `ccstatusd line`: the line of a session in the language of a prompt, a bar or an editor, from
//! the snapshot alone.
//!
//! It sends no hint to the watcher: that a bar shows a session does not mean that somebody works in
//! it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;

use crate::cli::{Environment, LineFormat, LineOptions};
use crate::display::look::Look;
use crate::display::markup::{self, Markup};
use crate::display::numbers::age;
use crate::display::paint::Paint;
use crate::display::view::{Around, Source, Style, View, Watcher};
use crate::display::{self, text};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::ipc;
use crate::overview::Activity;
use crate::sanitize;
use crate::show;
use crate::store::dir::SNAPSHOT;
use crate::store::schema::display::{Depth, Display, Ink};
use crate::store::schema::{ClientFacts, Fit, HealthStatus, Session, SessionId, Snapshot, Waiting};
use crate::store::snapshot;
use crate::terminal;
use crate::time::Now;

/// The version of what `--format json` prints.
const VERSION: u32 = 1;

/// The line, with a newline at its end.
///
/// Changes the working directory to the state directory.
pub fn run(env: &Environment, options: &LineOptions, out: impl AsFd) -> Result<String> {
    let chosen = options.session.as_deref().map(|id| {
        SessionId::checked(id).ok_or_else(|| {
            Error::new(format!("{} is not the id of a session", sanitize::marked(id)))
                .hint("`ccstatusd sessions --json` lists the ids of all sessions")
        })
    });
    let chosen = chosen.transpose()?;
    let entered = env.state_dir().map_err(io::Error::other).and_then(|dir| ipc::enter(&dir));
    let read = |session: Option<&SessionId>| {
        snapshot::read_part(Path::new(SNAPSHOT), session, None).map_err(show::source)
    };
    let (snapshot, session, watcher) = match entered {
        Ok(()) => {
            // Which session was active last stands in the part that every line is drawn from.
            let latest = || read(None).ok()?.latest;
            let session = chosen.or_else(latest);
            (read(session.as_ref()), session, show::watcher(ipc::connect().map(drop)))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            (Err(Source::Missing), chosen, Watcher::Gone)
        }
        Err(_) => (Err(Source::Unreadable), chosen, Watcher::Unknown),
    };
    let kept = snapshot.as_ref().ok().zip(session.as_ref());
    let kept = kept.and_then(|(snapshot, session)| snapshot.sessions.get(session));
    let home = Home::find(env);
    let display = snapshot.as_ref().ok().map(|it| &it.display);
    let zone = display.and_then(show::zone);
    let view = View {
        source: snapshot.as_ref().map_or_else(|&source| source, Source::Snapshot),
        watcher,
        client: &ClientFacts::default(),
        session: session.as_ref(),
        around: &Around::Unknown,
        now_ms: Now::read().wall_ms,
        home: kept.and_then(|it| home.found_above(it.cwd.as_deref()?)),
        drawn_at: None,
        clock: display.and_then(|it| show::clock(it, Now::read())),
        zone: zone.as_ref(),
    };
    let size = terminal::size(out);
    let format = options.format.unwrap_or(match size {
        Some(_) => LineFormat::Ansi,
        None => LineFormat::Plain,
    });
    let style = style(env, format, options.columns, size, display);
    let text = |markup| display::marked_up(&view, &style, markup);
    let line = match format {
        LineFormat::Ansi | LineFormat::Fish => display::line(&view, &style),
        LineFormat::Plain => text(Markup::Plain),
        LineFormat::Tmux => text(Markup::Tmux),
        LineFormat::Zsh => text(Markup::Zsh),
        LineFormat::Polybar => text(Markup::Polybar),
        LineFormat::Waybar | LineFormat::I3blocks | LineFormat::Json => {
            let facts = Facts {
                text: text(Markup::Plain),
                session: session.as_ref(),
                kept,
                snapshot: snapshot.as_ref().ok(),
                watcher,
                now_ms: view.now_ms,
            };
            facts.json(format)?
        }
    };
    Ok(line + "\n")
}

/// What the line is fitted to.
fn style(
    env: &Environment,
    format: LineFormat,
    columns: Option<u16>,
    size: Option<(usize, usize)>,
    display: Option<&Display>,
) -> Style {
    let terminal = terminal::style(env);
    let depth = match format {
        LineFormat::Ansi | LineFormat::Zsh | LineFormat::Fish => terminal.depth,
        // These programs know what their screens can show, and take the nearest colour.
        LineFormat::Tmux | LineFormat::Polybar if env.get("NO_COLOR").is_none() => Depth::True,
        _ => Depth::None,
    };
    let has_links = format == LineFormat::Ansi && size.is_some() && terminal.has_links;
    let stated = terminal.columns.or(size.map(|(columns, _)| columns));
    let stated = stated.and_then(|it| u16::try_from(it).ok());
    match columns.or(stated) {
        Some(columns) => Style::fitted(&Fit { columns, depth, has_links }),
        None => {
            let lines = display::lines_style(display.unwrap_or(&Display::default()));
            Style { depth, has_links, ..lines }
        }
    }
}

/// What a bar is told in JSON.
struct Facts<'a> {
    /// The line, without markup.
    text: String,
    session: Option<&'a SessionId>,
    /// What the snapshot has of the session.
    kept: Option<&'a Session>,
    snapshot: Option<&'a Snapshot>,
    watcher: Watcher,
    now_ms: i64,
}

#[derive(Serialize)]
struct Waybar<'a> {
    text: String,
    tooltip: String,
    /// For `format-icons`.
    alt: &'a str,
    class: Vec<&'a str>,
    percentage: Option<u8>,
}

#[derive(Serialize)]
struct I3blocks {
    full_text: String,
    short_text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<String>,
    markup: &'static str,
}

#[derive(Serialize)]
struct Everything<'a> {
    version: u32,
    text: &'a str,
    session: Option<&'a SessionId>,
    status: Option<&'static str>,
    classes: Vec<&'a str>,
    color: Option<String>,
    tooltip: String,
    waiting: &'a [Waiting],
    waiting_more: u64,
    watcher: Option<bool>,
}

impl Facts<'_> {
    fn json(&self, format: LineFormat) -> Result<String> {
        let json = match format {
            LineFormat::Waybar => serde_json::to_string(&Waybar {
                text: markup::pango(&self.text),
                tooltip: markup::pango(&self.tooltip()),
                alt: self.status().unwrap_or("unknown"),
                class: self.classes(),
                percentage: self.percentage(),
            }),
            LineFormat::I3blocks => serde_json::to_string(&I3blocks {
                full_text: markup::pango(&self.text),
                short_text: markup::pango(&self.short()),
                color: self.color(),
                markup: "pango",
            }),
            _ => serde_json::to_string(&Everything {
                version: VERSION,
                text: &self.text,
                session: self.session,
                status: self.status(),
                classes: self.classes(),
                color: self.color(),
                tooltip: self.tooltip(),
                waiting: self.snapshot.map(|it| it.waiting.as_slice()).unwrap_or_default(),
                waiting_more: self.snapshot.map_or(0, |it| it.waiting_more),
                watcher: self.watcher.is_known_to_run(),
            }),
        };
        let json = json.map_err(|it| Error::new("cannot write the line as JSON").because(it))?;
        Ok(sanitize::json(&json))
    }

    /// What the session does; `None` if that is not known.
    fn status(&self) -> Option<&'static str> {
        let activity = Activity::of(self.kept?);
        (activity != Activity::Unknown).then(|| activity.word())
    }

    fn health(&self) -> HealthStatus {
        self.kept.map_or(HealthStatus::Good, |it| it.health.status)
    }

    fn has_waiting(&self) -> bool {
        self.snapshot.is_some_and(|it| !it.waiting.is_empty())
    }

    /// What a bar can choose a style by, the least urgent first.
    fn classes(&self) -> Vec<&'static str> {
        let health = match self.health() {
            HealthStatus::Good => None,
            HealthStatus::Warning => Some("warning"),
            HealthStatus::Critical => Some("critical"),
        };
        let waiting = self.has_waiting().then_some("some-waiting");
        let no_watcher = (self.watcher == Watcher::Gone).then_some("no-watcher");
        [self.status(), waiting, health, no_watcher].into_iter().flatten().collect()
    }

    /// The user's colour for an alarm or a warning, if there is a reason for one.
    fn color(&self) -> Option<String> {
        let paint = match self.health() {
            HealthStatus::Critical => Paint::Alarm,
            HealthStatus::Warning => Paint::Warning,
            HealthStatus::Good if self.has_waiting() => Paint::Warning,
            HealthStatus::Good => return None,
        };
        let style = Style { columns: None, depth: Depth::True, has_links: false };
        let Ink { fg, .. } = Look::of(&self.snapshot?.display.theme, &style, None).ink(paint);
        fg.map(markup::hex)
    }

    /// How full the context of the session is.
    fn percentage(&self) -> Option<u8> {
        let share = self.kept?.context.as_ref()?.used_percentage?;
        Some(share.clamp(0.0, 100.0).round() as u8)
    }

    /// Which sessions wait, and for what: a line for each.
    fn tooltip(&self) -> String {
        let Some(snapshot) = self.snapshot else { return self.text.clone() };
        if snapshot.waiting.is_empty() {
            return "no session waits for you".to_owned();
        }
        let mut lines: Vec<_> = snapshot.waiting.iter().map(|it| self.waits(it)).collect();
        if snapshot.waiting_more > 0 {
            lines.push(format!("+{} more", snapshot.waiting_more));
        }
        lines.join("\n")
    }

    fn waits(&self, waiting: &Waiting) -> String {
        let mut line = format!("{} waits", waiting.name);
        if let Some(what) = &waiting.waiting_for {
            line += &format!(": {what}");
        }
        if let Some(since_ms) = waiting.since_ms {
            line += &format!(" ({})", age(self.now_ms.saturating_sub(since_ms).max(0)));
        }
        text::Text::of(Paint::Plain, &line).pieces().map(|(_, piece, _)| piece).collect()
    }

    /// The line in a few words.
    fn short(&self) -> String {
        let n_waiting = self.snapshot.map_or(0, |it| it.waiting.len() as u64 + it.waiting_more);
        match (n_waiting, self.status()) {
            (1.., _) => format!("{n_waiting} waiting"),
            (0, Some(status)) => status.to_owned(),
            (0, None) => "?".to_owned(),
        }
    }
}
