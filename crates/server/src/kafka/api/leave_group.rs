//! Members leave, or an administrator sends them away.

use cauce_core::group::Refusal;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::leave_group::*;

use super::Call;
use super::membership::identity;
use crate::kafka::error::Coded;

/// The first version in which several leave (KIP-345).
const SEVERAL_SINCE: i16 = 3;

pub(super) async fn answer(call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group = match call.group_of_members(&request.group_id) {
        Ok(group) => group,
        Err(code) => return refusal(code),
    };
    let leaving = match call.version {
        SEVERAL_SINCE.. => request.members,
        _ => vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }],
    };
    let identities =
        leaving.iter().map(|member| identity(&member.member_id, member.group_instance_id.as_ref()));
    let left = match call.groups().leave(group, identities.collect()).await {
        Ok(left) => left,
        Err(error) => return refusal(error.code()),
    };
    let code = |left: Result<(), Refusal>| left.map_or_else(|refusal| refusal.code(), |()| ErrorCode::None);
    let mut members = leaving.into_iter().zip(left).map(|(member, left)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code(left).code(),
    });
    if call.version >= SEVERAL_SINCE {
        return LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() };
    }
    let error_code = members.next().expect("one asked to leave").error_code;
    LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
}

fn refusal(code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code: code.code(), ..LeaveGroupResponse::default() }
}
