//! How transactions end: decided by a record, then marked in every partition, then done.

use super::{
    Answer, Call, Coordinator, Effect, Effects, Record, State, Then, Transaction, TransactionError,
    TransactionalId,
};
use crate::partition::TopicPartition;
use crate::producer::{Ending, Producer, TransactionVersion};

impl Coordinator {
    /// Commits or aborts a producer's transaction; answered with [`Answer::Ended`] once that is decided. Asking
    /// again is fine.
    #[allow(clippy::too_many_arguments)]
    pub fn end(
        &mut self,
        token: u64,
        transactional_id: &str,
        producer: Producer,
        ending: Ending,
        version: TransactionVersion,
        now_ms: i64,
        out: &mut Effects,
    ) {
        let transaction = match self.endable(transactional_id) {
            Ok(transaction) => transaction,
            Err(error) => return out.answer(token, Err(error)),
        };
        let checked = match version {
            TransactionVersion::Classic => transaction.check_classic_end(producer, ending),
            TransactionVersion::EpochPerTransaction => transaction.check_end(producer, ending),
        };
        match checked {
            Err(error) => return out.answer(token, Err(error)),
            Ok(Step::Again) => return out.answer(token, Ok(Answer::Ended(transaction.record.producer))),
            Ok(Step::Prepare) => {}
        }
        let (record, last_epoch) = (transaction.record.clone(), transaction.last_epoch);
        let id: TransactionalId = transactional_id.into();
        let mut next = record.changed(State::preparing(ending), now_ms);
        next.version = version;
        let mut next_last_epoch = last_epoch;
        if version == TransactionVersion::EpochPerTransaction {
            if record.epochs_are_used_up() {
                let call = || Call::End { token, transactional_id: id.clone(), producer, ending, version };
                let Some(next_id) = self.take_id(call, out) else { return };
                next.next_id = Some(next_id);
            }
            next.producer.epoch = record.producer.epoch.saturating_add(1);
            next_last_epoch = Some(record.producer.epoch);
            // Nothing was added: what is aborted begins and ends now.
            if record.state != State::Ongoing {
                next.started_ms = Some(now_ms);
            }
        }
        self.persist(&id, Some(next), next_last_epoch, Then::Ended { token }, out);
    }

    fn endable(&self, transactional_id: &str) -> Result<&Transaction, TransactionError> {
        if transactional_id.is_empty() {
            return Err(TransactionError::EmptyId);
        }
        self.transactions.get(transactional_id).ok_or(TransactionError::UnknownMapping)
    }

    /// Aborts the ongoing transaction against its client's will. After a time-out the epoch is one up, as if the client
    /// had aborted: by the newer rules it may ask for that, and go on. For a new incarnation it is two up, so that the
    /// old one cannot.
    pub(super) fn fence(&mut self, id: &TransactionalId, token: Option<u64>, now_ms: i64, out: &mut Effects) {
        let record = &self.transactions[id].record;
        let mut next = record.changed(State::PrepareAbort, now_ms);
        next.version = TransactionVersion::EpochPerTransaction;
        let epochs = if token.is_some() { 2 } else { 1 };
        next.producer.epoch = record.producer.epoch.saturating_add(epochs);
        self.persist(id, Some(next), None, Then::Fenced { token }, out);
    }

    pub(super) fn write_markers(&mut self, id: &TransactionalId, now_ms: i64, out: &mut Effects) {
        let transaction = self.transactions.get_mut(id).expect("it is prepared");
        let record = &transaction.record;
        let ending = record.state.ending_under_way().expect("it is prepared");
        if record.partitions.is_empty() {
            return self.complete(id, now_ms, out);
        }
        transaction.unmarked = record.partitions.clone();
        out.push(Effect::WriteMarkers {
            transactional_id: id.clone(),
            producer: record.producer,
            ending,
            version: record.version,
            partitions: record.partitions.iter().cloned().collect(),
        });
    }

    /// The producer's marker is stored in the partition, or the partition is gone. Telling it again does nothing.
    pub fn marked(
        &mut self,
        transactional_id: &str,
        producer: Producer,
        partition: &TopicPartition,
        now_ms: i64,
        out: &mut Effects,
    ) {
        let Some(transaction) = self.transactions.get_mut(transactional_id) else { return };
        if transaction.record.producer == producer
            && transaction.unmarked.remove(partition)
            && transaction.unmarked.is_empty()
        {
            self.complete(&transactional_id.into(), now_ms, out);
        }
    }

    fn complete(&mut self, id: &TransactionalId, now_ms: i64, out: &mut Effects) {
        let transaction = &self.transactions[id];
        let (next, last_epoch) = (transaction.record.completed(now_ms), transaction.last_epoch);
        self.persist(id, Some(next), last_epoch, Then::Completed, out);
    }
}

/// What asking for an end leads to.
enum Step {
    Prepare,
    /// It ended so before.
    Again,
}

impl Transaction {
    /// The epoch is the same before and after, so that only the state tells whether it is asked again.
    fn check_classic_end(&self, producer: Producer, ending: Ending) -> Result<Step, TransactionError> {
        self.record.check(producer)?;
        if self.in_transition() {
            return Err(TransactionError::Concurrent);
        }
        match self.record.state {
            State::Ongoing => Ok(Step::Prepare),
            state if state.last_ending() == Some(ending) => Ok(Step::Again),
            state => Err(TransactionError::InvalidState(state)),
        }
    }

    /// The epoch tells whether it is asked again. An abort is fine without a transaction: the client cannot know
    /// whether its writes arrived, and gets a new epoch, so that they no longer can.
    fn check_end(&self, producer: Producer, ending: Ending) -> Result<Step, TransactionError> {
        let record = &self.record;
        // The client may already be the producer it becomes by what is under way.
        if self.in_transition() {
            return Err(TransactionError::Concurrent);
        }
        let again = record.state.last_ending().is_some() && record.is_one_end_after(producer);
        if !again {
            record.check(producer)?;
        }
        match (record.state, ending) {
            (state, _) if again && state.last_ending() == Some(ending) => Ok(Step::Again),
            (state, _) if again => Err(TransactionError::InvalidState(state)),
            (State::Ongoing, _) | (_, Ending::Abort) => Ok(Step::Prepare),
            (state, Ending::Commit) => Err(TransactionError::InvalidState(state)),
        }
    }
}

impl Record {
    /// Whether the producer was this one before its last transaction ended by the newer rules. The highest epoch is
    /// only reached by fencing.
    fn is_one_end_after(&self, producer: Producer) -> bool {
        let Producer { id, epoch } = self.producer;
        let same_id = id == producer.id && epoch != i16::MAX && producer.epoch.checked_add(1) == Some(epoch);
        let id_before = self.previous_id == Some(producer.id) && producer.epoch == i16::MAX - 1 && epoch == 0;
        self.version == TransactionVersion::EpochPerTransaction && (same_id || id_before)
    }
}
