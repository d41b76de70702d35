//! Offsets of partitions by time, and those that groups have committed.

use std::collections::BTreeMap;

use cauce_core::partition::TopicPartition;
use cauce_kafka::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use cauce_kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use cauce_kafka::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use tokio::time::{Instant, sleep};

use super::client::{Client, PartitionLeader, READY_AGAIN_AFTER};
use super::error::{ClientError, check};

/// Times that stand for the end and for the start of a partition.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// Offsets by partition.
pub(crate) type Offsets = BTreeMap<TopicPartition, i64>;

/// What a partition is asked for: the first record at or after a time, or one of the times above.
#[derive(Debug, Clone)]
pub(crate) struct AtTime {
    pub(crate) partition: PartitionLeader,
    pub(crate) timestamp_ms: i64,
}

impl Client {
    /// The offset at each time; a partition without a record that late is missing. The leader of a partition that was
    /// just made gets the time it needs to know of it.
    pub(crate) async fn offsets_at(
        &mut self,
        wanted: &[AtTime],
        isolation_level: i8,
    ) -> Result<Offsets, ClientError> {
        let until = self.patience();
        loop {
            match self.offsets_now(wanted, isolation_level).await {
                Err(error) if error.passes() && Instant::now() < until => sleep(READY_AGAIN_AFTER).await,
                other => return other,
            }
        }
    }

    async fn offsets_now(&mut self, wanted: &[AtTime], isolation_level: i8) -> Result<Offsets, ClientError> {
        let mut by_node: BTreeMap<i32, Vec<ListOffsetsTopic>> = BTreeMap::new();
        for AtTime { partition, timestamp_ms } in wanted {
            let topics = by_node.entry(partition.node).or_default();
            let of = ListOffsetsPartition {
                partition_index: partition.place.partition,
                timestamp: *timestamp_ms,
                ..ListOffsetsPartition::default()
            };
            match topics.last_mut().filter(|topic| *topic.name == *partition.place.topic) {
                Some(topic) => topic.partitions.push(of),
                None => topics.push(ListOffsetsTopic {
                    name: partition.place.topic.to_string().into(),
                    partitions: vec![of],
                }),
            }
        }
        let mut offsets = Offsets::new();
        for (node, topics) in by_node {
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level,
                topics,
                timeout_ms: self.request_timeout_ms(),
            };
            for topic in self.node(node).await?.call(request).await?.topics {
                for found in topic.partitions {
                    let place = TopicPartition {
                        topic: topic.name.as_str().into(),
                        partition: found.partition_index,
                    };
                    check(found.error_code, None, || format!("offsets of {place}"))?;
                    if found.offset >= 0 {
                        offsets.insert(place, found.offset);
                    }
                }
            }
        }
        Ok(offsets)
    }

    /// Start and end of partitions.
    pub(crate) async fn bounds(
        &mut self,
        partitions: &[PartitionLeader],
    ) -> Result<(Offsets, Offsets), ClientError> {
        let at = |timestamp_ms| -> Vec<AtTime> {
            let of = |partition: &PartitionLeader| AtTime { partition: partition.clone(), timestamp_ms };
            partitions.iter().map(of).collect()
        };
        Ok((self.offsets_at(&at(EARLIEST), 0).await?, self.offsets_at(&at(LATEST), 0).await?))
    }

    /// All that a group has committed.
    pub(crate) async fn committed(&mut self, group: &str) -> Result<Offsets, ClientError> {
        let request =
            OffsetFetchRequest { group_id: group.to_owned().into(), topics: None, ..Default::default() };
        let answer = self.ask_coordinator(group, request, |answer: &OffsetFetchResponse| {
            check(answer.error_code, None, || format!("group {group:?}"))
        });
        let mut offsets = Offsets::new();
        for topic in answer.await?.topics {
            for found in topic.partitions {
                let place =
                    TopicPartition { topic: topic.name.as_str().into(), partition: found.partition_index };
                check(found.error_code, None, || format!("what group {group:?} committed for {place}"))?;
                if found.committed_offset >= 0 {
                    offsets.insert(place, found.committed_offset);
                }
            }
        }
        Ok(offsets)
    }

    /// Commits for a group of which nobody is a member now.
    pub(crate) async fn commit(&mut self, group: &str, offsets: &Offsets) -> Result<(), ClientError> {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (place, offset) in offsets {
            let of = OffsetCommitRequestPartition {
                partition_index: place.partition,
                committed_offset: *offset,
                committed_metadata: Some("".into()),
                ..OffsetCommitRequestPartition::default()
            };
            match topics.last_mut().filter(|topic| *topic.name == *place.topic) {
                Some(topic) => topic.partitions.push(of),
                None => topics.push(OffsetCommitRequestTopic {
                    name: place.topic.to_string().into(),
                    partitions: vec![of],
                }),
            }
        }
        let request = OffsetCommitRequest { group_id: group.to_owned().into(), topics, ..Default::default() };
        self.ask_coordinator(group, request, |answer| {
            for topic in &answer.topics {
                for found in &topic.partitions {
                    let place = format!("{}-{}", topic.name, found.partition_index);
                    check(found.error_code, None, || format!("commit of group {group:?} for {place}"))?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}
