//! Partitions that a transaction will write to; in later versions many transactions at once, or the question whether
//! partitions are part of them.

use cauce_broker::transactional_ids::TransactionalError;
use cauce_core::partition::TopicPartition;
use cauce_core::producer::Producer;
use cauce_kafka::messages::add_partitions_to_txn::*;
use cauce_kafka::{ErrorCode, Text};

use super::membership::{at, shared};
use super::transactional::{epoch_per_transaction_since, producer};
use super::{Call, Right};

const FENCED_SINCE: i16 = 2;

/// The first version in which a request is about several transactions, and in which it may tell clients to abort.
const SEVERAL_SINCE: i16 = 4;
const ABORTABLE_SINCE: i16 = 5;

pub(super) async fn answer(call: &Call, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let mut response = AddPartitionsToTxnResponse::default();
    if call.version < SEVERAL_SINCE {
        let producer = producer(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
        let (name, topics) = (request.v3_and_below_transactional_id, request.v3_and_below_topics);
        response.results_by_topic_v3_and_below = add(call, &name, producer, topics, false).await;
        return response;
    }
    for transaction in request.transactions {
        let AddPartitionsToTxnTransaction { transactional_id, topics, verify_only, .. } = transaction;
        let producer = producer(transaction.producer_id, transaction.producer_epoch);
        let topic_results = add(call, &transactional_id, producer, topics, verify_only).await;
        response.results_by_transaction.push(AddPartitionsToTxnResult { transactional_id, topic_results });
    }
    response
}

/// All partitions are added, or none.
async fn add(
    call: &Call,
    name: &Text,
    producer: Producer,
    topics: Vec<AddPartitionsToTxnTopic>,
    verify_only: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let partitions = partitions_of(&topics);
    let missing = |at: &TopicPartition| call.check_partition(Right::Write, at).err();
    let codes = if let Err(code) = call.check_transactional_id(Right::Write, name) {
        vec![code; partitions.len()]
    } else if partitions.iter().any(|at| missing(at).is_some()) {
        let code = |at| missing(at).unwrap_or(ErrorCode::OperationNotAttempted);
        partitions.iter().map(code).collect()
    } else if verify_only {
        verify(call, name, producer, partitions).await
    } else {
        let version = call.transaction_version(epoch_per_transaction_since::ADD_PARTITIONS);
        let count = partitions.len();
        let added = call.transactional_ids().add(shared(name), producer, partitions, version).await;
        vec![call.transaction_code(&added, FENCED_SINCE); count]
    };
    results(topics, codes)
}

async fn verify(
    call: &Call,
    name: &Text,
    producer: Producer,
    partitions: Vec<TopicPartition>,
) -> Vec<ErrorCode> {
    let count = partitions.len();
    let code = |result: Result<(), TransactionalError>| match call.transaction_code(&result, FENCED_SINCE) {
        ErrorCode::TransactionAbortable if call.version < ABORTABLE_SINCE => ErrorCode::InvalidTxnState,
        code => code,
    };
    match call.transactional_ids().verify(shared(name), producer, partitions).await {
        Ok(verified) => verified.into_iter().map(|one| code(one.map_err(Into::into))).collect(),
        Err(error) => vec![code(Err(error)); count],
    }
}

fn partitions_of(topics: &[AddPartitionsToTxnTopic]) -> Vec<TopicPartition> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let name = shared(&topic.name);
        topic.partitions.iter().map(move |partition| at(&name, *partition)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

fn results(
    topics: Vec<AddPartitionsToTxnTopic>,
    codes: Vec<ErrorCode>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut codes = codes.into_iter();
    let of_topic = |AddPartitionsToTxnTopic { name, partitions }| {
        let results = partitions.into_iter().zip(&mut codes).map(|(partition_index, code)| {
            AddPartitionsToTxnPartitionResult { partition_index, partition_error_code: code.code() }
        });
        AddPartitionsToTxnTopicResult { name, results_by_partition: results.collect() }
    };
    topics.into_iter().map(of_topic).collect()
}
