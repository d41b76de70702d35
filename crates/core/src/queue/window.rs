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
        let consecutive = indices
            .iter()
            .enumerate()
            .all(|(n, &index)| index == first + n as u32);
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
}

#[derive(Debug)]
struct Chunk {
    block: Arc<Block>,
    picks: Picks,
    /// Messages of the chunk that are not settled.
    live: u32,
    /// Whether every live message of it was handed to the log.
    written: bool,
}

/// Chunks by the offset of their first message.
#[derive(Debug, Default)]
pub(super) struct Window {
    chunks: BTreeMap<u64, Chunk>,
}

impl Window {
    pub(super) fn insert(&mut self, base: u64, block: Arc<Block>, picks: Picks, written: bool) {
        let live = picks.len() as u32;
        self.chunks.insert(
            base,
            Chunk {
                block,
                picks,
                live,
                written,
            },
        );
    }

    pub(super) fn get(&self, offset: u64) -> Option<(&Arc<Block>, u32)> {
        let (base, chunk) = self.chunks.range(..=offset).next_back()?;
        let at = (offset - base) as usize;
        (at < chunk.picks.len()).then(|| (&chunk.block, chunk.picks.index(at)))
    }

    /// One message of the chunk is settled; the chunk goes with its last.
    pub(super) fn release(&mut self, offset: u64) {
        let Some((&base, chunk)) = self.chunks.range_mut(..=offset).next_back() else {
            return;
        };
        if (offset - base) as usize >= chunk.picks.len() {
            return;
        }
        chunk.live -= 1;
        if chunk.live == 0 {
            self.chunks.remove(&base);
        }
    }

    /// Visits what lies in memory from `from` on, as (offset, block, index, written before).
    pub(super) fn visit_unwritten(
        &mut self,
        from: u64,
        mut visit: impl FnMut(u64, &Arc<Block>, u32) -> bool,
    ) {
        for (&base, chunk) in self.chunks.range_mut(from..) {
            let mut written = true;
            for at in 0..chunk.picks.len() {
                written &= visit(base + at as u64, &chunk.block, chunk.picks.index(at));
            }
            chunk.written = written;
        }
    }

    /// Drops chunks that the log can give back, but for the one that holds `keep`.
    pub(super) fn evict_all_but(&mut self, keep: u64, stored_upto: u64) {
        self.chunks.retain(|&base, chunk| {
            let end = base + chunk.picks.len() as u64;
            !chunk.written || end > stored_upto || (base..end).contains(&keep)
        });
    }

    pub(super) fn cost_bytes(&self) -> usize {
        self.chunks.values().map(|chunk| chunk.block.cost_bytes()).sum()
    }
}
