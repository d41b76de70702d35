//! Random lives of several queues that feed each other, and a power cut at a random flush: what was confirmed
//! is somewhere or ended, nothing is twice where it was published first, what a transaction took stays taken, and
//! what was given out there comes back marked.
//!
//! `CAUCE_RANDOM_RUNS=2000` lives more of them.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cauce_broker::{Node, Part, QueueHandle};
use cauce_core::Value;
use cauce_core::message::{Block, BlockBuilder, Traits};
use cauce_core::queue::{Delivery, Outcome, Picks};
use cauce_log::MemoryDisk;
use common::{Chance, Client, declare, message_block, number_of, run, start};

const STEPS: u64 = 60;

/// Each sends its dead letters to the next, the last to nobody.
const QUEUES: [&str; 4] = ["urgent", "short", "quick", "last"];

#[test]
fn random_lives_survive_a_power_cut() {
    let runs = std::env::var("CAUCE_RANDOM_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(150u64);
    let first = std::env::var("CAUCE_RANDOM_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0u64);
    for seed in first..first + runs {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        let mut disk = MemoryDisk::new();
        let mut known = Known::default();
        // Several crashes one after the other: what one start leaves the next must read.
        for _ in 0..1 + chance.below(3) {
            let cut = disk.syncs() + chance.below(200);
            disk.freeze_at_sync(cut);
            run(live(&disk, cut, &mut chance, &mut known));
            disk = disk.crash((chance.below(3) != 0).then_some(seed + 1));
        }
        run(check(&disk, &known, seed));
    }
}

/// What clients know.
#[derive(Debug, Default)]
struct Known {
    next: u64,
    /// Confirmed in a queue of that name, while power was there.
    confirmed: BTreeMap<u64, &'static str>,
    /// May have ended: accepted, purged, gone with its queue, rejected where nobody takes it.
    may_be_over: BTreeSet<u64>,
    /// Taken by a transaction that was answered; must not come back there.
    is_over: BTreeSet<(u64, &'static str)>,
    given_out: BTreeSet<u64>,
}

fn arguments(name: &str) -> Vec<(&'static str, Value)> {
    let to = |next: &str| {
        vec![("x-dead-letter-exchange", Value::text("")), ("x-dead-letter-routing-key", Value::text(next))]
    };
    match name {
        "urgent" => [to("short"), vec![("x-max-priority", Value::I32(5))]].concat(),
        "short" => [to("quick"), vec![("x-max-length", Value::I32(4))]].concat(),
        "quick" => {
            [to("last"), vec![("x-message-ttl", Value::I32(3)), ("x-delivery-limit", Value::I32(2))]].concat()
        }
        _ => Vec::new(),
    }
}

async fn queues(node: &Node) -> Vec<Arc<QueueHandle>> {
    let mut queues = Vec::new();
    for name in QUEUES {
        queues.push(declare(node, name, &arguments(name)).await);
    }
    queues
}

async fn live(disk: &MemoryDisk, cut: u64, chance: &mut Chance, known: &mut Known) {
    let powered = || disk.syncs() <= cut;
    let node = start(disk);
    let mut queues = queues(&node).await;
    let mut client = Client::new();
    let mut held: Vec<(usize, Delivery)> = Vec::new();
    for _ in 0..STEPS {
        if !powered() {
            return;
        }
        let at = chance.below(4) as usize;
        match chance.below(20) {
            0..8 => {
                let number = known.next;
                known.next += 1;
                publish(&node, &mut client, &queues[at], number, chance).await;
                if powered() {
                    known.confirmed.insert(number, QUEUES[at]);
                }
            }
            8..12 => {
                if let Some(delivery) = client.get(&queues[at], false).await {
                    let number = number_of(&delivery);
                    assert!(
                        !known.is_over.contains(&(number, QUEUES[at])),
                        "{number} came back to {}",
                        QUEUES[at]
                    );
                    known.given_out.insert(number);
                    held.push((at, delivery));
                }
            }
            12..16 if !held.is_empty() => {
                let (at, delivery) = held.swap_remove(chance.below(held.len() as u64) as usize);
                let outcome = [Outcome::Accept, Outcome::Release, Outcome::Reject][chance.below(3) as usize];
                if outcome == Outcome::Accept || outcome == Outcome::Reject && QUEUES[at] == "last" {
                    known.may_be_over.insert(number_of(&delivery));
                }
                queues[at].settle(vec![delivery.offset], outcome);
            }
            16 | 17 => {
                let number = known.next;
                known.next += 1;
                let to = &queues[chance.below(4) as usize];
                let block = block(&node, number, 0, None);
                let mut parts =
                    vec![Part { queue: to.clone(), block, picks: Picks::Run(0..1), settles: Vec::new() }];
                let ended = held.pop();
                if let Some((at, delivery)) = &ended {
                    known.may_be_over.insert(number_of(delivery));
                    let block = BlockBuilder::new().finish(node.memory().gauge());
                    let settles = vec![(Outcome::Accept, vec![delivery.offset])];
                    let part = Part { queue: queues[*at].clone(), block, picks: Picks::Run(0..0), settles };
                    match Arc::ptr_eq(to, &queues[*at]) {
                        true => parts[0].settles = part.settles,
                        false => parts.push(part),
                    }
                }
                node.commit(parts).await;
                if powered() {
                    known.confirmed.insert(number, "of a transaction");
                    if let Some((at, delivery)) = ended {
                        let number = number_of(&delivery);
                        // Elsewhere it is a dead letter, of which a crash may have left another.
                        if known.confirmed.get(&number) == Some(&QUEUES[at]) {
                            known.is_over.insert((number, QUEUES[at]));
                        }
                    }
                }
            }
            18 if chance.below(4) == 0 => {
                everything_may_go(known);
                queues[at].purge().await;
            }
            19 if chance.below(6) == 0 => {
                let vhost = node.vhost("/").expect("the default one");
                everything_may_go(known);
                vhost.delete_queue(QUEUES[at], 1, false, false).await.expect("it may be deleted");
                held.retain(|(of, _)| *of != at);
                queues[at] = declare(&node, QUEUES[at], &arguments(QUEUES[at])).await;
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
        }
    }
    if chance.below(3) == 0 {
        node.stop().await;
    }
}

/// Whatever was confirmed so far may be over from now on: what is in the queue goes with it, and nobody can say
/// which dead letters are on their way there.
fn everything_may_go(known: &mut Known) {
    known.may_be_over.extend(known.confirmed.keys());
}

fn block(node: &Node, number: u64, priority: u8, ttl_ms: Option<u64>) -> Arc<Block> {
    let arrived_ms = cauce_broker::clock::now_ms();
    let traits = Traits { persistent: true, priority, ttl_ms, arrived_ms };
    message_block(node, &number.to_be_bytes(), traits)
}

async fn publish(node: &Node, client: &mut Client, queue: &QueueHandle, number: u64, chance: &mut Chance) {
    // From the last it would go for good.
    let ttl_ms = (&*queue.name != "last" && chance.below(4) == 0).then(|| chance.below(3));
    client.publish_all(queue, block(node, number, chance.below(7) as u8, ttl_ms)).await;
}

/// Every message that is left, wherever it went.
async fn check(disk: &MemoryDisk, known: &Known, seed: u64) {
    let node = start(disk);
    let vhost = node.vhost("/").expect("the default one");
    let mut found: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let mut client = Client::new();
    // Dead letters move on between the queues until they rest in the last.
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        for name in QUEUES {
            let Some(queue) = vhost.queue(name) else { continue };
            for delivery in client.drain(&queue).await {
                let number = number_of(&delivery);
                assert!(
                    !known.is_over.contains(&(number, name)),
                    "seed {seed}: {number} came back in {name}"
                );
                assert!(
                    delivery.redelivered || !known.given_out.contains(&number) || name != "urgent",
                    "seed {seed}: {number} of {name} is not marked"
                );
                found.entry(number).or_default().push(name);
            }
        }
    }
    for (number, name) in &known.confirmed {
        assert!(
            found.contains_key(number) || known.may_be_over.contains(number),
            "seed {seed}: {number}, confirmed in {name}, is gone; left are {found:?}"
        );
    }
    // A cut may leave a dead letter where it died, to come again where it went.
    for (number, names) in &found {
        let times = names.iter().filter(|name| **name == "urgent").count();
        assert!(times < 2, "seed {seed}: {number} is twice in {names:?}");
    }
}
