//! What the coordinator asks its task to do, and what callers are told.

use super::{Record, State, TransactionalId};
use crate::partition::TopicPartition;
use crate::producer::{Ending, Producer, TransactionVersion};

/// Names a record to persist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// A good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The producer to be from now on.
    Producer(Producer),
    Added,
    /// The transaction is decided. By the newer rules its client goes on as this producer; by the older ones it is
    /// the same as before.
    Ended(Producer),
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    #[error("another change of this transactional id is under way")]
    Concurrent,
    #[error("a newer incarnation of this producer exists")]
    Fenced,
    #[error("the transactional id is not known with this producer id")]
    UnknownMapping,
    #[error("a transaction that is {0:?} cannot end so")]
    InvalidState(State),
    #[error("a time-out of {timeout_ms} ms is not between 1 and {max_ms}")]
    InvalidTimeout { timeout_ms: i32, max_ms: i32 },
    #[error("the partition is not part of the transaction, which has to be aborted")]
    NotInTransaction,
    #[error("a transactional id must not be empty")]
    EmptyId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Keep the record, or forget what was kept, under this transactional id; then call
    /// [`persisted`](super::Coordinator::persisted).
    Persist { ticket: Ticket, transactional_id: TransactionalId, record: Option<Record> },
    /// Reserve a block of producer ids for the coordinator alone; then call
    /// [`ids_reserved`](super::Coordinator::ids_reserved).
    ReserveIds,
    /// End the producer's transaction in each of the partitions, and call [`marked`](super::Coordinator::marked) for
    /// each: when its marker is stored, or when the partition is no more.
    WriteMarkers {
        transactional_id: TransactionalId,
        producer: Producer,
        ending: Ending,
        version: TransactionVersion,
        partitions: Vec<TopicPartition>,
    },
    /// The answer to the call with this token.
    Answer { token: u64, answer: Result<Answer, TransactionError> },
}

/// Effects in the order they must be carried out.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    pub(super) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    pub(super) fn answer(&mut self, token: u64, answer: Result<Answer, TransactionError>) {
        self.push(Effect::Answer { token, answer });
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }
}
