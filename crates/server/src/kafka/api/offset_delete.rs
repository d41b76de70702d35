//! Forgets committed offsets of topics that the group does not read.

use std::collections::HashSet;

use cauce_core::partition::TopicPartition;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::offset_delete::*;

use super::membership::{at, shared};
use super::{Call, Right};
use crate::kafka::error::Coded;

pub(super) async fn answer(call: &Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group = match call.group(Right::Configure, &request.group_id) {
        Ok(group) => group,
        Err(code) => {
            return OffsetDeleteResponse { error_code: code.code(), ..OffsetDeleteResponse::default() };
        }
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let name = shared(&topic.name);
        wanted.extend(topic.partitions.iter().map(|partition| at(&name, partition.partition_index)));
    }
    wanted.retain(|at| call.check_partition(Right::Read, at).is_ok());
    let in_use: HashSet<TopicPartition> = match call.groups().delete_offsets(group, wanted).await {
        Ok(in_use) => in_use.into_iter().collect(),
        Err(error) => {
            let error_code = error.code().code();
            return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
        }
    };
    let code = |at: TopicPartition| match call.check_partition(Right::Read, &at) {
        Err(code) => code,
        Ok(()) if in_use.contains(&at) => ErrorCode::GroupSubscribedToTopic,
        Ok(()) => ErrorCode::None,
    };
    let topics = request.topics.into_iter().map(|topic| {
        let name = shared(&topic.name);
        let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
            partition_index: partition.partition_index,
            error_code: code(at(&name, partition.partition_index)).code(),
        });
        OffsetDeleteResponseTopic { partitions: partitions.collect(), name: topic.name }
    });
    OffsetDeleteResponse { topics: topics.collect(), ..OffsetDeleteResponse::default() }
}
