//! State and members of groups.

use bytes::Bytes;
use cauce_broker::groups::GroupError;
use cauce_core::group::{Description, MemberView, State};
use cauce_kafka::messages::describe_groups::*;
use cauce_kafka::{ErrorCode, Text};

use super::membership::{shared, state_name};
use super::{Call, Right, distinct, text};
use crate::kafka::error::Coded;

/// The first version that can say that there is no such group (KIP-1043).
const NOT_FOUND_SINCE: i16 = 6;

pub(super) async fn answer(call: &Call, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for group_id in distinct(request.groups, Text::clone) {
        if let Err(code) = call.check_group(Right::Describe, &group_id) {
            let error_code = code.code();
            groups.push(DescribedGroup { error_code, group_id, ..DescribedGroup::default() });
            continue;
        }
        let mut group = match call.groups().describe(shared(&group_id)).await {
            Ok(description) => described(group_id, description),
            Err(error) => refusal(call, group_id, error),
        };
        if request.include_authorized_operations && group.error_code == ErrorCode::None.code() {
            group.authorized_operations = call.group_operations(&group.group_id);
        }
        groups.push(group);
    }
    DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
}

fn described(group_id: Text, description: Description) -> DescribedGroup {
    let member = |member: MemberView| DescribedGroupMember {
        member_id: text(member.id),
        group_instance_id: member.instance.map(text),
        client_id: text(member.client_id),
        client_host: text(member.client_host),
        member_metadata: Bytes::copy_from_slice(&member.metadata),
        member_assignment: Bytes::copy_from_slice(&member.assignment),
    };
    DescribedGroup {
        group_id,
        group_state: state_name(description.state).into(),
        protocol_type: description.protocol_type.map(text).unwrap_or_default(),
        protocol_data: description.protocol.map(text).unwrap_or_default(),
        members: description.members.into_iter().map(member).collect(),
        ..DescribedGroup::default()
    }
}

/// A group that is not there is dead, and that is no error in earlier versions.
fn refusal(call: &Call, group_id: Text, error: GroupError) -> DescribedGroup {
    let is_dead = error == GroupError::Unknown;
    let is_error = !is_dead || call.version >= NOT_FOUND_SINCE;
    DescribedGroup {
        error_code: if is_error { error.code().code() } else { ErrorCode::None.code() },
        error_message: is_error.then(|| text(error)),
        group_id,
        group_state: if is_dead { state_name(State::Dead).into() } else { Text::default() },
        ..DescribedGroup::default()
    }
}
