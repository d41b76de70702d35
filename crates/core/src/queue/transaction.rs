//! Messages of transactions: first they get their places, then, once the transaction is committed,
//! everybody sees them.

use std::sync::Arc;

use super::{Effects, Kept, Picks, Published, Queue};
use crate::message::Block;

/// What a transaction brought to the queue before its commit.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    kept: Vec<Kept>,
    /// Those that found the queue full.
    refused: Vec<(Arc<Block>, u32)>,
}

impl Queue {
    /// Takes messages in for a transaction, in order, and says where each went. They are written with the
    /// rest, and nobody gets them before [`commit`](Queue::commit).
    pub fn prepare(
        &mut self,
        transaction: u64,
        block: &Arc<Block>,
        picks: &Picks,
        placed: &mut Vec<Published>,
    ) {
        let fitting = match self.refuses_newcomers() {
            true => self.fitting(block, picks, 0),
            false => picks.len(),
        };
        let (taken, refused) = (picks.slice(0..fitting), picks.slice(fitting..picks.len()));
        let base = self.next;
        let mut prepared = Prepared::default();
        for at in 0..taken.len() {
            prepared.add(base + at as u64, block, taken.index(at), self.rules.holds_until_due);
            placed.push(Published::At(base + at as u64));
        }
        for at in 0..refused.len() {
            prepared.refused.push((block.clone(), refused.index(at)));
            placed.push(Published::Refused);
        }
        self.prepared_count += taken.len() as u64;
        self.prepared_bytes += prepared.bytes();
        self.next += taken.len() as u64;
        self.window.append(base, block.clone(), taken);
        self.prepared.insert(transaction, prepared);
    }

    /// What the transaction brought is there for everybody.
    pub fn commit(&mut self, transaction: u64, now_ms: i64, out: &mut Effects) {
        let Some(prepared) = self.prepared.remove(&transaction) else {
            return;
        };
        self.prepared_count -= prepared.kept.iter().map(Kept::len).sum::<u64>();
        self.prepared_bytes -= prepared.bytes();
        for (block, index) in prepared.refused {
            self.refuse(&block, index, out);
        }
        let Some(first) = prepared.kept.first().map(|kept| kept.offsets.start) else {
            return;
        };
        prepared.kept.into_iter().for_each(|kept| self.admit(kept));
        self.serve_newcomers(first, now_ms, out);
    }
}

impl Prepared {
    fn add(&mut self, offset: u64, block: &Block, index: u32, holds_until_due: bool) {
        let traits = block.traits(index);
        let due_ms = if holds_until_due { traits.due_ms() } else { 0 };
        let body_bytes = block.body_bytes(index);
        let kept = Kept { offsets: offset..offset + 1, priority: traits.priority, body_bytes, due_ms };
        Kept::push(&mut self.kept, kept);
    }

    #[cfg(test)]
    pub(super) fn contains(&self, offset: u64) -> bool {
        self.kept.iter().any(|kept| kept.offsets.contains(&offset))
    }

    fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.body_bytes).sum()
    }
}
