//! PURE. What `ccusage blocks --json --active` prints, read tolerantly: the only file that knows
//! its field names. A program of the user's own that prints the same will do.
//!
//! **Invariant:** a number that is missing, negative or no number is not in the result, and a block
//! without its bounds or its cost is no block.

use jiff::Timestamp;
use serde_json::Value;

use crate::store::schema::{Block, BlockSource, Burn, Projection, Tokens};

/// The variable that says which account is meant.
pub const ROOT: &str = "CLAUDE_CONFIG_DIR";

/// The active block; `Some(None)` where it says that there is none, `None` where what it says makes
/// no sense. `as_of_ms` is not known here and 0.
pub fn active_block(output: &[u8]) -> Option<Option<Block>> {
    let said: Value = serde_json::from_slice(output).ok()?;
    let blocks = said.get("blocks")?.as_array()?;
    // Who asks for all of them gets them from the oldest on, with the gaps between them.
    let is = |it: &Value, name: &str| it.get(name).and_then(Value::as_bool);
    let active = blocks
        .iter()
        .rfind(|it| is(it, "isActive") != Some(false) && is(it, "isGap") != Some(true));
    match active {
        Some(it) => block(it).map(Some),
        None => Some(None),
    }
}

fn block(said: &Value) -> Option<Block> {
    let (start_ms, end_ms) = (time(said, "startTime")?, time(said, "endTime")?);
    let tokens = said.get("tokenCounts").unwrap_or(&Value::Null);
    Some(Block {
        // It has prices of its own.
        unpriced: 0,
        start_ms,
        end_ms: (end_ms > start_ms).then_some(end_ms)?,
        last_entry_ms: time(said, "actualEndTime").unwrap_or(start_ms),
        entries: count(said, "entries").unwrap_or(0),
        tokens: Tokens {
            input: count(tokens, "inputTokens").unwrap_or(0),
            output: count(tokens, "outputTokens").unwrap_or(0),
            cache_write: count(tokens, "cacheCreationInputTokens").unwrap_or(0),
            cache_read: count(tokens, "cacheReadInputTokens").unwrap_or(0),
        },
        cost_usd: amount(said, "costUSD")?,
        burn: said.get("burnRate").and_then(|it| {
            Some(Burn {
                cost_per_hour: amount(it, "costPerHour")?,
                tokens_per_minute: amount(it, "tokensPerMinute")?,
            })
        }),
        projection: said.get("projection").and_then(|it| {
            Some(Projection {
                cost_usd: amount(it, "totalCost")?,
                tokens: count(it, "totalTokens")?,
            })
        }),
        source: BlockSource::Ccusage,
        as_of_ms: 0,
    })
}

fn time(of: &Value, name: &str) -> Option<i64> {
    let at: Timestamp = of.get(name)?.as_str()?.parse().ok()?;
    Some(at.as_millisecond())
}

fn amount(of: &Value, name: &str) -> Option<f64> {
    of.get(name)?.as_f64().filter(|it| it.is_finite() && *it >= 0.0)
}

fn count(of: &Value, name: &str) -> Option<u64> {
    of.get(name)?.as_u64().or_else(|| amount(of, name).map(|it| it as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 20.0.24 prints it.
    const ACTIVE: &str = r#"{
      "blocks": [
        {
          "actualEndTime": "2026-11-23T12:24:02.089Z",
          "burnRate": {
            "costPerHour": 14.295409623788933,
            "tokensPerMinute": 102220.73207390108,
            "tokensPerMinuteForIndicator": 10397.946678382315
          },
          "costUSD": 0.51519465,
          "endTime": "2026-11-23T17:00:00.000Z",
          "entries": 9,
          "id": "2026-11-23T12:00:00.000Z",
          "isActive": true,
          "isGap": false,
          "models": ["claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101"],
          "projection": {"remainingMinutes": 91, "totalCost": 22.2, "totalTokens": 9523124},
          "startTime": "2026-11-23T12:00:00.000Z",
          "tokenCounts": {
            "cacheCreationInputTokens": 11459,
            "cacheReadInputTokens": 187094,
            "inputTokens": 52,
            "outputTokens": 22432
          },
          "totalTokens": 221037
        }
      ]
    }"#;

    fn expected() -> Block {
        Block {
            unpriced: 0,
            start_ms: 1_795_435_200_000,
            end_ms: 1_795_453_200_000,
            last_entry_ms: 1_795_436_642_089,
            entries: 9,
            tokens: Tokens { input: 52, output: 22432, cache_write: 11459, cache_read: 187_094 },
            cost_usd: 0.51519465,
            burn: Some(Burn {
                cost_per_hour: 14.295409623788933,
                tokens_per_minute: 102220.73207390108,
            }),
            projection: Some(Projection { cost_usd: 22.2, tokens: 9_523_124 }),
            source: BlockSource::Ccusage,
            as_of_ms: 0,
        }
    }

    #[test]
    fn what_it_prints_is_understood() {
        assert_eq!(active_block(ACTIVE.as_bytes()), Some(Some(expected())));
        assert_eq!(active_block(br#"{"blocks": []}"#), Some(None), "nothing is active");
    }

    #[test]
    fn the_active_one_of_all_is_taken() {
        let mut all: Value = serde_json::from_str(ACTIVE).unwrap();
        let active = all["blocks"][0].take();
        let mut old = active.clone();
        old["isActive"] = false.into();
        let mut gap = active.clone();
        gap["isGap"] = true.into();
        all["blocks"] = vec![old.clone(), active, gap, old.clone()].into();
        assert_eq!(active_block(all.to_string().as_bytes()), Some(Some(expected())));
        all["blocks"] = vec![old].into();
        assert_eq!(active_block(all.to_string().as_bytes()), Some(None));
    }

    #[test]
    fn what_is_missing_or_senseless_takes_nothing_else_with_it() {
        let with = |name: &str, value: Value| {
            let mut said: Value = serde_json::from_str(ACTIVE).unwrap();
            said["blocks"][0][name] = value;
            active_block(said.to_string().as_bytes())
        };
        let changed = |change: fn(&mut Block)| {
            let mut block = expected();
            change(&mut block);
            Some(Some(block))
        };
        assert_eq!(with("burnRate", Value::Null), changed(|it| it.burn = None));
        assert_eq!(with("projection", "soon".into()), changed(|it| it.projection = None));
        assert_eq!(with("tokenCounts", 3.into()), changed(|it| it.tokens = Tokens::default()));
        assert_eq!(with("entries", (-1).into()), changed(|it| it.entries = 0));
        assert_eq!(with("entries", 9.0.into()), changed(|_| {}));
        let started = |it: &mut Block| it.last_entry_ms = it.start_ms;
        assert_eq!(with("actualEndTime", Value::Null), changed(started));
        for name in ["costUSD", "startTime", "endTime"] {
            assert_eq!(with(name, Value::Null), None, "without {name} there is no block");
        }
        assert_eq!(with("costUSD", (-1).into()), None);
        assert_eq!(with("endTime", "2026-11-23T12:00:00Z".into()), None);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for said in
            ["", "null", "[]", "{}", "Usage: ccusage", r#"{"blocks": 3}"#, "{\"blocks\": [{"]
        {
            assert_eq!(active_block(said.as_bytes()), None, "{said}");
        }
        let deep = "[".repeat(1 << 20);
        assert_eq!(active_block(deep.as_bytes()), None);
    }
}
