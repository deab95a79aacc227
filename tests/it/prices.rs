//! Price lists that users put in place.

use std::path::Path;

use ccstatusd::store::schema::Snapshot;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, session, text};
use crate::transcripts::COST_USD;

/// The built-in list with another day, and with prices of Opus 4.8 that are so many times as high.
fn list(as_of: &str, factor: f64) -> Value {
    let text = include_str!("../../src/usage/prices.json");
    let mut list: Value = serde_json::from_str(text).unwrap();
    list["as_of"] = json!(as_of);
    let row = list["models"]["claude-opus-4-8"].as_object_mut().unwrap();
    for key in ["input", "output", "cache_write_5m", "cache_write_1h", "cache_read"] {
        row[key] = json!(row[key].as_f64().unwrap() * factor);
    }
    list
}

/// Runs `ccstatusd prices`, and returns what it printed and whether it succeeded.
#[track_caller]
fn prices(sandbox: &Sandbox, args: &[&str]) -> (bool, String) {
    let output = sandbox.ccstatusd().arg("prices").args(args).output().unwrap();
    (output.status.success(), text(&output))
}

#[track_caller]
fn update(sandbox: &Sandbox, list: &Value) -> (bool, String) {
    let file = sandbox.path("new-prices.json");
    fs_err::write(&file, list.to_string()).unwrap();
    prices(sandbox, &["--update", file.to_str().unwrap()])
}

fn costs(snapshot: &Snapshot, factor: f64) -> bool {
    let cost = session(snapshot, "s1").cost.as_ref().map(|it| it.usd);
    cost.is_some_and(|it| (it - COST_USD * factor).abs() < 1e-9)
}

#[test]
fn a_watcher_takes_a_new_price_list_and_says_when_it_is_damaged() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    let watcher = sandbox.start_watcher();
    sandbox.wait_for("the built-in price", |it| costs(it, 1.0));

    // The directory for it does not exist yet.
    let place = sandbox.path(".local/share/ccstatusd/prices.json");
    assert!(!place.exists());
    let (is_done, said) = update(&sandbox, &list("2999-01-01", 2.0));
    assert!(is_done && said.contains("the price list of 2999-01-01 with"), "{said}");
    let snapshot = sandbox.wait_for("the price of the list", |it| costs(it, 2.0));
    assert_eq!(snapshot.degraded, []);
    let (_, said) = prices(&sandbox, &["claude-opus-4.8"]);
    assert!(said.contains("your price list of 2999-01-01 is in use"), "{said}");
    assert!(said.contains(" your list of 2999-01-01"), "{said}");

    let mut wrong = list("2999-01-02", 3.0);
    wrong["models"]["claude-opus-4-8"]["input"] = json!("5");
    let (is_done, said) = update(&sandbox, &wrong);
    let what = "models.claude-opus-4-8.input: it must be a number from 0 to 1000000";
    assert!(!is_done && said.contains(what), "{said}");
    let (is_done, said) = update(&sandbox, &list("2999-01-03", 4.0));
    assert!(is_done, "{said}");
    sandbox.wait_for("the second list, and not the wrong one", |it| costs(it, 4.0));

    sandbox.configure("[prices.claude-opus-4-8]\ninput = 0\noutput = 0\n");
    sandbox.wait_for("the price of the configuration", |it| costs(it, 0.0));
    sandbox.configure("");
    sandbox.wait_for("that of the list again", |it| costs(it, 4.0));

    fs_err::write(&place, "{").unwrap();
    let snapshot = sandbox.wait_for("the built-in price", |it| costs(it, 1.0));
    assert_eq!(snapshot.degraded.len(), 1);
    assert_eq!(snapshot.degraded[0].source, format!("prices:{}", place.display()));
    let reason = "the file: it is not valid JSON";
    assert!(snapshot.degraded[0].reason.contains(reason), "{snapshot:?}");
    sandbox.wait_until("the log", || watcher.log().contains(reason));
    check_doctor(&sandbox, "problem prices: the built-in price list", &place);
    fs_err::remove_file(&place).unwrap();
    sandbox.wait_for("no failure", |it| it.degraded.is_empty() && costs(it, 1.0));
}

#[track_caller]
fn check_doctor(sandbox: &Sandbox, expected: &str, place: &Path) {
    let said = text(&sandbox.ccstatusd().arg("doctor").output().unwrap());
    let line = said.lines().find(|it| it.contains(" prices: ")).unwrap_or_default();
    assert!(line.contains(expected) && line.contains(place.to_str().unwrap()), "{said}");
}

#[test]
fn a_run_without_a_watcher_prices_by_the_list_in_place() {
    let sandbox = Sandbox::with_root();
    sandbox.session("s1", &sandbox.home).reply("one");
    assert!(costs(&sandbox.oneshot(), 1.0));
    let (is_done, said) = update(&sandbox, &list("2999-01-01", 2.0));
    assert!(is_done, "{said}");
    assert!(costs(&sandbox.oneshot(), 2.0));
    let place = sandbox.path(".local/share/ccstatusd/prices.json");
    fs_err::write(place, list("2020-01-01", 3.0).to_string()).unwrap();
    assert!(costs(&sandbox.oneshot(), 1.0), "an older list is passed over");
    let (_, said) = prices(&sandbox, &[]);
    assert!(said.contains("yours of 2020-01-01 is older"), "{said}");
    let (is_done, said) = prices(&sandbox, &["--update"]);
    assert!(!is_done && said.contains("--update <FILE>"), "{said}");
}
