//! Messages become records and messages again: exactly, whatever they are.

use bytes::Bytes;
use cauce_amqp::table::encode_entry;
use cauce_amqp::{Properties, PropertiesBuf, RawTable};
use cauce_core::message::{BlockBuilder, Gauge, Message, Traits};
use cauce_core::topic::TopicConfig;
use cauce_core::{Table, Value};
use cauce_log::{BatchBuilder, RecordBatch};
use proptest::prelude::*;

use super::{MessageReader, Outgoing};

const ARRIVED_MS: i64 = 1_700_000_000_000;

type Headers<'h> = Vec<(&'h [u8], Option<&'h [u8]>)>;

fn message<'m>(exchange: &'m str, key: &'m str, envelope: &'m [u8], body: &'m [u8]) -> Message<'m> {
    let traits = Traits { arrived_ms: ARRIVED_MS, ..Traits::default() };
    Message { exchange: exchange.as_bytes(), routing_key: key.as_bytes(), envelope, body, traits }
}

/// The batch of a message that AMQP published.
fn record_of(message: Message<'_>) -> RecordBatch {
    let outgoing = Outgoing::new(message);
    let timestamp_ms = outgoing.timestamp_ms(&TopicConfig::default());
    let mut batch = BatchBuilder::new();
    batch.start(0, timestamp_ms);
    outgoing.push(&mut batch, 0, timestamp_ms);
    RecordBatch::parse(batch.finish()).unwrap().0
}

/// The batch of a record that Kafka's clients produced.
fn foreign(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> RecordBatch {
    let values: Vec<[&[u8]; 1]> = headers.iter().map(|(_, value)| [*value]).collect();
    let headers: Vec<(&[u8], &[&[u8]])> =
        headers.iter().zip(&values).map(|((name, _), value)| (name.as_bytes(), &value[..])).collect();
    let mut batch = BatchBuilder::new();
    batch.start(0, 5_999);
    batch.push(0, 5_999, key, value.as_ref().map(std::slice::from_ref), &headers);
    RecordBatch::parse(batch.finish()).unwrap().0
}

#[derive(Debug, PartialEq)]
struct Seen {
    exchange: Vec<u8>,
    routing_key: Vec<u8>,
    envelope: Vec<u8>,
    body: Vec<u8>,
}

impl Seen {
    fn properties(&self) -> PropertiesBuf {
        PropertiesBuf::try_from(&Properties::parse(&self.envelope).unwrap()).unwrap()
    }

    /// All but the offset.
    fn headers(&self) -> Vec<(String, Value)> {
        let headers = self.properties().headers.unwrap();
        let headers = headers.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        headers.filter(|(name, _)| name != super::OFFSET_HEADER).collect()
    }
}

fn read(batch: &RecordBatch, partition: Option<i32>) -> Seen {
    let record = batch.records().next().unwrap().unwrap();
    let mut block = BlockBuilder::new();
    MessageReader::new("orders", partition).push(&record, &mut block);
    let block = block.finish(&Gauge::default());
    let message = block.message(0);
    Seen {
        exchange: message.exchange.to_vec(),
        routing_key: message.routing_key.to_vec(),
        envelope: message.envelope.to_vec(),
        body: message.body.to_vec(),
    }
}

/// What Kafka's clients see beside key and value, without our own header.
fn readable(batch: &RecordBatch) -> Vec<(String, String)> {
    let record = batch.records().next().unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers: Headers<'_> = record.headers().collect();
    let (own, others) = headers.split_last().unwrap();
    assert_eq!(own.0, super::OWN_HEADER);
    others.iter().map(|(name, value)| (text(name), text(value.unwrap()))).collect()
}

fn key_of(batch: &RecordBatch) -> Option<Vec<u8>> {
    batch.records().next().unwrap().unwrap().key.map(<[u8]>::to_vec)
}

fn envelope(headers: &[(&str, Value)]) -> Vec<u8> {
    PropertiesBuf { headers: Some(headers.iter().cloned().collect()), ..Default::default() }.to_bytes()
}

fn with_offset(envelope: &[u8], offset: i64) -> Vec<u8> {
    let properties = Properties::parse(envelope).unwrap();
    let mut entries = properties.headers().unwrap_or_default().0.to_vec();
    encode_entry("x-stream-offset", &Value::I64(offset), &mut entries);
    let mut out = Vec::new();
    properties.with_headers(RawTable(&entries)).encode(&mut out);
    out
}

#[test]
fn kafkas_clients_can_read_what_amqp_published() {
    let properties = PropertiesBuf {
        content_type: Some(b"application/json".to_vec()),
        correlation_id: Some(b"c-1".to_vec()),
        delivery_mode: Some(2),
        priority: Some(7),
        timestamp: Some(1_700_000_000),
        headers: Some(Table::from_iter([
            ("text", Value::text("\u{f1}u")),
            ("number", Value::I32(-3)),
            ("flag", Value::Bool(true)),
            ("nothing", Value::Void),
            ("price", Value::Decimal { scale: 2, value: 1999 }),
            ("several", Value::List(vec![Value::I8(1), Value::text("two")])),
            ("nested", Value::Table(Table::from_iter([("a", Value::List(vec![Value::I64(1)]))]))),
        ])),
        ..Default::default()
    };
    let envelope = properties.to_bytes();
    let batch = record_of(message("events", "order.new", &envelope, b"{}"));
    let record = batch.records().next().unwrap().unwrap();
    assert_eq!(
        (record.key, record.value, record.timestamp_ms),
        (Some(&b"order.new"[..]), Some(&b"{}"[..]), 1_700_000_000_000)
    );
    let expected = [
        ("amqp.exchange", "events"),
        ("amqp.content-type", "application/json"),
        ("amqp.correlation-id", "c-1"),
        ("amqp.priority", "7"),
        ("text", "\u{f1}u"),
        ("number", "-3"),
        ("flag", "true"),
        ("nothing", ""),
        ("price", "19.99"),
        ("several", "1"),
        ("several", "two"),
        ("nested", r#"{"a":[1]}"#),
    ];
    assert_eq!(readable(&batch), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_key_is_the_routing_key_unless_that_names_the_stream() {
    let plain = [0, 0];
    let keyed = envelope(&[("x-kafka-key", Value::Bytes(b"\xff\x00"[..].into()))]);
    for (exchange, routing_key, envelope, key) in [
        ("", "orders", &plain[..], None),
        ("e", "k", &plain, Some(&b"k"[..])),
        ("e", "", &plain, None),
        ("", "orders", &keyed, Some(b"\xff\x00")),
        ("e", "k", &keyed, Some(b"\xff\x00")),
    ] {
        assert_eq!(
            key_of(&record_of(message(exchange, routing_key, envelope, b""))).as_deref(),
            key,
            "{exchange} {routing_key}"
        );
    }
}

#[test]
fn a_time_that_the_topic_would_refuse_is_that_of_arrival() {
    let at = |timestamp| {
        let envelope = PropertiesBuf { timestamp: Some(timestamp), ..Default::default() }.to_bytes();
        record_of(message("", "orders", &envelope, b"")).max_timestamp()
    };
    assert_eq!(at(1), 1000);
    assert_eq!(at(ARRIVED_MS as u64 / 1000 + 60), ARRIVED_MS + 60_000);
    // Milliseconds where seconds belong: far in the future.
    assert_eq!(at(ARRIVED_MS as u64), ARRIVED_MS);
    assert_eq!(at(u64::MAX), ARRIVED_MS);
}

#[test]
fn a_tombstone_is_an_empty_body_and_a_header_that_says_so() {
    let batch = foreign(Some(b"k"), None, &[]);
    let seen = read(&batch, None);
    assert_eq!(seen.body, b"");
    assert_eq!(seen.headers(), [("x-kafka-tombstone".to_owned(), Value::Bool(true))]);
    let again = record_of(message("e", "k", &envelope(&[("x-kafka-tombstone", Value::Bool(true))]), b""));
    let record = again.records().next().unwrap().unwrap();
    assert_eq!((record.key, record.value), (Some(&b"k"[..]), None));
}

#[test]
fn a_record_of_kafka_is_a_message() {
    let headers: [(&str, &[u8]); 9] = [
        ("trace", b"1"),
        ("amqp.content-type", b"text/plain"),
        ("tag", b"a"),
        ("raw", b"\xff"),
        ("tag", b"b"),
        ("amqp.user-id", b"root"),
        ("amqp.priority", b"3"),
        ("amqp.exchange", b"events"),
        ("tag", b"a"),
    ];
    let seen = read(&foreign(Some("\u{f1}".as_bytes()), Some(b"v"), &headers), Some(4));
    assert_eq!(
        (&seen.exchange[..], &seen.routing_key[..], &seen.body[..]),
        (&b"events"[..], "\u{f1}".as_bytes(), &b"v"[..])
    );
    let properties = seen.properties();
    assert_eq!(
        properties,
        PropertiesBuf {
            content_type: Some(b"text/plain".to_vec()),
            delivery_mode: Some(2),
            priority: Some(3),
            timestamp: Some(5),
            headers: properties.headers.clone(),
            ..Default::default()
        }
    );
    let tags = Value::List(["a", "b", "a"].map(Value::text).to_vec());
    let expected = [
        ("trace", Value::text("1")),
        ("tag", tags),
        ("raw", Value::Bytes(b"\xff"[..].into())),
        ("amqp.user-id", Value::text("root")),
        ("x-stream-partition", Value::I32(4)),
    ];
    assert_eq!(seen.headers(), expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn a_key_that_is_no_routing_key_is_a_header() {
    for key in [&b""[..], b"\xff", &[b'k'; 256]] {
        let seen = read(&foreign(Some(key), Some(b""), &[]), None);
        assert_eq!(seen.routing_key, b"orders");
        assert_eq!(seen.headers(), [("x-kafka-key".to_owned(), Value::Bytes(key.into()))]);
    }
    let seen = read(&foreign(None, Some(b""), &[]), None);
    assert_eq!((seen.routing_key.as_slice(), seen.headers()), (&b"orders"[..], Vec::new()));
}

#[test]
fn what_was_added_on_the_way_is_shown_beside_the_messages_own_headers() {
    let envelope = envelope(&[("mine", Value::I16(5)), ("x-stream-offset", Value::I64(99))]);
    let batch = record_of(message("e", "k", &envelope, b"v"));
    let record = batch.records().next().unwrap().unwrap();
    let own: Vec<(Bytes, Bytes)> = record
        .headers()
        .map(|(name, value)| (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value.unwrap())))
        .collect();
    let mut headers: Vec<(&str, &[u8])> =
        own.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap(), &value[..])).collect();
    headers.push(("traceparent", b"00-1"));
    let seen = read(&foreign(record.key, record.value, &headers), None);
    assert_eq!(
        seen.headers(),
        [("mine".to_owned(), Value::I16(5)), ("traceparent".to_owned(), Value::text("00-1"))]
    );
}

#[test]
fn headers_that_do_not_fit_into_a_frame_are_counted() {
    let large = vec![b'x'; 40 << 10];
    let long = "n".repeat(256);
    let seen =
        read(&foreign(None, Some(b"v"), &[("a", &large), ("b", &large), ("c", b"1"), (&long, b"2")]), None);
    let names: Vec<String> = seen.headers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "c", "x-kafka-headers-left-out"]);
    assert_eq!(seen.headers().last().unwrap().1, Value::I64(2));
}

#[test]
fn a_header_that_only_looks_like_ours_is_one_of_kafkas() {
    for forged in [
        &b""[..],
        b"\x00",
        b"\x01e\x00\xff\xff",
        b"\x01\xff\x00\x00\x00",
        b"\x00\x00\x20\x00\x00\x00\x00\x01z",
    ] {
        let seen = read(&foreign(Some(b"k"), Some(b"v"), &[("cauce.amqp", forged)]), None);
        assert_eq!(seen.routing_key, b"k", "{forged:?}");
        assert_eq!(seen.headers().len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_message_comes_back_as_it_was(
        properties in any_properties(),
        exchange in "[a-z\u{f1}]{0,20}",
        routing_key in "[a-z.\u{f1}]{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let envelope = properties.to_bytes();
        let seen = read(&record_of(message(&exchange, &routing_key, &envelope, &body)), None);
        prop_assert_eq!(seen, Seen {
            exchange: exchange.into_bytes(),
            routing_key: routing_key.into_bytes(),
            envelope: with_offset(&envelope, 0),
            body,
        });
    }

    #[test]
    fn any_record_is_a_message_that_clients_can_read(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        headers in prop::collection::vec((any_header_name(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
    ) {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (&**name, &value[..])).collect();
        let seen = read(&foreign(key.as_deref(), value.as_deref(), &headers), Some(1));
        let view = Properties::parse(&seen.envelope).unwrap();
        prop_assert!(view.headers().unwrap().validate().is_ok());
        prop_assert!(std::str::from_utf8(&seen.routing_key).is_ok() && seen.routing_key.len() <= 255);
        prop_assert_eq!(seen.body, value.unwrap_or_default());
    }
}

fn any_header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        Just("cauce.amqp".to_owned()),
        Just("amqp.type".to_owned()),
        Just("amqp.priority".to_owned()),
        Just("x-stream-offset".to_owned()),
        "\\PC{0,100}",
    ]
}

fn any_properties() -> impl Strategy<Value = PropertiesBuf> {
    let short = || prop::option::of(prop::collection::vec(any::<u8>(), 0..30));
    let texts = (short(), short(), short(), short(), short(), short(), short());
    let others =
        (prop::option::of(any_table()), any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>());
    (texts, others).prop_map(|(texts, (headers, delivery_mode, priority, timestamp))| PropertiesBuf {
        content_type: texts.0,
        content_encoding: texts.1,
        correlation_id: texts.2,
        reply_to: texts.3,
        message_id: texts.4,
        user_id: texts.5,
        cluster_id: texts.6,
        headers,
        delivery_mode,
        priority,
        timestamp,
        ..Default::default()
    })
}

fn any_table() -> impl Strategy<Value = Table> {
    prop::collection::vec(("[a-z]{0,6}", any_value()), 0..6).prop_map(|entries| entries.into_iter().collect())
}

fn any_value() -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..10).prop_map(Vec::into_boxed_slice);
    let leaf = prop_oneof![
        Just(Value::Void),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        (any::<u8>(), any::<u32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        any::<u64>().prop_map(Value::Timestamp),
        bytes().prop_map(Value::Text),
        bytes().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(("[a-z]{1,4}", inner), 0..4)
                .prop_map(|entries| Value::Table(entries.into_iter().collect())),
        ]
    })
}
