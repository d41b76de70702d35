//! What clients of a node do in these tests, over a disk in memory.
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;

use cauce_broker::{ConfirmTag, Event, Flush, Link, Node, NodeConfig, QueueHandle, Receipts, Settings};
use cauce_core::message::{Block, BlockBuilder, Message, Traits};
use cauce_core::queue::{Delivery, Picks};
use cauce_core::topology::QueueSpec;
use cauce_core::{Table, Value};
use cauce_log::MemoryDisk;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) fn config() -> NodeConfig {
    let mut settings = Settings::default();
    settings.set("group.initial.rebalance.delay.ms", "0").expect("nobody waits in vain");
    NodeConfig { flush: Flush::Always, memory_bytes: 64 << 20, settings, ..NodeConfig::default() }
}

pub(crate) fn run<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(life)
}

pub(crate) fn start(disk: &MemoryDisk) -> Arc<Node> {
    start_with(disk, config())
}

pub(crate) fn start_with(disk: &MemoryDisk, config: NodeConfig) -> Arc<Node> {
    Node::start(Arc::new(disk.clone()), config).expect("what a power cut leaves opens")
}

pub(crate) fn spec(arguments: &[(&str, Value)]) -> QueueSpec {
    let arguments: Table = arguments.iter().cloned().collect();
    QueueSpec { durable: true, arguments, ..QueueSpec::default() }
}

/// The queue of that name, new or as it was.
pub(crate) async fn declare(node: &Node, name: &str, arguments: &[(&str, Value)]) -> Arc<QueueHandle> {
    let vhost = node.vhost("/").expect("the default one");
    let (queue, saved) = vhost.declare_queue(name, spec(arguments), 1).expect("a queue of that kind");
    saved.wait().await;
    queue.queue().expect("no stream").clone()
}

/// One message for each number.
pub(crate) fn block_of(node: &Node, numbers: &[(u64, bool)]) -> Arc<Block> {
    padded_block_of(node, numbers, 0)
}

/// The same, each with so many bytes more.
pub(crate) fn padded_block_of(node: &Node, numbers: &[(u64, bool)], more_bytes: usize) -> Arc<Block> {
    let mut block = BlockBuilder::new();
    for &(number, persistent) in numbers {
        let traits = Traits { persistent, ..Traits::default() };
        let mut body = number.to_be_bytes().to_vec();
        body.resize(body.len() + more_bytes, 0);
        block.push(Message { exchange: b"", routing_key: b"", envelope: &[0, 0], body: &body, traits });
    }
    block.finish(node.memory().gauge())
}

pub(crate) fn message_block(node: &Node, body: &[u8], traits: Traits) -> Arc<Block> {
    let mut block = BlockBuilder::new();
    block.push(Message { exchange: b"", routing_key: b"", envelope: &[0, 0], body, traits });
    block.finish(node.memory().gauge())
}

/// A client's end of its link to queues.
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) events: UnboundedReceiver<Event>,
}

impl Client {
    pub(crate) fn new() -> Client {
        let (link, events) = unbounded_channel();
        Client { link, events }
    }

    /// Publishes a persistent message and waits for its confirm.
    pub(crate) async fn publish(&mut self, node: &Node, queue: &QueueHandle, number: u64) {
        self.publish_all(queue, block_of(node, &[(number, true)])).await;
    }

    pub(crate) async fn publish_bytes(&mut self, node: &Node, queue: &QueueHandle, body: &[u8]) {
        let traits = Traits { persistent: true, ..Traits::default() };
        self.publish_all(queue, message_block(node, body, traits)).await;
    }

    /// Publishes the messages of the block and waits for their confirms.
    pub(crate) async fn publish_all(&mut self, queue: &QueueHandle, block: Arc<Block>) {
        let count = block.len() as u32;
        let tag = |sequence| ConfirmTag { channel: 1, life: 0, sequence };
        let tags = (0..count).map(|at| Some(tag(at.into()))).collect();
        let receipts = Receipts::Connection { link: self.link.clone(), tags };
        queue.publish(block, Picks::Run(0..count), receipts).await;
        let mut confirmed = 0;
        while confirmed < count {
            match self.events.recv().await {
                Some(Event::Confirmed(confirms)) => {
                    assert!(confirms.iter().all(|(_, taken)| *taken));
                    confirmed += confirms.len() as u32;
                }
                other => panic!("not a confirm: {other:?}"),
            }
        }
    }

    pub(crate) async fn get(&mut self, queue: &QueueHandle, no_ack: bool) -> Option<Delivery> {
        queue.get(0, no_ack, self.link.clone());
        match self.events.recv().await {
            Some(Event::Got { delivery, .. }) => delivery,
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// Takes all that waits.
    pub(crate) async fn drain(&mut self, queue: &QueueHandle) -> Vec<Delivery> {
        let mut found = Vec::new();
        while let Some(delivery) = self.get(queue, true).await {
            found.push(delivery);
        }
        found
    }
}

pub(crate) fn number_of(delivery: &Delivery) -> u64 {
    let body = delivery.block.message(delivery.index).body;
    u64::from_be_bytes(*body.first_chunk().expect("bodies begin with numbers"))
}

/// Numbers without a pattern that come again with the same seed, which is not zero.
#[derive(Debug, Default)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
