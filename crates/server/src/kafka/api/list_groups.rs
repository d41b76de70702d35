//! The groups there are, by state and kind.

use cauce_broker::groups::Listed;
use cauce_kafka::messages::list_groups::*;

use super::membership::state_name;
use super::{Call, ClusterRight, Right, text};
use crate::kafka::error::Coded;

/// The protocol all groups follow here.
const CLASSIC: &str = "classic";

pub(super) async fn answer(call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    let listed = match call.groups().list().await {
        Ok(listed) => listed,
        Err(error) => {
            return ListGroupsResponse { error_code: error.code().code(), ..ListGroupsResponse::default() };
        }
    };
    let sees_all = call.may_of_cluster(ClusterRight::Describe);
    let is_shown =
        |group: &Listed| is_wanted(&request, group) && (sees_all || call.may(Right::Describe, &group.group));
    let groups = listed.into_iter().filter(is_shown).map(|group| ListedGroup {
        group_id: text(group.group),
        protocol_type: group.protocol_type.map(text).unwrap_or_default(),
        group_state: state_name(group.state).into(),
        group_type: CLASSIC.into(),
    });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}

/// No filter lets everything through.
fn is_wanted(request: &ListGroupsRequest, group: &Listed) -> bool {
    let ListGroupsRequest { states_filter: states, types_filter: types } = request;
    let in_state = |name: &str| name.eq_ignore_ascii_case(state_name(group.state));
    (states.is_empty() || states.iter().any(|name| in_state(name)))
        && (types.is_empty() || types.iter().any(|name| name.eq_ignore_ascii_case(CLASSIC)))
}
