//! Messages: a method that announces one, its header, and its body in as many frames as it takes.

mod assembler;

pub use assembler::{Content, ContentAssembler, ContentError};

use crate::frame::{self, FRAME_MIN_SIZE, FRAME_OVERHEAD, FrameKind};
use crate::method::{BasicDeliver, BasicGetOk, BasicPublish, BasicReturn};
use crate::properties::{BASIC_CLASS, ContentHeader};
use crate::wire;

/// More than any method written here takes without its strings.
const METHOD_BYTES_GUESS: usize = 32;
const HEADER_BYTES: usize = 12;

/// Appends a `basic.deliver` with its message. `properties` are flags and values as they came.
#[expect(clippy::too_many_arguments, reason = "one per field of the wire, and no struct to fill per message")]
#[inline]
pub fn write_deliver(
    out: &mut Vec<u8>,
    frame_max: u32,
    channel: u16,
    consumer_tag: &str,
    delivery_tag: u64,
    redelivered: bool,
    exchange: &[u8],
    routing_key: &[u8],
    properties: &[u8],
    body: &[u8],
) {
    let names = consumer_tag.len() + exchange.len() + routing_key.len();
    let content = ContentWriter { frame_max, channel, properties, body };
    content.write(out, BasicDeliver::ID, names, |out| {
        wire::put_short_string(out, consumer_tag);
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(redelivered.into());
        wire::put_short_bytes(out, exchange);
        wire::put_short_bytes(out, routing_key);
    });
}

/// Appends a `basic.publish` with its message.
#[expect(clippy::too_many_arguments, reason = "one per field of the wire, and no struct to fill per message")]
#[inline]
pub fn write_publish(
    out: &mut Vec<u8>,
    frame_max: u32,
    channel: u16,
    exchange: &[u8],
    routing_key: &[u8],
    mandatory: bool,
    properties: &[u8],
    body: &[u8],
) {
    let content = ContentWriter { frame_max, channel, properties, body };
    content.write(out, BasicPublish::ID, exchange.len() + routing_key.len(), |out| {
        out.extend_from_slice(&[0, 0]);
        wire::put_short_bytes(out, exchange);
        wire::put_short_bytes(out, routing_key);
        out.push(mandatory.into());
    });
}

/// Appends a `basic.return` with the message nobody could take.
#[expect(clippy::too_many_arguments, reason = "one per field of the wire, and no struct to fill per message")]
pub fn write_return(
    out: &mut Vec<u8>,
    frame_max: u32,
    channel: u16,
    reply_code: u16,
    reply_text: &str,
    exchange: &[u8],
    routing_key: &[u8],
    properties: &[u8],
    body: &[u8],
) {
    let names = reply_text.len() + exchange.len() + routing_key.len();
    let content = ContentWriter { frame_max, channel, properties, body };
    content.write(out, BasicReturn::ID, names, |out| {
        out.extend_from_slice(&reply_code.to_be_bytes());
        wire::put_short_string(out, reply_text);
        wire::put_short_bytes(out, exchange);
        wire::put_short_bytes(out, routing_key);
    });
}

/// Appends a `basic.get-ok` with its message.
#[expect(clippy::too_many_arguments, reason = "one per field of the wire, and no struct to fill per message")]
pub fn write_get_ok(
    out: &mut Vec<u8>,
    frame_max: u32,
    channel: u16,
    delivery_tag: u64,
    redelivered: bool,
    exchange: &[u8],
    routing_key: &[u8],
    message_count: u32,
    properties: &[u8],
    body: &[u8],
) {
    let content = ContentWriter { frame_max, channel, properties, body };
    content.write(out, BasicGetOk::ID, exchange.len() + routing_key.len(), |out| {
        out.extend_from_slice(&delivery_tag.to_be_bytes());
        out.push(redelivered.into());
        wire::put_short_bytes(out, exchange);
        wire::put_short_bytes(out, routing_key);
        out.extend_from_slice(&message_count.to_be_bytes());
    });
}

/// What every method with content is followed by.
struct ContentWriter<'a> {
    frame_max: u32,
    channel: u16,
    properties: &'a [u8],
    body: &'a [u8],
}

impl ContentWriter<'_> {
    #[inline]
    fn write(
        &self,
        out: &mut Vec<u8>,
        (class, method): (u16, u16),
        names: usize,
        fields: impl FnOnce(&mut Vec<u8>),
    ) {
        out.reserve(self.size(names));
        frame::write_with(out, FrameKind::Method, self.channel, |out| {
            out.extend_from_slice(&class.to_be_bytes());
            out.extend_from_slice(&method.to_be_bytes());
            fields(out);
        });
        frame::write_with(out, FrameKind::Header, self.channel, |out| {
            let body_size = self.body.len() as u64;
            ContentHeader { class_id: BASIC_CLASS, body_size, properties: self.properties }.encode(out);
        });
        for piece in self.body.chunks(self.piece_bytes_max()) {
            frame::write(out, FrameKind::Body, self.channel, piece);
        }
    }

    fn size(&self, names: usize) -> usize {
        let pieces = self.body.len().div_ceil(self.piece_bytes_max());
        let envelopes = (2 + pieces) * FRAME_OVERHEAD;
        METHOD_BYTES_GUESS + names + HEADER_BYTES + self.properties.len() + self.body.len() + envelopes
    }

    /// A peer without a limit still gets frames whose size fits its field.
    fn piece_bytes_max(&self) -> usize {
        let frame_max = if self.frame_max == 0 { u32::MAX } else { self.frame_max.max(FRAME_MIN_SIZE) };
        frame_max as usize - FRAME_OVERHEAD
    }
}

#[cfg(test)]
mod tests;
