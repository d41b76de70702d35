//! How far groups had come: one in earlier versions, several in later ones.

use std::sync::Arc;

use cauce_core::group::{CommittedOffset, Fetched};
use cauce_core::partition::TopicPartition;
use cauce_kafka::messages::offset_fetch::*;
use cauce_kafka::{ErrorCode, Text};

use super::membership::{at, shared};
use super::{Call, Right, distinct, text};
use crate::kafka::error::Coded;

/// The first version that asks for several groups (KIP-709).
const SEVERAL_SINCE: i16 = 8;

/// The first version that has an error for the group as a whole.
const GROUP_ERROR_SINCE: i16 = 2;

/// What a partition has where nothing was committed.
const NO_OFFSET: i64 = -1;

pub(super) async fn answer(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version < SEVERAL_SINCE {
        return answer_one(call, request).await;
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    let distinct_groups = distinct(request.groups, |group| group.group_id.clone());
    for OffsetFetchRequestGroup { group_id, topics, .. } in distinct_groups {
        let wanted = topics.as_ref().map(|topics| {
            let each = topics.iter().map(|topic| (&topic.name, &topic.partition_indexes[..]));
            partitions(each)
        });
        let answer = match find(call, &group_id, wanted, request.require_stable).await {
            Ok(found) => OffsetFetchResponseGroup {
                topics: by_topic(found).map(|(name, partitions)| several(&name, partitions)).collect(),
                group_id,
                ..OffsetFetchResponseGroup::default()
            },
            Err(code) => OffsetFetchResponseGroup {
                group_id,
                error_code: code.code(),
                ..OffsetFetchResponseGroup::default()
            },
        };
        groups.push(answer);
    }
    OffsetFetchResponse { groups, ..OffsetFetchResponse::default() }
}

async fn answer_one(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let wanted = request.topics.as_ref().map(|topics| {
        let each = topics.iter().map(|topic| (&topic.name, &topic.partition_indexes[..]));
        partitions(each)
    });
    match find(call, &request.group_id, wanted.clone(), request.require_stable).await {
        Ok(found) => OffsetFetchResponse {
            topics: by_topic(found).map(|(name, partitions)| one(&name, partitions)).collect(),
            ..OffsetFetchResponse::default()
        },
        Err(code) if call.version >= GROUP_ERROR_SINCE => {
            OffsetFetchResponse { error_code: code.code(), ..OffsetFetchResponse::default() }
        }
        Err(code) => {
            let failed = wanted.into_iter().flatten().map(|at| (at, Found { code, ..Found::nothing() }));
            let topics = by_topic(failed.collect()).map(|(name, partitions)| one(&name, partitions));
            OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() }
        }
    }
}

/// What is said of a partition.
struct Found {
    offset: i64,
    leader_epoch: i32,
    metadata: Text,
    code: ErrorCode,
}

impl Found {
    fn nothing() -> Found {
        Found { offset: NO_OFFSET, leader_epoch: -1, metadata: Text::default(), code: ErrorCode::None }
    }

    fn of(fetched: Fetched) -> Found {
        match fetched {
            Fetched::Nothing => Found::nothing(),
            Fetched::Unstable => Found { code: ErrorCode::UnstableOffsetCommit, ..Found::nothing() },
            Fetched::At(CommittedOffset { offset, leader_epoch, metadata, .. }) => Found {
                offset,
                leader_epoch: leader_epoch.unwrap_or(-1),
                metadata: text(metadata),
                code: ErrorCode::None,
            },
        }
    }
}

fn partitions<'r>(topics: impl Iterator<Item = (&'r Text, &'r [i32])>) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for (name, numbers) in topics {
        let name = shared(name);
        partitions.extend(numbers.iter().map(|number| at(&name, *number)));
    }
    distinct(partitions, TopicPartition::clone).collect()
}

/// `None`: all there are.
async fn find(
    call: &Call,
    group: &Text,
    wanted: Option<Vec<TopicPartition>>,
    require_stable: bool,
) -> Result<Vec<(TopicPartition, Found)>, ErrorCode> {
    let group = call.group(Right::Describe, group)?;
    let says_which = wanted.is_some();
    let fetched = call.groups().fetch(group, wanted, require_stable).await.map_err(|error| error.code())?;
    let found =
        fetched.into_iter().filter_map(|(at, fetched)| match call.check_topic(Right::Describe, &at.topic) {
            Ok(()) => Some((at, Found::of(fetched))),
            Err(code) => says_which.then_some((at, Found { code, ..Found::nothing() })),
        });
    Ok(found.collect())
}

/// Those of one topic lie together.
fn by_topic(found: Vec<(TopicPartition, Found)>) -> impl Iterator<Item = (Arc<str>, Vec<(i32, Found)>)> {
    let mut found = found.into_iter().peekable();
    std::iter::from_fn(move || {
        let topic = found.peek()?.0.topic.clone();
        let mut partitions = Vec::new();
        while let Some((at, found)) = found.next_if(|(at, _)| at.topic == topic) {
            partitions.push((at.partition, found));
        }
        Some((topic, partitions))
    })
}

fn one(name: &str, partitions: Vec<(i32, Found)>) -> OffsetFetchResponseTopic {
    let partitions = partitions.into_iter().map(|(number, found)| OffsetFetchResponsePartition {
        partition_index: number,
        committed_offset: found.offset,
        committed_leader_epoch: found.leader_epoch,
        metadata: Some(found.metadata),
        error_code: found.code.code(),
    });
    OffsetFetchResponseTopic { name: text(name), partitions: partitions.collect() }
}

fn several(name: &str, partitions: Vec<(i32, Found)>) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(number, found)| OffsetFetchResponsePartitions {
        partition_index: number,
        committed_offset: found.offset,
        committed_leader_epoch: found.leader_epoch,
        metadata: Some(found.metadata),
        error_code: found.code.code(),
    });
    OffsetFetchResponseTopics {
        name: text(name),
        partitions: partitions.collect(),
        ..OffsetFetchResponseTopics::default()
    }
}
