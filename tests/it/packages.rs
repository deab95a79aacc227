//! What packages contain beside the program: man pages, completions, and the schema of the
//! configuration; and the workflows that build them. `tests/packages/run` builds and installs the
//! packages themselves.
#![expect(clippy::disallowed_methods, reason = "these tests are about starting programs")]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ccstatusd::cli::Cli;
use ccstatusd::config::Config;
use ccstatusd::config::schema::schema;
use clap::CommandFactory;
use serde_json::{Value, json};

use crate::sandbox::{skip, text};

#[path = "../../contrib/package/written.rs"]
mod written;

fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    written::write(dir.path(), "2026-11-25").unwrap();
    dir
}

/// The output of a program with this input. `None` when there is no such program.
fn run(program: &str, args: &[&str], input: &str) -> Option<Output> {
    // Shells write into the home directory.
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .args(args)
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(err) if err.kind() == ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    // It may end before it has read everything, and says why.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn every_subcommand_has_a_man_page() {
    let dir = written();
    let man = dir.path().join("man");
    let cli = Cli::command();
    let subcommands = cli.get_subcommands().filter(|it| !it.is_hide_set());
    let names = subcommands.map(|it| format!("ccstatusd-{}.1", it.get_name()));
    let expected: BTreeSet<_> = names.chain(["ccstatusd.1".to_owned()]).collect();
    let pages = fs_err::read_dir(&man).unwrap().map(|it| it.unwrap().file_name());
    let pages: BTreeSet<_> = pages.map(|it| it.into_string().unwrap()).collect();
    assert_eq!(pages, expected);
    for page in &pages {
        let path = man.join(page);
        let title = format!(".TH {} 1 2026-11-25 ", page.trim_end_matches(".1"));
        assert!(fs_err::read_to_string(&path).unwrap().contains(&title), "{page}");
        // Warnings are about blank lines in lists of values, which clap_mangen writes.
        match run("mandoc", &["-T", "lint", "-W", "error", path.to_str().unwrap()], "") {
            None => return skip("mandoc is missing: the man pages are not checked"),
            Some(output) => assert!(output.status.success(), "{}", text(&output)),
        }
    }
}

/// The shell reads the script, and completes `ccstatusd con` where that can be asked for.
#[track_caller]
fn check_completions(shell: &str, file: &str, script: &str) {
    let dir = written();
    let path = dir.path().join("completions").join(file);
    let path = path.to_str().unwrap();
    let script = script.replace("SCRIPT", path);
    match run(shell, &["-c", &script], "") {
        None => skip(&format!("{shell} is missing: its completions are not tried")),
        Some(output) => {
            let said = text(&output);
            assert!(output.status.success() && said.contains("config"), "{said}");
            assert!(!fs_err::read_to_string(path).unwrap().contains("detach"), "it is hidden");
        }
    }
}

#[test]
fn bash_completes_subcommands() {
    let script = "source SCRIPT; COMP_WORDS=(ccstatusd con); COMP_CWORD=1
        _ccstatusd ccstatusd con ccstatusd; echo \"${COMPREPLY[@]}\"";
    check_completions("bash", "ccstatusd.bash", script);
}

/// Zsh completes in a terminal only.
#[test]
fn zsh_reads_the_completions() {
    let script = "autoload -U compinit; compinit -u -D; source SCRIPT
        whence -v _ccstatusd_commands; functions _ccstatusd_commands";
    check_completions("zsh", "_ccstatusd", script);
}

#[test]
fn fish_completes_subcommands() {
    check_completions("fish", "ccstatusd.fish", "source SCRIPT; complete -C 'ccstatusd con'");
}

#[test]
fn nushell_reads_the_completions() {
    check_completions("nu", "ccstatusd.nu", "use SCRIPT *; scope externs | get name | to text");
}

#[test]
fn the_schema_in_the_repository_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.schema.json");
    let is_current = fs_err::read_to_string(path).unwrap() == format!("{:#}\n", schema());
    let how = "cargo run --example package -- schema >docs/config.schema.json";
    assert!(is_current, "it is not what the program reads; write it again: {how}");
}

/// What the schema says of each of these documents. `None` without a validator.
fn judged(documents: &[Value]) -> Option<Vec<String>> {
    let script = "import json, sys
try:
    import fastjsonschema
except ImportError:
    sys.exit(42)
given = json.load(sys.stdin)
validate = fastjsonschema.compile(given['schema'], use_default=False)
for document in given['documents']:
    try:
        validate(document)
        print('accepted')
    except fastjsonschema.JsonSchemaValueException as err:
        print('refused:', err.message.replace('\\n', ' '))";
    let input = json!({"schema": schema(), "documents": documents}).to_string();
    let output = run("python3", &["-c", script], &input).expect("python3 is there");
    if output.status.code() == Some(42) {
        skip("python3 has no fastjsonschema: the schema of the configuration is not tried");
        return None;
    }
    assert!(output.status.success(), "{}", text(&output));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

fn as_json(config: &str) -> Value {
    let table: toml::Table = config.parse().unwrap_or_else(|err| panic!("{err}\n{config}"));
    serde_json::to_value(table).unwrap()
}

/// What `ccstatusd config` prints, with every default in effect.
fn every_setting() -> String {
    let page = ccstatusd::config::describe::describe(&Config::default(), None);
    let uncommented = |line: &str| {
        line.strip_prefix('#').filter(|it| !it.starts_with(' ')).unwrap_or("").to_owned()
    };
    page.lines().skip(1).map(|line| uncommented(line) + "\n").collect()
}

#[test]
fn the_schema_accepts_every_setting_with_its_default() {
    let settings = every_setting();
    assert!(Config::parse(settings.as_bytes()).is_ok() && settings.lines().count() > 200);
    let Some(judged) = judged(&[as_json(&settings)]) else { return };
    assert_eq!(judged, ["accepted"]);
}

/// Each line is a configuration file; `|` stands for the end of a line in it.
const ACCEPTED: [&str; 41] = [
    "",
    "format = '{git}'",
    "format = 'text \\{ {directory}( at {git}) {command.load}'|[commands.load]|command = ['a']",
    "roots = ['/r', '~/s', '~']",
    "theme.depth = 256",
    "theme.depth = '256'",
    "theme.depth = true",
    "theme = {preset = 'compact', palette = 'nord', padding = 100, columns = 20}",
    "theme.colors = {alarm = 'bold  #ff8800 bg:bright-red', dim = '007', warning = ''}",
    "theme.separator = ' · '",
    "usage.week_starts = 'sunday'",
    "usage = {source = 'ccusage', command = ['x', '']}",
    "git = {timeout_ms = 10, trust = ['~/w']}",
    "git.timeout_ms = 600000",
    "privacy.preview = false",
    "commands.b-2_X = {command = ['sh', '-c', ''], every_s = 1, timeout_ms = 10}",
    "commands.b = {command = ['a'], every_s = 86400, timeout_ms = 10000}",
    "commands.b = {command = ['a'], on = ['repo', 'waiting', 'file:~/x'], scope = 'session'}",
    "segments.'command.b'.format = '{1} {a-B_2}'|[commands.b]|command = ['a']",
    "alert = [{name = 'w', on = 'waiting', command = 'desktop'}]",
    "alert = [{name = 'w', on = 'waiting', command = ['a', ''], project = 'a*', root = '~/r'}]",
    "alert = [{name = 'w', on = 'waiting', command = ['a'], in_focus = true}]",
    "alert = [{name = 'f', on = 'finished', min_turn_s = 0, command = 'bell', timeout_ms = 10}]",
    "alert = [{name = 'c', on = 'context', at = 80, command = 'tmux'}]",
    "alert = [{name = 'l', on = 'limit', at = 80.5, limit = 'five_hour', command = ['a']}]",
    "alert = [{name = 'l', on = 'limit', projected = true, command = ['a']}]",
    "alert = [{name = 'c', on = 'cost', at = 0.5, per = 'month', command = ['a']}]",
    "alert = [{name = 'h', on = 'health', level = 'critical', command = ['a']}]",
    "alert = [{name = 'd', on = 'degraded', command = ['a']}]|[alerts]|quiet = ['22:00', '07:30']",
    "alerts.quiet = []",
    "prices.x = {input = 0, output = 1.5}",
    "prices.'a b' = {input = 1, output = 1e6, cache_read = 0, fast_multiplier = 1000}",
    "prices.x = {since = '2026-12-01', input = 1, output = 1}",
    "prices.x = [{input = 1, output = 1}, {since = '2026-12-01', input = 1, output = 1}]",
    "segments.git = {format = '{branch}( {staged})', short = '', priority = 0, max_width = 500}",
    "segments.git = {symbols.ahead = '^', colors.branch = 'bold blue', colors.label = 'dim'}",
    "segments.context = {warning = 0, alarm = 100, bar_width = 500, mark = 100.0}",
    "segments.spend_limit.alarm = 1000",
    "segments.'command.load'.priority = 7|[commands.load]|command = ['a']",
    "segments = {}",
    "segments.git = {}",
];

const REFUSED: [&str; 84] = [
    "colour = 1",
    "format = 3",
    "format = ''",
    "format = 'hello'",
    "format = '{gti}'",
    "format = '{git'",
    "format = 'git}'",
    "format = '{git.branch}'",
    "format = '{command}'",
    "format = '{git} \\'",
    "roots = '~/x'",
    "roots = [3]",
    "roots = ['r']",
    "roots = ['~u/x']",
    "theme = 'x'",
    "theme.palete = 'nord'",
    "theme.preset = 'asci'",
    "theme.palette = 'drak'",
    "theme.depth = 25",
    "theme.depth = false",
    "theme.depth = []",
    "theme.separator = \"\\u001b\"",
    "theme.separator = '123456789012345678901234567890123'",
    "theme.padding = -1",
    "theme.padding = 101",
    "theme.columns = 19",
    "theme.columns = 1001",
    "theme.colors.alrm = 'red'",
    "theme.colors.alarm = 'rde'",
    "theme.colors.alarm = '256'",
    "theme.colors.alarm = '#ff'",
    "usage.week_start = 'sunday'",
    "usage.week_starts = 'Sunday'",
    "usage.source = 'guess'",
    "usage.command = []",
    "usage.command = ['']",
    "usage.command = 'x'",
    "git.timeout_ms = 9",
    "git.timeout_ms = 600001",
    "git.timeout_ms = 1.5",
    "git.trust = ['w']",
    "privacy.preview = 'no'",
    "commands.x = {every_s = 1}",
    "commands.x = {command = ['a'], every_s = 0}",
    "commands.x = {command = ['a'], every_s = 86401}",
    "commands.x = {command = ['a'], timeout_ms = 9}",
    "commands.x = {command = ['a'], timeout_ms = 10001}",
    "commands.'a b' = {command = ['a']}",
    "commands.b = {command = ['a'], on = ['file:x']}",
    "commands.b = {command = ['a'], on = ['commit']}",
    "commands.b = {command = ['a'], scope = 'project'}",
    "alert = {name = 'w', on = 'waiting', command = ['a']}",
    "alert = [{on = 'waiting', command = ['a']}]",
    "alert = [{name = 'w', command = ['a']}]",
    "alert = [{name = 'w', on = 'waiting'}]",
    "alert = [{name = 'a b', on = 'waiting', command = ['a']}]",
    "alert = [{name = 'w', on = 'no_watchers', command = ['a']}]",
    "alert = [{name = 'w', on = 'waiting', command = 'growl'}]",
    "alert = [{name = 'w', on = 'waiting', command = []}]",
    "alert = [{name = 'w', on = 'waiting', command = ['a'], timeout_ms = 10001}]",
    "alert = [{name = 'w', on = 'waiting', command = ['a'], root = 'r'}]",
    "alert = [{name = 'w', on = 'waiting', command = ['a'], in_focus = 'no'}]",
    "alert = [{name = 'w', on = 'cost', at = 1, per = 'year', command = ['a']}]",
    "alert = [{name = 'w', on = 'finished', min_turn_s = -1, command = ['a']}]",
    "alerts.quiet = ['24:00', '07:00']",
    "alerts.quiet = ['22:00', '07:00', '08:00']",
    "prices.x = {input = 1}",
    "prices.x = {input = -1, output = 1}",
    "prices.x = {input = 1, output = 1000001}",
    "prices.x = {input = 1, output = 1, read = 1}",
    "prices.x = {input = 1, output = 1, us_multiplier = 1001}",
    "prices.x = {since = '2026', input = 1, output = 1}",
    "prices.x = {since = 2026, input = 1, output = 1}",
    "prices.x = []",
    "prices.x = [{input = 1}]",
    "segments.gti.priority = 3",
    "segments.git.priority = 101",
    "segments.git.max_width = 0",
    "segments.git.warning = 1",
    "segments.git.bar_width = 1",
    "segments.git.format = '{brnch}'",
    "segments.git.symbols.aheda = 'x'",
    "segments.context.warning = 101",
    "segments.spend_limit.alarm = 1001",
];

#[test]
fn the_schema_refuses_what_the_program_refuses() {
    let lines = |it: &&str| it.replace('|', "\n");
    let many = |n: usize| (0..n).map(|it| format!("commands.c{it}.command = ['a']\n")).collect();
    let accepted: Vec<String> = ACCEPTED.iter().map(lines).chain([many(16)]).collect();
    let refused: Vec<String> = REFUSED.iter().map(lines).chain([many(17)]).collect();
    for config in &accepted {
        let read = Config::parse(config.as_bytes());
        assert!(read.is_ok(), "{config}: {}", read.unwrap_err());
    }
    for config in &refused {
        assert!(Config::parse(config.as_bytes()).is_err(), "the program accepts {config}");
    }
    let documents: Vec<_> = accepted.iter().chain(&refused).map(|it| as_json(it)).collect();
    let Some(judged) = judged(&documents) else { return };
    assert_eq!(judged.len(), documents.len());
    let (of_accepted, of_refused) = judged.split_at(accepted.len());
    for (config, said) in accepted.iter().zip(of_accepted) {
        assert_eq!(said, "accepted", "{config}");
    }
    for (config, said) in refused.iter().zip(of_refused) {
        assert!(said.starts_with("refused"), "the schema accepts {config}");
    }
}

/// The reader names the keys that it knows when it meets one that is like none of them.
#[test]
fn the_schema_has_every_key_that_is_read() {
    let schema = schema();
    for path in [
        "",
        "theme",
        "usage",
        "git",
        "privacy",
        "commands.x",
        "alerts",
        "prices.x",
        "segments.context",
    ] {
        let dot = if path.is_empty() { "" } else { "." };
        let err = Config::parse(format!("{path}{dot}zzzzzzzzzzzz = 1").as_bytes()).unwrap_err();
        let err = err.to_string();
        let (_, listed) =
            err.split_once("unknown key zzzzzzzzzzzz; expected one of ").unwrap_or_else(|| {
                panic!("{path}: {err}");
            });
        let listed = listed.split(';').next().unwrap().split(", ");
        let read: BTreeSet<_> = listed.map(str::to_owned).collect();

        let mut table = &schema;
        for key in path.split('.').filter(|it| !it.is_empty()) {
            let named = &table["properties"][key];
            table = if named.is_null() { &table["additionalProperties"] } else { named };
            // One price, or a list of them.
            if table["anyOf"][0]["$ref"] == "#/definitions/price" {
                table = &schema["definitions"]["price"];
            }
        }
        let described: BTreeSet<_> =
            table["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, read, "{path}");
    }
    let err = Config::parse(b"[[alert]]\nzzzzzzzzzzzz = 1").unwrap_err().to_string();
    let (_, listed) = err.split_once("unknown key zzzzzzzzzzzz; expected one of ").unwrap();
    let read: BTreeSet<_> = listed.lines().next().unwrap().split(", ").map(str::to_owned).collect();
    let described = schema["properties"]["alert"]["items"]["properties"].as_object().unwrap();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), read);
}

#[test]
fn the_printed_configuration_names_its_schema_first() {
    let page = ccstatusd::config::describe::describe(&Config::default(), None);
    let url = schema()["$id"].as_str().unwrap().to_owned();
    assert!(page.starts_with(&format!("#:schema {url}\n")), "{page:.200}");
    assert!(url.starts_with(env!("CARGO_PKG_REPOSITORY")) && url.starts_with("https://"), "{url}");
}

/// The steps of `.ci/run`, and the scripts, that the workflows name are there.
#[test]
fn the_workflows_are_valid_and_name_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = "import json, sys
try:
    import ruamel.yaml
except ImportError:
    sys.exit(42)
print(json.dumps(ruamel.yaml.YAML(typ='safe', pure=True).load(sys.stdin)))";
    let steps = fs_err::read_to_string(root.join(".ci/run")).unwrap();
    for name in ["ci.yml", "release.yml"] {
        let page = fs_err::read_to_string(root.join(".github/workflows").join(name)).unwrap();
        let output = run("python3", &["-c", script], &page).expect("python3 is there");
        if output.status.code() == Some(42) {
            return skip("python3 has no ruamel.yaml: the workflows are not read");
        }
        assert!(output.status.success(), "{name}: {}", text(&output));
        let workflow: Value = serde_json::from_slice(&output.stdout).unwrap();
        let jobs = workflow["jobs"].as_object().unwrap();
        for (name_of_job, job) in jobs {
            let needs = match &job["needs"] {
                Value::Array(names) => names.iter().map(|it| it.as_str().unwrap()).collect(),
                Value::String(one) => vec![one.as_str()],
                _ => Vec::new(),
            };
            assert!(
                needs.iter().all(|it| jobs.contains_key(*it)),
                "{name}: {name_of_job} needs {needs:?}"
            );
            let is_call = job["uses"] == "./.github/workflows/ci.yml";
            assert!(
                is_call || job["timeout-minutes"].is_number(),
                "{name}: {name_of_job} may hang"
            );
            for command in job["steps"].as_array().into_iter().flatten() {
                let words: Vec<_> =
                    command["run"].as_str().unwrap_or("").split_whitespace().collect();
                let is_script = |it: &&&str| it.starts_with("contrib/") || it.starts_with("tests/");
                for script in words.iter().filter(is_script) {
                    assert!(root.join(script).is_file(), "{name}: there is no {script}");
                }
                let arguments = words.iter().skip_while(|it| !it.ends_with(".ci/run")).skip(1);
                for step in arguments {
                    assert!(steps.contains(&format!("\n{step}() {{")), "{name}: no step {step}");
                }
            }
        }
    }
}
