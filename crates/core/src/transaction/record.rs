//! What is remembered of a transactional id over restarts.

use std::collections::BTreeSet;

use crate::partition::TopicPartition;
use crate::producer::{Ending, Producer, ProducerId, TransactionVersion};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl State {
    pub(super) fn preparing(ending: Ending) -> State {
        match ending {
            Ending::Commit => State::PrepareCommit,
            Ending::Abort => State::PrepareAbort,
        }
    }

    /// How the transaction ends whose markers are being written.
    pub(super) fn ending_under_way(self) -> Option<Ending> {
        match self {
            State::PrepareCommit => Some(Ending::Commit),
            State::PrepareAbort => Some(Ending::Abort),
            _ => None,
        }
    }

    /// How the last transaction ended.
    pub(super) fn last_ending(self) -> Option<Ending> {
        match self {
            State::CompleteCommit => Some(Ending::Commit),
            State::CompleteAbort => Some(Ending::Abort),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub producer: Producer,
    /// The producer id before the last change.
    pub previous_id: Option<ProducerId>,
    /// The producer id that follows when the transaction has ended, as the epochs of this one are used up.
    pub next_id: Option<ProducerId>,
    pub state: State,
    /// The rules of the client that changed it last.
    pub version: TransactionVersion,
    pub timeout_ms: i32,
    pub partitions: BTreeSet<TopicPartition>,
    /// When the transaction began.
    pub started_ms: Option<i64>,
    pub updated_ms: i64,
}

impl Record {
    /// A producer without a transaction.
    pub(super) fn empty(producer: Producer, timeout_ms: i32, now_ms: i64) -> Record {
        Record {
            producer,
            previous_id: None,
            next_id: None,
            state: State::Empty,
            version: TransactionVersion::Classic,
            timeout_ms,
            partitions: BTreeSet::new(),
            started_ms: None,
            updated_ms: now_ms,
        }
    }

    /// A change of this record, which names the producer id there was.
    pub(super) fn changed(&self, state: State, now_ms: i64) -> Record {
        let previous_id = Some(self.producer.id);
        Record { previous_id, state, updated_ms: now_ms, ..self.clone() }
    }

    /// What follows when every partition of the prepared transaction is marked.
    pub(super) fn completed(&self, now_ms: i64) -> Record {
        let state = match self.state {
            State::PrepareCommit => State::CompleteCommit,
            State::PrepareAbort => State::CompleteAbort,
            other => panic!("{other:?} is not prepared"),
        };
        let next = self.next_id.map(|id| Producer { id, epoch: 0 });
        Record {
            producer: next.unwrap_or(self.producer),
            next_id: None,
            partitions: BTreeSet::new(),
            ..self.changed(state, now_ms)
        }
    }

    /// The last epoch is never given to a client, so that a client can always be fenced.
    pub(super) fn epochs_are_used_up(&self) -> bool {
        self.producer.epoch >= i16::MAX - 1
    }
}
