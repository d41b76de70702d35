//! Retention and compaction of topics: what stays, what goes, and a power cut at every flush.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::stream::{Acks, PartitionHandle, check};
use cauce_broker::{Flush, Node, NodeConfig};
use cauce_core::producer::{Ending, Producer, ProducerId, TransactionVersion};
use cauce_core::stream::{Isolation, Marker, Sender};
use cauce_core::topic::Overrides;
use cauce_log::{BatchBuilder, MemoryDisk, RecordBatch};
use common::{config, run, start_with};

const TOPIC: &str = "prices";
const TRANSACTIONAL: i16 = 1 << 4;

/// Two of these, and little more, fit in the smallest segment there may be.
const HALF: usize = 500_000;

#[test]
fn segments_go_by_age_and_by_size() {
    run(async {
        for (name, value, left) in [("retention.ms", "1000", 4), ("retention.bytes", "1100000", 2)] {
            let node = start_with(&MemoryDisk::new(), config());
            let partition = create(&node, &[(name, value), ("segment.bytes", "1048576")]).await;
            for (key, age_ms) in [("a", 60_000), ("b", 60_000), ("c", 60_000), ("d", 60_000), ("e", 0)] {
                append(&node, &partition, Wanted { age_ms, ..wanted(key, HALF) }).await;
            }
            node.remove_old_records().await;
            node.flush().await;
            assert_eq!(partition.extent().log_start, left, "{name}");
            assert_eq!(records(&partition).len() as u64, 5 - left, "{name}");
        }
    });
}

#[test]
fn what_is_only_compacted_does_not_go_by_age() {
    run(async {
        let node = start_with(&MemoryDisk::new(), config());
        let partition = create(&node, &[("cleanup.policy", "compact"), ("retention.ms", "1")]).await;
        append(&node, &partition, Wanted { age_ms: 60_000, ..wanted("a", 1) }).await;
        node.remove_old_records().await;
        assert_eq!(partition.extent().log_start, 0);
        alter(&node, "cleanup.policy", "compact,delete").await;
        node.remove_old_records().await;
        node.flush().await;
        assert_eq!(partition.extent().log_start, 1);
    });
}

#[test]
fn a_compacted_topic_keeps_the_last_of_each_key_at_its_offset() {
    run(async {
        let disk = MemoryDisk::new();
        let node = start_with(&disk, config());
        let partition = compacted(&node, &[]).await;
        for key in ["a", "b", "a", "c", "b", "d", "e"] {
            append(&node, &partition, wanted(key, HALF)).await;
        }
        node.compact_topics().await;
        let kept =
            [(2, "a"), (3, "c"), (4, "b"), (5, "d"), (6, "e")].map(|(offset, key)| (offset, key.to_owned()));
        assert_eq!(records(&partition), BTreeMap::from(kept));
        assert!(partition.disk_bytes() < 6 * HALF as u64);
        // It takes more, and a restart finds the same.
        append(&node, &partition, wanted("f", 1)).await;
        drop((node, partition));
        let node = start_with(&disk.crash(None), config());
        let partition = find(&node);
        assert_eq!(records(&partition).len(), 6);
        assert_eq!(partition.offset_for_time(1, 8).unwrap().unwrap().offset, 2);
        assert_eq!(partition.offset_for_time(1, 2).unwrap(), None);
    });
}

#[test]
fn a_topic_compacts_what_waits_for_too_long_though_it_is_little() {
    run(async {
        let node = start_with(&MemoryDisk::new(), config());
        let more = [("min.cleanable.dirty.ratio", "1"), ("max.compaction.lag.ms", "1000")];
        let partition = compacted(&node, &more).await;
        for key in ["a", "a"] {
            append(&node, &partition, Wanted { age_ms: 60_000, ..wanted(key, 1) }).await;
        }
        node.compact_topics().await;
        assert_eq!(records(&partition).len(), 2, "the active segment stays as it is");
        node.remove_old_records().await;
        node.compact_topics().await;
        assert_eq!(records(&partition).len(), 1);
    });
}

#[test]
fn with_little_memory_a_compaction_takes_more_runs() {
    run(async {
        let left_after = |memory_bytes, runs| async move {
            let node = start_with(&MemoryDisk::new(), NodeConfig { memory_bytes, ..config() });
            let partition = compacted(&node, &[]).await;
            for number in 0..400 {
                append(&node, &partition, wanted(&format!("{}", number % 100), 5000)).await;
            }
            let before = node.memory().gauge().bytes();
            for _ in 0..runs {
                node.compact_topics().await;
            }
            assert_eq!(node.memory().gauge().bytes(), before, "the keys are forgotten");
            records(&partition).len()
        };
        // A tenth of this has room for about sixty keys.
        let (little, plenty) = (40_000, config().memory_bytes);
        let all = left_after(plenty, 1).await;
        assert!(left_after(little, 1).await > all);
        assert_eq!(left_after(little, 10).await, all);
    });
}

#[test]
fn a_producer_is_known_after_its_records_were_compacted_away_and_the_node_was_killed() {
    run(async {
        let disk = MemoryDisk::new();
        let node = start_with(&disk, config());
        let partition = compacted(&node, &[]).await;
        append(&node, &partition, Wanted { producer: Some((7, 0)), ..wanted("a", 1) }).await;
        for _ in 0..4 {
            append(&node, &partition, wanted("a", HALF)).await;
        }
        node.compact_topics().await;
        assert!(!records(&partition).contains_key(&0));
        drop((node, partition));
        // With what was written beside the log, and without it.
        for has_snapshots in [true, false] {
            let disk = disk.crash(None);
            if !has_snapshots {
                remove_snapshots(&disk);
            }
            let node = start_with(&disk, config());
            let partition = find(&node);
            let again = append(&node, &partition, Wanted { producer: Some((7, 0)), ..wanted("a", 1) }).await;
            assert_eq!(again, 0, "the same batch is where it was");
            let next = append(&node, &partition, Wanted { producer: Some((7, 1)), ..wanted("a", 1) }).await;
            assert_eq!(next, 5);
        }
    });
}

#[test]
fn a_power_cut_at_any_flush_of_a_cleaning_loses_nothing_and_brings_nothing_back() {
    for flush in [Flush::Always, Flush::Os] {
        for torn in [None, Some(7)] {
            let mut syncs = 0;
            while cut_at(syncs, flush, torn) {
                syncs += 1;
            }
            assert!(syncs > 10, "{syncs}");
        }
    }
}

/// Cuts the power after so many flushes of a cleaning; false if there were no more.
fn cut_at(syncs: u64, flush: Flush, torn: Option<u64>) -> bool {
    run(async {
        let disk = MemoryDisk::new();
        let config = NodeConfig { flush, ..config() };
        let node = start_with(&disk, config.clone());
        let partition = compacted(&node, &[("delete.retention.ms", "0"), ("segment.ms", "1")]).await;
        let aged = |key, age_ms| Wanted { age_ms, ..wanted(key, 100) };
        append(&node, &partition, aged("a", 9_000)).await;
        append(&node, &partition, Wanted { transaction: true, ..aged("a", 8_000) }).await;
        // What a snapshot knows of the open transaction must not outlive its end.
        node.stop().await;
        drop((node, partition));
        let node = start_with(&disk, config.clone());
        let partition = find(&node);
        abort(&partition).await;
        for (key, age_ms) in [("b", 6_000), ("a", 5_000), ("c", 4_000), ("a", 3_000)] {
            append(&node, &partition, aged(key, age_ms)).await;
        }
        if flush == Flush::Os {
            // Nothing was promised since; the cleaning itself must see to it that what it relies on is safe.
            assert_eq!(partition.extent().high_watermark, 7);
        }
        let before = disk.syncs();
        disk.freeze_at_sync(before + syncs);
        node.compact_topics().await;
        append(&node, &partition, aged("c", 2_000)).await;
        append(&node, &partition, aged("z", 1_000)).await;
        node.compact_topics().await;
        let had_more = disk.syncs() > before + syncs;
        drop((node, partition));

        let node = start_with(&disk.crash(torn), config.clone());
        let partition = find(&node);
        let extent = partition.extent();
        // The end of the transaction is at 2.
        assert_eq!(extent.last_stable, if extent.end > 2 { extent.end } else { 1 });
        let records = records(&partition);
        let last = |key: &str| records.iter().rfind(|(_, other)| *other == key).map(|(offset, _)| *offset);
        match flush {
            Flush::Always => {
                assert!(extent.end >= 7);
                assert_eq!((last("a"), last("b")), (Some(6), Some(3)));
                assert!(last("c") >= Some(5));
            }
            // What was flushed by the orderly stop stays, or what came in its place.
            Flush::Os => assert!(last("a").is_some(), "{syncs} {torn:?} {extent:?} {records:?}"),
        }
        node.compact_topics().await;
        append(&node, &partition, wanted("y", 1)).await;
        had_more
    })
}

/// A batch of one record.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    key: &'a str,
    value_bytes: usize,
    age_ms: i64,
    /// Its id, and its sequence number.
    producer: Option<(i64, i32)>,
    transaction: bool,
}

fn wanted(key: &str, value_bytes: usize) -> Wanted<'_> {
    Wanted { key, value_bytes, age_ms: 0, producer: None, transaction: false }
}

const TRANSACTOR: Producer = Producer { id: ProducerId(9), epoch: 0 };

/// Where it is.
async fn append(node: &Node, partition: &Arc<PartitionHandle>, wanted: Wanted<'_>) -> u64 {
    let now_ms = now_ms();
    let (mut builder, timestamp_ms) = (BatchBuilder::new(), now_ms - wanted.age_ms);
    builder.start(0, timestamp_ms);
    if let Some((id, sequence)) = wanted.producer {
        builder.set_producer(id, 0, sequence);
    }
    let mut guard = None;
    if wanted.transaction {
        builder.set_producer(TRANSACTOR.id.0, TRANSACTOR.epoch, 0);
        builder.set_attributes(TRANSACTIONAL);
        let sender = Sender { producer: TRANSACTOR, first_sequence: Some(0), transactional: true };
        guard = partition.verification(sender, TransactionVersion::Classic).await.unwrap();
    }
    builder.push(0, timestamp_ms, Some(wanted.key.as_bytes()), Some(&[&vec![0; wanted.value_bytes]]), &[]);
    let config = node.topics().get(TOPIC).unwrap().config();
    let charge = Arc::new(node.memory().gauge().charge(0));
    let batch = check(builder.finish(), &config, now_ms, &charge).unwrap();
    partition.append(batch, guard, Acks::All).answer().await.unwrap().first_offset
}

async fn abort(partition: &PartitionHandle) {
    let version = TransactionVersion::Classic;
    let marker = Marker { producer: TRANSACTOR, ending: Ending::Abort, coordinator_epoch: 0, version };
    partition.end_transaction(marker).answer().await.unwrap();
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

async fn create(node: &Node, settings: &[(&str, &str)]) -> Arc<PartitionHandle> {
    let overrides = Overrides::parse(settings.iter().copied()).unwrap();
    let (topic, saved) = node.create_topic(TOPIC, 1, overrides).unwrap();
    saved.wait().await;
    topic.partition(0).unwrap()
}

/// A topic that is compacted whenever there is anything to do.
async fn compacted(node: &Node, more: &[(&str, &str)]) -> Arc<PartitionHandle> {
    let usual =
        [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0")];
    create(node, &[&usual[..], more].concat()).await
}

async fn alter(node: &Node, name: &str, value: &str) {
    node.alter_topic(TOPIC, |own, _| Ok(own.with(name, Some(value))), false).unwrap().wait().await;
}

fn find(node: &Node) -> Arc<PartitionHandle> {
    node.topics().get(TOPIC).unwrap().partition(0).unwrap()
}

/// The keys that a reader of what is committed sees, by offset. Records of the aborted transaction are told by their size.
fn records(partition: &PartitionHandle) -> BTreeMap<u64, String> {
    let (extent, mut found) = (partition.extent(), BTreeMap::new());
    let mut next = extent.log_start;
    while let Some(region) =
        partition.locate(next..extent.visible_end(Isolation::Committed), 1 << 30).unwrap()
    {
        let mut rest: Bytes = region.read().unwrap();
        while !rest.is_empty() {
            let (batch, left) = RecordBatch::parse(rest).unwrap();
            batch.verify().unwrap();
            rest = left;
            next = batch.next_offset() as u64;
            let is_plain = !batch.is_control() && !batch.is_transactional();
            for record in batch.records().filter(|_| is_plain).map(Result::unwrap) {
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                found.insert(record.offset as u64, key);
            }
        }
    }
    found.split_off(&extent.log_start)
}

fn remove_snapshots(disk: &MemoryDisk) {
    use cauce_log::Disk;
    let dir = std::path::Path::new("topics").join(format!("{TOPIC}-0"));
    for name in disk.list(&dir).unwrap().iter().filter(|name| name.ends_with("snapshot")) {
        disk.remove_file(&dir.join(name)).unwrap();
    }
}
