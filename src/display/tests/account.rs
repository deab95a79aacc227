//! What a line shows of the account: usage, blocks, limits.

use super::{
    BEFORE_USAGE, NOW, PLAIN, check, check_client, limit, root, session, show, snapshot, usage,
};
use crate::display::view::{Source, Watcher};
use crate::store::schema::display::Segment;
use crate::store::schema::{BlockSource, ClientFacts, Limit, Limits, Model, PromptCache, Snapshot};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

#[test]
fn old_usage_shows_its_age_and_yesterday_s_is_left_out() {
    let old = "block $10.00 2h00m left 4m ago · today $30.00 4m ago · 5h 34% ↻2h00m";
    let minutes = 4 * MINUTE_MS;
    check(|it| usage(it).as_of_ms = NOW - minutes, &format!("{BEFORE_USAGE} · {old}"));
    let yesterday = "block $10.00 2h00m left 4m ago · 5h 34% ↻2h00m";
    check(
        |snapshot| {
            usage(snapshot).as_of_ms = NOW - minutes;
            usage(snapshot).day_ends_ms = NOW;
        },
        &format!("{BEFORE_USAGE} · {yesterday}"),
    );
}

#[test]
fn the_block_of_another_tool_has_its_own_age_and_prices() {
    check(
        |snapshot| {
            usage(snapshot).today.unpriced = 1;
            let block = usage(snapshot).block.as_mut().unwrap();
            (block.source, block.as_of_ms) = (BlockSource::Ccusage, NOW - 7 * MINUTE_MS);
        },
        "~/w/p · main · model-one · ctx 42% · $1.00 · block $10.00 2h13m left 7m ago · \
         today ≥$30.00 · 5h 34% ↻2h00m",
    );
}

#[test]
fn a_block_that_ended_is_not_shown() {
    let change = |snapshot: &mut Snapshot| {
        root(snapshot).limits = Limits::default();
        usage(snapshot).block.as_mut().unwrap().end_ms = NOW;
    };
    check(change, &format!("{BEFORE_USAGE} · today $30.00"));
}

#[test]
fn the_block_has_the_clock_of_the_five_hour_limit_where_that_is_known() {
    let estimate = format!("{BEFORE_USAGE} · block $10.00 2h13m left · today $30.00");
    let window = |snapshot: &mut Snapshot| {
        let window = usage(snapshot).window.as_mut().unwrap();
        (window.used.cost_usd, window.used.unpriced) = (7.0, 1);
    };
    let expected =
        format!("{BEFORE_USAGE} · block ≥$7.00 2h00m left · today $30.00 · 5h 34% ↻2h00m");
    check(window, &expected);
    check(|it| root(it).limits = Limits::default(), &estimate);
    check(
        |it| root(it).limits.five_hour.as_mut().unwrap().resets_at_ms = 0,
        &format!("{estimate} · 5h 34%"),
    );
    // The client states the end of a window of which the watcher has not heard yet.
    let mut client = document();
    client.limits.five_hour = Some(limit(1.0, 5 * HOUR_MS));
    let rest = "ctx 42% · $1.00 · today $30.00 · 5h 1% ↻5h00m";
    check_client(&client, &format!("~/w/p · main · model-one · {rest}"));
}

#[test]
fn a_limit_past_its_reset_is_not_shown() {
    check(
        |it| root(it).limits.five_hour = Some(limit(99.0, 0)),
        &format!("{BEFORE_USAGE} · block $10.00 2h13m left · today $30.00"),
    );
}

#[test]
fn limits_have_a_countdown_and_an_age() {
    let old = Limit { as_of_ms: NOW - 16 * MINUTE_MS, ..limit(12.4, 59 * SECOND_MS) };
    let limits = Limits {
        five_hour: Some(old),
        seven_day: Some(limit(96.0, 3 * DAY_MS + 4 * HOUR_MS)),
        spend_limit: Some(limit(130.0, 20 * MINUTE_MS)),
        ..Limits::default()
    };
    let expected = "today $30.00 · 5h 12% ↻<1m 16m ago · 7d 96% ↻3d04h · spend 130% ↻20m";
    check(|it| root(it).limits = limits, &format!("{BEFORE_USAGE} · {expected}"));
}

#[test]
fn a_limit_can_say_what_is_left_and_until_when() {
    let formats = |snapshot: &mut Snapshot, names: &[&str], format: &str| {
        for name in names {
            let segment = Segment { format: Some(format.to_owned()), ..Segment::default() };
            snapshot.display.segments.insert((*name).to_owned(), segment);
        }
    };
    let limits = Limits {
        five_hour: Some(limit(61.3, 2 * HOUR_MS)),
        seven_day: Some(limit(38.0, 3 * DAY_MS)),
        spend_limit: Some(limit(130.0, 20 * MINUTE_MS)),
        ..Limits::default()
    };
    let all = ["five_hour", "seven_day", "spend_limit"];
    check(
        |snapshot| {
            root(snapshot).limits = limits.clone();
            formats(snapshot, &all, "{remaining} left( until {at})");
        },
        &format!(
            "{BEFORE_USAGE} · block $10.00 2h00m left · today $30.00 · \
             39% left until 16:32 · 62% left until Thu 14:32 · 0% left until 14:52"
        ),
    );
}

#[test]
fn unknown_prices_make_costs_lower_bounds() {
    check(
        |snapshot| {
            session(snapshot).cost.as_mut().unwrap().unpriced = 1;
            usage(snapshot).window.as_mut().unwrap().used.unpriced = 1;
            usage(snapshot).today.unpriced = 1;
        },
        "~/w/p · main · model-one · ctx 42% · ≥$1.00 · block ≥$10.00 2h00m left · \
         today ≥$30.00 · 5h 34% ↻2h00m",
    );
}

/// A document of the client after the session's first reply.
fn document() -> ClientFacts {
    ClientFacts { cost_usd: Some(1.0), ..ClientFacts::default() }
}

/// What the line says of limits where the session's document states this share of the five-hour
/// limit, and the snapshot has 34 %.
#[track_caller]
fn check_limits(told: Option<Limit>, change: impl FnOnce(&mut Snapshot), expected: &str) {
    let mut snapshot = snapshot();
    root(&mut snapshot).limits.seven_day = Some(limit(50.0, DAY_MS));
    change(&mut snapshot);
    let limits = Limits { five_hour: told, ..Limits::default() };
    let client = ClientFacts { limits, ..document() };
    let line = show(Source::Snapshot(&snapshot), Watcher::Alive, &client, &PLAIN);
    let shown: Vec<_> = line
        .split(" · ")
        .filter(|it| ["5h", "7d", "spend"].iter().any(|name| it.starts_with(name)))
        .collect();
    assert_eq!(shown.join(" · "), expected);
}

/// The watcher has a report of the session, which said this.
fn said(snapshot: &mut Snapshot, five_hour: Option<Limit>) {
    session(snapshot).client_version = Some("2.1.332".to_owned());
    session(snapshot).limits = Limits { five_hour, ..Limits::default() };
}

const WEEK: &str = "7d 50% ↻1d00h";

#[test]
fn what_differs_from_what_the_session_said_before_is_newer_than_the_snapshot() {
    let two_hours = |used| Some(limit(used, 2 * HOUR_MS));
    for (told, before, expected) in [
        (two_hours(18.0), two_hours(34.0), "5h 18% ↻2h00m"),
        (two_hours(18.0), two_hours(90.0), "5h 18% ↻2h00m"),
        (two_hours(90.0), two_hours(18.0), "5h 90% ↻2h00m"),
        (two_hours(18.0), None, "5h 18% ↻2h00m"),
        (two_hours(90.0), two_hours(90.0), "5h 34% ↻2h00m"),
        (Some(limit(1.0, 5 * HOUR_MS)), two_hours(34.0), "5h 1% ↻5h00m"),
        (Some(limit(99.0, HOUR_MS)), two_hours(34.0), "5h 99% ↻1h00m"),
    ] {
        check_limits(told, |it| said(it, before), &format!("{expected} · {WEEK}"));
    }
}

#[test]
fn what_a_session_of_which_nothing_is_known_says_is_as_old_as_its_last_reply() {
    let told = Some(limit(90.0, 2 * HOUR_MS));
    let replied = |ms| move |it: &mut Snapshot| session(it).last_reply_ms = Some(ms);
    check_limits(told, replied(NOW - 1), &format!("5h 34% ↻2h00m · {WEEK}"));
    check_limits(told, replied(NOW), &format!("5h 90% ↻2h00m · {WEEK}"));
    check_limits(told, |it| it.sessions.clear(), "5h 90% ↻2h00m");
}

#[test]
fn a_session_without_a_reply_repeats_what_its_process_was_told_before() {
    let client = |used| {
        let five_hour = Some(limit(used, 2 * HOUR_MS));
        let limits = Limits { five_hour, ..Limits::default() };
        ClientFacts { cost_usd: Some(0.0), limits, ..ClientFacts::default() }
    };
    let before = "~/w/p · main · model-one · ctx 42% · $0.00";
    let rest = "block $10.00 2h00m left · today $30.00 · 5h 34% ↻2h00m";
    check_client(&client(90.0), &format!("{before} · {rest}"));
}

#[test]
fn a_window_that_the_session_takes_back_is_not_shown() {
    let week = Some(limit(50.0, DAY_MS));
    let take_back = |week| {
        move |snapshot: &mut Snapshot| {
            said(snapshot, Some(limit(34.0, 2 * HOUR_MS)));
            session(snapshot).limits.seven_day = week;
        }
    };
    let told = Some(limit(35.0, 2 * HOUR_MS));
    check_limits(told, take_back(week), "5h 35% ↻2h00m");
    // Another session said so since.
    let other = Some(limit(49.0, DAY_MS));
    check_limits(told, take_back(other), &format!("5h 35% ↻2h00m · {WEEK}"));
}

#[test]
fn a_session_that_states_no_limits_after_its_first_reply_has_none() {
    let kept = format!("5h 34% ↻2h00m · {WEEK}");
    check_limits(None, |_| (), "");
    check_limits(None, |it| session(it).subscription = Some(true), "");
    let check = |client: &ClientFacts, expected: &str| {
        let line = show(Source::Snapshot(&snapshot()), Watcher::Alive, client, &PLAIN);
        assert_eq!(line.split_once("5h 34%").is_some(), !expected.is_empty(), "{line}");
    };
    let model = |id: &str| Some(Model { id: id.to_owned(), display_name: None });
    let fresh = ClientFacts { model: model("claude-opus-4-8[1m]"), ..ClientFacts::default() };
    check(&fresh, &kept);
    check(&ClientFacts { context_tokens: Some(0), cost_usd: Some(0.0), ..fresh.clone() }, &kept);
    check(&ClientFacts { context_tokens: Some(9), ..fresh.clone() }, "");
    for id in [
        "us.anthropic.claude-opus-4-8-v1:0",
        "anthropic.claude-sonnet-4-5",
        "arn:aws:bedrock:us-east-1:1:inference-profile/x",
        "claude-opus-4-5@20251101",
        "anthropic/claude-opus-4.8",
        "claude-opus-4-8-v1:0",
        "gpt-9",
        "",
    ] {
        check(&ClientFacts { model: model(id), ..ClientFacts::default() }, "");
    }
    // Nothing is plausible in what the client states, but it states limits.
    check(&ClientFacts { has_rate_limits: true, ..document() }, &kept);
}

#[test]
fn a_resumed_session_shows_the_limits_of_the_account_before_its_first_reply() {
    let has_limits = |subscription, client: &ClientFacts| {
        let mut snapshot = snapshot();
        session(&mut snapshot).subscription = subscription;
        let line = show(Source::Snapshot(&snapshot), Watcher::Alive, client, &PLAIN);
        line.contains("5h 34%")
    };
    let version = |it: &str| ClientFacts { client_version: Some(it.to_owned()), ..document() };
    for (subscription, expected) in [(Some(true), true), (None, true), (Some(false), false)] {
        assert_eq!(has_limits(subscription, &version("2.1.251")), expected);
        assert_eq!(has_limits(subscription, &version("2.2.0")), expected);
        // It does not tell whether its process has had a reply.
        assert!(!has_limits(subscription, &version("2.1.197")));
        let prompt_cache = Some(PromptCache::default());
        let replied = ClientFacts { prompt_cache, ..version("2.1.332") };
        assert!(!has_limits(subscription, &replied), "it was logged out");
    }
}

#[test]
fn a_forecast_is_not_shown_for_a_share_that_is_lower_than_that_it_was_made_from() {
    let change = |snapshot: &mut Snapshot| {
        said(snapshot, Some(limit(34.0, 2 * HOUR_MS)));
        root(snapshot).limits.five_hour.as_mut().unwrap().full_at_ms = Some(NOW + HOUR_MS);
    };
    let told = |used| Some(limit(used, 2 * HOUR_MS));
    check_limits(told(18.0), change, &format!("5h 18% ↻2h00m · {WEEK}"));
    check_limits(told(35.0), change, &format!("5h 35% ↻2h00m full in 1h00m · {WEEK}"));
}

#[test]
fn implausible_limits_are_not_shown() {
    let kept = |it: &mut Snapshot| said(it, None);
    for used in [-1.0, 100.1, 1_795_440_000.0, f64::NAN, f64::INFINITY] {
        check_limits(Some(limit(used, HOUR_MS)), kept, &format!("5h 34% ↻2h00m · {WEEK}"));
    }
    for (resets_at_ms, expected) in [
        (0, "5h 61%"),
        (7800, "5h 61%"),
        (NOW / 1000, "5h 61%"),
        (NOW * 1000, "5h 61%"),
        (NOW + 7 * DAY_MS, "5h 61%"),
        (-1, "5h 61%"),
        (i64::MAX, "5h 61%"),
        (NOW, ""),
        (NOW - DAY_MS, ""),
        (NOW + 5 * HOUR_MS + 10 * MINUTE_MS, "5h 61% ↻5h10m"),
    ] {
        let told = Limit { used_percentage: 61.0, resets_at_ms, ..Limit::default() };
        let with_week = |it: &str| [it, WEEK].map(str::to_owned).join(" · ");
        let expected = if expected.is_empty() { WEEK.to_owned() } else { with_week(expected) };
        check_limits(
            Some(told),
            |snapshot| {
                said(snapshot, None);
                root(snapshot).limits.five_hour = None;
            },
            &expected,
        );
    }
}

#[test]
fn limits_of_unknown_names_are_shown_by_a_readable_name() {
    let mut limits = Limits::default();
    for (name, used) in [("seven_day_opus", 12.0), ("weekly_spark", 96.0), ("five_hour_x", 7.0)] {
        limits.insert(name, limit(used, HOUR_MS));
    }
    for name in ["a b", "\u{1b}", "", &"x".repeat(33)] {
        limits.insert(name, limit(50.0, HOUR_MS));
    }
    limits.insert("too_much", limit(101.0, HOUR_MS));
    let usage = "block $10.00 2h13m left · today $30.00";
    let expected = format!("{BEFORE_USAGE} · {usage} · 5h x 7%, 7d opus 12%, weekly spark 96%");
    check(|it| root(it).limits = limits.clone(), &expected);
    for n in 0..20 {
        limits.insert(&format!("n{n}"), limit(50.0, HOUR_MS));
    }
    assert_eq!(limits.other.len(), 8);
}
