//! PURE. `ccstatusd prices`: what the tokens of each model cost, and which list the prices are
//! from.

use std::path::PathBuf;

use jiff::civil::Date;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::usage::prices::{Found, Model, Price, Prices, Rates};

/// The price list in use.
#[derive(Clone, Debug)]
pub struct PriceList {
    pub prices: Prices,
    /// Where a list of the user's is, or would be; `None` where there is no home directory.
    pub path: Option<PathBuf>,
    pub placed: Placed,
}

/// What is at the place for a list of the user's.
#[derive(Clone, Debug, PartialEq)]
pub enum Placed {
    /// Nothing: the built-in list is in use.
    Nothing,
    /// The list in use.
    Used,
    /// A list of this day, which is before the day of the built-in one, so that is in use.
    Older(Date),
    /// A file that cannot be used, since `since_ms` (Unix milliseconds), so the built-in list is in
    /// use.
    Damaged { reason: String, since_ms: i64 },
}

impl PriceList {
    /// Which list is in use, how old it is, and why a list of the user's is not.
    pub fn summary(&self, today: Date) -> String {
        let as_of = self.prices.as_of;
        let path = self.path.as_ref().map(|it| it.display().to_string()).unwrap_or_default();
        let days = (today - as_of).get_days();
        let age = match days {
            ..0 => format!("{} in the future", counted(-days)),
            0 => "of today".to_owned(),
            _ => format!("{} old", counted(days)),
        };
        match &self.placed {
            Placed::Used => format!("your price list of {as_of} is in use, {age}: {path}"),
            Placed::Nothing => format!("the built-in price list of {as_of} is in use, {age}"),
            Placed::Older(date) => format!(
                "the built-in price list of {as_of} is in use, {age}; yours of {date} is older: \
                 {path}"
            ),
            Placed::Damaged { reason, .. } => format!(
                "the built-in price list of {as_of} is in use, {age}; yours cannot be used: \
                 {path}: {reason}"
            ),
        }
    }
}

fn counted(days: i32) -> String {
    format!("{days} day{}", if days == 1 { "" } else { "s" })
}

/// Which list is in use, and a table of all prices, or of those that apply to `model`.
pub fn describe(
    config: &Config,
    list: &PriceList,
    model: Option<&str>,
    today: Date,
) -> Result<String> {
    let prices = config.prices(list.prices.clone());
    let source = |name: &str| match (config.prices.contains_key(name), &list.placed) {
        (true, _) => "the configuration".to_owned(),
        (false, Placed::Used) => format!("your list of {}", prices.as_of),
        (false, _) => format!("the built-in list of {}", prices.as_of),
    };
    let mut lines = vec![
        list.summary(today),
        String::new(),
        row(
            "US dollars per million tokens",
            ["input", "output", "write 5m", "write 1h", "read"].map(str::to_owned),
            "from",
        ),
    ];
    match model {
        None => {
            lines.extend(prices.models().flat_map(|model| rows(model, &source(&model.name))));
        }
        Some(name) => {
            let found = prices.find(name).ok_or_else(|| no_price(&prices, name))?;
            let source = source(&found.model.name);
            for (line, price) in rows(&found.model, &source).into_iter().zip(found.model.prices()) {
                lines.push(line);
                lines.extend(extras(price));
            }
            lines.extend(says(&found));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// A line for each price that the model had, has, and will have.
fn rows(model: &Model, source: &str) -> Vec<String> {
    let line = |(nth, price): (usize, &Price)| {
        let since = price.since.map(|it| format!("since {it}"));
        match (nth, since) {
            (0, None) => row(&model.name, rates(price), source),
            (0, Some(since)) => row(&model.name, rates(price), &format!("{source}, {since}")),
            (_, since) => {
                let name = format!("  {}", since.unwrap_or_default());
                row(&name, rates(price), source)
            }
        }
    };
    model.prices().iter().enumerate().map(line).collect()
}

/// What the name says, beside the model, that changes the price.
fn says(found: &Found) -> Vec<String> {
    let fast = found.is_fast.then(|| "  by this name: in fast mode".to_owned());
    let geography = found.geography().map(|it| format!("  by this name: a geography × {it}"));
    [fast, geography].into_iter().flatten().collect()
}

fn row(name: &str, [input, output, write_5m, write_1h, read]: [String; 5], from: &str) -> String {
    format!("{name:30} {input:>8} {output:>8} {write_5m:>8} {write_1h:>8} {read:>8}  {from}")
}

fn rates(price: &Price) -> [String; 5] {
    let Rates { input, output, cache_write_5m, cache_write_1h, cache_read } = &price.rates;
    [input, output, cache_write_5m, cache_write_1h, cache_read].map(f64::to_string)
}

/// A line for each thing that changes the price of a request.
fn extras(price: &Price) -> Vec<String> {
    let above = price.above.as_ref().map(|above| {
        let name = format!("  with more than {} of input", above.threshold_tokens);
        let large = Price { rates: above.rates.clone(), ..price.clone() };
        row(&name, rates(&large), "").trim_end().to_owned()
    });
    let fast = price.fast_multiplier.map(|it| format!("  in fast mode × {it}"));
    let us_only = price.us_multiplier.map(|it| format!("  confined to the United States × {it}"));
    [above, fast, us_only].into_iter().flatten().collect()
}

fn no_price(prices: &Prices, model: &str) -> Error {
    let similar = prices.near(model);
    let listed = match similar.is_empty() {
        true => "`ccstatusd prices` lists all models with a price".to_owned(),
        false => format!("similar models with a price: {}", similar.join(", ")),
    };
    Error::new(format!("there is no price for the model {model}"))
        .hint(format!("{listed}; add one as [prices.\"{model}\"] in the configuration file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = Date::constant(2026, 12, 5);

    fn builtin() -> PriceList {
        let path = Some("/d/prices.json".into());
        PriceList { prices: Prices::builtin(), path, placed: Placed::Nothing }
    }

    fn described(config: &Config, model: Option<&str>) -> Result<String> {
        describe(config, &builtin(), model, TODAY)
    }

    #[track_caller]
    fn check(model: &str, expected: &[&str]) {
        let text = described(&Config::default(), Some(model)).unwrap();
        assert!(expected.iter().all(|it| text.contains(it)), "{text}");
    }

    #[test]
    fn a_model_has_the_price_of_its_row() {
        check("us.anthropic.claude-opus-4-8-v1:0", &["claude-opus-4-8  ", "6.25", "built-in list"]);
        check("us.anthropic.claude-opus-4-8-v1:0", &["by this name: a geography × 1.1"]);
        check("claude-opus-4-8", &["in fast mode × 2", "United States × 1.1"]);
        check("claude-opus-4.8-fast", &["by this name: in fast mode"]);
        check("claude-sonnet-4", &["with more than 200000 of input"]);
        assert!(described(&Config::default(), None).unwrap().lines().count() > 20);
    }

    #[test]
    fn prices_of_the_user_and_built_in_ones_can_be_told_apart() {
        let text = "[[prices.house-model]]\ninput = 1\noutput = 2\n\
                    [[prices.house-model]]\nsince = '2026-12-01'\ninput = 3\noutput = 4";
        let config = Config::parse(text.as_bytes()).unwrap();
        let text = described(&config, Some("house-model")).unwrap();
        assert!(text.contains("the configuration"), "{text}");
        assert!(text.contains("\n  since 2026-12-01              "), "{text}");
    }

    #[test]
    fn it_is_said_which_list_is_in_use() {
        let said = |placed| PriceList { placed, ..builtin() }.summary(TODAY);
        let builtin = "the built-in price list of 2026-11-25 is in use, 10 days old";
        assert_eq!(said(Placed::Nothing), builtin);
        let used = "your price list of 2026-11-25 is in use, 10 days old: /d/prices.json";
        assert_eq!(said(Placed::Used), used);
        let older = said(Placed::Older(Date::constant(2026, 11, 24)));
        assert_eq!(older, format!("{builtin}; yours of 2026-11-24 is older: /d/prices.json"));
        let damaged = said(Placed::Damaged { reason: "torn".to_owned(), since_ms: 0 });
        assert_eq!(damaged, format!("{builtin}; yours cannot be used: /d/prices.json: torn"));
        let on = |day| self::builtin().summary(Date::constant(2026, 11, day));
        assert!(on(25).ends_with("of today") && on(24).ends_with("1 day in the future"));
    }

    #[test]
    fn an_unknown_model_is_refused_with_similar_ones() {
        let refused = |name| described(&Config::default(), Some(name)).unwrap_err().to_string();
        let err = refused("claude-opus-4-9");
        assert!(err.contains("no price for the model claude-opus-4-9"), "{err}");
        assert!(err.contains("similar models with a price: claude-opus-4-8, "), "{err}");
        let err = refused("gpt-5");
        assert!(err.contains("`ccstatusd prices` lists all models"), "{err}");
    }
}
