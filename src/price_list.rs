//! PURE. `ccstatusd prices`: what the tokens of each model cost, and which list the prices are
//! from.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::usage::prices::{Price, Prices, Rates};

/// A table of all prices, or of those that apply to `model`.
pub fn describe(config: &Config, model: Option<&str>) -> Result<String> {
    let prices = config.prices();
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
            let rows = prices.models.iter();
            lines.extend(rows.map(|(name, price)| row(name, rates(price), &source(name))));
        }
        Some(model) => {
            let (name, price) = prices.find(model).ok_or_else(|| no_price(&prices, model))?;
            lines.push(row(name, rates(price), &source(name)));
            lines.extend(extras(price));
        }
    }
    Ok(lines.join("\n") + "\n")
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

    #[track_caller]
    fn check(model: &str, expected: &[&str]) {
        let text = describe(&Config::default(), Some(model)).unwrap();
        assert!(expected.iter().all(|it| text.contains(it)), "{text}");
    }

    #[test]
    fn a_model_has_the_price_of_its_row() {
        check("us.anthropic.claude-opus-4-8-v1:0", &["claude-opus-4-8  ", "6.25", "built-in list"]);
        check("claude-opus-4-8", &["in fast mode × 2", "United States × 1.1"]);
        check("claude-sonnet-4", &["with more than 200000 of input"]);
        assert!(describe(&Config::default(), None).unwrap().lines().count() > 20);
    }

    #[test]
    fn prices_of_the_user_and_built_in_ones_can_be_told_apart() {
        let config = Config::parse(b"[prices.house-model]\ninput = 1\noutput = 2").unwrap();
        let text = describe(&config, Some("house-model")).unwrap();
        assert!(text.contains("the configuration"), "{text}");
    }

    #[test]
    fn an_unknown_model_is_refused_with_similar_ones() {
        let err = describe(&Config::default(), Some("claude-opus-4-9")).unwrap_err().to_string();
        assert!(err.contains("no price for the model claude-opus-4-9"), "{err}");
        assert!(err.contains("similar models with a price: claude-opus-4-8, "), "{err}");
        let err = describe(&Config::default(), Some("gpt-5")).unwrap_err().to_string();
        assert!(err.contains("`ccstatusd prices` lists all models"), "{err}");
    }
}
