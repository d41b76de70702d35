//! A producer asks who it is.

use super::{
    Call, Coordinator, Effects, Record, State, Then, Transaction, TransactionError, TransactionalId,
};
use crate::producer::{Producer, ProducerId};

impl Coordinator {
    /// Gives a producer its id and epoch; answered with [`Answer::Producer`](super::Answer::Producer).
    ///
    /// All earlier incarnations are fenced, and a transaction they left open is aborted: the caller is told to try again
    /// meanwhile. A client that goes on after an error says which producer it was (`expected`, KIP-360), and is fenced if
    /// somebody else came since.
    pub fn init_producer_id(
        &mut self,
        token: u64,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
        now_ms: i64,
        out: &mut Effects,
    ) {
        let max_ms = self.rules.timeout_max_ms;
        if transactional_id.is_empty() {
            return out.answer(token, Err(TransactionError::EmptyId));
        }
        if !(1..=max_ms).contains(&timeout_ms) {
            return out.answer(token, Err(TransactionError::InvalidTimeout { timeout_ms, max_ms }));
        }
        let id: TransactionalId = transactional_id.into();
        let call = || Call::Init { token, transactional_id: id.clone(), timeout_ms, expected };
        let then = Then::Initialized { token };
        let Some(transaction) = self.transactions.get(transactional_id) else {
            // Without an id the call is made again when there are some.
            let Some(producer_id) = self.take_id(call, out) else { return };
            let record = Record::empty(Producer { id: producer_id, epoch: 0 }, timeout_ms, now_ms);
            self.transactions.insert(id.clone(), Transaction::new(record.clone()));
            return self.persist(&id, Some(record), None, then, out);
        };
        let plan = match transaction.plan(expected) {
            Ok(plan) => plan,
            Err(error) => return out.answer(token, Err(error)),
        };
        let record = transaction.record.changed(State::Empty, now_ms);
        let (producer, last_epoch) = match plan {
            Plan::Fence => return self.fence(&id, Some(token), now_ms, out),
            Plan::Epoch { epoch, last_epoch } => (Producer { epoch, ..record.producer }, last_epoch),
            Plan::NewId { last_epoch } => {
                let Some(id) = self.take_id(call, out) else { return };
                (Producer { id, epoch: 0 }, last_epoch)
            }
        };
        let partitions = Default::default();
        let next = Record { producer, timeout_ms, partitions, started_ms: None, next_id: None, ..record };
        self.persist(&id, Some(next), last_epoch, then, out);
    }
}

/// How a known transactional id gets its next incarnation.
enum Plan {
    /// First the open transaction is aborted.
    Fence,
    Epoch {
        epoch: i16,
        last_epoch: Option<i16>,
    },
    /// The epochs of the current id are used up.
    NewId {
        last_epoch: Option<i16>,
    },
}

impl Transaction {
    fn plan(&self, expected: Option<Producer>) -> Result<Plan, TransactionError> {
        let current = self.record.producer;
        if self.in_transition() {
            return Err(TransactionError::Concurrent);
        }
        if expected.is_some_and(|expected| !self.knows_id(expected)) {
            return Err(TransactionError::Fenced);
        }
        let epoch = expected.map(|expected| expected.epoch);
        let is_last = epoch.is_some() && epoch == self.last_epoch;
        let is_current = epoch.is_none_or(|epoch| epoch == current.epoch);
        if !is_current && !is_last {
            return Err(TransactionError::Fenced);
        }
        if self.record.state == State::Ongoing {
            return Ok(Plan::Fence);
        }
        // The client missed the answer: it gets the same again.
        if !is_current {
            return Ok(Plan::Epoch { epoch: current.epoch, last_epoch: self.last_epoch });
        }
        let last_epoch = epoch.map(|_| current.epoch);
        match self.record.epochs_are_used_up() {
            true => Ok(Plan::NewId { last_epoch }),
            false => Ok(Plan::Epoch { epoch: current.epoch + 1, last_epoch }),
        }
    }

    /// It is the current id, or the one before whose epochs were used up, and the client missed the answer.
    fn knows_id(&self, expected: Producer) -> bool {
        let is_previous = |id: ProducerId| Some(id) == self.record.previous_id;
        expected.id == self.record.producer.id || is_previous(expected.id) && expected.epoch >= i16::MAX - 1
    }
}
