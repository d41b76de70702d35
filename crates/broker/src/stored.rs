//! A message as a record of a queue's log.
//!
//! Value: the body. Timestamp: the arrival. One header, [`HEADER`], holds the rest:
//!
//! ```text
//! flags u8   bit 0: persistent, bit 1: ttl_ms follows, bit 2: transaction follows
//! priority u8
//! ttl_ms u64, big endian, if flagged
//! transaction u64, big endian, if flagged: its number; the message counts once that is committed
//! exchange_len u8, exchange
//! routing_key_len u8, routing_key
//! envelope, to the end: the protocol's own header, verbatim
//! ```

use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_log::{BatchBuilder, Record};

pub(crate) const HEADER: &[u8] = b"cauce";

const PERSISTENT: u8 = 1;
const HAS_TTL: u8 = 2;
const HAS_TRANSACTION: u8 = 4;

/// Adds the message, perhaps of a transaction.
pub(crate) fn push(batch: &mut BatchBuilder, offset: u64, message: &Message<'_>, transaction: Option<u64>) {
    let Traits { persistent, priority, ttl_ms, arrived_ms } = message.traits;
    let mut head = [0u8; 19];
    head[0] = u8::from(persistent) * PERSISTENT
        + u8::from(ttl_ms.is_some()) * HAS_TTL
        + u8::from(transaction.is_some()) * HAS_TRANSACTION;
    head[1] = priority;
    let mut end = 2;
    for number in ttl_ms.into_iter().chain(transaction) {
        head[end..end + 8].copy_from_slice(&number.to_be_bytes());
        end += 8;
    }
    head[end] = message.exchange.len() as u8;
    let key_len = [message.routing_key.len() as u8];
    let parts: [&[u8]; 5] =
        [&head[..=end], message.exchange, &key_len, message.routing_key, message.envelope];
    batch.push(offset as i64, arrived_ms, None, Some(&[message.body]), &[(HEADER, &parts)]);
}

/// What is in a record, if it is one of ours.
pub(crate) fn read<'a>(record: &Record<'a>) -> Option<Message<'a>> {
    read_with_transaction(record).map(|(message, _)| message)
}

/// The same, with the number of the transaction it is of.
pub(crate) fn read_with_transaction<'a>(record: &Record<'a>) -> Option<(Message<'a>, Option<u64>)> {
    let (_, head) = record.headers().find(|(name, _)| *name == HEADER)?;
    let (&[flags, priority], mut rest) = head?.split_first_chunk::<2>()?;
    let ttl_ms = if flags & HAS_TTL != 0 { Some(number(&mut rest)?) } else { None };
    let transaction = if flags & HAS_TRANSACTION != 0 { Some(number(&mut rest)?) } else { None };
    let exchange = short(&mut rest)?;
    let routing_key = short(&mut rest)?;
    let traits =
        Traits { persistent: flags & PERSISTENT != 0, priority, ttl_ms, arrived_ms: record.timestamp_ms };
    let body = record.value.unwrap_or_default();
    Some((Message { exchange, routing_key, envelope: rest, body, traits }, transaction))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_be_bytes(*number))
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
