//! What a check has found, and what can be done about it.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// The result of one check, on one thing. `--json` prints these fields: more may be added, and none
/// ever changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check. `docs/doctor.md` explains each.
    pub check: &'static str,
    pub level: Level,
    /// What is so.
    pub what: String,
    /// What the user can do about it.
    pub todo: Option<String>,
    /// What `--fix` does about it.
    pub fix: Option<Fix>,
    /// What `--fix` has done about it.
    pub fixed: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be.
    Good,
    /// It works, and the user may want to know.
    Note,
    /// Something does not work, or will not after the next login.
    Problem,
}

/// What `--fix` can do. Each is safe: it takes nothing from the user, and is not needed twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Start the watcher: the systemd unit if it is enabled, else in the background.
    StartWatcher,
    /// Remove temporary files of processes that were killed.
    RemoveTemporaries,
    /// Remove a link of ours that leads nowhere.
    RemoveLink(PathBuf),
}

impl Finding {
    pub(super) fn good(check: &'static str, what: impl Into<String>) -> Finding {
        let (level, what) = (Level::Good, what.into());
        Finding { check, level, what, todo: None, fix: None, fixed: None }
    }

    pub(super) fn note(
        check: &'static str,
        what: impl Into<String>,
        todo: impl Into<String>,
    ) -> Finding {
        let finding = Finding::good(check, what);
        Finding { level: Level::Note, todo: Some(todo.into()), ..finding }
    }

    pub(super) fn problem(
        check: &'static str,
        what: impl Into<String>,
        todo: impl Into<String>,
    ) -> Finding {
        Finding { level: Level::Problem, ..Finding::note(check, what, todo) }
    }

    /// Adds what `--fix` does about it.
    pub(super) fn fix(self, fix: Fix) -> Finding {
        Finding { fix: Some(fix), ..self }
    }

    /// Whether something is wrong that `--fix` has not put right.
    pub fn is_open_problem(&self) -> bool {
        self.level == Level::Problem && self.fixed.is_none()
    }
}

impl Fix {
    /// What it does, as an order.
    fn describe(&self) -> String {
        match self {
            Fix::StartWatcher => "start the watcher".to_owned(),
            Fix::RemoveTemporaries => "remove the temporary files".to_owned(),
            Fix::RemoveLink(path) => format!("remove {}", path.display()),
        }
    }
}

impl Serialize for Fix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.describe())
    }
}
