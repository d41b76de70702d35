//! The topic in which groups are kept: made when the first group has something to write.

use std::sync::Arc;

use cauce_core::partition::TopicPartition;
use cauce_core::topic::OFFSETS_TOPIC;
use cauce_kafka::internal::coordinating_partition;

use crate::node::Node;
use crate::stream::{Topic, TopicError};

impl Node {
    /// Where what concerns a group is kept.
    pub fn offsets_partition(&self, group: &str) -> TopicPartition {
        let partitions = match self.topics().get(OFFSETS_TOPIC) {
            Some(topic) => topic.partitions().len() as i32,
            None => self.settings().node.offsets_partitions,
        };
        TopicPartition { topic: OFFSETS_TOPIC.into(), partition: coordinating_partition(group, partitions) }
    }

    /// The topic, made if it is not there.
    pub fn offsets_topic(&self) -> Result<Arc<Topic>, TopicError> {
        let settings = &self.settings().node;
        self.internal_topic(OFFSETS_TOPIC, settings.offsets_partitions, settings.offsets_segment_bytes)
    }
}
