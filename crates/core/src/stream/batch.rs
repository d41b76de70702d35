//! Batches and markers as the partition sees them, and why it may refuse one.

use crate::producer::{Ending, Producer, TransactionVersion};

/// What a batch's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Offsets the batch takes.
    pub records: u32,
    /// The latest time of its records.
    pub timestamp_ms: i64,
    /// `None` when nobody promised to number its batches.
    pub sender: Option<Sender>,
}

/// An idempotent producer's part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pub producer: Producer,
    /// Not negative. `None` for what the broker writes in a producer's name, as offsets of a group: that is not numbered.
    pub first_sequence: Option<i32>,
    pub transactional: bool,
}

/// The end of a producer's transaction in this partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub producer: Producer,
    pub ending: Ending,
    /// Markers of an older coordinator are refused once a newer one wrote.
    pub coordinator_epoch: i32,
    pub version: TransactionVersion,
}

/// Where an accepted batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is to be written at this offset.
    At(u64),
    /// It came before and is not written again. Its answer waits until all of it is stored, as the first did.
    Before { first_offset: u64, last_offset: u64, timestamp_ms: i64 },
}

/// Why a batch is not appended. Unknown producers are no error: whoever was forgotten may go on (KIP-360).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("sequence {sequence} of producer {} where {expected} was due", producer.id.0)]
    OutOfOrder { producer: Producer, sequence: i32, expected: i32 },
    #[error("epoch {} of producer {} is below {current}", producer.epoch, producer.id.0)]
    StaleEpoch { producer: Producer, current: i16 },
    #[error("no transaction of producer {} is known to include this partition", producer.id.0)]
    NotInTransaction { producer: Producer },
    #[error("producer {} was verified before its last transaction ended here", producer.id.0)]
    VerifiedTooEarly { producer: Producer },
    #[error("producer {} has a transaction open and sent something outside of it", producer.id.0)]
    OutsideTransaction { producer: Producer },
    #[error("the partition remembers {most} producers, and none is idle")]
    TooManyProducers { most: usize },
}

/// Why a marker is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    #[error("epoch {} of producer {} is not above {current}", producer.epoch, producer.id.0)]
    StaleEpoch { producer: Producer, current: i16 },
    #[error("a coordinator of epoch {epoch} came after one of epoch {current}")]
    StaleCoordinator { epoch: i32, current: i32 },
}
