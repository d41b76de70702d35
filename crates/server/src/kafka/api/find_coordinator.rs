//! Who looks after a group or a transaction: this node, always.

use cauce_kafka::messages::find_coordinator::*;
use cauce_kafka::{ErrorCode, Text};

use super::{Call, Right, text};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The first version that asks for several at once (KIP-699).
const SEVERAL_SINCE: i16 = 4;

pub(super) fn answer(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if call.version >= SEVERAL_SINCE {
        let find = |key: Text| match refusal(call, request.key_type, &key) {
            Some((code, reason)) => Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: code.code(),
                error_message: Some(Text::from(reason)),
                ..Coordinator::default()
            },
            None => Coordinator {
                key,
                node_id: call.node_id(),
                host: text(&call.host),
                port: call.port.into(),
                error_message: None,
                ..Coordinator::default()
            },
        };
        let coordinators = request.coordinator_keys.into_iter().map(find).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    match refusal(call, request.key_type, &request.key) {
        Some((code, reason)) => FindCoordinatorResponse {
            error_code: code.code(),
            error_message: Some(Text::from(reason)),
            node_id: -1,
            port: -1,
            ..FindCoordinatorResponse::default()
        },
        None => FindCoordinatorResponse {
            error_message: None,
            node_id: call.node_id(),
            host: text(&call.host),
            port: call.port.into(),
            ..FindCoordinatorResponse::default()
        },
    }
}

fn refusal(call: &Call, key_type: i8, key: &str) -> Option<(ErrorCode, &'static str)> {
    let checked = match key_type {
        GROUP => call.check_group(Right::Describe, key),
        TRANSACTION => call.check_transactional_id(Right::Describe, key),
        _ => return Some((ErrorCode::InvalidRequest, "only groups and transactions are looked after")),
    };
    checked.err().map(|code| (code, "no permission for this name"))
}
