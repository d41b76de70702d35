//! Partitions become part of a transaction.

use std::collections::BTreeSet;

use super::{Answer, Coordinator, Effects, Record, State, Then, TransactionError};
use crate::partition::TopicPartition;
use crate::producer::{Producer, TransactionVersion};

impl Coordinator {
    /// Adds partitions to the transaction of a producer, and begins one with the first; answered with
    /// [`Answer::Added`]. A group joins with the partition its offsets are written to.
    ///
    /// Clients of the newer rules do not ask: whoever appends their first batch to a partition does (KIP-890).
    #[allow(clippy::too_many_arguments)]
    pub fn add_partitions(
        &mut self,
        token: u64,
        transactional_id: &str,
        producer: Producer,
        partitions: &[TopicPartition],
        version: TransactionVersion,
        now_ms: i64,
        out: &mut Effects,
    ) {
        let record = match self.addable(transactional_id, producer) {
            Ok(record) => record,
            Err(error) => return out.answer(token, Err(error)),
        };
        let ongoing = record.state == State::Ongoing;
        if ongoing && partitions.iter().all(|partition| record.partitions.contains(partition)) {
            return out.answer(token, Ok(Answer::Added));
        }
        let before = if ongoing { record.partitions.clone() } else { BTreeSet::new() };
        let partitions = before.into_iter().chain(partitions.iter().cloned()).collect();
        let started_ms = record.started_ms.filter(|_| ongoing).or(Some(now_ms));
        let next = Record { partitions, started_ms, version, ..record.changed(State::Ongoing, now_ms) };
        let (id, transaction) = self.transactions.get_key_value(transactional_id).expect("just seen");
        let (id, last_epoch) = (id.clone(), transaction.last_epoch);
        self.persist(&id, Some(next), last_epoch, Then::Added { token }, out);
    }

    /// What is under way comes first: the client may already be the producer it becomes by that.
    fn addable(&self, transactional_id: &str, producer: Producer) -> Result<&Record, TransactionError> {
        if transactional_id.is_empty() {
            return Err(TransactionError::EmptyId);
        }
        let transaction = self.transactions.get(transactional_id).ok_or(TransactionError::UnknownMapping)?;
        if transaction.in_transition() {
            return Err(TransactionError::Concurrent);
        }
        transaction.record.check(producer)?;
        Ok(&transaction.record)
    }

    /// Whether a producer's transaction includes the partition: asked before the first batch of a client of the older
    /// rules is appended, which should have added it (KIP-890).
    pub fn verify_partition(
        &self,
        transactional_id: &str,
        producer: Producer,
        partition: &TopicPartition,
    ) -> Result<(), TransactionError> {
        if transactional_id.is_empty() {
            return Err(TransactionError::EmptyId);
        }
        let record = self.get(transactional_id).ok_or(TransactionError::UnknownMapping)?;
        record.check(producer)?;
        if record.state.ending_under_way().is_some() {
            return Err(TransactionError::Concurrent);
        }
        match record.partitions.contains(partition) {
            true => Ok(()),
            false => Err(TransactionError::NotInTransaction),
        }
    }
}

impl Record {
    pub(super) fn check(&self, producer: Producer) -> Result<(), TransactionError> {
        if producer.id != self.producer.id {
            return Err(TransactionError::UnknownMapping);
        }
        match producer.epoch == self.producer.epoch {
            true => Ok(()),
            false => Err(TransactionError::Fenced),
        }
    }
}
