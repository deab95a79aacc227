//! PURE. Reads a parsed TOML file key by key, and collects what is wrong with it.
//!
//! The code that reads a table states which keys exist and which values each may have. Messages are
//! made from that, from the path of keys and from the value's position in the file. serde would
//! stop at the first problem, and describe it in terms of Rust's types.
//!
//! **Invariant:** a key of the file that no code asks for is reported as a problem.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, Problem, quote, unknown};

/// A converted value, or a message that says what it must be.
pub(super) type Converted<T> = Result<T, String>;

/// A table of the file while it is being read.
///
/// Methods that return `None` have recorded a problem, unless the key is absent.
pub(super) struct Table<'a, 'p> {
    entries: &'a DeTable<'a>,
    /// The keys that lead to the table, joined by dots.
    path: String,
    /// The byte of the file at which it begins.
    at: usize,
    /// The keys that were asked for.
    known: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

/// Reads a whole file: `root` reads its outermost table.
pub(super) fn read_file<T>(
    bytes: &[u8],
    root: impl FnOnce(&mut Table<'_, '_>) -> T,
) -> Result<T, ConfigError> {
    let text = str::from_utf8(bytes).map_err(|err| not_utf8(bytes, err.valid_up_to()))?;
    let document = DeTable::parse(text).map_err(|err| syntax_error(text, &err))?;
    let mut problems = Vec::new();
    let table = Table {
        entries: document.get_ref(),
        path: String::new(),
        at: 0,
        known: Vec::new(),
        problems: &mut problems,
    };
    let found = table.read(root);
    if problems.is_empty() { Ok(found) } else { Err(ConfigError::new(text, problems)) }
}

impl<'a> Table<'a, '_> {
    /// The value of a key.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(&'a DeValue<'a>) -> Converted<T>,
    ) -> Option<T> {
        let (_, value) = self.ask(key)?;
        self.convert(key, value, convert)
    }

    /// The items of a list.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&'a DeValue<'a>) -> Converted<T>,
    ) -> Option<Vec<T>> {
        let (_, value) = self.ask(key)?;
        let Some(items) = value.get_ref().as_array() else {
            let what = r#"it must be a list of texts, as in ["one", "two"]"#;
            self.record(value.span().start, Some(key), what.to_owned());
            return None;
        };
        // All items are converted before any is used, so that each wrong one is reported.
        let items: Vec<_> = items.iter().map(|it| self.convert(key, it, &convert)).collect();
        items.into_iter().collect()
    }

    /// A table within this one, which `read` reads.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_, '_>) -> T,
    ) -> Option<T> {
        let (key, value) = self.ask(key)?;
        Some(self.enter(key, value)?.read(read))
    }

    /// Tables within this one by names that the user chose, as in `[commands.NAME]`. `check_name`
    /// returns what `read` needs to know of the name, or what is wrong with it.
    pub(super) fn tables<N, T>(
        &mut self,
        key: &'static str,
        check_name: impl Fn(&str) -> Converted<N>,
        mut read: impl FnMut(N, &mut Table<'_, '_>) -> T,
    ) -> BTreeMap<String, T> {
        let read_all = |table: &mut Table<'_, '_>| {
            let mut found = BTreeMap::new();
            for (key, value) in table.entries {
                let name = key.get_ref().as_ref();
                let checked = check_name(name);
                // If the value is no table, `enter` reports that, and not what is wrong with the
                // name.
                let Some(entry) = table.enter(key, value) else { continue };
                match checked {
                    Ok(checked) => {
                        found.insert(name.to_owned(), entry.read(|it| read(checked, it)));
                    }
                    Err(what) => table.record(key.span().start, Some(name), what),
                }
            }
            found
        };
        self.open_table(key, read_all)
    }

    /// As [`Table::tables`], with one table for each name, as in `[prices.NAME]`, or several, as in
    /// `[[prices.NAME]]`. `check` says what is wrong with those of one name together.
    pub(super) fn table_lists<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'_, '_>) -> T,
        check: impl Fn(&[T]) -> Converted<()>,
    ) -> BTreeMap<String, Vec<T>> {
        let read_all = |table: &mut Table<'_, '_>| {
            let mut found = BTreeMap::new();
            for (key, value) in table.entries {
                let name = key.get_ref().as_ref();
                let mut rows = Vec::new();
                let n_problems = table.problems.len();
                let items = value.get_ref().as_array().map_or(&[] as &[_], |it| it);
                let is_list = value.get_ref().is_array();
                let own = (!is_list).then_some((key.span().start, value));
                for (at, item) in
                    own.into_iter().chain(items.iter().map(|it| (it.span().start, it)))
                {
                    rows.extend(table.enter_at(name, at, item).map(|it| it.read(&mut read)));
                }
                if table.problems.len() > n_problems {
                    continue;
                }
                match check(&rows) {
                    Ok(()) => drop(found.insert(name.to_owned(), rows)),
                    Err(what) => table.record(key.span().start, Some(name), what),
                }
            }
            found
        };
        self.open_table(key, read_all)
    }

    /// A list of tables, as in `[[alert]]`.
    pub(super) fn list_of_tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'_, '_>) -> T,
    ) -> Vec<T> {
        let Some((name, value)) = self.ask(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            let what = format!("each must be a table of its own, as in [[{key}]]");
            self.record(name.span().start, Some(key), what);
            return Vec::new();
        };
        let enter = |item: &'a Spanned<DeValue<'a>>| {
            Some(self.enter_at(key, item.span().start, item)?.read(&mut read))
        };
        items.iter().filter_map(enter).collect()
    }

    /// Values by names that are not keys of the configuration, as in `colors.NAME`.
    pub(super) fn values<T>(
        &mut self,
        key: &'static str,
        check_name: impl Fn(&str) -> Converted<()>,
        convert: impl Fn(&DeValue<'_>) -> Converted<T>,
    ) -> BTreeMap<String, T> {
        let read_all = |table: &mut Table<'_, '_>| {
            let mut found = BTreeMap::new();
            for (key, value) in table.entries {
                let name = key.get_ref().as_ref();
                if let Err(what) = check_name(name) {
                    let what = whole_file_key(name).map_or(what, |it| misplaced(name, it));
                    table.record(key.span().start, Some(name), what);
                } else if let Some(converted) = table.convert(name, value, &convert) {
                    found.insert(name.to_owned(), converted);
                }
            }
            found
        };
        self.open_table(key, read_all)
    }

    /// Records that the value of `key` is wrong.
    pub(super) fn refuse(&mut self, key: &str, what: impl Into<String>) {
        if let Some((found, value)) = self.entries.get_key_value(key) {
            let is_table = value.get_ref().is_table();
            let at = if is_table { found.span().start } else { value.span().start };
            self.record(at, Some(key), what.into());
        }
    }

    /// Records that `key` is missing, if it is.
    pub(super) fn require(&mut self, key: &'static str) {
        if self.entries.get(key).is_none() {
            self.record(self.at, None, format!("the key {key} is missing"));
        }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let found = read(&mut self);
        for (key, _) in self.entries {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let what = match whole_file_key(name) {
                    Some(position) => misplaced(name, position),
                    None => unknown("key", name, self.known.iter().copied()),
                };
                self.record(key.span().start, None, what);
            }
        }
        found
    }

    /// Reads a table whose keys are names, all of which `read` visits.
    fn open_table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_, '_>) -> BTreeMap<String, T>,
    ) -> BTreeMap<String, T> {
        let Some((key, value)) = self.ask(key) else { return BTreeMap::new() };
        self.enter(key, value).map_or_else(BTreeMap::new, |mut it| read(&mut it))
    }

    fn ask(
        &mut self,
        key: &'static str,
    ) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.known.push(key);
        self.entries.get_key_value(key)
    }

    fn convert<T>(
        &mut self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
        convert: impl FnOnce(&'a DeValue<'a>) -> Converted<T>,
    ) -> Option<T> {
        match convert(value.get_ref()) {
            Ok(converted) => Some(converted),
            Err(what) => {
                self.record(value.span().start, Some(key), what);
                None
            }
        }
    }

    fn enter(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Table<'a, '_>> {
        self.enter_at(key.get_ref().as_ref(), key.span().start, value)
    }

    /// Enters the table at a key. `at` is the byte of the file at which it begins.
    fn enter_at(
        &mut self,
        name: &str,
        at: usize,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Table<'a, '_>> {
        let path = self.path_of(name);
        let Some(entries) = value.get_ref().as_table() else {
            let position = whole_file_key(name);
            let or = position.map(|it| format!("; the setting {name} belongs {it}"));
            let what = format!("it must be a table, as in [{path}]{}", or.unwrap_or_default());
            self.record(value.span().start, Some(name), what);
            return None;
        };
        Some(Table { entries, path, at, known: Vec::new(), problems: &mut *self.problems })
    }

    fn record(&mut self, at: usize, key: Option<&str>, what: String) {
        let path = key.map_or_else(|| self.path.clone(), |it| self.path_of(it));
        self.problems.push(Problem { at, path, what });
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => quote(key),
            path => format!("{path}.{}", quote(key)),
        }
    }
}

// ---- What a value may be

/// A path that is absolute or begins with `~`.
pub(super) fn whole_path(path: &str) -> Converted<PathBuf> {
    let path = Path::new(path);
    match path.is_absolute() || path.starts_with("~") {
        true => Ok(path.to_owned()),
        false => Err("it must be an absolute path, or begin with ~/".to_owned()),
    }
}

pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Converted<&'v str> {
    value.as_str().ok_or_else(|| "it must be text in quotes".to_owned())
}

pub(super) fn flag(value: &DeValue<'_>) -> Converted<bool> {
    value.as_bool().ok_or_else(|| "it must be true or false".to_owned())
}

/// A whole number within these bounds.
pub(super) fn whole<T>(bounds: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Converted<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let number = integer(value).and_then(|it| T::try_from(it).ok());
        number.filter(|it| bounds.contains(it)).ok_or_else(|| {
            format!("it must be a whole number from {} to {}", bounds.start(), bounds.end())
        })
    }
}

/// A number within these bounds, which is written with a point or without.
pub(super) fn number(bounds: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Converted<f64> {
    move |value| {
        let number = match value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => integer(value).map(|it| it as f64),
        };
        number.filter(|it| bounds.contains(it)).ok_or_else(|| {
            format!("it must be a number from {} to {}", bounds.start(), bounds.end())
        })
    }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What one of these words stands for. `kind` names the words in the message.
pub(super) fn choose<T: Copy>(kind: &str, word: &str, choices: &[(&str, T)]) -> Converted<T> {
    let found = choices.iter().find(|(name, _)| *name == word);
    let names = choices.iter().map(|(name, _)| *name);
    found.map(|(_, it)| *it).ok_or_else(|| unknown(kind, word, names))
}

// ---- What is wrong

/// Where a key of the outermost table belongs. TOML takes each key below a table's header for that
/// table's, so a user who appends one of these to the file puts it in the wrong table.
fn whole_file_key(key: &str) -> Option<&'static str> {
    match key {
        "format" => Some("above the first table, or in [segments.NAME]"),
        "roots" => Some("above the first table"),
        _ => None,
    }
}

fn misplaced(key: &str, position: &str) -> String {
    format!("there is no key {key} here; it belongs {position}")
}

fn not_utf8(bytes: &[u8], at: usize) -> ConfigError {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let what = "the file is not UTF-8 text from here on".to_owned();
    ConfigError::new(&before, vec![Problem { at, path: String::new(), what }])
}

fn syntax_error(text: &str, err: &toml::de::Error) -> ConfigError {
    let at = err.span().unwrap_or_default().start;
    let is_word = |it: char| it.is_ascii_alphabetic() || "~/.".contains(it);
    let line = text.get(..at).and_then(|it| it.rsplit('\n').next()).unwrap_or_default();
    let is_value = line.contains('=') && line.trim_end().ends_with(['=', '[', ',']);
    let what = if is_value && text[at..].starts_with(is_word) {
        "text must stand in quotes".to_owned()
    } else {
        // toml tells its syntax errors apart by their messages alone, so the message is quoted.
        format!("this is not valid TOML: {}", err.message().trim_end().replace('\n', ", "))
    };
    ConfigError::new(text, vec![Problem { at, path: String::new(), what }])
}
