//! The promise, at every flush: power goes as the n-th flush begins, with the last write torn. What had
//! been confirmed by then is there after a restart, once, and what was given out before is marked.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cauce_broker::{Flush, Node, NodeConfig, QueueHandle};
use cauce_core::Table;
use cauce_core::exchange::{Destination, ExchangeKind};
use cauce_core::queue::Outcome;
use cauce_core::topology::ExchangeSpec;
use cauce_log::MemoryDisk;
use common::{Client, config, declare, number_of, run, start, start_with};

const MESSAGES: u64 = 40;
/// More than a segment of them.
const LARGE_MESSAGES: usize = 18;
const LARGE_BODY_BYTES: usize = 1 << 20;

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
    assert_eq!(run(count(&disk.crash(None))), LARGE_MESSAGES);
}

#[test]
fn a_confirm_covers_the_segment_that_was_filled_on_the_way() {
    let disk = MemoryDisk::new();
    run(async { fill(&disk, Flush::Always).await });
    assert_eq!(run(count(&disk.crash(None))), LARGE_MESSAGES);
}

/// A node whose queue holds confirmed messages in two segments.
async fn fill(disk: &MemoryDisk, flush: Flush) -> Arc<Node> {
    let node = start_with(disk, NodeConfig { flush, ..config() });
    let queue = declare(&node, "orders", &[]).await;
    let mut client = Client::new();
    for _ in 0..LARGE_MESSAGES {
        client.publish_bytes(&node, &queue, &[0; LARGE_BODY_BYTES]).await;
    }
    node
}

/// How many messages there are after a restart.
async fn count(image: &MemoryDisk) -> usize {
    let node = start(image);
    let queue = declare(&node, "orders", &[]).await;
    Client::new().drain(&queue).await.len()
}

/// A client's day: declare, bind, publish with confirms, take every third message, acknowledge half of those.
async fn live(disk: &MemoryDisk, cut: u64) -> Known {
    let mut known = Known::default();
    let powered = || disk.syncs() <= cut;
    let node = start(disk);
    let vhost = node.vhost("/").expect("the default one");
    let queue = declare(&node, "orders", &[]).await;
    known.queue_declared = powered();
    let exchange = ExchangeSpec { durable: true, ..ExchangeSpec::new(ExchangeKind::Direct) };
    vhost.declare_exchange("shop", exchange).expect("a new exchange").wait().await;
    let saved = vhost.bind("shop", Destination::queue("orders"), "new", Table::new());
    saved.expect("both ends exist").wait().await;
    known.bound = powered();

    let mut client = Client::new();
    for number in 0..MESSAGES {
        client.publish(&node, &queue, number).await;
        if powered() {
            known.confirmed.insert(number);
        }
        if number % 3 == 0 {
            take_one(&queue, &mut client, &mut known).await;
        }
    }
    known
}

async fn take_one(queue: &QueueHandle, client: &mut Client, known: &mut Known) {
    let delivery = client.get(queue, false).await.expect("a message waits");
    let number = number_of(&delivery);
    known.delivered.insert(number);
    if number.is_multiple_of(2) {
        queue.settle(vec![delivery.offset], Outcome::Accept);
        known.acknowledged.insert(number);
    }
}

async fn check(image: &MemoryDisk, known: &Known, cut: u64) {
    let node = start(image);
    let vhost = node.vhost("/").expect("the default one");
    let queue = vhost.queue("orders");
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
    let mut found = BTreeMap::new();
    for delivery in Client::new().drain(queue).await {
        let number = number_of(&delivery);
        assert!(number < MESSAGES, "message {number} was never sent");
        assert_eq!(found.insert(number, delivery.redelivered), None, "message {number} came twice");
    }
    found
}
