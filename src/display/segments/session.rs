//! PURE. The session itself.

use super::{BAR, Dim, Pen, SEGMENT, Segment, Symbol, Text, Warning, counted, put};
use crate::display::numbers::{countdown, known, money, tokens, units};
use crate::display::theme::Paint::{Good, Plain, Removed};
use crate::store::schema::{PromptCache, Session, Tokens};

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "model",
        about: "The model: from the client, else of the session's newest reply. How hard it tries \
                and whether it is in fast mode only the client knows.",
        parts: &[
            ("name", "as the client calls it, without the size of its context"),
            ("id", "as the API calls it"),
            ("effort", "how hard it tries"),
            ("thinking", "where it thinks first"),
            ("fast", "where it is in fast mode"),
        ],
        format: "{name}( {effort})( {fast})",
        short: "{name}",
        priority: 66,
        max_width: 60,
        draw: model,
        ..SEGMENT
    },
    Segment {
        name: "context",
        about: "How full the context is: from the client, else the watcher. The client compacts it \
                before it is full, but does not say where: `mark` is where the bar says so.",
        parts: &[
            ("used", "in percent, or tokens where only the transcript is known"),
            ("percent", "in percent"),
            ("bar", "as a bar"),
            ("tokens", "tokens in it"),
            ("window", "its size"),
            ("large", "its size, where that is larger than the usual 200k"),
            ("over_200k", "where it is larger than 200k now"),
            ("compactions", "how often it was compacted"),
        ],
        format: "ctx {used}( of {large})",
        short: "ctx {used}",
        priority: 86,
        thresholds: Some((80.0, 95.0)),
        bar_width: 10,
        mark: Some(80.0),
        symbols: &[BAR[0], BAR[1], BAR[2], Symbol("compactions", "⟲", "x")],
        draw: context,
        ..SEGMENT
    },
    Segment {
        name: "cost",
        about: "What the session cost in US dollars: by the client's own account since it started, \
                else by ours. `≥` where a model has no known price.",
        parts: &[("cost", "in dollars")],
        format: "{cost}",
        priority: 60,
        symbols: &[Symbol("at_least", "≥", ">=")],
        draw: cost,
        ..SEGMENT
    },
    Segment {
        name: "tokens",
        about: "What the session used, subagents included, by its transcripts.",
        parts: &[
            ("total", "tokens of every kind"),
            ("input", "neither written to nor read from the cache"),
            ("output", "output"),
            ("cache_write", "written to the cache"),
            ("cache_read", "read from the cache"),
        ],
        format: "{total} tokens",
        short: "{total}",
        draw: tokens_used,
        ..SEGMENT
    },
    Segment {
        name: "cache",
        about: "The cache of prompts: from the client (2.1.251 or newer), the hit ratio else by \
                the session's transcripts.",
        parts: &[
            ("hit", "how much of the input came from it, in percent"),
            ("bar", "the same as a bar"),
            ("warm", "how long it stays warm"),
            ("cold", "where it is cold: the next prompt pays for all of its input"),
            ("misses", "how often something was missing in it"),
            ("cause", "why it last was"),
        ],
        format: "cache {hit}( warm {warm})( {cold})( {misses} missed)(: {cause})",
        short: "cache {hit}( {cold})",
        max_width: 60,
        bar_width: 10,
        symbols: &[BAR[0], BAR[1]],
        draw: cache,
        ..SEGMENT
    },
    Segment {
        name: "turns",
        about: "Prompts that a person typed in this session, by its transcript.",
        parts: &[("count", "how many")],
        format: "turns {count}",
        draw: turns,
        ..SEGMENT
    },
    Segment {
        name: "message",
        about: "The newest message of either side, by the transcript.",
        parts: &[("age", "how long ago it was written"), ("preview", "its beginning")],
        format: "{age} ago(: {preview})",
        short: "{age} ago",
        max_width: 60,
        draw: message,
        ..SEGMENT
    },
    Segment {
        name: "lines",
        about: "Lines that the session added and removed, as the client says.",
        parts: &[("added", "how many were added"), ("removed", "and removed")],
        format: "{added}( {removed})",
        symbols: &[Symbol("added", "+", "+"), Symbol("removed", "−", "-")],
        draw: lines,
        ..SEGMENT
    },
    Segment {
        name: "duration",
        about: "How long the client has run with this session, as it says.",
        parts: &[("time", "how long"), ("api", "how much of that it waited for the model")],
        format: "{time}",
        draw: duration,
        ..SEGMENT
    },
    Segment {
        name: "name",
        about: "The session's name: from the client, its process, or its transcript.",
        parts: &[("name", "the name")],
        format: "{name}",
        draw: name,
        ..SEGMENT
    },
    Segment {
        name: "output_style",
        about: "The output style, where it is not the default, as the client says.",
        parts: &[("style", "its name")],
        format: "{style}",
        draw: output_style,
        ..SEGMENT
    },
    Segment {
        name: "vim",
        about: "The mode of the client's editor, where that is vim's.",
        parts: &[("mode", "the mode"), ("letter", "its first letter")],
        format: "{mode}",
        short: "{letter}",
        draw: vim,
        ..SEGMENT
    },
    Segment {
        name: "agent",
        about: "The agent that the session runs as, as the client says.",
        parts: &[("name", "its name")],
        format: "as {name}",
        priority: 34,
        draw: agent,
        ..SEGMENT
    },
    Segment {
        name: "subagents",
        about: "Subagents that work now, by their transcripts.",
        parts: &[("running", "how many work"), ("total", "how many ever did")],
        format: "agents {running}",
        priority: 36,
        draw: subagents,
        ..SEGMENT
    },
    Segment {
        name: "version",
        about: "The version of Claude Code, as it says.",
        parts: &[("version", "the version")],
        format: "v{version}",
        draw: version,
        ..SEGMENT
    },
];

/// The context that needs no mention.
const USUAL_WINDOW: u64 = 200_000;

fn session<'a>(pen: &Pen<'a>) -> Option<&'a Session> {
    pen.scope.session
}

fn model(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let client = pen.view.client;
    match part {
        "name" | "id" => {
            let kept = session(pen).and_then(|it| it.model.as_ref());
            let model = client.model.as_ref().or(kept)?;
            let name = model.display_name.as_deref().filter(|it| !it.is_empty() && part == "name");
            let name = name.unwrap_or(&model.id);
            // The size of its context, which some names carry in parentheses, stands with that.
            let name = name.split_once(" (").map_or(name, |(name, _)| name);
            out.put_cut(Plain, name, 40, pen.look.preset.ellipsis);
            Some(())
        }
        "effort" => put(out, Dim, client.effort.as_deref()?),
        "thinking" => client.thinking?.then(|| out.put(Dim, "thinking")),
        "fast" => client.fast?.then(|| out.put(Warning, "fast")),
        _ => None,
    }
}

fn context(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let client = pen.view.client;
    let kept = session(pen).and_then(|it| it.context.as_ref());
    let share = known(client.context_used_percentage.or(kept.and_then(|it| it.used_percentage)));
    let used = client.context_tokens.or(kept.and_then(|it| it.tokens));
    let window = client.context_window.or(kept.and_then(|it| it.window));
    match (part, share) {
        ("used" | "percent", Some(share)) => {
            pen.percent(out, share);
            Some(())
        }
        ("bar", Some(share)) => {
            let mark = pen.chosen.and_then(|it| it.mark).or(pen.segment.mark);
            pen.bar(out, share, mark);
            Some(())
        }
        ("used", None) | ("tokens", _) => put(out, Plain, &tokens(used?)),
        ("large", Some(_)) => put(out, Dim, &tokens(window.filter(|&it| it > USUAL_WINDOW)?)),
        ("window", _) => put(out, Dim, &tokens(window?)),
        ("over_200k", _) => client.exceeds_200k?.then(|| out.put(Warning, "over 200k")),
        ("compactions", _) => {
            counted(out, Dim, pen.symbol("compactions"), session(pen)?.compactions)
        }
        _ => None,
    }
}

fn cost(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    if part != "cost" {
        return None;
    }
    if let Some(usd) = known(pen.view.client.cost_usd) {
        return put(out, Plain, &money(usd));
    }
    let cost = session(pen)?.cost.as_ref()?;
    let usd = known(Some(cost.usd))?;
    // Our own accounting misses what has no price; the client's estimate is its own business.
    if cost.unpriced > 0 {
        out.put(Plain, pen.symbol("at_least"));
    }
    put(out, Plain, &money(usd))
}

fn tokens_used(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let Tokens { input, output, cache_write, cache_read } = session(pen)?.tokens;
    let total = [input, output, cache_write, cache_read].into_iter().fold(0, u64::saturating_add);
    let count = match part {
        "total" => total,
        "input" => input,
        "output" => output,
        "cache_write" => cache_write,
        "cache_read" => cache_read,
        _ => return None,
    };
    (total > 0).then(|| out.put(Plain, &tokens(count)))
}

fn cache(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let none = PromptCache::default();
    let cache = pen.view.client.prompt_cache.as_ref().unwrap_or(&none);
    let counted = session(pen).and_then(|it| it.cache_hit_ratio);
    let hit = || known(cache.hit_ratio.or(counted)).map(|it| it.min(1.0) * 100.0);
    let left_ms = cache.expires_at_ms.map(|it| pen.left(it));
    let is_cold = cache.warm == Some(false) || left_ms.is_some_and(|it| it <= 0);
    match part {
        "hit" => {
            let hit = hit()?;
            pen.graded(out, 100.0 - hit, &format!("{hit:>2.0}%"));
            Some(())
        }
        "bar" => {
            pen.bar(out, hit()?, None);
            Some(())
        }
        "warm" if !is_cold => put(out, Plain, &countdown(left_ms?)),
        "cold" if is_cold => put(out, Warning, "cold"),
        "misses" => counted_misses(out, cache.misses?),
        "cause" => put(out, Dim, &cache.last_miss_cause.as_deref()?.replace('_', " ")),
        _ => None,
    }
}

fn counted_misses(out: &mut Text, misses: u64) -> Option<()> {
    counted(out, Warning, "", misses)
}

fn turns(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    if part == "count" { counted(out, Plain, "", session(pen)?.turns) } else { None }
}

fn message(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let message = session(pen)?.last_message.as_ref()?;
    match part {
        "age" => put(out, Dim, &units(pen.age(message.at_ms))),
        "preview" => put(out, Plain, message.preview.as_deref()?),
        _ => None,
    }
}

fn lines(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = session(pen).and_then(|it| it.lines);
    let lines = pen.view.client.lines.or(kept)?;
    match part {
        "added" => counted(out, Good, pen.symbol("added"), lines.added),
        "removed" => counted(out, Removed, pen.symbol("removed"), lines.removed),
        _ => None,
    }
}

fn duration(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = session(pen).and_then(|it| it.duration_ms);
    let ms = match part {
        "time" => pen.view.client.duration_ms.or(kept)?,
        "api" => pen.view.client.api_duration_ms?,
        _ => return None,
    };
    put(out, Plain, &countdown(i64::try_from(ms).ok()?))
}

fn name(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = session(pen).and_then(|it| it.name.as_deref());
    let name = pen.view.client.session_name.as_deref().or(kept)?;
    if part == "name" { put(out, Plain, name) } else { None }
}

fn output_style(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = session(pen).and_then(|it| it.output_style.as_deref());
    let style = pen.view.client.output_style.as_deref().or(kept)?;
    (part == "style" && style != "default").then(|| out.put(Plain, style))
}

fn vim(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let mode = pen.view.client.vim_mode.as_deref()?;
    match part {
        "mode" => put(out, Plain, mode),
        "letter" => put(out, Plain, &mode[..mode.chars().next()?.len_utf8()]),
        _ => None,
    }
}

fn agent(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    if part == "name" { put(out, Plain, pen.view.client.agent.as_deref()?) } else { None }
}

fn subagents(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let subagents = session(pen)?.subagents;
    match part {
        "running" => counted(out, Plain, "", subagents.running),
        "total" => counted(out, Plain, "", subagents.total),
        _ => None,
    }
}

fn version(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = session(pen).and_then(|it| it.client_version.as_deref());
    let version = pen.view.client.client_version.as_deref().or(kept)?;
    if part == "version" { put(out, Dim, version) } else { None }
}
