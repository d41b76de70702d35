//! Messages on their way: many in one buffer, so that a message costs no allocation of its own.
//!
//! A connection cuts messages from its socket into one [`Block`] a turn; queues then share the block
//! and name messages by their index in it. Its cost is charged to a [`Gauge`] for as long as anybody
//! holds it, so the memory budget counts what is really kept alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes held by all blocks that share the gauge, and by whatever else was charged to it.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts these bytes for as long as the charge is held.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Charge { bytes, gauge: self.clone() }
    }
}

/// Bytes on a gauge. They are taken off when this is dropped.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    gauge: Gauge,
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Becomes one of so many bytes.
    pub fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.gauge.0.fetch_add(more, Ordering::Relaxed),
            None => self.gauge.0.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.gauge.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the rules ask of a message, beside its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits {
    /// Kept over a restart when its queue is.
    pub persistent: bool,
    pub priority: u8,
    /// Milliseconds to live, counted from arrival.
    pub ttl_ms: Option<u64>,
    /// Milliseconds since 1970-01-01 UTC.
    pub arrived_ms: i64,
}

impl Traits {
    /// When its time to live is over, in milliseconds since 1970-01-01 UTC; at its arrival if it has none.
    pub fn due_ms(&self) -> i64 {
        self.arrived_ms.saturating_add_unsigned(self.ttl_ms.unwrap_or(0))
    }
}

/// One message, borrowed from its block.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    /// The protocol's own header, opaque here and handed on verbatim.
    pub envelope: &'a [u8],
    pub body: &'a [u8],
    pub traits: Traits,
}

impl Message<'_> {
    /// What length limits count: the body, as publishers know it.
    pub fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    envelope_len: u32,
    body_len: u32,
    exchange_len: u8,
    key_len: u8,
    traits: Traits,
}

/// Fixed cost charged for a block, for its own fields and the bookkeeping of its holders.
const BLOCK_OVERHEAD_BYTES: usize = 256;

/// Messages in one buffer. Built by [`BlockBuilder`], then never changed.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    charge: Charge,
}

impl Block {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes charged to the gauge while this block lives.
    pub fn cost_bytes(&self) -> usize {
        self.charge.bytes()
    }

    pub fn message(&self, index: u32) -> Message<'_> {
        let entry = &self.entries[index as usize];
        let rest = &self.bytes[entry.start as usize..];
        let (exchange, rest) = rest.split_at(entry.exchange_len.into());
        let (routing_key, rest) = rest.split_at(entry.key_len.into());
        let (envelope, rest) = rest.split_at(entry.envelope_len as usize);
        Message {
            exchange,
            routing_key,
            envelope,
            body: &rest[..entry.body_len as usize],
            traits: entry.traits,
        }
    }

    /// These messages alone, in a block of their own.
    pub fn gather(&self, indices: impl IntoIterator<Item = u32>) -> Arc<Block> {
        let mut builder = BlockBuilder::new();
        for index in indices {
            builder.push(self.message(index));
        }
        builder.finish(&self.charge.gauge)
    }

    pub fn traits(&self, index: u32) -> Traits {
        self.entries[index as usize].traits
    }

    pub fn body_bytes(&self, index: u32) -> u64 {
        self.entries[index as usize].body_len.into()
    }
}

/// Collects messages into a block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl BlockBuilder {
    pub fn new() -> BlockBuilder {
        BlockBuilder::default()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Copies the message in and says its index. Names are short strings of at most 255 bytes, and a
    /// block stays below 4 GiB: the protocol's body limit and the turn's size see to both.
    pub fn push(&mut self, message: Message<'_>) -> u32 {
        let Message { exchange, routing_key, envelope, body, traits } = message;
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            start: u32::try_from(self.bytes.len()).expect("a block stays below 4 GiB"),
            envelope_len: envelope.len() as u32,
            body_len: body.len() as u32,
            exchange_len: u8::try_from(exchange.len()).expect("names are short strings"),
            key_len: u8::try_from(routing_key.len()).expect("routing keys are short strings"),
            traits,
        });
        self.bytes.reserve(exchange.len() + routing_key.len() + envelope.len() + body.len());
        for part in [exchange, routing_key, envelope, body] {
            self.bytes.extend_from_slice(part);
        }
        index
    }

    /// The block, charged to the gauge; the builder is empty again.
    pub fn finish(&mut self, gauge: &Gauge) -> Arc<Block> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut entries = std::mem::take(&mut self.entries);
        if bytes.capacity() > bytes.len() + bytes.len() / 4 {
            bytes.shrink_to_fit();
        }
        entries.shrink_to_fit();
        let charged = BLOCK_OVERHEAD_BYTES + bytes.capacity() + entries.capacity() * size_of::<Entry>();
        Arc::new(Block { bytes, entries, charge: gauge.charge(charged) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in_and_the_gauge_follows_the_block() {
        let gauge = Gauge::default();
        let mut builder = BlockBuilder::new();
        let traits = Traits { persistent: true, priority: 3, ttl_ms: Some(9), arrived_ms: 7 };
        for body in [&b"one"[..], b"", b"three"] {
            builder.push(Message { exchange: b"ex", routing_key: b"key", envelope: b"env", body, traits });
        }
        let block = builder.finish(&gauge);
        assert!(builder.is_empty());
        let third = block.message(2);
        assert_eq!(
            (third.exchange, third.routing_key, third.envelope, third.body, third.traits),
            (&b"ex"[..], &b"key"[..], &b"env"[..], &b"three"[..], traits)
        );
        assert_eq!(gauge.bytes(), block.cost_bytes());
        drop(block);
        assert_eq!(gauge.bytes(), 0);
    }
}
