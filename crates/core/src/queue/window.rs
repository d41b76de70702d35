//! The part of a queue that is in memory: chunks of messages with consecutive offsets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::message::Block;
use crate::range_set::RangeSet;

/// Which messages of a block, in order.
#[derive(Debug, Clone)]
pub enum Picks {
    /// Every message from the first to the last.
    Run(Range<u32>),
    List(Box<[u32]>),
}

impl Picks {
    pub fn from_indices(indices: &[u32]) -> Picks {
        let first = indices.first().copied().unwrap_or(0);
        let consecutive = indices.iter().enumerate().all(|(n, &index)| index == first + n as u32);
        if consecutive {
            Picks::Run(first..first + indices.len() as u32)
        } else {
            Picks::List(indices.into())
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Picks::Run(run) => run.len(),
            Picks::List(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn index(&self, at: usize) -> u32 {
        match self {
            Picks::Run(run) => run.start + at as u32,
            Picks::List(list) => list[at],
        }
    }

    /// Those from one position to another.
    pub fn slice(&self, positions: Range<usize>) -> Picks {
        match self {
            Picks::Run(run) => {
                Picks::Run(run.start + positions.start as u32..run.start + positions.end as u32)
            }
            Picks::List(list) => Picks::from_indices(&list[positions]),
        }
    }
}

#[derive(Debug)]
struct Chunk {
    base: u64,
    block: Arc<Block>,
    picks: Picks,
    /// Messages of the chunk that are not settled.
    live: u32,
    /// Its share of what the block costs.
    cost_bytes: usize,
    /// The log has every live message of it once all below this offset is stored. `None` if it never will,
    /// as some were not handed to it.
    logged_upto: Option<u64>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.base + self.picks.len() as u64
    }

    fn holds(&self, offset: u64) -> bool {
        (self.base..self.end()).contains(&offset)
    }

    fn is_stored(&self, stored_upto: u64) -> bool {
        self.logged_upto.is_some_and(|logged_upto| logged_upto <= stored_upto)
    }

    fn message(&self, offset: u64) -> (&Arc<Block>, u32) {
        (&self.block, self.picks.index((offset - self.base) as usize))
    }
}

/// What a message costs in the log beside its body, about.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// A block of which less than one in so many messages is used is not worth keeping.
const SPARSE: usize = 4;

/// Chunks that do not overlap. Chunks go with their last live message.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// By the offset of their first message.
    chunks: BTreeMap<u64, Chunk>,
    /// The chunk that was focused last, kept aside: mostly the head of the line is in it.
    focused: Option<Chunk>,
    /// Everything below was offered to the log.
    offered_upto: u64,
    /// The log has nothing from here on, so that it can still take what is.
    log_end: u64,
    cost_bytes: usize,
    /// The part of the cost that the log can not give back.
    unlogged_bytes: usize,
}

/// What became of a message that was offered to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    Declined,
    /// It is settled, and nobody needs it any more.
    Settled,
}

impl Window {
    /// Adds messages that just came, with the offsets from `base` on.
    pub(super) fn append(&mut self, base: u64, block: Arc<Block>, picks: Picks) {
        self.insert(base, block, picks, None);
    }

    /// Adds messages that the log gave back.
    pub(super) fn put_back(&mut self, base: u64, block: Arc<Block>, picks: Picks) {
        self.insert(base, block, picks, Some(0));
    }

    fn insert(&mut self, base: u64, block: Arc<Block>, picks: Picks, logged_upto: Option<u64>) {
        if picks.is_empty() {
            return;
        }
        let live = picks.len() as u32;
        let cost_bytes = block.cost_bytes() * picks.len() / block.len();
        let chunk = Chunk { base, block, picks, live, cost_bytes, logged_upto };
        self.cost_bytes += cost_bytes;
        if logged_upto.is_none() {
            self.unlogged_bytes += cost_bytes;
        }
        self.chunks.insert(base, chunk);
    }

    /// The chunk is no longer in memory.
    fn forget(&mut self, chunk: &Chunk) {
        self.cost_bytes -= chunk.cost_bytes;
        if chunk.logged_upto.is_none() {
            self.unlogged_bytes -= chunk.cost_bytes;
        }
    }

    pub(super) fn contains(&self, offset: u64) -> bool {
        self.get(offset).is_some()
    }

    pub(super) fn get(&self, offset: u64) -> Option<(&Arc<Block>, u32)> {
        if let Some(chunk) = self.focused.as_ref().filter(|chunk| chunk.holds(offset)) {
            return Some(chunk.message(offset));
        }
        let (_, chunk) = self.chunks.range(..=offset).next_back()?;
        chunk.holds(offset).then(|| chunk.message(offset))
    }

    /// Like [`get`](Window::get), and makes the next look at this chunk or the one after it quick.
    pub(super) fn focus(&mut self, offset: u64) -> Option<(&Arc<Block>, u32)> {
        if self.focused.as_ref().is_none_or(|chunk| !chunk.holds(offset)) {
            let (&base, chunk) = self.chunks.range(..=offset).next_back()?;
            if !chunk.holds(offset) {
                return None;
            }
            let chunk = self.chunks.remove(&base);
            if let Some(before) = std::mem::replace(&mut self.focused, chunk) {
                self.chunks.insert(before.base, before);
            }
        }
        self.focused.as_ref().map(|chunk| chunk.message(offset))
    }

    /// These messages are settled, each for the first time; those not in memory are passed over.
    pub(super) fn release(&mut self, offsets: Range<u64>) {
        if let Some(chunk) = &mut self.focused {
            chunk.live -= overlap(&offsets, chunk);
            let (gone, end) = (chunk.live == 0, chunk.end());
            let inside = chunk.base <= offsets.start && offsets.end <= end;
            if gone && let Some(chunk) = self.focused.take() {
                self.forget(&chunk);
            }
            if inside {
                return;
            }
        }
        let from = self.chunks.range(..=offsets.start).next_back();
        let mut from = from.map_or(offsets.start, |(&base, _)| base);
        while let Some((&base, chunk)) = self.chunks.range_mut(from..offsets.end).next() {
            chunk.live -= overlap(&offsets, chunk);
            from = chunk.end();
            if chunk.live == 0
                && let Some(chunk) = self.chunks.remove(&base)
            {
                self.forget(&chunk);
            }
            if from >= offsets.end {
                return;
            }
        }
    }

    /// Messages below `offset` are the log's already.
    pub(super) fn start_at(&mut self, offset: u64) {
        self.offered_upto = offset;
        self.log_end = offset;
    }

    pub(super) fn offered_upto(&self) -> u64 {
        self.offered_upto
    }

    pub(super) fn log_end(&self) -> u64 {
        self.log_end
    }

    /// Offers all again that the log can still take: what lies behind the last message it got.
    pub(super) fn offer_again(&mut self) {
        self.offered_upto = self.offered_upto.min(self.log_end);
    }

    /// Whether any message that was not offered yet is like that.
    pub(super) fn any_unoffered(&self, like: impl Fn(&Arc<Block>, u32) -> bool) -> bool {
        let focused = self.focused.iter().filter(|chunk| chunk.base >= self.offered_upto);
        let mut chunks = self.chunks.range(self.offered_upto..).map(|(_, chunk)| chunk).chain(focused);
        chunks.any(|chunk| (0..chunk.picks.len()).any(|at| like(&chunk.block, chunk.picks.index(at))))
    }

    /// Offers what was not offered yet and lies below `upto`, as (offset, block, index), until about that
    /// many bytes were taken. True if some is left for the next time.
    pub(super) fn offer(
        &mut self,
        upto: u64,
        bytes_max: usize,
        mut visit: impl FnMut(u64, &Arc<Block>, u32) -> Offered,
    ) -> bool {
        // The focused chunk may stand before others: they are visited in order.
        if let Some(chunk) = self.focused.take() {
            self.chunks.insert(chunk.base, chunk);
        }
        let mut taken_bytes = 0;
        for (_, chunk) in self.chunks.range_mut(self.offered_upto..upto) {
            if taken_bytes >= bytes_max {
                self.offered_upto = chunk.base;
                return true;
            }
            let mut logged_upto = Some(0);
            for offset in chunk.base..chunk.end() {
                let (block, index) = chunk.message(offset);
                match visit(offset, block, index) {
                    Offered::Taken => {
                        logged_upto = logged_upto.map(|_| offset + 1);
                        self.log_end = offset + 1;
                        taken_bytes += block.body_bytes(index) as usize + MESSAGE_OVERHEAD_BYTES;
                    }
                    Offered::Declined => logged_upto = None,
                    Offered::Settled => {}
                }
            }
            let was_logged = chunk.logged_upto.is_some();
            chunk.logged_upto = logged_upto;
            match (was_logged, logged_upto.is_some()) {
                (false, true) => self.unlogged_bytes -= chunk.cost_bytes,
                (true, false) => self.unlogged_bytes += chunk.cost_bytes,
                _ => {}
            }
        }
        self.offered_upto = upto;
        false
    }

    /// Lets go of chunks that are stored until the rest costs no more than `keep_bytes`, or is not stored.
    /// First goes what stands before the head, then what comes last. The chunk of the head stays.
    pub(super) fn evict(&mut self, head: u64, stored_upto: u64, keep_bytes: usize) {
        if self.cost_bytes - self.unlogged_bytes <= keep_bytes {
            return;
        }
        if let Some(chunk) = self.focused.take_if(|chunk| !chunk.holds(head)) {
            self.chunks.insert(chunk.base, chunk);
        }
        let mut excess = self.cost_bytes - self.unlogged_bytes - keep_bytes;
        let mut gone = Vec::new();
        let before = self.chunks.range(..head);
        let behind = self.chunks.range(head..).rev();
        for (&base, chunk) in before.chain(behind) {
            if excess == 0 {
                break;
            }
            if chunk.is_stored(stored_upto) && !chunk.holds(head) {
                excess = excess.saturating_sub(chunk.cost_bytes);
                gone.push(base);
            }
        }
        for base in gone {
            let chunk = self.chunks.remove(&base).expect("it was there just now");
            self.forget(&chunk);
        }
    }

    /// Where the chunk of the head is a small part of its block, or its front is done with, the rest moves
    /// to a block of its own: one message in each of many queues must not keep many blocks.
    pub(super) fn compact_head(&mut self, head: u64, stored_upto: u64, settled: &RangeSet) {
        if self.focused.as_ref().is_some_and(|chunk| chunk.holds(head))
            && let Some(chunk) = self.focused.take()
        {
            self.chunks.insert(chunk.base, chunk);
        }
        let Some((&base, chunk)) = self.chunks.range(..=head).next_back() else {
            return;
        };
        let front = (head.saturating_sub(base)) as usize;
        let front = if chunk.is_stored(stored_upto) { front } else { 0 };
        let count = chunk.picks.len().saturating_sub(front);
        if !chunk.holds(head) || count * SPARSE >= chunk.block.len() {
            return;
        }
        let chunk = self.chunks.remove(&base).expect("it was there just now");
        self.forget(&chunk);
        let picks = (front..chunk.picks.len()).map(|at| chunk.picks.index(at));
        let block = chunk.block.gather(picks);
        // What is unsettled in the front is the log's alone now.
        let base = base + front as u64;
        self.insert(base, block, Picks::Run(0..count as u32), chunk.logged_upto);
        let moved = self.chunks.get_mut(&base).expect("it was just put there");
        moved.live = (base..moved.end()).filter(|&offset| !settled.contains(offset)).count() as u32;
    }

    /// Bytes of blocks with messages that the log can not give back.
    pub(super) fn unlogged_bytes(&self) -> usize {
        self.unlogged_bytes
    }

    pub(super) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// For each chunk, its offsets and how many of them are not settled.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> Vec<(Range<u64>, u32)> {
        let chunks = self.chunks.values().chain(&self.focused);
        let mut chunks: Vec<_> = chunks.map(|chunk| (chunk.base..chunk.end(), chunk.live)).collect();
        chunks.sort_by_key(|(offsets, _)| offsets.start);
        chunks
    }
}

fn overlap(offsets: &Range<u64>, chunk: &Chunk) -> u32 {
    let end = offsets.end.min(chunk.end());
    end.saturating_sub(offsets.start.max(chunk.base)) as u32
}
