//! PURE. `ccstatusd config`: the configuration as it is in effect, with its manual.
//!
//! **Invariant:** what is printed is a configuration file that says the same as the one it was
//! made from. What is usual stands in it behind a `#`, which can be taken off.

use std::fmt::Write as _;
use std::path::Path;

use super::Config;
use super::display::{DepthConfig, SegmentConfig};
use crate::display::colors::describe_ink;
use crate::display::paint::MEANINGS;
use crate::display::palettes::PALETTES;
use crate::display::presets::PRESETS;
use crate::display::segments::segment::{COMMAND, Segment};
use crate::display::segments::{FORMAT, SEGMENTS};
use crate::sanitize::is_steering;

/// Columns that a comment may take.
const WIDTH: usize = 96;

/// The whole file.
pub fn describe(config: &Config, path: Option<&Path>) -> String {
    let mut out = Page::default();
    let from = path.map_or("no file".to_owned(), |it| it.display().to_string());
    out.comment(&format!(
        "The configuration of ccstatusd as it is in effect, from {from}. A value behind a # is \
         what is usual."
    ));
    out.gap();
    out.comment(
        "What the lines show: segments in braces, which are below, groups in parentheses that \
         vanish with their content, and text. Spaces outside of groups stand for the separator. \
         Each line of it is a row. What tells old from new stands at its end in any case: \
         {git_error} {degraded} {watcher}, and the time on lines for cat.",
    );
    out.value("format", config.format.as_deref().map(quoted), &quoted(FORMAT));
    out.comment("More config roots than CLAUDE_CONFIG_DIR or the usual places.");
    let roots: Vec<_> = config.roots.iter().map(|it| it.to_string_lossy().into_owned()).collect();
    out.value("roots", (!roots.is_empty()).then(|| list(&roots)), "[]");
    theme(config, &mut out);
    usage(config, &mut out);
    git(config, &mut out);
    privacy(config, &mut out);
    commands(config, &mut out);
    prices(config, &mut out);
    out.gap();
    out.comment(
        "Settings of single segments. `format` is made of the parts that are listed, as above; \
         `short` is the same where there is no room for that; a format of your own has none but \
         your own. Of `priority` the highest gets columns first; what takes more than \
         `max_width` is cut. `colors.PART` is the colour of a part, and `colors.label` that of the \
         text around them. What wants a look, by `warning` and `alarm`, keeps its colour; where \
         `alarm` is the lower of the two, all is alarm from there on.",
    );
    for row in SEGMENTS.iter().copied().flatten() {
        segment(row, config, &mut out);
    }
    out.0
}

fn theme(config: &Config, out: &mut Page) {
    let theme = &config.theme;
    out.table("theme", *theme != Default::default());
    out.comment("Symbols, separators and forms that belong together:");
    for it in &PRESETS {
        out.comment(&format!("  {}: {}", it.name, it.about));
    }
    out.value("preset", theme.preset.as_deref().map(quoted), &quoted("default"));
    let names: Vec<_> = PALETTES.iter().map(|it| it.name).collect();
    out.comment(&format!(
        "Colours that belong together: {}. `terminal` has none but the terminal's own sixteen; the \
         others show on terminals of 256 or more.",
        names.join(", ")
    ));
    let preset = PRESETS.iter().find(|it| theme.preset.as_deref() == Some(it.name));
    let usual = preset.map_or("terminal", |it| it.palette);
    out.value("palette", theme.palette.as_deref().map(quoted), &quoted(usual));
    out.comment("How many colours are used: auto, none, 16, 256 or true.");
    let depth = match theme.depth {
        DepthConfig::Auto => None,
        DepthConfig::None => Some("none"),
        DepthConfig::Ansi => Some("16"),
        DepthConfig::Indexed => Some("256"),
        DepthConfig::True => Some("true"),
    };
    out.value("depth", depth.map(quoted), &quoted("auto"));
    out.comment("What stands between two segments.");
    let separator = preset.unwrap_or(&PRESETS[0]).separator;
    out.value("separator", theme.separator.as_deref().map(quoted), &quoted(separator));
    out.comment("The `padding` of statusLine in Claude Code's settings.");
    out.value("padding", (theme.padding > 0).then(|| theme.padding.to_string()), "0");
    out.comment("How wide the lines for cat are.");
    out.value("columns", theme.columns.map(|it| it.to_string()), "120");
    out.gap();
    out.comment(
        "Colours in place of the palette's: the eight names of a terminal's colours, each also \
         with bright- before it, numbers from 0 to 255, #rrggbb, and bold, dim, italic, underline; \
         bg: before a colour makes it the background.",
    );
    out.table("theme.colors", !theme.colors.is_empty());
    let palette = theme.palette.as_deref().or(preset.map(|it| it.palette)).unwrap_or("terminal");
    let palette = PALETTES.iter().find(|it| it.name == palette).unwrap_or(&PALETTES[0]);
    for ((name, about), ink) in MEANINGS.iter().zip(palette.inks) {
        out.comment(about);
        let own = theme.colors.get(*name).map(|it| quoted(it));
        out.value(name, own, &quoted(&describe_ink(ink)));
    }
}

fn usage(config: &Config, out: &mut Page) {
    let usual = Config::default();
    out.table("usage", config.usage != usual.usage);
    out.comment("The first day of \"this week\".");
    let day = |it: &Config| quoted(&format!("{:?}", it.usage.week_starts).to_lowercase());
    let own = (config.usage.week_starts != usual.usage.week_starts).then(|| day(config));
    out.value("week_starts", own, &day(&usual));
    out.comment(
        "Who says what the active block is: transcripts, which is us, or ccusage, which is asked \
         by this command, with CLAUDE_CONFIG_DIR set to the config root.",
    );
    let source = |it: &Config| quoted(&format!("{:?}", it.usage.source).to_lowercase());
    let own = (config.usage.source != usual.usage.source).then(|| source(config));
    out.value("source", own, &source(&usual));
    let own = (config.usage.command != usual.usage.command).then(|| list(&config.usage.command));
    out.value("command", own, &list(&usual.usage.command));
}

fn git(config: &Config, out: &mut Page) {
    let usual = Config::default();
    out.table("git", config.git != usual.git);
    out.comment("How long `git status` may take, in milliseconds.");
    let own = (config.git != usual.git).then(|| config.git.timeout_ms.to_string());
    out.value("timeout_ms", own, &usual.git.timeout_ms.to_string());
}

fn privacy(config: &Config, out: &mut Page) {
    let usual = Config::default();
    out.table("privacy", config.privacy != usual.privacy);
    out.comment("Whether the beginning of each session's last message is kept and published.");
    let own = (config.privacy != usual.privacy).then(|| config.privacy.preview.to_string());
    out.value("preview", own, "true");
}

fn commands(config: &Config, out: &mut Page) {
    out.gap();
    out.comment(
        "Commands of your own, whose first line is shown by {command.NAME}: a program and its \
         arguments, least seconds between two starts, and how long one may take.",
    );
    for (name, command) in &config.commands {
        out.table(&format!("commands.{name}"), true);
        out.value("command", Some(list(&command.command)), "");
        out.value("every_s", Some(command.every_s.to_string()), "");
        out.value("timeout_ms", Some(command.timeout_ms.to_string()), "");
    }
    out.table("commands.NAME", false);
    out.value("command", None, &list(&["date".to_owned(), "+%A".to_owned()]));
    out.value("every_s", None, "60");
    out.value("timeout_ms", None, "2000");
}

fn prices(config: &Config, out: &mut Page) {
    out.gap();
    out.comment(
        "What models cost, in US dollars per million tokens; `ccstatusd prices` says what is known.",
    );
    for (model, price) in &config.prices {
        out.table(&format!("prices.{}", quoted(model)), true);
        out.value("input", Some(price.input.to_string()), "");
        out.value("output", Some(price.output.to_string()), "");
        for (name, rate) in [
            ("cache_write_5m", price.cache_write_5m),
            ("cache_write_1h", price.cache_write_1h),
            ("cache_read", price.cache_read),
            ("fast_multiplier", price.fast_multiplier),
            ("us_multiplier", price.us_multiplier),
        ] {
            if let Some(it) = rate {
                out.value(name, Some(it.to_string()), "");
            }
        }
    }
}

fn segment(row: &Segment, config: &Config, out: &mut Page) {
    let mut names: Vec<String> = vec![row.name.to_owned()];
    if row.name == COMMAND {
        let own = config.segments.keys().filter(|it| it.starts_with("command."));
        names = own.cloned().collect();
        names.push("command.NAME".to_owned());
    }
    out.gap();
    out.comment(row.about);
    for (part, about) in row.parts {
        out.comment(&format!("  {{{part}}}: {about}"));
    }
    let usual = SegmentConfig::default();
    let is_ascii = config.theme.preset.as_deref() == Some("ascii");
    for name in names {
        let chosen = config.segments.get(&name);
        let own = chosen.unwrap_or(&usual);
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
            let usual = row.bar_width.to_string();
            out.value("bar_width", own.bar_width.map(|it| it.to_string()), &usual);
        }
        if let Some(mark) = row.mark {
            out.value("mark", own.mark.map(float), &float(mark));
        }
        for symbol in row.symbols {
            let name = symbol.0;
            let own = own.symbols.get(name).map(|it| quoted(it));
            let usual = if is_ascii { symbol.2 } else { symbol.1 };
            out.value(&format!("symbols.{name}"), own, &quoted(usual));
        }
        for (part, color) in &own.colors {
            out.value(&format!("colors.{part}"), Some(quoted(color)), "");
        }
    }
}

fn float(it: f64) -> String {
    format!("{it:?}")
}

fn list(of: &[String]) -> String {
    let items: Vec<_> = of.iter().map(|it| quoted(it)).collect();
    format!("[{}]", items.join(", "))
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    if !text.contains('\'') && !text.chars().any(is_steering) {
        return if text.contains(['\\', '"']) {
            format!("'{text}'")
        } else {
            format!("\"{text}\"")
        };
    }
    let mut out = String::from("\"");
    for it in text.chars() {
        match it {
            '"' | '\\' => out.extend(['\\', it]),
            '\n' => out += "\\n",
            it if is_steering(it) => {
                write!(out, "\\u{:04X}", u32::from(it)).expect("it is a string")
            }
            it => out.push(it),
        }
    }
    out + "\""
}

/// Text with comments and values.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gap(&mut self) {
        if !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// A comment, wrapped; what is indented stays so.
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
            self.gap();
        }
        let mark = if is_own { "" } else { "#" };
        writeln!(self.0, "{mark}[{name}]").expect("a string takes everything");
    }

    /// What the user chose, or what is usual.
    fn value(&mut self, key: &str, own: Option<String>, usual: &str) {
        let written = match own {
            Some(own) => writeln!(self.0, "{key} = {own}"),
            None => writeln!(self.0, "#{key} = {usual}"),
        };
        written.expect("a string takes everything");
    }
}
