//! Man pages and completions, written from the definition of the command line. Packages contain
//! them; the program itself does not, so that it does not grow.

use std::io;
use std::path::Path;

use ccstatusd::cli::Cli;
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_complete_nushell::Nushell;
use clap_mangen::Man;

/// Writes `man/*.1` and `completions/*` into a directory. `date` is that of the release.
pub(crate) fn write(to: &Path, date: &str) -> io::Result<()> {
    let (man, completions) = (to.join("man"), to.join("completions"));
    fs_err::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command(), "ccstatusd", &completions)?;
    }
    generate_to(Nushell, &mut command(), "ccstatusd", &completions)?;

    fs_err::create_dir_all(&man)?;
    // The page of the subcommand `help` would only repeat the others.
    let mut command = command().disable_help_subcommand(true);
    command.build();
    for page in [&command].into_iter().chain(command.get_subcommands()) {
        let name = page.get_display_name().unwrap_or(page.get_name());
        let source = format!("ccstatusd {}", env!("CARGO_PKG_VERSION"));
        let man_page = Man::new(page.clone()).title(name).date(date).source(source);
        let mut text = Vec::new();
        man_page.manual("User Commands").render(&mut text)?;
        fs_err::write(man.join(format!("{name}.1")), text)?;
    }
    Ok(())
}

/// The command line without what is hidden, which the generators of completions would show.
fn command() -> Command {
    let full = Cli::command();
    let mut command = Command::new("ccstatusd").version(env!("CARGO_PKG_VERSION"));
    if let (Some(about), Some(long)) = (full.get_about(), full.get_long_about()) {
        command = command.about(about.clone()).long_about(long.clone());
    }
    if let Some(help) = full.get_after_long_help() {
        command = command.after_long_help(help.clone());
    }
    let args = full.get_arguments().filter(|it| !it.is_hide_set());
    let subcommands = full.get_subcommands().filter(|it| !it.is_hide_set());
    command.args(args.cloned()).subcommands(subcommands.cloned())
}
