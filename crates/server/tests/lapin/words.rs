//! Short words over lapin for the stories the tests tell.

use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Consumer, Error, ErrorKind, ExchangeKind, Result};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(150);

pub(crate) fn table<const N: usize>(arguments: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert(key.into(), value);
    }
    table
}

pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

pub(crate) fn number(value: i32) -> AMQPValue {
    AMQPValue::LongInt(value)
}

/// A durable queue.
pub(crate) async fn queue<const N: usize>(channel: &Channel, name: &str, arguments: [(&str, AMQPValue); N]) {
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), durable, table(arguments)).await.expect("a queue");
}

/// A queue of the broker's naming that goes with the connection.
pub(crate) async fn private_queue(channel: &Channel) -> String {
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await;
    queue.expect("a queue").name().to_string()
}

pub(crate) async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await.expect("an exchange");
}

pub(crate) async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default());
    bound.await.expect("a binding");
}

pub(crate) async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Confirmation {
    publish_with(channel, exchange, key, body, persistent()).await.expect("a publish")
}

pub(crate) async fn publish_with(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?.await
}

pub(crate) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

pub(crate) async fn confirming(channel: &Channel) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
}

pub(crate) async fn prefetch(channel: &Channel, count: u16) {
    channel.basic_qos(count, BasicQosOptions::default()).await.expect("a prefetch");
}

pub(crate) async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.into(), "".into(), options, none).await.expect("a consumer")
}

/// The consumer's next message, waiting for it.
pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a message in time");
    next.expect("a consumer that goes on").expect("a message")
}

pub(crate) async fn nothing_comes(consumer: &mut Consumer) {
    let next = tokio::time::timeout(QUIET, consumer.next()).await;
    assert!(next.is_err(), "{next:?}");
}

pub(crate) async fn ends(consumer: &mut Consumer) {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("the end in time");
    assert!(next.is_none(), "{next:?}");
}

/// The next message with `basic.get`, waiting for one to arrive.
pub(crate) async fn take(channel: &Channel, queue: &str) -> BasicGetMessage {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(message) = get(channel, queue).await {
            return message;
        }
        assert!(Instant::now() < deadline, "nothing arrived in {queue}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn get(channel: &Channel, queue: &str) -> Option<BasicGetMessage> {
    channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.expect("an answer")
}

/// Everything ready in the queue, as text.
pub(crate) async fn drained(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(message) = get(channel, queue).await {
        bodies.push(body(&message));
    }
    bodies
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.data).into_owned()
}

pub(crate) async fn ack(delivery: &Delivery) {
    assert!(delivery.ack(BasicAckOptions::default()).await.expect("an ack"), "lapin sent no ack");
}

pub(crate) async fn reject(delivery: &Delivery, requeue: bool) {
    assert!(delivery.reject(BasicRejectOptions { requeue }).await.expect("a reject"), "lapin sent no reject");
}

pub(crate) async fn passively(channel: &Channel, queue: &str) -> Result<lapin::Queue> {
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await
}

/// The broker closed the channel, with this code and a text that has these words.
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T>, code: u16, words: &str) {
    let error: Error = result.expect_err("a refusal");
    let ErrorKind::ProtocolError(fault) = error.kind() else { panic!("{error}") };
    assert_eq!(fault.get_id(), code, "{fault:?}");
    assert!(fault.get_message().as_str().contains(words), "{fault:?}");
}
