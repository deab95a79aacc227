//! `ccstatusd init` and `ccstatusd uninstall`, in homes as users have them.
#![expect(clippy::disallowed_methods, reason = "the user of the sandbox at work")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::background::Stopped;
use crate::contrib::verify_systemd_unit;
use crate::sandbox::{Sandbox, skip, text, write_script};

/// A user manager that logs its calls, and remembers what is enabled and active.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> "$HOME/systemctl.log"
[ -e "$HOME/no-manager" ] && { echo 'Failed to connect to bus' >&2; exit 1; }
unit="$HOME/.config/systemd/user/ccstatusd.service"
[ -e "$unit" ] || unit="$HOME/usr/lib/systemd/user/ccstatusd.service"
[ -e "$unit" ] || unit=
case "$*" in
*--property=Version*) echo Version=252 ;;
*' show '*)
  echo "FragmentPath=$unit"
  [ -e "$HOME/enabled" ] && echo UnitFileState=enabled || echo UnitFileState=disabled
  [ -e "$HOME/active" ] && echo ActiveState=active || echo ActiveState=inactive ;;
*' enable '*) [ -n "$unit" ] && touch "$HOME/enabled" ;;
*' start '*|*' restart '*) [ -n "$unit" ] && touch "$HOME/active" ;;
*' disable '*) rm -f "$HOME/enabled" "$HOME/active" ;;
esac
"#;

const LOGINCTL: &str = r#"#!/bin/sh
echo "loginctl $*" >> "$HOME/systemctl.log"
case "$1" in
show-user) [ -e "$HOME/lingers" ] && echo Linger=yes || echo Linger=no ;;
enable-linger) touch "$HOME/lingers" ;;
disable-linger) rm "$HOME/lingers" ;;
esac
"#;

/// A home without Claude Code's directory, and with a user manager. The program is in `PATH`.
fn home() -> Sandbox {
    let sandbox = Sandbox::new();
    write_script(&sandbox.path("bin/systemctl"), SYSTEMCTL);
    write_script(&sandbox.path("bin/loginctl"), LOGINCTL);
    let program = env!("CARGO_BIN_EXE_ccstatusd");
    fs_err::os::unix::fs::symlink(program, sandbox.path("bin/ccstatusd")).unwrap();
    sandbox
}

/// As [`home`], without a user manager and a desktop.
fn container() -> Sandbox {
    let sandbox = home();
    fs_err::write(sandbox.path("no-manager"), "").unwrap();
    sandbox
}

fn run(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.ccstatusd().args(args).output().unwrap()
}

/// Runs it, which must succeed, and returns what it prints.
#[track_caller]
fn says(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = run(sandbox, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

/// Runs it, which must fail, and returns what it prints.
#[track_caller]
fn refuses(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = run(sandbox, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
    text(&output)
}

/// Sets up the status line alone, so that no watcher runs.
const LINE_ONLY: [&str; 4] = ["init", "--yes", "--login", "none"];

fn settings(sandbox: &Sandbox) -> PathBuf {
    sandbox.root().join("settings.json")
}

#[track_caller]
fn write_settings(sandbox: &Sandbox, bytes: impl AsRef<[u8]>) {
    fs_err::create_dir_all(sandbox.root()).unwrap();
    fs_err::write(settings(sandbox), bytes).unwrap();
}

#[track_caller]
fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap()
}

/// The status line's command, as a strict parser reads it.
#[track_caller]
fn command_in(path: &Path) -> String {
    let settings: serde_json::Value =
        serde_json::from_str(read(path).trim_start_matches('\u{feff}')).unwrap();
    settings["statusLine"]["command"].as_str().unwrap().to_owned()
}

/// All files and directories of the home, with the content of files, but for those of the sandbox
/// itself.
fn contents(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                add(&path, found);
                found.insert(path, Vec::new());
            } else {
                let bytes = fs_err::read(&path).unwrap_or_default();
                found.insert(path, bytes);
            }
        }
    }
    let mut found = BTreeMap::new();
    add(&sandbox.home, &mut found);
    found.retain(|path, _| {
        !path.starts_with(sandbox.path("bin"))
            && !["git.log", "systemctl.log", "enabled", "active"]
                .iter()
                .any(|it| *path == sandbox.path(it))
    });
    found
}

#[test]
fn a_fresh_home_is_set_up_and_left_as_it_was() {
    let mut sandbox = container();
    sandbox.set_env("CCSTATUSD_DIR", sandbox.path(".local/state/ccstatusd"));
    sandbox.state = sandbox.path(".local/state/ccstatusd");
    let before = contents(&sandbox);
    let shown = says(&sandbox, &["init", "--dry-run"]);
    assert!(shown.contains("~/.claude/settings.json (new)"), "{shown}");
    assert!(shown.contains("refreshInterval: an idle session"), "{shown}");
    assert_eq!(contents(&sandbox), before, "--dry-run changes nothing");

    let refused = refuses(&sandbox, &["init"]);
    assert!(refused.contains("standard input is no terminal"), "{refused}");
    assert!(refused.contains("--yes"), "{refused}");
    assert_eq!(contents(&sandbox), before);

    let _stopped = Stopped(&sandbox);
    let said = says(&sandbox, &["init", "--yes"]);
    assert!(said.contains("the watcher has started"), "{said}");
    assert!(said.contains("under the prompt of a session within 5 s"), "{said}");
    assert!(said.ends_with("no Claude Code session was active in the last day\n"), "{said}");
    let program = sandbox.path("bin/ccstatusd");
    assert_eq!(command_in(&settings(&sandbox)), format!("{} show", program.display()));
    let text = read(&settings(&sandbox));
    assert!(text.contains(&format!("\"{} start >/dev/null\"", program.display())), "{text}");
    assert!(text.contains("\"refreshInterval\": 5"), "{text}");
    let record = sandbox.path(".local/share/ccstatusd");
    for (path, mode) in [(record.clone(), 0o700), (record.join("installed.json"), 0o600)] {
        assert_eq!(fs_err::metadata(path).unwrap().mode() & 0o7777, mode);
    }

    let again = says(&sandbox, &["init"]);
    assert!(again.contains("there is nothing to change"), "{again}");
    assert_eq!(read(&settings(&sandbox)), text);

    let shown = says(&sandbox, &["uninstall", "--dry-run", "--purge"]);
    assert!(shown.contains("delete it, since it was not there before"), "{shown}");
    refuses(&sandbox, &["uninstall"]);
    assert_eq!(read(&settings(&sandbox)), text);
    let said = says(&sandbox, &["uninstall", "--yes", "--purge"]);
    assert!(said.contains("the watcher has ended"), "{said}");
    assert_eq!(contents(&sandbox), before);
    let again = says(&sandbox, &["uninstall", "--yes", "--purge"]);
    assert!(again.contains("Nothing of ccstatusd is set up here"), "{again}");
}

#[test]
fn settings_of_every_shape_are_given_back_byte_for_byte() {
    let huge: Vec<_> = (0..40_000).map(|nth| format!("    \"Bash(echo {nth}:*)\"")).collect();
    let huge = format!("{{\n  \"permissions\": [\n{}\n  ]\n}}\n", huge.join(",\n"));
    let shapes: [(&str, &str); 16] = [
        ("missing final newline", "{\n  \"model\": \"opus\"\n}"),
        ("comments", "// a\n{\n  \"a\": 1, // b\n  /* c */\n  \"b\": 2 // d\n  // e\n}\n"),
        ("CRLF", "{\r\n  \"a\": 1\r\n}\r\n"),
        ("tabs", "{\n\t\"a\": {\n\t\t\"b\": 1\n\t}\n}\n"),
        ("one line", "{\"a\":1,\"b\":[1,2]}"),
        ("empty", ""),
        ("spaces only", " \n\n"),
        ("an empty object", "{}"),
        ("a byte order mark", "\u{feff}{\n  \"a\": 1\n}\n"),
        ("duplicate keys", "{\n  \"a\": 1,\n  \"a\": 2\n}\n"),
        ("trailing commas", "{\n  \"a\": [\n    1,\n  ],\n}\n"),
        ("status lines elsewhere", "{\n  \"a\": { \"statusLine\": { \"command\": \"x\" } }\n}\n"),
        ("disableAllHooks", "{\n  \"disableAllHooks\": true\n}\n"),
        ("odd blanks", "\n {\n\n\"a\" :1 ,\n\n      \"b\":2\n\n }\n\n"),
        ("a null line", "{\n  \"statusLine\": null,\n  \"a\": 1\n}\n"),
        ("huge", &huge),
    ];
    let sandbox = home();
    for (what, before) in shapes {
        write_settings(&sandbox, before);
        let said = says(&sandbox, &LINE_ONLY);
        let is_lax = ["comments", "trailing commas"].contains(&what);
        assert_eq!(said.contains("Claude Code skips such a file"), is_lax, "{what}: {said}");
        assert_eq!(said.contains("has disableAllHooks"), what == "disableAllHooks", "{said}");
        let ours = read(&settings(&sandbox));
        assert_eq!(ours.matches("ccstatusd show").count(), 1, "{what}: {ours}");
        let again = says(&sandbox, &LINE_ONLY);
        assert!(again.contains("nothing to change"), "{what}: {again}");
        assert_eq!(read(&settings(&sandbox)), ours, "{what}");
        let said = says(&sandbox, &["uninstall", "--yes"]);
        assert!(said.contains("byte for byte"), "{what}: {said}");
        assert_eq!(read(&settings(&sandbox)), before, "{what}");
        assert!(!sandbox.path(".local/share/ccstatusd").exists(), "{what}");
    }
}

#[test]
fn what_is_invalid_or_not_to_be_written_is_left_alone_and_told() {
    let sandbox = home();
    let invalid: [(&[u8], &str); 6] = [
        (b"{\"a\": 1", "not a valid settings file"),
        (b"[1, 2]\n", "it is not an object"),
        (b"{\n<<<<<<< HEAD\n}\n", "line 2"),
        (b"{\"a\": \"\xff\"}", "not UTF-8"),
        (b"{\"statusLine\": {}, \"statusLine\": {}}", "stands there twice"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
    ];
    for (bytes, why) in invalid {
        write_settings(&sandbox, bytes);
        let said = refuses(&sandbox, &LINE_ONLY);
        assert!(said.contains(why) && said.contains("to add by hand"), "{why}: {said}");
        assert!(said.contains("\"refreshInterval\": 5"), "{said}");
        assert_eq!(fs_err::read(settings(&sandbox)).unwrap(), bytes);
    }
    write_settings(&sandbox, "{}\n");
    for mode in [0o444, 0o400] {
        fs_err::set_permissions(settings(&sandbox), PermissionsExt::from_mode(mode)).unwrap();
        let said = refuses(&sandbox, &LINE_ONLY);
        assert!(said.contains("read-only") && said.contains("to add by hand"), "{said}");
        assert_eq!(read(&settings(&sandbox)), "{}\n");
    }
    fs_err::remove_file(settings(&sandbox)).unwrap();
    fs_err::os::unix::fs::symlink("gone", settings(&sandbox)).unwrap();
    let said = refuses(&sandbox, &LINE_ONLY);
    assert!(said.contains("leads to nothing"), "{said}");
    fs_err::remove_file(settings(&sandbox)).unwrap();
    fs_err::create_dir(settings(&sandbox)).unwrap();
    let said = refuses(&sandbox, &LINE_ONLY);
    assert!(said.contains("not a regular file"), "{said}");
}

/// Dotfile managers link the file, and the whole directory, to a repository.
#[test]
fn links_stay_and_what_they_lead_to_is_edited() {
    let sandbox = home();
    fs_err::create_dir_all(sandbox.path("dotfiles/claude")).unwrap();
    fs_err::write(sandbox.path("dotfiles/s.json"), "{\n  \"a\": 1\n}\n").unwrap();
    let mode = PermissionsExt::from_mode(0o640);
    fs_err::set_permissions(sandbox.path("dotfiles/s.json"), mode).unwrap();
    let link = |to: &str, from: PathBuf| fs_err::os::unix::fs::symlink(to, from).unwrap();
    link("../s.json", sandbox.path("dotfiles/claude/settings.json"));
    link("dotfiles/claude", sandbox.root());
    says(&sandbox, &LINE_ONLY);
    let real = sandbox.path("dotfiles/s.json");
    assert!(read(&real).contains("ccstatusd show"));
    assert!(fs_err::symlink_metadata(settings(&sandbox)).unwrap().is_symlink());
    assert_eq!(fs_err::metadata(&real).unwrap().mode() & 0o7777, 0o640);
    says(&sandbox, &["uninstall", "--yes"]);
    assert_eq!(read(&real), "{\n  \"a\": 1\n}\n");
    assert_eq!(fs_err::metadata(&real).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn every_root_is_set_up_and_a_bad_one_keeps_no_other_from_it() {
    let mut sandbox = home();
    for name in ["work", "private", "third"] {
        fs_err::create_dir(sandbox.path(name)).unwrap();
    }
    fs_err::write(sandbox.path("private/settings.json"), "{").unwrap();
    sandbox.set_env("CLAUDE_CONFIG_DIR", "~/work, ~/private, ~/not-there");
    sandbox.configure("roots = [\"~/third\", \"~/work\"]\n");
    let said = refuses(&sandbox, &LINE_ONLY);
    assert!(said.contains("~/private/settings.json: it is not a valid"), "{said}");
    for name in ["work", "third"] {
        command_in(&sandbox.path(name).join("settings.json"));
    }
    assert!(!sandbox.path("not-there").exists() && !sandbox.root().exists());
    assert_eq!(read(&sandbox.path("private/settings.json")), "{");
    fs_err::write(sandbox.path("private/settings.json"), "{}").unwrap();
    says(&sandbox, &["uninstall", "--yes"]);
    assert!(!sandbox.path("work/settings.json").exists());
    assert!(!sandbox.path("third/settings.json").exists());
}

const FOREIGN: &str = "{\n  \"statusLine\": {\"type\": \"command\", \"command\": \"npx -y x@1\", \"padding\": 0}, // x\n  \"a\": 1\n}\n";

#[test]
fn a_status_line_of_another_program_stays_unless_it_is_to_be_replaced() {
    let sandbox = home();
    write_settings(&sandbox, FOREIGN);
    let said = says(&sandbox, &LINE_ONLY);
    assert!(said.contains("status line `npx -y x@1`, which stays; --replace"), "{said}");
    assert!(said.contains("No session shows our line"), "{said}");
    assert_eq!(read(&settings(&sandbox)), FOREIGN);

    let replace = [&LINE_ONLY[..], &["--replace"]].concat();
    let said = says(&sandbox, &replace);
    assert!(said.contains("`npx -y x@1` in ~/.claude/settings.json gives way"), "{said}");
    let ours = read(&settings(&sandbox));
    assert!(ours.contains("ccstatusd show") && !ours.contains("npx"), "{ours}");
    says(&sandbox, &["uninstall", "--yes"]);
    assert_eq!(read(&settings(&sandbox)), FOREIGN);

    // Edited since: our line gives way to the earlier one, and the edit stays.
    says(&sandbox, &replace);
    let edited = read(&settings(&sandbox)).replace("\"a\": 1", "\"a\": 2,\n  \"b\": 3");
    fs_err::write(settings(&sandbox), &edited).unwrap();
    let said = says(&sandbox, &["uninstall", "--yes"]);
    assert!(said.contains("nothing of ours any more"), "{said}");
    let expected = FOREIGN.replace("\"a\": 1", "\"a\": 2,\n  \"b\": 3");
    assert_eq!(read(&settings(&sandbox)), expected);
}

#[test]
fn a_replaced_line_that_needs_no_input_goes_on_as_a_command() {
    let sandbox = home();
    let args = [&LINE_ONLY[..], &["--replace", "--keep-as", "old"]].concat();
    // It wants the session, as nearly all do.
    let hungry = FOREIGN.replace("npx -y x@1", "jq -er .model.display_name || exit 5");
    write_settings(&sandbox, &hungry);
    let said = refuses(&sandbox, &args);
    assert!(said.contains("go on as a command") && said.contains("without input"), "{said}");
    assert_eq!(read(&settings(&sandbox)), hungry);

    let frugal = FOREIGN.replace("npx -y x@1", "printf '\\\\n load %s' \\\"$(echo 1)\\\"");
    write_settings(&sandbox, &frugal);
    let said = says(&sandbox, &args);
    assert!(said.contains("shows: load 1"), "{said}");
    let config = read(&sandbox.config_file());
    assert!(config.contains("[commands.old]") && config.contains("{command.old}"), "{config}");
    says(&sandbox, &["config", "--check"]);
    says(&sandbox, &["uninstall", "--yes"]);
    assert_eq!(read(&settings(&sandbox)), frugal);
    assert!(!sandbox.path(".config").exists());
}

#[test]
fn what_the_user_edits_after_init_survives_both() {
    let sandbox = home();
    write_settings(&sandbox, "{\n  \"a\": 1\n}\n");
    says(&sandbox, &LINE_ONLY);
    let edited = read(&settings(&sandbox)).replace("\"a\": 1", "\"a\": 2");
    // An earlier version named another path.
    let edited = edited.replace("bin/ccstatusd", "old/ccstatusd").replace(": 5", ": 9");
    fs_err::write(settings(&sandbox), edited).unwrap();
    says(&sandbox, &LINE_ONLY);
    let text = read(&settings(&sandbox));
    assert!(text.contains("bin/ccstatusd show") && text.contains(": 9"), "{text}");
    says(&sandbox, &["uninstall", "--yes"]);
    assert_eq!(read(&settings(&sandbox)), "{\n  \"a\": 2\n}\n");
}

#[test]
fn without_a_record_what_is_recognisably_ours_is_taken_out() {
    let sandbox = home();
    let own = "{\n  \"a\": 1,\n  \"statusLine\": { \"type\": \"command\", \"command\": \"~/.cargo/bin/ccstatusd show\" },\n  \
               \"subagentStatusLine\": { \"type\": \"command\", \"command\": \"ccstatusd subagents\" }\n}\n";
    write_settings(&sandbox, own);
    fs_err::create_dir_all(sandbox.path(".config/systemd/user")).unwrap();
    let unit = sandbox.path(".config/systemd/user/ccstatusd.service");
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd/ccstatusd.service");
    fs_err::copy(contrib, &unit).unwrap();
    let said = says(&sandbox, &["uninstall", "--yes"]);
    assert!(said.contains("no record of an `init`"), "{said}");
    assert_eq!(read(&settings(&sandbox)), "{\n  \"a\": 1\n}\n");
    assert!(!unit.exists());
    let calls = read(&sandbox.path("systemctl.log"));
    assert!(calls.contains("disable --now ccstatusd.service"), "{calls}");
}

#[test]
fn with_a_user_manager_a_unit_starts_the_watcher() {
    let mut sandbox = home();
    sandbox.set_env("CLAUDE_CONFIG_DIR", "~/.claude-work");
    fs_err::create_dir(sandbox.path(".claude-work")).unwrap();
    let before = contents(&sandbox);
    let said = says(&sandbox, &["init", "--yes"]);
    assert!(said.contains("gets CLAUDE_CONFIG_DIR=~/.claude-work from this shell"), "{said}");
    let unit = sandbox.path(".config/systemd/user/ccstatusd.service");
    let installed = read(&unit);
    let start = format!("ExecStart={} --wait\n", sandbox.path("bin/ccstatusd").display());
    assert!(installed.contains(&start), "{installed}");
    assert!(installed.contains("Environment=CLAUDE_CONFIG_DIR=~/.claude-work\n"), "{installed}");
    let settings = read(&sandbox.path(".claude-work/settings.json"));
    assert!(!settings.contains("hooks"), "{settings}");
    let calls = read(&sandbox.path("systemctl.log"));
    let act: Vec<_> = calls
        .lines()
        .filter_map(|it| it.strip_prefix("--user --no-pager --no-ask-password --quiet "))
        .filter(|it| !it.starts_with("show"))
        .collect();
    let expected = ["daemon-reload", "enable ccstatusd.service", "restart ccstatusd.service"];
    assert_eq!(act, expected);

    let again = says(&sandbox, &["init"]);
    assert!(again.contains("nothing to change"), "{again}");
    fs_err::remove_file(sandbox.path("active")).unwrap();
    let again = says(&sandbox, &["init", "--yes"]);
    assert!(again.contains("has started"), "{again}");
    assert!(read(&sandbox.path("systemctl.log")).contains(" start ccstatusd.service"));

    says(&sandbox, &["uninstall", "--yes", "--purge"]);
    assert_eq!(contents(&sandbox), before);
    assert!(!sandbox.path("enabled").exists() && !sandbox.path("active").exists());
}

#[test]
fn an_older_unit_of_ours_is_replaced_and_others_stay() {
    let sandbox = home();
    fs_err::create_dir_all(sandbox.path(".config/systemd/user")).unwrap();
    let unit = sandbox.path(".config/systemd/user/ccstatusd.service");
    let old = "# contrib/systemd/ccstatusd.service\n[Service]\nExecStart=%h/.cargo/bin/ccstatusd\n";
    fs_err::write(&unit, old).unwrap();
    says(&sandbox, &["init", "--yes"]);
    assert!(read(&unit).contains("--wait"));
    let copy = sandbox.path(".local/share/ccstatusd/before-0-ccstatusd.service");
    assert_eq!(read(&copy), old);
    fs_err::write(&unit, read(&unit) + "# edited\n").unwrap();
    says(&sandbox, &["uninstall", "--yes"]);
    assert!(!unit.exists() && !copy.exists());
    // As dotfile managers do it.
    fs_err::write(sandbox.path("unit"), old).unwrap();
    fs_err::os::unix::fs::symlink(sandbox.path("unit"), &unit).unwrap();
    for subcommand in ["init", "uninstall"] {
        let said = says(&sandbox, &[subcommand, "--yes"]);
        assert!(said.contains("ccstatusd.service is a link; it stays"), "{said}");
        assert_eq!(read(&unit), old);
    }
    assert!(!sandbox.path("enabled").exists());
    fs_err::remove_file(&unit).unwrap();
    let own = "[Service]\nExecStart=/opt/mine --ccstatusd\n";
    fs_err::write(&unit, own).unwrap();
    let said = says(&sandbox, &["init", "--yes"]);
    assert!(said.contains("is not from us; it stays"), "{said}");
    assert_eq!(read(&unit), own);
    says(&sandbox, &["uninstall", "--yes"]);
    assert_eq!(read(&unit), own);
}

#[test]
fn a_packaged_unit_is_enabled_and_not_shadowed() {
    let sandbox = home();
    let packaged = sandbox.path("usr/lib/systemd/user/ccstatusd.service");
    fs_err::create_dir_all(packaged.parent().unwrap()).unwrap();
    fs_err::write(&packaged, "[Service]\nExecStart=/usr/bin/ccstatusd --wait\n").unwrap();
    let said = says(&sandbox, &["init", "--yes"]);
    assert!(said.contains("starts another program than"), "{said}");
    assert!(sandbox.path("enabled").exists() && sandbox.path("active").exists());
    assert!(!sandbox.path(".config/systemd").exists());
    says(&sandbox, &["uninstall", "--yes"]);
    assert!(!sandbox.path("enabled").exists() && packaged.exists());
}

#[test]
fn lingering_is_switched_on_only_on_request_and_off_again() {
    let mut sandbox = home();
    sandbox.set_env("TMUX", "/tmp/tmux-1000/default,1,0");
    let said = says(&sandbox, &["init", "--yes"]);
    assert!(said.contains("`ccstatusd init --linger`"), "{said}");
    assert!(!sandbox.path("lingers").exists());
    says(&sandbox, &["init", "--yes", "--linger"]);
    assert!(sandbox.path("lingers").exists());
    says(&sandbox, &["uninstall", "--yes"]);
    assert!(!sandbox.path("lingers").exists());
    // One that was there before is not ours to end.
    fs_err::write(sandbox.path("lingers"), "").unwrap();
    says(&sandbox, &["init", "--yes", "--linger"]);
    says(&sandbox, &["uninstall", "--yes"]);
    assert!(sandbox.path("lingers").exists());
}

#[test]
fn a_desktop_without_a_user_manager_gets_an_autostart_entry() {
    let mut sandbox = container();
    sandbox.set_env("XDG_CURRENT_DESKTOP", "XFCE");
    let before = contents(&sandbox);
    let _stopped = Stopped(&sandbox);
    let said = says(&sandbox, &["init", "--yes"]);
    assert!(said.contains("the watcher has started"), "{said}");
    let entry = sandbox.path(".config/autostart/ccstatusd.desktop");
    let program = sandbox.path("bin/ccstatusd");
    assert!(read(&entry).contains(&format!("{} --wait --log-file", program.display())));
    match Command::new("desktop-file-validate").arg(&entry).output() {
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
        Err(_) => skip("desktop-file-validate is missing: the written entry is not validated"),
    }
    assert!(!read(&settings(&sandbox)).contains("SessionStart"));
    says(&sandbox, &["uninstall", "--yes", "--purge"]);
    assert_eq!(contents(&sandbox), before);
}

#[test]
fn an_agent_of_launchd_is_written_and_loaded() {
    let sandbox = home();
    write_script(
        &sandbox.path("bin/launchctl"),
        "#!/bin/sh\necho \"$*\" >> \"$HOME/launchctl.log\"\n",
    );
    says(&sandbox, &["init", "--yes", "--login", "launchd"]);
    let agent = sandbox.path("Library/LaunchAgents/ccstatusd.plist");
    let to_json = "import json, plistlib, sys\n\
                   json.dump(plistlib.load(open(sys.argv[1], 'rb')), sys.stdout)";
    let output = Command::new("python3").args(["-c", to_json]).arg(&agent).output().unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let state = sandbox.state.to_str().unwrap();
    assert_eq!(parsed["EnvironmentVariables"]["CCSTATUSD_DIR"], state, "{parsed}");
    let script = parsed["ProgramArguments"][2].as_str().unwrap();
    assert!(script.contains(&format!("exec {} --wait", sandbox.path("bin/ccstatusd").display())));
    says(&sandbox, &["uninstall", "--yes"]);
    assert!(!agent.exists());
    let calls = read(&sandbox.path("launchctl.log"));
    let verbs: Vec<_> = calls.lines().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(verbs, ["bootout", "bootstrap", "bootout"]);
}

/// The hook ends long before Claude Code's patience does, and prints nothing that would become a
/// part of the conversation.
#[test]
fn the_hook_starts_a_watcher_and_prints_nothing() {
    let sandbox = container();
    let _stopped = Stopped(&sandbox);
    says(&sandbox, &["init", "--yes"]);
    let parsed: serde_json::Value = serde_json::from_str(&read(&settings(&sandbox))).unwrap();
    let hook = &parsed["hooks"]["SessionStart"][0]["hooks"][0];
    says(&sandbox, &["stop"]);
    for _ in 0..2 {
        let mut command = sandbox.command("sh");
        let output = command.arg("-c").arg(hook["command"].as_str().unwrap()).output().unwrap();
        assert!(output.status.success() && text(&output).is_empty(), "{}", text(&output));
    }
    assert!(says(&sandbox, &["start"]).contains("runs already"));
}

#[test]
fn a_line_whose_path_needs_quotes_runs_in_a_shell() {
    let mut sandbox = container();
    let dir = sandbox.path("my bin's");
    fs_err::create_dir(&dir).unwrap();
    fs_err::copy(env!("CARGO_BIN_EXE_ccstatusd"), dir.join("ccstatusd")).unwrap();
    sandbox.set_env("PATH", std::env::join_paths([&dir, Path::new("/usr/bin")]).unwrap());
    let call = |args: &[&str]| {
        let output = sandbox.command(dir.join("ccstatusd")).args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    call(&LINE_ONLY);
    let line = command_in(&settings(&sandbox));
    let mut shell = sandbox.command("sh");
    let output = shell.args(["-c", &line]).output().unwrap();
    assert!(output.status.success() && text(&output).contains("no watcher"), "{}", text(&output));
    call(&["uninstall", "--yes"]);
    assert!(!settings(&sandbox).exists());
}

/// The quotes of systemd are not those of a shell.
#[test]
fn a_unit_whose_path_and_places_need_quotes_is_valid() {
    let mut sandbox = home();
    let dir = sandbox.path("my 100% \"bin\"'s");
    fs_err::create_dir(&dir).unwrap();
    fs_err::copy(env!("CARGO_BIN_EXE_ccstatusd"), dir.join("ccstatusd")).unwrap();
    let path = [sandbox.path("bin"), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
    sandbox.set_env("PATH", std::env::join_paths(path).unwrap());
    sandbox.set_env("CLAUDE_CONFIG_DIR", "~/a b,~/50%,~/\"c\"");
    let mut command = sandbox.command(dir.join("ccstatusd"));
    let output = command.args(["init", "--yes"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    verify_systemd_unit(&sandbox.home, &sandbox.path(".config/systemd/user"));
}

/// A user who answers.
#[test]
fn only_a_yes_at_the_terminal_changes_something() {
    let sandbox = home();
    write_settings(&sandbox, "{}\n");
    let answer = |answer: &str| {
        let script = "import os, pty, sys\n\
                      pid, fd = pty.fork()\n\
                      if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])\n\
                      seen = b''\n\
                      while b'[y/N]' not in seen: seen += os.read(fd, 1024)\n\
                      os.write(fd, sys.argv[1].encode() + b'\\n')\n\
                      try:\n\
                      \x20   while True: seen += os.read(fd, 1024) or sys.exit(9)\n\
                      except OSError: pass\n\
                      print(seen.decode())\n\
                      sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
        let mut python = sandbox.command("python3");
        python.args(["-c", script, answer, env!("CARGO_BIN_EXE_ccstatusd")]);
        let output = python.args(["init", "--login", "none"]).stderr(Stdio::piped()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    for no in ["", "n", "no", "what?"] {
        let said = answer(no);
        assert!(said.contains("Nothing was changed."), "{no:?}: {said}");
        assert_eq!(read(&settings(&sandbox)), "{}\n");
    }
    assert!(answer("y").contains("is changed"));
    assert!(read(&settings(&sandbox)).contains("ccstatusd show"));
}

#[test]
fn a_purge_after_all_was_given_back_misses_no_record_and_leaves_nothing() {
    let mut sandbox = container();
    sandbox.set_env("CCSTATUSD_DIR", sandbox.path(".local/state/ccstatusd"));
    sandbox.state = sandbox.path(".local/state/ccstatusd");
    let before = contents(&sandbox);
    let _stopped = Stopped(&sandbox);
    says(&sandbox, &["init", "--yes"]);
    says(&sandbox, &["uninstall", "--yes"]);
    let said = says(&sandbox, &["uninstall", "--yes", "--purge"]);
    assert!(said.contains("is deleted") && !said.contains("no record"), "{said}");
    assert_eq!(contents(&sandbox), before);
    assert!(!sandbox.path(".local").exists());
}

/// `CCSTATUSD_DIR` may name a directory that is more than ours.
#[test]
fn a_purge_deletes_only_what_is_ours() {
    let sandbox = container();
    let _stopped = Stopped(&sandbox);
    says(&sandbox, &["init", "--yes"]);
    fs_err::write(sandbox.state.join("thesis.tex"), "x").unwrap();
    fs_err::create_dir(sandbox.state.join("photos")).unwrap();
    let said = says(&sandbox, &["uninstall", "--yes", "--purge"]);
    assert!(said.contains("that are not ours stay"), "{said}");
    let left = fs_err::read_dir(&sandbox.state).unwrap().map(|it| it.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["photos", "thesis.tex"]);
}
