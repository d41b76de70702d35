//! TxnOffsetCommit (28): offsets that count once the transaction is committed.

use crate::define::messages;
use crate::text::Text;

messages! {
    TxnOffsetCommitRequest {
        transactional_id: Text [0..],
        group_id: Text [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        generation_id: i32 [3..] = -1,
        member_id: Text [3..],
        group_instance_id: Option<Text> [3..],
        topics: Vec<TxnOffsetCommitRequestTopic> [0..],
    }

    TxnOffsetCommitRequestTopic {
        name: Text [0..],
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..],
    }

    TxnOffsetCommitRequestPartition {
        partition_index: i32 [0..],
        committed_offset: i64 [0..],
        committed_leader_epoch: i32 [2..] = -1,
        committed_metadata: Option<Text> [0..] = Some(Default::default()),
    }

    TxnOffsetCommitResponse {
        throttle_time_ms: i32 [0..],
        topics: Vec<TxnOffsetCommitResponseTopic> [0..],
    }

    TxnOffsetCommitResponseTopic {
        name: Text [0..],
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..],
    }

    TxnOffsetCommitResponsePartition {
        partition_index: i32 [0..],
        error_code: i16 [0..],
    }
}
