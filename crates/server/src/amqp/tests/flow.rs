//! What waits for whom: full queues, clients that do not read, limits shared by consumers.

use std::sync::Arc;
use std::time::Duration;

use cauce_amqp::method::*;
use cauce_amqp::{FrameKind, Method, write_publish};
use cauce_broker::{Event, QueueHandle, Receipts, Room, Share};
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::queue::Picks;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::client::{FRAME_MAX, Server, publishes};
use crate::amqp::Limits;

/// Takes all the room there is in the queue's mailbox, until it is dropped.
async fn fill(server: &Server, queue: &QueueHandle) -> Room {
    queue.room_for(&share(server, &vec![0; 9 << 20])).await
}

fn share(server: &Server, body: &[u8]) -> Share {
    let mut block = BlockBuilder::new();
    block.push(Message {
        exchange: b"",
        routing_key: b"",
        envelope: &[0, 0],
        body,
        traits: Traits::default(),
    });
    let block = block.finish(server.node.memory().gauge());
    Share { block, picks: Picks::Run(0..1), receipts: Receipts::Nobody }
}

fn put(server: &Server, queue: &QueueHandle, body: &[u8]) {
    queue.try_publish(share(server, body)).expect("it has room");
}

async fn get(queue: &Arc<QueueHandle>) -> Vec<u8> {
    let (link, mut events): (_, UnboundedReceiver<Event>) = unbounded_channel();
    queue.get(0, true, link);
    let Some(Event::Got { delivery: Some(delivery), .. }) = events.recv().await else {
        panic!("a message waits")
    };
    delivery.block.message(delivery.index).body.to_vec()
}

#[tokio::test]
async fn who_waits_for_a_full_queue_hears_and_says_all_else() {
    let server = Server::start().await;
    let (full, quick) = (server.queue("full"), server.queue("quick"));
    let mut client = server.client(1).await;
    client.open_channel(1).await;
    client.consume(1, "quick", true).await;
    let room = fill(&server, &full).await;
    for body in [b"1", b"2"] {
        client.publish(1, "full", body).await;
    }
    // It comes after the publishes, so it waits with them.
    client.say(1, BasicQos { prefetch_size: 0, prefetch_count: 1, global: false }).await;

    put(&server, &quick, b"delivered meanwhile");
    assert_eq!(client.expect_delivery().await, b"delivered meanwhile");
    for _ in 0..3 {
        assert_eq!(client.hear().await.expect("a heartbeat").kind, FrameKind::Heartbeat);
        client.send(&cauce_amqp::HEARTBEAT_FRAME).await;
    }
    assert_eq!(full.status().await.ready, 0);

    drop(room);
    client.expect("basic.qos-ok").await;
    assert_eq!((get(&full).await, get(&full).await), (b"1".to_vec(), b"2".to_vec()));
}

#[tokio::test]
async fn who_waits_for_a_full_queue_leaves_when_the_node_stops() {
    let server = Server::start().await;
    let (full, quick) = (server.queue("full"), server.queue("quick"));
    let mut client = server.client(0).await;
    client.open_channel(1).await;
    let room = fill(&server, &full).await;
    client.send(&publishes(1, &["full", "quick"], b"1")).await;
    while quick.status().await.ready == 0 {
        tokio::task::yield_now().await;
    }
    server.node.close_connections("the node stops");
    client.expect("connection.close").await;
    client.say(0, ConnectionCloseOk {}).await;
    drop(room);
    server.node.all_disconnected().await;
    assert_eq!(get(&full).await, b"1");
}

#[tokio::test]
async fn who_dies_while_it_waits_for_a_full_queue_is_missed() {
    let server = Server::start().await;
    let (full, quick) = (server.queue("full"), server.queue("quick"));
    let mut client = server.client(0).await;
    client.open_channel(1).await;
    client.consume(1, "quick", false).await;
    let _room = fill(&server, &full).await;
    // More than is read of a client that is not listened to.
    for _ in 0..10 {
        client.publish(1, "full", &[0; 60_000]).await;
    }
    client.stream.set_zero_linger().expect("a socket has the option");
    drop(client);
    while quick.status().await.consumers > 0 {
        tokio::task::yield_now().await;
    }
}

/// A limit of one for the channel; the message it is spent on is taken back before it was written.
#[tokio::test]
async fn a_delivery_that_is_taken_back_frees_its_place_in_the_shared_limit() {
    let server = Server::start().await;
    let (flood, first, second) = (server.queue("flood"), server.queue("first"), server.queue("second"));
    let mut client = server.client(0).await;
    client.open_channel(2).await;
    client.say(2, BasicQos { prefetch_size: 0, prefetch_count: 1, global: true }).await;
    client.expect("basic.qos-ok").await;
    client.consume(2, "first", false).await;
    client.consume(2, "second", false).await;
    // More than the sockets hold, and nobody reads: what follows waits to be written. One consumer alone would not
    // be given that much.
    const FLOOD: usize = 40;
    for channel in 3..3 + FLOOD as u16 {
        client.open_channel(channel).await;
        client.consume(channel, "flood", true).await;
    }
    for _ in 0..FLOOD {
        let share = share(&server, &vec![0; 1 << 20]);
        let room = flood.room_for(&share).await;
        flood.publish_in(room, share);
    }
    while flood.status().await.ready > 0 {
        tokio::task::yield_now().await;
    }
    put(&server, &first, b"taken back");
    while first.status().await.held == 0 {
        tokio::task::yield_now().await;
    }
    put(&server, &second, b"served");
    assert_eq!(second.status().await.held, 0, "the limit is spent");
    server
        .node
        .vhost("/")
        .expect("the default one")
        .delete_queue("first", 0, false, false)
        .await
        .expect("it is there");

    let mut flooded = 0;
    while flooded < FLOOD << 20 {
        let heard = client.hear().await.expect("the flood");
        flooded += if heard.channel >= 3 && heard.kind == FrameKind::Body { heard.payload.len() } else { 0 };
    }
    assert_eq!(client.expect_delivery().await, b"served");
}

/// Asks for far more than the sockets hold, and reads nothing.
#[tokio::test]
async fn who_asks_and_does_not_read_is_given_no_more_than_fits() {
    let server = Server::start().await;
    let (queue, quick) = (server.queue("big"), server.queue("quick"));
    const MESSAGES: usize = 60;
    for _ in 0..MESSAGES {
        let share = share(&server, &vec![0; 1 << 20]);
        let room = queue.room_for(&share).await;
        queue.publish_in(room, share);
    }
    let mut stalled = server.client(1).await;
    stalled.open_channel(1).await;
    let mut gets = Vec::new();
    for _ in 0..MESSAGES {
        Method::from(BasicGet { queue: "big", no_ack: false }).write_frame(1, &mut gets);
    }
    stalled.send(&gets).await;
    round_trip(&server, &quick).await;

    // Its heartbeats are missed in the end, and what it held goes back.
    let mut most = 0;
    loop {
        let status = queue.status().await;
        most = most.max(status.held);
        if most > 0 && status.held == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(most < MESSAGES as u64 / 2, "{most} were given out");
    assert_eq!(queue.status().await.ready, MESSAGES as u64);
}

#[tokio::test]
async fn who_publishes_what_nobody_takes_and_does_not_read_is_not_read_either() {
    let server = Server::start().await;
    let quick = server.queue("quick");
    let mut stalled = server.client(0).await;
    stalled.open_channel(1).await;
    let mut message = Vec::new();
    let body = vec![0; 100_000];
    write_publish(&mut message, FRAME_MAX, 1, b"", b"nowhere", true, &[0, 0], &body);
    let mut sent = 0;
    while let Ok(done) =
        tokio::time::timeout(Duration::from_millis(500), stalled.stream.write_all(&message)).await
    {
        done.expect("the server is there");
        sent += message.len();
        assert!(sent < 64 << 20, "the server reads whatever comes");
    }
    round_trip(&server, &quick).await;
}

/// Another client is served as ever.
async fn round_trip(server: &Server, queue: &QueueHandle) {
    let mut client = server.client(0).await;
    client.open_channel(1).await;
    client.consume(1, &queue.name, true).await;
    for body in [b"1", b"2"] {
        client.publish(1, &queue.name, body).await;
        assert_eq!(client.expect_delivery().await, body);
    }
}

#[tokio::test]
async fn a_body_that_comes_in_part_counts_as_memory_until_its_client_is_gone() {
    let server = Server::start().await;
    let mut client = server.client(0).await;
    client.open_channel(1).await;
    let mut message = Vec::new();
    write_publish(&mut message, FRAME_MAX, 1, b"", b"nowhere", false, &[0, 0], &vec![0; 10 << 20]);
    message.truncate(5 << 20);
    client.send(&message).await;
    let gauge = server.node.memory().gauge();
    while gauge.bytes() < 4 << 20 {
        tokio::task::yield_now().await;
    }
    drop(client);
    while gauge.bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bodies_that_have_begun_may_end_while_memory_is_short_and_no_other_begins() {
    let server = Server::start().await;
    let queue = server.queue("queue");
    let mut client = server.client(0).await;
    client.open_channel(1).await;
    let message = publishes(1, &["queue"], &vec![0; 1 << 20]);
    let (first, rest) = message.split_at(1 << 19);
    client.send(&[&publishes(1, &["queue"], b"whole")[..], first].concat()).await;
    while queue.status().await.ready < 1 {
        tokio::task::yield_now().await;
    }
    server.node.memory().set_disk_alarm(true);
    client.send(rest).await;
    while queue.status().await.ready < 2 {
        tokio::task::yield_now().await;
    }
    client.publish(1, "queue", b"too late").await;
    client.say(1, BasicQos { prefetch_size: 0, prefetch_count: 1, global: false }).await;
    let unheard = tokio::time::timeout(Duration::from_millis(100), client.hear()).await;
    assert!(unheard.is_err(), "it is listened to");
    server.node.memory().set_disk_alarm(false);
    client.expect("basic.qos-ok").await;
    assert_eq!(queue.status().await.ready, 3);
}

#[tokio::test]
async fn bodies_in_part_may_take_half_of_the_memory() {
    let server = Server::with(Limits::default(), 16 << 20).await;
    let quick = server.queue("quick");
    let mut hoarders = Vec::new();
    let mut refused = 0;
    for _ in 0..4 {
        let mut client = server.client(0).await;
        client.open_channel(1).await;
        let part = &publishes(1, &["nowhere"], &vec![0; 4 << 20])[..3 << 20];
        let _ = client.try_send(part).await;
        hoarders.push(client);
    }
    for client in &mut hoarders {
        let heard = tokio::time::timeout(Duration::from_millis(200), client.hear()).await;
        let Ok(Some(heard)) = heard else { continue };
        let Some(Method::ConnectionClose(close)) = heard.method() else { panic!("{}", heard.name()) };
        assert_eq!(close.reply_code, 506);
        refused += 1;
    }
    assert!((1..4).contains(&refused), "{refused} of 4 were refused");
    round_trip(&server, &quick).await;
}
