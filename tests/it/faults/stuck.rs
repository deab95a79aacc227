//! A configured program that its user cannot kill, as it runs under `sudo`: whatever happens to the
//! watcher, there is one, and the source is named until it ends.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};
use std::time::Duration;

use ccstatusd::store::schema::Snapshot;
use nix::sys::signal::Signal;

use crate::sandbox::{
    EndAtLast, OTHER_USER, Sandbox, Watcher, as_other_user, install_become_root, send_signal, text,
    write_script,
};

/// The home of another user, with a session, and a command that hangs as root until it is mended.
struct Stuck {
    sandbox: Sandbox,
    _end: EndAtLast,
}

impl Stuck {
    fn new() -> Option<Stuck> {
        let sandbox = Sandbox::with_root();
        let become_root = install_become_root(&sandbox.path("bin"))?.join(" ");
        sandbox.configure(
            "[commands.load]\ncommand = ['~/bin/load']\nevery_s = 1\ntimeout_ms = 200\n",
        );
        let script = format!(
            "#!/bin/sh\n[ ! -e ~/mended ] || exec echo fine\nexec {become_root} sleep 60\n"
        );
        write_script(&sandbox.path("bin/load"), &script);
        sandbox.session("s1", &sandbox.home).reply("one");
        let owner = format!("{OTHER_USER}:{OTHER_USER}");
        // All but the program that becomes root.
        sandbox.sh(
            &sandbox.home,
            &format!("chown {owner} . bin bin/load; chown -R {owner} .claude .config"),
        );
        let end = EndAtLast(format!("HOME={}", sandbox.home.display()));
        Some(Stuck { sandbox, _end: end })
    }

    fn ccstatusd(&self) -> Command {
        let mut command = as_other_user(self.sandbox.command("setpriv"));
        command.arg(env!("CARGO_BIN_EXE_ccstatusd"));
        command
    }

    fn start_watcher(&self) -> Watcher {
        self.sandbox.spawn_watcher(self.ccstatusd())
    }

    fn oneshot(&self) -> Output {
        self.ccstatusd().args(["--oneshot", "--json"]).output().unwrap()
    }

    /// Waits until the newest watcher says that the source is degraded for this reason.
    #[track_caller]
    fn wait_for_reason(&self, watcher: &Watcher, expected: &str) {
        self.sandbox.wait_longer_for(Duration::from_secs(30), expected, |snapshot| {
            let pid = snapshot.watcher.as_ref().map(|it| it.pid);
            pid == Some(watcher.id()) && reason(snapshot).as_deref() == Some(expected)
        });
    }

    /// The process that the command left, and its guard, in this order. Checks that there is one
    /// of each, and returns their ids.
    #[track_caller]
    fn the_one(&self) -> (u32, u32) {
        let all = self.sandbox.processes();
        let of = |what: &str| -> Vec<u32> {
            let lines = all.iter().filter(|it| it.contains(what));
            lines.map(|it| it.split(':').next().unwrap().parse().unwrap()).collect()
        };
        match (&of(": sleep ")[..], &of("__guard")[..]) {
            ([program], [guard]) => (*program, *guard),
            _ => panic!("not one program under one guard: {all:#?}"),
        }
    }
}

fn reason(snapshot: &Snapshot) -> Option<String> {
    let degraded = snapshot.degraded.iter().find(|it| it.source == "command:load");
    degraded.map(|it| it.reason.clone())
}

#[test]
fn one_program_that_cannot_be_killed_is_left_through_retries_restarts_and_oneshots() {
    let Some(stuck) = Stuck::new() else { return };
    let mut watcher = stuck.start_watcher();
    // On a busy machine the first program may be killed just before it becomes root, but late.
    let is_refusal = |reason: String| reason.starts_with("cannot run again");
    let has_refused = |it: &Snapshot| reason(it).is_some_and(is_refusal);
    stuck.sandbox.wait_longer_for(Duration::from_secs(30), "a refusal", has_refused);
    let (program, guard) = stuck.the_one();
    let expected = format!("cannot run again: process {program} of its last run has not ended");
    stuck.wait_for_reason(&watcher, &expected);
    let first = format!("is stuck: process {program} does not end, not even killed");
    assert!(watcher.log().contains(&first), "{first}: {}", watcher.log());
    for n in 0..3 {
        let signal = if n % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
        watcher.signal(signal);
        watcher.wait(Duration::from_secs(2));
        let output = stuck.oneshot();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(reason(&snapshot).as_ref(), Some(&expected));
        send_signal(guard, Signal::SIGTERM);
        watcher = stuck.start_watcher();
        stuck.wait_for_reason(&watcher, &expected);
        assert_eq!(stuck.oneshot().status.code(), Some(1), "beside a watcher");
        stuck.sandbox.wait_until("other guards have ended", || {
            stuck.sandbox.processes().iter().filter(|it| it.contains("__guard")).count() == 1
        });
        assert_eq!(stuck.the_one(), (program, guard));
    }

    fs_err::write(stuck.sandbox.path("mended"), "").unwrap();
    send_signal(program, Signal::SIGKILL);
    stuck.sandbox.wait_longer_for(Duration::from_secs(30), "it works again", |snapshot| {
        reason(snapshot).is_none() && snapshot.commands["load"].output == "fine"
    });
    drop(watcher);
    stuck.sandbox.wait_until("nothing is left", || stuck.sandbox.processes().is_empty());
}
