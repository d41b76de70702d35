//! DeleteTopics (20), by name or by id.

use crate::define::messages;
use crate::text::Text;
use crate::wire::Uuid;

messages! {
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<Text> [0..=5],
        timeout_ms: i32 [0..],
    }

    DeleteTopicState {
        name: Option<Text> [6..],
        topic_id: Uuid [6..],
    }

    DeleteTopicsResponse {
        throttle_time_ms: i32 [0..],
        responses: Vec<DeletableTopicResult> [0..],
    }

    DeletableTopicResult {
        name: Option<Text> [0..] = Some(Default::default()),
        topic_id: Uuid [6..],
        error_code: i16 [0..],
        error_message: Option<Text> [5..],
    }
}
