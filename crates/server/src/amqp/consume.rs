//! The consuming half of a connection: what goes out, and what comes back settled.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cauce_amqp::method::*;
use cauce_amqp::properties::{Properties, PropertiesBuf};
use cauce_amqp::reply::ReplyCode;
use cauce_amqp::{Content, write_deliver, write_get_ok, write_return};
use cauce_broker::{QueueHandle, ToConsumer};
use cauce_core::access::{Operation, Resource};
use cauce_core::queue::{ConsumerId, Delivery, Holder, Outcome, Subscription, window_units};

use super::channel::{Channel, Mode, PendingSettle, Unsettled};
use super::connection::Connection;
use super::fault::{Fault, subscribe_fault};
use super::methods::saturated;

/// Bytes encoded ahead of the socket.
const OUT_BYTES_MAX: usize = 512 << 10;

/// What a queue may send a consumer before it left for the client, in window units: so many messages, and some
/// 4 MiB of larger ones.
const CONSUMER_WINDOW: u32 = 2048;

/// The part of it that left before a queue is told.
const SENT_REPORT_MIN: u32 = CONSUMER_WINDOW / 4;

/// The queue that is not there: who consumes it hears replies to what its channel publishes.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) channel: u16,
    pub(super) tag: Box<str>,
    pub(super) queue: Arc<QueueHandle>,
    pub(super) no_ack: bool,
    /// Encoded since the queue was last told.
    sent: u32,
}

/// Bytes for the client, and messages that will be bytes once there is room.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    buffer: Vec<u8>,
    written: usize,
    deliveries: VecDeque<ToConsumer>,
    /// Consumers with messages encoded and not reported.
    unreported: Vec<ConsumerId>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.buffer.len()
    }

    /// Whether the client takes less than it asks for.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() - self.written >= OUT_BYTES_MAX
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.written..]
    }

    pub(super) fn written(&mut self, count: usize) {
        self.written += count;
        if self.is_empty() {
            self.buffer.clear();
            self.written = 0;
            if self.buffer.capacity() > 2 * OUT_BYTES_MAX {
                self.buffer.shrink_to(OUT_BYTES_MAX);
            }
        }
    }

    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        let bytes = self.bytes().to_vec();
        self.written(bytes.len());
        bytes
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn say<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        method.into().write_frame(channel, &mut self.buffer);
    }

    pub(super) fn say_return(&mut self, channel: u16, frame_max: u32, content: &Content<'_>) {
        let (code, text) = (ReplyCode::NoRoute.code(), ReplyCode::NoRoute.name());
        let (exchange, key) = (content.exchange.as_bytes(), content.routing_key.as_bytes());
        let out = &mut self.buffer;
        write_return(out, frame_max, channel, code, text, exchange, key, content.properties, &content.body);
    }

    fn queue_up(&mut self, delivery: ToConsumer) {
        self.deliveries.push_back(delivery);
    }

    /// Encodes waiting deliveries as far as there is room.
    pub(super) fn fill(
        &mut self,
        channels: &mut HashMap<u16, Channel>,
        consumers: &mut HashMap<ConsumerId, Consumer, foldhash::fast::RandomState>,
        frame_max: u32,
    ) {
        while self.buffer.len() < OUT_BYTES_MAX && self.encode_next(channels, consumers, frame_max) {}
    }

    /// False if nothing waits.
    fn encode_next(
        &mut self,
        channels: &mut HashMap<u16, Channel>,
        consumers: &mut HashMap<ConsumerId, Consumer, foldhash::fast::RandomState>,
        frame_max: u32,
    ) -> bool {
        let Some(ToConsumer { consumer: id, delivery }) = self.deliveries.pop_front() else {
            return false;
        };
        // Given back when its channel closed or its consumer was cancelled.
        let Some(consumer) = consumers.get_mut(&id) else {
            return true;
        };
        let Some(channel) = channels.get_mut(&consumer.channel) else {
            return true;
        };
        let unsettled = (!consumer.no_ack).then(|| Unsettled {
            tag: 0,
            queue: consumer.queue.clone(),
            offset: delivery.offset,
            consumer: Some(id),
        });
        let tag = channel.next_tag(unsettled);
        let message = delivery.block.message(delivery.index);
        write_deliver(
            &mut self.buffer,
            frame_max,
            consumer.channel,
            &consumer.tag,
            tag,
            delivery.redelivered,
            message.exchange,
            message.routing_key,
            message.envelope,
            message.body,
        );
        if consumer.sent == 0 {
            self.unreported.push(id);
        }
        consumer.sent = consumer.sent.saturating_add(window_units(message.body_bytes()));
        true
    }

    fn has_deliveries_for(&self, consumer: ConsumerId) -> bool {
        self.deliveries.iter().any(|waiting| waiting.consumer == consumer)
    }

    /// All that was encoded left for the client: its queues may send as many again.
    pub(super) fn report_sent(
        &mut self,
        consumers: &mut HashMap<ConsumerId, Consumer, foldhash::fast::RandomState>,
    ) {
        self.unreported.retain(|id| {
            let Some(consumer) = consumers.get_mut(id) else {
                return false;
            };
            if consumer.sent < SENT_REPORT_MIN {
                return true;
            }
            consumer.queue.sent(*id, std::mem::take(&mut consumer.sent));
            false
        });
    }

    /// Deliveries of a consumer that were not encoded.
    fn take_back(&mut self, consumer: ConsumerId) -> Vec<u64> {
        let mut offsets = Vec::new();
        self.deliveries.retain(|waiting| {
            let theirs = waiting.consumer == consumer;
            if theirs {
                offsets.push(waiting.delivery.offset);
            }
            !theirs
        });
        offsets
    }
}

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

/// Settlements gathered by queue and outcome, in order.
#[derive(Debug, Default)]
pub(super) struct Settling(Vec<(Arc<QueueHandle>, Outcome, Vec<u64>)>);

impl Settling {
    pub(super) fn add(&mut self, unsettled: Vec<Unsettled>, outcome: Outcome) {
        for Unsettled { queue, offset, .. } in unsettled {
            let last = self.0.iter_mut().rev().find(|(other, ..)| Arc::ptr_eq(other, &queue));
            match last {
                Some((_, same, offsets)) if *same == outcome => offsets.push(offset),
                _ => self.0.push((queue, outcome, vec![offset])),
            }
        }
    }

    pub(super) fn flush(&mut self) {
        for (queue, outcome, offsets) in self.0.drain(..) {
            queue.settle(offsets, outcome);
        }
    }
}

impl Connection {
    pub(super) async fn consume(&mut self, number: u16, method: BasicConsume<'_>) -> Result<(), Fault> {
        let name = self.queue_name(number, method.queue)?;
        let queue = if name == REPLY_TO {
            self.make_reply_queue(number, method.no_ack)?
        } else {
            self.node.users.check(&self.user, &self.vhost.name, Operation::Read, Resource::Queue(&name))?;
            self.queue(&name)?
        };
        let arguments = method.arguments.decode()?;
        let priority = arguments.get("x-priority").and_then(|value| value.as_integer()).unwrap_or(0) as i32;
        let tag: Box<str> = match method.consumer_tag {
            "" => format!("amq.ctag-{}", self.node.random_name()).into(),
            tag => tag.into(),
        };
        if self.consumers.values().any(|other| other.channel == number && other.tag == tag) {
            let text = format!("attempt to reuse consumer tag '{tag}'");
            return Err(Fault::connection(ReplyCode::NotAllowed, text));
        }
        let channel = self.channel(number);
        let subscription = Subscription {
            no_ack: method.no_ack,
            exclusive: method.exclusive,
            priority,
            prefetch: channel.prefetch,
            shared: (!method.no_ack).then(|| channel.shared_limit.clone()),
            window: CONSUMER_WINDOW,
        };
        let id = self.node.next_consumer();
        match queue.subscribe(id, subscription, self.link.clone()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(subscribe_fault(error, &name, &self.vhost.name)),
            None => {
                return Err(self.queue(&name).err().unwrap_or_else(|| no_queue(&name, &self.vhost.name)));
            }
        }
        let channel = self.channel(number);
        channel.consumers.push(id);
        if !method.no_wait {
            self.out.say(number, BasicConsumeOk { consumer_tag: &tag });
        }
        let consumer = Consumer { channel: number, tag, queue, no_ack: method.no_ack, sent: 0 };
        self.consumers.insert(id, consumer);
        Ok(())
    }

    /// RabbitMQ's direct reply-to. A queue of its own that goes with its only consumer costs little, and
    /// routing, permissions and counting need no exception for it.
    fn make_reply_queue(&mut self, number: u16, no_ack: bool) -> Result<Arc<QueueHandle>, Fault> {
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

    pub(super) async fn cancel(&mut self, number: u16, method: BasicCancel<'_>) -> Result<(), Fault> {
        let found = self.consumers.iter();
        let found = found
            .filter(|(_, consumer)| consumer.channel == number && *consumer.tag == *method.consumer_tag)
            .map(|(id, consumer)| (*id, consumer.queue.clone()))
            .next();
        if let Some((id, queue)) = found {
            queue.unsubscribe(id).await;
            self.hear_all()?;
            self.send_out_unacknowledged(id);
            self.drop_consumer(id);
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

    /// The consumer is gone; what it was sent and did not get goes back.
    pub(super) fn drop_consumer(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        if let Some(channel) = self.channels.get_mut(&consumer.channel) {
            channel.consumers.retain(|other| *other != id);
        }
        let offsets = self.out.take_back(id);
        if !consumer.no_ack && !offsets.is_empty() {
            consumer.queue.settle(offsets, Outcome::Release);
        }
        if let Some(channel) = self.channels.get_mut(&consumer.channel) {
            let replies = channel.reply_queue.take_if(|queue| Arc::ptr_eq(queue, &consumer.queue));
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

    pub(super) fn get(&mut self, number: u16, method: BasicGet<'_>) -> Result<(), Fault> {
        let name = self.queue_name(number, method.queue)?;
        self.node.users.check(&self.user, &self.vhost.name, Operation::Read, Resource::Queue(&name))?;
        let queue = self.queue(&name)?;
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
        let unsettled =
            (!no_ack).then(|| Unsettled { tag: 0, queue, offset: delivery.offset, consumer: None });
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
            message.envelope,
            message.body,
        );
    }

    /// `basic.ack`, `basic.nack` and `basic.reject`.
    pub(super) fn settle(
        &mut self,
        number: u16,
        tag: u64,
        multiple: bool,
        outcome: Outcome,
    ) -> Result<(), Fault> {
        let channel = self.channel(number);
        let Some(unsettled) = channel.take(tag, multiple) else {
            return Err(Fault::new(ReplyCode::PreconditionFailed, format!("unknown delivery tag {tag}")));
        };
        if let Mode::Transaction(transaction) = &mut channel.mode {
            transaction.settles.push(PendingSettle { unsettled, outcome });
            return Ok(());
        }
        self.settle_now(number, unsettled, outcome);
        Ok(())
    }

    pub(super) fn settle_now(&mut self, number: u16, unsettled: Vec<Unsettled>, outcome: Outcome) {
        let channel = self.channel(number);
        let places = unsettled.iter().filter(|one| one.consumer.is_some()).count() as u32;
        let room = places > 0 && channel.shared_limit.release(places);
        let consumers = if room { channel.consumers.clone() } else { Vec::new() };
        self.settling.add(unsettled, outcome);
        if room {
            self.settling.flush();
            self.wake(&consumers);
        }
    }

    /// Their shared limit has room again.
    pub(super) fn wake(&self, consumers: &[ConsumerId]) {
        for consumer in consumers.iter().filter_map(|id| self.consumers.get(id)) {
            consumer.queue.room_in_shared_limit();
        }
    }
}

impl Outbox {
    fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

fn no_queue(name: &str, vhost: &str) -> Fault {
    Fault::new(ReplyCode::NotFound, format!("no queue '{name}' in vhost '{vhost}'"))
}
