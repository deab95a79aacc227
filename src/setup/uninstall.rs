//! `ccstatusd uninstall`.

use std::path::{Path, PathBuf};

use super::files::{self, File};
use super::init::SETTINGS;
use super::record::{Changed, Kind, Record};
use super::{Done, TRIES, restless, settings, short, unit, watcher};
use crate::background;
use crate::cli::{Environment, Login, UninstallOptions};
use crate::config::Config;
use crate::engine;
use crate::error::{Error, Result};
use crate::store::{atomic, dir};

/// How many watchers are ended: the one that runs, and those that wait for its end.
const MAX_WATCHERS: usize = 4;

/// What our programs write to the state directory. Nothing else in it is deleted: it may be any
/// directory of the user's that `CCSTATUSD_DIR` names.
const STATE_FILES: [&str; 10] = [
    dir::SNAPSHOT,
    dir::SOCKET,
    "checkpoint",
    "watch.lock",
    "fetch.lock",
    "guard.lock",
    "watcher.log",
    "watcher.log.1",
    "ccstatusd.log",
    "ccstatusd.log.1",
];
const STATE_DIRS: [&str; 5] = [dir::LINES, dir::PLAIN, dir::FITTED, dir::SYNC, "scratch"];

/// What a data directory has in it, but for what [`Record`] keeps there.
const DATA_FILES: [&str; 5] =
    ["record.lock", "prices.json", "counters.json", "counters.lock", "counters.json.unreadable"];
const DATA_DIRS: [&str; 3] = ["history", "journal", "import"];

/// A directory that `--purge` deletes: its path, and which files and directories in it are ours.
#[derive(Debug)]
struct Ours {
    dir: PathBuf,
    files: &'static [&'static str],
    dirs: &'static [&'static str],
    /// What it has, in words.
    what: &'static str,
}

/// What `uninstall` will do.
#[derive(Debug)]
pub struct Plan {
    record: Record,
    steps: Vec<Step>,
    notes: Vec<String>,
    problems: Vec<String>,
}

#[derive(Debug)]
enum Step {
    SwitchOff(Login),
    /// End the watcher that runs.
    Stop,
    Files(Restore),
    StopLingering,
    /// Delete the state, or the record of usage.
    Purge(Ours),
}

/// A file that gets back what was there.
#[derive(Debug)]
struct Restore {
    file: File,
    kind: Kind,
    /// What the record says of it.
    changed: Option<Changed>,
}

/// What becomes of a file.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It is as it was before, or has nothing of ours.
    Stays,
    /// It gets this text.
    Becomes(String),
    Goes,
    /// Somebody has edited what we wrote, and what is ours in it cannot be told.
    Unclear,
}

impl Plan {
    /// Finds out what is to be done. Changes nothing.
    pub fn make(env: &Environment, options: &UninstallOptions) -> Result<Plan> {
        let record = Record::read(env)?;
        let is_recorded = !record.is_empty();
        let (steps, notes, problems) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = Plan { record, steps, notes, problems };
        plan.plan_logins(env)?;
        if watcher(env)?.is_some() {
            plan.steps.push(Step::Stop);
        }
        plan.plan_settings(env)?;
        let others: Vec<_> =
            plan.record.files.iter().filter(|it| it.kind == Kind::Config).cloned().collect();
        for changed in others {
            plan.plan_file(env, &changed.path, Kind::Config);
        }
        if plan.record.lingers {
            plan.steps.push(Step::StopLingering);
        }
        // A watcher that has just started makes both directories before it ends.
        let is_running = plan.steps.iter().any(|step| matches!(step, Step::Stop));
        for ours in Ours::all(env)? {
            if !(ours.is_there() || options.purge && is_running) {
                continue;
            }
            if options.purge {
                plan.steps.push(Step::Purge(ours));
            } else {
                plan.notes.push(format!(
                    "{} stays, with {}; --purge deletes it",
                    short(env, &ours.dir),
                    ours.what
                ));
            }
        }
        let gives_back = |step: &Step| !matches!(step, Step::Stop | Step::Purge(_));
        if !is_recorded && plan.steps.iter().any(gives_back) {
            plan.notes.push(
                "there is no record of an `init`: only what is recognisably ours is taken out, \
                 and what was there before is unknown"
                    .to_owned(),
            );
        }
        Ok(plan)
    }

    fn plan_logins(&mut self, env: &Environment) -> Result<()> {
        for login in [Login::Systemd, Login::Launchd, Login::Autostart] {
            let Some(path) = unit::path(env, login)? else { continue };
            let has_file =
                File::read(&path).is_ok_and(|it| it.text.is_some_and(|text| unit::is_ours(&text)));
            let is_service = login != Login::Autostart;
            if is_service && (has_file || self.record.logins.contains(&login)) {
                self.steps.push(Step::SwitchOff(login));
            }
            if has_file && path.is_symlink() {
                self.notes.push(format!("{} is a link; it stays", short(env, &path)));
            } else if has_file {
                self.plan_file(env, &path, Kind::Login);
            }
        }
        Ok(())
    }

    fn plan_settings(&mut self, env: &Environment) -> Result<()> {
        // A configuration that cannot be read may name roots, and is no reason to leave the rest.
        let config = Config::load(env.config_file().as_deref()).unwrap_or_else(|err| {
            self.problems.push(err.to_string());
            Config::default()
        });
        let recorded = self.record.files.iter().filter(|it| it.kind == Kind::Settings);
        let mut paths: Vec<_> = recorded.map(|it| it.path.clone()).collect();
        for root in engine::roots(env, &config)? {
            let path = root.join(SETTINGS);
            let path = fs_err::canonicalize(&path).unwrap_or(path);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        for path in paths {
            self.plan_file(env, &path, Kind::Settings);
        }
        Ok(())
    }

    fn plan_file(&mut self, env: &Environment, path: &Path, kind: Kind) {
        let name = short(env, path);
        let file = match File::read(path) {
            Ok(file) => file,
            Err(err) => return self.problems.push(err.to_string()),
        };
        let changed = self.record.find(&file.path).cloned();
        let restore = Restore { file, kind, changed };
        match restore.fate() {
            Ok(Fate::Stays) => {}
            Ok(Fate::Unclear) => self.notes.push(format!(
                "{name} was edited since, so it stays; delete it, or what of it you do not want"
            )),
            Ok(_) => match restore.file.refusal() {
                Some(why) => self.problems.push(format!("{name}: it cannot be changed: {why}")),
                None => self.steps.push(Step::Files(restore)),
            },
            Err(why) => {
                let hint = "take statusLine out by hand";
                self.problems
                    .push(format!("{name}: it is not a valid settings file: {why}; {hint}"));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.record.is_empty()
    }

    /// Whether something cannot be undone.
    pub fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// What will be done, for the user to read.
    pub fn describe(&self, env: &Environment) -> String {
        let mut text = match self.is_empty() {
            true => "Nothing of ccstatusd is set up here.\n".to_owned(),
            false => "This will be changed:\n".to_owned(),
        };
        for step in &self.steps {
            text += &format!("- {}", step.describe(env));
        }
        if !self.record.is_empty()
            && let Ok(dir) = env.data_dir()
        {
            text += &format!("- {}: delete the record of what was there\n", short(env, &dir));
        }
        for (title, items) in [("Note:\n", &self.notes), ("Not done:\n", &self.problems)] {
            if !items.is_empty() {
                text += title;
                items.iter().for_each(|it| text += &format!("- {it}\n"));
            }
        }
        text
    }

    /// Does it.
    pub fn carry_out(self, env: &Environment) -> Result<Done> {
        let mut text = "Done:\n".to_owned();
        let mut has_failed = self.has_problems();
        for step in self.steps {
            match step.carry_out(env) {
                Ok(done) => text += &format!("- {done}\n"),
                Err(err) => {
                    has_failed = true;
                    text += &format!("- failed: {err}\n");
                }
            }
        }
        for login in &self.record.logins {
            unit::reload(env, *login);
        }
        if has_failed {
            text += "The record of what was there before stays; try again when that is solved.\n";
        } else {
            self.record.remove(env)?;
            let program = std::env::current_exe().unwrap_or_default();
            text += &format!(
                "The program itself stays: {}. What has installed it removes it, as in `cargo \
                 uninstall ccstatusd`.\n",
                short(env, &program)
            );
        }
        Ok(Done { text, has_failed })
    }
}

impl Step {
    fn describe(&self, env: &Environment) -> String {
        match self {
            Step::SwitchOff(Login::Systemd) => {
                "systemctl --user: stop the service, and disable it\n".to_owned()
            }
            Step::SwitchOff(_) => "launchctl: unload the agent\n".to_owned(),
            Step::Stop => "end the watcher\n".to_owned(),
            Step::StopLingering => {
                "loginctl disable-linger: your services end with your last login\n".to_owned()
            }
            Step::Purge(ours) => format!("{}: delete {}\n", short(env, &ours.dir), ours.what),
            Step::Files(restore) => {
                let name = short(env, &restore.file.path);
                let text = restore.file.text.as_deref().unwrap_or_default();
                match restore.fate() {
                    Ok(Fate::Goes) if restore.kind == Kind::Login => format!("{name}: delete it\n"),
                    Ok(Fate::Goes) => format!("{name}: delete it, since it was not there before\n"),
                    Ok(Fate::Becomes(new)) => {
                        let how = match restore.is_untouched() {
                            true => "put back what was there before, byte for byte",
                            false => "take out what is ours; it was edited since",
                        };
                        format!("{name}: {how}\n{}", files::changes(text, &new))
                    }
                    _ => format!("{name}\n"),
                }
            }
        }
    }

    fn carry_out(self, env: &Environment) -> Result<String> {
        match self {
            Step::SwitchOff(login) => {
                unit::switch_off(env, login)?;
                Ok("no login starts the watcher any more".to_owned())
            }
            Step::Stop => stop_all(env),
            Step::StopLingering => {
                unit::linger(env, false)?;
                Ok("your services end with your last login".to_owned())
            }
            Step::Files(restore) => restore.carry_out(env),
            Step::Purge(ours) => purge(env, &ours),
        }
    }
}

impl Restore {
    /// Whether the file is what `init` has written.
    fn is_untouched(&self) -> bool {
        self.changed.as_ref().is_some_and(|it| self.file.text.as_ref() == Some(&it.after))
    }

    fn fate(&self) -> std::result::Result<Fate, String> {
        let Some(text) = &self.file.text else { return Ok(Fate::Stays) };
        if self.kind == Kind::Login {
            // Also one that was edited, and one of ours that `init` has found there.
            return Ok(if unit::is_ours(text) { Fate::Goes } else { Fate::Stays });
        }
        if let Some(changed) = self.changed.as_ref().filter(|_| self.is_untouched()) {
            return Ok(match &changed.before {
                None => Fate::Goes,
                Some(before) if before == text => Fate::Stays,
                Some(before) => Fate::Becomes(before.clone()),
            });
        }
        match self.kind {
            Kind::Settings => {
                let replaced = self.changed.as_ref().and_then(|it| it.replaced.as_deref());
                let new = settings::without_ours(text, replaced)?;
                Ok(if new == *text { Fate::Stays } else { Fate::Becomes(new) })
            }
            _ => match &self.changed {
                Some(changed) if changed.before.as_ref() != Some(text) => Ok(Fate::Unclear),
                _ => Ok(Fate::Stays),
            },
        }
    }

    fn carry_out(mut self, env: &Environment) -> Result<String> {
        let path = self.file.path.clone();
        let name = short(env, &path);
        for _ in 0..TRIES {
            let fate = self.fate().map_err(|why| {
                Error::new(format!("cannot edit {}", path.display())).because(why)
            })?;
            let (is_done, done) = match fate {
                Fate::Stays | Fate::Unclear => (true, format!("{name} stays as it is")),
                Fate::Goes => (self.file.remove()?, format!("{name} is deleted")),
                Fate::Becomes(text) => {
                    let how = match self.is_untouched() {
                        true => "is as it was before, byte for byte",
                        false => "has nothing of ours any more",
                    };
                    (self.file.replace(&text)?, format!("{name} {how}"))
                }
            };
            if is_done {
                return Ok(done);
            }
            self.file = File::read(&path)?;
        }
        Err(restless(&path))
    }
}

/// Ends the watcher that runs, and those that wait for its end.
fn stop_all(env: &Environment) -> Result<String> {
    for _ in 0..MAX_WATCHERS {
        background::stop(env)?;
        if watcher(env)?.is_none() {
            return Ok("the watcher has ended".to_owned());
        }
    }
    Err(Error::new("cannot end the watcher")
        .because("another one starts again and again")
        .hint("find out what starts it: `ccstatusd stop` names the process"))
}

impl Ours {
    fn all(env: &Environment) -> Result<[Ours; 2]> {
        let state = Ours {
            dir: env.checked_state_dir()?,
            files: &STATE_FILES,
            dirs: &STATE_DIRS,
            what: "what the watcher knows at the moment",
        };
        let data = Ours {
            dir: env.data_dir()?,
            files: &DATA_FILES,
            dirs: &DATA_DIRS,
            what: "the record of what was used",
        };
        Ok([state, data])
    }

    /// Whether there is something to delete. The data directory has what `init` keeps as well.
    fn is_there(&self) -> bool {
        let is_state = self.dirs.contains(&dir::LINES);
        let mut names = self.files.iter().chain(self.dirs);
        if is_state { self.dir.exists() } else { names.any(|it| self.dir.join(it).exists()) }
    }
}

/// Deletes what is ours in a directory, and the directory if nothing else is in it. So go
/// those around it, up to the home directory: a watcher that finds no `~/.local/state` makes it.
fn purge(env: &Environment, ours: &Ours) -> Result<String> {
    let Ours { dir: state, files, dirs, .. } = ours;
    let deleting = || format!("cannot delete {}", state.display());
    let failed = |err| Error::new(deleting()).because(err);
    if !state.exists() {
        return Ok(format!("{}: there is nothing", short(env, state)));
    }
    for entry in fs_err::read_dir(state).map_err(failed)?.flatten() {
        let name = entry.file_name();
        let is_file = files.iter().any(|it| name == *it) || atomic::is_temporary(&name);
        let is_dir = entry.file_type().is_ok_and(|it| it.is_dir());
        if is_file && !is_dir {
            fs_err::remove_file(entry.path()).map_err(failed)?;
        } else if is_dir && dirs.iter().any(|it| name == *it) {
            fs_err::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    if fs_err::remove_dir(state).is_err() {
        // In the data directory `init` keeps what was there before, which is removed at the end.
        let is_state = dirs.contains(&dir::LINES);
        let rest = if is_state { "; the files in it that are not ours stay" } else { "" };
        return Ok(format!("{}: {} is deleted{rest}", short(env, state), ours.what));
    }
    let is_in_home = |dir: &&Path| env.home().is_some_and(|it| dir != &it && dir.starts_with(it));
    let mut around = state.ancestors().skip(1).take_while(is_in_home);
    while around.next().is_some_and(|dir| fs_err::remove_dir(dir).is_ok()) {}
    Ok(format!("{} is deleted", short(env, state)))
}
