//! PURE. Segments about where the session works: its directory and its repository.

use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

use super::segment::{AGE, Pen, Segment, Symbol, put, put_count};
use crate::display::paint::Paint::{
    Alarm, Branch, Changed, Dim, Good, Place, Plain, Removed, Warning,
};
use crate::display::text::Text;
use crate::store::schema::{PullRequest, Repo};
use crate::time::MINUTE_MS;

pub(super) const SEGMENTS: &[Segment] = &[
    Segment {
        name: "directory",
        about: "The session's working directory: as Claude Code reports it, else as the watcher \
                knows it. `~` is your home directory. Every directory above the last one is \
                shortened to its first letter, as in the fish shell.",
        parts: &[
            ("path", "shortened"),
            ("name", "the last directory alone"),
            ("full", "not shortened, except for `~`"),
        ],
        format: "{path}",
        short: "{name}",
        priority: 80,
        draw: directory,
        ..Segment::DEFAULT
    },
    Segment {
        name: "git",
        about: "The working tree that the session is in, as git reports it. Git is asked again \
                after every change in `.git`, after each edit by the session, and while its line is \
                displayed.",
        parts: &[
            ("branch", "the branch, or @ and the tag or the commit if HEAD is detached"),
            ("commit", "the commit"),
            ("tag", "the tag of the commit if HEAD is detached"),
            ("upstream", "the upstream branch"),
            ("gone", "present if the upstream branch was deleted"),
            ("local", "present if a branch has no upstream although there is a remote"),
            ("bare", "present if the repository is bare"),
            ("worktree", "the folder of a linked worktree"),
            ("ahead", "commits that the upstream branch lacks"),
            ("behind", "commits that only the upstream branch has"),
            ("stashes", "entries in the stash"),
            ("operation", "the operation in progress, as in merge or rebase 2/5"),
            ("conflicts", "unmerged paths"),
            ("staged", "paths with staged changes"),
            ("unstaged", "paths with changes that are not staged"),
            ("untracked", "untracked paths"),
        ],
        format: "{branch}( {bare})( in {worktree})( {ahead}{behind}{gone}{local})( {stashes})( {operation})\
                 ( {conflicts})( {staged})( {unstaged})( {untracked})",
        short: "{branch}( {operation})( {conflicts})\
                ( {ahead}{behind}{gone}{local}{staged}{unstaged}{untracked})",
        priority: 90,
        max_width: 100,
        symbols: &[
            Symbol("detached", "@", "@"),
            Symbol("ahead", "⇡", "^"),
            Symbol("behind", "⇣", "v"),
            Symbol("gone", "×", "x"),
            Symbol("local", "⌂", "local"),
            Symbol("stashes", "*", "*"),
            Symbol("conflicts", "=", "="),
            Symbol("staged", "+", "+"),
            Symbol("unstaged", "!", "!"),
            Symbol("untracked", "?", "?"),
        ],
        draw: git,
        ..Segment::DEFAULT
    },
    Segment {
        name: "git_error",
        about: "Why git does not answer, in its own words. If the format leaves it out, it is \
                added to the end of the last line.",
        parts: &[("error", "the reason")],
        format: "{error}",
        priority: 76,
        max_width: 61,
        draw: git_error,
        ..Segment::DEFAULT
    },
    Segment {
        name: "pr",
        about: "The pull request or merge request of the branch, as Claude Code reports it. On \
                terminals that support links it is one.",
        parts: &[("number", "its number"), ("state", "the state of its review")],
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
        ..Segment::DEFAULT
    },
];

/// The most columns of a branch, an upstream branch, a worktree or an operation.
const NAME_COLUMNS: usize = 40;

/// Git's facts show their age when they are older than this. The watcher asks git after every
/// change that it can observe, and every half a minute while a line of the working tree is
/// displayed.
const GIT_FRESH_MS: i64 = MINUTE_MS;

fn directory(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = pen.scope.session.and_then(|it| it.cwd.as_deref());
    let cwd = pen.view.client.cwd.as_deref().or(kept)?;
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
            // The root directory has no name.
            if cwd.trim_end_matches('/').is_empty() { put(out, Place, "/") } else { Some(()) }
        }
        _ => None,
    }
}

fn git(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let repo = pen.scope.repo.as_deref().filter(|it| it.as_of_ms > 0)?;
    let count = |out: &mut Text, paint, count| put_count(out, paint, pen.symbol(part), count);
    match part {
        "branch" => branch(pen, repo, out),
        "commit" => put(out, Dim, abbreviated(repo.commit.as_deref()?)),
        "tag" => put_name(pen, out, repo.tag.as_deref()?),
        "upstream" => put_name(pen, out, repo.upstream.as_deref()?),
        "bare" => repo.bare.then(|| out.put(Dim, "bare")),
        "worktree" => {
            let worktree = repo.worktree.as_deref()?;
            put_name(pen, out, worktree)
        }
        "ahead" => count(out, Plain, repo.ahead),
        "behind" => count(out, Plain, repo.behind),
        "gone" => repo.upstream_gone.then(|| out.put(Changed, pen.symbol("gone"))),
        "local" => {
            let is_published = repo.upstream.is_some() || !repo.has_remote;
            // A branch without a commit cannot be published.
            let is_branch = repo.branch.is_some() && repo.commit.is_some();
            (is_branch && !is_published).then(|| out.put(Dim, pen.symbol("local")))
        }
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
        AGE => {
            let fresh_ms = if repo.error.is_some() { 0 } else { GIT_FRESH_MS };
            pen.put_age_if_old(out, repo.as_of_ms, fresh_ms)
        }
        _ => None,
    }
}

fn branch(pen: &Pen<'_>, repo: &Repo, out: &mut Text) -> Option<()> {
    match (&repo.branch, &repo.tag, &repo.commit) {
        (Some(branch), _, _) => {
            out.put_cut(Branch, branch, NAME_COLUMNS, pen.look.preset.ellipsis);
        }
        (None, Some(tag), _) => {
            out.put(Branch, pen.symbol("detached"));
            out.put_cut(Branch, tag, NAME_COLUMNS, pen.look.preset.ellipsis);
        }
        (None, None, Some(commit)) => {
            out.write(Branch, format_args!("{}{}", pen.symbol("detached"), abbreviated(commit)));
        }
        (None, None, None) => out.put(Branch, "no commit"),
    }
    Some(())
}

/// The short form of a commit's name.
fn abbreviated(commit: &str) -> &str {
    commit.char_indices().nth(7).map_or(commit, |(end, _)| &commit[..end])
}

fn put_name(pen: &Pen<'_>, out: &mut Text, name: &str) -> Option<()> {
    out.put_cut(Dim, name, NAME_COLUMNS, pen.look.preset.ellipsis);
    Some(())
}

fn git_error(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let error = pen.scope.repo.as_deref()?.error.as_ref().filter(|_| part == "error")?;
    out.write(Warning, format_args!("git: {error}"));
    Some(())
}

fn pr(pen: &Pen<'_>, part: &str, out: &mut Text) -> Option<()> {
    let kept = pen.kept().and_then(|it| it.pr.as_ref());
    let pr = pen.view.client.pr.as_ref().or(kept)?;
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

/// The address of a pull request if it is safe as a link: of the web, short, and plain ASCII.
fn web_address(pr: &PullRequest) -> Option<&str> {
    let url = pr.url.as_deref()?;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    (is_web && url.len() <= 1024 && url.bytes().all(|it| it.is_ascii_graphic())).then_some(url)
}

/// Splits a path after the home directory or the root: what is shown for that, and the rest.
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
        // The first letter of a hidden directory is a dot, so it gets two.
        let n_shown = if directory.starts_with('.') { 2 } else { 1 };
        short.extend(directory.graphemes(true).take(n_shown).chain(["/"]));
    }
    short + last
}
