//! A producer id and its epoch: those of a new producer, or of the next incarnation of a transactional one.

use cauce_core::producer::{Producer, ProducerId};
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::init_producer_id::*;

use super::membership::shared;
use super::transactional::producer;
use super::{Call, ClusterRight, Right};

const FENCED_SINCE: i16 = 4;

const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

pub(super) async fn answer(call: &Call, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    match next(call, request).await {
        Ok(Producer { id, epoch }) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: epoch,
            ..InitProducerIdResponse::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: code.code(),
            producer_id: NO_ID,
            producer_epoch: NO_EPOCH,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn next(call: &Call, request: &InitProducerIdRequest) -> Result<Producer, ErrorCode> {
    let Some(name) = &request.transactional_id else {
        call.check_cluster(ClusterRight::IdempotentWrite)?;
        // Without a transaction to fence off, a producer that lost its place is best off with an id of its own.
        let id: ProducerId = call.service.node.next_producer_id().await;
        return Ok(Producer { id, epoch: 0 });
    };
    call.check_transactional_id(Right::Write, name)?;
    let expected = match (request.producer_id, request.producer_epoch) {
        (NO_ID, NO_EPOCH) => None,
        (NO_ID, _) | (_, NO_EPOCH) => return Err(ErrorCode::InvalidRequest),
        (id, epoch) => Some(producer(id, epoch)),
    };
    let next = call.transactional_ids().init(shared(name), request.transaction_timeout_ms, expected).await;
    next.map_err(|error| call.transaction_code::<()>(&Err(error), FENCED_SINCE))
}
