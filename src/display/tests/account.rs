//! What a line shows of the account: usage, blocks, limits.

use super::{BEFORE_USAGE, NOW, check, check_client, limit, root, session, usage};
use crate::store::schema::display::Segment;
use crate::store::schema::{BlockSource, ClientFacts, Limit, Limits, Snapshot};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

#[test]
fn old_usage_shows_its_age_and_yesterday_s_is_left_out() {
    let old = "block $10.00 2h13m left 4m ago · today $30.00 4m ago · 5h 34% ↻2h00m";
    let minutes = 4 * MINUTE_MS;
    check(|it| usage(it).as_of_ms = NOW - minutes, &format!("{BEFORE_USAGE} · {old}"));
    let yesterday = "block $10.00 2h13m left 4m ago · 5h 34% ↻2h00m";
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
    check(
        |it| usage(it).block.as_mut().unwrap().end_ms = NOW,
        &format!("{BEFORE_USAGE} · today $30.00 · 5h 34% ↻2h00m"),
    );
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
    };
    let expected = "block $10.00 2h13m left · today $30.00 · 5h 12% ↻<1m 16m ago · \
                    7d 96% ↻3d04h · spend 130% ↻20m";
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
    };
    let all = ["five_hour", "seven_day", "spend_limit"];
    check(
        |snapshot| {
            root(snapshot).limits = limits;
            formats(snapshot, &all, "{remaining} left( until {at})");
        },
        &format!(
            "{BEFORE_USAGE} · block $10.00 2h13m left · today $30.00 · \
             39% left until 16:32 · 62% left until Thu 14:32 · 0% left until 14:52"
        ),
    );
}

#[test]
fn unknown_prices_make_costs_lower_bounds() {
    check(
        |snapshot| {
            session(snapshot).cost.as_mut().unwrap().unpriced = 1;
            usage(snapshot).block.as_mut().unwrap().unpriced = 1;
            usage(snapshot).today.unpriced = 1;
        },
        "~/w/p · main · model-one · ctx 42% · ≥$1.00 · block ≥$10.00 2h13m left · \
         today ≥$30.00 · 5h 34% ↻2h00m",
    );
}

#[test]
fn of_two_reports_of_a_limit_the_newer_is_shown() {
    let reported = |used, left_ms| ClientFacts {
        limits: Limits { five_hour: Some(limit(used, left_ms)), ..Limits::default() },
        ..ClientFacts::default()
    };
    let rest = "block $10.00 2h13m left · today $30.00";
    for (used, left_ms, expected) in [
        (35.0, 2 * HOUR_MS, "35% ↻2h00m"),
        (33.0, 2 * HOUR_MS, "34% ↻2h00m"),
        (1.0, 5 * HOUR_MS, "1% ↻5h00m"),
        (99.0, HOUR_MS, "34% ↻2h00m"),
    ] {
        let expected = format!("{BEFORE_USAGE} · {rest} · 5h {expected}");
        check_client(&reported(used, left_ms), &expected);
    }
}
