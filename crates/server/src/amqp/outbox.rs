//! What goes out to one client: bytes, and messages that will be bytes once there is room.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_amqp::{Content, with_integer_header, write_deliver, write_return};
use cauce_broker::ToConsumer;
use cauce_core::queue::{ConsumerId, Delivery, window_units};

use super::channel::{Channel, Unsettled};
use super::consume::{Consumer, SENT_REPORT_MIN};

/// Bytes encoded ahead of the socket.
const OUT_BYTES_MAX: usize = 512 << 10;

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

    pub(super) fn queue_up(&mut self, delivery: ToConsumer) {
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
    pub(super) fn encode_next(
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
        let counts = consumer.source.queue().is_some();
        let unsettled = (!consumer.no_ack).then(|| Unsettled {
            tag: 0,
            source: consumer.source.clone(),
            offset: delivery.offset,
            consumer: counts.then_some(id),
        });
        let tag = channel.next_tag(unsettled);
        let message = delivery.block.message(delivery.index);
        let tells_returns = consumer.source.queue().is_some_and(|queue| queue.tells_returns);
        let properties = properties_of(tells_returns, &delivery);
        write_deliver(
            &mut self.buffer,
            frame_max,
            consumer.channel,
            &consumer.tag,
            tag,
            delivery.redelivered,
            message.exchange,
            message.routing_key,
            &properties,
            message.body,
        );
        if consumer.sent == 0 {
            self.unreported.push(id);
        }
        consumer.sent = consumer.sent.saturating_add(window_units(message.body_bytes()));
        true
    }

    pub(super) fn has_deliveries_for(&self, consumer: ConsumerId) -> bool {
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
            // A stream is read while its consumer has room, which only these reports tell of.
            let enough = if consumer.source.queue().is_some() { SENT_REPORT_MIN } else { 1 };
            if consumer.sent < enough {
                return true;
            }
            consumer.source.sent(*id, std::mem::take(&mut consumer.sent));
            false
        });
    }

    /// Deliveries of a consumer that were not encoded.
    pub(super) fn take_back(&mut self, consumer: ConsumerId) -> Vec<u64> {
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

    pub(super) fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

/// The properties as the client gets them: where the queue tells it, with how often the message came back.
pub(super) fn properties_of<'d>(tells_returns: bool, delivery: &'d Delivery) -> Cow<'d, [u8]> {
    let properties = delivery.block.message(delivery.index).envelope;
    match tells_returns && delivery.returns > 0 {
        true => with_integer_header(properties, "x-delivery-count", delivery.returns.into()).into(),
        false => properties.into(),
    }
}
