//! PURE. What another tool says of an account's active block.
//!
//! **Invariant:** where another tool computes the active block, ours is never shown in its place;
//! the tool's last answer stays, with its age.

use crate::store::schema;
use crate::time::Now;

/// The tool's last answer for one account.
#[derive(Debug, Default)]
pub(super) struct BlockTool {
    block: Option<schema::Block>,
    /// Whether something was used that it may not have counted.
    is_behind: bool,
    /// Whether a call of the tool that is configured now runs.
    is_running: bool,
}

impl BlockTool {
    /// A tool was configured in place of the one before, whose last answer stays until the new one
    /// answers.
    pub(super) fn replaced(before: Option<BlockTool>) -> BlockTool {
        let block = before.and_then(|before| before.block);
        BlockTool { block, is_behind: true, is_running: false }
    }

    /// Takes over what the tool answered to an earlier process.
    pub(super) fn recall(&mut self, block: Option<schema::Block>) {
        (self.block, self.is_behind) = (block, true);
    }

    /// The last answer, until that block ends.
    pub(super) fn block(&self, now: Now) -> Option<schema::Block> {
        self.block.clone().filter(|block| now.wall_ms < block.end_ms)
    }

    /// Whether something was used that the tool may not have counted.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Something was used, or taken back, that the tool has not counted.
    pub(super) fn mark_behind(&mut self) {
        self.is_behind = true;
    }

    /// A call of it starts.
    pub(super) fn started(&mut self) {
        self.is_running = true;
    }

    /// Whether a call of the tool that is configured now runs; its answer is of interest.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// A call ended; `None` where it failed. `is_behind` says whether something was used since it
    /// began.
    pub(super) fn answered(&mut self, answer: Option<Option<schema::Block>>, is_behind: bool) {
        self.is_running = false;
        if let Some(block) = answer {
            (self.block, self.is_behind) = (block, is_behind);
        }
    }

    /// Drops the answer if that block has ended; another one follows it, or none. Returns whether
    /// it did.
    pub(super) fn drop_ended(&mut self, now: Now) -> bool {
        self.block.take_if(|block| now.wall_ms >= block.end_ms).is_some()
    }

    /// Nothing was used since the tool was asked, so its answer is still true.
    pub(super) fn confirm(&mut self, now: Now) {
        if let Some(block) = self.block.as_mut().filter(|_| !self.is_behind) {
            block.as_of_ms = now.wall_ms;
        }
    }

    /// When its answer was true.
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
        assert_eq!(tool.block(later).unwrap().as_of_ms, now.wall_ms, "something was used since");
        tool.answered(None, true);
        assert!(tool.block(later).is_some(), "a call that failed takes nothing back");
        let ended = Now { wall_ms: now.wall_ms + 2000, ..now };
        assert_eq!(tool.block(ended), None);
        assert!(!tool.drop_ended(later) && tool.drop_ended(ended) && !tool.drop_ended(ended));
    }
}
