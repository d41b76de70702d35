//! The offset at a time, or at one of the special times below zero.

use std::sync::Arc;

use cauce_broker::stream::{PartitionHandle, Timed};
use cauce_core::stream::{Isolation, LEADER_EPOCH, check_leader_epoch};
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::list_offsets::*;

use super::{Call, Right, believed};
use crate::kafka::api::fetch::isolation;
use crate::kafka::error::Coded;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the latest time (KIP-734).
const LATEST_TIME: i64 = -3;
/// The first offset that is kept here and not elsewhere (KIP-405).
const EARLIEST_LOCAL: i64 = -4;
/// The last offset that is kept elsewhere (KIP-1005): nothing is.
const LATEST_TIERED: i64 = -5;

pub(super) async fn answer(call: &Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let mut response = ListOffsetsResponse::default();
    for ListOffsetsTopic { name, partitions } in request.topics {
        let mut answers = Vec::with_capacity(partitions.len());
        for wanted in partitions {
            let found = find(call, &name, &wanted, isolation).await;
            let partition_index = wanted.partition_index;
            let plain = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
            answers.push(match found {
                Ok(Some((offset, timestamp))) => {
                    ListOffsetsPartitionResponse { offset, timestamp, leader_epoch: LEADER_EPOCH, ..plain }
                }
                Ok(None) => plain,
                Err(code) => ListOffsetsPartitionResponse { error_code: code.code(), ..plain },
            });
        }
        response.topics.push(ListOffsetsTopicResponse { name, partitions: answers });
    }
    response
}

/// Offset and time; `None` where there is no such record.
async fn find(
    call: &Call,
    topic: &str,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Option<(i64, i64)>, ErrorCode> {
    let partition = call.partition(Right::Describe, topic, Default::default(), wanted.partition_index)?;
    check_leader_epoch(believed(wanted.current_leader_epoch)).map_err(|error| error.code())?;
    let extent = partition.extent();
    let end = extent.visible_end(isolation);
    match wanted.timestamp {
        LATEST => Ok(Some((end as i64, -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((extent.log_start as i64, -1))),
        LATEST_TIERED => Ok(None),
        LATEST_TIME => by_time(partition, move |partition| partition.latest_time(end)).await,
        timestamp @ 0.. => {
            by_time(partition, move |partition| partition.offset_for_time(timestamp, end)).await
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

async fn by_time(
    partition: Arc<PartitionHandle>,
    look: impl FnOnce(&PartitionHandle) -> std::io::Result<Option<Timed>> + Send + 'static,
) -> Result<Option<(i64, i64)>, ErrorCode> {
    let name = partition.at.to_string();
    let looked = tokio::task::spawn_blocking(move || look(&partition)).await;
    match looked {
        Ok(Ok(found)) => Ok(found.map(|found| (found.offset as i64, found.timestamp_ms))),
        Ok(Err(error)) => {
            tracing::error!(partition = name, %error, "reading a log failed");
            Err(ErrorCode::KafkaStorageError)
        }
        Err(_) => Err(ErrorCode::UnknownServerError),
    }
}
