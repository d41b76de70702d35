//! Offsets that count once a transaction is committed: they are part of what it writes.

use cauce_broker::groups::GroupError;
use cauce_broker::transactional_ids::Candidate;
use cauce_core::group::{Commit, Refusal};
use cauce_core::producer::Producer;
use cauce_core::stream::{Guard, Sender};
use cauce_kafka::messages::txn_offset_commit::*;
use cauce_kafka::{ErrorCode, Text};

use super::committing::{SentOffset, TopicOffsets, TopicOutcome, commit, outcomes};
use super::membership::{generation, identity, shared};
use super::transactional::{epoch_per_transaction_since, producer};
use super::{Call, Right};
use crate::kafka::error::Coded;

/// The first version that can tell a client to abort.
const ABORTABLE_SINCE: i16 = 4;

pub(super) async fn answer(call: &Call, mut request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let offsets = std::mem::take(&mut request.topics).into_iter().map(|topic| {
        let sent = topic.partitions.into_iter().map(|partition| SentOffset {
            partition: partition.partition_index,
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata,
        });
        TopicOffsets::new(topic.name, sent)
    });
    let topics = outcomes_of(call, &request, offsets.collect()).await.into_iter().map(in_response);
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}

async fn outcomes_of(
    call: &Call,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<TopicOffsets>,
) -> Vec<TopicOutcome> {
    let group = match call.group_of_members(&request.group_id) {
        Ok(group) => group,
        Err(code) => return outcomes(offsets, |_| code),
    };
    let producer = producer(request.producer_id, request.producer_epoch);
    let guard = match guard_of(call, &group, &request.transactional_id, producer).await {
        Ok(guard) => guard,
        Err(code) => return outcomes(offsets, |_| code),
    };
    let by = Commit {
        identity: identity(&request.member_id, request.group_instance_id.as_ref()),
        generation: generation(request.generation_id),
        producer: Some(producer),
        retention_ms: None,
        offsets: Vec::new(),
    };
    let code = |error| match error {
        GroupError::Unknown => Refusal::IllegalGeneration.code(),
        error => error.code(),
    };
    commit(call, group, by, guard, offsets, code).await
}

/// What the partition of the group wants to see before it takes the first offsets of a transaction.
async fn guard_of(
    call: &Call,
    group: &str,
    transactional_id: &Text,
    producer: Producer,
) -> Result<Option<Guard>, ErrorCode> {
    call.check_transactional_id(Right::Write, transactional_id)?;
    let node = &call.service.node;
    let topic = node.offsets_topic().map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
    let partition = topic.partition(node.offsets_partition(group).partition);
    let partition = partition.expect("the topic has the partitions of groups");
    let version = call.transaction_version(epoch_per_transaction_since::OFFSET_COMMIT);
    let sender = Sender { producer, first_sequence: None, transactional: true };
    let candidate = Candidate { partition, sender };
    let admitted = node.admit(&shared(transactional_id), version, &[candidate]).await.remove(0);
    admitted.map_err(|refusal| call.admission_code(refusal, ABORTABLE_SINCE))
}

fn in_response(TopicOutcome { name, partitions }: TopicOutcome) -> TxnOffsetCommitResponseTopic {
    let partitions = partitions.into_iter().map(|(partition_index, code)| TxnOffsetCommitResponsePartition {
        partition_index,
        error_code: code.code(),
    });
    TxnOffsetCommitResponseTopic { name, partitions: partitions.collect() }
}
