//! PURE. `ccstatusd config`: prints the configuration in effect, with an explanation of each
//! setting.
//!
//! **Invariant:** the output is a configuration file that reads back as the same configuration.
//! Settings that have their default are commented out, and have the same effect uncommented.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Config;
use super::alerts::{BUDGET_SPANS, Command, DEFAULT_TIMEOUT_MS, LEVELS, time_of_day};
use super::commands::{SCOPES, Trigger};
use super::display::DEPTHS;
use super::usage::{FOREVER, SOURCES, WEEKDAYS};
use crate::alert::Condition;
use crate::display::colors::describe_ink;
use crate::display::paint::MEANINGS;
use crate::display::palettes::PALETTES;
use crate::display::presets::PRESETS;
use crate::display::segments::segment::{COMMAND, Segment};
use crate::display::segments::{FORMAT, SEGMENTS};
use crate::sanitize::is_steering;
use crate::store::schema::display as schema;
use crate::time::SECOND_MS;

/// The schema of the file, as it was when this version was released. Editors read it.
pub(super) const SCHEMA: &str = concat!(
    env!("CARGO_PKG_REPOSITORY"),
    "/raw/v",
    env!("CARGO_PKG_VERSION"),
    "/docs/config.schema.json"
);

/// Columns of a comment.
const WIDTH: usize = 96;

/// `path` is where the configuration file is, or would be.
pub fn describe(config: &Config, path: Option<&Path>) -> String {
    // Taplo, which most editors use for TOML, looks for this in the first line.
    let mut out = Page(format!("#:schema {SCHEMA}\n\n"));
    let file = path.map_or("HOME is not set, so it has no file.".to_owned(), |path| {
        format!("Its file is {}.", path.display())
    });
    out.comment(&format!(
        "The configuration of ccstatusd that is in effect. {file} Settings that are commented out \
         have the value shown, which is their default."
    ));
    out.blank_line();
    out.comment(
        "What the status line shows: segments in braces, which are listed below, groups in \
         parentheses, which are shown only if a segment in them has something to say, and text. \
         Spaces outside of groups become the separator. Each line of the format is a row. \
         {git_error} {degraded} {watcher}, which tell that data is old, are added at the end if \
         the format has none; so is the time, on lines for cat.",
    );
    out.value("format", config.display.format.as_deref().map(quoted), &quoted(FORMAT));
    out.comment(
        "Claude Code's directories, besides those in CLAUDE_CONFIG_DIR or the default ones.",
    );
    out.value("roots", (!config.roots.is_empty()).then(|| paths(&config.roots)), "[]");
    theme(config, &mut out);
    usage(config, &mut out);
    git(config, &mut out);
    privacy(config, &mut out);
    export(config, &mut out);
    commands(config, &mut out);
    alerts(config, &mut out);
    prices(config, &mut out);
    out.blank_line();
    out.comment(
        "Settings of single segments. `format` consists of the parts that are listed, of groups \
         and of text, as above. `short` replaces it where the line is too narrow; if you set \
         `format` but not `short`, there is no shorter form. The segment with the highest \
         `priority` gets its columns first, and one wider than `max_width` is cut. \
         `colors.PART` is the colour of a part, and `colors.label` that of the text around the \
         parts. From the values of `warning` and `alarm` on, a segment has the theme's colour for \
         them instead. If `alarm` is not above `warning`, there is no warning.",
    );
    for row in SEGMENTS.iter().copied().flatten() {
        segment(row, config, &mut out);
    }
    out.0
}

fn theme(config: &Config, out: &mut Page) {
    let theme = &config.display.theme;
    out.table("theme", *theme != Default::default());
    out.comment("A set of symbols, separators and shapes:");
    for preset in &PRESETS {
        out.comment(&format!("  {}: {}", preset.name, preset.about));
    }
    out.value("preset", theme.preset.as_deref().map(quoted), &quoted("default"));
    let names: Vec<_> = PALETTES.iter().map(|it| it.name).collect();
    out.comment(&format!(
        "A set of colours: {}. `terminal` uses only the terminal's own sixteen; the others need a \
         terminal with 256 or more.",
        names.join(", ")
    ));
    let preset = PRESETS.iter().find(|it| theme.preset.as_deref() == Some(it.name));
    let default = preset.map_or("terminal", |it| it.palette);
    out.value("palette", theme.palette.as_deref().map(quoted), &quoted(default));
    out.comment(
        "How many colours are used: auto (what the terminal supports), none, 16, 256 or true.",
    );
    let depth = theme.depth.map(|depth| quoted(word_for(&DEPTHS, &Some(depth))));
    out.value("depth", depth, &quoted("auto"));
    out.comment("The text between two segments.");
    let separator = preset.unwrap_or(&PRESETS[0]).separator;
    out.value("separator", theme.separator.as_deref().map(quoted), &quoted(separator));
    out.comment("Set this to the `padding` of statusLine in Claude Code's settings.");
    out.value("padding", (theme.padding > 0).then(|| theme.padding.to_string()), "0");
    out.comment(
        "The width of the terminal that lines for cat are made for. They take four columns less.",
    );
    out.value("columns", theme.columns.map(|it| it.to_string()), "120");
    out.blank_line();
    out.comment(
        "Colours that replace those of the palette. Each is one of the names of a terminal's eight \
         colours, also with bright- before it, a number from 0 to 255, or #rrggbb; bg: before it \
         sets the background. The words bold, dim, italic and underline may be added.",
    );
    out.table("theme.colors", !theme.colors.is_empty());
    let palette = theme.palette.as_deref().or(preset.map(|it| it.palette)).unwrap_or("terminal");
    let palette = PALETTES.iter().find(|it| it.name == palette).unwrap_or(&PALETTES[0]);
    for ((name, about), ink) in MEANINGS.iter().zip(palette.inks) {
        out.comment(about);
        let own = theme.colors.get(*name).map(|it| quoted(&describe_ink(*it)));
        out.value(name, own, &quoted(&describe_ink(ink)));
    }
}

fn usage(config: &Config, out: &mut Page) {
    let default = Config::default();
    out.table("usage", config.usage != default.usage);
    out.comment("The first day of \"this week\".");
    let day = |config: &Config| quoted(word_for(&WEEKDAYS, &config.usage.week_starts));
    let own = (config.usage.week_starts != default.usage.week_starts).then(|| day(config));
    out.value("week_starts", own, &day(&default));
    out.comment(
        "For how long the record of usage keeps a month after its end: \"forever\", or a number of \
         days, at least 35. Claude Code deletes transcripts after 30 days; the record remains.",
    );
    let keep = |config: &Config| match config.usage.keep_days {
        None => quoted(FOREVER),
        Some(days) => days.to_string(),
    };
    let own = (config.usage.keep_days != default.usage.keep_days).then(|| keep(config));
    out.value("keep", own, &keep(&default));
    out.comment(
        "What the numbers of the active block are taken from: \"transcripts\", which ccstatusd sums \
         up itself, or \"ccusage\", the output of the command below. It runs with \
         CLAUDE_CONFIG_DIR set to the directory of the account.",
    );
    let source = |config: &Config| quoted(word_for(&SOURCES, &config.usage.source));
    let own = (config.usage.source != default.usage.source).then(|| source(config));
    out.value("source", own, &source(&default));
    let own = (config.usage.command != default.usage.command).then(|| list(&config.usage.command));
    out.value("command", own, &list(&default.usage.command));
}

fn git(config: &Config, out: &mut Page) {
    let default = Config::default();
    out.table("git", config.git != default.git);
    out.comment("Each call of git is ended after so many milliseconds.");
    let timeout_ms = config.git.timeout_ms;
    let own = (timeout_ms != default.git.timeout_ms).then(|| timeout_ms.to_string());
    out.value("timeout_ms", own, &default.git.timeout_ms.to_string());
    out.comment(
        "Programs that the configuration of a repository names, such as filters, run if its .git \
         lies in one of these directories.",
    );
    let own = (config.git.trust != default.git.trust).then(|| paths(&config.git.trust));
    out.value("trust", own, "[]");
}

fn privacy(config: &Config, out: &mut Page) {
    let default = Config::default();
    out.table("privacy", config.privacy != default.privacy);
    out.comment("Whether the snapshot has the beginning of each session's last message.");
    let own = (config.privacy != default.privacy).then(|| config.privacy.preview.to_string());
    out.value("preview", own, "true");
}

fn export(config: &Config, out: &mut Page) {
    let (default, export) = (Config::default().export, &config.export);
    out.table("export", *export != default);
    out.comment(
        "The file for the textfile collector of Prometheus' node_exporter, which must end in \
         .prom. {user} in it stands for your name. Nothing is exported unless it is set. \
         docs/fleet.md describes what is in it.",
    );
    let own = export.textfile.as_ref().map(|it| quoted(&it.to_string_lossy()));
    out.value("textfile", own, &quoted("/var/lib/prometheus/node-exporter/ccstatusd-{user}.prom"));
    out.comment("It is written when something changed, and at most once in so many seconds.");
    let own = (export.every_s != default.every_s).then(|| export.every_s.to_string());
    out.value("every_s", own, &default.every_s.to_string());
    out.comment("Whether numbers of each live session are exported, with its id.");
    out.value("sessions", export.detail.sessions.then(|| "true".to_owned()), "false");
    out.comment("Whether paths are exported: those of accounts, and where sessions work.");
    out.value("paths", export.detail.paths.then(|| "true".to_owned()), "false");
}

fn commands(config: &Config, out: &mut Page) {
    out.blank_line();
    out.comment(
        "Your own commands: a program and its arguments, without a shell. {command.NAME} in a \
         format shows the first line of the output. While a session lives, a command is \
         started at most every `every_s` seconds; it is ended after `timeout_ms` milliseconds.",
    );
    for (name, command) in &config.commands {
        out.table(&format!("commands.{name}"), true);
        out.value("command", Some(list(&command.command)), "");
        if let Some(every_s) = command.every_s {
            out.value("every_s", Some(every_s.to_string()), "");
        }
        if !command.on.is_empty() {
            let words: Vec<_> = command.on.iter().map(Trigger::word).collect();
            out.value("on", Some(list(&words)), "");
        }
        out.value("scope", Some(quoted(word_for(&SCOPES, &command.scope))), "");
        out.value("timeout_ms", Some(command.timeout_ms.to_string()), "");
    }
    out.table("commands.NAME", false);
    out.value("command", None, &list(&["date".to_owned(), "+%A".to_owned()]));
    out.value("every_s", None, "60");
    out.comment(
        "What else starts it: \"repo\" (what git says changed), \"waiting\" (a session began to \
         wait), or \"file:PATH\". With this and without `every_s`, nothing but that does.",
    );
    out.value("on", None, "[]");
    out.comment(
        "For what it runs: global (once), or each root, repository or session by itself, in its \
         directory.",
    );
    out.value("scope", None, &quoted("global"));
    out.value("timeout_ms", None, "2000");
}

fn alerts(config: &Config, out: &mut Page) {
    out.blank_line();
    out.comment(
        "What you want to be told, once whenever it begins to be so; docs/alerts.md explains it. \
         The key `on` says when: waiting (a session waits for you), finished (after a turn of \
         `min_turn_s` seconds or more), context (used to `at` percent), limit (used to `at` \
         percent, or `projected` to be used up before its reset; of `limit` alone, such as \
         five_hour), cost (`at` US dollars `per` session, day or month), health (`level` warning \
         or critical), degraded, or no_watcher (none runs `after_s` seconds after one has died). \
         `project` is a name, in which * stands for any text, and `root` one of Claude Code's \
         directories. While tmux says that the pane of a session has the focus, what concerns the \
         session is told only with `in_focus = true`.",
    );
    out.comment(
        "The program is \"desktop\", \"bell\", \"tmux\", or your own with its arguments, in which \
         {title}, {body}, {session}, {project}, {percent} and {resets_in} are replaced; no shell \
         interprets it. It is ended after `timeout_ms` milliseconds.",
    );
    for alert in &config.alerts {
        out.table("[alert]", true);
        out.value("name", Some(quoted(&alert.name)), "");
        out.value("on", Some(quoted(alert.condition.word())), "");
        for (key, value) in keys_of(&alert.condition) {
            out.value(key, Some(value), "");
        }
        if let Some(project) = &alert.project {
            out.value("project", Some(quoted(project)), "");
        }
        if let Some(root) = &alert.root {
            out.value("root", Some(quoted(&root.to_string_lossy())), "");
        }
        if alert.is_told_in_focus {
            out.value("in_focus", Some("true".to_owned()), "");
        }
        let command = match &alert.command {
            Command::Preset(name) => quoted(name),
            Command::Own(argv) => list(argv),
        };
        out.value("command", Some(command), "");
        out.value("timeout_ms", Some(alert.timeout_ms.to_string()), "");
    }
    out.table("[alert]", false);
    out.value("name", None, &quoted("NAME"));
    out.value("on", None, &quoted("waiting"));
    out.value("command", None, &quoted("desktop"));
    out.value("timeout_ms", None, &DEFAULT_TIMEOUT_MS.to_string());
    out.table("alerts", config.quiet.is_some());
    out.comment(
        "The hours, in local time, in which nothing is told, as in [\"22:00\", \"07:00\"]. What still \
         holds at their end is told then.",
    );
    let own = config.quiet.map(|it| list(&[it.from, it.to].map(time_of_day)));
    out.value("quiet", own, "[]");
}

/// The keys of a condition, with their values.
fn keys_of(condition: &Condition) -> Vec<(&'static str, String)> {
    let limit = |limit: &Option<String>| limit.as_deref().map(|it| ("limit", quoted(it)));
    match condition {
        Condition::Waiting | Condition::Degraded => Vec::new(),
        Condition::Finished { min_turn_ms } => {
            vec![("min_turn_s", (min_turn_ms / SECOND_MS).to_string())]
        }
        Condition::Context { at } => vec![("at", float(*at))],
        Condition::Limit { at, limit: only } => {
            [("at", float(*at))].into_iter().chain(limit(only)).collect()
        }
        Condition::Projected { limit: only } => {
            [("projected", "true".to_owned())].into_iter().chain(limit(only)).collect()
        }
        Condition::Cost { at, per } => {
            vec![("at", float(*at)), ("per", quoted(word_for(&BUDGET_SPANS, per)))]
        }
        Condition::Health { level } => vec![("level", quoted(word_for(&LEVELS, level)))],
        Condition::NoWatcher { after_ms } => {
            vec![("after_s", (after_ms / SECOND_MS).to_string())]
        }
    }
}

fn prices(config: &Config, out: &mut Page) {
    out.blank_line();
    out.comment(
        "What models cost, in US dollars per million tokens, in tables as [prices.\"MODEL\"]. A \
         model whose price changed has several, as [[prices.\"MODEL\"]], each with the day `since` \
         which it applies (UTC); the earliest applies to all before, too. `ccstatusd prices` lists \
         all prices.",
    );
    let rows =
        config.prices.iter().flat_map(|(model, rows)| rows.iter().map(move |it| (model, it)));
    for (model, price) in rows {
        let name = format!("prices.{}", quoted(model));
        let is_single = config.prices[model].len() == 1;
        out.table(&if is_single { name } else { format!("[{name}]") }, true);
        if let Some(since) = price.since {
            out.value("since", Some(quoted(&since.to_string())), "");
        }
        out.value("input", Some(price.input.to_string()), "");
        out.value("output", Some(price.output.to_string()), "");
        for (name, rate) in [
            ("cache_write_5m", price.cache_write_5m),
            ("cache_write_1h", price.cache_write_1h),
            ("cache_read", price.cache_read),
            ("fast_multiplier", price.fast_multiplier),
            ("us_multiplier", price.us_multiplier),
        ] {
            if let Some(rate) = rate {
                out.value(name, Some(rate.to_string()), "");
            }
        }
    }
}

fn segment(row: &Segment, config: &Config, out: &mut Page) {
    let mut names: Vec<String> = vec![row.name.to_owned()];
    if row.name == COMMAND {
        let own = config.display.segments.keys().filter(|it| it.starts_with("command."));
        names = own.cloned().collect();
        names.push("command.NAME".to_owned());
    }
    out.blank_line();
    out.comment(row.about);
    for (part, about) in row.parts {
        out.comment(&format!("  {{{part}}}: {about}"));
    }
    let default = schema::Segment::default();
    let is_ascii = config.display.theme.preset.as_deref() == Some("ascii");
    for name in names {
        let chosen = config.display.segments.get(&name);
        let own = chosen.unwrap_or(&default);
        let path = if name.contains('.') { quoted(&name) } else { name };
        let table = format!("segments.{path}");
        out.table(&table, chosen.is_some());
        out.value("format", own.format.as_deref().map(quoted), &quoted(row.format));
        let short = if own.format.is_none() { row.short } else { "" };
        out.value("short", own.short.as_deref().map(quoted), &quoted(short));
        out.value("priority", own.priority.map(|it| it.to_string()), &row.priority.to_string());
        out.value("max_width", own.max_width.map(|it| it.to_string()), &row.max_width.to_string());
        if let Some((warning, alarm)) = row.thresholds {
            out.value("warning", own.warning.map(float), &float(warning));
            out.value("alarm", own.alarm.map(float), &float(alarm));
        }
        if row.bar_width > 0 {
            let default = row.bar_width.to_string();
            out.value("bar_width", own.bar_width.map(|it| it.to_string()), &default);
        }
        if let Some(mark) = row.mark {
            out.value("mark", own.mark.map(float), &float(mark));
        }
        for symbol in row.symbols {
            let name = symbol.0;
            let own = own.symbols.get(name).map(|it| quoted(it));
            let default = if is_ascii { symbol.2 } else { symbol.1 };
            out.value(&format!("symbols.{name}"), own, &quoted(default));
        }
        for (part, color) in &own.colors {
            out.value(&format!("colors.{part}"), Some(quoted(&describe_ink(*color))), "");
        }
    }
}

/// The word that stands for a value in the file.
fn word_for<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, it)| it == value).map_or("", |(word, _)| word)
}

fn float(number: f64) -> String {
    format!("{number:?}")
}

fn paths(of: &[PathBuf]) -> String {
    list(&of.iter().map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>())
}

fn list(of: &[String]) -> String {
    let items: Vec<_> = of.iter().map(|it| quoted(it)).collect();
    format!("[{}]", items.join(", "))
}

/// A string in the syntax of TOML.
fn quoted(text: &str) -> String {
    if !text.contains('\'') && !text.chars().any(is_steering) {
        return if text.contains(['\\', '"']) {
            format!("'{text}'")
        } else {
            format!("\"{text}\"")
        };
    }
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out += "\\n",
            _ if is_steering(char) => {
                write!(out, "\\u{:04X}", u32::from(char)).expect("a string takes everything")
            }
            _ => out.push(char),
        }
    }
    out + "\""
}

/// The text of a configuration file.
struct Page(String);

impl Page {
    fn blank_line(&mut self) {
        if !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// Writes a comment, wrapped at [`WIDTH`]. The text's own indentation is kept on each line.
    fn comment(&mut self, text: &str) {
        let indent = &text[..text.len() - text.trim_start().len()];
        let mut line = format!("# {indent}");
        let mut is_empty = true;
        for word in text.split_whitespace() {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.0 += line.trim_end();
                self.0.push('\n');
                line = format!("# {indent}{indent}");
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line += word;
            is_empty = false;
        }
        self.0 += line.trim_end();
        self.0.push('\n');
    }

    fn table(&mut self, name: &str, is_own: bool) {
        if !self.0.lines().last().is_some_and(|it| it.starts_with("# ")) {
            self.blank_line();
        }
        let mark = if is_own { "" } else { "#" };
        writeln!(self.0, "{mark}[{name}]").expect("a string takes everything");
    }

    /// Writes a setting with the user's value, or with its default, commented out.
    fn value(&mut self, key: &str, own: Option<String>, default: &str) {
        let written = match own {
            Some(own) => writeln!(self.0, "{key} = {own}"),
            None => writeln!(self.0, "#{key} = {default}"),
        };
        written.expect("a string takes everything");
    }
}
