//! A member fetches its share; the leader hands in everybody's.

use std::sync::Arc;

use bytes::Bytes;
use cauce_core::group::{Refusal, Sync};
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::sync_group::*;

use super::membership::{identity, shared};
use super::{Call, text};
use crate::kafka::error::Coded;

/// The first version that must say what the member believes to be the protocol (KIP-559).
const PROTOCOL_SINCE: i16 = 5;

pub(super) async fn answer(call: &Call, request: SyncGroupRequest) -> SyncGroupResponse {
    let group = match call.group_of_members(&request.group_id) {
        Ok(group) => group,
        Err(code) => return refusal(code),
    };
    let says_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if call.version >= PROTOCOL_SINCE && !says_protocol {
        return refusal(Refusal::InconsistentProtocol.code());
    }
    let assignments = request.assignments.iter();
    let sync = Sync {
        identity: identity(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(shared),
        protocol: request.protocol_name.as_ref().map(shared),
        assignments: assignments.map(|to| (shared(&to.member_id), Arc::from(&to.assignment[..]))).collect(),
    };
    match call.groups().sync(group, sync).await {
        Ok(share) => SyncGroupResponse {
            protocol_type: Some(text(&share.protocol_type)),
            protocol_name: Some(text(&share.protocol)),
            assignment: Bytes::copy_from_slice(&share.assignment),
            ..SyncGroupResponse::default()
        },
        Err(error) => refusal(error.code()),
    }
}

fn refusal(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.code(), ..SyncGroupResponse::default() }
}
