//! The coordinator of transactions: a state for each transactional id, as a machine that takes calls and pushes effects.
//!
//! ```text
//!            add partitions              end                    all marked
//!   Empty ──────────────────▶ Ongoing ─────────▶ PrepareCommit ────────────▶ CompleteCommit
//!     ▲                          │                                                │
//!     │  a new incarnation       └─ or time-out, ▶ PrepareAbort ───────────▶ CompleteAbort
//!     └── from either Complete      or fenced                     add partitions: Ongoing again
//! ```
//!
//! A state is changed by persisting a record: the call leaves an [`Effect::Persist`], and takes effect, and is
//! answered, when [`Coordinator::persisted`] tells that it is safe. Until then whoever asks for the same
//! transactional id is told to try again. A prepared transaction is decided: its markers are written, after a restart
//! too, until every partition has one.
//!
//! What Kafka calls *PrepareEpochFence* and *Dead* are no states here: they would only last until a record is persisted.
//!
//! A group takes part through the partition its offsets are written to, and is not told apart from other partitions.
//! No clock is read: `now_ms` is milliseconds since 1970-01-01 UTC.

mod adding;
mod effects;
mod ending;
mod ids;
mod init;
mod record;
mod restoring;
#[cfg(test)]
mod tests;
mod timing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::partition::TopicPartition;
use crate::producer::{Ending, Producer, TransactionVersion};

pub use effects::{Answer, Effect, Effects, Ticket, TransactionError};
pub use record::{Record, State};

use ids::ProducerIds;

/// The name under which a producer comes back.
pub type TransactionalId = Arc<str>;

/// What an operator can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The longest time a client may ask for before its transaction is aborted.
    pub timeout_max_ms: i32,
    /// A transactional id that was not used for so long is forgotten.
    pub expiration_ms: i64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { timeout_max_ms: 15 * 60 * 1000, expiration_ms: 7 * 24 * 60 * 60 * 1000 }
    }
}

#[derive(Debug)]
pub struct Coordinator {
    rules: Rules,
    transactions: HashMap<TransactionalId, Transaction, foldhash::fast::RandomState>,
    /// When something happens to a transaction if nobody calls: it is aborted or forgotten.
    deadlines: BTreeSet<(i64, TransactionalId)>,
    /// Whose record is being persisted.
    persisting: HashMap<Ticket, TransactionalId, foldhash::fast::RandomState>,
    last_ticket: u64,
    ids: ProducerIds,
    /// Wait until there are producer ids again.
    waiting: Vec<Call>,
}

#[derive(Debug)]
struct Transaction {
    /// As it was persisted last.
    record: Record,
    /// The epoch before the current one, if the same incarnation had it: a client that asks with it missed the answer.
    /// It is not persisted, nor is it in Kafka.
    last_epoch: Option<i16>,
    pending: Option<Pending>,
    /// Partitions of a prepared transaction that have no marker yet.
    unmarked: BTreeSet<TopicPartition>,
    deadline_ms: Option<i64>,
}

/// A change on its way to the disk.
#[derive(Debug)]
struct Pending {
    /// `None` when the transactional id is forgotten.
    next: Option<Record>,
    last_epoch: Option<i16>,
    then: Then,
}

/// What follows once a record is persisted.
#[derive(Debug, Clone, Copy)]
enum Then {
    Initialized {
        token: u64,
    },
    Added {
        token: u64,
    },
    Ended {
        token: u64,
    },
    /// Aborted for another reason than its client's wish; whoever waits has to ask again.
    Fenced {
        token: Option<u64>,
    },
    Completed,
}

/// A call that may have to wait for producer ids.
#[derive(Debug, Clone)]
enum Call {
    Init {
        token: u64,
        transactional_id: TransactionalId,
        timeout_ms: i32,
        expected: Option<Producer>,
    },
    End {
        token: u64,
        transactional_id: TransactionalId,
        producer: Producer,
        ending: Ending,
        version: TransactionVersion,
    },
}

impl Transaction {
    fn new(record: Record) -> Transaction {
        Transaction { record, last_epoch: None, pending: None, unmarked: BTreeSet::new(), deadline_ms: None }
    }

    /// Nothing can be decided before what is under way has ended.
    fn in_transition(&self) -> bool {
        self.pending.is_some() || self.record.state.ending_under_way().is_some()
    }
}

impl Coordinator {
    /// No transactional id yet.
    pub fn new(rules: Rules) -> Coordinator {
        Coordinator {
            rules,
            transactions: HashMap::default(),
            deadlines: BTreeSet::new(),
            persisting: HashMap::default(),
            last_ticket: 0,
            ids: ProducerIds::default(),
            waiting: Vec::new(),
        }
    }

    /// What was last persisted for a transactional id.
    pub fn get(&self, transactional_id: &str) -> Option<&Record> {
        self.transactions.get(transactional_id).map(|transaction| &transaction.record)
    }

    /// Whether whoever asks something of this transactional id would be told to try again.
    pub fn in_transition(&self, transactional_id: &str) -> bool {
        self.transactions.get(transactional_id).is_some_and(Transaction::in_transition)
    }

    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TransactionalId, &Record)> {
        self.transactions.iter().map(|(id, transaction)| (id, &transaction.record))
    }

    /// The record with this ticket is on disk.
    pub fn persisted(&mut self, ticket: Ticket, now_ms: i64, out: &mut Effects) {
        let Some(id) = self.persisting.remove(&ticket) else { return };
        let transaction = self.transactions.get_mut(&id).expect("it stays while a record is persisted");
        let Pending { next, last_epoch, then } = transaction.pending.take().expect("the record had a ticket");
        let Some(record) = next else {
            self.transactions.remove(&id);
            return;
        };
        (transaction.record, transaction.last_epoch) = (record, last_epoch);
        self.set_deadline(&id);
        self.follow(&id, then, now_ms, out);
    }

    fn follow(&mut self, id: &TransactionalId, then: Then, now_ms: i64, out: &mut Effects) {
        let record = &self.transactions[id].record;
        match then {
            Then::Initialized { token } => out.answer(token, Ok(Answer::Producer(record.producer))),
            Then::Added { token } => out.answer(token, Ok(Answer::Added)),
            Then::Ended { token } => {
                out.answer(token, Ok(Answer::Ended(record.completed(now_ms).producer)));
                self.write_markers(id, now_ms, out);
            }
            Then::Fenced { token } => {
                token.into_iter().for_each(|token| out.answer(token, Err(TransactionError::Concurrent)));
                self.write_markers(id, now_ms, out);
            }
            Then::Completed => {}
        }
    }

    fn call(&mut self, call: Call, now_ms: i64, out: &mut Effects) {
        match call {
            Call::Init { token, transactional_id, timeout_ms, expected } => {
                self.init_producer_id(token, &transactional_id, timeout_ms, expected, now_ms, out);
            }
            Call::End { token, transactional_id, producer, ending, version } => {
                self.end(token, &transactional_id, producer, ending, version, now_ms, out);
            }
        }
    }

    /// Sends a record, or the end of all records, to the disk.
    fn persist(
        &mut self,
        id: &TransactionalId,
        next: Option<Record>,
        last_epoch: Option<i16>,
        then: Then,
        out: &mut Effects,
    ) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.persisting.insert(ticket, id.clone());
        out.push(Effect::Persist { ticket, transactional_id: id.clone(), record: next.clone() });
        let transaction = self.transactions.get_mut(id).expect("whoever persists knows it");
        assert!(transaction.pending.is_none(), "one record at a time");
        transaction.pending = Some(Pending { next, last_epoch, then });
        self.set_deadline(id);
    }
}
