//! The topic in which transactional ids are kept: made when the first comes.

use std::sync::Arc;

use cauce_core::topic::TRANSACTIONS_TOPIC;

use crate::node::Node;
use crate::stream::{Topic, TopicError};

impl Node {
    pub(super) fn transactions_topic(&self) -> Result<Arc<Topic>, TopicError> {
        let settings = &self.settings().node;
        let (partitions, segment_bytes) =
            (settings.transactions_partitions, settings.transactions_segment_bytes);
        self.internal_topic(TRANSACTIONS_TOPIC, partitions, segment_bytes)
    }
}
