//! Which sessions are live, and what is known of them.

use super::*;

#[test]
fn a_session_lives_as_long_as_its_process() {
    let mut sim = settled();
    let path = "/r/sessions/42.json";
    let process = |id: &str, is_alive| {
        let file = SessionFile {
            pid: 42,
            session_id: SessionId::checked(id),
            name: Some("deploy".to_owned()),
            ..SessionFile::default()
        };
        Outcome::Process(path.into(), Ok(Process { file, is_alive, ..Process::default() }))
    };
    sim.fetched(process("s", true));
    assert_eq!(sim.session("s").name.as_deref(), Some("deploy"));
    sim.now.wall_ms += HOUR_MS;
    sim.pass_ms(MINUTE_MS);
    assert!(sim.session("s").live, "its process runs, though it was idle for an hour");
    sim.fetched(process("s", false));
    assert!(!sim.session("s").live, "its process crashed");
    sim.pass_ms(1);
    sim.fetched(process("s", true));
    assert!(sim.session("s").live, "the process file names another process");
    sim.fetched(process("other", true));
    assert!(!sim.session("s").live, "after /clear the process has another session");
    assert!(sim.session("other").live);
    sim.pass_ms(1);
    sim.hint("/r", "s", ClientFacts::default());
    assert_eq!(
        sim.snapshot().latest,
        SessionId::checked("other"),
        "a session with a process comes first"
    );
}

#[test]
fn a_session_without_a_process_is_live_for_half_an_hour_after_its_last_activity() {
    let mut sim = settled();
    sim.pass_ms(29 * MINUTE_MS);
    assert!(sim.session("s").live);
    sim.pass_ms(2 * MINUTE_MS);
    assert!(!sim.session("s").live);
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
fn a_session_that_is_open_twice_lives_until_both_have_ended() {
    let mut sim = settled();
    let path = |pid: u32| PathBuf::from(format!("/r/sessions/{pid}.json"));
    for pid in [1, 2] {
        let session_id = SessionId::checked("s");
        let file = SessionFile { pid, session_id, ..SessionFile::default() };
        sim.fetched(Outcome::Process(
            path(pid),
            Ok(Process { file, is_alive: true, ..Process::default() }),
        ));
    }
    let gone = |pid| Outcome::Process(path(pid), Err(io::ErrorKind::NotFound.into()));
    sim.fetched(gone(2));
    assert!(sim.session("s").live);
    sim.fetched(gone(1));
    assert!(!sim.session("s").live);
}

/// A report of the client, as displays pass it on.
fn report() -> ClientFacts {
    ClientFacts { cost_usd: Some(1.0), ..ClientFacts::default() }
}

/// Something was appended to the transcript of `s`, and nothing in it states a time later than
/// before.
fn append_undated(sim: &mut Sim, dated_ms: i64) {
    sim.changed("/r/projects/p/s.jsonl");
    sim.reply_at("/r/projects/p/s.jsonl", "/w", "claude-opus-4-8", dated_ms);
}

#[test]
fn what_is_appended_to_an_ended_session_revives_it_only_if_it_is_dated_after_the_end() {
    let mut sim = settled();
    let before_ms = sim.now.wall_ms;
    sim.pass_ms(1000);
    end(&mut sim, "s");
    let ended_ms = sim.now.wall_ms;
    for ms in [13, 600_000] {
        sim.pass_ms(ms);
        append_undated(&mut sim, before_ms);
        assert!(!sim.session("s").live, "{ms} ms later");
        assert_eq!(sim.session("s").ended_ms, Some(ended_ms));
    }
    append_undated(&mut sim, ended_ms + 13);
    assert!(!sim.session("s").live, "the client was still writing");
    sim.append();
    assert!(sim.session("s").live, "a client without a process file goes on with it");
    assert_eq!(sim.session("s").ended_ms, None);
}

#[test]
fn a_report_that_was_on_its_way_does_not_revive_a_session_and_a_later_one_does() {
    let mut sim = settled();
    end(&mut sim, "s");
    sim.pass_ms(2000);
    sim.hint("/r", "s", report());
    assert!(!sim.session("s").live, "it was on its way");
    sim.pass_ms(60_000);
    sim.hint("/r", "s", ClientFacts::default());
    assert!(!sim.session("s").live, "any program can request a line");
    sim.hint("/r", "s", report());
    assert!(sim.session("s").live, "a client draws its line");
}

#[test]
fn a_restart_does_not_revive_a_session_that_ended_before() {
    let mut sim = settled();
    end(&mut sim, "s");
    let mut snapshot = sim.snapshot();
    let ended = &mut snapshot.sessions.get_mut(&SessionId("s".into())).unwrap().ended_ms;
    // The clock of the simulation begins anew with each watcher.
    *ended = ended.map(|it| it - MINUTE_MS);
    let ended_ms = *ended;
    let mut sim = Sim::after(&["/r"], Some(&snapshot));
    sim.list_root("/r", &["s"]);
    append_undated(&mut sim, ended_ms.unwrap() - 1);
    assert!(!sim.session("s").live);
    assert_eq!(sim.session("s").ended_ms, ended_ms);
    sim.append();
    assert!(sim.session("s").live, "dated after the end");
}

#[test]
fn a_transcript_that_is_moved_neither_ends_a_session_nor_revives_one() {
    for has_ended in [false, true] {
        let mut sim = settled();
        let before_ms = sim.now.wall_ms;
        if has_ended {
            end(&mut sim, "s");
        }
        sim.pass_ms(1000);
        sim.fetched(gone("/r/projects/p/s.jsonl"));
        assert!(!sim.session("s").live);
        sim.list("/r/projects", &[("p", DIR), ("q", DIR)]);
        sim.list("/r/projects/q", &[("s.jsonl", file(before_ms))]);
        sim.reply_at("/r/projects/q/s.jsonl", "/w", "claude-opus-4-8", before_ms);
        assert_eq!(sim.session("s").live, !has_ended);
    }
}

#[test]
fn a_session_that_ended_while_no_watcher_ran_has_ended() {
    let mut sim = settled();
    let before_ms = sim.now.wall_ms;
    let path = PathBuf::from("/r/sessions/7.json");
    let file =
        SessionFile { pid: 7, session_id: SessionId::checked("s"), ..SessionFile::default() };
    sim.fetched(Outcome::Process(
        path.clone(),
        Ok(Process { file, is_alive: true, ..Process::default() }),
    ));
    let snapshot = sim.snapshot();
    assert_eq!(snapshot.sessions[&SessionId("s".into())].pid, Some(7));
    let mut sim = Sim::after(&["/r"], Some(&snapshot));
    sim.now.wall_ms = before_ms + 60_000;
    sim.list_root("/r", &["s"]);
    append_undated(&mut sim, before_ms);
    assert!(sim.fetches().contains(&Source::Process(path.clone())), "whether it still runs");
    sim.fetched(Outcome::Process(path, Err(io::ErrorKind::NotFound.into())));
    assert!(!sim.session("s").live);
}

#[test]
fn a_spare_worker_is_no_session_nor_is_what_it_displays() {
    let mut sim = settled();
    let path = "/r/sessions/9.json";
    let process = |is_spare| {
        let session_id = SessionId::checked("spare");
        let file = SessionFile { pid: 9, session_id, is_spare, ..SessionFile::default() };
        Outcome::Process(path.into(), Ok(Process { file, is_alive: true, ..Process::default() }))
    };
    let is_known = |sim: &Sim| sim.snapshot().sessions.contains_key(&SessionId("spare".into()));
    // Its display may come before its file is read.
    sim.hint("/r", "spare", report());
    sim.fetched(process(true));
    assert!(!is_known(&sim));
    sim.hint("/r", "spare", report());
    sim.pass_ms(MINUTE_MS);
    sim.hint("/r", "spare", report());
    assert!(!is_known(&sim));
    assert_eq!(sim.snapshot().latest, SessionId::checked("s"));
    sim.changed("/r/projects/p/spare.jsonl");
    sim.reply("/r/projects/p/spare.jsonl", "/w", "claude-opus-4-8");
    assert!(!is_known(&sim), "it wrote something");
    sim.fetched(process(false));
    assert!(sim.session("spare").live, "it was given a session");
    sim.fetched(process(true));
    assert!(!sim.session("spare").live);
    sim.fetched(Outcome::Process(path.into(), Err(io::ErrorKind::NotFound.into())));
    sim.changed("/r/projects/p/spare.jsonl");
    sim.reply_at("/r/projects/p/spare.jsonl", "/w", "claude-opus-4-8", sim.now.wall_ms - 1);
    assert!(!sim.session("spare").live, "its last line");
}

#[test]
fn the_exit_of_a_process_is_awaited_once_and_its_file_read_at_once() {
    let mut sim = settled();
    let path = PathBuf::from("/r/sessions/7.json");
    let process = |proc_start: &str| {
        let (session_id, proc_start) = (SessionId::checked("s"), Some(proc_start.to_owned()));
        let file = SessionFile { pid: 7, session_id, proc_start, ..SessionFile::default() };
        Outcome::Process(path.clone(), Ok(Process { file, is_alive: true, ..Process::default() }))
    };
    let n_awaited = |sim: &mut Sim| {
        let effects = std::mem::take(&mut sim.effects);
        effects.iter().filter(|it| matches!(it, Effect::AwaitExit(..))).count()
    };
    sim.fetched(process("1"));
    assert_eq!(n_awaited(&mut sim), 1);
    sim.fetched(process("1"));
    assert_eq!(n_awaited(&mut sim), 0, "it is awaited already");
    sim.fetched(process("2"));
    assert_eq!(n_awaited(&mut sim), 1, "another process has this id");
    sim.event(Event::Exited(path.clone()));
    assert_eq!(sim.fetches(), [Source::Process(path.clone())]);
    sim.fetched(Outcome::Process(path.clone(), Err(io::ErrorKind::NotFound.into())));
    sim.event(Event::Exited(path.clone()));
    assert_eq!(sim.fetches(), [], "it is known no more");
}

#[test]
fn a_process_file_is_read_again_with_what_it_said() {
    let mut sim = settled();
    let path = PathBuf::from("/r/sessions/7.json");
    let file =
        SessionFile { pid: 7, session_id: SessionId::checked("s"), ..SessionFile::default() };
    let known = |sim: &mut Sim| {
        sim.effects.clear();
        sim.event(Event::Exited(path.clone()));
        let jobs = sim.effects.iter().filter_map(|effect| match effect {
            Effect::Fetch(Job::Read(ReadJob::Process { known, .. })) => Some(known.clone()),
            _ => None,
        });
        jobs.collect::<Vec<_>>()
    };
    let process = Process { file: file.clone(), is_alive: true, ..Process::default() };
    sim.fetched(Outcome::Process(path.clone(), Ok(process.clone())));
    assert_eq!(known(&mut sim), [Some(Box::new(file))]);
    // The file says nothing any more, but the process ended.
    sim.fetched(Outcome::Process(path.clone(), Ok(Process { is_alive: false, ..process })));
    assert!(!sim.session("s").live);
    assert_eq!(known(&mut sim), [None]);
}

#[test]
fn a_session_on_display_lives_before_its_transcript_is_begun_and_after_it_was_deleted() {
    let mut sim = settled();
    let gone = |sim: &mut Sim, id: &str| {
        let path = format!("/r/projects/p/{id}.jsonl");
        sim.fetched(Outcome::Transcript(path.into(), Err(io::ErrorKind::NotFound.into())));
        sim.session(id).live
    };
    let facts = || ClientFacts { cwd: Some("/w".into()), ..ClientFacts::default() };
    sim.hint("/r", "new", facts());
    assert!(gone(&mut sim, "new"));
    assert!(!gone(&mut sim, "s"), "nothing but its transcript was known");
    sim.hint("/r", "s", facts());
    assert!(gone(&mut sim, "s"), "a display came since");
}

#[test]
fn sessions_that_wait_are_listed_the_longest_wait_first() {
    let mut sim = settled();
    for (n, since_ms) in (0..18).zip([5, 3].into_iter().chain(10..)) {
        let file = SessionFile {
            pid: n,
            session_id: SessionId::checked(&format!("w{n:02}")),
            cwd: Some(format!("/work/p{n}")),
            name: Some("deploy".to_owned()).filter(|_| n == 0),
            status: Some(if n == 17 { Status::Shell } else { Status::Waiting }),
            status_since_ms: Some(since_ms),
            waiting_for: Some("permission prompt".to_owned()),
            ..SessionFile::default()
        };
        let path = PathBuf::from(format!("/r/sessions/{n}.json"));
        sim.fetched(Outcome::Process(
            path,
            Ok(Process { file, is_alive: true, ..Process::default() }),
        ));
    }
    let snapshot = sim.snapshot();
    let names: Vec<_> = snapshot.waiting.iter().map(|it| &*it.name).collect();
    assert_eq!((names.len(), &names[..3]), (16, &["p1", "deploy", "p2"][..]));
    assert_eq!(snapshot.waiting_more, 1);
    assert_eq!(snapshot.waiting[0].waiting_for.as_deref(), Some("permission prompt"));
    assert_eq!(sim.session("w17").status, Some(Status::Shell));
}

#[test]
fn a_limit_that_a_transcript_says_to_be_used_up_is_the_accounts() {
    let mut sim = settled();
    let resets_at_ms = sim.now.wall_ms + HOUR_MS;
    let limit = Limit { used_percentage: 100.0, resets_at_ms, ..Limit::default() };
    let limits = Limits { five_hour: Some(limit), ..Limits::default() };
    let path = "/r/projects/p/s.jsonl";
    let (cursor, facts) = *sim.state.transcripts.resume_at(Path::new(path)).unwrap();
    let used_up = Some(Box::new((limits, sim.now.wall_ms)));
    let tail = Tail {
        began: cursor.offset,
        has_restarted: false,
        facts: TranscriptFacts { used_up, ..facts },
        entries: Vec::new(),
        has_more: false,
        is_unended: false,
        size: cursor.offset,
        mtime_ms: sim.now.wall_ms,
        ctime_ms: sim.now.wall_ms,
        cursor,
    };
    sim.fetched(Outcome::Transcript(path.into(), Ok(Box::new(tail))));
    let known = sim.snapshot().roots[&RootKey("/r".into())].limits.five_hour.unwrap();
    assert_eq!((known.used_percentage, known.resets_at_ms), (100.0, resets_at_ms));
}
