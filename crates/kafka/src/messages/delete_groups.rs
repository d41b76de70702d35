//! DeleteGroups (42).

use crate::define::messages;
use crate::text::Text;

messages! {
    DeleteGroupsRequest {
        groups_names: Vec<Text> [0..],
    }

    DeleteGroupsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<DeletableGroupResult> [0..],
    }

    DeletableGroupResult {
        group_id: Text [0..],
        error_code: i16 [0..],
    }
}
