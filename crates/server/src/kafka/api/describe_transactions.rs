//! What is known of transactional ids.

use std::collections::BTreeMap;

use cauce_core::transaction::{Record, State};
use cauce_kafka::internal::transactions::TransactionStatus;
use cauce_kafka::messages::describe_transactions::*;
use cauce_kafka::{ErrorCode, Text};

use super::membership::shared;
use super::{Call, Right, distinct, text};
use crate::kafka::error::Coded;

pub(super) async fn answer(
    call: &Call,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for transactional_id in distinct(request.transactional_ids, Text::clone) {
        let described = match find(call, &transactional_id).await {
            Ok(record) => shown(call, transactional_id, &record),
            Err(code) => {
                TransactionState { error_code: code.code(), transactional_id, ..TransactionState::default() }
            }
        };
        response.transaction_states.push(described);
    }
    response
}

async fn find(call: &Call, transactional_id: &Text) -> Result<Record, ErrorCode> {
    call.check_transactional_id(Right::Describe, transactional_id)?;
    let described = call.transactional_ids().describe(shared(transactional_id)).await;
    described.map_err(|error| error.code())
}

fn shown(call: &Call, transactional_id: Text, record: &Record) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for at in record.partitions.iter().filter(|at| call.may(Right::Describe, &at.topic)) {
        topics.entry(&at.topic).or_default().push(at.partition);
    }
    TransactionState {
        transactional_id,
        transaction_state: Text::from(state_name(record.state)),
        transaction_timeout_ms: record.timeout_ms,
        transaction_start_time_ms: record.started_ms.unwrap_or(-1),
        producer_id: record.producer.id.0,
        producer_epoch: record.producer.epoch,
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| TopicData { topic: text(topic), partitions })
            .collect(),
        ..TransactionState::default()
    }
}

pub(super) fn state_name(state: State) -> &'static str {
    let status = match state {
        State::Empty => TransactionStatus::Empty,
        State::Ongoing => TransactionStatus::Ongoing,
        State::PrepareCommit => TransactionStatus::PrepareCommit,
        State::PrepareAbort => TransactionStatus::PrepareAbort,
        State::CompleteCommit => TransactionStatus::CompleteCommit,
        State::CompleteAbort => TransactionStatus::CompleteAbort,
    };
    status.name()
}
