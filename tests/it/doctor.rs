//! `ccstatusd doctor`: each check tells what is wrong, and nothing where all is well.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ccstatusd::store::schema::ClientFacts;
use ccstatusd::time::Now;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::{CAP, Sandbox, env_path, is_met_within, skip, text, write_script};

/// It explains every check.
const PAGE: &str = include_str!("../../docs/doctor.md");

const OURS: &str = env!("CARGO_BIN_EXE_ccstatusd");

/// A sandbox with a repository, a session, and our status line in the settings.
fn installed() -> Sandbox {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    let path = path_without_other_copies(&sandbox);
    sandbox.set_env("PATH", path);
    transcript.reply("x");
    set_line(&sandbox, &format!("{OURS} show"));
    sandbox
}

/// The `PATH` of the sandbox, in which directories that have a ccstatusd of the user's are replaced
/// by links to everything else in them.
fn path_without_other_copies(sandbox: &Sandbox) -> OsString {
    let mut dirs = vec![sandbox.path("bin")];
    for dir in std::env::split_paths(&env_path()) {
        if !dir.join("ccstatusd").exists() {
            dirs.push(dir);
            continue;
        }
        let links = sandbox.path(&format!("path-{}", dirs.len()));
        fs_err::create_dir(&links).unwrap();
        for entry in fs_err::read_dir(&dir).unwrap().map(|it| it.unwrap()) {
            if entry.file_name() != "ccstatusd" {
                fs_err::os::unix::fs::symlink(entry.path(), links.join(entry.file_name())).unwrap();
            }
        }
        dirs.push(links);
    }
    std::env::join_paths(dirs).unwrap()
}

fn set_line(sandbox: &Sandbox, command: &str) {
    let line = serde_json::json!({"type": "command", "command": command, "refreshInterval": 5});
    write_settings(sandbox, &serde_json::json!({"statusLine": line}).to_string());
}

fn write_settings(sandbox: &Sandbox, text: &str) {
    fs_err::write(sandbox.root().join("settings.json"), text).unwrap();
}

fn doctor(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.ccstatusd();
    let dir = sandbox.path("p");
    let dir = if dir.exists() { dir } else { sandbox.home.clone() };
    command.arg("doctor").args(args).current_dir(dir);
    command
}

/// The findings that `doctor --json` prints.
struct Findings(Vec<Value>);

impl Findings {
    #[track_caller]
    fn of(sandbox: &Sandbox) -> Findings {
        Findings::by(doctor(sandbox, &["--json"]))
    }

    #[track_caller]
    fn by(mut command: Command) -> Findings {
        let output = command.output().unwrap();
        let found = serde_json::from_slice::<Vec<Value>>(&output.stdout);
        let found = Findings(found.unwrap_or_else(|err| panic!("{err}: {}", text(&output))));
        let has_problem = !found.levels("problem").iter().all(|it| it["fixed"].is_string());
        assert_eq!(output.status.code(), Some(i32::from(has_problem)), "{:#?}", found.0);
        for finding in &found.0 {
            let check = finding["check"].as_str().unwrap();
            assert!(PAGE.contains(&format!("\n| `{check}` |")), "docs/doctor.md lacks {check}");
        }
        found
    }

    fn levels(&self, level: &str) -> Vec<&Value> {
        self.0.iter().filter(|it| it["level"] == level).collect()
    }

    /// The findings of one check.
    fn of_check(&self, check: &str) -> Vec<&Value> {
        self.0.iter().filter(|it| it["check"] == check).collect()
    }

    /// There is a finding of this check and level that contains the text, and it says what to do.
    #[track_caller]
    fn has(&self, check: &str, level: &str, text: &str) -> &Value {
        let found = self.of_check(check);
        let says = |it: &Value| it["what"].as_str().is_some_and(|what| what.contains(text));
        let Some(finding) = found.iter().find(|it| it["level"] == level && says(it)) else {
            panic!("no {level} of {check} contains {text:?}: {found:#?}");
        };
        assert_eq!(finding["todo"].is_string(), level != "good", "{finding:#?}");
        finding
    }

    /// The check has findings, and all of them are good.
    #[track_caller]
    fn is_good(&self, check: &str) {
        let found = self.of_check(check);
        assert!(!found.is_empty() && found.iter().all(|it| it["level"] == "good"), "{found:#?}");
    }
}

/// Replaces the programs of the service manager, so that this machine's are left alone. This one
/// starts nothing.
fn with_manager(sandbox: &mut Sandbox, state: &str, linger: &str) {
    fs_err::create_dir_all(sandbox.path("run/systemd")).unwrap();
    sandbox.set_env("XDG_RUNTIME_DIR", sandbox.path("run"));
    let systemctl = format!(
        "#!/bin/sh\necho \"$XDG_RUNTIME_DIR $*\" >> '{}'\n\
         case \"$*\" in *' start '*) echo no such unit >&2; exit 5 ;; esac\n\
         printf '{state}\\n'\n",
        sandbox.path("systemctl.log").display()
    );
    write_script(&sandbox.path("bin/systemctl"), &systemctl);
    write_script(&sandbox.path("bin/loginctl"), &format!("#!/bin/sh\necho Linger={linger}\n"));
}

/// Installs a unit in a folder of the home directory.
fn add_unit(sandbox: &Sandbox, folder: &str, program: &str) -> PathBuf {
    let path = sandbox.path(folder).join("systemd/user/ccstatusd.service");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, format!("[Service]\nExecStart={program}\n")).unwrap();
    path
}

fn enable_unit(sandbox: &Sandbox) -> PathBuf {
    let wants = sandbox.path(".config/systemd/user/default.target.wants");
    fs_err::create_dir_all(&wants).unwrap();
    let link = wants.join("ccstatusd.service");
    fs_err::os::unix::fs::symlink("../ccstatusd.service", &link).unwrap();
    link
}

// ---- The whole

#[test]
fn a_healthy_installation_has_no_problem() {
    let mut sandbox = installed();
    with_manager(&mut sandbox, "ActiveState=active\\nNeedDaemonReload=no", "yes");
    add_unit(&sandbox, ".config", OURS);
    enable_unit(&sandbox);
    fs_err::os::unix::fs::symlink(OURS, sandbox.path("bin/ccstatusd")).unwrap();
    let _watcher = sandbox.start_watcher();
    let found = Findings::of(&sandbox);
    for check in [
        "configuration",
        "roots",
        "settings",
        "status-line",
        "refresh",
        "project-settings",
        "disk",
        "watcher",
        "events",
        "snapshot",
        "sources",
        "version",
        "path",
        "unit",
        "login",
        "lingering",
        "git",
    ] {
        found.is_good(check);
    }
    found.has("status-line", "good", "~/p · main");
    assert_eq!(found.of_check("inotify").is_empty(), !cfg!(target_os = "linux"));
    let before = sandbox.snapshot().unwrap();
    assert_eq!(before.sessions.len(), 1, "the sample became a session: {before:#?}");
    let output = doctor(&sandbox, &[]).output().unwrap();
    assert!(
        output.status.success() && text(&output).contains("\n0 problems, "),
        "{}",
        text(&output)
    );
}

#[test]
fn the_exit_code_says_whether_it_failed_itself() {
    let mut sandbox = installed();
    sandbox.set_env("CLAUDE_CONFIG_DIR", "relative");
    let output = doctor(&sandbox, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_look_changes_nothing() {
    let sandbox = installed();
    Findings::of(&sandbox);
    assert!(!sandbox.state.exists());
    assert_eq!(sandbox.n_git_calls(), 0);
}

#[test]
fn what_is_to_be_fixed_is_fixed_once() {
    let sandbox = installed();
    let _stopped = Stopped(&sandbox);
    let found = Findings::of(&sandbox);
    assert_eq!(found.has("watcher", "problem", "no watcher runs")["fix"], "start the watcher");
    assert!(!sandbox.state.exists());
    let fixed = Findings::by(doctor(&sandbox, &["--json", "--fix"]));
    let done = fixed.has("watcher", "problem", "no watcher runs")["fixed"].as_str().unwrap();
    assert!(done.contains("has started"), "{done}");
    let found = Findings::by(doctor(&sandbox, &["--json", "--fix"]));
    found.is_good("watcher");
    assert!(found.0.iter().all(|it| it["fixed"].is_null()), "{:#?}", found.0);
}

#[test]
fn what_cannot_be_fixed_says_why() {
    let sandbox = installed();
    sandbox.configure("rots = 1");
    let found = Findings::by(doctor(&sandbox, &["--json", "--fix"]));
    let finding = found.has("watcher", "problem", "--fix has failed");
    assert!(
        finding["fixed"].is_null() && finding["what"].to_string().contains("rots"),
        "{finding}"
    );
}

/// Ends the watcher of a sandbox.
struct Stopped<'a>(&'a Sandbox);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.ccstatusd().arg("stop").output().ok();
    }
}

// ---- The line

#[track_caller]
fn check_line(command: &str, level: &str, expected: &str) {
    let sandbox = installed();
    set_line(&sandbox, command);
    Findings::of(&sandbox).has("status-line", level, expected);
}

#[test]
fn a_command_that_does_not_print_a_line_is_told() {
    check_line("/gone/ccstatusd show", "problem", "cannot be started: ");
    check_line("exit 3", "problem", "failed with exit code 3");
    check_line(":", "problem", "prints nothing");
    check_line("printf '\\033[0m\\n'", "problem", "prints nothing");
    check_line("kill -9 $$", "problem", "was killed by signal 9");
    check_line("yes", "problem", "printed more than");
}

#[test]
fn a_command_that_does_not_end_is_ended_and_told() {
    check_line("sleep 1000", "problem", "timed out after 5 s");
}

#[test]
fn what_else_prints_beside_our_line_is_told() {
    check_line(&format!("{OURS} show; echo; echo x"), "problem", "prints 2 rows");
    check_line(&format!("{OURS} show"), "good", "~/p");
    let sandbox = installed();
    sandbox.configure("format = '''\n{directory}\n{model}'''");
    let watcher = sandbox.start_watcher();
    Findings::of(&sandbox).is_good("status-line");
    drop(watcher);
}

#[test]
fn the_line_of_another_program_is_named_and_runs() {
    check_line("cat >/dev/null; echo theirs", "note", "another line: `cat");
    check_line("cat >/dev/null; echo theirs", "good", "prints: theirs");
}

#[test]
fn a_command_that_reads_our_files_is_ours() {
    let sandbox = installed();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/statusline.sh");
    fs_err::create_dir(sandbox.path("ccstatusd")).unwrap();
    fs_err::copy(script, sandbox.path("ccstatusd/statusline.sh")).unwrap();
    set_line(&sandbox, "sh ~/ccstatusd/statusline.sh");
    let _watcher = sandbox.start_watcher();
    let found = Findings::of(&sandbox);
    found.is_good("status-line");
    // As in the transcript, and not as in the sample.
    found.has("status-line", "good", "Opus 4.8");
    found.is_good("refresh");
}

#[test]
fn settings_that_show_no_line_are_told() {
    let cases = [
        ("{", "settings", "cannot be read"),
        (r#"{"disableAllHooks": true}"#, "settings", "disableAllHooks"),
        ("{}", "status-line", "has no statusLine"),
        (r#"{"statusLine": "ccstatusd show"}"#, "status-line", "not of the type command"),
        (
            r#"{"statusLine": {"type": "command", "command": "ccstatusd show"}}"#,
            "refresh",
            "no refreshInterval",
        ),
    ];
    for (settings, check, expected) in cases {
        let sandbox = installed();
        write_settings(&sandbox, settings);
        Findings::of(&sandbox).has(check, "problem", expected);
    }
    let sandbox = installed();
    fs_err::remove_file(sandbox.root().join("settings.json")).unwrap();
    Findings::of(&sandbox).has("status-line", "problem", "has no statusLine");
    write_settings(&sandbox, r#"{"enabledPlugins": {"ccstatusd@ccstatusd": true}}"#);
    Findings::of(&sandbox).is_good("status-line");
}

#[test]
fn the_command_runs_as_claude_code_runs_it() {
    let mut sandbox = installed();
    sandbox.set_env("EDITOR", "of the user");
    sandbox.set_env("CLAUDE_CODE_SESSION_ID", "that doctor runs in");
    sandbox.set_env("CLAUDE_CODE_MESSAGING_TOKEN", "secret");
    set_line(&sandbox, "{ env; pwd; cat; } > \"$HOME/seen\"; echo line");
    Findings::of(&sandbox).is_good_line();
    let seen = fs_err::read_to_string(sandbox.path("seen")).unwrap();
    for expected in
        ["\nEDITOR=of the user\n", "COLUMNS=120\n", "CLAUDECODE=1\n", "\"context_window\":"]
    {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    assert!(!seen.contains("secret") && !seen.contains("that doctor runs in"), "{seen}");
    assert!(seen.contains(&format!("\n{}\n", sandbox.path("p").display())), "{seen}");
}

impl Findings {
    #[track_caller]
    fn is_good_line(&self) {
        self.has("status-line", "good", "prints: line");
    }
}

#[test]
fn settings_of_the_project_that_override_are_told_and_not_run() {
    let sandbox = installed();
    let folder = sandbox.path("p/.claude");
    fs_err::create_dir(&folder).unwrap();
    Findings::of(&sandbox).is_good("project-settings");
    fs_err::write(folder.join("settings.json"), r#"{"disableAllHooks": true}"#).unwrap();
    // A repository may bring its settings along, so what they name must not run here.
    let theirs = r#"{"statusLine": {"type": "command", "command": "touch \"$HOME/ran\""}}"#;
    fs_err::write(folder.join("settings.local.json"), theirs).unwrap();
    let found = Findings::of(&sandbox);
    found.has("project-settings", "problem", "disableAllHooks");
    found.has("project-settings", "note", "settings.local.json decides about the line: `touch");
    assert!(!sandbox.path("ran").exists());
    fs_err::write(folder.join("settings.json"), "{}").unwrap();
    set_line_of_project(&sandbox);
    Findings::of(&sandbox).is_good("project-settings");
}

fn set_line_of_project(sandbox: &Sandbox) {
    let ours = format!(r#"{{"statusLine": {{"type": "command", "command": "{OURS} show"}}}}"#);
    fs_err::write(sandbox.path("p/.claude/settings.local.json"), ours).unwrap();
}

/// As in a directory that Claude Code was not told to trust.
#[test]
fn a_session_whose_line_does_not_run_is_told() {
    let sandbox = installed();
    let _watcher = sandbox.start_watcher();
    assert!(Findings::of(&sandbox).of_check("shown").is_empty(), "no session runs");
    let (pid, cwd) = (std::process::id(), sandbox.path("p"));
    let entry = serde_json::json!({
        "pid": pid, "sessionId": "s1", "cwd": cwd, "startedAt": Now::read().wall_ms,
        "kind": "interactive", "status": "idle"
    });
    fs_err::create_dir_all(sandbox.root().join("sessions")).unwrap();
    fs_err::write(sandbox.root().join(format!("sessions/{pid}.json")), entry.to_string()).unwrap();
    sandbox.wait_for("it runs", |it| it.sessions.values().any(|session| session.pid == Some(pid)));
    Findings::of(&sandbox).has("shown", "note", cwd.to_str().unwrap());
    let facts = ClientFacts {
        session_id: Some("s1".to_owned()),
        client_version: Some("2.1.332".to_owned()),
        ..ClientFacts::default()
    };
    sandbox.hint(&facts);
    sandbox.wait_for("it is told", |snapshot| {
        snapshot.sessions.values().all(|session| session.client_version.is_some())
    });
    Findings::of(&sandbox).is_good("shown");
}

#[test]
fn config_directories_are_found_or_missed() {
    let sandbox = installed();
    Findings::of(&sandbox).has("roots", "good", ".claude");
    let _watcher = sandbox.start_watcher();
    fs_err::create_dir(sandbox.path("other")).unwrap();
    let mut command = doctor(&sandbox, &["--json"]);
    command.env("CLAUDE_CONFIG_DIR", sandbox.path("other"));
    let found = Findings::by(command);
    found.has("roots", "problem", &format!("does not watch {}", sandbox.path("other").display()));
    let mut command = doctor(&sandbox, &["--json"]);
    command.env("CLAUDE_CONFIG_DIR", sandbox.path("none"));
    Findings::by(command).has("roots", "problem", "no config directory");
}

#[test]
fn an_invalid_configuration_is_told() {
    let sandbox = installed();
    Findings::of(&sandbox).is_good("configuration");
    sandbox.configure("[theme]\npreset = 'ascii'");
    Findings::of(&sandbox).has("configuration", "good", "is valid");
    sandbox.configure("rots = 1");
    Findings::of(&sandbox).has("configuration", "problem", "cannot read the configuration");
}

// ---- The watcher

#[test]
fn a_watcher_that_was_killed_is_none() {
    let sandbox = installed();
    let mut watcher = sandbox.start_watcher();
    Findings::of(&sandbox).is_good("watcher");
    watcher.signal(Signal::SIGKILL);
    watcher.wait(CAP);
    Findings::of(&sandbox).has("watcher", "problem", "no watcher runs");
}

#[test]
fn a_watcher_that_is_stopped_is_told() {
    let sandbox = installed();
    let watcher = sandbox.start_watcher();
    watcher.signal(Signal::SIGSTOP);
    let found = Findings::of(&sandbox);
    let finding = found.has("watcher", "problem", "is stopped");
    assert!(finding["todo"].to_string().contains(&format!("kill -CONT {}", watcher.id())));
}

#[test]
fn a_watcher_that_answers_late_is_told() {
    let sandbox = installed();
    let _watcher = sandbox.start_watcher();
    Findings::of(&sandbox).is_good("events");
    sandbox.slow_git("3");
    let n_calls = sandbox.n_git_calls();
    sandbox.sh(&sandbox.path("p"), "git commit -q --allow-empty -m two");
    sandbox.wait_until("git is asked", || sandbox.n_git_calls() > n_calls);
    Findings::of(&sandbox).has("events", "note", "published after");
}

#[test]
fn an_unreadable_snapshot_is_told() {
    let sandbox = installed();
    let _watcher = sandbox.start_watcher();
    Findings::of(&sandbox).is_good("snapshot");
    fs_err::write(sandbox.state.join("snapshot.json"), "{").unwrap();
    Findings::of(&sandbox).has("snapshot", "problem", "no snapshot that can be read");
    sandbox.wait_until("the watcher has written it again", || sandbox.snapshot().is_some());
    let path = sandbox.state.join("snapshot.json");
    let newer =
        fs_err::read_to_string(&path).unwrap().replace(r#""version":1,"#, r#""version":99,"#);
    fs_err::write(&path, newer).unwrap();
    Findings::of(&sandbox).has("snapshot", "problem", "of a newer ccstatusd");
}

#[test]
fn a_source_that_fails_is_named() {
    let sandbox = installed();
    sandbox.failing_git();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for("git has failed", |it| !it.degraded.is_empty());
    Findings::of(&sandbox).has("sources", "problem", "the stub fails");
}

#[test]
#[cfg(target_os = "linux")]
fn a_watcher_whose_program_was_removed_is_told() {
    let sandbox = installed();
    let program = sandbox.path("gone-soon");
    fs_err::copy(OURS, &program).unwrap();
    let watcher = sandbox.spawn_watcher(sandbox.command(&program));
    sandbox.wait_for("the first snapshot", |it| it.watcher.is_some());
    Findings::of(&sandbox).is_good("watcher");
    fs_err::remove_file(&program).unwrap();
    Findings::of(&sandbox).has("watcher", "note", "gone-soon");
    drop(watcher);
}

#[test]
#[cfg(target_os = "linux")]
fn a_watcher_with_another_state_directory_is_told() {
    let sandbox = installed();
    let watcher = sandbox.start_watcher();
    let id = watcher.id().to_string();
    let told = |command| {
        let found = Findings::by(command);
        found.of_check("watchers").iter().any(|it| it["what"].to_string().contains(&id))
    };
    assert!(!told(doctor(&sandbox, &["--json"])));
    let mut command = doctor(&sandbox, &["--json"]);
    command.env("CCSTATUSD_DIR", sandbox.path("another"));
    assert!(told(command));
}

#[test]
fn a_state_directory_that_others_may_use_is_told() {
    let sandbox = installed();
    fs_err::create_dir(&sandbox.state).unwrap();
    fs_err::set_permissions(&sandbox.state, PermissionsExt::from_mode(0o755)).unwrap();
    let found = Findings::of(&sandbox);
    let finding = found.has("state-directory", "problem", "mode 755");
    assert!(finding["todo"].to_string().contains("chmod 700"), "{finding}");
}

#[test]
fn leftovers_of_killed_processes_are_told_and_removed() {
    let sandbox = installed();
    sandbox.oneshot();
    Findings::of(&sandbox).is_good("leftovers");
    let leftover = sandbox.state.join(".ccstatusd-snapshot.json.1.tmp");
    fs_err::write(&leftover, "torn").unwrap();
    Findings::of(&sandbox).has("leftovers", "note", "left in");
    let _stopped = Stopped(&sandbox);
    Findings::by(doctor(&sandbox, &["--json", "--fix"]));
    assert!(!leftover.exists());
}

#[test]
fn a_full_disk_is_told() {
    let sandbox = installed();
    sandbox.oneshot();
    Findings::of(&sandbox).is_good("disk");
    let script = format!(
        "mount -t tmpfs -o size=1m,mode=700 none '{}' && exec \"$0\" doctor --json",
        sandbox.state.display()
    );
    let can = sandbox.command("unshare").args(["-Urm", "true"]).output();
    if !can.is_ok_and(|it| it.status.success()) {
        return skip("no user namespaces: no full disk for doctor");
    }
    let mut command = sandbox.command("unshare");
    command.args(["-Urm", "sh", "-ec", &script, OURS]);
    Findings::by(command).has("disk", "problem", "MiB are free");
}

// ---- Versions

#[test]
fn another_version_is_told_wherever_it_is_used() {
    let mut sandbox = installed();
    with_manager(&mut sandbox, "ActiveState=active", "yes");
    let old = sandbox.path("bin/ccstatusd");
    write_script(&old, "#!/bin/sh\necho ccstatusd 0.0.1\n");
    set_line(&sandbox, "ccstatusd show");
    add_unit(&sandbox, ".config", "%h/bin/ccstatusd --log-file x");
    let found = Findings::of(&sandbox);
    found.has("version", "problem", "the status line of");
    found.has("version", "problem", "the systemd unit uses");
    found.has("path", "note", "version 0.0.1");
    set_line(&sandbox, "~/bin/ccstatusd show");
    Findings::of(&sandbox).has("version", "problem", "the status line of");
    write_script(&old, "#!/bin/sh\nexit 1\n");
    Findings::of(&sandbox).has("version", "problem", "does not tell its version");
    fs_err::remove_file(&old).unwrap();
    Findings::of(&sandbox).has("path", "note", "no ccstatusd in PATH");
    fs_err::os::unix::fs::symlink(OURS, &old).unwrap();
    let found = Findings::of(&sandbox);
    found.is_good("version");
    found.is_good("path");
}

#[test]
fn a_watcher_of_another_version_is_told() {
    let sandbox = installed();
    let watcher = sandbox.start_watcher();
    Findings::of(&sandbox).is_good("version");
    // It would write the file again.
    watcher.signal(Signal::SIGSTOP);
    let path = sandbox.state.join("snapshot.json");
    let own = format!(r#""version":"{}""#, env!("CARGO_PKG_VERSION"));
    let older = fs_err::read_to_string(&path).unwrap().replace(&own, r#""version":"0.0.1""#);
    fs_err::write(&path, older).unwrap();
    Findings::of(&sandbox).has("version", "problem", "the watcher is version 0.0.1");
    for args in [&["start"][..], &["init", "--dry-run"]] {
        let output = sandbox.ccstatusd().args(args).output().unwrap();
        let said = text(&output);
        assert!(said.contains("the watcher is version 0.0.1, and this is"), "{args:?}: {said}");
    }
    drop(watcher);
}

// ---- The login

#[test]
fn the_state_of_the_unit_is_told() {
    let mut sandbox = installed();
    with_manager(&mut sandbox, "ActiveState=active", "no");
    add_unit(&sandbox, ".config", OURS);
    let found = Findings::of(&sandbox);
    found.has("login", "problem", "is not enabled");
    found.has("lingering", "note", "ends when you log out");
    enable_unit(&sandbox);
    let found = Findings::of(&sandbox);
    found.is_good("login");
    found.is_good("unit");
    assert_eq!(found.has("watcher", "problem", "no watcher")["fix"], "start the watcher");
    let found = Findings::by(doctor(&sandbox, &["--json", "--fix"]));
    sandbox.ccstatusd().arg("stop").output().unwrap();
    let done = found.of_check("watcher")[0]["fixed"].as_str().unwrap().to_owned();
    assert!(done.contains("the watcher has started") && done.contains("no such unit"), "{done}");
    let calls = fs_err::read_to_string(sandbox.path("systemctl.log")).unwrap();
    let start = format!(
        "{} --user --no-ask-password start ccstatusd.service\n",
        sandbox.path("run").display()
    );
    assert!(calls.contains(&start), "{calls}");

    with_manager(&mut sandbox, "ActiveState=failed", "yes");
    let found = Findings::of(&sandbox);
    found.has("unit", "problem", "has failed");
    found.is_good("lingering");
    with_manager(&mut sandbox, "ActiveState=active\\nNeedDaemonReload=yes", "yes");
    Findings::of(&sandbox).has("unit", "note", "has changed");
    fs_err::remove_dir_all(sandbox.path("run")).unwrap();
    Findings::of(&sandbox).has("unit", "note", "no systemd user manager");
}

#[test]
fn a_unit_that_is_hidden_masked_or_starts_nothing_is_told() {
    let mut sandbox = installed();
    with_manager(&mut sandbox, "ActiveState=active", "yes");
    let packaged = add_unit(&sandbox, ".local/share", OURS);
    enable_unit(&sandbox);
    Findings::of(&sandbox).is_good("unit");
    let own = add_unit(&sandbox, ".config", "%h/gone/ccstatusd");
    let found = Findings::of(&sandbox);
    found.has("unit", "note", &format!("{} hides {}", own.display(), packaged.display()));
    found.has("unit", "problem", "gone/ccstatusd, which is not there");
    fs_err::remove_file(&own).unwrap();
    fs_err::os::unix::fs::symlink("/dev/null", &own).unwrap();
    Findings::of(&sandbox).has("login", "problem", "masks the unit");
}

#[test]
fn a_link_to_a_unit_that_is_gone_is_told_and_removed() {
    let sandbox = installed();
    let link = enable_unit(&sandbox);
    let found = Findings::of(&sandbox);
    let finding = found.has("unit", "note", "starts a unit that is gone");
    assert_eq!(finding["fix"], format!("remove {}", link.display()));
    let _stopped = Stopped(&sandbox);
    Findings::by(doctor(&sandbox, &["--json", "--fix"]));
    assert!(fs_err::symlink_metadata(&link).is_err());
    assert!(Findings::of(&sandbox).of_check("unit").is_empty());
}

#[test]
fn a_unit_in_a_folder_that_only_systemd_knows_is_found() {
    let mut sandbox = installed();
    with_manager(&mut sandbox, "ActiveState=active", "yes");
    let unit = add_unit(&sandbox, "opt", OURS);
    let link = enable_unit(&sandbox);
    fs_err::remove_file(&link).unwrap();
    fs_err::os::unix::fs::symlink(&unit, &link).unwrap();
    let found = Findings::of(&sandbox);
    found.is_good("login");
    found.is_good("unit");
}

#[test]
fn without_a_unit_something_else_may_start_the_watcher() {
    let sandbox = installed();
    Findings::of(&sandbox).has("login", "note", "nothing starts the watcher");
    let hook = |program: &str| {
        let hook = serde_json::json!({"type": "command", "command": format!("{program} start")});
        let hooks = serde_json::json!({"hooks": {"SessionStart": [{"hooks": [hook]}]}});
        write_settings(&sandbox, &hooks.to_string());
    };
    hook(OURS);
    Findings::of(&sandbox).has("login", "good", "the hook in");
    hook("~/gone/ccstatusd");
    Findings::of(&sandbox).has("login", "problem", "gone/ccstatusd, which is not there");
    let entry = sandbox.path(".config/autostart/ccstatusd.desktop");
    fs_err::create_dir_all(entry.parent().unwrap()).unwrap();
    fs_err::write(&entry, format!("Exec=sh -c 'exec {OURS}'\n")).unwrap();
    Findings::of(&sandbox).has("login", "good", "autostart");
    fs_err::write(&entry, "Exec=sh -c 'exec ~/gone/too/ccstatusd'\n").unwrap();
    Findings::of(&sandbox).has("login", "problem", "gone/too/ccstatusd, which is not there");
}

// ---- The system

#[test]
fn a_git_that_is_missing_or_too_old_is_told() {
    let sandbox = installed();
    Findings::of(&sandbox).is_good("git");
    let dir = sandbox.path("few");
    fs_err::create_dir(&dir).unwrap();
    let with_path = || {
        let mut command = doctor(&sandbox, &["--json"]);
        command.env("PATH", &dir);
        Findings::by(command)
    };
    with_path().has("git", "problem", "no git in PATH");
    write_script(&dir.join("git"), "#!/bin/sh\necho git version 2.25.4\n");
    with_path().has("git", "problem", "2.25.4 is too old");
    write_script(&dir.join("git"), "#!/bin/sh\nexit 5\n");
    with_path().has("git", "problem", "exit code 5");
    write_script(&dir.join("git"), "#!/bin/sh\necho git version 2.26.0\n");
    with_path().is_good("git");
}

#[test]
#[cfg(target_os = "linux")]
fn status_lines_of_others_at_work_are_named() {
    let sandbox = installed();
    let tool = sandbox.path("ccstatusline");
    fs_err::copy("/bin/sleep", &tool).unwrap();
    let mut process = sandbox.command(&tool).arg("60").spawn().unwrap();
    let named = || {
        let found = Findings::of(&sandbox);
        let text = format!("{:?}", found.of_check("other-tools"));
        text.contains("ccstatusline (") && text.contains(&process.id().to_string())
    };
    let is_named = is_met_within(CAP, named);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(is_named && !named_after(&sandbox, process.id()));
}

#[cfg(target_os = "linux")]
fn named_after(sandbox: &Sandbox, id: u32) -> bool {
    format!("{:?}", Findings::of(sandbox).of_check("other-tools")).contains(&id.to_string())
}

#[test]
#[cfg(target_os = "linux")]
fn doctor_opens_no_credentials_and_no_environment_of_a_process() {
    let sandbox = installed();
    for name in [".claude/.credentials.json", ".claude.json", ".claude/.claude.json"] {
        fs_err::write(sandbox.path(name), "{}").unwrap();
    }
    let _watcher = sandbox.start_watcher();
    let log = sandbox.path("strace.log");
    let mut command = sandbox.command("strace");
    command.args(["-f", "-e", "trace=open,openat,readlink,readlinkat", "-o"]).arg(&log);
    command.args([OURS, "doctor"]).current_dir(sandbox.path("p"));
    let Ok(output) = command.output() else {
        return skip("no strace: nothing tells what doctor opens");
    };
    let opened = fs_err::read_to_string(log).unwrap();
    assert!(opened.contains("settings.json") && opened.contains("/cmdline"), "{}", text(&output));
    let names = ["credentials", "claude.json", "/environ"];
    let secret = |line: &&str| names.iter().any(|it| line.contains(it));
    let secrets: Vec<_> = opened.lines().filter(secret).collect();
    assert!(secrets.is_empty(), "{secrets:#?}");
}

/// A pipe in place of the settings holds up whoever opens it.
#[test]
fn no_check_waits_for_a_pipe() {
    let sandbox = installed();
    let settings = sandbox.root().join("settings.json");
    fs_err::remove_file(&settings).unwrap();
    nix::unistd::mkfifo(&settings, nix::sys::stat::Mode::S_IRUSR).unwrap();
    Findings::of(&sandbox).has("settings", "problem", "cannot be read");
}

/// The kernel's answers about the state directory are held up.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_does_not_answer_holds_up_no_check() {
    let sandbox = installed();
    sandbox.oneshot();
    if !sandbox.command("strace").arg("-V").output().is_ok_and(|it| it.status.success()) {
        return skip("no strace: no disk that does not answer");
    }
    let delayed = "inject=statx,newfstatat,stat,lstat,openat:delay_enter=60s";
    let mut command = sandbox.command("strace");
    command.args(["-f", "-o", "/dev/null", "-P"]).arg(&sandbox.state).args(["-e", delayed]);
    command.args([OURS, "doctor", "--json"]).current_dir(sandbox.path("p"));
    let began = Now::read().mono;
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // It ends only once its thread that hangs may end.
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = Now::read().mono - began;
    child.kill().unwrap();
    child.wait().unwrap();
    let found = Findings(serde_json::from_str(&line).unwrap());
    found.has("state-directory", "problem", "does not answer");
    found.is_good("git");
    assert!(took < CAP, "{took:?}");
}

#[test]
fn people_read_what_to_do() {
    let sandbox = installed();
    let output: Output = doctor(&sandbox, &[]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = "problem watcher: no watcher runs\n        run `ccstatusd start` (or --fix)\n";
    assert!(said.contains(expected) && said.contains("\n1 problem, "), "{said}");
    assert!(!said.contains('\u{1b}'), "colours in a pipe: {said}");
}
