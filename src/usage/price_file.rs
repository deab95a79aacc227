//! PURE. Reads a price list: the built-in one, `prices.json`, and those that users put in place.
//! docs/prices.md describes the format.
//!
//! **Invariant:** a list is taken as a whole or not at all. A key that is not known is an error: it
//! could change a price, and the costs would be silently wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::sanitize;
use crate::usage::prices::{Above, INPUT_STEPS, Price, Prices, Rates};

/// US dollars per million tokens.
pub const RATES: RangeInclusive<f64> = 0.0..=1e6;
pub const MULTIPLIERS: RangeInclusive<f64> = 0.0..=1000.0;
/// US dollars per thousand web searches.
const SEARCHES: RangeInclusive<f64> = 0.0..=1e6;

const FILE_KEYS: [&str; 4] = ["about", "as_of", "web_search_per_1000", "models"];
const RATE_KEYS: [&str; 5] = ["input", "output", "cache_write_5m", "cache_write_1h", "cache_read"];
/// Keys of a price beside its rates. Nothing is priced by `context_window`.
const PRICE_KEYS: [&str; 5] =
    ["since", "above", "fast_multiplier", "us_multiplier", "context_window"];
const THRESHOLD: &str = "threshold_tokens";

/// Messages that an error shows. It only counts the problems beyond these.
const MAX_MESSAGES: usize = 8;

/// Every problem of a price list, each with its place: `models.claude-x.input: it is missing`.
///
/// `{}` writes them on one line, for a status line; `{:#}` writes each on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceFileError {
    messages: Vec<String>,
    n_more: usize,
}

impl Prices {
    /// The list in `prices.json`.
    pub fn builtin() -> Prices {
        Prices::parse(include_bytes!("prices.json")).expect("the tests parse the built-in list")
    }

    /// Reads and checks a price list.
    pub fn parse(bytes: &[u8]) -> Result<Prices, PriceFileError> {
        let mut reader = Reader { problems: Vec::new() };
        let prices = match serde_json::from_slice(bytes) {
            Ok(Value::Object(file)) => reader.file(&file),
            Ok(_) => reader.refuse("the file", "it must be an object: {\"as_of\": …}"),
            Err(err) => reader.refuse("the file", format!("it is not valid JSON: {err}")),
        };
        match prices {
            Some(prices) if reader.problems.is_empty() => Ok(prices),
            _ => Err(PriceFileError::new(reader.problems)),
        }
    }
}

/// Collects what is wrong. Methods that return `None` have recorded a problem.
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn file(&mut self, file: &Map<String, Value>) -> Option<Prices> {
        self.check_keys("", file, &FILE_KEYS);
        let as_of = self.date("as_of", file.get("as_of"));
        let searches = self.number("web_search_per_1000", file, SEARCHES);
        let models = match file.get("models") {
            Some(Value::Object(models)) if !models.is_empty() => models,
            _ => return self.refuse("models", "it must be an object with a key for each model"),
        };
        let models: Vec<_> = models
            .iter()
            .map(|(name, value)| Some((name.clone(), self.model(name, value)?)))
            .collect();
        let models: Option<Vec<_>> = models.into_iter().collect();
        Some(Prices::new(as_of?, searches?).with(models?))
    }

    /// One price, or a list of prices with dates.
    fn model(&mut self, name: &str, value: &Value) -> Option<Vec<Price>> {
        let path = format!("models.{name}");
        let Some(rows) = value.as_array() else { return Some(vec![self.price(&path, value)?]) };
        let read = rows.iter().enumerate();
        let rows: Vec<_> = read.map(|(n, row)| self.price(&format!("{path}[{n}]"), row)).collect();
        let rows = rows.into_iter().collect::<Option<Vec<_>>>()?;
        match check_dates(&rows) {
            Ok(()) => Some(rows),
            Err(what) => self.refuse(&path, what),
        }
    }

    fn price(&mut self, path: &str, value: &Value) -> Option<Price> {
        let Some(row) = value.as_object() else {
            return self.refuse(path, "it must be an object with the rates of a model");
        };
        let known: Vec<_> = RATE_KEYS.into_iter().chain(PRICE_KEYS).collect();
        self.check_keys(path, row, &known);
        let rates = self.rates(path, row);
        let above = row.get("above").map(|above| {
            let path = format!("{path}.above");
            let Some(above) = above.as_object() else {
                return self.refuse(&path, "it must be an object with a threshold and rates");
            };
            let known: Vec<_> = RATE_KEYS.into_iter().chain([THRESHOLD]).collect();
            self.check_keys(&path, above, &known);
            let threshold = above.get(THRESHOLD).and_then(Value::as_u64);
            let Some(threshold_tokens) = threshold.filter(|it| INPUT_STEPS.contains(it)) else {
                let steps = INPUT_STEPS.map(|it| it.to_string()).join(", ");
                let path = format!("{path}.{THRESHOLD}");
                return self.refuse(&path, format!("it must be one of {steps}"));
            };
            Some(Above { threshold_tokens, rates: self.rates(&path, above)? })
        });
        let since = row.get("since").map(|it| self.date(&format!("{path}.since"), Some(it)));
        let [fast_multiplier, us_multiplier] = ["fast_multiplier", "us_multiplier"]
            .map(|key| row.get(key).map(|_| self.number(&join(path, key), row, MULTIPLIERS)));
        // A key that is absent is no problem, and one whose value is wrong is.
        Some(Price {
            since: since.map_or(Some(None), |it| it.map(Some))?,
            rates: rates?,
            above: above.map_or(Some(None), |it| it.map(Some))?,
            fast_multiplier: fast_multiplier.map_or(Some(None), |it| it.map(Some))?,
            us_multiplier: us_multiplier.map_or(Some(None), |it| it.map(Some))?,
        })
    }

    fn rates(&mut self, path: &str, row: &Map<String, Value>) -> Option<Rates> {
        let [input, output, cache_write_5m, cache_write_1h, cache_read] =
            RATE_KEYS.map(|key| self.number(&join(path, key), row, RATES));
        Some(Rates {
            input: input?,
            output: output?,
            cache_write_5m: cache_write_5m?,
            cache_write_1h: cache_write_1h?,
            cache_read: cache_read?,
        })
    }

    /// The number at the last key of `path`.
    fn number(
        &mut self,
        path: &str,
        table: &Map<String, Value>,
        bounds: RangeInclusive<f64>,
    ) -> Option<f64> {
        let key = path.rsplit_once('.').map_or(path, |(_, key)| key);
        let Some(value) = table.get(key) else { return self.refuse(path, "it is missing") };
        match value.as_f64().filter(|it| bounds.contains(it)) {
            None => {
                let (least, most) = (bounds.start(), bounds.end());
                self.refuse(path, format!("it must be a number from {least} to {most}"))
            }
            number => number,
        }
    }

    fn date(&mut self, path: &str, value: Option<&Value>) -> Option<Date> {
        let date = value.and_then(Value::as_str).and_then(read_date);
        date.or_else(|| self.refuse(path, NOT_A_DATE))
    }

    fn check_keys(&mut self, path: &str, table: &Map<String, Value>, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            let what = format!("unknown key; expected one of {}", known.join(", "));
            self.refuse::<()>(&join(path, key), what);
        }
    }

    fn refuse<T>(&mut self, path: &str, what: impl fmt::Display) -> Option<T> {
        // The file may be from anywhere. It must not steer the terminal.
        let path: String = path.chars().take(200).collect();
        self.problems.push(sanitize::marked(&format!("{path}: {what}")));
        None
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub const NOT_A_DATE: &str = "it must be a date in quotes, as in \"2026-12-01\"";

/// A date as in `2026-12-01`.
pub fn read_date(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|it| it.to_string() == text && it.year() >= 1970)
}

/// Whether it is clear which of these prices of one model applies at any time.
pub fn check_dates(rows: &[Price]) -> Result<(), String> {
    if rows.is_empty() {
        return Err("the list has no price".to_owned());
    }
    let mut met = BTreeSet::new();
    match rows.iter().find(|it| !met.insert(it.since)) {
        None => Ok(()),
        Some(Price { since: Some(date), .. }) => Err(format!("two prices begin on {date}")),
        Some(Price { since: None, .. }) => {
            Err("two prices have no `since`; only the earliest can be without".to_owned())
        }
    }
}

impl PriceFileError {
    fn new(mut messages: Vec<String>) -> PriceFileError {
        let n_more = messages.len().saturating_sub(MAX_MESSAGES);
        messages.truncate(MAX_MESSAGES);
        PriceFileError { messages, n_more }
    }
}

impl fmt::Display for PriceFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_list = f.alternate() && self.messages.len() > 1;
        let gap = if is_list { "\n  " } else { "; " };
        f.write_str(if is_list { gap } else { "" })?;
        f.write_str(&self.messages.join(gap))?;
        match self.n_more {
            0 => Ok(()),
            n_more => write!(f, "{gap}and {n_more} more"),
        }
    }
}

impl std::error::Error for PriceFileError {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> Value {
        json!({"input": 5, "output": 25.0, "cache_write_5m": 6.25, "cache_write_1h": 10,
               "cache_read": 0.5})
    }

    fn list(models: Value) -> Value {
        json!({"as_of": "2026-12-01", "web_search_per_1000": 10, "models": models})
    }

    /// A row with this value for a key; without it where the value is null.
    fn with(key: &str, value: Value) -> Value {
        let mut row = row();
        match value {
            Value::Null => drop(row.as_object_mut().unwrap().remove(key)),
            value => row[key] = value,
        }
        row
    }

    #[track_caller]
    fn check_refused(list: &Value, why: &str) {
        let err = Prices::parse(list.to_string().as_bytes()).unwrap_err().to_string();
        assert!(err.contains(why), "{err}");
    }

    #[test]
    fn the_built_in_list_is_read() {
        let file: Value = serde_json::from_str(include_str!("prices.json")).unwrap();
        let names: Vec<_> = file["models"].as_object().unwrap().keys().cloned().collect();
        let prices = Prices::builtin();
        let read: Vec<_> = prices.models().map(|it| it.name.clone()).collect();
        assert_eq!(read, names);
    }

    #[test]
    fn a_model_has_one_price_or_several_with_dates() {
        let rows = json!([with("since", json!("2026-12-01")), row()]);
        let prices = Prices::parse(list(json!({"a": row(), "b": rows})).to_string().as_bytes());
        let prices = prices.unwrap();
        let dates = |name: &str| -> Vec<_> {
            let model = prices.find(name).unwrap().model;
            model.prices().iter().map(|it| it.since.map(|date| date.to_string())).collect()
        };
        assert_eq!(dates("a"), [None]);
        assert_eq!(dates("b"), [None, Some("2026-12-01".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        check_refused(&json!([]), "the file: it must be an object");
        check_refused(&json!({}), "as_of: it must be a date in quotes");
        check_refused(&list(json!({})), "models: it must be an object with a key for each model");
        let one = |row: Value| list(json!({"claude-x": row}));
        check_refused(&one(json!(3)), "models.claude-x: it must be an object");
        check_refused(&one(with("input", Value::Null)), "models.claude-x.input: it is missing");
        let number = "models.claude-x.output: it must be a number from 0 to 1000000";
        check_refused(&one(with("output", json!("5"))), number);
        check_refused(&one(with("output", json!(-1))), number);
        check_refused(&one(with("fast", json!(2))), "models.claude-x.fast: unknown key; expected");
        check_refused(&one(with("fast_multiplier", json!(1001))), "fast_multiplier: it must be");
        check_refused(&one(with("since", json!("1.12.2026"))), "models.claude-x.since: it must be");
        check_refused(&one(json!([])), "models.claude-x: the list has no price");
        check_refused(&one(json!([row(), row()])), "two prices have no `since`");
        check_refused(&one(json!([row(), 1])), "models.claude-x[1]: it must be an object");
        let dated = with("since", json!("2026-12-01"));
        check_refused(&one(json!([dated, dated])), "two prices begin on 2026-12-01");
        let above = with("threshold_tokens", json!(200_001));
        check_refused(&one(with("above", above)), "above.threshold_tokens: it must be one of");
        check_refused(&one(with("above", row())), "above.threshold_tokens: it must be one of");
        let err = Prices::parse(b"{\"as_of\": ").unwrap_err().to_string();
        assert!(err.contains("not valid JSON") && err.contains("line 1 column"), "{err}");
    }

    #[test]
    fn a_list_full_of_problems_makes_a_short_error_that_steers_no_terminal() {
        let rows: Map<_, _> =
            (0..100).map(|n| (format!("\u{1b}[31m{n}{}", "x".repeat(999)), json!(1))).collect();
        let err = Prices::parse(list(json!(rows)).to_string().as_bytes()).unwrap_err();
        let text = format!("{err:#}");
        assert!(text.ends_with("\n  and 92 more") && text.starts_with("\n  models."), "{text}");
        assert!(text.len() < 5000 && !text.contains('\u{1b}'), "{text}");
    }
}
