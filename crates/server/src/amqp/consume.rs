//! Subscriptions, and what they are sent.

use std::sync::Arc;

use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_broker::{QueueHandle, Target, ToConsumer};
use cauce_core::Table;
use cauce_core::access::{Operation, Resource};
use cauce_core::queue::{ConsumerId, Holder, Outcome, Subscription};

use super::connection::Connection;
use super::fault::{Fault, no_queue, subscribe_fault};
use super::reply_to::REPLY_TO;
use super::source::Source;
use super::stream::{STREAM_OFFSET, invalid};

/// What a queue may send a consumer before it left for the client, in window units: so many messages, and some
/// 4 MiB of larger ones.
const CONSUMER_WINDOW: u32 = 2048;

/// The part of it that left before a queue is told.
pub(super) const SENT_REPORT_MIN: u32 = CONSUMER_WINDOW / 4;

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) channel: u16,
    pub(super) tag: Box<str>,
    pub(super) source: Source,
    pub(super) no_ack: bool,
    /// Encoded since the queue was last told.
    pub(super) sent: u32,
}

/// What a client asks for.
pub(super) struct NewConsumer<'m> {
    pub(super) id: ConsumerId,
    pub(super) channel: u16,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
    pub(super) arguments: &'m Table,
}

impl Connection {
    pub(super) async fn consume(&mut self, number: u16, method: BasicConsume<'_>) -> Result<(), Fault> {
        let name = self.queue_name(number, method.queue)?;
        let target = if name == REPLY_TO {
            Target::Queue(self.make_reply_queue(number, method.no_ack)?)
        } else {
            self.node.users.check(&self.user, &self.vhost.name, Operation::Read, Resource::Queue(&name))?;
            self.target(&name)?
        };
        let arguments = method.arguments.decode()?;
        let tag: Box<str> = match method.consumer_tag {
            "" => format!("amq.ctag-{}", self.node.random_name()).into(),
            tag => tag.into(),
        };
        if self.consumers.values().any(|other| other.channel == number && other.tag == tag) {
            let text = format!("attempt to reuse consumer tag '{tag}'");
            return Err(Fault::connection(ReplyCode::NotAllowed, text));
        }
        let new = NewConsumer {
            id: self.node.next_consumer(),
            channel: number,
            no_ack: method.no_ack,
            exclusive: method.exclusive,
            arguments: &arguments,
        };
        let source = match &target {
            Target::Queue(queue) => self.subscribe(queue, &new).await?,
            Target::Stream(stream) => self.read_stream(stream, &new).await?,
        };
        let id = new.id;
        let channel = self.channel(number);
        channel.consumers.push(id);
        if !method.no_wait {
            self.out.say(number, BasicConsumeOk { consumer_tag: &tag });
        }
        let consumer = Consumer { channel: number, tag, source, no_ack: method.no_ack, sent: 0 };
        self.consumers.insert(id, consumer);
        Ok(())
    }

    async fn subscribe(&mut self, queue: &Arc<QueueHandle>, new: &NewConsumer<'_>) -> Result<Source, Fault> {
        let vhost = self.vhost.name.clone();
        if new.arguments.get(STREAM_OFFSET).is_some() {
            let subject = format!("queue '{}' in vhost '{vhost}'", queue.name);
            return Err(invalid(STREAM_OFFSET, &subject, "the queue is no stream"));
        }
        let priority = new.arguments.get("x-priority").and_then(|value| value.as_integer()).unwrap_or(0);
        let channel = self.channel(new.channel);
        let subscription = Subscription {
            no_ack: new.no_ack,
            exclusive: new.exclusive,
            priority: priority as i32,
            prefetch: channel.prefetch,
            shared: (!new.no_ack).then(|| channel.shared_limit.clone()),
            window: CONSUMER_WINDOW,
        };
        match queue.subscribe(new.id, subscription, self.link.clone()).await {
            Some(Ok(())) => Ok(Source::Queue(queue.clone())),
            Some(Err(error)) => Err(subscribe_fault(error, &queue.name, &vhost)),
            None => Err(self.target(&queue.name).err().unwrap_or_else(|| no_queue(&queue.name, &vhost))),
        }
    }

    pub(super) async fn cancel(&mut self, number: u16, method: BasicCancel<'_>) -> Result<(), Fault> {
        let found = self.consumers.iter();
        let found = found
            .filter(|(_, consumer)| consumer.channel == number && *consumer.tag == *method.consumer_tag)
            .map(|(id, consumer)| (*id, consumer.source.clone()))
            .next();
        if let Some((id, source)) = found {
            source.unsubscribe(id).await;
            self.hear_all()?;
            self.send_out_unacknowledged(id);
            self.drop_consumer(id);
            self.delete_reply_queues().await;
        }
        if !method.no_wait {
            self.say(number, BasicCancelOk { consumer_tag: method.consumer_tag });
        }
        Ok(())
    }

    /// What a consumer without acknowledgements was given cannot go back: it goes out before the consumer ends.
    fn send_out_unacknowledged(&mut self, id: ConsumerId) {
        let no_ack = self.consumers.get(&id).is_some_and(|consumer| consumer.no_ack);
        while no_ack && self.out.has_deliveries_for(id) {
            self.out.encode_next(&mut self.channels, &mut self.consumers, self.frame_max);
        }
    }

    /// Deliveries wait for room; those of a consumer that is gone go back.
    pub(super) fn receive(&mut self, queue: &QueueHandle, deliveries: Vec<ToConsumer>) {
        let mut stray = Vec::new();
        for delivery in deliveries {
            match self.consumers.contains_key(&delivery.consumer) {
                true => self.out.queue_up(delivery),
                false => stray.push(delivery.delivery.offset),
            }
        }
        if !stray.is_empty() {
            queue.settle(stray, Outcome::Release);
        }
    }

    /// What a stream gave to a consumer that is gone is there still.
    pub(super) fn receive_read(&mut self, mut deliveries: Vec<ToConsumer>) {
        deliveries.retain(|delivery| self.consumers.contains_key(&delivery.consumer));
        deliveries.into_iter().for_each(|delivery| self.out.queue_up(delivery));
    }

    /// The consumer is gone; what it was sent and did not get goes back.
    pub(super) fn drop_consumer(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        if let Some(channel) = self.channels.get_mut(&consumer.channel) {
            channel.consumers.retain(|other| *other != id);
        }
        let offsets = self.out.take_back(id);
        let Source::Queue(queue) = consumer.source else { return };
        if !consumer.no_ack && !offsets.is_empty() {
            let places = offsets.len() as u32;
            queue.settle(offsets, Outcome::Release);
            self.release_places(consumer.channel, places);
        }
        if let Some(channel) = self.channels.get_mut(&consumer.channel) {
            let replies = channel.reply_queue.take_if(|reply_queue| Arc::ptr_eq(reply_queue, &queue));
            self.reply_queues.extend(replies);
        }
    }

    /// The queue ended the subscription.
    pub(super) fn cancelled(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(&id) else {
            return;
        };
        let (channel, tag) = (consumer.channel, consumer.tag.clone());
        if self.hears_cancel {
            self.say(channel, BasicCancel { consumer_tag: &tag, no_wait: true });
        }
        self.drop_consumer(id);
    }

    pub(super) fn overdue(&mut self, holder: Holder, queue: &str) {
        let Holder::Consumer(id) = holder else { return };
        let Some(consumer) = self.consumers.get(&id) else {
            return;
        };
        let number = consumer.channel;
        let text = format!(
            "PRECONDITION_FAILED - delivery acknowledgement on channel {number} timed out in queue '{queue}'. \
             See x-consumer-timeout"
        );
        self.fail_channel(number, ReplyCode::PreconditionFailed, &text, (0, 0));
    }
}
