//! What the configuration file may say, and how a wrong one is refused.

mod options;

use std::path::Path;
use std::time::Duration;

use jiff::civil::Weekday;

use super::{Config, describe};
use crate::alert::Condition;
use crate::cli::Environment;
use crate::fetch::exec::RunLimits;
use crate::fetch::tool;
use crate::usage::prices::{Price, Prices, Rates};

#[track_caller]
fn check_refused(text: &str, reason: &str) {
    let err = Config::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(err.contains(reason), "{text:?}: {err}");
}

#[test]
fn an_empty_file_changes_nothing() {
    assert_eq!(Config::parse(b"").unwrap(), Config::default());
}

#[test]
fn every_option_is_read() {
    let text = "roots = ['/r']\n[usage]\nweek_starts = 'sunday'\n\
                [git]\ntimeout_ms = 100\ntrust = ['~/w']\n";
    let config = Config::parse(text.as_bytes()).unwrap();
    assert_eq!(config.roots, [Path::new("/r")]);
    assert_eq!(config.usage.week_starts, Weekday::Sunday);
    assert_eq!(config.git.timeout(), Duration::from_millis(100));
    assert_eq!(config.git.trust, [Path::new("~/w")]);
}

#[test]
fn an_export_is_off_unless_it_names_a_file_that_the_collector_reads() {
    let config = Config::parse(b"[export]\nsessions = true").unwrap();
    assert_eq!(config.export.textfile_of("u"), None);
    let text = "[export]\ntextfile = '/t/{user}.prom'\nevery_s = 60\npaths = true\n";
    let config = Config::parse(text.as_bytes()).unwrap();
    assert_eq!(config.export.textfile_of("u").as_deref(), Some(Path::new("/t/u.prom")));
    assert_eq!(config.export.every_s, 60);
    assert!(config.export.detail.paths && !config.export.detail.sessions);
    check_refused("[export]\ntextfile = '/t/a.txt'", "it must end in .prom");
    check_refused("[export]\ntextfile = 'a.prom'", "it must be an absolute path");
    check_refused("[export]\nevery_s = 0", "a whole number from 1 to 3600");
}

#[test]
fn a_price_needs_two_rates_and_replaces_the_built_in_one() {
    let text = "[prices.'claude-opus-4-8']\ninput = 8\noutput = 1.5\ncache_read = 0\n";
    let prices = Config::parse(text.as_bytes()).unwrap().prices(Prices::builtin());
    let model = prices.find("claude-opus-4-8[1m]").unwrap().model;
    let rates = Rates {
        input: 8.0,
        output: 1.5,
        cache_write_5m: 10.0,
        cache_write_1h: 16.0,
        cache_read: 0.0,
    };
    let expected =
        Price { since: None, rates, above: None, fast_multiplier: None, us_multiplier: None };
    assert_eq!(model.prices(), [expected]);
    check_refused("[prices.x]\ninput = 1", "line 1, column 9: prices.x: the key output is missing");
    check_refused("[prices.x]\ninput = 1\noutput = 1\nread = 1", "line 4");
    check_refused(
        "[prices.x]\ninput = -1\noutput = 1",
        "line 2, column 9: prices.x.input: it must be a number from 0 to 1000000",
    );
    check_refused("[prices.x]\ninput = nan\noutput = 1", "it must be a number from 0 to 1000000");
}

#[test]
fn a_price_that_changes_is_a_list_of_tables_with_dates() {
    let text = "[[prices.x]]\ninput = 1\noutput = 2\n\
                [[prices.x]]\nsince = '2026-12-01'\ninput = 3\noutput = 4\n";
    let config = Config::parse(text.as_bytes()).unwrap();
    let model = config.prices(Prices::builtin()).find("x").unwrap().model;
    let rates: Vec<_> = model.prices().iter().map(|it| it.rates.input).collect();
    assert_eq!(rates, [1.0, 3.0]);
    let described = describe::describe(&config, None);
    assert_eq!(Config::parse(described.as_bytes()).unwrap(), config, "{described}");
    let single = "prices.x = {since = '2026-12-01', input = 1, output = 2}";
    assert!(Config::parse(single.as_bytes()).is_ok());
    check_refused("prices.x = []", "prices.x: the list has no price");
    check_refused("prices.x = [1]", "prices.x: it must be a table");
    check_refused(&text.replace("since", "from"), "line 5, column 1: prices.x: unknown key from");
    check_refused(&text.replace("'2026-12-01'", "2026-12-01"), "it must be text in quotes");
    check_refused(&text.replace("-12-01", ""), "prices.x.since: it must be a date in quotes");
    let two = text.replace("since = '2026-12-01'\n", "");
    check_refused(&two, "prices.x: two prices have no `since`");
}

fn environment() -> Environment {
    Environment { all: [("HOME".into(), "/h".into())].into(), args: Vec::new() }
}

#[test]
fn another_tool_runs_only_if_the_user_configured_it() {
    let parse = |text: &str| Config::parse(text.as_bytes()).unwrap();
    let tool = |text: &str| parse(text).block_tool(&environment());
    assert_eq!(tool("[usage]\ncommand = ['x']"), None);
    let ccusage = tool("[usage]\nsource = 'ccusage'").unwrap();
    assert_eq!(ccusage.what.program, "ccusage");
    assert_eq!(ccusage.what.args, ["blocks", "--json", "--active", "--offline"]);
    assert_eq!(ccusage.limits.deadline, Duration::from_secs(35));
    assert_eq!(ccusage.limits.max_output, 1 << 20);
    let own = tool("[usage]\nsource = 'ccusage'\ncommand = ['~/bin/cc', '~/x']").unwrap();
    assert_eq!((own.what.program, own.what.args), ("/h/bin/cc".into(), vec!["~/x".into()]));
    check_refused("[usage]\nsource = 'ccusag'", "unknown value ccusag; did you mean ccusage?");
    let names = "usage.source: unknown value guess; expected one of transcripts, ccusage";
    check_refused("[usage]\nsource = 'guess'", names);
    check_refused("[usage]\ncommand = []", "usage.command: it must name a program");
    check_refused("[usage]\ncommand = 'ccusage'", "line 2");
}

#[test]
fn a_command_runs_in_the_home_directory_and_within_its_limits() {
    let text = "[commands.load]\ncommand = ['uptime']\n\
                [commands.b-2]\ncommand = ['sh', '-c', 'x']\ntimeout_ms = 500\nevery_s = 1\n";
    let commands = Config::parse(text.as_bytes()).unwrap().commands(&environment());
    let [(_, second), (_, load)] = [0, 1].map(|it| commands.iter().nth(it).unwrap());
    let expected = RunLimits { deadline: Duration::from_secs(2), ..tool::TOOL_LIMITS };
    assert_eq!((load.limits, load.every), (expected, Duration::from_secs(60)));
    assert_eq!(load.what.dir.as_deref(), Some(Path::new("/h")));
    assert_eq!(second.what.args, ["-c", "x"]);
    assert_eq!(second.limits.deadline, Duration::from_millis(500));
    assert_eq!(second.every, Duration::from_secs(1));
}

#[test]
fn an_invalid_command_is_refused() {
    check_refused("[commands.x]\nevery_s = 1", "commands.x: the key command is missing");
    check_refused("[commands.x]\ncommand = []", "commands.x.command: it must name a program");
    check_refused("[commands.x]\ncommand = ['']", "commands.x.command: it must name");
    check_refused("[commands.x]\ncommand = ['a']\nevery_s = 0", "commands.x.every_s: it must");
    check_refused("[commands.x]\ncommand = ['a']\nevery = 1", "line 3");
    let long = "[commands.x]\ncommand = ['a']\ntimeout_ms = 10001";
    check_refused(long, "commands.x.timeout_ms: it must be a whole number from 10 to 10000");
    check_refused(
        "[commands.'a b']\ncommand = ['a']",
        "line 1, column 11: commands.a b: a name has",
    );
    let many = |n: usize| {
        let one = |it| format!("[commands.c{it}]\ncommand = ['a']\n");
        (0..n).map(one).collect::<String>()
    };
    assert!(Config::parse(many(16).as_bytes()).is_ok());
    check_refused(&many(17), "line 1, column 2: commands: there may be at most 16 commands");
}

#[test]
fn an_unknown_name_is_reported_with_its_position_and_a_suggestion() {
    check_refused("roots = ['r']", "line 1, column 10: roots: it must be an absolute path");
    check_refused(
        "\n[usage]\nweek_start = 'sunday'",
        "line 3, column 1: usage: unknown key week_start; did you mean week_starts?",
    );
    check_refused(
        "[usage]\nweek_starts = 'Caturday'",
        "usage.week_starts: unknown value Caturday; did you mean saturday?",
    );
    check_refused("[git]\ntimeout_ms = 0", "from 10 to 600000");
    check_refused("[git", "line 1");
    check_refused("rots = 1", "line 1, column 1: unknown key rots; did you mean roots?");
    check_refused("\n [thme]", "line 2, column 3: unknown key thme; did you mean theme?");
}

#[test]
fn every_problem_in_a_file_is_reported_in_one_go() {
    let text = "colour = 1\nformat = '{gti} {command.load}'\nroots = [1, '/r', 'r']\n\
        [theme]\npalete = 'dark'\ncolors.alrm = 'red'\ndepth = 3\n\
        [commands.load]\ncommand = []\nevery_s = 'x'\n[gti]\n";
    let err = Config::parse(text.as_bytes()).unwrap_err();
    let expected = "
  line 1, column 1: unknown key colour; expected one of commands, roots, format, theme, segments, \
    usage, git, privacy, export, prices, alert, alerts
  line 2, column 10: format: at character 1: unknown segment gti; did you mean git?
  line 3, column 10: roots: it must be text in quotes
  line 3, column 19: roots: it must be an absolute path, or begin with ~/
  line 5, column 1: theme: unknown key palete; did you mean palette?
  line 6, column 8: theme.colors.alrm: unknown colour alrm; did you mean alarm?
  line 7, column 9: theme.depth: unknown depth 3; expected one of auto, none, 16, 256, true
  line 9, column 11: commands.load.command: it must name a program, as in \
     command = [\"date\", \"+%H:%M\"]
  and 2 more";
    assert_eq!(format!("{err:#}"), expected.replace("\\\n     ", ""));
    assert!(!err.to_string().contains('\n'), "a status line has one line for it");
    let shown = crate::error::Error::new("cannot read it").because(err).to_string();
    assert!(shown.starts_with("cannot read it:\n  line 1, column 1: unknown key"), "{shown}");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_place() {
    check_refused("a = 1\n[git", "line 2, column 5: this is not valid TOML: ");
    check_refused("format = {git}", "line 1, column 14: this is not valid TOML: ");
    check_refused("roots = [~/x]", "line 1, column 10: text must stand in quotes");
    check_refused("[git]\n[git]", "line 2, column 2: this is not valid TOML: duplicate key");
    check_refused("roots = ~/x", "line 1, column 9: text must stand in quotes");
    let err = Config::parse(b"a = 1\n# \xff").unwrap_err();
    assert_eq!(err.to_string(), "line 2, column 3: the file is not UTF-8 text from here on");
}

#[test]
fn numbers_may_be_written_in_every_way_that_toml_has() {
    let text = "git.timeout_ms = 0x1_00\nsegments.context.warning = 1_0\n\
        segments.context.alarm = 0o20\nsegments.context.mark = 5e0\nprices.x = {input=+1, output=1_0.5}";
    let config = Config::parse(text.as_bytes()).unwrap();
    assert_eq!(config.git.timeout_ms, 256);
    let context = &config.display.segments["context"];
    let numbers = (context.warning, context.alarm, context.mark);
    assert_eq!(numbers, (Some(10.0), Some(16.0), Some(5.0)));
    assert_eq!((config.prices["x"][0].input, config.prices["x"][0].output), (1.0, 10.5));
    check_refused("git.timeout_ms = 99999999999999999999", "a whole number from 10 to 600000");
}

#[test]
fn a_key_that_belongs_above_the_first_table_is_sent_there() {
    check_refused(
        "[theme]\npreset = 'ascii'\nformat = '{git}'",
        "line 3, column 1: theme: there is no key format here; it belongs above the first table, or",
    );
    check_refused("[commands.x]\ncommand = ['a']\nroots = []", "it belongs above the first");
    check_refused("[segments.git]\nroots = []", "there is no key roots here; it belongs above");
    check_refused(
        "[theme.colors]\nformat = '{git}'",
        "there is no key format here; it belongs above",
    );
    check_refused(
        "[segments.git.symbols]\nroots = '/'",
        "there is no key roots here; it belongs above",
    );
    check_refused(
        "[commands]\nformat = '{git}'",
        "[commands.format]; the setting format belongs above the first table",
    );
    check_refused(
        "[commands]\nroots = ['/r']",
        "[commands.roots]; the setting roots belongs above the first table",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_in_plain_words() {
    check_refused("roots = '~/x'", "line 1, column 9: roots: it must be a list of texts, as");
    check_refused("roots = [3]", "line 1, column 10: roots: it must be text in quotes");
    check_refused("format = 3", "format: it must be text in quotes");
    check_refused("[usage]\nsource = 3", "usage.source: it must be text in quotes");
    check_refused("[privacy]\npreview = 'no'", "privacy.preview: it must be true or false");
    check_refused("git = { timeout_ms = 1.5 }", "git.timeout_ms: it must be a whole number");
    check_refused("[theme]\npadding = -1", "a whole number from 0 to 100");
    check_refused("segments.git.priority = 'x'", "a whole number from 0 to 100");
    check_refused("[theme]\ndepth = []", "theme.depth: it must be auto, none, 16, 256 or true");
    check_refused(
        "[segments.context]\nalarm = 3\nwarning = 'x'",
        "line 3, column 11: segments.context.warning: it must be a number",
    );
    check_refused("[segments]\ngit = 3", "segments.git: it must be a table, as in [segments.git]");
    check_refused("theme = 'x'", "theme: it must be a table, as in [theme]");
    check_refused("git = ['x']", "git: it must be a table");
    for key in ["[[segments]]", "[[theme]]\npreset = 'x'", "[[commands.x]]\ncommand = ['x']"] {
        check_refused(key, "it must be a table, as in [");
    }
    let commands = "[commands]\ncommand = ['x']";
    check_refused(commands, "commands.command: it must be a table, as in [commands.command]");
    check_refused("[theme]\npreset = ascii", "line 2, column 10: text must stand in quotes");
}

#[test]
fn names_and_formats_that_displays_do_not_know_are_refused_with_a_suggestion() {
    check_refused(
        "\n\n[segments.gti]\npriority = 3",
        "line 3, column 11: segments.gti: unknown segment gti; did you mean git?",
    );
    check_refused(
        "roots = []\nformat = '{directory} {modle}'",
        "line 2, column 10: format: at character 13: unknown segment modle; did you mean model?",
    );
    check_refused("format = '{git'", "at character 1: this { is never closed");
    check_refused("format = 'git}'", "at character 4: this } closes nothing");
    check_refused("format = '({git}'", "at character 1: this ( is never closed");
    check_refused("format = '{git})'", "at character 6: this ) closes nothing");
    check_refused("format = '{command}'", "lacks the command's name");
    check_refused("format = '{command.}'", "lacks the command's name");
    let command = "\n[commands.load]\ncommand = ['uptime']";
    check_refused(
        &format!("format = '{{command.laod}}'{command}"),
        "unknown command laod; did you mean load?",
    );
    check_refused("[segments.'command.x']", "unknown command x; none is defined");
    check_refused(
        "format = '{git.branch}'",
        "branch is a part of git: write {git} here, and format = \"{branch}\" in [segments.git]",
    );
    check_refused("format = '{git.brnch}'", "unknown part brnch; did you mean branch?");
    check_refused("format = '{x.branch}'", "unknown segment x.branch");
    check_refused("format = 'hello'", "it names no segment");
    check_refused(&format!("format = '{}'", "{git} ".repeat(65)), "it has 65 segments");
    check_refused(&format!("format = '{}'", "{git} ".repeat(1000)), "6000 characters");
    check_refused(&format!("format = \"{}{{git}}\"", "x\\n".repeat(9)), "it has more than 8 lines");
    let segment = |it: &str| format!("[segments.git]\n{it}");
    check_refused(&segment("format = '{brnch}'"), "unknown part brnch; did you mean branch?");
    check_refused(&segment("format = '{}'"), "the name of a part is missing here");
    check_refused(&segment("short = '('"), "line 2, column 9: segments.git.short: at character 1");
    check_refused(
        &segment("priorty = 1"),
        "line 2, column 1: segments.git: unknown key priorty; did you mean",
    );
    check_refused(&segment("priority = 101"), "from 0 to 100");
    check_refused(&segment("priority = 300"), "line 2");
    check_refused(&segment("max_width = 0"), "from 1 to 500");
    check_refused(&segment("warning = 1"), "the segment git has no thresholds");
    check_refused(&segment("bar_width = 1"), "the segment git has no bar");
    check_refused(&segment("mark = 1"), "the segment git has no mark");
    check_refused(&segment("symbols.aheda = 'x'"), "unknown symbol aheda; did you mean ahead?");
    check_refused(&segment("symbols.ahead = \"\\u001b\""), "it contains a control character");
    check_refused(&segment("colors.stagd = 'red'"), "unknown part stagd; did you mean staged?");
    check_refused(
        &segment("colors.staged = 'rde'"),
        "line 2, column 17: segments.git.colors.staged: rde is",
    );
    check_refused("[segments.context]\nwarning = nan", "from 0 to 100");
    check_refused(
        "[segments.context]\nwarning = 160",
        "line 2, column 11: segments.context.warning: it must be a number from 0 to 100",
    );
    check_refused("[segments.seven_day]\nalarm = 100.5", "from 0 to 100");
    check_refused("[segments.context]\nmark = -1", "from 0 to 100");
    assert!(Config::parse(b"[segments.spend_limit]\nalarm = 160").is_ok());
    check_refused("[segments.spend_limit]\nalarm = 1001", "from 0 to 1000");
    check_refused("[theme]\npreset = 'asci'", "unknown preset asci; did you mean ascii?");
    check_refused("[theme]\npalette = 'drak'", "unknown palette drak; did you mean dark?");
    check_refused("[theme]\ndepth = '8'", "theme.depth: unknown depth 8; expected one of auto");
    check_refused("[theme]\ndepth = 25", "unknown depth 25; did you mean 256?");
    let depth = |it| Config::parse(format!("[theme]\ndepth = {it}").as_bytes()).unwrap();
    assert_eq!(depth("256"), depth("'256'"));
    assert_eq!(depth("true"), depth("'true'"));
    check_refused("format = \"\"\"\n{git}\n{model\"\"\"", "in row 2, at character 1");
    check_refused("[theme]\npadding = 101", "from 0 to 100");
    check_refused("[theme]\ncolumns = 19", "from 20 to 1000");
    check_refused(
        &format!("[theme]\nseparator = '{}'", "x".repeat(33)),
        "it has 33 characters; at most 32 are allowed",
    );
    check_refused("[theme.colors]\nalrm = 'red'", "unknown colour alrm; did you mean alarm?");
    check_refused("[theme.colors]\nalarm = '#ff'", "#ff is not of the form #rrggbb");
}

/// Also with every default uncommented.
#[test]
fn the_printed_configuration_reads_back_as_the_same_configuration() {
    let usual = Config::default();
    let text = describe::describe(&usual, None);
    assert_eq!(Config::parse(text.as_bytes()).unwrap(), usual, "{text}");
    let is_value = |it: &&str| it.starts_with('#') && !it.starts_with("# ");
    assert!(text.lines().filter(is_value).count() > 200);
    // The first line names the schema.
    let live: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| line.strip_prefix('#').filter(|it| !it.starts_with(' ')).unwrap_or(line))
        .collect();
    let live = live.join("\n");
    Config::parse(live.as_bytes()).unwrap();

    let text = "format = \"{git}\\n{model}'\"\nroots = ['/r']\n[git]\ntimeout_ms = 100\ntrust = ['/w', '~/v']\n\
        [theme]\npreset = 'ascii'\npalette = 'nord'\ndepth = '256'\nseparator = ' \"\\ '\n\
        padding = 2\ncolumns = 90\ncolors.dim = '#010203'\n\
        [segments.git]\nformat = '{branch}'\nshort = ''\npriority = 3\nmax_width = 9\n\
        symbols.ahead = '^'\ncolors.branch = 'bold blue'\n\
        [segments.context]\nwarning = 1\nalarm = 2.5\nbar_width = 3\nmark = 4\n\
        [segments.'command.load']\npriority = 7\n\
        [commands.load]\ncommand = ['a', 'b c']\nevery_s = 7\ntimeout_ms = 70\n\
        [commands.pr]\ncommand = ['gh']\nscope = 'repository'\non = ['repo', 'file:~/x y']\n\
        [[alert]]\nname = 'a'\non = 'limit'\nat = 80.5\nlimit = 'five_hour'\ncommand = 'bell'\n\
        [[alert]]\nname = 'b'\non = 'cost'\nat = 5\nper = 'session'\nproject = 'x*'\n\
        in_focus = true\nroot = '~/r'\ntimeout_ms = 70\ncommand = ['a', '{title}']\n\
        [[alert]]\nname = 'c'\non = 'limit'\nprojected = true\ncommand = 'tmux'\n\
        [[alert]]\nname = 'd'\non = 'finished'\nmin_turn_s = 7\ncommand = 'desktop'\n\
        [[alert]]\nname = 'f'\non = 'no_watcher'\nafter_s = 9\ncommand = ['a']\n\
        [[alert]]\nname = 'e'\non = 'health'\nlevel = 'critical'\ncommand = ['a']\n\
        [alerts]\nquiet = ['22:00', '07:05']\n\
        [privacy]\npreview = false\n\
        [usage]\nweek_starts = 'sunday'\nkeep = 400\nsource = 'ccusage'\ncommand = ['x']\n\
        [prices.'a b']\ninput = 1\noutput = 2.5\n";
    let own = Config::parse(text.as_bytes()).unwrap();
    let text = describe::describe(&own, None);
    assert_eq!(Config::parse(text.as_bytes()).unwrap(), own, "{text}");
}

#[test]
fn an_alert_says_what_is_missing_and_what_does_not_belong_to_it() {
    let check = |keys: &str, reason: &str| {
        check_refused(&format!("[[alert]]\nname = 'x'\ncommand = ['a']\n{keys}"), reason);
    };
    check("on = 'context'", "alert: the key at is missing");
    check("on = 'limit'", "alert: the key at is missing");
    check(
        "on = 'limit'\nprojected = true\nat = 5",
        "alert.at: this key is for alerts on a context",
    );
    check("on = 'waiting'\nat = 5", "this key is for alerts on a context");
    check("on = 'waitng'", "unknown value waitng; did you mean waiting?");
    check("on = 'no_watcher'\nroot = '/r'", "root: this key is for alerts on sessions and");
    check("on = 'waiting'\nafter_s = 5", "after_s: this key is for alerts on a watcher that has");
    check("on = 'no_watcher'\nafter_s = 0", "alert.after_s: it must be a whole number from 1 to");
    check("on = 'cost'\nat = 5\nproject = 'p'", "project: this key is for alerts on what concerns");
    for on in ["'limit'\nat = 5", "'cost'\nat = 5", "'degraded'"] {
        let reason = "alert.in_focus: this key is for alerts on what concerns single sessions";
        check(&format!("on = {on}\nin_focus = true"), reason);
    }
    check("on = 'waiting'\nin_focus = 1", "alert.in_focus: it must be true or false");
    check("on = 'cost'\nat = 0", "alert.at: it must be a number from 0.01 to 1000000");
    check("on = 'context'\nat = 0", "alert.at: it must be a number from 1 to 1000");
    check_refused("[alerts]\nquiet = ['22:00']", "it must be empty, or have two times that differ");
    check_refused(
        "[alerts]\nquiet = ['7:00', '8:00']",
        "it must be a time of day, as in \"22:00\"",
    );
    check_refused("[alert]\nname = 'x'", "each must be a table of its own, as in [[alert]]");
    let one = "[[alert]]\nname = 'x'\non = 'waiting'\ncommand = 'bell'\n";
    check_refused(&format!("{one}{one}"), "there are two alerts with the name x");
    let many: String = (0..33).map(|it| one.replace("'x'", &format!("'x{it}'"))).collect();
    check_refused(&many, "there may be at most 32 alerts");
}

#[test]
fn an_alert_runs_a_program_of_the_user_or_a_ready_made_one() {
    let text = "[[alert]]\nname = 'a'\non = 'waiting'\ncommand = 'desktop'\n\
                [[alert]]\nname = 'b'\non = 'finished'\ncommand = ['~/tell', '{title}']\n";
    let config = Config::parse(text.as_bytes()).unwrap();
    let vars = [("HOME", "/h"), ("DISPLAY", ":0"), ("TMUX_TMPDIR", "/t"), ("SSH_AUTH_SOCK", "/x")];
    let all = vars.map(|(name, it)| (name.into(), it.into())).into();
    let rules = config.rules(&Environment { all, args: Vec::new() });
    assert_eq!(rules["a"].tool.what.program, "notify-send");
    let seen = [("DISPLAY", ":0"), ("TMUX_TMPDIR", "/t")];
    assert_eq!(rules["a"].tool.what.env, seen.map(|(name, it)| (name.into(), it.into())));
    assert_eq!(rules["b"].tool.what.program, "/h/tell");
    assert_eq!(rules["b"].condition, Condition::Finished { min_turn_ms: 30_000 });
    assert_eq!(rules["b"].tool.limits.deadline, Duration::from_secs(5));
}

#[test]
fn what_starts_a_command_and_its_scope_are_read() {
    let text = "[commands.a]\ncommand = ['x']\n[commands.b]\ncommand = ['x']\nscope = 'session'\n\
                on = ['repo', 'file:~/t']\n[commands.c]\ncommand = ['x']\non = ['waiting']\n\
                every_s = 9\n";
    let runs = Config::parse(text.as_bytes()).unwrap().runs(&environment());
    let usual = tool::Runs { is_timed: true, ..tool::Runs::default() };
    assert_eq!(runs["a"], usual);
    let home = environment().home().unwrap().to_owned();
    let expected = tool::Runs {
        scope: tool::Scope::Session,
        on_files: vec![home.join("t")],
        on_repo: true,
        ..tool::Runs::default()
    };
    assert_eq!(runs["b"], expected, "only what happens starts it");
    assert_eq!(runs["c"], tool::Runs { on_waiting: true, ..usual });
    check_refused(
        "[commands.x]\ncommand = ['a']\non = ['git']",
        "commands.x.on: it must be repo, waiting, or file: and a path",
    );
    check_refused("[commands.x]\ncommand = ['a']\nscope = 'repo'", "unknown value repo");
}
