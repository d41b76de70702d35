//! The promise, at every flush: power goes as the n-th flush begins, with the last write torn. What had
//! been confirmed by then is there after a restart, once, and what was given out before is marked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cauce_broker::{ConfirmTag, Event, Flush, Link, Node, NodeConfig, QueueHandle, Receipts};
use cauce_core::exchange::Destination;
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::queue::{Outcome, Picks};
use cauce_core::topology::{ExchangeSpec, QueueSpec};
use cauce_core::{Table, exchange::ExchangeKind};
use cauce_log::MemoryDisk;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const MESSAGES: u64 = 40;
/// More than a segment of them.
const LARGE_MESSAGES: u64 = 18;
const LARGE_BODY_BYTES: usize = 1 << 20;
const CONFIG: NodeConfig = NodeConfig { flush: Flush::Always, memory_bytes: 64 << 20 };

/// What a client knew when the power went.
#[derive(Debug, Default)]
struct Known {
    queue_declared: bool,
    bound: bool,
    confirmed: BTreeSet<u64>,
    /// Given out, and acknowledged or not.
    delivered: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

#[test]
fn what_was_confirmed_survives_a_power_cut_at_any_flush() {
    let whole = MemoryDisk::new();
    run(async { live(&whole, u64::MAX).await });
    let flushes = whole.syncs();
    assert!(flushes > 20, "{flushes} flushes are too few to say anything");
    for cut in 0..=flushes {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let known = run(async { live(&disk, cut).await });
        let image = disk.crash((cut % 3 != 0).then_some(cut));
        run(async { check(&image, &known, cut).await });
    }
}

#[test]
fn with_flush_os_nothing_is_flushed_until_the_node_stops() {
    let disk = MemoryDisk::new();
    run(async {
        let node = fill(&disk, Flush::Os).await;
        assert_eq!(disk.syncs(), 0);
        node.stop().await;
    });
    assert_eq!(run(async { count(&disk.crash(None)).await }), LARGE_MESSAGES);
}

#[test]
fn a_confirm_covers_the_segments_that_were_filled_on_the_way() {
    let disk = MemoryDisk::new();
    run(async { fill(&disk, Flush::Always).await });
    assert_eq!(run(async { count(&disk.crash(None)).await }), LARGE_MESSAGES);
}

/// A node whose queue holds confirmed messages in two segments.
async fn fill(disk: &MemoryDisk, flush: Flush) -> Arc<Node> {
    let config = NodeConfig { flush, ..CONFIG };
    let node = Node::start(Arc::new(disk.clone()), config).expect("an empty disk opens");
    let vhost = node.vhost("/").expect("the default one");
    let spec = QueueSpec { durable: true, ..QueueSpec::default() };
    let (queue, saved) = vhost.declare_queue("orders", spec, 1).expect("a new queue");
    saved.wait().await;
    let (link, mut events) = unbounded_channel();
    for number in 0..LARGE_MESSAGES {
        publish(&node, &queue, &link, number, LARGE_BODY_BYTES).await;
        wait_for_confirm(&mut events, number).await;
    }
    node
}

/// How many messages there are after a restart.
async fn count(image: &MemoryDisk) -> u64 {
    let node = Node::start(Arc::new(image.clone()), CONFIG).expect("what a power cut leaves opens");
    let vhost = node.vhost("/").expect("the default one");
    let queue = vhost.topology().queue("orders").map(|entry| entry.handle.clone()).expect("it is durable");
    drain(&queue).await.len() as u64
}

fn run<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(life)
}

/// A client's day: declare, bind, publish with confirms, take every third message, acknowledge half of those.
async fn live(disk: &MemoryDisk, cut: u64) -> Known {
    let mut known = Known::default();
    let powered = || disk.syncs() <= cut;
    let node = Node::start(Arc::new(disk.clone()), CONFIG).expect("an empty disk opens");
    let vhost = node.vhost("/").expect("the default one");
    let spec = QueueSpec { durable: true, ..QueueSpec::default() };
    let (queue, saved) = vhost.declare_queue("orders", spec, 1).expect("a new queue");
    saved.wait().await;
    known.queue_declared = powered();
    let exchange = ExchangeSpec { durable: true, ..ExchangeSpec::new(ExchangeKind::Direct) };
    vhost.declare_exchange("shop", exchange).expect("a new exchange").wait().await;
    let saved = vhost.bind("shop", Destination::queue("orders"), "new", Table::new());
    saved.expect("both ends exist").wait().await;
    known.bound = powered();

    let (link, mut events) = unbounded_channel();
    for number in 0..MESSAGES {
        publish(&node, &queue, &link, number, 8).await;
        wait_for_confirm(&mut events, number).await;
        if powered() {
            known.confirmed.insert(number);
        }
        if number % 3 == 0 {
            take_one(&queue, &link, &mut events, &mut known).await;
        }
    }
    known
}

async fn publish(node: &Node, queue: &QueueHandle, link: &Link, number: u64, body_bytes: usize) {
    let mut block = BlockBuilder::new();
    let traits = Traits { persistent: true, ..Traits::default() };
    let mut body = number.to_be_bytes().to_vec();
    body.resize(body_bytes, 0);
    block.push(Message { exchange: b"", routing_key: b"orders", envelope: &[0, 0], body: &body, traits });
    let tags = vec![Some(ConfirmTag { channel: 1, sequence: number })];
    let receipts = Receipts::Connection { link: link.clone(), tags };
    queue.publish(block.finish(node.memory().gauge()), Picks::Run(0..1), receipts).await;
}

async fn wait_for_confirm(events: &mut UnboundedReceiver<Event>, number: u64) {
    match events.recv().await {
        Some(Event::Confirmed(confirms)) => {
            assert_eq!(confirms, [(ConfirmTag { channel: 1, sequence: number }, true)]);
        }
        other => panic!("not a confirm: {other:?}"),
    }
}

async fn take_one(
    queue: &QueueHandle,
    link: &Link,
    events: &mut UnboundedReceiver<Event>,
    known: &mut Known,
) {
    queue.get(0, false, link.clone());
    let Some(Event::Got { delivery: Some(delivery), .. }) = events.recv().await else {
        panic!("a message waits")
    };
    let number = number_of(delivery.block.message(delivery.index).body);
    known.delivered.insert(number);
    if number.is_multiple_of(2) {
        queue.settle(vec![delivery.offset], Outcome::Accept);
        known.acknowledged.insert(number);
    }
}

async fn check(image: &MemoryDisk, known: &Known, cut: u64) {
    let node = Node::start(Arc::new(image.clone()), CONFIG).expect("what a power cut leaves opens");
    let vhost = node.vhost("/").expect("the default one");
    let queue = vhost.topology().queue("orders").map(|entry| entry.handle.clone());
    assert!(queue.is_some() || !known.queue_declared, "cut {cut}: the queue is gone");
    let bound = vhost.topology().bindings_from("shop").next().is_some();
    assert!(bound || !known.bound, "cut {cut}: the binding is gone");
    let Some(queue) = queue else { return };
    let found = drain(&queue).await;
    for number in &known.confirmed {
        let settled = known.acknowledged.contains(number);
        assert!(settled || found.contains_key(number), "cut {cut}: confirmed message {number} is gone");
    }
    for (number, redelivered) in &found {
        assert!(
            *redelivered || !known.delivered.contains(number),
            "cut {cut}: message {number} is not marked"
        );
    }
}

/// Every message that waits, with its mark; none may come twice.
async fn drain(queue: &QueueHandle) -> BTreeMap<u64, bool> {
    let (link, mut events) = unbounded_channel();
    let mut found = BTreeMap::new();
    loop {
        queue.get(0, true, link.clone());
        let Some(Event::Got { delivery, .. }) = events.recv().await else { panic!("not an answer") };
        let Some(delivery) = delivery else { return found };
        let number = number_of(delivery.block.message(delivery.index).body);
        assert!(number < MESSAGES, "message {number} was never sent");
        assert_eq!(found.insert(number, delivery.redelivered), None, "message {number} came twice");
    }
}

fn number_of(body: &[u8]) -> u64 {
    u64::from_be_bytes(*body.first_chunk().expect("bodies begin with numbers"))
}
