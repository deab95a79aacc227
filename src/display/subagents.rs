//! PURE. The rows of subagents: a table with one row for each.
//!
//! **Invariant:** a row fits into the terminal, and nothing in it controls the terminal. A column
//! that would leave no room for the description is left out of all rows.

use super::look::Look;
use super::model_name::readable;
use super::numbers::{elapsed, tokens};
use super::paint::Paint;
use super::text::Text;
use super::view::Style;
use crate::store::schema::Task;
use crate::store::schema::display::{Depth, Display};

#[derive(Clone, Copy, PartialEq)]
enum Column {
    Name,
    Elapsed,
    Tokens,
    Samples,
    Context,
    Model,
    Description,
}

use Column::{Context, Description, Elapsed, Model, Name, Samples, Tokens};

/// The order of all columns but the description, which is the last one.
const FROM_LEFT: [Column; 6] = [Name, Elapsed, Tokens, Samples, Context, Model];
/// The order in which columns are added to the table while there is room.
const BY_PRIORITY: [Column; 6] = [Name, Elapsed, Context, Tokens, Model, Samples];

/// The space between two columns.
const GAP: usize = 2;
/// Other columns leave this much to the description if it needs that much.
const WANTED_DESCRIPTION: usize = 24;
/// A description with less room than this is left out.
const LEAST_DESCRIPTION: usize = 8;
/// The most that names of agents and models take.
const AGENT_NAME_COLUMNS: usize = 24;
/// The sparkline shows this many of the newest samples.
const MAX_SAMPLES: usize = 8;

/// Draws a row for each task, at most `columns` wide.
pub fn rows(
    tasks: &[Task],
    columns: Option<usize>,
    now_ms: i64,
    display: &Display,
    depth: Depth,
) -> Vec<String> {
    let style = Style { columns, depth, has_links: false };
    let look = Look::of(&display.theme, &style, None);
    let usable = columns.unwrap_or(usize::MAX).max(1);
    let cells: Vec<_> = tasks
        .iter()
        .map(|task| FROM_LEFT.map(|column| cell(column, task, now_ms, &look)))
        .collect();
    let widths = std::array::from_fn::<_, 6, _>(|nth| {
        cells.iter().map(|row| row[nth].width()).max().unwrap_or(0)
    });
    let width = |column| {
        let found = FROM_LEFT.iter().zip(widths).find(|(other, _)| **other == column);
        found.map_or(0, |(_, width)| width)
    };
    let descriptions: Vec<_> =
        tasks.iter().map(|task| cell(Description, task, now_ms, &look)).collect();
    let wanted = descriptions.iter().map(Text::width).max().unwrap_or(0).min(WANTED_DESCRIPTION);
    let mut taken = 0;
    let mut kept = Vec::new();
    for column in BY_PRIORITY {
        let takes = width(column) + if taken > 0 { GAP } else { 0 };
        let wants = if wanted > 0 { GAP + wanted } else { 0 };
        if column == Name || (width(column) > 0 && taken + takes + wants <= usable) {
            taken += takes;
            kept.push(column);
        }
    }
    let rest = usable.saturating_sub(taken + GAP);
    let draw = |(cells, mut description): ([Text; 6], Text)| {
        let mut pieces = Vec::new();
        let mut gap = 0;
        for (column, cell) in FROM_LEFT.into_iter().zip(cells) {
            if kept.contains(&column) {
                let blank = width(column) - cell.width();
                let is_number = matches!(column, Elapsed | Tokens | Context);
                let (before, after) = if is_number { (blank, 0) } else { (0, blank) };
                pieces.push(blanks(gap + before));
                pieces.push(cell);
                gap = after + GAP;
            }
        }
        if rest >= LEAST_DESCRIPTION {
            description.cut(rest, look.preset.ellipsis);
            pieces.extend([blanks(gap), description]);
        }
        look.paint_cut(pieces, usable)
    };
    cells.into_iter().zip(descriptions).map(draw).collect()
}

fn blanks(count: usize) -> Text {
    Text::of(Paint::Dim, &" ".repeat(count))
}

fn cell(column: Column, task: &Task, now_ms: i64, look: &Look<'_>) -> Text {
    let mut out = Text::default();
    match column {
        Name => {
            let ellipsis = look.preset.ellipsis;
            let [name, agent_type] = names(task);
            let (unicode, ascii, paint) = status(task.status.as_deref().unwrap_or_default());
            out.put_cut(paint.unwrap_or(Paint::Plain), name, AGENT_NAME_COLUMNS, ellipsis);
            if !agent_type.is_empty() {
                out.put(Paint::Dim, " ");
                out.put_cut(Paint::Dim, agent_type, AGENT_NAME_COLUMNS, ellipsis);
            }
            if let Some(paint) = paint {
                out.put(Paint::Dim, " ");
                out.put(paint, if look.preset.is_ascii { ascii } else { unicode });
            }
        }
        Elapsed => {
            if let Some(since_ms) = task.started_at_ms.filter(|it| *it > 0) {
                out.put(Paint::Dim, &elapsed(now_ms.saturating_sub(since_ms).max(0)));
            }
        }
        Tokens => {
            if let Some(count) = task.tokens.filter(|it| *it > 0) {
                out.put(Paint::Plain, &tokens(count));
            }
        }
        Samples => out.put(Paint::Place, &sparkline(&task.samples, look.preset.is_ascii)),
        Context => {
            if let Some(share) = task.context_share() {
                let paint = match share {
                    95.0.. => Paint::Alarm,
                    80.0.. => Paint::Warning,
                    _ => Paint::Plain,
                };
                out.put(Paint::Dim, "ctx ");
                out.put(paint, &format!("{share:.0}%"));
            }
        }
        Model => {
            let model = readable(task.model.as_deref().unwrap_or_default());
            out.put_cut(Paint::Plain, &model, AGENT_NAME_COLUMNS, look.preset.ellipsis);
            if let Some(effort) = &task.effort {
                out.put_cut(Paint::Dim, &format!(" {effort}"), 10, look.preset.ellipsis);
            }
        }
        Description => {
            let said = names(task);
            let texts = [&task.description, &task.label].into_iter().flatten().map(String::as_str);
            let is_new = |text: &&str| !said.iter().any(|it| says_the_same(text, it));
            out.put(Paint::Dim, texts.map(str::trim).find(is_new).unwrap_or_default());
        }
    }
    out
}

/// What a task is called, and the type of its agent where that is something else. The client calls
/// most tasks nothing, and repeats the description as the label: a row says each thing once.
fn names(task: &Task) -> [&str; 2] {
    let [name, agent_type, label, kind] =
        [&task.name, &task.agent_type, &task.label, &task.kind].map(|it| it.as_deref());
    let description = task.description.as_deref().unwrap_or_default();
    let label = label.filter(|it| !says_the_same(it, description));
    let kind = kind.map(|it| it.strip_prefix("local_").unwrap_or(it));
    let called = name.or(agent_type).or(label).or(kind).unwrap_or("agent").trim();
    [called, agent_type.map(str::trim).filter(|it| *it != called).unwrap_or_default()]
}

/// Whether one text is the other, or the beginning of it.
fn says_the_same(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|it| it.trim().trim_end_matches(['…', '.']));
    let is_blank = one.is_empty() || other.is_empty();
    !is_blank && (one.starts_with(other) || other.starts_with(one))
}

/// The symbol for the status of a task that does not run any more, the same in ASCII, and its
/// paint. The client shows running tasks, with a symbol of its own before each row.
fn status(status: &str) -> (&'static str, &'static str, Option<Paint>) {
    match status.to_ascii_lowercase().as_str() {
        "completed" | "done" | "success" | "finished" => ("✓", "ok", Some(Paint::Dim)),
        "failed" | "error" | "errored" => ("✗", "failed", Some(Paint::Alarm)),
        "killed" | "cancelled" | "canceled" | "stopped" => ("■", "stopped", Some(Paint::Warning)),
        _ => ("", "", None),
    }
}

/// A bar for each sample, the newest last. If the samples never fall, they are taken for a running
/// sum, and the bars show the differences.
fn sparkline(samples: &[f64], is_ascii: bool) -> String {
    const UNICODE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 8] = ['.', ':', '-', '=', '+', '*', '%', '#'];
    let is_sum = samples.len() > 1 && samples.is_sorted();
    let steps: Vec<f64> = match is_sum {
        true => samples.windows(2).map(|it| it[1] - it[0]).collect(),
        false => samples.to_vec(),
    };
    let newest = &steps[steps.len().saturating_sub(MAX_SAMPLES)..];
    let most = newest.iter().copied().fold(0.0, f64::max);
    if newest.len() < 2 || most <= 0.0 {
        return String::new();
    }
    let levels = if is_ascii { ASCII } else { UNICODE };
    let level = |it: &f64| levels[((it.max(0.0) / most * 7.0).round() as usize).min(7)];
    newest.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the row of a task that runs, without the columns of numbers.
    #[track_caller]
    fn check([name, agent_type, kind, label, description]: [&str; 5], expected: &str) {
        let text = |text: &str| Some(text.to_owned()).filter(|it| !it.is_empty());
        let task = Task {
            name: text(name),
            agent_type: text(agent_type),
            kind: text(kind),
            label: text(label),
            description: text(description),
            status: text("running"),
            ..Task::default()
        };
        let rows = rows(&[task], Some(100), 0, &Display::default(), Depth::None);
        assert_eq!(rows, [expected]);
    }

    #[test]
    fn a_row_says_each_thing_once() {
        let find = "find the flaky test";
        check(
            ["", "general-purpose", "local_agent", find, find],
            "general-purpose  find the flaky test",
        );
        check(["", "Explore", "local_agent", "find the fl…", find], "Explore  find the flaky test");
        check(["", "Explore", "local_agent", "", find], "Explore  find the flaky test");
        check(["", "Explore", "local_agent", find, ""], "Explore  find the flaky test");
        check(
            ["scout", "Explore", "local_agent", find, find],
            "scout Explore  find the flaky test",
        );
        check(["Explore", "Explore", "local_agent", find, find], "Explore  find the flaky test");
        check([find, "Explore", "local_agent", find, find], "find the flaky test Explore");
        check(["", "", "local_agent", find, find], "agent  find the flaky test");
        check(["", "", "local_bash", find, find], "bash  find the flaky test");
        check(["", "", "", "flaky", find], "flaky  find the flaky test");
        check(["", "", "reviewer", "", find], "reviewer  find the flaky test");
        check(["", "", "", find, ""], "find the flaky test");
        check(["", "", "", "", find], "agent  find the flaky test");
        check(["", "", "", "", ""], "agent");
    }
}
