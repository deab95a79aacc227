//! PURE. Segments about the session itself.

use super::segment::{AGE, BAR, Pen, SNAPSHOT_FRESH_MS, Segment, Symbol, put, put_count};
use crate::display::model_name::{api_name, readable};
use crate::display::numbers::{age, countdown, money, tokens, valid};
use crate::display::paint::Paint::{Dim, Good, Plain, Removed, Warning};
use crate::display::text::Text;
use crate::store::schema::{
    Context, Cost, CostSource, PromptCache, Session, SessionKind, Status, Tokens,
};
use crate::time::HOUR_MS;

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "model",
        about: "The model: as Claude Code reports it, else that of the session's newest reply. \
                Effort, thinking and fast mode are known only while Claude Code reports them.",
        parts: &[
            ("name", "the name that Claude Code shows, without the size of the context"),
            ("id", "the name in the API"),
            ("effort", "the effort level"),
            ("thinking", "present if thinking is on"),
            ("fast", "present in fast mode"),
        ],
        format: "{name}( {effort})( {fast})",
        short: "{name}",
        priority: 66,
        max_width: 60,
        draw: model,
        ..Segment::DEFAULT
    },
    Segment {
        name: "context",
        about: "How full the context window is: as Claude Code reports it, else as the watcher \
                knows it. Claude Code compacts the context before the window is full, but does not \
                report at which point; set `mark` to where you expect it.",
        parts: &[
            ("used", "in percent, or in tokens if only the transcript is known"),
            ("percent", "in percent"),
            ("bar", "as a bar"),
            ("tokens", "the tokens in the context"),
            ("window", "the size of the window"),
            ("large", "the size of the window if it is larger than 200k"),
            ("over_200k", "present if the context is larger than 200k now"),
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
        ..Segment::DEFAULT
    },
    Segment {
        name: "cost",
        about: "The cost of the session in US dollars: Claude Code's own estimate since it \
                started, else the cost by the session's transcripts. `≥` if a model's price is not \
                known.",
        parts: &[("cost", "in dollars")],
        format: "{cost}",
        priority: 60,
        symbols: &[Symbol("at_least", "≥", ">=")],
        draw: cost,
        ..Segment::DEFAULT
    },
    Segment {
        name: "tokens",
        about: "The tokens that the session and its subagents used, by their transcripts.",
        parts: &[
            ("total", "tokens of every kind"),
            ("input", "input that was neither written to the cache nor read from it"),
            ("output", "output"),
            ("cache_write", "written to the cache"),
            ("cache_read", "read from the cache"),
        ],
        format: "{total} tokens",
        short: "{total}",
        draw: tokens_used,
        ..Segment::DEFAULT
    },
    Segment {
        name: "cache",
        about: "The prompt cache, as Claude Code 2.1.251 or newer reports it. Without a report, \
                the hit ratio comes from the session's transcripts.",
        parts: &[
            ("hit", "the share of the input that came from the cache, in percent"),
            ("bar", "the same as a bar"),
            ("warm", "the time until it expires"),
            ("cold", "present if it expired: the next prompt pays for all of its input"),
            ("misses", "the number of cache misses"),
            ("cause", "the cause of the last miss"),
        ],
        format: "cache( {hit})( warm {warm})( {cold})( {misses} missed)(: {cause})",
        short: "cache( {hit})( {cold})",
        max_width: 60,
        bar_width: 10,
        symbols: &[BAR[0], BAR[1]],
        draw: cache,
        ..Segment::DEFAULT
    },
    Segment {
        name: "turns",
        about: "Prompts that a person typed in this session, by its transcript.",
        parts: &[("count", "how many")],
        format: "turns {count}",
        draw: turns,
        ..Segment::DEFAULT
    },
    Segment {
        name: "message",
        about: "The newest message of either side, by the transcript.",
        parts: &[("age", "how long ago it was written"), ("preview", "its beginning")],
        format: "{age} ago(: {preview})",
        short: "{age} ago",
        max_width: 60,
        draw: message,
        ..Segment::DEFAULT
    },
    Segment {
        name: "lines",
        about: "Lines of files that the session added and removed, as Claude Code reports it.",
        parts: &[("added", "lines added"), ("removed", "lines removed")],
        format: "{added}( {removed})",
        symbols: &[Symbol("added", "+", "+"), Symbol("removed", "−", "-")],
        draw: lines,
        ..Segment::DEFAULT
    },
    Segment {
        name: "duration",
        about: "How long Claude Code has run with this session, as it reports it.",
        parts: &[("time", "the whole time"), ("api", "the time that it waited for the model")],
        format: "{time}",
        draw: duration,
        ..Segment::DEFAULT
    },
    Segment {
        name: "name",
        about: "The session's name: as Claude Code reports it, else from its process file or its \
                transcript.",
        parts: &[("name", "the name")],
        format: "{name}",
        draw: name,
        ..Segment::DEFAULT
    },
    Segment {
        name: "output_style",
        about: "The output style unless it is the default, as Claude Code reports it.",
        parts: &[("style", "its name")],
        format: "{style}",
        draw: output_style,
        ..Segment::DEFAULT
    },
    Segment {
        name: "vim",
        about: "The mode of Claude Code's editor if vim keys are on.",
        parts: &[("mode", "the mode"), ("letter", "its first letter")],
        format: "{mode}",
        short: "{letter}",
        draw: vim,
        ..Segment::DEFAULT
    },
    Segment {
        name: "agent",
        about: "The agent that the session runs as, as Claude Code reports it.",
        parts: &[("name", "its name")],
        format: "as {name}",
        priority: 34,
        draw: agent,
        ..Segment::DEFAULT
    },
    Segment {
        name: "subagents",
        about: "The session's subagents, by their transcripts.",
        parts: &[("running", "how many run now"), ("total", "how many were started")],
        format: "agents {running}",
        priority: 36,
        draw: subagents,
        ..Segment::DEFAULT
    },
    Segment {
        name: "status",
        about: "What the session does, by the file of its process.",
        parts: &[
            (
                "status",
                "busy, idle, waiting (for you), or shell (idle, with a shell in the background)",
            ),
            ("time", "since when"),
            ("background", "present if it is a background session"),
            ("job", "the name of its background job"),
            ("job_state", "the state of that job"),
        ],
        format: "{status}( {time})( {background})( {job})(: {job_state})",
        short: "{status}",
        max_width: 60,
        draw: status,
        ..Segment::DEFAULT
    },
    Segment {
        name: "waiting",
        about: "Stands out while the session waits for you, by the file of its process. The line \
                does not have it unless you add it: in the session itself you see what it asks.",
        parts: &[
            ("sign", "a sign that it waits"),
            ("for", "what for, if that is known"),
            ("time", "how long it has waited"),
        ],
        format: "{sign}(: {for})( {time})",
        short: "{sign}",
        priority: 70,
        max_width: 60,
        symbols: &[Symbol("waiting", "⏳ ", "! ")],
        draw: waiting,
        ..Segment::DEFAULT
    },
    Segment {
        name: "version",
        about: "The version of Claude Code, as it reports it.",
        parts: &[("version", "the version")],
        format: "v{version}",
        draw: version,
        ..Segment::DEFAULT
    },
];

/// No prompt stays in the cache for longer than this: one hour, and what clocks may differ.
const LONGEST_CACHE_MS: i64 = 2 * HOUR_MS;
/// A context window of up to this size is not mentioned.
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
            // The segment `context` shows the size of the context.
            let name = match part {
                "id" => api_name(&model.id),
                _ => readable(model.display_name.as_deref().unwrap_or(&model.id)),
            };
            out.put_cut(Plain, &name, 40, pen.look.preset.ellipsis);
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
    // Only the client knows the size of the window. Where it has stated that, it says by a document
    // without a share that it does not know the share.
    let is_stated = |it: &&Context| client.context_window.or(it.window).is_some();
    let kept = session(pen).and_then(|it| it.context.as_ref());
    let kept = kept.filter(|it| !client.is_document() || !is_stated(it));
    let share = valid(client.context_used_percentage.or(kept.and_then(|it| it.used_percentage)));
    let used = client.context_tokens.or(kept.and_then(|it| it.tokens));
    let window = client.context_window.or(kept.and_then(|it| it.window));
    match (part, share) {
        ("used" | "percent", Some(share)) => {
            pen.put_percent(out, share);
            Some(())
        }
        ("bar", Some(share)) => {
            let mark = pen.chosen.and_then(|it| it.mark).or(pen.segment.mark);
            pen.put_bar(out, share, mark);
            Some(())
        }
        ("used", None) | ("tokens", _) => put(out, Plain, &tokens(used?)),
        ("large", Some(_)) => put(out, Dim, &tokens(window.filter(|&it| it > USUAL_WINDOW)?)),
        ("window", _) => put(out, Dim, &tokens(window?)),
        ("over_200k", _) => client.exceeds_200k?.then(|| out.put(Warning, "over 200k")),
        ("compactions", _) => {
            put_count(out, Dim, pen.symbol("compactions"), session(pen)?.compactions)
        }
        _ => None,
    }
}

fn cost(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    if part != "cost" {
        return None;
    }
    if let Some(usd) = valid(pen.view.client.cost_usd) {
        return put(out, Plain, &money(usd));
    }
    let is_kept = |it: &&Cost| it.source == CostSource::Transcript || pen.kept().is_some();
    let cost = session(pen)?.cost.as_ref().filter(is_kept)?;
    let usd = valid(Some(cost.usd))?;
    // Our own sum lacks the cost of models without a price. Whether the client's does is unknown.
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
    let hit = || valid(cache.hit_ratio.or(counted)).map(|it| it.min(1.0) * 100.0);
    let left_ms =
        cache.expires_at_ms.map(|it| pen.left_ms(it)).filter(|it| *it <= LONGEST_CACHE_MS);
    let is_cold = cache.warm == Some(false) || left_ms.is_some_and(|it| it <= 0);
    match part {
        "hit" => {
            let hit = hit()?;
            pen.put_graded(out, 100.0 - hit, &format!("{hit:.0}%"));
            Some(())
        }
        "bar" => {
            pen.put_bar(out, hit()?, None);
            Some(())
        }
        "warm" if !is_cold => put(out, Plain, &countdown(left_ms?)),
        "cold" if is_cold => put(out, Warning, "cold"),
        "misses" => put_count(out, Warning, "", cache.misses?),
        "cause" => put(out, Dim, &cache.last_miss_cause.as_deref()?.replace('_', " ")),
        _ => None,
    }
}

fn turns(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    if part == "count" { put_count(out, Plain, "", session(pen)?.turns) } else { None }
}

fn message(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let message = session(pen)?.last_message.as_ref()?;
    match part {
        "age" => put(out, Dim, &age(pen.age_ms(message.at_ms))),
        "preview" => put(out, Plain, message.preview.as_deref()?),
        _ => None,
    }
}

fn lines(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = pen.kept().and_then(|it| it.lines);
    let lines = pen.view.client.lines.or(kept)?;
    match part {
        "added" => put_count(out, Good, pen.symbol("added"), lines.added),
        "removed" => put_count(out, Removed, pen.symbol("removed"), lines.removed),
        _ => None,
    }
}

fn duration(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = pen.kept().and_then(|it| it.duration_ms);
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
    let kept = pen.kept().and_then(|it| it.output_style.as_deref());
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
        "running" => put_count(out, Plain, "", subagents.running),
        "total" => put_count(out, Plain, "", subagents.total),
        _ => None,
    }
}

fn status(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let session = session(pen)?;
    let job = session.job.as_ref();
    match part {
        "status" => match session.status? {
            Status::Busy => put(out, Plain, "busy"),
            Status::Idle => put(out, Dim, "idle"),
            Status::Waiting => put(out, Warning, "waiting"),
            Status::Shell => put(out, Plain, "shell"),
        },
        "time" => put(out, Dim, &age(pen.age_ms(session.status_since_ms?))),
        "background" if session.kind == Some(SessionKind::Background) => {
            put(out, Dim, "in the background")
        }
        "job" => put(out, Plain, job?.name.as_deref()?),
        "job_state" => put(out, Dim, job?.state.as_deref()?),
        AGE => pen.put_age_if_old(out, pen.scope.published_at_ms?, SNAPSHOT_FRESH_MS),
        _ => None,
    }
}

fn waiting(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let session = session(pen).filter(|it| it.status == Some(Status::Waiting))?;
    match part {
        "sign" => out.write(Warning, format_args!("{}waits", pen.symbol("waiting"))),
        "for" => out.put(Warning, session.waiting_for.as_deref()?),
        "time" => out.put(Dim, &age(pen.age_ms(session.status_since_ms?))),
        AGE => pen.put_age_if_old(out, pen.scope.published_at_ms?, SNAPSHOT_FRESH_MS)?,
        _ => return None,
    }
    Some(())
}

fn version(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = pen.kept().and_then(|it| it.client_version.as_deref());
    let version = pen.view.client.client_version.as_deref().or(kept)?;
    if part == "version" { put(out, Dim, version) } else { None }
}
