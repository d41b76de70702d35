//! Commit or abort.

use cauce_core::producer::Ending;
use cauce_kafka::messages::end_txn::*;

use super::membership::shared;
use super::transactional::{epoch_per_transaction_since, producer};
use super::{Call, Right};

const FENCED_SINCE: i16 = 2;

pub(super) async fn answer(call: &Call, request: &EndTxnRequest) -> EndTxnResponse {
    if let Err(code) = call.check_transactional_id(Right::Write, &request.transactional_id) {
        return EndTxnResponse { error_code: code.code(), ..EndTxnResponse::default() };
    }
    let producer = producer(request.producer_id, request.producer_epoch);
    let ending = if request.committed { Ending::Commit } else { Ending::Abort };
    let version = call.transaction_version(epoch_per_transaction_since::END);
    let ended = call.transactional_ids().end(shared(&request.transactional_id), producer, ending, version);
    let ended = ended.await;
    let error_code = call.transaction_code(&ended, FENCED_SINCE).code();
    match ended {
        Ok(next) => {
            EndTxnResponse { producer_id: next.id.0, producer_epoch: next.epoch, ..EndTxnResponse::default() }
        }
        Err(_) => EndTxnResponse { error_code, ..EndTxnResponse::default() },
    }
}
