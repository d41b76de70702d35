//! Queues that hold each message until it is due: the one kind where order of arrival means nothing.

use super::{Effects, Picks, Queue, Reason};
use crate::message::Block;

impl Queue {
    pub(super) fn schedule(&mut self, base: u64, block: &Block, picks: &Picks) {
        let due = |(offset, at)| (block.traits(picks.index(at)).due_ms(), offset);
        self.schedule.extend((base..).zip(0..picks.len()).map(due));
    }

    pub(super) fn next_due(&self) -> Option<i64> {
        self.schedule.first().map(|(due_ms, _)| *due_ms)
    }

    /// Those that are due leave, the earliest first. One that is not in memory is loaded on its way.
    pub(super) fn let_go_of_due(&mut self, now_ms: i64, out: &mut Effects) {
        while self.next_due().is_some_and(|due_ms| due_ms <= now_ms) && !self.is_way_out_full() {
            let (_, offset) = self.schedule.pop_first().expect("seen above");
            if let Some((block, index)) = self.window.get(offset) {
                self.ready_bytes = self.ready_bytes.saturating_sub(block.body_bytes(index));
            }
            self.leave(offset, Reason::Due, out);
        }
    }
}
