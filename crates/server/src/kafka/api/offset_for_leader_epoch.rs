//! Where an epoch ended: there is one, and it goes on.

use cauce_core::stream::{LEADER_EPOCH, check_leader_epoch};
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::offset_for_leader_epoch::*;

use super::{Call, Right, believed};
use crate::kafka::error::Coded;

pub(super) fn answer(call: &Call, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|OffsetForLeaderTopic { topic, partitions }| {
        let find = |wanted: OffsetForLeaderPartition| {
            let plain = EpochEndOffset { partition: wanted.partition, ..EpochEndOffset::default() };
            match end(call, &topic, &wanted) {
                Ok(Some(end)) => {
                    EpochEndOffset { leader_epoch: LEADER_EPOCH, end_offset: end as i64, ..plain }
                }
                Ok(None) => plain,
                Err(code) => EpochEndOffset { error_code: code.code(), ..plain },
            }
        };
        let partitions = partitions.into_iter().map(find).collect();
        OffsetForLeaderTopicResult { topic, partitions }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() }
}

fn end(call: &Call, topic: &str, wanted: &OffsetForLeaderPartition) -> Result<Option<u64>, ErrorCode> {
    let partition = call.partition(Right::Describe, topic, Default::default(), wanted.partition)?;
    check_leader_epoch(believed(wanted.current_leader_epoch)).map_err(|error| error.code())?;
    Ok((wanted.leader_epoch == LEADER_EPOCH).then(|| partition.extent().end))
}
