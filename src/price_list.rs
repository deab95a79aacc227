//! PURE. `ccstatusd prices`: what a token of each model costs here, and who says so.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::usage::prices::{Price, Prices};

/// Every row, or the one that prices `model`.
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
            lines.extend(rows.map(|(name, it)| row(name, rates(it), &source(name))));
        }
        Some(model) => {
            let (name, price) = prices.find(model).ok_or_else(|| unknown(&prices, model))?;
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
    let it = &price.rates;
    [it.input, it.output, it.cache_write_5m, it.cache_write_1h, it.cache_read]
        .map(|it| it.to_string())
}

/// What else decides the price of a request.
fn extras(price: &Price) -> Vec<String> {
    let above = price.above.as_ref().map(|it| {
        let name = format!("  with more than {} of input", it.threshold_tokens);
        let large = Price { rates: it.rates.clone(), ..price.clone() };
        row(&name, rates(&large), "").trim_end().to_owned()
    });
    let fast = price.fast_multiplier.map(|it| format!("  in fast mode × {it}"));
    let us_only = price.us_multiplier.map(|it| format!("  confined to the United States × {it}"));
    [above, fast, us_only].into_iter().flatten().collect()
}

fn unknown(prices: &Prices, model: &str) -> Error {
    let near = prices.near(model);
    let listed = match near.is_empty() {
        true => "`ccstatusd prices` lists all".to_owned(),
        false => format!("listed are {}", near.join(", ")),
    };
    // What it used is counted, and sums that miss its cost are marked.
    Error::new(format!("there is no price for {model}"))
        .hint(format!("{listed}; [prices.\"{model}\"] in the configuration adds one"))
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
    fn a_model_is_priced_by_its_row() {
        check("us.anthropic.claude-opus-4-8-v1:0", &["claude-opus-4-8  ", "6.25", "built-in list"]);
        check("claude-opus-4-8", &["in fast mode × 2", "United States × 1.1"]);
        check("claude-sonnet-4", &["with more than 200000 of input"]);
        assert!(describe(&Config::default(), None).unwrap().lines().count() > 20);
    }

    #[test]
    fn the_users_rows_are_told_from_ours() {
        let config = Config::parse(b"[prices.house-model]\ninput = 1\noutput = 2").unwrap();
        let text = describe(&config, Some("house-model")).unwrap();
        assert!(text.contains("the configuration"), "{text}");
    }

    #[test]
    fn an_unknown_model_has_no_price_and_neighbours() {
        let err = describe(&Config::default(), Some("claude-opus-4-9")).unwrap_err().to_string();
        assert!(err.contains("no price for claude-opus-4-9"), "{err}");
        assert!(err.contains("listed are claude-opus-4-8, "), "{err}");
        let err = describe(&Config::default(), Some("gpt-5")).unwrap_err().to_string();
        assert!(err.contains("`ccstatusd prices` lists all"), "{err}");
    }
}
