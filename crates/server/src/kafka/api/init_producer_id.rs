//! A producer id and its epoch. Those of transactions are not served yet.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::init_producer_id::*;

use super::Call;

pub(super) async fn answer(call: &Call, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return InitProducerIdResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        };
    }
    // Without a transaction to fence off, a producer that lost its place is best off with an id of its own.
    let id = call.service.node.next_producer_id().await;
    InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..InitProducerIdResponse::default() }
}
