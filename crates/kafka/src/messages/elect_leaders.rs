//! ElectLeaders (43): chooses who leads a partition.

use crate::define::messages;
use crate::text::Text;

messages! {
    ElectLeadersRequest {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<TopicPartitions>> [0..] = Some(Default::default()),
        timeout_ms: i32 [0..] = 60_000,
    }

    TopicPartitions {
        topic: Text [0..],
        partitions: Vec<i32> [0..],
    }

    ElectLeadersResponse {
        throttle_time_ms: i32 [0..],
        error_code: i16 [1..],
        replica_election_results: Vec<ReplicaElectionResult> [0..],
    }

    ReplicaElectionResult {
        topic: Text [0..],
        partition_result: Vec<PartitionResult> [0..],
    }

    PartitionResult {
        partition_id: i32 [0..],
        error_code: i16 [0..],
        error_message: Option<Text> [0..],
    }
}
