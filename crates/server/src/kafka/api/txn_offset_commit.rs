//! Offsets that count once a transaction is committed: they are part of what it writes.

use cauce_broker::groups::GroupError;
use cauce_core::group::{Commit, Refusal};
use cauce_core::producer::{Producer, ProducerId, TransactionVersion};
use cauce_core::stream::{Guard, Sender};
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::txn_offset_commit::*;

use super::Call;
use super::committing::{SentOffset, TopicOffsets, TopicOutcome, commit, outcomes};
use super::membership::{generation, identity, named};
use crate::kafka::error::Coded;

/// The first version in which each transaction has an epoch, and what is written adds itself to it (KIP-890).
const EPOCH_PER_TRANSACTION_SINCE: i16 = 5;

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
    let group = match named(&request.group_id) {
        Ok(group) => group,
        Err(code) => return outcomes(offsets, |_| code),
    };
    let producer = Producer { id: ProducerId(request.producer_id), epoch: request.producer_epoch };
    let guard = match guard_of(call, &group, producer).await {
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
async fn guard_of(call: &Call, group: &str, producer: Producer) -> Result<Option<Guard>, ErrorCode> {
    let node = &call.service.node;
    let topic = node.offsets_topic().map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
    let partition = topic.partition(node.offsets_partition(group).partition);
    let partition = partition.expect("the topic has the partitions of groups");
    let version = match call.version {
        EPOCH_PER_TRANSACTION_SINCE.. => TransactionVersion::EpochPerTransaction,
        _ => TransactionVersion::Classic,
    };
    let sender = Sender { producer, first_sequence: None, transactional: true };
    partition.verification(sender, version).await.map_err(|refusal| refusal.code())
}

fn in_response(TopicOutcome { name, partitions }: TopicOutcome) -> TxnOffsetCommitResponseTopic {
    let partitions = partitions.into_iter().map(|(partition_index, code)| TxnOffsetCommitResponsePartition {
        partition_index,
        error_code: code.code(),
    });
    TxnOffsetCommitResponseTopic { name, partitions: partitions.collect() }
}
