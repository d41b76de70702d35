//! A producer asks who it is.

use super::{
    Answer, Call, Coordinator, Effects, Record, State, Then, Transaction, TransactionError, TransactionalId,
};
use crate::producer::{Producer, ProducerId};

impl Coordinator {
    /// Gives a producer its id and epoch; answered with [`Answer::Producer`].
    ///
    /// Without a transactional id it is a new one each time. With one, all earlier incarnations are fenced, and a
    /// transaction they left open is aborted: the caller is told to try again meanwhile. A client that goes on after an
    /// error says which producer it was (`expected`, KIP-360), and is fenced if somebody else came since.
    pub fn init_producer_id(
        &mut self,
        token: u64,
        transactional_id: Option<&str>,
        timeout_ms: i32,
        expected: Option<Producer>,
        now_ms: i64,
        out: &mut Effects,
    ) {
        let answer = match transactional_id {
            None => self.idempotent(token, timeout_ms, out),
            Some(id) => self.transactional(token, id, timeout_ms, expected, now_ms, out),
        };
        // Without an answer yet, a record is on its way to the disk, or the call waits for an id.
        if let Some(answer) = answer {
            out.answer(token, answer);
        }
    }

    fn idempotent(
        &mut self,
        token: u64,
        timeout_ms: i32,
        out: &mut Effects,
    ) -> Option<Result<Answer, TransactionError>> {
        let call = || Call::Init { token, transactional_id: None, timeout_ms, expected: None };
        let id = self.take_id(call, out)?;
        Some(Ok(Answer::Producer(Producer { id, epoch: 0 })))
    }

    fn transactional(
        &mut self,
        token: u64,
        name: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
        now_ms: i64,
        out: &mut Effects,
    ) -> Option<Result<Answer, TransactionError>> {
        let max_ms = self.rules.timeout_max_ms;
        if name.is_empty() {
            return Some(Err(TransactionError::EmptyId));
        }
        if !(1..=max_ms).contains(&timeout_ms) {
            return Some(Err(TransactionError::InvalidTimeout { timeout_ms, max_ms }));
        }
        let id: TransactionalId = name.into();
        let call = || Call::Init { token, transactional_id: Some(id.clone()), timeout_ms, expected };
        let then = Then::Initialized { token };
        let Some(transaction) = self.transactions.get(name) else {
            let producer = Producer { id: self.take_id(call, out)?, epoch: 0 };
            let record = Record::empty(producer, timeout_ms, now_ms);
            self.transactions.insert(id.clone(), Transaction::new(record.clone()));
            self.persist(&id, Some(record), None, then, out);
            return None;
        };
        let plan = match transaction.plan(expected) {
            Ok(plan) => plan,
            Err(error) => return Some(Err(error)),
        };
        let record = transaction.record.changed(State::Empty, now_ms);
        let (producer, last_epoch) = match plan {
            Plan::Fence => {
                self.fence(&id, Some(token), now_ms, out);
                return None;
            }
            Plan::Epoch { epoch, last_epoch } => (Producer { epoch, ..record.producer }, last_epoch),
            Plan::NewId { last_epoch } => (Producer { id: self.take_id(call, out)?, epoch: 0 }, last_epoch),
        };
        let partitions = Default::default();
        let next = Record { producer, timeout_ms, partitions, started_ms: None, next_id: None, ..record };
        self.persist(&id, Some(next), last_epoch, then, out);
        None
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
