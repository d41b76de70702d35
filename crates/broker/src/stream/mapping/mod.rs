//! AMQP messages as records, and records as AMQP messages. docs/mapping.md is the table of it.
//!
//! A message keeps its exchange, routing key and properties in one header of the record, [`OWN_HEADER`], from which
//! AMQP clients get them back as they were. The headers before that one say the same to Kafka's clients. What stands behind
//! it was added by somebody else on the way, and is shown beside the message's own headers.
//!
//! ```text
//! exchange_len u8, exchange
//! routing_key_len u8, routing_key
//! properties, to the end: flags and values as AMQP 0-9-1 encodes them
//! ```

mod from_record;
#[cfg(test)]
mod tests;
mod to_record;
mod words;

pub(super) use from_record::MessageReader;
pub(super) use to_record::Outgoing;

/// Holds all of an AMQP message but its body.
const OWN_HEADER: &[u8] = b"cauce.amqp";

/// The header of a delivery that says where the message is.
const OFFSET_HEADER: &str = "x-stream-offset";

/// The same for the partition, in topics with several.
const PARTITION_HEADER: &str = "x-stream-partition";

/// The key of the record where the routing key is something else; binary, or text if a client wrote it so.
const KEY_HEADER: &str = "x-kafka-key";

/// True for a record without a value.
const TOMBSTONE_HEADER: &str = "x-kafka-tombstone";

/// How many headers of the record did not fit into the message.
const LEFT_OUT_HEADER: &str = "x-kafka-headers-left-out";

/// Bytes of headers from Kafka's clients that a message can carry: they must fit into a frame.
const SHOWN_BYTES_MAX: usize = 64 << 10;
