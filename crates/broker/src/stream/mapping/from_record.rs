//! From a record to an AMQP message.

use cauce_amqp::table::{encode_entry, encode_raw_entry};
use cauce_amqp::{Properties, RawTable, RawValue};
use cauce_core::Value;
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::names::NAME_BYTES_MAX;
use cauce_log::Record;

use super::words::{EXCHANGE, PRIORITY, TEXT_PROPERTIES};
use super::{
    KEY_HEADER, LEFT_OUT_HEADER, OFFSET_HEADER, OWN_HEADER, PARTITION_HEADER, SHOWN_BYTES_MAX,
    TOMBSTONE_HEADER,
};

/// Kafka's records are on disk, as messages of this mode are.
const PERSISTENT: u8 = 2;

/// Properties cannot say this of themselves in Kafka: AMQP promises that somebody checked it.
const CHECKED: &[u8] = b"amqp.user-id";

/// Turns the records of one partition into messages. Its buffers are used again and again.
#[derive(Debug)]
pub(in crate::stream) struct MessageReader {
    topic: Box<str>,
    /// Told with every message, if there are several.
    partition: Option<i32>,
    envelope: Vec<u8>,
    entries: Vec<u8>,
    list: Vec<u8>,
}

/// A message without its headers, which are in the reader's buffer.
struct Head<'r> {
    exchange: &'r [u8],
    routing_key: &'r [u8],
    properties: Properties<'r>,
}

type Header<'r> = (&'r [u8], Option<&'r [u8]>);

impl MessageReader {
    pub(in crate::stream) fn new(topic: &str, partition: Option<i32>) -> MessageReader {
        MessageReader {
            topic: topic.into(),
            partition,
            envelope: Vec::new(),
            entries: Vec::new(),
            list: Vec::new(),
        }
    }

    pub(in crate::stream) fn tell_partition(&mut self, partition: i32) {
        self.partition = Some(partition);
    }

    pub(in crate::stream) fn push(&mut self, record: &Record<'_>, block: &mut BlockBuilder) {
        self.entries.clear();
        self.envelope.clear();
        let topic = std::mem::take(&mut self.topic);
        let head = match own(record) {
            Some((head, added)) => {
                self.copy_own_headers(head.properties.headers().unwrap_or_default());
                self.add_foreign(record.headers().skip(added).collect());
                head
            }
            None => self.read_foreign(record, &topic),
        };
        encode_entry(OFFSET_HEADER, &Value::I64(record.offset), &mut self.entries);
        if let Some(partition) = self.partition {
            encode_entry(PARTITION_HEADER, &Value::I32(partition), &mut self.entries);
        }
        head.properties.with_headers(RawTable(&self.entries)).encode(&mut self.envelope);
        block.push(Message {
            exchange: head.exchange,
            routing_key: head.routing_key,
            envelope: &self.envelope,
            body: record.value.unwrap_or_default(),
            traits: Traits::default(),
        });
        self.topic = topic;
    }

    /// All but those that say where the message is, as it may have come from another stream.
    fn copy_own_headers(&mut self, headers: RawTable<'_>) {
        let has = |name| headers.find(name).is_ok_and(|found| found.is_some());
        if !has(OFFSET_HEADER) && !has(PARTITION_HEADER) {
            return self.entries.extend_from_slice(headers.0);
        }
        for (name, value) in headers.entries().map_while(Result::ok) {
            if name != OFFSET_HEADER && name != PARTITION_HEADER {
                encode_raw_entry(name, value, &mut self.entries);
            }
        }
    }

    /// A record that no AMQP client wrote.
    fn read_foreign<'r>(&mut self, record: &Record<'r>, topic: &'r str) -> Head<'r> {
        let mut head =
            Head { exchange: b"", routing_key: topic.as_bytes(), properties: Properties::default() };
        head.properties = head.properties.with_delivery_mode(PERSISTENT);
        if let Ok(timestamp_ms) = u64::try_from(record.timestamp_ms) {
            head.properties = head.properties.with_timestamp(timestamp_ms / 1000);
        }
        let mut headers: Vec<Header<'r>> = record.headers().collect();
        headers.retain(|(name, value)| !head.takes(name, *value));
        self.add_foreign(headers);
        match record.key {
            Some(key) if is_routing_key(key) => head.routing_key = key,
            Some(key) if key.len() <= SHOWN_BYTES_MAX => {
                encode_raw_entry(KEY_HEADER, RawValue::binary(key), &mut self.entries);
            }
            Some(_) | None => {}
        }
        if record.value.is_none() {
            encode_entry(TOMBSTONE_HEADER, &Value::Bool(true), &mut self.entries);
        }
        head
    }

    /// Headers of Kafka's clients. What comes several times becomes a list, where the first of it was.
    fn add_foreign(&mut self, headers: Vec<Header<'_>>) {
        let mut left_out = 0;
        let mut sorted: Vec<(usize, Header<'_>)> = headers.into_iter().enumerate().collect();
        sorted.sort_by_key(|(_, (name, _))| *name);
        let mut groups: Vec<&[(usize, Header<'_>)]> = sorted.chunk_by(|a, b| a.1.0 == b.1.0).collect();
        groups.sort_unstable_by_key(|group| group[0].0);
        for group in groups {
            let bytes: usize = group.iter().map(|(_, (_, value))| 5 + value.unwrap_or_default().len()).sum();
            let name = std::str::from_utf8(group[0].1.0).ok();
            let fits = self.entries.len() + bytes + NAME_BYTES_MAX <= SHOWN_BYTES_MAX;
            let Some(name) = name.filter(|name| name.len() <= NAME_BYTES_MAX && fits && !is_ours(name))
            else {
                left_out += group.len();
                continue;
            };
            match group {
                [(_, (_, Some(value)))] => encode_raw_entry(name, shown(value), &mut self.entries),
                [(_, (_, None))] => encode_entry(name, &Value::Void, &mut self.entries),
                several => {
                    self.list.clear();
                    for (_, (_, value)) in several {
                        match value {
                            Some(value) => shown(value).encode(&mut self.list),
                            None => self.list.push(b'V'),
                        }
                    }
                    encode_raw_entry(name, RawValue::list(&self.list), &mut self.entries);
                }
            }
        }
        if left_out > 0 {
            encode_entry(LEFT_OUT_HEADER, &Value::I64(left_out as i64), &mut self.entries);
        }
    }
}

impl<'r> Head<'r> {
    /// Whether the header is a property, which is set then.
    fn takes(&mut self, name: &[u8], value: Option<&'r [u8]>) -> bool {
        let (true, Some(value)) = (name.starts_with(b"amqp.") && name != CHECKED, value) else {
            return false;
        };
        if name == EXCHANGE.as_bytes() && is_routing_key(value) {
            self.exchange = value;
            return true;
        }
        if name == PRIORITY.as_bytes()
            && let Some(priority) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok())
        {
            self.properties = self.properties.with_priority(priority);
            return true;
        }
        let found = TEXT_PROPERTIES.iter().find(|(known, _)| known.as_bytes() == name);
        let set = found.and_then(|(_, property)| self.properties.with_text(*property, value));
        self.properties = set.unwrap_or(self.properties);
        set.is_some()
    }
}

/// What an AMQP client published, and the number of headers up to that of ours: what comes after them was added.
fn own<'r>(record: &Record<'r>) -> Option<(Head<'r>, usize)> {
    let (at, (_, value)) =
        record.headers().enumerate().filter(|(_, (name, _))| *name == OWN_HEADER).last()?;
    let mut rest = value?;
    let exchange = short(&mut rest)?;
    let routing_key = short(&mut rest)?;
    // Anybody can produce such a header, and clients must not get properties they cannot read.
    std::str::from_utf8(exchange).and(std::str::from_utf8(routing_key)).ok()?;
    let properties = Properties::parse(rest).ok()?;
    properties.headers().unwrap_or_default().validate().ok()?;
    Some((Head { exchange, routing_key, properties }, at + 1))
}

fn short<'r>(rest: &mut &'r [u8]) -> Option<&'r [u8]> {
    let (&len, after) = rest.split_first()?;
    let (text, after) = after.split_at_checked(len.into())?;
    *rest = after;
    Some(text)
}

fn is_routing_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= NAME_BYTES_MAX && std::str::from_utf8(key).is_ok()
}

fn is_ours(name: &str) -> bool {
    [OFFSET_HEADER, PARTITION_HEADER, KEY_HEADER, TOMBSTONE_HEADER, LEFT_OUT_HEADER].contains(&name)
}

fn shown(value: &[u8]) -> RawValue<'_> {
    match std::str::from_utf8(value) {
        Ok(_) => RawValue::text(value),
        Err(_) => RawValue::binary(value),
    }
}
