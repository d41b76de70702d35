//! Everything below an offset goes.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::delete_records::*;

use super::{Call, Right};

/// Stands for all there is.
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn answer(call: &Call, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for DeleteRecordsTopic { name, partitions } in request.topics {
        let mut results = Vec::with_capacity(partitions.len());
        for DeleteRecordsPartition { partition_index, offset } in partitions {
            let plain = DeleteRecordsPartitionResult { partition_index, ..Default::default() };
            results.push(match delete(call, &name, partition_index, offset).await {
                Ok(log_start) => DeleteRecordsPartitionResult { low_watermark: log_start as i64, ..plain },
                Err(code) => {
                    DeleteRecordsPartitionResult { low_watermark: -1, error_code: code.code(), ..plain }
                }
            });
        }
        response.topics.push(DeleteRecordsTopicResult { name, partitions: results });
    }
    // Nobody who is told that they are gone sees them come back.
    call.service.node.flush().await;
    response
}

async fn delete(call: &Call, topic: &str, partition: i32, before: i64) -> Result<u64, ErrorCode> {
    let topic = call.topic(Right::Configure, topic, Default::default())?;
    let partition = topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopic);
    }
    if !topic.config().cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.extent().high_watermark;
    let before = match before {
        HIGH_WATERMARK => high_watermark,
        before => u64::try_from(before).map_err(|_| ErrorCode::OffsetOutOfRange)?,
    };
    if before > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    partition.trim(before).await.ok_or(ErrorCode::UnknownTopicOrPartition)
}
