//! `basic.get`: one message for the asking.

use std::collections::HashMap;
use std::sync::Arc;

use cauce_amqp::method::*;
use cauce_amqp::write_get_ok;
use cauce_broker::QueueHandle;
use cauce_core::access::{Operation, Resource};
use cauce_core::queue::{Delivery, Outcome};

use super::channel::Unsettled;
use super::connection::Connection;
use super::fault::Fault;
use super::methods::saturated;
use super::outbox::properties_of;
use super::source::Source;

/// `basic.get`s that wait for their queue.
#[derive(Debug, Default)]
pub(super) struct Getting {
    next: u64,
    waiting: HashMap<u64, (u16, Arc<QueueHandle>, bool)>,
}

impl Getting {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Connection {
    pub(super) fn get(&mut self, number: u16, method: BasicGet<'_>) -> Result<(), Fault> {
        let name = self.queue_name(number, method.queue)?;
        self.node.users.check(&self.user, &self.vhost.name, Operation::Read, Resource::Queue(&name))?;
        let queue = self.queue_for(&name, "basic.get")?;
        self.getting.next += 1;
        let token = self.getting.next;
        queue.get(token, method.no_ack, self.link.clone());
        self.getting.waiting.insert(token, (number, queue, method.no_ack));
        Ok(())
    }

    pub(super) fn answer_get(&mut self, token: u64, delivery: Option<Delivery>, ready: u64) {
        let Some((number, queue, no_ack)) = self.getting.waiting.remove(&token) else {
            return;
        };
        let channel = self.channels.get_mut(&number).filter(|channel| !channel.closing);
        let Some(delivery) = delivery else {
            if channel.is_some() {
                self.say(number, BasicGetEmpty {});
            }
            return;
        };
        let Some(channel) = channel else {
            if !no_ack {
                queue.settle(vec![delivery.offset], Outcome::Release);
            }
            return;
        };
        let properties = properties_of(queue.tells_returns, &delivery);
        let source = Source::Queue(queue);
        let unsettled =
            (!no_ack).then(|| Unsettled { tag: 0, source, offset: delivery.offset, consumer: None });
        let tag = channel.next_tag(unsettled);
        let message = delivery.block.message(delivery.index);
        let count = saturated(ready);
        write_get_ok(
            self.out.buffer_mut(),
            self.frame_max,
            number,
            tag,
            delivery.redelivered,
            message.exchange,
            message.routing_key,
            count,
            &properties,
            message.body,
        );
    }
}
