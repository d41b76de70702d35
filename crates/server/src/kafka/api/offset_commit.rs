//! How far a group has come.

use cauce_broker::groups::GroupError;
use cauce_core::group::{Commit, Refusal};
use cauce_kafka::messages::offset_commit::*;

use super::committing::{SentOffset, TopicOffsets, TopicOutcome, commit, outcomes};
use super::membership::{generation, identity};
use super::{Call, Right};
use crate::kafka::error::Coded;

/// The first version that can say that there is no such group.
const GROUP_NOT_FOUND_SINCE: i16 = 9;

pub(super) async fn answer(call: &Call, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let offsets = std::mem::take(&mut request.topics).into_iter().map(|topic| {
        let sent = topic.partitions.into_iter().map(|partition| SentOffset {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata,
        });
        TopicOffsets::new(topic.name, sent)
    });
    let outcomes = outcomes_of(call, &request, offsets.collect()).await;
    let topics = outcomes.into_iter().map(|TopicOutcome { name, partitions }| {
        let partitions = partitions.into_iter().map(|(partition_index, code)| {
            OffsetCommitResponsePartition { partition_index, error_code: code.code() }
        });
        OffsetCommitResponseTopic {
            name,
            partitions: partitions.collect(),
            ..OffsetCommitResponseTopic::default()
        }
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

async fn outcomes_of(
    call: &Call,
    request: &OffsetCommitRequest,
    offsets: Vec<TopicOffsets>,
) -> Vec<TopicOutcome> {
    let group = match call.group(Right::Read, &request.group_id) {
        Ok(group) => group,
        Err(code) => return outcomes(offsets, |_| code),
    };
    let by = Commit {
        identity: identity(&request.member_id, request.group_instance_id.as_ref()),
        generation: generation(request.generation_id_or_member_epoch),
        producer: None,
        retention_ms: Some(request.retention_time_ms).filter(|ms| *ms >= 0),
        offsets: Vec::new(),
    };
    let code = |error| match error {
        GroupError::Unknown if call.version < GROUP_NOT_FOUND_SINCE => Refusal::IllegalGeneration.code(),
        error => error.code(),
    };
    commit(call, group, by, None, offsets, code).await
}
