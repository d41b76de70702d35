//! With `--flush always` nothing is promised before it is flushed; with `--flush os` nobody waits for a flush.

use cauce_amqp::method::*;
use cauce_amqp::{Method, RawTable, write_publish};
use cauce_broker::Flush;
use cauce_log::MemoryDisk;

use super::client::{Client, FRAME_MAX, Server};
use crate::held_flushes::flushes_before;

/// Properties with nothing but a delivery mode: transient or persistent.
const TRANSIENT: &[u8] = &[0x10, 0, 1];
const PERSISTENT: &[u8] = &[0x10, 0, 2];

/// A server, its disk, and a client with a channel.
struct Scene {
    server: Server,
    disk: MemoryDisk,
    client: Client,
}

impl Scene {
    async fn start(flush: Flush) -> Scene {
        let disk = MemoryDisk::new();
        let server = Server::over(disk.clone(), flush).await;
        let mut client = server.client(0).await;
        client.open_channel(1).await;
        Scene { server, disk, client }
    }

    /// With two durable queues and one that is not.
    async fn with_queues(flush: Flush) -> Scene {
        let mut scene = Scene::start(flush).await;
        for (queue, durable) in [("a", true), ("b", true), ("passing", false)] {
            scene.client.say(1, declare(queue, durable)).await;
            scene.client.expect("queue.declare-ok").await;
        }
        scene
    }

    /// How many flushes there were before the answer to a method.
    async fn say<'m>(&mut self, method: impl Into<Method<'m>>, answer: &str) -> usize {
        let client = &mut self.client;
        let asked = async {
            client.say(1, method).await;
            client.expect(answer).await;
        };
        flushes_before(&self.server.node, &self.disk, asked).await.0
    }

    /// How many flushes there were before a message was confirmed.
    async fn publish(&mut self, exchange: &str, key: &str, properties: &[u8]) -> usize {
        let message = message(exchange, key, properties);
        let client = &mut self.client;
        let asked = async {
            client.send(&message).await;
            client.expect("basic.ack").await;
        };
        flushes_before(&self.server.node, &self.disk, asked).await.0
    }
}

#[tokio::test]
async fn a_durable_thing_is_declared_and_deleted_once_that_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::start(flush).await;
        assert_eq!(scene.say(declare("a", true), "queue.declare-ok").await, flushes);
        assert_eq!(scene.say(declare("a", true), "queue.declare-ok").await, 0);
        assert_eq!(scene.say(declare("passing", false), "queue.declare-ok").await, 0);
        let exchange = ExchangeDeclare {
            exchange: "x",
            kind: "fanout",
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            no_wait: false,
            arguments: RawTable(&[]),
        };
        assert_eq!(scene.say(exchange, "exchange.declare-ok").await, flushes);
        let arguments = RawTable(&[]);
        let bind = QueueBind { queue: "a", exchange: "x", routing_key: "", no_wait: false, arguments };
        assert_eq!(scene.say(bind, "queue.bind-ok").await, flushes);
        let unbind = QueueUnbind { queue: "a", exchange: "x", routing_key: "", arguments };
        assert_eq!(scene.say(unbind, "queue.unbind-ok").await, flushes);
        let delete = ExchangeDelete { exchange: "x", if_unused: false, no_wait: false };
        assert_eq!(scene.say(delete, "exchange.delete-ok").await, flushes);
        let delete = QueueDelete { queue: "a", if_unused: false, if_empty: false, no_wait: false };
        assert_eq!(scene.say(delete, "queue.delete-ok").await, flushes);
    }
}

#[tokio::test]
async fn a_persistent_message_in_a_durable_queue_is_confirmed_once_it_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::with_queues(flush).await;
        scene.client.say(1, ConfirmSelect { no_wait: false }).await;
        scene.client.expect("confirm.select-ok").await;
        for _ in 0..3 {
            assert_eq!(scene.publish("", "a", PERSISTENT).await, flushes);
        }
        assert_eq!(scene.publish("", "a", TRANSIENT).await, 0);
        assert_eq!(scene.publish("", "passing", PERSISTENT).await, 0);
        assert_eq!(scene.publish("", "nowhere", PERSISTENT).await, 0);
        for queue in ["a", "b", "passing"] {
            let (exchange, arguments) = ("amq.fanout", RawTable(&[]));
            scene
                .client
                .say(1, QueueBind { queue, exchange, routing_key: "", no_wait: false, arguments })
                .await;
            scene.client.expect("queue.bind-ok").await;
        }
        let counted = scene.publish("amq.fanout", "", PERSISTENT).await;
        match flush {
            // Two queues may or may not share one.
            Flush::Always => assert!((1..=2).contains(&counted), "{counted} flushes"),
            Flush::Os => assert_eq!(counted, 0),
        }
    }
}

#[tokio::test]
async fn a_transaction_is_committed_once_all_of_it_is_flushed() {
    for (flush, flushes) in [(Flush::Always, 1), (Flush::Os, 0)] {
        let mut scene = Scene::with_queues(flush).await;
        scene.client.say(1, TxSelect {}).await;
        scene.client.expect("tx.select-ok").await;
        for (queue, properties, flushes) in
            [("a", PERSISTENT, flushes), ("a", TRANSIENT, 0), ("passing", PERSISTENT, 0)]
        {
            scene.client.send(&message("", queue, properties)).await;
            assert_eq!(scene.say(TxCommit {}, "tx.commit-ok").await, flushes, "{queue} {properties:?}");
        }
        assert_eq!(scene.say(TxCommit {}, "tx.commit-ok").await, 0);
    }
}

#[tokio::test]
async fn a_transaction_of_two_queues_is_whole_when_it_is_answered() {
    let mut scene = Scene::with_queues(Flush::Always).await;
    scene.client.say(1, TxSelect {}).await;
    scene.client.expect("tx.select-ok").await;
    for queue in ["a", "b"] {
        scene.client.send(&message("", queue, PERSISTENT)).await;
    }
    let Scene { server, disk, client } = &mut scene;
    let asked = async {
        client.say(1, TxCommit {}).await;
        client.expect("tx.commit-ok").await;
        disk.crash(None)
    };
    let (flushes, image) = flushes_before(&server.node, disk, asked).await;
    // Prepared in both, perhaps one after the other, and then committed.
    assert!((2..=3).contains(&flushes), "{flushes} flushes");
    let after = Server::over(image, Flush::Always).await;
    let mut client = after.client(0).await;
    client.open_channel(1).await;
    for queue in ["a", "b"] {
        client.say(1, declare(queue, true)).await;
        let heard = client.expect("queue.declare-ok").await;
        let Some(Method::QueueDeclareOk(declared)) = heard.method() else { panic!() };
        assert_eq!(declared.message_count, 1);
    }
}

fn declare(queue: &str, durable: bool) -> QueueDeclare<'_> {
    QueueDeclare {
        queue,
        passive: false,
        durable,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: RawTable(&[]),
    }
}

fn message(exchange: &str, key: &str, properties: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_publish(&mut out, FRAME_MAX, 1, exchange.as_bytes(), key.as_bytes(), false, properties, b"body");
    out
}
