//! Storms of dead letters: everything a queue holds leaves at once, and memory stays what it was.

use std::sync::Arc;

use cauce_broker::{Event, Flush, Node, NodeConfig, QueueHandle, Receipts};
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::queue::{ConsumerId, Outcome, Picks, Subscription};
use cauce_core::topology::QueueSpec;
use cauce_core::{Table, Value};
use cauce_log::MemoryDisk;
use tokio::sync::mpsc::unbounded_channel;

const MESSAGES: usize = 8_000;
const BODY_BYTES: usize = 1024;
const BLOCK_MESSAGES: usize = 100;

/// What may be on its way, and what the history of a dead letter adds to it.
const SURPLUS_BYTES: usize = (4 << 20) + MESSAGES * 512;

/// In turns with the queues: what is awaited in here is polled when its turn comes, not when they rest.
fn run(story: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::spawn(story).await }).expect("no panic");
}

fn start() -> Arc<Node> {
    let config = NodeConfig { flush: Flush::Os, memory_bytes: 1 << 30, ..NodeConfig::default() };
    Node::start(Arc::new(MemoryDisk::new()), config).expect("an empty disk opens")
}

/// A queue whose dead letters go to the queue of that name.
fn declare(
    node: &Node,
    name: &str,
    dead_letters_to: Option<&str>,
    more: &[(&str, Value)],
) -> Arc<QueueHandle> {
    let mut arguments = Table::new();
    if let Some(target) = dead_letters_to {
        arguments.set("x-dead-letter-exchange", Value::text(""));
        arguments.set("x-dead-letter-routing-key", Value::text(target));
    }
    for (name, value) in more {
        arguments.set(name, value.clone());
    }
    let spec = QueueSpec { arguments, ..QueueSpec::default() };
    let vhost = node.vhost("/").expect("the default one");
    let (target, _) = vhost.declare_queue(name, spec, 0).expect("a new queue");
    target.queue().expect("no stream").clone()
}

async fn publish(node: &Node, queue: &QueueHandle) {
    for _ in 0..MESSAGES / BLOCK_MESSAGES {
        let mut block = BlockBuilder::new();
        for _ in 0..BLOCK_MESSAGES {
            let (body, traits) = ([7; BODY_BYTES], Traits::default());
            block.push(Message { exchange: b"", routing_key: b"a", envelope: &[0, 0], body: &body, traits });
        }
        let block = block.finish(node.memory().gauge());
        queue.publish(block, Picks::Run(0..BLOCK_MESSAGES as u32), Receipts::Nobody).await;
    }
}

/// Takes all that waits and wants none of it.
async fn reject_all(queue: &QueueHandle) {
    let (link, mut events) = unbounded_channel();
    let subscription = Subscription {
        no_ack: false,
        exclusive: false,
        priority: 0,
        prefetch: 0,
        shared: None,
        window: MESSAGES as u32,
    };
    queue.subscribe(ConsumerId(1), subscription, link).await.expect("it is there").expect("nobody else is");
    let mut offsets = Vec::new();
    while offsets.len() < MESSAGES {
        let Some(Event::Deliver { deliveries, .. }) = events.recv().await else {
            panic!("all are delivered")
        };
        offsets.extend(deliveries.iter().map(|to| to.delivery.offset));
    }
    queue.unsubscribe(ConsumerId(1)).await;
    queue.settle(offsets, Outcome::Reject);
}

/// Says what memory took at most after the source's turns, until so many wait in the target.
async fn peak_until(node: &Node, source: &QueueHandle, target: &QueueHandle, ready: usize) -> usize {
    let mut peak = 0;
    while target.last_status().ready < ready as u64 {
        source.status().await;
        peak = peak.max(node.memory().gauge().bytes());
    }
    peak
}

#[test]
fn a_storm_takes_no_more_memory_than_what_it_moves() {
    run(async {
        let node = start();
        let (a, b) = (declare(&node, "a", Some("b"), &[]), declare(&node, "b", None, &[]));
        publish(&node, &a).await;
        let before = node.memory().gauge().bytes();
        reject_all(&a).await;
        let peak = peak_until(&node, &a, &b, MESSAGES).await;
        assert!(peak < before + SURPLUS_BYTES, "{peak} bytes at most, {before} before");
        assert_eq!(b.purge().await, MESSAGES as u64);
        assert_eq!(a.status().await.ready, 0);
    });
}

#[test]
fn a_storm_that_comes_back_does_not_lock_up() {
    run(async {
        let node = start();
        let a = declare(&node, "a", Some("b"), &[]);
        let b = declare(&node, "b", Some("a"), &[("x-message-ttl", Value::I32(0))]);
        publish(&node, &a).await;
        let before = node.memory().gauge().bytes();
        reject_all(&a).await;
        let peak = peak_until(&node, &a, &a, MESSAGES).await;
        assert!(peak < before + 2 * SURPLUS_BYTES, "{peak} bytes at most, {before} before");
        assert_eq!((a.status().await.ready, b.status().await.ready), (MESSAGES as u64, 0));
    });
}

/// Along three queues, the first two of which have no place for anything.
#[test]
fn what_is_refused_on_the_way_arrives_at_the_end() {
    run(async {
        let node = start();
        let full = [("x-max-length", Value::I32(0)), ("x-overflow", Value::text("reject-publish-dlx"))];
        let a = declare(&node, "a", Some("b"), &full);
        declare(&node, "b", Some("c"), &full);
        let c = declare(&node, "c", None, &[]);
        publish(&node, &a).await;
        peak_until(&node, &a, &c, MESSAGES).await;
        assert_eq!(c.purge().await, MESSAGES as u64);
    });
}
