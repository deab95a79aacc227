//! PURE. Tools: when programs that the user configured run, and what they said.
//!
//! **Invariant:** where another tool says what the active block is, ours is never shown in its
//! place; its last word stays, with its age.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Settings, State};
use crate::fetch::job::Source;
use crate::fetch::tool;
use crate::plan::Urgency;
use crate::store::schema;
use crate::time::Now;

/// What another tool says of a root's active block.
#[derive(Debug, Default)]
pub(super) struct BlockTool {
    block: Option<schema::Block>,
    /// Whether something was used that it may not have counted.
    is_behind: bool,
    /// Whether a call of the tool that is configured now runs.
    pub(super) is_asked: bool,
}

impl BlockTool {
    /// Its last word, until that block ends.
    pub(super) fn block(&self, now: Now) -> Option<schema::Block> {
        self.block.clone().filter(|it| now.wall_ms < it.end_ms)
    }

    /// Takes over what it said to an earlier process.
    pub(super) fn recall(&mut self, block: Option<schema::Block>) {
        (self.block, self.is_behind) = (block, true);
    }

    /// Nothing was used since it was asked, so what it said is still so.
    pub(super) fn confirm(&mut self, now: Now) {
        if let Some(it) = self.block.as_mut().filter(|_| !self.is_behind) {
            it.as_of_ms = now.wall_ms;
        }
    }
}

/// One of the user's commands.
#[derive(Debug, Default)]
pub(super) struct Command {
    facts: schema::Command,
    /// When the command that is configured now was started last.
    pub(super) started: Option<Instant>,
}

impl State {
    /// Something was used, or taken back, that the tool has not counted.
    pub(super) fn want_block(&mut self, root: &Path, now: Now) {
        let Some(it) = self.roots.get_mut(root).and_then(|it| it.block_tool.as_mut()) else {
            return;
        };
        it.is_behind = true;
        // Once everything is read, every root is asked for.
        if self.is_scanned {
            self.tools.want(&Source::Block(root.to_owned()), Urgency::Settled, now.mono);
        }
    }

    /// Asks for the block of every root in which something was used.
    pub(super) fn want_blocks(&mut self, now: Now) {
        let roots: Vec<PathBuf> = self.roots.keys().cloned().collect();
        for root in roots {
            if self.files.values().any(|it| it.root == root) {
                self.want_block(&root, now);
            }
        }
    }

    /// A block that ended is followed by another one, or by none.
    pub(super) fn leave_ended_blocks(&mut self, now: Now) {
        let has_ended = |it: &BlockTool| it.block.is_some() && it.block(now).is_none();
        let ended: Vec<_> = self
            .roots
            .iter()
            .filter(|(_, it)| it.block_tool.as_ref().is_some_and(has_ended))
            .map(|(root, _)| root.clone())
            .collect();
        for root in ended {
            if let Some(it) = self.roots.get_mut(&root).and_then(|it| it.block_tool.as_mut()) {
                it.block = None;
            }
            self.want_block(&root, now);
        }
    }

    /// A session began to live: commands run again, and so do tools that nobody wanted to try
    /// again without one.
    pub(super) fn want_tools(&mut self, now: Now) {
        for (name, tool) in &self.settings.commands {
            let source = Source::Command(name.clone());
            match self.commands.get(name).and_then(|it| it.started) {
                Some(_) if self.watcher.is_none() || !self.tools.is_idle(&source) => {}
                Some(started) if now.mono < started + tool.every => {
                    self.tools.repeat(&source, started + tool.every);
                }
                // What runs by this name, if anything does, was configured before.
                _ => _ = self.tools.want(&source, Urgency::Now, now.mono),
            }
        }
        let is_behind = |it: &BlockTool| it.is_behind;
        for (path, root) in &self.roots {
            let source = Source::Block(path.clone());
            let failed = self.failing.contains_key(&source) && self.tools.is_idle(&source);
            if failed && root.block_tool.as_ref().is_some_and(is_behind) {
                self.tools.want(&source, Urgency::Settled, now.mono);
            }
        }
    }

    /// A session ended. Without any, nobody looks at what commands print, and what failed is not
    /// tried again.
    pub(super) fn leave_tools(&mut self) {
        if self.is_anybody_here() {
            return;
        }
        for name in self.settings.commands.keys().cloned().collect::<Vec<_>>() {
            self.forget(&Source::Command(name));
        }
        for source in self.failing.keys().filter(|it| it.is_tool()) {
            self.tools.forget(source);
        }
    }

    fn is_anybody_here(&self) -> bool {
        self.sessions.values().any(|it| it.is_of_interest())
    }

    /// Whether what runs is what is configured now.
    pub(super) fn is_expected(&self, source: &Source) -> bool {
        match source {
            Source::Block(root) => {
                let root = self.roots.get(root);
                root.and_then(|it| it.block_tool.as_ref()).is_some_and(|it| it.is_asked)
            }
            Source::Command(name) => self.commands.get(name).is_some_and(|it| it.started.is_some()),
            _ => false,
        }
    }

    /// The tool answered, or failed to. The plan knows of it already.
    pub(super) fn asked_block(
        &mut self,
        root: &Path,
        found: Result<Option<schema::Block>, tool::Failure>,
    ) {
        let source = Source::Block(root.to_owned());
        if !self.is_expected(&source) {
            return;
        }
        let is_idle = self.tools.is_idle(&source);
        let Some(it) = self.roots.get_mut(root).and_then(|it| it.block_tool.as_mut()) else {
            return;
        };
        it.is_asked = false;
        self.is_dirty = true;
        match found {
            Ok(block) => (it.block, it.is_behind) = (block, !is_idle),
            Err(_) => self.tool_failed(&source),
        }
    }

    pub(super) fn ran_command(
        &mut self,
        name: &str,
        found: Result<schema::Command, tool::Failure>,
    ) {
        let source = Source::Command(name.to_owned());
        let Some(tool) = self.settings.commands.get(name) else { return };
        let Some(it) = self.commands.get_mut(name) else { return };
        let Some(started) = it.started else { return };
        self.is_dirty = true;
        let has_failed = found.is_err();
        match found {
            Ok(facts) => it.facts = facts,
            Err(failure) => it.facts.error = Some(failure.to_string()),
        }
        let again_at = started + tool.every;
        if has_failed {
            self.tool_failed(&source);
        }
        if self.watcher.is_some() && self.is_anybody_here() {
            self.tools.repeat(&source, again_at);
        }
    }

    /// Nobody waits for its next try, and without a session there is none.
    fn tool_failed(&mut self, source: &Source) {
        self.release(source, false);
        if !self.is_anybody_here() {
            self.tools.forget(source);
        }
    }

    pub(super) fn reload_tools(&mut self, before: &Settings, now: Now) {
        if before.block_tool != self.settings.block_tool {
            for root in self.roots.keys().cloned().collect::<Vec<_>>() {
                self.forget(&Source::Block(root.clone()));
                let Some(it) = self.roots.get_mut(&root) else { continue };
                let block = it.block_tool.take().and_then(|it| it.block);
                it.block_tool = self.settings.block_tool.as_ref().map(|_| BlockTool {
                    block,
                    is_behind: true,
                    is_asked: false,
                });
            }
            if self.is_scanned {
                self.want_blocks(now);
            }
        }
        for (name, tool) in &before.commands {
            if self.settings.commands.get(name) != Some(tool) {
                self.commands.remove(name);
                self.forget(&Source::Command(name.clone()));
            }
        }
        if self.is_anybody_here() {
            self.want_tools(now);
        }
    }

    /// Those that have said something, or failed to.
    pub(super) fn report_commands(&self) -> BTreeMap<String, schema::Command> {
        let is_known = |it: &schema::Command| it.as_of_ms > 0 || it.error.is_some();
        let known = self.commands.iter().filter(|(_, it)| is_known(&it.facts));
        known.map(|(name, it)| (name.clone(), it.facts.clone())).collect()
    }

    /// When each of them said what it said.
    pub(super) fn tool_times(&mut self) -> impl Iterator<Item = &mut i64> {
        let blocks =
            self.roots.values_mut().filter_map(|it| it.block_tool.as_mut()?.block.as_mut());
        let commands = self.commands.values_mut().map(|it| &mut it.facts.as_of_ms);
        blocks.map(|it| &mut it.as_of_ms).chain(commands)
    }

    /// Takes over what they said to an earlier process.
    pub(super) fn recall_commands(&mut self, before: &BTreeMap<String, schema::Command>) {
        for (name, facts) in before {
            if self.settings.commands.contains_key(name) {
                let facts = facts.clone();
                self.commands.insert(name.clone(), Command { facts, started: None });
            }
        }
    }
}
