//! What a restart remembers of deliveries: after a stop in order who was given out, after any end how often
//! it came back.

mod common;

use std::collections::BTreeMap;

use cauce_core::Value;
use cauce_core::queue::Outcome;
use cauce_log::MemoryDisk;
use common::{Client, declare, number_of, run, start};

/// By number: whether it is marked as redelivered, and how often it came back.
type Marks = BTreeMap<u64, (bool, u32)>;

const MESSAGES: u64 = 6;

/// Message 0 is accepted, 1 held, 2 comes back once, 3 twice, 4 and 5 wait.
async fn deliver(disk: &MemoryDisk, stop: bool) {
    let node = start(disk);
    let queue = declare(&node, "orders", &[]).await;
    let mut client = Client::new();
    for number in 0..MESSAGES {
        client.publish(&node, &queue, number).await;
    }
    let mut offsets = Vec::new();
    for _ in 0..4 {
        offsets.push(client.get(&queue, false).await.expect("one waits").offset);
    }
    queue.settle(vec![offsets[0]], Outcome::Accept);
    queue.settle(vec![offsets[2], offsets[3]], Outcome::Release);
    let (two, three) = (client.get(&queue, false).await, client.get(&queue, false).await);
    assert_eq!(two.map(|delivery| delivery.returns), Some(1));
    queue.settle(vec![three.expect("it came back").offset], Outcome::Release);
    match stop {
        true => node.stop().await,
        false => {
            queue.status().await;
            node.flush().await;
        }
    }
}

async fn look(disk: &MemoryDisk) -> Marks {
    let node = start(disk);
    let queue = declare(&node, "orders", &[]).await;
    let found = Client::new().drain(&queue).await;
    found.iter().map(|delivery| (number_of(delivery), (delivery.redelivered, delivery.returns))).collect()
}

#[test]
fn after_stops_in_order_only_what_was_given_out_is_marked() {
    let mut disk = MemoryDisk::new();
    run(async { deliver(&disk, true).await });
    for _ in 0..3 {
        disk = disk.crash(None);
        run(async { start(&disk).stop().await });
    }
    let marks = run(async { look(&disk.crash(None)).await });
    let expected = [(1, (true, 0)), (2, (true, 1)), (3, (true, 2)), (4, (false, 0)), (5, (false, 0))];
    assert_eq!(marks, Marks::from(expected));
}

#[test]
fn after_any_other_end_all_is_marked_and_counts_stay() {
    let disk = MemoryDisk::new();
    run(async { deliver(&disk, false).await });
    let marks = run(async { look(&disk.crash(None)).await });
    let expected = [(1, (true, 0)), (2, (true, 1)), (3, (true, 2)), (4, (true, 0)), (5, (true, 0))];
    assert_eq!(marks, Marks::from(expected));
}

#[test]
fn the_mark_of_a_stop_counts_for_one_start() {
    let disk = MemoryDisk::new();
    run(async { deliver(&disk, true).await });
    let next = disk.crash(None);
    // This run gives nothing out and ends without a word: nobody can know that.
    run(async { start(&next).flush().await });
    let marks = run(async { look(&next.crash(None)).await });
    assert!(marks.values().all(|(redelivered, _)| *redelivered));
    // Marked for good: a stop in order later does not make it less.
    let later = next.crash(None);
    run(async { start(&later).stop().await });
    assert_eq!(run(async { look(&later.crash(None)).await }), marks);
}

#[test]
fn the_delivery_limit_counts_over_a_power_cut() {
    let disk = MemoryDisk::new();
    let arguments = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
        ("x-delivery-limit", Value::I32(1)),
    ];
    run(async {
        let node = start(&disk);
        let queue = declare(&node, "orders", &arguments).await;
        let mut client = Client::new();
        client.publish(&node, &queue, 7).await;
        let offset = client.get(&queue, false).await.expect("it waits").offset;
        queue.settle(vec![offset], Outcome::Release);
        client.get(&queue, false).await.expect("it waits again");
        node.flush().await;
    });
    run(async {
        let node = start(&disk.crash(None));
        let dead = declare(&node, "dead", &[]).await;
        let queue = declare(&node, "orders", &arguments).await;
        let mut client = Client::new();
        let delivery = client.get(&queue, false).await.expect("it waits");
        assert_eq!((delivery.redelivered, delivery.returns), (true, 1));
        queue.settle(vec![delivery.offset], Outcome::Release);
        queue.status().await;
        assert_eq!(client.drain(&dead).await.iter().map(number_of).collect::<Vec<_>>(), [7]);
    });
}
