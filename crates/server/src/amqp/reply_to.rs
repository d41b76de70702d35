//! Direct reply-to: replies to what a channel publishes, without a queue the client declares.

use std::sync::Arc;

use cauce_amqp::properties::{Properties, PropertiesBuf};
use cauce_amqp::reply::ReplyCode;
use cauce_broker::QueueHandle;

use super::connection::Connection;
use super::fault::Fault;

/// The queue that is not there: who consumes it hears replies to what its channel publishes.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

impl Connection {
    /// RabbitMQ's direct reply-to. A queue of its own that goes with its only consumer costs little, and
    /// routing, permissions and counting need no exception for it.
    pub(super) fn make_reply_queue(&mut self, number: u16, no_ack: bool) -> Result<Arc<QueueHandle>, Fault> {
        if !no_ack {
            return Err(Fault::new(ReplyCode::PreconditionFailed, "reply consumer cannot acknowledge"));
        }
        if self.channel(number).reply_queue.is_some() {
            return Err(Fault::new(ReplyCode::PreconditionFailed, "reply consumer already set"));
        }
        let name = format!("{REPLY_TO}.{}", self.node.random_name());
        let queue = self.vhost.make_reply_queue(&name)?;
        self.channel(number).reply_queue = Some(queue.clone());
        Ok(queue)
    }

    pub(super) async fn delete_reply_queues(&mut self) {
        for queue in std::mem::take(&mut self.reply_queues) {
            // Gone already is as good.
            let _ = self.vhost.delete_queue(&queue.name, self.id, false, false).await;
        }
    }

    /// The properties with the name of the channel's reply queue in place of the pseudo-queue's.
    pub(super) fn with_reply_queue(&self, number: u16, properties: &[u8]) -> Result<Vec<u8>, Fault> {
        let channel = self.channels.get(&number).expect("the content came on it");
        let Some(queue) = &channel.reply_queue else {
            return Err(Fault::new(ReplyCode::PreconditionFailed, "fast reply consumer does not exist"));
        };
        let mut properties = PropertiesBuf::try_from(&Properties::parse(properties)?)?;
        properties.reply_to = Some(queue.name.as_bytes().to_vec());
        Ok(properties.to_bytes())
    }
}
