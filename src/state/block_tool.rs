//! PURE. The last answer of the configured program that computes an account's active block of five
//! hours.
//!
//! **Invariant:** where such a program is configured, the block that this process computes is never
//! shown in its place. The program's last answer stays, with its age, when a later call fails.

use crate::store::schema;
use crate::time::Now;

/// The tool's last answer for one account, and whether another call is needed.
#[derive(Debug, Default)]
pub(super) struct BlockTool {
    /// `None` before the first answer, and where the tool answered that no block is active.
    block: Option<schema::Block>,
    /// Whether entries were counted, or taken back, that the answer may not include.
    is_behind: bool,
    /// Whether a call of the current tool is running. A call of a tool that was replaced does not
    /// count.
    is_running: bool,
}

impl BlockTool {
    /// Another tool was configured. The answer of the tool before stays until the new one answers.
    pub(super) fn replaced(before: Option<BlockTool>) -> BlockTool {
        let block = before.and_then(|before| before.block);
        BlockTool { block, is_behind: true, is_running: false }
    }

    /// Restores the tool's answer to an earlier process.
    pub(super) fn recall(&mut self, block: Option<schema::Block>) {
        (self.block, self.is_behind) = (block, true);
    }

    /// The last answer; `None` once its block has ended.
    pub(super) fn block(&self, now: Now) -> Option<schema::Block> {
        self.block.clone().filter(|block| now.wall_ms < block.end_ms)
    }

    /// Whether entries were counted, or taken back, that the answer may not include.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Entries were counted, or taken back, that the answer may not include.
    pub(super) fn mark_behind(&mut self) {
        self.is_behind = true;
    }

    pub(super) fn started(&mut self) {
        self.is_running = true;
    }

    /// Whether a call of the current tool is running, so that its answer counts.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// A call ended. `answer` is `None` if it failed, and `Some(None)` if no block is active.
    /// `is_behind` says whether entries were counted since the call began.
    pub(super) fn answered(&mut self, answer: Option<Option<schema::Block>>, is_behind: bool) {
        self.is_running = false;
        if let Some(block) = answer {
            (self.block, self.is_behind) = (block, is_behind);
        }
    }

    /// Drops the answer if its block has ended. Returns whether it did, so that the tool must be
    /// called again.
    pub(super) fn drop_ended(&mut self, now: Now) -> bool {
        self.block.take_if(|block| now.wall_ms >= block.end_ms).is_some()
    }

    /// Everything is counted as of now. Unless entries came after the answer, it is true as of now.
    pub(super) fn confirm(&mut self, now: Now) {
        if let Some(block) = self.block.as_mut().filter(|_| !self.is_behind) {
            block.as_of_ms = now.wall_ms;
        }
    }

    /// When the answer was true, so that this time can be moved if the clock is set back.
    pub(super) fn time(&mut self) -> Option<&mut i64> {
        self.block.as_mut().map(|block| &mut block.as_of_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_confirmed_while_nothing_is_used_and_ends_with_its_block() {
        let now = Now::read();
        let later = Now { wall_ms: now.wall_ms + 1000, ..now };
        let block = schema::Block { end_ms: now.wall_ms + 2000, ..schema::Block::default() };
        let mut tool = BlockTool::default();
        tool.started();
        tool.answered(Some(Some(block)), false);
        assert!(!tool.is_running());
        tool.confirm(now);
        tool.mark_behind();
        tool.confirm(later);
        assert_eq!(tool.block(later).unwrap().as_of_ms, now.wall_ms, "entries were counted since");
        tool.answered(None, true);
        assert!(tool.block(later).is_some(), "a call that failed keeps the last answer");
        let ended = Now { wall_ms: now.wall_ms + 2000, ..now };
        assert_eq!(tool.block(ended), None);
        assert!(!tool.drop_ended(later) && tool.drop_ended(ended) && !tool.drop_ended(ended));
    }
}
