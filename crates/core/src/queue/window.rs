//! The part of a queue that is in memory: chunks of messages with consecutive offsets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::message::Block;

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
    /// Whether every live message of it was handed to the log.
    written: bool,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.base + self.picks.len() as u64
    }

    fn holds(&self, offset: u64) -> bool {
        (self.base..self.end()).contains(&offset)
    }

    fn message(&self, offset: u64) -> (&Arc<Block>, u32) {
        (&self.block, self.picks.index((offset - self.base) as usize))
    }
}

/// Chunks that do not overlap. Chunks go with their last live message.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// By the offset of their first message.
    chunks: BTreeMap<u64, Chunk>,
    /// The chunk that was focused last, kept aside: mostly the head of the line is in it.
    focused: Option<Chunk>,
    /// Everything below was offered to the log.
    offered_upto: u64,
    cost_bytes: usize,
}

impl Window {
    /// Adds messages that just came, with the offsets from `base` on.
    pub(super) fn append(&mut self, base: u64, block: Arc<Block>, picks: Picks) {
        self.insert(base, block, picks, false);
    }

    /// Adds messages that the log gave back.
    pub(super) fn put_back(&mut self, base: u64, block: Arc<Block>, picks: Picks) {
        self.insert(base, block, picks, true);
    }

    fn insert(&mut self, base: u64, block: Arc<Block>, picks: Picks, written: bool) {
        if picks.is_empty() {
            return;
        }
        self.cost_bytes += block.cost_bytes();
        let live = picks.len() as u32;
        let chunk = Chunk { base, block, picks, live, written };
        self.chunks.insert(base, chunk);
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
                self.cost_bytes -= chunk.block.cost_bytes();
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
                self.cost_bytes -= chunk.block.cost_bytes();
            }
            if from >= offsets.end {
                return;
            }
        }
    }

    /// Messages below `offset` are the log's already.
    pub(super) fn start_at(&mut self, offset: u64) {
        self.offered_upto = offset;
    }

    /// Visits what came since the last visit and lies below `upto`, as (offset, block, index). The
    /// visitor says whether the log can do without the message in memory.
    pub(super) fn visit_unwritten(
        &mut self,
        upto: u64,
        mut visit: impl FnMut(u64, &Arc<Block>, u32) -> bool,
    ) {
        // The focused chunk may stand before others: they are visited in order.
        if let Some(chunk) = self.focused.take() {
            self.chunks.insert(chunk.base, chunk);
        }
        for (_, chunk) in self.chunks.range_mut(self.offered_upto..upto) {
            let mut written = true;
            for offset in chunk.base..chunk.end() {
                let (block, index) = chunk.message(offset);
                written &= visit(offset, block, index);
            }
            chunk.written = written;
        }
        self.offered_upto = upto;
    }

    /// Drops chunks that the log can give back, but for the one that holds `keep`.
    pub(super) fn evict_all_but(&mut self, keep: u64, stored_upto: u64) {
        let cost_bytes = &mut self.cost_bytes;
        let mut stays = |chunk: &Chunk| {
            let stays = !chunk.written || chunk.end() > stored_upto || chunk.holds(keep);
            *cost_bytes -= if stays { 0 } else { chunk.block.cost_bytes() };
            stays
        };
        self.chunks.retain(|_, chunk| stays(chunk));
        self.focused.take_if(|chunk| !stays(chunk));
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
