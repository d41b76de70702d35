//! Markers that somebody else has written than the coordinator: so an operator ends a transaction in partitions where it
//! hangs (KIP-664).

use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, TransactionVersion};
use cauce_core::stream::Marker;
use cauce_core::topic::OFFSETS_TOPIC;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::write_txn_markers::*;

use super::membership::{at, shared};
use super::transactional::producer;
use super::{Call, ClusterRight};
use crate::kafka::error::Coded;

/// There is one coordinator, whatever the operator thinks: markers of a later one would shut it out.
const COORDINATOR_EPOCH: i32 = 0;

pub(super) async fn answer(call: &Call, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut response = WriteTxnMarkersResponse::default();
    for WritableTxnMarker { producer_id, producer_epoch, transaction_result, topics, .. } in request.markers {
        let marker = Marker {
            producer: producer(producer_id, producer_epoch),
            ending: if transaction_result { Ending::Commit } else { Ending::Abort },
            coordinator_epoch: COORDINATOR_EPOCH,
            version: TransactionVersion::Classic,
        };
        let mut results = Vec::with_capacity(topics.len());
        for topic in topics {
            results.push(mark_topic(call, marker, topic).await);
        }
        response.markers.push(WritableTxnMarkerResult { producer_id, topics: results });
    }
    response
}

async fn mark_topic(
    call: &Call,
    marker: Marker,
    topic: WritableTxnMarkerTopic,
) -> WritableTxnMarkerTopicResult {
    let name = shared(&topic.name);
    let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
    for partition_index in topic.partition_indexes {
        let code = mark(call, marker, &at(&name, partition_index)).await.err().unwrap_or(ErrorCode::None);
        partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code: code.code() });
    }
    WritableTxnMarkerTopicResult { name: topic.name, partitions }
}

async fn mark(call: &Call, marker: Marker, at: &TopicPartition) -> Result<(), ErrorCode> {
    call.check_cluster(ClusterRight::Alter)?;
    let topic = call.service.node.topics().get(&at.topic);
    let partition = topic.and_then(|topic| topic.partition(at.partition));
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.end_transaction(marker).answer().await.map_err(|refusal| refusal.code())?;
    if *at.topic == *OFFSETS_TOPIC {
        call.groups().transaction_ended(at.partition, marker.producer.id, marker.ending);
    }
    Ok(())
}
