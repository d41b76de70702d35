//! CreateTopics (19).

use crate::define::messages;
use crate::text::Text;
use crate::wire::Uuid;

messages! {
    CreateTopicsRequest {
        topics: Vec<CreatableTopic> [0..],
        timeout_ms: i32 [0..] = 60000,
        validate_only: bool [0..],
    }

    CreatableTopic {
        name: Text [0..],
        num_partitions: i32 [0..],
        replication_factor: i16 [0..],
        assignments: Vec<CreatableReplicaAssignment> [0..],
        configs: Vec<CreatableTopicConfig> [0..],
    }

    CreatableReplicaAssignment {
        partition_index: i32 [0..],
        broker_ids: Vec<i32> [0..],
    }

    CreatableTopicConfig {
        name: Text [0..],
        value: Option<Text> [0..] = Some(Default::default()),
    }

    CreateTopicsResponse {
        throttle_time_ms: i32 [0..],
        topics: Vec<CreatableTopicResult> [0..],
    }

    CreatableTopicResult {
        name: Text [0..],
        topic_id: Uuid [7..],
        error_code: i16 [0..],
        error_message: Option<Text> [0..] = Some(Default::default()),
        topic_config_error_code: i16 [5..] tag 0,
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5..] = Some(Default::default()),
    }

    CreatableTopicConfigs {
        name: Text [5..],
        value: Option<Text> [5..] = Some(Default::default()),
        read_only: bool [5..],
        config_source: i8 [5..] = -1,
        is_sensitive: bool [5..],
    }
}
