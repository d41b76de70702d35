//! From an AMQP message to a record.

use std::borrow::Cow;

use cauce_amqp::{Properties, RawTable};
use cauce_core::message::Message;
use cauce_core::topic::TopicConfig;
use cauce_log::BatchBuilder;

use super::words::{EXCHANGE, PRIORITY, TEXT_PROPERTIES, spelled};
use super::{KEY_HEADER, OWN_HEADER, TOMBSTONE_HEADER};

/// A message on its way into a log.
pub(in crate::stream) struct Outgoing<'m> {
    message: Message<'m>,
    properties: Properties<'m>,
    pub(in crate::stream) key: Option<&'m [u8]>,
    value: Option<&'m [u8]>,
}

type Header<'m> = (Cow<'m, [u8]>, Cow<'m, [u8]>);

impl<'m> Outgoing<'m> {
    pub(in crate::stream) fn new(message: Message<'m>) -> Outgoing<'m> {
        // What a connection took in can be read; anything else has no properties.
        let properties = Properties::parse(message.envelope).unwrap_or_default();
        let headers = properties.headers().unwrap_or_default();
        let is_tombstone = message.body.is_empty()
            && headers
                .get(TOMBSTONE_HEADER)
                .is_ok_and(|flag| flag.is_some_and(|flag| flag.as_bool() == Some(true)));
        Outgoing {
            message,
            properties,
            key: key_of(&message, headers),
            value: (!is_tombstone).then_some(message.body),
        }
    }

    /// The message's own time, unless the topic would not have that; then when it came.
    pub(in crate::stream) fn timestamp_ms(&self, config: &TopicConfig) -> i64 {
        let arrived_ms = self.message.traits.arrived_ms;
        let own =
            self.properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1000));
        own.filter(|own_ms| {
            arrived_ms.saturating_sub(*own_ms) <= config.timestamp_before_max_ms
                && own_ms.saturating_sub(arrived_ms) <= config.timestamp_after_max_ms
        })
        .unwrap_or(arrived_ms)
    }

    pub(in crate::stream) fn push(&self, batch: &mut BatchBuilder, offset: i64, timestamp_ms: i64) {
        let Message { exchange, routing_key, envelope, .. } = self.message;
        let lengths = [exchange.len() as u8, routing_key.len() as u8];
        let own: [&[u8]; 5] = [&lengths[..1], exchange, &lengths[1..], routing_key, envelope];
        let readable = self.readable_headers();
        let values: Vec<[&[u8]; 1]> = readable.iter().map(|(_, value)| [&**value]).collect();
        let names = readable.iter().map(|(name, _)| &**name);
        let mut headers: Vec<(&[u8], &[&[u8]])> = Vec::with_capacity(readable.len() + 1);
        headers.extend(names.zip(values.iter().map(|value| &value[..])));
        headers.push((OWN_HEADER, &own));
        let value = self.value.as_ref().map(std::slice::from_ref);
        batch.push(offset, timestamp_ms, self.key, value, &headers);
    }

    /// What Kafka's clients can read of exchange, properties and headers.
    fn readable_headers(&self) -> Vec<Header<'m>> {
        let mut headers: Vec<Header<'m>> = Vec::new();
        if !self.message.exchange.is_empty() {
            headers.push((EXCHANGE.as_bytes().into(), self.message.exchange.into()));
        }
        for (name, property) in TEXT_PROPERTIES {
            if let Some(text) = self.properties.text(property) {
                headers.push((name.as_bytes().into(), text.into()));
            }
        }
        if let Some(priority) = self.properties.priority() {
            headers.push((PRIORITY.as_bytes().into(), priority.to_string().into_bytes().into()));
        }
        for entry in self.properties.headers().unwrap_or_default().entries() {
            let Ok((name, value)) = entry else { break };
            if name == KEY_HEADER || name == TOMBSTONE_HEADER {
                continue;
            }
            let values = spelled(value).unwrap_or_default();
            headers.extend(values.into_iter().map(|value| (name.as_bytes().into(), value)));
        }
        headers
    }
}

/// The routing key, unless it only named the stream, as it does for the default exchange.
fn key_of<'m>(message: &Message<'m>, headers: RawTable<'m>) -> Option<&'m [u8]> {
    let own = headers.find(KEY_HEADER).ok().flatten().and_then(|value| value.as_bytes());
    own.or_else(|| {
        let is_key = !message.exchange.is_empty() && !message.routing_key.is_empty();
        is_key.then_some(message.routing_key)
    })
}
