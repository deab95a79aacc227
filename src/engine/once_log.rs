//! A log without repetitions: a message about a subject is logged again only after another one, or
//! after the problem was resolved.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::sanitize;
use crate::store::schema::Degraded;

/// The last message about each subject. It is used for the log only.
#[derive(Debug, Default)]
pub(super) struct OnceLog(BTreeMap<String, String>);

/// The prefix of the subjects of degraded sources.
const DEGRADED: &str = "degraded ";

impl OnceLog {
    /// Warns of a problem, unless this was the last message about the subject.
    pub(super) fn warn(&mut self, subject: &str, problem: &str) {
        if self.is_news(subject, problem) {
            warn!("{}", sanitize::marked(&format!("{subject}: {problem}")));
        }
    }

    /// Logs a message, unless it was the last one about the subject.
    pub(super) fn info(&mut self, subject: &str, message: &str) {
        if self.is_news(subject, message) {
            info!("{}", sanitize::marked(message));
        }
    }

    /// A problem is resolved. Returns whether it had been logged.
    pub(super) fn resolved(&mut self, subject: &str) -> bool {
        self.0.remove(subject).is_some()
    }

    /// Warns of sources that are degraded, and logs which ones no longer are.
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
    fn a_message_is_logged_once_until_it_changes_or_the_problem_is_resolved() {
        let mut log = OnceLog::default();
        assert!(log.is_news("store", "disk full"));
        assert!(!log.is_news("store", "disk full"));
        assert!(log.is_news("store", "read-only"));
        assert!(log.resolved("store") && !log.resolved("store"));
        assert!(log.is_news("store", "read-only"));
    }

    #[test]
    fn a_source_that_is_degraded_again_is_logged_again() {
        let mut log = OnceLog::default();
        let degraded = [Degraded { source: "git:/w".to_owned(), ..Degraded::default() }];
        log.degraded(&degraded);
        assert!(!log.is_news("degraded git:/w", ""));
        log.degraded(&[]);
        assert!(log.is_news("degraded git:/w", ""));
    }
}
