//! CreatePartitions (37): more partitions for a topic.

use crate::define::messages;
use crate::text::Text;

messages! {
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0..],
        timeout_ms: i32 [0..],
        validate_only: bool [0..],
    }

    CreatePartitionsTopic {
        name: Text [0..],
        count: i32 [0..],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..] = Some(Default::default()),
    }

    CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..],
    }

    CreatePartitionsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<CreatePartitionsTopicResult> [0..],
    }

    CreatePartitionsTopicResult {
        name: Text [0..],
        error_code: i16 [0..],
        error_message: Option<Text> [0..],
    }
}
