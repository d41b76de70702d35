//! Sizes on disk.

use std::collections::HashSet;

use cauce_broker::stream::{PartitionHandle, Topic};
use cauce_kafka::messages::describe_log_dirs::*;

use super::{Call, ClusterRight, text};

pub(super) fn answer(call: &Call, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    if let Err(code) = call.check_cluster(ClusterRight::Describe) {
        return DescribeLogDirsResponse { error_code: code.code(), ..DescribeLogDirsResponse::default() };
    }
    let topics = call.service.node.topics();
    let shown: Vec<DescribeLogDirsTopic> = match request.topics {
        None => topics.all().iter().map(|topic| shown(topic, |_| true)).collect(),
        Some(wanted) => {
            let known = |wanted: DescribableLogDirTopic| {
                let topic = topics.get(&wanted.topic)?;
                let numbers: HashSet<i32> = wanted.partitions.into_iter().collect();
                Some(shown(&topic, |number| numbers.contains(&number)))
            };
            wanted.into_iter().filter_map(known).collect()
        }
    };
    let (total_bytes, usable_bytes) = space(call);
    let directory = DescribeLogDirsResult {
        log_dir: text(call.service.directory.display()),
        topics: shown,
        total_bytes,
        usable_bytes,
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![directory], ..DescribeLogDirsResponse::default() }
}

fn shown(topic: &Topic, is_wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let all = topic.partitions();
    let partitions = all.iter().filter(|partition| is_wanted(partition.at.partition)).map(size);
    DescribeLogDirsTopic { name: text(&topic.name), partitions: partitions.collect() }
}

fn size(partition: &std::sync::Arc<PartitionHandle>) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition {
        partition_index: partition.at.partition,
        partition_size: partition.disk_bytes() as i64,
        ..DescribeLogDirsPartition::default()
    }
}

/// All bytes of the file system and those that are left; -1 where nobody knows.
fn space(call: &Call) -> (i64, i64) {
    match rustix::fs::statvfs(&call.service.directory) {
        Ok(space) => {
            let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize) as i64;
            (bytes(space.f_blocks), bytes(space.f_bavail))
        }
        Err(_) => (-1, -1),
    }
}
