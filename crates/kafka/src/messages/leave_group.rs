//! LeaveGroup (13): members leave.

use crate::define::messages;
use crate::text::Text;

messages! {
    LeaveGroupRequest {
        group_id: Text [0..],
        member_id: Text [0..=2],
        members: Vec<MemberIdentity> [3..],
    }

    MemberIdentity {
        member_id: Text [3..],
        group_instance_id: Option<Text> [3..],
        reason: Option<Text> [5..],
    }

    LeaveGroupResponse {
        throttle_time_ms: i32 [1..],
        error_code: i16 [0..],
        members: Vec<MemberResponse> [3..],
    }

    MemberResponse {
        member_id: Text [3..],
        group_instance_id: Option<Text> [3..] = Some(Default::default()),
        error_code: i16 [3..],
    }
}
