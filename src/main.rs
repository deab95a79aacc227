//! Parses, runs, and turns the result into an exit code. Nothing else prints.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use ccstatusd::cli::{Cli, Command, Environment};
use ccstatusd::config::{self, Config};
use ccstatusd::error::{Error, Exit, Result};
use ccstatusd::fetch::guard;
use ccstatusd::store::schema::display::Depth;
use ccstatusd::store::schema::{ClientFacts, SessionId, Snapshot};
use ccstatusd::time::Now;
use ccstatusd::{daemon, display, log, oneshot, price_list, sanitize, show};

/// musl's own maps and unmaps memory a page at a time: a sixth of a `show`, a third of a cold scan.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|it| it == guard::SUBCOMMAND) {
        return guard::main(args);
    }
    let env = Environment::read();
    let exit = run(&Cli::read(), &env).unwrap_or_else(|err| {
        write(io::stderr(), &sanitize::message(&format!("ccstatusd: {err}\n"))).ok();
        err.exit
    });
    ExitCode::from(exit as u8)
}

fn run(cli: &Cli, env: &Environment) -> Result<Exit> {
    match &cli.command {
        Some(Command::Show { preview: true }) => {
            let config = Config::load(env.config_file().as_deref())?;
            let style = show::style(env);
            let now_ms = Now::read().wall_ms;
            print(&display::preview::preview(&config.display(), now_ms, &style))
        }
        Some(Command::Show { preview: false }) => {
            let line = show::run(io::stdin(), env, Now::read);
            // The client would take the newline for one more row; a person's prompt needs it.
            let end = if io::stdout().is_terminal() { "\n" } else { "" };
            // Whatever happens: a status line that fails is blanked.
            write(io::stdout(), &(line + end)).ok();
            Ok(Exit::Success)
        }
        Some(Command::Subagents) => {
            write(io::stdout(), &show::subagents(io::stdin(), env, Now::read)).ok();
            Ok(Exit::Success)
        }
        Some(Command::Config { check }) => {
            let path = env.config_file();
            let config = Config::load(path.as_deref())?;
            let text = match (check, path) {
                (false, path) => config::describe::describe(&config, path.as_deref()),
                (true, Some(it)) if it.exists() => format!("{} makes sense\n", it.display()),
                (true, _) => "there is no configuration: everything is as usual\n".to_owned(),
            };
            print(&text)
        }
        Some(Command::Prices { model }) => {
            let config = Config::load(env.config_file().as_deref())?;
            print(&price_list::describe(&config, model.as_deref())?)
        }
        None if cli.oneshot => {
            let mut log = log::start(None, env.text("CCSTATUSD_LOG").unwrap_or("warn"))?;
            let res = oneshot::run(env);
            log.flush().ok();
            let snapshot = res?;
            print(&answer(&snapshot, cli.json, env)?)?;
            Ok(if snapshot.degraded.is_empty() { Exit::Success } else { Exit::Degraded })
        }
        None => {
            let level = env.text("CCSTATUSD_LOG").unwrap_or("info");
            let mut log = log::start(cli.log_file.as_deref(), level)?;
            let res = watch(cli.print, env);
            log.flush().ok();
            res.map(|()| Exit::Success)
        }
    }
}

fn watch(print: bool, env: &Environment) -> Result<()> {
    if !print {
        return daemon::run(env, |_, _| {});
    }
    let colour = show::style(env).depth > Depth::None && io::stdout().is_terminal();
    let mut outlet = log::Outlet::start(io::stdout())
        .map_err(|it| Error::new("cannot print lines").because(it))?;
    daemon::run(env, |id, line| {
        let line = if colour { line.to_owned() } else { display::ansi::without_colour(line) };
        outlet.write_all(format!("{:.8}  {line}\n", id.0).as_bytes()).ok();
    })
}

/// What `--oneshot` prints: everything, or the line of the session that it is called from, or
/// else of the one that was active last.
fn answer(snapshot: &Snapshot, json: bool, env: &Environment) -> Result<String> {
    if json {
        let text = serde_json::to_string(snapshot)
            .map_err(|it| Error::new("cannot write the snapshot").because(it))?;
        return Ok(sanitize::json(&text) + "\n");
    }
    let own = env.text("CLAUDE_CODE_SESSION_ID").and_then(SessionId::checked);
    let own = own.filter(|it| snapshot.sessions.contains_key(it));
    let session = own.as_ref().or(snapshot.latest.as_ref());
    if session.is_none() {
        return Ok("no session of Claude Code's was active in the last day\n".to_owned());
    }
    let view = display::view::View {
        source: display::view::Source::Snapshot(snapshot),
        watcher: display::view::Watcher::Unknown,
        client: &ClientFacts::default(),
        session,
        now_ms: Now::read().wall_ms,
        home: env.text("HOME"),
        drawn_at: None,
        clock: show::clock(&snapshot.display, Now::read()),
    };
    let mut style = show::style(env);
    if !io::stdout().is_terminal() {
        style.depth = Depth::None;
    }
    Ok(display::line(&view, &style) + "\n")
}

/// Prints what was asked for.
fn print(text: &str) -> Result<Exit> {
    match write(io::stdout(), text) {
        // Whoever reads us may have seen enough.
        Err(it) if it.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new("cannot write to standard output").because(it))
        }
        _ => Ok(Exit::Success),
    }
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush())
}
