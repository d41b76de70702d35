//! Length limits: who goes when there are too many.

use std::sync::Arc;

use super::{Effect, Effects, Overflow, Picks, Published, Queue, Reason};
use crate::message::Block;

impl Queue {
    pub(super) fn refuses_newcomers(&self) -> bool {
        let limited = self.rules.length_max.is_some() || self.rules.length_bytes_max.is_some();
        limited && self.rules.overflow != Overflow::DropHead
    }

    /// Takes in as many as fit, serves them, and looks again: who was served made room.
    pub(super) fn publish_within_limits(
        &mut self,
        block: &Arc<Block>,
        picks: &Picks,
        now_ms: i64,
        out: &mut Effects,
        placed: &mut Vec<Published>,
    ) {
        let mut at = 0;
        while at < picks.len() {
            let fitting = self.fitting(block, picks, at);
            if fitting == 0 {
                placed.push(Published::Refused);
                self.refuse(block, picks.index(at), out);
                at += 1;
                continue;
            }
            let base = self.take_in(block, picks.slice(at..at + fitting));
            placed.extend((base..self.next).map(Published::At));
            self.serve_newcomers(base, now_ms, out);
            at += fitting;
        }
    }

    pub(super) fn refuse(&self, block: &Arc<Block>, index: u32, out: &mut Effects) {
        if self.rules.dead_letters_refused() {
            let block = block.clone();
            out.push(Effect::DeadLetterRefused { block, index });
        }
    }

    /// How many from there on find the queue not full. The last may take it over its limit in bytes.
    pub(super) fn fitting(&self, block: &Block, picks: &Picks, from: usize) -> usize {
        let length_max = self.rules.length_max.unwrap_or(u64::MAX);
        let bytes_max = self.rules.length_bytes_max.unwrap_or(u64::MAX);
        let places = length_max.saturating_sub(self.ready_count() + self.prepared_count);
        let mut bytes = self.ready_bytes + self.prepared_bytes;
        let fits = |at: &usize| {
            let room = bytes < bytes_max;
            bytes += block.body_bytes(picks.index(*at));
            room
        };
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        (from..picks.len()).take(places).take_while(fits).count()
    }

    pub(super) fn drop_overflow(&mut self, out: &mut Effects) {
        if self.rules.overflow != Overflow::DropHead {
            return;
        }
        while self.is_over() && !self.is_way_out_full() {
            // A head that is not in memory is on its way, as is a stray; `loaded` comes back here.
            let at_hand = self.line.first().is_some_and(|head| self.window.contains(head));
            if !at_hand || !self.strays.is_empty() {
                return;
            }
            self.drop_head(Reason::MaxLength, out);
        }
    }

    fn is_over(&self) -> bool {
        self.rules.length_max.is_some_and(|max| self.ready_count() > max)
            || self.rules.length_bytes_max.is_some_and(|max| self.ready_bytes > max)
    }
}
