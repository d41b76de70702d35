//! Direct reply-to: replies to what a channel publishes, without a queue the client declares.

use std::sync::Arc;

use cauce_amqp::properties::{Properties, PropertiesBuf};
use cauce_amqp::reply::ReplyCode;
use cauce_broker::QueueHandle;

use super::connection::Connection;
use super::fault::{Fault, no_queue};

/// The queue that is not there: who consumes it hears replies to what its channel publishes.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Whether the name is the pseudo-queue's, or could be that of a queue for replies.
pub(super) fn is_reply_queue(name: &str) -> bool {
    name.strip_prefix(REPLY_TO).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Replies go to a queue of their own, which goes with its only consumer: so routing and counting need no
/// exception for them. To clients it is no queue: they can publish to it, and ask whether it is still there.
impl Connection {
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

    /// Declaring such a queue, passively or not, asks whether somebody waits for replies there.
    pub(super) fn check_reply_queue(&self, name: &str) -> Result<(), Fault> {
        if name == REPLY_TO || self.vhost.topology().queue(name).is_some() {
            return Ok(());
        }
        Err(no_queue(name, &self.vhost.name))
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
