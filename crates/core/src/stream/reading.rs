//! What readers may see.

use super::{Aborted, Stream};

/// Which transactional records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All that is stored.
    Uncommitted,
    /// What is decided: nothing from the first open transaction on. The reader leaves aborted ones out by itself.
    Committed,
}

/// Offsets that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    Earliest,
    /// The first offset on this node's disk, the same as nothing is kept elsewhere (KIP-405).
    EarliestLocal,
    Latest,
    /// The last offset that was moved elsewhere: none ever is.
    LatestTiered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {wanted} is not between {log_start} and {end}")]
pub struct OutOfRange {
    pub wanted: u64,
    pub log_start: u64,
    pub end: u64,
}

impl Stream {
    /// Below this offset every transaction is decided, and the decision stored.
    pub fn last_stable_offset(&self) -> u64 {
        let undecided = self.transactions.first_undecided().unwrap_or(self.high_watermark);
        // Deleting records may pass the beginning of an open transaction.
        undecided.min(self.high_watermark).max(self.log_start)
    }

    /// Readers see what is below.
    pub fn visible_end(&self, isolation: Isolation) -> u64 {
        match isolation {
            Isolation::Uncommitted => self.high_watermark,
            Isolation::Committed => self.last_stable_offset(),
        }
    }

    /// What a reader at `from` may be given. Empty when it has to wait.
    pub fn readable(&self, from: u64, isolation: Isolation) -> Result<std::ops::Range<u64>, OutOfRange> {
        if from < self.log_start || from > self.end {
            return Err(OutOfRange { wanted: from, log_start: self.log_start, end: self.end });
        }
        Ok(from..self.visible_end(isolation).max(from))
    }

    /// The aborted transactions that a reader of what is committed needs with the records between the offsets.
    pub fn aborted_between(&self, from: u64, upto: u64) -> Vec<Aborted> {
        self.transactions.aborted_between(from, upto)
    }

    /// `None` where there is no such offset. Offsets by time are the log's to find.
    pub fn offset_of(&self, position: Position, isolation: Isolation) -> Option<u64> {
        match position {
            Position::Earliest | Position::EarliestLocal => Some(self.log_start),
            Position::Latest => Some(self.visible_end(isolation)),
            Position::LatestTiered => None,
        }
    }
}
