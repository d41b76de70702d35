//! What is remembered of transactional ids, as Kafka writes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Producer, ProducerId, TransactionVersion};
use cauce_core::transaction::{Record, State, TransactionalId};
use cauce_kafka::internal::transactions::{
    TransactionKey, TransactionPartitions, TransactionRecord, TransactionStatus, TransactionValue,
};
use cauce_kafka::{Text, VersionedError};

/// The rules of clients, as Kafka counts them.
const CLASSIC: i16 = 0;
const EPOCH_PER_TRANSACTION: i16 = 2;

/// Why a record cannot be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error(transparent)]
    Versioned(#[from] VersionedError),
    #[error("no state has the number {0}")]
    Status(i8),
}

/// Key and value.
pub(super) fn encode(id: &TransactionalId, record: Option<&Record>) -> (Vec<u8>, Option<Vec<u8>>) {
    let key = TransactionKey { transactional_id: Text::from(id.to_string()) };
    TransactionRecord { key, value: record.map(value_of) }.encode()
}

/// `None` for a kind of record that is not known, and a transactional id without a record if it was forgotten.
pub(super) fn decode(
    key: Bytes,
    value: Option<Bytes>,
) -> Result<Option<(TransactionalId, Option<Record>)>, RecordError> {
    let Some(TransactionRecord { key, value }) = TransactionRecord::decode(key, value)? else {
        return Ok(None);
    };
    let record = value.map(record_of).transpose()?.flatten();
    Ok(Some((Arc::from(key.transactional_id.as_str()), record)))
}

fn value_of(record: &Record) -> TransactionValue {
    let number = |id: Option<ProducerId>| id.map_or(-1, |id| id.0);
    TransactionValue {
        producer_id: record.producer.id.0,
        previous_producer_id: number(record.previous_id),
        next_producer_id: number(record.next_id),
        producer_epoch: record.producer.epoch,
        timeout_ms: record.timeout_ms,
        status: status_of(record.state).code(),
        partitions: (record.state != State::Empty).then(|| by_topic(record)),
        last_update_timestamp: record.updated_ms,
        start_timestamp: record.started_ms.unwrap_or(-1),
        client_transaction_version: match record.version {
            TransactionVersion::Classic => CLASSIC,
            TransactionVersion::EpochPerTransaction => EPOCH_PER_TRANSACTION,
        },
    }
}

fn by_topic(record: &Record) -> Vec<TransactionPartitions> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for at in &record.partitions {
        topics.entry(&at.topic).or_default().push(at.partition);
    }
    let topics = topics.into_iter().map(|(topic, partition_ids)| TransactionPartitions {
        topic: Text::from(topic.to_owned()),
        partition_ids,
    });
    topics.collect()
}

/// `None` for one that is as good as forgotten.
fn record_of(value: TransactionValue) -> Result<Option<Record>, RecordError> {
    let status = TransactionStatus::from_code(value.status).ok_or(RecordError::Status(value.status))?;
    let Some(state) = state_of(status) else { return Ok(None) };
    let id = |number: i64| Some(number).filter(|number| *number >= 0).map(ProducerId);
    let topics = value.partitions.unwrap_or_default().into_iter();
    let partitions = topics.flat_map(|topic| {
        let name: Arc<str> = Arc::from(topic.topic.as_str());
        topic
            .partition_ids
            .into_iter()
            .map(move |partition| TopicPartition { topic: name.clone(), partition })
    });
    Ok(Some(Record {
        producer: Producer { id: ProducerId(value.producer_id), epoch: value.producer_epoch },
        previous_id: id(value.previous_producer_id),
        next_id: id(value.next_producer_id),
        state,
        version: match value.client_transaction_version {
            EPOCH_PER_TRANSACTION.. => TransactionVersion::EpochPerTransaction,
            _ => TransactionVersion::Classic,
        },
        timeout_ms: value.timeout_ms,
        partitions: partitions.collect(),
        started_ms: Some(value.start_timestamp).filter(|ms| *ms >= 0),
        updated_ms: value.last_update_timestamp,
    }))
}

fn status_of(state: State) -> TransactionStatus {
    match state {
        State::Empty => TransactionStatus::Empty,
        State::Ongoing => TransactionStatus::Ongoing,
        State::PrepareCommit => TransactionStatus::PrepareCommit,
        State::PrepareAbort => TransactionStatus::PrepareAbort,
        State::CompleteCommit => TransactionStatus::CompleteCommit,
        State::CompleteAbort => TransactionStatus::CompleteAbort,
    }
}

/// What Kafka does not write but might have: a fence is on its way to an abort.
fn state_of(status: TransactionStatus) -> Option<State> {
    Some(match status {
        TransactionStatus::Empty => State::Empty,
        TransactionStatus::Ongoing => State::Ongoing,
        TransactionStatus::PrepareCommit => State::PrepareCommit,
        TransactionStatus::PrepareAbort | TransactionStatus::PrepareEpochFence => State::PrepareAbort,
        TransactionStatus::CompleteCommit => State::CompleteCommit,
        TransactionStatus::CompleteAbort => State::CompleteAbort,
        TransactionStatus::Dead => return None,
    })
}

#[cfg(test)]
mod tests;
