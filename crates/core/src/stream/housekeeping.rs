//! What whoever compacts the partition's log must know.

use super::{Aborted, Stream};
use crate::producer::Producer;

/// As of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// All is stored and decided below.
    pub below: u64,
    /// What was aborted, and has records below.
    pub aborted: Vec<Aborted>,
    /// What each producer wrote last.
    pub last_written: Vec<LastWritten>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWritten {
    pub producer: Producer,
    /// The last offset of its last batch of this epoch; `None` if only a marker is known.
    pub last_offset: Option<u64>,
}

impl Stream {
    pub fn decided(&self) -> Decided {
        let below = self.last_stable_offset();
        let last_written = self.producers.iter().map(|(id, state)| LastWritten {
            producer: Producer { id, epoch: state.epoch },
            last_offset: state.recent.back().map(|batch| batch.last_offset),
        });
        Decided { below, aborted: self.aborted_between(0, below), last_written: last_written.collect() }
    }

    /// Forgets the transactions that were aborted and ended below the offset: nothing is left of them.
    pub fn forget_aborted(&mut self, below: u64) {
        self.transactions.trim(below);
    }
}
