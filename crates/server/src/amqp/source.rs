//! Where a consumer's messages come from: a queue, or a task that reads a stream for it.

use std::sync::Arc;

use cauce_broker::QueueHandle;
use cauce_broker::stream::StreamConsumer;
use cauce_core::queue::{ConsumerId, Outcome};

#[derive(Debug, Clone)]
pub(super) enum Source {
    Queue(Arc<QueueHandle>),
    Stream(Arc<StreamConsumer>),
}

impl Source {
    pub(super) fn is(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Queue(one), Source::Queue(other)) => Arc::ptr_eq(one, other),
            (Source::Stream(one), Source::Stream(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    pub(super) fn queue(&self) -> Option<&Arc<QueueHandle>> {
        match self {
            Source::Queue(queue) => Some(queue),
            Source::Stream(_) => None,
        }
    }

    /// A stream keeps what it has given out; all it hears is that there may be more.
    pub(super) fn settle(&self, offsets: Vec<u64>, outcome: Outcome) {
        match self {
            Source::Queue(queue) => queue.settle(offsets, outcome),
            Source::Stream(consumer) => consumer.settled(offsets.len() as u32),
        }
    }

    pub(super) fn sent(&self, consumer: ConsumerId, units: u32) {
        match self {
            Source::Queue(queue) => queue.sent(consumer, units),
            Source::Stream(consumer) => consumer.sent(units),
        }
    }

    /// Nothing is delivered after the answer.
    pub(super) async fn unsubscribe(&self, consumer: ConsumerId) {
        match self {
            Source::Queue(queue) => queue.unsubscribe(consumer).await,
            Source::Stream(consumer) => consumer.end().await,
        }
    }

    /// A stream's consumer ends with the last of its handles.
    pub(super) fn forget_consumer(&self, consumer: ConsumerId) {
        if let Source::Queue(queue) = self {
            queue.forget_consumer(consumer);
        }
    }

    pub(super) fn room_in_shared_limit(&self) {
        if let Source::Queue(queue) = self {
            queue.room_in_shared_limit();
        }
    }
}
