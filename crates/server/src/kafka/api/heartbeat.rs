//! A member is alive, and learns whether it has to join again.

use cauce_kafka::messages::heartbeat::*;

use super::Call;
use super::membership::{code_of, identity};

pub(super) async fn answer(call: &Call, request: &HeartbeatRequest) -> HeartbeatResponse {
    let error_code = match call.group_of_members(&request.group_id) {
        Ok(group) => {
            let identity = identity(&request.member_id, request.group_instance_id.as_ref());
            code_of(&call.groups().heartbeat(group, identity, request.generation_id).await)
        }
        Err(code) => code.code(),
    };
    HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
}
