//! A group whose offsets a transaction will commit: it takes part with the partition those are written to.

use cauce_core::producer::TransactionVersion;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::add_offsets_to_txn::*;

use super::membership::shared;
use super::transactional::producer;
use super::{Call, Right};

const FENCED_SINCE: i16 = 2;

pub(super) async fn answer(call: &Call, request: &AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let code = add(call, request).await.err().unwrap_or(ErrorCode::None);
    AddOffsetsToTxnResponse { error_code: code.code(), ..AddOffsetsToTxnResponse::default() }
}

async fn add(call: &Call, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    call.check_transactional_id(Right::Write, &request.transactional_id)?;
    let group = call.group_of_members(&request.group_id)?;
    let partitions = vec![call.service.node.offsets_partition(&group)];
    let producer = producer(request.producer_id, request.producer_epoch);
    // Clients of the newer rules do not ask.
    let version = TransactionVersion::Classic;
    let ids = call.transactional_ids();
    let added = ids.add(shared(&request.transactional_id), producer, partitions, version).await;
    match call.transaction_code(&added, FENCED_SINCE) {
        ErrorCode::None => Ok(()),
        code => Err(code),
    }
}
