//! Groups without members are deleted, with the offsets they committed.

use cauce_broker::groups::GroupError;
use cauce_core::group::Refusal;
use cauce_kafka::messages::delete_groups::*;

use super::membership::code_of;
use super::{Call, Right};
use crate::kafka::error::Coded;

pub(super) async fn answer(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let error_code = match call.group(Right::Configure, &group_id) {
            Ok(group) => match call.groups().delete(group).await {
                // Somebody else was faster.
                Err(GroupError::Refused(Refusal::Gone)) => GroupError::Unknown.code().code(),
                deleted => code_of(&deleted),
            },
            Err(code) => code.code(),
        };
        results.push(DeletableGroupResult { group_id, error_code });
    }
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}
