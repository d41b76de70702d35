//! Transactions at every flush: power goes as the n-th flush begins, with the last write torn. After a
//! restart each transaction is there whole or not at all, and those that were answered are there.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cauce_broker::{Node, NodeConfig, Part, QueueHandle};
use cauce_core::Value;
use cauce_core::queue::{Outcome, Picks};
use cauce_log::MemoryDisk;
use common::{Chance, Client, block_of, config, declare, number_of, padded_block_of, run, start, start_with};

const ORDERS: u64 = 12;

/// What a transaction asks of one queue.
fn part(node: &Node, queue: &Arc<QueueHandle>, brings: &[(u64, bool)], ends: &[(Outcome, u64)]) -> Part {
    let block = block_of(node, brings);
    let picks = Picks::Run(0..brings.len() as u32);
    let settles = ends.iter().map(|&(outcome, offset)| (outcome, vec![offset])).collect();
    Part { queue: queue.clone(), block, picks, settles }
}

fn to_dead() -> Vec<(&'static str, Value)> {
    vec![("x-dead-letter-exchange", Value::text("")), ("x-dead-letter-routing-key", Value::text("dead"))]
}

#[test]
fn a_transaction_survives_a_power_cut_at_any_flush_whole_or_not_at_all() {
    let whole = MemoryDisk::new();
    run(async { work_off(&whole, u64::MAX).await });
    let flushes = whole.syncs();
    assert!(flushes > 60, "{flushes} flushes are too few to say anything");
    for cut in 0..=flushes {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let (confirmed, committed) = run(async { work_off(&disk, cut).await });
        let image = disk.crash((!cut.is_multiple_of(3)).then_some(cut));
        run(async { check_orders(&image, &confirmed, &committed, cut).await });
        // What one start mended the next finds so.
        run(async { start(&image).flush().await });
        run(async { check_orders(&image, &confirmed, &committed, cut).await });
    }
}

/// Takes orders one by one; each goes on to two queues, and is accepted or, each third, rejected. Says which
/// orders were confirmed and which of them are known to be worked off.
async fn work_off(disk: &MemoryDisk, cut: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let powered = || disk.syncs() <= cut;
    let node = start(disk);
    declare(&node, "dead", &[]).await;
    let orders = declare(&node, "orders", &to_dead()).await;
    let (mails, bills) = (declare(&node, "mails", &[]).await, declare(&node, "bills", &[]).await);
    let (mut confirmed, mut committed) = (BTreeSet::new(), BTreeSet::new());
    let mut client = Client::new();
    for number in 0..ORDERS {
        client.publish(&node, &orders, number).await;
        if powered() {
            confirmed.insert(number);
        }
        let order = client.get(&orders, false).await.expect("it was confirmed");
        let outcome = if number % 3 == 2 { Outcome::Reject } else { Outcome::Accept };
        let parts = vec![
            part(&node, &mails, &[(number, true), (1000 + number, false)], &[]),
            part(&node, &bills, &[(number, true)], &[]),
            part(&node, &orders, &[], &[(outcome, order.offset)]),
        ];
        node.commit(parts).await;
        if powered() {
            committed.insert(number);
        }
    }
    (confirmed, committed)
}

async fn check_orders(image: &MemoryDisk, confirmed: &BTreeSet<u64>, committed: &BTreeSet<u64>, cut: u64) {
    let node = start(&image.crash(None));
    let vhost = node.vhost("/").expect("the default one");
    let known = ["orders", "mails", "bills", "dead"].map(|name| vhost.queue(name));
    let [Some(orders), Some(mails), Some(bills), Some(dead)] = known else {
        return assert!(confirmed.is_empty(), "cut {cut}: a queue is gone");
    };
    let mut client = Client::new();
    let mut contents = BTreeMap::new();
    for queue in [&orders, &mails, &bills] {
        let found: Vec<u64> = client.drain(queue).await.iter().map(number_of).collect();
        let once: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(once.len(), found.len(), "cut {cut}: a message came twice from {}", queue.name);
        contents.insert(queue.name.to_string(), once);
    }
    assert_eq!(contents["mails"], contents["bills"], "cut {cut}: half a transaction");
    for number in confirmed {
        let waits = contents["orders"].contains(number);
        let done = contents["mails"].contains(number);
        assert!(waits != done, "cut {cut}: order {number} waits: {waits}, is worked off: {done}");
        assert!(done || !committed.contains(number), "cut {cut}: order {number} was committed");
    }
    // Dead letters are on their way meanwhile.
    let mut missing: BTreeSet<u64> =
        contents["mails"].iter().copied().filter(|number| number % 3 == 2).collect();
    while !missing.is_empty() {
        let letters = client.drain(&dead).await;
        for letter in letters {
            missing.remove(&number_of(&letter));
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_transaction_of_many_batches_is_whole_as_well() {
    const LARGE: u64 = 24;
    let bring = async |disk: &MemoryDisk, cut: u64| {
        let node = start(disk);
        let queue = declare(&node, "orders", &[]).await;
        let numbers: Vec<(u64, bool)> = (0..LARGE).map(|number| (number, true)).collect();
        let block = padded_block_of(&node, &numbers, 1 << 20);
        let picks = Picks::Run(0..LARGE as u32);
        node.commit(vec![Part { queue, block, picks, settles: Vec::new() }]).await;
        disk.syncs() <= cut
    };
    let whole = MemoryDisk::new();
    run(async { bring(&whole, u64::MAX).await });
    for cut in 0..=whole.syncs() {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let committed = run(async { bring(&disk, cut).await });
        let image = disk.crash(Some(cut));
        let found = run(async {
            let node = start(&image);
            let queue = declare(&node, "orders", &[]).await;
            Client::new().drain(&queue).await.len() as u64
        });
        assert!(found == LARGE || found == 0 && !committed, "cut {cut}: {found} of {LARGE}");
    }
}

#[test]
fn transactions_at_random_stay_whole_over_many_lives() {
    for seed in 1..=40 {
        println!("seed {seed}");
        let mut model =
            Model { chance: Chance(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)), ..Model::default() };
        let mut disk = MemoryDisk::new();
        for _ in 0..6 {
            let cut = model.chance.below(150);
            disk.freeze_at_sync(cut);
            // With little memory all goes to the log and is read again.
            let memory_bytes = if model.chance.below(2) == 0 { 1 << 10 } else { 64 << 20 };
            let config = NodeConfig { memory_bytes, ..config() };
            run(async { model.live(&disk, cut, config).await });
            disk = disk.crash((!cut.is_multiple_of(3)).then_some(cut + seed));
            run(async { model.look(&disk.crash(None)).await });
        }
    }
}

const QUEUES: [&str; 3] = ["one", "two", "three"];

/// A message: its queue and its number.
type Place = (usize, u64);

#[derive(Debug, Default, Clone)]
struct Deed {
    brings: Vec<Place>,
    takes: Vec<Place>,
}

/// What must be there after a restart, and what may be.
#[derive(Debug, Default)]
struct Model {
    chance: Chance,
    next_number: u64,
    there: BTreeSet<Place>,
    /// Not answered when the power went: each may have happened, whole.
    unsure: Vec<Deed>,
}

impl Model {
    async fn live(&mut self, disk: &MemoryDisk, cut: u64, config: NodeConfig) {
        let node = start_with(disk, config);
        let mut queues = Vec::new();
        for name in QUEUES {
            queues.push(declare(&node, name, &[]).await);
        }
        let mut client = Client::new();
        for _ in 0..30 {
            let deeds = match self.chance.below(4) {
                0 => vec![self.publish(&node, &queues, &mut client).await],
                1 => {
                    // Two at a time.
                    let (one, its_parts) = self.plan(&node, &queues, &mut client).await;
                    let (other, others_parts) = self.plan(&node, &queues, &mut client).await;
                    tokio::join!(node.commit(its_parts), node.commit(others_parts));
                    vec![one, other]
                }
                _ => {
                    let (deed, parts) = self.plan(&node, &queues, &mut client).await;
                    node.commit(parts).await;
                    vec![deed]
                }
            };
            if disk.syncs() > cut {
                return self.unsure.extend(deeds);
            }
            deeds.iter().for_each(|deed| self.apply(deed));
        }
    }

    async fn publish(&mut self, node: &Node, queues: &[Arc<QueueHandle>], client: &mut Client) -> Deed {
        let place = self.new_place();
        client.publish(node, &queues[place.0], place.1).await;
        Deed { brings: vec![place], takes: Vec::new() }
    }

    /// Some messages for some queues, some of them transient, and an end for some that wait.
    async fn plan(
        &mut self,
        node: &Node,
        queues: &[Arc<QueueHandle>],
        client: &mut Client,
    ) -> (Deed, Vec<Part>) {
        let (mut deed, mut parts) = (Deed::default(), Vec::new());
        for (at, queue) in queues.iter().enumerate() {
            let mut brings = Vec::new();
            for _ in 0..self.chance.below(3) {
                let (_, number) = self.new_place();
                let persistent = self.chance.below(4) > 0;
                brings.push((number, persistent));
                deed.brings.extend(persistent.then_some((at, number)));
            }
            let mut ends = Vec::new();
            for _ in 0..self.chance.below(3) {
                let Some(delivery) = client.get(queue, false).await else { continue };
                let place = (at, number_of(&delivery));
                let outcome =
                    [Outcome::Accept, Outcome::Reject, Outcome::Release][self.chance.below(3) as usize];
                ends.push((outcome, delivery.offset));
                let persistent = delivery.block.message(delivery.index).traits.persistent;
                deed.takes.extend((persistent && outcome != Outcome::Release).then_some(place));
            }
            parts.push(part(node, queue, &brings, &ends));
        }
        (deed, parts)
    }

    fn new_place(&mut self) -> Place {
        self.next_number += 1;
        (self.chance.below(3) as usize, self.next_number)
    }

    fn apply(&mut self, deed: &Deed) {
        self.there.extend(&deed.brings);
        deed.takes.iter().for_each(|place| assert!(self.there.remove(place), "{place:?} was not there"));
    }

    /// Finds out which of the unsure deeds happened, and compares.
    async fn look(&mut self, image: &MemoryDisk) {
        let node = start(image);
        let mut found = BTreeSet::new();
        for (at, name) in QUEUES.into_iter().enumerate() {
            let vhost = node.vhost("/").expect("the default one");
            let queue = vhost.queue(name);
            let Some(queue) = queue else { continue };
            for delivery in Client::new().drain(&queue).await {
                let place = (at, number_of(&delivery));
                assert!(found.insert(place), "{place:?} came twice");
            }
        }
        for deed in std::mem::take(&mut self.unsure) {
            let brought = deed.brings.iter().filter(|place| found.contains(place)).count();
            let taken = deed.takes.iter().filter(|place| !found.contains(place)).count();
            let all = deed.brings.len() + deed.takes.len();
            assert!([0, all].contains(&(brought + taken)), "half of {deed:?}");
            if brought + taken > 0 {
                self.apply(&deed);
            }
        }
        assert_eq!(found, self.there);
    }
}
