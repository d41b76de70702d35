//! Transactions over partitions and offsets, over a disk in memory: after any power cut one is seen whole or not at all,
//! and nothing waits for ever.

#[path = "transactional_ids/client.rs"]
mod client;
mod common;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "groups/members.rs"]
mod members;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cauce_broker::Node;
use cauce_broker::stream::PartitionHandle;
use cauce_broker::transactional_ids::{Candidate, TransactionalError};
use cauce_core::producer::{Ending, ProducerId, TransactionVersion};
use cauce_core::stream::Sender;
use cauce_core::topic::Overrides;
use cauce_core::transaction::{State, TransactionError};
use cauce_log::MemoryDisk;
use client::{Client, is_stale, read_committed};
use common::{config, run, start_with};
use members::{by_hand, committed, ready};

const ROUNDS: u64 = 7;
const GROUP: &str = "readers";
const VERSIONS: [TransactionVersion; 2] =
    [TransactionVersion::Classic, TransactionVersion::EpochPerTransaction];

/// What a client knew when the power went.
#[derive(Debug, Default)]
struct Known {
    committed: BTreeSet<u64>,
    aborted: BTreeSet<u64>,
    ids: BTreeSet<ProducerId>,
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all_after_a_power_cut_at_any_flush() {
    for version in VERSIONS {
        let whole = MemoryDisk::new();
        run(async { live(&whole, u64::MAX, version).await });
        let flushes = whole.syncs();
        assert!(flushes > 30, "{flushes} flushes are too few to say anything");
        for cut in 0..=flushes {
            let disk = MemoryDisk::new();
            disk.freeze_at_sync(cut);
            let known = run(async { live(&disk, cut, version).await });
            let image = disk.crash((cut % 3 != 0).then_some(cut));
            run(async { check(&image, &known, &format!("{version:?}, cut {cut}")).await });
        }
    }
}

/// A producer's day: each transaction writes its number to every partition, and how far it has read. Every third
/// is aborted, and one is left open by an incarnation that goes away.
async fn live(disk: &MemoryDisk, cut: u64, version: TransactionVersion) -> Known {
    let mut known = Known::default();
    let powered = || disk.syncs() <= cut;
    let node = start(disk);
    topics(&node).await;
    let mut producer = Client::new("orders", version);
    producer.init(&node).await.expect("a new one");
    if powered() {
        known.ids.insert(producer.producer.id);
    }
    for round in 1..=ROUNDS {
        write_everywhere(&node, &mut producer, round).await;
        if round == ROUNDS / 2 {
            producer.init(&node).await.expect("the next incarnation");
            known.aborted.insert(round);
            continue;
        }
        let ending = if round % 3 == 0 { Ending::Abort } else { Ending::Commit };
        producer.end(&node, ending).await.expect("it is open");
        match ending {
            Ending::Abort => known.aborted.insert(round),
            Ending::Commit => powered() && known.committed.insert(round),
        };
    }
    known
}

async fn write_everywhere(node: &Node, producer: &mut Client, value: u64) {
    for partition in partitions(node) {
        producer.write(node, &partition, value).await.expect("it may");
    }
    producer.commit_offset(node, GROUP, value as i64).await.expect("it may");
}

async fn check(image: &MemoryDisk, known: &Known, when: &str) {
    let node = start(image);
    ready(&node).await;
    if partitions(&node).len() < 3 {
        assert!(known.committed.is_empty(), "{when}: {known:?}");
        return;
    }
    let mut stranger = Client::new("stranger", TransactionVersion::Classic);
    stranger.init(&node).await.expect("anybody may");
    assert!(!known.ids.contains(&stranger.producer.id), "{when}: {stranger:?} where {known:?}");
    assert!(!known.ids.contains(&node.next_producer_id().await), "{when}");
    // What was left open is aborted by who comes next.
    let mut producer = Client::new("orders", TransactionVersion::EpochPerTransaction);
    producer.init(&node).await.expect("the next incarnation");
    write_everywhere(&node, &mut producer, 99).await;
    producer.end(&node, Ending::Commit).await.expect("it is open");
    producer.init(&node).await.expect("that waits until all is marked");
    let seen = read_committed(&partitions(&node)[0]).await;
    for partition in partitions(&node) {
        assert_eq!(read_committed(&partition).await, seen, "{when}: {}", partition.at);
        let extent = partition.extent();
        assert_eq!(extent.last_stable, extent.end, "{when}: {} hangs", partition.at);
    }
    assert!(seen.is_sorted_by(|one, other| one < other), "{when}: {seen:?}");
    let seen: BTreeSet<u64> = seen.into_iter().collect();
    assert!(seen.contains(&99), "{when}: {seen:?}");
    assert!(seen.is_superset(&known.committed), "{when}: {seen:?} where {known:?}");
    assert!(seen.is_disjoint(&known.aborted), "{when}: {seen:?} where {known:?}");
    assert_eq!(committed(&node, GROUP).await, Some(99), "{when}");
}

#[test]
fn offsets_follow_their_transaction_over_a_restart() {
    for version in VERSIONS {
        let disk = MemoryDisk::new();
        run(async {
            let node = start(&disk);
            topics(&node).await;
            let mut producer = Client::new("orders", version);
            producer.init(&node).await.unwrap();
            for (offset, ending) in [(1, Ending::Commit), (2, Ending::Abort)] {
                producer.commit_offset(&node, GROUP, offset).await.unwrap();
                producer.end(&node, ending).await.unwrap();
            }
            producer.init(&node).await.unwrap();
            assert_eq!(committed(&node, GROUP).await, Some(1));
            producer.commit_offset(&node, GROUP, 3).await.unwrap();
        });
        let image = disk.crash(None);
        run(async {
            let node = start(&image);
            ready(&node).await;
            assert_eq!(committed(&node, GROUP).await, Some(1));
            Client::new("orders", version).init(&node).await.unwrap();
            assert_eq!(committed(&node, GROUP).await, Some(1));
        });
    }
}

#[test]
fn a_new_incarnation_fences_the_old_one() {
    for version in VERSIONS {
        run(async {
            let node = start(&MemoryDisk::new());
            topics(&node).await;
            let at = &partitions(&node)[0];
            let (mut zombie, mut fresh) = (Client::new("orders", version), Client::new("orders", version));
            zombie.init(&node).await.unwrap();
            zombie.write(&node, at, 1).await.unwrap();
            fresh.init(&node).await.unwrap();
            let refused = zombie.write(&node, at, 2).await.unwrap_err();
            let fenced = TransactionalError::Refused(TransactionError::Fenced);
            assert!(is_stale(&refused) || refused == fenced.into(), "{refused:?}");
            assert_eq!(zombie.end(&node, Ending::Commit).await, Err(fenced));
            fresh.write(&node, at, 3).await.unwrap();
            fresh.end(&node, Ending::Commit).await.unwrap();
            fresh.init(&node).await.unwrap();
            assert_eq!(read_committed(at).await, [3]);
        });
    }
}

#[test]
fn nobody_writes_to_a_partition_that_was_not_added() {
    run(async {
        let node = start(&MemoryDisk::new());
        topics(&node).await;
        let all = partitions(&node);
        let mut classic = Client::new("orders", TransactionVersion::Classic);
        classic.init(&node).await.unwrap();
        classic.write(&node, &all[0], 1).await.unwrap();
        let sender = Sender { producer: classic.producer, first_sequence: Some(0), transactional: true };
        let candidates: Vec<_> =
            all.iter().map(|partition| Candidate { partition: partition.clone(), sender }).collect();
        let admitted = node.admit(&"orders".into(), TransactionVersion::Classic, &candidates).await;
        let refused = Err(TransactionalError::Refused(TransactionError::NotInTransaction).into());
        assert_eq!(admitted, [Ok(None), refused, refused]);
    });
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    for version in VERSIONS {
        by_hand(async {
            let node = start(&MemoryDisk::new());
            topics(&node).await;
            let at = &partitions(&node)[0];
            let mut slow = Client::new("orders", version).with_timeout(5000);
            slow.init(&node).await.unwrap();
            slow.write(&node, at, 1).await.unwrap();
            tokio::time::advance(Duration::from_secs(4)).await;
            assert_eq!(state(&node, "orders").await, State::Ongoing);
            tokio::time::advance(Duration::from_secs(2)).await;
            while state(&node, "orders").await != State::CompleteAbort {
                tokio::task::yield_now().await;
            }
            assert_eq!(at.extent().last_stable, at.extent().end);
            assert!(slow.end(&node, Ending::Commit).await.is_err());
            let mut next = Client::new("orders", version);
            next.init(&node).await.unwrap();
            next.write(&node, at, 2).await.unwrap();
            next.end(&node, Ending::Commit).await.unwrap();
            next.init(&node).await.unwrap();
            assert_eq!(read_committed(at).await, [2]);
        });
    }
}

#[test]
fn a_transaction_left_open_over_a_restart_keeps_its_time_out() {
    let disk = MemoryDisk::new();
    run(async {
        let node = start(&disk);
        topics(&node).await;
        let mut producer = Client::new("orders", TransactionVersion::Classic).with_timeout(5000);
        producer.init(&node).await.unwrap();
        producer.write(&node, &partitions(&node)[0], 1).await.unwrap();
        node.stop().await;
    });
    by_hand(async {
        let node = start(&disk.crash(None));
        ready(&node).await;
        node.transactional_ids().list().await.expect("the coordinator has read what it kept");
        let at = &partitions(&node)[0];
        assert_eq!((at.extent().last_stable, at.extent().end), (0, 1));
        tokio::time::advance(Duration::from_secs(6)).await;
        while at.extent().last_stable != at.extent().end {
            tokio::task::yield_now().await;
        }
        assert!(read_committed(at).await.is_empty());
    });
}

#[test]
fn the_topic_of_an_open_transaction_may_go() {
    run(async {
        let node = start(&MemoryDisk::new());
        topics(&node).await;
        let mut producer = Client::new("orders", TransactionVersion::EpochPerTransaction);
        producer.init(&node).await.unwrap();
        write_everywhere(&node, &mut producer, 1).await;
        node.delete_topic("b").await.unwrap();
        producer.end(&node, Ending::Commit).await.unwrap();
        producer.init(&node).await.unwrap();
        assert_eq!(read_committed(&partitions(&node)[0]).await, [1]);
        assert_eq!(state(&node, "orders").await, State::Empty);
    });
}

#[test]
fn what_cannot_be_kept_is_refused() {
    run(async {
        let node = start(&MemoryDisk::new());
        let refused = Client::new(&"n".repeat(40_000), VERSIONS[0]).init(&node).await;
        assert_eq!(refused, Err(TransactionalError::NameTooLong { bytes: 40_000, most: 32_767 }));
        let refused = Client::new("orders", VERSIONS[0]).with_timeout(0).init(&node).await;
        let reason = TransactionError::InvalidTimeout { timeout_ms: 0, max_ms: 900_000 };
        assert_eq!(refused, Err(reason.into()));
        let unknown = node.transactional_ids().describe("orders".into()).await;
        assert_eq!(unknown, Err(TransactionalError::Unknown));
    });
}

#[test]
fn what_is_remembered_of_producers_counts_and_when_memory_is_spent_no_more_is() {
    run(async {
        let disk = MemoryDisk::new();
        let node = start(&disk);
        topics(&node).await;
        let partition = &partitions(&node)[0];
        let memory = node.memory();
        let mut client = Client::new(&"n".repeat(10_000), TransactionVersion::Classic);
        client.init(&node).await.unwrap();
        assert!(memory.gauge().bytes() > 10_000, "the name counts");
        let before = memory.gauge().bytes();
        client.write(&node, partition, 1).await.unwrap();
        assert!(memory.gauge().bytes() > before + 100, "so does the producer where it wrote");

        let spent = memory.gauge().charge(memory.budget_bytes());
        let mut late = Client::new("late", TransactionVersion::Classic);
        assert_eq!(late.init(&node).await, Err(TransactionalError::NoMemory));
        client.end(&node, Ending::Commit).await.unwrap();
        assert!(client.write(&node, partition, 2).await.is_err(), "a new transaction takes more");
        drop(spent);
        late.init(&node).await.unwrap();
        client.write(&node, partition, 2).await.unwrap();
        client.end(&node, Ending::Commit).await.unwrap();
        node.stop().await;

        let node = start(&disk.crash(None));
        node.transactional_ids().list().await.expect("the coordinator has read what it kept");
        assert!(node.memory().gauge().bytes() > 10_000, "after a restart it counts again");
    });
}

/// With few partitions for what the node keeps for itself, as each is a file.
fn start(disk: &MemoryDisk) -> Arc<Node> {
    let mut config = config();
    for name in ["offsets.topic.num.partitions", "transaction.state.log.num.partitions"] {
        config.settings.set(name, "3").expect("a setting");
    }
    start_with(disk, config)
}

async fn state(node: &Node, id: &str) -> State {
    node.transactional_ids().describe(id.into()).await.expect("it is known").state
}

async fn topics(node: &Node) {
    for (name, partitions) in [("t", 2), ("b", 1)] {
        let (_, saved) = node.create_topic(name, partitions, Overrides::default()).expect("a new topic");
        saved.wait().await;
    }
}

fn partitions(node: &Node) -> Vec<Arc<PartitionHandle>> {
    let topics = ["t", "b"].iter().filter_map(|name| node.topics().get(name));
    topics.flat_map(|topic| topic.partitions().to_vec()).collect()
}
