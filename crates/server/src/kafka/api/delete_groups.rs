//! Groups without members are deleted, with the offsets they committed.

use cauce_broker::groups::GroupError;
use cauce_core::group::Refusal;
use cauce_kafka::messages::delete_groups::*;

use super::Call;
use super::membership::{code_of, shared};

pub(super) async fn answer(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let deleted = match call.groups().delete(shared(&group_id)).await {
            // Somebody else was faster.
            Err(GroupError::Refused(Refusal::Gone)) => Err(GroupError::Unknown),
            deleted => deleted,
        };
        results.push(DeletableGroupResult { group_id, error_code: code_of(&deleted) });
    }
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}
