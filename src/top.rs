//! `ccstatusd top`: all sessions and accounts on the whole screen, for as long as the user looks.
//!
//! It sleeps until the snapshot changes, a key is pressed, the terminal has another size, or an
//! age on the screen becomes another one: once a second while one is in seconds, else once a
//! minute. The record of usage is read in a thread of its own, and only after the snapshot changed
//! or an hour ended.
//!
//! **Invariant:** however it ends, except by SIGKILL, the terminal is as it was before.
//!
//! The modules in `top/`, which are PURE, decide what is drawn.

mod backend;
mod bars;
mod draw;
mod keys;
mod panels;
mod state;
mod usage;

use std::convert::Infallible;
use std::io::{self, IsTerminal, Read, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select_biased, unbounded};
use jiff::tz::TimeZone;
use ratatui_core::layout::Size;
use ratatui_core::terminal::Terminal;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};

use crate::cli::Environment;
use crate::config::Config;
use crate::display::ansi;
use crate::display::look::Look;
use crate::display::view::{Style, Watcher};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::placed_list;
use crate::published::{self, Change, Observer};
use crate::sanitize;
use crate::store::record;
use crate::store::schema::Snapshot;
use crate::store::schema::display::Depth;
use crate::terminal;
use crate::time::Now;
use crate::tmux;
use backend::Output;
use draw::Drawn;
use keys::Decoder;
use panels::Facts;
use state::{Action, State};
use usage::{Bounds, Usage};

/// How soon the screen is drawn again where only ages can differ: while one is in seconds, and
/// else.
const TICK: Duration = Duration::from_secs(1);
const SLOW_TICK: Duration = Duration::from_secs(60);
/// An escape is a key by itself if nothing follows it within this time.
const ESCAPE_WAIT: Duration = Duration::from_millis(50);
/// The record is read at most this often, and for at most one `RECORD_SHARE`th of the time.
const RECORD_EVERY: Duration = Duration::from_secs(5);
const RECORD_SHARE: u32 = 50;

/// Shows the screen until the user quits, or a signal ends it.
///
/// Changes the working directory to the state directory.
pub fn run(env: &Environment) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::new("cannot show a screen: this is no terminal")
            .hint("`ccstatusd sessions` prints the list anywhere"));
    }
    let dir = published::enter(env)?;
    let mode = Arc::new(Mode::of_terminal()?);
    let at_last = Arc::clone(&mode);
    let signals = published::signals(move || at_last.reset())?;
    let (sender, changes) = unbounded();
    let observer = Observer::start(&dir, sender)?;
    let record = Record::start(env)?;
    let keys = keys()?;
    let screen = Screen::enter(env, mode)?;
    let mut top = Top {
        observer,
        env: env.clone(),
        home: Home::find(env),
        zone: TimeZone::system(),
        state: State::new(tmux::is_here(env)),
        snapshot: Err(String::new()),
        has_no_watcher: false,
        usage: None,
        record,
        drawn: Drawn::default(),
        screen,
    };
    top.read_snapshot();
    top.go_on(&signals, &changes, &keys)
}

/// The screen, and all that is shown on it.
struct Top {
    observer: Observer,
    env: Environment,
    home: Home,
    zone: TimeZone,
    state: State,
    /// The error is a text for the user.
    snapshot: std::result::Result<Box<Snapshot>, String>,
    has_no_watcher: bool,
    usage: Option<Usage>,
    record: Record,
    drawn: Drawn,
    screen: Screen,
}

impl Top {
    fn go_on(
        &mut self,
        signals: &Receiver<i32>,
        changes: &Receiver<Change>,
        keys: &Receiver<Vec<u8>>,
    ) -> Result<()> {
        let mut decoder = Decoder::default();
        let mut escape_ends = None;
        let results = self.record.results.clone();
        loop {
            let now = Now::read();
            if let Err(err) = self.draw(now.wall_ms) {
                return match err.kind() {
                    // The terminal is gone.
                    io::ErrorKind::BrokenPipe => Ok(()),
                    _ if err.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => Ok(()),
                    _ => Err(Error::new("cannot write to the terminal").because(err)),
                };
            }
            if self.usage.as_ref().is_some_and(|it| it.until_ms <= now.wall_ms) {
                self.record.want();
            }
            let tick = if self.drawn.has_seconds { TICK } else { SLOW_TICK };
            let tick = at(now.mono + tick);
            let record_due = self.record.due().map_or_else(never, at);
            let escape_end = escape_ends.map_or_else(never, at);
            select_biased! {
                recv(signals) -> signal => match signal {
                    Ok(SIGWINCH) => {}
                    Ok(SIGCONT) => self.screen.enter_again()?,
                    Ok(SIGTSTP) => {
                        self.screen.leave();
                        published::stop();
                        // No SIGCONT comes if it could not be stopped.
                        self.screen.enter_again()?;
                    }
                    _ => return Ok(()),
                },
                recv(keys) -> bytes => {
                    // The terminal is gone.
                    let Ok(bytes) = bytes else { return Ok(()) };
                    for key in decoder.feed(&bytes) {
                        if self.press(key) == Action::Quit {
                            return Ok(());
                        }
                    }
                    escape_ends =
                        decoder.is_waiting().then(|| Now::read().mono + ESCAPE_WAIT);
                }
                recv(escape_end) -> _ => {
                    escape_ends = None;
                    if let Some(key) = decoder.give_up() {
                        self.press(key);
                    }
                }
                recv(changes) -> change => {
                    self.observer.follow(change, changes)?;
                    self.read_snapshot();
                }
                recv(results) -> usage => {
                    let ended = |_| Error::new("the thread that reads the record has ended");
                    let usage = usage.map_err(ended)?;
                    self.usage = usage.or(self.usage.take());
                    self.record.ended(Now::read().mono);
                }
                recv(record_due) -> _ => self.record.begin(Now::read().mono),
                recv(tick) -> _ => {}
            }
        }
    }

    fn press(&mut self, key: keys::Key) -> Action {
        let n_visible = self.drawn.n_visible;
        let action = match &self.snapshot {
            Ok(snapshot) => {
                let rows = self.state.rows(snapshot);
                self.state.press(key, &rows, n_visible)
            }
            Err(_) => self.state.press(key, &[], n_visible),
        };
        match action {
            Action::DrawAll => self.screen.forget(),
            Action::ShowPane => self.show_pane(),
            Action::Nothing | Action::Draw | Action::Quit => {}
        }
        action
    }

    fn show_pane(&mut self) {
        let Ok(snapshot) = &self.snapshot else { return };
        let rows = self.state.rows(snapshot);
        let chosen = self.state.find(&rows).and_then(|place| rows.get(place));
        let process = chosen.and_then(|row| row.session.pid.filter(|_| row.session.live));
        let shown = match process {
            Some(process) => tmux::go_to(process, &self.env),
            None => Err(Error::new("no process of this session is known")),
        };
        self.state.notice = shown.err().map(|it| sanitize::message(&it.to_string()));
    }

    fn read_snapshot(&mut self) {
        match self.observer.read() {
            Ok(snapshot) => {
                self.snapshot = Ok(Box::new(snapshot));
                self.record.want();
            }
            Err(why) => self.snapshot = Err(self.observer.message(why)),
        }
        self.has_no_watcher = self.observer.watcher() == Watcher::Gone;
    }

    fn draw(&mut self, now_ms: i64) -> io::Result<()> {
        let Top { screen, state, snapshot, usage, zone, home, .. } = self;
        if !screen.is_entered() {
            return Ok(());
        }
        let mut drawn = Drawn::default();
        let style = screen.style();
        let depth = match snapshot {
            Ok(snapshot) => Look::of(&snapshot.display.theme, &style, None).depth,
            Err(_) => Depth::None,
        };
        screen.draw(depth, |frame| match snapshot {
            Ok(snapshot) => {
                let facts = Facts {
                    snapshot,
                    has_no_watcher: self.has_no_watcher,
                    now_ms,
                    home: snapshot.roots.keys().find_map(|it| home.above(&it.0)),
                    zone,
                    usage: usage.as_ref(),
                };
                drawn = draw::draw(frame, state, facts, &style);
            }
            Err(why) => draw::draw_message(frame, why),
        })?;
        self.drawn = drawn;
        Ok(())
    }
}

/// The thread that reads the record of usage, and when it is to do so again.
struct Record {
    requests: Sender<()>,
    results: Receiver<Option<Usage>>,
    /// Whether there may be something new in the record.
    is_wanted: bool,
    /// When the read began that is under way.
    begun: Option<Instant>,
    not_before: Instant,
}

impl Record {
    fn start(env: &Environment) -> Result<Record> {
        let (requests, requested) = bounded::<()>(1);
        let (sender, results) = bounded(1);
        let env = env.clone();
        let zone = TimeZone::system();
        let run = move || {
            for () in requested {
                if sender.send(read_record(&env, &zone)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("record".to_owned())
            .spawn(run)
            .map_err(|err| Error::new("cannot start a thread").because(err))?;
        Ok(Record {
            requests,
            results,
            is_wanted: false,
            begun: None,
            not_before: Now::read().mono,
        })
    }

    fn want(&mut self) {
        self.is_wanted = true;
    }

    /// When to begin to read. `None` while nothing is new, or while it reads.
    fn due(&self) -> Option<Instant> {
        (self.is_wanted && self.begun.is_none()).then_some(self.not_before)
    }

    fn begin(&mut self, now: Instant) {
        self.is_wanted = false;
        self.begun = Some(now);
        self.requests.try_send(()).ok();
    }

    fn ended(&mut self, now: Instant) {
        if let Some(begun) = self.begun.take() {
            self.not_before = now + RECORD_EVERY.max((now - begun) * RECORD_SHARE);
        }
    }
}

/// `None` where nothing can be said.
fn read_record(env: &Environment, zone: &TimeZone) -> Option<Usage> {
    let bounds = Bounds::at(Now::read().wall_ms, zone)?;
    // `ccstatusd config --check` and the watcher report what is wrong with the configuration.
    let config = Config::load(env.config_file().as_deref()).unwrap_or_default();
    let prices = config.prices(placed_list::load(env).ok()?.prices);
    let history = record::read(&env.data_dir().ok()?, bounds.span());
    Some(Usage::of(&history, &prices, &bounds))
}

/// Receives what the terminal sends, from a thread of its own. It ends with the terminal.
fn keys() -> Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = bounded(8);
    let run = move || {
        let mut buffer = [0; 256];
        loop {
            match io::stdin().read(&mut buffer) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(n_bytes) => {
                    if sender.send(buffer[..n_bytes].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(run)
        .map_err(|err| Error::new("cannot start a thread").because(err))?;
    Ok(receiver)
}

/// The terminal's other screen, on which we draw.
struct Screen {
    mode: Arc<Mode>,
    env: Environment,
    terminal: Terminal<Output>,
}

/// The terminal's mode before, and whether ours is in force. The hook for panics shares it.
struct Mode {
    before: Termios,
    is_entered: AtomicBool,
}

impl Mode {
    fn of_terminal() -> Result<Mode> {
        let before = tcgetattr(io::stdin()).map_err(|err| {
            Error::new("cannot set up the terminal").because(io::Error::from(err))
        })?;
        Ok(Mode { before, is_entered: AtomicBool::new(false) })
    }

    fn enter(&self) -> io::Result<()> {
        let mut ours = self.before.clone();
        // Keys come one by one and unseen. Ctrl-C, Ctrl-\ and Ctrl-Z stay signals, and Ctrl-S does
        // not stop the output.
        ours.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
        ours.input_modes -= InputModes::IXON | InputModes::ICRNL;
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        self.is_entered.store(true, Ordering::Release);
        send(ansi::ENTER_SCREEN)
    }

    fn leave(&self) {
        if self.is_entered.swap(false, Ordering::AcqRel) {
            send(ansi::LEAVE_SCREEN).ok();
            self.reset();
        }
    }

    /// Lets the terminal handle keys as before. Unlike all that is sent, this never waits.
    fn reset(&self) {
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

fn send(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

impl Screen {
    fn enter(env: &Environment, mode: Arc<Mode>) -> Result<Screen> {
        let failed = |err: io::Error| Error::new("cannot set up the terminal").because(err);
        let in_hook = Arc::clone(&mode);
        let before = panic::take_hook();
        // Its message would vanish with the screen.
        panic::set_hook(Box::new(move |info| {
            in_hook.leave();
            before(info);
        }));
        mode.enter().map_err(failed)?;
        let output = Output::new(size(), terminal::style(env).depth);
        let terminal = Terminal::new(output).unwrap_or_else(|never| match never {});
        Ok(Screen { mode, env: env.clone(), terminal })
    }

    fn enter_again(&mut self) -> Result<()> {
        let failed = |err: io::Error| Error::new("cannot set up the terminal").because(err);
        self.mode.enter().map_err(failed)?;
        self.forget();
        Ok(())
    }

    fn is_entered(&self) -> bool {
        self.mode.is_entered.load(Ordering::Acquire)
    }

    fn leave(&self) {
        self.mode.leave();
    }

    fn style(&self) -> Style {
        let style = terminal::style(&self.env);
        Style { columns: None, has_links: false, ..style }
    }

    /// Lets everything be drawn again: something else may have written to the terminal.
    fn forget(&mut self) {
        self.terminal.clear().unwrap_or_else(|never: Infallible| match never {});
    }

    /// Draws with so many colours, and sends what has changed.
    fn draw(
        &mut self,
        depth: Depth,
        draw: impl FnOnce(&mut ratatui_core::terminal::Frame<'_>),
    ) -> io::Result<()> {
        if depth != self.terminal.backend().depth {
            self.terminal.backend_mut().depth = depth;
            self.forget();
        }
        self.terminal.backend_mut().size = size();
        self.terminal.draw(draw).unwrap_or_else(|never| match never {});
        match self.terminal.backend_mut().take() {
            Some(changes) => send(&changes),
            None => Ok(()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The size of the terminal; where it does not state one, the usual size.
fn size() -> Size {
    let (columns, rows) = terminal::size(io::stdout()).unwrap_or((80, 24));
    backend::bounded(columns, rows)
}
