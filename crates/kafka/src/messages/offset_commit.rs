//! OffsetCommit (8): how far a group has come.

use crate::define::messages;
use crate::text::Text;
use crate::wire::Uuid;

messages! {
    OffsetCommitRequest {
        group_id: Text [0..],
        generation_id_or_member_epoch: i32 [0..] = -1,
        member_id: Text [0..],
        group_instance_id: Option<Text> [7..],
        retention_time_ms: i64 [0..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic> [0..],
    }

    OffsetCommitRequestTopic {
        name: Text [0..],
        partitions: Vec<OffsetCommitRequestPartition> [0..],
    }

    OffsetCommitRequestPartition {
        partition_index: i32 [0..],
        committed_offset: i64 [0..],
        committed_leader_epoch: i32 [6..] = -1,
        committed_metadata: Option<Text> [0..] = Some(Default::default()),
    }

    OffsetCommitResponse {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetCommitResponseTopic> [0..],
    }

    OffsetCommitResponseTopic {
        name: Text [0..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetCommitResponsePartition> [0..],
    }

    OffsetCommitResponsePartition {
        partition_index: i32 [0..],
        error_code: i16 [0..],
    }
}
