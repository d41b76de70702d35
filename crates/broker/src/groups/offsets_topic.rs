//! The topic in which groups are kept: made when the first group has something to write.

use std::sync::Arc;

use cauce_core::partition::TopicPartition;
use cauce_core::topic::{OFFSETS_TOPIC, Overrides};
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

    /// The topic, made if it is not there. What is written to it is never safe sooner than its definition: the storage
    /// thread keeps the order.
    pub fn offsets_topic(&self) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topics().get(OFFSETS_TOPIC) {
            return Ok(topic);
        }
        let settings = &self.settings().node;
        let segment_bytes = settings.offsets_segment_bytes.to_string();
        let config = Overrides::parse([
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", &segment_bytes),
        ])?;
        match self.create_topic(OFFSETS_TOPIC, settings.offsets_partitions, config) {
            Ok((topic, _)) => Ok(topic),
            // Somebody else was faster.
            Err(error) => self.topics().get(OFFSETS_TOPIC).ok_or(error),
        }
    }
}
