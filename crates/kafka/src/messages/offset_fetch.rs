//! OffsetFetch (9): how far a group had come.

use crate::define::messages;
use crate::text::Text;
use crate::wire::Uuid;

messages! {
    OffsetFetchRequest {
        group_id: Text [0..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [0..=7] = Some(Default::default()),
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7..],
    }

    OffsetFetchRequestTopic {
        name: Text [0..=7],
        partition_indexes: Vec<i32> [0..=7],
    }

    OffsetFetchRequestGroup {
        group_id: Text [8..],
        member_id: Option<Text> [9..],
        member_epoch: i32 [9..] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>> [8..] = Some(Default::default()),
    }

    OffsetFetchRequestTopics {
        name: Text [8..],
        partition_indexes: Vec<i32> [8..],
    }

    OffsetFetchResponse {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetFetchResponseTopic> [0..=7],
        error_code: i16 [2..=7],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    OffsetFetchResponseTopic {
        name: Text [0..=7],
        partitions: Vec<OffsetFetchResponsePartition> [0..=7],
    }

    OffsetFetchResponsePartition {
        partition_index: i32 [0..=7],
        committed_offset: i64 [0..=7],
        committed_leader_epoch: i32 [5..=7] = -1,
        metadata: Option<Text> [0..=7] = Some(Default::default()),
        error_code: i16 [0..=7],
    }

    OffsetFetchResponseGroup {
        group_id: Text [8..],
        topics: Vec<OffsetFetchResponseTopics> [8..],
        error_code: i16 [8..],
    }

    OffsetFetchResponseTopics {
        name: Text [8..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    OffsetFetchResponsePartitions {
        partition_index: i32 [8..],
        committed_offset: i64 [8..],
        committed_leader_epoch: i32 [8..] = -1,
        metadata: Option<Text> [8..] = Some(Default::default()),
        error_code: i16 [8..],
    }
}
