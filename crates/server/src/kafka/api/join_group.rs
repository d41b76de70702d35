//! A member asks to be part of the next generation, and is answered when that begins.

use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::groups::subscribed_topics;
use cauce_core::group::{Join, JoinAnswer, Membership, Protocol};
use cauce_kafka::messages::join_group::*;
use cauce_kafka::{ErrorCode, Text};

use super::membership::{identity, shared};
use super::{Call, text};
use crate::kafka::error::Coded;

/// The first version whose clients come back with the id they are told (KIP-394).
const ID_REQUIRED_SINCE: i16 = 4;

/// The first version that says nothing where there is no protocol.
const NO_PROTOCOL_SINCE: i16 = 7;

/// The first version whose leaders may be told that everybody has a share (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

/// Bytes of the client's id that its members' ids begin with.
const ID_PREFIX_BYTES_MAX: usize = 255;

pub(super) async fn answer(call: &Call, request: JoinGroupRequest) -> JoinGroupResponse {
    let group = match call.group_of_members(&request.group_id) {
        Ok(group) => group,
        Err(code) => return refusal(call, code, request.member_id),
    };
    if call.service.node.memory().is_spent() {
        return refusal(call, ErrorCode::CoordinatorNotAvailable, request.member_id);
    }
    match call.groups().join(group, join_of(call, &request)).await {
        Ok(JoinAnswer::Joined(membership)) => welcome(membership),
        Ok(JoinAnswer::IdRequired(id)) => refusal(call, ErrorCode::MemberIdRequired, text(id)),
        Ok(JoinAnswer::Refused(reason)) => refusal(call, reason.code(), request.member_id),
        Err(error) => refusal(call, error.code(), request.member_id),
    }
}

fn join_of(call: &Call, request: &JoinGroupRequest) -> Join {
    let client_id = call.client_id.clone().unwrap_or_default();
    let instance = request.group_instance_id.as_ref();
    let protocol = |protocol: &JoinGroupRequestProtocol| Protocol {
        name: shared(&protocol.name),
        metadata: Arc::from(&protocol.metadata[..]),
        topics: subscribed_topics(&request.protocol_type, &protocol.metadata),
    };
    let node = &call.service.node;
    let bytes = request.protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len());
    Join {
        identity: identity(&request.member_id, instance),
        fresh_id: fresh_id(call, instance.unwrap_or(&client_id)),
        needs_id: call.version >= ID_REQUIRED_SINCE,
        skips_assignment: call.version >= SKIP_ASSIGNMENT_SINCE,
        client_id: shared(&client_id),
        client_host: format!("/{}", call.client_host).into(),
        session_timeout_ms: request.session_timeout_ms.into(),
        // The first version does not tell the two apart.
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => request.session_timeout_ms.into(),
            timeout_ms => timeout_ms.into(),
        },
        protocol_type: shared(&request.protocol_type),
        protocols: request.protocols.iter().map(protocol).collect(),
        charge: Arc::new(node.memory().gauge().charge(bytes.sum())),
    }
}

/// Says whose it is, and is nobody else's.
fn fresh_id(call: &Call, prefix: &str) -> Arc<str> {
    let prefix = &prefix[..prefix.floor_char_boundary(ID_PREFIX_BYTES_MAX)];
    format!("{prefix}-{}", call.service.node.random_name()).into()
}

fn welcome(membership: Membership) -> JoinGroupResponse {
    let members = membership.members.iter().map(|member| JoinGroupResponseMember {
        member_id: text(&member.id),
        group_instance_id: member.instance.as_ref().map(text),
        metadata: Bytes::copy_from_slice(&member.metadata),
    });
    JoinGroupResponse {
        generation_id: membership.generation,
        protocol_type: Some(text(&membership.protocol_type)),
        protocol_name: Some(text(&membership.protocol)),
        leader: text(&membership.leader),
        skip_assignment: membership.skip_assignment,
        member_id: text(&membership.member),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

fn refusal(call: &Call, code: ErrorCode, member_id: Text) -> JoinGroupResponse {
    let protocol_name = (call.version < NO_PROTOCOL_SINCE).then(Text::default);
    JoinGroupResponse { error_code: code.code(), protocol_name, member_id, ..JoinGroupResponse::default() }
}
