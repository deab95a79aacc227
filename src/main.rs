//! Parses the command line, runs what it asks for, prints the result and sets the exit code. No
//! other module prints, except for the log.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ccstatusd::cli::usage::{Transfer, UsageOptions};
use ccstatusd::cli::{Cli, Environment, InitOptions, Subcommand, UninstallOptions};
use ccstatusd::config::{self, Config};
use ccstatusd::daemon::{self, Rival};
use ccstatusd::error::{Error, Exit, Result};
use ccstatusd::fetch::guard;
use ccstatusd::home::{self, Home};
use ccstatusd::store::schema::display::Depth;
use ccstatusd::store::schema::{ClientFacts, Import, SessionId, Snapshot};
use ccstatusd::time::Now;
use ccstatusd::{
    alert_list, background, display, doctor, line, log, metrics, oneshot, placed_list, price_list,
    report, sanitize, sentinel, sessions, setup, show, terminal, top, transfer,
};

/// One allocator for both C libraries. musl's own maps and unmaps single pages, which takes a sixth
/// of the time of `show` and a third of that of a cold scan. glibc's keeps a heap for each thread:
/// after a gigabyte of transcripts was read, the watcher kept 43 MB instead of 24 MB.
///
/// See docs/decisions/022-the-packaged-binary-is-static.md.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|it| it == guard::SUBCOMMAND) {
        return guard::main(args);
    }
    if first.is_some_and(|it| it == sentinel::SUBCOMMAND) {
        let exit =
            sentinel::main(args).map_or_else(|err| complain(&err, false), |()| Exit::Success);
        return ExitCode::from(exit as u8);
    }
    let env = Environment::read();
    let cli = Cli::read();
    let exit = run(&cli, &env)
        .unwrap_or_else(|err| complain(&err, cli.subcommand.is_none() && log::is_journal(&env)));
    ExitCode::from(exit as u8)
}

/// Says what went wrong, to standard error, which may be the journal. Returns the exit code.
fn complain(err: &Error, is_journal: bool) -> Exit {
    let text = sanitize::message(&format!("ccstatusd: {err}\n"));
    write(io::stderr(), &if is_journal { log::journal_error(&text) } else { text }).ok();
    err.exit
}

fn run(cli: &Cli, env: &Environment) -> Result<Exit> {
    // A display reads only the state directory, whose owner it checks, and always prints a line.
    let is_display = matches!(
        cli.subcommand,
        Some(Subcommand::Show { preview: false } | Subcommand::Subagents | Subcommand::Line(_))
    );
    if !is_display {
        home::check(env)?;
    }
    match &cli.subcommand {
        Some(Subcommand::Show { preview: true }) => {
            let config = Config::load(env.config_file().as_deref())?;
            let style = terminal::style(env);
            let now_ms = Now::read().wall_ms;
            print(&display::preview::preview(&config.display, now_ms, &style))
        }
        Some(Subcommand::Show { preview: false }) => {
            let line = show::run(io::stdin(), env, Now::read);
            // Claude Code would show one more row for the newline; a prompt in a terminal needs it.
            let end = if io::stdout().is_terminal() { "\n" } else { "" };
            // Errors are ignored: Claude Code hides the line of a status command that fails.
            write(io::stdout(), &(line + end)).ok();
            Ok(Exit::Success)
        }
        Some(Subcommand::Subagents) => {
            write(io::stdout(), &show::subagents(io::stdin(), env, Now::read)).ok();
            Ok(Exit::Success)
        }
        Some(Subcommand::Sessions(options)) if options.watch => {
            sessions::watch(env, options, &mut io::stdout().lock()).map(|()| Exit::Success)
        }
        Some(Subcommand::Sessions(options)) => print(&sessions::list(env, options, io::stdout())?),
        Some(Subcommand::Top) => top::run(env).map(|()| Exit::Success),
        Some(Subcommand::Line(options)) => print(&line::run(env, options, io::stdout())?),
        Some(Subcommand::Config { check }) => {
            let path = env.config_file();
            let config = Config::load(path.as_deref())?;
            let text = match (check, path) {
                (false, path) => config::describe::describe(&config, path.as_deref()),
                (true, Some(path)) if path.exists() => format!("{} is valid\n", path.display()),
                (true, Some(path)) => {
                    format!("there is no {}: every setting has its default\n", path.display())
                }
                (true, None) => "HOME is not set, so there is no configuration file: every \
                                 setting has its default\n"
                    .to_owned(),
            };
            print(&text)
        }
        Some(Subcommand::Usage(options)) => usage(options, env),
        Some(Subcommand::Alerts { test: None }) => print(&alert_list::list(env)?),
        Some(Subcommand::Alerts { test: Some(name) }) => {
            let (text, exit) = alert_list::test(env, name)?;
            print(&text).map(|_| exit)
        }
        Some(Subcommand::Metrics) => {
            let mut log = log::start(log::To::StandardError, "warn")?;
            let text = metrics::run(env);
            log.flush().ok();
            print(&text?)
        }
        Some(Subcommand::Prices { update: Some(file), .. }) => {
            print(&(placed_list::update(env, file)? + "\n"))
        }
        Some(Subcommand::Prices { model, update: None }) => {
            let config = Config::load(env.config_file().as_deref())?;
            let list = placed_list::load(env)?;
            let today = Now::read().day_in_utc();
            print(&price_list::describe(&config, &list, model.as_deref(), today)?)
        }
        Some(Subcommand::Init(options)) => init(options, env),
        Some(Subcommand::Uninstall(options)) => uninstall(options, env),
        Some(Subcommand::Start) => print(&(background::start(env)? + "\n")),
        Some(Subcommand::Stop) => print(&(background::stop(env)? + "\n")),
        Some(Subcommand::Doctor { json, fix }) => {
            let found = doctor::run(env, *fix)?;
            let depth = match io::stdout().is_terminal() {
                true => terminal::style(env).depth,
                false => Depth::None,
            };
            print(&if *json { doctor::json(&found)? } else { doctor::text(&found, depth) })?;
            let has_problem = found.iter().any(doctor::Finding::is_open_problem);
            Ok(if has_problem { Exit::Degraded } else { Exit::Success })
        }
        None if cli.oneshot => {
            survive_the_file_size_limit();
            let level = env.text("CCSTATUSD_LOG").unwrap_or("warn");
            let mut log = log::start(log::To::StandardError, level)?;
            let res = oneshot::run(env);
            log.flush().ok();
            let snapshot = res?;
            print(&oneshot_output(&snapshot, cli.json, env)?)?;
            Ok(if snapshot.degraded.is_empty() { Exit::Success } else { Exit::Degraded })
        }
        None => {
            survive_the_file_size_limit();
            if cli.detach {
                // It fails for the leader of a process group, which has no terminal to leave.
                nix::unistd::setsid().ok();
            }
            let level = env.text("CCSTATUSD_LOG").unwrap_or("info");
            let to = match &cli.log_file {
                Some(path) => log::To::File(path),
                None if log::is_journal(env) => log::To::Journal,
                None => log::To::StandardError,
            };
            let mut log = log::start(to, level)?;
            let res = watch(cli, env);
            log.flush().ok();
            res.map(|()| Exit::Success)
        }
    }
}

/// Prints a report. Without a watcher it may take a while to bring the record up to date, and a
/// user at a terminal sees that.
fn usage(options: &UsageOptions, env: &Environment) -> Result<Exit> {
    survive_the_file_size_limit();
    let mut log = log::start(log::To::StandardError, env.text("CCSTATUSD_LOG").unwrap_or("warn"))?;
    let is_seen = io::stderr().is_terminal();
    let mut n_shown = 0;
    let mut show = |progress: oneshot::Progress| {
        let seconds = progress.elapsed.as_secs();
        if is_seen && seconds > n_shown {
            n_shown = seconds;
            let megabytes = |n_bytes: u64| n_bytes / 1_000_000;
            let share = match progress.import {
                Some(Import { bytes_done, bytes, .. }) => {
                    format!(", {} of {} MB", megabytes(bytes_done), megabytes(bytes))
                }
                None => String::new(),
            };
            let line = format!("\r\x1b[Kreading transcripts, {seconds} s{share}");
            write(io::stderr(), &line).ok();
        }
    };
    let paper = terminal::paper(env, &io::stdout());
    let mut exit = Exit::Success;
    let made = match &options.transfer {
        None => report::run(options, env, paper, &mut show),
        Some(Transfer::Export { file }) => {
            transfer::export(file.as_deref(), env, &mut show).map(|done| {
                if !done.lacking.is_empty() {
                    exit = Exit::Degraded;
                }
                let text = String::from_utf8_lossy(&done.bytes).into_owned();
                report::Output { text, warnings: done.lacking }
            })
        }
        Some(Transfer::Import { files, root }) => transfer::import(files, root.as_deref(), env)
            .map(|n_files| report::Output {
                text: format!(
                    "brought in {n_files} {}\n",
                    if n_files == 1 { "export" } else { "exports" }
                ),
                warnings: Vec::new(),
            }),
    };
    if n_shown > 0 {
        write(io::stderr(), "\r\x1b[K").ok();
    }
    log.flush().ok();
    let report = made?;
    for warning in &report.warnings {
        write(io::stderr(), &sanitize::message(&format!("ccstatusd: warning: {warning}\n"))).ok();
    }
    print(&report.text).map(|_| exit)
}

fn init(options: &InitOptions, env: &Environment) -> Result<Exit> {
    let mut plan = setup::init::Plan::make(env, options)?;
    print(&plan.describe(env))?;
    if options.dry_run {
        return Ok(exit_of(plan.has_problems()));
    }
    if !plan.is_empty() {
        if !options.yes && !agrees("Change it?")? {
            return print("Nothing was changed.\n");
        }
        let question = "Services end when you log out, though this session may go on. Let \
                        yours outlive your logins (loginctl enable-linger)?";
        if plan.offers_lingering && !options.yes && agrees(question)? {
            plan.add_lingering();
        } else if plan.offers_lingering {
            print(
                "Services end when you log out, though this session may go on: `ccstatusd init \
                 --linger` lets yours outlive your logins.\n",
            )?;
        }
    }
    let done = plan.carry_out(env)?;
    print(&format!("{}\n", done.text))?;
    let mut log = log::start(log::To::StandardError, "warn")?;
    let snapshot = oneshot::run(env);
    log.flush().ok();
    print(&oneshot_output(&snapshot?, false, env)?)?;
    Ok(exit_of(done.has_failed))
}

fn uninstall(options: &UninstallOptions, env: &Environment) -> Result<Exit> {
    let plan = setup::uninstall::Plan::make(env, options)?;
    print(&plan.describe(env))?;
    if options.dry_run || plan.is_empty() {
        return Ok(exit_of(plan.has_problems()));
    }
    if !options.yes && !agrees("Change it?")? {
        return print("Nothing was changed.\n");
    }
    let done = plan.carry_out(env)?;
    print(&done.text)?;
    Ok(exit_of(done.has_failed))
}

fn exit_of(has_failed: bool) -> Exit {
    if has_failed { Exit::Failure } else { Exit::Success }
}

/// Asks the user, at the terminal. Anything but yes is no.
fn agrees(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        let what = "cannot ask: standard input is no terminal, and nothing was changed";
        return Err(Error::new(what).hint("give --yes to change it without a question"));
    }
    print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|err| Error::new("cannot read the answer").because(err))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Lets a write beyond the limit on the size of files (`ulimit -f`) fail like any other write,
/// where the signal for it would end the process.
fn survive_the_file_size_limit() {
    let is_received = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, is_received).ok();
}

fn watch(cli: &Cli, env: &Environment) -> Result<()> {
    let rival = if cli.wait { Rival::Await } else { Rival::Refuse };
    if !cli.print {
        return daemon::run(env, rival, |_, _| {});
    }
    tracing::info!("printing lines as they change; the first comes with a live session");
    let is_coloured = terminal::style(env).depth > Depth::None && io::stdout().is_terminal();
    let mut writer = log::BackgroundWriter::start(io::stdout())
        .map_err(|err| Error::new("cannot start the thread for --print").because(err))?;
    daemon::run(env, rival, |id, line| {
        let line = if is_coloured { line.to_owned() } else { display::ansi::without_colour(line) };
        writer.write_all(format!("{:.8}  {line}\n", id.0).as_bytes()).ok();
    })
}

/// What `--oneshot` prints: the snapshot as JSON, or one line. The line is that of the session in
/// which the program was called, or of the session that was active last.
fn oneshot_output(snapshot: &Snapshot, json: bool, env: &Environment) -> Result<String> {
    if json {
        let text = serde_json::to_string(snapshot)
            .map_err(|err| Error::new("cannot write the snapshot as JSON").because(err))?;
        return Ok(sanitize::json(&text) + "\n");
    }
    let own = env.text("CLAUDE_CODE_SESSION_ID").and_then(SessionId::checked);
    let own = own.filter(|it| snapshot.sessions.contains_key(it));
    let session = own.as_ref().or(snapshot.latest.as_ref());
    if session.is_none() {
        return Ok("no Claude Code session was active in the last day\n".to_owned());
    }
    let cwd = session.and_then(|it| snapshot.sessions.get(it)?.cwd.as_deref());
    let home = Home::find(env);
    let zone = show::zone(&snapshot.display);
    let view = display::view::View {
        source: display::view::Source::Snapshot(snapshot),
        watcher: display::view::Watcher::Unknown,
        client: &ClientFacts::default(),
        session,
        around: &display::view::Around::Unknown,
        now_ms: Now::read().wall_ms,
        home: cwd.and_then(|it| home.found_above(it)),
        drawn_at: None,
        clock: show::clock(&snapshot.display, Now::read()),
        zone: zone.as_ref(),
    };
    let mut style = terminal::style(env);
    if !io::stdout().is_terminal() {
        style.depth = Depth::None;
    }
    Ok(display::line(&view, &style) + "\n")
}

/// Prints the output of a subcommand.
fn print(text: &str) -> Result<Exit> {
    match write(io::stdout(), text) {
        // A reader such as `head` may close the pipe early, which is no error.
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new("cannot write to standard output").because(err))
        }
        _ => Ok(Exit::Success),
    }
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush())
}
