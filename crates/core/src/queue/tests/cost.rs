//! What it costs: structures kept for many messages, and time for each.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use super::world::{Item, block_of};
use crate::message::{Block, Traits};
use crate::queue::*;

const IN_A_BLOCK: u64 = 32;

fn full_block() -> Arc<Block> {
    let item =
        Item { name: "a".into(), body_bytes: 16, traits: Traits { persistent: true, ..Traits::default() } };
    block_of(std::iter::repeat_n(&item, IN_A_BLOCK as usize))
}

fn publish_many(queue: &mut Queue, messages: u64, out: &mut Effects) {
    let (block, picks) = (full_block(), Picks::Run(0..IN_A_BLOCK as u32));
    let mut placed = Vec::new();
    for _ in 0..messages / IN_A_BLOCK {
        queue.publish(&block, &picks, 0, out, &mut placed);
        placed.clear();
    }
}

fn subscription(no_ack: bool, prefetch: u32) -> Subscription {
    Subscription { no_ack, exclusive: false, priority: 0, prefetch, shared: None, window: u32::MAX }
}

fn delivered(out: &mut Effects) -> Vec<u64> {
    let offset = |effect| match effect {
        Effect::Deliver { delivery, .. } => delivery.offset,
        other => panic!("{other:?}"),
    };
    out.drain().map(offset).collect()
}

#[test]
fn a_million_waiting_messages_cost_as_much_as_one() {
    let (mut queue, mut out) = (Queue::new(Rules::default(), 0), Effects::default());
    publish_many(&mut queue, 1_000_000, &mut out);
    while queue.take_unwritten(|_| true, |_, _| ()) {}
    queue.stored(queue.next_offset());
    queue.evict();
    assert_eq!(queue.ready_count(), 1_000_000);
    assert_eq!((queue.line.runs().count(), queue.window.chunks().len()), (1, 1));
    assert_eq!(queue.settled.run_count(), 0);
    assert!(queue.resident_bytes() < 10_000);
    assert_eq!(queue.purge(&mut out), 1_000_000);
    assert!(out.drain_settled().eq([0..1_000_000; 1]));
    assert_eq!((queue.resident_bytes(), queue.floor()), (0, 1_000_000));
}

#[test]
fn one_stuck_message_costs_two_runs() {
    let (mut queue, mut out) = (Queue::new(Rules::default(), 0), Effects::default());
    let subscribed = queue.subscribe(ConsumerId(1), subscription(false, 100), 0, &mut out);
    assert_eq!(subscribed, Ok(()));
    publish_many(&mut queue, 100_000, &mut out);
    loop {
        let mut offsets = delivered(&mut out);
        offsets.retain(|&offset| offset != 7);
        if offsets.is_empty() {
            break;
        }
        queue.settle(offsets, Outcome::Accept, 0, &mut out);
    }
    assert_eq!(queue.settled.runs().collect::<Vec<_>>(), [0..7, 8..queue.next_offset()]);
    assert_eq!(queue.window.chunks(), [(0..IN_A_BLOCK, 1)]);
    assert_eq!((queue.held_count(), queue.floor()), (1, 7));
}

/// Looking at all the others for each that comes would take minutes.
#[test]
fn tens_of_thousands_of_consumers_come_at_once() {
    const CONSUMERS: u64 = 30_000;
    let (mut queue, mut out) = (Queue::new(Rules::default(), 0), Effects::default());
    let start = Instant::now();
    for consumer in 0..CONSUMERS {
        assert_eq!(queue.subscribe(ConsumerId(consumer), subscription(true, 0), 0, &mut out), Ok(()));
    }
    let took = start.elapsed();
    assert!(took.as_secs() < 5, "{took:?} for {CONSUMERS} consumers");
}

#[test]
fn refused_newcomers_leave_one_chunk_for_those_that_got_in() {
    let rules = Rules { length_max: Some(20), overflow: Overflow::RejectPublish, ..Rules::default() };
    let (mut queue, mut out) = (Queue::new(rules, 0), Effects::default());
    publish_many(&mut queue, IN_A_BLOCK, &mut out);
    assert_eq!(queue.window.chunks(), [(0..20, 20)]);
}

/// `cargo test -p cauce-core --release -- --ignored --nocapture nanoseconds`
#[test]
#[ignore = "a measurement, not a check"]
fn nanoseconds_per_message() {
    let durable = Rules { durable: true, ..Rules::default() };
    let limited =
        |overflow| Rules { length_max: Some(1000), message_ttl_ms: Some(1000), overflow, ..Rules::default() };
    let urgent = Rules { priority_max: 255, ..Rules::default() };
    let straight = subscription(true, 0);
    let acked = subscription(false, 1000);
    measure("no ack", Rules::default(), &straight, false);
    measure("no ack, written", durable.clone(), &straight, true);
    measure("acked in blocks", Rules::default(), &acked, false);
    measure("acked in blocks, written", durable, &acked, true);
    measure("nobody takes more than one, 256 priorities", urgent, &subscription(false, 1), false);
    measure("nobody there, the oldest drop", limited(Overflow::DropHead), &subscription(false, 1), false);
    measure(
        "the oldest leave, and never arrive",
        Rules { dead_letters: true, ..limited(Overflow::DropHead) },
        &subscription(false, 1),
        false,
    );
    measure("acked, refusing when full", limited(Overflow::RejectPublish), &acked, false);
}

fn measure(what: &str, rules: Rules, subscription: &Subscription, write: bool) {
    const MESSAGES: u64 = 3_200_000;
    let (mut queue, mut out) = (Queue::new(rules, 0), Effects::default());
    let subscribed = queue.subscribe(ConsumerId(1), subscription.clone(), 0, &mut out);
    assert_eq!(subscribed, Ok(()));
    let (block, picks, mut placed) = (full_block(), Picks::Run(0..IN_A_BLOCK as u32), Vec::new());
    let prefetch = subscription.prefetch as usize;
    let mut held: VecDeque<u64> = VecDeque::new();
    let start = Instant::now();
    for _ in 0..MESSAGES / IN_A_BLOCK {
        queue.publish(&block, &picks, 0, &mut out, &mut placed);
        if write {
            queue.take_unwritten(
                |_| true,
                |offset, message| {
                    black_box((offset, message.body.len()));
                },
            );
        }
        placed.clear();
        // As long as the consumer is nearly full it settles as many as it may.
        while !out.is_empty() {
            for effect in out.drain() {
                if let Effect::Deliver { no_ack: false, delivery, .. } = effect {
                    held.push_back(delivery.offset);
                }
            }
            out.drain_settled();
            if prefetch > 1 && held.len() + IN_A_BLOCK as usize > prefetch {
                let settled = held.drain(..IN_A_BLOCK as usize);
                queue.settle(settled, Outcome::Accept, 0, &mut out);
            }
        }
    }
    let nanoseconds = start.elapsed().as_nanos() as u64 / MESSAGES;
    println!("{nanoseconds:4} ns  {what}");
}
