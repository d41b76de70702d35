//! What a message can be routed to.

use std::pin::Pin;
use std::sync::Arc;

use crate::queue_handle::{QueueHandle, Room, Share};
use crate::stream::StreamHandle;

/// A queue, or a topic that AMQP sees as one.
#[derive(Debug, Clone)]
pub enum Target {
    Queue(Arc<QueueHandle>),
    Stream(Arc<StreamHandle>),
}

impl Target {
    pub fn name(&self) -> &str {
        match self {
            Target::Queue(queue) => &queue.name,
            Target::Stream(stream) => stream.name(),
        }
    }

    pub fn queue(&self) -> Option<&Arc<QueueHandle>> {
        match self {
            Target::Queue(queue) => Some(queue),
            Target::Stream(_) => None,
        }
    }

    pub fn stream(&self) -> Option<&Arc<StreamHandle>> {
        match self {
            Target::Queue(_) => None,
            Target::Stream(stream) => Some(stream),
        }
    }

    /// Whether both are the same, and not only of the same name.
    pub fn is(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Queue(one), Target::Queue(other)) => Arc::ptr_eq(one, other),
            (Target::Stream(one), Target::Stream(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Whether messages live in it for as long as their exchange delays them.
    pub fn is_delay(&self) -> bool {
        self.queue().is_some_and(|queue| queue.is_delay())
    }

    /// Hands messages over if there is room for them; otherwise they come back.
    pub fn try_publish(&self, share: Share) -> Result<(), Share> {
        match self {
            Target::Queue(queue) => queue.try_publish(share),
            Target::Stream(stream) => stream.try_publish(share),
        }
    }

    /// Waits until there is room; who came first gets it first.
    pub fn room_for(&self, share: &Share) -> Pin<Box<dyn Future<Output = Room> + Send>> {
        match self {
            Target::Queue(queue) => Box::pin(queue.room_for(share)),
            Target::Stream(stream) => Box::pin(stream.room_for(share)),
        }
    }

    pub fn publish_in(&self, room: Room, share: Share) {
        match self {
            Target::Queue(queue) => queue.publish_in(room, share),
            Target::Stream(stream) => stream.publish_in(Some(room), share),
        }
    }

    /// For the node's own messages, which are bounded where they come from and must not wait.
    pub(crate) fn publish_now(&self, share: Share) {
        match self {
            Target::Queue(queue) => queue.publish_now(share),
            Target::Stream(stream) => stream.publish_in(None, share),
        }
    }
}
