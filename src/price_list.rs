//! PURE. `ccstatusd prices`: what the tokens of each model cost, and which list the prices are
//! from.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::usage::prices::{Found, Model, Price, Prices, Rates};

/// A table of all prices, or of those that apply to `model`.
pub fn describe(config: &Config, model: Option<&str>) -> Result<String> {
    let prices = config.prices(Prices::builtin());
    let source = |name: &str| match config.prices.contains_key(name) {
        true => "the configuration".to_owned(),
        false => format!("the built-in list of {}", prices.as_of),
    };
    let mut lines = vec![row(
        "US dollars per million tokens",
        ["input", "output", "write 5m", "write 1h", "read"].map(str::to_owned),
        "from",
    )];
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

    fn described(config: &Config, model: Option<&str>) -> Result<String> {
        describe(config, model)
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
    fn an_unknown_model_is_refused_with_similar_ones() {
        let refused = |name| described(&Config::default(), Some(name)).unwrap_err().to_string();
        let err = refused("claude-opus-4-9");
        assert!(err.contains("no price for the model claude-opus-4-9"), "{err}");
        assert!(err.contains("similar models with a price: claude-opus-4-8, "), "{err}");
        let err = refused("gpt-5");
        assert!(err.contains("`ccstatusd prices` lists all models"), "{err}");
    }
}
