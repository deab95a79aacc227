//! `ccstatusd init`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{self, File};
use super::record::{Kind, Record};
use super::settings::{self, Found, Line};
use super::{Done, TRIES, restless, shell, short, unit, watcher};
use crate::background;
use crate::cli::{Environment, InitOptions, Login};
use crate::config::Config;
use crate::display::segments;
use crate::engine;
use crate::error::{Error, Result};
use crate::fetch::exec::Invocation;
use crate::programs::Programs;
use crate::sanitize;
use crate::store::dir::StateDir;

/// The file in a config root.
pub(super) const SETTINGS: &str = "settings.json";
/// How long a status line may take that goes on as a command of ours; a command's own default.
const LINE_TIMEOUT: Duration = Duration::from_secs(2);

/// What `init` will do.
#[derive(Debug)]
pub struct Plan {
    login: Login,
    steps: Vec<Step>,
    /// What the user should know, and what stays as it is.
    notes: Vec<String>,
    /// What cannot be done.
    problems: Vec<String>,
    /// Whether some session will show our line.
    has_line: bool,
    /// Whether to ask if services of the user shall outlive logins.
    pub offers_lingering: bool,
}

#[derive(Debug)]
enum Step {
    Settings(Settings),
    /// Text that becomes a file, in place of what is there.
    Write {
        what: &'static str,
        file: File,
        text: String,
        kind: Kind,
    },
    /// Start the watcher as a service. `is_new`: its file changes.
    SwitchOn {
        is_new: bool,
    },
    /// Start the watcher in the background.
    Start,
    Linger,
}

/// What settings shall have.
#[derive(Clone, Debug)]
struct Wanted {
    /// The command of the status line.
    line: String,
    /// The hook that starts the watcher.
    hook: Option<String>,
    /// Whether a status line of another program gives way.
    replaces: bool,
}

/// The edit of one root's settings.
#[derive(Debug)]
struct Settings {
    file: File,
    found: Found,
    wanted: Wanted,
}

impl Plan {
    /// Finds out what is to be done. Changes nothing.
    pub fn make(env: &Environment, options: &InitOptions) -> Result<Plan> {
        let program = program(env)?;
        let config = Config::load(env.config_file().as_deref())?;
        let login = options.login.unwrap_or_else(|| unit::detect(env));
        let mut plan = Plan {
            login,
            steps: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
            has_line: false,
            offers_lingering: false,
        };
        if is_in_build_directory(Path::new(&program)) {
            plan.notes.push(format!(
                "{program} lies in a build directory, which `cargo clean` empties: install the \
                 program, and run `ccstatusd init` again"
            ));
        }
        plan.plan_login(env, &program, options)?;
        plan.plan_settings(env, &config, &program, options)?;
        Ok(plan)
    }

    fn plan_settings(
        &mut self,
        env: &Environment,
        config: &Config,
        program: &str,
        options: &InitOptions,
    ) -> Result<()> {
        let line = format!("{} show", shell::quoted(program));
        // A hook's output would become a part of the conversation.
        let hook = format!("{} start >/dev/null", shell::quoted(program));
        let hook = (self.login == Login::Hook).then_some(hook);
        let wanted = Wanted { line, hook, replaces: options.replace };
        let roots = engine::roots(env, config)?;
        let mut existing: Vec<_> = roots.iter().filter(|it| it.is_dir()).collect();
        existing.extend(roots.first().filter(|_| existing.is_empty()));
        let (mut edits, mut foreign) = (Vec::new(), None);
        for root in existing {
            let path = root.join(SETTINGS);
            let name = short(env, &path);
            match Settings::plan(&path, &wanted) {
                Ok(edit) => {
                    if let Line::Foreign { command } = &edit.found.line {
                        foreign = foreign.or(command.clone());
                    }
                    let stays = !options.replace && matches!(edit.found.line, Line::Foreign { .. });
                    self.has_line |= !stays;
                    self.notes.extend(edit.notes(&name));
                    if edit.changes() {
                        edits.push(Step::Settings(edit));
                    }
                }
                Err(why) => self.problems.push(wanted.by_hand(&name, &why)),
            }
        }
        if let Some(name) = &options.keep_as {
            self.plan_command(env, name, foreign.as_deref())?;
        }
        self.steps.extend(edits);
        Ok(())
    }

    /// Plans that a status line which gives way goes on as a command of ours.
    fn plan_command(&mut self, env: &Environment, name: &str, foreign: Option<&str>) -> Result<()> {
        let Some(foreign) = foreign else {
            self.notes.push("no status line is replaced, so --keep-as has nothing to keep".into());
            return Ok(());
        };
        let shown = sanitize::message(foreign);
        let line = try_line(env, foreign).map_err(|why| {
            Error::new(format!("cannot let `{shown}` go on as a command"))
                .because(format!("run without input, it shows no line: {why}"))
                .hint(
                    "Claude Code gives a status line the session as JSON, and commands of ours \
                     get none. Leave out --keep-as to replace it all the same",
                )
        })?;
        let Some(path) = env.config_file() else { return Ok(()) };
        let file = File::read(&path)?;
        let old = file.text.clone().unwrap_or_default();
        let config = Config::load(Some(&path))?;
        let (format, is_shown) = match &config.display.format {
            Some(_) => (String::new(), false),
            None => {
                let format = format!("{}\n{{command.{name}}}", segments::FORMAT);
                (format!("format = {}\n\n", toml_text(&format)), true)
            }
        };
        let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
        let command = toml_text(foreign);
        let text = format!(
            "{format}{old}{gap}\n# The status line that `ccstatusd init` replaced.\n\
             [commands.{name}]\ncommand = [\"sh\", \"-c\", {command}]\n"
        );
        Config::parse(text.as_bytes()).map_err(|err| {
            Error::new(format!("cannot add the command {name} to {}", path.display()))
                .because(err)
                .hint("choose another name")
        })?;
        if let Some(why) = file.refusal() {
            self.problems.push(format!("{}: it cannot be changed: {why}", short(env, &path)));
            return Ok(());
        }
        self.notes.push(format!(
            "run without input, as a command of ours runs, `{shown}` shows: {}",
            sanitize::message(&line)
        ));
        if !is_shown {
            self.notes.push(format!("to see it, put {{command.{name}}} into your `format`"));
        }
        self.steps.push(Step::Write { what: "the configuration", file, text, kind: Kind::Config });
        Ok(())
    }

    fn plan_login(
        &mut self,
        env: &Environment,
        program: &str,
        options: &InitOptions,
    ) -> Result<()> {
        let login = self.login;
        let service = match login {
            Login::Systemd => unit::service(env)?,
            _ => unit::Service::default(),
        };
        let own = unit::path(env, login)?;
        let packaged = service.file.clone().filter(|it| Some(it) != own.as_ref());
        let mut is_new = false;
        if let Some(packaged) = &packaged {
            let text = fs_err::read_to_string(packaged).unwrap_or_default();
            if !text.contains(program) {
                self.notes.push(format!(
                    "{} starts another program than {program}; it stays",
                    packaged.display()
                ));
            }
        } else if let Some(path) = &own {
            let file = File::read(path)?;
            let text = unit::text(env, login, program)?;
            let is_foreign = file.text.as_ref().is_some_and(|it| !unit::is_ours(it));
            if is_foreign || path.is_symlink() {
                let what = if is_foreign { "not from us" } else { "a link" };
                self.notes.push(format!("{} is {what}; it stays", short(env, path)));
            } else if file.text.as_ref() != Some(&text) {
                if let Some(why) = file.refusal() {
                    self.problems.push(format!("{}: {why}", short(env, path)));
                    return Ok(());
                }
                is_new = true;
                for (name, value) in unit::places(env) {
                    self.notes.push(format!(
                        "the watcher gets {name}={} from this shell, since a login does not set it",
                        sanitize::message(&value)
                    ));
                }
                let what = "what starts the watcher at login";
                self.steps.push(Step::Write { what, file, text, kind: Kind::Login });
            }
        }
        let pid = watcher(env)?;
        if let Some(pid) = pid {
            let skew = background::skew(&StateDir::open(&env.checked_state_dir()?)?, pid);
            self.notes.extend(skew.map(|it| format!("{it}: {}", background::CATCHES_UP)));
        }
        let is_on = match login {
            Login::Systemd => service.is_enabled && service.is_active && !is_new,
            Login::Launchd => !is_new && pid.is_some(),
            Login::Autostart | Login::Hook => pid.is_some(),
            Login::None => true,
        };
        match login {
            _ if is_on => {}
            Login::Systemd | Login::Launchd => self.steps.push(Step::SwitchOn { is_new }),
            _ => self.steps.push(Step::Start),
        }
        if let (Some(pid), Login::Systemd) = (pid, login)
            && !service.is_active
        {
            self.notes.push(format!(
                "process {pid} watches already; the service waits for its end, and takes over"
            ));
        }
        if login == Login::Systemd && unit::ends_at_logout(env) == Some(true) {
            if options.linger {
                self.steps.push(Step::Linger);
            } else {
                self.offers_lingering = unit::is_outlived(env);
            }
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether something that was asked for cannot be done.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The user has agreed that services outlive logins.
    pub fn add_lingering(&mut self) {
        self.steps.push(Step::Linger);
    }

    /// What will be done, for the user to read.
    pub fn describe(&self, env: &Environment) -> String {
        let mut text = String::new();
        if self.steps.is_empty() {
            text += "Everything is set up: there is nothing to change.\n";
        } else {
            text += "This will be changed:\n";
        }
        for step in &self.steps {
            text += &format!("- {}", step.describe(env, self.login));
        }
        if self.steps.iter().any(|it| matches!(it, Step::Settings(_))) {
            text += &format!(
                "  refreshInterval: an idle session shows what changes elsewhere (a branch, an \
                 age, a watcher\n  that has died) only if the command runs again. It runs every \
                 {} s, and takes a millisecond or two.\n",
                settings::REFRESH_S
            );
        }
        text += &listed("Note:\n", &self.notes);
        text + &listed("This cannot be done:\n", &self.problems)
    }

    /// Does it.
    pub fn carry_out(self, env: &Environment) -> Result<Done> {
        let mut record = Record::read(env)?;
        let mut text = if self.is_empty() { String::new() } else { "Done:\n".to_owned() };
        let mut has_failed = self.has_problems();
        if !record.logins.contains(&self.login) && self.login != Login::None {
            record.logins.push(self.login);
        }
        for step in self.steps {
            let done = step.carry_out(env, self.login, &mut record);
            match done {
                Ok(done) => text += &format!("- {done}\n"),
                Err(err) => {
                    has_failed = true;
                    text += &format!("- failed: {err}\n");
                }
            }
        }
        text += &match self.has_line {
            true => format!(
                "How to see that it works: the line is under the prompt of a session within {} s, \
                 also in one that\nruns already. `ccstatusd --oneshot` prints it here. ",
                settings::REFRESH_S
            ),
            false => "No session shows our line, for the reasons above. `ccstatusd --oneshot` \
                      prints it here.\n"
                .to_owned(),
        };
        text += "`ccstatusd uninstall` gives back what was there.\n";
        Ok(Done { text, has_failed })
    }
}

impl Step {
    fn describe(&self, env: &Environment, login: Login) -> String {
        match self {
            Step::Settings(edit) => {
                let text = edit.file.text.as_deref().unwrap_or_default();
                let is_new = if edit.file.text.is_none() { " (new)" } else { "" };
                let with_line = edit.wanted.with_line(text).unwrap_or_default();
                let with_both = edit.wanted.with_hook(&with_line).unwrap_or_default();
                let shown = files::changes(text, &with_both);
                format!("{}{is_new}\n{shown}", short(env, &edit.file.path))
            }
            Step::Write { what, file, text, kind } => {
                let is_new = if file.text.is_none() { " (new)" } else { "" };
                let name = short(env, &file.path);
                let old = file.text.as_deref().unwrap_or_default();
                let shown = match kind {
                    // A whole unit is long, and this line says where it starts what.
                    Kind::Login => started(text),
                    Kind::Settings | Kind::Config => files::changes(old, text),
                };
                format!("{name}{is_new}: {what}\n{shown}")
            }
            Step::SwitchOn { .. } => match login {
                Login::Launchd => "launchctl: load the agent, which starts the watcher\n".into(),
                _ => "systemctl --user: enable the service, and start it\n".to_owned(),
            },
            Step::Start => "start the watcher\n".to_owned(),
            Step::Linger => "loginctl enable-linger: your services outlive your logins\n".into(),
        }
    }

    fn carry_out(self, env: &Environment, login: Login, record: &mut Record) -> Result<String> {
        match self {
            Step::Settings(edit) => edit.carry_out(env, record),
            Step::Write { file, text, kind, .. } => {
                if let Some(dir) = file.path.parent() {
                    record.make_dirs(dir)?;
                }
                record.note(&file, &text, kind, None, file.text.clone());
                record.save(env)?;
                match file.replace(&text)? {
                    true => Ok(format!("{} is written", short(env, &file.path))),
                    false => Err(restless(&file.path)),
                }
            }
            Step::SwitchOn { is_new } => {
                record.save(env)?;
                unit::switch_on(env, login, is_new)?;
                Ok("the service is enabled, and has started".to_owned())
            }
            Step::Start => {
                record.save(env)?;
                background::start(env)
            }
            Step::Linger => {
                record.lingers = true;
                record.save(env)?;
                unit::linger(env, true)?;
                Ok("your services outlive your logins".to_owned())
            }
        }
    }
}

impl Wanted {
    /// What to tell of a file that we do not write.
    fn by_hand(&self, name: &str, why: &str) -> String {
        let mut text = format!("{name}: {why}\n  it stays as it is; to add by hand:\n    ");
        text += &settings::snippet(&self.line);
        if let Some(hook) = &self.hook {
            text += &format!("\n  and run this at the start of each session: {hook}");
        }
        text
    }

    fn with_line(&self, text: &str) -> std::result::Result<String, String> {
        match settings::find(text)?.line {
            Line::Foreign { .. } if !self.replaces => Ok(text.to_owned()),
            _ => settings::with_line(text, &self.line),
        }
    }

    fn with_hook(&self, text: &str) -> std::result::Result<String, String> {
        match &self.hook {
            Some(hook) => settings::with_hook(text, hook),
            None => settings::without_hook(text),
        }
    }
}

impl Settings {
    /// Reads a file. An error says why it cannot be edited.
    fn plan(path: &Path, wanted: &Wanted) -> std::result::Result<Settings, String> {
        let file = File::read(path).map_err(|err| err.to_string())?;
        let found = settings::find(file.text.as_deref().unwrap_or_default())
            .map_err(|why| format!("it is not a valid settings file: {why}"))?;
        let edit = Settings { file, found, wanted: wanted.clone() };
        edit.apply()?;
        match edit.file.refusal().filter(|_| edit.changes()) {
            Some(why) => Err(format!("it cannot be changed: {why}")),
            None => Ok(edit),
        }
    }

    /// What the user should know of the file, which is called `name`.
    fn notes(&self, name: &str) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(place) = &self.found.laxity {
            notes.push(format!(
                "{name} has a comment or a comma too many ({place}), and Claude Code skips such a \
                 file with all that is in it"
            ));
        }
        if self.found.is_disabled {
            let hook = match self.wanted.hook {
                Some(_) => " and the hook that starts the watcher",
                None => "",
            };
            notes.push(format!(
                "{name} has disableAllHooks, which switches off status lines{hook}; it stays"
            ));
        }
        if let Line::Foreign { command } = &self.found.line {
            let line = command.as_deref().unwrap_or("of an unknown kind");
            let line = format!("the status line `{}`", sanitize::message(line));
            notes.push(match self.wanted.replaces {
                true => {
                    format!("{line} in {name} gives way, and `ccstatusd uninstall` puts it back")
                }
                false => {
                    format!("{name} has {line}, which stays; --replace puts ours in its place")
                }
            });
        }
        notes
    }

    /// The new text.
    fn apply(&self) -> std::result::Result<String, String> {
        let text = self.file.text.as_deref().unwrap_or_default();
        self.wanted.with_hook(&self.wanted.with_line(text)?)
    }

    fn changes(&self) -> bool {
        self.apply().is_ok_and(|new| new != self.file.text.as_deref().unwrap_or_default())
    }

    fn carry_out(mut self, env: &Environment, record: &mut Record) -> Result<String> {
        let path = self.file.path.clone();
        let failed =
            |why: String| Error::new(format!("cannot edit {}", path.display())).because(why);
        if let Some(dir) = path.parent() {
            record.make_dirs(dir)?;
        }
        for _ in 0..TRIES {
            let text = self.file.text.clone().unwrap_or_default();
            let raw = settings::find(&text).map_err(failed)?.raw.filter(|_| self.wanted.replaces);
            let earlier = record.find(&path).and_then(|it| it.replaced.clone());
            let given_back = match &self.file.text {
                Some(text) => {
                    Some(settings::without_ours(text, earlier.as_deref()).map_err(failed)?)
                }
                None => None,
            };
            let new = self.apply().map_err(failed)?;
            record.note(&self.file, &new, Kind::Settings, raw, given_back);
            record.save(env)?;
            if self.file.replace(&new)? {
                return Ok(format!("{} is changed", short(env, &path)));
            }
            // Claude Code wrote in between.
            self.file = File::read(&path)?;
        }
        Err(restless(&path))
    }
}

/// The path by which programs that we set up name this one: that in `PATH`, if that is this
/// program, since it stays the same over upgrades; otherwise its real path.
fn program(env: &Environment) -> Result<String> {
    let doing = || Error::new("cannot find the path of this program");
    let real = std::env::current_exe().and_then(fs_err::canonicalize);
    let real = real.map_err(|err| doing().because(err))?;
    let path = env.get("PATH").cloned().unwrap_or_default();
    let named = std::env::split_paths(&path).filter(|it| it.is_absolute());
    let is_this = |path: &PathBuf| fs_err::canonicalize(path).is_ok_and(|it| it == real);
    let found = named.map(|it| it.join("ccstatusd")).find(is_this);
    let path = found.unwrap_or(real);
    match path.to_str().filter(|it| !it.contains(char::is_control)) {
        Some(path) => Ok(path.to_owned()),
        None => Err(doing()
            .because(format!("{} is not plain text", path.display()))
            .hint("install it to another directory")),
    }
}

fn is_in_build_directory(program: &Path) -> bool {
    let names: Vec<_> = program.iter().rev().skip(1).take(3).collect();
    ["debug", "release"].iter().any(|it| names.first().is_some_and(|name| name == it))
        && names.iter().any(|it| *it == "target")
}

/// Runs a status line as a command of ours would run, and returns the line that it shows.
fn try_line(env: &Environment, line: &str) -> std::result::Result<String, String> {
    let home = env.home().unwrap_or(Path::new("/"));
    let what = Invocation {
        program: "sh".into(),
        args: vec!["-c".into(), line.into()],
        dir: Some(home.to_owned()),
        env: Vec::new(),
        input: Vec::new(),
    };
    let programs = Programs::new(env).map_err(|err| err.to_string())?;
    let output = programs.run(&what, LINE_TIMEOUT).map_err(|err| err.to_string())?;
    let mut lines = output.lines().map(str::trim);
    let shown = lines.find(|it| !it.is_empty()).map(str::to_owned);
    shown.ok_or_else(|| "it prints nothing".to_owned())
}

/// The line of a login entry that says what is started.
fn started(text: &str) -> String {
    let is_it = |line: &&str| {
        ["ExecStart=", "Exec=", "exec ", "Environment="].iter().any(|it| line.starts_with(it))
    };
    text.lines().filter(is_it).map(|line| format!("    + {line}\n")).collect()
}

/// A string of TOML.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted += "\\n",
            char if char.is_control() => quoted += &format!("\\u{:04X}", u32::from(char)),
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

fn listed(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    items.iter().fold(title.to_owned(), |text, item| format!("{text}- {item}\n"))
}
