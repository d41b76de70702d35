//! The mark a queue leaves when the node stops in order: the next start believes it, and no other start does.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cauce_broker::{Flush, Node, NodeConfig, Part, QueueHandle};
use cauce_core::queue::{Outcome, Picks};
use cauce_log::{Disk, MemoryDisk};
use common::{Chance, Client, block_of, config, declare, number_of, padded_block_of, run, start, start_with};

/// More than a segment of messages this large.
const MESSAGES: u64 = 20;
const LARGE_BYTES: usize = 1 << 20;

/// Fills the queue, takes message 0 for good and 1 and 2 for a while, and stops in order.
async fn fill_and_stop(disk: &MemoryDisk) {
    let node = start(disk);
    let queue = declare(&node, "orders", &[]).await;
    let mut client = Client::new();
    let numbers: Vec<(u64, bool)> = (0..MESSAGES).map(|number| (number, true)).collect();
    client.publish_all(&queue, padded_block_of(&node, &numbers, LARGE_BYTES)).await;
    for outcome in [Outcome::Accept, Outcome::Release] {
        let delivery = client.get(&queue, false).await.expect("it waits");
        queue.settle(vec![delivery.offset], outcome);
    }
    node.stop().await;
}

/// Spoils a message in the first segment, where a start that reads the log looks and any other does not.
fn spoil(disk: &MemoryDisk) {
    let log = queue_dir(disk).join("log");
    let mut segments = disk.list(&log).expect("a log");
    segments.retain(|name| name.ends_with(".log"));
    segments.sort();
    assert!(segments.len() > 1, "{segments:?}");
    let segment = disk.open(&log.join(&segments[0])).expect("a segment");
    segment.write_all_at(&[0xAA; 64], 5 * LARGE_BYTES as u64).expect("a write");
}

fn queue_dir(disk: &MemoryDisk) -> PathBuf {
    let ids = disk.list(Path::new("queues")).expect("queues");
    Path::new("queues").join(ids.first().expect("the only one"))
}

/// How many messages a start on a spoiled disk believes to wait.
async fn believed(disk: &MemoryDisk) -> u64 {
    spoil(disk);
    let node = start(disk);
    declare(&node, "orders", &[]).await.status().await.ready
}

const BELIEVED: u64 = MESSAGES - 1;

#[test]
fn a_start_after_a_stop_in_order_reads_no_log() {
    let disk = MemoryDisk::new();
    run(async { fill_and_stop(&disk).await });
    assert_eq!(run(believed(&disk.crash(None))), BELIEVED);
}

#[test]
fn a_start_after_two_stops_reads_none_either() {
    let disk = MemoryDisk::new();
    run(async { fill_and_stop(&disk).await });
    let disk = disk.crash(None);
    run(async { start(&disk).stop().await });
    assert_eq!(run(believed(&disk.crash(None))), BELIEVED);
}

#[test]
fn a_mark_is_believed_once() {
    let disk = MemoryDisk::new();
    run(async { fill_and_stop(&disk).await });
    for flush in [Flush::Always, Flush::Os] {
        let killed = disk.crash(None);
        run(async { start_with(&killed, NodeConfig { flush, ..config() }).flush().await });
        assert!(run(believed(&killed)) < BELIEVED, "after a kill with {flush:?}");
    }
}

#[test]
fn a_mark_of_a_log_that_grew_is_not_believed_even_if_nobody_knows_that_a_run_was_between() {
    let disk = MemoryDisk::new();
    run(async { fill_and_stop(&disk).await });
    let next = disk.crash(None);
    let transactions = contents(&next, Path::new("transactions"));
    let settled = contents(&next, &queue_dir(&next).join("settled"));
    run(async {
        let node = start(&next);
        let queue = declare(&node, "orders", &[]).await;
        Client::new().publish(&node, &queue, 77).await;
    });
    // As if power went under `--flush os`, and the log alone had come to the disk.
    restore(&next, Path::new("transactions"), &transactions);
    restore(&next, &queue_dir(&next).join("settled"), &settled);
    let found = run(async {
        let node = start(&next);
        let queue = declare(&node, "orders", &[]).await;
        Client::new().drain(&queue).await.iter().map(number_of).collect::<Vec<_>>()
    });
    assert_eq!(found, (1..MESSAGES).chain([77]).collect::<Vec<_>>());
}

fn contents(disk: &MemoryDisk, dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list(dir).expect("a directory");
    let read = |name: String| {
        let file = disk.open(&dir.join(&name)).expect("a file");
        let mut bytes = vec![0; file.len().expect("a length") as usize];
        file.read_at(&mut bytes, 0).expect("a read");
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

fn restore(disk: &MemoryDisk, dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for name in disk.list(dir).expect("a directory") {
        disk.remove_file(&dir.join(name)).expect("it is there");
    }
    for (name, bytes) in files {
        disk.open(&dir.join(name)).expect("a file").write_all_at(bytes, 0).expect("a write");
    }
}

#[test]
fn what_is_known_of_messages_beside_the_log_comes_back_with_a_mark() {
    let disk = MemoryDisk::new();
    run(async { fill_and_stop(&disk).await });
    run(async {
        let node = start(&disk.crash(None));
        let queue = declare(&node, "orders", &[]).await;
        let found = Client::new().drain(&queue).await;
        let marks: Vec<_> = found
            .iter()
            .map(|delivery| (number_of(delivery), delivery.redelivered, delivery.returns))
            .collect();
        let expected: Vec<_> =
            (1..MESSAGES).map(|number| (number, number == 1, u32::from(number == 1))).collect();
        assert_eq!(marks, expected);
    });
}

#[test]
fn what_was_written_for_want_of_memory_is_not_in_a_mark() {
    let disk = MemoryDisk::new();
    run(async {
        let node = start_with(&disk, NodeConfig { memory_bytes: 1, ..config() });
        let queue = declare(&node, "orders", &[]).await;
        let mut client = Client::new();
        for number in 0..MESSAGES {
            client.publish_all(&queue, padded_block_of(&node, &[(number, number == 7)], 20_000)).await;
        }
        node.stop().await;
    });
    let log: usize = contents(&disk, &queue_dir(&disk).join("log")).values().map(Vec::len).sum();
    assert!(log > 200_000, "{log} bytes: nothing was written for want of memory");
    let found = run(async {
        let node = start(&disk.crash(None));
        let queue = declare(&node, "orders", &[]).await;
        assert_eq!(queue.status().await.ready, 1);
        Client::new().drain(&queue).await.iter().map(number_of).collect::<Vec<_>>()
    });
    assert_eq!(found, [7]);
}

/// Runs of a node that end in one way or another, and what must be there whatever happens.
#[test]
fn any_life_with_stops_and_power_cuts_keeps_what_was_confirmed() {
    for seed in 1..=60 {
        let mut chance = Chance(seed);
        let mut model = Model::default();
        let mut disk = MemoryDisk::new();
        for life in 0..6 {
            let stops = chance.below(3) > 0;
            run(live(&disk, &mut model, &mut chance, stops));
            disk = disk.crash((!stops && chance.below(2) == 0).then_some(seed));
            model.is_certain = stops;
            if !stops {
                model.perhaps_done.append(&mut model.done);
            }
            run(look(&disk.crash(None), &model, &format!("seed {seed}, life {life}")));
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    next: u64,
    waiting: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// Acknowledged before a crash.
    perhaps_done: BTreeSet<u64>,
    is_certain: bool,
}

async fn live(disk: &MemoryDisk, model: &mut Model, chance: &mut Chance, stops: bool) {
    let node = start(disk);
    let queue = declare(&node, "orders", &[]).await;
    let other = declare(&node, "other", &[]).await;
    let mut client = Client::new();
    for _ in 0..chance.below(30) {
        match chance.below(24) {
            0..=8 => {
                let number = model.bring();
                client.publish_all(&queue, padded_block_of(&node, &[(number, true)], 20_000)).await;
            }
            9..=11 => {
                let number = model.bring();
                node.commit(vec![bring(&node, &queue, number, 20_000), bring(&node, &other, number, 0)])
                    .await;
            }
            12 => client.publish_all(&queue, block_of(&node, &[(u64::MAX, false)])).await,
            kind => {
                let Some(delivery) = client.get(&queue, false).await else { continue };
                let number = number_of(&delivery);
                let accepts = kind < 20;
                if accepts {
                    model.waiting.remove(&number);
                    model.done.insert(number);
                }
                let outcome = if accepts { Outcome::Accept } else { Outcome::Release };
                queue.settle(vec![delivery.offset], outcome);
            }
        }
    }
    if stops {
        node.stop().await;
    }
}

impl Model {
    fn bring(&mut self) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next);
        self.next
    }
}

fn bring(node: &Node, queue: &Arc<QueueHandle>, number: u64, more_bytes: usize) -> Part {
    let block = padded_block_of(node, &[(number, true)], more_bytes);
    Part { queue: queue.clone(), block, picks: Picks::Run(0..1), settles: Vec::new() }
}

async fn look(disk: &MemoryDisk, model: &Model, when: &str) {
    let node = start(disk);
    let queue = declare(&node, "orders", &[]).await;
    let count = queue.status().await.ready;
    let found: Vec<u64> = Client::new().drain(&queue).await.iter().map(number_of).collect();
    assert_eq!(count, found.len() as u64, "{when}");
    let once: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "{when}: something came twice: {found:?}");
    assert!(model.waiting.is_subset(&once), "{when}: lost {:?}", model.waiting.difference(&once));
    let back: BTreeSet<u64> = once.difference(&model.waiting).copied().collect();
    assert!(back.is_subset(&model.perhaps_done), "{when}: {back:?} came from nowhere");
    if model.is_certain && model.perhaps_done.is_empty() {
        assert_eq!(once, model.waiting, "{when}");
    }
}
