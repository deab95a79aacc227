//! PURE. The commands from the configuration whose output the line shows: when each was last
//! started, and what it last printed.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::fetch::tool;
use crate::store::schema;
use crate::time::Now;

/// The commands, by their names in the configuration.
#[derive(Debug, Default)]
pub(super) struct Commands(BTreeMap<String, Command>);

#[derive(Debug, Default)]
struct Command {
    facts: schema::CommandOutput,
    /// When the command was last started; `None` if it was not since it was configured.
    started: Option<Instant>,
}

impl Commands {
    /// Restores what a command printed, from the snapshot of an earlier process.
    pub(super) fn recall(&mut self, name: &str, facts: &schema::CommandOutput) {
        self.0.insert(name.to_owned(), Command { facts: facts.clone(), started: None });
    }

    /// When the command was last started; `None` if it was not since it was configured.
    pub(super) fn started_at(&self, name: &str) -> Option<Instant> {
        self.0.get(name)?.started
    }

    pub(super) fn started(&mut self, name: &str, now: Now) {
        self.0.entry(name.to_owned()).or_default().started = Some(now.mono);
    }

    /// A command ended. If it failed, what it printed before stays, with the error.
    pub(super) fn ended(
        &mut self,
        name: &str,
        found: Result<schema::CommandOutput, tool::ToolError>,
    ) {
        let Some(command) = self.0.get_mut(name) else { return };
        match found {
            Ok(facts) => command.facts = facts,
            Err(failure) => command.facts.error = Some(failure.to_string()),
        }
    }

    /// The names of all that was started, or recalled.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The command was removed from the configuration, or replaced.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The commands for the snapshot: those that have ended at least once.
    pub(super) fn report(&self) -> BTreeMap<String, schema::CommandOutput> {
        let is_known = |facts: &schema::CommandOutput| facts.as_of_ms > 0 || facts.error.is_some();
        let known = self.0.iter().filter(|(_, command)| is_known(&command.facts));
        known.map(|(name, command)| (name.clone(), command.facts.clone())).collect()
    }

    /// When each output was printed, so that these times can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        self.0.values_mut().map(|command| &mut command.facts.as_of_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_reported_once_it_printed_or_failed_and_keeps_what_it_printed() {
        let mut commands = Commands::default();
        commands.started("load", Now::read());
        assert!(commands.report().is_empty() && commands.started_at("load").is_some());
        let printed = schema::CommandOutput {
            as_of_ms: 1,
            output: "0.4".to_owned(),
            ..schema::CommandOutput::default()
        };
        commands.ended("load", Ok(printed));
        commands.ended("load", Err(tool::ToolError::Unreadable));
        commands.ended("unknown", Err(tool::ToolError::Unreadable));
        let report = commands.report();
        assert_eq!(report.len(), 1);
        assert_eq!((&*report["load"].output, report["load"].as_of_ms), ("0.4", 1));
        assert!(report["load"].error.is_some());
        commands.forget("load");
        assert!(commands.report().is_empty());
    }
}
