//! How far a group has come.

use std::collections::HashSet;

use cauce_broker::groups::GroupError;
use cauce_core::group::{Commit, OffsetToCommit, Refusal};
use cauce_core::partition::TopicPartition;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::offset_commit::*;

use super::membership::{at, generation, given, identity, shared};
use super::{Call, believed};
use crate::kafka::error::Coded;

/// The first version that can say that there is no such group.
const GROUP_NOT_FOUND_SINCE: i16 = 9;

pub(super) async fn answer(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let offsets = offsets_of(call, &request.topics);
    let outcome = match offsets.is_empty() {
        true => Outcome::Stored(HashSet::new()),
        false => {
            let commit = Commit {
                identity: identity(&request.member_id, request.group_instance_id.as_ref()),
                generation: generation(request.generation_id_or_member_epoch),
                producer: None,
                retention_ms: Some(request.retention_time_ms).filter(|ms| *ms >= 0),
                offsets,
            };
            match call.groups().commit(shared(&request.group_id), commit, None).await {
                Ok(too_long) => Outcome::Stored(too_long.into_iter().collect()),
                Err(error) => Outcome::Refused(refusal(call, error)),
            }
        }
    };
    let topics = request.topics.into_iter().map(|topic| {
        let name = shared(&topic.name);
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: outcome.of(call, &at(&name, partition.partition_index)).code(),
        });
        OffsetCommitResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
            ..OffsetCommitResponseTopic::default()
        }
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

/// What became of the offsets that could be committed.
enum Outcome {
    /// But for those with metadata that is too long.
    Stored(HashSet<TopicPartition>),
    Refused(ErrorCode),
}

impl Outcome {
    fn of(&self, call: &Call, at: &TopicPartition) -> ErrorCode {
        match (call.check_partition(at), self) {
            (Err(code), _) => code,
            (Ok(()), Outcome::Refused(code)) => *code,
            (Ok(()), Outcome::Stored(too_long)) if too_long.contains(at) => ErrorCode::OffsetMetadataTooLarge,
            (Ok(()), Outcome::Stored(_)) => ErrorCode::None,
        }
    }
}

/// Those for partitions that there are.
fn offsets_of(call: &Call, topics: &[OffsetCommitRequestTopic]) -> Vec<OffsetToCommit> {
    let mut offsets = Vec::new();
    for topic in topics {
        let name = shared(&topic.name);
        let offset = |partition: &OffsetCommitRequestPartition| OffsetToCommit {
            at: at(&name, partition.partition_index),
            offset: partition.committed_offset,
            leader_epoch: believed(partition.committed_leader_epoch),
            metadata: partition.committed_metadata.as_ref().and_then(given).unwrap_or_default(),
        };
        offsets.extend(topic.partitions.iter().map(offset).filter(|to| call.check_partition(&to.at).is_ok()));
    }
    offsets
}

fn refusal(call: &Call, error: GroupError) -> ErrorCode {
    match error {
        GroupError::Unknown if call.version < GROUP_NOT_FOUND_SINCE => Refusal::IllegalGeneration.code(),
        error => error.code(),
    }
}
