//! What the coordinator can be asked.

use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, Producer, TransactionVersion};
use cauce_core::transaction::{Record, State, TransactionError, TransactionalId};
use tokio::sync::oneshot;

use crate::limits::TRANSACTIONAL_IDS_MAX;

/// Why a request about a transactional id is turned down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionalError {
    #[error("the transactional ids are being read from the log")]
    Loading,
    #[error(
        "the transactional ids could not be read from the log, or cannot be kept there, or the node stops"
    )]
    Unavailable,
    #[error("there is no such transactional id")]
    Unknown,
    #[error("the node has {TRANSACTIONAL_IDS_MAX} transactional ids, and takes no more")]
    TooMany,
    #[error("the memory budget is spent: new transactional ids and partitions have to wait")]
    NoMemory,
    #[error("a name of {bytes} bytes is longer than the {most} that a record can hold")]
    NameTooLong { bytes: usize, most: usize },
    #[error(transparent)]
    Refused(#[from] TransactionError),
}

/// A transactional id in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: TransactionalId,
    pub producer: Producer,
    pub state: State,
    /// When its transaction began, if it has one.
    pub started_ms: Option<i64>,
}

/// For each partition whether it is part of the transaction.
pub(super) type Verified = Vec<Result<(), TransactionError>>;

pub(super) type Answer<T> = oneshot::Sender<Result<T, TransactionalError>>;

#[derive(Debug)]
pub(super) enum Command {
    Request(Request),
    Describe {
        id: TransactionalId,
        done: Answer<Record>,
    },
    List {
        done: Answer<Vec<Listed>>,
    },
    /// The node ends.
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// What may have to wait until something else has happened to the transactional id.
#[derive(Debug)]
pub(super) enum Request {
    Init {
        id: TransactionalId,
        timeout_ms: i32,
        expected: Option<Producer>,
        done: Answer<Producer>,
    },
    Add {
        id: TransactionalId,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        version: TransactionVersion,
        done: Answer<()>,
    },
    Verify {
        id: TransactionalId,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        done: Answer<Verified>,
    },
    End {
        id: TransactionalId,
        producer: Producer,
        ending: Ending,
        version: TransactionVersion,
        done: Answer<Producer>,
    },
}

impl Command {
    /// Turns down whoever waits for an answer. What cannot be turned down is given back.
    pub(super) fn refuse(self, error: TransactionalError) -> Option<oneshot::Sender<()>> {
        match self {
            Command::Request(request) => request.refuse(error),
            Command::Describe { done, .. } => answer(done, Err(error)),
            Command::List { done } => answer(done, Err(error)),
            Command::Stop { done } => return Some(done),
        }
        None
    }
}

impl Request {
    pub(super) fn id(&self) -> &TransactionalId {
        match self {
            Request::Init { id, .. }
            | Request::Add { id, .. }
            | Request::Verify { id, .. }
            | Request::End { id, .. } => id,
        }
    }

    pub(super) fn refuse(self, error: TransactionalError) {
        match self {
            Request::Init { done, .. } | Request::End { done, .. } => answer(done, Err(error)),
            Request::Add { done, .. } => answer(done, Err(error)),
            Request::Verify { done, .. } => answer(done, Err(error)),
        }
    }
}

/// Whoever asked may be gone.
pub(super) fn answer<T>(done: Answer<T>, answer: Result<T, TransactionalError>) {
    let _ = done.send(answer);
}
