//! Who leads a partition: here always this node, so no election is ever needed.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::elect_leaders::*;

use super::{Call, ClusterRight, Right, text};

pub(super) fn answer(call: &Call, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if let Err(code) = call.check_cluster(ClusterRight::Alter) {
        return ElectLeadersResponse { error_code: code.code(), ..Default::default() };
    }
    // Who asks for all partitions hears only of those where something was to do.
    let topics = request.topic_partitions.unwrap_or_default();
    let replica_election_results = topics.into_iter().map(|topic| {
        let results = topic.partitions.iter().map(|&number| elect(call, &topic.topic, number));
        ReplicaElectionResult { partition_result: results.collect(), topic: topic.topic }
    });
    ElectLeadersResponse {
        replica_election_results: replica_election_results.collect(),
        ..Default::default()
    }
}

fn elect(call: &Call, topic: &str, partition_id: i32) -> PartitionResult {
    let (code, reason) = match call.partition(Right::Describe, topic, Default::default(), partition_id) {
        Ok(_) => (ErrorCode::ElectionNotNeeded, "this node leads it"),
        Err(code) => (code, "there is no such partition"),
    };
    PartitionResult { partition_id, error_code: code.code(), error_message: Some(text(reason)) }
}
