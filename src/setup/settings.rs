//! PURE. Edits of the text of Claude Code's `settings.json`: our status line goes in and comes out,
//! and every other byte stays as it is, as far as commas and a one-line object allow.
//!
//! The text may have comments and trailing commas. Anything else that is not JSON is an error, and
//! so is a key that stands twice where we would have to choose one.
//!
//! See docs/decisions/033-settings-are-edited-as-text.md.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};

use super::shell;

/// Seconds between two runs of the command while nothing happens. Without it, Claude Code runs the
/// command only when the session itself changes.
pub(super) const REFRESH_S: u32 = 5;

const STATUS_LINE: &str = "statusLine";
/// We never set it: clients call it deprecated. Users of old ones set it by hand.
const SUBAGENTS: &str = "subagentStatusLine";
const HOOKS: &str = "hooks";
const SESSION_START: &str = "SessionStart";
/// Some editors on Windows begin a file with it.
const BOM: char = '\u{feff}';
/// Seconds that Claude Code waits for the hook. A watcher that starts gives up sooner.
const HOOK_TIMEOUT_S: &str = "20";

/// What stands at `statusLine`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Absent,
    Ours,
    /// Somebody else's: the command, or `None` if the value is not what Claude Code expects.
    Foreign {
        command: Option<String>,
    },
}

/// What the text says of status lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) line: Line,
    /// The value of `statusLine` as it stands there, if it is somebody else's.
    pub(super) raw: Option<String>,
    /// `disableAllHooks` switches status lines off as well.
    pub(super) is_disabled: bool,
    /// Where the text is not strict JSON, which Claude Code 2.1.332 demands: it skips the whole
    /// file.
    pub(super) laxity: Option<String>,
}

/// Reads the text. An error says what is wrong, and where.
pub(super) fn find(text: &str) -> Result<Found, String> {
    let (_, root) = parse(text)?;
    let Some(object) = root.object_value() else {
        let (line, raw, laxity) = (Line::Absent, None, None);
        return Ok(Found { line, raw, is_disabled: false, laxity });
    };
    let strict = serde_json::from_str::<serde::de::IgnoredAny>(text.trim_start_matches(BOM));
    let value = object.get(STATUS_LINE).and_then(|it| it.value());
    let line = match &value {
        None => Line::Absent,
        Some(value) if value.as_null_keyword().is_some() => Line::Absent,
        Some(value) => match command(value) {
            Some(command) if shell::is_ours(&command) => Line::Ours,
            command => Line::Foreign { command },
        },
    };
    let is_foreign = matches!(line, Line::Foreign { .. });
    let disabled = object.get("disableAllHooks").and_then(|it| it.value()?.as_boolean_lit());
    Ok(Found {
        line,
        raw: value.filter(|_| is_foreign).map(|it| it.to_string()),
        is_disabled: disabled.is_some_and(|it| it.value()),
        laxity: strict.err().map(|err| format!("line {}, column {}", err.line(), err.column())),
    })
}

/// The text with `command` as its status line. Of a line of ours, the options stay as they are.
pub(super) fn with_line(text: &str, command: &str) -> Result<String, String> {
    edit(text, |object| {
        let ours = object.get(STATUS_LINE).filter(|it| is_ours(it.value()));
        let Some(line) = ours.and_then(|it| it.object_value()) else {
            let value = CstInputValue::Object(vec![
                ("type".to_owned(), "command".into()),
                ("command".to_owned(), command.into()),
                ("refreshInterval".to_owned(), REFRESH_S.into()),
            ]);
            set(object, STATUS_LINE, value);
            return;
        };
        if line.get("command").is_none_or(|it| text_of(it.value()).as_deref() != Some(command)) {
            set(&line, "command", command.into());
        }
        if line.get("refreshInterval").is_none() {
            set(&line, "refreshInterval", REFRESH_S.into());
        }
    })
}

/// The text with `command` as a hook at the start of each session, in place of an earlier one of
/// ours.
pub(super) fn with_hook(text: &str, command: &str) -> Result<String, String> {
    let is_wanted = |hook: &CstNode| self::command(hook).as_deref() == Some(command);
    let (_, root) = parse(text)?;
    let present: Vec<_> = root.object_value().iter().flat_map(our_hooks).collect();
    if let [hook] = &present[..]
        && is_wanted(hook)
    {
        return Ok(text.to_owned());
    }
    edit(&without_hook(text)?, |object| {
        let hook = CstInputValue::Object(vec![
            ("type".to_owned(), "command".into()),
            ("command".to_owned(), command.into()),
            ("timeout".to_owned(), CstInputValue::Number(HOOK_TIMEOUT_S.to_owned())),
        ]);
        let group =
            CstInputValue::Object(vec![(HOOKS.to_owned(), CstInputValue::Array(vec![hook]))]);
        match object.object_value(HOOKS) {
            Some(hooks) => match hooks.array_value(SESSION_START) {
                Some(groups) => drop(groups.append(group)),
                None => set(&hooks, SESSION_START, CstInputValue::Array(vec![group])),
            },
            None => {
                let groups = CstInputValue::Array(vec![group]);
                let hooks = CstInputValue::Object(vec![(SESSION_START.to_owned(), groups)]);
                set(object, HOOKS, hooks);
            }
        }
    })
}

/// The text without our hook, and without what would be empty then.
pub(super) fn without_hook(text: &str) -> Result<String, String> {
    let (_, root) = parse(text)?;
    if root.object_value().iter().flat_map(our_hooks).next().is_none() {
        return Ok(text.to_owned());
    }
    edit(text, |object| {
        for hook in our_hooks(object) {
            hook.remove();
        }
        remove_empty(object);
    })
}

/// The text without anything of ours. `replaced` is the status line that stands there instead, as
/// JSON, if there was one before ours.
pub(super) fn without_ours(text: &str, replaced: Option<&str>) -> Result<String, String> {
    let text = without_hook(text)?;
    let (_, root) = parse(&text)?;
    let is_there = |name| {
        let object = root.object_value();
        object.and_then(|it| it.get(name)).is_some_and(|it| is_ours(it.value()))
    };
    if !is_there(STATUS_LINE) && !is_there(SUBAGENTS) {
        return Ok(text);
    }
    edit(&text, |object| {
        if let Some(line) = object.get(STATUS_LINE).filter(|it| is_ours(it.value())) {
            match replaced {
                Some(raw) => set_raw(&line, raw),
                None => line.remove(),
            }
        }
        if let Some(rows) = object.get(SUBAGENTS).filter(|it| is_ours(it.value())) {
            rows.remove();
        }
    })
}

/// What the user can add by hand, for a file that we do not write.
pub(super) fn snippet(command: &str) -> String {
    let command = serde_json::to_string(command).expect("a string is JSON");
    format!(
        r#""statusLine": {{ "type": "command", "command": {command}, "refreshInterval": {REFRESH_S} }}"#
    )
}

fn edit(text: &str, change: impl FnOnce(&CstObject)) -> Result<String, String> {
    let (bom, root) = parse(text)?;
    let Some(object) = root.object_value_or_create() else {
        return Err("it is not an object".to_owned());
    };
    change(&object);
    Ok(bom.to_owned() + &root.to_string())
}

/// The byte order mark, if there is one, and the tree of the rest.
fn parse(text: &str) -> Result<(&str, CstRootNode), String> {
    let rest = text.strip_prefix(BOM).unwrap_or(text);
    let bom = &text[..text.len() - rest.len()];
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let root = CstRootNode::parse(rest, &options).map_err(|err| err.to_string())?;
    if root.value().is_some_and(|it| has_control(&it)) {
        return Err("a string in it has a line break or another control character".to_owned());
    }
    match (root.value(), root.object_value()) {
        (Some(_), None) => return Err("it is not an object".to_owned()),
        (_, Some(object)) => {
            once(&object, &[STATUS_LINE, SUBAGENTS, HOOKS])?;
            if let Some(hooks) = object.object_value(HOOKS) {
                once(&hooks, &[SESSION_START])?;
            }
        }
        (None, None) => {}
    }
    Ok((bom, root))
}

/// Whether some string has what JSON does not allow in one, and the parser does.
fn has_control(node: &CstNode) -> bool {
    match node.as_string_lit() {
        Some(text) => text.raw_value().contains(|char: char| char < ' '),
        None => node.children().iter().any(has_control),
    }
}

fn once(object: &CstObject, names: &[&str]) -> Result<(), String> {
    for name in names {
        let is_it = |property: &CstObjectProp| property.decoded_name().as_deref() == Some(name);
        if object.properties().iter().filter(|it| is_it(it)).count() > 1 {
            return Err(format!("the key \"{name}\" stands there twice; keep one"));
        }
    }
    Ok(())
}

fn text_of(value: Option<CstNode>) -> Option<String> {
    value?.as_string_lit()?.decoded_value().ok()
}

/// The command of a status line or of a hook.
fn command(value: &CstNode) -> Option<String> {
    text_of(value.as_object()?.get("command")?.value())
}

fn is_ours(value: Option<CstNode>) -> bool {
    value.and_then(|it| command(&it)).is_some_and(|it| shell::is_ours(&it))
}

/// Our hooks at the start of a session.
fn our_hooks(object: &CstObject) -> Vec<CstNode> {
    let groups = object.object_value(HOOKS).and_then(|it| it.array_value(SESSION_START));
    let groups = groups.iter().flat_map(|it| it.elements());
    let hooks = groups.filter_map(|it| it.as_object()?.array_value(HOOKS));
    hooks.flat_map(|it| it.elements()).filter(|it| is_ours(Some(it.clone()))).collect()
}

/// Removes groups of hooks without a hook, and what is empty without them.
fn remove_empty(object: &CstObject) {
    let Some(hooks) = object.object_value(HOOKS) else { return };
    let Some(groups) = hooks.array_value(SESSION_START) else { return };
    let is_empty = |group: &CstNode| {
        let hooks = group.as_object().and_then(|it| it.array_value(HOOKS));
        hooks.is_some_and(|it| it.elements().is_empty())
    };
    for group in groups.elements().into_iter().filter(is_empty) {
        group.remove();
    }
    if groups.elements().is_empty()
        && let Some(property) = hooks.get(SESSION_START)
    {
        property.remove();
    }
    if hooks.properties().is_empty()
        && let Some(property) = object.get(HOOKS)
    {
        property.remove();
    }
}

/// Sets a property. One that is new goes to the end, on the line of the others if they stand on
/// one.
fn set(object: &CstObject, name: &str, value: CstInputValue) {
    if let Some(property) = object.get(name) {
        match object.to_string().contains('\n') {
            true => property.set_value(value),
            false => set_raw(&property, &on_one_line(&value)),
        }
        return;
    }
    let last = object.properties().pop().and_then(|it| Some((it.to_string(), it.value()?)));
    match last.filter(|_| !object.to_string().contains('\n')) {
        Some((property, last)) => {
            let value_text = last.to_string();
            let gap = if property.contains(": ") { " " } else { "" };
            let name = serde_json::to_string(name).expect("a string is JSON");
            let new = on_one_line(&value);
            let both = format!("{value_text},{gap}{name}:{gap}{new}");
            if let Some(property) = object.properties().pop() {
                set_raw(&property, &both);
            }
        }
        None => drop(object.append(name, value)),
    }
}

/// Sets the value of a property to this text.
fn set_raw(property: &CstObjectProp, raw: &str) {
    property.set_value("".into());
    if let Some(value) = property.value().and_then(|it| it.as_string_lit()) {
        value.set_raw_value(raw.to_owned());
    }
}

fn on_one_line(value: &CstInputValue) -> String {
    let text = |text: &str| serde_json::to_string(text).expect("a string is JSON");
    match value {
        CstInputValue::Null => "null".to_owned(),
        CstInputValue::Bool(flag) => flag.to_string(),
        CstInputValue::Number(number) => number.clone(),
        CstInputValue::String(string) => text(string),
        CstInputValue::Array(items) => {
            let items: Vec<_> = items.iter().map(on_one_line).collect();
            format!("[{}]", items.join(", "))
        }
        CstInputValue::Object(properties) => {
            let each = properties.iter();
            let each: Vec<_> =
                each.map(|(name, it)| format!("{}: {}", text(name), on_one_line(it))).collect();
            format!("{{ {} }}", each.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMAND: &str = "/usr/bin/ccstatusd show";
    const START: &str = "/usr/bin/ccstatusd start >/dev/null";

    /// Files as users have them. Each is to be the same again when our keys are out.
    const SHAPES: [(&str, &str); 14] = [
        (
            "as the client writes it",
            "{\n  \"model\": \"opus\",\n  \"env\": {\n    \"A\": \"1\"\n  }\n}\n",
        ),
        ("no final newline", "{\n  \"model\": \"opus\"\n}"),
        ("CRLF and tabs", "{\r\n\t\"model\": \"opus\",\r\n\t\"a\": [\r\n\t\t1\r\n\t]\r\n}\r\n"),
        ("four spaces", "{\n    \"a\": {\n        \"b\": 1\n    }\n}\n"),
        (
            "comments",
            "// mine\n{\n  \"a\": 1, // one\n  /* two */ \"b\": 2 // last\n  // end\n}\n// x\n",
        ),
        ("trailing commas", "{\n  \"a\": [\n    1,\n  ],\n}\n"),
        ("a byte order mark", "\u{feff}{\n  \"a\": 1\n}\n"),
        // Between the braces and the properties the parser drops them, on the way out.
        ("blank lines", "\n\n{\n  \"a\": 1,\n\n  \"b\": 2\n}\n\n\n"),
        (
            "duplicate keys elsewhere",
            "{\n  \"a\": 1,\n  \"a\": 2,\n  \"b\": {\n    \"c\": 1,\n    \"c\": 1\n  }\n}\n",
        ),
        ("escapes and numbers", "{\n  \"\\u00e9\\/\": 1.50e3,\n  \"n\": 12345678901234567890\n}\n"),
        (
            "hooks",
            "{\n  \"hooks\": {\n    \"Stop\": [],\n    \"SessionStart\": [\n      {\n        \"matcher\": \"startup\",\n        \"hooks\": [\n          {\n            \"type\": \"command\",\n            \"command\": \"date\"\n          }\n        ]\n      }\n    ]\n  }\n}\n",
        ),
        (
            "status lines elsewhere",
            "{\n  \"a\": {\n    \"statusLine\": {\n      \"command\": \"x\"\n    }\n  },\n  \"b\": \"statusLine\",\n  \"statusline\": 1\n}\n",
        ),
        ("disableAllHooks", "{\n  \"disableAllHooks\": true\n}\n"),
        ("other scripts", "{\n  \"name\": \"日本語 \u{1f980}\"\n}\n"),
    ];

    fn with_both(text: &str) -> String {
        with_hook(&with_line(text, COMMAND).unwrap(), START).unwrap()
    }

    #[test]
    fn our_keys_go_in_and_come_out_and_every_other_byte_stays() {
        for (what, text) in SHAPES {
            let line = with_line(text, COMMAND).unwrap();
            assert_eq!(find(&line).unwrap().line, Line::Ours, "{what}: {line}");
            assert_eq!(without_ours(&line, None).unwrap(), text, "{what}");
            let both = with_both(text);
            assert_eq!(both.matches(START).count(), 1, "{what}: {both}");
            assert_eq!(without_hook(&both).unwrap(), line, "{what}");
            assert_eq!(without_ours(&both, None).unwrap(), text, "{what}");
            assert_eq!(with_both(&both), both, "{what}: twice");
            assert_eq!(both.contains('\r'), text.contains('\r'), "{what}");
            assert_eq!(
                both.matches('\r').count(),
                if text.contains('\r') { both.matches('\n').count() } else { 0 }
            );
            // Every line of the user's is there, in its order. One may have got a comma.
            let mut lines = both.lines();
            for own in text.lines() {
                let is_it = |line: &str| {
                    line == own || line.replacen(',', "", 1) == own.replacen(',', "", 1)
                };
                assert!(lines.any(is_it), "{what}: {own:?} is not in {both}");
            }
        }
    }

    #[test]
    fn what_the_client_reads_is_ours_beside_all_that_was_there() {
        for (what, text) in SHAPES {
            let is_json = |text: &str| {
                serde_json::from_str::<serde_json::Value>(text.trim_start_matches(BOM))
            };
            let Ok(before) = is_json(text) else { continue };
            let mut after = is_json(&with_both(text)).unwrap();
            let line = after.as_object_mut().unwrap().remove("statusLine").unwrap();
            let expected =
                serde_json::json!({"type": "command", "command": COMMAND, "refreshInterval": 5});
            assert_eq!(line, expected, "{what}");
            let groups = after["hooks"]["SessionStart"].as_array_mut().unwrap();
            let group = groups.pop().unwrap();
            let hook = serde_json::json!({"type": "command", "command": START, "timeout": 20});
            assert_eq!(group, serde_json::json!({"hooks": [hook]}), "{what}");
            if groups.is_empty() {
                after.as_object_mut().unwrap().remove("hooks");
            }
            assert_eq!(after, before, "{what}");
        }
    }

    proptest! {
        /// Whatever the settings are, as the client writes them.
        #[test]
        fn any_settings_are_the_same_again(settings in json()) {
            let object = serde_json::json!({"a": settings, "b": 1});
            let text = serde_json::to_string_pretty(&object).unwrap() + "\n";
            let both = with_both(&text);
            let after: serde_json::Value = serde_json::from_str(&both).unwrap();
            prop_assert_eq!(&after["a"], &object["a"]);
            prop_assert_eq!(without_ours(&both, None).unwrap(), text);
            let line = serde_json::to_string(&object).unwrap();
            let both = with_both(&line);
            prop_assert_eq!(both.lines().count(), 1);
            let after: serde_json::Value = serde_json::from_str(&both).unwrap();
            prop_assert_eq!(&after["a"], &object["a"]);
            let left = without_ours(&both, None).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&left).unwrap(), object);
        }

        #[test]
        fn no_text_makes_an_edit_panic(text in "[\\[\\]{}:,\" /*\\\\\na-z\u{feff}]{0,40}") {
            find(&text).ok();
            if let Ok(line) = with_line(&text, COMMAND) {
                prop_assert_eq!(find(&line).unwrap().line, Line::Ours);
                prop_assert_eq!(with_line(&line, COMMAND).unwrap(), line);
            }
            without_ours(&text, None).ok();
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            "(statusLine|hooks|SessionStart|ccstatusd show|//|/\\*|\\PC{0,8}|[\r\n\t\"\\\\,{}]{0,6})"
                .prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = "(statusLine|hooks|SessionStart|command|[a-z\"\\\\/]{0,6})";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|it| serde_json::Value::Object(it.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn an_object_of_one_line_stays_one() {
        let check = |text: &str, expected: &str| {
            let line = with_line(text, "ccstatusd show").unwrap();
            assert_eq!(line, expected);
        };
        check(
            "{\"a\":1}",
            "{\"a\":1,\"statusLine\":{ \"type\": \"command\", \"command\": \"ccstatusd show\", \"refreshInterval\": 5 }}",
        );
        check(
            "{ \"a\": [1, 2], }\n",
            "{ \"a\": [1, 2], \"statusLine\": { \"type\": \"command\", \"command\": \"ccstatusd show\", \"refreshInterval\": 5 }, }\n",
        );
        let text = "{ \"a\": 1, \"b\": {} }\n";
        let line = with_both(text);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(
            without_ours(&line, None).unwrap().replace(char::is_whitespace, ""),
            "{\"a\":1,\"b\":{}}"
        );
    }

    #[test]
    fn an_empty_file_becomes_an_object() {
        for text in ["", "\n", "{}", "{}\n", "{\n}\n"] {
            let both = with_both(text);
            assert_eq!(find(&both).unwrap().line, Line::Ours, "{text:?}: {both}");
            let left = without_ours(&both, None).unwrap();
            assert_eq!(left.trim(), "{}", "{text:?}");
        }
    }

    #[test]
    fn a_line_of_ours_keeps_its_options() {
        let own = "{\n  \"statusLine\": { \"type\": \"command\", \"command\": \"~/bin/ccstatusd show\", \"padding\": 2 }\n}\n";
        let line = with_line(own, COMMAND).unwrap();
        let expected = "{\n  \"statusLine\": { \"type\": \"command\", \"command\": \"/usr/bin/ccstatusd show\", \"padding\": 2, \"refreshInterval\": 5 }\n}\n";
        assert_eq!(line, expected);
        let slower = expected.replace("5 }", "30 }");
        assert_eq!(with_line(&slower, COMMAND).unwrap(), slower);
        assert_eq!(without_ours(&slower, None).unwrap(), "{}\n");
    }

    #[test]
    fn a_foreign_line_is_told_replaced_and_given_back() {
        let value = "{ \"type\": \"command\",   \"command\": \"npx x\\u0020y\" /* mine */ }";
        let text = format!("{{\n  \"statusLine\": {value}, // at the top\n  \"a\": 1\n}}\n");
        let found = find(&text).unwrap();
        assert_eq!(found.line, Line::Foreign { command: Some("npx x y".to_owned()) });
        assert_eq!(found.raw.as_deref(), Some(value));
        let ours = with_line(&text, COMMAND).unwrap();
        assert!(ours.contains("}, // at the top\n  \"a\": 1\n"), "{ours}");
        assert_eq!(without_ours(&ours, found.raw.as_deref()).unwrap(), text);
        // What the user has put there since is not touched.
        assert_eq!(without_ours(&text, Some("{}")).unwrap(), text);
        for value in ["\"x\"", "{}", "[]", "true", "{\"command\": 1}"] {
            let text = format!("{{\"statusLine\": {value}}}");
            assert_eq!(find(&text).unwrap().line, Line::Foreign { command: None }, "{text}");
        }
        assert_eq!(find("{\"statusLine\": null}").unwrap().line, Line::Absent);
    }

    #[test]
    fn what_users_of_old_clients_set_by_hand_goes_too() {
        let text = "{\n  \"subagentStatusLine\": { \"command\": \"ccstatusd subagents\" },\n  \"a\": 1\n}\n";
        let both = with_both(text);
        assert!(both.contains("subagents"));
        assert_eq!(without_ours(&both, None).unwrap(), "{\n  \"a\": 1\n}\n");
        let foreign = text.replace("ccstatusd", "other");
        assert_eq!(without_ours(&foreign, None).unwrap(), foreign);
    }

    #[test]
    fn an_earlier_hook_of_ours_is_replaced() {
        let (_, hooks) = SHAPES[10];
        let old = with_hook(hooks, "~/old/ccstatusd start").unwrap();
        assert_eq!(with_hook(&old, START).unwrap(), with_hook(hooks, START).unwrap());
    }

    #[test]
    fn what_is_no_settings_file_is_refused() {
        let long = "[".repeat(100_000);
        let invalid = [
            "{",
            "}",
            "[]",
            "1",
            "{\"a\":1}x",
            "{\"a\" 1}",
            "{'a': 1}",
            "{a: 1}",
            "{\"a\": 1 \"b\": 2}",
            "{\"statusLine\": {}, \"statusLine\": {}}",
            "{\"hooks\": {}, \"hooks\": {}}",
            "{\"a\": 0x1}",
            "<<<<<<< HEAD\n{}\n",
            "{\"a\": \"\n\"}",
            &long,
        ];
        for text in invalid {
            let start = &text[..text.len().min(40)];
            assert!(find(text).is_err(), "{start}");
            assert!(with_line(text, COMMAND).is_err(), "{start}");
            assert!(with_hook(text, START).is_err(), "{start}");
            assert!(without_ours(text, None).is_err(), "{start}");
        }
        let twice = find("{\"statusLine\": 1, \"statusLine\": 2}").unwrap_err();
        assert!(twice.contains("\"statusLine\" stands there twice"), "{twice}");
    }

    #[test]
    fn what_the_client_skips_is_told() {
        for (what, text) in SHAPES {
            let laxity = find(text).unwrap().laxity;
            let expected = match what {
                "comments" => Some("line 1, column 1"),
                "trailing commas" => Some("line 4, column 3"),
                _ => None,
            };
            assert_eq!(laxity.as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn disabled_hooks_are_told() {
        assert!(find(SHAPES[12].1).unwrap().is_disabled);
        assert!(!find("{\"disableAllHooks\": false}").unwrap().is_disabled);
        assert!(!find("{\"a\": {\"disableAllHooks\": true}}").unwrap().is_disabled);
    }
}
