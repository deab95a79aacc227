//! PURE. Where the session works.

use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

use super::{Alarm, Dim, GIT_FRESH_MS, Pen, SEGMENT, Segment, Symbol, Text, Warning, counted, put};
use crate::display::theme::Paint::{Branch, Changed, Good, Place, Plain, Removed};
use crate::store::schema::{PullRequest, Repo};

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "directory",
        about: "Where the session works: from the client, else the watcher. `~` is home, and every \
                directory above the last is shortened to its first letter, as fish does it.",
        parts: &[
            ("path", "shortened"),
            ("name", "only the last directory"),
            ("full", "not shortened, but for `~`"),
        ],
        format: "{path}",
        short: "{name}",
        priority: 80,
        draw: directory,
        ..SEGMENT
    },
    Segment {
        name: "git",
        about: "The working tree that the session is in, from git itself. It is asked again after \
                every change in `.git`, after each edit by the session, and when somebody looks.",
        parts: &[
            ("branch", "the branch, or @ and the commit where detached"),
            ("commit", "the commit"),
            ("upstream", "the branch that it follows"),
            ("bare", "where the repository is bare"),
            ("worktree", "the name of a linked worktree"),
            ("ahead", "commits that the upstream lacks"),
            ("behind", "commits that we lack"),
            ("stashes", "entries in the stash"),
            ("operation", "what waits to be continued: merge, rebase 2/5"),
            ("conflicts", "unmerged paths"),
            ("staged", "paths ready to be committed"),
            ("unstaged", "changed paths"),
            ("untracked", "paths that git does not know"),
        ],
        format: "{branch}( {bare})( in {worktree})( {ahead}{behind})( {stashes})( {operation})\
                 ( {conflicts})( {staged})( {unstaged})( {untracked})",
        short: "{branch}( {operation})( {conflicts})( {ahead}{behind}{staged}{unstaged}{untracked})",
        priority: 90,
        max_width: 100,
        symbols: &[
            Symbol("detached", "@", "@"),
            Symbol("ahead", "⇡", "^"),
            Symbol("behind", "⇣", "v"),
            Symbol("stashes", "*", "*"),
            Symbol("conflicts", "=", "="),
            Symbol("staged", "+", "+"),
            Symbol("unstaged", "!", "!"),
            Symbol("untracked", "?", "?"),
        ],
        draw: git,
        ..SEGMENT
    },
    Segment {
        name: "git_error",
        about: "What git refuses to tell, in its own words. It stands at the end of the last line \
                where the format does not say where.",
        parts: &[("error", "why")],
        format: "{error}",
        priority: 76,
        max_width: 61,
        draw: git_error,
        ..SEGMENT
    },
    Segment {
        name: "pr",
        about: "The pull or merge request of the branch, as the client says; a link, where the \
                terminal knows links.",
        parts: &[("number", "its number"), ("state", "what reviewers say")],
        format: "{number}( {state})",
        short: "{number}",
        priority: 54,
        symbols: &[
            Symbol("pr", "#", "#"),
            Symbol("mr", "!", "!"),
            Symbol("approved", "✓", "ok"),
            Symbol("changes_requested", "✗", "changes"),
        ],
        draw: pr,
        ..SEGMENT
    },
];

/// Columns that names of others may take beside other things.
const NAME_COLUMNS: usize = 40;

fn directory(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let session = pen.scope.session.and_then(|it| it.cwd.as_deref());
    let cwd = pen.view.client.cwd.as_deref().or(session)?;
    let home = pen.view.home;
    match part {
        "path" => put(out, Place, &shorten(cwd, home)),
        "full" => {
            let (start, rest) = below_home(cwd, home);
            put(out, Place, start)?;
            put(out, Place, rest)
        }
        "name" => {
            let (start, rest) = below_home(cwd, home);
            let name = rest.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            put(out, Place, if name.is_empty() { start.trim_end_matches('/') } else { name })?;
            // The root has no name.
            if cwd.trim_end_matches('/').is_empty() { put(out, Place, "/") } else { Some(()) }
        }
        _ => None,
    }
}

fn git(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let repo = pen.scope.repo.filter(|it| it.as_of_ms > 0)?;
    let count = |out: &mut Text, paint, count| counted(out, paint, pen.symbol(part), count);
    match part {
        "branch" => branch(pen, repo, out),
        "commit" => put(out, Dim, seven(repo.commit.as_deref()?)),
        "upstream" => cut(pen, out, repo.upstream.as_deref()?),
        "bare" => repo.bare.then(|| out.put(Dim, "bare")),
        "worktree" => {
            let worktree = repo.worktree.as_deref().or(pen.view.client.worktree.as_deref())?;
            cut(pen, out, worktree)
        }
        "ahead" => count(out, Plain, repo.ahead),
        "behind" => count(out, Plain, repo.behind),
        "stashes" => count(out, Dim, repo.stashes),
        "operation" => {
            let operation = repo.operation.as_deref()?;
            out.put_cut(Alarm, operation, NAME_COLUMNS, pen.look.preset.ellipsis);
            Some(())
        }
        "conflicts" => count(out, Alarm, repo.conflicts),
        "staged" => count(out, Good, repo.staged),
        "unstaged" => count(out, Changed, repo.unstaged),
        "untracked" => count(out, Changed, repo.untracked),
        super::OLD => {
            let is_old = repo.error.is_some() || pen.age(repo.as_of_ms) > GIT_FRESH_MS;
            is_old.then(|| pen.ago(out, repo.as_of_ms))
        }
        _ => None,
    }
}

fn branch(pen: &Pen<'_>, repo: &Repo, out: &mut Text) -> Option<()> {
    match (&repo.branch, &repo.commit) {
        (Some(branch), _) => {
            out.put_cut(Branch, branch, NAME_COLUMNS, pen.look.preset.ellipsis);
        }
        (None, Some(commit)) => {
            out.write(Branch, format_args!("{}{}", pen.symbol("detached"), seven(commit)));
        }
        (None, None) => out.put(Branch, "no commit"),
    }
    Some(())
}

/// As much of a commit's name as people use.
fn seven(commit: &str) -> &str {
    commit.char_indices().nth(7).map_or(commit, |(end, _)| &commit[..end])
}

fn cut(pen: &Pen<'_>, out: &mut Text, name: &str) -> Option<()> {
    out.put_cut(Dim, name, NAME_COLUMNS, pen.look.preset.ellipsis);
    Some(())
}

fn git_error(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let error = pen.scope.repo?.error.as_ref().filter(|_| part == "error")?;
    out.write(Warning, format_args!("git: {error}"));
    Some(())
}

fn pr(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let session = pen.scope.session.and_then(|it| it.pr.as_ref());
    let pr = pen.view.client.pr.as_ref().or(session)?;
    match part {
        "number" => {
            let mark = out.mark();
            let is_mr = pr.kind.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("mr"));
            let symbol = pen.symbol(if is_mr { "mr" } else { "pr" });
            out.write(Plain, format_args!("{symbol}{}", pr.number));
            if let Some(url) = web_address(pr) {
                out.link(mark, url);
            }
            Some(())
        }
        "state" => {
            let state = pr.review_state.as_deref()?;
            match state.to_ascii_lowercase().as_str() {
                "approved" => put(out, Good, pen.symbol("approved")),
                "changes_requested" => put(out, Removed, pen.symbol("changes_requested")),
                _ => put(out, Dim, &state.replace('_', " ")),
            }
        }
        _ => None,
    }
}

/// Where a link may lead: to the web, by an address that nothing can hide in.
fn web_address(pr: &PullRequest) -> Option<&str> {
    let url = pr.url.as_deref()?;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    (is_web && url.len() <= 1024 && url.bytes().all(|it| it.is_ascii_graphic())).then_some(url)
}

/// What stands for the part of a path up to home or the root, and the rest of it.
fn below_home<'a>(path: &'a str, home: Option<&str>) -> (&'static str, &'a str) {
    let home = home.filter(|it| Path::new(it).parent().is_some());
    match home.and_then(|it| Path::new(path).strip_prefix(it).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => ("~", ""),
        Some(rest) => ("~/", rest.to_str().unwrap_or_default()),
        None => path.strip_prefix('/').map_or(("", path), |rest| ("/", rest)),
    }
}

fn shorten(path: &str, home: Option<&str>) -> String {
    let (start, rest) = below_home(path, home);
    let rest = rest.trim_end_matches('/');
    let (above, last) = rest.rsplit_once('/').unwrap_or(("", rest));
    let mut short = start.to_owned();
    for directory in above.split('/').filter(|it| !it.is_empty()) {
        // One letter says nothing of a hidden directory.
        let shown = if directory.starts_with('.') { 2 } else { 1 };
        short.extend(directory.graphemes(true).take(shown).chain(["/"]));
    }
    short + last
}
