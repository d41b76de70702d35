//! Committing offsets, within a transaction or not: an outcome for each partition.

use std::collections::HashSet;
use std::sync::Arc;

use cauce_broker::groups::{GroupError, GroupId};
use cauce_core::group::{Commit, OffsetToCommit};
use cauce_core::partition::TopicPartition;
use cauce_core::stream::Guard;
use cauce_kafka::{ErrorCode, Text};

use super::membership::{at, given, shared};
use super::{Call, Right, believed};

/// What was sent about one topic.
pub(super) struct TopicOffsets {
    name: Text,
    offsets: Vec<OffsetToCommit>,
}

/// What came of it, for each partition.
pub(super) struct TopicOutcome {
    pub(super) name: Text,
    pub(super) partitions: Vec<(i32, ErrorCode)>,
}

impl TopicOffsets {
    pub(super) fn new(name: Text, offsets: impl IntoIterator<Item = SentOffset>) -> TopicOffsets {
        let topic = shared(&name);
        let offsets = offsets.into_iter().map(|sent| sent.into_offset(&topic)).collect();
        TopicOffsets { name, offsets }
    }
}

/// Its fields are as they are sent.
pub(super) struct SentOffset {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<Text>,
}

impl SentOffset {
    fn into_offset(self, topic: &Arc<str>) -> OffsetToCommit {
        OffsetToCommit {
            at: at(topic, self.partition),
            offset: self.offset,
            leader_epoch: believed(self.leader_epoch),
            metadata: self.metadata.as_ref().and_then(given).unwrap_or_default(),
        }
    }
}

/// Commits the offsets of partitions that there are. `code` is for what concerns all of them.
pub(super) async fn commit(
    call: &Call,
    group: GroupId,
    mut commit: Commit,
    guard: Option<Guard>,
    topics: Vec<TopicOffsets>,
    code: impl Fn(GroupError) -> ErrorCode,
) -> Vec<TopicOutcome> {
    let check = |at: &TopicPartition| call.check_partition(Right::Read, at);
    let all = topics.iter().flat_map(|topic| &topic.offsets);
    commit.offsets = all.filter(|offset| check(&offset.at).is_ok()).cloned().collect();
    let committed = match commit.offsets.is_empty() {
        true => Ok(Vec::new()),
        false => call.groups().commit(group, commit, guard).await,
    };
    let too_long: Result<HashSet<_>, ErrorCode> =
        committed.map(|too_long| too_long.into_iter().collect()).map_err(code);
    outcomes(topics, |offset| match (check(&offset.at), &too_long) {
        (Err(code), _) => code,
        (Ok(()), Err(code)) => *code,
        (Ok(()), Ok(too_long)) if too_long.contains(&offset.at) => ErrorCode::OffsetMetadataTooLarge,
        (Ok(()), Ok(_)) => ErrorCode::None,
    })
}

/// Says what came of each.
pub(super) fn outcomes(
    topics: Vec<TopicOffsets>,
    code: impl Fn(&OffsetToCommit) -> ErrorCode,
) -> Vec<TopicOutcome> {
    let of_topic = |TopicOffsets { name, offsets }| TopicOutcome {
        name,
        partitions: offsets.iter().map(|offset| (offset.at.partition, code(offset))).collect(),
    };
    topics.into_iter().map(of_topic).collect()
}
