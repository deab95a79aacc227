//! PURE. Invented sessions for `ccstatusd show --preview`, which shows what a configuration looks
//! like.
//!
//! Together they have a value for every part of every segment.

use jiff::tz::TimeZone;

use super::view::{Around, Source, Tree, View, Watcher};
use crate::store::schema::{
    BackgroundJob, Block, Burn, ClientFacts, CommandOutput, Context, Cost, CostSource, Degraded,
    Health, HealthStatus, Limit, Limits, Lines, Message, Model, Projection, PromptCache,
    PullRequest, Repo, RepoKey, Root, RootKey, Session, SessionId, SessionKind, Snapshot, Status,
    Subagents, Tokens, Totals, Usage, Waiting, Window,
};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// An invented session, with everything that its line is drawn from.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) about: &'static str,
    pub(crate) snapshot: Snapshot,
    client: ClientFacts,
    watcher: Watcher,
    session: SessionId,
    around: Around,
    now_ms: i64,
}

impl Sample {
    pub(crate) fn view(&self) -> View<'_> {
        View {
            source: Source::Snapshot(&self.snapshot),
            watcher: self.watcher,
            client: &self.client,
            session: Some(&self.session),
            around: &self.around,
            now_ms: self.now_ms,
            home: Some(HOME),
            drawn_at: None,
            clock: Some((14, 32, 7)),
            zone: Some(&ZONE),
        }
    }
}

static ZONE: TimeZone = TimeZone::UTC;
const HOME: &str = "/home/you";
const CWD: &str = "/home/you/work/shop";
const ROOT: &str = "/home/you/.claude";

/// All samples at this time. `commands` are the names of the user's commands.
pub(crate) fn samples(now_ms: i64, commands: &[&str]) -> Vec<Sample> {
    let sample = |about, change: fn(&mut Sample)| {
        let mut sample = at_work(about, now_ms);
        for name in commands {
            let output = format!("{name}'s output");
            let command = CommandOutput { as_of_ms: now_ms, output, ..CommandOutput::default() };
            sample.snapshot.commands.insert((*name).to_owned(), command);
        }
        change(&mut sample);
        sample
    };
    vec![
        sample("at work", |_| ()),
        sample("in trouble", in_trouble),
        sample("just started, without a watcher", just_started),
        sample("at the commit of a tag", at_a_tag),
        sample("in a bare repository", in_a_bare_repository),
    ]
}

/// A subscriber in the middle of a healthy session.
fn at_work(about: &'static str, now_ms: i64) -> Sample {
    let tokens =
        Tokens { input: 8120, output: 41_377, cache_write: 310_000, cache_read: 9_400_000 };
    let limit = |used_percentage, left_ms| {
        let resets_at_ms = now_ms + left_ms;
        Some(Limit { used_percentage, resets_at_ms, as_of_ms: now_ms, ..Limit::default() })
    };
    let limits = Limits {
        five_hour: limit(41.3, 129 * MINUTE_MS),
        seven_day: limit(38.0, 3 * DAY_MS + 4 * HOUR_MS),
        spend_limit: limit(12.0, 20 * DAY_MS),
        other: limit(17.0, 3 * DAY_MS)
            .map(|it| ("seven_day_opus".to_owned(), it))
            .into_iter()
            .collect(),
    };
    let totals = |cost_usd| Totals { cost_usd, tokens, unpriced: 0 };
    let block = Block {
        start_ms: now_ms - 171 * MINUTE_MS,
        end_ms: now_ms + 129 * MINUTE_MS,
        last_entry_ms: now_ms - 20 * SECOND_MS,
        entries: 212,
        tokens,
        cost_usd: 14.48,
        burn: Some(Burn { cost_per_hour: 5.08, tokens_per_minute: 57_000.0 }),
        projection: Some(Projection { cost_usd: 25.41, tokens: 17_000_000 }),
        as_of_ms: now_ms,
        ..Block::default()
    };
    let usage = Usage {
        as_of_ms: now_ms,
        block: Some(block),
        today: totals(21.2),
        day_ends_ms: now_ms + 9 * HOUR_MS,
        window: Some(Window {
            start_ms: now_ms - 171 * MINUTE_MS,
            end_ms: now_ms + 129 * MINUTE_MS,
            used: totals(14.48),
        }),
        week: totals(74.9),
        month: totals(301.0),
        ..Usage::default()
    };
    let repo = Repo {
        as_of_ms: now_ms,
        branch: Some("checkout-flow".to_owned()),
        commit: Some("1a2b3c4d5e6f".to_owned()),
        upstream: Some("origin/checkout-flow".to_owned()),
        ahead: 1,
        behind: 2,
        stashes: 2,
        staged: 1,
        unstaged: 3,
        untracked: 4,
        worktree: Some("spare".to_owned()),
        ..Repo::default()
    };
    let session = Session {
        root: ROOT.to_owned(),
        cwd: Some(CWD.to_owned()),
        repo: Some(CWD.to_owned()),
        live: true,
        cost: Some(Cost { as_of_ms: now_ms, usd: 4.34, source: CostSource::Client, unpriced: 0 }),
        tokens,
        cache_hit_ratio: Some(0.97),
        turns: 7,
        last_message: Some(Message {
            at_ms: now_ms - 20 * SECOND_MS,
            preview: Some("The retry waits longer each time now.".to_owned()),
        }),
        compactions: 1,
        subagents: Subagents { running: 2, total: 5 },
        ..Session::default()
    };
    let client = ClientFacts {
        session_id: Some("sample".to_owned()),
        cwd: Some(CWD.to_owned()),
        session_name: Some("longer retries".to_owned()),
        model: Some(Model {
            id: "claude-opus-4-8[1m]".to_owned(),
            display_name: Some("Opus 4.8 (1M context)".to_owned()),
        }),
        context_tokens: Some(230_000),
        context_window: Some(1_000_000),
        context_used_percentage: Some(23.0),
        cost_usd: Some(4.34),
        exceeds_200k: Some(true),
        effort: Some("high".to_owned()),
        thinking: Some(true),
        pr: Some(PullRequest {
            number: 1234,
            url: Some("https://example.org/shop/pull/1234".to_owned()),
            review_state: Some("approved".to_owned()),
            kind: Some("pr".to_owned()),
        }),
        lines: Some(Lines { added: 156, removed: 23 }),
        duration_ms: Some(5_003_000),
        api_duration_ms: Some(1_661_000),
        output_style: Some("terse".to_owned()),
        vim_mode: Some("INSERT".to_owned()),
        agent: Some("reviewer".to_owned()),
        client_version: Some("2.1.330".to_owned()),
        prompt_cache: Some(PromptCache {
            warm: Some(true),
            expires_at_ms: Some(now_ms + 4 * MINUTE_MS),
            hit_ratio: Some(0.97),
            misses: Some(0),
            ..PromptCache::default()
        }),
        has_rate_limits: true,
        ..ClientFacts::default()
    };
    let id = SessionId("sample".to_owned());
    let snapshot = Snapshot {
        version: crate::store::schema::VERSION,
        published_at_ms: now_ms,
        roots: [(RootKey(ROOT.to_owned()), Root { usage: Some(usage), limits })].into(),
        repos: [(RepoKey(CWD.to_owned()), repo)].into(),
        sessions: [(id.clone(), session)].into(),
        ..Snapshot::default()
    };
    let (watcher, around) = (Watcher::Alive, Around::Unknown);
    Sample { about, snapshot, client, watcher, session: id, around, now_ms }
}

/// Changes the sample to one in which everything needs attention.
fn in_trouble(sample: &mut Sample) {
    let now_ms = sample.now_ms;
    for repo in sample.snapshot.repos.values_mut() {
        *repo = Repo {
            as_of_ms: now_ms - 4 * MINUTE_MS,
            branch: Some("checkout-flow".to_owned()),
            commit: Some("1a2b3c4d5e6f".to_owned()),
            upstream: Some("origin/checkout-flow".to_owned()),
            conflicts: 2,
            operation: Some("merge".to_owned()),
            upstream_gone: true,
            error: Some("timed out after 5 s".to_owned()),
            ..Repo::default()
        };
    }
    for root in sample.snapshot.roots.values_mut() {
        let limits = &mut root.limits;
        *limits = limits.filter_map(|_, limit| {
            Some(Limit {
                used_percentage: 91.0 + limit.used_percentage / 10.0,
                full_at_ms: Some(now_ms + 34 * MINUTE_MS),
                ..limit
            })
        });
        if let Some(usage) = &mut root.usage {
            usage.unpriced_models = vec!["new-model".to_owned()];
            (usage.today.unpriced, usage.week.unpriced, usage.month.unpriced) = (1, 1, 1);
            usage.block.iter_mut().for_each(|block| block.unpriced = 1);
            usage.window.iter_mut().for_each(|window| window.used.unpriced = 1);
        }
    }
    for session in sample.snapshot.sessions.values_mut() {
        let source = CostSource::Transcript;
        session.cost = Some(Cost { as_of_ms: now_ms, usd: 4.34, source, unpriced: 1 });
        session.context = Some(Context { as_of_ms: now_ms, ..Context::default() });
        session.status = Some(Status::Waiting);
        session.status_since_ms = Some(now_ms - 2 * MINUTE_MS);
        session.waiting_for = Some("permission prompt".to_owned());
        session.kind = Some(SessionKind::Background);
        session.job = Some(BackgroundJob {
            id: "1a2b3c4d".to_owned(),
            name: Some("checkout".to_owned()),
            state: Some("working".to_owned()),
        });
        session.health = Health {
            status: HealthStatus::Critical,
            issues: vec!["context 96 % used".to_owned(), "five-hour limit 97 % used".to_owned()],
        };
    }
    let waiting = |name: &str, minutes| Waiting {
        session: name.to_owned(),
        name: name.to_owned(),
        waiting_for: Some("permission prompt".to_owned()),
        since_ms: Some(now_ms - minutes * MINUTE_MS),
    };
    sample.snapshot.waiting = vec![waiting("api", 12), waiting("docs", 3)];
    sample.snapshot.degraded.push(Degraded {
        source: "store".to_owned(),
        reason: "no space left on device".to_owned(),
        ..Degraded::default()
    });
    for command in sample.snapshot.commands.values_mut() {
        command.error = Some("exit code 1".to_owned());
    }
    sample.client.context_used_percentage = Some(96.0);
    sample.client.cost_usd = None;
    sample.client.fast = Some(true);
    sample.client.pr = Some(PullRequest {
        number: 77,
        review_state: Some("changes_requested".to_owned()),
        kind: Some("mr".to_owned()),
        ..PullRequest::default()
    });
    sample.client.prompt_cache = Some(PromptCache {
        warm: Some(false),
        hit_ratio: Some(0.41),
        misses: Some(3),
        last_miss_at_ms: Some(now_ms - 9 * MINUTE_MS),
        last_miss_cause: Some("tools_changed".to_owned()),
        ..PromptCache::default()
    });
}

/// Changes the sample to one before the first reply.
fn just_started(sample: &mut Sample) {
    sample.watcher = Watcher::Gone;
    sample.snapshot.published_at_ms -= 3 * HOUR_MS;
    sample.snapshot.sessions.clear();
    for repo in sample.snapshot.repos.values_mut() {
        (repo.upstream, repo.ahead, repo.behind, repo.has_remote) = (None, 0, 0, true);
    }
    let head = sample.snapshot.repos.values().next().cloned();
    sample.around = Around::Tree(Box::new(Tree { top: CWD.to_owned(), head, is_own: true }));
    sample.client = ClientFacts {
        session_id: sample.client.session_id.take(),
        cwd: sample.client.cwd.take(),
        model: sample.client.model.take(),
        effort: sample.client.effort.take(),
        cost_usd: Some(0.0),
        ..ClientFacts::default()
    };
}

/// Changes the sample to one in which HEAD is detached.
fn at_a_tag(sample: &mut Sample) {
    let tag = Some("v2.4.0".to_owned());
    let commit = Some("1a2b3c4d5e6f".to_owned());
    let repo = Repo { as_of_ms: sample.now_ms, commit, tag, ..Repo::default() };
    keep_only_repo(sample, repo);
}

/// Changes the sample to one without a working tree.
fn in_a_bare_repository(sample: &mut Sample) {
    let branch = Some("main".to_owned());
    let repo = Repo { as_of_ms: sample.now_ms, branch, bare: true, ..Repo::default() };
    keep_only_repo(sample, repo);
}

/// Removes what the samples before have shown, apart from the model and the directory.
fn keep_only_repo(sample: &mut Sample, repo: Repo) {
    for known in sample.snapshot.repos.values_mut() {
        known.clone_from(&repo);
    }
    sample.snapshot.roots.clear();
    for session in sample.snapshot.sessions.values_mut() {
        let Session { root, cwd, repo, live, .. } = std::mem::take(session);
        *session = Session { root, cwd, repo, live, ..Session::default() };
    }
    sample.client = ClientFacts {
        session_id: sample.client.session_id.take(),
        cwd: sample.client.cwd.take(),
        model: sample.client.model.take(),
        ..ClientFacts::default()
    };
}
