//! What a watcher and `ccstatusd metrics` export for Prometheus.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ccstatusd::store::schema::{Degraded, Snapshot};
use nix::sys::signal::Signal;

use crate::sandbox::{CAP, Sandbox, is_met_within, text};

/// The value of the sample that begins with this text.
fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|it| it.strip_prefix(sample)?.trim().parse().ok())
}

const OPUS: &str =
    r#"ccstatusd_replies_total{user="tester",account="claude",model="claude-opus-4-8"}"#;
const UP: &str = r#"ccstatusd_up{user="tester"}"#;

impl Sandbox {
    fn textfile(&self) -> String {
        fs_err::read_to_string(self.path("prom/tester.prom")).unwrap_or_default()
    }

    fn export(&mut self, more: &str) {
        fs_err::create_dir_all(self.path("prom")).unwrap();
        self.set_env("USER", "tester");
        self.configure(&format!("[export]\ntextfile = '~/prom/{{user}}.prom'\n{more}"));
    }

    #[track_caller]
    fn wait_for_sample(&self, sample: &str, is_met: impl Fn(f64) -> bool) {
        if !is_met_within(CAP, || value(&self.textfile(), sample).is_some_and(&is_met)) {
            panic!("{sample}: not within {CAP:?}; the file is\n{}", self.textfile());
        }
    }

    #[track_caller]
    fn metrics(&self) -> String {
        let output = self.ccstatusd().arg("metrics").output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_watcher_exports_what_was_used_and_says_when_it_ends() {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    sandbox.export("every_s = 1");
    // A watcher that was killed left the first.
    for name in [".ccstatusd-tester.prom.1.tmp", ".ccstatusd-other.prom.1.tmp"] {
        fs_err::write(sandbox.path("prom").join(name), "").unwrap();
    }
    transcript.prompt("secret");
    transcript.reply("secret");
    let mut watcher = sandbox.start_watcher();
    sandbox.wait_for_sample(OPUS, |it| it == 1.0);
    sandbox.wait_for_sample(UP, |it| it == 1.0);
    let path = sandbox.path("prom/tester.prom");
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let page = sandbox.textfile();
    let home = sandbox.home.to_str().unwrap();
    assert!(!page.contains("secret") && !page.contains(home) && !page.contains("s1"), "{page}");
    transcript.reply("again");
    sandbox.wait_for_sample(OPUS, |it| it == 2.0);
    assert_eq!(value(&sandbox.metrics(), OPUS), Some(2.0), "`metrics` prints the same");
    watcher.signal(Signal::SIGTERM);
    watcher.wait(CAP);
    let page = sandbox.textfile();
    assert_eq!((value(&page, UP), value(&page, OPUS)), (Some(0.0), Some(2.0)), "{page}");
    let names = fs_err::read_dir(sandbox.path("prom")).unwrap().map(|it| it.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, [".ccstatusd-other.prom.1.tmp", "tester.prom"]);
}

#[test]
fn a_counter_stays_when_the_record_is_lost_and_over_a_restart() {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    sandbox.export("every_s = 1");
    transcript.reply("one");
    transcript.reply("two");
    let mut watcher = sandbox.start_watcher();
    sandbox.wait_for_sample(OPUS, |it| it == 2.0);
    watcher.signal(Signal::SIGTERM);
    watcher.wait(CAP);
    let data = sandbox.path(".local/share/ccstatusd");
    for lost in ["history", "journal"] {
        fs_err::remove_dir_all(data.join(lost)).unwrap();
    }
    fs_err::remove_dir_all(&sandbox.state).unwrap();
    fs_err::remove_file(&transcript.path).unwrap();
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for_sample(UP, |it| it == 1.0);
    assert_eq!(value(&sandbox.textfile(), OPUS), Some(2.0), "{}", sandbox.textfile());
}

#[test]
fn a_file_is_written_as_soon_as_it_is_configured_and_removed_once_it_is_not() {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    sandbox.export("");
    transcript.reply("one");
    let _watcher = sandbox.start_watcher();
    sandbox.wait_for_sample(UP, |it| it == 1.0);
    sandbox.configure("");
    sandbox.wait_until("the file is removed", || sandbox.textfile().is_empty());
    sandbox.export("sessions = true");
    sandbox.wait_for_sample(
        r#"ccstatusd_session_waiting{user="tester",account="claude",session="s1"}"#,
        |it| it == 0.0,
    );
}

#[test]
fn an_export_that_fails_is_degraded_until_it_works() {
    let (mut sandbox, mut transcript) = Sandbox::with_session();
    sandbox.export("every_s = 1");
    fs_err::remove_dir(sandbox.path("prom")).unwrap();
    transcript.reply("one");
    let watcher = sandbox.start_watcher();
    let failing =
        |snapshot: &Snapshot| snapshot.degraded.iter().find(|it| it.source == "export").cloned();
    let path = sandbox.path("prom/tester.prom").display().to_string();
    let missing = format!("cannot write {path}: ");
    let snapshot = sandbox.wait_for("that it fails", |it| failing(it).is_some());
    let first = failing(&snapshot).unwrap();
    assert!(
        first.reason.starts_with(&missing) && first.reason.contains("there is no directory "),
        "{first:?}"
    );
    assert!(
        (1..=snapshot.published_at_ms).contains(&first.since_ms) && first.next_try_ms.is_none()
    );
    sandbox.wait_until("the log", || watcher.log().contains("degraded export: cannot write"));
    let doctor = text(&sandbox.ccstatusd().arg("doctor").output().unwrap());
    assert!(doctor.contains(&format!("export: {missing}")), "{doctor}");
    assert!(doctor.contains("the directory of `[export] textfile` must exist"), "{doctor}");

    // For another reason.
    fs_err::write(sandbox.path("prom"), "").unwrap();
    transcript.reply("two");
    let is_other = |found: Degraded| found.reason.contains("Not a directory");
    let snapshot = sandbox.wait_for("another reason", |it| failing(it).is_some_and(is_other));
    assert_eq!(failing(&snapshot).unwrap().since_ms, first.since_ms);

    fs_err::remove_file(sandbox.path("prom")).unwrap();
    fs_err::create_dir(sandbox.path("prom")).unwrap();
    transcript.reply("three");
    sandbox.wait_for_sample(OPUS, |it| it == 3.0);
    sandbox.wait_for("that it works", |it| failing(it).is_none());

    fs_err::remove_dir_all(sandbox.path("prom")).unwrap();
    transcript.reply("four");
    sandbox.wait_for("that it fails again", |it| failing(it).is_some());
    sandbox.configure("");
    sandbox.wait_for("that nothing is exported", |it| failing(it).is_none());
}

#[test]
fn without_anything_published_there_are_no_metrics() {
    let sandbox = Sandbox::with_root();
    let output = sandbox.ccstatusd().arg("metrics").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("no watcher has published anything yet"), "{}", text(&output));
}

#[test]
fn the_page_about_fleets_has_every_family() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs_err::read_to_string(root.join("docs/fleet.md")).unwrap();
    let source = fs_err::read_to_string(root.join("src/metrics/families.rs")).unwrap();
    let quoted = source.split("mod tests {").next().unwrap().split('"');
    let names = quoted.filter(|it| it.starts_with("ccstatusd_") && !it.contains(' '));
    let missing: Vec<_> = names.filter(|it| !page.contains(&format!("`{it}`"))).collect();
    assert!(missing.is_empty(), "docs/fleet.md lacks {missing:?}");
}
