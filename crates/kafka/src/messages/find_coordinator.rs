//! FindCoordinator (10): the node that looks after a group or a transactional id.

use crate::define::messages;
use crate::text::Text;

messages! {
    FindCoordinatorRequest {
        key: Text [0..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<Text> [4..],
    }

    FindCoordinatorResponse {
        throttle_time_ms: i32 [1..],
        error_code: i16 [0..=3],
        error_message: Option<Text> [1..=3] = Some(Default::default()),
        node_id: i32 [0..=3],
        host: Text [0..=3],
        port: i32 [0..=3],
        coordinators: Vec<Coordinator> [4..],
    }

    Coordinator {
        key: Text [4..],
        node_id: i32 [4..],
        host: Text [4..],
        port: i32 [4..],
        error_code: i16 [4..],
        error_message: Option<Text> [4..] = Some(Default::default()),
    }
}
