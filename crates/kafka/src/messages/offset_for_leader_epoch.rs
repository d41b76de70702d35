//! OffsetForLeaderEpoch (23): where an epoch ended.

use crate::define::messages;
use crate::text::Text;

messages! {
    OffsetForLeaderEpochRequest {
        replica_id: i32 [3..] = -2,
        topics: Vec<OffsetForLeaderTopic> [0..],
    }

    OffsetForLeaderTopic {
        topic: Text [0..],
        partitions: Vec<OffsetForLeaderPartition> [0..],
    }

    OffsetForLeaderPartition {
        partition: i32 [0..],
        current_leader_epoch: i32 [0..] = -1,
        leader_epoch: i32 [0..],
    }

    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [0..],
        topics: Vec<OffsetForLeaderTopicResult> [0..],
    }

    OffsetForLeaderTopicResult {
        topic: Text [0..],
        partitions: Vec<EpochEndOffset> [0..],
    }

    EpochEndOffset {
        error_code: i16 [0..],
        partition: i32 [0..],
        leader_epoch: i32 [0..] = -1,
        end_offset: i64 [0..] = -1,
    }
}
