//! Length limits: who goes when there are too many.

use std::sync::Arc;

use super::{Effect, Effects, Overflow, Picks, Published, Queue, Reason};
use crate::message::Block;

impl Queue {
    pub(super) fn refuses_newcomers(&self) -> bool {
        let limited = self.rules.length_max.is_some() || self.rules.length_bytes_max.is_some();
        limited && self.rules.overflow != Overflow::DropHead
    }

    /// One message at a time, so that each finds the queue as the one before left it.
    pub(super) fn publish_within_limits(
        &mut self,
        block: &Arc<Block>,
        picks: &Picks,
        now_ms: i64,
        out: &mut Effects,
        placed: &mut Vec<Published>,
    ) {
        for at in 0..picks.len() {
            let index = picks.index(at);
            if self.is_full() {
                placed.push(Published::Refused);
                if self.rules.overflow == Overflow::RejectPublishDeadLetter && self.rules.dead_letters {
                    out.push(Effect::DeadLetterRefused {
                        block: block.clone(),
                        index,
                    });
                }
                continue;
            }
            let base = self.take_in(block, Picks::Run(index..index + 1));
            placed.push(Published::At(base));
            self.dispatch_newcomers(base, now_ms, out);
        }
    }

    fn is_full(&self) -> bool {
        self.rules.length_max.is_some_and(|max| self.ready_count() >= max)
            || self
                .rules
                .length_bytes_max
                .is_some_and(|max| self.ready_bytes >= max)
    }

    pub(super) fn drop_overflow(&mut self, out: &mut Effects) {
        if self.rules.overflow != Overflow::DropHead {
            return;
        }
        while self.is_over() {
            // A head that is not in memory is on its way; `loaded` comes back here.
            if self
                .ready_head()
                .is_none_or(|head| self.window.get(head).is_none())
            {
                return;
            }
            self.drop_head(Reason::MaxLength, out);
            self.want_head(out);
        }
    }

    fn is_over(&self) -> bool {
        self.rules.length_max.is_some_and(|max| self.ready_count() > max)
            || self
                .rules
                .length_bytes_max
                .is_some_and(|max| self.ready_bytes > max)
    }
}
