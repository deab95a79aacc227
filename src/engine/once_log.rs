//! A log that says each thing once, until it changes or is over.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::sanitize;
use crate::store::schema::Degraded;

/// What was logged last of each subject. It decides what is logged, and nothing else.
#[derive(Debug, Default)]
pub(super) struct OnceLog(BTreeMap<String, String>);

/// What the subjects of degraded sources begin with.
const DEGRADED: &str = "degraded ";

impl OnceLog {
    /// Warns of a problem, unless it was the last thing that was logged of this subject.
    pub(super) fn warn(&mut self, subject: &str, problem: &str) {
        if self.is_news(subject, problem) {
            warn!("{}", sanitize::marked(&format!("{subject}: {problem}")));
        }
    }

    /// Logs a message, unless it was the last thing that was logged of this subject.
    pub(super) fn info(&mut self, subject: &str, message: &str) {
        if self.is_news(subject, message) {
            info!("{}", sanitize::marked(message));
        }
    }

    /// A problem is over. Returns whether it was logged.
    pub(super) fn resolved(&mut self, subject: &str) -> bool {
        self.0.remove(subject).is_some()
    }

    /// Warns of sources that are degraded, and logs which no longer are.
    pub(super) fn degraded(&mut self, degraded: &[Degraded]) {
        for entry in degraded {
            self.warn(&format!("{DEGRADED}{}", entry.source), &entry.reason);
        }
        self.0.retain(|subject, _| {
            let Some(source) = subject.strip_prefix(DEGRADED) else { return true };
            let is_still = degraded.iter().any(|it| it.source == source);
            if !is_still {
                info!("{}", sanitize::marked(&format!("no longer {subject}")));
            }
            is_still
        });
    }

    fn is_news(&mut self, subject: &str, message: &str) -> bool {
        if self.0.get(subject).is_some_and(|before| before == message) {
            return false;
        }
        self.0.insert(subject.to_owned(), message.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once_until_it_changes_or_is_over() {
        let mut log = OnceLog::default();
        assert!(log.is_news("store", "disk full"));
        assert!(!log.is_news("store", "disk full"));
        assert!(log.is_news("store", "read-only"));
        assert!(log.resolved("store") && !log.resolved("store"));
        assert!(log.is_news("store", "read-only"));
    }

    #[test]
    fn a_source_that_is_degraded_again_is_said_again() {
        let mut log = OnceLog::default();
        let degraded = [Degraded { source: "git:/w".to_owned(), ..Degraded::default() }];
        log.degraded(&degraded);
        assert!(!log.is_news("degraded git:/w", ""));
        log.degraded(&[]);
        assert!(log.is_news("degraded git:/w", ""));
    }
}
