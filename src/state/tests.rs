mod golden;
mod tools;

use super::*;
use crate::fetch::claude::client::SessionFile;
use crate::fetch::exec;
use crate::store::schema::{CostSource, Limit, Limits, RepoKey, RootKey};
use crate::time::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::usage::entry::{Entry, EntryTokens, Id};
use crate::watch::{Entry as Listed, EntryKind, Found, Stamp};

/// A state and its time. Effects pile up until they are taken.
struct Sim {
    state: State,
    now: Now,
    effects: Vec<Effect>,
}

const DIR: Option<EntryKind> = None;

fn file(modified_ms: i64) -> Option<EntryKind> {
    Some(EntryKind::File(Stamp { identity: (1, 1), size: 1, modified_ms }))
}

fn settings(roots: &[&str]) -> Settings {
    Settings {
        roots: roots.iter().map(PathBuf::from).collect(),
        zone: TimeZone::UTC,
        week_starts: Weekday::Monday,
        prices: Prices::builtin(),
        preview: true,
        display: Default::default(),
        config: Vec::new(),
        git_timeout: Duration::from_secs(5),
        cookies: Some("/state/sync".into()),
        block_tool: None,
        commands: BTreeMap::new(),
    }
}

impl Sim {
    fn new(roots: &[&str]) -> Sim {
        Sim::after(roots, None)
    }

    fn after(roots: &[&str], previous: Option<&Snapshot>) -> Sim {
        Sim::configured(settings(roots), previous)
    }

    fn configured(settings: Settings, previous: Option<&Snapshot>) -> Sim {
        let now = Now { wall_ms: 1_795_000_000_000, ..Now::read() };
        let watcher = Some(schema::Watcher::default());
        let (state, effects) = State::new(settings, watcher, previous, now);
        let mut sim = Sim { state, now, effects };
        sim.list("/state/sync", &[]);
        sim
    }

    /// A root with one project, `p`, whose transcripts these are; everything read.
    fn with_sessions(root: &str, ids: &[&str]) -> Sim {
        let mut sim = Sim::new(&[root]);
        sim.list_root(root, ids);
        sim
    }

    fn list_root(&mut self, root: &str, ids: &[&str]) {
        self.list(root, &[("projects", DIR)]);
        self.list(&format!("{root}/projects"), &[("p", DIR)]);
        let names: Vec<_> = ids.iter().map(|it| format!("{it}.jsonl")).collect();
        let at = self.now.wall_ms;
        let entries: Vec<_> = names.iter().map(|it| (it.as_str(), file(at))).collect();
        self.list(&format!("{root}/projects/p"), &entries);
    }

    fn event(&mut self, event: Event) {
        let effects = self.state.on_event(event, self.now);
        self.effects.extend(effects);
    }

    fn list(&mut self, dir: &str, entries: &[(&str, Option<EntryKind>)]) {
        let dir = PathBuf::from(dir);
        let identity = (
            7,
            dir.as_os_str().len() as u64 * 1000 + u64::from(dir.as_os_str().as_encoded_bytes()[1]),
        );
        let entries = entries
            .iter()
            .map(|(name, kind)| Listed {
                path: dir.join(name),
                kind: kind.unwrap_or(EntryKind::Dir),
            })
            .collect();
        let found = Found::Dir { identity, unarmed: None, entries };
        self.event(Event::Listed(Listing { dir, found }));
    }

    fn pass_ms(&mut self, ms: i64) {
        self.now.mono += crate::time::span(ms);
        self.now.wall_ms += ms;
        self.event(Event::Deadline);
    }

    fn changed(&mut self, path: &str) {
        self.event(Event::Changed(path.into()));
    }

    /// The fetches started since the last call.
    fn fetches(&mut self) -> Vec<Source> {
        let (fetches, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.effects)
            .into_iter()
            .partition(|it| matches!(it, Effect::Fetch(..)));
        self.effects = rest;
        fetches
            .into_iter()
            .map(|it| match it {
                Effect::Fetch(source, _) => source,
                other => unreachable!("{other:?}"),
            })
            .collect()
    }

    fn looks(&mut self) -> Vec<String> {
        let looks = self.effects.iter().filter_map(|it| match it {
            Effect::Look(look) => Some(look.dir.to_string_lossy().into_owned()),
            _ => None,
        });
        looks.collect()
    }

    fn n_published(&mut self) -> usize {
        let before = self.effects.len();
        self.effects.retain(|it| !matches!(it, Effect::Publish));
        before - self.effects.len()
    }

    /// A transcript says that one reply was written just now, in this directory.
    fn reply(&mut self, path: &str, cwd: &str, model: &str) {
        self.reply_at(path, cwd, model, self.now.wall_ms);
    }

    fn reply_at(&mut self, path: &str, cwd: &str, model: &str, at_ms: i64) {
        let offset =
            self.state.files[std::ffi::OsStr::new(path)].cursor.as_ref().map_or(0, |it| it.offset);
        let id = Some(Id::of(&format!("{path}:{offset}")));
        let entry = Entry {
            at_ms,
            message: id,
            request: id,
            model: model.into(),
            tokens: EntryTokens { input: 1_000_000, ..EntryTokens::default() },
            ..Entry::default()
        };
        let facts = TranscriptFacts {
            cwd: Some(cwd.to_owned()),
            model: Some(model.to_owned()),
            context_tokens: Some(100_000),
            context_as_of_ms: Some(at_ms),
            last_reply_ms: Some(at_ms),
            last_line_ms: Some(at_ms),
            ..TranscriptFacts::default()
        };
        let tail = Tail {
            began: offset,
            cursor: Cursor { dev: 1, ino: 1, offset: offset + 1, scanned: offset + 1, check: 0 },
            has_restarted: false,
            facts,
            entries: vec![(offset, entry)],
            has_more: false,
            size: offset + 1,
            mtime_ms: self.now.wall_ms,
        };
        self.fetched(Source::Transcript(path.into()), Fetched::Transcript(Ok(Box::new(tail))));
    }

    fn append(&mut self) {
        self.changed("/r/projects/p/s.jsonl");
        self.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    }

    fn fetched(&mut self, source: Source, fetched: Fetched) {
        self.event(Event::Fetched(source, fetched));
    }

    fn found_tree(&mut self, cwd: &str, top: &str) {
        let git_dir = Path::new(top).join(".git");
        let tree = WorkTree {
            top: top.into(),
            git_dir: git_dir.clone(),
            common_dir: git_dir.clone(),
            is_bare: false,
        };
        let found = Some((tree, vec![git_dir]));
        self.fetched(Source::Tree(cwd.into()), Fetched::Tree(found));
    }

    fn asked_git(&mut self, top: &str, branch: &str) {
        let facts = schema::Repo {
            as_of_ms: self.now.wall_ms,
            branch: Some(branch.to_owned()),
            ..schema::Repo::default()
        };
        let dirs = vec![Path::new(top).join(".git")];
        self.fetched(Source::Repo(top.into()), Fetched::Repo(Ok(facts), dirs));
    }

    fn git_failed(&mut self, top: &str) {
        let failure = git::status::GitError::Failed(exec::Failure::TimedOut {
            after: Duration::from_secs(5),
        });
        self.fetched(Source::Repo(top.into()), Fetched::Repo(Err(failure), Vec::new()));
    }

    fn hint(&mut self, root: &str, id: &str, facts: ClientFacts) {
        let facts = ClientFacts {
            session_id: Some(id.to_owned()),
            transcript_path: Some(format!("{root}/projects/p/{id}.jsonl")),
            ..facts
        };
        self.event(Event::Hint(Box::new(facts)));
    }

    fn snapshot(&self) -> Snapshot {
        self.state.snapshot(self.now)
    }

    fn session(&self, id: &str) -> schema::Session {
        self.snapshot().sessions[&SessionId(id.to_owned())].clone()
    }
}

fn transcript(path: &str) -> Source {
    Source::Transcript(path.into())
}

/// A live session in a repository, everything fetched.
fn settled() -> Sim {
    let sim = settle(Sim::new(&["/r"]));
    assert!(sim.state.is_settled());
    sim
}

/// The same, for one that has no sessions yet. Tools have not answered.
fn settle(mut sim: Sim) -> Sim {
    sim.list_root("/r", &["s"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.found_tree("/w", "/w");
    sim.list("/w/.git", &[]);
    sim.list("/r/projects/p/s", &[]);
    sim.pass_ms(1000);
    let fetches = sim.fetches();
    let last = fetches.iter().rfind(|it| !it.is_tool());
    assert_eq!(last, Some(&Source::Repo("/w".into())));
    sim.asked_git("/w", "main");
    sim.pass_ms(1000);
    sim.effects.clear();
    sim
}

#[test]
fn nothing_is_published_before_every_transcript_was_read_once() {
    let mut sim = Sim::with_sessions("/r", &["a", "b"]);
    assert_eq!(sim.fetches().len(), 2);
    sim.reply("/r/projects/p/a.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(sim.n_published(), 0);
    sim.reply("/r/projects/p/b.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Source::Tree("/w".into()), Fetched::Tree(None));
    assert_eq!(sim.n_published(), 1);
    let usage = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
    assert_eq!((usage.today.cost_usd, usage.today.tokens.input), (10.0, 2_000_000));
    assert_eq!(usage.block.unwrap().entries, 2);
    let left_ms = usage.day_ends_ms - sim.now.wall_ms;
    assert!((1..=24 * HOUR_MS).contains(&left_ms) && usage.day_ends_ms % (24 * HOUR_MS) == 0);
}

#[test]
fn a_slow_start_is_published_without_usage_or_with_the_old_one() {
    let mut sim = Sim::with_sessions("/r", &["a"]);
    sim.pass_ms(4_900);
    assert_eq!(sim.n_published(), 0);
    sim.pass_ms(200);
    assert_eq!(sim.n_published(), 1);
    assert_eq!(sim.snapshot().roots[&RootKey("/r".into())].usage, None, "half a sum is no sum");

    let old = schema::Usage { as_of_ms: 5, ..schema::Usage::default() };
    let root = schema::Root { usage: Some(old.clone()), limits: Limits::default() };
    let previous = Snapshot { roots: [(RootKey("/r".into()), root)].into(), ..Snapshot::default() };
    let sim = Sim::after(&["/r"], Some(&previous));
    assert_eq!(sim.snapshot().roots[&RootKey("/r".into())].usage, Some(old));
}

#[test]
fn a_slow_repository_does_not_hold_up_the_first_snapshot() {
    let mut sim = Sim::with_sessions("/r", &["a"]);
    sim.reply("/r/projects/p/a.jsonl", "/w", "claude-opus-4-8");
    sim.found_tree("/w", "/w");
    sim.list("/w/.git", &[]);
    sim.list("/r/projects/p/a", &[]);
    assert_eq!(sim.n_published(), 1);
    sim.pass_ms(1000);
    assert!(sim.fetches().contains(&Source::Repo("/w".into())));
    assert_eq!(sim.session("a").repo.as_deref(), Some("/w"));
    let repo = &sim.snapshot().repos[&RepoKey("/w".into())];
    assert_eq!((repo.as_of_ms, &repo.branch), (0, &None), "never known");
}

#[test]
fn a_missing_root_is_awaited_where_it_will_appear() {
    let mut sim = Sim::new(&["/h/.config/claude"]);
    let missing = |nearest: &str| Found::Missing { nearest: nearest.into() };
    let root = PathBuf::from("/h/.config/claude");
    sim.event(Event::Listed(Listing { dir: root.clone(), found: missing("/h") }));
    assert_eq!(sim.looks().last().unwrap(), "/h");
    sim.list("/h", &[]);
    sim.effects.clear();
    sim.changed("/h/.bashrc");
    assert_eq!(sim.looks(), [""; 0]);
    sim.changed("/h/.config");
    assert_eq!(sim.looks(), ["/h/.config/claude"]);
    sim.event(Event::Listed(Listing { dir: root, found: missing("/h/.config") }));
    sim.list("/h/.config", &[("claude", DIR)]);
    assert_eq!(sim.looks().last().unwrap(), "/h/.config/claude", "it appeared while we armed");
}

#[test]
fn a_new_transcript_is_read_at_once_and_a_busy_one_at_most_every_50_ms() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    assert_eq!(sim.fetches(), [transcript("/r/projects/p/s.jsonl")]);
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(sim.fetches(), []);
    sim.pass_ms(50);
    assert_eq!(sim.fetches(), [transcript("/r/projects/p/s.jsonl")]);
}

#[test]
fn many_appends_ask_git_a_few_times() {
    let mut sim = settled();
    let mut n_calls = 0;
    for _ in 0..200 {
        sim.changed("/r/projects/p/s.jsonl");
        sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        sim.pass_ms(10);
        n_calls += sim.fetches().iter().filter(|it| matches!(it, Source::Repo(_))).count();
        sim.asked_git("/w", "main");
    }
    assert!((1..=2).contains(&n_calls), "{n_calls} calls in 2 s");
}

#[test]
fn only_changes_that_matter_to_git_ask_it() {
    let mut sim = settled();
    sim.changed("/w/.git/index.lock");
    sim.pass_ms(2000);
    assert_eq!(sim.fetches(), []);
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(149);
    assert_eq!(sim.fetches(), []);
    sim.pass_ms(1);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
}

#[test]
fn somebody_who_looks_refreshes_what_is_old_and_less_often_while_it_stays_the_same() {
    let mut sim = settled();
    let mut asked_at = Vec::new();
    for second in 0..120 {
        sim.hint("/r", "s", ClientFacts::default());
        if sim.fetches().contains(&Source::Repo("/w".into())) {
            asked_at.push(second);
            sim.asked_git("/w", "main");
        }
        sim.pass_ms(SECOND_MS);
    }
    let gaps: Vec<_> = asked_at.windows(2).map(|it| it[1] - it[0]).collect();
    assert_eq!(gaps, [4, 8, 16, 30, 30, 30], "asked at {asked_at:?}");
}

#[test]
fn a_failing_repository_keeps_its_facts_and_says_why_they_are_old() {
    let mut sim = settled();
    let before = sim.snapshot().repos[&RepoKey("/w".into())].clone();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    sim.git_failed("/w");
    let snapshot = sim.snapshot();
    let repo = &snapshot.repos[&RepoKey("/w".into())];
    assert_eq!((&repo.branch, repo.as_of_ms), (&before.branch, before.as_of_ms));
    assert_eq!(repo.error.as_deref(), Some("timed out after 5 s"));
    assert_eq!(snapshot.degraded.len(), 1, "{:?}", snapshot.degraded);
    assert_eq!(snapshot.degraded[0].source, "git:/w");
    assert!(snapshot.degraded[0].next_try_ms.is_some());
    let health = sim.session("s").health;
    assert_eq!(health.issues, ["git: timed out after 5 s"]);
    sim.pass_ms(1000);
    sim.asked_git("/w", "other");
    assert_eq!(sim.snapshot().degraded, []);
    assert_eq!(sim.snapshot().repos[&RepoKey("/w".into())].branch.as_deref(), Some("other"));
}

#[test]
fn with_no_live_session_nothing_wakes_us() {
    let mut sim = settled();
    assert!(sim.state.deadline().is_some(), "a live session's line is redrawn");
    for _ in 0..31 {
        sim.pass_ms(MINUTE_MS);
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        sim.effects.clear();
    }
    sim.fetched(transcript("/r/projects/p/s.jsonl"), gone());
    sim.pass_ms(1000);
    assert!(!sim.session("s").live);
    assert_eq!(sim.state.deadline(), None);
}

fn gone() -> Fetched {
    Fetched::Transcript(Err(io::ErrorKind::NotFound.into()))
}

#[test]
fn what_a_deleted_transcript_used_stays_counted() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    sim.fetched(transcript("/r/projects/p/s.jsonl"), gone());
    let usage = sim.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
    assert_eq!(usage.today.cost_usd, 5.0);
}

#[test]
fn a_session_lives_as_long_as_its_process() {
    let mut sim = settled();
    let path = PathBuf::from("/r/sessions/42.json");
    let process = |id: &str, lives| {
        let file = SessionFile {
            pid: 42,
            session_id: SessionId::checked(id),
            name: Some("deploy".to_owned()),
            ..SessionFile::default()
        };
        Fetched::Process(Ok(Process { file, lives }))
    };
    let source = Source::Process(path);
    sim.fetched(source.clone(), process("s", true));
    assert_eq!(sim.session("s").name.as_deref(), Some("deploy"));
    sim.now.wall_ms += HOUR_MS;
    sim.pass_ms(MINUTE_MS);
    assert!(sim.session("s").live, "idle for an hour");
    sim.fetched(source.clone(), process("s", false));
    assert!(!sim.session("s").live, "it crashed");
    sim.pass_ms(1);
    sim.hint("/r", "s", ClientFacts::default());
    assert!(sim.session("s").live, "somebody looks at it again");
    sim.fetched(source.clone(), process("s", true));
    sim.fetched(source, process("other", true));
    assert!(!sim.session("s").live, "after /clear the process has another session");
    assert!(sim.session("other").live);
    sim.pass_ms(1);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.snapshot().latest, SessionId::checked("other"), "the other may be over");
}

#[test]
fn a_session_without_a_process_lives_half_an_hour_after_its_last_sign() {
    let mut sim = settled();
    sim.pass_ms(29 * MINUTE_MS);
    assert!(sim.session("s").live);
    sim.pass_ms(2 * MINUTE_MS);
    assert!(!sim.session("s").live);
}

#[test]
fn facts_stay_in_their_scope() {
    let mut sim = Sim::new(&["/r", "/q"]);
    sim.list_root("/r", &["a", "b"]);
    sim.list_root("/q", &["c"]);
    let limit = |it| {
        let five_hour =
            Limit { used_percentage: it, resets_at_ms: 1_795_100_000_000, ..Limit::default() };
        Limits { five_hour: Some(five_hour), ..Limits::default() }
    };
    for (root, id, used) in [("/r", "a", 10.0), ("/r", "b", 20.0), ("/q", "c", 90.0)] {
        let path = format!("{root}/projects/p/{id}.jsonl");
        sim.reply(&path, &format!("/w/{id}"), &format!("model-{id}"));
        sim.found_tree(&format!("/w/{id}"), &format!("/w/{id}"));
        sim.asked_git(&format!("/w/{id}"), &format!("branch-{id}"));
        sim.hint(root, id, ClientFacts { limits: limit(used), ..ClientFacts::default() });
        sim.now.wall_ms += 1;
    }
    let snapshot = sim.snapshot();
    for (root, id) in [("/r", "a"), ("/r", "b"), ("/q", "c")] {
        let session = sim.session(id);
        assert_eq!(session.root, root);
        assert_eq!(session.model.unwrap().id, format!("model-{id}"));
        let repo = &snapshot.repos[&RepoKey(session.repo.unwrap())];
        assert_eq!(repo.branch, Some(format!("branch-{id}")));
    }
    let used = |root: &str| snapshot.roots[&RootKey(root.into())].limits.five_hour.unwrap();
    assert_eq!((used("/r").used_percentage, used("/q").used_percentage), (20.0, 90.0));
    let unpriced = |root: &str| {
        snapshot.roots[&RootKey(root.into())].usage.clone().map(|it| it.unpriced_models)
    };
    assert_eq!(unpriced("/q"), sim.state.is_scanned.then(|| vec!["model-c".to_owned()]));
}

#[test]
fn a_limit_does_not_outlive_its_reset() {
    let mut sim = settled();
    let resets_at_ms = sim.now.wall_ms + 5000;
    let five_hour = Some(Limit { used_percentage: 99.0, resets_at_ms, ..Limit::default() });
    let limits = Limits { five_hour, ..Limits::default() };
    sim.hint("/r", "s", ClientFacts { limits, ..ClientFacts::default() });
    let five_hour = |it: &Sim| it.snapshot().roots[&RootKey("/r".into())].limits.five_hour;
    assert_eq!(five_hour(&sim).unwrap().used_percentage, 99.0);
    assert_eq!(sim.session("s").health.issues, ["five-hour limit 99 % used"]);
    sim.pass_ms(5000);
    assert_eq!(five_hour(&sim), None);
    assert_eq!(sim.session("s").health, schema::Health::default());
}

#[test]
fn what_the_client_states_is_not_computed_until_the_transcript_has_gone_on() {
    let mut sim = settled();
    assert_eq!(sim.session("s").context.unwrap().used_percentage, None, "the window is unknown");
    let facts = ClientFacts {
        cost_usd: Some(1.5),
        context_tokens: Some(27_000),
        context_window: Some(1_000_000),
        context_used_percentage: Some(3.0),
        ..ClientFacts::default()
    };
    sim.hint("/r", "s", facts);
    let session = sim.session("s");
    assert_eq!(session.context.unwrap().used_percentage, Some(3.0));
    let cost = session.cost.unwrap();
    assert_eq!((cost.usd, cost.source), (1.5, CostSource::Client));
    sim.pass_ms(10 * MINUTE_MS);
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    let session = sim.session("s");
    let context = session.context.unwrap();
    assert_eq!((context.tokens, context.used_percentage), (Some(100_000), Some(10.0)));
    let cost = session.cost.unwrap();
    assert_eq!((cost.usd, cost.source), (10.0, CostSource::Transcript));
}

#[test]
fn a_display_without_a_document_takes_nothing_back() {
    let mut sim = settled();
    sim.hint("/r", "s", ClientFacts { cost_usd: Some(1.5), ..ClientFacts::default() });
    sim.pass_ms(1000);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(sim.session("s").cost.unwrap().usd, 1.5);
    assert_eq!(sim.session("s").last_activity_ms, sim.now.wall_ms, "it asked");
}

#[test]
fn a_display_that_says_the_same_again_is_published_once_a_second() {
    let mut sim = settled();
    sim.pass_ms(100);
    let told = || ClientFacts { cost_usd: Some(1.0), ..ClientFacts::default() };
    sim.hint("/r", "s", told());
    assert_eq!(sim.n_published(), 1);
    let mut n_published = 0;
    for _ in 0..30 {
        sim.pass_ms(100);
        sim.hint("/r", "s", told());
        n_published += sim.n_published();
    }
    assert!((2..=4).contains(&n_published), "{n_published} in 3 s");
    sim.pass_ms(100);
    sim.hint("/r", "s", ClientFacts { cost_usd: Some(2.0), ..ClientFacts::default() });
    assert_eq!(sim.n_published(), 1, "news is not held back");
}

#[test]
fn what_hangs_shows_and_vouches_for_nothing() {
    let mut sim = settled();
    let as_of_ms =
        |it: &Sim| it.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap().as_of_ms;
    sim.changed("/r/projects/p/s.jsonl");
    let before_ms = as_of_ms(&sim);
    sim.pass_ms(2 * MINUTE_MS);
    assert_eq!(as_of_ms(&sim), before_ms);
    let degraded = sim.snapshot().degraded;
    assert_eq!(degraded[0].source, "transcript:/r/projects/p/s.jsonl", "{degraded:?}");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    for dir in sim.looks() {
        sim.list(&dir, &[]);
    }
    sim.pass_ms(1);
    assert_eq!(sim.snapshot().degraded, []);
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(as_of_ms(&sim), sim.now.wall_ms);
}

#[test]
fn what_an_account_used_grows_old_while_one_of_its_transcripts_cannot_be_read() {
    let mut sim = settle(Sim::new(&["/q", "/r"]));
    let as_of_ms = |it: &Sim| {
        let roots = it.snapshot().roots;
        ["/q", "/r"].map(|root| roots[&RootKey(root.into())].usage.clone().unwrap().as_of_ms)
    };
    let t = "/r/projects/p/t.jsonl";
    sim.changed(t);
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    sim.fetched(transcript(t), Fetched::Transcript(Err(denied)));
    let [_, before_ms] = as_of_ms(&sim);
    sim.pass_ms(10);
    sim.hint("/r", "s", ClientFacts::default());
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    assert_eq!(as_of_ms(&sim), [sim.now.wall_ms, before_ms]);
    sim.pass_ms(1000);
    sim.reply(t, "/w", "claude-opus-4-8");
    assert_eq!(as_of_ms(&sim), [sim.now.wall_ms; 2]);
}

#[test]
fn a_reply_dated_in_the_future_does_not_outlive_what_the_client_says() {
    let mut sim = settled();
    sim.changed("/r/projects/p/s.jsonl");
    let in_a_year = sim.now.wall_ms + 365 * 24 * HOUR_MS;
    sim.reply_at("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8", in_a_year);
    sim.hint("/r", "s", ClientFacts { cost_usd: Some(42.0), ..ClientFacts::default() });
    assert_eq!(sim.session("s").cost.unwrap().usd, 42.0);
}

#[test]
fn two_paths_that_are_no_text_are_two_keys() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut sim = Sim::with_sessions("/r", &["a", "b"]);
    for (id, byte) in [("a", 0xfe), ("b", 0xff)] {
        let path = format!("/r/projects/p/{id}.jsonl");
        sim.reply(&path, &format!("/w/{id}"), "claude-opus-4-8");
        let mut top = b"/w%/".to_vec();
        top.push(byte);
        let top = PathBuf::from(OsStr::from_bytes(&top));
        let git_dir = top.join(".git");
        let common_dir = git_dir.clone();
        let tree = WorkTree { top, git_dir, common_dir, is_bare: false };
        sim.fetched(Source::Tree(format!("/w/{id}").into()), Fetched::Tree(Some((tree, vec![]))));
    }
    assert_eq!(sim.session("a").repo.as_deref(), Some("/w%25/%FE"));
    assert_eq!(sim.session("b").repo.as_deref(), Some("/w%25/%FF"));
}

#[test]
fn roots_that_clients_bring_are_few_and_forgotten_when_they_are_gone() {
    let mut sim = settled();
    for n in 0..40 {
        sim.hint(&format!("/tmp/{n}"), "x", ClientFacts::default());
    }
    assert_eq!(sim.snapshot().roots.len(), 17);
    for n in 0..40 {
        let found = Found::Missing { nearest: "/tmp".into() };
        let dir = format!("/tmp/{n}").into();
        sim.event(Event::Listed(Listing { dir, found }));
    }
    sim.pass_ms(MINUTE_MS);
    let snapshot = sim.snapshot();
    assert_eq!(snapshot.roots.keys().collect::<Vec<_>>(), [&RootKey("/r".into())]);
    assert_eq!(snapshot.sessions.len(), 1);
}

#[test]
fn a_root_that_is_taken_out_of_the_configuration_is_dropped_unless_somebody_looks() {
    let mut sim = settle(Sim::new(&["/r", "/q"]));
    sim.list_root("/q", &["t", "u"]);
    sim.reply("/q/projects/p/t.jsonl", "/v", "claude-opus-4-8");
    sim.found_tree("/v", "/v");
    sim.asked_git("/v", "main");
    let denied = Fetched::Transcript(Err(io::ErrorKind::PermissionDenied.into()));
    sim.fetched(transcript("/q/projects/p/u.jsonl"), denied);
    let roots = |it: &Sim| it.snapshot().roots.keys().map(|it| it.0.clone()).collect::<Vec<_>>();
    assert_eq!((roots(&sim).len(), sim.snapshot().degraded.len()), (2, 1));
    sim.changed("/q/projects/p/t.jsonl");
    sim.changed("/q/projects/p/u.jsonl");
    sim.effects.clear();

    let alone = || Event::Configured(Ok(Box::new(settings(&["/r"]))));
    let both = || Event::Configured(Ok(Box::new(settings(&["/r", "/q"]))));
    sim.event(alone());
    assert_eq!(roots(&sim), ["/r"]);
    let snapshot = sim.snapshot();
    assert_eq!((snapshot.sessions.len(), snapshot.repos.len()), (1, 1));
    assert_eq!(snapshot.degraded, []);
    for dir in ["/q", "/q/projects", "/q/projects/p", "/v/.git"] {
        let is_left = |it: &Effect| matches!(it, Effect::Leave(it) if it == Path::new(dir));
        assert!(sim.effects.iter().any(is_left), "{dir}: {:?}", sim.effects);
    }
    sim.fetches();
    // Of what was read meanwhile, and what is written from now on, nothing follows.
    let file = SessionFile { session_id: SessionId::checked("t"), ..SessionFile::default() };
    let process = Process { file, lives: true };
    sim.fetched(Source::Process("/q/sessions/1.json".into()), Fetched::Process(Ok(process)));
    let denied = Fetched::Transcript(Err(io::ErrorKind::PermissionDenied.into()));
    sim.fetched(transcript("/q/projects/p/t.jsonl"), denied);
    assert_eq!((sim.snapshot().sessions.len(), sim.snapshot().degraded.len()), (1, 0));
    sim.changed("/q/projects/p/t.jsonl");
    sim.pass_ms(10_000);
    let left = sim.fetches().into_iter().filter(|it| matches!(it, Source::Transcript(_)));
    assert_eq!(left.collect::<Vec<_>>(), []);

    sim.event(both());
    sim.hint("/q", "t", ClientFacts::default());
    sim.event(alone());
    assert_eq!(roots(&sim), ["/q", "/r"]);
}

#[test]
fn an_unknown_root_is_adopted_from_the_client() {
    let mut sim = settled();
    sim.hint("/elsewhere", "x", ClientFacts::default());
    assert!(sim.looks().contains(&"/elsewhere".to_owned()));
    assert!(sim.session("x").live);
    sim.event(Event::Hint(Box::new(ClientFacts {
        session_id: Some("y".to_owned()),
        transcript_path: Some("/etc/passwd".to_owned()),
        ..ClientFacts::default()
    })));
    assert!(!sim.snapshot().sessions.contains_key(&SessionId("y".into())));
}

#[test]
fn a_cookie_is_answered_when_everything_before_it_is_published() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    // This call began before the cookie: what changed in the working tree since may be missing.
    sim.changed("/r/projects/p/s.jsonl");
    sim.changed("/state/sync/77");
    let acknowledged = |sim: &Sim| {
        let at = sim.effects.iter().position(|it| matches!(it, Effect::Acknowledge(_)));
        at.map(|at| matches!(sim.effects[at - 1], Effect::Publish))
    };
    assert_eq!(sim.fetches(), [transcript("/r/projects/p/s.jsonl")]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.asked_git("/w", "old");
    assert_eq!(acknowledged(&sim), None);
    sim.pass_ms(3000);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    sim.asked_git("/w", "new");
    assert_eq!(acknowledged(&sim), Some(true), "{:?}", sim.effects);
    sim.effects.clear();
    sim.pass_ms(100);
    assert!(sim.effects.is_empty(), "it was published already: {:?}", sim.effects);
}

#[test]
fn a_cookie_does_not_wait_for_the_next_try_of_a_failing_source() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    sim.git_failed("/w");
    sim.fetched(Source::Tree("/w".into()), Fetched::Tree(None));
    sim.list("/w", &[]);
    sim.effects.clear();
    sim.changed("/state/sync/77");
    assert!(sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_))));
}

#[test]
fn the_removal_of_a_cookie_is_no_cookie() {
    let mut sim = settled();
    let is_acknowledged = |sim: &mut Sim| {
        let n_before = sim.effects.len();
        sim.effects.retain(|it| !matches!(it, Effect::Acknowledge(_)));
        sim.effects.len() < n_before
    };
    // Both by the same process.
    for text in ["one", "two"] {
        sim.changed("/state/sync/77");
        assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
        sim.asked_git("/w", text);
        assert!(is_acknowledged(&mut sim));
        sim.changed("/state/sync/77");
        sim.pass_ms(1000);
        assert_eq!(sim.fetches(), []);
        assert!(!is_acknowledged(&mut sim));
    }
}

#[test]
fn what_is_below_a_directory_that_was_replaced_is_looked_at_again() {
    let mut sim = Sim::with_sessions("/r", &["s"]);
    sim.changed("/r");
    sim.effects.clear();
    let entries = vec![Listed { path: "/r/projects".into(), kind: EntryKind::Dir }];
    let found = Found::Dir { identity: (9, 9), unarmed: None, entries };
    sim.event(Event::Listed(Listing { dir: "/r".into(), found }));
    assert_eq!(sim.looks(), ["/r/projects", "/r/projects/p"]);
}

#[test]
fn a_directory_that_came_back_while_its_loss_was_reported_stays_observed() {
    let mut sim = Sim::with_sessions("/r", &["s"]);
    sim.changed("/r/projects/p");
    // It is there again, and the first look has not said yet that it was not.
    sim.changed("/r/projects/p");
    let gone = || {
        let found = Found::Missing { nearest: "/r/projects".into() };
        Event::Listed(Listing { dir: "/r/projects/p".into(), found })
    };
    sim.event(gone());
    let at = sim.now.wall_ms;
    sim.list("/r/projects/p", &[("s.jsonl", file(at)), ("t.jsonl", file(at))]);
    assert!(sim.fetches().contains(&transcript("/r/projects/p/t.jsonl")));
}

#[test]
fn lost_events_look_at_everything_again() {
    let mut sim = settled();
    sim.event(Event::Lost);
    assert!(matches!(sim.effects[0], Effect::Rebuild));
    let looks = sim.looks();
    for dir in ["/r", "/r/projects", "/r/projects/p", "/w/.git", "/state/sync"] {
        assert!(looks.contains(&dir.to_owned()), "{dir} is not in {looks:?}");
    }
    assert_eq!(sim.snapshot().watcher.unwrap().rescans, 1);
    for _ in 0..99 {
        sim.event(Event::Lost);
        sim.pass_ms(10);
    }
    assert_eq!(sim.snapshot().watcher.unwrap().rescans, 1, "a storm");
    sim.pass_ms(10);
    assert_eq!(sim.snapshot().watcher.unwrap().rescans, 2);
}

#[test]
fn a_session_that_is_open_twice_lives_until_both_have_ended() {
    let mut sim = settled();
    let source = |pid: u32| Source::Process(format!("/r/sessions/{pid}.json").into());
    for pid in [1, 2] {
        let session_id = SessionId::checked("s");
        let file = SessionFile { pid, session_id, ..SessionFile::default() };
        sim.fetched(source(pid), Fetched::Process(Ok(Process { file, lives: true })));
    }
    let gone = || Fetched::Process(Err(io::ErrorKind::NotFound.into()));
    sim.fetched(source(2), gone());
    assert!(sim.session("s").live);
    sim.fetched(source(1), gone());
    assert!(!sim.session("s").live);
}

#[test]
fn while_another_process_fetches_ours_waits_and_has_not_failed() {
    let mut sim = settled();
    let repo = || Source::Repo("/w".into());
    let busy = || Event::Busy(repo(), "another process holds fetch.lock".to_owned());
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [repo()]);
    sim.event(busy());
    assert_eq!(sim.fetches(), []);
    sim.pass_ms(50);
    assert_eq!(sim.fetches(), [repo()]);
    assert_eq!(sim.snapshot().degraded, []);

    sim.changed("/state/sync/77");
    for _ in 0..6 {
        sim.event(busy());
        sim.pass_ms(1000);
    }
    let is_acknowledged =
        |sim: &Sim| sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_)));
    assert!(is_acknowledged(&sim), "nobody waits for ever");
    assert_eq!(sim.snapshot().degraded[0].reason, "another process holds fetch.lock");
    sim.asked_git("/w", "main");
    assert_eq!(sim.snapshot().degraded, []);
}

#[test]
fn what_fails_when_its_last_session_has_ended_is_not_tried_again() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    end(&mut sim, "s");
    sim.git_failed("/w");
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(HOUR_MS);
    assert_eq!(sim.fetches(), []);
}

#[test]
fn a_cookie_does_not_wait_for_what_nobody_wants_any_more() {
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.changed("/state/sync/77");
    sim.state.execs = Plan::new(Policy { slots: 0, ..EXECS });
    sim.state.execs.want(&Source::Repo("/w".into()), Urgency::Now, sim.now.mono);
    end(&mut sim, "s");
    let is_acknowledged = sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_)));
    assert!(is_acknowledged, "{:?}", sim.state.barriers);
}

/// The process of this session, which is said to have run, is gone.
fn end(sim: &mut Sim, id: &str) {
    let file = SessionFile { pid: 1, session_id: SessionId::checked(id), ..SessionFile::default() };
    let source = Source::Process("/r/sessions/1.json".into());
    let process = Process { file, lives: true };
    sim.fetched(source.clone(), Fetched::Process(Ok(process)));
    sim.fetched(source, Fetched::Process(Err(io::ErrorKind::NotFound.into())));
    assert!(!sim.session(id).live);
}

#[test]
fn a_snapshot_that_could_not_be_published_is_tried_again() {
    let mut sim = settled();
    sim.state.publish_failed("no space left on device", sim.now);
    sim.pass_ms(4_999);
    assert_eq!(sim.n_published(), 0);
    sim.pass_ms(1);
    assert_eq!(sim.n_published(), 1);
    assert_eq!(sim.snapshot().degraded[0].reason, "no space left on device");
    sim.state.publish_worked();
    assert_eq!(sim.snapshot().degraded, []);
}

#[test]
fn one_directory_under_two_names_concerns_both() {
    let mut sim = Sim::new(&["/r", "/q"]);
    sim.list_root("/r", &["s"]);
    sim.list_root("/q", &["s"]);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.reply("/q/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.fetched(Source::Tree("/w".into()), Fetched::Tree(None));
    sim.pass_ms(100);
    for dir in ["/r/projects/p", "/q/projects/p"] {
        let found = Found::Dir { identity: (9, 9), unarmed: None, entries: Vec::new() };
        sim.event(Event::Listed(Listing { dir: dir.into(), found }));
    }
    sim.pass_ms(100);
    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.reply("/q/projects/p/s.jsonl", "/w", "claude-opus-4-8");
    sim.pass_ms(100);
    // Two replies, two looks for a working tree.
    for _ in 0..2 {
        sim.fetched(Source::Tree("/w".into()), Fetched::Tree(None));
        sim.pass_ms(100);
    }
    sim.effects.clear();
    sim.changed("/q/projects/p/s.jsonl");
    let mut fetches = sim.fetches();
    fetches.sort();
    let expected = ["/q/projects/p/s.jsonl", "/r/projects/p/s.jsonl"].map(transcript);
    assert_eq!(fetches, expected);
}

#[test]
fn one_directory_that_is_left_under_one_name_is_looked_at_under_the_other() {
    let mut sim = settled();
    let found = || Found::Dir { identity: (9, 9), unarmed: None, entries: Vec::new() };
    let folder = "/r/projects/p/s";
    let listed = |dir: &str| Event::Listed(Listing { dir: dir.into(), found: found() });
    sim.event(listed("/r/projects/p"));
    sim.changed(folder);
    sim.event(listed(folder));
    sim.effects.clear();
    end(&mut sim, "s");
    let is_left = |it: &Effect| matches!(it, Effect::Leave(dir) if dir == Path::new(folder));
    let left = sim.effects.iter().position(is_left).unwrap();
    let after = sim.effects.split_off(left);
    sim.effects = after;
    assert_eq!(sim.looks(), ["/r/projects/p"]);
    // A look that was under way may have armed it after all.
    sim.effects.clear();
    sim.event(listed(folder));
    assert_eq!(sim.looks(), ["/r/projects/p"]);
}

#[test]
fn a_polled_directory_is_named_and_listed_again() {
    let mut sim = settled();
    let found = Found::Dir {
        identity: (5, 5),
        unarmed: Some("the kernel's limit of watches is reached".to_owned()),
        entries: Vec::new(),
    };
    sim.event(Event::Listed(Listing { dir: "/r/projects/p".into(), found }));
    assert_eq!(sim.snapshot().watcher.unwrap().polled, ["/r/projects/p"]);
    sim.effects.clear();
    sim.pass_ms(2000);
    assert_eq!(sim.looks(), ["/r/projects/p"]);

    for n in 0..100 {
        let dir = PathBuf::from(format!("/r/projects/{n:02}"));
        sim.state.observe(&dir, Purpose::Project { root: "/r".into() });
        let unarmed = Some("a network disk".to_owned());
        let found = Found::Dir { identity: (5, n), unarmed, entries: Vec::new() };
        sim.event(Event::Listed(Listing { dir, found }));
    }
    let watcher = sim.snapshot().watcher.unwrap();
    assert_eq!((watcher.polled.len(), watcher.polled_more), (64, 101 - 64));
    assert_eq!(sim.state.places.look_at_unwatched().len(), 101, "the rest is polled as well");
}

#[test]
fn what_could_not_be_read_is_looked_at_again_without_an_event() {
    let mut sim = settled();
    let listed = |found| Event::Listed(Listing { dir: "/r/projects/p".into(), found });
    sim.event(listed(Found::Unreadable("permission denied".to_owned())));
    sim.effects.clear();
    sim.pass_ms(2000);
    assert_eq!(sim.looks(), ["/r/projects/p"], "its watch went with the right to read it");
    sim.changed("/state/sync/77");
    assert!(sim.looks().contains(&"/r/projects/p".to_owned()), "a cookie wants it, too");
    sim.event(listed(Found::Dir { identity: (5, 5), unarmed: None, entries: Vec::new() }));
    assert!(!sim.snapshot().degraded.iter().any(|it| it.source.starts_with("watch:")));
}

#[test]
fn days_begin_where_the_machine_is() {
    let mut sim = settled();
    let ends_ms = |it: &Sim| {
        let usage = it.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap();
        (usage.day_ends_ms, usage.today.cost_usd)
    };
    let there = TimeZone::fixed(jiff::tz::offset(-11));
    // Here a new day has begun; there it will in eleven hours.
    let midnight_ms = ends_ms(&sim).0;
    let ms = midnight_ms - sim.now.wall_ms + MINUTE_MS;
    sim.now.wall_ms += ms;
    assert_eq!(ends_ms(&sim), (midnight_ms + 24 * HOUR_MS, 0.0));
    sim.state.travel(there);
    assert_eq!(ends_ms(&sim), (midnight_ms + 11 * HOUR_MS, 5.0));
}

#[test]
fn new_prices_are_those_of_everything_that_was_used() {
    let mut sim = Sim::with_sessions("/r", &["s"]);
    let path = "/r/projects/p/s.jsonl";
    sim.reply(path, "nowhere", "house-model");
    let usage = |sim: &Sim| {
        let roots = sim.state.snapshot(sim.now).roots;
        let it = roots[&RootKey("/r".into())].usage.clone().unwrap();
        (it.today.cost_usd, it.unpriced_models.len())
    };
    assert_eq!(usage(&sim), (0.0, 1));
    sim.pass_ms(1000);
    sim.fetches();

    let price = Prices::builtin().find("claude-opus-4-8").unwrap().1.clone();
    let prices = Prices::builtin().with([("house-model".to_owned(), price)]);
    sim.event(Event::Configured(Ok(Box::new(Settings { prices, ..settings(&["/r"]) }))));
    assert_eq!(sim.fetches(), [Source::Transcript(path.into())]);
    assert_eq!(usage(&sim), (0.0, 1), "what was known before shows until all is read");
    while sim.state.places.outstanding > 0 {
        sim.list("/state/sync", &[]);
    }
    sim.reply(path, "nowhere", "house-model");
    assert_eq!(usage(&sim), (5.0, 0));
}

#[test]
fn what_git_said_before_the_clock_was_set_back_is_as_old_as_it_was() {
    let mut sim = settled();
    let as_of_ms = |it: &Sim| it.snapshot().repos[&RepoKey("/w".into())].as_of_ms;
    sim.pass_ms(2 * MINUTE_MS);
    sim.fetches();
    let age_ms = sim.now.wall_ms - as_of_ms(&sim);
    sim.now.wall_ms -= HOUR_MS;
    sim.pass_ms(61 * SECOND_MS);
    assert_eq!(sim.now.wall_ms - as_of_ms(&sim), age_ms + 61 * SECOND_MS);
    assert!(sim.fetches().contains(&Source::Repo("/w".into())), "and git is asked");
    let from_the_future = sim.snapshot();
    sim.now.wall_ms -= HOUR_MS;
    let now = sim.now;
    let (state, _) = State::new(settings(&["/r"]), None, Some(&from_the_future), now);
    assert!(state.snapshot(now).repos.is_empty(), "nobody knows how old they are");
}

/// What was dated by a clock that is two hours ahead, and is set right now.
fn set_right(sim: &mut Sim) {
    sim.now.wall_ms -= 2 * HOUR_MS;
    sim.pass_ms(1);
}

fn told_of_a_limit(used_percentage: f64) -> ClientFacts {
    let resets_at_ms = 1_795_000_000_000 + 4 * HOUR_MS;
    let limit = Some(Limit { used_percentage, resets_at_ms, ..Limit::default() });
    let limits = Limits { five_hour: limit, ..Limits::default() };
    ClientFacts { limits, cost_usd: Some(42.0), ..ClientFacts::default() }
}

fn limit(sim: &Sim) -> Limit {
    sim.snapshot().roots[&RootKey("/r".into())].limits.five_hour.unwrap()
}

#[test]
fn limits_that_a_clock_ahead_dated_give_way_to_newer_ones() {
    let mut sim = settled();
    sim.hint("/r", "s", told_of_a_limit(80.0));
    set_right(&mut sim);
    assert_eq!(limit(&sim).as_of_ms, sim.now.wall_ms - 2001);
    sim.append();
    sim.hint("/r", "s", told_of_a_limit(90.0));
    assert_eq!(limit(&sim).used_percentage, 90.0);
}

#[test]
fn what_a_clock_ahead_dated_before_a_restart_is_of_the_start_at_most() {
    let mut sim = settled();
    sim.hint("/r", "s", told_of_a_limit(80.0));
    let before = sim.snapshot();
    let mut now = sim.now;
    now.wall_ms -= 2 * HOUR_MS;
    let (state, _) = State::new(settings(&["/r"]), None, Some(&before), now);
    let root = state.snapshot(now).roots[&RootKey("/r".into())].clone();
    assert_eq!(root.limits.five_hour.unwrap().as_of_ms, now.wall_ms);
    assert_eq!(root.usage.unwrap().as_of_ms, now.wall_ms);
    let told = state.sessions.values().find_map(|it| it.told.as_ref());
    assert_eq!(told.unwrap().at_ms, now.wall_ms);
}

#[test]
fn what_the_client_said_while_the_clock_was_ahead_gives_way_to_the_transcript() {
    let mut sim = settled();
    sim.hint("/r", "s", told_of_a_limit(80.0));
    set_right(&mut sim);
    assert_eq!(sim.session("s").cost.unwrap().source, CostSource::Client, "it is as new as before");
    sim.pass_ms(10 * MINUTE_MS);
    sim.append();
    assert_eq!(sim.session("s").cost.unwrap().source, CostSource::Transcript);
}

#[test]
fn a_session_does_not_live_longer_for_a_clock_that_was_ahead() {
    let mut sim = settled();
    sim.hint("/r", "s", ClientFacts::default());
    set_right(&mut sim);
    sim.pass_ms(31 * MINUTE_MS);
    assert!(!sim.session("s").live);
}

#[test]
fn a_session_whose_process_ended_while_the_clock_was_ahead_may_live_again() {
    let mut sim = settled();
    let path = "/r/sessions/1.json";
    let file = SessionFile { session_id: Some(SessionId("s".into())), ..SessionFile::default() };
    let process = Source::Process(path.into());
    sim.changed(path);
    sim.fetched(process.clone(), Fetched::Process(Ok(Process { file: file.clone(), lives: true })));
    sim.fetched(process, Fetched::Process(Ok(Process { file, lives: false })));
    assert!(!sim.session("s").live);
    set_right(&mut sim);
    sim.hint("/r", "s", ClientFacts::default());
    assert!(sim.session("s").live);
}

#[test]
fn what_was_used_by_a_clock_ahead_is_as_old_as_it_was() {
    let mut sim = settled();
    let as_of_ms =
        |it: &Sim| it.snapshot().roots[&RootKey("/r".into())].usage.clone().unwrap().as_of_ms;
    let age_ms = sim.now.wall_ms - as_of_ms(&sim);
    set_right(&mut sim);
    assert_eq!(sim.now.wall_ms - as_of_ms(&sim), age_ms + 1);
}

#[test]
fn what_seemed_too_old_to_a_clock_ahead_is_counted_again() {
    let mut sim = settled();
    let (path, before) = ("/r/projects/p/s.jsonl", sim.now);
    sim.now.wall_ms += 40 * 24 * HOUR_MS;
    sim.hint("/r", "s", ClientFacts::default());
    sim.reply_at(path, "/w", "claude-opus-4-8", before.wall_ms);
    sim.pass_ms(61 * SECOND_MS);
    assert_eq!(sim.session("s").tokens.input, 0);
    let kept = postcard::to_stdvec(&sim.state.checkpoint()).unwrap();
    sim.now.wall_ms = before.wall_ms;
    sim.effects.clear();
    sim.pass_ms(61 * SECOND_MS);
    assert!(sim.fetches().contains(&transcript(path)));
    sim.reply_at(path, "/w", "claude-opus-4-8", before.wall_ms);
    assert_eq!(sim.session("s").tokens.input, 1_000_000);

    let (mut state, _) = State::new(settings(&["/r"]), None, None, before);
    state.restore(postcard::from_bytes(&kept).unwrap(), before);
    assert!(state.files.is_empty(), "what such a one kept is read again");
}

#[test]
fn what_a_transcript_said_by_a_clock_ahead_is_as_old_as_it_was() {
    let mut sim = settled();
    let said = |it: &Sim| it.now.wall_ms - it.session("s").context.unwrap().as_of_ms;
    let age_ms = said(&sim);
    set_right(&mut sim);
    assert_eq!(said(&sim), age_ms + 1);
    let kept = postcard::to_stdvec(&sim.state.checkpoint()).unwrap();
    let mut now = sim.now;
    now.wall_ms -= HOUR_MS;
    let (mut state, _) = State::new(settings(&["/r"]), None, None, now);
    state.restore(postcard::from_bytes(&kept).unwrap(), now);
    let facts = &state.files.values().next().unwrap().facts;
    assert_eq!(facts.last_reply_ms, Some(now.wall_ms));
}

#[test]
fn somebody_who_looks_refreshes_what_seems_to_come_from_the_future() {
    let mut sim = settled();
    // Too little to be noticed otherwise.
    sim.now.wall_ms -= 4 * SECOND_MS;
    sim.hint("/r", "s", ClientFacts::default());
    sim.pass_ms(1000);
    assert!(sim.fetches().contains(&Source::Repo("/w".into())));
}

#[test]
fn what_hangs_is_not_waited_for() {
    let mut sim = settled();
    for n in 0..40 {
        sim.changed(&format!("/r/projects/p/hangs{n}.jsonl"));
        sim.pass_ms(1);
    }
    sim.changed("/r/projects/p/s.jsonl");
    sim.changed("/state/sync/1");
    let mut n_started = 0;
    for _ in 0..20 {
        sim.pass_ms(1000);
        for it in sim.fetches() {
            match it {
                Source::Repo(_) => sim.asked_git("/w", "main"),
                it if it == transcript("/r/projects/p/s.jsonl") => {
                    sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
                }
                _ => n_started += 1,
            }
        }
        // Whoever hangs longer than a moment keeps nobody from starting.
        assert!(sim.state.deadline().is_some());
    }
    sim.pass_ms(11_000);
    assert_eq!(n_started, 40);
    let is_answer = |it: &Effect| matches!(it, Effect::Acknowledge(_));
    assert!(sim.effects.iter().any(is_answer), "the cookie waits for what hangs");
    let left: Vec<_> = sim.state.reads.running().collect();
    assert!(sim.state.is_settled(), "{left:?} {:?} {:?}", sim.state.given_up, sim.state.barriers);
    assert_eq!(sim.snapshot().degraded.len(), 40);
}

#[test]
fn no_text_of_a_message_is_kept_where_the_user_does_not_want_it() {
    let said = |sim: &Sim| sim.session("s").last_message.and_then(|it| it.preview);
    let say = |sim: &mut Sim| {
        sim.changed("/r/projects/p/s.jsonl");
        sim.pass_ms(100);
        sim.reply("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8");
        let file = sim.state.files.values_mut().next().unwrap();
        let preview = Some("secret".to_owned());
        file.facts.last_message = Some(schema::Message { at_ms: 1, preview });
    };
    let mut sim = settled();
    say(&mut sim);
    assert_eq!(said(&sim).as_deref(), Some("secret"));
    let private = Settings { preview: false, ..settings(&["/r"]) };
    sim.effects.clear();
    sim.event(Event::Configured(Ok(Box::new(private))));
    assert_eq!(said(&sim), None);
    let saves = |it: &Effect| matches!(it, Effect::Save);
    assert!(sim.effects.iter().any(saves), "the checkpoint has it still");
}

#[test]
fn of_the_sessions_that_ended_the_latest_are_shown() {
    let mut sim = settled();
    for n in 0..40 {
        let path = format!("/r/projects/p/old-{n:02}.jsonl");
        sim.changed(&path);
        sim.pass_ms(100);
        sim.reply_at(&path, "/w", "claude-opus-4-8", sim.now.wall_ms - HOUR_MS - n * MINUTE_MS);
    }
    let sessions = sim.snapshot().sessions;
    let ended: Vec<_> = sessions.iter().filter(|(_, it)| !it.live).map(|(id, _)| &*id.0).collect();
    let expected: Vec<_> = (0..32).map(|n| format!("old-{n:02}")).collect();
    assert_eq!(ended, expected);
    assert!(sessions.contains_key(&SessionId("s".into())), "it lives");
}

#[test]
fn of_sessions_that_live_only_folders_that_are_there_are_looked_at() {
    let mut sim = Sim::new(&["/r"]);
    sim.list("/r", &[("projects", DIR)]);
    sim.list("/r/projects", &[("p", DIR)]);
    let at = file(sim.now.wall_ms);
    sim.list("/r/projects/p", &[("a.jsonl", at), ("b.jsonl", at), ("c.jsonl", at), ("b", DIR)]);
    sim.effects.clear();
    for id in ["a", "b", "c"] {
        let path = format!("/r/projects/p/{id}.jsonl");
        sim.reply(&path, "/w", "claude-opus-4-8");
    }
    assert_eq!(sim.looks(), ["/r/projects/p/b"]);
    // One that appears later, by an event or by a listing.
    sim.changed("/r/projects/p/a");
    sim.list("/r/projects/p", &[("c", DIR), ("d", DIR)]);
    let looks = ["/r/projects/p/b", "/r/projects/p/a", "/r/projects/p/c"];
    assert_eq!(sim.looks(), looks, "nobody lives in d");
}

#[test]
fn what_was_written_before_every_window_is_forgotten_and_read_anew_if_it_goes_on() {
    let mut sim = Sim::with_sessions("/r", &["s", "idle"]);
    let [s, idle] = ["s", "idle"].map(|it| format!("/r/projects/p/{it}.jsonl"));
    for it in [&s, &idle] {
        sim.reply(it, "nowhere", "claude-opus-4-8");
    }
    let file = SessionFile { session_id: SessionId::checked("idle"), ..SessionFile::default() };
    let process = Fetched::Process(Ok(Process { file, lives: true }));
    sim.fetched(Source::Process("/r/sessions/1.json".into()), process);
    let known = |it: &State| it.files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(known(&sim.state).len(), 2);
    let before = postcard::to_stdvec(&sim.state.checkpoint()).unwrap();

    sim.pass_ms(REACH_MS + MINUTE_MS);
    assert_eq!(known(&sim.state), [&*idle], "its process lives");
    let (mut later, _) = State::new(settings(&["/r"]), None, Some(&sim.snapshot()), sim.now);
    later.restore(postcard::from_bytes(&before).unwrap(), sim.now);
    assert_eq!(known(&later), [&*idle], "nor does a restart bring it back");

    sim.effects.clear();
    sim.changed(&s);
    let job = sim.effects.iter().find_map(|it| match it {
        Effect::Fetch(_, Job::Transcript(_, from)) => Some(from.is_none()),
        _ => None,
    });
    assert_eq!(job, Some(true), "from its beginning");
    sim.reply(&s, "nowhere", "claude-opus-4-8");
    assert_eq!(sim.session("s").tokens.input, 1_000_000);
}

#[test]
fn folders_of_sessions_that_are_gone_are_forgotten() {
    let mut sim = settled();
    let folders = |it: &Sim| it.state.session_folders.len();
    sim.list("/r/projects/p", &[("s.jsonl", file(0)), ("a", DIR), ("b", DIR)]);
    assert_eq!(folders(&sim), 2);
    sim.list("/r/projects/p", &[("s.jsonl", file(0)), ("b", DIR)]);
    assert_eq!(folders(&sim), 1);
    sim.list("/r/projects/p", &[]);
    assert_eq!(folders(&sim), 0);
}

#[test]
fn a_clock_that_jumps_makes_everything_be_looked_at() {
    for jump_ms in [0, HOUR_MS, -HOUR_MS] {
        let mut sim = settled();
        sim.pass_ms(61 * SECOND_MS);
        for dir in sim.looks() {
            sim.list(&dir, &[]);
        }
        sim.effects.clear();
        sim.now.wall_ms += jump_ms;
        sim.pass_ms(61 * SECOND_MS);
        let is_thorough = sim.looks().iter().any(|it| it == "/r/projects/p");
        assert_eq!(is_thorough, jump_ms != 0, "after {jump_ms} ms: {:?}", sim.looks());
    }
}

/// It came while the fetch ran, so its answer is that of the next; which, as the first has failed,
/// may be minutes away.
#[test]
fn a_cookie_that_came_during_a_fetch_does_not_wait_for_more_than_its_failure() {
    let is_answered = |it: &Effect| matches!(it, Effect::Acknowledge(_));
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    sim.changed("/state/sync/77");
    assert!(!sim.effects.iter().any(is_answered));
    sim.git_failed("/w");
    sim.pass_ms(200);
    sim.found_tree("/w", "/w");
    assert!(sim.effects.iter().any(is_answered), "{:?}", sim.state.barriers);
}

#[test]
fn a_cookie_that_came_before_a_fetch_could_begin_waits_for_that_one() {
    let is_answered = |it: &Effect| matches!(it, Effect::Acknowledge(_));
    let mut sim = settled();
    sim.changed("/w/.git/HEAD");
    sim.pass_ms(200);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    sim.changed("/state/sync/77");
    sim.event(Event::Busy(Source::Repo("/w".into()), "busy".to_owned()));
    sim.pass_ms(50);
    assert_eq!(sim.fetches(), [Source::Repo("/w".into())]);
    assert!(!sim.effects.iter().any(is_answered));
    sim.asked_git("/w", "main");
    assert!(sim.effects.iter().any(is_answered), "{:?}", sim.state.barriers);
}

#[test]
fn a_cookie_that_outlives_its_answer_is_answered_again() {
    let n_answers =
        |sim: &Sim| sim.effects.iter().filter(|it| matches!(it, Effect::Acknowledge(_))).count();
    let mut sim = settled();
    sim.changed("/state/sync/77");
    sim.pass_ms(200);
    sim.asked_git("/w", "main");
    assert_eq!(n_answers(&sim), 1);
    sim.list("/state/sync", &[("77", Some(EntryKind::Other))]);
    assert_eq!(n_answers(&sim), 2);
    assert!(sim.state.barriers.is_empty(), "and git is not asked again for it");
}

/// How often the configuration was to be read since the last call.
fn n_configured(sim: &mut Sim) -> usize {
    let before = sim.effects.len();
    sim.effects.retain(|it| !matches!(it, Effect::Configure));
    before - sim.effects.len()
}

#[test]
fn a_configuration_that_hangs_is_not_waited_for() {
    let mut usual = settings(&["/r"]);
    usual.config = vec!["/c/config.toml".into()];
    let mut sim = settle(Sim::configured(usual.clone(), None));
    sim.changed("/c/config.toml");
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1);
    sim.changed("/c/config.toml");
    sim.changed("/state/sync/77");
    sim.asked_git("/w", "main");
    let is_answered = |sim: &Sim| sim.effects.iter().any(|it| matches!(it, Effect::Acknowledge(_)));
    assert!(!is_answered(&sim));
    for _ in 0..20 {
        let wakes_at = sim.state.deadline().unwrap();
        assert!(wakes_at > sim.now.mono, "it does not sleep");
        let ms = (wakes_at - sim.now.mono).as_millis();
        sim.pass_ms(i64::try_from(ms).unwrap() + 1);
        if is_answered(&sim) {
            break;
        }
    }
    assert!(is_answered(&sim), "{:?}", sim.state.barriers);
    let degraded = sim.snapshot().degraded;
    assert_eq!(degraded[0].source, "config:/c/config.toml");
    assert_eq!(degraded[0].reason, crate::watch::SILENT);
    sim.pass_ms(MINUTE_MS);
    assert_eq!(n_configured(&mut sim), 0, "whoever would read it would hang, too");
    sim.event(Event::Configured(Ok(Box::new(usual))));
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1, "it may have changed since");
}

#[test]
fn a_configuration_is_read_once_for_a_storm_and_a_broken_one_changes_nothing() {
    let mut usual = settings(&["/r"]);
    usual.config = vec!["/c/config.toml".into(), "/dotfiles/c.toml".into()];
    let mut sim = Sim::configured(usual.clone(), None);
    assert!(["/c", "/dotfiles"].iter().all(|it| sim.looks().iter().any(|look| look == it)));
    sim.list_root("/r", &[]);
    sim.pass_ms(6000);
    n_configured(&mut sim);
    sim.event(Event::Configured(Ok(Box::new(usual.clone()))));

    // What else lies there is nobody's business.
    sim.changed("/c/config.toml.swp");
    sim.pass_ms(1000);
    assert_eq!(n_configured(&mut sim), 0);
    for _ in 0..20 {
        sim.changed("/dotfiles/c.toml");
        sim.pass_ms(30);
    }
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1, "it is read once");
    // While it is read it is not asked for again, and what changed meanwhile is read next.
    sim.changed("/c/config.toml");
    sim.pass_ms(1000);
    assert_eq!(n_configured(&mut sim), 0);
    sim.event(Event::Configured(Err("line 1".to_owned())));
    sim.pass_ms(1000);
    assert_eq!(n_configured(&mut sim), 1, "it is read once more");
    let degraded = sim.snapshot().degraded;
    assert_eq!(degraded[0].source, "config:/c/config.toml");
    assert_eq!(degraded[0].reason, "line 1");

    // It says what it said before it was broken.
    sim.event(Event::Configured(Ok(Box::new(usual.clone()))));
    assert_eq!(sim.snapshot().degraded, []);
    sim.pass_ms(1000);
    sim.n_published();
    sim.event(Event::Configured(Ok(Box::new(usual.clone()))));
    sim.pass_ms(1000);
    assert_eq!(sim.n_published(), 0, "nothing has changed");
    // The user may ask, too.
    sim.effects.clear();
    sim.event(Event::Reload);
    assert!(sim.state.is_configuring() && sim.looks().contains(&"/r".to_owned()));
    sim.pass_ms(200);
    assert_eq!(n_configured(&mut sim), 1);
    usual.display.format = Some("{git}".to_owned());
    usual.config.truncate(1);
    sim.event(Event::Configured(Ok(Box::new(usual))));
    assert_eq!(sim.snapshot().display.format.as_deref(), Some("{git}"));
    let left = |it: &Effect| matches!(it, Effect::Leave(dir) if dir.ends_with("dotfiles"));
    assert!(sim.effects.iter().any(left));
}
