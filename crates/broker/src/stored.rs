//! A message as a record of a queue's log.
//!
//! Value: the body. Timestamp: the arrival. One header, [`HEADER`], holds the rest:
//!
//! ```text
//! flags u8   bit 0: persistent, bit 1: ttl_ms follows
//! priority u8
//! ttl_ms u64, big endian, if flagged
//! exchange_len u8, exchange
//! routing_key_len u8, routing_key
//! envelope, to the end: the protocol's own header, verbatim
//! ```

use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_log::{BatchBuilder, Record};

pub(crate) const HEADER: &[u8] = b"cauce";

const PERSISTENT: u8 = 1;
const HAS_TTL: u8 = 2;

pub(crate) fn push(batch: &mut BatchBuilder, offset: u64, message: &Message<'_>) {
    let Traits { persistent, priority, ttl_ms, arrived_ms } = message.traits;
    let mut head = [0u8; 11];
    head[0] = u8::from(persistent) * PERSISTENT + u8::from(ttl_ms.is_some()) * HAS_TTL;
    head[1] = priority;
    let mut end = 2;
    if let Some(ttl_ms) = ttl_ms {
        head[2..10].copy_from_slice(&ttl_ms.to_be_bytes());
        end = 10;
    }
    head[end] = message.exchange.len() as u8;
    let key_len = [message.routing_key.len() as u8];
    let parts: [&[u8]; 5] =
        [&head[..=end], message.exchange, &key_len, message.routing_key, message.envelope];
    batch.push(offset as i64, arrived_ms, None, Some(&[message.body]), &[(HEADER, &parts)]);
}

/// What is in a record, if it is one of ours.
pub(crate) fn read<'a>(record: &Record<'a>) -> Option<Message<'a>> {
    let (_, head) = record.headers().find(|(name, _)| *name == HEADER)?;
    let (&[flags, priority], mut rest) = head?.split_first_chunk::<2>()?;
    let mut ttl_ms = None;
    if flags & HAS_TTL != 0 {
        let (ttl, after) = rest.split_first_chunk::<8>()?;
        ttl_ms = Some(u64::from_be_bytes(*ttl));
        rest = after;
    }
    let exchange = short(&mut rest)?;
    let routing_key = short(&mut rest)?;
    let traits =
        Traits { persistent: flags & PERSISTENT != 0, priority, ttl_ms, arrived_ms: record.timestamp_ms };
    Some(Message { exchange, routing_key, envelope: rest, body: record.value.unwrap_or_default(), traits })
}

fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, after) = rest.split_first()?;
    let (text, after) = after.split_at_checked(len.into())?;
    *rest = after;
    Some(text)
}

/// The messages of a record, copied into a block under construction, with their offsets.
pub(crate) fn copy_into(block: &mut BlockBuilder, offsets: &mut Vec<u64>, record: &Record<'_>) -> bool {
    let Some(message) = read(record) else { return false };
    block.push(message);
    offsets.push(record.offset as u64);
    true
}
