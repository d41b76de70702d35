//! Streams as consumers of AMQP see them: what is committed, in order, and still there after a power cut.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::stream::{Acks, PartitionHandle, Start, StreamConsumer, StreamHandle, Wish, check};
use cauce_broker::{ConfirmTag, Event, Link, Node, Receipts, Share};
use cauce_core::exchange::Destination;
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::producer::{Ending, Producer, ProducerId, TransactionVersion};
use cauce_core::queue::Picks;
use cauce_core::stream::{Marker, Sender};
use cauce_core::{Table, Value};
use cauce_log::{BatchBuilder, MemoryDisk};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use common::{run, spec, start};

const NOW_MS: i64 = 1_700_000_000_000;
const TRANSACTIONAL: i16 = 1 << 4;

async fn declare(node: &Node) -> Arc<StreamHandle> {
    let vhost = node.vhost("/").unwrap();
    let spec = spec(&[("x-queue-type", Value::text("stream"))]);
    let (target, saved) = vhost.declare_queue("log", spec, 0).unwrap();
    saved.wait().await;
    target.stream().unwrap().clone()
}

/// Somebody who publishes and consumes.
struct Client {
    link: Link,
    events: UnboundedReceiver<Event>,
}

impl Client {
    fn new() -> Client {
        let (link, events) = unbounded_channel();
        Client { link, events }
    }

    /// Publishes all bodies at once and waits until they are confirmed.
    async fn publish(&mut self, node: &Node, bodies: &[&str]) {
        let mut block = BlockBuilder::new();
        for body in bodies {
            let traits = Traits { arrived_ms: NOW_MS, ..Traits::default() };
            let body = body.as_bytes();
            block.push(Message { exchange: b"", routing_key: b"log", envelope: &[0, 0], body, traits });
        }
        let tags =
            (1..).take(bodies.len()).map(|sequence| Some(ConfirmTag { channel: 1, life: 1, sequence }));
        let receipts = Receipts::Connection { link: self.link.clone(), tags: tags.collect() };
        let (block, picks) = (block.finish(node.memory().gauge()), Picks::Run(0..bodies.len() as u32));
        let target = node.vhost("/").unwrap().topology().queue("log").unwrap().handle.clone();
        target.try_publish(Share { block, picks, receipts }).expect("there is room");
        match self.events.recv().await {
            Some(Event::Confirmed(confirms)) => assert!(confirms.iter().all(|(_, taken)| *taken)),
            other => panic!("not a confirm: {other:?}"),
        }
    }

    async fn subscribe(
        &self,
        node: &Node,
        stream: &Arc<StreamHandle>,
        start: Start,
        prefetch: u32,
    ) -> StreamConsumer {
        let wish = Wish { start, partition: None, prefetch };
        stream.subscribe(node.next_consumer(), wish, self.link.clone()).await.unwrap()
    }

    /// The next messages, with their offsets.
    async fn read(&mut self, count: usize) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        while found.len() < count {
            match self.events.recv().await {
                Some(Event::Read { deliveries }) => found.extend(deliveries.into_iter().map(|to| {
                    let body = to.delivery.block.message(to.delivery.index).body.to_vec();
                    (to.delivery.offset, String::from_utf8(body).unwrap())
                })),
                other => panic!("not messages: {other:?}"),
            }
        }
        found
    }
}

fn records(offsets: impl IntoIterator<Item = u64>, prefix: &str) -> Vec<(u64, String)> {
    offsets.into_iter().map(|offset| (offset, format!("{prefix}{offset}"))).collect()
}

/// A transaction of one batch with one record.
async fn begin(node: &Node, partition: &PartitionHandle, id: i64, body: &str) {
    let producer = Producer { id: ProducerId(id), epoch: 0 };
    let mut batch = BatchBuilder::new();
    batch.start(0, NOW_MS);
    batch.set_producer(id, 0, 0);
    batch.set_attributes(TRANSACTIONAL);
    batch.push(0, NOW_MS, None, Some(&[body.as_bytes()]), &[]);
    let charge = Arc::new(node.memory().gauge().charge(0));
    let config = node.topics().get("log").unwrap().config();
    let batch: Bytes = batch.finish();
    let sender = Sender { producer, first_sequence: Some(0), transactional: true };
    let guard = partition.verification(sender, TransactionVersion::Classic).await.unwrap();
    let batch = check(batch, &config, NOW_MS, &charge).unwrap();
    partition.append(batch, guard, Acks::All).answer().await.unwrap();
}

async fn end(partition: &PartitionHandle, id: i64, ending: Ending) {
    let producer = Producer { id: ProducerId(id), epoch: 0 };
    let marker = Marker { producer, ending, coordinator_epoch: 0, version: TransactionVersion::Classic };
    partition.end_transaction(marker).answer().await.unwrap();
}

#[test]
fn consumers_see_what_is_committed_and_no_markers() {
    run(async {
        let node = start(&MemoryDisk::new());
        let stream = declare(&node).await;
        let partition = node.topics().get("log").unwrap().partition(0).unwrap();
        let mut client = Client::new();
        client.publish(&node, &["m0"]).await;
        begin(&node, &partition, 7, "aborted").await;
        begin(&node, &partition, 8, "m2").await;
        client.publish(&node, &["m3"]).await;
        let _consumer = client.subscribe(&node, &stream, Start::First, 10).await;
        assert_eq!(client.read(1).await, records([0], "m"));
        // Nothing behind the first open transaction is decided.
        end(&partition, 8, Ending::Commit).await;
        tokio::task::yield_now().await;
        assert!(client.events.try_recv().is_err());
        end(&partition, 7, Ending::Abort).await;
        assert_eq!(client.read(2).await, records([2, 3], "m"));
        let mut other = Client::new();
        let _consumer = other.subscribe(&node, &stream, Start::Offset(1), 10).await;
        assert_eq!(other.read(2).await, records([2, 3], "m"));
        assert_eq!(stream.status().consumers, 2);
    });
}

#[test]
fn credit_is_what_the_client_acknowledged() {
    run(async {
        let node = start(&MemoryDisk::new());
        let stream = declare(&node).await;
        let mut client = Client::new();
        client.publish(&node, &["m0", "m1", "m2", "m3", "m4"]).await;
        let consumer = client.subscribe(&node, &stream, Start::First, 2).await;
        assert_eq!(client.read(2).await, records(0..2, "m"));
        consumer.sent(2);
        consumer.settled(1);
        assert_eq!(client.read(1).await, records(2..3, "m"));
        consumer.settled(5);
        assert_eq!(client.read(2).await, records(3..5, "m"));
        consumer.end().await;
        client.publish(&node, &["m5"]).await;
        assert!(client.events.try_recv().is_err());
        assert_eq!(stream.status().consumers, 0);
    });
}

#[test]
fn a_consumer_that_does_not_read_is_not_read_for() {
    run(async {
        let node = start(&MemoryDisk::new());
        let stream = declare(&node).await;
        let mut client = Client::new();
        let large = "x".repeat(100 << 10);
        for _ in 0..40 {
            client.publish(&node, &[&large]).await;
        }
        let before = node.memory().gauge().bytes();
        let consumer = client.subscribe(&node, &stream, Start::First, 1000).await;
        let mut seen = client.read(1).await.len();
        tokio::time::timeout(std::time::Duration::from_millis(100), async {
            loop {
                let _ = client.events.recv().await;
                seen += 1;
            }
        })
        .await
        .unwrap_err();
        assert!(node.memory().gauge().bytes() - before < 1 << 20);
        assert!(seen < 40);
        consumer.sent(1000);
        client.read(1).await;
    });
}

#[test]
fn what_was_confirmed_survives_a_power_cut_at_any_flush() {
    let whole = MemoryDisk::new();
    run(live(&whole, u64::MAX));
    let flushes = whole.syncs();
    assert!(flushes > 20, "{flushes} flushes are too few to say anything");
    for cut in 0..=flushes {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let confirmed = run(live(&disk, cut));
        run(check_image(&disk.crash((cut % 3 != 0).then_some(cut)), confirmed));
    }
}

/// Declares a stream, binds it, and publishes; the number of messages confirmed while there was power.
async fn live(disk: &MemoryDisk, cut: u64) -> u64 {
    let node = start(disk);
    declare(&node).await;
    let vhost = node.vhost("/").unwrap();
    vhost.bind("amq.fanout", Destination::queue("log"), "", Table::new()).unwrap().wait().await;
    let (mut client, mut confirmed) = (Client::new(), 0);
    for number in 0..20 {
        client.publish(&node, &[&format!("m{number}")]).await;
        confirmed += u64::from(disk.syncs() <= cut);
    }
    confirmed
}

async fn check_image(image: &MemoryDisk, confirmed: u64) {
    let node = start(image);
    let stream = declare(&node).await;
    let kept = stream.status().ready;
    assert!(kept >= confirmed, "{kept} of {confirmed} are left");
    if confirmed > 0 {
        assert_eq!(node.vhost("/").unwrap().topology().bindings().count(), 1);
    }
    let mut client = Client::new();
    let _consumer = client.subscribe(&node, &stream, Start::First, 100).await;
    assert_eq!(client.read(kept as usize).await, records(0..kept, "m"));
    Client::new().publish(&node, &[&format!("m{kept}")]).await;
    assert_eq!(client.read(1).await, records(kept..kept + 1, "m"));
}
