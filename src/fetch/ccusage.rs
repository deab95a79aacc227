//! PURE. Parses the output of `ccusage blocks --json --active`. Only this file knows its field
//! names. The user may configure another program that prints the same.
//!
//! **Invariant:** a missing or negative number, or a value of another type, never gets into the
//! result. A block without its bounds or its cost is refused.
//!
//! See docs/decisions/019-configured-programs.md.

use jiff::Timestamp;
use serde_json::Value;

use crate::store::schema::{Block, BlockSource, Burn, Projection, Tokens};

/// The environment variable by which `ccusage` is told the config root, and thus the account.
pub const ROOT_VAR: &str = "CLAUDE_CONFIG_DIR";

/// The active block. `Some(None)` means that no block is active, and `None` that the output is not
/// understood. `as_of_ms` is 0: the caller knows when it asked.
pub fn active_block(output: &[u8]) -> Option<Option<Block>> {
    let output: Value = serde_json::from_slice(output).ok()?;
    let blocks = output.get("blocks")?.as_array()?;
    // Without `--active` the list contains all blocks, the oldest first, and the gaps between them.
    let flag = |block: &Value, name: &str| block.get(name).and_then(Value::as_bool);
    let is_active = |block: &Value| {
        flag(block, "isActive") != Some(false) && flag(block, "isGap") != Some(true)
    };
    match blocks.iter().rfind(|it| is_active(it)) {
        Some(active) => block(active).map(Some),
        None => Some(None),
    }
}

fn block(json: &Value) -> Option<Block> {
    let (start_ms, end_ms) = (time(json, "startTime")?, time(json, "endTime")?);
    let tokens = json.get("tokenCounts").unwrap_or(&Value::Null);
    Some(Block {
        // `ccusage` has its own price list, and does not report which models are not on it.
        unpriced: 0,
        start_ms,
        end_ms: (end_ms > start_ms).then_some(end_ms)?,
        last_entry_ms: time(json, "actualEndTime").unwrap_or(start_ms),
        entries: count(json, "entries").unwrap_or(0),
        tokens: Tokens {
            input: count(tokens, "inputTokens").unwrap_or(0),
            output: count(tokens, "outputTokens").unwrap_or(0),
            cache_write: count(tokens, "cacheCreationInputTokens").unwrap_or(0),
            cache_read: count(tokens, "cacheReadInputTokens").unwrap_or(0),
        },
        cost_usd: amount(json, "costUSD")?,
        burn: json.get("burnRate").and_then(|rate| {
            Some(Burn {
                cost_per_hour: amount(rate, "costPerHour")?,
                tokens_per_minute: amount(rate, "tokensPerMinute")?,
            })
        }),
        projection: json.get("projection").and_then(|projection| {
            Some(Projection {
                cost_usd: amount(projection, "totalCost")?,
                tokens: count(projection, "totalTokens")?,
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

    /// The output of version 20.0.24.
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
    fn the_output_of_ccusage_is_parsed() {
        assert_eq!(active_block(ACTIVE.as_bytes()), Some(Some(expected())));
        assert_eq!(active_block(br#"{"blocks": []}"#), Some(None), "nothing is active");
    }

    #[test]
    fn of_all_blocks_the_active_one_is_taken() {
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
    fn a_field_that_is_missing_or_invalid_does_not_affect_the_others() {
        let with = |name: &str, value: Value| {
            let mut output: Value = serde_json::from_str(ACTIVE).unwrap();
            output["blocks"][0][name] = value;
            active_block(output.to_string().as_bytes())
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
    fn other_output_is_refused() {
        for output in
            ["", "null", "[]", "{}", "Usage: ccusage", r#"{"blocks": 3}"#, "{\"blocks\": [{"]
        {
            assert_eq!(active_block(output.as_bytes()), None, "{output}");
        }
        let deep = "[".repeat(1 << 20);
        assert_eq!(active_block(deep.as_bytes()), None);
    }
}
