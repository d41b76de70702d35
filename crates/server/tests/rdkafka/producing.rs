use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::broker::{Broker, PATIENCE, numbers, take};

#[tokio::test]
async fn every_compression_comes_back_and_an_idempotent_producer_writes_once() {
    let broker = Broker::start();
    broker.create("orders", 1, &[]).await;
    let mut expected = Vec::new();
    for (round, codec) in ["none", "snappy", "lz4"].into_iter().enumerate() {
        let settings = [("compression.type", codec), ("enable.idempotence", "true"), ("linger.ms", "20")];
        let offsets = broker.produce("orders", 300, &settings).await;
        assert_eq!(offsets, (round as i64 * 300..(round as i64 + 1) * 300).collect::<Vec<_>>());
        expected.extend(numbers(0..300));
    }
    assert_eq!(broker.read("orders", 900, &[]), expected);
}

#[tokio::test]
async fn keys_times_and_headers_come_back_as_they_were() {
    let broker = Broker::start();
    broker.create("orders", 1, &[("retention.ms", "-1")]).await;
    let producer: FutureProducer = broker.client(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "a", value: Some("2") })
        .insert(Header { key: "none", value: None::<&str> });
    let record = FutureRecord::to("orders").key("clé").payload("ñandú").timestamp(1_600_000_000_123);
    producer.send(record.headers(headers), PATIENCE).await.expect("stored");
    let consumer = broker.consumer("reader", &[]);
    consumer.subscribe(&["orders"]).expect("a subscription");
    let read = &take(&consumer, 1)[0];
    assert_eq!((read.key(), read.payload()), (Some("clé".as_bytes()), Some("ñandú".as_bytes())));
    assert_eq!(read.timestamp().to_millis(), Some(1_600_000_000_123));
    let headers = read.headers().expect("headers").iter().map(|header| (header.key, header.value));
    let expected = [("a", Some(&b"1"[..])), ("a", Some(b"2")), ("none", None)];
    assert_eq!(headers.collect::<Vec<_>>(), expected);
}
