//! PURE. The JSON schema of the configuration file, by which editors complete and check it.
//!
//! What settings mean, and what their defaults are, is read from the page that `ccstatusd config`
//! prints; which values they may have is told by the constants by which the file is read. A schema
//! cannot say everything: it knows no balance of parentheses, takes `5.0` for a whole number, and
//! does not compare settings with each other. What it cannot say, it allows.
//!
//! **Invariant:** what the program accepts, the schema accepts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::alerts::{
    BUDGET_SPANS, BUDGETS, CONDITIONS, LEVELS, MAX_ALERTS, PATIENCE, PERCENT as ALERT_PERCENT,
    PRESETS as TELLERS, TURNS,
};
use super::commands::{MAX_COMMAND_NAME, MAX_COMMANDS, PERIODS, SCOPES, TIMEOUTS};
use super::describe::{SCHEMA, describe};
use super::display::{
    COLUMNS, DEPTHS, MAX_FORMAT, MAX_SYMBOL, PADDINGS, PERCENT, PRIORITIES, WIDTHS, thresholds,
};
use super::export::INTERVALS;
use super::reader::integer;
use super::usage::{FOREVER, KEEP_DAYS, SOURCES, WEEKDAYS};
use super::{Config, GIT_TIMEOUTS};
use crate::display::colors::COLOR_NAMES;
use crate::display::paint::MEANINGS;
use crate::display::palettes::PALETTES;
use crate::display::presets::PRESETS;
use crate::display::segments::SEGMENTS;
use crate::display::segments::segment::{COMMAND, Segment};
use crate::fetch::tool::MAX_FIELD_NAME;
use crate::usage::price_file::{MULTIPLIERS, RATES};

/// The schema, in the draft of JSON Schema that editors of TOML know best.
pub fn schema() -> Value {
    let manual = Manual::read(&describe(&Config::default(), None));
    let mut schema = table([
        ("format", manual.setting("format", format(&segment_names(), true))),
        ("roots", manual.setting("roots", json!({"type": "array", "items": path()}))),
        ("theme", theme(&manual)),
        ("usage", usage(&manual)),
        ("git", git(&manual)),
        ("privacy", privacy(&manual)),
        ("export", export(&manual)),
        ("commands", commands(&manual)),
        ("alert", alert(&manual)),
        ("alerts", table([("quiet", manual.setting("alerts.quiet", quiet()))])),
        ("prices", prices()),
        ("segments", segments(&manual)),
    ]);
    let about = "The configuration of ccstatusd, ~/.config/ccstatusd/config.toml. Every setting is \
                 optional; `ccstatusd config` explains them all.";
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["$id"] = json!(SCHEMA);
    schema["title"] = json!("ccstatusd");
    schema["description"] = json!(about);
    schema["definitions"] = json!({"color": color(), "price": price()});
    schema
}

fn theme(manual: &Manual) -> Value {
    let setting = |name: &str, kind| manual.setting(&format!("theme.{name}"), kind);
    // The words that are numbers or `true` need no quotes.
    let words = DEPTHS.iter().map(|it| json!(it.0));
    let depths: Vec<_> = words.chain([json!(16), json!(256), json!(true)]).collect();
    let color = |name: &str| setting(&format!("colors.{name}"), color_reference());
    let colors = MEANINGS.iter().map(|(name, _)| (*name, color(name)));
    table([
        ("preset", setting("preset", one_of(PRESETS.iter().map(|it| it.name)))),
        ("palette", setting("palette", one_of(PALETTES.iter().map(|it| it.name)))),
        ("depth", setting("depth", json!({"enum": depths}))),
        ("separator", setting("separator", symbol())),
        ("padding", setting("padding", whole(&PADDINGS))),
        ("columns", setting("columns", whole(&COLUMNS))),
        ("colors", setting("colors", table(colors))),
    ])
}

fn usage(manual: &Manual) -> Value {
    let setting = |name: &str, kind| manual.setting(&format!("usage.{name}"), kind);
    table([
        ("week_starts", setting("week_starts", one_of(WEEKDAYS.iter().map(|it| it.0)))),
        ("keep", setting("keep", json!({"anyOf": [{"const": FOREVER}, whole(&KEEP_DAYS)]}))),
        ("source", setting("source", one_of(SOURCES.iter().map(|it| it.0)))),
        ("command", setting("command", argv())),
    ])
}

fn git(manual: &Manual) -> Value {
    let setting = |name: &str, kind| manual.setting(&format!("git.{name}"), kind);
    table([
        ("timeout_ms", setting("timeout_ms", whole(&GIT_TIMEOUTS))),
        ("trust", setting("trust", json!({"type": "array", "items": path()}))),
    ])
}

fn privacy(manual: &Manual) -> Value {
    table([("preview", manual.setting("privacy.preview", json!({"type": "boolean"})))])
}

fn export(manual: &Manual) -> Value {
    let setting = |name: &str, kind| manual.setting(&format!("export.{name}"), kind);
    // It has no default: without it nothing is exported.
    let mut textfile = json!({"type": "string", "pattern": r"^(/|~/).*[^/]\.prom$"});
    textfile["description"] = setting("textfile", json!({}))["description"].clone();
    table([
        ("textfile", textfile),
        ("every_s", setting("every_s", whole(&INTERVALS))),
        ("sessions", setting("sessions", json!({"type": "boolean"}))),
        ("paths", setting("paths", json!({"type": "boolean"}))),
    ])
}

fn commands(manual: &Manual) -> Value {
    let trigger = json!({"type": "string", "pattern": "^(repo|waiting|file:(/|~/|~$).*)$"});
    let mut command = table([
        ("command", argv()),
        ("every_s", manual.setting("commands.NAME.every_s", whole(&PERIODS))),
        ("timeout_ms", manual.setting("commands.NAME.timeout_ms", whole(&TIMEOUTS))),
        ("on", manual.setting("commands.NAME.on", json!({"type": "array", "items": trigger}))),
        ("scope", manual.setting("commands.NAME.scope", one_of(SCOPES.iter().map(|it| it.0)))),
    ]);
    command["required"] = json!(["command"]);
    let named = json!({
        "type": "object",
        "propertyNames": {"pattern": format!("^{}$", command_name())},
        "maxProperties": MAX_COMMANDS,
        "additionalProperties": command,
    });
    manual.setting("commands.NAME", named)
}

fn alert(manual: &Manual) -> Value {
    let at = json!({
        "type": "number",
        "minimum": BUDGETS.start().min(*ALERT_PERCENT.start()),
        "maximum": BUDGETS.end().max(*ALERT_PERCENT.end()),
        "description": "Percent of a context or a limit, or US dollars of a cost.",
    });
    let about = |mut kind: Value, about: &str| {
        kind["description"] = json!(about);
        kind
    };
    let presets = one_of(TELLERS.iter().map(|it| it.0));
    let mut alert = table([
        ("name", json!({"type": "string", "pattern": format!("^{}$", command_name())})),
        ("on", one_of(CONDITIONS.iter().map(|it| it.0))),
        ("at", at),
        ("per", about(one_of(BUDGET_SPANS.iter().map(|it| it.0)), "What a budget is for.")),
        (
            "min_turn_s",
            about(
                json!({"type": "integer", "minimum": TURNS.start(), "maximum": TURNS.end()}),
                "How long a turn must have taken, in seconds.",
            ),
        ),
        (
            "after_s",
            about(
                json!({"type": "integer", "minimum": PATIENCE.start(), "maximum": PATIENCE.end()}),
                "How long no watcher must run after one has died, in seconds.",
            ),
        ),
        ("limit", about(json!({"type": "string"}), "The only limit, such as five_hour.")),
        (
            "projected",
            about(
                json!({"type": "boolean"}),
                "Whether it is enough that the limit will be used up before its reset.",
            ),
        ),
        ("level", about(one_of(LEVELS.iter().map(|it| it.0)), "How bad the health must be.")),
        ("project", about(json!({"type": "string"}), "A name; * stands for any text.")),
        ("root", path()),
        (
            "in_focus",
            about(
                json!({"type": "boolean"}),
                "Whether it is told of a session also while its pane has the focus.",
            ),
        ),
        ("command", json!({"anyOf": [presets, argv()]})),
        ("timeout_ms", manual.setting("alert.timeout_ms", whole(&TIMEOUTS))),
    ]);
    alert["required"] = json!(["name", "on", "command"]);
    let list = json!({"type": "array", "maxItems": MAX_ALERTS, "items": alert});
    manual.setting("alert", list)
}

fn quiet() -> Value {
    let time = json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"});
    json!({"type": "array", "maxItems": 2, "items": time})
}

fn price() -> Value {
    let rates = ["input", "output", "cache_write_5m", "cache_write_1h", "cache_read"];
    let rates = rates.map(|name| (name, number(&RATES)));
    let multipliers = ["fast_multiplier", "us_multiplier"].map(|name| (name, number(&MULTIPLIERS)));
    let since = json!({
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        "description": "The day from which on it applies, in UTC.",
    });
    let mut price = table(rates.into_iter().chain(multipliers).chain([("since", since)]));
    price["required"] = json!(["input", "output"]);
    price
}

fn prices() -> Value {
    json!({
        "type": "object",
        "description": "What models cost, in US dollars per million tokens: a table, or several \
                        with dates. `ccstatusd prices` lists all prices.",
        "additionalProperties": {
            "anyOf": [
                {"$ref": "#/definitions/price"},
                {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/price"}},
            ],
        },
    })
}

fn segments(manual: &Manual) -> Value {
    let rows = SEGMENTS.iter().copied().flatten();
    let (own, known): (Vec<&Segment>, Vec<_>) = rows.partition(|row| row.name == COMMAND);
    let mut segments = table(known.iter().map(|row| (row.name, segment(row, row.name, manual))));
    let of_command = |row: &Segment| {
        let pattern = format!("^{COMMAND}\\.{}$", command_name());
        (pattern, segment(row, &format!("{COMMAND}.NAME"), manual))
    };
    segments["patternProperties"] = own.into_iter().map(of_command).collect::<Map<_, _>>().into();
    segments
}

fn segment(row: &Segment, name: &str, manual: &Manual) -> Value {
    let path = format!("segments.{name}");
    let setting = |key: &str, kind, about: &str| {
        let mut setting = manual.setting(&format!("{path}.{key}"), kind);
        setting["description"] = json!(about);
        setting
    };
    let mut parts: Vec<_> = row.parts.iter().map(|it| it.0.to_owned()).collect();
    if row.name == COMMAND {
        parts.push(format!("[A-Za-z0-9_-]{{1,{MAX_FIELD_NAME}}}"));
    }
    let format = format(&parts, false);
    let priority = "The segment with the highest priority gets its columns first.";
    let mut settings = vec![
        ("format", setting("format", format.clone(), "Parts in braces, groups, and text.")),
        ("short", setting("short", format, "The format where the line is too narrow.")),
        ("priority", setting("priority", whole(&PRIORITIES), priority)),
        ("max_width", setting("max_width", whole(&WIDTHS), "A wider segment is cut.")),
    ];
    if row.thresholds.is_some() {
        let threshold = |key, about| (key, setting(key, number(&thresholds(row)), about));
        settings.push(threshold("warning", "From here on, it has the colour of a warning."));
        settings.push(threshold("alarm", "From here on, it has the colour of an alarm."));
    }
    if row.bar_width > 0 {
        settings.push(("bar_width", setting("bar_width", whole(&WIDTHS), "Columns of the bar.")));
    }
    if row.mark.is_some() {
        let about = "Where the bar has a mark, in percent.";
        settings.push(("mark", setting("mark", number(&PERCENT), about)));
    }
    let symbols = row.symbols.iter().map(|known| {
        let path = format!("{path}.symbols.{}", known.0);
        (known.0, manual.setting(&path, symbol()))
    });
    settings.push(("symbols", table(symbols)));
    let label = [("label", "The text around the parts.")];
    let colors = row.parts.iter().chain(&label).map(|(part, about)| {
        let mut color = color_reference();
        color["description"] = json!(about);
        (*part, color)
    });
    settings.push(("colors", table(colors)));
    manual.setting(&path, table(settings))
}

// ---- What a value may be

/// A table with these keys and no others.
fn table<'a>(keys: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let keys: Map<_, _> = keys.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
    json!({"type": "object", "additionalProperties": false, "properties": keys})
}

fn whole<T: Copy + Into<u64>>(bounds: &RangeInclusive<T>) -> Value {
    let (least, most): (u64, u64) = ((*bounds.start()).into(), (*bounds.end()).into());
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn number(bounds: &RangeInclusive<f64>) -> Value {
    json!({"type": "number", "minimum": bounds.start(), "maximum": bounds.end()})
}

fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    json!({"enum": words.collect::<Vec<_>>()})
}

/// An absolute path, or one in the home directory.
fn path() -> Value {
    json!({"type": "string", "pattern": "^(/|~/|~$)"})
}

/// A program and its arguments.
fn argv() -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "items": [{"type": "string", "minLength": 1}],
        "additionalItems": {"type": "string"},
    })
}

fn symbol() -> Value {
    let pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$";
    json!({"type": "string", "maxLength": MAX_SYMBOL, "pattern": pattern})
}

/// A format with these names in braces, as patterns.
fn format(names: &[String], needs_name: bool) -> Value {
    let name = format!(r"\{{({})\}}", names.join("|"));
    let text = r"[^{}\\]|\\.";
    let least = if needs_name { format!("({text})*{name}") } else { String::new() };
    let pattern = format!("^{least}({text}|{name})*$");
    json!({"type": "string", "maxLength": MAX_FORMAT, "pattern": pattern})
}

fn segment_names() -> Vec<String> {
    let name = |row: &Segment| match row.name {
        COMMAND => format!(r"{COMMAND}\.{}", command_name()),
        name => name.to_owned(),
    };
    SEGMENTS.iter().copied().flatten().map(name).collect()
}

fn command_name() -> impl Display {
    format!("[A-Za-z0-9_-]{{1,{MAX_COMMAND_NAME}}}")
}

fn color() -> Value {
    let number = r"\+?0*(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
    let names = COLOR_NAMES.join("|");
    let color = format!("(bright-)?({names})|#[0-9A-Fa-f]{{6}}|{number}");
    let word = format!("bold|dim|italic|underline|none|(bg:)?({color})");
    json!({
        "type": "string",
        "pattern": format!(r"^\s*(({word})(\s+|$))*$"),
        "description": "bold, dim, italic or underline, a colour, and bg: with one. A colour is one \
                        of the terminal's names (red, bright-red, …), 0 to 255, or #rrggbb.",
    })
}

/// In this draft, whatever stands beside `$ref` is ignored.
fn color_reference() -> Value {
    json!({"allOf": [{"$ref": "#/definitions/color"}]})
}

// ---- What a setting means

/// The page that `ccstatusd config` prints, by setting.
#[derive(Default)]
struct Manual {
    /// The comment above a setting or a table, by its path.
    abouts: BTreeMap<String, String>,
    defaults: BTreeMap<String, Value>,
}

impl Manual {
    fn read(page: &str) -> Manual {
        let mut manual = Manual::default();
        let (mut table, mut about) = (String::new(), String::new());
        for line in page.lines().filter(|it| !it.starts_with("#:")) {
            if let Some(comment) = line.strip_prefix("# ") {
                // Items of lists are indented by two columns.
                let is_item = comment.starts_with("  ") && !comment.starts_with("    ");
                about += if is_item { "\n" } else { " " };
                about += comment.trim();
                continue;
            }
            let setting = line.strip_prefix('#').unwrap_or(line);
            let about = std::mem::take(&mut about);
            let path = if let Some(header) = setting.strip_prefix('[') {
                table = header.trim_matches(['[', ']']).replace('"', "");
                table.clone()
            } else if let Some((key, _)) = setting.split_once(" = ") {
                let path = if table.is_empty() { key.into() } else { format!("{table}.{key}") };
                manual.defaults.extend(value(setting).map(|it| (path.clone(), it)));
                path
            } else {
                continue;
            };
            if !about.is_empty() {
                manual.abouts.insert(path, about.trim().to_owned());
            }
        }
        manual
    }

    /// Adds what the page says of a setting.
    fn setting(&self, path: &str, mut kind: Value) -> Value {
        if let Some(about) = self.abouts.get(path) {
            kind["description"] = json!(about);
        }
        if let Some(default) = self.defaults.get(path) {
            kind["default"] = default.clone();
        }
        kind
    }
}

/// The value in a line such as `priority = 3`.
fn value(line: &str) -> Option<Value> {
    fn innermost(value: &DeValue<'_>) -> Option<Value> {
        match value {
            DeValue::String(text) => Some(json!(text)),
            DeValue::Boolean(flag) => Some(json!(flag)),
            DeValue::Float(number) => Some(json!(number.as_str().parse::<f64>().ok()?)),
            DeValue::Array(items) => items.iter().map(|it| innermost(it.get_ref())).collect(),
            // A key with dots, such as `symbols.ahead`.
            DeValue::Table(table) => innermost(table.values().next()?.get_ref()),
            _ => integer(value).map(|it| json!(it)),
        }
    }
    let document = DeTable::parse(line).ok()?;
    innermost(document.get_ref().values().next()?.get_ref())
}
