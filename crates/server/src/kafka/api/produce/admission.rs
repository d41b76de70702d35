//! Batches of a transaction are let into their partitions before they are handed over.

use cauce_broker::transactional_ids::{AdmissionRefusal, Candidate};
use cauce_core::stream::Guard;
use cauce_kafka::{ErrorCode, Text};

use super::Ready;
use crate::kafka::api::membership::shared;
use crate::kafka::api::transactional::epoch_per_transaction_since;
use crate::kafka::api::{Call, Right, text};

/// The first version that can tell a client to abort.
const ABORTABLE_SINCE: i16 = 11;

/// Lets in those that are part of a transaction.
pub(super) async fn admit(
    call: &Call,
    transactional_id: Option<&Text>,
    ready: &[Ready],
) -> Vec<Result<Option<Guard>, (ErrorCode, Text)>> {
    let mut guards = vec![Ok(None); ready.len()];
    let (mut places, mut candidates) = (Vec::new(), Vec::new());
    for (place, Ready { partition, batch, .. }) in ready.iter().enumerate() {
        let Some(sender) = batch.sender().filter(|sender| sender.transactional) else { continue };
        places.push(place);
        candidates.push(Candidate { partition: partition.clone(), sender });
    }
    if candidates.is_empty() {
        return guards;
    }
    let Some(id) = transactional_id else {
        let reason = Text::from("a transaction without a transactional id");
        places.into_iter().for_each(|place| {
            guards[place] = Err((ErrorCode::TransactionalIdAuthorizationFailed, reason.clone()));
        });
        return guards;
    };
    if let Err(code) = call.check_transactional_id(Right::Write, id) {
        let reason = Text::from("no permission for this transactional id");
        places.into_iter().for_each(|place| guards[place] = Err((code, reason.clone())));
        return guards;
    }
    let version = call.transaction_version(epoch_per_transaction_since::PRODUCE);
    let admitted = call.service.node.admit(&shared(id), version, &candidates).await;
    for (place, admitted) in places.into_iter().zip(admitted) {
        guards[place] = admitted.map_err(|refusal| (admission_code(call, refusal), text(refusal)));
    }
    guards
}

/// Not every client knows that a coordinator may not be ready when it produces.
fn admission_code(call: &Call, refusal: AdmissionRefusal) -> ErrorCode {
    match call.admission_code(refusal, ABORTABLE_SINCE) {
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable => {
            ErrorCode::NotEnoughReplicas
        }
        code => code,
    }
}
