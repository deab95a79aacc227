//! Load: many sessions at once, one of them in a repository where git takes seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use ccstatusd::store::schema::Snapshot;
use ccstatusd::time::{Now, pause};

use super::times;
use crate::sandbox::{Sandbox, repo_of};
use crate::transcripts::Transcript;

const N_SESSIONS: usize = 40;
/// How long a change may take to be published, beyond the time of its own fetch.
const YOUNG_MS: i64 = 2000;

/// In each session something changes about once a second. However slow another session is, each
/// change is published within [`YOUNG_MS`].
#[test]
#[expect(clippy::print_stderr, reason = "the figures are what this test is for")]
fn forty_sessions_stay_fresh_beside_one_that_is_slow() {
    let sandbox = Sandbox::with_root();
    sandbox.patch_git("if [ -e .git/slow ]; then sleep 5; fi\n");
    sandbox.configure("[git]\ntimeout_ms = 20000\n");
    let mut sessions: Vec<Transcript> = (0..N_SESSIONS)
        .map(|n| {
            let repo = sandbox.repo(&format!("p{n}"));
            let mut transcript =
                Transcript::new(&sandbox.root(), &format!("-p{n}"), &format!("s{n}"), &repo);
            transcript.reply("one");
            transcript
        })
        .collect();
    fs_err::write(sandbox.path("p0/.git/slow"), "").unwrap();
    let _watcher = sandbox.start_watcher();
    let all_known =
        |it: &Snapshot| (1..N_SESSIONS).all(|n| repo_of(it, &format!("s{n}")).is_some());
    sandbox.wait_longer_for(Duration::from_secs(30), "all repositories", all_known);

    let mut seen: Vec<Seen> = (0..N_SESSIONS).map(|_| Seen::default()).collect();
    let began = Now::read().mono;
    let lasts = Duration::from_secs(times(15, 60) as u64);
    let mut next = 0;
    while Now::read().mono - began < lasts {
        // One session after the other, so that something changes all the time.
        let (n, n_files) = (next % N_SESSIONS, next / N_SESSIONS + 1);
        next += 1;
        fs_err::write(sandbox.path(&format!("p{n}/new{n_files}")), "").unwrap();
        sessions[n].reply("more");
        seen[n].wanted(n_files + 1, n_files);
        for _ in 0..4 {
            pause(Duration::from_millis(6));
            look(&sandbox, &mut seen);
        }
    }
    let settle_until = Now::read().mono + Duration::from_secs(20);
    while seen[1..].iter().any(Seen::waits) && Now::read().mono < settle_until {
        pause(Duration::from_millis(10));
        look(&sandbox, &mut seen);
    }
    let worst = |of: fn(&Seen) -> &Vec<i64>, which: std::ops::Range<usize>| {
        let mut all: Vec<i64> = seen[which].iter().flat_map(|it| of(it).iter().copied()).collect();
        all.sort_unstable();
        let at = |share: usize| all[(all.len() - 1) * share / 100];
        (all.len(), at(50), at(99), at(100))
    };
    let transcripts = worst(|it| &it.transcript_ms, 0..N_SESSIONS);
    let git = worst(|it| &it.git_ms, 1..N_SESSIONS);
    let slow = worst(|it| &it.git_ms, 0..1);
    eprintln!("LOAD | {N_SESSIONS} sessions | changes | p50 ms | p99 ms | max ms");
    for (what, (n, p50, p99, max)) in
        [("transcript", transcripts), ("git", git), ("git that takes 5 s", slow)]
    {
        eprintln!("LOAD | {what} | {n} | {p50} | {p99} | {max}");
    }
    let medians: Vec<i64> = (1..N_SESSIONS)
        .map(|n| {
            let mut ms = seen[n].git_ms.clone();
            ms.sort_unstable();
            ms[ms.len() / 2]
        })
        .collect();
    let (low, high) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    eprintln!("LOAD | medians of single repositories | {low} to {high} ms");
    assert!(seen[1..].iter().all(|it| !it.waits()), "some change was never published");
    assert!(!seen[0].transcript_ms.is_empty(), "the slow one's transcript was not read");
    // On a machine that runs other tests as well, only the medians are bounded.
    let is_alone = times(0, 1) == 1;
    for (what, (_, p50, _, max)) in [("transcript", transcripts), ("git", git)] {
        let ms = if is_alone { max } else { p50 };
        assert!(ms < YOUNG_MS, "{what}: a change was published after {ms} ms");
    }
    // No repository waits much longer than the others.
    assert!(*high < YOUNG_MS, "one repository's changes took {high} ms, another's {low} ms");
}

/// When each change of one session was made, and after how long it was published.
#[derive(Debug, Default)]
struct Seen {
    replies: BTreeMap<usize, i64>,
    files: BTreeMap<usize, i64>,
    transcript_ms: Vec<i64>,
    git_ms: Vec<i64>,
}

impl Seen {
    fn wanted(&mut self, n_replies: usize, n_files: usize) {
        let now_ms = Now::read().wall_ms;
        self.replies.insert(n_replies, now_ms);
        self.files.insert(n_files, now_ms);
    }

    fn waits(&self) -> bool {
        !self.replies.is_empty() || !self.files.is_empty()
    }

    fn found(&mut self, n_replies: usize, n_files: usize, now_ms: i64) {
        let newer = self.replies.split_off(&(n_replies + 1));
        let met = std::mem::replace(&mut self.replies, newer);
        self.transcript_ms.extend(met.values().map(|it| now_ms - it));
        let newer = self.files.split_off(&(n_files + 1));
        let met = std::mem::replace(&mut self.files, newer);
        self.git_ms.extend(met.values().map(|it| now_ms - it));
    }
}

fn look(sandbox: &Sandbox, seen: &mut [Seen]) {
    let Some(snapshot) = sandbox.snapshot() else { return };
    let now_ms = Now::read().wall_ms;
    for (n, seen) in seen.iter_mut().enumerate() {
        let id = format!("s{n}");
        let session = crate::sandbox::session(&snapshot, &id);
        let n_replies = usize::try_from(session.tokens.output / 42).unwrap();
        let n_files = repo_of(&snapshot, &id).map_or(0, |it| it.untracked);
        seen.found(n_replies, usize::try_from(n_files).unwrap(), now_ms);
    }
}
