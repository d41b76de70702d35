//! The producers that partitions remember.

use cauce_core::stream::ProducerView;
use cauce_kafka::messages::describe_producers::*;

use super::{Call, Right, distinct, text};

pub(super) async fn answer(call: &Call, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let mut response = DescribeProducersResponse::default();
    for TopicRequest { name, partition_indexes } in distinct(request.topics, |topic| topic.name.clone()) {
        let mut partitions = Vec::with_capacity(partition_indexes.len());
        for partition_index in distinct(partition_indexes, |index| *index) {
            let mut answer = PartitionResponse { partition_index, ..PartitionResponse::default() };
            match call.partition(Right::Read, &name, Default::default(), partition_index) {
                Ok(partition) => {
                    answer.active_producers = partition.producers().await.iter().map(shown).collect();
                }
                Err(code) => {
                    (answer.error_code, answer.error_message) = (code.code(), Some(text(code.name())));
                }
            }
            partitions.push(answer);
        }
        response.topics.push(TopicResponse { name, partitions });
    }
    response
}

fn shown(view: &ProducerView) -> ProducerState {
    ProducerState {
        producer_id: view.producer.id.0,
        producer_epoch: view.producer.epoch.into(),
        last_sequence: view.last_sequence.unwrap_or(-1),
        last_timestamp: view.last_timestamp_ms.unwrap_or(-1),
        coordinator_epoch: view.coordinator_epoch.unwrap_or(-1),
        current_txn_start_offset: view.open_from.map_or(-1, |offset| offset as i64),
    }
}
