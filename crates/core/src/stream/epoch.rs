//! Leader epochs. One node leads every partition from the first record on, so there is one epoch and it never changes.

use super::Stream;

/// The epoch of every partition, always.
pub const LEADER_EPOCH: i32 = 0;

/// A client that knows of another epoch was not told by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    #[error("leader epoch {0} is over")]
    Fenced(i32),
    #[error("leader epoch {0} has not begun")]
    Unknown(i32),
}

/// Checks the epoch a client believes in, if it says one (KIP-320).
pub fn check_leader_epoch(believed: Option<i32>) -> Result<(), EpochError> {
    match believed {
        Some(epoch) if epoch < LEADER_EPOCH => Err(EpochError::Fenced(epoch)),
        Some(epoch) if epoch > LEADER_EPOCH => Err(EpochError::Unknown(epoch)),
        _ => Ok(()),
    }
}

impl Stream {
    /// Where an epoch ends: what a client read beyond is not in this log. `None` for an epoch that never was.
    pub fn end_of_epoch(&self, epoch: i32) -> Option<u64> {
        (epoch == LEADER_EPOCH).then_some(self.end)
    }
}
